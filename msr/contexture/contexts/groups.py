"""The context of a group that moves the points: ``A = g X`` with a random element ``g``."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor

from msr.contexture.contexts.base import SCALE, element_chances
from msr.contexture.contexts.tables import TableContext
from msr.errors import ConfigError
from msr.permutations import orbit_labels
from msr.representations import CharacterTable, Representation, character_table, multiplicities

__all__ = ["GroupContext"]


class GroupContext(TableContext):
    """``A = g X``, where the element ``g`` is drawn with the probabilities ``elements``, whatever the point is.

    ``(T f)(x) = Σ_g w(g) f(g x)``. With equal weights ``T T*`` is the mean over orbits, a projection: a singular value
    of 1 for each orbit, and all others 0. So what is learned are the functions that the group leaves as they are. With
    other weights, the values are those of the matrices ``ŵ(π) = Σ_g w(g) π(g)``, one for each irreducible ``π``.

    Args:
        representation: of a group with a table, by permutations of the points.
        elements: ``(order,)``, the probability of each element; by default all are equal.
        weights: ``P(x)``, ``(n,)``; by default all points weigh the same.

    Attributes:
        representation: as given.
        elements: ``(order,)`` float64.

    Raises: ConfigError for a representation that mixes coordinates; ShapeError, NonFiniteError, DataError for
    probabilities that are none.
    """

    representation: Representation
    elements: Tensor

    def __init__(self, representation: Representation, elements: Any = None, weights: Any = None, name: str = ""):
        name = name or f"group {representation.group.name}"
        moves = representation.permutations
        if moves is None:
            raise ConfigError(
                f"{name}: {representation.name} mixes coordinates; a group that permutes points is needed"
            )
        order, n = moves.shape
        chances = element_chances(elements, order, name)
        used = chances > 0
        rows = np.broadcast_to(np.arange(n), moves.shape)[used]
        values = np.broadcast_to(chances[:, None], moves.shape)[used]
        # Elements that move a point to the same place add up.
        table = csr_matrix((values.ravel(), (rows.ravel(), moves[used].ravel())), shape=(n, n))
        super().__init__(table, weights, name, of_points=True)
        self.__dict__.update(representation=representation, elements=torch.from_numpy(chances))

    @property
    def unit_values(self) -> int:
        """How many singular values are 1, that of the constant function among them, whatever the weights of points are.

        ``|T f| = |f|`` holds if ``f(g x) = f(h x)`` for all elements ``g``, ``h`` that can be drawn. So it is the
        number of orbits of the group that the ``g h⁻¹`` generate; of the whole group where the identity can be drawn
        and what can be drawn generates it.
        """
        moves = self.representation.permutations
        assert moves is not None
        group = self.representation.group
        drawn = np.flatnonzero(self.elements.numpy() > 0)
        # All quotients are products of those by one fixed element and their inverses.
        quotients = group.table[drawn, group.inverses[drawn[0]]]
        return int(orbit_labels(moves[quotients]).max()) + 1

    def spectrum_by_characters(self) -> Tensor:
        """All singular values, that of the constant among them, from irreducible representations: ``(n,)``, descending.

        Each singular value of ``ŵ(π)``, with ``π`` of dimension ``d``, comes once for each copy of ``π``: no table of
        points is decomposed.
        Raises: ConfigError where points of one orbit have unequal weights, since ``T`` splits no longer.
        """
        moves = self.representation.permutations
        assert moves is not None
        uneven = float((self.weights[torch.from_numpy(np.asarray(moves, dtype=np.int64))] - self.weights).abs().max())
        if uneven > SCALE * float(self.weights.max()):
            raise ConfigError(f"{self.name}: the group moves points of unequal weight, so characters do not give T")
        table = character_table(self.representation.group)
        counts = multiplicities(self.representation, table)
        values = [
            _values_of(table, row, self.elements.numpy()).repeat(count)
            for row, count in enumerate(counts.tolist())
            if count
        ]
        return torch.from_numpy(np.sort(np.concatenate(values))[::-1].copy())


def _values_of(table: CharacterTable, row: int, chances: NDArray[np.float64]) -> NDArray[np.float64]:
    """The singular values of ``ŵ(π) = Σ_g w(g) π(g)``, ``(d,)``, for the irrep of a row of the table.

    The matrices ``π(g)`` are not needed: the group algebra holds ``d`` copies of each irrep, and its projection on them
    is written by the character, ``(d / |G|) Σ_g χ(g)* g``.
    """
    group = table.group
    degree = int(table.degrees[row])
    character = table.values[row][group.class_index]
    if degree == 1:
        return np.abs(chances @ character)[None]
    quotients = group.table[:, group.inverses]  # [h, k] = h k⁻¹
    projection = degree / group.order * character.conj()[quotients]
    sizes, vectors = np.linalg.eigh(projection)
    basis = vectors[:, sizes > 0.5]
    # The weight commutes with the projection, so that its part there is square.
    part = basis.conj().T @ chances[quotients] @ basis
    return np.linalg.svd(part, compute_uv=False)[::degree]
