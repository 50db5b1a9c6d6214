"""The base of families of linear maps: how the numbers of a task are drawn, and its examples made of them."""

from abc import abstractmethod
from dataclasses import dataclass
from math import prod

from torch import Tensor

from msr.arrays import takes_arrays
from msr.episodes import Episodes
from msr.tasks.base import Split, TaskFamily, check_drawn_family, check_indices, normal_rows

__all__ = ["LinearTasks"]


@dataclass(frozen=True, kw_only=True)
class LinearTasks(TaskFamily):
    """``y = W x + noise`` with ``x ~ N(0, 1)`` and ``W`` made from a few numbers ``~ N(0, 1)`` of each task.

    Args: ``noise`` is the standard deviation of noise on ``y``, whose expected mean square without noise is 1.
    ``shots`` and ``queries`` are the numbers of support and of query examples of each task; ``n_train`` and ``n_test``
    are the numbers of tasks in the splits (None: no end).
    Raises: ConfigError for a number of examples or tasks below 1, or noise that is negative or infinite.
    """

    noise: float = 0.0
    shots: int = 4
    queries: int = 16
    n_train: int | None = 8000
    n_test: int | None = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        check_drawn_family(self, "shots", "queries")

    @property
    @abstractmethod
    def shape_in(self) -> tuple[int, ...]:
        """The shape of one input."""

    @property
    @abstractmethod
    def shape_out(self) -> tuple[int, ...]:
        """The shape of one output."""

    @property
    @abstractmethod
    def n_free(self) -> int:
        """How many standard normal numbers decide the map of a task."""

    @abstractmethod
    @takes_arrays("free")
    def weights_from(self, free: Tensor) -> tuple[Tensor, ...]:
        """The matrices of each layer, ``(tasks, out, in)``, from the tasks' free numbers ``(tasks, n_free)``."""

    @takes_arrays("x")
    def respond(self, weights: tuple[Tensor, ...], x: Tensor) -> Tensor:
        """Noise-free outputs, flattened: ``x (tasks, examples, in) -> (tasks, examples, out)``; here ``W x`` of the
        first matrix.

        ``weights``: what :meth:`weights_from` gives, one matrix for each layer.
        """
        return x @ weights[0].mT

    def n_tasks(self, split: Split) -> int | None:
        """How many tasks the split holds, ``n_train`` or ``n_test``; None where it has no end."""
        return self.n_train if split == "train" else self.n_test

    def weights(self, split: Split, tasks: Tensor) -> tuple[Tensor, ...]:
        """The true matrices of the tasks with these indices, ``(tasks, out, in)`` for each layer."""
        return self.weights_from(self._draw(split, tasks)[0])

    @takes_arrays("tasks")
    def episodes(self, split: Split, tasks: Tensor) -> Episodes:
        """The tasks with these indices, with ``shots`` support and ``queries`` query examples each.

        Shapes: ``x (tasks, examples, *shape_in)``, ``y (tasks, examples, *shape_out)``.
        """
        free, x, noise = self._draw(split, tasks)
        y = self.respond(self.weights_from(free), x)
        if self.noise:
            y = y + self.noise * noise
        return Episodes.split(x.unflatten(2, self.shape_in), y.unflatten(2, self.shape_out), self.shots)

    def _draw(self, split: Split, tasks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The standard normal numbers of the tasks: free ones, inputs, and noise, ``(tasks, 0)`` where there is none.

        Shapes: ``(tasks, n_free)``, ``(tasks, examples, in)``, ``(tasks, examples, out)``; support examples come first.
        The noise is drawn last, so a family with noise has the maps and inputs of the one without, but for up to the
        last 16 numbers of a task, which torch draws in another way at the end of a row.
        """
        check_indices(split, tasks, self.n_tasks(split))
        examples = self.shots + self.queries
        n_noise = examples * prod(self.shape_out) if self.noise else 0
        sizes = [self.n_free, examples * prod(self.shape_in), n_noise]
        numbers = normal_rows(self.seed, split, tasks, sum(sizes))
        free, x, noise = numbers.split(sizes, dim=1)
        return free, x.unflatten(1, (examples, -1)), noise.unflatten(1, (examples, -1)) if self.noise else noise
