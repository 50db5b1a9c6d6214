"""The outer loop: what stops it, what it keeps, and how it continues."""

from functools import partial

import pytest
import torch

from msr.errors import ConfigError, DataError, ModelError, NonFiniteError
from msr.layers import ReparamLinear
from msr.meta import SGD, Learner, MetaGradient, OuterLoop, Ridge, from_module
from msr.sharing import DenseSharing
from msr.span.angles import span_cosine
from tasks import TranslationTasks
from tests.support.cases import random_episodes

ADAM = partial(torch.optim.Adam, lr=1e-2)


def make_loop(gen, solver=None, optimizer=ADAM, **kwargs):
    layer = ReparamLinear(5, 4, dtype=torch.float64, sharing=partial(DenseSharing, k=3), generator=gen)
    problem, shared, initial = from_module(layer)
    learner = Learner(problem, solver or SGD(1), batching="vmap")
    return OuterLoop(learner, learner.init(shared, initial), optimizer, **kwargs)


@pytest.mark.parametrize(("chosen", "then"), [("vmap", "vmap"), ("loop", "loop"), ("auto", "loop")])
def test_a_chosen_batching_is_kept_and_auto_takes_the_checkpoints(chosen, then, gen):
    loop, saved = make_loop(gen), make_loop(gen)
    saved.learner.batching, loop.learner.batching = "loop", chosen
    loop.load_state_dict(saved.state_dict())
    assert loop.learner.batching == then


def batch(gen, n=4):
    return random_episodes(gen, n, 2, 3, (5,), (4,))


def test_step_is_the_optimisers_step_on_the_meta_gradient(gen):
    loop, e = make_loop(gen, optimizer=partial(torch.optim.SGD, lr=0.1)), batch(gen)
    before = [p.clone() for p in loop.params.leaves()]
    slopes = loop.learner.meta_gradient(loop.params, e).gradient.leaves()
    losses = loop.step(e)
    torch.testing.assert_close(loop.params.leaves(), [p - 0.1 * s for p, s in zip(before, slopes, strict=True)])
    assert losses.shape == (4,)
    assert loop.steps_done == 1


def test_groups_are_named_so_that_rates_can_differ(gen):
    loop = make_loop(gen)
    assert [group["name"] for group in loop.optimizer.param_groups] == ["shared", "initial", "inner"]
    assert [g["name"] for g in make_loop(gen, SGD(1, learn="fixed")).optimizer.param_groups] == [
        "shared",
        "initial",
    ]


def test_scheduler_and_clipping(gen):
    schedule = partial(torch.optim.lr_scheduler.StepLR, step_size=2, gamma=0.5)
    loop = make_loop(gen, optimizer=partial(torch.optim.SGD, lr=0.1), scheduler=schedule, clip_norm=1e-3)
    rates, e = [], batch(gen)
    for _ in range(4):
        before = torch.cat([p.flatten().clone() for p in loop.params.leaves()])
        rates.append(loop.optimizer.param_groups[0]["lr"])
        loop.step(e)
        moved = (torch.cat([p.flatten() for p in loop.params.leaves()]) - before).norm()
        assert float(moved) == pytest.approx(rates[-1] * 1e-3, rel=1e-5)
    assert rates == [0.1, 0.1, 0.05, 0.05]


def test_nan_names_the_step_and_the_tasks_and_changes_nothing(gen, tmp_path):
    loop, e = make_loop(gen), batch(gen)
    loop.step(e)
    good = [p.clone() for p in loop.params.leaves()]
    e.query_y[2, 0, 0] = float("nan")
    with pytest.raises(
        NonFiniteError, match=r"outer step 1: the query loss is not finite for tasks 52\. The last good"
    ):
        loop.step(e, tasks=torch.arange(50, 54))
    torch.testing.assert_close(loop.params.leaves(), good, rtol=0, atol=0)
    loop.save(tmp_path / "state.pt")  # what is kept can be written
    assert loop.steps_done == 1


def test_shares_that_are_joined_are_one_batch(gen):
    """The loop sees half of the tasks, ``join`` the others: steps, clipping and errors are those of all."""
    start = gen.get_state()
    loops = []
    for joined in (False, True):
        gen.set_state(start)
        loop, e = make_loop(gen, clip_norm=1e-2), batch(gen)
        if joined:

            def join(mine, tasks, loop=loop, e=e):
                assert tasks.tolist() == [50, 51, 52, 53]
                others = loop.learner.meta_gradient(loop.params, e.select(slice(2, 4)))
                slopes = zip(mine.gradient.leaves(), others.gradient.leaves(), strict=True)
                mean = mine.gradient.with_leaves([(a + b) / 2 for a, b in slopes])
                return MetaGradient(torch.cat([mine.losses, others.losses]), mean)

            loop.join = join
        share = e.select(slice(0, 2)) if joined else e
        losses = loop.step(share, torch.arange(50, 54))
        loops.append((losses, loop.params.leaves()))
    torch.testing.assert_close(*loops)
    e.query_y[3, 0, 0] = float("nan")
    with pytest.raises(NonFiniteError, match=r"not finite for tasks 53\."):
        loop.step(share, torch.arange(50, 54))


def test_infinite_gradient_of_a_finite_loss_is_named(gen):
    loop = make_loop(gen)
    problem = loop.learner.problem

    def root(params, x):
        return problem.predict(params, x) + params["v"].sub(params["v"].detach()).abs().sqrt().sum()

    loop.learner.problem = type(problem)(root)
    loop.learner.solver = SGD(0)
    with pytest.raises(NonFiniteError, match="losses are finite, but the gradient of v is not on tasks 0, 1, 2, 3"):
        loop.step(batch(gen), tasks=torch.arange(4))


def test_nan_is_never_written(gen, tmp_path):
    loop = make_loop(gen)
    loop.save(tmp_path / "state.pt")
    whole = (tmp_path / "state.pt").read_bytes()
    loop.params.shared["sharing.U"][0, 0] = float("nan")
    with pytest.raises(NonFiniteError, match=r"sharing\.U is not finite"):
        loop.save(tmp_path / "state.pt")
    assert (tmp_path / "state.pt").read_bytes() == whole
    assert [p.name for p in tmp_path.iterdir()] == ["state.pt"]


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(gen, tmp_path):
    schedule = partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=8)
    batches = [batch(gen) for _ in range(8)]
    straight, first, second = (
        make_loop(torch.Generator().manual_seed(3), Ridge(), scheduler=schedule) for _ in range(3)
    )
    for e in batches:
        straight.step(e)
    for e in batches[:3]:
        first.step(e)
    first.save(tmp_path / "state.pt", {"note": 7})
    assert second.load(tmp_path / "state.pt") == {"note": 7}
    for e in batches[second.steps_done :]:
        second.step(e)
    torch.testing.assert_close(second.params.leaves(), straight.params.leaves(), rtol=0, atol=0)


def test_foreign_or_damaged_checkpoints_are_refused(gen, tmp_path):
    make_loop(gen, Ridge()).save(tmp_path / "ridge.pt")
    with pytest.raises(DataError, match="the checkpoint's inner parameters are log_penalty"):
        make_loop(gen).load(tmp_path / "ridge.pt")
    loop = make_loop(gen)
    before = [p.clone() for p in loop.params.leaves()]
    make_loop(gen, scheduler=partial(torch.optim.lr_scheduler.StepLR, step_size=1)).save(tmp_path / "with.pt")
    with pytest.raises(DataError, match="do not both have a scheduler"):
        loop.load(tmp_path / "with.pt")
    torch.save({"weights": torch.ones(1)}, tmp_path / "other.pt")
    with pytest.raises(DataError, match="not one of an outer loop"):
        loop.load(tmp_path / "other.pt")
    torch.save([1], tmp_path / "list.pt")
    with pytest.raises(DataError, match="but a list"):
        loop.load(tmp_path / "list.pt")
    torch.testing.assert_close(loop.params.leaves(), before, rtol=0, atol=0)
    (tmp_path / "cut.pt").write_bytes((tmp_path / "ridge.pt").read_bytes()[:100])
    with pytest.raises(DataError, match=r"cut\.pt cannot be read"):
        make_loop(gen).load(tmp_path / "cut.pt")


def test_ridge_on_a_deep_network_is_refused_at_the_first_step(gen):
    layers = [ReparamLinear(5, 5, dtype=torch.float64, generator=gen), torch.nn.Tanh()]
    problem, shared, initial = from_module(
        torch.nn.Sequential(*layers, ReparamLinear(5, 4, dtype=torch.float64, generator=gen))
    )
    learner = Learner(problem, Ridge(), batching="vmap")
    with pytest.raises(ModelError, match="affine"):
        OuterLoop(learner, learner.init(shared, initial), ADAM).step(batch(gen))


def test_clip_norm_must_be_positive(gen):
    with pytest.raises(ConfigError, match="got 0"):
        make_loop(gen, clip_norm=0)


@pytest.mark.parametrize("boundary", ["valid", "circular"])
def test_the_loop_finds_a_hidden_pattern(boundary):
    """The product in one test: from 250 steps on rank-1 tasks with one example each, U spans the three true shifts."""
    family = TranslationTasks(rank=1, length=16, boundary=boundary, seed=1)
    m, n = family.weight_shape
    layer = ReparamLinear(
        n, m, bias=False, sharing=partial(DenseSharing, k=3), generator=torch.Generator().manual_seed(0)
    )
    problem, shared, initial = from_module(layer)
    learner = Learner(problem, Ridge(1e-5), batching="vmap")
    loop = OuterLoop(learner, learner.init(shared, initial), partial(torch.optim.Adam, lr=2e-2, betas=(0.9, 0.95)))
    start = span_cosine(loop.params.shared["sharing.U"], family.true_span())
    for step in range(250):
        loop.step(family.episodes("train", family.draw("train", step, 32)))
    found = span_cosine(loop.params.shared["sharing.U"], family.true_span())
    assert start < 0.5
    assert found > 0.999
