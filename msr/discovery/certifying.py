"""The last test: does the chosen group hold on tasks that nothing before has seen, in what they share and beyond it?"""

import math
from itertools import combinations

import torch
from torch import Tensor

from msr.discovery.judging import Costs, Judge, ridge
from msr.discovery.result import Certificate
from msr.groups.permutations import Indices

__all__ = ["Breaking", "block_size", "blocks", "breaking", "certified", "upper_mean"]

_CHUNK_NUMBERS = 2**23
# Shares of the largest bet, from timid to all; a mixture of bets needs no tuning.
_BETS = torch.linspace(0.05, 0.999, 20, dtype=torch.float64)
_FOLDS = 5


def certified(
    orbits: Indices, selection: Judge, fresh: Judge, eps: float, alpha: float, specificity: float | None
) -> tuple[Certificate, "Breaking"]:
    """Test the group with these orbits on the fresh tasks; the others only say how large blocks should be."""
    limit = eps**2
    costs = fresh.costs(orbits)
    size = block_size(selection.costs(orbits).values, limit, len(costs.values), alpha)
    values = blocks(costs.values, size)
    p_cost, _ = upper_mean(values, limit, alpha)
    broken = breaking(fresh, orbits)
    p_breaking = broken.p_below(limit)
    p_value = max(p_cost, p_breaking)
    of = "a task" if size == 1 else f"the mean of {size} tasks"
    certificate = Certificate(
        null=(
            f"E b >= {limit:.3g}, b the share of the outputs that comes from what breaks the group in a task's own "
            f"weights; or E min(c+, {2 * limit:.3g}) >= {limit:.3g}, c the cost, on {of}, of keeping to the group in "
            "what was learned"
        ),
        eps=eps,
        alpha=alpha,
        p_value=p_value,
        breaking=broken.mean,
        bound=broken.bounds(alpha)[1],
        cost=costs.mean,
        p_breaking=p_breaking,
        p_cost=p_cost,
        n=len(values),
        n_tasks=len(costs.values),
        certified=p_value <= alpha,
        specificity=specificity,
    )
    return certificate, broken


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


class Breaking(Costs):
    """The share of the outputs that comes from what breaks a group, an unbiased estimate from each task."""


def breaking(judge: Judge, orbits: Indices) -> Breaking:
    """How much of the tasks' own weights breaks a symmetry, whatever span was learned.

    The examples of a task are dealt into five parts. For each pair of parts, the others fit a symmetric weight
    ``S = mat(P U v)``, and each of the two gives an estimate of what is left, ``A = (Y − X Sᵀ)ᵀ X Σ⁻¹ / N`` with the
    inputs' second moment ``Σ`` of all tasks. Both are unbiased and independent, and ``S`` has no part that ``P``, the
    mean over the group, would change; so ``⟨A − P A, B − P B⟩`` has mean ``‖W − P W‖²``, however noisy each is. Norms
    are those of the outputs, ``‖D⁻¹ W Σ^½‖²``, and the unit is the judge's.
    """
    x, (examples, n) = judge.x, judge.x.shape[1:]
    second = torch.einsum("tei,tej->ij", x, x) / (len(x) * examples)
    root = torch.linalg.cholesky(second + 1e-12 * second.diagonal().mean() * torch.eye(n, dtype=torch.float64))
    symmetric = judge.average(judge.U, orbits)
    m, k = judge.y.shape[2], judge.U.shape[1]
    chunk = max(1, _CHUNK_NUMBERS // (m * max(examples * k, n)))
    found = [
        _breaking(judge, orbits, symmetric, root, slice(start, start + chunk)) for start in range(0, len(x), chunk)
    ]
    return Breaking(torch.cat(found) / (judge.energy / examples))


def _breaking(judge: Judge, orbits: Indices, symmetric: Tensor, root: Tensor, tasks: slice) -> Tensor:
    """Of some tasks, in the square of the outputs' own sizes."""
    x, y, scale = judge.x[tasks], judge.y[tasks], judge.scale[:, None]
    count, examples, n = x.shape
    m, k = y.shape[2], symmetric.shape[1]
    by_input = (symmetric.view(m, n, k) / scale[:, None]).permute(1, 0, 2).reshape(n, m * k)
    parts = [slice(first, None, _FOLDS) for first in range(min(_FOLDS, examples))]
    sums = []  # of a part: XᵀX, YᵀX, and the normal equations of the filters
    for part in parts:
        X, Y = x[:, part], y[:, part]
        features = (X.flatten(0, 1) @ by_input).view(count, -1, k)
        left = (Y.flatten(1) - features @ judge.v0).unsqueeze(2)
        sums.append((X.mT @ X, Y.mT @ X, features.mT @ features, features.mT @ left))

    def away(part: int, S: Tensor) -> Tensor:
        gram, cross, *_ = sums[part]
        A = scale * torch.cholesky_solve((cross - S @ gram).mT, root.expand(count, n, n)).mT
        flat = A.flatten(1).mT
        return (A - judge.average(flat, orbits).mT.view(count, m, n)) / scale @ root

    total, pairs = torch.zeros(count, dtype=torch.float64), 0
    for a, b in combinations(range(len(parts)), 2):
        others = [sums[i] for i in range(len(parts)) if i not in (a, b)]
        normal = sum((one[2] for one in others), torch.zeros(count, k, k, dtype=torch.float64))
        right = sum((one[3] for one in others), torch.zeros(count, k, 1, dtype=torch.float64))
        v = judge.v0 + ridge(normal, right, judge.penalty)
        S = (v @ symmetric.mT).view(count, m, n) / scale
        total += (away(a, S) * away(b, S)).sum((1, 2))
        pairs += x[0, parts[a]].shape[0] * x[0, parts[b]].shape[0]
    return total / pairs
