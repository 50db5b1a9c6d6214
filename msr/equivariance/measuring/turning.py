"""Turning images by any angle, with interpolation: how far a function is from commuting with it, as a measurement.

A grid of pixels is mapped to itself by quarter turns only. Any other turn interpolates, which changes the image by more
than rounding, so no verdict follows from it: the error that interpolation makes by itself stands beside each defect.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from msr.arrays import as_tensor
from msr.equivariance.measuring.evaluation import said
from msr.errors import ConfigError, ModelError, MSRError, NonFiniteError, ShapeError

__all__ = ["Field", "Interpolation", "Turning", "turn_images", "turning_error"]

Field: TypeAlias = Literal["scalar", "vector"] | int
"""How channels move: not at all; two, as a vector of the plane (to the right, up); n, one for each turn by 360°/n."""

Interpolation: TypeAlias = Literal["bilinear", "bicubic", "fourier"]

_INNER = 0.6
"""Where the disc begins to fade, as a share of its radius."""


@dataclass(frozen=True, eq=False)
class Turning:
    """What turning a function's inputs does to it. A measurement: no tolerance is applied.

    Attributes:
        angles: in degrees, counter-clockwise.
        defects: for each angle ``(angles,)``, how far ``f(T x)`` is from ``T f(x)``, where ``T`` turns the image and
            moves its channels, in the size of what varies: see :func:`turning_error`.
        interpolation: the same for a function that does commute with turns of the plane; quarter turns make none.
        there_and_back: ``‖T⁻¹ T x − x‖ / ‖x‖``: what interpolation loses of the inputs themselves.
        method: bilinear, bicubic or fourier.
        compared: share of the pixels of an output inside the disc; 1 for outputs that are no images.
    """

    angles: tuple[float, ...]
    defects: Tensor
    interpolation: Tensor
    there_and_back: Tensor
    method: str
    compared: float

    @property
    def largest(self) -> float:
        """The largest defect."""
        return float(self.defects.max())

    @property
    def excess(self) -> float:
        """The largest ratio of a defect to interpolation's own at its angle, which is counted as 1e-5 at least."""
        return float((self.defects / self.interpolation.clamp(min=1e-5)).max())

    def __str__(self) -> str:
        lines = [
            f"turned with {self.method} interpolation, {self.compared:.0%} of the outputs compared; a measurement: a "
            "defect about as large as interpolation's own says nothing against the function",
            "   angle    defect    interpolation alone    inputs there and back",
        ]
        rows = zip(self.angles, self.defects, self.interpolation, self.there_and_back, strict=True)
        lines += [f"{angle:7.4g}° {d:9.2e} {alone:22.2e} {back:24.2e}" for angle, d, alone, back in rows]
        return "\n".join(lines)


def turning_error(
    f: Callable[[Tensor], Tensor] | nn.Module,
    x: Tensor,
    angles: Sequence[float] | None = None,
    *,
    fields_in: Field | Sequence[Field] = "scalar",
    fields_out: Field | Sequence[Field] = "scalar",
    interpolation: Interpolation = "bilinear",
    disc: float = 0.9,
    reference: Callable[[Tensor], Tensor] | None = None,
) -> Turning:
    """How far ``f(T x)`` is from ``T f(x)``, for turns ``T`` of square images by each angle.

    Inputs, and outputs that are images, are multiplied by a disc that fades towards its rim, so that no turn moves
    anything over the edge. A defect is ``‖a − b‖ / √(‖a‖² + ‖b‖²)``, over all inputs together, for ``a = f(T x) − T m``
    and ``b = T (f(x) − m)``, where ``m`` is the mean of each channel of ``f(x)`` over inputs and positions: 0 commutes,
    1 is unrelated, and no offset makes it small.

    Args:
        f: ``(batch, channels, n, n)`` to ``(batch, channels', n', n')``, or to ``(batch, channels')``.
        x: images ``(batch, channels, n, n)``. The smoother they are, the less interpolation changes them.
        angles: in degrees, counter-clockwise. Default: every 30, or what all regular fields can turn by.
        fields_in, fields_out: how channels move: ``"scalar"``, ``"vector"`` (two channels, to the right and up), or
            ``n`` (the regular field of C_n: a turn by 360°/n moves each channel to the next). One for all channels, or
            a list with one for each field.
        disc: its radius, as a share of half the side.
        reference: a function of scalar images that commutes with turns of the plane, for the error of interpolation
            alone. Default: a Gaussian blur of one pixel. An ``f`` that sharpens makes more of that error than a blur.

    Raises: ShapeError for images that are not square, or too few; ConfigError for fields that do not fit the channels,
    an angle that a regular field has no turn by, or an unknown interpolation; ModelError, NonFiniteError from ``f``.
    """
    images = _images(x)
    if not 0 < disc <= 1:
        raise ConfigError(f"disc is a share of half the side, above 0 and at most 1; got {disc}")
    before = _layout(fields_in, images.shape[1], "fields_in")
    images = images * _disc(images.shape[-1], disc)
    base = _value(f, images)
    _check_is_a_function(f, images, base)
    after = _layout(fields_out, base.shape[1], "fields_out")
    chosen = _angles(angles, [*before, *after])
    plain = reference or _blurred
    defects = _defects(f, images, base, chosen, interpolation, before, after, disc)
    scalars: list[Field] = ["scalar"] * images.shape[1]
    blurred = _value(plain, images)
    alone = _defects(
        plain, images, blurred, chosen, interpolation, scalars, _layout("scalar", blurred.shape[1], "reference"), disc
    )
    there = ((angle, turn_images(images, angle, interpolation)) for angle in chosen)
    back = [(turn_images(turned, -angle, interpolation) - images).norm() / images.norm() for angle, turned in there]
    shown = float((_disc(base.shape[-1], disc) >= 0.5).double().mean()) if base.ndim == 4 else 1.0
    return Turning(tuple(chosen), defects, alone, torch.stack(back), interpolation, shown)


def turn_images(x: Tensor, angle: float, interpolation: Interpolation = "bilinear") -> Tensor:
    """Square images ``(batch, channels, n, n)`` turned counter-clockwise about their centre, in float64.

    Multiples of 90° are ``torch.rot90``, exactly; what comes from outside is zero. ``"fourier"`` shears three times,
    each row and column by its phases (Unser, Thévenaz and Yaroslavsky 1995), after quarter turns to within 45°: for
    images that fade to zero before their edge.
    """
    x = _images(x)
    quarters = round(angle / 90)
    rest = angle - 90 * quarters
    if abs(rest) < 1e-9:
        return torch.rot90(x, quarters, (-2, -1))
    if interpolation == "fourier":
        return _sheared(torch.rot90(x, quarters, (-2, -1)), math.radians(rest))
    if interpolation not in ("bilinear", "bicubic"):
        raise ConfigError(f"interpolation is bilinear, bicubic or fourier; got {interpolation!r}")
    n, cos, sin = x.shape[-1], math.cos(math.radians(angle)), math.sin(math.radians(angle))
    right = torch.linspace(-1, 1, n, dtype=torch.float64, device=x.device)
    up = -right[:, None]
    # Each pixel reads where the turn brings it from; rows are counted downwards.
    source = torch.stack([right * cos + up * sin, right * sin - up * cos], dim=-1).expand(len(x), n, n, 2)
    return F.grid_sample(x, source, mode=interpolation, padding_mode="zeros", align_corners=True)


def _sheared(x: Tensor, angle: float) -> Tensor:
    n = x.shape[-1]
    margin = n // 4 + 1  # a shear moves a disc beyond the square
    x = F.pad(x, (margin,) * 4)
    along = torch.arange(x.shape[-1], dtype=torch.float64, device=x.device) - (x.shape[-1] - 1) / 2
    tangent, sine = math.tan(angle / 2), math.sin(angle)
    x = _shifted(x, along * tangent)  # a row that lies lower moves further to the right
    x = _shifted(x.mT, -along * sine).mT  # a column further to the right moves up
    x = _shifted(x, along * tangent)
    return x[..., margin : margin + n, margin : margin + n]


def _shifted(x: Tensor, steps: Tensor) -> Tensor:
    """Each row to the right by its own number of pixels, by Fourier's phases."""
    n = x.shape[-1]
    phase = torch.fft.rfftfreq(n, dtype=torch.float64, device=x.device) * steps[:, None]
    return torch.fft.irfft(torch.fft.rfft(x) * torch.exp(-2j * math.pi * phase), n=n)


def _images(x: Any) -> Tensor:
    x = as_tensor(x, "x")
    if x.ndim != 4 or x.shape[-1] != x.shape[-2] or 0 in x.shape or x.is_complex():
        raise ShapeError(f"images must be (batch, channels, n, n), square, of real numbers; got {tuple(x.shape)}")
    return x.detach().double()


def _disc(n: int, disc: float) -> Tensor:
    """1 inside, falling to 0 at the rim, ``(n, n)``."""
    along = torch.arange(n, dtype=torch.float64) - (n - 1) / 2
    radius = (along.square()[:, None] + along.square()).sqrt() / (disc * n / 2)
    return (0.5 + 0.5 * torch.cos(math.pi * ((radius - _INNER) / (1 - _INNER)).clamp(0, 1))) * (radius < 1)


def _inside(y: Tensor, disc: float) -> Tensor:
    return y * _disc(y.shape[-1], disc).to(y.device) if y.ndim == 4 else y


def _blurred(x: Tensor) -> Tensor:
    """Each channel by itself; the sampled Gaussian of one pixel is round to nine digits."""
    line = torch.exp(-torch.arange(-6, 7, dtype=x.dtype, device=x.device).square() / 2)
    line = line / line.sum()
    flat = x.reshape(-1, 1, *x.shape[-2:])
    flat = F.conv2d(F.conv2d(flat, line.view(1, 1, 1, -1), padding=(0, 6)), line.view(1, 1, -1, 1), padding=(6, 0))
    return flat.reshape(x.shape)


def _turned(y: Tensor, angle: float, interpolation: Interpolation, layout: list[Field]) -> Tensor:
    """Positions and channels."""
    return _channels(turn_images(y, angle, interpolation) if y.ndim == 4 else y, angle, layout)


def _channels(y: Tensor, angle: float, layout: list[Field]) -> Tensor:
    parts, start = [], 0
    for field in layout:
        size = _size(field)
        part, start = y[:, start : start + size], start + size
        if field == "vector":
            cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
            part = torch.stack([cos * part[:, 0] - sin * part[:, 1], sin * part[:, 0] + cos * part[:, 1]], dim=1)
        elif isinstance(field, int):
            part = part.roll(round(angle * field / 360), 1)
        parts.append(part)
    return torch.cat(parts, dim=1)


def _size(field: Field) -> int:
    return field if isinstance(field, int) else {"scalar": 1, "vector": 2}[field]


def _layout(fields: Field | Sequence[Field], channels: int, name: str) -> list[Field]:
    """One entry for each field."""
    single = isinstance(fields, (str, int))
    listed: list[Any] = [fields] if single else list(fields)  # type: ignore[arg-type]
    for field in listed:
        if field not in ("scalar", "vector") and not (type(field) is int and field > 0):
            raise ConfigError(
                f"{name}: a field is 'scalar', 'vector' or the n of a regular field of C_n; got {field!r}"
            )
    total = sum(_size(field) for field in listed)
    if (single and channels % total) or (not single and channels != total):
        raise ConfigError(f"{name}: {fields!r} takes {total} channels{' each' * single}, and there are {channels}")
    return listed * (channels // total) if single else listed


def _angles(angles: Sequence[float] | None, layout: list[Field]) -> list[float]:
    turns = [field for field in layout if isinstance(field, int)]
    if angles is None:
        n = math.gcd(*turns) if turns else 12
        chosen = [360 * k / n for k in range(1, n)]
    else:
        chosen = [float(angle) for angle in angles]
    if not chosen or not all(math.isfinite(angle) for angle in chosen):
        raise ConfigError(f"angles are finite numbers of degrees, at least one; got {chosen}")
    for n in turns:
        for angle in chosen:
            if abs(angle * n / 360 - round(angle * n / 360)) > 1e-9:
                raise ConfigError(f"a regular field of C{n} turns by multiples of {360 / n:g} degrees; got {angle:g}")
    return chosen


def _value(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """``f(x)`` in float64, or an error that says what is wrong with it."""
    kind = _kind(f, x)
    try:
        y = f(x.to(dtype=kind.dtype, device=kind.device, copy=True))
    except MSRError:
        raise
    except (Exception, SystemExit) as error:
        raise ModelError(f"the function failed on images {tuple(x.shape)}: {said(error)}") from error
    if not isinstance(y, Tensor) or y.is_complex() or y.ndim not in (2, 4) or len(y) != len(x):
        came = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
        raise ModelError(f"the function must return real (batch, channels, n, n) or (batch, channels); it gave {came}")
    if y.ndim == 4 and y.shape[-1] != y.shape[-2]:
        raise ModelError(f"the function must return square images; it gave {tuple(y.shape)}")
    if not y.isfinite().all():
        raise NonFiniteError(f"the function gave nan or infinity on images of size up to {float(x.abs().max()):.3g}")
    if y.ndim == 2 and len(y) < 2:
        raise ShapeError("numbers that are no images vary over inputs only: give at least 2 images")
    return y.detach().to(device=x.device, dtype=torch.float64)


def _kind(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A tensor of the precision and on the device that a function wants."""
    tensors = [*f.parameters(), *f.buffers()] if isinstance(f, nn.Module) else []
    return next((t for t in tensors if t.is_floating_point()), x)


def _check_is_a_function(f: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> None:
    """An image must give what it gave, whatever else is in its batch, up to a hundredth of what outputs vary by.

    They vary over positions, inputs, and between an image and its double; an offset says nothing of the function.
    """
    again = _value(f, torch.cat([x[:1], 2 * x[:1]]))
    over = [0, *range(2, y.ndim)]
    seen = torch.cat([y, again[1:]])
    varies = (seen - seen.mean(over, keepdim=True)).norm() / len(seen) ** 0.5
    gap, size = float((again[:1] - y[:1]).norm()), max(float(again[:1].norm()), float(y[:1].norm()))
    if gap > 1e-2 * min(float(varies), size) + 64 * torch.finfo(_kind(f, x).dtype).eps * size:
        raise ModelError(
            "the same image gave two different outputs: the function is random, or mixes the images of a batch; call "
            "eval() on the module first"
        )


def _defects(
    f: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    angles: list[float],
    interpolation: Interpolation,
    before: list[Field],
    after: list[Field],
    disc: float,
) -> Tensor:
    """The defect at each angle, of all inputs together, in the size of what varies.

    The mean of each channel is taken off before an output is turned, and put where the turn brings it: a turn of an
    even image is even, so that takes nothing from the difference, and no offset is interpolated at the rim.
    """
    over = [0, *range(2, y.ndim)]
    mean = y.mean(over, keepdim=True)
    centred = _inside(y - mean, disc)
    least = (100 * torch.finfo(_kind(f, x).dtype).eps * y.norm()) ** 2  # below it there is only rounding
    values = []
    for angle in angles:
        moved = _value(f, _turned(x, angle, interpolation, before))
        a = _inside(moved - _channels(mean, angle, after), disc)
        b = _turned(centred, angle, interpolation, after)
        total = (a.square().sum() + b.square().sum()).clamp(min=max(float(least), 1e-300))
        values.append(((a - b).square().sum() / total).sqrt())
    return torch.stack(values)
