"""One-dimensional locally connected tasks: translation symmetry, exact at rank 1 and partial above it.

Each task maps a signal to a signal by a small filter at every position. A task of rank ``r`` has ``r`` filters ``B``,
mixed as ``F = S B`` with weights ``S`` that depend on the position and that all tasks share. ``S`` is the hidden
connectivity; with rank 1 it is constant and the map is a convolution.

Source: the synthetic 1-D problems of arXiv:2007.02933 (kernel 3, length 70, rank 1, 2 or 5, 20 examples), after the
low-rank local connectivity of Elsayed et al., 2020.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from msr.arrays import takes_arrays
from msr.episodes import Episodes
from msr.errors import ConfigError
from msr.tasks.base import Split, TaskFamily, check_drawn_family, check_indices, generator_for, normal_rows
from msr.tasks.locally_connected import span_of_filters

__all__ = ["Boundary", "TranslationTasks"]

Boundary = Literal["valid", "circular"]
"""What a window does at the end of a signal: stop there, or continue at its start."""


@dataclass(frozen=True)
class TranslationTasks(TaskFamily):
    """``y[i] = Σ_t F[i, t] x[i + t] + noise``, with ``F = S B`` of the given rank.

    ``connectivity`` is ``S (out_length, rank)``, and each task has a ``B (rank, kernel)`` of its own.

    ``x ~ N(0, 1)``, ``B ~ N(0, 1)`` for each task, ``S`` a row-wise softmax of N(0, 1) drawn once from the seed (all
    ones at rank 1). With ``boundary="circular"`` positions wrap around and the output is as long as the input; with
    ``"valid"`` (the paper's) it is ``kernel − 1`` shorter, and no shift maps the problem onto itself exactly.

    Shapes: ``x (tasks, examples, 1, length)``, ``y (tasks, examples, 1, out_length)``.
    Args: ``n_train`` limits the training tasks (None: no end); ``shots`` and ``queries`` are examples for each task;
    ``noise`` is the standard deviation of noise on ``y``, in units of ``y``.
    """

    rank: int = 1
    kernel: int = 3
    length: int = 70
    boundary: Boundary = "valid"
    noise: float = 0.0
    shots: int = 1
    queries: int = 19
    n_train: int | None = 8000
    n_test: int | None = 2000
    seed: int = 0
    connectivity: Tensor = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.boundary not in ("valid", "circular"):
            raise ConfigError(f"boundary must be valid or circular; got {self.boundary!r}")
        check_drawn_family(self, "rank", "kernel", "shots", "queries")
        if self.length < self.kernel:
            raise ConfigError(f"length must be at least the kernel's {self.kernel}; got {self.length}")
        if self.rank == 1:
            mixing = torch.ones(self.out_length, 1)
        else:
            logits = torch.randn(self.out_length, self.rank, generator=generator_for(self.seed, "connectivity"))
            mixing = logits.softmax(dim=1)
        object.__setattr__(self, "connectivity", mixing)

    @property
    def out_length(self) -> int:
        """The number of positions of the output."""
        return self.length if self.boundary == "circular" else self.length - self.kernel + 1

    @property
    def weight_shape(self) -> tuple[int, int]:
        """The shape of a task's dense matrix, ``(out_length, length)``."""
        return (self.out_length, self.length)

    def n_tasks(self, split: Split) -> int | None:
        """How many tasks the split has; None where it has no end."""
        return self.n_train if split == "train" else self.n_test

    @takes_arrays("tasks")
    def filters(self, split: Split, tasks: Tensor) -> Tensor:
        """The true filter of each task at each position, ``(tasks, out_length, kernel)``."""
        return self._draw(split, tasks)[0]

    @takes_arrays("tasks")
    def episodes(self, split: Split, tasks: Tensor) -> Episodes:
        """The tasks with these indices: ``x (tasks, examples, 1, length)``, ``y (tasks, examples, 1, out_length)``."""
        filters, x, noise = self._draw(split, tasks)
        wraps = self.boundary == "circular"
        wide = torch.cat([x, x[..., : self.kernel - 1]], dim=-1) if wraps else x
        y = torch.zeros(*x.shape[:2], self.out_length)
        # A sum over taps is several times faster on a CPU than one contraction over all windows, and twice as fast
        # again where the numbers of a tap lie side by side.
        taps = filters.permute(2, 0, 1).contiguous().unsqueeze(2)
        for tap in range(self.kernel):
            y.addcmul_(taps[tap], wide[..., tap : tap + self.out_length])
        if self.noise:
            y = y + self.noise * noise
        return Episodes.split(x.unsqueeze(2), y.unsqueeze(2), self.shots)

    def true_span(self) -> Tensor:
        """The true ``U`` of the family, ``(out_length · length, rank · kernel)``, with orthonormal columns.

        Its rows are in the order of a flattened weight.
        """
        units = torch.einsum("ir,kc->rkic", self.connectivity, torch.eye(self.kernel))
        return span_of_filters(units.flatten(0, 1), self.length)

    def _draw(self, split: Split, tasks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Filters, inputs and noise of the tasks with these indices.

        Shapes: filters ``(tasks, out_length, kernel)``, inputs ``(tasks, examples, length)``, noise of unit variance
        ``(tasks, examples, out_length)``, or ``(tasks, 0)`` for a family without noise.
        The noise is drawn last, so a family with noise has the filters and inputs of the one without, but for up to the
        last 16 numbers of a task, which torch draws in another way at the end of a row.
        """
        check_indices(split, tasks, self.n_tasks(split))
        n_filter = self.rank * self.kernel
        examples = self.shots + self.queries
        n_x = examples * self.length
        n_noise = examples * self.out_length if self.noise else 0
        numbers = normal_rows(self.seed, split, tasks, n_filter + n_x + n_noise)
        drawn, x, noise = numbers.split([n_filter, n_x, n_noise], dim=1)
        filters = self.connectivity @ drawn.unflatten(1, (self.rank, self.kernel))
        return (
            filters,
            x.unflatten(1, (examples, -1)),
            noise.unflatten(1, (examples, -1)) if n_noise else noise,
        )
