"""Inner solvers on one task, against hand-written loops and dense solves."""

import math
import re
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from msr.errors import ConfigError, ModelError, ShapeError
from msr.layers import ReparamLinear
from msr.meta import SGD, Learner, Problem, Ridge, from_module
from msr.sharing import DenseSharing
from tests.support.cases import randomize, seeded


def linear_task(gen, k=3, shots=2, bias=True, dtype=torch.float64):
    layer = ReparamLinear(5, 4, bias, dtype=dtype, sharing=partial(DenseSharing, k=k), generator=gen)
    problem, shared, initial = from_module(randomize(layer, gen))
    x, y = (
        torch.randn(shots, 5, generator=gen, dtype=dtype),
        torch.randn(shots, 4, generator=gen, dtype=dtype),
    )
    return problem, shared, initial, x, y


@pytest.mark.parametrize("scale", ["linear", "log"])
@pytest.mark.parametrize("learn", ["per_tensor", "per_parameter", "fixed"])
def test_sgd_is_the_hand_written_loop(learn, scale, gen):
    problem, shared, initial, x, y = linear_task(gen)
    solver = SGD(steps=3, rate=0.2, learn=learn, scale=scale)
    params = Learner(problem, solver).init(shared, initial)
    got = solver.adapt(problem, params, x, y, training=True)
    v, bias = (initial[name].clone().requires_grad_() for name in ("v", "bias"))
    for _ in range(3):
        prediction = x @ (shared["sharing.U"] @ v).reshape(4, 5).mT + bias
        slopes = torch.autograd.grad(F.mse_loss(prediction, y), [v, bias])
        v, bias = ((p - 0.2 * s).detach().requires_grad_() for p, s in zip((v, bias), slopes, strict=True))
    torch.testing.assert_close(got, {"v": v.detach(), "bias": bias.detach()})


def test_sgd_learned_numbers_have_the_shapes_they_should(gen):
    _, _, initial, _, _ = linear_task(gen)
    assert SGD(learn="fixed").init(initial) == {}
    assert {n: tuple(t.shape) for n, t in SGD().init(initial).items()} == {"rate.v": (), "rate.bias": ()}
    per = SGD(learn="per_parameter", scale="log", rate=0.1).init(initial)
    assert {n: tuple(t.shape) for n, t in per.items()} == {"log_rate.v": (3,), "log_rate.bias": (4,)}
    torch.testing.assert_close(per["log_rate.v"].exp(), torch.full((3,), 0.1, dtype=torch.float64))


def test_test_steps_differ_from_training_steps(gen):
    problem, shared, initial, x, y = linear_task(gen)
    params = Learner(problem, SGD()).init(shared, initial)
    one, four = (SGD(steps=n, rate=0.1).adapt(problem, params, x, y, training=True) for n in (1, 4))
    both = SGD(steps=1, test_steps=4, rate=0.1)
    torch.testing.assert_close(both.adapt(problem, params, x, y, training=True), one)
    torch.testing.assert_close(both.adapt(problem, params, x, y, training=False), four)


def dense_ridge(problem, shared, initial, x, y, penalty):
    """The normal equations of an augmented least squares problem, columns of J one by one."""
    flat = torch.cat([p.flatten() for p in initial.values()])

    def f(z):
        parts = z.split([p.numel() for p in initial.values()])
        named = {n: part.reshape(p.shape) for (n, p), part in zip(initial.items(), parts, strict=True)}
        return problem.predict({**shared, **named}, x).flatten()

    base = f(torch.zeros_like(flat))
    J = torch.stack([f(e) - base for e in torch.eye(len(flat), dtype=flat.dtype)], dim=1)
    n = len(base)
    top, bottom = J / math.sqrt(n), math.sqrt(penalty) * torch.eye(len(flat), dtype=flat.dtype)
    right = torch.cat([(y.flatten() - base) / math.sqrt(n), math.sqrt(penalty) * flat])
    return torch.linalg.lstsq(torch.cat([top, bottom]), right[:, None]).solution[:, 0]


@pytest.mark.parametrize("system", ["auto", "primal", "dual"])
@pytest.mark.parametrize(("k", "shots"), [(3, 4), (12, 1), (7, 1)], ids=["tall", "wide", "square-ish"])
def test_ridge_is_the_dense_solution(system, k, shots, gen):
    problem, shared, initial, x, y = linear_task(gen, k=k, shots=shots)
    solver = Ridge(penalty=0.03, system=system)
    got = solver.adapt(problem, Learner(problem, solver).init(shared, initial), x, y, training=True)
    want = dense_ridge(problem, shared, initial, x, y, 0.03)
    torch.testing.assert_close(torch.cat([got["v"], got["bias"]]), want, rtol=1e-8, atol=1e-9)


def test_ridge_zero_penalty_limit_fits_exactly(gen):
    problem, shared, initial, x, _ = linear_task(gen, k=3, shots=4)
    truth = {"v": torch.randn(3, generator=gen, dtype=torch.float64), "bias": initial["bias"] + 1}
    y = problem.predict({**shared, **truth}, x)
    solver = Ridge(penalty=1e-12)
    got = solver.adapt(problem, Learner(problem, solver).init(shared, initial), x, y, training=True)
    torch.testing.assert_close(got, truth, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("system", ["primal", "dual"])
def test_ridge_is_stable_in_float32_when_rank_deficient(system, gen):
    """Columns of U repeat, so J has rank 2 of 6, and λ is below float32's reach: the fit is still that of float64."""
    U = torch.randn(20, 2, generator=gen, dtype=torch.float64)
    U = torch.cat([U, U, U + 1e-9 * torch.randn(20, 2, generator=gen, dtype=torch.float64)], dim=1) * 30
    x, y = (
        torch.randn(3, 5, generator=gen, dtype=torch.float64),
        torch.randn(3, 4, generator=gen, dtype=torch.float64),
    )
    fits, slopes = [], []
    for dtype in (torch.float64, torch.float32):
        layer = ReparamLinear(5, 4, bias=False, sharing=DenseSharing.from_matrix(U.to(dtype), (4, 5)), generator=gen)
        torch.nn.init.zeros_(layer.v)
        problem, shared, initial = from_module(layer)
        solver = Ridge(penalty=1e-12, system=system)
        params = Learner(problem, solver).init(shared, initial)
        shared = {n: t.requires_grad_() for n, t in params.shared.items()}
        adapted = solver.adapt(problem, params._replace(shared=shared), x.to(dtype), y.to(dtype), training=True)
        prediction = problem.predict({**shared, **adapted}, x.to(dtype))
        fits.append(prediction.detach().double())
        slopes.append(torch.autograd.grad(prediction.square().sum(), list(shared.values()))[0])
    assert slopes[1].isfinite().all()
    torch.testing.assert_close(fits[1], fits[0], rtol=1e-2, atol=1e-3)


def test_ridge_refuses_what_is_not_affine(gen):
    net = seeded(lambda: nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 4)))
    problem, shared, initial = from_module(net)
    x, y = torch.randn(3, 5, generator=gen), torch.randn(3, 4, generator=gen)
    params = Learner(problem, Ridge()).init(shared, initial)
    with pytest.raises(ModelError, match="affine in the adapted parameters"):
        Ridge().check(problem, params, x, y)
    head_only = from_module(net, shared=lambda name: name.startswith("0."))
    params = Learner(head_only.problem, Ridge()).init(head_only.shared, head_only.initial)
    Ridge().check(head_only.problem, params, x, y)  # the last layer alone is affine
    with pytest.raises(ShapeError, match=r"prediction is \(3, 4\), but y is \(3,\)"):
        Ridge().check(head_only.problem, params, x, y[:, 0])


@pytest.mark.parametrize(
    "make",
    [
        lambda: SGD(steps=-1),
        lambda: SGD(rate=0.0),
        lambda: SGD(rate=math.inf),
        lambda: SGD(learn="all"),
        lambda: SGD(scale="cubic"),
        lambda: Ridge(penalty=-1),
        lambda: Ridge(system="both"),
    ],
)
def test_bad_settings_are_refused(make):
    with pytest.raises(ConfigError, match="; got"):
        make()


def test_split_follows_patterns_names_and_frozen_parameters(gen):
    net = nn.Sequential(
        ReparamLinear(5, 4, generator=gen), seeded(lambda: nn.Linear(4, 3)), seeded(lambda: nn.Linear(3, 2))
    )
    net[2].weight.requires_grad_(False)
    _, shared, initial = from_module(net)
    assert list(shared) == ["0.sharing.A", "0.sharing.B"]
    assert list(initial) == ["0.v", "0.bias", "1.weight", "1.bias", "2.bias"]
    _, shared, initial = from_module(net, shared=lambda name: name.startswith("1."))
    assert list(shared) == ["1.weight", "1.bias"]
    with pytest.raises(ConfigError, match="no parameter is left for a task to adapt"):
        from_module(net, shared=lambda name: True)


def test_a_predicate_may_answer_with_anything_true_or_false():
    net = seeded(lambda: nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)))
    _, shared, initial = from_module(net, shared=lambda name: re.match("0", name))
    assert (list(shared), list(initial)) == (["0.weight", "0.bias"], ["1.weight", "1.bias"])


def test_active_dropout_is_refused():
    net = seeded(lambda: nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5)))
    with pytest.raises(ModelError, match="dropout is active in 1"):
        from_module(net)
    from_module(net.eval())


def test_a_name_alone_makes_nothing_shared():
    """The reference shares whatever has "warp" in its name; here only patterns count, wherever they sit."""
    net = seeded(lambda: nn.ModuleDict({"warp_sharing": nn.Linear(2, 2)}))
    _, shared, initial = from_module(net)
    assert not shared
    assert len(initial) == 2


def test_problem_default_criterion_is_mean_squared_error(gen):
    problem = Problem(lambda params, x: params["a"] * x)
    x = torch.randn(4, generator=gen)
    assert float(problem.loss({"a": torch.tensor(2.0)}, x, x)) == pytest.approx(float(x.square().mean()))
