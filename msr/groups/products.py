"""Groups made from groups: direct, semidirect and wreath products."""

import math
from collections.abc import Callable
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike

from msr.errors import AxiomError, ConfigError, ShapeError
from msr.groups.constructors import from_permutations
from msr.groups.finite import MAX_ORDER, FiniteGroup
from msr.groups.group import Group
from msr.groups.permutation_group import PermutationGroup
from msr.groups.product_group import ProductGroup
from msr.permutations import Indices

__all__ = ["direct_product", "semidirect_product", "wreath_product"]


@overload
def direct_product(*groups: FiniteGroup) -> Any: ...
@overload
def direct_product(*groups: Group) -> ProductGroup: ...
def direct_product(*groups: Group) -> Any:
    """``G₁ × G₂ × …`` of groups of any kind; one group alone is returned as it is.

    Finite groups with tables and up to ``MAX_ORDER`` elements in all make a :class:`FiniteGroup`, row-major, the last
    factor fastest: of two, element ``g |G₂| + h`` is ``(g, h)``. Where all factors come with points, so does the
    product: on their disjoint union. Anything larger, without a table, or infinite (``S5 × SO(3)``) makes a
    :class:`ProductGroup`, whose elements are tuples.
    Raises: ConfigError for no group, and for something that is none.
    """
    if not groups:
        raise ConfigError("direct_product: give at least one group")
    for group in groups:
        if not isinstance(group, Group):
            raise ConfigError(f"direct_product: {group!r} is no group; make one by cyclic(n), so(n), …")
    if len(groups) == 1:
        return groups[0]
    small = [group for group in groups if isinstance(group, FiniteGroup)]
    if len(small) < len(groups) or math.prod(group.order for group in small) > MAX_ORDER:
        return ProductGroup(groups)
    product = small[0]
    for group in small[1:]:
        product = _product_of_two(product, group)
    return product


def _product_of_two(a: FiniteGroup, b: FiniteGroup) -> FiniteGroup:
    """``A × B`` as a group with a table, element ``g |B| + h`` being ``(g, h)``; points where both have them.

    The points are those of ``A``, then those of ``B``.
    """
    # Element number g |B| + h is the pair (g, h).
    g, h = _pairs(a.order, b.order)

    def table() -> Indices:
        return a.table[np.ix_(g, g)].astype(np.int32) * b.order + b.table[np.ix_(h, h)]

    def points() -> Indices:
        assert a.points is not None
        assert b.points is not None
        return np.concatenate([a.points[g], a.points.shape[1] + b.points[h]], axis=1)

    return FiniteGroup.known(
        a.order * b.order, f"{a.name}x{b.name}", [x * b.order for x in a.generators] + list(b.generators), table=table,
        labels=lambda: _labels(a, b), points=points if a.has_points and b.has_points else None,
        degree=(a.degree or 0) + (b.degree or 0) if a.has_points and b.has_points else None,
        recipe=(_product_of_two, a, b),
    )  # fmt: skip


def semidirect_product(
    normal: FiniteGroup, top: FiniteGroup, action: ArrayLike | Callable[[int, int], int], name: str | None = None
) -> FiniteGroup:
    """``N ⋊ H``: pairs with ``(n, h)(n′, h′) = (n · φ_h(n′), h h′)``; element ``n |H| + h`` is ``(n, h)``. The group
    has no points.

    Args:
        normal: ``N``.
        top: ``H``.
        action: ``φ``, as ``(|H|, |N|)`` integers or a function ``(h, n) -> φ_h(n)``. Each ``φ_h`` must be an
            automorphism of ``N``, and ``φ_{hk} = φ_h φ_k``. With ``φ_h = id`` the group is the direct product.
        name: by default the names of ``N`` and ``H`` with a colon between them.

    Raises: AxiomError naming the elements for which ``φ`` breaks one of its laws; ShapeError for an action of another
    form; ConfigError for more than ``MAX_ORDER`` elements.
    """
    name = name or f"{normal.name}:{top.name}"
    _check_order(normal.order * top.order, name)
    if callable(action):
        phi = np.array([[action(h, n) for n in normal.elements] for h in top.elements])
    else:
        phi = np.asarray(action)
    if phi.shape != (top.order, normal.order) or phi.dtype.kind not in "iu":
        raise ShapeError(
            f"{name}: the action must be {(top.order, normal.order)} integers; got {phi.shape} {phi.dtype}"
        )
    _check_automorphisms(phi, normal, top, name)
    n, h = _pairs(normal.order, top.order)
    acted = phi[h][:, n]  # φ_h(n′) for all pairs (n, h) and (n′, h′)
    table = normal.table[n[:, None], acted].astype(np.int32) * top.order + top.table[np.ix_(h, h)]
    # (n, e) has the number n |H|, and (e, h) the number h.
    generators = [x * top.order for x in normal.generators] + list(top.generators)
    return FiniteGroup(table, name, labels=_labels(normal, top), generators=generators)


def _check_automorphisms(phi: np.ndarray, normal: FiniteGroup, top: FiniteGroup, name: str) -> None:
    """Raise AxiomError unless ``phi``, ``(|H|, |N|)``, is an action of ``top`` on ``normal`` by automorphisms."""
    # Three laws: each map is a bijection, it respects the product of N, and maps compose as their elements multiply.
    wrong = np.flatnonzero((np.sort(phi, axis=1) != np.arange(normal.order)).any(axis=1))
    if len(wrong):
        raise AxiomError(f"{name}: the action of {top.label(int(wrong[0]))} is no permutation of {normal.name}")
    for h in top.elements:
        broken = np.argwhere(phi[h][normal.table] != normal.table[np.ix_(phi[h], phi[h])])
        if len(broken):
            a, b = broken[0]
            raise AxiomError(
                f"{name}: the action of {top.label(h)} is no automorphism of {normal.name}: it does not respect the "
                f"product of {normal.label(int(a))} and {normal.label(int(b))}"
            )
    for h in top.elements:
        broken = np.argwhere(phi[h][phi] != phi[top.table[h]])
        if len(broken):
            k = int(broken[0][0])
            raise AxiomError(f"{name}: the action is no homomorphism at {top.label(h)} and {top.label(k)}")


def wreath_product(inner: FiniteGroup | PermutationGroup, outer: FiniteGroup | PermutationGroup) -> Any:
    """``K ≀ H``, order ``|K|^m |H|``: a copy of ``K`` for each of the ``m`` points of ``H``, which permutes the copies.

    ``inner`` is ``K``, ``outer`` is ``H``. The group comes with its imprimitive action on ``m n`` points: point
    ``b n + i`` is point ``i`` of copy ``b``, where ``K`` acts on its own ``n`` points, or on its elements if it has no
    points or they do not tell its elements apart. Above ``MAX_ORDER`` it is a :class:`PermutationGroup`, else a
    :class:`FiniteGroup`.
    Raises: ConfigError when ``outer`` has no points that tell its elements apart.
    """
    name = f"{inner.name}wr{outer.name}"
    on_blocks = _faithful(outer)
    within = _faithful(inner)
    if on_blocks is None:
        raise ConfigError(
            f"{name}: {outer.name} has no points that tell its elements apart; build it by from_permutations"
        )
    if within is None:
        # A group acts faithfully on its own elements.
        assert isinstance(inner, FiniteGroup)
        within = inner.table[list(inner.generators)].reshape(-1, inner.order)
    m = on_blocks.shape[1]
    n = within.shape[1]
    generators = []
    # The base group: each generator of the inner group acts on one copy of its points and fixes the others.
    for block in range(m):
        for k in within:
            p = np.arange(m * n)
            p[block * n : (block + 1) * n] = block * n + k
            generators.append(p)
    # The top group permutes the copies as wholes.
    generators += [(h[:, None] * n + np.arange(n)).ravel() for h in on_blocks]
    order = inner.order**m * outer.order
    if order > MAX_ORDER:
        return PermutationGroup(generators or [np.arange(m * n)], name, order=order)
    return from_permutations(generators or [np.arange(m * n)], name)


def _faithful(group: FiniteGroup | PermutationGroup) -> Indices | None:
    """The generators ``(r, n)`` as permutations of points that tell all elements apart; None without such points."""
    if isinstance(group, PermutationGroup):
        return group.generator_points
    if group.points is None or int((group.points == np.arange(group.points.shape[1])).all(1).sum()) > 1:
        return None  # without points, or another element than the identity leaves all of them where they are
    return group.points[list(group.generators)].reshape(-1, group.points.shape[1])


def _pairs(n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """For the ``n m`` pairs ``(i, j)`` in row-major order: all ``i`` as one array, all ``j`` as another."""
    # Row-major: the second factor runs fastest.
    return np.repeat(np.arange(n), m), np.tile(np.arange(m), n)


def _labels(a: FiniteGroup, b: FiniteGroup) -> list[str]:
    """A name for each pair of elements, in row-major order: ``(x,y)`` from the names of both, ``e`` for the first
    pair.
    """
    return ["e" if i == j == 0 else f"({x},{y})" for i, x in enumerate(a.labels) for j, y in enumerate(b.labels)]


def _check_order(order: int, name: str) -> None:
    """Raise ConfigError for an order above ``MAX_ORDER``."""
    if order > MAX_ORDER:
        raise ConfigError(f"{name}: order {order} is more than {MAX_ORDER}, the largest table")
