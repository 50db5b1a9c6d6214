"""Findings: what all splits together show, and what all tasks together have to say against it."""

from collections.abc import Sequence
from dataclasses import dataclass

from msr.discovery.answer.candidate import Candidate, same_group
from msr.discovery.pattern.candidates import clearly_none
from msr.discovery.thresholds import THRESHOLDS
from msr.discovery.verdict.instruments import Instruments
from msr.discovery.verdict.rule import Decision
from msr.discovery.verdict.testing import Trial, collected_evidence

__all__ = ["Findings", "clear_everywhere", "larger_untested", "suspect"]


@dataclass(frozen=True, eq=False)
class Findings:
    """The results of all splits of one search, and what the rule makes of them.

    Attributes:
        trials: the results of the splits that could be made, in their order.
        refusals: why other splits could not be made, one text for each.
        candidates: every group that was tested, with the evidence of all splits.
        decision: which of them the rule names, and which forbid an answer.
        planned: number of splits that were planned. Fewer are made where the first ones settle everything.
    """

    trials: tuple[Trial, ...]
    refusals: tuple[str, ...]
    candidates: list[Candidate]
    decision: Decision
    planned: int

    @property
    def reported(self) -> Trial:
        """The split whose pattern and exceptions are reported.

        It is the first one that proposed the named group; where none is named, the one with the most teaching tasks.
        There must be a split that could be made.
        """
        named = self.decision.named
        if named is None:
            return max(self.trials, key=lambda trial: len(trial.teach))
        return next(trial for trial in self.trials if collected_evidence(named, [trial]))


def clear_everywhere(instruments: Instruments, trials: Sequence[Trial]) -> bool:
    """Whether the pattern of every split clearly has no symmetry, and that of all tasks together has none either.

    All tasks together are asked because a few of them may lack directions that make the weights equal or unequal.
    """
    question = instruments.question
    if not all(clearly_none(question, trial.taught) for trial in trials):
        return False
    return instruments.all_taught is not None and clearly_none(question, instruments.all_taught)


def suspect(instruments: Instruments, trials: Sequence[Trial], named: Candidate | None) -> bool:
    """Whether some split has evidence that something breaks the group ``named``, so that all splits should be made.

    False where no group would be named.
    """
    if named is None:
        return False
    limit = instruments.question.limit
    return any(evidence.not_kept(limit) >= THRESHOLDS().suspicion for evidence in collected_evidence(named, trials))


def larger_untested(instruments: Instruments, named: Candidate, candidates: Sequence[Candidate]) -> Candidate | None:
    """The largest group beyond the named one that all tasks together seem to keep and no split tested; None if none.

    All tasks seem to keep it if it is exact in what they teach together. A name that is too small is wrong too. This
    can take a name back, and never gives one.
    """
    if instruments.all_taught is None:
        return None
    larger = [c for c in instruments.all_taught.candidates if c.exact and c.order > named.order]
    untested = [c for c in larger if not any(same_group(c, other) for other in candidates)]
    return max(untested, key=lambda c: c.order, default=None)
