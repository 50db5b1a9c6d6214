"""Few-shot characters with augmented queries: MAML against MSR on a four-layer convolutional network (Table 3).

Support images are as they are, query images are cropped, flipped and turned, in training and in testing. MAML has to
adapt to that anew in each task; MSR can put it into the Kronecker factors of its convolutions, which all tasks share.

Source: arXiv:2007.02933, section 6 and appendix D.3.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from experiments.shared.models import conv4
from msr.episodes import Episodes
from msr.errors import ConfigError, DataError
from msr.meta import SGD, Learner, OuterLoop, from_module
from msr.report import figures, format_table
from msr.runs.command import main
from msr.runs.config import EXAMPLES, INNER_STEPS, RATE, STEPS, TASKS, EngineConfig, chosen, option
from msr.runs.folder import Row, RunFolder
from msr.runs.judging import curve, judged, over_rows
from msr.runs.training import train, trained_params
from msr.statistics.estimate import Estimate
from msr.tasks.base import generator_for
from tasks.images import ImageSet, ImageTasks, digits, download_omniglot, read_omniglot

MODELS = ("maml", "msr")
SMALL = ("images_background_small1.zip", "images_background_small2.zip")
FULL = ("images_background.zip", "images_evaluation.zip")


@dataclass(frozen=True)
class Config(EngineConfig):
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
    augment: str = option("query", "query (the paper's) or none")
    download: bool = option(False, "fetch the full Omniglot sets into the user's cache (about 15 MB)")

    def check(self) -> None:
        """Raise ConfigError for a value that cannot work."""
        super().check()
        chosen(self.models, MODELS, "model")
        if self.augment not in ("query", "none"):
            raise ConfigError(f"--augment must be query or none; got {self.augment!r}")
        figures.require()
        solver_of(self)  # its own checks

    def bytes_needed(self) -> dict[str, float]:
        """Three square layers with their slopes and Adam's moments; the images of a step, and their first features."""
        pixels = 4.0 * 28 * 28
        together = 1 if self.batching == "loop" else min(self.batch, self.chunk_size or self.batch)
        held = 20 * pixels * self.ways * (self.shots + self.test_queries)
        return {
            "--width": 4.0 * 4 * 3 * 9 * self.width**2,
            "--batch, --ways, --shots or --queries": pixels * self.batch * self.ways * (self.shots + self.queries),
            "--ways, --shots or --test-queries": held,
            "--batch, --chunk-size, --ways, --shots or --width": pixels
            * together
            * self.ways
            * max(self.shots, self.queries)
            * self.width,
        }

    def large_step(self) -> Callable[[], object]:
        """One convolution of the network, forward and backward, on at most 64 images and 64 filters of a step."""
        count, width = min(self.batch * self.ways * (self.shots + self.queries), 64), min(self.width, 64)
        images = torch.ones(count, width, 28, 28)
        filters = torch.ones(width, width, 3, 3, requires_grad=True)
        return lambda: F.conv2d(images, filters, padding=1).sum().backward()

    def data_files(self) -> list[Path]:
        """The two files of the folder that are read."""
        return list(_zips(Path(self.data))) if self.data and not self.download else []


def run(config: Config) -> None:
    """Train every arm that has no result yet, then write results, figures and a table."""
    if config.quick:
        config = replace(config, outer_steps=4, batch=2, test_tasks=10, test_queries=5)
    name, train_set, test_set = load_images(config)
    models = chosen(config.models, MODELS, "model")
    arms = [(model, seed) for seed in range(config.seed, config.seed + config.seeds) for model in models]
    for seed in {seed for _, seed in arms}:
        families(config, train_set, test_set, seed)  # every fault of the flags shows before anything is written
    folder = RunFolder("omniglot", config)
    for model, seed in arms:
        if f"{model}-seed{seed}" not in folder.rows:
            row = run_arm(model, seed, config, families(config, train_set, test_set, seed), folder)
            folder.finish_arm(f"{model}-seed{seed}", row)
    counts = {"train_classes": len(train_set.names), "test_classes": len(test_set.names)}
    groups = {"train_groups": train_set.groups, "test_groups": test_set.groups}
    results = folder.finish(data=name, **counts, **groups)
    print(f"data: {name}, {counts['train_classes']} classes to train on, {counts['test_classes']} others to test on")
    print(table(folder, models, [seed for model, seed in arms if model == models[0]]))
    print(f"\nresults: {results}", file=sys.stderr)
    draw(config, folder, arms)


def load_images(config: Config) -> tuple[str, ImageSet, ImageSet]:
    """What the data is called, and the training and the test classes, which share no alphabet."""
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
    """Omniglot's two files, the full ones if they are there."""
    for first, second in (FULL, SMALL):
        if (folder / first).is_file() and (folder / second).is_file():
            return folder / first, folder / second
    raise DataError(f"{folder} holds neither {' and '.join(FULL)} nor {' and '.join(SMALL)}")


def families(config: Config, train_set: ImageSet, test_set: ImageSet, seed: int) -> tuple[ImageTasks, ImageTasks]:
    """The tasks to train on and those to test on, which ask more queries."""
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


def run_arm(model: str, seed: int, config: Config, both: tuple[ImageTasks, ImageTasks], folder: RunFolder) -> Row:
    """Train one network and count its right answers on the held-out classes."""
    family, held_out = both
    loop = outer_loop(model, seed, config)
    learner = loop.learner

    def sample(step: int) -> tuple[Tensor, Episodes]:
        tasks = family.draw("train", step, config.batch)
        return tasks, family.episodes("train", tasks).to(config.device)

    def batches(n: int) -> Iterator[Episodes]:
        for tasks in torch.arange(n).split(20):
            yield held_out.episodes("test", tasks).to(config.device)

    @torch.no_grad()
    def accuracies(n: int) -> Tensor:
        return torch.cat([learner.losses(loop.params, batch, metric=share_right) for batch in batches(n)])

    arm = f"{model}-seed{seed}"
    few = min(40, config.test_tasks)
    trained = train(
        loop,
        folder,
        arm,
        sample,
        config.outer_steps,
        measure=lambda: Estimate.of(accuracies(few)).mean,
        best="highest",
    )
    return {
        "model": model,
        "inner": "sgd",
        "seed": seed,
        **judged("accuracy", accuracies(config.test_tasks)),
        **trained.row(),
        "outer_steps": loop.steps_done,
        "seconds": round(trained.seconds, 3),
        "batching": learner.batching,
        "n_adapted": sum(p.numel() for p in loop.params.initial.values()),
        "n_shared": sum(p.numel() for p in loop.params.shared.values()),
    }


def outer_loop(model: str, seed: int, config: Config) -> OuterLoop:
    """A network and Adam."""
    # One generator key for both arms: they start as the same function.
    network = conv4(
        config.ways, width=config.width, reparameterized=model == "msr", generator=generator_for(seed, "init")
    ).to(config.device)
    problem, shared, initial = from_module(network, F.cross_entropy)
    learner = Learner(
        problem,
        solver_of(config),
        batching=config.batching,  # type: ignore[arg-type]
        chunk_size=config.chunk_size or None,
        engine=config.engine,  # type: ignore[arg-type]
    )
    return OuterLoop(learner, learner.init(shared, initial), partial(torch.optim.Adam, lr=config.outer_rate))


def solver_of(config: Config) -> SGD:
    """Gradient steps with a learned rate for each tensor."""
    return SGD(config.inner_steps, test_steps=config.test_inner_steps, rate=config.inner_rate)


def share_right(scores: Tensor, y: Tensor) -> Tensor:
    """Accuracy of one task, from 0 to 1."""
    return (scores.argmax(-1) == y).to(scores.dtype).mean()


def draw(config: Config, folder: RunFolder, arms: list[tuple[str, int]]) -> None:
    """Accuracy while training, and the factors that MSR learned."""
    series = {}
    for model, seed in arms:
        series[f"{model}, seed {seed}"] = curve(folder.metrics(f"{model}-seed{seed}"))
    folder.draw("curve.png", figures.curves(series, ylabel="accuracy on 40 held-out tasks", log=False))
    if ("msr", config.seed) in arms and (found := trained_params(folder, f"msr-seed{config.seed}")):
        shared = found[0].shared
        panels = {
            f"layer {layer}, {axis} − I": shared[f"{4 * layer}.sharing.{factor}"]
            for layer in range(4)
            for factor, axis in (("A", "channels A"), ("C", "kernel C"))
        }
        panels = {name: matrix - torch.eye(len(matrix)) for name, matrix in panels.items()}
        title = "What MSR learned: factors minus the identity they start from"
        folder.draw("factors.png", figures.matrices(panels, columns=4, title=title))


def table(folder: RunFolder, models: list[str], seeds: list[int]) -> str:
    """The results as text: over the held-out tasks for one seed, over the seeds for several."""
    lines = []
    for model in models:
        rows = [folder.rows[f"{model}-seed{seed}"] for seed in seeds]
        accuracy = over_rows(rows, "accuracy", "mean") if len(rows) > 1 else rows[0]["accuracy"]
        seconds = Estimate.of([row["seconds"] for row in rows]).mean
        shown = "none" if accuracy is None else f"{100 * accuracy['mean']:.1f}"
        spread = "" if accuracy is None or accuracy["ci95"] is None else f" ± {100 * accuracy['ci95']:.1f}"
        counts = [f"{rows[0]['n_adapted']:,}", f"{rows[0]['n_shared']:,}", str(rows[0]["outer_steps"])]
        lines.append([model, shown + spread, *counts, f"{seconds:.0f}"])
    unit = "seeds" if len(seeds) > 1 else "tasks"
    return format_table(["model", f"accuracy % ± 95% over {unit}", "adapted", "shared", "steps", "seconds"], lines)


if __name__ == "__main__":
    sys.exit(main(Config, run))
