"""Contexts made of contexts: one after the other, one of several, several at once."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, hstack, issparse

from msr.contexture.contexts.base import SCALE, Context, dense, float_array
from msr.contexture.contexts.kernels import KernelContext
from msr.contexture.contexts.tables import TableContext
from msr.errors import ConfigError, DataError, ShapeError
from msr.memory import refuse_if_larger

__all__ = ["convex", "convolve", "joint"]

MOST_PAIRS = 2**25
"""Numbers of the table of several contexts at once: about a gigabyte and half a minute of work."""


def convolve(first: Context, second: Context, name: str | None = None) -> Context:
    """One context after the other, ``X → A₁ → A₂``: ``T = T₁ T₂``, which weakens the association.

    ``s_i(T₁ T₂) ≤ min(s_i(T₁) s_1(T₂), s_1(T₁) s_i(T₂))`` for ``i ≥ 1``: for contexts that are too strong alone. The
    points of the second context are the values of the first, and it says what follows each of them. A second context
    that is known by its kernel must weigh them as the first one does: its kernel holds for these weights only.

    Raises: ConfigError for a first context that is known by its kernel only; ShapeError unless the second has a point
    for each value of the first; DataError where the weights differ and matter.
    """
    name = name or f"{first.name} * {second.name}"
    table = first.needs_conditional(f"{name}: the first of two contexts")
    if table.shape[1] != second.n:
        raise ShapeError(f"{name}: {first.name} has {table.shape[1]} values, and {second.name} has {second.n} points")
    following = second.conditional
    if following is not None:
        product: Any = table @ following
        assert isinstance(first, TableContext)
        assert isinstance(second, TableContext)
        return TableContext(product, first.weights, name, of_points=first.of_points and second.of_points)
    assert isinstance(first, TableContext)
    off = float((first.marginal - second.weights).abs().max() / second.weights.min())
    if off > SCALE:
        raise DataError(
            f"{name}: {second.name} is known by its kernel, for points weighted as it was made; the values of "
            f"{first.name} have other probabilities (off by {100 * off:.3g}% at most)"
        )
    inner = second.dual_kernel().numpy()
    return KernelContext._of_mixture(np.asarray(table @ (table @ inner).T), first.weights.numpy(), name)


def convex(contexts: Sequence[Context], mixture: Any = None, name: str | None = None) -> Context:
    """One of several contexts, drawn by the probabilities ``mixture``, and which one is revealed: ``A = (J, A_J)``.

    ``T T* = Σ_j w_j T_j T_j*`` and ``k = Σ_j w_j k_j``: for contexts that are too strong and others too weak. By
    default all weigh the same.
    Raises: ShapeError unless all are on as many points; DataError for points of different weights, or probabilities
    that are none.
    """
    name = name or " + ".join(context.name for context in contexts)
    px = _same_points(contexts, name)
    shares = _mixture(mixture, len(contexts), name)
    tables = [context.conditional for context in contexts]
    if all(table is not None for table in tables):
        parts = [table * share for table, share in zip(tables, shares, strict=True)]
        together: Any = hstack(parts).tocsr() if all(map(issparse, parts)) else np.concatenate(_dense(parts), axis=1)
        return TableContext(together, px, name)
    kernel = sum(share * context.dual_kernel().numpy() for share, context in zip(shares, contexts, strict=True))
    return KernelContext._of_mixture(np.asarray(kernel), px.numpy(), name)


def joint(contexts: Sequence[Context], name: str | None = None) -> TableContext:
    """Several contexts at once, ``A = (A_1, A_2, …)``, each drawn on its own given the point.

    ``s_i ≥ max_j s_i(T_j)``, which strengthens the association: for contexts that are too weak alone. The table has the
    product of their numbers of columns; those that never occur are left out.
    Raises: ConfigError for a context that is known by its kernel only; ShapeError, DataError as :func:`convex`;
    DataError where the table would hold more than 2^25 numbers.
    """
    name = name or " & ".join(context.name for context in contexts)
    px = _same_points(contexts, name)
    product: Any = None
    for context in contexts:
        table = csr_matrix(context.needs_conditional(f"{name}: a context of several at once"))
        product = table if product is None else _products_of_rows(product, table, name)
    return TableContext(product if len(contexts) > 1 else contexts[0].conditional, px, name)


def _products_of_rows(first: csr_matrix, second: csr_matrix, name: str) -> csr_matrix:
    """``[x, (a, b)] = first[x, a] second[x, b]`` without the columns that are 0. Raises: DataError for its size."""
    counts = np.diff(first.indptr) * np.diff(second.indptr).astype(np.int64)
    if counts.sum() > MOST_PAIRS:
        raise DataError(
            f"{name}: the table of all pairs would hold {counts.sum():,} numbers, and {MOST_PAIRS:,} are the most; "
            "give fewer points, or contexts of fewer values"
        )
    refuse_if_larger(40.0 * counts.sum(), f"{name}: the table of all pairs", advice="give contexts of fewer values")
    width = second.shape[1]
    columns = []
    values = []
    for x in range(first.shape[0]):
        a = slice(first.indptr[x], first.indptr[x + 1])
        b = slice(second.indptr[x], second.indptr[x + 1])
        columns.append((first.indices[a].astype(np.int64)[:, None] * width + second.indices[b]).ravel())
        values.append((first.data[a][:, None] * second.data[b]).ravel())
    # Most pairs never occur, so columns are numbered anew.
    occurring, numbers = np.unique(np.concatenate(columns), return_inverse=True)
    starts = np.concatenate([[0], np.cumsum(counts)])
    return csr_matrix((np.concatenate(values), numbers, starts), shape=(first.shape[0], len(occurring)))


def _same_points(contexts: Sequence[Context], name: str) -> Any:
    """The weights of the points that all contexts are on. Raises: ConfigError, ShapeError, DataError."""
    if not contexts:
        raise ConfigError("a mixture needs at least one context")
    first = contexts[0]
    for other in contexts[1:]:
        if other.n != first.n:
            raise ShapeError(f"{name}: {first.name} has {first.n} points and {other.name} {other.n}")
        if float((other.weights - first.weights).abs().max()) > SCALE * float(first.weights.min()):
            raise DataError(f"{name}: {first.name} and {other.name} weigh the points differently")
    return first.weights


def _mixture(mixture: Any, count: int, name: str) -> np.ndarray:
    """The probabilities of ``count`` components. Raises: ShapeError, NonFiniteError, DataError."""
    if mixture is None:
        return np.full(count, 1 / count)
    shares = float_array(mixture, f"{name}: the mixture")
    if shares.shape != (count,):
        raise ShapeError(f"{name}: {count} probabilities are needed, one for each context; got {shares.shape}")
    if (shares < 0).any() or abs(shares.sum() - 1) > SCALE:
        raise DataError(f"{name}: the probabilities of the contexts are {shares.tolist()}; they must sum to 1")
    return shares / shares.sum()


def _dense(parts: list[Any]) -> list[np.ndarray]:
    """All matrices as dense ones."""
    return [dense(part, "a context") for part in parts]
