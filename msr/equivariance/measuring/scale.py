"""What a difference is measured in: how much each part of the outputs varies, and how far rounding alone can move it.

The difference ``a − b`` of ``a = f(ρ_in(g) x)`` and ``b = ρ_out(g) f(x)`` is taken as it is. Its *scale* is ``‖a − c‖``
and ``‖b − c‖`` together, for the centre ``c`` of the outputs, part by part (:class:`msr.equivariance.measuring.parts.Parts`). So
neither an offset that all outputs share, nor a part with large numbers, hides a break in another.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from msr.equivariance.measuring.parts import Parts
from msr.errors import MSRError

__all__ = ["Compared", "Typical", "epsilon_of", "measured_noise", "pooled_defects", "typical_of"]

LAST_DIGITS = 4
"""Roundings of the largest number in a block that no difference is trusted below."""

NOISE = 10
"""Times the measured noise that no difference is trusted below: seven standard deviations of a difference of two."""

KINDS = 3
"""How much further beyond rounding a kind inside a block must be off: its numbers are not seen, but computed."""

_EXACT = torch.finfo(torch.float64).eps
_OUTLIERS = 20  # squared deviations beyond so many medians count as so many: one huge output is not the scale of others
_ROWS = 4096  # outputs that are enough to say what is typical
_NUMBERS = 2**22  # of all of them together, if that leaves some hundred


def epsilon_of(*tensors: Tensor) -> float:
    """Relative rounding of the coarsest precision among them; 0 for whole numbers alone."""
    return max((torch.finfo(t.dtype).eps for t in tensors if t.is_floating_point()), default=0.0)


def measured_noise(
    call: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, epsilon: float, directions: int = 1
) -> list[Tensor]:
    """Differences ``(rows, dim)`` whose mean square is the noise of one evaluation: what rounding does to ``f(x)``.

    From ``f(x ± h x)`` with random signs and ``h = ε^(2/3)``: the second difference, over ``√6``, leaves nothing of a
    smooth function but its rounding, and the first one is what the rounding of the inputs does. Nothing is measured
    where inputs are whole numbers, or where ``f`` refuses inputs that are this little different.
    Source: Moré and Wild, Estimating computational noise, SIAM J. Sci. Comput. 33 (2011).
    """
    if not x.is_floating_point() or epsilon == 0:
        return []
    h, generator, found = epsilon ** (2 / 3), torch.Generator().manual_seed(0), []
    for _ in range(directions):
        signs = torch.randint(2, x.shape, generator=generator).to(device=x.device, dtype=x.dtype) * 2 - 1
        try:
            up, down = (call(x * (1 + sign * h * signs)).flatten(1) for sign in (1, -1))
        except MSRError:
            return []
        found += [(up + down - 2 * y) / (6 * directions) ** 0.5, (up - down) * (epsilon / (2 * h * directions**0.5))]
    return found


@dataclass(frozen=True, eq=False)
class Compared:
    """Two sides of a comparison, row by row and unit by unit: ``(rows, units)`` each, but ``kinds (units,)``.

    ``difference``; ``scale``, what it is measured in; ``floor``, what rounding can do; ``kinds``, whether a unit is a
    part of another, and counts only where it shows something beyond rounding.
    """

    difference: Tensor
    scale: Tensor
    floor: Tensor
    kinds: Tensor

    @property
    def defects(self) -> Tensor:
        """``d (rows, units)``, in [0, √2]: zero where nothing varies and nothing differs beyond rounding."""
        still = (self.difference <= self.floor) & (self.kinds | (self.scale <= self.floor))
        ratio = self.difference / self.scale.where(self.scale > 0, torch.ones_like(self.scale))
        return ratio.where(~(still | (self.scale == 0)), torch.zeros_like(ratio))

    def fails(self, tolerance: float) -> Tensor:
        """``(rows, units)``: differs by more than rounding and the tolerance; so does what is not a number."""
        return ~(self.difference <= torch.maximum(self.floor, tolerance * self.scale))

    def hidden(self, tolerance: float) -> Tensor:
        """``(rows, units)``: it varies, but rounding alone could be more than the tolerance."""
        return (self.floor > tolerance * self.scale) & (self.scale > 0) & ~self.kinds

    def split(self, rows: int) -> list["Compared"]:
        """So many rows each."""
        each = zip(self.difference.split(rows), self.scale.split(rows), self.floor.split(rows), strict=True)
        return [Compared(difference, scale, floor, self.kinds) for difference, scale, floor in each]

    def pooled(self) -> "Compared":
        """All rows together, ``(1, units)``: root mean squares."""
        difference, scale, floor = (
            v.square().mean(0, keepdim=True).sqrt() for v in (self.difference, self.scale, self.floor)
        )
        return Compared(difference, scale, floor, self.kinds)


@dataclass(frozen=True, eq=False)
class Typical:
    """What outputs of a function are like, from a pool of them.

    Attributes:
        parts: their parts; ``units`` below are those of :class:`Parts`.
        magnitude: ``(dim,)``, the largest number in each coordinate's block, by which all is divided first, so that
            squares of very large or very small numbers neither overflow nor vanish.
        centre: ``(features,)``, their median.
        scale: ``(units,)``, ``√(2 · mean ‖y − c‖²)``, what unrelated outputs differ by; an output far out counts as
            one at some distance.
        spread: the same with every output as it is.
        noise: ``(units,)``, root mean square of the rounding of one evaluation; of a kind, that of its block.
        largest: ``(units,)``, the largest length that the block had.
        epsilon: relative rounding of the precision.
        n_draws: draws of an input and an element in the pool.
        constant, lost: ``(units,)``: what does not vary by more than rounding, and does not in float64 either, or does;
            the ``spread`` of what is lost is that in float64.
    """

    parts: Parts
    magnitude: Tensor
    centre: Tensor
    scale: Tensor
    spread: Tensor
    noise: Tensor
    largest: Tensor
    weights: Tensor
    epsilon: float
    n_draws: int
    constant: Tensor
    lost: Tensor

    @property
    def floor(self) -> Tensor:
        """``(units,)``: differences up to here can be rounding."""
        return LAST_DIGITS * self.epsilon * self.largest + NOISE * self.noise

    @property
    def is_constant(self) -> Tensor:
        """``(units,)``: the same for all inputs, up to the last digit, or to the rounding measured on one input."""
        rounding = (self.spread <= NOISE * self.noise) & (self.spread <= 1e-2 * self.largest)
        return (self.constant | (self.spread <= self.epsilon * self.largest) | rounding) & ~self.lost

    @property
    def unclear(self) -> Tensor:
        """``(units,)``: blocks whose variation, if there is any, float64 would show."""
        blocks = ~self.parts.is_kind.to(self.floor.device)
        return (self.spread <= self.floor) & (self.largest > 0) & blocks & (self.epsilon > _EXACT)

    def resolved(self, unclear: Tensor, fine: Tensor) -> "Typical":
        """With what float64 shows in these blocks, ``fine (rows, dim)``: constant, or lost in the rounding."""
        features = self.parts.features(fine / self.magnitude)
        spread = (2 * self.parts.squares(features - features.median(0).values).mean(0)).sqrt()
        lost = unclear & (spread > 100 * (_EXACT / self.epsilon) * self.floor)
        return replace(
            self, constant=unclear & ~lost, lost=lost, spread=spread.where(lost, self.spread),
            scale=spread.where(lost, self.scale),
        )  # fmt: skip

    @property
    def is_zero(self) -> Tensor:
        """``(units,)``: constant, and zero."""
        return self.largest == 0

    def undecided(self, tolerance: float) -> Tensor:
        """``(units,)``: blocks that vary, but so little beside their size that rounding hides this tolerance."""
        hidden = (self.floor > tolerance * self.spread) & ~self.is_constant
        return hidden & ~self.parts.is_kind.to(hidden.device)

    @property
    def all_constant(self) -> bool:
        """Whether no block varies."""
        return bool(self.is_constant[: self.parts.n_blocks].all())

    def hidden_text(self, tolerance: float, dtype: torch.dtype) -> str:
        """Where rounding hides a defect, and what to do; nothing where it does not."""
        hidden = self.undecided(tolerance).nonzero().flatten().tolist()
        if not hidden:
            return ""
        worst = max(hidden, key=lambda u: float(self.floor[u] / self.spread[u]))
        spread, floor, largest = (
            float(self.in_outputs(v)[worst]) for v in (self.spread / 2**0.5, self.floor, self.largest)
        )
        more = f" and {len(hidden) - 1} more" if len(hidden) > 1 else ""
        remedy = "give dtype=torch.float64 and a module in it (module.double())"
        if not bool(self.lost[worst]) and float(self.spread[worst]) <= NOISE * float(self.noise[worst]):
            remedy = f"that is no more than rounding: leave it out if it is constant by design, else {remedy}"
        elif dtype == torch.float64:
            remedy = "take the offset off, or give a larger tolerance"
        return (
            f"{self.parts.name(worst)}{more}: it varies by {spread:.3g} beside a size of {largest:.3g}, so rounding in "
            f"{dtype} (up to {floor:.2g}) hides a defect of {tolerance:.3g}; {remedy}"
        )

    def constant_text(self, dtype: torch.dtype) -> str:
        """Which block is constant without being zero; nothing where none is."""
        offsets = (self.is_constant & ~self.is_zero)[: self.parts.n_blocks].nonzero().flatten().tolist()
        if not offsets:
            return ""
        lost = dtype.is_floating_point and dtype != torch.float64
        more = f" and {len(offsets) - 1} more" if len(offsets) > 1 else ""
        text = f"{self.parts.name(offsets[0])}{more} is constant, and not zero, so that nothing is said of it"
        return f"{text}; if it should vary, that is lost in the rounding of {dtype}: use float64" if lost else text

    def compare(
        self, a: Tensor, b: Tensor, window: Tensor | None = None, noise: Tensor | None = None, *, pooled: bool = False
    ) -> Compared:
        """Two sides ``(rows, dim)``, on the coordinates in the window; with more noise than is typical, if given.

        A row's scale is its own, or the typical one where that is larger; its own alone if rows are to be pooled.
        """
        parts = self.parts
        a, b = parts.features(a / self.magnitude), parts.features(b / self.magnitude)
        gap, from_a, from_b, scale = a - b, a - self.centre, b - self.centre, self.scale
        length = torch.maximum(parts.squares(a), parts.squares(b))[:, : parts.n_blocks].sqrt()
        if window is not None:
            gap, from_a, from_b = gap * window, from_a * window, from_b * window
            total = parts.sums(self.weights)
            share = parts.sums(self.weights * window) / total.where(total > 0, torch.ones_like(total))
            scale = scale * share.sqrt()
        own = (parts.squares(from_a) + parts.squares(from_b)).sqrt()
        noise = self.noise if noise is None else torch.maximum(noise, self.noise)
        floor = LAST_DIGITS * self.epsilon * parts.of_blocks(length) + NOISE * noise
        kinds = parts.is_kind.to(floor.device)
        floor = floor.where(~kinds, KINDS * floor)
        if pooled:
            scale = scale.where(self.lost, torch.zeros_like(scale))
        return Compared(parts.squares(gap).sqrt(), torch.maximum(own, scale), floor, kinds)

    def lengths(self, differences: list[Tensor], rows: int) -> Tensor:
        """Root of the sum of squares of some outputs' differences, ``(rows, units)``, of a kind that of its block."""
        parts = self.parts
        total = self.magnitude.new_zeros(rows, parts.n_units)
        for difference in differences:
            total += parts.squares(parts.features(difference / self.magnitude))
        return parts.of_blocks(total[:, : parts.n_blocks].sqrt())

    def in_outputs(self, values: Tensor) -> Tensor:
        """Numbers of each unit, ``(units,)``, in the units of the outputs."""
        per_block = torch.ones(self.parts.n_blocks, dtype=values.dtype, device=values.device)
        per_block[self.parts.labels.to(values.device)] = self.magnitude
        return values * self.parts.of_blocks(per_block)


def typical_of(parts: Parts, pool: Tensor, noise: list[Tensor], epsilon: float, n_draws: int) -> Typical:
    """From a pool of outputs ``(rows, dim)`` float64, and :func:`measured_noise` on some of them."""
    labels = parts.labels.to(pool.device)
    rows = max(_ROWS // 8, min(_ROWS, _NUMBERS // pool.shape[1]))
    pool = pool[:: -(-len(pool) // rows)]
    per_block = pool.new_zeros(parts.n_blocks).scatter_reduce_(0, labels, pool.abs().amax(0), "amax")
    magnitude = per_block.where(per_block > 0, torch.ones_like(per_block))[labels]
    features = parts.features(pool / magnitude)
    centre = features.median(0).values
    deviations = features - centre
    squares = parts.squares(deviations)
    near = torch.minimum(squares, _OUTLIERS * squares.median(0).values)
    length = parts.squares(features)[:, : parts.n_blocks].sqrt().amax(0)
    nothing = torch.zeros(parts.n_units, dtype=pool.dtype, device=pool.device)
    found = Typical(
        parts=parts, magnitude=magnitude, centre=centre, scale=(2 * near.mean(0)).sqrt(),
        spread=(2 * squares.mean(0)).sqrt(), noise=nothing, largest=parts.of_blocks(length),
        weights=deviations.square().mean(0), epsilon=epsilon, n_draws=n_draws, constant=nothing > 0, lost=nothing > 0,
    )  # fmt: skip
    if not noise:
        return found
    of_rows = found.lengths(noise, len(noise[0])).square()
    usual = of_rows.median(0).values
    limit = (_OUTLIERS * usual).where(usual > 0, torch.full_like(usual, torch.inf))
    measured = torch.minimum(of_rows, limit).mean(0).sqrt()
    return replace(found, noise=measured)


def pooled_defects(parts: Parts, a: Tensor, b: Tensor, centre: Tensor | None, epsilon: float) -> Tensor:
    """The largest defect over the parts of two sides ``(elements, rows, dim)``, all rows together: ``(elements,)``.

    ``centre (features,)``; none for the columns of a weight, which have no offset.
    """
    unit = torch.maximum(a.abs().amax((1, 2), keepdim=True), b.abs().amax((1, 2), keepdim=True))
    unit = unit.clamp_min(torch.finfo(a.dtype).tiny)
    centre = a.new_zeros(()) if centre is None else centre / unit
    a, b = parts.features(a / unit), parts.features(b / unit)
    squares = (a - b).square(), (a - centre).square() + (b - centre).square(), a.square() + b.square()
    gap, own, length = parts.sums(torch.stack([values.sum(1) for values in squares])).sqrt()
    kinds = parts.is_kind.to(a.device)
    floor = LAST_DIGITS * epsilon * parts.of_blocks(length[:, : parts.n_blocks])
    floor = floor.where(~kinds, KINDS * floor)
    return Compared(gap, own, floor, kinds).defects.amax(1)
