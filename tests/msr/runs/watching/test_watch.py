"""What a run tells of itself: as values, on a terminal, in a log, and with --quiet."""

import json
import re
import sys
from itertools import pairwise

import pytest
import torch

from msr.errors import NonFiniteError
from msr.runs.watching import lines, watch
from msr.runs.watching.bars import Bars
from msr.runs.watching.lines import Lines
from msr.runs.watching.progress import Progress, duration
from msr.runs.watching.watch import Watch, Watcher
from tests.support.screens import screen
from tests.support.tiny_runner import start


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Hears(Watcher):
    """Notes all that it hears."""

    wants_losses = True

    def __init__(self):
        self.heard = []

    def step(self, progress):
        self.heard.append((progress.done, progress.loss, progress.share))

    def measured(self, progress):
        self.heard.append((progress.loss, progress.value))

    def close(self):
        self.heard.append("closed")


class Fails(Hears):
    shows = "a thing that breaks"

    def step(self, progress):
        raise ValueError("no\nmore ink")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.6, "1 min 0 s"), (61, "1 min 1 s"), (3600, "1 h 0 min"), (8000, "2 h 13 min"), (1e5, "1 d 3 h")],
)
def test_times_are_in_two_units(seconds, words):
    assert duration(seconds) == words


def test_time_left_is_of_what_this_start_has_done(monkeypatch):
    """A run that is continued at 50 of 100 and takes 10 steps in 20 s: 40 steps are left, and 80 s."""
    clock = Clock()
    monkeypatch.setattr("time.perf_counter", clock)
    progress = Progress("a", 50, 100, 0.5, "accuracy", _began=clock())
    assert (progress.left, progress.rate, progress.line()) == (None, 0, "a: 50 of 100 outer steps")
    progress.done, progress.share = 60, 0.6
    progress.loss, progress.value, progress.place = 0.25, 0.875, "arm 2 of 3"
    clock.now += 20
    expected = "a: arm 2 of 3, 60 of 100 outer steps, 0.5 a second, loss 0.25, accuracy 0.875, 1 min 20 s left"
    assert progress.line() == expected
    # Bounded by time, of which a quarter was used up before: half of it is left.
    progress = Progress("a", 50, None, 0.25, "accuracy", _began=clock())
    progress.done, progress.share = 60, 0.5
    clock.now += 30
    assert progress.line() == "a: 50%, 60 outer steps, 0.333 a second, 1 min 0 s left"


def test_losses_are_read_twice_a_second_at_most(monkeypatch):
    """Reading waits for the device, so of a thousand steps in ten seconds twenty are read."""
    clock = Clock()
    monkeypatch.setattr(watch.time, "perf_counter", clock)
    read = []

    class Losses:
        def mean(self):
            read.append(clock.now)
            return torch.tensor(1.0)

    for watchers, count in (([Hears()], 20), ([Watcher()], 0), ([], 0)):
        read.clear()
        run = Watch(watchers)
        run.start("a", 0, 1000)
        for step in range(1, 1001):
            clock.now += 0.01
            run.step(step, Losses())
        assert len(read) == pytest.approx(count, abs=1)


def test_what_is_told_reaches_the_watcher():
    hears = Hears()
    run = Watch([hears], "accuracy")
    run.step(1, None)  # before anything was begun
    run.start("a", 0, 4)
    run.step(1, torch.tensor([1.0, 3.0]))
    run.measured(1, 2.5, None)
    run.step(2, None)
    run.start("b", 5, None, share=0.1)
    run.step(6, torch.tensor([float("nan")]), share=1.5)
    run.close()
    run.step(7, None)
    assert hears.heard == [(1, 2.0, 0.25), (2.5, None), (2, 2.5, 0.5), (6, None, 1.0), "closed"]


def test_a_watcher_that_fails_is_said_to_once_and_ends_nothing(capsys):
    fails = Fails()
    hears = Hears()
    run = Watch([fails, hears])
    run.start("a", 0, 4)
    run.step(1, None)
    run.step(2, None)
    said = capsys.readouterr().err
    assert said == "warning: a thing that breaks ends here (ValueError: no); the run goes on\n"
    assert (fails.heard, len(hears.heard)) == (["closed"], 2)


def test_lines_are_half_a_minute_apart_and_later_more(capsys):
    clock = Clock()
    shown = Lines(clock)
    progress = Progress("a", 0, 10**6, 0.0, "accuracy")
    at = []
    for second in range(1, 36001):
        clock.now += 1
        shown.step(progress)
        if capsys.readouterr().err:
            at.append(second)
    assert at[:10] == list(range(30, 301, 30))
    gaps = [b - a for a, b in pairwise(at[20:])]
    assert gaps == sorted(gaps)
    assert len(at) < 70


# A whole run


def test_on_a_terminal_there_are_bars_that_are_gone_in_the_end(tmp_path):
    def complains(arm, step):
        if step == 2 and arm == "arm-seed1":
            print("a warning", end="", file=sys.stderr)
            print(" in two parts", file=sys.stderr)

    with screen() as seen:
        assert start("--seeds", "2", "--out", str(tmp_path / "run"), step=complains) == 0
    # The bar of arms has the name of the arm at hand; the bar of steps rate, loss and the value under its own name.
    assert re.search(r"arms: +50%\|[^\r\n]*\| 1/2 [^\r\n]*arm-seed1", seen.text)
    assert re.search(r"arm-seed1: +\d+%\|[^\r\n]*\| \d/6 \[\d\d:\d\d<[^\r\n]*step[^\r\n]*loss \d", seen.text)
    assert re.search(r"arm-seed1: +\d+%\|[^\r\n]*loss [^\r\n]*share right \d", seen.text)
    shown = [re.sub(r"in \d.*", "", line) for line in seen.shown()]
    assert shown == [
        "arm-seed0: 6 outer steps ",
        "a warning in two parts",
        "arm-seed1: 6 outer steps ",
        f"results: {tmp_path}/run/results.json",
    ]


def test_a_failure_on_a_terminal_is_a_line_of_its_own(tmp_path):
    def breaks(arm, step):
        if step == 3:
            raise MemoryError

    with screen() as seen:
        assert start("--out", str(tmp_path / "run"), step=breaks) == 2
    (line,) = seen.shown()
    assert line.startswith("error: this needs more memory")


def test_a_training_that_time_bounds_has_a_bar_of_its_share():
    with screen() as seen:
        run = Watch([Bars()])
        run.arm("a", 1, 1)
        run.start("a", 0, None, share=0.0)
        for step in range(1, 4):
            run.step(step, torch.ones(1), share=step / 4)
            run.watchers[0].steps.refresh()
        run.close()
    assert re.search(r"a: +75%\|[^\r\n]*\| \[00:0\d<00:0\d, 3 steps, [^\r\n]*loss 1\]", seen.text)
    assert seen.shown() == []


def test_without_a_terminal_there_is_a_line_now_and_then(tmp_path, capsys, monkeypatch):
    assert start("--seeds", "2", "--out", str(tmp_path / "short")) == 0
    said = capsys.readouterr().err.splitlines()
    assert [re.sub(r" in \d.*", "", line) for line in said[:2]] == [f"arm-seed{i}: 6 outer steps" for i in (0, 1)]
    assert said[2:] == ["", f"results: {tmp_path}/short/results.json"]
    monkeypatch.setattr(lines, "_SECONDS", 0.0)
    monkeypatch.setattr(lines, "_GROWTH", 0.0)
    assert start("--seeds", "2", "--out", str(tmp_path / "run")) == 0
    said = capsys.readouterr().err.splitlines()
    steps = [line for line in said if line.startswith("arm-seed1: arm 2 of 2, ")]
    pattern = r", \d of 6 outer steps, \S+ a second, loss \S+, share right \d, \d+ s left$"
    assert [bool(re.search(pattern, line)) for line in steps] == [True] * 6
    assert any(re.fullmatch(r"arm-seed1: arm 2 of 2 begins, \d+ s after the start", line) for line in said)


def test_a_terminal_without_tqdm_has_lines(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with screen() as seen:
        assert start("--out", str(tmp_path / "run")) == 0
    shown = [re.sub(r"in \d.*", "", line) for line in seen.shown()]
    assert shown == ["arm-seed0: 6 outer steps ", f"results: {tmp_path}/run/results.json"]


def test_metrics_are_whole_lines_that_are_there_at_once(tmp_path):
    """Whoever follows the file, such as ``tail -F``, sees a line as soon as its value is measured."""
    counts = []

    def reads(arm, step):
        path = tmp_path / "run" / "metrics.jsonl"
        content = path.read_text() if step else "\n"
        assert content.endswith("\n")
        counts.append(len([json.loads(line) for line in content.splitlines() if line]))

    assert start("--out", str(tmp_path / "run"), step=reads) == 0
    assert counts == list(range(6))


@pytest.mark.parametrize("terminal", [True, False])
def test_quiet_shows_the_results_alone(terminal, tmp_path, capsys):
    flags = ["--seeds", "2", "--quiet", "--out", str(tmp_path / "run")]
    if terminal:
        with screen() as seen:
            assert start(*flags) == 0
        said = seen.shown()
    else:
        assert start(*flags) == 0
        said = capsys.readouterr().err.split("\n")[1:-1]
    assert said == [f"results: {tmp_path}/run/results.json"]


def test_quiet_leaves_warnings(tmp_path, capsys):
    def breaks(arm, step):
        if step == 3:
            raise NonFiniteError("the loss is not finite")

    assert start("--quiet", "--out", str(tmp_path / "run"), step=breaks) == 0
    (line, *_) = capsys.readouterr().err.splitlines()
    assert line == "arm-seed0: the loss is not finite; the arm ends, and is judged as it was at step 2"
