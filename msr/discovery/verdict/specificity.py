"""How special the group is that fits: how many others of its kind, at random, fit what was learned as well."""

import numpy as np
from torch import Tensor

from msr.discovery.answer.claims import Candidate
from msr.discovery.pattern.action import Points
from msr.discovery.verdict.agreement import orbits_of
from msr.permutations import relabelled_orbitals

__all__ = ["specificity"]

_RELABELLINGS = 99


def specificity(points: Points, chosen: Candidate, U: Tensor, seed: int) -> float | None:
    """The share of random relabellings of a group, on inputs and outputs apart, that ``U (m n, k)`` keeps as well.

    It counts the group itself, as a p-value does; None where every relabelling gives the same group.
    """
    generator = np.random.default_rng(seed)
    own = orbits_of(chosen)
    count = int(own.max()) + 1
    limit = float((points.average(U, own) - U).square().sum())
    as_good = others = 0
    for _ in range(_RELABELLINGS):
        s, t = points.relabelling(generator)
        orbits = relabelled_orbitals(own, s, t)
        if len(np.unique(own * count + orbits)) == count:
            as_good += 1
            continue
        others += 1
        as_good += float((points.average(U, orbits) - U).square().sum()) <= limit
    return (1 + as_good) / (1 + _RELABELLINGS) if others else None
