"""What learned Kronecker factors say: which turns and flips of a 3 × 3 kernel the filters do not see.

A convolution's filters are ``W = V ×₁ A ×₂ B ×₃ C``; ``C (9, taps)`` makes each 3 × 3 kernel. A kernel does not see a
turn of the image if it has one value on each orbit of the nine places; all do if the columns of ``C`` have. Gradient
steps move a filter by ``C Cᵀ`` times the slope, so no step breaks the invariance if these columns have it.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from msr.discovery import discover
from msr.representations import Representation, grid_reflections, grid_rotations

__all__ = [
    "EPS",
    "GROUPS",
    "ORBITS",
    "KernelReading",
    "defect",
    "discovered",
    "kernels_of",
    "read_kernels",
    "seen_share",
]

SIDE = 3
EPS = 0.1
"""The defect up to which a layer's kernels are certified as invariant; 1 is what unrelated kernels have."""
ORBITS = ((0, 2, 6, 8), (1, 3, 5, 7), (4,))
"""The places of a kernel that turns and flips take to each other: the corners, the edges, the middle."""

_EXAMPLES = 40
_MOST_KERNELS = 200


GROUPS: dict[str, Representation] = {
    "flips": grid_reflections((SIDE, SIDE)),
    "quarter turns": grid_rotations(SIDE),
    "turns and flips": grid_rotations(SIDE, flips=True),
}
"""The groups of turns and flips that act on the nine places of a kernel, by name."""


@dataclass(frozen=True)
class KernelReading:
    """What the kernels of one layer see of each group, by its name.

    Attributes:
        seen: the share of the kernels' energy that is not constant on orbits, from 0 (invariant) to 1; kernels of
            independent normal numbers have ``1 − orbits / 9``: 0.56, 0.67 and 0.67. None where all kernels are zero.
        verdict: ``certified`` where the exact :func:`defect` is at most :data:`EPS`, else ``refuted``; ``no kernel``
            where all are zero.
    """

    seen: dict[str, float | None]
    verdict: dict[str, str]


def kernels_of(weight: Tensor) -> Tensor:
    """The kernels of convolutions ``(..., 3, 3)`` as rows ``(kernels, 9)``."""
    return weight.reshape(-1, SIDE * SIDE)


def seen_share(kernels: Tensor, rep: Representation) -> float:
    """``1 − ‖K P‖² / ‖K‖²``, with ``P`` the mean over the group: what turns and flips change of kernels ``(n, 9)``.

    It is 0 where all are invariant, and nan where all are zero.
    """
    elements = [rep.matrix(g).to(kernels) for g in rep.group.elements]
    mean = torch.stack(elements).mean(0)
    return float(1 - (kernels @ mean).square().sum() / kernels.square().sum())


def defect(kernels: Tensor, rep: Representation) -> float:
    """``max_g ‖K ρ(g) − K‖ / √2 ‖K‖`` over the elements: how far kernels ``(n, 9)`` are from invariant, exactly.

    It is the defect of :func:`msr.equivariance.weight_error` with one norm over all kernels, since what a layer, or a
    factor, does is a matter of ``KᵀK`` alone: ``K`` and ``Q K`` have the same defect for every orthogonal ``Q``. Its
    unit is none; 1 is what kernels of independent normal numbers have where an element moves every place.
    """
    size = float(kernels.norm())
    moved = [float((kernels @ rep.matrix(g).to(kernels) - kernels).norm()) for g in rep.group.elements]
    return max(moved) / (2**0.5 * size)


def read_kernels(kernels: Tensor) -> KernelReading:
    """How invariant the kernels ``(n, 9)`` of a layer are, with a certificate for each group."""
    if not kernels.any():
        return KernelReading(dict.fromkeys(GROUPS, None), dict.fromkeys(GROUPS, "no kernel"))
    return KernelReading(
        {name: seen_share(kernels, rep) for name, rep in GROUPS.items()},
        {name: "certified" if defect(kernels, rep) <= EPS else "refuted" for name, rep in GROUPS.items()},
    )


def discovered(kernels: Tensor, *, of_a_factor: bool = False, seed: int = 0) -> str:
    """What discovery says of kernels ``(n, 9)``, each a linear task from nine places to one number, in one line.

    ``of_a_factor`` says that they are the columns of a factor: the tasks are then random combinations of them, as
    filters of independent normal numbers would make.

    Kernels that are invariant to turns and flips are as invariant to every permutation within an orbit, and no data can
    tell these groups apart: the largest, of the corners and of the edges, S4 × S4, is what is found then.
    """
    if not kernels.any():
        return "no kernel"
    draw = np.random.default_rng(seed)
    chosen = kernels.double().numpy()
    if of_a_factor:
        chosen = draw.standard_normal((_MOST_KERNELS, len(chosen))) @ chosen
    elif len(chosen) > _MOST_KERNELS:
        chosen = chosen[draw.choice(len(chosen), _MOST_KERNELS, replace=False)]
    x = draw.standard_normal((len(chosen), _EXAMPLES, SIDE * SIDE))
    y = np.einsum("tek,tk->te", x, chosen)[..., None]
    return str(discover(x, y, eps=EPS, seed=seed)).splitlines()[0]
