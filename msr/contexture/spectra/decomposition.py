"""The exact spectrum of a context: all of it by a dense decomposition, or the largest values by an iterative one."""

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh
from torch import Tensor

from msr.contexture.contexts.base import Context, dense
from msr.contexture.contexts.tables import TableContext
from msr.contexture.spectra.values import Spectrum
from msr.errors import ConfigError, PrecisionError

__all__ = ["Solver", "spectrum"]

Solver = Literal["auto", "dense", "iterative"]

_DENSE = 2000  # points up to which all values are computed by default: some seconds on one core
_FACTOR = 1000  # points and values of A up to which a factor of S is decomposed, and not S itself
_DEFAULT = 50  # values of the iterative solver, where none are asked for
_MARGIN = 8  # values asked for beside those wanted, since the last ones converge last
_ROUNDS = 20  # times that copies of a value may turn out to be missing
_NOTHING = 1e-12  # share of a vector that is left of it where only rounding is
_TIE = 1e-9  # how far an eigenvalue that is left over may lie above the last one that was found


def spectrum(context: Context, k: int | None = None, *, solver: Solver = "auto") -> Spectrum:
    """The ``k`` largest singular values of a context, and their functions; the constant function is left out.

    With ``S = D k D`` for the dual kernel ``k`` and the roots ``D`` of the weights, the eigenvalues of ``S`` are the
    ``s_i²``, and ``μ_i = D⁻¹ u_i`` for its eigenvectors ``u_i``.

    Args:
        context: on finitely many points.
        k: how many; by default all with the dense solver, and at most 50 with the iterative one.
        solver: ``dense`` is LAPACK. ``iterative`` is ARPACK on products with ``S``, which is never made where the
            context has a factor of it (a sparse table, say). Since equal values hide each other from it, it is asked
            again for what is left beside the values found. ``auto`` is dense up to 2,000 points.

    Values are exact to rounding. Rounding of squares makes values of about 1e-7 out of zeros where ``S`` is decomposed,
    with more than 1,000 points or by the iterative solver: there, values below 1e-6 are given as 0.

    Raises: ConfigError for a ``k`` out of range; DataError where a table does not fit into memory; PrecisionError where
    the iterative solver does not converge.
    """
    if solver not in ("auto", "dense", "iterative"):
        raise ConfigError(f"solver must be auto, dense or iterative; got {solver!r}")
    exact = solver == "dense" or (solver == "auto" and context.n <= _DENSE)
    most = context.n - 1 if exact else max(0, context.n - 2 - _MARGIN)
    wanted = (most if exact else min(most, _DEFAULT)) if k is None else k
    if not 0 <= wanted <= most:
        raise ConfigError(f"{context.name}: k must be from 0 to {most}; got {k}")
    if exact:
        values, vectors = _all_pairs(context)
    else:
        values, vectors = _largest_pairs(context, wanted)
    values = values[:wanted].clip(0, 1)
    functions = torch.from_numpy(vectors[:, :wanted] / np.sqrt(context.weights.numpy())[:, None])
    return Spectrum(
        name=context.name,
        values=torch.from_numpy(values),
        functions=functions,
        context_functions=_context_functions(context, functions, values),
        weights=context.weights,
        energy=context.energy,
        complete=wanted == context.n - 1,
    )


def _all_pairs(context: Context) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """All ``n − 1`` singular values, descending, and orthonormal vectors ``(n, n − 1)`` beside that of the constant."""
    reflect = _reflection(np.sqrt(context.weights.numpy()))
    n = context.n
    root = context.root
    if root is not None and max(root.shape) <= _FACTOR:
        # In reflected coordinates the constant is the first one, and is left out.
        left, sizes, _ = np.linalg.svd(reflect(dense(root, context.name))[1:], full_matrices=True)
        values = np.zeros(n - 1)
        values[: len(sizes)] = np.where(sizes > n * np.finfo(np.float64).eps, sizes, 0)
    else:
        inner = reflect(reflect(context.gram).T)[1:, 1:]
        squares, ascending = np.linalg.eigh(inner)
        values = _roots(squares[::-1])
        left = ascending[:, ::-1]
    return values, reflect(np.concatenate([np.zeros((1, n - 1)), left]))


def _largest_pairs(context: Context, k: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """At least the ``k`` largest singular values, descending, and their orthonormal vectors ``(n, …)``."""
    n = context.n
    # The vectors that are known, each with its eigenvalue; they are taken out before ARPACK is asked for more.
    vectors = np.sqrt(context.weights.numpy())[:, None]
    squares = np.ones(1)
    root = context.root
    gram = context.gram if root is None else None
    draw = np.random.default_rng(0)  # fixed, so that the same context gives the same answer

    def product(x: NDArray[np.float64]) -> NDArray[np.float64]:
        column = np.asarray(x).reshape(n)
        # Before and after, so that rounding does not bring back what was taken out.
        column = column - vectors @ (vectors.T @ column)
        column = gram @ column if root is None else root @ (root.T @ column)
        return column - vectors @ (vectors.T @ column)

    for _ in range(_ROUNDS):
        known = len(squares) - 1
        count = k + _MARGIN if known == 0 else _MARGIN
        if known >= k and count >= n - len(squares):
            break
        start = draw.standard_normal(n)
        if np.linalg.norm(product(start)) <= _NOTHING * np.linalg.norm(start):
            # Nothing is left, and ARPACK would divide by it; any functions beside those found have the value 0.
            missing = max(0, k - known)
            vectors = np.linalg.qr(np.concatenate([vectors, draw.standard_normal((n, missing))], axis=1))[0]
            squares = np.concatenate([squares, np.zeros(missing)])
            break
        try:
            operator = LinearOperator((n, n), matvec=product, dtype=np.float64)
            more, columns = eigsh(operator, k=min(count, n - 1), which="LA", v0=start)
        except ArpackNoConvergence as error:
            raise PrecisionError(
                f"{context.name}: ARPACK did not converge on {k} values; try fewer, or dense"
            ) from error
        last = np.sort(squares[1:])[::-1][k - 1] if known >= k > 0 else np.inf
        if known >= k and more.max() <= last + _TIE:
            break
        vectors = np.linalg.qr(np.concatenate([vectors, columns[:, ::-1]], axis=1))[0]
        squares = np.concatenate([squares, more[::-1]])
    else:
        raise PrecisionError(f"{context.name}: more and more copies of the same value were found; take solver='dense'")
    order = np.argsort(-squares[1:], kind="stable") + 1
    return _roots(squares[order]), vectors[:, order]


def _roots(squares: NDArray[np.float64]) -> NDArray[np.float64]:
    """The singular values of their squares, where those that are rounding are 0."""
    return np.sqrt(np.where(squares > 1e-12, squares, 0))


def _reflection(unit: NDArray[np.float64]) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """The orthogonal reflection of ``(n, …)`` that exchanges a unit vector and the first axis.

    Source: Householder, 1958.
    """
    normal = unit.copy()
    # The sign that adds: a difference would cancel where the first point holds nearly all of the weight. The first axis
    # then goes to minus the vector, whose sign is of no matter.
    normal[0] += 1
    length = normal @ normal
    return lambda columns: columns - np.multiply.outer(normal, (2 / length) * (normal @ columns))


def _context_functions(context: Context, functions: Tensor, values: NDArray[np.float64]) -> Tensor | None:
    """``ν_i = T* μ_i / s_i``, 0 where ``s_i`` is; None for a context known by its kernel."""
    if not isinstance(context, TableContext):
        return None
    inverse = np.divide(1, values, out=np.zeros_like(values), where=values > 0)
    return context.adjoint(functions) * torch.from_numpy(inverse)
