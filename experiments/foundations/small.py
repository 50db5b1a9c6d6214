"""Small categories that the theory is told on, and tasks on them."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from msr.category import (
    CoPresheaf,
    FinCat,
    Presheaf,
    action_copresheaf,
    action_presheaf,
    from_group,
    from_monoid,
    from_poset,
    from_quiver_paths,
)
from msr.groups import cyclic
from msr.permutations import Indices

__all__ = [
    "chain", "diamond", "idempotent", "multigraph", "parallel_pair", "part_reached", "turning", "turning_copresheaf",
    "two_prompts",
]  # fmt: skip


def chain(n: int) -> FinCat:
    """The order ``0 < 1 < … < n − 1``."""
    return from_poset(np.triu(np.ones((n, n), dtype=np.int64)), f"chain of {n}")


def diamond() -> FinCat:
    """The order of the subsets of two things: nothing, each alone, both."""
    return from_poset([[1, 1, 1, 1], [0, 1, 0, 1], [0, 0, 1, 1], [0, 0, 0, 1]], "diamond")


def parallel_pair() -> FinCat:
    """Two arrows, 2 and 3, from V = 0 to E = 1: presheaves are directed multigraphs."""
    return from_quiver_paths(2, [(0, 1), (0, 1)], "parallel pair")


def idempotent() -> FinCat:
    """The monoid of the identity and ``e`` with ``e e = e``."""
    return from_monoid([[0, 1], [1, 1]], "idempotent")


def two_prompts() -> FinCat:
    """Two objects P and Q that no sizes tell apart: between any two are two arrows, of which one is zero.

    The others are the identities, ``a: P → Q`` and ``b: Q → P``, with all composites of ``a`` and ``b`` zero. Arrow
    ``4 P + 2 Q`` and so on is zero, the next one the other.
    """
    src = np.repeat([0, 0, 1, 1], 2)
    dst = np.repeat([0, 1, 0, 1], 2)
    comp = np.full((8, 8), -1)
    for g in range(8):
        for f in range(8):
            if src[g] == dst[f]:
                zero = 4 * src[f] + 2 * dst[g]
                unit = {1: g, 7: g}.get(f, {1: f, 7: f}.get(g, zero))
                comp[g, f] = unit
    return FinCat(2, src, dst, np.array([1, 7]), comp, "two prompts")


def multigraph(n: int, arcs: Sequence[tuple[int, int]], category: FinCat) -> Presheaf:
    """A directed multigraph of ``n`` vertices as a presheaf on the parallel pair: the ends of each arc."""
    ends = np.array(arcs, dtype=np.int64).reshape(-1, 2)
    return Presheaf.generated(category, [n, len(ends)], {2: ends[:, 0], 3: ends[:, 1]}, "graph")


def turning(*sizes: int) -> Presheaf:
    """The sum of orbits of C4 of some sizes, each turning by one, as a presheaf."""
    return action_presheaf(_C4, _turns(sizes), _shown(sizes))


def turning_copresheaf(*sizes: int) -> CoPresheaf:
    """The same as a copresheaf."""
    return action_copresheaf(_C4, _turns(sizes), _shown(sizes))


def part_reached(whole: Presheaf, elements: Indices) -> Presheaf:
    """The part of a presheaf that some of its elements, by global number, reach by the maps."""
    kept = np.zeros(whole.n_elements, dtype=bool)
    for element in elements.tolist():
        X = int(whole.object_of_element[element])
        kept[whole.images_of(X, np.array([element - whole.offsets[X]]))] = True
    C = whole.category
    members = [np.flatnonzero(kept[a:b]) for a, b in pairwise(whole.offsets.tolist())]
    maps = [
        np.searchsorted(members[a], whole.maps[f][members[b]])
        for f, (a, b) in enumerate(zip(C.src.tolist(), C.dst.tolist(), strict=True))
    ]
    return Presheaf(C, np.array([len(part) for part in members]), tuple(maps), f"part of {whole.name}")


_C4 = from_group(cyclic(4))


def _turns(sizes: Sequence[int]) -> Indices:
    """How C4 turns the points of the orbits, ``(4, points)``."""
    starts = np.cumsum([0, *sizes])[:-1]
    parts = [
        (np.arange(4)[:, None] + np.arange(size)) % size + start for size, start in zip(sizes, starts, strict=True)
    ]
    return np.concatenate(parts, axis=1)


def _shown(sizes: Sequence[int]) -> str:
    """The sizes of orbits for a message."""
    return " + ".join(map(str, sizes))
