"""Equivariant maps between tensors of the classical groups, against integrals over the groups and known counts."""

import itertools
import math

import numpy as np
import pytest

from msr.groups import (
    cyclic,
    direct_product,
    from_permutations,
    general_linear,
    general_lorentz,
    lorentz,
    orthogonal,
    real_form,
    so,
    special_linear,
    special_unitary,
    symmetric,
    symplectic,
    unitary,
)
from msr.representations import (
    copies,
    defining,
    equivariant_basis,
    from_matrices,
    grid_rotations,
    irrep,
    natural,
    pair_orbits,
    symmetric_characters,
    trivial,
)

# Six turns of the faces, on the 48 stickers that move, numbered face by face as in the manual of GAP, less one.
RUBIK = from_permutations(
    [
        symmetric(48).element("(0 2 7 5)(1 4 6 3)(8 32 24 16)(9 33 25 17)(10 34 26 18)"),
        symmetric(48).element("(8 10 15 13)(9 12 14 11)(0 16 40 39)(3 19 43 36)(5 21 45 34)"),
        symmetric(48).element("(16 18 23 21)(17 20 22 19)(5 24 42 15)(6 27 41 12)(7 29 40 10)"),
        symmetric(48).element("(24 26 31 29)(25 28 30 27)(2 37 42 18)(4 35 44 20)(7 32 47 23)"),
        symmetric(48).element("(32 34 39 37)(33 36 38 35)(2 8 45 31)(1 11 46 28)(0 13 47 26)"),
        symmetric(48).element("(40 42 47 45)(41 44 46 43)(13 21 29 37)(14 22 30 38)(15 23 31 39)"),
    ],
    "Rubik",
)

# Integrals over the groups: means of powers of the trace. A grid of N angles is exact for trigonometric polynomials.
ANGLES = 2 * np.pi * np.arange(24) / 24


def mean(values, weights):
    return (values * weights).sum() / weights.sum()


def unitary_moment(n, a, b, *, special):
    """``E[tr(g)^b conj(tr(g))^a]``: Weyl's integral, ``∏ |z_i − z_j|²`` over the torus, of determinant 1 if special."""
    free = [ANGLES] * (n - 1 if special else n)
    angles = list(np.meshgrid(*free, indexing="ij"))
    if special:
        angles.append(-sum(angles))
    z = [np.exp(1j * angle) for angle in angles]
    weights = np.ones_like(z[0].real)
    for x, y in itertools.combinations(z, 2):
        weights = weights * np.abs(x - y) ** 2
    trace = sum(z)
    return mean(trace**b * trace.conj() ** a, weights).real


def rotation_moment(n, k):
    """``E[tr(g)^k]`` over ``SO(n)``, ``n`` of 2, 3 or 4."""
    if n == 4:
        x, y = np.meshgrid(ANGLES, ANGLES, indexing="ij")
        return mean((2 * np.cos(x) + 2 * np.cos(y)) ** k, (np.cos(x) - np.cos(y)) ** 2)
    weights = np.ones_like(ANGLES) if n == 2 else 1 - np.cos(ANGLES)
    return mean((2 * np.cos(ANGLES) + n - 2) ** k, weights)


def mirror_moment(n, k):
    """The same over the matrices of determinant −1: eigenvalues ``1, −1`` (n even) or ``−1`` and those of ``Sp``."""
    if n == 2:
        return 0.0**k
    if n == 3:
        return (-1) ** k * rotation_moment(3, k)
    return mean((2 * np.cos(ANGLES)) ** k, np.sin(ANGLES) ** 2)


def orthogonal_moment(n, k):
    return (rotation_moment(n, k) + mirror_moment(n, k)) / 2


PAIRS = [(0, 2), (1, 1), (1, 2), (0, 3), (1, 3), (2, 2)]
REAL = {
    "O(2)": (orthogonal(2), lambda k: orthogonal_moment(2, k)),
    "O(3)": (orthogonal(3), lambda k: orthogonal_moment(3, k)),
    # Polynomial invariants do not see the real form: O(1,3) has those of O(4), both SO(1,3) those of SO(4).
    "O(1,3)": (general_lorentz(), lambda k: orthogonal_moment(4, k)),
    "SO(1,3)": (general_lorentz(special=True), lambda k: rotation_moment(4, k)),
    "SO(1,3)+": (lorentz(), lambda k: rotation_moment(4, k)),
    "SO(3)": (so(3), lambda k: rotation_moment(3, k)),
    "SL(2)": (special_linear(2), lambda k: unitary_moment(2, 0, k, special=True)),
    "Sp(2)": (symplectic(1), lambda k: unitary_moment(2, 0, k, special=True)),
    "O(1,1)+": (lorentz(1), lambda k: rotation_moment(2, k)),
}


def power(rep, group, k):
    product = trivial(group)
    for _ in range(k):
        product = product * rep
    return product.reshape(product.dim)


@pytest.mark.parametrize(("group", "moment"), REAL.values(), ids=REAL)
@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_maps_between_tensors_of_real_groups(group, moment, a, b):
    """All of them preserve a form, so that ``Hom(V^a, V^b)`` are the invariants of ``V^(a+b)``."""
    V = defining(group)
    found = equivariant_basis(power(V, group, a), power(V, group, b)).dim
    assert found == round(moment(a + b))
    assert abs(moment(a + b) - found) < 1e-9


def test_discrete_generators_remove_equivariant_maps():
    """The controls: invariants that a mirror or parity takes away."""
    for group, k, dim in ((orthogonal(2), 2, 1), (so(2), 2, 2), (orthogonal(3), 3, 0), (so(3), 3, 1)):
        assert equivariant_basis(trivial(group), power(defining(group), group, k)).dim == dim


def complex_tensor(algebra, k):
    """``V^k`` of complex vectors in real form, with multiplication by ``i`` as one more generator."""
    n = algebra.matrices.shape[1] // 2
    X = algebra.matrices[:, :n, :n] + 1j * algebra.matrices[:, n:, :n]
    total = np.zeros((len(X), n**k, n**k), dtype=complex)
    for place in range(k):
        left, right = np.eye(n**place), np.eye(n ** (k - 1 - place))
        total += np.stack([np.kron(np.kron(left, x), right) for x in X])
    group = direct_product(algebra, cyclic(4))
    J = real_form(1j * np.eye(n**k))
    return from_matrices(
        group, {group.label(group.discrete[0]): J}, infinitesimal=np.stack([real_form(t) for t in total])
    )


COMPLEX = {
    "SU(2)": (special_unitary(2), True, [(1, 1), (0, 2), (1, 2), (1, 3), (2, 2), (0, 4)]),
    "SU(3)": (special_unitary(3), True, [(1, 1), (1, 2), (0, 3), (2, 1), (2, 2), (0, 2)]),
    "U(2)": (unitary(2), False, [(1, 1), (0, 2), (1, 2), (1, 3), (2, 2), (0, 4)]),
}


@pytest.mark.parametrize(
    ("algebra", "special", "a", "b"),
    [(algebra, special, a, b) for algebra, special, pairs in COMPLEX.values() for a, b in pairs],
)
def test_complex_maps_between_tensors_of_complex_groups(algebra, special, a, b):
    """Real maps that commute with ``i`` are complex ones, of which the real dimension is twice as large."""
    n = algebra.matrices.shape[1] // 2
    found = equivariant_basis(complex_tensor(algebra, a), complex_tensor(algebra, b)).dim
    assert found == 2 * round(unitary_moment(n, a, b, special=special))


@pytest.mark.parametrize(
    ("algebra", "n", "special"), [(special_unitary(2), 2, True), (special_unitary(3), 3, True), (unitary(2), 2, False)]
)
@pytest.mark.parametrize(("a", "b"), [(0, 1), (1, 1), (0, 2), (1, 2)])
def test_real_maps_between_real_forms(algebra, n, special, a, b):
    """The real form is ``V`` and its conjugate together."""
    V, k = defining(algebra), a + b
    moment = sum(math.comb(k, j) * unitary_moment(n, j, k - j, special=special) for j in range(k + 1))
    assert equivariant_basis(power(V, algebra, a), power(V, algebra, b)).dim == round(moment)


def test_general_linear_maps_permute_the_factors():
    for n, k in ((2, 1), (2, 2), (3, 2)):
        group = general_linear(n)
        V = defining(group)
        # As many as permutations of k places with no decreasing sequence longer than n.
        assert equivariant_basis(power(V, group, k), power(V, group, k)).dim == math.factorial(k)
        assert equivariant_basis(trivial(group), power(V, group, k)).dim == 0
    V = defining(general_linear(2))
    assert equivariant_basis(trivial(general_linear(2)), V * V.dual()).dim == 1


@pytest.mark.parametrize("n", [1, 2])
def test_the_symplectic_form_is_kept(n):
    group = symplectic(n)
    assert group.dim == n * (2 * n + 1)
    omega = np.block([[np.zeros((n, n)), np.eye(n)], [-np.eye(n), np.zeros((n, n))]])
    assert np.abs(group.matrices.swapaxes(1, 2) @ omega + omega @ group.matrices).max() == 0
    V = defining(group)
    assert equivariant_basis(trivial(group), V * V).dim == 1


def test_the_real_forms_are_unitary_and_of_the_right_dimension():
    for n in (2, 3):
        for algebra, dim in ((special_unitary(n), n * n - 1), (unitary(n), n * n)):
            assert algebra.dim == dim
            assert defining(algebra).is_orthogonal
            i = real_form(1j * np.eye(n))
            assert np.abs(algebra.matrices @ i - i @ algebra.matrices).max() == 0


# Finite families, by their generators


@pytest.mark.parametrize("n", [8, 10, 20])
def test_permutations_of_many_points_have_as_many_maps_as_set_partitions(n):
    bell = [1, 1, 2, 5, 15]
    points = natural(symmetric(n))
    for a, b in ((0, 1), (0, 2), (1, 1), (1, 2), (2, 2)):
        if n <= 10 or a + b < 4:
            ends = power(points, points.group, a), power(points, points.group, b)
            assert equivariant_basis(*ends).dim == bell[a + b]


def test_small_and_large_symmetric_groups_agree():
    """The same generators with and without a table."""
    for n in (5, 6):
        swap, cycle = [1, 0, *range(2, n)], [*range(1, n), 0]
        points = natural(symmetric(n))
        labels = equivariant_basis(points * points, points * points).labels
        pairs = [[p[i] * n + p[j] for i in range(n) for j in range(n)] for p in (swap, cycle)]
        assert (labels == pair_orbits(pairs, pairs)).all()


def test_the_cube_of_rubik():
    """48 stickers that turn: two orbits, and on pairs what the cube's geometry leaves."""
    rep = natural(RUBIK)
    assert RUBIK.order == 43_252_003_274_489_856_000
    assert [len(orbit) for orbit in rep.orbits()] == [24, 24]
    basis = equivariant_basis(rep, rep)
    # Corners: same sticker, the two others of its cubie (which turn into each other only one way round), other cubies.
    assert basis.dim == 4 + 3 + 2


def test_the_character_table_of_ten_points():
    """Orthogonal rows, whole degrees whose squares add up, and values that textbooks give."""
    table = symmetric_characters(10)
    values, sizes = np.array(table.values, dtype=object), np.array(table.sizes, dtype=object)
    assert len(table.partitions) == 42
    assert sum(sizes) == math.factorial(10)
    assert sum(d * d for d in table.degrees) == math.factorial(10)
    assert ((values * sizes) @ values.T == math.factorial(10) * np.eye(42, dtype=int)).all()
    assert dict(zip(table.partitions, table.degrees, strict=True))[(4, 3, 2, 1)] == 768  # by the hook length formula
    assert set(table.values[0]) == {1}
    fixed = [cycles.count(1) - 1 for cycles in table.partitions]
    assert table.values[table.partitions.index((9, 1))] == tuple(fixed)


def test_small_character_tables_agree_with_those_from_a_table_of_products():
    from msr.representations import character_table

    for n in (3, 4, 5):
        ours, theirs = symmetric_characters(n), character_table(symmetric(n))
        assert sorted(ours.degrees) == sorted(theirs.degrees.tolist())
        rows = sorted(sorted(row) for row in ours.values)
        assert rows == sorted(sorted(np.round(row.real).astype(int).tolist()) for row in theirs.values)


def test_the_isotropic_elasticity_tensor_has_two_moduli():
    """Rotations of space times the symmetries of the four indices: ``C_ijkl = C_jikl = C_klij``."""
    indices = symmetric(4).subgroup([symmetric(4).element("(0 1)"), symmetric(4).element("(0 2)(1 3)")]).group
    group = direct_product(so(3), indices)
    V = defining(so(3))
    X = (V * V * V * V).matrices
    places = np.arange(81).reshape(3, 3, 3, 3)
    images = {}
    for g in group.discrete:
        moved = places.transpose(np.argsort(indices.points[g[1]])).ravel()
        images[g] = np.eye(81)[np.argsort(moved)]
    rep = from_matrices(group, images, "elasticity", infinitesimal=X)
    assert equivariant_basis(trivial(group), rep).dim == 2
    only_turned = V * V * V * V
    assert equivariant_basis(trivial(so(3)), only_turned).dim == 3  # the control: without the indices' symmetry


def test_the_cube_and_copies():
    cube = grid_rotations((3, 3, 3), flips=True)
    assert cube.group.order == 48
    assert sorted(len(orbit) for orbit in cube.orbits()) == [1, 6, 8, 12]
    assert equivariant_basis(copies(irrep(orthogonal(3), 2, parity=1), 2), irrep(orthogonal(3), 2, parity=1)).dim == 2
