"""The foundation runner: the theory's numbers, what is written, and that a wrong number is said."""

import io
import json
from contextlib import redirect_stdout

import pytest

from experiments import foundation
from experiments.foundations import tables
from experiments.foundations.cases import case
from experiments.foundations.naturalities import shared_permutations
from experiments.foundations.random_tables import random_cases
from experiments.foundations.small import two_prompts
from experiments.foundations.tables import TableStudy
from msr.runs import command as _run


def study(*flags: str) -> int:
    return _run.main(foundation.Config, foundation.run, list(flags))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A whole quick run: its folder, what it wrote, and what it showed."""
    out = tmp_path_factory.mktemp("foundation") / "run"
    with redirect_stdout(io.StringIO()) as shown:
        assert study("--quick", "--seeds", "2", "--out", str(out), "--quiet") == 0
    return out, json.loads((out / "results.json").read_text()), shown.getvalue()


@pytest.fixture(scope="module")
def lines(written):
    return {(line["study"], line["variant"]): line for line in written[1]["summary"]}


def test_every_number_of_the_theory_is_exact(written, lines):
    found = {variant: (line["right"], line["of"]) for (part, variant), line in lines.items() if part == "tables"}
    assert list(found) == [f"T{n}" for n in range(1, 16)]
    assert all(right == of > 0 for right, of in found.values())
    assert sum(of for _, of in found.values()) == 134
    cases = {row["variant"]: row["cases"] for row in written[1]["rows"] if row["study"] == "tables"}
    assert cases["T2"][0]["expected"] == cases["T2"][0]["computed"] == [[1, 0, 0], [1, 2, 0], [1, 2, 4]]


def test_prompt_power(lines):
    power = {variant: line for (part, variant), line in lines.items() if part == "prompting"}
    counts = {variant: (line["all_promptable"], line["all_tasks"], line["size"]) for variant, line in power.items()}
    assert {name: counts[name] for name in ("C4", "S4", "D4", "rotation, aut", "rotation, orbit")} == {
        "C4": (1, 35, 8), "S4": (0, 66, 8), "D4": (1, 172, 8), "rotation, aut": (2, 238, 8),
        "rotation, orbit": (2, 6, 8),
    }  # fmt: skip
    assert (power["chain"]["promptable"], power["chain"]["tasks"][:3]) == ([0, 1, 1, 1, 0], [1, 1, 2])
    assert counts["diamond"] == (4, 25, 4)
    assert power["idempotent"]["tasks"] == [1, 1, 2, 3, 5]
    # What discovery named has the power of what was hidden.
    assert counts["named C4"] == counts["C4"]
    assert counts["named D4"] == counts["D4"]
    assert "C4" in power["named C4"]["words"]


def test_downstream_tasks(lines):
    counts = {
        variant: (line["tasks"], line["pointwise"], line["promptable"])
        for (part, variant), line in lines.items()
        if part == "downstream" and "answers" in line
    }
    assert counts == {
        "1 image, aut: 1 answer": (1, 0, 0), "1 image, aut: 2 answers": (2, 0, 0),
        "1 image, aut: 4 answers": (4, 4, 1), "2 images, aut: 1 answer": (1, 0, 0),
        "2 images, aut: 2 answers": (4, 0, 0), "2 images, aut: 4 answers": (16, 0, 0),
        "1 image, orbit: 1 answer": (1, 1, 1), "1 image, orbit: 2 answers": (1, 0, 0),
        "2 images, orbit: 1 answer": (1, 0, 0), "2 images, orbit: 2 answers": (1, 0, 0),
        "1 image, same after half a turn, orbit: 1 answer": (1, 0, 0),
        "1 image, same after half a turn, orbit: 2 answers": (2, 2, 1),
    }  # fmt: skip
    for hidden, of_places in (("C4", 4), ("D4", 0)):
        line = lines["downstream", f"named {hidden}"]
        assert line["group"] == hidden
        assert all(task["fine_tuned"] for task in line["tasks"])
        assert all(task["promptable"] == (task["prompts"] > 0) for task in line["tasks"])
        prompts = {task["task"]: (task["answers"], task["prompts"]) for task in line["tasks"]}
        order = {"C4": 4, "D4": 8}[hidden]
        assert prompts == {
            "one label, whatever the pose": (1, 0), "two labels, whatever the pose": (2, 0), "a place": (4, of_places),
            "a place and another that belongs to it": (order, order), "the pose": (order, order),
            "a mask: any set of places": (16, 0),
        }  # fmt: skip


def test_the_tail_is_the_contextures_for_density_ratios_alone(lines):
    for source in ("next letters", "turned bits"):
        assert lines["surrogate", f"{source}, density ratio"]["off"] < 1e-12
        for kind in ("log-probability", "PMI"):
            line = lines["surrogate", f"{source}, {kind}"]
            assert line["off"] > 0.5
            assert line["off_in_shape"] > 0.1


def test_structure_is_carried_where_nothing_is_missing(lines):
    full = lines["transfer", "full embedding"]
    noisy = lines["transfer", "full embedding, 5% noise"]
    loose = lines["transfer", "not full"]
    assert full["fullness"]["mean"] < 1e-12
    assert full["across"]["mean"] < 1e-9
    assert full["across_by_pairs"][0] > 0.1  # four pairs do not fix six numbers
    assert min(full["unaligned"]["mean"], full["shuffled"]["mean"]) > 0.5
    assert 0.005 < noisy["across"]["mean"] < 0.1
    assert min(loose["across"]["mean"], loose["fullness"]["mean"]) > 0.4
    assert full["across"]["n"] == 2
    assert full["held_out"] == 20


def test_pointwise_is_not_natural(lines):
    counts = {
        variant: (line["tasks"], line["pointwise"], line["natural"])
        for (part, variant), line in lines.items()
        if part == "caution" and "tasks" in line
    }
    assert counts == {
        "C2": (2, 2, 1), "C3": (2, 2, 1), "C4": (4, 4, 1), "V4": (11, 11, 1), "C6": (8, 8, 1), "S3": (8, 8, 1),
        "D4": (72, 72, 1),
    }  # fmt: skip
    tie = lines["caution", "two prompts of equal sizes"]
    assert (tie["answers"], tie["prompts"], tie["pointwise"], tie["natural"]) == ([2, 2], 2, 2, 1)
    assert two_prompts().hom_count.tolist() == [[2, 2], [2, 2]]


def test_naturality_is_equivariance_and_more(lines):
    layer = lines["naturality", "a layer of C4"]
    assert layer["right"] < 1e-15 < 0.01 < layer["broken"]
    assert layer["broken"] == pytest.approx(layer["broken_by_equivariance"], rel=1e-14)
    assert layer["apart"] < 1e-15
    assert (layer["dim"], layer["expected_dim"], layer["group"]) == (4, 4, 4)
    windows = lines["naturality", "windows"]
    assert windows["right"] < 1e-15 < 0.01 < windows["broken"]
    assert (windows["dim"], windows["group"], windows["group_circular"]) == (3, 1, 6)
    partial = lines["naturality", "a partial symmetry"]
    assert partial["verdict"] == "none"
    assert "translation" in partial["name"]
    assert partial["right"] < 1e-6 < 0.01 < partial["broken"]
    assert [shared_permutations(n, 2, circular=True) for n in (4, 5)] == [4, 5]
    assert [shared_permutations(n, 2, circular=False) for n in (4, 5)] == [1, 1]
    assert shared_permutations(4, 1, circular=False) == 24


def test_what_is_written(written):
    out, found, shown = written
    pictures = {path.name for path in out.glob("*.png")}
    assert pictures == {"prompting.png", "surrogate.png", "transfer.png", "caution.png", "naturality.png"}
    assert len(found["says"]) == 3
    assert "solves 1 of 35 tasks with at most 8 answers" in found["says"][0]
    assert "of 20 unseen objects with an error of 0%" in found["says"][1]
    assert "all 4 tasks" in found["says"][2]
    # What needs no category theory comes first.
    assert shown.startswith("| the model was trained to relate")
    assert shown.index("1 (2.9%)") < shown.index(found["says"][0]) < shown.index("| T1 ")


def test_a_run_continues(tmp_path):
    flags = ["--studies", "transfer", "--quick", "--seeds", "2", "--out", str(tmp_path / "run")]
    assert study(*flags) == 0
    found = json.loads((tmp_path / "run" / "results.json").read_text())
    (tmp_path / "run" / "transfer.png").unlink()
    assert study(*flags, "--resume") == 0
    assert json.loads((tmp_path / "run" / "results.json").read_text())["rows"] == found["rows"]
    assert (tmp_path / "run" / "transfer.png").is_file()


def test_a_wrong_number_is_said(monkeypatch):
    wrong = {"T4": ("marks", lambda: [case("right", [1], (1,)), case("S3", [[6, 3]], [[6, 2]])])}
    monkeypatch.setattr(tables, "TABLES", wrong)
    sheet = TableStudy()
    line = sheet.line("T4", [sheet.row("T4", 0)])
    assert (line["right"], line["of"]) == (1, 2)
    shown = sheet.table([{"variant": "T4", **line}])
    assert "S3: [[6, 3]] expected, [[6, 2]] computed" in shown


def test_random_tables_are_those_of_their_seed():
    assert random_cases(3, 4) == random_cases(3, 4)
    assert all(found.right for found in random_cases(4, 12))


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--studies", "tables,all"], "unknown study 'all'"),
        (["--size", "0"], "--size"),
        (["--studies", "caution", "--size", "4"], "--size is of the study of prompting"),
        (["--studies", "caution", "--pairs", "4"], "--pairs is of the study of transfer"),
        (["--pairs", "39"], "--pairs"),
    ],
)
def test_flags_that_cannot_work_are_one_line(flags, says, capsys):
    assert study(*flags) == 2
    assert says in capsys.readouterr().err
