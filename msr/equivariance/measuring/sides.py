"""The two sides of equivariance, ``f(ρ_in(g) x)`` and ``ρ_out(g) f(x)``, on a batch of inputs, element by element."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from msr.equivariance.measuring.boundary import Interior
from msr.equivariance.measuring.evaluation import Element, Function, act, evaluate, run
from msr.equivariance.measuring.float64 import Finer
from msr.equivariance.measuring.parts import parts_of
from msr.equivariance.measuring.scale import NOISE, Compared, Typical, epsilon_of, measured_noise, typical_of
from msr.errors import ModelError
from msr.representations import AnyRepresentation

__all__ = ["Pair", "Rounding", "Sides", "check_is_a_function", "epsilon_inside"]

_MEASURED = 16  # examples on which the noise of rounding is measured
_POOL = 128  # outputs that say what is typical, at least, moved inputs among them
_MOST_KEPT = 8  # elements whose moved outputs are in the pool, at most
_TOGETHER = 2**16  # numbers of several elements that are compared in one go, since small tensors cost time each


@dataclass(frozen=True, eq=False)
class Pair:
    """Both sides for one element: ``a``, ``b`` ``(rows, dim)``, zero outside the window ``(dim,)``, and compared."""

    element: Element
    a: Tensor
    b: Tensor
    window: Tensor
    compared: Compared


class Rounding:
    """The noise of a function on inputs as the group moves them."""

    def __init__(self, f: Function, rep_in: AnyRepresentation, inside: Interior, epsilon: float):
        self.f, self.rep_in, self.inside, self.epsilon = f, rep_in, inside, epsilon
        self._finer = Finer(f, rep_in, inside)

    def rows(self, x: Tensor) -> Tensor:
        """``f(x)``, ``(rows, dim)`` float64."""
        return run(self.f, x, self.rep_in, self.inside).reshape(len(x), -1)

    def at(self, x: Tensor, y: Tensor | None = None, directions: int = 1) -> list[Tensor]:
        """See :func:`measured_noise`."""
        return measured_noise(self.rows, x, self.rows(x) if y is None else y, self.epsilon, directions)

    def floor_at(
        self,
        x: Tensor,
        moved: Tensor,
        values: tuple[Tensor, Tensor],
        turn: Callable[[Tensor], Tensor],
        typical: Typical,
        floor: Tensor,
    ) -> Tensor:
        """The floor ``(rows, units)`` of comparisons, once the noise on their own inputs was measured.

        In two ways: as on all inputs, and where ``f`` takes float64 by what it gives there, which also shows the
        rounding of large numbers inside that no small change of the inputs reaches. ``values``: ``f`` of both, as they
        came in their batch, which rounds otherwise than a few rows by themselves. ``turn`` is ``ρ_out(g)`` on rows.
        """
        noise = self.at(moved, directions=4)
        if noise:
            floor = torch.maximum(floor, NOISE * typical.lengths(noise, len(moved)))
        if not x.is_floating_point() or x.dtype == torch.float64:
            return floor
        exact = self._finer.rows(x), self._finer.rows(moved)
        if exact[0] is not None and exact[1] is not None:
            errors = turn(values[0] - exact[0]), values[1] - exact[1]
            floor = torch.maximum(floor, 2 * typical.lengths(list(errors), len(moved)))
        return floor

    def resolved(self, typical: Typical, x: Tensor, moved: Callable[[Tensor], list[Tensor]]) -> Typical:
        """What does not vary by more than rounding looked at in float64: it is constant, or its variation is lost."""
        unclear = typical.unclear
        if not bool(unclear.any()):
            return typical
        few = x[:_MEASURED].double() if x.is_floating_point() else x[:_MEASURED]
        points = [few, *moved(few)]
        rows = [self._finer.rows(point, whatever_it_takes=True) for point in points]
        seen = [y for y in rows if y is not None]
        return typical.resolved(unclear, torch.cat(seen)) if len(seen) == len(points) else typical


class Sides:
    """``f(x)`` once, then both sides for each element; and what is typical of the outputs, moved inputs among them.

    ``means``: look at the mean of each orbit by itself too, beside which a break in the rest could be lost. That is for
    code, which is right or wrong: how far a part is off that varies little by chance says little of the whole.
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
        self.x, self.rep_in, self.rep_out, self.inside, self.elements = x, rep_in, rep_out, inside, elements
        self.base = evaluate(f, x, rep_in, inside)
        self.dtype = self.base.dtype
        self.rounding = Rounding(f, rep_in, inside, epsilon_inside(f, x, self.base))
        self.base = self.base.double()
        kept = max(2, min(_MOST_KEPT, _POOL // len(x)))
        rows = self.base.reshape(len(x), -1)
        self._kept = [self.rounding.rows(act(rep_in, g, x)) for g in elements[:kept]]
        parts = parts_of(rep_out, whole_blocks=inside.mask is not None, means=means)
        directions = max(1, _MEASURED // 2 // len(x))  # one example must show enough of it too
        noise = self.rounding.at(x[:_MEASURED], rows[:_MEASURED], directions)
        pool = torch.cat([rows, *self._kept])
        typical = typical_of(parts, pool, noise, self.rounding.epsilon, len(pool))
        self.typical = self.rounding.resolved(typical, x, lambda few: [act(rep_in, g, few) for g in elements[:kept]])
        check_is_a_function(f, x, self.base, rep_in, inside, self.typical)

    def pairs(self, *, pooled: bool = False) -> Iterator[Pair]:
        """An element after the other; ``pooled`` if rows are to be taken together."""
        if self.inside.mask is None and self.rep_in.is_orthogonal and self.rep_out.is_orthogonal:
            yield from self._pairs_in_one_go(pooled)
            return
        for k, g in enumerate(self.elements):
            self._unmasked = a = self._of_moved(k)
            window = self.inside.of(g).to(a.device).expand(self.rep_out.shape).reshape(-1)
            a, b = a * window, self._moved_base(g) * window
            masked = None if self.inside.mask is None else window
            yield Pair(g, a, b, window, self.typical.compare(a, b, masked, self._noise(g), pooled=pooled))

    def _pairs_in_one_go(self, pooled: bool) -> Iterator[Pair]:
        """Where no element needs a window or a noise of its own."""
        window = self.base.new_ones(self.rep_out.dim, dtype=torch.bool)
        n, many = len(self.x), max(1, _TOGETHER // self.base.numel())
        for start in range(0, len(self.elements), many):
            chosen = self.elements[start : start + many]
            a = torch.cat([self._of_moved(start + k) for k in range(len(chosen))])
            b = torch.cat([self._moved_base(g) for g in chosen])
            compared = self.typical.compare(a, b, pooled=pooled)
            for g, one, other, part in zip(chosen, a.split(n), b.split(n), compared.split(n), strict=True):
                self._unmasked = one
                yield Pair(g, one, other, window, part)

    def _of_moved(self, k: int) -> Tensor:
        """``f(ρ_in(g) x)``, ``(rows, dim)``, for the element at this place."""
        return self._kept[k] if k < len(self._kept) else self.rounding.rows(self.moved(self.elements[k]))

    def _moved_base(self, g: Element) -> Tensor:
        """``ρ_out(g) f(x)``, ``(rows, dim)``."""
        return self.rep_out.act(g, self.base).reshape(len(self.x), -1)

    def moved(self, g: Element, rows: Any = slice(None)) -> Tensor:
        """``ρ_in(g) x``."""
        return act(self.rep_in, g, self.x[rows])

    def confirmed(self, g: Element, row: int, compared: Compared) -> Tensor:
        """The floor ``(units,)`` of one row, once the noise on its own moved input was measured."""

        def turn(rows: Tensor) -> Tensor:
            return self.rep_out.act(g, rows.reshape(-1, *self.rep_out.shape)).reshape(len(rows), -1)

        x, moved = self.x[[row]], self.moved(g, [row])
        values = self.base[[row]].reshape(1, -1), self._unmasked[[row]]
        return self.rounding.floor_at(x, moved, values, turn, self.typical, compared.floor[[row]])[0]

    def _noise(self, g: Element) -> Tensor | None:
        """What is not orthogonal makes numbers larger, and their rounding with them, so that it is measured again."""
        if self.rep_in.is_orthogonal and self.rep_out.is_orthogonal:
            return None
        noise = self.typical.noise
        if not self.rep_out.is_orthogonal:
            noise = noise * max(1.0, float(torch.linalg.matrix_norm(self.rep_out.matrix(g), 2)))
        few = self.moved(g, slice(_MEASURED))
        found = self.rounding.at(few)
        if found:
            noise = torch.maximum(noise, self.typical.lengths(found, len(few)).square().mean(0).sqrt())
        return noise


def epsilon_inside(f: Function, x: Tensor, y: Tensor) -> float:
    """Relative rounding of the coarsest precision among inputs, outputs and parameters; 0 from integers to integers."""
    weights = f.parameters() if isinstance(f, nn.Module) and y.is_floating_point() else ()
    return epsilon_of(x, y, *weights) if y.is_floating_point() else 0.0


def check_is_a_function(
    f: Function, x: Tensor, y: Tensor, rep_in: AnyRepresentation, inside: Interior, typical: Typical
) -> None:
    """Raise ModelError unless an example gives what it gave, whatever else is in its batch.

    Up to one hundredth of what all outputs together vary by; and, called again in the same way, to a twentieth of what
    any one part does: what differs by less in another batch, in a part that hardly varies, can be rounding.
    """
    few = x[:1] if len(x) > 1 else torch.cat([x, 2 * x])
    again = run(f, few, rep_in, inside).reshape(len(few), -1)
    before = y.reshape(len(x), -1)
    seen = before if len(x) > 1 else torch.cat([before, again[1:]])
    gap, size = float((again[0] - seen[0]).norm()), max(float(seen[0].norm()), float(again[0].norm()))
    # An offset that all outputs share says nothing of the function.
    spread = float((seen - seen.mean(0)).norm()) / len(seen) ** 0.5
    differs = gap > 1e-2 * min(spread, size) + 64 * typical.epsilon * size

    def parts_differ(one: Tensor, other: Tensor) -> bool:
        part = typical.compare(one, other)
        beyond = part.difference[0] > torch.maximum(0.05 * part.scale[0], 64 * typical.epsilon * typical.largest)
        return bool((beyond & (typical.scale > 0)).any())

    if not differs and parts_differ(again[:1], before[:1]):
        differs = parts_differ(again[:1], run(f, few, rep_in, inside).reshape(len(few), -1)[:1])
    if differs:
        raise ModelError(
            "the same input gave two different outputs: the function is random, or mixes the examples of a batch; call "
            "eval() on the module first"
        )
