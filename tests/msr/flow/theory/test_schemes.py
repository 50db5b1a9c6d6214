"""Normalisation as speed: six schemes on equiangular tokens, against the table and particles."""

import math

import numpy as np
import pytest
import torch

from msr.errors import ConfigError, DataError, NonFiniteError
from msr.flow import AttentionFlow, on_sphere
from msr.flow.theory.equiangular import equiangular_path, equiangular_rate
from msr.flow.theory.passages import solved
from msr.flow.theory.schemes import SCHEMES, SchemePath, late_decay, scheme_path, scheme_rate

TIMES = [0.5, 1, 2, 3]
TABLE = {
    "post": [0.08464, 0.24687, 0.72172, 0.95050],
    "pre": [0.07995, 0.21301, 0.54882, 0.77048],
    "mix": [0.08464, 0.24687, 0.64635, 0.84294],
    "peri": [0.28348, 0.53692, 0.79234, 0.88877],
    "ngpt": [0.32963, 0.66838, 0.94662, 0.99259],
    "sqrt": [0.06952, 0.16155, 0.37071, 0.54882],
}


@pytest.mark.parametrize("norm", SCHEMES)
def test_paths_are_those_of_the_table(norm):
    path = scheme_path(TIMES, 16, 1.0, norm)
    assert path.cosines.numpy() == pytest.approx(TABLE[norm], abs=5.1e-6)
    assert path.scheme == norm
    if norm in ("post", "ngpt"):
        assert path.radii.tolist() == [1] * 4


@pytest.mark.parametrize("norm", SCHEMES)
@pytest.mark.parametrize("kind", ["sa", "usa"])
def test_particles_follow_the_path(norm, kind):
    n, beta, radius = 6, 1.3, 1.0 if norm in ("post", "ngpt", "mix") else 1.7
    flow = AttentionFlow(n, beta, norm=norm, kind=kind, tau=0.5 if norm == "mix" else None)
    X = radius * torch.eye(n, dtype=torch.float64)
    # In two halves, so that the particles' steps do not cross the change of mix either.
    moved = flow.flow(flow.flow(X, 0.5, 20), 0.5, 20, start=0.5)
    path = scheme_path([1.0], n, beta, norm, radius=radius, tau=0.5, kind=kind)
    directions = on_sphere(moved)
    assert float(directions[0] @ directions[1]) == pytest.approx(float(path.cosines), abs=1e-7)
    assert float(moved[0].norm()) == pytest.approx(float(path.radii), abs=1e-7)


@pytest.mark.parametrize("norm", SCHEMES)
def test_the_rate_is_the_derivative_of_the_path(norm):
    h, t = 1e-4, 1.2
    path = scheme_path([t - h, t, t + h], 7, 2.0, norm, start=0.1, radius=1.5)
    before, now, after = path.cosines.tolist()
    smaller, radius, larger = path.radii.tolist()
    g_rate, r_rate = scheme_rate(now, 7, 2.0, norm, radius=radius, t=t)
    assert float(g_rate) == pytest.approx((after - before) / (2 * h), rel=1e-6)
    assert float(r_rate) == pytest.approx((larger - smaller) / (2 * h), rel=1e-6, abs=1e-9)
    g = torch.tensor([0.0, 0.3, 0.8], dtype=torch.float64, requires_grad=True)
    r = torch.tensor([1.0, 1.5, 2.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda g, r: scheme_rate(g, 7, 2.0, norm, radius=r, t=t), (g, r))


def test_post_is_the_equiangular_flow():
    g = torch.linspace(-0.1, 1, 6, dtype=torch.float64)
    for kind in ("sa", "usa"):
        torch.testing.assert_close(scheme_rate(g, 8, 2.0, "post", kind=kind)[0], equiangular_rate(g, 8, 2.0, kind))
    torch.testing.assert_close(scheme_path(TIMES, 8, 2.0, "post").cosines, equiangular_path(TIMES, 8, 2.0))


def test_sqrt_is_pre_on_another_clock():
    """∫ dt / √(1+t) = 2 (√(1+t) − 1)."""
    times = torch.tensor([0.3, 1.0, 8.0], dtype=torch.float64)
    slow = scheme_path(times, 9, 2.0, "sqrt")
    fast = scheme_path(2 * (torch.sqrt(1 + times) - 1), 9, 2.0, "pre")
    torch.testing.assert_close(slow.cosines, fast.cosines, atol=1e-10, rtol=0)
    torch.testing.assert_close(slow.radii, fast.radii, atol=1e-10, rtol=0)


def test_mix_is_post_and_then_pre():
    path = scheme_path([0.4, 1.0, 2.0], 9, 2.0, "mix", tau=1.0)
    torch.testing.assert_close(path.cosines[:2], equiangular_path([0.4, 1.0], 9, 2.0))
    after = scheme_path([1.0], 9, 2.0, "pre", start=float(path.cosines[1]))
    assert float(path.cosines[2]) == pytest.approx(float(after.cosines), abs=1e-11)
    torch.testing.assert_close(
        scheme_path(TIMES, 9, 2.0, "mix", tau=0).cosines, scheme_path(TIMES, 9, 2.0, "pre").cosines
    )
    assert float(scheme_rate(0.2, 9, 2.0, "mix", t=0.9)[1]) == 0 < float(scheme_rate(0.2, 9, 2.0, "mix", t=1.0)[1])


def test_a_solver_does_not_step_over_a_jump():
    """The rates of ``mix`` jump at τ; without a stop there the error is a hundred times as large."""

    def rates(t, y):
        return [y[0] * (1.0 if t < 0.7 else -50.0)]

    path = solved(rates, [1.0], np.array([0.7, 0.71, 0.2]), stops=[0.7])[:, 0]
    np.testing.assert_allclose(path, np.exp([0.7, 0.2, 0.2]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("norm", SCHEMES)
def test_late_decay(norm):
    law, exponent = late_decay(norm)
    times = [6.0, 7.0] if law == "exponential" else [4e3, 8e3]
    early, late = (1 - scheme_path(times, 6, 1.0, norm).cosines).tolist()
    found = math.log(early / late) / (1.0 if law == "exponential" else math.log(2))
    assert found == pytest.approx(exponent, rel=2e-2)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: scheme_rate(0.1, 8, 1.0, "none"), ConfigError),
        (lambda: scheme_rate(0.1, 8, 1.0, "pre", radius=0.0), ConfigError),
        (lambda: scheme_rate(0.1, 8, 1.0, "sqrt", t=-1.0), ConfigError),
        (lambda: scheme_rate(0.1, 8, 1.0, "mix", tau=-1.0), ConfigError),
        (lambda: scheme_rate(-0.9, 8, 1.0, "pre"), ConfigError),
        (lambda: scheme_rate(math.nan, 8, 1.0, "pre"), NonFiniteError),
        (lambda: scheme_rate(False, 8, 1.0, "pre"), DataError),
        (lambda: scheme_path(1.0, 8, 1.0, "pre", start=1.0), ConfigError),
        (lambda: scheme_path(1.0, 8, 1.0, "pre", radius=-1.0), ConfigError),
        (lambda: scheme_path(1.0, 1, 1.0, "pre"), ConfigError),
        (lambda: late_decay("layer"), ConfigError),
        (lambda: SchemePath("pre", torch.ones(1), torch.ones(1), torch.zeros(1)), DataError),
    ],
)
def test_what_is_refused(call, error):
    with pytest.raises(error):
        call()


def test_a_mean_of_zero_is_refused_where_it_divides():
    for norm in ("peri", "ngpt"):
        with pytest.raises(NonFiniteError, match="by which"):
            scheme_rate(-1.0, 2, 0.0, norm)
    assert float(scheme_rate(-1.0, 2, 0.0, "pre")[0]) == 0


def test_rates_under_a_transform_of_torch():
    g = torch.tensor([0.1, 0.2], dtype=torch.float64)
    for norm in SCHEMES:
        mapped = torch.vmap(lambda value, norm=norm: scheme_rate(value, 4, 1.0, norm)[0])(g)
        torch.testing.assert_close(mapped, scheme_rate(g, 4, 1.0, norm)[0])
