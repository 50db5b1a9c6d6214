"""Charts of a discovery: the sharing pattern, the spectrum, intervals, the Cayley table, residuals.

Sizes are in pixels and were chosen by eye. Every chart is an SVG, and ``label`` says in words what it shows.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from msr.groups import FiniteGroup
from msr.permutations import Indices
from msr.report.markup.colours import colour_of, ink_on
from msr.report.markup.svg import element, picture, text
from msr.report.page.view import Classes, Reading, letters, power, words

__all__ = ["MOST_CELLS", "cayley", "interval", "pattern", "residual_bars", "spectrum", "training"]

MOST_CELLS = 96
"""Rows and columns of a weight matrix that are drawn: beyond, a cell is too small to see."""
_NUMBERED_CELL = 15
"""Pixels from which on a cell has room for the number of its class."""


def pattern(classes: Classes, order: Reading, names_in: Indices, names_out: Indices, label: str) -> str:
    """The weight matrix, a cell for each weight in the colour of its class.

    ``order`` says in which order rows and columns are drawn, and where lines part them; no more than
    :data:`MOST_CELLS` of each are. ``names_in`` and ``names_out`` are the numbers to write beside columns and rows,
    where there is room: entry ``i`` is that of point ``i``, wherever it is drawn.
    """
    rows = order.outputs[:MOST_CELLS]
    columns = order.inputs[:MOST_CELLS]
    cell = max(4.0, min(28.0, 380 / max(len(rows), len(columns))))
    left, top = 44.0, 34.0  # room for the numbers of inputs and outputs
    corners: dict[int, list[tuple[float, float]]] = {}
    for y, i in enumerate(rows):
        for x, j in enumerate(columns):
            corners.setdefault(int(classes.numbers[i, j]), []).append((left + x * cell, top + y * cell))
    count = len(classes.counts) - 1
    parts = [
        _class_cells(which, cell, places, int(classes.counts[which]), count)
        for which, places in sorted(corners.items())
    ]
    wide = len(columns) * cell
    high = len(rows) * cell
    if cell >= _NUMBERED_CELL:
        parts += _beside(names_in[columns], names_out[rows], left, top, cell)
    for start in order.input_starts:
        if 0 < start < len(columns):
            across = left + start * cell
            parts.append(element("line", x1=across, y1=top, x2=across, y2=top + high, class_="edge"))
    for start in order.output_starts:
        if 0 < start < len(rows):
            down = top + start * cell
            parts.append(element("line", x1=left, y1=down, x2=left + wide, y2=down, class_="edge"))
    parts.append(text(left, 12, "inputs →", kind="muted", size=11))
    side = element("text", "outputs ↓", class_="muted", font_size=11, transform=f"translate(4 {top:.0f}) rotate(90)")
    return picture(left + max(wide, 48) + 4, top + max(high, 58) + 4, "".join([*parts, side]), label)


def _class_cells(which: int, cell: float, places: list[tuple[float, float]], size: int, count: int) -> str:
    """All cells of a class as one path, so that large patterns stay small files; its number inside, if it fits.

    Args:
        which: the number of the class, 0 for weights near zero.
        cell: the side of a cell, and ``places`` the corners of the cells, in pixels.
        size: how many weights the class has, those that are not drawn included.
        count: how many classes there are, for the choice of colours.
    """
    # A gap parts the cells, as wide as the cells allow.
    inner = cell - (1.5 if cell > 8 else 0.5 if cell > 5 else 0)
    d = "".join(f"M{x:.1f} {y:.1f}h{inner:.1f}v{inner:.1f}h-{inner:.1f}z" for x, y in places)
    title = f"class {which}: {size} weight{'s' * (size != 1)}" if which else f"{size} weights near zero"
    kind = "blank" if which == 0 else "single" if size == 1 else ""
    fill = "" if kind else colour_of(which - 1, count)
    drawn = element("path", f"<title>{title}</title>", d=d, class_=kind, fill=fill)
    if cell < _NUMBERED_CELL or which == 0:
        return drawn
    ink = ink_on(fill) if fill else ""
    size_of_text = cell * (0.46 if which < 100 else 0.36)
    return drawn + "".join(
        text(x + inner / 2, y + inner / 2 + size_of_text * 0.36, str(which), size=round(size_of_text, 1),
             anchor="middle", fill=ink) for x, y in places
    )  # fmt: skip


def _beside(names_in: Indices, names_out: Indices, left: float, top: float, cell: float) -> list[str]:
    """The numbers of inputs above the columns and of outputs beside the rows, as SVG.

    ``left`` and ``top`` are the corner of the matrix and ``cell`` the side of a cell, in pixels.
    """
    half = (cell - 1.5) / 2
    above = [
        text(left + x * cell + half, top - 5, str(name), size=10, anchor="middle", kind="muted")
        for x, name in enumerate(names_in)
    ]
    ahead = [
        text(left - 5, top + y * cell + half + 3.5, str(name), size=10, anchor="end", kind="muted")
        for y, name in enumerate(names_out)
    ]
    return above + ahead


def spectrum(values: Sequence[float], k: int | None, label: str) -> str:
    """Positive values on a logarithmic scale, in the order given.

    The first ``k`` are filled, and a line parts them from the rest. Without ``k`` (None) nothing is filled, and there
    is no line.
    """
    return _falling(dict(enumerate(values, 1)), k, "direction of the span", label)


def training(values: Sequence[float], label: str) -> str:
    """How far the residual of each iteration lies above the least of all, on a logarithmic scale, joined by a line.

    Iterations with the least are left out, and the line has a gap there. There must be a value; where all are equal,
    the text is empty.
    """
    least = min(values)
    above = {place: value - least for place, value in enumerate(values, 1) if value > least}
    return _falling(above, None, "iteration", label, joined=True)


def _falling(shown: Mapping[int, float], k: int | None, along: str, label: str, joined: bool = False) -> str:
    """Positive values against their place, on a logarithmic scale of whole decades; empty text without values.

    ``shown`` holds the value of each place, in ascending order; places count from 1. ``along`` names them. With
    ``joined`` a line goes through the values of neighbouring places; ``k`` is as in :func:`spectrum`.
    """
    if not shown:
        return ""
    width, height, left, right, top, bottom = 640.0, 250.0, 52.0, 14.0, 26.0, 40.0
    last = max(shown)
    low = math.floor(math.log10(min(shown.values())))
    high = math.ceil(math.log10(max(shown.values())) + 1e-9)  # what is added puts a power of ten below the next tick
    high = max(high, low + 1)

    def x(i: float) -> float:
        return left + (i - 0.5) / last * (width - left - right)

    def y(value: float) -> float:
        return top + (high - math.log10(value)) / (high - low) * (height - top - bottom)

    parts = []
    floor = height - bottom
    if k:
        cut = min(x(k + 0.5), width - right)
        parts.append(element("rect", x=left, y=top, width=cut - left, height=floor - top, class_="band"))
    for decade in range(low, high + 1, max(1, (high - low) // 6)):
        down = y(10.0**decade)
        parts.append(element("line", x1=left, y1=down, x2=width - right, y2=down, class_="rule"))
        tick = {0: "1", 1: "10", -1: "0.1"}.get(decade, f"10{power(decade)}")
        parts.append(text(left - 8, down + 4, tick, size=11, anchor="end", kind="muted"))
    if k:
        parts.append(element("line", x1=cut, y1=top, x2=cut, y2=floor, class_="limit"))
        no_room = cut > width - 130  # the words then stand left of the line
        parts.append(text(cut + (-6 if no_room else 6), top + 13, f"k = {k} chosen", size=12,
                          anchor="end" if no_room else "start", kind="limit-text"))  # fmt: skip
    if joined:
        # A place that is left out begins a new line, by an M.
        way = " ".join(f"{'' if place - 1 in shown else 'M'}{x(place):.1f} {y(value):.1f}"
                       for place, value in shown.items())  # fmt: skip
        parts.append(element("path", d=way, class_="way k0"))
    radius = 4.0 if last <= 60 else 2.5
    for place, value in shown.items():
        kind = "full" if joined or (k and place <= k) else "hollow"
        title = f"<title>{place}: {value:.3g}</title>"
        parts.append(element("circle", title, cx=x(place), cy=y(value), r=radius, class_=kind))
    near_end = last * 19 / 20  # the last place is always written, and a tick before it would touch it
    ticks = [t for t in range(10, last, 10 * max(1, last // 100)) if t < near_end]
    parts += [
        text(x(place), floor + 16, str(place), size=11, anchor="middle", kind="muted")
        for place in sorted({1, *ticks, last})
    ]
    parts.append(text((left + width - right) / 2, height - 6, along, size=11, anchor="middle",
                      kind="muted"))  # fmt: skip
    return picture(width, height, "".join(parts), label)


def interval(low: float, middle: float, high: float, limit: float | None, label: str) -> str:
    """What breaks a group, ``middle``, with its bounds, on a logarithmic scale from 0.1% to 100%.

    All are shares of the outputs' size, from 0 to 1; those outside of the scale lie at its ends. ``limit`` is a
    tolerance, drawn as a line, or None.
    """
    width, height, pad = 168.0, 26.0, 6.0

    def x(value: float) -> float:
        place = (math.log10(min(max(value, 1e-3), 1.0)) + 3) / 3
        return pad + place * (width - 2 * pad)

    parts = [element("line", x1=pad, y1=13, x2=width - pad, y2=13, class_="rule")]
    if limit is not None:
        parts.append(element("line", x1=x(limit), y1=2, x2=x(limit), y2=24, class_="limit"))
    parts.append(element("path", d=f"M{x(low):.1f} 13H{x(high):.1f}", class_="way k0", style="stroke-width:4"))
    parts.append(element("circle", cx=x(middle), cy=13, r=4.5, class_="full"))
    return picture(width, height, "".join(parts), label)


def cayley(group: FiniteGroup, label: str) -> str:
    """The product of row and column, each element in its colour and by its shortest word in the generators."""
    order, spelled = words(group, letters(len(group.generators)))
    longest = max(len(word) for word in spelled)
    # A letter is about 7 pixels wide at this size.
    wide, high = max(27.0, 7.4 * longest + 10), 24.0
    left, top = max(34.0, 7.2 * longest + 10), 26.0
    place = {which: at for at, which in enumerate(order)}
    parts = []
    for y, g in enumerate(order):
        middle = top + y * high + 15.5
        parts.append(text(left - 7, middle, spelled[g], size=11.5, anchor="end", kind="muted"))
        parts.append(text(left + (y + 0.5) * wide, top - 8, spelled[g], size=11.5, anchor="middle", kind="muted"))
        for x, h in enumerate(order):
            product = int(group.table[g, h])
            fill = colour_of(place[product], group.order)
            parts.append(element("rect", x=left + x * wide, y=top + y * high, width=wide - 1, height=high - 1,
                                 fill=fill))  # fmt: skip
            parts.append(text(left + (x + 0.5) * wide, middle, spelled[product], size=11.5, anchor="middle",
                              fill=ink_on(fill)))  # fmt: skip
    return picture(left + len(order) * wide + 4, top + len(order) * high + 4, "".join(parts), label)


def residual_bars(values: Sequence[float], names: Sequence[str], own: Sequence[bool], limit: float | None,
                  label: str) -> str:  # fmt: skip
    """A bar for each residual, under its name, and a line across at ``limit``, if there is one.

    Bars where ``own`` is true, those of generators, have the second colour.
    """
    longest = max(len(name) for name in names)
    step = max(14.0, min(46.0, 560 / len(values)), 6.6 * longest + 4)
    left, top, floor = 50.0, 24.0, 176.0
    width = max(320.0, left + step * len(values) + 14)
    high = max(1.15 * max(values), 1.5 * limit if limit else 0.0, 1e-9)

    def y(value: float) -> float:
        return floor - value / high * (floor - top)

    parts = []
    # Ticks are 1, 2 or 5 times a power of ten apart, so that there are at most five.
    unit = 10.0 ** math.floor(math.log10(high / 2))
    unit *= next((s for s in (1, 2, 5) if high / (unit * s) <= 5), 5)
    for tick in np.arange(0, high, unit):
        parts.append(element("line", x1=left, y1=y(tick), x2=width - 8, y2=y(tick), class_="rule"))
        parts.append(text(left - 8, y(tick) + 4, f"{tick:.3g}", size=11, anchor="end", kind="muted"))
    for place, (value, name, is_own) in enumerate(zip(values, names, own, strict=True)):
        start = left + step * place
        thick = min(step - 3, 30.0)
        bar = {"x": start + (step - thick) / 2, "y": y(value), "width": thick, "height": max(floor - y(value), 0.8)}
        parts.append(element("rect", f"<title>{name}: {value:.3g}</title>", **bar, class_=f"bar{' own' * is_own}"))
        parts.append(text(start + step / 2, floor + 15, name, size=11, anchor="middle", kind="muted"))
    if limit:
        parts.append(element("line", x1=left, y1=y(limit), x2=width - 8, y2=y(limit), class_="limit"))
        parts.append(text(width - 10, y(limit) - 5, f"tolerance {limit:g}", size=12, anchor="end", kind="limit-text"))
    return picture(width, floor + 24, "".join(parts), label)
