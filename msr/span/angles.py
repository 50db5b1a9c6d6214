"""Subspaces and the angles between them.

A sharing pattern ``U`` is a subspace: ``(U, v)`` and ``(U R, R⁻¹ v)`` are the same layer for every invertible ``R``.
So patterns are compared by principal angles, never entry by entry.
"""

import torch
from jaxtyping import Float64, Shaped
from torch import Tensor

from msr.arrays import takes_arrays
from msr.errors import NonFiniteError, ShapeError

__all__ = ["orthonormal_basis", "principal_cosines", "span_cosine"]


@takes_arrays("matrix")
def orthonormal_basis(matrix: Shaped[Tensor, "n k"], *, rtol: float | None = None) -> Float64[Tensor, "n rank"]:
    """Orthonormal columns with the same span as the columns of ``matrix``, in float64.

    Shapes: ``(n, k) -> (n, rank)``. Directions with a singular value at or below ``rtol`` times the largest one are not
    part of the span; a matrix of zeros gives no column. The columns come in the order of decreasing singular values.
    The default of ``rtol``, ``max(n, k)`` times the precision of the *given* dtype, is the rounding error of the
    singular values.
    Raises: ShapeError unless the matrix has two axes; NonFiniteError on nan or infinity, so that no angle is ever
    computed from one.
    """
    if matrix.ndim != 2:
        raise ShapeError(f"orthonormal_basis: a matrix (n, k) is needed; got the shape {tuple(matrix.shape)}")
    if not torch.isfinite(matrix).all():
        raise NonFiniteError("orthonormal_basis: the matrix holds nan or infinity")
    if rtol is None:
        # Whole numbers are exact, so only the rounding of float64 counts for them.
        eps = torch.finfo(matrix.dtype).eps if matrix.dtype.is_floating_point else 1e-15
        rtol = max(matrix.shape) * eps
    vectors, sizes, _ = torch.linalg.svd(matrix.detach().double(), full_matrices=False)
    rank = int((sizes > rtol * sizes[0]).sum()) if len(sizes) else 0
    return vectors[:, :rank]


@takes_arrays("a", "b")
def principal_cosines(a: Shaped[Tensor, "n k"], b: Shaped[Tensor, "n l"]) -> Float64[Tensor, " angles"]:
    """Cosines of the principal angles between the column spans of ``a (n, k)`` and ``b (n, l)``, largest first.

    Units: none, in [0, 1]; there are ``min(rank a, rank b)`` of them.
    Raises: ShapeError for spaces of different dimensions; NonFiniteError on nan or infinity.
    Source: Björck and Golub, 1973.
    """
    if a.shape[0] != b.shape[0]:
        raise ShapeError(f"principal_cosines: the spans live in spaces of {a.shape[0]} and {b.shape[0]} dimensions")
    # The singular values of the product of two orthonormal bases are the cosines; rounding may carry one above 1.
    return torch.linalg.svdvals(orthonormal_basis(a).mT @ orthonormal_basis(b)).clamp(max=1.0)


@takes_arrays("learned", "truth")
def span_cosine(learned: Shaped[Tensor, "n k"], truth: Shaped[Tensor, "n l"]) -> float:
    """How much of the true span the learned span contains: ``min ‖P t‖`` over unit vectors ``t`` of the true span.

    ``P`` projects on the learned span. This is the smallest principal cosine when the learned span has at least as
    many dimensions as the true one, and 0 when it has fewer, since it is then orthogonal to some true direction.
    Shapes: ``learned (n, k)``, ``truth (n, l)``.
    Units: none. At 1 the true span is contained; at 0 the learned one is orthogonal to some true direction.
    Raises: ShapeError for spaces of different dimensions, or a true span of dimension 0; NonFiniteError on nan or
    infinity.
    """
    if learned.shape[0] != truth.shape[0]:
        raise ShapeError(f"span_cosine: the spans live in spaces of {learned.shape[0]} and {truth.shape[0]} dimensions")
    # The length of a learned column has no meaning, so a short one must not be cut off as rounding.
    lengths = learned.detach().norm(dim=0)
    a = orthonormal_basis(learned / lengths.where(lengths > 0, 1))
    b = orthonormal_basis(truth)
    if b.shape[1] == 0:
        raise ShapeError("span_cosine: the true span has dimension 0, so there is nothing to find")
    if a.shape[1] < b.shape[1]:
        return 0.0
    return float(torch.linalg.svdvals(a.mT @ b).clamp(max=1.0)[-1])
