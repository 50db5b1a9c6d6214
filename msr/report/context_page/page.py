"""Contexts of a table's rows as one web page that opens from disk, with no network, no script and no plotting library.

The page is made of the answer in words (:mod:`~msr.report.context_page.answer`), drawings
(:mod:`~msr.report.context_page.charts`, :mod:`~msr.report.context_page.places`), sections that put drawings into words
(:mod:`~msr.report.context_page.sections`), and the page around them (:mod:`msr.report.markup.skeleton`).
"""

import html
from collections.abc import Iterator, Sequence

from msr.contexture.comparison import Judged
from msr.errors import ShapeError
from msr.permutations import Indices
from msr.printable import printable
from msr.report.context_page.answer import Answer, answer_of
from msr.report.context_page.lines import percent
from msr.report.context_page.sections import comparison, functions, mixtures, notes, repeat, spectra
from msr.report.markup.blocks import count
from msr.report.markup.skeleton import page
from msr.tables import Table

__all__ = ["context_page"]

_SIGNS = {"found": "✓", "unsure": "?", "none": "–"}
"""A sign for each kind of answer, whose class in the style sheet it is."""
_LONGEST = 60
"""Characters of a name among the facts, about; chosen by eye."""
_e = html.escape


def context_page(judged: Sequence[Judged], table: Table, rows: Indices, *, target: str | None, source: str,
                 command: str) -> str:  # fmt: skip
    """One HTML file: the answer in words, the contexts side by side, their values and functions, mixtures, notes.

    Args:
        judged: contexts of the same rows, at least one.
        table: whose rows these are.
        rows: the places in the table of the rows that were looked at, ``(n,)``.
        target: the name of the target that the contexts were judged by; None without one.
        source: where the table came from, for the reader.
        command: the command line that gives the same answer.

    Raises: ShapeError for contexts of another number of rows.
    """
    for line in judged:
        if len(line.spectrum.functions) != len(rows):
            raise ShapeError(
                f"{line.name} is a context of {len(line.spectrum.functions)} rows, and {len(rows)} are given"
            )
    values = table.values[rows]
    answer = answer_of(judged, target, len(rows), len(table.values))
    sections = [
        _head(answer, judged, table, len(rows), target),
        comparison(judged, target, answer.best),
        spectra(judged),
        functions(judged, values, table.names),
        mixtures(judged, target),
        notes(table.notes, len(table.names), len(rows), len(table.values)),
        repeat(command),
    ]
    return page(headline=answer.headline, about="Contexts of the rows of", source=source, body="\n".join(sections))


def _head(answer: Answer, judged: Sequence[Judged], table: Table, rows: int, target: str | None) -> str:
    """The head of the page: the answer, what must be known before it is used, and its most telling numbers."""
    items = "".join(f"<li>{_e(caveat)}</li>" for caveat in answer.caveats)
    facts = "".join(
        f"<div><dt>{_e(term)}</dt><dd>{_e(value)}{f'<small>{_e(more)}</small>' if more else ''}</dd></div>"
        for term, value, more in _facts(answer.best, judged, table, rows, target)
    )
    return (
        f'<header class="verdict {answer.kind}"><div><p class="badge"><span aria-hidden="true">{_SIGNS[answer.kind]}'
        f'</span> {_e(answer.badge)}</p><h1 class="context">{_e(answer.headline)}</h1>'
        f'<p class="says">{_e(answer.sentence)}</p></div></header>\n'
        f'<div class="note unsure"><b>Before you use it</b><ul>{items}</ul></div>\n<dl class="facts">{facts}</dl>'
    )


def _facts(
    best: Judged | None, judged: Sequence[Judged], table: Table, rows: int, target: str | None
) -> Iterator[tuple[str, str, str]]:
    """Each fact as a term, its value, and a line in small letters."""
    if best is not None:
        if target is not None:
            yield (
                "Functions",
                str(best.probed),
                "that explain most of the target, of 1, 2, 4, … up to a tenth of the rows",
            )
        elif not best.usefulness.abstains:
            yield "Functions", str(best.dimension), "where τ is least: a proposal for the width of an encoder"
        yield "Energy", f"{best.usefulness.energy:.1f}", f"{count(best.needed, 'function')} hold nine tenths of it"
        silent = "it says nothing here" if best.usefulness.abstains else "smaller is better, among contexts of one kind"
        yield "τ", "–" if best.usefulness.abstains else f"{best.usefulness.tau:.2f}", silent
        if target is not None:
            yield "Target explained", percent(best.explained), "by those functions, beyond what they explain of noise"
            yield "Target known", percent(best.known), "by the context itself, of the target's variance"
    yield "Contexts", str(len(judged)), ""
    yield "Rows", str(rows), f"drawn from {len(table.values)}" if rows < len(table.values) else ""
    yield "Columns", str(len(table.names)), "as numbers"
    if target is not None:
        yield "Target", printable(target, _LONGEST), table.target_kind
