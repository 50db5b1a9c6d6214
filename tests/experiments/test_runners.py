"""Runners end to end: what they write, how they stop and continue, and what bad input gets."""

import json
import os
import signal
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments import omniglot, translation
from experiments.__main__ import runners
from experiments.few_shot import data
from msr.meta import OuterLoop
from msr.runs import command as _run
from tests.support import ROOT
from tests.support.cases import needs_data

TINY = ["--length", "12", "--test-tasks", "10", "--batch", "4", "--batching", "vmap"]


def translate(*flags: str) -> int:
    return _run.main(translation.Config, translation.run, [*TINY, *flags])


def results(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


def test_translation_writes_everything_it_promises(tmp_path, capsys):
    out = tmp_path / "run"
    models = "fc,lc,conv,msr,mtsr,oracle"
    assert translate("--models", models, "--outer-steps", "4", "--seeds", "2", "--out", str(out)) == 0
    names = {path.name for path in out.iterdir()}
    assert names == {
        "config.toml", "metrics.jsonl", "rows.jsonl", "results.json", "checkpoints",
        "curve.png", "span.png", "sharing.png", "weights-sgd.png", "weights-ridge.png", "weights-direct.png",
    }  # fmt: skip
    found = results(out)
    assert set(found) >= {"experiment", "config", "environment", "rows"}
    assert len(found["rows"]) == 2 * (2 * 6 + 1)  # the direct arm is msr's
    for row in found["rows"]:
        assert row["query_mse"].keys() == {"mean", "ci95", "n"}
        assert row["query_mse"]["n"] == 10
        assert row["seconds"] > 0
        assert row["outer_steps"] == (0 if row["inner"] == "direct" else 5 if row["model"] == "mtsr" else 4)
        assert ("span_cosine" in row) is (row["model"] in ("msr", "mtsr"))
    printed = capsys.readouterr()
    assert "| oracle" in printed.out
    assert "95% over seeds" in printed.out
    assert all((out / name).read_bytes().startswith(b"\x89PNG") for name in names if name.endswith("png"))


@pytest.mark.slow
def test_the_table_is_about_learning(tmp_path, capsys):
    """What the paper claims, on a short signal: MSR finds the rank-2 pattern, a convolution cannot."""
    out = tmp_path / "run"
    flags = ["--models", "conv,msr,oracle", "--inner", "ridge", "--length", "16", "--test-tasks", "100"]
    assert _run.main(translation.Config, translation.run, [*flags, "--batching", "vmap", "--out", str(out)]) == 0
    mse = {row["model"]: row["query_mse"]["mean"] for row in results(out)["rows"]}
    cosine = {row["model"]: row.get("span_cosine") for row in results(out)["rows"]}
    assert mse["conv"] > 0.1
    assert mse["msr"] < 1e-3
    assert mse["oracle"] < 1e-5
    assert cosine["msr"] > 0.99


def test_stopping_and_resuming_gives_the_same_bits(tmp_path, monkeypatch, capsys):
    """Interrupted in the second of three arms, then continued: parameters, metrics and rows are those of one run."""
    flags = ["--models", "conv,msr,mtsr", "--inner", "ridge", "--outer-steps", "8"]
    assert translate(*flags, "--out", str(tmp_path / "whole")) == 0
    step, count = OuterLoop.step, [0]

    def interrupted(self, *args):
        count[0] += 1
        if count[0] == 13:
            os.kill(os.getpid(), signal.SIGINT)  # Ctrl-C in the middle of a step: the step is finished, then saved
        return step(self, *args)

    monkeypatch.setattr(OuterLoop, "step", interrupted)
    assert translate(*flags, "--out", str(tmp_path / "cut")) == 130
    assert "continue with --resume" in capsys.readouterr().err
    assert not (tmp_path / "cut" / "results.json").exists()
    saved = torch.load(tmp_path / "cut" / "checkpoints" / "msr-ridge-seed0.pt", weights_only=True)
    assert saved["steps_done"] == 5
    monkeypatch.setattr(OuterLoop, "step", step)
    assert translate(*flags, "--out", str(tmp_path / "cut"), "--resume") == 0
    for arm in ("conv-ridge-seed0", "msr-ridge-seed0", "mtsr-joint-seed0", "mtsr-ridge-seed0"):
        a, b = (
            torch.load(tmp_path / run / "checkpoints" / f"{arm}.pt", weights_only=True)["params"]
            for run in ("whole", "cut")
        )
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    metrics = [
        [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in path.read_text().splitlines()]
        for path in (tmp_path / "whole" / "metrics.jsonl", tmp_path / "cut" / "metrics.jsonl")
    ]
    assert metrics[0] == metrics[1]
    rows = [[{**row, "seconds": 0} for row in results(tmp_path / run)["rows"]] for run in ("whole", "cut")]
    assert rows[0] == rows[1]


def test_reference_files_train_and_compare_with_their_truth(tmp_path):
    data = needs_data("reference_tasks/rank1.npz")
    flags = ["--data", str(data), "--rank", "1", "--models", "msr,oracle", "--inner", "ridge", "--outer-steps", "220"]
    assert _run.main(translation.Config, translation.run, [*flags, "--out", str(tmp_path / "run")]) == 0
    msr, oracle = results(tmp_path / "run")["rows"]
    assert msr["query_mse"]["n"] == 80
    assert msr["span_cosine"] > 0.9
    assert oracle["query_mse"]["mean"] < 1e-6


def write_npz(path: Path, **change) -> str:
    arrays = {"x": np.ones((10, 4, 1, 8), np.float32), "y": np.ones((10, 4, 1, 6), np.float32), **change}
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
    return str(path)


def write_config(folder: Path, text: str) -> str:
    (folder / "c.toml").write_text(text + "\n")
    return str(folder / "c.toml")


def nan_in_y(path):
    y = np.ones((10, 4, 1, 6), np.float32)
    y[2, 1, 0, 3] = np.nan
    return write_npz(path, y=y)


def pickled(path):
    return write_npz(path, y=np.array([[{}] * 4] * 10, dtype=object))


BAD_TRANSLATION = {
    "model": (lambda t: ["--models", "cnn"], "unknown model 'cnn'; known: fc, lc, conv, msr, mtsr, oracle"),
    "inner": (lambda t: ["--inner", "newton"], "unknown inner solver 'newton'"),
    "flag": (lambda t: ["--rankk", "2"], "unrecognized arguments: --rankk 2"),
    "number": (lambda t: ["--rank", "two"], "argument --rank: invalid int value: 'two'"),
    "dashes": (lambda t: ["--threads=--"], "-- is no value of a flag"),
    "dashes config": (lambda t: ["--config=--"], "-- is no value of a flag"),
    "k": (lambda t: ["--k", "999"], "k must be between 1 and the 120 numbers of a weight (10, 12); got 999"),
    "no tasks": (lambda t: ["--tasks", "0"], "--tasks must be at least 1; got 0"),
    "device": (lambda t: ["--device", "abacus"], "--device abacus cannot be used here"),
    "resume": (lambda t: ["--resume"], "--resume needs --out"),
    "missing file": (lambda t: ["--data", str(t / "no.npz")], "no such file"),
    "shapes": (lambda t: ["--data", write_npz(t / "a.npz", y=np.ones((9, 4, 1, 6)))], "x has 10 tasks (axis 0)"),
    "labels": (lambda t: ["--data", write_npz(t / "a.npz", y=np.ones((10, 4), int))], "maps the last axis of x"),
    "empty": (lambda t: ["--data", write_npz(t / "a.npz", x=np.ones((0, 4, 1, 8)))], "is empty along axis 0"),
    "pickle": (lambda t: ["--data", pickled(t / "a.npz")], "holds Python objects"),
    "nan": (lambda t: ["--data", nan_in_y(t / "a.npz")], "'y' has a nan at index (2, 1, 0, 3)"),
    "no truth": (lambda t: ["--data", write_npz(t / "a.npz"), "--models", "oracle"], "needs the truth"),
    "kernel": (lambda t: ["--data", write_npz(t / "a.npz"), "--models", "lc", "--kernel", "2"], "--kernel 2"),
    "shots": (lambda t: ["--data", write_npz(t / "a.npz"), "--shots", "4"], "shots must be 1 to 3; got 4"),
    "both": (lambda t: ["--data", write_npz(t / "a.npz"), "--tasks", "80"], "--tasks describes tasks that are made"),
    "no config": (lambda t: ["--config", str(t / "no.toml")], "no.toml cannot be read"),
    "bad config": (lambda t: ["--config", write_config(t, 'rank = "two"')], "rank must be a int; got 'two'"),
    "foreign config": (lambda t: ["--config", write_config(t, "ranks = 2")], "unknown key 'ranks'"),
    "no toml": (lambda t: ["--config", write_config(t, "rank: 2")], "is not a config.toml"),
}


@pytest.mark.parametrize("fault", BAD_TRANSLATION)
def test_bad_input_is_one_line_and_status_two(fault, tmp_path, capsys):
    make, says = BAD_TRANSLATION[fault]
    out = [] if fault == "resume" else ["--out", str(tmp_path / "run")]
    try:
        flags = make(tmp_path)
        if "--data" in flags:
            status = _run.main(translation.Config, translation.run, [*flags, *out])
        else:
            status = translate(*flags, *out)
    except SystemExit as stop:  # argparse's own way
        status = stop.code
    text = capsys.readouterr().err
    assert status == 2
    assert text.count("\n") == 1
    assert text.startswith("error: ")
    assert says in text
    assert not (tmp_path / "run").exists()  # nothing half-written


def test_bad_image_files_are_one_line_and_status_two(tmp_path, capsys):
    def run(*flags):
        return _run.main(omniglot.Config, omniglot.run, ["--quick", "--out", str(tmp_path / "run"), *flags])

    for flags, says in (
        (["--data", str(tmp_path)], "holds neither"),
        (["--shots", "200"], "200 shots and 5 queries need 205 images a class"),
        (["--ways", "6"], "6 ways need as many classes, but the train images have 5"),
        (["--models", "protonet"], "unknown model 'protonet'"),
        (["--outer-rate", "-1"], "--outer-rate must not be negative; got -1.0"),
        (["--inner-rate", "-1"], "--inner-rate must not be negative; got -1.0"),
        (["--one-shot-runs", "all_runs.zip"], "need --ways 20 --shots 1; got 5 and 1"),
        (["--engine", "higher"], "takes gradient steps only, and protonets fits its head in closed form; leave it out"),
        (["--test-inner-steps", "-1"], "--test-inner-steps must not be negative; got -1"),
    ):
        assert run(*flags) == 2
        text = capsys.readouterr().err
        assert says in text
        assert text.count("\n") == 1
    for name in data.SMALL:
        with zipfile.ZipFile(tmp_path / name, "w") as file:
            file.writestr("s/A/c/0.png", b"\x89PNG")
    (tmp_path / data.SMALL[0]).write_bytes((tmp_path / data.SMALL[0]).read_bytes()[:40])
    assert run("--data", str(tmp_path)) == 2
    assert f"{data.SMALL[0]} is not a whole zip file" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_unwritable_and_used_folders_are_refused(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert translate("--outer-steps", "1", "--out", str(tmp_path / "file" / "run")) == 2
    assert "cannot be written" in capsys.readouterr().err
    flags = ["--models", "conv", "--inner", "ridge", "--outer-steps", "2", "--out", str(tmp_path / "run")]
    assert translate(*flags) == 0
    assert translate(*flags) == 2
    assert "already holds a run; continue it with --resume" in capsys.readouterr().err
    assert translate(*flags, "--resume", "--seed", "5") == 2
    assert "was run with seed = 0, not 5" in capsys.readouterr().err
    assert translate("--resume", "--out", str(tmp_path / "nothing")) == 2
    assert "holds no run to continue" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder_is_refused(tmp_path, capsys):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    assert translate("--out", str(tmp_path / "run")) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_a_loss_that_is_not_finite_stops_the_arm_and_not_the_run(tmp_path, capsys, monkeypatch):
    from tasks import TranslationTasks

    episodes = TranslationTasks.episodes

    def poisoned(self, split, tasks):
        e = episodes(self, split, tasks)
        if split == "train":
            e.query_y[:] = float("inf")
        return e

    monkeypatch.setattr(TranslationTasks, "episodes", poisoned)
    flags = ["--models", "conv,mtsr", "--inner", "sgd", "--outer-steps", "5", "--out", str(tmp_path / "run")]
    assert translate(*flags) == 0
    printed = capsys.readouterr()
    assert "conv-sgd-seed0: outer step 0: the query loss is not finite for tasks" in printed.err
    assert printed.out.count("1 of 1 diverged") == 2
    for row in results(tmp_path / "run")["rows"]:
        assert (row["diverged"], row["diverged_at"], row["outer_steps"]) == (True, 0, 0)
        assert row["query_mse"]["n"] == 10  # judged as it started
    kept = torch.load(tmp_path / "run" / "checkpoints" / "conv-sgd-seed0.pt", weights_only=True)
    assert kept["steps_done"] == 0
    assert all(t.isfinite().all() for group in kept["params"].values() for t in group.values())


def test_a_runs_config_starts_the_same_run_again(tmp_path):
    flags = ["--models", "conv", "--inner", "ridge", "--outer-steps", "3", "--seed", "4"]
    assert translate(*flags, "--out", str(tmp_path / "a")) == 0
    again = ["--config", str(tmp_path / "a" / "config.toml"), "--out", str(tmp_path / "b")]
    assert _run.main(translation.Config, translation.run, again) == 0
    a, b = (results(tmp_path / name)["rows"][0] for name in "ab")
    assert (a["query_mse"], b["seed"]) == (b["query_mse"], 4)
    assert _run.main(translation.Config, translation.run, [*again[:3], str(tmp_path / "c"), "--seed", "5"]) == 0
    assert results(tmp_path / "c")["rows"][0]["seed"] == 5  # a flag overrides the file


def test_omniglot_continues_in_the_middle_of_an_arm(tmp_path, monkeypatch):
    small = ["--quick", "--models", "maml,msr", "--ways", "2", "--width", "2", "--test-inner-steps", "1"]

    def run(name, *flags):
        return _run.main(omniglot.Config, omniglot.run, [*small, "--out", str(tmp_path / name), *flags])

    assert run("whole") == 0
    step, count = OuterLoop.step, [0]

    def interrupted(self, *args):
        count[0] += 1
        if count[0] == 6:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, *args)

    monkeypatch.setattr(OuterLoop, "step", interrupted)
    assert run("cut") == 130
    monkeypatch.setattr(OuterLoop, "step", step)
    assert run("cut", "--resume") == 0
    a, b = (torch.load(tmp_path / n / "checkpoints" / "msr-seed0.pt", weights_only=True) for n in ("whole", "cut"))
    torch.testing.assert_close(a["params"], b["params"], rtol=0, atol=0)
    assert [r["accuracy"] for r in results(tmp_path / "whole")["rows"]] == [
        r["accuracy"] for r in results(tmp_path / "cut")["rows"]
    ]


def test_the_command_lists_its_runners_and_their_help():
    assert set(runners()) == {
        "attention_flow", "context_usefulness", "contexture", "deep", "dimension", "discovery", "encoder_scaling",
        "foundation", "invariance", "named_group", "omniglot", "rotation", "translation",
    }  # fmt: skip
    listing = subprocess.run(
        [sys.executable, "-m", "experiments"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert all(f"python -m experiments.{name}" in listing.stdout for name in runners())
    shown = subprocess.run(
        [sys.executable, "-m", "experiments.translation", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for flag in ("--rank", "--models", "--inner-steps", "--resume", "--quick", "--data"):
        assert flag in shown.stdout
    assert "python -m experiments.translation" in shown.stdout


def test_a_killed_writer_leaves_a_readable_folder(tmp_path):
    flags = ["--models", "conv", "--inner", "ridge", "--outer-steps", "4", "--out", str(tmp_path / "run")]
    assert translate(*flags) == 0
    rows = tmp_path / "run" / "rows.jsonl"
    (tmp_path / "run" / "checkpoints" / "conv-ridge-seed0.pt").unlink()
    rows.write_text('{"arm": "conv-ri')  # the only arm was being written
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"arm": "conv-ri')
    for _ in range(2):  # what the first resume writes, the second can read
        assert translate(*flags, "--resume") == 0
        assert len(results(tmp_path / "run")["rows"]) == len(rows.read_text().splitlines()) == 1
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines if line["step"] == 0] == ["missing checkpoint"]
    assert [line["step"] for line in lines[1:]] == [
        1,
        2,
        3,
        4,
    ]  # the lines past the lost checkpoint were dropped and written again, once
