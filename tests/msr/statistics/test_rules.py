"""Rules of certification against exact computation, and their level at the boundary of the null hypothesis."""

import math

import pytest
import torch
from scipy import stats

from msr.errors import ConfigError, NonFiniteError
from msr.statistics import Mean, Tail, ZeroFailure, draws_needed


@pytest.mark.parametrize(("n", "k"), [(59, 0), (64, 0), (64, 1), (200, 3), (10, 10), (10, 0)])
def test_the_tail_rule_is_the_exact_binomial_test(n, k):
    defects = torch.cat([torch.ones(k), torch.zeros(n - k)])
    outcome = Tail(0.05).judge(defects, 0.5, 0.05)
    at_most = sum(math.comb(n, i) * 0.05**i * 0.95 ** (n - i) for i in range(k + 1))
    at_least = sum(math.comb(n, i) * 0.05**i * 0.95 ** (n - i) for i in range(k, n + 1))
    assert outcome.p_value == pytest.approx(at_most)
    assert outcome.p_refute == pytest.approx(at_least)
    assert outcome.estimate == pytest.approx(k / n)
    if k < n:  # at the bound, k or fewer failures have probability alpha
        assert stats.binom.cdf(k, n, outcome.bound) == pytest.approx(0.05)
    assert (outcome.p_value <= 0.05) == (outcome.bound <= 0.05 + 1e-12)


def test_zero_failures_need_59_draws():
    assert [draws_needed(0.05, eta) for eta in (0.05, 0.01, 0.001)] == [59, 299, 2995]
    for n in (58, 59):
        outcome = ZeroFailure(0.05).judge(torch.zeros(n), 0.1, 0.05)
        assert outcome.p_value == pytest.approx(0.95**n)
        assert outcome.verdict(0.05) == ("certified" if n == 59 else "cannot tell")
        assert bool(outcome.hint) == (n == 58)
    one_failure = torch.tensor([0.0] * 499 + [0.2])
    assert ZeroFailure(0.05).judge(one_failure, 0.1, 0.05).verdict(0.05) == "cannot tell"
    assert Tail(0.05).judge(one_failure, 0.1, 0.05).verdict(0.05) == "certified"


def test_a_defect_of_exactly_eps_is_no_failure():
    assert Tail(0.05).judge(torch.full((64,), 0.25), 0.25, 0.05).estimate == 0


def test_the_mean_rule_is_the_bernstein_bound(gen):
    defects = 0.1 * torch.rand(64, generator=gen, dtype=torch.float64)
    outcome = Mean().judge(defects, 0.1, 0.05)
    log, n = math.log(2 / 0.05), 64
    expected = defects.mean() + (2 * defects.var() * log / n).sqrt() + 7 * 0.2 * log / (3 * (n - 1))
    assert outcome.bound == pytest.approx(float(expected))
    # The p-value is the level at which the bound reaches eps.
    at_p_value = Mean().judge(defects, 0.1, outcome.p_value)
    assert at_p_value.bound == pytest.approx(0.1)
    assert Mean().judge(torch.full((64,), 0.2), 0.1, 0.05).verdict(0.05) == "refuted"
    assert Mean().judge(torch.full((64,), 0.1), 0.1, 0.05).verdict(0.05) == "cannot tell"
    assert Mean().judge(torch.full((64,), 0.05), 0.1, 0.05).verdict(0.05) == "certified"


def test_the_cap_makes_the_range_follow_the_tolerance():
    nearly_all_small = torch.cat([torch.full((63,), 0.01), torch.tensor([1.4])])
    assert Mean().judge(nearly_all_small, 0.1, 0.05).estimate == pytest.approx((63 * 0.01 + 0.2) / 64)
    uncapped = Mean(cap=math.inf).judge(torch.zeros(64), 0.1, 0.05)
    assert uncapped.verdict(0.05) == "cannot tell"
    assert "too few draws" in uncapped.hint
    assert Mean(cap=math.inf).judge(torch.zeros(200), 0.1, 0.05).verdict(0.05) == "certified"


@pytest.mark.parametrize("rule", [Tail(0.05), ZeroFailure(0.05)], ids=lambda r: r.name)
def test_no_tail_rule_certifies_the_boundary_more_than_alpha(rule, gen):
    runs, n = 4000, 100
    failures = (torch.rand(runs, n, generator=gen) < 0.05).double()
    wrong = sum(rule.judge(row, 0.5, 0.05).verdict(0.05) == "certified" for row in failures) / runs
    assert wrong <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / runs)


def test_the_mean_rule_holds_its_level_on_skewed_defects(gen):
    runs, n, eps = 2000, 64, 0.1
    shapes = {
        "two points": 0.2 * (torch.rand(runs, n, generator=gen) < 0.5).double(),
        "mostly small": torch.where(torch.rand(runs, n, generator=gen) < 0.05, 0.2, 0.09473684),
    }
    for name, draws in shapes.items():
        wrong = sum(Mean().judge(row, eps, 0.05).verdict(0.05) == "certified" for row in draws) / runs
        assert wrong <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / runs), name


def test_nan_never_certifies():
    for rule in (Tail(0.05), ZeroFailure(0.05)):
        with pytest.raises(NonFiniteError, match="must not read as a pass"):
            rule.judge(torch.full((64,), math.nan), 0.1, 0.05)
        with pytest.raises(ConfigError, match="at least one"):
            rule.judge(torch.zeros(0), 0.1, 0.05)
    with pytest.raises(NonFiniteError):
        Mean().judge(torch.full((64,), math.inf), 0.1, 0.05)
