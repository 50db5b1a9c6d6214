"""What a representation is, and its two elementary forms: permutations kept as permutations, and matrices."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from msr.errors import AxiomError, ConfigError, NonFiniteError, ShapeError
from msr.groups import FiniteGroup, Subgroup
from msr.groups.lie import real_array
from msr.groups.permutations import Indices, as_array, check_permutation_action, frozen, orbit_labels, refrozen
from msr.representations.lie import LieRepresentation, needs_floats

__all__ = ["MatrixRepresentation", "PermutationRepresentation", "Representation"]

_TOLERANCE = 1e-8  # of the homomorphism law and of orthogonality, relative


class Representation(ABC):
    """A finite group acting linearly on tensors of a given shape: ``ρ(g) ρ(h) = ρ(g·h)``, a left action.

    Immutable. ``shape`` is the shape of *one* point, such as ``(n,)`` for vectors or ``(channels, height, width)``;
    :meth:`act` takes any number of leading batch axes. Matrices act on the flattened point, row-major, in float64.

    Attributes: ``group``, ``shape``, ``name``.  Two representations are equal when they are of the same kind, with
    the same permutations or the same matrices, of the same group on the same shape.
    """

    group: FiniteGroup
    shape: tuple[int, ...]
    name: str

    def __init__(self, group: FiniteGroup, shape: Sequence[int], name: str):
        self.__dict__.update(group=group, shape=tuple(int(n) for n in shape), name=name)

    def __setattr__(self, key: str, value: object) -> None:
        raise AttributeError(f"{self.name}: representations are immutable; build another instead of setting {key!r}")

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(refrozen(state))

    @abstractmethod
    def act_flat(self, element: int, x: Tensor) -> Tensor:
        """``ρ(g) x`` on flattened points ``(..., dim)``, in the precision of ``x``."""

    @abstractmethod
    def matrix(self, element: int) -> Tensor:
        """``ρ(g)``, ``(dim, dim)``, float64."""

    @abstractmethod
    def character(self) -> NDArray[np.float64]:
        """``χ(g) = tr ρ(g)`` for each element, ``(order,)``."""

    @property
    @abstractmethod
    def permutations(self) -> Indices | None:
        """``(order, dim)``, ``[g, i]`` being where ``g`` sends coordinate ``i``; None where it is no permutation."""

    @property
    @abstractmethod
    def is_orthogonal(self) -> bool:
        """Whether every ``ρ(g)`` is an orthogonal matrix."""

    def blocks(self) -> tuple["Representation", ...]:
        """Representations whose direct sum this is, as far as it was built as one."""
        return (self,)

    @property
    def dim(self) -> int:
        """Numbers in a point."""
        return math.prod(self.shape)

    @property
    def is_permutation(self) -> bool:
        """Whether every element only moves coordinates around."""
        return self.permutations is not None

    @cached_property
    def is_signed_permutation(self) -> bool:
        """Whether every element moves coordinates around and may flip their signs."""
        if self.is_permutation:
            return True
        sizes = [self.matrix(g).abs() for g in self.group.generators]
        return all(
            bool((((a - 1).abs() < _TOLERANCE) | (a < _TOLERANCE)).all() and ((a > 0.5).sum(0) == 1).all())
            for a in sizes
        )

    @cached_property
    def is_trivial(self) -> bool:
        """Whether nothing moves."""
        if self.permutations is not None:
            return bool((self.permutations == np.arange(self.dim)).all())
        eye = torch.eye(self.dim, dtype=torch.float64)
        return all(torch.allclose(self.matrix(g), eye, atol=_TOLERANCE) for g in self.group.generators)

    def act(self, element: int, x: Tensor) -> Tensor:
        """``ρ(g) x`` for ``x (..., *shape)``, on the device and in the precision of ``x``.

        Raises: ShapeError when ``x`` does not end in ``shape``, or holds integers that matrices would mix; ConfigError
        for an element that the group does not have.
        """
        lead = self.check_shape(x)
        if not 0 <= int(element) < self.group.order:
            raise ConfigError(f"{self.group.name} has the elements 0 to {self.group.order - 1}; came {element}")
        return self.act_flat(int(element), x.reshape(*lead, self.dim)).reshape(x.shape)

    def check_shape(self, x: Tensor) -> tuple[int, ...]:
        """The leading axes of ``x``, or a ShapeError that says what shape this representation acts on."""
        at = x.ndim - len(self.shape)
        if at < 0 or tuple(x.shape[at:]) != self.shape:
            raise ShapeError(
                f"{self.name} acts on points of shape {self.shape}, so a tensor must end in it; came {tuple(x.shape)}"
            )
        return tuple(x.shape[:at])

    def matrices(self) -> Tensor:
        """All ``ρ(g)``, ``(order, dim, dim)``, float64: dense, so for small cases."""
        return torch.stack([self.matrix(g) for g in self.group.elements])

    def reshape(self, *shape: int) -> "Representation":
        """The same action on points of another shape with as many numbers."""
        if math.prod(shape) != self.dim or min(shape, default=1) < 1:
            raise ShapeError(f"{self.name} acts on {self.dim} numbers, which do not fit the shape {shape}")
        return Reshaped(self, shape)

    def __add__(self, other: "Representation") -> "Representation":
        from msr.representations.algebra import direct_sum

        return direct_sum(self, other)

    def __mul__(self, other: "Representation") -> "Representation":
        from msr.representations.algebra import tensor_product

        return tensor_product(self, other)

    def dual(self) -> "Representation":
        """``ρ*(g) = ρ(g⁻¹)ᵀ``; orthogonal representations are their own duals."""
        if self.is_orthogonal:
            return self
        inverted = [self.matrix(self.group.inverse(g)).mT.numpy() for g in self.group.elements]
        return MatrixRepresentation(self.group, np.stack(inverted), f"{self.name}*", shape=self.shape)

    def pullback(
        self, group: FiniteGroup, homomorphism: Sequence[int] | Indices, name: str | None = None
    ) -> "Representation":
        """``g ↦ ρ(φ(g))`` for a homomorphism ``φ`` from another group, given as the image of each of its elements."""
        phi = np.asarray(homomorphism)
        if phi.shape != (group.order,) or phi.dtype.kind not in "iu":
            raise ShapeError(
                f"a homomorphism from {group.name} lists {group.order} integers; came {phi.shape} {phi.dtype}"
            )
        if phi.min() < 0 or phi.max() >= self.group.order:
            raise AxiomError(f"{self.group.name} has the elements 0 to {self.group.order - 1}; an image lies outside")
        for g in (0, *group.generators):
            broken = np.flatnonzero(phi[group.table[g]] != self.group.table[phi[g], phi])
            if len(broken):
                h = int(broken[0])
                raise AxiomError(
                    f"the map from {group.name} to {self.group.name} is no homomorphism: the image of the product of "
                    f"{group.label(g)} and {group.label(h)} is not the product of their images"
                )
        name = name or f"{self.name} of {group.name}"
        if self.permutations is not None:
            return PermutationRepresentation(group, self.permutations[phi], name, shape=self.shape)
        matrices = np.stack([self.matrix(int(g)).numpy() for g in phi])
        return MatrixRepresentation(group, matrices, name, shape=self.shape)

    def restrict(self, subgroup: Subgroup) -> "Representation":
        """The same action, of a subgroup only."""
        if np.max(subgroup.elements, initial=0) >= self.group.order:
            raise ConfigError(f"{subgroup.group.name} is no subgroup of {self.group.name}: its elements lie outside")
        return self.pullback(subgroup.group, subgroup.elements, f"{self.name} of {subgroup.group.name}")

    def orbits(self) -> tuple[Indices, ...]:
        """Coordinates that the group moves into each other, each orbit sorted."""
        labels = orbit_labels(self._moves())
        return tuple(frozen(np.flatnonzero(labels == o)) for o in range(int(labels.max()) + 1))

    def stabiliser(self, coordinate: int) -> Subgroup:
        """The subgroup that leaves a coordinate where it is."""
        self._moves()
        assert self.permutations is not None
        if not 0 <= coordinate < self.dim:
            raise ConfigError(f"{self.name} has the coordinates 0 to {self.dim - 1}; came {coordinate}")
        fixing = np.flatnonzero(self.permutations[:, coordinate] == coordinate)
        return self.group.subgroup(fixing.tolist(), f"{self.group.name} fixing {coordinate}")

    def kernel(self) -> Subgroup:
        """The elements that act as the identity; the representation is faithful when that is the identity alone."""
        if self.permutations is not None:
            still = np.flatnonzero((self.permutations == np.arange(self.dim)).all(axis=1))
        else:
            # Among real representations of a finite group, only the identity matrix has the largest trace.
            still = np.flatnonzero(np.abs(self.character() - self.dim) < 1e-6)
        return self.group.subgroup(still.tolist(), f"kernel of {self.name}")

    def _moves(self) -> Indices:
        if self.permutations is None:
            raise ConfigError(f"{self.name} is no permutation representation, so its coordinates have no orbits")
        return self.permutations[[0, *self.group.generators]]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Representation):
            return NotImplemented
        if self is other:
            return True
        if self.group != other.group or self.shape != other.shape or self.is_permutation != other.is_permutation:
            return False
        if self.permutations is not None:
            return np.array_equal(self.permutations, other.permutations)  # type: ignore[arg-type]
        return all(torch.equal(self.matrix(g), other.matrix(g)) for g in self.group.generators)

    def __hash__(self) -> int:
        return hash((self.group, self.shape))

    def __repr__(self) -> str:
        kind = "permutations" if self.is_permutation else "matrices"
        return f"<{self.name}: {self.group.name} on {self.shape}, {kind}>"


class PermutationRepresentation(Representation):
    """``(ρ(g) x)[g·i] = x[i]``, from permutations ``(order, n)`` with ``[g, i] = g·i``; checked.

    Raises: ShapeError, AxiomError (the message names the first pair of elements that breaks the law).
    """

    def __init__(
        self,
        group: FiniteGroup,
        permutations: ArrayLike,
        name: str = "permutation",
        *,
        shape: Sequence[int] | None = None,
    ):
        values = as_array(permutations, name)
        if values.ndim != 2 or len(values) != group.order or values.dtype.kind not in "iu" or values.shape[1] == 0:
            raise ShapeError(
                f"{name}: {group.name} needs ({group.order}, n) integers, a permutation for each element; "
                f"came {values.shape} {values.dtype}"
            )
        super().__init__(group, (values.shape[1],) if shape is None else shape, name)
        if self.dim != values.shape[1]:
            raise ShapeError(
                f"{name}: permutations of {values.shape[1]} points do not fit points of shape {self.shape}"
            )
        check_permutation_action(values, group.table, group.generators, name, group.labels)
        self.__dict__["_permutations"] = frozen(values.astype(np.int32))

    @property
    def permutations(self) -> Indices:
        """``(order, dim)``."""
        return self.__dict__["_permutations"]

    @property
    def is_orthogonal(self) -> bool:
        """Always."""
        return True

    def act_flat(self, element: int, x: Tensor) -> Tensor:
        """``out[j] = x[g⁻¹·j]``."""
        source = torch.tensor(self.permutations[self.group.inverse(element)], dtype=torch.long, device=x.device)
        return x.index_select(-1, source)

    def matrix(self, element: int) -> Tensor:
        """``ρ(g)[g·i, i] = 1``."""
        matrix = torch.zeros(self.dim, self.dim, dtype=torch.float64)
        matrix[torch.tensor(self.permutations[element], dtype=torch.long), torch.arange(self.dim)] = 1
        return matrix

    def character(self) -> NDArray[np.float64]:
        """Number of fixed points."""
        return (self.permutations == np.arange(self.dim)).sum(axis=1).astype(float)


class MatrixRepresentation(Representation):
    """From a matrix for each element, ``(order, n, n)``; the homomorphism law is checked to 1e-8, relative.

    Raises: ShapeError, NonFiniteError, AxiomError (the message names the first pair of elements that breaks the law).
    """

    def __init__(
        self, group: FiniteGroup, matrices: ArrayLike, name: str = "matrices", *, shape: Sequence[int] | None = None
    ):
        values = real_array(matrices, name)
        if values.ndim != 3 or values.shape[1] != values.shape[2] or len(values) != group.order or values.shape[1] == 0:
            raise ShapeError(
                f"{name}: {group.name} needs a square matrix an element, ({group.order}, n, n); came {values.shape}"
            )
        super().__init__(group, (values.shape[1],) if shape is None else shape, name)
        if self.dim != values.shape[1]:
            raise ShapeError(f"{name}: matrices of {values.shape[1]} numbers do not fit points of shape {self.shape}")
        _check_homomorphism(values, group, name)
        self.__dict__["_matrices"] = frozen(values)

    @property
    def permutations(self) -> None:
        """None: the matrices are kept as what they are."""
        return None

    @cached_property
    def is_orthogonal(self) -> bool:
        """Whether ``ρ(g)ᵀ ρ(g) = I`` to 1e-8."""
        M = self.__dict__["_matrices"][list(self.group.generators)]
        return bool(np.abs(M.swapaxes(1, 2) @ M - np.eye(self.dim)).max(initial=0) < _TOLERANCE)

    def act_flat(self, element: int, x: Tensor) -> Tensor:
        """``x ρ(g)ᵀ`` on rows."""
        needs_floats(x, self)
        return x @ self.matrix(element).to(dtype=x.dtype, device=x.device).mT

    def matrix(self, element: int) -> Tensor:
        """``ρ(g)``."""
        return torch.tensor(self.__dict__["_matrices"][element])

    def character(self) -> NDArray[np.float64]:
        """Traces."""
        return np.trace(self.__dict__["_matrices"], axis1=1, axis2=2)


class Reshaped(Representation):
    """The same action on points of another shape."""

    def __init__(self, inner: Representation, shape: Sequence[int]):
        super().__init__(inner.group, shape, inner.name)
        self.__dict__["inner"] = inner

    @property
    def permutations(self) -> Indices | None:
        """Those of the original."""
        return self.__dict__["inner"].permutations

    @property
    def is_orthogonal(self) -> bool:
        """As the original."""
        return self.__dict__["inner"].is_orthogonal

    def act_flat(self, element: int, x: Tensor) -> Tensor:
        """As the original."""
        return self.__dict__["inner"].act_flat(element, x)

    def matrix(self, element: int) -> Tensor:
        """As the original."""
        return self.__dict__["inner"].matrix(element)

    def character(self) -> NDArray[np.float64]:
        """As the original."""
        return self.__dict__["inner"].character()

    def blocks(self) -> tuple[Representation, ...]:
        """Those of the original."""
        return self.__dict__["inner"].blocks()


def _check_homomorphism(M: NDArray[np.float64], group: FiniteGroup, name: str) -> None:
    if not np.isfinite(M).all():
        bad = int(np.flatnonzero(~np.isfinite(M).all(axis=(1, 2)))[0])
        raise NonFiniteError(f"{name}: the matrix of element {bad} ({group.label(bad)}) holds nan or infinity")
    size = max(1.0, float(np.abs(M).max()))
    if np.abs(M[0] - np.eye(M.shape[1])).max() > _TOLERANCE * size:
        raise AxiomError(f"{name}: the identity's matrix must be the identity matrix")
    for g in group.generators:
        gap = np.abs(M[g] @ M - M[group.table[g]]).max(axis=(1, 2))
        if gap.max() > _TOLERANCE * size**2:
            h = int(np.flatnonzero(gap > _TOLERANCE * size**2)[0])
            hint = ""
            if np.abs(M @ M[g] - M[group.table[g]]).max() <= _TOLERANCE * size**2:
                hint = "; the other order, rho(h) rho(g), agrees: transpose the matrices"
            elif gap.max() < 1e-4 * size**2:
                hint = "; they agree up to rounding: compute the matrices in float64"
            raise AxiomError(
                f"{name}: no homomorphism: for g = {g} ({group.label(g)}) and h = {h} ({group.label(h)}), "
                f"rho(g) rho(h) differs from rho(g h) by {gap[h]:.2g}{hint}"
            )


def same_group(representations: Iterable[Any], what: str) -> Any:
    """The group that all of them share, or an error that names the first two that differ."""
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
                f"{what}: representations of different groups, {reps[0]} and {rep}; bring them to one group, by "
                "restrict to a common subgroup or pullback along a homomorphism"
            )
    return reps[0].group
