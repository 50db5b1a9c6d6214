"""Squares of maps of finite sets: on what share of the elements each fails to commute, and on which first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from msr.brief import Brief
from msr.category.integers import whole_array, within
from msr.category.sets.natural_transformations import Nat
from msr.category.sets.presheaves import SetFunctor, same_kind
from msr.errors import ShapeError
from msr.permutations import Indices

__all__ = ["Violations", "violations_of"]

_SHOWN = 16
"""How many arrows are printed at most."""


@dataclass(frozen=True, eq=False, repr=False)
class Violations(Brief):
    """Where maps of sets fail to be natural.

    Attributes:
        labels: names of the arrows, with their ends.
        values: ``(arrows,)`` float64, the share of elements on which the square of an arrow fails, from 0 to 1; 0 where
            there is no element.
        witnesses: for each arrow the first element on which its square fails, and what both ways round make of it,
            ``(x, T(f)(η(x)), η(S(f)(x)))``; None where it commutes.
    """

    labels: tuple[str, ...]
    values: Tensor
    witnesses: tuple[tuple[int, int, int] | None, ...]

    @property
    def worst(self) -> int:
        """The index of the arrow with the largest share, in ``labels`` and ``values``."""
        return int(self.values.argmax())

    @property
    def largest(self) -> float:
        """The largest share; 0 for a natural transformation."""
        return float(self.values.max())

    def __str__(self) -> str:
        # The worst, in the order of the arrows; a category can have thousands of these.
        worst = np.argsort(-self.values.numpy(), kind="stable")[:_SHOWN]
        rows = []
        for k in np.sort(worst).tolist():
            witness = self.witnesses[k]
            shown = "" if witness is None else f"  element {witness[0]}: {witness[1]} or {witness[2]}"
            rows.append(f"{self.labels[k]:>20}  {self.values[k]:.0%}{shown}")
        others = len(self.labels) - len(rows)
        return "\n".join([*rows, f"and {others} other arrows, none worse"] if others else rows)


def violations_of(
    S: SetFunctor, T: SetFunctor, components: Sequence[Any] | Nat, chosen: list[int], labels: tuple[str, ...]
) -> Violations:
    """The :class:`Violations` of maps ``η_X: S(X) → T(X)`` at some arrows.

    Raises: ConfigError for functors that do not compare; ShapeError and AxiomError for maps of another form.
    """
    same_kind([S, T], "naturality_error")
    C = S.category
    given = components.components if isinstance(components, Nat) else components
    if len(given) != C.n_obj:
        raise ShapeError(f"naturality_error: one component for each of {C.n_obj} objects; got {len(given)}")
    eta = []
    for X, values in enumerate(given):
        eta.append(whole_array(values, f"component {X}", (int(S.sizes[X]),)))
        within(eta[-1], int(T.sizes[X]), f"component {X}", f"elements of {T.name} at object {X}")
    shares = []
    witnesses: list[tuple[int, int, int] | None] = []
    for f in chosen:
        around: Indices = T.maps[f][eta[S.domain[f]]]
        across: Indices = eta[S.codomain[f]][S.maps[f]]
        bad = np.flatnonzero(around != across)
        shares.append(len(bad) / max(1, len(around)))
        witnesses.append((int(bad[0]), int(around[bad[0]]), int(across[bad[0]])) if len(bad) else None)
    return Violations(labels, torch.tensor(shares, dtype=torch.float64), tuple(witnesses))
