"""Few-shot characters with augmented queries: MAML against MSR on a four-layer convolutional network (Table 3).

Support images are plain; query images are cropped, flipped and turned, in training and in testing. MAML has to adapt to
that in each task again; MSR can learn it in the Kronecker factors of its convolutions, which all tasks share.

Source: arXiv:2007.02933, section 6 and appendix D.3.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from msr.episodes import Episodes
from msr.errors import DataError
from msr.layers import reparameterize
from msr.meta import SGD, Learner, OuterLoop, from_module
from msr.report import figures, format_table
from msr.runs import arms
from msr.runs.command import main
from msr.runs.config import DataFlags, DeviceFlags, EngineFlags, SeedFlags, TrainingFlags
from msr.runs.flags import EXAMPLES, INNER_STEPS, RATE, STEPS, TASKS, chosen, option
from msr.runs.folder import Row, RunFolder
from msr.runs.judging import judged, over_rows, over_seeds
from msr.runs.training import batches_of, train, trained_params, trained_row, with_adam
from msr.statistics.estimate import Estimate
from msr.tasks import generator_for
from tasks.images import ImageSet, ImageTasks, digits, download_omniglot, read_omniglot
from tasks.networks import conv4, convolutions_of_conv4

MODELS = ("maml", "msr")
SMALL = ("images_background_small1.zip", "images_background_small2.zip")
FULL = ("images_background.zip", "images_evaluation.zip")
MEASURED = 40
"""Held-out tasks that the curves are measured on."""
TEST_BATCH = 20
"""Held-out tasks whose images are in memory at a time."""


@dataclass(frozen=True)
class Config(EngineFlags, DataFlags, TrainingFlags, DeviceFlags, SeedFlags):
    """Few-shot image classification with augmented query sets. --data is a folder with Omniglot's zip files.

    Without --data or --download, scikit-learn's digits stand in: enough to see it run, too few classes for a result.
    """

    models: str = option("maml,msr", "comma list")
    ways: int = option(5, "classes a task", **EXAMPLES)
    shots: int = option(1, "support images a class", **EXAMPLES)
    queries: int = option(5, "query images a class in training", **EXAMPLES)
    test_queries: int = option(15, "query images a class in testing", **EXAMPLES)
    outer_steps: int = option(1000, "outer steps", **STEPS)
    batch: int = option(8, "tasks an outer step (the paper: 32)", **TASKS)
    inner_steps: int = option(1, "gradient steps in training", **INNER_STEPS)
    test_inner_steps: int = option(3, "gradient steps in testing", **INNER_STEPS)
    inner_rate: float = option(0.4, "start of the learned inner rates", **RATE)
    outer_rate: float = option(1e-3, "rate of the outer Adam", **RATE)
    test_tasks: int = option(600, "held-out tasks to report on", **TASKS)
    width: int = option(32, "filters a layer", least=1, most=10**5)
    augment: Literal["query", "none"] = option("query", "which images are augmented; the paper's: query")
    download: bool = option(False, "fetch the full Omniglot sets into the user's cache (about 15 MB)")

    def check(self) -> None:
        """Raise ConfigError for a value that cannot work, MissingExtraError without matplotlib or the ``--engine``."""
        super().check()
        chosen(self.models, MODELS, "model")
        figures.require()
        solver_of(self)  # which checks its own values

    def bytes_needed(self) -> dict[str, float]:
        """Bytes of three square layers with gradients and Adam's moments, of a step's images, and of first features."""
        image = 4.0 * 28 * 28
        layers = 4.0 * 4 * 3 * 9 * self.width**2
        together = 1 if self.batching == "loop" else min(self.batch, self.chunk_size or self.batch)
        features = image * together * self.ways * max(self.shots, self.queries) * self.width
        return {
            "--width": layers,
            "--batch, --ways, --shots or --queries": image * self.batch * self.ways * (self.shots + self.queries),
            "--ways, --shots or --test-queries": TEST_BATCH * image * self.ways * (self.shots + self.test_queries),
            "--batch, --chunk-size, --ways, --shots or --width": features,
        }

    def large_step(self) -> Callable[[], object]:
        """One convolution of the network, forward and backward, on at most 64 images and 64 filters of a step."""
        count = min(self.batch * self.ways * (self.shots + self.queries), 64)
        width = min(self.width, 64)
        images = torch.ones(count, width, 28, 28)
        filters = torch.ones(width, width, 3, 3, requires_grad=True)
        return lambda: F.conv2d(images, filters, padding=1).sum().backward()

    def data_files(self) -> list[Path]:
        """The two files of the folder ``--data`` that are read; empty where data are downloaded or stand in."""
        return list(_zips(Path(self.data))) if self.data and not self.download else []


@dataclass(frozen=True)
class Arm(arms.Arm):
    """A model with a seed."""

    model: str
    seed: int

    @property
    def name(self) -> str:
        """The model."""
        return self.model


def run(config: Config) -> None:
    """Train every arm that has no result yet, then write results, a table and figures."""
    if config.quick:
        config = replace(config, outer_steps=4, batch=2, test_tasks=10, test_queries=5)
    name, train_set, test_set = load_images(config)
    models = chosen(config.models, MODELS, "model")
    all_arms = [Arm(model, seed) for seed in config.all_seeds for model in models]
    of_seed = partial(families, config, train_set, test_set)
    for seed in config.all_seeds:
        of_seed(seed)  # every fault of the flags shows before anything is written
    folder = RunFolder("omniglot", config)
    arms.run_arms(folder, all_arms, lambda arm: run_arm(arm, config, of_seed(arm.seed), folder))
    classes = {"train_classes": len(train_set.names), "test_classes": len(test_set.names)}
    groups = {"train_groups": train_set.groups, "test_groups": test_set.groups}
    train_count, test_count = classes.values()
    head = f"data: {name}, {train_count} classes to train on, {test_count} others to test on"
    summary = arms.summarise(folder, all_arms, summary_line)
    text = f"{head}\n{table(folder, all_arms)}"
    arms.publish(folder, text, data=name, **classes, **groups, summary=summary)
    draw(config, folder, all_arms)


def load_images(config: Config) -> tuple[str, ImageSet, ImageSet]:
    """The name of the data, and the training and the test classes, which share no alphabet.

    They are fetched with ``--download``, read from the folder of ``--data``, or else scikit-learn's digits.
    Raises: DataError where they cannot be fetched or read.
    """
    if config.download:
        first, second = download_omniglot()
    elif config.data:
        first, second = _zips(Path(config.data))
    else:
        return "scikit-learn digits (a stand-in)", *digits()
    train_set = read_omniglot(first)
    return (
        f"Omniglot, {first.name} and {second.name}",
        train_set,
        read_omniglot(second).without_groups_of(train_set),
    )


def _zips(folder: Path) -> tuple[Path, Path]:
    """Omniglot's two files in a folder, the full ones if it holds them. Raises: DataError if it holds neither pair."""
    for first, second in (FULL, SMALL):
        if (folder / first).is_file() and (folder / second).is_file():
            return folder / first, folder / second
    raise DataError(f"{folder} holds neither {' and '.join(FULL)} nor {' and '.join(SMALL)}")


def families(config: Config, train_set: ImageSet, test_set: ImageSet, seed: int) -> tuple[ImageTasks, ImageTasks]:
    """The tasks of a seed to train on, and those to test on: they differ in their number of query images alone.

    Both hold both image sets, as the splits ``train`` and ``test``.
    """
    make = partial(
        ImageTasks,
        train_set,
        test_set,
        ways=config.ways,
        shots=config.shots,
        augmented=config.augment == "query",
        seed=seed,
    )
    return make(queries=config.queries), make(queries=config.test_queries)


def run_arm(arm: Arm, config: Config, both: tuple[ImageTasks, ImageTasks], folder: RunFolder) -> Row:
    """The row of one arm: its network is trained, and its right answers on tasks of held-out classes are counted.

    ``both`` are the tasks to train on and to test on, from :func:`families`. Checkpoints and metrics are written to the
    folder.
    """
    family, held_out = both
    loop = outer_loop(arm, config)

    def batches(n: int) -> Iterator[Episodes]:
        """The first ``n`` held-out tasks, a few at a time."""
        for tasks in torch.arange(n).split(TEST_BATCH):
            yield held_out.episodes("test", tasks).to(config.device)

    @torch.no_grad()
    def accuracies(n: int) -> Tensor:
        """The share of right answers after adapting to each of the first ``n`` held-out tasks, ``(n,)``."""
        return torch.cat([loop.learner.losses(loop.params, batch, metric=share_right) for batch in batches(n)])

    few = min(MEASURED, config.test_tasks)
    trained = train(
        loop,
        folder,
        str(arm),
        batches_of(family, config.batch, config.device),
        config.outer_steps,
        measure=lambda: Estimate.of(accuracies(few)).mean,
        best="highest",
    )
    return {
        "inner": "sgd",
        **judged("accuracy", accuracies(config.test_tasks)),
        **trained_row(loop, trained),
    }


def build(arm: Arm, config: Config) -> nn.Module:
    """The arm's network, conv-4; of MSR its convolutions are reparameterised by Kronecker factors.

    Both models start as the same function, because square Kronecker factors start as identities.
    """
    plain = conv4(config.ways, width=config.width, generator=generator_for(arm.seed, "init"))
    return reparameterize(plain, convolutions_of_conv4()).module if arm.model == "msr" else plain


def outer_loop(arm: Arm, config: Config) -> OuterLoop:
    """The arm's network with its inner loop, to be trained by Adam on the cross-entropy of the query images."""
    problem, shared, initial = from_module(build(arm, config).to(config.device), F.cross_entropy)
    learner = Learner(
        problem,
        solver_of(config),
        batching=config.batching,
        chunk_size=config.chunk_size or None,
        engine=config.engine,
    )
    return with_adam(learner, shared, initial, config.outer_rate)


def solver_of(config: Config) -> SGD:
    """Gradient steps with a learned rate for each tensor."""
    return SGD(config.inner_steps, test_steps=config.test_inner_steps, rate=config.inner_rate)


def share_right(scores: Tensor, y: Tensor) -> Tensor:
    """The share of a task's images, from 0 to 1, whose largest score is that of their class.

    Shapes: ``scores (images, classes)``, ``y (images,)`` the class numbers.
    """
    return (scores.argmax(-1) == y).to(scores.dtype).mean()


def draw(config: Config, folder: RunFolder, all_arms: list[Arm]) -> None:
    """Write the figures: ``curve.png``, accuracy while training, and ``factors.png``, the factors that MSR learned.

    The factors are those of the first seed; without that arm, or its checkpoint, their figure is left out.
    """
    label = f"accuracy on {MEASURED} held-out tasks"
    arms.draw_curves(folder, {f"{arm.model}, seed {arm.seed}": arm for arm in all_arms}, label, log=False)
    msr = Arm("msr", config.seed)
    if msr not in all_arms:
        return
    learned = trained_params(folder, str(msr))
    if learned is None:
        return
    panels = {}
    for number, layer in enumerate(convolutions_of_conv4()):
        for factor, axis in (("A", "channels A"), ("C", "kernel C")):
            matrix = learned[0].shared[f"{layer}.sharing.{factor}"]
            panels[f"layer {number}, {axis} − I"] = matrix - torch.eye(len(matrix))
    title = "What MSR learned: factors minus the identity they start from"
    folder.draw("factors.png", figures.matrices(panels, columns=4, title=title))


def summary_line(variant: list[Arm], rows: list[Row]) -> Row:
    """A summary row of one model: estimates over its seeds, which have the ``rows``."""
    return {"model": variant[0].model, **over_seeds(rows, "accuracy")}


def table(folder: RunFolder, all_arms: list[Arm]) -> str:
    """The results as a Markdown table: accuracy with its interval, over held-out tasks of one seed, or over seeds."""
    lines = []
    n_seeds = 1
    for model, variant in arms.by_name(all_arms).items():
        rows = [folder.rows[str(arm)] for arm in variant]
        n_seeds = len(rows)
        accuracy = over_rows(rows, "accuracy", "mean") if n_seeds > 1 else rows[0]["accuracy"]
        seconds = Estimate.of([row["seconds"] for row in rows]).mean
        mean = "none" if accuracy is None else f"{100 * accuracy['mean']:.1f}"
        spread = "" if accuracy is None or accuracy["ci95"] is None else f" ± {100 * accuracy['ci95']:.1f}"
        sizes = [f"{rows[0]['n_adapted']:,}", f"{rows[0]['n_shared']:,}", str(rows[0]["outer_steps"])]
        lines.append([model, mean + spread, *sizes, f"{seconds:.0f}"])
    unit = "seeds" if n_seeds > 1 else "tasks"
    return format_table(["model", f"accuracy % ± 95% over {unit}", "adapted", "shared", "steps", "seconds"], lines)


if __name__ == "__main__":
    sys.exit(main(Config, run))
