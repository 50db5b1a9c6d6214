"""Sections that show the evidence, each a drawing or a table with words, in the order of the page.

They are the table, the singular values, the functions, mixtures, notes on the data, and how to repeat it.
"""

import html
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from msr.contexture.comparison import Judged
from msr.printable import printable
from msr.report.context_page import charts
from msr.report.context_page.charts import NOTHING, Series, key
from msr.report.context_page.lines import TRY, header_of, lines_of, percent
from msr.report.context_page.places import MOST_ROWS, Places, places_of
from msr.report.markup.blocks import count, figure, glossary, how_to_repeat, panels_of, paragraph, section
from msr.report.markup.svg import scrolled

__all__ = ["MOST_DRAWN", "comparison", "functions", "mixtures", "notes", "repeat", "spectra"]

MOST_DRAWN = 12
"""Contexts that are drawn, so that the page stays a small file; the table has all of them."""
_FUNCTIONS = 3
"""Functions of a context that are drawn."""
_NOTE = 600
"""Characters of a note on the data, about."""
_TITLE = 80
"""Characters of a name above a drawing, about."""

_GLOSSARY = {
    "Context": "What goes with a row: a near row, the row with some columns hidden, its label. It says which rows are "
    "to be told apart and which are not.",
    "Function": "A number for each row. The functions of a context are those of which most is still known from what "
    "goes with the row; they are what an encoder learns from it.",
    "Singular value": "How much of a function is still known, from 0 (nothing) to 1 (all of it). The functions come in "
    "the order of theirs.",
    "Energy": "The sum of the squares of all singular values: how much a context says in all, counted in functions "
    "that are fully known.",
    "τ": "A guess of how useful a context is, before any task is known: how much is lost beyond the functions that are "
    "kept, and how many have to be kept. Smaller is better, among contexts of one kind.",
}
_MIXTURES = {
    "a * b": "One after the other (convolve): what goes with the row by a, and then what goes with that by b. It "
    "weakens: only what both let through is still known.",
    "a & b": "Both at once (joint): what a says and what b says are known together. It strengthens.",
    "a + b": "One of both, by chance (convex), and it is said which: it lies between them.",
}
_e = html.escape


def comparison(judged: Sequence[Judged], target: str | None, best: Judged | None) -> str:
    """The table that the terminal prints."""
    header = header_of(target is not None)
    names = [name for line in judged for name in ([line] if line.advice is None else [line, line.advice])]
    rows = []
    for line, cells in zip(names, lines_of(judged, target is not None), strict=True):
        chosen = ' class="chosen"' if line is best else ' class="tried"' if cells[0].startswith(TRY) else ""
        # On a phone the style sheet makes a card of each row; the roles keep it a table for those who listen.
        drawn = "".join(
            f'<td role="cell" class="{"name" if place == 0 else "n" if place > 1 else ""}" data-term="{_e(term)}">'
            f"{_e(cell)}</td>"
            for place, (term, cell) in enumerate(zip(header, cells, strict=True))
        )
        rows.append(f'<tr role="row"{chosen}>{drawn}</tr>')
    heads = "".join(
        f'<th scope="col"{" class=n" if place > 1 else ""}>{_e(term)}</th>' for place, term in enumerate(header)
    )
    caption = (
        "Functions: where τ is least. For 90%: how many functions hold nine tenths of the energy. Decay: how fast the "
        "singular values fall. τ: smaller is better, among contexts of one kind."
    )
    if target is not None:
        caption += (
            " Target known: the share of its variance that the context itself tells. Explained: by a linear probe of "
            "the functions in brackets, less what so many explain of noise."
        )
    if any(line.advice is not None for line in judged):
        caption += " Lines that begin with “try” are mixtures that were tried for the context above."
    table = (
        f'<table role="table"><caption>{_e(caption)}</caption><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )
    return section("The contexts side by side", f"<figure>{scrolled(table, 'Contexts', kind='wide')}</figure>")


def spectra(judged: Sequence[Judged]) -> str:
    """The singular values of the contexts in one chart."""
    drawn = judged[:MOST_DRAWN]
    series = [_series(line, look) for look, line in enumerate(drawn)]
    intro = paragraph(
        "How much of each function is still known from what goes with a row? A line that stays high says much, and too "
        "much where it does not fall: then single rows are told apart. A line that falls at once says little."
    )
    legend = "".join(
        f"<li>{key(look)}<span>{_e(printable(line.name))}{_e(_length(line))}</span></li>"
        for look, line in enumerate(drawn)
    )
    caption = f"The first {charts.MOST_VALUES} singular values at most, on a scale from 0 to 1. "
    caption += "The large dot is the number of functions at which τ is least, where it lies within the chart. "
    caption += "A line ends where the values do."
    if len(judged) > len(drawn):
        caption += f" The first {len(drawn)} of {len(judged)} contexts are drawn."
    label = f"singular values of {count(len(drawn), 'context')}"
    chart = scrolled(charts.spectra(series, label), "Singular values")
    return section("The singular values", intro, figure(f'{chart}<ul class="legend">{legend}</ul>', caption))


def functions(judged: Sequence[Judged], values: NDArray[np.float64], names: Sequence[str]) -> str:
    """The top functions of each context as colour over the rows ``values (n, p)``, whose columns have these names."""
    places = places_of(values, names)
    drawn = judged[:MOST_DRAWN]
    intro = paragraph(
        f"The top {_FUNCTIONS} functions of each context: what an encoder with so many outputs would learn of it. "
        f"{places.says}"
    )
    about = (
        "The colour is the value of the function, whose mean is 0 and whose mean square is 1; squares are below zero. "
        "The sign of a function means nothing, and was chosen so that it rises to the right."
    )
    if len(places.rows) < len(values):
        about += f" Of the {len(values)} rows {MOST_ROWS} are drawn, evenly thinned."
    if len(judged) > len(drawn):
        about += f" The first {len(drawn)} of {len(judged)} contexts are drawn."
    figures = [_functions_of(line, look, places) for look, line in enumerate(drawn)]
    key_of_colours = figure(scrolled(charts.scale(), "Colours"), about)
    return section("The top functions, over the data", intro, key_of_colours, *figures)


def mixtures(judged: Sequence[Judged], target: str | None) -> str:
    """For each context that is too weak or too strong, the mixture that was tried and helped, or that none did."""
    kinds = "".join(f"<div><dt>{_e(term)}</dt><dd>{_e(text)}</dd></div>" for term, text in _MIXTURES.items())
    parts = [paragraph(
        "A context that is too strong tells single rows apart, so that few examples teach little; one that is too weak "
        "says next to nothing. Contexts are mixed to mend that:"
    ), f'<dl class="glossary">{kinds}</dl>']  # fmt: skip
    parts += [_mixture(line, line.advice, target is not None) for line in judged if line.advice is not None]
    for line in judged:
        if line.strength == "moderate" or line.advice is not None:
            continue
        if line.is_mixture:
            says = f"{printable(line.name)} is {line.strength}, and is a mixture already: it was mixed no further."
        else:
            sign = "*" if line.strength == "too strong" else "&"
            if not line.tried:
                says = f"{printable(line.name)} is {line.strength}. No mixture by {sign} could be made of it here."
                parts.append(f'<div class="note"><p>{_e(says)}</p></div>')
                continue
            says = (
                f"{printable(line.name)} is {line.strength}. Mixtures by {sign} were tried, and none had a smaller τ"
                f"{' and explained as much of the target' if target is not None and not line.of_target else ''}."
            )
        parts.append(f'<div class="note"><p>{_e(says)}</p></div>')
    if all(line.strength == "moderate" for line in judged):
        what = "No context here is too weak or too strong" if len(judged) > 1 else "The context is neither"
        parts.append(f'<div class="note"><p>{what}, so no mixture was tried.</p></div>')
    return section("What mixing would help", *parts)


def notes(sentences: Sequence[str], columns: int, rows: int, of_rows: int) -> str:
    """What was done to the table to make numbers of it, and how many of its rows were looked at.

    Args:
        sentences: a note for each thing that was done.
    """
    drawn = f"{count(rows, 'row')} of {count(columns, 'column')}"
    drawn += f", drawn from {of_rows} at random" if rows < of_rows else ", all that have no gap"
    items = "".join(f"<li>{_e(printable(note, _NOTE))}</li>" for note in sentences)
    listed = (
        f'<ul class="claims">{items}</ul>' if items else paragraph("Nothing in the table had to be changed.", "quiet")
    )
    return section(
        "The table",
        paragraph(
            f"{drawn}. Over all rows of the table, columns of numbers have the mean 0 and the variance 1; a column of "
            "texts is a column of 0 and √½ for each of them."
        ),
        listed,
    )


def repeat(command: str) -> str:
    """How to repeat it, and the words used on the page."""
    return section("How to repeat it", how_to_repeat(command), glossary(_GLOSSARY))


def _series(line: Judged, look: int) -> Series:
    """The singular values of a context as a line of a chart."""
    return Series(printable(line.name, _TITLE), line.spectrum.values.numpy(), line.dimension, look)


def _length(line: Judged) -> str:
    """How many functions a context has, in words, where the chart shows all of them."""
    known = int((line.spectrum.values > NOTHING).sum())
    ends = known < len(line.spectrum.values) or line.spectrum.complete
    return f" ({count(known, 'function')} in all)" if ends and known <= charts.MOST_VALUES else ""


def _functions_of(line: Judged, look: int, places: Places) -> str:
    """The top functions of one context, side by side under its name."""
    found = line.spectrum
    known = int((found.values > NOTHING).sum())
    panels = []
    for i in range(min(_FUNCTIONS, known)):
        function = found.functions[:, i].numpy()[places.rows]
        # The sign of a function is arbitrary, and equal ones are easier to compare.
        function = -function if float(function @ (places.across - places.across.mean())) < 0 else function
        title = f"{i + 1}: singular value {float(found.values[i]):.3f}"
        panels.append((title, charts.scatter(places, function, f"function {i + 1} of {printable(line.name)}")))
    caption = f"{printable(line.name)}, {line.strength}."
    if known < _FUNCTIONS:
        caption += f" It has {count(known, 'function')} and no more."
    alike = [(a, b) for a, b in found.blocks() if a < min(_FUNCTIONS, known) and b - a > 1]
    for first, last in alike:
        beyond = "at least " if last == len(found.values) and not found.complete else ""
        caption += (
            f" The functions {first + 1} to {beyond}{last} have equal values, so that any mixture of them would do as "
            "well as those drawn."
        )
    shown = f'<h3 class="of">{key(look)} <span>{_e(printable(line.name, _TITLE))}</span></h3>'
    return shown + figure(panels_of(panels), caption)


def _mixture(line: Judged, advice: Judged, with_target: bool) -> str:
    """A context before and after it was mixed: a sentence, the numbers, the singular values."""
    name = printable(line.name, _TITLE)
    chart = charts.spectra([_series(line, 0), _series(advice, 1)], f"singular values of {name} before and after",
                           width=440.0, height=230.0)  # fmt: skip
    legend = "".join(
        f"<li>{key(look)}<span>{word}: {_e(printable(one.name, _TITLE))}</span></li>"
        for look, (word, one) in enumerate((("before", line), ("after", advice)))
    )
    drawn = f'{scrolled(chart, "Singular values")}<ul class="legend">{legend}</ul>'
    sides = f'<div class="panels"><div>{_before_and_after(line, advice, with_target)}</div><div>{drawn}</div></div>'
    return f"<h3>{_e(name)}</h3>{paragraph(_why(line, advice))}<figure>{sides}</figure>"


def _why(line: Judged, advice: Judged) -> str:
    """Why a context was mixed, with what, and what came of it."""
    name = printable(line.name, _TITLE)
    if line.strength == "too strong":
        says = (
            f"{name} is too strong: nine tenths of its energy need {count(line.needed, 'function')}, and there are "
            f"{count(len(line.spectrum.functions), 'row')}. Another context after it weakens it, and of those that "
            "were tried the best is "
        )
    else:
        says = (
            f"{name} is too weak: its energy is {line.usefulness.energy:.2f}, that of less than half a function. Drawn "
            "together with another it is stronger, and of those that were tried the best is "
        )
    says += f"{printable(advice.name)}. "
    if advice.strength == "moderate":
        says += f"That is moderate{', but τ says nothing of it' if advice.usefulness.abstains else ''}."
    else:
        says += f"That is {advice.strength} {'still' if advice.strength == line.strength else 'now'}, with a smaller τ."
    return says


def _before_and_after(line: Judged, advice: Judged, with_target: bool) -> str:
    """The numbers of a context and of the mixture that is advised for it, as a table."""
    both = (line, advice)
    terms = [
        ("τ", *("–" if one.usefulness.abstains else f"{one.usefulness.tau:.2f}" for one in both)),
        ("strength", *(one.strength for one in both)),
        ("functions", *("–" if one.usefulness.abstains else str(one.dimension) for one in both)),
        ("for 90%", *(str(one.needed) for one in both)),
        ("energy", *(f"{one.usefulness.energy:.2f}" for one in both)),
    ]
    if with_target and not line.of_target:
        terms.append(("explained", *(percent(one.explained) for one in both)))
    rows = "".join(
        f'<tr><th scope="row">{_e(term)}</th>{"".join(f"""<td class="n">{_e(cell)}</td>""" for cell in cells)}</tr>'
        for term, *cells in terms
    )
    heads = '<th scope="col" class="n">before</th><th scope="col" class="n">after</th>'
    return f'<table class="small"><thead><tr><td></td>{heads}</tr></thead><tbody>{rows}</tbody></table>'
