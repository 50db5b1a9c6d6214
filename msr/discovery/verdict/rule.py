"""The rule: from the evidence of all splits to the one group that may be named.

:func:`judged` merges what all splits show of each group into one :class:`Candidate` with a status; :func:`decided`
chooses among the candidates. Both only compare numbers with thresholds that were fixed beforehand.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from msr.discovery.answer.candidate import Candidate, Status, same_group
from msr.discovery.thresholds import THRESHOLDS
from msr.discovery.verdict.evidence import Evidence, least_limit

__all__ = ["Decision", "Proposal", "decided", "judged"]

_LEAST_BOUND = 1e-9
"""Where :func:`~msr.discovery.verdict.evidence.least_limit` ends: a lower bound this small is given as 0."""

_TINY = 1e-300
"""Keeps one over an e-value finite."""


@dataclass(frozen=True, eq=False)
class Proposal:
    """A group that the teaching tasks of one split proposed, and what the testing tasks of that split show of it."""

    candidate: Candidate
    evidence: Evidence


@dataclass(frozen=True, eq=False)
class Decision:
    """Which candidate the rule names, and which ones forbid an answer.

    Attributes:
        named: the group that is named unless a doubt takes it back; None where the rule names none.
        open: candidates for which neither *within* nor *beyond* was shown, and which are larger than the named one, if
            there is one. A name or *none* is given only where there are none of them.
        weak: where none is named: candidates that move weak weights only and were not shown to be broken. They are
            never named, but *none* is not said either while there are some.
    """

    named: Candidate | None
    open: tuple[Candidate, ...]
    weak: tuple[Candidate, ...] = ()


def judged(trials: Sequence[Sequence[Proposal]], planned: int, eps: float, alpha: float) -> list[Candidate]:
    """Each proposed group once, with the evidence of all splits and its status; groups of smaller order come first.

    ``trials`` holds the proposals of each split that was made.

    The e-value of a group is ``Σ share · e / planned`` over the splits that proposed it: the share of the error rate
    that it had there, times its e-value there, over the number of planned splits. Splits that did not propose it, or
    were not made, count as zero. If several null hypotheses about several groups hold, the sum of their e-values has
    expectation at most 1, so all claims together hold with probability ``1 − α``.
    """
    groups: list[list[Proposal]] = []
    for proposals in trials:
        for proposal in proposals:
            for group in groups:
                if same_group(group[0].candidate, proposal.candidate):
                    group.append(proposal)
                    break
            else:
                groups.append([proposal])
    candidates = [_merged(group, planned, eps, alpha) for group in groups]
    return sorted(candidates, key=lambda c: c.order)


def decided(candidates: Sequence[Candidate], trivial: Callable[[Candidate], bool]) -> Decision:
    """Name the largest group that was shown to be within the tolerance and not shown to be broken.

    Larger groups that are still open are listed in the decision, and forbid the name. A group can be named only if the
    fitted weights keep it up to their errors, or if it moves at least ``group_share`` of the outputs' energy: a group
    of weak weights breaks little whether or not it is a symmetry, so *within* says nothing about it.

    Args:
        trivial: says of a candidate whether every linear layer has its group; such a group is no answer.
    """

    def rejected(candidate: Candidate) -> bool:
        """Whether it was shown that something breaks the group, or that more than the tolerance does."""
        return candidate.seen_broken or candidate.status == "beyond"

    def can_be_named(candidate: Candidate) -> bool:
        """Whether breaking less than the tolerance says something: no group that moves weak weights alone."""
        return candidate.exact or candidate.share >= THRESHOLDS().group_share

    possible = [c for c in candidates if not (rejected(c) or trivial(c))]
    strong = [c for c in possible if can_be_named(c)]
    weak = [c for c in possible if not can_be_named(c)]
    held = [c for c in strong if c.status == "within"]
    # The largest: every subgroup of a symmetry group is kept too, and would be a weaker answer.
    named = max(held, key=lambda c: c.order, default=None)
    unsettled = [c for c in strong if c.status == "open" and (named is None or c.order > named.order)]
    return Decision(named, tuple(unsettled), tuple(weak) if named is None else ())


def _merged(group: list[Proposal], planned: int, eps: float, alpha: float) -> Candidate:
    """One candidate from the proposals of the same group by several splits, with evidence and status filled in.

    E-values are combined as :func:`judged` says, and ``low`` and ``high`` are where they turn. The estimates of
    ``breaking`` are averaged; the least ``residual`` is kept, and ``exact`` holds if any split found it. All else is
    that of the first split.
    """
    limit = eps**2
    parts = [proposal.evidence for proposal in group]

    def within(at: float) -> float:
        """The combined e-value against the null that typical tasks break the group by ``at`` or more."""
        return sum(part.shares[0] * part.within(at, part.cap(limit)) for part in parts) / planned

    def beyond(at: float) -> float:
        """The combined e-value against the null that typical tasks break the group by ``at`` or less."""
        return sum(part.shares[1] * part.beyond(at) for part in parts) / planned

    not_kept = sum(part.shares[2] * part.not_kept(limit) for part in parts) / planned
    means = [min(1.0, float(part.breaking.mean() / part.energy.mean())) for part in parts]
    status: Status = "open"
    if within(limit) >= 1 / alpha:
        status = "within"
    elif beyond(limit) >= 1 / alpha:
        status = "beyond"
    # A confidence bound is the limit at which the same test turns.
    low = least_limit(lambda at: beyond(at) < 1 / alpha)
    return replace(
        group[0].candidate,
        exact=any(proposal.candidate.exact for proposal in group),
        residual=min(proposal.candidate.residual for proposal in group),
        breaking=float(np.mean(means)),
        low=low if low > _LEAST_BOUND else 0.0,
        high=least_limit(lambda at: within(at) >= 1 / alpha),
        p_within=min(1.0, 1 / max(within(limit), _TINY)),
        p_beyond=min(1.0, 1 / max(beyond(limit), _TINY)),
        p_not_kept=min(1.0, 1 / max(not_kept, _TINY)),
        status=status,
        seen_broken=not_kept >= 1 / alpha,
    )
