"""What learned Kronecker factors say: which turns and flips of a 3 × 3 kernel the filters do not see.

A convolution's filters are ``W = V ×₁ A ×₂ B ×₃ C``; ``C (9, taps)`` makes each 3 × 3 kernel. A kernel does not see a
turn of the image if it has one value on each orbit of the nine places; all do if the columns of ``C`` have. Gradient
steps move a filter by ``C Cᵀ`` times the slope, so no step breaks the invariance if these columns have it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from msr.discovery import discover
from msr.equivariance import Exact, certify
from msr.representations import Representation, grid_reflections, grid_rotations, trivial

__all__ = ["GROUPS", "KernelReading", "discovered", "kernels_of", "read_kernels", "seen_share"]

SIDE = 3
EPS = 0.1
"""The defect up to which a layer's kernels are certified as invariant; 1 is what unrelated kernels have."""

_EXAMPLES = 40
_MOST_KERNELS = 200


def _groups() -> dict[str, Representation]:
    """The groups of turns and flips that act on the nine places of a kernel, by name."""
    return {
        "flips": grid_reflections((SIDE, SIDE)),
        "quarter turns": grid_rotations(SIDE),
        "turns and flips": grid_rotations(SIDE, flips=True),
    }


GROUPS = ("flips", "quarter turns", "turns and flips")


@dataclass(frozen=True)
class KernelReading:
    """What the kernels of one layer see of each group, by its name.

    Attributes:
        seen: the share of the kernels' energy that is not constant on orbits, from 0 (invariant) to 1; kernels of
            independent normal numbers have ``1 − orbits / 9``: 0.56, 0.67 and 0.67.
        verdict: of the exact certificate that the kernels are invariant up to :data:`EPS`.
    """

    seen: dict[str, float]
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


def read_kernels(kernels: Tensor) -> KernelReading:
    """How invariant the kernels ``(n, 9)`` of a layer are, with a certificate for each group."""
    seen = {}
    verdict: dict[str, str] = {}
    for name, rep in _groups().items():
        seen[name] = seen_share(kernels, rep)
        # Kernels as a linear map from the nine places to numbers that no turn changes.
        verdict[name] = certify(
            kernels, rep.group, rep, trivial(rep.group, len(kernels)), eps=EPS, rule=Exact()
        ).verdict
    return KernelReading(seen, verdict)


def discovered(kernels: Tensor, *, seed: int = 0) -> str:
    """What discovery says of kernels ``(n, 9)``, each a linear task from nine places to one number, in one line.

    Nine rows or fewer are the columns of a factor: the tasks are then random combinations of them.

    Kernels that are invariant to turns and flips are as invariant to every permutation within an orbit, and no data can
    tell these groups apart: the largest, of the corners and of the edges, S4 × S4, is what is found then.
    """
    draw = np.random.default_rng(seed)
    chosen = kernels.double().numpy()
    if len(chosen) <= SIDE * SIDE:
        # The columns of a factor: what it makes of filters of independent normal numbers.
        chosen = draw.standard_normal((_MOST_KERNELS, len(chosen))) @ chosen
    if len(chosen) > _MOST_KERNELS:
        chosen = chosen[draw.choice(len(chosen), _MOST_KERNELS, replace=False)]
    x = draw.standard_normal((len(chosen), _EXAMPLES, SIDE * SIDE))
    y = np.einsum("tek,tk->te", x, chosen)[..., None]
    return str(discover(x, y, eps=EPS, seed=seed)).splitlines()[0]


def summary(readings: Mapping[str, KernelReading]) -> list[list[str]]:
    """The readings as lines of a table: layer, then for each group the share that is seen and the verdict."""
    lines = []
    for layer, reading in readings.items():
        cells = [f"{100 * reading.seen[name]:.1f}, {reading.verdict[name]}" for name in GROUPS]
        lines.append([layer, *cells])
    return lines
