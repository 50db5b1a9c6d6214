"""One isotypic part of a space: all copies of one irreducible part, in coordinates in which the field is visible."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["FIELD", "Array", "Part"]

Array: TypeAlias = NDArray[np.float64]

FIELD = {"real": 1, "complex": 2, "quaternionic": 4}
"""Dimension of each field over the reals, by the name of the type of an irreducible part."""


@dataclass(frozen=True, eq=False)
class Part:
    """One isotypic part: the copies of one irreducible part of the algebra.

    In the coordinates ``Q = (Q_1, …, Q_L)`` every element of the algebra is ``Σ Q_a x_ab Q_bᵀ`` with ``x_ab (w, w)`` a
    number of the field (a sum of 1 and the units), and every element of the commutant is ``Σ_a Q_a S Q_aᵀ``, where
    ``S (w, w)`` commutes with the units.

    Attributes:
        frames: ``Q (L, d, w)``, each with orthonormal columns, ``w`` = multiplicity · size of the field.
        units: ``(0, 1 or 3, w, w)``, skew matrices with square −1 that anticommute: ``i``; or ``i, j, k``.
        kind: "real", "complex" or "quaternionic".
    """

    frames: Array
    units: Array
    kind: str

    @property
    def multiplicity(self) -> int:
        """The number of copies of the irreducible part."""
        return self.frames.shape[2] // FIELD[self.kind]

    @property
    def dimension(self) -> int:
        """The dimension over the reals of one copy of the irreducible part.

        A part has one frame for each dimension over its field.
        """
        return len(self.frames) * FIELD[self.kind]

    def commuting(self, S: Array) -> Array:
        """The part of ``S (…, w, w)`` that commutes with the units: the mean of ``u S uᵀ`` over ``1`` and the units."""
        # The units and 1 form a group up to sign, so their mean is the projection onto what commutes.
        return (S + sum(u @ S @ u.T for u in self.units)) / FIELD[self.kind]

    def placed(self, S: Array) -> Array:
        """The element of the commutant that ``S`` stands for: ``Σ_a Q_a S Q_aᵀ (…, d, d)`` of ``S (…, w, w)``."""
        side = self.frames.transpose(1, 0, 2)
        return np.einsum("iaw,...wv,jav->...ij", side, S, side, optimize=True)
