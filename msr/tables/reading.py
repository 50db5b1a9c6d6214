"""One reader of tables: what is in a file, as numbers with names, and a note about everything that was done to it."""

import csv
import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from msr.brief import Brief
from msr.errors import ConfigError, DataError, MissingExtraError, first_line
from msr.files.archives import npz_names, read_npz
from msr.printable import printable

__all__ = ["Table", "read_table"]

MOST_TEXTS = 30
"""Different texts of a column that become a column each; more are taken for names of rows, or for numbers that were not
read. Chosen by hand."""
MOST_CLASSES = 20
"""Different whole numbers of a target that are taken for labels. Chosen by hand: digits are, ages are not."""
_SAMPLE = 2**16  # bytes that the separator is guessed from
_SEPARATORS = ",;\t|"


@dataclass(frozen=True, eq=False, repr=False)
class Table(Brief):
    """A table as numbers.

    Attributes:
        names: of the columns: of a column of texts, ``city=Rome`` for each text.
        values: ``(rows, columns)`` float64, without gaps. Columns of numbers have the mean 0 and the variance 1; those
            of a text hold 0 or ``√½``, so that rows with different texts are at distance 1 in it.
        target: ``(rows,)``, float64 for numbers, else the labels; None where none was asked for.
        target_kind: ``numbers``, ``labels`` or ``none``.
        rows: ``(rows,)`` int64, the number in the file of each row that was kept, from 0.
        notes: what was done, a sentence each: rows that were left out, columns, separators that were guessed.
    """

    names: tuple[str, ...]
    values: NDArray[np.float64]
    target: NDArray[Any] | None
    target_kind: Literal["numbers", "labels", "none"]
    rows: NDArray[np.int64]
    notes: tuple[str, ...]


def read_table(path: Path, *, target: str | None = None, drop: Sequence[str] = ()) -> Table:
    """Read a table: ``.csv``, ``.tsv``, ``.txt`` (also ``.gz``) with pandas, ``.parquet``, or an ``.npz`` with ``x``.

    The separator is guessed among comma, semicolon, tab and bar; after a semicolon a comma may be the decimal point. A
    first row of numbers alone is a row, and columns are then called ``c1``, ``c2``, … Rows with a gap are left out and
    counted, and so are columns that do not vary. An ``.npz`` holds ``x (rows, columns)`` and optionally ``y (rows,)``,
    the target, which is then called ``y``.

    Raises: DataError for a file that cannot be read as a table, a column that is no number and has too many texts, or a
    table without rows or columns; ConfigError for a column that does not exist; MissingExtraError without pandas.
    """
    if path.suffix.lower() == ".npz":
        frame, notes = _of_arrays(path)
    else:
        frame, notes = _of_text(path)
    shown = printable(str(path))
    for name in [*drop, *([] if target is None else [target])]:
        if name not in frame.columns:
            known = ", ".join(map(str, frame.columns[:20]))
            raise ConfigError(f"{shown} has no column {printable(name)!r}; its columns are {known}")
    frame = frame.drop(columns=list(drop))
    if target is None and "y" in frame.columns and path.suffix.lower() == ".npz":
        target = "y"
    if target is not None and target in drop:
        raise ConfigError(f"the column {printable(target)!r} is the target, and was to be dropped")
    frame, rows, gaps = _without_gaps(frame, shown)
    notes += gaps
    answers = None if target is None else frame.pop(target)
    columns: dict[str, NDArray[np.float64]] = {}
    for name in frame.columns:
        columns.update(_as_numbers(str(name), frame[name], notes, shown))
    if not columns:
        raise DataError(f"{shown}: no column is left that varies" + ("" if target is None else ", beside the target"))
    values = np.stack(list(columns.values()), axis=1)
    kind, labels = ("none", None) if answers is None else _as_target(answers, shown)
    return Table(tuple(columns), values, labels, kind, rows, tuple(notes))  # type: ignore[arg-type]


def _pandas() -> Any:
    """The module pandas. Raises: MissingExtraError where it is not installed."""
    try:
        import pandas
    except ModuleNotFoundError as error:
        if error.name != "pandas":
            raise
        raise MissingExtraError("pandas reads tables. Try: pip install 'msr[tables]'") from None
    return pandas


def _of_arrays(path: Path) -> tuple[Any, list[str]]:
    """The frame of an ``.npz``. Raises: DataError."""
    shown = printable(str(path))
    names = npz_names(path)
    if "x" not in names:
        raise DataError(f"{shown} holds {', '.join(names) or 'nothing'}; an array x (rows, columns) is needed")
    arrays = read_npz(path, [name for name in ("x", "y") if name in names])
    x = arrays["x"]
    if x.ndim < 2 or 0 in x.shape:
        raise DataError(f"{shown}: x must have rows and columns; got the shape {x.shape}")
    x = x.reshape(len(x), -1)
    if x.dtype.kind not in "biuf":
        raise DataError(f"{shown}: x must hold real numbers; got {x.dtype}")
    frame = _pandas().DataFrame(x, columns=[f"c{number}" for number in range(1, x.shape[1] + 1)])
    if "y" in arrays:
        y = arrays["y"]
        if y.shape[:1] != x.shape[:1] or y.size != len(y):
            raise DataError(f"{shown}: y must hold one target for each of {len(x)} rows; got the shape {y.shape}")
        frame["y"] = y.reshape(-1)
    return frame, []


def _of_text(path: Path) -> tuple[Any, list[str]]:
    """The frame of a file of text, or of Parquet. Raises: DataError."""
    pandas = _pandas()
    shown = printable(str(path))
    if not path.is_file():
        raise DataError(f"{shown}: {'not a regular file' if path.exists() else 'no such file'}")
    try:
        if path.suffix.lower() == ".parquet":
            return pandas.read_parquet(path), []
        return _parsed(pandas, path)
    except ImportError as error:
        raise MissingExtraError(f"pandas cannot read {shown}: {first_line(error)}") from error
    except pandas.errors.EmptyDataError:
        raise DataError(f"{shown} is empty") from None
    except (pandas.errors.ParserError, UnicodeError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{shown} is no table that can be read: {printable(first_line(error))}") from error


def _parsed(pandas: Any, path: Path) -> tuple[Any, list[str]]:
    """The frame of a file of text, with notes about how it was read."""
    compressed = path.suffix.lower() in (".gz", ".bz2", ".xz", ".zip")
    head = b""
    if not compressed:
        with path.open("rb") as file:
            head = file.read(_SAMPLE)
    separator = _separator(head.decode("utf-8", "replace"))
    notes = [] if separator == "," else [f"columns are separated by {_NAMES[separator]}"]
    options: dict[str, Any] = {"sep": separator, "skipinitialspace": True, "low_memory": False}
    frame = pandas.read_csv(path, **options)
    if separator == ";" and any(_looks_decimal(frame[name]) for name in frame.columns):
        frame = pandas.read_csv(path, decimal=",", **options)
        notes.append("a comma is the decimal point")
    if all(_is_number(str(name)) for name in frame.columns):
        frame = pandas.read_csv(path, header=None, **options)
        frame.columns = [f"c{number}" for number in range(1, frame.shape[1] + 1)]
        notes.append("the first row holds numbers alone, so it is a row, and columns have no names")
    return frame, notes


_NAMES = {";": "semicolons", "\t": "tabs", "|": "bars", ",": "commas"}


def _separator(head: str) -> str:
    """The separator of a text: the candidate that the most rows agree on, by the standard library's own guess."""
    try:
        return csv.Sniffer().sniff(head, _SEPARATORS).delimiter
    except csv.Error:
        return ","  # a single column


def _is_number(text: str) -> bool:
    """Whether a text is a number. pandas adds ``.1`` to a name that comes twice, which a number stays one with."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _looks_decimal(column: Any) -> bool:
    """Whether a column holds texts that are numbers with a decimal comma."""
    texts = [value for value in column.head(200) if isinstance(value, str)]
    return bool(texts) and all(_is_number(text.replace(",", ".", 1)) for text in texts)


def _without_gaps(frame: Any, shown: str) -> tuple[Any, NDArray[np.int64], list[str]]:
    """The rows without gaps, their numbers, and a note about the others. Raises: DataError where none is left."""
    if not len(frame):
        raise DataError(f"{shown} has no row")
    notes = []
    empty = [str(name) for name in frame.columns if frame[name].isna().all()]
    if empty:
        frame = frame.drop(columns=empty)
        notes.append(f"{_listed(empty)}: no value at all, so left out")
    holes = frame.isna().any(axis=1).to_numpy()
    rows = np.flatnonzero(~holes)
    if holes.any():
        worst = frame.isna().sum().sort_values(ascending=False)
        where = f"most of them in {printable(str(worst.index[0]))!r}"
        if not len(rows):
            raise DataError(f"{shown}: every row has a gap, {where}; leave such columns out (--drop)")
        notes.append(f"{int(holes.sum())} of {len(frame)} rows have a gap and are left out, {where}")
    return frame.iloc[rows].reset_index(drop=True), rows.astype(np.int64), notes


def _as_numbers(name: str, column: Any, notes: list[str], shown: str) -> dict[str, NDArray[np.float64]]:
    """A column as columns of numbers, none where it does not vary. Raises: DataError."""
    quoted = printable(name)
    if column.dtype.kind in "biuf":
        values = column.to_numpy(dtype=np.float64)
        if not np.isfinite(values).all():
            raise DataError(f"{shown}: the column {quoted!r} holds an infinity; correct it, or leave it out (--drop)")
        # Divided first, so that the squares of large numbers are no infinity.
        largest = float(np.abs(values).max())
        centred = (values - values.mean()) / (largest or 1.0)
        spread = float(centred.std())
        if spread <= 1e-12:
            notes.append(f"{quoted} is {values[0]:g} in all rows, so left out")
            return {}
        return {name: centred / spread}
    if column.dtype.kind == "M":
        raise DataError(f"{shown}: the column {quoted!r} holds dates; make it a number, or leave it out (--drop)")
    texts = column.astype(str).str.strip().to_numpy()
    kinds, numbers = np.unique(texts, return_inverse=True)
    if len(kinds) > MOST_TEXTS:
        raise DataError(
            f"{shown}: the column {quoted!r} has {len(kinds)} different texts, such as {printable(kinds[0])!r}; at "
            f"most {MOST_TEXTS} become columns: leave it out (--drop) or join some"
        )
    if len(kinds) == 1:
        notes.append(f"{quoted} is {printable(kinds[0])!r} in all rows, so left out")
        return {}
    notes.append(f"{quoted} has {len(kinds)} texts, a column each")
    return {f"{name}={kind}": math.sqrt(0.5) * (numbers == place) for place, kind in enumerate(kinds)}


def _as_target(column: Any, shown: str) -> tuple[str, NDArray[Any]]:
    """The kind of a target, and its values. Raises: DataError for one that does not vary or is not finite."""
    name = printable(str(column.name))
    if column.nunique() < 2:
        raise DataError(f"{shown}: the target {name!r} is the same in all rows")
    if column.dtype.kind in "iuf":
        values = column.to_numpy(dtype=np.float64)
        if not np.isfinite(values).all():
            raise DataError(f"{shown}: the target {name!r} holds an infinity")
        whole = bool((values == np.round(values)).all())
        if not (whole and len(np.unique(values)) <= MOST_CLASSES):
            return "numbers", values
        return "labels", values.astype(np.int64)
    texts = column.astype(str).str.strip().to_numpy(dtype=str)
    kinds = len(np.unique(texts))
    if kinds > len(texts) / 2:
        raise DataError(f"{shown}: the target {name!r} has {kinds} different texts in {len(texts)} rows: no labels")
    return "labels", texts


def _listed(names: Sequence[str]) -> str:
    """Names for a note, the first few."""
    few = ", ".join(map(printable, names[:5]))
    return few if len(names) <= 5 else f"{few} and {len(names) - 5} more"
