"""Finite categories that people name: of groups, monoids, orders, quivers and actions; sums and products of them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from msr.category.categories.functors import Functor
from msr.category.categories.tables import FinCat
from msr.category.guards import refuse_large
from msr.category.integers import starts_of, whole_array
from msr.errors import AxiomError, ConfigError, DataError, ShapeError
from msr.groups import FiniteGroup
from msr.groups.group import whole_number
from msr.groups.immutable import as_array
from msr.permutations import Indices, check_permutation_action

__all__ = [
    "action_groupoid", "discrete", "disjoint_union", "from_group", "from_monoid", "from_poset", "from_quiver_paths",
    "full_subcategory", "product",
]  # fmt: skip

MOST_PATHS = 4000
"""Most paths of a quiver that are listed; the table of composition of so many takes 128 MB."""


def from_group(group: FiniteGroup | ArrayLike, name: str | None = None) -> FinCat:
    """The category ``BG`` of one object whose arrows are the elements of a group, ``comp[g, f] = g·f``.

    ``group``: a :class:`msr.groups.FiniteGroup`, or a Cayley table with element 0 the identity, which is checked.
    """
    if not isinstance(group, FiniteGroup):
        group = FiniteGroup(group)
    zeros = np.zeros(group.order, dtype=np.int64)
    return FinCat(1, zeros, zeros, np.array([0]), group.table, name or f"B{group.name}")


def from_monoid(table: ArrayLike, name: str = "BM") -> FinCat:
    """The category of one object whose arrows are the elements of a monoid, ``comp[g, f] = g·f``.

    ``table``: ``(order, order)`` whole numbers; the identity may be any element, and is found.
    Raises: AxiomError where no element is the identity, or associativity fails.
    """
    array = as_array(table, name)
    if array.ndim != 2 or array.shape[0] != array.shape[1]:
        raise ShapeError(f"{name}: a table of products is a square (order, order); got {array.shape}")
    values = whole_array(array, name, array.shape)
    elements = np.arange(len(values))
    neutral = np.flatnonzero((values == elements).all(axis=1) & (values == elements[:, None]).all(axis=0))
    if len(neutral) == 0:
        raise AxiomError(f"{name}: no element e has e·f = f·e = f for all f, so the table is that of no monoid")
    zeros = np.zeros(len(values), dtype=np.int64)
    return FinCat(1, zeros, zeros, neutral, values, name)


def from_poset(leq: ArrayLike, name: str = "P") -> FinCat:
    """The category of an order: one arrow ``a → b`` where ``a ≤ b``, and none elsewhere; row by row in the table.

    ``leq``: ``(n, n)``, booleans or 0 and 1, ``leq[a, b]`` for ``a ≤ b``. Two objects each below the other are taken
    (a preorder); they are isomorphic.
    Raises: AxiomError where ``a ≤ a`` fails, or ``a ≤ c`` though ``a ≤ b ≤ c``, naming the first.
    """
    table = as_array(leq, name)
    if table.size == 0:
        table = np.zeros((0, 0), dtype=bool)
    if table.ndim != 2 or table.shape[0] != table.shape[1] or not np.isin(table, (0, 1)).all():
        raise ShapeError(f"{name}: an order is a square table (n, n) of 0 and 1; got {table.dtype} {table.shape}")
    below = table.astype(bool)
    n = len(below)
    loose = np.flatnonzero(~below.diagonal())
    if len(loose):
        raise AxiomError(f"{name}: not reflexive: {loose[0]} ≤ {loose[0]} is missing")
    steps = below.astype(np.float64) @ below > 0
    broken = np.argwhere(steps & ~below)
    if len(broken):
        a, c = broken[0].tolist()
        b = int(np.argmax(below[a] & below[:, c]))
        raise AxiomError(f"{name}: not transitive: {a} ≤ {b} ≤ {c}, but {a} ≤ {c} is missing")
    src, dst = np.nonzero(below)
    arrow = np.full((n, n), -1)
    arrow[src, dst] = np.arange(len(src))
    refuse_large(40.0 * len(src) ** 2, f"{name}: a table of composition of {len(src)} arrows")
    comp = np.where(src[:, None] == dst, arrow[src[None, :], dst[:, None]], -1)
    return FinCat(n, src, dst, arrow.diagonal(), comp, name)


def from_quiver_paths(n_obj: int, arrows: ArrayLike, name: str = "paths") -> FinCat:
    """The category of paths of a quiver without cycles: ``comp[g, f]`` is path ``f``, then path ``g``.

    Arrows ``0 .. n_obj − 1`` are the identities (paths of length 0); then come the quiver's own arrows in their order,
    then longer paths, shorter ones first.

    Args:
        n_obj: how many objects there are.
        arrows: ``(k, 2)``, the start and the end of each arrow of the quiver; two may have the same ends.

    Raises: AxiomError for a cycle, naming its objects; DataError for more than 4000 paths.
    """
    n = _count(n_obj, "from_quiver_paths: n_obj")
    listed = as_array(arrows, name)
    quiver = whole_array(listed, f"{name}: arrows", (len(listed) if listed.ndim else 0, 2))
    bad = np.argwhere((quiver < 0) | (quiver >= n))
    if len(bad):
        raise AxiomError(f"{name}: arrow {bad[0, 0]} is {tuple(quiver[bad[0, 0]].tolist())}; objects are 0 to {n - 1}")
    _refuse_cycles(n, quiver, name)
    # Counted before they are listed: there can be exponentially many.
    adjacency = np.zeros((n, n))
    np.add.at(adjacency, (quiver[:, 0], quiver[:, 1]), 1.0)
    power = np.eye(n)
    total = 0.0
    while power.any() and total <= MOST_PATHS:
        total += float(power.sum())
        power = power @ adjacency
    if total > MOST_PATHS:
        raise DataError(f"{name}: a quiver with more than {MOST_PATHS} paths; take fewer arrows")
    out_of = [np.flatnonzero(quiver[:, 0] == a).tolist() for a in range(n)]
    paths: list[tuple[int, ...]] = [(k,) for k in range(len(quiver))]
    longest = paths
    while longest:
        longest = [(*path, k) for path in longest for k in out_of[quiver[path[-1], 1]]]
        paths = paths + longest
    src = np.array([*range(n), *(quiver[path[0], 0] for path in paths)], dtype=np.int64)
    dst = np.array([*range(n), *(quiver[path[-1], 1] for path in paths)], dtype=np.int64)
    number = {path: n + k for k, path in enumerate(paths)}
    comp = np.full((len(src), len(src)), -1)
    every = np.arange(len(src))
    comp[dst, every] = every
    comp[every, src] = every
    for f, first in enumerate(paths):
        for g in np.flatnonzero(src[n:] == dst[n + f]).tolist():
            comp[n + g, n + f] = number[first + paths[g]]
    return FinCat(n, src, dst, np.arange(n), comp, name)


def discrete(n_obj: int, name: str = "discrete") -> FinCat:
    """The category of ``n_obj`` objects whose only arrows are identities."""
    n = _count(n_obj, "discrete: n_obj")
    objects = np.arange(n)
    comp = np.full((n, n), -1)
    np.fill_diagonal(comp, objects)
    return FinCat(n, objects, objects, objects, comp, name)


def disjoint_union(*categories: FinCat, name: str | None = None) -> FinCat:
    """Several categories beside each other, with no arrow between them; objects and arrows in the order given."""
    for C in categories:
        if not isinstance(C, FinCat):
            raise ConfigError(f"disjoint_union: categories, one after the other, are needed; got {C!r}")
    objects = starts_of(np.array([C.n_obj for C in categories], dtype=np.int64))
    arrows = starts_of(np.array([C.n_mor for C in categories], dtype=np.int64))
    m = int(arrows[-1])
    refuse_large(40.0 * m * m, f"a disjoint union of {m} arrows")
    comp = np.full((m, m), -1)
    for C, start in zip(categories, arrows, strict=False):
        comp[start : start + C.n_mor, start : start + C.n_mor] = np.where(C.comp >= 0, C.comp + start, -1)
    return FinCat(
        int(objects[-1]),
        _joined([C.src + a for C, a in zip(categories, objects, strict=False)]),
        _joined([C.dst + a for C, a in zip(categories, objects, strict=False)]),
        _joined([C.ident + f for C, f in zip(categories, arrows, strict=False)]),
        comp,
        name or " ⊔ ".join(C.name for C in categories) or "empty",
    )


def product(first: FinCat, second: FinCat, name: str | None = None) -> FinCat:
    """The product: pairs of objects ``(a, b)``, as number ``a · n_obj + b`` with that of the second, and pairs of
    arrows likewise.
    """
    m = first.n_mor * second.n_mor
    refuse_large(40.0 * m * m, f"a product of {m} arrows")
    left = first.comp[:, None, :, None]
    right = second.comp[None, :, None, :]
    comp = np.where((left >= 0) & (right >= 0), left * second.n_mor + right, -1).reshape(m, m)
    n = second.n_obj
    return FinCat(
        first.n_obj * n,
        (first.src[:, None] * n + second.src).ravel(),
        (first.dst[:, None] * n + second.dst).ravel(),
        (first.ident[:, None] * second.n_mor + second.ident).ravel(),
        comp,
        name or f"{first.name} × {second.name}",
    )


def full_subcategory(category: FinCat, objects: Sequence[int], name: str | None = None) -> Functor:
    """The category of some objects and all arrows between them, as the inclusion into the whole; it is the functor's
    source.

    ``objects``: different ones, in the order in which they are to be numbered; arrows keep their order.
    """
    chosen = np.array([category.object_of(a) for a in objects], dtype=np.int64)
    if len(set(chosen.tolist())) < len(chosen):
        raise ConfigError(f"full_subcategory: each object once; got {chosen.tolist()}")
    place = np.full(category.n_obj, -1)
    place[chosen] = np.arange(len(chosen))
    kept = np.flatnonzero((place[category.src] >= 0) & (place[category.dst] >= 0))
    number = np.full(category.n_mor + 1, -1)
    number[kept] = np.arange(len(kept))
    # The last entry of `number` is −1, so that a composite that is not there stays so.
    part = FinCat(
        len(chosen),
        place[category.src[kept]],
        place[category.dst[kept]],
        number[category.ident[chosen]],
        number[category.comp[np.ix_(kept, kept)]],
        name or f"part of {category.name}",
    )
    return Functor.known(part, category, chosen, kept, "inclusion")


def action_groupoid(group: FiniteGroup | ArrayLike, moves: ArrayLike, name: str | None = None) -> FinCat:
    """The groupoid of a group that acts on points: arrow ``(x, g): x → g·x``, as number ``x · order + g``.

    Args:
        group: a :class:`msr.groups.FiniteGroup` or its Cayley table.
        moves: ``(order, n)``: ``moves[g, x] = g·x``, a left action.

    Raises: AxiomError where the moves are no action, naming the first elements that break the law.
    """
    if not isinstance(group, FiniteGroup):
        group = FiniteGroup(group)
    images = action_of(group, moves)
    order, n = images.shape
    m = n * order
    refuse_large(40.0 * m * m, f"an action groupoid of {m} arrows", advice="take a smaller group or fewer points")
    x = np.repeat(np.arange(n), order)
    g = np.tile(np.arange(order), n)
    dst = images[g, x]
    products = x[None, :] * order + group.table[g[:, None], g[None, :]]
    comp = np.where(x[:, None] == dst, products, -1)
    return FinCat(n, x, dst, np.arange(n) * order, comp, name or f"{group.name} on {n} points")


def action_of(group: FiniteGroup, moves: ArrayLike) -> Indices:
    """A left action as whole numbers ``(order, n)``, ``n ≥ 0``, after a check that it is one.

    Raises: ShapeError for another form; AxiomError where the law is broken.
    """
    array = as_array(moves, "moves")
    if array.ndim == 1 and array.size == 0:
        array = np.zeros((group.order, 0), dtype=np.int64)
    if array.ndim != 2 or len(array) != group.order:
        raise ShapeError(f"moves must be ({group.order}, points), a row for each element; got {array.shape}")
    images = whole_array(array, "moves", array.shape)
    check_permutation_action(images, group.table, group.generators, f"an action of {group.name}")
    return images


def _refuse_cycles(n: int, quiver: Indices, name: str) -> None:
    """Raise AxiomError for a quiver with a cycle, naming the objects on one."""
    targets = [sorted(set(quiver[quiver[:, 0] == a, 1].tolist())) for a in range(n)]
    waiting = np.bincount(quiver[:, 1], minlength=n) if n else np.zeros(0, dtype=np.int64)
    free = [a for a in range(n) if waiting[a] == 0]
    removed = set()
    while free:
        a = free.pop()
        removed.add(a)
        for b in quiver[quiver[:, 0] == a, 1].tolist():
            waiting[b] -= 1
            if waiting[b] == 0:
                free.append(b)
    left = [a for a in range(n) if a not in removed]
    if not left:
        return
    # What is left has an arrow into each object from one that is left, so that a walk backwards runs into a cycle.
    into = {b: next(a for a in left if b in targets[a]) for b in left}
    walk = [left[0]]
    while into[walk[-1]] not in walk:
        walk.append(into[walk[-1]])
    cycle = walk[walk.index(into[walk[-1]]) :]
    shown = " → ".join(map(str, [cycle[0], *reversed(cycle)]))
    raise AxiomError(f"{name}: the quiver has the cycle {shown}, so it has infinitely many paths; leave an arrow out")


def _count(value: int, what: str) -> int:
    """A number of things as Python's whole number; ConfigError for anything else."""
    n = whole_number(value)
    if n is None or n < 0:
        raise ConfigError(f"{what} must be a whole number, 0 or more; got {value!r}")
    return n


def _joined(arrays: Sequence[Indices]) -> Indices:
    """Arrays one behind the other; an empty one for none."""
    return np.concatenate(arrays) if arrays else np.zeros(0, dtype=np.int64)
