"""All products of some permutations, numbered breadth first, as long as they are few."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from msr.errors import AxiomError, ConfigError, ShapeError
from msr.groups.axioms import MAX_ORDER
from msr.groups.finite import FiniteGroup
from msr.groups.immutable import frozen
from msr.permutations import Indices, cycles

__all__ = ["as_permutations", "listed_group"]


@dataclass(frozen=True, eq=False)
class _Closure:
    """All elements of a group of permutations, numbered breadth first from the identity, and how they were reached.

    Attributes:
        elements: ``(order, n)``, where each element sends each point; row 0 is the identity.
        products: ``(r, order)``, the number of ``s·g``, which moves points by ``g`` first, for each generator ``s`` and
            element ``g``.
        parents: ``(order, 2)``: row ``g`` is ``(s, p)``, where ``g`` is generator ``s`` times element ``p < g``; row 0
            is ``(0, 0)`` and means nothing.
    """

    elements: Indices
    products: Indices
    parents: Indices


def _closure(generators: Indices) -> _Closure | None:
    """All products of generators ``(r, n)``, breadth first from the identity; None for more than ``MAX_ORDER``."""
    r, n = generators.shape
    width = np.dtype(np.int32).itemsize * n
    start = np.arange(n, dtype=np.int32)
    index = {start.tobytes(): 0}
    levels = [start[None]]
    parents = [(0, 0)]
    products: list[int] = []
    first = 0
    frontier = levels[0]
    while len(frontier):
        # All images of an element by all generators stand side by side, so that elements are numbered in this order.
        images = np.ascontiguousarray(generators[:, frontier].swapaxes(0, 1)).astype(np.int32, copy=False)
        rows = images.reshape(-1, n)
        data = images.tobytes()
        fresh = []
        for i in range(len(rows)):
            # Bytes of a row are hashed much faster than a tuple of its numbers.
            key = data[i * width : (i + 1) * width]
            number = index.get(key)
            if number is None:
                if len(index) == MAX_ORDER:
                    return None
                number = index[key] = len(index)
                fresh.append(i)
                parents.append((i % r, first + i // r))
            products.append(number)
        first += len(frontier)
        frontier = rows[fresh]
        levels.append(frontier)
    by_generator = np.array(products, dtype=np.int32).reshape(-1, r).T
    return _Closure(frozen(np.concatenate(levels)), by_generator, np.array(parents))


def listed_group(generators: Indices, name: str, recipe: tuple[Any, ...]) -> FiniteGroup | None:
    """The group that permutations ``(r, n)`` generate, its elements numbered breadth first from the identity.

    It comes with the ``n`` points, and is labelled by cycles. Its generators are those given, without the identity and
    repetitions. ``recipe`` is what makes it again, see :meth:`FiniteGroup.known`. None for more than ``MAX_ORDER``
    elements.
    """
    closure = _closure(generators)
    if closure is None:
        return None
    # The products with the identity, element 0, are the generators themselves; equal ones count once.
    chosen = list(dict.fromkeys(closure.products[:, 0].tolist()))
    elements = closure.elements

    def table() -> Indices:
        order = len(elements)
        product = np.empty((order, order), dtype=np.int16)
        product[0] = np.arange(order)
        by_generator = closure.products.astype(np.int16)
        for g in range(1, order):
            # With g = s·p for a generator s and an earlier element p, g·h = s·(p·h): a row follows from an earlier one.
            which, parent = closure.parents[g]
            product[g] = by_generator[which][product[parent]]
        return product

    # Cycles are written only when they are asked for, since writing a thousand of them takes long.
    labels: Callable[[], Sequence[str]] = lambda: [cycles(p) for p in elements]  # noqa: E731
    return FiniteGroup.known(
        len(elements), name, chosen, table=table, labels=labels, points=lambda: elements, degree=elements.shape[1],
        recipe=recipe,
    )  # fmt: skip


def as_permutations(generators: Sequence[ArrayLike], name: str) -> Indices:
    """The permutations of ``n`` points, each a list of images, as one array ``(r, n)``, int32; ``name`` is for
    messages.

    Raises: ConfigError for no permutation; ShapeError for what is no list of integers, and for permutations of
    different length; AxiomError for integers that are no permutation.
    """
    arrays = [np.asarray(p) for p in generators]
    if not arrays:
        raise ConfigError(f"{name}: give at least one permutation; the identity alone makes the trivial group")
    for number, p in enumerate(arrays):
        if p.ndim != 1 or p.dtype.kind not in "iu" or len(p) == 0:
            raise ShapeError(
                f"{name}: generator {number} must be a list of point indices (n,); got {p.shape} {p.dtype}"
            )
        if len(p) != len(arrays[0]):
            raise ShapeError(
                f"{name}: permutations of different length: generator 0 moves {len(arrays[0])} points, generator "
                f"{number} moves {len(p)}; let the shorter one fix the points it does not move"
            )
        if not np.array_equal(np.sort(p), np.arange(len(p))):
            raise AxiomError(f"{name}: generator {number} is no permutation of 0 to {len(p) - 1}: {p[:12].tolist()}")
    return np.stack(arrays).astype(np.int32)
