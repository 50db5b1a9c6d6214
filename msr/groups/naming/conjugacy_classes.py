"""Small conjugacy classes of a large permutation group: how to find them, and what they show of the group.

A class is found as the conjugates of a power of a random element, so that a class which is not found proves nothing.
What a class that was found shows is proven.
"""

import math

import numpy as np

from msr.groups.naming.generated_group import GeneratedGroup
from msr.permutations import Indices, cycle_lengths, orbit_labels, power_of
from msr.permutations.stabiliser_chains import random_elements
from msr.permutations.work_budget import spend

__all__ = ["MAX_ENTRIES", "generates_regular_base", "is_power_one", "on_class", "order_of",
           "small_classes"]  # fmt: skip

MAX_ENTRIES = 4_000_000
"""Largest number of entries, elements times points, of a class that is written down. Such a class takes 32 MB."""
_ROUNDS = 40
"""Rounds of random elements in which small conjugacy classes are searched for. Chosen by hand."""
_TRIED = 200
"""Most elements of prime order whose classes are built in one search. Chosen by hand."""
_MOST_LOOKED_UP = 2e8
"""Images of points that a search for small classes may look up: about a second's worth."""
_COST_OF_A_ROW = 1000
"""What a permutation costs beyond its points when a class is built, in images of points: the row is hashed."""


def order_of(row: Indices) -> int:
    """The order of a permutation ``(n,)``: the least ``k > 0`` for which its k-th power is the identity."""
    return math.lcm(*cycle_lengths(row))


def is_power_one(row: Indices, power: int) -> bool:
    """Whether the power ``row^power`` of a permutation ``(n,)`` is the identity."""
    return bool((power_of(row, power) == np.arange(len(row))).all())


def small_classes(group: GeneratedGroup, prime: int, largest: int, exact: bool = False) -> list[Indices]:
    """Some conjugacy classes of elements of order ``prime`` with at most ``largest`` elements, smallest first.

    Each is an array ``(k, points)`` of its elements, permutations as in ``group.core_rows``. The group must have a
    generator. With ``exact`` the list holds at most one class, of exactly ``largest`` elements. Elements of prime order
    are found as powers of random elements, the same at each call, so that a class may be missed.
    """
    rows = group.core_rows
    inverses = np.argsort(rows, 1)
    looked_up = 0
    classes: list[Indices] = []
    tried: set[bytes] = set()
    rounds = random_elements(rows, np.random.default_rng(1))
    for elements, _ in zip(rounds, range(_ROUNDS), strict=False):
        for element in elements:
            spend(20 + len(element))
            power = _of_prime_order(element, prime)
            if power is None or power.tobytes() in tried:
                continue
            tried.add(power.tobytes())
            # It lies in a class that is known already.
            if any((known == power).all(1).any() for known in classes):
                continue
            class_, cost = conjugates(rows, inverses, power, largest)
            looked_up += cost
            if class_ is not None and (not exact or len(class_) == largest):
                classes.append(class_)
                if exact:
                    return classes
            if len(tried) == _TRIED or looked_up > _MOST_LOOKED_UP:
                return sorted(classes, key=len)
    return sorted(classes, key=len)


def _of_prime_order(element: Indices, prime: int) -> Indices | None:
    """The power of a permutation that has the order ``prime``; None where ``prime`` does not divide the
    permutation's order.
    """
    order = order_of(element)
    return None if order % prime else power_of(element, order // prime)


def conjugates(generators: Indices, inverses: Indices, element: Indices, most: int) -> tuple[Indices | None, int]:
    """The conjugacy class of an element, ``(k, points)``, itself first, and the cost, in images of points that were
    looked up.

    ``inverses``: the inverse of each generator, ``(r, points)``. The class is None, with the cost so far, where it has
    more than ``most`` elements, or more than ``MAX_ENTRIES`` entries.
    """
    most = min(most, MAX_ENTRIES // len(element))
    rows_made = 0
    known = {element.tobytes()}
    class_ = frontier = element[None]
    while len(frontier):
        reached = []
        for g, inverse in zip(generators, inverses, strict=True):
            rows_made += len(frontier)
            spend(10 + len(frontier) * (_COST_OF_A_ROW + len(element)) / 500)
            # g x g⁻¹ as permutations: first the inverse, then x, then g.
            for row in g[frontier[:, inverse]]:
                key = row.tobytes()
                if key not in known:
                    known.add(key)
                    reached.append(row)
            if len(known) > most:
                return None, rows_made * (len(element) + _COST_OF_A_ROW)
        frontier = np.asarray(reached, dtype=element.dtype).reshape(len(reached), len(element))
        class_ = np.concatenate([class_, frontier])
    return class_, rows_made * (len(element) + _COST_OF_A_ROW)


def on_class(group: GeneratedGroup, class_: Indices) -> GeneratedGroup:
    """The group of permutations that conjugation makes of the elements of a conjugacy class, ``(k, points)``.

    The class is one of ``group.core_rows``, and its element ``i`` is point ``i``; elements that no generator moves are
    left out, as in any :class:`GeneratedGroup`.
    """
    spend(len(class_) * (1 + len(group.core_rows)))
    place = {row.tobytes(): i for i, row in enumerate(class_)}
    rows = group.core_rows
    moves = [
        [place[row.tobytes()] for row in g[class_[:, inverse]]]
        for g, inverse in zip(rows, np.argsort(rows, 1), strict=True)
    ]
    return GeneratedGroup(np.asarray(moves), most=group.order)


def generates_regular_base(group: GeneratedGroup, class_: Indices, prime: int) -> bool:
    """Whether the elements of a class generate the direct product of their cyclic groups, and this product acts
    regularly on the points of the core.

    ``class_``: ``(k, points)``, elements of order ``prime`` on the core. If so the group is a wreath product of a
    cyclic group with its action on the class: the stabiliser of a point is then a complement of the product, and
    permutes the elements of the class.
    """
    size = prime ** len(class_) if len(class_) < 64 else 0
    if size != class_.shape[1] or len(group.core) > 1:
        return False
    spend(len(class_) * (10 + class_.size / 100))
    commute = all(np.array_equal(x[class_], class_[:, x]) for x in class_)
    # A transitive abelian group is regular, hence has as many elements as there are points; it reaches the order of the
    # product of the cyclic groups only where that product is direct.
    return commute and int(orbit_labels(class_).max()) == 0
