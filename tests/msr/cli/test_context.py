"""``msr context``: a table in, contexts judged side by side."""

import json
import os
import shlex

import numpy as np
import pytest
import torch

from msr.cli import main
from msr.contexture import parse_context
from tests.support.pages import read


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
    # A mixture would have a smaller τ, but explain much less of the target: it is no advice.
    assert near["advice"] is None
    assert "try: knn:5" not in shown
    assert near["p_value"] == 0.001
    assert f"({near['probed']})" in shown
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
    assert main(["context", str(table), "--drop", "answer", "--context", "knn:5", "--json", str(out)]) == 0
    (near,) = json.loads(out.read_text())["contexts"]
    assert near["advice"]["tau"] < near["tau"]
    assert f"try: {near['advice']['name']}" in capsys.readouterr().out


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
        (["--context", "labels"], "the context labels looks at the target: give --target COLUMN"),
        (["--target", "answer", "--context", "target"], "the context labels takes these"),
        (["--context", "knn:3\n"], "no line breaks"),
        (["--context", "rbf:1_0"], "is no number"),
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
    flags = ["--context", "rbf:auto", "--context", "knn:3", "--json", "-"]
    assert main(["context", str(tmp_path / "t.npz"), *flags]) == 0
    wide, near = json.loads(capsys.readouterr().out)["contexts"]
    assert wide["explained"] < 0.25
    assert wide["known"] < 0.25
    # So many functions explain most of any noise in the rows themselves.
    assert near["dimension"] > 75
    assert near["explained"] < 0.45


def test_a_rare_label_that_was_not_drawn_is_said(tmp_path, capsys):
    draw = np.random.default_rng(2)
    np.savez(tmp_path / "t.npz", x=draw.normal(size=(60, 2)), y=np.arange(60) == 59)
    flags = ["--context", "rbf:auto", "--rows", "6"]
    assert main(["context", str(tmp_path / "t.npz"), *flags]) == 2
    assert "in all 6 rows that were drawn; take more (--rows)" in capsys.readouterr().err


@pytest.mark.parametrize("scale", [1e-200, 1e155, 1e300])
def test_the_unit_of_a_target_does_not_matter(scale, tmp_path, capsys):
    draw = np.random.default_rng(3)
    x = draw.normal(size=(40, 2))
    known = []
    for unit in (1.0, scale):
        np.savez(tmp_path / "t.npz", x=x, y=unit * (x[:, 0] + 0.1 * x[:, 1]))
        assert (
            main(["context", str(tmp_path / "t.npz"), "--context", "rbf:auto", "--context", "target", "--json", "-"])
            == 0
        )
        known.append(json.loads(capsys.readouterr().out)["contexts"][0]["known"])
    assert known[0] == pytest.approx(known[1])
    assert known[0] > 0.3


def test_mixtures_get_no_advice_and_the_command_can_be_repeated(table, tmp_path, capsys):
    out = tmp_path / "a.json"
    flags = ["--context", "knn:2 + knn:3", "--context", "rbf:auto", "--drop=answer", "--json", str(out)]
    assert main(["context", str(table), *flags]) == 0
    first = json.loads(out.read_text())
    assert first["contexts"][0]["advice"] is None
    assert first["target_kind"] == "none"
    assert main([*shlex.split(first["command"])[1:], "--json", str(out)]) == 0
    assert json.loads(out.read_text()) == first


def test_the_page_holds_what_the_terminal_prints(table, tmp_path, capsys):
    page = tmp_path / "a.html"
    flags = ["--target", "answer", "--context", "knn:5", "--context", "rbf:auto", "--context", "labels"]
    assert main(["context", str(table), *flags]) == 0
    plain = capsys.readouterr()
    assert main(["context", str(table), *flags, "--html", str(page), "--json", str(tmp_path / "a.json")]) == 0
    shown = capsys.readouterr()
    assert shown.out == plain.out
    assert shown.err == f"page: {page}\n"
    text = " ".join(" ".join(read(page.read_text()).text).split())
    rows = [line.strip("|").split("|") for line in plain.out.splitlines() if line.startswith("|")]
    for cells in [rows[0], *rows[2:]]:
        assert " ".join(" ".join(cells).split()) in text
    answer = json.loads((tmp_path / "a.json").read_text())
    assert answer["command"] in text
    assert answer["notes"][0] in text
    assert "explains answer best" in text
    assert "is no chance" in text


def test_the_target_of_arrays_is_called_y_on_the_page(tmp_path, capsys):
    draw = np.random.default_rng(4)
    x = draw.normal(size=(60, 2))
    np.savez(tmp_path / "t.npz", x=x, y=x[:, 0])
    page = tmp_path / "a.html"
    assert main(["context", str(tmp_path / "t.npz"), "--context", "rbf:auto", "--html", str(page)]) == 0
    assert "<dd>y<small>numbers</small></dd>" in page.read_text()


def test_a_page_that_cannot_be_written_is_one_line(table, tmp_path, capsys):
    page = tmp_path / "a.html"
    short = ["context", str(table), "--drop", "answer", "--context", "rbf:auto"]
    twice = os.path.join(tmp_path, ".", "a.html")
    for flags, says in (
        (["--html", str(table)], "is the file that is read"),
        (["--html", str(page), "--json", twice], "--json and --html would both be written to"),
        (["--html", str(tmp_path / "none" / "a.html")], "cannot be written"),
        (["--html", str(tmp_path)], "cannot be written"),
        (["--html", ""], "no file can be called"),
    ):
        assert main([*short, *flags]) == 2
        error = capsys.readouterr().err
        assert says in error
        assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == [table.name]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no full device here")
def test_without_its_json_there_is_no_page(table, tmp_path, capsys):
    page = tmp_path / "a.html"
    page.write_text("as it was")
    flags = ["--drop", "answer", "--context", "rbf:auto", "--html", str(page), "--json", "/dev/full"]
    assert main(["context", str(table), *flags]) == 2
    seen = capsys.readouterr()
    assert "/dev/full" in seen.err
    assert not seen.out
    assert page.read_text() == "as it was"
    assert {path.name for path in tmp_path.iterdir()} == {table.name, page.name}


def test_a_target_of_chance_is_not_said_to_be_explained(tmp_path):
    draw = np.random.default_rng(0)
    found = []
    for number in range(8):
        np.savez(tmp_path / "t.npz", x=draw.normal(size=(80, 3)), y=draw.normal(size=80))
        flags = ["--context", "knn:10", "--context", "mask:0.3", "--html", str(tmp_path / f"{number}.html")]
        assert main(["context", str(tmp_path / "t.npz"), *flags]) == 0
        found.append("Explains it best" in (tmp_path / f"{number}.html").read_text())
    # At a level of 1%, two or more of eight come with a chance of 0.3%.
    assert sum(found) <= 1


def test_a_page_is_no_terminal(table, capsys):
    assert main(["context", str(table), "--html", "-"]) == 2
    assert "--html writes a page to a file" in capsys.readouterr().err


def test_the_target_of_arrays_is_named_in_json(tmp_path):
    draw = np.random.default_rng(4)
    np.savez(tmp_path / "t.npz", x=draw.normal(size=(40, 2)), y=draw.normal(size=40))
    assert main(["context", str(tmp_path / "t.npz"), "--json", str(tmp_path / "a.json")]) == 0
    assert json.loads((tmp_path / "a.json").read_text())["target"] == "y"


def test_a_group_moves_all_columns_in_one_unit(tmp_path):
    # Images of which one pixel never changes: without it there would be no grid, and each in a unit of its own no turn.
    draw = np.random.default_rng(0)
    images = draw.normal(size=(60, 3, 3)) * 5 + 20
    images[:, 0, 0] = 20
    np.savez(tmp_path / "t.npz", x=images.reshape(60, 9))
    flags = [
        "--context",
        "group:d4:grid:3",
        "--context",
        "group:d4:grid:3 * rbf:auto",
        "--json",
        str(tmp_path / "a.json"),
    ]
    assert main(["context", str(tmp_path / "t.npz"), *flags]) == 0
    group, _ = json.loads((tmp_path / "a.json").read_text())["contexts"]
    scaled = (images - images.mean()) / images.std()
    wanted = parse_context("group:d4:grid:3").on(torch.from_numpy(scaled.reshape(60, 9)))
    assert group["energy"] == pytest.approx(wanted.energy)


def test_more_rows_than_can_be_decomposed_are_refused_at_once(tmp_path, capsys):
    np.savez(tmp_path / "t.npz", x=np.random.default_rng(0).normal(size=(10_001, 1)))
    assert main(["context", str(tmp_path / "t.npz"), "--rows", "1000000"]) == 2
    assert "at most 10000 rows are looked at" in capsys.readouterr().err
