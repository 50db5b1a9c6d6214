"""All products of some permutations, numbered breadth first, as long as they are few."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from msr.errors import AxiomError, ConfigError, ShapeError
from msr.groups.axioms import MAX_ORDER
from msr.groups.finite import FiniteGroup
from msr.groups.immutable import frozen
from msr.permutations import Indices, cycles

__all__ = ["as_permutations", "listed_group"]


@dataclass(frozen=True, eq=False)
class _Closure:
    """All elements, and how they were reached.

    ``elements (order, n)``; ``moves (r, order)``: which element a generator after an element is; ``parents (order, 2)``
    are the generator and the older element that each is the product of.
    """

    elements: Indices
    moves: Indices
    parents: Indices


def _closure(generators: Indices) -> _Closure | None:
    """None for more than ``MAX_ORDER`` elements."""
    r, n = generators.shape
    width = np.dtype(np.int32).itemsize * n
    start = np.arange(n, dtype=np.int32)
    index = {start.tobytes(): 0}
    levels = [start[None]]
    parents = [(0, 0)]
    moves = []
    first = 0
    frontier = levels[0]
    while len(frontier):
        images = np.ascontiguousarray(generators[:, frontier].swapaxes(0, 1)).astype(np.int32, copy=False)
        rows = images.reshape(-1, n)
        data = images.tobytes()
        fresh = []
        for i in range(len(rows)):
            key = data[i * width : (i + 1) * width]
            number = index.get(key)
            if number is None:
                if len(index) == MAX_ORDER:
                    return None
                number = index[key] = len(index)
                fresh.append(i)
                parents.append((i % r, first + i // r))
            moves.append(number)
        first += len(frontier)
        frontier = rows[fresh]
        levels.append(frontier)
    left = np.array(moves, dtype=np.int32).reshape(-1, r).T
    return _Closure(frozen(np.concatenate(levels)), left, np.array(parents))


def listed_group(generators: Indices, name: str, recipe: tuple[Any, ...]) -> FiniteGroup | None:
    """The group that permutations ``(r, n)`` generate, its elements numbered breadth first; None for too many."""
    found = _closure(generators)
    if found is None:
        return None
    chosen = list(dict.fromkeys(found.moves[:, 0].tolist()))
    elements = found.elements

    def table() -> Indices:
        order = len(elements)
        product = np.empty((order, order), dtype=np.int16)
        product[0] = np.arange(order)
        left = found.moves.astype(np.int16)
        for g in range(1, order):
            # Each new element is a generator after an older one, so its row of the table is that one's, moved.
            which, parent = found.parents[g]
            product[g] = left[which][product[parent]]
        return product

    labels: Callable[[], Sequence[str]] = lambda: [cycles(p) for p in elements]  # noqa: E731
    return FiniteGroup.known(
        len(elements), name, chosen, table=table, labels=labels, points=lambda: elements, degree=elements.shape[1],
        recipe=recipe,
    )  # fmt: skip


def as_permutations(generators: Sequence[ArrayLike], name: str) -> Indices:
    """``(r, n)`` integers from one permutation or more.

    Raises: AxiomError for something that is no permutation; ShapeError for permutations of different length.
    """
    arrays = [np.asarray(p) for p in generators]
    if not arrays:
        raise ConfigError(f"{name}: give at least one permutation; the identity alone makes the trivial group")
    for number, p in enumerate(arrays):
        if p.ndim != 1 or p.dtype.kind not in "iu" or len(p) == 0:
            raise ShapeError(
                f"{name}: generator {number} must be a list of point indices (n,); got {p.shape} {p.dtype}"
            )
        if len(p) != len(arrays[0]):
            raise ShapeError(
                f"{name}: permutations of different length: generator 0 moves {len(arrays[0])} points, generator "
                f"{number} moves {len(p)}; let the shorter one fix the points it does not move"
            )
        if not np.array_equal(np.sort(p), np.arange(len(p))):
            raise AxiomError(f"{name}: generator {number} is no permutation of 0 to {len(p) - 1}: {p[:12].tolist()}")
    return np.stack(arrays).astype(np.int32)
