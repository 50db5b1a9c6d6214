"""Figures that are refreshed while a run computes: when, at what cost, and what becomes of a drawing that fails."""

import json
import os
import signal
import time
from itertools import pairwise

import pytest
from matplotlib.figure import Figure

from experiments import deep, dimension, discovery, omniglot, rotation, translation
from msr.meta import OuterLoop
from msr.runs.command import main
from msr.runs.watching import refreshing
from msr.runs.watching.progress import Progress
from msr.runs.watching.refreshing import LEAST_SECONDS, SHARE, Refreshing
from tests.support.runs import RUNS, assert_same_run, lines, translate
from tests.support.tiny_runner import draw_curve, start

PROGRESS = Progress("a", 0, 10, 0.0, "accuracy")


@pytest.fixture
def at_once(monkeypatch):
    """Figures are drawn whenever there is something new."""
    monkeypatch.setattr(refreshing, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(refreshing, "SHARE", float("inf"))


@pytest.mark.parametrize("cost", [0.01, 2.0, 60.0])
def test_drawing_takes_no_more_than_its_share(cost):
    """Ten hours of steps of half a second, with news at each: the share is kept at every moment after the first one."""
    now = 0.0
    at = []

    def draw():
        nonlocal now
        at.append(now)
        now += cost

    figures = Refreshing(draw, lambda: now)
    while now < 36000:
        now += 0.5
        figures.saved(PROGRESS)
        figures.step(PROGRESS)
        # The cost of the first drawing is not known before it was made.
        assert figures.spent <= max(SHARE * now, cost)
    gaps = [b - a for a, b in pairwise(at[1:])]
    assert min(gaps) >= LEAST_SECONDS
    assert figures.spent == pytest.approx(len(at) * cost)
    expected = max(cost / SHARE, LEAST_SECONDS + cost)
    assert len(at) == pytest.approx(36000 / expected, rel=0.05)


def test_without_news_nothing_is_drawn(at_once):
    drawn = []
    figures = Refreshing(lambda: drawn.append(1))
    figures.step(PROGRESS)
    figures.measured(PROGRESS)
    figures.step(PROGRESS)
    figures.step(PROGRESS)
    figures.finished("a", 1, 2)
    figures.finished("b", 2, 2)  # the run itself draws at its end
    assert len(drawn) == 2


def test_a_figure_is_there_and_new_while_a_runner_trains_and_nothing_else_changes(at_once, tmp_path, monkeypatch):
    """With matplotlib itself. All that the run computes is what a run without it computes, bit for bit."""
    run = tmp_path / "run"
    step = OuterLoop.step
    seen = []

    def looks(self, *args):
        figure = run / "curve.png"
        seen.append(figure.stat().st_mtime_ns if figure.is_file() else 0)
        return step(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(OuterLoop, "step", looks)
        assert translate("--models", "conv", "--out", str(run), "--threads", "1") == 0
    assert seen[0] == 0
    assert 0 < seen[1] < seen[2]
    monkeypatch.setattr(refreshing, "SHARE", 0.0)
    assert translate("--models", "conv", "--out", str(tmp_path / "plain"), "--threads", "1") == 0
    assert_same_run(run, tmp_path / "plain")


# A quick run of each runner, and a figure of it that is there before the run is over.
RUNNERS = {
    "translation": (translation, RUNS["translation"], "curve.png"),
    "rotation": (rotation, RUNS["rotation"], "curve.png"),
    "omniglot": (omniglot, RUNS["omniglot"], "factors.png"),
    "deep": (deep, RUNS["deep"], "curve.png"),
    "dimension": (dimension, ["--quick", "--families", "C16,S6"], "dimension.png"),
    "discovery": (discovery, ["--quick", "--noise", "0", "--families", "C4,C8"], "phases.png"),
}


@pytest.mark.parametrize("name", RUNNERS)
def test_every_runner_refreshes_its_figures_and_keeps_quiet(name, at_once, tmp_path, monkeypatch, capsys):
    """What is drawn is not looked at here, so pictures are not rendered, which would take most of the time."""
    module, flags, figure = RUNNERS[name]
    run = tmp_path / "run"
    early = []

    def write(self, file, **how):
        early.append(not (run / "results.json").exists())
        file.write(b"\x89PNG")

    monkeypatch.setattr(Figure, "savefig", write)
    assert main(module.Config, module.run, [*flags, "--quiet", "--out", str(run)]) == 0
    assert any(early)
    assert (run / figure).is_file()
    said = capsys.readouterr().err.splitlines()
    assert said[-2:] == ["", f"results: {run}/results.json"]
    assert all("above 2 for" in line for line in said[:-2])  # which is a warning


def test_a_drawing_that_fails_is_said_once_and_ends_nothing(at_once, tmp_path, capsys):
    tries = []

    def draw(folder, begun):
        tries.append(begun)
        raise ValueError("no font was found")

    assert start("--seeds", "2", "--out", str(tmp_path / "run"), draw=draw) == 0
    said = capsys.readouterr().err
    line = "warning: the refreshing of figures ends here (ValueError: no font was found); the run goes on"
    assert said.splitlines().count(line) == 1
    assert (len(tries), [str(arm) for arm in tries[0]]) == (1, ["arm-seed0"])
    assert len(lines(tmp_path / "run" / "rows.jsonl")) == 2


def test_drawing_does_not_count_as_training(at_once, tmp_path, monkeypatch):
    def slow(folder, begun):
        time.sleep(0.1)

    assert start("--out", str(tmp_path / "run"), draw=slow) == 0
    (row,) = json.loads((tmp_path / "run" / "results.json").read_text())["rows"]
    assert row["seconds"] < 0.3  # of six drawings in 0.6 s


def test_a_run_that_is_told_to_stop_does_not_draw_first(at_once, tmp_path):
    drawn = []

    def told(arm, step):
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    status = start("--out", str(tmp_path / "run"), step=told, draw=lambda folder, begun: drawn.append(len(drawn)))
    assert (status, len(drawn)) == (128 + signal.SIGTERM, 3)


def test_the_figure_is_whole_at_any_time(at_once, tmp_path):
    """It is renamed into its place, as every file of a run is: no reader meets half of one."""
    run = tmp_path / "run"

    def reads(arm, step):
        if step > 1:
            content = (run / "curve.png").read_bytes()
            assert content.startswith(b"\x89PNG")
            assert content.endswith(b"IEND\xaeB`\x82")

    assert start("--out", str(run), step=reads, draw=draw_curve, steps=3) == 0
