"""``msr context``: a table in, contexts judged side by side."""

import json

import numpy as np
import pytest

from msr.cli import main


@pytest.fixture
def table(tmp_path):
    """A table of 80 rows with a target that depends on the first column."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=(80, 3))
    rows = [f"{a:.6f},{b:.6f},{c:.6f},{'yes' if a > 0 else 'no'}" for a, b, c in x]
    path = tmp_path / "t.csv"
    path.write_text("a,b,c,answer\n" + "\n".join(rows) + "\n")
    return path


def test_contexts_are_judged_side_by_side(table, tmp_path, capsys):
    out = tmp_path / "a.json"
    flags = ["--target", "answer", "--context", "knn:5", "--context", "rbf:auto", "--context", "labels"]
    assert main(["context", str(table), *flags, "--json", str(out)]) == 0
    shown = capsys.readouterr().out
    answer = json.loads(out.read_text())
    assert [line["name"] for line in answer["contexts"]] == ["knn:5", "rbf:auto", "labels"]
    near, wide, labels = answer["contexts"]
    assert near["strength"] == "too strong"
    assert near["advice"]["tau"] < near["tau"]
    assert f"try: {near['advice']['name']}" in shown
    assert 0.3 < wide["known"] < near["known"] < 1
    assert 0.5 < wide["explained"] < 1
    assert labels["strength"] == "moderate"
    assert labels["explained"] == pytest.approx(1)
    assert labels["known"] == pytest.approx(1)
    assert labels["of_target"]
    assert "(is it)" in shown
    assert answer["command"].startswith("msr context ")
    assert main(["context", str(table), *flags, "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out) == answer


def test_rows_are_drawn_and_it_is_said(table, capsys):
    assert main(["context", str(table), "--rows", "30", "--drop", "answer", "--context", "rbf:auto"]) == 0
    shown = capsys.readouterr().out
    assert "30 rows of 3 columns, drawn from 80" in shown
    assert main(["context", str(table), "--rows", "30", "--drop", "answer"]) == 0
    assert "knn:10" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--context", "nearest"], "no context is written 'nearest'"),
        (["--context", "labels"], "give --target COLUMN"),
        (["--context", "knn:500"], "k must be a whole number from 1 to the number of points, 80"),
        (["--context", "group:d4:grid:8"], "acts on 64 numbers"),
        (["--target", "nothing"], "has no column 'nothing'"),
        (["--rows", "2"], "--rows must be a whole number from 5"),
        (["--seed", "-1"], "--seed must lie"),
    ],
)
def test_what_cannot_be_judged_is_one_line(table, flags, says, capsys):
    assert main(["context", str(table), *flags]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.startswith("error: ")


def test_a_file_that_is_none_is_one_line(tmp_path, capsys):
    assert main(["context", str(tmp_path / "none.csv")]) == 2
    assert "no such file" in capsys.readouterr().err


def test_a_target_of_noise_is_not_explained(tmp_path, capsys):
    draw = np.random.default_rng(1)
    np.savez(tmp_path / "t.npz", x=draw.normal(size=(150, 3)), y=draw.normal(size=150))
    assert main(["context", str(tmp_path / "t.npz"), "--context", "rbf:auto", "--json", "-"]) == 0
    (line,) = json.loads(capsys.readouterr().out)["contexts"]
    assert line["explained"] < 0.25
    assert line["known"] < 0.25
