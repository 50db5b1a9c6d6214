"""What is claimed of groups, with its evidence: of each that was tested, and of the one that is named."""

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

from msr.brief import Brief
from msr.permutations.actions import Indices

__all__ = ["APART", "Candidate", "Certificate", "Status"]

APART = 1 / 8
"""Of the error rate, for the share of exceptions; and as much for what is not linear. Groups have the rest."""

Status: TypeAlias = Literal["within", "beyond", "open"]


@dataclass(frozen=True, eq=False, repr=False)
class Candidate(Brief):
    """A group that a clustering of the weights gave, and what tasks that had no part in it say of it.

    What breaks a group is a share of the outputs' energy, the square of a share of their size.

    Attributes:
        colours: ``(out, in)``, the class of each weight; ``n_colours`` of them.
        generators_in: ``(r, in)``, ``generators_out``: ``(r, out)``; row ``g`` sends point ``i`` to ``[g, i]``.
        order: of the group they generate.
        residual: ``‖W − P W‖ / ‖W‖`` on average over tasks, ``P`` the mean over the group; from the fitted span.
        exact: no fitted weight is further from its mean over the group than errors of the fit are.
        share: how much of the outputs comes from weights that the group moves; a group of weak weights costs little.
        breaking: what breaks it, on average over tasks, without bias: noise can make it negative.
        low, high: bounds on that of typical tasks, from one family of tests at level α over all candidates.
        p_within, p_beyond, p_not_kept: p-values of the nulls that it breaks ε² or more; ε² or less; nothing at all.
        status: ``within``: shown to break less than ε²; ``beyond``: more; ``open``: neither.
        seen_broken: shown to break something, if less than ε².
    """

    colours: Indices
    n_colours: int
    generators_in: Indices
    generators_out: Indices
    order: int
    residual: float
    exact: bool
    share: float
    breaking: float = math.nan
    low: float = 0.0
    high: float = 1.0
    p_within: float = 1.0
    p_beyond: float = 1.0
    p_not_kept: float = 1.0
    status: Status = "open"
    seen_broken: bool = False


@dataclass(frozen=True, repr=False)
class Certificate(Brief):
    """What was shown of the group that is named, on tasks that had no part in choosing it.

    The null hypothesis of ``p_value``: typical tasks break the group by ``ε²`` of their outputs' energy or more,
    ``E min(b − ε² e, reach) ≥ 0``, with ``b`` the energy of what breaks the group in a task's outputs, ``e`` that of
    its outputs, noise left out of both. Tasks far beyond that are exceptions; their share is bounded apart.

    Attributes:
        p_value: one over an e-value, so it holds over all groups that were looked at and all splits.
        breaking: the mean of ``b``, as a share of the mean of ``e``; ``bound`` what the typical are below, at level α.
        method: of that estimate: ``least squares`` or ``pairs of examples``.
        exceptions: tasks that were seen to break the group, by their places in what came.
        exceptions_at_most: the share of all tasks that may be exceptions, at level α / 8.
        exceptions_break: an exception is a task that breaks the group by more than this share of the outputs' size.
        counts_up_to: the share of the outputs' size by which one task counts as breaking the group at most.
        nonlinear_at_most: the share of the outputs' energy that products of two or three inputs explain beyond a linear
            layer, at most, at level α / 8; None where that could not be looked for.
        covers: what ``b`` is of. ``the outputs``: what breaks the group in the linear layer and what such products may
            make are less than ε² together, or all that a linear layer leaves was counted as breaking the group; ``the
            linear layer``: what is beyond it was looked for and not seen, but may be as large as said.
        linear: whether nothing beyond a linear layer was seen.
        n_tasks: tasks of a split that tested; ``splits`` of them were made.
        specificity: the share of random relabellings of the same group that fit the learned pattern as well,
            ``(1 + #) / (B + 1)``; None where every relabelling gives the same group.
    """

    null: str
    eps: float
    alpha: float
    p_value: float
    breaking: float
    bound: float
    method: str
    exceptions: tuple[int, ...]
    exceptions_at_most: float
    exceptions_break: float
    counts_up_to: float
    nonlinear_at_most: float | None
    covers: Literal["the outputs", "the linear layer"]
    linear: bool
    n_tasks: int
    splits: int
    certified: bool
    specificity: float | None
