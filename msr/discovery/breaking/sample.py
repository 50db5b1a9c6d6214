"""Centred tasks with the units in which breaking is measured: each output counts alike, inputs by how they vary."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from msr.discovery.data.passes import Derived, chunks, slices_of, sum_of_squares
from msr.discovery.data.tasks import Prepared
from msr.discovery.thresholds import THRESHOLDS

__all__ = ["Sample"]

# Shares that only keep float64 from dividing by zero: of the largest output for an output's scale, and of the mean
# variance of inputs for the diagonal of their covariance.
_LEAST_SCALE = 1e-6
_LEAST_VARIANCE = 1e-12


@dataclass(frozen=True, eq=False)
class Sample:
    """Some tasks, each less its own mean, with the units that breaking is measured in.

    The energy of weights ``W (m, n)`` in a task's outputs is ``‖D⁻¹ W Σ^½‖²``: ``D`` holds the scales of the outputs,
    and ``Σ`` is the covariance of the inputs within tasks, pooled over all tasks.

    Attributes:
        x, y: ``(tasks, examples, n)``, ``(tasks, examples, m)``, zero past ``counts (tasks,)``; ``y`` is divided by
            ``scale (m,)``. For all tasks together that is done on access, so that no second copy of ``y`` is held.
        means: ``(tasks, n)`` and ``(tasks, m)``, what was taken off each task, in the same units.
        scale: ``(m,)``, the standard deviation of each output within tasks, noise included.
        root: ``L (n, n)``, lower triangular, with ``L Lᵀ = Σ``.
    """

    x: Tensor
    y: Tensor | Derived
    counts: Tensor
    means: tuple[Tensor, Tensor]
    scale: Tensor
    root: Tensor

    @classmethod
    def of(cls, data: Prepared) -> "Sample":
        """The sample of all prepared tasks; no output's scale is taken to be below a millionth of the largest."""
        degrees = (data.counts - 1).sum()
        sizes = (sum_of_squares(data.y) / degrees).sqrt()
        scale = sizes.clamp_min(_LEAST_SCALE * float(sizes.max()))
        flat = data.x.flatten(0, 1)
        second = flat.mT @ flat / degrees
        small = _LEAST_VARIANCE * second.diagonal().mean() * torch.eye(len(second), dtype=torch.float64)
        means = (data.means[0], data.means[1] / scale)
        return cls(data.x, Derived(data.y, scale), data.counts, means, scale, torch.linalg.cholesky(second + small))

    def __len__(self) -> int:
        return len(self.x)

    def select(self, tasks: Tensor) -> "Sample":
        """The sample of the tasks at these places, in the same units."""
        means = (self.means[0][tasks], self.means[1][tasks])
        return Sample(self.x[tasks], self.y[tasks], self.counts[tasks], means, self.scale, self.root)

    @property
    def energies(self) -> Tensor:
        """Energy of each task's outputs, ``(tasks,)``: the sum of their variances over ``scale²``, noise included."""
        squares = torch.empty(len(self.y), dtype=torch.float64)
        for part in slices_of(self.y):
            squares[part] = self.y[part].square().sum((1, 2))
        return squares / (self.counts - 1)

    @cached_property
    def solvable(self) -> Tensor:
        """Whether each task's inputs determine its weights, with examples to spare, ``(tasks,)`` booleans.

        A task needs ``1.5 n + 7`` examples, and no direction of its inputs may be nearly missing.
        """
        limits = THRESHOLDS()
        n = self.x.shape[2]
        solvable = self.counts >= limits.least_squares_per_input * n + limits.least_squares_spare
        places = solvable.nonzero()[:, 0]
        for tasks in (places[part] for part in chunks(len(places), 3 * n * n)):
            gram = self.x[tasks].mT @ self.x[tasks]
            sizes = gram.diagonal(dim1=1, dim2=2).clamp_min(1e-300).sqrt()
            # Correlations, not covariances: units of the inputs say nothing of whether they determine the weights.
            least = torch.linalg.eigvalsh(gram / sizes[:, :, None] / sizes[:, None, :])[:, 0]
            solvable[tasks] = least > limits.least_squares_condition
        return solvable
