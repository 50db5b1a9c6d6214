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
        (lambda: kron.apply_factors([torch.ones(2, 3)], torch.ones(2)), r"\(3,\).*came \(2,\)"),
        (lambda: kron.solve_factors([torch.ones(2, 3)], torch.ones(3)), r"\(2,\).*came \(3,\)"),
        (lambda: kron.unvec(torch.ones(5), (2, 3)), "5 entries"),
        (lambda: kron.nearest_kronecker(torch.ones(4, 4), (2, 2), (3, 2)), r"\(6, 4\).*\(4, 4\)"),
    ],
)
def test_shape_errors_say_what_came_and_what_fits(call, says):
    with pytest.raises(ShapeError, match=says):
        call()
