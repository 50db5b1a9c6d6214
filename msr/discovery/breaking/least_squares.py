"""How much of the tasks' own weights breaks a group, by least squares of each task."""

import torch
from torch import Tensor

from msr.discovery.breaking.sample import Average, Sample, away
from msr.discovery.data.forms import chunks
from msr.permutations import Indices, reynolds_operator
from msr.span import SharedSpan

__all__ = ["LeastSquares"]

_DRAWS, _NUMBERS = 16, 2**23  # draws of noise, and numbers that they may take
_KEPT = 2**25  # numbers of fits of all tasks that are kept; more are made again each time they are looked at


class LeastSquares:
    """From least squares, less what noise adds to it on average; whatever the inputs are.

    ``Ŵ = Yᵀ X (XᵀX)⁻¹`` has mean ``W``. What its noise adds is the mean over draws, in which each example's residual,
    divided by ``√(1 − h)`` for its leverage ``h``, gets a random sign: unbiased where the noise of a task's examples is
    alike, nearly so where it is not, and whatever outputs have in common.
    """

    method = "least squares"
    symmetric = False

    def __init__(self, sample: Sample, average: Average = reynolds_operator):
        self._sample, self._average = sample, average
        self._known = sample.solvable
        self._places = self._known.nonzero()[:, 0]
        (_, examples, n), m, count = sample.x.shape, sample.y.shape[2], len(self._places)
        draw = torch.Generator().manual_seed(0)
        draws = max(2, min(_DRAWS, _NUMBERS // max(1, count * m * max(n, examples))))
        self._signs = torch.randint(2, (draws, count, examples), generator=draw, dtype=torch.int8)
        self._silence = torch.full((len(sample),), torch.nan, dtype=torch.float64)
        self._numbers = (draws + 3) * (m * n + m * examples) + 2 * n * (n + examples)
        kept = count * self._numbers <= _KEPT
        self._kept = self._fitted(torch.arange(count), silence=True) if kept else None
        if not kept:
            for part in chunks(count, self._numbers):
                self._fitted(torch.arange(count)[part], silence=True)

    def _fitted(self, places: Tensor, silence: bool = False) -> tuple[Tensor, Tensor]:
        """Weights ``(tasks, m, n)`` and what noise makes of them, ``(draws, tasks, m, n)``, of some that are known."""
        s, tasks = self._sample, self._places[places]
        x, y, counts = s.x[tasks], s.y[tasks], s.counts[tasks]
        factor = torch.linalg.cholesky(x.mT @ x)
        weights = torch.cholesky_solve(x.mT @ y, factor).mT
        left = y - x @ weights.mT
        if silence:
            self._silence[tasks] = left.square().sum((1, 2)) / (counts - 1 - x.shape[2])
        # How far each example pulls its own fit; its residual is that much smaller than its noise.
        pull = torch.linalg.solve_triangular(factor, x.mT, upper=False).square().sum(1) + 1 / counts[:, None]
        seen = left / (1 - pull).clamp_min(1e-3).sqrt().unsqueeze(2)
        signs = 2.0 * self._signs[:, places, :, None].double() - 1
        return weights, torch.cholesky_solve(x.mT @ (signs * seen), factor.expand(len(signs), *factor.shape)).mT

    def __call__(
        self, orbits: Indices, span: SharedSpan | None, directions: Tensor, tasks: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As :class:`Broken` says."""
        whole = torch.full((len(tasks),), torch.inf, dtype=torch.float64)
        along = whole.clone()
        place, known = self._known.cumsum(0) - 1, self._known[tasks].nonzero()[:, 0]
        for some in (known[part] for part in chunks(len(known), self._numbers)):
            places = place[tasks[some]]
            W, E = self._fitted(places) if self._kept is None else (self._kept[0][places], self._kept[1][:, places])
            signal = away(self._sample, W, orbits, self._average)
            noise = away(self._sample, E.flatten(0, 1), orbits, self._average).view(len(E), len(some), -1)
            whole[some] = signal.square().sum(1) - noise.square().sum(2).mean(0)
            along[some] = (signal @ directions).square().sum(1) - (noise @ directions).square().sum(2).mean(0)
        return whole, along

    def noise(self, span: SharedSpan, tasks: Tensor) -> Tensor:
        """As :class:`Broken` says: from each task's own residual; where there is none, from that of the others."""
        usual = self._silence[self._known].mean() if self._known.any() else self._silence.new_tensor(0.0)
        return torch.where(self._known, self._silence, usual)[tasks]
