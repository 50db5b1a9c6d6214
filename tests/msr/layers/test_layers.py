"""Reparameterised layers against their torch.nn twins."""

import copy
import io
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from msr.errors import ConfigError, ShapeError
from msr.layers import ReparamConv1d, ReparamConv2d, ReparamLinear
from msr.sharing import DenseSharing, KroneckerSharing
from tests.support.cases import randomize

LINEAR = {
    "kronecker": KroneckerSharing,
    "kronecker-small": lambda shape, **kw: KroneckerSharing(shape, (2, 3), **kw),
    "dense": partial(DenseSharing, k=3),
}


def small_conv(shape, **kw):
    return KroneckerSharing(shape, (2, 1, 3), **kw)


CONV = {"kronecker": KroneckerSharing, "kronecker-small": small_conv, "dense": partial(DenseSharing, k=4)}

CONV_ARGUMENTS = [
    {},
    {"stride": 2},
    {"padding": 1},
    {"padding": "same"},
    {"padding": "valid"},
    {"dilation": 2, "padding": "same"},
    {"padding": 2, "dilation": 2, "stride": 2, "bias": False},
    {"groups": 2},
    *({"padding": 1, "padding_mode": mode} for mode in ("circular", "reflect", "replicate")),
    {"padding": "same", "padding_mode": "circular", "dilation": 2},
    {"padding": "same", "padding_mode": "circular"},  # with a kernel of two, the odd one goes after
    {"padding": 1, "padding_mode": "circular", "groups": 2, "stride": 2},
]


def twin_of(layer):
    """The plain layer, built from the formula in the documentation: weight = reshape(U v)."""
    twin = layer.plain()
    with torch.no_grad():
        twin.weight.copy_((layer.sharing.matrix() @ layer.v.flatten()).reshape(twin.weight.shape))
        if twin.bias is not None:
            twin.bias.copy_(layer.bias)
    return twin


def quietly(make):
    with torch.random.fork_rng():
        return make()


@pytest.mark.parametrize("sharing", LINEAR.values(), ids=LINEAR)
@pytest.mark.parametrize("path", ["auto", "materialize", "factors"])
@pytest.mark.parametrize("lead", [(), (1,), (3,), (2, 3), (0,)], ids=str)
def test_linear_equals_its_twin(sharing, path, lead, dtype, gen):
    layer = randomize(ReparamLinear(5, 4, dtype=dtype, sharing=sharing, generator=gen, path=path), gen)
    x = torch.randn(*lead, 5, generator=gen, dtype=dtype)
    torch.testing.assert_close(layer(x), quietly(lambda: twin_of(layer))(x))


@pytest.mark.parametrize("sharing", CONV.values(), ids=CONV)
@pytest.mark.parametrize("arguments", CONV_ARGUMENTS, ids=str)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize(("make", "kernel", "space"), [(ReparamConv1d, 3, (9,)), (ReparamConv2d, (3, 2), (8, 7))])
def test_conv_equals_its_twin(sharing, arguments, make, kernel, space, gen):
    arguments = {"dtype": torch.float64, **arguments}
    layer = randomize(make(4, 6, kernel, **arguments, sharing=sharing, generator=gen), gen)
    x = torch.randn(2, 4, *space, generator=gen, dtype=torch.float64)
    expected = quietly(lambda: twin_of(layer))(x)
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(layer(x[0]), expected[0])  # no batch axis
    layer.path = "materialize"
    torch.testing.assert_close(layer(x), expected)
    if sharing is not CONV["dense"] and layer.groups == 1:
        layer.path = "factors"
        torch.testing.assert_close(layer(x), expected)


def test_both_paths_have_the_same_gradients(gen):
    conv = partial(ReparamConv2d, sharing=small_conv, padding=1)
    for make, shape in (
        (partial(ReparamLinear, sharing=LINEAR["dense"]), (3, 5)),
        (ReparamLinear, (3, 5)),
        (conv, (2, 5, 6, 6)),
    ):
        layer = make(5, 4, 3, generator=gen) if make is conv else make(5, 4, generator=gen)
        randomize(layer.double(), gen)
        x = torch.randn(shape, generator=gen, dtype=torch.float64, requires_grad=True)
        results = []
        for path in ("materialize", "factors"):
            layer.path = path
            loss = layer(x).sin().sum()
            results.append(torch.autograd.grad(loss, [x, *layer.parameters()]))
        torch.testing.assert_close(*results)


def test_auto_takes_the_cheaper_path(gen):
    """Counted multiplications decide: a thin pattern on few rows by factors, a square one on many rows by W."""
    thin = ReparamLinear(64, 64, sharing=lambda shape, **kw: KroneckerSharing(shape, (2, 2), **kw), generator=gen)
    square = ReparamLinear(64, 64, generator=gen)
    few, many = torch.empty(1, 64), torch.empty(4096, 64)
    assert thin._factors_are_cheaper(few)
    assert thin._factors_are_cheaper(many)
    assert square._factors_are_cheaper(few)
    assert not square._factors_are_cheaper(many)
    dense = ReparamLinear(64, 64, sharing=partial(DenseSharing, k=3), generator=gen)
    assert dense._factors_are_cheaper(few)
    assert not dense._factors_are_cheaper(many)


def test_a_new_layer_is_distributed_like_its_twin(gen):
    """Square Kronecker layers start with identity factors: the very distribution of the twin, uniform bounds too."""
    layer = ReparamConv2d(8, 16, 3, generator=gen)
    bound = 1 / (8 * 9) ** 0.5
    for tensor in (layer.weight, layer.bias):
        assert tensor.abs().max() <= bound
        assert tensor.abs().max() > 0.8 * bound
    torch.testing.assert_close(layer.weight.flatten(), layer.v.flatten())


def test_generator_decides_every_draw():
    a, b, c = (
        ReparamLinear(6, 4, sharing=partial(DenseSharing, k=3), generator=torch.Generator().manual_seed(s))
        for s in (1, 1, 2)
    )
    for name, tensor in a.state_dict().items():
        assert torch.equal(tensor, b.state_dict()[name])
        assert not torch.equal(tensor, c.state_dict()[name])


def test_state_dict_deepcopy_and_save(gen):
    make = partial(ReparamConv2d, 4, 6, 3, sharing=small_conv, generator=gen)
    layer, other = randomize(make(), gen), make()
    x = torch.randn(2, 4, 6, 6, generator=gen)
    assert list(layer.state_dict()) == ["v", "bias", "sharing.A", "sharing.B", "sharing.C"]
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(x), layer(x))
    twin = copy.deepcopy(layer)
    assert torch.equal(twin(x), layer(x))
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    randomize(twin, gen)
    twin.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(twin(x), layer(x))


@pytest.mark.parametrize("path", ["materialize", "factors"])
def test_non_contiguous_input(path, gen):
    linear, conv = (
        ReparamLinear(5, 4, generator=gen, path=path),
        ReparamConv2d(4, 6, 3, generator=gen, path=path),
    )
    x = torch.randn(5, 3, generator=gen).mT
    torch.testing.assert_close(linear(x), linear(x.contiguous()))
    x = torch.randn(2, 6, 6, 4, generator=gen).permute(0, 3, 1, 2)
    torch.testing.assert_close(conv(x), conv(x.contiguous()))
    torch.testing.assert_close(conv(x.contiguous(memory_format=torch.channels_last)), conv(x))


@pytest.mark.parametrize("sharing", [KroneckerSharing, LINEAR["kronecker-small"], LINEAR["dense"]])
def test_half_precision_and_meta_devices_as_in_the_twin(sharing, gen):
    layer = ReparamLinear(5, 4, dtype=torch.bfloat16, sharing=sharing, generator=gen)
    x = torch.randn(3, 5, generator=gen).bfloat16()
    torch.testing.assert_close(layer(x), layer.fold()(x), rtol=0.05, atol=0.05)
    assert layer.sharing.project(layer.weight).dtype == torch.bfloat16
    shapes = ReparamLinear(5, 4, device="meta", sharing=sharing)
    assert shapes.v.is_meta
    assert shapes(torch.empty(3, 5, device="meta")).shape == (3, 4)


def test_autocast_is_that_of_the_folded_layer(gen):
    """W is made in full precision and only then cast, so folding changes nothing under autocast either."""
    linear = randomize(ReparamLinear(5, 4, sharing=LINEAR["dense"], generator=gen, path="materialize"), gen)
    conv = randomize(ReparamConv2d(4, 6, 3, generator=gen, path="materialize"), gen)
    for layer, shape in ((linear, (3, 5)), (conv, (2, 4, 6, 6))):
        x = torch.randn(shape, generator=gen)
        folded = layer.fold()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = layer(x)
            assert y.dtype == torch.bfloat16
            assert torch.equal(y, folded(x))
        layer.path = "factors"
        with torch.autocast("cpu", dtype=torch.bfloat16):
            by_factors = layer(x)
        assert by_factors.dtype == torch.bfloat16
        torch.testing.assert_close(by_factors, y, rtol=0.05, atol=0.1)


def test_vmap_over_filters(gen):
    """Tasks carry their own filters: mapping over v is a loop over v."""
    for layer, shape in (
        (ReparamLinear(5, 4, sharing=LINEAR["dense"], generator=gen), (3, 7, 5)),
        (ReparamConv2d(4, 6, 3, sharing=small_conv, generator=gen), (3, 2, 4, 6, 6)),
    ):
        x = torch.randn(shape, generator=gen)
        v = torch.randn(3, *layer.v.shape, generator=gen)
        params = dict(layer.named_parameters())

        def one(v, x, layer=layer, params=params):
            return torch.func.functional_call(layer, {**params, "v": v}, (x,))

        torch.testing.assert_close(
            torch.func.vmap(one)(v, x), torch.stack([one(*pair) for pair in zip(v, x, strict=True)])
        )


def test_repr_gives_arguments_and_pattern(gen):
    text = repr(ReparamConv2d(4, 6, 3, padding=1, generator=gen))
    assert "4, 6, kernel_size=(3, 3)" in text
    assert "KroneckerSharing(weight_shape=(6, 4, 3, 3)" in text
    assert "in_features=5, out_features=4, bias=True, path='factors'" in repr(
        ReparamLinear(5, 4, generator=gen, path="factors")
    )


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (
            lambda g: ReparamLinear(5, 4, sharing=DenseSharing((5, 4), 3, generator=g), generator=g),
            ShapeError,
            r"\(5, 4\).*\(4, 5\)",
        ),
        (
            lambda g: ReparamLinear(5, 4, path="fast", generator=g),
            ConfigError,
            "auto, materialize, factors; got 'fast'",
        ),
        (lambda g: ReparamConv2d(3, 4, 3, groups=2, generator=g), ValueError, "divisible by groups"),
        (lambda g: ReparamConv2d(4, 4, 3, padding="some", generator=g), ValueError, "Invalid padding"),
        (
            lambda g: ReparamConv2d(4, 4, 3, groups=2, path="factors", generator=g)(torch.ones(1, 4, 5, 5)),
            ConfigError,
            "factors",
        ),
        (
            lambda g: ReparamConv2d(4, 4, 3, sharing=CONV["dense"], path="factors", generator=g)(
                torch.ones(1, 4, 5, 5)
            ),
            ConfigError,
            "factors",
        ),
        (
            lambda g: ReparamLinear(
                5, 4, dtype=torch.float64, sharing=DenseSharing((4, 5), 3, generator=g), generator=g
            ),
            ConfigError,
            "float64.*float32",
        ),
        (lambda g: ReparamLinear(5, 4, generator=g)(torch.ones(3, 6)), RuntimeError, "shapes"),
    ],
)
def test_bad_arguments_are_refused(make, error, says, gen):
    with pytest.raises(error, match=says):
        make(gen)


def test_the_scaled_start_keeps_a_signal_through_layers_and_the_reference_start_does_not(gen):
    """Why "scaled" is the default: three reference layers shrink a signal to nothing, and its gradients with it."""
    x = torch.randn(64, 32, generator=gen)
    sizes = {}
    for init in ("scaled", "reference"):
        layers = [
            ReparamLinear(32, 32, bias=False, sharing=partial(DenseSharing, k=8, init=init), generator=gen)
            for _ in range(3)
        ]
        y = x
        for layer in layers:
            y = layer(y)
        F.mse_loss(y, x).backward()
        sizes[init] = (float(y.detach().std()), float(layers[0].sharing.U.grad.norm()))
    assert sizes["scaled"][0] > 1e-2
    assert sizes["reference"][0] < 1e-6
    assert sizes["scaled"][1] > 1e4 * sizes["reference"][1]


def test_folded_layer_is_plain(gen):
    layer = randomize(ReparamLinear(5, 4, generator=gen), gen).eval()
    layer.bias.requires_grad_(False)
    folded = layer.fold()
    assert type(folded) is nn.Linear
    assert not folded.training
    assert (folded.weight.requires_grad, folded.bias.requires_grad) == (True, False)
    with torch.no_grad():
        layer.bias.add_(1)
    assert not torch.equal(folded.bias, layer.bias)  # a copy
