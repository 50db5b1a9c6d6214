"""The check of a problem on the first batch: impure networks, weights that no call reaches, losses that broadcast."""

import functools
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from msr.episodes import Episodes
from msr.errors import ModelError, ShapeError
from msr.meta import SGD, GaussNewton, Learner, OuterLoop, Problem, Ridge, evaluate, from_module
from tests.support.cases import random_episodes, seeded


class Net(nn.Module):
    """A linear map, with something done in between that the case brings."""

    def __init__(self, prepare=lambda net: None, forward=lambda net, x: net.line(x), **parts):
        super().__init__()
        self.line, self.between, self._forward = nn.Linear(4, 4), nn.ModuleDict(parts), forward
        prepare(self)

    def forward(self, x):
        return self._forward(self, x)


def judge(net, door="meta_gradient", batching="loop", **more):
    """What a learner says of the network on a small batch: None, or its error."""
    problem = net if isinstance(net, Problem) else None
    if problem is None:
        problem, shared, initial = from_module(net)
    else:
        shared, initial = {}, more["initial"]
    episodes = random_episodes(torch.Generator().manual_seed(0), 2, 3, 5, (4,), (4,), torch.float32)
    learner = Learner(problem, SGD(1), batching=batching)
    params = learner.init(shared, initial)
    if door == "step":
        return OuterLoop(learner, params, functools.partial(torch.optim.SGD, lr=0.1)).step(episodes)
    if door == "evaluate":
        return evaluate(learner, params, [episodes])
    if door == "adapt":
        return learner.adapt(params, episodes.support_x, episodes.support_y)
    return getattr(learner, door)(params, episodes)


def set_rate(net):
    net.draw = torch.Generator().manual_seed(1)


class Block(nn.Module):
    """A part with a behaviour of its own, so that its name can be found."""

    def __init__(self, behave, prepare=lambda part: None):
        super().__init__()
        self.behave = behave
        prepare(self)

    def forward(self, x):
        return self.behave(self, x)


def count(part, x):
    part.n.add_(1)
    return x


def rarely_dropped(part, x):
    """Stochastic depth: one call in fifty is another function."""
    return x * 0 if part.training and torch.rand(()) < 0.02 else x


UNSTEADY = {
    "torch.rand": (lambda part, x: x + torch.rand(()), None, "draws random numbers"),
    "bootstrapped noise": (lambda part, x: x[torch.randint(len(x), (len(x),))], None, "draws random numbers"),
    "numpy": (lambda part, x: x * float(np.random.rand()), None, r"numpy\.random"),  # noqa: NPY002
    "python": (lambda part, x: x if random.random() < 0.99 else -x, None, r"\(random\)"),
    "its own torch generator": (
        lambda part, x: x + torch.rand((), generator=part.draw),
        lambda part: setattr(part, "draw", torch.Generator().manual_seed(1)),
        r"between\.part\.draw",
    ),
    "its own numpy generator": (
        lambda part, x: x + float(part.draws[0].random()),
        lambda part: setattr(part, "draws", [np.random.default_rng(0)]),
        r"between\.part\.draws\[0\]",
    ),
    "a counter buffer": (
        count,
        lambda part: part.register_buffer("n", torch.zeros(())),
        r"buffers \(between\.part\.n\)",
    ),
    "state in an attribute": (
        lambda part, x: (setattr(part, "n", part.n + 1), x * part.n)[1],
        lambda part: setattr(part, "n", 0),
        "two answers",
    ),
    "seldom random": (rarely_dropped, None, "draws random numbers"),
}


@pytest.mark.parametrize("name", UNSTEADY)
def test_an_impure_network_is_named_and_left_unchanged(name):
    behave, prepare, said = UNSTEADY[name]
    part = Block(behave, prepare or (lambda part: None))
    net = seeded(lambda: Net(forward=lambda net, x: net.line(net.between["part"](x)), part=part))
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    problem, shared, initial = from_module(net)
    held = problem.predict.function.module
    before = {n: b.clone() for n, b in held.named_buffers()}
    learner = Learner(problem, SGD(1), batching="loop")
    episodes = random_episodes(torch.Generator().manual_seed(0), 2, 3, 5, (4,), (4,), torch.float32)
    with pytest.raises(ModelError, match=rf"in between\.part.*{said}"):
        learner.meta_gradient(learner.init(shared, initial), episodes)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1][1])  # noqa: NPY002
    assert random.getstate() == states[2]
    assert all(torch.equal(b, before[n]) for n, b in held.named_buffers())
    assert getattr(held.between["part"], "n", 0) == 0


LIBRARY = {
    "attention": (lambda: nn.TransformerEncoderLayer(4, 2, 8, dropout=0.5, batch_first=True), "part.self_attn"),
    "LSTM": (lambda: nn.LSTM(4, 4, 2, dropout=0.5), "part"),
    "RReLU": (lambda: nn.RReLU(), "part"),
    "fractional pool": (lambda: nn.FractionalMaxPool2d(1, output_size=(1, 4)), "part"),
}


@pytest.mark.parametrize("name", LIBRARY)
def test_torchs_own_random_layers_are_named_and_eval_is_advised_where_it_helps(name):
    make, where = LIBRARY[name]

    def forward(net, x):
        h = net.between["part"](net.line(x)[None])
        return (h[0] if isinstance(h, tuple) else h)[0]

    net = seeded(lambda: Net(forward=forward, part=make()))
    for part in net.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0  # those are refused by from_module already
    with pytest.raises(ModelError, match=rf"in between\.{where}.*eval\(\)") as error:
        judge(net)
    if "was tried and mends it" in str(error.value):
        problem, shared, initial = from_module(net.eval())
        assert judge(Problem(problem.predict), "losses", initial={**shared, **initial}).isfinite().all()
    else:
        assert name == "fractional pool"
        assert "eval() does not mend it" in str(error.value)


@pytest.mark.parametrize("door", ["meta_gradient", "losses", "adapt", "evaluate", "step"])
@pytest.mark.parametrize("batching", ["loop", "vmap", "auto"])
def test_every_method_of_a_learner_tries_the_problem(door, batching):
    net = seeded(lambda: Net(forward=lambda net, x: net.line(x) + torch.rand(())))
    with pytest.raises(ModelError, match=r"in its own forward\(\).*draws random numbers"):
        judge(net, door, batching)
    steady = seeded(lambda: Net())
    assert judge(steady, door, batching) is not None


def test_problems_written_by_hand_are_tried_too():
    net = seeded(lambda: nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.BatchNorm1d(4)))
    initial = {n: p.detach() for n, p in net.named_parameters()}
    before = {n: b.clone() for n, b in net.named_buffers()}
    problem = Problem(lambda params, x: torch.func.functional_call(net, params, (x,)))
    with pytest.raises(
        ModelError, match=r"in <net>\.1, <net>\.2: it draws random.*<net>\.2\.running_mean.*must be pure"
    ):
        judge(problem, initial=initial)
    assert all(torch.equal(b, before[n]) for n, b in net.named_buffers())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())
    net.eval()
    judge(problem, initial=initial)
    with pytest.raises(ModelError, match="predict is not a function"):
        judge(Problem(lambda params, x: x @ params["w"] + torch.rand(())), initial={"w": torch.eye(4)})


@pytest.mark.parametrize("remedy", [lambda net: net.eval(), lambda net: net[0].parametrizations.eval()])
def test_a_weight_that_changes_when_it_is_read_is_refused_before_any_input(remedy):
    net = seeded(lambda: nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4)), nn.Tanh()))
    state = {n: t.clone() for n, t in net.state_dict().items()}
    with pytest.raises(ModelError, match=r"weight of 0 changes.*get_submodule\('0\.parametrizations'\)\.eval\(\)"):
        from_module(net)
    assert all(torch.equal(t, state[n]) for n, t in net.state_dict().items())
    remedy(net)
    judge(net)
    judge(seeded(lambda: nn.utils.parametrizations.orthogonal(nn.Linear(4, 4))))  # no state: taken in training


def own_list(net):
    net.weights = [net.line.weight]


def alias(net):
    net.copy = net.line.weight.data


def closure(net):
    weight = net.line.weight
    net.act = lambda h: h @ weight.T


def unregistered(net):
    net.more = [nn.Linear(4, 4)]


class Cached(Net):
    @functools.cached_property
    def doubled(self):
        return 2 * self.line.weight


REACH = {
    "list": (own_list, lambda net, x: net.line(x) + x @ net.weights[0].T, r"reads line\.weight by another way"),
    "alias": (alias, lambda net, x: net.line(x) + x @ net.copy.T, r"reads line\.weight by another way"),
    "closure": (closure, lambda net, x: net.line(x) + net.act(x), r"reads line\.weight by another way"),
    "submodule in a list": (
        unregistered,
        lambda net, x: net.more[0](net.line(x)),
        r"registered nowhere \(more\[0\]\.weight, more\[0\]\.bias\)",
    ),
    "cached": (
        lambda net: None,
        lambda net, x: net.line(x) + x @ net.doubled.T,
        r"other values of line\.weight is not",
    ),
}


@pytest.mark.parametrize("name", REACH)
def test_weights_that_a_call_does_not_reach_are_named(name):
    prepare, forward, said = REACH[name]
    net = seeded(lambda: Cached(prepare, forward))
    with pytest.raises(ModelError, match=said):
        judge(net)


def test_a_global_that_holds_a_weight_is_found():
    net = seeded(lambda: Net(forward=lambda net, x: net.line(x) + x @ GLOBAL["weight"].T))
    GLOBAL["weight"] = net.line.weight
    try:
        with pytest.raises(ModelError, match=r"reads line\.weight by another way"):
            judge(net)
    finally:
        GLOBAL.clear()


GLOBAL: dict = {}


def test_the_remedies_for_unreached_weights_work():
    judge(seeded(lambda: Net(own_list, lambda net, x: net.line(x) + x @ net.line.weight.T)))
    register = lambda net: setattr(net, "layers", nn.ModuleList([nn.Linear(4, 4)]))  # noqa: E731
    judge(seeded(lambda: Net(register, lambda net, x: net.layers[0](net.line(x)))))
    frozen = seeded(lambda: Net(lambda net: setattr(net, "more", [nn.Linear(4, 4).requires_grad_(False)])))
    frozen._forward = lambda net, x: net.more[0](net.line(x))
    judge(frozen)


def tied(net):
    net.again = nn.Linear(4, 4, bias=False)
    net.again.weight = net.line.weight


def remember(net, x):
    net.features = net.line(x)
    return net.features


GOOD = {
    "one weight under two names": (tied, lambda net, x: net.again(net.line(x))),
    "a registered layer in a list too": (lambda net: setattr(net, "all", [net.line]), lambda net, x: net.all[0](x)),
    "what it computed last is kept": (lambda net: None, remember),
    "a force": (lambda net: None, lambda net, x: net.line(x) + force(net, x)),
    "a constant under no_grad": (
        unregistered,
        lambda net, x: net.line(x) + constant(net, x),
    ),
    "recurrent": (lambda net: setattr(net, "cell", nn.GRU(4, 4)), lambda net, x: net.cell(x[None])[0][0]),
    "a cache of its own kind": (
        lambda net: setattr(net, "table", None),
        lambda net, x: net.line(x) + positions(net, x),
    ),
}


def force(net, x):
    """Minus the slope of an energy, inside a forward."""
    return -torch.func.grad(lambda x: net.line(x).square().sum())(x)


def constant(net, x):
    with torch.no_grad():
        return net.more[0](x)


def positions(net, x):
    if net.table is None:
        net.table = torch.arange(4.0)
    return net.table


@pytest.mark.parametrize("name", GOOD)
def test_networks_that_are_functions_pass(name):
    net = seeded(lambda: Net(*GOOD[name]))
    for _ in range(2):
        judge(net)
    problem, shared, initial = from_module(net)
    for _ in range(2):  # a second learner meets whatever calls have left on the copy
        learner = Learner(problem, SGD(1), batching="loop")
        episodes = random_episodes(torch.Generator().manual_seed(0), 2, 3, 5, (4,), (4,), torch.float32)
        learner.meta_gradient(learner.init(shared, initial), episodes)


def test_a_network_that_fails_with_shifted_parameters_gives_a_warning():
    def forward(net, x):
        if float(net.line.bias.detach().abs().sum()) > 0:
            raise ValueError("only with no bias")
        return net.line(x)

    net = seeded(lambda: Net(lambda net: nn.init.zeros_(net.line.bias), forward))
    problem, shared, initial = from_module(net)
    learner = Learner(problem, SGD(0), batching="loop")
    episodes = random_episodes(torch.Generator().manual_seed(0), 2, 3, 5, (4,), (4,), torch.float32)
    with pytest.warns(UserWarning, match="could not be tried: .*ValueError: only with no bias"):
        learner.losses(learner.init(shared, initial), episodes)


def linear(gen, y_shape, criterion=F.mse_loss, solver=None):
    problem, shared, initial = from_module(seeded(lambda: nn.Linear(4, 1)), criterion)
    learner = Learner(problem, solver or SGD(1), batching="vmap")
    x, y = torch.randn(2, 8, 4, generator=gen), torch.randn(2, 8, *y_shape, generator=gen)
    return learner, learner.init(shared, initial), Episodes.split(x, y, 3)


@pytest.mark.parametrize(
    "criterion", [F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss, nn.MSELoss(), lambda p, y: F.mse_loss(p, y)]
)
def test_a_target_without_a_last_axis_is_refused_rather_than_broadcast(criterion, gen):
    learner, params, episodes = linear(gen, (), criterion)
    for door in (learner.meta_gradient, learner.losses):
        with pytest.raises(ShapeError, match=r"prediction is \(3, 1\) and y is \(3,\)"):
            door(params, episodes)
    learner, params, episodes = linear(gen, (1,), criterion)
    learner.meta_gradient(params, episodes)
    mixed = episodes._replace(query_y=episodes.query_y[..., 0])
    with pytest.raises(ShapeError, match=r"prediction is \(5, 1\) and y is \(5,\)"):
        learner.losses(params, mixed)


def test_a_criterion_that_takes_other_shapes_is_the_users_own_business(gen):
    learner, params, episodes = linear(gen, (), lambda p, y: (p[:, 0] - y).square().mean())
    assert learner.losses(params, episodes).isfinite().all()
    learner, params, episodes = linear(gen, (2,), lambda p, y: F.binary_cross_entropy(p.sigmoid(), y))
    with pytest.raises(ShapeError, match=r"cannot compare them: the prediction is \(3, 1\) and y is \(3, 2\)"):
        learner.losses(params, episodes)


def test_the_problem_is_tried_once_for_each_kind_of_shapes():
    calls = []

    def predict(params, x):
        calls.append(x.shape)
        return x @ params["w"]

    learner = Learner(Problem(predict), SGD(0), batching="loop")
    params = learner.init({}, {"w": torch.eye(4)})
    gen = torch.Generator().manual_seed(0)
    counts = []
    for tasks, shots in ((2, 3), (5, 4), (2, 3)):
        calls.clear()
        learner.losses(params, random_episodes(gen, tasks, shots, 2, (4,), (4,), torch.float32))
        counts.append(len(calls) - tasks)
    assert counts[0] > 0
    assert counts[1:] == [0, 0]


@pytest.mark.parametrize("solver", [SGD(1), Ridge(0.1), GaussNewton(1)], ids=["sgd", "ridge", "gauss_newton"])
def test_batch_norm_stays_transductive(solver, gen):
    """It has buffers, and answers by its set, but is no fault."""
    net = seeded(lambda: nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)))
    problem, shared, initial = from_module(net, shared=lambda name: not name.startswith("2"))
    learner = Learner(problem, solver, batching="vmap")
    x, y = torch.randn(2, 8, 4, generator=gen), torch.randn(2, 8, 1, generator=gen)
    assert learner.meta_gradient(learner.init(shared, initial), Episodes.split(x, y, 4)).losses.isfinite().all()


# The compiler of torch 2.14 looks at the gradients of tensors that have none.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.usefixtures("shapes_unchecked")
def test_a_compiled_network_with_batch_norm_runs_in_a_loop(gen):
    net = seeded(lambda: nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4)))
    episodes = random_episodes(gen, 2, 3, 5, (4,), (4,), torch.float32)
    found = []
    for module in (net, torch.compile(net, backend="eager")):
        problem, shared, initial = from_module(module)
        learner = Learner(problem, SGD(1), batching="loop")
        found.append(learner.meta_gradient(learner.init(shared, initial), episodes).gradient.leaves())
    torch.testing.assert_close(*found)
