"""New representations from one: the dual and the pullback as functions, and what the methods and operators call."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msr.errors import AxiomError, ConfigError, ShapeError
from msr.groups import FiniteGroup, Group
from msr.groups.group import Element
from msr.permutations import Indices
from msr.representations.base import Operations, Representation
from msr.representations.combinators import direct_sum, tensor_product
from msr.representations.elementary import MatrixRepresentation, PermutationRepresentation, Reshaped
from msr.representations.generated import GeneratedRepresentation

__all__ = ["dual", "pullback"]


def dual(rep: Representation) -> Representation:
    """``ρ*(g) = ρ(g⁻¹)ᵀ`` by matrices, for a representation of a group with a table."""
    inverted = [rep.matrix(rep.group.inverse(g)).mT.numpy() for g in rep.group.elements]
    return MatrixRepresentation(rep.group, np.stack(inverted), f"{rep.name}*", shape=rep.shape)


def pullback(rep: Representation, group: Group, images: Any, name: str) -> Representation:
    """``g ↦ ρ(φ(g))`` for a homomorphism ``φ`` from another group, as a representation of that ``group``.

    Args:
        images: between two groups with tables, ``φ(g)`` for each element, ``(order,)``; otherwise ``φ`` of each
            discrete generator of ``group``.
        name: of the result.

    Raises: AxiomError where ``φ`` is no homomorphism; ShapeError for the wrong number of images; ConfigError for a
    group with infinitesimal generators.
    """
    # With two tables φ is a list, and the law can be checked on it before anything is built.
    if isinstance(group, FiniteGroup) and isinstance(rep.group, FiniteGroup):
        return _pullback_of_tables(rep, group, images, name)
    if group.algebra_dim:
        raise ConfigError(
            f"pullback to {group.name} would need images of infinitesimal generators; use from_matrices with theirs"
        )
    elements = [rep.group.check(g) for g in images]
    if len(elements) != len(group.discrete):
        raise ShapeError(
            f"a homomorphism from {group.name} lists the images of its {len(group.discrete)} generators; "
            f"got {len(elements)}"
        )
    if rep.is_permutation:
        moves = np.array([rep.moves(g) for g in elements], dtype=np.int32).reshape(-1, rep.dim)
        if isinstance(group, FiniteGroup):
            listed = _all_images(group, moves, np.arange(rep.dim, dtype=np.int32))
            return PermutationRepresentation(group, listed, name, shape=rep.shape)
        return GeneratedRepresentation(group, moves, None, name, shape=rep.shape)
    matrices = np.array([rep.matrix(g).numpy() for g in elements]).reshape(-1, rep.dim, rep.dim)
    if isinstance(group, FiniteGroup):
        return MatrixRepresentation(group, _all_images(group, matrices, np.eye(rep.dim)), name, shape=rep.shape)
    return GeneratedRepresentation(group, matrices, None, name, shape=rep.shape)


def _all_images(group: FiniteGroup, generators: NDArray[Any], identity: NDArray[Any]) -> NDArray[Any]:
    """The images of all elements, ``(order, ...)``, each by its word in the generators.

    ``generators``: the image of each generator, permutations ``(r, n)`` or matrices ``(r, n, n)``; ``identity``: that
    of the identity.
    """
    images = []
    for g in group.elements:
        image = identity
        for k, _ in group.word(g):
            image = image[generators[k]] if image.ndim == 1 else image @ generators[k]
        images.append(image)
    return np.stack(images)


def _pullback_of_tables(rep: Representation, group: FiniteGroup, images: Any, name: str) -> Representation:
    """The pullback between two groups with tables; ``images``: ``φ(g)`` for each element of ``group``, ``(order,)``.

    Raises: ShapeError for what is no such list; AxiomError where ``φ`` is no homomorphism.
    """
    source = rep.group
    phi = np.asarray(images)
    if phi.shape != (group.order,) or phi.dtype.kind not in "iu":
        raise ShapeError(f"a homomorphism from {group.name} lists {group.order} integers; got {phi.shape} {phi.dtype}")
    if phi.min() < 0 or phi.max() >= source.order:
        raise AxiomError(f"{source.name} has the elements 0 to {source.order - 1}; an image lies outside")
    # Generators on one side are enough, as in the check of associativity.
    for g in (0, *group.generators):
        broken = np.flatnonzero(phi[group.table[g]] != source.table[phi[g], phi])
        if len(broken):
            h = int(broken[0])
            raise AxiomError(
                f"the map from {group.name} to {source.name} is no homomorphism: the image of the product of "
                f"{group.label(g)} and {group.label(h)} is not the product of their images"
            )
    if rep.permutations is not None:
        return PermutationRepresentation(group, rep.permutations[phi], name, shape=rep.shape)
    matrices = np.stack([rep.matrix(int(g)).numpy() for g in phi])
    return MatrixRepresentation(group, matrices, name, shape=rep.shape)


class _Operations(Operations):
    """What the methods and operators of :class:`Representation` call, by the functions of this package."""

    def direct_sum(self, *representations: Representation) -> Representation:
        return direct_sum(*representations)

    def tensor_product(self, *representations: Representation) -> Representation:
        return tensor_product(*representations)

    def reshape(self, representation: Representation, shape: Sequence[int]) -> Representation:
        return Reshaped(representation, shape)

    def dual(self, representation: Representation) -> Representation:
        return dual(representation)

    def pullback(
        self, representation: Representation, group: Group, images: Sequence[Element] | Indices, name: str
    ) -> Representation:
        return pullback(representation, group, images, name)


# Imports run one way, from here down to the abstract class, so the class is told here what its operators build. The
# package imports this file, hence no representation exists before this line has run.
Representation.operations = _Operations()
