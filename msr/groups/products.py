"""Groups made from groups: direct, semidirect and wreath products."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from msr.errors import AxiomError, ConfigError, ShapeError
from msr.groups.constructors import from_permutations
from msr.groups.finite import MAX_ORDER, FiniteGroup

__all__ = ["direct_product", "semidirect_product", "wreath_product"]


def direct_product(*groups: FiniteGroup) -> FiniteGroup:
    """``G₁ × G₂ × …``, row-major: of two, element ``g |G₂| + h`` is ``(g, h)``.

    Where all factors come with points, so does the product: on their disjoint union.
    """
    if not groups:
        raise ConfigError("direct_product: give at least one group")
    product = groups[0]
    for group in groups[1:]:
        product = _product_of_two(product, group)
    return product


def _product_of_two(a: FiniteGroup, b: FiniteGroup) -> FiniteGroup:
    _check_order(a.order * b.order, f"{a.name} x {b.name}")
    g, h = _pairs(a.order, b.order)
    table = a.table[np.ix_(g, g)].astype(np.int32) * b.order + b.table[np.ix_(h, h)]
    points = None
    if a.points is not None and b.points is not None:
        points = np.concatenate([a.points[g], a.points.shape[1] + b.points[h]], axis=1)
    generators = [x * b.order for x in a.generators] + list(b.generators)
    return FiniteGroup(table, f"{a.name}x{b.name}", labels=_labels(a, b), points=points, generators=generators)


def semidirect_product(
    normal: FiniteGroup, top: FiniteGroup, action: ArrayLike | Callable[[int, int], int], name: str | None = None
) -> FiniteGroup:
    """``N ⋊ H``: pairs with ``(n, h)(n′, h′) = (n · φ_h(n′), h h′)``; element ``n |H| + h`` is ``(n, h)``.

    Args:
        normal: ``N``.
        top: ``H``.
        action: ``φ``, as ``(|H|, |N|)`` integers or a function ``(h, n) -> φ_h(n)``. Each ``φ_h`` must be an
            automorphism of ``N``, and ``φ_{hk} = φ_h φ_k``.

    Raises: AxiomError naming the elements for which ``φ`` is neither. With ``φ_h = id`` this is the direct product.
    """
    name = name or f"{normal.name}:{top.name}"
    _check_order(normal.order * top.order, name)
    if callable(action):
        phi = np.array([[action(h, n) for n in normal.elements] for h in top.elements])
    else:
        phi = np.asarray(action)
    if phi.shape != (top.order, normal.order) or phi.dtype.kind not in "iu":
        raise ShapeError(
            f"{name}: the action must be {(top.order, normal.order)} integers; came {phi.shape} {phi.dtype}"
        )
    _check_automorphisms(phi, normal, top, name)
    n, h = _pairs(normal.order, top.order)
    moved = phi[h][:, n]  # φ_h(n′) for each pair of pairs
    table = normal.table[n[:, None], moved].astype(np.int32) * top.order + top.table[np.ix_(h, h)]
    generators = [x * top.order for x in normal.generators] + list(top.generators)
    return FiniteGroup(table, name, labels=_labels(normal, top), generators=generators)


def _check_automorphisms(phi: np.ndarray, normal: FiniteGroup, top: FiniteGroup, name: str) -> None:
    every = np.arange(normal.order)
    wrong = np.flatnonzero((np.sort(phi, axis=1) != every).any(axis=1))
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


def wreath_product(inner: FiniteGroup, outer: FiniteGroup) -> FiniteGroup:
    """``K ≀ H``, order ``|K|^m |H|``: a copy of ``K`` for each of the ``m`` points of ``H``, which permutes the copies.

    It comes with its imprimitive action: point ``b n + i`` is point ``i`` of copy ``b``, with ``K`` acting on its own
    ``n`` points (its elements, if it has none or they do not tell its elements apart).
    Raises: ConfigError when ``outer`` has no faithful points to permute copies by, or the product is too large.
    """
    name = f"{inner.name}wr{outer.name}"
    if outer.points is None or len(np.unique(outer.points, axis=0)) != outer.order:
        raise ConfigError(
            f"{name}: {outer.name} has no points that tell its elements apart; build it by from_permutations"
        )
    m = outer.points.shape[1]
    if outer.order * float(inner.order) ** m > MAX_ORDER:
        raise ConfigError(
            f"{name}: order {inner.order}^{m} x {outer.order} is more than {MAX_ORDER}, the largest table"
        )
    own = inner.points
    if own is None or len(np.unique(own, axis=0)) != inner.order:
        own = inner.table
    n = own.shape[1]
    generators = []
    for block in range(m):
        for k in inner.generators:
            p = np.arange(m * n)
            p[block * n : (block + 1) * n] = block * n + own[k]
            generators.append(p)
    generators += [(outer.points[h][:, None] * n + np.arange(n)).ravel() for h in outer.generators]
    return from_permutations(generators or [np.arange(m * n)], name)


def _pairs(n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    return np.repeat(np.arange(n), m), np.tile(np.arange(m), n)


def _labels(a: FiniteGroup, b: FiniteGroup) -> list[str]:
    return ["e" if i == j == 0 else f"({x},{y})" for i, x in enumerate(a.labels) for j, y in enumerate(b.labels)]


def _check_order(order: int, name: str) -> None:
    if order > MAX_ORDER:
        raise ConfigError(f"{name}: order {order} is more than {MAX_ORDER}, the largest table")
