"""The dimension runner, and the arms of other runners that find the span in closed form."""

import json
from pathlib import Path

import pytest

from experiments import dimension, rotation, translation
from experiments.shared.closed_form import chunks_of, fit_span
from msr.errors import DataError
from msr.runs import command as _run
from msr.span.angles import span_cosine
from tasks import RotationTasks, TranslationTasks


def results(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


def find(*flags: str) -> int:
    return _run.main(dimension.Config, dimension.run, list(flags))


def test_dimensions_are_found_and_written(tmp_path, capsys):
    out = tmp_path / "run"
    flags = ["--families", "S6,C16", "--noise", "0,50", "--tasks", "240", "--seeds", "2", "--out", str(out)]
    assert find(*flags) == 0
    assert {path.name for path in out.iterdir()} == {
        "config.toml", "rows.jsonl", "results.json", "checkpoints", "dimension.png",
    }  # fmt: skip
    found = results(out)
    rows = {(row["family"], row["noise"], row["seed"]): row for row in found["rows"]}
    assert len(rows) == 8
    for (family, noise, _), row in rows.items():
        assert row["true_k"] == {"S6": 2, "C16": 16}[family]
        if noise == 0:
            assert row["k"] == row["true_k"]
            assert row["span_cosine"] > 0.99999
            assert row["converged"]
            assert len(row["cut"]["p_value"]) > row["k"]
            assert row["spectrum"].keys() == {"k", "edge", "null", "gap", "stability"}
            assert row["tasks"] == 240
        else:  # fifty times the signal hides it: a refusal that says why, never a made-up number
            assert row["k"] is None
            assert "look like noise" in row["says"]
    lines = {(line["family"], line["noise"]): line for line in found["summary"]}
    assert lines["S6", 0]["right"] == lines["S6", 0]["runs"] == 2
    assert lines["S6", 50]["right"] == 0
    assert lines["S6", 50]["gave_up"] == 2
    assert "2 of 2" in capsys.readouterr().out
    assert find(*flags, "--resume") == 0
    assert results(out)["rows"] == found["rows"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--families", "C17"], "unknown family 'C17'"),
        (["--noise", "a"], "--noise must be numbers"),
        (["--noise", "-1"], "must be finite and at least 0"),
        (["--tasks", "39"], "--tasks must be at least 40; got 39"),
        (["--examples", "1"], "--examples must be at least 2; got 1"),
        (["--k", "0"], "--k must be at least 1"),
        (["--k", "many"], "--k must be a count or auto; got 'many'"),
    ],
)
def test_bad_input_is_one_line(tmp_path, capsys, flags, message):
    assert find(*flags, "--out", str(tmp_path / "run")) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "flag", ["--data", "--batching", "--chunk-size", "--device", "--checkpoint-seconds", "--on-divergence"]
)
def test_flags_of_other_runners_do_not_exist_here(tmp_path, capsys, flag):
    """Tasks are made and nothing trains, so these flags could change nothing."""
    with pytest.raises(SystemExit) as stop:
        find(flag, "1", "--out", str(tmp_path / "run"))
    assert stop.value.code == 2
    assert capsys.readouterr().err == f"error: unrecognized arguments: {flag} 1 (see --help)\n"
    assert not (tmp_path / "run").exists()


def translate(*flags: str) -> int:
    tiny = ["--rank", "1", "--length", "16", "--models", "msr", "--tasks", "200", "--test-tasks", "20"]
    tiny += ["--batching", "vmap"]
    return _run.main(translation.Config, translation.run, [*tiny, *flags])


def test_translation_finds_its_span_in_closed_form(tmp_path):
    out = tmp_path / "run"
    assert translate("--inner", "direct,ridge", "--k", "auto", "--outer-steps", "3", "--out", str(out)) == 0
    rows = {row["inner"]: row for row in results(out)["rows"]}
    assert rows["direct"]["query_mse"]["mean"] < 1e-8
    assert rows["direct"]["span_cosine"] > 0.99999
    assert rows["direct"]["outer_steps"] == 0
    assert rows["direct"]["n_adapted"] == rows["ridge"]["n_adapted"] == 3  # the ridge arm gets the dimension, no more
    assert rows["ridge"]["query_mse"]["mean"] > 1e-3
    assert rows["direct"]["found"]["k"] == 3
    assert (out / "weights-direct.png").exists()


def test_the_direct_arm_is_for_msr_alone(tmp_path, capsys):
    assert translate("--models", "conv", "--inner", "direct", "--out", str(tmp_path / "a")) == 2
    assert "which --models msr alone learns" in capsys.readouterr().err
    assert translate("--models", "conv,msr", "--inner", "direct", "--out", str(tmp_path / "b")) == 0
    assert [row["model"] for row in results(tmp_path / "b")["rows"]] == ["msr"]


def test_rotation_finds_its_dimension(tmp_path):
    flags = ["--quick", "--size", "6", "--tasks", "300", "--test-tasks", "6", "--batch", "4", "--outer-steps", "2"]
    flags += ["--models", "conv,msr-ridge", "--k", "auto", "--group", "c4", "--batching", "vmap"]
    assert _run.main(rotation.Config, rotation.run, [*flags, "--out", str(tmp_path / "run")]) == 0
    assert {row["k"] for row in results(tmp_path / "run")["rows"]} == {None, 18}


def test_chunks_are_the_tasks_examples():
    family = TranslationTasks(rank=1, length=12, n_train=10)
    pieces = list(chunks_of(family, 10, chunk=4, examples=5)())
    assert [len(x) for x, _ in pieces] == [4, 4, 2]
    assert all(x.shape[1:] == (5, 12) and y.shape[1:] == (5, 10) for x, y in pieces)
    assert fit_span(family, 3, n_tasks=500).n_tasks == 10  # no more than the family has
    turning = RotationTasks(group="c4", size=6, n_train=60)
    with pytest.raises(DataError, match="all 15 directions"):  # 60 tasks give 15 axes: too few to see 18 dimensions
        fit_span(turning, "auto", kernel=3)
    turning = RotationTasks(group="c4", size=6, n_train=120)
    found = fit_span(turning, "auto", kernel=3)
    assert found.span.k == 18
    assert span_cosine(found.span.U, turning.true_span()) > 0.99999


def test_too_few_tasks_leave_the_direct_arm_out(tmp_path, capsys):
    few = ["--length", "40", "--tasks", "6", "--rank", "2", "--outer-steps", "1", "--test-tasks", "5"]
    assert translate(*few, "--out", str(tmp_path / "a")) == 0
    assert "the direct arm is left out: each row of the span has 40 inputs" in capsys.readouterr().err
    assert {row["inner"] for row in results(tmp_path / "a")["rows"]} == {"sgd", "ridge"}
    assert translate(*few, "--inner", "direct", "--out", str(tmp_path / "b")) == 2
    assert translate(*few, "--k", "auto", "--out", str(tmp_path / "c")) == 2


def test_auto_is_for_models_whose_k_is_free(tmp_path, capsys):
    assert translate("--models", "conv,oracle", "--k", "auto", "--out", str(tmp_path / "a")) == 2
    assert "--k auto is for msr and mtsr" in capsys.readouterr().err
    flags = ["--models", "mtsr", "--k", "auto", "--inner", "ridge", "--outer-steps", "2", "--out", str(tmp_path / "b")]
    assert translate(*flags) == 0
    (row,) = results(tmp_path / "b")["rows"]
    assert row["found"]["k"] == 3
