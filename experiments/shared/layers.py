"""Layers that runners train and that are not part of the package: a baseline, and a layer of a given pattern."""

import math

import torch
from torch import Tensor, nn

from msr.layers import ReparamLinear
from msr.sharing import DenseSharing
from msr.span.angles import orthonormal_basis

__all__ = ["LocallyConnected1d", "with_pattern"]

# Directions of a given pattern below this share of the largest are rounding: patterns are kept in single precision,
# whose rounding is about 1e-7. Chosen by hand.
_RTOL = 1e-5


class LocallyConnected1d(nn.Module):
    """``y[i] = Σ_t F[i, t] x[i + t]``: a filter for each position, or one for all of them; no bias.

    With ``one_filter`` this is a convolution. Windows wrap around where ``out_length`` equals ``length``.

    Shapes: ``x (..., length) -> (..., out_length)``; ``F (out_length or 1, kernel)``.
    Init: that of the reference's code, ``U(±1/√kernel)``.
    """

    def __init__(self, length: int, kernel: int, out_length: int, *, one_filter: bool, generator: torch.Generator):
        super().__init__()
        self.circular = out_length == length
        bound = 1 / math.sqrt(kernel)
        positions = 1 if one_filter else out_length
        self.weight = nn.Parameter(torch.empty(positions, kernel).uniform_(-bound, bound, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        """Apply each position's filter to its window."""
        kernel = self.weight.shape[1]
        if self.circular:
            x = torch.cat([x, x[..., : kernel - 1]], dim=-1)
        return (x.unfold(-1, kernel, 1) * self.weight).sum(-1)


def with_pattern(U: Tensor, shape: tuple[int, int], rate: float) -> ReparamLinear:
    """A layer without a bias whose pattern is given and is not learned, starting at ``v = 0``.

    Args:
        U: a pattern ``(out · in, k)``.
        shape: ``(out, in)`` of the weight.
        rate: of the gradient steps by which ``v`` will adapt.

    Only the span of ``U`` is a fact about the problem; the lengths of its columns are free. They are made orthogonal
    with squared length ``out / (2 rate)``, for which the first gradient step of that rate already has the right size on
    inputs of unit variance: ``ΔW = −rate U Uᵀ ∂L/∂W``, and the squared error is a mean over ``out`` numbers.
    """
    basis = orthonormal_basis(U, rtol=_RTOL).to(torch.get_default_dtype())
    sharing = DenseSharing.from_matrix(basis * math.sqrt(shape[0] / (2 * rate)), shape, learn=False)
    layer = ReparamLinear(shape[1], shape[0], bias=False, sharing=sharing, generator=torch.Generator())
    nn.init.zeros_(layer.v)
    return layer
