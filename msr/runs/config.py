"""What a runner can be asked: one config class for each group of flags, to be put together by inheritance.

A runner's own config names the groups that mean something for it, ``class Config(TrainingFlags, DeviceFlags,
SeedFlags)``, and adds its own fields, so that a flag exists only where it changes something. Each group checks its own
values in ``check``, and calls the next one's.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, TypeVar

import torch

from msr.errors import ConfigError, kind_and_line
from msr.memory import refuse_if_larger
from msr.meta import SGD, Batching, Engine
from msr.meta.engines import load
from msr.runs.flags import NOISE, TASKS, check_choices, check_ranges, flag_of, option
from msr.runs.watching import events
from msr.threads import MOST, chosen_threads

__all__ = [
    "NOT_COMPARED",
    "BatchingFlags",
    "Config",
    "DataFlags",
    "DeviceFlags",
    "EngineFlags",
    "RunConfig",
    "SeedFlags",
    "TaskFlags",
    "TrainingFlags",
    "threads_for",
]

NOT_COMPARED = (
    "out",
    "resume",
    "force",
    "threads",
    "devices",
    "nodes",
    "checkpoint_seconds",
    "keep_checkpoints",
    "quiet",
    "tensorboard",
)
"""Flags that say where and how a run is kept, shown or computed, and not what it computes: they may differ on resume.
"""


@dataclass(frozen=True)
class RunConfig:
    """Flags that every runner has."""

    out: str = option("", "folder to write; default runs/NAME-TIME")
    resume: bool = option(False, "continue the run in --out")
    force: bool = option(
        False, "with --resume: continue although version, data or format changed; results.json says so"
    )
    threads: int = option(
        0,
        "threads of torch; 0: those of the run continued, else one, or more where that is faster",
        least=0,
        most=MOST,
    )
    quick: bool = option(False, "a few steps of everything, to see that it works; no result")
    quiet: bool = option(False, "show no progress; errors, warnings and the path of the results are shown still")

    def check(self) -> None:
        """Raise ConfigError for a value that cannot work."""
        check_ranges(self)
        check_choices(self)
        if self.resume and not self.out:
            raise ConfigError("--resume needs --out DIR, the folder of the run to continue")
        if self.force and not self.resume:
            raise ConfigError("--force is for --resume: it continues a run although version or data changed")
        _refuse_zero_bytes("out", self.out)

    def check_memory(self) -> None:
        """Raise ConfigError where one of :meth:`bytes_needed` alone is more memory than is free."""
        for flags, needed in self.bytes_needed().items():
            refuse_if_larger(needed, "one array of this run", advice=f"give a smaller {flags}", error=ConfigError)

    def bytes_needed(self) -> dict[str, float]:
        """Bytes of the largest arrays, each under the flags that make it large, in words: ``--tasks or --examples``.

        Empty here; a runner knows its own.
        """
        return {}

    def large_step(self) -> Callable[[], object] | None:
        """Work of the kind that takes most of a step, to measure threads with; None where steps are short."""
        return None

    def data_files(self) -> list[Path]:
        """The files that the run reads; their contents must be the same when it is continued."""
        return []

    def refuse_flags(self, *names: str, because: str) -> None:
        """Raise ConfigError for the first of the named flags that was set to something else than its default.

        Args:
            names: of fields whose flags change nothing beside the other flags of this config.
            because: why, as the message says after the flag: ``--size describes ...``.
        """
        for field in fields(self):
            if field.name in names and getattr(self, field.name) != field.default:
                raise ConfigError(f"{flag_of(field)} {because}")


Config = TypeVar("Config", bound=RunConfig)


@dataclass(frozen=True)
class SeedFlags(RunConfig):
    """Flags of a runner that repeats its arms with several seeds."""

    seed: int = option(0, "first seed", least=-(2**62), most=2**62)
    seeds: int = option(1, "how many seeds, counted from the first", least=1, most=10**4)

    @property
    def all_seeds(self) -> range:
        """The seeds, in order."""
        return range(self.seed, self.seed + self.seeds)


@dataclass(frozen=True)
class DeviceFlags(RunConfig):
    """Flags of a runner that computes on a device."""

    device: str = option("cpu", "cpu, cuda, cuda:1, ...")

    def check(self) -> None:
        """Raise ConfigError also for a device that cannot compute here."""
        super().check()
        try:
            # A device without numbers, such as meta, fails only when a number is read.
            float(torch.zeros(1, device=torch.device(self.device)) + 1)
        except Exception as error:  # each missing backend raises a kind of its own
            raise ConfigError(f"--device {self.device} cannot be used here: {kind_and_line(error)}") from None


@dataclass(frozen=True)
class DataFlags(RunConfig):
    """Flags of a runner that can read its tasks from a file or folder."""

    data: str = option("", "a file or folder to read instead of making data")

    def check(self) -> None:
        """Raise ConfigError also for a name that no file can have."""
        super().check()
        _refuse_zero_bytes("data", self.data)

    def data_files(self) -> list[Path]:
        """The file or folder that ``--data`` names, as a list of one; empty where none is named."""
        return [Path(self.data)] if self.data else []


@dataclass(frozen=True)
class BatchingFlags(RunConfig):
    """Flags of a runner whose learner adapts many tasks in one step."""

    batching: Batching = option(  # noqa: RUF009  # which gives a field
        "auto", "tasks side by side or one by one: auto (times both), vmap, loop"
    )
    chunk_size: int = option(
        0, "most tasks in memory at a time when side by side; 0: all of the batch", least=0, most=10**9
    )


@dataclass(frozen=True)
class TrainingFlags(RunConfig):
    """Flags of a runner that trains: its processes, checkpoints and curves, and what an arm does that diverges."""

    devices: int = option(
        1,
        "processes on a machine that share the tasks of a step; with --device cuda a GPU each",
        least=1,
        most=10**4,
    )
    nodes: int = option(1, "machines, each with so many processes; its command is given on each", least=1, most=10**5)

    checkpoint_seconds: float = option(20.0, "seconds between checkpoints; 0: one after every step", least=0, most=1e6)
    keep_checkpoints: int = option(
        2, "newest checkpoints to keep of each arm; the best is kept besides", least=1, most=100
    )
    on_divergence: Literal["stop", "rollback"] = option(
        "stop", "an arm that diverges: stop it, or rollback (half the rate, three times)"
    )
    tensorboard: bool = option(False, "write events for TensorBoard to tensorboard/ in --out; needs msr[watch]")

    def check(self) -> None:
        """Raise ConfigError for a value that cannot work, MissingExtraError where TensorBoard is not installed."""
        super().check()
        if self.tensorboard:
            events.require()


@dataclass(frozen=True)
class TaskFlags(RunConfig):
    """Flags of a runner that draws batches of tasks from a family made here, and reports on held-out ones."""

    tasks: int = option(8000, "meta-training tasks to draw from", **TASKS)
    test_tasks: int = option(300, "held-out tasks to report on", **TASKS)
    batch: int = option(32, "tasks an outer step", **TASKS)
    noise: float = option(0.0, "standard deviation of noise on y", **NOISE)


@dataclass(frozen=True)
class EngineFlags(BatchingFlags):
    """Flags of a runner whose gradient steps another library may take."""

    engine: Engine = option(  # noqa: RUF009  # which gives a field
        "torch", "library that takes the gradient steps: torch (this package), higher, learn2learn"
    )

    def check(self) -> None:
        """Raise ConfigError for a value that cannot work, MissingExtraError for a library that is not installed."""
        super().check()
        load(self.engine, SGD())
        if self.engine != "torch" and self.batching == "vmap":
            raise ConfigError(f"--engine {self.engine} runs tasks one by one; --batching vmap needs --engine torch")


def threads_for(config: RunConfig) -> int:
    """How many threads torch computes a run with, where ``--threads`` leaves it open.

    One, unless the runner has large steps and :func:`msr.threads.chosen_threads` measures that more make them faster.
    On a CUDA device the threads of the CPU only wait, so one is enough.
    """
    step = config.large_step()
    on_cpu = not isinstance(config, DeviceFlags) or torch.device(config.device).type == "cpu"
    return chosen_threads(step) if step is not None and on_cpu else 1


def _refuse_zero_bytes(name: str, path: str) -> None:
    """Raise ConfigError for a path that no file can have; ``name`` is its flag's, without dashes."""
    if "\0" in path:
        raise ConfigError(f"--{name} holds a zero byte, which no file name can; got {path!r}")
