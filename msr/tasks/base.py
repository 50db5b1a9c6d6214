"""What a task family is: an endless or finite supply of episodes, each a pure function of (seed, split, index)."""

import hashlib
import math
from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor

from msr.arrays import takes_arrays
from msr.episodes import Episodes
from msr.errors import ConfigError, DataError

__all__ = [
    "Split",
    "TaskFamily",
    "check_drawn_family",
    "check_indices",
    "generator_for",
    "in_default_dtype",
    "normal_rows",
]

Split = Literal["train", "test"]


def generator_for(*key: int | str, reuse: torch.Generator | None = None) -> torch.Generator:
    """A generator whose stream is a function of the key alone; different keys give unrelated streams.

    The key is hashed, since neighbouring integers as seeds would be a poor guarantee of that. ``reuse`` is set to the
    stream and returned instead of a new one: making one costs as much as a thousand random numbers.
    """
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    generator = torch.Generator() if reuse is None else reuse
    return generator.manual_seed(int.from_bytes(digest, "little", signed=True))


def normal_rows(seed: int, split: Split, tasks: Tensor, n: int) -> Tensor:
    """``n`` standard normal numbers for each task, ``(tasks, n)``; a row depends on seed, split and index alone."""
    numbers, generator = torch.empty(len(tasks), n), torch.Generator()
    for row, index in zip(numbers, tasks.tolist(), strict=True):
        row.normal_(generator=generator_for(seed, split, index, reuse=generator))
    return numbers


def check_indices(split: Split, tasks: Tensor, limit: int | None) -> None:
    """Raise ConfigError unless there is an index, and each lies within the split."""
    if len(tasks) == 0:
        raise ConfigError(f"no {split} task was asked for; give at least one index")
    least, most = int(tasks.min()), int(tasks.max())
    if least < 0 or (limit is not None and most >= limit):
        held = "no end of" if limit is None else str(limit)
        raise ConfigError(f"the {split} split holds {held} tasks; index {least if least < 0 else most} was asked for")


def check_drawn_family(family: "TaskFamily", *counts: str) -> None:
    """Raise ConfigError unless these counts and the limits of splits are at least 1, and noise is finite, from 0 on."""
    for name in counts:
        if getattr(family, name) < 1:
            raise ConfigError(f"{name} must be at least 1; got {getattr(family, name)}")
    noise = getattr(family, "noise", 0.0)
    if not noise >= 0:
        raise ConfigError(f"noise must not be negative; got {noise}")
    if math.isinf(noise):
        raise ConfigError(f"noise must be finite; got {noise}")
    splits: tuple[Split, Split] = ("train", "test")
    for split in splits:
        limit = family.n_tasks(split)
        if limit is not None and limit < 1:
            raise ConfigError(f"the family needs at least one {split} task; got {limit}")


def in_default_dtype(values: Tensor, what: str) -> Tensor:
    """Numbers of a file in torch's default dtype. Raises: DataError where that makes infinities or zeros of them."""
    dtype = torch.get_default_dtype()
    new = values.to(dtype)
    if new.dtype != values.dtype and not (new.isfinite().all() and bool(new.any()) == bool(values.any())):
        size = float(values.double().abs().max())
        far = "large" if size > 1 else "small"
        raise DataError(f"{what}: {dtype} does not hold numbers as {far} as {size:.1e}; give them in other units")
    return new


class TaskFamily(ABC):
    """Tasks that share one hidden structure.

    A task is named by its split and its index, and nothing else decides its data, so runs repeat, resume, and never
    hold a data set in memory. The splits ``"train"`` and ``"test"`` never share a task.
    """

    seed: int

    @abstractmethod
    def n_tasks(self, split: Split) -> int | None:
        """How many tasks the split holds; None when there is no end."""

    @abstractmethod
    @takes_arrays("tasks")
    def episodes(self, split: Split, tasks: Tensor) -> Episodes:
        """The tasks with these indices ``(n,)``, support and query."""

    def true_span(self) -> Tensor | None:
        """The sharing pattern that the tasks were made with, ``(numel(W), k)``, where it is known."""
        return None

    def draw(self, split: Split, step: int, n: int) -> Tensor:
        """Indices of the ``n`` tasks of one training step, with replacement from a finite split."""
        if n < 1:
            raise ConfigError(f"a batch needs at least one task; got {n}")
        limit = self.n_tasks(split)
        if limit is None:
            return torch.arange(step * n, (step + 1) * n)
        if limit == 0:
            raise ConfigError(f"the family has no {split} task to draw from")
        return torch.randint(limit, (n,), generator=generator_for(self.seed, "draw", split, step))
