"""Name a permutation group: its order, its isomorphism class where that can be proven, and how it acts."""

import math
from contextlib import suppress
from itertools import combinations

import numpy as np
from sympy import factorint  # type: ignore[import-untyped]

from msr.errors import AxiomError, ConfigError, ShapeError
from msr.groups.naming.catalogue import (
    MAX_TABLE,
    abelian_name,
    bracketed,
    fingerprint,
    invariants_from_killed,
    known_name,
    names_that_fit,
)
from msr.groups.naming.gap import gap_name
from msr.groups.naming.group_name import Action, GroupName
from msr.groups.naming.permuted import Permuted, block_systems, covers, minimal_systems, on_blocks, within_block
from msr.groups.naming.primitive_groups import primitive_name
from msr.groups.naming.recognising import (
    direct_factors,
    is_dihedral,
    is_regular_base,
    on_class,
    small_classes,
    symmetric_or_alternating,
)
from msr.groups.naming.structure import structure_name
from msr.permutations import Indices, orbit_labels
from msr.permutations.stabiliser_chains import OrderNotProven
from msr.permutations.work_budget import WorkSpent, limited, spend

__all__ = ["name_group"]

_MAX_INDEX = 1000
"""Largest index of a group in a product that is worth saying."""
_MOST_WORK, _MOST_STEP = 4e6, 2e6
"""Steps that a name may take, about a microsecond each, and those that one way to find it may take."""
_MAX_CLASS = 300
"""Elements of a conjugacy class on which the group's action is looked at."""


def name_group(generators_in: Indices, generators_out: Indices, *, order: int | None = None) -> GroupName:
    """The group that pairs of permutations generate, ``(r, in)`` and ``(r, out)``, and its actions on both sides.

    Abelian groups are proven by counts of powers; groups of up to 1,024 elements by building an isomorphism to a group
    of known name; larger ones by what their order leaves: products of groups on separate orbits, wreath products in
    blocks, primitive groups that degree and order single out, and symmetric and alternating groups in any action by
    elements that keep a presentation. What has no name then is asked of GAP, if that is installed. What stays without
    one gets a description, ``certain=False``, and a fingerprint. The work is counted and limited to a few seconds: a
    group whose name would take more is described by its order.

    Args:
        order: the number of elements, where it is known, as from :func:`automorphisms`; it is computed otherwise, and
            trusted here.

    Raises: ShapeError for arrays that do not pair up; AxiomError for rows that are no permutations; ConfigError for an
    order that cannot be the group's, or where none is given and to prove one would take too long.
    """
    pair = [np.asarray(generators_in), np.asarray(generators_out)]
    if any(g.ndim != 2 or g.dtype.kind not in "iu" for g in pair) or len(pair[0]) != len(pair[1]):
        came = " and ".join(f"{g.shape} {g.dtype}" for g in pair)
        raise ShapeError(f"generators must be whole numbers, (r, in) and (r, out), a row for each; got {came}")
    for side, g in zip(("inputs", "outputs"), pair, strict=True):
        wrong = np.flatnonzero((np.sort(g, 1) != np.arange(g.shape[1])).any(1))
        if len(wrong):
            raise AxiomError(
                f"generator {wrong[0]} is no permutation of the {side} 0 to {g.shape[1] - 1}: "
                f"{g[wrong[0], :12].tolist()}; row g must hold where each point goes"
            )
    both = np.concatenate([pair[0], pair[1] + pair[0].shape[1]], 1)
    group = Permuted(both, order)
    _check_order(group, order)
    # The order of the whole is part of every answer: it does not count as work on the name.
    marks: dict[str, object] = {"order": group.order}
    with limited(_MOST_WORK):
        name, certain = _name(group)
    if not certain and (said := gap_name(group.generators)) is not None and (said[1] or name.startswith("a ")):
        name, certain = said
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
        on_inputs=_action(group, both, np.arange(pair[0].shape[1])),
        on_outputs=_action(group, both, pair[0].shape[1] + np.arange(pair[1].shape[1])),
    )


def _check_order(group: Permuted, order: int | None) -> None:
    """Orbits have lengths that divide the order, and an order of 1 moves nothing."""
    if order is None:
        return
    lengths = [len(points) for points in group.points]
    if order < 1 or any(order % n for n in lengths):
        raise ConfigError(f"order={order} is none of a group with orbits of {lengths[:6]} points; leave it out")


def _name(group: Permuted) -> tuple[str, bool]:
    """The name, and whether it is proven."""
    if group.order == 1:
        return "trivial", True
    named: tuple[str, bool] | None = None
    if group.is_abelian or group.order <= MAX_TABLE:
        with suppress(WorkSpent):
            named = (_by_powers if group.is_abelian else _by_table)(group)
        return named or (f"a group of order {group.order}", False)
    for step in (_by_factors, _by_order, _by_presentation, _by_class, _by_halves, _described):
        # A step that needs the order of a part which cannot be proven, or too much work, tells nothing.
        with suppress(OrderNotProven, WorkSpent), limited(_MOST_STEP):
            named = _better(named, step(group))
        if named is not None and (named[1] or step is _by_factors or step is _by_halves):
            return named
    return named or (f"a group of order {group.order}", False)


def _by_powers(group: Permuted) -> tuple[str, bool]:
    """An abelian group."""
    return abelian_name(_invariants(group)), True


def _by_table(group: Permuted) -> tuple[str, bool]:
    """A group that is small enough to be proven isomorphic to a named one."""
    table = group.table()
    proven = known_name(table)
    if proven is not None:
        return proven, True
    # What it acts on can show more than a table does.
    with suppress(WorkSpent), limited(_MOST_STEP / 2):
        found = _by_order(group, sides=False)
        if found is not None:
            return found
    return structure_name(table)


def _by_factors(group: Permuted) -> tuple[str, bool] | None:
    """A direct product of groups on separate points."""
    factors = _separate(group)
    return _joined(factors) if len(factors) > 1 else None


def _by_presentation(group: Permuted) -> tuple[str, bool] | None:
    name = symmetric_or_alternating(group) or is_dihedral(group)
    return None if name is None else (name, True)


def _by_halves(group: Permuted) -> tuple[str, bool] | None:
    """A direct product of two groups on the same points."""
    halves = direct_factors(group)
    return None if halves is None else _joined(halves)


def _described(group: Permuted) -> tuple[str, bool]:
    return _description(group), False


def _better(one: tuple[str, bool] | None, other: tuple[str, bool] | None) -> tuple[str, bool] | None:
    """The one that is certain, or the shorter."""
    named = [found for found in (one, other) if found is not None]
    return min(named, key=lambda found: (not found[1], len(found[0]), found[0]), default=None)


def _invariants(group: Permuted) -> list[int]:
    """Of an abelian group: as many elements have a trivial power as the group has more elements than powers."""
    killed: dict[int, list[int]] = {}
    for prime, most in factorint(group.order).items():
        powers, counts = group.generators, []
        for _ in range(most):
            step = powers
            for _ in range(prime - 1):
                step = np.stack([p[q] for p, q in zip(powers, step, strict=True)])
            powers = step
            counts.append(group.order // Permuted(powers).order)
        killed[prime] = counts
    return invariants_from_killed(killed)


def _joined(factors: list[Permuted]) -> tuple[str, bool]:
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


def _beside(factors: list[Permuted]) -> Permuted:
    """The direct product, each factor on points of its own."""
    degree, rows, start = sum(f.degree for f in factors), [], 0
    for factor in factors:
        for g in factor.generators:
            row = np.arange(degree)
            row[start : start + factor.degree] = start + g
            rows.append(row)
        start += factor.degree
    return Permuted(np.asarray(rows))


def _separate(group: Permuted) -> list[Permuted]:
    """Direct factors on separate points: orbits are tied where acting on both is not the product of acting on each."""
    if len(group.core) == 1:
        return [group]
    parts = [group.on(points) for points in group.core]
    where = list(group.core)
    # Three orbits can be tied where no two of them are; more than that at once are left together.
    for size in (2, 3):
        again = True
        while again and math.prod(part.order for part in parts) != group.order:
            again = False
            for chosen in combinations(range(len(parts)), min(size, len(parts))):
                spend(20)
                points = np.concatenate([where[i] for i in chosen])
                # All of them are the whole group, whose order is known.
                both = group.on(points) if len(chosen) < len(parts) else group
                if both.order < math.prod(parts[i].order for i in chosen):
                    kept = [i for i in range(len(parts)) if i not in chosen]
                    parts, where = [*(parts[i] for i in kept), both], [*(where[i] for i in kept), points]
                    again = True
                    break
    return parts if math.prod(part.order for part in parts) == group.order else [group]


def _by_order(group: Permuted, sides: bool = True) -> tuple[str, bool] | None:
    """Large groups that their order alone proves, on one orbit that shows the whole group.

    ``sides``: direct products of what the group does to two sets of blocks are looked for too.
    """
    named: tuple[str, bool] | None = None
    for points in group.core:
        part = group.on(points) if len(group.core) > 1 else Permuted(group.core_rows, group.order)
        if part.order == group.order:
            named = _better(named, _transitive(part, sides))
    return named


def _transitive(group: Permuted, sides: bool) -> tuple[str, bool] | None:
    n = group.degree
    if group.order == math.factorial(n):
        return f"S{n}", True
    if 2 * group.order == math.factorial(n):
        return f"A{n}", True
    if n > 3 and (n - 1) * n % group.order == 0 and factorint(n) == {n: 1}:
        # A transitive group of prime degree is within AGL(1,p), or doubly transitive and larger (Burnside).
        top = group.order // n
        return (f"AGL(1,{n})" if top == n - 1 else f"C{n}:C{top} (Frobenius)" if top > 2 else f"D{n}"), True
    systems = block_systems(group)
    if not systems:
        name = primitive_name(n, group.order)
        return None if name is None else (name, True)
    named: tuple[str, bool] | None = None
    # What was found before the work is spent is kept.
    with suppress(WorkSpent):
        for system in systems:
            named = _better(named, _wreath(group, system))
        for pair in combinations(systems, 2) if sides else ():
            if named is None or not named[1]:
                named = _better(named, _two_sides(group, *pair))
    return named


def _by_class(group: Permuted) -> tuple[str, bool] | None:
    """What the group does to a small conjugacy class can show blocks that its points do not."""
    for prime in (2, 3):
        if group.order % prime:
            continue
        for class_ in small_classes(group, prime, _MAX_CLASS)[:3]:
            moved = on_class(group, class_)
            if is_regular_base(group, class_, prime) and prime ** len(class_) * moved.order == group.order:
                return _over(f"C{prime}", True, moved, len(class_))
            if moved.order == group.order and (named := _by_order(moved)) is not None:
                return named
    return None


def _description(group: Permuted) -> str:
    """What is known of a group without a name: the product of which it is a small part, or its order."""
    parts = [group.on(points) for points in group.core]
    found: list[tuple[int, str]] = []
    if len(parts) > 1:
        index = math.prod(part.order for part in parts) // group.order
        found.append((index, _joined(parts)[0]))
    elif group.degree == len(group.core[0]):
        for system in block_systems(group):
            inside, top = within_block(group, system), Permuted(on_blocks(group, system))
            count = int(system.max()) + 1
            index = inside.order**count * top.order // group.order
            if index <= _MAX_INDEX:
                names = _name_in_action(inside, group.degree // count)[0], _name_in_action(top, count)[0]
                found.append((index, " wr ".join(map(bracketed, names))))
    index, name = min(found, default=(0, ""))
    if 1 < index <= _MAX_INDEX and " of order " not in name:
        return f"index {index} in {name}"
    return f"a group of order {group.order}"


def _two_sides(group: Permuted, one: Indices, other: Indices) -> tuple[str, bool] | None:
    """The direct product of what the group does to two sets of blocks, where acting on both is all of it."""
    moves = [on_blocks(group, one), on_blocks(group, other)]
    sides = [Permuted(move) for move in moves]
    if sides[0].order * sides[1].order != group.order:
        return None
    both = Permuted(np.concatenate([moves[0], moves[1] + moves[0].shape[1]], 1))
    return _joined(sides) if both.order == group.order else None


def _wreath(group: Permuted, blocks: Indices) -> tuple[str, bool] | None:
    """The group lies in the wreath product of what it does in a block and to the blocks: equal orders make it that."""
    sizes = np.bincount(blocks)
    count, size = len(sizes), int(sizes[0])
    top, inside = Permuted(on_blocks(group, blocks)), within_block(group, blocks)
    if inside.order**count * top.order != group.order:
        return None
    return _over(*_name_in_action(inside, size), top, count)


def _over(inner: str, proven: bool, top: Permuted, count: int) -> tuple[str, bool]:
    """The wreath product of a named group with one that moves as many blocks."""
    outer, certain = _name_in_action(top, count)
    outer = bracketed(outer)
    if not _acts_as_named(outer, top, count):
        # A group may act on as many points in ways that give other products; on its own elements in one way only.
        outer, certain = f"({outer} on {count} points)", certain and top.order == count
    return f"{bracketed(inner)} wr {outer}", proven and certain


def _acts_as_named(name: str, group: Permuted, degree: int) -> bool:
    """Whether the name tells the action: a wreath product depends on how its top group moves the blocks."""
    known = (f"S{degree}", f"A{degree}", f"D{degree}", f"AGL(1,{degree})")
    return group.is_abelian or name in known or (name.startswith(f"(C{degree}:") and "Frobenius" in name)


def _name_in_action(group: Permuted, degree: int) -> tuple[str, bool]:
    if group.order == math.factorial(degree) and degree > 2:
        return f"S{degree}", True
    return _name(group)


def _action(group: Permuted, rows: Indices, side: Indices) -> Action:
    """How the whole group, given by rows on all points, acts on the points of one side."""
    generators, degree = rows[:, side] - (side[0] if len(side) else 0), len(side)
    labels = orbit_labels(generators) if len(generators) else np.arange(degree)
    sizes = tuple(sorted(np.bincount(labels).tolist(), reverse=True))
    here = np.flatnonzero(np.isin(group.moved, side))
    acting = group.on(here, group.order if _is_faithful(group, rows, side) else None)
    transitive = len(sizes) == 1 and degree > 1
    regular = transitive and acting.order == degree
    blocks = None
    if regular:
        # Blocks are subgroups then, and every prime divisor of the order is the order of one.
        least = min(factorint(degree))
        blocks = least if least < degree else None
    elif transitive:
        blocks = min((int(np.bincount(system)[0]) for system in minimal_systems(acting)), default=None)
    return Action(
        degree=degree,
        orbits=sizes,
        order=acting.order,
        kernel=group.order // acting.order,
        transitive=transitive,
        regular=regular,
        primitive=transitive and blocks is None,
        blocks=blocks,
    )


def _is_faithful(group: Permuted, rows: Indices, side: Indices) -> bool:
    """Whether each orbit that shows the group lies on this side, or is the image of one that does; no proof if not."""
    inside = set(side.tolist())
    ours = [points for points in (group.moved[p] for p in group.points) if int(points[0]) in inside]
    return all(
        int(points[0]) in inside or any(len(one) >= len(points) and covers(rows, one, points) for one in ours)
        for points in (group.moved[p] for p in group.core)
    )
