"""The processes of a run: which of them this is, its share of the tasks, and how they come to the same numbers.

Each process computes the meta-gradient of its own tasks. One sum over all processes then gives every one of them the
losses of all tasks and the gradient of their mean, so that all take the same step and hold the same parameters bit for
bit. Whatever depends on a clock, a disk or a measurement is decided in the first process, and told to the others.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from msr.errors import ConfigError, ProcessError, first_line
from msr.meta import MetaGradient

if TYPE_CHECKING:
    from lightning_fabric.plugins.collectives import TorchCollective

__all__ = ["ALONE", "Done", "Processes", "entered", "here"]

T = TypeVar("T")


class Done(BaseException):
    """This process has done its part of the run, and ends with status 0; the first one goes on."""


def _unknown(error: str) -> str:
    """Why a connection was lost, where nobody watches the other processes."""
    return f"the connection to another process was lost ({error})"


@dataclass(frozen=True)
class Processes:
    """The processes that compute one run together; a value of its own in each of them.

    Attributes:
        rank: the number of this process, from 0.
        world: how many there are.
        backend: the library that connects them, such as ``gloo``; None for a single process.
        reason: what has become of another process, in words, once a connection was lost with this error.
        ending: is called where processes may end one by one, which from then on is no failure.
    """

    rank: int = 0
    world: int = 1
    backend: str | None = None
    reason: Callable[[str], str] = field(default=_unknown, compare=False, repr=False)
    ending: Callable[[], object] = field(default=lambda: None, compare=False, repr=False)

    @property
    def first(self) -> bool:
        """Whether this is the process that writes, measures and shows."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Whether there is no other process."""
        return self.world == 1

    def __str__(self) -> str:
        """``process 1 of 4``, counted from 0."""
        return f"process {self.rank} of {self.world}"

    def bounds(self, n: int) -> tuple[int, int]:
        """Where this process's share of ``n`` tasks begins and ends.

        Shares are neighbours in the order of the tasks, and their sizes differ by one at most.
        """
        return n * self.rank // self.world, n * (self.rank + 1) // self.world

    def share(self, tasks: Tensor) -> Tensor:
        """This process's part of the indices ``(tasks,)``, one at least. Raises: ConfigError for fewer tasks than
        processes.
        """
        if len(tasks) < self.world:
            raise ConfigError(
                f"{len(tasks)} tasks an outer step are fewer than the {self.world} processes; give a larger --batch, "
                "or fewer processes"
            )
        return tasks if self.alone else tasks[slice(*self.bounds(len(tasks)))]

    def joined(self, mine: MetaGradient, n: int, asked: Sequence[bool]) -> tuple[MetaGradient, list[bool]]:
        """The losses ``(n,)`` of all tasks of a step and the gradient of their mean; and what any process has asked.

        It is one sum over all processes, of as many numbers as there are parameters, tasks and questions.

        Args:
            mine: losses of this process's share, and the gradient of their mean. The gradient's tensors are written to.
            n: the number of tasks of all processes.
            asked: answers of this process to questions that are the same everywhere; the result says for each whether
                any process answers yes.
        """
        if self.alone:
            return mine, list(asked)
        start, end = self.bounds(n)
        slopes = mine.gradient.leaves()
        losses = mine.losses.new_zeros(n)
        losses[start:end] = mine.losses
        answers = mine.losses.new_tensor([float(answer) for answer in asked])
        flat = torch.cat([*(slope.reshape(-1) for slope in slopes), losses, answers])
        sizes = [slope.numel() for slope in slopes]
        # The mean over all tasks is the mean of the shares' means, each with its number of tasks as weight.
        flat[: sum(sizes)] *= (end - start) / n
        with self._connected() as collective:
            collective.all_reduce(flat, op="sum")
        *parts, losses, answers = flat.split([*sizes, n, len(asked)])
        # Into the tensors that are there, whose layout in memory may be another than that of the flat one.
        shaped = [part.view(slope.shape) for part, slope in zip(parts, slopes, strict=True)]
        torch._foreach_copy_(slopes, shaped)
        return MetaGradient(losses.to(mine.losses.dtype), mine.gradient), [bool(answer) for answer in answers.tolist()]

    def told(self, make: Callable[[], T]) -> T:
        """What ``make`` gives in the first process, which alone calls it; the others wait, and are told."""
        if self.alone:
            return make()
        value = [make() if self.first else None]
        with self._connected() as collective:
            collective.broadcast_object_list(value, src=0)
        return value[0]  # type: ignore[return-value]  # of the type that the first process gave

    def gathered(self, value: T) -> list[T]:
        """The values of all processes, in the order of their ranks."""
        if self.alone:
            return [value]
        values: list[Any] = [None] * self.world
        with self._connected() as collective:
            collective.all_gather_object(values, value)
        return values

    def require_equal(self, value: object, what: str) -> None:
        """Raise ProcessError in each process where a process has another value than the first; ``what`` is it called.

        The message names the processes.
        """
        values = self.gathered(value)
        others = [rank for rank, other in enumerate(values) if other != values[0]]
        if others:
            raise ProcessError(
                f"process {', '.join(map(str, others))} of {self.world} has another {what} than process 0; start all "
                "with the same flags, data and versions"
            )

    @contextlib.contextmanager
    def _connected(self) -> "Iterator[TorchCollective]":
        """Fabric's collective operations. Raises: ProcessError, which says what happened, where one fails."""
        from lightning_fabric.plugins.collectives import TorchCollective

        try:
            yield TorchCollective()
        except RuntimeError as error:
            raise ProcessError(self.reason(first_line(error)[:160])) from error


ALONE = Processes()
"""A single process."""

_entered = [ALONE]


def here() -> Processes:
    """The processes of the run that this process computes now; :data:`ALONE` where it was not started as one of
    several.
    """
    return _entered[-1]


@contextlib.contextmanager
def entered(processes: Processes) -> Iterator[None]:
    """Within the block, :func:`here` gives these processes."""
    _entered.append(processes)
    try:
        yield
    finally:
        _entered.pop()
