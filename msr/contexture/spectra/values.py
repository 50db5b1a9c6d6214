"""The singular values and functions of a context, and where equal values make one space."""

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

from msr.brief import Brief
from msr.errors import ConfigError, DataError

__all__ = ["Spectrum"]


@dataclass(frozen=True, eq=False, repr=False)
class Spectrum(Brief):
    """The largest singular values of a context's expectation operator ``T``, without that of the constant function.

    Attributes:
        name: of the context.
        values: ``(k,)`` float64, ``s_1 ≥ s_2 ≥ …`` in 0 to 1.
        functions: ``(n, k)`` float64, the left singular functions ``μ_i`` on the points: of mean 0, mean square 1 and
            uncorrelated in the weights of the points. Those of equal values are any basis of their space.
        context_functions: ``(m, k)`` float64, the right ones ``ν_i = T* μ_i / s_i`` on the values of ``A``: 0 where
            ``s_i`` is, and at an ``a`` that never occurs; None for a context known by its kernel.
        weights: ``(n,)`` float64, the probability of each point.
        energy: ``Σ s_i²`` over *all* singular values but that of the constant.
        complete: whether all ``n − 1`` values are here.
    """

    name: str
    values: Tensor
    functions: Tensor
    context_functions: Tensor | None
    weights: Tensor
    energy: float
    complete: bool

    @property
    def squares(self) -> Tensor:
        """``s_i²``, ``(k,)``: the eigenvalues of ``T T*``."""
        return self.values.square()

    def blocks(self, atol: float = 1e-6) -> list[tuple[int, int]]:
        """Where equal values begin and end, ``[(0, 1), (1, 3), …]``: each block is one eigenspace of ``T T*``.

        Neighbours are equal if they differ by at most ``atol``. The last block may go
        on beyond the values that are here, unless they are complete.
        """
        cuts = [0, *(torch.nonzero(-self.values.diff() > atol).flatten() + 1).tolist(), len(self.values)]
        return [(start, stop) for start, stop in itertools.pairwise(cuts) if stop > start]

    def whole(self, d: int, atol: float = 1e-6) -> int:
        """The least number of functions, at least ``d``, that cuts no eigenspace.

        The top ``d`` functions are unique as a space only if it is ``d`` itself.
        Raises: ConfigError unless ``d`` is from 1 to the number of values; DataError where the eigenspace may go on
        beyond the values that are here.
        """
        if not 1 <= d <= len(self.values):
            raise ConfigError(f"{self.name}: d must be from 1 to the {len(self.values)} values known; got {d}")
        stop = next(stop for _, stop in self.blocks(atol) if stop >= d)
        # A value of 0 is no function of the context: whatever is beyond it is worth as little.
        if stop == len(self.values) and not self.complete and float(self.values[-1]) > atol:
            raise DataError(
                f"{self.name}: the value number {d} may be equal to others that were not computed; ask for more than "
                f"{len(self.values)}"
            )
        return stop

    def best_energy(self, d: int) -> float:
        """``s_1² + … + s_d²``: the most that ``d`` functions can capture. Raises: ConfigError for a ``d`` unknown."""
        if not 0 <= d <= len(self.values):
            raise ConfigError(f"{self.name}: d must be from 0 to the {len(self.values)} values known; got {d}")
        return float(self.squares[:d].sum())

    def rank(self, tolerance: float = 1e-9) -> int:
        """How many of the values are above ``tolerance``."""
        return int((self.values > tolerance).sum())
