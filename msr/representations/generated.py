"""Representations of groups without a table: by the images of generators, discrete and infinitesimal ones together."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from msr.errors import ConfigError, ShapeError
from msr.groups import Group, PermutationGroup, ProductGroup
from msr.groups.group import Element, Letter
from msr.groups.immutable import frozen
from msr.groups.tolerances import LAW
from msr.permutations import Indices, parity_of, power_of
from msr.representations.base import Representation
from msr.representations.elementary import matrix_of, move
from msr.representations.lie import LieRepresentation, needs_floats
from msr.representations.relations import check_relations

__all__ = [
    "GeneratedRepresentation", "LiftedRepresentation", "NaturalRepresentation", "RebasedRepresentation",
    "SignRepresentation", "StillRepresentation", "lift",
]  # fmt: skip


class GeneratedRepresentation(Representation):
    """A representation by the images of a group's generators; an element acts letter by letter, as its word says.

    Args:
        group: any but a Lie algebra alone, for which there is :class:`LieRepresentation`.
        discrete: images of ``group.discrete``, in that order: permutations ``(r, n)`` or matrices ``(r, n, n)``.
        infinitesimal: ``dρ(X_i)``, ``(d, n, n)``; may be left out where the group has none, or they act trivially.
        shape: that of one point, by default ``(n,)``.
        known: nothing is checked but shapes.

    Checked as far as generators can be: images of different factors commute, algebras keep their brackets, discrete
    generators move them as in the group, and relations between discrete generators hold on random words (for finite
    parts). What is not a homomorphism can escape only where none of those words shows it.
    Raises: ShapeError, NonFiniteError, AxiomError.
    """

    _permutations: Any  # of the discrete generators, (r, n); None where they are given by matrices
    _matrices: Any  # of the discrete generators, (r, n, n); None where they are given by permutations
    _X: NDArray[np.float64]  # of the infinitesimal generators, (d, n, n)

    def __init__(
        self,
        group: Group,
        discrete: ArrayLike,
        infinitesimal: ArrayLike | Tensor | None = None,
        name: str = "generated",
        *,
        shape: Sequence[int] | None = None,
        known: bool = False,
    ):
        images = np.asarray(discrete)
        X = None if infinitesimal is None else np.asarray(infinitesimal, dtype=float)
        # A group without discrete generators says how many numbers there are by the others.
        n = images.shape[-1] if images.size else 0 if X is None else X.shape[-1]
        moves = images if images.ndim == 2 and images.dtype.kind in "iu" and images.size else None
        r = len(group.discrete)
        if n == 0 or len(images) != r or (moves is None and images.size and images.shape[1:] != (n, n)):
            raise ShapeError(
                f"{name}: {group.name} has {r} discrete generators, which need permutations ({r}, n) or square "
                f"matrices ({r}, n, n); got {images.shape} {images.dtype}"
            )
        X = np.zeros((group.algebra_dim, n, n)) if X is None else X
        if X.shape != (group.algebra_dim, n, n):
            raise ShapeError(
                f"{name}: {group.name} has {group.algebra_dim} infinitesimal generators, which need matrices of {n} "
                f"numbers; got {X.shape}"
            )
        super().__init__(group, (n,) if shape is None else shape, name)
        if self.dim != n:
            raise ShapeError(f"{name}: images of {n} numbers do not fit points of shape {self.shape}")
        # Exponentials mix numbers, so the permutations become matrices like them.
        if X.any() and moves is not None:
            images = np.stack([matrix_of(p).numpy() for p in moves])
            moves = None
        if not known:
            check_relations(group, images, X, name)
        D = np.zeros((0, n, n)) if moves is None and not images.size else images
        self.__dict__.update(
            _permutations=None if moves is None else frozen(moves.astype(np.int32)),
            _matrices=None if moves is not None else frozen(D.astype(np.float64)),
            _X=frozen(X),
        )  # fmt: skip

    @property
    def is_permutation(self) -> bool:
        """Whether the discrete generators were given by permutations, and the infinitesimal ones act as zero."""
        return self._permutations is not None

    @cached_property
    def is_orthogonal(self) -> bool:
        """Whether the discrete images are orthogonal and the infinitesimal ones antisymmetric."""
        if self.is_permutation:
            return True
        M = self._matrices
        X = self._X
        discrete_error = np.abs(M.swapaxes(1, 2) @ M - np.eye(self.dim)).max(initial=0)
        return bool(max(discrete_error, np.abs(X + X.swapaxes(1, 2)).max(initial=0)) < LAW)

    @cached_property
    def is_trivial(self) -> bool:
        """Whether every generator acts trivially."""
        return not self._X.any() and super().is_trivial

    def generator_moves(self) -> Indices:
        """The permutations ``(r, dim)`` that were given for the discrete generators.

        Raises: ConfigError where they are matrices.
        """
        if not self.is_permutation:
            return super().generator_moves()
        return self._permutations

    def infinitesimal(self) -> Tensor:
        """The matrices ``(d, dim, dim)`` that were given for the infinitesimal generators, float64."""
        return torch.tensor(self._X)

    def moves(self, element: Element) -> Indices:
        """Where an element sends each coordinate, ``(dim,)``: the product of the permutations of its word's letters.

        Raises: ConfigError where the representation is by matrices.
        """
        if not self.is_permutation:
            return super().moves(element)
        image = np.arange(self.dim, dtype=np.int32)
        for letter in self.group.word(element):
            # Where all elements permute, the infinitesimal generators act as zero.
            if letter[0] != "exp":
                image = image[power_of(self._permutations[letter[0]], int(letter[1]))]
        return image

    def act_flat(self, element: Element, x: Tensor) -> Tensor:
        """``ρ(g) x``, by moving coordinates or by the matrix of the element; ShapeError for integers by a matrix."""
        if self.is_permutation:
            return move(self.moves(element), x)
        needs_floats(x, self)
        return x @ self.matrix(element).to(dtype=x.dtype, device=x.device).mT

    def matrix(self, element: Element) -> Tensor:
        """The matrix ``ρ(g)``, ``(dim, dim)`` float64: the product of the matrices of the letters of its word."""
        if self.is_permutation:
            return matrix_of(self.moves(element))
        product = torch.eye(self.dim, dtype=torch.float64)
        for letter in self.group.word(element):
            product = product @ self._of_letter(letter)
        return product

    def _of_letter(self, letter: Letter) -> Tensor:
        """The matrix ``(dim, dim)`` of one letter of a word: ``("exp", c)`` stands for ``exp(Σ c_i dρ(X_i))``, and
        ``(k, power)`` for a power of the matrix of the discrete generator ``k``.
        """
        if letter[0] == "exp":
            # One exponential of the sum, since exp(X + Y) is not exp(X) exp(Y) where X and Y do not commute.
            c = torch.tensor(letter[1], dtype=torch.float64)
            return torch.linalg.matrix_exp(torch.einsum("i,iab->ab", c, self.infinitesimal()))
        return torch.linalg.matrix_power(torch.tensor(self._matrices[letter[0]]), int(letter[1]))

    def dual(self) -> Representation:
        """The dual representation, by inverse transposes and ``−dρ(X)ᵀ``; itself where this one is orthogonal."""
        if self.is_orthogonal:
            return self
        M = self._matrices
        X = self._X
        # (ρ(g)⁻¹)ᵀ has the derivative −dρ(X)ᵀ.
        back = np.linalg.inv(M).swapaxes(1, 2) if len(M) else M
        return GeneratedRepresentation(
            self.group, back, -X.swapaxes(1, 2), f"{self.name}*", shape=self.shape, known=True
        )


class _Direct(Representation):
    """A permutation representation in which the image of an element is known without its word, by :meth:`moves`."""

    is_orthogonal = True

    @property
    def is_permutation(self) -> bool:
        """True: elements only move coordinates around."""
        return True

    def act_flat(self, element: Element, x: Tensor) -> Tensor:
        """``ρ(g) x`` by moving coordinates: ``out[g·i] = x[i]``."""
        return move(self.moves(element), x)

    def matrix(self, element: Element) -> Tensor:
        """The permutation matrix ``ρ(g)``, ``(dim, dim)`` float64: ``ρ(g)[g·i, i] = 1``."""
        return matrix_of(self.moves(element))


class NaturalRepresentation(_Direct):
    """The representation of a permutation group on its own points."""

    def __init__(self, group: PermutationGroup):
        super().__init__(group, (group.degree,), "natural")

    def moves(self, element: Element) -> Indices:
        """The element as a permutation of the points, ``(dim,)``: where it sends each."""
        return self.group.moves(element)

    def generator_moves(self) -> Indices:
        """The generators as permutations of the points, ``(r, dim)``."""
        return self.group.generator_points


class StillRepresentation(_Direct):
    """The trivial representation on ``n`` numbers: every element acts as the identity."""

    is_trivial = True

    def __init__(self, group: Group, n: int):
        super().__init__(group, (n,), "trivial" if n == 1 else f"trivial({n})")

    def moves(self, element: Element) -> Indices:
        """The identity permutation, ``(dim,)``."""
        return np.arange(self.dim, dtype=np.int32)

    def act_flat(self, element: Element, x: Tensor) -> Tensor:
        """A copy of ``x``."""
        return x.clone()


class SignRepresentation(Representation):
    """The representation of a permutation group by ``±1``: the parity of the permutation that an element is."""

    is_orthogonal = True

    def __init__(self, group: PermutationGroup):
        super().__init__(group, (1,), "sign")

    def act_flat(self, element: Element, x: Tensor) -> Tensor:
        """``x`` times the parity of the element."""
        return x * parity_of(self.group.moves(element))

    def matrix(self, element: Element) -> Tensor:
        """The parity of the element, ``(1, 1)``."""
        return torch.tensor([[parity_of(self.group.moves(element))]], dtype=torch.float64)


class LiftedRepresentation(Representation):
    """A representation of one factor of a product as one of the product: all further factors act trivially.

    Attributes:
        inner: the representation of the factor.
        which: the number of the factor, from 0.
    """

    def __init__(self, inner: Representation | LieRepresentation, group: ProductGroup, which: int):
        super().__init__(group, inner.shape, inner.name)
        self.__dict__.update(inner=inner, which=which)

    inner: Any
    which: int

    @property
    def is_permutation(self) -> bool:
        """Whether the representation of the factor only moves coordinates around."""
        return self.inner.is_permutation

    @property
    def is_orthogonal(self) -> bool:
        """Whether the representation of the factor acts by orthogonal matrices."""
        return self.inner.is_orthogonal

    @cached_property
    def is_trivial(self) -> bool:
        """Whether the representation of the factor is trivial."""
        return self.inner.is_trivial

    def _in_factor(self, element: Element) -> Element:
        """The part of an element that acts: its component in the factor."""
        return element[self.which]

    def moves(self, element: Element) -> Indices:
        """Where the element sends each coordinate: where its component in the factor does."""
        return self.inner.moves(self._in_factor(element))

    def act_flat(self, element: Element, x: Tensor) -> Tensor:
        """``ρ(g) x``, by the component of ``g`` in the factor."""
        return self.inner.act_flat(self._in_factor(element), x)

    def matrix(self, element: Element) -> Tensor:
        """The matrix ``ρ(g)``, that of the component of ``g`` in the factor."""
        return self.inner.matrix(self._in_factor(element))

    def infinitesimal(self) -> Tensor:
        """``dρ(X)`` for the infinitesimal generators of the factor, and zero for those of other factors:
        ``(d, dim, dim)``.
        """
        X = super().infinitesimal()
        # The infinitesimal generators of a product are those of its factors in turn.
        first = sum(factor.algebra_dim for factor in self.group.factors[: self.which])
        count = self.inner.group.algebra_dim
        X[first : first + count] = self.inner.infinitesimal()
        return X

    def blocks(self) -> tuple[Representation, ...]:
        """The blocks of the representation of the factor, each lifted; itself where there is one."""
        # Blocks are lifted one by one, so that equal ones are still found equal.
        parts = self.inner.blocks()
        if len(parts) == 1:
            return (self,)
        return tuple(type(self)(part, self.group, self.which) for part in parts)

    def dual(self) -> Representation:
        """The dual of the representation of the factor, lifted."""
        return self if self.is_orthogonal else type(self)(self.inner.dual(), self.group, self.which)


class RebasedRepresentation(LiftedRepresentation):
    """A representation of a product as one of a larger product, in which the factors of the smaller stand one after
    another; all further factors act trivially.

    ``inner`` is the representation of the smaller product, and ``which`` the number of its first factor in the larger
    one.
    """

    def _in_factor(self, element: Element) -> Element:
        """The part of an element that acts: its components in the factors of the smaller product, a tuple."""
        return element[self.which : self.which + len(self.inner.group.factors)]


def lift(
    representation: Representation | LieRepresentation, group: ProductGroup, which: int | None = None
) -> Representation:
    """A representation of one factor as one of the product ``G₁ × G₂ × …``: all further factors act trivially.

    ``which`` is the number of the factor, from 0; it is needed only where the product holds the same group several
    times.
    Raises: ConfigError when ``group`` is no :class:`ProductGroup`, or the representation's group is not that factor.
    """
    if not isinstance(group, ProductGroup):
        raise ConfigError(
            f"lift takes a product made by direct_product of groups not all of which are small and finite; got "
            f"{group!r}. Between groups with tables use pullback"
        )
    place = group.find_factor(representation.group) if which is None else which
    if place is None or not 0 <= place < len(group.factors) or group.factors[place] != representation.group:
        raise ConfigError(
            f"lift: {representation} is of no such factor of {group.name}, whose factors are "
            f"{', '.join(factor.name for factor in group.factors)}"
        )
    return LiftedRepresentation(representation, group, place)
