"""The continuous symmetries of layers against a dense null space, the Killing form, and known algebras."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from msr.errors import ConfigError, DataError, NonFiniteError, ShapeError
from msr.groups import LieAlgebra, cyclic, dihedral, quaternion, so, symmetric
from msr.representations import (
    copies,
    defining,
    direct_sum,
    equivariant_basis,
    grid_rotations,
    grid_shifts,
    natural,
    regular,
    tensor_product,
)
from msr.representations.commutant.lie_algebra import MAX_BASIS, continuous, skew_pairs
from msr.representations.commutant.spectral_gaps import skew_spectrum
from msr.span import find_span, in_chunks
from tests.msr.representations.commutant.brackets import killing_form, structure_constants


def span_of(rep_in, rep_out=None):
    """All equivariant maps, ``(k, out, in)``."""
    rep_out = rep_out or rep_in
    return equivariant_basis(rep_in, rep_out).matrix().T.reshape(-1, rep_out.dim, rep_in.dim).double()


def random_orthogonal(n, gen):
    return torch.linalg.qr(torch.randn(n, n, generator=gen, dtype=torch.float64)).Q


def skew_units(n):
    i, j = torch.triu_indices(n, n, 1)
    S = torch.zeros(len(i), n, n, dtype=torch.float64)
    S[torch.arange(len(i)), i, j], S[torch.arange(len(i)), j, i] = 1.0, -1.0
    return S


def dense_pairs(W, *, constant=False):
    """The slow twin: skew ``A`` and ``B`` as unknowns, a null space. Free where no weight is, so none may be unseen."""
    _, m, n = W.shape
    left, right = skew_units(m), skew_units(n)
    if constant:
        right = right[(right[:, -1] == 0).all(dim=1)]
    equations = torch.cat([(left[:, None] @ W).flatten(1), -(W @ right[:, None]).flatten(1)])
    _, values, rows = torch.linalg.svd(equations.mT)
    rank = int((values > 1e-9 * values[0]).sum())
    null = rows[rank:]
    A = torch.einsum("qp,pij->qij", null[:, : len(left)], left)
    return A, torch.einsum("qp,pij->qij", null[:, len(left) :], right)


def centre_and_simple_parts(A, B):
    """Dimension of the centre, and of each simple part: what an algebra of compact type is, from brackets alone.

    The commutant of the adjoint representation on the derived algebra: one number for each simple part.
    """
    c = structure_constants(A, B)
    values, vectors = torch.linalg.eigh(killing_form(c))
    assert (values < 1e-8).all()
    derived = vectors[:, values < -1e-8]
    centre = len(values) - derived.shape[1]
    size = derived.shape[1]
    if size == 0:
        return centre, []
    ad = torch.einsum("ijk,ip,jq,kr->prq", c, derived, derived, derived)
    eye = torch.eye(size, dtype=torch.float64)
    equations = torch.cat([torch.kron(eye, M.mT.contiguous()) - torch.kron(M.contiguous(), eye) for M in ad])
    _, values, rows = torch.linalg.svd(equations)
    maps = rows[int((values > 1e-8).sum()) :].reshape(-1, size, size)
    weights = torch.randn(len(maps), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    eigenvalues = torch.linalg.eigvals(torch.einsum("k,kij->ij", weights, maps)).real.sort().values
    breaks = (eigenvalues.diff() > 1e-6).nonzero().flatten() + 1
    return centre, sorted(len(run) for run in eigenvalues.tensor_split(breaks))


ZERO = (0, [])
S3, Q8 = symmetric(3), quaternion()
# Span, name, dimension of the centre, dimensions of the simple parts.
CASES = {
    "regular C2": (span_of(regular(cyclic(2))), "zero", *ZERO),
    "regular C5": (span_of(regular(cyclic(5))), "abelian, dimension 2", 2, []),
    "regular C8": (span_of(regular(cyclic(8))), "abelian, dimension 3", 3, []),
    "natural D6": (span_of(natural(dihedral(6))), "abelian, dimension 2", 2, []),
    "natural S4": (span_of(natural(symmetric(4))), "so(3)", 0, [3]),
    "natural S5": (span_of(natural(symmetric(5))), "so(4)", 0, [3, 3]),
    "natural S6": (span_of(natural(symmetric(6))), "so(5)", 0, [10]),
    "regular S3": (span_of(regular(S3)), "abelian, dimension 1", 1, []),
    "regular Q8": (span_of(regular(Q8)), "sp(1)", 0, [3]),
    "Q8 to two copies": (span_of(regular(Q8), copies(regular(Q8), 2)), "sp(1)", 0, [3]),
    "two maps of Q8": (regular(Q8).matrices()[1:5:3], "su(2) + u(1)^3", 3, [3]),
    "group of Q8, twice": (copies(regular(Q8), 2).matrices(), "sp(2) + u(1)^4", 4, [10]),
    "group of C3, twice": (copies(regular(cyclic(3)), 2).matrices(), "su(2) + u(1)^2", 2, [3]),
    "group of C3, thrice": (copies(regular(cyclic(3)), 3).matrices(), "su(3) + so(3) + u(1)", 1, [3, 8]),
    "group of turns": (grid_rotations(3).matrices(), None, None, None),
    "torus 2x3": (span_of(grid_shifts((2, 3))), "abelian, dimension 2", 2, []),
    "S3 on pairs": (span_of(tensor_product(natural(S3), natural(S3))), "abelian, dimension 1", 1, []),
    "C4 to more": (span_of(natural(cyclic(4)), copies(natural(cyclic(4)), 2)), "abelian, dimension 1", 1, []),
    "rotations": (span_of(direct_sum(defining(so(3)), defining(so(3)))), "so(3)", 0, [3]),
    "no weights shared": (torch.eye(12, dtype=torch.float64).view(12, 3, 4), "zero", *ZERO),
    "one row": (torch.eye(5, dtype=torch.float64)[:, None], "zero", *ZERO),
    "identity": (torch.eye(4, dtype=torch.float64)[None], "so(4)", 0, [3, 3]),
    "diagonal": (torch.diag_embed(torch.eye(4, dtype=torch.float64)), "zero", *ZERO),
}


@pytest.mark.parametrize("name", CASES)
def test_name_dimension_and_basis_are_those_of_the_null_space(name):
    W, said, centre, simple = CASES[name]
    W = W.double()
    found, (A, B), (A_dense, B_dense) = continuous(W), skew_pairs(W), dense_pairs(W)
    assert found.dimension == len(A) == len(B) == len(A_dense)
    assert not found.decided
    torch.testing.assert_close(A, -A.mT, atol=1e-9, rtol=0)
    torch.testing.assert_close(B, -B.mT, atol=1e-9, rtol=0)
    torch.testing.assert_close(A[:, None] @ W, W @ B[:, None], atol=1e-9, rtol=0)
    flat = B.flatten(1)
    torch.testing.assert_close(flat @ flat.mT, torch.eye(len(B), dtype=torch.float64))
    assert centre_and_simple_parts(A, B) == centre_and_simple_parts(A_dense, B_dense)
    if said is not None:
        assert found.name == said
        assert centre_and_simple_parts(A, B) == (centre, simple)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 9, 12])
def test_layers_with_shared_weights_have_a_torus_though_shifts_are_finite(n):
    found = continuous(span_of(regular(cyclic(n))))
    assert found.dimension == found.inputs.skew_dimension == (n - 1) // 2
    assert found.inputs == found.outputs
    assert found.inputs.dimension == n


def test_the_note_says_that_nothing_is_decided():
    torus, none = continuous(span_of(regular(cyclic(5)))), continuous(CASES["diagonal"][0])
    for word in ("Any linear layer", "continuous group", "pointwise nonlinearity", "permutation matrices"):
        assert word in torus.note
    assert "no continuous group" in none.note
    assert "Left out" not in torus.note + none.note


def test_structure_constants_agree_with_the_lie_algebra_class():
    A, B = skew_pairs(CASES["natural S5"][0])
    X = torch.stack([torch.block_diag(a, b) for a, b in zip(A, B, strict=True)])
    expected = torch.as_tensor(LieAlgebra(X, "g").structure_constants.copy())
    c = structure_constants(A, B)
    torch.testing.assert_close(c, expected, atol=1e-9, rtol=0)
    ad = c.permute(0, 2, 1)
    torch.testing.assert_close(killing_form(c), torch.stack([torch.stack([(x @ y).trace() for y in ad]) for x in ad]))


def test_inputs_and_outputs_without_weights_are_left_out():
    W = span_of(regular(cyclic(6)))
    wider = torch.nn.functional.pad(W, (0, 3, 0, 2))
    found, plain = continuous(wider), continuous(W)
    assert (found.dimension, found.name, found.inputs, found.outputs) == (2, plain.name, plain.inputs, plain.outputs)
    assert (
        "3 directions of the inputs that no weight sees and 2 directions of the outputs that none reaches" in found.note
    )
    A, B = skew_pairs(wider)
    assert A[:, 6:].abs().max() < 1e-12
    assert B[:, 6:].abs().max() < 1e-12


def test_a_bias_is_kept_in_place(gen):
    W = random_orthogonal(6, gen)[None, :5]
    assert continuous(W).name == "so(5)"
    found = continuous(W, constant=True)
    A, B = skew_pairs(W, constant=True)
    assert found.name == "so(4)"
    assert len(A) == found.dimension == len(dense_pairs(W, constant=True)[0])
    assert (A @ W[0, :, 5]).abs().max() < 1e-9
    assert B[:, 5].abs().max() < 1e-9


def test_without_any_bias_the_constant_input_is_unseen():
    W = span_of(regular(cyclic(6)))
    found = continuous(torch.nn.functional.pad(W, (0, 1)), constant=True)
    assert found.inputs == continuous(W).inputs
    assert "1 direction of the inputs that no weight sees" in found.note


@pytest.mark.parametrize("shape", [(3, 6, 6), (2, 4, 7), (2, 7, 4), (12, 2, 9)])
def test_random_spans_have_no_continuous_symmetry(shape, gen):
    found = continuous(torch.randn(shape, generator=gen))
    assert (found.dimension, found.name) == (0, "zero")
    assert [kind for *_, kind in found.inputs.parts] == ["real"]


def test_large_actions(gen):
    rows = torch.randn(3, 128, generator=gen, dtype=torch.float64)
    W = rows[:, (torch.arange(128) - torch.arange(128)[:, None]) % 128]
    assert continuous(W).name == "abelian, dimension 63"


def test_spans_of_many_thin_maps_need_more_than_a_few_of_them(gen):
    # Each map sees one direction; random combinations of four would see four of the twenty.
    W = torch.zeros(20, 20, 20, dtype=torch.float64)
    W[torch.arange(20), 0, torch.arange(20)] = 1
    found = continuous(W)
    assert found.inputs.parts == ((20, 1, "real"),)
    assert found.outputs.parts == ((1, 1, "real"),)


def test_noise_below_the_tolerance_changes_nothing(gen):
    W = span_of(regular(cyclic(6)))
    noisy = W + 1e-4 * torch.randn(W.shape, generator=gen, dtype=torch.float64)
    assert continuous(noisy, rtol=1e-3) == continuous(W)
    assert continuous(noisy, rtol=1e-3).rtol == 1e-3
    assert continuous(noisy, rtol=1e-8).dimension == 0


@settings(max_examples=25)
@given(st.sampled_from(sorted(CASES)), st.integers(0, 2**31))
def test_other_bases_of_inputs_outputs_and_span_change_nothing(name, seed):
    gen = torch.Generator().manual_seed(seed)
    W = CASES[name][0].double()
    k, m, n = W.shape
    # A gauge without small singular values, so that it is the span that is compared.
    gauge = random_orthogonal(k, gen) @ torch.diag(0.5 + torch.rand(k, generator=gen, dtype=torch.float64))
    turned = random_orthogonal(m, gen) @ torch.einsum("jk,kab->jab", gauge, W) @ random_orthogonal(n, gen)
    moved = W[:, torch.randperm(m, generator=gen)][:, :, torch.randperm(n, generator=gen)]
    assert continuous(turned, seed=seed) == continuous(W) == continuous(moved)


@pytest.mark.parametrize(
    ("W", "options", "error", "says"),
    [
        (torch.zeros(3, 3), {}, ShapeError, r"\(k, out, in\), at least one; got \(3, 3\)"),
        (torch.zeros(0, 3, 3), {}, ShapeError, "at least one"),
        (torch.zeros(2, 3, 3), {}, DataError, "all weights are zero"),
        (torch.full((1, 2, 3), float("inf")), {}, NonFiniteError, "nan or infinity"),
        (torch.ones(1, 2, 3), {"rtol": 2.0}, ConfigError, "at most 0.1; got 2"),
        (torch.ones(1, 2, 3), {"rtol": "gap"}, ConfigError, '"auto"; got'),
    ],
)
@pytest.mark.parametrize("function", [continuous, skew_pairs])
def test_bad_input(function, W, options, error, says):
    with pytest.raises(error, match=says):
        function(W, **options)


def test_bad_bases():
    with pytest.raises(ShapeError, match=f"at most {MAX_BASIS} inputs and outputs; got 3 and 65"):
        skew_pairs(torch.ones(1, 65, 3))
    with pytest.raises(ShapeError, match="as many A"):
        structure_constants(torch.zeros(2, 3, 3), torch.zeros(1, 3, 3))
    J = skew_units(3)[:2]
    with pytest.raises(DataError, match="leaves their span"):
        structure_constants(J, J)


def test_noise_that_no_structure_fits_is_an_error(gen):
    W = span_of(regular(cyclic(16)))
    noise = torch.randn(W.shape, generator=gen, dtype=torch.float64)
    noisy = W / W.norm() + 0.03 * noise / noise.norm()
    with pytest.raises(DataError, match="rtol"):
        continuous(noisy, rtol=0.01)


# --------------------------------------------------------------------------------------------- a tolerance from the gap


def springs(noise, gen):
    """Two unequal masses on springs of random strength in the plane, for half a unit of time: states to states."""
    strengths = 0.5 + 1.5 * torch.rand(300, 3, generator=gen, dtype=torch.float64)
    a, b, c = strengths.T
    field = torch.zeros(300, 4, 4, dtype=torch.float64)
    field[:, 0, 2], field[:, 1, 3] = 1.0, 0.5
    field[:, 2, 0], field[:, 2, 1], field[:, 3, 0], field[:, 3, 1] = -a - b, b, b, -b - c
    W = torch.kron(torch.linalg.matrix_exp(0.5 * field), torch.eye(2, dtype=torch.float64))
    x = torch.randn(300, 20, 8, generator=gen, dtype=torch.float64)
    return W, x, x @ W.mT + noise * torch.randn(300, 20, 8, generator=gen, dtype=torch.float64)


@pytest.mark.parametrize("noise", [0, 0.1])
def test_the_tolerance_of_a_learned_span_is_read_from_its_spectrum(noise, gen):
    W, x, y = springs(noise, gen)
    span = find_span(in_chunks(x, y), k=4)
    learned = span.U.mT.reshape(-1, 8, 8)
    found, exact = continuous(learned), continuous(W)
    assert found.name == exact.name == "abelian, dimension 1"
    assert found.inputs == exact.inputs
    assert found.inputs.parts == ((4, 2, "real"),)
    assert exact.rtol == 1e-6
    assert 1e-3 < found.rtol <= 0.1
    assert f"The tolerance, {found.rtol:.1g}, is from a gap in the spectrum" in found.note
    assert "tolerance" not in exact.note
    # The turn of the plane, which both masses make.
    A, B = skew_pairs(learned)
    turn = torch.block_diag(*[torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)] * 4) / 8**0.5
    for X in (A, B):
        assert abs(float((X[0] * turn).sum())) > 0.99
    # By hand, one tolerance is as wrong as another is right.
    assert continuous(learned, rtol=1e-6).name == "zero"


@pytest.mark.parametrize("noise", [1e-4, 1e-2, 3e-2])
@pytest.mark.parametrize("name", ["regular C8", "natural S5", "regular S3", "torus 2x3"])
def test_the_spectrum_of_noisy_weights_has_a_gap(name, noise, gen):
    W = CASES[name][0].double()
    W = W / W.flatten(1).norm(dim=1).mean()
    E = torch.randn(W.shape, generator=gen, dtype=torch.float64)
    found = continuous(W + noise * E / E.flatten(1).norm(dim=1).mean())
    assert found.inputs == continuous(W).inputs
    assert noise / 10 < found.rtol <= 0.1


def test_a_weak_map_of_a_span_counts_as_a_strong_one(gen):
    """Only the span matters: its first map alone sees all inputs, and is small in this basis."""
    W = torch.cat([1e-3 * random_orthogonal(6, gen)[None], torch.zeros(1, 6, 6, dtype=torch.float64)])
    W[1, 0, 0] = 1.0
    noisy = W + 1e-6 * torch.randn(W.shape, generator=gen, dtype=torch.float64)
    assert continuous(noisy).inputs.parts == continuous(W).inputs.parts


def test_many_noisy_maps_of_a_small_span_have_a_gap_as_they_are(gen):
    """An orthonormal basis of what they span is mostly noise."""
    W = torch.einsum("tk,kij->tij", torch.randn(200, 5, generator=gen).double(), CASES["regular C5"][0])
    noisy = W + 0.01 * torch.randn(W.shape, generator=gen, dtype=torch.float64)
    assert continuous(noisy).inputs == continuous(CASES["regular C5"][0]).inputs


def test_weights_like_noise_have_no_gap(gen):
    found = continuous(torch.randn(4, 6, 6, generator=gen))
    assert (found.name, found.rtol) == ("zero", 1e-6)


def test_a_gap_that_no_structure_has_is_an_error(gen):
    W = span_of(regular(Q8)).double()
    W = W / W.flatten(1).norm(dim=1).mean()
    E = torch.randn(W.shape, generator=gen, dtype=torch.float64)
    with pytest.raises(DataError, match="as many symmetries as a gap in their spectrum"):
        continuous(W + 0.04 * E / E.flatten(1).norm(dim=1).mean())


def test_the_spectrum_is_that_of_the_dense_equations(gen):
    """Against the slow twin, whose unknowns are written out; and with a constant input that stays."""
    W = torch.randn(3, 4, 5, generator=gen, dtype=torch.float64)
    for constant in (False, True):
        left, right = skew_units(4), skew_units(5)
        if constant:
            right = right[(right[:, -1] == 0).all(dim=1)]
        equations = torch.cat([(left[:, None] @ W).flatten(1), -(W @ right[:, None]).flatten(1)])
        fixed = torch.eye(5, dtype=torch.float64)[-1] if constant else None
        expected = torch.linalg.svdvals(equations).flip(0)
        torch.testing.assert_close(skew_spectrum(W, fixed), expected)


def test_large_layers_take_the_first_tolerance_that_fits(gen):
    W = span_of(regular(cyclic(48)))
    assert continuous(W).rtol == 1e-6
    one = random_orthogonal(48, gen)[None]
    found = continuous(one + 1e-6 * torch.randn(1, 48, 48, generator=gen, dtype=torch.float64))
    assert found.name == "so(48)"
    assert found.rtol > 1e-6
    assert "the least at which some structure fits" in found.note
