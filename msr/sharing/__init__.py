"""Sharing patterns: the ``U`` of ``vec(W) = U v``, as objects that a layer can hold."""

from msr.sharing.base import DenseSharing as DenseSharing
from msr.sharing.base import KroneckerSharing as KroneckerSharing
from msr.sharing.base import Sharing as Sharing
from msr.sharing.base import SharingFactory as SharingFactory
from msr.sharing.group import GroupSharing as GroupSharing

__all__ = ["DenseSharing", "GroupSharing", "KroneckerSharing", "Sharing", "SharingFactory"]
