"""E-values: their mean is at most one under their null, exactly where it can be summed, else by simulation."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from msr.statistics.betting import capped_mean_p_value, e_against_nonnegative_mean, e_against_symmetry
from msr.statistics.shares import upper_share

ALPHA = 0.05


def mean_over_two_points(e_value, low, high, chance, count):
    """The exact mean of an e-value of ``count`` numbers that are ``high`` with this chance and ``low`` else."""
    total = 0.0
    for which in itertools.product((0, 1), repeat=count):
        values = torch.tensor([(low, high)[w] for w in which], dtype=torch.float64)
        total += chance ** sum(which) * (1 - chance) ** (count - sum(which)) * e_value(values)
    return total


# ----------------------------------------------------------------------------------------------------- bounded means


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (-0.2, 1.0), (-1.0, 0.3), (-2.0, 2.0)])
def test_a_bet_on_two_points_of_mean_zero_wins_nothing_on_average(low, high):
    """Within the reach of 2 nothing is clipped, so the mean is one to the last digit."""
    mean = mean_over_two_points(lambda z: e_against_nonnegative_mean(z, 2.0), low, high, -low / (high - low), 7)
    assert mean == pytest.approx(1.0, abs=1e-12)


def test_clipping_is_on_the_safe_side():
    """Below the reach numbers count as minus the reach, and above it as the reach, which the null says."""
    below = mean_over_two_points(lambda z: e_against_nonnegative_mean(z, 1.0), -3.0, 1.0, 0.75, 7)
    assert below < 0.99
    # E min(z, 1) = 0, though the mean of z is far above zero.
    above = mean_over_two_points(lambda z: e_against_nonnegative_mean(z, 1.0), -1.0, 50.0, 0.5, 7)
    assert above == pytest.approx(1.0, abs=1e-12)


def test_a_mean_above_zero_loses_and_one_below_wins():
    loses = mean_over_two_points(lambda z: e_against_nonnegative_mean(z, 1.0), -1.0, 1.0, 0.6, 7)
    assert loses < 0.9
    wins = e_against_nonnegative_mean(torch.full((40,), -0.25, dtype=torch.float64), 1.0)
    expected = np.mean([(1 + share * 0.25) ** 40 for share in (0.1, 0.2, 0.4, 0.65, 0.95)])
    assert wins == pytest.approx(expected)
    assert wins > 1 / 0.01
    assert e_against_nonnegative_mean(torch.zeros(10, dtype=torch.float64), 1.0) == pytest.approx(1.0)


def skewed(draw, shape):
    """Exponential less a number, so that the mean is zero once it is clipped at 3."""
    level = 0.95
    for _ in range(50):
        level = 1 - math.exp(-(level + 3))
    return draw.exponential(size=shape) - level


def rare(draw, shape):
    return np.where(draw.random(shape) < 0.04, 2.4, -0.1)


@pytest.mark.parametrize("drawn", [skewed, rare, lambda draw, shape: draw.uniform(-1, 1, shape)])
def test_the_level_holds_for_skewed_numbers(drawn):
    """Student's t is wrong there: most samples of rare large numbers hold none."""
    values = torch.from_numpy(drawn(np.random.default_rng(0), (1500, 60)))
    found = np.array([e_against_nonnegative_mean(one, 3.0) for one in values])
    assert found.mean() <= 1 + 4 * found.std() / len(found) ** 0.5
    assert (found >= 1 / ALPHA).mean() <= ALPHA


def test_the_largest_number_is_no_infinity():
    sure = e_against_nonnegative_mean(torch.full((5000,), -1.0, dtype=torch.float64), 1.0)
    assert 1e300 < sure < math.inf


def test_the_bet_against_a_limit_keeps_its_level(gen):
    """At the null's boundary: a quarter of the numbers are at four times the limit, and the others are zero."""
    limit, files = 0.0025, 400
    values = (torch.rand(files, 100, generator=gen, dtype=torch.float64) < 0.25) * 4 * limit
    assert sum(capped_mean_p_value(row, limit) <= 0.05 for row in values) <= 0.05 * files
    assert capped_mean_p_value(torch.zeros(100, dtype=torch.float64), limit) < 1e-4
    assert capped_mean_p_value(torch.full((100,), limit, dtype=torch.float64), limit) > 0.5


# ---------------------------------------------------------------------------------------------------------- symmetry


def test_random_signs_win_nothing_on_average_whatever_the_sizes():
    """Sizes of Student's t of 2 degrees, whose variance is infinite: all signs, exactly."""
    for seed in range(5):
        sizes = torch.from_numpy(np.abs(np.random.default_rng(seed).standard_t(2, 9)))
        signs = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=9)), dtype=torch.float64)
        mean = np.mean([e_against_symmetry(one * sizes) for one in signs])
        assert 0.1 < mean <= 1


@pytest.mark.parametrize("count", [4, 25, 64, 400])
def test_random_signs_of_equal_sizes_win_nothing_on_average(count):
    """Exactly, by the binomial number of those above zero; with many of them every effect has its part in the mean."""
    chances = stats.binom.pmf(np.arange(count + 1), count, 0.5)
    signs = torch.ones(count, dtype=torch.float64)
    mean = sum(
        chance * e_against_symmetry(torch.where(torch.arange(count) < above, signs, -signs))
        for above, chance in enumerate(chances)
    )
    assert 0.1 < mean <= 1
    assert count < 400 or mean > 0.5


@pytest.mark.parametrize("below", [0.1, 0.5, 2.0])
def test_numbers_around_less_than_zero_win_less(below):
    assert mean_over_two_points(e_against_symmetry, -below - 1, -below + 1, 0.5, 8) < mean_over_two_points(
        e_against_symmetry, -1.0, 1.0, 0.5, 8
    )


@pytest.mark.parametrize(
    "noise",
    [
        lambda draw, shape: draw.standard_t(2, shape),
        lambda draw, shape: draw.standard_normal(shape) * np.exp(2 * draw.standard_normal(shape)),
    ],
    ids=["t2", "unequal"],
)
def test_the_level_holds_for_heavy_tails(noise):
    values = torch.from_numpy(noise(np.random.default_rng(1), (2000, 40)))
    found = np.array([e_against_symmetry(one) for one in values])
    assert found.mean() <= 1 + 4 * found.std() / len(found) ** 0.5
    assert (found >= 1 / ALPHA).mean() <= ALPHA


def test_numbers_above_zero_are_seen():
    values = torch.from_numpy(np.random.default_rng(0).standard_normal(50) + 1)
    assert e_against_symmetry(values) > 1e4
    assert e_against_symmetry(-values) < 0.01
    assert e_against_symmetry(1e6 * values) == pytest.approx(e_against_symmetry(values))
    assert e_against_symmetry(torch.zeros(5, dtype=torch.float64)) == 1.0


# --------------------------------------------------------------------------------------------------------- exceptions


@pytest.mark.parametrize(("seen", "tasks"), [(0, 40), (0, 300), (1, 40), (3, 100), (39, 40)])
def test_the_share_of_exceptions_is_where_so_few_are_as_rare_as_the_level(seen, tasks):
    most = upper_share(seen, tasks, ALPHA)
    assert stats.binom.cdf(seen, tasks, most) == pytest.approx(ALPHA)


def test_the_share_of_exceptions_at_its_ends():
    assert upper_share(0, 100, ALPHA) == pytest.approx(1 - ALPHA ** (1 / 100))
    assert upper_share(100, 100, ALPHA) == 1.0
