"""What every context on finitely many points can be asked, and how its scale is checked."""

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, issparse
from torch import Tensor

from msr.arrays import takes_arrays
from msr.errors import ConfigError, DataError, NonFiniteError, ShapeError
from msr.groups.immutable import Immutable, as_array
from msr.memory import refuse_if_larger

__all__ = [
    "SCALE",
    "SMALL",
    "Context",
    "Matrix",
    "checked_weights",
    "dense",
    "element_chances",
    "float_array",
    "float_matrix",
]

Matrix: TypeAlias = Any
"""A dense float64 array, or a SciPy sparse matrix in rows."""

SCALE = 1e-6
"""How far from 1 a sum of probabilities, or a largest eigenvalue, may be: above the rounding of float32 tables of some
thousands of columns, below every error of scale (a factor of the number of points, a missing weight)."""

SMALL = 2**22
"""Entries of a matrix that training works with as a dense one: 16 MB in single precision."""


class Context(Immutable, ABC):
    """A joint distribution of an input ``X``, one of ``n`` points, and a context variable ``A``.

    It acts by the expectation operator ``(T g)(x) = E[g(A) | x]`` and its adjoint ``(T* f)(a) = E[f(X) | a]``. The
    *dual kernel* ``k(x, x') = Σ_a P(a|x) P(a|x') / P(a)`` is the kernel of ``T T*``: all that an encoder of the points
    can learn of the context is in it. Attributes cannot be set; the arrays that they hold are not to be written to.

    Attributes:
        name: for tables and figures.
        weights: ``(n,)`` float64, the probability ``P(x)`` of each point, above 0.

    Source: Zhai et al., "Contextures: Representations from Contexts", arXiv:2505.01557, section 2.
    """

    plural: ClassVar[str] = "contexts"
    name: str
    weights: Tensor

    def __init__(self, weights: NDArray[np.float64], name: str):
        self.__dict__.update(name=name, weights=torch.from_numpy(weights))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {self.n} points)"

    @property
    def n(self) -> int:
        """How many points there are."""
        return len(self.weights)

    @property
    def conditional(self) -> Matrix | None:
        """``P(a|x)``, ``(n, m)``, a dense or sparse NumPy array; None where the context is known by its kernel only."""
        return None

    @property
    @abstractmethod
    def root(self) -> Matrix | None:
        """A matrix ``R (n, m)`` with ``R Rᵀ = S``; None where only ``S`` is known. See :attr:`gram`."""

    @property
    @abstractmethod
    def gram(self) -> NDArray[np.float64]:
        """``S = D k D``, ``(n, n)``, with the dual kernel ``k`` and ``D`` the diagonal of the roots of the weights.

        Its eigenvalues are the squared singular values of ``T``, and its largest one is 1, of the constant function.
        Raises: DataError where it does not fit into memory.
        """

    @abstractmethod
    def kernel_rows(self, points: Any) -> NDArray[np.float64]:
        """``k(x, x')`` between new points and those of the context, ``(new, n)``.

        Raises: ConfigError for a context that is known on its own points only.
        """

    def dual_kernel(self) -> Tensor:
        """The dual kernel ``k``, ``(n, n)`` float64, with ``k(x, ·)`` of mean 1 in the weights of the points.

        Raises: DataError where it does not fit into memory.
        """
        scale = 1 / self.weights.sqrt()
        return torch.from_numpy(self.gram) * scale[:, None] * scale

    @takes_arrays("values")
    def smoothed(self, values: Tensor) -> Tensor:
        """``T T* f`` for functions ``f`` in the columns of ``values (n, d)``: the same shape, float64."""
        scale = self.weights.sqrt().numpy()[:, None]
        scaled = self.on_points(values) * scale
        root = self.root
        product = self.gram @ scaled if root is None else root @ (root.T @ scaled)
        return torch.from_numpy(np.asarray(product) / scale)

    @property
    def energy(self) -> float:
        """``Σ s_i²`` over the singular values of ``T`` but that of the constant: how much ``A`` says about ``X``.

        It is the mean chi-squared distance of ``P(a|x)`` from ``P(a)``, in 0 to ``n − 1``.
        """
        root = self.root
        if root is None:
            return max(0.0, float(np.trace(self.gram)) - 1)
        return max(0.0, float((root.multiply(root) if issparse(root) else np.square(root)).sum()) - 1)

    @property
    def kappa2(self) -> float:
        """``κ² = max k(x, x)``: one more than the largest chi-squared distance of ``P(a|x)`` from ``P(a)``."""
        root = self.root
        if root is None:
            diagonal = np.diagonal(self.gram)
        else:
            squares = root.multiply(root) if issparse(root) else np.square(root)
            diagonal = np.asarray(squares.sum(axis=1)).ravel()
        return float((diagonal / self.weights.numpy()).max())

    @takes_arrays("like")
    def operator(self, what: Literal["conditional", "gram", "joint", "root"], like: Tensor) -> Tensor:
        """One of the context's matrices as a tensor in the precision and on the device of another.

        Shapes: ``(n, m)`` as the matrix is, ``(n, n)`` for ``gram``; ``like`` of any shape.
        A sparse one stays sparse if it has more than 4 million entries, zeros included. The tensor is made once: an
        encoder that is trained on a whole context asks for it in every step.
        Raises: as the matrix; ConfigError for one that the context does not have.
        """
        if what not in ("conditional", "gram", "joint", "root") or not like.is_floating_point():
            raise ConfigError(
                f"{self.name}: a matrix (conditional, gram, joint or root) as real numbers is needed; got {what!r} as "
                f"{like.dtype}"
            )
        made = self.__dict__.setdefault("_operators", {})
        key = (what, like.dtype, like.device)
        if key not in made:
            matrix = getattr(self, what, None)
            if matrix is None:
                raise ConfigError(f"{self.name} is known by its kernel only, and has no matrix {what}")
            # A tensor that was made in inference mode could never be part of a backward pass.
            with torch.inference_mode(mode=False):
                made[key] = _as_tensor(matrix).to(dtype=like.dtype, device=like.device)
        return made[key]

    def __getstate__(self) -> dict[str, Any]:
        # What can be made again, on whatever device there is, is no part of a file.
        return {name: value for name, value in self.__dict__.items() if name != "_operators"}

    @takes_arrays("values")
    def on_points(self, values: Tensor) -> NDArray[np.float64]:
        """``values (n, d)``, one row for each point, as a float64 array.

        Raises: ShapeError for another shape; NonFiniteError on nan or infinity.
        """
        if values.ndim != 2 or len(values) != self.n:
            raise ShapeError(
                f"{self.name}: values of shape ({self.n}, d) are needed, a row for each point; got "
                f"{tuple(values.shape)}"
            )
        if not torch.isfinite(values).all():
            raise NonFiniteError(f"{self.name}: the values hold nan or infinity")
        return values.detach().cpu().double().numpy()

    def needs_conditional(self, purpose: str) -> Matrix:
        """:attr:`conditional`. Raises: ConfigError that names the purpose, for a context known by its kernel only."""
        conditional = self.conditional
        if conditional is None:
            raise ConfigError(f"{purpose} needs P(a|x), and {self.name} is known by its kernel only")
        return conditional


def checked_weights(weights: object, n: int, name: str) -> NDArray[np.float64]:
    """The probabilities of ``n`` points; equal ones where ``weights`` is None.

    Raises: ShapeError, DataError (the first point without mass, or a sum that is not 1), NonFiniteError.
    """
    if n == 0:
        raise ShapeError(f"{name}: there is no point")
    if weights is None:
        return np.full(n, 1 / n)
    values = float_array(weights, f"{name}: the weights of the points")
    if values.shape != (n,):
        raise ShapeError(f"{name}: weights ({n},) are needed, one for each point; got {values.shape}")
    if (values <= 0).any():
        first = int(np.argmax(values <= 0))
        raise DataError(f"{name}: point {first} has the weight {values[first]:.3g}; leave points without mass out")
    total = float(values.sum())
    if abs(total - 1) > SCALE:
        raise DataError(f"{name}: the weights of the points sum to {total:.6g}, and probabilities sum to 1")
    return values / total


def float_matrix(values: object, name: str) -> Matrix:
    """A matrix of finite float64 numbers, a copy: dense, or in rows of a sparse one.

    Raises: ShapeError unless it has two axes; NonFiniteError on nan or infinity.
    """
    if issparse(values):
        float_array(values.data, name)  # type: ignore[attr-defined]
        matrix: Any = csr_matrix(values, dtype=np.float64, copy=True)
        if not all(matrix.shape):
            raise ShapeError(f"{name}: a matrix that is not empty is needed; got the shape {matrix.shape}")
        return matrix
    array = float_array(values, name)
    if array.ndim != 2 or not array.size:
        raise ShapeError(f"{name}: a matrix that is not empty is needed; got the shape {array.shape}")
    return array


def float_array(values: object, name: str) -> NDArray[np.float64]:
    """Finite real numbers as a float64 array of their own.

    Raises: DataError for what is no real number; ShapeError for rows of different lengths; NonFiniteError on nan or
    infinity.
    """
    array = as_array(values, name)  # type: ignore[arg-type]
    if array.dtype.kind not in "biuf":
        raise DataError(f"{name}: real numbers are needed; got {array.dtype}")
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise NonFiniteError(f"{name} holds nan or infinity")
    return array


def dense(matrix: Matrix, name: str) -> NDArray[np.float64]:
    """A matrix as a dense array. Raises: DataError where that does not fit into memory."""
    if not issparse(matrix):
        return matrix
    refuse_if_larger(8.0 * matrix.shape[0] * matrix.shape[1], f"{name} as a dense table", advice="give fewer points")
    return matrix.toarray()


def _as_tensor(matrix: Matrix) -> Tensor:
    """A dense or sparse NumPy matrix as a tensor, dense where it is small."""
    if not issparse(matrix):
        return torch.from_numpy(np.asarray(matrix))
    if math.prod(matrix.shape) <= SMALL:
        # torch multiplies by a sparse matrix, and by its transpose in the backward pass, several times slower.
        return torch.from_numpy(matrix.toarray())
    coo = matrix.tocoo()
    indices = torch.from_numpy(np.stack([coo.row, coo.col]).astype(np.int64))
    return torch.sparse_coo_tensor(indices, torch.from_numpy(coo.data), coo.shape, check_invariants=False).coalesce()


def element_chances(elements: Any, order: int, name: str) -> NDArray[np.float64]:
    """The probabilities of a group's elements. Raises: ShapeError, NonFiniteError, DataError."""
    if elements is None:
        return np.full(order, 1 / order)
    values = float_array(elements, f"{name}: the probabilities of elements")
    if values.shape != (order,):
        raise ShapeError(f"{name}: a probability for each of {order} elements is needed; got the shape {values.shape}")
    if (values < 0).any() or abs(values.sum() - 1) > SCALE:
        raise DataError(
            f"{name}: the probabilities of elements are from {values.min():.3g} on and sum to {values.sum():.6g}; they "
            "must not be negative, and sum to 1"
        )
    return values / values.sum()
