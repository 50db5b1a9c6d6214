"""Maps of a signal with a window at each position: convolutions, and locally connected maps, whose filters differ."""

import torch
from torch import Tensor

from msr.arrays import takes_arrays
from msr.errors import ShapeError
from msr.span.angles import orthonormal_basis

__all__ = ["convolution_span", "locally_connected_weight", "span_of_filters"]


@takes_arrays("filters")
def locally_connected_weight(filters: Tensor, length: int) -> Tensor:
    """Dense matrices of locally connected maps: ``W[i, (i + t) mod length] = F[i, t]``, and zero elsewhere.

    ``length`` is that of the input signal.
    Shapes: ``(..., out_length, kernel) -> (..., out_length, length)``. Windows wrap around the signal where
    ``out_length`` equals ``length``.
    Raises: ShapeError for another number of positions than ``length`` or ``length − kernel + 1``.
    """
    *lead, out_length, kernel = filters.shape
    if out_length not in (length, length - kernel + 1):
        raise ShapeError(
            f"filters {tuple(filters.shape)} have {out_length} positions; an input of length {length} needs "
            f"{length} (circular) or {length - kernel + 1} (valid)"
        )
    rows = torch.arange(out_length)[:, None]
    columns = (rows + torch.arange(kernel)) % length
    weight = filters.new_zeros(*lead, out_length, length)
    weight[..., rows, columns] = filters
    return weight


@takes_arrays("filters")
def span_of_filters(filters: Tensor, length: int, *, rtol: float | None = None) -> Tensor:
    """Orthonormal basis of the weights of many tasks, ``(out_length · length, k)``: the true ``U``.

    The basis is computed from the filters, which are far smaller than the matrices: placing filters into matrices, as
    :func:`locally_connected_weight` does, keeps every inner product. ``k`` is the rank of the filters, and ``rtol`` is
    that of :func:`msr.span.orthonormal_basis`.

    Shapes: ``filters (tasks, out_length, kernel)``, where ``out_length`` is ``length − kernel + 1``, or ``length`` for
    windows that wrap around. Raises: ShapeError for any other.
    """
    basis = orthonormal_basis(filters.flatten(1).mT, rtol=rtol)
    placed = locally_connected_weight(basis.mT.unflatten(1, filters.shape[1:]), length)
    return placed.flatten(1).mT


def convolution_span(length: int, kernel: int, *, circular: bool) -> Tensor:
    """``U`` of all convolutions of a signal, ``(out_length · length, kernel)`` float64: one orthonormal column a tap.

    Tap ``t`` is the weight of input ``i + t`` for output ``i``, so the window begins at the output's own place. The
    output is as long as the signal where the convolution is circular, and ``length − kernel + 1`` long otherwise.
    """
    out_length = length if circular else length - kernel + 1
    U = torch.zeros(out_length, length, kernel, dtype=torch.float64)
    rows = torch.arange(out_length)
    for tap in range(kernel):
        U[rows, (rows + tap) % length, tap] = out_length**-0.5
    return U.flatten(0, 1)
