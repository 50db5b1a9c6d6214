"""Table T15: random categories and functors on them, on which four theorems are tried."""

from collections.abc import Callable

import numpy as np

from experiments.foundations.cases import Case, case
from experiments.foundations.small import part_reached
from msr.category import (
    CoPresheaf,
    Presheaf,
    action_copresheaf,
    colimit,
    corepresentable,
    coset_moves,
    count_transformations,
    extension_table,
    from_monoid,
    from_poset,
    is_isomorphic,
    is_representable,
    linear_transformations,
    linearised,
    on_opposite,
    representable,
    yoneda_table,
)
from msr.groups import FiniteGroup, cyclic, symmetric
from msr.permutations import Indices

__all__ = ["random_cases"]

_GROUPS: tuple[Callable[[], FiniteGroup], ...] = (
    lambda: cyclic(2), lambda: cyclic(3), lambda: cyclic(4), lambda: symmetric(3),
)  # fmt: skip


def random_cases(seed: int, count: int) -> list[Case]:
    """In how many of ``count`` random orders and monoids, and random actions, each theorem holds."""
    rng = np.random.default_rng(seed)
    lemma = 0
    representability = 0
    extension = 0
    three_ways = 0
    for _ in range(count):
        T, F = _random_order(rng) if rng.integers(2) else _random_monoid(rng)
        images = yoneda_table(T.category)
        lemma += [count_transformations(h, T) for h in images] == T.sizes.tolist()
        representability += is_representable(T) == any(is_isomorphic(h, T) for h in images)
        extension += np.array_equal(extension_table(F, images), F.sizes)
        three_ways += len(set(_pair_counts(rng))) == 1
    return [
        case("|Nat(h_X, T)| = |T(X)|", count, int(lemma)),
        case("universal elements exactly where T is isomorphic to an h_X", count, int(representability)),
        case("F!(h_X) = F(X)", count, int(extension)),
        case("Burnside's count = orbits of pairs = dimension of layers", count, int(three_ways)),
    ]


def _random_order(rng: np.random.Generator) -> tuple[Presheaf, CoPresheaf]:
    """A presheaf and a copresheaf on a random order of at most five things."""
    n = int(rng.integers(1, 6))
    leq = np.triu(rng.random((n, n)) < 0.5) | np.eye(n, dtype=bool)
    for k in range(n):
        leq |= leq[:, [k]] & leq[[k]]
    C = from_poset(leq)
    T = _random_part(rng, representable(C, int(rng.integers(n))) + representable(C, int(rng.integers(n))))
    return T, corepresentable(C, int(rng.integers(n))) + corepresentable(C, int(rng.integers(n)))


def _random_monoid(rng: np.random.Generator) -> tuple[Presheaf, CoPresheaf]:
    """A presheaf and a copresheaf on the monoid that random maps of at most three points generate, or its opposite."""
    n = int(rng.integers(1, 4))
    letters = rng.integers(n, size=(int(rng.integers(1, 3)), n))
    members = {tuple(range(n)): 0}
    waiting = list(members)
    while waiting:
        last = waiting.pop()
        for letter in letters:
            image = tuple(letter[list(last)].tolist())
            if image not in members:
                members[image] = len(members)
                waiting.append(image)
    listed = np.array(list(members))
    table = [[members[tuple(g[f].tolist())] for f in listed] for g in listed]
    C = from_monoid(table)
    points = CoPresheaf(C, np.array([n]), tuple(listed), "points")
    if rng.integers(2):
        return _random_part(rng, representable(C, 0) + representable(C, 0)), points
    T = on_opposite(points)
    assert isinstance(T, Presheaf)
    return T, corepresentable(T.category, 0)


def _random_part(rng: np.random.Generator, whole: Presheaf) -> Presheaf:
    """What one to three random elements of a presheaf reach."""
    return part_reached(whole, rng.integers(whole.n_elements, size=int(rng.integers(1, 4))))


def _pair_counts(rng: np.random.Generator) -> tuple[int, int, int]:
    """The orbits of pairs of points of a random action: by Burnside's count, as a colimit, as a null space."""
    group = _GROUPS[int(rng.integers(len(_GROUPS)))]()
    moves = _random_action(rng, group)
    points = action_copresheaf(group, moves)
    fixed = (moves == np.arange(moves.shape[1])).sum(axis=1)
    layers = linear_transformations(linearised(points), linearised(points))
    return int((fixed**2).sum()) // group.order, colimit(points * points)[0], layers.dim


def _random_action(rng: np.random.Generator, group: FiniteGroup) -> Indices:
    """One or two random orbits of a group, ``(order, points)``."""
    classes = group.subgroup_classes()
    parts: list[Indices] = []
    for _ in range(int(rng.integers(1, 3))):
        start = sum(part.shape[1] for part in parts)
        parts.append(coset_moves(group, classes[int(rng.integers(len(classes)))][0]) + start)
    return np.concatenate(parts, axis=1)
