"""Representations of Lie algebras: matrices that keep the brackets."""

from collections.abc import Sequence
from math import prod

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from msr.arrays import takes_arrays
from msr.errors import ConfigError, NonFiniteError, ShapeError
from msr.groups import Group, LieAlgebra
from msr.groups.immutable import Immutable, frozen
from msr.groups.lie import real_array
from msr.groups.tolerances import CLOSED
from msr.kron import kron
from msr.permutations import Indices
from msr.representations.laws import check_brackets, clean_brackets, tolerance_of

__all__ = ["LieRepresentation", "needs_floats"]


class LieRepresentation(Immutable):
    """A representation of a Lie algebra by matrices ``dρ(X_i) (d, n, n)`` with ``[dρ(X), dρ(Y)] = dρ([X, Y])``;
    checked.

    An element is a tuple of coefficients ``c`` and acts by ``exp(Σ c_i dρ(X_i))``. Sums ``a + b``, products ``a * b``
    and duals as for finite groups: ``dρ ⊗ 1 + 1 ⊗ dρ′`` and ``−dρᵀ``. Matrices in float32 are checked at their own
    precision and then moved to the nearest ones that keep the brackets to float64.

    Attributes: ``group`` (the algebra), ``matrices`` (``(d, n, n)`` float64, read-only), ``shape`` of one point (by
    default ``(n,)``), ``name``.
    Raises: ShapeError, NonFiniteError, AxiomError.
    """

    group: LieAlgebra
    matrices: NDArray[np.float64]
    shape: tuple[int, ...]
    plural = "representations"

    is_permutation = False
    is_signed_permutation = False
    permutations = None

    def __init__(
        self, algebra: LieAlgebra, matrices: ArrayLike, name: str = "matrices", *, shape: Sequence[int] | None = None
    ):
        values = real_array(matrices, name)
        if values.ndim != 3 or values.shape[1] != values.shape[2] or len(values) != algebra.dim:
            raise ShapeError(f"{name}: {algebra.name} needs {algebra.dim} square matrices; got {values.shape}")
        shape = (values.shape[1],) if shape is None else tuple(shape)
        if prod(shape) != values.shape[1]:
            raise ShapeError(f"{name}: matrices of {values.shape[1]} numbers do not fit points of shape {shape}")
        if not np.isfinite(values).all():
            raise NonFiniteError(f"{name}: the matrices hold nan or infinity")
        precision = tolerance_of(matrices)
        check_brackets(values, algebra, name, precision)
        # values are float64 by now; what was given had fewer digits.
        if precision > tolerance_of(values):
            values = clean_brackets(values, algebra, name)
        self.__dict__.update(group=algebra, name=name, matrices=frozen(values), shape=shape)

    def moves(self, element: Sequence[float]) -> Indices:
        """Raise ConfigError always: exponentials mix coordinates, so there is no permutation."""
        raise ConfigError(f"{self.name} is no permutation representation: it mixes coordinates")

    def infinitesimal(self) -> Tensor:
        """The matrices ``dρ(X_i)``, ``(d, dim, dim)``, float64."""
        return torch.tensor(self.matrices)

    @property
    def dim(self) -> int:
        """How many numbers a point has: the product of ``shape``."""
        return prod(self.shape)

    @property
    def is_trivial(self) -> bool:
        """Whether every element acts as the identity: all matrices ``dρ(X_i)`` are zero."""
        return not self.matrices.any()

    @property
    def is_orthogonal(self) -> bool:
        """Whether the group acts by orthogonal matrices: all ``dρ(X_i)`` are antisymmetric, to 1e-10."""
        return bool(np.abs(self.matrices + self.matrices.swapaxes(1, 2)).max() < CLOSED)

    def matrix(self, element: Sequence[float]) -> Tensor:
        """The matrix ``exp(Σ c_i dρ(X_i))``, ``(dim, dim)``, float64; ``element`` holds the coefficients ``c``.

        Raises: ShapeError for another number of coefficients than the algebra has.
        """
        c = torch.as_tensor(element, dtype=torch.float64)
        if c.shape != (self.group.dim,):
            raise ShapeError(f"an element of {self.group.name} is {self.group.dim} coefficients; got {tuple(c.shape)}")
        return torch.linalg.matrix_exp(torch.einsum("i,iab->ab", c, torch.tensor(self.matrices)))

    @takes_arrays("x")
    def act(self, element: Sequence[float], x: Tensor) -> Tensor:
        """``exp(Σ c_i dρ(X_i)) x`` for ``x (..., *shape)``, with ``element`` holding ``c``.

        Raises: ShapeError when ``x`` does not end in ``shape``, or holds integers.
        """
        lead = self.check_shape(x)
        return self.act_flat(element, x.reshape(*lead, self.dim)).reshape(x.shape)

    @takes_arrays("x")
    def act_flat(self, element: Sequence[float], x: Tensor) -> Tensor:
        """``exp(Σ c_i dρ(X_i)) x`` for flattened points ``x (..., dim)``; ShapeError for integers."""
        needs_floats(x, self)
        return x @ self.matrix(element).to(dtype=x.dtype, device=x.device).mT

    @takes_arrays("x")
    def check_shape(self, x: Tensor) -> tuple[int, ...]:
        """The sizes of the leading (batch) axes of ``x (..., *shape)``; ShapeError where it has no such shape."""
        at = x.ndim - len(self.shape)
        if at < 0 or tuple(x.shape[at:]) != self.shape:
            raise ShapeError(f"{self.name} acts on points of shape {self.shape}; got a tensor {tuple(x.shape)}")
        return tuple(x.shape[:at])

    def blocks(self) -> tuple["LieRepresentation", ...]:
        """The representation itself: sums of Lie representations are not kept as their parts."""
        return (self,)

    def reshape(self, *shape: int) -> "LieRepresentation":
        """The same action on points of another shape with as many numbers; ShapeError for another number of them."""
        return LieRepresentation(self.group, self.matrices, self.name, shape=shape)

    def dual(self) -> "LieRepresentation":
        """The dual representation, by the matrices ``−dρ(X)ᵀ``."""
        return LieRepresentation(self.group, -self.matrices.swapaxes(1, 2), f"{self.name}*", shape=self.shape)

    def __add__(self, other: "LieRepresentation") -> "LieRepresentation":
        self._check_same(other)
        blocks = [
            torch.block_diag(*map(torch.tensor, pair)) for pair in zip(self.matrices, other.matrices, strict=True)
        ]
        return LieRepresentation(self.group, torch.stack(blocks), f"{self.name} + {other.name}")

    def __mul__(self, other: "LieRepresentation") -> "LieRepresentation":
        self._check_same(other)
        eye = torch.eye(self.dim, dtype=torch.float64)
        other_eye = torch.eye(other.dim, dtype=torch.float64)
        pairs = zip(self.infinitesimal(), other.infinitesimal(), strict=True)
        # dρ ⊗ 1 + 1 ⊗ dρ′: the derivative of ρ ⊗ ρ′ at the identity.
        matrices = torch.stack([kron(x, other_eye) + kron(eye, y) for x, y in pairs])
        return LieRepresentation(self.group, matrices, f"{self.name} * {other.name}", shape=self.shape + other.shape)

    def _check_same(self, other: "LieRepresentation") -> None:
        """Raise ConfigError unless ``other`` is a :class:`LieRepresentation` of the same algebra."""
        if isinstance(getattr(other, "group", None), Group) and not isinstance(other, LieRepresentation):
            raise ConfigError(
                f"representations of different groups, {self} and {other}; for the product of the groups, each acting "
                "on axes of its own, outer_product(a, b); to act with one factor of a product, lift(rep, product)"
            )
        if not isinstance(other, LieRepresentation):
            raise ConfigError(f"{other!r} is no representation of {self.group.name}; for n copies, copies(rep, n)")
        if self.group != other.group:
            raise ConfigError(
                f"representations of different algebras, {self.group.name} and {other.group.name}; for the product of "
                "the groups, outer_product(a, b)"
            )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LieRepresentation):
            return NotImplemented
        return self.group == other.group and self.shape == other.shape and np.array_equal(self.matrices, other.matrices)

    def __hash__(self) -> int:
        return hash((self.group, self.shape))

    def __repr__(self) -> str:
        return f"<{self.name}: {self.group.name} on {self.shape}>"


def needs_floats(x: Tensor, representation: object) -> None:
    """Raise ShapeError for a tensor of integers, which matrices would mix and rounding would spoil.

    ``representation`` is shown in the message.
    """
    if not (x.is_floating_point() or x.is_complex()):
        raise ShapeError(f"{representation} mixes numbers, so a tensor must be floating point; got {x.dtype}")
