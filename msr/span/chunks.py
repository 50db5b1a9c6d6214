"""Linear examples of many tasks, a chunk at a time: the form in which the finders of a shared span take their data."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch.nn.functional as F
from torch import Tensor

from msr.arrays import takes_arrays
from msr.errors import ShapeError

__all__ = ["Chunks", "in_chunks", "patches"]

Chunks = Callable[[], Iterable[tuple[Tensor, Tensor]]]
"""A pass over the tasks: each call gives pairs ``x (tasks, examples, n)``, ``y (tasks, examples, m)``, in one order.

Passes are made several times, so that no more than one chunk has to be in memory. What is computed from the chunks is
kept between passes as long as it takes less than 16 MiB.
"""


@takes_arrays("x", "y")
def in_chunks(x: Tensor, y: Tensor, size: int = 500) -> Chunks:
    """Passes over tasks that are in memory, ``size`` tasks at a time, each example flattened to a vector.

    Shapes: ``x (tasks, examples, ...)``, ``y (tasks, examples, ...)``; a chunk holds ``(size, examples, n)`` and
    ``(size, examples, m)``, the last one maybe fewer tasks.
    Raises: ShapeError for a size below 1, or for ``x`` and ``y`` with other tasks or examples.
    """
    if size < 1:
        raise ShapeError(f"in_chunks: a chunk needs at least one task; got size = {size}")
    if min(x.ndim, y.ndim) < 3 or x.shape[:2] != y.shape[:2]:
        raise ShapeError(
            "in_chunks: x and y must be (tasks, examples, ...) with the same tasks and examples; got "
            f"x {tuple(x.shape)}, y {tuple(y.shape)}"
        )

    def one_pass() -> Iterator[tuple[Tensor, Tensor]]:
        """One pass over the chunks, in the order of the tasks."""
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
            "patches: x must be (tasks, examples, channels, *space) with one or two spatial axes, and y likewise with "
            f"the same tasks and examples; got x {tuple(x.shape)}, y {tuple(y.shape)}"
        )
    kernel = _per_axis(kernel_size, axes, 1)
    steps = _per_axis(stride, axes, 1)
    spacing = _per_axis(dilation, axes, 1)
    border = _per_axis(padding, axes, 0)
    positions = [
        (size + 2 * p - d * (k - 1) - 1) // s + 1
        for size, k, s, p, d in zip(x.shape[3:], kernel, steps, border, spacing, strict=True)
    ]
    if list(y.shape[3:]) != positions or min(positions) < 1:
        raise ShapeError(
            f"patches: a kernel {kernel} with stride {steps}, padding {border}, dilation {spacing} makes {positions} "
            f"positions of x {tuple(x.shape)}, but y is {tuple(y.shape)}"
        )
    if axes == 1:
        # torch's unfold takes images only, so a sequence becomes an image of height 1.
        x = x.unsqueeze(-2)
        kernel = (1, *kernel)
        steps = (1, *steps)
        border = (0, *border)
        spacing = (1, *spacing)
    windows = F.unfold(x.flatten(0, 1), kernel, dilation=spacing, padding=border, stride=steps)
    windows = windows.mT.unflatten(0, y.shape[:2]).flatten(1, 2)
    return windows, y.flatten(3).mT.flatten(1, 2)


def _per_axis(value: int | Sequence[int], axes: int, least: int) -> tuple[int, ...]:
    """One size for each spatial axis, from one number for all or a sequence; each must be at least ``least``."""
    sizes = (value,) * axes if isinstance(value, int) else tuple(value)
    if len(sizes) != axes or min(sizes) < least:
        raise ShapeError(
            f"patches: {axes} sizes of at least {least} are needed, one for each spatial axis; got {value}"
        )
    return sizes
