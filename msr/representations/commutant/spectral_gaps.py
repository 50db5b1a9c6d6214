"""Gaps in the spectrum of skew pairs: how many of them a span commutes with, as far as its noise lets it be seen."""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Gap", "gaps", "orthonormal", "skew_spectrum"]

# A gap lies above singular values up to this share of the largest, and its ends are this many times apart.
_LEVEL, _GAP = 0.1, 3.0
_ZERO = 1e-7  # of the largest, roots of what rounding leaves of zero


@dataclass(frozen=True, eq=False)
class Gap:
    """In the ``values`` of a basis, ascending: so many are ``below`` it."""

    basis: Tensor
    below: int
    values: Tensor

    @property
    def ends(self) -> tuple[float, float]:
        """The values at its two ends, as shares of the largest."""
        low, high = self.values[self.below - 1 : self.below + 1] / self.values[-1]
        return float(low), float(high)

    @property
    def ratio(self) -> float:
        """How many times its ends are apart; what is known to rounding only is zero."""
        return self.ends[1] / max(self.ends[0], _ZERO)


def orthonormal(V: Tensor) -> Tensor:
    """A basis of the span, in which a weak map counts as much as a strong one."""
    _, values, rows = torch.linalg.svd(V.flatten(1), full_matrices=False)
    return rows[values > 1e-9 * values[0]].view(-1, *V.shape[1:])


def skew_spectrum(V: Tensor, fixed: Tensor | None) -> Tensor:
    """Singular values, ascending, of ``(A, B) ↦ (A W_j − W_j B)_j`` on skew pairs; ``B`` leaves a constant in place."""
    m, n = V.shape[1:]
    a, b = torch.triu_indices(m, m, 1)
    moved = n if fixed is None else n - 1
    c, d = torch.triu_indices(moved, moved, 1)
    # Of E_ab − E_ba and W (E_cd − E_dc), over all maps.
    both = sum((w[a][:, c] * w[b][:, d] - w[a][:, d] * w[b][:, c] for w in V), V.new_zeros(len(a), len(c)))
    outer = _skew_gram(torch.einsum("kij,klj->il", V, V), a, b)
    inner = _skew_gram(torch.einsum("kij,kil->jl", V, V), c, d)
    gram = torch.cat([torch.cat([outer, -2 * both], 1), torch.cat([-2 * both.mT, inner], 1)])
    return torch.linalg.eigvalsh(gram).clamp_min(0).sqrt()


def _skew_gram(S: Tensor, i: Tensor, j: Tensor) -> Tensor:
    """``⟨X_p W, X_q W⟩`` of the skew units ``X = E_ij − E_ji``, for ``S = W Wᵀ``."""

    def term(one: Tensor, other: Tensor, left: Tensor, right: Tensor) -> Tensor:
        return (one[:, None] == other[None]) * S[left][:, right]

    return term(i, i, j, j) - term(i, j, j, i) - term(j, i, i, j) + term(j, j, i, i)


def gaps(basis: Tensor, fixed: Tensor | None) -> list[Gap]:
    """All that are wide enough, the widest first."""
    values = skew_spectrum(basis, fixed)
    if len(values) < 2 or float(values[-1]) == 0:
        return []
    shares = values / values[-1]
    wide = (shares[:-1] <= _LEVEL) & (shares[1:] >= _GAP * shares[:-1].clamp_min(_ZERO))
    found = [Gap(basis, below + 1, values) for below in wide.nonzero().flatten().tolist()]
    return sorted(found, key=lambda gap: -gap.ratio)
