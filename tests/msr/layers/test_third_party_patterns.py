"""Layers take a pattern's own way to be applied, whoever wrote the pattern."""

from functools import partial

import pytest
import torch
from torch import nn

from msr.equivariance import certify, certify_network
from msr.groups import cyclic
from msr.layers import (
    ReparamConv1d,
    ReparamConv2d,
    ReparamConv3d,
    ReparamConvTranspose1d,
    ReparamConvTranspose2d,
    ReparamConvTranspose3d,
    ReparamLinear,
    reparameterize,
)
from msr.representations import regular
from msr.sharing import DenseSharing
from tests.support.cases import randomize
from tests.support.patterns import RowSharing

LAYERS = {
    "linear": (partial(ReparamLinear, 5, 4), (5,)),
    "linear without bias": (partial(ReparamLinear, 5, 4, bias=False), (5,)),
    "conv 1d": (partial(ReparamConv1d, 5, 4, 3, padding="same", padding_mode="circular"), (5, 9)),
    "conv 2d": (partial(ReparamConv2d, 5, 4, (3, 2), stride=2, padding=1), (5, 8, 7)),
    "conv 3d": (partial(ReparamConv3d, 5, 4, 2, dilation=2), (5, 5, 4, 6)),
    "transposed 1d": (partial(ReparamConvTranspose1d, 4, 5, 3, stride=2, output_padding=1), (4, 6)),
    "transposed 2d": (partial(ReparamConvTranspose2d, 4, 5, 3, stride=3, padding=1), (4, 4, 3)),
    "transposed 3d": (partial(ReparamConvTranspose3d, 4, 5, 2, bias=False), (4, 3, 3, 2)),
}


class Counted(RowSharing):
    """Counts how often the pattern's own way is taken and how often the weight is built."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.applied = 0
        self.built = 0

    def materialize(self, v):
        self.built += 1
        return super().materialize(v)

    def apply_linear(self, *arguments):
        self.applied += 1
        return super().apply_linear(*arguments)

    def apply_convolution(self, *arguments):
        self.applied += 1
        return super().apply_convolution(*arguments)


def outputs_and_gradients(layer, x):
    x = x.clone().requires_grad_()
    y = layer(x)
    learned = [x, layer.v, *([] if layer.bias is None else [layer.bias])]
    slopes = torch.autograd.grad(y.sin().sum(), learned)
    return [y.detach(), *(slope.flatten() for slope in slopes)]


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("path", ["auto", "factors"])
def test_a_layer_takes_the_way_of_a_pattern_that_is_not_ours(name, path, gen):
    """And gives the numbers, and the gradients, of the layer that holds the same ``U`` as a matrix."""
    make, shape = LAYERS[name]
    layer = randomize(make(sharing=Counted, generator=gen, path=path, dtype=torch.float64), gen)
    dense = DenseSharing.from_matrix(layer.sharing.matrix().detach(), layer.sharing.weight_shape, learn=False)
    twin = make(sharing=dense, generator=gen, path="materialize", dtype=torch.float64)
    with torch.no_grad():
        twin.v.copy_(layer.v.flatten())
        if layer.bias is not None:
            twin.bias.copy_(layer.bias)
    x = torch.randn(2, *shape, generator=gen, dtype=torch.float64)
    ours = outputs_and_gradients(layer, x)
    assert (layer.sharing.applied, layer.sharing.built) == (1, 0)
    torch.testing.assert_close(ours, outputs_and_gradients(twin, x))
    layer.path = "materialize"
    torch.testing.assert_close(outputs_and_gradients(layer, x), ours)
    assert (layer.sharing.applied, layer.sharing.built) == (1, 1)


@pytest.mark.parametrize("cost", [-1, 0, 1])
def test_the_cost_that_a_pattern_gives_decides_between_the_ways(cost, gen):
    """A row costs ``numel(W) = 20`` by the weight, and the weight 20 once: at ten rows the limit is 22 a row."""

    class Priced(Counted):
        def linear_cost(self):
            return super().linear_cost()._replace(per_position=22 + cost)

    layer = ReparamLinear(5, 4, sharing=Priced, generator=gen)
    layer(torch.ones(10, 5))
    assert (layer.sharing.applied, layer.sharing.built) == ((1, 0) if cost < 0 else (0, 1))


def test_grouped_convolutions_build_the_weight(gen):
    layer = ReparamConv2d(4, 6, 3, groups=2, sharing=Counted, generator=gen)
    layer(torch.ones(1, 4, 5, 5))
    assert (layer.sharing.applied, layer.sharing.built) == (0, 1)


def test_third_party_patterns_convert_and_fold(gen):
    plain = nn.Linear(5, 4, device="meta").to_empty(device="cpu").requires_grad_(False)
    plain.weight.copy_(torch.outer(torch.arange(1.0, 5), torch.arange(5.0)))
    plain.bias.fill_(0.5)
    pattern = RowSharing((4, 5), generator=gen)
    with torch.no_grad():
        pattern.a.copy_(torch.arange(1.0, 5))
    converted = reparameterize(plain, sharing=pattern, path="factors").module
    x = torch.randn(3, 5, generator=gen)
    torch.testing.assert_close(converted(x), plain(x))
    torch.testing.assert_close(converted.fold()(x), plain(x))


def test_a_layer_of_ones_own_that_holds_a_pattern_counts_as_one_layer(gen):
    """And one that merely has something by the name of ``sharing`` is looked into."""
    rep = regular(cyclic(4))

    class OwnLayer(nn.Module):
        def __init__(self):
            super().__init__()
            self.pattern = RowSharing((4, 4), generator=gen)
            self.v = nn.Parameter(torch.ones(4))

        def forward(self, x):
            return x @ self.pattern.materialize(self.v).mT

    class Block(nn.Module):
        sharing = True

        def __init__(self):
            super().__init__()
            self.first = OwnLayer()
            self.second = nn.ReLU()

        def forward(self, x):
            return self.second(self.first(x))

    result = certify_network(Block(), rep.group, rep, rep, [rep, rep, rep], eps=0.1)
    assert list(result.layers) == ["first", "second"]


def test_a_layer_with_a_third_party_pattern_is_decided_exactly(gen):
    rep = regular(cyclic(4))
    layer = ReparamLinear(4, 4, sharing=RowSharing, bias=False, generator=gen, dtype=torch.float64)
    with torch.no_grad():
        layer.sharing.a.fill_(1)
        layer.v.fill_(0.7)
    certificate = certify(layer, rep.group, rep, rep, eps=0.01)
    assert (certificate.rule, certificate.verdict) == ("exact", "certified")
    with torch.no_grad():
        layer.v[0] = 2
    assert certify(layer, rep.group, rep, rep, eps=0.01).verdict == "refuted"
