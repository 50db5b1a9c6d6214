"""Functors from a finite category to vector spaces, and all linear natural transformations between two of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from msr.arrays import as_tensor
from msr.brief import Brief
from msr.category.categories.tables import FinCat, same_category
from msr.category.guards import refuse_large
from msr.category.integers import whole_array
from msr.category.sets.presheaves import SetFunctor
from msr.errors import AxiomError, ConfigError, NonFiniteError, ShapeError
from msr.groups.tolerances import LAW
from msr.kron import kron
from msr.permutations import Indices
from msr.representations import Representation

__all__ = ["LinearTransformations", "VectFunctor", "linear_functor", "linear_transformations", "linearised"]

RANK = 1e-9
"""Fraction of the largest singular value of the constraints below which a singular value counts as zero: far above the
rounding of float64, far below what constraints of integers or of orthogonal matrices have."""


@dataclass(frozen=True, eq=False, repr=False)
class VectFunctor:
    """A covariant functor ``V`` from a finite category to real vector spaces; a contravariant one is one on
    ``category.op()``.

    Immutable; the matrices are not to be written to.

    Attributes:
        category: a :class:`msr.category.FinCat`.
        dims: ``(n_obj,)`` the dimension of ``V(X)``; 0 is allowed.
        mats: for each arrow ``f: X → Y`` the matrix ``V(f)``, ``(dims[Y], dims[X])`` float64.
        name: for messages.

    Raises: ShapeError for matrices of another shape; NonFiniteError for nan or inf; AxiomError for an identity that is
    not the identity matrix, or ``V(g ∘ f)`` that is not ``V(g) V(f)``, naming the arrows. Laws hold to 1e-8 of the size
    of what is compared, or to 1e-8 where that is less than 1, so that matrices below 1e-8 are not told from 0.
    """

    category: FinCat
    dims: Indices
    mats: tuple[Tensor, ...]
    name: str = "V"

    def __post_init__(self) -> None:
        C = self.category
        if not isinstance(C, FinCat):
            raise ConfigError(f"{self.name}: category must be a FinCat; got {C!r}")
        dims = whole_array(self.dims, f"{self.name}: dims", (C.n_obj,))
        if (dims < 0).any():
            a = int(np.argmax(dims < 0))
            raise ShapeError(f"{self.name}: dims[{a}] = {dims[a]}; a dimension is 0 or more")
        if len(self.mats) != C.n_mor:
            raise ShapeError(f"{self.name}: one matrix for each of the {C.n_mor} arrows; got {len(self.mats)}")
        self.__dict__["dims"] = dims
        self.__dict__["mats"] = tuple(self._checked_matrix(f, matrix) for f, matrix in enumerate(self.mats))
        self.check()

    def _checked_matrix(self, f: int, matrix: Any) -> Tensor:
        """The matrix of an arrow as float64, after a check of its shape and of its numbers."""
        C = self.category
        tensor = as_tensor(_in_double(matrix), f"{self.name}: mats[{f}]").detach()
        shape = (int(self.dims[C.dst[f]]), int(self.dims[C.src[f]]))
        if tensor.numel() == 0 and 0 in shape:
            return torch.zeros(shape, dtype=torch.float64)
        if tensor.is_complex():
            raise ShapeError(f"{self.name}: mats[{f}] is complex; the spaces are real: give its real form")
        if tuple(tensor.shape) != shape:
            raise ShapeError(
                f"{self.name}: mats[{f}] must be (dims[{C.dst[f]}], dims[{C.src[f]}]) = {shape}, for it maps object "
                f"{C.src[f]} to {C.dst[f]}; got {tuple(tensor.shape)}"
            )
        if not bool(torch.isfinite(tensor).all()):
            raise NonFiniteError(f"{self.name}: mats[{f}] holds nan or inf")
        return tensor.to(torch.float64).clone()

    def check(self) -> None:
        """Raise AxiomError where a law is broken, naming it, the arrows, and how far off it is."""
        C = self.category
        for a in C.objects:
            error = _distance(self.mats[C.ident[a]], torch.eye(int(self.dims[a]), dtype=torch.float64))
            if error > LAW:
                raise AxiomError(
                    f"{self.name}: the identity of object {a} (arrow {C.ident[a]}) must act as the identity matrix; it "
                    f"is off by {error:.2g}"
                )
        # A generator on one side is enough: every arrow is a composite of generators.
        for g in C.generators.tolist():
            for f in C.arrows_into(int(C.src[g])).tolist():
                error = _distance(self.mats[g] @ self.mats[f], self.mats[C.comp[g, f]])
                if error > LAW * max(1.0, _size(self.mats[g]) * _size(self.mats[f])):
                    raise AxiomError(
                        f"{self.name}: no functor: for g = {g} and f = {f}, V(g) V(f) and V(g∘f), of arrow "
                        f"{C.comp[g, f]}, differ by {error:.2g}"
                    )

    @classmethod
    def known(cls, category: FinCat, dims: Any, mats: Sequence[Tensor], name: str = "V") -> "VectFunctor":
        """A functor whose laws hold by construction: nothing is checked.

        Shapes: ``dims (objects,)``; ``mats``, one for each arrow, ``(dims[dst], dims[src])`` float64.
        """
        functor = cls.__new__(cls)
        checked = whole_array(dims, f"{name}: dims", (category.n_obj,))
        functor.__dict__.update(category=category, dims=checked, mats=tuple(mats), name=name)
        return functor

    def __repr__(self) -> str:
        dims = self.dims.tolist()
        shown = ", ".join(map(str, dims[:8])) + (", …" if len(dims) > 8 else "")
        return f"<{self.name}: VectFunctor on {self.category.name}, dimensions ({shown})>"

    def __add__(self, other: "VectFunctor") -> "VectFunctor":
        """The direct sum: at each object the space of this one, then that of the other."""
        same_category([self.category, other.category], "+")
        mats = [torch.block_diag(a, b) for a, b in zip(self.mats, other.mats, strict=True)]
        # torch.block_diag gives a matrix without columns the shape of one without rows.
        C = self.category
        dims = self.dims + other.dims
        shaped = [m.reshape(int(dims[C.dst[f]]), int(dims[C.src[f]])) for f, m in enumerate(mats)]
        return VectFunctor.known(C, dims, shaped, f"{self.name} ⊕ {other.name}")


def linear_functor(category: FinCat, representation: Representation) -> VectFunctor:
    """A representation ``ρ`` of a finite group as a functor on the category ``BG`` of that group.

    Args:
        category: of one object, the arrows being the group's elements in their order: ``from_group(group)``.
        representation: of that group; ``V(g) = ρ(g)``.

    Raises: ConfigError for a group without a table, or of another order; AxiomError where the matrices do not multiply
    as the arrows do.
    """
    if not isinstance(representation, Representation):
        raise ConfigError(f"linear_functor: {representation!r} is no representation")
    order = representation.group.order if representation.group.is_listed else None
    if category.n_obj != 1 or category.n_mor != order:
        raise ConfigError(
            f"linear_functor: {representation!r} needs the category of its group, from_group(group); got {category!r}"
        )
    refuse_large(8.0 * order * representation.dim**2, f"the matrices of {representation!r}")
    return VectFunctor(category, np.array([representation.dim]), tuple(representation.matrices()), representation.name)


def linearised(functor: SetFunctor) -> VectFunctor:
    """The functor of free vector spaces ``V(X) = ℝ^T(X)``: each map as its matrix of 0 and 1, by columns.

    A copresheaf on ``C`` gives a functor on ``C``, a presheaf one on ``C.op()``.
    """
    C = functor.category if functor.covariant else functor.category.op()
    sizes = functor.sizes
    refuse_large(8.0 * float((sizes[C.src] * sizes[C.dst]).sum()), f"the matrices of {functor!r}")
    mats = []
    for f, images in enumerate(functor.maps):
        matrix = torch.zeros(int(sizes[C.dst[f]]), int(sizes[C.src[f]]), dtype=torch.float64)
        matrix[torch.from_numpy(images.copy()), torch.arange(len(images))] = 1
        mats.append(matrix)
    return VectFunctor.known(C, sizes, mats, f"ℝ{functor.name}")


@dataclass(frozen=True, eq=False, repr=False)
class LinearTransformations(Brief):
    """All linear natural transformations ``η: S ⇒ T``: ``T(f) η_X = η_Y S(f)`` for every arrow ``f: X → Y``.

    Attributes:
        source, target: the two functors.
        dim: the dimension of the space of transformations.
        components: for each object ``X`` what a basis of the space is there, ``(dim, dim T(X), dim S(X))`` float64; the
            ``k``-th matrices at all objects together are one transformation, of norm 1, orthogonal to the others.
        gap: the smallest singular value of the constraints that was kept over the largest that counted as zero (taken
            for at least the rounding of float64); infinite where none counted as zero. Where more than rounding counted
            as zero it is at most what a singular value has to exceed to be kept, over that: a matrix that is small
            beside the others is then told from none. Trust the dimension above 100, where no matrix but 0 is below
            1e-11 of the largest.
    """

    source: VectFunctor = field(repr=False)
    target: VectFunctor = field(repr=False)
    dim: int
    components: tuple[Tensor, ...]
    gap: float


def linear_transformations(source: VectFunctor, target: VectFunctor) -> LinearTransformations:
    """All linear natural transformations from one functor to another, as an orthonormal basis.

    On the category ``BG`` of a group they are the equivariant linear maps. They are the null space, by singular values,
    of the constraints of generating arrows, which are enough; a singular value below 1e-9 of the largest, or of the
    largest matrix, counts as zero.

    Raises: ConfigError for functors on different categories; DataError where the constraints do not fit into memory.
    """
    for functor in (source, target):
        if not isinstance(functor, VectFunctor):
            raise ConfigError(f"linear_transformations: a VectFunctor is needed; got {functor!r}")
    C = same_category([source.category, target.category], "linear_transformations")
    ends = np.concatenate([[0], np.cumsum(source.dims * target.dims)])
    unknowns = int(ends[-1])
    generators = C.generators.tolist()
    heights = [int(target.dims[C.dst[f]] * source.dims[C.src[f]]) for f in generators]
    rows = max(unknowns, sum(heights))
    refuse_large(32.0 * unknowns * rows, f"the constraints on {unknowns} unknowns", advice="take smaller spaces")
    A = torch.zeros(rows, unknowns, dtype=torch.float64)
    row = 0
    for f, height in zip(generators, heights, strict=True):
        a = int(C.src[f])
        b = int(C.dst[f])
        block = A[row : row + height]
        # vec stacks rows: vec(T η I) = (T ⊗ I) vec(η) and vec(I η S) = (I ⊗ Sᵀ) vec(η). An arrow from an object to
        # itself has both on the same columns, hence the sums.
        block[:, ends[a] : ends[a + 1]] += kron(target.mats[f], torch.eye(int(source.dims[a]), dtype=torch.float64))
        block[:, ends[b] : ends[b + 1]] -= kron(torch.eye(int(target.dims[b]), dtype=torch.float64), source.mats[f].T)
        row += height
    null, gap = null_space(A, largest_matrix(source, target))
    dim = null.shape[1]
    components = tuple(
        null[ends[a] : ends[a + 1]].T.reshape(dim, int(target.dims[a]), int(source.dims[a])) for a in C.objects
    )
    return LinearTransformations(source, target, dim, components, gap)


def _in_double(values: Any) -> Any:
    """Nested lists of Python's numbers as an array of float64, since torch would round them to single precision; else
    the values as they are.
    """
    if not isinstance(values, (list, tuple)) or any(isinstance(row, Tensor) for row in values):
        return values
    try:
        array = np.asarray(values)
    except ValueError:
        return values
    return array if array.dtype.kind in "iuf" else values


def largest_matrix(*functors: VectFunctor) -> float:
    """The largest Frobenius norm of a matrix of some functors; 1 for none."""
    return max((_size(matrix) for functor in functors for matrix in functor.mats), default=1.0)


def null_space(A: Tensor, scale: float) -> tuple[Tensor, float]:
    """An orthonormal basis of the null space of a matrix, and how clear its dimension is.

    Args:
        A: ``(rows, n)`` float64.
        scale: the size of the numbers that the matrix was computed from; singular values below 1e-9 of it, or of the
            largest singular value, count as zero.

    Returns: the basis ``(n, dim)``, and the gap as in :class:`LinearTransformations`.
    """
    rows, n = A.shape
    if n == 0:
        return torch.zeros(0, 0, dtype=torch.float64), math.inf
    if rows < n:
        # With as many rows as columns the reduced factors hold the whole null space.
        A = torch.cat([A, torch.zeros(n - rows, n, dtype=torch.float64)])
    _, s, Vh = torch.linalg.svd(A, full_matrices=False)
    top = max(float(s[0]), scale)
    rank = int((s > RANK * top).sum())
    gap = math.inf
    rounding = torch.finfo(torch.float64).eps * n * top
    dropped = float(s[rank]) if rank < n else 0.0
    if 0 < rank < n:
        gap = float(s[rank - 1]) / max(dropped, rounding)
    if dropped > rounding:
        # More than rounding was dropped, perhaps all of a small matrix: by how much it missed the threshold counts.
        gap = min(gap, RANK * top / dropped)
    return Vh[rank:].T.contiguous(), gap


def _size(matrix: Tensor) -> float:
    """The Frobenius norm; 0 for a matrix without entries."""
    return float(torch.linalg.norm(matrix)) if matrix.numel() else 0.0


def _distance(a: Tensor, b: Tensor) -> float:
    """The Frobenius norm of a difference."""
    return _size(a - b)
