"""Evidence: what the testing tasks of one split show of one group, as e-values against three null hypotheses.

An e-value is the gain of a bettor against a null hypothesis (:mod:`msr.statistics.betting`). Under the null it is at
most 1 in expectation, so a value of ``1/α`` or more has probability at most ``α``.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from msr.discovery.thresholds import THRESHOLDS
from msr.statistics.betting import e_against_nonnegative_mean, e_against_symmetry

__all__ = ["Evidence", "Shares", "error_shares", "least_limit", "spread"]

_BISECTIONS = 30
"""Halvings of the 9 decades in which a limit is searched: more than the three digits that are wanted need."""

_LOG_LEAST = -9.0
"""Decimal logarithm of the least limit that is looked at; float32 data resolve no smaller energies."""

Shares = tuple[float, float, float]
"""Shares of the error rate α: for showing *within*, *beyond* and *not kept* of one group."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the testing tasks of one split show of one group, which none of them helped to propose.

    Units: all energies are mean squares of the outputs of a task, each output divided by its scale (see
    :class:`~msr.discovery.breaking.sample.Sample`). A ``limit`` is a share of energy, such as ``ε²``; it has no unit.

    Attributes:
        breaking: ``(tasks,)``, energy of the part of each task's weights that breaks the group, an unbiased estimate.
        along_pattern: ``(tasks,)``, the part of that energy in the directions in which the learned pattern breaks the
            group, an unbiased estimate as well. It misses other directions, but has less noise.
        beyond_linear: ``(tasks,)``, energy that may break the group besides: the whole residual of a linear layer
            where the tasks are not linear, and 0 otherwise.
        energy: ``(tasks,)``, energy of the outputs without noise, approximately.
        energy_with_noise: ``(tasks,)``, energy of the outputs as they are.
        noise_ratio: ``(tasks,)``, variance of the task's noise over the usual variance, at least 1.
        spread: robust standard deviation (:func:`spread`) of ``breaking`` and ``beyond_linear`` together, over other
            tasks, which taught. If the group is a symmetry it is caused by noise alone.
        noise_spread: the same number for the group that the fit prefers. It is caused by noise alone even where the
            group at hand is no symmetry.
        unit: mean energy without noise of those other tasks. Excesses are divided by it.
        symmetric: whether noise raises ``breaking`` as often as it lowers it by the same amount.
        shares: the shares of the error rate that this group has in this split.
        tasks: ``(tasks,)``, places of the testing tasks among all.
    """

    breaking: Tensor
    along_pattern: Tensor
    beyond_linear: Tensor
    energy: Tensor
    energy_with_noise: Tensor
    noise_ratio: Tensor
    spread: float
    noise_spread: float
    unit: float
    symmetric: bool
    shares: Shares
    tasks: Tensor

    def excess(self, limit: float) -> Tensor:
        """``(b − limit · e) / unit`` of each task, ``(tasks,)``: positive where it breaks the group by more than that.

        ``b`` includes what may break the group beyond the linear layer.
        """
        return (self.breaking + self.beyond_linear - limit * self.energy) / self.unit

    def reach(self, limit: float) -> float:
        """The largest excess that counts, in shares of ``unit``; a task with a larger one counts as this much.

        The mean of numbers without a largest value cannot be bounded by any test. The reach is wide enough that noise
        is seldom clipped: that needs more room where the noise is skewed, as that of squares is.
        """
        limits = THRESHOLDS()
        deviations = limits.noise_cap if self.symmetric else limits.noise_cap_skewed
        return max(limits.excess_cap * limit, deviations * self.spread / self.unit)

    def cap(self, limit: float) -> float:
        """The largest share of the energy by which a task counts as breaking the group: ``limit`` plus its reach."""
        return limit + self.reach(limit)

    def within(self, limit: float, cap: float) -> float:
        """E-value against the null that typical tasks break the group by the limit or more.

        That is ``E min(excess, reach) ≥ 0``; a large e-value shows that the group breaks less.

        ``excess`` is :meth:`excess` at ``limit``, in shares of ``unit``. The reach is ``cap − limit``, and never less
        than :meth:`reach` at ``limit``. Callers give :meth:`cap` at the tolerance, whatever ``limit`` they ask for: so
        up to the tolerance every limit is tested with a task counting up to the same share of the energy. Above it the
        reach is that of the limit itself.
        """
        reach = max(cap - limit, self.reach(limit))
        return e_against_nonnegative_mean(self.excess(limit), reach)

    def beyond(self, limit: float) -> float:
        """E-value against the null that typical tasks break the group by the limit or less.

        The energy here includes the noise of the outputs. That makes a rejection harder, which is the safe side.
        """
        limits = THRESHOLDS()
        # Skewed noise has its long tail towards large breaking, where clipping makes a rejection harder as well. So the
        # reach for symmetric noise is enough, whatever the noise.
        reach = max(limits.excess_cap * limit, limits.noise_cap * self.noise_spread / self.unit)
        return e_against_nonnegative_mean((limit * self.energy_with_noise - self.breaking) / self.unit, reach)

    def not_kept(self, limit: float) -> float:
        """E-value against the null that the group is kept: no task breaks it by more than ``kept_share² · limit``.

        Measured numbers and simulators are never exact, so what is below a twentieth of the tolerance in size
        (``kept_share``) counts as nothing. Exceptions are left out where they are rare. The result is the mean of two
        e-values: of all that breaks the group, and of its part along the learned pattern.
        """
        limits = THRESHOLDS()
        typical = ~self.exceptions(limit)
        if float((~typical).double().mean()) > limits.exceptions_most:
            typical = torch.ones_like(typical)
        allowed = limits.kept_share**2 * limit * self.energy_with_noise
        of_all = e_against_symmetry((self.breaking - allowed)[typical])
        of_pattern = e_against_symmetry((self.along_pattern - allowed)[typical])
        return (of_all + of_pattern) / 2

    def exceptions(self, limit: float) -> Tensor:
        """Whether each task clearly breaks the group, ``(tasks,)`` booleans.

        The excess of such a task over ``limit`` is above ``excess_cap · limit``, and above ``exception_errors``
        deviations of its own noise.
        """
        limits = THRESHOLDS()
        noise = limits.exception_errors * self.noise_ratio * self.spread / self.unit
        return self.excess(limit) > noise.clamp_min(limits.excess_cap * limit)


def error_shares(count: int, preferred: bool) -> list[Shares]:
    """The shares of the error rate for ``count`` groups of one split, in their order.

    Where the first group is the ``preferred`` one it gets most of what is spent on *within*. All shares together are at
    most three quarters; the rest belongs to the certificate (exceptions, and what is not linear).
    """
    limits = THRESHOLDS()
    for_others = limits.other_share if preferred else limits.other_share + limits.preferred_share
    within = for_others / max(1, count - preferred)
    against = limits.against_share / max(1, 2 * count)
    shares = []
    for i in range(count):
        is_preferred = preferred and i == 0
        shares.append((limits.preferred_share if is_preferred else within, against, against))
    return shares


def least_limit(holds: Callable[[float], bool]) -> float:
    """The least limit at which a statement about a limit holds, to three digits, by bisection of the logarithm.

    The statement must hold at all larger limits too. The result lies between 1e-9 and 1; it is 1 where the statement
    holds at no limit.
    """
    low = _LOG_LEAST
    high = 0.0
    if not holds(10**high):
        return 1.0
    if holds(10**low):
        return 10**low
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if holds(10**middle):
            high = middle
        else:
            low = middle
    return float(10**high)


def spread(values: Tensor) -> float:
    """A standard deviation that a few large values do not change; infinite where no value is finite.

    It is the larger of two robust estimates: from the median absolute deviation, and from the distance of the 5% and
    95% quantiles. Their factors, 1.4826 and 1/3.29, give the standard deviation of normal numbers.
    """
    known = values[values.isfinite()]
    if len(known) == 0:
        return torch.inf
    tails = torch.quantile(known, torch.tensor([0.05, 0.95], dtype=known.dtype))
    return max(float(1.4826 * (known - known.median()).abs().median()), float(tails[1] - tails[0]) / 3.29)
