"""The parts of discovery: classes of weights, costs and their test, partial maps, tasks made ready."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import linkage

from msr.discovery.automorphisms import automorphisms
from msr.discovery.colours import MAX_WEIGHTS, Rows, aligned, colourings, rows_of
from msr.discovery.judging import Costs, Judge, averaged, block_size, blocks, broken_share, pair_orbits_of, upper_mean
from msr.discovery.partial import partial_symmetries
from msr.discovery.prepare import prepare
from msr.errors import ConfigError
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


@pytest.mark.parametrize("size", [0.0, 0.2])
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_what_breaks_a_group_is_seen_whatever_span_was_learned(noise, size, gen):
    """Weights that each task has for itself, which no span of few dimensions holds."""
    rep = regular(cyclic(6))
    s = sample_group(rep, rep, n_tasks=2000, noise=noise)
    basis = equivariant_basis(rep, rep)
    labels = basis.labels.flatten().numpy()
    own = torch.randn(s.w.shape, generator=gen)
    own = own - averaged(own.flatten(1).mT, labels).mT.view(own.shape)
    y = s.y + s.x @ (size * own).mT
    U, v0 = basis.orthonormal(), torch.zeros(6)
    share, low, high = broken_share(
        s.x, y, U, v0, noise**2, lambda W: averaged(W, labels), torch.ones(6, dtype=torch.float64), 0.01
    )
    truth = float((size * own).square().sum((1, 2)).mean() / (s.w + size * own).square().sum((1, 2)).mean())
    assert low <= truth <= high
    assert share == pytest.approx(truth, abs=0.02)
    if noise == size == 0:
        assert high < 1e-6


def test_pair_orbits_are_those_of_the_group():
    rep = natural(dihedral(5))
    gens = rep.permutations[list(rep.group.generators)]
    labels = equivariant_basis(rep, rep).labels.flatten().numpy()
    assert np.array_equal(pair_orbits_of(gens, gens), labels)
    none = np.empty((0, 5), dtype=int)
    assert np.array_equal(pair_orbits_of(none, none), np.arange(25))


@pytest.mark.parametrize("kind", ["constant", "rare and large", "uniform", "noisy"])
def test_the_certificate_errs_at_most_at_its_level_at_the_boundary(kind):
    draw, wrong, trials, n = np.random.default_rng(1), 0, 2000, 40
    for _ in range(trials):
        x = {
            "constant": lambda: np.ones(n),
            "rare and large": lambda: 2 * (draw.random(n) < 0.5),
            "uniform": lambda: 2 * draw.random(n),
            "noisy": lambda: 1 + 0.5 * draw.standard_normal(n),
        }[kind]()
        wrong += upper_mean(torch.tensor(x * 1.0), 1.0, 0.05)[0] <= 0.05
    assert wrong / trials <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / trials)


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
    assert [len(p) for p in parts] == [50, 25, 26]
    together = torch.cat(parts).flatten(1)
    assert len(torch.unique(together, dim=0)) == 101
    assert torch.equal(torch.unique(together, dim=0), torch.unique(x.flatten(1), dim=0))
    assert not torch.equal(together, x.flatten(1))  # in random order
    assert torch.equal(prepare(x, y, seed=3).x, prepare(x, y, seed=3).x)


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
    with pytest.raises(ConfigError, match="give the kernel"):
        prepare(x, torch.zeros(90, 2, 5, 6, 6), layer="conv2d")
