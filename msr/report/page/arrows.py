"""Maps of points to points as arrows: on a circle, or on the grid that the points come from."""

import math
from dataclasses import dataclass

import numpy as np

from msr.permutations import Indices
from msr.report.markup.blocks import paragraph
from msr.report.markup.svg import element, picture, scrolled, text

__all__ = ["MOST_POINTS", "Layout", "arrows", "layout", "moves"]

# Sizes are in pixels, and all of them were chosen by eye.
MOST_POINTS = 1024
"""Points that a drawing has room for."""
_NUMBERED = 26
"""Points that are drawn large enough to hold their number."""
_NODE = 10.0
"""Radius of a point with its number."""
_DOT = 3.0
"""Radius of a point without."""


@dataclass(frozen=True, eq=False)
class Layout:
    """Where points lie in a drawing.

    Attributes:
        places: ``(n, 2)``, the middle of each point.
        width, height: of the whole drawing.
        radius: of a point.
        centre: the centre of a circle of points, towards which arrows bow; None on a grid.
    """

    places: np.ndarray
    width: float
    height: float
    radius: float
    centre: tuple[float, float] | None


def layout(shape: tuple[int, ...]) -> Layout | None:
    """Where the points of an array of this shape are drawn, which are numbered as in the flattened array.

    A circle for one axis, a grid for two, grids side by side for more; axes of length 1 do not count. None for more
    points than :data:`MOST_POINTS`.
    """
    axes = tuple(size for size in shape if size > 1) or (1,)
    count = math.prod(axes)
    if count > MOST_POINTS:
        return None
    radius = _NODE if count <= _NUMBERED else _DOT
    # Points along one axis lie on a circle, where shifts are turns of it.
    return _circle(count, radius) if len(axes) == 1 else _grid(axes, radius)


def _circle(count: int, radius: float) -> Layout:
    """``count`` points evenly on a circle, clockwise from the top, where point 0 is.

    ``radius`` is that of a point as drawn; the circle is made large enough for points with numbers, else of a fixed
    size.
    """
    ring = max(50.0, count * 3.8 * radius / (2 * math.pi)) if count <= _NUMBERED else 130.0
    middle = ring + radius + 14
    angles = 2 * np.pi * np.arange(count) / count - np.pi / 2
    places = np.stack([middle + ring * np.cos(angles), middle + ring * np.sin(angles)], 1)
    return Layout(places, 2 * middle, 2 * middle, radius, (middle, middle))


def _grid(axes: tuple[int, ...], radius: float) -> Layout:
    """The last two axes as rows and columns of a grid; a grid for each point of the axes before, side by side."""
    *blocks, height, width = axes
    step = 46.0 if radius == _NODE else max(9.0, min(26.0, 300 / max(height, width)))
    margin = radius + 16
    places = []
    across = math.prod(blocks)
    block_width = (width - 1) * step + 1.8 * step
    for block in range(across):
        places += [(margin + block * block_width + x * step, margin + y * step)
                   for y in range(height) for x in range(width)]  # fmt: skip
    total = margin * 2 + (across - 1) * block_width + (width - 1) * step
    return Layout(np.array(places), total, margin * 2 + (height - 1) * step, radius, None)


def arrows(where: Layout, image: Indices, label: str) -> str:
    """A drawing, as SVG, of the map ``i -> image[i]``, where −1 says that it is not defined.

    A point that stays has no arrow. Cycles and chains take turns with six colours. ``label`` says in words what is
    drawn.
    """
    parts = []
    targets = {int(t) for t in image if t >= 0}
    for place, chain in enumerate(_chains(image)):
        parts += _chain(where, chain, image, place % 6)  # the style sheet has six colours for arrows
    for point, (x, y) in enumerate(where.places):
        out = image[point] < 0 and point not in targets
        kind = "outside" if out else "node" if where.radius == _NODE else "hollow" if image[point] == point else "full"
        goes = "outside the map" if image[point] < 0 else "stays" if image[point] == point else f"to {image[point]}"
        parts.append(element("circle", f"<title>{point}: {goes}</title>", cx=x, cy=y, r=where.radius, class_=kind))
        if where.radius == _NODE:
            faint = "muted" if out or image[point] == point else ""
            parts.append(text(x, y + 3.6, str(point), size=10.5, anchor="middle", kind=faint))
    if where.radius != _NODE and where.centre is not None:
        parts += _some_numbers(where)
    return picture(where.width, where.height, "".join(parts), label)


def moves(shape: tuple[int, ...], image: Indices, label: str) -> str:
    """A permutation of points that lie as ``shape`` says, drawn as arrows; a sentence where it has too many points.

    The result is markup, and ``label`` says in words what is drawn.
    """
    where = layout(shape)
    if where is None:
        moved = int((image != np.arange(len(image))).sum())
        return paragraph(f"Moves {moved} of {len(image)} points; a drawing has room for {MOST_POINTS}.", "quiet")
    return scrolled(arrows(where, image, label), label)


def _some_numbers(where: Layout) -> list[str]:
    """The numbers of about eight points on a circle, as SVG outside of it: more would not fit."""
    assert where.centre is not None
    cx, cy = where.centre
    count = len(where.places)
    labels = []
    for point in range(0, count, max(1, count // 8)):
        x, y = where.places[point]
        far = 1 + 13 / math.hypot(x - cx, y - cy)
        place = (cx + (x - cx) * far, cy + (y - cy) * far + 3.5)
        labels.append(text(*place, str(point), size=10, anchor="middle", kind="muted"))
    return labels


def _chains(image: Indices) -> list[list[int]]:
    """Open chains, then cycles, of the points that move, as ``i, image[i], image[image[i]], …``.

    A cycle begins at its least point. A partial map has open chains; no point is sent to the first point of one, and
    its last point, which is not sent anywhere or stays, is not listed.
    """
    before = np.full(len(image), -1)
    moving = np.flatnonzero((image >= 0) & (image != np.arange(len(image))))
    before[image[moving]] = moving
    starts = [int(i) for i in moving if before[i] < 0]
    visited: set[int] = set()
    chains = []
    for start in [*starts, *map(int, moving)]:
        chain = []
        point = start
        while point >= 0 and point not in visited and image[point] >= 0 and image[point] != point:
            chain.append(point)
            visited.add(point)
            point = int(image[point])
        if chain:
            chains.append(chain)
    return chains


def _chain(where: Layout, chain: list[int], image: Indices, colour: int) -> list[str]:
    """The arrows of a chain as SVG, in one of six colours; one arrow with two heads for a swap of two points."""
    if len(chain) == 2 and image[chain[1]] == chain[0]:
        return _arrow(where, chain[0], chain[1], colour, both=True)
    return [part for a in chain for part in _arrow(where, a, int(image[a]), colour)]


def _arrow(where: Layout, a: int, b: int, colour: int, *, both: bool = False) -> list[str]:
    """An arrow from point ``a`` to point ``b`` as a quadratic curve with a head; with ``both``, a head at each end."""
    start = where.places[a]
    end = where.places[b]
    middle = (start + end) / 2
    along = end - start
    length = float(np.hypot(*along))
    if where.centre is not None:
        # Towards the centre, and no further than a flat arc needs: steps between neighbours stay nearly straight.
        inward = np.array(where.centre) - middle
        depth = 0.0 if both else min(0.3, 0.28 * length / max(float(np.hypot(*inward)), 1e-9))
        control = middle + inward * depth
    else:
        side = np.array([-along[1], along[0]])
        control = middle + side * (0.16 if both else 0.22)
    head = 6.5 if where.radius == _NODE else 5.0
    tip = _towards(end, control, where.radius + 1)
    tail = _towards(start, control, where.radius + 1)
    if length < 3 * where.radius + head and where.centre is None:
        head = 4.0
    neck = _towards(tip, control, head * 0.8)
    back = _towards(tail, control, head * 0.8) if both else tail
    d = f"M{_xy(back)}Q{_xy(control)} {_xy(neck)}"
    parts = [element("path", d=d, class_=f"way k{colour}"), _head(tip, control, head, colour)]
    if both:
        parts.append(_head(tail, control, head, colour))
    return parts


def _towards(point: np.ndarray, target: np.ndarray, distance: float) -> np.ndarray:
    """The place at ``distance`` from a point on the way to another."""
    along = target - point
    return point + along * (distance / max(float(np.hypot(*along)), 1e-9))


def _head(tip: np.ndarray, control: np.ndarray, size: float, colour: int) -> str:
    """A triangle as SVG, with its point at ``tip``, which a curve reaches from ``control``; ``size`` long and wide."""
    along = tip - control
    along = along / max(float(np.hypot(*along)), 1e-9)
    side = np.array([-along[1], along[0]]) * size * 0.5
    base = tip - along * size
    d = f"M{_xy(tip)}L{_xy(base + side)}L{_xy(base - side)}Z"
    return element("path", d=d, class_=f"head k{colour}")


def _xy(point: np.ndarray) -> str:
    """A place ``(x, y)`` as a path of SVG holds it."""
    return f"{point[0]:.1f} {point[1]:.1f}"
