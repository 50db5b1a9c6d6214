"""Name a permutation group: its order, its isomorphism class where that can be proven, and how it acts."""

import math
from collections.abc import Iterator
from functools import cached_property
from itertools import combinations

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sympy import factorint  # type: ignore[import-untyped]
from sympy.combinatorics import Permutation, PermutationGroup  # type: ignore[import-untyped]

from msr.discovery.catalogue import (
    MAX_TABLE,
    abelian_name,
    bracketed,
    fingerprint,
    invariants_from_killed,
    known_name,
    names_that_fit,
)
from msr.discovery.gap import gap_name
from msr.discovery.result import Action, GroupName
from msr.errors import AxiomError, ShapeError
from msr.groups import FiniteGroup, from_permutations
from msr.groups.permutations import Indices, orbit_labels

__all__ = ["name_group"]

_MAX_SYSTEMS = 64
"""Partitions into blocks that are looked at."""


def name_group(generators_in: Indices, generators_out: Indices) -> GroupName:
    """The group that pairs of permutations generate, ``(r, in)`` and ``(r, out)``, and its actions on both sides.

    Abelian groups are proven by counts of powers; groups of up to 1,024 elements by building an isomorphism to a group
    of known name; larger ones, and products of groups on separate orbits, by their order where it leaves nothing else:
    symmetric and alternating groups, and wreath products in blocks. What has no name then is asked of GAP, if that is
    installed. What stays without one gets a description, ``certain=False``, and a fingerprint.

    Raises: ShapeError for arrays that do not pair up; AxiomError for rows that are no permutations.
    """
    pair = [np.asarray(generators_in), np.asarray(generators_out)]
    if any(g.ndim != 2 or g.dtype.kind not in "iu" for g in pair) or len(pair[0]) != len(pair[1]):
        came = " and ".join(f"{g.shape} {g.dtype}" for g in pair)
        raise ShapeError(f"generators must be whole numbers, (r, in) and (r, out), a row for each; came {came}")
    for side, g in zip(("inputs", "outputs"), pair, strict=True):
        wrong = np.flatnonzero((np.sort(g, 1) != np.arange(g.shape[1])).any(1))
        if len(wrong):
            raise AxiomError(
                f"generator {wrong[0]} is no permutation of the {side} 0 to {g.shape[1] - 1}: "
                f"{g[wrong[0], :12].tolist()}; row g must hold where each point goes"
            )
    group = _Permutations(np.concatenate([pair[0], pair[1] + pair[0].shape[1]], 1))
    name, certain = _name(group)
    if not certain and (said := gap_name(group.generators)) is not None and (said[1] or name.startswith("a ")):
        name, certain = said
    marks: dict[str, object] = {"order": group.order}
    alternatives: tuple[str, ...] = ()
    if 1 < group.order <= MAX_TABLE:
        table = group.table()
        marks = fingerprint(table)
        alternatives = () if certain else names_that_fit(table)
    return GroupName(
        name=name,
        order=group.order,
        certain=certain,
        alternatives=alternatives,
        fingerprint=marks,
        on_inputs=_action(pair[0], group.order),
        on_outputs=_action(pair[1], group.order),
    )


class _Permutations:
    """A permutation group on the points that it moves."""

    def __init__(self, generators: Indices):
        moved = np.flatnonzero((generators != np.arange(generators.shape[1])).any(0))
        rows = _kept(generators, moved)
        self.generators: Indices = np.unique(rows[(rows != np.arange(len(moved))).any(1)], axis=0)
        self.degree = len(moved)
        self.orbits = orbit_labels(self.generators) if len(self.generators) else np.arange(self.degree)

    @cached_property
    def points(self) -> list[Indices]:
        """The orbits, largest first."""
        found = [np.flatnonzero(self.orbits == o) for o in range(len(np.unique(self.orbits)))]
        return sorted(found, key=len, reverse=True)

    @cached_property
    def core(self) -> list[Indices]:
        """Orbits that show the whole group: none of them is an image of another, so that the rest adds nothing."""
        kept: list[Indices] = []
        for points in self.points:
            if not any(_covers(self.generators, larger, points) for larger in kept):
                kept.append(points)
        return kept

    @cached_property
    def is_abelian(self) -> bool:
        """Whether the generators commute."""
        return all(np.array_equal(g[h], h[g]) for g in self.generators for h in self.generators)

    @cached_property
    def order(self) -> int:
        """Number of elements."""
        if not len(self.generators):
            return 1
        core = np.concatenate(self.core)
        rows = _kept(self.generators, core)
        if self.is_abelian and len(self.core) == 1:
            return len(core)
        if _has_all_swaps(rows, len(self.core)):
            return math.prod(math.factorial(len(points)) for points in self.core)
        return int(PermutationGroup([Permutation(g.tolist()) for g in rows]).order())

    def on(self, points: Indices) -> "_Permutations":
        """The action on a union of orbits."""
        return _Permutations(_kept(self.generators, points))

    def table(self) -> FiniteGroup:
        """All elements; only for small orders."""
        if not len(self.generators):
            return from_permutations([[0]])
        return from_permutations(list(_kept(self.generators, np.concatenate(self.core))))


def _has_all_swaps(generators: Indices, orbits: int) -> bool:
    """Whether images of generators that are transpositions connect each orbit: then all its permutations are there."""
    n = generators.shape[1]
    moves = generators != np.arange(n)
    pairs: Indices = np.nonzero(moves[moves.sum(1) == 2])[1].reshape(-1, 2)
    known = np.zeros((n, n), dtype=bool)
    while len(pairs):
        known[pairs[:, 0], pairs[:, 1]] = True
        if _connected(np.nonzero(known)[0], np.nonzero(known)[1], n).max() == orbits - 1:
            return True
        images = np.unique(np.sort(generators[:, pairs].reshape(-1, 2), 1), axis=0)
        pairs = images[~known[images[:, 0], images[:, 1]]]
    return False


def _kept(generators: Indices, points: Indices) -> Indices:
    """Permutations on some of their points, which they keep among themselves."""
    place = np.full(generators.shape[1], -1)
    place[points] = np.arange(len(points))
    return place[generators[:, points]]


def _covers(generators: Indices, larger: Indices, smaller: Indices) -> bool:
    """Whether a map between two orbits respects the group: then what fixes all of the one fixes all of the other."""
    if len(larger) % len(smaller):
        return False
    # Column b follows the map that sends the first point of the larger orbit to the point b of the smaller one.
    image = np.full((generators.shape[1], len(smaller)), -1)
    image[larger[0]] = smaller
    frontier = [int(larger[0])]
    while frontier:
        a = frontier.pop()
        for g in generators:
            if image[g[a], 0] == -1:
                image[g[a]] = g[image[a]]
                frontier.append(int(g[a]))
    fits = np.ones(len(smaller), dtype=bool)
    for g in generators:
        fits &= (image[g[larger]] == g[image[larger]]).all(0)
    return bool(fits.any())


def _name(group: _Permutations) -> tuple[str, bool]:
    """The name, and whether it is proven."""
    if group.order == 1:
        return "trivial", True
    if group.is_abelian:
        return abelian_name(_invariants(group)), True
    if group.order <= MAX_TABLE:
        proven = known_name(group.table())
        if proven is not None:
            return proven, True
    factors = _separate(group)
    if len(factors) > 1:
        return _joined(factors)
    return _by_order(group) or (f"a group of order {group.order}", False)


def _invariants(group: _Permutations) -> list[int]:
    """Of an abelian group: as many elements have a trivial power as the group has more elements than powers."""
    killed: dict[int, list[int]] = {}
    for prime, most in factorint(group.order).items():
        powers, counts = group.generators, []
        for _ in range(most):
            step = powers
            for _ in range(prime - 1):
                step = np.stack([p[q] for p, q in zip(powers, step, strict=True)])
            powers = step
            counts.append(group.order // _Permutations(powers).order)
        killed[prime] = counts
    return invariants_from_killed(killed)


def _joined(factors: list[_Permutations]) -> tuple[str, bool]:
    """The name of a direct product."""
    names, certain, rest = [], True, []
    for factor in factors:
        if factor.is_abelian:
            rest.append(factor)
            continue
        name, proven = _name(factor)
        names.append(bracketed(name))
        certain &= proven
    if rest:
        names.append(abelian_name(_invariants(_beside(rest))))
    return " x ".join([*sorted(names[: len(factors) - len(rest)]), *names[len(factors) - len(rest) :]]), certain


def _beside(factors: list[_Permutations]) -> _Permutations:
    """The direct product, each factor on points of its own."""
    degree, rows, start = sum(f.degree for f in factors), [], 0
    for factor in factors:
        for g in factor.generators:
            row = np.arange(degree)
            row[start : start + factor.degree] = start + g
            rows.append(row)
        start += factor.degree
    return _Permutations(np.asarray(rows))


def _separate(group: _Permutations) -> list[_Permutations]:
    """Direct factors on separate points: orbits are tied where acting on both is not the product of acting on each."""
    parts = [group.on(points) for points in group.core]
    where = list(group.core)
    # Three orbits can be tied where no two of them are; more than that at once are left together.
    for size in (2, 3):
        again = True
        while again and math.prod(part.order for part in parts) != group.order:
            again = False
            for chosen in combinations(range(len(parts)), min(size, len(parts))):
                points = np.concatenate([where[i] for i in chosen])
                both = group.on(points)
                if both.order < math.prod(parts[i].order for i in chosen):
                    kept = [i for i in range(len(parts)) if i not in chosen]
                    parts, where = [*(parts[i] for i in kept), both], [*(where[i] for i in kept), points]
                    again = True
                    break
    return parts if math.prod(part.order for part in parts) == group.order else [group]


def _by_order(group: _Permutations) -> tuple[str, bool] | None:
    """Large groups that their order alone proves, on one orbit that shows the whole group."""
    for points in group.core:
        part = group.on(points)
        if part.order != group.order:
            continue
        n = len(points)
        if group.order == math.factorial(n):
            return f"S{n}", True
        if n >= 3 and 2 * group.order == math.factorial(n):
            return f"A{n}", True
        systems = _block_systems(part)
        found = [_wreath(part, system) for system in systems]
        found += [_two_sides(part, *pair) for pair in combinations(systems, 2)]
        named = [one for one in found if one is not None]
        if named:
            return min(named, key=lambda one: (not one[1], len(one[0]), one[0]))
    return None


def _two_sides(group: _Permutations, one: Indices, other: Indices) -> tuple[str, bool] | None:
    """The direct product of what the group does to two sets of blocks, where acting on both is all of it."""
    moves = [_on_blocks(group, one), _on_blocks(group, other)]
    sides = [_Permutations(move) for move in moves]
    if sides[0].order * sides[1].order != group.order:
        return None
    both = _Permutations(np.concatenate([moves[0], moves[1] + moves[0].shape[1]], 1))
    return _joined(sides) if both.order == group.order else None


def _wreath(group: _Permutations, blocks: Indices) -> tuple[str, bool] | None:
    """The group lies in the wreath product of what it does in a block and to the blocks: equal orders make it that."""
    sizes = np.bincount(blocks)
    count, size = len(sizes), int(sizes[0])
    top, inside = _Permutations(_on_blocks(group, blocks)), _within_block(group, blocks)
    if inside.order**count * top.order != group.order:
        return None
    (inner, a), (outer, b) = _name_in_action(inside, size), _name_in_action(top, count)
    outer = bracketed(outer)
    if not _acts_as_named(outer, top, count):
        # A group may act on as many points in ways that give other products; on its own elements in one way only.
        outer, b = f"({outer} on {count} points)", b and top.order == count
    return f"{bracketed(inner)} wr {outer}", a and b


def _acts_as_named(name: str, group: _Permutations, degree: int) -> bool:
    """Whether the name tells the action: a wreath product depends on how its top group moves the blocks."""
    known = (f"S{degree}", f"A{degree}", f"D{degree}", f"AGL(1,{degree})")
    return group.is_abelian or name in known or (name.startswith(f"(C{degree}:") and "Frobenius" in name)


def _name_in_action(group: _Permutations, degree: int) -> tuple[str, bool]:
    if group.order == math.factorial(degree) and degree > 2:
        return f"S{degree}", True
    return _name(group)


def _block_systems(group: _Permutations) -> list[Indices]:
    """Partitions that a transitive group keeps, as labels, smallest blocks first, up to what fixes the first point."""
    found = {labels.tobytes(): labels for labels in _minimal_systems(group)}
    left = list(found.values())
    while left and len(found) < _MAX_SYSTEMS:
        labels = left.pop()
        # No block stays in place under a transitive group, so none of the quotient's points is dropped.
        for coarser in _minimal_systems(_Permutations(_on_blocks(group, labels))):
            joined = np.unique(coarser[labels], return_inverse=True)[1]
            if joined.tobytes() not in found:
                found[joined.tobytes()] = joined
                left.append(joined)
    return sorted(found.values(), key=lambda labels: int(np.bincount(labels)[0]))


def _minimal_systems(group: _Permutations) -> Iterator[Indices]:
    """The partitions that tie the first point to another; a smallest one is among them."""
    if len(group.points) != 1 or group.degree < 4:
        return
    reach = _reach(group.generators, 0)
    orbits = orbit_labels(_fixing(group.generators, reach))
    to = np.stack([reach[a] for a in range(group.degree)])
    for orbit in range(1, int(orbits.max()) + 1):
        # All images of the pairs of the first point and one of these: blocks are what they connect.
        ends = to[:, orbits == orbit]
        starts = np.broadcast_to(np.arange(group.degree)[:, None], ends.shape)
        labels = _connected(starts.ravel(), ends.ravel(), group.degree)
        if labels.max() > 0:
            yield labels


def _connected(starts: Indices, ends: Indices, n: int) -> Indices:
    edges = coo_array((np.ones(len(ends), np.int8), (starts, ends)), (n, n))
    return np.asarray(connected_components(edges, directed=False)[1], dtype=np.int64)


def _reach(generators: Indices, point: int) -> dict[int, Indices]:
    """For each point that a point can go to, an element that takes it there."""
    reach: dict[int, Indices] = {point: np.arange(generators.shape[1])}
    frontier = [point]
    for a in frontier:
        for g in generators:
            if int(g[a]) not in reach:
                reach[int(g[a])] = g[reach[a]]
                frontier.append(int(g[a]))
    return reach


def _fixing(generators: Indices, reach: dict[int, Indices]) -> Indices:
    """Schreier's generators of the elements that fix a point."""
    return np.unique([np.argsort(reach[int(g[a])])[g[path]] for a, path in reach.items() for g in generators], axis=0)


def _on_blocks(group: _Permutations, blocks: Indices) -> Indices:
    first = np.unique(blocks, return_index=True)[1]
    return blocks[group.generators[:, first]]


def _within_block(group: _Permutations, blocks: Indices) -> _Permutations:
    """What the elements that keep the first block do inside it."""
    count = int(blocks.max()) + 1
    # The block as one more point, which Schreier's generators fix.
    both = np.concatenate([_on_blocks(group, blocks), group.generators + count], 1)
    return _Permutations(_kept(_fixing(both, _reach(both, 0)), count + np.flatnonzero(blocks == 0)))


def _action(generators: Indices, order: int) -> Action:
    degree = generators.shape[1]
    labels = orbit_labels(generators) if len(generators) else np.arange(degree)
    sizes = tuple(sorted(np.bincount(labels).tolist(), reverse=True))
    group = _Permutations(generators)
    transitive = len(sizes) == 1 and degree > 1
    regular = transitive and group.order == degree
    blocks = None
    if regular:
        # Blocks are subgroups then, and every prime divisor of the order is the order of one.
        least = min(factorint(degree))
        blocks = least if least < degree else None
    elif transitive:
        blocks = min((int(np.bincount(system)[0]) for system in _minimal_systems(group)), default=None)
    return Action(
        degree=degree,
        orbits=sizes,
        order=group.order,
        kernel=order // group.order,
        transitive=transitive,
        regular=regular,
        primitive=transitive and blocks is None,
        blocks=blocks,
    )
