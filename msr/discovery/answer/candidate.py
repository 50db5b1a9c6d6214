"""A candidate: one group that the learned weights proposed, with what the testing tasks showed of it."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np

from msr.brief import Brief
from msr.permutations import Indices, orbitals

__all__ = ["Candidate", "Status", "same_group"]

Status: TypeAlias = Literal["within", "beyond", "open"]


@dataclass(frozen=True, eq=False, repr=False)
class Candidate(Brief):
    """A group that one set of classes of weights gave, and what tasks that had no part in proposing it show of it.

    The part of a task's weights that *breaks* a group is ``W − P W``, where ``P`` is the Reynolds operator: each weight
    replaced by its mean over the orbital it lies in. ``breaking``, ``low`` and ``high`` measure that part by the energy
    it adds to the outputs.

    Units: ``breaking``, ``low`` and ``high`` are shares of the energy (mean square) of the outputs, without unit; their
    square roots are shares of the outputs' size, which is what ``eps`` is. A group that breaks 0.0025 of the energy
    breaks 5% of the size.

    Attributes:
        colours: ``(out, in)``, the class of each weight; there are ``n_colours`` of them.
        generators_in: ``(r, in)``; generator ``g`` sends input ``i`` to input ``generators_in[g, i]``. Signed
            permutations act on twice the points, ``(r, 2 in)``: first ``+j`` of every input, then ``−j``.
        generators_out: ``(r, out)`` or ``(r, 2 out)``, the same on outputs.
        order: number of elements of the group that they generate.
        residual: ``‖U − P U‖ / ‖U‖`` of the fitted span ``U``, in the basis in which filters have covariance ``I``; no
            unit. It includes the error of the fit, so it is no evidence of its own.
        exact: whether no fitted weight differs from its mean over the group by more than the fit's errors explain, and
            the weights that the group moves are known well, or make at least half of the outputs' energy: weights no
            larger than their errors would fit any group.
        share: share of the outputs' energy that comes from weights which the group moves, between 0 and 1. A group
            that moves weak weights only breaks little, whether or not it is a symmetry.
        breaking: share of the outputs' energy that breaks the group, averaged over tasks and splits. The estimate is
            unbiased, so noise can make it negative; nan before any test.
        low, high: confidence bounds on that share in typical tasks. All bounds, p-values and verdicts about all
            candidates together hold with probability 1 − α.
        p_within: p-value of the null hypothesis that typical tasks break the group by ε² of the energy or more.
        p_beyond: p-value of the null hypothesis that they break it by ε² or less.
        p_not_kept: p-value of the null hypothesis that nothing breaks it, up to (ε/20)².
        status: ``within``: shown to break less than ε². ``beyond``: shown to break more. ``open``: neither was shown.
        seen_broken: whether it was shown that something breaks the group, if possibly less than ε².
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

    @cached_property
    def orbitals(self) -> Indices:
        """Label of the orbital (orbit on pairs of an output and an input) of each weight, ``(out · in,)``.

        For signed permutations these are pairs of points, ``(2 out · 2 in,)``.

        A linear layer shows a group's orbitals and nothing more of the group. They are computed once, since every
        comparison of two candidates asks for them.
        """
        return orbitals(self.generators_in, self.generators_out)


def same_group(a: Candidate, b: Candidate) -> bool:
    """Whether two candidates have the same orbitals, so that no linear layer could tell them apart."""
    return np.array_equal(a.orbitals, b.orbitals)
