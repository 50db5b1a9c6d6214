"""Candidates compared: their orbits on weights, and whether answers of several splits agree."""

from dataclasses import replace

import numpy as np

from msr.discovery.answer.claims import Candidate
from msr.discovery.answer.result import Discovery
from msr.discovery.answer.sentences import cannot_tell
from msr.permutations import orbitals
from msr.permutations.actions import Indices

__all__ = ["agreed", "differ", "orbits_of"]


def agreed(answers: list[Discovery]) -> Discovery:
    """The answer of the first split, unless another one differs; with the largest of the p-values."""
    first = answers[0]
    if any(a.verdict != first.verdict or not _same_group(a.chosen, first.chosen) for a in answers):
        said = "; ".join(f"{a.verdict}{f' ({a.group.name})' if a.group else ''}" for a in answers)
        hint = f"{len(answers)} random splits of the tasks do not agree ({said}): more tasks would help"
        return replace(first, verdict="cannot tell", sentence=cannot_tell(hint), hints=(hint,), group=None)
    if first.certificate is None:
        return first
    return max(answers, key=lambda a: a.certificate.p_value if a.certificate else 0.0)


def _same_group(a: Candidate | None, b: Candidate | None) -> bool:
    if a is None or b is None:
        return a is b
    return not differ(a, b)


def orbits_of(candidate: Candidate) -> Indices:
    """Its orbits on weights, which are all that a linear layer shows of it."""
    return orbitals(candidate.generators_in, candidate.generators_out)


def differ(a: Candidate, b: Candidate) -> bool:
    """Whether two candidates have other orbits on weights."""
    return not np.array_equal(orbits_of(a), orbits_of(b))
