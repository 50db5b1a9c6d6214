"""``msr context``: what there is to learn from contexts of a table's rows, side by side."""

import math
from pathlib import Path
from typing import Any

import torch

from msr.cli.answers import as_json, give
from msr.cli.doors import is_terminal
from msr.contexture.comparison import Judged, compared
from msr.contexture.notation import parse_context
from msr.errors import ConfigError, DataError
from msr.failures import say
from msr.files.writing import Write
from msr.printable import printable, quoted
from msr.report.context_page.lines import header_of, lines_of
from msr.report.context_page.page import context_page
from msr.report.tables import format_table
from msr.tables import Table, read_table
from msr.version import __version__

__all__ = ["run"]

DEFAULTS = ("rbf:auto", "knn:10", "knn:50", "mask:0.3")
"""The contexts that are judged where none are given, and ``labels`` or ``target`` with a target."""


MOST_ROWS = 10_000
"""Rows that are looked at, at most: the work grows with their third power."""


def run(options: Any) -> int:
    """Judge the contexts, write the file that was asked for, print the table, and return the exit code 0."""
    texts = options.context or list(DEFAULTS)
    recipes = [parse_context(text) for text in texts]
    table = read_table(options.table, target=options.target, drop=options.drop or [])
    if not options.context:
        recipes = [recipe for recipe in recipes if _fits(recipe.text, min(len(table.values), options.rows))]
        if table.target is not None:
            recipes.append(parse_context("labels" if table.target_kind == "labels" else "target"))
    chosen = _chosen(len(table.values), options.rows, options.seed)
    if len(chosen) > MOST_ROWS:
        raise ConfigError(f"at most {MOST_ROWS} rows are looked at: all values of so many take minutes; got --rows "
                          f"{options.rows} for {len(table.values)}")  # fmt: skip
    if len(chosen) < 5:
        raise DataError(f"{printable(str(options.table))}: 5 rows without gaps are needed; got {len(chosen)}")
    asking = [recipe.text for recipe in recipes if recipe.needs_target]
    if table.target is None and asking:
        raise ConfigError(f"the context {printable(asking[0])} looks at the target: give --target COLUMN")
    target = None if table.target is None else table.target[chosen.numpy()]
    if target is not None and (target == target[0]).all():
        raise DataError(
            f"{printable(str(options.table))}: the target is {printable(str(target[0]))} in all {len(target)} rows "
            "that were drawn; take more (--rows), or others (--seed)"
        )
    columns = None if table.alike is None else torch.from_numpy(table.alike)[chosen]
    judged = compared(torch.from_numpy(table.values)[chosen], recipes, target, columns=columns)
    answer = as_json(
        {
            "table": str(options.table),
            "rows": len(chosen),
            "of_rows": len(table.values),
            "columns": list(table.names),
            "target": None if target is None else options.target or "y",
            "target_kind": table.target_kind,
            "notes": list(table.notes),
            "contexts": [_as_dict(line) for line in judged],
            "command": _command(options),
            "version": __version__,
        }
    )
    files: dict[Path, Write] = {}
    if options.html is not None:
        # A target of an .npz is called y, and needs no flag.
        named = None if target is None else options.target or "y"
        page = context_page(
            judged, table, chosen.numpy(), target=named, source=str(options.table), command=_command(options)
        )
        files[options.html] = lambda file: file.write(page.encode())
    if options.json is not None and not is_terminal(options.json):
        files[options.json] = lambda file: file.write(answer.encode())
    give(answer if is_terminal(options.json) else _text(table, judged, len(chosen)), files)
    if options.html is not None:
        say(f"page: {printable(options.html)}")
    return 0


def _fits(text: str, rows: int) -> bool:
    """Whether a default context can be made of so many rows."""
    return not text.startswith("knn:") or int(text[4:]) < rows / 2


def _chosen(n: int, most: int, seed: int) -> torch.Tensor:
    """The numbers of the rows that are looked at: all, or ``most`` drawn by the seed."""
    if n <= most:
        return torch.arange(n)
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:most].sort().values


def _as_dict(line: Judged) -> dict[str, Any]:
    """A judged context as JSON holds it."""
    value = line.usefulness
    tau = value.tau if math.isfinite(value.tau) else None
    keys = ("name", "strength", "dimension", "needed", "known", "explained", "probed", "p_value")
    found = {key: getattr(line, key) for key in keys}
    found |= {"of_target": line.of_target, "tau": tau, "energy": value.energy, "decay": value.decay}
    found |= {"abstains": value.abstains, "advice": None if line.advice is None else _as_dict(line.advice)}
    return found


def _text(table: Table, judged: list[Judged], rows: int) -> str:
    """The answer for a terminal."""
    lines = [f"{rows} rows of {len(table.names)} columns"]
    if rows < len(table.values):
        lines[0] += (
            f", drawn from {len(table.values)}: values of so few rows are too large, so compare contexts and do not "
            "read them off; --rows takes more"
        )
    lines += [f"  {note}" for note in table.notes]
    with_target = table.target is not None
    lines += ["", format_table(header_of(with_target), lines_of(judged, with_target)), ""]
    lines.append("functions: where τ is least. τ: smaller is better, among contexts of one kind.")
    if with_target:
        lines.append(
            "target known: share of its variance that the context itself tells. explained: by a linear probe of the "
            "functions in brackets, less what so many explain of noise."
        )
    return "\n".join(lines) + "\n"


def _command(options: Any) -> str:
    """The command that repeats this answer."""
    table = str(options.table)
    words = ["msr", "context", f"./{table}" if table.startswith("-") else table]
    if options.target is not None:
        words.append(f"--target={options.target}")
    words += [f"--{flag}={value}" for flag in ("context", "drop") for value in getattr(options, flag) or []]
    return quoted([*words, "--rows", str(options.rows), "--seed", str(options.seed)])
