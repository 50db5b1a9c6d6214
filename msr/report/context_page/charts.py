"""Charts of contexts: their singular values side by side, and functions as colour over the rows of the table.

Sizes are in pixels and were chosen by eye. Every chart is an SVG, and ``label`` says in words what it shows.
"""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msr.report.context_page.places import Places
from msr.report.markup.svg import element, picture, text

__all__ = ["MOST_VALUES", "NOTHING", "Series", "key", "scale", "scatter", "spectra"]

MOST_VALUES = 60
"""Singular values of a context that are drawn."""
NOTHING = 1e-6
"""A singular value up to which there is none: rounding of squares leaves as much."""
_COLOURS = 6
"""Colours of lines in the style sheet."""
_DASHES = 3
"""Kinds of lines: whole, dashed, dotted; the contexts after the sixth take the second, and so on."""
_BINS = 9
"""Steps of the colour scale, from −2 to 2; its style sheet has as many."""
_STEP = 0.5


@dataclass(frozen=True, eq=False)
class Series:
    """A line of a chart: a name, its values in 0 to 1, which of them is marked, counted from 1, and its look."""

    name: str
    values: NDArray[np.float64]
    marked: int
    look: int


def spectra(series: Sequence[Series], label: str, *, width: float = 900.0, height: float = 320.0) -> str:
    """Singular values against their number, a line for each context; values of nothing are left out.

    A line has a large dot at the value that is marked.
    """
    left, right, top, bottom = 46.0, 14.0, 14.0, 44.0
    shown = [line.values[: int((line.values > NOTHING).sum())][:MOST_VALUES] for line in series]
    last = max(5, *(len(values) for values in shown))
    floor = height - bottom

    def x(i: float) -> float:
        return left + (i - 0.5) / last * (width - left - right)

    def y(value: float) -> float:
        return top + (1 - value) * (floor - top)

    parts = []
    for tick in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        parts.append(element("line", x1=left, y1=y(tick), x2=width - right, y2=y(tick), class_="rule"))
        parts.append(text(left - 8, y(tick) + 4, f"{tick:g}", size=11, anchor="end", kind="muted"))
    every = 1 if last <= 12 else 10 if last > 30 else 5
    ticks = sorted({1, *(t for t in range(every, last, every) if t < last * 19 / 20), last})
    parts += [text(x(t), floor + 17, str(t), size=11, anchor="middle", kind="muted") for t in ticks]
    parts.append(text((left + width - right) / 2, height - 7, "number of the function", size=11, anchor="middle",
                      kind="muted"))  # fmt: skip
    for line, values in zip(series, shown, strict=True):
        if len(values) > 1:
            way = "M" + " ".join(f"{x(i):.1f} {y(float(v)):.1f}" for i, v in enumerate(values, 1))
            parts.append(element("path", d=way, class_=f"way {_look(line.look)}"))
        for i, value in enumerate(values.tolist(), 1):
            title = f"<title>{html.escape(line.name)}, {i}: {value:.3f}</title>"
            radius = 5.5 if i == line.marked else 2.4
            parts.append(
                element("circle", title, cx=x(i), cy=y(value), r=radius, class_=f"head k{line.look % _COLOURS}")
            )
    return picture(width, height, "".join(parts), label)


def key(look: int) -> str:
    """A short piece of a line as it looks in the chart, for the legend beside it; nothing for those who listen."""
    colour = f"k{look % _COLOURS}"
    line = element("path", d="M1 6H27", class_=f"way {_look(look)}")
    dot = element("circle", cx=14, cy=6, r=3, class_=f"head {colour}")
    return f'<svg viewBox="0 0 28 12" width="28" height="12" aria-hidden="true">{line}{dot}</svg>'


def _look(number: int) -> str:
    """The classes of a line in the style sheet: its colour, and how it is dashed."""
    dashed = number // _COLOURS % _DASHES
    return f"k{number % _COLOURS}" + (f" dash{dashed}" if dashed else "")


def scatter(places: Places, function: NDArray[np.float64], label: str) -> str:
    """The rows at their places, in the colour of the function's value there.

    Args:
        function: ``(rows,)``, its value at each row that is drawn, in units of its root mean square over all rows.
    """
    width, height, left, right, top, bottom = 284.0, 252.0, 22.0, 8.0, 8.0, 24.0
    across = left + 6 + _along(places.across) * (width - left - right - 12)
    up = function if places.up is None else places.up
    down = top + 6 + (1 - _along(up)) * (height - top - bottom - 12)
    bins = np.clip(np.rint(function / _STEP), -(_BINS // 2), _BINS // 2).astype(int) + _BINS // 2
    parts = [element("rect", x=left, y=top, width=width - left - right, height=height - top - bottom, class_="frame")]
    # One path for each colour keeps the file small. Values around zero come first, so that they hide no others.
    for which in sorted(range(_BINS), key=lambda which: abs(which - _BINS // 2)):
        dots = "".join(f"M{a:.1f} {b:.1f}h0" for a, b in zip(across[bins == which], down[bins == which], strict=True))
        if dots:
            parts.append(element("path", d=dots, class_=_shade(which)))
    name_across, name_up = places.names
    parts.append(text((left + width - right) / 2, height - 7, name_across, size=11, anchor="middle", kind="muted"))
    middle = (top + height - bottom) / 2
    parts.append(element("text", html.escape(name_up), class_="muted", font_size=11, text_anchor="middle",
                         transform=f"translate(14 {middle:.0f}) rotate(-90)"))  # fmt: skip
    return picture(width, height, "".join(parts), label)


def scale() -> str:
    """The colours of :func:`scatter` with the values that they stand for."""
    step = 32.0
    parts = []
    for which in range(_BINS):
        x = 18 + which * step
        value = (which - _BINS // 2) * _STEP
        words = f"{value:g}".replace("-", "−")
        if which in (0, _BINS - 1):
            words = f"{'≤' if which == 0 else '≥'} {words}"
        parts.append(element("path", d=f"M{x:.1f} 12h0", class_=f"{_shade(which)} large"))
        parts.append(text(x, 36, words, size=11, anchor="middle", kind="muted"))
    return picture(18 * 2 + (_BINS - 1) * step, 42, "".join(parts), "colours of values from −2 to 2")


def _shade(which: int) -> str:
    """The classes of a step of the colour scale: below zero points are squares, so that the sign needs no colour."""
    return f"dot v{which}" + (" below" if which < _BINS // 2 else "")


def _along(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values as places from 0 to 1 between the least and the greatest; all in the middle if they are equal."""
    low = float(values.min())
    size = float(values.max()) - low
    return (values - low) / size if size > 1e-9 and math.isfinite(size) else np.full(len(values), 0.5)
