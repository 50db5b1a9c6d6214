"""Sharing patterns: the ``U`` of ``vec(W) = U v``, as objects that a layer can hold."""

from msr.sharing.application import Convolution as Convolution
from msr.sharing.application import PathCost as PathCost
from msr.sharing.base import Sharing as Sharing
from msr.sharing.base import SharingFactory as SharingFactory
from msr.sharing.dense import DenseSharing as DenseSharing
from msr.sharing.group import GroupSharing as GroupSharing
from msr.sharing.kronecker import KroneckerSharing as KroneckerSharing

__all__ = [
    "Convolution", "DenseSharing", "GroupSharing", "KroneckerSharing", "PathCost", "Sharing", "SharingFactory",
]  # fmt: skip
