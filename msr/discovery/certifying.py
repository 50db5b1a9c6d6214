"""The last test: does the chosen group hold on tasks that nothing before has seen, in what they share and beyond it?"""

import math

import torch
from torch import Tensor

from msr.discovery.breaking import breaking
from msr.discovery.judging import Judge
from msr.discovery.result import Certificate
from msr.groups.permutations import Indices

__all__ = ["block_size", "blocks", "certified", "upper_mean"]

_BELOW_NOTHING = 0.1  # of the tolerance
# Shares of the largest bet, from timid to all; a mixture of bets needs no tuning.
_BETS = torch.linspace(0.05, 0.999, 20, dtype=torch.float64)


def certified(
    orbits: Indices, selection: Judge, fresh: Judge, eps: float, alpha: float, specificity: float | None
) -> Certificate:
    """Test the group with these orbits on the fresh tasks; the others only say how large blocks should be."""
    limit = eps**2
    costs = fresh.costs(orbits)
    size = block_size(selection.costs(orbits).values, limit, len(costs.values), alpha)
    values = blocks(costs.values, size)
    p_cost, _ = upper_mean(values, limit, alpha)
    broken = breaking(fresh, orbits)
    low, high = broken.bounds(alpha)
    # Noise makes the estimate negative now and then, but not by much: then it is none.
    known = broken.known and high >= -_BELOW_NOTHING * limit
    p_breaking = broken.p_below(limit) if known else 1.0
    p_value = max(p_cost, p_breaking)
    of = "a task" if size == 1 else f"the mean of {size} tasks"
    return Certificate(
        null=(
            f"E b >= {limit:.3g}, b the share of the outputs that comes from what breaks the group in a task's own "
            f"weights; or E min(c+, {2 * limit:.3g}) >= {limit:.3g}, c the cost, on {of}, of keeping to the group in "
            "what was learned"
        ),
        eps=eps,
        alpha=alpha,
        p_value=p_value,
        breaking=broken.mean if known else None,
        at_least=low if known else None,
        bound=high if known else None,
        method=broken.method if known else "none",
        cost=costs.mean,
        p_breaking=p_breaking,
        p_cost=p_cost,
        n=len(values),
        n_tasks=len(costs.values),
        certified=p_value <= alpha,
        specificity=specificity,
    )


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
