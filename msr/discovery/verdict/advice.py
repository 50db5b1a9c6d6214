"""What a user is told where nothing can be told: why, and which tolerance would do, tried on the tasks themselves."""

from collections.abc import Callable, Sequence

from msr.discovery.answer.claims import Candidate
from msr.discovery.answer.result import short
from msr.discovery.verdict.agreement import differ
from msr.discovery.verdict.rule import decided, judged
from msr.discovery.verdict.trial import Bench, Trial

__all__ = ["larger_tolerance", "why_unclear"]

_ALL_WRONG = 0.1  # of the outputs' energy: who breaks a group by more holds weights that were not learned
_TOLERANCES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.12, 0.15, 0.2, 0.25, 0.3)
_TRIES = 2  # whole searches, before no tolerance is advised


def larger_tolerance(
    bench: Bench, trials: Sequence[Trial], planned: int, names: Callable[[float], bool]
) -> float | None:
    """A larger tolerance at which these very tasks name a group, if there is one.

    ``names`` searches once more with another tolerance; what the groups that are known would be said to be is looked at
    first.
    """
    tries = _TRIES
    for eps in _TOLERANCES:
        if eps <= bench.eps or not tries:
            continue
        decision = decided(judged([t.proposals for t in trials], planned, eps, bench.alpha), bench.says_nothing)
        if decision.named is not None and not decision.open:
            tries -= 1
            if names(eps):
                return eps
    return None


def why_unclear(bench: Bench, trials: Sequence[Trial], candidates: Sequence[Candidate]) -> str:
    """Why it cannot be said that there is no group, where none is open."""
    weak = decided(candidates, bench.says_nothing).weak
    if weak:
        return f"a group of order {short(weak[0].order)} that moves weak weights only may hold"
    finest = next((t for t in trials if not bench.says_nothing(t.found[0])), None)
    if finest is not None:
        one = min((p.candidate for p in finest.proposals), key=lambda c: c.order)
        breaking = next(c.breaking for c in candidates if not differ(c, one))
        if breaking < _ALL_WRONG:
            return f"a group of order {short(one.order)} was rejected, but not all of its subgroups"
        return (
            f"the weights that were learned, of dimension {finest.learned.span.k}, have a group that the tasks' "
            "own weights break, so there is more in them: more tasks or more examples a task may show it"
        )
    rows = trials[0].learned.rows
    if bench.unseen(trials[0].learned, bench.points.rows(rows)) > bench.eps**2:
        return "weights too small to be told from nothing add up to a part of the outputs"
    return "the error of the fitted weights is as large as the differences between them"
