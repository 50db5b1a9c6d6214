"""The one shape in which tasks travel: a support set to adapt on and a query set to be judged on."""

from typing import NamedTuple

import torch
from torch import Tensor

from msr.errors import DataError, ShapeError

__all__ = ["Episodes"]


class Episodes(NamedTuple):
    """A batch of tasks. Every tensor is ``(tasks, examples, ...)``; support and query differ in ``examples`` only."""

    support_x: Tensor
    support_y: Tensor
    query_x: Tensor
    query_y: Tensor

    @classmethod
    def split(cls, x: Tensor, y: Tensor, shots: int) -> "Episodes":
        """The first ``shots`` examples of each task are its support, the rest its query."""
        if not 1 <= shots < x.shape[1]:
            raise ShapeError(
                f"shots must leave at least one of the {x.shape[1]} examples of a task for the query set; came {shots}"
            )
        return cls(x[:, :shots], y[:, :shots], x[:, shots:], y[:, shots:])

    @property
    def n_tasks(self) -> int:
        """How many tasks the batch holds."""
        return self.support_x.shape[0]

    def select(self, tasks: slice | Tensor) -> "Episodes":
        """The same episodes for some of the tasks."""
        return Episodes(*(part[tasks] for part in self))

    def to(self, device: torch.device | str) -> "Episodes":
        """The same episodes on another device."""
        return Episodes(*(part.to(device) for part in self))

    def check(self) -> "Episodes":
        """Itself, or an error that names the tensor and the axis at fault."""
        if self.n_tasks == 0:
            raise DataError("the batch holds no task; give at least one")
        for name, part in zip(self._fields, self, strict=True):
            if part.ndim < 2 or part.shape[0] != self.n_tasks:
                raise ShapeError(
                    f"{name} must be (tasks, examples, ...) with {self.n_tasks} tasks as in support_x; "
                    f"came {tuple(part.shape)}"
                )
            if part.shape[1] == 0:
                raise DataError(f"{name} holds no example (axis 1 of {tuple(part.shape)} is empty)")
        for role in ("support", "query"):
            x, y = getattr(self, f"{role}_x"), getattr(self, f"{role}_y")
            if x.shape[1] != y.shape[1]:
                raise ShapeError(f"{role}_x has {x.shape[1]} examples a task, {role}_y has {y.shape[1]} (axis 1)")
        return self
