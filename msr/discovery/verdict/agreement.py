"""Agreement: one answer from several searches of the same tasks with other random splits (``seeds``)."""

from dataclasses import replace

from msr.discovery.answer.candidate import Candidate, same_group
from msr.discovery.answer.result import Discovery
from msr.discovery.answer.sentences import cannot_tell

__all__ = ["agreed"]


def agreed(answers: list[Discovery]) -> Discovery:
    """One answer from those of several searches: the common one, or *cannot tell* where verdicts or groups differ.

    Of answers that agree on a group the one with the largest p-value is given; of others that agree, the first. Where
    they differ it is the first answer with another verdict, sentence and hint and without a name; all its other values
    are kept, as those of one search.
    """
    first = answers[0]
    if any(a.verdict != first.verdict or not _same_choice(a.chosen, first.chosen) for a in answers):
        listed = "; ".join(f"{a.verdict}{f' ({a.group.name})' if a.group else ''}" for a in answers)
        hint = f"{len(answers)} random splits of the tasks do not agree ({listed}): more tasks would help"
        return replace(first, verdict="cannot tell", sentence=cannot_tell(hint), hints=(hint,), group=None)
    if first.certificate is None:
        return first
    # The weakest evidence of all searches is shown: the others would overstate what agreement proves.
    return max(answers, key=lambda a: a.certificate.p_value if a.certificate else 0.0)


def _same_choice(a: Candidate | None, b: Candidate | None) -> bool:
    """Whether both chose the same group, or both chose none."""
    if a is None or b is None:
        return a is b
    return same_group(a, b)
