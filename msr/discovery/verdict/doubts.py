"""Doubts: reasons not to give the answer that the rule suggests. With any of them the verdict is *cannot tell*.

A doubt can only take an answer back, never give one. Each is a sentence that says what would help.
"""

from collections.abc import Callable

from msr.discovery.answer.certificate import GroupCertificate
from msr.discovery.answer.result import short
from msr.discovery.answer.sentences import not_linear, not_shown
from msr.discovery.linearity.nonlinear_energy import LackOfFit
from msr.discovery.linearity.serial import serial_correlation
from msr.discovery.thresholds import THRESHOLDS
from msr.discovery.verdict.advice import larger_tolerance, why_unclear
from msr.discovery.verdict.findings import Findings, clear_everywhere, larger_untested
from msr.discovery.verdict.instruments import Instruments

__all__ = ["doubts_about"]


def doubts_about(
    instruments: Instruments,
    findings: Findings,
    certificate: GroupCertificate | None,
    lack: LackOfFit,
    names: Callable[[float], bool] | None,
) -> list[str]:
    """Reasons against the answer, the most important first; empty if it stands.

    Against a name all of them are given; against *none* correlated noise and the first of the others.

    Args:
        certificate: of the named group; None where the rule names none.
        lack: the test of linearity that goes with the answer.
        names: a function of a tolerance that makes a whole search and says whether it names a group; None where no
            search may be made, because this one is such a search itself.
    """
    of_noise = _correlated_noise(instruments)
    if certificate is not None:
        return of_noise + _about_the_name(instruments, findings, certificate, lack)
    return of_noise + _about_none(instruments, findings, lack, names)


def _correlated_noise(instruments: Instruments) -> list[str]:
    """The doubt that the noise of neighbouring examples is correlated, as a list of one sentence; else an empty list.

    Every test counts examples as independent, and would be too sure. The first ``serial_tasks`` tasks are tested.
    """
    question = instruments.question
    sample = question.sample
    limits = THRESHOLDS()
    first = slice(limits.serial_tasks)
    serial = serial_correlation(
        sample.x[first], sample.y[first], question.data.counts[first], question.data.positions[first]
    )
    # This check can only take an answer back, so it runs at a smaller level than the test that gives one.
    if serial.p_value <= limits.veto_share * question.alpha:
        return [
            f"the noise of neighbouring examples is correlated ({serial.correlation:.2f}), so they do not count as "
            "examples of their own: differences of neighbouring examples, in x and in y, may be independent"
        ]
    return []


def _about_the_name(
    instruments: Instruments, findings: Findings, certificate: GroupCertificate, lack: LackOfFit
) -> list[str]:
    """All doubts about the group that the rule names, as sentences; an empty list if there are none.

    They are: functions that are not linear, as seen with the learned pattern; too many exceptions; inputs or outputs
    with weights too badly known; a larger group that is still open, or that no split proposed.
    """
    question = instruments.question
    named = findings.decision.named
    assert named is not None
    doubts = []
    # Where the test of all tasks detects something, everything beyond a linear layer was counted as breaking the group
    # and the name still stands. The test with the learned pattern comes too late for that.
    of_pattern = lack is not instruments.nonlinearity.of_all_tasks
    if of_pattern and instruments.nonlinearity.detected(lack):
        doubts.append(_not_linear(instruments, lack))
    if len(certificate.exceptions) > 0 and not certificate.certified:
        doubts.append(
            f"{len(certificate.exceptions)} of {certificate.n_tasks} tasks break the group of order "
            f"{short(named.order)}, which are too many for exceptions"
        )
    rows = findings.reported.taught.learned.views(question.points, question.data)[-1].rows
    unknown = question.points.unknown(rows, THRESHOLDS().weights_resolved)
    if unknown:
        doubts.append(
            f"{unknown} inputs or outputs seem to carry nothing, but their weights are not known well enough to "
            "say what they could be swapped with: leave them out, bring them to like units, or give more tasks"
        )
    if findings.decision.open:
        orders = ", ".join(short(c.order) for c in findings.decision.open)
        doubts.append(f"a larger group (order {orders}) may hold as well: more tasks would settle it")
    elif untested := larger_untested(instruments, named, findings.candidates):
        doubts.append(
            f"all tasks together seem to keep a larger group (order {short(untested.order)}) that no part of "
            "them proposed, so that none was left to test it: give more tasks"
        )
    return doubts


def _about_none(
    instruments: Instruments, findings: Findings, lack: LackOfFit, names: Callable[[float], bool] | None
) -> list[str]:
    """The first doubt about the answer *none*, as a list of one sentence; an empty list if there is none.

    In this order: tasks that are not linear, a group that is still open, a pattern that is not clearly without a group.
    """
    question = instruments.question
    decision = findings.decision
    if instruments.nonlinearity.detected(lack):
        return [_not_linear(instruments, lack)]
    if decision.open:
        likeliest = max(decision.open, key=lambda c: (c.exact, -c.breaking))
        tolerance = larger_tolerance(question, findings, names) if names is not None else None
        return [not_shown(likeliest, question.eps, tolerance)]
    if decision.weak or not clear_everywhere(instruments, findings.trials):
        return [findings.refusals[0] if findings.refusals else why_unclear(question, findings)]
    return []


def _not_linear(instruments: Instruments, lack: LackOfFit) -> str:
    """The sentence that tasks are not linear, with the share of the outputs that a linear layer leaves on average."""
    return not_linear(float(lack.residual.mean() / instruments.question.sample.energies.mean()))
