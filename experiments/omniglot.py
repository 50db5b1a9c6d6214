"""Few-shot images with augmented queries: MAML, its rivals and MSR on a convolutional network (Table 3).

Support images are plain; query images are cropped, flipped and turned, in training and in testing. MAML has to adapt to
that in each task again; MSR can learn it in the Kronecker factors of its convolutions, which all tasks share.

Stated once: characters turned by right angles are not added as classes of their own, since a query image that is
flipped twice would be of such a class. Batch norm looks at all images of a set together (the *transductive* protocol),
but in the rows that are called inductive. Rates are learned for each tensor.

Source: arXiv:2007.02933, section 6 and appendix D.3.
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from experiments.few_shot.data import Images
from experiments.few_shot.flags import FewShotFlags, quick
from experiments.few_shot.methods import METHODS, Method, Network, factors_of
from experiments.few_shot.training import outer_loop, share_right, shares_right
from msr.episodes import Episodes
from msr.errors import ConfigError, DataError
from msr.meta import OuterLoop
from msr.report import figures, format_table
from msr.runs import arms
from msr.runs.command import main
from msr.runs.flags import chosen, option
from msr.runs.folder import Row, RunFolder
from msr.runs.judging import estimate_or_none, judged, over_seeds
from msr.runs.training import batches_of, train, trained_params, trained_row
from msr.statistics.estimate import Estimate
from tasks.images import ImageTasks
from tasks.networks import convolutions_of_conv4
from tasks.omniglot import read_one_shot_runs

MEASURED = 40
"""Held-out tasks that the curves are measured on."""


@dataclass(frozen=True)
class Config(FewShotFlags):
    """Few-shot image classification with augmented query sets. --data is a folder with Omniglot's zip files.

    It may also hold MiniImagenet: images/ and train.csv, val.csv, test.csv. Without --data or --download,
    scikit-learn's digits stand in: enough to see it run, too few classes for a result.
    """

    models: str = option("all", f"comma list of {', '.join(METHODS)}; or all")
    augment: Literal["crop", "square", "none"] = option(
        "crop", "what is done to query images: crop (the paper's: crops, flips, turns to 30 degrees), square, none"
    )
    one_shot_runs: str = option("", "Omniglot's all_runs.zip: report on its 20 runs too; needs --ways 20 --shots 1")

    @property
    def methods(self) -> list[Method]:
        """The methods that are asked for, in the order asked; those of ``all`` in the order of the table."""
        names = chosen(self.models, ("all", *METHODS), "model")
        return list(METHODS.values()) if "all" in names else [METHODS[name] for name in names]

    def check(self) -> None:
        """Raise ConfigError for a value that cannot work, MissingExtraError without matplotlib or the ``--engine``."""
        super().check()
        for method in self.methods:
            if self.engine != "torch" and method.head != "steps":
                raise ConfigError(
                    f"--engine {self.engine} takes gradient steps only, and {method.name} fits its head in closed "
                    "form; leave it out of --models"
                )
        if self.one_shot_runs and (self.ways, self.shots) != (20, 1):
            raise ConfigError(
                "--one-shot-runs are 20-way and 1-shot: they need --ways 20 --shots 1; got "
                f"{self.ways} and {self.shots}"
            )

    def data_files(self) -> list[Path]:
        """The files that are read; empty where data are downloaded or stand in."""
        return super().data_files() + ([Path(self.one_shot_runs)] if self.one_shot_runs else [])


@dataclass(frozen=True)
class Arm(arms.Arm):
    """A method with a seed."""

    model: str
    seed: int

    @property
    def name(self) -> str:
        """The method's name."""
        return self.model


def run(config: Config) -> None:
    """Train every arm that has no result yet, then write results, a table and figures."""
    if config.quick:
        config = quick(config)
    images = config.images()
    runs = published_runs(config, images) if config.one_shot_runs else None
    all_arms = [Arm(method.name, seed) for seed in config.all_seeds for method in config.methods]
    of_seed = partial(families, config, images)
    for seed in config.all_seeds:
        of_seed(seed)  # every fault of the flags shows before anything is written
    folder = RunFolder("omniglot", config)
    arms.run_arms(
        folder,
        all_arms,
        lambda arm: run_arm(arm, config, images, of_seed(arm.seed), runs, folder),
        draw=partial(draw, config, folder),
        measures="accuracy",
    )
    classes = {"train_classes": len(images.train.names), "test_classes": len(images.test.names)}
    groups = {"train_groups": images.train.groups, "test_groups": images.test.groups}
    train_count, test_count = classes.values()
    head = f"data: {images.name}, {train_count} classes to train on, {test_count} others to test on"
    text = f"{head}\n{table(folder, all_arms)}"
    summary = arms.summarise(folder, all_arms, summary_line)
    arms.publish(folder, text, data=images.name, **classes, **groups, summary=summary)
    draw(config, folder, all_arms)


def published_runs(config: Config, images: Images) -> Episodes:
    """The published one-shot runs. Raises: DataError where they are not of the network's classes and images."""
    runs = read_one_shot_runs(Path(config.one_shot_runs))
    classes = runs.support_x.shape[1]
    if classes != config.ways or tuple(runs.support_x.shape[2:]) != images.train.image_shape:
        raise DataError(
            f"{config.one_shot_runs} has runs of {classes} classes with images {tuple(runs.support_x.shape[2:])}, and "
            f"the network is for {config.ways} classes with images {images.train.image_shape}"
        )
    return runs


def families(config: Config, images: Images, seed: int) -> tuple[ImageTasks, ImageTasks]:
    """The tasks of a seed to train on, and those to test on: they differ in their number of query images alone.

    Both hold both image sets, as the splits ``train`` and ``test``.
    """
    make = partial(
        ImageTasks, images.train, images.test, ways=config.ways, shots=config.shots, query=config.augment, seed=seed
    )
    return make(queries=config.queries), make(queries=config.test_queries)


def run_arm(
    arm: Arm,
    config: Config,
    images: Images,
    both: tuple[ImageTasks, ImageTasks],
    runs: Episodes | None,
    folder: RunFolder,
) -> Row:
    """The row of one arm: its network is trained, and its right answers on tasks of held-out classes are counted.

    ``both`` are the tasks to train on and to test on, from :func:`families`; ``runs`` the published one-shot runs.
    Checkpoints and metrics are written to the folder.
    """
    family, held_out = both
    network = Network(config.ways, config.width, images.train.image_shape)
    loop = outer_loop(METHODS[arm.model], network, config, arm.seed)
    accuracies = partial(shares_right, loop, held_out, config.device)
    few = min(MEASURED, config.test_tasks_of(images))
    trained = train(
        loop,
        folder,
        str(arm),
        batches_of(family, config.batch, config.device),
        config.steps_of(images),
        seconds=config.seconds,
        measure=lambda: Estimate.of(accuracies(few)).mean,
        best="highest",
    )
    shares = accuracies(config.test_tasks_of(images))
    asked = config.ways * config.test_queries
    row = {
        "inner": METHODS[arm.model].solver,
        **judged("accuracy", shares),
        **trained_row(loop, trained),
        # Whole numbers of right answers, so that methods can be compared task by task.
        "right": [None if math.isnan(share) else round(share * asked) for share in shares.tolist()],
        "asked": asked,
    }
    if runs is not None:
        row["one_shot_runs"] = estimate_or_none(shares_of_runs(loop, runs, config.device))
    return row


@torch.no_grad()
def shares_of_runs(loop: OuterLoop, runs: Episodes, device: str) -> Tensor:
    """The share of right answers in each of the published one-shot runs, ``(runs,)``."""
    return loop.learner.losses(loop.params, runs.to(device), metric=share_right)


def draw(config: Config, folder: RunFolder, all_arms: list[Arm]) -> None:
    """Write the figures: accuracy while training, against steps and against seconds, and the factors that were learned.

    The factors are those of the first seed of the first method that learns some; without its checkpoint their figure is
    left out.
    """
    label = "accuracy on held-out tasks"
    by_name = {str(arm): arm for arm in all_arms}
    kinds = {str(arm): METHODS[arm.model].title for arm in all_arms}
    arms.draw_curves(folder, by_name, label, log=False, kinds=kinds)
    arms.draw_curves(folder, by_name, label, log=False, kinds=kinds, against="seconds")
    learning = [arm for arm in all_arms if METHODS[arm.model].factors == "learned" and arm.seed == config.seed]
    learned = trained_params(folder, str(learning[0])) if learning else None
    if learned is None:
        return
    factors = factors_of(learned[0].shared)
    panels = {}
    for number, layer in enumerate(convolutions_of_conv4()):
        for factor, axis in (("A", "outputs A"), ("B", "inputs B"), ("C", "kernel C")):
            matrix = factors[f"{layer}.{factor}"]
            panels[f"layer {number}, {axis} − I"] = matrix - torch.eye(*matrix.shape)
    title = f"What {METHODS[learning[0].model].title} learned: factors minus the identity they start from"
    folder.draw("factors.png", figures.matrices(panels, columns=6, title=title))


def summary_line(variant: list[Arm], rows: list[Row]) -> Row:
    """A summary row of one model: estimates over its seeds, which have the ``rows``."""
    return {"model": variant[0].model, **over_seeds(rows, "accuracy")}


def table(folder: RunFolder, all_arms: list[Arm]) -> str:
    """The results as a Markdown table: accuracy, and how far it is from MSR's on the same tasks."""
    lines = []
    by_name = arms.by_name(all_arms)
    rows_of = {name: [folder.rows[str(arm)] for arm in variant] for name, variant in by_name.items()}
    for name, rows in rows_of.items():
        accuracy = [row["accuracy"] for row in rows]
        whole = None if None in accuracy else Estimate.of([part["mean"] for part in accuracy])
        seconds = Estimate.of([row["seconds"] for row in rows]).mean
        steps = Estimate.of([float(row["outer_steps"]) for row in rows]).mean
        cells = [
            METHODS[name].title,
            "none" if whole is None else f"{100 * whole.mean:.1f}",
            "" if whole is None else _half(whole.ci95),
            "" if whole is None else _half(over_tasks(rows)),
            "" if name == "msr" or "msr" not in rows_of else _difference(rows_of["msr"], rows),
            f"{rows[0]['n_adapted']:,}",
            f"{rows[0]['n_shared']:,}",
            f"{steps:.0f}",
            f"{seconds:.0f}",
        ]
        if "one_shot_runs" in rows[0]:
            cells.append(_of_runs([row["one_shot_runs"] for row in rows]))
        lines.append(cells)
    names = ["method", "accuracy %", "± seeds", "± tasks", "below MSR", "adapted", "shared", "steps", "seconds"]
    if lines and len(lines[0]) > len(names):
        names.append("one-shot runs %")
    return f"{format_table(names, lines)}\n{NOTE}"


NOTE = (
    "± is half of a 95% interval: over seeds, and over held-out tasks (or published runs) with the seeds as they are. "
    "Below MSR: the mean difference on the same tasks. Rates are learned for each tensor; no turned characters as "
    "classes; batch norm is transductive but in inductive rows."
)


def over_tasks(rows: Sequence[Row]) -> float:
    """The half width of the 95% interval over held-out tasks, a share, with the seeds as they are; nan for one task."""
    halves = [Estimate.of([right / row["asked"] for right in row["right"]]).ci95 for row in rows]
    return math.hypot(*halves) / len(halves)


def paired(first: Sequence[Row], second: Sequence[Row]) -> tuple[float, float]:
    """How far the first method's accuracy is above the second's on the same tasks, with the half width of a 95%
    interval: over seeds where there are several, else over tasks (nan for one).
    """
    seeds = [
        Estimate.of([(a - b) / one["asked"] for a, b in zip(one["right"], other["right"], strict=True)])
        for one, other in zip(first, second, strict=True)
    ]
    over_seeds = Estimate.of([estimate.mean for estimate in seeds])
    return over_seeds.mean, over_seeds.ci95 if len(seeds) > 1 else seeds[0].ci95


def _difference(first: Sequence[Row], second: Sequence[Row]) -> str:
    """The paired difference with its interval, in per cent; empty where an answer is missing."""
    if any(row["accuracy"] is None for row in (*first, *second)):
        return ""
    mean, half = paired(first, second)
    return f"{100 * mean:+.1f} {_half(half)}".strip()


def _of_runs(estimates: Sequence[Row | None]) -> str:
    """The answers in the published runs, ``41.2 ± 3.0``: the interval is over the runs, with the seeds as they are."""
    known = [estimate for estimate in estimates if estimate is not None]
    if len(known) < len(estimates):
        return "none"
    mean = Estimate.of([estimate["mean"] for estimate in known]).mean
    width = math.hypot(*(estimate["ci95"] for estimate in known)) / len(known)
    return f"{100 * mean:.1f} {_half(width)}"


def _half(width: float) -> str:
    """The half width of an interval in per cent, ``± 1.2``; empty for nan."""
    return "" if math.isnan(width) else f"± {100 * width:.1f}"


if __name__ == "__main__":
    sys.exit(main(Config, run))
