"""Which engine finds the automorphisms of coloured weights best: our own search, canonaut, bliss or nauty?

The same matrices, written for the others as graphs whose layers of points hold the colours in binary; the time to write
them counts. An engine that is not installed is left out; all that ran must agree on the order, up to rounding where the
engine rounds. Processor seconds, the least of three runs, or of one where it takes over a second.
"""

import importlib
import importlib.util
import math
import time
from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np

from benchmarks.harness.command import command, duration, say
from benchmarks.harness.contract import Headline, Tables
from msr.groups import dihedral
from msr.permutations import Indices
from msr.permutations.refinement import Search
from msr.representations import grid_rotations, pair_orbits, regular

ENGINES = {
    "msr": ("MIT", "none needed", "msr"),
    "canonaut": ("Apache-2.0", "Linux, macOS, Windows; one for all Pythons from 3.9", "canonaut"),
    "bliss": ("GPL-2.0 or later, by igraph", "Linux, macOS, Windows", "igraph"),
    "nauty": ("GPL-3.0, by pynauty", "source only, or pynauty-prebuilt for some", "pynauty"),
}
SLOW = 1.0


def shifts(*sizes: int) -> Indices:
    """Pairs of points on a torus of these sizes, coloured by their difference: ``(points, points)``."""
    points = np.stack(np.unravel_index(np.arange(math.prod(sizes)), sizes), 1)
    return np.ravel_multi_index(tuple(((points[:, None] - points) % sizes).transpose(2, 0, 1)), sizes)


def hamming(d: int, q: int) -> Indices:
    """Pairs of words of ``d`` letters out of ``q``, coloured by the number of letters in which they differ."""
    words = np.stack(np.unravel_index(np.arange(q**d), (q,) * d), 1)
    return (words[:, None] != words).sum(2)


def johnson(n: int, k: int) -> Indices:
    """Pairs of subsets of ``k`` out of ``n`` points, coloured by how many points they share."""
    members = np.zeros((math.comb(n, k), n), dtype=np.int64)
    for row, chosen in zip(members, combinations(range(n), k), strict=True):
        row[list(chosen)] = 1
    return members @ members.T


def paley(q: int) -> Indices:
    """Pairs of numbers modulo a prime ``q``, coloured by whether their difference is 0, another square or no square."""
    gap = (np.arange(q)[:, None] - np.arange(q)) % q
    return np.isin(gap, np.arange(1, q) ** 2 % q).astype(np.int64) + 2 * (gap == 0)


def plane(q: int) -> Indices:
    """Lines and points of the projective plane over the field of ``q`` elements: 1 where the point is on the line.

    ``q`` is prime. The same list of triples stands for the lines and for the points.
    """
    lines = [(1, a, b) for a in range(q) for b in range(q)] + [(0, 1, a) for a in range(q)] + [(0, 0, 1)]
    return np.asarray(np.array(lines) @ np.array(lines).T % q == 0, dtype=np.int64)


def blocks(size: int, count: int) -> Indices:
    """Pairs of points in ``count`` blocks of ``size``, coloured as equal, in one block, or apart.

    Their automorphisms are the wreath product of two symmetric groups.
    """
    same_block = np.kron(np.eye(count, dtype=np.int64), np.ones((size, size), np.int64))
    return np.asarray(same_block + np.eye(size * count, dtype=int), dtype=np.int64)


def latin(n: int, seed: int) -> Indices:
    """Pairs of the ``n²`` cells of a random Latin square: 1 where two cells share a row, a column or a symbol.

    A cell with itself has 2. The square is made from the cyclic one by random switches of cycles of two rows.
    """
    rng = np.random.default_rng(seed)
    square = np.add.outer(np.arange(n), np.arange(n)) % n
    for _ in range(200):
        r, s = rng.choice(n, 2, replace=False)
        start = at = int(rng.integers(n))
        cycle: list[int] = []
        while not cycle or at != start:
            cycle.append(at)
            at = int(np.flatnonzero(square[r] == square[s, at])[0])
        square[np.ix_([r, s], cycle)] = square[np.ix_([s, r], cycle)]
    cells = np.arange(n * n)
    same = [values[:, None] == values for values in (cells // n, cells % n, square.ravel())]
    return np.any(same, 0) + np.eye(n * n, dtype=np.int64)


def pattern(permutations: Any) -> Indices:
    """The number of the orbit of each pair of points, under permutations ``(r, points)`` that generate a group."""
    return np.asarray(pair_orbits(permutations, permutations).numpy())


CASES: dict[str, Callable[[], Indices]] = {
    "C16": lambda: shifts(16),
    "D8, regular": lambda: pattern(regular(dihedral(8)).permutations),
    "C256": lambda: shifts(256),
    "D128, regular": lambda: pattern(regular(dihedral(128)).permutations),
    "torus 16 x 16": lambda: shifts(16, 16),
    "D4 on an 8 x 8 grid": lambda: pattern(grid_rotations(8, flips=True).permutations),
    "S32 wr S8 on 256": lambda: blocks(32, 8),
    "S256": lambda: np.eye(256, dtype=np.int64),
    "rook's graph, 16 x 16": lambda: hamming(2, 16),
    "Paley graph, 257": lambda: paley(257),
    "H(8,2)": lambda: hamming(8, 2),
    "J(10,5)": lambda: johnson(10, 5),
    "PG(2,13)": lambda: plane(13),
    "random Latin square, 10": lambda: latin(10, 0),
    "random colours, 256": lambda: np.random.default_rng(0).integers(0, 8, (256, 256)),
    "C1024": lambda: shifts(1024),
}
QUICK = ("C16", "D8, regular", "D4 on an 8 x 8 grid")
HUGE = ("C1024",)


def layered(colours: Indices) -> tuple[int, Indices, Indices]:
    """A graph with the automorphisms of a matrix of colours ``(m, n)``: its number of points, edges, and point colours.

    Each layer of ``n + m`` points stands for a binary digit of the colours. Shapes: edges ``(e, 2)``, the colours of
    the points ``(points,)``.
    """
    m, n = colours.shape
    size = m + n
    layers = max(1, int(colours.max()).bit_length())
    every = np.arange(size)
    edges = [np.stack([layer * size + every - size, layer * size + every], 1) for layer in range(1, layers)]
    for layer in range(layers):
        rows, columns = np.nonzero((colours >> layer) & 1)
        edges.append(layer * size + np.stack([columns, n + rows], 1))
    return layers * size, np.concatenate(edges), np.repeat(np.arange(2 * layers), [n, m] * layers)


def by_msr(colours: Indices) -> float:
    """The natural logarithm of the number of automorphisms of a matrix of colours, by this package's search."""
    return math.log(Search(colours, math.inf).run()[1])


def by_canonaut(colours: Indices) -> float:
    """The natural logarithm of the number of automorphisms of a matrix of colours, by canonaut."""
    n, edges, paint = layered(colours)
    pairs = [(int(a), int(b)) for a, b in edges]
    answer = importlib.import_module("canonaut").raw.canonize(n, pairs, colors=paint.tolist(), generators=True)
    return math.log(answer.group_size1) + answer.group_size2 * math.log(10)


def by_bliss(colours: Indices) -> float:
    """The natural logarithm of the number of automorphisms of a matrix of colours, by bliss through igraph."""
    n, edges, paint = layered(colours)
    graph = importlib.import_module("igraph").Graph(n=n, edges=edges.tolist())
    assert graph.automorphism_group(color=paint.tolist()) is not None
    return math.log(int(graph.count_automorphisms(color=paint.tolist())))


def by_nauty(colours: Indices) -> float:
    """The natural logarithm of the number of automorphisms of a matrix of colours, by nauty through pynauty."""
    pynauty = importlib.import_module("pynauty")
    n, edges, paint = layered(colours)
    near: dict[int, list[int]] = {i: [] for i in range(n)}
    for a, b in edges.tolist():
        near[a].append(b)
    parts = [set(np.flatnonzero(paint == c).tolist()) for c in np.unique(paint)]
    graph = pynauty.Graph(n, adjacency_dict=near, vertex_coloring=parts)
    _, mantissa, exponent, _, _ = pynauty.autgrp(graph)
    return math.log(mantissa) + exponent * math.log(10)


RUN = {"msr": by_msr, "canonaut": by_canonaut, "bliss": by_bliss, "nauty": by_nauty}


def run(*, quick: bool) -> dict[str, Any]:
    """Time each engine that is installed on each matrix. Raises: AssertionError where two find different orders."""
    installed = [name for name, (_, _, module) in ENGINES.items() if importlib.util.find_spec(module) is not None]
    lines = []
    for case in QUICK if quick else CASES:
        colours = CASES[case]()
        colours = np.unique(colours, return_inverse=True)[1].reshape(colours.shape)
        line: dict[str, Any] = {"case": case, "shape": list(colours.shape), "colours": int(colours.max()) + 1}
        for name in installed:
            if case in HUGE and name not in ("msr", "bliss"):
                continue
            laps: list[float] = []
            while len(laps) < 3 and not (laps and laps[-1] > SLOW):
                start = time.process_time()
                size = RUN[name](colours)
                laps.append(time.process_time() - start)
            line[name] = min(laps)
            known = line.setdefault("log order", size)
            assert abs(known - size) < 1e-6 * max(1.0, known), f"{case}: {name} finds another order"
        say(f"{case}: " + ", ".join(f"{name} {duration(line.get(name))}" for name in installed))
        lines.append(line)
    return {"cases": lines, "engines": installed}


def tables(results: dict[str, Any]) -> Tables:
    """A table of processor times, a row for each matrix; and one of the licence and the wheels of each engine."""
    engines = results["engines"]
    times = [
        [r["case"], f"{r['shape'][0]} x {r['shape'][1]}", str(r["colours"]), *(duration(r.get(e)) for e in engines)]
        for r in results["cases"]
    ]
    kept = [[name, *ENGINES[name][:2]] for name in engines]
    return {
        "Processor time to the generators and the order": (["weights", "size", "colours", *engines], times),
        "What each engine asks for": (["engine", "licence", "wheels"], kept),
    }


def headlines(results: dict[str, Any]) -> list[Headline]:
    """For each other engine the matrix on which its time is the largest multiple of ours, and that of the smallest."""
    lines = []
    for other in (e for e in results["engines"] if e != "msr"):
        ratios = [(r[other] / r["msr"], r["case"]) for r in results["cases"] if other in r]
        for (ratio, case), what in ((max(ratios), "most"), (min(ratios), "least")):
            r = next(one for one in results["cases"] if one["case"] == case)
            words = f"automorphisms of {case}, against {other}: the {what} gained of all cases"
            lines.append(Headline(words, duration(r["msr"]), duration(r[other]), f"{ratio:.3g}x"))
    return lines or [Headline("automorphisms, no other engine installed", duration(results["cases"][0]["msr"]))]


if __name__ == "__main__":
    command(__file__)
