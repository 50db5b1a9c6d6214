"""Symmetric, alternating and dihedral groups in any action, proven by elements that satisfy a presentation."""

import math

import numpy as np

from msr.groups.naming.conjugacy_classes import MAX_ENTRIES, is_power_one, order_of, small_classes
from msr.groups.naming.generated_group import GeneratedGroup
from msr.permutations import Indices
from msr.permutations.stabiliser_chains import random_elements
from msr.permutations.work_budget import spend

__all__ = ["dihedral_name", "symmetric_or_alternating_name"]

_LARGEST = 60
"""Degrees ``n`` below this are tried for ``S_n`` and ``A_n``. Chosen by hand."""


def symmetric_or_alternating_name(group: GeneratedGroup) -> str | None:
    """``S_n`` or ``A_n``, ``n`` from 5 to 59, where the order fits and some elements satisfy a presentation; else None.

    None does not prove that the group is another one. Transpositions ``t_1, …, t_{n−1}`` with Coxeter's relations
    generate an image of ``S_n``, of which there are three: ``S_n`` itself, two elements, and one. Elements
    ``x_1, …, x_{n−2}`` of order 3 with ``(x_i x_j)² = 1`` generate an image of the simple group ``A_n``. Where they
    generate more than two elements, and the order of the group is that of ``S_n`` or ``A_n``, the group is that one.

    Source: Coxeter and Moser, *Generators and Relations for Discrete Groups*, 6.2 and 6.3.
    """
    # From 5 on A_n is simple, on which the argument rests; smaller groups have a table.
    for n in range(5, _LARGEST):
        factorial = math.factorial(n)
        if factorial // 2 > group.order:
            return None
        if factorial == group.order and _satisfies(group, n, 2, n * (n - 1) // 2, n - 1):
            return f"S{n}"
        if factorial == 2 * group.order and _satisfies(group, n, 3, n * (n - 1) * (n - 2) // 3, n - 2):
            return f"A{n}"
    return None


def _satisfies(group: GeneratedGroup, n: int, prime: int, class_size: int, wanted: int) -> bool:
    """Whether some class of ``class_size`` elements of prime order holds ``wanted`` elements that satisfy a
    presentation.

    For the prime 2 it is Coxeter's of ``S_n``, for 3 Carmichael's of ``A_n``. False is no proof.
    """
    if class_size * group.degree > MAX_ENTRIES:
        return False
    for class_ in small_classes(group, prime, class_size, exact=True):
        chosen = _coxeter(class_, wanted) if prime == 2 else _carmichael(class_, wanted)
        if len(chosen) == wanted:
            return True
    return False


def _coxeter(class_: Indices, wanted: int) -> list[Indices]:
    """Involutions of a class ``(k, points)``, in a chain that begins with the first of the class: neighbours have a
    product of order 3, any other two commute.

    The chain has ``wanted`` elements, or fewer where the search, which takes the first that fits, came to an end.
    """
    chosen = [class_[0]]
    while len(chosen) < wanted:
        spend(50 + len(chosen) * class_.size / 200)
        commute = [(class_[:, x] == x[class_]).all(1) for x in chosen]
        repeated = [(class_ == x).all(1) for x in chosen]
        # It must commute with all but the last one, and be none of them.
        fits = np.flatnonzero(np.all([*commute[:-1], ~commute[-1]], axis=0) & ~np.any(repeated, axis=0))
        following = next((class_[i] for i in fits if is_power_one(class_[i][chosen[-1]], 3)), None)
        if following is None:
            break
        chosen.append(following)
    return chosen


def _carmichael(class_: Indices, wanted: int) -> list[Indices]:
    """Elements of a class ``(k, points)`` of elements of order 3, of which any two have a product of order 2; the first
    of the class is one.

    There are ``wanted`` of them, or fewer where the search, which takes the first that fits, found no more.
    """
    chosen = [class_[0]]
    for row in class_[1:]:
        spend(20 * len(chosen))
        if len(chosen) < wanted and all(is_power_one(row[x], 2) and not is_power_one(row[x], 1) for x in chosen):
            chosen.append(row)
    return chosen


def dihedral_name(group: GeneratedGroup) -> str | None:
    """``D_n``, ``n ≥ 3``, by an element of half the order and an involution outside its powers that inverts it; else
    None.

    None does not prove that the group is another one: the search is among a few dozen random elements. Half of the
    elements of a dihedral group are involutions.
    """
    half = group.order // 2
    points = group.core_rows.shape[1]
    # An element of order `half` on so few points would need cycles of many coprime lengths.
    if group.order % 2 or half > points**2:
        return None
    rounds = random_elements(group.core_rows, np.random.default_rng(2))
    drawn = [row for rows, _ in zip(rounds, range(3), strict=False) for row in rows]
    rotation = next((row for row in drawn if order_of(row) == half), None)
    if rotation is None:
        return None
    for row in drawn:
        # An involution that inverts an element of order above 2 is none of its powers.
        inverts = is_power_one(row, 2) and np.array_equal(row[rotation[row]], np.argsort(rotation))
        if half > 2 and inverts and (row != np.arange(points)).any():
            return f"D{half}"
    return None
