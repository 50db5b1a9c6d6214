"""An estimate of breaking from least squares of each task, whatever its inputs are."""

import torch
from torch import Tensor

from msr.discovery.breaking.estimator import Average, breaking_part
from msr.discovery.breaking.sample import Sample
from msr.discovery.data.passes import chunks
from msr.discovery.thresholds import THRESHOLDS
from msr.permutations import Indices, reynolds_operator
from msr.span import SharedSpan

__all__ = ["LeastSquares"]

# Limits of memory: numbers that the random signs of all tasks may take, beyond which there are fewer draws; and numbers
# of the fits of all tasks that are kept, beyond which they are computed again each time.
_SIGN_NUMBERS = 2**23
_KEPT_NUMBERS = 2**25
_FEWEST_DRAWS = 2
# The share of all tasks up to which those that are asked for are fitted alone. A limit of time.
_FEW = 0.25
# Least share of an example's noise that its residual is taken to keep, where its leverage is nearly 1.
_LEAST_RESIDUAL = 1e-3


class LeastSquares:
    """``‖D⁻¹ (Ŵ − P Ŵ) Σ^½‖²`` of least squares, less what noise adds to it in the mean.

    ``Ŵ = Yᵀ X (XᵀX)⁻¹`` has mean ``W``. What its noise adds is measured by drawing noise anew: each residual, divided
    by ``√(1 − h)`` for the leverage ``h`` of its example, gets a random sign. That is unbiased where the noise of a
    task's examples has one variance, and nearly so where it has not, however noise is correlated over outputs (the wild
    bootstrap with residuals of type HC2). Tasks are fitted when they are first asked for: all of them, unless it is few
    of them that are looked at. The signs have a fixed seed.

    Args:
        sample: all tasks.
        average: the Reynolds operator on weights.
    """

    method = "least squares"
    symmetric = False

    def __init__(self, sample: Sample, average: Average = reynolds_operator):
        self._sample = sample
        self._average = average
        self._known = sample.solvable
        self._places = self._known.nonzero()[:, 0]
        _, examples, n = sample.x.shape
        m = sample.y.shape[2]
        count = len(self._places)
        draw = torch.Generator().manual_seed(0)
        affordable = _SIGN_NUMBERS // max(1, count * m * max(n, examples))
        draws = max(_FEWEST_DRAWS, min(THRESHOLDS().sign_draws, affordable))
        self._signs = torch.randint(2, (draws, count, examples), generator=draw, dtype=torch.int8)
        self._noise_energy = torch.full((len(sample),), torch.nan, dtype=torch.float64)
        # Numbers that the fit of one task makes.
        self._numbers = (draws + 3) * (m * n + m * examples) + 2 * n * (n + examples)
        self._kept: tuple[Tensor, Tensor] | None = None
        self._noise_is_set = False

    def _fit_all(self) -> None:
        """Fit all tasks that can be solved, once, for what noise adds; the fits are kept if they are small enough."""
        if self._noise_is_set:
            return
        every = torch.arange(len(self._places))
        if len(every) * self._numbers <= _KEPT_NUMBERS:
            self._kept = self._fitted(every, set_noise=True)
        else:
            for part in chunks(len(every), self._numbers):
                self._fitted(every[part], set_noise=True)
        self._noise_is_set = True

    def __call__(
        self, orbits: Indices, span: SharedSpan | None, directions: Tensor, tasks: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As :class:`~msr.discovery.breaking.estimator.BreakingEstimator` says; the span is not used.

        Both estimates are infinite for a task whose inputs do not determine its weights (:attr:`Sample.solvable`).
        """
        whole = torch.full((len(tasks),), torch.inf, dtype=torch.float64)
        along = whole.clone()
        place = self._known.cumsum(0) - 1
        known = self._known[tasks].nonzero()[:, 0]
        # Where another estimator is quieter on a few tasks, the others are never fitted.
        if len(known) > _FEW * len(self._places):
            self._fit_all()
        for batch in (known[part] for part in chunks(len(known), self._numbers)):
            places = place[tasks[batch]]
            W, E = self._fitted(places) if self._kept is None else (self._kept[0][places], self._kept[1][:, places])
            # The mean over draws of what noise alone would seem to break is taken off.
            signal = breaking_part(self._sample, W, orbits, self._average)
            noise = breaking_part(self._sample, E.flatten(0, 1), orbits, self._average).view(len(E), len(batch), -1)
            whole[batch] = signal.square().sum(1) - noise.square().sum(2).mean(0)
            along[batch] = (signal @ directions).square().sum(1) - (noise @ directions).square().sum(2).mean(0)
        return whole, along

    def noise(self, span: SharedSpan, tasks: Tensor) -> Tensor:
        """The mean squared residual of each task, ``(tasks,)``; for tasks without a fit the mean of all that have one.

        It is a sum over outputs, each in units of its scale, per degree of freedom. The span is not used.
        """
        self._fit_all()
        usual = self._noise_energy[self._known].mean() if self._known.any() else self._noise_energy.new_tensor(0.0)
        return torch.where(self._known, self._noise_energy, usual)[tasks]

    def _fitted(self, places: Tensor, set_noise: bool = False) -> tuple[Tensor, Tensor]:
        """Least-squares weights ``(tasks, m, n)``, and weights fitted to drawn noise alone, ``(draws, tasks, m, n)``.

        Args:
            places: of the tasks, counted among the tasks that can be solved.
            set_noise: whether the mean squared residuals of these tasks are stored for :meth:`noise`.
        """
        tasks = self._places[places]
        x = self._sample.x[tasks]
        y = self._sample.y[tasks]
        counts = self._sample.counts[tasks]
        factor = torch.linalg.cholesky(x.mT @ x)
        weights = torch.cholesky_solve(x.mT @ y, factor).mT
        residuals = y - x @ weights.mT
        if set_noise:
            self._noise_energy[tasks] = residuals.square().sum((1, 2)) / (counts - 1 - x.shape[2])
        # An example with leverage h pulls the fit towards itself: the variance of its residual is 1 − h of its noise's.
        leverage = torch.linalg.solve_triangular(factor, x.mT, upper=False).square().sum(1) + 1 / counts[:, None]
        noise = residuals / (1 - leverage).clamp_min(_LEAST_RESIDUAL).sqrt().unsqueeze(2)
        signs = 2.0 * self._signs[:, places, :, None].double() - 1
        drawn = torch.cholesky_solve(x.mT @ (signs * noise), factor.expand(len(signs), *factor.shape)).mT
        return weights, drawn
