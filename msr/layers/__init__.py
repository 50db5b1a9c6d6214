"""Layers whose weight is ``vec(W) = U v``, and the patterns ``U`` that they hold."""

from msr.layers.base import ReparamLayer as ReparamLayer
from msr.layers.conv import ReparamConv1d as ReparamConv1d
from msr.layers.conv import ReparamConv2d as ReparamConv2d
from msr.layers.convert import Reparameterized as Reparameterized
from msr.layers.convert import ResidualWarning as ResidualWarning
from msr.layers.convert import fold as fold
from msr.layers.convert import reparameterize as reparameterize
from msr.layers.group import GroupSharing as GroupSharing
from msr.layers.linear import ReparamLinear as ReparamLinear
from msr.layers.sharing import DenseSharing as DenseSharing
from msr.layers.sharing import KroneckerSharing as KroneckerSharing
from msr.layers.sharing import Sharing as Sharing
from msr.layers.sharing import SharingFactory as SharingFactory

__all__ = [
    "ReparamLayer", "ReparamLinear", "ReparamConv1d", "ReparamConv2d",
    "Sharing", "SharingFactory", "DenseSharing", "KroneckerSharing", "GroupSharing",
    "reparameterize", "fold", "Reparameterized", "ResidualWarning",
]  # fmt: skip
