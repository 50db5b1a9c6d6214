"""Candidates: the groups that some tasks propose, by way of the pattern they teach and its classes of equal weights."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from msr.discovery.answer.candidate import Candidate, same_group
from msr.discovery.pattern.classes import MAX_WEIGHTS, Colouring, Rows, colourings, parted
from msr.discovery.pattern.learning import Learned, View, learn
from msr.discovery.pattern.refinement import all_distinct
from msr.discovery.question import Question
from msr.discovery.thresholds import THRESHOLDS
from msr.errors import DataError
from msr.permutations import Indices, orbitals

__all__ = ["Taught", "clearly_none", "is_trivial", "taught_by", "unused_energy"]


@dataclass(frozen=True, eq=False)
class Taught:
    """The result of learning from some tasks: the pattern, and the groups that it proposes.

    Attributes:
        learned: the pattern.
        finest: its finest classes of equal weights, of all weights between points (``lines × columns``).
        candidates: the groups that are proposed, each once, that of the finest classes first.
    """

    learned: Learned
    finest: Colouring
    candidates: list[Candidate]


def taught_by(question: Question, tasks: Tensor, seed: int) -> Taught:
    """What some tasks teach: the pattern, its classes, and the groups read off the classes.

    Args:
        tasks: places of the tasks that teach.
        seed: of the fit of the span.

    Raises: DataError where these tasks do not determine the weights, no weight differs from zero beyond its error, or
    the weights are too many to cluster.
    """
    data = question.data
    points = question.points
    learned = learn(data.x, data.y, data.counts, question.k, seed, tasks)
    views = learned.views(points, data)
    rows = views[0].rows
    if not points.used(rows)[0].size:
        raise DataError("no input carries weight that can be told from nothing")
    if len(rows.values) > MAX_WEIGHTS:
        raise DataError(f"{len(rows.values)} weights are too many to cluster (at most {MAX_WEIGHTS})")
    # Each view proposes groups of its own. The finest classes of the first view come first, and are shown.
    cuts = [_cuts(view) for view in views]
    candidates = _of_cuts(question, cuts, views, learned)
    fitting = [c for c in candidates if c.exact and not is_trivial(question, c)]
    if fitting:
        # The mean over a group that holds keeps the weights and removes noise, so classes are sought once more in it.
        largest = max(fitting, key=lambda c: c.order)
        labels = largest.orbitals
        smoothed = [_cuts(replace(view, rows=view.rows.averaged(labels))) for view in views]
        _add_new(candidates, _of_cuts(question, smoothed, views, learned))
        _add_new(candidates, _joins(question, largest, fitting, rows, learned))
    return Taught(learned, cuts[0][0], candidates)


def clearly_none(question: Question, taught: Taught) -> bool:
    """Whether the weights are known so well, and differ so clearly, that no permutation keeps them.

    Three things must hold. The finest classes have no symmetry. They are clearly separated and the weights are known
    well, or colour refinement tells all used points apart. The points that count as unused produce less of the outputs
    than the tolerance.
    """
    limits = THRESHOLDS()
    learned = taught.learned
    finest = taught.finest
    rows = question.points.rows(learned.rows)
    separated = finest.above >= limits.classes_clear * limits.class_noise * rows.errors.max()
    distinct = separated and rows.relative_error() <= limits.weights_resolved
    distinct = distinct or all_distinct(rows, *question.points.used(rows))
    # The first candidate is the group of the finest classes.
    without_symmetry = is_trivial(question, taught.candidates[0])
    return bool(without_symmetry and distinct and unused_energy(question, learned, rows) <= question.limit)


def is_trivial(question: Question, candidate: Candidate) -> bool:
    """Whether every linear layer has this group, so that it says nothing."""
    return question.points.is_trivial(candidate.generators_in, candidate.generators_out)


def unused_energy(question: Question, learned: Learned, rows: Rows) -> float:
    """The share of the outputs' energy that weights of unused inputs or unused outputs produce, between 0 and 1.

    ``rows``, of weights between points, say which points are used (:meth:`~msr.discovery.pattern.action.Points.used`).
    """
    points = question.points
    used = np.zeros((points.lines, points.columns), dtype=bool)
    used_in, used_out = points.used(rows)
    used[np.ix_(used_out, used_in)] = True
    return float(_energy(question, learned)[~points.plain(used)].sum())


def _cuts(view: View) -> list[Colouring]:
    """The classes of one view, for several cuts of their clustering, finest first; labels of a view split classes."""
    cuts = colourings(view.rows)
    return cuts if view.labels is None else [parted(cut, view.labels) for cut in cuts]


def _of_cuts(question: Question, cuts: list[list[Colouring]], views: list[View], learned: Learned) -> list[Candidate]:
    """The groups of all cuts of all views, each once: those of the first view first, and of its finest classes first.

    ``cuts`` holds, for each of ``views``, its cuts, finest first.
    """
    candidates: list[Candidate] = []
    for cuts_of_view, view in zip(cuts, views, strict=True):
        for cut in cuts_of_view:
            _add_new(candidates, [_candidate(question, cut, view.rows, learned)])
    return candidates


def _joins(
    question: Question, largest: Candidate, fitting: list[Candidate], rows: Rows, learned: Learned
) -> list[Candidate]:
    """For each of ``fitting`` but ``largest``, the group with the orbitals that both groups generate together.

    ``fitting`` are candidates that seem to hold, and ``largest`` is one of them. ``rows`` are those of weights between
    points.
    """
    joins = []
    for other in fitting:
        if other is not largest:
            generators_in = np.concatenate([largest.generators_in, other.generators_in])
            generators_out = np.concatenate([largest.generators_out, other.generators_out])
            labels = orbitals(generators_in, generators_out)
            colours = labels.reshape(question.points.lines, question.points.columns)
            # These classes come from no clustering, so there is no gap around them.
            classes = Colouring(colours, int(labels.max()) + 1, 0.0, math.inf)
            joins.append(_candidate(question, classes, rows, learned))
    return joins


def _add_new(candidates: list[Candidate], more: list[Candidate]) -> None:
    """Append, in place, those of ``more`` whose group is not among the candidates yet."""
    for candidate in more:
        if not any(same_group(candidate, other) for other in candidates):
            candidates.append(candidate)


def _candidate(question: Question, cut: Colouring, rows: Rows, learned: Learned) -> Candidate:
    """The candidate of some classes: the group of all permutations that keep them, with how well the weights keep it.

    ``rows``, of weights between points, are asked whether the group is kept up to their errors.
    """
    points = question.points
    limits = THRESHOLDS()
    group = points.automorphisms(cut, rows)
    labels = orbitals(group.generators_in, group.generators_out)
    U = learned.span.U
    residual = float((points.average(U, labels) - U).norm() / U.norm())
    share = _moved_share(question, learned, labels)
    # Weights no larger than their errors equal everything within those errors. That they fit a group is evidence only
    # if they are known well, or make a good part of the outputs.
    known = rows.relative_error(points.moved(labels)) <= limits.weights_resolved
    return Candidate(
        colours=points.plain(cut.colours),
        n_colours=cut.n_colours,
        generators_in=group.generators_in,
        generators_out=group.generators_out,
        order=group.order,
        residual=residual,
        exact=rows.constant_on(labels) and (share >= limits.group_share or known),
        share=share,
    )


def _moved_share(question: Question, learned: Learned, labels: Indices) -> float:
    """The share of the outputs' energy from weights that a group with orbitals ``labels`` moves, between 0 and 1."""
    points = question.points
    moved = points.moved(labels).reshape(points.lines, points.columns)
    return float(_energy(question, learned)[points.plain(moved)].sum())


def _energy(question: Question, learned: Learned) -> NDArray[np.float64]:
    """The share of the outputs' energy that each weight of the layer produces, ``(out, in)``; they add up to 1."""
    second = question.sample.root.square().sum(1).numpy()
    return learned.energy(second, question.sample.scale.numpy())
