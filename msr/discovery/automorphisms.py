"""Permutations of inputs and outputs that keep a coloured matrix: ``colours[q(i), p(j)] = colours[i, j]``."""

import importlib.util
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from msr.errors import ConfigError, MissingExtraError, ShapeError
from msr.groups.permutations import Indices, orbit_labels

__all__ = ["Automorphisms", "automorphisms", "keeps"]

Labels = NDArray[np.int64]
Cells = NDArray[np.uint64]
"""The cell of each input, then of each output, called by a hash."""


@dataclass(frozen=True, eq=False)
class Automorphisms:
    """Generators ``(r, in)`` and ``(r, out)``, row ``g`` sending point ``i`` to ``[g, i]``, and the group's order."""

    generators_in: Indices
    generators_out: Indices
    order: int


def automorphisms(colours: Indices, *, backend: Literal["auto", "igraph", "own"] = "auto") -> Automorphisms:
    """All pairs of permutations that keep the colours of a matrix ``(out, in)``.

    The matrix is a complete bipartite graph with coloured edges; a pair is an automorphism of it that does not swap the
    two sides. ``igraph`` hands that to bliss; our own search refines partitions and backtracks, and is some ten times
    slower. ``auto`` takes igraph if it is installed.

    Raises: ShapeError for no matrix of whole numbers; MissingExtraError for an igraph that is not there.
    Source: Ravanbakhsh, Schneider and Póczos, arXiv:1702.08389; Junttila and Kaski, 2007 (bliss); McKay, 1981.
    """
    given = np.asarray(colours)
    if given.ndim != 2 or given.size == 0 or given.dtype.kind not in "iu":
        raise ShapeError(f"colours must be whole numbers (out, in), at least one; came {given.dtype} {given.shape}")
    if backend not in ("auto", "igraph", "own"):
        raise ConfigError(f"backend must be auto, igraph or own; came {backend!r}")
    values: Labels = np.unique(given, return_inverse=True)[1].reshape(given.shape).astype(np.int64)
    there = importlib.util.find_spec("igraph") is not None
    if backend == "igraph" and not there:
        raise MissingExtraError('igraph is not installed; pip install "msr[discover]", or backend="own"')
    found = _by_igraph(values) if there and backend != "own" else _Search(values).run()
    for p, q in zip(found.generators_in, found.generators_out, strict=True):
        assert keeps(values, p, q), "an automorphism does not keep the colours"
    return found


def keeps(colours: Indices, p: Indices, q: Indices) -> bool:
    """Whether ``colours[q(i), p(j)] = colours[i, j]`` everywhere."""
    return bool((colours[np.ix_(q, p)] == colours).all())


def _by_igraph(colours: Labels) -> Automorphisms:
    igraph = importlib.import_module("igraph")
    m, n = colours.shape
    # A vertex for each input, each output and each entry, but for the entries of the most frequent colour.
    common = int(np.bincount(colours.ravel()).argmax())
    rows, columns = np.nonzero(colours != common)
    entries = n + m + np.arange(len(rows))
    ends = np.concatenate([np.stack([columns, entries], 1), np.stack([n + rows, entries], 1)])
    graph = igraph.Graph(n=n + m + len(rows), edges=ends.tolist())
    paint = [0] * n + [1] * m + (2 + colours[rows, columns]).tolist()
    found = graph.automorphism_group(color=paint)
    order = int(graph.count_automorphisms(color=paint))
    moves = np.asarray([g[: n + m] for g in found], dtype=np.int64).reshape(len(found), n + m)
    moves = moves[(moves != np.arange(n + m)).any(1)]
    return Automorphisms(moves[:, :n], moves[:, n:] - n, order)


class _Search:
    """Individualise a point, refine, and look for images of it, deepest level first.

    At each level the generators found so far generate the whole stabiliser of the points above it, so the orbit of its
    point gives a factor of the order.
    """

    def __init__(self, colours: Labels):
        self.plain, (self.m, self.n) = colours, colours.shape
        self.colours = colours.astype(np.uint64) << np.uint64(32)
        self.path: list[tuple[Cells, int]] = []
        cells = self._refined(np.concatenate([np.zeros(self.n, np.uint64), np.ones(self.m, np.uint64)]))
        while (point := _first_open(cells)) is not None:
            self.path.append((cells, point))
            assert len(self.path) < len(cells), "two cells were called by one hash"
            cells = self._refined(_marked(cells, point))
        self.last = cells

    def run(self) -> Automorphisms:
        """Generators, and the order as the product of the orbits of the points along the path."""
        generators: list[Indices] = []
        order = 1
        for depth in reversed(range(len(self.path))):
            cells, point = self.path[depth]
            failed: set[int] = set()
            orbits = self._orbits(generators)
            for image in np.flatnonzero(cells == cells[point]).tolist():
                if orbits[image] == orbits[point] or image in failed:
                    continue
                move = self._extended(depth, cells, image, generators)
                if move is None:
                    # All that is known here keeps these cells, so the whole orbit of a failure fails.
                    failed |= set(np.flatnonzero(orbits == orbits[image]).tolist())
                else:
                    generators.append(move)
                    orbits = self._orbits(generators)
            order *= int((orbits == orbits[point]).sum())
        moves = np.asarray(generators, dtype=np.int64).reshape(len(generators), self.n + self.m)
        return Automorphisms(moves[:, : self.n], moves[:, self.n :] - self.n, order)

    def _orbits(self, generators: list[Indices]) -> Indices:
        if not generators:
            return np.arange(self.n + self.m)
        return orbit_labels(np.asarray(generators))

    def _extended(self, depth: int, target: Cells, image: int, generators: list[Indices]) -> Indices | None:
        """An automorphism that takes the path's cells at a depth to the target's, and its point to an image.

        Depth first, with the images left to try at each depth on a stack.
        """
        stack: list[tuple[Cells, list[int]]] = [(target, [image])]
        while stack:
            target, images = stack[-1]
            if not images:
                stack.pop()
                continue
            image = images.pop()
            at = depth + len(stack)
            source = self.path[at][0] if at < len(self.path) else self.last
            refined = self._refined(_marked(target, image))
            if not np.array_equal(np.sort(source), np.sort(refined)):
                continue
            move = self._moved(source, refined)
            if move is not None:
                return move
            if at < len(self.path):
                point = self.path[at][1]
                stack.append((refined, self._images(refined, source[point], point, generators)))
        return None

    def _images(self, cells: Cells, cell: np.uint64, point: int, generators: list[Indices]) -> list[int]:
        """Where a point may go, best last: one of each orbit under the known automorphisms that keep the cells."""
        keeping = [g for g in generators if np.array_equal(cells[g], cells)]
        orbits = self._orbits(keeping)
        there = np.flatnonzero(cells == cell)
        images = there[np.unique(orbits[there], return_index=True)[1]].tolist()
        return sorted(images, key=lambda i: orbits[i] == orbits[point])

    def _moved(self, source: Cells, target: Cells) -> Indices | None:
        """The permutation that takes cell to cell and moves as few points as it can, if it keeps the colours."""
        move = np.arange(self.n + self.m)
        other = np.flatnonzero(source != target)
        move[other[np.argsort(source[other], kind="stable")]] = other[np.argsort(target[other], kind="stable")]
        return move if keeps(self.plain, move[: self.n], move[self.n :] - self.n) else None

    def _refined(self, cells: Cells) -> Cells:
        """Split cells by what a point sees until nothing splits; what they are called depends on that alone."""
        count = len(np.unique(cells))
        while True:
            a, b = cells[: self.n], cells[self.n :]
            inputs = _mixed(self.colours ^ b[:, None]).sum(0, dtype=np.uint64)
            outputs = _mixed(self.colours ^ a[None, :]).sum(1, dtype=np.uint64)
            # Mixed twice, so that what a point is and what it sees never trade places.
            cells = _mixed(_mixed(np.concatenate([inputs, outputs])) ^ _mixed(cells))
            found = len(np.unique(cells))
            if found == count:
                return cells
            count = found


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """splitmix64: equal hashes of different things do not happen, and would only make the search longer."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _first_open(cells: Cells) -> int | None:
    """The first point of a smallest cell with more than one point."""
    _, inverse, counts = np.unique(cells, return_inverse=True, return_counts=True)
    sizes = counts[inverse]
    if (sizes == 1).all():
        return None
    return int(np.flatnonzero(sizes == sizes[sizes > 1].min())[0])


def _marked(cells: Cells, point: int) -> Cells:
    """The cells with one point alone in its own."""
    marked = cells.copy()
    marked[point] = _mixed(~cells[point : point + 1])[0]
    return marked
