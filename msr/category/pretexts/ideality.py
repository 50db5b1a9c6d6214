"""How near an encoder's features come to the table of a pretext task, and the best that a rank allows.

An encoder ``f`` is *ideal* where a function ``k``, fixed before any data is seen, gives ``k(f(X), f(Y)) = Hom(X, Y)``
for every pair of objects. Source: Yuan, "On the Power of Foundation Models" (ICML 2023), with tables of real numbers in
the place of sets.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from msr.arrays import takes_arrays
from msr.brief import Brief
from msr.category.pretexts.pretext_tables import PretextTable, finite_matrix
from msr.contexture import Context, spectrum
from msr.errors import ConfigError, ModelError, ShapeError
from msr.groups.group import whole_number

__all__ = [
    "Ideality", "Surrogate", "contexture_tail", "ideality_score", "index_column_features", "index_column_product",
    "row_column_features", "surrogate",
]  # fmt: skip

Pairing = Callable[[Tensor, Tensor], Tensor]
"""``k``: features ``(n, d)`` of objects ``X`` and ``(m, e)`` of objects ``Y`` to a number for each pair, ``(n, m)``."""


@dataclass(frozen=True, eq=False, repr=False)
class Ideality(Brief):
    """How far ``k(f(X), f(Y))`` is from the table.

    Attributes:
        score: ``max |k(f(X), f(Y)) − Hom(X, Y)|`` over all pairs; 0 for an ideal encoder.
        pair: the row and the column of the largest error.
        mean_square: the mean of the squared errors, each pair weighing the same: for real-valued tables.
        weighted_square: the mean in which a pair weighs ``P(x) P(y)``; None where no marginals are known.
        least: the least score that any ``k`` could reach with these features: half of the widest range of the table
            over pairs whose features are all equal. 0 where the features determine the table.
        errors: ``(n, m)`` float64, ``k(f(X), f(Y)) − Hom(X, Y)``.
    """

    score: float
    pair: tuple[int, int]
    mean_square: float
    weighted_square: float | None
    least: float
    errors: Tensor


@takes_arrays("features", "columns")
def ideality_score(
    table: PretextTable | Tensor, features: Tensor, columns: Tensor | None = None, k: Pairing | None = None
) -> Ideality:
    """The :class:`Ideality` of an encoder on a table: its score, squared errors, and what features alone cost.

    Args:
        table: ``Hom(X, Y)``, ``(n, m)``: counts, or real numbers such as log-probabilities.
        features: ``f(X)``, ``(n, d)``, a row for each row of the table.
        columns: ``f(Y)``, ``(m, e)``; by default the same features, for a square table.
        k: what pairs features; by default their inner product. It must not know the table.

    Raises: ShapeError for numbers of features that do not fit; NonFiniteError on nan or infinity, a table's −inf
    included; ModelError where ``k`` returns another shape.
    """
    values = finite_matrix(_values(table), "the table")
    n, m = values.shape
    left = finite_matrix(features, "the features of the rows")
    right = left if columns is None else finite_matrix(columns, "the features of the columns")
    if len(left) != n or len(right) != m:
        raise ShapeError(f"a table ({n}, {m}) needs {n} and {m} rows of features; got {len(left)} and {len(right)}")
    if k is None and left.shape[1] != right.shape[1]:
        raise ShapeError(
            f"an inner product needs features of one length; got {left.shape[1]} and {right.shape[1]}: give k"
        )
    found = left @ right.mT if k is None else k(left, right)
    if not isinstance(found, Tensor) or tuple(found.shape) != (n, m):
        got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ModelError(f"k must return ({n}, {m}), a number for each pair; it returned {got}")
    errors = finite_matrix(found, "what k returned") - values
    worst = int(errors.abs().argmax())
    weighted = None
    if isinstance(table, PretextTable):
        weighted = float(table.marginals[0] @ errors.square() @ table.marginals[1])
    return Ideality(
        score=float(errors.abs().max()), pair=(worst // m, worst % m), mean_square=float(errors.square().mean()),
        weighted_square=weighted, least=_least(values, left, right), errors=errors,
    )  # fmt: skip


def _least(values: Tensor, left: Tensor, right: Tensor) -> float:
    """Half of the widest range of a table ``(n, m)`` over pairs with equal features, of rows and of columns."""
    groups = [np.unique(side.numpy(), axis=0, return_inverse=True)[1].reshape(-1) for side in (left, right)]
    cell = torch.from_numpy(groups[0][:, None] * (int(groups[1].max()) + 1) + groups[1]).reshape(-1)
    flat = values.reshape(-1)
    size = int(cell.max()) + 1
    high = torch.full((size,), -torch.inf, dtype=flat.dtype).scatter_reduce(0, cell, flat, "amax")
    low = torch.full((size,), torch.inf, dtype=flat.dtype).scatter_reduce(0, cell, flat, "amin")
    return float((high - low).max()) / 2


@takes_arrays("table")
def row_column_features(table: Tensor) -> Tensor:
    """Features ``(n, 2 n)`` of the objects of a square table ``(n, n)``: the row of each, then its column.

    They determine the table, which rows alone need not. Raises: ShapeError for a table that is not square.
    """
    values = _square(table)
    return torch.cat([values, values.mT], dim=1)


@takes_arrays("table")
def index_column_features(table: Tensor) -> Tensor:
    """Features ``(n, 1 + n)`` of the objects of a square table ``(n, n)``: the number of each, then its column.

    With them :func:`index_column_product` is ideal, since the column of ``Y`` is ``Hom(-, Y)``, the Yoneda embedding,
    and to look it up at ``X`` needs the number of ``X`` only. Raises: ShapeError for a table that is not square.
    """
    values = _square(table)
    return torch.cat([torch.arange(len(values), dtype=values.dtype)[:, None], values.mT], dim=1)


@takes_arrays("left", "right")
def index_column_product(left: Tensor, right: Tensor) -> Tensor:
    """The ``k`` of :func:`index_column_features`: the entry of the column of ``Y`` at the number of ``X``, ``(n, m)``.

    Shapes: ``left (n, 1 + d)``, ``right (m, 1 + d)``.
    """
    return right[:, 1:].mT[left[:, 0].long()]


@dataclass(frozen=True, eq=False, repr=False)
class Surrogate(Brief):
    """The best features of a given length for a table, and what they miss.

    Attributes:
        left, right: ``(n, rank)`` and ``(m, rank)`` float64, whose inner products are the surrogate of the table.
        singular_values: ``(min(n, m),)`` float64, all of them, largest first, of the table as it is weighted.
        squared_error: the sum of the squared errors, or its mean with the weights ``P(x) P(y)``: the sum of the squares
            of the singular values that are left out.
        spectral_error: the largest singular value that is left out; 0 where none is.
        weighted: whether errors are weighted by the marginals.
    """

    left: Tensor
    right: Tensor
    singular_values: Tensor
    squared_error: float
    spectral_error: float
    weighted: bool

    @property
    def values(self) -> Tensor:
        """The surrogate of the table, ``(n, m)``."""
        return self.left @ self.right.mT


def surrogate(table: PretextTable | Tensor, rank: int, *, weights: Literal["none", "marginals"] = "none") -> Surrogate:
    """The features of length ``rank`` whose inner products are nearest to a table ``(n, m)``, by left and right SVD.

    ``Σ (table − left rightᵀ)²`` is the least that a rank allows, and is the tail ``Σ_{i > rank} s_i²`` of the squared
    singular values. With ``weights="marginals"`` each pair weighs ``P(x) P(y)``. Only then, and only for a table of
    density ratios, these values are those of the contexture of the pairs, with ``s_0 = 1``, that of the constant, kept
    first (:func:`contexture_tail`). Counts, joint probabilities, log-probabilities and PMI have other tails.

    Raises: ConfigError for a rank that is none from 0 to ``min(n, m)``, or weights without marginals; NonFiniteError on
    nan or infinity, the −inf of a table of logarithms included. Source: Eckart and Young, 1936.
    """
    values = finite_matrix(_values(table), "the table")
    least = min(values.shape)
    rank = _rank(rank, least, "")
    if weights not in ("none", "marginals"):
        raise ConfigError(f"weights is 'none' or 'marginals'; got {weights!r}")
    across, down = (torch.ones(size, dtype=values.dtype) for size in values.shape)
    if weights == "marginals":
        if not isinstance(table, PretextTable):
            raise ConfigError("weights='marginals' needs a PretextTable, which knows them")
        across, down = (marginal.sqrt() for marginal in table.marginals)
    U, s, Vh = torch.linalg.svd(across[:, None] * values * down, full_matrices=False)
    half = s[:rank].sqrt()
    return Surrogate(
        left=U[:, :rank] * half / across[:, None], right=Vh[:rank].mT * half / down[:, None], singular_values=s,
        squared_error=float(s[rank:].square().sum()), spectral_error=float(s[rank:].amax()) if rank < least else 0.0,
        weighted=weights == "marginals",
    )  # fmt: skip


def contexture_tail(context: Context, rank: int) -> float:
    """``Σ_{i ≥ rank} s_i²`` over the singular values of a context, ``s_0 = 1`` of the constant function first.

    It is the weighted squared error of the :func:`surrogate` of this rank of the density ratio ``P(x, a)/(P(x) P(a))``.

    Raises: ConfigError for a rank that is none from 0 to the number of points.
    """
    rank = _rank(rank, context.n, f"{context.name}: ")
    if rank == 0:
        return 1 + context.energy
    # The sum over what is left, not a difference of sums, which would lose the digits of a small tail.
    return float(spectrum(context, solver="dense").squares[rank - 1 :].sum())


def _values(table: PretextTable | Tensor) -> Tensor:
    """The numbers ``(n, m)`` of a table."""
    return table.values if isinstance(table, PretextTable) else table


def _square(table: Tensor) -> Tensor:
    """A square table as float64. Raises: ShapeError."""
    values = finite_matrix(table, "the table")
    if values.shape[0] != values.shape[1]:
        raise ShapeError(f"rows and columns must be of the same objects, a square table; got {tuple(values.shape)}")
    return values


def _rank(rank: Any, most: int, where: str) -> int:
    """A rank from 0 to ``most`` as a whole number of Python. Raises: ConfigError; ``where`` begins its message."""
    number = None if isinstance(rank, bool) else whole_number(rank)
    if number is None or not 0 <= number <= most:
        raise ConfigError(f"{where}rank is a whole number from 0 to {most}; got {rank!r}")
    return number
