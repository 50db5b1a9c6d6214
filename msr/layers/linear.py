"""The reparameterised twin of ``nn.Linear``."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from msr.layers.base import Path, ReparamLayer
from msr.sharing.base import DenseSharing, KroneckerSharing, Sharing, SharingFactory
from msr.sharing.group import GroupSharing

__all__ = ["ReparamLinear"]


class ReparamLinear(ReparamLayer):
    """``y = x Wᵀ + b`` with ``vec(W) = U v``.

    The arguments of ``nn.Linear``, then: ``sharing``, a pattern or a factory of one (default: Kronecker, square);
    ``generator`` for the draws; ``path`` as in :class:`~msr.layers.base.ReparamLayer`.

    Shapes: ``x (*, in_features) -> (*, out_features)``.
    Raises: ShapeError when the pattern makes a weight of another shape.
    Source: arXiv:2007.02933.

    >>> layer = ReparamLinear(70, 68, bias=False, sharing=partial(DenseSharing, k=3))
    """

    is_plain = True  # calls nothing of torch that meta-learning needs in another form

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
        self.in_features, self.out_features = in_features, out_features

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer: ``(*, in_features) -> (*, out_features)``."""
        if not self._factors_are_cheaper(x):
            return F.linear(x, self.weight, self.shared_bias)
        if isinstance(self.sharing, KroneckerSharing):
            A, B = self.sharing.factors
            return F.linear(F.linear(F.linear(x, B.mT), self.v), A, self.shared_bias)
        # y[i] = Σ_k (Σ_j U[i, j, k] x[j]) v[k]: what depends on x alone first, so all tasks share one product with U,
        # and the Jacobian in v is at hand. With k outermost, U and both its uses are read row by row.
        U = self.sharing.matrix().mT.reshape(-1, self.in_features)
        y = F.linear(x, U).unflatten(-1, (-1, self.out_features))
        y = (y * self.v.to(y.dtype).flatten().unsqueeze(-1)).sum(-2)
        bias = self.shared_bias
        return y if bias is None else y + bias.to(y.dtype)  # under autocast, y is the narrower one

    def _factors_are_cheaper(self, x: Tensor) -> bool:
        if self.path == "auto" and isinstance(self.sharing, GroupSharing) and self.sharing.is_labelled:
            return False  # the weight is a lookup; U itself would have to be built
        rows = x.numel() // max(self.in_features, 1)
        m, n = self.sharing.weight_shape
        if isinstance(self.sharing, KroneckerSharing):
            r, s = self.sharing.filter_shape
            each = n * s + s * r + r * m
        else:
            each = (n + 1) * m * self.sharing.n_filter
        return self._takes_factors(rows, (each, 0), (n * m, self._cost_of_weight()))

    def _can_apply_factors(self) -> bool:
        return isinstance(self.sharing, (KroneckerSharing, DenseSharing, GroupSharing))

    def plain(self, device: torch.device | str | None = None) -> nn.Linear:
        """``nn.Linear`` with these arguments."""
        return nn.Linear(self.in_features, self.out_features, self.bias is not None, device=device, dtype=self.v.dtype)

    def extra_repr(self) -> str:
        """The twin's, and the path where it is not automatic."""
        text = f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
        return text if self.path == "auto" else f"{text}, path={self.path!r}"
