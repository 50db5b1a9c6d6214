"""The category of elements of a functor to sets: its components, and the elements from which all others are reached."""

from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from msr.category.categories.tables import FinCat
from msr.category.guards import refuse_large
from msr.category.integers import ranges, starts_of
from msr.category.sets.presheaves import SetFunctor
from msr.permutations import Indices

__all__ = ["ElementGraph", "category_of_elements", "element_graph", "first_equal"]


class ElementGraph(NamedTuple):
    """How the maps of a functor to sets connect its elements, which have their global numbers.

    Attributes:
        tails, heads: ``(edges,)``: the map of some generating arrow sends a tail to its head.
        components: ``(n_elements,)`` the connected component of each element, by number.
        n_components: how many components there are.
        knots: ``(n_elements,)`` the strong component of each element: those that the maps send to each other.
        roots: one element of each knot that no other knot reaches, in increasing order. A natural transformation is
            determined by its values on them.
    """

    tails: Indices
    heads: Indices
    components: Indices
    n_components: int
    knots: Indices
    roots: Indices


def element_graph(functor: SetFunctor) -> ElementGraph:
    """The graph of the elements of a presheaf or copresheaf under its maps; it is kept with the functor."""
    held = functor.__dict__.get("_element_graph")
    if held is None:
        held = functor.__dict__["_element_graph"] = _graph(functor)
    return held


def _graph(functor: SetFunctor) -> ElementGraph:
    """The graph of :func:`element_graph`, made anew."""
    n = functor.n_elements
    tails, heads = functor.edges(functor.category.generators)
    if n == 0:
        none = np.zeros(0, dtype=np.int64)
        return ElementGraph(tails, heads, none, 0, none, none)
    # Each edge once: on repeated ones scipy's search for strong components may never end. In rows, with the dtypes of
    # its routines: to convert anything else takes longer than the search itself.
    edges = np.unique(tails * n + heads)
    rows = starts_of(np.bincount(edges // n, minlength=n)).astype(np.int32)
    graph = csr_array((np.ones(len(edges)), (edges % n).astype(np.int32), rows), shape=(n, n))
    count, components = connected_components(graph, directed=False)
    if functor.category.is_groupoid:
        # Every way has a way back.
        _, first = np.unique(components, return_index=True)
        return ElementGraph(tails, heads, components, int(count), components, np.sort(first))
    knot_count, knots = connected_components(graph, directed=True, connection="strong")
    reached = np.zeros(knot_count, dtype=bool)
    reached[knots[heads[knots[tails] != knots[heads]]]] = True
    _, first = np.unique(knots, return_index=True)
    return ElementGraph(tails, heads, components, int(count), knots, np.sort(first[~reached]))


def first_equal(columns: Indices) -> Indices:
    """For each entry the least row that holds the same value in its column; the shape ``(rows, n)`` stays."""
    rows = len(columns)
    if rows == 0:
        return columns
    order = np.argsort(columns, axis=0, kind="stable")
    sorted_values = np.take_along_axis(columns, order, axis=0)
    begins = np.ones(columns.shape, dtype=bool)
    begins[1:] = sorted_values[1:] != sorted_values[:-1]
    start = np.maximum.accumulate(np.where(begins, np.arange(rows)[:, None], 0), axis=0)
    first = np.empty_like(columns)
    np.put_along_axis(first, order, np.take_along_axis(order, start, axis=0), axis=0)
    return first


def category_of_elements(functor: SetFunctor) -> FinCat:
    """The category whose objects are the elements of a functor to sets, by their global numbers.

    Of a presheaf ``T`` it has an arrow ``(X, x) → (Y, y)`` for each ``f: X → Y`` with ``T(f)(y) = x``, and of a
    copresheaf ``F`` one for each with ``F(f)(x) = y``; they are listed by ``f``, then by the element that is mapped.
    Raises: DataError where the table of composition does not fit into memory.
    """
    C = functor.category
    every = np.arange(C.n_mor)
    tails, heads = functor.edges(every)
    m = len(tails)
    refuse_large(40.0 * m * m, f"the category of the elements of {functor!r}")
    src, dst = (tails, heads) if functor.covariant else (heads, tails)
    lengths = functor.sizes[functor.domain]
    starts = starts_of(lengths)
    arrow = np.repeat(every, lengths)
    local = ranges(lengths)
    products = C.comp[arrow[:, None], arrow]
    # A composite maps the element that the map applied first maps: that of the earlier arrow for a copresheaf.
    mapped = local[None, :] if functor.covariant else local[:, None]
    comp = np.where(src[:, None] == dst, starts[:-1][products] + mapped, -1)
    ident = starts[:-1][C.ident[functor.object_of_element]] + ranges(functor.sizes)
    return FinCat(functor.n_elements, src, dst, ident, comp, f"elements of {functor.name}")
