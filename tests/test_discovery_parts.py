"""The parts of discovery: classes of weights, costs and their test, partial maps, tasks made ready."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import linkage

from msr.discovery import breaking as room
from msr.discovery.automorphisms import automorphisms
from msr.discovery.breaking import breaking, by_least_squares, by_pairs, centred, design
from msr.discovery.certifying import block_size, blocks, certified, upper_mean
from msr.discovery.colours import MAX_WEIGHTS, Rows, aligned, colourings, rows_of
from msr.discovery.judging import Costs, Judge, averaged, pair_orbits_of
from msr.discovery.learning import learn
from msr.discovery.partial import partial_symmetries
from msr.discovery.points import Points
from msr.discovery.prepare import prepare
from msr.errors import ConfigError, DataError, ShapeError
from msr.groups import cyclic, dihedral, symmetric
from msr.representations import equivariant_basis, natural, regular
from msr.sampling import sample_group


def numbers(seed=0):
    return np.random.default_rng(seed)


def known_to(error, values, shape):
    """Rows that are all as far from the truth."""
    return Rows(values, np.full(len(values), error), shape)


def pattern(rep, error, seed=0, scale=1.0):
    """Rows of an exact pattern, unit length, in a random gauge, with a Gaussian error of this length a row."""
    labels = equivariant_basis(rep, rep).labels.reshape(rep.dim, rep.dim).numpy()
    k, draw = labels.max() + 1, numbers(seed)
    turn = np.linalg.qr(draw.standard_normal((k, k)))[0]
    rows = turn[labels.ravel()] + error / math.sqrt(k) * draw.standard_normal((labels.size, k))
    return labels, known_to(scale * error, scale * rows, labels.shape)


# ------------------------------------------------------------------------------------------------------------ colours


@pytest.mark.parametrize("error", [1e-7, 0.05, 0.2])
@pytest.mark.parametrize(
    "rep", [regular(cyclic(8)), natural(dihedral(7)), natural(symmetric(5))], ids=["C8", "D7", "S5"]
)
def test_the_cut_at_the_noise_gives_the_classes(rep, error):
    labels, rows = pattern(rep, error)
    first = colourings(rows)[0]
    assert first.n_colours == labels.max() + 1
    assert len({*zip(first.colours.ravel().tolist(), labels.ravel().tolist(), strict=True)}) == labels.max() + 1
    assert first.within <= 4 * error < first.above


def test_large_classes_are_not_split_by_their_size():
    """Ward's heights grow with the root of a class; the distance of means does not."""
    draw = numbers()
    rows = np.concatenate(
        [0.01 * draw.standard_normal((2000, 3)), [[1, 0, 0]] * 20 + 0.01 * draw.standard_normal((20, 3))]
    )
    heights = np.sort(linkage(rows, "ward")[:, 2])
    assert heights[-2] > 10 * 0.01 * math.sqrt(3)  # noise alone, in Ward's heights
    first = colourings(known_to(0.01 * math.sqrt(3), rows, (2020, 1)))[0]
    assert first.n_colours == 2


def test_units_do_not_matter():
    a = colourings(pattern(regular(cyclic(6)), 0.05)[1])
    b = colourings(pattern(regular(cyclic(6)), 0.05, scale=1e-8)[1])
    assert [c.n_colours for c in a] == [c.n_colours for c in b]


def test_coarser_cuts_come_too():
    """Two classes a little apart, far from a third: three classes, and two."""
    rows = np.repeat([[0.0, 0], [0.3, 0], [5, 5]], 10, axis=0) + 0.001 * numbers().standard_normal((30, 2))
    assert [c.n_colours for c in colourings(known_to(0.0015, rows, (30, 1)))] == [3, 2, 1]


def test_the_gap_around_classes_is_the_distance_of_their_means():
    """Whatever their sizes: 3, 5 and 2 rows."""
    rows = np.repeat([[0.0, 0], [0.3, 0.4], [0, 5]], [3, 5, 2], axis=0)
    fine, coarse, one = colourings(known_to(0.0, rows, (10, 1)))
    assert (fine.within, fine.above) == (0, pytest.approx(0.5))
    means = np.linalg.norm(rows[:8].mean(0) - rows[8])
    assert (coarse.within, coarse.above) == (pytest.approx(0.5), pytest.approx(means))
    assert (one.within, one.above) == (pytest.approx(means), np.inf)


def test_what_float32_cannot_tell_apart_is_one_class():
    rows = np.repeat(np.eye(2), 5, axis=0) + 1e-6 * numbers().standard_normal((10, 2))
    assert [c.n_colours for c in colourings(known_to(0.0, rows, (10, 1)))] == [2, 1]


def test_the_cut_at_the_noise_comes_even_where_nothing_jumps():
    first = colourings(known_to(0.01, numbers().random((300, 1)), (300, 1)))[0]
    assert 1 < first.n_colours < 100
    assert first.within <= 0.04 < first.above


def test_of_many_jumps_the_widest_are_taken():
    steps = 2.0 ** np.arange(14)
    steps[6:] *= 50
    cuts = colourings(known_to(0.0, np.cumsum(np.append(0, steps))[:, None], (15, 1)))
    assert len(cuts) <= 9
    assert 15 - 6 in [c.n_colours for c in cuts]


def test_one_weight_is_one_class():
    assert colourings(known_to(0.0, np.ones((1, 2)), (1, 1)))[0].n_colours == 1


def test_layers_too_large_are_refused():
    with pytest.raises(ConfigError, match="too large to cluster"):
        colourings(known_to(0.0, np.zeros((MAX_WEIGHTS + 1, 1)), (MAX_WEIGHTS + 1, 1)))


def test_rows_have_the_second_moment_of_the_weights(gen):
    U, v0 = (torch.randn(*s, generator=gen, dtype=torch.float64) for s in ((12, 3), (3,)))
    rows = rows_of(U, v0)
    v = v0 + torch.randn(200_000, 3, generator=gen, dtype=torch.float64)
    W = v @ U.mT
    torch.testing.assert_close(torch.from_numpy(rows @ rows.T), W.mT @ W / len(W), rtol=0.05, atol=0.1)


def test_alignment_takes_any_gauge_away():
    draw = numbers()
    rows, gauge = draw.standard_normal((20, 3)), draw.standard_normal((3, 3))
    np.testing.assert_allclose(aligned(rows @ gauge, rows), rows, atol=1e-10)
    assert np.abs(aligned(draw.standard_normal((20, 3)), rows) - rows).max() > 0.5


def test_averages_over_orbits_lose_error():
    labels, rows = pattern(regular(cyclic(8)), 0.4)
    calm = rows.averaged(labels.ravel())
    assert calm.error == pytest.approx(0.4 / math.sqrt(8))
    exact = pattern(regular(cyclic(8)), 0.0)[1].values
    assert np.sqrt(((calm.values - exact) ** 2).sum(1).mean()) < 0.2
    assert len(np.unique(calm.values.round(12), axis=0)) == 8


def test_the_error_after_averages_over_unequal_orbits_is_that_of_all_weights():
    """Four weights have half of it, the fifth all of it."""
    calm = known_to(0.3, np.ones((5, 2)), (5, 1)).averaged(np.array([0, 0, 1, 0, 0]))
    assert calm.error == pytest.approx(0.3 * math.sqrt((4 / 4 + 1) / 5))


# ------------------------------------------------------------------------------------------------------------- points


def grid_ties():
    """What permutations of the nine taps of an image must keep."""
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(90, 1, 1, 4, 4, generator=draw), torch.randn(90, 1, 1, 2, 2, generator=draw)
    return prepare(x, y, layer="conv2d").ties


def all_alike(m, n, ties=None, signed=False, bias=0.0):
    """The group of a layer whose weights are all 1."""
    values = np.ones((m, n + 1))
    values[:, -1] = bias
    points = Points(n, m, ties, signed)
    rows = points.rows(known_to(0.0, values.reshape(-1, 1), values.shape))
    return points.automorphisms(colourings(rows)[0], rows)


def test_the_constant_input_stays_even_where_its_weights_are_like_others():
    group = all_alike(2, 3, bias=1.0)
    assert group.order == math.factorial(2) * math.factorial(3)
    assert (group.generators_in[:, -1] == 3).all()


def test_both_signs_of_a_point_move_together():
    """Inputs alike could be swapped with one sign alone, were the signs not tied."""
    group = all_alike(2, 3, signed=True)
    assert group.order == 2 * math.factorial(2) * math.factorial(3)  # twice: all signs at once
    for moved, n in ((group.generators_in[:, :-1], 3), (group.generators_out, 2)):
        assert ((moved[:, n:] - moved[:, :n]) % (2 * n) == n).all()
    assert all_alike(2, 3, signed=True, bias=1.0).order == math.factorial(2) * math.factorial(3)


def test_a_bias_has_no_mean_over_all_signs_at_once_and_weights_keep_theirs(gen):
    points, U = Points(3, 2, None, True), torch.randn(8, 4, generator=gen)
    opposite = pair_orbits_of(np.array([[3, 4, 5, 0, 1, 2, 6]]), np.array([[2, 3, 0, 1]]))
    expected = U.view(2, 4, 4) * torch.tensor([1.0, 1, 1, 0])[:, None]
    torch.testing.assert_close(points.average(U, opposite).view(2, 4, 4), expected)
    classes = points.plain(np.arange(4 * 7).reshape(4, 7))
    assert classes.tolist() == [[0, 1, 2, 6], [7, 8, 9, 13]]


def test_taps_with_signs_move_as_the_grid_does():
    assert all_alike(1, 9, grid_ties()).order == 8
    assert all_alike(1, 9, grid_ties(), signed=True).order == 16
    assert all_alike(1, 9, signed=True).order == 2 * math.factorial(9)


@pytest.mark.parametrize(
    ("moved_in", "moved_out", "signed", "nothing"),
    [
        ([0, 1, 2], [0, 1], False, True),
        ([1, 0, 2], [1, 0], True, True),  # the change of all signs at once
        ([1, 0, 2], [1, 0], False, False),  # the same numbers without signs: two points swapped
        ([0, 1, 2], [1, 0], False, False),
        ([1, 0, 2], [0, 1], False, False),
    ],
)
def test_what_every_layer_has_is_nothing(moved_in, moved_out, signed, nothing):
    n = 1 if signed else 2
    points = Points(n, n, None, signed)
    assert points.says_nothing(np.array([moved_in]), np.array([moved_out])) is nothing


@pytest.mark.parametrize(
    ("weak", "error", "used"),
    [
        (0.15, 0.1, False),  # less than two errors
        (0.3, 0.1, True),
        (0.05, 0.01, False),  # weaker than others, and known to a fifth only
        (0.05, 0.001, True),
        (1e-7, 0.0, False),
        (1e-3, 0.0, True),
    ],
)
def test_inputs_and_outputs_carry_weight_that_is_known(weak, error, used):
    values = np.ones((4, 4))
    values[:, 2] = weak
    values[3, :3] = 0  # this output has a bias alone
    used_in, used_out = Points(3, 4, None, False).used(known_to(error, values.reshape(-1, 1), (4, 4)))
    assert used_in.tolist() == ([0, 1, 2] if used else [0, 1])
    assert used_out.tolist() == [0, 1, 2]


def test_an_input_that_one_output_alone_uses_carries_weight():
    values = np.eye(4, 5)
    assert [u.tolist() for u in Points(4, 4, None, False).used(known_to(0.0, values.reshape(-1, 1), (4, 5)))] == [
        [0, 1, 2, 3]
    ] * 2


@pytest.mark.parametrize("signed", [False, True])
def test_relabellings_permute_inputs_and_outputs_and_keep_the_constant(signed):
    s, t = Points(9, 7, None, signed).relabelling(numbers())
    assert sorted(s) == list(range(len(s)))
    assert sorted(t) == list(range(len(t)))
    assert s[-1] == len(s) - 1 == (18 if signed else 9)
    assert (s[:9] != np.arange(9)).any()
    assert (t[:7] != np.arange(7)).any()
    if signed:
        assert (s[9:-1] == s[:9] + 9).all()
        assert (t[7:] == t[:7] + 7).all()


# -------------------------------------------------------------------------------------------------------------- costs


def judge_of(noise, truth="group", n_tasks=200, rep=None):
    rep = rep or regular(cyclic(6))
    s = sample_group(rep, rep, noise=noise, n_tasks=n_tasks, truth=truth, breaking=0.2)
    basis = equivariant_basis(rep, rep)
    U = basis.orthonormal()
    if truth == "broken":
        # The span that the tasks have.
        U = torch.linalg.svd(s.w.flatten(1).double(), full_matrices=False)[2][: U.shape[1]].mT
    return Judge(s.x, s.y, U * (rep.dim / U.shape[1]) ** 0.5, torch.zeros(U.shape[1]), noise**2), basis.labels.flatten()


def test_keeping_to_the_true_group_costs_nothing():
    judge, orbits = judge_of(0.1)
    assert judge.costs(orbits.numpy()).values.abs().max() < 1e-12
    assert judge.explained == pytest.approx(0.99, abs=0.01)


def test_costs_count_in_the_smaller_of_two_units():
    judge, _ = judge_of(0.0, "broken")
    args = (judge.x, judge.y, judge.U, judge.v0, 0.0)
    assert Judge(*args, unit=judge.energy / 2).energy == judge.energy / 2
    assert Judge(*args, unit=judge.energy * 2).energy == judge.energy


def test_keeping_to_a_group_that_is_broken_costs_what_was_broken():
    judge, orbits = judge_of(0.0, "broken")
    assert judge.costs(orbits.numpy()).mean == pytest.approx(0.2**2, rel=0.1)
    few = judge.costs(orbits.numpy(), most=10)
    torch.testing.assert_close(few.values, judge.costs(orbits.numpy()).values[:10])


def test_costs_are_those_of_a_dense_ridge(gen):
    """One task at a time, from the normal equations of the whole weight."""
    judge, _ = judge_of(0.3, n_tasks=5)
    other = torch.randperm(36, generator=gen) % 4
    U = averaged(judge.U, other.numpy())
    for i in range(5):
        maps = [U[:, j].view(6, 6) / judge.scale[:, None] for j in range(U.shape[1])]
        X = torch.stack([(judge.x[i].double() @ one.mT).flatten() for one in maps], 1)
        y = judge.y[i].double().flatten()
        v = torch.linalg.solve(X.mT @ X + judge.penalty * torch.eye(6, dtype=torch.float64), X.mT @ y)
        least = (y - X @ v).square().sum() + judge.penalty * v.square().sum()
        got = judge.costs(other.numpy()).values[i] * judge.energy + judge.free[i]
        torch.testing.assert_close(got, least)


def unlearned(size, noise, gen, n_tasks=2000, examples=20, offset=0.0):
    """C6 tasks with a part of their own that no span of few dimensions holds, judged with the span of C6."""
    rep = regular(cyclic(6))
    s = sample_group(rep, rep, n_tasks=n_tasks, noise=noise, examples=examples)
    basis = equivariant_basis(rep, rep)
    labels = basis.labels.flatten().numpy()
    own = torch.randn(s.w.shape, generator=gen)
    own = own - averaged(own.flatten(1).mT, labels).mT.view(own.shape)
    y = s.y + s.x @ (size * own).mT + offset
    truth = (size * own).square().sum((1, 2)).mean() / (s.w + size * own).square().sum((1, 2)).mean()
    return Judge(s.x, y, basis.orthonormal(), torch.zeros(6), noise**2), labels, float(truth)


@pytest.mark.parametrize("size", [0.0, 0.2])
@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("estimate", [by_pairs, by_least_squares])
def test_what_breaks_a_group_is_seen_whatever_span_was_learned(estimate, noise, size, gen):
    judge, labels, truth = unlearned(size, noise, gen)
    low, high = Costs(estimate(judge, labels)).bounds(0.001)
    assert low <= truth + 1e-9
    assert truth <= high + 1e-9
    assert high - low < 0.02
    if noise == size == 0:
        assert high < 1e-6


DESIGNS = ("drawn anew", "the same in every task", "means of their own", "centred")


def designed(name, gen, size, noise, examples=20, tasks=3000):
    """C6 tasks broken by ``size``, with a bias input, and inputs as the name says."""
    rep = regular(cyclic(6))
    basis = equivariant_basis(rep, rep)
    U, labels = basis.orthonormal(), basis.labels.numpy()
    own = torch.randn(tasks, 36, generator=gen, dtype=torch.float64)
    own = own - averaged(own.mT, labels.ravel()).mT
    own = own / own.square().sum(1).mean().sqrt() * size * 6**0.5
    W = (torch.randn(tasks, 6, generator=gen, dtype=torch.float64) @ U.mT * (1 - size**2) ** 0.5 + own).view(-1, 6, 6)
    x = torch.randn(tasks, examples, 6, generator=gen, dtype=torch.float64)
    if name == "the same in every task":
        x = x[:1].expand_as(x)
    if name == "means of their own":
        x = x + torch.randn(tasks, 1, 6, generator=gen, dtype=torch.float64)
    y = x @ W.mT + noise * torch.randn(tasks, examples, 6, generator=gen, dtype=torch.float64)
    if name == "centred":
        x, y = (t - t.mean(1, keepdim=True) for t in (x, y))
    orbits = np.concatenate([labels, np.full((6, 1), labels.max() + 1)], 1).ravel()
    span = torch.cat([U.view(6, 6, 6), torch.zeros(6, 1, 6, dtype=torch.float64)], 1).flatten(0, 1)
    x = torch.cat([x, torch.ones(tasks, examples, 1, dtype=torch.float64)], 2)
    truth = float((x[:, :, :6] @ own.view(-1, 6, 6).mT).square().sum((1, 2)).mean())
    judge = Judge(x, y, span, torch.zeros(6), noise**2)
    return judge, orbits, truth / judge.energy


@pytest.mark.parametrize("name", DESIGNS)
@pytest.mark.parametrize(("size", "noise"), [(0.15, 0.1), (0.0, 0.5)])
def test_the_estimate_is_right_whatever_the_inputs_are(name, size, noise, gen):
    judge, orbits, truth = designed(name, gen, size, noise)
    broken = breaking(judge, orbits)
    assert broken.method == ("pairs of examples" if name == "drawn anew" else "least squares")
    low, high = broken.bounds(0.001)
    assert low <= truth <= high
    assert high - low < 0.01


def test_pairs_are_wrong_where_they_are_not_used(gen):
    for name in ("the same in every task", "centred", "means of their own"):
        judge, orbits, truth = designed(name, gen, 0.0, 0.5)
        low, high = Costs(by_pairs(judge, orbits)).bounds(0.001)
        assert not low <= truth <= high, name


def test_the_design_says_which_inputs_are_drawn_anew(gen):
    judge, orbits, _ = designed("drawn anew", gen, 0.1, 0.1)
    bias, leak = design(judge, orbits)
    assert abs(bias) < 0.1
    assert abs(leak) < 0.01
    judge, orbits, _ = designed("the same in every task", gen, 0.1, 0.1)
    assert design(judge, orbits)[0] < -0.3
    judge, orbits, _ = designed("means of their own", gen, 0.1, 0.1)
    assert design(judge, orbits)[1] > 0.03
    for name in DESIGNS:
        assert centred(designed(name, gen, 0.1, 0.1)[0]) == (name == "centred")


@pytest.mark.parametrize("name", ["the same in every task", "centred"])
def test_too_few_examples_of_such_tasks_say_nothing(name, gen):
    judge, orbits, _ = designed(name, gen, 0.1, 0.1, examples=12, tasks=200)
    broken = breaking(judge, orbits)
    assert not broken.known
    assert broken.method == "none"
    said = certified(orbits, judge, judge, 0.05, 0.01, None)
    assert not said.certified
    assert said.p_value == 1
    assert (said.breaking, said.at_least, said.bound, said.method) == (None, None, None, "none")
    enough = designed(name, gen, 0.0, 0.1, examples=13, tasks=200)
    assert breaking(*enough[:2]).known


def test_many_examples_are_fitted_by_least_squares(gen):
    for examples, method in ((27, "pairs of examples"), (28, "least squares")):
        judge, orbits, _ = designed("drawn anew", gen, 0.0, 0.1, examples=examples, tasks=300)
        assert breaking(judge, orbits).method == method


def test_inputs_that_some_task_lacks_are_not_solved_for(gen):
    """One-hot inputs: a task of 13 examples may hold no example of one of 6 kinds."""
    judge, orbits, _ = designed("drawn anew", gen, 0.0, 0.1, examples=30, tasks=300)
    judge.x[7, :, 3] = 0
    assert breaking(judge, orbits).method == "pairs of examples"


def test_an_estimate_that_is_far_below_nothing_is_none(gen):
    judge, orbits, _ = designed("the same in every task", gen, 0.0, 0.5, tasks=500)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "by_least_squares", by_pairs)
        said = certified(orbits, judge, judge, 0.05, 0.01, None)
    assert said.method == "none"
    assert said.bound is None
    assert said.p_breaking == 1
    assert not said.certified


@pytest.mark.parametrize("examples", [2, 3, 4, 7])
def test_few_examples_are_enough_to_be_right_on_average(examples, gen):
    """Even two: each gives an estimate of its own, and the learned mean is all that is taken off."""
    judge, labels, truth = unlearned(0.3, 0.2, gen, n_tasks=20000, examples=examples)
    assert float(by_pairs(judge, labels).mean()) == pytest.approx(truth, rel=0.15)


def test_all_pairs_of_parts_are_used_with_the_others_fit(gen, monkeypatch):
    """Against the same sum written out, example by example, for one task."""
    judge, labels, _ = unlearned(0.3, 0.2, gen, n_tasks=3, examples=5)
    x, y = judge.x, judge.y
    second = torch.einsum("tei,tej->ij", x, x) / 15
    inverse = torch.linalg.inv(second)
    P = averaged(judge.U, labels)
    for task in range(3):
        total = 0.0
        for a in range(5):
            for b in range(a):
                rest = [e for e in range(5) if e not in (a, b)]
                F = torch.stack([(x[task, rest] @ P[:, j].view(6, 6).mT).flatten() for j in range(6)], 1)
                v = torch.linalg.solve(F.mT @ F + judge.penalty * torch.eye(6), F.mT @ y[task, rest].flatten())
                S = (P @ v).view(6, 6)
                A, B = (torch.outer(y[task, e] - S @ x[task, e], x[task, e]) @ inverse for e in (a, b))
                A, B = ((one - averaged(one.reshape(36, 1), labels).view(6, 6)) for one in (A, B))
                total += float((A @ second @ B.mT).trace())
        assert float(by_pairs(judge, labels)[task]) * judge.energy / 5 == pytest.approx(total / 10, rel=1e-6)
    whole = by_pairs(judge, labels)
    monkeypatch.setattr(room, "_CHUNK_NUMBERS", 1)
    torch.testing.assert_close(by_pairs(judge, labels), whole)


def test_an_offset_of_the_outputs_does_not_loosen_the_tolerance(gen):
    start = gen.get_state()
    plain = unlearned(0.3, 0.2, gen, n_tasks=500)[0]
    gen.set_state(start)
    moved = unlearned(0.3, 0.2, gen, n_tasks=500, offset=10.0)[0]
    assert moved.energy == pytest.approx(plain.energy, rel=1e-6)


def test_both_nulls_must_fall(gen):
    """Tasks that break the group in what was not learned pass the one test, and not the other."""
    judge, labels, _ = unlearned(0.0, 0.1, gen, n_tasks=200)
    good = certified(labels, judge, judge, 0.05, 0.01, None)
    assert good.certified
    assert good.p_value == max(good.p_cost, good.p_breaking) <= 0.01
    assert good.breaking < good.bound <= 0.05**2
    judge, labels, _ = unlearned(0.1, 0.1, gen, n_tasks=200)
    hidden = certified(labels, judge, judge, 0.05, 0.01, 0.5)
    assert hidden.p_cost < 1e-6
    assert not hidden.certified
    assert hidden.p_value == hidden.p_breaking > 0.5
    assert hidden.at_least > 0.05**2
    assert hidden.specificity == 0.5


def test_the_last_test_keeps_its_level():
    """Broken by just the tolerance: it certifies with probability alpha at most."""
    rep, passed = regular(cyclic(4)), 0
    labels = equivariant_basis(rep, rep).labels.flatten().numpy()
    for seed in range(200):
        s = sample_group(rep, rep, noise=0.1, n_tasks=60, examples=8, truth="broken", breaking=0.1, seed=seed)
        U = torch.linalg.svd(s.w.flatten(1).double(), full_matrices=False)[2][:4].mT
        passed += certified(labels, *[Judge(s.x, s.y, U, torch.zeros(4), 0.01)] * 2, 0.1, 0.1, None).certified
    assert passed <= 0.1 * 200 + 2 * 4.3


def test_pair_orbits_are_those_of_the_group():
    rep = natural(dihedral(5))
    gens = rep.permutations[list(rep.group.generators)]
    labels = equivariant_basis(rep, rep).labels.flatten().numpy()
    assert np.array_equal(pair_orbits_of(gens, gens), labels)
    none = np.empty((0, 5), dtype=int)
    assert np.array_equal(pair_orbits_of(none, none), np.arange(25))


@pytest.mark.parametrize("kind", ["constant", "rare and large", "uniform", "noisy"])
def test_the_certificate_errs_at_most_at_its_level_at_the_boundary(kind):
    draw, wrong, n = np.random.default_rng(1), 0, 40
    trials = 1 if kind == "constant" else 1000
    for _ in range(trials):
        x = {
            "constant": lambda: np.ones(n),
            "rare and large": lambda: 2 * (draw.random(n) < 0.5),
            "uniform": lambda: 2 * draw.random(n),
            "noisy": lambda: 1 + 0.5 * draw.standard_normal(n),
        }[kind]()
        wrong += upper_mean(torch.tensor(x * 1.0), 1.0, 0.05)[0] <= 0.05
    assert wrong / trials <= (0 if trials == 1 else 0.05 + 2 * math.sqrt(0.05 * 0.95 / trials))


def test_the_certificate_has_power_with_few_numbers():
    assert upper_mean(torch.zeros(12, dtype=torch.float64), 0.0025, 0.01)[0] < 0.01
    assert upper_mean(torch.full((3,), 0.0, dtype=torch.float64), 0.0025, 0.01)[0] > 0.01
    p, bound = upper_mean(torch.full((100,), 0.00125, dtype=torch.float64), 0.0025, 0.01)
    assert p < 1e-4
    assert 0.00125 < bound < 0.0025


@given(st.lists(st.floats(0, 3), min_size=2, max_size=40), st.floats(0.01, 0.2))
def test_the_bound_is_where_the_test_turns(values, alpha):
    x = torch.tensor(values, dtype=torch.float64)
    p, bound = upper_mean(x, 1.0, alpha)
    assert 0 < p <= 1
    assert (bound <= 1 + 1e-6) == (p <= alpha * (1 + 1e-6)) or abs(bound - 1) < 1e-6
    assert bound >= min(1.0, float(x.clamp(0, 2).mean())) - 1e-9


def test_blocks_are_means_of_their_tasks():
    costs = torch.arange(10, dtype=torch.float64)
    torch.testing.assert_close(blocks(costs, 3), torch.tensor([1.0, 4.0, 7.5], dtype=torch.float64))
    assert block_size(torch.zeros(9), 1.0, 100, 0.05) == 1
    noisy = 5 * torch.randn(400, generator=torch.Generator().manual_seed(0))
    size = block_size(noisy, 1.0, 10_000, 0.05)
    assert size == pytest.approx(100, rel=0.2)
    assert float(blocks(5 * torch.randn(40_000, generator=torch.Generator().manual_seed(1)), size).std()) < 0.6
    assert 100 // block_size(noisy, 1.0, 100, 0.01) >= 12  # enough are left


def test_bounds_of_a_mean_are_students():
    costs = Costs(torch.randn(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 1)
    low, high = costs.bounds(0.05)
    assert low < costs.mean < high
    assert costs.p_below(high) == pytest.approx(0.05)
    assert costs.p_above(low) == pytest.approx(0.05)
    still = Costs(torch.full((5,), 0.5, dtype=torch.float64))
    assert still.p_below(1.0) == 0
    assert still.p_below(0.5) == 1


# ------------------------------------------------------------------------------------------------------------ partial


def taps(length, outputs, offsets):
    """Colours of a local pattern: class ``t`` at input ``i + offsets[t]`` of output ``i``, 0 elsewhere."""
    colours = np.zeros((outputs, length), dtype=int)
    for t, offset in enumerate(offsets):
        for i in range(outputs):
            if 0 <= i + offset < length:
                colours[i, i + offset] = t + 1
    return colours, known_to(0.0, np.eye(len(offsets) + 1)[colours.ravel()], colours.shape)


def test_a_shift_of_the_interior_is_found_once():
    colours, rows = taps(12, 10, [0, 1, 2])
    assert automorphisms(colours).order == 1
    (found,) = partial_symmetries(colours, rows)
    assert found.map_out.tolist() == [*range(1, 10), -1]
    assert found.map_in.tolist() == [*range(1, 12), -1]
    assert found.residual == 0
    assert found.name == "translation on the interior, generator i -> i + 1"


def test_relabelled_points_have_a_map_without_a_shift():
    colours, _ = taps(12, 10, [0, 1, 2])
    p, q = numbers().permutation(12), numbers(1).permutation(10)
    moved = np.empty_like(colours)
    moved[np.ix_(q, p)] = colours
    found = partial_symmetries(moved, known_to(0.0, np.eye(4)[moved.ravel()], moved.shape))
    assert found[0].overlap == pytest.approx(20 / 22)
    assert found[0].name == "a map of part of the points"
    a, b = found[0].map_out, found[0].map_in
    for i in np.flatnonzero(a >= 0):
        for j in np.flatnonzero(b >= 0):
            assert moved[a[i], b[j]] == moved[i, j]


def test_a_reflection_of_part_of_the_points_is_called_so():
    here, there = np.arange(120).reshape(10, 12), np.arange(120).reshape(10, 12)[::-1, ::-1]
    colours = np.concatenate([np.minimum(here, there), 120 + np.arange(12)[None]])  # the last output is like no other
    (found,) = partial_symmetries(colours, known_to(0.0, np.eye(132)[colours.ravel()], colours.shape))
    assert found.map_in.tolist() == [*range(11, -1, -1)]
    assert found.map_out.tolist() == [*range(9, -1, -1), -1]
    assert found.name == "a reflection of part of the points"


def test_a_map_may_leave_the_first_output_out():
    colours, _ = taps(12, 10, [0, 1, 2])
    colours = np.concatenate([np.arange(4, 16)[None], colours])  # the first output is like no other
    (found,) = partial_symmetries(colours, known_to(0.0, np.eye(16)[colours.ravel()], colours.shape))
    assert found.map_out.tolist() == [-1, -1, *range(1, 10)]
    assert found.map_in.tolist() == [-1, *range(11)]
    assert found.name == "translation on the interior, generator i -> i - 1"


def test_the_residual_of_a_map_is_how_far_it_moves_the_weights():
    colours, exact = taps(12, 10, [0, 1, 2])
    values = exact.values + 0.1 * numbers().standard_normal(exact.values.shape)
    (found,) = partial_symmetries(colours, known_to(0.1, values, colours.shape))
    W = values.reshape(10, 12, 4)
    moved = np.linalg.norm(W[1:, 1:] - W[:-1, :-1]) / np.linalg.norm(W[:-1, :-1])
    assert found.residual == pytest.approx(moved)
    assert found.residual > 0.1


def test_classes_speak_where_they_hold_one_weight_of_a_line_and_less_than_half_of_all():
    def maps(colours):
        found = partial_symmetries(np.array(colours), known_to(0.0, np.eye(4)[np.ravel(colours)], np.shape(colours)))
        return [(one.map_in.tolist(), one.map_out.tolist()) for one in found]

    assert maps([[0, 1], [0, 1]]) == [([-1, 1], [1, -1])]  # zeros are half: nothing follows for the first input
    assert maps([[0, 2], [1, 0], [2, 1]]) == [([1, -1], [1, 2, 0])]  # a third each: all of them speak
    # The second moves inputs as the first backwards, but outputs otherwise.
    two = [([1, -1], [2, 0, -1, -1]), ([-1, 0], [1, -1, 3, -1])]
    assert maps([[0, 1], [1, 3], [2, 0], [0, 3]]) == two


def test_a_map_of_three_quarters_of_the_points_is_given():
    colours, rows = taps(6, 4, [0, 1, 2])
    (found,) = partial_symmetries(colours, rows)
    assert found.overlap == pytest.approx(8 / 10)


def test_shifts_of_an_image_come_with_the_largest_domain_first():
    windows = np.zeros((4, 4, 5, 5), dtype=int)
    i, j = np.meshgrid(range(4), range(4), indexing="ij")
    for a in range(2):
        for b in range(2):
            windows[i, j, i + a, j + b] = 1 + 2 * a + b
    colours = windows.reshape(16, 25)
    rows = known_to(0.0, np.eye(5)[colours.ravel()], colours.shape)
    found = partial_symmetries(colours, rows)
    shifts = [{int(m) - at for at, m in enumerate(one.map_out) if m >= 0} for one in found]
    assert shifts == [{1}, {4}, {5}, {-3}]  # along each axis, and both diagonals
    assert [round(41 * one.overlap) for one in found] == [32, 32, 25, 25]
    assert [one.map_out.tolist() for one in partial_symmetries(colours, rows, limit=3)] == [
        one.map_out.tolist() for one in found[:3]
    ]


def test_every_map_keeps_the_classes_and_is_one_to_one():
    count = 0
    for seed in range(300):
        draw = numbers(seed)
        colours = draw.integers(0, draw.integers(2, 7), draw.integers(2, 6, 2))
        for one in partial_symmetries(colours, known_to(0.0, np.eye(7)[colours.ravel()], colours.shape)):
            count += 1
            p, q = one.map_in, one.map_out
            a, b = np.flatnonzero(q >= 0), np.flatnonzero(p >= 0)
            assert len(set(q[a])) == len(a)
            assert len(set(p[b])) == len(b) > 0
            assert (colours[np.ix_(q[a], p[b])] == colours[np.ix_(a, b)]).all()
            assert one.overlap == (len(a) + len(b)) / sum(colours.shape) >= 0.5
            assert one.residual == 0
    assert count > 30


def test_random_classes_have_no_partial_map():
    colours = numbers().integers(0, 5, (10, 10))
    assert partial_symmetries(colours, known_to(0.0, np.eye(5)[colours.ravel()], colours.shape)) == ()
    apart = np.arange(100).reshape(10, 10)
    assert partial_symmetries(apart, known_to(0.0, np.eye(100), (10, 10))) == ()


# ------------------------------------------------------------------------------------------------------------ prepare


def test_parts_share_no_task_and_leave_none_out(gen):
    x, y = torch.randn(101, 3, 4, generator=gen), torch.randn(101, 3, 2, generator=gen)
    data = prepare(x, y)
    parts = [
        (data.part(p)[0][:, :, :4] * torch.from_numpy(data.units[0][:4])).float() for p in ("fit", "select", "certify")
    ]
    assert [len(p) for p in parts] == [50, 20, 31]
    together = torch.cat(parts).flatten(1)
    assert len(torch.unique(together, dim=0)) == 101
    assert torch.equal(torch.unique(together, dim=0), torch.unique(x.flatten(1), dim=0))
    assert not torch.equal(together, x.flatten(1))  # in random order
    assert torch.equal(prepare(x, y, seed=3).x, prepare(x, y, seed=3).x)


def test_fresh_tasks_certify_and_two_thirds_of_the_others_fit(gen):
    x, y = torch.randn(150, 3, 4, generator=gen), torch.randn(150, 3, 2, generator=gen)
    x[40], y[40] = x[7], y[7]
    fresh = torch.arange(150) % 5 == 4
    data = prepare(x, y, fresh=fresh)  # without the copy: 30 of 149 tasks are fresh
    assert [len(data.part(p)[0]) for p in ("fit", "select", "certify")] == [79, 40, 30]
    came = (torch.from_numpy(data.units[0][:4]) * data.part("certify")[0][:, :, :4]).float().flatten(1)
    assert torch.equal(torch.unique(came, dim=0), torch.unique(x[fresh].flatten(1), dim=0))


def test_as_many_tasks_as_are_needed(gen):
    x, y = torch.randn(300, 3, 4, generator=gen), torch.randn(300, 3, 2, generator=gen)
    assert prepare(x[:80], y[:80]).too_few is None
    assert "79 different tasks came" in prepare(x[:79], y[:79]).too_few
    for n_fresh, enough in ((19, False), (20, True), (240, True), (241, False)):
        few = prepare(x, y, fresh=torch.arange(300) < n_fresh).too_few
        assert (few is None) is enough, n_fresh


def test_splits_differ_by_seed(gen):
    x, y = torch.randn(90, 3, 4, generator=gen), torch.randn(90, 3, 2, generator=gen)
    assert not torch.equal(prepare(x, y, seed=0).x, prepare(x, y, seed=1).x)


def test_tasks_that_share_inputs_or_outputs_alone_are_no_copies(gen):
    x, y = torch.randn(90, 3, 4, generator=gen), torch.randn(90, 3, 2, generator=gen)
    for a, b in ((x[:1].expand(90, -1, -1), y), (x, y[:1].expand(90, -1, -1))):
        data = prepare(a, b)
        assert len(data.x) == 90
        assert data.left_out == ()


def test_a_bias_stays_where_inputs_have_a_mean_or_depend_on_each_other(gen):
    x, y = torch.randn(90, 5, 3, generator=gen), torch.randn(90, 5, 2, generator=gen)
    twins = torch.cat([x, x[:, :, :1]], 2)
    for one in (x + 2, x + 100, twins):
        data = prepare(one, y)
        assert data.left_out == ()
        assert (data.x[:, :, -1] == data.x[0, 0, -1]).all()
    share = torch.softmax(x, 2)  # adds up to 1
    data = prepare(share, y)
    assert "add up to a constant" in data.left_out[0]
    assert len(torch.unique(data.x[:, :, -1])) == 90 * 5


def test_an_offset_is_taken_off_whatever_lies_between_the_coordinates(gen):
    x, y = torch.randn(90, 5, 3, generator=gen), torch.randn(90, 5, 2, generator=gen)
    assert abs(float(prepare(x + torch.tensor([0.0, 100, 200]), y).x[:, :, :3].mean())) < 1e-6
    assert abs(float(prepare(x + 1, y).x[:, :, :3].mean())) > 0.1


def test_the_constant_input_has_the_size_of_the_others(gen):
    data = prepare(1000 * torch.randn(90, 5, 3, generator=gen), torch.randn(90, 5, 2, generator=gen))
    assert data.n == 3
    assert float(data.x[0, 0, 3]) * data.units[0][0] == pytest.approx(1000, rel=0.1)
    assert (data.x[:, :, 3] == data.x[0, 0, 3]).all()


def test_windows_of_a_convolution(gen):
    x, y = torch.randn(90, 2, 3, 6, 6, generator=gen), torch.randn(90, 2, 5, 4, 4, generator=gen)
    data = prepare(x, y, layer="conv2d")
    assert data.shape_in == (3, 3, 3)
    assert data.shape_out == (5,)
    assert data.x.shape == (90, 2 * 16, 28)
    ties = data.ties
    assert ties.shape == (27, 27)
    assert ties[0, 0] == 0
    assert ties[0, 9] == 1  # the same tap of another channel
    assert ties[0, 8] == 2 * (2**2 + 2**2)
    for space in ((6, 6), (4, 5)):
        with pytest.raises(ConfigError, match="give the kernel"):
            prepare(x, torch.zeros(90, 2, 5, *space), layer="conv2d")


@pytest.mark.parametrize("kernel", [1, 2, 3, 4])
def test_windows_that_wrap_around_begin_half_a_kernel_before(kernel, gen):
    x, y = torch.randn(90, 2, 1, 6, generator=gen), torch.randn(90, 2, 1, 6, generator=gen)
    data = prepare(x, y, layer="conv1d", kernel=kernel, circular=True)
    whole = prepare(x.flatten(2), y.flatten(2))
    windows = data.x[:, :, :-1].view(90, 2, 6, kernel)
    for i in range(6):
        for t in range(kernel):
            expected = whole.x[:, :, (i + t - (kernel - 1) // 2) % 6]
            torch.testing.assert_close(data.units[0][t] * windows[:, :, i, t], whole.units[0][0] * expected)


@pytest.mark.parametrize(
    ("x", "y", "options", "error", "says"),
    [
        (torch.ones(90), torch.ones(90, 2), {}, ShapeError, "x must be real numbers"),
        (torch.ones(90, 2), torch.ones(90, 2) * 1j, {}, ShapeError, "y must be real numbers"),
        (torch.ones(90, 0, 2), torch.ones(90, 0, 2), {}, DataError, "x is empty"),
        (torch.ones(90, 2, 3), torch.ones(90, 2, 3), {"layer": "dense"}, ConfigError, "layer must be linear, conv1d"),
        (torch.ones(90, 2, 3), torch.ones(90, 2, 3), {"circular": True}, ConfigError, "belong to a convolution"),
        (torch.ones(90, 2, 1, 6), torch.ones(90, 2, 6), {"layer": "conv1d", "kernel": 3}, ShapeError, "conv1d needs"),
    ],
    ids=["one axis", "complex", "empty", "another layer", "circular", "no channels"],
)
def test_tasks_that_cannot_be_used_are_refused(x, y, options, error, says):
    with pytest.raises(error, match=says):
        prepare(x, y, **options)


# ----------------------------------------------------------------------------------------------------------- learning


def test_the_error_of_a_weight_is_that_of_its_output_and_its_input(gen):
    rep = regular(cyclic(8))
    s = sample_group(rep, rep, n_tasks=400)
    sizes, noises = torch.ones(8), torch.full((8,), 0.05)
    sizes[3], noises[5] = 2.5, 0.5
    x = s.x * sizes
    y = x @ s.w.mT + noises * torch.randn(s.y.shape, generator=gen)
    data = prepare(x, y)
    learned = learn(data, 8, 0)
    errors = learned.rows.errors.reshape(8, 9)[:, :-1]
    others = [i for i in range(8) if i != 5]
    assert 4 < errors[5].mean() / errors[others].mean() < 10  # its noise is in the filters, too, which others share
    assert errors[:, 3].mean() / errors[:, [0, 1, 2, 4, 5, 6, 7]].mean() == pytest.approx(1 / 2.5, rel=0.3)
    # And it is the error: a row is about as far from the mean of its class.
    labels = equivariant_basis(rep, rep).labels.numpy()
    away = learned.rows.values.reshape(8, 9, -1)[:, :-1]
    mean = np.stack([away[others][labels[others] == c].mean(0) for c in range(8)])[labels]
    found = np.sqrt(((away - mean)[others] ** 2).sum(2).mean())
    assert 0.5 < found / np.sqrt((errors[others] ** 2).mean()) < 1.1  # what all rows have in common is not seen there


def test_weights_are_compared_in_the_units_of_their_likes_and_in_those_that_came(gen):
    rep = regular(cyclic(4))
    s = sample_group(rep + rep, rep, n_tasks=200, noise=0.1)
    x = s.x.clone()
    x[:, :, 4:] *= 64
    data = prepare(x, s.y)
    assert len(set(data.units[0][:4])) == len(set(data.units[0][4:8])) == 1
    assert data.units[0][4] == 64 * data.units[0][0]
    assert len(np.unique(data.labels)) == 3  # two kinds of inputs, and the bias
    alike, came = learn(data, 8, 0).views(Points(8, 4, None, False), data)
    assert np.array_equal(alike.labels, data.labels)
    assert came.labels is None
    ratio = alike.rows.values / came.rows.values
    assert ratio[data.labels.ravel() == 1].mean() / ratio[data.labels.ravel() == 0].mean() == pytest.approx(64)
    np.testing.assert_allclose(alike.rows.errors / came.rows.errors, ratio[:, 0])
    plain = prepare(s.x, s.y)
    assert plain.labels is None
    (only,) = learn(plain, 8, 0).views(Points(8, 4, None, False), plain)
    assert only.labels is None
