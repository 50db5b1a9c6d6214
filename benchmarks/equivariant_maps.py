"""How long does the exact sharing pattern take: orbits on pairs, the null space of the same constraints, and EMLP?

All sides solve the same problem and must find the same dimension. The null space is that of
:func:`msr.representations.equivariant_basis` for matrices, which is itself a dense solve over generators only.
EMLP (github.com/mfinzi/equivariant-MLP) takes a dense singular value decomposition in float32 up to about 60 points
and gradient descent beyond. It needs jax, so it runs in a Python of its own: make one with
``python -m venv E; E/bin/pip install emlp==1.0.3 six`` and set ``MSR_EMLP_PYTHON=E/bin/python``. Without it the column
stays empty, and the results say why.
"""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.command import command, duration, say
from benchmarks.harness.contract import Headline, Tables
from benchmarks.harness.timing import alternate, ratio
from msr.groups import cyclic, dihedral, quaternion, symmetric, wreath_product
from msr.report import figures as draw
from msr.representations import (
    Representation,
    equivariant_basis,
    from_matrices,
    grid_rotations,
    grid_shifts,
    natural,
    pair_orbits,
    regular,
)

DENSE_POINTS = 32
"""Most points where the null space is solved as well; its time grows with the sixth power."""
EMLP_POINTS = 32
"""Most points given to EMLP, whose gradient descent takes half a minute at 64."""


def cases() -> dict[str, Callable[[], Representation]]:
    """Groups acting on points, by name; the number of points is ``rep.dim``."""
    return {
        "Q8, on itself": lambda: regular(quaternion()),
        "C8": lambda: natural(cyclic(8)),
        "C16": lambda: natural(cyclic(16)),
        "C24": lambda: natural(cyclic(24)),
        "C32": lambda: natural(cyclic(32)),
        "D16": lambda: natural(dihedral(16)),
        "D24": lambda: natural(dihedral(24)),
        "D32": lambda: natural(dihedral(32)),
        "S6": lambda: natural(symmetric(6)),
        "S4, on itself": lambda: regular(symmetric(4)),
        "C4 wr S3": lambda: natural(wreath_product(cyclic(4), symmetric(3))),
        "D4 on a 5×5 grid": lambda: grid_rotations(5, flips=True),
        "5×5 torus": lambda: grid_shifts((5, 5)),
        "C256": lambda: natural(cyclic(256)),
        "C512": lambda: natural(cyclic(512)),
        "C1024": lambda: natural(cyclic(1024)),
        "D1024": lambda: natural(dihedral(1024)),
        "D4 on a 32×32 grid": lambda: grid_rotations(32, flips=True),
        "32×32 torus": lambda: grid_shifts((32, 32)),
    }


def as_matrices(rep: Representation) -> Representation:
    """The same representation, with its permutations written as matrices."""
    dense = from_matrices(rep.group, {g: rep.matrix(g) for g in rep.group.generators})
    assert isinstance(dense, Representation)
    return dense


def moves(rep: Representation) -> list[list[int]]:
    """The group's generators as permutations: each a list of the images of the points."""
    return [np.asarray(rep.matrix(g)).argmax(0).tolist() for g in rep.group.generators]


class Emlp:
    """EMLP in a process of another Python, which is started here; ``reason`` says why there is none, or is empty."""

    def __init__(self, python: str):
        self.reason = ""
        self._process: Any = None
        probe = subprocess.run([python, "-c", "import emlp.reps"], capture_output=True, text=True)
        if probe.returncode:
            self.reason = (probe.stderr.strip().splitlines() or ["it does not start"])[-1]
            return
        script = str(Path(__file__).parent / "harness" / "emlp.py")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen([python, script], text=True, **pipes)  # type: ignore[call-overload]

    def solve(self, generators: list[list[int]]) -> tuple[int, float]:
        """The dimension of all linear maps that commute with permutations of points, and the seconds to find it.

        EMLP remembers nothing from an earlier solve. There must be a process: ``reason`` is empty.
        """
        assert self._process is not None
        self._process.stdin.write(json.dumps({"generators": generators}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return answer["dim"], answer["seconds"]

    def close(self) -> None:
        """End the other Python."""
        if self._process is not None:
            self._process.stdin.close()
            self._process.wait(timeout=60)
            self._process.stdout.close()


def measure(name: str, rep: Representation, emlp: Emlp, rounds: int) -> dict[str, Any]:
    """The row of one group: the dimension, median seconds of each way that can serve it, and ratios to the orbits'.

    Raises: ArithmeticError where two ways find different dimensions.
    """
    calls: dict[str, Callable[[], object]] = {"orbits": lambda: equivariant_basis(rep, rep)}
    dims = {equivariant_basis(rep, rep).dim}
    if rep.dim <= DENSE_POINTS:
        dense = as_matrices(rep)
        dims.add(equivariant_basis(dense, dense).dim)
        calls["null space"] = lambda: equivariant_basis(dense, dense)
    times = alternate(calls, rounds=rounds, seconds=0.1)
    if rep.dim <= EMLP_POINTS and not emlp.reason:
        emlp.solve(moves(rep))  # the first of each size compiles
        solved = [emlp.solve(moves(rep)) for _ in range(rounds)]
        dims |= {dim for dim, _ in solved}
        times["emlp"] = [seconds for _, seconds in solved]
    if len(dims) > 1:
        raise ArithmeticError(f"{name}: the ways found different dimensions, {sorted(dims)}")
    row: dict[str, Any] = {"group": name, "points": rep.dim, "dim": dims.pop()}
    row["seconds"] = {key: statistics.median(laps) for key, laps in times.items()}
    row["ratio"] = {key: ratio(laps, times["orbits"]) for key, laps in times.items() if key != "orbits"}
    return row


def run(*, quick: bool = False, rounds: int = 5, emlp: str | None = None) -> dict[str, Any]:
    """Measure all groups; then the symmetric group on 1024 points, which has no table: its generators are enough.

    ``emlp`` is the path of the Python that has EMLP; by default it is taken from the environment.
    """
    rounds = 2 if quick else rounds
    other = Emlp(emlp or os.environ.get("MSR_EMLP_PYTHON", sys.executable))
    rows = []
    try:
        for name, make in cases().items():
            rep = make()
            if quick and rep.dim > 16:
                continue
            rows.append(measure(name, rep, other, rounds))
            say(f"{name}: {', '.join(f'{way} {1e3 * s:.3g} ms' for way, s in rows[-1]['seconds'].items())}")
    finally:
        other.close()
    n = 64 if quick else 1024
    two = np.stack([np.roll(np.arange(n), 1), np.array([1, 0, *range(2, n)])])
    times = alternate({"orbits": lambda: pair_orbits(two, two)}, rounds=rounds, seconds=0.1)
    seconds = {"orbits": statistics.median(times["orbits"])}
    dim = int(pair_orbits(two, two).max()) + 1
    rows.append({"group": f"S{n}, from generators", "points": n, "dim": dim, "seconds": seconds, "ratio": {}})
    return {"rounds": rounds, "rows": rows, "emlp": other.reason and f"not run: {other.reason}"}


def _ratio(of: list[float] | None) -> str:
    """A ratio for a table, ``median (least to greatest)``, from these three numbers; empty for None."""
    if of is None:
        return ""
    middle, least, most = (f"{value:,.0f}" if value >= 10 else f"{value:.1f}" for value in of)
    return f"{middle}x ({least} to {most})"


def tables(results: dict[str, Any]) -> Tables:
    """One table with a line for each group."""
    header = ["group", "points", "dimension", "orbits", "null space", "ratio", "EMLP", "ratio "]
    cells = []
    for row in results["rows"]:
        seconds = row["seconds"]
        times = row["ratio"]
        line = [row["group"], str(row["points"]), str(row["dim"]), duration(seconds["orbits"])]
        for way in ("null space", "emlp"):
            line += [duration(seconds.get(way)), _ratio(times.get(way))]
        cells.append(line)
    emlp = results["emlp"] or "1.0.3: compiled before, with what threads XLA likes"
    caption = (
        f"All equivariant linear maps from the points to themselves; medians, ratios with their range over "
        f"{results['rounds']} rounds. Null space up to {DENSE_POINTS} points. EMLP {emlp}"
    )
    return {caption: (header, cells)}


def headlines(results: dict[str, Any]) -> list[Headline]:
    """The hardest group that all ways solve, and the largest."""
    rows = results["rows"]
    slow = max((row for row in rows if "null space" in row["ratio"]), key=lambda row: row["seconds"]["null space"])
    lines = []
    for way, name in {"null space": "dense null space", "emlp": "EMLP"}.items():
        if way in slow["ratio"]:
            ours = duration(slow["seconds"]["orbits"])
            beside = f"{name} {duration(slow['seconds'][way])}"
            lines.append(Headline(f"equivariant maps of {slow['group']}", ours, beside, _ratio(slow["ratio"][way])))
        elif results["emlp"]:
            lines.append(Headline(f"equivariant maps of {slow['group']}", "", f"{name} {results['emlp']}"))
    large = max(rows, key=lambda row: (row["points"], row["seconds"]["orbits"]))
    what = f"equivariant maps of {large['group']}, {large['points']} points"
    return [*lines, Headline(what, duration(large["seconds"]["orbits"]))]


def figures(results: dict[str, Any]) -> dict[str, Any]:
    """Seconds of each way against the number of points, for cyclic groups."""
    series = {}
    for way in ("orbits", "null space", "emlp"):
        rows = [row for row in results["rows"] if row["group"][0] == "C" and row["group"][1:].isdigit()]
        points = [(row["points"], row["seconds"][way]) for row in rows if way in row["seconds"]]
        if points:
            series[way] = tuple(map(list, zip(*sorted(points), strict=True)))
    title = "All maps that commute with cyclic shifts"
    return {"equivariant_maps": draw.scaling(series, xlabel="points", ylabel="seconds", title=title)}


if __name__ == "__main__":
    command(__file__)
