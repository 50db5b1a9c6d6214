"""Named groups that are not abelian and, as a rule, no direct products: the factors that the catalogue multiplies."""

import math
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
from sympy import factorint  # type: ignore[import-untyped]

from msr.groups import (
    FiniteGroup,
    alternating,
    cyclic,
    dihedral,
    direct_product,
    frobenius,
    from_permutations,
    quaternion,
    semidirect_product,
    symmetric,
    wreath_product,
)
from msr.groups.naming.linear_groups import linear_group
from msr.groups.tolerances import SEPARATE

__all__ = ["NamedFactor", "Maker", "abelian_types", "named_factors"]

Maker = Callable[[], FiniteGroup]
"""A function without arguments that makes a group with a table."""


class NamedFactor(NamedTuple):
    """A named group that is not abelian: its name, its order, and the function that makes it."""

    name: str
    order: int
    make: Maker


@lru_cache(maxsize=512)
def named_factors(order: int) -> tuple[NamedFactor, ...]:
    """The named groups of an order, none abelian: those of :func:`_simple` first, then the other families in a fixed
    order.
    """
    sources = (_simple, _linear, _affine, _two_groups, _semidirect, _wreaths)
    return tuple(NamedFactor(name, order, make) for source in sources for name, make in source(order))


def _simple(order: int) -> Iterator[tuple[str, Maker]]:
    """Name and maker of each group of this order with a simple name: symmetric, alternating, dihedral, dicyclic,
    Frobenius.

    Each group comes once: order 6 is ``S3`` alone, and dihedral groups begin with ``D4``. Symmetric and alternating
    groups go up to ``n = 7``, and the Frobenius groups are those of prime degree, ``AGL(1,p)`` among them. The groups
    themselves need not be simple.
    """
    for n in range(3, 8):
        if math.factorial(n) == order:
            yield f"S{n}", partial(symmetric, n)
        if n > 3 and math.factorial(n) == 2 * order:
            yield f"A{n}", partial(alternating, n)
    if order % 2 == 0 and order >= 8:
        yield f"D{order // 2}", partial(dihedral, order // 2)
    if order % 4 == 0 and order >= 8:
        yield f"Q{order}", partial(quaternion, order)
    for p in (p for p in factorint(order) if p > 3):
        top = order // p
        if (p - 1) % top == 0 and top > 2:
            name = f"AGL(1,{p})" if top == p - 1 else f"C{p}:C{top} (Frobenius)"
            yield name, partial(frobenius, p, top)


_PRIME_POWERS = ((2, 1), (3, 1), (2, 2), (5, 1), (7, 1), (2, 3), (3, 2), (11, 1))
"""The fields of the linear groups, as ``(p, k)`` for ``GF(p^k)``."""
# Left out, since these groups have simpler names: A4, S4, A5, S5, A6 and S3.
_ALIASES = {"PSL(2,3)", "PGL(2,3)", "PSL(2,4)", "PGL(2,4)", "PSL(2,5)", "PGL(2,5)", "PSL(2,9)", "SL(2,2)", "SL(2,4)"}


def _linear(order: int) -> Iterator[tuple[str, Maker]]:
    """Name and maker of each ``PSL``, ``SL``, ``PGL`` and ``GL`` of 2 × 2 matrices over a field of up to 11 elements,
    of this order.

    Those that have a simpler name, such as ``A5``, or are direct products are left out; ``2O`` (order 48) and ``M10``
    (720) are added.
    """
    for p, k in _PRIME_POWERS:
        q = p**k
        special = q * (q * q - 1)
        two = 2 if p > 2 else 1
        for name, size, kind, on in (
            (f"PSL(2,{q})", special // two, "SL", "lines"),
            (f"SL(2,{q})", special if two == 2 else 0, "SL", "vectors"),
            (f"PGL(2,{q})", special if two == 2 else 0, "GL", "lines"),
            (f"GL(2,{q})", special * (q - 1) if two == 2 else 0, "GL", "vectors"),
        ):
            if size == order and q > 2 and name not in _ALIASES:
                yield name, partial(_matrices, kind, 2, p, k, on)
    if order == 48:
        yield "2O", _binary_octahedral
    if order == 720:
        yield "M10", _mathieu10


def _affine(order: int) -> Iterator[tuple[str, Maker]]:
    """Name and maker of some groups of affine maps of this order: the maps ``x → a x + b`` of a field of 8 to 49
    elements that is no prime field, all or those with ``a^top = 1``, and with the automorphisms of the field;
    ``ASL(2,3)``, ``AGL(2,3)``, ``ASL(2,4)``, ``PSU(3,2)``.
    """
    for p, k in ((2, 3), (3, 2), (2, 4), (5, 2), (3, 3), (2, 5), (7, 2)):
        q = p**k
        top = order // q
        if order % q == 0 and top > 1 and (q - 1) % top == 0 and not (top == 2 and p > 2):
            yield (
                f"AGL(1,{q})" if top == q - 1 else f"C{p}^{k}:C{top} (Frobenius)",
                partial(_affine_line, p, k, top),
            )
        if order == q * (q - 1) * k:
            yield f"AΓL(1,{q})", partial(_matrices, "ΓL", 1, p, k, "affine")
    if order == 216:
        yield "ASL(2,3)", partial(_matrices, "SL", 2, 3, 1, "affine")
    if order == 432:
        yield "AGL(2,3)", partial(_matrices, "GL", 2, 3, 1, "affine")
    if order == 72:
        yield "PSU(3,2)", _mathieu9
    if order == 960:
        yield "ASL(2,4)", partial(_matrices, "SL", 2, 2, 2, "affine")


def _two_groups(order: int) -> Iterator[tuple[str, Maker]]:
    """Name and maker of each Heisenberg group of this order, modulo 3, 5 or 7, and of each central product in
    ``_CENTRAL``.

    A central product is a direct product whose centres share their involution.
    """
    for p in (3, 5, 7):
        if order == p**3:
            yield f"Heis({p})", partial(_heisenberg, p)
    for name, size, make in _CENTRAL:
        if size == order:
            yield name, make


def _semidirect(order: int) -> Iterator[tuple[str, Maker]]:
    """Name and maker of semidirect products of this order.

    They are generalised dihedral and dicyclic groups, ``C_n:D4``, ``C_n^2:C_m`` by a swap, and holomorphs of cyclic
    2-groups.
    """
    if order % 2 == 0:
        for invariants in abelian_types(order // 2):
            if len(invariants) > 1:
                name = " x ".join(f"C{n}" for n in invariants)
                # A cyclic factor of order 2 (mod 4) splits off, and the group is a direct product.
                if all(n % 4 != 2 for n in invariants) and invariants[-1] > 2:
                    yield f"Dih({name})", partial(_inverted, invariants, False)
                if invariants[-1] % 2 == 0 and all(n % 4 != 2 for n in invariants[:-1]):
                    yield f"Dic({name})", partial(_inverted, invariants, True)
    if order % 8 == 0 and order // 8 > 1 and (order // 8) % 2:
        yield f"C{order // 8}:D4", partial(_by_d4, order // 8)
    for n in (2, 3, 4, 5, 6, 7):
        top = order // (n * n)
        if order % (n * n) == 0 and top % 4 == 0:
            yield f"C{n}^2:C{top} (swap)", partial(_swapped, n, top)
    for k in (3, 4, 5):
        if order == 2 ** (2 * k - 1):
            yield f"Hol(C{2**k})", partial(_holomorph, 2**k)


def _wreaths(order: int) -> Iterator[tuple[str, Maker]]:
    """Name and maker of wreath products of this order: ``n`` copies of one group, permuted by ``C_n`` or ``S_n``, ``n``
    from 2 to 5.

    That group is cyclic or one of :func:`_simple`.
    """
    for count in (2, 3, 4, 5):
        for outer, top in ((f"C{count}", cyclic), (f"S{count}", symmetric)):
            # S2 is C2, which has been tried.
            if count == 2 and outer == "S2":
                continue
            above = top(count)
            if order % above.order:
                continue
            size = round((order // above.order) ** (1 / count))
            # The root was rounded, so it is tested.
            if size < 2 or size**count * above.order != order:
                continue
            inners: list[tuple[str, Maker]] = [(f"C{size}", partial(cyclic, size)), *_simple(size)]
            for inner, make in inners:
                yield f"{inner} wr {outer}", partial(_wreath, make, above)


def _wreath(make: Maker, top: FiniteGroup) -> FiniteGroup:
    """The wreath product of the group that ``make`` makes by ``top``, which permutes its copies."""
    return wreath_product(make(), top)


def _matrices(kind: str, d: int, p: int, k: int, on: str) -> FiniteGroup:
    """The group with a table of ``d × d`` matrices over ``GF(p^k)``; ``kind`` and ``on`` are those of
    :func:`linear_group`.
    """
    return from_permutations(list(linear_group(kind, d, p, k, on=on)))  # type: ignore[arg-type]


def _affine_line(p: int, k: int, top: int) -> FiniteGroup:
    """The maps ``x → a x + b`` of ``GF(p^k)`` with ``a^top = 1``, of order ``top p^k``; ``top`` divides ``p^k − 1``."""
    # In one dimension there are no shears, so the first map is the stretch by a primitive element.
    *_, stretch = linear_group("GL", 1, p, k, on="affine")[: 1 + k][:1]
    shifts = linear_group("SL", 1, p, k, on="affine")
    power = np.arange(p**k)
    # A power of the primitive element that has just the order wanted.
    for _ in range((p**k - 1) // top):
        power = stretch[power]
    return from_permutations([power, *shifts])


def _mathieu10() -> FiniteGroup:
    """The Mathieu group ``M10``: the third subgroup of index 2 in ``PΓL(2,9)``, beside ``PGL(2,9)`` and ``PΣL(2,9)``.

    It is generated by ``PSL(2,9)`` and the product of a diagonal matrix and the automorphism of the field.
    """
    wide = linear_group("ΓL", 2, 3, 2, on="lines")
    stretch, turn = wide[-2:]
    return from_permutations([*wide[:-2], stretch[turn]])


def _mathieu9() -> FiniteGroup:
    """``C3² ⋊ Q8``, order 72: the subgroup of ``ASL(2,3)`` that its elements of order 4 generate, shifts included."""
    whole = _matrices("SL", 2, 3, 1, "affine")
    return whole.subgroup([g for g in whole.elements if whole.element_orders[g] == 4]).group


def _binary_octahedral() -> FiniteGroup:
    """The binary octahedral group, order 48, as permutations of its own elements, which are unit quaternions.

    It is generated by ``(1 + i)/√2`` and ``(1 + i + j + k)/2``.
    """
    generators = np.array([1.0, 1, 0, 0]) / math.sqrt(2), np.array([1.0, 1, 1, 1]) / 2
    elements = [np.array([1.0, 0, 0, 0])]
    # The list grows while it is gone through, until products of its members with generators give nothing more.
    for x in elements:
        for s in generators:
            y = _hamilton(s, x)
            if min(np.abs(y - z).max() for z in elements) > SEPARATE:
                elements.append(y)
    table = np.stack(elements)
    moves = [[int(np.abs(table - _hamilton(s, x)).max(1).argmin()) for x in elements] for s in generators]
    return from_permutations(moves)


def _hamilton(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The product of two quaternions ``(4,)``, the real part first."""
    a = x[0]
    v = x[1:]
    b = y[0]
    w = y[1:]
    return np.concatenate([[a * b - v @ w], a * w + b * v + np.cross(v, w)])


def _heisenberg(p: int) -> FiniteGroup:
    """The group, order ``p³``, of upper triangular 3 × 3 matrices modulo ``p`` with 1 on the diagonal."""
    a, b, c = np.unravel_index(np.arange(p**3), (p, p, p))
    moves = [((a + 1) % p, b, (c + b) % p), (a, (b + 1) % p, c)]
    return from_permutations([np.ravel_multi_index(m, (p, p, p)) for m in moves])


def _central(*makers: Maker) -> FiniteGroup:
    """The central product of groups: their direct product, in which the involutions of the centres are made one
    element.
    """
    group, *others = (make() for make in makers)
    for other in others:
        y = _central_involution(group)
        z = _central_involution(other)
        whole = direct_product(group, other)
        # Element (g, h) of the product is g·|H| + h.
        members = [0, y * other.order + z]
        cosets = whole.cosets(members)
        place = np.empty(whole.order, dtype=np.int64)
        for i, coset in enumerate(cosets):
            place[coset] = i
        first = [int(coset[0]) for coset in cosets]
        group = FiniteGroup(place[whole.table[np.ix_(first, first)]])
    return group


def _central_involution(group: FiniteGroup) -> int:
    """The number of the least element of order 2 in the centre; StopIteration where there is none."""
    return int(next(g for g in group.centre if group.element_orders[g] == 2))


def _inverted(invariants: tuple[int, ...], dicyclic: bool) -> FiniteGroup:
    """The group of an abelian group ``A`` and an element ``x`` with ``x a x⁻¹ = a⁻¹``, order ``2 |A|``; element
    ``a + |A| f`` is ``a x^f``.

    ``x²`` is 1, or with ``dicyclic`` the involution of the last factor of ``A``. ``invariants``: the orders of the
    cyclic factors of ``A``; the last one must be even with ``dicyclic``.
    """
    abelian = direct_product(*map(cyclic, invariants))
    n = abelian.order
    a = np.tile(np.arange(n), 2)
    f = np.repeat([0, 1], n)
    conjugated = np.where(f[:, None] == 1, abelian.inverses[a], a)
    total = abelian.table[a[:, None], conjugated]
    if dicyclic:
        half = invariants[-1] // 2
        total = np.where(f[:, None] & f == 1, abelian.table[total, half], total)
    return FiniteGroup(total + n * (f[:, None] ^ f))


def _by_d4(n: int) -> FiniteGroup:
    """``C_n ⋊ D4``: the rotation of order 4 inverts ``C_n``, and the reflections ``r s`` and ``r³ s`` commute with
    it.
    """
    return semidirect_product(cyclic(n), dihedral(4), lambda h, x: -x % n if (h % 4 + h // 4) % 2 else x)


def _swapped(n: int, top: int) -> FiniteGroup:
    """``C_n² ⋊ C_top``, where the generator of ``C_top`` swaps the two factors; ``top`` is even."""
    return semidirect_product(
        direct_product(cyclic(n), cyclic(n)), cyclic(top), lambda h, x: x % n * n + x // n if h % 2 else x
    )


def _holomorph(n: int) -> FiniteGroup:
    """The maps ``x → a x + b`` modulo ``n``, for all units ``a``, as permutations of ``n`` points."""
    points = np.arange(n)
    units = [a for a in range(2, n) if math.gcd(a, n) == 1]
    return from_permutations([(points + 1) % n, *(points * a % n for a in units)])


def abelian_types(order: int) -> Iterator[tuple[int, ...]]:
    """For each abelian group of this order the tuple of its invariant factors, each dividing the next; none for
    order 1.
    """

    def types(remaining: int, divisor: int) -> Iterator[tuple[int, ...]]:
        """Tuples with the product ``remaining``, each entry dividing the next, the first one a multiple of ``divisor``.

        ``(remaining,)`` comes first in any case, also where it is no such multiple: the caller leaves it out.
        """
        yield (remaining,)
        for d in range(max(2, divisor), remaining):
            if remaining % d == 0 and d % divisor == 0:
                for following in types(remaining // d, d):
                    if following[0] % d == 0:
                        yield (d, *following)

    if order > 1:
        yield from types(order, 1)


def _central_products() -> list[tuple[str, int, Maker]]:
    """Name, order and maker of central products of groups with one central involution each.

    ``C4 o D4`` is the group of Pauli's matrices.
    """
    c = {n: partial(cyclic, n) for n in (4, 8, 16)}
    d = {n: partial(dihedral, n) for n in (4, 8, 12, 16)}
    products: list[tuple[str, int, Maker]] = []
    products += [(f"C{m} o D{n}", m * n, partial(_central, c[m], d[n])) for m in c for n in d]
    products += [(f"D4 o D{n}", 8 * n, partial(_central, d[4], d[n])) for n in d]
    products += [(f"D{n} o Q8", 8 * n, partial(_central, d[n], quaternion)) for n in d]
    products += [("D4 o D4 o D4", 128, partial(_central, d[4], d[4], d[4]))]
    products += [("D4 o D4 o Q8", 128, partial(_central, d[4], d[4], quaternion))]
    return products


_CENTRAL = _central_products()
"""Name, order and maker of each central product that has a name here."""
