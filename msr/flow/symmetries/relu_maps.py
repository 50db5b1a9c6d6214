"""Networks ``W2 relu(W1 x + b)`` as functions: when two of them are the same, whatever their weights.

``relu(z) = (z + |z|) / 2``, and the functions ``|w·x + b|`` of different hyperplanes and all affine functions are
linearly independent. So a network is its affine part, and one coefficient for each hyperplane where it bends: units
that bend along one hyperplane are added up.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

__all__ = ["Bends", "bends_of", "commutes"]

SAME = 1e-9
"""Relative error up to which hyperplanes and coefficients are the same."""


@dataclass(frozen=True, eq=False)
class Bends:
    """``x ↦ L x + c + Σ_j C_j |u_j · (x, 1)|``, with hyperplanes that differ from each other.

    Attributes:
        planes: ``(m, d + 1)``: ``u_j``, of norm 1, its last entry the offset.
        coefficients: ``(m, d)``: ``C_j``, none of which is 0.
        linear: ``(d, d)``: ``L``.
        constant: ``(d,)``: ``c``.
    """

    planes: NDArray[np.float64]
    coefficients: NDArray[np.float64]
    linear: NDArray[np.float64]
    constant: NDArray[np.float64]


def bends_of(W1: NDArray[np.float64], W2: NDArray[np.float64], b: NDArray[np.float64], *, on_sphere: bool) -> Bends:
    """The bends of a network of weights ``(width, d)``, ``(d, width)`` and ``(width,)``.

    On the unit sphere a unit with ``b ≥ |w|`` never bends, and one with ``b ≤ −|w|`` is always 0; elsewhere that is so
    for ``w = 0`` only.
    """
    d = W1.shape[1]
    lengths = np.linalg.norm(W1, axis=1)
    reach = lengths if on_sphere else np.zeros_like(lengths)
    # Relative to the unit itself: its input weights may be small where its output weights are large.
    tiny = SAME * np.maximum(lengths, np.abs(b))
    always = (b >= reach - tiny * on_sphere) & ((lengths == 0) | on_sphere)
    never = (b <= -reach + tiny * on_sphere) & ((lengths == 0) | on_sphere) & ~always
    bent = ~always & ~never
    # An affine unit enters with its full weight, a bent one with half of it, and a bend of the other half.
    share = np.where(always, 1.0, np.where(bent, 0.5, 0.0))
    linear = (W2 * share) @ W1
    constant = W2 @ (share * b)
    rows = np.concatenate([W1, b[:, None]], axis=1)[bent]
    sizes = np.linalg.norm(rows, axis=1)
    planes = rows / sizes[:, None]
    coefficients = (W2[:, bent] * (sizes / 2)).T
    scale = float(np.abs(coefficients).max(initial=0.0))
    planes, coefficients = _merged(planes, coefficients)
    kept = np.abs(coefficients).max(axis=1, initial=0.0) > SAME * scale if len(planes) else np.zeros(0, dtype=bool)
    return Bends(planes[kept].reshape(-1, d + 1), coefficients[kept].reshape(-1, d), linear, constant)


def commutes(bends: Bends, R: NDArray[np.float64]) -> bool:
    """Whether ``f(R x) = R f(x)`` for all ``x``, for a matrix ``R (d, d)`` that can be inverted."""
    # f(R x) bends along the planes (Rᵀw, b) with the same coefficients, R f(x) along the same planes with R C.
    turned = np.concatenate([bends.planes[:, :-1] @ R, bends.planes[:, -1:]], axis=1)
    sizes = np.linalg.norm(turned, axis=1)
    planes = np.concatenate([turned / sizes[:, None], bends.planes])
    coefficients = np.concatenate([bends.coefficients * sizes[:, None], -bends.coefficients @ R.T])
    _, differences = _merged(planes, coefficients)
    parts = [
        (differences, bends.coefficients),
        (bends.linear @ R - R @ bends.linear, bends.linear),
        (R @ bends.constant - bends.constant, bends.constant),
    ]
    scale = max(float(np.abs(size).max(initial=0.0)) for _, size in parts)
    return all(float(np.abs(off).max(initial=0.0)) <= SAME * scale * len(R) for off, _ in parts)


def _merged(
    planes: NDArray[np.float64], coefficients: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Different hyperplanes and the sums of their coefficients; ``u`` and ``−u`` are one hyperplane."""
    if len(planes) == 0:
        return planes, coefficients
    signs = np.where(planes @ planes.T < 0, -1.0, 1.0)
    distances = np.linalg.norm(planes[:, None] - signs[..., None] * planes[None], axis=-1)
    count, labels = connected_components(csr_array(distances <= 10 * SAME), directed=False)
    sums = np.zeros((count, coefficients.shape[1]))
    np.add.at(sums, labels, coefficients)
    first = np.unique(labels, return_index=True)[1]
    return planes[first], sums
