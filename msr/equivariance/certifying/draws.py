"""Draws of an input and a group element, and the defect of each."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from msr.equivariance.measuring.boundary import Interior
from msr.equivariance.measuring.evaluation import Element, Function, act, evaluate, said
from msr.equivariance.measuring.parts import parts_of
from msr.equivariance.measuring.scale import Compared, Typical, typical_of
from msr.equivariance.measuring.sides import Rounding, check_is_a_function, epsilon_inside
from msr.errors import DataError, MSRError, ShapeError
from msr.groups import Group
from msr.representations import AnyRepresentation

__all__ = ["Draws", "Judge", "draw_elements", "draw_inputs", "like", "seeded"]

_MEASURED = 16  # examples on which the noise of rounding is measured


@dataclass(frozen=True, eq=False)
class Draws:
    """Defects of single draws, and what was seen on the way.

    ``values (n,)`` float64; ``at_least`` and ``at_most`` differ where a part varies too little beside its size for
    rounding to show the tolerance: there a difference that rounding explains counts as 0 and as √2.
    """

    values: Tensor
    at_least: Tensor
    at_most: Tensor
    parts: tuple[int, ...]
    size: float
    compared: float


class Judge:
    """Compares draws in units that were fixed before, on inputs and elements drawn apart from those that are tested."""

    def __init__(
        self,
        f: Function,
        rep_in: AnyRepresentation,
        rep_out: AnyRepresentation,
        inside: Interior,
        x: Tensor,
        elements: list,
    ):
        assert len(x) == len(elements), "one element for each input"
        self.f, self.rep_in, self.rep_out, self.inside = f, rep_in, rep_out, inside
        y = evaluate(f, x, rep_in, inside)
        self.dtype = y.dtype
        self.rounding = Rounding(f, rep_in, inside, epsilon_inside(f, x, y))
        moved, y = self._each(rep_in, elements, x), y.double()
        of_moved, rows = self.rounding.rows(moved), y.reshape(len(x), -1)
        parts = parts_of(rep_out, whole_blocks=inside.mask is not None)
        # On moved inputs, whose numbers are the larger ones where the action is not orthogonal.
        noise = self.rounding.at(moved[:_MEASURED], of_moved[:_MEASURED])
        pool = [rows, of_moved]
        if not rep_out.is_orthogonal:
            pool.append(self._each(rep_out, elements, y).reshape(len(x), -1))
        typical = typical_of(parts, torch.cat(pool), noise, self.rounding.epsilon, len(x))
        self.typical: Typical = self.rounding.resolved(
            typical, x, lambda few: [self._each(rep_in, elements[: len(few)], few)]
        )
        check_is_a_function(f, x, y, rep_in, inside, self.typical)

    def draws(self, x: Tensor, elements: list, tolerance: float) -> Draws:
        """``d_i`` for each pair of an input ``x[i]`` and an element ``elements[i]``."""
        assert len(x) == len(elements), "one element for each input"
        y = self.rounding.rows(x).reshape(len(x), *self.rep_out.shape)
        moved, b = self._each(self.rep_in, elements, x), self._each(self.rep_out, elements, y).reshape(len(x), -1)
        a, masked, share = self.rounding.rows(moved), None, 1.0
        if self.inside.mask is not None:
            masked = torch.stack([self.inside.of(g).expand(self.rep_out.shape).reshape(-1) for g in elements]).to(
                a.device
            )
            share = float(masked.double().mean())
        compared = self._confirmed(
            self.typical.compare(a, b, masked), x, moved, (y.reshape(len(x), -1), a), elements, tolerance
        )
        size = float(y.square().mean().sqrt())
        defects = compared.defects
        # What cannot be told in this precision counts for both sides: as nothing, and as all.
        shows = compared.difference > tolerance * compared.scale
        unclear = self.typical.undecided(tolerance) | (
            compared.hidden(tolerance) & shows & (compared.scale > compared.floor)
        )
        unclear = unclear & (compared.difference <= compared.floor)
        least = defects.where(~unclear, torch.zeros_like(defects)).amax(1)
        most = defects.where(~unclear, torch.full_like(defects, 2**0.5)).amax(1)
        where = tuple(defects.argmax(1).tolist())
        return Draws(defects.amax(1).cpu(), least.cpu(), most.cpu(), where, size, share)

    def _confirmed(
        self,
        compared: Compared,
        x: Tensor,
        moved: Tensor,
        values: tuple[Tensor, Tensor],
        elements: list[Element],
        tolerance: float,
    ) -> Compared:
        """With the noise of rounding measured on the very inputs that fail, before they count."""
        rows = compared.fails(tolerance).any(1).nonzero().flatten().tolist()
        if not rows:
            return compared

        def turn(y: Tensor) -> Tensor:
            of_rows = y.reshape(-1, *self.rep_out.shape)
            return self._each(self.rep_out, [elements[i] for i in rows], of_rows).reshape(len(y), -1)

        floor = compared.floor.clone()
        floor[rows] = self.rounding.floor_at(
            x[rows], moved[rows], (values[0][rows], values[1][rows]), turn, self.typical, floor[rows]
        )
        return Compared(compared.difference, compared.scale, floor, compared.kinds)

    def _each(self, rep: AnyRepresentation, elements: list[Element], x: Tensor) -> Tensor:
        """Each row moved by its own element."""
        moved, groups = x.clone(), dict[Element, list[int]]()
        for i, g in enumerate(elements):
            groups.setdefault(g, []).append(i)
        for g, rows in groups.items():
            moved[rows] = act(rep, g, x[rows])
        return moved


def seeded(seed: int, rep: AnyRepresentation) -> torch.Generator:
    """A generator from a seed and the shape of the inputs.

    So that not every check in the world sees the same few numbers first.
    """
    digest = hashlib.sha256(repr((seed, tuple(rep.shape))).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:4], "big"))


def like(f: Function | nn.Module, dtype: torch.dtype | None) -> Tensor:
    """An empty tensor with the precision and the device that a function wants."""
    tensors = [*f.parameters(), *f.buffers()] if isinstance(f, nn.Module) else []
    for tensor in tensors:
        if tensor.is_floating_point():
            return torch.empty(0, dtype=dtype or tensor.dtype, device=tensor.device)
    return torch.empty(0, dtype=dtype or torch.get_default_dtype())


def draw_elements(group: Group, n: int, generator: torch.Generator) -> list:
    """``n`` random elements, as ``group.drawn`` says; never the identity, with which everything commutes."""
    return group.draw(n, generator)


def draw_inputs(
    inputs: Callable[[int, torch.Generator], Tensor] | Tensor | None,
    n: int,
    rep_in: AnyRepresentation,
    kind: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """``n`` inputs: standard normal, from a data set with replacement, or as a function draws them."""
    if inputs is None:
        x = torch.randn(n, *rep_in.shape, generator=generator, dtype=torch.float64)
        return x.to(dtype=kind.dtype, device=kind.device)
    try:
        x = inputs if isinstance(inputs, Tensor) else inputs(n, generator)
    except MSRError:
        raise
    except (Exception, SystemExit) as error:
        raise DataError(f"inputs({n}, generator) failed: {said(error)}") from error
    if len(rep_in.check_shape(x)) != 1 or len(x) == 0:
        raise ShapeError(f"inputs must be (examples, *shape) for {rep_in}, at least one; got {tuple(x.shape)}")
    if isinstance(inputs, Tensor):
        return x[torch.randint(len(x), (n,), generator=generator)]
    if len(x) != n:
        raise ShapeError(f"inputs(n, generator) must return n = {n} examples, one for each draw; it returned {len(x)}")
    return x
