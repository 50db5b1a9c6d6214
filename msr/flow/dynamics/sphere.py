"""Tokens on the unit sphere: brought there, drawn there."""

import torch
from torch import Tensor

from msr.arrays import is_wrapped, takes_arrays
from msr.errors import DataError, ShapeError
from msr.flow.arguments import token_count
from msr.flow.dynamics.mlp import real_tensor

__all__ = ["on_sphere", "uniform_on_sphere"]

OFF_SPHERE = 1e-4
"""How far a norm may be from 1 for the token to count as one of the sphere: what is left of a token that was written
in four digits, or went through some layers in single precision. Such tokens are brought to norm 1."""


@takes_arrays("X")
def on_sphere(X: Tensor) -> Tensor:
    """Each token divided by its norm, ``x / |x|``: in double precision, unless ``X`` is in single.

    Shapes: ``X (..., d)``; so is the result.
    Raises: DataError for a token of norm 0, which has no direction; NonFiniteError for a nan or an infinity; ShapeError
    for a tensor without an axis, or without tokens.
    """
    X = real_tensor(X, "X")
    X = X if X.dtype == torch.float32 else X.double()
    if X.ndim == 0 or X.numel() == 0:
        raise ShapeError(f"X must hold tokens, (..., d); got the shape {tuple(X.shape)}")
    # The largest entry first: the squares of entries above 1e154 would overflow, and those below 1e-154 vanish.
    largest = X.detach().abs().amax(-1, keepdim=True)
    if not is_wrapped(X):
        refuse_zero(largest, "X")
    scaled = X / largest
    return scaled / torch.linalg.vector_norm(scaled, dim=-1, keepdim=True)


def uniform_on_sphere(
    n: int,
    d: int,
    batch: int | None = None,
    *,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """``n`` independent tokens, uniform on the unit sphere of ``d`` dimensions, on the device of the generator.

    Shapes: the result is ``(n, d)``, or ``(batch, n, d)``.
    Raises: ConfigError unless all sizes are whole numbers above 0.
    """
    sizes = {"n": n, "d": d} if batch is None else {"batch": batch, "n": n, "d": d}
    shape = tuple(token_count(size, name) for name, size in sizes.items())
    return on_sphere(torch.randn(shape, generator=generator, dtype=dtype, device=generator.device))


def refuse_zero(sizes: Tensor, name: str) -> None:
    """Raise DataError where a token has the size 0. Shapes: ``sizes (..., 1)``."""
    if bool((sizes == 0).any()):
        place = (sizes[..., 0] == 0).nonzero()[0].tolist()
        raise DataError(f"{name}{place if place else ''} is 0 and has no direction; leave that token out")


def refuse_off_sphere(X: Tensor, norm: str) -> None:
    """Raise DataError for the token that is farthest from norm 1, where that is too far. Shapes: ``X (..., n, d)``."""
    norms = torch.linalg.vector_norm(X, dim=-1)
    far = (norms - 1).abs()
    # Written so that an overflow of the norm counts as far.
    if not bool((far <= OFF_SPHERE).all()):
        place = [int(i) for i in torch.unravel_index(far.argmax(), far.shape)]
        raise DataError(
            f"X{place} has norm {norms[tuple(place)].item():.6g}, and norm='{norm}' moves tokens on the unit sphere: "
            "give on_sphere(X), or take a norm with radii (pre, mix, peri, sqrt) or none"
        )
