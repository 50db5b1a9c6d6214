"""The sentences that a user reads: verdicts, what was shown of the named group, and why nothing can be told."""

import math

import numpy as np

from msr.discovery.answer.candidate import Candidate
from msr.discovery.answer.certificate import GroupCertificate
from msr.discovery.answer.result import PartialSymmetry, short
from msr.discovery.thresholds import THRESHOLDS
from msr.groups.naming.group_name import GroupName
from msr.permutations import Indices

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

_PLACES = 8
"""Places of exceptions that a sentence lists."""

_TAIL = 1e-6
"""Smallest p-value that is written out."""


def p_words(p_value: float) -> str:
    """A p-value, such as ``p = 0.003``; below 1e-6 without digits, since those depend on the far tails of numbers."""
    return f"p = {p_value:.2g}" if p_value >= _TAIL else "p < 1e-6"


def share(value: float) -> str:
    """A share in per cent, with up to four digits and no zeros behind them: 0.05 gives ``5%``, 0.0004 ``0.04%``."""
    return f"{100 * value:.4g}%"


def cannot_tell(why: str) -> str:
    """The sentence of the verdict *cannot tell*, with its reason."""
    return f"Cannot tell: {why}."


def never_seen(inputs: int, freedom: int) -> str:
    """The hint where all tasks together have fewer examples than inputs: centred, these span ``freedom`` directions.

    ``inputs`` is the number of inputs; ``freedom`` is the number of examples, less one for each task.
    """
    return (
        f"the inputs span at most {freedom} of {inputs} directions, in all tasks together, so the weights on the rest "
        "cannot be learned: give more tasks or examples, or fewer inputs"
    )


def found_sentence(
    name: GroupName, certificate: GroupCertificate, candidates: list[Candidate], k: int, explained: float, signed: bool
) -> str:
    """The sentence of the verdict *found*: the group, how it acts, what was shown of it, and what else was tested.

    Args:
        k: dimension of the sharing. ``explained``: the share of the outputs that it explains.
    """
    inputs = str(name.on_inputs)
    outputs = str(name.on_outputs)
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


def linear_words(certificate: GroupCertificate) -> str:
    """A clause of the sentence *found*: what was shown of the part of the outputs that is not linear in the inputs."""
    if not certificate.linear:
        return "the tasks are not quite linear, and all that a linear layer leaves was counted as breaking it"
    if certificate.nonlinear_at_most is None:
        return "whether the tasks are linear could not be tested"
    if certificate.nonlinear_at_most >= THRESHOLDS().nonlinear_bound_useful:
        return "nothing beyond a linear layer was seen, but with these examples products of inputs could make much"
    most = size(certificate.nonlinear_at_most)
    return f"nothing beyond a linear layer was seen (products of inputs make at most {most} of the outputs)"


def exceptions_words(certificate: GroupCertificate) -> str:
    """A clause of the sentence *found*: the bound on the share of exceptions, and the first places of those seen."""
    most = f"{certificate.exceptions_at_most:.1%}"
    breaking = f"{certificate.exceptions_break:.0%}"
    sentence = f"at most {most} of the tasks may be exceptions, which break it by more than {breaking}"
    count = len(certificate.exceptions)
    if count:
        places = ", ".join(str(i) for i in certificate.exceptions[:_PLACES])
        more = f" and {count - _PLACES} more" if count > _PLACES else ""
        sentence += f" (seen: task{'s' * (count > 1)} {places}{more})"
    return sentence


def size(energy: float) -> str:
    """A share of the outputs' energy as a share of their size, in per cent: ``0.0025`` gives ``5.0%``.

    It is the square root; a negative share gives ``0.0%``.
    """
    return f"{math.sqrt(max(energy, 0.0)):.1%}"


def not_linear(residual: float) -> str:
    """The hint where the tasks are no linear layers; ``residual`` is the share of energy that a linear layer leaves."""
    return (
        f"the tasks are not linear: a linear layer leaves {math.sqrt(max(residual, 0)):.0%} of the outputs' size, and "
        "products or other functions of the inputs explain a part of that"
    )


def not_shown(candidate: Candidate, eps: float, larger_eps: float | None) -> str:
    """The hint where a group may hold but was not shown to: within which bound it was shown, and what helps.

    Args:
        larger_eps: a tolerance at which a whole search of these tasks names a group; None where none is known.
    """
    order = short(candidate.order)
    sentence = f"a group of order {order} may hold, but these tasks do not show it within {share(eps)} of the outputs"
    if candidate.high < 1:
        sentence += f", only within {size(candidate.high)}"
    helps = f"with --eps {larger_eps:g} they pass the same test; " if larger_eps is not None else ""
    return f"{sentence}: {helps}more tasks, more examples a task or less noise would show less"


def nothing_sentence(
    classes: int, partial: tuple[PartialSymmetry, ...], candidates: list[Candidate], alpha: float
) -> str:
    """The sentence of the verdict *none*: what was told apart, what was rejected, and a partial symmetry if any.

    Args:
        classes: number of classes of weights in the finest clustering.
        partial: partial symmetries, of which the first is named.
        candidates: the groups that were tested.
        alpha: the error rate at which groups were rejected.
    """
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
    """The note that a smaller group than the one of this ``order`` may have its orbitals; an empty text where none can.

    A linear layer shows a group's orbitals only. A group with these orbitals has an order divisible by the size of each
    (orbit and stabiliser). If the least common multiple of the sizes is the order itself, no smaller group has them.

    Args:
        orbits: ``(out · in,)``, the orbital of each weight.
    """
    if order == 1 or math.lcm(*np.bincount(orbits).tolist()) == order:
        return ""
    return (
        "A linear layer shows the orbits of a group on pairs of an output and an input, and no more. The group named "
        "is the largest with these orbits (its 2-closure); a smaller one may be what made the tasks."
    )
