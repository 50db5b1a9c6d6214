"""Recorded meta-gradients of chunks, kept by everything that a record depends on."""

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor

from msr.meta.record.recording import record
from msr.trees import Tree

__all__ = ["MeanLoss", "Records"]

MeanLoss = Callable[[list[Tensor], list[Tensor]], tuple[Tensor, Tensor]]
"""``(leaves, chunk) -> (mean loss, losses)`` of the tasks of a chunk."""


class Records:
    """Records of meta-gradients, one for each key. A key holds the ids of the record's owners, so these are kept with
    it: no other object can take their ids.

    Attributes:
        entries: the record and its owners, by key.
    """

    def __init__(self) -> None:
        self.entries: dict[Hashable, tuple[Callable, tuple[object, ...]]] = {}

    @staticmethod
    def key(
        owners: tuple[object, ...], leaves: list[Tensor], chunk: list[Tensor], n_tasks: int, structure: Tree
    ) -> Hashable:
        """All that a record depends on: what it was made from, the number of all tasks, and the tensors' shapes,
        layouts, types and devices.

        Layouts count because views that change nothing in one layout are dropped from its record.
        """
        layouts = [(t.shape, t.stride(), t.dtype, t.device) for t in (*leaves, *chunk)]
        kind = leaves[0].device.type
        # Autocast and the default dtype decide in which types operations were recorded.
        cast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        ids = tuple(map(id, owners))
        # A step of small operations is short, and four plain tensors are the common case.
        shown = None if structure is None else repr(structure)
        return (*ids, n_tasks, cast, torch.get_default_dtype(), shown, *layouts)

    def make(
        self,
        key: Hashable,
        owners: tuple[object, ...],
        mean_loss: MeanLoss,
        leaves: list[Tensor],
        chunk: list[Tensor],
    ) -> Callable:
        """Record the gradient of ``mean_loss``, ``(*leaves, *chunk) -> [losses, *slopes]``, keep it under ``key``, and
        return it.

        Raises: NotRecorded if it looks at a value.
        """
        n_leaves = len(leaves)

        def gradient(*tensors: Tensor) -> list[Any]:
            # The losses are handed through, since the outer loop reports them and one pass computes both.
            take = torch.func.grad_and_value(mean_loss, has_aux=True)
            slopes, (_, losses) = take(list(tensors[:n_leaves]), list(tensors[n_leaves:]))
            return [losses, *slopes]

        with torch.no_grad():
            replay = record(gradient, *leaves, *chunk)
        self.entries[key] = (replay, owners)
        return replay

    def __contains__(self, key: Hashable) -> bool:
        return key in self.entries

    def get(self, key: Hashable) -> Callable | None:
        """The record that is kept under the key; None where there is none."""
        entry = self.entries.get(key)
        return None if entry is None else entry[0]
