"""Agreement: one answer from several searches of the same tasks with other random splits (``seeds``)."""

from dataclasses import replace

from msr.discovery.answer.candidate import Candidate, same_group
from msr.discovery.answer.result import Discovery
from msr.discovery.answer.sentences import cannot_tell

__all__ = ["agreed"]


def agreed(answers: list[Discovery]) -> Discovery:
    """One answer from those of several searches: the common one, or *cannot tell* where verdicts or groups differ.

    Of answers that agree on a group the one with the largest p-value is given; of others that agree, the first. Where
    they differ, the rest is that of the answer with the largest p-value, or of the first one where not all chose one
    group; without a name, and then without what speaks of a group.
    """
    first = answers[0]
    one_choice = all(_same_choice(a.chosen, first.chosen) for a in answers)
    if any(a.verdict != first.verdict for a in answers) or not one_choice:
        listed = "; ".join(f"{a.verdict}{f' ({a.group.name})' if a.group else ''}" for a in answers)
        hint = f"{len(answers)} random splits of the tasks do not agree ({listed}): more tasks would help"
        # What belongs to a name, or to a verdict of "none", goes with it.
        shown = replace(_weakest(answers) if one_choice else first, group=None, biases=None, partial=())
        if not one_choice:
            # So does what speaks of one search's group, which others did not choose.
            shown = replace(
                shown, chosen=None, certificate=None, continuous=None, two_closure_note="", class_order=None
            )
        return replace(shown, verdict="cannot tell", sentence=cannot_tell(hint), hints=(hint,))
    return _weakest(answers)


def _weakest(answers: list[Discovery]) -> Discovery:
    """The answer with the largest p-value of its certificate; the first where that has no certificate.

    The evidence of all others would overstate what agreement proves.
    """
    if answers[0].certificate is None:
        return answers[0]
    return max(answers, key=lambda a: a.certificate.p_value if a.certificate else 0.0)


def _same_choice(a: Candidate | None, b: Candidate | None) -> bool:
    """Whether both chose the same group, or both chose none."""
    if a is None or b is None:
        return a is b
    return same_group(a, b)
