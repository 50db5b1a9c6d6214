"""The seven normalisations, each as the speed at which directions and radii of the tokens move.

A token is ``x = r θ`` with its radius ``r`` and its direction ``θ`` on the unit sphere. With ``A`` for what the block
gives at the directions, all schemes but ``none`` are

    θ' = P_θ A / s,   P_θ A = A − ⟨θ, A⟩ θ,   and the table's r':

| norm | s | r' | what a layer does |
|---|---|---|---|
| post | 1 | 0 | x ← LN(x + A) |
| pre | r | ⟨θ, A⟩ | x ← x + A(LN x) |
| mix | post until τ, then pre | | |
| peri | r ‖A‖ | ⟨θ, A⟩ / ‖A‖ | x ← x + LN(A(LN x)) |
| ngpt | ‖A‖ | 0 | x ← LN(x + LN A) |
| sqrt | r √(1 + t) | ⟨θ, A⟩ / √(1 + t) | x ← x + A(LN x) / √(1 + t) |

so ``x' = (r / s) A`` where the radius moves, and ``x' = (r / s) P_θ A`` where it does not. ``LN`` divides by the norm.
Source: Karagodin, Ge, Polyanskiy, Rigollet, Normalization in attention dynamics, 2025; the time of ``sqrt`` is our
convention.
"""

from typing import Literal

import torch
from torch import Tensor

__all__ = ["GROWING", "NORMS", "ON_SPHERE", "Norm", "growth", "speed"]

Norm = Literal["post", "pre", "mix", "peri", "ngpt", "sqrt", "none"]

NORMS = ("post", "pre", "mix", "peri", "ngpt", "sqrt", "none")
ON_SPHERE = ("post", "ngpt")
"""Schemes whose radius is 1 and does not move."""
GROWING = ("pre", "mix", "peri", "sqrt")
"""Schemes with radii, which move."""


def speed(norm: Norm, output: Tensor, radii: Tensor, t: float, late: bool) -> Tensor:
    """``s``: what the tangent part of the block's output is divided by.

    Args:
        norm: any but ``none``.
        output: ``A``, ``(..., d)``.
        radii: ``r``, ``(..., 1)``.
        t: the time, which ``sqrt`` looks at.
        late: whether the time of ``mix`` is beyond its ``τ``.

    Shapes: the result is ``(..., 1)``.
    """
    if norm == "pre" or (norm == "mix" and late):
        return radii
    if norm == "peri":
        return radii * torch.linalg.vector_norm(output, dim=-1, keepdim=True)
    if norm == "ngpt":
        return torch.linalg.vector_norm(output, dim=-1, keepdim=True)
    if norm == "sqrt":
        return radii * (1 + t) ** 0.5
    return torch.ones_like(radii)


def growth(norm: Norm, along: Tensor, speeds: Tensor, radii: Tensor, late: bool) -> Tensor:
    """``r' = ⟨θ, A⟩ r / s``, and 0 where the radius does not move.

    Shapes: ``along (..., 1)`` is ``⟨θ, A⟩``, ``speeds`` and ``radii`` are as in :func:`speed`; the result is
    ``(..., 1)``.
    """
    moves = norm in GROWING and (norm != "mix" or late)
    return along * radii / speeds if moves else torch.zeros_like(radii)
