"""Structure constants and the Killing form of skew pairs: facts about their algebra that the tests compare with."""

import torch
from torch import Tensor

from msr.errors import DataError, ShapeError


def structure_constants(A: Tensor, B: Tensor) -> Tensor:
    """``c[i, j, k]`` of ``[X_i, X_j] = Σ_k c_ijk X_k`` for the pairs ``X = (A, B)``, ``(q, q, q)``.

    Shapes: ``A (q, out, out)``, ``B (q, in, in)``, linearly independent, as ``skew_pairs`` gives them.
    Raises: ShapeError; DataError where a bracket leaves the span.
    """
    if A.ndim != 3 or B.ndim != 3 or len(A) != len(B):
        raise ShapeError(f"as many A (q, out, out) as B (q, in, in) are needed; got {tuple(A.shape)}, {tuple(B.shape)}")
    X = torch.cat([A.flatten(1), B.flatten(1)], dim=1).double()
    # Row by row, so that the brackets of a large algebra never lie there all at once.
    inverse = torch.linalg.pinv(X)
    rows = []
    for a, b in zip(A.double(), B.double(), strict=True):
        brackets = torch.cat([(a @ A - A @ a).flatten(1), (b @ B - B @ b).flatten(1)], dim=1)
        row = brackets @ inverse
        if (brackets - row @ X).abs().max() > 1e-6 * X.abs().max() ** 2:
            raise DataError("the pairs are no Lie algebra: a bracket leaves their span; give a basis of skew_pairs()")
        rows.append(row)
    return torch.stack(rows) if rows else X.new_zeros(0, 0, 0)


def killing_form(c: Tensor) -> Tensor:
    """``K_ij = tr(ad_i ad_j) = Σ_kl c_ikl c_jlk``, ``(q, q)``, from structure constants ``(q, q, q)``.

    Negative semidefinite for a compact algebra; its kernel is the centre, the ``u(1)`` of the name.
    """
    return torch.einsum("ikl,jlk->ij", c, c)
