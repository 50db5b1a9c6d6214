"""Partial symmetries: maps of points to points that keep the weights where both are defined."""

import numpy as np

from msr.discovery.answer.result import PartialSymmetry
from msr.discovery.pattern.classes import Rows
from msr.permutations.actions import Indices

__all__ = ["partial_symmetries"]

_LEAST = 0.5  # a map of less than this share of the points is chance


def partial_symmetries(colours: Indices, rows: Rows, *, limit: int = 4) -> tuple[PartialSymmetry, ...]:
    """One-to-one maps of part of the points that keep each class of weights, the largest domains first.

    A seed sends one output to another. Where a class holds one weight of an output, it sends the input of that weight
    to the input of the image's, and on from there, until nothing follows. A seed whose consequences contradict each
    other is dropped. Of a map and its inverse only one is given, and no map that is a power of another's.

    Args:
        colours: ``(out, in)``; a class that holds at least half of all weights says nothing, as zeros do.
    """
    m, n = colours.shape
    counts = np.bincount(colours.ravel())
    silent = int(counts.argmax()) if counts.max() * 2 >= counts.sum() else -1
    found: list[PartialSymmetry] = []
    taken: set[bytes] = set()
    for target in range(1, m):
        # The first output may lie outside a map's domain; the middle one lies in that of every short translation.
        for start in (0, m // 2):
            if start == target:
                continue
            maps = _grown(colours, start, target, silent)
            if maps is None:
                continue
            p, q = maps
            overlap = float(((p >= 0).sum() + (q >= 0).sum()) / (m + n))
            moves_inputs = (p >= 0).any() and not _is_identity(p, q)
            if overlap < _LEAST or not moves_inputs or p.tobytes() + q.tobytes() in taken:
                continue
            for a, b in ((p, q), (_inverse(p), _inverse(q))):
                taken.add(a.tobytes() + b.tobytes())
            found.append(
                PartialSymmetry(
                    map_in=p,
                    map_out=q,
                    overlap=overlap,
                    residual=_residual(p, q, rows),
                    name=_name(p, q),
                )
            )
    found.sort(key=lambda s: (-s.overlap, s.residual))
    return _generators(found)[:limit]


def _grown(colours: Indices, start: int, target: int, silent: int) -> tuple[Indices, Indices] | None:
    """The largest map that sends one output to another, by following classes; None if it contradicts itself."""
    m, n = colours.shape
    maps = {"in": np.full(n, -1), "out": np.full(m, -1)}
    back = {"in": np.full(n, -1), "out": np.full(m, -1)}
    queue = [("out", start, target)]
    while queue:
        side, a, b = queue.pop()
        if maps[side][a] == b:
            continue
        if maps[side][a] != -1 or back[side][b] != -1:
            return None
        maps[side][a], back[side][b] = b, a
        line, image = (colours[a], colours[b]) if side == "out" else (colours[:, a], colours[:, b])
        other = "in" if side == "out" else "out"
        for colour, where in _alone(line, silent).items():
            there = _alone(image, silent).get(colour)
            if there is not None:
                queue.append((other, where, there))
    p, q = maps["in"], maps["out"]
    rows, columns = np.flatnonzero(q >= 0), np.flatnonzero(p >= 0)
    if not (colours[np.ix_(q[rows], p[columns])] == colours[np.ix_(rows, columns)]).all():
        return None
    return p, q


def _alone(line: Indices, silent: int) -> dict[int, int]:
    """Classes that hold one weight of a line, and where."""
    colours, first, counts = np.unique(line, return_index=True, return_counts=True)
    return {int(c): int(at) for c, at, count in zip(colours, first, counts, strict=True) if count == 1 and c != silent}


def _residual(p: Indices, q: Indices, rows: Rows) -> float:
    values = rows.values.reshape(*rows.shape, -1)
    a, b = np.flatnonzero(q >= 0), np.flatnonzero(p >= 0)
    here, there = values[np.ix_(a, b)], values[np.ix_(q[a], p[b])]
    return float(np.linalg.norm(here - there) / max(np.linalg.norm(here), 1e-300))


def _inverse(p: Indices) -> Indices:
    back = np.full(len(p), -1)
    where = np.flatnonzero(p >= 0)
    back[p[where]] = where
    return back


def _is_identity(p: Indices, q: Indices) -> bool:
    return all((x[x >= 0] == np.flatnonzero(x >= 0)).all() for x in (p, q))


def _generators(found: list[PartialSymmetry]) -> tuple[PartialSymmetry, ...]:
    """Leave out what agrees with a power of an earlier one, or of its inverse, wherever both are defined."""
    kept: list[PartialSymmetry] = []
    for one in found:
        if not any(_is_power(one, other) for other in kept):
            kept.append(one)
    return tuple(kept)


def _is_power(one: PartialSymmetry, other: PartialSymmetry) -> bool:
    for base_in, base_out in (
        (other.map_in, other.map_out),
        (_inverse(other.map_in), _inverse(other.map_out)),
    ):
        p, q = base_in, base_out
        for _ in range(len(base_out)):
            where_p, where_q = (p >= 0) & (one.map_in >= 0), (q >= 0) & (one.map_out >= 0)
            if not where_q.any():
                break
            if (p[where_p] == one.map_in[where_p]).all() and (q[where_q] == one.map_out[where_q]).all():
                return True
            p, q = _after(base_in, p), _after(base_out, q)
    return False


def _after(outer: Indices, inner: Indices) -> Indices:
    """``outer ∘ inner``, where both are defined."""
    composed = np.full(len(inner), -1)
    where = inner >= 0
    composed[where] = outer[inner[where]]
    return composed


def _name(p: Indices, q: Indices) -> str:
    if (p >= 0).all() and (q >= 0).all():
        return "a permutation that keeps the weights, but not the biases"
    steps = {int(x[i] - i) for x in (p, q) for i in np.flatnonzero(x >= 0)}
    if len(steps) == 1:
        (step,) = steps
        return f"translation on the interior, generator i -> i {'+' if step > 0 else '-'} {abs(step)}"
    if all(len({int(x[i] + i) for i in np.flatnonzero(x >= 0)}) == 1 for x in (p, q)):
        return "a reflection of part of the points"
    return "a map of part of the points"
