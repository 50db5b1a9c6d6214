"""Numbers that isomorphic groups share: orders of elements, classes, centre, abelianisation, derived length."""

import math
from collections import Counter
from itertools import product
from typing import NamedTuple

import numpy as np

from msr.groups import FiniteGroup
from msr.permutations.work_budget import spend

__all__ = ["Invariants", "fingerprint", "invariants_of", "invariants_of_product"]


def fingerprint(group: FiniteGroup) -> dict[str, object]:
    """The invariants of a group as a dictionary with names for people: order, element orders, centre, classes,
    abelianisation, derived length. It is computed from the table.
    """
    return _in_words(invariants_of(group))


class Invariants(NamedTuple):
    """Invariants of a finite group; those of a direct product follow from those of its factors.

    Attributes:
        order: number of elements.
        element_orders: ``{order: number of elements that have it}``, the identity included.
        centre: order of the centre.
        classes: ``{(size, order of its elements): number of such conjugacy classes}``.
        abelianisation: order of the group modulo its commutator subgroup.
        derived_length: steps of the derived series down to one element, 0 for the trivial group; None for a group that
            is not solvable.
    """

    order: int
    element_orders: dict[int, int]
    centre: int
    classes: dict[tuple[int, int], int]
    abelianisation: int
    derived_length: int | None


def invariants_of(group: FiniteGroup) -> Invariants:
    """The invariants of a group, computed from its table."""
    derived = _commutator_subgroup(group)
    last = derived
    length = int(group.order > 1)
    # A group that is not solvable has a derived subgroup equal to itself; there the series stands still.
    while last.order > 1 and (following := _commutator_subgroup(last)).order < last.order:
        last = following
        length += 1
    # The series of a group that is not solvable ends at a group that is its own commutator subgroup.
    solvable = last.order == 1 and (derived.order < group.order or group.order == 1)
    return Invariants(
        order=group.order,
        element_orders=dict(sorted(Counter(group.element_orders.tolist()).items())),
        centre=len(group.centre),
        classes=dict(Counter((len(c), int(group.element_orders[c[0]])) for c in group.conjugacy_classes)),
        abelianisation=group.order // derived.order,
        derived_length=length if solvable else None,
    )


def invariants_of_product(a: Invariants, b: Invariants) -> Invariants:
    """The invariants of a direct product from those of its factors."""
    orders: Counter[int] = Counter()
    for (x, i), (y, j) in product(a.element_orders.items(), b.element_orders.items()):
        # The order of a pair is the least common multiple of the orders of its entries.
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


def _in_words(invariants: Invariants) -> dict[str, object]:
    """The invariants as a dictionary with names for people; ``classes`` lists ``(size, order of elements)`` of each
    class, sorted; abelianisation is an order, as in :class:`Invariants`.
    """
    return {
        "order": invariants.order,
        "element orders": invariants.element_orders,
        "centre": invariants.centre,
        "classes": sorted(c for c, count in invariants.classes.items() for _ in range(count)),
        "abelianisation": invariants.abelianisation,
        "derived length": invariants.derived_length,
    }


def _commutator_subgroup(group: FiniteGroup) -> FiniteGroup:
    """The subgroup that all commutators ``g h g⁻¹ h⁻¹`` generate, as a group of its own."""
    spend(200 + group.order**2 / 50)
    t = group.table
    inverse = group.inverses
    # A mask of the commutators: to sort a million of them would take long.
    is_commutator = np.zeros(group.order, dtype=bool)
    is_commutator[t[t, t[np.ix_(inverse, inverse)]]] = True
    return group.subgroup(np.flatnonzero(is_commutator).tolist()).group
