"""Groups of matrices with several components: rotations with mirrors, boosts with parity and time reversal."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from msr.errors import AxiomError, ConfigError, NonFiniteError, ShapeError
from msr.groups.algebras import lorentz, se2, se3, so
from msr.groups.group import Drawn, Element, Letter, TableFree, whole_number
from msr.groups.immutable import frozen
from msr.groups.lie import LieAlgebra, real_array
from msr.groups.tolerances import LAW
from msr.groups.words import joined

__all__ = ["MatrixGroup", "euclidean", "general_lorentz", "orthogonal"]


class MatrixGroup(TableFree):
    """The group that some matrices and the exponentials of a Lie algebra generate together.

    An element is a pair ``(letters, c)``: ``letters`` are numbers of discrete generators, repetitions allowed, and it
    stands for ``D_j D_k … exp(Σ c_i X_i)``. Exponentials can always be moved to the end, since ``D X D⁻¹`` stays in the
    algebra (checked). There is no letter for ``D⁻¹``; it has this form where some power of ``D`` is an exponential, as
    the square of a mirror is. Immutable, and a value: equal when the discrete matrices, their labels and the matrices
    of the algebra are.

    Args:
        discrete: ``{label: (n, n)}``, invertible; may be empty.
        algebra: its group is the component of the identity.
        name: for messages.

    Attributes:
        labels_discrete: the labels of the discrete generators, in the order given.
        discrete_matrices: ``(number of discrete generators, n, n)``.

    ``sample`` takes each discrete generator with probability 1/2, in their order, and normal coefficients: for
    generators of order two that commute up to the identity's component (``O(n)``, ``O(1,3)``, ``E(n)``) every component
    is as likely. It is not Haar measure.
    Raises: ShapeError, NonFiniteError; AxiomError for a matrix that is singular or does not normalise the algebra;
    ConfigError for a label that names a generator of the algebra, too.
    """

    algebra: LieAlgebra
    labels_discrete: tuple[str, ...]
    discrete_matrices: NDArray[np.float64]

    def __init__(self, discrete: Mapping[str, ArrayLike], algebra: LieAlgebra, name: str = "G"):
        n = algebra.matrices.shape[1]
        matrices = [real_array(m, name) for m in discrete.values()]
        for label, m in zip(discrete, matrices, strict=True):
            if m.shape != (n, n):
                raise ShapeError(f"{name}: {label} must be ({n}, {n}), as the algebra's matrices; got {m.shape}")
            if not np.isfinite(m).all():
                raise NonFiniteError(f"{name}: {label} holds nan or infinity")
            if np.linalg.matrix_rank(m) < n:
                raise AxiomError(f"{name}: {label} is singular, so it generates no group")
        overlap = sorted(set(discrete) & set(algebra.labels))
        if overlap:
            raise ConfigError(f"{name}: {overlap[0]} names a discrete generator and one of the algebra")
        D = np.stack(matrices) if matrices else np.zeros((0, n, n))
        self.__dict__.update(name=name, algebra=algebra, labels_discrete=tuple(discrete), discrete_matrices=frozen(D))
        # Asked for once here, so that matrices that do not normalise the algebra are refused at once.
        _ = self.conjugation

    @cached_property
    def conjugation(self) -> NDArray[np.float64]:
        """``(number of discrete generators, d, d)``: the ``a[k, i, j]`` with ``D_k X_i D_k⁻¹ = Σ_j a_kij X_j``.

        Raises: AxiomError where a conjugated generator of the algebra leaves its span.
        """
        X = self.algebra.matrices
        D = self.discrete_matrices
        flat = X.reshape(len(X), -1).T
        result = np.zeros((len(D), len(X), len(X)))
        for k, m in enumerate(D):
            # The coefficients of D X D⁻¹ in the generators, by least squares, as for structure constants.
            conjugated = (m @ X @ np.linalg.inv(m)).reshape(len(X), -1).T
            result[k] = np.linalg.lstsq(flat, conjugated, rcond=None)[0].T
            if np.abs(flat @ result[k].T - conjugated).max() > LAW * max(1.0, float(np.abs(conjugated).max())):
                raise AxiomError(
                    f"{self.name}: {self.labels_discrete[k]} takes the algebra {self.algebra.name} out of itself by "
                    "conjugation; add the generators that it leads to"
                )
        return frozen(result)

    @property
    def order(self) -> None:
        """None: there are infinitely many elements."""
        return None

    @property
    def algebra_dim(self) -> int:
        """Number of infinitesimal generators."""
        return self.algebra.dim

    @property
    def identity(self) -> Element:
        """The identity: no letter, and coefficients that are all zero."""
        return ((), self.algebra.identity)

    @property
    def discrete(self) -> tuple[Element, ...]:
        """The discrete generators as elements: ``((k,), zeros)`` for each ``k``."""
        return tuple(((k,), self.algebra.identity) for k in range(len(self.discrete_matrices)))

    @property
    def generators(self) -> tuple[Element, ...]:
        """The generators as elements: the discrete ones, then ``exp(X_i / ‖X_i‖)`` of each generator of the algebra."""
        return (*self.discrete, *(((), c) for c in self.algebra.generators))

    @property
    def drawn(self) -> Drawn:
        """``"words and normal coefficients"``: how :meth:`sample` draws."""
        return "words and normal coefficients"

    def check(self, element: Element) -> Element:
        """The element as a pair of tuples, ``(letters, coefficients)``.

        Raises: ConfigError for what is no pair, or names a letter that the group does not have; ShapeError for
        coefficients that are not finite, or not as many as the dimension of the algebra.
        """
        count = len(self.discrete_matrices)
        if isinstance(element, (tuple, list)) and len(element) == 2 and isinstance(element[0], (tuple, list)):
            letters = tuple(k for k in map(whole_number, element[0]) if k is not None and 0 <= k < count)
            if len(letters) == len(element[0]):
                return (letters, self.algebra.check(element[1]))
        raise ConfigError(
            f"an element of {self.name} is a pair: numbers from 0 to {count - 1} for "
            f"{', '.join(self.labels_discrete)}, and {self.algebra.dim} coefficients; got {str(element)[:60]}"
        )

    def label(self, element: Element) -> str:
        """The name of an element, its letters and its exponential: ``P exp(0.5 J01)``; ``e`` for the identity."""
        letters, c = element
        parts = [self.labels_discrete[k] for k in letters] + ([self.algebra.label(c)] if any(c) else [])
        return " ".join(parts) or "e"

    def word(self, element: Element) -> tuple[Letter, ...]:
        """The word of an element: its letters, neighbours merged, then one exponential unless all coefficients are
        zero.
        """
        letters, c = element
        turns: tuple[Letter, ...] = (("exp", tuple(c)),) if any(c) else ()
        return (*joined([(k, 1) for k in letters]), *turns)

    def sample(self, n: int, generator: torch.Generator) -> list[Element]:
        """``n`` random elements: each discrete generator is taken with probability 1/2, and coefficients are
        standard normal.
        """
        taken = torch.rand(n, len(self.discrete_matrices), generator=generator) < 0.5
        c = self.algebra.sample(n, generator)
        return [(tuple(torch.nonzero(row).flatten().tolist()), part) for row, part in zip(taken, c, strict=True)]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MatrixGroup):
            return NotImplemented
        return (
            np.array_equal(self.discrete_matrices, other.discrete_matrices)
            and self.labels_discrete == other.labels_discrete
            and np.array_equal(self.algebra.matrices, other.algebra.matrices)
        )

    def __hash__(self) -> int:
        return hash((MatrixGroup, self.algebra, self.labels_discrete))

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (self.labels_discrete, self.discrete_matrices, self.algebra, self.name))

    def __repr__(self) -> str:
        extra = f" with {', '.join(self.labels_discrete)}" if self.labels_discrete else ""
        return f"<{self.name}, dimension {self.algebra_dim}{extra}>"


def _rebuild(labels: Sequence[str], matrices: NDArray[np.float64], algebra: LieAlgebra, name: str) -> MatrixGroup:
    """The group that :meth:`MatrixGroup.__reduce__` pickled; one label for each of the discrete ``matrices``."""
    return MatrixGroup(dict(zip(labels, matrices, strict=True)), algebra, name)


def orthogonal(n: int) -> MatrixGroup:
    """``O(n)``, ``n`` from 2 on: rotations and mirrors of ``R^n``.

    The discrete generator is the inversion ``P = −I`` for odd ``n``, and for even ``n``, where that is a rotation,
    ``M``, which mirrors the first axis.
    """
    if n < 2:
        raise ConfigError(f"orthogonal: rotations need at least 2 dimensions; got {n}")
    if n % 2:
        return MatrixGroup({"P": -np.eye(n)}, so(n), f"O({n})")
    return MatrixGroup({"M": np.diag([-1.0, *[1.0] * (n - 1)])}, so(n), f"O({n})")


def euclidean(n: int) -> MatrixGroup:
    """``E(n)``, ``n`` of 2 or 3: rotations, mirrors and translations, on homogeneous coordinates ``(x, …, 1)``.

    The discrete generator is ``P``, the inversion of space, for ``n = 3``, and ``M``, which mirrors the first axis, for
    ``n = 2``.
    """
    if n not in (2, 3):
        raise ConfigError(f"euclidean: 2 or 3 dimensions; got {n}")
    if n == 3:
        return MatrixGroup({"P": np.diag([-1.0, -1.0, -1.0, 1.0])}, se3(), "E(3)")
    return MatrixGroup({"M": np.diag([-1.0, 1.0, 1.0])}, se2(), "E(2)")


def general_lorentz(space: int = 3, *, special: bool = False) -> MatrixGroup:
    """``O(1, space)``: rotations and boosts of ``(t, x_1, …)`` with parity ``P`` and time reversal ``T``.

    ``space`` is the number of axes of space. ``P`` mirrors all of them where their number is odd, and the first one
    where it is even, since the mirror of all would be a rotation. With ``special`` the group is ``SO(1, space)``, of
    determinant 1, whose one discrete generator is the product ``PT``.
    Raises: ConfigError for no axis of space.
    """
    if space < 1:
        raise ConfigError(f"general_lorentz: at least one axis of space; got {space}")
    mirrored = [-1.0] * space if space % 2 else [-1.0, *[1.0] * (space - 1)]
    P = np.diag([1.0, *mirrored])
    T = np.diag([-1.0, *[1.0] * space])
    if special:
        return MatrixGroup({"PT": P @ T}, lorentz(space), f"SO(1,{space})")
    return MatrixGroup({"P": P, "T": T}, lorentz(space), f"O(1,{space})")
