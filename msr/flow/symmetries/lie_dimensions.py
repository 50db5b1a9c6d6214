"""Infinitesimal symmetries of any map of tokens, by numbers: which ``A`` have ``Df(x)[A x] = A f(x)`` everywhere."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad

from msr.brief import Brief
from msr.errors import ConfigError, DataError, NonFiniteError, PrecisionError, ShapeError
from msr.flow.arguments import finite_number, token_batch, word_of
from msr.flow.symmetries.null_spaces import checked_nullity
from msr.memory import refuse_if_larger

__all__ = ["LieDimension", "lie_dimension"]

_FORWARD = 1e-8
"""Singular values below it are 0 for exact derivatives in double precision: a square root of rounding."""
_COARSEST = 1e-2
"""Largest cut between 0 and what is not: relative singular values are of the size of 1, and all of them would be 0."""


@dataclass(frozen=True, eq=False, repr=False)
class LieDimension(Brief):
    """The infinitesimal symmetries of a map within some Lie algebra.

    Attributes:
        dim: how many there are.
        basis: ``(dim, m, m)`` float64: orthonormal, ``m`` being ``d``, or ``nd`` for ``all``.
        singular_values: ``(k,)`` float64, falling, of ``A ↦ Df(x)[A x] − A f(x)`` relative to the sizes of both terms.
        gap: the smallest singular value that was not taken for 0; infinite where there is none.
        zero: the largest that was; 0 where there is none.

    Raises: ShapeError.
    """

    dim: int
    basis: Tensor
    singular_values: Tensor
    gap: float
    zero: float

    def __post_init__(self) -> None:
        if len(self.basis) != self.dim:
            raise ShapeError(f"{self.dim} matrices are needed; got {len(self.basis)}")


def lie_dimension(
    f: Callable[[Tensor], Tensor],
    X: Any,
    *,
    over: Literal["so", "gl", "all"] = "so",
    method: Literal["forward", "difference"] = "forward",
    step: float = 1e-5,
) -> LieDimension:
    """The infinitesimal symmetries of a map of tokens: the nullity of ``A ↦ Df(x)[A x] − A f(x)``.

    Args:
        f: tokens ``(c, n, d)`` to as many, each configuration by itself, such as the velocity of a flow, or its map.
        X: configurations ``(c, n, d)`` at which symmetry is asked for: the more, the fewer symmetries by chance. The
            map is looked at near them, also off the sphere.
        over: antisymmetric matrices ``(d, d)``, all matrices ``(d, d)``, or all matrices of the ``nd`` numbers of a
            configuration.
        method: derivatives by forward differentiation, exact, or by central differences, for maps that torch cannot
            look into.
        step: of central differences.

    What the map gives is taken in the precision of ``X``.

    Raises: ShapeError, ConfigError, NonFiniteError; DataError for fewer equations than unknowns; PrecisionError where a
    singular value can be told neither from rounding nor from 0, or where differences of such a step tell none.
    """
    points = token_batch(X).detach()
    over_all = word_of(over, "over", ("so", "gl", "all")) == "all"
    method_word = word_of(method, "method", ("forward", "difference"))
    step = finite_number(step, "step")
    if not 0 < step < 1:
        raise ConfigError(f"step must be above 0 and below 1; got {step}")
    c, n, d = points.shape
    m = n * d if over_all else d
    cut = _cut(points.dtype, method_word, step)
    basis = _basis(m, over == "so").to(points)
    k = len(basis)
    if k > points.numel():
        raise DataError(f"{points.numel()} equations cannot tell {k} unknowns: give more configurations than {c}")
    refuse_if_larger(8.0 * points.numel() * k * 3, f"the equations of {k} unknowns", advice="give fewer configurations")

    def applied(A: Tensor, x: Tensor) -> Tensor:
        return (x.reshape(c, -1) @ A.mT).reshape(x.shape) if over_all else x @ A.mT

    columns = []
    scale = 0.0
    values = _checked_values(f(points), points)
    for A in basis:
        direction = applied(A, points)
        moved = _derivative(f, points, direction, method_word, step).to(points.dtype)
        turned = applied(A, values)
        columns.append((moved - turned).flatten())
        scale = max(scale, float(moved.norm()), float(turned.norm()))
    if not math.isfinite(scale):
        raise NonFiniteError("the derivative of the map holds nan or infinity at a configuration")
    if k == 0:
        empty = torch.zeros(0, dtype=torch.float64)
        return LieDimension(0, empty.reshape(0, m, m), empty, math.inf, 0.0)
    # Relative to what is subtracted, not to the largest difference: where all differences are rounding, all are 0.
    stacked = (torch.stack(columns, dim=1) / (scale or 1.0)).to(device="cpu", dtype=torch.float64)
    _, sizes, right = np.linalg.svd(stacked.numpy(), full_matrices=False)
    dim, gap = checked_nullity(sizes, cut, "the symmetries of the map")
    null = torch.from_numpy(right[k - dim :].copy())
    found = torch.einsum("ak,kij->aij", null, basis.cpu().to(torch.float64))
    zero = float(sizes[k - dim]) if dim else 0.0
    return LieDimension(dim, found, torch.from_numpy(sizes.copy()), gap, zero)


def _cut(dtype: torch.dtype, method: str, step: float) -> float:
    """The singular value below which all are 0. Raises: PrecisionError where so large ones would be."""
    eps = torch.finfo(dtype).eps
    if method == "forward":
        return _FORWARD * math.sqrt(eps / 2.0**-52)
    # Rounding over the step, and the error of order step².
    cut = 1e3 * (eps / step + step**2)
    if cut > _COARSEST:
        raise PrecisionError(
            f"differences of the step {step:g} in {dtype} have errors up to {cut:.1e}, which hide what is no symmetry: "
            "give X in double precision, a step near 1e-5, or method='forward'"
        )
    return cut


def _basis(m: int, antisymmetric: bool) -> Tensor:
    """An orthonormal basis ``(k, m, m)`` of the antisymmetric matrices, or of all."""
    units = torch.eye(m * m, dtype=torch.float64).reshape(m * m, m, m)
    if not antisymmetric:
        return units
    i, j = torch.triu_indices(m, m, 1)
    return (units[i * m + j] - units[j * m + i]) / math.sqrt(2)


def _derivative(f: Callable[[Tensor], Tensor], x: Tensor, v: Tensor, method: str, step: float) -> Tensor:
    """``Df(x)[v]``."""
    if method == "forward":
        with forward_ad.dual_level():
            moved = forward_ad.unpack_dual(f(forward_ad.make_dual(x, v))).tangent
        # A map that does not depend on its tokens has no derivative to unpack.
        return torch.zeros_like(x) if moved is None else moved.detach()
    with torch.no_grad():
        return (f(x + step * v) - f(x - step * v)) / (2 * step)


def _checked_values(values: Tensor, points: Tensor) -> Tensor:
    """What the map gives at the configurations. Raises: ShapeError; NonFiniteError."""
    if not isinstance(values, Tensor) or values.shape != points.shape:
        raise ShapeError(f"f must give a tensor of the shape of its tokens, {tuple(points.shape)}")
    if not bool(torch.isfinite(values).all()):
        raise NonFiniteError("the map gives nan or infinity at a configuration")
    return values.detach().to(points.dtype)
