"""A permutation group given by generators, on the points that it moves: its orbits, its order, its systems of blocks.

A *system of blocks* is a partition of the points of a transitive group that every element maps to itself. It is written
as an array of labels ``(degree,)``, the number of the block of each point, in which the first point has block 0. The
work is counted (:mod:`msr.permutations.work_budget`): where a limit is set, any function here may raise WorkSpent.
"""

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
"""Number of systems of blocks after which no more are searched for. Chosen by hand."""
_BOUNDS = 3
"""Most systems of blocks from which a bound of the order is computed. Chosen by hand."""
_MOST_WORK = 2e6
"""Steps that a direct proof of the order of a part may take, where the order of the whole group leads to it too."""
_MANY = 20_000
"""Schreier's generators of a stabiliser above which random elements of the stabiliser stand for all. Chosen by hand."""


class GeneratedGroup:
    """A permutation group on the points that it moves, which are renumbered from 0.

    Args:
        generators: ``(r, n)``.
        order: the number of elements, where it is known: it is then neither computed nor checked.
        most: an upper bound of the order, where one is known; it is trusted, and makes proofs of the order shorter.

    Attributes:
        moved: the points that some generator moves, ``(degree,)``, as numbered in the argument.
        degree: how many points are moved.
        generators: ``(r, degree)``, sorted, without repetitions and without the identity: not in the order given.
        orbits: the number of the orbit of each point, ``(degree,)``.
    """

    def __init__(self, generators: Indices, order: int | None = None, most: int | None = None):
        moved = np.flatnonzero((generators != np.arange(generators.shape[1])).any(0))
        rows = _restricted(generators, moved)
        self.moved: Indices = moved
        self.generators: Indices = np.unique(rows[(rows != np.arange(len(moved))).any(1)], axis=0)
        self.degree = len(moved)
        self.orbits = orbit_labels(self.generators) if len(self.generators) else np.arange(self.degree)
        self._known = order
        self._most = most
        self._whole: tuple[GeneratedGroup, Indices] | None = None
        self._parts: dict[bytes, GeneratedGroup] = {}

    @cached_property
    def points(self) -> list[Indices]:
        """The points of each orbit, renumbered as in ``generators``, ``(size,)`` each and sorted; the largest orbit
        first.
        """
        orbits = [np.flatnonzero(self.orbits == o) for o in range(len(np.unique(self.orbits)))]
        return sorted(orbits, key=len, reverse=True)

    @cached_property
    def core(self) -> list[Indices]:
        """Orbits on whose union the group acts faithfully, each the array of its points, largest first; none for the
        trivial group.

        Every orbit that is left out is an equivariant image of one of them.
        """
        kept: list[Indices] = []
        for points in self.points:
            # Largest first: an image is never larger than the orbit that it comes from.
            if not any(covers(self.generators, larger, points) for larger in kept):
                kept.append(points)
        return kept

    @cached_property
    def core_rows(self) -> Indices:
        """The generators as permutations of the points of :attr:`core`, orbit by orbit, renumbered from 0:
        ``(r, points)``.

        There must be a generator.
        """
        return _restricted(self.generators, np.concatenate(self.core))

    @cached_property
    def is_abelian(self) -> bool:
        """Whether all generators commute with each other, and so all elements."""
        rows = self.generators
        return all(np.array_equal(g[rows], rows[:, g]) for g in rows)

    @cached_property
    def order(self) -> int:
        """Number of elements, proven unless it was given; computed when it is first asked for.

        Raises: OrderNotProven where the search for a proof fails.
        """
        if self._known is not None:
            return self._known
        if not len(self.generators):
            return 1
        if self._whole is None or self._whole[0]._known is None:
            return self._proven_order()
        with suppress(OrderNotProven, WorkSpent), limited(_MOST_WORK):
            return self._proven_order()
        # The order of the whole group is known. A chain of it whose base begins with the points of this part is proven
        # where it reaches that order, and its first levels give the order of the part.
        whole, points = self._whole
        return Chain(whole.generators, whole.order, first=points.tolist()).order_of_first(len(points))

    def _proven_order(self) -> int:
        """The order, computed from the generators alone; OrderNotProven where that fails. There must be a generator."""
        if len(self.core) == 1:
            return self._transitive_order()
        most = math.prod(self.on(points).order for points in self.core)
        return Chain(self.core_rows, min(most, self._most or most)).order

    def _transitive_order(self) -> int:
        """The order of a group whose core is one orbit, of ``n`` points, which may be fewer than :attr:`degree`.

        It is ``n`` for an abelian group, ``n!`` or ``n!/2`` where all or all even permutations of that orbit are in the
        group, and else what a stabiliser chain proves. There must be a generator.
        Raises: OrderNotProven.
        """
        rows = self.core_rows
        n = len(self.core[0])
        if self.is_abelian:
            return n
        giant = is_giant(rows)
        if giant is not None:
            return math.factorial(n) // (1 if giant == "S" else 2)
        # Without a bound every level has to be checked, which takes long where there are many; blocks give a bound.
        return Chain(rows, self._most, bound=lambda: _block_bound(rows)).order

    def on(self, points: Indices, order: int | None = None) -> "GeneratedGroup":
        """The group of the action on ``points``, a union of orbits; the same object at each call with an equal array.

        Point ``points[i]``, as this group numbers it, becomes point ``i``. ``order`` is the order of that group, where
        it is known; it is stored in the object, also in one that exists already.
        """
        key = points.tobytes()
        if key not in self._parts:
            part = GeneratedGroup(_restricted(self.generators, points))
            part._whole = self, points
            # A part is an image of the whole group, so its order is not larger.
            part._most = self._known
            self._parts[key] = part
        if order is not None:
            self._parts[key]._known = order
        return self._parts[key]

    def table(self) -> FiniteGroup:
        """The group as a :class:`FiniteGroup` without points, its elements labelled by their numbers.

        They are numbered breadth first from the identity (:func:`from_permutations` of :attr:`core_rows`). The order
        must be at most ``MAX_ORDER``, which is not checked.
        """
        if not len(self.generators):
            return from_permutations([[0]])
        whole = from_permutations(list(self.core_rows))
        # Subgroups copy labels and points, and to write a thousand permutations as cycles takes long: numbers serve.
        return FiniteGroup.known(
            whole.order, whole.name, whole.generators, table=lambda: whole.table,
            labels=lambda: [str(g) for g in range(whole.order)],
        )  # fmt: skip


def _block_bound(rows: Indices) -> int | None:
    """An upper bound of the order of the transitive group that ``rows``, ``(r, n)``, generate; None where no system of
    blocks is found.

    It is the least order of a few wreath products that contain the group.
    """
    group = GeneratedGroup(rows)
    systems = islice(minimal_systems(group), _BOUNDS)
    return min((_wreath_order(group, system) for system in systems), default=None)


def _wreath_order(group: GeneratedGroup, blocks: Indices) -> int:
    """The order of the wreath product of the action within a block with that on the blocks; it contains the group."""
    inside = within_block(group, blocks)
    top = GeneratedGroup(on_blocks(group, blocks))
    return inside.order ** (int(blocks.max()) + 1) * top.order


def _restricted(generators: Indices, points: Indices) -> Indices:
    """Permutations ``(r, n)`` restricted to ``points``, a union of orbits: ``(r, len(points))``.

    A point is renumbered by its place in ``points``.
    """
    number = np.full(generators.shape[1], -1)
    number[points] = np.arange(len(points))
    return number[generators[:, points]]


def covers(generators: Indices, larger: Indices, smaller: Indices) -> bool:
    """Whether there is an equivariant map from the orbit ``larger`` onto the orbit ``smaller``, both arrays of points.

    Equivariant: it commutes with the generators, ``(r, n)``. An element that fixes all points of the larger orbit then
    fixes all of the smaller one, so that the smaller orbit tells nothing more of the group.
    """
    if len(larger) % len(smaller):
        return False
    # Column b is the only candidate that sends the first point of the larger orbit to the point b of the smaller one.
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
    """Systems of blocks of a transitive group as labels ``(degree,)``, smallest blocks first; empty for a primitive
    group.

    Of systems that the stabiliser of the first point exchanges only one is listed, and the search for more ends at
    ``_MAX_SYSTEMS``.
    """
    known = {labels.tobytes(): labels for labels in minimal_systems(group)}
    untried = list(known.values())
    while untried and len(known) < _MAX_SYSTEMS:
        labels = untried.pop()
        # A transitive group fixes no block, so the group of the blocks has a point for each of them.
        for of_blocks in minimal_systems(GeneratedGroup(on_blocks(group, labels))):
            coarser = np.unique(of_blocks[labels], return_inverse=True)[1]
            if coarser.tobytes() not in known:
                known[coarser.tobytes()] = coarser
                untried.append(coarser)
    return sorted(known.values(), key=lambda labels: int(np.bincount(labels)[0]))


def minimal_systems(group: GeneratedGroup) -> Iterator[Indices]:
    """For each further point the finest system of blocks in which it shares a block with the first point.

    Points that the stabiliser of the first point exchanges give one system. A system of one block is left out; that
    with the smallest blocks is always given. Others may come more than once. Nothing comes for a group that is not
    transitive.
    """
    # A transitive group on fewer than four points is primitive.
    if len(group.points) != 1 or group.degree < 4:
        return
    rows = group.generators
    n = group.degree
    elements_to = _transversal(rows, 0)
    # Points that the stabiliser of the first point exchanges give one system up to that exchange, so one of each orbit
    # is enough. Random elements of the stabiliser may leave an orbit in parts, which costs a repetition.
    if len(rows) * n <= _MANY:
        stabiliser = _stabiliser_generators(rows, elements_to)
    else:
        drawn = next(random_elements(rows, np.random.default_rng(0)))
        stabiliser = np.stack([np.argsort(elements_to[int(g[0])])[g] for g in drawn])
    orbits = orbit_labels(stabiliser)
    moves = rows.tolist()
    for orbit in range(1, int(orbits.max()) + 1):
        labels = _finest_system(moves, int(np.flatnonzero(orbits == orbit)[0]))
        # One block of all points is no system.
        if labels.max() > 0:
            yield labels


def _finest_system(moves: list[list[int]], point: int) -> Indices:
    """The finest system of blocks with ``point``, which is not the first, in the block of the first point, as labels
    ``(degree,)``; it may be one block.

    ``moves``: the generators, each a list of images. Blocks are trees with their least point as root. When a root is
    joined to another block, its image under each generator is joined to the image of its new root; all other pairs of a
    block follow from these.

    Source: Atkinson, *An algorithm for finding the blocks of a permutation group*, 1975.
    """
    parent = list(range(len(moves[0])))

    def root(at: int) -> int:
        """The least point of the block of a point; paths to it are shortened on the way."""
        while parent[at] != at:
            parent[at] = at = parent[parent[at]]
        return at

    joined = [point]
    parent[point] = 0
    while joined:
        former_root = joined.pop()
        spend(2 * len(moves))
        for move in moves:
            low, high = sorted((root(move[former_root]), root(move[root(former_root)])))
            if low != high:
                parent[high] = low
                joined.append(high)
    return np.unique([root(at) for at in range(len(parent))], return_inverse=True)[1]


def _transversal(generators: Indices, point: int) -> dict[int, Indices]:
    """For each point of the orbit of ``point`` a group element ``(n,)`` that takes ``point`` there; the identity for
    itself.
    """
    elements_to: dict[int, Indices] = {point: np.arange(generators.shape[1])}
    orbit = [point]
    # The orbit grows while it is gone through.
    for a in orbit:
        spend(len(generators))
        for g in generators:
            if int(g[a]) not in elements_to:
                spend(5 + generators.shape[1] / 100)
                elements_to[int(g[a])] = g[elements_to[a]]
                orbit.append(int(g[a]))
    return elements_to


def _stabiliser_generators(generators: Indices, elements_to: dict[int, Indices]) -> Indices:
    """Schreier's generators ``(k, n)`` of the stabiliser of the point from which :func:`_transversal` made
    ``elements_to``, each once.
    """
    spend(len(elements_to) * len(generators) * (10 + generators.shape[1] / 10))
    return np.unique(
        [np.argsort(elements_to[int(g[a])])[g[path]] for a, path in elements_to.items() for g in generators], axis=0
    )


def on_blocks(group: GeneratedGroup, blocks: Indices) -> Indices:
    """The generators as permutations of the blocks, ``(r, number of blocks)``; ``blocks`` are labels ``(degree,)``."""
    first = np.unique(blocks, return_index=True)[1]
    return blocks[group.generators[:, first]]


def within_block(group: GeneratedGroup, blocks: Indices) -> GeneratedGroup:
    """The group of permutations of the points of block 0 that the elements which map this block to itself make.

    ``blocks``: labels ``(degree,)`` of a system of blocks.
    """
    count = int(blocks.max()) + 1
    # The blocks become points in front of the others: Schreier's generators of the stabiliser of the first of them.
    both = np.concatenate([on_blocks(group, blocks), group.generators + count], 1)
    elements_to = _transversal(both, 0)
    back = {a: np.argsort(path) for a, path in elements_to.items()}
    inside = count + np.flatnonzero(blocks == 0)
    number = np.full(both.shape[1], -1)
    number[inside] = np.arange(len(inside))
    spend(len(elements_to) * len(both) * (10 + len(inside) / 10))
    rows = [number[back[int(g[a])][g[path[inside]]]] for a, path in elements_to.items() for g in both]
    return GeneratedGroup(np.unique(rows, axis=0))
