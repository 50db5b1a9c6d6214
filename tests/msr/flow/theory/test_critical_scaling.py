"""Attention over many tokens: the critical curve, its limits, and how many tokens are looked at."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from msr.errors import ConfigError, DataError, NonFiniteError
from msr.flow import AttentionFlow, on_sphere, uniform_on_sphere
from msr.flow.theory.critical_scaling import critical_cosine, critical_exponent, critical_limit, inverse_participation


def test_values():
    gamma = critical_exponent(0.5)
    assert gamma == 2
    curve = critical_cosine([10, 100, 1000, 1e12, 1e300], 0.5, gamma)
    assert curve.numpy() == pytest.approx([0.82766, 0.80280, 0.80028, 0.8, 0.8], abs=5e-6)
    assert critical_cosine(10**8, 0.5, [2.2, 1.8]).numpy() == pytest.approx([0.573, 0.982], abs=5e-4)
    assert critical_cosine(np.array([[10.0], [100.0]]), 0.5, [1.0, 2.0, 3.0]).shape == (2, 3)


@given(st.integers(2, 10**6), st.floats(0, 0.99))
def test_the_value_at_the_critical_exponent(n, rho):
    expected = ((n - 1) * (4 * n - 3) * rho + 3 * n - 2) / (n * n + n - 1 + (3 * n - 2) * (n - 1) * rho)
    assert float(critical_cosine(n, rho, critical_exponent(rho))) == pytest.approx(expected, rel=1e-10)


@settings(max_examples=15)
@given(st.integers(2, 12), st.floats(0, 1), st.floats(0, 6))
def test_one_step_of_attention(n, part, gamma):
    """The slow twin: tokens as vectors, one step of the attention of the flow."""
    low = -1 / (n - 1)
    rho = low + 0.02 + part * (0.97 - low)
    gram = np.full((n, n), rho) + (1 - rho) * np.eye(n)
    X = torch.from_numpy(np.linalg.cholesky(gram))
    weights = AttentionFlow(n, gamma * math.log(n)).attention(on_sphere(X))
    means = on_sphere(weights @ X)
    assert float(critical_cosine(n, rho, gamma)) == pytest.approx(float(means[0] @ means[1]), abs=1e-9)


@pytest.mark.parametrize("rho", [0.0, 0.2, 0.9])
def test_limits(rho):
    critical = 0.5 if rho == 0 else critical_exponent(rho)
    for gamma in (0, critical / 2, critical, 2 * critical):
        far = float(critical_cosine(1e300, rho, gamma))
        assert far == pytest.approx(critical_limit(rho, gamma), abs=1e-12 if gamma else 1e-9)
    assert critical_limit(0.5, 2) == 0.8
    assert float(critical_cosine(1000.0, rho, 1e9)) == pytest.approx(rho, abs=1e-12)


@pytest.mark.parametrize(("d", "scale", "low", "high"), [(3, 0.3, 3.7, 4.1), (3, 3.0, 1.2, 1.35), (4, 3.0, 1.4, 1.75)])
def test_participation_is_flat_at_the_critical_temperature(gen, d, scale, low, high):
    """β ~ n^{2/(d−1)}: how many of n random keys a query looks at does not depend on n."""
    for n in (100, 1000):
        keys = uniform_on_sphere(n, d, generator=gen)
        queries = uniform_on_sphere(1500, d, generator=gen)
        weights = torch.softmax(scale * n ** (2 / (d - 1)) * queries @ keys.mT, -1)
        assert low < float(inverse_participation(weights).mean()) < high


def test_participation():
    assert inverse_participation([1, 1, 1, 1]) == 4
    assert inverse_participation([[1e-300, 0], [1e300, 1e300]]).tolist() == [1, 2]
    x = torch.rand(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(inverse_participation, x)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: critical_cosine(1, 0.5, 2), ConfigError),
        (lambda: critical_cosine(10, 1.5, 2), ConfigError),
        (lambda: critical_cosine(10, -0.5, 2), ConfigError),
        (lambda: critical_cosine(10, 0.5, -2), ConfigError),
        (lambda: critical_cosine(10, math.nan, 2), NonFiniteError),
        (lambda: critical_cosine(math.inf, 0.5, 2), NonFiniteError),
        (lambda: critical_cosine(True, 0.5, 2), DataError),
        (lambda: critical_exponent(1), ConfigError),
        (lambda: critical_limit(0.5, -1), ConfigError),
        (lambda: inverse_participation([0, 0]), DataError),
        (lambda: inverse_participation([-1, 2]), DataError),
        (lambda: inverse_participation(2.0), DataError),
        (lambda: inverse_participation([]), DataError),
    ],
)
def test_what_is_refused(call, error):
    with pytest.raises(error):
        call()


def test_tokens_whose_means_are_zero_have_no_cosine():
    with pytest.raises(DataError, match="no cosine"):
        critical_cosine(2, -1.0, 0.0)
