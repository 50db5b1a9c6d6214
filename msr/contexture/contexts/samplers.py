"""Contexts that are known by examples only: an augmentation, or any other random function of a point."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from msr.arrays import takes_arrays
from msr.errors import NonFiniteError, ShapeError

__all__ = ["SamplerContext"]


@dataclass(frozen=True)
class SamplerContext:
    """A context by a sampler of ``P(a|x)``: crops, masks, noise. It has no table, so no exact spectrum.

    Encoders are trained on what it draws; what they then capture is estimated from draws too.

    Args:
        sampler: takes points ``(batch, …)`` and a generator, and returns one context of each, ``(batch, …)``. All of
            its randomness comes from the generator.
        name: for tables and figures.
    """

    sampler: Callable[[Tensor, torch.Generator], Tensor]
    name: str = "sampler"

    @takes_arrays("points")
    def draw(self, points: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        """Contexts of points ``(batch, …)``: ``(batch, draws, …)``, independent of each other.

        Raises: ShapeError where the sampler changes the number of points; NonFiniteError where it returns nan or
        infinity.
        """
        drawn = []
        for _ in range(draws):
            context = self.sampler(points, generator)
            if len(context) != len(points):
                raise ShapeError(f"{self.name}: {len(points)} points were given and {len(context)} contexts came back")
            if not torch.isfinite(context).all():
                raise NonFiniteError(f"{self.name}: the contexts hold nan or infinity")
            drawn.append(context)
        return torch.stack(drawn, dim=1)
