"""Windows of a signal: what is natural is a valid correlation, and no group says so."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from msr.category.linear import linear_transformations
from msr.category.squares.naturality import naturality_error
from msr.category.squares.windows import window_category
from msr.errors import ConfigError, DataError, NonFiniteError
from msr.kron import kron


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_category_is_what_it_says():
    found = window_category([2, 4])
    C = found.category
    assert C.hom_count.tolist() == [[1, 3], [0, 1]]
    assert found.moves[C.hom(0, 1)].ravel().tolist() == [0, 1, 2]
    chain = window_category([1, 2, 4])
    for g, f in itertools.product(range(chain.category.n_mor), repeat=2):
        h = chain.category.comp[g, f]
        if h >= 0:
            assert (chain.moves[h] == chain.moves[g] + chain.moves[f]).all()
    plane = window_category([(1, 2), (3, 3)])
    assert plane.category.hom_count.tolist() == [[1, 6], [0, 1]]
    assert plane.moves[plane.category.hom(0, 1)].tolist() == [[a, b] for a in range(3) for b in range(2)]


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("lengths", [(3, 4), (3, 5, 6), (4, 7), (6, 3)], ids=str)
def test_what_is_natural_is_a_valid_correlation(lengths, k):
    """Dimension k for any two or more lengths."""
    found = window_category(lengths)
    S, T = found.signals(), found.signals(k)
    assert T.dims.tolist() == [n - k + 1 for n in lengths]
    solved = linear_transformations(S, T)
    assert solved.dim == k
    kernels = [found.correlation(row) for row in torch.eye(k)]
    flat = torch.stack([torch.cat([part.flatten() for part in kernel]) for kernel in kernels])
    basis = torch.stack([torch.cat([part[i].flatten() for part in solved.components]) for i in range(k)])
    assert torch.linalg.matrix_rank(torch.cat([flat, basis])) == k


@pytest.mark.parametrize(("length", "k", "dim"), [(3, 3, 3), (2, 2, 2), (4, 3, 8), (5, 2, 20), (4, 1, 16)])
def test_a_single_length_says_nothing_unless_it_is_that_of_the_filter(length, k, dim):
    alone = window_category([length])
    assert linear_transformations(alone.signals(), alone.signals(k)).dim == dim == length * (length - k + 1)


@settings(max_examples=8)
@given(seed=st.integers(0, 1000), k=st.integers(1, 3))
def test_components_are_torchs_own_correlation_and_a_broken_one_is_seen(seed, k):
    found = window_category([4, 6])
    kernel = numbers(k, seed=seed)
    components = list(found.correlation(kernel))
    for n, matrix in zip((4, 6), components, strict=True):
        x = numbers(5, n, seed=seed + 1)
        torch.testing.assert_close(x @ matrix.mT, functional.conv1d(x[:, None], kernel[None, None])[:, 0])
    S, T = found.signals(), found.signals(k)
    assert naturality_error(S, T, components).largest < 1e-12
    components[1] = components[1].clone()
    components[1][1, 1] += 0.5
    assert naturality_error(S, T, components).largest > 1e-2


def test_planes():
    found = window_category([(3, 3), (4, 3), (4, 5)])
    kernel = numbers(2, 3)
    components = found.correlation(kernel)
    for size, matrix in zip(found.sizes, components, strict=True):
        x = numbers(4, *size)
        expected = functional.conv2d(x[:, None], kernel[None, None]).flatten(1)
        torch.testing.assert_close(x.flatten(1) @ matrix.mT, expected)
    S, T = found.signals(), found.signals((2, 3))
    assert naturality_error(S, T, components).largest < 1e-12
    assert linear_transformations(S, T).dim == 6
    assert linear_transformations(S, found.signals(2)).dim == 4
    # Windows of one width only know nothing of moves along it.
    assert linear_transformations(*(window_category([(2, 2), (3, 2)]).signals(t) for t in (1, (2, 1)))).dim == 2 * 2 * 2


def test_a_function_is_natural_between_signals_where_it_looks_around_only():
    found = window_category([3, 5])
    local = lambda x: (x[:, :-2] * x[:, 2:]).sin()  # noqa: E731
    everywhere = lambda x: x[:, :-2] - x.mean(1, keepdim=True)  # noqa: E731
    data = [numbers(20, n, seed=n) for n in (3, 5)]
    S, T = found.signals(), found.signals(3)
    assert naturality_error(S, T, [local] * 2, data=data).largest < 1e-12
    assert naturality_error(S, T, [everywhere] * 2, data=data).largest > 0.1


@pytest.mark.parametrize(("n", "k"), [(4, 2), (5, 2), (5, 3), (7, 3)])
def test_no_group_does_it(n, k):
    """Pairs with W A = B W for every valid W are common scalars; for k = 1 any A = B."""

    def pairs(k):
        weights = [window_category([n]).correlation(row)[0] for row in torch.eye(k)]
        m = n - k + 1
        # vec(W A) − vec(B W) = (W ⊗ I) vec(A) − (I ⊗ Wᵀ) vec(B), row by row.
        rows = torch.cat(
            [torch.cat([kron(W, torch.eye(n).double()), -kron(torch.eye(m).double(), W.mT)], dim=1) for W in weights]
        )
        return n**2 + m**2 - int(torch.linalg.matrix_rank(rows))

    assert pairs(k) == 1
    assert pairs(1) == n**2
    weights = [window_category([n]).correlation(row)[0].numpy() for row in torch.eye(k)]
    if n <= 5:
        kept = [
            (p, q)
            for p in itertools.permutations(range(n))
            for q in itertools.permutations(range(n - k + 1))
            if all((W[np.ix_(q, p)] == W).all() for W in weights)
        ]
        assert kept == [(tuple(range(n)), tuple(range(n - k + 1)))]


def test_a_circular_layer_is_that_of_a_group():
    """The control: there permutation pairs are the turns."""
    n = 4
    weights = [np.roll(np.eye(n), t, axis=1) for t in range(2)]
    kept = sum(
        all((W[np.ix_(q, p)] == W).all() for W in weights)
        for p in itertools.permutations(range(n))
        for q in itertools.permutations(range(n))
    )
    assert kept == n


def test_what_does_not_fit_is_named():
    found = window_category([3, 5])
    for call, error, says in [
        (lambda: window_category([]), ConfigError, "different sizes"),
        (lambda: window_category([0, 2]), ConfigError, "different sizes, 1 or more"),
        (lambda: window_category([2, 2]), ConfigError, "got 2, 2"),
        (lambda: window_category([2, (2, 3)]), ConfigError, "along the same axes"),
        (lambda: found.signals(4), ConfigError, "do not fit into each of the windows 3, 5"),
        (lambda: found.signals(0), ConfigError, "do not fit"),
        (lambda: found.signals((1, 1)), ConfigError, "do not fit"),
        (lambda: found.correlation(torch.ones(2, 2)), ConfigError, "do not fit"),
        (lambda: found.correlation([1.0, torch.nan]), NonFiniteError, "kernel holds nan"),
        (lambda: window_category([1, 10**6]), DataError, "memory"),
    ]:
        with pytest.raises(error, match=says):
            call()


def test_sizes_are_whole_numbers_of_any_library():
    assert window_category(np.array([2, 3])).sizes == ((2,), (3,))
    assert window_category([4]).signals(np.int64(2)).dims.tolist() == [3]
    for sizes in ([2.5], [(2.5, 2)], ["4"], [None]):
        with pytest.raises(ConfigError, match="windows are whole numbers"):
            window_category(sizes)
    for taps in (1.5, (1.5,), None):
        with pytest.raises(ConfigError, match="taps are whole numbers"):
            window_category([4]).signals(taps)
