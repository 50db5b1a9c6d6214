"""Groups by generators alone, against their twins with a table, and against what is known of them."""

import copy
import math
import pickle
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sympy.combinatorics.named_groups import AlternatingGroup

from msr.errors import AxiomError, ConfigError, ShapeError
from msr.groups import (
    FiniteGroup,
    Group,
    LieAlgebra,
    MatrixGroup,
    PermutationGroup,
    ProductGroup,
    alternating,
    cyclic,
    dihedral,
    direct_product,
    euclidean,
    from_permutations,
    general_lorentz,
    lorentz,
    orthogonal,
    quaternion,
    so,
    special_linear,
    symmetric,
    wreath_product,
)
from msr.groups.permutation_group import CircleGroup
from msr.permutations import power_of
from msr.representations import (
    LieRepresentation,
    copies,
    defining,
    equivariant_basis,
    from_matrices,
    grid_shifts,
    lift,
    natural,
    outer_product,
    permutation,
    planar,
    regular,
    sign,
    trivial,
)
from msr.representations.generated import GeneratedRepresentation
from msr.representations.intertwiners import _null_space
from tests.support.cases import permutation_groups

M11 = [[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0], [0, 1, 6, 9, 5, 3, 10, 2, 8, 4, 7]]
M11_AND_A_SWAP = [*M11, [1, 0, *range(2, 11)]]


def without_table(group):
    """The same permutations, as a group that lists none."""
    return PermutationGroup(group.points[[0, *group.generators]], group.name)


GROUPS = {
    "S8": lambda: symmetric(8),
    "S1000": lambda: symmetric(1000),
    "A9": lambda: alternating(9),
    "M11": lambda: from_permutations(M11, "M11"),
    "C100000": lambda: cyclic(100_000),
    "D5000": lambda: dihedral(5000),
    "S5 x SO(3)": lambda: direct_product(symmetric(5), so(3)),
    "torus": lambda: direct_product(cyclic(96), cyclic(96)),
    "SO(3) x C2": lambda: direct_product(so(3), cyclic(2)),
    "S8 x O(3) x C3": lambda: direct_product(symmetric(8), orthogonal(3), cyclic(3)),
    "O(2)": lambda: orthogonal(2),
    "O(3)": lambda: orthogonal(3),
    "O(1,3)": general_lorentz,
    "SO(1,3)": lambda: general_lorentz(special=True),
    "E(3)": lambda: euclidean(3),
}


@pytest.mark.parametrize("make", GROUPS.values(), ids=GROUPS)
def test_what_every_group_offers(make, gen):
    group = make()
    assert isinstance(group, Group)
    for twin in (copy.copy(group), copy.deepcopy(group), pickle.loads(pickle.dumps(group))):
        assert twin == group
        assert hash(twin) == hash(group)
        assert (twin.name, twin.order) == (group.name, group.order)
    drawn = group.sample(3, gen)
    assert len(set(drawn)) == 3
    for g in (*drawn, *group.generators, group.identity):
        assert group.check(g) == g
        hash(g)
        assert isinstance(group.label(g), str)
    assert group.label(group.identity) == "e"
    assert group.identity not in group.draw(5, gen)
    assert set(group.drawn.split(" and ")) <= {"uniform", "words", "normal coefficients"}
    assert group.is_finite == (group.order is not None) == (group.algebra_dim == 0)
    assert len(group.generators) == len(group.discrete) + group.algebra_dim
    assert group.choose("generators") == list(group.generators)
    with pytest.raises(AttributeError, match="groups are immutable"):
        group.name = "other"
    if not group.is_listed:
        assert not hasattr(group, "table")
        for ask in (lambda: group.table, lambda: group.elements, lambda: group.choose("all"), lambda: group.centre):
            with pytest.raises(ConfigError, match=r"elements.*ask for its generators"):
                ask()


def test_orders_and_components():
    assert symmetric(20).order == 2432902008176640000
    assert alternating(8).order == AlternatingGroup(8).order()
    assert from_permutations(M11).order == 7920
    assert wreath_product(symmetric(4), symmetric(3)).order == 24**3 * 6
    assert isinstance(wreath_product(symmetric(4), symmetric(3)), PermutationGroup)
    assert PermutationGroup(M11).order == 7920
    assert [g.connected for g in (so(3), orthogonal(3), direct_product(so(3), lorentz()))] == [True, False, True]
    assert direct_product(so(3), symmetric(8)).order is None
    assert direct_product(symmetric(8), cyclic(3)).order == 40320 * 3
    nested = direct_product(cyclic(2), direct_product(so(3), cyclic(3)))
    assert nested == direct_product(cyclic(2), so(3), cyclic(3))
    assert isinstance(direct_product(cyclic(2), cyclic(3)), FiniteGroup)
    assert direct_product(so(3)) == so(3)


@pytest.mark.parametrize(
    "make",
    [lambda: cyclic(12), lambda: dihedral(7), lambda: dihedral(1), lambda: symmetric(5), lambda: alternating(5),
     lambda: quaternion(16), quaternion, lambda: direct_product(dihedral(4), cyclic(3)),
     lambda: symmetric(4).subgroup([1, 2]).group, lambda: wreath_product(cyclic(2), symmetric(3))],
)  # fmt: skip
def test_groups_that_are_not_checked_keep_the_axioms(make):
    """What is made by construction passes the checks that a table of the caller's own has to pass."""
    group = make()
    again = FiniteGroup(group.table, points=group.points, generators=group.generators, labels=group.labels)
    assert again == group
    assert len(set(group.labels)) == group.order


def test_recipes_and_tables_say_the_same_of_equality():
    a, b = symmetric(4), FiniteGroup(symmetric(4).table)
    assert a == b == symmetric(4)
    assert hash(a) == hash(b)
    assert symmetric(4) != from_permutations([[1, 2, 3, 0], [1, 0, 2, 3]])  # the same, but numbered otherwise
    assert direct_product(cyclic(2), cyclic(4)) != direct_product(cyclic(4), cyclic(2))


# Permutations


def evaluated(group, element):
    """A word multiplied out."""
    product = np.arange(group.degree)
    for k, power in group.word(element):
        product = product[power_of(group.generator_points[k], power)]
    return tuple(product.tolist())


@pytest.mark.parametrize("make", [lambda: symmetric(9), lambda: alternating(8), lambda: PermutationGroup(M11)])
def test_words_multiply_out_to_their_elements(make, gen):
    group = make()
    for g in (*group.sample(4, gen), *group.generators, group.identity):
        assert evaluated(group, g) == g


SWAP_AND_CYCLE = ([1, 0, *range(2, 9)], [*range(1, 9), 0])


@pytest.mark.parametrize(
    "generators",
    [SWAP_AND_CYCLE, SWAP_AND_CYCLE[::-1], ([0, 2, 1, *range(3, 9)], SWAP_AND_CYCLE[1]), M11_AND_A_SWAP],
    ids=["swap, cycle", "cycle, swap", "other swap", "M11 and a swap"],
)
def test_words_of_all_permutations_are_in_the_generators_that_were_given(generators, gen):
    group = PermutationGroup(generators, kind="symmetric")
    for g in (*group.sample(4, gen), *group.generators, group.identity):
        assert evaluated(group, g) == g


@pytest.mark.parametrize("n", range(1, 14))
def test_kinds_of_other_generators(n):
    points = np.arange(n)
    swaps = []
    threes = []
    for i in range(1, n):
        swaps.append(points.copy())
        swaps[-1][[i - 1, i]] = [i, i - 1]
    for i in range(2, n):
        threes.append(points.copy())
        threes[-1][[0, 1, i]] = [1, i, 0]
    before = torch.get_rng_state()
    S = PermutationGroup([points, *swaps], kind="symmetric")
    A = PermutationGroup([points, *threes], kind="alternating")
    assert torch.equal(before, torch.get_rng_state())
    assert S.order == PermutationGroup([points, *swaps]).order
    assert A.order == PermutationGroup([points, *threes]).order


@pytest.mark.parametrize("n", [20, 300])
def test_kinds_of_the_groups_that_are_made(n):
    for group in (symmetric(n), alternating(n), alternating(n + 1)):
        again = PermutationGroup(group.generator_points[[1, 0]], kind=group.kind)
        assert again.order == group.order
        assert again.drawn == "uniform"


@pytest.mark.parametrize(
    ("generators", "kind", "says"),
    [
        ([[1, 0, 2, 3]], "all", "kind must be None or one of symmetric, alternating; got 'all'"),
        ([[1, 0, 2, 3]], "alternating", "generator 0 is odd"),
        ([[0, 1, 2]], "symmetric", "all its generators are even"),
        ([[1, 0, 2, 3]], "symmetric", "not seen to make all permutations of 4 points"),
        ([[1, 2, 3, 0], [3, 2, 1, 0]], "symmetric", "all permutations"),  # D4 moves every point to every other
        (M11, "alternating", "not seen to make all even permutations of 11 points.*msr.groups.alternating"),
        ([[*range(1, 300), 0]], "symmetric", "all permutations of 300 points"),
        ([[1, 2, 0, *range(3, 10)], [*range(7), 8, 9, 7]], "alternating", "all even permutations of 10"),
    ],
)
def test_a_kind_that_the_generators_do_not_have_is_refused(generators, kind, says):
    with pytest.raises(ConfigError, match=says):
        PermutationGroup(generators, kind=kind)


@given(permutation_groups(degree=6), st.data())
def test_laws_of_permutation_groups_of_any_kind(group, data):
    free = without_table(group)
    assert free.order == group.order
    g, h = (data.draw(st.sampled_from(group.points.tolist())) for _ in range(2))
    product = tuple(group.points[group.multiply(group.points.tolist().index(g), group.points.tolist().index(h))])
    assert free.multiply(g, h) == product
    assert free.multiply(g, free.inverse(g)) == free.identity
    assert evaluated(free, tuple(g)) == tuple(g)
    assert free.element(free.label(tuple(g))) == tuple(g)


@pytest.mark.parametrize("group", [symmetric(4), alternating(5), dihedral(6)], ids=lambda g: g.name)
def test_draws_are_uniform(group, gen):
    free = without_table(group)
    assert free.drawn == "uniform"
    n = 60 * group.order
    counts = Counter(free.sample(n, gen))
    assert set(counts) == {tuple(p) for p in group.points.tolist()}
    chi = sum((c - 60) ** 2 / 60 for c in counts.values())
    assert chi < group.order + 5 * (2 * group.order) ** 0.5


def test_draws_of_all_even_permutations(gen):
    A8 = alternating(8)
    drawn = A8.sample(200, gen)
    assert all(A8.check(g) == g for g in drawn)
    fixed = np.mean([sum(i == j for i, j in enumerate(g)) for g in drawn])
    assert abs(fixed - 1) < 0.3  # Burnside: one orbit


def test_long_words_where_uniform_draws_would_take_long(gen):
    group = PermutationGroup([[*range(1, 300), 0], [1, 0, *range(2, 300)]])
    assert group.drawn == "words"
    assert len(set(group.sample(3, gen))) == 3
    with pytest.raises(ConfigError, match="no word in the generators is looked for on more than 256 points"):
        group.word(group.sample(1, gen)[0])


@pytest.mark.parametrize("mirrors", [False, True])
def test_large_circles_are_numbered_as_small_ones(mirrors):
    n = 7
    small, large = dihedral(n) if mirrors else cyclic(n), CircleGroup(n, mirrors=mirrors)
    assert large.order == small.order
    assert large.discrete == small.generators
    for g in small.elements:
        assert np.array_equal(large.moves(g), small.points[g])
        assert large.label(g) == small.label(g)
        assert large.element(small.label(g)) == g
        assert large.inverse(g) == small.inverse(g)
        for h in small.elements:
            assert large.multiply(g, h) == small.multiply(g, h)


@pytest.mark.parametrize(
    ("ask", "error", "says"),
    [
        (lambda: symmetric(8).check((0, 1)), ConfigError, "where each of its 8 points goes; got"),
        (lambda: symmetric(8).check([0] * 8), ConfigError, "where each of its 8 points goes"),
        (lambda: alternating(8).check((1, 0, *range(2, 8))), ConfigError, r"A8 does not hold the permutation \(0 1\)"),
        (lambda: PermutationGroup(M11).check((1, 0, *range(2, 11))), ConfigError, "does not hold"),
        (lambda: symmetric(8).element("(0 9)"), ConfigError, "points 0 to 7; got"),
        (lambda: symmetric(8).element("(0 1)(1 2)"), ConfigError, "cycles are disjoint"),
        (lambda: symmetric(8).element("r"), ConfigError, "by its cycles"),
        (lambda: cyclic(9000).check(9000), ConfigError, "elements 0 to 8999; got 9000"),
        (lambda: cyclic(9000).element("s"), ConfigError, "such as r, r2; got 's'"),
        (lambda: PermutationGroup([[0, 0]]), AxiomError, "no permutation"),
        (lambda: so(3).check((1.0, 2.0)), ShapeError, r"3 coefficients.*got \(1.0, 2.0\)"),
        (lambda: so(3).check((1.0, 2.0, float("nan"))), ShapeError, "finite numbers"),
        (lambda: direct_product(so(3), cyclic(2)).check(1), ConfigError, r"a tuple of 2, .* so\(3\), C2; got 1"),
        (lambda: direct_product(so(3), cyclic(2)).check(((1.0, 0, 0), 5)), ConfigError, "elements 0 to 1; got 5"),
        (lambda: orthogonal(3).check(((3,), (0, 0, 0))), ConfigError, "0 to 0 for P, and 3 coefficients"),
        (lambda: orthogonal(1), ConfigError, "at least 2 dimensions"),
        (lambda: euclidean(4), ConfigError, "2 or 3 dimensions"),
        (lambda: MatrixGroup({"D": np.eye(2)}, so(3)), ShapeError, r"D must be \(3, 3\)"),
        (lambda: MatrixGroup({"D": np.zeros((3, 3))}, so(3)), AxiomError, "D is singular"),
        (lambda: MatrixGroup({"D": np.diag([1.0, 2, 3])}, so(3)), AxiomError, "D takes the algebra"),
        (lambda: MatrixGroup({"J01": -np.eye(3)}, so(3)), ConfigError, "J01 names a discrete generator and"),
        (lambda: symmetric(8).choose([]), ConfigError, "at least one"),
        (lambda: symmetric(8).choose("some"), ConfigError, "'all', 'generators' or a list"),
        (lambda: orthogonal(3).element("Q"), ConfigError, "has no generator 'Q'; it has P"),
    ],
)  # fmt: skip
def test_what_a_group_does_not_hold_is_named(ask, error, says):
    with pytest.raises(error, match=says):
        ask()


# Representations and their twins with a table


def twins(group):
    """Representations of a group with a table, each beside the same one by generators alone."""
    free = without_table(group)
    plane = {"D6": planar(6, flips=True)}.get(group.name)
    pairs = [
        (natural(group), natural(free)),
        (sign(group), sign(free)),
        (trivial(group, 3), trivial(free, 3)),
        (natural(group) + sign(group), natural(free) + sign(free)),
        (natural(group) * natural(group), natural(free) * natural(free)),
        (copies(natural(group), 2), copies(natural(free), 2)),
    ]
    if plane is not None:
        P = np.array([[1.0, 0.3], [0.2, 2.0]])
        matrices = P @ plane.matrices().numpy() @ np.linalg.inv(P)
        images = matrices[list(group.generators)]
        pairs += [
            (from_matrices(group, matrices), from_matrices(free, images)),
            (from_matrices(group, matrices).dual(), from_matrices(free, images).dual()),
            (plane * sign(group), from_matrices(free, plane.matrices()[[1, 6]]) * sign(free)),
        ]
    return free, pairs


@pytest.mark.parametrize("group", [symmetric(4), alternating(4), dihedral(6)], ids=lambda g: g.name)
def test_groups_without_a_table_act_as_those_with_one(group):
    _, pairs = twins(group)
    for ours, theirs in ((b, a) for a, b in pairs):
        assert ours.is_permutation == theirs.is_permutation
        assert ours.is_orthogonal == theirs.is_orthogonal
        assert ours.is_trivial == theirs.is_trivial
        assert ours.shape == theirs.shape
        x = torch.randn(2, *ours.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        for g in group.elements:
            element = tuple(group.points[g].tolist())
            torch.testing.assert_close(ours.act(element, x), theirs.act(g, x))
            torch.testing.assert_close(ours.matrix(element), theirs.matrix(g))
        for twin in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
            assert twin == ours
            assert hash(twin) == hash(ours)


@pytest.mark.parametrize("group", [symmetric(4), dihedral(6)], ids=lambda g: g.name)
def test_equivariant_maps_are_those_of_the_table(group):
    _, pairs = twins(group)
    for a, free_a in pairs[:4]:
        for b, free_b in pairs[3:]:
            ours, theirs = equivariant_basis(free_a, free_b), equivariant_basis(a, b)
            assert ours.dim == theirs.dim
            if theirs.labels is not None:
                assert torch.equal(ours.labels, theirs.labels)
            else:
                P, Q = (torch.linalg.qr(basis.matrix()).Q for basis in (ours, theirs))
                torch.testing.assert_close(P @ P.mT, Q @ Q.mT, atol=1e-9, rtol=0)


def test_products_kept_as_factors_act_as_those_with_a_table():
    a, b = natural(symmetric(3)) + sign(symmetric(3)), planar(4)
    joined = outer_product(a, b)
    assert isinstance(joined.group, FiniteGroup)
    group = ProductGroup((a.group, b.group))
    apart = lift(a, group) * lift(b, group)
    assert apart.shape == joined.shape == (4, 2)
    for g in joined.group.elements:
        h = divmod(g, b.group.order)
        torch.testing.assert_close(joined.matrix(g), apart.matrix(h))
        assert group.check(h) == h
    assert equivariant_basis(apart, apart).dim == equivariant_basis(joined, joined).dim == 3 * 2


def test_points_in_space_that_may_be_swapped(gen):
    """S5 x SO(3) on five vectors: each by itself, and the mean."""
    rep = outer_product(natural(symmetric(5)), defining(so(3)))
    basis = equivariant_basis(rep, rep)
    assert basis.dim == 2
    x = torch.randn(4, 5, 3, generator=gen, dtype=torch.float64)
    for g in rep.group.sample(3, gen):
        p, c = g
        by_hand = natural(symmetric(5)).act(p, x.transpose(1, 2)).transpose(1, 2) @ defining(so(3)).matrix(c).mT
        torch.testing.assert_close(rep.act(g, x), by_hand)
        for column in basis.matrix().mT:
            W = column.reshape(15, 15)
            left = rep.act(g, (x.flatten(1) @ W.mT).reshape(4, 5, 3))
            torch.testing.assert_close(left, (rep.act(g, x).flatten(1) @ W.mT).reshape(4, 5, 3))
    assert equivariant_basis(rep, lift(defining(so(3)), rep.group)).dim == 1  # the sum
    assert equivariant_basis(rep, trivial(rep.group)).dim == 0
    again = outer_product(outer_product(natural(symmetric(3)), defining(so(2))), regular(cyclic(3)))
    assert again.shape == (3, 2, 3)
    assert len(again.group.factors) == 3
    assert equivariant_basis(again, again).dim == 2 * 2 * 3


def test_solving_factor_by_factor_gives_the_whole_null_space():
    """The tensor product of the parts' maps, against the null space of the whole."""
    group = direct_product(symmetric(3), so(3), dihedral(3))
    V = outer_product(natural(symmetric(3)), defining(so(3)), planar(3, flips=True))
    assert V.group == group
    ours = equivariant_basis(V, V)
    theirs, gap = _null_space(V, V, 1e-6)
    assert ours.dim == theirs.shape[1] == 2
    assert gap > 1e4
    torch.testing.assert_close(ours.dense @ ours.dense.mT, theirs @ theirs.mT, atol=1e-8, rtol=0)
    many = outer_product(natural(symmetric(16)), defining(so(3)))
    assert equivariant_basis(many, many).dim == 2


def test_parity_tells_vectors_from_pseudovectors():
    group = orthogonal(3)
    vector = defining(group)
    pseudo = from_matrices(group, {"P": np.eye(3)}, "pseudovector", infinitesimal=group.algebra.matrices)
    det = from_matrices(group, {"P": [[-1.0]]}, "det")
    assert equivariant_basis(vector * vector, pseudo).dim == 1  # the cross product
    assert equivariant_basis(vector * vector, vector).dim == 0
    assert equivariant_basis(vector * det, pseudo).dim == 1
    assert equivariant_basis(vector, pseudo).dim == 0
    assert not det.is_trivial
    assert (det * det).is_trivial
    g = ((0,), (0.3, -0.2, 0.9))
    torch.testing.assert_close(vector.matrix(g), -defining(so(3)).matrix(g[1]))
    torch.testing.assert_close(pseudo.matrix(g), defining(so(3)).matrix(g[1]))


def test_a_thousand_points_and_a_large_torus():
    points = natural(symmetric(1000))
    assert equivariant_basis(points, points).dim == 2
    torus = grid_shifts((96, 96))
    assert torus.shape == (96, 96)
    x = torch.arange(96.0 * 96).reshape(96, 96)
    assert torch.equal(torus.act((3, 5), x), x.roll((3, 5), (0, 1)))
    assert len(torus.orbits()) == 1
    ring = regular(cyclic(10_000))
    assert torch.equal(ring.act(7, torch.arange(10_000)), torch.arange(10_000).roll(7))


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: permutation(symmetric(8), {"(0 1)": [1, 0]}), AxiomError, r"of S8 and of nothing else: \(0 1\)"),
        (lambda: permutation(symmetric(8), [[1, 0, 2], [1, 2, 0]]), AxiomError, "no representation of S8"),
        (lambda: permutation(symmetric(8), [[1, 1], [0, 1]]), AxiomError, "no permutation"),
        (lambda: from_matrices(symmetric(8), [[[1.0]], [[-1.0]]]), AxiomError, "no representation of S8"),
        (lambda: from_matrices(symmetric(8), [[[2.0]], [[1.0]]]), AxiomError, "no representation of S8"),
        (lambda: from_matrices(symmetric(8), [[[1.0]]]), ShapeError, "2 discrete generators.*got"),
        (lambda: from_matrices(symmetric(8), np.zeros((2, 2, 2))), AxiomError, "is singular"),
        (lambda: from_matrices(orthogonal(3), {"P": [[2.0]]}), AxiomError, "P P is the identity in the group"),
        (
            lambda: from_matrices(orthogonal(2), {"M": np.eye(2)}, infinitesimal=so(2).matrices),
            AxiomError,
            "M does not move the generator J01",
        ),
        (
            lambda: from_matrices(orthogonal(3), {"P": np.eye(3)}, infinitesimal=2 * orthogonal(3).algebra.matrices),
            AxiomError,
            r"no representation of so\(3\)",
        ),
        (lambda: from_matrices(orthogonal(3), {"P": np.eye(3)}, infinitesimal=np.ones((2, 3, 3))), ShapeError, "got"),
        (
            lambda: from_matrices(
                direct_product(so(2), symmetric(8)), [np.diag([1.0, -1.0])] * 2, infinitesimal=so(2).matrices
            ),
            AxiomError,
            r"images of S8 and so\(2\), factors of a product, do not commute",
        ),
        (lambda: natural(direct_product(so(3), cyclic(2))), ConfigError, "comes with no points"),
        (lambda: regular(symmetric(8)), ConfigError, "too many elements for a number each"),
        (lambda: defining(symmetric(8)), ConfigError, "a group of matrices"),
        (lambda: lift(defining(so(2)), direct_product(so(3), cyclic(2))), ConfigError, "of no such factor"),
        (lambda: lift(natural(cyclic(2)), direct_product(cyclic(2), cyclic(2))), ConfigError, "lift takes a product"),
        (lambda: lift(natural(cyclic(96)), direct_product(cyclic(96), cyclic(96))), ConfigError, "say which"),
        (lambda: defining(so(3)) * natural(symmetric(5)), ConfigError, r"outer_product\(a, b\)"),
        (lambda: natural(symmetric(5)) * defining(so(3)), ConfigError, r"outer_product\(a, b\)"),
        (lambda: outer_product(), ConfigError, "at least one"),
        (lambda: outer_product(3), ConfigError, "3 is no representation"),
        (lambda: natural(symmetric(8)).pullback(so(2), []), ConfigError, "infinitesimal generators"),
        (lambda: natural(symmetric(8)).pullback(cyclic(8), []), ShapeError, "images of its 1 generators; got 0"),
        (lambda: natural(symmetric(8)).kernel(), ConfigError, "no kernel as a list"),
        (lambda: natural(symmetric(8)).stabiliser(0), ConfigError, "no stabilisers"),
        (lambda: natural(symmetric(8)).character(), ConfigError, "no characters"),
    ],
)  # fmt: skip
def test_what_is_no_representation_is_named(make, error, says):
    with pytest.raises(error, match=says):
        make()


def test_pullbacks_by_generators():
    big = natural(symmetric(8))
    turning = big.pullback(cyclic(8), [(*range(1, 8), 0)])
    assert turning.group == cyclic(8)
    x = torch.arange(8.0)
    for g in cyclic(8).elements:
        assert torch.equal(turning.act(g, x), regular(cyclic(8)).act(g, x))
    assert equivariant_basis(turning, regular(cyclic(8))).dim == 8
    with pytest.raises(AxiomError, match="natural of C7: no homomorphism"):
        big.pullback(cyclic(7), [(*range(1, 8), 0)])


# Precision


@pytest.mark.parametrize("algebra", [so(3), so(4), special_linear(2), lorentz()], ids=lambda a: a.name)
def test_generators_in_single_precision_are_taken_and_made_exact(algebra, gen):
    V = defining(algebra)
    square = (V * V).matrices
    n = square.shape[1]
    Q = torch.linalg.qr(torch.randn(n, n, generator=gen, dtype=torch.float64)).Q.numpy()
    exact = Q @ square @ Q.T
    rep = LieRepresentation(algebra, torch.tensor(exact).float())
    assert np.abs(rep.matrices - exact).max() < 1e-5
    LieRepresentation(algebra, rep.matrices.copy())  # to the precision of float64
    assert rep.is_orthogonal == V.is_orthogonal
    if algebra.name != "sl(2)":
        assert equivariant_basis(rep, rep).dim == equivariant_basis(V * V, V * V).dim
    with pytest.raises(AxiomError, match="agree up to rounding"):
        LieRepresentation(algebra, exact.astype(np.float32).astype(float))
    wrong = exact.copy()
    wrong[0] *= 1.001
    with pytest.raises(AxiomError, match="no representation"):
        LieRepresentation(algebra, torch.tensor(wrong).float())


def test_permutation_matrices_make_a_permutation_representation(gen):
    S4 = symmetric(4)
    assert from_matrices(S4, natural(S4).matrices()) == natural(S4)
    assert from_matrices(S4, natural(S4).matrices().float()).is_permutation
    assert from_matrices(cyclic(3), {"r": np.eye(3)[[2, 0, 1]]}).is_permutation
    assert from_matrices(
        symmetric(8), [natural(symmetric(8)).matrix(g) for g in symmetric(8).generators]
    ).is_permutation
    assert not from_matrices(S4, sign(S4).matrices()).is_permutation
    assert from_matrices(S4, sign(S4).matrices()).is_signed_permutation
    assert not planar(4).is_permutation


@pytest.mark.parametrize("join", [lambda a, b: a + b, lambda a, b: a * b])
def test_permutations_of_all_elements_are_refused_or_none(join):
    points = natural(symmetric(20))
    swaps = from_matrices(symmetric(20), -np.ones((2, 1, 1)))
    with pytest.raises(ConfigError, match="S20 has too many elements to list, so it has no list of permutations"):
        join(points, points).permutations  # noqa: B018
    for first, second in ((points, swaps), (swaps, points)):
        # A representation that mixes coordinates has no permutations, whether its group lists its elements or not.
        assert join(first, second).permutations is None
    turned = outer_product(points, defining(so(3)))
    assert turned.permutations is None
    with pytest.raises(ConfigError, match="S20xS19 has too many elements to list"):
        outer_product(points, natural(symmetric(19))).permutations  # noqa: B018


def test_turns_that_come_full_circle_at_the_generator_are_turns():
    group = general_lorentz(1)
    flips = [np.diag([1.0, -1.0]), np.diag([-1.0, 1.0])]
    # The exponential that stands for the generator of boosts turns once around, to where it began.
    turn = 2 * math.pi * np.array([[[0.0, -1.0], [1.0, 0.0]]])
    turning = from_matrices(group, flips, infinitesimal=turn)
    torch.testing.assert_close(turning.matrix(group.generators[-1]), torch.eye(2).double(), atol=1e-12, rtol=0)
    for rep in (turning, turning.reshape(2, 1), turning * trivial(group), turning + trivial(group, 2)):
        assert not rep.is_signed_permutation
    standing = from_matrices(group, np.stack(flips), infinitesimal=np.zeros((1, 2, 2)))
    assert standing.is_signed_permutation
    assert not standing.is_trivial
    # Turns alone are not trivial either, nor do they multiply by numbers; the units of the algebra do not matter.
    for size in (1.0, 1e-9):
        algebra = LieAlgebra(size * so(2).matrices, "small")
        group = direct_product(algebra, cyclic(2))
        pure = from_matrices(group, [np.eye(2)], infinitesimal=size * turn)
        assert not any(rep.is_trivial for rep in (pure.reshape(2, 1), pure * pure))
        assert not pure.is_signed_permutation
    # Numbers that cancel in two factors are trivial together.
    grow = from_matrices(direct_product(so(2), cyclic(2)), [np.eye(1)], infinitesimal=np.ones((1, 1, 1)))
    assert not (grow * grow).is_trivial
    assert (grow * grow.dual()).is_trivial


def test_what_is_almost_trivial_is_not_trivial():
    group = MatrixGroup({"D": np.diag([2.0, 0.5])}, LieAlgebra([[[0.0, 1.0], [0.0, 0.0]]], "shear"), "scaled shears")

    def of(*diagonal):
        return from_matrices(group, [np.diag(diagonal)])

    assert of(1.0 + 1e-12).is_trivial
    assert not of(1.0 + 1e-6).is_trivial
    assert not (of(1.0 + 1e-6) * of(-1.0) * of(-1.0)).is_trivial
    # Numbers that cancel, and matrices that are almost multiples of the identity, beside numbers of any size.
    for size in (1.0, 1e-9, 1e9):
        assert (of(size) * of(1 / size, 1 / size)).is_trivial
        assert not (of(size) * of(1 / size, (1 + 1e-6) / size)).is_trivial


def test_elements_are_whole_numbers_of_any_library():
    rep, x = regular(cyclic(4)), torch.arange(4)
    for one in (1, np.int64(1), torch.tensor(1)):
        assert torch.equal(rep.act(one, x), x.roll(1))
    for other in (1.0, "r", None, (1,)):
        with pytest.raises(ConfigError, match="C4 has the elements 0 to 3; got"):
            rep.act(other, x)
        with pytest.raises(ConfigError, match="C4 has the elements 0 to 3; got"):
            cyclic(4).multiply(other, 1)
    circle, O3 = cyclic(100_000), orthogonal(3)
    for zero, one in ((0, 1), (np.int64(0), np.int64(1)), (torch.tensor(0), torch.tensor(1))):
        assert circle.check(one) == 1
        assert O3.check(((zero,), (0, 0, 0))) == ((0,), (0.0, 0.0, 0.0))


def test_words_of_groups_with_a_table():
    for group in (symmetric(4), quaternion(), dihedral(5), direct_product(cyclic(2), symmetric(3))):
        for g in group.elements:
            letters = [group.generators[k] for k, power in group.word(g) if power == 1]
            assert group.multiply(*letters) == g


def test_draws_leave_the_identity_out(gen):
    swap = PermutationGroup([[1, 0]])
    assert swap.draw(50, gen) == [(1, 0)] * 50
    assert set(swap.sample(50, gen)) == {(0, 1), (1, 0)}
    assert PermutationGroup([[0, 1]]).draw(3, gen) == [(0, 1)] * 3


def test_rounded_orthogonal_matrices_become_orthogonal_ones(gen):
    S4 = symmetric(4)
    Q = torch.linalg.qr(torch.randn(4, 4, generator=gen, dtype=torch.float64)).Q
    # As matrices come that were themselves computed in single precision, step by step.
    rounded = (Q @ natural(S4).matrices() @ Q.mT).float() + 1e-6 * torch.randn(24, 4, 4, generator=gen)
    rep = from_matrices(S4, rounded)
    assert rep.is_orthogonal
    torch.testing.assert_close(rep.matrices().float(), rounded, atol=1e-5, rtol=0)
    # Beside a representation that is not orthogonal stands one that is not.
    skew = torch.eye(4, dtype=torch.float64) + 0.3 * torch.randn(4, 4, generator=gen, dtype=torch.float64)
    other = from_matrices(S4, (skew @ natural(S4).matrices() @ torch.linalg.inv(skew)).float())
    assert not other.is_orthogonal
    assert equivariant_basis(other, other).dim == 2


@pytest.mark.parametrize("flips", [False, True])
def test_the_plane_of_a_group_without_a_table(flips, gen):
    n = 9000
    rep = planar(n, flips=flips)
    assert isinstance(rep.group, CircleGroup)
    assert rep.name == "plane"
    assert rep.is_orthogonal
    for g in (1, n // 3, n - 1, *([n, n + 7] if flips else [])):
        angle = 2 * np.pi * (g % n) / n
        turn = torch.tensor([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        wanted = turn @ torch.diag(torch.tensor([1.0, -1.0], dtype=torch.float64)) if g >= n else turn
        torch.testing.assert_close(rep.matrix(g), wanted, rtol=0, atol=1e-11)
    GeneratedRepresentation(rep.group, np.stack([rep.matrix(g).numpy() for g in rep.group.discrete]))  # checks it
