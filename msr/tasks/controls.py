"""Controls: problems that resemble the symmetric ones and lack their symmetry, on which a finder must not find it."""

from dataclasses import dataclass
from math import prod, sqrt
from typing import Any

import torch
from torch import Tensor

from msr.arrays import takes_arrays
from msr.errors import ConfigError, ShapeError
from msr.representations import Representation, equivariant_basis, permutation
from msr.span.angles import orthonormal_basis
from msr.tasks.base import generator_for
from msr.tasks.finite_group import FiniteGroupTasks
from msr.tasks.linear import LinearTasks

__all__ = [
    "SpanTasks",
    "almost_symmetry",
    "broken_span",
    "broken_symmetry",
    "interior_symmetry",
    "no_symmetry",
    "random_span",
    "wrong_symmetry",
]

# Relabellings that are tried before an action counts as one that no relabelling changes. Chosen by hand: of a group
# whose maps a random relabelling changes half of the time, all of a hundred fail once in 2^100.
_RELABELLINGS = 100


@dataclass(frozen=True, kw_only=True, eq=False)
class SpanTasks(LinearTasks):
    """``y = W x + noise`` with ``vec(W)`` in a given span: any sharing pattern at all.

    Args:
        span: ``(out · in, k)``, orthonormal columns.
        in_shape, out_shape: the shape of one input and of one output.
        interior: for a family that is symmetric only away from a boundary: a mask, of the shape of one output, that is
            True for outputs that do not feel the boundary; else None. Nothing is computed from it here.
        sizes: ``(k,)``, how much each column is used; their squares add up to 1. By default all columns are used alike.
    The rest as in :class:`LinearTasks`.
    Raises: ShapeError for a span or sizes that do not fit.
    """

    span: Tensor
    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    interior: Tensor | None = None
    sizes: Tensor | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        size = prod(self.out_shape) * prod(self.in_shape)
        if self.span.ndim != 2 or self.span.shape[0] != size or self.span.shape[1] == 0:
            raise ShapeError(f"the span must be ({size}, k), with k at least 1; got {tuple(self.span.shape)}")
        gram = self.span.double().mT @ self.span.double()
        if not torch.allclose(gram, torch.eye(len(gram), dtype=torch.float64), atol=1e-5):
            raise ShapeError("the columns of the span must be orthonormal; see msr.span.angles.orthonormal_basis")
        if self.sizes is not None and (
            self.sizes.shape != (len(gram),)
            or not torch.isclose(self.sizes.square().sum(), torch.ones_like(self.sizes[0]))
        ):
            raise ShapeError(f"sizes must be ({len(gram)},), squares of sum 1; got {tuple(self.sizes.shape)}")

    @property
    def shape_in(self) -> tuple[int, ...]:
        """The shape of one input."""
        return self.in_shape

    @property
    def shape_out(self) -> tuple[int, ...]:
        """The shape of one output."""
        return self.out_shape

    @property
    def n_free(self) -> int:
        """The dimension ``k`` of the span: how many free numbers a task has."""
        return self.span.shape[1]

    def true_span(self) -> Tensor:
        """The span that the tasks were given, ``(out · in, k)``."""
        return self.span

    @takes_arrays("free")
    def weights_from(self, free: Tensor) -> tuple[Tensor, ...]:
        """``W = U v`` with ``E‖W‖² = out``, as the one matrix ``(tasks, out, in)`` of one layer.

        ``v = √out · sizes · free`` for standard normal numbers ``free (tasks, k)``.
        """
        m = prod(self.out_shape)
        n = prod(self.in_shape)
        sizes = sqrt(1 / self.n_free) if self.sizes is None else self.sizes.to(free.dtype)
        flat = (free * sqrt(m) * sizes) @ self.span.to(free.dtype).mT
        return (flat.unflatten(1, (m, n)),)


def random_span(size: int, k: int, generator: torch.Generator) -> Tensor:
    """A span drawn uniformly among all of its dimension: ``(size, k)`` float64, orthonormal columns."""
    return orthonormal_basis(torch.randn(size, k, dtype=torch.float64, generator=generator))


@takes_arrays("U")
def broken_span(U: Tensor, breaking: float, generator: torch.Generator) -> Tensor:
    """A span turned out of itself by a known amount: ``‖W − P W‖ = breaking · ‖W‖`` for *every* ``W`` in the result.

    ``P`` projects on the span of ``U (size, k)``, orthonormal columns. Each ``u`` becomes ``√(1 − ε²) u + ε w`` with
    ``w`` random, orthonormal and orthogonal to all ``u``; ``ε`` is ``breaking``. The result is ``(size, k)`` float64
    with orthonormal columns.
    Raises: ConfigError unless ``0 ≤ breaking ≤ 1`` and the span fills at most half of the space.
    """
    size, k = U.shape
    if not 0 <= breaking <= 1:
        raise ConfigError(f"breaking must lie between 0 and 1; got {breaking}")
    if not 1 <= k <= size // 2:
        raise ConfigError(
            f"equivariant maps fill {k} of {size} dimensions: there is no room to break them all (1 to {size // 2} fit)"
        )
    away = torch.randn(size, k, dtype=torch.float64, generator=generator)
    return (1 - breaking**2) ** 0.5 * U + breaking * orthonormal_basis(away - U @ (U.mT @ away))


def no_symmetry(
    rep_in: Representation, rep_out: Representation, *, k: int | None = None, seed: int = 0, **options: Any
) -> SpanTasks:
    """Tasks that share a random ``k``-dimensional span: as easy to learn as the symmetric ones, with no group in it.

    ``k`` is by default the dimension of the equivariant maps from ``rep_in`` to ``rep_out``, of which only that and the
    shapes are used. ``options`` are those of :class:`SpanTasks`.
    Raises: ConfigError unless ``k`` is from 1 to ``out · in``.
    """
    size = rep_out.dim * rep_in.dim
    k = equivariant_basis(rep_in, rep_out).dim if k is None else k
    if not 1 <= k <= size:
        raise ConfigError(f"k must be between 1 and {size}; got {k}")
    span = random_span(size, k, generator_for(seed, "no symmetry"))
    return SpanTasks(span=span, in_shape=rep_in.shape, out_shape=rep_out.shape, seed=seed, **options)


def broken_symmetry(
    rep_in: Representation, rep_out: Representation, epsilon: float, *, seed: int = 0, **options: Any
) -> SpanTasks:
    """Tasks whose span is the equivariant one turned out of itself: ``‖W − P W‖ = ε ‖W‖`` for the weight of *every*
    task.

    ``P`` projects on the equivariant maps (:func:`broken_span`); ``ε`` is ``epsilon``. All principal cosines with the
    equivariant span are ``√(1 − ε²)``, and the defect of a task is at most ``√2 ε`` for orthogonal actions. ``options``
    are those of :class:`SpanTasks`.
    Raises: ConfigError unless ``0 ≤ ε ≤ 1`` and the equivariant maps fill at most half of all maps.
    """
    U = equivariant_basis(rep_in, rep_out).orthonormal()
    span = broken_span(U, epsilon, generator_for(seed, "broken symmetry"))
    return SpanTasks(span=span, in_shape=rep_in.shape, out_shape=rep_out.shape, seed=seed, **options)


def almost_symmetry(
    reps: tuple[Representation, Representation],
    larger: tuple[Representation, Representation],
    share: float,
    *,
    seed: int = 0,
    **options: Any,
) -> SpanTasks:
    """Tasks of one group that almost have the symmetry of a larger one, which a part of each weight breaks.

    ``W = √(1 − s²) A + s B`` with ``A`` equivariant under the larger group, ``B`` under the smaller one and orthogonal
    to all maps of the larger, and ``E‖A‖² = E‖B‖² = out``. The larger group is a wrong answer, unless ``s`` is
    tolerated. ``options`` are those of :class:`SpanTasks`.

    Args:
        reps, larger: the representations on inputs and outputs, of the group and of one that has it as a subgroup.
        share: ``s``, from 0 to 1: the share of size (root of the mean energy) of the part that breaks the larger group.
    Raises: ConfigError unless ``0 ≤ s ≤ 1`` and the larger group's maps are some, not all, of the smaller's.
    """
    if not 0 <= share <= 1:
        raise ConfigError(f"the share must lie between 0 and 1; got {share}")
    U, L = (equivariant_basis(*pair).orthonormal() for pair in (reps, larger))
    if U.shape[0] != L.shape[0] or not 1 <= L.shape[1] < U.shape[1] or (L - U @ (U.mT @ L)).norm() > 1e-6:
        raise ConfigError(f"the maps of {larger[0]} to {larger[1]} must be some, not all, of those of {reps[0]}")
    n_larger = L.shape[1]
    n_breaking = U.shape[1] - n_larger
    # Singular vectors of what remains of U without the larger group's maps: an orthonormal basis of the complement.
    breaking = torch.linalg.svd(U - L @ (L.mT @ U), full_matrices=False)[0][:, :n_breaking]
    sizes = [((1 - share**2) / n_larger) ** 0.5] * n_larger + [share / n_breaking**0.5] * n_breaking
    return SpanTasks(
        span=torch.cat([L, breaking], 1),
        sizes=torch.tensor(sizes, dtype=torch.float64),
        in_shape=reps[0].shape,
        out_shape=reps[1].shape,
        seed=seed,
        **options,
    )


def wrong_symmetry(
    rep_in: Representation, rep_out: Representation, *, seed: int = 0, **options: Any
) -> FiniteGroupTasks:
    """Tasks of the same abstract group with another action: inputs and outputs are relabelled at random, each by
    itself.

    The family's own ``truth`` holds the actions that its tasks have; the given ones are wrong for it. ``options`` are
    those of :class:`FiniteGroupTasks`.
    Raises: ConfigError when no relabelling in a hundred changes the equivariant maps, or for actions that are not by
    permutations.
    """
    for rep in (rep_in, rep_out):
        if rep.permutations is None:
            raise ConfigError(f"relabelling needs permutation representations; {rep} is not")
    claimed = equivariant_basis(rep_in, rep_out).labels
    assert claimed is not None
    for attempt in range(_RELABELLINGS):
        generator = generator_for(seed, "wrong symmetry", attempt)
        other_in = _relabelled(rep_in, generator)
        other_out = _relabelled(rep_out, generator)
        labels = equivariant_basis(other_in, other_out).labels
        assert labels is not None
        # Orbitals are numbered in reading order, so equal partitions have equal labels.
        if not torch.equal(labels, claimed):
            return FiniteGroupTasks(rep_in=other_in, rep_out=other_out, seed=seed, **options)
    raise ConfigError(f"every relabelling of {rep_in} and {rep_out} has the same equivariant maps: none is wrong")


def interior_symmetry(length: int, kernel: int = 3, *, seed: int = 0, **options: Any) -> SpanTasks:
    """Convolutions of a signal with zero padding: shifts commute away from the ends, and none commutes exactly.

    ``y[i] = Σ_t ψ[t] x[i + t − kernel // 2]``, with ``x = 0`` outside; ``length`` is that of the signal and ``kernel``
    that of ``ψ``. ``interior (length,)`` of the result marks the outputs whose window lies inside the signal.
    ``options`` are those of :class:`SpanTasks`.
    Raises: ConfigError for an even kernel, or one shorter than 3 or longer than the signal.
    """
    if kernel % 2 == 0 or not 3 <= kernel <= length:
        raise ConfigError(f"the kernel must be odd, from 3 to the length {length}; got {kernel}")
    rim = kernel // 2
    span = torch.zeros(length, length, kernel, dtype=torch.float64)
    for tap in range(kernel):
        shift = tap - rim
        rows = torch.arange(max(0, -shift), min(length, length - shift))
        span[rows, rows + shift, tap] = 1
    span = span.flatten(0, 1)
    inside = torch.ones(length, dtype=torch.bool)
    inside[:rim] = inside[length - rim :] = False
    shape = (length,)
    return SpanTasks(
        span=span / span.norm(dim=0), in_shape=shape, out_shape=shape, interior=inside, seed=seed, **options
    )


def _relabelled(rep: Representation, generator: torch.Generator) -> Representation:
    """The same group acting on randomly renamed points: ``π p π⁻¹`` for each of its permutations ``p``."""
    assert rep.permutations is not None
    order = torch.randperm(rep.dim, generator=generator).numpy()
    conjugates = rep.permutations.copy()
    conjugates[:, order] = order[rep.permutations]
    return permutation(rep.group, conjugates, f"relabelled {rep.name}").reshape(*rep.shape)
