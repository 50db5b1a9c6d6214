"""Moves of constants, the record of which are read, and the counts that the table shows."""

import json
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from benchmarks import thresholds
from benchmarks.calibration_files.files import cells
from benchmarks.harness.command import RESULTS, command
from benchmarks.threshold_files.files import COMMON, OWN, known, names
from benchmarks.thresholds import ROOMS, Answer, Move, answer_to, files_of, moves_of, recorded_reads, rooms
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
    scale: tuple[float, ...] = constant((0.1, 0.3), "tolerance")


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


def test_the_marks_of_a_scale_are_moved_together(monkeypatch):
    monkeypatch.setattr(thresholds, "SCALES", ("scale",))
    assert values("scale") == {("scale", "×2"): (0.2, 0.6), ("scale", "÷2"): (0.05, 0.15)}


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
    monkeypatch.setattr(thresholds, "COMMON", (("a", 0), ("b", 0)))
    monkeypatch.setattr(thresholds, "OWN", {})
    monkeypatch.setattr(thresholds, "known", lambda name, number: name)

    def pretend(answer):
        monkeypatch.setattr(thresholds, "answer_to", lambda file: Answer(*answer(file, room())))

    return pretend


def row(results, constant, direction):
    move = next(m for m in moves_of("room", Constants()) if (m.label, m.direction) == (constant, direction))
    (found,) = (r for r in results["rows"] if (r["constant"], r["moved"]) == (constant, move.moved))
    return {key: found[key] for key in ("read", "changed", "gained", "lost", "wrong", "failed") if found[key]}


def test_what_is_gained_lost_wrong_and_changed(pretended):
    def answer(file, constants):
        if file == "b":
            return "right", False, "b"  # reads nothing
        if constants.draws > 9:
            return "wrong", False, "larger"
        if constants.draws < 9:
            return "right", False, "smaller"
        return "cannot tell", False, f"{constants.weak < 0.2}"

    pretended(answer)
    results = json.loads(json.dumps(thresholds.run(files=2)))
    assert row(results, "draws", "×2") == {"read": 1, "changed": 1, "wrong": 1}
    assert row(results, "draws", "÷2") == {"read": 1, "changed": 1, "gained": 1}
    assert row(results, "weak", "×2") == {"read": 1, "changed": 1}
    assert row(results, "weak", "÷2") == {"read": 1}
    assert row(results, "ratio", "×2") == {}
    (line,) = thresholds.headlines(results)
    assert line.ours == "9 of 10"  # of those that can be moved, all but draws
    assert line.beside == "8 change nothing at all, 1 make an answer wrong"
    assert [r["seen_on"] for r in results["rows"] if r["constant"] == "draws"] == [["a"], ["a"]]
    (header, rows), (_, still), (_, files) = thresholds.tables(results).values()
    assert all(len(cells) == len(header) for cells in rows)
    assert {cells[1] for cells in rows} == {"draws", "weak"}
    assert sum(len(constants.split(", ")) for _, _, constants in still) == 8
    assert [file[2] for file in files] == ["cannot tell", "right"]


def test_a_name_that_is_lost_and_an_answer_that_fails(pretended):
    def answer(file, constants):
        if constants.single == 0:
            return "error", False, "ZeroDivisionError"
        return "right", False, ""

    pretended(answer)
    results = thresholds.run(files=2, only="single")
    assert {r["constant"] for r in results["rows"]} == {"single"}
    assert row(results, "single", "÷2") == {"read": 2, "changed": 2, "lost": 2, "failed": 2}
    assert row(results, "single", "×2") == {"read": 2}


def test_what_fails_with_the_standard_too_is_not_counted(pretended):
    pretended(lambda file, constants: ("refused", False, f"{constants.draws} are too few"))
    results = thresholds.run(files=1, only="draws")
    assert row(results, "draws", "×2") == {"read": 1, "changed": 1}


def test_what_is_wrong_with_the_standard_too_is_not_counted(pretended):
    pretended(lambda file, constants: ("within", True, f"{constants.draws}"))
    results = thresholds.run(files=1, only="draws")
    assert row(results, "draws", "×2") == {"read": 1, "changed": 1}
    assert results["files"] == [{"cell": "a", "file": 0, "outcome": "within", "wrong": True}]


@pytest.mark.parametrize(
    ("outcome", "worth"), [("right", 2), ("none", 2), ("within", 1), ("cannot tell", 0), ("wrong", 0)]
)
def test_what_an_answer_is_worth(outcome, worth):
    assert Answer(outcome, False, "").worth == worth


def test_constants_are_put_back(pretended):
    pretended(lambda file, constants: ("right", False, ""))
    standard = thresholds.rooms()["room"]
    thresholds.run(files=1)
    assert standard() == standard.standard == Constants()


def test_a_constant_with_files_of_its_own_is_moved_on_these_alone(pretended, monkeypatch):
    monkeypatch.setattr(thresholds, "OWN", {"room": {"draws": (("c", 0),), "shares[1]": (("c", 0), ("d", 0))}})
    asked = []

    def answer(file, constants):
        asked.append(file)
        return "right", False, f"{constants}"

    pretended(answer)
    results = thresholds.run(only="draws")
    assert asked == ["c", "c", "c"]
    assert [r["seen_on"] for r in results["rows"]] == [["c"], ["c"]]
    assert {file["cell"] for file in results["files"]} == {"c"}
    assert files_of("room", "shares[1]") == (("c", 0), ("d", 0))
    assert files_of("room", "shares[0]") == (("a", 0), ("b", 0))
    assert files_of("room", "shares[1]", everywhere=True) == (("c", 0), ("d", 0), ("a", 0), ("b", 0))
    assert [r["files"] for r in thresholds.run(only="draws", everywhere=True, files=1)["rows"]] == [2, 2]


def test_an_error_is_an_answer():
    broken = SimpleNamespace(ask=lambda: 1 / 0)
    assert answer_to(broken) == Answer("error", False, "ZeroDivisionError: division by zero")


def test_the_common_files_are_cells_of_the_calibration_of_every_part():
    parts = {cells()[cell].part for cell, _ in COMMON}
    assert parts == {"null", "power", "families"}


def test_files_of_its_own_are_named_for_constants_that_there_are():
    for room, current in rooms().items():
        labels = {move.label for move in moves_of(room, current.standard)}
        assert OWN[room].keys() <= labels
    used = {name for files in OWN.values() for own in files.values() for name, _ in own}
    assert used <= names()
    made = names() - cells().keys()
    assert made <= used  # a file that shows no constant is not made


def recorded():
    """The moves of the recorded run, by room and constant."""
    moves = {}
    for one in json.loads((RESULTS / "thresholds.json").read_text())["rows"]:
        moves.setdefault((one["room"], one["constant"]), []).append(one)
    return moves


def test_each_constant_has_a_file_that_shows_it():
    """In the recorded run each constant, when it is doubled or halved, changes the answer to a file that there is."""
    labels = {(room, move.label) for room, now in rooms().items() for move in moves_of(room, now.standard)}
    moves = recorded()
    assert moves.keys() == labels
    for (room, constant), own in moves.items():
        seen = {name.split(", file ")[0] for move in own for name in move["seen_on"]}
        assert seen, f"{room}: {constant}"
        assert seen <= {name for name, _ in files_of(room, constant)}


@pytest.mark.parametrize(
    ("room", "constant", "direction"), [("discovery", "piece_rows_fewest", "×2"), ("span", "rounding", "÷2")]
)
def test_a_file_shows_its_constant(room, constant, direction):
    (move,) = (one for one in recorded()[room, constant] if one["direction"] == direction)
    ((name, number),) = OWN[room][constant]
    question = known(name, number)
    standard = answer_to(question)
    assert answer_to(question) == standard
    with rooms()[room].moved(**{constant: move["moved"]}):
        assert answer_to(question).digest != standard.digest


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
