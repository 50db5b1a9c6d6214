"""Equivariant maps against a dense twin, against counts that are known, and group convolutions both ways."""

import numpy as np
import pytest
import torch

from msr.errors import AxiomError, ConfigError, ShapeError
from msr.groups import (
    FiniteGroup,
    LieAlgebra,
    alternating,
    cyclic,
    dihedral,
    direct_product,
    from_permutations,
    lorentz,
    quaternion,
    semidirect_product,
    so,
    special_linear,
    symmetric,
    wreath_product,
)
from msr.groups import trivial as trivial_group
from msr.representations import (
    LieRepresentation,
    copies,
    defining,
    direct_sum,
    equivariant_basis,
    from_matrices,
    grid_rotations,
    grid_shifts,
    group_convolution,
    intertwiner_dimension,
    natural,
    pair_orbits,
    permutation,
    planar,
    quotient,
    regular,
    sign,
    trivial,
)
from msr.representations.elementary import MatrixRepresentation
from msr.span.angles import principal_cosines


def skewed(rep, seed=0):
    """The same representation in a basis that is not orthonormal."""
    rng = np.random.default_rng(seed)
    P = np.eye(rep.dim) + 0.4 * rng.standard_normal((rep.dim, rep.dim))
    return from_matrices(rep.group, P @ rep.matrices().numpy() @ np.linalg.inv(P), f"skewed {rep.name}")


def as_matrices(rep):
    return MatrixRepresentation(rep.group, rep.matrices(), f"{rep.name} as matrices")


def dense_twin(matrices_in, matrices_out, lie=False):
    """Null space of all constraints at once by one SVD; columns vec(W), row-major."""
    rows = []
    for B, A in zip(np.asarray(matrices_in), np.asarray(matrices_out), strict=True):
        rows.append(np.kron(A, np.eye(len(B))) - np.kron(np.eye(len(A)), B.T))
    _, sizes, right = np.linalg.svd(np.concatenate(rows))
    rank = int((sizes > 1e-9 * max(1.0, sizes[0])).sum())
    return torch.tensor(right[rank:].T)


def same_span(a, b):
    assert a.shape == b.shape
    if a.shape[1]:
        cosines = principal_cosines(a, b)
        assert len(cosines) == a.shape[1]
        assert float(cosines.min()) > 1 - 1e-9


def commutes(basis):
    """Every column, with every element and not only with generators."""
    m, n = basis.rep_out.dim, basis.rep_in.dim
    W = basis.matrix().mT.reshape(basis.dim, m, n)
    for g in basis.rep_in.group.elements:
        gap = basis.rep_out.matrix(g) @ W - W @ basis.rep_in.matrix(g)
        assert gap.numel() == 0 or float(gap.abs().max()) < 1e-7


S3, S4, D4, C4, Q8 = symmetric(3), symmetric(4), dihedral(4), cyclic(4), quaternion()
A4 = alternating(4)
FROBENIUS21 = semidirect_product(cyclic(7), cyclic(3), lambda h, n: n * 2**h % 7)


SIGN4 = from_matrices(C4, {"r": [[-1.0]]}, "sign")


def plane_of_s3():
    return from_matrices(S3, {"(0 1)": np.diag([1.0, -1]), "(0 1 2)": planar(3).matrix(1)}, "plane")


def spinor():
    left = {
        "i": [[0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 0, -1], [0, 0, 1, 0]],
        "j": [[0, 0, -1, 0], [0, 0, 0, 1], [1, 0, 0, 0], [0, -1, 0, 0]],
    }
    return from_matrices(Q8, left, "quaternions")


PAIRS = {
    "natural": lambda: (natural(S4), natural(S4)),
    "natural-to-pairs": lambda: (natural(S3), natural(S3) * natural(S3)),
    "quotients": lambda: (quotient(S4, S4.subgroup([1])), natural(S4)),
    "regular": lambda: (regular(D4), natural(D4)),
    "sums-of-permutations": lambda: (natural(D4) + trivial(D4, 2), regular(D4) + natural(D4)),
    "grids": lambda: (grid_rotations(3), grid_rotations(3)),
    "shifts": lambda: (grid_shifts((2, 3)), grid_shifts((2, 3))),
    "permutation-to-plane": lambda: (natural(S3), plane_of_s3()),
    "plane-to-permutation": lambda: (planar(4, flips=True), grid_rotations(3, flips=True)),
    "complex-type": lambda: (planar(5), planar(5)),
    "complex-type-to-regular": lambda: (planar(3), regular(cyclic(3))),
    "scalars": lambda: (planar(2), planar(2)),
    "quaternionic-type": lambda: (spinor(), spinor()),
    "quaternionic-to-regular": lambda: (spinor(), regular(Q8)),
    "nothing": lambda: (sign(S4), trivial(S4, 2)),
    "sign-to-regular": lambda: (sign(S3), regular(S3)),
    "sums-mixed": lambda: (natural(D4) + planar(4, flips=True), sign(D4) + regular(D4) + planar(4, flips=True)),
    "copies": lambda: (copies(planar(4), 2), copies(planar(4), 3) + trivial(C4)),
    "three-blocks": lambda: (planar(4) + trivial(C4) + regular(C4), trivial(C4) + planar(4) + SIGN4 + planar(4)),
    "channels": lambda: (trivial(C4, 2) * planar(4), trivial(C4, 3) * regular(C4)),
    "tensors-mixed": lambda: (planar(4, flips=True) * natural(D4), planar(4, flips=True) + sign(D4)),
    "sum-inside-a-tensor": lambda: ((planar(4) + trivial(C4)) * planar(4), regular(C4)),
    "reshaped": lambda: ((planar(4) * regular(C4)).reshape(4, 2), planar(4).reshape(1, 2)),
    "not-orthogonal": lambda: (skewed(natural(S4)), natural(S4)),
    "not-orthogonal-both": lambda: (skewed(regular(S3)), skewed(natural(S3) + sign(S3), 1)),
    "not-orthogonal-sum": lambda: (skewed(planar(3)) + planar(3), planar(3) + skewed(planar(3), 1).dual()),
    "frobenius": lambda: (natural_of_frobenius(), skewed(natural_of_frobenius())),
    "trivial-group": lambda: (trivial(trivial_group(), 2), as_matrices(trivial(trivial_group(), 3))),
    "trivial": lambda: (trivial(S3, 2), as_matrices(trivial(S3, 2))),
    "trivial-inexactly": lambda: (skewed(trivial(S3, 3)), skewed(trivial(S3, 2), 1)),
    "alternating": lambda: (natural(A4) * sign(A4), regular(A4)),
}


def natural_of_frobenius():
    return quotient(FROBENIUS21, FROBENIUS21.subgroup([1]))


@pytest.fixture(params=PAIRS.values(), ids=PAIRS)
def pair(request):
    return request.param()


def test_the_basis_is_that_of_the_dense_twin(pair):
    rep_in, rep_out = pair
    basis = equivariant_basis(rep_in, rep_out)
    twin = dense_twin(rep_in.matrices(), rep_out.matrices())
    assert basis.dim == intertwiner_dimension(rep_in, rep_out) == twin.shape[1]
    assert basis.matrix().shape == (rep_out.dim * rep_in.dim, basis.dim)
    same_span(basis.matrix(), twin)
    commutes(basis)


def test_the_parts_of_a_basis_fit_each_other(pair):
    basis = equivariant_basis(*pair)
    assert (basis.rep_in, basis.rep_out) == pair
    assert (basis.labels is None) != (basis.dense is None)
    assert (basis.labels is not None) == all(rep.is_permutation for rep in pair)
    U, Q = basis.matrix(), basis.orthonormal()
    assert U.dtype == torch.float64
    torch.testing.assert_close(Q.mT @ Q, torch.eye(basis.dim, dtype=torch.float64))
    same_span(U, Q)
    assert basis.gap > 100
    assert basis.tolerance == 1e-6
    if basis.labels is not None:
        assert basis.gap == float("inf")
        assert basis.labels.shape == (pair[1].dim, pair[0].dim)
        assert torch.equal(U.sum(dim=1), torch.ones(len(U), dtype=torch.float64))
        assert torch.equal(U.argmax(dim=1), basis.labels.flatten())


@pytest.mark.parametrize("name", [name for name, make in PAIRS.items() if all(r.is_permutation for r in make())])
def test_labels_and_linear_algebra_agree(name):
    rep_in, rep_out = PAIRS[name]()
    labels = equivariant_basis(rep_in, rep_out)
    for a, b in ((as_matrices(rep_in), rep_out), (rep_in, as_matrices(rep_out))):
        solved = equivariant_basis(a, b)
        assert solved.labels is None
        assert solved.gap > 1e6
        same_span(labels.matrix(), solved.matrix())


@pytest.mark.parametrize(
    "name", ["sums-mixed", "copies", "three-blocks", "channels", "not-orthogonal-sum", "sums-of-permutations"]
)
def test_solving_by_blocks_is_solving_at_once(name):
    rep_in, rep_out = PAIRS[name]()
    same_span(
        equivariant_basis(rep_in, rep_out).matrix(),
        equivariant_basis(as_matrices(rep_in), as_matrices(rep_out)).matrix(),
    )


def test_each_weight_of_a_block_is_put_in_its_place():
    """From 2 + 1 numbers to 1 + 2: only plane to plane is free, in rows 1 and 2, columns 0 and 1."""
    basis = equivariant_basis(planar(4) + from_matrices(C4, {"r": [[1.0]]}), SIGN4 + planar(4))
    support = basis.matrix().abs().sum(dim=1).reshape(3, 3) > 1e-9
    assert support.tolist() == [[False, False, False], [True, True, False], [True, True, False]]


# Known numbers


def points(n, *generators):
    group = from_permutations(generators or [range(n)])
    assert natural(group).dim == n
    return natural(group)


def c4_orbits():
    return regular(C4), quotient(C4, [0, 2]), quotient(C4, range(4))


def tensor_power(n, k):
    rep = natural(symmetric(n))
    for _ in range(k - 1):
        rep = rep * natural(symmetric(n))
    return rep


KNOWN = {
    "C4: regular to regular": (lambda: (regular(C4), regular(C4)), 4),
    "C4: 4 to 2": (lambda: c4_orbits()[:2], 2),
    "C4: 2 to 2": (lambda: (c4_orbits()[1],) * 2, 2),
    "C4: 1+2+4 to itself": (lambda: (direct_sum(*c4_orbits()),) * 2, 15),
    "C4: plane to itself": (lambda: (planar(4), planar(4)), 2),
    "C4: plane to regular": (lambda: (planar(4), regular(C4)), 2),
    "C4: sign to regular": (lambda: (SIGN4, regular(C4)), 1),
    "S2: vectors": (lambda: (tensor_power(2, 1),) * 2, 2),
    "S3: vectors": (lambda: (tensor_power(3, 1),) * 2, 2),
    "S5: vectors": (lambda: (tensor_power(5, 1),) * 2, 2),
    "S3: vectors to matrices": (lambda: (tensor_power(3, 1), tensor_power(3, 2)), 5),
    "S4: vectors to matrices": (lambda: (tensor_power(4, 1), tensor_power(4, 2)), 5),
    "S3: matrices to matrices": (lambda: (tensor_power(3, 2),) * 2, 14),
    "S4: matrices to matrices": (lambda: (tensor_power(4, 2),) * 2, 15),
    "S5: matrices to matrices": (lambda: (tensor_power(5, 2),) * 2, 15),
    "C6 on pairs": (lambda: (natural(cyclic(6)),) * 2, 6),
    "D6 on pairs": (lambda: (natural(dihedral(6)),) * 2, 4),
    "S6 on pairs": (lambda: (points(6, [1, 0, 2, 3, 4, 5], [1, 2, 3, 4, 5, 0]),) * 2, 2),
    "S3xS3 on pairs": (lambda: (natural(direct_product(S3, S3)),) * 2, 4 + 2),
    "S3wrC2 on pairs": (lambda: (natural(wreath_product(S3, cyclic(2))),) * 2, 3),
    "nothing on pairs": (lambda: (points(6),) * 2, 36),
    "D4 on corners": (lambda: (natural(D4),) * 2, 3),
    "C8 on pairs": (lambda: (natural(cyclic(8)),) * 2, 8),
    "A4 and S4 look alike": (lambda: (natural(A4),) * 2, 2),
    "AGL(1,5) and S5 look alike": (lambda: (points(5, [1, 2, 3, 4, 0], [0, 2, 4, 1, 3]),) * 2, 2),
}


@pytest.mark.parametrize(("make", "dim"), KNOWN.values(), ids=KNOWN)
def test_known_dimensions(make, dim):
    assert equivariant_basis(*make()).dim == dim


@pytest.mark.parametrize("n", range(2, 9))
def test_groups_that_are_transitive_on_pairs_leave_two_free_numbers(n):
    swap, turn = [1, 0, *range(2, n)], [*range(1, n), 0]
    labels = pair_orbits([swap, turn], [swap, turn])
    assert torch.equal(labels, 1 - torch.eye(n, dtype=torch.long))


def test_fifty_points_need_no_table():
    """S50 has 3e64 elements; its layer is the deep set's."""
    n = 50
    generators = [[1, 0, *range(2, n)], [*range(1, n), 0]]
    assert torch.equal(pair_orbits(generators, generators), 1 - torch.eye(n, dtype=torch.long))
    one = [[0], [0]]
    assert torch.equal(pair_orbits(generators, one), torch.zeros(1, n, dtype=torch.long))
    assert torch.equal(pair_orbits(one, generators), torch.zeros(n, 1, dtype=torch.long))


def test_orbits_of_pairs_are_numbered_in_reading_order():
    labels = pair_orbits([[1, 2, 3, 0]], [[1, 2, 3, 0]])
    assert labels.tolist() == [[0, 1, 2, 3], [3, 0, 1, 2], [2, 3, 0, 1], [1, 2, 3, 0]]
    assert labels.dtype == torch.int64
    assert pair_orbits([1, 0, 2], [0, 1]).tolist() == [[0, 0, 1], [2, 2, 3]]  # inputs are columns
    assert pair_orbits([0, 1], [1, 0, 2]).tolist() == [[0, 1], [0, 1], [2, 3]]
    assert pair_orbits(torch.tensor([[1, 0]]), torch.tensor([[1, 0]])).tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: pair_orbits([[0, 1]], [[0, 1]] * 2), ShapeError, r"same generators.*got \(1, 2\) and \(2, 2\)"),
        (lambda: pair_orbits([[[0, 1]]], [[0, 1]]), ShapeError, r"got \(1, 1, 2\)"),
        (lambda: pair_orbits([[0, 0]], [[0, 1]]), AxiomError, "some row of generators_in is no perm.* of 0 to 1"),
        (lambda: pair_orbits([[0, 1]], [[0, 1, 3]]), AxiomError, "generators_out is no permutation of 0 to 2"),
        (lambda: pair_orbits([[0.0, 1.0]], [[0, 1]]), AxiomError, "generators_in"),
        (lambda: equivariant_basis(natural(S4), natural(C4)), ConfigError, "equivariant_basis: .*different groups"),
        (lambda: equivariant_basis(defining(so(2)), planar(4)), ConfigError, r"different groups.*so\(2\).*C4"),
        (lambda: equivariant_basis(planar(4), defining(so(2))), ConfigError, "different groups"),
        (lambda: equivariant_basis(defining(so(2)), defining(so(3))), ConfigError, "different groups"),
        (
            lambda: equivariant_basis(as_matrices(regular(cyclic(80))), regular(cyclic(80))),
            ShapeError,
            "80 x 80 unknowns in one block are more than 6000; write .* as direct sums .* or as permutations",
        ),
        (
            lambda: equivariant_basis(planar(5), planar(5), tolerance=2),
            AxiomError,
            r"plane: C5.*null space has dimension 4 with a gap of inf at tolerance 2; characters say 2.*in float64",
        ),
        (lambda: group_convolution(D4, natural(C4)), ConfigError, "natural: C4.* is no representation of D4"),
    ],
)
def test_errors_name_what_is_wrong(make, error, says):
    with pytest.raises(error, match=says):
        make()


def test_a_thousand_points():
    n = 1024
    every = torch.arange(n)
    distance = (every - every[:, None]) % n
    turning = natural(cyclic(n))
    basis = equivariant_basis(turning, turning)
    assert basis.dim == n
    assert torch.equal(basis.labels, distance)
    turn, flip = [*range(1, n), 0], [(-i) % n for i in range(n)]
    labels = pair_orbits([turn, flip], [turn, flip])
    assert torch.equal(labels, torch.minimum(distance, n - distance))
    half = regular(dihedral(n // 2))
    assert equivariant_basis(half, half).dim == intertwiner_dimension(half, half) == n


# Precision


def test_a_slightly_inexact_representation_is_solved():
    rng = np.random.default_rng(0)
    exact = planar(3)
    off = exact.matrices().numpy() + 1e-9 * rng.standard_normal((3, 2, 2)) * (np.arange(3) > 0)[:, None, None]
    basis = equivariant_basis(from_matrices(exact.group, off), regular(exact.group))
    assert basis.dim == 2
    assert 1e6 < basis.gap < 1e10
    assert float(principal_cosines(basis.matrix(), equivariant_basis(exact, regular(exact.group)).matrix())[-1]) > 0.999


def test_single_precision_is_made_exact_before_any_solve():
    plane = from_matrices(cyclic(5), planar(5).matrices().float())
    torch.testing.assert_close(plane.matrices(), planar(5).matrices(), atol=1e-6, rtol=0)
    assert plane.is_orthogonal
    powers = torch.linalg.matrix_power(plane.matrix(1), 5)
    torch.testing.assert_close(powers, torch.eye(2, dtype=torch.float64), atol=1e-14, rtol=0)
    assert equivariant_basis(plane, plane).dim == 2
    with pytest.raises(AxiomError, match="no homomorphism"):  # the control: as wrong, and said to be exact
        from_matrices(cyclic(5), planar(5).matrices().float().double())


def speeds(*speed):
    """One turning plane for each speed, as a representation of so(2)."""
    J = so(2).matrices[0]
    blocks = [torch.tensor(s * J) for s in speed]
    return LieRepresentation(so(2), torch.block_diag(*blocks)[None], "speeds")


def test_gap_and_tolerance_are_those_of_the_constraints():
    """Constraint sizes are sums and differences of speeds: 0, 2 and 1 ± s, 2 s for the slow plane s."""
    basis = equivariant_basis(speeds(1, 1e-3), speeds(1, 1e-3))
    assert (basis.dim, basis.tolerance) == (4, 1e-6)
    assert basis.gap == pytest.approx(2e-3 / 2e-8, rel=0.6)
    loose = equivariant_basis(speeds(1, 1e-3), speeds(1, 1e-3), tolerance=0.01)
    assert (loose.dim, loose.tolerance) == (6, 0.01)
    assert loose.gap == pytest.approx(999 / 2, rel=0.01)
    with pytest.raises(
        AxiomError, match=r"dimension 4 with a gap of \d+(\.\d+)? at tolerance 1e-07\. The matrices are"
    ):
        equivariant_basis(speeds(1, 5e-7), speeds(1, 5e-7), tolerance=1e-7)


def test_the_gap_of_a_sum_is_that_of_its_worst_block():
    slow = planar(100)
    fast = slow.pullback(slow.group, np.arange(100) * 25 % 100)
    gaps = [equivariant_basis(a, b).gap for a in (slow, fast) for b in (slow, fast)]
    assert len(set(gaps)) > 1
    assert gaps[-1] > min(gaps) == equivariant_basis(slow + fast, slow + fast).gap


def test_rounded_scalars_commute_with_all_matrices():
    for n, rep in ((4, planar(2)), (4, planar(4).pullback(cyclic(2), [0, 2])), (9, skewed(trivial(S3, 3)))):
        assert equivariant_basis(rep, rep).dim == n
    rep = copies(planar(2), 2)
    assert equivariant_basis(rep, rep).dim == 16
    assert equivariant_basis(as_matrices(rep), as_matrices(rep)).gap == float("inf")


@pytest.mark.parametrize("n", [16, 100, 1000])
def test_small_rotations_differ_from_the_identity(n):
    assert equivariant_basis(planar(n), planar(n)).dim == 2
    assert equivariant_basis(planar(n), trivial(cyclic(n))).dim == 0


def test_equal_groups_may_have_been_given_different_generators():
    """The constraints must pair the same element on both sides."""
    other = FiniteGroup(cyclic(5).table, generators=[3])
    again = from_matrices(other, planar(5).matrices())
    assert other.generators != planar(5).group.generators
    for a, b in ((again, planar(5)), (planar(5), again)):
        basis = equivariant_basis(a, b)
        commutes(basis)
        same_span(basis.matrix(), equivariant_basis(planar(5), planar(5)).matrix())
    more = FiniteGroup(S3.table, generators=[1, 2, 3])
    assert equivariant_basis(sign(S3), from_matrices(more, sign(S3).matrices())).dim == 1
    assert equivariant_basis(natural(S3), permutation(more, S3.points)).dim == 2


# Lie algebras


def lie_commutes(basis, gen):
    m, n = basis.rep_out.dim, basis.rep_in.dim
    W = basis.matrix().mT.reshape(basis.dim, m, n)
    for g in basis.rep_in.group.sample(4, gen):
        small = [0.5 * c for c in g]
        A, B = basis.rep_out.matrix(small), basis.rep_in.matrix(small)
        torch.testing.assert_close(A @ W, W @ B, atol=1e-6, rtol=1e-6)


V3, V2, V31 = defining(so(3)), defining(so(2)), defining(lorentz())
SL2 = defining(special_linear(2))

LIE = {
    "so(3): V to V": (lambda: (V3, V3), 1),
    "so(3): V to its dual": (lambda: (V3, V3.dual()), 1),
    "so(3): V to scalars": (lambda: (V3, trivial(so(3))), 0),
    "so(3): VV to VV": (lambda: (V3 * V3, V3 * V3), 3),
    "so(3): VV to V": (lambda: (V3 * V3, V3), 1),
    "so(3): V+1 to V+V": (lambda: (V3 + trivial(so(3)), V3 + V3), 2),
    "so(3): scalars": (lambda: (trivial(so(3), 2), trivial(so(3), 3)), 6),
    "so(4): VV to scalars": (lambda: (defining(so(4)) * defining(so(4)), trivial(so(4))), 1),
    "so(2): V to V": (lambda: (V2, V2), 2),
    "so(2): VV to scalars": (lambda: (V2 * V2, trivial(so(2))), 2),
    "lorentz: V to V": (lambda: (V31, V31), 1),
    "lorentz: VV to scalars": (lambda: (V31 * V31, trivial(lorentz())), 1),
    "lorentz: V to its dual": (lambda: (V31, V31.dual()), 1),
    "sl(2): V to its dual": (lambda: (SL2, SL2.dual()), 1),
    "sl(2): VV to scalars": (lambda: (SL2 * SL2, trivial(special_linear(2))), 1),
    "sl(3): V to its dual": (lambda: (defining(special_linear(3)), defining(special_linear(3)).dual()), 0),
}


@pytest.mark.parametrize(("make", "dim"), LIE.values(), ids=LIE)
def test_maps_that_respect_lie_algebras(make, dim, gen):
    rep_in, rep_out = make()
    basis = equivariant_basis(rep_in, rep_out)
    assert basis.dim == dim
    assert basis.labels is None
    assert basis.gap > 1e5
    same_span(basis.matrix(), dense_twin(rep_in.matrices, rep_out.matrices))
    lie_commutes(basis, gen)


def test_the_invariant_of_the_lorentz_group_is_its_metric():
    W = equivariant_basis(V31 * V31, trivial(lorentz())).matrix().reshape(4, 4)
    torch.testing.assert_close(W / W[0, 0], torch.diag(torch.tensor([1.0, -1, -1, -1], dtype=torch.float64)))


def test_the_bilinear_map_of_space_is_the_cross_product(gen):
    W = equivariant_basis(V3 * V3, V3).matrix().reshape(3, 9)
    a, b = torch.randn(2, 5, 3, generator=gen, dtype=torch.float64)
    mapped = torch.einsum("kp,np->nk", W, torch.einsum("ni,nj->nij", a, b).flatten(1))
    cross = torch.linalg.cross(a, b)
    scale = float((mapped * cross).sum() / cross.square().sum())
    torch.testing.assert_close(mapped, scale * cross)
    assert abs(scale) == pytest.approx(6**-0.5)


def test_a_finite_subgroup_of_the_rotations_allows_more():
    """The turns of a cube split the traceless symmetric matrices in two; continuous turns do not."""
    B = torch.linalg.svd(torch.ones(1, 4, dtype=torch.float64)).Vh[1:]
    cube = from_matrices(S4, B @ natural(S4).matrices() @ B.mT) * sign(S4)
    assert float(torch.linalg.det(cube.matrices()).min()) == pytest.approx(1)
    assert equivariant_basis(cube * cube, cube * cube).dim == 4
    assert equivariant_basis(V3 * V3, V3 * V3).dim == 3


# Proposition 1 of arXiv:2007.02933

CONVOLUTIONS = {
    "Z5": lambda: grid_shifts(5),
    "Z2xZ3": lambda: grid_shifts((2, 3)),
    "S2": lambda: natural(symmetric(2)),
    "S3": lambda: natural(S3),
    "C4-on-a-grid": lambda: grid_rotations(3),
    "D4-on-a-grid": lambda: grid_rotations(3, flips=True),
    "D4-on-corners": lambda: natural(D4),
    "Q8": lambda: regular(Q8),
    "Q8-on-quaternions": spinor,
    "wreath": lambda: natural(wreath_product(cyclic(2), symmetric(2))),
    "wreath-72": lambda: natural(wreath_product(S3, cyclic(2))),
    "planar": lambda: planar(5, flips=True),
    "sum": lambda: natural(S3) + sign(S3),
    "not-orthogonal": lambda: skewed(natural(S3)),
    "not-orthogonal-plane": lambda: skewed(planar(3)),
}


@pytest.fixture(params=CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def pi(request):
    return request.param()


def equivariance_gap(W, pi):
    out = regular(pi.group)
    return max(float((out.act(h, W.mT).mT - W @ pi.matrix(h)).abs().max()) for h in pi.group.elements)


def test_every_filter_gives_an_equivariant_layer(pi, gen):
    U = group_convolution(pi.group, pi)
    assert U.shape == (pi.group.order * pi.dim, pi.dim)
    assert U.dtype == torch.float64
    psi = torch.randn(pi.dim, generator=gen, dtype=torch.float64)
    W = (U @ psi).reshape(pi.group.order, pi.dim)
    assert equivariance_gap(W, pi) < 1e-10
    torch.testing.assert_close(W[0], psi)  # the identity's row is the filter


def test_every_equivariant_layer_has_a_filter(pi, gen):
    U = group_convolution(pi.group, pi)
    assert torch.linalg.matrix_rank(U) == pi.dim
    basis = equivariant_basis(pi, regular(pi.group))
    assert basis.dim == pi.dim
    same_span(U, basis.matrix())
    w = basis.matrix() @ torch.randn(basis.dim, generator=gen, dtype=torch.float64)
    psi = torch.linalg.lstsq(U, w[:, None]).solution
    assert float((U @ psi - w[:, None]).norm() / w.norm()) < 1e-7


def test_a_random_layer_is_not_equivariant_and_has_no_filter(pi, gen):
    U = group_convolution(pi.group, pi)
    W = torch.randn(pi.group.order, pi.dim, generator=gen, dtype=torch.float64)
    assert equivariance_gap(W, pi) > 0.1
    w = W.reshape(-1, 1)
    assert float((U @ torch.linalg.lstsq(U, w).solution - w).norm() / w.norm()) > 0.1


def test_rows_are_the_filter_moved_by_each_element(gen):
    pi = grid_rotations(3, flips=True)
    psi = torch.randn(3, 3, generator=gen, dtype=torch.float64)
    W = (group_convolution(pi.group, pi) @ psi.flatten()).reshape(8, 3, 3)
    for g in pi.group.elements:
        f, k = divmod(g, 4)
        assert torch.equal(W[g], torch.rot90(psi.flip(-1) if f else psi, k))


def test_the_published_pattern_of_two_points():
    U = group_convolution(symmetric(2), natural(symmetric(2)))
    assert U.tolist() == [[1, 0], [0, 1], [0, 1], [1, 0]]
    a, b = 2.0, 3.0
    assert (U @ torch.tensor([a, b]).double()).reshape(2, 2).tolist() == [[a, b], [b, a]]


def test_shifts_give_circulant_layers():
    psi = torch.tensor([1.0, 2, 3, 4], dtype=torch.float64)
    W = (group_convolution(C4, natural(C4)) @ psi).reshape(4, 4)
    assert W.tolist() == [[1, 2, 3, 4], [4, 1, 2, 3], [3, 4, 1, 2], [2, 3, 4, 1]]


def test_the_matrices_themselves_do_not_serve_where_they_are_not_orthogonal(gen):
    """The step of the paper's proof that moves π(h) across the inner product needs its transposed inverse."""
    pi = skewed(natural(S3))
    psi = torch.randn(pi.dim, generator=gen, dtype=torch.float64)
    assert equivariance_gap(pi.matrices() @ psi, pi) > 0.1
    assert equivariance_gap(pi.dual().matrices() @ psi, pi) < 1e-10


def test_lie_null_spaces_do_not_depend_on_units():
    """Two commuting turns in two planes, one given in units of 1e-7."""
    J = np.array([[0.0, -1.0], [1.0, 0.0]])
    zero = np.zeros((2, 2))
    dims = []
    for unit in (1.0, 1e-7):
        matrices = np.stack([np.block([[J, zero], [zero, zero]]), unit * np.block([[zero, zero], [zero, J]])])
        rep = defining(LieAlgebra(matrices))
        dims.append(equivariant_basis(rep, rep).dim)
    assert dims == [4, 4]


def test_more_pairs_than_memory_are_refused():
    many = np.arange(20_000)[None]
    with pytest.raises(ShapeError, match="pairs are more than"):
        pair_orbits(many, many)


def test_group_convolutions_need_a_finite_group():
    with pytest.raises(ConfigError, match="finite group"):
        group_convolution(so(3), defining(so(3)))
