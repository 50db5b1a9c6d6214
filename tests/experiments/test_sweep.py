"""Sweeps end to end, with real processes: what they run, what they go on with, and how they end."""

import contextlib
import dataclasses
import importlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from experiments.__main__ import runners
from experiments.sweep.__main__ import main
from experiments.sweep.flags import KEPT, Options, read_options
from experiments.sweep.plan import planned
from experiments.sweep.summary import summarised, table
from msr.errors import ConfigError
from tests.support import ROOT
from tests.support.runs import TINY, assert_same_run, error_line, translate

SMALL = ["--quick", "--families", "C16", "--examples", "6"]
# Long enough to be stopped in the middle, with a checkpoint after every step.
SLOW = [*TINY, "--models", "conv", "--outer-steps", "100", "--checkpoint-seconds", "0"]


def sweep(*flags: str) -> int:
    """The exit status of a sweep in this process, whose runs are processes of their own."""
    try:
        return main(list(flags))
    except SystemExit as stop:  # argparse's own way
        return int(str(stop.code))


def written(out: Path) -> dict:
    return json.loads((out / "sweep.json").read_text())


def processes(word: str) -> list[int]:
    """The processes of this machine whose command line holds a word."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has just ended
            if word.encode() in path.read_bytes() and int(path.parent.name) != os.getpid():
                found.append(int(path.parent.name))
    return found


def wait_for(there, seconds: float = 120) -> None:
    """Wait until ``there()`` is true."""
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def test_a_run_that_fails_is_a_line_and_only_it_is_run_again(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    out = tmp_path / "out"
    flags = ["dimension", *SMALL, "--grid", "k=auto,3", "--jobs", "2", "--out", str(out), "--by", "right"]
    broken = out / "k=3" / "seed0"
    broken.mkdir(parents=True)
    (broken / "rows.jsonl").touch()
    assert sweep(*flags) == 2
    told = capsys.readouterr()
    assert error_line(told.err).startswith("error: 1 of 2 runs failed")
    assert "holds rows.jsonl of a run, but no config.toml" in told.out  # in the table
    assert "| auto" in told.out
    assert "holds rows.jsonl" in Path(f"{broken}.log").read_text()
    (broken / "rows.jsonl").unlink()
    kept = out / "k=auto" / "seed0" / "results.json"
    before = kept.stat().st_mtime_ns

    assert sweep(*flags) == 2  # not without saying so
    assert "already holds a sweep; continue it with --resume" in error_line(capsys.readouterr().err)
    assert sweep(*flags, "--resume") == 0
    told = capsys.readouterr()
    assert "1 of 2 runs are finished already" in told.err
    assert "failed" not in told.out
    assert told.out.index("| 3 ") < told.out.index("| auto ")  # right: 0 of 1, and 1 of 1
    assert kept.stat().st_mtime_ns == before
    rows = written(out)["rows"]
    assert [row["setting"] for row in rows] == [{"k": "auto"}, {"k": "3"}]
    assert [row["values"]["right"]["mean"] for row in rows] == [1, 0]
    assert all(run["error"] is None for run in written(out)["runs"])
    assert json.loads((broken / "results.json").read_text())["environment"]["threads"] == 1

    changed = ["dimension", *SMALL, "--tasks", "41", *flags[6:]]
    assert sweep(*changed, "--resume") == 2
    assert "was run with tasks = 500, not 41" in error_line(capsys.readouterr().err)
    kept.write_text("{")
    assert sweep(*flags, "--resume") == 2
    assert "is not what a run wrote; remove it" in written(out)["runs"][0]["error"]


@contextlib.contextmanager
def meanwhile(do: Callable[[], None]) -> Iterator[None]:
    """In the block, another thread does something; its end is waited for."""
    thread = threading.Thread(target=do)
    thread.start()
    try:
        yield
    finally:
        thread.join()


@pytest.mark.slow
def test_ctrl_c_stops_the_runs_after_their_step_and_the_sweep_goes_on(tmp_path, monkeypatch, capsys):
    """Bit for bit as the run that nobody stopped."""
    monkeypatch.chdir(ROOT)
    out = tmp_path / "out"
    saved = out / "default" / "seed0" / "checkpoints" / "conv-ridge-seed0.pt"
    flags = ["translation", *SLOW, "--seeds", "2", "--out", str(out)]

    def stop() -> None:
        wait_for(saved.exists)
        os.kill(os.getpid(), signal.SIGINT)

    with meanwhile(stop):
        assert sweep(*flags, "--jobs", "1") == 130
    told = capsys.readouterr().err
    assert "stopping: each run finishes its step and saves" in told
    assert f"stopped; what was finished is kept: continue with --resume --out {out}" in told
    assert not processes(str(out))
    assert not list(out.glob("default/*/results.json"))
    assert "stopped; what was finished is kept" in (out / "default" / "seed0.log").read_text()
    assert not (out / "default" / "seed1").exists()

    assert sweep(*flags, "--jobs", "2", "--resume") == 0
    assert "| conv" in capsys.readouterr().out
    assert written(out)["rows"][0]["values"]["query_mse"]["n"] == 2
    assert translate(*SLOW[len(TINY) :], "--out", str(tmp_path / "whole")) == 0
    assert_same_run(out / "default" / "seed0", tmp_path / "whole")


@pytest.mark.slow
def test_submitit_goes_on_with_a_run_whose_machine_was_taken(tmp_path, monkeypatch, capsys):
    """submitit's executor without Slurm; SIGUSR2 is what it sends to a job whose time is over."""
    monkeypatch.chdir(ROOT)
    out = tmp_path / "out"
    log = out / "default" / "seed0.log"

    def take() -> None:
        wait_for(lambda: (out / "default/seed0/checkpoints/conv-ridge-seed0.pt").exists())
        (job,) = processes(f"submitit.core._submit\0{out}")
        os.kill(job, signal.SIGUSR2)

    with meanwhile(take):
        status = sweep("translation", *SLOW, "--cluster", "local", "--time-limit", "5", "--out", str(out))
    assert status == 0, capsys.readouterr().err
    assert "| conv" in capsys.readouterr().out
    assert "stopped; what was finished is kept" in log.read_text()  # and it was continued
    assert written(out)["runs"][0]["error"] is None


def test_every_run_is_named_and_given_its_flags():
    argv = ["omniglot", "--quick", "--grid", "inner_rate=0.4,1e-1", "--grid", "outer-rate=1e-3", "--seeds", "2"]
    runs = planned(read_options([*argv, "--seed", "7"]))
    assert [run.name for run in runs] == [
        f"inner_rate={rate},outer_rate=0.001/seed{seed}" for rate in ("0.4", "0.1") for seed in (7, 8)
    ]
    assert runs[3].made_with["flags"]["inner_rate"] == 0.1
    assert (runs[3].made_with["flags"]["seed"], runs[3].made_with["flags"]["seeds"]) == (8, 1)
    several = planned(read_options(["dimension", "--grid", "families=C16,S6;rank 1"]))
    assert [run.setting for run in several] == [{"families": "C16,S6"}, {"families": "rank 1"}]
    names = [run.name.split("/")[0] for run in several]
    assert names[0] == "families=C16,S6"
    assert names[1].startswith("families=rank_1-")  # and its hash: rank_1 would be another setting
    switched = planned(read_options(["omniglot", "--grid", "download=false"]))
    assert "--download" not in switched[0].flags
    (plain,) = planned(read_options(["dimension"]))
    assert plain.name == "default/seed0"


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["rotatoin"], "unknown runner 'rotatoin'; known: attention_flow, context_usefulness, "),
        (["dimension", "--grid", "noise"], "--grid must be FLAG=A,B; got 'noise'"),
        (["dimension", "--grid", "noise=,"], "--grid noise has no values"),
        (["dimension", "--grid", "noise=1", "--grid", "noise=2"], "--grid noise is given twice"),
        (["dimension", "--grid", "noise=0,-1"], "noise=-1: --noise must be finite and at least 0"),
        (["dimension", "--grid", "tasks=500,3"], "tasks=3: --tasks must be at least 40; got 3"),
        (["dimension", "--grid", "tasks=many"], "argument --tasks: invalid int value: 'many'"),
        (["dimension", "--grid", "tasks=500,0500"], "has the setting tasks=500 twice"),
        (["dimension", "--grid", "rank=1"], "unrecognized arguments: --rank=1"),
        (["dimension", "--rank", "1"], "unrecognized arguments: --rank 1"),
        (["dimension", "--grid", "seed=1,2"], "--grid seed: is no setting; give --seed to the sweep"),
        (["omniglot", "--grid", "download=yes"], "is a switch: its values are true and false; got 'yes'"),
        (["dimension", "--seeds", "0"], "--seeds must be from 1 to "),
        (["discovery", "--seed", "-1"], "--seed must not be negative; got -1"),
        (["dimension", "--resume"], "--resume needs --out DIR"),
        (["dimension", "--force"], "--force mixes versions"),
        (["dimension", "--partition", "gpu"], "--partition is for --cluster slurm"),
        (["dimension", "--time-limit", "5"], "--time-limit is for --cluster slurm or local"),
        (["dimension", "--descending"], "--descending is for --by"),
        (["dimension", "--cluster", "slurm"], "--cluster slurm cannot be used here: Could not detect"),
    ],
)
def test_what_cannot_work_is_one_line_before_any_run(flags, says, tmp_path, capsys):
    out = [] if "--resume" in flags else ["--out", str(tmp_path / "out")]
    assert sweep(*flags, *out) == 2
    assert says in error_line(capsys.readouterr().err)
    assert not list(tmp_path.glob("out/*/*"))


def test_no_flag_of_the_sweep_keeps_a_setting_from_the_runs():
    own = {field.name for field in dataclasses.fields(Options)} - {"passed", *KEPT}
    for name in runners():
        settings = {field.name for field in dataclasses.fields(importlib.import_module(f"experiments.{name}").Config)}
        assert not own & settings, name


def test_a_library_that_is_not_installed_is_one_line(monkeypatch, tmp_path, capsys):
    for name, flags in (("joblib", []), ("submitit", ["--cluster", "local"])):
        monkeypatch.setitem(sys.modules, name, None)
        assert sweep("dimension", *flags, "--out", str(tmp_path / "out")) == 2
        line = error_line(capsys.readouterr().err)
        assert line == f"error: {name} starts the runs of a sweep. Try: pip install 'msr[sweep]'"


def lines(*errors: float) -> list[dict]:
    """A runner's summary of one seed, with an estimate, a number, a list, a nested value and a null."""
    return [
        {"model": model, "mse": {"mean": error, "ci95": None, "n": 1}, "right": True, "k": [3], "names": ["a", "b"],
         "defect": {"turn": error / 2}, "cosine": None if error > 5 else error, "rate": 0.5}
        for model, error in zip("xy", errors, strict=True)
    ]  # fmt: skip


def test_the_table_is_of_means_over_seeds():
    runs = planned(read_options(["omniglot", "--grid", "inner_rate=0.5,1", "--seeds", "2"]))
    rows = summarised(runs, [lines(1, 8), lines(3, 10), lines(0, 1), None], [None, None, None, "no | such\nthing"])
    assert [(row["setting"]["inner_rate"], row["variant"]["model"], row["seeds"]) for row in rows] == [
        (0.5, "x", 2), (0.5, "y", 2), (1.0, "x", 1), (1.0, "y", 1)
    ]  # fmt: skip
    assert rows[0]["values"]["mse"] == pytest.approx({"mean": 2, "ci95": 12.706204736432095, "n": 2})
    assert rows[0]["values"]["defect.turn"]["mean"] == 1
    assert rows[1]["values"]["cosine"] is None
    assert rows[0]["lists"] == {"names": ["a", "b"]}
    assert rows[2]["failed"] == {"1": "no | such\nthing"}
    ordered = table(rows, "mse", descending=True).splitlines()
    assert [line.split("|")[2].strip() for line in ordered[2:]] == ["y", "x", "y", "x"]
    assert ordered[0].split("|")[1:-1][-1].strip() == "failed"
    assert "2 ± 13" in ordered[3]
    assert "seed 1: no / such thing" in ordered[4]
    assert "| none |" in ordered[2].replace(" " * 2, "")
    with pytest.raises(ConfigError, match="no value is called 'accuracy'; sort by one of mse, right, k"):
        table(rows, "accuracy")
    nothing = summarised(runs, [None] * 4, ["it broke"] * 4)
    assert table(nothing).count("seed 0, 1: it broke") == 2


def test_a_setting_is_no_value_of_its_own():
    """The noise of the summary is that of the grid, and has no second column."""
    runs = planned(read_options(["dimension", "--grid", "noise=0,1"]))
    rows = summarised(runs, [[{"noise": 0.0, "right": 1}], [{"noise": 1.0, "right": 0}]], [None, None])
    assert table(rows).splitlines()[0].split("|")[1:-1] == [" noise ", " right ", " seeds "]
