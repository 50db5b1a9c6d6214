"""The steps of discovery one by one: classes of weights, points and their groups, partial maps, the learned pattern."""

import math

import numpy as np
import pytest
import torch
from scipy.cluster.hierarchy import linkage

from msr.discovery.data.ordering import reordered
from msr.discovery.data.passes import Derived
from msr.discovery.data.tasks import prepare
from msr.discovery.pattern.action import Points
from msr.discovery.pattern.classes import MAX_WEIGHTS, Rows, aligned, colourings, rows_of
from msr.discovery.pattern.learning import by_length, explained, learn
from msr.discovery.pattern.partial import partial_symmetries
from msr.discovery.pattern.refinement import all_distinct
from msr.errors import ConfigError
from msr.groups import cyclic, dihedral, symmetric
from msr.permutations import orbitals, relabelled_orbitals, reynolds_operator
from msr.permutations.search import automorphisms
from msr.representations import equivariant_basis, natural, regular
from msr.tasks.sampling import sample_group


def numbers(seed=0):
    return np.random.default_rng(seed)


def known_to(error, values, shape):
    """Rows that all have the same error."""
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


def test_coarser_cuts_are_given_as_well():
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


def test_the_cut_at_the_noise_is_given_even_where_no_height_jumps():
    first = colourings(known_to(0.01, numbers().random((300, 1)), (300, 1)))[0]
    assert 1 < first.n_colours < 100
    assert first.within <= 0.04 < first.above


def test_at_most_eight_of_many_jumps_are_cut():
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


def test_alignment_undoes_any_change_of_basis():
    draw = numbers()
    rows, gauge = draw.standard_normal((20, 3)), draw.standard_normal((3, 3))
    np.testing.assert_allclose(aligned(rows @ gauge, rows), rows, atol=1e-10)
    assert np.abs(aligned(draw.standard_normal((20, 3)), rows) - rows).max() > 0.5


def test_the_mean_over_an_orbital_has_a_smaller_error():
    labels, rows = pattern(regular(cyclic(8)), 0.4)
    calm = rows.averaged(labels.ravel())
    assert calm.error == pytest.approx(0.4 / math.sqrt(8))
    exact = pattern(regular(cyclic(8)), 0.0)[1].values
    assert np.sqrt(((calm.values - exact) ** 2).sum(1).mean()) < 0.2
    assert len(np.unique(calm.values.round(12), axis=0)) == 8


def test_the_error_after_averaging_over_unequal_orbitals():
    """Four weights have half of it, the fifth all of it."""
    calm = known_to(0.3, np.ones((5, 2)), (5, 1)).averaged(np.array([0, 0, 1, 0, 0]))
    assert calm.error == pytest.approx(0.3 * math.sqrt((4 / 4 + 1) / 5))


# ------------------------------------------------------------------------------------------------------------- points


def grid_ties():
    """What permutations of the nine taps of an image must keep."""
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(90, 1, 1, 4, 4, generator=draw), torch.randn(90, 1, 1, 2, 2, generator=draw)
    return prepare(x, y, layer="conv2d").ties


def all_alike(m, n, ties=None, signed=False):
    """The group of a layer whose weights are all 1."""
    values = np.ones((m, n))
    points = Points(n, m, ties, signed)
    rows = points.rows(known_to(0.0, values.reshape(-1, 1), values.shape))
    return points.automorphisms(colourings(rows)[0], rows)


def test_equal_points_may_all_be_permuted():
    group = all_alike(2, 3)
    assert group.order == math.factorial(2) * math.factorial(3)
    assert group.generators_in.shape[1] == 3
    assert group.generators_out.shape[1] == 2


def test_both_signs_of_a_point_move_together():
    """Inputs alike could be swapped with one sign alone, were the signs not tied."""
    group = all_alike(2, 3, signed=True)
    assert group.order == 2 * math.factorial(2) * math.factorial(3)  # twice: all signs at once
    for moved, n in ((group.generators_in, 3), (group.generators_out, 2)):
        assert ((moved[:, n:] - moved[:, :n]) % (2 * n) == n).all()


def test_weights_keep_their_mean_over_all_signs_at_once(gen):
    points, U = Points(3, 2, None, True), torch.randn(6, 4, generator=gen)
    opposite = orbitals(np.array([[3, 4, 5, 0, 1, 2]]), np.array([[2, 3, 0, 1]]))
    torch.testing.assert_close(points.average(U, opposite), U)
    # An output whose sign changes alone has no mean.
    one = orbitals(np.array([[0, 1, 2, 3, 4, 5]]), np.array([[2, 1, 0, 3]]))
    expected = U.view(2, 3, 4) * torch.tensor([0.0, 1.0])[:, None, None]
    torch.testing.assert_close(points.average(U, one).view(2, 3, 4), expected)
    classes = points.plain(np.arange(4 * 6).reshape(4, 6))
    assert classes.tolist() == [[0, 1, 2], [6, 7, 8]]


def test_the_reynolds_operator_averages_in_the_original_units(gen):
    """Where inputs differ in units, weights that are equal there are not equal here."""
    factors = np.array([[1.0, 2.0], [1.0, 2.0]])
    points, U = Points(2, 2, None, False, factors), torch.randn(4, 3, generator=gen, dtype=torch.float64)
    swap = orbitals(np.array([[1, 0]]), np.array([[0, 1]]))
    found = points.average(U, swap).view(2, 2, 3)
    torch.testing.assert_close(found[:, 0], 2 * found[:, 1])
    torch.testing.assert_close(found[:, 0], (U.view(2, 2, 3)[:, 0] + 2 * U.view(2, 2, 3)[:, 1]) / 2)


def test_taps_with_signs_move_as_the_grid_does():
    assert all_alike(1, 9, grid_ties()).order == 8
    assert all_alike(1, 9, grid_ties(), signed=True).order == 16
    assert all_alike(1, 9, signed=True).order == 2 * math.factorial(9)


@pytest.mark.parametrize(
    ("moved_in", "moved_out", "signed", "trivial"),
    [
        ([0, 1], [0, 1], False, True),
        ([1, 0], [1, 0], True, True),  # the change of all signs at once
        ([1, 0], [1, 0], False, False),  # the same numbers without signs: two points swapped
        ([0, 1], [1, 0], False, False),
        ([1, 0], [0, 1], False, False),
    ],
)
def test_groups_that_every_layer_has_are_trivial(moved_in, moved_out, signed, trivial):
    n = 1 if signed else 2
    points = Points(n, n, None, signed)
    assert points.is_trivial(np.array([moved_in]), np.array([moved_out])) is trivial


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
def test_inputs_and_outputs_are_used_where_their_weights_are_known(weak, error, used):
    values = np.ones((4, 3))
    values[:, 2] = weak
    values[3] = 0  # this output has a bias alone
    used_in, used_out = Points(3, 4, None, False).used(known_to(error, values.reshape(-1, 1), (4, 3)))
    assert used_in.tolist() == ([0, 1, 2] if used else [0, 1])
    assert used_out.tolist() == [0, 1, 2]


def test_an_input_of_one_output_alone_is_used():
    values = np.eye(4)
    assert [u.tolist() for u in Points(4, 4, None, False).used(known_to(0.0, values.reshape(-1, 1), (4, 4)))] == [
        [0, 1, 2, 3]
    ] * 2


@pytest.mark.parametrize("signed", [False, True])
def test_relabellings_permute_inputs_and_outputs(signed):
    s, t = Points(9, 7, None, signed).relabelling(numbers())
    assert sorted(s) == list(range(len(s)))
    assert sorted(t) == list(range(len(t)))
    assert (len(s), len(t)) == ((18, 14) if signed else (9, 7))
    assert (s[:9] != np.arange(9)).any()
    assert (t[:7] != np.arange(7)).any()
    if signed:
        assert (s[9:] == s[:9] + 9).all()
        assert (t[7:] == t[:7] + 7).all()


# ------------------------------------------------------------------------------------------------------------- orbits


def test_pair_orbits_are_those_of_the_group():
    rep = natural(dihedral(5))
    gens = rep.permutations[list(rep.group.generators)]
    labels = equivariant_basis(rep, rep).labels.flatten().numpy()
    assert np.array_equal(orbitals(gens, gens), labels)
    none = np.empty((0, 5), dtype=int)
    assert np.array_equal(orbitals(none, none), np.arange(25))


def test_averages_are_means_over_orbits(gen):
    U = torch.randn(5, 3, generator=gen, dtype=torch.float64)
    found = reynolds_operator(U, np.array([0, 1, 0, 2, 0]))
    torch.testing.assert_close(found[[0, 2, 4]], U[[0, 2, 4]].mean(0).expand(3, -1))
    torch.testing.assert_close(found[[1, 3]], U[[1, 3]])


def test_orbits_of_a_renamed_group_are_those_of_its_conjugate():
    draw = np.random.default_rng(0)
    p, q = np.array([[1, 2, 0, 3], [0, 1, 3, 2]]), np.array([[1, 2, 0, 3, 4], [0, 1, 2, 4, 3]])
    for _ in range(10):
        s, t = draw.permutation(4), draw.permutation(5)
        conjugates = (a[moves[:, np.argsort(a)]] for a, moves in ((s, p), (t, q)))
        expected, found = orbitals(*conjugates), relabelled_orbitals(orbitals(p, q), s, t)
        assert np.array_equal(expected[:, None] == expected, found[:, None] == found)


# ---------------------------------------------------------------------------------------------------------- told apart

FRUCHT = (-5, -2, -4, 2, 5, -2, 2, 5, -2, -5, 4, 2)


def heat(graph, times):
    """Rows of the weights ``exp(−t L)`` of a graph, for a few times."""
    values, vectors = np.linalg.eigh(np.diag(graph.sum(1)) - graph)
    W = np.stack([(vectors * np.exp(-t * values)) @ vectors.T for t in times], -1)
    return W.reshape(-1, len(times)), W.shape[:2]


def frucht():
    """Twelve points, three neighbours each, no automorphism but the identity (Frucht, 1939)."""
    A = np.zeros((12, 12))
    for i, step in enumerate(FRUCHT):
        for j in ((i + 1) % 12, (i + step) % 12):
            A[i, j] = A[j, i] = 1
    return A


def cycle(n):
    return np.roll(np.eye(n), 1, 0) + np.roll(np.eye(n), -1, 0)


def path(n):
    return np.eye(n, k=1) + np.eye(n, k=-1)


@pytest.mark.parametrize(
    ("graph", "error", "apart"),
    [
        (frucht(), 1e-4, True),
        (frucht(), 0.1, False),  # errors hide it
        (cycle(12), 1e-6, False),
        (path(6), 1e-6, False),  # it can be read backwards
        (np.diag([0.0] * 5), 1e-6, False),
        (path(6) + np.diag([1.0, 0, 0, 0, 0, 0]), 1e-4, False),  # a loop is none of the Laplacian
        (np.pad(path(6), ((0, 1), (0, 1))) + np.eye(7)[[2]].T @ np.eye(7)[[6]] + np.eye(7)[[6]].T @ np.eye(7)[[2]],
         1e-5, True),  # a leaf on the third of six
    ],
    ids=["Frucht", "Frucht under noise", "cycle", "path", "no edge", "loop", "leaf"],
)  # fmt: skip
def test_colour_refinement_tells_points_apart_where_no_permutation_keeps_the_weights(graph, error, apart):
    values, shape = heat(graph, (0.3, 0.7, 1.2))
    values = values + error / math.sqrt(3) * numbers().standard_normal(values.shape)
    every = np.arange(len(graph))
    assert all_distinct(known_to(error, values, shape), every, every) is apart


def test_unused_points_need_not_be_told_apart():
    values, shape = heat(frucht(), (0.3, 0.7))
    W = np.zeros((14, 14, 2))
    W[:12, :12] = values.reshape(*shape, 2)
    rows = known_to(1e-5, W.reshape(-1, 2), (14, 14))
    assert all_distinct(rows, np.arange(12), np.arange(12))
    assert not all_distinct(rows, np.arange(14), np.arange(14))
    nothing = np.arange(0)
    assert not any(all_distinct(rows, *used) for used in ((np.arange(1), nothing), (nothing, np.arange(1))))


def test_points_that_a_group_moves_are_never_told_apart():
    """Whatever noise draws, where a permutation keeps the weights."""
    for seed in range(20):
        rep = (regular(cyclic(5)), natural(dihedral(6)), natural(symmetric(4)))[seed % 3]
        _, rows = pattern(rep, 0.1, seed)
        every = np.arange(rep.dim)
        assert not all_distinct(rows, every, every)


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


def test_a_translation_of_relabelled_points_is_found_without_its_name():
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


def test_classes_force_images_where_they_are_unique_in_a_line_and_not_the_background():
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


# ----------------------------------------------------------------------------------------------------------- learning


def test_the_error_of_a_weight_is_that_of_its_output_and_its_input(gen):
    rep = regular(cyclic(8))
    s = sample_group(rep, rep, n_tasks=400)
    sizes, noises = torch.ones(8), torch.full((8,), 0.05)
    sizes[3], noises[5] = 2.5, 0.5
    x = s.x * sizes
    y = x @ s.w.mT + noises * torch.randn(s.y.shape, generator=gen)
    data = prepare(x, y)
    learned = learn(data.x, data.y, data.counts, 8, 0)
    errors = learned.rows.errors.reshape(8, 8)
    others = [i for i in range(8) if i != 5]
    assert 4 < errors[5].mean() / errors[others].mean() < 10  # its noise is in the filters, too, which others share
    assert errors[:, 3].mean() / errors[:, [0, 1, 2, 4, 5, 6, 7]].mean() == pytest.approx(1 / 2.5, rel=0.3)
    # And it is the error: a row is about as far from the mean of its class.
    labels = equivariant_basis(rep, rep).labels.numpy()
    away = learned.rows.values.reshape(8, 8, -1)
    mean = np.stack([away[others][labels[others] == c].mean(0) for c in range(8)])[labels]
    found = np.sqrt(((away - mean)[others] ** 2).sum(2).mean())
    assert 0.5 < found / np.sqrt((errors[others] ** 2).mean()) < 1.1  # what all rows have in common is not seen there


def test_weights_are_compared_among_like_units_and_in_the_original_units(gen):
    rep = regular(cyclic(4))
    s = sample_group(rep + rep, rep, n_tasks=200, noise=0.1)
    x = s.x.clone()
    x[:, :, 4:] *= 64
    data = prepare(x, s.y)
    assert len(set(data.units[0][:4])) == len(set(data.units[0][4:8])) == 1
    assert data.units[0][4] / data.units[0][0] == pytest.approx(64, rel=0.05)
    assert len(np.unique(data.labels)) == 2  # two kinds of inputs
    alike, came = learn(data.x, data.y, data.counts, 8, 0).views(Points(8, 4, None, False), data)
    assert np.array_equal(alike.labels, data.labels)
    assert came.labels is None
    ratio = alike.rows.values / came.rows.values
    assert ratio[data.labels.ravel() == 1].mean() / ratio[data.labels.ravel() == 0].mean() == pytest.approx(
        64, rel=0.05
    )
    np.testing.assert_allclose(alike.rows.errors / came.rows.errors, ratio[:, 0])
    plain = prepare(s.x, s.y)
    assert plain.labels is None
    (only,) = learn(plain.x, plain.y, plain.counts, 8, 0).views(Points(8, 4, None, False), plain)
    assert only.labels is None


def test_tasks_of_one_length_come_together_without_the_zeros_past_it(gen):
    x, y = torch.randn(90, 6, 3, generator=gen), torch.randn(90, 6, 2, generator=gen)
    counts = torch.tensor([4, 6, 5]).repeat(30)
    chunks = by_length(x, y, counts, size=20)
    for _ in range(2):  # it can be gone through again
        found = list(chunks())
        assert [tuple(a.shape) for a, _ in found] == [
            (20, 4, 3),
            (10, 4, 3),
            (20, 5, 3),
            (10, 5, 3),
            (20, 6, 3),
            (10, 6, 3),
        ]
        seen = torch.cat([a[:, 0] for a, _ in found])
        assert torch.equal(seen.sort(0).values, x[:, 0].sort(0).values)
        for a, b in found:
            place = int((x[:, 0] == a[0, 0]).all(1).nonzero())
            assert torch.equal(a[0], x[place, : a.shape[1]])
            assert torch.equal(b[0], y[place, : a.shape[1]])


def test_tasks_of_a_rare_length_are_skipped(gen):
    """Halves of two tasks of three examples show two of eight inputs' directions, and would stop all others."""
    x, y = torch.randn(60, 12, 8, generator=gen), torch.randn(60, 12, 2, generator=gen)
    counts = torch.full((60,), 12)
    counts[:2] = 3
    assert [a.shape for a, _ in by_length(x, y, counts)()] == [(58, 12, 8)]
    counts[:] = 3  # where all are such, they are what there is
    assert [a.shape for a, _ in by_length(x[:4], y[:4], counts[:4])()] == [(4, 3, 8)]


def test_unequal_tasks_teach_what_equal_ones_do(gen):
    rep = regular(cyclic(4))
    s = sample_group(rep, rep, n_tasks=240, noise=0.05)
    counts = 20 - torch.randint(0, 9, (240,), generator=gen)
    data = prepare(
        [one[:c] for one, c in zip(s.x, counts, strict=True)], [one[:c] for one, c in zip(s.y, counts, strict=True)]
    )
    learned = learn(data.x, data.y, data.counts, "auto", 0)
    assert learned.span.k == 4
    truth = equivariant_basis(rep, rep).orthonormal()
    U = torch.linalg.qr(learned.span.U)[0]
    assert float((U - truth @ (truth.mT @ U)).norm()) < 0.05


def test_what_a_span_explains_of_other_tasks():
    rep = regular(cyclic(4))
    s = sample_group(rep, rep, n_tasks=300, noise=0.5)
    data = prepare(s.x, s.y)
    learned = learn(data.x[:150], data.y[:150], data.counts[:150], 4, 0)
    assert explained(learned.span, data.x[150:], data.y[150:]) == pytest.approx(1 - 0.25 / 1.25 * 72 / 76, abs=0.03)
    other = torch.randn(150, 20, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert explained(learned.span, data.x[150:], other) < 0.3


def test_values_derived_a_part_at_a_time_equal_the_whole(gen):
    values, unit = torch.randn(7, 5, 3, generator=gen), torch.rand(3, generator=gen) + 1
    turn = torch.randn(3, 2, generator=gen)
    some = torch.tensor([4, 0])
    for made, whole in ((Derived(values, unit), values / unit), (Derived(values, unit, turn), values / unit @ turn)):
        assert made.shape == tuple(whole.shape)
        assert len(made) == 7
        for places in (slice(2, 6), some, (some, torch.tensor([1, 3])), (slice(None), slice(1, None, 2))):
            assert torch.allclose(made[places], whole[places])


def test_selecting_tasks_by_place_equals_passing_them_alone(gen):
    x, y = torch.randn(30, 6, 3, generator=gen), torch.randn(30, 6, 2, generator=gen)
    counts, tasks = torch.tensor([4, 6, 5]).repeat(10), torch.randperm(30, generator=gen)[:21]
    apart = list(by_length(x[tasks], y[tasks], counts[tasks], size=4)())
    together = list(by_length(x, y, counts, tasks, size=4)())
    assert len(apart) == len(together) > 3
    assert all(
        torch.equal(a, b) for one, other in zip(apart, together, strict=True) for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("most", [5, 3])
def test_tasks_and_examples_come_into_their_places(most, gen):
    values, tasks = torch.randn(9, 5, 2, generator=gen), torch.randperm(9, generator=gen)
    examples = torch.rand(9, 5, generator=gen).argsort(1)[:, :most]
    expected = torch.stack([values[t][places] for t, places in zip(tasks.tolist(), examples, strict=True)])
    assert torch.equal(reordered(values.clone(), tasks, examples), expected)
