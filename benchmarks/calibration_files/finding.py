"""The cells in which right answers are counted: power by noise and number of tasks, and many groups."""

import functools

from benchmarks.calibration_files.nulls import plain
from benchmarks.calibration_files.patterns import families
from benchmarks.calibration_files.problems import Cell, Problem

__all__ = ["NOISES", "TASKS", "family_cells", "power_cells"]

NOISES = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
TASKS = (100, 200, 400, 1000)
POWER_GROUPS = ("D4 on itself", "C7 on itself", "Petersen", "S3xC4 on itself", "H(2,4)")


def _problem(_: int, name: str, tasks: int, noise: float) -> Problem:
    """Files of so many tasks of twenty examples with the symmetry of a group, at a size of noise."""
    return plain(families()[name](), sizes=((tasks, 20),), levels=(noise,))


def power_cells() -> list[Cell]:
    """The cells of the part ``power``: five groups, six sizes of noise, four numbers of tasks of twenty examples."""
    return [
        Cell(
            f"power: {name}, noise {noise:g}, {tasks} tasks",
            "power",
            "found",
            functools.partial(_problem, name=name, tasks=tasks, noise=noise),
            labels=(f"{noise:g}", str(tasks), name),
        )
        for tasks in TASKS
        for noise in NOISES
        for name in POWER_GROUPS
    ]


def family_cells() -> list[Cell]:
    """The cells of the part ``families``: every group without noise and with a tenth, 400 tasks of twenty examples."""
    return [
        Cell(
            f"family: {name}, noise {noise:g}",
            "families",
            "found",
            functools.partial(_problem, name=name, tasks=400, noise=noise),
            labels=(f"{noise:g}", name),
        )
        for noise in (0.0, 0.1)
        for name in families()
    ]
