"""What deployment does with reparameterised networks as they are: export, compile, script, other batch sizes."""

import inspect
import warnings
from functools import partial

import pytest
import torch
from torch import nn

from msr.errors import ConfigError, ModelError, ShapeError
from msr.layers import LeftAloneWarning, ReparamLinear, ResidualWarning, coverage, fold, reparameterize
from msr.layers.base import _known_less
from msr.sharing import DenseSharing, KroneckerSharing
from tests.msr.layers.test_single_weights import CASES as IN_PLACE
from tests.msr.layers.test_single_weights import SHAPE
from tests.support.cases import randomize, seeded

LAYERS = {
    "linear": (lambda: nn.Linear(32, 10), (5, 32)),
    "conv": (lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"), (5, 4, 5, 5)),
    "grouped conv": (lambda: nn.Conv1d(4, 6, 3, groups=2, stride=2), (5, 4, 9)),
    "conv 3d": (lambda: nn.Conv3d(2, 4, 2), (5, 2, 3, 3, 3)),
    "transposed": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2), (5, 4, 5, 5)),
    **{name: (make, SHAPE) for name, make in IN_PLACE.items() if name in ("attention", "encoder", "gru", "gru cell")},
}


def small(shape, **kw):
    axes = KroneckerSharing(shape).modes
    return KroneckerSharing(shape, tuple(max(1, size // 2) for size in axes), **kw)


def converted(make, gen, **arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResidualWarning)
        return randomize(reparameterize(seeded(make).eval(), generator=gen, **arguments).module, gen)


SHARINGS = {"square": KroneckerSharing, "small": small, "dense": partial(DenseSharing, k=3)}


@pytest.mark.parametrize(
    ("name", "sharing"), [*((name, "square") for name in LAYERS), ("linear", "small"), ("linear", "dense")]
)
def test_export_with_any_batch(name, sharing, gen):
    make, shape = LAYERS[name]
    module = converted(make, gen, sharing=SHARINGS[sharing])
    x = torch.randn(shape, generator=gen)
    batch = torch.export.Dim("batch", min=2)
    exported = torch.export.export(module, (x,), dynamic_shapes=({0: batch},), strict=False).module()
    for n in (2, 19):
        more = torch.randn(n, *shape[1:], generator=gen)
        torch.testing.assert_close(exported(more), module(more), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("make", [lambda: nn.LSTM(4, 3), lambda: nn.GRU(4, 3), lambda: nn.MultiheadAttention(4, 2)])
def test_forward_signatures_are_those_of_the_plain_modules(make):
    """Export matches sizes that are left open with the arguments by their names."""
    net = seeded(make)
    assert inspect.signature(reparameterize(net).module.forward) == inspect.signature(net.forward)


@pytest.mark.usefixtures("shapes_unchecked")
def test_strict_export_and_compile_with_any_batch(gen):
    """No branch on the batch: as many graphs as for the plain layer, one for the first size and one for all others."""
    module = converted(lambda: nn.Linear(32, 10), gen)
    batch = torch.export.Dim("batch", min=2)
    x = torch.randn(5, 32, generator=gen)
    exported = torch.export.export(module, (x,), dynamic_shapes=({0: batch},), strict=True).module()
    torch.testing.assert_close(exported(x), module(x))
    graphs = []

    def counted(graph, examples):
        graphs.append(graph)
        return graph

    torch._dynamo.reset()
    compiled = torch.compile(module, backend=counted, fullgraph=True)
    for n in range(3, 40, 7):  # the number of rows from which "auto" takes the other path lies between
        x = torch.randn(n, 32, generator=gen)
        torch.testing.assert_close(compiled(x), module(x), rtol=1e-4, atol=1e-4)
    torch._dynamo.reset()
    assert len(graphs) == 2


@pytest.mark.slow
@pytest.mark.usefixtures("shapes_unchecked")
@pytest.mark.parametrize("name", ["attention", "transposed"])
def test_compiled_gradients(name, gen):
    make, shape = LAYERS[name]
    module = converted(make, gen)
    x = torch.randn(shape, generator=gen)
    torch._dynamo.reset()
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    names, parameters = zip(*module.named_parameters(), strict=True)
    ours, plain = (torch.autograd.grad(f(x).sin().sum(), parameters) for f in (compiled, module))
    torch._dynamo.reset()
    for label, a, b in zip(names, ours, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4, msg=lambda text, label=label: f"{label}: {text}")


def test_sizes_left_open_are_not_decided():
    assert _known_less(2, 3) is True
    assert _known_less(3, 3) is False


def test_script_is_refused_with_the_remedy(gen):
    for make in (LAYERS["linear"][0], IN_PLACE["lstm"], lambda: nn.Sequential(nn.Linear(4, 4))):
        module = converted(make, gen)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            with pytest.raises(ModelError, match=r"script what msr\.layers\.fold makes"):
                torch.jit.script(module)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        scripted = torch.jit.script(fold(module))
    x = torch.randn(2, 4, generator=gen)
    torch.testing.assert_close(scripted(x), module(x))


def test_path_of_a_converted_network(gen):
    net = seeded(lambda: nn.Sequential(nn.Linear(4, 4), nn.Conv1d(2, 2, 3, groups=2)))
    for path in ("auto", "materialize"):
        assert {layer.path for layer in reparameterize(net, path=path).module} == {path}
    assert reparameterize(net, ["0"], path="factors").module[0].path == "factors"
    with pytest.raises(ConfigError, match="path='factors' cannot serve layer '1' with this pattern"):
        reparameterize(net, path="factors")
    with pytest.raises(ConfigError, match="path must be one of auto, materialize, factors; got 'fast'"):
        reparameterize(net, path="fast")


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.line, self.names = nn.Linear(8, 8), nn.Embedding(10, 8)
        self.norm, self.two = nn.LayerNorm((2, 8)), nn.Bilinear(2, 3, 4)
        self.token, self.table = nn.Parameter(torch.zeros(1, 1, 8)), nn.Parameter(torch.zeros(4, 8))
        self.held = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))


def test_weights_left_alone_are_warned_of_and_listed():
    net = seeded(Mixed)
    total = sum(p.numel() for p in net.parameters())
    with pytest.warns(LeftAloneWarning) as warned:
        result = reparameterize(net)
    assert len(warned) == 1
    text = str(warned[0].message)
    for words in ("embedding", "(names.weight)", "bilinear", "bare parameter of Mixed", "parametrized by WeightNorm"):
        assert words in text
    assert "norm.weight" not in text  # a norm has no weight for a pattern to make
    assert "token" not in text
    left = result.left
    assert left["names.weight"].kind == "embedding"
    assert left["names.weight"].share == pytest.approx(80 / total)
    assert (left["norm.weight"].kind, left["table"].shape) == ("norm", (4, 8))
    assert {"names.weight", "two.weight", "two.bias", "token", "table", "norm.weight", "norm.bias"} < set(left)
    counted = coverage(result.module)
    assert counted.shared == {"line.weight": 64, "line.bias": 8}
    assert sum(counted.shared.values()) + sum(part.numel for part in left.values()) == total
    assert str(result) == str(counted)
    assert str(counted).startswith(f"patterns make {72 / total:.1%} of the parameters; left alone: embedding")
    assert "\n" not in str(counted)


def test_chosen_layers_give_no_warning_of_the_others():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = reparameterize(seeded(Mixed), ["line"])
        reparameterize(seeded(lambda: nn.Sequential(nn.Conv1d(2, 2, 3), nn.BatchNorm1d(2), nn.PReLU(2))))
    assert "names.weight" in result.left
    assert coverage(seeded(lambda: nn.Linear(3, 2))).share == 0


def test_coverage_counts_as_the_plain_network_does(gen):
    for make in IN_PLACE.values():
        net = seeded(make)
        counted = coverage(converted(make, gen, sharing=small))
        names = {name: p.numel() for name, p in net.named_parameters()}
        assert {**counted.shared, **{name: part.numel for name, part in counted.left.items()}} == names
    tied = seeded(lambda: nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)))
    tied[1].weight = tied[0].weight
    assert set(coverage(tied).left) == {"0.weight", "0.bias", "1.bias"}


@pytest.mark.parametrize(
    ("make", "name", "kind"),
    [
        (lambda: nn.LazyLinear(3), "weight", "linear"),
        (lambda: nn.utils.weight_norm(nn.Conv1d(3, 3, 2)), "weight_g", "convolution under the old weight_norm"),
        (lambda: nn.ParameterList([torch.ones(2, 2)]), "0", "bare parameter of ParameterList"),
        (lambda: KroneckerSharing((2, 3)), "A", "pattern outside a layer"),
        (lambda: nn.InstanceNorm1d(3, affine=True), "weight", "norm"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated", "ignore:Lazy modules are a new feature")
def test_kinds_of_parameters_left_alone(make, name, kind):
    assert coverage(seeded(make)).left[name].kind == kind


def test_fold_warns_of_what_it_left_alone(gen):
    net = nn.Sequential(
        ReparamLinear(4, 4, generator=gen), seeded(lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)))
    )
    with pytest.warns(LeftAloneWarning, match=r"fold leaves 1 \(ParametrizedLinear\) as it is"):
        fold(net)
    net.pattern = KroneckerSharing((2, 3))
    with pytest.warns(LeftAloneWarning, match=r"pattern \(KroneckerSharing\)"):
        fold(net)


def test_a_factory_that_makes_no_pattern(gen):
    net = seeded(lambda: nn.Linear(4, 3))
    with pytest.raises(ConfigError, match=r"sharing made no pattern for '', whose weight is \(3, 4\) .*partial\(Dense"):
        reparameterize(net, sharing=DenseSharing)
    with pytest.raises(ConfigError, match="weight of '' is complex"):
        reparameterize(seeded(lambda: nn.Linear(4, 3, dtype=torch.complex64)))


@pytest.mark.parametrize(
    ("make", "says", "says_not"),
    [
        (lambda: reparameterize(nn.Sequential(nn.Linear(4, 3), nn.LSTM(3, 2))).module, "already", "can be named"),
        (lambda: nn.Sequential(nn.LazyLinear(3)), "run it once", "can be named"),
        (lambda: nn.Sequential(nn.utils.parametrizations.orthogonal(nn.Linear(3, 3))), "none", "can be named"),
        (lambda: nn.Sequential(nn.Embedding(4, 3)), "can be named: 0.weight", "already"),
    ],
    ids=["made", "lazy", "parametrized", "embedding"],
)
def test_an_error_names_only_weights_that_can_be_chosen(make, says, says_not):
    with pytest.raises(ConfigError, match=says) as raised:
        reparameterize(seeded(make))
    assert says_not not in str(raised.value)


def test_advice_is_given_where_it_can_be_followed():
    norm = nn.utils.parametrizations.weight_norm
    with pytest.warns(LeftAloneWarning, match="parametrized by WeightNorm") as warned:
        reparameterize(seeded(lambda: nn.Sequential(norm(nn.Linear(4, 4)), nn.Linear(4, 3))))
    assert "by name" not in str(warned[0].message)
    with pytest.warns(LeftAloneWarning, match="layers= takes weights by name"):
        reparameterize(seeded(lambda: nn.Sequential(nn.Embedding(4, 4), nn.Linear(4, 3))))


def test_a_layer_that_a_pattern_does_not_fit_is_named(gen):
    net = seeded(lambda: nn.Sequential(nn.Linear(4, 1), nn.Linear(4, 4)))
    with pytest.raises(ShapeError, match="layer '0': k must be between 1 and the 4 numbers"):
        reparameterize(net, sharing=partial(DenseSharing, k=9), generator=gen)
    with pytest.warns(ResidualWarning):
        assert set(reparameterize(net, ["1"], sharing=partial(DenseSharing, k=9), generator=gen).residuals) == {"1"}
