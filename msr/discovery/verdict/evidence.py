"""What tasks that chose nothing say of a group: that it breaks less than the tolerance, or more, or anything at all."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from msr.statistics.betting import e_against_nonnegative_mean, e_against_symmetry
from msr.statistics.shares import upper_share

__all__ = ["EXACT", "Evidence", "Exceptions", "bound", "least", "spread", "weights"]

EXACT = 1 / 20
"""A group that breaks less than this share of the tolerance is kept: numbers and simulators are not exact."""

# An exception breaks more than this many times the tolerance's energy beyond it: twice the tolerance in all.
_CAP = 3.0
_SIGMAS = 3.0  # of a task's noise, up to which its excess counts in full, where noise is symmetric
_SKEWED = 8.0  # the same where it is skewed, as squares are: to cut them sooner would lower their mean
_SEEN = 8.0  # of the same, from which on a task is seen to be an exception
_RARE = 0.05  # the share of the tasks that may be seen to be exceptions and not count against a group being kept
_BISECTIONS = 30
# Of the error rate, what goes to the group that was preferred, to the others, and to showing that groups are broken.
_PREFERRED, _OTHERS, _AGAINST = 0.6, 0.075, 0.075


@dataclass(frozen=True, eq=False)
class Evidence:
    """Of one group on the tasks of one split, none of which chose it; energies are in the units of the outputs.

    Attributes:
        broken: what breaks the group in the weights of each task, estimated without bias.
        along: of that, what lies along the directions in which the learned pattern breaks it.
        left: what may break it beyond: all that a linear layer leaves, where the tasks are not linear; else nothing.
        energy: of each task's outputs, less that of noise, at least about; ``whole``: with all of it.
        loudness: how many times as much noise as is usual the task has, at least 1; ``(tasks,)``.
        spread: of ``broken`` over other tasks: by noise, where the group holds.
        noise: the same of the group that seems to hold, which noise alone spreads.
        unit: the mean energy of the outputs of those other tasks.
        symmetric: whether noise is as likely to raise as to lower ``broken`` by as much.
        shares: of the error rate, for showing that the group is within the tolerance, beyond it, and not kept.
        tasks: their places among all.
    """

    broken: Tensor
    along: Tensor
    left: Tensor
    energy: Tensor
    whole: Tensor
    loudness: Tensor
    spread: float
    noise: float
    unit: float
    symmetric: bool
    shares: tuple[float, float, float]
    tasks: Tensor

    def excess(self, limit: float) -> Tensor:
        """``b − limit · e`` of each task, at most about, in units of the outputs' energy."""
        return (self.broken + self.left - limit * self.energy) / self.unit

    def reach(self, limit: float) -> float:
        """Up to where a task's excess counts; beyond it is an exception."""
        return max(_CAP * limit, (_SIGMAS if self.symmetric else _SKEWED) * self.spread / self.unit)

    def within(self, limit: float, cap: float) -> float:
        """E-value against the null that typical tasks break the limit or more; a task counts up to the cap."""
        reach = max(cap - limit, self.reach(limit))
        return e_against_nonnegative_mean(self.excess(limit), reach)

    def cap(self, limit: float) -> float:
        """Up to where a task counts as breaking, where the tolerance is this limit."""
        return limit + self.reach(limit)

    def beyond(self, limit: float) -> float:
        """E-value against the null that they break the limit or less, of the outputs with their noise."""
        # Noise that is skewed raises what breaks a group, so here it is only cut on the safe side.
        reach = max(_CAP * limit, _SIGMAS * self.noise / self.unit)
        return e_against_nonnegative_mean((limit * self.whole - self.broken) / self.unit, reach)

    def not_kept(self, limit: float) -> float:
        """E-value against the null that the group is kept, up to :data:`EXACT` of the tolerance and few exceptions."""
        typical = ~self.exceptions(limit)
        if float((~typical).double().mean()) > _RARE:
            typical = torch.ones_like(typical)
        kept = EXACT**2 * limit * self.whole
        both = (e_against_symmetry((one - kept)[typical]) for one in (self.broken, self.along))
        return sum(both) / 2

    def exceptions(self, limit: float) -> Tensor:
        """Which of the tasks are seen to be exceptions, ``(tasks,)``."""
        return self.excess(limit) > (_SEEN * self.loudness * self.spread / self.unit).clamp_min(_CAP * limit)


@dataclass(frozen=True)
class Exceptions:
    """Tasks that break a group that typical ones keep.

    Attributes:
        seen: their places in what came.
        at_most: the share of all tasks that may be exceptions, by the bound of Clopper and Pearson.
        break_: an exception breaks the group by more than this share of the outputs' size, which three standard
            deviations of noise do not hide.
        tasks: how many were looked at.
    """

    seen: tuple[int, ...]
    at_most: float
    break_: float
    tasks: int

    @classmethod
    def of(cls, evidence: Evidence, limit: float, alpha: float, came: Tensor) -> "Exceptions":
        """From one split; ``came`` says where each task stood."""
        seen = evidence.exceptions(limit)
        noise = evidence.spread / evidence.unit
        size = limit + max(_CAP * limit, _SEEN * noise) + _SIGMAS * noise
        return cls(
            seen=tuple(sorted(int(i) for i in came[evidence.tasks[seen]])),
            at_most=upper_share(int(seen.sum()), len(seen), alpha),
            break_=min(size, 1.0) ** 0.5,
            tasks=len(seen),
        )

    @property
    def rare(self) -> bool:
        """Whether few enough were seen for the group to be named beside them."""
        return len(self.seen) <= _RARE * self.tasks


def bound(values: Tensor, energy: Tensor, alpha: float) -> float:
    """What share of the energy the values are below on average over typical tasks, at level ``alpha``; at most 1."""
    # Every other value says how far they spread, and the rest is tested.
    unit, noise = max(float(energy[::2].mean()), 1e-300), spread(values[::2])
    values, energy = values[1::2], energy[1::2]

    def shown(at: float) -> bool:
        reach = max(_CAP * at, _SKEWED * noise / unit)
        return e_against_nonnegative_mean((values - at * energy) / unit, reach) >= 1 / alpha

    return least(shown)


def least(holds: Callable[[float], bool]) -> float:
    """The least limit from which on it holds, to three digits; limits between 1e-9 and 1."""
    low, high = -9.0, 0.0
    if not holds(10**high):
        return 1.0
    if holds(10**low):
        return 10**low
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(10**middle) else (middle, high)
    return float(10**high)


def weights(count: int, preferred: bool) -> list[tuple[float, float, float]]:
    """The shares of the error rate of each of ``count`` groups, of which the first may be preferred.

    In all they are three quarters; the rest is for exceptions and for what is not linear.
    """
    others = (_OTHERS if preferred else _OTHERS + _PREFERRED) / max(1, count - preferred)
    against = _AGAINST / max(1, 2 * count)
    return [(_PREFERRED if preferred and i == 0 else others, against, against) for i in range(count)]


def spread(values: Tensor) -> float:
    """A standard deviation that a few large values do not move: of the middle half, or of the middle nine tenths."""
    known = values[values.isfinite()]
    if len(known) == 0:
        return torch.inf
    tails = torch.quantile(known, torch.tensor([0.05, 0.95], dtype=known.dtype))
    return max(float(1.4826 * (known - known.median()).abs().median()), float(tails[1] - tails[0]) / 3.29)
