import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from msr import kron
from msr.errors import ShapeError

sizes = st.integers(1, 4)


def numbers(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(m=sizes, n=sizes, r=sizes, s=sizes, seed=st.integers(0, 99))
def test_row_major_identity(m, n, r, s, seed):
    """vec(A V Bᵀ) = (A ⊗ B) vec(V), with ⊗ spelled out entry by entry."""
    A, B, V = numbers(seed, m, r), numbers(seed + 1, n, s), numbers(seed + 2, r, s)
    product = torch.empty(m * n, r * s, dtype=torch.float64)
    for i, j, a, b in itertools.product(range(m), range(n), range(r), range(s)):
        product[i * n + j, a * s + b] = A[i, a] * B[j, b]
    torch.testing.assert_close(kron.kron(A, B), product)
    torch.testing.assert_close(product @ kron.vec(V), kron.vec(A @ V @ B.mT))


@given(
    shape=st.lists(st.tuples(sizes, sizes), min_size=1, max_size=4),
    seed=st.integers(0, 99),
    lead=st.integers(0, 2),
)
def test_apply_factors_equals_the_kronecker_product(shape, seed, lead):
    factors = [numbers(seed + i, d, r) for i, (d, r) in enumerate(shape)]
    v = numbers(seed + 9, *[2] * lead, *[r for _, r in shape])
    dense = kron.vec(v, len(shape)) @ kron.kron(*factors).mT
    torch.testing.assert_close(kron.vec(kron.apply_factors(factors, v), len(shape)), dense)


def test_kron_takes_transposed_inputs_and_differentiates(gen):
    A = torch.randn(3, 2, generator=gen, dtype=torch.float64).mT.requires_grad_()
    B = torch.randn(4, 3, generator=gen, dtype=torch.float64).mT.requires_grad_()
    torch.autograd.gradcheck(kron.kron, (A, B))
    torch.autograd.gradcheck(lambda a, b, v: kron.apply_factors([a, b], v), (A, B, numbers(1, 3, 4).requires_grad_()))


@pytest.mark.parametrize("deficient", [False, True])
def test_solve_factors_is_the_dense_least_squares(deficient):
    A, B, C = numbers(0, 5, 3), numbers(1, 4, 2), numbers(2, 3, 3)
    if deficient:
        A[:, 2] = A[:, 0]
    W = numbers(3, 5, 4, 3)
    dense = torch.linalg.pinv(kron.kron(A, B, C)) @ kron.vec(W)
    torch.testing.assert_close(kron.vec(kron.solve_factors([A, B, C], W)), dense)


@given(
    d=st.integers(1, 6),
    r=st.integers(1, 6),
    gain=st.floats(0.01, 100),
    seed=st.integers(0, 99),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_the_shortcut_for_orthogonal_columns_is_the_pseudo_inverse(d, r, gain, seed, dtype):
    """The shortcut gives the numbers of the long way, for equal columns and for ones that only nearly are."""
    gen = torch.Generator().manual_seed(seed)
    F = torch.empty(max(d, r), min(d, r), dtype=dtype)
    torch.nn.init.orthogonal_(F, gain=gain, generator=gen)
    W = torch.randn(3, max(d, r), generator=gen, dtype=dtype)
    for off in (0, 1e-5, 1e-2):
        near = F + off * gain * torch.randn(F.shape, generator=gen, dtype=dtype)
        torch.testing.assert_close(kron.solve_factors([near], W), W @ torch.linalg.pinv(near).mT, rtol=1e-3, atol=1e-5)
        tight = {} if dtype == torch.float64 else {"rtol": 1e-4, "atol": 1e-4 / gain}
        torch.testing.assert_close(kron.solve_factors([near], W), W @ torch.linalg.pinv(near).mT, **tight)


def test_identities_and_orthogonal_factors_take_no_singular_values(monkeypatch, gen):
    called = []
    real = torch.linalg.pinv
    monkeypatch.setattr(torch.linalg, "pinv", lambda *args, **kw: called.append(1) or real(*args, **kw))
    W = torch.randn(5, 4, 3, generator=gen)
    Q = torch.linalg.qr(torch.randn(4, 2, generator=gen)).Q
    eye = torch.eye(5)
    v = kron.solve_factors([eye, 3 * Q, 2 * torch.eye(3)], W)
    torch.testing.assert_close(v, torch.einsum("abc,bd->adc", W, Q) / 6)
    for dtype in (torch.float16, torch.bfloat16):
        kron.solve_factors([eye.to(dtype)], W.movedim(0, -1).to(dtype))
    assert not called
    same = kron.solve_factors([eye], W.movedim(0, -1))
    assert same.data_ptr() != W.data_ptr()  # the caller's tensor is not handed back
    assert kron.is_identity(eye)
    for other in (eye[:, :3], eye + 1e-6, eye.flip(0), 2 * eye, torch.ones(5, 5), eye.to("meta")):
        assert not kron.is_identity(other)
    assert kron.solve_factors([torch.zeros(3, 2)], W).abs().max() == 0  # a pseudo-inverse of nothing
    assert called


def test_shortcuts_are_not_taken_under_derivatives_and_vmap(gen):
    """At an identity, the derivative of the pseudo-inverse is not that of a constant."""
    W, eye = numbers(0, 4, 3), torch.eye(3, dtype=torch.float64)
    torch.autograd.gradcheck(lambda F: kron.solve_factors([F], W), eye.clone().requires_grad_())
    direction = numbers(1, 3, 3)
    right = -W @ direction.mT  # d(F⁻¹) = −F⁻¹ dF F⁻¹
    with torch.no_grad():
        _, forward = torch.func.jvp(lambda F: kron.solve_factors([F], W), (eye,), (direction,))
    torch.testing.assert_close(forward, right)
    stack = torch.stack([eye, 2 * eye])
    each = torch.func.vmap(lambda F: kron.solve_factors([F], W))(stack)
    torch.testing.assert_close(each, torch.stack([W, W / 2]))


def test_nearest_kronecker_recovers_a_product_and_beats_neighbours(gen):
    A, B = numbers(0, 3, 2), numbers(1, 2, 4)
    a, b = kron.nearest_kronecker(kron.kron(A, B), (3, 2), (2, 4))
    torch.testing.assert_close(kron.kron(a, b), kron.kron(A, B))
    M = numbers(2, 6, 8)
    a, b = kron.nearest_kronecker(M, (3, 2), (2, 4))
    best = (M - kron.kron(a, b)).norm()
    for seed in range(20):
        other = kron.kron(a + 0.05 * numbers(seed, 3, 2), b + 0.05 * numbers(seed + 50, 2, 4))
        assert (M - other).norm() > best
    torch.testing.assert_close(a.norm(), b.norm())


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: kron.kron(), "at least one factor"),
        (lambda: kron.kron(torch.ones(3)), r"factor 0 must be a matrix.*\(3,\)"),
        (lambda: kron.apply_factors([torch.ones(2, 3)], torch.ones(2)), r"\(3,\).*got \(2,\)"),
        (lambda: kron.solve_factors([torch.ones(2, 3)], torch.ones(3)), r"\(2,\).*got \(3,\)"),
        (lambda: kron.unvec(torch.ones(5), (2, 3)), "5 entries"),
        (lambda: kron.nearest_kronecker(torch.ones(4, 4), (2, 2), (3, 2)), r"\(6, 4\).*\(4, 4\)"),
    ],
)
def test_shape_errors_say_what_was_got_and_what_fits(call, says):
    with pytest.raises(ShapeError, match=says):
        call()
