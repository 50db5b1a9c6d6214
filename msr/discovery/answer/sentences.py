"""The sentences of a discovery."""

import math

import numpy as np

from msr.discovery.answer.claims import Candidate, Certificate
from msr.discovery.answer.result import PartialSymmetry, short
from msr.groups.naming.group_name import GroupName
from msr.permutations.actions import Indices

__all__ = [
    "cannot_tell",
    "exceptions_words",
    "found_sentence",
    "never_seen",
    "linear_words",
    "not_linear",
    "not_shown",
    "nothing_sentence",
    "p_words",
    "share",
    "size",
    "two_closure_note",
]


_LITTLE_KNOWN = 0.25  # of the outputs' energy: a bound that is no help


def p_words(p_value: float) -> str:
    """Such as ``p = 0.003``; digits far out in a tail are not known."""
    return f"p = {p_value:.2g}" if p_value >= 1e-6 else "p < 1e-6"


def share(value: float) -> str:
    """A tolerance in per cent, with all its digits: ``5%``, ``2.5%``, ``0.04%``."""
    return f"{100 * value:.4g}%"


def cannot_tell(why: str) -> str:
    """The verdict when neither a group nor its absence is shown."""
    return f"Cannot tell: {why}."


def never_seen(inputs: int, freedom: int) -> str:
    """Where there are more inputs than examples, in all tasks together."""
    return (
        f"the inputs span at most {freedom} of {inputs} directions, in all tasks together, so the weights on the rest "
        "cannot be learned: give more tasks or examples, or fewer inputs"
    )


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
    level = f"at level {certificate.alpha:g}"
    larger = [c for c in candidates if c.order > name.order and (c.seen_broken or c.status == "beyond")]
    near = [c for c in larger if c.status == "within"]
    others = f"; {len(larger)} larger group{'s' * (len(larger) != 1)} rejected" if larger else ""
    if near:
        listed = ", ".join(f"one of order {short(c.order)} by {size(c.breaking)}" for c in near)
        others += f", of which {listed}: broken, if within the tolerance"
    return (
        f"{called}, order {short(name.order)}: {acts}. In typical tasks what breaks it makes less than "
        f"{share(certificate.eps)} of {certificate.covers}, {level} ({p_words(certificate.p_value)}, "
        f"{certificate.n_tasks} tasks that had no part in choosing it; at most {size(certificate.bound)}); "
        f"{exceptions_words(certificate)}; {linear_words(certificate)}{others}; the sharing has dimension {k} and "
        f"explains {explained:.0%} of the outputs."
    )


def linear_words(certificate: Certificate) -> str:
    """What of the outputs is not linear in the inputs, and whether it is counted."""
    if not certificate.linear:
        return "the tasks are not quite linear, and all that a linear layer leaves was counted as breaking it"
    if certificate.nonlinear_at_most is None:
        return "whether the tasks are linear could not be tested"
    if certificate.nonlinear_at_most >= _LITTLE_KNOWN:
        return "nothing beyond a linear layer was seen, but with these examples products of inputs could make much"
    most = size(certificate.nonlinear_at_most)
    return f"nothing beyond a linear layer was seen (products of inputs make at most {most} of the outputs)"


def exceptions_words(certificate: Certificate) -> str:
    """What share of the tasks may be exceptions, and which were seen to be."""
    most, size_ = f"{certificate.exceptions_at_most:.1%}", f"{certificate.exceptions_break:.0%}"
    said = f"at most {most} of the tasks may be exceptions, which break it by more than {size_}"
    if certificate.exceptions:
        places = ", ".join(str(i) for i in certificate.exceptions[:8])
        more = len(certificate.exceptions) - 8
        said += f" (seen: task{'s' * (len(certificate.exceptions) > 1)} {places}{f' and {more} more' * (more > 0)})"
    return said


def size(energy: float) -> str:
    """A share of the outputs' size, from one of their energy."""
    return f"{math.sqrt(max(energy, 0.0)):.1%}"


def not_linear(left: float) -> str:
    """That no linear layer makes the tasks."""
    return (
        f"the tasks are not linear: a linear layer leaves {math.sqrt(max(left, 0)):.0%} of the outputs' size, and "
        "products or other functions of the inputs explain a part of that"
    )


def not_shown(one: Candidate, eps: float, retried: float | None) -> str:
    """Why a group that may hold is not named, and what helps: ``retried`` is a tolerance that these tasks answer at."""
    said = f"a group of order {short(one.order)} may hold, but these tasks do not show it within {share(eps)} "
    said += "of the outputs"
    if one.high < 1:
        said += f", only within {size(one.high)}"
    helps = f"with --eps {retried:g} they pass the same test; " if retried is not None else ""
    return f"{said}: {helps}more tasks, more examples a task or less noise would show less"


def nothing_sentence(
    classes: int, partial: tuple[PartialSymmetry, ...], candidates: list[Candidate], alpha: float
) -> str:
    """That no group was found, and what was tested."""
    rejected = sum(c.seen_broken or c.status == "beyond" for c in candidates)
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
