"""Is the group that discovery names the right one? Families whose answer is known, and controls that have no group.

A right answer is the exact name of the largest group with the same orbits on weights, since a linear layer shows no
more than these. A wrong answer is any other name; "cannot tell" is neither. "C8 almost D8" has the symmetry of C8, and
15% of each weight breaks that of D8, which is three times the tolerance: D8 is a wrong name. With ``--beyond`` at the
tolerance a wrong name may be given with probability alpha. Each answer is compared with a rule without a certificate:
weights closer than a tenth of the largest count as equal, and the group that permutes equal weights is named.
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

from msr.discovery import Discovery, discover
from msr.errors import MSRError
from msr.groups import cyclic, dihedral, direct_product, frobenius, quaternion, symmetric, wreath_product
from msr.groups.naming import name_group
from msr.permutations import automorphisms
from msr.report import figures, format_table
from msr.representations import Representation, equivariant_basis, grid_rotations, grid_shifts, natural, regular
from msr.runs import arms
from msr.runs.command import main
from msr.runs.config import SeedFlags
from msr.runs.flags import chosen, counts, numbers, option
from msr.runs.folder import Row, RunFolder
from msr.tasks import FiniteGroupTasks, TaskFamily, almost_symmetry, broken_symmetry, no_symmetry

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
TASK_RANGE = (2, 10**7)
"""The range of ``--tasks``."""
QUICK_FAMILIES = 3
QUICK_TASKS = 160
BROKEN = 0.3
"""The share of each weight that breaks the group in a "broken" control: six times the tolerance. Chosen by hand."""
RULE_RADIUS = 0.1
"""Of the rule without a certificate: rows of ``U`` closer than this share of the longest row count as equal."""


@dataclass(frozen=True)
class Config(SeedFlags):
    """Name the group of families with a known answer, by noise and number of tasks."""

    seed: int = option(0, "first seed", least=0, most=2**62)
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
        """Raise ConfigError for a value that cannot work, MissingExtraError without matplotlib."""
        super().check()
        figures.require()
        chosen(self.families, FAMILIES, "family")
        numbers("noise", self.noise)
        counts("tasks", self.tasks, *TASK_RANGE)

    def bytes_needed(self) -> dict[str, float]:
        """Bytes of the inputs and outputs of all tasks in double precision, at 4 of each.

        Those are the numbers of the smallest family, so no run that fits is refused.
        """
        most = max(counts("tasks", self.tasks, *TASK_RANGE))
        return {"--tasks or --examples": 8.0 * 8 * most * self.examples}


@dataclass(frozen=True)
class Arm(arms.Arm):
    """A family with a level of noise and a number of tasks, with a seed."""

    family: str
    noise: float
    tasks: int
    seed: int

    @property
    def name(self) -> str:
        """``FAMILY-noiseLEVEL-tasksCOUNT``."""
        return f"{self.family}-noise{self.noise:g}-tasks{self.tasks}"


def representation(family: str) -> Representation:
    """How the group of a family acts, on inputs and on outputs alike; the family must not be a control.

    Of an almost larger symmetry it is the smaller group, which all tasks have exactly.
    """
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
    """The tasks of the family of this name; outputs have a mean square of 1, so noise is in units of their size."""
    options: dict[str, Any] = {
        "noise": noise,
        "shots": 1,
        "queries": config.examples - 1,
        "n_train": n_tasks,
        "n_test": None,
        "seed": seed,
    }
    if name in CONTROLS:
        kind, size = name.split()
        rep = regular(cyclic(int(size)))
        if kind == "none":
            return no_symmetry(rep, rep, **options)
        return broken_symmetry(rep, rep, BROKEN, **options)
    rep = representation(name)
    if name in ALMOST:
        larger = ALMOST[name][1]()
        return almost_symmetry((rep, rep), (larger, larger), config.beyond, **options)
    return FiniteGroupTasks(rep_in=rep, rep_out=rep, **options)


def run_arm(arm: Arm, config: Config) -> Row:
    """The row of one arm: the answer of one discovery, compared with the truth.

    ``exact`` and ``wrong`` say whether the name is the true one, or another (None, false: no name was given); ``exact``
    is None for a control. ``rule``, ``rule_exact`` and ``rule_wrong`` are the same for the rule without a certificate.
    """
    family = family_of(arm.family, arm.noise, arm.seed, arm.tasks, config)
    episodes = family.episodes("train", torch.arange(arm.tasks))
    x, y = episodes.examples()
    # The run's own number of threads, for large families too: results.json records it as what was computed with.
    threads = torch.get_num_threads()
    answer = discover(x, y, eps=config.eps, alpha=config.alpha, seed=arm.seed, threads=threads)
    right = truth(arm.family)
    group = answer.group if answer.verdict == "found" else None
    name = group.name if group else None
    rule = uncertified(answer)
    return {
        "truth": right,
        "verdict": answer.verdict,
        "name": name,
        "dimension": answer.dimension,
        "seconds": round(answer.seconds, 3),
        "certain": group.certain if group and name else None,
        "sentence": answer.sentence,
        "exact": name == right if right else None,
        "wrong": name is not None and name != right,
        "rule": rule,
        "rule_exact": rule == right if right else None,
        "rule_wrong": rule not in (None, right),
    }


def uncertified(answer: Discovery) -> str | None:
    """The name that the rule without a certificate gives; None for the trivial group, or where no pattern was found.

    Rows of the pattern ``U`` within :data:`RULE_RADIUS` of one another, as a share of the longest, count as equal.
    """
    if answer.pattern is None:
        return None
    m = len(answer.outputs)
    classes = _classes(answer.pattern, RULE_RADIUS * float(answer.pattern.norm(dim=1).max()))
    group = automorphisms(classes.reshape(m, -1))
    return name_group(group.generators_in, group.generators_out, order=group.order).name if group.order > 1 else None


def _classes(rows: Tensor, radius: float) -> np.ndarray:
    """The number of the class of each row, from 0: a row joins the earliest class whose first row is within the radius.

    A row that is near none of them begins a class. Shapes: ``rows (n, k) -> (n,)``.
    """
    labels = np.full(len(rows), -1)
    classes = 0
    for i in range(len(rows)):
        if labels[i] == -1:
            near = ((rows - rows[i]).norm(dim=1) <= radius).numpy() & (labels == -1)
            labels[near] = classes
            classes += 1
    return labels


def run(config: Config) -> None:
    """Run every arm that has no result yet, then write results, a table and a figure."""
    families = chosen(config.families, FAMILIES, "family")
    sizes = counts("tasks", config.tasks, *TASK_RANGE)
    if config.quick:
        families = families[:QUICK_FAMILIES]
        sizes = [QUICK_TASKS]
    all_arms = [
        Arm(family, noise, tasks, seed)
        for family in families
        for noise in numbers("noise", config.noise)
        for tasks in sizes
        for seed in config.all_seeds
    ]

    def compute(arm: Arm) -> Row:
        """:func:`run_arm`, with the arm's name before the message of an error."""
        try:
            return run_arm(arm, config)
        except MSRError as error:
            raise type(error)(f"{arm}: {error}") from error

    folder = RunFolder("discovery", config)
    arms.run_arms(
        folder,
        all_arms,
        compute,
        tell=lambda row: f"{row['verdict']} {row['name'] or ''} {row['seconds']} s",
        draw=lambda begun: draw(arms.summarise(folder, begun, summary_line), folder),
    )
    summary = arms.summarise(folder, all_arms, summary_line)
    arms.publish(folder, table(summary), summary=summary)
    draw(summary, folder)


def summary_line(variant: list[Arm], rows: list[Row]) -> Row:
    """How many of a variant's runs, one for each seed, gave each kind of answer; ``seconds`` are of one discovery."""
    return {
        "family": variant[0].family,
        "truth": rows[0]["truth"],
        "noise": variant[0].noise,
        "tasks": variant[0].tasks,
        "runs": len(rows),
        "exact": sum(bool(row["exact"]) for row in rows),
        "wrong": sum(row["wrong"] for row in rows),
        "none": sum(row["verdict"] == "none" for row in rows),
        "cannot_tell": sum(row["verdict"] == "cannot tell" for row in rows),
        "other_names": sorted({row["name"] for row in rows if row["wrong"]}),
        "rule_exact": sum(bool(row["rule_exact"]) for row in rows),
        "rule_wrong": sum(row["rule_wrong"] for row in rows),
        "seconds_median": median(row["seconds"] for row in rows),
        "seconds_max": max(row["seconds"] for row in rows),
    }


def table(summary: list[Row]) -> str:
    """The summary as a Markdown table, a row for each family, level of noise and number of tasks."""
    header = ["family", "is", "noise", "tasks", "exact", "wrong", "none", "cannot tell", "rule: exact", "rule: wrong"]
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
    return format_table([*header, "seconds (most)"], lines)


def draw(summary: list[Row], folder: RunFolder) -> None:
    """Write the phase diagram ``phases.png``: the shares of answers over all families that have a group.

    Its panels, each by noise and number of tasks, are the exact name, "cannot tell" and a wrong name. Where no family
    has a group there is no figure.
    """
    lines = [line for line in summary if line["truth"]]
    if not lines:
        return
    noises = sorted({line["noise"] for line in lines})
    sizes = sorted({line["tasks"] for line in lines})
    panels = {}
    for key, title in (("exact", "exact name"), ("cannot_tell", "cannot tell"), ("wrong", "wrong name")):
        panels[title] = [[_share(lines, key, noise, tasks) for noise in noises] for tasks in sizes]
    figure = figures.rates(
        panels,
        columns=[f"{noise:g}" for noise in noises],
        rows=[str(tasks) for tasks in sizes],
        xlabel="noise on y, in units of its size",
        ylabel="tasks",
    )
    folder.draw("phases.png", figure, dpi=110)


def _share(lines: list[Row], key: str, noise: float, tasks: int) -> float:
    """The count ``key`` as a share of the runs, over all lines of the summary with this noise and number of tasks."""
    cell = [line for line in lines if line["noise"] == noise and line["tasks"] == tasks]
    return sum(line[key] for line in cell) / max(1, sum(line["runs"] for line in cell))


if __name__ == "__main__":
    sys.exit(main(Config, run))
