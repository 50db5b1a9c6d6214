"""The continuous symmetries of layers against a dense null space, the Killing form, and known algebras."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from msr.discovery.continuous import MAX_BASIS, continuous, killing_form, skew_pairs, structure_constants
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


def test_what_no_weight_sees_or_reaches_is_left_out():
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
def test_random_spans_have_none(shape, gen):
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
        (torch.zeros(3, 3), {}, ShapeError, r"\(k, out, in\), at least one; came \(3, 3\)"),
        (torch.zeros(0, 3, 3), {}, ShapeError, "at least one"),
        (torch.zeros(2, 3, 3), {}, DataError, "all weights are zero"),
        (torch.full((1, 2, 3), float("inf")), {}, NonFiniteError, "nan or infinity"),
        (torch.ones(1, 2, 3), {"rtol": 2.0}, ConfigError, "at most 0.1; came 2"),
    ],
)
@pytest.mark.parametrize("function", [continuous, skew_pairs])
def test_bad_input(function, W, options, error, says):
    with pytest.raises(error, match=says):
        function(W, **options)


def test_bad_bases():
    with pytest.raises(ShapeError, match=f"at most {MAX_BASIS} inputs and outputs; came 3 and 65"):
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
