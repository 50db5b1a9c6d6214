"""Events for TensorBoard, read back by its own reader: each step once, whatever happened to the run."""

import json
import math
import os
import signal
import sys
import time

import pytest

from msr.errors import NonFiniteError
from msr.runs import folder as _folder
from msr.runs.watching.events import Events, require
from msr.runs.watching.progress import Progress
from msr.runs.watching.watch import Watch
from tests.support.forks import in_a_fork
from tests.support.runs import lines
from tests.support.tiny_runner import STEPS, Config, start

LOSS = "train/loss"


def events_of(folder):
    """The events that TensorBoard shows of a training: ``{name: {step: value}}``, each step of a name once."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    shown = {}
    for name in accumulator.Tags()["scalars"]:
        events = accumulator.Scalars(name)
        shown[name] = {event.step: event.value for event in events}
        assert [event.step for event in events] == sorted(shown[name])
    return shown


def assert_are_the_metrics(run, arm, name):
    """The events of an arm are the losses and the values, under this name, in its metrics, and of no other step."""
    metrics = [line for line in lines(run / "metrics.jsonl") if line["arm"] == arm]
    shown = events_of(run / "tensorboard" / arm)
    assert shown[LOSS] == pytest.approx({line["step"]: line["train_loss"] for line in metrics})
    assert shown[name] == pytest.approx({line["step"]: line["test"] for line in metrics})


def test_they_are_the_losses_and_values_of_each_arm(tmp_path):
    run = tmp_path / "run"
    assert start("--seeds", "2", "--tensorboard", "--out", str(run)) == 0
    assert {path.name for path in (run / "tensorboard").iterdir()} == {"arm-seed0", "arm-seed1"}
    for arm in ("arm-seed0", "arm-seed1"):
        assert_are_the_metrics(run, arm, "test/share_right")
        assert list(events_of(run / "tensorboard" / arm)[LOSS]) == list(range(1, STEPS + 1))


def test_a_run_that_goes_on_from_an_earlier_step_draws_no_step_twice(tmp_path):
    """It ends at step 4, with events up to there, and its only checkpoint is of the start; the new losses differ."""
    run = tmp_path / "run"

    def dies(arm, step):
        if step == 4:
            raise MemoryError

    assert start("--tensorboard", "--checkpoint-seconds", "1e6", "--out", str(run), step=dies) == 2
    folder = run / "tensorboard" / "arm-seed0"
    assert list(events_of(folder)[LOSS]) == [1, 2, 3, 4]
    # As if the curve had been another one before.
    events = Events(run / "tensorboard")
    events.start(Progress("arm-seed0", 0, STEPS, 0.0, "share right"))
    for step in (1, 2, 3, 4):
        events.measured(Progress("arm-seed0", step, STEPS, 0.0, "share right", loss=1e6, loss_at=step, value=1e6))
    events.close()
    assert events_of(folder)[LOSS] == dict.fromkeys((1, 2, 3, 4), 1e6)
    assert start("--tensorboard", "--resume", "--out", str(run)) == 0
    assert_are_the_metrics(run, "arm-seed0", "test/share_right")


@pytest.mark.parametrize("seconds", ["0", "1e6"])
def test_a_run_that_was_killed_draws_no_step_twice(seconds, tmp_path):
    """By SIGKILL after step 4, whose checkpoint is written, or none but that of the start."""
    run = tmp_path / "run"
    flags = ["--tensorboard", "--checkpoint-seconds", seconds, "--out", str(run)]

    def kills(arm, step):
        if step == 4:
            os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(AssertionError):
        in_a_fork(lambda: start(*flags, step=kills))
    folder = run / "tensorboard" / "arm-seed0"
    if seconds == "0":  # what a checkpoint has behind it is not computed again, so it has to be there
        assert list(events_of(folder)[LOSS]) == [1, 2, 3, 4]
    assert start(*flags, "--resume", "--quiet") == 0
    assert_are_the_metrics(run, "arm-seed0", "test/share_right")
    assert list(events_of(folder)[LOSS]) == list(range(1, STEPS + 1))


def test_a_training_that_goes_back_takes_its_events_along(tmp_path):
    """Steps 3 and 4 are taken back, and no loss is read of the new step 3."""
    run = Watch([Events(tmp_path)], "value")
    run.start("a", 0, 9)
    for step in (1, 2, 3, 4):
        run.measured(step, 0.5, float(step))
        run.step(step, None)
    run.step(2, None)
    run.step(3, None)
    run.step(4, None)
    run.measured(5, 0.25, None)
    run.step(5, None)
    run.close()
    assert events_of(tmp_path / "a") == {LOSS: {1: 0.5, 2: 0.5, 5: 0.25}, "test/value": {1: 1.0, 2: 2.0}}


def test_an_arm_that_diverges_leaves_no_event_of_what_was_undone(tmp_path):
    """It fails at step 4, and is judged as it was at step 3, where its metrics end too."""
    run = tmp_path / "run"

    def breaks(arm, step):
        if step == 4:
            raise NonFiniteError("the loss is not finite")

    assert start("--tensorboard", "--out", str(run), step=breaks) == 0
    metrics = [line for line in lines(run / "metrics.jsonl") if "train_loss" in line]
    shown = events_of(run / "tensorboard" / "arm-seed0")[LOSS]
    assert shown == pytest.approx({line["step"]: line["train_loss"] for line in metrics})
    assert list(shown) == [1, 2, 3]


def test_a_new_file_has_a_later_name_than_those_of_the_same_second(tmp_path):
    """TensorBoard reads files in the order of their names, of which only the beginning tells the time."""
    require()  # which imports what takes longer than a second
    (tmp_path / "a").mkdir()
    earlier = tmp_path / "a" / f"events.out.tfevents.{int(time.time()):010d}.zz.9.9"
    earlier.touch()
    events = Events(tmp_path)
    events.start(Progress("a", 3, 9, 0.0, "value"))
    events.close()
    assert sorted((tmp_path / "a").iterdir())[0] == earlier


def test_values_that_are_not_finite_are_no_events(tmp_path):
    events = Events(tmp_path)
    events.start(Progress("a", 0, 2, 0.0, "value"))
    events.measured(Progress("a", 1, 2, 0.5, "value"))
    events.close()
    assert events_of(tmp_path / "a") == {}


def test_where_it_is_not_installed_the_flag_is_refused_before_anything_is_made(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert start("--tensorboard", "--out", str(tmp_path / "run")) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: --tensorboard needs tensorboard (ModuleNotFoundError: ")
    assert said.endswith("Try: pip install 'msr[watch]'\n")
    assert not (tmp_path / "run").exists()
    assert start("--out", str(tmp_path / "run")) == 0


def test_a_disk_that_takes_no_events_does_not_end_the_run(tmp_path, capsys):
    run = tmp_path / "run"
    _folder.RunFolder("tiny", Config(out=str(run)))
    _folder.release()
    (run / "tensorboard").write_text("in the way")
    assert start("--tensorboard", "--resume", "--out", str(run)) == 0
    said = capsys.readouterr().err
    assert said.count("warning: the writing of events for TensorBoard ends here (") == 1
    assert math.isfinite(json.loads((run / "results.json").read_text())["rows"][0]["seconds"])
