"""Which decision constants of discovery and of the span matter: what changes when each is doubled, and when halved?

Not a timing. Each constant is moved alone, on small files whose right answer is known, and the answer is compared with
that of the standard constants. *Gained* and *lost*: files on which more, or less, is rightly said; most is the largest
group, or that there is none, or the true dimension of a span; then a smaller one; then "cannot tell". *Wrong*: files of
which something false is said that the standard constants do not say, statements about all groups that were tried
included. *Failed*: files that end in an error, or take over a minute, where the standard constants answer. *Changed*:
files of which any number or word of the answer differs at all; *seen on* names the first. *Read*: files on which the
constant is read; on the others moving it can change nothing, so they are not run.

Whole numbers are doubled, and halved downwards. A constant that is a share or a probability stays below one: where
doubling would pass that, it moves halfway to one. A true-or-false constant is switched. Of a tuple each element is
moved by itself, but the marks of one scale are moved together. Most constants are moved on a few files of
:mod:`benchmarks.calibration`; those that change nothing there have files of their own
(:mod:`benchmarks.threshold_files`), and are moved on these alone unless ``--everywhere`` is given. One that changes
numbers, but no verdict even when it is moved by two, is not a delicate one.
"""

import importlib
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from typing import Any

from benchmarks.calibration_files.judging import time_limit
from benchmarks.harness.command import command, say
from benchmarks.harness.contract import Headline, Tables
from benchmarks.threshold_files.files import COMMON, OWN, known
from benchmarks.threshold_files.known import Known
from msr.errors import MSRError, first_line
from msr.thresholds import Current, meanings

__all__ = ["Answer", "Move", "answer_to", "files_of", "moves_of", "recorded_reads", "rooms"]

ROOMS = {"discovery": "msr.discovery.thresholds", "span": "msr.span.thresholds"}
"""Modules whose ``THRESHOLDS`` are moved, by the name that the table gives them."""

SCALES = ("advised_tolerances",)
"""Tuples whose elements are the marks of one scale, and are moved together."""

QUICK_FILES = 2
QUICK_CONSTANTS = 1
"""Files and constants of each room that a quick run takes."""

LONGEST = 60.0
"""Processor seconds after which an answer is given up: a constant far from its place may make the work endless."""

_WORTH = {"right": 2, "none": 2, "within": 1}
"""How much is rightly said by an outcome; the others say nothing, or something false."""

_SHARES = ("share", "probability", "error rate", "p-value")
"""Words in a constant's unit that mark it as a number between 0 and 1."""


@dataclass(frozen=True)
class Move:
    """A constant with another value.

    Attributes:
        room: a key of :data:`ROOMS`.
        field: the name of the constant.
        label: the same, with the place of the element where the constant is a tuple.
        direction: ``×2``, ``÷2``, or ``switched``.
        standard: the value, or the element, before.
        moved: the same after.
        value: the value of the whole constant after.
    """

    room: str
    field: str
    label: str
    direction: str
    standard: Any
    moved: Any
    value: Any


@dataclass(frozen=True)
class Answer:
    """An answer held against the truth.

    Attributes:
        outcome: of :func:`benchmarks.calibration_files.judging.outcome_of`, or ``refused`` or ``error``.
        false: whether a statement about a group that was tried, or a hint, is false.
        digest: every number and word of the answer, as text that is equal for equal answers alone; of an answer that
            failed, the reason.
    """

    outcome: str
    false: bool
    digest: str

    @property
    def worth(self) -> int:
        """How much is rightly said: 2 for the largest group or rightly none, 1 for a smaller group, 0 for nothing."""
        return _WORTH.get(self.outcome, 0)

    @property
    def failed(self) -> bool:
        """Whether there is no answer."""
        return self.outcome in ("refused", "error")

    @property
    def wrong(self) -> bool:
        """Whether anything that was said is false."""
        return self.false or self.outcome in ("wrong", "false none")


def rooms() -> dict[str, Current[Any]]:
    """The current constants of each room, which a block can move, by the room's name in the table."""
    return {name: importlib.import_module(module).THRESHOLDS for name, module in ROOMS.items()}


def moves_of(room: str, standard: Any) -> list[Move]:
    """All moves of the constants in a frozen dataclass; those that leave a value as it is are left out."""
    units = {name: meaning.unit for name, meaning in meanings(standard).items()}
    moves = []
    for field in fields(standard):
        value = getattr(standard, field.name)
        if field.name in SCALES:
            for direction, factor in (("×2", 2), ("÷2", 0.5)):
                whole = tuple(factor * mark for mark in value)
                moves.append(Move(room, field.name, field.name, direction, value, whole, whole))
        elif isinstance(value, tuple):
            for place, element in enumerate(value):
                for direction, moved in _moved(element, units[field.name]):
                    whole = (*value[:place], moved, *value[place + 1 :])
                    label = f"{field.name}[{place}]"
                    moves.append(Move(room, field.name, label, direction, element, moved, whole))
        else:
            for direction, moved in _moved(value, units[field.name]):
                moves.append(Move(room, field.name, field.name, direction, value, moved, moved))
    return moves


def _moved(value: Any, unit: str) -> Iterator[tuple[str, Any]]:
    """The values that a number is moved to, each after its direction; none for 0 and for a value that is no number.

    ``unit`` is the constant's, in words, by which a share or a probability is told.
    """
    if isinstance(value, bool):
        yield "switched", not value
    elif isinstance(value, int):
        for direction, moved in (("×2", 2 * value), ("÷2", value // 2)):
            if moved != value:
                yield direction, moved
    elif isinstance(value, float) and math.isfinite(value) and value != 0:
        doubled = 2 * value
        if 0 < value < 1 <= doubled and any(word in unit for word in _SHARES):
            doubled = (1 + value) / 2
        yield "×2", doubled
        yield "÷2", value / 2


@contextmanager
def recorded_reads(current: Mapping[str, Current[Any]]) -> Iterator[set[tuple[str, str]]]:
    """The constants that are read within the block, as pairs of a room and a name.

    What is not read on a file cannot change its answer, which halves the work. The class of each room's constants is
    given a ``__getattribute__`` that takes notes, for the length of the block.
    """
    reads: set[tuple[str, str]] = set()

    def noting(room: str, names: frozenset[str]) -> Any:
        def get(self: object, name: str) -> Any:
            if name in names:
                reads.add((room, name))
            return object.__getattribute__(self, name)

        return get

    with ExitStack() as stack:
        for room, constants in current.items():
            kind = type(constants.standard)
            names = frozenset(field.name for field in fields(constants.standard))
            kind.__getattribute__ = noting(room, names)
            stack.callback(delattr, kind, "__getattribute__")
        yield reads


def answer_to(question: Known) -> Answer:
    """What is said of a file with the constants that hold now, held against the truth."""
    try:
        with time_limit(LONGEST):
            answer = question.ask()
    except MSRError as error:
        return Answer("refused", False, first_line(error))
    except Exception as error:  # a constant far from where it belongs may break anything, and that is worth a line
        return Answer("error", False, f"{type(error).__name__}: {first_line(error)}")
    outcome, false = question.judge(answer)
    return Answer(outcome, false, question.digest(answer))


def files_of(room: str, label: str, everywhere: bool = False) -> tuple[tuple[str, int], ...]:
    """The files on which a constant, or an element of one, is moved: those of its own, else those of the calibration.

    ``everywhere``: those of the calibration in any case.
    """
    own = OWN.get(room, {}).get(label, ())
    return (*own, *COMMON) if everywhere or not own else own


def run(
    *, quick: bool = False, room: str = "", only: str = "", files: int = len(COMMON), everywhere: bool = False
) -> dict[str, Any]:
    """Move each constant of each room on its files.

    ``room`` takes the constants of one room alone, ``only`` those whose names hold one of its words, divided by commas,
    ``files`` the first few files of the calibration, and ``everywhere`` moves constants with files of their own on
    those of the calibration too.
    """
    current = {name: constants for name, constants in rooms().items() if room in ("", name)}
    words = [word.strip() for word in only.split(",") if word.strip()]
    moves = [
        move
        for name, constants in current.items()
        for move in moves_of(name, constants.standard)
        if not words or any(word in move.field for word in words)
    ]
    common = COMMON[: min(files, QUICK_FILES) if quick else files]
    standard: dict[tuple[str, int], Answer] = {}
    reads: dict[tuple[str, int], set[tuple[str, str]]] = {}

    def look(chosen: tuple[tuple[str, int], ...]) -> None:
        """The standard answer to each of these files, once."""
        for name, number in chosen:
            if (name, number) not in standard:
                with recorded_reads(current) as noted:
                    standard[name, number] = answer_to(known(name, number))
                reads[name, number] = set(noted)

    if quick:
        look(common)
        moves = _few(moves, set.intersection(*(reads[file] for file in common)))
    rows = []
    spoken = time.monotonic()
    for place, move in enumerate(moves):
        chosen = tuple(
            file for file in files_of(move.room, move.label, everywhere) if file in common or file not in COMMON
        )
        look(chosen)
        rows.append(row_of(move, current[move.room], chosen, standard, reads))
        if time.monotonic() - spoken > 60:
            spoken = time.monotonic()
            say(f"{place + 1} of {len(moves)} moves, the last {move.room}, {move.label} {move.direction}")
    names = [
        {"cell": cell, "file": number, "outcome": answer.outcome, "wrong": answer.wrong}
        for (cell, number), answer in standard.items()
    ]
    return {"files": names, "rows": rows}


def _few(moves: list[Move], read: set[tuple[str, str]]) -> list[Move]:
    """The moves of the first constants of each room that are read and have no files of their own.

    They are :data:`QUICK_CONSTANTS` of each room; those that are read are in ``read``, as pairs of room and name.
    """
    names: dict[str, list[str]] = {}
    for move in moves:
        of_room = names.setdefault(move.room, [])
        if move.label in OWN.get(move.room, {}):
            continue
        if move.label not in of_room and (move.room, move.field) in read and len(of_room) < QUICK_CONSTANTS:
            of_room.append(move.label)
    return [move for move in moves if move.label in names[move.room]]


def row_of(
    move: Move,
    current: Current[Any],
    chosen: tuple[tuple[str, int], ...],
    standard: dict[tuple[str, int], Answer],
    reads: dict[tuple[str, int], set[tuple[str, str]]],
) -> dict[str, Any]:
    """Counts of what a move changes over the files that read the constant, and the names of those that it changes."""
    row: dict[str, Any] = {
        "room": move.room,
        "constant": move.label,
        "direction": move.direction,
        "standard": move.standard,
        "moved": move.moved,
        "files": len(chosen),
        **dict.fromkeys(("read", "changed", "gained", "lost", "wrong", "failed"), 0),
        "seen_on": [],
    }
    for name, number in chosen:
        before = standard[name, number]
        if (move.room, move.field) not in reads[name, number]:
            continue
        with current.moved(**{move.field: move.value}):
            answer = answer_to(known(name, number))
        row["read"] += 1
        row["gained"] += answer.worth > before.worth
        row["lost"] += answer.worth < before.worth
        row["wrong"] += answer.wrong and not before.wrong
        row["failed"] += answer.failed and not before.failed
        if answer.digest != before.digest:
            row["changed"] += 1
            row["seen_on"].append(f"{name}, file {number}" if number else name)
    return row


def tables(results: dict[str, Any]) -> Tables:
    """A row for each move that changes a number, the constants of which none does, and the standard answers."""
    header = ["room", "constant", "standard", "moved to", "read", "changed", "gained", "lost", "wrong", "failed"]
    counts = header[4:]
    rows = []
    for row in results["rows"]:
        if any(row[key] for key in counts[1:]):
            values = [_short(row["standard"]), _short(row["moved"])]
            seen = row["seen_on"][0] if row["seen_on"] else ""
            rows.append([row["room"], row["constant"], *values, *(str(row[key]) for key in counts), seen])
    files = [
        [file["cell"], str(file["file"]), file["outcome"], "yes" if file["wrong"] else "no"]
        for file in results["files"]
    ]
    shown: Tables = {
        "Each constant moved alone, by a factor of two: on how many of its files it is read, any number changes, more "
        "or less is rightly said, something false is said, and no answer comes; the first file on which it changes "
        "something": ([*header, "seen on"], rows)
    }
    still = _still(results)
    if still:
        shown["Constants of which neither move changes a number here"] = (["room", "they are", "constants"], still)
    shown["The files, and their answers with the standard constants"] = (["file", "number", "answer", "wrong"], files)
    return shown


def _still(results: dict[str, Any]) -> list[list[str]]:
    """Rows of a room, ``read`` or ``not read on these files``, and the constants that are so and change no number."""
    moves: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in results["rows"]:
        moves.setdefault((row["room"], row["constant"]), []).append(row)
    still: dict[tuple[str, str], list[str]] = {}
    for (room, constant), own in moves.items():
        if not any(row[key] for row in own for key in ("changed", "gained", "lost", "wrong", "failed")):
            kind = "read" if any(row["read"] for row in own) else "not read on these files"
            still.setdefault((room, kind), []).append(constant)
    return [[room, kind, ", ".join(constants)] for (room, kind), constants in still.items()]


def _short(value: Any) -> str:
    """A row of the table: on how many files the constant is read, and on which of them its move changes something.

    Args:
        current: the constants of the move's room.
        chosen: the files, each a cell and a number.
        standard: the answer to each file with the standard constants.
        reads: the constants that each file reads then, as pairs of a room and a name.
    """
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def headlines(results: dict[str, Any]) -> list[Headline]:
    """How many constants change nothing, and how many change a verdict or make an answer wrong, room by room."""
    lines = []
    for room in dict.fromkeys(row["room"] for row in results["rows"]):
        constants: dict[str, list[dict[str, Any]]] = {}
        for row in results["rows"]:
            if row["room"] == room:
                constants.setdefault(row["constant"], []).append(row)
        still = sum(not any(row["changed"] for row in rows) for rows in constants.values())
        verdicts = sum(any(row["gained"] or row["lost"] for row in rows) for rows in constants.values())
        wrong = sum(any(row["wrong"] for row in rows) for rows in constants.values())
        what = f"constants of {room} that change no verdict when moved by two"
        beside = f"{still} change nothing at all, {wrong} make an answer wrong"
        lines.append(Headline(what, f"{len(constants) - verdicts} of {len(constants)}", beside))
    return lines or [Headline("no constant was moved", "")]


if __name__ == "__main__":
    command(__file__)
