"""Our own search for automorphisms of a coloured matrix: refine a partition, individualise a point, backtrack.

A partition puts points into *cells*. To *refine* it is to split cells by the colours between a point and the other
cells until nothing splits. To *individualise* a point is to give it a cell of its own. The first path individualises
points until every cell is a single point; an automorphism maps this path to another one with the same traces.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from msr.permutations.actions import Indices

__all__ = ["Search", "SearchTooLong", "joined_orbits", "keeps"]

Hashes: TypeAlias = NDArray[np.uint64]
Cells: TypeAlias = Hashes
"""The cell of each point, inputs first and then outputs.

A cell is named by a hash of what its points see, and not by a number, so that names on two paths can be compared.
"""


class SearchTooLong(Exception):
    """The search read more entries than it was allowed to."""


def keeps(colours: Indices, p: Indices, q: Indices) -> bool:
    """Whether ``colours[q(i), p(j)] = colours[i, j]`` everywhere; only rows and columns that move are compared."""
    rows = np.flatnonzero(q != np.arange(len(q)))
    columns = np.flatnonzero(p != np.arange(len(p)))
    if not (colours[q[rows]][:, p] == colours[rows]).all():
        return False
    fixed = np.flatnonzero(q == np.arange(len(q)))
    return bool((colours[np.ix_(fixed, p[columns])] == colours[np.ix_(fixed, columns)]).all())


@dataclass(frozen=True)
class _Level:
    """A partition on the first path, the point that is individualised in it, and the trace of the refinement after
    that.
    """

    cells: Cells
    point: int
    trace: tuple[int, ...]


class Search:
    """The search for the automorphisms of a coloured matrix, by individualising points and refining partitions.

    A point is individualised on each level; images of it are looked for, deepest level first.

    When a level is reached, the generators so far generate the stabiliser of its point and of those above it. Images of
    the point are tried, and give the generators that are missing; the length of its orbit is then a factor of the order
    of the group. Only cells that have split are read again (Hopcroft's rule: all parts but a largest), so that a level
    costs little more than what it splits.

    Args:
        colours: ``(m, n)``, whole numbers from 0.
        most: how many entries of the matrix may be read, before :class:`SearchTooLong` is raised.
    """

    def __init__(self, colours: Indices, most: float):
        self.colours = colours
        self.m, self.n = colours.shape
        self.size = self.m + self.n
        self.most = most
        self.work = 0  # entries read
        # The hash of a multiset of pairs (colour, cell) is the sum of the products of their random words.
        words = _mixed(np.arange(int(colours.max()) + 1, dtype=np.uint64))
        self.rows: Hashes = words[colours]
        self.columns: Hashes = np.ascontiguousarray(self.rows.T)
        self.path: list[_Level] = []

    def run(self) -> tuple[Indices, int]:
        """Generators ``(r, n + m)``, none for the trivial group, and the order of the group that they generate.

        It is called once, since the first path is kept in ``path``. A point below ``n`` is an input, and ``n + i`` is
        output ``i``. The order is the product of the lengths of the orbits of the points along the first path.

        Raises: SearchTooLong.
        """
        self._descend()
        generators: list[Indices] = []
        # Orbits under all generators so far, which fix the points above the current level.
        orbits = np.arange(self.size)
        order = 1
        for depth in reversed(range(len(self.path))):
            level = self.path[depth]
            failed = np.zeros(self.size, dtype=bool)
            for image in np.flatnonzero(level.cells == level.cells[level.point]).tolist():
                if orbits[image] == orbits[level.point] or failed[image]:
                    continue
                move = self._extended(depth, image, generators)
                if move is None:
                    # The generators keep the cells of this level, so if one image fails, its whole orbit does.
                    failed |= orbits == orbits[image]
                else:
                    generators.append(move)
                    orbits = joined_orbits(orbits, move)
            order *= int((orbits == orbits[level.point]).sum())
        return np.asarray(generators, dtype=np.int64).reshape(len(generators), self.size), order

    def _descend(self) -> None:
        """Make the first path: its levels go into ``path``, its last partition into ``last``.

        It leads from the coarsest equitable partition to one of single points.
        """
        cells, _ = self._refined(np.repeat(_mixed(np.arange(2, dtype=np.uint64)), [self.n, self.m]), None, None)
        while (point := self._next_point(cells)) is not None:
            assert len(self.path) < self.size, "two cells have one hash"
            finer, trace = self._individualised(cells, point, len(self.path), None)
            self.path.append(_Level(cells, point, trace))
            cells = finer
        self.last = cells

    def _next_point(self, cells: Cells) -> int | None:
        """The point to individualise, or None where all cells are single points.

        It is the first point of a cell that has several and that splits the most cells of the other side; of equal
        ones, of the smallest cell. A point splits a cell where it does not meet all points of the cell in one colour.
        """
        _, first, labels, sizes = np.unique(cells, return_index=True, return_inverse=True, return_counts=True)
        wide = first[sizes > 1]
        if len(wide) == 0:
            return None
        splits = np.empty(len(wide), dtype=np.int64)
        for side, colours, other_side in (
            (wide < self.n, self.columns, slice(self.n, None)),
            (wide >= self.n, self.rows, slice(None, self.n)),
        ):
            points = wide[side] if other_side.start else wide[side] - self.n
            order = np.argsort(labels[other_side], kind="stable")
            starts = np.flatnonzero(np.diff(labels[other_side][order], prepend=-1))
            met = colours[points][:, order]
            self.work += met.size
            # A cell is met in one colour where the least and the largest hash agree.
            splits[side] = (np.minimum.reduceat(met, starts, 1) != np.maximum.reduceat(met, starts, 1)).sum(1)
        best = np.lexsort((wide, sizes[labels[wide]], -splits))[0]
        return int(wide[best])

    def _extended(self, depth: int, image: int, generators: list[Indices]) -> Indices | None:
        """An automorphism ``(n + m,)`` that keeps the cells of the path at a depth and takes its point to ``image``.

        None if there is none. Depth first; the stack holds, for each depth, the images that remain to be tried.

        Args: ``generators``: automorphisms known by now; of images that they make equivalent one is tried.
        """
        stack: list[tuple[Cells, list[int]]] = [(self.path[depth].cells, [image])]
        while stack:
            target, images = stack[-1]
            if not images:
                stack.pop()
                continue
            image = images.pop()
            at = depth + len(stack)
            refined, trace = self._individualised(target, image, at - 1, self.path[at - 1].trace)
            if trace != self.path[at - 1].trace:
                continue
            source = self.path[at].cells if at < len(self.path) else self.last
            move = self._moved(source, refined)
            if move is not None:
                return move
            if at < len(self.path):
                point = self.path[at].point
                stack.append((refined, self._images(refined, source[point], point, generators)))
        return None

    def _images(self, cells: Cells, cell: np.uint64, point: int, generators: list[Indices]) -> list[int]:
        """Images of a point to try: one of each orbit under the known automorphisms that keep the cells, the best last.

        The best is one in the orbit of the point itself.

        Args:
            cells: the partition that images are taken from.
            cell: the name of the cell whose points are images.
            generators: the known automorphisms.
        """
        orbits = np.arange(self.size)
        for g in generators:
            if np.array_equal(cells[g], cells):
                orbits = joined_orbits(orbits, g)
        members = np.flatnonzero(cells == cell)
        images = members[np.unique(orbits[members], return_index=True)[1]].tolist()
        return sorted(images, key=lambda i: orbits[i] == orbits[point])

    def _moved(self, source: Cells, target: Cells) -> Indices | None:
        """The permutation ``(n + m,)`` that takes each cell of ``source`` to the cell of the same name in ``target``.

        Points whose cell has the same name in both stay fixed; those of a cell with several points are matched in
        order. That may be wrong before all cells are single points, so the result is None where the permutation does
        not keep the colours.
        """
        move = np.arange(self.size)
        changed = np.flatnonzero(source != target)
        move[changed[np.argsort(source[changed], kind="stable")]] = changed[np.argsort(target[changed], kind="stable")]
        return move if keeps(self.colours, move[: self.n], move[self.n :] - self.n) else None

    def _individualised(
        self, cells: Cells, point: int, depth: int, known: tuple[int, ...] | None
    ) -> tuple[Cells, tuple[int, ...]]:
        """The partition after a point was individualised and all was refined, and the trace of the refinement.

        The name of the new cell depends on the depth, since points of one cell may be chosen one after another.
        ``known`` is the trace to compare with, as in :meth:`_refined`.
        """
        marked = cells.copy()
        marked[point] = _mixed(~cells[point : point + 1] ^ _mixed(np.asarray([depth], dtype=np.uint64)))[0]
        return self._refined(marked, np.asarray([point]), known)

    def _refined(
        self, cells: Cells, fresh: Indices | None, known: tuple[int, ...] | None
    ) -> tuple[Cells, tuple[int, ...]]:
        """Split cells by what their points see until nothing splits; the partition, and the trace of what was seen.

        Args:
            fresh: the points whose cells are new; all if None.
            known: the trace on the first path. Where another one shows, the refinement stops, and the trace is ``()``.
        """
        labels, count = _numbered(cells)
        trace: list[int] = []
        while True:
            neighbourhoods = self._neighbourhoods(cells, fresh)
            views = _mixed(cells ^ _mixed(neighbourhoods))
            trace.append(int(views.sum(dtype=np.uint64)))
            if known is not None and (len(trace) > len(known) or known[len(trace) - 1] != trace[-1]):
                return cells, ()
            _, first, finer, sizes = np.unique(views, return_index=True, return_inverse=True, return_counts=True)
            if len(first) == count:
                return cells, tuple(trace)
            # A largest part of each cell keeps the name of the cell; the others are named by what they see.
            owner = labels[first]
            last = np.lexsort((views[first], sizes, owner))
            largest = np.append(owner[last][1:] != owner[last][:-1], True)
            new = np.ones(len(first), dtype=bool)
            new[last[largest]] = False
            fresh = np.flatnonzero(new[finer])
            cells = cells.copy()
            cells[fresh] = views[fresh]
            labels = finer
            count = len(first)

    def _neighbourhoods(self, cells: Cells, fresh: Indices | None) -> Hashes:
        """For each point a hash of what lies between it and the fresh points of the other side: their colours and
        cells.

        Args: ``fresh``: points; all if None.
        Raises: SearchTooLong where the entries read, which are counted here, are too many.
        """
        n = self.n
        hashes = np.zeros(self.size, dtype=np.uint64)
        if fresh is None:
            fresh = np.arange(self.size)
        inputs = fresh[fresh < n]
        outputs = fresh[fresh >= n] - n
        # The last term is the sorting and hashing of a round, in entries read.
        self.work += len(inputs) * self.m + len(outputs) * n + 8 * self.size
        if self.work > self.most:
            raise SearchTooLong
        if len(inputs):
            hashes[n:] = cells[inputs] @ (self.columns[inputs] if len(inputs) < n else self.columns)
        if len(outputs):
            hashes[:n] = cells[n + outputs] @ (self.rows[outputs] if len(outputs) < self.m else self.rows)
        return hashes


def _mixed(x: Hashes) -> Hashes:
    """The hash splitmix64. Two cells with one hash are not to be expected in 2⁶⁴ values.

    An automorphism is compared with the colours before it is believed, so a collision cannot give a wrong one.

    Source: Steele, Lea and Flood, *Fast splittable pseudorandom number generators*, 2014.
    """
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _numbered(cells: Cells) -> tuple[Indices, int]:
    """The cell of each point by a number from 0, and how many cells there are."""
    names, labels = np.unique(cells, return_inverse=True)
    return labels, len(names)


def joined_orbits(orbits: Indices, move: Indices) -> Indices:
    """The orbit of each point after one more generator ``move``.

    An orbit is named by its least point, in ``orbits`` and in the result.
    """
    between = np.flatnonzero(orbits != orbits[move])
    if len(between) == 0:
        return orbits
    # Orbits are joined in a forest, in which each points to one with a lesser name. Few are joined at a time, so that a
    # loop is faster than a graph of all points.
    lesser: dict[int, int] = {}

    def least(name: int) -> int:
        """The least name of the orbits that are joined with this one by now."""
        while name in lesser:
            name = lesser[name]
        return name

    for pair in set(zip(orbits[between].tolist(), orbits[move[between]].tolist(), strict=True)):
        low, high = sorted(map(least, pair))
        if low != high:
            lesser[high] = low
    names = np.arange(len(orbits))
    for name in lesser:
        names[name] = least(name)
    return names[orbits]
