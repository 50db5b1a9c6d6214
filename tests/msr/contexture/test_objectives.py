"""Losses: their optimum at the exact functions, nothing below it, and estimates from batches without bias."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.shared.cube import cube, flips
from msr.contexture import GroupContext, KernelContext, convolve, spectrum
from msr.contexture.measures import principal_angle
from msr.contexture.objectives import (
    KISE,
    SVME,
    LowRank,
    Moments,
    NonContrastive,
    SpectralContrastive,
    VICSurrogate,
    balanced_regression,
    balanced_regression_optimum,
    batch_moments,
    exact_moments,
    exact_pair_moments,
    kernel_batch_moments,
    pair_batch_moments,
)
from msr.errors import ConfigError, ShapeError
from msr.groups import cyclic
from tests.msr.contexture.cases import random_encoder, random_joint

SEEDS = st.integers(0, 10**6)
PENALISED = [SVME(1.0), SVME(3.0), SVME(0.5), KISE(1.0), KISE(2.5), NonContrastive(4.0), NonContrastive(1.0)]
OBJECTIVES = [*PENALISED, LowRank(), SpectralContrastive()]


def moments_of(objective, context, first, second):
    """The exact moments that an objective takes: ``first`` at the points, ``second`` at the values of ``A``."""
    if isinstance(objective, (SpectralContrastive, NonContrastive)):
        return exact_pair_moments(context, second)
    return exact_moments(context, first, None if isinstance(objective, KISE) else second)


def at_optimum(objective, context, d):
    """The exact functions with the variances of the optimum, turned by a random rotation."""
    found = spectrum(context)
    sizes = objective.sizes(found, d).sqrt()
    turn = torch.linalg.qr(random_encoder(d, d, d)).Q
    first = found.functions[:, :d] * sizes @ turn
    if isinstance(objective, (SpectralContrastive, NonContrastive)):
        return first, found.context_functions[:, :d] * sizes @ turn
    if isinstance(objective, LowRank):
        # Φ·Ψ is the best approximation: both have the variance s_i.
        return first, found.context_functions[:, :d] * sizes @ turn
    return first, context.adjoint(first)


@given(SEEDS, st.integers(1, 5))
@settings(max_examples=15)
def test_the_exact_functions_have_the_optimum(seed, d):
    context = random_joint(seed)
    found = spectrum(context)
    for objective in OBJECTIVES:
        first, second = at_optimum(objective, context, d)
        loss = objective.loss(moments_of(objective, context, first, second))
        assert float(loss) == pytest.approx(objective.optimum(found, d), abs=1e-9), objective


@given(SEEDS)
@settings(max_examples=15)
def test_no_encoder_is_below_the_optimum(seed):
    context = random_joint(seed)
    found = spectrum(context)
    for objective in OBJECTIVES:
        for size in (0.1, 0.6, 1.0):
            first = size * random_encoder(seed, context.n, 3)
            second = size * random_encoder(seed + 1, len(context.marginal), 3)
            assert float(objective.loss(moments_of(objective, context, first, second))) >= objective.optimum(found, 3)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_free_minimisation_ends_at_the_optimum(objective):
    context = random_joint(4)
    found = spectrum(context)
    first = random_encoder(0, context.n, 3).mul(0.5).requires_grad_()
    second = random_encoder(1, len(context.marginal), 3).mul(0.5).requires_grad_()
    solver = torch.optim.LBFGS(
        [first, second], max_iter=2000, tolerance_grad=1e-13, tolerance_change=1e-16, line_search_fn="strong_wolfe"
    )

    def closure():
        solver.zero_grad()
        loss = objective.loss(moments_of(objective, context, first, second))
        loss.backward()
        return loss

    solver.step(closure)
    loss = float(closure().detach())
    assert loss == pytest.approx(objective.optimum(found, 3), abs=1e-7)
    if float(objective.sizes(found, 3).min()) > 0 and not isinstance(objective, (SpectralContrastive, NonContrastive)):
        assert principal_angle(found, first, 3) < 0.01


def test_the_numbers_of_the_cube():
    context = convolve(GroupContext(cube(cyclic(6))), flips(0.2))
    found = spectrum(context)
    hard = 4 - found.best_energy(4)
    assert hard == pytest.approx(3.2512)
    assert LowRank().optimum(found, 4) == pytest.approx(-0.7488)
    assert SpectralContrastive().optimum(found, 4) == pytest.approx(-0.08999424)
    # With weight 1 it is half of d, and the contrastive loss of points.
    assert SVME(1.0).optimum(found, 4) == pytest.approx(2 - 0.08999424)
    # A heavy penalty leaves the constrained optimum.
    assert SVME(1e9).optimum(found, 4) == pytest.approx(hard)
    assert NonContrastive(1e9).optimum(found, 4) == pytest.approx(2 * hard)


def test_functions_that_a_light_penalty_does_not_hold_collapse():
    found = spectrum(convolve(GroupContext(cube(cyclic(6))), flips(0.2)))
    sizes = SVME(0.7).sizes(found, 4)
    assert [float(size) > 0 for size in sizes] == [True, False, False, False]
    assert SVME(0.3).optimum(found, 4) == pytest.approx(4 * 0.15)


def test_batches_estimate_the_exact_moments():
    context = random_joint(7)
    d = 2
    first = random_encoder(0, context.n, d)
    second = random_encoder(1, len(context.marginal), d)
    generator = torch.Generator().manual_seed(0)
    batch = 4096
    points = torch.multinomial(context.weights, batch, replacement=True, generator=generator)
    drawn = context.draw(points, 8, generator)
    kernel = context.dual_kernel()[points][:, points]
    for estimate, exact in [
        (batch_moments(first[points], second[drawn]), exact_moments(context, first, second)),
        (kernel_batch_moments(first[points], kernel), exact_moments(context, first)),
        (pair_batch_moments(second[drawn]), exact_pair_moments(context, second)),
    ]:
        for name in ("first", "second", "cross"):
            got, wanted = getattr(estimate, name), getattr(exact, name)
            if wanted is not None:
                torch.testing.assert_close(got, wanted, atol=0.15, rtol=0)


def test_a_point_is_no_partner_of_itself_in_a_kernel():
    moments = kernel_batch_moments(random_encoder(0, 8, 2), torch.eye(8, dtype=torch.float64))
    assert not moments.cross.any()


def test_a_square_is_the_product_of_both_halves():
    eye = torch.eye(2, dtype=torch.float64)
    zero = torch.zeros(2, 2, dtype=torch.float64)
    apart = Moments(torch.stack([eye + 0.5, eye - 0.5]), torch.stack([zero, 3 * eye]), zero)
    # The traces are 2 on average for the first encoder, 3 for the second; ⟨½, −½⟩ over four entries is −1.
    assert float(SVME(2.0).loss(apart)) == pytest.approx(2 + 3 - 1)
    # ⟨I + ½, 3 I⟩ and ⟨I − ½, 0⟩, on average.
    assert float(LowRank().loss(apart)) == pytest.approx(4.5)


def test_the_halves_of_a_batch_estimate_a_square_without_bias():
    context = random_joint(7)
    first = random_encoder(0, context.n, 2)
    eye = torch.eye(2, dtype=torch.float64)
    batch, rounds = 16, 4000
    # Centring by the batch's own mean shrinks a covariance by a share of 1/b; the rest is of the order 1/b².
    covariance = exact_moments(context, first).first[0] * (1 - 1 / batch)
    exact = float((covariance - eye).square().sum())
    points = torch.multinomial(
        context.weights, batch * rounds, replacement=True, generator=torch.Generator().manual_seed(1)
    )
    products, squares = [], []
    for some in points.split(batch):
        halves = kernel_batch_moments(first[some], torch.ones(batch, batch, dtype=torch.float64)).first - eye
        products.append((halves[0] * halves[1]).sum())
        squares.append(halves.mean(dim=0).square().sum())
    error = float(torch.stack(products).std()) / math.sqrt(rounds)
    assert abs(float(torch.stack(products).mean()) - exact) < 4 * error + 2 * exact / batch**2
    assert float(torch.stack(squares).mean()) - exact > 10 * error


def test_regression_on_scaled_labels_has_the_optimum_of_the_context():
    context = random_joint(11)
    found = spectrum(context)
    d = 3
    first = found.functions[:, :d]
    # The best scores: W is E[Φ(X) e_A / √P(A)], row by row T* Φ times √P(A).
    scale = context.marginal.sqrt()
    weight = context.adjoint(first) * scale[:, None]
    scores = first @ weight.mT + scale
    table = torch.from_numpy(context.joint)
    loss = sum(
        float(table[:, a] @ (scores - torch.nn.functional.one_hot(torch.tensor(a), len(scale)) / scale).square().sum(1))
        for a in range(len(scale))
    )
    assert loss == pytest.approx(balanced_regression_optimum(context, found, d), abs=1e-9)
    # The loss of a batch that holds each pair as often as it occurs is the same number.
    generator = torch.Generator().manual_seed(0)
    pairs = torch.multinomial(table.flatten(), 200_000, replacement=True, generator=generator)
    points, labels = pairs // len(scale), pairs % len(scale)
    assert float(balanced_regression(scores[points], labels, context.marginal)) == pytest.approx(loss, rel=0.05)
    with pytest.raises(ShapeError, match="scores"):
        balanced_regression(scores, labels, context.marginal)


def test_the_surrogate_is_the_published_formula():
    generator = torch.Generator().manual_seed(3)
    points = torch.randn(64, 3, generator=generator, dtype=torch.float64)
    contexts = torch.randn(64, 1, 3, generator=generator, dtype=torch.float64)
    loss = float(VICSurrogate(0.3, 3.0).loss(batch_moments(points, contexts)))
    a, b = points - points.mean(0), contexts[:, 0] - contexts.mean((0, 1))
    covariance = a.mT @ a / 64
    hinge = torch.relu(1 - (covariance.diagonal() + 1e-4).sqrt()).mean()
    apart = (covariance - torch.diag(covariance.diagonal())).square().sum() / 6
    expected = ((a - b).square().sum(1).mean() / 3 + 0.3 * hinge + 3.0 * apart) / 4.3
    assert loss == pytest.approx(float(expected))


def test_moments_that_do_not_fit_are_refused():
    context = random_joint(0)
    one = exact_moments(context, random_encoder(0, context.n, 2))
    for objective in (SVME(), LowRank(), VICSurrogate()):
        with pytest.raises(ConfigError, match="two encoders"):
            objective.loss(one)
    with pytest.raises(ConfigError, match="penalty must be above 0"):
        SVME(0.0)
    with pytest.raises(ConfigError, match="known by its kernel"):
        exact_moments(KernelContext.labels([1, 2]), torch.zeros(2, 1), torch.zeros(2, 1))
    with pytest.raises(ShapeError, match=r"\(9, d\)"):
        exact_moments(context, torch.zeros(3, 1))
    with pytest.raises(ShapeError, match="4 points at least"):
        batch_moments(torch.zeros(3, 1), torch.zeros(3, 2, 1))
    with pytest.raises(ShapeError, match="2 draws at least"):
        pair_batch_moments(torch.zeros(8, 1, 2))
    with pytest.raises(ShapeError, match=r"\(8, 1\) and \(7, 7\)"):
        kernel_batch_moments(torch.zeros(8, 1), torch.zeros(7, 7))
    with pytest.raises(ConfigError, match="at most the 2 values known"):
        SVME().optimum(spectrum(context, 2), 3)


def test_more_functions_than_there_are_have_no_optimum():
    found = spectrum(random_joint(0, n=4, m=3))
    for objective in (SVME(), KISE(), LowRank()):
        with pytest.raises(ConfigError, match=r"d must be (at most|from 0 to) the 3"):
            objective.optimum(found, 4)
    for objective in (SpectralContrastive(), NonContrastive()):
        assert math.isfinite(objective.optimum(found, 2))
        with pytest.raises(ConfigError, match="3 contexts have 2 functions"):
            objective.optimum(found, 3)
