"""Certificates: verdicts where they are known, and warnings where they are due."""

import math
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from msr.equivariance import (
    Auto,
    EquivarianceWarning,
    Exact,
    Mean,
    Tail,
    ZeroFailure,
    certify,
    interior,
    localise,
    weight_error,
)
from msr.equivariance.certifying.affine import as_affine
from msr.equivariance.measuring.boundary import Interior
from msr.errors import ConfigError, ModelError, ShapeError
from msr.groups import cyclic, general_lorentz, so, symmetric
from msr.layers import ReparamLinear
from msr.representations import defining, from_matrices, grid_shifts, natural, planar, regular, sign, trivial
from msr.sharing import DenseSharing, GroupSharing
from msr.tasks.controls import broken_symmetry
from tests.msr.equivariance.layers import C8, R8, BrokenSometimes, known_layer
from tests.support.cases import randomize, seeded

C4 = cyclic(4)


# Verdicts


def test_linear_layers_are_decided_exactly(gen):
    layer = known_layer(gen)
    good = certify(layer, C8, R8, R8, eps=1e-5)
    assert (good.verdict, good.rule, good.n, good.p_value) == ("certified", "exact", 8, 0.0)
    assert good.null == "max over g of d(g) of the layer > 1e-05, for x ~ N(0, I)"
    bad = certify(randomize(layer.fold(), gen), C8, R8, R8, eps=0.1)
    assert (bad.verdict, bad.p_value, bad.p_refute) == ("refuted", 1.0, 0.0)
    assert bad.bound == bad.estimate == bad.largest > 0.5


def test_a_weight_is_certified_just_above_its_defect_and_refuted_just_below(gen):
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


def test_a_layer_with_a_hook_is_decided_by_draws(gen):
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
    # Whole turns at the generator: flips are signed permutations, and turns between them are none.
    turns = 2 * math.pi * np.array([[[0.0, -1.0], [1.0, 0.0]]])
    spun = from_matrices(general_lorentz(1), [np.diag([1.0, -1.0]), np.diag([-1.0, 1.0])], infinitesimal=turns)
    with pytest.warns(EquivarianceWarning, match="Tanh acts on each number alone"):
        certify(nn.Tanh(), spun.group, spun, spun, eps=0.01)


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


def test_a_deep_sets_layer_is_certified_for_all_permutations(gen):
    """A DeepSets layer, a I + b 11ᵀ, is certified for S5; one with a third number is not."""
    points = natural(symmetric(5))
    W = 2 * torch.eye(5) + 0.3 * torch.ones(5, 5)
    assert certify(W, points.group, points, points, eps=1e-6).certified
    W[0, 1] += 0.5
    assert certify(W, points.group, points, points, eps=1e-2).verdict == "refuted"
