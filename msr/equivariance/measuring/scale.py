"""What a difference is measured in: how much each part of the outputs varies, and how far rounding alone can move it.

The difference ``a − b`` of ``a = f(ρ_in(g) x)`` and ``b = ρ_out(g) f(x)`` is taken as it is. Its *scale* is
``√(‖a − c‖² + ‖b − c‖²)`` for the centre ``c`` of the outputs, part by part
(:class:`msr.equivariance.measuring.parts.Parts`). So neither an offset that all outputs share, nor a part with large
numbers, hides a break in another. Its *floor* is what rounding alone can make of it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from msr.equivariance.measuring.parts import Parts
from msr.errors import MSRError

__all__ = ["Compared", "Typical", "epsilon_of", "measured_noise", "pooled_defects", "typical_of"]

LAST_DIGITS = 4
"""A difference below this many roundings of the length of a block is taken for rounding. Chosen by hand."""

NOISE = 10
"""A difference below this many times the measured noise is taken for rounding: that is seven standard deviations, since
the difference of two evaluations has √2 times the noise of one."""

KINDS = 3
"""By how much the floor of an irreducible kind is raised above that of a block: its coordinates are computed by a
change of basis, which rounds too. Chosen by hand."""

CONSTANT_NOISE = 1e-2
"""A part that varies by a larger share of its size than this is not called constant, however large the measured noise
is. Chosen by hand."""

LOST_ROUNDINGS = 100
"""A part has lost its variation if float64 shows more of it than this many times the floor that float64 itself has.
Chosen by hand."""

# Relative rounding of float64.
_EXACT = torch.finfo(torch.float64).eps
# Squared deviations beyond so many medians count as so many, since one huge output is not the scale of the others.
# Chosen by hand: of a single normally distributed coordinate it cuts one number in 400.
_OUTLIERS = 20
# Outputs that are enough to say what is typical; the rest of a larger pool is skipped.
_ROWS = 4096
# Numbers of all these outputs together, 32 MiB, if that leaves at least an eighth of the rows.
_NUMBERS = 2**22


def epsilon_of(*tensors: Tensor) -> float:
    """Relative rounding (machine epsilon) of the coarsest precision among tensors; 0 if all hold whole numbers."""
    return max((torch.finfo(t.dtype).eps for t in tensors if t.is_floating_point()), default=0.0)


def measured_noise(
    call: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, epsilon: float, directions: int = 1
) -> list[Tensor]:
    """Differences ``(rows, dim)`` whose squares sum to the squared noise of one evaluation, the rounding of ``f(x)``.

    Two of them for each direction, from ``f(x ± h x)`` with random signs and ``h = ε^(2/3)``. The second difference of
    a smooth function is ``O(h²) = O(ε^(4/3))``, so nearly all of it is rounding, of three evaluations with the
    factors 1, −2, 1: its variance is 6 times that of one. The first difference, scaled from ``h`` to ``ε``, is what the
    rounding of the inputs does. An empty list where inputs are whole numbers, or where ``f`` refuses such inputs.

    Args:
        call: the function, on ``x``.
        y: ``f(x)``, ``(rows, dim)``.
        epsilon: relative rounding.
        directions: how many choices of signs are averaged.

    Source: Moré and Wild, Estimating computational noise, SIAM J. Sci. Comput. 33 (2011).
    """
    if not x.is_floating_point() or epsilon == 0:
        return []
    # Small enough that the curvature, of size h², is below ε, and far above ε, so that it moves the inputs at all.
    h = epsilon ** (2 / 3)
    generator = torch.Generator().manual_seed(0)
    differences: list[Tensor] = []
    for _ in range(directions):
        signs = torch.randint(2, x.shape, generator=generator).to(device=x.device, dtype=x.dtype) * 2 - 1
        try:
            up, down = (call(x * (1 + sign * h * signs)).flatten(1) for sign in (1, -1))
        except MSRError:
            return []
        differences.append((up + down - 2 * y) / (6 * directions) ** 0.5)
        differences.append((up - down) * (epsilon / (2 * h * directions**0.5)))
    return differences


@dataclass(frozen=True, eq=False)
class Compared:
    """A comparison of two sides, row by row and unit by unit (:class:`msr.equivariance.measuring.parts.Parts`).

    Attributes:
        difference: ``(rows, units)``, the length of ``a − b``.
        scale: ``(rows, units)``, what it is divided by.
        floor: ``(rows, units)``, the difference that rounding can make.
        kinds: ``(units,)``, whether a unit is a kind inside a block; it counts only where it differs beyond rounding.
    """

    difference: Tensor
    scale: Tensor
    floor: Tensor
    kinds: Tensor

    @property
    def defects(self) -> Tensor:
        """``difference / scale``, ``(rows, units)``, in [0, √2].

        Zero where the scale is zero. Zero too where the difference is within the floor, and the unit is a kind or has
        its scale within the floor; otherwise a difference within the floor stays as it is.
        """
        equal = (self.difference <= self.floor) & (self.kinds | (self.scale <= self.floor))
        ratio = self.difference / self.scale.where(self.scale > 0, torch.ones_like(self.scale))
        return ratio.where(~(equal | (self.scale == 0)), torch.zeros_like(ratio))

    def fails(self, tolerance: float) -> Tensor:
        """``(rows, units)``: whether a unit differs by more than rounding and more than the tolerance, a defect.

        A difference that is nan counts as too large.
        """
        # Written as "not below", because every comparison with nan is false.
        return ~(self.difference <= torch.maximum(self.floor, tolerance * self.scale))

    def hidden(self, tolerance: float) -> Tensor:
        """``(rows, units)``: whether rounding alone could make a defect above the tolerance, of a block that varies."""
        return (self.floor > tolerance * self.scale) & (self.scale > 0) & ~self.kinds

    def split(self, rows: int) -> list["Compared"]:
        """The comparison cut into several of ``rows`` rows each; the last may have fewer."""
        each = zip(self.difference.split(rows), self.scale.split(rows), self.floor.split(rows), strict=True)
        return [Compared(difference, scale, floor, self.kinds) for difference, scale, floor in each]

    def pooled(self) -> "Compared":
        """All rows together, ``(1, units)``: root mean squares of the differences, of the scales and of the floors."""
        difference, scale, floor = (
            v.square().mean(0, keepdim=True).sqrt() for v in (self.difference, self.scale, self.floor)
        )
        return Compared(difference, scale, floor, self.kinds)


@dataclass(frozen=True, eq=False)
class Typical:
    """What is typical of the outputs of a function: their centre, scale and rounding, from a pool of outputs.

    Attributes:
        parts: the parts of the outputs; ``units`` below are those of :class:`Parts`.
        magnitude: ``(dim,)``, the largest number in each coordinate's block. Outputs are divided by it first, so that
            squares of very large or very small numbers neither overflow nor vanish; all lengths below are after that.
        centre: ``(features,)``, the median of the outputs.
        scale: ``(units,)``, ``√(2 · mean ‖y − c‖²)``, what unrelated outputs differ by; squared deviations are cut at
            20 times their median.
        spread: ``(units,)``, the same without the cut.
        noise: ``(units,)``, root mean square of the rounding of one evaluation; for a kind, that of its block.
        largest: ``(units,)``, the largest length of the unit's block in any output of the pool.
        weights: ``(features,)``, mean squared deviations, which say what share of a unit a window holds.
        epsilon: relative rounding of the precision.
        n_draws: draws of an input and an element in the pool.
        constant, lost: ``(units,)``: whether a block that does not vary by more than rounding is constant in float64
            too, or varies there; ``spread`` and ``scale`` of what is lost are those in float64. Both are false before
            :meth:`resolved`, and for all other units.
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
        """``(units,)``: a difference up to here can be rounding."""
        return LAST_DIGITS * self.epsilon * self.largest + NOISE * self.noise

    @property
    def is_constant(self) -> Tensor:
        """``(units,)``: whether a unit is the same for all inputs, up to the last digit, or to the measured noise.

        A unit that is zero is. One that has been :attr:`lost` is not.
        """
        is_noise = (self.spread <= NOISE * self.noise) & (self.spread <= CONSTANT_NOISE * self.largest)
        return (self.constant | (self.spread <= self.epsilon * self.largest) | is_noise) & ~self.lost

    @property
    def unclear(self) -> Tensor:
        """``(units,)``: blocks that vary by no more than rounding in this precision, so that float64 may show more.

        Blocks of zeros are none of them; nor is any block where the precision is float64.
        """
        blocks = ~self.parts.is_kind.to(self.floor.device)
        return (self.spread <= self.floor) & (self.largest > 0) & blocks & (self.epsilon > _EXACT)

    def resolved(self, unclear: Tensor, exact_outputs: Tensor) -> "Typical":
        """What is typical, with each unclear block called constant or lost by outputs in float64.

        A lost block gets the spread and the scale of these outputs.

        Shapes: ``unclear (units,)``, booleans; ``exact_outputs (rows, dim)``.
        """
        features = self.parts.features(exact_outputs / self.magnitude)
        spread = (2 * self.parts.squares(features - features.median(0).values).mean(0)).sqrt()
        lost = unclear & (spread > LOST_ROUNDINGS * (_EXACT / self.epsilon) * self.floor)
        return replace(
            self, constant=unclear & ~lost, lost=lost, spread=spread.where(lost, self.spread),
            scale=spread.where(lost, self.scale),
        )  # fmt: skip

    @property
    def is_zero(self) -> Tensor:
        """``(units,)``: whether a unit is zero for all inputs."""
        return self.largest == 0

    def undecided(self, tolerance: float) -> Tensor:
        """``(units,)``: blocks that vary so little beside their size that rounding hides a defect of the tolerance.

        Constant blocks (:attr:`is_constant`) are none of them.
        """
        hidden = (self.floor > tolerance * self.spread) & ~self.is_constant
        return hidden & ~self.parts.is_kind.to(hidden.device)

    @property
    def all_constant(self) -> bool:
        """Whether every block is constant, as :attr:`is_constant` says: zero, or varying by no more than rounding."""
        return bool(self.is_constant[: self.parts.n_blocks].all())

    def hidden_text(self, tolerance: float, dtype: torch.dtype) -> str:
        """Where rounding hides a defect of the tolerance, and what to do, in words; "" where it does not."""
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
        """Which block is constant without being zero, in words; "" where none is."""
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
        """The comparison of two sides ``a`` and ``b``, each ``(rows, dim)``; its lengths are in units of ``magnitude``.

        The scale of a row is ``√(‖a − c‖² + ‖b − c‖²)``, or the typical scale where that is larger.

        Args:
            window: ``(dim,)`` or ``(rows, dim)``, true for the outputs to compare; None for all. It needs parts made
                with ``whole_blocks``, whose features are the outputs. The typical scale of a unit is multiplied by the
                root of the share of its variation that lies in the window.
            noise: ``(units,)``, the noise of these rows, which counts where it is larger than the typical one.
            pooled: whether the caller will take all rows together (:meth:`Compared.pooled`); the result has a row for
                each all the same. Then the typical scale is used for lost parts only, since many rows together show how
                much the outputs vary.
        """
        parts = self.parts
        a = parts.features(a / self.magnitude)
        b = parts.features(b / self.magnitude)
        gap = a - b
        from_a = a - self.centre
        from_b = b - self.centre
        scale = self.scale
        length = torch.maximum(parts.squares(a), parts.squares(b))[:, : parts.n_blocks].sqrt()
        if window is not None:
            gap = gap * window
            from_a = from_a * window
            from_b = from_b * window
            total = parts.sums(self.weights)
            share = parts.sums(self.weights * window) / total.where(total > 0, torch.ones_like(total))
            scale = scale * share.sqrt()
        own = (parts.squares(from_a) + parts.squares(from_b)).sqrt()
        noise = self.noise if noise is None else torch.maximum(noise, self.noise)
        floor = LAST_DIGITS * self.epsilon * parts.of_blocks(length) + NOISE * noise
        kinds = parts.is_kind.to(floor.device)
        floor = floor.where(~kinds, KINDS * floor)
        if pooled:
            # Where the variation is lost in this precision, the rows themselves do not show it.
            scale = scale.where(self.lost, torch.zeros_like(scale))
        return Compared(parts.squares(gap).sqrt(), torch.maximum(own, scale), floor, kinds)

    def lengths(self, differences: list[Tensor], rows: int) -> Tensor:
        """The root of the summed squares of several differences, ``(rows, units)``; for a kind, that of its block.

        The result is in units of ``magnitude``, and zero for an empty list.

        Args: ``differences``: each ``(rows, dim)``, in the units of the outputs; ``rows``: how many rows these have.
        """
        parts = self.parts
        total = self.magnitude.new_zeros(rows, parts.n_units)
        for difference in differences:
            total += parts.squares(parts.features(difference / self.magnitude))
        return parts.of_blocks(total[:, : parts.n_blocks].sqrt())

    def in_outputs(self, values: Tensor) -> Tensor:
        """A length of each unit, ``(units,)``, in the units of the outputs: times the ``magnitude`` of its block.

        Args: ``values``: the lengths after division by the magnitude, as :attr:`scale` and :attr:`floor` are.
        """
        per_block = torch.ones(self.parts.n_blocks, dtype=values.dtype, device=values.device)
        per_block[self.parts.labels.to(values.device)] = self.magnitude
        return values * self.parts.of_blocks(per_block)


def typical_of(parts: Parts, pool: Tensor, noise: list[Tensor], epsilon: float, n_draws: int) -> Typical:
    """:class:`Typical` from a pool of outputs ``(rows, dim)`` float64.

    Of a large pool only some rows are used, evenly spaced: 4096 at most, of wide outputs down to 512.

    Args:
        noise: :func:`measured_noise` on some of the outputs; an empty list counts as no noise.
        epsilon: relative rounding of the precision.
        n_draws: draws of an input and an element in the pool, for the record.
    """
    labels = parts.labels.to(pool.device)
    rows = max(_ROWS // 8, min(_ROWS, _NUMBERS // pool.shape[1]))
    # Rows at equal distances, so that inputs and moved inputs, which stand one after another, are both among them.
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
    # The noise is measured in units of this value, so it is put in afterwards.
    typical = Typical(
        parts=parts, magnitude=magnitude, centre=centre, scale=(2 * near.mean(0)).sqrt(),
        spread=(2 * squares.mean(0)).sqrt(), noise=nothing, largest=parts.of_blocks(length),
        weights=deviations.square().mean(0), epsilon=epsilon, n_draws=n_draws, constant=nothing > 0, lost=nothing > 0,
    )  # fmt: skip
    if not noise:
        return typical
    of_rows = typical.lengths(noise, len(noise[0])).square()
    usual = of_rows.median(0).values
    # A median of zero sets no limit: most rows may round to one and the same number while a few show the noise.
    limit = (_OUTLIERS * usual).where(usual > 0, torch.full_like(usual, torch.inf))
    measured = torch.minimum(of_rows, limit).mean(0).sqrt()
    return replace(typical, noise=measured)


def pooled_defects(parts: Parts, a: Tensor, b: Tensor, centre: Tensor | None, epsilon: float) -> Tensor:
    """The largest defect over the parts of two sides ``(elements, rows, dim)``, all rows together: ``(elements,)``.

    Args:
        centre: that of the outputs, ``(features,)``, in their units; None for the columns of a weight, which have no
            offset.
        epsilon: relative rounding.
    """
    unit = torch.maximum(a.abs().amax((1, 2), keepdim=True), b.abs().amax((1, 2), keepdim=True))
    # Division by the largest number keeps squares from overflowing; it must not be zero.
    unit = unit.clamp_min(torch.finfo(a.dtype).tiny)
    centre = a.new_zeros(()) if centre is None else centre / unit
    a = parts.features(a / unit)
    b = parts.features(b / unit)
    squares = (a - b).square(), (a - centre).square() + (b - centre).square(), a.square() + b.square()
    gap, own, length = parts.sums(torch.stack([values.sum(1) for values in squares])).sqrt()
    kinds = parts.is_kind.to(a.device)
    floor = LAST_DIGITS * epsilon * parts.of_blocks(length[:, : parts.n_blocks])
    floor = floor.where(~kinds, KINDS * floor)
    return Compared(gap, own, floor, kinds).defects.amax(1)
