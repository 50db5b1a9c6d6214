"""From the evidence of tasks to the group that is named: evidence, exceptions, bounds, and the rule."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from msr.discovery.answer.candidate import Candidate
from msr.discovery.data.splits import splits
from msr.discovery.thresholds import THRESHOLDS
from msr.discovery.verdict.certification import Exceptions, upper_bound
from msr.discovery.verdict.evidence import Evidence, error_shares, least_limit, spread
from msr.discovery.verdict.rule import Proposal, decided, judged

EPS, ALPHA = 0.1, 0.01
LIMIT = EPS**2
C3, C6, S3 = [[1, 2, 0]], [[1, 2, 3, 4, 5, 0]], [[1, 2, 0], [1, 0, 2]]


def evidence(
    breaking, along=None, energy=1.0, noise=0.0, unit=1.0, shares=(0.8, 0.05, 0.05), tasks=None, beyond_linear=0.0
):
    """Of tasks that break the group by these energies; all other numbers are the same for all tasks."""
    breaking = torch.as_tensor(breaking, dtype=torch.float64)
    energy = torch.full_like(breaking, energy)
    return Evidence(
        breaking=breaking, along_pattern=breaking if along is None else torch.as_tensor(along, dtype=torch.float64),
        beyond_linear=torch.full_like(breaking, beyond_linear), energy=energy, energy_with_noise=energy, spread=noise,
        noise_spread=noise, unit=unit, noise_ratio=torch.ones_like(breaking), symmetric=True, shares=shares,
        tasks=torch.arange(len(breaking)) if tasks is None else tasks,
    )  # fmt: skip


def steady(level, count=300, noise=0.0, seed=0):
    """The same energy in every task, plus Gaussian noise."""
    draw = torch.Generator().manual_seed(seed)
    return level + noise * torch.randn(count, generator=draw, dtype=torch.float64)


def group(generators, order, exact=True, share=1.0, **more):
    moved = np.array(generators).reshape(-1, np.shape(generators)[-1])
    return Candidate(
        colours=np.zeros((moved.shape[1],) * 2, int), n_colours=1, generators_in=moved, generators_out=moved,
        order=order, residual=0.1, exact=exact, share=share, **more,
    )  # fmt: skip


# ----------------------------------------------------------------------------------------------------------- evidence


def test_groups_well_below_and_well_above_the_tolerance_are_told_apart():
    small, large = (evidence(steady(level, noise=0.002), noise=0.002) for level in (0.2 * LIMIT, 2.5 * LIMIT))
    assert small.within(LIMIT, small.cap(LIMIT)) > 1e6
    assert small.beyond(LIMIT) < 1
    assert large.beyond(LIMIT) > 1e6
    assert large.within(LIMIT, large.cap(LIMIT)) < 1


def test_each_task_is_measured_by_its_own_energy():
    """A loud task may break more; units change nothing."""
    one = evidence([0.004, 0.006], energy=0.5)
    torch.testing.assert_close(one.excess(LIMIT), torch.tensor([-0.001, 0.001]).double())
    torch.testing.assert_close(evidence([4.0, 6.0], energy=500.0, unit=1000.0).excess(LIMIT), one.excess(LIMIT))
    broken = steady(0.3 * LIMIT, noise=0.003)
    a, b = evidence(broken, noise=0.003), evidence(1e6 * broken, energy=1e6, noise=3e3, unit=1e6)
    for what in ("beyond", "not_kept", "cap"):
        assert getattr(a, what)(LIMIT) == pytest.approx(getattr(b, what)(LIMIT), rel=1e-9)
    assert a.within(LIMIT, a.cap(LIMIT)) == pytest.approx(b.within(LIMIT, b.cap(LIMIT)), rel=1e-9)


def test_an_excess_counts_up_to_the_reach():
    """One task that breaks the group wholly cannot hide that all others keep it; it is an exception."""
    broken = steady(0.0)
    broken[7] = 1.0
    one = evidence(broken)
    cap = one.cap(LIMIT)
    assert cap == pytest.approx(4 * LIMIT)
    assert one.within(LIMIT, cap) > 100
    broken[7] = 4.5 * LIMIT
    assert evidence(broken).within(LIMIT, cap) == pytest.approx(one.within(LIMIT, cap))
    # A bound at a smaller limit is of the same mean: no task counts for less.
    assert one.within(LIMIT / 10, cap) < one.within(LIMIT / 10, one.cap(LIMIT / 10))
    assert one.exceptions(LIMIT).nonzero().flatten().tolist() == [7]
    assert one.reach(LIMIT) == pytest.approx(3 * LIMIT)
    assert evidence(broken, noise=10.0, unit=2.0).reach(LIMIT) == pytest.approx(15)  # three of the noise's errors


def test_rare_tasks_that_break_much_are_part_of_the_mean():
    """Nine in ten keep the group, and the tenth breaks it as far as counts: the mean is more than the tolerance."""
    draw = np.random.default_rng(0)
    named = 0
    for _ in range(200):
        broken = np.where(draw.random(60) < 0.26, 4 * LIMIT + 1e-9, 0.0)  # E min(b − limit, 3 limit) = 0.04 limit
        named += evidence(broken).within(LIMIT, 4 * LIMIT) >= 1 / 0.05
    assert named <= 0.05 * 200


def test_less_than_a_twentieth_of_the_tolerance_is_kept():
    exact = THRESHOLDS().kept_share
    assert exact == 1 / 20
    for level, seen in ((0.9 * exact**2, False), (1.5 * exact**2, True)):
        one = evidence(steady(level * LIMIT))
        assert (one.not_kept(LIMIT) > 1 / ALPHA) is seen
    noisy = evidence(steady(0.0, noise=0.01), noise=0.01)
    assert noisy.not_kept(LIMIT) < 1 / ALPHA


def test_breaking_along_the_learned_directions_alone_is_enough_to_see_it():
    noise, calm = steady(0.0, noise=0.05), steady(0.0005, noise=0.0005)
    assert evidence(noise, along=calm).not_kept(LIMIT) > 1 / ALPHA
    assert evidence(noise, along=noise).not_kept(LIMIT) < 1 / ALPHA


def test_few_exceptions_do_not_break_a_group_for_the_others():
    """Up to one in twenty; with more of them all tasks speak."""
    for count, seen in ((12, False), (30, True)):
        broken = steady(0.0, noise=1e-6)
        broken[:count] = 0.5
        one = evidence(broken, noise=1e-6)
        assert (one.not_kept(LIMIT) > 1 / ALPHA) is seen, count


def test_an_exception_stands_out_from_the_noise():
    broken = torch.tensor([0.0, 0.03, 0.05, 0.5])
    assert evidence(broken).exceptions(LIMIT).tolist() == [False, False, True, True]  # three times the limit beyond it
    assert evidence(broken, noise=0.02).exceptions(LIMIT).tolist() == [False, False, False, True]


def test_exceptions_are_listed_by_their_original_places():
    broken = steady(0.0, count=100)
    broken[[3, 10]] = 0.5
    tasks = torch.arange(200).flip(0)[:100]
    original = torch.arange(200) * 2
    exceptions = Exceptions.of(evidence(broken, tasks=tasks), LIMIT, ALPHA, original)
    assert exceptions.places == (2 * (199 - 10), 2 * (199 - 3))
    assert exceptions.n_tasks == 100
    assert stats.binom.cdf(2, 100, exceptions.at_most) == pytest.approx(ALPHA)
    assert exceptions.breaking == pytest.approx(2 * EPS)
    assert exceptions.rare
    # Where noise is large, only what is beyond it can be seen.
    noisy = Exceptions.of(evidence(broken, noise=0.02), LIMIT, ALPHA, original)
    assert noisy.breaking == pytest.approx(math.sqrt(LIMIT + 11 * 0.02))


@pytest.mark.parametrize(("count", "rare"), [(0, True), (5, True), (6, False)])
def test_one_in_twenty_may_be_exceptions(count, rare):
    broken = steady(0.0, count=100)
    broken[:count] = 0.5
    assert Exceptions.of(evidence(broken), LIMIT, ALPHA, torch.arange(100)).rare is rare


def test_the_upper_bound_is_the_least_limit_that_a_bet_shows():
    values, energy = steady(0.004, noise=0.001), torch.full((300,), 2.0, dtype=torch.float64)
    bound = upper_bound(values, energy, 0.01)
    assert 0.002 < bound < 0.0035
    assert upper_bound(values, energy, 0.001) > bound
    assert upper_bound(steady(3.0), energy, 0.01) == 1.0  # nothing is shown
    assert upper_bound(values[:3], energy[:3], 0.01) == 1.0


def test_the_least_limit_is_found_to_three_digits():
    assert least_limit(lambda at: at >= 0.0123) == pytest.approx(0.0123, rel=1e-3)
    assert least_limit(lambda at: True) == 1e-9
    assert least_limit(lambda at: False) == 1.0


def test_a_few_large_values_do_not_change_the_spread():
    values = torch.randn(2001, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values[:40], values[40:60] = 1e6, torch.inf
    assert spread(values) == pytest.approx(1.0, rel=0.1)
    assert spread(torch.full((4,), torch.inf)) == torch.inf


@pytest.mark.parametrize(("count", "preferred"), [(1, True), (1, False), (5, True), (7, False)])
def test_the_shares_of_the_error_rate_add_up_to_three_quarters_at_most(count, preferred):
    shares = error_shares(count, preferred)
    assert len(shares) == count
    assert sum(map(sum, shares)) <= 0.75 + 1e-12
    assert min(map(min, shares)) > 0
    if preferred:
        assert shares[0][0] == pytest.approx(0.6)


# --------------------------------------------------------------------------------------------------- over all splits


@pytest.mark.parametrize(
    ("level", "status", "broken"),
    [(0.0, "within", False), (0.01, "within", True), (0.9, "open", True), (1.1, "open", True), (3.0, "beyond", True)],
)
def test_the_status_of_a_group(level, status, broken):
    (one,) = judged([[Proposal(group(C3, 3), evidence(steady(level * LIMIT, 150, 1e-4), noise=1e-4))]], 1, EPS, ALPHA)
    assert (one.status, one.seen_broken) == (status, broken)
    assert one.breaking == pytest.approx(level * LIMIT, abs=1e-4)
    assert one.low <= max(one.breaking, 1e-9) <= one.high
    assert (one.high <= LIMIT) == (one.p_within <= ALPHA) == (status == "within")
    assert (one.low >= LIMIT) == (one.p_beyond <= ALPHA) == (status == "beyond")
    assert (one.p_not_kept <= ALPHA) is broken


def test_groups_with_equal_orbitals_are_merged_and_sorted_by_order():
    kept = evidence(steady(0.0))
    trials = [
        [Proposal(group(S3, 6), kept), Proposal(group(C3, 3, exact=False), kept)],
        [Proposal(group([[2, 0, 1]], 3), kept)],  # the other generator of C3
    ]
    cyclic, symmetric = judged(trials, 2, EPS, ALPHA)
    assert (cyclic.order, symmetric.order) == (3, 6)
    assert cyclic.exact  # in one of the splits
    # S3 has orbitals of its own, and only one split of two tested it.
    assert symmetric.p_within == pytest.approx(2 * cyclic.p_within, rel=1e-6)


def test_planned_splits_that_were_not_made_count_as_zero():
    one = Proposal(group(C3, 3), evidence(steady(0.3 * LIMIT, 40)))
    p = [judged([[one]], planned, EPS, ALPHA)[0].p_within for planned in (1, 4)]
    assert p[1] == pytest.approx(4 * p[0])
    all_made = judged([[one]] * 4, 4, EPS, ALPHA)[0]
    assert all_made.p_within == pytest.approx(p[0])


def test_a_smaller_share_of_the_error_rate_gives_a_larger_p_value():
    values = steady(0.3 * LIMIT, 40)
    p = [
        judged([[Proposal(group(C3, 3), evidence(values, shares=(share, 0.1, 0.1)))]], 1, EPS, ALPHA)[0].p_within
        for share in (0.8, 0.1)
    ]
    assert p[1] == pytest.approx(8 * p[0])


def test_all_claims_together_keep_the_level():
    """Three groups at the edge of the tolerance, each in two splits: any claim within is wrong."""
    draw, wrong, alpha = np.random.default_rng(0), 0, 0.1
    groups = [group(C3, 3), group(S3, 6), group([[1, 0, 2]], 2)]
    for _ in range(60):
        trials = []
        for split in range(2):
            shares = error_shares(3, bool(split))
            # E min(b − limit, 3 limit) = 0.
            values = np.where(draw.random((3, 60)) < 0.25, 4 * LIMIT, 0.0)
            trials.append([
                Proposal(one, evidence(v, shares=s)) for one, v, s in zip(groups, values, shares, strict=True)
            ])  # fmt: skip
        wrong += any(c.status == "within" for c in judged(trials, 2, EPS, alpha))
    assert wrong <= 0.1 * 60


# ----------------------------------------------------------------------------------------------------------- the rule


def trivial(candidate):
    """Here, groups of order 2 are those that every layer has."""
    return candidate.order == 2


def test_the_largest_group_within_the_tolerance_and_not_seen_broken_is_named():
    small, large = group(C3, 3, status="within"), group(S3, 6, status="within")
    assert decided([small, large], trivial).named is large
    assert decided([small, group(S3, 6, status="within", seen_broken=True)], trivial).named is small
    assert decided([small, group(S3, 6, status="beyond")], trivial).named is small
    assert decided([small, group(S3, 6, status="beyond")], trivial).open == ()


def test_a_larger_open_group_forbids_the_name_unless_it_is_seen_broken():
    small, large = group(C3, 3, status="within"), group(S3, 6, status="open")
    decision = decided([small, large], trivial)
    assert (decision.named, decision.open) == (small, (large,))
    assert decided([small, group(S3, 6, status="open", seen_broken=True)], trivial).open == ()
    smaller = group(C3, 3, status="open")
    assert decided([smaller, group(S3, 6, status="within")], trivial).open == ()
    assert decided([smaller], trivial).open == (smaller,)


def test_trivial_groups_and_groups_of_weak_weights_are_not_named():
    assert decided([group([[1, 0, 2]], 2, status="within")], trivial).named is None
    weak = group(C3, 3, exact=False, share=0.3, status="within")
    assert decided([weak], trivial).named is None
    strong = group(C3, 3, exact=False, share=0.6, status="within")
    assert decided([strong], trivial).named is strong
    assert decided([group(C3, 3, exact=True, share=0.3, status="within")], trivial).named is not None
    assert decided([], trivial).named is None


# ------------------------------------------------------------------------------------------------------------- splits


@pytest.mark.parametrize("count", [80, 83, 400, 3000])
def test_some_tasks_teach_and_all_others_test(count):
    found = splits(count, None, seed=3)
    assert len(found) == 4
    for split in found:
        assert torch.equal(split.order.sort().values, torch.arange(count))
        assert min(split.sizes) >= 40
        # Where few teach nothing, more do; but some always test.
        assert split.sizes == tuple(sorted(set(split.sizes)))
        assert split.sizes[-1] == max(40, int(0.6 * count))
    assert min(split.sizes[0] for split in found) == max(40, min(int(0.15 * count), 120))
    assert not torch.equal(found[0].order, found[2].order)
    assert torch.equal(found[0].order, splits(count, None, seed=3)[0].order)
    assert not torch.equal(found[0].order, splits(count, None, seed=4)[0].order)


def test_fresh_tasks_test_and_the_others_teach():
    fresh = torch.arange(100) % 4 == 1
    (split,) = splits(100, fresh, seed=0)
    assert split.sizes == (75,)
    assert torch.equal(split.order[75:], torch.arange(1, 100, 4))
    assert not fresh[split.order[:75]].any()


def test_the_residual_of_a_linear_layer_forbids_within_but_does_not_show_breaking():
    kept = steady(0.0, noise=0.001)
    assert evidence(kept).within(LIMIT, 0.0) > 1 / ALPHA
    nonlinear = evidence(kept, beyond_linear=2 * LIMIT)
    assert nonlinear.within(LIMIT, 0.0) < 1
    assert nonlinear.beyond(LIMIT) < 1
    assert nonlinear.not_kept(LIMIT) < 1 / ALPHA
