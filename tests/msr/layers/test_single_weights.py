"""Attention, recurrent layers and single weights: made from patterns in place, and reachable by functional calls."""

import copy
import io
import warnings
from functools import partial

import pytest
import torch
from torch import nn

from msr.errors import ConfigError, ModelError
from msr.layers import ResidualWarning, fold, reparameterize
from msr.meta import SGD, Learner, from_module, load_params
from msr.sharing import DenseSharing, KroneckerSharing
from tests.support.cases import random_episodes, randomize, seeded

SHAPE = (3, 4, 8)


class Summed(nn.Module):
    """A module's first output, with one input used wherever it wants one."""

    def __init__(self, part, inputs=1, **keywords):
        super().__init__()
        self.part, self.inputs, self.keywords = part, inputs, keywords

    def forward(self, x):
        y = self.part(*[x] * self.inputs, **self.keywords)
        while isinstance(y, tuple):
            y = y[0]
        return y


def attention(**arguments):
    return nn.MultiheadAttention(8, 2, batch_first=True, **arguments)


class Cross(nn.Module):
    """Attention whose keys and values have widths of their own, with masks."""

    def __init__(self):
        super().__init__()
        self.part = attention(kdim=6, vdim=5, add_bias_kv=True)

    def forward(self, x):
        mask = torch.ones(x.shape[1], x.shape[1]).tril() == 0
        padding = torch.zeros(x.shape[:2], dtype=torch.bool)
        padding[:, -1] = True
        return self.part(x, x[..., :6], x[..., :5], attn_mask=mask, key_padding_mask=padding)[0]


CASES = {
    "attention": lambda: Summed(attention(), 3),
    "attention, no weights": lambda: Summed(attention(bias=False), 3, need_weights=False),
    "attention, other widths, masks": Cross,
    "encoder": lambda: nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True),
    "lstm": lambda: Summed(nn.LSTM(8, 3, 2, bidirectional=True, batch_first=True)),
    "lstm, projected": lambda: Summed(nn.LSTM(8, 4, proj_size=3, bias=False)),
    "gru": lambda: Summed(nn.GRU(8, 3, 2, batch_first=True)),
    "rnn": lambda: Summed(nn.RNN(8, 3, bidirectional=True, nonlinearity="relu")),
    "lstm cell": lambda: nn.Sequential(nn.Flatten(0, 1), Summed(nn.LSTMCell(8, 3)), nn.Unflatten(0, (-1, 4))),
    "gru cell": lambda: nn.Sequential(nn.Flatten(0, 1), nn.GRUCell(8, 3, bias=False), nn.Unflatten(0, (-1, 4))),
    "rnn cell": lambda: nn.Sequential(nn.Flatten(0, 1), nn.RNNCell(8, 3), nn.Unflatten(0, (-1, 4))),
}
# torch says once, from C++, that it takes its plain implementation.
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")


def small(shape, **kw):
    return KroneckerSharing(shape, tuple(max(1, size // 2) for size in shape), **kw)


def converted(make, gen, sharing=KroneckerSharing):
    """A reparameterised network with random parameters, in float64."""
    net = seeded(make).double()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResidualWarning)
        return net, randomize(reparameterize(net, sharing=sharing, generator=gen).module, gen)


def functional(net, params, x):
    return torch.func.functional_call(net, params, (x,))


@pytest.mark.parametrize("make", CASES.values(), ids=CASES)
@pytest.mark.parametrize("training", [True, False])
def test_outputs_are_kept_by_conversion_and_by_folding(make, training, gen):
    net = seeded(make).train(training)
    x = torch.randn(SHAPE, generator=gen)
    module, residuals = reparameterize(net)
    assert set(residuals.values()) == {0.0}
    torch.testing.assert_close(module(x), net(x))
    before = randomize(module, gen)(x)
    assert not torch.allclose(before, net(x))
    folded = fold(module)
    torch.testing.assert_close(folded(x), before)
    assert list(folded.state_dict()) == list(net.state_dict())
    assert [type(part) for part in folded.modules()] == [type(part) for part in net.modules()]
    torch.testing.assert_close(module(x), before)  # folding a copy leaves the original as it was


@pytest.mark.parametrize("make", CASES.values(), ids=CASES)
@pytest.mark.parametrize("sharing", [small, partial(DenseSharing, k=4)], ids=["kronecker", "dense"])
def test_outputs_and_gradients_are_those_of_the_original(make, sharing, gen):
    net, module = converted(make, gen, sharing)
    params = {name: p.detach().clone().requires_grad_() for name, p in module.named_parameters()}
    x = torch.randn(SHAPE, generator=gen, dtype=torch.float64, requires_grad=True)

    weights, marker = {}, ".parametrizations."
    for name, v in params.items():
        home, _, key = f".{name}".rpartition(marker)
        if key.endswith(".original"):
            key = key.removesuffix(".original")
            pattern = module.get_submodule(f"{home}{marker}{key}.0.sharing".lstrip("."))
            own = {n: params[f"{home}{marker}{key}.0.sharing.{n}".lstrip(".")] for n, _ in pattern.named_parameters()}
            made = torch.func.functional_call(Matrix(pattern), {f"pattern.{n}": p for n, p in own.items()}, ())
            weights[f"{home}.{key}".lstrip(".")] = (made @ v.flatten()).reshape(pattern.weight_shape)
        elif name.endswith(".v"):
            pattern = module.get_submodule(name.removesuffix(".v")).sharing
            own = {n: params[name.removesuffix("v") + f"sharing.{n}"] for n, _ in pattern.named_parameters()}
            made = torch.func.functional_call(Matrix(pattern), {f"pattern.{n}": p for n, p in own.items()}, ())
            weights[name.removesuffix("v") + "weight"] = (made @ v.flatten()).reshape(pattern.weight_shape)
        elif "sharing" not in name:
            weights[name] = v
    assert set(weights) == {name for name, _ in net.named_parameters()}
    ours, theirs = functional(module, params, x), functional(net, weights, x)
    torch.testing.assert_close(ours, theirs)
    learned = [x, *params.values()]
    torch.testing.assert_close(
        torch.autograd.grad(ours.sin().sum(), learned, retain_graph=True, allow_unused=True),
        torch.autograd.grad(theirs.sin().sum(), learned, allow_unused=True),
    )


class Matrix(nn.Module):
    """``U`` of a pattern, as a module that a functional call can reach."""

    def __init__(self, pattern):
        super().__init__()
        self.pattern = pattern

    def forward(self):
        return self.pattern.matrix()


@pytest.mark.parametrize("make", CASES.values(), ids=CASES)
def test_functional_calls_reach_every_weight(make, gen):
    """Changed parameters act in a functional call as they do in place, so nothing is kept from an earlier call."""
    _, module = converted(make, gen)
    x = torch.randn(SHAPE, generator=gen, dtype=torch.float64)
    before = module(x)
    in_place = copy.deepcopy(module)
    for name, parameter in module.named_parameters():
        changed = {name: parameter.detach() + torch.randn(parameter.shape, generator=gen, dtype=torch.float64)}
        y = functional(module, changed, x)
        torch.testing.assert_close(y, load_params(in_place, changed)(x), msg=lambda text, name=name: f"{name}: {text}")
        load_params(in_place, {name: parameter})
        torch.testing.assert_close(module(x), before)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1)
    assert not torch.allclose(module(x), before)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_vmap_over_filters(gen):
    """Recurrent layers are left out: torch has no batching rule for their kernels."""
    for make, names in ((CASES["attention"], None), (Mixed, ["scale", "places.weight", "list.0"])):
        module = randomize(reparameterize(seeded(make).double(), names).module, gen)
        params = {n: p.detach() + torch.randn(2, *p.shape, generator=gen) for n, p in module.named_parameters()}
        x = torch.randn(2, *SHAPE, generator=gen, dtype=torch.float64)
        each = torch.stack([functional(module, {n: p[i] for n, p in params.items()}, x[i]) for i in range(2)])
        mapped = torch.func.vmap(partial(functional, module), randomness="error")(params, x)
        torch.testing.assert_close(mapped, each)


@pytest.mark.parametrize("name", ["attention", "lstm", "gru", "rnn cell"])
def test_tasks_are_judged_with_the_weights_that_they_fitted(name, gen):
    _, module = converted(CASES[name], gen)
    problem, shared, initial = from_module(module)
    assert all("sharing" in n for n in shared)
    assert {n for n, _ in module.named_parameters()} == {*shared, *initial}
    learner = Learner(problem, SGD(steps=3, rate=1e-3), batching="loop")
    params = learner.init(shared, initial)
    shape = module(torch.zeros(SHAPE, dtype=torch.float64)).shape
    e = random_episodes(gen, 2, 3, 3, SHAPE[1:], (4, *shape[-1:]))
    adapted = learner.adapt(params, e.support_x, e.support_y)
    for task in range(2):
        own = {n: t[task] for n, t in adapted.items()}
        fitted = load_params(copy.deepcopy(module), params.shared, own)
        predicted = problem.predict({**params.shared, **own}, e.query_x[task])
        torch.testing.assert_close(fitted(e.query_x[task]), predicted)
        torch.testing.assert_close(fold(fitted)(e.query_x[task]), predicted)
        fitted, start = (
            problem.loss({**params.shared, **own_or_start}, e.support_x[task], e.support_y[task])
            for own_or_start in (own, params.initial)
        )
        assert fitted < start


@pytest.mark.parametrize("name", ["attention", "lstm"])
def test_copies_states_and_replicas(name, gen):
    _, module = converted(CASES[name], gen)
    x = torch.randn(SHAPE, generator=gen, dtype=torch.float64)
    module(x).sum().backward()  # a list of made weights, kept from here, could not be copied
    y = module(x).detach()
    torch.testing.assert_close(copy.deepcopy(module)(x), y)
    average = torch.optim.swa_utils.AveragedModel(module)
    average.update_parameters(module)
    torch.testing.assert_close(average(x), y)
    kept = {key: value.clone() for key, value in module.state_dict().items()}
    file = io.BytesIO()
    torch.save(kept, file)
    file.seek(0)
    other = randomize(copy.deepcopy(module), gen)
    other.load_state_dict(torch.load(file, weights_only=True))
    torch.testing.assert_close(other(x), y)
    replica = replicated(module)
    torch.testing.assert_close(replica(x), y)
    module.zero_grad()
    replica(x).sum().backward()
    assert all(p.grad is not None for p in module.parameters())


def replicated(module):
    """What ``nn.parallel.replicate`` does for each device, which needs a GPU: parameters become plain attributes."""
    parts = list(module.modules())
    replicas = {part: part._replicate_for_data_parallel() for part in parts}
    for part, replica in replicas.items():
        for key, child in part._modules.items():
            setattr(replica, key, replicas[child]) if child is not None else None
        for key, parameter in part._parameters.items():
            if parameter is None:
                replica._parameters[key] = None
            else:
                setattr(replica, key, parameter * 1)
        for key, buffer in part._buffers.items():
            replica._buffers[key] = buffer.clone()
    return replicas[module]


def test_replicas_of_twins(gen):
    net = seeded(lambda: nn.Sequential(nn.Conv1d(3, 4, 3), nn.ConvTranspose1d(4, 3, 3, bias=False), nn.Linear(6, 2)))
    module = reparameterize(net).module
    x = torch.randn(2, 3, 6, generator=gen)
    torch.testing.assert_close(replicated(module)(x), net(x))


def test_frozen_weights_stay_frozen(gen):
    net = seeded(lambda: nn.LSTM(8, 3))
    net.weight_hh_l0.requires_grad_(False)
    module = reparameterize(net).module
    assert not any(p.requires_grad for n, p in module.named_parameters() if "weight_hh" in n)
    folded = fold(module)
    assert [n for n, p in folded.named_parameters() if not p.requires_grad] == ["weight_hh_l0"]


class Mixed(nn.Module):
    """Weights that only their names can choose."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.randn(4, 8))
        self.places = nn.Embedding(4, 8)
        self.list = nn.ParameterList([torch.randn(8, 3)])
        self.both = nn.Bilinear(3, 3, 2)

    def forward(self, x):
        y = (x * self.scale + self.places(torch.arange(x.shape[-2]))) @ self.list[0]
        return self.both(y, y)


def test_weights_by_name(gen):
    net = seeded(Mixed)
    x = torch.randn(SHAPE, generator=gen)
    names = ["scale", "places.weight", "list.0", "both.weight"]
    module, residuals = reparameterize(net, names)
    assert residuals == dict.fromkeys(names, 0.0)
    torch.testing.assert_close(module(x), net(x))
    y = randomize(module, gen)(x)
    folded = fold(module)
    torch.testing.assert_close(folded(x), y)
    assert list(folded.state_dict()) == list(net.state_dict())
    layer = reparameterize(seeded(lambda: nn.Sequential(nn.Linear(4, 3))), "0.weight").residuals
    assert layer == {"0": 0.0}  # a layer with a twin gets its twin


def test_a_thin_pattern_warns_of_its_residual(gen):
    with pytest.warns(ResidualWarning, match=r"layer 'weight_ih_l0': the pattern misses \d+\.\d+%"):
        module, residuals = reparameterize(seeded(lambda: nn.GRU(8, 3)), "weight_ih_l0", sharing=small, generator=gen)
    given, kept = (net.weight_ih_l0.detach() for net in (seeded(lambda: nn.GRU(8, 3)), module))
    assert residuals == {"weight_ih_l0": pytest.approx(float((given - kept).norm() / given.norm()), rel=1e-4)}


def test_weights_that_a_pattern_cannot_make_are_refused(gen):
    parts = {"e": partial(nn.Embedding, 4, 3, padding_idx=0), "l": partial(nn.Linear, 3, 3), "r": partial(nn.GRU, 3, 3)}
    net = seeded(lambda: nn.ModuleDict({name: make() for name, make in parts.items()}))
    with pytest.raises(ModelError, match="padding_idx"):
        reparameterize(net, ["e.weight"])
    with pytest.raises(ConfigError, match=r"'l\.bias' has the shape \(3,\)"):
        reparameterize(net, ["l.bias"])
    with pytest.raises(ConfigError, match=r"'e' is a Embedding; .*weights that can be named: e\.weight$"):
        reparameterize(net, ["e"])
    with pytest.raises(ConfigError, match="part of a pattern"):
        reparameterize(reparameterize(net, ["l"]).module, ["l.sharing.A"])
    with pytest.raises(ConfigError, match=r"path='factors' cannot serve 'r\.weight_ih_l0'"):
        reparameterize(net, ["r"], path="factors")
    with pytest.raises(ConfigError, match=r"the pattern makes a weight \(2, 3\), but 'r\.weight_ih_l0' is \(9, 3\)"):
        reparameterize(net, ["r"], sharing=DenseSharing((2, 3), 1, generator=gen))
    tied = seeded(lambda: nn.ModuleList([nn.RNN(3, 3), nn.RNN(3, 3)]))
    tied[1].weight_ih_l0 = tied[0].weight_ih_l0
    with pytest.raises(ModelError, match="are one parameter"):
        reparameterize(tied)
    module = reparameterize(net, ["r"]).module
    nn.utils.parametrize.register_parametrization(module["r"], "weight_hh_l0", nn.Identity())
    with pytest.raises(ModelError, match=r"r\.weight_hh_l0 carries a parametrization that is no pattern"):
        fold(module)


def test_plain_checkpoints_load(gen):
    """Into twins and into weights made in place; a weight that the pattern cannot make is not loaded without a word."""
    for make in (*CASES.values(), lambda: nn.Sequential(nn.Flatten(1), nn.Linear(32, 3))):
        net = seeded(make)
        module = reparameterize(net).module
        other = seeded(make, seed=1)
        module.load_state_dict(other.state_dict())
        x = torch.randn(SHAPE, generator=gen)
        torch.testing.assert_close(module(x), other(x))
    for make in (lambda: nn.GRU(8, 3), lambda: nn.Linear(8, 3)):
        with pytest.warns(ResidualWarning):
            module = reparameterize(seeded(make), sharing=small, generator=gen).module
        with pytest.warns(ResidualWarning, match=r"weight.*: the pattern misses \d+"):
            module.load_state_dict(seeded(make, seed=1).state_dict())
        folded_state = fold(module).state_dict()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            module.load_state_dict(folded_state)  # what it can make, it loads exactly
        torch.testing.assert_close(fold(module).state_dict(), folded_state)
        with pytest.raises(RuntimeError, match="in the checkpoint, but the pattern makes"):
            module.load_state_dict({key: value[..., :1] for key, value in folded_state.items()})


def test_each_weight_is_made_once_in_a_call(gen, monkeypatch):
    """However often attention and recurrent layers read their weights."""
    for make, weights in ((CASES["attention"], 2), (CASES["lstm"], 8)):  # two weights a layer and direction
        _, module = converted(make, gen)
        made = []

        def counted(self, v, made=made, plain=KroneckerSharing.materialize):
            made.append(v)
            return plain(self, v)

        monkeypatch.setattr(KroneckerSharing, "materialize", counted)
        module(torch.randn(SHAPE, generator=gen, dtype=torch.float64))
        monkeypatch.undo()
        assert len(made) == weights


def test_other_precisions_and_devices(gen):
    x = torch.randn(SHAPE, generator=gen)
    for name in ("attention", "gru"):
        module = reparameterize(seeded(CASES[name])).module
        folded = fold(module)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            torch.testing.assert_close(module(x), folded(x))
        half = reparameterize(seeded(CASES[name]).bfloat16()).module
        torch.testing.assert_close(half(x.bfloat16()), fold(half)(x.bfloat16()))
        assert module.double()(x.double()).dtype == torch.float64
        shapes = reparameterize(seeded(CASES[name]).to("meta")).module
        assert shapes(x.to("meta")).shape == folded(x).shape
        assert all(p.is_meta for p in shapes.parameters())
