"""Layers that are affine by construction, read off as a matrix and a bias: for them nothing needs to be sampled."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from msr.equivariance.measuring.boundary import Interior
from msr.equivariance.measuring.evaluation import run
from msr.errors import ModelError, ShapeError
from msr.modules import AffineModule
from msr.representations import AnyRepresentation

__all__ = ["MAX_INPUTS", "as_affine", "is_affine"]

MAX_INPUTS = 4096
"""Inputs up to which a layer is read off as a matrix: 4096² numbers in float64 are 128 MiB. Chosen by hand."""

# Unit vectors in one batch, for layers whose activations are large.
_BATCH = 256

# A layer is not affine if random inputs are off by more than this share of their linear part. Rounding is far below it,
# a nonlinearity far above. Chosen by hand.
_NONLINEAR = 0.1

_AFFINE = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.AvgPool1d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d,
    nn.Flatten,
    nn.Unflatten,
    nn.Identity,
)


def is_affine(f: Any) -> bool:
    """Whether ``f`` is ``x ↦ W x + b`` by construction: plain layers, reparameterised ones, and chains of them.

    False is no proof of the contrary: functions, subclasses of torch's layers, and modules with hooks are not known.
    """
    if not isinstance(f, nn.Module) or f._forward_hooks or f._forward_pre_hooks or "forward" in vars(f):
        return False  # a hook, or a forward put on this one instance, may do anything
    if type(f) is nn.Sequential:
        return all(is_affine(part) for part in f)
    # A subclass of torch's layers may have a forward of its own, so they count by their exact type.
    return type(f) in _AFFINE or (isinstance(f, AffineModule) and f.claims_affine())


def as_affine(
    f: nn.Module, rep_in: AnyRepresentation, rep_out: AnyRepresentation, template: Tensor, inside: Interior
) -> tuple[Tensor, Tensor]:
    """``W (out, in)`` and ``b (out,)`` of an affine module, float64, from its values on the unit vectors.

    ``W e = f(e) − f(0)`` cancels digits beside a large bias, so a copy in float64 is read off where there can be one.

    Args: ``template``: an empty tensor, whose precision and device serve where there can be no such copy.
    Raises: ShapeError for more than ``MAX_INPUTS`` inputs; ModelError if the module fails, or is not affine on two
    random inputs.
    """
    n = rep_in.dim
    if n > MAX_INPUTS:
        raise ShapeError(
            f"{n} inputs are too many to read the layer off as a matrix (at most {MAX_INPUTS}); use rule=Tail()"
        )
    call = f
    try:
        like = torch.empty(0, dtype=torch.float64, device=template.device)
        # A copy, since double() changes a module in place, and the caller's must stay in its own precision.
        call = copy.deepcopy(f).double()
        run(call, like.new_zeros(1, *rep_in.shape), rep_in, inside)
    except Exception:  # some modules cannot be copied, and some do not take float64
        like = template
        call = f

    def values(points: Tensor) -> Tensor:
        """``f`` at flattened points ``(points, in)``, flattened and in float64: ``(points, out)``."""
        return run(call, points.reshape(-1, *rep_in.shape), rep_in, inside).reshape(len(points), -1)

    eye = torch.eye(n, dtype=like.dtype, device=like.device)
    bias = values(torch.zeros(1, n, dtype=like.dtype, device=like.device))[0]
    W = torch.cat([values(part) - bias for part in eye.split(_BATCH)]).mT.contiguous()
    # Two random inputs show whether the function is affine between the unit vectors too.
    probe = torch.randn(2, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(eye)
    linear = probe.double() @ W.mT
    rounding = 64 * float(torch.finfo(like.dtype).eps) * float(bias.norm())
    if float((values(probe) - bias - linear).norm()) > _NONLINEAR * float(linear.norm()) + rounding:
        raise ModelError(
            f"{type(f).__name__} should be affine, but is not: is a global hook at work? Use rule=Tail(), which takes "
            "any function"
        )
    return W, bias
