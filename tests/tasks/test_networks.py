"""The networks of the published problems: the counts of the paper, and a start that a generator alone decides."""

import pytest
import torch
from torch import nn

from tasks.networks import conv4, convolutions_of_conv4


def test_conv4_has_the_published_shape(gen):
    net = conv4(5, generator=gen)
    assert net(torch.ones(2, 1, 28, 28)).shape == (2, 5)
    assert [name for name, part in net.named_modules() if isinstance(part, nn.Conv2d)] == convolutions_of_conv4()
    # 3x3 filters and biases of 1, 32, 32 and 32 channels, scale and shift of four norms, and the head.
    assert sum(p.numel() for p in net.parameters()) == 32 * 10 + 3 * 32 * 289 + 4 * 64 + 5 * 33


@pytest.mark.parametrize("width", [3, 16])
def test_conv4_is_drawn_from_its_generator_as_torch_draws_its_layers(width):
    first, second = (conv4(7, width=width, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
    for layer in first:
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            bound = layer.weight[0].numel() ** -0.5
            assert layer.weight.abs().max() <= bound * (1 + 1e-6)
            assert layer.bias.abs().max() <= bound * (1 + 1e-6)
            assert layer.weight.abs().max() > 0.8 * bound


def test_norms_can_keep_no_running_statistics(gen):
    norms = [part for part in conv4(5, running_statistics=False, generator=gen) if isinstance(part, nn.BatchNorm2d)]
    assert len(norms) == 4
    assert all(norm.running_mean is None for norm in norms)
