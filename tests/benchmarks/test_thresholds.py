"""Moves of constants, the record of which are read, and the counts that the table shows."""

import json
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from benchmarks import thresholds
from benchmarks.calibration_files.files import cells
from benchmarks.harness.command import command
from benchmarks.thresholds import FILES, ROOMS, Answer, Move, moves_of, recorded_reads
from msr.thresholds import Current, threshold


def constant(value, unit):
    return threshold(value, unit=unit, reason="a test", calibrated="by hand")


@dataclass(frozen=True)
class Constants:
    weak: float = constant(0.1, "share of the largest weight")
    most: float = constant(0.75, "share of the tasks")
    ratio: float = constant(0.75, "ratio of two sizes")
    draws: int = constant(9, "draws")
    single: int = constant(1, "tasks")
    nothing: int = constant(0, "tasks")
    careful: bool = constant(True, "none")
    shares: tuple[float, ...] = constant((0.2, 0.5), "share of the tasks")
    mode: str = constant("auto", "none")


def values(field):
    """What a field is moved to, by label and direction."""
    return {(move.label, move.direction): move.value for move in moves_of("room", Constants()) if move.field == field}


def test_numbers_are_doubled_and_halved():
    assert values("draws") == {("draws", "×2"): 18, ("draws", "÷2"): 4}
    assert values("weak") == {("weak", "×2"): 0.2, ("weak", "÷2"): 0.05}
    assert values("ratio") == {("ratio", "×2"): 1.5, ("ratio", "÷2"): 0.375}


def test_a_share_stays_below_one():
    assert values("most") == {("most", "×2"): 0.875, ("most", "÷2"): 0.375}


def test_a_move_that_leaves_the_value_is_left_out():
    assert values("single") == {("single", "×2"): 2, ("single", "÷2"): 0}
    assert values("nothing") == {}
    assert values("mode") == {}


def test_elements_are_moved_one_by_one_and_switches_switched():
    assert values("careful") == {("careful", "switched"): False}
    assert values("shares") == {
        ("shares[0]", "×2"): (0.4, 0.5),
        ("shares[0]", "÷2"): (0.1, 0.5),
        ("shares[1]", "×2"): (0.2, 0.75),
        ("shares[1]", "÷2"): (0.2, 0.25),
    }


def test_reads_are_recorded_within_the_block_alone():
    current = {"room": Current(Constants())}
    with recorded_reads(current) as reads:
        assert current["room"]().draws == 9
        assert current["room"]().weak == 0.1
    assert current["room"]().most == 0.75
    assert reads == {("room", "draws"), ("room", "weak")}
    assert "__getattribute__" not in vars(Constants)


def test_an_error_ends_the_record():
    with pytest.raises(ZeroDivisionError), recorded_reads({"room": Current(Constants())}):
        raise ZeroDivisionError
    assert "__getattribute__" not in vars(Constants)


@pytest.fixture
def pretended(monkeypatch):
    """Two files, and an answer that depends on the constants as each test says."""
    room = Current(Constants())
    monkeypatch.setattr(thresholds, "rooms", lambda: {"room": room})
    monkeypatch.setattr(thresholds, "FILES", (("a", 0), ("b", 0)))
    monkeypatch.setattr(thresholds, "file_of", lambda cell, number: (cell, SimpleNamespace()))

    def pretend(answer):
        monkeypatch.setattr(thresholds, "answer_to", lambda file: answer(file, room()))
        monkeypatch.setattr(thresholds, "judged", lambda file, problem, failure, discovery: Answer(*discovery))

    return pretend


def row(results, constant, direction):
    move = next(m for m in moves_of("room", Constants()) if (m.label, m.direction) == (constant, direction))
    (found,) = (r for r in results["rows"] if (r["constant"], r["moved"]) == (constant, move.moved))
    return {key: found[key] for key in ("read", "changed", "gained", "lost", "wrong", "failed") if found[key]}


def test_what_is_gained_lost_wrong_and_changed(pretended):
    def answer(file, constants):
        if file == "b":
            return "", ("right", False, "b")  # reads nothing
        if constants.draws > 9:
            return "", ("wrong", False, "larger")
        if constants.draws < 9:
            return "", ("right", False, "smaller")
        return "", ("cannot tell", False, f"{constants.weak < 0.2}")

    pretended(answer)
    results = json.loads(json.dumps(thresholds.run(files=2)))
    assert row(results, "draws", "×2") == {"read": 1, "changed": 1, "wrong": 1}
    assert row(results, "draws", "÷2") == {"read": 1, "changed": 1, "gained": 1}
    assert row(results, "weak", "×2") == {"read": 1, "changed": 1}
    assert row(results, "weak", "÷2") == {"read": 1}
    assert row(results, "ratio", "×2") == {}
    (line,) = thresholds.headlines(results)
    assert line.ours == "7 of 8"  # of those that can be moved, all but draws
    assert line.beside == "6 change nothing at all, 1 make an answer wrong"
    (header, rows), (_, still), (_, files) = thresholds.tables(results).values()
    assert all(len(cells) == len(header) for cells in rows)
    assert {cells[1] for cells in rows} == {"draws", "weak"}
    assert sum(len(constants.split(", ")) for _, _, constants in still) == 6
    assert [file[2] for file in files] == ["cannot tell", "right"]


def test_a_name_that_is_lost_and_an_answer_that_fails(pretended):
    def answer(file, constants):
        if constants.single == 0:
            return "", ("error", False, "error: ZeroDivisionError")
        return "", ("right", False, "")

    pretended(answer)
    results = thresholds.run(files=2, only="single")
    assert {r["constant"] for r in results["rows"]} == {"single"}
    assert row(results, "single", "÷2") == {"read": 2, "changed": 2, "lost": 2, "failed": 2}
    assert row(results, "single", "×2") == {"read": 2}


def test_what_is_wrong_with_the_standard_too_is_not_counted(pretended):
    pretended(lambda file, constants: ("", ("within", True, f"{constants.draws}")))
    results = thresholds.run(files=1, only="draws")
    assert row(results, "draws", "×2") == {"read": 1, "changed": 1}
    assert results["files"] == [{"cell": "a", "file": 0, "outcome": "within", "wrong": True}]


@pytest.mark.parametrize(
    ("outcome", "worth"), [("right", 2), ("none", 2), ("within", 1), ("cannot tell", 0), ("wrong", 0)]
)
def test_what_an_answer_is_worth(outcome, worth):
    assert Answer(outcome, False, "").worth == worth


def test_constants_are_put_back(pretended):
    pretended(lambda file, constants: ("", ("right", False, "")))
    standard = thresholds.rooms()["room"]
    thresholds.run(files=1)
    assert standard() == standard.standard == Constants()


def test_errors_of_discovery_are_answers():
    class Broken:
        x = y = None

    failure, discovery = thresholds.answer_to(Broken())
    assert discovery is None
    assert failure.startswith("error: TypeError")
    assert thresholds.judged(Broken(), SimpleNamespace(), failure, None) == Answer("error", False, failure)


def test_the_files_are_cells_of_the_calibration_of_every_part():
    parts = {cells()[cell].part for cell, _ in FILES}
    assert parts == {"null", "power", "families"}


def test_moves_are_of_one_constant():
    moves = moves_of("room", Constants())
    assert len({(move.label, move.direction) for move in moves}) == len(moves)
    assert all(isinstance(move, Move) and move.moved != move.standard for move in moves)


def test_a_quick_run_moves_constants_of_each_room(tmp_path, capsys):
    command(thresholds.__file__, ["--quick", "--out", str(tmp_path)])
    results = json.loads((tmp_path / "thresholds.json").read_text())
    assert {r["room"] for r in results["rows"]} == set(ROOMS)
    assert len(results["files"]) == thresholds.QUICK_FILES
    assert all(r["read"] == len(results["files"]) for r in results["rows"])
    assert len(thresholds.headlines(results)) == len(ROOMS)
    assert "Each constant moved alone" in capsys.readouterr().out
    for constants in thresholds.rooms().values():
        assert constants() == constants.standard
