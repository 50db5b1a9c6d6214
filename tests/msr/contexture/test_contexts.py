"""Contexts as values: what they are made of, how their scale is checked, and what mixtures do to singular values."""

import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from experiments.shared.cube import BITS, cube, flips
from msr.contexture import (
    GroupContext,
    JointContext,
    KernelContext,
    PoolContext,
    SamplerContext,
    TableContext,
    convex,
    convolve,
    joint,
    mixing,
    spectrum,
)
from msr.contexture.contexts import base
from msr.contexture.objectives import exact_moments, moments
from msr.errors import ConfigError, DataError, MSRError, NonFiniteError, ShapeError
from msr.groups import cyclic, dihedral, symmetric
from msr.representations import irrep, natural
from tests.msr.contexture.cases import random_encoder, random_joint

SEEDS = st.integers(0, 10**6)


def counts(values: torch.Tensor) -> dict[float, int]:
    """How often each value occurs, to six digits, the constant function's 1 among them."""
    found, times = np.unique(np.append(values.numpy(), 1.0).round(6), return_counts=True)
    return dict(zip(found.tolist(), times.tolist(), strict=True))


def walk(*steps: tuple[int, float]) -> np.ndarray:
    """The probabilities of the turns of C6."""
    chances = np.zeros(6)
    for step, chance in steps:
        chances[step] = chance
    return chances


@pytest.mark.parametrize(
    ("group", "elements", "expected"),
    [
        (cyclic(6), None, {0: 50, 1: 14}),
        (dihedral(6), None, {0: 51, 1: 13}),
        (symmetric(6), None, {0: 57, 1: 7}),
        (cyclic(6), walk((0, 1 / 3), (2, 1 / 3), (4, 1 / 3)), {0: 40, 1: 24}),
        (cyclic(6), walk((1, 0.5), (3, 0.5)), {0.5: 40, 1: 24}),
        (cyclic(6), walk((0, 0.4), (1, 0.3), (5, 0.3)), {0.1: 22, 0.2: 10, 0.7: 18, 1: 14}),
        (cyclic(6), walk((0, 0.5), (1, 0.5)), {0: 10, 0.5: 22, 0.866025: 18, 1: 14}),
    ],
)
def test_a_group_has_the_orbits_of_what_it_can_draw_as_unit_values(group, elements, expected):
    context = GroupContext(cube(group), elements)
    values = spectrum(context).values
    assert counts(values) == expected
    assert context.unit_values == expected[1]
    torch.testing.assert_close(context.spectrum_by_characters()[1:], values, atol=1e-12, rtol=0)


def test_points_of_unequal_weight_keep_their_orbits():
    weights = np.random.default_rng(0).dirichlet(np.ones(64))
    context = GroupContext(cube(cyclic(6)), weights=weights)
    assert counts(spectrum(context).values)[1] == context.unit_values == 14
    with pytest.raises(ConfigError, match="unequal weight"):
        context.spectrum_by_characters()


@given(SEEDS)
def test_characters_know_the_spectrum_of_any_weight(seed):
    draw = np.random.default_rng(seed)
    group = (dihedral(6), symmetric(4), cyclic(5))[seed % 3]
    representation = natural(group) if group.order != 12 else cube(group)
    context = GroupContext(representation, draw.dirichlet(np.full(group.order, 0.3)))
    by_table = spectrum(context).values
    torch.testing.assert_close(context.spectrum_by_characters()[1:], by_table, atol=1e-9, rtol=0)


def test_a_generator_that_is_missed_or_invented_shows_in_the_count():
    group = cyclic(6)
    right = GroupContext(cube(group)).unit_values
    missed = GroupContext(cube(group), walk((0, 0.5), (3, 0.5))).unit_values
    invented = GroupContext(cube(dihedral(6))).unit_values
    assert invented < right < missed


@given(SEEDS)
def test_expectation_and_adjoint_are_adjoint_and_make_the_kernel(seed):
    context = random_joint(seed)
    draw = torch.Generator().manual_seed(seed)
    f = torch.randn(context.n, 2, dtype=torch.float64, generator=draw)
    g = torch.randn(context.marginal.shape[0], 2, dtype=torch.float64, generator=draw)
    left = f.mT @ (context.weights[:, None] * context.expectation(g))
    right = context.adjoint(f).mT @ (context.marginal[:, None] * g)
    torch.testing.assert_close(left, right)
    smoothed = context.dual_kernel() @ (context.weights[:, None] * f)
    torch.testing.assert_close(context.smoothed(f), smoothed)
    torch.testing.assert_close(context.smoothed(f), context.expectation(context.adjoint(f)))
    assert context.kappa2 >= context.energy + 1 - 1e-9
    assert context.kappa2 == pytest.approx(float(context.dual_kernel().diagonal().max()))


def test_a_sparse_table_is_the_same_context_as_a_dense_one():
    table = random_joint(3)
    sparse = TableContext(csr_matrix(table.conditional), table.weights)
    f = random_encoder(0, table.n, 3)
    torch.testing.assert_close(sparse.smoothed(f), table.smoothed(f))
    torch.testing.assert_close(sparse.dual_kernel(), table.dual_kernel())
    torch.testing.assert_close(spectrum(sparse).values, spectrum(table).values)
    assert sparse.energy == pytest.approx(table.energy)
    assert sparse.kappa2 == pytest.approx(table.kappa2)


def test_labels_are_one_function_for_each_class_but_one():
    labels = np.array(["b", "a", "a", "c", "b", "b"])
    context = KernelContext.labels(labels)
    assert counts(spectrum(context).values) == {0: 3, 1: 3}
    kernel = context.dual_kernel().numpy()
    same = labels[:, None] == labels[None]
    shares = np.array([np.mean(labels == label) for label in labels])
    np.testing.assert_allclose(kernel, same / shares, atol=1e-12)


def test_features_have_their_own_singular_values_over_the_largest():
    features = torch.randn(40, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    centred = features - features.mean(0)
    sizes = torch.linalg.svdvals(centred)
    context = KernelContext.features(features + 100)
    torch.testing.assert_close(spectrum(context, 3).values, sizes / sizes[0])
    cut = KernelContext.features(features, cut=float(sizes[1] / sizes[0]) - 1e-6)
    assert counts(spectrum(cut).values) == {0: 37, 1: 3}
    torch.testing.assert_close(spectrum(KernelContext(context.dual_kernel())).values, spectrum(context).values)
    for constant in (np.full((5, 2), 3.3), np.full(5, 1e9 + 0.1)):
        with pytest.raises(DataError, match="the same at all 5 points"):
            KernelContext.features(constant)


def test_rbf_and_neighbours_are_what_they_say():
    points = torch.randn(30, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    squares = torch.cdist(points, points).square()
    rbf = PoolContext.rbf(points, gamma=0.7)
    torch.testing.assert_close(
        torch.from_numpy(rbf.conditional), torch.exp(-0.7 * squares) / torch.exp(-0.7 * squares).sum(1, keepdim=True)
    )
    near = PoolContext.neighbours(points, 4)
    chosen = squares.argsort(1)[:, :4].sort(1).values
    table = near.conditional.toarray()
    assert (table.sum(1) == 1).all()
    np.testing.assert_array_equal(np.nonzero(table)[1].reshape(30, 4), chosen.numpy())
    new = points[:5] + 0.01
    torch.testing.assert_close(torch.from_numpy(rbf.kernel_rows(points)), rbf.dual_kernel())
    assert near.kernel_rows(new).shape == (5, 30)
    assert PoolContext.neighbours(points, 30).energy < 1e-12


def test_of_points_at_the_same_distance_the_first_are_taken():
    points = torch.zeros(6, 1, dtype=torch.float64)
    table = PoolContext.neighbours(points, 3).conditional.toarray()
    assert (table[:, :3] == 1 / 3).all()


@pytest.mark.parametrize("sparse", [False, True])
def test_draws_come_with_the_probabilities_of_the_table(sparse):
    context = random_joint(5)
    if sparse:
        context = TableContext(csr_matrix(context.conditional), context.weights)
    generator = torch.Generator().manual_seed(0)
    drawn = context.draw(torch.arange(context.n), 20_000, generator)
    for x in range(context.n):
        seen = np.bincount(drawn[x].numpy(), minlength=context.conditional.shape[1]) / 20_000
        row = context.conditional[x]
        np.testing.assert_allclose(seen, row.toarray()[0] if sparse else row, atol=0.02)
    assert (PoolContext.neighbours(random_encoder(0, 9, 2), 2).draw(torch.arange(9), 5, generator) < 9).all()


def test_a_sampler_gives_several_contexts_of_each_point():
    noise = SamplerContext(lambda x, generator: x + torch.randn(x.shape, generator=generator))
    generator = torch.Generator().manual_seed(0)
    drawn = noise.draw(torch.zeros(3, 2), 4, generator)
    assert drawn.shape == (3, 4, 2)
    assert drawn.unique().numel() == 24
    with pytest.raises(ShapeError, match="3 points were given and 2"):
        SamplerContext(lambda x, _: x[:2]).draw(torch.zeros(3, 2), 1, generator)
    with pytest.raises(NonFiniteError):
        SamplerContext(lambda x, _: x / 0).draw(torch.zeros(3, 2), 1, generator)


@given(SEEDS)
def test_one_after_the_other_weakens(seed):
    first = random_joint(seed, 8, 6)
    after = TableContext(random_joint(seed + 1, 6, 5).conditional, first.marginal)
    both = convolve(first, after)
    s, s1, s2 = (spectrum(context).values for context in (both, first, after))
    k = min(len(s), len(s1), len(s2))
    bound = torch.minimum(s1[:k] * s2[0], s1[0] * s2[:k])
    assert bool((s[:k] <= bound + 1e-9).all())
    # By its kernel, the second context gives the same.
    by_kernel = convolve(first, KernelContext(after.dual_kernel(), after.weights))
    torch.testing.assert_close(spectrum(by_kernel).values, s, atol=1e-6, rtol=0)


@given(SEEDS)
def test_one_of_several_averages_the_kernels(seed):
    parts = [random_joint(seed, 8, 6), random_joint(seed + 1, 8, 5)]
    parts = [TableContext(part.conditional, np.full(8, 1 / 8)) for part in parts]
    mixed = convex(parts, [0.3, 0.7])
    kernels = [part.dual_kernel() for part in parts]
    torch.testing.assert_close(mixed.dual_kernel(), 0.3 * kernels[0] + 0.7 * kernels[1])
    assert mixed.energy == pytest.approx(0.3 * parts[0].energy + 0.7 * parts[1].energy)
    # Ky Fan: the top sums are below the mean of the top sums.
    tops = [spectrum(part).squares.cumsum(0) for part in (mixed, *parts)]
    assert bool((tops[0] <= 0.3 * tops[1] + 0.7 * tops[2] + 1e-9).all())
    with_kernel = convex([parts[0], KernelContext(kernels[1])], [0.3, 0.7])
    torch.testing.assert_close(with_kernel.dual_kernel(), mixed.dual_kernel())


@given(SEEDS)
def test_several_at_once_strengthen(seed):
    parts = [TableContext(random_joint(seed + i, 8, 6).conditional, np.full(8, 1 / 8)) for i in range(2)]
    together = joint(parts)
    s = spectrum(together).values
    for part in parts:
        assert bool((s >= spectrum(part).values - 1e-9).all())
    dense = np.einsum("xa,xb->xab", *(part.conditional for part in parts)).reshape(8, -1)
    torch.testing.assert_close(s, spectrum(TableContext(dense)).values, atol=1e-9, rtol=0)


def test_a_group_and_then_noise_keeps_the_invariant_functions_of_the_noise():
    noise = flips(0.2)
    both = convolve(GroupContext(cube(cyclic(6))), noise)
    expected = {0.6: 1, 0.36: 3, 0.216: 4, 0.1296: 3, 0.07776: 1, 0.046656: 1, 0: 50, 1: 1}
    assert counts(spectrum(both).values) == {key: expected[key] for key in sorted(expected)}
    alone = {round(0.6**k, 6): math.comb(6, k) for k in range(7)}
    assert counts(spectrum(noise).values) == {key: alone[key] for key in sorted(alone)}


def test_a_group_or_noise_adds_their_eigenvalues():
    mixed = convex([GroupContext(cube(cyclic(6))), flips(0.2)])
    expected = {
        1.0: 1, 0.68: 1, 0.5648: 3, 0.523328: 4, 0.508398: 3, 0.503023: 1, 0.501088: 1,
        0.18: 5, 0.0648: 12, 0.023328: 16, 0.008398: 12, 0.003023: 5,
    }  # fmt: skip
    assert counts(spectrum(mixed).squares) == {key: expected[key] for key in sorted(expected)}


GOOD = np.array([[0.5, 0.5], [0.2, 0.8]])


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: TableContext(GOOD * 2), DataError, "row 0 of P(a|x) sums to 2"),
        (lambda: TableContext([[1.5, -0.5]]), DataError, "holds -0.5"),
        (lambda: TableContext([[np.nan, 1.0]]), NonFiniteError, "nan"),
        (lambda: TableContext(np.ones(3)), ShapeError, "a matrix"),
        (lambda: TableContext(GOOD, [0.5, 0.6]), DataError, "sum to 1.1"),
        (lambda: TableContext(GOOD, [1.0, 0.0]), DataError, "point 1 has the weight 0"),
        (lambda: TableContext(GOOD, [1.0]), ShapeError, "weights (2,)"),
        (lambda: JointContext([[1, 2], [3, 4]]), DataError, "counts=True"),
        (lambda: JointContext([[0, 0], [3, 4]], counts=True), DataError, "point 0 never occurs"),
        (lambda: JointContext([[0.0, 0.0]], counts=True), DataError, "nothing in it"),
        (lambda: KernelContext(np.ones((2, 3))), ShapeError, "square"),
        (lambda: KernelContext([[1.0, 0.5], [0.4, 1.0]]), DataError, "not symmetric"),
        (lambda: KernelContext(np.eye(4)), DataError, "divide the kernel by 0.25"),
        (lambda: KernelContext([[1.0, 1.5], [1.5, 1.0]]), DataError, "row 0 of the kernel has the mean 1.25"),
        (lambda: KernelContext([[0.5, 1.5], [1.5, 0.5]]), DataError, "not positive semidefinite"),
        (lambda: KernelContext([[4.0, -2.0], [-2.0, 4.0]]), DataError, "is above 1"),
        (lambda: TableContext.labels(["a", None]), DataError, "point 1 has no label"),
        (lambda: KernelContext.labels([1.0, np.nan]), DataError, "point 1 has no label"),
        (lambda: TableContext(np.ones((2, 1)), of_points=True), ShapeError, "must be square"),
        (lambda: TableContext(csr_matrix((3, 0))), ShapeError, "not empty"),
        (lambda: TableContext(csr_matrix(np.eye(2) * 1j)), DataError, "real numbers"),
        (lambda: TableContext([["a", "b"]]), DataError, "real numbers"),
        (lambda: PoolContext.neighbours(np.eye(3), 2.5), ConfigError, "whole number"),
        (lambda: PoolContext.masked(np.ones((4, 2)), 0.5), DataError, "all points are the same"),
        (lambda: PoolContext.rbf(np.eye(3), 0.5).conditional_rows(np.full((1, 3), 1e200)), DataError, "new point 0"),
        (lambda: KernelContext.labels([[1, 2]]), ShapeError, "one label"),
        (lambda: KernelContext.features(np.ones((3, 1)), cut=2), ConfigError, "cut must be"),
        (lambda: PoolContext.rbf(np.zeros((4, 2))), DataError, "give gamma"),
        (lambda: PoolContext.rbf(np.eye(3), gamma=-1), ConfigError, "gamma must be above 0"),
        (
            lambda: PoolContext.neighbours(np.eye(3), 4),
            ConfigError,
            "k must be a whole number from 1 to the number of points, 3",
        ),
        (lambda: PoolContext.neighbours(np.eye(3), 2).conditional_rows(np.eye(2)), ShapeError, "points of 3 numbers"),
        (lambda: TableContext(GOOD).kernel_rows(None), ConfigError, "its own 2 points"),
        (lambda: GroupContext(irrep(cyclic(5), 1)), ConfigError, "mixes coordinates"),
        (lambda: GroupContext(natural(cyclic(4)), [0.5] * 4), DataError, "sum to 2"),
        (lambda: GroupContext(natural(cyclic(4)), [1.0]), ShapeError, "each of 4 elements"),
        (lambda: convolve(KernelContext.labels("ab"), TableContext(GOOD)), ShapeError, "one label"),
        (lambda: convolve(KernelContext.labels(list("ab")), TableContext(GOOD)), ConfigError, "needs P(a|x)"),
        (lambda: convolve(TableContext(GOOD), flips(0.1)), ShapeError, "2 values, and flips 0.1 has 64"),
        (lambda: convolve(TableContext(GOOD), KernelContext.labels(list("ab"))), DataError, "other probabilities"),
        (lambda: convex([]), ConfigError, "at least one"),
        (lambda: convex([TableContext(GOOD), flips(0.1)]), ShapeError, "2 points and flips 0.1 64"),
        (lambda: convex([TableContext(GOOD), TableContext(GOOD, [0.4, 0.6])]), DataError, "differently"),
        (lambda: convex([TableContext(GOOD)] * 2, [0.4, 0.5]), DataError, "must sum to 1"),
        (lambda: convex([TableContext(GOOD)] * 2, [1.0]), ShapeError, "2 probabilities"),
        (lambda: joint([TableContext(GOOD), KernelContext.labels(list("ab"))]), ConfigError, "needs P(a|x)"),
        (lambda: random_joint(0).smoothed(torch.zeros(3, 1)), ShapeError, "(9, d)"),
        (lambda: random_joint(0).expectation(torch.zeros(3, 1)), ShapeError, "(7, d)"),
    ],
)
def test_what_is_no_context_is_refused_with_the_reason(make, error, says):
    with pytest.raises(MSRError) as caught:
        make()
    assert isinstance(caught.value, error), caught.value
    assert says in str(caught.value)


def test_contexts_cannot_be_changed_and_print_in_a_line():
    context = flips(0.1)
    assert repr(context) == "TableContext('flips 0.1', 64 points)"
    with pytest.raises(AttributeError, match="contexts are immutable"):
        context.name = "other"
    assert len(BITS) == context.n


def test_labels_of_any_kind_are_told_apart():
    assert TableContext.labels([1, "1", 2, "2", 1.0]).conditional.shape == (5, 4)
    assert TableContext.labels(torch.tensor([3, 3, 5])).conditional.shape == (3, 2)
    assert counts(spectrum(TableContext.labels(["x", "y", "x"])).values) == {0: 1, 1: 2}
    torch.testing.assert_close(
        KernelContext.labels(list("abba")).dual_kernel(), TableContext.labels(list("abba")).dual_kernel()
    )


def test_a_kernel_of_many_points_is_checked_too():
    points = random_encoder(4, 520, 2)
    context = PoolContext.rbf(points)
    again = KernelContext(context.dual_kernel())
    assert again.energy == pytest.approx(context.energy)
    mixed = convex([KernelContext.labels(np.arange(520) % 3), context])
    assert mixed.energy == pytest.approx(0.5 * 2 + 0.5 * context.energy)
    spoiled = context.dual_kernel().numpy().copy()
    wave = np.cos(np.pi * np.arange(520))
    wave -= wave.mean()
    with pytest.raises(DataError, match="not positive semidefinite"):
        KernelContext(spoiled - 0.01 * np.outer(wave, wave))
    with pytest.raises(DataError, match="is above 1"):
        KernelContext(spoiled + 2 * np.outer(wave, wave))


def test_columns_that_do_not_vary_are_hidden_always():
    points = torch.cat([random_encoder(0, 30, 2), torch.ones(30, 1, dtype=torch.float64)], dim=1)
    context = PoolContext.masked(points, 0.6)
    assert spectrum(context).energy > 0
    binary = torch.cat([points[:, :1], (points[:, 1:2] > 1.2).double()], dim=1)
    assert spectrum(PoolContext.masked(binary, 0.7)).energy > 0


def test_what_is_of_points_stays_so():
    assert flips(0.1).of_points
    assert convolve(GroupContext(cube(cyclic(6))), flips(0.1)).of_points
    assert PoolContext.neighbours(np.eye(3), 2).moved(natural(cyclic(3))).of_points
    assert not PoolContext.masked(random_encoder(0, 9, 3), 0.3).of_points
    assert not random_joint(0).of_points


@pytest.mark.parametrize("k", [1, 2, 7, 29, 30])
def test_of_equal_distances_the_first_are_the_nearest(k):
    draw = np.random.default_rng(k)
    for points in (draw.normal(size=(30, 2)), draw.integers(3, size=(30, 2)).astype(float), np.ones((30, 2))):
        distances = np.linalg.norm(points[:, None] - points, axis=2)
        wanted = np.sort(np.argsort(distances, axis=1, kind="stable")[:, :k], axis=1)
        table = PoolContext.neighbours(points, k).conditional
        np.testing.assert_array_equal(np.sort(table.indices.reshape(30, k), axis=1), wanted)


@pytest.mark.parametrize("unit", [1e-200, 1e200])
def test_neighbours_do_not_depend_on_the_unit(unit):
    points = np.random.default_rng(0).normal(size=(12, 2))
    wanted = PoolContext.neighbours(points, 3)
    found = PoolContext.neighbours(points * unit, 3)
    np.testing.assert_array_equal(found.conditional.toarray(), wanted.conditional.toarray())
    rows = found.conditional_rows(points[:4] * unit)
    np.testing.assert_array_equal(rows.toarray(), wanted.conditional_rows(points[:4]).toarray())


@pytest.mark.parametrize(
    "make",
    [
        lambda: random_joint(3),
        lambda: random_joint(4, 5, 30),
        lambda: PoolContext.neighbours(random_encoder(0, 40, 2), 5),
        lambda: KernelContext.labels(torch.arange(12) % 3),
    ],
)
@pytest.mark.parametrize("small", [0, 2**22])
def test_training_sees_the_matrices_of_a_context(make, small, monkeypatch):
    # Sparse and dense products, with the table and with the kernel, are the same map and have the same derivatives.
    monkeypatch.setattr(base, "SMALL", small)
    monkeypatch.setattr(moments, "SMALL", small)
    context = make()
    values = random_encoder(1, context.n, 3).requires_grad_()
    centred = values - context.weights @ values
    wanted = centred.mT @ (context.weights[:, None] * torch.from_numpy(context.dual_kernel().numpy()))
    wanted = wanted @ (context.weights[:, None] * centred)
    found = exact_moments(context, values).cross
    torch.testing.assert_close(found, wanted)
    chosen = random_encoder(2, 3, 3)
    slopes = [torch.autograd.grad((matrix * chosen).sum(), values, retain_graph=True)[0] for matrix in (found, wanted)]
    torch.testing.assert_close(*slopes)
    single = exact_moments(context, values.float()).cross
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), wanted, atol=1e-5, rtol=1e-4)
    assert context.operator("gram", values) is context.operator("gram", values)


def test_a_context_that_was_looked_at_in_inference_mode_can_be_trained_on():
    context = PoolContext.rbf(random_encoder(0, 12, 2))
    values = random_encoder(1, 12, 2).requires_grad_()
    with torch.inference_mode():
        exact_moments(context, values)
    exact_moments(context, values).cross.square().sum().backward()
    assert values.grad.abs().max() > 0
    # What can be made again is no part of a file.
    assert "_operators" in context.__dict__
    assert "_operators" not in pickle.loads(pickle.dumps(context)).__dict__


def test_a_context_known_by_its_kernel_has_no_table_for_training():
    with pytest.raises(ConfigError, match="got 'grams' as "):
        KernelContext.labels([1, 2]).operator("grams", torch.zeros(1))
    with pytest.raises(ConfigError, match="got 'gram' as "):
        KernelContext.labels([1, 2]).operator("gram", torch.zeros(1, dtype=torch.int64))
    with pytest.raises(ConfigError, match="known by its kernel only, and has no matrix joint"):
        KernelContext.labels([1, 2]).operator("joint", torch.zeros(1))


def test_several_contexts_at_once_are_refused_before_they_fill_the_memory(monkeypatch):
    small = PoolContext.rbf(random_encoder(0, 10, 2))
    monkeypatch.setattr(mixing, "MOST_PAIRS", 1000)
    assert joint([small, small]).n == 10
    monkeypatch.setattr(mixing, "MOST_PAIRS", 999)
    with pytest.raises(DataError, match="would hold 1,000 numbers, and 999 are the most"):
        joint([small, small])
