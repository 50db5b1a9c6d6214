"""Partial symmetries: maps of some points to points that keep every weight on which they are defined."""

import numpy as np

from msr.discovery.answer.result import PartialSymmetry
from msr.discovery.pattern.classes import Rows
from msr.discovery.thresholds import THRESHOLDS
from msr.permutations import Indices

__all__ = ["partial_symmetries"]

_Map = tuple[Indices, Indices]
"""A map of inputs ``(n,)`` and of outputs ``(m,)``: where each goes, −1 where the map is not defined."""


def partial_symmetries(colours: Indices, rows: Rows, *, limit: int | None = None) -> tuple[PartialSymmetry, ...]:
    """One-to-one maps of part of the points that keep the class of every weight between them, largest domains first.

    A seed sends output 0, or the middle one, to another output. Where a class has exactly one weight in an output, the
    input of that weight must go to the input of the matching weight in the image; that input forces further outputs,
    and so on until nothing more is forced. A seed whose consequences contradict each other is dropped, and so is a map
    that moves no point, is defined on no input, or covers less than half of the inputs and outputs
    (``partial_overlap``). Of a map and its inverse only one is given, and no map that agrees with a power of another.

    Args:
        colours: ``(out, in)``, classes of weights. A class with at least half of all weights (``partial_silent``)
            forces nothing, because it is taken for the class of zeros.
        rows: of the weights, for the residual of each map.
        limit: the largest number of maps that are given; by default the threshold ``partial_most``.
    """
    m, n = colours.shape
    counts = np.bincount(colours.ravel())
    limits = THRESHOLDS()
    background = int(counts.argmax()) if counts.max() >= limits.partial_silent * counts.sum() else -1
    maps: list[PartialSymmetry] = []
    known: set[bytes] = set()
    for target in range(1, m):
        # The first output may lie outside a map's domain; the middle one lies in that of every short translation.
        for start in (0, m // 2):
            if start == target:
                continue
            grown = _grown(colours, start, target, background)
            if grown is None:
                continue
            p, q = grown
            overlap = float(((p >= 0).sum() + (q >= 0).sum()) / (m + n))
            moves_inputs = (p >= 0).any() and not _is_identity(p, q)
            too_small = overlap < limits.partial_overlap
            if too_small or not moves_inputs or _key(p, q) in known:
                continue
            known.add(_key(p, q))
            # The inverse says the same, and another seed would grow it.
            known.add(_key(_inverse(p), _inverse(q)))
            residual = _residual(p, q, rows)
            maps.append(PartialSymmetry(map_in=p, map_out=q, overlap=overlap, residual=residual, name=_name(p, q)))
    maps.sort(key=lambda s: (-s.overlap, s.residual))
    return _generators(maps)[: limits.partial_most if limit is None else limit]


def _key(p: Indices, q: Indices) -> bytes:
    """Bytes that are the same for two maps only if the maps are: of inputs ``p (n,)`` and of outputs ``q (m,)``."""
    return p.tobytes() + q.tobytes()


def _grown(colours: Indices, start: int, target: int, background: int) -> _Map | None:
    """The map that is forced by sending output ``start`` to output ``target``; None if it contradicts itself.

    It is two arrays, of the images of inputs ``(n,)`` and of outputs ``(m,)``; −1 where no image is forced.
    ``colours (m, n)`` are the classes of weights; the class ``background`` forces nothing (−1: every class forces).
    """
    m, n = colours.shape
    images = {"in": np.full(n, -1), "out": np.full(m, -1)}
    origins = {"in": np.full(n, -1), "out": np.full(m, -1)}
    queue = [("out", start, target)]
    while queue:
        side, point, image = queue.pop()
        if images[side][point] == image:
            continue
        if images[side][point] != -1 or origins[side][image] != -1:
            return None
        images[side][point] = image
        origins[side][image] = point
        if side == "out":
            line = colours[point]
            image_line = colours[image]
            other = "in"
        else:
            line = colours[:, point]
            image_line = colours[:, image]
            other = "out"
        image_places = _unique_places(image_line, background)
        for colour, place in _unique_places(line, background).items():
            if colour in image_places:
                queue.append((other, place, image_places[colour]))
    p = images["in"]
    q = images["out"]
    # The steps above only compare classes that occur once in a line; all others are compared here.
    outputs = np.flatnonzero(q >= 0)
    inputs = np.flatnonzero(p >= 0)
    if not (colours[np.ix_(q[outputs], p[inputs])] == colours[np.ix_(outputs, inputs)]).all():
        return None
    return p, q


def _unique_places(line: Indices, background: int) -> dict[int, int]:
    """The classes that occur exactly once in a row or column, but ``background``, each with the place where it does."""
    colours, first, counts = np.unique(line, return_index=True, return_counts=True)
    triples = zip(colours, first, counts, strict=True)
    return {int(colour): int(place) for colour, place, count in triples if count == 1 and colour != background}


def _residual(p: Indices, q: Indices, rows: Rows) -> float:
    """``‖images − weights‖ / ‖weights‖`` over the weights between points where the map is defined; no unit."""
    values = rows.values.reshape(*rows.shape, -1)
    outputs = np.flatnonzero(q >= 0)
    inputs = np.flatnonzero(p >= 0)
    weights = values[np.ix_(outputs, inputs)]
    images = values[np.ix_(q[outputs], p[inputs])]
    return float(np.linalg.norm(weights - images) / max(np.linalg.norm(weights), 1e-300))


def _inverse(p: Indices) -> Indices:
    """The inverse of a one-to-one partial map ``(points,)`` of one side; −1 on points that are no image."""
    inverse = np.full(len(p), -1)
    domain = np.flatnonzero(p >= 0)
    inverse[p[domain]] = domain
    return inverse


def _is_identity(p: Indices, q: Indices) -> bool:
    """Whether every point of the domain stays in place."""
    return all((x[x >= 0] == np.flatnonzero(x >= 0)).all() for x in (p, q))


def _generators(maps: list[PartialSymmetry]) -> tuple[PartialSymmetry, ...]:
    """The maps, in their order, without those that agree with a power of an earlier map wherever both are defined."""
    generators: list[PartialSymmetry] = []
    for candidate in maps:
        if not any(_is_power(candidate, other) for other in generators):
            generators.append(candidate)
    return tuple(generators)


def _is_power(candidate: PartialSymmetry, other: PartialSymmetry) -> bool:
    """Whether a map agrees with some power of another one, or of its inverse, wherever both are defined."""
    forwards = (other.map_in, other.map_out)
    backwards = (_inverse(other.map_in), _inverse(other.map_out))
    for base_in, base_out in (forwards, backwards):
        p = base_in
        q = base_out
        # A map without cycles loses points with each power, until none is left after as many steps as there are
        # outputs.
        for _ in range(len(base_out)):
            both_in = (p >= 0) & (candidate.map_in >= 0)
            both_out = (q >= 0) & (candidate.map_out >= 0)
            if not both_out.any():
                break
            if (p[both_in] == candidate.map_in[both_in]).all() and (q[both_out] == candidate.map_out[both_out]).all():
                return True
            p = _composed(base_in, p)
            q = _composed(base_out, q)
    return False


def _composed(outer: Indices, inner: Indices) -> Indices:
    """``outer ∘ inner`` of two partial maps ``(points,)`` of one side; −1 where one of them is not defined."""
    composed = np.full(len(inner), -1)
    domain = inner >= 0
    composed[domain] = outer[inner[domain]]
    return composed


def _name(p: Indices, q: Indices) -> str:
    """What a reader is told the map is: a translation, a reflection, or just a map; of a part of the points, or all."""
    if (p >= 0).all() and (q >= 0).all():
        return "a permutation of all points that keeps the classes of weights"
    steps = {int(x[i] - i) for x in (p, q) for i in np.flatnonzero(x >= 0)}
    if len(steps) == 1:
        (step,) = steps
        return f"translation on the interior, generator i -> i {'+' if step > 0 else '-'} {abs(step)}"
    # A reflection sends i to c − i, so i plus its image is the same for all points of a side.
    if all(len({int(x[i] + i) for i in np.flatnonzero(x >= 0)}) == 1 for x in (p, q)):
        return "a reflection of part of the points"
    return "a map of part of the points"
