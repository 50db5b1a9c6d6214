"""The abstract class of representations, of groups of any kind but a Lie algebra alone (see ``lie.py``)."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msr.arrays import takes_arrays
from msr.errors import ConfigError, ShapeError
from msr.groups import Group, Subgroup
from msr.groups.group import Element, without_table
from msr.groups.immutable import Immutable, frozen
from msr.groups.tolerances import LAW, WHOLE
from msr.permutations import Indices, orbit_labels
from msr.representations.lie import LieRepresentation

__all__ = ["Operations", "Representation", "exponents", "same_group"]


class Operations(ABC):
    """How new representations are made from one: what ``a + b``, ``a * b`` and some methods of a representation call.

    The results are of kinds that are defined above this file, so that it cannot name them;
    :mod:`msr.representations.operations` provides the one instance.
    """

    @abstractmethod
    def direct_sum(self, *representations: "Representation") -> "Representation":
        """The direct sum ``ρ₁ ⊕ ρ₂ ⊕ …``."""

    @abstractmethod
    def tensor_product(self, *representations: "Representation") -> "Representation":
        """The tensor product ``ρ₁ ⊗ ρ₂ ⊗ …``."""

    @abstractmethod
    def reshape(self, representation: "Representation", shape: Sequence[int]) -> "Representation":
        """The same action on points of another shape with as many numbers."""

    @abstractmethod
    def dual(self, representation: "Representation") -> "Representation":
        """The dual ``ρ*(g) = ρ(g⁻¹)ᵀ`` of a representation of a group with a table."""

    @abstractmethod
    def pullback(
        self, representation: "Representation", group: Group, images: Sequence[Element] | Indices, name: str
    ) -> "Representation":
        """The pullback ``g ↦ ρ(φ(g))``; see :meth:`Representation.pullback`."""


class Representation(Immutable, ABC):
    """A group acting linearly on tensors of a given shape: ``ρ(g) ρ(h) = ρ(g·h)``, a left action.

    Immutable. ``shape`` is the shape of *one* point, such as ``(n,)`` for vectors or ``(channels, height, width)``;
    :meth:`act` takes any number of leading batch axes. Matrices act on the flattened point, row-major, in float64.

    Attributes: ``group``, ``shape``, ``name``.  Two representations are equal when their groups and shapes are, and the
    generators act by the same permutations or, to the last bit, the same matrices; names and classes do not count. One
    by permutations is never equal to one by matrices.
    """

    group: Any  # a Group; which kind decides what an element is, and what the group can be asked
    shape: tuple[int, ...]
    name: str
    plural = "representations"

    operations: ClassVar[Operations]

    def __init_subclass__(cls) -> None:
        """Let ``act_flat`` of every subclass that defines it take arrays as well as tensors."""
        if "act_flat" in vars(cls):  # each kind has its own, and all take arrays
            cls.act_flat = takes_arrays("x")(cls.act_flat)  # type: ignore[method-assign]

    def __init__(self, group: Group, shape: Sequence[int], name: str):
        self.__dict__.update(group=group, shape=tuple(int(n) for n in shape), name=name)

    @abstractmethod
    def act_flat(self, element: Element, x: Tensor) -> Tensor:
        """``ρ(g) x`` on flattened points ``(..., dim)``, in the precision of ``x``; the element is not checked."""

    @abstractmethod
    def matrix(self, element: Element) -> Tensor:
        """``ρ(g)``, ``(dim, dim)``, float64."""

    def character(self) -> NDArray[np.float64]:
        """``χ(g) = tr ρ(g)`` for each element of a group with a table, ``(order,)``; ConfigError for a group without
        one.
        """
        raise without_table(self.group, "characters as a list")

    @property
    def permutations(self) -> Indices | None:
        """``(order, dim)``, ``[g, i]`` being where ``g`` sends coordinate ``i``; None where elements mix coordinates.

        Raises: ConfigError for permutations of a group without a table; :meth:`moves` gives those of one element of any
        group.
        """
        if self.is_permutation:
            raise without_table(self.group, "list of permutations (rep.moves(g) gives those of an element)")
        return None

    @property
    def is_permutation(self) -> bool:
        """Whether the representation was built by permutations of coordinates.

        False for one by matrices, even where all of them are permutation matrices.
        """
        return False

    def moves(self, element: Element) -> Indices:
        """``(dim,)``: where the element sends each coordinate; ConfigError for a representation that mixes
        coordinates.
        """
        raise ConfigError(f"{self.name} is no permutation representation: it mixes coordinates")

    def generator_moves(self) -> Indices:
        """``(r, dim)``: where each discrete generator of the group sends each coordinate.

        It is ``(0, dim)`` for every representation of a group without discrete generators; of other groups a
        representation that mixes coordinates raises ConfigError.
        """
        # A connected group permutes nothing: a continuous path of permutations stands still.
        rows = [self.moves(g) for g in self.group.discrete]
        return np.stack(rows) if rows else np.zeros((0, self.dim), dtype=np.int32)

    def infinitesimal(self) -> Tensor:
        """``dρ(X_i)`` for each infinitesimal generator of the group, ``(d, dim, dim)``, float64; ``d`` is 0 for a
        finite group.
        """
        return torch.zeros(self.group.algebra_dim, self.dim, self.dim, dtype=torch.float64)

    @property
    @abstractmethod
    def is_orthogonal(self) -> bool:
        """Whether every ``ρ(g)`` is an orthogonal matrix."""

    def blocks(self) -> tuple["Representation", ...]:
        """The representations whose direct sum this was built as, in order; itself alone where it was not."""
        return (self,)

    @property
    def dim(self) -> int:
        """How many numbers a point has: the product of ``shape``."""
        return math.prod(self.shape)

    @cached_property
    def is_signed_permutation(self) -> bool:
        """Whether every element permutes coordinates and flips the signs of some or none.

        It is told by the matrices of ``group.generators``, to 1e-8; the infinitesimal ones have to act as zero.
        """
        if self.is_permutation:
            return True
        # A continuous path of signed permutations stands still. The exponential at its end does not show it: where it
        # has come full circle, it is the identity.
        if bool((exponents(self).abs() >= LAW).any()):
            return False
        # Products of signed permutation matrices are such matrices, so the generators are enough.
        sizes = [self.matrix(g).abs() for g in self.group.generators]
        return all(bool((((a - 1).abs() < LAW) | (a < LAW)).all() and ((a > 0.5).sum(0) == 1).all()) for a in sizes)

    @cached_property
    def is_trivial(self) -> bool:
        """Whether every element acts as the identity.

        It is told by ``group.generators``, whose matrices may be off by 1e-8.
        """
        if self.is_permutation:
            return bool((self.generator_moves() == np.arange(self.dim)).all())
        # Something that turns, and comes full circle at the exponential of a generator, is not trivial.
        if bool((exponents(self).abs() >= LAW).any()):
            return False
        # Where the generators act as the identity all their products do.
        eye = torch.eye(self.dim, dtype=torch.float64)
        return all(torch.allclose(self.matrix(g), eye, rtol=0, atol=LAW) for g in self.group.generators)

    @takes_arrays("x")
    def act(self, element: Element, x: Tensor) -> Tensor:
        """``ρ(g) x`` for ``x (..., *shape)``, on the device and in the precision of ``x``.

        Raises: ShapeError when ``x`` does not end in ``shape``, or holds integers that matrices would mix; ConfigError
        for an element that the group does not have.
        """
        lead = self.check_shape(x)
        return self.act_flat(self.group.check(element), x.reshape(*lead, self.dim)).reshape(x.shape)

    @takes_arrays("x")
    def check_shape(self, x: Tensor) -> tuple[int, ...]:
        """The sizes of the leading (batch) axes of ``x (..., *shape)``, after a check that ``x`` ends in ``shape``.

        Raises: ShapeError that says what shape this representation acts on.
        """
        at = x.ndim - len(self.shape)
        if at < 0 or tuple(x.shape[at:]) != self.shape:
            raise ShapeError(
                f"{self.name} acts on points of shape {self.shape}, so a tensor must end in it; got {tuple(x.shape)}"
            )
        return tuple(x.shape[:at])

    def matrices(self) -> Tensor:
        """All ``ρ(g)``, ``(order, dim, dim)``, float64: dense, so for small cases; ConfigError for a group without a
        table.
        """
        return torch.stack([self.matrix(g) for g in self.group.elements])

    def reshape(self, *shape: int) -> "Representation":
        """The same action on points of another shape with as many numbers; ShapeError for another number of them."""
        if math.prod(shape) != self.dim or min(shape, default=1) < 1:
            raise ShapeError(f"{self.name} acts on {self.dim} numbers, which do not fit the shape {shape}")
        return self.operations.reshape(self, shape)

    def __add__(self, other: "Representation") -> "Representation":
        return self.operations.direct_sum(self, other)

    def __mul__(self, other: "Representation") -> "Representation":
        return self.operations.tensor_product(self, other)

    def dual(self) -> "Representation":
        """``ρ*(g) = ρ(g⁻¹)ᵀ``; an orthogonal representation is returned as it is."""
        return self if self.is_orthogonal else self.operations.dual(self)

    def pullback(
        self, group: Group, homomorphism: Sequence[Element] | Indices, name: str | None = None
    ) -> "Representation":
        """``g ↦ ρ(φ(g))`` for a homomorphism ``φ`` from another group, as a representation of that ``group``.

        Between groups with tables ``φ`` is given as the image of each element; where one of them has none, as the
        image of each discrete generator, in the order of ``group.discrete``. ``name`` is that of the result.
        Raises: AxiomError when ``φ`` is no homomorphism; ShapeError for another number of images; ConfigError for a
        group with infinitesimal generators.
        """
        return self.operations.pullback(self, group, homomorphism, name or f"{self.name} of {group.name}")

    def restrict(self, subgroup: Subgroup) -> "Representation":
        """The restriction to a subgroup of the group: the same action, as a representation of ``subgroup.group``.

        Raises: ConfigError for a representation of a group without a table, or a subgroup with elements that this group
        does not have.
        """
        if not self.group.is_listed:
            raise without_table(self.group, "subgroups to restrict to (rep.pullback takes a group of its own)")
        if np.max(subgroup.elements, initial=0) >= self.group.order:
            raise ConfigError(f"{subgroup.group.name} is no subgroup of {self.group.name}: its elements lie outside")
        return self.pullback(subgroup.group, subgroup.elements, f"{self.name} of {subgroup.group.name}")

    def orbits(self) -> tuple[Indices, ...]:
        """The orbits of the group on coordinates, each sorted, in the order of their first coordinates.

        Raises: ConfigError for a representation that mixes coordinates.
        """
        labels = orbit_labels(self._identity_and_generators())
        return tuple(frozen(np.flatnonzero(labels == o)) for o in range(int(labels.max()) + 1))

    def stabiliser(self, coordinate: int) -> Subgroup:
        """The subgroup that leaves a coordinate where it is.

        Raises: ConfigError for a representation that mixes coordinates, a coordinate outside of 0 to ``dim − 1``, or a
        group without a table.
        """
        self._identity_and_generators()
        if not 0 <= coordinate < self.dim:
            raise ConfigError(f"{self.name} has the coordinates 0 to {self.dim - 1}; got {coordinate}")
        if not self.group.is_listed or self.permutations is None:
            raise without_table(self.group, "stabilisers as a list")
        fixing = np.flatnonzero(self.permutations[:, coordinate] == coordinate)
        return self.group.subgroup(fixing.tolist(), f"{self.group.name} fixing {coordinate}")

    def kernel(self) -> Subgroup:
        """The subgroup of the elements that act as the identity; where that is the identity alone, ``ρ`` is faithful.

        Raises: ConfigError for a group without a table.
        """
        if not self.group.is_listed:
            raise without_table(self.group, "kernel as a list")
        if self.permutations is not None:
            members = np.flatnonzero((self.permutations == np.arange(self.dim)).all(axis=1))
        else:
            # Eigenvalues of ρ(g) lie on the unit circle, so the trace is the dimension for the identity matrix alone.
            members = np.flatnonzero(np.abs(self.character() - self.dim) < WHOLE)
        return self.group.subgroup(members.tolist(), f"kernel of {self.name}")

    def _identity_and_generators(self) -> Indices:
        """How the identity and the discrete generators permute coordinates, ``(1 + r, dim)``.

        Raises: ConfigError for a representation that mixes coordinates.
        """
        if not self.is_permutation:
            raise ConfigError(f"{self.name} is no permutation representation, so its coordinates have no orbits")
        # With the identity, so that a group without generators has orbits as well.
        return np.concatenate([np.arange(self.dim, dtype=np.int32)[None], self.generator_moves()])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Representation):
            return NotImplemented
        if self is other:
            return True
        if self.group != other.group or self.shape != other.shape or self.is_permutation != other.is_permutation:
            return False
        # Equal groups may have been given different generators, so both are asked for those of one of them.
        discrete = self.group.discrete
        if self.is_permutation:
            return all(np.array_equal(self.moves(g), other.moves(g)) for g in discrete)
        if not all(torch.equal(self.matrix(g), other.matrix(g)) for g in discrete):
            return False
        return self.group.algebra_dim == 0 or torch.equal(self.infinitesimal(), other.infinitesimal())

    def __hash__(self) -> int:
        # Without the matrices, so that no representation has to build them to stand in a dictionary.
        return hash((self.group, self.shape))

    def __repr__(self) -> str:
        kind = "permutations" if self.is_permutation else "matrices"
        return f"<{self.name}: {self.group.name} on {self.shape}, {kind}>"


def exponents(representation: Representation) -> Tensor:
    """The matrices whose exponentials the infinitesimal generators among ``group.generators`` act by,
    ``(d, dim, dim)``.

    They are ``dρ(X_i) / ‖X_i‖``, so that the units of the generators ``X_i`` do not matter; float64.
    """
    group = representation.group
    X = representation.infinitesimal()
    if not len(X):
        return X
    letters = [group.word(g)[0] for g in group.generators if g not in group.discrete]
    c = torch.tensor([coefficients for _, coefficients in letters], dtype=torch.float64)
    return torch.einsum("ki,iab->kab", c, X)


def same_group(representations: Iterable[Any], what: str) -> Any:
    """The group of the first representation, to which the groups of all others must be equal.

    ``what`` is the name of the calling function, for messages.

    Raises: ConfigError for none, for what is no representation, and for two groups, naming the first two that differ.
    """
    reps = list(representations)
    if not reps:
        raise ConfigError(f"{what}: give at least one representation")
    for rep in reps:
        if not isinstance(rep, (Representation, LieRepresentation)):
            raise ConfigError(
                f"{what}: {rep!r} is no representation; make one by regular(group), trivial(group, n), … "
                "(n copies side by side: copies(rep, n))"
            )
    for rep in reps[1:]:
        if rep.group != reps[0].group:
            raise ConfigError(
                f"{what}: representations of different groups, {reps[0]} and {rep}; for the product of the groups, "
                "each acting on axes of its own, outer_product(a, b); else bring them to one group, by lift to a "
                "product, restrict to a common subgroup or pullback along a homomorphism"
            )
    return reps[0].group
