"""Small categories and functors that many tests of this room look at, and slow obvious ways to the same answers."""

from itertools import product

import numpy as np

from msr.category import (
    FinCat,
    Presheaf,
    action_copresheaf,
    action_groupoid,
    action_presheaf,
    disjoint_union,
    from_group,
    from_monoid,
    from_poset,
    from_quiver_paths,
)
from msr.groups import cyclic, symmetric

DIAMOND = [[1, 1, 1, 1], [0, 1, 0, 1], [0, 0, 1, 1], [0, 0, 0, 1]]


def chain(n):
    """The order ``0 < 1 < … < n − 1``."""
    return from_poset(np.triu(np.ones((n, n), dtype=int)), f"chain of {n}")


def diamond():
    return from_poset(DIAMOND, "diamond")


def parallel_pair():
    """Two arrows 2 and 3 from V = 0 to E = 1."""
    return from_quiver_paths(2, [(0, 1), (0, 1)], "parallel pair")


def idempotent():
    """The monoid ``{1, e}`` with ``e e = e``."""
    return from_monoid([[0, 1], [1, 1]], "idempotent")


def multigraph(n, arcs, category=None):
    """A directed multigraph as a presheaf on the parallel pair: source and target of each arc."""
    arrows = np.array(arcs, dtype=int).reshape(-1, 2)
    maps = {2: arrows[:, 0], 3: arrows[:, 1]}
    return Presheaf.generated(category or parallel_pair(), [n, len(arrows)], maps, "graph")


def turning(*sizes, n=4, covariant=False):
    """The sum of orbits of ``C_n`` of some sizes, each turning by one."""
    moves = [np.arange(n)[:, None] + np.arange(k) for k in sizes]
    starts = np.cumsum([0, *sizes])
    joined = [move % k + start for move, k, start in zip(moves, sizes, starts[:-1], strict=True)]
    images = np.concatenate(joined, axis=1) if joined else np.zeros((n, 0), dtype=int)
    return (action_copresheaf if covariant else action_presheaf)(from_group(cyclic(n)), images, str(sizes))


# Slow twins


def naturals(S, T):
    """All natural transformations, by trying every family of maps on its own; each as a tuple of tuples."""
    C = S.category
    options = [list(product(range(T.sizes[X]), repeat=int(S.sizes[X]))) for X in C.objects]
    return [
        family
        for family in product(*options)
        if all(
            T.maps[f][family[S.domain[f]][y]] == family[S.codomain[f]][S.maps[f][y]]
            for f in range(C.n_mor)
            for y in range(S.sizes[S.domain[f]])
        )
    ]


def searched(S, T):
    """The number of natural transformations by a plain search: one element after the other, in nested loops, each value
    tried and its consequences under every arrow written down or found to conflict.
    """
    C = S.category
    elements = [(X, x) for X in C.objects for x in range(S.sizes[X])]
    acting = [[f for f in range(C.n_mor) if S.domain[f] == X] for X in C.objects]

    def count(values):
        free = next((e for e in elements if e not in values), None)
        if free is None:
            return 1
        X, x = free
        total = 0
        for t in range(T.sizes[X]):
            extended = dict(values)
            for f in acting[X]:
                place = (int(S.codomain[f]), int(S.maps[f][x]))
                if extended.setdefault(place, int(T.maps[f][t])) != int(T.maps[f][t]):
                    break
            else:
                total += count(extended)
        return total

    return count({})


def lawful(C):
    """Whether all laws of a category hold, read off the definition in loops."""
    arrows = range(len(C.src))
    for g, f in product(arrows, arrows):
        h = C.comp[g, f]
        if (C.src[g] == C.dst[f]) != (h >= 0):
            return False
        if h >= 0 and (C.src[h] != C.src[f] or C.dst[h] != C.dst[g]):
            return False
    for f in arrows:
        if C.comp[f, C.ident[C.src[f]]] != f or C.comp[C.ident[C.dst[f]], f] != f:
            return False
    return all(
        C.comp[C.comp[h, g], f] == C.comp[h, C.comp[g, f]]
        for h, g, f in product(arrows, arrows, arrows)
        if C.src[h] == C.dst[g] and C.src[g] == C.dst[f]
    )


# Random ones


def transformation_monoid(maps):
    """The monoid that some maps of a few points to themselves generate, as its table, and the maps ``(order, n)``."""
    n = len(maps[0])
    members = {tuple(range(n)): 0}
    waiting = [tuple(range(n))]
    while waiting:
        last = waiting.pop()
        for generator in maps:
            image = tuple(int(generator[i]) for i in last)
            if image not in members:
                members[image] = len(members)
                waiting.append(image)
    listed = list(members)
    table = [[members[tuple(g[i] for i in f)] for f in listed] for g in listed]
    return table, np.array(listed)


def random_category(rng):
    """A small category of a kind that is drawn as well."""
    kind = rng.integers(6)
    if kind == 0:
        while True:
            n = int(rng.integers(1, 4))
            table, _ = transformation_monoid(rng.integers(n, size=(int(rng.integers(1, 3)), n)))
            if len(table) <= 10:
                return from_monoid(table)
    if kind == 1:
        n = int(rng.integers(1, 6))
        return from_poset(random_order(rng, n))
    if kind == 2:
        n = int(rng.integers(1, 5))
        pairs = [(a, b) for a in range(n) for b in range(a + 1, n)]
        chosen = [pairs[k] for k in rng.integers(len(pairs), size=int(rng.integers(0, 5)))] if pairs else []
        return from_quiver_paths(n, chosen)
    if kind == 3:
        group = [cyclic(2), cyclic(3), cyclic(4), symmetric(3)][rng.integers(4)]
        return action_groupoid(group, random_action(rng, group, int(rng.integers(1, 4))))
    if kind == 4:
        return from_group([cyclic(2), cyclic(5), cyclic(6), symmetric(3)][rng.integers(4)])
    return disjoint_union(random_category(rng), random_category(rng))


def random_order(rng, n):
    """A random order of ``n`` things, as its table."""
    leq = np.triu(rng.random((n, n)) < 0.5) | np.eye(n, dtype=bool)
    for k in range(n):
        leq |= leq[:, [k]] & leq[[k]]
    shuffle = rng.permutation(n)
    return leq[np.ix_(shuffle, shuffle)]


def random_action(rng, group, n):
    """A random action of a group on ``n`` points: some orbits that fit, their points shuffled."""
    from msr.category import coset_moves

    classes = [members[0] for members in group.subgroup_classes()]
    parts = []
    left = n
    while left:
        fitting = [H for H in classes if group.order // len(H) <= left]
        part = coset_moves(group, fitting[rng.integers(len(fitting))])
        parts.append(part + n - left)
        left -= part.shape[1]
    moves = np.concatenate(parts, axis=1)
    shuffle = rng.permutation(n)
    shuffled = np.empty_like(moves)
    shuffled[:, shuffle] = shuffle[moves]
    return shuffled


def random_presheaf(rng, C, most=4):
    """A random presheaf of few elements: a quotient of a sum of representable ones, or a part of it."""
    from msr.category import representable

    parts = [representable(C, int(X)) for X in rng.integers(C.n_obj, size=int(rng.integers(0, 4)))]
    T = Presheaf.known(C, [0] * C.n_obj, [np.zeros(0, dtype=int)] * C.n_mor, "0")
    for part in parts:
        T = T + part
    return glued(rng, T, int(rng.integers(0, 6))) if most else T


def glued(rng, T, times):
    """A presheaf after random pairs of elements at the same object have been made one, with all that follows."""
    labels = np.arange(T.n_elements)

    def merged(a, b):
        low, high = sorted((labels[a], labels[b]))
        labels[labels == high] = low
        return low != high

    for _ in range(times):
        X = int(rng.integers(T.category.n_obj))
        if T.sizes[X] > 1:
            merged(*(T.offsets[X] + rng.integers(T.sizes[X], size=2)))
    # Where two elements are one their images are.
    changed = True
    while changed:
        changed = False
        for f in range(T.category.n_mor):
            a = T.domain[f]
            start = T.offsets[a]
            for x in range(T.sizes[a]):
                leader = labels[start + x] - start
                end = T.offsets[T.codomain[f]]
                changed |= bool(merged(end + T.maps[f][x], end + T.maps[f][leader]))
    leaders = [np.unique(labels[a:b]) for a, b in zip(T.offsets[:-1], T.offsets[1:], strict=True)]
    maps = [
        np.searchsorted(leaders[T.codomain[f]], labels[T.offsets[T.codomain[f]] + T.maps[f]][leaders[a] - T.offsets[a]])
        for f in range(T.category.n_mor)
        for a in (T.domain[f],)
    ]
    return type(T)(T.category, [len(part) for part in leaders], tuple(maps), "random")


def empty(C: FinCat):
    """The presheaf without elements."""
    return Presheaf(C, [0] * C.n_obj, [[]] * C.n_mor, "0")
