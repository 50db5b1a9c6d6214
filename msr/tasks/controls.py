"""Controls: problems that look like the symmetric ones and are not, so that a finder of symmetries can fail."""

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
from msr.tasks.sampling import broken_span

__all__ = ["SpanTasks", "almost_symmetry", "broken_symmetry", "interior_symmetry", "no_symmetry", "wrong_symmetry"]


@dataclass(frozen=True, kw_only=True, eq=False)
class SpanTasks(LinearTasks):
    """``y = W x + noise`` with ``vec(W)`` in a given span: any sharing pattern at all.

    Args: ``span (out · in, k)``, orthonormal columns; the shapes of a point; ``interior``, where the family is
    symmetric away from a boundary only: the mask of outputs that do not feel it; ``sizes (k,)``, how much each column
    is used, whose squares have sum 1; by default all alike.
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
        """As given."""
        return self.in_shape

    @property
    def shape_out(self) -> tuple[int, ...]:
        """As given."""
        return self.out_shape

    @property
    def n_free(self) -> int:
        """Dimension of the span."""
        return self.span.shape[1]

    def true_span(self) -> Tensor:
        """The span."""
        return self.span

    @takes_arrays("free")
    def weights_from(self, free: Tensor) -> tuple[Tensor, ...]:
        """``W = U v`` with ``E‖W‖² = out``."""
        m, n = prod(self.out_shape), prod(self.in_shape)
        sizes = sqrt(1 / self.n_free) if self.sizes is None else self.sizes.to(free.dtype)
        flat = (free * sqrt(m) * sizes) @ self.span.to(free.dtype).mT
        return (flat.unflatten(1, (m, n)),)


def no_symmetry(
    rep_in: Representation, rep_out: Representation, *, k: int | None = None, seed: int = 0, **options: Any
) -> SpanTasks:
    """Tasks that share a random ``k``-dimensional span: as easy to learn as the symmetric ones, with no group in it.

    ``k`` is by default the dimension of the equivariant maps. ``options`` are those of :class:`SpanTasks`.
    """
    size = rep_out.dim * rep_in.dim
    k = equivariant_basis(rep_in, rep_out).dim if k is None else k
    if not 1 <= k <= size:
        raise ConfigError(f"k must be between 1 and {size}; got {k}")
    span = orthonormal_basis(torch.randn(size, k, dtype=torch.float64, generator=generator_for(seed, "no symmetry")))
    return SpanTasks(span=span, in_shape=rep_in.shape, out_shape=rep_out.shape, seed=seed, **options)


def broken_symmetry(
    rep_in: Representation, rep_out: Representation, epsilon: float, *, seed: int = 0, **options: Any
) -> SpanTasks:
    """The equivariant span, turned out of itself by a known amount: ``‖W − P W‖ = ε ‖W‖`` for *every* task.

    ``P`` projects on the equivariant maps (:func:`~msr.tasks.sampling.broken_span`). All principal cosines with the
    equivariant span are ``√(1 − ε²)``, and the defect of a task is at most ``√2 ε`` for orthogonal actions.
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
    """Exactly one symmetry, and almost a larger one: what the larger does not allow makes a ``share`` of each weight.

    ``W = √(1 − s²) A + s B`` with ``A`` equivariant under the larger group, ``B`` under the smaller one and orthogonal
    to all of the larger's maps, ``E‖A‖² = E‖B‖² = out``. To name the larger group is wrong, unless ``s`` is tolerated.

    Args:
        reps, larger: on inputs and outputs, of the group and of one that has it as a subgroup.
    Raises: ConfigError unless ``0 ≤ s ≤ 1`` and the larger group's maps are some, not all, of the smaller's.
    """
    if not 0 <= share <= 1:
        raise ConfigError(f"the share must lie between 0 and 1; got {share}")
    U, L = (equivariant_basis(*pair).orthonormal() for pair in (reps, larger))
    if U.shape[0] != L.shape[0] or not 1 <= L.shape[1] < U.shape[1] or (L - U @ (U.mT @ L)).norm() > 1e-6:
        raise ConfigError(f"the maps of {larger[0]} to {larger[1]} must be some, not all, of those of {reps[0]}")
    k, left = L.shape[1], U.shape[1] - L.shape[1]
    rest = torch.linalg.svd(U - L @ (L.mT @ U), full_matrices=False)[0][:, :left]
    sizes = torch.tensor([((1 - share**2) / k) ** 0.5] * k + [share / left**0.5] * left, dtype=torch.float64)
    span, (shape_in, shape_out) = torch.cat([L, rest], 1), (rep.shape for rep in reps)
    return SpanTasks(span=span, sizes=sizes, in_shape=shape_in, out_shape=shape_out, seed=seed, **options)


def wrong_symmetry(
    rep_in: Representation, rep_out: Representation, *, seed: int = 0, **options: Any
) -> FiniteGroupTasks:
    """Tasks with the same abstract group acting elsewhere: its points are relabelled at random, on both sides apart.

    The family's own ``truth`` holds the actions that the tasks do have; the ones given are wrong for it.
    Raises: ConfigError when no relabelling in a hundred changes the equivariant maps, or for actions that are no
    permutations.
    """
    for rep in (rep_in, rep_out):
        if rep.permutations is None:
            raise ConfigError(f"relabelling needs permutation representations; {rep} is not")
    claimed = equivariant_basis(rep_in, rep_out).labels
    assert claimed is not None
    for attempt in range(100):
        generator = generator_for(seed, "wrong symmetry", attempt)
        a, b = _relabelled(rep_in, generator), _relabelled(rep_out, generator)
        labels = equivariant_basis(a, b).labels
        assert labels is not None
        # Orbits are numbered in reading order, so equal partitions have equal labels.
        if not torch.equal(labels, claimed):
            return FiniteGroupTasks(rep_in=a, rep_out=b, seed=seed, **options)
    raise ConfigError(f"every relabelling of {rep_in} and {rep_out} has the same equivariant maps: none is wrong")


def interior_symmetry(length: int, kernel: int = 3, *, seed: int = 0, **options: Any) -> SpanTasks:
    """Convolutions of a signal with zero padding: shifts commute away from the ends, and no shift does exactly.

    ``y[i] = Σ_t ψ[t] x[i + t − kernel // 2]``, with ``x = 0`` outside. ``interior`` marks the outputs whose window lies
    inside the signal.  Raises: ConfigError for an even kernel, or one longer than the signal.
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
    assert rep.permutations is not None
    order = torch.randperm(rep.dim, generator=generator).numpy()
    moved = rep.permutations.copy()
    moved[:, order] = order[rep.permutations]
    return permutation(rep.group, moved, f"relabelled {rep.name}").reshape(*rep.shape)
