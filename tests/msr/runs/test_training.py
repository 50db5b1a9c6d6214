"""Training an arm: which checkpoints are kept, what continuing falls back to, and what divergence does."""

import json
import math
import re
from dataclasses import dataclass
from functools import partial

import pytest
import torch

from experiments import deep, dimension, omniglot, rotation, translation
from msr.errors import DataError, NonFiniteError
from msr.meta import SGD, Learner, OuterLoop, Ridge
from msr.meta.checkpoints.file import content_hash, read_checkpoint
from msr.runs import command as _run
from msr.runs import folder as _folder
from msr.runs.config import SeedFlags, TrainingFlags
from msr.runs.divergence import LastGood, halve_rates, largest_loss, odd_rates
from msr.runs.judging import gains, judged, stability
from msr.runs.training import train, trained_params
from msr.runs.watching.watch import Watch
from msr.version import __version__
from tests.msr.meta.checkpoints.test_checkpoints import batch, make_loop

ARM = "arm-seed0"


@dataclass(frozen=True)
class Config(TrainingFlags, SeedFlags):
    """A config of its own, as a runner has."""


def folder_of(path, **flags):
    _folder.release()  # as if the process that had it before were gone
    config = Config(out=str(path), resume=path.exists(), **{"checkpoint_seconds": 0.0, **flags})
    return _folder.RunFolder("tiny", config)


@pytest.fixture(autouse=True)
def _released():
    yield
    _folder.release()


def sample(step):
    return torch.arange(3) + 10 * step, batch(step)


def events(folder):
    return [line for line in folder.metrics(ARM) if "event" in line]


def rates_of(folder):
    """The outer rate after each rollback."""
    return [float(m[1]) for line in events(folder) if (m := re.search(r"half the outer rate, (\S+)$", line["why"]))]


def curve(folder):
    return [(line["step"], line["train_loss"]) for line in folder.metrics(ARM) if "event" not in line]


def names(folder):
    return sorted(path.name for path in folder.checkpoint(ARM).parent.glob("[!.]*"))


def run(path, steps=6, loop=None, source=sample, measure=None, **flags):
    folder, loop = folder_of(path, **flags), loop or make_loop()
    return folder, loop, train(loop, folder, ARM, source, steps, measure=measure)


def poisoned_from(first, value=math.inf):
    """Tasks whose loss is bad from a step on, whatever the parameters are."""

    def source(step):
        tasks, episodes = sample(step)
        if step >= first:
            episodes.query_y[1] = value
        return tasks, episodes

    return source


class TestTrainingBoundedBySeconds:
    """Each step takes a second here: the clock moves by one whenever it is read, at the start and the end of a step."""

    @pytest.fixture(autouse=True)
    def _clock(self, monkeypatch):
        ticks = iter(range(10**6))
        monkeypatch.setattr("msr.runs.training.time.perf_counter", lambda: float(next(ticks)))

    def test_it_ends_when_they_are_spent(self, tmp_path):
        folder, loop = folder_of(tmp_path / "run"), make_loop()
        trained = train(loop, folder, ARM, sample, 10**6, seconds=5, measure=lambda: 1.0)
        assert (trained.steps, trained.seconds) == (5, 5)
        assert [(line["step"], line["seconds"]) for line in folder.metrics(ARM)] == [(n, n) for n in range(1, 6)]
        again = train(make_loop(), folder_of(tmp_path / "run"), ARM, sample, 10**6, seconds=5)
        assert again.steps == 5  # nothing is left to do
        longer = train(make_loop(), folder_of(tmp_path / "run"), ARM, sample, 10**6, seconds=7)
        assert (longer.steps, longer.seconds) == (7, 7)

    def test_about_twenty_measurements_are_spread_over_them(self, tmp_path):
        folder = folder_of(tmp_path / "run", checkpoint_seconds=1e6)
        train(make_loop(), folder, ARM, sample, 10**6, seconds=60, measure=lambda: 1.0)
        assert [line["step"] for line in folder.metrics(ARM)] == [*range(3, 60, 3), 60]

    def test_steps_may_end_it_first(self, tmp_path):
        trained = train(make_loop(), folder_of(tmp_path / "run"), ARM, sample, 4, seconds=60)
        assert trained.steps == 4

    def test_who_watches_sees_the_share_of_the_time(self, tmp_path):
        class Shares(Watch):
            def __init__(self):
                super().__init__()
                self.seen = []

            def start(self, what, done, total, *, share=None):
                self.seen.append((total, share))

            def step(self, done, losses, *, share=None):
                self.seen.append(share)

        folder = folder_of(tmp_path / "run")
        folder.watch = Shares()
        train(make_loop(), folder, ARM, sample, 10**6, seconds=4)
        assert folder.watch.seen == [(None, 0.0), 0.25, 0.5, 0.75, 1.0]
        folder = folder_of(tmp_path / "other")
        folder.watch = Shares()
        train(make_loop(), folder, ARM, sample, 2)
        assert folder.watch.seen == [(2, None), None, None]


class TestCheckpointsThatAreKept:
    def test_the_last_ones_and_the_best(self, tmp_path):
        values = iter([3.0, 2.0, 5.0, math.nan, 4.0, 6.0])
        folder, _, _ = run(tmp_path / "run", keep_checkpoints=3, measure=lambda: next(values))
        kept = {
            name: read_checkpoint(folder.checkpoint(ARM).parent / name).state["steps_done"] for name in names(folder)
        }
        assert kept == {"arm-seed0.pt": 6, "arm-seed0.1.pt": 5, "arm-seed0.2.pt": 4, "arm-seed0.best.pt": 2}
        tests = [(line["test"], line.get("why")) for line in folder.metrics(ARM)]
        assert tests[2:5] == [(5.0, None), (None, "the measured value is not finite"), (4.0, None)]

    def test_one_is_enough_where_one_is_asked_for(self, tmp_path):
        folder, _, _ = run(tmp_path / "run", keep_checkpoints=1)
        assert names(folder) == ["arm-seed0.pt"]

    def test_they_are_written_by_time(self, tmp_path):
        folder, _, _ = run(tmp_path / "run", checkpoint_seconds=1e6)
        steps = [read_checkpoint(folder.checkpoint(ARM).parent / name).state["steps_done"] for name in names(folder)]
        assert steps == [0, 6]  # the start and the end

    def test_they_name_their_run_and_arm(self, tmp_path):
        folder, _, _ = run(tmp_path / "run")
        identity = read_checkpoint(folder.checkpoint(ARM)).identity
        assert identity["msr"] == __version__
        assert (identity["experiment"], identity["arm"], identity["seed"]) == ("tiny", ARM, 0)
        assert "out" not in identity

    def test_another_runs_is_refused_and_taken_by_force(self, tmp_path, capsys):
        run(tmp_path / "other", loop=make_loop(1), seed=7)
        folder, _, _ = run(tmp_path / "run", 3)
        other = (tmp_path / "other" / "checkpoints" / f"{ARM}.pt").read_bytes()
        folder.checkpoint(ARM).write_bytes(other)
        with pytest.raises(DataError, match=r"arm-seed0\.pt is .*seed is 7 there, 0 here.*--force"):
            run(tmp_path / "run")
        assert folder.checkpoint(ARM).read_bytes() == other
        capsys.readouterr()
        _, loop, _ = run(tmp_path / "run", force=True)
        assert loop.steps_done == 6
        assert "arm-seed0.pt is taken, as --force asks, although seed is 7 there, 0 here" in capsys.readouterr().err


class TestFallingBack:
    def test_a_damaged_newest_one_gives_way_to_the_one_before(self, tmp_path, capsys):
        whole, straight, _ = run(tmp_path / "whole")
        folder, stopped, _ = run(tmp_path / "run", 4)
        path = folder.checkpoint(ARM)
        data = bytearray(path.read_bytes())
        data[data.index(stopped.params.leaves()[0].numpy().tobytes())] ^= 1
        path.write_bytes(data)
        capsys.readouterr()
        folder, loop, _ = run(tmp_path / "run")
        (event,) = events(folder)
        assert (event["event"], event["step"]) == ("damaged checkpoint", 3)
        assert "continued from arm-seed0.1.pt" in event["why"]
        said = [line for line in capsys.readouterr().err.splitlines() if "damaged" in line]
        assert said == [f"{ARM}: {event['why']}"]
        assert content_hash(loop.state_dict()) == content_hash(straight.state_dict())
        assert curve(folder) == curve(whole)
        assert "arm-seed0.pt.damaged" in names(folder)

    def test_where_none_is_whole_nothing_is_trained_over_them(self, tmp_path):
        folder, _, _ = run(tmp_path / "run", 4)
        for name in names(folder):
            (folder.checkpoint(ARM).parent / name).write_bytes(b"PK")
        before, loop = names(folder), make_loop()
        with pytest.raises(DataError, match=r"arm-seed0\.pt cannot be read .* No earlier checkpoint"):
            run(tmp_path / "run", loop=loop)
        assert (names(folder), loop.steps_done) == (before, 0)

    def test_figures_leave_out_what_is_lost_and_refuse_what_is_damaged(self, tmp_path, capsys):
        folder, loop, _ = run(tmp_path / "run", 2)
        params, batching = trained_params(folder, ARM)
        torch.testing.assert_close(params.leaves(), loop.params.leaves(), rtol=0, atol=0)
        assert batching == "vmap"
        folder.checkpoint(ARM).write_bytes(b"")
        with pytest.raises(DataError, match=r"arm-seed0\.pt cannot be read .* remove it"):
            trained_params(folder, ARM)
        folder.checkpoint(ARM).unlink()
        assert trained_params(folder, ARM) is None
        assert capsys.readouterr().err.count("left out of the figures") == 1


class TestDivergence:
    @pytest.mark.parametrize("value", [math.inf, math.nan, 1e12])
    def test_the_arm_ends_at_its_last_good_state(self, value, tmp_path, capsys):
        """A step that cannot be taken at 4: the losses of step 3 were the last good ones, so its state is kept."""
        _, straight, _ = run(tmp_path / "three", 3)
        folder, loop, trained = run(tmp_path / "run", source=poisoned_from(4, value))
        assert (trained.diverged_at, trained.steps, loop.steps_done) == (4, 3, 3)
        assert content_hash(loop.state_dict()) == content_hash(straight.state_dict())
        assert trained.row()["diverged"] is True
        assert ("above" in trained.diverged_why) is (value == 1e12)
        (event,) = events(folder)
        assert (event["event"], event["step"]) == ("diverged", 3)
        assert event["why"] in capsys.readouterr().err
        again = run(tmp_path / "run", source=None)[2]  # continuing takes no step, and says the same
        assert again == trained

    def test_continuing_at_the_bad_step_gives_the_same_arm(self, tmp_path):
        """Stopped just before it: nothing is known yet of the newest state, so it goes back one to find out."""
        whole, straight, _ = run(tmp_path / "whole", source=poisoned_from(4))
        run(tmp_path / "run", 4)
        folder, loop, trained = run(tmp_path / "run", source=poisoned_from(4))
        assert (trained.diverged_at, trained.steps) == (4, 3)
        assert content_hash(loop.state_dict()) == content_hash(straight.state_dict())
        assert curve(folder) == curve(whole)

    def test_a_first_step_that_fails_keeps_the_start(self, tmp_path):
        _, loop, trained = run(tmp_path / "run", source=poisoned_from(0), on_divergence="rollback")
        assert (trained.diverged_at, trained.steps, trained.rollbacks) == (0, 0, 0)
        assert content_hash(loop.state_dict()) == content_hash(make_loop().state_dict())

    def test_an_update_that_overflows_is_divergence(self, tmp_path):
        loop = make_loop(optimizer=partial(torch.optim.Adam, lr=1e38))
        _, loop, trained = run(tmp_path / "run", loop=loop)
        assert (trained.diverged_at, trained.steps) == (0, 0)
        assert "does not fit torch.float32" in trained.diverged_why
        start = make_loop(optimizer=partial(torch.optim.Adam, lr=1e38))
        assert content_hash(loop.state_dict()) == content_hash(start.state_dict())

    def test_parameters_that_overflow_in_the_last_step_are_divergence(self, tmp_path):
        """No step after it would see them; the checkpoint that they cannot be written to does."""

        def large(step):
            tasks, episodes = sample(step)
            return tasks, episodes._replace(query_y=1e3 * episodes.query_y)

        loop = make_loop(optimizer=partial(torch.optim.SGD, lr=3e38), scheduler=None)
        _, loop, trained = run(tmp_path / "run", 1, loop=loop, source=large, checkpoint_seconds=1e6)
        assert (trained.diverged_at, trained.steps) == (0, 0)
        assert "the parameter" in trained.diverged_why
        assert all(leaf.isfinite().all() for leaf in loop.params.leaves())

    def test_rollback_halves_the_rate_until_it_holds(self, tmp_path, capsys):
        """A loss that grows with every step of rate above 0.3: after two halvings it falls, and training ends well."""
        loop = steep(1.0)
        folder, loop, trained = run(tmp_path / "run", 60, loop=loop, on_divergence="rollback", checkpoint_seconds=1e6)
        assert (trained.diverged_at, trained.rollbacks, trained.steps) == (None, 2, 60)
        assert loop.optimizer.param_groups[0]["lr"] == loop.optimizer.param_groups[0]["initial_lr"] == 0.25
        assert [(line["event"], line["step"]) for line in events(folder)] == [("rollback", 0)] * 2
        assert rates_of(folder) == [0.5, 0.25]
        assert capsys.readouterr().err.count("rollback") == 2
        steps = [step for step, _ in curve(folder)]
        assert steps == sorted(set(steps))  # what was undone is not in the curve

    def test_three_rollbacks_at_most(self, tmp_path):
        folder, _, trained = run(tmp_path / "run", source=poisoned_from(4), on_divergence="rollback")
        assert (trained.rollbacks, trained.diverged_at, trained.steps) == (3, 4, 3)
        assert [line["event"] for line in events(folder)] == ["rollback"] * 3 + ["diverged"]
        rates = rates_of(folder)
        assert [rate / rates[0] for rate in rates] == pytest.approx([1, 0.5, 0.25], rel=1e-4)

    def test_stopping_between_rollbacks_changes_nothing(self, tmp_path):
        """Continued from the checkpoint that a rollback writes: the same rates, the same end."""
        _, straight, first = run(
            tmp_path / "whole", 60, loop=steep(1.0), on_divergence="rollback", checkpoint_seconds=1e6
        )
        calls = []

        def stopping(step):
            calls.append(step)
            if calls.count(0) == 2:  # the first step after the first rollback
                raise KeyboardInterrupt
            return sample(step)

        with pytest.raises(KeyboardInterrupt):
            run(
                tmp_path / "run", 60, loop=steep(1.0), source=stopping, on_divergence="rollback", checkpoint_seconds=1e6
            )
        _, loop, second = run(tmp_path / "run", 60, loop=steep(1.0), on_divergence="rollback", checkpoint_seconds=1e6)
        assert second._replace(seconds=0) == first._replace(seconds=0)
        assert content_hash(loop.state_dict()) == content_hash(straight.state_dict())

    def test_a_state_is_restored_whole(self):
        loop = make_loop()
        good = LastGood(loop)
        loop.step(batch(0))
        assert good.steps == 0
        loop.step(batch(1))
        before = content_hash(loop.state_dict())
        loop.step(batch(2))
        assert content_hash(loop.state_dict()) != before
        good.restore()
        assert content_hash(loop.state_dict()) == before

    def test_bounds_and_odd_rates(self):
        assert (largest_loss(None), largest_loss(1e-12), largest_loss(50.0), largest_loss(1e29)) == (
            1e30,
            1e6,
            5e7,
            1e30,
        )
        assert odd_rates(make_loop()) == []
        (line,) = odd_rates(make_loop(optimizer=partial(torch.optim.SGD, lr=11.0)))
        assert line.startswith("the outer rate 11 lies outside 1e-08 to 10")
        loop = make_loop(optimizer=partial(torch.optim.SGD, lr=1e-9))
        loop.learner.solver = SGD(1, rate=2e3)
        assert [line.split(" lies")[0] for line in odd_rates(loop)] == ["the outer rate 1e-09", "the inner rate 2000"]
        assert halve_rates(loop) == 5e-10


def steep(rate):
    """A loop with plain steps of this rate on a loss whose curvature is 6: stable below a third."""
    loop = make_loop(
        optimizer=partial(torch.optim.SGD, lr=rate), scheduler=partial(torch.optim.lr_scheduler.StepLR, step_size=10**6)
    )
    problem = loop.learner.problem

    def bowl(params, x):
        return problem.predict(params, x) * 0 + sum(p.square().sum() for p in params.values()) ** 0.5

    loop.learner.problem = type(problem)(bowl, lambda prediction, y: 3 * prediction.square().mean() + 0 * y.sum())
    loop.learner.solver = SGD(0)
    return loop


class TestRows:
    def test_a_task_that_is_not_finite_leaves_a_median(self):
        row = judged("mse", torch.tensor([1.0, 2.0, math.nan, 3.0, math.inf]))
        assert row == {"mse": None, "mse_median": 3.0, "not_finite": 2}
        assert judged("mse", torch.tensor([math.nan, math.inf, 1.0]))["mse_median"] is None
        row = judged("mse", torch.tensor([1.0, 2.0, 6.0]))
        assert (row["mse"]["mean"], row["mse_median"], row["not_finite"]) == (3.0, 2.0, 0)

    def test_gains_are_rate_times_the_largest_curvature(self):
        """Against the eigenvalues of the whole Hessian, with rates of their own for two tensors."""
        loop = make_loop()
        params, problem, episodes = loop.params, loop.learner.problem, batch(0)
        params.inner["rate.v"].fill_(0.5)
        params.inner["rate.bias"].fill_(0.125)
        n = params.initial["v"].numel()
        root = torch.cat([torch.full((n,), 0.5**0.5), torch.full((params.initial["bias"].numel(),), 0.125**0.5)])
        for i, found in enumerate(gains(loop.learner, params, episodes)):

            def loss(flat, i=i):
                own = {"v": flat[:n], "bias": flat[n:]}
                return problem.loss({**params.shared, **own}, episodes.support_x[i], episodes.support_y[i])

            flat = torch.cat([params.initial["v"], params.initial["bias"]])
            hessian = torch.func.hessian(loss)(flat)
            assert float(found) == pytest.approx(
                float(torch.linalg.eigvalsh(root[:, None] * hessian * root)[-1]), rel=1e-3
            )
        with pytest.raises(TypeError, match="Ridge takes no gradient steps"):
            gains(Learner(problem, Ridge()), params, episodes)


SMALL = ["--test-tasks", "4", "--batch", "2"]


def test_a_task_whose_steps_diverge_is_named_and_capped(capsys):
    """One task's inputs are four times as large: a rate that suits the others makes its steps grow."""
    loop, episodes = make_loop(), batch(0)
    for part in (episodes.support_x, episodes.support_y, episodes.query_x, episodes.query_y):
        part[1] *= 4
    loop.learner.solver = SGD(12)
    found = gains(loop.learner, loop.params, episodes)
    others = torch.stack([found[0], found[2]]).max()
    for name, rate in loop.params.inner.items():
        loop.params.inner[name] = rate * float(1.5 / others)
    found, losses = (f(loop.learner, loop.params, episodes) for f in (gains, Learner.losses))
    assert (found > 2).tolist() == [False, True, False]
    row = stability("arm", loop.learner, loop.params, episodes, losses)
    assert row["tasks_above_2"] == 1
    assert row["largest"] == pytest.approx(float(found[1]))
    assert "above 2 for 1 of 3 held-out tasks" in capsys.readouterr().err
    alone = loop.params._replace(inner={n: rate * 2 / found[1] for n, rate in loop.params.inner.items()})
    capped = loop.learner.losses(alone, episodes.select(slice(1, 2)))
    expected = float(losses[0] + losses[2] + capped[0]) / 3
    assert row["capped"]["mean"] == pytest.approx(expected, rel=1e-4)
    assert expected < float(losses.mean()) / 100


STEPS = ["--outer-steps", "3"]
RUNNERS = {
    "deep": (deep, ["--models", "msr", "--solvers", "sgd,gn-unrolled", "--quick"]),
    "translation": (translation, ["--models", "conv,lc", "--inner", "sgd", "--length", "8", *STEPS]),
    "rotation": (rotation, ["--group", "c4", "--models", "conv,msr-ridge", "--k", "2", "--size", "5", *STEPS]),
    "omniglot": (omniglot, ["--quick", "--models", "maml", "--seeds", "2", "--width", "4"]),
}  # fmt: skip


def strict(text):
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))


@pytest.mark.parametrize("name", RUNNERS)
def test_an_arm_that_diverges_does_not_end_the_run(name, tmp_path, monkeypatch, capsys):
    """The first arm diverges at its second step; its row says so, and the next arm is trained to its end."""
    module, flags = RUNNERS[name]
    step, first = OuterLoop.step, []

    def breaks(self, *args):
        first.append(self)
        if self is first[0] and self.steps_done == 1:
            raise NonFiniteError("outer step 1: the query loss is not finite")
        return step(self, *args)

    monkeypatch.setattr(OuterLoop, "step", breaks)
    flags = [*flags, *SMALL, "--batching", "loop" if name == "omniglot" else "vmap", "--out", str(tmp_path / "run")]
    assert _run.main(module.Config, module.run, flags) == 0
    one, two = strict((tmp_path / "run" / "results.json").read_text())["rows"]
    assert (one["diverged"], one["diverged_at"], one["outer_steps"]) == (True, 1, 0)
    assert (two["diverged"], two["diverged_at"], two["diverged_why"]) == (False, None, None)
    assert two["outer_steps"] > 1
    assert "outer step 1: the query loss is not finite; the arm ends" in capsys.readouterr().err
    assert _run.main(module.Config, module.run, [*flags, "--resume"]) == 0


@pytest.mark.parametrize("flags", [["--sgd-rate", "1e3"], ["--outer-rate", "1e2"], ["--outer-rate", "1e38"]])
def test_rates_that_cannot_work_end_well(flags, tmp_path, capsys):
    """The real thing: numbers that do not exist are null."""
    some = ["--models", "msr", "--solvers", "sgd", "--sgd-steps", "10", "--test-tasks", "4", "--batch", "2"]
    out = ["--batching", "loop", "--out", str(tmp_path / "run")]
    assert _run.main(deep.Config, deep.run, [*some, *flags, *out]) == 0
    (row,) = strict((tmp_path / "run" / "results.json").read_text())["rows"]
    assert row["diverged"] is True
    started = flags[0] == "--outer-rate"  # judged as it started, which is finite
    assert (row["query_mse"] is not None) is (row["equivariance_error"] is not None) is started
    assert row["not_finite"] == (0 if started else 4)
    assert ("lies outside" in capsys.readouterr().err) is started
    for name in ("metrics.jsonl", "rows.jsonl"):
        assert all(strict(line) for line in (tmp_path / "run" / name).read_text().splitlines())


@pytest.mark.parametrize("inner", ["sgd", "ridge"])
def test_a_held_out_task_that_overflows_does_not_stop_training(inner, tmp_path, monkeypatch, capsys):
    from tasks import TranslationTasks

    episodes = TranslationTasks.episodes

    def scaled(self, split, tasks):
        e = episodes(self, split, tasks)
        if split == "test":
            e.support_y[1] *= 1e25
            e.query_y[1] *= 1e25
        return e

    monkeypatch.setattr(TranslationTasks, "episodes", scaled)
    flags = ["--models", "conv", "--inner", inner, "--length", "8", "--test-tasks", "5", "--batch", "2"]
    flags += ["--outer-steps", "4", "--batching", "vmap", "--out", str(tmp_path / "run")]
    assert _run.main(translation.Config, translation.run, flags) == 0
    found = strict((tmp_path / "run" / "results.json").read_text())
    (row,) = found["rows"]
    assert (row["query_mse"], row["not_finite"], row["diverged"], row["outer_steps"]) == (None, 1, False, 4)
    assert 0 < row["query_mse_median"] < 1e3
    assert found["zero_predictor_mse"] is None
    lines = [strict(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert all(line["test"] is None and "not finite for tasks 1 of 5" in line["why"] for line in lines)
    saved = read_checkpoint(tmp_path / "run" / "checkpoints" / f"conv-{inner}-seed0.pt")
    assert saved.state["steps_done"] == 4
    assert "none" in capsys.readouterr().out


def test_flags_out_of_range_are_refused_before_anything_is_made(tmp_path, capsys):
    for flags, says in (
        (["--checkpoint-seconds", "-1"], "--checkpoint-seconds must not be negative; got -1.0"),
        (["--checkpoint-seconds", "nan"], "--checkpoint-seconds must be finite; got nan"),
        (["--keep-checkpoints", "0"], "--keep-checkpoints must be at least 1; got 0"),
        (["--on-divergence", "go"], "--on-divergence must be stop or rollback; got 'go'"),
    ):
        assert _run.main(deep.Config, deep.run, [*flags, "--out", str(tmp_path / "run")]) == 2
        assert capsys.readouterr().err == f"error: {says}\n"
    with pytest.raises(SystemExit) as stop:  # a runner that trains nothing has no such flag
        _run.main(dimension.Config, dimension.run, ["--keep-checkpoints", "3", "--out", str(tmp_path / "run")])
    assert stop.value.code == 2
    assert "unrecognized arguments: --keep-checkpoints 3" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
