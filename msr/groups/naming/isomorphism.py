"""Proofs of what a small group is: an isomorphism to another group, or elements that keep known relations."""

import math

import numpy as np

from msr.groups import FiniteGroup
from msr.permutations import Indices
from msr.permutations.work_budget import spend

__all__ = ["find_isomorphism", "split_metacyclic"]

_MAX_EFFORT = 50_000
"""Steps of a search for an isomorphism, some ten microseconds each."""


def find_isomorphism(a: FiniteGroup, b: FiniteGroup, *, most: int = _MAX_EFFORT) -> Indices | None:
    """An isomorphism as the images of the elements of ``a``, or None; None too when the search takes more steps.

    Generators of ``a`` are sent one after the other to elements of ``b`` that look alike, keeping an isomorphism
    between the subgroups that they generate so far.
    """
    if a.order != b.order:
        return None
    looks = np.unique(np.concatenate([_looks(a), _looks(b)]), axis=0, return_inverse=True)[1].ravel()
    looks_a, looks_b = looks[: a.order], looks[a.order :]
    if not np.array_equal(np.sort(looks_a), np.sort(looks_b)):
        return None
    counts = np.bincount(looks)
    generators = _needed(a, sorted(a.generators, key=lambda x: int(counts[looks_a[x]])))
    start = np.full(a.order, -1)
    start[0] = 0
    # What conjugation moves the first image to need not be tried again.
    left = [_choices(looks_b, looks_a, generators, 0, b)]
    images, effort = [start], 0
    while left:
        if len(left) > len(generators):
            return images[-1]
        if not left[-1]:
            left.pop()
            images.pop()
            continue
        h = left[-1].pop()
        sources, targets = generators[: len(left)], [*(int(images[-1][g]) for g in generators[: len(left) - 1]), h]
        found, steps = _extended(a, b, sources, targets)
        effort += steps
        if effort > most:
            return None
        if found is not None:
            images.append(found)
            left.append(_choices(looks_b, looks_a, generators, len(left), b))
    return None


def _choices(looks_b: Indices, looks_a: Indices, generators: list[int], at: int, b: FiniteGroup) -> list[int]:
    if at == len(generators):
        return []
    there = np.flatnonzero(looks_b == looks_a[generators[at]])
    if at == 0:
        there = there[np.unique(b.class_index[there], return_index=True)[1]]
    return there[::-1].tolist()


def _looks(group: FiniteGroup) -> Indices:
    """What an isomorphism keeps of each element: orders, class sizes, roots, and whether a commutator."""
    spend(200 + group.order**2 / 50)
    t, every = group.table, np.arange(group.order)
    sizes = np.asarray([len(c) for c in group.conjugacy_classes])[group.class_index]
    square = t[every, every]
    cube = t[square, every]
    inverse = group.inverses
    commutators = np.bincount(t[t, t[np.ix_(inverse, inverse)]].ravel(), minlength=group.order)
    columns = [group.element_orders, sizes, commutators]
    columns += [np.bincount(power, minlength=group.order) for power in (square, cube)]
    columns += [column[square] for column in columns] + [column[cube] for column in columns]
    return np.stack(columns, 1)


def _needed(group: FiniteGroup, generators: list[int]) -> list[int]:
    """The generators that those before them do not give."""
    chosen: list[int] = []
    inside = np.zeros(group.order, dtype=bool)
    inside[0] = True
    for g in generators:
        if not inside[g]:
            chosen.append(g)
            inside[group.closure(chosen)] = True
    return chosen


def _extended(a: FiniteGroup, b: FiniteGroup, sources: list[int], targets: list[int]) -> tuple[Indices | None, int]:
    """The isomorphism of the subgroups that sends these elements there, or None; and how many steps that took."""
    image = np.full(a.order, -1)
    image[0] = 0
    frontier, steps = np.zeros(1, dtype=np.int64), 0
    while len(frontier):
        reached = []
        for g, h in zip(sources, targets, strict=True):
            steps += 1
            spend(10 + len(frontier) / 20)
            there, goal = a.table[frontier, g], b.table[image[frontier], h]
            new = image[there] == -1
            image[there[new]] = goal[new]
            if (image[there] != goal).any():
                return None, steps
            reached.append(there[new])
        frontier = np.concatenate(reached)
    known = image[image >= 0]
    return (image if len(np.unique(known)) == len(known) else None), steps


def split_metacyclic(group: FiniteGroup) -> str | None:
    """``C_n ⋊ C_k`` with a generator of ``C_k`` acting by a power, ``n`` as large and the power as small as can be."""
    t, inverse, orders = group.table, group.inverses, group.element_orders
    best: tuple[int, int] | None = None
    seen = np.zeros(group.order, dtype=bool)
    for x in np.argsort(-orders, kind="stable").tolist():
        n = int(orders[x])
        if seen[x] or n == 1 or group.order % n or (best is not None and n < -best[0]):
            continue
        log = np.full(group.order, -1)
        spend(30 + n)
        powers = [0]
        for _ in range(n - 1):
            powers.append(int(t[powers[-1], x]))
        log[powers] = np.arange(n)
        seen[[powers[i] for i in range(n) if math.gcd(i, n) == 1]] = True
        if any(log[t[t[g, x], inverse[g]]] < 0 for g in group.generators):
            continue
        spend(group.order // n * (5 + group.order / 100))
        tops: Indices = np.flatnonzero(orders == group.order // n)
        power: Indices = tops
        apart = np.ones(len(tops), dtype=bool)
        for _ in range(1, group.order // n):
            apart &= log[power] < 0
            power = t[power, tops]
        acts = log[t[t[tops, x], inverse[tops]]][apart]
        if len(acts):
            found = (-n, int(acts.min()))
            best = found if best is None else min(best, found)
    if best is None:
        return None
    return f"C{-best[0]}:C{group.order // -best[0]} (r -> r^{best[1]})"
