"""Timing that survives a noisy machine: the things compared take turns, and medians of ratios are reported."""

import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

__all__ = ["PATIENCE", "alternate", "machine", "ratio"]

PATIENCE = 1.0
"""The share of the seconds asked for that is really spent. Tests, which look at no time, set it to 0."""


def alternate(calls: dict[str, Callable[[], object]], *, rounds: int, seconds: float = 0.5) -> dict[str, list[float]]:
    """Seconds a call, one median for each round, the calls taking turns within a round.

    In a round each is repeated for about ``seconds`` and at least three times; a call that takes longer, once.
    """
    repeats = {}
    for name, call in calls.items():
        call()  # what is made at the first call is no part of the time
        start = time.perf_counter()
        call()
        took = time.perf_counter() - start
        repeats[name] = max(3 if took < seconds else 1, int(PATIENCE * seconds / took))
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            laps = []
            for _ in range(repeats[name]):
                start = time.perf_counter()
                call()
                laps.append(time.perf_counter() - start)
            times[name].append(statistics.median(laps))
    return times


def ratio(slow: list[float], fast: list[float]) -> tuple[float, float, float]:
    """Median, least and greatest of the ratios ``slow / fast``, round by round.

    What else the machine does in a round slows both sides, and so leaves their ratio nearly as it is.
    """
    ratios = [a / b for a, b in zip(slow, fast, strict=True)]
    return statistics.median(ratios), min(ratios), max(ratios)


def machine() -> dict[str, object]:
    """What the times depend on: processor, threads, versions and date."""
    model = "unknown"
    if (info := Path("/proc/cpuinfo")).exists():
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        model = names[0] if names else model
    return {
        "processor": model,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
    }
