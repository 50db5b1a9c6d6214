"""What an estimate of breaking is: for each task an unbiased number for the part of its weights that breaks a group."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from msr.discovery.breaking.sample import Sample
from msr.permutations import Indices
from msr.span import SharedSpan

__all__ = ["Average", "BreakingEstimator", "breaking_part"]

Average = Callable[[Tensor, Indices], Tensor]
"""The Reynolds operator: ``(U (m n, c), orbits (m n,)) -> Ū``, each row replaced by the mean over its orbit."""


class BreakingEstimator(Protocol):
    """Unbiased estimates of ``‖D⁻¹ (W − P W) Σ^½‖²`` of each task.

    ``W (m, n)`` are the task's weights and ``P`` is the Reynolds operator of a group, the mean over its orbits on
    weights; ``D`` and ``Σ`` are the units of a :class:`~msr.discovery.breaking.sample.Sample`. Unbiased means that
    noise adds nothing to the mean of an estimate, which may thus be negative.

    Attributes:
        method: how weights are estimated, in words.
        symmetric: whether noise raises and lowers an estimate by equal amounts equally often.
    """

    method: str
    symmetric: bool

    def __call__(
        self, orbits: Indices, span: SharedSpan | None, directions: Tensor, tasks: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The estimates, and those of the part along some directions alone, which have less noise; both ``(tasks,)``.

        Args:
            orbits: ``(m n,)``, the orbital of each weight: its orbit on pairs of an output and an input.
            span: learned on other tasks; an estimator may use it to have less noise.
            directions: ``(m n, r)``, orthonormal, in the space of ``D⁻¹ W Σ^½``.
            tasks: the places of the tasks that are looked at.

        A task that cannot be estimated gets infinity.
        """

    def noise(self, span: SharedSpan, tasks: Tensor) -> Tensor:
        """An estimate of what noise adds to :attr:`Sample.energies` of the tasks at these places, ``(tasks,)``.

        It has the unit of the energies. ``span`` was learned on other tasks, and an estimator may take it from there.
        """


def breaking_part(sample: Sample, W: Tensor, orbits: Indices, average: Average) -> Tensor:
    """``D⁻¹ (W − P W) Σ^½``, flattened to ``(..., m n)``: the part of weights that breaks a group.

    ``W (..., m, n)`` are the weights for outputs that are divided by their scale already (``D⁻¹ W``).

    Args:
        sample: whose units ``D`` and ``Σ`` are.
        orbits: ``(m n,)``, the orbital of each weight under the group.
        average: the Reynolds operator ``P``, for weights in the units of the data.
    """
    # A group that exchanges two outputs exchanges their weights in the units of the data. So the mean over an orbital
    # is taken in those units, and only the difference is counted in units of the scale.
    full = sample.scale[:, None] * W
    mean = average(full.flatten(-2).flatten(0, -2).mT, orbits).mT.view(W.shape)
    scaled = mean / sample.scale[:, None]
    return (torch.sub(W, scaled, out=scaled) @ sample.root).flatten(-2)
