"""A discovery as one web page that opens from disk, with no network, no script and no plotting library."""

import html
import math
from collections.abc import Iterator
from pathlib import PurePath

import numpy as np

from msr.discovery.answer.result import Discovery
from msr.discovery.answer.sentences import p_words, share
from msr.printable import printable
from msr.report.page.arrows import arrows, layout
from msr.report.page.blocks import count, figure, moves, panels_of, paragraph, section
from msr.report.page.charts import (  # fmt: skip
    MOST_CELLS,
    cayley,
    pattern,
    residual_bars,
    spectrum,
    spectrum_shown,
    training,
)
from msr.report.page.sections import continuous, partial, repeat
from msr.report.page.style import STYLE
from msr.report.page.svg import scrolled
from msr.report.page.tested import seen, tested
from msr.report.page.view import (  # fmt: skip
    Reading,
    classes_of,
    elements_of,
    letters,
    number,
    percent,
    reading,
    residuals,
    shape_words,
    shortened,
    together,
    words,
)
from msr.version import __version__

__all__ = ["discovery_page"]

_MOST_GENERATORS = 6
_MOST_ELEMENTS = 64
_MOST_IN_TABLE = 24
_BADGES = {
    "found": ("found", "✓", "Found"),
    "none": ("none", "–", "None"),
    "cannot tell": ("unsure", "?", "Cannot tell"),
}
_e = html.escape


def discovery_page(found: Discovery, *, source: str, command: str) -> str:
    """One HTML file: the verdict, what was tested, drawings of the evidence, and how to repeat it.

    Args:
        source: where the tasks came from, for the reader; ``command``: the line that gives the same answer.
    """
    sections = [
        tested(found), _sharing(found), _spectrum(found), _training(found), _generators(found), _table(found),
        _residuals(found), partial(found), continuous(found), repeat(found, command),
    ]  # fmt: skip
    name, source = printable(PurePath(source).name or source), printable(source)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{_e(_headline(found))} · {_e(name)}</title>\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # Nothing is fetched and nothing runs, whatever a file name or a command may hold.
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
        'img-src data:">\n<link rel="icon" href="data:,">\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        f'<p class="over">Symmetry of the tasks in <strong>{_e(source)}</strong></p>\n'
        f"{_verdict(found)}\n{''.join(s for s in sections if s)}\n"
        f"<footer>Written by msr {_e(__version__)}. This file is complete: it loads nothing.</footer>\n"
        "</main>\n</body>\n</html>\n"
    )


# ----------------------------------------------------------------------------------------------------------- verdict


def _headline(found: Discovery) -> str:
    if found.group is not None:
        return found.group.name
    return "No exact group" if found.partial else "No group" if found.verdict == "none" else "Cannot tell"


def _verdict(found: Discovery) -> str:
    kind, sign, badge = _BADGES[found.verdict]
    parts = [
        f'<header class="verdict {kind}"><div><p class="badge"><span aria-hidden="true">{sign}</span> {badge}</p>',
        f'<h1>{_e(_headline(found))}</h1><p class="says">{_e(shortened(found.sentence))}</p></div>',
        f'<div class="emblem" aria-hidden="true">{_emblem(found)}</div></header>',
    ]
    if found.hints:
        items = "".join(f"<li>{_e(shortened(hint))}</li>" for hint in found.hints)
        parts.append(
            f'<div class="note unsure"><b>What stands in the way, and what would help</b><ul>{items}</ul></div>'
        )
    facts = "".join(
        f"<div><dt>{_e(term)}</dt><dd>{_e(value)}{f'<small>{_e(more)}</small>' if more else ''}</dd></div>"
        for term, value, more in _facts(found)
    )
    parts.append(f'<dl class="facts">{facts}</dl>')
    if found.group is not None and not found.group.certain:
        also = ", ".join(found.group.alternatives)
        said = f"The name is not proven. What was compared fits also: {also}." if also else "The name is a description."
        parts.append(f'<div class="note"><p>{_e(said)}</p></div>')
    if found.two_closure_note:
        parts.append(
            f'<div class="note"><b>Which group a linear layer shows</b><p>{_e(found.two_closure_note)}</p></div>'
        )
    if found.left_out:
        items = "".join(f"<li>{_e(text)}</li>" for text in found.left_out)
        parts.append(f'<div class="note"><b>Left out of the data</b><ul>{items}</ul></div>')
    return "\n".join(parts)


def _emblem(found: Discovery) -> str:
    """The first generator, small, beside the verdict; it is drawn again below, with words."""
    moves, _ = found.generators()
    where = layout(found.shape_in) if len(moves) else None
    if where is None or where.width > 300:
        return ""
    return arrows(where, moves[0], "").replace('role="img" aria-label=""', 'aria-hidden="true"')


def _facts(found: Discovery) -> Iterator[tuple[str, str, str]]:
    """A term, its value, and a line in small letters."""
    group, certificate = found.group, found.certificate
    if group is not None:
        yield "Order of the group", number(group.order), ""
        yield "Inputs", shape_words(found.shape_in), str(group.on_inputs)
        yield "Outputs", shape_words(found.shape_out), str(group.on_outputs)
    else:
        yield "Inputs", shape_words(found.shape_in), ""
        yield "Outputs", shape_words(found.shape_out), ""
    if found.dimension is not None:
        weights = len(found.outputs) * len(found.inputs)
        yield "Dimension of the sharing", str(found.dimension), f"of {number(weights)} weights, biases left out"
    if found.chosen is not None:
        yield "Residual", f"{found.chosen.residual:.2g}", "of the fitted weights, when averaged over the group"
    if certificate is not None:
        bound = f"of the outputs of typical tasks, at level {certificate.alpha:g}"
        estimate = f"the estimate is {percent(certificate.breaking)}, from {certificate.method}"
        yield "What breaks it, at most", percent(certificate.bound), f"{bound}; {estimate}"
        yield "Exceptions, at most", f"{certificate.exceptions_at_most:.1%}", f"of the tasks; {seen(certificate)}"
        if certificate.linear and certificate.nonlinear_at_most is not None:
            yield "Not linear, at most", percent(certificate.nonlinear_at_most), "of the outputs"
        yield (
            "p-value",
            p_words(certificate.p_value).removeprefix("p = ").removeprefix("p "),
            f"on {certificate.n_tasks} tasks that had no part in choosing the group"
            + (f", in each of {certificate.splits} splits" if certificate.splits > 1 else ""),
        )
        yield "Tolerance", share(certificate.eps), "of the outputs"
        if certificate.specificity is not None:
            yield "Relabellings that do as well", f"{certificate.specificity:.0%}", "of random ones; small is good"
    yield "Tasks", number(found.n_tasks), f"layer: {found.layer}"
    if found.noise is not None:
        yield "Noise", f"{math.sqrt(max(found.noise, 0.0)):.2g}", "standard deviation of an output"
    yield "Time", f"{found.seconds:.1f} s", ""


# ----------------------------------------------------------------------------------------------------------- pattern


def _sharing(found: Discovery) -> str:
    one = found.chosen
    colours = found.classes if one is None else one.colours
    if colours is None:
        return ""
    m, n = colours.shape
    plain = Reading(np.arange(n), np.arange(m), (0,), (0,))
    order = None  # signs have no order of points to show
    if one is not None and len(one.generators_in) and not found.signed:
        order = reading(one)
    classes = classes_of(colours, found.pattern, order)
    names = found.inputs, found.outputs
    lead = f"{m} outputs and {n} inputs; {count(len(classes.counts) - 1, 'class')}".replace("classs", "classes")
    panels = [("As the data orders it", pattern(classes, plain, *names, f"weight matrix as it came, {lead}"))]
    if order is not None:
        panels.append(("As the group orders it", pattern(classes, order, *names, f"weight matrix reordered, {lead}")))
    said = "Each cell is a weight; cells of one colour and number are one class: the same weight in every task. "
    if classes.counts[0]:
        said += "Grey cells carry next to no weight. "
    if (classes.counts[1:] == 1).any():
        said += "A class of a single weight is left empty: it shares with none. "
    if order is not None:
        said += (
            "On the right, points are read orbit by orbit (lines part the orbits), and within an orbit along one "
            "permutation of the group, so that what it shares lies on diagonals. "
        )
    elif one is None:
        said += "No group was chosen; these are the finest classes that were told apart. "
    if max(m, n) > MOST_CELLS:
        said += f"Only the first {MOST_CELLS} rows and columns are drawn, of {m} × {n}. "
    several = f"{count(classes.several, 'class')} of more than one weight".replace("classs", "classes")
    drawn = "".join(f"<div><h3>{title}</h3>{svg}</div>" for title, svg in panels)
    intro = paragraph(
        f"A layer of {m} outputs and {n} inputs has {m * n} weights, biases left out. They fall into {several}."
    )
    return section("The sharing pattern", intro, figure(f'<div class="panels">{drawn}</div>', said.strip()))


def _spectrum(found: Discovery) -> str:
    values = [] if found.spectrum is None else [float(v) for v in found.spectrum]
    shown = spectrum_shown(values, found.dimension)
    if not shown:
        return ""
    k = found.dimension
    caption = f"The first {len(shown)} of {len(values)} values, largest first, on a logarithmic scale."
    if k:
        caption += f" The dashed line lies after the {k} that were kept; the rest is taken for noise."
    if k and k < len(shown):
        caption += f" The last one kept is {shown[k - 1] / shown[k]:.3g} times the first one left."
    label = f"spectrum of {len(shown)} values" + (f", cut after {k}" if k else "")
    intro = paragraph(
        "In how many directions do the weights of the tasks differ? A steep fall says where the sharing ends."
    )
    drawn = scrolled(spectrum(values, k, label), "Spectrum")
    return section("The spectrum", intro, figure(drawn, caption))


def _training(found: Discovery) -> str:
    values = found.training
    if len(set(values)) < 2:
        return ""
    label = f"residual of {count(len(values), 'iteration')}, from {values[0]:.3g} to {min(values):.3g}"
    intro = paragraph(
        "The fit alternates between the filters of all tasks and what those share. It began near its end, with a span "
        "found from the spectrum."
    )
    caption = (
        "How much of the fitting tasks' squared outputs each iteration left, on a logarithmic scale, above the "
        f"{min(values):.2g} where it ended, which is noise or what the layer cannot say."
    )
    return section("The training", intro, figure(scrolled(training(values, label), "Training"), caption))


# ------------------------------------------------------------------------------------------------------------- group


def _generators(found: Discovery) -> str:
    moves_in, moves_out = found.generators()
    if len(moves_in) == 0:
        return ""
    same = found.shape_in == found.shape_out and np.array_equal(moves_in, moves_out)
    panels = []
    for name, p, q in list(zip(letters(len(moves_in)), moves_in, moves_out, strict=True))[:_MOST_GENERATORS]:
        if same:
            panels.append((f"{name}: inputs and outputs", moves(found.shape_in, p, f"generator {name}")))
        else:
            panels.append((f"{name}: inputs", moves(found.shape_in, p, f"generator {name} on the inputs")))
            panels.append((f"{name}: outputs", moves(found.shape_out, q, f"generator {name} on the outputs")))
    caption = "An arrow goes from a point to where it is sent; an arrow with two heads swaps two points."
    caption += " Each cycle has a colour; a point without an arrow stays."
    if len(moves_in) > _MOST_GENERATORS:
        caption += f" {len(moves_in) - _MOST_GENERATORS} more generators are in result.json."
    if found.signed:
        flips = [int((a < 0).sum() + (b < 0).sum()) for a, b in zip(*found.signs(), strict=True)]
        told = ", ".join(f"{name}: {n}" for name, n in zip(letters(len(flips)), flips, strict=True))
        caption += f" Coordinates that change their sign on the way, inputs and outputs together: {told}."
    intro = paragraph(f"The group is generated by {count(len(moves_in), 'permutation')}.")
    return section("The generators", intro, figure(panels_of(panels), caption))


def _table(found: Discovery) -> str:
    group = None if found.chosen is None else elements_of(found.chosen, _MOST_IN_TABLE)
    if group is None:
        return ""
    label = f"Cayley table of {group.order} elements"
    caption = (
        "Row times column: the column's permutation first, then the row's. e moves nothing; the letters are the "
        "generators above. Powers of one element come first, then its cosets, so that blocks show."
    )
    said = "It is commutative: the table is its own mirror image." if group.is_abelian else (
        "It is not commutative: the table is not its own mirror image."
    )  # fmt: skip
    return section("The multiplication table", paragraph(said), figure(scrolled(cayley(group, label), label), caption))


def _residuals(found: Discovery) -> str:
    if found.chosen is None or found.pattern is None or len(found.chosen.generators_in) == 0:
        return ""
    rows = together(found.chosen)
    group = elements_of(found.chosen, _MOST_ELEMENTS)
    names, own, what = letters(len(rows)), [True] * len(rows), "generator"
    if group is not None and group.points is not None:
        order, spelled = words(group, letters(len(group.generators)))
        rows, names, what = group.points[order], [spelled[g] for g in order], "element"
        own = [g in group.generators for g in order]
    limit = found.certificate.eps if found.certificate is not None else None
    values = residuals(found, rows[:_MOST_ELEMENTS])
    label = f"residual of {count(len(values), what)}, the largest {max(values):.3g}"
    chart = residual_bars(values, names[:_MOST_ELEMENTS], own[:_MOST_ELEMENTS], limit, label)
    caption = f"‖(P × Q)U − U‖ / ‖U‖ for each {what}"
    caption += ", generators in the second colour. " if what == "element" else ". "
    if len(rows) > _MOST_ELEMENTS:
        caption += f"The first {_MOST_ELEMENTS} of {len(rows)} are drawn. "
    if limit:
        caption += (
            "The tolerance is on the outputs, and noise in the fitted weights counts here but not there: the line is a "
            "guide, the test above decides."
        )
    intro = paragraph(f"How far does each {what} move the learned pattern U? Nothing else went into these numbers.")
    return section(f"Residual by {what}", intro, figure(scrolled(chart, label), caption))
