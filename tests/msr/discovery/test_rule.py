"""From what tasks say of groups to the one that is named: evidence, exceptions, bounds, and the rule."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from msr.discovery.answer.claims import Candidate
from msr.discovery.data.intake import FEWEST
from msr.discovery.data.splits import splits
from msr.discovery.verdict.evidence import EXACT, Evidence, Exceptions, bound, least, spread, weights
from msr.discovery.verdict.rule import Proposal, decided, judged

EPS, ALPHA = 0.1, 0.01
LIMIT = EPS**2
C3, C6, S3 = [[1, 2, 0]], [[1, 2, 3, 4, 5, 0]], [[1, 2, 0], [1, 0, 2]]


def evidence(broken, along=None, energy=1.0, noise=0.0, unit=1.0, shares=(0.8, 0.05, 0.05), tasks=None, left=0.0):
    broken = torch.as_tensor(broken, dtype=torch.float64)
    energy = torch.full_like(broken, energy)
    return Evidence(
        broken=broken, along=broken if along is None else torch.as_tensor(along, dtype=torch.float64),
        left=torch.full_like(broken, left), energy=energy, whole=energy, spread=noise, noise=noise,
        unit=unit, loudness=torch.ones_like(broken), symmetric=True, shares=shares,
        tasks=torch.arange(len(broken)) if tasks is None else tasks,
    )  # fmt: skip


def steady(level, count=300, noise=0.0, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return level + noise * torch.randn(count, generator=draw, dtype=torch.float64)


def group(generators, order, exact=True, share=1.0, **more):
    moved = np.array(generators).reshape(-1, np.shape(generators)[-1])
    return Candidate(
        colours=np.zeros((moved.shape[1],) * 2, int), n_colours=1, generators_in=moved, generators_out=moved,
        order=order, residual=0.1, exact=exact, share=share, **more,
    )  # fmt: skip


# ----------------------------------------------------------------------------------------------------------- evidence


def test_what_breaks_a_group_less_or_more_than_the_tolerance_is_told():
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


def test_a_task_counts_up_to_the_reach():
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


def test_a_mean_that_rare_large_tasks_make_is_not_within():
    """Nine in ten keep the group, and the tenth breaks it as far as counts: the mean is more than the tolerance."""
    draw = np.random.default_rng(0)
    named = 0
    for _ in range(200):
        broken = np.where(draw.random(60) < 0.26, 4 * LIMIT + 1e-9, 0.0)  # E min(b − limit, 3 limit) = 0.04 limit
        named += evidence(broken).within(LIMIT, 4 * LIMIT) >= 1 / 0.05
    assert named <= 0.05 * 200


def test_less_than_a_twentieth_of_the_tolerance_is_kept():
    assert EXACT == 1 / 20
    for level, seen in ((0.9 * EXACT**2, False), (1.5 * EXACT**2, True)):
        one = evidence(steady(level * LIMIT))
        assert (one.not_kept(LIMIT) > 1 / ALPHA) is seen
    noisy = evidence(steady(0.0, noise=0.01), noise=0.01)
    assert noisy.not_kept(LIMIT) < 1 / ALPHA


def test_what_is_seen_along_the_learned_directions_is_enough():
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


def test_an_exception_is_beyond_its_own_noise():
    broken = torch.tensor([0.0, 0.03, 0.05, 0.5])
    assert evidence(broken).exceptions(LIMIT).tolist() == [False, False, True, True]  # three times the limit beyond it
    assert evidence(broken, noise=0.02).exceptions(LIMIT).tolist() == [False, False, False, True]


def test_exceptions_are_listed_by_their_places_in_what_came():
    broken = steady(0.0, count=100)
    broken[[3, 10]] = 0.5
    tasks, came = torch.arange(200).flip(0)[:100], torch.arange(200) * 2
    found = Exceptions.of(evidence(broken, tasks=tasks), LIMIT, ALPHA, came)
    assert found.seen == (2 * (199 - 10), 2 * (199 - 3))
    assert found.tasks == 100
    assert stats.binom.cdf(2, 100, found.at_most) == pytest.approx(ALPHA)
    assert found.break_ == pytest.approx(2 * EPS)
    assert found.rare
    # Where noise is large, only what is beyond it can be seen.
    assert Exceptions.of(evidence(broken, noise=0.02), LIMIT, ALPHA, came).break_ == pytest.approx(
        math.sqrt(LIMIT + 11 * 0.02)
    )


@pytest.mark.parametrize(("count", "rare"), [(0, True), (5, True), (6, False)])
def test_one_in_twenty_may_be_exceptions(count, rare):
    broken = steady(0.0, count=100)
    broken[:count] = 0.5
    assert Exceptions.of(evidence(broken), LIMIT, ALPHA, torch.arange(100)).rare is rare


def test_the_bound_is_where_the_bet_is_won():
    values, energy = steady(0.004, noise=0.001), torch.full((300,), 2.0, dtype=torch.float64)
    found = bound(values, energy, 0.01)
    assert 0.002 < found < 0.0035
    assert bound(values, energy, 0.001) > found
    assert bound(steady(3.0), energy, 0.01) == 1.0  # nothing is shown
    assert bound(values[:3], energy[:3], 0.01) == 1.0


def test_the_least_limit_is_found_to_three_digits():
    assert least(lambda at: at >= 0.0123) == pytest.approx(0.0123, rel=1e-3)
    assert least(lambda at: True) == 1e-9
    assert least(lambda at: False) == 1.0


def test_a_spread_is_not_moved_by_a_few():
    values = torch.randn(2001, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values[:40], values[40:60] = 1e6, torch.inf
    assert spread(values) == pytest.approx(1.0, rel=0.1)
    assert spread(torch.full((4,), torch.inf)) == torch.inf


@pytest.mark.parametrize(("count", "preferred"), [(1, True), (1, False), (5, True), (7, False)])
def test_the_error_rate_is_shared_out_once(count, preferred):
    shares = weights(count, preferred)
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


def test_groups_are_one_where_their_orbits_are_and_come_by_order():
    kept = evidence(steady(0.0))
    trials = [
        [Proposal(group(S3, 6), kept), Proposal(group(C3, 3, exact=False), kept)],
        [Proposal(group([[2, 0, 1]], 3), kept)],  # the other generator of C3
    ]
    found = judged(trials, 2, EPS, ALPHA)
    assert [c.order for c in found] == [3, 6]
    assert found[0].exact  # in one of the splits
    # S3 has orbits of its own, and one split of two alone spoke of it.
    assert found[1].p_within == pytest.approx(2 * found[0].p_within, rel=1e-6)


def test_splits_that_were_planned_and_not_made_count_as_nothing():
    one = Proposal(group(C3, 3), evidence(steady(0.3 * LIMIT, 40)))
    p = [judged([[one]], planned, EPS, ALPHA)[0].p_within for planned in (1, 4)]
    assert p[1] == pytest.approx(4 * p[0])
    again = judged([[one]] * 4, 4, EPS, ALPHA)[0]
    assert again.p_within == pytest.approx(p[0])


def test_a_share_of_the_error_rate_is_paid_for_by_the_p_value():
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
            shares = weights(3, bool(split))
            # E min(b − limit, 3 limit) = 0.
            values = np.where(draw.random((3, 60)) < 0.25, 4 * LIMIT, 0.0)
            trials.append([
                Proposal(one, evidence(v, shares=s)) for one, v, s in zip(groups, values, shares, strict=True)
            ])  # fmt: skip
        wrong += any(c.status == "within" for c in judged(trials, 2, EPS, alpha))
    assert wrong <= 0.1 * 60


# ----------------------------------------------------------------------------------------------------------- the rule


def nothing(candidate):
    return candidate.order == 2


def test_the_largest_that_is_within_and_not_broken_is_named():
    small, large = group(C3, 3, status="within"), group(S3, 6, status="within")
    assert decided([small, large], nothing).named is large
    assert decided([small, group(S3, 6, status="within", seen_broken=True)], nothing).named is small
    assert decided([small, group(S3, 6, status="beyond")], nothing).named is small
    assert decided([small, group(S3, 6, status="beyond")], nothing).open == ()


def test_a_larger_one_that_is_open_stands_in_the_way_unless_it_is_broken():
    small, large = group(C3, 3, status="within"), group(S3, 6, status="open")
    decision = decided([small, large], nothing)
    assert (decision.named, decision.open) == (small, (large,))
    assert decided([small, group(S3, 6, status="open", seen_broken=True)], nothing).open == ()
    smaller = group(C3, 3, status="open")
    assert decided([smaller, group(S3, 6, status="within")], nothing).open == ()
    assert decided([smaller], nothing).open == (smaller,)


def test_what_every_layer_has_and_what_moves_weak_weights_alone_is_not_named():
    assert decided([group([[1, 0, 2]], 2, status="within")], nothing).named is None
    weak = group(C3, 3, exact=False, share=0.3, status="within")
    assert decided([weak], nothing).named is None
    strong = group(C3, 3, exact=False, share=0.6, status="within")
    assert decided([strong], nothing).named is strong
    assert decided([group(C3, 3, exact=True, share=0.3, status="within")], nothing).named is not None
    assert decided([], nothing).named is None


# ------------------------------------------------------------------------------------------------------------- splits


@pytest.mark.parametrize("count", [FEWEST, 83, 400, 3000])
def test_some_tasks_teach_and_all_others_test(count):
    found = splits(count, None, seed=3)
    assert len(found) == 4
    for split in found:
        assert torch.equal(split.order.sort().values, torch.arange(count))
        assert min(split.sizes) >= FEWEST // 2
        # Where few teach nothing, more do; but some always test.
        assert split.sizes == tuple(sorted(set(split.sizes)))
        assert split.sizes[-1] == max(FEWEST // 2, int(0.6 * count))
    assert min(split.sizes[0] for split in found) == max(FEWEST // 2, min(int(0.15 * count), 120))
    assert not torch.equal(found[0].order, found[2].order)
    assert torch.equal(found[0].order, splits(count, None, seed=3)[0].order)
    assert not torch.equal(found[0].order, splits(count, None, seed=4)[0].order)


def test_fresh_tasks_test_and_the_others_teach():
    fresh = torch.arange(100) % 4 == 1
    (split,) = splits(100, fresh, seed=0)
    assert split.sizes == (75,)
    assert torch.equal(split.order[75:], torch.arange(1, 100, 4))
    assert not fresh[split.order[:75]].any()


def test_what_a_linear_layer_leaves_may_break_a_group_but_does_not_show_that_it_is_broken():
    kept = steady(0.0, noise=0.001)
    assert evidence(kept).within(LIMIT, 0.0) > 1 / ALPHA
    nonlinear = evidence(kept, left=2 * LIMIT)
    assert nonlinear.within(LIMIT, 0.0) < 1
    assert nonlinear.beyond(LIMIT) < 1
    assert nonlinear.not_kept(LIMIT) < 1 / ALPHA
