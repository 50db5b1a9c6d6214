"""Proofs that a group with a table is a known one: an isomorphism, or elements that satisfy known relations."""

import math

import numpy as np

from msr.groups import FiniteGroup
from msr.permutations import Indices
from msr.permutations.work_budget import spend

__all__ = ["find_isomorphism", "split_metacyclic"]

_MAX_EFFORT = 50_000
"""Steps of a search for an isomorphism, some ten microseconds each: half a second."""


def find_isomorphism(a: FiniteGroup, b: FiniteGroup, *, most: int = _MAX_EFFORT) -> Indices | None:
    """An isomorphism as the images of the elements of ``a``; None for groups that are not isomorphic.

    None too where the search would take more than ``most`` steps. Generators of ``a`` are sent one after another to
    elements of ``b`` with the same invariants, so that the subgroups which they generate stay isomorphic.
    """
    if a.order != b.order:
        return None
    rows = np.concatenate([_element_invariants(a), _element_invariants(b)])
    # Both groups together, so that equal invariants get equal numbers in either.
    kinds = np.unique(rows, axis=0, return_inverse=True)[1].ravel()
    kinds_a = kinds[: a.order]
    kinds_b = kinds[a.order :]
    if not np.array_equal(np.sort(kinds_a), np.sort(kinds_b)):
        return None
    # Generators of rare kinds first: they have few possible images.
    counts = np.bincount(kinds)
    generators = _irredundant(a, sorted(a.generators, key=lambda x: int(counts[kinds_a[x]])))
    start = np.full(a.order, -1)
    start[0] = 0
    # A stack: for each generator the images that remain to be tried, and the isomorphism of the subgroups so far.
    untried = [_possible_images(kinds_b, kinds_a, generators, 0, b)]
    partial_maps = [start]
    effort = 0
    while untried:
        depth = len(untried)
        if depth > len(generators):
            return partial_maps[-1]
        if not untried[-1]:
            untried.pop()
            partial_maps.pop()
            continue
        h = untried[-1].pop()
        # The images chosen so far can be read off the map of the subgroup that they generate.
        targets = [*(int(partial_maps[-1][g]) for g in generators[: depth - 1]), h]
        extended, steps = _extended(a, b, generators[:depth], targets)
        effort += steps
        if effort > most:
            return None
        if extended is not None:
            partial_maps.append(extended)
            untried.append(_possible_images(kinds_b, kinds_a, generators, depth, b))
    return None


def _possible_images(kinds_b: Indices, kinds_a: Indices, generators: list[int], at: int, b: FiniteGroup) -> list[int]:
    """Elements of ``b`` of the kind of a generator, first choice last."""
    if at == len(generators):
        return []
    images = np.flatnonzero(kinds_b == kinds_a[generators[at]])
    if at == 0:
        # An isomorphism may be followed by a conjugation, so one image of each conjugacy class is enough.
        images = images[np.unique(b.class_index[images], return_index=True)[1]]
    return images[::-1].tolist()


def _element_invariants(group: FiniteGroup) -> Indices:
    """Numbers of each element that an isomorphism keeps: order, class size, square and cube roots, commutator pairs."""
    spend(200 + group.order**2 / 50)
    t = group.table
    elements = np.arange(group.order)
    sizes = np.asarray([len(c) for c in group.conjugacy_classes])[group.class_index]
    square = t[elements, elements]
    cube = t[square, elements]
    inverse = group.inverses
    commutators = np.bincount(t[t, t[np.ix_(inverse, inverse)]].ravel(), minlength=group.order)
    columns = [group.element_orders, sizes, commutators]
    columns += [np.bincount(power, minlength=group.order) for power in (square, cube)]
    # The same of the square and the cube of each element.
    columns += [column[square] for column in columns] + [column[cube] for column in columns]
    return np.stack(columns, 1)


def _irredundant(group: FiniteGroup, generators: list[int]) -> list[int]:
    """The generators that are not products of those before them."""
    chosen: list[int] = []
    inside = np.zeros(group.order, dtype=bool)
    inside[0] = True
    for g in generators:
        if not inside[g]:
            chosen.append(g)
            inside[group.closure(chosen)] = True
    return chosen


def _extended(a: FiniteGroup, b: FiniteGroup, sources: list[int], targets: list[int]) -> tuple[Indices | None, int]:
    """The isomorphism of subgroups that sends each source to its target, or None; and how many steps that took."""
    image = np.full(a.order, -1)
    image[0] = 0
    frontier = np.zeros(1, dtype=np.int64)
    steps = 0
    while len(frontier):
        reached = []
        for g, h in zip(sources, targets, strict=True):
            steps += 1
            spend(10 + len(frontier) / 20)
            products = a.table[frontier, g]
            targets_of_products = b.table[image[frontier], h]
            new = image[products] == -1
            image[products[new]] = targets_of_products[new]
            if (image[products] != targets_of_products).any():
                return None, steps
            reached.append(products[new])
        frontier = np.concatenate(reached)
    known = image[image >= 0]
    # A homomorphism is an isomorphism onto its image if no two elements go to one.
    return (image if len(np.unique(known)) == len(known) else None), steps


def split_metacyclic(group: FiniteGroup) -> str | None:
    """The name ``C_n:C_k (r -> r^a)`` of a split metacyclic group; None for another one.

    ``n`` is as large, and then the power ``a`` by which a generator of ``C_k`` acts as small, as can be.
    """
    t = group.table
    inverse = group.inverses
    orders = group.element_orders
    best: tuple[int, int] | None = None  # (−n, a), so that the least pair is the best
    tried = np.zeros(group.order, dtype=bool)
    for x in np.argsort(-orders, kind="stable").tolist():
        n = int(orders[x])
        if tried[x] or n == 1 or group.order % n or (best is not None and n < -best[0]):
            continue
        # The exponents of the powers of x; -1 for other elements.
        log = np.full(group.order, -1)
        spend(30 + n)
        powers = [0]
        for _ in range(n - 1):
            powers.append(int(t[powers[-1], x]))
        log[powers] = np.arange(n)
        # Elements that generate the same cyclic group need not be tried again.
        tried[[powers[i] for i in range(n) if math.gcd(i, n) == 1]] = True
        # The cyclic subgroup must be normal: every generator conjugates x to a power of x.
        if any(log[t[t[g, x], inverse[g]]] < 0 for g in group.generators):
            continue
        spend(group.order // n * (5 + group.order / 100))
        # Generators of complements: elements of the order of the quotient, no power of which but 1 is a power of x.
        tops: Indices = np.flatnonzero(orders == group.order // n)
        power: Indices = tops
        is_complement = np.ones(len(tops), dtype=bool)
        for _ in range(1, group.order // n):
            is_complement &= log[power] < 0
            power = t[power, tops]
        exponents = log[t[t[tops, x], inverse[tops]]][is_complement]
        if len(exponents):
            candidate = (-n, int(exponents.min()))
            best = candidate if best is None else min(best, candidate)
    if best is None:
        return None
    return f"C{-best[0]}:C{group.order // -best[0]} (r -> r^{best[1]})"
