"""One reader of tables: what is in a file, as numbers with names, and a note about everything that was done to it."""

import csv
import gzip
import io
import math
import re
import unicodedata
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from msr.brief import Brief
from msr.errors import ConfigError, DataError, first_line
from msr.files.archives import npz_names, read_npz
from msr.printable import printable

__all__ = ["Table", "read_table"]

MOST_TEXTS = 30
"""Different texts of a column that become a column each; more are taken for names of rows, or for numbers that were not
read. Chosen by hand."""
MOST_CLASSES = 20
"""Different whole numbers of a target that are taken for labels. Chosen by hand: digits are, ages are not."""
GAPS = ("", "na", "n/a", "nan", "null", "?")
"""What stands for a missing value, in small letters."""
_SAMPLE = 50  # lines that the separator is guessed from
_SEPARATORS = {"\t": "tabs", ";": "semicolons", "|": "bars", ",": "commas"}
"""Candidates, the likelier first where lines agree on several: a comma may also be in numbers."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
_DECIMAL_POINT = re.compile(r"[+-]?\d*\.\d+")
_INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)


@dataclass(frozen=True, eq=False, repr=False)
class Table(Brief):
    """A table as numbers.

    Attributes:
        names: of the columns: of a column of texts, ``city=Rome`` for each text.
        values: ``(rows, columns)`` float64, without gaps. Columns of numbers have the mean 0 and the variance 1; those
            of a text hold 0 or ``√½``, so that rows with different texts are at distance 1 in it.
        alike: ``(rows, columns of the file)`` float64, all columns as a group may exchange them: those that do not vary
            are kept, and all have one unit, in which the mean of all numbers is 0 and their mean square 1. None where a
            column holds texts.
        target: ``(rows,)``, float64 for numbers, else the labels; None where none was asked for.
        target_kind: ``numbers``, ``labels`` or ``none``.
        rows: ``(rows,)`` int64, the number in the file of each row that was kept, from 0.
        notes: what was done, a sentence each: rows that were left out, columns, separators that were guessed.
    """

    names: tuple[str, ...]
    values: NDArray[np.float64]
    alike: NDArray[np.float64] | None
    target: NDArray[Any] | None
    target_kind: Literal["numbers", "labels", "none"]
    rows: NDArray[np.int64]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Sheet:
    """A table as it is in a file: a list of columns, each of texts or of float64 numbers, where nan is a gap."""

    names: list[str]
    columns: list[Any]
    notes: list[str]
    decimal_comma: bool = False


def read_table(path: Path, *, target: str | None = None, drop: Sequence[str] = ()) -> Table:
    """Read a table: ``.csv``, ``.tsv`` or ``.txt``, also ``.gz``, in UTF-8; or an ``.npz`` with ``x``.

    The separator is guessed among comma, semicolon, tab and bar; where it is no comma, a comma may be the decimal point
    of a column. All lines need the same number of fields. A first line that is mostly numbers is a row, and columns are
    then called ``c1``, ``c2``, … Empty fields, ``NA``, ``N/A``, ``nan``, ``null`` and ``?`` are gaps; rows with one are
    left out and counted, and so are columns that do not vary. An ``.npz`` holds ``x (rows, columns)`` and optionally
    ``y (rows,)``, the target, which is then called ``y``. A target of at most 20 whole numbers, or of texts, is labels.

    Raises: DataError for a file that cannot be read as a table, a column that is part numbers and part texts or has too
    many texts, or a table without rows or columns; ConfigError for a column that does not exist.
    """
    shown = printable(str(path))
    sheet = _of_arrays(path, shown) if path.suffix.lower() == ".npz" else _of_text(path, shown)
    if target is None and path.suffix.lower() == ".npz" and "y" in sheet.names:
        target = "y"
    _check_names(sheet, [*drop, *([] if target is None else [target])], shown)
    if target is not None and target in drop:
        raise ConfigError(f"the column {printable(target)!r} is the target, and was to be dropped")
    notes = list(sheet.notes)
    places = [place for place, name in enumerate(sheet.names) if name not in drop]
    if not places or (len(places) == 1 and target is not None):
        raise DataError(
            f"{shown}: no column is left, beside those that were dropped" + (" and the target" if target else "")
        )
    parsed = {
        sheet.names[place]: _parsed(
            sheet.names[place], sheet.columns[place], notes, shown, decimal_comma=sheet.decimal_comma
        )
        for place in places
    }
    rows = _without_gaps(parsed, target, notes, shown)
    answers = None if target is None else parsed.pop(target)
    columns: dict[str, NDArray[np.float64]] = {}
    for name, column in parsed.items():
        for key, values in _as_numbers(name, column[rows], notes, shown).items():
            if key in columns or (key != name and key in parsed):
                raise DataError(f"{shown}: two columns would be called {printable(key)!r}; rename one")
            columns[key] = values
    if not columns:
        raise DataError(f"{shown}: no column varies in the {len(rows)} rows that are left; {'; '.join(notes)}")
    values = np.stack(list(columns.values()), axis=1)
    alike = _alike([column[rows] for column in parsed.values()])
    if answers is None or target is None:
        return Table(tuple(columns), values, alike, None, "none", rows, tuple(notes))
    kind, labels = _as_target(target, answers[rows], notes, shown)
    return Table(tuple(columns), values, alike, labels, kind, rows, tuple(notes))


def _of_arrays(path: Path, shown: str) -> _Sheet:
    """The columns of an ``.npz``. Raises: DataError."""
    names = npz_names(path)
    if "x" not in names:
        raise DataError(f"{shown} holds {', '.join(names) or 'nothing'}; an array x (rows, columns) is needed")
    arrays = read_npz(path, [name for name in ("x", "y") if name in names])
    x = arrays["x"]
    if x.ndim != 2 or 0 in x.shape:
        raise DataError(f"{shown}: x must be (rows, columns), and not empty; got the shape {x.shape}")
    if x.dtype.kind not in "biuf":
        raise DataError(f"{shown}: x must hold real numbers; got {x.dtype}")
    columns: list[Any] = list(_as_float64(x).T)
    for number, column in enumerate(columns, 1):
        if (column == column[0]).all() and not (x[:, number - 1] == x[0, number - 1]).all():
            raise DataError(_too_near(shown, f"c{number}"))
    labels = [f"c{number}" for number in range(1, x.shape[1] + 1)]
    if "y" in arrays:
        y = arrays["y"]
        if y.shape[:1] != x.shape[:1] or y.size != len(y):
            raise DataError(f"{shown}: y must hold one target for each of {len(x)} rows; got the shape {y.shape}")
        if y.dtype.kind not in "biufU":
            raise DataError(f"{shown}: y must hold real numbers or texts; got {y.dtype}")
        flat = y.reshape(-1)
        columns.append([str(text) for text in flat] if y.dtype.kind == "U" else _as_float64(flat))
        labels.append("y")
    return _Sheet(labels, columns, [])


def _as_float64(values: NDArray[Any]) -> NDArray[np.float64]:
    """Numbers as float64; what is beyond its range becomes an infinity, which is refused by the name of its column."""
    with np.errstate(over="ignore"):
        return values.astype(np.float64)


def _of_text(path: Path, shown: str) -> _Sheet:
    """The columns of a file of text, as texts. Raises: DataError for what is no table."""
    if not path.is_file():
        raise DataError(f"{shown}: {'not a regular file' if path.exists() else 'no such file'}")
    try:
        opened = gzip.open if path.suffix.lower() == ".gz" else open
        # utf-8-sig takes off the mark that some programs put first.
        with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
            content = str(file.read())
    except UnicodeError:
        raise DataError(f"{shown} is not text in UTF-8; save it as that") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{shown} cannot be read: {printable(first_line(error))}") from error
    lines = [line for line in content.splitlines() if line.strip()]
    if not lines:
        raise DataError(f"{shown} is empty")
    separator = _separator(lines[:_SAMPLE])
    try:
        reader = csv.reader(io.StringIO(content, newline=""), delimiter=separator, strict=True)
        # The number of a line is that of its last one in the file: empty lines count, and so do lines within quotes.
        numbered = [(reader.line_num, [field.strip() for field in row]) for row in reader if row]
    except csv.Error as error:
        raise DataError(f"{shown} is no table: {printable(first_line(error))}") from error
    numbered = [(number, row) for number, row in numbered if any(row) or len(row) > 1]
    rows = [row for _, row in numbered]
    notes = [] if separator == "," else [f"columns are separated by {_SEPARATORS[separator]}"]
    width = len(rows[0])
    for number, row in numbered:
        if len(row) != width:
            raise DataError(
                f"{shown}: line {number} has {len(row)} fields, and the first has {width} (separated by "
                f"{_SEPARATORS[separator]}); all lines need as many"
            )
        if any(unicodedata.category(sign) in _UNFIT for field in row for sign in field if not sign.isprintable()):
            raise DataError(f"{shown}: line {number} holds a line break or a control character within a field")
    names = _header(rows, separator, notes)
    body = rows if names[1] else rows[1:]
    if not body:
        raise DataError(f"{shown} has no row")
    # A comma is no decimal point in a table where it parts columns, or where another sign is.
    points = any(_DECIMAL_POINT.fullmatch(field) for row in body for field in row)
    return _Sheet(
        names[0], [list(column) for column in zip(*body, strict=True)], notes, separator != "," and not points
    )


def _separator(lines: Sequence[str]) -> str:
    """The separator that all lines agree on, with as many fields in each; a comma where there is none."""
    for candidate in _SEPARATORS:
        try:
            counts = {len(row) for row in csv.reader(lines, delimiter=candidate)}
        except csv.Error:
            continue
        if len(counts) == 1 and counts.pop() > 1:
            return candidate
    return ","


def _header(rows: list[list[str]], separator: str, notes: list[str]) -> tuple[list[str], bool]:
    """The names of the columns, and whether the first line is a row and no names."""
    first = rows[0]
    numbers = sum(_is_number(field) or (separator != "," and bool(_DECIMAL_COMMA.fullmatch(field))) for field in first)
    if numbers > len(first) / 2:
        notes.append("the first line is mostly numbers, so it is a row, and columns are called c1, c2, …")
        return [f"c{number}" for number in range(1, len(first) + 1)], True
    names = []
    for number, field in enumerate(first, 1):
        if not field:
            notes.append(f"column {number} has no name, and is called c{number}")
        names.append(field or f"c{number}")
    return names, False


def _check_names(sheet: _Sheet, asked: Sequence[str], shown: str) -> None:
    """Raise DataError for a name that comes twice, ConfigError for one that was asked for and is not there."""
    twice = sorted({name for name in sheet.names if sheet.names.count(name) > 1})
    if twice:
        raise DataError(f"{shown}: the name {printable(twice[0])!r} comes twice; rename one of the columns")
    for name in asked:
        if name not in sheet.names:
            raise ConfigError(f"{shown} has no column {printable(name)!r}; its columns are {_listed(sheet.names)}")


_UNFIT = ("Cc", "Cs", "Zl", "Zp")
"""Categories of Unicode that have no place in a field: controls, halves of characters, breaks of lines and paragraphs.
No-break spaces and joiners of letters are fit."""


def _is_number(text: str) -> bool:
    """Whether a text is a finite number in the usual notation."""
    return bool(_NUMBER.fullmatch(text))


def _too_near(shown: str, quoted: str) -> str:
    """The message of a column whose numbers float64 cannot tell apart."""
    return f"{shown}: the column {quoted!r} varies by less than float64 can tell beside its size: subtract an offset"


def _parsed(name: str, column: Any, notes: list[str], shown: str, *, decimal_comma: bool) -> NDArray[Any]:
    """A column as float64 with nan for gaps, or as an array of texts with None for gaps. Raises: DataError."""
    if not isinstance(column, list):
        return column
    quoted = printable(name)
    gaps = [field.lower() in GAPS for field in column]
    kept = [field for field, gap in zip(column, gaps, strict=True) if not gap]
    written = sorted({field for field, gap in zip(column, gaps, strict=True) if gap and field})
    if written:
        notes.append(f"{quoted}: {', '.join(map(repr, written))} is read as a gap")
    infinite = [field for field in kept if _INFINITE.fullmatch(field)]
    numbers = [_is_number(field) for field in kept]
    if infinite and sum(numbers) + len(infinite) == len(kept):
        raise DataError(f"{shown}: the column {quoted!r} holds an infinity; correct it, or leave it out (--drop)")
    commas = [number or bool(_DECIMAL_COMMA.fullmatch(field)) for number, field in zip(numbers, kept, strict=True)]
    if kept and all(commas):
        if not all(numbers):
            if not decimal_comma:
                stray = next(field for field, number in zip(kept, numbers, strict=True) if not number)
                raise DataError(
                    f"{shown}: the column {quoted!r} holds {stray!r}, where the comma may part thousands or be a "
                    "decimal point; write it without, or leave the column out (--drop)"
                )
            notes.append(f"{quoted}: a comma is the decimal point")
        values = [math.nan if gap else float(field.replace(",", ".")) for field, gap in zip(column, gaps, strict=True)]
        known = {value for value in values if value == value}
        one = len(known) == 1 and not math.isinf(next(iter(known))) and len(set(kept)) > 1
        # One number that is written in several ways, or several that float64 does not tell apart.
        if one and _differ([field.replace(",", ".") for field in kept]):
            raise DataError(_too_near(shown, quoted))
        return np.array(values)
    if sum(commas) > len(kept) / 2:
        stray = next(field for field, number in zip(kept, commas, strict=True) if not number)
        raise DataError(
            f"{shown}: the column {quoted!r} holds numbers and, among them, {printable(stray)!r}; correct it, or leave "
            "the column out (--drop)"
        )
    return np.array([None if gap else field for field, gap in zip(column, gaps, strict=True)], dtype=object)


def _differ(texts: Sequence[str]) -> bool:
    """Whether numbers that are one in float64 differ as they are written."""
    try:
        return len(set(map(Decimal, texts))) > 1
    except InvalidOperation:
        return True  # An exponent beyond all bounds: nobody can tell.


def _missing(column: NDArray[Any]) -> NDArray[np.bool_]:
    """Where a column has gaps."""
    if column.dtype.kind == "f":
        return np.isnan(column)
    return np.array([field is None for field in column])


def _without_gaps(
    parsed: dict[str, NDArray[Any]], target: str | None, notes: list[str], shown: str
) -> NDArray[np.int64]:
    """The rows without gaps; columns that are nothing but gaps are taken out. Raises: DataError where none is left."""
    for name in [name for name, column in parsed.items() if _missing(column).all()]:
        if name == target:
            raise DataError(f"{shown}: the target {printable(name)!r} has no value")
        del parsed[name]
        notes.append(f"{printable(name)} has no value at all, so left out")
    holes = {name: _missing(column) for name, column in parsed.items()}
    if not holes:
        raise DataError(f"{shown}: no column has a value")
    any_hole = np.logical_or.reduce(list(holes.values()))
    rows = np.flatnonzero(~any_hole)
    if any_hole.any():
        worst = max(holes, key=lambda name: int(holes[name].sum()))
        where = f"most of them in {printable(worst)!r}"
        if not len(rows):
            raise DataError(f"{shown}: every row has a gap, {where}; leave such columns out (--drop)")
        notes.append(f"{int(any_hole.sum())} of {len(any_hole)} rows have a gap and are left out, {where}")
    return rows.astype(np.int64)


def _as_numbers(name: str, column: NDArray[Any], notes: list[str], shown: str) -> dict[str, NDArray[np.float64]]:
    """A column as columns of numbers, none where it does not vary. Raises: DataError."""
    quoted = printable(name)
    if column.dtype.kind == "f":
        if not np.isfinite(column).all():
            raise DataError(f"{shown}: the column {quoted!r} holds an infinity; correct it, or leave it out (--drop)")
        if (column == column[0]).all():
            notes.append(f"{quoted} is {column[0]:g} in all rows, so left out")
            return {}
        # Divided first, so that sums and squares of large numbers are no infinity.
        scaled = column / np.abs(column).max()
        centred = scaled - scaled.mean()
        spread = float(centred.std())
        if spread <= 1e-12:
            raise DataError(_too_near(shown, quoted))
        return {name: centred / spread}
    kinds = sorted(set(column.tolist()))
    if len(kinds) == 1:
        notes.append(f"{quoted} is {printable(kinds[0])!r} in all rows, so left out")
        return {}
    if len(kinds) > MOST_TEXTS or 2 * len(kinds) > max(len(column), 8):
        raise DataError(
            f"{shown}: the column {quoted!r} has {len(kinds)} different texts in {len(column)} rows, such as "
            f"{printable(kinds[0])!r}; at most {MOST_TEXTS}, each in two rows on average, become columns: leave it out "
            "(--drop) or join some"
        )
    notes.append(f"{quoted} has {len(kinds)} texts, a column each")
    return {f"{name}={kind}": math.sqrt(0.5) * (column == kind).astype(np.float64) for kind in kinds}


def _alike(columns: Sequence[NDArray[Any]]) -> NDArray[np.float64] | None:
    """All columns in one unit; None where one holds texts. At least one of them varies."""
    if any(column.dtype.kind != "f" for column in columns):
        return None
    values = np.stack(columns, axis=1)
    values = values / np.abs(values).max()
    values = values - values.mean()
    return values / np.sqrt(np.mean(values**2))


def _as_target(name: str, column: NDArray[Any], notes: list[str], shown: str) -> tuple[Any, NDArray[Any]]:
    """The kind of a target, and its values. Raises: DataError for one that does not vary or is no target."""
    quoted = printable(name)
    kinds = len(set(column.tolist()))
    if kinds < 2:
        raise DataError(f"{shown}: the target {quoted!r} is the same in all {len(column)} rows")
    if column.dtype.kind == "f":
        if not np.isfinite(column).all():
            raise DataError(f"{shown}: the target {quoted!r} holds an infinity")
        if kinds > MOST_CLASSES or not (column == np.round(column)).all():
            scaled = column / np.abs(column).max()
            if float(scaled.std()) <= 1e-12:
                raise DataError(f"{shown}: the target {quoted!r} varies by less than float64 can tell beside its size")
            return "numbers", scaled
        notes.append(f"the target {quoted} is taken as {kinds} labels")
        # Zero is added so that -0 is the label 0.
        column = column + 0.0
        return "labels", np.array([f"{value:g}" if abs(value) < 1e6 else repr(value) for value in column.tolist()])
    if 2 * kinds > len(column):
        raise DataError(f"{shown}: the target {quoted!r} has {kinds} texts in {len(column)} rows, which are no labels")
    notes.append(f"the target {quoted} is taken as {kinds} labels")
    return "labels", column.astype(str)


def _listed(names: Sequence[str]) -> str:
    """Names for a message, the first twenty."""
    few = ", ".join(map(printable, names[:20]))
    return few if len(names) <= 20 else f"{few} and {len(names) - 20} more"
