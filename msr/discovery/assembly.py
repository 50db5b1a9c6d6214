"""The answer put together: a :class:`Discovery` from the verdict and what was learned, with what is shown beside it."""

from collections.abc import Sequence

import torch

from msr.discovery.answer.candidate import Candidate
from msr.discovery.answer.certificate import GroupCertificate
from msr.discovery.answer.result import Discovery, PartialSymmetry, Verdict
from msr.discovery.answer.sentences import two_closure_note
from msr.discovery.breaking.biases import Biases
from msr.discovery.pattern.hypothesis_class import class_automorphisms
from msr.discovery.pattern.learning import Learned
from msr.discovery.question import Question
from msr.discovery.thresholds import THRESHOLDS
from msr.errors import DataError, MissingExtraError
from msr.groups.naming.group_name import GroupName
from msr.permutations import Indices
from msr.representations.commutant.lie_algebra import continuous
from msr.representations.commutant.values import MOST_RTOL, Continuous

__all__ = ["assembled"]

_MOST_POINTS = 512
"""Most inputs or outputs for which continuous symmetries are sought. A limit of time."""

_MOST_WEIGHTS = 1024
"""Most weights for which the symmetries of the hypothesis class are counted. A limit of time."""


def assembled(
    question: Question,
    verdict: Verdict,
    sentence: str,
    hints: Sequence[str],
    *,
    learned: Learned | None = None,
    group: GroupName | None = None,
    chosen: Candidate | None = None,
    candidates: Sequence[Candidate] = (),
    certificate: GroupCertificate | None = None,
    biases: Biases | None = None,
    partial: tuple[PartialSymmetry, ...] = (),
    explained: float | None = None,
    classes: Indices | None = None,
) -> Discovery:
    """The :class:`Discovery` with all its values; pattern and noise are in the units in which the tasks were given.

    What is shown beside the verdict is computed here: continuous symmetries, the order of the hypothesis class, and the
    note on smaller groups with the same orbitals. ``seconds`` is 0 and ``threads`` is 1: whoever calls this fills them
    in.

    Args:
        learned: the pattern that is shown; None where none was learned.
        group, chosen: the name, and the candidate that the rule chose, which may stand without a name.

    All other arguments are the attributes of :class:`Discovery` with the same names.
    """
    data = question.data
    span = learned.span if learned else None
    return Discovery(
        verdict=verdict,
        sentence=sentence,
        hints=tuple(hints),
        layer=data.layer,
        signed=question.signed,
        shape_in=data.shape_in,
        shape_out=data.shape_out,
        inputs=data.inputs,
        outputs=data.outputs,
        dimension=span.k if span else None,
        group=group,
        chosen=chosen,
        candidates=tuple(candidates),
        certificate=certificate,
        biases=biases,
        partial=partial,
        continuous=_continuous(question, learned, chosen) if learned else None,
        two_closure_note=two_closure_note(chosen.order, chosen.orbitals) if chosen else "",
        classes=classes,
        pattern=span.U * torch.from_numpy(data.factors).reshape(-1, 1) if span else None,
        noise=span.noise * float((data.units[1] ** 2).mean()) if span else None,
        explained=explained,
        class_order=_class_order(question, chosen),
        spectrum=span.start.spectrum if span is not None and span.start is not None else None,
        training=span.residuals if span else (),
        n_tasks=len(data.x),
        left_out=data.left_out,
        seconds=0.0,
    )


def _class_order(question: Question, chosen: Candidate | None) -> int | None:
    """Number of pairs of permutations that map the set of all layers with the chosen group's symmetry to itself.

    None where no group was chosen, for signed permutations, for more than 1024 weights, and where the search for the
    pairs reached its limit of work.
    """
    data = question.data
    if chosen is None or question.signed or data.m * data.n > _MOST_WEIGHTS:
        return None
    try:
        return class_automorphisms(chosen.orbitals.reshape(data.m, -1)).order
    except MissingExtraError:
        # The search reached its limit of work, and the optional engine is not installed. The verdict does not need it.
        return None


def _continuous(question: Question, learned: Learned, chosen: Candidate | None) -> Continuous | None:
    """The continuous symmetries of every linear layer with the learned pattern, up to the error of the fit.

    None for more than 512 inputs or outputs, and where no structure fits at either of the two tolerances. The weights
    are averaged over the chosen group first, which removes noise. The wide tolerance is tried first and sees structure
    through noise, the narrow one is for layers where the wide one fits no structure.
    """
    limits = THRESHOLDS()
    rows = learned.in_original_units(question.data)
    if max(rows.shape) > _MOST_POINTS:
        return None
    if chosen is not None and not question.signed:
        rows = rows.averaged(chosen.orbitals)
    maps = torch.from_numpy(rows.values).T.reshape(-1, *rows.shape)
    # However large the tolerance may be, no structure is sought beyond MOST_RTOL.
    most = min(MOST_RTOL, limits.continuous_tolerance_most)
    # The error of a row is relative to its size, since the commutant compares eigenvalues as shares of the largest.
    for errors in limits.continuous_errors:
        tolerance = max(limits.continuous_tolerance_least, errors * rows.error / rows.size)
        try:
            return continuous(maps, rtol=min(most, tolerance), seed=question.seed)
        except DataError:  # no structure fits at this tolerance
            continue
    return None
