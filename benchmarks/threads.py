"""Is the chosen number of threads ever worse than one, on an idle machine and on a busy one?

A small and a large discovery with one thread, with as many as torch has, and with the number that is chosen; alone, and
beside two processes that keep two cores busy. In a round all take turns, and ratios are of one round.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from benchmarks.harness.command import command, duration, say
from benchmarks.harness.contract import Headline, Tables
from benchmarks.harness.timing import ratio
from msr.discovery import discover
from msr.groups import cyclic
from msr.representations import copies, regular
from msr.tasks.sampling import Sample, sample_group

BUSY = 2
BUSY_CODE = "while True: pass"
LONGEST = 20.0  # seconds with all threads, after which these are tried no more


def problem(n: int, tasks: int) -> Sample:
    """Tasks with the symmetry of the cyclic group of order 8, which acts on ``n`` points in blocks of 8."""
    rep = regular(cyclic(8))
    rep = rep if n == 8 else copies(rep, n // 8)
    return sample_group(rep, rep, n_tasks=tasks, examples=12, noise=0.1)


@contextmanager
def beside(processes: int) -> Iterator[None]:
    """Within the block, so many other processes keep a core busy each."""
    others = [subprocess.Popen([sys.executable, "-c", BUSY_CODE]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in others:
            process.kill()
            process.wait()


def timed(sample: Sample, threads: int | None) -> tuple[float, int]:
    """Seconds of a discovery on a sample, and the threads it had; None leaves their number to ``discover``."""
    start = time.perf_counter()
    discovery = discover(sample.x, sample.y, threads=threads)
    return time.perf_counter() - start, discovery.threads


def run(*, quick: bool, rounds: int = 3) -> dict[str, Any]:
    """Time a discovery of each problem with one, all and the chosen number of threads, on an idle and a busy machine.

    Once a discovery with all threads has taken longer than :data:`LONGEST`, all threads are tried no more.
    """
    most = torch.get_num_threads()
    rows = []
    tried = True
    sizes = {"8 x 8": (8, 100)} if quick else {"8 x 8": (8, 400), "32 x 32": (32, 150)}
    for name, (n, tasks) in sizes.items():
        sample = problem(n, tasks)
        timed(sample, 1)
        for others in (0, BUSY):
            seconds: dict[str, list[float]] = {"one": [], "all": [], "chosen": []}
            threads = []
            with beside(others):
                for _ in range(1 if quick else rounds):
                    seconds["one"].append(timed(sample, 1)[0])
                    if tried:
                        seconds["all"].append(timed(sample, most)[0])
                        tried = seconds["all"][-1] <= LONGEST
                    took, count = timed(sample, None)
                    seconds["chosen"].append(took)
                    threads.append(count)
            rows.append({"problem": name, "busy": others, "seconds": seconds, "threads": threads})
            say(f"{name}, {others} busy: {seconds}, chosen {threads}")
    return {"threads": most, "rows": rows}


def _middle(laps: list[float]) -> float | None:
    """The upper median; None without any lap."""
    return sorted(laps)[len(laps) // 2] if laps else None


def tables(results: dict[str, Any]) -> Tables:
    """One row a problem and a state of the machine."""
    head = ["layer", "beside", "1 thread", f"{results['threads']} threads", "chosen", "threads chosen", "chosen / 1"]
    rows = []
    for row in results["rows"]:
        best = {name: _middle(laps) for name, laps in row["seconds"].items()}
        middle, least, most = ratio(row["seconds"]["chosen"], row["seconds"]["one"])
        rows.append(
            [
                row["problem"],
                f"{row['busy']} busy processes" if row["busy"] else "nothing",
                *(duration(best[name]) for name in ("one", "all", "chosen")),
                ", ".join(map(str, row["threads"])),
                f"{middle:.2f} ({least:.2f} to {most:.2f})",
            ]
        )
    return {"A discovery by its threads, medians of rounds": (head, rows)}


def headlines(results: dict[str, Any]) -> list[Headline]:
    """Seconds with the chosen threads beside those with one and with all, for each problem and state of the machine."""
    lines = []
    for row in results["rows"]:
        middle = {name: _middle(laps) for name, laps in row["seconds"].items()}
        what = f"discovery {row['problem']}, {'busy' if row['busy'] else 'idle'} machine, threads chosen"
        beside_it = f"1 thread {duration(middle['one'])}, all {duration(middle['all']) or 'not tried'}"
        share = ratio(row["seconds"]["chosen"], row["seconds"]["one"])[0]
        lines.append(Headline(what, duration(middle["chosen"]), beside_it, f"{share:.2f}x"))
    return lines


if __name__ == "__main__":
    command(__file__)
