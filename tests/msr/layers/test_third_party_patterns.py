"""Layers take a pattern's own way to be applied, whoever wrote the pattern."""

from functools import partial

import pytest
import torch

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
def test_the_pattern_s_own_cost_decides_between_the_ways(cost, gen):
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


def test_conversion_and_folding_take_it_too(gen):
    plain = torch.nn.Linear(5, 4, device="meta").to_empty(device="cpu").requires_grad_(False)
    plain.weight.copy_(torch.outer(torch.arange(1.0, 5), torch.arange(5.0)))
    plain.bias.fill_(0.5)
    pattern = RowSharing((4, 5), generator=gen)
    with torch.no_grad():
        pattern.a.copy_(torch.arange(1.0, 5))
    converted = reparameterize(plain, sharing=pattern, path="factors").module
    x = torch.randn(3, 5, generator=gen)
    torch.testing.assert_close(converted(x), plain(x))
    torch.testing.assert_close(converted.fold()(x), plain(x))
