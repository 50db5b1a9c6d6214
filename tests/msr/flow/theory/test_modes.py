"""Waves on the uniform sphere: rates against tokens on a ring and quadrature, and the table of fastest degrees."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import eval_gegenbauer, iv

from msr.errors import ConfigError, DataError, NonFiniteError
from msr.flow import AttentionFlow
from msr.flow.theory.modes import mode_number, mode_rates

BETAS = [1, 2, 4, 9, 16, 25, 49, 100]
TABLE = {
    2: [1, 2, 3, 4, 6, 7, 10, 14],
    3: [1, 2, 2, 4, 5, 7, 9, 14],
    4: [1, 1, 2, 3, 5, 6, 9, 13],
}


@pytest.mark.parametrize("d", TABLE)
def test_the_fastest_degree(d):
    assert [mode_number(beta, d) for beta in BETAS] == TABLE[d]


@pytest.mark.parametrize("kind", ["sa", "usa"])
def test_rates_are_the_formulas(kind):
    k = np.arange(1, 9)
    for beta in (0.7, 4.0, 30.0):
        factor = 1 if kind == "usa" else iv(0, beta)
        np.testing.assert_allclose(mode_rates(k, beta, 2, kind), k**2 * iv(k, beta) / beta / factor, rtol=1e-12)


@pytest.mark.parametrize("beta", [4.0, 16.0, 100.0])
@pytest.mark.parametrize("kind", ["sa", "usa"])
def test_a_ring_of_tokens_grows_so(beta, kind):
    """The derivative of the flow itself at a ring of 512 tokens, along a wave of the angles."""
    n = 512
    angles = 2 * math.pi / n * torch.arange(n, dtype=torch.float64)
    X = torch.stack([angles.cos(), angles.sin()], 1)
    across = torch.stack([-angles.sin(), angles.cos()], 1)
    flow = AttentionFlow(2, beta, kind=kind)
    degrees = sorted({1, 2, mode_number(beta, 2), int(2 * math.sqrt(beta))})
    h = 1e-5
    scale = 1.0 if kind == "sa" else math.exp(-beta)
    for k, rate in zip(degrees, mode_rates(degrees, beta, 2, kind).tolist(), strict=True):
        wave = torch.cos(k * angles)
        speeds = [
            (flow.velocity(X * torch.cos(s * h * wave)[:, None] + across * torch.sin(s * h * wave)[:, None]))
            for s in (1, -1)
        ]
        # Along the tangent of the moved token, which differs from that of the ring in second order only.
        growth = float((((speeds[0] - speeds[1]) / (2 * h) * across).sum(1) * wave).sum() / (wave**2).sum())
        assert growth * scale == pytest.approx(rate * scale, rel=1e-6)


@pytest.mark.parametrize("d", [2, 3, 4, 7])
def test_factors_are_integrals_over_the_sphere(d):
    """Funk-Hecke: the mean of e^{βt} times the normalised Gegenbauer polynomial, under the law of a coordinate."""
    beta = 2.5

    def polynomial(k, angle):
        if d == 2:
            return math.cos(k * angle)
        return eval_gegenbauer(k, d / 2 - 1, math.cos(angle)) / eval_gegenbauer(k, d / 2 - 1, 1.0)

    def mean(f):
        """By the angle to the pole, in which the law has no singular ends."""
        return quad(lambda a: f(a) * math.sin(a) ** (d - 2), 0, math.pi)[0]

    total = mean(lambda a: 1.0)
    base = mean(lambda a: math.exp(beta * math.cos(a))) / total
    for k in (1, 2, 5):
        factor = mean(lambda a, k=k: math.exp(beta * math.cos(a)) * polynomial(k, a)) / total
        expected = k * (k + d - 2) * factor / beta
        assert float(mode_rates([k], beta, d, "usa")) == pytest.approx(expected, rel=1e-9)
        assert float(mode_rates([k], beta, d, "sa")) == pytest.approx(expected / base, rel=1e-9)


@given(st.floats(1e-3, 300), st.integers(2, 400), st.integers(1, 60))
def test_signs_and_series(beta, d, k):
    rate = float(mode_rates([k], beta, d))
    assert rate >= 0
    assert float(mode_rates([k], -beta, d)) == (-rate if k % 2 == 0 else rate)
    if rate > 1e-300:
        assert float(mode_rates([k], beta, d, log=True)) == pytest.approx(math.log(rate), abs=1e-9)


def test_series_and_bessel_functions_agree(monkeypatch):
    k = np.arange(1, 40)
    direct = mode_rates(k, 7.0, 5, log=True)
    monkeypatch.setattr("msr.flow.theory.modes._SMALLEST", math.inf)
    np.testing.assert_allclose(mode_rates(k, 7.0, 5, log=True), direct, atol=1e-12)


def test_extremes():
    for d in (2, 5):
        assert mode_rates([0, 1, 2], 0.0, d, "usa").tolist() == pytest.approx([0, (d - 1) / d, 0], abs=1e-15)
        assert mode_rates([1], 1e-9, d, "usa").tolist() == pytest.approx([(d - 1) / d], abs=1e-9)
    assert float(mode_rates([1], 1.0, 5000)) == pytest.approx(1, abs=1e-3)
    assert mode_number(1e6, 2) == pytest.approx(math.sqrt(2e6), rel=1e-3)
    assert mode_number(0, 3) == 1
    assert math.isfinite(float(mode_rates([100], 1e5, 2, "usa", log=True)))
    with pytest.raises(NonFiniteError, match="log=True"):
        mode_rates([100], 1e5, 2, "usa")


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: mode_rates([1.0], 1.0, 2), ConfigError),
        (lambda: mode_rates([True], 1.0, 2), ConfigError),
        (lambda: mode_rates([-1], 1.0, 2), ConfigError),
        (lambda: mode_rates(np.zeros(0, int), 1.0, 2), ConfigError),
        (lambda: mode_rates([1], 1.0, 1), ConfigError),
        (lambda: mode_rates([1], math.nan, 2), NonFiniteError),
        (lambda: mode_rates("1", 1.0, 2), DataError),
        (lambda: mode_number(-1.0, 2), ConfigError),
    ],
)
def test_what_is_refused(call, error):
    with pytest.raises(error):
        call()


def by_ratios(beta, d):
    """The slow twin: rates relative to each other by the continued fraction of ``I_{v+1} / I_v``."""
    ratio = 0.0
    ratios = []
    most = int(3 * math.sqrt(2 * beta)) + 4
    for k in range(int(40 * math.sqrt(beta)) + 200, 0, -1):
        ratio = 1 / (2 * (k + d / 2 - 1) / beta + ratio)
        ratios.append(ratio)
    k = np.arange(1, most + 1)
    return 1 + int(np.argmax(np.log(k * (k + d - 2.0)) + np.cumsum(np.log(ratios[::-1][:most]))))


@pytest.mark.parametrize("d", [2, 3])
def test_the_fastest_degree_at_huge_temperatures(d):
    # e^β beside the rates would cost the digits in which degrees differ, 1 part in β.
    for beta in (25.0, 1e8):
        assert mode_number(beta, d) == by_ratios(beta, d)


def test_temperatures_beyond_bessel_functions_are_refused():
    for call in (lambda: mode_number(1e10, 2), lambda: mode_rates([1], -1e10, 2)):
        with pytest.raises(ConfigError, match="1e\\+09"):
            call()
    with pytest.raises(DataError, match="the series"):
        mode_rates([10**8], 1e9, 2, log=True)
