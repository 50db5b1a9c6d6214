"""The networks of the published problems: the counts of the paper, and a start that a generator alone decides."""

import pytest
import torch
from torch import nn

from msr.errors import ShapeError
from tasks.networks import conv4, convolutions_of_conv4, head_of_conv4


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


def test_larger_images_in_colour_have_a_larger_head(gen):
    net = conv4(5, image_shape=(3, 84, 84), generator=gen)
    assert net(torch.ones(2, 3, 84, 84)).shape == (2, 5)
    assert net.get_submodule(head_of_conv4()).weight.shape == (5, 5 * 5 * 32)
    with pytest.raises(ShapeError, match=r"needs 16 pixels each way; got \(1, 15, 28\)"):
        conv4(5, image_shape=(1, 15, 28), generator=gen)


@pytest.mark.parametrize("width", [3, 8])
def test_with_group_norm_an_answer_does_not_depend_on_other_images(width, gen):
    images = torch.rand(6, 1, 28, 28, generator=gen)
    batch, group = (conv4(5, width=width, norm=norm, generator=gen) for norm in ("batch", "group"))
    torch.testing.assert_close(group(images)[:2], group(images[:2]))
    assert not torch.allclose(batch(images)[:2], batch(images[:2]))


def test_a_pooled_network_of_symmetric_filters_is_invariant_to_turns_and_flips(gen):
    """And one of other filters is not, nor one whose head sees positions."""
    images = torch.rand(3, 1, 32, 32, generator=gen)
    for pooled, symmetric in [(True, True), (True, False), (False, True)]:
        net = conv4(4, width=6, image_shape=(1, 32, 32), pooled=pooled, generator=gen)
        assert isinstance(net.get_submodule(head_of_conv4(pooled=pooled)), nn.Linear)
        if symmetric:
            for name in convolutions_of_conv4():
                weight = net.get_submodule(name).weight.data
                turned = [torch.rot90(w, k, (-2, -1)) for w in (weight, weight.flip(-1)) for k in range(4)]
                weight.copy_(torch.stack(turned).mean(0))
        with torch.no_grad():
            same = [torch.allclose(net(images), net(moved), atol=1e-4) for moved in (images.mT, images.flip(-2))]
        assert all(same) is any(same) is (pooled and symmetric)
