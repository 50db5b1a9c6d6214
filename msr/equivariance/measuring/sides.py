"""The two sides of equivariance, ``f(ρ_in(g) x)`` and ``ρ_out(g) f(x)``, on a batch of inputs, element by element."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from msr.equivariance.measuring.boundary import Interior
from msr.equivariance.measuring.evaluation import Element, Function, act, evaluate, run
from msr.equivariance.measuring.float64 import InFloat64
from msr.equivariance.measuring.parts import parts_of
from msr.equivariance.measuring.scale import NOISE, Compared, Typical, epsilon_of, measured_noise, typical_of
from msr.errors import ModelError
from msr.representations import AnyRepresentation

__all__ = [
    "NOISE_EXAMPLES", "Pair", "Rounding", "Sides", "check_is_a_function", "epsilon_inside", "moved_in_pool",
    "noise_directions",
]  # fmt: skip

NOISE_EXAMPLES = 16
"""Examples on which the noise of rounding is measured: a mean square over them is known to a third. Chosen by hand."""

# Outputs, at least, that say what is typical, those at moved inputs among them. Chosen by hand.
_POOL = 128
# Elements, at most, whose moved outputs are in the pool and are kept: they cost memory.
_MOST_KEPT = 8
# Numbers that several elements compare in one go: small tensors cost time each, and large ones memory (0.5 MiB here).
_NUMBERS_AT_ONCE = 2**16
# Two evaluations of the same input are different functions from this share of what all outputs together vary by on; a
# hundredth is far above rounding and far below what dropout or batch statistics do. Chosen by hand.
_UNSTABLE = 1e-2
# The same for one part of the outputs, of what this part varies by.
_UNSTABLE_PART = 0.05
# Roundings of the size of the outputs that such a difference may always have.
_ROUNDINGS = 64


@dataclass(frozen=True, eq=False)
class Pair:
    """Both sides for one element, ``a = f(ρ_in(g) x)`` and ``b = ρ_out(g) f(x)``, and their comparison.

    Shapes: ``a``, ``b`` ``(rows, dim)``, zero outside the window ``(dim,)`` of outputs that are compared.
    """

    element: Element
    a: Tensor
    b: Tensor
    window: Tensor
    compared: Compared


class Rounding:
    """Measures how far rounding alone moves the outputs of a function, on given inputs.

    Args: ``epsilon``: the relative rounding of the coarsest precision involved (:func:`epsilon_inside`).
    """

    def __init__(self, f: Function, rep_in: AnyRepresentation, inside: Interior, epsilon: float):
        self.f = f
        self.rep_in = rep_in
        self.inside = inside
        self.epsilon = epsilon
        self._in_float64 = InFloat64(f, rep_in, inside)

    def rows(self, x: Tensor) -> Tensor:
        """``f(x)``, ``(rows, dim)`` float64."""
        return run(self.f, x, self.rep_in, self.inside).reshape(len(x), -1)

    def at(self, x: Tensor, y: Tensor | None = None, directions: int = 1) -> list[Tensor]:
        """Differences whose squares sum to the squared noise of one evaluation at ``x``: see :func:`measured_noise`.

        Args: ``y``: ``f(x)`` as rows, where it is known; ``directions``: how many choices of signs are averaged.
        """
        return measured_noise(self.rows, x, self.rows(x) if y is None else y, self.epsilon, directions)

    def floor_at(
        self,
        x: Tensor,
        moved: Tensor,
        values: tuple[Tensor, Tensor],
        act_on_outputs: Callable[[Tensor], Tensor],
        typical: Typical,
        floor: Tensor,
    ) -> Tensor:
        """The floor ``(rows, units)`` of comparisons, raised to the noise on their own inputs.

        The noise is measured in two ways: by second differences, as on all inputs; and by the error against float64
        where ``f`` takes that. The latter also shows the rounding of large numbers inside ``f`` that no small change of
        the inputs reaches.

        Args:
            x, moved: the inputs, and the inputs moved by the element.
            values: ``f`` of both, from the batch in which they were evaluated: a few rows by themselves round in
                another way.
            act_on_outputs: ``ρ_out(g)`` on rows ``(rows, dim)``.
            floor: ``(rows, units)``, the floor to start from; no entry becomes smaller.
        """
        # Four directions, since here the noise of single rows decides, not a mean over many.
        noise = self.at(moved, directions=4)
        if noise:
            floor = torch.maximum(floor, NOISE * typical.lengths(noise, len(moved)))
        if not x.is_floating_point() or x.dtype == torch.float64:
            return floor
        exact = self._in_float64.rows(x), self._in_float64.rows(moved)
        if exact[0] is not None and exact[1] is not None:
            # The error of f(x) reaches the comparison moved by the action, and that of f(ρ x) as it is.
            errors = act_on_outputs(values[0] - exact[0]), values[1] - exact[1]
            floor = torch.maximum(floor, 2 * typical.lengths(list(errors), len(moved)))
        return floor

    def resolved(self, typical: Typical, x: Tensor, moved: Callable[[Tensor], list[Tensor]]) -> Typical:
        """``typical``, with parts that vary by no more than rounding called constant or lost by their values in
        float64.

        In float64 such a part either does not vary, and is constant; or it does, and this precision has lost its
        variation. Where there is no such part, or ``f`` cannot be evaluated in float64, ``typical`` is returned as it
        is.

        Args: ``moved``: a function that gives the moved inputs of a few inputs.
        """
        unclear = typical.unclear
        if not bool(unclear.any()):
            return typical
        few = x[:NOISE_EXAMPLES].double() if x.is_floating_point() else x[:NOISE_EXAMPLES]
        points = [few, *moved(few)]
        rows = [self._in_float64.rows(point, whatever_it_takes=True) for point in points]
        known = [y for y in rows if y is not None]
        # Where float64 fails on moved inputs, the variation that they bring is not known, and the part stays unclear.
        return typical.resolved(unclear, torch.cat(known)) if len(known) == len(points) else typical


class Sides:
    """Computes both sides for each element from one evaluation of ``f(x)``, and what is typical of the outputs.

    :meth:`pairs` gives the sides and their comparison, element by element.

    Args:
        x: inputs ``(batch, *rep_in.shape)``.
        elements: those that will be compared. The outputs at inputs moved by the first of them also say what is
            typical.
        means: whether the mean of each orbit and the deviations from it are compared apart as well, since a break in
            one can be lost beside the other. That is for unit tests, where code is right or wrong; in a measurement a
            part that happens to vary little would stand for the whole.

    Attributes: ``base``, the outputs ``f(x) (batch, *rep_out.shape)`` in float64; ``dtype``, the precision they had;
    ``typical``, what is typical of outputs; ``rounding``, the measure of their rounding; beside the arguments.
    Raises: what :func:`evaluate` and :func:`check_is_a_function` raise.
    """

    def __init__(
        self,
        f: Function,
        x: Tensor,
        rep_in: AnyRepresentation,
        rep_out: AnyRepresentation,
        elements: list[Element],
        inside: Interior,
        *,
        means: bool = False,
    ):
        self.x = x
        self.rep_in = rep_in
        self.rep_out = rep_out
        self.inside = inside
        self.elements = elements
        self.base = evaluate(f, x, rep_in, inside)
        self.dtype = self.base.dtype
        self.rounding = Rounding(f, rep_in, inside, epsilon_inside(f, x, self.base))
        self.base = self.base.double()
        kept = moved_in_pool(len(x))
        rows = self.base.reshape(len(x), -1)
        self._kept = [self.rounding.rows(act(rep_in, g, x)) for g in elements[:kept]]
        parts = parts_of(rep_out, whole_blocks=inside.mask is not None, means=means)
        noise = self.rounding.at(x[:NOISE_EXAMPLES], rows[:NOISE_EXAMPLES], noise_directions(len(x)))
        pool = torch.cat([rows, *self._kept])
        typical = typical_of(parts, pool, noise, self.rounding.epsilon, len(pool))
        self.typical = self.rounding.resolved(typical, x, lambda few: [act(rep_in, g, few) for g in elements[:kept]])
        check_is_a_function(f, x, self.base, rep_in, inside, self.typical)

    def pairs(self, *, pooled: bool = False) -> Iterator[Pair]:
        """The two sides and their comparison at each element, in the order of the elements.

        The outputs of the element given last are kept for :meth:`confirmed`, until the next one is asked for.

        Args: ``pooled``: whether the caller will take all rows of a comparison together (:meth:`Compared.pooled`). Then
        each row is measured in its own scale, else in the typical one where that is larger.
        """
        if self.inside.mask is None and self.rep_in.is_orthogonal and self.rep_out.is_orthogonal:
            yield from self._pairs_in_one_go(pooled)
            return
        for k, g in enumerate(self.elements):
            # Kept for confirmed(): the noise is measured on whole outputs.
            self._unmasked = a = self._of_moved(k)
            window = self.inside.of(g).to(a.device).expand(self.rep_out.shape).reshape(-1)
            a = a * window
            b = self._moved_base(g) * window
            masked = None if self.inside.mask is None else window
            yield Pair(g, a, b, window, self.typical.compare(a, b, masked, self._noise(g), pooled=pooled))

    def _pairs_in_one_go(self, pooled: bool) -> Iterator[Pair]:
        """The pairs of :meth:`pairs`, several elements at a time, where none needs a window or a noise of its own."""
        window = self.base.new_ones(self.rep_out.dim, dtype=torch.bool)
        n = len(self.x)
        many = max(1, _NUMBERS_AT_ONCE // self.base.numel())
        for start in range(0, len(self.elements), many):
            chosen = self.elements[start : start + many]
            a = torch.cat([self._of_moved(start + k) for k in range(len(chosen))])
            b = torch.cat([self._moved_base(g) for g in chosen])
            compared = self.typical.compare(a, b, pooled=pooled)
            for g, own_a, own_b, part in zip(chosen, a.split(n), b.split(n), compared.split(n), strict=True):
                self._unmasked = own_a
                yield Pair(g, own_a, own_b, window, part)

    def _of_moved(self, k: int) -> Tensor:
        """``f(ρ_in(g) x)``, ``(rows, dim)``, for the element at place ``k`` of the list."""
        return self._kept[k] if k < len(self._kept) else self.rounding.rows(self.moved(self.elements[k]))

    def _moved_base(self, g: Element) -> Tensor:
        """``ρ_out(g) f(x)``, ``(rows, dim)``, of all outputs, whatever the mask."""
        return self.rep_out.act(g, self.base).reshape(len(self.x), -1)

    def moved(self, g: Element, rows: Any = slice(None)) -> Tensor:
        """``ρ_in(g) x`` for some rows of the inputs, by default all."""
        return act(self.rep_in, g, self.x[rows])

    def confirmed(self, g: Element, row: int, compared: Compared) -> Tensor:
        """The floor ``(units,)`` of the row numbered ``row``, raised to the noise measured on the input of that row.

        Call it before :meth:`pairs` goes on: ``g`` is the element that it gave last, whose outputs are still kept.

        Args: ``compared``: the comparison at ``g``.
        """

        def act_on_outputs(rows: Tensor) -> Tensor:
            return self.rep_out.act(g, rows.reshape(-1, *self.rep_out.shape)).reshape(len(rows), -1)

        x = self.x[[row]]
        moved = self.moved(g, [row])
        values = self.base[[row]].reshape(1, -1), self._unmasked[[row]]
        return self.rounding.floor_at(x, moved, values, act_on_outputs, self.typical, compared.floor[[row]])[0]

    def _noise(self, g: Element) -> Tensor | None:
        """The noise ``(units,)`` at one element, where it may be larger than usual; else None.

        A matrix that is not orthogonal makes numbers larger, and their rounding with them.
        """
        if self.rep_in.is_orthogonal and self.rep_out.is_orthogonal:
            return None
        noise = self.typical.noise
        if not self.rep_out.is_orthogonal:
            # A matrix stretches the rounding of f(x) by its spectral norm at most.
            noise = noise * max(1.0, float(torch.linalg.matrix_norm(self.rep_out.matrix(g), 2)))
        few = self.moved(g, slice(NOISE_EXAMPLES))
        differences = self.rounding.at(few)
        if differences:
            noise = torch.maximum(noise, self.typical.lengths(differences, len(few)).square().mean(0).sqrt())
        return noise


def moved_in_pool(rows: int) -> int:
    """How many times the outputs of moved inputs stand beside ``rows`` outputs, to say together what is typical."""
    # Few examples need more elements to fill the pool.
    return max(2, min(_MOST_KEPT, _POOL // rows))


def noise_directions(rows: int) -> int:
    """How many choices of signs the noise of rounding is averaged over, on ``rows`` examples."""
    # With few examples several directions are needed to show enough of the noise.
    return max(1, NOISE_EXAMPLES // 2 // rows)


def epsilon_inside(f: Function, x: Tensor, y: Tensor) -> float:
    """Relative rounding of the coarsest precision among inputs, outputs and parameters.

    It is 0 where the outputs are whole numbers.

    Args: ``y``: the outputs in their own precision.
    """
    weights = f.parameters() if isinstance(f, nn.Module) and y.is_floating_point() else ()
    return epsilon_of(x, y, *weights) if y.is_floating_point() else 0.0


def check_is_a_function(
    f: Function, x: Tensor, y: Tensor, rep_in: AnyRepresentation, inside: Interior, typical: Typical
) -> None:
    """Raise ModelError unless an example gives the same output again, in whatever batch it is.

    The first example is evaluated in a smaller batch. Its output may differ from that in ``y = f(x)`` by a hundredth of
    what all outputs together vary by. Where one part of it differs by more than a twentieth of what this part varies
    by, the call is repeated: a function that repeats itself exactly only rounds in another way in another batch.
    """
    # With one input its double stands beside it, so that the batch differs and the outputs vary.
    few = x[:1] if len(x) > 1 else torch.cat([x, 2 * x])
    second = run(f, few, rep_in, inside).reshape(len(few), -1)
    first = y.reshape(len(x), -1)
    pool = first if len(x) > 1 else torch.cat([first, second[1:]])
    gap = float((second[0] - pool[0]).norm())
    size = max(float(pool[0].norm()), float(second[0].norm()))
    # An offset that all outputs share is taken off: it would hide any difference.
    spread = float((pool - pool.mean(0)).norm()) / len(pool) ** 0.5
    differs = gap > _UNSTABLE * min(spread, size) + _ROUNDINGS * typical.epsilon * size

    def parts_differ(a: Tensor, b: Tensor) -> bool:
        part = typical.compare(a, b)
        rounding = _ROUNDINGS * typical.epsilon * typical.largest
        beyond = part.difference[0] > torch.maximum(_UNSTABLE_PART * part.scale[0], rounding)
        return bool((beyond & (typical.scale > 0)).any())

    if not differs and parts_differ(second[:1], first[:1]):
        third = run(f, few, rep_in, inside).reshape(len(few), -1)
        differs = parts_differ(second[:1], third[:1])
    if differs:
        raise ModelError(
            "the same input gave two different outputs: the function is random, or mixes the examples of a batch; call "
            "eval() on the module first"
        )
