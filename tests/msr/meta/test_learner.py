"""The engine: meta-gradients against finite differences and a slow, obvious loop; batching; batch norm."""

import gc
import warnings
import weakref
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from msr.errors import ConfigError, ModelError, NonFiniteError
from msr.layers import ReparamConv2d, ReparamLinear
from msr.meta import (
    SGD,
    GaussNewton,
    Learner,
    MetaParameters,
    OuterLoop,
    Problem,
    Ridge,
    evaluate,
    from_module,
    load_params,
)
from msr.sharing import DenseSharing, KroneckerSharing
from tests.support.cases import finite_differences, random_episodes, randomize, seeded

SOLVERS = {
    "sgd-1": SGD(1, rate=0.3),
    "sgd-3": SGD(3, rate=0.2),
    "sgd-per-parameter": SGD(2, rate=0.2, learn="per_parameter"),
    "sgd-log": SGD(2, rate=0.2, scale="log"),
    "sgd-fixed": SGD(2, rate=0.2, learn="fixed"),
    "ridge-primal": Ridge(0.05, system="primal"),
    "ridge-dual": Ridge(0.05, system="dual"),
    "ridge-fixed": Ridge(0.05, learn=False),
}


def linear_problem(gen):
    layer = ReparamLinear(5, 4, dtype=torch.float64, sharing=partial(DenseSharing, k=3), generator=gen)
    return from_module(randomize(layer, gen))


def conv_problem(gen):
    """Two convolutions with batch norm between, Kronecker patterns, a classifier: what few-shot networks are."""
    conv = partial(ReparamConv2d, sharing=KroneckerSharing, generator=gen, dtype=torch.float64)
    head = seeded(lambda: nn.Linear(4, 3, dtype=torch.float64))
    norm = nn.BatchNorm2d(3, dtype=torch.float64)
    net = nn.Sequential(conv(1, 3, 3), norm, nn.Tanh(), conv(3, 4, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    return from_module(randomize(net, gen), F.cross_entropy)


def image_episodes(gen, tasks=3):
    e = random_episodes(gen, tasks, 3, 6, (1, 5, 5), ())
    labels = [torch.randint(3, (tasks, n), generator=gen) for n in (3, 6)]
    return e._replace(support_y=labels[0], query_y=labels[1])


def slow_meta_gradient(learner, params, episodes):
    """One task after another, one backward pass for the sum: nothing batched, nothing chunked."""
    leaves = [p.detach().requires_grad_() for p in params.leaves()]
    tracked = params.with_leaves(leaves)
    total = 0
    for sx, sy, qx, qy in zip(*episodes, strict=True):
        adapted = dict(tracked.initial)
        if isinstance(learner.solver, SGD):
            for _ in range(learner.solver.steps):
                loss = learner.problem.loss({**tracked.shared, **adapted}, sx, sy)
                names = list(adapted)
                slopes = torch.autograd.grad(loss, [adapted[n] for n in names], create_graph=True)
                rate = {n: tracked.inner.get(f"rate.{n}", learner.solver.rate) for n in names}
                if learner.solver.scale == "log":
                    rate = {n: tracked.inner[f"log_rate.{n}"].exp() for n in names}
                adapted = {n: adapted[n] - rate[n] * s for n, s in zip(names, slopes, strict=True)}
        else:
            adapted = learner.solver.adapt(learner.problem, tracked, sx, sy, training=True)
        total = total + learner.problem.loss({**tracked.shared, **adapted}, qx, qy)
    return torch.autograd.grad(total / len(episodes.support_x), leaves, allow_unused=True)


@pytest.mark.parametrize("batching", ["vmap", "loop"])
@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
def test_meta_gradient_equals_finite_differences_and_a_slow_loop(solver, batching, gen):
    problem, shared, initial = linear_problem(gen)
    learner = Learner(problem, solver, batching=batching)
    params = learner.init(shared, initial)
    episodes = random_episodes(gen, 4, 2, 3, (5,), (4,))
    losses, gradient = learner.meta_gradient(params, episodes)
    assert losses.shape == (4,)
    torch.testing.assert_close(gradient.leaves(), finite_differences(learner, params, episodes), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(gradient.leaves(), list(slow_meta_gradient(learner, params, episodes)))
    assert all(float(slope.abs().max()) > 1e-6 for slope in gradient.leaves())  # nothing compares zeros


def test_conv_meta_gradient_equals_finite_differences_and_a_slow_loop(gen):
    problem, shared, initial = conv_problem(gen)
    learner = Learner(problem, SGD(2, rate=0.3), batching="vmap")
    params = learner.init(shared, initial)
    episodes = image_episodes(gen)
    gradient = learner.meta_gradient(params, episodes).gradient
    torch.testing.assert_close(gradient.leaves(), list(slow_meta_gradient(learner, params, episodes)))
    torch.testing.assert_close(gradient.leaves(), finite_differences(learner, params, episodes), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("chunk_size", [1, 2, 3, None])
@pytest.mark.parametrize("make", [linear_problem, conv_problem])
def test_batching_and_chunks_do_not_change_the_gradient(make, chunk_size, gen):
    problem, shared, initial = make(gen)
    episodes = random_episodes(gen, 5, 2, 3, (5,), (4,)) if make is linear_problem else image_episodes(gen, 5)
    ways = [
        Learner(problem, SGD(2), batching="loop"),
        Learner(problem, SGD(2), batching="vmap", chunk_size=chunk_size),
    ]
    params = ways[0].init(shared, initial)
    (loop_losses, loop), (losses, gradient) = (way.meta_gradient(params, episodes) for way in ways)
    torch.testing.assert_close(losses, loop_losses, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(gradient.leaves(), loop.leaves(), rtol=1e-6, atol=1e-9)
    adapted = [way.adapt(params, episodes.support_x, episodes.support_y) for way in ways]
    torch.testing.assert_close(adapted[1], adapted[0])


REPLAYED = SOLVERS | {"first-order": SGD(2, first_order=True)}
# How rates are learned, and how many steps there are, is no matter of the layer. Nor is it a matter of the rates which
# shapes a record serves: one solver of each class sees several. Each record takes half a second.
SEVERAL = ("sgd-per-parameter", "first-order")
REPLAYS = [
    pytest.param(make, solver, name in SEVERAL or isinstance(solver, Ridge), id=f"{name}-{make.__name__}")
    for name, solver in REPLAYED.items()
    for make in (linear_problem, conv_problem)
    if make is linear_problem or name not in ("sgd-1", "sgd-3", "sgd-log", "sgd-fixed")
]


@pytest.mark.parametrize(("make", "solver", "several_shapes"), REPLAYS)
def test_replaying_a_trace_does_not_change_the_gradient(make, solver, several_shapes, gen):
    if make is conv_problem and isinstance(solver, Ridge):
        pytest.skip("not affine")
    problem, shared, initial = make(gen)
    plain = Learner(problem, solver, batching="vmap")
    traced = Learner(problem, solver, batching="vmap", trace=True, chunk_size=2 if several_shapes else None)
    params = plain.init(shared, initial)
    for n in (3, 4, 3) if several_shapes else (3, 3):  # other values, other shapes, the first shapes again
        e = random_episodes(gen, n, 2, 3, (5,), (4,)) if make is linear_problem else image_episodes(gen, n)
        (a_losses, a), (b_losses, b) = (way.meta_gradient(params, e) for way in (plain, traced))
        torch.testing.assert_close(b_losses, a_losses)
        torch.testing.assert_close(b.leaves(), a.leaves())
        params = params.with_leaves([p - 0.1 * s for p, s in zip(params.leaves(), a.leaves(), strict=True)])
    # Of 3 tasks: chunks of 2 and 1; of 4 tasks: chunks of 2.
    assert len(traced._records.entries) == (3 if several_shapes else 1)


def test_traces_follow_layout_solver_and_the_envelope(gen):
    """Strided batches, another solver on the same learner, and first-order ridge: none may replay a wrong record."""
    problem, shared, initial = linear_problem(gen)
    plain, traced = (Learner(problem, SGD(1), batching="vmap", trace=trace) for trace in (False, True))
    params = plain.init(shared, initial)
    e = random_episodes(gen, 4, 3, 3, (5,), (4,))
    strided = type(e)(*(part.transpose(0, 1).contiguous().transpose(0, 1) for part in e))
    envelope = Ridge(1e-3, learn=False, first_order=True)
    for solver, batch in ((SGD(1), e), (SGD(1), strided), (SGD(3), e), (envelope, e), (envelope, strided)):
        plain.solver = traced.solver = solver
        a, b = (way.meta_gradient(params, batch).gradient.leaves() for way in (plain, traced))
        torch.testing.assert_close(b, a)


def test_unmeasured_auto_batching_runs_what_vmap_cannot(gen):
    problem, shared, initial = linear_problem(gen)

    def branching(params, x):
        y = problem.predict(params, x)
        return y if float(x.detach().sum()) > -1e9 else -y

    learner = Learner(type(problem)(branching), SGD(1, first_order=True))
    params = learner.init(shared, initial)
    e = random_episodes(gen, 2, 2, 3, (5,), (4,))
    want = Learner(problem, SGD(1), batching="loop").losses(params, e)
    torch.testing.assert_close(learner.losses(params, e), want)


def test_what_looks_at_values_cannot_be_traced(gen):
    problem, shared, initial = linear_problem(gen)

    def branching(params, x):
        y = problem.predict(params, x)
        return y if x.sum() > 0 else -y

    learner = Learner(type(problem)(branching), SGD(1), batching="vmap", trace=True)
    with pytest.raises(ModelError, match=r"cannot be traced.*trace=False"):
        learner.meta_gradient(learner.init(shared, initial), random_episodes(gen, 2, 2, 3, (5,), (4,)))


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("batching", ["loop", "auto"])
def test_automatic_tracing_runs_other_problems_unrecorded_with_a_warning(batching, workers, gen):
    problem, shared, initial = linear_problem(gen)

    def branching(params, x):
        y = problem.predict(params, x)
        return y if x.sum() > 0 else -y

    e = random_episodes(gen, 3, 2, 3, (5,), (4,))
    plain = Learner(type(problem)(branching), SGD(1), batching="loop")
    params = plain.init(shared, initial)
    want = plain.meta_gradient(params, e)
    learner = Learner(plain.problem, SGD(1), batching=batching, trace="auto", workers=workers)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")  # with "auto" there is another, that vmap cannot run this
        got = learner.meta_gradient(params, e)
        again = learner.meta_gradient(params, e)
    unrecorded = [str(warning.message) for warning in said if "unrecorded" in str(warning.message)]
    assert len(unrecorded) == 1
    assert unrecorded[0].startswith("steps run unrecorded, and slower: this problem cannot be traced (")
    assert "trace=False" not in unrecorded[0]
    torch.testing.assert_close(got.gradient.leaves(), want.gradient.leaves())
    torch.testing.assert_close(again.losses, want.losses)
    assert learner.trace is False


def test_automatic_tracing_records_what_can_be_recorded(gen):
    problem, shared, initial = linear_problem(gen)
    learner = Learner(problem, SGD(1), batching="vmap", trace="auto")
    learner.meta_gradient(learner.init(shared, initial), random_episodes(gen, 2, 2, 3, (5,), (4,)))
    assert len(learner._records.entries) == 1
    with pytest.raises(ConfigError, match="trace must be True, False or 'auto'; got 'always'"):
        Learner(problem, SGD(1), trace="always")


def test_meta_gradient_works_under_no_grad(gen):
    problem, shared, initial = linear_problem(gen)
    e = random_episodes(gen, 2, 2, 3, (5,), (4,))
    for batching in ("vmap", "loop"):
        learner = Learner(problem, SGD(1), batching=batching)
        params = learner.init(shared, initial)
        with torch.no_grad():
            inside = learner.meta_gradient(params, e).gradient.leaves()
        torch.testing.assert_close(inside, learner.meta_gradient(params, e).gradient.leaves())


def test_chunks_bound_what_is_in_memory(gen, monkeypatch):
    """A chunk holds no more tasks than asked for, and its losses are gone before the next ones are made."""
    problem, shared, initial = linear_problem(gen)
    learner = Learner(problem, SGD(1), batching="vmap", chunk_size=3)
    params, earlier, sizes = learner.init(shared, initial), [], []
    original = learner._chunk_losses

    def watched(params, chunk, *how, **more):
        gc.collect()
        assert all(losses() is None for losses in earlier)  # a live loss keeps its graph alive
        losses = original(params, chunk, *how, **more)
        earlier.append(weakref.ref(losses))
        sizes.append(len(chunk[0]))
        return losses

    monkeypatch.setattr(learner, "_chunk_losses", watched)
    learner.meta_gradient(params, random_episodes(gen, 8, 2, 3, (5,), (4,)))
    assert sizes == [3, 3, 2]


def test_first_order_stops_the_gradient_at_the_inner_slope(gen):
    problem, shared, initial = linear_problem(gen)
    episodes = random_episodes(gen, 3, 2, 3, (5,), (4,))
    second, first = (Learner(problem, SGD(1, rate=0.3, first_order=order), batching="vmap") for order in (False, True))
    params = second.init(shared, initial)
    grad_first, grad_second = (way.meta_gradient(params, episodes).gradient for way in (first, second))
    # With one step and slopes held constant, d loss / d v0 is the query gradient at the adapted point.
    adapted = first.adapt(params, episodes.support_x, episodes.support_y, training=True)
    slopes = [
        torch.func.grad(
            lambda v, i=i: problem.loss(
                {**params.shared, "v": v, "bias": adapted["bias"][i]},
                episodes.query_x[i],
                episodes.query_y[i],
            )
        )(adapted["v"][i])
        for i in range(3)
    ]
    torch.testing.assert_close(grad_first.initial["v"], torch.stack(slopes).mean(0))
    assert not torch.allclose(grad_first.initial["v"], grad_second.initial["v"])
    torch.testing.assert_close(first.losses(params, episodes), second.losses(params, episodes))


def test_envelope_ridge_on_merged_sets_is_the_joint_gradient(gen):
    """First-order ridge with query = support and λ → 0: the gradient of min_v of the loss (how MTSR is trained)."""
    problem, shared, initial = linear_problem(gen)
    e = random_episodes(gen, 3, 6, 1, (5,), (4,))
    e = e._replace(query_x=e.support_x, query_y=e.support_y)
    exact, envelope = (
        Learner(problem, Ridge(1e-12, learn=False, first_order=order), batching="vmap") for order in (False, True)
    )
    params = exact.init(shared, initial)
    a, b = (way.meta_gradient(params, e).gradient.shared["sharing.U"] for way in (exact, envelope))
    torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)
    assert a.abs().max() > 1e-3


def test_first_order_ridge_holds_the_solution_constant(gen):
    """On a query set of its own, where the envelope theorem says nothing: the pattern's slope at a fixed ``v``."""
    problem, shared, initial = linear_problem(gen)
    e = random_episodes(gen, 3, 2, 3, (5,), (4,))
    exact, held = (Learner(problem, Ridge(0.05, first_order=order), batching="vmap") for order in (False, True))
    params = held.init(shared, initial)
    adapted = held.adapt(params, e.support_x, e.support_y)

    def query_loss(U):
        losses = [
            problem.loss({"sharing.U": U, **{n: t[i] for n, t in adapted.items()}}, e.query_x[i], e.query_y[i])
            for i in range(3)
        ]
        return torch.stack(losses).mean()

    got = held.meta_gradient(params, e).gradient
    torch.testing.assert_close(got.shared["sharing.U"], torch.func.grad(query_loss)(shared["sharing.U"]))
    assert not torch.allclose(got.shared["sharing.U"], exact.meta_gradient(params, e).gradient.shared["sharing.U"])
    assert all(float(slope.abs().max()) == 0 for slope in (*got.initial.values(), *got.inner.values()))


def test_auto_batching_measures_and_keeps_the_faster(gen, monkeypatch):
    problem, shared, initial = linear_problem(gen)
    episodes = random_episodes(gen, 3, 2, 3, (5,), (4,))
    clock = {"now": 0.0, "cost": {"vmap": 5.0, "loop": 1.0}}
    learner = Learner(problem, SGD(1))
    original = learner._meta_gradient

    def timed(params, episodes):
        clock["now"] += clock["cost"][learner.batching]
        return original(params, episodes)

    monkeypatch.setattr("msr.meta.batching.time.perf_counter", lambda: clock["now"])
    monkeypatch.setattr(learner, "_meta_gradient", timed)
    params = learner.init(shared, initial)
    assert learner.choose_batching(params, episodes) == "loop"
    clock["cost"] = {"vmap": 1.0, "loop": 5.0}
    assert learner.choose_batching(params, episodes) == "vmap"
    fresh = Learner(problem, SGD(1))
    fresh.meta_gradient(params, episodes)
    assert fresh.batching in ("vmap", "loop")


def test_auto_batching_falls_back_to_a_loop_with_a_warning(gen):
    problem, shared, initial = linear_problem(gen)

    def branching(params, x):  # looks at a value, which vmap cannot
        y = problem.predict(params, x)
        return y if float(x.detach().sum()) > -1e9 else -y

    learner = Learner(type(problem)(branching), SGD(1, first_order=True))
    params = learner.init(shared, initial)
    with pytest.warns(UserWarning, match="vmap cannot run this problem"):
        learner.meta_gradient(params, random_episodes(gen, 2, 2, 3, (5,), (4,)))
    assert learner.batching == "loop"


def test_inner_loop_leaves_the_pattern_alone(gen):
    problem, shared, initial = linear_problem(gen)
    before = {n: t.clone() for n, t in shared.items()}
    learner = Learner(problem, SGD(3), batching="vmap")
    params = learner.init(shared, initial)
    adapted = learner.adapt(params, *random_episodes(gen, 2, 2, 3, (5,), (4,))[:2])
    assert set(adapted) == {"v", "bias"}
    torch.testing.assert_close(params.shared, before, rtol=0, atol=0)


def test_batch_norm_uses_the_set_it_sees_and_nothing_leaks(gen):
    norm = nn.BatchNorm1d(4, dtype=torch.float64)
    net = nn.Sequential(ReparamLinear(5, 4, dtype=torch.float64, generator=gen), norm).eval()
    before = {n: t.clone() for n, t in net.state_dict().items()}
    problem, shared, initial = from_module(net)
    learner = Learner(problem, SGD(1), batching="vmap")
    params = learner.init(shared, initial)
    episodes = random_episodes(gen, 3, 4, 6, (5,), (4,))
    prediction = problem.predict({**shared, **initial}, episodes.query_x[0])
    h = net[0](episodes.query_x[0])
    expected = (h - h.mean(0)) / (h.var(0, unbiased=False) + 1e-5).sqrt()  # of the query set itself
    torch.testing.assert_close(prediction, expected)
    alone = learner.losses(params, episodes.select(slice(2, 3)))
    learner.meta_gradient(params, episodes)
    torch.testing.assert_close(learner.losses(params, episodes)[2:], alone)  # whichever tasks were run before
    torch.testing.assert_close(net.state_dict(), before, rtol=0, atol=0)


def test_a_batch_norm_used_twice_is_replaced_at_both_places(gen):
    norm = nn.BatchNorm1d(5, dtype=torch.float64)
    net = nn.Sequential(ReparamLinear(5, 5, dtype=torch.float64, generator=gen), norm, nn.Tanh(), norm).eval()
    problem, shared, initial = from_module(net)
    learner = Learner(problem, SGD(1), batching="vmap")
    learner.meta_gradient(learner.init(shared, initial), random_episodes(gen, 2, 3, 3, (5,), (5,)))
    y = problem.predict({**shared, **initial}, torch.randn(6, 5, generator=gen, dtype=torch.float64))
    torch.testing.assert_close(y.mean(0), torch.zeros(5, dtype=torch.float64), atol=1e-9, rtol=0)


def test_evaluate_reports_an_interval_over_tasks(gen):
    problem, shared, initial = linear_problem(gen)
    learner = Learner(problem, SGD(1), batching="vmap")
    params = learner.init(shared, initial)
    e = random_episodes(gen, 10, 2, 3, (5,), (4,))
    whole = evaluate(learner, params, [e])
    parts = evaluate(learner, params, [e.select(slice(0, 4)), e.select(slice(4, 10))])
    losses = learner.losses(params, e).detach()
    assert (whole.mean, whole.n) == (pytest.approx(float(losses.mean())), 10)
    assert parts.mean == pytest.approx(whole.mean)
    assert parts.ci95 == pytest.approx(2.2622 * float(losses.std()) / 10**0.5, rel=1e-4)
    e.query_y[7] = float("nan")
    with pytest.raises(NonFiniteError, match="tasks 7 of 10"):
        evaluate(learner, params, [e])


def test_metric_replaces_the_criterion(gen):
    problem, shared, initial = linear_problem(gen)
    learner = Learner(problem, SGD(1), batching="vmap")
    e = random_episodes(gen, 3, 2, 3, (5,), (4,))
    worst = evaluate(learner, learner.init(shared, initial), [e], metric=lambda p, y: (p - y).abs().max())
    assert worst.mean > evaluate(learner, learner.init(shared, initial), [e]).mean


def test_load_params_gives_a_tasks_network(gen):
    layer = randomize(ReparamLinear(5, 4, dtype=torch.float64, generator=gen), gen)
    problem, shared, initial = from_module(layer)
    learner = Learner(problem, SGD(2), batching="vmap")
    params = learner.init(shared, initial)
    e = random_episodes(gen, 2, 2, 3, (5,), (4,))
    adapted = learner.adapt(params, e.support_x, e.support_y)
    task = {n: t[1] for n, t in adapted.items()}
    load_params(layer, params.shared, task)
    torch.testing.assert_close(layer(e.query_x[1]), problem.predict({**params.shared, **task}, e.query_x[1]))
    with pytest.raises(ConfigError, match="no parameter 'w'"):
        load_params(layer, {"w": torch.ones(1)})


def test_leaves_round_trip():
    params = MetaParameters({"a": torch.ones(1)}, {"b": torch.zeros(2)}, {})
    again = params.with_leaves([p + 1 for p in params.leaves()])
    assert list(again.shared) == ["a"]
    torch.testing.assert_close(again.initial["b"], torch.ones(2))


@pytest.mark.parametrize("bad", [{"batching": "fast"}, {"chunk_size": 0}])
def test_bad_learner_settings(bad, gen):
    with pytest.raises(ConfigError, match="; got"):
        Learner(linear_problem(gen).problem, SGD(), **bad)


def summed_problem():
    """Two leaves whose gradients are one and the same tensor."""
    return Problem(lambda p, x: x @ (p["a"] + p["b"]))


@pytest.mark.parametrize("solver", [SGD(0), SGD(1, first_order=True), SGD(2)])
@pytest.mark.parametrize(
    "how", [{"batching": "loop"}, {"batching": "vmap", "chunk_size": 2}, {"batching": "loop", "trace": True}]
)
def test_leaves_that_are_summed_do_not_share_a_gradient(how, solver, gen):
    initial = {name: torch.randn(3, 2, generator=gen, dtype=torch.float64) for name in ("a", "b")}
    episodes = random_episodes(gen, 5, 2, 3, (3,), (2,))
    whole = Learner(summed_problem(), solver, batching="vmap")
    params = whole.init({}, initial)
    right = whole.meta_gradient(params, episodes).gradient
    got = Learner(summed_problem(), solver, **how).meta_gradient(params, episodes).gradient
    torch.testing.assert_close(got.leaves(), right.leaves())
    loop = OuterLoop(whole, params, partial(torch.optim.SGD, lr=1.0), clip_norm=0.1)
    before = [leaf.clone() for leaf in loop.params.leaves()]
    loop.step(episodes)
    moved = torch.cat([(a - b).flatten() for a, b in zip(loop.params.leaves(), before, strict=True)])
    assert float(moved.norm()) == pytest.approx(0.1)


@pytest.mark.parametrize(
    "solver", [SGD(2, rate=0.1), GaussNewton(2, system="dense"), GaussNewton(2, system="cg", cg_steps=20)]
)
def test_batch_norm_has_the_same_derivatives_in_a_loop(solver, gen):
    """Forward-mode derivatives too, which torch's fused batch norm has wrong."""
    net = seeded(
        lambda: nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Tanh(), nn.Flatten(), nn.Linear(12, 2)).double()
    )
    problem, shared, initial = from_module(randomize(net, gen), shared=lambda name: name.startswith("4"))
    episodes = random_episodes(gen, 3, 4, 4, (1, 4, 4), (2,))
    gradients = []
    ways = [{"batching": "vmap"}, {"batching": "loop"}]
    if isinstance(solver, SGD):  # recording conjugate gradients takes minutes
        ways.append({"batching": "loop", "trace": True})
    for how in ways:
        learner = Learner(problem, solver, **how)
        gradients.append(learner.meta_gradient(learner.init(shared, initial), episodes).gradient.leaves())
    for other in gradients[1:]:
        torch.testing.assert_close(other, gradients[0], rtol=1e-6, atol=1e-8)


def test_a_record_knows_its_precision(gen):
    problem, shared, initial = from_module(seeded(lambda: nn.Linear(5, 4)))
    episodes = random_episodes(gen, 3, 2, 2, (5,), (4,), dtype=torch.float32)
    traced, plain = (Learner(problem, SGD(1), batching="vmap", trace=trace) for trace in (True, False))
    params = plain.init(shared, initial)
    with torch.autocast("cpu", torch.bfloat16):
        traced.meta_gradient(params, episodes)
    torch.testing.assert_close(
        traced.meta_gradient(params, episodes).losses, plain.meta_gradient(params, episodes).losses
    )


def test_workers_need_records():
    with pytest.raises(ConfigError, match="needs trace=True"):
        Learner(summed_problem(), SGD(1), workers=2)


@pytest.mark.parametrize("batching", ["vmap", "loop"])
def test_inference_mode_changes_no_number(batching, gen):
    """Neither around the calls nor where the tasks and parameters were made."""
    problem, shared, initial = linear_problem(gen)
    learner = Learner(problem, SGD(2, rate=0.3), batching=batching)
    params, episodes = learner.init(shared, initial), random_episodes(gen, 3, 2, 3, (5,), (4,))
    losses, gradient = learner.losses(params, episodes), learner.meta_gradient(params, episodes)
    adapted = learner.adapt(params, episodes.support_x, episodes.support_y)
    with torch.inference_mode():
        made = params.with_leaves([p.clone() for p in params.leaves()])
        copied = episodes._replace(support_x=episodes.support_x.clone(), query_y=episodes.query_y.clone())
        assert copied.support_x.is_inference()
        for p, e in ((params, episodes), (made, copied)):
            torch.testing.assert_close(learner.losses(p, e), losses, rtol=0, atol=0)
            torch.testing.assert_close(learner.adapt(p, e.support_x, e.support_y), adapted, rtol=0, atol=0)
            again = learner.meta_gradient(p, e)
            torch.testing.assert_close(again.gradient.leaves(), gradient.gradient.leaves(), rtol=0, atol=0)
            assert not any(t.requires_grad or t.is_inference() for t in again.gradient.leaves())
        assert evaluate(learner, made, [copied]).mean == pytest.approx(float(losses.mean()), rel=1e-15)
