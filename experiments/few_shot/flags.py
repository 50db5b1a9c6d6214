"""Flags of the runners on few-shot images."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch
import torch.nn.functional as F

from experiments.few_shot.data import MINI_IMAGENET, Images, files_of, load_images
from experiments.few_shot.methods import InnerLoop, Method
from msr.errors import ConfigError
from msr.meta import Batching
from msr.report import figures
from msr.runs.config import DataFlags, DeviceFlags, EngineFlags, SeedFlags, TrainingFlags
from msr.runs.flags import EXAMPLES, INNER_STEPS, TASKS, option

__all__ = ["TEST_BATCH", "FewShotFlags", "quick"]

TEST_BATCH = 20
"""Held-out tasks whose images are in memory at a time."""
STEPS_WITH_DATA = 1000
STEPS_WITH_STAND_IN = 10
TEST_TASKS_WITH_DATA = 600
TEST_TASKS_WITH_STAND_IN = 20


@dataclass(frozen=True)
class FewShotFlags(EngineFlags, DataFlags, TrainingFlags, DeviceFlags, SeedFlags):
    """Flags of a runner that trains few-shot methods on images."""

    ways: int = option(5, "classes a task", **EXAMPLES)
    shots: int = option(1, "support images a class", **EXAMPLES)
    queries: int = option(5, "query images a class in training", **EXAMPLES)
    test_queries: int = option(15, "query images a class in testing", **EXAMPLES)
    outer_steps: int = option(
        0,
        f"outer steps; 0: no bound but --minutes, or without that {STEPS_WITH_DATA}, and {STEPS_WITH_STAND_IN} with "
        "stand-in data",
        least=0,
        most=10**9,
    )
    minutes: float = option(
        0.0, "minutes that each arm's steps may take; 0: no bound but --outer-steps", least=0, most=1e6
    )
    batch: int = option(8, "tasks an outer step (the paper: 32)", **TASKS)
    inner_steps: int = option(1, "gradient steps in training", **INNER_STEPS)
    test_inner_steps: int = option(3, "gradient steps in testing", **INNER_STEPS)
    inner_rate: float = option(0.0, "start of the learned inner rates; 0: the method's own", least=0, most=3e38)
    outer_rate: float = option(0.0, "rate of the outer Adam; 0: the method's own", least=0, most=3e38)
    test_tasks: int = option(
        0,
        f"held-out tasks to report on; 0: {TEST_TASKS_WITH_DATA}, and {TEST_TASKS_WITH_STAND_IN} with stand-in data",
        least=0,
        most=10**9,
    )
    width: int = option(32, "filters a layer", least=1, most=10**5)
    validate: bool = option(False, "report on classes held out of training, not on the test classes: to choose rates")
    download: bool = option(False, "fetch the full Omniglot sets into the user's cache (about 15 MB)")
    batching: Batching = option(  # noqa: RUF009  # which gives a field
        "loop", "tasks one by one (the faster way on a CPU), or side by side: loop, vmap, auto (times both)"
    )

    def check(self) -> None:
        """Raise ConfigError for a value that cannot work, MissingExtraError without matplotlib or the ``--engine``."""
        super().check()
        figures.require()
        if self.download and self.data:
            raise ConfigError("--download fetches Omniglot, and --data names a folder to read: give one of them")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape of an image as the network gets it, by the kind of data."""
        in_colour = bool(self.data) and (Path(self.data) / MINI_IMAGENET[0]).is_file()
        return (3, 84, 84) if in_colour else (1, 28, 28)

    def bytes_needed(self) -> dict[str, float]:
        """Bytes of three square layers with gradients and Adam's moments, of a step's images, and of first features."""
        channels, height, breadth = self.image_shape
        image = 4.0 * channels * height * breadth
        layers = 4.0 * 4 * 3 * 9 * self.width**2
        together = 1 if self.batching == "loop" else min(self.batch, self.chunk_size or self.batch)
        features = 4.0 * height * breadth * together * self.ways * max(self.shots, self.queries) * self.width
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
        images = torch.ones(count, width, *self.image_shape[1:])
        filters = torch.ones(width, width, 3, 3, requires_grad=True)
        return lambda: F.conv2d(images, filters, padding=1).sum().backward()

    def data_files(self) -> list[Path]:
        """The files that are read, images of MiniImagenet aside; empty where data are downloaded or stand in."""
        return files_of(self.data) if self.data and not self.download else []

    def images(self) -> Images:
        """The images that the flags ask for. Raises: DataError where they cannot be fetched or read."""
        return load_images(self.data, download=self.download, validate=self.validate)

    def inner_loop(self, method: Method) -> InnerLoop:
        """How a method's tasks take gradient steps."""
        return InnerLoop(self.inner_steps, self.test_inner_steps, self.inner_rate or method.inner_rate)

    @property
    def seconds(self) -> float:
        """The most seconds that an arm's steps may take."""
        return 60 * self.minutes if self.minutes else math.inf

    def steps_of(self, images: Images) -> int:
        """The most outer steps that an arm takes."""
        if self.outer_steps:
            return self.outer_steps
        if self.minutes:
            return 10**9
        return STEPS_WITH_STAND_IN if images.stand_in else STEPS_WITH_DATA

    def test_tasks_of(self, images: Images) -> int:
        """How many held-out tasks are reported on."""
        return self.test_tasks or (TEST_TASKS_WITH_STAND_IN if images.stand_in else TEST_TASKS_WITH_DATA)


Config = TypeVar("Config", bound=FewShotFlags)


def quick(config: Config) -> Config:
    """The flags of ``--quick``: a few steps of a small network, to see that everything works; smaller ones stay."""
    return replace(
        config,
        outer_steps=min(config.outer_steps or 4, 4),
        minutes=0.0,
        batch=min(config.batch, 2),
        test_tasks=min(config.test_tasks or 10, 10),
        test_queries=min(config.test_queries, 5),
        width=min(config.width, 8),
    )
