"""Linear examples of many tasks, a chunk at a time: what the gradient-free finders of a shared span read."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from msr.errors import DataError, NonFiniteError, ShapeError

__all__ = ["Chunks", "Moments", "in_chunks", "patches"]

Chunks = Callable[[], Iterable[tuple[Tensor, Tensor]]]
"""A pass over the tasks: each call gives pairs ``x (tasks, examples, n)``, ``y (tasks, examples, m)``, in one order.

Passes are made several times, so that no more than one chunk has to be in memory. What is made of the chunks is kept
between passes as long as it takes less than 256 MiB.
"""

_KEPT_BYTES = 2**28
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

    def select(self, tasks: Tensor) -> "Moments":
        """Those of some tasks."""
        return Moments(*(part[tasks] for part in self))


class Passes(Generic[_T]):
    """A pass that can be made again; its items, tuples of tensors, are kept if they are small in all."""

    def __init__(self, make: Callable[[], Iterator[_T]]):
        self._make, self._kept, self._room = make, [], True  # type: Callable[[], Iterator[_T]], list[_T], bool
        self._whole = False

    def __call__(self) -> Iterator[_T]:
        """One pass."""
        if self._whole:
            yield from self._kept
            return
        size, self._kept = 0, []
        for item in self._make():
            if self._room:
                size += sum(part.numel() * part.element_size() for part in item)
                self._room = size <= _KEPT_BYTES
                self._kept = [*self._kept, item] if self._room else []
            yield item
        self._whole = self._room


def in_chunks(x: Tensor, y: Tensor, size: int = 500) -> Chunks:
    """Passes over tasks that are in memory: ``x (tasks, examples, ...)``, ``y (tasks, examples, ...)``, flattened."""
    if size < 1:
        raise ShapeError(f"in_chunks: a chunk needs at least one task; came size = {size}")

    def one_pass() -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(x), size):
            yield x[start : start + size].flatten(2), y[start : start + size].flatten(2)

    return one_pass


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
    kernel, steps, rim, holes = (_each(v, axes) for v in (kernel_size, stride, padding, dilation))
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


def checked(chunks: Chunks, dtype: torch.dtype = torch.float64) -> Iterator[tuple[Tensor, Tensor]]:
    """One pass, with what cannot be used named by the task's place in the stream."""
    seen, first = 0, None
    for x, y in chunks():
        if x.ndim != 3 or y.ndim != 3 or x.shape[:2] != y.shape[:2] or 0 in (*x.shape, *y.shape):
            raise ShapeError(
                "linear examples are x (tasks, examples, n) and y (tasks, examples, m), none of them empty; came "
                f"x {tuple(x.shape)}, y {tuple(y.shape)}. For images see msr.meta.patches"
            )
        first = first or (x.shape[2], y.shape[2])
        if (x.shape[2], y.shape[2]) != first:
            raise ShapeError(f"task {seen}: {first} inputs and outputs came before, now {(x.shape[2], y.shape[2])}")
        bad = ~(x.isfinite().flatten(1).all(1) & y.isfinite().flatten(1).all(1))
        if bad.any():
            raise NonFiniteError(f"task {seen + int(bad.nonzero()[0])}: its examples hold nan or infinity")
        seen += len(x)
        yield x.to(dtype), y.to(dtype)
    if seen == 0:
        raise DataError("there is no task to learn from; the chunks are empty")


def halves(x: Tensor, y: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Each task's examples in two parts of equal size (but for one)."""
    middle = x.shape[1] // 2
    return (x[:, :middle], y[:, :middle]), (x[:, middle:], y[:, middle:])


def _each(value: int | Sequence[int], axes: int) -> tuple[int, ...]:
    sizes = (value,) * axes if isinstance(value, int) else tuple(value)
    if len(sizes) != axes or math.prod(sizes) < 0:
        raise ShapeError(f"patches: one size for each of the {axes} spatial axes is needed; came {value}")
    return sizes
