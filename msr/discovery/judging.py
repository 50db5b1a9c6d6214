"""What keeping to a group costs on tasks that had no part in choosing it."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from msr.groups.permutations import Indices, orbit_labels

__all__ = [
    "Costs",
    "Judge",
    "averaged",
    "block_size",
    "blocks",
    "broken_share",
    "output_sizes",
    "pair_orbits_of",
    "upper_mean",
]

_CHUNK_NUMBERS = 2**24
# Shares of the largest bet, from timid to all; a mixture of bets needs no tuning.
_BETS = torch.linspace(0.05, 0.999, 20, dtype=torch.float64)


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


def block_size(costs: Tensor, limit: float, n_tasks: int, alpha: float) -> int:
    """How many tasks to average into one number, so that noise does not hide a cost below the limit.

    The spread of a block's mean falls to half of the limit, as far as at least so many blocks are left that costs of
    zero reject at level α. To be chosen from other tasks than those that are tested.
    """
    fewest = math.ceil(math.log2(len(_BETS) / alpha)) + 4
    wanted = math.ceil((float(costs.std()) / (limit / 2)) ** 2)
    return max(1, min(wanted, n_tasks // fewest))


def blocks(costs: Tensor, size: int) -> Tensor:
    """Means of so many tasks each; the last tasks join the last block."""
    count = len(costs) // size
    parts = [costs[i * size : (i + 1) * size if i < count - 1 else len(costs)] for i in range(count)]
    return torch.stack([part.mean() for part in parts])


def upper_mean(values: Tensor, limit: float, alpha: float, cap: float = 2.0) -> tuple[float, float]:
    """Test of the null ``E min(c⁺, cap · limit) ≥ limit`` on independent numbers; its p-value and the upper bound.

    Betting: if the null holds, ``K = mean over λ of Π (1 + λ (m − xᵢ))`` has mean at most 1, for ``x`` in [0, 1] with
    mean at least ``m`` and bets ``0 ≤ λ ≤ 1/(1 − m)``; so ``1/K`` is a p-value for any distribution and any number of
    draws. With few draws it is far stronger than a Bernstein bound. The bound is the least mean rejected at level α.
    Source: Waudby-Smith and Ramdas, arXiv:2010.09686.
    """
    top = cap * limit
    x = (values.clamp(0, top) / top).double()

    def p_value(m: float) -> float:
        bets = _BETS / (1 - m)
        gains = torch.log1p(bets[:, None] * (m - x)[None, :]).sum(1)
        return min(1.0, float(torch.exp(math.log(len(bets)) - torch.logsumexp(gains, 0))))

    low, high = 0.0, 1 - 1e-9
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if p_value(middle) <= alpha else (middle, high)
    return max(p_value(1 / cap), 1e-300), high * top


def output_sizes(y: Tensor) -> Tensor:
    """Root mean square of each output about its mean, ``(out,)``; none below a millionth of the largest."""
    sizes = (y - y.mean((0, 1))).double().square().mean((0, 1)).sqrt()
    return sizes.clamp_min(1e-6 * float(sizes.max()))


def broken_share(
    x: Tensor,
    y: Tensor,
    U: Tensor,
    v0: Tensor,
    noise: float,
    average: Callable[[Tensor], Tensor],
    scale: Tensor,
    alpha: float,
) -> tuple[float, float, float]:
    """How much of the tasks' own weights breaks a symmetry, whatever span was learned: the share, and its bounds.

    A third of a task's examples fits a symmetric weight ``S = mat(P U v)``. Each other third gives an estimate of what
    is left, ``A`` and ``B = (Y − X Sᵀ)ᵀ X Σ⁻¹ / N``, with the inputs' second moment ``Σ`` of all tasks. Both are
    unbiased and independent, and ``S`` has no part that ``P``, the mean over the group, would change; so
    ``⟨A − P A, B − P B⟩`` has mean ``‖W − P W‖²``, however noisy each is. The share is its mean over the mean square of
    the outputs without noise. The bounds hold at level α each (Student's t).

    Args:
        average: ``(out · in, columns) -> (out · in, columns)``, ``P``. The rest as in :class:`Judge`.
    """
    x, y = x.double(), y.double()
    (tasks, examples, n), m = x.shape, y.shape[2]
    second = (x.mT @ x).mean(0) / examples
    root = torch.linalg.cholesky(second + 1e-12 * second.diagonal().mean() * torch.eye(n, dtype=torch.float64))
    third = max(1, examples // 3)
    symmetric, k = average(U.double()), U.shape[1]
    features = torch.einsum("ten,mnk->temk", x[:, :third], symmetric.view(m, n, k)).flatten(1, 2)
    left = y[:, :third].flatten(1) - features @ v0.double()
    v = v0.double() + _ridge(features, left, max(noise, 1e-9 * float(y.square().mean())))
    S = (v @ symmetric.mT).view(tasks, m, n)
    away = []
    for part in (slice(third, 2 * third), slice(2 * third, 3 * third)):
        X, Y = x[:, part], y[:, part] - x[:, part] @ S.mT
        A = torch.cholesky_solve((X.mT @ Y) / third, root.expand(tasks, n, n)).mT.flatten(1).mT
        away.append(((A - average(A)).mT.view(tasks, m, n) / scale[:, None]) @ root)
    energy = float((y / scale).square().sum((1, 2)).mean()) / examples - noise * float(scale.pow(-2).sum())
    shares = (away[0] * away[1]).sum((1, 2)) / max(energy, 1e-12)
    width = float(stats.t.ppf(1 - alpha, tasks - 1)) * float(shares.std()) / math.sqrt(tasks)
    share = float(shares.mean())
    return share, share - width, share + width


def _ridge(features: Tensor, left: Tensor, penalty: float) -> Tensor:
    """``argmin_s ‖left − F s‖² + penalty ‖s‖²`` of each task: ``(tasks, rows, k), (tasks, rows) -> (tasks, k)``."""
    normal = features.mT @ features + penalty * torch.eye(features.shape[2], dtype=torch.float64)
    return torch.cholesky_solve(features.mT @ left.unsqueeze(2), torch.linalg.cholesky(normal)).squeeze(2)


class Judge:
    """Tasks kept from the fit, and how well each span explains them.

        J_i(U) = min_v ‖(y_i − X_i mat(U v)ᵀ) D⁻¹‖² + σ² ‖v − v₀‖²,   cost_i = (J_i(Ū) − J_i(U)) / E

    ``D`` holds the root mean squares of the outputs, so each counts alike. ``U`` is the free span, ``Ū`` its mean over
    the group, ``E`` the mean over tasks of ``‖y D⁻¹‖²`` less that of the noise. The two spans have the same number of
    columns, so neither has more room to fit noise, and both were fixed beforehand. ``E`` is estimated; where a ``unit``
    is given that was fixed beforehand too, costs are at least what they are in that unit.

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
        self._average = average
        # Each output counts alike: a small one must not be swapped with another because nobody would notice.
        self.scale = torch.ones(y.shape[2], dtype=torch.float64) if scale is None else scale
        y, noise = y.double() / self.scale, noise * float(self.scale.pow(-2).mean())
        self.x, self.y, self.U, self.v0 = x, y, U.double(), v0.double()
        energy = y.square().flatten(1).sum(1)
        numbers = y[0].numel()
        own = float((energy.mean() - numbers * noise).clamp_min(1e-12 * float(energy.mean())))
        self.energy = own if unit is None else min(own, unit)
        self.penalty = max(noise, 1e-9 * float(energy.mean()) / numbers)
        self.free = self._least(self.U, len(x))
        self.outputs = float(energy.mean())

    @property
    def explained(self) -> float:
        """The share of the squared outputs that the free span explains."""
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
        return Costs((self._least(self._average(self.U, orbits), n) - self.free[:n]) / self.energy)

    def _least(self, U: Tensor, n_tasks: int) -> Tensor:
        """``J_i(U)`` of the first tasks."""
        examples, n, m, k = self.x.shape[1], self.x.shape[2], self.y.shape[2], U.shape[1]
        chunk = max(1, _CHUNK_NUMBERS // (examples * m * k))
        by_input = (U.view(m, n, k) / self.scale[:, None, None]).permute(1, 0, 2).reshape(n, m * k)
        found = []
        for start in range(0, n_tasks, chunk):
            x = self.x[start : min(start + chunk, n_tasks)].double()
            y = self.y[start : min(start + chunk, n_tasks)].double()
            features = (x.flatten(0, 1) @ by_input).view(len(x), examples * m, k)
            left = y.flatten(1) - features @ self.v0
            step = _ridge(features, left, self.penalty)
            # As a residual, not as a difference of two large numbers.
            rest = left - (features @ step.unsqueeze(2)).squeeze(2)
            found.append(rest.square().sum(1) + self.penalty * step.square().sum(1))
        return torch.cat(found)
