"""Estimates of what breaks a group in the tasks' own weights: unbiased for each kind of task and of inputs."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from msr.discovery.breaking.least_squares import LeastSquares
from msr.discovery.breaking.moments import Moments, SymmetricSpan, filter_equations, ridge
from msr.discovery.breaking.pairs import Pairs
from msr.discovery.breaking.sample import Sample
from msr.groups import cyclic
from msr.representations import equivariant_basis, regular
from msr.span import SharedSpan

KINDS = ("drawn anew", "offset", "means of their own", "unequal", "the same in every task")
N = 4
BASIS = equivariant_basis(regular(cyclic(N)), regular(cyclic(N)))
ORBITS = BASIS.labels.flatten().numpy()


def span_of(U, noise=0.0):
    k = U.shape[1]
    return SharedSpan(U, torch.zeros(k, dtype=torch.float64), noise, k, None, None, 1, True, ())


def sample_of(x, y, counts):
    """Each task less its mean, as ``prepare`` gives them."""
    there = (torch.arange(x.shape[1]) < counts[:, None])[:, :, None]
    means = [(side * there).sum(1) / counts[:, None] for side in (x, y)]
    x, y = ((side - mean[:, None]) * there for side, mean in zip((x, y), means, strict=True))
    return Sample.of(SimpleNamespace(x=x, y=y, counts=counts, means=tuple(means)))


def tasks(kind, gen, count=3000, examples=20, noise=0.3):
    """Tasks with three weights in turn, of which the first keeps C4; outputs differ in size, and tasks in noise."""
    W = torch.randn(3, N, N, generator=gen, dtype=torch.float64)
    W = W * torch.tensor([1.0, 3.0, 1.0, 0.3])[:, None]
    W[0] = torch.from_numpy(np.array([W[0].flatten()[c == ORBITS].mean() for c in range(N)])[ORBITS]).view(N, N)
    which = torch.arange(count) % 3
    x = torch.randn(count, examples, N, generator=gen, dtype=torch.float64)
    counts = torch.full((count,), examples)
    if kind == "the same in every task":
        x = x[:1].expand_as(x)
    if kind == "means of their own":
        x = x + 3 * torch.randn(count, 1, N, generator=gen, dtype=torch.float64)
    if kind == "offset":
        x = x + torch.tensor([10.0, 0, -5, 3])
    if kind == "unequal":
        counts = examples - torch.randint(0, 9, (count,), generator=gen)
    sizes = noise * 2 * torch.rand(count, 1, 1, generator=gen, dtype=torch.float64)
    y = x @ W[which].mT + sizes * torch.randn(count, examples, N, generator=gen, dtype=torch.float64)
    return sample_of(x, y, counts), W, which


def breaking_part_of(W, sample):
    """``D⁻¹ (W − P W) Σ^½`` of the weights themselves."""
    mean = np.array([W.flatten()[c == ORBITS].mean() for c in range(N)])[ORBITS].reshape(N, N)
    return ((W - torch.from_numpy(mean)) / sample.scale[:, None]) @ sample.root


def assert_unbiased(estimates, truth, detectable=0.15):
    """Within four standard errors, which are small enough to see such a bias; the outputs' energy is 4 on average."""
    error = float(estimates.std()) / len(estimates) ** 0.5
    assert 4 * error < max(detectable, detectable * truth)
    assert float(estimates.mean()) == pytest.approx(truth, abs=4 * error + 1e-9)


@pytest.mark.parametrize(
    ("estimator", "kind"),
    [*((Pairs, kind) for kind in KINDS if not kind.startswith("the same")), *((LeastSquares, kind) for kind in KINDS)],
)
@pytest.mark.parametrize("learned", ["the span", "a part of it", "nothing"])
def test_what_breaks_a_group_is_right_for_each_kind_of_task(estimator, kind, learned, gen):
    sample, W, which = tasks(kind, gen, 1500)
    estimate = estimator(sample)
    U = BASIS.orthonormal()
    span = {"the span": span_of(U), "a part of it": span_of(U[:, :2], 0.1), "nothing": None}[learned]
    directions = torch.linalg.qr(torch.randn(N * N, 2, generator=gen, dtype=torch.float64))[0]
    whole, along = estimate(ORBITS, span, directions, torch.arange(len(sample)))
    for i in range(3):
        away = breaking_part_of(W[i], sample)
        truth = float(away.square().sum())
        # Least squares leave out tasks with few examples.
        own = (which == i) & whole.isfinite()
        assert int(own.sum()) >= 200
        assert_unbiased(whole[own], truth)
        assert_unbiased(along[own], float((away.flatten() @ directions).square().sum()))
    assert truth > 0.5


@pytest.mark.parametrize("estimator", [Pairs, LeastSquares])
def test_estimates_of_some_tasks_equal_those_of_all(estimator, gen):
    sample, _, _ = tasks("unequal", gen, 60)
    estimate, nothing = estimator(sample), torch.zeros(N * N, 0, dtype=torch.float64)
    some = torch.tensor([3, 40, 7])
    every = torch.arange(60)
    span = span_of(BASIS.orthonormal())
    torch.testing.assert_close(
        estimate(ORBITS, span, nothing, some)[0], estimate(ORBITS, span, nothing, every)[0][some]
    )


def test_a_span_lowers_the_noise_of_pairs(gen):
    """The part of a weight that keeps the group is fitted and taken off first; the rest has less noise."""
    sample, _, which = tasks("drawn anew", gen, 600)
    nothing, every = torch.zeros(N * N, 0, dtype=torch.float64), torch.arange(600)
    pairs = Pairs(sample)
    without = pairs(ORBITS, None, nothing, every)[0][which == 0]
    with_span = pairs(ORBITS, span_of(BASIS.orthonormal()), nothing, every)[0][which == 0]
    assert float(with_span.std()) < 0.3 * float(without.std())


@pytest.mark.parametrize("kind", ["drawn anew", "offset", "means of their own"])
def test_a_common_mean_is_seen(kind, gen):
    sample, _, _ = tasks(kind, gen, 300)
    assert Pairs(sample)._common is (kind != "means of their own")


def test_pairs_are_biased_where_inputs_of_unequal_means_are_taken_to_have_a_common_one(gen):
    sample, _, which = tasks("means of their own", gen, 600)
    nothing, every = torch.zeros(N * N, 0, dtype=torch.float64), torch.arange(600)
    wrong = Pairs(sample, common=True)(ORBITS, span_of(BASIS.orthonormal()), nothing, every)[0][which == 1]
    right = Pairs(sample, common=False)(ORBITS, span_of(BASIS.orthonormal()), nothing, every)[0][which == 1]
    assert abs(float(wrong.mean() / right.mean()) - 1) > 0.5


def test_biases_say_which_inputs_pairs_can_be_trusted_with(gen):
    values = {kind: Pairs(tasks(kind, gen, 300)[0]).biases(ORBITS, torch.arange(200)) for kind in KINDS}
    for kind in ("drawn anew", "offset", "means of their own", "unequal"):
        bias, leak = values[kind]
        assert abs(bias) <= 0.05, kind
        assert abs(leak) <= 0.02, kind
    bias, leak = values["the same in every task"]
    assert bias < -0.05
    assert leak < -0.1


def test_inputs_of_unequal_sizes_bias_pairs_upwards_only(gen):
    """Where tasks differ in how much inputs vary, weights that keep the group seem to break it: the safe side."""
    W = torch.randn(N, N, generator=gen, dtype=torch.float64)
    x = torch.randn(1500, 20, N, generator=gen, dtype=torch.float64)
    x = x * torch.rand(1500, 1, N, generator=gen, dtype=torch.float64).add(0.2)
    sample = sample_of(x, x @ W.mT, torch.full((1500,), 20))
    nothing = torch.zeros(N * N, 0, dtype=torch.float64)
    whole, _ = Pairs(sample)(ORBITS, span_of(BASIS.orthonormal()), nothing, torch.arange(1500))
    assert float(whole.mean()) > float(breaking_part_of(W, sample).square().sum()) + 0.02
    right, _ = LeastSquares(sample)(ORBITS, None, nothing, torch.arange(1500))
    assert_unbiased(right, float(breaking_part_of(W, sample).square().sum()))


@pytest.mark.parametrize(
    ("counts", "own_means", "possible"), [((2, 3), False, True), ((1, 9), False, False), ((3, 9), True, False)]
)
def test_pairs_need_two_parts(counts, own_means, possible, gen):
    x, y = (torch.randn(90, 9, N, generator=gen, dtype=torch.float64) for _ in range(2))
    few = torch.tensor(counts).repeat(45)
    assert Pairs(sample_of(x, y, few), common=not own_means).possible is possible


def test_few_examples_are_enough_for_pairs_to_be_right(gen):
    sample, W, which = tasks("drawn anew", gen, 9000, examples=4, noise=0.2)
    nothing, every = torch.zeros(N * N, 0, dtype=torch.float64), torch.arange(9000)
    for common in (True, False):
        whole, _ = Pairs(sample, common=common)(ORBITS, span_of(BASIS.orthonormal(), 10.0), nothing, every)
        for i in range(3):
            assert_unbiased(whole[which == i], float(breaking_part_of(W[i], sample).square().sum()), 0.6)


def test_weights_that_no_example_shows_are_infinite_to_least_squares(gen):
    x, y = (torch.randn(90, 20, N, generator=gen, dtype=torch.float64) for _ in range(2))
    counts = torch.full((90,), 20)
    counts[5] = N + 6  # one fewer than what is needed
    x[7, :, 2] = 0
    sample = sample_of(x, y, counts)
    unknown = [5, 7]
    assert sample.solvable.logical_not().nonzero().flatten().tolist() == unknown
    nothing = torch.zeros(N * N, 0, dtype=torch.float64)
    whole, along = LeastSquares(sample)(ORBITS, None, nothing, torch.arange(90))
    assert whole.isinf().nonzero().flatten().tolist() == unknown
    assert along.isinf().nonzero().flatten().tolist() == unknown


def test_noise_is_that_of_each_task_where_it_is_known(gen):
    """In units of the outputs' sizes, all outputs together."""
    x = torch.randn(2000, 20, N, generator=gen, dtype=torch.float64)
    sizes = torch.tensor([0.5, 2.0]).repeat(1000)[:, None, None]
    y = 3 * x + sizes * torch.randn(2000, 20, N, generator=gen, dtype=torch.float64)
    sample = sample_of(x, y, torch.full((2000,), 20))
    span = span_of(BASIS.orthonormal(), noise=0.7)
    values = LeastSquares(sample).noise(span, torch.arange(2000))
    per = float(sample.scale.pow(-2).sum())
    assert float(values[0::2].mean()) == pytest.approx(0.25 * per, rel=0.02)
    assert float(values[1::2].mean()) == pytest.approx(4 * per, rel=0.02)
    assert Pairs(sample).noise(span, torch.arange(2)).tolist() == pytest.approx([0.7 * per] * 2)


def test_energies_count_every_output_alike(gen):
    sample, W, which = tasks("offset", gen, 1500, noise=0.0)
    inner = W / sample.scale[:, None]
    for i in range(3):
        truth = float((inner[i] @ sample.root).square().sum())
        assert float(sample.energies[which == i].mean()) == pytest.approx(truth, rel=0.05)
    # On average every output varies by one, whatever its units.
    assert float(sample.energies.mean()) == pytest.approx(N, rel=1e-6)


def test_sizes_are_of_what_varies_within_tasks(gen):
    x = torch.randn(500, 20, 3, generator=gen, dtype=torch.float64)
    y = torch.tensor([1.0, 2.0, 0.0]) * torch.randn(500, 20, 3, generator=gen, dtype=torch.float64)
    y = y + 10 * torch.randn(500, 1, 3, generator=gen, dtype=torch.float64)
    sample = sample_of(x, y, torch.full((500,), 20))
    torch.testing.assert_close(sample.scale, torch.tensor([1.0, 2.0, 2e-6]).double(), rtol=0.03, atol=0)
    torch.testing.assert_close(sample.root @ sample.root.mT, torch.eye(3).double(), rtol=0, atol=0.05)


def test_ridge_solves_each_task(gen):
    A = torch.randn(5, 4, 4, generator=gen, dtype=torch.float64)
    A, b = A @ A.mT, torch.randn(5, 4, generator=gen, dtype=torch.float64)
    values = ridge(A, b, 0.3)
    for i in range(5):
        torch.testing.assert_close(values[i], torch.linalg.solve(A[i] + 0.3 * torch.eye(4).double(), b[i]))


def test_tasks_too_short_for_an_estimate_leave_the_others_estimable(gen):
    """Two of three hundred tasks have three examples; pairs of the others are looked at without them."""
    x = torch.randn(300, 20, N, generator=gen, dtype=torch.float64)
    counts = torch.full((300,), 20)
    counts[:2] = 3
    short = sample_of(x, x @ torch.randn(300, N, N, generator=gen, dtype=torch.float64).mT, counts)
    assert Pairs(short).biases(ORBITS, torch.arange(200)) == (pytest.approx(0, abs=0.2), pytest.approx(0, abs=0.02))


def test_traces_are_those_of_the_equations(gen):
    """They are made without the matrices, from the squares of the span."""
    sample, _, _ = tasks("offset", gen, count=12)
    moments = Moments.of(sample, 4, None)
    symmetric = SymmetricSpan(
        torch.randn(N, N, 3, generator=gen, dtype=torch.float64), torch.zeros(3, dtype=torch.float64), 0.0
    )
    a = [0, 1, 2]
    b = [3, 2, 3]
    normal, _ = filter_equations(a, b, moments.others(a, b), moments.equations(symmetric), symmetric)
    whole = float(normal.diagonal(dim1=2, dim2=3).sum())
    assert moments.traces(symmetric, a, b) == pytest.approx(whole, rel=1e-12)


def test_a_task_that_is_asked_for_twice_gets_one_estimate(gen):
    sample, _, _ = tasks("drawn anew", gen, count=40)
    pairs = Pairs(sample)
    span = span_of(torch.randn(N * N, 3, generator=gen, dtype=torch.float64), noise=0.1)
    directions = torch.linalg.qr(torch.randn(N * N, 2, generator=gen, dtype=torch.float64)).Q
    once = pairs(ORBITS, span, directions, torch.arange(40))
    twice = pairs(ORBITS, span, directions, torch.cat((torch.arange(40), torch.tensor([5, 3]))))
    for alone, repeated in zip(once, twice, strict=True):
        torch.testing.assert_close(repeated, alone[[*range(40), 5, 3]], rtol=1e-12, atol=0)


def test_few_tasks_are_fitted_alone_and_get_the_same_estimates(gen, monkeypatch):
    sample, _, _ = tasks("drawn anew", gen, count=40)
    fitted = []
    real = LeastSquares._fitted
    monkeypatch.setattr(
        LeastSquares, "_fitted", lambda self, places, **o: fitted.append(len(places)) or real(self, places, **o)
    )
    nothing = torch.zeros(N * N, 0, dtype=torch.float64)
    estimator = LeastSquares(sample)
    few, _ = estimator(ORBITS, None, nothing, torch.arange(10))
    assert fitted == [10]
    whole, _ = estimator(ORBITS, None, nothing, torch.arange(40))
    estimator.noise(span_of(nothing), torch.arange(3))
    assert fitted == [10, 40]
    torch.testing.assert_close(few, whole[:10], rtol=1e-12, atol=1e-12)
