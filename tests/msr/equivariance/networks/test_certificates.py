"""Networks: the layer that breaks the symmetry is named, and each layer is measured by itself."""

import pytest
import torch
from torch import nn

from msr.equivariance import (
    EquivarianceWarning,
    certify_network,
    interior,
    localise,
)
from msr.errors import ModelError
from msr.groups import cyclic
from msr.layers import ReparamConv2d, ReparamLinear
from msr.representations import grid_rotations, planar, regular, trivial
from msr.sharing import GroupSharing
from tests.msr.equivariance.layers import C8, R8, BrokenSometimes, known_layer
from tests.support.cases import randomize, seeded

C4 = cyclic(4)


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
