"""Specificity: how many random relabellings of the group fit the learned pattern as well as the group itself."""

import numpy as np
from torch import Tensor

from msr.discovery.answer.candidate import Candidate
from msr.discovery.pattern.action import Points
from msr.discovery.thresholds import THRESHOLDS
from msr.permutations import relabelled_orbitals
from msr.statistics.randomisation import randomisation_p_value

__all__ = ["specificity"]


def specificity(points: Points, chosen: Candidate, U: Tensor, seed: int) -> float | None:
    """``(1 + #) / (1 + B)``: the share of ``B`` random relabellings that fit ``U (m n, k)`` as well as the group does.

    A relabelling renames inputs and outputs independently, which gives a conjugate group of the same kind elsewhere.
    The group itself is counted once, as in a permutation p-value, so the least result is ``1 / (1 + B)``. A small value
    means that this very group fits, and not groups of its kind in general. None where every relabelling has the same
    orbitals as the group, so that there is nothing to compare.
    """
    generator = np.random.default_rng(seed)
    draws = THRESHOLDS().relabellings
    of_group = chosen.orbitals
    count = int(of_group.max()) + 1
    own_residual = float((points.average(U, of_group) - U).square().sum())
    as_good = others = 0
    for _ in range(draws):
        s, t = points.relabelling(generator)
        labels = relabelled_orbitals(of_group, s, t)
        # As many joint labels as labels: the relabelled group has the same orbitals.
        if len(np.unique(of_group * count + labels)) == count:
            # It fits exactly as well, since it is the group itself.
            as_good += 1
            continue
        others += 1
        as_good += float((points.average(U, labels) - U).square().sum()) <= own_residual
    return randomisation_p_value(as_good, draws) if others else None
