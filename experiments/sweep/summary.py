"""One table of a sweep: each setting with the values of the runner's own summary, as means over seeds."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from experiments.sweep.plan import Run
from msr.errors import ConfigError
from msr.failures import one_line
from msr.report import format_table
from msr.runs.folder import Row
from msr.runs.judging import estimate_or_none
from msr.statistics.estimate import Estimate

__all__ = ["summarised", "table"]

_LONGEST = 200
"""Characters of an error in the table; ``sweep.json`` and the run's log hold all of it. Chosen by eye."""


def summarised(runs: Sequence[Run], summaries: Sequence[list[Row] | None], errors: Sequence[str | None]) -> list[Row]:
    """A row for each variant of each setting, in the order of the runs; a setting without a finished run has one row.

    A row holds ``setting``, the values of the grid; ``variant``, the texts of the runner's summary, such as a model;
    ``seeds``, how many runs it rests on; ``values``, for each number of the runner's summary (an estimate counts by its
    mean) the mean over these with its 95% interval, null where one of them has none; ``lists``, what the summary lists,
    over all of them; ``failed``, the errors of the others by their seed.

    Args:
        summaries: the runner's own of each run; None for a run without results.
        errors: why each run has no results; None for one that has.
    """
    rows: list[Row] = []
    for setting in dict.fromkeys(run.setting_name for run in runs):
        places = [i for i, run in enumerate(runs) if run.setting_name == setting]
        failed = {str(runs[i].seed): error for i in places if (error := errors[i]) is not None}
        of_setting = [_variants(summary) for i in places if (summary := summaries[i]) is not None]
        values = runs[places[0]].setting
        variants = dict.fromkeys(variant for found in of_setting for variant in found) or {((), 0): None}
        for variant in variants:
            lines = [_flat(found[variant]) for found in of_setting if variant in found]
            rows.append(
                {
                    "setting": values,
                    "variant": dict(variant[0]),
                    "seeds": len(lines),
                    "values": {key: _mean(lines, key) for key in _keys(lines, values, _is_number)},
                    "lists": {key: _union(lines, key) for key in _keys(lines, values, _is_list)},
                    "failed": failed,
                }
            )
    return rows


def table(rows: list[Row], by: str = "", descending: bool = False) -> str:
    """The rows as a Markdown table, a column for each setting, text, value and list that any of them has.

    Args:
        by: a value to sort by, the smallest first, or the largest if ``descending``; rows without it come last.

    Raises: ConfigError where no row has that value.
    """
    settings, variants, values, lists = (
        list(dict.fromkeys(key for row in rows for key in row[part]))
        for part in ("setting", "variant", "values", "lists")
    )
    if by:
        if by not in values:
            raise ConfigError(f"no value is called {one_line(by)!r}; sort by one of {', '.join(values) or 'none'}")
        rows = sorted(rows, key=lambda row: _place(row["values"].get(by), descending))
    lists = [key for key in lists if any(row["lists"].get(key) for row in rows)]
    some_failed = any(row["failed"] for row in rows)
    header = [*settings, *variants, *values, *lists, "seeds", *(["failed"] if some_failed else [])]
    body = []
    for row in rows:
        cells = [_text(row["setting"].get(key, "")) for key in settings]
        cells += [_text(row["variant"].get(key, "")) for key in variants]
        cells += [_cell(row["values"], key) for key in values]
        cells += [", ".join(map(_text, row["lists"].get(key, []))) for key in lists]
        cells += [str(row["seeds"]), *([_failures(row["failed"])] if some_failed else [])]
        body.append(cells)
    return format_table(header, body)


def _variants(summary: list[Row]) -> dict[tuple[tuple[tuple[str, str], ...], int], Row]:
    """The lines of a runner's summary by what tells them apart: their texts, and a count of lines with the same."""
    found: dict[tuple[tuple[tuple[str, str], ...], int], Row] = {}
    for line in summary:
        texts = tuple((key, value) for key, value in line.items() if isinstance(value, str))
        found[texts, sum(texts == other for other, _ in found)] = line
    return found


def _flat(line: Row) -> Row:
    """A line of a summary whose values are numbers, lists, texts or None: an estimate is its mean.

    The entries of any other dictionary come as ``KEY.ENTRY``.
    """
    flat: Row = {}
    for key, value in line.items():
        if isinstance(value, dict) and {"mean", "ci95", "n"} <= value.keys():
            flat[key] = value["mean"]
        elif isinstance(value, dict):
            flat |= {f"{key}.{name}": entry for name, entry in _flat(value).items()}
        else:
            flat[key] = value[0] if isinstance(value, list) and len(value) == 1 and _is_number(value[0]) else value
    return flat


def _keys(lines: list[Row], setting: Row, is_kind: Any) -> list[str]:
    """The keys under which a line has a value of a kind, in order, without those that name the setting itself."""
    keys = dict.fromkeys(key for line in lines for key in line if key not in setting)
    found = []
    for key in keys:
        kinds = [value for line in lines if (value := line.get(key)) is not None]
        # A value that every seed lacks is a number that none of them has: most that may be null are numbers.
        if all(map(is_kind, kinds)) and (kinds or is_kind is _is_number):
            found.append(key)
    return found


def _mean(lines: list[Row], key: str) -> Row | None:
    """The mean of a number over lines, with its 95% interval; None where one of them has none."""
    return estimate_or_none([line.get(key) for line in lines])


def _union(lines: list[Row], key: str) -> list[Any]:
    """What the lists under a key hold, over all lines, none twice."""
    return list(dict.fromkeys(entry for line in lines for entry in line.get(key) or []))


def _is_number(value: Any) -> bool:
    """Whether a value of JSON is a number, as true and false are: their mean is a share."""
    return isinstance(value, int | float)


def _is_list(value: Any) -> bool:
    """Whether a value of JSON is a list of plain values."""
    return isinstance(value, list) and all(isinstance(entry, int | float | str) for entry in value)


def _place(estimate: Row | None, descending: bool) -> float:
    """Where a row stands in the order; a row without the value is last."""
    if estimate is None:
        return math.inf
    return -estimate["mean"] if descending else estimate["mean"]


def _cell(values: Row, key: str) -> str:
    """An estimate as a table shows it; empty where a row has none, ``none`` where a seed has none.

    An interval of nothing, as of numbers that are the same for all seeds, is left out.
    """
    if key not in values:
        return ""
    estimate = values[key]
    if estimate is None:
        return "none"
    half = estimate["ci95"] or math.nan
    return str(Estimate(estimate["mean"], half, estimate["n"]))


def _failures(failed: dict[str, str]) -> str:
    """The errors of a setting's runs, shortly: all seeds with the same error are told together."""
    told: dict[str, list[str]] = {}
    for seed, error in failed.items():
        told.setdefault(error, []).append(seed)
    return "; ".join(f"seed {_few(seeds)}: {_text(error)}" for error, seeds in told.items())


def _few(seeds: Iterable[str]) -> str:
    """Some seeds in a few words."""
    seeds = list(seeds)
    return ", ".join(seeds) if len(seeds) <= 5 else f"{seeds[0]} … {seeds[-1]}"


def _text(value: Any) -> str:
    """A value in a cell of a Markdown table: on one line, not too long, and without the stroke that ends a cell."""
    shown = str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
    shown = one_line(shown).replace("|", "/")
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"
