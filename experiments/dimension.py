"""How many numbers do the tasks share, and which? Found without gradients, on families whose answer is known.

Each family is drawn anew for each seed and each level of noise on ``y`` (in units of the outputs' own size).
``find_span`` is given the examples of the training tasks and nothing else. Its dimension is right or wrong, and the
least principal cosine to the true span says how much of that span it holds.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import torch

from experiments.shared.closed_form import CHUNK, fit_span, parse_k
from msr.errors import ConfigError, DataError
from msr.groups import cyclic, symmetric
from msr.report import figures, format_table
from msr.representations import Representation, grid_rotations, grid_shifts, natural, regular
from msr.runs import arms
from msr.runs.command import main
from msr.runs.config import SeedFlags
from msr.runs.flags import chosen, numbers, option
from msr.runs.folder import Row, RunFolder
from msr.span.angles import span_cosine
from msr.tasks import FiniteGroupTasks, TaskFamily
from tasks import TranslationTasks

LINEAR = {
    "C16": lambda: regular(cyclic(16)),
    "D4 on 4x4": lambda: grid_rotations(4, flips=True),
    "torus 4x4": lambda: grid_shifts((4, 4)),
    "S6": lambda: natural(symmetric(6)),
    "C64": lambda: regular(cyclic(64)),
}
RANKS = {"rank 1": 1, "rank 2": 2, "rank 5": 5}
FAMILIES = (*RANKS, *LINEAR)
QUICK_TASKS = 240
"""Training tasks of a ``--quick`` run."""


@dataclass(frozen=True)
class Config(SeedFlags):
    """Find the dimension of the sharing, family by family, and where noise hides it."""

    families: str = option(",".join(name for name in FAMILIES if name != "C64"), "comma list; also C64")
    noise: str = option("0", "comma list: noise on y, in units of the size of y")
    tasks: int = option(500, "training tasks", least=40, most=10**7)
    examples: int = option(20, "examples a task", least=2, most=10**6)
    k: str = option("auto", "the dimension, if it is to be given")

    def check(self) -> None:
        """Raise ConfigError for a value that cannot work, MissingExtraError without matplotlib."""
        super().check()
        figures.require()
        chosen(self.families, FAMILIES, "family")
        numbers("noise", self.noise)
        if parse_k(self.k) == 0:
            raise ConfigError("--k must be at least 1, or auto; got 0")

    def bytes_needed(self) -> dict[str, float]:
        """Bytes of the inputs and outputs of one chunk of tasks in single precision, at 6 of each.

        Those are the numbers of the smallest family, so no run that fits is refused.
        """
        return {"--examples": 4.0 * 12 * min(CHUNK, self.tasks) * self.examples}


@dataclass(frozen=True)
class Arm(arms.Arm):
    """A family with a level of noise, with a seed."""

    family: str
    noise: float
    seed: int

    @property
    def name(self) -> str:
        """``FAMILY-noiseLEVEL``."""
        return f"{self.family}-noise{self.noise:g}"


def run(config: Config) -> None:
    """Find the span of every arm that has no result yet, then write results, a table and a figure."""
    all_arms = [
        Arm(family, noise, seed)
        for family in chosen(config.families, FAMILIES, "family")
        for noise in numbers("noise", config.noise)
        for seed in config.all_seeds
    ]
    folder = RunFolder("dimension", config)
    arms.run_arms(
        folder,
        all_arms,
        lambda arm: run_arm(arm, config),
        tell=lambda row: f"k = {row['k']} of {row['true_k']}, {row['seconds']} s",
        draw=lambda begun: draw(arms.summarise(folder, begun, summary_line), folder),
    )
    summary = arms.summarise(folder, all_arms, summary_line)
    arms.publish(folder, table(summary), summary=summary)
    draw(summary, folder)


def family_of(name: str, noise: float, seed: int, config: Config) -> TaskFamily:
    """The tasks of the family of this name; ``noise`` is in units of the root mean square of the outputs without it."""
    counts: dict[str, Any] = {
        "shots": 1,
        "queries": config.examples - 1,
        "n_train": config.tasks,
        "n_test": None,
        "seed": seed,
    }
    if name in RANKS:
        make: Callable[..., TaskFamily] = partial(TranslationTasks, rank=RANKS[name], **counts)
    else:
        rep: Representation = LINEAR[name]()
        make = partial(FiniteGroupTasks, rep_in=rep, rep_out=rep, **counts)
    if noise == 0:
        return make()
    # The outputs' size is read off 64 test tasks without noise.
    size = float(make().episodes("test", torch.arange(64)).query_y.square().mean().sqrt())
    return make(noise=noise * size)


def run_arm(arm: Arm, config: Config) -> Row:
    """The row of one arm: a span is found, and compared with the true one.

    Where none is found, ``k``, ``span_cosine``, ``converged`` and ``seconds`` are None, and ``says`` gives the reason.
    """
    family = family_of(arm.family, arm.noise, arm.seed, config)
    truth = family.true_span()
    assert truth is not None
    row: Row = {"true_k": truth.shape[1]}
    n_tasks = min(config.tasks, QUICK_TASKS) if config.quick else config.tasks
    try:
        fit = fit_span(family, parse_k(config.k), n_tasks=n_tasks)
    except DataError as error:
        return row | {"k": None, "span_cosine": None, "converged": None, "seconds": None, "says": str(error)}
    cosine = span_cosine(fit.span.U, truth)
    return row | {"span_cosine": cosine, "converged": fit.span.converged, **fit.summary()}


def summary_line(variant: list[Arm], rows: list[Row]) -> Row:
    """How often the dimension is right over the seeds, how much of the span is then held, and the seconds it took.

    ``right`` and ``gave_up`` count runs, and ``other_k`` are the wrong dimensions that were found. ``span_cosine_min``
    is the least cosine to the true span in the runs with the right dimension. It is None where there is no such run, as
    are the seconds where every run gave up.
    """
    true_k = rows[0]["true_k"]
    answered = [row for row in rows if row["k"] is not None]
    right = [row for row in answered if row["k"] == true_k]
    return {
        "family": variant[0].family,
        "noise": variant[0].noise,
        "true_k": true_k,
        "runs": len(rows),
        "right": len(right),
        "other_k": sorted({row["k"] for row in answered} - {true_k}),
        "gave_up": len(rows) - len(answered),
        "span_cosine_min": min((row["span_cosine"] for row in right), default=None),
        "seconds_median": median([row["seconds"] for row in answered]) if answered else None,
        "seconds_max": max((row["seconds"] for row in answered), default=None),
    }


def table(summary: list[Row]) -> str:
    """The summary as a Markdown table, a row for each family and level of noise."""
    lines = [
        [
            line["family"],
            f"{line['noise']:g}",
            str(line["true_k"]),
            f"{line['right']} of {line['runs']}",
            ", ".join(map(str, line["other_k"])) + (f" ({line['gave_up']} gave up)" if line["gave_up"] else ""),
            "" if line["span_cosine_min"] is None else f"{line['span_cosine_min']:.6f}",
            "" if line["seconds_median"] is None else f"{line['seconds_median']:.2f} ({line['seconds_max']:.2f})",
        ]
        for line in summary
    ]
    headers = ["family", "noise", "k", "right", "otherwise", "span cosine, worst when right", "seconds (most)"]
    return format_table(headers, lines)


def draw(summary: list[Row], folder: RunFolder) -> None:
    """Write the figure ``dimension.png``: the share of runs with the right dimension, against the noise."""
    series: dict[str, tuple[list[float], list[float]]] = {}
    for line in summary:
        noise, rate = series.setdefault(f"{line['family']}, k = {line['true_k']}", ([], []))
        noise.append(line["noise"])
        rate.append(line["right"] / line["runs"])
    figure = figures.curves(
        series, ylabel="share of runs with the right k", log=False, xlabel="noise on y, in units of its size"
    )
    folder.draw("dimension.png", figure)


if __name__ == "__main__":
    sys.exit(main(Config, run))
