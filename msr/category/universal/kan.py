"""Left Kan extension along the Yoneda embedding: what fine tuning does, for sets and for vector spaces."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from msr.brief import Brief
from msr.category.categories.functors import Functor
from msr.category.categories.tables import same_category
from msr.category.guards import refuse_large
from msr.category.integers import ranges, starts_of
from msr.category.linear import VectFunctor, largest_matrix, linearised, null_space
from msr.category.sets.natural_transformations import Nat
from msr.category.sets.presheaves import CoPresheaf, Presheaf
from msr.category.sets.set_functors import corepresentable, restricted
from msr.errors import ConfigError
from msr.groups.immutable import frozen
from msr.kron import kron
from msr.permutations import Indices

__all__ = [
    "Coend",
    "LinearCoend",
    "extended_transformation",
    "extension_along",
    "extension_table",
    "kan_extension",
    "linear_kan_extension",
]


@dataclass(frozen=True, eq=False, repr=False)
class Coend(Brief):
    """The set ``F!(T)``: all ``(y, a)`` with ``y ∈ T(X)`` and ``a ∈ F(X)``, of which some count as the same.

    Attributes:
        size: how many elements it has.
        labels: for each object ``X``, ``(T.sizes[X], F.sizes[X])``: the element of ``F!(T)`` that each pair is.
    """

    size: int
    labels: tuple[Indices, ...]


@dataclass(frozen=True, eq=False, repr=False)
class LinearCoend(Brief):
    """The vector space ``V!(W)``, a quotient of the sum of all ``W(X) ⊗ V(X)``.

    Attributes:
        dim: its dimension.
        projections: for each object ``X`` where ``W(X) ⊗ V(X)`` goes, ``(dim, dim W(X) · dim V(X))`` float64, products
            in the order of rows.
        gap: how clear the dimension is, as in :class:`LinearTransformations`.
    """

    dim: int
    projections: tuple[Tensor, ...]
    gap: float


def kan_extension(functor: CoPresheaf, presheaf: Presheaf) -> Coend:
    """``F!(T)``, the left Kan extension of ``F`` along the Yoneda embedding, at a presheaf ``T``.

    It is the set of pairs ``(y, a)`` modulo ``(T(f)(y), a) ~ (y, F(f)(a))`` for ``f: X → Y``, ``y ∈ T(Y)``,
    ``a ∈ F(X)``. ``F!(h_X)`` is ``F(X)``, ``F!`` of a disjoint union is that of the values, and ``F!`` of the presheaf
    of one point is the colimit of ``F``. On ``BG`` it is the balanced product ``T ×_G F``.

    Raises: ConfigError unless ``F`` is covariant and ``T`` a presheaf on the same category; DataError where the pairs
    do not fit into memory.
    """
    if not isinstance(functor, CoPresheaf) or not isinstance(presheaf, Presheaf):
        raise ConfigError(f"kan_extension: a CoPresheaf and a Presheaf are needed; got {functor!r} and {presheaf!r}")
    C = same_category([functor.category, presheaf.category], "kan_extension")
    widths = functor.sizes
    starts = starts_of(presheaf.sizes * widths)
    nodes = int(starts[-1])
    generators = C.generators
    src = C.src[generators]
    dst = C.dst[generators]
    # One relation for each generating arrow f: X → Y, each y in T(Y), each a in F(X), in this order.
    lengths = presheaf.sizes[dst] * widths[src]
    refuse_large(64.0 * (nodes + float(lengths.sum())), f"the pairs of {presheaf!r} and {functor!r}")
    f = np.repeat(np.arange(len(generators)), lengths)
    place = ranges(lengths)
    width = np.repeat(widths[src], lengths)
    y = place // np.maximum(1, width)
    a = place % np.maximum(1, width)
    moved_y = presheaf.moved(generators[f], y)
    moved_a = functor.moved(generators[f], a)
    tails = starts[src[f]] + moved_y * width + a
    heads = starts[dst[f]] + y * widths[dst[f]] + moved_a
    labels = np.zeros(0, dtype=np.int64)
    size = 0
    if nodes:
        graph = coo_array((np.ones(len(tails)), (tails, heads)), shape=(nodes, nodes))
        size, found = connected_components(graph, directed=False)
        labels = found.astype(np.int64)
    parts = tuple(
        frozen(labels[starts[X] : starts[X + 1]].reshape(int(presheaf.sizes[X]), int(widths[X]))) for X in C.objects
    )
    return Coend(int(size), parts)


def extension_table(functor: CoPresheaf, presheaves: Sequence[Presheaf]) -> Indices:
    """How many elements ``F!(T)`` has for each of several presheaves ``T``, ``(len(presheaves),)``."""
    return np.array([kan_extension(functor, presheaf).size for presheaf in presheaves], dtype=np.int64)


def linear_kan_extension(functor: VectFunctor, weights: Presheaf | VectFunctor) -> LinearCoend:
    """``V!(W)``, the left Kan extension of a linear functor along the Yoneda embedding: the sum of all
    ``W(X) ⊗ V(X)`` modulo ``W(f) y ⊗ a − y ⊗ V(f) a``.

    Args:
        functor: ``V``, on a category ``C``.
        weights: ``W``, a linear functor on ``C.op()``, or a presheaf on ``C``, which is made linear. On ``BG`` the
            result is ``W ⊗_{ℝG} V``.

    Raises: ConfigError where the categories do not fit; DataError where the relations do not fit into memory.
    """
    W = linearised(weights) if isinstance(weights, Presheaf) else weights
    if not isinstance(functor, VectFunctor) or not isinstance(W, VectFunctor):
        raise ConfigError(f"linear_kan_extension: linear functors are needed; got {functor!r} and {weights!r}")
    C = same_category([functor.category, W.category.op()], "linear_kan_extension")
    ends = starts_of(W.dims * functor.dims)
    unknowns = int(ends[-1])
    generators = C.generators.tolist()
    heights = [int(W.dims[C.dst[f]] * functor.dims[C.src[f]]) for f in generators]
    rows = max(unknowns, sum(heights))
    refuse_large(32.0 * unknowns * rows, f"the relations on {unknowns} products", advice="take smaller spaces")
    relations = torch.zeros(sum(heights), unknowns, dtype=torch.float64)
    row = 0
    for f, height in zip(generators, heights, strict=True):
        a = int(C.src[f])
        b = int(C.dst[f])
        block = relations[row : row + height]
        eye_a = torch.eye(int(functor.dims[a]), dtype=torch.float64)
        eye_b = torch.eye(int(W.dims[b]), dtype=torch.float64)
        block[:, ends[a] : ends[a + 1]] += kron(W.mats[f].T, eye_a)
        block[:, ends[b] : ends[b + 1]] -= kron(eye_b, functor.mats[f].T)
        row += height
    # A map out of the quotient is one that vanishes on all relations; an orthonormal basis of these is a projection.
    null, gap = null_space(relations, largest_matrix(functor, W))
    projections = tuple(null[ends[X] : ends[X + 1]].T for X in C.objects)
    return LinearCoend(null.shape[1], projections, gap)


def extension_along(functor: Functor, presheaf: Presheaf) -> Presheaf:
    """``F^(T)``, the left Kan extension of ``h_B ∘ F`` along the Yoneda embedding, for a functor ``F: C → B`` and a
    presheaf ``T`` on ``C``: a presheaf on ``B``.

    Its elements at ``b`` are the pairs ``(t, u: b → F X)``, ``t ∈ T(X)``, modulo the arrows of ``C``; an arrow
    ``g: b′ → b`` sends ``(t, u)`` to ``(t, u ∘ g)``. It is *feature-aligned*: ``F^(h_X)`` is isomorphic to ``h_{F X}``.
    Raises: ConfigError where the presheaf does not live on the source.
    """
    if not isinstance(functor, Functor) or not isinstance(presheaf, Presheaf):
        raise ConfigError(f"extension_along: a Functor and a Presheaf are needed; got {functor!r} and {presheaf!r}")
    same_category([functor.source, presheaf.category], "extension_along")
    B = functor.target
    coends = _coends(functor, presheaf)
    # A pair that stands for each element: its object, and its two parts.
    pairs = [_representatives(coend) for coend in coends]
    maps = []
    for g in range(B.n_mor):
        X, t, u = pairs[B.dst[g]]
        arrows = np.array(
            [B.hom(int(B.dst[g]), int(functor.obj_map[x]))[k] for x, k in zip(X, u, strict=True)], dtype=np.int64
        )
        places = B.place[B.comp[arrows, g]]
        labels = coends[B.src[g]].labels
        maps.append(np.array([labels[x][y, k] for x, y, k in zip(X, t, places, strict=True)], dtype=np.int64))
    sizes = [coend.size for coend in coends]
    return Presheaf.known(B, sizes, maps, f"{functor.name}^({presheaf.name})")


def extended_transformation(functor: Functor, transformation: Nat) -> Nat:
    """``F^(η): F^(S) ⇒ F^(T)`` of a transformation of presheaves on the source of ``F``: it sends ``(s, u)`` to
    ``(η(s), u)``.

    With :func:`extension_along` on objects, ``F^`` is a functor of presheaves.
    Raises: ConfigError for a transformation that is not of presheaves on the source.
    """
    S = transformation.source
    T = transformation.target
    if not isinstance(S, Presheaf) or not isinstance(T, Presheaf):
        raise ConfigError(f"extended_transformation: a transformation of presheaves is needed; got {transformation!r}")
    source = extension_along(functor, S)
    target = extension_along(functor, T)
    before = _coends(functor, S)
    after = _coends(functor, T)
    parts = []
    for b, coend in enumerate(before):
        X, s, u = _representatives(coend)
        images = [after[b].labels[x][transformation.components[x][y], k] for x, y, k in zip(X, s, u, strict=True)]
        parts.append(np.array(images, dtype=np.int64) + target.offsets[b])
    joined = np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)
    return Nat.known(source, target, joined, f"{functor.name}^({transformation.name})")


def _coends(functor: Functor, presheaf: Presheaf) -> list[Coend]:
    """The sets of :func:`extension_along` at all objects of the target."""
    B = functor.target
    return [kan_extension(restricted(corepresentable(B, b), functor), presheaf) for b in B.objects]


def _representatives(coend: Coend) -> tuple[Indices, Indices, Indices]:
    """For each element of a coend a pair that is it: the object, and the numbers of its two parts there."""
    objects = np.concatenate([np.full(part.size, X) for X, part in enumerate(coend.labels)] or [np.zeros(0, int)])
    flat = np.concatenate([part.ravel() for part in coend.labels] or [np.zeros(0, int)])
    within = np.concatenate([np.arange(part.size) for part in coend.labels] or [np.zeros(0, int)])
    widths = np.array([part.shape[1] for part in coend.labels], dtype=np.int64)
    _, first = np.unique(flat, return_index=True)
    X = objects[first].astype(np.int64)
    width = np.maximum(1, widths[X]) if len(X) else X
    return X, within[first] // width, within[first] % width
