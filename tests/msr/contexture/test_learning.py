"""Encoders that learn: what they end at, what stops them, and the contexts that people write down."""

import numpy as np
import pytest
import torch

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
    parse_context,
    spectrum,
)
from msr.contexture.learning import Schedule, learn, perceptron
from msr.contexture.measures import captured, principal_angle
from msr.contexture.objectives import KISE, SVME, LowRank, NonContrastive, SpectralContrastive, VICSurrogate
from msr.errors import ConfigError, MSRError, NonFiniteError, ShapeError
from msr.groups import cyclic
from msr.representations import copies, natural
from tests.msr.contexture.cases import random_encoder, random_joint

SIGNS = torch.from_numpy(BITS).float() * 2 - 1


@pytest.fixture(scope="module")
def noisy_turns():
    """The group C6 of the cube and then noise, with its spectrum."""
    context = convolve(GroupContext(cube(cyclic(6))), flips(0.2))
    return context, spectrum(context)


@pytest.mark.parametrize("objective", [SVME(), KISE(), LowRank(), SpectralContrastive()], ids=repr)
def test_an_encoder_learns_the_exact_functions(objective, noisy_turns):
    context, found = noisy_turns
    learned = learn(context, SIGNS, 4, objective=objective, spectrum=found, schedule=Schedule(steps=800))
    assert learned.share == learned.curve[-1][1] > 0.995
    assert principal_angle(found, learned.captured.functions) < 8
    assert learned.losses[-1] == pytest.approx(objective.optimum(found, 4), abs=0.02)
    assert learned.steps < 800 or learned.share < 0.9999


def test_the_training_ends_when_enough_is_captured(noisy_turns):
    context, found = noisy_turns
    looks = []
    plan = Schedule(steps=900, every=50, enough=0.9)
    learned = learn(context, SIGNS, 4, spectrum=found, schedule=plan, progress=lambda *look: looks.append(look))
    assert learned.steps < 900
    assert learned.share >= 0.9
    assert [look[0] for look in looks] == [step for step, _ in learned.curve]
    again = learn(context, SIGNS, 4, spectrum=found, schedule=plan)
    assert again.losses == learned.losses
    assert learn(context, SIGNS, 4, spectrum=found, schedule=plan, seed=1).losses != learned.losses


@pytest.mark.parametrize(
    "objective", [SVME(), KISE(), LowRank(), SpectralContrastive(), NonContrastive(), VICSurrogate()], ids=repr
)
def test_batches_learn_too(objective):
    points = random_encoder(0, 300, 2)
    context = PoolContext.rbf(points)
    found = spectrum(context, 3)
    plan = Schedule(steps=400, batch=100, rate=1e-2)
    learned = learn(context, points, 2, objective=objective, spectrum=found, schedule=plan)
    assert learned.share > 0.9


def test_a_table_of_values_has_a_free_second_encoder():
    context = random_joint(3)
    found = spectrum(context)
    points = torch.eye(context.n)
    learned = learn(context, points, 2, spectrum=found, schedule=Schedule(steps=600, rate=1e-2))
    assert learned.share > 0.999
    batch = learn(context, points, 2, spectrum=found, schedule=Schedule(steps=300, rate=1e-2, batch=8))
    assert batch.share > 0.7


def test_a_sampler_is_learned_without_a_table():
    points = random_encoder(1, 400, 2)
    noise = SamplerContext(lambda x, generator: x + 0.3 * torch.randn(x.shape, generator=generator))
    plan = Schedule(steps=300, batch=128, rate=1e-2)
    # Of noise on Gaussian points the linear functions come first: the encoder's span must hold them.
    learned = learn(noise, points, 2, schedule=plan)
    assert learned.share is None
    assert learned.captured is None
    with torch.no_grad():
        outputs = learned.encoder(points.float()).double()
    residual = points - outputs @ torch.linalg.lstsq(outputs, points).solution
    assert float(residual.square().mean() / points.square().mean()) < 0.2
    assert learn(noise, points, 2, objective=SpectralContrastive(), schedule=plan).losses[-1] < -0.2


def test_what_cannot_be_learned_is_refused():
    context = random_joint(0)
    points = torch.eye(9)
    kernel = KernelContext.labels([0, 1, 1])
    sampler = SamplerContext(lambda x, _: x)
    cases = [
        (lambda: learn(context, points[:3], 2), ShapeError, "has 9 points, and 3"),
        (lambda: learn(context, points, 0), ConfigError, "at least one output"),
        (lambda: learn(kernel, points[:3], 1, objective=SVME()), ConfigError, "needs P(a|x)"),
        (lambda: learn(context, points, 2, objective=SpectralContrastive()), ConfigError, "are not its points"),
        (lambda: learn(context, points, 2, spectrum=spectrum(context, 1)), ConfigError, "has 1 values, and 2"),
        (lambda: Schedule(draws=1), ConfigError, "draws must be at least 2"),
        (lambda: learn(sampler, points, 2, objective=KISE()), ConfigError, "take SVME"),
        (lambda: Schedule(batch=2), ConfigError, "batch must be at least 4"),
        (lambda: Schedule(rate=0), ConfigError, "rate must be above 0"),
        (lambda: Schedule(enough=2), ConfigError, "enough must be"),
        (lambda: learn(context, points * torch.nan, 2), NonFiniteError, "at step 1"),
    ]
    for make, error, says in cases:
        with pytest.raises(MSRError) as caught:
            make()
        assert isinstance(caught.value, error)
        assert says in str(caught.value)


def test_a_perceptron_comes_from_its_generator():
    nets = [perceptron(3, 2, generator=torch.Generator().manual_seed(5)) for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True))
    assert nets[0](torch.zeros(7, 3)).shape == (7, 2)


POINTS = random_encoder(2, 24, 4)
LABELS = np.arange(24) % 3


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("knn:5", lambda: PoolContext.neighbours(POINTS, 5)),
        ("rbf:auto", lambda: PoolContext.rbf(POINTS)),
        ("rbf:0.5", lambda: PoolContext.rbf(POINTS, 0.5)),
        ("mask:0.3", lambda: PoolContext.masked(POINTS, 0.3)),
        ("labels", lambda: KernelContext.labels(LABELS)),
        ("target", lambda: KernelContext.features(LABELS)),
        ("knn:5*rbf:auto", lambda: convolve(PoolContext.neighbours(POINTS, 5), PoolContext.rbf(POINTS))),
        ("knn:5 + labels", lambda: convex([PoolContext.neighbours(POINTS, 5), KernelContext.labels(LABELS)])),
        ("knn:2 & rbf:auto", lambda: joint([PoolContext.neighbours(POINTS, 2), PoolContext.rbf(POINTS)])),
        (
            "knn:2 + rbf:auto * rbf:0.5",
            lambda: convex(
                [PoolContext.neighbours(POINTS, 2), convolve(PoolContext.rbf(POINTS), PoolContext.rbf(POINTS, 0.5))]
            ),
        ),
        ("group:c4:natural", lambda: PoolContext.rbf(POINTS).moved(natural(cyclic(4)))),
        ("group:c2:2*natural", lambda: PoolContext.rbf(POINTS).moved(copies(natural(cyclic(2)), 2))),
        ("labels & knn:2", lambda: joint([TableContext.labels(LABELS), PoolContext.neighbours(POINTS, 2)])),
        ("rbf:auto * labels", lambda: convolve(PoolContext.rbf(POINTS), TableContext.labels(LABELS))),
        ("rbf:1e-1", lambda: PoolContext.rbf(POINTS, 0.1)),
    ],
)
def test_a_context_that_is_written_is_the_one_that_is_made(text, same):
    recipe = parse_context(text)
    made = recipe.on(POINTS, LABELS)
    torch.testing.assert_close(spectrum(made).values, spectrum(same()).values)
    assert recipe.needs_target == ("labels" in text or "target" in text)
    assert made.name == text.strip()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "knn:2.7",
        "mask:nan",
        "rbf:inf",
        "rbf:auto**knn:3",
        "nearest:3",
        "knn",
        "knn:few",
        "group:d4",
        "group:q:grid:2",
        "labels:2",
        "knn:5 *",
        "mask:2",
        "rbf:-1",
    ],
)
def test_a_text_that_names_no_context_is_refused(text):
    with pytest.raises(MSRError):
        parse_context(text).on(POINTS, LABELS)


def test_a_context_of_a_target_needs_one():
    with pytest.raises(ConfigError, match="there is none"):
        parse_context("knn:3 + labels").on(POINTS)


def test_a_group_and_then_neighbours_knows_the_invariant_functions():
    # Points closed under the group: what is left are functions of the orbit, with the values of the noise alone.
    turns = torch.cat([POINTS.roll(turn, 1) for turn in range(4)])
    alone = PoolContext.rbf(turns)
    both = alone.moved(natural(cyclic(4)))
    found = spectrum(both)
    orbits = torch.arange(96) % 24
    means = torch.zeros(24, 95, dtype=torch.float64).index_add(0, orbits, found.functions) / 4
    kept = found.values > 1e-6
    assert int(kept.sum()) <= 23
    torch.testing.assert_close(means[orbits][:, kept], found.functions[:, kept], atol=1e-6, rtol=0)
    values = spectrum(alone).values
    assert all(float((values - value).abs().min()) < 1e-8 for value in found.values[kept])
    with pytest.raises(ShapeError, match="acts on 5 numbers"):
        alone.moved(natural(cyclic(5)))


def test_masks_keep_a_column_at_least():
    context = PoolContext.masked(POINTS, 0.97, masks=20)
    assert context.pool.shape == (480, 4)
    assert float(context.conditional.sum(1).max()) == pytest.approx(1)
    assert isinstance(JointContext(context.joint), JointContext)


def test_an_encoder_of_contexts_is_judged_by_its_mean():
    # Of neighbours, which are not symmetric, the functions of contexts are not those of points.
    points = random_encoder(6, 60, 2)
    context = PoolContext.neighbours(points, 8)
    found = spectrum(context)
    plan = Schedule(steps=1500, rate=1e-2)
    learned = learn(context, points, 3, objective=SpectralContrastive(), spectrum=found, schedule=plan)
    assert learned.of_contexts
    assert learned.share > 0.995
    with torch.no_grad():
        alone = learned.encoder(points.float()).double()
    assert captured(context, alone).share(found, 3) < learned.share - 0.003


def test_a_sampler_gets_points_as_they_are_and_encoders_what_is_prepared():
    images = torch.randn(20, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * 50 + 100
    seen = []

    def flip(x, generator):
        seen.append(x.shape)
        assert float(x.mean()) > 50
        return x.flip(-1)

    def network(inputs, outputs, generator):
        assert inputs == 16
        return torch.nn.Sequential(torch.nn.Flatten(), perceptron(inputs, outputs, generator=generator))

    learned = learn(
        SamplerContext(flip), images, 2, network=network, schedule=Schedule(steps=3), prepare=lambda x: (x - 100) / 50
    )
    assert learned.steps == 3
    assert seen[0] == (20, 1, 4, 4)


def test_looks_do_not_see_dropout_and_a_collapsed_encoder_has_learned_nothing(noisy_turns):
    context, found = noisy_turns

    def dropping(inputs, outputs, generator):
        return torch.nn.Sequential(perceptron(inputs, outputs, generator=generator), torch.nn.Dropout(0.5))

    with torch.random.fork_rng():
        learned = learn(context, SIGNS, 4, network=dropping, spectrum=found, schedule=Schedule(steps=20, every=20))
    assert learned.curve[-1][1] == learned.share == pytest.approx(learned.captured.share(found, 4))

    class Nothing(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.unused = torch.nn.Parameter(torch.zeros(4))

        def forward(self, x):
            return self.unused.expand(len(x), 4)

    learned = learn(context, SIGNS, 4, network=lambda *_: Nothing(), spectrum=found, schedule=Schedule(steps=2))
    assert learned.share == 0
    assert learned.captured is None


def test_a_sign_within_a_context_makes_no_mixture():
    assert not any(parse_context(text).is_mixture for text in ("rbf:1e+3", "mask:+0.3", "group:c2:2*natural"))
    assert all(parse_context(text).is_mixture for text in ("knn:5*rbf:1e+3", "knn:5 + labels", "knn:2 & mask:0.3"))
