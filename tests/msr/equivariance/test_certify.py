"""Certificates: the rules against exact computation, verdicts where they are known, warnings where they are due."""

import math
import warnings

import pytest
import torch
from scipy import stats
from torch import nn

from msr.equivariance import (
    Auto,
    EquivarianceWarning,
    Exact,
    Mean,
    Tail,
    ZeroFailure,
    certify,
    certify_network,
    interior,
    localise,
    specificity,
    weight_error,
)
from msr.equivariance.certifying.affine import as_affine
from msr.equivariance.measuring.boundary import Interior
from msr.errors import ConfigError, ModelError, NonFiniteError, ShapeError
from msr.groups import cyclic, dihedral, so, symmetric
from msr.layers import ReparamConv2d, ReparamLinear
from msr.representations import defining, grid_rotations, grid_shifts, natural, planar, regular, sign, trivial
from msr.sharing import DenseSharing, GroupSharing
from msr.statistics import draws_needed
from msr.statistics.holm import holm_rejected
from msr.tasks.controls import broken_symmetry
from tests.support.cases import randomize, seeded

C4, C8, D4 = cyclic(4), cyclic(8), dihedral(4)
R8 = regular(C8)


def known_layer(gen, bias=True, dtype=torch.float32):
    return randomize(ReparamLinear(8, 8, bias=bias, sharing=GroupSharing(R8, R8, dtype=dtype), generator=gen), gen)


class BrokenSometimes(nn.Module):
    """The identity, except on a share of the inputs, where it scrambles."""

    def __init__(self, share):
        super().__init__()
        self.limit = float(stats.norm.isf(share))

    def forward(self, x):
        # A sum does not move under permutations, so both sides of the comparison are broken together.
        return torch.where(x.sum(-1, keepdim=True) > self.limit * math.sqrt(x.shape[-1]), x * torch.arange(1.0, 9.0), x)


# Rules


@pytest.mark.parametrize(("n", "k"), [(59, 0), (64, 0), (64, 1), (200, 3), (10, 10), (10, 0)])
def test_the_tail_rule_is_the_exact_binomial_test(n, k):
    defects = torch.cat([torch.ones(k), torch.zeros(n - k)])
    outcome = Tail(0.05).judge(defects, 0.5, 0.05)
    at_most = sum(math.comb(n, i) * 0.05**i * 0.95 ** (n - i) for i in range(k + 1))
    at_least = sum(math.comb(n, i) * 0.05**i * 0.95 ** (n - i) for i in range(k, n + 1))
    assert outcome.p_value == pytest.approx(at_most)
    assert outcome.p_refute == pytest.approx(at_least)
    assert outcome.estimate == pytest.approx(k / n)
    if k < n:  # at the bound, k or fewer failures have probability alpha
        assert stats.binom.cdf(k, n, outcome.bound) == pytest.approx(0.05)
    assert (outcome.p_value <= 0.05) == (outcome.bound <= 0.05 + 1e-12)


def test_zero_failures_need_59_draws():
    assert [draws_needed(0.05, eta) for eta in (0.05, 0.01, 0.001)] == [59, 299, 2995]
    for n in (58, 59):
        outcome = ZeroFailure(0.05).judge(torch.zeros(n), 0.1, 0.05)
        assert outcome.p_value == pytest.approx(0.95**n)
        assert outcome.verdict(0.05) == ("certified" if n == 59 else "cannot tell")
        assert bool(outcome.hint) == (n == 58)
    one_failure = torch.tensor([0.0] * 499 + [0.2])
    assert ZeroFailure(0.05).judge(one_failure, 0.1, 0.05).verdict(0.05) == "cannot tell"
    assert Tail(0.05).judge(one_failure, 0.1, 0.05).verdict(0.05) == "certified"


def test_a_defect_of_exactly_eps_is_no_failure():
    assert Tail(0.05).judge(torch.full((64,), 0.25), 0.25, 0.05).estimate == 0


def test_the_mean_rule_is_the_bernstein_bound(gen):
    defects = 0.1 * torch.rand(64, generator=gen, dtype=torch.float64)
    outcome = Mean().judge(defects, 0.1, 0.05)
    log, n = math.log(2 / 0.05), 64
    expected = defects.mean() + (2 * defects.var() * log / n).sqrt() + 7 * 0.2 * log / (3 * (n - 1))
    assert outcome.bound == pytest.approx(float(expected))
    # The p-value is the level at which the bound reaches eps.
    at_p_value = Mean().judge(defects, 0.1, outcome.p_value)
    assert at_p_value.bound == pytest.approx(0.1)
    assert Mean().judge(torch.full((64,), 0.2), 0.1, 0.05).verdict(0.05) == "refuted"
    assert Mean().judge(torch.full((64,), 0.1), 0.1, 0.05).verdict(0.05) == "cannot tell"
    assert Mean().judge(torch.full((64,), 0.05), 0.1, 0.05).verdict(0.05) == "certified"


def test_the_cap_makes_the_range_follow_the_tolerance():
    nearly_all_small = torch.cat([torch.full((63,), 0.01), torch.tensor([1.4])])
    assert Mean().judge(nearly_all_small, 0.1, 0.05).estimate == pytest.approx((63 * 0.01 + 0.2) / 64)
    uncapped = Mean(cap=math.inf).judge(torch.zeros(64), 0.1, 0.05)
    assert uncapped.verdict(0.05) == "cannot tell"
    assert "too few draws" in uncapped.hint
    assert Mean(cap=math.inf).judge(torch.zeros(200), 0.1, 0.05).verdict(0.05) == "certified"


@pytest.mark.parametrize("rule", [Tail(0.05), ZeroFailure(0.05)], ids=lambda r: r.name)
def test_no_tail_rule_certifies_the_boundary_more_than_alpha(rule, gen):
    runs, n = 4000, 100
    failures = (torch.rand(runs, n, generator=gen) < 0.05).double()
    wrong = sum(rule.judge(row, 0.5, 0.05).verdict(0.05) == "certified" for row in failures) / runs
    assert wrong <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / runs)


def test_the_mean_rule_holds_its_level_on_skewed_defects(gen):
    runs, n, eps = 2000, 64, 0.1
    shapes = {
        "two points": 0.2 * (torch.rand(runs, n, generator=gen) < 0.5).double(),
        "mostly small": torch.where(torch.rand(runs, n, generator=gen) < 0.05, 0.2, 0.09473684),
    }
    for name, draws in shapes.items():
        wrong = sum(Mean().judge(row, eps, 0.05).verdict(0.05) == "certified" for row in draws) / runs
        assert wrong <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / runs), name


# Verdicts


def test_linear_layers_are_decided_exactly(gen):
    layer = known_layer(gen)
    good = certify(layer, C8, R8, R8, eps=1e-5)
    assert (good.verdict, good.rule, good.n, good.p_value) == ("certified", "exact", 8, 0.0)
    assert good.null == "max over g of d(g) of the layer > 1e-05, for x ~ N(0, I)"
    bad = certify(randomize(layer.fold(), gen), C8, R8, R8, eps=0.1)
    assert (bad.verdict, bad.p_value, bad.p_refute) == ("refuted", 1.0, 0.0)
    assert bad.bound == bad.estimate == bad.largest > 0.5


def test_the_tolerance_is_where_it_is_said_to_be(gen):
    W = torch.randn(8, 8, generator=gen, dtype=torch.float64)
    largest = weight_error(W, R8, R8).largest
    assert certify(W, C8, R8, R8, eps=1.001 * largest).verdict == "certified"
    assert certify(W, C8, R8, R8, eps=0.999 * largest).verdict == "refuted"


@pytest.mark.parametrize(("epsilon", "verdict"), [(0.0, "certified"), (0.02, "certified"), (0.5, "refuted")])
def test_a_known_break_is_judged_by_its_size(epsilon, verdict):
    family = broken_symmetry(R8, R8, epsilon)
    (weights,) = family.weights("train", torch.arange(1))
    certificate = certify(weights[0].double(), C8, R8, R8, eps=0.1)
    assert certificate.verdict == verdict
    assert certificate.largest <= math.sqrt(2) * epsilon + 1e-6


def test_sharing_patterns_are_certified_for_all_filters(gen):
    assert certify(GroupSharing(R8, R8), C8, R8, R8, eps=1e-6).certified
    refuted = certify(DenseSharing((8, 8), 3, generator=gen), C8, R8, R8, eps=0.3)
    assert refuted.verdict == "refuted"
    assert "any W = U v" in refuted.null


@pytest.mark.parametrize("make", [lambda: nn.Linear(8, 8), lambda: nn.Sequential(nn.Linear(8, 5), nn.Linear(5, 8))])
def test_an_affine_layer_is_read_off_as_its_matrix_and_bias(make, gen):
    layer = randomize(seeded(make), gen).double()
    W, b = as_affine(layer, R8, R8, torch.empty(0, dtype=torch.float64), Interior(R8, None))
    x = torch.randn(3, 8, generator=gen, dtype=torch.float64)
    torch.testing.assert_close(x @ W.mT + b, layer(x))
    torch.testing.assert_close(b, layer(0 * x[0]))


def test_a_hook_makes_a_layer_anything(gen):
    layer = known_layer(gen)
    layer.register_forward_hook(lambda module, args, output: output * torch.arange(8.0))
    certificate = certify(layer, C8, R8, R8, eps=0.1)
    assert (certificate.rule, certificate.verdict) == ("tail", "refuted")


def test_a_bias_counts(gen):
    layer = known_layer(gen).fold()
    with torch.no_grad():
        layer.bias.copy_(torch.arange(8.0))
    assert certify(layer, C8, R8, R8, eps=0.1).verdict == "refuted"


@pytest.mark.parametrize("rule", [Tail(), ZeroFailure(), Mean()], ids=lambda r: r.name)
def test_networks_are_decided_by_draws(rule, gen):
    net = nn.Sequential(known_layer(gen), nn.ReLU(), known_layer(gen))
    good = certify(net, C8, R8, R8, eps=0.01, rule=rule, n=64)
    assert good.certified
    assert good.n == 64
    assert good.p_value <= 0.05
    net[0] = randomize(net[0].fold(), gen)
    bad = certify(net, C8, R8, R8, eps=0.01, rule=rule)
    assert bad.verdict == "refuted"
    assert bad.worst in C8.labels
    assert rule.name in str(bad)


def test_few_draws_cannot_tell(gen):
    net = nn.Sequential(known_layer(gen), nn.ReLU())
    with pytest.warns(EquivarianceWarning, match="at least 59 draws"):
        certificate = certify(net, C8, R8, R8, eps=0.01, n=20)
    assert certificate.verdict == "cannot tell"
    assert "59" in certificate.warnings[0]


def test_breaks_on_a_tenth_of_the_inputs_are_found_by_the_tail_rule(gen):
    broken = BrokenSometimes(0.1)
    tail = certify(broken, C8, R8, R8, eps=0.05, n=200)
    assert tail.verdict == "refuted"
    assert 0.03 < tail.estimate < 0.2
    # The mean rule counts them as twice eps at most, and says so in its null.
    mean = certify(broken, C8, R8, R8, eps=0.05, n=200, rule=Mean())
    assert mean.certified
    assert mean.null == "E min(d, 0.1) >= 0.05, d in units of what the outputs vary by, part by part"


def test_the_identity_is_never_drawn():
    rep = regular(cyclic(2))
    swap_breaks = lambda x: x * torch.tensor([1.0, 2.0])  # noqa: E731
    certificate = certify(swap_breaks, cyclic(2), rep, rep, eps=0.1, n=64)
    assert certificate.estimate > 0.9  # inputs near zero differ by next to nothing of what is typical


def test_data_and_functions_as_inputs(gen):
    data = torch.zeros(5, 8)
    data[:, 0] = torch.arange(5) / 2
    net = nn.Sequential(nn.Identity(), BrokenSometimes(0.1))
    assert certify(net, C8, R8, R8, eps=0.05, inputs=data).certified
    far = certify(net, C8, R8, R8, eps=0.05, inputs=lambda n, g: 9 + torch.randn(n, 8, generator=g))
    assert far.verdict == "refuted"


def test_as_many_inputs_as_draws_or_an_error(gen):
    data = torch.randn(2000, 8, generator=gen)
    W = torch.randn(8, 8, generator=gen)
    f = lambda x: (x @ W.mT).relu()  # noqa: E731
    for rows in (data, data[:10]):
        with pytest.raises(ShapeError, match="must return n = 64 examples"):
            certify(f, C8, R8, R8, eps=0.1, inputs=lambda n, g, rows=rows: rows)
    assert certify(f, C8, R8, R8, eps=0.1, inputs=data).verdict == "refuted"
    with pytest.raises(ShapeError, match="at least one"):
        certify(f, C8, R8, R8, eps=0.1, inputs=data[:0])


def test_inputs_of_ones_own_are_sampled_even_for_affine_layers(gen):
    """A layer that is nearly equivariant on white noise, and not at all on these data."""
    both = natural(C8) + natural(C8)
    layer = seeded(lambda: nn.Linear(16, 8, bias=False))
    with torch.no_grad():
        layer.weight[:, :8] = 1e3 * torch.eye(8)
    assert certify(layer, C8, both, natural(C8), eps=0.05).certified
    half = lambda n, g: torch.cat([torch.zeros(n, 8), torch.randn(n, 8, generator=g)], 1)  # noqa: E731
    sampled = certify(layer, C8, both, natural(C8), eps=0.05, inputs=half)
    assert (sampled.rule, sampled.verdict) == ("tail", "refuted")
    with pytest.raises(ConfigError, match="no inputs= of your own"):
        certify(layer, C8, both, natural(C8), eps=0.05, inputs=half, rule=Exact())


def test_subclasses_and_hooks_are_not_taken_for_affine(gen):
    class Gated(nn.Sequential):
        def forward(self, x):
            y = super().forward(x)
            return torch.where(x.sum(-1, keepdim=True) > 1.5, y * torch.arange(8.0), y)

    class Own(ReparamLinear):
        def forward(self, x):
            return super().forward(x).abs()

    gated = certify(Gated(known_layer(gen)), C8, R8, R8, eps=0.05)
    assert (gated.rule, gated.verdict) == ("tail", "refuted")
    hooked = nn.Sequential(known_layer(gen))
    hooked.register_forward_hook(lambda module, args, output: output.abs())
    own = Own(8, 8, sharing=GroupSharing(R8, R8), generator=gen)
    assert {certify(f, C8, R8, R8, eps=0.05).rule for f in (hooked, own)} == {"tail"}


def test_nan_never_certifies():
    for rule in (Tail(0.05), ZeroFailure(0.05)):
        with pytest.raises(NonFiniteError, match="must not read as a pass"):
            rule.judge(torch.full((64,), math.nan), 0.1, 0.05)
        with pytest.raises(ConfigError, match="at least one"):
            rule.judge(torch.zeros(0), 0.1, 0.05)
    with pytest.raises(NonFiniteError):
        Mean().judge(torch.full((64,), math.inf), 0.1, 0.05)


def test_lie_algebras(gen):
    vector = defining(so(3))
    assert certify(nn.RMSNorm(3, elementwise_affine=False), so(3), vector, vector, eps=0.01).certified
    assert certify(nn.LayerNorm(3, elementwise_affine=False), so(3), vector, vector, eps=0.01).verdict == "refuted"
    plain = certify(seeded(lambda: nn.Linear(3, 3)), so(3), vector, vector, eps=0.1, rule=Exact(), n_random=0)
    assert (plain.verdict, plain.rule, plain.n) == ("refuted", "exact", 3)  # its generators decide


def test_boundaries_are_masked_and_reported():
    shifts = trivial(grid_shifts((6, 6)).group) * grid_shifts((6, 6))
    layer = seeded(lambda: nn.Conv2d(1, 1, 3, padding=1))
    inside = interior((1, 6, 6), (1, 1))
    assert certify(layer, shifts.group, shifts, shifts, eps=0.05).verdict == "refuted"
    masked = certify(layer, shifts.group, shifts, shifts, eps=1e-5, mask=inside)
    assert masked.certified
    assert masked.compared < 0.3
    sampled = certify(layer, shifts.group, shifts, shifts, eps=1e-4, mask=inside, rule=Tail())
    assert sampled.certified
    assert 0 < sampled.compared < 0.5


# Specificity


def test_an_equivariant_layer_is_specific_and_a_random_one_is_not(gen):
    good = certify(known_layer(gen), C8, R8, R8, eps=1e-5).specificity
    assert good.p_value == pytest.approx(1 / 100)
    assert good.median_random > 0.5
    bad = certify(randomize(seeded(lambda: nn.Linear(8, 8)), gen), C8, R8, R8, eps=0.1).specificity
    assert bad.p_value > 0.05
    net = certify(nn.Sequential(known_layer(gen), nn.Tanh()), C8, R8, R8, eps=0.01).specificity
    assert net.p_value == pytest.approx(1 / 100)
    assert certify(known_layer(gen), C8, R8, R8, eps=0.1, n_random=0).specificity is None


def test_what_commutes_with_every_relabelling_is_not_specific():
    one = trivial(C8)
    mean = certify(lambda x: x.mean(-1, keepdim=True), C8, R8, one, eps=0.01)
    assert mean.certified
    assert mean.specificity.p_value == 1.0
    weight = certify(torch.ones(8, 8), C8, R8, R8, eps=0.01)
    assert weight.certified
    assert weight.specificity.p_value == 1.0


def test_specificity_has_uniform_p_values_under_the_null():
    """Random weights know no group, so p ≤ α happens with probability at most α."""
    runs, small = 300, 0
    generator, rep = torch.Generator().manual_seed(1), regular(cyclic(6))
    for _ in range(runs):
        W = torch.randn(6, 6, generator=generator, dtype=torch.float64)
        result = specificity(W, rep, rep, torch.zeros(1, 6), n_random=19, generator=generator)
        small += result.p_value <= 0.1
    assert small / runs <= 0.1 + 2 * math.sqrt(0.09 / runs)


def test_specificity_of_rotations_uses_random_rotations(gen):
    """A turn about one axis: random rotations move the axis."""
    about_z = planar(8) + trivial(C8)
    x, scales = torch.randn(4, 3, generator=gen), torch.tensor([1.0, 1.0, 3.0])
    result = specificity(lambda x: scales * x, about_z, about_z, x, n_random=19, generator=gen)
    assert result.observed < 1e-6
    assert result.median_random > 0.1
    assert result.p_value == pytest.approx(1 / 20)
    every = specificity(lambda x: 2 * x, about_z, about_z, x, n_random=19, generator=gen)
    assert every.p_value == 1.0  # commutes with all rotations


@pytest.mark.parametrize("f", [nn.ReLU(), torch.eye(8)], ids=["ReLU", "identity"])
def test_pointwise_functions_are_not_specific(f, gen):
    """They commute with every relabelling that is the same on both sides."""
    assert certify(f, C8, R8, R8, eps=0.01).specificity.p_value == 1.0


def test_smooth_data_do_not_make_a_function_specific(gen):
    """The test is run on standard normal inputs, whatever data the certificate speaks of."""
    grid, small = 2 * math.pi * torch.arange(8) / 8, 0

    def smooth(n, g):
        return 3 + torch.randn(n, 1, generator=g) * grid.cos() + torch.randn(n, 1, generator=g) * grid.sin()

    for seed in range(30):
        W = torch.randn(3, 8, generator=torch.Generator().manual_seed(seed))
        f = lambda x, W=W: (x @ W.mT).abs()  # noqa: E731
        result = certify(f, C8, R8, trivial(C8, 3), eps=0.1, inputs=smooth, n_random=19)
        small += result.specificity.p_value <= 0.05
    assert small <= 6  # 1.5 expected


# Warnings


def test_constant_outputs_warn():
    with pytest.warns(EquivarianceWarning, match="outputs are constant"):
        certificate = certify(lambda x: torch.ones_like(x), C8, R8, R8, eps=0.1)
    assert certificate.certified
    assert any("constant" in text for text in certificate.warnings)
    zero = seeded(lambda: nn.Linear(8, 8))
    nn.init.zeros_(zero.weight), nn.init.zeros_(zero.bias)
    with pytest.warns(EquivarianceWarning, match="outputs are constant"):
        certify(zero, C8, R8, R8, eps=0.1)
    with pytest.warns(EquivarianceWarning, match="weight is zero"):
        certify(torch.zeros(8, 8), C8, R8, R8, eps=0.1)


def test_trivial_actions_warn():
    one = trivial(C8, 8)
    with pytest.warns(EquivarianceWarning, match="every function is equivariant"):
        certify(nn.Identity(), C8, one, one, eps=0.1)
    with pytest.warns(EquivarianceWarning, match="outputs are invariant"):
        certify(seeded(lambda: nn.Linear(8, 8)), C8, one, R8, eps=0.1)


def test_activations_that_mix_numbers_warn():
    plane = planar(8)
    with pytest.warns(EquivarianceWarning, match="ReLU acts on each number alone"):
        assert certify(nn.ReLU(), C8, plane, plane, eps=0.01).verdict == "refuted"
    quarter = planar(4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert certify(nn.Tanh(), C4, quarter, quarter, eps=0.01).certified  # signed permutations
        assert certify(nn.ReLU(), C8, R8, R8, eps=0.01).certified
    flip = sign(cyclic(2))
    with pytest.warns(EquivarianceWarning, match="ReLU6"):  # a kind of Hardtanh, but not an odd one
        certify(nn.ReLU6(), cyclic(2), flip, flip, eps=0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        certify(nn.Hardtanh(), cyclic(2), flip, flip, eps=0.01)
    with pytest.warns(EquivarianceWarning, match="ReLU"):
        assert certify(nn.ReLU(), C4, quarter, quarter, eps=0.01).verdict == "refuted"


# Networks


def rep_of(shape):
    if len(shape) == 3:
        return (trivial(C4) if shape[0] == 1 else regular(C4)) * grid_rotations(shape[1:])
    return regular(C4) if shape == (4,) else trivial(C4, shape[0])


def turning_net(gen):
    kernel = grid_rotations(3)
    layers = [
        ReparamConv2d(1, 4, 3, sharing=GroupSharing(trivial(C4), regular(C4), kernel), generator=gen),
        nn.ReLU(),
        ReparamConv2d(4, 4, 3, sharing=GroupSharing(regular(C4), regular(C4), kernel), generator=gen),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        ReparamLinear(4, 4, sharing=GroupSharing(regular(C4), regular(C4)), generator=gen),
    ]
    return nn.Sequential(*layers)


IMAGE = trivial(C4) * grid_rotations(8)


@pytest.mark.parametrize("sabotaged", [None, 0, 2, 6])
def test_the_layer_that_breaks_the_symmetry_is_named(sabotaged, gen):
    net = turning_net(gen)
    if sabotaged is not None:
        net[sabotaged] = randomize(net[sabotaged].fold(), gen)
    result = certify_network(net, C4, IMAGE, regular(C4), rep_of, eps=0.01)
    assert result.broken == (() if sabotaged is None else (str(sabotaged),))
    assert result.certified == (sabotaged is None)
    assert list(result.layers) == [str(i) for i in range(7)]
    assert all(c.certified for name, c in result.layers.items() if name not in result.broken)
    assert f"broken by: {'no layer' if sabotaged is None else sabotaged}" in str(result)


def test_a_representation_that_an_activation_breaks_is_told_with_its_layer(gen):
    rep = planar(8)
    layer = ReparamLinear(2, 2, sharing=GroupSharing(rep, rep), generator=gen)
    net = nn.Sequential(layer, nn.ReLU())
    with pytest.warns(EquivarianceWarning, match=r"layer 1: ReLU"):
        result = certify_network(net, C8, rep, rep, [rep, rep, rep], eps=0.05)
    assert result.broken == ("1",)


def test_localise_compares_before_and_after_training(gen):
    net = turning_net(gen)
    net[2] = net[2].fold()  # starts symmetric; nothing keeps it so
    x = torch.randn(8, 1, 8, 8, generator=gen)
    before = localise(net, x, rep_of)
    assert before.values.max() < 1e-5
    assert before.elements == C4.labels
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    target = torch.randn(8, 4, generator=gen)
    for _ in range(5):
        optimizer.zero_grad()
        (net(x) - target).square().mean().backward()
        optimizer.step()
    after = localise(net, x, rep_of)
    assert after.worst == "2"
    assert (after.values[[0, 1, 3, 4, 5, 6]] < 1e-5).all()
    text = before.compare(after)
    assert "before" in text
    assert len(text.splitlines()) == 8
    assert str(after).splitlines()[0].split() == ["layer", *C4.labels]


def test_representations_by_list_and_by_name_agree(gen):
    net, x = turning_net(gen), torch.randn(2, 1, 8, 8, generator=gen)
    chain = [rep_of(shape) for shape in [(1, 8, 8), (4, 6, 6), (4, 6, 6), (4, 4, 4), (4, 4, 4), (4, 1, 1), (4,), (4,)]]
    by_list = localise(net, x, chain)
    by_name = localise(net, x, {"2": (chain[2], chain[3]), "6": (chain[6], chain[7])})
    torch.testing.assert_close(by_list.values[[2, 6]], by_name.values)
    assert by_name.layers == ("2", "6")
    masked = localise(net, x, chain, masks={"0": interior((4, 6, 6), (1, 1))})
    assert masked.layers == by_list.layers
    single = localise(net[6], torch.randn(2, 4, generator=gen), [regular(C4), regular(C4)])
    assert single.layers == ("ReparamLinear",)


def test_a_layer_that_runs_twice_is_measured_the_first_time(gen):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = BrokenSometimes(1e-12)

        def forward(self, x):
            return self.layer(1000 * self.layer(x))

    net, x = Twice(), torch.randn(4, 8, generator=gen)
    table = localise(net, x, {"layer": (R8, R8)})
    assert table.values.max() == 0  # the second input is a thousand times larger, and broken
    assert not net.layer._forward_hooks


def test_a_layer_that_sees_other_rows_is_refused(gen):
    class Rows(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = BrokenSometimes(0.1)

        def forward(self, x):
            return self.layer(x.reshape(-1, 8)).reshape(x.shape)

    rows = trivial(C8, 30) * R8
    with pytest.raises(ModelError, match="layer 'layer' sees 1920 examples for 64 inputs"):
        certify_network(Rows(), C8, rows, rows, {"layer": (R8, R8)}, eps=0.05)
    assert localise(Rows(), torch.randn(4, 30, 8, generator=gen), {"layer": (R8, R8)}).values.max() > 0.05


def test_a_break_between_layers_is_told(gen):
    class Positional(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = known_layer(gen)
            self.position = nn.Parameter(torch.arange(8.0))

        def forward(self, x):
            return self.layer(x + self.position)

    result = certify_network(Positional(), C8, R8, R8, {"layer": (R8, R8)}, eps=0.05)
    assert (result.certified, result.broken, result.unmeasured) == (False, (), ("Positional",))
    assert "no measured layer explains it" in str(result)


def test_shared_and_parametrized_layers_are_layers(gen):
    one = nn.Linear(8, 8, device="meta").to_empty(device="cpu")
    net = nn.Sequential(randomize(one, gen), nn.ReLU(), one)
    assert localise(net, torch.randn(4, 8, generator=gen), {"2": (R8, R8)}).layers == ("2",)
    normed = nn.Sequential(nn.utils.parametrizations.weight_norm(randomize(seeded(lambda: nn.Linear(8, 8)), gen)))
    assert localise(normed, torch.randn(4, 8, generator=gen), [R8, R8]).layers == ("0",)


def test_holm_steps_down_and_stops():
    assert holm_rejected({"a": 0.04, "b": 0.001, "c": 0.02}, 0.05) == ("a", "b", "c")
    assert holm_rejected({"a": 0.04, "b": 0.001, "c": 0.03}, 0.05) == ("b",)
    assert holm_rejected({"a": 0.2}, 0.05) == ()


# Bad input


def test_bad_input_is_named(gen):
    layer, net = known_layer(gen), nn.Sequential(known_layer(gen), nn.ReLU())
    with pytest.raises(ConfigError, match=r"eps is a defect between 0 and sqrt\(2\)"):
        certify(layer, C8, R8, R8, eps=2)
    with pytest.raises(ConfigError, match=r"below what torch.float32 can show"):
        certify(layer, C8, R8, R8, eps=1e-8)
    certify(layer.double(), C8, R8, R8, eps=1e-8)
    with pytest.raises(ConfigError, match=r"below what torch.float16 can show"):
        certify(lambda x: x.relu(), C8, R8, R8, eps=1e-4, inputs=torch.randn(9, 8, generator=gen).half())
    with pytest.raises(ConfigError, match="alpha must be between"):
        certify(net, C8, R8, R8, eps=0.1, alpha=1.0)
    with pytest.raises(ConfigError, match="eta must be between"):
        certify(net, C8, R8, R8, eps=0.1, rule=Auto(Tail(eta=0)))
    with pytest.raises(ConfigError, match="at least 2 draws"):
        certify(net, C8, R8, R8, eps=0.1, n=1)
    with pytest.raises(ConfigError, match="rule must be"):
        certify(net, C8, R8, R8, eps=0.1, rule="hope")
    with pytest.raises(ConfigError, match=r"rule must be .* got 'zero-failure'; write rule=ZeroFailure\(eta=0.05\)"):
        certify(net, C8, R8, R8, eps=0.1, rule="zero-failure")
    with pytest.raises(ConfigError, match="Auto needs a rule on draws"):
        Auto(Exact())
    with pytest.raises(ConfigError, match=r"rule=Exact\(\) needs an affine layer"):
        certify(net, C8, R8, R8, eps=0.1, rule=Exact())
    with pytest.raises(ConfigError, match="decided exactly"):
        certify(torch.eye(8), C8, R8, R8, eps=0.1, rule=Tail())
    with pytest.raises(ConfigError, match="the cap is a multiple"):
        certify(net, C8, R8, R8, eps=0.1, rule=Mean(cap=0.5))
    with pytest.raises(ConfigError, match="of the group given"):
        certify(net, C4, R8, R8, eps=0.1)
    wide = trivial(C4, 5000)
    with pytest.raises(ShapeError, match="5000 inputs are too many"):
        as_affine(nn.Identity(), wide, wide, torch.empty(0), Interior(wide, None))
    with pytest.raises(ConfigError, match="2 layers need 3 representations"):
        localise(net, torch.ones(2, 8), [R8, R8])
    with pytest.raises(ConfigError, match="no layer 'head'"):
        localise(net, torch.ones(2, 8), {"head": (R8, R8)})
    with pytest.raises(ConfigError, match="different layers"):
        localise(net, torch.ones(2, 8), [R8] * 3).compare(localise(net, torch.ones(2, 8), {"0": (R8, R8)}))

    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.add = Add()

        def forward(self, x):
            return self.add(x, x)

    class Add(nn.Module):
        def forward(self, x, y):
            return x + y

    with pytest.raises(ModelError, match="does not map one tensor to one"):
        localise(Pair(), torch.ones(2, 8), [R8, R8])


def test_symmetric_points_by_the_way(gen):
    """A DeepSets layer, a I + b 11ᵀ, is certified for S5; one with a third number is not."""
    points = natural(symmetric(5))
    W = 2 * torch.eye(5) + 0.3 * torch.ones(5, 5)
    assert certify(W, points.group, points, points, eps=1e-6).certified
    W[0, 1] += 0.5
    assert certify(W, points.group, points, points, eps=1e-2).verdict == "refuted"
