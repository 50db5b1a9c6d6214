"""The runner for two layers end to end: what it writes, what diverging does, and what bad input gets."""

import json
from pathlib import Path

import pytest
import torch

from experiments import deep
from msr.errors import NonFiniteError
from msr.meta import OuterLoop, Problem
from msr.runs import command as _run

TINY = ["--quick", "--tasks", "40", "--test-tasks", "6", "--batch", "4", "--batching", "vmap", "--implicit-steps", "2"]
TINY += ["--inner-steps", "2"]


def run_deep(*flags: str) -> int:
    return _run.main(deep.Config, deep.run, [*TINY, *flags])


def results(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


@pytest.mark.slow
def test_deep_writes_everything_it_promises(tmp_path, capsys):
    out = tmp_path / "run"
    assert run_deep("--out", str(out)) == 0
    names = {path.name for path in out.iterdir()}
    assert names == {"config.toml", "metrics.jsonl", "rows.jsonl", "results.json", "checkpoints", "curve.png"}
    found = results(out)
    assert found["zero_predictor_mse"]["n"] == 6
    rows = {(row["model"], row["solver"]): row for row in found["rows"]}
    assert list(rows) == [(model, solver) for model in deep.MODELS for solver in deep.SOLVERS]
    for (model, solver), row in rows.items():
        assert row["n_adapted"] == (32 if model == "msr-double" else 16)
        assert row["n_shared"] == {"msr": 2 * 64 * 8, "msr-double": 2 * 64 * 16, "oracle": 0}[model]
        assert row["outer_steps"] == (16 if solver == "sgd" else 8) // (4 if model == "oracle" else 1)
        assert row["query_mse"]["n"] == 6
        assert row["not_finite"] == 0
        assert row["diverged_at"] is None
        exact = row["equivariance_error"] < 1e-5
        assert exact is (model == "oracle")
        assert (
            row["inner"].keys()
            == {
                "sgd": {"log_rate.0.v", "log_rate.2.v"},
                "gn-unrolled": {"log_penalty", "log_damping"},
                "gn-implicit": {"log_penalty"},
            }[solver]
        )
    lines = {line["arm"]: line for line in found["summary"]}
    curve = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    early = [m["test"] for m in curve if m["arm"] == "msr-sgd-seed0" and m["step"] <= 8]
    assert lines["msr-sgd"]["at_equal_steps"]["mean"] == early[-1]
    assert lines["msr-gn-unrolled"]["at_equal_steps"]["mean"] == lines["msr-gn-unrolled"]["query_mse_median"]["mean"]
    printed = capsys.readouterr().out
    assert "| zero predictor" in printed
    assert "| msr-double-gn-implicit" in printed


def test_equivariance_error_sees_each_generator(tmp_path):
    """A turn commutes with turns, a flip with itself; neither commutes with both, so neither is equivariant to D4."""
    config = deep.Config(group="d4", test_tasks=3)
    family = deep.family_of(config, 0)
    loop = deep.outer_loop(deep.Arm("oracle", "sgd", 0), config, family)
    test = deep.test_set(family, config)
    assert deep.equivariance_error(loop, test, family) < 1e-5
    turn, flip = (family.rep_in.matrix(g).float() for g in family.group.generators)
    for move, broken in ((turn, True), (torch.eye(8), False), (flip, True)):
        loop.learner.problem = Problem(lambda params, x, move=move: x @ move.mT)
        assert (deep.equivariance_error(loop, test, family) > 0.1) is broken


def test_an_arm_that_diverges_is_judged_where_it_last_was_finite(tmp_path, monkeypatch, capsys):
    step = OuterLoop.step

    def breaks(self, *args):
        if self.steps_done == 2:
            raise NonFiniteError("outer step 2: the query loss is not finite")
        return step(self, *args)

    monkeypatch.setattr(OuterLoop, "step", breaks)
    out = tmp_path / "run"
    assert run_deep("--models", "oracle", "--solvers", "sgd", "--out", str(out)) == 0
    row = results(out)["rows"][0]
    assert (row["diverged"], row["diverged_at"], row["diverged_why"]) == (
        True,
        2,
        "outer step 2: the query loss is not finite",
    )
    assert row["outer_steps"] == 1  # the last state whose losses were finite
    assert row["seconds"] > 0
    printed = capsys.readouterr()
    assert "1 of 1 diverged" in printed.out
    assert "oracle-sgd-seed0: outer step 2" in printed.err


def test_seeds_are_averaged_and_resuming_repeats_nothing(tmp_path, monkeypatch):
    flags = [
        "--models",
        "oracle",
        "--solvers",
        "gn-unrolled",
        "--seeds",
        "2",
        "--nonlinearity",
        "tanh",
        "--group",
        "d4",
    ]
    out = tmp_path / "run"
    assert run_deep(*flags, "--out", str(out)) == 0
    found = results(out)
    values = [row["query_mse_median"] for row in found["rows"]]
    assert values[0] != values[1]
    assert found["summary"][0]["query_mse_median"]["mean"] == pytest.approx(sum(values) / 2)
    monkeypatch.setattr(deep, "run_arm", None)
    assert run_deep(*flags, "--out", str(out), "--resume") == 0
    assert results(out)["rows"] == found["rows"]


BAD = {
    "group": (["--group", "c9"], "--group must be c8 or d4; got 'c9'"),
    "model": (["--models", "cnn"], "unknown model 'cnn'; known: msr, msr-double, oracle"),
    "solver": (["--solvers", "adam"], "unknown solver 'adam'; known: sgd, gn-unrolled, gn-implicit"),
    "nonlinearity": (["--nonlinearity", "gelu"], "nonlinearity must be relu or tanh; got 'gelu'"),
    "shots": (["--shots", "24"], "--shots must be at most 23; got 24"),
    "steps": (["--gn-steps", "0"], "--gn-steps must be at least 1; got 0"),
    "rate": (["--sgd-rate", "-1"], "--sgd-rate must be positive; got -1.0"),
    "outer": (["--outer-rate", "0"], "--outer-rate must be positive; got 0.0"),
    "noise": (["--noise", "-1"], "noise must not be negative; got -1.0"),
}


def test_tasks_of_a_file_cannot_be_asked_for(tmp_path, capsys):
    """The runner needs to know the truth of its tasks, so it has no such flag."""
    with pytest.raises(SystemExit) as stop:
        run_deep("--data", "x.npz", "--out", str(tmp_path / "run"))
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: unrecognized arguments: --data x.npz (see --help)\n"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("fault", BAD)
def test_bad_input_is_one_line_and_status_two(fault, tmp_path, capsys):
    flags, says = BAD[fault]
    assert run_deep(*flags, "--out", str(tmp_path / "run")) == 2
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    assert text.startswith("error: ")
    assert says in text
    assert not (tmp_path / "run").exists()  # nothing half-written
