"""The question: the prepared tasks and what the caller asked of them, as one value for the whole walk."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from msr.discovery.breaking.sample import Sample
from msr.discovery.data.tasks import Prepared
from msr.discovery.pattern.action import Points

__all__ = ["Question"]


@dataclass(frozen=True, eq=False)
class Question:
    """Tasks and options of one search; :func:`msr.discovery.discover` explains the options.

    Attributes:
        data: the tasks, prepared.
        k: dimension of the sharing, or ``"auto"``.
        eps: the tolerance, a share of the outputs' size.
        alpha: the error rate of all claims about groups together.
        signed: whether signed permutations are looked for.
        seed: of the random splits and relabellings.
    """

    data: Prepared
    k: int | Literal["auto"]
    eps: float
    alpha: float
    signed: bool
    seed: int

    @property
    def limit(self) -> float:
        """``ε²``: the tolerance as a share of the outputs' energy."""
        return self.eps**2

    @cached_property
    def points(self) -> Points:
        """The inputs and outputs of these tasks' layers, as the points that permutations move."""
        data = self.data
        factors = None if data.labels is None else data.factors
        return Points(data.n, data.m, data.ties, self.signed, factors)

    @cached_property
    def sample(self) -> Sample:
        """All tasks with the units in which breaking is measured. Not to be asked for where ``data.too_few`` is set."""
        return Sample.of(self.data)
