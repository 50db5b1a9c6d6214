"""Centred tasks with the units of their outputs, and the interface of estimates of how far tasks break a group."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from msr.discovery.data.forms import Derived, chunks, some_of, sum_of_squares
from msr.discovery.data.tasks import Prepared
from msr.permutations import Indices
from msr.span import SharedSpan

__all__ = ["TASKS", "Average", "Broken", "Sample", "away"]

Average = Callable[[Tensor, Indices], Tensor]
"""``(U (m n, c), orbits) -> Ū``, each row replaced by the mean over its orbit."""

TASKS = 1000
"""Tasks that are held at once in a pass that gives a number for each task."""

# Inputs are solved for where the least eigenvalue of a task's correlations is this large.
_CONDITION = 1e-6
# Examples for each input, and more, so that least squares can tell noise by what they leave, were it not quite alike.
_EACH, _MORE = 1.5, 7


@dataclass(frozen=True, eq=False)
class Sample:
    """Some tasks, each about its own mean, with what they are measured in.

    Attributes:
        x, y: ``(tasks, examples, n)``, ``(tasks, examples, m)``, zero past ``counts (tasks,)``; ``y`` is divided by
            ``scale (m,)``, so that each output counts alike; of all tasks that is done where they are looked at.
        means: of each task, which were taken off, ``(tasks, n)`` and ``(tasks, m)``.
        root: ``L (n, n)`` with ``L Lᵀ = Σ``, how the inputs of all tasks vary within a task.
    """

    x: Tensor
    y: Tensor | Derived
    counts: Tensor
    means: tuple[Tensor, Tensor]
    scale: Tensor
    root: Tensor

    @classmethod
    def of(cls, data: Prepared) -> "Sample":
        """All tasks; ``scale`` is how much each output varies within tasks, none below a millionth of the largest."""
        degrees = (data.counts - 1).sum()
        sizes = (sum_of_squares(data.y) / degrees).sqrt()
        scale = sizes.clamp_min(1e-6 * float(sizes.max()))
        flat = data.x.flatten(0, 1)
        second = flat.mT @ flat / degrees
        small = 1e-12 * second.diagonal().mean() * torch.eye(len(second), dtype=torch.float64)
        means = (data.means[0], data.means[1] / scale)
        return cls(data.x, Derived(data.y, scale), data.counts, means, scale, torch.linalg.cholesky(second + small))

    def __len__(self) -> int:
        return len(self.x)

    def select(self, tasks: Tensor) -> "Sample":
        """Some of them."""
        means = (self.means[0][tasks], self.means[1][tasks])
        return Sample(self.x[tasks], self.y[tasks], self.counts[tasks], means, self.scale, self.root)

    @property
    def energies(self) -> Tensor:
        """Of each task's outputs, ``(tasks,)``: the sum over outputs of how they vary, noise included."""
        found = torch.empty(len(self.y), dtype=torch.float64)
        for part in some_of(self.y):
            found[part] = self.y[part].square().sum((1, 2))
        return found / (self.counts - 1)

    @cached_property
    def solvable(self) -> Tensor:
        """Which tasks' inputs determine their weights, with examples to spare, ``(tasks,)``."""
        n = self.x.shape[2]
        found = self.counts >= _EACH * n + _MORE
        some = found.nonzero()[:, 0]
        for tasks in (some[part] for part in chunks(len(some), 3 * n * n)):
            gram = self.x[tasks].mT @ self.x[tasks]
            sizes = gram.diagonal(dim1=1, dim2=2).clamp_min(1e-300).sqrt()
            least = torch.linalg.eigvalsh(gram / sizes[:, :, None] / sizes[:, None, :])[:, 0]
            found[tasks] = least > _CONDITION
        return found


class Broken(Protocol):
    """Estimates of ``‖D⁻¹ (W − P W) Σ^½‖²`` of each task, ``P`` the mean over a group's orbits.

    ``directions (m n, r)``, orthonormal, of ``D⁻¹ W Σ^½``: of what lies along them alone, in a second estimate, which
    has less noise. Both are unbiased. What can be estimated for no task is infinite.
    """

    method: str
    symmetric: bool

    def __call__(
        self, orbits: Indices, span: SharedSpan | None, directions: Tensor, tasks: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Of these tasks, by their places; ``span`` was learned on others."""

    def noise(self, span: SharedSpan, tasks: Tensor) -> Tensor:
        """What noise adds to :attr:`Sample.energies` of these tasks."""


def away(sample: Sample, W: Tensor, orbits: Indices, average: Average) -> Tensor:
    """``D⁻¹ (W − P W) Σ^½`` of weights ``(..., m, n)`` for outputs in units of their scale; ``(..., m n)``."""
    full = sample.scale[:, None] * W
    mean = average(full.flatten(-2).flatten(0, -2).mT, orbits).mT.view(W.shape)
    return ((W - mean / sample.scale[:, None]) @ sample.root).flatten(-2)
