"""How fast are maps between tasks on finite categories counted beside plain searches, and how do checks, Yoneda tables
and Kan extensions grow with the number of arrows?

*Sets that C8 acts on.* Equivariant maps from a sum of orbits to another, by
:func:`msr.category.count_transformations` and by nested loops over the values of one element after the other, each with
all that follows from it. The nested loops visit every map; ours multiplies numbers of fixed points, at a fixed cost
below which the loops are faster.

*Graphs.* Homomorphisms of random directed multigraphs, which are the natural transformations of presheaves on two
parallel arrows, by ours and by a loop over all maps of vertices.

*Growth.* Chains (orders, one arrow for each pair) and cyclic groups (one object): the check of all laws of a table of
composition, the Yoneda images of all objects, and the Kan extension of the sum of all functors ``Hom(X, −)`` at the sum
of all Yoneda images. Exponents are slopes of log time against the log of the number of arrows. A plain loop over
triples of arrows is timed beside the check where it ends soon.

Both sides start from the same presheaf and must count the same before a clock starts. What a functor keeps of earlier
questions (its graph of elements) is made anew for each.
"""

import statistics
from collections.abc import Callable
from functools import reduce
from operator import add
from typing import Any

import numpy as np

from benchmarks.harness.account import exponent
from benchmarks.harness.category_loops import is_associative, nested_search, vertex_maps
from benchmarks.harness.command import command, duration, say
from benchmarks.harness.contract import Headline, Tables
from benchmarks.harness.timing import alternate, ratio
from msr.category import (
    FinCat,
    Presheaf,
    corepresentable,
    count_transformations,
    from_group,
    from_poset,
    from_quiver_paths,
    kan_extension,
    orbit_presheaf,
    yoneda_table,
)
from msr.groups import cyclic
from msr.permutations import Indices
from msr.report import figures as draw

ORBITS: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "8 to 1 + 2 + 4 + 8": ((8,), (1, 2, 4, 8)),
    "4 + 8 to 1 + 2 + 4 + 8": ((4, 8), (1, 2, 4, 8)),
    "1 + 2 + 4 + 8 to itself": ((1, 2, 4, 8), (1, 2, 4, 8)),
    "8 + 8 to twice 1 + 2 + 4 + 8": ((8, 8), (1, 1, 2, 2, 4, 4, 8, 8)),
    "8 + 8 + 8 to twice 1 + 2 + 4 + 8": ((8, 8, 8), (1, 1, 2, 2, 4, 4, 8, 8)),
}
"""Sizes of the orbits of C8 in both sets."""
GRAPHS: dict[str, tuple[int, int, int, int]] = {
    "4 vertices, 5 arcs to 6, 18": (4, 5, 6, 18),
    "5 vertices, 6 arcs to 6, 18": (5, 6, 6, 18),
    "6 vertices, 8 arcs to 6, 18": (6, 8, 6, 18),
    "7 vertices, 9 arcs to 6, 18": (7, 9, 6, 18),
}
"""Vertices and arcs of both graphs."""
CHAINS = (4, 8, 12, 18, 26, 38, 55)
"""Objects; a chain of ``n`` has ``n (n + 1) / 2`` arrows."""
CYCLES = (8, 16, 32, 64, 128, 256, 512, 1024)
PARTS = ("check", "Yoneda", "Kan")
LOOPED = 200
"""Most arrows of a table that the plain loop over triples is timed on."""


def run(*, quick: bool, rounds: int = 5, seconds: float = 0.2) -> dict[str, Any]:
    """Count on sets and graphs beside plain searches, and time checks, Yoneda tables and Kan extensions by size."""
    if quick:
        rounds, seconds = 1, 0.01
    sets = list(ORBITS)[:3] if quick else list(ORBITS)
    graphs = list(GRAPHS)[:1] if quick else list(GRAPHS)
    rows = [_counted(name, "sets of C8", *_sets(*ORBITS[name]), nested_search, rounds, seconds) for name in sets]
    for number, name in enumerate(graphs):
        G, H, loop = _graphs(*GRAPHS[name], seed=number)
        rows.append(_counted(name, "graphs", G, H, loop, rounds, seconds))
    growth = []
    for kind, sizes, make in (("chains", CHAINS, _chain), ("cyclic groups", CYCLES, _cycle)):
        points = [_grown(make(n), n, rounds, seconds) for n in (sizes[:4] if quick else sizes)]
        growth.append({"kind": kind, "points": points, "exponents": _exponents(points)})
        say(f"{kind}: up to {points[-1]['arrows']} arrows")
    return {"rounds": rounds, "counts": rows, "growth": growth}


def _counted(
    name: str,
    kind: str,
    S: Presheaf,
    T: Presheaf,
    loop: Callable[[Presheaf, Presheaf], int],
    rounds: int,
    seconds: float,
) -> dict[str, Any]:
    """The row of a pair of presheaves. Raises: ArithmeticError where both sides count differently."""

    def ours() -> int:
        return count_transformations(_anew(S), _anew(T))

    found = ours()
    other = loop(S, T)
    if found != other:
        raise ArithmeticError(f"{name}: {found} transformations by ours, {other} by the plain search")
    times = alternate({"ours": ours, "plain": lambda: loop(S, T)}, rounds=rounds, seconds=seconds)
    middle, low, high = ratio(times["plain"], times["ours"])
    row = {
        "case": name,
        "kind": kind,
        "count": found,
        "seconds": {who: statistics.median(laps) for who, laps in times.items()},
        "ratio": [middle, low, high],
    }
    say(f"{kind}, {name}: {found}, {middle:.3g}x")
    return row


def _sets(source: tuple[int, ...], target: tuple[int, ...]) -> tuple[Presheaf, Presheaf]:
    """Two sums of orbits of C8."""
    group = cyclic(8)
    C = from_group(group)
    # The subgroup with orbits of size k is generated by the turn by k.
    orbit = {k: orbit_presheaf(group, list(range(0, 8, k)), C) for k in (1, 2, 4, 8)}
    return reduce(add, [orbit[k] for k in source]), reduce(add, [orbit[k] for k in target])


def _graphs(
    n: int, arcs: int, m: int, others: int, *, seed: int
) -> tuple[Presheaf, Presheaf, Callable[[Presheaf, Presheaf], int]]:
    """Two random multigraphs, the first with no vertex alone, and the loop over maps of their vertices."""
    rng = np.random.default_rng(seed)
    # A path through all vertices, then arcs between any two.
    path = np.stack([np.arange(n - 1), np.arange(1, n)], axis=1)
    first = np.concatenate([path, rng.integers(n, size=(arcs - n + 1, 2))])
    second = rng.integers(m, size=(others, 2))
    pair = from_quiver_paths(2, [(0, 1), (0, 1)])

    def graph(vertices: int, ends: Indices) -> Presheaf:
        return Presheaf.generated(pair, [vertices, len(ends)], {2: ends[:, 0], 3: ends[:, 1]})

    return graph(n, first), graph(m, second), lambda S, T: vertex_maps(n, first, m, second)


def _chain(n: int) -> FinCat:
    """The order of ``n`` things."""
    return from_poset(np.triu(np.ones((n, n), dtype=np.int64)), f"chain of {n}")


def _cycle(n: int) -> FinCat:
    """The category of a cyclic group."""
    return from_group(cyclic(n))


def _grown(C: FinCat, size: int, rounds: int, seconds: float) -> dict[str, Any]:
    """The times of a category's check, Yoneda images and Kan extension.

    Raises: ArithmeticError where the Kan extension at all Yoneda images is not of the size that theory says.
    """
    images = reduce(add, yoneda_table(C))
    functor = reduce(add, [corepresentable(C, X) for X in C.objects])
    answers = kan_extension(functor, images).size
    if answers != functor.n_elements:
        raise ArithmeticError(f"{C!r}: the Kan extension has {answers} elements; theory says {functor.n_elements}")
    calls: dict[str, Callable[[], object]] = {
        "check": lambda: FinCat(C.n_obj, C.src, C.dst, C.ident, C.comp),
        "Yoneda": lambda: yoneda_table(C),
        "Kan": lambda: kan_extension(functor, images),
    }
    if C.n_mor <= LOOPED:
        if not is_associative(C):
            raise ArithmeticError(f"{C!r} is not associative by the plain loop")
        calls["loop"] = lambda: is_associative(C)
    times = alternate(calls, rounds=rounds, seconds=seconds)
    return {
        "size": size,
        "arrows": C.n_mor,
        "seconds": {name: statistics.median(laps) for name, laps in times.items()},
        "loop_ratio": ratio(times["loop"], times["check"]) if "loop" in times else None,
    }


def _exponents(points: list[dict[str, Any]]) -> dict[str, tuple[float, float]]:
    """The slopes over the larger half of the sizes, four at least."""
    upper = points[-max(4, len(points) // 2) :]
    arrows = [point["arrows"] for point in upper]
    return {part: exponent(arrows, [point["seconds"][part] for point in upper]) for part in PARTS}


def _anew(T: Presheaf) -> Presheaf:
    """The same presheaf without what it keeps of earlier questions."""
    return Presheaf.known(T.category, T.sizes, T.maps, T.name)


def tables(results: dict[str, Any]) -> Tables:
    """Two tables: counts beside plain searches, and growth."""
    counts = [
        [
            row["kind"],
            row["case"],
            f"{row['count']:,}",
            duration(row["seconds"]["ours"]),
            duration(row["seconds"]["plain"]),
            _times(row["ratio"]),
        ]
        for row in results["counts"]
    ]
    growth = []
    for line in results["growth"]:
        for point in line["points"]:
            looped = "" if point["loop_ratio"] is None else _times(point["loop_ratio"])
            times = [duration(point["seconds"][part]) for part in PARTS]
            growth.append([line["kind"], f"{point['arrows']:,}", *times, looped])
        slopes = [f"{slope:.2f} ± {half:.2f}" for slope, half in map(line["exponents"].get, PARTS)]
        growth.append([line["kind"], "exponent, larger half", *slopes, ""])
    rounds = results["rounds"]
    return {
        f"Maps between tasks, medians of {rounds} rounds; the ratio with its range over rounds": (
            ["tasks", "from and to", "maps", "ours", "plain search", "ratio"],
            counts,
        ),
        "Growth with the number of arrows; the loop over all triples beside the check": (
            ["categories", "arrows", "check of all laws", "Yoneda images", "Kan extension", "loop / check"],
            growth,
        ),
    }


def headlines(results: dict[str, Any]) -> list[Headline]:
    """The largest case of each kind of tasks, and the largest checked table."""
    lines = []
    for kind in dict.fromkeys(row["kind"] for row in results["counts"]):
        row = [each for each in results["counts"] if each["kind"] == kind][-1]
        lines.append(
            Headline(
                f"{kind}, {row['case']}: counting {row['count']:,} maps",
                duration(row["seconds"]["ours"]),
                f"plain search {duration(row['seconds']['plain'])}",
                f"{row['ratio'][0]:,.0f}x",
            )
        )
    for line in results["growth"]:
        point = line["points"][-1]
        slope = line["exponents"]["check"][0]
        lines.append(
            Headline(
                f"{line['kind']}: all laws of {point['arrows']:,} arrows checked",
                duration(point["seconds"]["check"]),
                f"time grows as arrows to the {slope:.1f}",
            )
        )
    return lines


def figures(results: dict[str, Any]) -> dict[str, Any]:
    """Seconds against arrows, for each kind of category and question."""
    series = {
        f"{line['kind']}: {part}": (
            [point["arrows"] for point in line["points"]],
            [point["seconds"][part] for point in line["points"]],
        )
        for line in results["growth"]
        for part in PARTS
    }
    picture = draw.curves(series, ylabel="seconds", log=True, xlabel="arrows", xlog=True)
    return {"category_growth": picture}


def _times(values: list[float]) -> str:
    """A ratio with its range."""
    middle, low, high = values
    return f"{middle:,.3g}x ({low:,.3g} to {high:,.3g})"


if __name__ == "__main__":
    command(__file__)
