"""Networks that the runners train and that are not part of the package: baselines and few-shot backbones."""

import math
from functools import partial

import torch
from torch import Tensor, nn

from msr.layers import ReparamConv2d, ReparamLinear
from msr.sharing import DenseSharing, KroneckerSharing
from msr.span.angles import orthonormal_basis

__all__ = ["LocallyConnected1d", "conv4", "with_pattern"]


class LocallyConnected1d(nn.Module):
    """``y[i] = Σ_t F[i, t] x[i + t]``: a filter of its own at each position, or one for all; no bias.

    With ``one_filter`` this is a convolution. Circular when ``out_length`` equals ``length``.
    Shapes: ``x (..., length) -> (..., out_length)``; ``F (out_length or 1, kernel)``.
    Init: the reference's, ``U(±1/√kernel)``.
    """

    def __init__(self, length: int, kernel: int, out_length: int, *, one_filter: bool, generator: torch.Generator):
        super().__init__()
        self.circular = out_length == length
        bound, positions = 1 / math.sqrt(kernel), 1 if one_filter else out_length
        self.weight = nn.Parameter(torch.empty(positions, kernel).uniform_(-bound, bound, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        """Apply each position's filter to its window."""
        kernel = self.weight.shape[1]
        if self.circular:
            x = torch.cat([x, x[..., : kernel - 1]], dim=-1)
        return (x.unfold(-1, kernel, 1) * self.weight).sum(-1)


def conv4(ways: int, *, width: int = 32, reparameterized: bool, generator: torch.Generator) -> nn.Sequential:
    """Four blocks of 3×3 convolution, batch norm, ReLU and 2×2 pooling, then a linear head, for 28×28 images.

    With ``reparameterized`` every convolution has Kronecker factors on its three axes, which start as identities: so
    both networks start as the same function for the same generator.
    Source: the few-shot network of arXiv:1703.03400; factors: arXiv:2007.02933, appendix A.
    """
    blocks: list[nn.Module] = []
    channels = 1
    for _ in range(4):
        convolution = partial(ReparamConv2d, sharing=KroneckerSharing, generator=generator)
        layer: nn.Module = convolution(channels, width, 3, padding=1)
        if not reparameterized:
            layer = layer.fold()  # type: ignore[operator]
        blocks += [layer, nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)]
        channels = width
    head = nn.Linear(width, ways, device="meta").to_empty(device="cpu")
    bound = 1 / math.sqrt(width)
    with torch.no_grad():
        head.weight.uniform_(-bound, bound, generator=generator)
        head.bias.uniform_(-bound, bound, generator=generator)
    return nn.Sequential(*blocks, nn.Flatten(), head)


def with_pattern(U: Tensor, shape: tuple[int, int], rate: float) -> ReparamLinear:
    """A layer whose pattern is given and stays, starting at ``v = 0``.

    Only the span of ``U`` is a fact about the problem. Its columns are made orthogonal with squared length
    ``out / (2 rate)``, for which the first gradient step of that rate already has the right size on inputs of unit
    variance: ``ΔW = −rate U Uᵀ ∂L/∂W`` and the squared error averages over ``out`` numbers.
    """
    basis = orthonormal_basis(U, rtol=1e-5).to(torch.get_default_dtype())
    sharing = DenseSharing.from_matrix(basis * math.sqrt(shape[0] / (2 * rate)), shape, learn=False)
    layer = ReparamLinear(shape[1], shape[0], bias=False, sharing=sharing, generator=torch.Generator())
    nn.init.zeros_(layer.v)
    return layer
