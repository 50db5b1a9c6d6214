"""The laws of representations by matrices: checked at the precision of what was given, and restored to float64."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, lsqr

from msr.errors import AxiomError, NonFiniteError
from msr.groups import FiniteGroup, LieAlgebra
from msr.groups.tolerances import ALMOST, LAW, NEARLY_ORTHOGONAL

__all__ = ["check_brackets", "check_homomorphism", "clean_brackets", "clean_homomorphism", "tolerance_of"]

_MOST_MULTIPLICATIONS = 4 * 10**8
"""Multiplications up to which matrices in float32 are made exact. Chosen by hand."""
_MOST_UNKNOWNS = 30_000
"""Numbers in the generators up to which generators in float32 are made exact. Chosen by hand."""
_STEPS = 4
"""Number of Gauss-Newton or averaging steps: errors are squared each time, so from 1e-6 two would reach rounding."""
_ROUNDED_TO_ZERO = 1e-6
"""Entries below this share of the largest are rounding of a zero, in float32."""
_NOTHING_LEFT = 1e-14
"""Share of the size of the generators below which an error of the brackets cannot be reduced in float64."""
_RELATIVE_ERROR = 1e-13
"""Relative error at which the least squares solver stops."""


def tolerance_of(values: Any) -> float:
    """The tolerance at which laws of matrices with these entries are checked: 1e-8 for float64 and whole numbers.

    For float32 and below it is a hundred times the relative rounding, and for a list or tuple the largest tolerance of
    its entries. ``values``: an array, a tensor, or a list of these; only the dtype counts.
    """
    dtype = getattr(values, "dtype", None)
    if dtype is None and isinstance(values, (list, tuple)) and values:
        return max(tolerance_of(v) for v in values)
    if isinstance(dtype, torch.dtype):
        return max(LAW, 100 * torch.finfo(dtype).eps) if dtype.is_floating_point else LAW
    if isinstance(dtype, np.dtype) and dtype.kind == "f":
        return max(LAW, 100 * float(np.finfo(dtype).eps))
    return LAW


def check_homomorphism(M: NDArray[np.float64], group: FiniteGroup, name: str, tolerance: float = LAW) -> None:
    """Raise AxiomError unless ``M[g] M[h] = M[g·h]``, for generators ``g`` and all ``h``, and ``M[0] = I``.

    ``M``: ``(order, n, n)``. ``tolerance``: the largest error of an entry, relative to the square of the largest entry
    of ``M`` where that is above 1. NonFiniteError for nan or infinity.
    """
    if not np.isfinite(M).all():
        bad = int(np.flatnonzero(~np.isfinite(M).all(axis=(1, 2)))[0])
        raise NonFiniteError(f"{name}: the matrix of element {bad} ({group.label(bad)}) holds nan or infinity")
    # The rounding of a product grows with the square of its factors.
    size = max(1.0, float(np.abs(M).max()))
    if np.abs(M[0] - np.eye(M.shape[1])).max() > tolerance * size:
        raise AxiomError(f"{name}: the identity's matrix must be the identity matrix")
    for g in group.generators:
        gap = np.abs(M[g] @ M - M[group.table[g]]).max(axis=(1, 2))
        if gap.max() > tolerance * size**2:
            h = int(np.flatnonzero(gap > tolerance * size**2)[0])
            hint = ""
            # The commonest mistake: matrices that act on rows multiply in the other order.
            if np.abs(M @ M[g] - M[group.table[g]]).max() <= tolerance * size**2:
                hint = "; the other order, rho(h) rho(g), agrees: transpose the matrices"
            elif gap.max() < ALMOST * size**2:
                hint = "; they agree up to rounding: compute the matrices in float64"
            raise AxiomError(
                f"{name}: no homomorphism: for g = {g} ({group.label(g)}) and h = {h} ({group.label(h)}), "
                f"rho(g) rho(h) differs from rho(g h) by {gap[h]:.2g}{hint}"
            )


def clean_homomorphism(M: NDArray[np.float64], group: FiniteGroup, name: str) -> NDArray[np.float64]:
    """The exact representation near matrices that almost are one, by steps ``M(g) ← (1/|G|) Σ_h M(g·h) M(h)⁻¹``; a new
    array.

    The error of the law is squared by each step. Where the given matrices are nearly orthogonal, the result is
    orthogonal.
    Shapes: ``M (order, n, n)`` and the result, which is checked to 1e-8.

    Raises: AxiomError where that would take too long, or does not settle.
    """
    if group.order**2 * M.shape[1] ** 3 > _MOST_MULTIPLICATIONS:
        raise AxiomError(f"{name}: {len(M)} matrices in less than float64 are too many to be made exact; give float64")
    M = M.copy()
    is_orthogonal = np.abs(M.swapaxes(1, 2) @ M - np.eye(M.shape[1])).max() < NEARLY_ORTHOGONAL
    for _ in range(_STEPS):
        if is_orthogonal:
            # The polar factor is the nearest orthogonal matrix.
            U, _, Vt = np.linalg.svd(M)
            M = U @ Vt
        inverses = np.linalg.inv(M)
        M = np.stack([(M[group.table[g]] @ inverses).mean(axis=0) for g in group.elements])
    # Averaging leaves rounding in it.
    M[0] = np.eye(M.shape[1])
    check_homomorphism(M, group, name)
    return M


def check_brackets(M: NDArray[np.float64], algebra: LieAlgebra, name: str, tolerance: float = LAW) -> None:
    """Raise AxiomError unless ``[M_i, M_j] = Σ_k c_ijk M_k`` for matrices ``(d, n, n)`` and the algebra's structure
    constants.

    ``tolerance``: the largest error of an entry, relative to the largest entry of ``M`` times the larger of that and
    the largest structure constant.
    """
    gap = _bracket_gap(M, algebra)
    c = algebra.structure_constants
    size = float(np.abs(M).max())
    worst = np.abs(gap).max(axis=(2, 3))
    if worst.max() > tolerance * size * max(size, float(np.abs(c).max())):
        i, j = (int(n) for n in np.unravel_index(worst.argmax(), worst.shape))
        hint = ""
        if worst.max() < ALMOST * size * max(size, float(np.abs(c).max())):
            hint = "; they agree up to rounding: compute the matrices in float64, or give them as float32"
        raise AxiomError(
            f"{name}: no representation of {algebra.name}: the bracket of the matrices of {algebra.labels[i]} and "
            f"{algebra.labels[j]} differs from the matrix of their bracket by {worst[i, j]:.2g}{hint}"
        )


def clean_brackets(M: NDArray[np.float64], algebra: LieAlgebra, name: str) -> NDArray[np.float64]:
    """The generators ``(d, n, n)`` nearest to ``M`` that keep the brackets to float64, by Gauss-Newton steps of least
    length.

    Entries that are rounding of zero become zero, and generators that are nearly antisymmetric become antisymmetric.
    Raises: AxiomError for very many numbers, or where the steps do not settle.
    """
    if M.size > _MOST_UNKNOWNS:
        raise AxiomError(f"{name}: {M.size} numbers in less than float64 are too many to be made exact; give float64")
    size = float(np.abs(M).max())
    # A zero was most often meant exactly.
    M = np.where(np.abs(M) < _ROUNDED_TO_ZERO * size, 0.0, M)
    if np.abs(M + M.swapaxes(1, 2)).max() < ALMOST * size:
        M = (M - M.swapaxes(1, 2)) / 2  # the steps below keep that
    c = algebra.structure_constants
    for _ in range(_STEPS):
        gap = _bracket_gap(M, algebra)
        if np.abs(gap).max() < _NOTHING_LEFT * size * max(size, 1.0):
            break
        M = M - _least_step(M, c, gap)
    check_brackets(M, algebra, name)
    return M


def _least_step(M: NDArray[np.float64], c: NDArray[np.float64], gap: NDArray[np.float64]) -> NDArray[np.float64]:
    """The shortest change of ``M`` that changes ``[M_i, M_j] − Σ_k c_ijk M_k`` by ``gap``, to first order.

    Shapes: ``M`` and the result ``(d, n, n)``, ``c (d, d, d)``, ``gap (d, d, n, n)``.
    """
    d, n, _ = M.shape
    MT = M.swapaxes(1, 2)

    def change_of_gap(step: NDArray[np.float64]) -> NDArray[np.float64]:
        """The first-order change of the brackets' errors by a ``step`` of ``M``, both flattened."""
        s = step.reshape(d, n, n)
        products = np.matmul(s[:, None], M[None]) - np.matmul(M[None], s[:, None])  # [s_i, M_j]
        return (products - products.swapaxes(0, 1) - np.tensordot(c, s, 1)).ravel()

    def adjoint(values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The adjoint of ``change_of_gap`` as a linear map: from ``(d · d · n · n,)`` to ``(d · n · n,)``."""
        r = values.reshape(d, d, n, n)
        r = r - r.swapaxes(0, 1)
        commutators = (np.matmul(r, MT[None]) - np.matmul(MT[None], r)).sum(1)
        return (commutators - np.tensordot(c, values.reshape(d, d, n, n), ((0, 1), (0, 1)))).ravel()

    # Least squares by products with the operator and its adjoint, since its matrix would be far too large.
    operator = LinearOperator((d * d * n * n, d * n * n), matvec=change_of_gap, rmatvec=adjoint, dtype=np.float64)
    return lsqr(operator, gap.ravel(), atol=_RELATIVE_ERROR, btol=_RELATIVE_ERROR, iter_lim=400)[0].reshape(d, n, n)


def _bracket_gap(M: NDArray[np.float64], algebra: LieAlgebra) -> NDArray[np.float64]:
    """The errors of the brackets, ``[M_i, M_j] − Σ_k c_ijk M_k``, ``(d, d, n, n)``."""
    products = np.matmul(M[:, None], M[None])
    return products - products.swapaxes(0, 1) - np.tensordot(algebra.structure_constants, M, 1)
