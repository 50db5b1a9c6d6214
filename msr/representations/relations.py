"""Checks that images of generators satisfy the relations of a group, as far as they can be told without a table."""

import math
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from msr.errors import AxiomError, NonFiniteError
from msr.groups import FiniteGroup, Group, LieAlgebra, MatrixGroup, PermutationGroup, ProductGroup
from msr.groups.tolerances import LAW
from msr.permutations import cycle_lengths, power_of
from msr.representations.laws import check_brackets

__all__ = ["check_relations"]

_WORDS = 12
"""Random words that are tried for each finite factor. Chosen by hand."""
_MAX_WORD_POINTS = 32
"""Points up to which random permutations are written as words in the generators: their length grows as the square."""
_WORD = 1e3 * LAW
"""Largest error, relative, at which the product of many images counts as equal to what it should be."""
_SHORT_WORD = 1e2 * LAW
"""Largest error, relative, at which the product of a few images counts as equal to what it should be."""
_MOST_WORDS = 256
"""Number of short words of one length above which none of them is tried. Chosen by hand."""
_HIGHEST_ORDER = 10**6
"""Order of a word up to which its power is compared: in a higher power of a matrix rounding grows too large."""


def check_relations(group: Group, images: NDArray[Any], X: NDArray[np.float64], name: str) -> None:
    """Raise AxiomError for images that break a relation of the group; see :class:`GeneratedRepresentation`.

    ``images``: of the discrete generators, permutations ``(r, n)`` or matrices ``(r, n, n)``; ``X (d, n, n)``: of the
    infinitesimal ones. NonFiniteError for nan or infinity.
    """
    _check_images(group, images, X, name)
    parts = list(_factors(group))
    for factor, discrete, algebra in parts:
        factor_images = images[discrete]
        factor_X = X[algebra]
        if isinstance(factor, LieAlgebra):
            check_brackets(factor_X, factor, name)
        elif isinstance(factor, MatrixGroup):
            check_brackets(factor_X, factor.algebra, name)
            _check_conjugation(factor, factor_images, factor_X, name)
            _check_short_words(factor, factor_images, name)
        elif isinstance(factor, PermutationGroup):
            _check_orders(factor, factor_images, name)
            # Words of a symmetric group grow as the square of its points, and rounding with them.
            if factor.kind != "symmetric" or factor.degree <= _MAX_WORD_POINTS:
                _check_pairs(factor, factor_images, name)
        elif isinstance(factor, FiniteGroup):
            _check_pairs(factor, factor_images, name)
    # Elements of different factors commute in a product, so their images must.
    for i, (a, discrete_a, algebra_a) in enumerate(parts):
        for b, discrete_b, algebra_b in parts[:i]:
            _check_commute(a, b, images[discrete_a], X[algebra_a], images[discrete_b], X[algebra_b], name)


def _factors(group: Group) -> Iterator[tuple[Group, slice, slice]]:
    """Each factor of a product with the places of its discrete and of its infinitesimal generators among those of all.

    A group that is no product is its own factor.
    """
    first = 0
    column = 0
    for factor in group.factors if isinstance(group, ProductGroup) else (group,):
        r = len(factor.discrete)
        d = factor.algebra_dim
        yield factor, slice(first, first + r), slice(column, column + d)
        first = first + r
        column = column + d


def _check_images(group: Group, images: NDArray[Any], X: NDArray[np.float64], name: str) -> None:
    """Raise AxiomError for an image that is no permutation or a singular matrix; NonFiniteError for nan or infinity."""
    if not (np.isfinite(images).all() and np.isfinite(X).all()):
        raise NonFiniteError(f"{name}: the images of the generators hold nan or infinity")
    for g, image in zip(group.discrete, images, strict=True):
        if image.ndim == 1 and not np.array_equal(np.sort(image), np.arange(len(image))):
            raise AxiomError(f"{name}: what is given for {group.label(g)} is no permutation: {image[:12].tolist()}")
        if image.ndim == 2 and np.linalg.matrix_rank(image) < len(image):
            raise AxiomError(f"{name}: the matrix given for {group.label(g)} is singular")


def _power(image: NDArray[Any], n: int) -> NDArray[Any]:
    """The power ``image^n`` of a permutation ``(n,)`` or a matrix."""
    return power_of(image, n) if image.ndim == 1 else np.linalg.matrix_power(image, n)


def _product(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """The product of two permutations, of which ``b`` acts first, or of two matrices."""
    return a[b] if a.ndim == 1 else a @ b


def _gap(a: NDArray[Any], b: NDArray[Any]) -> float:
    """How far two images differ: for matrices the largest difference of entries, relative to the larger of 1 and the
    largest entry of ``a``; for permutations 0 or 1.
    """
    return float(np.abs(a - b).max()) / max(1.0, float(np.abs(a).max())) if a.ndim == 2 else float((a != b).any())


def _identity(images: NDArray[Any]) -> NDArray[Any]:
    """The identity in the form of ``images``: a permutation for ``(r, n)``, a matrix for ``(r, n, n)``."""
    n = images.shape[-1]
    return np.arange(n) if images.ndim == 2 else np.eye(n)


def _of_word(images: NDArray[Any], word: Any) -> NDArray[Any]:
    """The product of powers of images that a word names; ``word``: pairs of the number of a generator and a power."""
    result = _identity(images)
    for k, n in word:
        result = _product(result, _power(images[k], n))
    return result


def _check_orders(group: PermutationGroup, images: NDArray[Any], name: str) -> None:
    """Raise AxiomError unless the image of each word tried, to the power of the word's order in the group, is the
    identity.

    The words are the generators and ``_WORDS`` random ones.
    """
    # Fixed seeds: the same images are always accepted, or always refused.
    rng = np.random.default_rng(0)
    points = group.generator_points
    r = len(images)
    words = [[(k, 1)] for k in range(r)]
    words += [
        [(int(k), int(n)) for k, n in zip(rng.integers(r, size=6), rng.integers(-3, 4, size=6), strict=True)]
        for _ in range(_WORDS if r else 0)
    ]
    for word in words:
        order = math.lcm(*cycle_lengths(_of_word(points, word)))
        if order > _HIGHEST_ORDER:
            continue
        if _gap(_power(_of_word(images, word), order), _identity(images)) > _WORD:
            shown = " ".join(f"{group.label(group.discrete[k])}^{n}" for k, n in word if n)
            raise AxiomError(
                f"{name}: no representation of {group.name}: {shown} has order {order} in the group, but the product "
                "of the images does not"
            )


def _check_pairs(group: PermutationGroup | FiniteGroup, images: NDArray[Any], name: str) -> None:
    """Raise AxiomError unless the images of random elements times those of generators are the images of the products.

    Images of elements are computed by their words: of 4 elements of a permutation group, and of ``_WORDS`` of a group
    with a table.
    """
    generator = torch.Generator().manual_seed(0)
    for g in group.sample(4 if isinstance(group, PermutationGroup) else _WORDS, generator):
        image = _of_word(images, group.word(g))
        for k, s in enumerate(group.discrete):
            whole = _of_word(images, group.word(group.multiply(g, s)))
            if _gap(_product(image, images[k]), whole) > _WORD:
                raise AxiomError(
                    f"{name}: no representation of {group.name}: the images of {group.label(g)} and of "
                    f"{group.label(s)} do not multiply to that of their product"
                )


def _check_conjugation(group: MatrixGroup, images: NDArray[Any], X: NDArray[np.float64], name: str) -> None:
    """Raise AxiomError unless each discrete image ``D`` moves the ``X`` as in the group:
    ``D_k X_i D_k⁻¹ = Σ_j a_kij X_j``.
    """
    size = float(np.abs(X).max(initial=1.0))
    for k, image in enumerate(images):
        D = image if image.ndim == 2 else np.eye(len(image))[:, image]
        conjugated = D @ X @ np.linalg.inv(D)
        wanted = np.einsum("ij,jab->iab", group.conjugation[k], X)
        gap = np.abs(conjugated - wanted).max(axis=(1, 2))
        if gap.max(initial=0) > _SHORT_WORD * size * float(np.linalg.cond(D)):
            raise AxiomError(
                f"{name}: no representation of {group.name}: {group.labels_discrete[k]} does not move the generator "
                f"{group.algebra.labels[int(gap.argmax())]} as it does in the group"
            )


def _check_short_words(group: MatrixGroup, images: NDArray[Any], name: str) -> None:
    """Raise AxiomError unless products of up to four discrete generators that are the identity in the group have the
    identity as their image.
    """
    eye = np.eye(group.discrete_matrices.shape[1])
    r = len(images)
    for length in range(1, 5):
        for letters in product(range(r), repeat=length) if r**length <= _MOST_WORDS else ():
            word = [(k, 1) for k in letters]
            in_group = _of_word(group.discrete_matrices, word)
            if _gap(in_group, eye) < LAW and _gap(_of_word(images, word), _identity(images)) > _SHORT_WORD:
                shown = " ".join(group.labels_discrete[k] for k in letters)
                raise AxiomError(
                    f"{name}: no representation of {group.name}: {shown} is the identity in the group, but the product "
                    "of the images is not"
                )


def _check_commute(
    a: Group, b: Group, Da: NDArray[Any], Xa: NDArray[Any], Db: NDArray[Any], Xb: NDArray[Any], name: str
) -> None:
    """Raise AxiomError unless the images of ``a`` commute with those of ``b``, two factors of a product.

    ``Da``, ``Db``: images of their discrete generators; ``Xa``, ``Xb``: of their infinitesimal ones.
    """
    # Permutations are compared as such, and exactly; otherwise all images are matrices.
    if Da.ndim == 2 and Da.size and Db.ndim == 2 and Db.size:
        pairs = ((p[q], q[p]) for p in Da for q in Db)
    else:
        pairs = ((p @ q, q @ p) for p in [*Da, *Xa] for q in [*Db, *Xb])
    for pq, qp in pairs:
        size = max(1.0, float(np.abs(pq).max()))
        if np.abs(pq - qp).max() > _SHORT_WORD * size:
            raise AxiomError(f"{name}: the images of {a.name} and {b.name}, factors of a product, do not commute")
