"""A permutation group on the points that it moves: its orbits, its order, and the blocks that it keeps."""

import math
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from itertools import islice

import numpy as np

from msr.groups import FiniteGroup, from_permutations
from msr.permutations import Indices, orbit_labels
from msr.permutations.stabiliser_chains import Chain, OrderNotProven, is_giant, random_elements
from msr.permutations.work_budget import WorkSpent, limited, spend

__all__ = ["GeneratedGroup", "block_systems", "covers", "minimal_systems", "on_blocks", "within_block"]

_MAX_SYSTEMS = 64
"""Partitions into blocks that are looked at."""
_BOUNDS = 3
"""Partitions into blocks that are asked for a bound of the order."""
_MOST_WORK = 2e6
"""Steps that a proof of the order of a part may take, where that of the whole group leads to it too."""
_MANY = 20_000
"""Schreier's generators of a stabiliser, above which a sample of them stands for all."""


class GeneratedGroup:
    """A permutation group on the points that it moves.

    Args:
        generators: ``(r, n)``.
        order: the number of elements, where it is known: it is then not computed.
        most: an upper bound of it.
    """

    def __init__(self, generators: Indices, order: int | None = None, most: int | None = None):
        moved = np.flatnonzero((generators != np.arange(generators.shape[1])).any(0))
        rows = _kept(generators, moved)
        self.moved: Indices = moved
        self.generators: Indices = np.unique(rows[(rows != np.arange(len(moved))).any(1)], axis=0)
        self.degree = len(moved)
        self.orbits = orbit_labels(self.generators) if len(self.generators) else np.arange(self.degree)
        self._known, self._most = order, most
        self._whole: tuple[GeneratedGroup, Indices] | None = None
        self._parts: dict[bytes, GeneratedGroup] = {}

    @cached_property
    def points(self) -> list[Indices]:
        """The orbits, largest first."""
        found = [np.flatnonzero(self.orbits == o) for o in range(len(np.unique(self.orbits)))]
        return sorted(found, key=len, reverse=True)

    @cached_property
    def core(self) -> list[Indices]:
        """Orbits that show the whole group: none of them is an image of another, so that the rest adds nothing."""
        kept: list[Indices] = []
        for points in self.points:
            if not any(covers(self.generators, larger, points) for larger in kept):
                kept.append(points)
        return kept

    @cached_property
    def core_rows(self) -> Indices:
        """The generators on the core."""
        return _kept(self.generators, np.concatenate(self.core))

    @cached_property
    def is_abelian(self) -> bool:
        """Whether the generators commute."""
        rows = self.generators
        return all(np.array_equal(g[rows], rows[:, g]) for g in rows)

    @cached_property
    def order(self) -> int:
        """Number of elements."""
        if self._known is not None:
            return self._known
        if not len(self.generators):
            return 1
        if self._whole is None or self._whole[0]._known is None:
            return self._proven_order()
        with suppress(OrderNotProven, WorkSpent), limited(_MOST_WORK):
            return self._proven_order()
        # The order of the whole group is known: with the points of this part first in its base, a chain that reaches
        # it proves what the part adds to it.
        whole, points = self._whole
        return Chain(whole.generators, whole.order, first=points.tolist()).order_of_first(len(points))

    def _proven_order(self) -> int:
        if len(self.core) == 1:
            return self._transitive_order()
        most = math.prod(self.on(points).order for points in self.core)
        return Chain(self.core_rows, min(most, self._most or most)).order

    def _transitive_order(self) -> int:
        rows, n = self.core_rows, len(self.core[0])
        if self.is_abelian:
            return n
        kind = is_giant(rows)
        if kind is not None:
            return math.factorial(n) // (1 if kind == "S" else 2)
        # Without a bound every level has to be checked, which takes too long where there are many: blocks give one.
        return Chain(rows, self._most, bound=lambda: _block_bound(rows)).order

    def on(self, points: Indices, order: int | None = None) -> "GeneratedGroup":
        """The action on a union of orbits, made once; its order, where that is known."""
        key = points.tobytes()
        if key not in self._parts:
            part = GeneratedGroup(_kept(self.generators, points))
            part._whole = self, points
            part._most = self._known
            self._parts[key] = part
        if order is not None:
            self._parts[key]._known = order
        return self._parts[key]

    def table(self) -> FiniteGroup:
        """All elements; only for small orders."""
        if not len(self.generators):
            return from_permutations([[0]])
        whole = from_permutations(list(self.core_rows))
        # Parts of a group copy its labels and points, and to write a thousand labels takes long.
        return FiniteGroup.known(
            whole.order, whole.name, whole.generators, table=lambda: whole.table,
            labels=lambda: [str(g) for g in range(whole.order)],
        )  # fmt: skip


def _block_bound(rows: Indices) -> int | None:
    """The least order of a wreath product in which a transitive group lies, of a few."""
    part = GeneratedGroup(rows)
    systems = islice(minimal_systems(part), _BOUNDS)
    return min((_wreath_order(part, system) for system in systems), default=None)


def _wreath_order(group: GeneratedGroup, blocks: Indices) -> int:
    """Of the wreath product of what a group does in a block and to the blocks, in which it lies."""
    inside, top = within_block(group, blocks), GeneratedGroup(on_blocks(group, blocks))
    return inside.order ** (int(blocks.max()) + 1) * top.order


def _kept(generators: Indices, points: Indices) -> Indices:
    """Permutations on some of their points, which they keep among themselves."""
    place = np.full(generators.shape[1], -1)
    place[points] = np.arange(len(points))
    return place[generators[:, points]]


def covers(generators: Indices, larger: Indices, smaller: Indices) -> bool:
    """Whether a map between two orbits respects the group: then what fixes all of the one fixes all of the other."""
    if len(larger) % len(smaller):
        return False
    # Column b follows the map that sends the first point of the larger orbit to the point b of the smaller one.
    image = np.full((generators.shape[1], len(smaller)), -1)
    image[larger[0]] = smaller
    frontier = [int(larger[0])]
    while frontier:
        a = frontier.pop()
        spend(len(generators) * (3 + len(smaller) / 200))
        for g in generators:
            if image[g[a], 0] == -1:
                image[g[a]] = g[image[a]]
                frontier.append(int(g[a]))
    fits = np.ones(len(smaller), dtype=bool)
    for g in generators:
        fits &= (image[g[larger]] == g[image[larger]]).all(0)
    return bool(fits.any())


def block_systems(group: GeneratedGroup) -> list[Indices]:
    """Partitions that a transitive group keeps, as labels, smallest blocks first, up to what fixes the first point."""
    found = {labels.tobytes(): labels for labels in minimal_systems(group)}
    left = list(found.values())
    while left and len(found) < _MAX_SYSTEMS:
        labels = left.pop()
        # No block stays in place under a transitive group, so none of the quotient's points is dropped.
        for coarser in minimal_systems(GeneratedGroup(on_blocks(group, labels))):
            joined = np.unique(coarser[labels], return_inverse=True)[1]
            if joined.tobytes() not in found:
                found[joined.tobytes()] = joined
                left.append(joined)
    return sorted(found.values(), key=lambda labels: int(np.bincount(labels)[0]))


def minimal_systems(group: GeneratedGroup) -> Iterator[Indices]:
    """The partitions that tie the first point to another; a smallest one is among them."""
    if len(group.points) != 1 or group.degree < 4:
        return
    rows, n = group.generators, group.degree
    reach = _reach(rows, 0)
    # Points that what fixes the first point exchanges give one partition: of a sample, at worst the same one twice.
    if len(rows) * n <= _MANY:
        fixing = _fixing(rows, reach)
    else:
        some = next(random_elements(rows, np.random.default_rng(0)))
        fixing = np.stack([np.argsort(reach[int(g[0])])[g] for g in some])
    orbits = orbit_labels(fixing)
    moves = rows.tolist()
    for orbit in range(1, int(orbits.max()) + 1):
        labels = _tied(moves, int(np.flatnonzero(orbits == orbit)[0]))
        if labels.max() > 0:
            yield labels


def _tied(moves: list[list[int]], point: int) -> Indices:
    """The finest partition that the group keeps and that ties the first point to another one (Atkinson, 1975).

    Blocks are trees whose root is their least point. Whenever a root falls to another block, its images and those of
    its new root are tied too, which is enough: all other pairs of a block follow.
    """
    parent = list(range(len(moves[0])))

    def root(at: int) -> int:
        while parent[at] != at:
            parent[at] = at = parent[parent[at]]
        return at

    fallen = [point]
    parent[point] = 0
    while fallen:
        one = fallen.pop()
        spend(2 * len(moves))
        for move in moves:
            low, high = sorted((root(move[one]), root(move[root(one)])))
            if low != high:
                parent[high] = low
                fallen.append(high)
    return np.unique([root(at) for at in range(len(parent))], return_inverse=True)[1]


def _reach(generators: Indices, point: int) -> dict[int, Indices]:
    """For each point that a point can go to, an element that takes it there."""
    reach: dict[int, Indices] = {point: np.arange(generators.shape[1])}
    frontier = [point]
    for a in frontier:
        spend(len(generators))
        for g in generators:
            if int(g[a]) not in reach:
                spend(5 + generators.shape[1] / 100)
                reach[int(g[a])] = g[reach[a]]
                frontier.append(int(g[a]))
    return reach


def _fixing(generators: Indices, reach: dict[int, Indices]) -> Indices:
    """Schreier's generators of the elements that fix a point."""
    spend(len(reach) * len(generators) * (10 + generators.shape[1] / 10))
    return np.unique([np.argsort(reach[int(g[a])])[g[path]] for a, path in reach.items() for g in generators], axis=0)


def on_blocks(group: GeneratedGroup, blocks: Indices) -> Indices:
    """What the generators do to the blocks."""
    first = np.unique(blocks, return_index=True)[1]
    return blocks[group.generators[:, first]]


def within_block(group: GeneratedGroup, blocks: Indices) -> GeneratedGroup:
    """What the elements that keep the first block do inside it."""
    count = int(blocks.max()) + 1
    # The block as one more point, which Schreier's generators fix.
    both = np.concatenate([on_blocks(group, blocks), group.generators + count], 1)
    reach = _reach(both, 0)
    back = {a: np.argsort(path) for a, path in reach.items()}
    inside = count + np.flatnonzero(blocks == 0)
    place = np.full(both.shape[1], -1)
    place[inside] = np.arange(len(inside))
    spend(len(reach) * len(both) * (10 + len(inside) / 10))
    rows = [place[back[int(g[a])][g[path[inside]]]] for a, path in reach.items() for g in both]
    return GeneratedGroup(np.unique(rows, axis=0))
