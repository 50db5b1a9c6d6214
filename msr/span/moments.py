"""All that a squared loss reads of a task's examples: their second moments, packed, joined, and kept between passes."""

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from msr.span.thresholds import THRESHOLDS

__all__ = ["Moments", "Passes", "covered", "half_moments", "halves", "joined", "triangle_places"]

_KEPT_BYTES = 2**24  # of one kind of items (rough weights, moments, moments of halves) that are kept between passes
_JOINED_NUMBERS = 2**20  # in one item that is joined from small ones
_Item = TypeVar("_Item", bound=tuple)


class Moments(NamedTuple):
    """All that the squared loss ``‖Y − X Wᵀ‖²`` of a task reads of its examples ``X (N, n)``, ``Y (N, m)``.

    Attributes:
        gram: ``XᵀX``, its upper triangle row by row, ``(tasks, n (n + 1) / 2)``.
        cross: ``YᵀX``, ``(tasks, m n)``.
        energy: ``‖Y‖²``, ``(tasks,)``.
        numbers: ``N m``, ``(tasks,)``.
    """

    gram: Tensor
    cross: Tensor
    energy: Tensor
    numbers: Tensor

    @classmethod
    def of(cls, x: Tensor, y: Tensor) -> "Moments":
        """The moments of each task's examples, ``x (tasks, N, n)``, ``y (tasks, N, m)``."""
        upper = torch.triu_indices(x.shape[2], x.shape[2])
        gram = (x.mT @ x)[:, upper[0], upper[1]]
        numbers = torch.full((len(x),), y.shape[1] * y.shape[2])
        return cls(gram, (y.mT @ x).flatten(1), y.square().sum((1, 2)), numbers)

    def select(self, tasks: Tensor | slice) -> "Moments":
        """The moments of the tasks at these places, or in this slice."""
        return Moments(*(part[tasks] for part in self))


def halves(x: Tensor, y: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Each task's examples cut in two, ``((x, y), (x, y))``: the first half, then the second, which may have one more.

    Shapes: ``x (tasks, N, n)``, ``y (tasks, N, m)``.
    """
    middle = x.shape[1] // 2
    return (x[:, :middle], y[:, :middle]), (x[:, middle:], y[:, middle:])


def half_moments(x: Tensor, y: Tensor) -> Moments:
    """Moments of both halves of each task's examples: every tensor is ``(tasks, 2, ...)``.

    Shapes: ``x (tasks, N, n)``, ``y (tasks, N, m)``.
    """
    sides = (Moments.of(*half) for half in halves(x, y))
    return Moments(*(torch.stack(parts, 1) for parts in zip(*sides, strict=True)))


def covered(both_halves: Moments, m: int, n: int) -> Tensor:
    """Whether a task's inputs reach every direction, ``(tasks,)``, from the moments of both halves of its examples.

    They do where there are at least ``covered_examples`` (1.25) examples for each input, and ``XᵀX`` of all examples
    has no eigenvalue below a share ``covered_reach`` of the mean eigenvalue.
    """
    t = THRESHOLDS()
    reaches_all = both_halves.numbers.sum(1) >= t.covered_examples * m * n
    if reaches_all.any():
        gram = both_halves.gram[reaches_all].sum(1)[:, triangle_places(n)]
        least = t.covered_reach * gram.diagonal(dim1=1, dim2=2).mean(1)
        # XᵀX − least · I is positive definite exactly where Cholesky succeeds, which is cheaper than eigenvalues.
        shifted = gram - least[:, None, None] * torch.eye(n, dtype=gram.dtype)
        reaches_all[reaches_all.clone()] = torch.linalg.cholesky_ex(shifted).info == 0
    return reaches_all


@lru_cache(maxsize=8)
def triangle_places(size: int) -> Tensor:
    """Where ``(i, j)`` lies in a symmetric matrix packed as its upper triangle row by row: ``(size, size)`` indices.

    ``packed[triangle_places(size)]`` is the full matrix again. The last few results are kept, since every iteration of
    a fit asks for the same ones: they are read and never changed.
    """
    places = torch.zeros(size, size, dtype=torch.long)
    upper = torch.triu_indices(size, size)
    places[upper[0], upper[1]] = torch.arange(upper.shape[1])
    return places + places.triu(1).mT


class Passes(Generic[_Item]):
    """A pass over items that can be made again: each call iterates over all items that ``make()`` gives.

    The items, tuples of tensors, are kept after the first whole pass if all together take less than 16 MiB; ``make`` is
    then not called again, and the tensors of a pass must not be changed in place.
    """

    def __init__(self, make: Callable[[], Iterator[_Item]]):
        self._make = make
        self._fits = True  # as far as a pass has shown
        self._complete = False  # whether all items of a pass are kept
        self._kept: list[_Item] = []

    def __call__(self) -> Iterator[_Item]:
        """One pass over all items: the kept ones, or new ones from ``make()``."""
        if self._complete:
            yield from self._kept
            return
        size = 0
        kept: list[_Item] = []
        for item in self._make():
            if self._fits:
                size += sum(part.numel() * part.element_size() for part in item)
                self._fits = size <= _KEPT_BYTES
                kept.append(item)
                if not self._fits:
                    kept = []
            yield item
        self._kept = kept
        self._complete = self._fits


def joined(items: Iterable[_Item]) -> Iterator[_Item]:
    """The items in order, neighbours concatenated along their first axis, the tasks, while they are small together.

    Tasks with their own numbers of examples come in chunks of one, and to process a chunk costs as much as hundreds of
    tasks.
    """
    waiting: list[_Item] = []
    size = 0
    for item in items:
        numbers = sum(part.numel() for part in item)
        if waiting and size + numbers > _JOINED_NUMBERS:
            yield _concatenated(waiting)
            waiting = []
            size = 0
        waiting.append(item)
        size += numbers
    if waiting:
        yield _concatenated(waiting)


def _concatenated(items: list[_Item]) -> _Item:
    """One item with the tensors of all items concatenated along their first axis."""
    first = items[0]
    if len(items) == 1:
        return first
    parts = [torch.cat(part) for part in zip(*items, strict=True)]
    return type(first)(*parts) if isinstance(first, Moments) else type(first)(parts)
