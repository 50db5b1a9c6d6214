"""What does a GPU make of outer steps: how many tasks fill it, and what do several GPUs add?

It is the one file for what needs a GPU to be seen. On a machine without one it is a dry run on the CPU: the same code
on fewer tasks, and every table says so. No GPU was at hand yet, so no number of one stands anywhere.

With a GPU it prints, for translation tasks and for conv-4:

- *A step by its tasks*: seconds a step and tasks a second for 1, 2, 4, … 256 tasks side by side, the most memory that
  torch held, and how far the first loss is from that of the CPU. A GPU is full where twice the tasks take almost twice
  as long (1.8 times); below that more tasks cost nearly nothing, and more GPUs gain nothing.
- *Several GPUs*: tasks a second of 1, 2, 4, 8 GPUs, each with as many tasks as fill it, and the seconds of one sum of a
  gradient over them by NCCL, beside those that ``benchmarks.processes`` expects. With one GPU the table says so.
"""

import statistics
import time
from itertools import pairwise
from typing import Any

import torch

from benchmarks.harness.command import command, duration, say
from benchmarks.harness.contract import Headline, Tables
from benchmarks.harness.shared_steps import PROBLEMS, Team, Work, work
from benchmarks.harness.timing import PATIENCE
from benchmarks.processes import LINKS, sum_seconds

FULL = 1.8
"""A GPU is full where twice the tasks take so many times as long; chosen by hand."""


def timed(mine: Work, tasks: int, *, repeats: int) -> dict[str, Any]:
    """Seconds of an outer step on so many tasks, the most bytes that torch held on the GPU, and the first loss."""
    drawn = torch.arange(tasks)
    episodes = mine.episodes(drawn)
    on_gpu = episodes.query_y.is_cuda
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    loss = float(mine.loop.step(episodes, drawn).mean())
    laps = []
    for _ in range(repeats):
        start = time.perf_counter()
        # A step reads its losses, which waits for the device.
        mine.loop.step(episodes, drawn)
        laps.append(time.perf_counter() - start)
    held = torch.cuda.max_memory_allocated() if on_gpu else None
    return {"tasks": tasks, "seconds": statistics.median(laps), "bytes": held, "loss": loss}


def alone(problem: str, device: str, sizes: list[int], *, repeats: int) -> list[dict[str, Any]]:
    """Rows of one device, up to the first size that does not fit into its memory."""
    rows: list[dict[str, Any]] = []
    for tasks in sizes:
        recorded = len(sizes) > 2  # recording takes longer than a dry run
        try:
            row = timed(work(problem, device, recorded=recorded), tasks, repeats=repeats)
        except torch.OutOfMemoryError as error:
            say(f"{problem}, {tasks} tasks: {str(error).splitlines()[0]}")
            break
        tasks_alone = torch.arange(tasks)
        expected = work(problem, recorded=False)
        exact = float(expected.loop.step(expected.episodes(tasks_alone), tasks_alone).mean()) if tasks <= 4 else None
        rows.append({"problem": problem, **row, "cpu_loss": exact})
    return rows


def fullest(rows: list[dict[str, Any]]) -> int:
    """The tasks from which on twice as many take :data:`FULL` times as long; else the most that were tried."""
    for now, then in pairwise(rows):
        if then["seconds"] >= FULL * now["seconds"]:
            return now["tasks"]
    return rows[-1]["tasks"]


def together(problem: str, worlds: list[int], tasks: int, *, repeats: int) -> list[dict[str, Any]]:
    """Rows of so many GPUs, each with ``tasks`` tasks a step, and of the sum of a gradient over them."""
    rows = []
    for world in worlds:
        with Team(problem, world, "cuda") as team:
            team.ask("steps", n=2, tasks=tasks * world)
            steps = team.ask("steps", n=repeats, tasks=tasks * world)
            total = team.ask("sums", n=100, numbers=steps["numbers"])["seconds"] if world > 1 else 0.0
        rows.append({"problem": problem, "gpus": world, "tasks": tasks * world, **steps, "sum": total})
    return rows


def run(*, quick: bool, device: str = "") -> dict[str, Any]:
    """Measure on ``device``; by default on the GPU where there is one, else dry on the CPU."""
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    dry = quick or PATIENCE == 0 or device == "cpu"
    sizes = [1, 2] if dry else [2**i for i in range(9)]
    count = torch.cuda.device_count() if device == "cuda" else 0
    found: dict[str, Any] = {"device": device, "dry": device == "cpu", "gpus": count, "alone": [], "together": []}
    for problem in PROBLEMS:
        rows = alone(problem, device, sizes, repeats=1 if dry else 20)
        found["alone"] += rows
        if count > 1:
            worlds = [world for world in (1, 2, 4, 8) if world <= count]
            found["together"] += together(problem, worlds, fullest(rows), repeats=2 if dry else 50)
        say(f"{problem} done on {device}")
    return found


def tables(results: dict[str, Any]) -> Tables:
    """A step by its tasks; several GPUs, or that there are none."""
    note = " (a dry run on the CPU: no number of a GPU)" if results["dry"] else ""
    cells = []
    for row in results["alone"]:
        speed = f"{row['tasks'] / row['seconds']:.3g}"
        memory = "" if row["bytes"] is None else f"{row['bytes'] / 2**20:.0f} MiB"
        apart = "" if row["cpu_loss"] is None else f"{abs(row['loss'] / row['cpu_loss'] - 1):.0e}"
        cells.append([row["problem"], str(row["tasks"]), duration(row["seconds"]), speed, memory, apart])
    head = ["problem", "tasks a step", "a step", "tasks/s", "memory", "loss, apart from the CPU's"]
    found: Tables = {f"A step by its tasks, one device{note}": (head, cells)}
    link = LINKS["NVLink, 8 GPUs"]
    cells = []
    for row in results["together"]:
        expected = sum_seconds(row["gpus"], 4 * row["numbers"], *link) if row["gpus"] > 1 else 0.0
        speed = f"{row['tasks'] / row['seconds']:.3g}"
        cells.append(
            [row["problem"], str(row["gpus"]), str(row["tasks"]), speed, duration(row["sum"]), duration(expected)]
        )
    if not cells:
        cells = [["", str(results["gpus"]), "", "not here: it takes two GPUs", "", ""]]
    head = ["problem", "GPUs", "tasks a step", "tasks/s", "sum of a gradient", "expected"]
    found[f"Several GPUs{note}"] = (head, cells)
    return found


def headlines(results: dict[str, Any]) -> list[Headline]:
    """The tasks that fill a GPU, and its tasks a second with these; without a GPU a line that says so."""
    if results["dry"]:
        return [Headline("outer steps on a GPU", "not measured: there was none")]
    lines = []
    for problem in PROBLEMS:
        rows = [row for row in results["alone"] if row["problem"] == problem]
        full = fullest(rows)
        speed = next(row["tasks"] / row["seconds"] for row in rows if row["tasks"] == full)
        lines.append(Headline(f"{problem} on a GPU, {full} tasks a step, which fill it", f"{speed:.3g} tasks/s"))
    return lines


if __name__ == "__main__":
    command(__file__)
