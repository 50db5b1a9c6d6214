"""The representations that people name, as functions."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from msr.errors import AxiomError, ConfigError, ShapeError
from msr.groups import (
    FiniteGroup,
    Group,
    LieAlgebra,
    MatrixGroup,
    PermutationGroup,
    ProductGroup,
    Subgroup,
    cyclic,
    dihedral,
)
from msr.groups.lie import real_array
from msr.groups.permutation_group import CircleGroup
from msr.groups.tolerances import EXACT
from msr.permutations import parity_of
from msr.representations.base import Representation
from msr.representations.elementary import MatrixRepresentation, PermutationRepresentation
from msr.representations.generated import (
    GeneratedRepresentation,
    NaturalRepresentation,
    SignRepresentation,
    StillRepresentation,
)
from msr.representations.laws import tolerance_of
from msr.representations.lie import LieRepresentation

__all__ = [
    "from_matrices", "natural", "permutation", "planar", "quotient", "regular", "sign", "trivial"
]  # fmt: skip


@overload
def trivial(group: LieAlgebra, n: int = 1) -> LieRepresentation: ...
@overload
def trivial(group: FiniteGroup | MatrixGroup | PermutationGroup | ProductGroup, n: int = 1) -> Representation: ...
def trivial(group: Group, n: int = 1) -> Representation | LieRepresentation:
    """The trivial representation, ``ρ(g) = I`` on ``n`` numbers: what does not move, such as channels of an image.

    Raises: ConfigError for ``n`` below 1.
    """
    if n < 1:
        raise ConfigError(f"trivial: at least one number; got {n}")
    name = "trivial" if n == 1 else f"trivial({n})"
    if isinstance(group, LieAlgebra):
        return LieRepresentation(group, np.zeros((group.dim, n, n)), name)
    if not isinstance(group, FiniteGroup):
        return StillRepresentation(group, n)
    return PermutationRepresentation(group, np.broadcast_to(np.arange(n), (group.order, n)), name, known=True)


def regular(group: FiniteGroup | CircleGroup) -> Representation:
    """The regular representation: the group permutes its own elements, ``h ↦ g·h``; one number for each element.

    Raises: ConfigError for a group without a table, unless it is ``cyclic(n)``, whose points are its elements.
    """
    # A cyclic group on its points is its regular representation; it needs no table.
    if isinstance(group, CircleGroup) and not group.mirrors:
        return NaturalRepresentation(group)
    if not isinstance(group, FiniteGroup):
        raise ConfigError(f"regular: {group!r} has too many elements for a number each; natural has one a point")
    return PermutationRepresentation(group, group.table, "regular", known=True)


def natural(group: FiniteGroup | PermutationGroup) -> Representation:
    """The representation on the group's own points: ``S_n`` on ``n`` points, ``D_n`` on the corners of an ``n``-gon.

    Raises: ConfigError for a group that comes with no points.
    """
    if isinstance(group, PermutationGroup):
        return NaturalRepresentation(group)
    if isinstance(group, Group) and not isinstance(group, FiniteGroup):
        raise ConfigError(f"natural: {group!r} comes with no points; for matrices use defining, for products lift")
    if group.points is None:
        raise ConfigError(f"{group.name} comes with no points; use regular, or permutation with ones of your own")
    return PermutationRepresentation(group, group.points, "natural", known=True)


def permutation(
    group: Group, permutations: ArrayLike | Mapping[Any, ArrayLike], name: str = "permutation"
) -> Representation:
    """The representation by permutations ``(order, n)``, ``[g, i] = g·i``, or by those of generators.

    ``permutations``: for a group with a table all of them, or a mapping ``{element or label: (n,)}`` for elements that
    generate the group. For a group without a table: the permutations of its discrete generators, as such a mapping or
    as ``(r, n)`` in their order.
    Raises: AxiomError for what is no permutation or no action, and for elements that do not generate the group;
    ShapeError.
    """
    if isinstance(permutations, Mapping):
        given = {_element(group, key): np.asarray(p) for key, p in permutations.items()}
        for g, p in given.items():
            if p.ndim != 1 or p.dtype.kind not in "iu" or not np.array_equal(np.sort(p), np.arange(len(p))):
                raise AxiomError(f"{name}: what is given for {group.label(g)} is no permutation: {p.tolist()}")
        lengths = {len(p) for p in given.values()}
        if len(lengths) > 1:
            raise ShapeError(f"{name}: permutations of different length: {sorted(lengths)}")
        start = np.arange(lengths.pop() if lengths else 1)
        if not isinstance(group, FiniteGroup):
            return GeneratedRepresentation(group, _of_generators(group, given, name), None, name)
        permutations = _extend(group, given, start, lambda a, b: a[b], name)
    if not isinstance(group, FiniteGroup):
        return GeneratedRepresentation(group, permutations, None, name)
    return PermutationRepresentation(group, permutations, name)


def from_matrices(
    group: Group,
    matrices: ArrayLike | Tensor | Mapping[Any, ArrayLike],
    name: str = "matrices",
    *,
    infinitesimal: ArrayLike | Tensor | Sequence[ArrayLike] | None = None,
) -> Representation | LieRepresentation:
    """The representation by a matrix for each element, ``(order, n, n)``, or for generators.

    ``matrices``: for a group with a table all of them, or a mapping ``{element or label: (n, n)}`` for elements that
    generate the group. For a group without a table: matrices of its discrete generators, as such a mapping or as
    ``(r, n, n)`` in their order, with ``dρ(X)`` of its ``infinitesimal`` generators, ``(d, n, n)``. For a Lie algebra
    ``dρ(X)`` alone, as ``(d, n, n)`` or ``{label: (n, n)}``, which gives a :class:`LieRepresentation`.

    Matrices that only permute numbers make a permutation representation. Matrices in float32 are checked at their
    own precision, and the exact representation beside them is taken.
    Raises: AxiomError for what is no representation, and for elements that do not generate the group; ShapeError.
    """
    if isinstance(group, LieAlgebra):
        if isinstance(matrices, Mapping):
            matrices = np.stack([real_array(matrices[label], name) for label in group.labels])
        return LieRepresentation(group, matrices, name)
    if isinstance(matrices, Mapping):
        given = {_element(group, key): real_array(m, name) for key, m in matrices.items()}
        shapes = {m.shape for m in given.values()}
        if len(shapes) != 1 or any(len(shape) != 2 or shape[0] != shape[1] for shape in shapes):
            raise ShapeError(f"{name}: the generators need square matrices of one size; got {sorted(map(str, shapes))}")
        if not isinstance(group, FiniteGroup):
            return _generated(group, _of_generators(group, given, name), infinitesimal, name)
        start = np.eye(next(iter(shapes))[0])
        # The precision of what was given, which the conversion to float64 hides.
        precision = max(tolerance_of(m) for m in matrices.values())
        extended = _extend(group, given, start, np.matmul, name)
        return _moving(MatrixRepresentation(group, extended, name, precision=precision))
    if not isinstance(group, FiniteGroup):
        return _generated(group, real_array(matrices, name), infinitesimal, name)
    return _moving(MatrixRepresentation(group, matrices, name))


def _generated(group: Group, discrete: ArrayLike, infinitesimal: Any, name: str) -> Representation:
    """The representation by images of generators, kept as permutations where all matrices are permutation matrices.

    ``discrete``: ``(r, n, n)``; ``infinitesimal``: ``(d, n, n)``, or None where there are none or they act trivially.
    """
    X = None if infinitesimal is None else real_array(infinitesimal, name)
    D = np.asarray(discrete)
    # Permutations serve only where nothing infinitesimal moves the numbers in between.
    if D.ndim == 3 and (X is None or not X.any()) and len(D) and all(map(_is_permutation, D)):
        return GeneratedRepresentation(group, D.argmax(axis=1), None, name)
    return GeneratedRepresentation(group, D, X, name)


def _moving(rep: MatrixRepresentation) -> Representation:
    """The same representation by permutations, if all its matrices are permutation matrices; else ``rep`` itself."""
    generators = [rep.matrix(g).numpy() for g in rep.group.generators]
    if not all(map(_is_permutation, generators)):
        return rep
    # Column i holds its 1 in row g·i.
    moves = np.stack([rep.matrix(g).numpy().argmax(axis=0) for g in rep.group.elements])
    return PermutationRepresentation(rep.group, moves, rep.name, shape=rep.shape)


def _is_permutation(matrix: np.ndarray) -> bool:
    """Whether a square matrix is a permutation matrix, its entries 0 and 1 to 1e-12."""
    whole = np.round(matrix)
    exact = bool(np.abs(matrix - whole).max() < EXACT)
    return exact and set(np.unique(whole)) <= {0, 1} and bool((whole.sum(0) == 1).all() and (whole.sum(1) == 1).all())


def sign(group: FiniteGroup | PermutationGroup) -> Representation:
    """The representation by ``±1``: the parity of the permutation of the group's own points that an element is.

    Raises: ConfigError for a group without points.
    """
    if isinstance(group, PermutationGroup):
        return SignRepresentation(group)
    if group.points is None:
        raise ConfigError(f"{group.name} comes with no points to take a parity of; use from_matrices")
    # The parity is a homomorphism, so it holds on any points that respect the table.
    return MatrixRepresentation(group, [[[parity_of(p)]] for p in group.points], "sign")


def planar(n: int, *, flips: bool = False) -> Representation:
    """``C_n`` (or ``D_n`` with ``flips``) acting on vectors ``(2,)`` of the plane: ``r`` turns by ``2π/n``, ``s``
    changes the sign of the second coordinate.

    Where the group has no table, that is above ``MAX_ORDER``, it is the representation by the matrices of ``r`` and
    ``s``.
    """
    group = dihedral(n) if flips else cyclic(n)
    if not isinstance(group, FiniteGroup):
        cosine, sine = math.cos(2 * math.pi / n), math.sin(2 * math.pi / n)
        turn = np.array([[cosine, -sine], [sine, cosine]])
        images = [turn, np.diag([1.0, -1.0])] if flips else [turn]
        return GeneratedRepresentation(group, np.stack(images), None, "plane", known=True)
    angle = 2 * math.pi * np.arange(n) / n
    turns = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], axis=-1).reshape(n, 2, 2)
    matrices = np.concatenate([turns, turns @ np.diag([1.0, -1.0])]) if flips else turns
    return MatrixRepresentation(group, matrices, "plane")


def quotient(group: FiniteGroup, subgroup: Subgroup | Iterable[int]) -> Representation:
    """The representation on the cosets of a subgroup ``H``, ``g·(xH) = (gx)H``; its size is the index of ``H``.

    Cosets are in the order of ``group.cosets``.
    ``subgroup``: a :class:`Subgroup` of the group, or all elements of ``H``.
    Raises: ConfigError for a group without a table; AxiomError for elements that are no subgroup.
    """
    if not isinstance(group, FiniteGroup):
        raise ConfigError(
            f"quotient: {group!r} has no table to find cosets by; use permutation with the generators' images"
        )
    cosets = group.cosets(subgroup)
    # The number of the coset in which each element lies.
    index = np.empty(group.order, dtype=np.int64)
    for number, coset in enumerate(cosets):
        index[coset] = number
    starts = np.array([coset[0] for coset in cosets])
    name = subgroup.group.name if isinstance(subgroup, Subgroup) else f"a subgroup of order {len(cosets[0])}"
    # Each coset by its least element: any other one of it gives the same image.
    return PermutationRepresentation(group, index[group.table[:, starts]], f"{group.name} / {name}")


@overload
def defining(group: LieAlgebra) -> LieRepresentation: ...
@overload
def defining(group: MatrixGroup) -> Representation: ...
def defining(group: LieAlgebra | MatrixGroup) -> Representation | LieRepresentation:
    """The representation of a group or Lie algebra of matrices by its own matrices; ConfigError for any other group."""
    if isinstance(group, MatrixGroup):
        return GeneratedRepresentation(group, group.discrete_matrices, group.algebra.matrices, "defining", known=True)
    if not isinstance(group, LieAlgebra):
        raise ConfigError(f"defining takes a group of matrices, such as so(3) or orthogonal(3); got {group!r}")
    return LieRepresentation(group, group.matrices, "defining")


def _element(group: Group, key: Any) -> Any:
    """The element of the group that a key means: a label, or an element itself, which in a group with a table is not
    checked.
    """
    if isinstance(key, str):
        return group.element(key)
    return int(key) if isinstance(group, FiniteGroup) else group.check(key)


def _of_generators(group: Group, given: dict, name: str) -> np.ndarray:
    """The images of the discrete generators, stacked in their order.

    ``given``: the image of each element. Raises: AxiomError unless its keys are the discrete generators.
    """
    wanted = group.discrete
    if set(given) != set(wanted):
        raise AxiomError(
            f"{name}: give the images of the discrete generators of {group.name} and of nothing else: "
            f"{', '.join(group.label(g) for g in wanted)}; got {', '.join(group.label(g) for g in given) or 'nothing'}"
        )
    return np.stack([given[g] for g in wanted])


def _extend(group: FiniteGroup, given: dict, start: np.ndarray, compose, name: str) -> np.ndarray:  # type: ignore[no-untyped-def]
    """The images of all elements, from those of elements that generate the group, breadth first:
    ``ρ(s h) = ρ(s) ρ(h)``.

    Args:
        given: the image of each of the generating elements.
        start: the image of the identity.
        compose: the product of two images.

    The result is ``(order, ...)`` and need not be a homomorphism. Raises: AxiomError where the elements do not generate
    the group.
    """
    if len(group.closure(given)) != group.order:
        raise AxiomError(
            f"{name}: {', '.join(group.label(g) for g in given) or 'nothing'} does not generate {group.name}; "
            f"give the images of {', '.join(group.label(g) for g in group.generators)}"
        )
    # Two paths to one element may give different images; the check of the homomorphism law then finds that.
    images: dict[int, np.ndarray] = {0: given.get(0, start)}
    frontier = [0]
    while frontier:
        reached = []
        for h in frontier:
            for s, image in given.items():
                product = int(group.table[s, h])
                if product not in images:
                    images[product] = compose(image, images[h])
                    reached.append(product)
        frontier = reached
    return np.stack([images[g] for g in group.elements])
