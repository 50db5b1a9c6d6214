"""Groups against their axioms, against sympy, and against counts that textbooks know."""

import copy
import itertools
import pickle
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sympy.combinatorics import Permutation, PermutationGroup
from sympy.combinatorics.named_groups import AlternatingGroup, CyclicGroup, DihedralGroup, SymmetricGroup

from msr.errors import AxiomError, ConfigError, NonFiniteError, ShapeError
from msr.groups import (
    MAX_ORDER,
    FiniteGroup,
    LieAlgebra,
    alternating,
    cyclic,
    dihedral,
    direct_product,
    frobenius,
    from_permutations,
    from_table,
    lorentz,
    quaternion,
    se2,
    semidirect_product,
    so,
    special_linear,
    symmetric,
    trivial,
    wreath_product,
)
from msr.permutations import orbit_labels
from msr.representations import quotient
from tests.support.cases import permutation_groups

# An associative law is all that this loop lacks: identity, inverses and cancellation hold.
LOOP = [[0, 1, 2, 3, 4], [1, 0, 3, 4, 2], [2, 4, 0, 1, 3], [3, 2, 4, 0, 1], [4, 3, 1, 2, 0]]


def v4():
    return direct_product(cyclic(2), cyclic(2))


def frobenius21():
    """The smallest odd group that is not abelian: h in C3 multiplies C7 by 2^h."""
    return semidirect_product(cyclic(7), cyclic(3), lambda h, n: n * 2**h % 7)


# The table


@pytest.mark.parametrize(
    ("table", "error", "says"),
    [
        ([[0, 1], [1, 2]], AxiomError, "not closed: the product of elements 1 and 1 is 2.*0 to 1"),
        ([[0, -1], [1, 0]], AxiomError, "not closed: the product of elements 0 and 1 is -1"),
        ([[0, 2, 1], [1, 0, 2], [2, 1, 0]], AxiomError, "element 0 must be the identity.*but no element is"),
        ([[1, 2, 0], [2, 0, 1], [0, 1, 2]], AxiomError, "element 2 is; renumber so that it comes first"),
        ([[1, 0], [0, 1]], AxiomError, "element 1 is; renumber"),
        ([[0, 1, 2], [2, 0, 1], [1, 2, 0]], AxiomError, r"element 0 must be the identity \(e·g = g·e = g\), but no el"),
        ([[0, 1], [1, 1]], AxiomError, "no cancellation: 1·0 = 1·1 = 1, so element 1 has no inverse"),
        ([[0, 1, 2], [1, 2, 0], [2, 1, 0]], AxiomError, "no cancellation: 0·1 = 2·1 = 1, so element 1 has no inv"),
        (LOOP, AxiomError, r"not associative: \(1·1\)·2 = 2, but 1·\(1·2\) = 4 \(elements 1, 1, 2\)"),
        ([[0, 1]], ShapeError, r"square \(order, order\); got \(1, 2\)"),
        ([0, 1], ShapeError, r"got \(2,\)"),
        (np.empty((0, 0), dtype=int), ShapeError, r"got \(0, 0\)"),
        ([[0.0]], ShapeError, "holds integers; got float64"),
        (np.broadcast_to(np.int16(0), (MAX_ORDER + 1,) * 2), ShapeError, f"up to order {MAX_ORDER}.*got 8193"),
    ],
)
def test_a_broken_table_is_named(table, error, says):
    with pytest.raises(error, match=f"mine: .*{says}"):
        from_table(table, "mine")


def reduced_latin_squares(n):
    """All Latin squares of order n whose first row and column are in order."""

    def fill(rows):
        if len(rows) == n:
            yield [list(row) for row in rows]
            return
        for rest in itertools.permutations([x for x in range(n) if x != len(rows)]):
            row = (len(rows), *rest)
            if all(row[j] != old[j] for old in rows for j in range(n)):
                yield from fill([*rows, row])

    yield from fill([tuple(range(n))])


@pytest.mark.parametrize(("n", "squares", "groups"), [(3, 1, 1), (4, 4, 4), (5, 56, 6)])
def test_lights_test_finds_every_loop_that_is_no_group(n, squares, groups):
    seen = accepted = 0
    for table in reduced_latin_squares(n):
        t, every = np.array(table), range(n)
        associative = all(t[t[x, y], z] == t[x, t[y, z]] for x in every for y in every for z in every)
        seen += 1
        accepted += associative
        if associative:
            from_table(table)
        else:
            with pytest.raises(AxiomError, match="not associative"):
                from_table(table)
    assert (seen, accepted) == (squares, groups)


def test_associativity_is_tested_with_every_generator():
    """C2 times the loop: the first generator associates with all, only the second one gives it away."""
    loop, pair = np.array(LOOP), np.arange(10)
    table = loop[np.ix_(pair // 2, pair // 2)] * 2 + (pair[:, None] + pair) % 2
    with pytest.raises(AxiomError, match=r"not associative: \(2·2\)·4"):
        FiniteGroup(table, generators=[1, 2, 4])


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"labels": ["e", "a"]}, ShapeError, "3 elements need as many labels; got 2"),
        ({"generators": []}, AxiomError, r"the elements \[\] generate 1 of the 3 elements only"),
        ({"generators": [7]}, ConfigError, "elements 0 to 2; got 7 as a generator"),
        ({"generators": [-1]}, ConfigError, "elements 0 to 2; got -1 as a generator"),
        ({"points": [[0, 1, 2]]}, ShapeError, r"points must be \(3, n\) integers; got \(1, 3\)"),
        ({"points": np.zeros((3, 1))}, ShapeError, "float64"),
        ({"points": [[0, 1, 2], [1, 1, 0], [2, 0, 1]]}, AxiomError, r"element 1 is no permutation of 0 to 2: \[1, 1"),
        ({"points": [[1, 0, 2]] * 3}, AxiomError, r"the identity must move no point; got \[1, 0, 2\]"),
        ({"points": [[0, 1, 2], [1, 2, 0], [1, 2, 0]]}, AxiomError, "for elements g = 1 and h = 1, .* at point i = 0"),
    ],
)
def test_what_comes_with_a_table_must_fit_it(options, error, says):
    with pytest.raises(error, match=says):
        FiniteGroup(cyclic(3).table, **options)


def test_generators_are_kept_without_the_identity():
    assert FiniteGroup(cyclic(6).table, generators=[0, 2, 3]).generators == (2, 3)
    assert FiniteGroup(cyclic(6).table).generators == (1,)
    assert trivial().generators == ()


def test_a_tensor_serves_as_a_table():
    assert from_table(torch.tensor([[0, 1], [1, 0]])) == cyclic(2)


# Values


def test_a_group_cannot_be_changed():
    group, own = dihedral(3), dihedral(3).table.copy()
    with pytest.raises(AttributeError, match=r"D3: groups are immutable.*'name'"):
        group.name = "other"
    with pytest.raises(AttributeError, match="'table'"):
        group.table = own
    with pytest.raises(AttributeError, match="cannot be removed"):
        del group.table
    arrays = [group.table, group.points, group.inverses, group.element_orders, group.centre, group.class_index]
    arrays += [*group.conjugacy_classes, *group.cosets([0, 3])]
    for array in arrays:
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_a_group_does_not_share_memory_with_what_it_was_made_from():
    table = np.array([[0, 1], [1, 0]])
    group = from_table(table)
    table[0, 0] = 1
    assert group.table[0, 0] == 0


def test_groups_are_equal_by_their_tables():
    a, b = cyclic(4), from_table(np.array([[0, 1, 2, 3], [1, 2, 3, 0], [2, 3, 0, 1], [3, 0, 1, 2]]), "other")
    assert a == b
    assert hash(a) == hash(b)
    assert len({a, b, v4(), cyclic(3)}) == 3
    assert a != v4()
    assert cyclic(6) != direct_product(cyclic(2), cyclic(3))  # isomorphic, but numbered differently
    assert a != "C4"
    assert len(a) == a.order == 4
    assert repr(a) == "<C4, order 4>"


@pytest.mark.parametrize("make", [lambda: dihedral(4), quaternion, trivial, frobenius21])
@pytest.mark.parametrize("twin", [copy.copy, copy.deepcopy, lambda g: pickle.loads(pickle.dumps(g))])
def test_copies_are_the_same_value_and_read_only(make, twin):
    group = make()
    again = twin(group)
    assert again == group
    assert hash(again) == hash(group)
    assert (again.name, again.labels, again.generators) == (group.name, group.labels, group.generators)
    assert again.points is group.points is None or np.array_equal(again.points, group.points)
    assert not again.table.flags.writeable
    assert again.points is None or not again.points.flags.writeable


def test_elements_have_names():
    D3 = dihedral(3)
    assert D3.labels == ("e", "r", "r2", "s", "rs", "r2s")
    assert [D3.element(D3.label(g)) for g in D3.elements] == list(D3.elements)
    assert from_table(cyclic(3).table).labels == ("e", "g1", "g2")
    assert symmetric(3).labels[:3] == ("e", "(0 1)", "(0 1 2)")
    assert from_permutations([[1, 0, 3, 2]]).labels == ("e", "(0 1)(2 3)")
    assert v4().labels == ("e", "(e,r)", "(r,e)", "(r,r)")
    assert dihedral(1).labels == ("e", "s")
    with pytest.raises(ConfigError, match="D3 has no element 't'; it has e, r, r2"):
        D3.element("t")


def test_samples_are_repeatable_and_reach_every_element(gen):
    group = dihedral(5)
    drawn = group.sample(300, gen)
    assert set(drawn) == set(group.elements)
    assert drawn == group.sample(300, torch.Generator().manual_seed(0))


# Constructors against sympy

AGL15 = [[1, 2, 3, 4, 0], [0, 2, 4, 1, 3]]
PSL27 = [[1, 2, 3, 4, 5, 6, 0], [0, 1, 4, 6, 2, 5, 3]]

AGAINST_SYMPY = {
    "C1": (lambda: cyclic(1), lambda: CyclicGroup(1)),
    "C6": (lambda: cyclic(6), lambda: CyclicGroup(6)),
    "C7": (lambda: cyclic(7), lambda: CyclicGroup(7)),
    "C12": (lambda: cyclic(12), lambda: CyclicGroup(12)),
    "D3": (lambda: dihedral(3), lambda: DihedralGroup(3)),
    "D4": (lambda: dihedral(4), lambda: DihedralGroup(4)),
    "D5": (lambda: dihedral(5), lambda: DihedralGroup(5)),
    "D6": (lambda: dihedral(6), lambda: DihedralGroup(6)),
    "S2": (lambda: symmetric(2), lambda: SymmetricGroup(2)),
    "S3": (lambda: symmetric(3), lambda: SymmetricGroup(3)),
    "S4": (lambda: symmetric(4), lambda: SymmetricGroup(4)),
    "S5": (lambda: symmetric(5), lambda: SymmetricGroup(5)),
    "A3": (lambda: alternating(3), lambda: AlternatingGroup(3)),
    "A4": (lambda: alternating(4), lambda: AlternatingGroup(4)),
    "A5": (lambda: alternating(5), lambda: AlternatingGroup(5)),
    "AGL(1,5)": (lambda: from_permutations(AGL15), lambda: of_sympy(AGL15)),
    "PSL(2,7)": (lambda: from_permutations(PSL27), lambda: of_sympy(PSL27)),
}


def of_sympy(generators):
    return PermutationGroup([Permutation(p) for p in generators])


def agrees_with_sympy(group, other):
    assert group.order == other.order()
    assert group.is_abelian == other.is_abelian
    assert len(group.centre) == other.center().order()
    assert Counter(map(len, group.conjugacy_classes)) == Counter(map(len, other.conjugacy_classes()))
    assert Counter(group.element_orders.tolist()) == Counter(p.order() for p in other.elements)


@pytest.mark.parametrize(("ours", "theirs"), AGAINST_SYMPY.values(), ids=AGAINST_SYMPY)
def test_named_groups_are_those_of_sympy(ours, theirs):
    group, other = ours(), theirs()
    agrees_with_sympy(group, other)
    assert {tuple(p) for p in group.points.tolist()} == {tuple(p(i) for i in range(p.size)) for p in other.elements}


@pytest.mark.parametrize("make", [pair[0] for pair in AGAINST_SYMPY.values()], ids=AGAINST_SYMPY)
def test_products_compose_points_right_to_left(make):
    group = make()
    assert np.array_equal(group.points[group.table[1 % group.order]], group.points[1 % group.order][group.points])
    g, h = np.divmod(np.arange(0, group.order**2, 7), group.order)
    assert np.array_equal(np.take_along_axis(group.points[g], group.points[h], 1), group.points[group.table[g, h]])


def test_the_trivial_group():
    for group in (trivial(), symmetric(1), alternating(1), alternating(2), cyclic(1), from_permutations([[0, 1]])):
        assert group == trivial()
        assert group.points.shape[0] == 1
        assert group.is_abelian
        assert group.subgroups() == ((0,),)
        assert [c.tolist() for c in group.conjugacy_classes] == [[0]]


def test_small_dihedral_groups_whose_corners_do_not_show_all_elements():
    assert dihedral(1) == cyclic(2)
    assert dihedral(2) == v4()
    assert Counter(dihedral(2).element_orders.tolist()) == {1: 1, 2: 3}


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7])
def test_dihedral_relations_and_corners(n):
    D = dihedral(n)
    r, s = 1 % n, n
    assert D.multiply(*[r] * n) == 0
    assert D.multiply(s, s) == 0
    assert D.multiply(s, r, s) == D.inverse(r)
    for k in range(n):
        assert D.multiply(*[r] * k) == k
        assert D.multiply(k, s) == k + n
        for i in range(n):
            assert D.points[k, i] == (k + i) % n
            assert D.points[k + n, i] == (k - i) % n


def test_quaternion_relations():
    Q = quaternion()
    one, i, minus, j, k = (Q.element(x) for x in ("1", "i", "-1", "j", "k"))
    assert one == 0
    for unit in (i, j, k):
        assert Q.multiply(unit, unit) == minus
        assert Q.label(Q.multiply(minus, unit)) == f"-{Q.label(unit)}"
    assert Q.multiply(i, j, k) == minus
    assert (Q.multiply(i, j), Q.multiply(j, k), Q.multiply(k, i)) == (k, i, j)
    assert Q.multiply(j, i) == Q.element("-k")
    assert Q.centre.tolist() == sorted([one, minus])
    assert Counter(Q.element_orders.tolist()) == {1: 1, 2: 1, 4: 6}


@pytest.mark.parametrize(("p", "q"), [(3, 2), (5, 4), (7, 2), (7, 3), (11, 5), (13, 4)])
def test_frobenius_relations(p, q):
    """Any two points are moved apart: only the identity fixes two of them, and the translations fix none."""
    G = frobenius(p, q)
    assert (G.order, G.name) == (p * q, f"C{p}:C{q}")
    fixed = (G.points == np.arange(p)).sum(1)
    assert Counter(fixed.tolist()) == {p: 1, 1: p * (q - 1), 0: p - 1}


@pytest.mark.parametrize("order", [8, 12, 16, 20])
def test_dicyclic_relations(order):
    Q, n = quaternion(order), order // 2
    a, x = 1, n
    assert Q.order == order
    assert Q.element_orders[a] == n
    assert Q.multiply(x, x) == Q.multiply(*[a] * (n // 2))
    assert Q.multiply(x, a, Q.inverse(x)) == Q.inverse(a)
    assert Q.multiply(a, x) == n + 1
    assert (Q.element_orders == 2).sum() == 1  # which is what tells it from every other group of its kind
    assert not Q.is_abelian


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: cyclic(0), ConfigError, "cyclic: n must be at least 1; got 0"),
        (lambda: dihedral(0), ConfigError, "dihedral: n must"),
        (lambda: symmetric(0), ConfigError, "symmetric: n must"),
        (lambda: alternating(-1), ConfigError, "alternating: n must.*got -1"),
        (lambda: quaternion(4), ConfigError, "multiple of 4, from 8 on; got 4"),
        (lambda: quaternion(10), ConfigError, "got 10"),
        (lambda: frobenius(9, 2), ConfigError, "a prime p above 2 .* such as 7 and 3; got 9 and 2"),
        (lambda: frobenius(7, 4), ConfigError, "divides p - 1.*got 7 and 4"),
        (lambda: frobenius(2, 1), ConfigError, "got 2 and 1"),
        (lambda: frobenius(2000003, 2), ConfigError, "p is at most 1000000; got 2000003"),
        (lambda: quaternion(40000), ConfigError, "quaternion: order 40000 is more than 8192"),
        (lambda: from_permutations([]), ConfigError, "at least one permutation; the identity alone"),
        (lambda: from_permutations([[0, 1], [[0]]]), ShapeError, r"generator 1 must be .*\(n,\); got \(1, 1\)"),
        (lambda: from_permutations([[]]), ShapeError, "generator 0 must be"),
        (lambda: from_permutations([[0.0, 1.0]]), ShapeError, "float64"),
        (lambda: from_permutations([[1, 0], [0, 1, 2]]), ShapeError, "generator 0 moves 2 points, generator 1 moves 3"),
        (lambda: from_permutations([[1, 0], [1, 1]]), AxiomError, r"generator 1 is no permutation of 0 to 1: \[1, 1\]"),
        (lambda: direct_product(), ConfigError, "at least one group"),
        (lambda: direct_product(cyclic(2), 3), ConfigError, "3 is no group; make one by"),
        (lambda: wreath_product(cyclic(2), quaternion()), ConfigError, "Q8 has no points that tell its elements"),
        (lambda: wreath_product(cyclic(2), dihedral(2)), ConfigError, "D2 has no points that tell its elements"),
    ],
)
def test_constructors_say_what_fits(make, error, says):
    with pytest.raises(error, match=says):
        make()


# Products


def test_a_direct_product_is_made_of_pairs():
    a, b = symmetric(3), cyclic(4)
    G = direct_product(a, b)
    for x, y in itertools.product(G.elements, repeat=2):
        (g, h), (k, m) = divmod(x, 4), divmod(y, 4)
        assert G.table[x, y] == a.multiply(g, k) * 4 + b.multiply(h, m)
    assert G.name == "S3xC4"
    assert len(G.closure(G.generators)) == 24
    assert np.array_equal(G.points[4 * 2 + 3], [*a.points[2], *(3 + b.points[3])])
    agrees_with_sympy(G, of_sympy([[*p, *range(3, 7)] for p in a.points.tolist()] + [[0, 1, 2, 4, 5, 6, 3]]))


def test_direct_products_of_one_group_and_of_three():
    C2 = cyclic(2)
    assert direct_product(C2) is C2
    cube = direct_product(C2, C2, C2)
    assert Counter(cube.element_orders.tolist()) == {1: 1, 2: 7}
    assert len(cube.subgroups()) == 16
    assert direct_product(C2, quaternion()).points is None
    assert direct_product(C2, trivial()) == C2


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8])
def test_a_dihedral_group_is_a_semidirect_product_by_inversion(n):
    built, D = semidirect_product(cyclic(n), cyclic(2), lambda h, k: (-k if h else k) % n, "mine"), dihedral(n)
    place = [k + n * h for k in range(n) for h in range(2)]  # (k, h) as D numbers it
    assert np.array_equal(D.table[np.ix_(place, place)], np.array(place)[built.table])
    assert built.name == "mine"


def test_frobenius_group_of_order_21():
    F = frobenius21()
    assert F.name == "C7:C3"
    assert not F.is_abelian
    assert sorted(map(len, F.conjugacy_classes)) == [1, 3, 3, 7, 7]
    assert Counter(F.element_orders.tolist()) == {1: 1, 3: 14, 7: 6}
    assert F.centre.tolist() == [0]
    agrees_with_sympy(F, of_sympy([[1, 2, 3, 4, 5, 6, 0], [0, 2, 4, 6, 1, 3, 5]]))
    assert semidirect_product(cyclic(7), cyclic(3), [[n * 2**h % 7 for n in range(7)] for h in range(3)]) == F


def test_a_semidirect_product_multiplies_by_its_action():
    F = frobenius21()
    for x, y in itertools.product(F.elements, repeat=2):
        (n, h), (m, k) = divmod(x, 3), divmod(y, 3)
        assert F.table[x, y] == (n + m * 2**h) % 7 * 3 + (h + k) % 3


def test_symmetric_group_of_four_is_a_semidirect_product():
    """S4 = V4 : S3, with S3 permuting the three elements of order 2: both factors are not cyclic."""
    V, S = v4(), symmetric(3)
    built = semidirect_product(V, S, lambda h, n: 0 if n == 0 else 1 + int(S.points[h, n - 1]))
    agrees_with_sympy(built, SymmetricGroup(4))


def test_a_semidirect_product_by_a_trivial_action_is_direct():
    assert semidirect_product(symmetric(3), cyclic(4), lambda h, n: n) == direct_product(symmetric(3), cyclic(4))


@pytest.mark.parametrize(
    ("action", "error", "says"),
    [
        ([[0, 1, 2]], ShapeError, r"action must be \(2, 3\) integers; got \(1, 3\)"),
        (np.zeros((2, 3)), ShapeError, "float64"),
        ([[0, 1, 2], [0, 1, 1]], AxiomError, "the action of r is no permutation of C3"),
        ([[0, 1, 2], [1, 0, 2]], AxiomError, "action of r is no automorphism of C3.*product of e and e"),
        ([[0, 2, 1], [0, 2, 1]], AxiomError, "the action is no homomorphism at e and e"),
    ],
)
def test_wrong_actions_are_refused(action, error, says):
    with pytest.raises(error, match=f"C3:C2: .*{says}"):
        semidirect_product(cyclic(3), cyclic(2), action)


def test_an_action_by_automorphisms_that_do_not_compose_is_refused():
    with pytest.raises(AxiomError, match="the action is no homomorphism at r and r"):
        semidirect_product(cyclic(5), cyclic(2), lambda h, n: n * 2**h % 5)
    with pytest.raises(ConfigError, match="order 10000"):
        semidirect_product(cyclic(100), cyclic(100), lambda h, n: n)


def test_wreath_products_against_sympy():
    """Two copies of S3 that C2 exchanges; three switches that S3 permutes."""
    a = wreath_product(symmetric(3), cyclic(2))
    assert (a.name, a.order, a.points.shape[1]) == ("S3wrC2", 72, 6)
    agrees_with_sympy(a, of_sympy([[1, 0, 2, 3, 4, 5], [1, 2, 0, 3, 4, 5], [3, 4, 5, 0, 1, 2]]))
    b = wreath_product(cyclic(2), symmetric(3))
    assert (b.order, b.points.shape[1]) == (48, 6)
    agrees_with_sympy(b, of_sympy([[1, 0, 2, 3, 4, 5], [2, 3, 0, 1, 4, 5], [2, 3, 4, 5, 0, 1]]))
    for group, size in ((a, 3), (b, 2)):  # blocks move as a whole
        blocks = group.points.reshape(group.order, -1, size) // size
        assert (blocks == blocks[..., :1]).all()


@pytest.mark.parametrize(("inner", "points"), [(quaternion(), 16), (dihedral(2), 8)], ids=["Q8", "D2"])
def test_a_wreath_product_lets_a_group_act_on_itself_where_its_points_do_not_serve(inner, points):
    G = wreath_product(inner, cyclic(2))
    assert (G.order, G.points.shape[1]) == (inner.order**2 * 2, points)


def test_wreath_products_with_trivial_groups():
    assert wreath_product(trivial(), symmetric(3)) == symmetric(3)
    assert wreath_product(symmetric(3), trivial()) == symmetric(3)
    assert wreath_product(trivial(), trivial()) == trivial()


# Subgroups

COUNTS = {
    "S3": (lambda: symmetric(3), 6, 4),
    "D4": (lambda: dihedral(4), 10, 8),
    "S4": (lambda: symmetric(4), 30, 11),
    "A4": (lambda: alternating(4), 10, 5),
    "Q8": (lambda: quaternion(), 6, 6),
    "C12": (lambda: cyclic(12), 6, 6),
    "V4": (v4, 5, 5),
    "7:3": (frobenius21, 10, 4),
}


@pytest.mark.parametrize(("make", "count", "classes"), COUNTS.values(), ids=COUNTS)
def test_subgroup_counts(make, count, classes):
    group = make()
    subgroups = group.subgroups()
    assert len(subgroups) == len(set(subgroups)) == count
    assert [len(h) for h in subgroups] == sorted(map(len, subgroups))
    by_class = group.subgroup_classes()
    assert len(by_class) == classes
    assert sorted(h for c in by_class for h in c) == sorted(subgroups)
    for h in subgroups:
        assert group.order % len(h) == 0
        assert set(group.table[np.ix_(h, h)].ravel().tolist()) == set(h)
    for members in by_class:
        assert len({len(h) for h in members}) == 1
        assert group.order % len(members) == 0


@pytest.mark.parametrize(
    ("group", "count"),
    [(quaternion(), 6), (direct_product(cyclic(2), dihedral(4)), 35), (alternating(4), 10)],
    ids=["Q8", "C2xD4", "A4"],
)
def test_subgroups_do_not_depend_on_the_numbering(group, count):
    """Every element takes its turn at the end, such as the -1 of Q8, which lies in every subgroup but one."""
    for shift in range(group.order - 1):
        new = np.concatenate([[0], 1 + np.roll(np.arange(group.order - 1), shift)])  # the new number of each element
        table = np.empty_like(group.table)
        table[np.ix_(new, new)] = new[group.table]
        again = from_table(table).subgroups()
        assert len(again) == count
        assert {frozenset(new[list(h)].tolist()) for h in group.subgroups()} == set(map(frozenset, again))


def g_sets(sizes, up_to):
    """How many G-sets of each size there are, from the sizes of the orbits: one factor 1 / (1 − x^k) each."""
    count = [1] + [0] * up_to
    for k in sizes:
        for n in range(k, up_to + 1):
            count[n] += count[n - k]
    return count


@pytest.mark.parametrize(
    ("make", "sizes", "counts"),
    [
        (lambda: cyclic(2), (2, 1), (1, 1, 2, 2, 3, 3, 4, 4, 5)),
        (lambda: cyclic(3), (3, 1), (1, 1, 1, 2, 2, 2, 3, 3, 3)),
        (lambda: cyclic(4), (4, 2, 1), (1, 1, 2, 2, 4, 4, 6, 6, 9)),
        (v4, (4, 2, 2, 2, 1), (1, 1, 4, 4, 11, 11, 24, 24, 46)),
        (lambda: cyclic(6), (6, 3, 2, 1), (1, 1, 2, 3, 4, 5, 8, 9, 12)),
        (lambda: symmetric(3), (6, 3, 2, 1), (1, 1, 2, 3, 4, 5, 8, 9, 12)),
        (lambda: dihedral(4), (8, 4, 4, 4, 2, 2, 2, 1), (1, 1, 4, 4, 13, 13, 32, 32, 72)),
        (lambda: symmetric(4), (24, 12, 12, 8, 6, 6, 6, 4, 3, 2, 1), (1, 1, 2, 3, 5, 6, 12, 14, 22)),
    ],
)
def test_orbit_sizes_are_the_indices_of_subgroup_classes(make, sizes, counts):
    group = make()
    found = tuple(group.order // len(members[0]) for members in group.subgroup_classes())
    assert found == sizes
    assert tuple(g_sets(found, 8)) == counts


@pytest.mark.parametrize(
    ("make", "wanted"),
    [
        (lambda: symmetric(3), [[6, 3, 2, 1], [0, 1, 0, 1], [0, 0, 2, 1], [0, 0, 0, 1]]),
        (lambda: cyclic(6), [[6, 3, 2, 1], [0, 3, 0, 1], [0, 0, 2, 1], [0, 0, 0, 1]]),
        (lambda: cyclic(4), [[4, 2, 1], [0, 2, 1], [0, 0, 1]]),
        (v4, [[4, 2, 2, 2, 1], [0, 2, 0, 0, 1], [0, 0, 2, 0, 1], [0, 0, 0, 2, 1], [0, 0, 0, 0, 1]]),
    ],
)
def test_tables_of_marks(make, wanted):
    """Maps of G/H to G/K are the points of G/K that H leaves alone."""
    group = make()
    classes = [members[0] for members in group.subgroup_classes()]
    actions = [quotient(group, k).permutations for k in classes]
    marks = [[int((a[list(h)] == np.arange(a.shape[1])).all(axis=0).sum()) for a in actions] for h in classes]
    assert marks == wanted


def test_a_subgroup_is_a_group_that_acts_as_before():
    S4 = symmetric(4)
    a, b = S4.element("(0 1)"), S4.element("(0 1 2 3)")
    sub = S4.subgroup([S4.multiply(b, b), a])
    assert sub.group.order == 8
    assert sub.elements[0] == 0
    i, j = np.indices((8, 8))
    assert np.array_equal(sub.elements[sub.group.table[i, j]], S4.table[sub.elements[i], sub.elements[j]])
    assert np.array_equal(sub.group.points, S4.points[sub.elements])
    assert sub.group.labels == tuple(S4.labels[g] for g in sub.elements)
    assert S4.subgroup([]).group.name == "S4<e>"
    assert S4.subgroup([a]).group.name == "S4<(0 1)>"
    assert S4.subgroup(iter([a])).group.name == "S4<(0 1)>"
    assert S4.subgroup([a], "swap").group.name == "swap"
    assert quaternion().subgroup([1]).group.points is None
    assert quaternion().subgroup([1]).group == cyclic(4)
    with pytest.raises(ConfigError, match="S4 has the elements 0 to 23; got 24"):
        S4.subgroup([24])
    with pytest.raises(ConfigError, match="got -1"):
        S4.closure([-1])


def test_cosets_are_left_cosets_that_partition():
    S3 = symmetric(3)
    H = S3.subgroup([S3.element("(0 1)")])
    cosets = S3.cosets(H)
    assert [c.tolist() for c in cosets] == [c.tolist() for c in S3.cosets(H.elements.tolist())]
    assert np.array_equal(cosets[0], H.elements)
    assert [c[0] for c in cosets] == sorted(c[0] for c in cosets)
    assert sorted(np.concatenate(cosets).tolist()) == list(S3.elements)
    for coset in cosets:
        assert {S3.multiply(int(coset[0]), int(h)) for h in H.elements} == set(coset.tolist())
    rights = {frozenset(S3.multiply(h, g) for h in H.elements.tolist()) for g in S3.elements}
    assert rights != {frozenset(c.tolist()) for c in cosets}  # so the side is tested


@pytest.mark.parametrize("elements", [[], [0, 1, 2], [1]], ids=str)
def test_cosets_need_a_subgroup(elements):
    with pytest.raises(AxiomError, match=f"S3: the {len(elements)} elements given are not closed.*group.subgroup"):
        symmetric(3).cosets(elements)


# Laws of random groups


@given(permutation_groups(), st.data())
def test_laws_of_random_groups(group, data):
    element = st.integers(0, group.order - 1)
    x, y, z = data.draw(element), data.draw(element), data.draw(element)
    assert group.multiply(group.multiply(x, y), z) == group.multiply(x, group.multiply(y, z)) == group.multiply(x, y, z)
    assert group.multiply(x, 0) == group.multiply(0, x) == x
    assert group.multiply(x, group.inverse(x)) == group.multiply(group.inverse(x), x) == 0 == group.multiply()
    assert group.inverse(group.multiply(x, y)) == group.multiply(group.inverse(y), group.inverse(x))
    order = int(group.element_orders[x])
    assert group.multiply(*[x] * order) == 0
    assert all(group.multiply(*[x] * k) for k in range(1, order))
    assert len(group.closure([x])) == order
    sub = group.subgroup([x, y])
    assert group.order % sub.group.order == 0  # Lagrange
    cosets = group.cosets(sub)
    assert len(cosets) * sub.group.order == group.order
    assert sorted(np.concatenate(cosets).tolist()) == list(group.elements)
    assert np.array_equal(group.closure(group.generators), np.arange(group.order))


@given(permutation_groups())
def test_the_class_equation_of_random_groups(group):
    t, inv = group.table, group.inverses
    commute = t == t.T
    assert group.is_abelian == commute.all()
    assert group.centre.tolist() == np.flatnonzero(commute.all(axis=1)).tolist()
    assert sum(map(len, group.conjugacy_classes)) == group.order
    assert sum(len(c) == 1 for c in group.conjugacy_classes) == len(group.centre)
    for number, members in enumerate(group.conjugacy_classes):
        assert len(members) * commute[members[0]].sum() == group.order
        assert set(t[t[:, members[0]], inv].tolist()) == set(members.tolist())
        assert (group.class_index[members] == number).all()
    assert [c[0] for c in group.conjugacy_classes] == sorted(c[0] for c in group.conjugacy_classes)


@given(st.integers(1, 6).flatmap(lambda n: st.lists(st.permutations(range(n)), min_size=1, max_size=3)))
def test_orbits_are_numbered_by_their_first_point(generators):
    labels = orbit_labels(np.array(generators)).tolist()
    wanted: list[set] = []
    for start in range(len(labels)):
        if not any(start in orbit for orbit in wanted):
            orbit, todo = {start}, [start]
            while todo:
                new = {p[i] for i in todo for p in generators} - orbit
                orbit |= new
                todo = list(new)
            wanted.append(orbit)
    assert labels == [next(k for k, orbit in enumerate(wanted) if i in orbit) for i in range(len(labels))]


def test_hundreds_of_equal_generators_do_not_cancel():
    assert orbit_labels(np.array([[1, 0, 2]] * 256)).tolist() == [0, 0, 1]


# Lie algebras

ALGEBRAS = {
    "so(2)": (lambda: so(2), 1),
    "so(3)": (lambda: so(3), 3),
    "so(5)": (lambda: so(5), 10),
    "se(2)": (se2, 3),
    "sl(2)": (lambda: special_linear(2), 3),
    "sl(3)": (lambda: special_linear(3), 8),
    "so(1,1)": (lambda: lorentz(1), 1),
    "so(1,3)": (lorentz, 6),
}


@pytest.mark.parametrize(("make", "dim"), ALGEBRAS.values(), ids=ALGEBRAS)
def test_structure_constants_are_those_of_the_brackets(make, dim):
    algebra = make()
    assert algebra.dim == dim == len(algebra.labels) == len(set(algebra.labels))
    X, c = algebra.matrices, algebra.structure_constants
    for i, j in itertools.product(range(dim), repeat=2):
        np.testing.assert_allclose(X[i] @ X[j] - X[j] @ X[i], np.einsum("k,kab->ab", c[i, j], X), atol=1e-12)
    jacobi = np.einsum("ijl,lkm->ijkm", c, c)
    np.testing.assert_allclose(jacobi + jacobi.transpose(2, 0, 1, 3) + jacobi.transpose(1, 2, 0, 3), 0, atol=1e-12)


def exp(matrix):
    return torch.linalg.matrix_exp(torch.tensor(matrix)).numpy()


def test_the_algebras_preserve_what_they_are_named_for():
    eta = np.diag([1.0, -1, -1, -1])
    for X in lorentz().matrices:
        np.testing.assert_array_equal(X.T @ eta + eta @ X, 0)
        np.testing.assert_allclose(exp(X).T @ eta @ exp(X), eta, atol=1e-12)
    for X in so(4).matrices:
        np.testing.assert_array_equal(X, -X.T)
    for X in special_linear(3).matrices:
        assert np.trace(X) == 0
    assert lorentz().labels == ("J12", "J13", "J23", "K1", "K2", "K3")
    assert special_linear(2).labels == ("E01", "E10", "H0")


def test_directions_of_rotations_boosts_and_translations():
    turn = exp(np.pi / 2 * so(3).matrices[0])  # J01 takes axis 0 to axis 1
    np.testing.assert_allclose(turn @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(exp(np.pi / 2 * lorentz().matrices[2]) @ [0, 0, 1, 0], [0, 0, 0, 1], atol=1e-12)
    boost = exp(lorentz().matrices[3])
    np.testing.assert_allclose(boost @ [1, 0, 0, 0], [np.cosh(1), np.sinh(1), 0, 0])
    J, Px, Py = se2().matrices
    np.testing.assert_allclose(exp(2 * Px + 3 * Py) @ [1, 1, 1], [3, 4, 1])
    np.testing.assert_allclose(exp(np.pi / 2 * J) @ [1, 0, 1], [0, 1, 1], atol=1e-12)


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: LieAlgebra(np.ones((2, 2))), ShapeError, r"g: generators are square.*got \(2, 2\)"),
        (lambda: LieAlgebra(np.ones((1, 2, 3))), ShapeError, "square"),
        (lambda: LieAlgebra(np.ones((0, 2, 2))), ShapeError, "at least one"),
        (lambda: LieAlgebra(np.full((1, 2, 2), np.nan)), NonFiniteError, "g: .*nan or infinity"),
        (lambda: LieAlgebra([[[1j]]]), ShapeError, "complex matrices; write the real form"),
        (lambda: LieAlgebra(torch.tensor([[[1j]]])), ShapeError, "complex matrices"),
        (lambda: LieAlgebra(np.stack([so(2).matrices[0]] * 2)), AxiomError, "2 generators are linearly dependent"),
        (lambda: LieAlgebra(np.zeros((1, 2, 2))), AxiomError, "dependent"),
        (lambda: LieAlgebra(so(3).matrices[:2], labels="ab"), AxiomError, "not closed: the bracket of a and b leaves"),
        (lambda: LieAlgebra(1e-6 * so(3).matrices[1:]), AxiomError, "the bracket of X0 and X1.*add it as a generator"),
        (lambda: LieAlgebra(so(3).matrices, labels="ab"), ShapeError, "3 generators need as many labels; got 2"),
        (lambda: so(1), ConfigError, "at least 2 dimensions; got 1"),
        (lambda: special_linear(1), ConfigError, "got 1"),
        (lambda: lorentz(0), ConfigError, "one axis of space; got 0"),
    ],
)
def test_wrong_generators_are_named(make, error, says):
    with pytest.raises(error, match=says):
        make()


def test_the_scale_of_the_generators_is_free():
    for scale in (1e-6, 1e6):
        small = LieAlgebra(scale * so(3).matrices)
        np.testing.assert_allclose(small.structure_constants, scale * so(3).structure_constants, atol=1e-9 * scale)


def test_algebras_are_values():
    a = so(3)
    assert a == LieAlgebra(torch.tensor(so(3).matrices), "other")
    assert a == LieAlgebra(np.stack([np.kron(np.eye(2), X) for X in a.matrices]))  # another space, the same brackets
    assert hash(a) == hash(so(3))
    assert a != special_linear(2)
    assert a != so(2)
    assert a != 3
    assert repr(a) == "<so(3), dimension 3>"
    with pytest.raises(AttributeError, match=r"so\(3\): groups are immutable.*'name'"):
        a.name = "x"
    for array in (a.matrices, a.structure_constants):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


@pytest.mark.parametrize("twin", [copy.copy, copy.deepcopy, lambda a: pickle.loads(pickle.dumps(a))])
def test_copies_of_an_algebra_are_the_same_value(twin):
    a = se2()
    b = twin(a)
    assert a == b
    assert (b.name, b.labels) == (a.name, a.labels)
    assert np.array_equal(b.matrices, a.matrices)
    assert not b.matrices.flags.writeable


def test_elements_of_an_algebra(gen):
    a = so(3)
    assert a.generators == ((1, 0, 0), (0, 1, 0), (0, 0, 1))
    assert a.label((0, 0, 0)) == "e"
    assert a.label((0.5, 0, -1)) == "exp(0.5 J01 + -1 J12)"
    drawn = np.array(a.sample(400, gen))
    assert drawn.shape == (400, 3)
    np.testing.assert_allclose(drawn.mean(axis=0), 0, atol=0.15)
    np.testing.assert_allclose(drawn.std(axis=0), 1, atol=0.15)
    assert a.sample(2, torch.Generator().manual_seed(0)) == a.sample(2, torch.Generator().manual_seed(0))
