"""All functors between small categories, and all presheaves of given sizes: labelled, and up to isomorphism."""

from itertools import permutations, product
from typing import NamedTuple

import numpy as np

from msr.category.categories.functors import Functor
from msr.category.categories.tables import FinCat
from msr.category.guards import refuse_large
from msr.category.integers import same_rows, starts_of, whole_array
from msr.category.sets.presheaves import Presheaf
from msr.errors import ConfigError, DataError, ShapeError
from msr.permutations import Indices, orbit_labels

__all__ = ["functor_classes", "functor_transformations", "functors_between", "labelled_presheaves", "presheaf_classes"]

MOST = 1_000_000
"""Most functors or presheaves that are listed, or candidates that are tried at a time."""

_AT_ONCE = 2**22
"""How many numbers are compared at once: 32 MB for each array of them."""


def functors_between(source: FinCat, target: FinCat, *, most: int = MOST) -> tuple[Functor, ...]:
    """All functors from one category to another; between categories of groups, all homomorphisms.

    Images are chosen for the objects, then for generating arrows one after the other, and what breaks a law is left out
    at once. For small categories.
    Raises: DataError where more than ``most`` are found on the way.
    """
    rows = np.zeros((1, 0), dtype=np.int64)
    there = source.hom_count > 0
    possible = target.hom_count > 0
    for a in source.objects:
        _refuse_many(len(rows) * target.n_obj, most, "maps of objects")
        rows = np.concatenate(
            [np.repeat(rows, target.n_obj, axis=0), np.tile(np.arange(target.n_obj), len(rows))[:, None]], axis=1
        )
        kept = np.ones(len(rows), dtype=bool)
        for b in range(a + 1):
            kept &= possible[rows[:, a], rows[:, b]] | ~there[a, b]
            kept &= possible[rows[:, b], rows[:, a]] | ~there[b, a]
        rows = rows[kept]
    found: list[Functor] = []
    for objects in rows:
        for arrows in _arrow_maps(source, target, objects, most):
            found.append(Functor.known(source, target, objects, arrows, f"F{len(found)}"))
            _refuse_many(len(found), most, "functors")
    return tuple(found)


def functor_transformations(first: Functor, second: Functor, *, most: int = MOST) -> Indices:
    """All natural transformations between two functors ``F, G: C → D``, ``(count, n_obj)``: for each object ``X`` an
    arrow ``F X → G X`` of ``D``, with ``G(f) ∘ η_X = η_Y ∘ F(f)`` for every ``f: X → Y``.

    Between categories of groups they are the elements ``k`` with ``k f(x) = g(x) k`` for all ``x``.
    Raises: ConfigError for functors that are not between the same categories; DataError for more than ``most``.
    """
    if first.source != second.source or first.target != second.target:
        raise ConfigError(f"functor_transformations: {first!r} and {second!r} are not between the same categories")
    C = first.source
    D = first.target
    rows = np.zeros((1, 0), dtype=np.int64)
    chosen: list[int] = []
    for X in _connected_order(C):
        arrows = D.hom(int(first.obj_map[X]), int(second.obj_map[X]))
        _refuse_many(len(rows) * len(arrows), most, "transformations")
        rows = np.concatenate([np.repeat(rows, len(arrows), axis=0), np.tile(arrows, len(rows))[:, None]], axis=1)
        chosen.append(X)
        for f in C.generators.tolist():
            a = int(C.src[f])
            b = int(C.dst[f])
            if X in (a, b) and a in chosen and b in chosen:
                left = D.comp[second.mor_map[f], rows[:, chosen.index(a)]]
                right = D.comp[rows[:, chosen.index(b)], first.mor_map[f]]
                rows = rows[left == right]
    return rows[:, np.argsort(chosen)] if chosen else rows


def functor_classes(listed: tuple[Functor, ...]) -> Indices:
    """The isomorphism class of each of several functors between the same categories, numbered as they first appear.

    Between categories of groups they are the classes of homomorphisms under conjugation in the target.
    """
    labels = np.zeros(len(listed), dtype=np.int64)
    leaders: list[Functor] = []
    for k, functor in enumerate(listed):
        for number, leader in enumerate(leaders):
            rows = functor_transformations(leader, functor)
            if (functor.target.inverses[rows] >= 0).all(axis=1).any():
                labels[k] = number
                break
        else:
            labels[k] = len(leaders)
            leaders.append(functor)
    return labels


def labelled_presheaves(category: FinCat, sizes: object, *, most: int = MOST) -> tuple[Presheaf, ...]:
    """All presheaves with the elements ``0 .. sizes[X] − 1`` at each object ``X``, isomorphic ones apart.

    Raises: DataError where more than ``most`` candidates would be tried at a time.
    """
    layout = _layout(category, sizes)
    return tuple(_presheaf(layout, row, k) for k, row in enumerate(_map_rows(layout, most)))


def presheaf_classes(category: FinCat, sizes: object, *, most: int = MOST) -> tuple[Presheaf, ...]:
    """One presheaf of each isomorphism class with ``sizes[X]`` elements at each object ``X``; see
    :func:`labelled_presheaves`.
    """
    layout = _layout(category, sizes)
    rows = _map_rows(layout, most)
    if len(rows) == 0:
        return ()
    # Isomorphic ones differ by a renaming of elements at each object, and swaps of neighbours generate all renamings.
    moves = [_swapped(layout, rows, X, i) for X in category.objects for i in range(int(layout.sizes[X]) - 1)]
    images = []
    for moved in moves:
        _, which = same_rows(np.concatenate([rows, moved]))
        where = np.empty(int(which.max()) + 1, dtype=np.int64)
        where[which[: len(rows)]] = np.arange(len(rows))
        images.append(where[which[len(rows) :]])
    labels = orbit_labels(np.stack(images)) if images else np.arange(len(rows))
    _, first = np.unique(labels, return_index=True)
    return tuple(_presheaf(layout, rows[k], number) for number, k in enumerate(np.sort(first)))


class _Layout(NamedTuple):
    """Where the maps of all arrows stand in one row of numbers."""

    category: FinCat
    sizes: Indices
    starts: Indices


def _layout(category: FinCat, sizes: object) -> _Layout:
    """The layout of presheaves of these sizes."""
    checked = whole_array(sizes, "sizes", (category.n_obj,))  # type: ignore[arg-type]
    if (checked < 0).any():
        raise ShapeError(f"sizes are 0 or more; got {checked.tolist()}")
    return _Layout(category, checked, starts_of(checked[category.dst]))


def _presheaf(layout: _Layout, row: Indices, number: int) -> Presheaf:
    """The presheaf that a row holds."""
    maps = [row[a:b] for a, b in zip(layout.starts[:-1], layout.starts[1:], strict=True)]
    return Presheaf.known(layout.category, layout.sizes, maps, f"T{number}")


def _map_rows(layout: _Layout, most: int) -> Indices:
    """All presheaves of a layout as rows ``(count, entries)``."""
    C, sizes, starts = layout
    rows = np.zeros((1, int(starts[-1])), dtype=np.int64)
    for a in C.objects:
        rows[:, starts[C.ident[a]] : starts[C.ident[a] + 1]] = np.arange(sizes[a])
    steps = C.generation
    for stage, s in enumerate(steps.generators.tolist(), start=1):
        options = _all_maps(int(sizes[C.dst[s]]), int(sizes[C.src[s]]), bool(C.inverses[s] >= 0), most)
        _refuse_many(len(rows) * len(options), 100 * most, "presheaves")
        fresh = steps.order[steps.stage[steps.order] == stage]
        pairs = _pairs_of_stage(C, stage)
        kept = []
        each = max(1, _AT_ONCE // max(1, rows.shape[1] * len(options)))
        for start in range(0, len(rows), each):
            part = np.repeat(rows[start : start + each], len(options), axis=0)
            part[:, starts[s] : starts[s + 1]] = np.tile(options, (len(rows[start : start + each]), 1))
            for f in fresh[fresh != s].tolist():
                part[:, starts[f] : starts[f + 1]] = _composed(part, starts, steps.outer[f], steps.inner[f])
            for g, f in pairs:
                product_ = C.comp[g, f]
                right = _composed(part, starts, g, f) == part[:, starts[product_] : starts[product_ + 1]]
                part = part[right.all(axis=1)]
            kept.append(part)
        rows = np.concatenate(kept) if kept else rows[:0]
        _refuse_many(len(rows), most, "presheaves")
    return rows


def _composed(rows: Indices, starts: Indices, g: int, f: int) -> Indices:
    """``T(f) ∘ T(g)`` in every row."""
    return np.take_along_axis(rows[:, starts[f] : starts[f + 1]], rows[:, starts[g] : starts[g + 1]], axis=1)


def _pairs_of_stage(C: FinCat, stage: int) -> list[tuple[int, int]]:
    """The pairs of a generator and an arrow whose law can be tested once ``stage`` generators have their maps, and not
    before.
    """
    steps = C.generation
    made = np.flatnonzero(steps.stage <= stage)
    pairs = []
    for k, g in enumerate(steps.generators[:stage].tolist(), start=1):
        meeting = made[(C.comp[g, made] >= 0) & ~C.is_identity[made]]
        for f in meeting.tolist():
            product_ = int(C.comp[g, f])
            newest = max(k, int(steps.stage[f]), int(steps.stage[product_]))
            if newest == stage and (steps.outer[product_], steps.inner[product_]) != (g, f):
                pairs.append((g, f))
    return pairs


def _all_maps(n: int, aim: int, bijective: bool, most: int) -> Indices:
    """All maps from ``n`` elements to ``aim`` ones, or all bijections, ``(count, n)``."""
    if bijective:
        if n != aim:
            return np.zeros((0, n), dtype=np.int64)
        size = 1.0
        for k in range(2, n + 1):
            size *= k
        _refuse_many(size, most, "bijections")
        listed = list(permutations(range(n)))
        return np.array(listed, dtype=np.int64).reshape(len(listed), n)
    _refuse_many(float(aim) ** n, most, "maps")
    listed = list(product(range(aim), repeat=n))
    return np.array(listed, dtype=np.int64).reshape(len(listed), n)


def _swapped(layout: _Layout, rows: Indices, X: int, i: int) -> Indices:
    """The rows after elements ``i`` and ``i + 1`` at object ``X`` have changed their numbers."""
    C, sizes, starts = layout
    swap = np.arange(sizes[X])
    swap[[i, i + 1]] = [i + 1, i]
    moved = rows.copy()
    for f in range(C.n_mor):
        block = moved[:, starts[f] : starts[f + 1]]
        if C.dst[f] == X:
            block = block[:, swap]
        if C.src[f] == X:
            block = swap[block]
        moved[:, starts[f] : starts[f + 1]] = block
    return moved


def _arrow_maps(C: FinCat, D: FinCat, objects: Indices, most: int) -> Indices:
    """All maps of arrows that make a functor of a map of objects, ``(count, C.n_mor)``."""
    rows = np.full((1, C.n_mor), -1)
    rows[:, C.ident] = D.ident[objects]
    steps = C.generation
    for stage, s in enumerate(steps.generators.tolist(), start=1):
        options = D.hom(int(objects[C.src[s]]), int(objects[C.dst[s]]))
        _refuse_many(len(rows) * len(options), most, "functors")
        refuse_large(16.0 * len(rows) * len(options) * C.n_mor, "a table of functors")
        rows = np.repeat(rows, len(options), axis=0)
        rows[:, s] = np.tile(options, len(rows) // max(1, len(options)))
        for f in steps.order[steps.stage[steps.order] == stage].tolist():
            if f != s:
                rows[:, f] = D.comp[rows[:, steps.outer[f]], rows[:, steps.inner[f]]]
        for g, f in _pairs_of_stage(C, stage):
            rows = rows[D.comp[rows[:, g], rows[:, f]] == rows[:, C.comp[g, f]]]
    return rows


def _connected_order(C: FinCat) -> list[int]:
    """The objects, each next one joined by an arrow to one before it wherever that can be."""
    joined = (C.hom_count + C.hom_count.T) > 0
    order: list[int] = []
    remaining = list(C.objects)
    while remaining:
        best = max(remaining, key=lambda X: (int(joined[X, order].sum()), -X))
        remaining.remove(best)
        order.append(best)
    return order


def _refuse_many(count: float, most: int, what: str) -> None:
    """Raise DataError for more candidates than are tried."""
    if count > most:
        raise DataError(f"about {count:.3g} {what} would have to be tried, and at most {most} are: take smaller sizes")
