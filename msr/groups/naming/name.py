"""Name a permutation group: its order, its isomorphism class where that can be proven, and how it acts.

The order of the steps, in which the first proof wins:

1. the order of the group, exactly;
2. the catalogue: abelian groups by their invariant factors, groups with a table by an isomorphism to a named group;
3. structure: direct products on separate orbits, groups that degree and order single out, wreath products in blocks,
   presentations, small conjugacy classes, direct products of commuting subgroups; for groups with a table a normal
   subgroup and its quotient;
4. GAP, where it is installed;
5. a description: the order, or the index in a larger group of known name.
"""

import math
from contextlib import suppress
from itertools import combinations
from typing import TypeAlias

import numpy as np
from sympy import factorint  # type: ignore[import-untyped]

from msr.errors import AxiomError, ConfigError, ShapeError
from msr.groups.naming.action_of_group import action_of
from msr.groups.naming.catalogue import (
    MAX_TABLE,
    abelian_name,
    bracketed,
    fingerprint,
    known_name,
    names_that_fit,
)
from msr.groups.naming.conjugacy_classes import generates_regular_base, on_class, small_classes
from msr.groups.naming.direct_products import commuting_factors, cyclic_factors, separate_factors, side_by_side
from msr.groups.naming.extensions import structure_name
from msr.groups.naming.gap import gap_name
from msr.groups.naming.generated_group import GeneratedGroup, block_systems, on_blocks, within_block
from msr.groups.naming.group_name import GroupName
from msr.groups.naming.presentations import dihedral_name, symmetric_or_alternating_name
from msr.groups.naming.primitive_groups import primitive_name
from msr.permutations import Indices
from msr.permutations.stabiliser_chains import OrderNotProven
from msr.permutations.work_budget import WorkSpent, limited

__all__ = ["name_group"]

Named: TypeAlias = tuple[str, bool]
"""The name of a group, and whether it is proven to be that group's isomorphism class."""

_MAX_INDEX = 1000
"""Largest index in a named larger group for which a group without a name is described by that index. Chosen by hand."""
_MOST_WORK = 4e6
"""Steps that the whole search for a name may take, about a microsecond each."""
_MOST_STEP = 2e6
"""Steps that one way to find a name may take, so that one hopeless way leaves work for the other ways."""
_MAX_CLASS = 300
"""Largest conjugacy class on which the action of the group is examined. Chosen by hand."""


def name_group(generators_in: Indices, generators_out: Indices, *, order: int | None = None) -> GroupName:
    """The name of the group that pairs of permutations generate, ``(r, in)`` and ``(r, out)``, and how it acts.

    Row ``k`` of both arrays is generator ``k``: where it sends each input, and where it sends each output. Abelian
    groups are proven by counts of powers; groups of up to 1,024 elements by building an isomorphism to a group of known
    name; larger ones by what their order leaves: products of groups on separate orbits, wreath products in blocks,
    primitive groups that degree and order single out, and symmetric and alternating groups in any action by elements
    that satisfy a presentation. A group without a proven name after that is given to GAP, if GAP is installed, whose
    answer is taken where it is a proof or there is no name at all. A name that is not proven has ``certain=False``;
    where there is none, a description takes its place. The work is counted and limited to a few seconds: a group whose
    name would take more gets the best name found until then, or is described by its order.

    Args:
        order: the number of elements, where it is known, as from :func:`automorphisms`; it is computed otherwise. Any
            that the length of every orbit divides is trusted.

    Raises: ShapeError for arrays that do not pair up; AxiomError for rows that are no permutations; ConfigError for an
    order that cannot be the group's, or where none is given and to prove one would take too long.
    """
    inputs, outputs = _checked(generators_in, generators_out)
    n = inputs.shape[1]
    both = np.concatenate([inputs, outputs + n], 1)
    group = GeneratedGroup(both, order)
    _check_order(group, order)
    # The order is part of every answer, so to prove it does not count as work on the name.
    invariants: dict[str, object] = {"order": group.order}
    with limited(_MOST_WORK):
        name, certain = _name(group)
    # GAP is asked last, and its answer is taken where it is a proof, or where there is no name at all.
    if not certain and (answer := gap_name(group.generators)) is not None and (answer[1] or name.startswith("a ")):
        name, certain = answer
    alternatives: tuple[str, ...] = ()
    if 1 < group.order <= MAX_TABLE:
        table = group.table()
        invariants = fingerprint(table)
        alternatives = () if certain else names_that_fit(table)
    return GroupName(
        name=name,
        order=group.order,
        certain=certain,
        alternatives=alternatives,
        fingerprint=invariants,
        on_inputs=action_of(group, both, np.arange(n)),
        on_outputs=action_of(group, both, n + np.arange(outputs.shape[1])),
    )


def _checked(generators_in: Indices, generators_out: Indices) -> tuple[Indices, Indices]:
    """Both arguments as arrays, ``(r, in)`` and ``(r, out)``, after a check that all rows are permutations.

    Raises: ShapeError for arrays that do not pair up; AxiomError for a row that is no permutation.
    """
    pair = np.asarray(generators_in), np.asarray(generators_out)
    if any(g.ndim != 2 or g.dtype.kind not in "iu" for g in pair) or len(pair[0]) != len(pair[1]):
        got = " and ".join(f"{g.shape} {g.dtype}" for g in pair)
        raise ShapeError(f"generators must be whole numbers, (r, in) and (r, out), a row for each; got {got}")
    for side, g in zip(("inputs", "outputs"), pair, strict=True):
        wrong = np.flatnonzero((np.sort(g, 1) != np.arange(g.shape[1])).any(1))
        if len(wrong):
            raise AxiomError(
                f"generator {wrong[0]} is no permutation of the {side} 0 to {g.shape[1] - 1}: "
                f"{g[wrong[0], :12].tolist()}; row g must hold where each point goes"
            )
    return pair


def _check_order(group: GeneratedGroup, order: int | None) -> None:
    """Raise ConfigError for an order that the length of some orbit does not divide; None, an unknown order, passes.

    An order of 1 passes only where no point is moved.
    """
    if order is None:
        return
    lengths = [len(points) for points in group.points]
    if order < 1 or any(order % n for n in lengths):
        raise ConfigError(f"order={order} is none of a group with orbits of {lengths[:6]} points; leave it out")


# ------------------------------------------------------------------------------------------------- the order of steps


def _name(group: GeneratedGroup) -> Named:
    """The name by the first step that proves one; else the best unproven name, or a description by the order.

    The trivial group is named at once. Abelian groups are named by :func:`_abelian` alone, and groups with a table by
    :func:`_from_catalogue` alone. For all larger groups the steps are tried in turn, each with limited work; a
    decomposition into direct factors ends the search even where it is not proven.
    """
    if group.order == 1:
        return "trivial", True
    best: Named | None = None
    if group.is_abelian or group.order <= MAX_TABLE:
        with suppress(WorkSpent):
            best = (_abelian if group.is_abelian else _from_catalogue)(group)
        return best or (f"a group of order {group.order}", False)
    for step in (
        _product_on_separate_orbits,
        _by_degree_and_order,
        _by_presentation,
        _by_conjugacy_class,
        _product_of_commuting_subgroups,
        _described,
    ):
        # A step that needs the order of a part which cannot be proven, or too much work, tells nothing.
        with suppress(OrderNotProven, WorkSpent), limited(_MOST_STEP):
            best = _better(best, step(group))
        # A decomposition is kept even where a factor has no proven name: the steps that follow know less of it.
        if best is not None and (best[1] or step in (_product_on_separate_orbits, _product_of_commuting_subgroups)):
            return best
    return best or (f"a group of order {group.order}", False)


def _better(a: Named | None, b: Named | None) -> Named | None:
    """The better of two names: a proven one before an unproven one, then the shorter, then the first by the alphabet;
    None where both are None.
    """
    candidates = [named for named in (a, b) if named is not None]
    return min(candidates, key=lambda named: (not named[1], len(named[0]), named[0]), default=None)


# ---------------------------------------------------------------------------------------------------------- catalogue


def _abelian(group: GeneratedGroup) -> Named:
    """The name of an abelian group by its invariant factors, such as ``C2 x C4``; it is always proven."""
    return abelian_name(cyclic_factors(group)), True


def _from_catalogue(group: GeneratedGroup) -> Named:
    """The name of a group of at most ``MAX_TABLE`` elements: by the catalogue, by its action, or by its normal
    subgroups.

    They are tried in this order. Only a name by the catalogue is always proven.
    """
    table = group.table()
    proven = known_name(table)
    if proven is not None:
        return proven, True
    # The points on which it acts can show more than a table does, a wreath product for example.
    with suppress(WorkSpent), limited(_MOST_STEP / 2):
        named = _by_degree_and_order(group, commuting=False)
        if named is not None:
            return named
    return structure_name(table)


# ------------------------------------------------------------------------------------------ structure: direct products


def _product_on_separate_orbits(group: GeneratedGroup) -> Named | None:
    """The name, proven or not, of a direct product of groups on separate orbits; None where the group is not found to
    be one.
    """
    factors = separate_factors(group)
    return _product_name(factors) if len(factors) > 1 else None


def _product_of_commuting_subgroups(group: GeneratedGroup) -> Named | None:
    """The name, proven or not, of a direct product of two normal subgroups that move the same points; None where none
    was found.
    """
    factors = commuting_factors(group)
    return None if factors is None else _product_name(factors)


def _product_of_two_quotients(group: GeneratedGroup, a: Indices, b: Indices) -> Named | None:
    """The name of the direct product of the actions on two systems of blocks, where their joint action is the whole
    group.

    ``a``, ``b``: the number of the block of each point, ``(degree,)``. None where the group is not that product.
    """
    moves = [on_blocks(group, a), on_blocks(group, b)]
    quotients = [GeneratedGroup(move) for move in moves]
    if quotients[0].order * quotients[1].order != group.order:
        return None
    joint = GeneratedGroup(np.concatenate([moves[0], moves[1] + moves[0].shape[1]], 1))
    return _product_name(quotients) if joint.order == group.order else None


def _product_name(factors: list[GeneratedGroup]) -> Named:
    """The name of a direct product, and whether the names of all factors are proven.

    Factors that are not abelian come first, in alphabetical order; all abelian factors together are named last, as one
    group.
    """
    names = []
    abelian = []
    certain = True
    for factor in factors:
        if factor.is_abelian:
            abelian.append(factor)
            continue
        name, proven = _name(factor)
        names.append(bracketed(name))
        certain &= proven
    names.sort()
    if abelian:
        # C2 and C3 on separate points are one factor C6: the abelian factors are named together.
        names.append(abelian_name(cyclic_factors(side_by_side(abelian))))
    return " x ".join(names), certain


# ------------------------------------------------------------------------------------- structure: degree, order, blocks


def _by_degree_and_order(group: GeneratedGroup, commuting: bool = True) -> Named | None:
    """The best name that degree, order and blocks give, over those orbits of its core on which the group acts
    faithfully.

    It may be unproven where blocks gave it; None where no orbit gives one. ``commuting``: direct products of the
    actions on two systems of blocks are tried too.
    """
    best: Named | None = None
    for points in group.core:
        part = group.on(points) if len(group.core) > 1 else GeneratedGroup(group.core_rows, group.order)
        if part.order == group.order:
            best = _better(best, _transitive(part, commuting))
    return best


def _transitive(group: GeneratedGroup, commuting: bool) -> Named | None:
    """A name of a transitive group that is not abelian: ``S_n``, ``A_n``, a subgroup of ``AGL(1,p)``, a primitive
    group, or a product in blocks.

    A product in blocks may be unproven, all others are proven. None where degree, order and blocks give none.
    ``commuting`` is that of :func:`_by_degree_and_order`.
    """
    n = group.degree
    if group.order == math.factorial(n):
        return f"S{n}", True
    # A_n is the only subgroup of index 2 in S_n.
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
    best: Named | None = None
    # A name that is found before the work is spent is kept.
    with suppress(WorkSpent):
        for system in systems:
            best = _better(best, _wreath_product(group, system))
        for pair in combinations(systems, 2) if commuting else ():
            # A proven wreath product needs no other name, and pairs of systems are many.
            if best is None or not best[1]:
                best = _better(best, _product_of_two_quotients(group, *pair))
    return best


def _wreath_product(group: GeneratedGroup, blocks: Indices) -> Named | None:
    """The name of the wreath product of the action within a block with that on the blocks, where the group is all of
    it.

    The wreath product contains the group, and equal orders prove that they are the same; None where the orders differ.
    ``blocks``: the number of the block of each point, ``(degree,)``.
    """
    sizes = np.bincount(blocks)
    count = len(sizes)
    size = int(sizes[0])
    top = GeneratedGroup(on_blocks(group, blocks))
    inside = within_block(group, blocks)
    if inside.order**count * top.order != group.order:
        return None
    return _wreath_name(*_name_in_action(inside, size), top, count)


def _wreath_name(inner: str, proven: bool, top: GeneratedGroup, count: int) -> Named:
    """The name ``inner wr top``, and whether it is proven.

    Args:
        inner: the name of the group within a block.
        proven: whether ``inner`` is proven.
        top: the group of permutations of the blocks.
        count: how many blocks there are. Where the name of ``top`` does not tell how it acts on them,
            ``on count points`` is added to it.
    """
    outer, certain = _name_in_action(top, count)
    outer = bracketed(outer)
    if not _acts_as_named(outer, top, count):
        # A group may act on as many points in ways that give other products; on its own elements in one way only.
        outer = f"({outer} on {count} points)"
        certain = certain and top.order == count
    return f"{bracketed(inner)} wr {outer}", proven and certain


def _acts_as_named(name: str, group: GeneratedGroup, degree: int) -> bool:
    """Whether the name alone tells how the group acts on ``degree`` points: an abelian group, or a usual action.

    Usual are those of ``S_n``, ``A_n``, ``D_n``, ``AGL(1,n)`` and a Frobenius group ``C_n:C_m`` on ``n`` points.
    """
    known = (f"S{degree}", f"A{degree}", f"D{degree}", f"AGL(1,{degree})")
    return group.is_abelian or name in known or (name.startswith(f"(C{degree}:") and "Frobenius" in name)


def _name_in_action(group: GeneratedGroup, degree: int) -> Named:
    """The name of a group that acts on ``degree`` points, where all permutations of the points are called ``S_n``.

    So the group of order 6 on three points is ``S3``, though it is ``D3`` as well.
    """
    if group.order == math.factorial(degree) and degree > 2:
        return f"S{degree}", True
    return _name(group)


# --------------------------------------------------------------------- structure: presentations and conjugacy classes


def _by_presentation(group: GeneratedGroup) -> Named | None:
    """The proven name of a symmetric, alternating or dihedral group by a presentation; None where none was found."""
    name = symmetric_or_alternating_name(group) or dihedral_name(group)
    return None if name is None else (name, True)


def _by_conjugacy_class(group: GeneratedGroup) -> Named | None:
    """The name by the action on a small conjugacy class, which can show blocks that the points do not; None without
    one.

    Either the class generates the base of a wreath product of ``C2`` or ``C3``, or the action on it is faithful and
    named by degree and order.
    """
    # Classes of involutions and of elements of order 3 hold the bases of the wreath products that occur.
    for prime in (2, 3):
        if group.order % prime:
            continue
        for class_ in small_classes(group, prime, _MAX_CLASS)[:3]:
            conjugation = on_class(group, class_)
            base = prime ** len(class_)
            if generates_regular_base(group, class_, prime) and base * conjugation.order == group.order:
                return _wreath_name(f"C{prime}", True, conjugation, len(class_))
            if conjugation.order == group.order and (named := _by_degree_and_order(conjugation)) is not None:
                return named
    return None


# -------------------------------------------------------------------------------------------------------- description


def _described(group: GeneratedGroup) -> Named:
    """A description of the group (:func:`_description`), and False: it is no proven name."""
    return _description(group), False


def _description(group: GeneratedGroup) -> str:
    """A group in words: ``index i in NAME`` for the smallest product that contains it, where that has a name, proven or
    not, else ``a group of order n``.

    The product is that of the actions on its orbits, or for one orbit a wreath product in blocks; the index of the
    group in it must be from 2 to ``_MAX_INDEX``.
    """
    parts = [group.on(points) for points in group.core]
    candidates: list[tuple[int, str]] = []
    if len(parts) > 1:
        index = math.prod(part.order for part in parts) // group.order
        candidates.append((index, _product_name(parts)[0]))
    elif group.degree == len(group.core[0]):
        for system in block_systems(group):
            inside = within_block(group, system)
            top = GeneratedGroup(on_blocks(group, system))
            count = int(system.max()) + 1
            index = inside.order**count * top.order // group.order
            if index <= _MAX_INDEX:
                names = _name_in_action(inside, group.degree // count)[0], _name_in_action(top, count)[0]
                candidates.append((index, " wr ".join(map(bracketed, names))))
    index, name = min(candidates, default=(0, ""))
    if 1 < index <= _MAX_INDEX and " of order " not in name:
        return f"index {index} in {name}"
    return f"a group of order {group.order}"
