"""A runner that trains in milliseconds: what all runners share, without their problems."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from msr.runs import arms
from msr.runs.command import main
from msr.runs.config import SeedFlags, TrainingFlags
from msr.runs.folder import RunFolder
from msr.runs.training import train, trained_row
from tests.msr.meta.checkpoints.test_checkpoints import batch, make_loop

__all__ = ["STEPS", "Arm", "Config", "draw_curve", "start"]

STEPS = 6


@dataclass(frozen=True)
class Config(TrainingFlags, SeedFlags):
    """A runner whose arms differ in their seed alone."""


@dataclass(frozen=True)
class Arm(arms.Arm):
    """A seed."""

    seed: int

    @property
    def name(self) -> str:
        """The same for all."""
        return "arm"


def draw_curve(folder: RunFolder, begun: list[Arm]) -> None:
    """Write ``curve.png``."""
    arms.draw_curves(folder, {str(arm): arm for arm in begun}, "a value", log=False)


def start(
    *flags: str,
    step: Callable[[str, int], object] = lambda arm, step: None,
    draw: Callable[[RunFolder, list[Arm]], object] = draw_curve,
    steps: int = STEPS,
) -> int:
    """Run it with these flags, as its command line would; the exit status.

    ``step`` is called with the arm and the number of steps done, before each step, and ``draw`` when figures are
    refreshed.
    """

    def compute(folder: RunFolder, arm: Arm) -> dict:
        loop = make_loop(arm.seed)

        def sample(done: int):
            step(str(arm), done)
            return torch.arange(3) + 10 * done, batch(done)

        trained = train(loop, folder, str(arm), sample, steps, measure=lambda: 1.0 + loop.steps_done)
        return trained_row(loop, trained)

    def run(config: Config) -> None:
        folder = RunFolder("tiny", config)
        every = [Arm(seed) for seed in config.all_seeds]
        arms.run_arms(folder, every, partial(compute, folder), draw=partial(draw, folder), measures="share right")
        arms.publish(folder, "the table")

    return main(Config, run, list(flags))
