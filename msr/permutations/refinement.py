"""Our own search for automorphisms of a coloured matrix: refine a partition, individualise a point, backtrack."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from msr.permutations.actions import Indices

__all__ = ["Search", "SearchTooLong", "keeps"]

Hashes = NDArray[np.uint64]
Names = Hashes
"""The cell of each point, inputs first and then outputs, called by a hash that depends on what the point sees alone."""


class SearchTooLong(Exception):
    """The search read more than it was allowed to."""


def keeps(colours: Indices, p: Indices, q: Indices) -> bool:
    """Whether ``colours[q(i), p(j)] = colours[i, j]`` everywhere; only what moves is looked at."""
    rows, columns = np.flatnonzero(q != np.arange(len(q))), np.flatnonzero(p != np.arange(len(p)))
    if not (colours[q[rows]][:, p] == colours[rows]).all():
        return False
    still = np.flatnonzero(q == np.arange(len(q)))
    return bool((colours[np.ix_(still, p[columns])] == colours[np.ix_(still, columns)]).all())


@dataclass(frozen=True)
class _Level:
    """A partition on the first path, the point that is individualised in it, and what refining then saw."""

    cells: Names
    point: int
    trace: tuple[int, ...]


class Search:
    """Individualise a point, refine, and look for images of it, deepest level first.

    At each level the generators found so far generate the whole stabiliser of the points above it, so the orbit of its
    point gives a factor of the order. Only cells that have split are read again (Hopcroft's rule: all parts but a
    largest), so that a level costs little more than what it splits.

    Args:
        colours: ``(m, n)``, whole numbers from 0.
        most: how many entries of the matrix may be read, before :class:`SearchTooLong` is raised.
    """

    def __init__(self, colours: Indices, most: float):
        self.plain, (self.m, self.n) = colours, colours.shape
        self.size = self.m + self.n
        self.most, self.work = most, 0
        # A sum of products of random words tells multisets of pairs (colour, cell) apart.
        words = _mixed(np.arange(int(colours.max()) + 1, dtype=np.uint64))
        self.rows: Hashes = words[colours]
        self.columns: Hashes = np.ascontiguousarray(self.rows.T)
        self.path: list[_Level] = []

    def run(self) -> tuple[Indices, int]:
        """Generators ``(r, n + m)``, and the order as the product of the orbits of the points along the path."""
        self._descend()
        generators: list[Indices] = []
        # Orbits under all generators so far, which fix the path above the level in hand.
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
                    # All that is known here keeps these cells, so the whole orbit of a failure fails.
                    failed |= orbits == orbits[image]
                else:
                    generators.append(move)
                    orbits = _joined(orbits, move)
            order *= int((orbits == orbits[level.point]).sum())
        return np.asarray(generators, dtype=np.int64).reshape(len(generators), self.size), order

    def _descend(self) -> None:
        """The first path, from the coarsest equitable partition to one of single points."""
        cells, _ = self._refined(np.repeat(_mixed(np.arange(2, dtype=np.uint64)), [self.n, self.m]), None, None)
        while (point := self._open(cells)) is not None:
            assert len(self.path) < self.size, "two cells were called by one hash"
            finer, trace = self._individualised(cells, point, len(self.path), None)
            self.path.append(_Level(cells, point, trace))
            cells = finer
        self.last = cells

    def _open(self, cells: Names) -> int | None:
        """The first point of the cell that would split the most others: of those, the first of the smallest.

        A point splits a cell of the other side if it does not meet all of it in one colour.
        """
        _, first, labels, sizes = np.unique(cells, return_index=True, return_inverse=True, return_counts=True)
        wide = first[sizes > 1]
        if len(wide) == 0:
            return None
        splits = np.empty(len(wide), dtype=np.int64)
        for side, colours, there in (
            (wide < self.n, self.columns, slice(self.n, None)),
            (wide >= self.n, self.rows, slice(None, self.n)),
        ):
            points = wide[side] if there.start else wide[side] - self.n
            order = np.argsort(labels[there], kind="stable")
            starts = np.flatnonzero(np.diff(labels[there][order], prepend=-1))
            met = colours[points][:, order]
            self.work += met.size
            splits[side] = (np.minimum.reduceat(met, starts, 1) != np.maximum.reduceat(met, starts, 1)).sum(1)
        best = np.lexsort((wide, sizes[labels[wide]], -splits))[0]
        return int(wide[best])

    def _extended(self, depth: int, image: int, generators: list[Indices]) -> Indices | None:
        """An automorphism that keeps the path's cells at a depth, and takes its point to an image.

        Depth first, with the images left to try at each depth on a stack.
        """
        stack: list[tuple[Names, list[int]]] = [(self.path[depth].cells, [image])]
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

    def _images(self, cells: Names, cell: np.uint64, point: int, generators: list[Indices]) -> list[int]:
        """Where a point may go, best last: one of each orbit under the known automorphisms that keep the cells."""
        orbits = np.arange(self.size)
        for g in generators:
            if np.array_equal(cells[g], cells):
                orbits = _joined(orbits, g)
        there = np.flatnonzero(cells == cell)
        images = there[np.unique(orbits[there], return_index=True)[1]].tolist()
        return sorted(images, key=lambda i: orbits[i] == orbits[point])

    def _moved(self, source: Names, target: Names) -> Indices | None:
        """The permutation that takes cell to cell and moves as few points as it can, if it keeps the colours."""
        move = np.arange(self.size)
        other = np.flatnonzero(source != target)
        move[other[np.argsort(source[other], kind="stable")]] = other[np.argsort(target[other], kind="stable")]
        return move if keeps(self.plain, move[: self.n], move[self.n :] - self.n) else None

    def _individualised(
        self, cells: Names, point: int, depth: int, known: tuple[int, ...] | None
    ) -> tuple[Names, tuple[int, ...]]:
        """The partition refined from one in which a point stands alone; its name says at which depth it was chosen."""
        marked = cells.copy()
        marked[point] = _mixed(~cells[point : point + 1] ^ _mixed(np.asarray([depth], dtype=np.uint64)))[0]
        return self._refined(marked, np.asarray([point]), known)

    def _refined(
        self, cells: Names, fresh: Indices | None, known: tuple[int, ...] | None
    ) -> tuple[Names, tuple[int, ...]]:
        """Split cells by what a point sees until nothing splits, and what was seen on the way.

        ``fresh`` are the points whose cells are new, all if None. A partition that shows something else than what is
        ``known`` is left as it is.
        """
        labels, count = _numbered(cells)
        trace: list[int] = []
        while True:
            seen = self._seen(cells, fresh)
            looks = _mixed(cells ^ _mixed(seen))
            trace.append(int(looks.sum(dtype=np.uint64)))
            if known is not None and (len(trace) > len(known) or known[len(trace) - 1] != trace[-1]):
                return cells, ()
            _, first, finer, sizes = np.unique(looks, return_index=True, return_inverse=True, return_counts=True)
            if len(first) == count:
                return cells, tuple(trace)
            # A largest part of each cell keeps the cell's name; the others are called by what they saw.
            owner = labels[first]
            last = np.lexsort((looks[first], sizes, owner))
            largest = np.append(owner[last][1:] != owner[last][:-1], True)
            new = np.ones(len(first), dtype=bool)
            new[last[largest]] = False
            fresh = np.flatnonzero(new[finer])
            cells = cells.copy()
            cells[fresh] = looks[fresh]
            labels, count = finer, len(first)

    def _seen(self, cells: Names, fresh: Indices | None) -> Hashes:
        """For each point a hash of the colours between it and the fresh ones of the other side, with their cells."""
        n, seen = self.n, np.zeros(self.size, dtype=np.uint64)
        if fresh is None:
            fresh = np.arange(self.size)
        ours, theirs = fresh[fresh < n], fresh[fresh >= n] - n
        self.work += len(ours) * self.m + len(theirs) * n + 8 * self.size
        if self.work > self.most:
            raise SearchTooLong
        if len(ours):
            seen[n:] = cells[ours] @ (self.columns[ours] if len(ours) < n else self.columns)
        if len(theirs):
            seen[:n] = cells[n + theirs] @ (self.rows[theirs] if len(theirs) < self.m else self.rows)
        return seen


def _mixed(x: Hashes) -> Hashes:
    """splitmix64: equal hashes of different things do not happen, and would only make the search longer."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _numbered(cells: Names) -> tuple[Indices, int]:
    found, labels = np.unique(cells, return_inverse=True)
    return labels, len(found)


def _joined(orbits: Indices, move: Indices) -> Indices:
    """Orbits, each called by its least point, after one more generator."""
    moved = np.flatnonzero(orbits != orbits[move])
    if len(moved) == 0:
        return orbits
    n = len(orbits)
    edges = coo_array((np.ones(len(moved), np.int8), (orbits[moved], orbits[move[moved]])), (n, n))
    labels = connected_components(edges, directed=False)[1][orbits]
    least = np.full(n, n)
    np.minimum.at(least, labels, np.arange(n))
    return least[labels]
