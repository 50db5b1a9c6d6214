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
"""The two parts of a family, which never share a task."""


def generator_for(*key: int | str, reuse: torch.Generator | None = None) -> torch.Generator:
    """A generator on the CPU whose stream is a function of the key alone; different keys give unrelated streams.

    The order of the key counts, and a number is another key than its text.
    The key is hashed, because generators that are seeded with neighbouring integers need not be unrelated. A generator
    given as ``reuse`` is seeded anew, in place, and returned instead of a new one: making a new one takes as long as
    drawing a thousand numbers.
    """
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    generator = torch.Generator() if reuse is None else reuse
    return generator.manual_seed(int.from_bytes(digest, "little", signed=True))


def normal_rows(seed: int, split: Split, tasks: Tensor, n: int) -> Tensor:
    """``n`` standard normal numbers for each task, ``(tasks, n)``, in torch's default dtype.

    ``tasks``: indices in the split, ``(tasks,)``. A row depends on seed, split, index, ``n`` and the dtype; up to
    16 numbers at the end of a shorter row differ from those of a longer one.
    """
    numbers = torch.empty(len(tasks), n)
    generator = torch.Generator()
    for row, index in zip(numbers, tasks.tolist(), strict=True):
        row.normal_(generator=generator_for(seed, split, index, reuse=generator))
    return numbers


def check_indices(split: Split, tasks: Tensor, limit: int | None) -> None:
    """Raise ConfigError unless there is at least one index in ``tasks``, and each is from 0 to ``limit − 1``.

    ``limit``: how many tasks the split holds; None for a split without end.
    """
    if len(tasks) == 0:
        raise ConfigError(f"no {split} task was asked for; give at least one index")
    least, most = int(tasks.min()), int(tasks.max())
    if least < 0 or (limit is not None and most >= limit):
        size = "no end of" if limit is None else str(limit)
        raise ConfigError(f"the {split} split holds {size} tasks; index {least if least < 0 else most} was asked for")


def check_drawn_family(family: "TaskFamily", *counts: str) -> None:
    """Raise ConfigError unless the counts and the splits' limits are at least 1, and noise is finite and not negative.

    Args: ``counts`` are names of fields of the family. ``family.noise`` counts as 0 where there is no such field.
    """
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
    """The numbers of a file in torch's default dtype.

    Raises: DataError where the conversion overflows to infinity, or makes all of them zero; ``what`` names the array in
    the message.
    """
    dtype = torch.get_default_dtype()
    converted = values.to(dtype)
    keeps_numbers = converted.isfinite().all() and bool(converted.any()) == bool(values.any())
    if converted.dtype != values.dtype and not keeps_numbers:
        size = float(values.double().abs().max())
        far = "large" if size > 1 else "small"
        raise DataError(f"{what}: {dtype} does not hold numbers as {far} as {size:.1e}; give them in other units")
    return converted


class TaskFamily(ABC):
    """Tasks that share one hidden structure.

    A task is named by its split and its index, and its data are a pure function of both and the family's seed. So a
    run can be repeated and continued, and never holds a data set in memory. The splits ``"train"`` and ``"test"`` never
    share a task.
    """

    seed: int

    @abstractmethod
    def n_tasks(self, split: Split) -> int | None:
        """How many tasks the split holds; None where it has no end."""

    @abstractmethod
    @takes_arrays("tasks")
    def episodes(self, split: Split, tasks: Tensor) -> Episodes:
        """The tasks with these indices ``(n,)``, each with its support and query set."""

    def true_span(self) -> Tensor | None:
        """The sharing pattern ``U (numel(W), k)`` that the tasks were made with; None where it is not known."""
        return None

    def draw(self, split: Split, step: int, n: int) -> Tensor:
        """Indices ``(n,)`` of the tasks of training step number ``step``, counted from 0: the same at every call.

        An endless split gives new tasks at each step, ``step · n`` to ``(step + 1) · n − 1``; from a finite one they
        are drawn with replacement, by seed, split and step. Raises: ConfigError for ``n`` below 1, or an empty split.
        """
        if n < 1:
            raise ConfigError(f"a batch needs at least one task; got {n}")
        limit = self.n_tasks(split)
        if limit is None:
            return torch.arange(step * n, (step + 1) * n)
        if limit == 0:
            raise ConfigError(f"the family has no {split} task to draw from")
        return torch.randint(limit, (n,), generator=generator_for(self.seed, "draw", split, step))
