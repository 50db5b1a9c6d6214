"""Lack of fit of linear layers, and correlation of noise in the order of examples: level, power and energies."""

import math

import pytest
import torch

from msr.discovery.data.tasks import prepare
from msr.discovery.linearity import quadratic_forms, span_residuals
from msr.discovery.linearity.lack_of_fit import lack_of_fit
from msr.discovery.linearity.quadratic_forms import ResidualMakers, hollow, residual_maker
from msr.discovery.linearity.serial import serial_correlation
from msr.discovery.pattern.learning import learn
from msr.discovery.question import Question
from msr.discovery.thresholds import THRESHOLDS
from msr.discovery.verdict.nonlinearity import Nonlinearity

TASKS, EXAMPLES, N = 200, 20, 6
RING = (torch.arange(N)[None] - torch.arange(N)[:, None]) % N
ACTS = {
    "square of tanh": lambda h: h + 0.5 * torch.tanh(3 * h) ** 2,
    "relu": torch.relu,
    "abs": torch.abs,
    "cubic": lambda h: h**3,
    "quadratic": lambda h: h**2,
    "sin": torch.sin,
    "sign": torch.sign,
    "tanh": lambda h: torch.tanh(3 * h),
    "softmax": lambda h: torch.softmax(h, -1),
}


def normal(gen, *shape):
    return torch.randn(*shape, generator=gen, dtype=torch.float64)


def centred(values, counts=None):
    """Less the mean of each task, with zero rows past its count."""
    count, examples, _ = values.shape
    counts = torch.full((count,), examples) if counts is None else counts
    mask = (torch.arange(examples) < counts[:, None])[..., None]
    values = values * mask
    return (values - values.sum(1, keepdim=True) / counts[:, None, None]) * mask


def counts_of(x):
    return torch.full((len(x),), x.shape[1])


def ring_tasks(gen, act, noise=0.1, tasks=TASKS, examples=EXAMPLES):
    """``y = act(conv x)`` with another filter in each task."""
    x = normal(gen, tasks, examples, N)
    y = act(x @ (normal(gen, tasks, N) / math.sqrt(N))[:, RING].mT)
    y = y + noise * centred(y).std() * normal(gen, *y.shape)
    return centred(x), centred(y)


def noises(gen, shape):
    """Noise of mean zero: with other variances for each example and output, of heavy tails, and skewed."""
    plain = normal(gen, *shape)
    spread = torch.exp(normal(gen, *shape[:2], 1) + normal(gen, 1, 1, shape[2]))
    tails = (-torch.log(torch.rand(shape, generator=gen, dtype=torch.float64))).sqrt()
    return {"unequal": plain * spread, "t2": plain / tails, "log-normal": torch.exp(plain) - math.exp(0.5)}


@pytest.mark.parametrize("name", ACTS)
def test_nonlinear_tasks_are_seen(gen, name):
    x, y = ring_tasks(gen, ACTS[name])
    assert lack_of_fit(x, y, counts_of(x)).p_value < 1e-3


@pytest.mark.parametrize("kind", ["unequal", "t2", "log-normal"])
def test_linear_tasks_keep_the_level(gen, kind):
    """Half of 40 files get a p-value under one half at the most, and none a small one."""
    x = normal(gen, 40 * 80, 12, 3)
    y = x @ normal(gen, len(x), 3, 2) + noises(gen, (len(x), 12, 2))[kind]
    p_values = [
        lack_of_fit(centred(a), centred(b), counts_of(a)).p_value for a, b in zip(x.split(80), y.split(80), strict=True)
    ]
    assert min(p_values) > 1e-3
    assert sum(p < 0.5 for p in p_values) <= 20


def test_the_forms_have_mean_zero_under_unequal_noise(gen):
    x = centred(normal(gen, 3, 14, 4))
    M, rank = residual_maker(x, counts_of(x))
    K = (x @ x.mT).square()
    C, B = hollow(M, K[None])
    variance = torch.exp(2 * normal(gen, 3, 14))
    # E rᵀ C r = Σ Cᵢᵢ σᵢ².
    size = (C[0].diagonal(dim1=1, dim2=2) * variance).abs().sum(1)
    assert rank.tolist() == [9, 9, 9]
    assert float(size.max()) < 1e-6 * float(B.abs().max())
    assert float(C.square().sum()) > 0.05 * float(B.square().sum())


def test_the_form_is_the_nearest_one_without_a_diagonal(gen):
    """``M K M − C`` is orthogonal to every form ``M A M`` without a diagonal."""
    x = centred(normal(gen, 2, 12, 3))
    M, _ = residual_maker(x, counts_of(x))
    C, B = hollow(M, (x @ x.mT)[None].pow(3))
    other, _ = hollow(M, normal(gen, 2, 12, 12)[None])
    assert float(((B - C) * other).sum().abs()) < 1e-6 * float((B - C).norm() * other.norm())


@pytest.mark.parametrize("kind", ["gaussian", "binary"])
def test_the_energy_of_quadratic_tasks(gen, kind):
    x = normal(gen, 600, 24, 4)
    x = x if kind == "gaussian" else (x > 0).double() + 3
    A, W = normal(gen, 600, 2, 4, 4), normal(gen, 600, 2, 4)
    quadratic = torch.einsum("tei,tmij,tej->tem", x - x.mean((0, 1)), A, x - x.mean((0, 1)))
    y = quadratic + x @ W.mT + 0.5 * normal(gen, 600, 24, 2)
    lack = lack_of_fit(centred(x), centred(y), counts_of(x))
    # Squares of Gaussian inputs have variance 2, products 1; of bits ±½ squares are constant, products have 1/16.
    symmetric = (A + A.mT).square()
    products = symmetric.sum((1, 2, 3)) - symmetric.diagonal(dim1=2, dim2=3).sum((1, 2))
    squares = 2 * A.diagonal(dim1=2, dim2=3).square().sum((1, 2))
    truth = float((squares + products / 2 if kind == "gaussian" else products / 2 / 16).mean())
    assert float(lack.energy.mean()) == pytest.approx(truth, rel=0.12)
    assert bool(lack.tested.all())


def test_noise_adds_no_energy(gen):
    x = normal(gen, 1000, 16, 4)
    noise = noises(gen, (1000, 16, 1))["unequal"].clamp(-10, 10)
    lack = lack_of_fit(centred(x), centred(noise), counts_of(x))
    error = lack.energy.std() / math.sqrt(1000)
    assert abs(float(lack.energy.mean())) < 3 * float(error)
    assert float(error) < 0.2 * float(lack.residual.mean())


@pytest.mark.parametrize("inputs", ["one-hot", "binary", "dependent", "constant"])
def test_features_that_are_linear_drop_out(gen, inputs):
    draw = torch.randint(4, (100, 16), generator=gen)
    one_hot = torch.nn.functional.one_hot(draw, 4).double()
    plain = normal(gen, 100, 16, 3)
    x = {
        "one-hot": one_hot,
        "binary": (plain > 0).double(),
        "dependent": torch.cat((plain, plain.sum(2, keepdim=True)), 2),
        "constant": torch.cat((plain, torch.ones(100, 16, 1, dtype=torch.float64)), 2),
    }[inputs]
    y = x @ normal(gen, 100, x.shape[2], 2)
    y = y + 0.1 * normal(gen, *y.shape)
    lack = lack_of_fit(centred(x), centred(y), counts_of(x))
    assert lack.p_value > 0.01
    assert float(lack.energy.abs().max()) < 10 * float(lack.residual.max())
    if inputs == "one-hot":
        # Every function of one-hot inputs is linear.
        assert lack.method == "every function of these inputs is linear"
        assert float(lack.energy.abs().max()) == 0


def test_inputs_that_never_vary(gen):
    lack = lack_of_fit(torch.zeros(90, 8, 2, dtype=torch.float64), centred(normal(gen, 90, 8, 2)), torch.full((90,), 8))
    assert lack.p_value == 1
    assert float(lack.energy.abs().max()) == 0


def test_without_noise_rounding_is_not_a_nonlinear_part(gen):
    x, y = ring_tasks(gen, lambda h: h, noise=0)
    lack = lack_of_fit(x, (1e6 * y).float().double() / 1e6, counts_of(x))
    assert lack.p_value > 0.1


def test_padding_with_empty_rows_changes_nothing(gen):
    x, y = ring_tasks(gen, torch.relu)
    full = lack_of_fit(x, y, counts_of(x))
    longer = [torch.nn.functional.pad(values, (0, 0, 0, 5)) for values in (x, y)]
    padded = lack_of_fit(*longer, counts_of(x))
    assert padded.p_value == pytest.approx(full.p_value, rel=1e-6)
    assert torch.allclose(padded.energy, full.energy, rtol=1e-6)
    counts = torch.where(torch.arange(len(x)) % 2 == 0, EXAMPLES, 5)
    lack = lack_of_fit(centred(x, counts), centred(y, counts), counts)
    assert lack.tested.tolist() == (counts == EXAMPLES).tolist()
    assert float(lack.energy[~lack.tested].abs().max()) == 0
    assert lack.p_value < 1e-6


def test_too_few_examples_say_nothing(gen):
    x, y = ring_tasks(gen, torch.relu, examples=9)
    lack = lack_of_fit(x, y, counts_of(x))
    assert (lack.method, lack.p_value) == ("none", 1.0)
    assert not bool(lack.tested.any())


def ring_span():
    U = torch.zeros(N, N, N, dtype=torch.float64)
    U[torch.arange(N)[:, None], torch.arange(N)[None], RING] = 1
    return U.view(N * N, N) / math.sqrt(N), torch.zeros(N, dtype=torch.float64)


@pytest.mark.parametrize(("act", "seen"), [(lambda h: h, False), (torch.abs, True)], ids=["linear", "abs"])
def test_the_span_helps_where_examples_are_few(gen, act, seen):
    x, y = ring_tasks(gen, act, examples=7, tasks=100)
    lack = lack_of_fit(x, y, counts_of(x), ring_span())
    assert "span" in lack.method
    assert (lack.p_value < 1e-3) == seen
    assert lack.p_value < 1e-3 or lack.p_value > 0.05


def test_weights_outside_of_the_span_are_no_nonlinear_part(gen):
    x = normal(gen, 300, 7, N)
    W = (normal(gen, 300, N) / math.sqrt(N))[:, RING] + 0.1 * normal(gen, 300, N, N)
    y = x @ W.mT + 0.01 * normal(gen, 300, 7, N)
    lack = lack_of_fit(centred(x), centred(y), counts_of(x), ring_span())
    assert lack.p_value > 0.05
    # The misfit has an energy of 0.3.
    assert abs(float(lack.parts[0].mean())) < 0.05


def test_noise_that_outputs_share_is_no_energy_in_the_span(gen):
    """The forms have no blocks: a common part of the noise, of another size in each example, adds nothing."""
    x = normal(gen, 300, 7, N)
    shared = normal(gen, 300, 7, 1) * torch.exp(normal(gen, 300, 7, 1)).clamp_max(4)
    lack = lack_of_fit(centred(x), centred(shared.expand(300, 7, N)), counts_of(x), ring_span())
    error = float(lack.parts[0].std()) / math.sqrt(300)
    assert abs(float(lack.parts[0].mean())) < 3 * error
    assert lack.p_value > 0.01


MANY = 32


def many_outputs(gen, act, tasks=120):
    """``y = act(W x)`` with many outputs and ``W`` in a span of 5 directions, and that span."""
    U = torch.linalg.qr(normal(gen, MANY * 3, 5))[0]
    W = math.sqrt(MANY) * (normal(gen, tasks, 5) @ U.mT).view(tasks, MANY, 3)
    x = normal(gen, tasks, 7, 3)
    y = act(x @ W.mT) + 0.3 * normal(gen, tasks, 7, MANY)
    return centred(x), centred(y), (U, torch.zeros(5, dtype=torch.float64))


@pytest.mark.parametrize("everywhere", [True, False], ids=["all outputs", "one output"])
def test_mixtures_of_many_outputs_hold_the_energy(gen, everywhere):
    x, y, span = many_outputs(gen, lambda h: h, tasks=160)
    size = torch.ones(MANY, dtype=torch.float64)
    if not everywhere:
        size = math.sqrt(MANY) * torch.nn.functional.one_hot(torch.tensor(3), MANY)
    y = y + centred(x[..., :1].square() + x[..., 1:2] * x[..., 2:]) * size
    lack = lack_of_fit(x, y, counts_of(x), span)
    with THRESHOLDS.moved(mixtures_fewest=MANY):
        every = lack_of_fit(x, y, counts_of(x), span)
    # They differ by which tasks are looked at, and by what single tasks have of each direction.
    first, second = (float(one.parts[0][one.tested].mean()) for one in (lack, every))
    assert first == pytest.approx(second, rel=0.25)
    assert float(lack.residual.mean()) == pytest.approx(float(every.residual.mean()), rel=0.25)


def test_mixtures_are_a_basis():
    sets = span_residuals._mixtures(MANY, 16)
    whole = torch.cat(sets, 1)
    assert [one.shape for one in sets] == [(MANY, 16), (MANY, 16)]
    assert torch.allclose(whole @ whole.mT, 2 * torch.eye(MANY, dtype=torch.float64))
    assert torch.equal(span_residuals._mixtures(20, 16)[0], torch.eye(20, dtype=torch.float64))


def test_many_outputs_keep_the_level(gen):
    """Of noise that outputs share, unequal over examples: half of 8 files are under one half at the most."""
    p_values = []
    for _ in range(8):
        x, y, span = many_outputs(gen, lambda h: h, tasks=16)
        shared = normal(gen, 16, 7, 1) * torch.exp(normal(gen, 16, 7, 1)) * normal(gen, MANY)
        p_values.append(lack_of_fit(x, y + centred(shared), counts_of(x), span).p_value)
    assert min(p_values) > 0.01
    assert sum(p < 0.5 for p in p_values) <= 4


def test_where_work_is_too_much_some_tasks_are_not_looked_at(gen, monkeypatch):
    x, y, span = many_outputs(gen, torch.abs, tasks=64)
    every = lack_of_fit(x, y, counts_of(x), span)
    monkeypatch.setattr(span_residuals, "_WORK", 0)
    some = lack_of_fit(x, y, counts_of(x), span)
    assert bool(every.tested.all())
    assert some.tested.nonzero()[:, 0].tolist() == list(range(0, 64, 2))
    assert float(some.energy[~some.tested].abs().max()) == 0
    assert torch.allclose(some.residual[~some.tested], some.residual[some.tested].mean())
    assert float(some.residual.mean()) == pytest.approx(float(every.residual.mean()), rel=0.2)


def test_long_tasks_are_cut(gen):
    x = normal(gen, 20, 150, 2)
    y = x[..., :1] * x[..., 1:] + normal(gen, 20, 150, 1)
    lack = lack_of_fit(centred(x), centred(y), counts_of(x))
    assert lack.p_value < 1e-3
    assert float(lack.energy.mean()) == pytest.approx(1, rel=0.15)
    assert lack.energy.shape == (20,)


def test_units_of_outputs_do_not_decide(gen):
    x, y = ring_tasks(gen, torch.relu)
    unit = torch.tensor([1e-3, 1, 1, 1, 1, 1e3], dtype=torch.float64)
    plain, other = (lack_of_fit(x, values, counts_of(x)) for values in (y, y * unit))
    assert other.p_value == pytest.approx(plain.p_value, rel=1e-6)
    assert torch.allclose(lack_of_fit(x, 7 * y, counts_of(x)).energy, 49 * plain.energy)


@pytest.mark.parametrize(("correlation", "seen"), [(0.9, True), (-0.5, True), (0.0, False)])
def test_serial_correlation(gen, correlation, seen):
    x, y = normal(gen, 100, 16, 4), normal(gen, 100, 16, 2)
    for example in range(1, 16):
        y[:, example] = correlation * y[:, example - 1] + math.sqrt(1 - correlation**2) * y[:, example]
    y = 0.1 * y + x @ normal(gen, 100, 4, 2)
    # They come in another order; the place of each is told.
    order = torch.argsort(torch.rand(100, 16, generator=gen), 1)
    x, y = (torch.gather(values, 1, order[..., None].expand(-1, -1, values.shape[2])) for values in (x, y))
    lack = serial_correlation(centred(x), centred(y), counts_of(x), order)
    assert (lack.p_value < 1e-4) == seen
    assert lack.correlation == pytest.approx(correlation, abs=0.15)


@pytest.mark.parametrize("kind", ["unequal", "t2", "log-normal"])
def test_serial_correlation_keeps_the_level(gen, kind):
    x, noise = normal(gen, 30 * 80, 10, 3), noises(gen, (30 * 80, 10, 1))[kind]
    p_values = [
        serial_correlation(centred(a), centred(b), counts_of(a), torch.arange(10).repeat(80, 1)).p_value
        for a, b in zip(x.split(80), noise.split(80), strict=True)
    ]
    assert min(p_values) > 1e-3
    assert sum(p < 0.5 for p in p_values) <= 15


@pytest.mark.parametrize(("n", "examples", "tasks"), [(4, 20, 800), (6, 24, 400)])
def test_products_of_three_are_found_whole(n, examples, tasks):
    """Their energy is one; features that are whitened from too few examples would make it a third less."""
    energies = []
    for seed in range(4):
        draw = torch.Generator().manual_seed(seed)
        x = normal(draw, tasks, examples, n)
        y = centred(x[..., :3].prod(2, keepdim=True) + 0.3 * normal(draw, tasks, examples, 1))
        energies.append(float(lack_of_fit(centred(x), y, counts_of(x)).energy.mean()))
    assert sum(energies) / len(energies) == pytest.approx(1, abs=0.15)


def test_tasks_without_residuals_do_not_hide_a_function_in_the_others(gen):
    """Nine in ten tasks have as few examples as unknowns; the squares in the others are seen, wherever they stand."""
    counts = torch.full((200,), 4)
    counts[torch.randperm(200, generator=gen)[:20]] = 120
    there = (torch.arange(120) < counts[:, None])[..., None]
    x = normal(gen, 200, 120, 3)
    y = x.square().sum(2, keepdim=True) / math.sqrt(2)
    x, y = ((t - (t * there).sum(1, keepdim=True) / counts[:, None, None]) * there for t in (x, y))
    lack = lack_of_fit(x, y, counts)
    assert lack.p_value < 0.01
    assert float(lack.energy[counts == 120].mean()) == pytest.approx(3, rel=0.3)


def test_residual_makers_are_made_once_whatever_the_slices(gen, monkeypatch):
    x = normal(gen, 30, 9, 4)
    x = x - x.mean(1, keepdim=True)
    counts = torch.full((30,), 9)
    M, rank = residual_maker(x, counts)
    left, singular, _ = torch.linalg.svd(x, full_matrices=False)
    assert torch.equal(residual_maker(x, counts, (left, singular))[0], M)
    made = []
    real = quadratic_forms.residual_maker
    monkeypatch.setattr(quadratic_forms, "residual_maker", lambda x, counts: made.append(len(x)) or real(x, counts))
    makers = ResidualMakers(x, counts)
    for first, last in ((0, 5), (3, 12), (0, 30), (10, 30)):
        got, ranks = makers(slice(first, last))
        assert torch.equal(got, M[first:last])
        assert torch.equal(ranks, rank[first:last])
    assert sum(made) == 30


def test_a_test_by_the_pattern_has_an_entry_for_each_task(gen):
    x, y = ring_tasks(gen, torch.abs, examples=6, tasks=120)
    question = Question(prepare(x, y), N, 0.05, 0.01, False, 0)
    nonlinearity = Nonlinearity(question)
    assert nonlinearity.of_all_tasks.method == "none"
    sample = question.sample
    learned = learn(sample.x, sample.y, sample.counts, N, 0)
    with THRESHOLDS.moved(span_test_tasks=20):
        lack = nonlinearity.with_pattern(learned, torch.arange(40, 120))
    looked_at = torch.zeros(120, dtype=torch.bool)
    looked_at[40:60] = True
    assert lack.parts.shape == (2, 120)
    assert torch.equal(lack.parts.sum(0), lack.energy)
    assert torch.equal(lack.tested, looked_at)
    assert not lack.parts[:, ~looked_at].any()
    assert lack.parts[:, looked_at].any()
    assert float(lack.residual[looked_at].mean()) == pytest.approx(float(lack.residual[0]))
