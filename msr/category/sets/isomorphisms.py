"""Natural isomorphism of presheaves and of copresheaves: found, or shown not to exist."""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from msr.category.integers import same_rows
from msr.category.sets.elements import ElementGraph, element_graph, first_equal
from msr.category.sets.natural_transformations import Nat
from msr.category.sets.presheaves import SetFunctor, same_kind
from msr.permutations import Indices

__all__ = ["is_isomorphic", "isomorphism"]


def is_isomorphic(first: SetFunctor, second: SetFunctor) -> bool:
    """Whether two presheaves, or two copresheaves, are naturally isomorphic; equal sizes are not enough."""
    return isomorphism(first, second) is not None


def isomorphism(first: SetFunctor, second: SetFunctor) -> Nat | None:
    """A natural isomorphism from one functor to another; None where there is none.

    Connected components are matched with each other. Elements are told apart by how the maps connect them, as far as
    that goes; what is left is searched, which is quick for sets that a group acts on. In general the question is as
    hard as isomorphism of graphs.

    Raises: ConfigError for functors that do not compare.
    """
    same_kind([first, second], "isomorphism")
    if not np.array_equal(first.sizes, second.sizes):
        return None
    graphs = (element_graph(first), element_graph(second))
    colours = _colours(first, second, graphs)
    parts = [_by_signature(graph, colour) for graph, colour in zip(graphs, colours, strict=True)]
    if {key: len(members) for key, members in parts[0].items()} != {k: len(m) for k, m in parts[1].items()}:
        return None
    images = np.full(first.n_elements, -1)
    sides = [_Side(f, g, c) for f, g, c in zip((first, second), graphs, colours, strict=True)]
    for key, members in parts[0].items():
        remaining = list(parts[1][key])
        for part in members:
            # Being isomorphic is an equivalence, so that any partner that fits will do.
            partner = next((other for other in remaining if _matched(sides[0], sides[1], part, other, images)), None)
            if partner is None:
                return None
            remaining.remove(partner)
    return Nat.known(first, second, images, "isomorphism")


class _Side:
    """One of the two functors, and what the search asks of it again and again."""

    def __init__(self, functor: SetFunctor, graph: ElementGraph, colours: Indices):
        self.functor = functor
        self.colours = colours
        self.roots = graph.roots
        # All elements of a knot that no other reaches can stand for its root.
        self.initial = np.isin(graph.knots, graph.knots[graph.roots])
        self._tables: dict[int, tuple[Indices, Indices]] = {}

    def reached(self, elements: Indices) -> tuple[Indices, Indices]:
        """Where all arrows send some elements of one object, and for each the first that sends them to the same place,
        ``(arrows, elements)``.
        """
        X = int(self.functor.object_of_element[elements[0]])
        if X not in self._tables:
            table = self.functor.images_of(X)
            self._tables[X] = (table, first_equal(table))
        table, patterns = self._tables[X]
        local = elements - self.functor.offsets[X]
        return table[:, local], patterns[:, local]


def _colours(
    first: SetFunctor, second: SetFunctor, graphs: tuple[ElementGraph, ElementGraph]
) -> tuple[Indices, Indices]:
    """A number for each element of both functors, equal wherever an isomorphism could send one to the other."""
    n = first.n_elements
    generators = first.category.generators
    # Both graphs as one, so that equal numbers mean the same on both sides.
    tails = np.concatenate([graphs[0].tails, graphs[1].tails + n])
    heads = np.concatenate([graphs[0].heads, graphs[1].heads + n])
    kinds = np.tile(np.repeat(np.arange(len(generators)), first.sizes[first.domain[generators]]), 2)
    colour = np.concatenate([first.object_of_element, second.object_of_element])
    count = len(np.unique(colour))
    while True:
        sums = np.zeros((2, 2 * n), dtype=np.uint64)
        # Sums of hashes stand for the multiset of the neighbours' colours. Two that collide leave two colours equal
        # that could differ, which costs time and changes no answer.
        np.add.at(sums[0], tails, _hash(2 * kinds, colour[heads]))
        np.add.at(sums[1], heads, _hash(2 * kinds + 1, colour[tails]))
        _, colour = same_rows(np.stack([colour, *sums.view(np.int64)], axis=1))
        found = len(np.unique(colour))
        if found == count:
            return colour[:n], colour[n:]
        count = found


def _hash(kinds: Indices, colours: Indices) -> Indices:
    """A 64-bit number for each pair of small numbers, well mixed (the finaliser of splitmix64)."""
    x = (kinds.astype(np.uint64) << np.uint64(40)) + colours.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _by_signature(graph: ElementGraph, colours: Indices) -> dict[bytes, list[Indices]]:
    """The connected components, as the elements of each, by the sorted colours of these."""
    parts: dict[bytes, list[Indices]] = defaultdict(list)
    order = np.argsort(graph.components, kind="stable")
    cuts = np.flatnonzero(np.diff(graph.components[order])) + 1
    for part in np.split(order, cuts) if len(order) else []:
        parts[np.sort(colours[part]).tobytes()].append(part)
    return dict(parts)


def _matched(left: _Side, right: _Side, part: Indices, other: Indices, images: Indices) -> bool:
    """Whether a component is isomorphic to another; if so, the images of its elements are written down."""
    roots = _walk([(int(x), left.reached(np.array([x]))) for x in np.intersect1d(part, left.roots)])
    options = other[right.initial[other]]
    used: set[int] = set()
    # For each root that has its image, what it wrote; and for it and the next root what is still to try.
    written: list[tuple[Indices, set[int]]] = []
    waiting = [_options(right, options, left.colours[roots[0][0]], roots[0], images)]
    while waiting:
        places = roots[len(waiting) - 1][1]
        step = None
        for aims in waiting[-1]:
            step = _written(images, places, aims, used)
            if step is not None:
                break
        if step is None:
            waiting.pop()
            if written:
                fresh, values = written.pop()
                images[fresh] = -1
                used -= values
            continue
        written.append(step)
        if len(written) == len(roots):
            return True
        following = roots[len(written)]
        waiting.append(_options(right, options, left.colours[following[0]], following, images))
    return False


def _walk(roots: list[tuple[int, tuple[Indices, Indices]]]) -> list[tuple[int, Indices, Indices]]:
    """The roots of a component with what they reach and how, in an order in which each next one reaches something that
    one before it does: the images of these leave little choice to it.
    """
    owners: dict[int, list[int]] = defaultdict(list)
    for place, (_, (reached, _)) in enumerate(roots):
        for x in np.unique(reached).tolist():
            owners[x].append(place)
    order = [0]
    seen = {0}
    for place in order:
        for x in np.unique(roots[place][1][0]).tolist():
            # Whoever shares an element is appended once, so the list that is walked grows as far as the component.
            for neighbour in owners.pop(x, ()):
                if neighbour not in seen:
                    seen.add(neighbour)
                    order.append(neighbour)
    return [(roots[k][0], roots[k][1][0][:, 0], roots[k][1][1][:, 0]) for k in order]


def _options(
    side: _Side, options: Indices, colour: int, root: tuple[int, Indices, Indices], images: Indices
) -> Iterator[Indices]:
    """For each element that could be the image of a root, where it then sends all that the root reaches."""
    _, reached, pattern = root
    chosen = options[side.colours[options] == colour]
    if len(chosen) == 0:
        return iter(())
    aims, patterns = side.reached(chosen)
    held = images[reached]
    fits = (patterns == pattern[:, None]).all(axis=0) & ((held < 0)[:, None] | (aims == held[:, None])).all(axis=0)
    return iter(aims.T[fits])


def _written(images: Indices, places: Indices, aims: Indices, used: set[int]) -> tuple[Indices, set[int]] | None:
    """Send elements to their aims, and say what was new; None where two would share an image.

    ``aims`` fit the images that are there.
    """
    new = images[places] < 0
    fresh, first = np.unique(places[new], return_index=True)
    values = set(aims[new][first].tolist())
    if len(values) < len(fresh) or values & used:
        return None
    images[fresh] = aims[new][first]
    used |= values
    return fresh, values
