"""Two clusters: the equation for any masses, and the time in which they merge."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from msr.errors import ConfigError, NonFiniteError
from msr.flow import AttentionFlow
from msr.flow.theory.equiangular import equiangular_time
from msr.flow.theory.two_clusters import merging_time, two_cluster_path, two_cluster_rate

ORTHOGONAL = {1: 4.271, 2: 5.163, 4: 10.831, 6: 39.163, 9: 466.711}
FAR = {4: 61.32, 6: 793.7, 9: 4.87e4}


def test_merging_times_are_those_of_the_table():
    for beta, expected in ORTHOGONAL.items():
        assert merging_time(beta) == pytest.approx(expected, abs=6e-4)
    for beta, expected in FAR.items():
        assert merging_time(beta, start=-0.5) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("beta", [0.5, 4.0])
def test_merging_times_are_the_integral(beta):
    """The slow twin: the formula as it stands, in g."""
    time, _ = quad(lambda g: (1 + math.exp(beta * (1 - g))) / (2 * (1 - g * g)), 0, 0.999, epsabs=0, epsrel=1e-11)
    assert merging_time(beta) == pytest.approx(time, rel=1e-9)


@settings(max_examples=15)
@given(
    st.floats(-6, 6), st.floats(0.01, 0.99), st.sampled_from(["sa", "usa"]), st.floats(-0.9, 0.9), st.floats(0.01, 0.99)
)
def test_the_path_is_at_the_level_at_its_time(beta, mass, kind, start, rise):
    level = start + rise * (0.9999 - start)
    time = merging_time(beta, mass, kind, start=start, level=level)
    assert float(two_cluster_path(time, beta, mass, kind, start=start)) == pytest.approx(level, abs=1e-9)


def test_cold_clusters_live_longer_than_any_float():
    for start in (0.0, -0.5):
        about = 1e4 * (1 - start) - math.log(2 * 1e4 * (1 - start**2))
        assert merging_time(1e4, start=start, log=True) == pytest.approx(about, abs=1e-3)
        assert merging_time(1e4, start=start) == math.inf
    # 1/(1 − g²) is flat at 0, so the next term is of order β^{−2}.
    assert merging_time(40.0) == pytest.approx(math.exp(40) / 80, rel=2e-3)


@pytest.mark.parametrize(("first", "second"), [(3, 5), (1, 7)])
@pytest.mark.parametrize("kind", ["sa", "usa"])
def test_particles_follow_the_path(first, second, kind):
    start = -0.3
    a = torch.tensor([1.0, 0.0], dtype=torch.float64)
    b = torch.tensor([start, math.sqrt(1 - start**2)], dtype=torch.float64)
    X = torch.stack([a] * first + [b] * second)
    beta = 1.5
    moved = AttentionFlow(2, beta, kind=kind).flow(X, 1.0, 80)
    expected = two_cluster_path(1.0, beta, first / (first + second), kind, start=start)
    assert float(moved[0] @ moved[-1]) == pytest.approx(float(expected), abs=1e-8)


def test_two_equal_clusters_are_two_tokens():
    for beta in (0.0, 3.0):
        assert merging_time(beta) == pytest.approx(equiangular_time(2, beta), rel=1e-12)


def test_the_rate_is_the_formula():
    g = np.linspace(-1, 1, 9)
    for beta, a in ((-1.0, 0.3), (2.0, 0.8)):
        e, c = np.exp(beta), np.exp(beta * g)
        softmax = (1 - g**2) * c * ((1 - a) / (a * e + (1 - a) * c) + a / ((1 - a) * e + a * c))
        np.testing.assert_allclose(two_cluster_rate(g, beta, a), softmax, atol=1e-14)
        np.testing.assert_allclose(two_cluster_rate(g, beta, a, "usa"), (1 - g**2) * c, atol=1e-14)
    x = torch.linspace(-0.9, 0.9, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: two_cluster_rate(x, 2.0, 0.3), x)
    assert two_cluster_path([0, 5], 1.0, start=-1).tolist() == [-1, -1]


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: two_cluster_rate(0.1, 1.0, 0.0), ConfigError),
        (lambda: two_cluster_rate(0.1, 1.0, 1), ConfigError),
        (lambda: two_cluster_rate(-1.1, 1.0), ConfigError),
        (lambda: two_cluster_rate(0.1, 1e4, kind="usa"), NonFiniteError),
        (lambda: two_cluster_path(1.0, 1.0, start=1.5), ConfigError),
        (lambda: merging_time(math.nan), NonFiniteError),
        (lambda: merging_time(1.0, start=-1), ConfigError),
        (lambda: merging_time(1.0, level=1), ConfigError),
        (lambda: merging_time(1.0, kind="softmax"), ConfigError),
    ],
)
def test_what_is_refused(call, error):
    with pytest.raises(error):
        call()
