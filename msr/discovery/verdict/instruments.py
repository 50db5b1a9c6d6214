"""Instruments: what all splits of one search measure with; each is made once, when it is first asked for."""

from functools import cached_property

import torch
from torch import Tensor

from msr.discovery.answer.candidate import Candidate
from msr.discovery.breaking.estimator import BreakingEstimator
from msr.discovery.pattern.candidates import Taught, taught_by
from msr.discovery.pattern.learning import Learned
from msr.discovery.question import Question
from msr.discovery.verdict.estimators import Estimators
from msr.discovery.verdict.nonlinearity import Nonlinearity
from msr.errors import DataError

__all__ = ["Instruments"]


class Instruments:
    """The question, the estimators of breaking, the tests of linearity, and what sets of tasks teach.

    Args:
        question: the tasks, and what is asked of them.
        earlier: the instruments of a search of the same tasks that differs in its tolerance alone. What tasks teach and
            whether they are linear does not depend on the tolerance, so that it is taken from there.
    """

    def __init__(self, question: Question, earlier: "Instruments | None" = None):
        self.question = question
        self.estimators = Estimators(question)
        self.nonlinearity: Nonlinearity = Nonlinearity(question) if earlier is None else earlier.nonlinearity
        self._quietest: dict[tuple[bytes, Learned, bytes], BreakingEstimator | None] = {}
        self._taught: dict[tuple[bytes, int], Taught | DataError] = {} if earlier is None else earlier._taught

    def taught(self, tasks: Tensor, seed: int) -> Taught:
        """As :func:`~msr.discovery.pattern.candidates.taught_by`, once for the same tasks and seed.

        Raises: DataError where these tasks teach nothing.
        """
        key = (tasks.numpy().tobytes(), seed)
        if key not in self._taught:
            try:
                self._taught[key] = taught_by(self.question, tasks, seed)
            except DataError as error:
                self._taught[key] = error
        result = self._taught[key]
        if isinstance(result, DataError):
            raise result
        return result

    def quietest(self, group: Candidate, learned: Learned, teach: Tensor) -> BreakingEstimator | None:
        """As :meth:`~msr.discovery.verdict.estimators.Estimators.quietest`, once for the same group, pattern, tasks.

        A pattern is the same if it is the same object: it is learned once for each set of tasks that teach.
        """
        key = (group.orbitals.tobytes(), learned, teach.numpy().tobytes())
        if key not in self._quietest:
            self._quietest[key] = self.estimators.quietest(group, learned, teach)
        return self._quietest[key]

    @cached_property
    def all_taught(self) -> Taught | None:
        """What all tasks together teach; None where they do not determine the weights.

        No task is left to test it, so it can take an answer back and be shown to the reader, but it proves nothing.
        """
        try:
            return self.taught(torch.arange(len(self.question.sample)), 0)
        except DataError:
            return None
