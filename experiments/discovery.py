"""Is the group that discovery names the right one? Families whose answer is known, controls that have none.

A right answer is the exact name of the largest group with the same orbits on weights, which is all that a linear layer
shows. A wrong one is any other name; "cannot tell" is neither. "C8 almost D8" has the symmetry of C8, and 15% of each
weight breaks that of D8, which is three times the tolerance: to name D8 is wrong. With ``--beyond`` at the tolerance it
may happen with probability alpha. Beside it stands a rule without a certificate: weights closer than a tenth of their
size are equal, and what permutes them is named.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments.shared.closed_form import UNUSED
from msr.discovery import Discovery, discover
from msr.errors import ConfigError, MSRError
from msr.groups import cyclic, dihedral, direct_product, frobenius, quaternion, symmetric, wreath_product
from msr.groups.naming import name_group
from msr.permutations import automorphisms
from msr.report import figures, format_table
from msr.representations import Representation, equivariant_basis, grid_rotations, grid_shifts, natural, regular
from msr.runs.command import main
from msr.runs.config import CommonConfig, chosen, counts, numbers, option
from msr.runs.folder import Row, RunFolder
from msr.tasks import FiniteGroupTasks, TaskFamily
from msr.tasks.controls import almost_symmetry, broken_symmetry, no_symmetry

GROUPS: dict[str, Callable[[], Representation]] = {
    "C4": lambda: regular(cyclic(4)),
    "C8": lambda: regular(cyclic(8)),
    "C12": lambda: regular(cyclic(12)),
    "C16": lambda: regular(cyclic(16)),
    "D8": lambda: regular(dihedral(8)),
    "D8 on 8 points": lambda: natural(dihedral(8)),
    "S5": lambda: natural(symmetric(5)),
    "4x4 torus": lambda: grid_shifts((4, 4)),
    "D4 on 4x4": lambda: grid_rotations(4, flips=True),
    "S3 wr C2": lambda: natural(wreath_product(symmetric(3), cyclic(2))),
    "Klein": lambda: regular(direct_product(cyclic(2), cyclic(2))),
    "Q8": lambda: regular(quaternion(8)),
    "7:3 on 7 points": lambda: natural(frobenius(7, 3)),
    "S3 x C4": lambda: natural(direct_product(symmetric(3), cyclic(4))),
}
LARGE: dict[str, Callable[[], Representation]] = {
    "C32": lambda: regular(cyclic(32)),
    "6x6 torus": lambda: grid_shifts((6, 6)),
    "D4 on 8x8": lambda: grid_rotations(8, flips=True),
    "C64": lambda: regular(cyclic(64)),
}
ALMOST: dict[str, tuple[Callable[[], Representation], Callable[[], Representation]]] = {
    "C8 almost D8": (lambda: regular(cyclic(8)), lambda: natural(dihedral(8))),
    "D6 almost S6": (lambda: natural(dihedral(6)), lambda: natural(symmetric(6))),
}
CONTROLS = ("none 8", "none 16", "broken 8", "broken 16")
FAMILIES = (*GROUPS, *ALMOST, *CONTROLS, *LARGE)
MOST_TASKS = 2, 10**7  # the range of --tasks
BROKEN = 0.3  # of a weight, far above the tolerance


@dataclass(frozen=True)
class Config(CommonConfig):
    """Name the group of families with a known answer, by noise and number of tasks."""

    families: str = option(",".join((*GROUPS, *ALMOST, *CONTROLS)), f"comma list; also {', '.join(LARGE)}")
    noise: str = option("0,0.1", "comma list: noise on y, in units of the size of y")
    tasks: str = option("400", "comma list: tasks in all, those of the last test included")
    examples: int = option(20, "examples a task", least=2, most=10**6)
    beyond: float = option(
        0.15, "of the almost larger symmetries: the share of a weight that breaks the larger one", above=0, most=1
    )
    eps: float = option(0.05, "tolerance", least=1e-6, below=1)
    alpha: float = option(0.01, "error rate of each test", above=0, below=0.5)

    def check(self) -> None:
        """Raise ConfigError for a value that cannot work."""
        super().check()
        figures.require()
        chosen(self.families, FAMILIES, "family")
        numbers("noise", self.noise)
        counts("tasks", self.tasks, *MOST_TASKS)
        if self.seed < 0:
            raise ConfigError(f"--seed must not be negative; got {self.seed}")
        self.leave("data", "batching", "chunk_size", "device", because=UNUSED)
        self.leave("checkpoint_seconds", "keep_checkpoints", "on_divergence", because=UNUSED)

    def bytes_needed(self) -> dict[str, float]:
        """The inputs and outputs of all tasks; the least family has 4 of each."""
        most = max(counts("tasks", self.tasks, *MOST_TASKS))
        return {"--tasks or --examples": 8.0 * 8 * most * self.examples}


@dataclass(frozen=True)
class Arm:
    """One line of ``rows.jsonl``."""

    family: str
    noise: float
    tasks: int
    seed: int

    def __str__(self) -> str:
        return f"{self.family}-noise{self.noise:g}-tasks{self.tasks}-seed{self.seed}".replace(" ", "_")


def representation(family: str) -> Representation:
    """On inputs and outputs, of a family that is no control."""
    return ALMOST[family][0]() if family in ALMOST else (GROUPS.get(family) or LARGE[family])()


@cache
def truth(family: str) -> str | None:
    """The name of the largest group with the family's orbits on weights; None for a control."""
    if family in CONTROLS:
        return None
    rep = representation(family)
    labels = equivariant_basis(rep, rep).labels
    assert labels is not None
    group = automorphisms(labels.reshape(rep.dim, rep.dim).numpy())
    return name_group(group.generators_in, group.generators_out, order=group.order).name


def family_of(name: str, noise: float, seed: int, n_tasks: int, config: Config) -> TaskFamily:
    """A family's tasks; outputs have a mean square of 1, so noise is in units of their size."""
    sizes: dict[str, Any] = {"shots": 1, "queries": config.examples - 1, "n_train": n_tasks, "n_test": None}
    sizes["seed"] = seed
    if name in CONTROLS:
        kind, size = name.split()
        rep = regular(cyclic(int(size)))
        if kind == "none":
            return no_symmetry(rep, rep, noise=noise, **sizes)
        return broken_symmetry(rep, rep, BROKEN, noise=noise, **sizes)
    rep = representation(name)
    if name in ALMOST:
        larger = ALMOST[name][1]()
        return almost_symmetry((rep, rep), (larger, larger), config.beyond, noise=noise, **sizes)
    return FiniteGroupTasks(rep_in=rep, rep_out=rep, noise=noise, **sizes)


def run_arm(arm: Arm, config: Config) -> Row:
    """Discover once, and say whether it is right."""
    family = family_of(arm.family, arm.noise, arm.seed, arm.tasks, config)
    e = family.episodes("train", torch.arange(arm.tasks))
    x, y = e.examples()
    right = truth(arm.family)
    row: Row = {"family": arm.family, "noise": arm.noise, "tasks": arm.tasks, "seed": arm.seed, "truth": right}
    # The run's threads, also for large families: what results.json records is what was computed with.
    found = discover(x, y, eps=config.eps, alpha=config.alpha, seed=arm.seed, threads=torch.get_num_threads())
    name = found.group.name if found.verdict == "found" and found.group else None
    row |= {"verdict": found.verdict, "name": name, "dimension": found.dimension, "seconds": round(found.seconds, 3)}
    row |= {"certain": found.group.certain if name and found.group else None, "sentence": found.sentence}
    row["exact"] = name == right if right else None
    row["wrong"] = name is not None and name != right
    rule = uncertified(found)
    row |= {"rule": rule, "rule_exact": rule == right if right else None, "rule_wrong": rule not in (None, right)}
    return row


def uncertified(found: Discovery, within: float = 0.1) -> str | None:
    """The rule without a certificate: rows of ``U`` closer than a share of the largest are equal; None for no group."""
    if found.pattern is None:
        return None
    m = len(found.outputs)
    colours = _leaders(found.pattern, within * float(found.pattern.norm(dim=1).max()))
    group = automorphisms(colours.reshape(m, -1))
    return name_group(group.generators_in, group.generators_out, order=group.order).name if group.order > 1 else None


def _leaders(rows: Tensor, radius: float) -> np.ndarray:
    """Each row joins the first earlier class whose first row is within the radius."""
    labels = np.full(len(rows), -1)
    classes = 0
    for i in range(len(rows)):
        if labels[i] == -1:
            near = ((rows - rows[i]).norm(dim=1) <= radius).numpy() & (labels == -1)
            labels[near] = classes
            classes += 1
    return labels


def run(config: Config) -> None:
    """Run every arm that has no result yet, then write results, a figure and a table."""
    families = chosen(config.families, FAMILIES, "family")
    noises, sizes = numbers("noise", config.noise), counts("tasks", config.tasks, *MOST_TASKS)
    if config.quick:
        families, sizes = families[:3], [160]
    seeds = range(config.seed, config.seed + config.seeds)
    arms = [Arm(f, z, t, s) for f in families for z in noises for t in sizes for s in seeds]
    folder = RunFolder("discovery", config)
    for arm in arms:
        if str(arm) not in folder.rows:
            try:
                row = run_arm(arm, config)
            except MSRError as error:
                raise type(error)(f"{arm}: {error}") from error
            folder.finish_arm(str(arm), row)
            print(f"{arm}: {row['verdict']} {row['name'] or ''} {row['seconds']} s", file=sys.stderr, flush=True)
    summary = summarise([folder.rows[str(arm)] for arm in arms])
    results = folder.finish(summary=summary)
    draw(summary, folder)
    print(table(summary))
    print(f"\nresults: {results}", file=sys.stderr)


def summarise(rows: list[Row]) -> list[Row]:
    """Rates for each family, noise and number of tasks."""
    lines = []
    for family, noise, tasks in dict.fromkeys((row["family"], row["noise"], row["tasks"]) for row in rows):
        mine = [row for row in rows if (row["family"], row["noise"], row["tasks"]) == (family, noise, tasks)]
        lines.append(
            {
                "family": family,
                "truth": mine[0]["truth"],
                "noise": noise,
                "tasks": tasks,
                "runs": len(mine),
                "exact": sum(bool(row["exact"]) for row in mine),
                "wrong": sum(row["wrong"] for row in mine),
                "none": sum(row["verdict"] == "none" for row in mine),
                "cannot_tell": sum(row["verdict"] == "cannot tell" for row in mine),
                "other_names": sorted({row["name"] for row in mine if row["wrong"]}),
                "rule_exact": sum(bool(row["rule_exact"]) for row in mine),
                "rule_wrong": sum(row["rule_wrong"] for row in mine),
                "seconds_median": median(row["seconds"] for row in mine),
                "seconds_max": max(row["seconds"] for row in mine),
            }
        )
    return lines


def table(summary: list[Row]) -> str:
    """The summary as text."""
    header = ["family", "is", "noise", "tasks", "exact", "wrong", "none", "cannot tell", "rule: exact", "rule: wrong",
              "seconds (most)"]  # fmt: skip
    lines = [
        [
            line["family"],
            line["truth"] or "no group",
            f"{line['noise']:g}",
            str(line["tasks"]),
            f"{line['exact']} of {line['runs']}" if line["truth"] else "",
            str(line["wrong"]) + (f" ({', '.join(line['other_names'])})" if line["wrong"] else ""),
            str(line["none"]),
            str(line["cannot_tell"]),
            str(line["rule_exact"]) if line["truth"] else "",
            str(line["rule_wrong"]),
            f"{line['seconds_median']:.2f} ({line['seconds_max']:.2f})",
        ]
        for line in summary
    ]
    return format_table(header, lines)


def draw(summary: list[Row], folder: RunFolder) -> None:
    """The phase diagram: the share of exact names over families, by noise and number of tasks."""
    lines = [line for line in summary if line["truth"]]
    noises, sizes = sorted({line["noise"] for line in lines}), sorted({line["tasks"] for line in lines})
    if not lines:
        return
    panels = {}
    for what in ("exact", "cannot_tell", "wrong"):
        grid = [[_share(lines, what, noise, tasks) for noise in noises] for tasks in sizes]
        panels[{"exact": "exact name", "cannot_tell": "cannot tell", "wrong": "wrong name"}[what]] = grid
    figure = figures.rates(
        panels, columns=[f"{z:g}" for z in noises], rows=[str(t) for t in sizes],
        xlabel="noise on y, in units of its size", ylabel="tasks",
    )  # fmt: skip
    folder.draw("phases.png", figure, dpi=110)


def _share(lines: list[Row], what: str, noise: float, tasks: int) -> float:
    mine = [line for line in lines if line["noise"] == noise and line["tasks"] == tasks]
    return sum(line[what] for line in mine) / max(1, sum(line["runs"] for line in mine))


if __name__ == "__main__":
    sys.exit(main(Config, run))
