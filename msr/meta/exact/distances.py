"""Distances: torch's fused ones have no second derivative."""

from typing import Any

import torch
from torch import Tensor

__all__ = ["ATEN", "PYTHON"]


def _distance(difference: Tensor, p: float) -> Tensor:
    """``‖·‖_p`` along the last axis, ``p`` from 0 to infinity; where it is zero its slope is zero too, as in torch.

    For ``p = 0`` it is the number of entries that are not zero.
    """
    size = difference.abs()
    if p == 0:
        # The number of coordinates that differ, by torch's convention for p = 0.
        return (size != 0).sum(-1).to(size.dtype)
    if p == 1:
        return size.sum(-1)
    if p == float("inf"):
        return size.amax(-1)
    # Roots and powers have infinite slopes at zero. So zeros are replaced by 1 before them, and put back afterwards.
    is_zero = size == 0
    if p == 2:
        total = difference.square().sum(-1)
    else:
        total = size.masked_fill(is_zero, 1).pow(p).masked_fill(is_zero, 0).sum(-1)
    coincide = total == 0
    total = total.masked_fill(coincide, 1)
    return (total.sqrt() if p == 2 else total.pow(1 / p)).masked_fill(coincide, 0)


def _cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: Any = None) -> Tensor:
    """Distances between the rows of two matrices: ``(..., n, d), (..., m, d) -> (..., n, m)``; ``compute_mode`` is not
    heeded.
    """
    if x1.ndim < 2 or x2.ndim < 2 or x1.shape[-1] != x2.shape[-1] or p < 0:
        return torch.cdist(x1, x2, p)  # raises torch's own error
    return _distance(x1.unsqueeze(-2) - x2.unsqueeze(-3), p)


def _pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """Distances between all pairs of rows of a matrix: ``(n, d) -> (n (n − 1) / 2,)``, pairs ``i < j`` in the order of
    ``i``, then ``j``.
    """
    if input.ndim != 2 or p < 0:
        return torch.pdist(input, p)  # raises torch's own error
    i, j = torch.triu_indices(len(input), len(input), 1, device=input.device)
    return _distance(input[i] - input[j], p)


PYTHON: dict[Any, Any] = {torch.functional.cdist: _cdist}
ATEN: dict[str, Any] = {"pdist": _pdist, "cdist": _cdist}
