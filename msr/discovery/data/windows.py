"""A layer's own inputs and outputs: all numbers of an example, or the windows of a convolution."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch

from msr.discovery.data.intake import Taken
from msr.errors import ConfigError, ShapeError
from msr.span import patches

__all__ = ["Layer", "as_linear"]

Layer = Literal["linear", "conv1d", "conv2d"]


def as_linear(
    taken: Taken,
    layer: Layer,
    kernel: int | Sequence[int] | None,
    circular: bool,
    stride: int | Sequence[int],
    padding: int | Sequence[int] | Literal["same"],
) -> tuple[Taken, tuple[int, ...], tuple[int, ...]]:
    """The layer's own inputs and outputs: everything, or a window's ``(channels, *taps)`` and channels."""
    x, y = taken.x, taken.y
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
            f"came {tuple(x.shape)} and {tuple(y.shape)}"
        )
    steps = _each("stride", stride, axes, 1)
    if isinstance(padding, str):
        if padding != "same" or circular or max(steps) > 1:
            raise ConfigError(
                'padding is a number of zeros, one for each axis, or "same", which goes with neither a stride nor '
                f"circular; got {padding!r}"
            )
        rim = None
    else:
        rim = _each("padding", padding, axes, 0)
        if circular and any(rim):
            raise ConfigError("circular says what is beyond each end, so no padding of zeros goes with it")
    if kernel is None:
        taps = tuple(a - b + 1 for a, b in zip(x.shape[3:], y.shape[3:], strict=True))
        if circular or rim is None or any(rim) or max(steps) > 1 or min(taps) < 1 or max(taps) < 2:
            raise ConfigError(
                f"give the kernel of {layer}: the shapes {tuple(x.shape)} and {tuple(y.shape)} leave it open"
            )
    else:
        taps = _each("kernel", kernel, axes, 1)
    if circular and any(k > size for k, size in zip(taps, x.shape[3:], strict=True)):
        raise ConfigError(
            f"a circular kernel of {taps} taps goes around inputs of {tuple(x.shape[3:])} more than once; give one no "
            "larger than they are"
        )
    flat = x.flatten(0, 1)
    if circular or rim is None:
        around = [side for k in reversed(taps) for side in ((k - 1) // 2, k - 1 - (k - 1) // 2)]
        flat = torch.nn.functional.pad(flat, around, mode="circular" if circular else "constant")
        rim = (0,) * axes
    windows, targets = patches(flat.unflatten(0, x.shape[:2]), y, taps, stride=steps, padding=rim)
    positions = math.prod(y.shape[3:])
    here = taken.here.repeat_interleave(positions, 1)
    place = (taken.place[:, :, None] * positions + torch.arange(positions)).flatten(1)
    gone = ~here[:, :, None]
    windows, targets = windows.masked_fill(gone, 0.0), targets.masked_fill(gone, 0.0)
    return replace(taken, x=windows, y=targets, here=here, place=place), (x.shape[2], *taps), (y.shape[2],)


def _each(name: str, value: int | Sequence[int], axes: int, least: int) -> tuple[int, ...]:
    """One number for each axis."""
    numbers = (value,) * axes if isinstance(value, int) else tuple(value)
    if len(numbers) != axes or any(not isinstance(one, int) or one < least for one in numbers):
        raise ConfigError(f"{name} must be a number from {least} on, or {axes} of them; got {value!r}")
    return numbers
