"""Gaps in the singular values of the equation of skew pairs: how many pairs commute with a span, despite its noise."""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Gap", "gaps", "orthonormal", "skew_spectrum"]

_LEVEL = 0.1
"""Largest singular value below a gap, as a share of the largest singular value. Chosen by hand."""
_GAP = 3.0
"""Least ratio of the singular values above and below a gap. Chosen by hand."""
_ZERO = 1e-7
"""Share of the largest singular value below which one counts as zero: they are roots of eigenvalues, known to
rounding.
"""
_RANK = 1e-9
"""Share of the largest singular value of the maps below which a direction is none of the span's."""


@dataclass(frozen=True, eq=False)
class Gap:
    """A gap in the singular values of :func:`skew_spectrum` for one basis of a span of maps.

    Attributes:
        basis: ``(k, out, in)``, the maps, which need not be orthonormal.
        below: how many singular values lie below the gap, at least 1: as many pairs commute with the span, up to its
            noise.
        values: all singular values, ascending.
    """

    basis: Tensor
    below: int
    values: Tensor

    @property
    def ends(self) -> tuple[float, float]:
        """The singular values just below and just above the gap, as shares of the largest singular value."""
        low, high = self.values[self.below - 1 : self.below + 1] / self.values[-1]
        return float(low), float(high)

    @property
    def ratio(self) -> float:
        """How wide the gap is: the singular value above it over that below it, which is taken as at least 1e-7 of
        the largest.
        """
        return self.ends[1] / max(self.ends[0], _ZERO)


def orthonormal(V: Tensor) -> Tensor:
    """An orthonormal basis ``(rank, out, in)`` of the span of maps ``V (k, out, in)``, for the Frobenius product.

    In it a weak direction counts as much as a strong one.
    """
    _, values, rows = torch.linalg.svd(V.flatten(1), full_matrices=False)
    return rows[values > _RANK * values[0]].view(-1, *V.shape[1:])


def skew_spectrum(V: Tensor, fixed: Tensor | None) -> Tensor:
    """Singular values, ascending, of ``(A, B) ↦ (A W_j − W_j B)_j`` on skew pairs ``A (out, out)``, ``B (in, in)``.

    ``V (k, out, in)`` are the maps ``W_j``. Unless ``fixed`` is None, the last input is a constant that ``B`` leaves in
    place; the numbers in it are not read. There is one value for each pair of outputs and each pair of inputs that may
    move.
    """
    m, n = V.shape[1:]
    # A skew matrix is given by its entries above the diagonal.
    a, b = torch.triu_indices(m, m, 1)
    # The constant input is the last one.
    free = n if fixed is None else n - 1
    c, d = torch.triu_indices(free, free, 1)
    # Inner products of (E_ab − E_ba) W and W (E_cd − E_dc), summed over the maps, without building either.
    both = sum((w[a][:, c] * w[b][:, d] - w[a][:, d] * w[b][:, c] for w in V), V.new_zeros(len(a), len(c)))
    outer = _skew_gram(torch.einsum("kij,klj->il", V, V), a, b)
    inner = _skew_gram(torch.einsum("kij,kil->jl", V, V), c, d)
    gram = torch.cat([torch.cat([outer, -2 * both], 1), torch.cat([-2 * both.mT, inner], 1)])
    return torch.linalg.eigvalsh(gram).clamp_min(0).sqrt()


def _skew_gram(S: Tensor, i: Tensor, j: Tensor) -> Tensor:
    """Inner products ``⟨X_p W, X_q W⟩`` of the skew units ``X_p = E_ij − E_ji``, for ``S = W Wᵀ``: ``(pairs, pairs)``.

    ``i``, ``j``: the row and the column of each unit ``X_p``, ``(pairs,)``, with ``i < j``.
    """

    def term(row: Tensor, column: Tensor, left: Tensor, right: Tensor) -> Tensor:
        return (row[:, None] == column[None]) * S[left][:, right]

    return term(i, i, j, j) - term(i, j, j, i) - term(j, i, i, j) + term(j, j, i, i)


def gaps(basis: Tensor, fixed: Tensor | None) -> list[Gap]:
    """All gaps in :func:`skew_spectrum` of maps ``(k, out, in)`` that are wide enough, the widest (by ratio) first.

    Wide enough: the value below is at most ``_LEVEL`` of the largest, and the value above at least ``_GAP`` times it.
    ``fixed`` is that of :func:`skew_spectrum`.
    """
    values = skew_spectrum(basis, fixed)
    if len(values) < 2 or float(values[-1]) == 0:
        return []
    shares = values / values[-1]
    is_gap = (shares[:-1] <= _LEVEL) & (shares[1:] >= _GAP * shares[:-1].clamp_min(_ZERO))
    wide = [Gap(basis, last + 1, values) for last in is_gap.nonzero().flatten().tolist()]
    return sorted(wide, key=lambda gap: -gap.ratio)
