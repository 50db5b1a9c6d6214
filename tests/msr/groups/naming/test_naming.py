"""Names of permutation groups: a table of known ones, traps that no count tells apart, and proofs checked by hand."""

import math
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sympy.combinatorics import Permutation, PermutationGroup

from msr.errors import AxiomError, ConfigError, ShapeError
from msr.groups import (
    FiniteGroup,
    alternating,
    cyclic,
    dihedral,
    direct_product,
    from_permutations,
    quaternion,
    semidirect_product,
    symmetric,
    wreath_product,
)
from msr.groups.naming import extensions, gap, generated_group, name_group
from msr.groups.naming import name as naming
from msr.groups.naming.catalogue import find_isomorphism, fingerprint, known_name, named_groups, names_that_fit
from msr.groups.naming.extensions import structure_name
from msr.groups.naming.linear_groups import linear_group
from msr.permutations import automorphisms, stabiliser_chains, work_budget
from msr.representations import grid_rotations, natural, quotient, regular
from tests.support.cases import permutation_groups


@pytest.fixture(scope="module", autouse=True)
def without_gap():
    """What is said here is said without help, installed or not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gap, "_command", lambda: None)
        yield


def metacyclic(n, k, r):
    """``y x y⁻¹ = x^r`` for ``x`` of order ``n`` and ``y`` of order ``k``."""
    return semidirect_product(cyclic(n), cyclic(k), lambda h, x: pow(r, h, n) * x % n)


def rows(rep):
    return rep.permutations[list(rep.group.generators) or [0]]


def acting(group):
    """Generators on the points of a group, or on its elements."""
    return rows(regular(group) if group.points is None else natural(group))


def named(group):
    moves = acting(group) if isinstance(group, FiniteGroup) else np.array(group)
    return name_group(moves, moves)


def shifted(n, first, last):
    """``n`` points, those from first to last turned by one."""
    return [*range(first), *np.roll(range(first, last), 1), *range(last, n)]


def grid(*moves):
    """Moves of a 5 x 4 grid: rows and columns are permuted on their own."""
    return [move(np.arange(20).reshape(5, 4)).ravel() for move in moves]


C, D, S = cyclic, dihedral, symmetric
TABLE = {
    **{f"C{n}": lambda n=n: C(n) for n in range(2, 13)},
    **{f"D{n}": lambda n=n: D(n) for n in range(4, 13)},
    **{f"S{n}": lambda n=n: S(n) for n in range(3, 8)},
    **{f"A{n}": lambda n=n: alternating(n) for n in range(4, 8)},
    **{f"Q{n}": lambda n=n: quaternion(n) for n in (8, 12, 16, 20, 32)},
    "trivial": lambda: C(1),
    "C2 x C2": lambda: direct_product(C(2), C(2)),
    "C4 x C4": lambda: direct_product(C(4), C(4)),
    "C2 x C4 x C8": lambda: direct_product(C(4), C(8), C(2)),
    "C2 x C12": lambda: direct_product(C(6), C(4)),
    "C15": lambda: direct_product(C(3), C(5)),
    "C2 x C8": lambda: direct_product(C(2), C(8)),
    "S3 x C4": lambda: direct_product(S(3), C(4)),
    "D4 x C3": lambda: direct_product(D(4), C(3)),
    "D4 x D4": lambda: direct_product(D(4), D(4)),
    "S3 x S3 x S3": lambda: direct_product(S(3), S(3), S(3)),
    "Q8 x S4": lambda: direct_product(quaternion(), S(4)),
    "Q8 x C2 x C2": lambda: direct_product(quaternion(), C(2), C(2)),
    "S3 wr C2": lambda: wreath_product(S(3), C(2)),
    "C2 wr C3": lambda: wreath_product(C(2), C(3)),
    "C3 wr C3": lambda: wreath_product(C(3), C(3)),
    "C2 wr S3": lambda: wreath_product(C(2), S(3)),
    "C4 wr S3": lambda: wreath_product(C(4), S(3)),
    "D4 wr C2": lambda: wreath_product(D(4), C(2)),
    "S4 wr C2": lambda: wreath_product(S(4), C(2)),
    "S3 wr S3": lambda: wreath_product(S(3), S(3)),
    "C4 wr S4": lambda: wreath_product(C(4), S(4)),
    "C2 wr S5": lambda: wreath_product(C(2), S(5)),
    "C7:C3 (Frobenius)": lambda: metacyclic(7, 3, 2),
    "AGL(1,5)": lambda: [shifted(5, 0, 5), [0, 2, 4, 1, 3]],
    "AGL(1,7)": lambda: [shifted(7, 0, 7), [0, 3, 6, 2, 5, 1, 4]],
    "C8:C2 (r -> r^5)": lambda: metacyclic(8, 2, 5),
    "C8:C2 (r -> r^3)": lambda: metacyclic(8, 2, 3),
    "C4:C4 (r -> r^3)": lambda: metacyclic(4, 4, 3),
    "C9:C3 (r -> r^4)": lambda: metacyclic(9, 3, 4),
    "S10": lambda: [shifted(10, 0, 10), [1, 0, *range(2, 10)]],
    "A9": lambda: [shifted(9, 0, 9), [1, 2, 0, *range(3, 9)]],
    "S6 x S7": lambda: [shifted(13, 0, 6), [1, 0, *range(2, 13)], shifted(13, 6, 13), [*range(11), 12, 11]],
    "S6 x C2 x C2": lambda: [shifted(10, 0, 6), [1, 0, *range(2, 10)], shifted(10, 6, 8), shifted(10, 8, 10)],
    "S4 x S5": lambda: grid(
        lambda x: np.roll(x, 1, 0),
        lambda x: x[[1, 0, 2, 3, 4]],
        lambda x: np.roll(x, 1, 1),
        lambda x: x[:, [1, 0, 2, 3]],
    ),
    "C33 x C33": lambda: [np.roll(np.arange(33 * 33).reshape(33, 33), 1, axis).ravel() for axis in (0, 1)],
}  # fmt: skip


@pytest.mark.parametrize(("name", "make"), TABLE.items(), ids=TABLE)
def test_known_groups_have_their_name(name, make):
    moves = make()
    found = named(moves)
    assert (found.name, found.certain, found.alternatives) == (name, True, ())
    if isinstance(moves, FiniteGroup):
        assert found.order == moves.order
    assert found.fingerprint["order"] == found.order


SAME = [
    (dihedral(3), "S3"),
    (direct_product(S(3), C(2)), "D6"),
    (wreath_product(C(2), C(2)), "D4"),
    (metacyclic(8, 2, 7), "D8"),
    (metacyclic(3, 4, 2), "Q12"),
    (direct_product(D(3), D(3)), "S3 x S3"),
    (metacyclic(5, 4, 2), "AGL(1,5)"),
]


@pytest.mark.parametrize(("group", "name"), SAME, ids=[name for _, name in SAME])
def test_isomorphic_groups_have_one_name(group, name):
    assert named(group).name == name


def test_groups_with_equal_orders_of_elements_have_different_names():
    """M16 and C2 x C8 have as many elements of each order; so do C4 x C4, C4:C4 and Q8 x C2."""
    for trap in (
        [metacyclic(8, 2, 5), direct_product(C(2), C(8))],
        [direct_product(C(4), C(4)), metacyclic(4, 4, 3), direct_product(quaternion(), C(2))],
    ):
        counts = {str(fingerprint(g)["element orders"]) for g in trap}
        assert len(counts) == 1
        assert len({named(g).name for g in trap}) == len(trap)
        assert all(named(g).certain for g in trap)
    assert fingerprint(metacyclic(8, 2, 5))["element orders"] == {1: 1, 2: 3, 4: 4, 8: 8}


def heisenberg(p):
    """Upper triangular 3 x 3 matrices modulo p: for p = 3 all elements have order 3, as in C3 x C3 x C3."""
    points = np.arange(p**3)
    a, b, c = points // p**2, points // p % p, points % p

    def code(a, b, c):
        return a % p * p**2 + b % p * p + c % p

    return from_permutations([code(a + 1, b, c + b), code(a, b + 1, c)], "He")


def test_a_group_that_no_name_fits_is_described():
    """PGL(2,101): no table is that large, and primitive groups are known by degree and order up to 100 points only."""
    moves = linear_group("GL", 2, 101, on="lines")
    found = named(moves)
    assert (found.name, found.order, found.certain) == ("a group of order 1030200", 1030200, False)
    assert found.alternatives == ()
    assert found.on_inputs.primitive


def test_alternatives_share_the_fingerprint():
    """What is listed shares every count, and a named group is among its own."""
    for order in (16, 24, 32, 48):
        for name, make in named_groups(order):
            group = make()
            assert group.order == order
            assert name in names_that_fit(group)
            for other in names_that_fit(group):
                twin = next(make() for text, make in named_groups(order) if text == other)
                assert fingerprint(twin) == fingerprint(group)


def test_a_primitive_group_is_named_by_degree_and_order():
    """M11 on 11 points, order 7920: primitive, and neither S11 nor A11."""
    found = named([shifted(11, 0, 11), [0, 1, 6, 9, 5, 3, 10, 2, 8, 4, 7]])
    assert (found.order, found.name, found.certain) == (7920, "M11", True)


def test_the_name_of_a_wreath_product_says_how_the_top_group_moves_the_blocks():
    """S3 on its own six elements is another top than S3 on three points: 2^6 * 6 elements, not 2^3 * 6."""
    on_six = from_permutations(list(acting(FiniteGroup(S(3).table))))
    assert on_six.points.shape[1] == 6
    small = named(wreath_product(C(2), on_six))
    assert (small.order, small.name, small.certain) == (384, "C2 wr (S3 on 6 points)", True)
    large = named(wreath_product(C(3), on_six))
    assert (large.order, large.name, large.certain) == (4374, "C3 wr (S3 on 6 points)", True)
    A4 = from_permutations(list(acting(FiniteGroup(alternating(4).table))))
    assert A4.points.shape[1] == 12
    moves = [[*(2 * p[:, None] + np.arange(2)).ravel()] for p in A4.points[list(A4.generators)]]
    assert named([*moves, [1, 0, *range(2, 24)]]).name == "C2 wr (A4 on 12 points)"


def test_a_top_group_that_can_act_in_two_ways_leaves_the_name_open():
    """S4 moves the six edges of a tetrahedron, and also the six cyclic orders of its corners: two wreath products."""
    S4 = S(4)
    edges = S4.subgroup([S4.labels.index("(0 1)"), S4.labels.index("(2 3)")])
    orders = S4.subgroup([S4.labels.index("(0 1 2 3)")])
    found = []
    for stabiliser in (edges, orders):
        top = rows(quotient(S4, stabiliser))
        moves = [(2 * p[:, None] + np.arange(2)).ravel() for p in top]
        found.append(named([*moves, np.array([1, 0, *range(2, 12)])]))
    assert [(n.order, n.certain) for n in found] == [(1536, False)] * 2
    assert named(acting(wreath_product(C(2), metacyclic_on_points(5, 4, 2)))).name == "C2 wr AGL(1,5)"
    seven = named(acting(wreath_product(C(2), metacyclic_on_points(7, 3, 2))))
    assert (seven.name, seven.certain) == ("C2 wr (C7:C3 (Frobenius))", True)


def metacyclic_on_points(p, k, r):
    points = np.arange(p)
    return from_permutations([(points + 1) % p, points * r % p])


def test_orbits_that_are_tied_only_three_at_a_time():
    """Of three swaps any two are free, and the third is their product; each pair of orbits alone seems separate."""
    n = 6
    swap = [np.array([1, 0, *range(2, n)]), np.array([0, 1, 3, 2, 4, 5]), np.array([0, 1, 2, 3, 5, 4])]
    tied = [swap[0][swap[2]], swap[1][swap[2]]]
    assert named(tied).name == "C2 x C2"
    # The same with three S4, tied through their signs, beside an S7 that is free.
    moves = []
    for k in range(3):
        moves.append([*range(4 * k), *(4 * k + np.array([1, 2, 0, 3])), *range(4 * k + 4, 19)])
        moves.append([*range(4 * k), *(4 * k + np.array([0, 2, 3, 1])), *range(4 * k + 4, 19)])
    for one, other in ((0, 1), (1, 2)):
        row = np.arange(19)
        row[4 * one : 4 * one + 2] = row[[4 * one + 1, 4 * one]]
        row[4 * other : 4 * other + 2] = row[[4 * other + 1, 4 * other]]
        moves.append(row)
    moves += [shifted(19, 12, 19), [*range(17), 18, 17]]
    found = named(moves)
    assert found.order == 24**3 // 2 * 5040
    assert found.name == "(index 2 in S4 x S4 x S4) x S7"
    assert not found.certain


def test_twisted_orbits_of_s6_are_one_s6():
    """S6 moves six points and, by its outer automorphism, six others: no map of points ties them, yet order 720."""
    S6 = S(6)
    # S5 on the cosets of AGL(1,5) is transitive on six points; its image has index six in S6.
    subgroup = S(5).subgroup([S(5).labels.index("(0 1 2 3 4)"), S(5).labels.index("(1 2 4 3)")])
    inside = quotient(S(5), subgroup)
    assert inside.dim == 6
    image = [p.tolist() for p in S6.points]
    members = S6.subgroup([image.index(p.tolist()) for p in inside.permutations])
    assert members.group.order == 120
    twisted = quotient(S6, members)
    found = name_group(rows(natural(S6)), rows(twisted))
    assert (found.name, found.order, found.certain) == ("S6", 720, True)
    # Beside an S5 the order leaves the table, and the two orbits must still be one factor.
    beside = [[*p, *q, *range(12, 17)] for p, q in zip(rows(natural(S6)), 6 + rows(twisted), strict=True)]
    beside += [shifted(17, 12, 17), [*range(12), 13, 12, 14, 15, 16]]
    found = named(beside)
    assert (found.name, found.order, found.certain) == ("S5 x S6", 720 * 120, True)


def test_kernels_differ_between_inputs_and_outputs():
    """D4 turns four inputs, and swaps two outputs through its quotient by the rotations."""
    D4 = D(4)
    found = name_group(rows(natural(D4)), rows(quotient(D4, D4.subgroup([1]))))
    assert (found.name, found.order, found.certain) == ("D4", 8, True)
    assert (found.on_inputs.order, found.on_inputs.kernel) == (8, 1)
    assert (found.on_outputs.order, found.on_outputs.kernel) == (2, 4)
    assert str(found.on_outputs) == "regular on 2 points (kernel of order 4)"
    # S4 through its quotient S3 on inputs, and through its sign on outputs: the group seen is S3.
    S4 = S(4)
    V4 = S4.subgroup([S4.labels.index("(0 1)(2 3)"), S4.labels.index("(0 2)(1 3)")])
    found = name_group(rows(quotient(S4, S4.subgroup([*V4.elements, 1]))), rows(quotient(S4, alternating_in(S4))))
    assert (found.name, found.on_inputs.kernel, found.on_outputs.kernel) == ("S3", 1, 3)
    # Neither side is faithful: C2 on inputs and C3 on outputs make C6.
    found = name_group(np.array([[1, 0], [0, 1]]), np.array([[0, 1, 2], [1, 2, 0]]))
    assert (found.name, found.on_inputs.kernel, found.on_outputs.kernel) == ("C6", 3, 2)


def alternating_in(group):
    return group.subgroup([g for g in group.elements if group.element_orders[g] == 3])


ACTIONS = {
    "C6": (lambda: acting(C(6)), "regular on 6 points", (True, True, False, 2)),
    "C5": (lambda: acting(C(5)), "regular on 5 points", (True, True, True, None)),
    "C9": (lambda: acting(C(9)), "regular on 9 points", (True, True, False, 3)),
    "D4": (lambda: acting(D(4)), "transitive on 4 points in blocks of 2", (True, False, False, 2)),
    "D9": (lambda: acting(D(9)), "transitive on 9 points in blocks of 3", (True, False, False, 3)),
    "S5": (lambda: acting(S(5)), "primitive on 5 points", (True, False, True, None)),
    "C2": (lambda: np.array([[1, 0]]), "regular on 2 points", (True, True, True, None)),
    "S3 wr S3": (lambda: acting(wreath_product(S(3), S(3))), "in blocks of 3", (True, False, False, 3)),
    "C4 wr S3": (lambda: acting(wreath_product(C(4), S(3))), "in blocks of 2", (True, False, False, 2)),
    "grid": (lambda: rows(grid_rotations(3, flips=True)), "orbits of 4, 4, 1? fixed", (False, False, False, None)),
    "one point": (lambda: np.array([[0]]), "moves none of 1 points", (False, False, False, None)),
    "still": (lambda: np.array([[0, 1, 2]]), "moves none of 3 points", (False, False, False, None)),
    "none": (lambda: np.empty((0, 3), int), "moves none of 3 points", (False, False, False, None)),
}


@pytest.mark.parametrize(("make", "text", "is_"), ACTIONS.values(), ids=ACTIONS)
def test_actions_are_described(make, text, is_):
    action = name_group(make(), make()).on_inputs
    assert text.replace("1? fixed", "1 fixed") in str(action)
    assert (action.transitive, action.regular, action.primitive, action.blocks) == is_
    assert action.degree == make().shape[1] == sum(action.orbits)
    assert list(action.orbits) == sorted(action.orbits, reverse=True)


@st.composite
def blockwise(draw):
    """Permutations of up to nine points, often ones that keep blocks."""
    n, size = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    moves = []
    for _ in range(draw(st.integers(1, 3))):
        top = np.array(draw(st.permutations(range(n))))
        inside = [np.array(draw(st.permutations(range(size)))) for _ in range(n)]
        moves.append(np.concatenate([top[b] * size + inside[b] for b in range(n)]))
    return np.stack(moves)


@given(blockwise())
def test_actions_are_those_of_sympy(moves):
    other = PermutationGroup([Permutation(p.tolist()) for p in moves])
    found = name_group(moves, moves)
    action = found.on_inputs
    assert found.order == other.order()
    n = moves.shape[1]
    transitive = n > 1 and other.is_transitive()
    assert action.transitive == transitive
    assert sorted(action.orbits) == sorted([len(o) for o in other.orbits()] + [1] * (n - sum(map(len, other.orbits()))))
    if transitive:
        assert action.primitive == other.is_primitive()
        sizes = [np.bincount(other.minimal_block([0, i])).max() for i in range(1, n)]
        assert action.blocks == min((s for s in sizes if s < n), default=None)
    assert action.regular == (transitive and found.order == n)


@given(permutation_groups(5), st.data())
def test_a_name_does_not_depend_on_points_or_generators(group, data):
    found = named(group)
    n = group.points.shape[1]
    move = np.array(data.draw(st.permutations(range(n))))
    moved = [move[group.points[g][np.argsort(move)]] for g in group.generators or [0]]
    chosen = data.draw(st.lists(st.sampled_from(range(group.order)), min_size=1, max_size=4))
    others = [group.points[g] for g in (*chosen, *group.generators)]
    for twin in (named(moved), named(others), name_group(rows(regular(group)), rows(regular(group)))):
        assert (twin.name, twin.order, twin.certain) == (found.name, found.order, found.certain)
        assert twin.fingerprint == found.fingerprint


def relabelled(group, rng):
    """The same group with its elements numbered otherwise, and other generators."""
    place = np.concatenate([[0], 1 + rng.permutation(group.order - 1)])
    back = np.argsort(place)
    return FiniteGroup(place[group.table[np.ix_(back, back)]], "twin")


def is_isomorphism(image, a, b):
    return np.array_equal(np.sort(image), np.arange(a.order)) and np.array_equal(
        image[a.table], b.table[np.ix_(image, image)]
    )


PAIRS = [
    C(1), C(7), D(6), quaternion(16), S(5), alternating(5), wreath_product(C(3), C(3)), metacyclic(8, 2, 5),
    direct_product(*[C(2)] * 5), direct_product(C(4), C(4), C(2)), direct_product(D(4), D(4)), heisenberg(3), S(6),
    # In these, elements look alike that no automorphism exchanges: the first choice can fail.
    metacyclic(9, 3, 4), direct_product(metacyclic(9, 3, 4), C(3)), metacyclic(8, 8, 5),
]  # fmt: skip


@pytest.mark.parametrize("group", PAIRS, ids=lambda g: g.name)
def test_an_isomorphism_is_one(group):
    for seed in range(8):
        twin = relabelled(group, np.random.default_rng(seed))
        image = find_isomorphism(group, twin)
        assert image is not None
        assert is_isomorphism(image, group, twin)


SIXTEEN = [
    C(16),
    direct_product(C(4), C(4)),
    direct_product(C(2), C(8)),
    direct_product(C(2), C(2), C(4)),
    direct_product(*[C(2)] * 4),
    D(8),
    metacyclic(8, 2, 3),
    quaternion(16),
    metacyclic(8, 2, 5),
    metacyclic(4, 4, 3),
    direct_product(D(4), C(2)),
    direct_product(quaternion(), C(2)),
]


def last_two():
    """D4 and C4 with their centres as one; and C2 x C2 with C4 swapping its factors."""
    V4 = direct_product(C(2), C(2))
    swap = [[0, 2, 1, 3] if h % 2 else [0, 1, 2, 3] for h in range(4)]
    table = []
    t, d = D(4).table, 2  # r^2 is element 2
    pairs = [(g, c) for c in range(2) for g in range(8)]
    for g, c in pairs:
        line = []
        for h, e in pairs:
            k = int(t[g, h])
            line.append((int(t[k, d]) if c and e else k) + 8 * (c ^ e))
        table.append(line)
    return FiniteGroup(table, "Pauli"), semidirect_product(V4, C(4), swap)


def test_all_fourteen_groups_of_order_sixteen_are_told_apart():
    groups = [*SIXTEEN, *last_two()]
    assert len(groups) == 14
    for i, a in enumerate(groups):
        for j, b in enumerate(groups):
            assert (find_isomorphism(a, b) is not None) == (i == j), (a.name, b.name)
    found = [named(g) for g in groups]
    certain = [n.name for n in found if n.certain]
    assert len(set(certain)) == len(certain) >= 12


def test_groups_of_another_order_are_not_isomorphic():
    assert find_isomorphism(C(4), C(5)) is None
    assert find_isomorphism(D(4), quaternion()) is None
    assert find_isomorphism(heisenberg(3), metacyclic(9, 3, 4)) is None


def test_a_certain_name_is_never_shared_by_different_groups():
    """All subgroups of two groups of order 64 and 128: where names agree and are proven, so are the groups."""
    rng = np.random.default_rng(0)
    seen: dict[tuple[int, str], FiniteGroup] = {}
    for whole in (direct_product(D(4), quaternion()), wreath_product(D(4), C(2)), wreath_product(C(2), S(4))):
        for _ in range(60):
            group = whole.subgroup(rng.integers(whole.order, size=int(rng.integers(2, 4))).tolist()).group
            name = known_name(group)
            if name is not None:
                first = seen.setdefault((group.order, name), group)
                assert fingerprint(first) == fingerprint(group)
                assert find_isomorphism(first, group) is not None
    orders = [order for order, _ in seen]
    assert len(seen) > 15
    assert len({name for _, name in seen}) == len(orders), "one name for two orders"


@pytest.mark.parametrize("order", [36, 64, 192, 576])
def test_no_group_of_the_catalogue_is_listed_twice(order):
    """A product of two different groups of one order stands there in one order of its factors."""
    names = [name for name, _ in named_groups(order)]
    assert len(set(names)) == len(names)
    swapped = [" x ".join(sorted(name.split(" x "))) for name in names]
    assert len(set(swapped)) == len(names)


@pytest.mark.parametrize("order", [8, 12, 16, 20, 24, 42, 48, 54, 60, 64, 72, 96])
def test_groups_of_the_catalogue_have_its_order_and_are_recognised(order):
    for name, make in named_groups(order):
        group = make()
        assert group.order == order, name
        assert not group.is_abelian, name
        found = known_name(relabelled(group, np.random.default_rng(0)))
        assert found is not None, name
        twin = next(make for text, make in named_groups(order) if text == found)()
        assert is_isomorphism(find_isomorphism(twin, group), twin, group)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=3))
def test_abelian_names_multiply_to_the_order_and_divide(orders):
    group = direct_product(*map(C, orders))
    found = named(group)
    assert found.certain
    if group.order == 1:
        assert found.name == "trivial"
        return
    factors = [int(word[1:]) for word in found.name.split(" x ")]
    assert math.prod(factors) == group.order
    assert all(b % a == 0 for a, b in pairwise(factors))
    assert factors[-1] == group.element_orders.max()
    for k in range(1, 13):
        assert math.prod(math.gcd(k, f) for f in factors) == (k % group.element_orders == 0).sum()


@pytest.mark.parametrize(
    "make",
    [
        lambda: D(512),
        lambda: quaternion(1024),
        lambda: direct_product(D(256), C(2)),
        lambda: direct_product(D(4), *[C(2)] * 7),
        lambda: metacyclic(512, 2, 257),
        lambda: wreath_product(C(4), C(4)),
    ],
    ids=["D512", "Q1024", "D256 x C2", "D4 x C2^7", "C512:C2", "C4 wr C4"],
)
def test_the_largest_tables_are_named(make):
    found = named(make())
    assert found.order == 1024
    assert found.certain


def test_large_symmetric_groups_need_no_chain():
    found = automorphisms(np.eye(100, dtype=int), backend="own")
    answer = name_group(found.generators_in, found.generators_out)
    assert (answer.name, answer.order, answer.certain) == ("S100", math.factorial(100), True)
    assert named([shifted(80, 0, 80), [1, 0, *range(2, 80)]]).order == math.factorial(80)
    # A swap of points two apart, turned, connects evens with evens only: a wreath product and not S8.
    assert named([shifted(8, 0, 8), [2, 1, 0, *range(3, 8)]]).name == "S4 wr C2"


@pytest.mark.parametrize(
    ("p", "q", "error", "says"),
    [
        (np.array([[0, 1]]), np.array([[0], [0]]), ShapeError, r"\(1, 2\) int64 and \(2, 1\)"),
        (np.array([0, 1]), np.array([[0]]), ShapeError, r"a row for each; got \(2,\)"),
        (np.array([[0.0, 1.0]]), np.array([[0]]), ShapeError, "float64"),
        (
            np.array([[0, 0]]),
            np.array([[0]]),
            AxiomError,
            r"generator 0 is no permutation of the inputs 0 to 1: \[0, 0",
        ),
        (np.array([[0, 1]]), np.array([[2, 1]]), AxiomError, "of the outputs 0 to 1"),
    ],
)
def test_arrays_that_generate_no_group_are_refused(p, q, error, says):
    with pytest.raises(error, match=says):
        name_group(p, q)


# How many groups of each order there are, and how many of them are abelian (OEIS A000001 and A000688).
GROUPS = {6: 2, 8: 5, 10: 2, 12: 5, 14: 2, 16: 14, 18: 5, 20: 5, 21: 2, 22: 2, 24: 15, 26: 2, 27: 5, 28: 4, 30: 4}
ABELIAN = {8: 3, 12: 2, 16: 5, 18: 2, 20: 2, 24: 3, 27: 3, 28: 2}


@pytest.mark.parametrize("order", GROUPS)
def test_every_group_of_up_to_31_elements_has_a_name_of_its_own(order):
    """All are here if as many are found, no two isomorphic, as are known to exist; each is named, and no two alike."""
    found: list[FiniteGroup] = []
    makers = [make for _, make in named_groups(order)]
    makers += [
        lambda n=n, r=r: metacyclic(n, order // n, r)
        for n in range(2, order)
        for r in range(2, n)
        if order % n == 0 and pow(r, order // n, n) == 1
    ]
    for make in makers:
        group = make()
        if all(find_isomorphism(other, group) is None for other in found):
            found.append(group)
    assert len(found) == GROUPS[order] - ABELIAN.get(order, 1)
    names = [known_name(relabelled(group, np.random.default_rng(0))) for group in found]
    assert None not in names
    assert len(set(names)) == len(names)


def wide(colours):
    """The automorphisms of colours, named with the order that the search gives."""
    found = automorphisms(np.asarray(colours))
    return name_group(found.generators_in, found.generators_out, order=found.order)


def subsets(n, k):
    chosen = [set(s) for s in combinations(range(n), k)]
    return [[len(a & b) for b in chosen] for a in chosen]


def letters(d, q):
    words = np.stack(np.unravel_index(np.arange(q**d), (q,) * d), 1)
    return (words[:, None] != words).sum(2)


def ordered_pairs(n):
    """How two ordered pairs of different points meet."""
    pairs = np.array([(i, j) for i in range(n) for j in range(n) if i != j])
    a, b = pairs[:, None], pairs[None]
    same = [a[..., i] == b[..., j] for i in (0, 1) for j in (0, 1)]
    return np.dot(np.stack(same, -1), [1, 2, 4, 8])


SCHEMES = {
    "S7 on pairs": (lambda: subsets(7, 2), "S7", math.factorial(7)),
    "S9 on triples": (lambda: subsets(9, 3), "S9", math.factorial(9)),
    "S7 on ordered pairs": (lambda: ordered_pairs(7), "S7", math.factorial(7)),
    "J(6,3)": (lambda: subsets(6, 3), "S6 x C2", 1440),
    "H(2,4)": (lambda: letters(2, 4), "S4 wr C2", 1152),
    "H(2,6)": (lambda: letters(2, 6), "S6 wr C2", 2 * 720**2),
    "H(3,3)": (lambda: letters(3, 3), "S3 wr S3", 1296),
    "H(5,2)": (lambda: letters(5, 2), "C2 wr S5", 3840),
    "S8 in blocks of 32": (
        lambda: np.kron(np.eye(8, dtype=int), np.ones((32, 32), int)) + np.eye(256, dtype=int),
        "S32 wr S8",
        math.factorial(32) ** 8 * math.factorial(8),
    ),
}


@pytest.mark.parametrize(("make", "name", "order"), SCHEMES.values(), ids=SCHEMES)
def test_symmetric_groups_are_known_whatever_they_act_on(make, name, order):
    found = wide(make())
    assert (found.name, found.order, found.certain) == (name, order, True)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("SL", 2, 3, 1, "vectors"), "SL(2,3)"),
        (("SL", 2, 5, 1, "vectors"), "SL(2,5)"),
        (("GL", 2, 3, 1, "vectors"), "GL(2,3)"),
        (("SL", 2, 3, 1, "lines"), "A4"),
        (("SL", 2, 2, 2, "lines"), "A5"),
        (("SL", 3, 2, 1, "lines"), "PSL(2,7)"),
        (("SL", 2, 2, 3, "lines"), "PSL(2,8)"),
        (("GL", 2, 7, 1, "lines"), "PGL(2,7)"),
        (("GL", 2, 3, 2, "lines"), "PGL(2,9)"),
        (("ΓL", 2, 3, 2, "lines"), "PΓL(2,9)"),
        (("ΣL", 2, 3, 2, "lines"), "S6"),
        (("SL", 3, 3, 1, "lines"), "PSL(3,3)"),
        (("SL", 4, 2, 1, "lines"), "A8"),
        (("GL", 1, 2, 3, "affine"), "AGL(1,8)"),
        (("ΓL", 1, 2, 3, "affine"), "AΓL(1,8)"),
        (("GL", 1, 5, 2, "affine"), "AGL(1,25)"),
        (("SL", 2, 3, 1, "affine"), "ASL(2,3)"),
        (("GL", 2, 3, 1, "affine"), "AGL(2,3)"),
        (("GL", 3, 2, 1, "affine"), "AGL(3,2)"),
        (("GL", 1, 37, 1, "affine"), "AGL(1,37)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_matrix_groups_have_their_name(arguments, name):
    kind, d, p, k, on = arguments
    found = named(linear_group(kind, d, p, k, on=on))
    assert (found.name, found.certain) == (name, True)


def test_a_known_order_is_not_computed_again(monkeypatch):
    """Without it a stabiliser chain is built on all points; with it only on blocks."""
    found = automorphisms(np.kron(np.eye(3, dtype=int), np.ones((7, 7), int)) + np.eye(21, dtype=int))
    chain = generated_group.Chain
    built = []
    monkeypatch.setattr(
        generated_group, "Chain", lambda rows, *a, **k: built.append(rows.shape[1]) or chain(rows, *a, **k)
    )
    said = name_group(found.generators_in, found.generators_out, order=found.order)
    assert (said.name, said.order) == ("S7 wr S3", math.factorial(7) ** 3 * 6)
    assert max(built) <= 7
    assert name_group(found.generators_in, found.generators_out) == said
    assert max(built) == 21


@pytest.mark.parametrize("order", [0, 7, -6])
def test_an_order_that_cannot_be_is_refused(order):
    with pytest.raises(ConfigError, match=rf"order={order} is none of a group with orbits of \[3"):
        name_group(np.array([[1, 2, 0]]), np.array([[0]]), order=order)


def test_a_group_without_a_name_is_described_by_its_index_in_a_named_one():
    """The even elements of S5 x S6: no direct product, and known as a part of one."""
    moves = [shifted(11, 0, 5), [0, 1, 3, 4, 2, *range(5, 11)], [*range(5), 6, 7, 5, 8, 9, 10], shifted(11, 6, 11)]
    moves += [[1, 0, 2, 3, 4, 6, 5, 7, 8, 9, 10]]
    found = named(moves)
    assert (found.name, found.order, found.certain) == ("index 2 in S5 x S6", 120 * 720 // 2, False)
    assert found.title == "a subgroup of index 2 in S5 x S6"


def test_structures_depend_on_the_group_alone():
    """A name that is not proven is the same however the elements are numbered."""
    rook = automorphisms(np.asarray(letters(2, 3))).generators_in
    even = [g[h] for g in rook for h in rook]
    group = from_permutations([*even, [1, 2, 0, 4, 5, 3, 7, 8, 6]])
    assert group.order in (36, 72)
    for whole in (group, semidirect_product(C(5), C(8), lambda h, n: n * 2**h % 5)):
        names = {structure_name(relabelled(whole, np.random.default_rng(seed)))[0] for seed in range(3)}
        assert len(names) == 1
        assert not any(name.startswith("a group") for name in names)


def test_blocks_that_two_sides_share_are_named_with_their_order_known(monkeypatch):
    """The order of a part could not be proven; the error advised to give an order that had been given."""
    monkeypatch.setattr(stabiliser_chains, "_MOST_CHECKED", 1e5)
    colours = np.kron(np.eye(5, dtype=np.int64), np.ones((5, 5), dtype=np.int64))
    group = automorphisms(colours)
    named = name_group(group.generators_in, group.generators_out, order=group.order)
    most = math.factorial(5) ** 5
    assert group.order == named.order == most**2 * 120
    assert named.on_inputs.order == named.on_outputs.order == most * 120
    assert named.on_inputs.kernel == most


def test_the_order_of_a_side_follows_from_that_of_the_whole(monkeypatch):
    """Two kinds of inputs in each block: the order of what the group does to them has no bound that it reaches."""
    monkeypatch.setattr(stabiliser_chains, "_MOST_CHECKED", 1e4)
    colours = np.kron(np.eye(5, dtype=np.int64), [[1, 1, 1, 1, 2, 2, 2]] * 2)
    group = automorphisms(colours)
    named = name_group(group.generators_in, group.generators_out, order=group.order)
    assert named.on_inputs.order == (24 * 6) ** 5 * 120
    assert named.on_inputs.kernel == 2**5
    assert named.on_outputs.kernel == (24 * 6) ** 5
    with pytest.raises(ConfigError, match="order="):
        name_group(group.generators_in, group.generators_out)


def test_a_bound_is_asked_for_before_a_long_check(monkeypatch):
    """Blocks bound the order of a wreath product; to check its Schreier generators takes many times as long."""
    rows = automorphisms(cycles(16, 8)).generators_in
    check = stabiliser_chains.Chain._check
    checked = []
    monkeypatch.setattr(stabiliser_chains, "_CHEAP", 1e5)
    monkeypatch.setattr(stabiliser_chains.Chain, "_check", lambda chain: checked.append(chain.degree) or check(chain))
    assert generated_group.GeneratedGroup(rows).order == 32**8 * math.factorial(8)
    assert 128 not in checked


def cycles(length, count):
    """Cycles as a graph, with loops that tie each point to itself."""
    one = 2 * np.eye(length, dtype=np.int64) + np.roll(np.eye(length, dtype=np.int64), 1, 1)
    return np.kron(np.eye(count, dtype=np.int64), one + np.roll(np.eye(length, dtype=np.int64), -1, 1))


LIMITED = {
    "S4 wr C2": lambda: acting(wreath_product(S(4), C(2))),
    "D4 x D4": lambda: acting(direct_product(D(4), D(4))),
    "S3 wr S3": lambda: acting(wreath_product(S(3), S(3))),
    "S6 x S7": TABLE["S6 x S7"],
    "C33 x C33": TABLE["C33 x C33"],
}


@pytest.mark.parametrize("name", LIMITED)
@pytest.mark.parametrize("most", [0, 3e3, 3e4])
def test_a_name_cut_short_is_the_name_or_an_honest_description(name, most, monkeypatch):
    """Whatever is left of the work, what is certain is right, and what is not says an order or a part of the name."""
    whole = named(LIMITED[name]())
    monkeypatch.setattr(naming, "_MOST_WORK", most)
    found = named(LIMITED[name]())
    assert found.order == whole.order
    assert found.name == whole.name if found.certain else "of order" in found.name or found.name == whole.name
    if most == 0:
        assert not found.certain


def crystal(n):
    """A torus of n x n points with the turns and mirrors of a square."""
    far = np.minimum(np.arange(n), n - np.arange(n))
    a, b = np.divmod(np.arange(n * n), n)
    steps = np.stack([far[(a[:, None] - a) % n], far[(b[:, None] - b) % n]])
    return automorphisms(np.sort(steps, 0)[0] * n + np.sort(steps, 0)[1])


def test_a_structure_that_takes_too_long_is_described_by_its_order(monkeypatch):
    """The steps are counted, so that the same group is cut short in the same place everywhere."""
    moves = crystal(5).generators_in
    group = from_permutations(list(moves))
    assert structure_name(group) != (f"a group of order {group.order}", False)
    monkeypatch.setattr(extensions, "_MOST_WORK", 1e3)
    assert structure_name(group) == (f"a group of order {group.order}", False)


def test_isomorphic_parts_are_named_once(monkeypatch):
    """Parts of a group are many, and of few kinds: each kind is looked up once."""
    group = semidirect_product(direct_product(C(4), C(4)), C(4), lambda h, x: (x % 4 * 4 + x // 4) if h % 2 else x)
    asked = []
    monkeypatch.setattr(extensions, "known_name", lambda part: asked.append(part) or known_name(part))
    extensions._Names().of_parts(group)
    assert len(asked) > 3
    # Abelian parts are named by their counts, sooner than they are compared.
    kinds = [part for part in asked if not part.is_abelian]
    assert len(kinds) > 1
    for a, b in combinations(kinds, 2):
        assert find_isomorphism(a, b) is None


def test_a_budget_counts_the_steps_within_its_block():
    """A limit within another takes from both, and what is kept for later counts nowhere."""
    work_budget.spend(1e9)
    with work_budget.limited(10):
        with pytest.raises(work_budget.WorkSpent), work_budget.limited(5):
            work_budget.spend(6)
        with work_budget.limited(100):
            work_budget.spend(3)
        with work_budget.uncounted():
            work_budget.spend(1e9)
        with pytest.raises(work_budget.WorkSpent):
            work_budget.spend(2)
    work_budget.spend(1e9)
