"""Activations and running sums that have no second derivative in torch, or none under ``vmap``."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["ATEN", "PYTHON"]

# Longer sequences are not written out as a square of as many entries a side, by memory (4 MiB a sequence in float32).
_LONGEST = 1024


def _hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """``min(max((x + 3) / 6, 0), 1)``, with a slope of 0 at both bends, as torch has it; ``inplace`` is not heeded."""
    inside = (input > -3) & (input < 3)
    return torch.where(inside, (input + 3) / 6, (input >= 3).to(input.dtype))


def _prelu(input: Tensor, weight: Tensor) -> Tensor:
    """``x`` where it is positive, else ``w x``, with one ``w`` in all or one for each channel (axis 1)."""
    # One slope a channel, on axis 1, broadcasts over all others.
    shape = [1] * input.ndim
    if weight.numel() > 1:
        if input.ndim < 2 or weight.numel() != input.shape[1]:
            return torch.prelu(input, weight)  # raises torch's own error
        shape[1] = -1
    return torch.where(input > 0, input, weight.reshape(shape) * input)


def _glu(input: Tensor, dim: int = -1) -> Tensor:
    """``a · sigmoid(b)`` for the first half ``a`` and the second half ``b`` of the axis ``dim``."""
    if input.shape[dim] % 2:
        return F.glu(input, dim)  # raises torch's own error
    value, gate = input.chunk(2, dim)
    return value * torch.sigmoid(gate)


def _logcumsumexp(input: Tensor, dim: int) -> Tensor:
    """``log Σ_{j ≤ i} exp x_j`` along an axis, with each sum computed by itself.

    The gradient of torch's fused form is nan where the incoming slope is zero, and in a Jacobian, whose rows are
    gradients of one entry each, most slopes are zero. Beyond 1024 entries it is torch's fused form all the same.
    """
    if input.ndim == 0 or input.shape[dim] > _LONGEST or not input.is_floating_point():
        return torch.logcumsumexp(input, dim)
    rows = input.movedim(dim, -1)
    n = rows.shape[-1]
    # Sum i takes the entries up to i; later ones are minus infinity, which the exponential makes zero.
    later = torch.ones(n, n, dtype=torch.bool, device=input.device).triu(1)
    sums = rows.unsqueeze(-2).expand(*rows.shape[:-1], n, n).masked_fill(later, -torch.inf).logsumexp(-1)
    return sums.movedim(-1, dim)


PYTHON: dict[Any, Any] = {
    F.hardsigmoid: _hardsigmoid,
    F.glu: _glu,
}
ATEN: dict[str, Any] = {
    "hardsigmoid": _hardsigmoid,
    "glu": _glu,
    "prelu": _prelu,
    "logcumsumexp": _logcumsumexp,
}
