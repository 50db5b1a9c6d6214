"""Large groups proven to be symmetric, alternating, or made of such, whatever they act on."""

import math

import numpy as np

from msr.groups.naming.permuted import Permuted
from msr.permutations import Indices, cycle_lengths, orbit_labels, power_of
from msr.permutations.stabiliser_chains import Chain, OrderNotProven, random_elements
from msr.permutations.work_budget import spend

__all__ = ["direct_factors", "is_dihedral", "is_regular_base", "on_class", "small_classes", "symmetric_or_alternating"]

_MAX_ENTRIES = 4_000_000
"""Conjugates times points that are written down."""
_ROUNDS, _TRIED = 40, 200
"""Rounds of random elements in which small conjugacy classes are looked for, and how many elements are tried."""
_MOST_LOOKED_UP, _A_ROW = 2e8, 1000
"""Images of points that a search for small classes may look up, about a second's worth, and what a row costs more."""
_FACTOR_CLASS, _FACTORS = 600, 6
"""Elements of a class that may generate a direct factor, and how many classes of a prime are looked at."""


def symmetric_or_alternating(group: Permuted) -> str | None:
    """``S_n`` or ``A_n`` for an order of ``n!`` or ``n!/2`` with ``n ≥ 5``, by elements that keep a presentation of it.

    Transpositions ``t_1, …, t_{n−1}`` with Coxeter's relations generate an image of ``S_n``, of which there are three:
    itself, two elements and one. Cycles ``x_1, …, x_{n−2}`` of length 3 with ``(x_i x_j)² = 1`` generate an image of
    the simple group ``A_n``. Where they generate more than two elements, and the group has as many as ``S_n`` or
    ``A_n``, it is that group. The elements are looked for among random ones, so that None proves nothing.

    Source: Coxeter and Moser, *Generators and Relations for Discrete Groups*, 6.2 and 6.3.
    """
    for n in range(5, 60):
        whole = math.factorial(n)
        if whole // 2 > group.order:
            return None
        if whole == group.order and _keep(group, n, 2, n * (n - 1) // 2, n - 1):
            return f"S{n}"
        if whole == 2 * group.order and _keep(group, n, 3, n * (n - 1) * (n - 2) // 3, n - 2):
            return f"A{n}"
    return None


def _keep(group: Permuted, n: int, prime: int, size: int, wanted: int) -> bool:
    """Whether a class of this size holds elements that keep the presentation, for the prime 2 or 3."""
    if size * group.degree > _MAX_ENTRIES:
        return False
    for class_ in small_classes(group, prime, size, exact=True):
        chosen = _coxeter(class_, wanted) if prime == 2 else _carmichael(class_, wanted)
        if len(chosen) == wanted:
            return True
    return False


def _coxeter(class_: Indices, wanted: int) -> list[Indices]:
    """Elements of which neighbours have a product of order 3, and all others commute."""
    chosen = [class_[0]]
    while len(chosen) < wanted:
        spend(50 + len(chosen) * class_.size / 200)
        commute = [(class_[:, x] == x[class_]).all(1) for x in chosen]
        again = [(class_ == x).all(1) for x in chosen]
        fits = np.flatnonzero(np.all([*commute[:-1], ~commute[-1]], axis=0) & ~np.any(again, axis=0))
        after = next((class_[i] for i in fits if _is_one(class_[i][chosen[-1]], 3)), None)
        if after is None:
            break
        chosen.append(after)
    return chosen


def _carmichael(class_: Indices, wanted: int) -> list[Indices]:
    """Elements of order 3 of which any two have a product of order 2."""
    chosen = [class_[0]]
    for row in class_[1:]:
        spend(20 * len(chosen))
        if len(chosen) < wanted and all(_is_one(row[x], 2) and not _is_one(row[x], 1) for x in chosen):
            chosen.append(row)
    return chosen


def is_dihedral(group: Permuted) -> str | None:
    """``D_n``, by an element of half the order that an involution outside its powers inverts; no proof if None."""
    half, every = group.order // 2, np.arange(group.core_rows.shape[1])
    if group.order % 2 or half > group.core_rows.shape[1] ** 2:
        return None
    seen = [
        row
        for rows, _ in zip(random_elements(group.core_rows, np.random.default_rng(2)), range(3), strict=False)
        for row in rows
    ]
    long = next((row for row in seen if _order(row) == half), None)
    if long is None:
        return None
    for row in seen:
        # An involution that inverts an element of order above 2 is none of its powers.
        if _is_one(row, 2) and half > 2 and np.array_equal(row[long[row]], np.argsort(long)) and (row != every).any():
            return f"D{half}"
    return None


def _order(row: Indices) -> int:
    return math.lcm(*cycle_lengths(row))


def _is_one(row: Indices, power: int) -> bool:
    return bool((power_of(row, power) == np.arange(len(row))).all())


def small_classes(group: Permuted, prime: int, largest: int, exact: bool = False) -> list[Indices]:
    """Conjugacy classes of elements of prime order with few elements, each ``(k, points)``, smallest first.

    Powers of random elements lead to them. ``exact``: only the first with as many elements as ``largest``.
    """
    rows = group.core_rows
    back = np.argsort(rows, 1)
    work = 0
    found: list[Indices] = []
    tried: set[bytes] = set()
    rounds = random_elements(rows, np.random.default_rng(1))
    for elements, _ in zip(rounds, range(_ROUNDS), strict=False):
        for element in elements:
            spend(20 + len(element))
            power = _of_prime_order(element, prime)
            if power is None or power.tobytes() in tried:
                continue
            tried.add(power.tobytes())
            if any((one == power).all(1).any() for one in found):
                continue
            class_, looked_up = conjugates(rows, back, power, largest)
            work += looked_up
            if class_ is not None and (not exact or len(class_) == largest):
                found.append(class_)
                if exact:
                    return found
            if len(tried) == _TRIED or work > _MOST_LOOKED_UP:
                return sorted(found, key=len)
    return sorted(found, key=len)


def _of_prime_order(element: Indices, prime: int) -> Indices | None:
    """The power of an element that has this order, or None."""
    order = _order(element)
    return None if order % prime else power_of(element, order // prime)


def conjugates(generators: Indices, back: Indices, element: Indices, most: int) -> tuple[Indices | None, int]:
    """The class of an element, ``(k, points)``, None where it has more than so many elements; and the work.

    ``back``: the inverses of the generators. The work is counted in images of points that were looked up.
    """
    most = min(most, _MAX_ENTRIES // len(element))
    rows_made = 0
    known = {element.tobytes()}
    found = frontier = element[None]
    while len(frontier):
        reached = []
        for g, h in zip(generators, back, strict=True):
            rows_made += len(frontier)
            spend(10 + len(frontier) * (_A_ROW + len(element)) / 500)
            for row in g[frontier[:, h]]:
                key = row.tobytes()
                if key not in known:
                    known.add(key)
                    reached.append(row)
            if len(known) > most:
                return None, rows_made * (len(element) + _A_ROW)
        frontier = np.asarray(reached, dtype=element.dtype).reshape(len(reached), len(element))
        found = np.concatenate([found, frontier])
    return found, rows_made * (len(element) + _A_ROW)


def on_class(group: Permuted, class_: Indices) -> Permuted:
    """What conjugation does to a class."""
    spend(len(class_) * (1 + len(group.core_rows)))
    place = {row.tobytes(): i for i, row in enumerate(class_)}
    rows = group.core_rows
    moves = [[place[row.tobytes()] for row in g[class_[:, h]]] for g, h in zip(rows, np.argsort(rows, 1), strict=True)]
    return Permuted(np.asarray(moves), most=group.order)


def is_regular_base(group: Permuted, class_: Indices, prime: int) -> bool:
    """Whether a class generates the direct product of the cycles of its elements, regular on the points.

    What fixes a point is a complement of it then, and permutes the elements of the class: together they are the wreath
    product of a cycle with what the group does to the class.
    """
    size = prime ** len(class_) if len(class_) < 64 else 0
    if size != class_.shape[1] or len(group.core) > 1:
        return False
    spend(len(class_) * (10 + class_.size / 100))
    commute = all(np.array_equal(x[class_], class_[:, x]) for x in class_)
    # A transitive abelian group is regular, and as large as the product of the cycles only if that is direct.
    return commute and int(orbit_labels(class_).max()) == 0


def direct_factors(group: Permuted) -> list[Permuted] | None:
    """Two normal subgroups that commute, meet in the identity alone and make up the group, or None.

    Each is generated by a small conjugacy class, so that None is no proof of the contrary.
    """
    parts: list[tuple[Indices, int]] = []
    for prime in (2, 3, 5, 7):
        if group.order % prime:
            continue
        for class_ in small_classes(group, prime, _FACTOR_CLASS)[:_FACTORS]:
            try:
                order = Chain(class_, most=group.order).order
            except OrderNotProven:
                continue
            for other, size in parts:
                spend(len(class_) * (10 + other.size / 100))
                if order * size != group.order or any(not np.array_equal(x[other], other[:, x]) for x in class_):
                    continue
                if Chain(np.concatenate([class_, other]), most=group.order).order == group.order:
                    return [Permuted(class_, order), Permuted(other, size)]
            if order < group.order:
                parts.append((class_, order))
    return None
