"""The sentences of a discovery."""

import math

import numpy as np

from msr.discovery.result import Candidate, Certificate, GroupName, PartialSymmetry, short
from msr.groups.permutations import Indices

__all__ = ["cannot_tell", "found_sentence", "nothing_sentence", "two_closure_note"]


def cannot_tell(why: str) -> str:
    """The verdict when neither a group nor its absence is shown."""
    return f"Cannot tell: {why}."


def found_sentence(
    name: GroupName, certificate: Certificate, candidates: list[Candidate], k: int, explained: float
) -> str:
    """The group, how it acts, what keeping to it costs, what else was tried."""
    inputs, outputs = str(name.on_inputs), str(name.on_outputs)
    acts = f"inputs and outputs alike ({inputs})" if inputs == outputs else f"inputs ({inputs}), outputs ({outputs})"
    called = name.title[0].upper() + name.title[1:]
    if not name.certain:
        called += f" (perhaps {' or '.join(name.alternatives)})" if name.alternatives else " (without a name here)"
    rejected = sum(c.rejected and c.order > 1 for c in candidates)
    level = f"at level {certificate.alpha:g}"
    others = f"; {rejected} alternative{'s' * (rejected != 1)} rejected {level}" if rejected else ""
    change = math.sqrt(max(certificate.cost, 0))
    return (
        f"{called}, order {short(name.order)}: {acts}. Keeping to it changes the outputs by {change:.1%}, certified "
        f"below {certificate.eps:.0%} {level} (p = {certificate.p_value:.2g}, {certificate.n_tasks} fresh tasks)"
        f"{others}; the sharing has dimension {k} and explains {explained:.0%} of the outputs."
    )


def nothing_sentence(
    classes: int, partial: tuple[PartialSymmetry, ...], candidates: list[Candidate], alpha: float
) -> str:
    """That no group was found, and what was tested."""
    rejected = sum(c.rejected for c in candidates)
    sentence = f"No group found: {classes} classes of weights are told apart, and no permutation keeps them"
    if rejected == 1:
        sentence += f"; the one group that coarser classes would give was rejected at level {alpha:g}"
    elif rejected:
        sentence += f"; the {rejected} groups that coarser classes would give were rejected at level {alpha:g}"
    sentence += "."
    if partial:
        sentence = f"No exact group, but a partial symmetry: {partial[0].name}. {sentence}"
    return sentence


def two_closure_note(order: int, orbits: Indices) -> str:
    """Whether a smaller group could have the same orbits on weights, which are all that a linear layer shows.

    A group that is transitive on an orbit has an order divisible by its size; if the least common multiple of the sizes
    is the whole order, no smaller group has these orbits, and the note is empty.
    """
    if order == 1 or math.lcm(*np.bincount(orbits).tolist()) == order:
        return ""
    return (
        "A linear layer shows the orbits of a group on pairs of an output and an input, and no more. The group named "
        "is the largest with these orbits (its 2-closure); a smaller one may be what made the tasks."
    )
