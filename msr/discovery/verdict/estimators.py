"""Estimators: which ones can say how much of the tasks' own weights breaks a group, and which has the least noise."""

from functools import cached_property

import torch
from torch import Tensor

from msr.discovery.answer.candidate import Candidate
from msr.discovery.breaking.estimator import BreakingEstimator
from msr.discovery.breaking.least_squares import LeastSquares
from msr.discovery.breaking.pairs import Pairs
from msr.discovery.pattern.learning import Learned
from msr.discovery.question import Question
from msr.discovery.thresholds import THRESHOLDS
from msr.discovery.verdict.evidence import spread
from msr.permutations import Indices

__all__ = ["Estimators"]


class Estimators:
    """The estimators of breaking that these tasks allow. Each is made once, when it is first asked for.

    Pairs of examples need inputs that are drawn anew for every example; least squares need many examples in each task.
    """

    def __init__(self, question: Question):
        self._question = question
        self._pairs: Pairs | None = None
        self._unbiased: dict[bytes, bool] = {}  # whether pairs are unbiased for a group, by its orbitals

    def usable(self, orbits: Indices, noise: float) -> list[BreakingEstimator]:
        """The estimators that can be used for the group with these orbitals: pairs, least squares, both or none.

        Pairs come first. They are usable where their bias on random weights is small, least squares where most tasks
        are long enough.

        Args:
            noise: the share of noise in the outputs' energy. The first call fixes into how many parts examples are
                dealt for the pairs.
        """
        usable: list[BreakingEstimator] = []
        if self._pairs is None:
            self._pairs = Pairs(self._question.sample, self._question.points.average, noise=noise)
        if self._pairs.possible:
            key = orbits.tobytes()
            if key not in self._unbiased:
                self._unbiased[key] = self._is_unbiased(self._pairs, orbits)
            if self._unbiased[key]:
                usable.append(self._pairs)
        if self._least_squares is not None:
            usable.append(self._least_squares)
        return usable

    def quietest(self, group: Candidate, learned: Learned, teach: Tensor) -> BreakingEstimator | None:
        """The usable estimator with the least noise on tasks that taught; None where no estimator is usable.

        ``teach`` are the places of those tasks. Noise that is skewed counts several times (``squares_skew``). The
        choice looks at no testing task, so it cannot bias the test.
        """
        sample = self._question.sample
        no_directions = torch.zeros(self._question.data.m * self._question.data.n, 0, dtype=torch.float64)
        orbits = group.orbitals
        energy = float(sample.energies.mean())
        noise = learned.span.noise * float(sample.scale.pow(-2).sum()) / energy
        usable = self.usable(orbits, noise)
        if len(usable) < 2:
            return usable[0] if usable else None

        def noisiness(estimator: BreakingEstimator) -> float:
            """Robust standard deviation of the estimates for ``group`` over the tasks ``teach``, an energy.

            Where the noise is skewed it is multiplied by ``squares_skew``.
            """
            breaking, _ = estimator(orbits, learned.span, no_directions, teach)
            # Skewed noise must be clipped further out, which costs as much power as this many times the noise.
            penalty = 1 if estimator.symmetric else THRESHOLDS().squares_skew
            return penalty * spread(breaking)

        return min(usable, key=noisiness)

    @cached_property
    def _least_squares(self) -> LeastSquares | None:
        """Least squares of each task, where nearly all tasks have examples enough; else None."""
        sample = self._question.sample
        enough = float(sample.solvable.double().mean()) >= THRESHOLDS().least_squares_tasks
        return LeastSquares(sample, self._question.points.average) if enough else None

    def _is_unbiased(self, pairs: Pairs, orbits: Indices) -> bool:
        """Whether pairs are nearly unbiased with these inputs.

        The bias is estimated on random weights. Pairs are given up only if it is too large in every look, since one
        look may be chance; later looks take more tasks, where there are more, and other weights. Only a bias downwards
        counts, because one upwards makes the test more cautious. In a look that passes, symmetric weights may not seem
        to break the group by more than ε² of the energy either.
        """
        limits = THRESHOLDS()
        for seed, most in enumerate(limits.pair_bias_tasks):
            tasks = torch.arange(min(most, len(self._question.sample)))
            bias, leak = pairs.biases(orbits, tasks, seed)
            if bias >= -limits.pair_bias and abs(leak) <= self._question.limit:
                return True
        return False
