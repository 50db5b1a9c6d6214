"""The sentences of a discovery."""

import math

import numpy as np

from msr.discovery.result import Candidate, Certificate, GroupName, PartialSymmetry, short
from msr.groups.permutations import Indices

__all__ = ["cannot_tell", "found_sentence", "nothing_sentence", "p_words", "share", "two_closure_note", "uncertified"]


def p_words(p_value: float) -> str:
    """Such as ``p = 0.003``; digits far out in a tail are not known."""
    return f"p = {p_value:.2g}" if p_value >= 1e-6 else "p < 1e-6"


def share(value: float) -> str:
    """A tolerance in per cent, with all its digits: ``5%``, ``2.5%``, ``0.04%``."""
    return f"{100 * value:.4g}%"


def cannot_tell(why: str) -> str:
    """The verdict when neither a group nor its absence is shown."""
    return f"Cannot tell: {why}."


def found_sentence(
    name: GroupName, certificate: Certificate, candidates: list[Candidate], k: int, explained: float, signed: bool
) -> str:
    """The group, how it acts, what keeping to it costs, what else was tried."""
    inputs, outputs = str(name.on_inputs), str(name.on_outputs)
    acts = f"inputs and outputs alike ({inputs})" if inputs == outputs else f"inputs ({inputs}), outputs ({outputs})"
    called = name.title[0].upper() + name.title[1:]
    if not name.certain:
        called += f" (perhaps {' or '.join(name.alternatives)})" if name.alternatives else " (without a name here)"
    if signed:
        acts += ", with both signs of each; the change of all signs counts"
    rejected = sum(c.rejected and c.order > 1 for c in candidates)
    level = f"at level {certificate.alpha:g}"
    others = f"; {rejected} alternative{'s' * (rejected != 1)} rejected {level}" if rejected else ""
    most = math.sqrt(max(certificate.bound or 0.0, 0.0))
    return (
        f"{called}, order {short(name.order)}: {acts}. What breaks it makes less than {share(certificate.eps)} of the "
        f"outputs, {level} ({p_words(certificate.p_value)}, {certificate.n_tasks} fresh tasks; at most "
        f"{most:.1%}){others}; the sharing has dimension {k} and explains "
        f"{explained:.0%} of the outputs."
    )


def uncertified(order: int, certificate: Certificate) -> str:
    """Why the chosen group was not certified, and what would help."""
    group, limit = f"the group of order {short(order)}", certificate.eps**2
    estimate, low, high = certificate.breaking, certificate.at_least, certificate.bound
    if estimate is None or low is None or high is None:
        return (
            f"{group} holds in what was learned, but these tasks cannot show that their own weights do not break it: "
            "inputs that are the same in every task, or centred in each, need at least 6 examples a task more than "
            "there are inputs"
        )
    if low > limit:
        return (
            f"the tasks' own weights, whatever they share, break {group} by {math.sqrt(estimate):.0%} (at least "
            f"{math.sqrt(low):.0%}): they hold more than was learned"
        )
    if certificate.p_breaking > certificate.alpha and certificate.p_cost <= certificate.alpha:
        most, room = math.sqrt(high), limit - max(estimate, 0)
        more = f"about {math.ceil(((high - max(estimate, 0)) / room) ** 2)} times as many tasks may show less, or "
        return (
            f"{group} holds in what was learned, but what breaks it beyond that may make up to {most:.1%} of the "
            f"outputs: {more * (room > 0.1 * limit)}give --eps {most * 1.1:.2g}"
        )
    return (
        f"the fresh tasks do not certify {group} within {certificate.eps:g} ({p_words(certificate.p_value)}): more "
        "tasks, or more examples a task, would help"
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
