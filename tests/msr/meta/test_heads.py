"""Heads in closed form, against slow twins and finite differences; two solvers in turn."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from msr.errors import ConfigError, DataError, ModelError, ShapeError
from msr.meta import SGD, ClassMeans, GaussNewton, InTurn, Learner, Problem, RidgeHead, from_module
from tests.support.cases import finite_differences, random_episodes, seeded


def features(params, x):
    """What the head of the network below is given."""
    return torch.tanh(F.linear(x, params["0.weight"], params["0.bias"]))


HEAD = (features, "2.weight", "2.bias")
SOLVERS = {
    "means": ClassMeans(*HEAD),
    "ridge": RidgeHead(*HEAD, penalty=0.3, scale=4.0),
    "steps, then ridge": InTurn(SGD(1, rate=0.3), RidgeHead(*HEAD)),
    "steps, then means": InTurn(SGD(2, rate=0.3), ClassMeans(*HEAD)),
}


@pytest.fixture
def problem():
    """A network of two layers whose body all tasks share, but where gradient steps adapt it too."""
    return seeded(lambda: nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double())


def parts(net, solver):
    all_adapted = isinstance(solver, InTurn)
    return from_module(net, F.cross_entropy, shared=lambda name: not all_adapted and not name.startswith("2."))


def episodes(gen, shots=2, tasks=3):
    e = random_episodes(gen, tasks, 3 * shots, 6, (4,), ())
    y = torch.arange(3)
    return e._replace(support_y=y.repeat(shots).expand(tasks, -1), query_y=y.repeat(2).expand(tasks, -1))


def adapted_head(net, solver, e, task=0):
    problem, shared, initial = parts(net, solver)
    learner = Learner(problem, solver, batching="loop")
    params = learner.init(shared, initial)
    own = learner.adapt(params, e.support_x, e.support_y)
    z = features({**shared, **initial}, e.support_x[task])
    return own["2.weight"][task], own["2.bias"][task], z, e.support_y[task]


@pytest.mark.parametrize("batching", ["loop", "vmap"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_gradients_are_those_of_finite_differences(solver, batching, problem, gen):
    solver = SOLVERS[solver]
    functional, shared, initial = parts(problem, solver)
    learner = Learner(functional, solver, batching=batching)
    params = learner.init(shared, initial)
    e = episodes(gen)
    losses, gradient = learner.meta_gradient(params, e)
    torch.testing.assert_close(losses, learner.losses(params, e, training=True))
    torch.testing.assert_close(gradient.leaves(), finite_differences(learner, params, e), atol=1e-6, rtol=1e-5)


def test_class_means_answer_by_the_nearest_mean(problem, gen):
    e = episodes(gen)
    weight, bias, z, y = adapted_head(problem, SOLVERS["means"], e)
    means = torch.stack([z[y == k].mean(0) for k in range(3)])
    query = torch.randn(9, 6, generator=gen, dtype=z.dtype)
    slow = -torch.cdist(query, means).square()
    torch.testing.assert_close(F.linear(query, weight, bias).log_softmax(1), slow.log_softmax(1))


@pytest.mark.parametrize("shots", [1, 4])  # fewer and more examples than features
def test_the_ridge_head_is_the_regression_on_one_hot_labels(shots, problem, gen):
    weight, bias, z, y = adapted_head(problem, SOLVERS["ridge"], episodes(gen, shots))
    J = torch.cat([z, torch.ones(len(z), 1, dtype=z.dtype)], 1)
    slow = torch.linalg.solve(J.T @ J + 0.3 * torch.eye(7, dtype=z.dtype), J.T @ F.one_hot(y, 3).to(z.dtype))
    torch.testing.assert_close(torch.cat([weight, bias[:, None]], 1), 4 * slow.T)


@pytest.mark.parametrize("solver", ["means", "ridge"])
def test_padding_changes_nothing(solver, problem, gen):
    e = episodes(gen)
    padding = torch.full((3, 2), -100)
    padded = e._replace(
        support_x=torch.cat([e.support_x, torch.randn(3, 2, 4, generator=gen, dtype=torch.float64)], 1),
        support_y=torch.cat([e.support_y, padding], 1),
    )
    for got, want in zip(*(adapted_head(problem, SOLVERS[solver], part)[:2] for part in (padded, e)), strict=True):
        torch.testing.assert_close(got, want)


def test_a_class_without_examples_is_never_answered(problem, gen):
    e = episodes(gen)
    e = e._replace(support_y=e.support_y.clamp(max=1))
    weight, bias, z, _ = adapted_head(problem, SOLVERS["means"], e)
    assert bias[2] == -math.inf
    assert (F.linear(z, weight, bias).argmax(1) < 2).all()


def test_steps_then_a_head_are_both_in_turn(problem, gen):
    solver = SOLVERS["steps, then ridge"]
    functional, shared, initial = parts(problem, solver)
    learner = Learner(functional, solver, batching="loop")
    params = learner.init(shared, initial)
    e = episodes(gen)
    both = learner.adapt(params, e.support_x, e.support_y)
    stepped = Learner(functional, solver.first, batching="loop").adapt(params, e.support_x, e.support_y)
    torch.testing.assert_close(both["0.weight"], stepped["0.weight"])
    assert not torch.allclose(both["2.weight"], stepped["2.weight"])
    z = features({n: p[0] for n, p in stepped.items()}, e.support_x[0])
    J = torch.cat([z, torch.ones(len(z), 1, dtype=z.dtype)], 1)
    one_hot = F.one_hot(e.support_y[0], 3).to(z.dtype)
    want = 10 * torch.linalg.solve(J.T @ J + torch.eye(7, dtype=z.dtype), J.T @ one_hot).T
    torch.testing.assert_close(torch.cat([both["2.weight"][0], both["2.bias"][0][:, None]], 1), want)


def test_what_fits_no_head_is_refused(problem, gen):
    e = episodes(gen)

    def check(solver, e=e):
        functional, shared, initial = parts(problem, solver)
        learner = Learner(functional, solver)
        params = learner.init(shared, initial)
        solver.check(functional, params, e.support_x[0], e.support_y[0])

    with pytest.raises(ConfigError, match=r"no adapted parameter is called head; there are 2\.weight, 2\.bias"):
        check(replace(SOLVERS["means"], weight="head"))
    with pytest.raises(ShapeError, match=r"features of 6 examples must be \(6, 6\).*got \(6, 4\)"):
        check(replace(SOLVERS["means"], features=lambda params, x: x))
    with pytest.raises(DataError, match=r"integers \(examples,\); got torch.float64 \(6,\)"):
        check(SOLVERS["ridge"], e._replace(support_y=e.support_y.double()))
    with pytest.raises(DataError, match=r"2.weight has 3 classes, and a label is 3"):
        check(SOLVERS["ridge"], e._replace(support_y=e.support_y + 1))
    for bad in (0.0, math.nan, math.inf, -1.0):
        with pytest.raises(ConfigError, match="positive and finite"):
            RidgeHead(*HEAD, penalty=bad)
    initial = parts(problem, SOLVERS["steps, then ridge"]).initial
    with pytest.raises(ConfigError, match="both solvers learn rate"):
        InTurn(SGD(), SGD()).init(initial)


def test_the_head_must_be_the_last_layer(problem, gen):
    e = episodes(gen)
    bent = nn.Sequential(*problem, nn.Tanh())
    functional, shared, initial = parts(bent, SOLVERS["ridge"])
    params = Learner(functional, SOLVERS["ridge"]).init(shared, initial)
    with pytest.raises(ModelError, match="the head must be the last layer"):
        SOLVERS["ridge"].check(functional, params, e.support_x[0], e.support_y[0])
    for name, start in params.initial.items():  # a head that starts at zero looks like any other
        params.initial[name] = torch.zeros_like(start)
    with pytest.raises(ModelError, match="the head must be the last layer"):
        SOLVERS["ridge"].check(functional, params, e.support_x[0], e.support_y[0])


def test_features_are_what_the_head_is_given(problem, gen):
    functional = parts(problem, SOLVERS["ridge"])
    x = torch.randn(5, 4, generator=gen, dtype=torch.float64)
    params = {**functional.shared, **functional.initial}
    torch.testing.assert_close(functional.before("2")(params, x), features(params, x))
    assert functional.before("2").is_plain
    with pytest.raises(ConfigError, match="no layer 'head'; there are 0, 1, 2"):
        functional.before("head")
    with pytest.raises(ConfigError, match="only the problem of a module"):
        functional._replace(problem=Problem(lambda params, x: x)).before("2")


@pytest.mark.parametrize("solver", ["ridge", "means", "steps, then ridge"])
def test_heads_on_a_network_with_batch_norm(solver, gen):
    """Side by side, one by one and recorded, gradients are those of finite differences: norms run in exact forms."""
    net = seeded(
        lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
    )
    net = net.double()
    both = solver.startswith("steps")
    functional = from_module(net, F.cross_entropy, shared=lambda name: not both and not name.startswith("4."))
    head = replace(
        SOLVERS[solver].second if both else SOLVERS[solver],
        features=functional.before("4"), weight="4.weight", bias="4.bias",
    )  # fmt: skip
    solver = InTurn(SGD(1, rate=0.2), head) if both else head
    e = random_episodes(gen, 3, 6, 6, (1, 4, 4), ())
    e = e._replace(support_y=torch.arange(3).repeat(3, 2), query_y=torch.arange(3).repeat(3, 2))
    learner = Learner(functional.problem, solver, batching="loop")
    params = learner.init(functional.shared, functional.initial)
    want = learner.meta_gradient(params, e)
    for how in ({"batching": "vmap"}, {"batching": "loop", "trace": True}, {"batching": "vmap", "trace": True}):
        got = Learner(functional.problem, solver, **how).meta_gradient(params, e)
        torch.testing.assert_close(got.losses, want.losses)
        torch.testing.assert_close(got.gradient.leaves(), want.gradient.leaves())
    torch.testing.assert_close(want.gradient.leaves(), finite_differences(learner, params, e), atol=1e-5, rtol=1e-4)


def test_only_solvers_in_reverse_mode_may_fuse_norms():
    assert SOLVERS["steps, then ridge"].reverse_mode
    assert not InTurn(SGD(), GaussNewton()).reverse_mode
