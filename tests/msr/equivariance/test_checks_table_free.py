"""Every check, end to end, on groups that list no elements: sound things pass, and broken ones are caught."""

import pytest
import torch
from torch import nn

from msr.equivariance import (
    EquivarianceWarning,
    Exact,
    assert_equivariant,
    certify,
    equivariance_error,
    localise,
    pattern_error,
    specificity,
    weight_error,
)
from msr.errors import ConfigError
from msr.groups import cyclic, direct_product, general_lorentz, orthogonal, so, symmetric
from msr.layers import ReparamLinear
from msr.representations import copies, defining, from_matrices, lift, natural, outer_product, regular, trivial
from msr.sharing import GroupSharing
from tests.support.cases import randomize, seeded


def deep_set(x):
    return torch.tanh(x) + x.sum(1, keepdim=True).sin()


def centred_norms(x):
    """Points in space that are swapped and turned: each one's distance from the centre, times itself."""
    y = x - x.mean(1, keepdim=True)
    return y * y.square().sum(2, keepdim=True)


def cross(x):
    return torch.linalg.cross(x[:, :3], x[:, 3:])


METRIC = torch.tensor([1.0, -1, -1, -1])


def interval(x):
    return (x[:, :4] * METRIC * x[:, 4:]).sum(1, keepdim=True)


def cases():
    S8, S16 = natural(symmetric(8)), natural(symmetric(16))
    points = outer_product(natural(symmetric(5)), defining(so(3)))
    O3, O13 = orthogonal(3), general_lorentz()
    vector = defining(O3)
    pseudo = from_matrices(O3, {"P": torch.eye(3)}, "pseudovector", infinitesimal=O3.algebra.matrices)
    four = defining(O13)
    time = from_matrices(O13, {"P": [[1.0]], "T": [[-1.0]]}, "time-odd")
    tokens = outer_product(natural(symmetric(16)), regular(cyclic(2)))
    turned = outer_product(defining(so(3)), regular(cyclic(2)))
    return {
        "S8": (deep_set, S8, S8, lambda x: deep_set(x) + 0.1 * x[:, :1]),
        "S16 tokens": (lambda x: x.softmax(1), S16, S16, lambda x: x.cumsum(1)),
        "S16 x C2": (lambda x: x.flip(2).exp(), tokens, tokens, lambda x: x[:, :, :1] + 0 * x),
        "S5 x SO(3)": (centred_norms, points, points, lambda x: x + 0.1),
        "S5 x SO(3) to one vector": (
            lambda x: x.sum(1),
            points,
            lift(defining(so(3)), points.group),
            lambda x: x[:, 0],
        ),
        "SO(3) x C2": (lambda x: x.norm(dim=1, keepdim=True) * x, turned, turned, torch.tanh),
        "O(3) cross product": (cross, vector + vector, pseudo, None),
        "O(3) wrong parity": (lambda x: x, vector, vector, None),
        "O(1,3)": (interval, four + four, trivial(O13), lambda x: x[:, :1]),
        "O(1,3) time": (lambda x: x * interval(torch.cat([x, x], 1)), four, four, None),
        "O(1,3) odd": (lambda x: x * x, time, trivial(O13), lambda x: x),
    }


@pytest.mark.parametrize(("f", "rep_in", "rep_out", "broken"), cases().values(), ids=cases())
def test_assertions(f, rep_in, rep_out, broken):
    group = rep_in.group
    assert_equivariant(f, group, rep_in, rep_out, dtype=torch.float64, tolerance=1e-6)
    if broken is not None:
        with pytest.raises(AssertionError, match="is not equivariant to"):
            assert_equivariant(broken, group, rep_in, rep_out, dtype=torch.float64, tolerance=1e-6)


def test_only_the_inversion_tells_parity(gen):
    group = orthogonal(3)
    vector = defining(group)
    with pytest.raises(AssertionError, match="at element P"):
        assert_equivariant(cross, group, vector + vector, vector)
    assert_equivariant(cross, so(3), copies(defining(so(3)), 2), defining(so(3)))


@pytest.mark.parametrize("name", ["S8", "S16 tokens", "S5 x SO(3)"])
def test_errors_on_generators_and_on_elements_of_choice(name, gen):
    f, rep_in, rep_out, broken = cases()[name]
    x = torch.randn(6, *rep_in.shape, generator=gen, dtype=torch.float64)
    right = equivariance_error(f, x, rep_in, rep_out, "generators")
    assert right.largest < 1e-8
    assert len(right.labels) == len(rep_in.group.generators)
    assert equivariance_error(broken, x, rep_in, rep_out, "generators").largest > 1e-3
    some = rep_in.group.sample(2, gen)
    assert equivariance_error(f, x, rep_in, rep_out, some).largest < 1e-8
    label = rep_in.group.label(rep_in.group.generators[0])
    assert equivariance_error(f, x, rep_in, rep_out, [label]).labels == (label,)


LINEAR = {
    "S8": lambda: natural(symmetric(8)),
    "S5 x SO(3)": lambda: outer_product(natural(symmetric(5)), defining(so(3))),
    "O(3)": lambda: copies(defining(orthogonal(3)), 2),
    "SO(3) x C2": lambda: lift(defining(so(3)), direct_product(so(3), cyclic(2))),
}


@pytest.mark.parametrize("make", LINEAR.values(), ids=LINEAR)
def test_weights_and_patterns(make, gen):
    rep = make()
    sharing = GroupSharing(rep, rep.reshape(rep.dim), dtype=torch.float64)
    weight = sharing.materialize(torch.randn(sharing.n_filter, generator=gen, dtype=torch.float64))
    noise = torch.randn(weight.shape, generator=gen, dtype=torch.float64)
    assert weight_error(weight, rep, rep, "generators").largest < 1e-9
    assert weight_error(weight, rep, rep, rep.group.sample(3, gen)).largest < 1e-9
    assert weight_error(weight + 0.1 * noise, rep, rep, "generators").largest > 1e-3
    assert pattern_error(sharing.matrix(), rep, rep, "generators").largest < 1e-7
    dense = torch.eye(rep.dim**2, dtype=torch.float64)
    assert pattern_error(dense, rep, rep, "generators").largest > 0.1


@pytest.mark.parametrize("name", ["S16 tokens", "S5 x SO(3)"])
def test_certificates_by_draws(name):
    f, rep_in, rep_out, broken = cases()[name]
    group = rep_in.group
    good = certify(f, group, rep_in, rep_out, eps=1e-3, n_random=0, dtype=torch.float64)
    assert good.certified
    assert good.rule == "tail"
    # Draws that are not Haar distributed are named as what they are.
    assert ("elements drawn by uniform and normal coefficients" in good.null) == (group.drawn != "uniform")
    assert certify(broken, group, rep_in, rep_out, eps=1e-3, n_random=0, dtype=torch.float64).verdict == "refuted"


def test_layers_and_specificity(gen):
    rep = natural(symmetric(8))
    layer = ReparamLinear(8, 8, sharing=GroupSharing(rep, rep), generator=gen)
    network = randomize(nn.Sequential(layer, nn.Tanh(), seeded(lambda: nn.Linear(8, 8))), gen)
    x = torch.randn(5, 8, generator=gen)
    table = localise(network, x, [rep] * 4, "generators")
    assert table.worst == "2"
    assert table.values[:2].max() < 1e-5
    # A shift around a circle of eight, as one of the permutations of its own group.
    special = specificity(lambda y: y.roll(1, -1) + y, regular(cyclic(9000)), regular(cyclic(9000)),
                          torch.randn(2, 9000, generator=gen), n_random=19, generator=gen)  # fmt: skip
    assert special.observed < 1e-6
    assert special.p_value == pytest.approx(1 / 20)


def test_generators_decide_exactly_at_zero(gen):
    """Zero on the generators is zero on the group; a small bound on them is none, and a large defect is one."""
    rep = natural(symmetric(16))
    weight = torch.eye(16) * 2 + 1
    noise = torch.randn(16, 16, generator=gen)
    linear = nn.utils.skip_init(nn.Linear, 16, 16, bias=False)
    for scale, verdict in ((0.0, "certified"), (1.0, "refuted")):
        linear.weight.data.copy_(weight + scale * noise)
        for f in (linear, linear.weight.detach()):
            certificate = certify(f, rep.group, rep, rep, eps=1e-2, n_random=0)
            assert (certificate.verdict, certificate.rule, certificate.n) == (verdict, "exact", 2)
            assert "all 2 generators, exactly" in str(certificate)
    near = weight + 1e-3 * noise
    linear.weight.data.copy_(near)
    with pytest.warns(EquivarianceWarning, match="words in them may not"):
        assert certify(near, rep.group, rep, rep, eps=1e-2, n_random=0).verdict == "cannot tell"
    with pytest.warns(EquivarianceWarning, match="words in them may not"):
        drawn = certify(linear, rep.group, rep, rep, eps=1e-2, n_random=0)
    assert (drawn.verdict, drawn.rule) == ("certified", "tail")
    with pytest.raises(ConfigError, match=r"rule=Exact\(\) cannot serve"):
        certify(linear, rep.group, rep, rep, eps=1e-2, n_random=0, rule=Exact())


def test_patterns_of_groups_without_a_table_are_certified():
    for rep in (natural(symmetric(9)), copies(defining(orthogonal(3)), 2), defining(so(3))):
        sharing = GroupSharing(rep, rep, dtype=torch.float64)
        certificate = certify(sharing, rep.group, rep, rep, eps=1e-6)
        assert certificate.certified
        assert certificate.n == len(rep.group.generators)
