"""Networks as users of the peers write them; the published ones that runners train too are in ``tasks.networks``."""

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["ShareLinear"]


class ShareLinear(nn.Module):
    """A linear layer ``W = reshape(U v)`` without this package: ``U`` for the outer loop, ``v`` for the inner one.

    Shapes: ``U (out · in, k)``, ``v (k,)``; ``x (..., in) -> (..., out)``.
    """

    def __init__(self, U: Tensor, v: Tensor, out_features: int):
        super().__init__()
        self.U = nn.Parameter(U.clone())
        self.v = nn.Parameter(v.clone())
        self.out_features = out_features

    def forward(self, x: Tensor) -> Tensor:
        """``x Wᵀ``, from the present ``U`` and ``v``."""
        return F.linear(x, (self.U @ self.v).view(self.out_features, -1))
