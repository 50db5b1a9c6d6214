"""Equiangular tokens: the equation, its path and its times, against tables, closed forms and particles."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from msr.errors import ConfigError, DataError, NonFiniteError
from msr.flow import AttentionFlow
from msr.flow.theory.equiangular import (
    angle_coordinate,
    cosine_of_coordinate,
    equiangular_path,
    equiangular_rate,
    equiangular_time,
    late_rate,
)

TIMES = [0.5, 1, 2, 3]
PATHS = [
    (8, 1, "sa", [0.140778, 0.362587, 0.816342, 0.970494]),
    (8, 4, "sa", [0.017593, 0.038379, 0.093652, 0.179891]),
    (32, 1, "sa", [0.047256, 0.151849, 0.589773, 0.914207]),
    (8, 1, "usa", [0.198110, 0.600585, 0.995409, 0.999980]),
]
LEVELS = {
    8: {0: 4.493, 1: 4.707, 2: 5.152, 4: 8.365, 6: 26.24, 9: 322.7},
    32: {0: 5.186, 1: 5.270, 2: 5.458, 4: 6.954, 6: 16.00, 9: 178.7},
}


@pytest.mark.parametrize(("n", "beta", "kind", "expected"), PATHS)
def test_paths_are_those_of_the_table(n, beta, kind, expected):
    assert equiangular_path(TIMES, n, beta, kind).numpy() == pytest.approx(expected, abs=5.1e-7)


@pytest.mark.parametrize(("n", "beta", "kind"), [(8, 1.0, "sa"), (5, 3.0, "sa"), (8, 1.0, "usa"), (3, -2.0, "usa")])
def test_particles_follow_the_path(n, beta, kind):
    """The other implementation: tokens as vectors. Orthogonal ones are equiangular with g = 0."""
    flow = AttentionFlow(n, beta, kind=kind)
    X = torch.eye(n, dtype=torch.float64)
    for t in (0.5, 1.0):
        moved = flow.flow(X, t, 40)
        gram = moved @ moved.mT
        others = gram[~torch.eye(n, dtype=torch.bool)]
        assert float(others.max() - others.min()) < 1e-13
        assert float(others.mean()) == pytest.approx(float(equiangular_path(t, n, beta, kind)), abs=2e-8)
    velocity = flow.velocity(X)
    pair = float(velocity[0] @ X[1] + X[0] @ velocity[1])
    assert pair == pytest.approx(float(equiangular_rate(0.0, n, beta, kind)), abs=1e-14)


@settings(max_examples=15)
@given(st.integers(2, 50), st.floats(0, 5))
def test_without_a_temperature_the_path_is_closed(n, t):
    grown = math.exp(2 * t)
    assert float(equiangular_path(t, n, 0.0)) == pytest.approx((grown - 1) / (grown + n - 1), abs=1e-14)
    assert float(equiangular_path(t, 2, 0.0, "usa")) == pytest.approx(math.tanh(t), abs=1e-14)
    # The solver, asked for a temperature as good as none, gives the same.
    assert float(equiangular_path(t, n, 1e-14)) == pytest.approx((grown - 1) / (grown + n - 1), abs=1e-10)


@pytest.mark.parametrize("n", LEVELS)
def test_times_to_a_level(n):
    for beta, expected in LEVELS[n].items():
        assert equiangular_time(n, beta) == pytest.approx(expected, rel=3e-4)
    assert float(equiangular_path(0, 8, 0.0)) == 0
    assert equiangular_time(8, 0.0) == pytest.approx(math.log((1 + 7 * 0.999) / 0.001) / 2, rel=1e-14)


@settings(max_examples=15)
@given(
    st.integers(2, 40), st.floats(-6, 6), st.sampled_from(["sa", "usa"]), st.floats(-0.9, 0.9), st.floats(0.01, 0.99)
)
def test_the_path_is_at_the_level_at_its_time(n, beta, kind, part, rise):
    """Quadrature against the solver: two ways that share no step."""
    start = part / (n - 1) if part < 0 else part
    level = start + rise * (0.9999 - start)
    time = equiangular_time(n, beta, kind, start=start, level=level)
    assert float(equiangular_path(time, n, beta, kind, start=start)) == pytest.approx(level, abs=1e-9)
    assert math.exp(equiangular_time(n, beta, kind, start=start, level=level, log=True)) == pytest.approx(time)


def test_cold_tokens_take_longer_than_any_float():
    assert equiangular_time(8, 1e4) == math.inf
    # Laplace's method at the start: 1/g'(0) over β.
    assert equiangular_time(8, 1e4, log=True) == pytest.approx(1e4 - math.log(2 * 1e4) - 0.0006, abs=1e-3)
    assert equiangular_time(8, 1e6, log=True) == pytest.approx(1e6 - math.log(2e6), abs=1e-2)
    assert equiangular_time(8, 1.0, start=0.5, level=0.5) == 0


@pytest.mark.parametrize("kind", ["sa", "usa"])
def test_the_rate_is_the_derivative_of_the_path(kind):
    h = 1e-4
    before, now, after = equiangular_path([1 - h, 1, 1 + h], 6, 2.0, kind, start=-0.1).tolist()
    assert (after - before) / (2 * h) == pytest.approx(float(equiangular_rate(now, 6, 2.0, kind)), rel=1e-6)
    g = torch.linspace(-0.1, 0.9, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda g: equiangular_rate(g, 6, 2.0, kind), g)


def test_the_rate_is_the_formula():
    g = np.linspace(-0.1, 1, 7)
    for beta in (-1.0, 0.0, 2.0):
        spread = np.exp(beta * g) * (1 - g) * (7 * g + 1)
        softmax = 2 * spread / (np.exp(beta) + 7 * np.exp(beta * g))
        np.testing.assert_allclose(equiangular_rate(g, 8, beta), softmax, atol=1e-14)
        np.testing.assert_allclose(equiangular_rate(g, 8, beta, "usa"), spread / 4, atol=1e-14)
    assert equiangular_rate(torch.tensor(0.5), 8, 1.0).dtype == torch.float32
    assert equiangular_rate([0, 1], 8, 1e5).tolist() == [0, 0]


def test_late_rates():
    for kind, expected in (("sa", 2.0), ("usa", 2 * math.e)):
        assert late_rate(1.0, kind) == pytest.approx(expected, rel=1e-15)
        early, late = (1 - equiangular_path([4.0, 5.0] if kind == "sa" else [3.0, 3.5], 8, 1.0, kind)).tolist()
        assert math.log(early / late) / (1.0 if kind == "sa" else 0.5) == pytest.approx(expected, rel=2e-2)


def test_fixed_points_stay():
    assert equiangular_path([0, 1, 9], 5, 2.0, start=1).tolist() == [1, 1, 1]
    assert equiangular_path([0, 1, 9], 5, 2.0, start=-0.25).tolist() == [-0.25] * 3


def test_times_may_come_in_any_order():
    zero, early, late = equiangular_path([0, 1, 3], 5, 2.0).tolist()
    assert equiangular_path([3, 0, 1], 5, 2.0).tolist() == [late, zero, early]


@given(st.integers(2, 1000), st.floats(-1, 1))
def test_the_coordinate_is_undone(n, part):
    g = part / (n - 1) if part < 0 else part
    assert float(cosine_of_coordinate(np.float64(angle_coordinate(g, n)), n)) == pytest.approx(g, abs=1e-13)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: equiangular_rate(0.1, 1, 1.0), ConfigError),
        (lambda: equiangular_rate(0.1, 2.0, 1.0), ConfigError),
        (lambda: equiangular_rate(0.1, True, 1.0), ConfigError),
        (lambda: equiangular_rate(-0.5, 8, 1.0), ConfigError),
        (lambda: equiangular_rate(1.1, 8, 1.0), ConfigError),
        (lambda: equiangular_rate(True, 8, 1.0), DataError),
        (lambda: equiangular_rate([], 8, 1.0), DataError),
        (lambda: equiangular_rate("0", 8, 1.0), DataError),
        (lambda: equiangular_rate(math.nan, 8, 1.0), NonFiniteError),
        (lambda: equiangular_rate(0.1, 8, math.inf), NonFiniteError),
        (lambda: equiangular_rate(0.1, 8, True), ConfigError),
        (lambda: equiangular_rate(0.1, 8, "1"), ConfigError),
        (lambda: equiangular_rate(0.1, 8, 1.0, "raw"), ConfigError),
        (lambda: equiangular_rate(0.1, 8, 1e4, "usa"), NonFiniteError),
        (lambda: equiangular_path([], 8, 1.0), DataError),
        (lambda: equiangular_path(-1, 8, 1.0), ConfigError),
        (lambda: equiangular_path(math.nan, 8, 1.0), NonFiniteError),
        (lambda: equiangular_path(1, 8, 1.0, start=2), ConfigError),
        (lambda: equiangular_time(8, 1.0, level=1.0), ConfigError),
        (lambda: equiangular_time(8, 1.0, start=0.5, level=0.4), ConfigError),
        (lambda: equiangular_time(8, 1.0, start=-1 / 7), ConfigError),
    ],
)
def test_what_is_refused(call, error):
    with pytest.raises(error):
        call()


@pytest.mark.parametrize(
    ("times", "error"), [("soon", DataError), ([1j], DataError), ([True], DataError), ([math.nan], NonFiniteError)]
)
def test_what_are_no_times(times, error):
    with pytest.raises(error, match="times"):
        equiangular_path(times, 5, 2.0)


def test_times_may_have_a_history():
    times = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    assert equiangular_path(times, 5, 2.0).tolist() == equiangular_path([1.0, 2.0], 5, 2.0).tolist()
