"""The rule: which group is named, from what all splits say of all groups together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from msr.discovery.answer.claims import Candidate, Status
from msr.discovery.verdict.agreement import differ
from msr.discovery.verdict.evidence import Evidence, least

__all__ = ["SHARE", "Decision", "Proposal", "decided", "judged"]

SHARE = 0.5
"""A group whose weights differ, if by little, counts only if it moves this share of what the weights do."""


@dataclass(frozen=True, eq=False)
class Proposal:
    """A group that one split proposed, and what its other tasks say of it."""

    candidate: Candidate
    evidence: Evidence


@dataclass(frozen=True, eq=False)
class Decision:
    """What the rule makes of the groups: the one that is named, if any, and those that stand in the way.

    ``weak``: those that move weak weights only and were not shown to be broken: they forbid *none*, and no more.
    """

    named: Candidate | None
    open: tuple[Candidate, ...]
    weak: tuple[Candidate, ...] = ()


def judged(trials: Sequence[Sequence[Proposal]], planned: int, eps: float, alpha: float) -> list[Candidate]:
    """Each group once, with the evidence of all splits; smallest first.

    An e-value is the mean over the ``planned`` splits of that in each, times the share of the error rate that the group
    had there; splits that did not propose it, or were not made, count as nothing. All claims about all groups together
    then hold with probability ``1 − α``: over false ones, the mean of the sum is at most one.
    """
    groups: list[list[Proposal]] = []
    for one in (one for trial in trials for one in trial):
        for group in groups:
            if not differ(group[0].candidate, one.candidate):
                group.append(one)
                break
        else:
            groups.append([one])
    found = [_summary(group, planned, eps, alpha) for group in groups]
    return sorted(found, key=lambda c: c.order)


def decided(candidates: Sequence[Candidate], nothing: Callable[[Candidate], bool]) -> Decision:
    """Name the largest group that is within the tolerance and not seen broken, if no larger one is open.

    ``nothing`` says which groups any layer has. A group that is not kept up to the errors of the fit and moves weak
    weights only costs little whatever it does: it is never named.
    """
    alive = [c for c in candidates if not (c.seen_broken or c.status == "beyond" or nothing(c))]
    can = [c for c in alive if c.exact or c.share >= SHARE]
    held = [c for c in can if c.status == "within"]
    named = max(held, key=lambda c: c.order, default=None)
    unsettled = tuple(c for c in can if c.status == "open" and (named is None or c.order > named.order))
    return Decision(named, unsettled, tuple(c for c in alive if named is None and not any(c is one for one in can)))


def _summary(group: list[Proposal], planned: int, eps: float, alpha: float) -> Candidate:
    limit = eps**2
    parts = [one.evidence for one in group]

    def within(at: float) -> float:
        return sum(part.shares[0] * part.within(at, part.cap(limit)) for part in parts) / planned

    def beyond(at: float) -> float:
        return sum(part.shares[1] * part.beyond(at) for part in parts) / planned

    not_kept = sum(part.shares[2] * part.not_kept(limit) for part in parts) / planned
    means = [min(1.0, float(part.broken.mean() / part.energy.mean())) for part in parts]
    status: Status = "within" if within(limit) >= 1 / alpha else "beyond" if beyond(limit) >= 1 / alpha else "open"
    first = group[0].candidate
    return replace(
        first,
        exact=any(one.candidate.exact for one in group),
        residual=min(one.candidate.residual for one in group),
        breaking=float(np.mean(means)),
        low=_above(least(lambda at: beyond(at) < 1 / alpha)),
        high=least(lambda at: within(at) >= 1 / alpha),
        p_within=min(1.0, 1 / max(within(limit), 1e-300)),
        p_beyond=min(1.0, 1 / max(beyond(limit), 1e-300)),
        p_not_kept=min(1.0, 1 / max(not_kept, 1e-300)),
        status=status,
        seen_broken=not_kept >= 1 / alpha,
    )


def _above(low: float) -> float:
    """The least limit of all says that there is no lower bound."""
    return low if low > 1e-9 else 0.0
