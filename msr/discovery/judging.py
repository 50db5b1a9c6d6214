"""What keeping to a group costs on tasks that had no part in choosing it."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from msr.groups.permutations import Indices, orbit_labels

__all__ = ["Costs", "Judge", "averaged", "output_sizes", "pair_orbits_of", "ridge"]

_CHUNK_NUMBERS = 2**24


def pair_orbits_of(generators_in: Indices, generators_out: Indices) -> Indices:
    """Orbits of the group on weights, ``(out · in,)``: generators send weight ``(i, j)`` to ``(q(i), p(j))``."""
    r, n = generators_in.shape
    m = generators_out.shape[1]
    if r == 0:
        return np.arange(m * n)
    moves = (generators_out[:, :, None] * n + generators_in[:, None, :]).reshape(r, m * n)
    return orbit_labels(moves)


def averaged(U: Tensor, orbits: Indices) -> Tensor:
    """Each row of ``U (out · in, k)`` replaced by the mean over its orbit: the nearest span of invariant weights."""
    index = torch.as_tensor(orbits)
    count = torch.bincount(index).to(U.dtype)
    sums = torch.zeros(len(count), U.shape[1], dtype=U.dtype).index_add_(0, index, U)
    return (sums / count[:, None])[index]


@dataclass(frozen=True, eq=False)
class Costs:
    """Of each task, in units of the mean energy of the tasks' noise-free outputs."""

    values: Tensor

    @property
    def mean(self) -> float:
        """Over tasks."""
        return float(self.values.mean())

    def bounds(self, alpha: float) -> tuple[float, float]:
        """One-sided bounds on the mean, each at level α (Student's t)."""
        n, spread = len(self.values), self._standard_error
        width = float(stats.t.ppf(1 - alpha, n - 1)) * spread
        return self.mean - width, self.mean + width

    def p_above(self, limit: float) -> float:
        """Of the null that the mean is at most the limit: small where the cost is above it."""
        return self._p(self.mean - limit)

    def p_below(self, limit: float) -> float:
        """Of the null that the mean is at least the limit: small where the cost is below it."""
        return self._p(limit - self.mean)

    @property
    def _standard_error(self) -> float:
        return float(self.values.std()) / math.sqrt(len(self.values))

    def _p(self, gap: float) -> float:
        error = self._standard_error
        if error == 0:
            return 0.0 if gap > 0 else 1.0
        return float(stats.t.sf(gap / error, len(self.values) - 1))


def output_sizes(y: Tensor) -> Tensor:
    """Root mean square of each output about its mean, ``(out,)``; none below a millionth of the largest."""
    sizes = (y - y.mean((0, 1))).double().square().mean((0, 1)).sqrt()
    return sizes.clamp_min(1e-6 * float(sizes.max()))


def ridge(normal: Tensor, right: Tensor, penalty: float) -> Tensor:
    """``(A + penalty I)⁻¹ b`` of each task: ``(tasks, k, k), (tasks, k, 1) -> (tasks, k)``."""
    damped = normal + penalty * torch.eye(normal.shape[1], dtype=torch.float64)
    return torch.cholesky_solve(right, torch.linalg.cholesky(damped)).squeeze(2)


class Judge:
    """Tasks kept from the fit, and how well each span explains them.

        J_i(U) = min_v ‖(y_i − X_i mat(U v)ᵀ) D⁻¹‖² + σ² ‖v − v₀‖²,   cost_i = (J_i(Ū) − J_i(U)) / E

    ``D`` holds the root mean squares of the outputs about their mean, so each counts alike. ``U`` is the free span,
    ``Ū`` its mean over the group, ``E`` the mean over tasks of ``‖y D⁻¹‖²`` about the mean of all, less that of the
    noise. The two spans have the same number of columns, so neither has more room to fit noise, and both were fixed
    beforehand. ``E`` is estimated; where a ``unit`` is given that was fixed beforehand too, costs are at least what
    they are in that unit.

    Args:
        x: ``(tasks, examples, in)``; y: ``(tasks, examples, out)``. The rest as in ``SharedSpan``.
        average: ``(U, orbits) -> Ū``.
        scale: the diagonal of ``D``, ``(out,)``, of other tasks than these; by default 1.
        unit: the ``E`` of other tasks; ``E`` is the smaller of theirs and these tasks' own.
    """

    def __init__(
        self,
        x: Tensor,
        y: Tensor,
        U: Tensor,
        v0: Tensor,
        noise: float,
        average: Callable[[Tensor, Indices], Tensor] = averaged,
        scale: Tensor | None = None,
        unit: float | None = None,
    ):
        self.average = average
        # Each output counts alike: a small one must not be swapped with another because nobody would notice.
        self.scale = torch.ones(y.shape[2], dtype=torch.float64) if scale is None else scale
        y, noise = y.double() / self.scale, noise * float(self.scale.pow(-2).mean())
        self.x, self.y, self.U, self.v0 = x.double(), y, U.double(), v0.double()
        numbers = y[0].numel()
        # What an offset adds says nothing of how far weights may differ.
        self.outputs = float((y - y.mean((0, 1))).square().flatten(1).sum(1).mean())
        own = max(self.outputs - numbers * noise, 1e-12 * self.outputs)
        self.energy = own if unit is None else min(own, unit)
        self.penalty = max(noise, 1e-9 * self.outputs / numbers)
        self.free = self._least(self.U, len(x))

    @property
    def explained(self) -> float:
        """The share of the squared outputs, about their mean, that the free span explains."""
        return 1 - float(self.free.mean()) / self.outputs

    def worse_than(self, other: "Judge") -> tuple[float, float]:
        """How much more the free span leaves of these tasks than of others, and the p-value of no more (Welch's test).

        In units of the others' squared outputs.
        """
        gap = float(self.free.mean() - other.free.mean()) / other.outputs
        test = stats.ttest_ind(self.free.numpy(), other.free.numpy(), equal_var=False, alternative="greater")
        return gap, float(test.pvalue) if math.isfinite(test.pvalue) else 1.0

    def costs(self, orbits: Indices, most: int | None = None) -> Costs:
        """Of keeping to a group with these orbits on weights; on the first tasks only, if ``most`` is given."""
        n = min(len(self.x), most or len(self.x))
        return Costs((self._least(self.average(self.U, orbits), n) - self.free[:n]) / self.energy)

    def _least(self, U: Tensor, n_tasks: int) -> Tensor:
        """``J_i(U)`` of the first tasks."""
        examples, n, m, k = self.x.shape[1], self.x.shape[2], self.y.shape[2], U.shape[1]
        chunk = max(1, _CHUNK_NUMBERS // (examples * m * k))
        by_input = (U.view(m, n, k) / self.scale[:, None, None]).permute(1, 0, 2).reshape(n, m * k)
        found = []
        for start in range(0, n_tasks, chunk):
            x, y = (t[start : min(start + chunk, n_tasks)] for t in (self.x, self.y))
            features = (x.flatten(0, 1) @ by_input).view(len(x), examples * m, k)
            left = (y.flatten(1) - features @ self.v0).unsqueeze(2)
            step = ridge(features.mT @ features, features.mT @ left, self.penalty)
            # As a residual, not as a difference of two large numbers.
            rest = (left - features @ step.unsqueeze(2)).squeeze(2)
            found.append(rest.square().sum(1) + self.penalty * step.square().sum(1))
        return torch.cat(found)
