"""Wendel's probability, against its table, draws and its symmetry."""

from fractions import Fraction
from math import comb

import pytest
import torch

from msr.errors import ConfigError
from msr.flow import uniform_on_sphere
from msr.flow.theory.hemispheres import wendel


def test_values():
    assert wendel(5, 3) == 0.6875
    assert wendel(8, 3) == pytest.approx(0.2266, abs=5e-5)
    assert wendel(8, 4) == 0.5
    for n, d in ((1, 1), (3, 3), (3, 7)):
        assert wendel(n, d) == 1


@pytest.mark.parametrize(("n", "d"), [(9, 2), (40, 13), (300, 170)])
def test_it_is_the_sum(n, d):
    total = Fraction(sum(comb(n - 1, k) for k in range(d)), 2 ** (n - 1))
    assert wendel(n, d) == float(total)
    # Turning the points of a set about gives the other sets.
    assert wendel(n, d) + wendel(n, n - d) == pytest.approx(1, abs=1e-15)


def test_many_points():
    assert wendel(4096, 2048) == 0.5
    assert wendel(4097, 2048) == pytest.approx(wendel(4096, 2048) - comb(4095, 2047) / 2**4096, rel=1e-11)
    assert wendel(10**6, 5 * 10**5) == pytest.approx(0.5, abs=1e-9)
    assert wendel(10**5, 2) == 0


def test_draws(gen):
    """On the circle, points lie in a half where some gap between neighbours is more than half the turn."""
    X = uniform_on_sphere(5, 2, 4000, generator=gen)
    angles = torch.atan2(X[..., 1], X[..., 0]).sort(-1).values
    gaps = torch.diff(angles, append=angles[:, :1] + 2 * torch.pi)
    share = float((gaps.amax(-1) > torch.pi).to(torch.float64).mean())
    assert share == pytest.approx(wendel(5, 2), abs=4 * (0.25 / 4000) ** 0.5)


@pytest.mark.parametrize(("n", "d"), [(0, 1), (3, 0), (2.0, 1), (True, 1), (3, "2")])
def test_what_is_refused(n, d):
    with pytest.raises(ConfigError):
        wendel(n, d)
