"""Lie algebras by matrix generators, enough to measure with and to solve for equivariant maps."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from msr.errors import AxiomError, NonFiniteError, ShapeError
from msr.groups.group import Drawn, Element, Letter, TableFree
from msr.groups.immutable import as_array, frozen
from msr.groups.tolerances import CLOSED, EXACT

__all__ = ["LieAlgebra", "real_array"]


def real_array(values: ArrayLike | torch.Tensor, name: str) -> NDArray[np.float64]:
    """A new float64 array from an array, a tensor or nested lists; ``name`` is for messages.

    Raises: ShapeError for complex numbers, whose imaginary half would be lost, and for rows of different length.
    """
    array = as_array(values, name)
    if np.iscomplexobj(array):
        raise ShapeError(f"{name}: complex matrices; write the real form, with blocks [[Re, -Im], [Im, Re]]")
    return array.astype(np.float64)


class LieAlgebra(TableFree):
    """A matrix Lie algebra: the span of generators ``X_i (d, n, n)``, closed under ``[X, Y] = XY − YX``.

    An *element* of its group, wherever one is asked for, is a tuple of ``d`` coefficients ``c``: it stands for
    ``exp(Σ c_i X_i)``. Immutable; equal when the structure constants are the same up to rounding, whatever the
    matrices, labels and names.

    Args:
        matrices: the generators, ``(d, n, n)``; kept as float64.
        name: for messages.
        labels: a name for each generator; by default ``X0, X1, …``.

    Raises: ShapeError unless the generators are real square matrices; NonFiniteError for nan or infinity; AxiomError
    when they are linearly dependent, or a bracket leaves their span (the message names the pair).
    """

    name: str
    matrices: NDArray[np.float64]
    labels: tuple[str, ...]

    def __init__(self, matrices: ArrayLike, name: str = "g", *, labels: Sequence[str] | None = None):
        values = real_array(matrices, name)
        if values.ndim != 3 or values.shape[1] != values.shape[2] or len(values) == 0:
            raise ShapeError(f"{name}: generators are square matrices (d, n, n), at least one; got {values.shape}")
        if not np.isfinite(values).all():
            raise NonFiniteError(f"{name}: the generators hold nan or infinity")
        if np.linalg.matrix_rank(values.reshape(len(values), -1)) < len(values):
            raise AxiomError(
                f"{name}: the {len(values)} generators are linearly dependent; leave out the redundant ones"
            )
        if labels is not None and len(labels) != len(values):
            raise ShapeError(f"{name}: {len(values)} generators need as many labels; got {len(labels)}")
        names = tuple(labels) if labels is not None else tuple(f"X{i}" for i in range(len(values)))
        self.__dict__.update(name=name, matrices=frozen(values), labels=names)
        # Asked for once here, so that generators that are not closed under the bracket are refused at once.
        _ = self.structure_constants

    @property
    def dim(self) -> int:
        """The dimension of the algebra: the number of its generators."""
        return len(self.matrices)

    @cached_property
    def structure_constants(self) -> NDArray[np.float64]:
        """The numbers ``c[i, j, k]``, ``(d, d, d)``, with ``[X_i, X_j] = Σ_k c_ijk X_k``.

        Raises: AxiomError where a bracket leaves the span of the generators.
        """
        X = self.matrices
        brackets = np.einsum("iab,jbc->ijac", X, X)
        brackets = brackets - brackets.swapaxes(0, 1)
        # The coefficients of each bracket by least squares; where a residual is left, the bracket leaves the span.
        flat = X.reshape(self.dim, -1).T
        targets = brackets.reshape(self.dim**2, -1).T
        c = np.linalg.lstsq(flat, targets, rcond=None)[0]
        gap = np.abs(flat @ c - targets).max(axis=0)
        worst = int(gap.argmax())
        if gap[worst] > CLOSED * float(np.abs(X).max()) ** 2:
            i, j = divmod(worst, self.dim)
            raise AxiomError(
                f"{self.name}: not closed: the bracket of {self.labels[i]} and {self.labels[j]} leaves the span of the "
                "generators; add it as a generator"
            )
        return frozen(c.T.reshape(self.dim, self.dim, self.dim))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LieAlgebra):
            return NotImplemented
        a = self.structure_constants
        b = other.structure_constants
        # Structure constants, not matrices: a representation takes coefficients, whatever matrices the algebra came
        # with.
        return a.shape == b.shape and bool(np.allclose(a, b, atol=EXACT))

    def __hash__(self) -> int:
        # Constants that are equal up to rounding must hash alike, so only the dimension enters.
        return hash((LieAlgebra, self.dim))

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (self.matrices, self.name, self.labels))

    def __repr__(self) -> str:
        return f"<{self.name}, dimension {self.dim}>"

    @property
    def order(self) -> None:
        """None: there are infinitely many elements."""
        return None

    @property
    def algebra_dim(self) -> int:
        """Number of infinitesimal generators: the dimension."""
        return self.dim

    @property
    def discrete(self) -> tuple[Element, ...]:
        """An empty tuple: the group is connected, so it needs no discrete generators."""
        return ()

    @property
    def identity(self) -> tuple[float, ...]:
        """The identity: coefficients that are all zero."""
        return (0.0,) * self.dim

    @property
    def drawn(self) -> Drawn:
        """``"normal coefficients"``: how :meth:`sample` draws."""
        return "normal coefficients"

    def check(self, element: Element) -> tuple[float, ...]:
        """The element as a tuple of ``dim`` finite numbers; ShapeError for anything else."""
        try:
            c = tuple(float(v) for v in element)
        except (TypeError, ValueError):
            c = ()
        if len(c) != self.dim or not np.isfinite(c).all():
            raise ShapeError(
                f"an element of {self.name} is {self.dim} coefficients, finite numbers; got {str(element)[:60]}"
            )
        return c

    def word(self, element: Element) -> tuple[Letter, ...]:
        """The word of an element: one letter ``("exp", coefficients)``, for the identity too."""
        return (("exp", tuple(element)),)

    @property
    def generators(self) -> tuple[tuple[float, ...], ...]:
        """Each generator as an element scaled to size one: coefficients ``1 / ‖X_i‖`` at place ``i``, in the spectral
        norm.

        ``exp(X_i / ‖X_i‖)`` turns by one radian at most: in whatever units the generators are given, none of these
        elements is a whole turn, which would move nothing.
        """
        # The spectral norm bounds the angle of a rotation, so exp(X / ‖X‖) turns by one radian at most.
        sizes = np.linalg.norm(self.matrices, ord=2, axis=(1, 2))
        return tuple(tuple(map(float, row)) for row in np.diag(1 / sizes))

    def label(self, element: Sequence[float]) -> str:
        """The name of an element, such as ``exp(0.5 J01 + -1 J12)``, three digits of each coefficient; ``e`` for the
        identity.
        """
        terms = [f"{c:.3g} {x}" for c, x in zip(element, self.labels, strict=True) if c]
        return f"exp({' + '.join(terms)})" if terms else "e"

    def sample(self, n: int, generator: torch.Generator) -> list[tuple[float, ...]]:
        """``n`` elements with independent standard normal coefficients.

        For a compact group this is not the Haar measure; it reaches every element of a connected compact group.
        """
        return [tuple(row) for row in torch.randn(n, self.dim, generator=generator, dtype=torch.float64).tolist()]


def _rebuild(matrices: NDArray[np.float64], name: str, labels: tuple[str, ...]) -> LieAlgebra:
    """The algebra that :meth:`LieAlgebra.__reduce__` pickled."""
    return LieAlgebra(matrices, name, labels=labels)
