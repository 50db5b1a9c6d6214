"""Linear examples of many tasks, a chunk at a time: what the gradient-free finders of a shared span read."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, NamedTuple, NoReturn, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from msr.arrays import as_tensor, takes_arrays
from msr.errors import DataError, NonFiniteError, ShapeError, listed

__all__ = ["Chunks", "Moments", "in_chunks", "patches"]

Chunks = Callable[[], Iterable[tuple[Tensor, Tensor]]]
"""A pass over the tasks: each call gives pairs ``x (tasks, examples, n)``, ``y (tasks, examples, m)``, in one order.

Passes are made several times, so that no more than one chunk has to be in memory. What is made of the chunks is kept
between passes as long as it takes less than 64 MiB.
"""

_KEPT_BYTES = 2**24
_PIECE_NUMBERS = 2**24
_MERGED_NUMBERS = 2**20
_T = TypeVar("_T", bound=tuple)


class Moments(NamedTuple):
    """All that the squared loss ``‖Y − X Wᵀ‖²`` of a task sees of its examples ``X (N, n)``, ``Y (N, m)``.

    ``gram = XᵀX (tasks, n (n + 1) / 2)``, its upper triangle row by row; ``cross = YᵀX (tasks, m n)``;
    ``energy = ‖Y‖² (tasks,)``; ``numbers = N m (tasks,)``.
    """

    gram: Tensor
    cross: Tensor
    energy: Tensor
    numbers: Tensor

    @classmethod
    def of(cls, x: Tensor, y: Tensor) -> "Moments":
        """Of each task's examples, ``x (tasks, N, n)``, ``y (tasks, N, m)``."""
        above = torch.triu_indices(x.shape[2], x.shape[2])
        gram = (x.mT @ x)[:, above[0], above[1]]
        numbers = torch.full((len(x),), y.shape[1] * y.shape[2])
        return cls(gram, (y.mT @ x).flatten(1), y.square().sum((1, 2)), numbers)

    def select(self, tasks: Tensor | slice) -> "Moments":
        """Those of some tasks."""
        return Moments(*(part[tasks] for part in self))


class Passes(Generic[_T]):
    """A pass that can be made again; its items, tuples of tensors, are kept if they are small in all."""

    def __init__(self, make: Callable[[], Iterator[_T]]):
        self._make, self._room, self._whole = make, True, False
        self._kept: list[_T] = []

    def __call__(self) -> Iterator[_T]:
        """One pass."""
        if self._whole:
            yield from self._kept
            return
        size, kept = 0, []
        for item in self._make():
            if self._room:
                size += sum(part.numel() * part.element_size() for part in item)
                self._room = size <= _KEPT_BYTES
                kept.append(item)
                if not self._room:
                    kept = []
            yield item
        self._kept, self._whole = kept, self._room


def merged(items: Iterable[_T]) -> Iterator[_T]:
    """Tuples of tensors with tasks as the first axis, neighbours joined while they are small.

    Tasks with their own numbers of examples come in chunks of one, and a chunk costs as much as hundreds of tasks.
    """
    waiting: list[_T] = []
    size = 0
    for item in items:
        numbers = sum(part.numel() for part in item)
        if waiting and size + numbers > _MERGED_NUMBERS:
            yield _joined(waiting)
            waiting, size = [], 0
        waiting.append(item)
        size += numbers
    if waiting:
        yield _joined(waiting)


def _joined(items: list[_T]) -> _T:
    first = items[0]
    if len(items) == 1:
        return first
    parts = [torch.cat(part) for part in zip(*items, strict=True)]
    return type(first)(*parts) if isinstance(first, Moments) else type(first)(parts)


class Standardised:
    """The tasks of some chunks, each input and the outputs as a whole brought to a mean square of 1, in float64.

    The first pass measures; each later one is checked to see the same tasks. Pieces are small enough that
    ``tasks · n (n + m)`` numbers fit beside them.

    Attributes: ``n`` inputs, ``m`` outputs, ``n_tasks``, ``n_examples`` in all, ``numbers`` of outputs in all,
    ``fewest`` of them in a task; ``scale_x (n,)`` and ``scale_y``, what was divided by.
    Raises: DataError, ShapeError, NonFiniteError for chunks that cannot be used, naming the task.
    """

    def __init__(self, chunks: Chunks):
        if not callable(chunks):
            raise DataError(
                "chunks must be a function that yields (x, y) anew each time it is called, since several passes are "
                f"made; got a {type(chunks).__name__}. For tensors in memory see msr.meta.in_chunks"
            )
        self._chunks = chunks
        self.n_tasks = self.n_examples = self.numbers = self.fewest = 0
        self._seen: list[tuple[int, float, float]] = []
        squares, energy = torch.zeros((), dtype=torch.float64), 0.0
        for x, y in self._checked():
            self.m, self.n = y.shape[2], x.shape[2]
            if x.shape[1] < 2:
                raise DataError(
                    "a task needs at least two examples to tell what it shares from its noise; one came. Tasks for "
                    "training have query examples too: give them all"
                )
            numbers = y.shape[1] * y.shape[2]
            self.fewest = min(self.fewest or numbers, numbers)
            self.n_tasks += len(x)
            self.n_examples += x.shape[0] * x.shape[1]
            self.numbers += y.numel()
            squares = squares + x.square().sum((0, 1))
            energy += float(y.square().sum())
            self._seen.append(self._mark(x, y))
        self.scale_x, self.scale_y = (squares / self.n_examples).sqrt(), (energy / self.numbers) ** 0.5
        dead = (self.scale_x == 0).nonzero().flatten().tolist()
        if dead:
            raise DataError(
                f"input coordinates {listed(dead)} are always zero; drop them, nothing can be learned there"
            )
        if self.scale_y == 0:
            raise DataError("all outputs are zero; there is nothing to learn")

    def __call__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass."""
        place = 0
        piece = max(1, _PIECE_NUMBERS // (self.n * (self.n + self.m)))
        for x, y in self._checked():
            if place == len(self._seen) or self._seen[place] != self._mark(x, y):
                self._refuse(f"chunk {place} is not the one of the first pass")
            place += 1
            for start in range(0, len(x), piece):
                yield x[start : start + piece] / self.scale_x, y[start : start + piece] / self.scale_y
        if place < len(self._seen):
            self._refuse(f"a later pass ended after {place} of {len(self._seen)} chunks")

    def weights(self, standardised: Tensor) -> Tensor:
        """Columns ``vec(W)`` for inputs and outputs as they came, from those for standardised ones: ``(m n, p)``."""
        return (standardised.reshape(self.m, self.n, -1) * (self.scale_y / self.scale_x)[:, None]).flatten(0, 1)

    def standardise(self, weights: Tensor) -> Tensor:
        """The inverse of :meth:`weights`."""
        return (weights.reshape(self.m, self.n, -1) * (self.scale_x / self.scale_y)[:, None]).flatten(0, 1)

    @staticmethod
    def _mark(x: Tensor, y: Tensor) -> tuple[int, float, float]:
        return len(x), float(x.sum()), float(y.sum())

    @staticmethod
    def _refuse(what: str) -> NoReturn:
        raise DataError(
            f"{what}; chunks() must yield the same tasks in the same order each time it is called (no shuffling, no "
            "iterator that is used up)"
        )

    def _checked(self) -> Iterator[tuple[Tensor, Tensor]]:
        seen, first = 0, None
        for came_x, came_y in self._chunks():
            x, y = as_tensor(came_x, "x of a chunk"), as_tensor(came_y, "y of a chunk")
            if x.ndim != 3 or y.ndim != 3 or x.shape[:2] != y.shape[:2] or 0 in (*x.shape, *y.shape):
                raise ShapeError(
                    "linear examples are x (tasks, examples, n) and y (tasks, examples, m), none of them empty; got "
                    f"x {tuple(x.shape)}, y {tuple(y.shape)}. For images see msr.meta.patches"
                )
            first = first or (x.shape[2], y.shape[2])
            if (x.shape[2], y.shape[2]) != first:
                raise ShapeError(f"task {seen}: {first} inputs and outputs came before, now {(x.shape[2], y.shape[2])}")
            bad = ~(x.isfinite().flatten(1).all(1) & y.isfinite().flatten(1).all(1))
            if bad.any():
                raise NonFiniteError(f"task {seen + int(bad.nonzero()[0])}: its examples hold nan or infinity")
            seen += len(x)
            yield x.detach().to("cpu", torch.float64), y.detach().to("cpu", torch.float64)
        if seen == 0 and not self._seen:
            raise DataError("there is no task to learn from; the chunks are empty")


@takes_arrays("x", "y")
def in_chunks(x: Tensor, y: Tensor, size: int = 500) -> Chunks:
    """Passes over tasks that are in memory: ``x (tasks, examples, ...)``, ``y (tasks, examples, ...)``, flattened."""
    if size < 1:
        raise ShapeError(f"in_chunks: a chunk needs at least one task; got size = {size}")
    if min(x.ndim, y.ndim) < 3 or x.shape[:2] != y.shape[:2]:
        raise ShapeError(
            "in_chunks: x and y must be (tasks, examples, ...) with the same tasks and examples; got "
            f"x {tuple(x.shape)}, y {tuple(y.shape)}"
        )

    def one_pass() -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(x), size):
            yield x[start : start + size].flatten(2), y[start : start + size].flatten(2)

    return one_pass


@takes_arrays("x", "y")
def patches(
    x: Tensor,
    y: Tensor,
    kernel_size: int | Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
) -> tuple[Tensor, Tensor]:
    """A convolution's examples as a linear layer's: each window of the input is an example of its own.

    Shapes: ``x (tasks, examples, c, *space)``, ``y (tasks, examples, out, *space')`` with one or two spatial axes
    become ``(tasks, examples · positions, c · ∏ kernel)`` and ``(tasks, examples · positions, out)``: the weight
    ``(out, c, *kernel)`` is then the matrix ``(out, c · ∏ kernel)``, row by row.
    Raises: ShapeError when ``y`` does not have a position for each window.
    """
    axes = x.ndim - 3
    if axes not in (1, 2) or y.ndim != x.ndim or x.shape[:2] != y.shape[:2]:
        raise ShapeError(
            "patches: x must be (tasks, examples, channels, *space) with one or two spatial axes and y alike; "
            f"came x {tuple(x.shape)}, y {tuple(y.shape)}"
        )
    kernel, steps, holes = (_each(v, axes, 1) for v in (kernel_size, stride, dilation))
    rim = _each(padding, axes, 0)
    space = [
        (size + 2 * p - d * (k - 1) - 1) // s + 1
        for size, k, s, p, d in zip(x.shape[3:], kernel, steps, rim, holes, strict=True)
    ]
    if list(y.shape[3:]) != space or min(space) < 1:
        raise ShapeError(
            f"patches: a kernel {kernel} with stride {steps}, padding {rim}, dilation {holes} makes {space} positions "
            f"of x {tuple(x.shape)}, but y is {tuple(y.shape)}"
        )
    if axes == 1:  # unfold knows images only
        x, kernel, steps, rim, holes = x.unsqueeze(-2), (1, *kernel), (1, *steps), (0, *rim), (1, *holes)
    windows = F.unfold(x.flatten(0, 1), kernel, dilation=holes, padding=rim, stride=steps)
    windows = windows.mT.unflatten(0, y.shape[:2]).flatten(1, 2)
    return windows, y.flatten(3).mT.flatten(1, 2)


def halves(x: Tensor, y: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Each task's examples in two parts of equal size (but for one)."""
    middle = x.shape[1] // 2
    return (x[:, :middle], y[:, :middle]), (x[:, middle:], y[:, middle:])


def _each(value: int | Sequence[int], axes: int, least: int) -> tuple[int, ...]:
    sizes = (value,) * axes if isinstance(value, int) else tuple(value)
    if len(sizes) != axes or min(sizes) < least:
        raise ShapeError(
            f"patches: {axes} sizes of at least {least} are needed, one for each spatial axis; got {value}"
        )
    return sizes
