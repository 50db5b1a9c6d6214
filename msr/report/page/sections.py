"""Sections that show the evidence, each a drawing with words; a section with nothing to show is the empty string.

Their order here is that of the page: what was learned (sharing pattern, spectrum, training), the group (generators,
multiplication table, residuals), symmetries of other kinds, and how to repeat it.
"""

import html
import math

import numpy as np

from msr.discovery.answer.result import Discovery, PartialSymmetry
from msr.permutations import Indices
from msr.report.markup.blocks import count, figure, glossary, how_to_repeat, panels_of, paragraph, section
from msr.report.markup.svg import scrolled
from msr.report.page import charts
from msr.report.page.arrows import moves
from msr.report.page.view import MOST_ELEMENTS, Reading, View, letters
from msr.representations.commutant.values import Continuous

__all__ = [
    "continuous",
    "generators",
    "multiplication_table",
    "partial",
    "repeat",
    "residuals",
    "sharing",
    "spectrum",
    "training",
]

_MOST_GENERATORS = 6
"""Generators that are drawn; chosen by eye. The others are in result.json."""

_GLOSSARY = {
    "Symmetry": "A reordering of the inputs together with one of the outputs that leaves every weight as it is.",
    "Group": "All such reorderings together; doing one after another gives a third, and each can be undone.",
    "Order": "How many reorderings the group has, the one that moves nothing included.",
    "Generators": "A few reorderings from which all others follow by doing them one after another.",
    "Class of weights": "Weights that are the same number in every task; a group makes classes by moving weights.",
}
_e = html.escape


# ------------------------------------------------------------------------------------------------- what was learned


def sharing(view: View) -> str:
    """The weight matrix with its classes in colours, as the data orders it and, with a group, as that does.

    Empty without classes.
    """
    classes = view.classes
    if classes is None:
        return ""
    inputs = view.discovery.inputs
    outputs = view.discovery.outputs
    m, n = classes.numbers.shape
    size = f"{m} outputs and {n} inputs; {_classes(len(classes.counts) - 1)}"
    plain = Reading(np.arange(n), np.arange(m), (0,), (0,))
    drawn = charts.pattern(classes, plain, inputs, outputs, f"weight matrix as it came, {size}")
    panels = [("As the data orders it", drawn)]
    if view.order is not None:
        drawn = charts.pattern(classes, view.order, inputs, outputs, f"weight matrix reordered, {size}")
        panels.append(("As the group orders it", drawn))
    caption = "Each cell is a weight; cells of one colour and number are one class: the same weight in every task. "
    if classes.counts[0]:
        caption += "Grey cells carry next to no weight. "
    if (classes.counts[1:] == 1).any():
        caption += "A class of a single weight is left empty: it shares with none. "
    if view.order is not None:
        caption += (
            "On the right, points are read orbit by orbit (lines part the orbits), and within an orbit along one "
            "permutation of the group, so that what it shares lies on diagonals. "
        )
    elif view.discovery.chosen is None:
        caption += "No group was chosen; these are the finest classes that were told apart. "
    if max(m, n) > charts.MOST_CELLS:
        caption += f"Only the first {charts.MOST_CELLS} rows and columns are drawn, of {m} × {n}. "
    several = f"{_classes(classes.several)} of more than one weight"
    intro = paragraph(
        f"A layer of {m} outputs and {n} inputs has {m * n} weights, biases left out. They fall into {several}."
    )
    return section("The sharing pattern", intro, figure(panels_of(panels), caption.strip()))


def _classes(size: int) -> str:
    """A number of classes in words: ``3 classes``."""
    return f"{size} class{'es' * (size != 1)}"


def spectrum(view: View) -> str:
    """The spectrum from which the dimension of the sharing was read. Empty where there was none."""
    shown = view.spectrum
    if not shown or view.discovery.spectrum is None:
        return ""
    k = view.discovery.dimension
    caption = f"The first {len(shown)} of {len(view.discovery.spectrum)} values, largest first, on a logarithmic scale."
    if k:
        caption += f" The dashed line lies after the {k} that were kept; the rest is taken for noise."
    if k and k < len(shown):
        caption += f" The last one kept is {shown[k - 1] / shown[k]:.3g} times the first one left."
    label = f"spectrum of {len(shown)} values" + (f", cut after {k}" if k else "")
    intro = paragraph(
        "In how many directions do the weights of the tasks differ? A steep fall says where the sharing ends."
    )
    drawn = scrolled(charts.spectrum(shown, k, label), "Spectrum")
    return section("The spectrum", intro, figure(drawn, caption))


def training(discovery: Discovery) -> str:
    """The residual of each iteration of the fit. Empty where the fit ended at once."""
    values = discovery.training
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
    drawn = scrolled(charts.training(values, label), "Training")
    return section("The training", intro, figure(drawn, caption))


# -------------------------------------------------------------------------------------------------------- the group


def generators(discovery: Discovery) -> str:
    """The first six generators of the group as arrows between points. Empty without a group or generators."""
    moves_in, moves_out = discovery.generators()
    if len(moves_in) == 0:
        return ""
    same = discovery.shape_in == discovery.shape_out and np.array_equal(moves_in, moves_out)
    panels = []
    for name, p, q in list(zip(letters(len(moves_in)), moves_in, moves_out, strict=True))[:_MOST_GENERATORS]:
        if same:
            panels.append((f"{name}: inputs and outputs", moves(discovery.shape_in, p, f"generator {name}")))
        else:
            on_inputs = moves(discovery.shape_in, p, f"generator {name} on the inputs")
            on_outputs = moves(discovery.shape_out, q, f"generator {name} on the outputs")
            panels += [(f"{name}: inputs", on_inputs), (f"{name}: outputs", on_outputs)]
    caption = "An arrow goes from a point to where it is sent; an arrow with two heads swaps two points."
    caption += " Each cycle has a colour; a point without an arrow stays."
    if len(moves_in) > _MOST_GENERATORS:
        caption += f" {len(moves_in) - _MOST_GENERATORS} more generators are in result.json."
    if discovery.signed:
        flips = [int((a < 0).sum() + (b < 0).sum()) for a, b in zip(*discovery.signs(), strict=True)]
        counts = ", ".join(f"{name}: {n}" for name, n in zip(letters(len(flips)), flips, strict=True))
        caption += f" Coordinates that change their sign on the way, inputs and outputs together: {counts}."
    intro = paragraph(f"The group is generated by {count(len(moves_in), 'permutation')}.")
    return section("The generators", intro, figure(panels_of(panels), caption))


def multiplication_table(view: View) -> str:
    """The Cayley table of a small group. Empty without a group, and for one that is too large to be read."""
    group = view.table_group
    if group is None:
        return ""
    label = f"Cayley table of {group.order} elements"
    caption = (
        "Row times column: the column's permutation first, then the row's. e moves nothing; the letters are the "
        "generators above. Powers of one element come first, then its cosets, so that blocks show."
    )
    if group.is_abelian:
        sentence = "It is commutative: the table is its own mirror image."
    else:
        sentence = "It is not commutative: the table is not its own mirror image."
    drawn = scrolled(charts.cayley(group, label), label)
    return section("The multiplication table", paragraph(sentence), figure(drawn, caption))


def residuals(view: View) -> str:
    """How far each element of the group, or each generator, moves the learned pattern. Empty without a group."""
    shown = view.residuals
    if shown is None:
        return ""
    certificate = view.discovery.certificate
    limit = certificate.eps if certificate is not None else None
    label = f"residual of {count(len(shown.values), shown.unit)}, the largest {max(shown.values):.3g}"
    chart = charts.residual_bars(shown.values, shown.names, shown.are_generators, limit, label)
    caption = f"‖(P × Q)U − U‖ / ‖U‖ for each {shown.unit}"
    caption += ", generators in the second colour. " if shown.unit == "element" else ". "
    if shown.total > MOST_ELEMENTS:
        caption += f"The first {MOST_ELEMENTS} of {shown.total} are drawn. "
    if limit:
        caption += (
            "The tolerance is on the outputs, and noise in the fitted weights counts here but not there: the line is a "
            "guide, the test above decides."
        )
    intro = paragraph(
        f"How far does each {shown.unit} move the learned pattern U? Nothing else went into these numbers."
    )
    return section(f"Residual by {shown.unit}", intro, figure(scrolled(chart, label), caption))


# ------------------------------------------------------------------------------- other symmetries, and the last words


def partial(discovery: Discovery) -> str:
    """Partial symmetries: maps of some points that keep the weights between them. Empty where none was found."""
    if not discovery.partial:
        return ""
    drawn = "".join(_one_partial(discovery, symmetry) for symmetry in discovery.partial)
    intro = paragraph(
        "No permutation of all points holds, but these maps keep the weights wherever both ends of an arrow are there, "
        "as a translation does away from the boundary."
    )
    return section("Partial symmetries", intro, drawn)


def _one_partial(discovery: Discovery, symmetry: PartialSymmetry) -> str:
    """One partial symmetry as drawings of its maps of inputs and outputs, under its name."""
    p = _lifted(symmetry.map_in, discovery.inputs, math.prod(discovery.shape_in))
    q = _lifted(symmetry.map_out, discovery.outputs, math.prod(discovery.shape_out))
    panels = [("Inputs", moves(discovery.shape_in, p, f"{symmetry.name}, inputs"))]
    panels.append(("Outputs", moves(discovery.shape_out, q, f"{symmetry.name}, outputs")))
    caption = (
        f"Defined on {symmetry.overlap:.0%} of the points; residual there {symmetry.residual:.2g}. "
        "Dashed points are outside."
    )
    return f"<h3>{_e(symmetry.name)}</h3>{figure(panels_of(panels), caption)}"


def _lifted(image: Indices, places: Indices, size: int) -> Indices:
    """A partial map of the coordinates ``places``, which vary in the data, as a partial map of all ``size`` points.

    −1 stands for a point on which the map is not defined.
    """
    full = np.full(size, -1)
    full[places] = np.where(image >= 0, places[image], -1)
    return full


def continuous(discovery: Discovery) -> str:
    """The connected symmetries, and the commutants that they were read from. Empty where none was looked for."""
    symmetry: Continuous | None = discovery.continuous
    if symmetry is None:
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
        for side, c in (("Inputs", symmetry.inputs), ("Outputs", symmetry.outputs))
        if c is not None
    )
    head = '<th scope="col">Side</th><th scope="col" class="n">Commutant</th><th scope="col" class="n">Skew part</th>'
    table = f'<table><thead><tr>{head}<th scope="col">Irreducible parts</th></tr></thead><tbody>{rows}</tbody></table>'
    named = symmetry.name if "dimension" in symmetry.name else f"{symmetry.name}, of dimension {symmetry.dimension}"
    decided = "It is the problem's own." if symmetry.decided else "Whether it is the problem's own is not decided."
    note = f'<div class="note"><p>{_e(symmetry.note)}</p></div>' if symmetry.note else ""
    shown = f"<figure>{scrolled(table, 'Commutants')}</figure>" if rows else ""
    return section("The continuous part", paragraph(f"{named}. {decided}"), note, shown)


def repeat(command: str) -> str:
    """How to repeat the run, and the words used on the page."""
    return section(
        "How to repeat it",
        how_to_repeat(command),
        paragraph("result.json beside this page holds the same answer as numbers.", "quiet"),
        glossary(_GLOSSARY),
    )
