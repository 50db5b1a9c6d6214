"""Contexts that are known by their dual kernel: labels, regression targets, features of a teacher, a kernel matrix."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import ArpackNoConvergence, eigsh

from msr.contexture.contexts.base import (
    SCALE,
    Context,
    Matrix,
    checked_weights,
    dense,
    float_array,
    float_matrix,
)
from msr.contexture.contexts.tables import TableContext
from msr.errors import ConfigError, DataError, PrecisionError, ShapeError
from msr.memory import refuse_if_larger

__all__ = ["KernelContext"]

_DENSE = 500  # points up to which all eigenvalues of a kernel are computed for the check of its scale


class KernelContext(Context):
    """A context by its dual kernel ``k(x, x')``, of which no distribution ``P(a|x)`` need be known.

    Args:
        kernel: ``(n, n)``, symmetric and positive semidefinite, with ``Σ k(x, x') P(x') = 1`` for each ``x`` and no
            eigenvalue of ``T T*`` above 1.
        weights: ``P(x)``, ``(n,)``; by default all points weigh the same.

    Raises: ShapeError, NonFiniteError; DataError for a kernel that is none, or of a wrong scale, with what was found.
    """

    def __init__(self, kernel: Any, weights: Any = None, name: str = "kernel"):
        matrix = float_matrix(kernel, f"{name}: the kernel")
        if not isinstance(matrix, np.ndarray):
            raise DataError(f"{name}: a dense kernel is needed: none that sums to 1 in each row is mostly zeros")
        if matrix.shape[0] != matrix.shape[1]:
            raise ShapeError(f"{name}: the kernel must be square; got {matrix.shape}")
        px = checked_weights(weights, len(matrix), name)
        asymmetry = np.abs(matrix - matrix.T).max()
        if asymmetry > SCALE * np.abs(matrix).max():
            raise DataError(f"{name}: the kernel is not symmetric: it differs from its transpose by {asymmetry:.3g}")
        _check_means(matrix @ px, name)
        scale = np.sqrt(px)
        gram = (matrix + matrix.T) / 2 * scale[:, None] * scale
        _check_spectrum(gram, name)
        super().__init__(px, name)
        self.__dict__.update(_gram=gram, _root=None)

    @classmethod
    def _of_mixture(cls, kernel: NDArray[np.float64], px: NDArray[np.float64], name: str) -> "KernelContext":
        """The context of a kernel that was made of others, and is right where they are."""
        context = cls.__new__(cls)
        Context.__init__(context, px, name)
        scale = np.sqrt(px)
        context.__dict__.update(_gram=(kernel + kernel.T) / 2 * scale[:, None] * scale, _root=None)
        return context

    @classmethod
    def _of_root(cls, root: Matrix, px: NDArray[np.float64], name: str) -> "KernelContext":
        """The context of ``S = R Rᵀ``, ``R (n, r)``; ``S`` is never made as a table. Its scale is the caller's care."""
        context = cls.__new__(cls)
        Context.__init__(context, px, name)
        context.__dict__.update(_gram=None, _root=root)
        return context

    @classmethod
    def labels(cls, labels: Any, weights: Any = None, name: str = "labels") -> "KernelContext":
        """The context ``A = y(x)`` of labels, which may be of any kind: ``k(x, x') = 1[y = y'] / P(y)``.

        Each class but one adds a singular value of 1, and there are no others.
        Raises: ShapeError unless there is one label for each point; DataError for a label that is missing.
        """
        table = TableContext.labels(labels, weights, name)
        return cls._of_root(table.root, table.weights.numpy(), name)

    @classmethod
    def features(
        cls, features: Any, weights: Any = None, name: str = "features", *, cut: float | None = None
    ) -> "KernelContext":
        """The context of features ``z (n, p)``: of a teacher, or targets of a regression.

        The centred features are decomposed, ``z = U S Vᵀ`` in the weights of the points, and
        ``k = 1 + Σ c_i² u_i u_i``. By default ``c_i = S_i / S_1``; with ``cut`` it is 1 where ``S_i`` is above that
        share of ``S_1``, else 0.

        Raises: ShapeError, NonFiniteError; DataError for features that do not vary; ConfigError for a ``cut`` that is
        not from 0 to below 1.
        Source: the kernels of the authors' code (github.com/RuntianZ/contextures-dissertation), with the weights of the
        whole set in place of a batch's.
        """
        values = float_array(features, f"{name}: the features")
        matrix = np.asarray(float_matrix(values[:, None] if values.ndim == 1 else values, f"{name}: the features"))
        if cut is not None and not 0 <= cut < 1:
            raise ConfigError(f"{name}: cut must be from 0 to below 1; got {cut}")
        px = checked_weights(weights, len(matrix), name)
        centred = matrix - px @ matrix
        # What rounding leaves of a constant feature is of this size, and must not be scaled up to 1.
        rounding = len(px) * np.finfo(np.float64).eps * np.abs(matrix).max()
        if np.abs(centred).max() <= rounding:
            raise DataError(f"{name}: the features are the same at all {len(px)} points, so they say nothing")
        left, sizes, _ = np.linalg.svd(centred * np.sqrt(px)[:, None], full_matrices=False)
        kept = sizes > rounding
        shares = sizes / sizes[0] if cut is None else (sizes > cut * sizes[0]).astype(np.float64)
        root = np.concatenate([np.sqrt(px)[:, None], left[:, kept] * shares[kept]], axis=1)
        return cls._of_root(root, px, name)

    @property
    def root(self) -> Matrix | None:
        """``R (n, r)`` with ``R Rᵀ = S`` for labels and features; None for a kernel matrix."""
        return self.__dict__["_root"]

    @property
    def gram(self) -> NDArray[np.float64]:
        """``S``, ``(n, n)``: see :attr:`Context.gram`."""
        root = self.root
        if root is None:
            return self.__dict__["_gram"]
        refuse_if_larger(8.0 * self.n**2, f"the kernel of {self.name} between {self.n} points")
        return dense(root @ root.T, self.name)

    def kernel_rows(self, points: Any) -> NDArray[np.float64]:
        """Raises: ConfigError, since a kernel matrix says nothing about other points."""
        raise ConfigError(f"{self.name} is known on its own {self.n} points only, and says nothing about others")


def _check_means(means: NDArray[np.float64], name: str) -> None:
    """Raise DataError unless every row of a kernel has the mean 1."""
    off = np.abs(means - 1)
    if off.max() > SCALE:
        first = int(np.argmax(off))
        hint = ""
        if np.ptp(means) <= SCALE * np.abs(means).max() and abs(means.mean()) > SCALE:
            hint = f"; all rows are alike: divide the kernel by {means.mean():.6g}"
        raise DataError(f"{name}: row {first} of the kernel has the mean {means[first]:.6g} and not 1{hint}")


def _check_spectrum(gram: NDArray[np.float64], name: str) -> None:
    """Raise DataError where an eigenvalue is above 1 or below 0."""
    n = len(gram)
    if n <= _DENSE:
        values = np.linalg.eigvalsh(gram)
        least, largest = float(values[0]), float(values[-1])
    else:
        largest = _largest(gram, name)
        # The least eigenvalue is looked for from the other end, where it is the largest: near 0 ARPACK cannot tell
        # that it has converged.
        least = largest - _largest(largest * np.eye(n) - gram, name)
    if largest > 1 + SCALE:
        raise DataError(
            f"{name}: the kernel has the eigenvalue {largest:.6g}, and none of E[·|x] is above 1; is it scaled rightly?"
        )
    if least < -SCALE:
        raise DataError(f"{name}: the kernel has the eigenvalue {least:.6g}, so it is not positive semidefinite")


def _largest(matrix: NDArray[np.float64], name: str) -> float:
    """The largest eigenvalue of a symmetric matrix, to a part in ten million. Raises: PrecisionError."""
    start = np.random.default_rng(0).standard_normal(len(matrix))  # fixed: the same kernel gives the same answer
    try:
        values = eigsh(matrix, k=1, which="LA", return_eigenvectors=False, v0=start, tol=SCALE / 10)
    except ArpackNoConvergence as error:
        raise PrecisionError(f"{name}: the largest eigenvalue of the kernel was not found: {error}") from error
    return float(values[0])
