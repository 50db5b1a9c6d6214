"""The defect of each draw of an input and a group element, in units that were fixed on other draws."""

from dataclasses import dataclass

import torch
from torch import Tensor

from msr.equivariance.measuring.boundary import Interior
from msr.equivariance.measuring.evaluation import Element, Function, act, evaluate
from msr.equivariance.measuring.parts import parts_of
from msr.equivariance.measuring.scale import Compared, Typical, typical_of
from msr.equivariance.measuring.sides import NOISE_EXAMPLES, Rounding, check_is_a_function, epsilon_inside
from msr.representations import AnyRepresentation

__all__ = ["CalibratedComparison", "DrawnDefects"]


@dataclass(frozen=True, eq=False)
class DrawnDefects:
    """The defect of each draw, without unit, in [0, √2].

    Attributes:
        values: ``(n,)`` float64, the largest over the parts of the outputs.
        at_least, at_most: ``(n,)``: the same, except that where a part varies too little beside its size for this
            precision to show the tolerance, a difference that rounding explains counts as 0 and as √2.
        parts: the part of the outputs where each defect is, by the number of its unit in :class:`Parts`.
        size: root mean square of the outputs ``f(x)``, those outside of a mask included.
        compared: share of the outputs that were compared, the mean over the draws.
    """

    values: Tensor
    at_least: Tensor
    at_most: Tensor
    parts: tuple[int, ...]
    size: float
    compared: float


class CalibratedComparison:
    """Compares both sides of equivariance on draws, in units and about a centre that were fixed on other draws.

    Fixing them apart makes the defects of the tested draws independent of each other, which the rules need.

    Args: ``x (n, *rep_in.shape)`` and as many ``elements``: the draws that fix the units.
    Attributes: ``typical``, the units and the centre; ``dtype``, the precision of the outputs; ``rounding``, the
    measure of their rounding; beside the other arguments.
    Raises: what :func:`evaluate` and :func:`check_is_a_function` raise.
    """

    def __init__(
        self,
        f: Function,
        rep_in: AnyRepresentation,
        rep_out: AnyRepresentation,
        inside: Interior,
        x: Tensor,
        elements: list[Element],
    ):
        assert len(x) == len(elements), "one element for each input"
        self.f = f
        self.rep_in = rep_in
        self.rep_out = rep_out
        self.inside = inside
        y = evaluate(f, x, rep_in, inside)
        self.dtype = y.dtype
        self.rounding = Rounding(f, rep_in, inside, epsilon_inside(f, x, y))
        y = y.double()
        moved = self._each(rep_in, elements, x)
        of_moved = self.rounding.rows(moved)
        rows = y.reshape(len(x), -1)
        parts = parts_of(rep_out, whole_blocks=inside.mask is not None)
        # The noise is measured on moved inputs, whose numbers are the larger ones where the action is not orthogonal.
        noise = self.rounding.at(moved[:NOISE_EXAMPLES], of_moved[:NOISE_EXAMPLES])
        # Outputs at moved inputs belong to what is typical: the action may lead to inputs that the draws do not reach.
        pool = [rows, of_moved]
        if not rep_out.is_orthogonal:
            # Moved outputs are larger too then, and belong to what is typical.
            pool.append(self._each(rep_out, elements, y).reshape(len(x), -1))
        # The count is that of the draws, whose outputs stand in the pool more than once.
        typical = typical_of(parts, torch.cat(pool), noise, self.rounding.epsilon, len(x))
        self.typical: Typical = self.rounding.resolved(
            typical, x, lambda few: [self._each(rep_in, elements[: len(few)], few)]
        )
        check_is_a_function(f, x, y, rep_in, inside, self.typical)

    def defects_of(self, x: Tensor, elements: list[Element], tolerance: float) -> DrawnDefects:
        """The defect of each pair of an input ``x[i]`` and an element ``elements[i]``; nothing of it is kept.

        Args: ``tolerance``: a defect. Where a draw has a larger one, rounding is measured on its own input before that
        counts; ``at_least`` and ``at_most`` of the result say what rounding leaves open about the tolerance.
        """
        assert len(x) == len(elements), "one element for each input"
        y = self.rounding.rows(x).reshape(len(x), *self.rep_out.shape)
        moved = self._each(self.rep_in, elements, x)
        b = self._each(self.rep_out, elements, y).reshape(len(x), -1)
        a = self.rounding.rows(moved)
        windows: Tensor | None = None
        share = 1.0
        if self.inside.mask is not None:
            each = [self.inside.of(g).expand(self.rep_out.shape).reshape(-1) for g in elements]
            windows = torch.stack(each).to(a.device)
            # Each element moves the boundary in another way, so each draw has a window of its own.
            share = float(windows.double().mean())
        compared = self._confirmed(
            self.typical.compare(a, b, windows), x, moved, (y.reshape(len(x), -1), a), elements, tolerance
        )
        defects = compared.defects
        # A part is unclear on a draw where rounding hides the tolerance, and explains the difference. Such a defect may
        # be anything, so it counts as 0 for one null hypothesis and as √2 for the other.
        shows = compared.difference > tolerance * compared.scale
        unclear = self.typical.undecided(tolerance) | (
            compared.hidden(tolerance) & shows & (compared.scale > compared.floor)
        )
        unclear = unclear & (compared.difference <= compared.floor)
        at_least = defects.where(~unclear, torch.zeros_like(defects)).amax(1)
        at_most = defects.where(~unclear, torch.full_like(defects, 2**0.5)).amax(1)
        size = float(y.square().mean().sqrt())
        parts = tuple(defects.argmax(1).tolist())
        return DrawnDefects(defects.amax(1).cpu(), at_least.cpu(), at_most.cpu(), parts, size, share)

    def _confirmed(
        self,
        compared: Compared,
        x: Tensor,
        moved: Tensor,
        values: tuple[Tensor, Tensor],
        elements: list[Element],
        tolerance: float,
    ) -> Compared:
        """The comparison, with the floor of each row that fails raised to the noise measured on its very inputs.

        Args: ``values``: the outputs at ``x`` and at ``moved``.
        """
        # Only rows that fail are looked at again: it takes a dozen evaluations for each, and a row that passes stays a
        # pass with a higher floor.
        rows = compared.fails(tolerance).any(1).nonzero().flatten().tolist()
        if not rows:
            return compared

        def act_on_outputs(y: Tensor) -> Tensor:
            of_rows = y.reshape(-1, *self.rep_out.shape)
            return self._each(self.rep_out, [elements[i] for i in rows], of_rows).reshape(len(y), -1)

        floor = compared.floor.clone()
        floor[rows] = self.rounding.floor_at(
            x[rows], moved[rows], (values[0][rows], values[1][rows]), act_on_outputs, self.typical, floor[rows]
        )
        return Compared(compared.difference, compared.scale, floor, compared.kinds)

    def _each(self, rep: AnyRepresentation, elements: list[Element], x: Tensor) -> Tensor:
        """Rows ``x``, each moved by its own element. Rows with the same element are moved in one call."""
        moved = x.clone()
        rows_of: dict[Element, list[int]] = {}
        for i, g in enumerate(elements):
            rows_of.setdefault(g, []).append(i)
        for g, rows in rows_of.items():
            moved[rows] = act(rep, g, x[rows])
        return moved
