"""The contexture runner: its four studies, what is written, and what flags cannot be."""

import json

import pytest

from experiments import contexture
from msr.runs import command as _run


def study(*flags: str) -> int:
    return _run.main(contexture.Config, contexture.run, list(flags))


def test_every_study_is_written_and_continues(tmp_path, capsys):
    out = tmp_path / "run"
    assert study("--quick", "--seeds", "2", "--out", str(out)) == 0
    shown = capsys.readouterr().out
    found = json.loads((out / "results.json").read_text())
    lines = {(line["study"], line["variant"]): line for line in found["summary"]}
    units = {variant: line["unit_values"] for (part, variant), line in lines.items() if part == "census"}
    assert units == {
        "C6": 14, "D6": 13, "S6": 7, "C3 in C6": 24, "turns by 1 and 3": 24, "lazy walk on C6": 14, "half a step": 14,
    }  # fmt: skip
    assert all(line["orbits"] == line["unit_values"] for (part, _), line in lines.items() if part == "census")
    kept = lines["targets", "D6"]["compatibility2"]
    assert kept["chirality"] == pytest.approx(0, abs=1e-12)
    assert kept["two bits"] == pytest.approx(5 / 18)
    objectives = [line for (part, _), line in lines.items() if part == "learned"]
    assert [line["variant"] for line in objectives] == list(contexture.OBJECTIVES)
    assert all(line["runs"] == 2 for line in objectives)
    assert lines["learned", "SVME"]["optimum"] == pytest.approx(1.91000576)
    digits = lines["digits", "C4"]
    assert digits["purity_least"] == pytest.approx(1, abs=1e-9)
    assert digits["quotient_difference"] < 1e-12
    assert (out / "learned.png").is_file()
    assert "| SVME, weight 10" in shown
    assert study("--quick", "--seeds", "2", "--out", str(out), "--resume") == 0
    assert json.loads((out / "results.json").read_text())["rows"] == found["rows"]


def test_more_steps_come_nearer_to_the_exact_functions(tmp_path):
    out = tmp_path / "run"
    assert study("--studies", "learned", "--steps", "300", "--out", str(out), "--quiet") == 0
    rows = {row["variant"]: row for row in json.loads((out / "results.json").read_text())["rows"]}
    assert rows["low rank"]["angle"] < 5
    assert rows["low rank"]["share"] > 0.999
    assert rows["low rank"]["loss"] == pytest.approx(rows["low rank"]["optimum"], abs=1e-3)
    # A heavy penalty is the negative control: it is far away still.
    assert rows["SVME, weight 10"]["angle"] > 20


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--studies", "digits,all"], "unknown study 'all'"),
        (["--steps", "0"], "--steps"),
        (["--images", "4"], "--images"),
    ],
)
def test_flags_that_cannot_work_are_one_line(flags, says, capsys):
    assert study(*flags) == 2
    assert says in capsys.readouterr().err
