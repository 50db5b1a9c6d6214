"""The linear layer inside each task: all numbers of an example, or the windows that a convolution reads."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from msr.discovery.data.intake import Taken
from msr.errors import ConfigError, ShapeError
from msr.span import patches

__all__ = ["Layer", "as_linear"]

Layer = Literal["linear", "conv1d", "conv2d"]
Padding: TypeAlias = int | Sequence[int] | Literal["same"]


def as_linear(
    taken: Taken,
    layer: Layer,
    kernel: int | Sequence[int] | None,
    circular: bool,
    stride: int | Sequence[int],
    padding: Padding,
) -> tuple[Taken, tuple[int, ...], tuple[int, ...]]:
    """The tasks with the examples of one linear map, and the shapes of one input and of one output of that map.

    For a linear layer these are the tasks with flat inputs and outputs. A convolution applies one linear map to every
    window, so each window with the output at its place is an example: the input shape is ``(channels, *taps)``, the
    output shape ``(channels,)``.

    Args:
        kernel: taps along each axis of a convolution; None where the shapes of ``x`` and ``y`` determine them.
        circular: the convolution wraps around.
        stride: steps from one window to the next along each axis.
        padding: zeros beyond each end along each axis, or ``"same"`` for outputs of the size of inputs.

    Raises: ConfigError for options that contradict each other or the data; ShapeError for data of other axes.
    """
    x = taken.x
    y = taken.y
    if layer == "linear":
        if kernel is not None or circular or stride != 1 or padding != 0:
            raise ConfigError(
                "a kernel, a stride and padding belong to a convolution; give layer conv1d or conv2d, or leave them out"
            )
        return replace(taken, x=x.flatten(2), y=y.flatten(2)), tuple(x.shape[2:]), tuple(y.shape[2:])
    if layer not in ("conv1d", "conv2d"):
        raise ConfigError(f"layer must be linear, conv1d or conv2d; got {layer!r}")
    axes = 1 if layer == "conv1d" else 2
    if x.ndim != 3 + axes or y.ndim != x.ndim:
        raise ShapeError(
            f"{layer} needs x and y of (tasks, examples, channels, {'length' if axes == 1 else 'height, width'}); "
            f"got {tuple(x.shape)} and {tuple(y.shape)}"
        )
    steps = _one_each("stride", stride, axes, 1)
    zeros = _zeros(padding, axes, circular, steps)
    taps = _taps(kernel, layer, axes, x, y, determined=not circular and zeros == (0,) * axes and max(steps) == 1)
    if circular and any(k > size for k, size in zip(taps, x.shape[3:], strict=True)):
        raise ConfigError(
            f"a circular kernel of {taps} taps goes around inputs of {tuple(x.shape[3:])} more than once; give one no "
            "larger than they are"
        )
    flat = x.flatten(0, 1)
    if circular or zeros is None:
        # An even number of taps cannot be centred: it reaches one place further to the right, as in torch.
        around = [side for k in reversed(taps) for side in ((k - 1) // 2, k - 1 - (k - 1) // 2)]
        flat = torch.nn.functional.pad(flat, around, mode="circular" if circular else "constant")
        zeros = (0,) * axes
    windows, targets = patches(flat.unflatten(0, x.shape[:2]), y, taps, stride=steps, padding=zeros)
    windows_each = math.prod(y.shape[3:])
    present = taken.present.repeat_interleave(windows_each, 1)
    positions = (taken.positions[:, :, None] * windows_each + torch.arange(windows_each)).flatten(1)
    absent = ~present[:, :, None]
    windows = windows.masked_fill(absent, 0.0)
    targets = targets.masked_fill(absent, 0.0)
    cut = replace(taken, x=windows, y=targets, present=present, positions=positions)
    return cut, (x.shape[2], *taps), (y.shape[2],)


def _zeros(padding: Padding, axes: int, circular: bool, steps: tuple[int, ...]) -> tuple[int, ...] | None:
    """Numbers of zeros beyond each end, one for each of ``axes``; None where they follow from the kernel (``"same"``).

    Raises: ConfigError for another text, and where padding contradicts ``circular`` or the strides ``steps``.
    """
    if isinstance(padding, str):
        if padding != "same" or circular or max(steps) > 1:
            raise ConfigError(
                'padding is a number of zeros, one for each axis, or "same", which goes with neither a stride nor '
                f"circular; got {padding!r}"
            )
        return None
    zeros = _one_each("padding", padding, axes, 0)
    if circular and any(zeros):
        raise ConfigError("circular says what is beyond each end, so no padding of zeros goes with it")
    return zeros


def _taps(
    kernel: int | Sequence[int] | None, layer: Layer, axes: int, x: Tensor, y: Tensor, determined: bool
) -> tuple[int, ...]:
    """Taps along each axis: the caller's, or from the shapes of ``x`` and ``y`` if there is no ``kernel``.

    Args:
        determined: whether nothing but the kernel makes outputs smaller than inputs: no padding, stride or wrapping.

    Raises: ConfigError where the kernel cannot be used, or is missing and the shapes leave it open.
    """
    if kernel is not None:
        return _one_each("kernel", kernel, axes, 1)
    taps = tuple(a - b + 1 for a, b in zip(x.shape[3:], y.shape[3:], strict=True))
    # A single tap on each axis would be no convolution.
    if not determined or min(taps) < 1 or max(taps) < 2:
        raise ConfigError(f"give the kernel of {layer}: the shapes {tuple(x.shape)} and {tuple(y.shape)} leave it open")
    return taps


def _one_each(name: str, value: int | Sequence[int], axes: int, least: int) -> tuple[int, ...]:
    """One number for each of ``axes``; a single number stands for all.

    Raises: ConfigError, which calls it ``name``, for another count of numbers, or for one below ``least``.
    """
    numbers = (value,) * axes if isinstance(value, int) else tuple(value)
    if len(numbers) != axes or any(not isinstance(number, int) or number < least for number in numbers):
        raise ConfigError(f"{name} must be a number from {least} on, or {axes} of them; got {value!r}")
    return numbers
