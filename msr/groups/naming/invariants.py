"""Counts that isomorphic groups share."""

import math
from collections import Counter
from itertools import product
from typing import NamedTuple

import numpy as np

from msr.groups import FiniteGroup
from msr.permutations.work_budget import spend

__all__ = ["Invariants", "fingerprint", "invariants_of", "invariants_of_product"]


def fingerprint(group: FiniteGroup) -> dict[str, object]:
    """What isomorphic groups share: order, element orders, centre, classes, abelianisation, derived length."""
    return _written(invariants_of(group))


class Invariants(NamedTuple):
    """A fingerprint whose parts multiply: those of a direct product come from those of its factors."""

    order: int
    element_orders: dict[int, int]
    centre: int
    classes: dict[tuple[int, int], int]  # (size, order of its elements): how many
    abelianisation: int
    derived_length: int | None  # None where it never ends


def invariants_of(group: FiniteGroup) -> Invariants:
    """The marks of a group."""
    derived = _derived(group)
    now, length = derived, int(group.order > 1)
    while now.order > 1 and (lower := _derived(now)).order < now.order:
        now, length = lower, length + 1
    # A group that equals its derived one, or reaches one that does, has no length.
    solvable = now.order == 1 and (derived.order < group.order or group.order == 1)
    return Invariants(
        order=group.order,
        element_orders=dict(sorted(Counter(group.element_orders.tolist()).items())),
        centre=len(group.centre),
        classes=dict(Counter((len(c), int(group.element_orders[c[0]])) for c in group.conjugacy_classes)),
        abelianisation=group.order // derived.order,
        derived_length=length if solvable else None,
    )


def invariants_of_product(a: Invariants, b: Invariants) -> Invariants:
    """The marks of a direct product from those of its factors."""
    orders: Counter[int] = Counter()
    for (x, i), (y, j) in product(a.element_orders.items(), b.element_orders.items()):
        orders[math.lcm(x, y)] += i * j
    classes: Counter[tuple[int, int]] = Counter()
    for ((size, x), i), ((other, y), j) in product(a.classes.items(), b.classes.items()):
        classes[size * other, math.lcm(x, y)] += i * j
    lengths = (a.derived_length, b.derived_length)
    return Invariants(
        order=a.order * b.order,
        element_orders=dict(sorted(orders.items())),
        centre=a.centre * b.centre,
        classes=dict(classes),
        abelianisation=a.abelianisation * b.abelianisation,
        derived_length=None if None in lengths else max(length for length in lengths if length is not None),
    )


def _written(marks: Invariants) -> dict[str, object]:
    return {
        "order": marks.order,
        "element orders": marks.element_orders,
        "centre": marks.centre,
        "classes": sorted(c for c, count in marks.classes.items() for _ in range(count)),
        "abelianisation": marks.abelianisation,
        "derived length": marks.derived_length,
    }


def _derived(group: FiniteGroup) -> FiniteGroup:
    """The subgroup that commutators generate."""
    spend(200 + group.order**2 / 50)
    t, inverse = group.table, group.inverses
    # A mask, as sorting a million commutators takes long.
    is_commutator = np.zeros(group.order, dtype=bool)
    is_commutator[t[t, t[np.ix_(inverse, inverse)]]] = True
    return group.subgroup(np.flatnonzero(is_commutator).tolist()).group
