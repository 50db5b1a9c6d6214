"""The elementary representations of a group with a table: permutations kept as permutations, and matrices."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from msr.errors import ShapeError
from msr.groups import FiniteGroup
from msr.groups.group import Element
from msr.groups.immutable import as_array, frozen
from msr.groups.lie import real_array
from msr.groups.tolerances import LAW
from msr.permutations import Indices, check_permutation_action, inverse_of
from msr.representations.base import Representation
from msr.representations.laws import check_homomorphism, clean_homomorphism, tolerance_of
from msr.representations.lie import needs_floats

__all__ = ["MatrixRepresentation", "PermutationRepresentation", "Reshaped", "matrix_of", "move"]


def matrix_of(permutation: Indices) -> Tensor:
    """The matrix ``M (n, n)`` of a permutation ``(n,)``, float64: ``M[p[i], i] = 1``, and zero elsewhere."""
    matrix = torch.zeros(len(permutation), len(permutation), dtype=torch.float64)
    matrix[torch.tensor(permutation, dtype=torch.long), torch.arange(len(permutation))] = 1
    return matrix


def move(permutation: Indices, x: Tensor) -> Tensor:
    """``x (..., n)`` with its last axis permuted: ``out[p[i]] = x[i]``."""
    # A tensor is read, not written: out[j] comes from the place that is sent to j.
    source = torch.from_numpy(inverse_of(np.asarray(permutation, dtype=np.int64))).to(x.device)
    return x.index_select(-1, source)


class PermutationRepresentation(Representation):
    """``(ρ(g) x)[g·i] = x[i]``, from permutations ``(order, n)`` with ``[g, i] = g·i``.

    ``shape`` is that of one point, by default ``(n,)``. With ``known`` the caller vouches for the law of the action,
    and only shapes are checked.
    Raises: ShapeError, AxiomError (the message names the first pair of elements that breaks the law).
    """

    _permutations: Indices  # (order, dim)

    def __init__(
        self,
        group: FiniteGroup,
        permutations: ArrayLike,
        name: str = "permutation",
        *,
        shape: Sequence[int] | None = None,
        known: bool = False,
    ):
        values = as_array(permutations, name)
        if values.ndim != 2 or len(values) != group.order or values.dtype.kind not in "iu" or values.shape[1] == 0:
            raise ShapeError(
                f"{name}: {group.name} needs ({group.order}, n) integers, a permutation for each element; "
                f"got {values.shape} {values.dtype}"
            )
        super().__init__(group, (values.shape[1],) if shape is None else shape, name)
        if self.dim != values.shape[1]:
            raise ShapeError(
                f"{name}: permutations of {values.shape[1]} points do not fit points of shape {self.shape}"
            )
        if not known:
            check_permutation_action(values, group.table, group.generators, name, group.labels)
        # int32 holds every number of a coordinate that fits into memory, in half the space.
        self.__dict__.update(_permutations=frozen(values.astype(np.int32)))

    @property
    def permutations(self) -> Indices:
        """``(order, dim)``, ``[g, i]`` being where ``g`` sends coordinate ``i``."""
        return self._permutations

    @property
    def is_permutation(self) -> bool:
        """True: it is given by permutations."""
        return True

    def moves(self, element: Element) -> Indices:
        """Where the element sends each coordinate, ``(dim,)``: its row of :attr:`permutations`."""
        return self.permutations[element]

    @property
    def is_orthogonal(self) -> bool:
        """True: permutation matrices are orthogonal."""
        return True

    def act_flat(self, element: Element, x: Tensor) -> Tensor:
        """``ρ(g) x`` by moving coordinates: ``out[j] = x[g⁻¹·j]``."""
        return move(self.permutations[element], x)

    def matrix(self, element: Element) -> Tensor:
        """The permutation matrix ``ρ(g)``, float64: ``ρ(g)[g·i, i] = 1``."""
        return matrix_of(self.permutations[element])

    def character(self) -> NDArray[np.float64]:
        """The number of fixed coordinates of each element, ``(order,)``, float64."""
        return (self.permutations == np.arange(self.dim)).sum(axis=1).astype(float)


class MatrixRepresentation(Representation):
    """A representation by a matrix for each element, ``(order, n, n)``; its law is checked to 1e-8, relative.

    Matrices in float32 or below are checked to their own precision and then moved to the representation beside them,
    which is exact to float64; what was given is an approximation of it.

    Args:
        shape: that of one point, by default ``(n,)``.
        precision: the relative tolerance of the check; by default it follows from the dtype of ``matrices``. Above 1e-8
            the matrices are moved to an exact representation.

    Raises: ShapeError, NonFiniteError, AxiomError (the message names the first pair of elements that breaks the law).
    """

    _matrices: NDArray[np.float64]  # (order, dim, dim)

    def __init__(
        self,
        group: FiniteGroup,
        matrices: ArrayLike | Tensor,
        name: str = "matrices",
        *,
        shape: Sequence[int] | None = None,
        precision: float | None = None,
    ):
        values = real_array(matrices, name)
        precision = tolerance_of(matrices) if precision is None else precision
        if values.ndim != 3 or values.shape[1] != values.shape[2] or len(values) != group.order or values.shape[1] == 0:
            raise ShapeError(
                f"{name}: {group.name} needs a square matrix an element, ({group.order}, n, n); got {values.shape}"
            )
        super().__init__(group, (values.shape[1],) if shape is None else shape, name)
        if self.dim != values.shape[1]:
            raise ShapeError(f"{name}: matrices of {values.shape[1]} numbers do not fit points of shape {self.shape}")
        check_homomorphism(values, group, name, precision)
        # Given in less than float64, they keep the laws to that precision only.
        if precision > LAW:
            values = clean_homomorphism(values, group, name)
        self.__dict__.update(_matrices=frozen(values))

    @cached_property
    def is_orthogonal(self) -> bool:
        """Whether every ``ρ(g)`` is orthogonal, ``ρ(g)ᵀ ρ(g) = I``, which is tried on the generators."""
        # Products of orthogonal matrices are orthogonal.
        M = self._matrices[list(self.group.generators)]
        return bool(np.abs(M.swapaxes(1, 2) @ M - np.eye(self.dim)).max(initial=0) < LAW)

    def act_flat(self, element: Element, x: Tensor) -> Tensor:
        """``ρ(g) x`` on points ``(..., dim)``, as the product ``x ρ(g)ᵀ`` of rows; ShapeError for integers."""
        needs_floats(x, self)
        return x @ self.matrix(element).to(dtype=x.dtype, device=x.device).mT

    def matrix(self, element: Element) -> Tensor:
        """The matrix ``ρ(g)``, ``(dim, dim)`` float64, a copy."""
        return torch.tensor(self._matrices[element])

    def character(self) -> NDArray[np.float64]:
        """The trace of each matrix, ``(order,)``."""
        return np.trace(self._matrices, axis1=1, axis2=2)


class Reshaped(Representation):
    """The same action on points of another shape: everything but the shape is that of ``inner``."""

    inner: Representation

    def __init__(self, inner: Representation, shape: Sequence[int]):
        super().__init__(inner.group, shape, inner.name)
        self.__dict__.update(inner=inner)

    @property
    def permutations(self) -> Indices | None:
        """The permutations of the original representation, ``(order, dim)``; None where it mixes coordinates."""
        return self.inner.permutations

    @property
    def is_permutation(self) -> bool:
        """Whether the original representation only moves coordinates around."""
        return self.inner.is_permutation

    def moves(self, element: Element) -> Indices:
        """Where the element sends each coordinate, ``(dim,)``, as in the original representation."""
        return self.inner.moves(element)

    def infinitesimal(self) -> Tensor:
        """The matrices ``dρ(X_i)`` of the original representation, ``(d, dim, dim)``."""
        return self.inner.infinitesimal()

    def dual(self) -> Representation:
        """The dual of the original, on the same shape."""
        return self if self.is_orthogonal else self.inner.dual().reshape(*self.shape)

    @property
    def is_orthogonal(self) -> bool:
        """Whether the original representation acts by orthogonal matrices."""
        return self.inner.is_orthogonal

    def act_flat(self, element: Element, x: Tensor) -> Tensor:
        """``ρ(g) x`` on flattened points ``(..., dim)``, as in the original representation."""
        return self.inner.act_flat(element, x)

    def matrix(self, element: Element) -> Tensor:
        """The matrix ``ρ(g)`` of the original representation."""
        return self.inner.matrix(element)

    def character(self) -> NDArray[np.float64]:
        """The character of the original representation, ``(order,)``."""
        return self.inner.character()

    def blocks(self) -> tuple[Representation, ...]:
        """The blocks of the original representation, which acts on flattened points as this one does."""
        return self.inner.blocks()
