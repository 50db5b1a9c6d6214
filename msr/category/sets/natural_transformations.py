"""Natural transformations between functors to sets: checked, composed, counted and listed."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import NamedTuple

import numpy as np

from msr.category.guards import refuse_large
from msr.category.integers import same_rows
from msr.category.sets.elements import ElementGraph, element_graph, first_equal
from msr.category.sets.presheaves import SetFunctor, same_kind
from msr.errors import AxiomError, ConfigError, DataError, ShapeError
from msr.groups.immutable import as_array, frozen, refrozen
from msr.permutations import Indices

__all__ = [
    "Nat",
    "count_transformations",
    "identity_transformation",
    "transformation_table",
    "transformations",
]

MOST = 1_000_000
"""Most transformations that are listed unless told otherwise."""


@dataclass(frozen=True, eq=False, repr=False)
class Nat:
    """A natural transformation ``η: S ⇒ T`` between two presheaves, or two copresheaves; immutable, and a value.

    Attributes:
        source, target: ``S`` and ``T``, on one category.
        components: for each object ``X`` the map ``η_X: S(X) → T(X)``, an array of ``S.sizes[X]`` elements.
        name: for messages.

    Raises: ConfigError for functors that do not compare; ShapeError for components of another form; AxiomError for an
    element out of range, or a square that does not commute, naming its arrow and the element.
    """

    source: SetFunctor
    target: SetFunctor
    components: tuple[Indices, ...]
    name: str = "η"

    def __post_init__(self) -> None:
        same_kind([self.source, self.target], self.name)
        C = self.source.category
        if len(self.components) != C.n_obj:
            raise ShapeError(f"{self.name}: a component for each of {C.n_obj} objects; got {len(self.components)}")
        self.__dict__["components"] = tuple(self._checked(X, values) for X, values in enumerate(self.components))
        self.check()

    def _checked(self, X: int, values: Indices) -> Indices:
        """The component at an object as an array, after a check of its length and range."""
        n = int(self.source.sizes[X])
        aim = int(self.target.sizes[X])
        array = as_array(values, f"{self.name}: components[{X}]")
        if array.ndim != 1 or len(array) != n or (array.size and array.dtype.kind not in "iu"):
            raise ShapeError(
                f"{self.name}: components[{X}] must be {n} whole numbers, one for each element of {self.source.name} "
                f"there; got {array.dtype} {array.shape}"
            )
        bad = np.flatnonzero((array < 0) | (array >= aim))
        if len(bad):
            raise AxiomError(
                f"{self.name}: components[{X}] sends element {bad[0]} to {array[bad[0]]}, which is none of the {aim} "
                f"elements of {self.target.name} there"
            )
        return frozen(array.astype(np.int64))

    def check(self) -> None:
        """Raise AxiomError where a square does not commute, naming the first arrow and element."""
        S = self.source
        T = self.target
        for f in S.category.generators.tolist():
            a = int(S.domain[f])
            b = int(S.codomain[f])
            around = T.maps[f][self.components[a]]
            across = self.components[b][S.maps[f]]
            bad = np.flatnonzero(around != across)
            if len(bad):
                x = int(bad[0])
                raise AxiomError(
                    f"{self.name}: not natural: for arrow {f} ({S.category.src[f]} → {S.category.dst[f]}) and element "
                    f"{x} of {S.name} at object {a}, T(f)(η(x)) = {around[x]}, but η(S(f)(x)) = {across[x]}"
                )

    @classmethod
    def known(cls, source: SetFunctor, target: SetFunctor, images: Indices, name: str = "η") -> "Nat":
        """A transformation that is natural by construction: nothing is checked.

        ``images``: ``(n_elements,)`` the image of each element, both by their global numbers.
        """
        nat = cls.__new__(cls)
        local = np.asarray(images) - target.offsets[source.object_of_element]
        parts = tuple(frozen(local[a:b]) for a, b in zip(source.offsets[:-1], source.offsets[1:], strict=True))
        nat.__dict__.update(source=source, target=target, components=parts, name=name)
        return nat

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Nat):
            return NotImplemented
        return (
            len(self.components) == len(other.components)
            and all(np.array_equal(a, b) for a, b in zip(self.components, other.components, strict=True))
            and self.source == other.source
            and self.target == other.target
        )

    def __hash__(self) -> int:
        return hash((Nat, *(component.tobytes() for component in self.components)))

    def __repr__(self) -> str:
        return f"<{self.name}: {self.source.name} ⇒ {self.target.name}>"

    def __setstate__(self, state: dict[str, object]) -> None:
        held = refrozen(state)
        held["components"] = tuple(frozen(part) for part in held["components"])
        self.__dict__.update(held)

    @cached_property
    def images(self) -> Indices:
        """The image of each element, both by their global numbers, ``(n_elements,)``."""
        parts = [part + start for part, start in zip(self.components, self.target.offsets, strict=False)]
        return frozen(np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64))

    def after(self, other: "Nat") -> "Nat":
        """``η ∘ θ``: first ``other``, then this one; ConfigError where ``other`` does not end where this one starts."""
        if other.target != self.source:
            raise ConfigError(
                f"{self.name} after {other.name}: {other.name} ends at {other.target}, and {self.name} starts at "
                f"{self.source}"
            )
        return Nat.known(other.source, self.target, self.images[other.images], f"{self.name}∘{other.name}")

    @property
    def is_isomorphism(self) -> bool:
        """Whether every component is a bijection; the transformation then has an inverse."""
        n = self.target.n_elements
        return len(self.images) == n and len(np.unique(self.images)) == n

    def inverse(self) -> "Nat":
        """The inverse transformation; ConfigError where a component is no bijection."""
        if not self.is_isomorphism:
            raise ConfigError(f"{self.name} has no inverse: some component is no bijection")
        return Nat.known(self.target, self.source, np.argsort(self.images), f"{self.name}⁻¹")


def identity_transformation(functor: SetFunctor) -> Nat:
    """The transformation from a functor to itself that moves nothing."""
    return Nat.known(functor, functor, np.arange(functor.n_elements), "id")


def count_transformations(source: SetFunctor, target: SetFunctor) -> int:
    """``|Nat(S, T)|``: the product over the connected components of the category of elements of ``S``.

    A component is determined by its roots: an element that reaches others carries its value to them along all maps at
    once. A root alone in its component, as in every set that a group acts on, is counted by fixed points; several are
    joined by the elements that they share. In general the number of transformations is as hard to find as that of the
    homomorphisms of graphs, which it is on the category of two arrows ``V ⇉ E``.

    Raises: ConfigError for functors that do not compare; DataError where a join does not fit into memory.
    """
    return prod((_count(part) for part in _parts(source, target)), start=1)


def transformation_table(source: SetFunctor, target: SetFunctor, *, most: int = MOST) -> Indices:
    """All natural transformations as rows ``(count, n_elements)``: the image of each element, by global numbers.

    Raises: DataError where there are more than ``most``; the errors of :func:`count_transformations`.
    """
    parts = list(_parts(source, target))
    count = prod((_count(part) for part in parts), start=1)
    if count > most:
        raise DataError(
            f"there are {count} transformations {source.name} ⇒ {target.name}, and at most {most} are listed"
        )
    refuse_large(16.0 * count * max(1, source.n_elements), f"a table of {count} transformations")
    table = np.zeros((count, source.n_elements), dtype=np.int64)
    if count == 0:
        return table
    each = count
    for part in parts:
        elements, rows = _listed(part)
        # The first component varies slowest.
        each //= len(rows)
        repeated = np.repeat(rows, each, axis=0)
        table[:, elements] = np.tile(repeated, (count // len(repeated), 1))
    return table


def transformations(source: SetFunctor, target: SetFunctor, *, most: int = MOST) -> tuple[Nat, ...]:
    """All natural transformations from one functor to another; see :func:`transformation_table`, which is smaller."""
    return tuple(Nat.known(source, target, row) for row in transformation_table(source, target, most=most))


class _Root(NamedTuple):
    """A root of the source, the values that it may take, and where these carry the elements that it reaches.

    Attributes:
        reached: ``(arrows,)`` the element to which each acting arrow sends the root, by global number.
        values: ``(candidates,)`` elements of the target, local numbers.
        carried: ``(arrows, elements of T there)`` where each arrow sends each value, by global number.
        joints: elements that other roots reach as well, and on which they must agree; one of each knot.
        at: ``(joints,)`` for each joint an arrow, by its place in ``reached``, that sends the root there.
    """

    reached: Indices
    values: Indices
    carried: Indices
    joints: Indices
    at: Indices

    @property
    def table(self) -> Indices:
        """What each candidate says of the joints, ``(candidates, joints)``."""
        return self.carried[self.at][:, self.values].T


def _parts(source: SetFunctor, target: SetFunctor) -> Iterator[list[_Root]]:
    """The roots of each connected component of the source."""
    same_kind([source, target], "transformations")
    graph = element_graph(source)
    objects = source.object_of_element[graph.roots]
    reached: dict[int, Indices] = {}
    values: dict[int, Indices] = {}
    carried = {X: target.images_of(X) for X in np.unique(objects).tolist()}
    for X, images in carried.items():
        chosen = graph.roots[objects == X]
        columns = source.images_of(X, chosen - source.offsets[X])
        # Roots with equal patterns, such as equal stabilisers, have the same candidates.
        patterns = first_equal(columns)
        first, which = same_rows(np.ascontiguousarray(patterns.T))
        candidates = [_candidates(patterns[:, k], images) for k in first]
        for k, root in enumerate(chosen.tolist()):
            reached[root] = columns[:, k]
            values[root] = candidates[which[k]]
    joints = _joints(graph, reached)
    nothing = np.zeros(0, dtype=np.int64)
    parts: dict[int, list[_Root]] = defaultdict(list)
    for root, X in zip(graph.roots.tolist(), objects.tolist(), strict=True):
        shared, at = joints.get(root, (nothing, nothing))
        parts[int(graph.components[root])].append(_Root(reached[root], values[root], carried[X], shared, at))
    yield from parts.values()


def _candidates(pattern: Indices, carried: Indices) -> Indices:
    """The values that a root may take: where two arrows agree on the root, they must agree on its value."""
    doubled = np.flatnonzero(pattern != np.arange(len(pattern)))
    return np.flatnonzero((carried[doubled] == carried[pattern[doubled]]).all(axis=0))


def _joints(graph: ElementGraph, reached: dict[int, Indices]) -> dict[int, tuple[Indices, Indices]]:
    """For each root that shares elements with others: the elements on which they have to agree, and how they are
    reached.

    Agreement on an element carries over to all that it reaches, so an element is left out where one that reaches it is
    shared by the same roots.
    """
    alone = np.bincount(graph.components[graph.roots], minlength=graph.n_components) == 1
    # Whoever reaches an element of a knot reaches all of it, so the least one stands for all.
    _, least = np.unique(graph.knots, return_index=True)
    owners: dict[int, list[int]] = defaultdict(list)
    for root, elements in reached.items():
        if not alone[graph.components[root]]:
            for knot in np.unique(graph.knots[elements]).tolist():
                owners[knot].append(root)
    shared = {knot for knot, roots in owners.items() if len(roots) > 1}
    for a, b in zip(graph.knots[graph.tails].tolist(), graph.knots[graph.heads].tolist(), strict=True):
        if a != b and b in shared and owners.get(a) == owners[b]:
            shared.remove(b)
    joints: dict[int, list[int]] = defaultdict(list)
    for knot in sorted(shared):
        for root in owners[knot]:
            joints[root].append(int(least[knot]))
    return {
        root: (np.array(elements), np.array([int(np.argmax(reached[root] == x)) for x in elements]))
        for root, elements in joints.items()
    }


def _count(part: list[_Root]) -> int:
    """How many families of values the roots of a component have that agree on all joints."""
    if len(part) == 1:
        return len(part[0].values)
    ordered = _in_order(part)
    rows: Indices = np.zeros((1, 0), dtype=np.int64)
    weights: Indices = np.ones(1, dtype=np.int64)
    columns: list[int] = []
    for place, root in enumerate(ordered):
        other, other_weights, other_columns = _merged(
            root.table, np.ones(len(root.values), dtype=np.int64), root.joints.tolist()
        )
        left, right = _matches(rows, columns, other, other_columns)
        new = [k for k, c in enumerate(other_columns) if c not in columns]
        # Sums of products of counts stay below the product of the sums; above 63 bits Python's own numbers take over.
        if int(weights.sum()) * int(other_weights.sum()) >= 2**62:
            weights = weights.astype(object)
        joined = np.concatenate([rows[left], other[right][:, new]], axis=1)
        named = columns + [other_columns[k] for k in new]
        needed = {c for later in ordered[place + 1 :] for c in later.joints.tolist()}
        kept = [k for k, c in enumerate(named) if c in needed]
        rows, weights, columns = _merged(
            joined[:, kept], weights[left] * other_weights[right], [named[k] for k in kept]
        )
    return int(weights.sum())


def _listed(part: list[_Root]) -> tuple[Indices, Indices]:
    """The elements of a component, and their images under each of its transformations, ``(count, elements)``."""
    ordered = _in_order(part)
    rows = np.zeros((1, 0), dtype=np.int64)
    columns: list[int] = []
    choices = np.zeros((1, 0), dtype=np.int64)
    for root in ordered:
        other = root.table
        other_columns = root.joints.tolist()
        left, right = _matches(rows, columns, other, other_columns)
        new = [k for k, c in enumerate(other_columns) if c not in columns]
        rows = np.concatenate([rows[left], other[right][:, new]], axis=1)
        columns = columns + [other_columns[k] for k in new]
        choices = np.concatenate([choices[left], root.values[right][:, None]], axis=1)
    elements = np.unique(np.concatenate([root.reached for root in part]))
    images = np.zeros((len(choices), len(elements)), dtype=np.int64)
    for k, root in enumerate(ordered):
        images[:, np.searchsorted(elements, root.reached)] = root.carried[:, choices[:, k]].T
    return elements, images


def _in_order(part: list[_Root]) -> list[_Root]:
    """The roots of a component, each next one sharing as many joints as it can with those before it."""
    remaining = sorted(part, key=lambda root: len(root.values))
    ordered: list[_Root] = []
    known: set[int] = set()
    while remaining:
        best = max(range(len(remaining)), key=lambda k: (len(known & set(remaining[k].joints.tolist())), -k))
        root = remaining.pop(best)
        known |= set(root.joints.tolist())
        ordered.append(root)
    return ordered


def _matches(rows: Indices, columns: list[int], other: Indices, other_columns: list[int]) -> tuple[Indices, Indices]:
    """All pairs of a row of one table and a row of another that agree on the columns they share."""
    shared = [c for c in columns if c in other_columns]
    mine = rows[:, [columns.index(c) for c in shared]]
    theirs = other[:, [other_columns.index(c) for c in shared]]
    _, which = same_rows(np.concatenate([mine, theirs]))
    key = which[: len(rows)]
    other_key = which[len(rows) :]
    order = np.argsort(other_key, kind="stable")
    low = np.searchsorted(other_key[order], key, side="left")
    lengths = np.searchsorted(other_key[order], key, side="right") - low
    total = int(lengths.sum())
    refuse_large(
        16.0 * total * (rows.shape[1] + other.shape[1] + 4), f"a join of {total} partial transformations",
        advice="take a smaller source",
    )  # fmt: skip
    left = np.repeat(np.arange(len(rows)), lengths)
    within = np.arange(total) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return left, order[np.repeat(low, lengths) + within]


def _merged(rows: Indices, weights: Indices, columns: list[int]) -> tuple[Indices, Indices, list[int]]:
    """Equal rows of a table as one, their weights added."""
    first, which = same_rows(rows)
    sums = np.zeros(len(first), dtype=weights.dtype)
    np.add.at(sums, which, weights)
    return rows[first], sums, columns
