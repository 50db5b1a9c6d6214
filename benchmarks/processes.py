"""How much faster do two processes train than one, and up to how many processes does it help?

Outer steps of MSR on translation tasks and with conv-4, at the same tasks a step: by one process, and by two that share
the tasks, each with one thread. They take turns. A rank is a process. The bytes that ranks exchange are counted, the
time of a step is fitted by ``a + b · tasks of a rank``, and from both follows what to expect of many ranks.
"""

import math
import statistics
from typing import Any

from benchmarks.harness.command import command, duration, say
from benchmarks.harness.contract import Headline, Tables
from benchmarks.harness.shared_steps import PROBLEMS, Team
from benchmarks.harness.timing import PATIENCE, ratio

TASKS = {"translation": (32, 512), "conv-4": (8,)}
"""Tasks of a step: as the runners have by default, and of the short step so many that sharing them is worth it."""
BATCHES = (32, 256, 2048)
"""Tasks of a step for which the number of ranks that help is given."""
RANKS = (2, 8, 64, 512)
GAIN = 1.25
"""Twice the ranks help where a step becomes so many times as fast; at best it is 2. Chosen by hand."""
LINKS = {
    "NVLink, 8 GPUs": (5e-6, 200e9),
    "InfiniBand, 200 Gb/s": (5e-6, 25e9),
    "Ethernet, 10 Gb/s": (30e-6, 1.25e9),
}
"""Seconds a message and bytes a second of a link: round numbers of such hardware, assumed and not measured here."""


def sum_seconds(ranks: int, size: float, latency: float, bandwidth: float) -> float:
    """Seconds to sum ``size`` bytes over ranks: ``2 log₂(R) latency + 2 (R − 1)/R · bytes / bandwidth``.

    Each byte of the sum is sent and received once on the way to it and once on the way back; a tree has log₂ levels.
    """
    return 2 * math.log2(ranks) * latency + 2 * (ranks - 1) / ranks * size / bandwidth


def step_seconds(ranks: int, tasks: int, fit: dict[str, float], size: float, link: tuple[float, float]) -> float:
    """Seconds of a step of so many tasks, shared by ranks: ``a + b · tasks of the largest share``, and the sum."""
    exchange = sum_seconds(ranks, size, *link) if ranks > 1 else 0.0
    return fit["a"] + fit["b"] * math.ceil(tasks / ranks) + exchange


def most_ranks(tasks: int, fit: dict[str, float], size: float, link: tuple[float, float]) -> int:
    """The most ranks, a power of two, to which doubling them still helps (:data:`GAIN`); none has less than a task."""
    ranks = 1
    while 2 * ranks <= tasks:
        now, then = (step_seconds(r, tasks, fit, size, link) for r in (ranks, 2 * ranks))
        if now / then < GAIN:
            break
        ranks *= 2
    return ranks


def line_through(points: dict[int, float]) -> dict[str, float]:
    """``a`` and ``b`` of ``seconds = a + b · tasks`` by least squares of relative errors; neither is negative."""
    weights = [1 / seconds**2 for seconds in points.values()]
    total = sum(weights)
    x = sum(w * n for w, n in zip(weights, points, strict=True)) / total
    y = sum(w * s for w, s in zip(weights, points.values(), strict=True)) / total
    across = sum(w * (n - x) * (s - y) for w, (n, s) in zip(weights, points.items(), strict=True))
    b = across / max(sum(w * (n - x) ** 2 for w, n in zip(weights, points, strict=True)), 1e-300)
    a = y - b * x
    if a < 0:
        return {"a": 0.0, "b": y / x}
    return {"a": a, "b": b} if b > 0 else {"a": y, "b": 0.0}


def measure(problem: str, tasks: int, *, rounds: int, seconds: float, quick: bool) -> dict[str, Any]:
    """Steps of one process and of two in turns; sums of a gradient; steps of one process on fewer tasks.

    ``seconds`` is about how long one process takes steps in a round. Raises: AssertionError where the first losses of
    one process and of two differ by more than rounding.
    """
    with Team(problem, 1) as one, Team(problem, 2) as two:
        first = [team.ask("steps", n=1, tasks=tasks) for team in (one, two)]
        assert math.isclose(first[0]["loss"], first[1]["loss"], rel_tol=1e-4), first
        trial = one.ask("steps", n=1, tasks=tasks)["seconds"]
        n = max(1, int(PATIENCE * seconds / trial))
        laps: dict[str, list[dict[str, Any]]] = {"one": [], "two": []}
        for _ in range(rounds):
            for name, team in (("one", one), ("two", two)):
                laps[name].append(team.ask("steps", n=n, tasks=tasks))
        numbers = first[0]["numbers"]
        sums = {size: two.ask("sums", n=5 if quick else 200, numbers=size)["seconds"] for size in (1, numbers, 10**6)}
        points = {}
        for m in sorted({tasks, tasks // 2, tasks // 4 or 1, 1}):
            one.ask("steps", n=1, tasks=m)  # the first step of a new shape may record it
            # CPU time: on an idle machine it is the time of one process by the clock, and on a busy one it stays so.
            points[m] = sum(one.ask("steps", n=n, tasks=m)["cpu"])
    whole = [sum(lap["cpu"]) for lap in laps["one"]]
    return {
        "problem": problem,
        "tasks": tasks,
        "steps": n,
        "seconds": {name: [lap["seconds"] for lap in of_name] for name, of_name in laps.items()},
        "cpu": {"one": whole, "two": [max(lap["cpu"]) for lap in laps["two"]]},
        "cpu_of_both": [sum(lap["cpu"]) for lap in laps["two"]],
        "numbers": numbers,
        # The losses of all tasks and two answers travel with the gradient.
        "bytes": 4 * (numbers + tasks + 2),
        "sums": sums,
        "points": points,
        "fit": line_through(points),
        "loss": [found["loss"] for found in first],
    }


def run(*, quick: bool, rounds: int = 7, seconds: float = 3.0) -> dict[str, Any]:
    """Measure both problems; a quick run the first of them, with two tasks."""
    rows = []
    cases = [(PROBLEMS[0], 2)] if quick else [(problem, tasks) for problem in PROBLEMS for tasks in TASKS[problem]]
    for problem, tasks in cases:
        row = measure(problem, tasks, rounds=1 if quick else rounds, seconds=0.0 if quick else seconds, quick=quick)
        rows.append(row)
        middle = ratio(row["seconds"]["one"], row["seconds"]["two"])[0]
        say(f"{problem}, {tasks} tasks: two processes are {middle:.2f} times as fast")
    return {"rows": rows}


def _spread(slow: list[float], fast: list[float]) -> str:
    """A ratio with its range over rounds."""
    middle, least, most = ratio(slow, fast)
    return f"{middle:.2f}x ({least:.2f} to {most:.2f})"


def _throughput(rows: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Tasks a second of one process and of two, and how much faster two can be where their sum costs nothing."""
    head = ["problem", "tasks a step", "1 process", "2 processes", "by the clock", "by CPU time", "at best"]
    cells = []
    for row in rows:
        speeds = [f"{row['tasks'] / statistics.median(row['seconds'][name]):.3g} tasks/s" for name in ("one", "two")]
        ratios = [_spread(row[clock]["one"], row[clock]["two"]) for clock in ("seconds", "cpu")]
        points = {int(tasks): seconds for tasks, seconds in row["points"].items()}
        best = points[row["tasks"]] / points[max(row["tasks"] // 2, 1)]
        cells.append([row["problem"], str(row["tasks"]), *speeds, *ratios, f"{best:.2f}x"])
    return head, cells


def _counted(rows: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """What a step exchanges, the time of its sum here, and the fit of its own time."""
    head = [
        "problem",
        "tasks a step",
        "numbers",
        "bytes a step",
        "their sum, here",
        "the sum of one number",
        "a",
        "b, a task",
    ]
    cells = []
    for row in rows:
        sums = {int(size): seconds for size, seconds in row["sums"].items()}
        times = [
            duration(sums[row["numbers"]]),
            duration(sums[1]),
            duration(row["fit"]["a"]),
            duration(row["fit"]["b"]),
        ]
        cells.append([row["problem"], str(row["tasks"]), f"{row['numbers']:,}", f"{row['bytes']:,}", *times])
    return head, cells


def _expected(rows: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """The sum's time on other links, and how many ranks help for batches of several sizes."""
    head = ["problem", "link", *(f"sum, {ranks} ranks" for ranks in RANKS), *(f"ranks for {n} tasks" for n in BATCHES)]
    cells = []
    for row in rows:
        for name, link in LINKS.items():
            times = [duration(sum_seconds(ranks, row["bytes"], *link)) for ranks in RANKS]
            most = [str(most_ranks(n, row["fit"], row["bytes"], link)) for n in BATCHES]
            if name.startswith("NVLink"):
                # Eight GPUs are all that such a link connects, and their step is not the CPU's.
                times[2:] = ["", ""]
                most = ["", "", ""]
            cells.append([row["problem"], name, *times, *most])
    return head, cells


def tables(results: dict[str, Any]) -> Tables:
    """Throughput; what was counted; what to expect of many ranks."""
    rows = results["rows"]
    throughput = (
        "Two processes with a thread each against one, medians of rounds. CPU time: of the busier rank; at best: "
        "the CPU time of a step beside that of a step of half the tasks"
    )
    expected = (
        f"Expected, from the counted bytes and assumed links. Ranks help where twice as many gain {GAIN}x, each "
        "computing as one core does here"
    )
    return {
        throughput: _throughput(rows),
        "What a step exchanges, and a step of one process as a + b · tasks": _counted(rows),
        # One row a problem, the one with the most tasks.
        expected: _expected(list({row["problem"]: row for row in rows}.values())),
    }


def headlines(results: dict[str, Any]) -> list[Headline]:
    """Tasks a second of two processes beside those of one."""
    return [
        Headline(f"{row[0]}, {row[1]} tasks a step, 2 processes", row[3], f"1 process {row[2]}", row[4].split()[0])
        for row in _throughput(results["rows"])[1]
    ]


if __name__ == "__main__":
    command(__file__)
