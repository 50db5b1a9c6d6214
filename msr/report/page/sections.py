"""The last sections of the page: partial and continuous symmetries, how to repeat it, the words."""

import html
import math

import numpy as np

from msr.discovery.answer.result import Discovery, PartialSymmetry
from msr.permutations import Indices
from msr.report.page.blocks import figure, moves, panels_of, paragraph, section
from msr.report.page.svg import scrolled
from msr.representations.commutant.values import Continuous
from msr.version import __version__

__all__ = ["continuous", "partial", "repeat"]

_GLOSSARY = {
    "Symmetry": "A reordering of the inputs together with one of the outputs that leaves every weight as it is.",
    "Group": "All such reorderings together; doing one after another gives a third, and each can be undone.",
    "Order": "How many reorderings the group has, the one that moves nothing included.",
    "Generators": "A few reorderings from which all others follow by doing them one after another.",
    "Class of weights": "Weights that are the same number in every task; a group makes classes by moving weights.",
}
_e = html.escape


def partial(found: Discovery) -> str:
    if not found.partial:
        return ""
    drawn = "".join(_one_partial(found, one) for one in found.partial)
    intro = paragraph(
        "No permutation of all points holds, but these maps keep the weights wherever both ends of an arrow are there, "
        "as a translation does away from the boundary."
    )
    return section("Partial symmetries", intro, drawn)


def _one_partial(found: Discovery, one: PartialSymmetry) -> str:
    p = _lifted(one.map_in, found.inputs, math.prod(found.shape_in))
    q = _lifted(one.map_out, found.outputs, math.prod(found.shape_out))
    panels = [("Inputs", moves(found.shape_in, p, f"{one.name}, inputs"))]
    panels.append(("Outputs", moves(found.shape_out, q, f"{one.name}, outputs")))
    caption = (
        f"Defined on {one.overlap:.0%} of the points; residual there {one.residual:.2g}. Dashed points are outside."
    )
    return f"<h3>{_e(one.name)}</h3>{figure(panels_of(panels), caption)}"


def _lifted(image: Indices, places: Indices, size: int) -> Indices:
    """A partial map on the coordinates that vary, as one on all."""
    full = np.full(size, -1)
    full[places] = np.where(image >= 0, places[image], -1)
    return full


def continuous(found: Discovery) -> str:
    one: Continuous | None = found.continuous
    if one is None:
        return ""
    rows = "".join(
        f'<tr><td>{side}</td><td class="n">{c.dimension}</td><td class="n">{c.skew_dimension}</td><td>'
        + _e(
            "; ".join(
                f"{size}-dimensional, {kind}, {'once' if times == 1 else f'{times} times'}"
                for size, times, kind in c.parts
            )
            or "–"
        )
        + "</td></tr>"
        for side, c in (("Inputs", one.inputs), ("Outputs", one.outputs))
        if c is not None
    )
    head = '<th scope="col">Side</th><th scope="col" class="n">Commutant</th><th scope="col" class="n">Skew part</th>'
    table = f'<table><thead><tr>{head}<th scope="col">Irreducible parts</th></tr></thead><tbody>{rows}</tbody></table>'
    named = one.name if "dimension" in one.name else f"{one.name}, of dimension {one.dimension}"
    decided = "It is the problem's own." if one.decided else "Whether it is the problem's own is not decided."
    note = f'<div class="note"><p>{_e(one.note)}</p></div>' if one.note else ""
    shown = f"<figure>{scrolled(table, 'Commutants')}</figure>" if rows else ""
    return section("The continuous part", paragraph(f"{named}. {decided}"), note, shown)


def repeat(found: Discovery, command: str) -> str:
    glossary = "".join(f"<div><dt>{_e(term)}</dt><dd>{_e(said)}</dd></div>" for term, said in _GLOSSARY.items())
    return section(
        "How to repeat it",
        paragraph(f"With msr {__version__}, from the folder where the first run was started:"),
        f'<pre tabindex="0"><code>{_e(command)}</code></pre>',
        paragraph("result.json beside this page holds the same answer as numbers.", "quiet"),
        "<h3>Words used here</h3>",
        f'<dl class="glossary">{glossary}</dl>',
    )
