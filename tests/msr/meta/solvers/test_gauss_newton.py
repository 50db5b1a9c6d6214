"""Gauss-Newton on one task and through the engine: against Ridge, finite differences, and itself solved another way."""

import math
from functools import partial
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.inner_memory import SOLVERS, peak_bytes
from msr.errors import ConfigError, ModelError, ShapeError
from msr.layers import ReparamLinear
from msr.meta import GaussNewton, Learner, MetaParameters, Problem, Ridge, from_module
from msr.meta.solvers.implicit import conjugate_gradient, implicit_minimum
from msr.sharing import DenseSharing
from tests.msr.meta.solvers.test_gradient_steps_and_ridge import linear_task
from tests.support.cases import finite_differences, random_episodes, randomize, seeded

# Twelve steps reach the minimum of the problem below; three are on their way.
CONVERGED = {"steps": 12, "penalty": 0.1, "damping": 1e-2}
WAYS = {
    "unrolled-dense": GaussNewton(2, penalty=0.1, damping=1.0, system="dense"),
    "unrolled-cg": GaussNewton(2, penalty=0.1, damping=1.0, system="cg"),
    "unrolled-fixed": GaussNewton(3, penalty=0.1, learn=False),
    "unrolled-undamped": GaussNewton(2, penalty=0.5, damping=0.0),
    "implicit-dense": GaussNewton(**CONVERGED, gradient="implicit", system="dense"),
    "implicit-cg": GaussNewton(**CONVERGED, gradient="implicit", system="cg"),
}


def two_layers(gen, k=(3, 2), shots=3, tasks=3):
    """A network of two reparameterised layers, and tasks whose targets are near what it says, as after training."""
    linear = partial(ReparamLinear, dtype=torch.float64, generator=gen)
    first = linear(4, 3, sharing=partial(DenseSharing, k=k[0]))
    net = nn.Sequential(first, nn.Tanh(), linear(3, 2, bias=False, sharing=partial(DenseSharing, k=k[1])))
    problem, shared, initial = from_module(randomize(net, gen, 0.8))
    e = random_episodes(gen, tasks, shots, 4, (4,), (2,))
    near = [problem.predict({**shared, **initial}, x.flatten(0, 1)).detach() for x in (e.support_x, e.query_x)]
    y = [f.unflatten(0, (tasks, -1)) + 0.03 * y for f, y in zip(near, (e.support_y, e.query_y), strict=True)]
    return problem, shared, initial, e._replace(support_y=y[0], query_y=y[1])


def scalar(predict, start, target, **settings):
    """One number fitted to one target."""
    solver = GaussNewton(**{"penalty": 1e-9, "learn": False, **settings})
    problem = Problem(lambda params, x: predict(params["a"]) * x)
    params = MetaParameters({}, {"a": torch.tensor([start], dtype=torch.float64)}, {})
    one = torch.ones(1, dtype=torch.float64)
    return float(solver.adapt(problem, params, one, one * target, training=True)["a"])


@pytest.mark.parametrize("system", ["auto", "dense", "cg"])
@pytest.mark.parametrize("gradient", ["unrolled", "implicit"])
@pytest.mark.parametrize(("k", "shots"), [(3, 4), (12, 1), (7, 1)], ids=["tall", "wide", "square-ish"])
def test_one_undamped_step_on_an_affine_problem_is_ridge(k, shots, gradient, system, gen):
    problem, shared, initial, x, y = linear_task(gen, k=k, shots=shots)
    ridge = Ridge(penalty=0.03)
    gauss_newton = GaussNewton(1, penalty=0.03, damping=0.0, system=system, gradient=gradient)
    params = [Learner(problem, solver).init(shared, initial) for solver in (ridge, gauss_newton)]
    assert params[0].inner == params[1].inner
    want, got, again = (
        solver.adapt(problem, params[0], x, y, training=True)
        for solver in (ridge, gauss_newton, GaussNewton(4, penalty=0.03, damping=0.0, system=system))
    )
    exact = {} if system == "cg" else {"rtol": 0, "atol": 1e-14}
    torch.testing.assert_close(got, want, **exact)
    torch.testing.assert_close(again, want, rtol=1e-7, atol=1e-9)  # and there it stays


@pytest.mark.parametrize("system", ["dense", "cg"])
def test_it_ends_at_a_minimum_of_the_objective(system, gen):
    problem, shared, initial, e = two_layers(gen)
    solver = GaussNewton(**CONVERGED, system=system)
    params = Learner(problem, solver).init(shared, initial)
    for x, y in zip(e.support_x, e.support_y, strict=True):
        adapted = solver.adapt(problem, params, x, y, training=True)
        leaves = {name: v.detach().requires_grad_() for name, v in adapted.items()}
        away = sum((v - initial[name]).square().sum() for name, v in leaves.items())
        phi = F.mse_loss(problem.predict({**shared, **leaves}, x), y) + 0.1 * away
        assert all(float(g.abs().max()) < 1e-9 for g in torch.autograd.grad(phi, list(leaves.values())))
        assert phi < F.mse_loss(problem.predict({**shared, **initial}, x), y)


@pytest.mark.parametrize("way", WAYS)
def test_meta_gradient_equals_finite_differences(way, gen):
    """Each number of it, by central differences of the losses alone."""
    problem, shared, initial, e = two_layers(gen)
    learner = Learner(problem, WAYS[way], batching="vmap")
    params = learner.init(shared, initial)
    gradient = learner.meta_gradient(params, e).gradient
    learned = {"log_penalty", "log_damping"} if way in ("unrolled-dense", "unrolled-cg") else {"log_penalty"}
    assert gradient.inner.keys() == (set() if way == "unrolled-fixed" else learned)
    assert all(float(slope.abs().max()) > 1e-6 for slope in gradient.leaves())  # nothing compares zeros
    differences = finite_differences(learner, params, e, h=1e-5)
    torch.testing.assert_close(gradient.leaves(), differences, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("way", WAYS)
def test_vmap_equals_a_loop_over_tasks(way, gen):
    problem, shared, initial, e = two_layers(gen, tasks=3)
    sides = [Learner(problem, WAYS[way], batching="vmap", chunk_size=2), Learner(problem, WAYS[way], batching="loop")]
    params = sides[0].init(shared, initial)
    (a_losses, a), (b_losses, b) = (side.meta_gradient(params, e) for side in sides)
    torch.testing.assert_close(a_losses, b_losses, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(a.leaves(), b.leaves(), rtol=1e-7, atol=1e-9)
    adapted = [side.adapt(params, e.support_x, e.support_y) for side in sides]
    torch.testing.assert_close(*adapted, rtol=1e-8, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["unrolled-dense", "implicit-cg"])
def test_replaying_a_trace_does_not_change_the_gradient(way, gen):
    problem, shared, initial, e = two_layers(gen, k=(2, 1))
    few = {"steps": 2, "cg_steps": 2, "penalty": 0.1, "system": WAYS[way].system, "gradient": WAYS[way].gradient}
    plain, traced = (Learner(problem, GaussNewton(**few), batching="vmap", trace=trace) for trace in (False, True))
    params = plain.init(shared, initial)
    for _ in range(2):
        a, b = (learner.meta_gradient(params, e).gradient.leaves() for learner in (plain, traced))
        torch.testing.assert_close(b, a)
        params = params.with_leaves([p - 0.1 * s for p, s in zip(params.leaves(), a, strict=True)])


@pytest.mark.parametrize("batching", ["vmap", "loop"])
@pytest.mark.parametrize("system", ["dense", "cg"])
def test_implicit_is_unrolled_at_convergence(system, batching, gen):
    problem, shared, initial, e = two_layers(gen, tasks=2)
    ways = [
        Learner(problem, GaussNewton(**CONVERGED, gradient=how, system=system), batching=batching)
        for how in ("unrolled", "implicit")
    ]
    unrolled, implicit = (way.meta_gradient(way.init(shared, initial), e) for way in ways)
    torch.testing.assert_close(implicit.losses, unrolled.losses, rtol=1e-12, atol=0)
    for group, other in zip(implicit.gradient[:2], unrolled.gradient[:2], strict=True):
        torch.testing.assert_close(group, other, rtol=1e-7, atol=1e-9)
    penalties = (way.gradient.inner["log_penalty"] for way in (implicit, unrolled))
    torch.testing.assert_close(*penalties, rtol=1e-7, atol=1e-9)
    assert unrolled.gradient.inner["log_damping"].abs() < 1e-7  # the path no longer matters


@pytest.mark.parametrize("system", ["dense", "cg"])
def test_gauss_newton_curvature_is_exact_without_residuals_and_positive_elsewhere(system, gen):
    """Targets that the network can reach, and hardly a penalty: then both curvatures are one."""
    problem, shared, initial, e = two_layers(gen, shots=6)
    truth = {name: v + 0.1 * torch.randn(v.shape, generator=gen, dtype=v.dtype) for name, v in initial.items()}
    reached = e._replace(support_y=torch.stack([problem.predict({**shared, **truth}, x) for x in e.support_x]).detach())
    ways = [
        Learner(problem, GaussNewton(15, penalty=p, gradient="implicit", curvature=c, system=system), batching="vmap")
        for p, c in ((1e-8, "exact"), (1e-8, "gauss_newton"))
    ]
    exact, approximate = (way.meta_gradient(way.init(shared, initial), reached).gradient for way in ways)
    torch.testing.assert_close(approximate.leaves(), exact.leaves(), rtol=1e-3, atol=1e-5)
    far = reached._replace(support_y=-30 * reached.support_y)
    exact, approximate = (way.meta_gradient(way.init(shared, initial), far).gradient for way in ways)
    assert not torch.allclose(approximate.shared["0.sharing.U"], exact.shared["0.sharing.U"], rtol=1e-2)
    assert all(slope.isfinite().all() for slope in approximate.leaves())


@pytest.mark.parametrize(("k", "shots"), [((3, 2), 3), ((10, 6), 2)], ids=["tall", "wide"])
def test_conjugate_gradients_equal_the_dense_solve(k, shots, gen):
    problem, shared, initial, e = two_layers(gen, k=k, shots=shots)
    dense, cg = (Learner(problem, GaussNewton(4, penalty=0.05, system=s), batching="vmap") for s in ("dense", "cg"))
    params = dense.init(shared, initial)
    a, b = (way.meta_gradient(params, e) for way in (dense, cg))
    torch.testing.assert_close(b.losses, a.losses, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(b.gradient.leaves(), a.gradient.leaves(), rtol=1e-6, atol=1e-8)


def test_auto_is_dense_until_the_system_is_large(gen, monkeypatch):
    problem, shared, initial, e = two_layers(gen)
    params = Learner(problem, GaussNewton()).init(shared, initial)
    asked = []
    monkeypatch.setattr("msr.meta.solvers.gauss_newton.jacobian", lambda *args: asked.append(args) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        GaussNewton().adapt(problem, params, e.support_x[0], e.support_y[0], training=True)
    monkeypatch.setattr("msr.meta.solvers.gauss_newton.DENSE_UNKNOWNS", 5)
    GaussNewton().adapt(problem, params, e.support_x[0], e.support_y[0], training=True)
    assert len(asked) == 1


@pytest.mark.parametrize("system", ["dense", "cg"])
def test_damping_saves_what_full_steps_lose(system):
    """Plain Gauss-Newton on atan(a) = 0 runs away from every start beyond 1.39; with damping it arrives."""
    assert abs(scalar(torch.atan, 3.0, 0.0, steps=2, damping=0.0, system=system)) > 100
    assert scalar(torch.atan, 3.0, 0.0, steps=30, damping=1e-3, system=system) == pytest.approx(0, abs=1e-6)


def test_a_step_that_raises_the_objective_is_not_taken():
    heights = [abs(math.atan(scalar(torch.atan, 3.0, 0.0, steps=s, damping=1e-3))) for s in range(1, 12)]
    assert heights[0] == pytest.approx(math.atan(3.0))  # the first one runs away, so it stays
    assert all(b <= a for a, b in pairwise(heights))
    assert heights[-1] < 1e-3


def test_the_objective_never_grows_from_step_to_step():
    """A wavy function from many starts: each step is held against the one before, not against the first."""
    for start in torch.linspace(-4, 4, 17).tolist():
        found = [start, *(scalar(wavy, start, 0.7, steps=s, damping=1e-3) for s in range(1, 7))]
        heights = [abs(wavy(torch.tensor(a, dtype=torch.float64)) - 0.7) for a in found]
        assert all(b <= a + 1e-9 for a, b in pairwise(heights))


def wavy(a):
    return torch.sin(3 * a) + a / 2


def test_each_task_has_a_damping_of_its_own():
    """Under vmap an easy and a hard task: the easy one does not wait for the hard one's brakes."""
    problem = Problem(lambda params, x: torch.atan(params["a"]) * x)
    params = MetaParameters({}, {"a": torch.tensor([3.0], dtype=torch.float64)}, {})
    x, y = torch.ones(2, 1, dtype=torch.float64), torch.tensor([[0.0], [1.2]], dtype=torch.float64)
    solver = GaussNewton(6, penalty=1e-9, damping=1e-3, learn=False)
    sides = (Learner(problem, solver, batching=how).adapt(params, x, y)["a"] for how in ("vmap", "loop"))
    a, b = sides
    torch.testing.assert_close(a, b)
    assert abs(float(a[1]) - math.tan(1.2)) < 1e-6 < abs(float(a[0]))


def test_a_step_out_of_the_domain_is_not_taken():
    found = scalar(torch.log, 5.0, math.log(0.01), steps=40, damping=1e-3)  # the first step leads to log of −26
    assert found == pytest.approx(0.01, rel=1e-4)


def test_float32_converges_to_its_precision(gen):
    problem, shared, initial, e = two_layers(gen)
    fits = []
    for dtype in (torch.float64, torch.float32):
        groups = [{name: t.to(dtype) for name, t in group.items()} for group in (shared, initial)]
        learner = Learner(problem, GaussNewton(**CONVERGED), batching="vmap")
        fits.append(learner.adapt(learner.init(*groups), e.support_x.to(dtype), e.support_y.to(dtype)))
    torch.testing.assert_close({n: v.double() for n, v in fits[1].items()}, fits[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("system", ["dense", "cg"])
def test_implicit_gradient_is_finite_away_from_a_minimum(system, gen):
    """After one step of a hard problem the Hessian need not be positive; then nothing may blow up."""
    problem, shared, initial, e = two_layers(gen)
    far = e._replace(support_y=-30 * e.support_y)
    learner = Learner(problem, GaussNewton(1, penalty=1e-6, gradient="implicit", system=system), batching="vmap")
    gradient = learner.meta_gradient(learner.init(shared, initial), far).gradient
    assert all(slope.isfinite().all() and float(slope.abs().max()) < 1e6 for slope in gradient.leaves())


def test_implicit_minimum_of_a_saddle_takes_a_short_step():
    z = torch.zeros(2, dtype=torch.float64)
    shift = torch.ones(2, dtype=torch.float64)

    def saddle(z, shift):
        return (z[0] + shift[0]) ** 2 - (z[1] + shift[1]) ** 2

    own = {"curvature": lambda u, z, shift: saddle(u, shift)}
    dense = torch.func.jacrev(lambda s: implicit_minimum(saddle, z, [s], **own))(shift)
    torch.testing.assert_close(
        dense, torch.diag(torch.tensor([-2.0, 2.0]) / (8**0.5 + torch.tensor([2.0, -2.0]))).to(z)
    )
    by_cg = torch.func.grad(lambda s: implicit_minimum(saddle, z, [s], **own, cg_steps=2)[1])(shift)
    torch.testing.assert_close(by_cg, torch.zeros_like(by_cg))  # no positive curvature that way


def test_conjugate_gradient_solves_stands_still_and_survives_zero(gen):
    root = torch.randn(6, 6, generator=gen, dtype=torch.float64)
    A, b = root @ root.mT + torch.eye(6, dtype=torch.float64), torch.randn(6, generator=gen, dtype=torch.float64)
    want = torch.cholesky_solve(b[:, None], torch.linalg.cholesky(A))[:, 0]
    torch.testing.assert_close(conjugate_gradient(lambda p: A @ p, b, 6), want, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(conjugate_gradient(lambda p: A @ p, b, 60), want, rtol=1e-10, atol=1e-12)
    assert not torch.allclose(conjugate_gradient(lambda p: A @ p, b, 2), want, rtol=1e-2)
    assert conjugate_gradient(lambda p: A @ p, 0 * b, 3).abs().max() == 0
    assert conjugate_gradient(lambda p: -A @ p, b, 3).abs().max() == 0
    # In float32 the residual's square is 0 before the residual is; the step after that must not divide by it.
    small = conjugate_gradient(lambda p: 1e10 * A.float() @ p, 1e-15 * b.float(), 40)
    torch.testing.assert_close(small.double(), 1e-25 * want, rtol=1e-3, atol=1e-29)


def test_test_steps_differ_from_training_steps(gen):
    problem, shared, initial, e = two_layers(gen)
    params = Learner(problem, GaussNewton()).init(shared, initial)
    x, y = e.support_x[0], e.support_y[0]
    one, four = (GaussNewton(n).adapt(problem, params, x, y, training=True) for n in (1, 4))
    both = GaussNewton(1, test_steps=4)
    torch.testing.assert_close(both.adapt(problem, params, x, y, training=True), one)
    torch.testing.assert_close(both.adapt(problem, params, x, y, training=False), four)
    assert not torch.allclose(one["0.v"], four["0.v"])


def test_evaluation_costs_no_implicit_gradient(gen, monkeypatch):
    problem, shared, initial, e = two_layers(gen)
    learner = Learner(problem, GaussNewton(gradient="implicit"), batching="vmap")
    params = learner.init(shared, initial)
    with torch.no_grad():
        want = learner.losses(params, e)
        monkeypatch.setattr("msr.meta.solvers.gauss_newton.implicit_minimum", None)
        torch.testing.assert_close(learner.losses(params, e), want)


@pytest.mark.slow
def test_memory_does_not_grow_with_inner_steps_when_the_gradient_is_implicit():
    for name, solver in SOLVERS.items():
        implicit = getattr(solver, "gradient", "unrolled") == "implicit"
        few, many = (peak_bytes(name, steps, quick=True) for steps in ((2, 50) if implicit else (2, 10)))
        assert many == few if implicit else many > 3 * few, name


def test_learned_numbers(gen):
    initial = {"v": torch.zeros(3, dtype=torch.float64)}
    learned = GaussNewton(penalty=0.2, damping=0.3).init(initial)
    assert {name: float(t.exp()) for name, t in learned.items()} == {
        "log_penalty": pytest.approx(0.2),
        "log_damping": pytest.approx(0.3),
    }
    assert all(t.dtype == torch.float64 and t.shape == () for t in learned.values())
    assert GaussNewton(damping=0.0).init(initial).keys() == {"log_penalty"}
    assert GaussNewton(gradient="implicit").init(initial).keys() == {"log_penalty"}
    assert GaussNewton(learn=False).init(initial) == {}


def test_labels_and_other_shapes_are_refused(gen):
    net = seeded(lambda: nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 4)))
    problem, shared, initial = from_module(net, F.cross_entropy)
    x, solver = torch.randn(3, 5, generator=gen), GaussNewton()
    params = Learner(problem, solver).init(shared, initial)
    with pytest.raises(ModelError, match=r"squared error, but y holds labels \(torch.int64\); use SGD"):
        solver.check(problem, params, x, torch.tensor([0, 1, 2]))
    with pytest.raises(ShapeError, match=r"prediction is \(3, 4\), but y is \(3,\)"):
        solver.check(problem, params, x, torch.zeros(3))
    solver.check(problem, params, x, F.one_hot(torch.tensor([0, 1, 2]), 4).float())


@pytest.mark.parametrize(
    "make",
    [
        lambda: GaussNewton(steps=0),
        lambda: GaussNewton(test_steps=0),
        lambda: GaussNewton(penalty=0.0),
        lambda: GaussNewton(penalty=math.inf),
        lambda: GaussNewton(damping=-1.0),
        lambda: GaussNewton(damping=math.nan),
        lambda: GaussNewton(system="primal"),
        lambda: GaussNewton(gradient="exact"),
        lambda: GaussNewton(cg_steps=0),
        lambda: GaussNewton(curvature="none"),
    ],
)
def test_bad_settings_are_refused(make):
    with pytest.raises(ConfigError, match="; got"):
        make()
