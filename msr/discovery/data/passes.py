"""Passes over many tasks in pieces, so that no second copy of all their numbers is ever held."""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Derived", "chunks", "example_mask", "root_mean_squares", "slices_of", "sum_of_squares"]

# Limits of memory, not of accuracy: numbers that one piece of a pass may make (8 MB in float64), and numbers of the
# tasks themselves in a pass that only copies them (1 MB).
_CHUNK_NUMBERS = 2**20
_SLICE_NUMBERS = 2**17


@dataclass(frozen=True, eq=False)
class Derived:
    """Tasks ``(tasks, examples, size)`` that are computed from others on access: ``values / unit @ turn``.

    Indexing by ``[tasks]`` or ``[tasks, examples]`` gives a tensor; the whole is never held. Without ``turn`` the
    values are only divided.

    Shapes: ``values (tasks, examples, n)``, ``unit (n,)``, ``turn (n, size)``; without ``turn`` the size is ``n``.
    """

    values: Tensor
    unit: Tensor
    turn: Tensor | None = None

    def __getitem__(self, places: Tensor | slice | tuple[Tensor | slice, ...]) -> Tensor:
        scaled = self.values[places] / self.unit
        return scaled if self.turn is None else scaled @ self.turn

    def __len__(self) -> int:
        return len(self.values)

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(tasks, examples, size)`` of the computed tasks."""
        count, examples, size = self.values.shape
        return count, examples, size if self.turn is None else self.turn.shape[1]


def root_mean_squares(values: Tensor | Derived) -> Tensor:
    """Root mean square of each coordinate over all tasks and rows, ``(size,)``; 1 for a coordinate of zeros.

    Rows of padding count as rows, so they make it smaller.

    Shapes: ``values (tasks, examples, size)``.
    """
    size = (sum_of_squares(values) / (values.shape[0] * values.shape[1])).sqrt()
    return torch.where(size > 0, size, 1.0)


def sum_of_squares(values: Tensor | Derived) -> Tensor:
    """Sum of squares of each coordinate over all tasks and rows, ``(size,)``; a copy of all values is never made.

    Shapes: ``values (tasks, examples, size)``.
    """
    parts = [values[part].square().sum((0, 1)) for part in slices_of(values)]
    return torch.stack(parts).sum(0) if parts else torch.zeros(values.shape[2], dtype=torch.float64)


def slices_of(values: Tensor | Derived, most: int = _SLICE_NUMBERS) -> list[slice]:
    """Slices of the tasks of ``(tasks, examples, size)``, each of one task or of at most ``most`` numbers."""
    size = max(1, most // max(values.shape[1] * values.shape[2], 1))
    return [slice(first, min(first + size, len(values))) for first in range(0, len(values), size)]


def example_mask(values: Tensor | Derived, counts: Tensor) -> Tensor:
    """``(tasks, examples)``, float64: 1 where a row of the task holds an example, 0 where it is padding."""
    return (torch.arange(values.shape[1]) < counts[:, None]).double()


def chunks(count: int, numbers: int, most: int = _CHUNK_NUMBERS) -> list[slice]:
    """Slices that cover ``count`` tasks in order, for a pass that makes ``numbers`` numbers of each task.

    A slice makes ``most`` numbers, a million, at most, and holds one task at least.
    """
    size = max(1, most // max(numbers, 1))
    return [slice(first, min(first + size, count)) for first in range(0, count, size)]
