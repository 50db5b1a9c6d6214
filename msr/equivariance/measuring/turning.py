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
from msr.equivariance.measuring.evaluation import error_text
from msr.errors import ConfigError, ModelError, MSRError, NonFiniteError, ShapeError

__all__ = ["Field", "Interpolation", "Turning", "turn_images", "turning_error"]

Field: TypeAlias = Literal["scalar", "vector"] | int
"""How channels move: a scalar does not; two channels move as a vector of the plane (to the right, up); ``n`` channels
are permuted cyclically, by one with each turn by 360°/n."""

Interpolation: TypeAlias = Literal["bilinear", "bicubic", "fourier"]

# Where the disc begins to fade, as a share of its radius. Chosen by hand: a sharper rim interpolates worse, and a
# softer one compares less.
_INNER = 0.6
# An interpolation error below this is counted as this in ratios, since quarter turns make none.
_LEAST_ERROR = 1e-5
# An angle within this many degrees of a quarter turn is one.
_QUARTER = 1e-9
# The same image evaluated twice is two functions if the outputs differ by this share of what they vary by.
_UNSTABLE = 1e-2
# Roundings, of the size of the outputs, below which there is no difference, and nothing that varies.
_ROUNDINGS = 64
_CONSTANT_ROUNDINGS = 100


@dataclass(frozen=True, eq=False)
class Turning:
    """How far a function is from commuting with turns of its inputs. A measurement: no tolerance is applied.

    Attributes:
        angles: in degrees, counter-clockwise.
        defects: for each angle ``(angles,)``, how far ``f(T x)`` is from ``T f(x)``, where ``T`` turns the image and
            moves its channels, without unit: see :func:`turning_error`.
        interpolation: ``(angles,)``, the same for a function that does commute with turns of the plane, so that all of
            it is the error of interpolation; quarter turns make none.
        there_and_back: ``‖T⁻¹ T x − x‖ / ‖x‖``, ``(angles,)``: what interpolation loses of the inputs themselves.
        method: bilinear, bicubic or fourier.
        compared: share of the pixels of an output where the disc is a half or more; 1 for outputs that are no images.
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
        """The largest ratio, over angles, of the defect to that of interpolation alone.

        A defect of interpolation below 1e-5 counts as 1e-5.
        """
        return float((self.defects / self.interpolation.clamp(min=_LEAST_ERROR)).max())

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
    """How far ``f(T x)`` is from ``T f(x)``, for turns ``T`` of square images by each angle; no verdict follows.

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
    defects = _defects(f, images, base, chosen, interpolation, before, after, disc)
    # A function of scalar images that commutes with turns shows what interpolation does by itself.
    commuting = reference or _blurred
    blurred = _value(commuting, images)
    scalars_in: list[Field] = ["scalar"] * images.shape[1]
    scalars_out = _layout("scalar", blurred.shape[1], "reference")
    alone = _defects(commuting, images, blurred, chosen, interpolation, scalars_in, scalars_out, disc)
    losses = []
    for angle in chosen:
        turned = turn_images(images, angle, interpolation)
        losses.append((turn_images(turned, -angle, interpolation) - images).norm() / images.norm())
    compared = float((_disc(base.shape[-1], disc) >= 0.5).double().mean()) if base.ndim == 4 else 1.0
    return Turning(tuple(chosen), defects, alone, torch.stack(losses), interpolation, compared)


def turn_images(x: Tensor, angle: float, interpolation: Interpolation = "bilinear") -> Tensor:
    """Square images ``(batch, channels, n, n)`` turned counter-clockwise about their centre, in float64.

    Multiples of 90° are ``torch.rot90``, exactly. Pixels that would come from outside the image are zero. ``"fourier"``
    turns by quarters to within 45°, and then shears three times by Fourier phases (Unser, Thévenaz and Yaroslavsky
    1995); it is for images that fade to zero before their edge.

    Args: ``angle``: in degrees.
    Raises: ShapeError for images that are not square; ConfigError for an unknown interpolation.
    """
    x = _images(x)
    quarters = round(angle / 90)
    rest = angle - 90 * quarters
    if abs(rest) < _QUARTER:
        return torch.rot90(x, quarters, (-2, -1))
    if interpolation == "fourier":
        return _sheared(torch.rot90(x, quarters, (-2, -1)), math.radians(rest))
    if interpolation not in ("bilinear", "bicubic"):
        raise ConfigError(f"interpolation is bilinear, bicubic or fourier; got {interpolation!r}")
    n = x.shape[-1]
    cos = math.cos(math.radians(angle))
    sin = math.sin(math.radians(angle))
    right = torch.linspace(-1, 1, n, dtype=torch.float64, device=x.device)
    up = -right[:, None]
    # Each pixel reads the place that the turn moves to it; rows are counted downwards.
    source = torch.stack([right * cos + up * sin, right * sin - up * cos], dim=-1).expand(len(x), n, n, 2)
    return F.grid_sample(x, source, mode=interpolation, padding_mode="zeros", align_corners=True)


def _sheared(x: Tensor, angle: float) -> Tensor:
    """Square images ``(..., n, n)`` turned counter-clockwise, as three shears: along rows, columns, and rows again.

    The size stays, and zeros come in from outside: the margin of zeros is so wide that nothing comes in again on the
    other side. Rows are shifted by Fourier's phases, so that an image which does not fade towards its edge leaves
    ripples.

    Args: ``angle``: in radians, between −π/4 and π/4.
    """
    n = x.shape[-1]
    margin = n // 4 + 1  # a shear moves a disc beyond the square
    x = F.pad(x, (margin,) * 4)
    along = torch.arange(x.shape[-1], dtype=torch.float64, device=x.device) - (x.shape[-1] - 1) / 2
    tangent = math.tan(angle / 2)
    sine = math.sin(angle)
    x = _shifted(x, along * tangent)  # a row that lies lower moves further to the right
    x = _shifted(x.mT, -along * sine).mT  # a column further to the right moves up
    x = _shifted(x, along * tangent)
    return x[..., margin : margin + n, margin : margin + n]


def _shifted(x: Tensor, steps: Tensor) -> Tensor:
    """Each row of pixels of ``x (..., n, n)`` moved to the right by its own distance, cyclically, by Fourier's phases.

    Args: ``steps``: ``(n,)``, in pixels, not only whole ones.
    """
    n = x.shape[-1]
    phase = torch.fft.rfftfreq(n, dtype=torch.float64, device=x.device) * steps[:, None]
    return torch.fft.irfft(torch.fft.rfft(x) * torch.exp(-2j * math.pi * phase), n=n)


def _images(x: Any) -> Tensor:
    """Square real images in float64. Raises ShapeError for anything else."""
    x = as_tensor(x, "x")
    if x.ndim != 4 or x.shape[-1] != x.shape[-2] or 0 in x.shape or x.is_complex():
        raise ShapeError(f"images must be (batch, channels, n, n), square, of real numbers; got {tuple(x.shape)}")
    return x.detach().double()


def _disc(n: int, disc: float) -> Tensor:
    """A mask ``(n, n)`` that is 1 within 0.6 of the radius and falls smoothly to 0 at the radius.

    Args: ``disc``: the radius, as a share of half the side.
    """
    along = torch.arange(n, dtype=torch.float64) - (n - 1) / 2
    radius = (along.square()[:, None] + along.square()).sqrt() / (disc * n / 2)
    return (0.5 + 0.5 * torch.cos(math.pi * ((radius - _INNER) / (1 - _INNER)).clamp(0, 1))) * (radius < 1)


def _inside(y: Tensor, disc: float) -> Tensor:
    """Outputs that are images, multiplied by the disc; others as they are."""
    return y * _disc(y.shape[-1], disc).to(y.device) if y.ndim == 4 else y


def _blurred(x: Tensor) -> Tensor:
    """Each channel by itself, with a Gaussian of one pixel: sampled, it is rotation invariant to nine digits."""
    # Six standard deviations to each side: what is cut off is below 1e-8.
    line = torch.exp(-torch.arange(-6, 7, dtype=x.dtype, device=x.device).square() / 2)
    line = line / line.sum()
    flat = x.reshape(-1, 1, *x.shape[-2:])
    flat = F.conv2d(F.conv2d(flat, line.view(1, 1, 1, -1), padding=(0, 6)), line.view(1, 1, -1, 1), padding=(6, 0))
    return flat.reshape(x.shape)


def _turned(y: Tensor, angle: float, interpolation: Interpolation, layout: list[Field]) -> Tensor:
    """Outputs turned by an angle in degrees: the pixels of images, and the channels of all outputs.

    Args: ``layout``: the fields of the channels, as :func:`_layout` gives them.
    """
    return _channels(turn_images(y, angle, interpolation) if y.ndim == 4 else y, angle, layout)


def _channels(y: Tensor, angle: float, layout: list[Field]) -> Tensor:
    """The channels of each field as a turn by an angle in degrees moves them; pixels stay where they are.

    Args: ``layout``: the fields of the channels, as :func:`_layout` gives them.
    """
    parts = []
    start = 0
    for field in layout:
        size = _size(field)
        part = y[:, start : start + size]
        start += size
        if field == "vector":
            cos = math.cos(math.radians(angle))
            sin = math.sin(math.radians(angle))
            part = torch.stack([cos * part[:, 0] - sin * part[:, 1], sin * part[:, 0] + cos * part[:, 1]], dim=1)
        elif isinstance(field, int):
            part = part.roll(round(angle * field / 360), 1)
        parts.append(part)
    return torch.cat(parts, dim=1)


def _size(field: Field) -> int:
    """How many channels a field has."""
    return field if isinstance(field, int) else {"scalar": 1, "vector": 2}[field]


def _layout(fields: Field | Sequence[Field], channels: int, name: str) -> list[Field]:
    """The fields of all channels, in order; a single field is repeated until all channels have one.

    Args: ``name``: what messages call the fields.
    Raises: ConfigError for something that is no field, and where the fields do not fit the number of channels.
    """
    single = isinstance(fields, (str, int))
    # A bool is an int in Python, and no field; hence the comparison of types below.
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
    """The angles in degrees; by default every 30, or with regular fields the turns that all of them have, without 0.

    Args: ``layout``: the fields of all channels, of inputs and outputs.
    Raises: ConfigError for none, for one that is not finite, or one that a regular field has no turn by.
    """
    turns = [field for field in layout if isinstance(field, int)]
    if angles is None:
        # Each field of C_n turns by multiples of 360°/n; all of them together by those of the common divisor.
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
    """``f(x)`` in float64, evaluated in the function's own precision: ``(batch, channels, n', n')``, or ``(batch,
    channels)``.

    Raises: ModelError where ``f`` fails or returns anything else; NonFiniteError for nan or infinity; ShapeError for a
    single output that is no image, since it does not vary.
    """
    kind = _kind(f, x)
    try:
        y = f(x.to(dtype=kind.dtype, device=kind.device, copy=True))
    except MSRError:
        raise
    except (Exception, SystemExit) as error:
        raise ModelError(f"the function failed on images {tuple(x.shape)}: {error_text(error)}") from error
    if not isinstance(y, Tensor) or y.is_complex() or y.ndim not in (2, 4) or len(y) != len(x):
        returned = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
        raise ModelError(
            f"the function must return real (batch, channels, n, n) or (batch, channels); it gave {returned}"
        )
    if y.ndim == 4 and y.shape[-1] != y.shape[-2]:
        raise ModelError(f"the function must return square images; it gave {tuple(y.shape)}")
    if not y.isfinite().all():
        raise NonFiniteError(f"the function gave nan or infinity on images of size up to {float(x.abs().max()):.3g}")
    if y.ndim == 2 and len(y) < 2:
        raise ShapeError("numbers that are no images vary over inputs only: give at least 2 images")
    return y.detach().to(device=x.device, dtype=torch.float64)


def _kind(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A tensor of the precision and on the device that a function takes.

    It is a module's first floating point parameter or buffer; without one, and for a plain function, it is ``x``.
    """
    tensors = [*f.parameters(), *f.buffers()] if isinstance(f, nn.Module) else []
    return next((t for t in tensors if t.is_floating_point()), x)


def _check_is_a_function(f: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> None:
    """Raise ModelError unless an image gives the same output ``y`` again, in whatever batch it is.

    A difference up to a hundredth of what outputs vary by is allowed. They vary over positions, over inputs, and
    between an image and its double; an offset is taken off, since it would hide any difference.
    """
    # The double of the image makes the batch another one, and shows that outputs vary at all.
    second = _value(f, torch.cat([x[:1], 2 * x[:1]]))
    over = [0, *range(2, y.ndim)]
    pool = torch.cat([y, second[1:]])
    varies = (pool - pool.mean(over, keepdim=True)).norm() / len(pool) ** 0.5
    gap = float((second[:1] - y[:1]).norm())
    size = max(float(second[:1].norm()), float(y[:1].norm()))
    if gap > _UNSTABLE * min(float(varies), size) + _ROUNDINGS * torch.finfo(_kind(f, x).dtype).eps * size:
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
    """The defect at each angle, ``(angles,)``, without unit, over all inputs together.

    The mean of each channel is taken off ``y = f(x)`` before it is turned, and off ``f(T x)`` as the turn moves
    channels. A constant image does not change when it is turned, so the difference is the same, and no offset is
    interpolated at the rim of the disc.

    Args:
        y: ``f(x)``.
        before, after: the fields of the channels of inputs and outputs, as :func:`_layout` gives them.
        disc: its radius, as a share of half the side.
    """
    over = [0, *range(2, y.ndim)]
    mean = y.mean(over, keepdim=True)
    centred = _inside(y - mean, disc)
    # Outputs that vary by less than this, squared, are constant up to rounding; it keeps the ratio finite.
    least = (_CONSTANT_ROUNDINGS * torch.finfo(_kind(f, x).dtype).eps * y.norm()) ** 2
    values = []
    for angle in angles:
        moved = _value(f, _turned(x, angle, interpolation, before))
        a = _inside(moved - _channels(mean, angle, after), disc)
        b = _turned(centred, angle, interpolation, after)
        total = (a.square().sum() + b.square().sum()).clamp(min=max(float(least), 1e-300))
        values.append(((a - b).square().sum() / total).sqrt())
    return torch.stack(values)
