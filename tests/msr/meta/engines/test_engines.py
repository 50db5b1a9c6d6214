"""Engines: higher and learn2learn take the same steps as ours, for every kind of learned rate and of layer."""

import importlib
import json
import subprocess
import sys
from functools import cache, partial
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from experiments import omniglot, translation
from experiments.few_shot import training as few_shot
from msr.errors import ConfigError, MissingExtraError
from msr.layers import ReparamConv2d, ReparamLinear
from msr.meta import SGD, Engine, Learner, OuterLoop, Problem, Ridge, evaluate, from_module
from msr.runs.command import main
from msr.sharing import DenseSharing, KroneckerSharing
from tests.support import engines
from tests.support.cases import random_episodes, randomize, seeded

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
RATES = {
    "per-tensor": {},
    "per-parameter": {"learn": "per_parameter"},
    "log": {"scale": "log"},
    "log-per-parameter": {"learn": "per_parameter", "scale": "log"},
    "fixed": {"learn": "fixed"},
    "first-order": {"first_order": True},
}


def linear(gen, dtype):
    """One layer with a learned pattern and a bias."""
    layer = ReparamLinear(5, 4, dtype=dtype, sharing=partial(DenseSharing, k=3), generator=gen)
    return from_module(randomize(layer, gen)), (5,), (4,)


def conv(gen, dtype):
    """Two reparameterised convolutions and a plain head."""
    layer = partial(ReparamConv2d, sharing=KroneckerSharing, generator=gen, dtype=dtype)
    head = seeded(lambda: nn.Linear(16, 3, dtype=dtype))
    net = nn.Sequential(layer(1, 3, 3), nn.Tanh(), layer(3, 4, 2), nn.Tanh(), nn.Flatten(), head)
    return from_module(randomize(net, gen)), (1, 5, 5), (3,)


def normed_conv(gen, dtype):
    """A convolution under batch norm, as in few-shot networks. It has no bias, whose gradient would be zero."""
    layer = ReparamConv2d(2, 3, 3, bias=False, sharing=KroneckerSharing, generator=gen, dtype=dtype)
    norm, head = nn.BatchNorm2d(3, dtype=dtype), seeded(lambda: nn.Linear(3, 2, dtype=dtype))
    net = nn.Sequential(layer, norm, nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    return from_module(randomize(net, gen)), (2, 5, 5), (2,)


PROBLEMS = [linear, conv, normed_conv]


def case(make, sgd, gen, dtype=torch.float64, tasks=3):
    """Our learner, parameters whose rates all differ, and tasks."""
    (problem, shared, initial), in_shape, out_shape = make(gen, dtype)
    ours = Learner(problem, sgd, batching="vmap")
    params = ours.init(shared, initial)
    for rate in params.inner.values():
        rate.add_(0.3 * torch.rand(rate.shape, generator=gen, dtype=dtype), alpha=1 if sgd.scale == "log" else sgd.rate)
    return ours, params, random_episodes(gen, tasks, 3, 4, in_shape, out_shape, dtype)


@cache
def expected(make, steps, rates, dtype):
    """Our own learner, parameters, tasks and meta-gradient, which no test changes: one for all engines."""
    # A rate at which five steps of these random networks converge: at 0.2 float32 loses three digits in any engine, our
    # own loop against our own vmap included.
    sgd = SGD(steps, rate=0.05, **RATES[rates])
    ours, params, episodes = case(make, sgd, torch.Generator().manual_seed(0), dtype)
    return ours, params, episodes, ours.meta_gradient(params, episodes)


def theirs(ours, backend, **how):
    return Learner(ours.problem, ours.solver, engine=backend, **how)


def assert_agree(got, want, tolerance):
    """Tensor by tensor, relative to the largest entry of each."""
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        assert a.shape == b.shape
        assert float(b.abs().max()) > 1e-6  # nothing compares zeros
        assert float((a - b).abs().max() / b.abs().max()) < tolerance


@pytest.mark.parametrize("dtype", TOLERANCE, ids=["f32", "f64"])
@pytest.mark.parametrize(
    ("make", "steps", "rates"),
    # everything on the cheap problem; on the others one thing at a time is changed
    [
        pytest.param(make, steps, rates, id=f"{make.__name__}-{steps}-{rates}")
        for make in PROBLEMS
        for steps in (1, 3, 5)
        for rates in RATES
        if make is linear or steps == 3 or rates == "per-tensor"
    ],
)
def test_meta_gradients_agree(backend, make, steps, rates, dtype):
    ours, params, episodes, want = expected(make, steps, rates, dtype)
    got = theirs(ours, backend).meta_gradient(params, episodes)
    torch.testing.assert_close(got.losses, want.losses, rtol=TOLERANCE[dtype], atol=0)
    assert_agree(got.gradient.leaves(), want.gradient.leaves(), TOLERANCE[dtype])


def test_first_order_is_not_second_order(backend, gen):
    """Else the agreement above could be of two engines that both forget it; the learned start keeps its gradient."""
    ours, params, episodes = case(linear, SGD(3, rate=0.2), gen)
    second = ours.meta_gradient(params, episodes).gradient
    first = Learner(ours.problem, SGD(3, rate=0.2, first_order=True), engine=backend)
    first = first.meta_gradient(params, episodes).gradient
    assert float((first.initial["v"] - second.initial["v"]).abs().max()) > 1e-3
    assert all(float(slope.abs().max()) > 1e-4 for slope in first.leaves())


def test_without_steps_the_start_is_the_answer(backend, gen):
    ours, params, episodes = case(linear, SGD(0), gen)
    got, want = (way.meta_gradient(params, episodes) for way in (theirs(ours, backend), ours))
    torch.testing.assert_close(got.losses, want.losses)
    torch.testing.assert_close(got.gradient.leaves(), want.gradient.leaves())
    assert float(got.gradient.initial["v"].abs().max()) > 1e-3


def test_the_library_takes_the_steps(backend, gen, monkeypatch):
    """Three tasks of two steps are six calls of the library's own update."""
    calls = []
    home, name = {
        "higher": ("higher.optim", "DifferentiableSGD"),
        "learn2learn": ("msr.meta.engines.learn2learn", "meta_sgd_update"),
    }[backend]
    ours, params, episodes = case(linear, SGD(2), gen)
    learner = theirs(ours, backend)  # imports the adapter
    home = importlib.import_module(home)
    holder, name = (getattr(home, name), "_update") if backend == "higher" else (home, name)
    original = getattr(holder, name)
    assert original.__module__.split(".")[0] == backend
    monkeypatch.setattr(holder, name, lambda *a, **k: (calls.append(1), original(*a, **k))[1])
    learner.meta_gradient(params, episodes)
    # learn2learn's update calls itself by its own global name for submodules, of which there are none
    assert len(calls) == 6


def test_adapting_and_evaluating_agree_and_keep_no_history(backend, gen):
    ours, params, episodes = case(normed_conv, SGD(1, test_steps=4, rate=0.2), gen)
    other = theirs(ours, backend)
    support = episodes.support_x, episodes.support_y
    for training in (True, False):
        got, want = (way.adapt(params, *support, training=training) for way in (other, ours))
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)
        assert not any(tensor.requires_grad for tensor in got.values())
    one_step, four_steps = (other.adapt(params, *support, training=training) for training in (True, False))
    assert float((one_step["0.v"] - four_steps["0.v"]).abs().max()) > 1e-3
    got, want = (evaluate(way, params, [episodes]) for way in (other, ours))
    assert got.mean == pytest.approx(want.mean, rel=1e-10)
    with torch.no_grad():  # of one task, before the engine stacks tasks and so forgets the history itself
        alone = other.solver.adapt(ours.problem, params, *(part[0] for part in support), training=True)
    assert not any(tensor.requires_grad for tensor in alone.values())
    want = other.losses(params, episodes)
    with torch.inference_mode():  # in which some versions of torch lose a library's steps with no word
        for way in (other, ours):
            torch.testing.assert_close(way.losses(params, episodes), want)
            made = episodes._replace(support_x=episodes.support_x.clone(), query_x=episodes.query_x.clone())
            torch.testing.assert_close(way.losses(params, made), want)
        alone = other.solver.adapt(ours.problem, params, *(part[0].clone() for part in support), training=True)
    torch.testing.assert_close(alone, {name: p[0] for name, p in other.adapt(params, *support, training=True).items()})


def test_a_tensor_that_the_loss_does_not_use_stays_and_has_no_gradient(backend, gen):
    problem = Problem(lambda params, x: x @ params["used"] * params["scale"])
    initial = {"unused": torch.ones(2), "used": torch.randn(5, 4, generator=gen)}
    shared, episodes = {"scale": torch.tensor(2.0)}, random_episodes(gen, 2, 3, 3, (5,), (4,), torch.float32)
    ours = Learner(problem, SGD(2), batching="vmap")
    params = ours.init(shared, initial)
    got, want = (way.meta_gradient(params, episodes).gradient for way in (theirs(ours, backend), ours))
    torch.testing.assert_close(got.leaves(), want.leaves())
    assert float(got.initial["unused"].abs().max()) == 0.0
    assert float(got.initial["used"].abs().max()) > 1e-3
    adapted = theirs(ours, backend).adapt(params, episodes.support_x, episodes.support_y)
    assert torch.equal(adapted["unused"], torch.ones(2, 2))


def test_gradients_reach_what_a_problem_closes_over(backend, gen):
    """A tensor that is neither shared nor adapted, as ours allows."""
    offset = torch.zeros(4, requires_grad=True)
    problem = Problem(lambda params, x: x @ params["w"] + offset)
    params = (learner := Learner(problem, SGD(2), batching="loop")).init({}, {"w": torch.randn(5, 4, generator=gen)})
    episodes = random_episodes(gen, 2, 3, 3, (5,), (4,), torch.float32)
    slopes = [
        torch.autograd.grad(way.losses(params, episodes, training=True).mean(), offset)[0]
        for way in (theirs(learner, backend), learner)
    ]
    torch.testing.assert_close(slopes[0], slopes[1])
    assert float(slopes[0].abs().max()) > 1e-3


@pytest.mark.parametrize("writer", ["torch", "backend"])
def test_training_agrees_and_a_checkpoint_passes_between_engines(backend, writer, gen, tmp_path):
    ours, params, _ = case(linear, SGD(2, rate=0.2), gen)
    batches = [random_episodes(gen, 3, 2, 3, (5,), (4,)) for _ in range(4)]

    def loop(learner):
        return OuterLoop(learner, params, partial(torch.optim.Adam, lr=1e-2))

    straight = loop(ours)
    for batch in batches:
        straight.step(batch)
    first, second = (ours, theirs(ours, backend)) if writer == "torch" else (theirs(ours, backend), ours)
    before, after, own = loop(first), loop(second), second.batching
    for batch in batches[:2]:
        before.step(batch)
    before.save(tmp_path / "half.pt")
    after.load(tmp_path / "half.pt")
    assert after.steps_done == 2
    for batch in batches[2:]:
        after.step(batch)
    torch.testing.assert_close(after.params.leaves(), straight.params.leaves(), rtol=1e-8, atol=1e-10)
    assert after.learner.batching == own  # what was chosen is kept


class Share(nn.Module):
    """``vec(W) = U v`` as a user of the libraries writes it."""

    def __init__(self, U, v):
        super().__init__()
        self.U, self.v = nn.Parameter(U.clone()), nn.Parameter(v.clone())

    def forward(self, x):
        return F.linear(x, (self.U @ self.v).view(4, 5))


@pytest.mark.parametrize("steps", [1, 4])
def test_higher_as_its_users_write_it(steps, gen):
    """Nothing of the adapter in it: the module's own parameters, one optimiser, one learned rate."""
    engines.need("higher")
    import higher

    layer = ReparamLinear(5, 4, bias=False, dtype=torch.float64, sharing=partial(DenseSharing, k=3), generator=gen)
    problem, shared, initial = from_module(randomize(layer, gen))
    model, rate = Share(shared["sharing.U"], initial["v"]), torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    episodes = random_episodes(gen, 3, 2, 3, (5,), (4,))
    inner = torch.optim.SGD([model.v], lr=0.3)
    for sx, sy, qx, qy in zip(*episodes, strict=True):
        with higher.innerloop_ctx(model, inner, copy_initial_weights=False, override={"lr": [rate]}) as (net, opt):
            for _ in range(steps):
                opt.step(F.mse_loss(net(sx), sy))
            (F.mse_loss(net(qx), qy) / 3).backward()
    for engine in ("torch", "higher"):
        learner = Learner(problem, SGD(steps, rate=0.3), engine=engine)
        gradient = learner.meta_gradient(learner.init(shared, initial), episodes).gradient
        assert_agree(gradient.leaves(), [model.U.grad, model.v.grad, rate.grad], 1e-10)


@pytest.mark.parametrize("steps", [1, 4])
def test_learn2learn_as_its_users_write_it(steps, gen):
    """Meta-SGD, a rate for each parameter, on a plain network."""
    engines.need("learn2learn")
    import learn2learn

    net = seeded(lambda: nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 4)).double())
    problem, shared, initial = from_module(net)
    meta = learn2learn.algorithms.MetaSGD(net, lr=0.3)
    episodes = random_episodes(gen, 3, 2, 3, (5,), (4,))
    for sx, sy, qx, qy in zip(*episodes, strict=True):
        clone = meta.clone()
        for _ in range(steps):
            clone.adapt(F.mse_loss(clone(sx), sy))
        (F.mse_loss(clone(qx), qy) / 3).backward()
    for engine in ("torch", "learn2learn"):
        learner = Learner(problem, SGD(steps, rate=0.3, learn="per_parameter"), engine=engine)
        gradient = learner.meta_gradient(learner.init(shared, initial), episodes).gradient
        assert_agree(gradient.leaves(), [p.grad for p in (*net.parameters(), *meta.lrs)], 1e-10)


class OtherSGD(SGD):
    """Might step in any way."""


@pytest.mark.parametrize("solver", [Ridge(), OtherSGD()])
@pytest.mark.parametrize("engine", engines.ENGINES)
def test_solvers_that_an_engine_cannot_run_are_refused(engine, solver):
    """Before the library is imported, so this needs none."""
    name = type(solver).__name__
    with pytest.raises(ConfigError, match=f"takes gradient steps only: give it an SGD. {name} runs on engine='torch'"):
        Learner(Problem(lambda params, x: x), solver, engine=engine)


@pytest.mark.parametrize(
    ("how", "option"), [({"batching": "vmap"}, "batching='vmap'"), ({"trace": True}, "trace=True")]
)
def test_only_ours_runs_tasks_side_by_side_or_from_a_record(backend, how, option):
    with pytest.raises(ConfigError, match=f"engine '{backend}' can only run tasks in a loop, unrecorded; got {option}"):
        Learner(Problem(lambda params, x: x), SGD(), engine=backend, **how)


def test_an_engine_that_does_not_exist_is_refused():
    with pytest.raises(ConfigError, match="one of torch, higher, learn2learn; got 'jax'"):
        Learner(Problem(lambda params, x: x), SGD(), engine="jax", batching="vmap")


def test_auto_batching_is_a_loop(backend, gen):
    ours, params, episodes = case(linear, SGD(), gen)
    learner = theirs(ours, backend, batching="auto")
    assert learner.batching == "loop"
    assert learner.choose_batching(params, episodes) == learner.batching == "loop"


@pytest.fixture(params=engines.ENGINES)
def reloaded(request):
    """An engine's name; its library and its adapter are to be imported again, and are back after the test."""

    def loaded():
        names = [n for n in sys.modules if n.split(".")[0] == request.param]
        return [*names, *({f"msr.meta.engines.{request.param}"} & sys.modules.keys())]

    before = {name: sys.modules.pop(name) for name in loaded()}
    yield request.param
    for name in loaded():  # what a test put in the library's place, where it is not installed too
        del sys.modules[name]
    sys.modules.update(before)


INSTALL = {"higher": r"pip install 'msr\[higher\]'", "learn2learn": r"\.ci/install-learn2learn"}


def test_a_missing_library_says_how_to_install_it(reloaded, monkeypatch):
    monkeypatch.setitem(sys.modules, reloaded, None)  # what an import then finds is nothing
    problem = Problem(lambda params, x: x)
    with pytest.raises(MissingExtraError, match=f"{reloaded}, which is not installed. Try: {INSTALL[reloaded]}"):
        Learner(problem, SGD(), engine=reloaded)
    Learner(problem, SGD(), engine="torch")  # needs neither


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise RuntimeError('operator torchvision::nms does not exist')", "RuntimeError: operator torchvision::nms"),
        ("import a_package_it_needs", "ModuleNotFoundError: No module named 'a_package_it_needs'"),
        ("raise ValueError", "(ValueError)"),
        ("version = 3", "Error: "),  # another library, or another version, under the same name
    ],
    ids=["operator", "dependency", "silent", "other"],
)
def test_a_broken_library_says_what_failed_and_how_to_install_it(reloaded, source, reason, tmp_path, monkeypatch):
    (tmp_path / f"{reloaded}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtraError) as caught:
        Learner(Problem(lambda params, x: x), SGD(), engine=reloaded)
    message = str(caught.value)
    assert "is installed but does not import" in message
    assert reason in message
    assert INSTALL[reloaded].replace("\\", "") in message
    assert caught.value.__cause__ is not None


def test_libraries_are_imported_on_use_only():
    """Nor is torch's compiler, which takes as long as the package."""
    libraries = {"higher", "learn2learn", "torch._dynamo"}
    code = f"import sys, msr.meta, experiments.translation; print({libraries} & {{*sys.modules}})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


def test_an_absent_engine_skips_unless_it_is_required(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.delenv("MSR_REQUIRE_ENGINES", raising=False)
    outcomes = (pytest.skip.Exception, pytest.fail.Exception)  # both are caught: a stray skip would hide this test
    with pytest.raises(outcomes, match="higher is not installed") as absent:
        engines.need("higher")
    monkeypatch.setenv("MSR_REQUIRE_ENGINES", "learn2learn,higher")
    with pytest.raises(outcomes, match="higher is not installed") as required:
        engines.need("higher")
    assert (absent.type, required.type) == outcomes


def test_the_names_of_the_engines_are_one_list():
    assert get_args(Engine) == ("torch", *engines.ENGINES)


def test_the_translation_runner_gives_the_same_numbers(backend, tmp_path, capsys, monkeypatch):
    """MTSR's joint fit is a closed form and stays ours; its adaptation is the engine's."""
    monkeypatch.setattr(translation, "draw", lambda *figures: None)
    errors = []
    flags = ["--inner", "sgd", "--models", "msr,mtsr", "--length", "12", "--rank", "1", "--outer-steps", "4"]
    flags += ["--batch", "4", "--test-tasks", "5"]
    for engine in ("torch", backend):
        out = tmp_path / engine
        assert main(translation.Config, translation.run, [*flags, "--engine", engine, "--out", str(out)]) == 0
        rows = json.loads((out / "results.json").read_text())["rows"]
        errors.append([row["query_mse"]["mean"] for row in rows])
        assert engine == "torch" or {row["batching"] for row in rows} == {"loop"}
    assert errors[1] == pytest.approx(errors[0], rel=1e-4)


def test_the_omniglot_runner_takes_an_engine(backend, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(omniglot, "draw", lambda *figures: None)
    learners = []
    monkeypatch.setattr(few_shot, "Learner", lambda *a, **how: learners.append(Learner(*a, **how)) or learners[-1])
    flags = [
        "--quick",
        "--ways",
        "2",
        "--width",
        "4",
        "--models",
        "msr",
        "--engine",
        backend,
        "--out",
        str(tmp_path / "run"),
    ]
    assert main(omniglot.Config, omniglot.run, flags) == 0
    assert json.loads((tmp_path / "run" / "results.json").read_text())["config"]["engine"] == backend
    assert [learner.engine for learner in learners] == [backend]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--engine", "jax"], "--engine must be torch, higher or learn2learn; got 'jax'"),
        (["--engine", "higher"], "--engine higher takes gradient steps only; give --inner sgd"),
        (["--engine", "higher", "--inner", "direct"], "--engine higher takes gradient steps only; give --inner sgd"),
        (["--engine", "higher", "--inner", "sgd,direct"], "--engine higher takes gradient steps only"),
        (["--engine", "higher", "--inner", "sgd", "--batching", "vmap"], "--batching vmap needs --engine torch"),
    ],
)
def test_a_runners_bad_engine_is_one_line(flags, message, tmp_path, capsys):
    engines.need("higher")
    assert main(translation.Config, translation.run, [*flags, "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
