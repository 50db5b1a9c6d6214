"""The reparameterised twin of ``nn.Linear``."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from msr.layers.base import Path, ReparamLayer
from msr.sharing import KroneckerSharing, PathCost, Sharing, SharingFactory

__all__ = ["ReparamLinear"]


class ReparamLinear(ReparamLayer, affine=True, plain=True):
    """``y = x Wᵀ + b`` with ``vec(W) = U v``.

    The arguments of ``nn.Linear``, then: ``sharing``, a pattern or a factory of one (default: Kronecker, square);
    ``generator`` for the draws; ``path`` as in :class:`~msr.layers.base.ReparamLayer`.

    Shapes: ``x (*, in_features) -> (*, out_features)``.
    Raises: ShapeError when the pattern makes a weight of another shape.
    Source: arXiv:2007.02933.

    >>> layer = ReparamLinear(70, 68, bias=False, sharing=partial(DenseSharing, k=3))
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        sharing: Sharing | SharingFactory = KroneckerSharing,
        generator: torch.Generator | None = None,
        path: Path = "auto",
    ):
        super().__init__((out_features, in_features), bias, device, dtype, sharing, generator, path)
        self.in_features = in_features
        self.out_features = out_features

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer: ``(*, in_features) -> (*, out_features)``."""
        if self._factors_are_cheaper(x):
            return self.sharing.apply_linear(self.v, x, self.shared_bias)
        return F.linear(x, self.weight, self.shared_bias)

    def _factors_are_cheaper(self, x: Tensor) -> bool:
        """Whether to apply the pattern to ``x`` without building ``W``: see :meth:`_takes_factors`."""
        return self._takes_factors(x.numel() // max(self.in_features, 1))

    def _factor_cost(self) -> PathCost | None:
        """What the pattern's own way costs in a linear layer; None where ``W`` has to be built."""
        return self.sharing.linear_cost()

    def plain(self, device: torch.device | str | None = None) -> nn.Linear:
        """``nn.Linear`` with these arguments."""
        return nn.Linear(self.in_features, self.out_features, self.bias is not None, device=device, dtype=self.v.dtype)

    def extra_repr(self) -> str:
        """The sizes as ``nn.Linear`` gives them, and the path where it is not automatic."""
        text = f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
        return text if self.path == "auto" else f"{text}, path={self.path!r}"
