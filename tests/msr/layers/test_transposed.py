"""Transposed and three-dimensional convolutions against their torch.nn originals, in outputs and in gradients."""

import copy
from functools import partial

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from msr import kron
from msr.errors import ConfigError
from msr.groups import cyclic
from msr.layers import (
    ReparamConv3d,
    ReparamConvTranspose1d,
    ReparamConvTranspose2d,
    ReparamConvTranspose3d,
    fold,
    reparameterize,
)
from msr.representations import grid_rotations, regular
from msr.sharing import DenseSharing, GroupSharing, KroneckerSharing
from tests.support.cases import randomize, seeded

TRANSPOSED = (ReparamConvTranspose1d, ReparamConvTranspose2d, ReparamConvTranspose3d)


def small(shape, **kw):
    return KroneckerSharing(shape, (2, 1, 2), **kw)


def original_of(layer):
    """The plain layer with the weight of the documentation's formula, and that weight as a function of ``v``."""
    twin = seeded(layer.plain)
    for parameter in twin.parameters():
        parameter.requires_grad_(False)
    return twin


def outputs_and_gradients(layer, x, path):
    """By the layer on a path; and by the original, where the weight is made by the dense pattern."""
    layer.path = path
    x = x.clone().requires_grad_()
    learned = [x, layer.v, *layer.sharing.parameters(), *([] if layer.bias is None else [layer.bias])]
    ours = layer(x)
    weight = kron.unvec(layer.sharing.matrix() @ layer.v.flatten(), layer.sharing.weight_shape)
    state = {"weight": weight} | ({} if layer.bias is None else {"bias": layer.bias})
    theirs = torch.func.functional_call(original_of(layer), state, (x,))
    return [(y.detach(), *torch.autograd.grad(y.sin().sum(), learned)) for y in (ours, theirs)]


def assert_as_original(layer, x):
    paths = ["auto", "materialize", *(["factors"] if layer._factor_cost() is not None else [])]
    for path in paths:
        ours, theirs = outputs_and_gradients(layer, x, path)
        torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(layer(x[0]), layer(x)[0])  # no batch axis


@settings(max_examples=15)
@given(
    make=st.sampled_from(TRANSPOSED[:2]),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    extra=st.integers(0, 2),
    dilation=st.integers(1, 2),
    groups=st.sampled_from([1, 2]),
    bias=st.booleans(),
    sharing=st.sampled_from([KroneckerSharing, small, partial(DenseSharing, k=4)]),
    seed=st.integers(0, 99),
)
def test_transposed_equals_its_original(make, stride, padding, extra, dilation, groups, bias, sharing, seed):
    assume(extra < max(stride, dilation))
    gen = torch.Generator().manual_seed(seed)
    layer = make(
        4, 6, 3, stride, padding, extra, groups, bias, dilation, dtype=torch.float64, sharing=sharing, generator=gen
    )
    space = (4, 3)[: len(layer.kernel_size)]
    assert_as_original(randomize(layer, gen), torch.randn(2, 4, *space, generator=gen, dtype=torch.float64))


@pytest.mark.parametrize("sharing", [KroneckerSharing, small, partial(DenseSharing, k=4)])
def test_three_dimensions(sharing, gen):
    arguments = {"dtype": torch.float64, "sharing": sharing, "generator": gen}
    x = torch.randn(2, 4, 4, 3, 5, generator=gen, dtype=torch.float64)
    for layer in (
        ReparamConv3d(4, 6, (3, 2, 3), (1, 1, 2), padding=1, **arguments),
        ReparamConv3d(4, 6, 3, padding="same", padding_mode="circular", groups=2, bias=False, **arguments),
        ReparamConv3d(4, 6, 3, padding=1, padding_mode="replicate", dilation=1, **arguments),
        ReparamConvTranspose3d(4, 6, (2, 3, 2), 2, padding=1, output_padding=1, **arguments),
    ):
        assert_as_original(randomize(layer, gen), x)


def test_output_size_is_that_of_the_original(gen):
    layer = randomize(ReparamConvTranspose2d(4, 6, 3, stride=(3, 2), padding=1, sharing=small, generator=gen), gen)
    folded = layer.fold()
    x = torch.randn(2, 4, 5, 5, generator=gen)
    for size in ([13, 10], [15, 9], [2, 6, 14, 10]):
        torch.testing.assert_close(layer(x, output_size=size), folded(x, output_size=size), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(layer(x[0], size[-2:]), folded(x[0], size[-2:]), rtol=1e-4, atol=1e-4)
    with pytest.raises(ConfigError, match=r"\[16, 9\] cannot be had.*\[13, 9\] to \[15, 10\]"):
        layer(x, [16, 9])
    with pytest.raises(ConfigError, match="must give 2 sizes, or 4"):
        layer(x, [13])


def test_a_new_transposed_layer_is_distributed_like_its_original(gen):
    layer = ReparamConvTranspose2d(16, 8, 3, generator=gen)
    bound = 1 / (8 * 9) ** 0.5  # what torch calls the fan of a transposed weight: its second axis times the kernel
    for tensor in (layer.weight, layer.bias):
        assert tensor.abs().max() <= bound
        assert tensor.abs().max() > 0.8 * bound
    assert layer.bias.shape == (8,)


def test_vmap_over_filters_of_a_transposed_layer(gen):
    for path in ("factors", "materialize"):
        layer = ReparamConvTranspose1d(4, 6, 3, sharing=small, generator=gen, path=path)
        x, v = torch.randn(3, 2, 4, 6, generator=gen), torch.randn(3, *layer.v.shape, generator=gen)
        others = dict(layer.named_parameters())

        def one(v, x, layer=layer, others=others):
            return torch.func.functional_call(layer, {**others, "v": v}, (x,))

        each = torch.stack([one(*pair) for pair in zip(v, x, strict=True)])
        torch.testing.assert_close(torch.func.vmap(one)(v, x), each)


def test_a_group_pattern_with_a_bias_is_refused(gen):
    """It would tie the bias by the action on the inputs."""
    C4 = cyclic(4)
    pattern = GroupSharing(regular(C4), regular(C4), grid_rotations((3, 3)))
    with pytest.raises(ConfigError, match="pass bias=False"):
        ReparamConvTranspose2d(4, 4, 3, sharing=pattern, generator=gen)
    layer = randomize(ReparamConvTranspose2d(4, 4, 3, bias=False, sharing=pattern, generator=gen), gen)
    x = torch.randn(1, 4, 5, 5, generator=gen)
    moved = copy.copy(x).rot90(1, (2, 3)).roll(1, 1)
    torch.testing.assert_close(layer(moved), layer(x).rot90(1, (2, 3)).roll(1, 1))  # the turn acts on the fields too


def test_converted_and_folded(gen):
    net = seeded(
        lambda: torch.nn.Sequential(
            torch.nn.Conv3d(2, 4, 2, padding_mode="circular", padding=1),
            torch.nn.ConvTranspose3d(4, 2, 3, stride=2, output_padding=1, groups=2, bias=False),
        )
    )
    x = torch.randn(2, 2, 3, 3, 4, generator=gen)
    converted, residuals = reparameterize(net)
    assert residuals == {"0": 0.0, "1": 0.0}
    torch.testing.assert_close(converted(x), net(x))
    folded = fold(randomize(converted, gen))
    torch.testing.assert_close(folded(x), converted(x), rtol=1e-4, atol=1e-4)
    assert list(folded.state_dict()) == list(net.state_dict())
    assert [type(part) for part in folded] == [type(part) for part in net]
