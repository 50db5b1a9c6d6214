"""The structure of a commutant against a dense null space, and against what representation theory says."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from msr.errors import ConfigError, DataError, NonFiniteError, ShapeError
from msr.groups import cyclic, dihedral, direct_product, quaternion, symmetric
from msr.representations import (
    copies,
    direct_sum,
    equivariant_basis,
    grid_rotations,
    grid_shifts,
    natural,
    planar,
    regular,
    tensor_product,
    trivial,
)
from msr.representations.commutant.isotypic import commutant, isotypic, transposed_products

REAL, COMPLEX, QUATERNIONIC = "real", "complex", "quaternionic"


def random_orthogonal(n, gen):
    return torch.linalg.qr(torch.randn(n, n, generator=gen, dtype=torch.float64)).Q


def circulants(n, count, gen, *, even=False):
    """Random maps that commute with the shifts of n points; with the reflection too, if they are to be even."""
    rows = torch.randn(count, n, generator=gen, dtype=torch.float64)
    if even:
        rows = rows + rows.flip(1).roll(1, 1)
    return rows[:, (torch.arange(n) - torch.arange(n)[:, None]) % n]


def span_of(rep_in, rep_out=None):
    """All equivariant maps, ``(k, out, in)``."""
    rep_out = rep_out or rep_in
    return equivariant_basis(rep_in, rep_out).matrix().T.reshape(-1, rep_out.dim, rep_in.dim)


def dense_dimension(matrices):
    """The slow twin: unknowns ``A``, equations ``A M = M A`` and ``A Mᵀ = Mᵀ A``, a null space."""
    eye = torch.eye(matrices.shape[1], dtype=torch.float64)
    both = torch.cat([matrices, matrices.mT]).double()
    equations = torch.cat([torch.kron(eye, M.mT.contiguous()) - torch.kron(M.contiguous(), eye) for M in both])
    values = torch.linalg.svdvals(equations)
    return int((values <= 1e-9 * max(float(values[0]), 1.0)).sum())


def anticommuting(count):
    """Symmetric matrices with square 1 that anticommute: combinations of them have two eigenvalues only."""
    x, z, e = (torch.tensor(m, dtype=torch.float64) for m in ([[0, 1], [1, 0]], [[1, 0], [0, -1]], [[1, 0], [0, 1]]))
    found = []
    for k in range(count):
        M = torch.ones(1, 1, dtype=torch.float64)
        for factor in [z] * k + [x] + [e] * (count - 1 - k):
            M = torch.kron(M, factor)
        found.append(M)
    return torch.stack(found)


PRODUCT = direct_product(cyclic(3), cyclic(4))
CASES = {
    "regular C1": (regular(cyclic(1)), ((1, 1, REAL),)),
    "regular C5": (regular(cyclic(5)), ((1, 1, REAL), (2, 1, COMPLEX), (2, 1, COMPLEX))),
    "regular C6": (regular(cyclic(6)), ((1, 1, REAL), (1, 1, REAL), (2, 1, COMPLEX), (2, 1, COMPLEX))),
    "natural S4": (natural(symmetric(4)), ((1, 1, REAL), (3, 1, REAL))),
    "natural D5": (natural(dihedral(5)), ((1, 1, REAL), (2, 1, REAL), (2, 1, REAL))),
    "regular S3": (regular(symmetric(3)), ((1, 1, REAL), (1, 1, REAL), (2, 2, REAL))),
    "regular Q8": (regular(quaternion()), (*[(1, 1, REAL)] * 4, (4, 1, QUATERNIONIC))),
    "two regular Q8": (copies(regular(quaternion()), 2), (*[(1, 2, REAL)] * 4, (4, 2, QUATERNIONIC))),
    "turns of a grid": (grid_rotations(4), ((1, 4, REAL), (1, 4, REAL), (2, 4, COMPLEX))),
    "turns, odd grid": (grid_rotations(3), ((1, 2, REAL), (1, 3, REAL), (2, 2, COMPLEX))),
    "turns and flips": (grid_rotations(3, flips=True), ((1, 1, REAL), (1, 3, REAL), (1, 1, REAL), (2, 2, REAL))),
    "torus 3x3": (grid_shifts((3, 3)), ((1, 1, REAL), *[(2, 1, COMPLEX)] * 4)),
    "C3 x C4": (regular(PRODUCT), ((1, 1, REAL), (1, 1, REAL), *[(2, 1, COMPLEX)] * 5)),
    "S3 on pairs": (tensor_product(*[natural(symmetric(3))] * 2), ((1, 1, REAL), (1, 2, REAL), (2, 3, REAL))),
    "mixed": (direct_sum(planar(5), trivial(cyclic(5), 3), regular(cyclic(5))), None),
}
FIELDS = {REAL: 1, COMPLEX: 2, QUATERNIONIC: 4}


@pytest.mark.parametrize(("rep", "parts"), CASES.values(), ids=CASES)
def test_parts_are_those_of_the_representation(rep, parts):
    matrices = rep.matrices()
    found = commutant(matrices)
    assert found.dimension == dense_dimension(matrices) == len(span_of(rep))
    assert sum(d * m for d, m, _ in found.parts) == rep.dim
    assert found.dimension == sum(m * m * FIELDS[kind] for _, m, kind in found.parts)
    if parts is not None:
        assert found.parts == tuple(sorted(parts))


@pytest.mark.parametrize("name", ["regular C6", "natural D5", "regular Q8", "two regular Q8", "torus 3x3"])
def test_the_commutant_of_the_commutant_swaps_dimension_and_multiplicity(name):
    rep, parts = CASES[name]
    swapped = tuple(sorted((m * FIELDS[kind], d // FIELDS[kind], kind) for d, m, kind in parts))
    assert commutant(span_of(rep)).parts == swapped


@pytest.mark.parametrize("n", [3, 4, 6, 7, 12])
def test_what_commutes_with_all_equivariant_maps_has_the_dimension_of_the_groups_span(n):
    assert commutant(span_of(natural(cyclic(n)))).dimension == n
    assert commutant(span_of(natural(dihedral(n)))).dimension == (2 * n - 2 if n % 2 == 0 else 2 * n - 1)
    points = 2 * torch.eye(n, dtype=torch.float64)[None] + torch.ones(1, n, n, dtype=torch.float64)
    assert commutant(points).dimension == (n - 1) ** 2 + 1


@pytest.mark.parametrize(("n", "even"), [(64, False), (65, True), (256, False), (256, True)])
def test_large_actions(n, even, gen):
    W = circulants(n, 3, gen, even=even)
    for outputs in (False, True):
        found = commutant(transposed_products(W, gen, outputs=outputs))
        assert found.dimension == ((2 * n - 2 if n % 2 == 0 else 2 * n - 1) if even else n)
        assert found.skew_dimension == (n - 1) // 2
        assert {kind for *_, kind in found.parts} == ({REAL} if even else {REAL, COMPLEX})


def test_each_seed_gives_the_same_structure(gen):
    matrices = transposed_products(circulants(48, 3, gen), gen, outputs=False)
    assert {commutant(matrices, seed=seed).parts for seed in range(10)} == {commutant(matrices).parts}


def test_eigenvalues_that_coincide_are_told_apart(gen):
    # Of 101 levels some are closer than this tolerance: only the blocks of other elements tell them apart.
    matrices = transposed_products(circulants(200, 3, gen), gen, outputs=False)
    assert commutant(matrices, rtol=1e-4).dimension == 200


@pytest.mark.parametrize(
    ("count", "parts"),
    [
        (2, ((2, 2, REAL),)),
        (3, ((4, 2, COMPLEX),)),
        (4, ((8, 2, QUATERNIONIC),)),
        (5, ((8, 2, QUATERNIONIC),) * 2),
        (6, ((16, 4, QUATERNIONIC),)),
        (7, ((16, 8, COMPLEX),)),
    ],
)
def test_clifford_algebras(count, parts):
    """Every combination has two eigenvalues only, and a few of them generate less than all of them do."""
    assert commutant(anticommuting(count)).parts == parts


def test_one_nilpotent_matrix_and_its_transpose_generate_everything():
    assert commutant(torch.diag(torch.ones(7), 1)[None]).parts == ((8, 1, REAL),)


def test_random_matrices_commute_with_numbers_alone(gen):
    found = commutant(torch.randn(2, 9, 9, generator=gen, dtype=torch.float64))
    assert found.parts == ((9, 1, REAL),)
    assert (found.dimension, found.skew_dimension) == (1, 0)


def test_zero_commutes_with_all():
    assert commutant(torch.zeros(1, 4, 4)).parts == ((1, 4, REAL),)


@pytest.mark.parametrize("name", ["regular Q8", "two regular Q8", "turns of a grid", "regular S3"])
def test_frames_carry_the_commutant_and_the_algebra(name, gen):
    matrices = CASES[name][0].matrices()
    parts = isotypic(matrices)
    for part in parts:
        w = part.frames.shape[2]
        S = part.commuting(torch.randn(w, w, generator=gen, dtype=torch.float64).numpy())
        A = torch.from_numpy(part.placed(S))
        assert A.norm() > 0.1
        torch.testing.assert_close(A @ matrices, matrices @ A, atol=1e-9, rtol=0)
    whole = torch.cat([torch.from_numpy(q) for part in parts for q in part.frames], dim=1)
    torch.testing.assert_close(whole.mT @ whole, torch.eye(len(whole), dtype=torch.float64))


def test_products_of_a_rectangular_span_commute_with_either_side(gen):
    rep_in, rep_out = regular(cyclic(6)), copies(natural(cyclic(6)), 2)
    W = span_of(rep_in, rep_out)
    for rep, outputs in ((rep_in, False), (rep_out, True)):
        M = transposed_products(W, gen, outputs=outputs, count=5)
        rho = rep.matrices()[:, None]
        assert M.shape == (5, rep.dim, rep.dim)
        torch.testing.assert_close(rho @ M, M @ rho)


def test_products_are_the_sums_that_the_formula_says(gen):
    W = torch.randn(3, 4, 5, generator=gen)
    state = gen.get_state()
    (found,) = transposed_products(W, gen, outputs=False, count=1)
    c = torch.randn(3, 3, generator=gen.set_state(state), dtype=torch.float64)
    torch.testing.assert_close(found, torch.einsum("ij,iab,jac->bc", c, W.double(), W.double()))


@pytest.mark.parametrize("even", [False, True])
def test_noise_below_the_tolerance_changes_nothing(even, gen):
    n = 10
    exact = transposed_products(circulants(n, 6, gen, even=even), gen, outputs=False)
    noise = torch.randn(exact.shape, generator=gen, dtype=torch.float64)
    noisy = exact + 1e-4 * exact.norm() / noise.norm() * noise
    assert commutant(noisy, rtol=1e-3).parts == commutant(exact).parts
    assert commutant(noisy, rtol=1e-9).dimension == 1


@settings(max_examples=30)
@given(st.sampled_from(sorted(CASES)), st.integers(0, 2**31))
def test_a_change_of_orthonormal_basis_changes_nothing(name, seed):
    gen = torch.Generator().manual_seed(seed)
    matrices = CASES[name][0].matrices()
    Q = random_orthogonal(matrices.shape[1], gen)
    assert commutant(Q @ matrices @ Q.mT, seed=seed) == commutant(matrices)


@given(st.integers(2, 4), st.integers(1, 3), st.sampled_from([REAL, COMPLEX]), st.integers(0, 2**31))
def test_planted_parts_are_found(size, multiplicity, kind, seed):
    """Random matrices over the field, each as many times as planted, beside a random part of multiplicity one."""
    gen = torch.Generator().manual_seed(seed)
    planted = []
    for _ in range(2):
        x = torch.randn(2, size, size, generator=gen, dtype=torch.float64)
        M = x[0] if kind == REAL else torch.cat([torch.cat([x[0], -x[1]], 1), torch.cat([x[1], x[0]], 1)])
        other = torch.randn(3, 3, generator=gen, dtype=torch.float64)
        planted.append(torch.block_diag(*[M] * multiplicity, other))
    Q = random_orthogonal(len(planted[0]), gen)
    M = Q @ torch.stack(planted) @ Q.mT
    field = FIELDS[kind]
    assert commutant(M, seed=seed).parts == tuple(sorted([(size * field, multiplicity, kind), (3, 1, REAL)]))


@pytest.mark.parametrize(
    ("matrices", "rtol", "error", "says"),
    [
        (torch.zeros(3, 3), 1e-6, ShapeError, r"\(r, d, d\), at least one.*got \(3, 3\)"),
        (torch.zeros(1, 3, 4), 1e-6, ShapeError, r"got \(1, 3, 4\)"),
        (torch.zeros(0, 3, 3), 1e-6, ShapeError, "at least one"),
        (torch.full((1, 2, 2), float("nan")), 1e-6, NonFiniteError, "nan or infinity"),
        (torch.eye(2)[None], 0.0, ConfigError, "rtol.*got 0"),
        (torch.eye(2)[None], 0.5, ConfigError, "rtol.*at most 0.1"),
    ],
)
def test_bad_input(matrices, rtol, error, says):
    with pytest.raises(error, match=says):
        commutant(matrices, rtol=rtol)


def test_noise_that_no_structure_fits_is_an_error(gen):
    exact = transposed_products(circulants(16, 6, gen), gen, outputs=False)
    noise = torch.randn(exact.shape, generator=gen, dtype=torch.float64)
    with pytest.raises(DataError, match=r"rtol=0\.05.*noise"):
        commutant(exact + 0.3 * exact.norm() / noise.norm() * noise, rtol=0.05)
