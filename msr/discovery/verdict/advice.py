"""Advice where the verdict is *cannot tell*: why, and which larger tolerance these very tasks would answer at."""

from collections.abc import Callable

from msr.discovery.answer.candidate import same_group
from msr.discovery.answer.result import short
from msr.discovery.pattern.candidates import is_trivial, unused_energy
from msr.discovery.question import Question
from msr.discovery.thresholds import THRESHOLDS
from msr.discovery.verdict.findings import Findings
from msr.discovery.verdict.rule import decided, judged

__all__ = ["larger_tolerance", "why_unclear"]

_SEARCHES = 2
"""Whole searches after which no tolerance is advised. A limit of time: the first one names a group nearly always."""


def larger_tolerance(question: Question, findings: Findings, names: Callable[[float], bool]) -> float | None:
    """The least of ``advised_tolerances``, above the given one, at which these very tasks name a group; else None.

    Args:
        names: a function of a tolerance that makes a whole search and says whether it names a group. That is costly,
            so it is called only for tolerances at which the known groups would be named, and at most a few times.
    """
    limits = THRESHOLDS()
    searches = _SEARCHES
    proposals = [trial.proposals for trial in findings.trials]
    for eps in limits.advised_tolerances:
        if eps <= question.eps or not searches:
            continue
        # The evidence is at hand, so trying another tolerance on it costs nothing; only then is a whole search worth
        # it.
        candidates = judged(proposals, findings.planned, eps, question.alpha)
        decision = decided(candidates, lambda c: is_trivial(question, c))
        if decision.named is not None and not decision.open:
            searches -= 1
            if names(eps):
                return eps
    return None


def why_unclear(question: Question, findings: Findings) -> str:
    """Why *none* cannot be said although no group is open: one reason as a clause, the first that fits.

    The reasons: a group of weak weights was not rejected; a group was, but not its subgroups; the tasks hold more than
    was learned; weights that count as zero add up; the weights are known too badly.
    """
    weak = findings.decision.weak
    if weak:
        return f"a group of order {short(weak[0].order)} that moves weak weights only may hold"
    with_group = next((t for t in findings.trials if not is_trivial(question, t.taught.candidates[0])), None)
    if with_group is not None:
        # If even the smallest group is clearly broken, the tasks hold more than the pattern that proposed it.
        smallest = min((p.candidate for p in with_group.proposals), key=lambda c: c.order)
        breaking = next(c.breaking for c in findings.candidates if same_group(c, smallest))
        if breaking < THRESHOLDS().unlearned_breaking:
            return f"a group of order {short(smallest.order)} was rejected, but not all of its subgroups"
        return (
            f"the weights that were learned, of dimension {with_group.taught.learned.span.k}, have a group that the "
            "tasks' own weights break, so there is more in them: more tasks or more examples a task may show it"
        )
    learned = findings.trials[0].taught.learned
    if unused_energy(question, learned, question.points.rows(learned.rows)) > question.limit:
        return "weights too small to be told from nothing add up to a part of the outputs"
    return "the error of the fitted weights is as large as the differences between them"
