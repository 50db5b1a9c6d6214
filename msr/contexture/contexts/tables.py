"""Contexts that are known by their table: the conditional probabilities ``P(a|x)``, or the joint ones."""

from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags, issparse
from torch import Tensor

from msr.arrays import takes_arrays
from msr.contexture.contexts.base import SCALE, Context, Matrix, checked_weights, dense, float_matrix
from msr.errors import ConfigError, DataError, ShapeError
from msr.groups.immutable import as_array
from msr.memory import refuse_if_larger

__all__ = ["JointContext", "TableContext", "label_numbers"]


class TableContext(Context):
    """A context of a finite variable ``A``, by its conditional probabilities.

    Args:
        conditional: ``P(a|x)``, ``(n, m)``; each row sums to 1. A SciPy sparse matrix stays sparse.
        weights: ``P(x)``, ``(n,)``; by default all points weigh the same.
        of_points: the values of ``A`` are the points themselves, in their order.

    Attributes:
        marginal: ``(m,)`` float64, ``P(a)``; 0 for a value that never occurs.
        of_points: as given.

    Raises: ShapeError, NonFiniteError; DataError for a negative entry, or the first row that does not sum to 1.
    """

    marginal: Tensor
    of_points: bool

    def __init__(self, conditional: Any, weights: Any = None, name: str = "table", *, of_points: bool = False):
        table = float_matrix(conditional, f"{name}: P(a|x)")
        if of_points and table.shape[0] != table.shape[1]:
            raise ShapeError(f"{name}: the values are the points, so P(a|x) must be square; got {table.shape}")
        px = checked_weights(weights, table.shape[0], name)
        if table.min() < 0:
            raise DataError(f"{name}: P(a|x) holds {table.min():.3g}, and probabilities are not negative")
        sums = np.asarray(table.sum(axis=1)).ravel()
        off = np.abs(sums - 1)
        if off.max() > SCALE:
            first = int(np.argmax(off > SCALE))
            raise DataError(f"{name}: row {first} of P(a|x) sums to {sums[first]:.6g}, and probabilities sum to 1")
        super().__init__(px, name)
        table = diags(1 / sums) @ table if issparse(table) else table / sums[:, None]
        marginal = torch.from_numpy(np.asarray(px @ table).ravel())
        self.__dict__.update(_conditional=table, marginal=marginal, of_points=of_points)

    @classmethod
    def labels(cls, labels: Any, weights: Any = None, name: str = "labels") -> "TableContext":
        """The context ``A = y(x)`` of labels of any kind, as a sparse table. Its values are the labels, as first met.

        Each class but one adds a singular value of 1, and there are no others.
        Raises: ShapeError unless there is one label for each point; DataError for a label that is missing.
        """
        numbers = label_numbers(labels, name)
        n = len(numbers)
        table = csr_matrix((np.ones(n), numbers, np.arange(n + 1)), shape=(n, numbers.max() + 1))
        return TableContext(table, weights, name)

    @property
    def conditional(self) -> Matrix:
        """``P(a|x)``, ``(n, m)``."""
        return self.__dict__["_conditional"]

    @cached_property
    def root(self) -> Matrix:
        """``P(x, a) / √(P(x) P(a))``, ``(n, m)``, whose singular values are those of ``T``.

        The columns of values that never occur are 0.
        """
        marginal = self.marginal.numpy()
        # A value without mass has no conditional distribution; it takes no part.
        inverse = np.divide(1, np.sqrt(marginal), out=np.zeros_like(marginal), where=marginal > 0)
        rows = np.sqrt(self.weights.numpy())
        table = self.conditional
        return (diags(rows) @ table @ diags(inverse)).tocsr() if issparse(table) else rows[:, None] * table * inverse

    @property
    def gram(self) -> NDArray[np.float64]:
        """``root rootᵀ``, ``(n, n)``. Raises: DataError where it does not fit into memory."""
        refuse_if_larger(8.0 * self.n**2, f"the kernel of {self.name} between {self.n} points")
        root = self.root
        product = root @ root.T
        return dense(product, self.name)

    @cached_property
    def joint(self) -> Matrix:
        """``P(x, a)``, ``(n, m)``."""
        weights = self.weights.numpy()
        table = self.conditional
        return (diags(weights) @ table).tocsr() if issparse(table) else weights[:, None] * table

    @takes_arrays("values")
    def expectation(self, values: Tensor) -> Tensor:
        """``(T g)(x) = E[g(A) | x]`` of functions in the columns of ``values (m, d)``: ``(n, d)`` float64.

        Raises: ShapeError for another shape.
        """
        m = self.conditional.shape[1]
        if values.ndim != 2 or len(values) != m:
            raise ShapeError(f"{self.name}: values ({m}, d) are needed, a row for each a; got {tuple(values.shape)}")
        return torch.from_numpy(np.asarray(self.conditional @ values.detach().cpu().double().numpy()))

    @takes_arrays("values")
    def adjoint(self, values: Tensor) -> Tensor:
        """``(T* f)(a) = E[f(X) | a]`` of functions in the columns of ``values (n, d)``: ``(m, d)`` float64.

        It is 0 for an ``a`` that never occurs.
        """
        marginal = self.marginal.numpy()[:, None]
        sums = np.asarray(self.joint.T @ self.on_points(values))
        return torch.from_numpy(np.divide(sums, marginal, out=np.zeros_like(sums), where=marginal > 0))

    @takes_arrays("points")
    def draw(self, points: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        """Values of ``A`` for some points: ``draws`` of each from ``P(a|x)``, ``(points, draws)`` int64 columns.

        ``points (points,)`` are their numbers.
        """
        table = self.conditional
        indices = points.numpy()
        if not issparse(table):
            return torch.multinomial(torch.from_numpy(table[indices]), draws, replacement=True, generator=generator)
        # Of a sparse table only the entries that are there are drawn from, each row filled up to the longest.
        rows = table[indices]
        lengths = np.diff(rows.indptr)
        filled = np.arange(lengths.max()) < lengths[:, None]
        chances = np.zeros(filled.shape)
        chances[filled] = rows.data
        columns = np.zeros(filled.shape, dtype=np.int64)
        columns[filled] = rows.indices
        places = torch.multinomial(torch.from_numpy(chances), draws, replacement=True, generator=generator)
        return torch.from_numpy(columns).gather(1, places)

    def conditional_rows(self, points: Any) -> Matrix:
        """``P(a|x)`` for new points, ``(new, m)``.

        Raises: ConfigError for a context that is known on its own points only.
        """
        raise ConfigError(f"{self.name} is known on its own {self.n} points only, and says nothing about others")

    def kernel_rows(self, points: Any) -> NDArray[np.float64]:
        """``k(x, x')`` between new points and those of the context, ``(new, n)``."""
        rows = self.conditional_rows(points)
        marginal = self.marginal.numpy()
        inverse = np.divide(1, marginal, out=np.zeros_like(marginal), where=marginal > 0)
        scaled = rows @ diags(inverse) if issparse(rows) else rows * inverse
        product = scaled @ self.conditional.T
        return dense(product, self.name)


def label_numbers(labels: Any, name: str) -> NDArray[np.int64]:
    """The number of each label, ``(n,)``, in the order in which labels are first met; labels may be of any kind.

    Raises: ShapeError unless there is one label for each point; DataError for a label that is missing (None, or nan).
    """
    # A list stays one: an array would make texts of its numbers where it holds both.
    values = labels if isinstance(labels, (list, tuple)) else as_array(labels, name).tolist()
    if not isinstance(values, (list, tuple)) or not values or any(isinstance(label, (list, tuple)) for label in values):
        raise ShapeError(f"{name}: one label for each point is needed")
    numbers: dict[Any, int] = {}
    found = np.empty(len(values), dtype=np.int64)
    for place, label in enumerate(values):
        if label is None or label != label:
            raise DataError(f"{name}: point {place} has no label; leave it out, or give it one")
        found[place] = numbers.setdefault(label, len(numbers))
    return found


class JointContext(TableContext):
    """A context by the table of joint probabilities, or of counts that are divided by their sum when asked.

    Args:
        joint: ``P(x, a)``, ``(n, m)``, which sums to 1.
        counts: the table holds how often each pair was seen.

    Raises: as :class:`TableContext`; DataError for a sum that is not 1, or a point that never occurs.
    """

    def __init__(self, joint: Any, name: str = "joint", *, counts: bool = False):
        table = float_matrix(joint, f"{name}: P(x, a)")
        total = float(table.sum())
        if not counts and abs(total - 1) > SCALE:
            raise DataError(f"{name}: P(x, a) sums to {total:.6g}, and probabilities to 1; counts=True takes counts")
        if total <= 0:
            raise DataError(f"{name}: P(x, a) sums to {total:.6g}: there is nothing in it")
        sums = np.asarray(table.sum(axis=1)).ravel() / total
        if (sums <= 0).any():
            raise DataError(f"{name}: point {int(np.argmax(sums <= 0))} never occurs; leave it out")
        conditional = diags(1 / (sums * total)) @ table if issparse(table) else table / (sums * total)[:, None]
        super().__init__(conditional, sums, name)
