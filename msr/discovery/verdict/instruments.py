"""Instruments: what all splits of one search measure with; each is made once, when it is first asked for."""

from functools import cached_property

import torch

from msr.discovery.pattern.candidates import Taught, taught_by
from msr.discovery.question import Question
from msr.discovery.verdict.estimators import Estimators
from msr.discovery.verdict.nonlinearity import Nonlinearity
from msr.errors import DataError

__all__ = ["Instruments"]


class Instruments:
    """The question, the estimators of breaking, the tests of linearity, and what all tasks together teach."""

    def __init__(self, question: Question):
        self.question = question
        self.estimators = Estimators(question)
        self.nonlinearity = Nonlinearity(question)

    @cached_property
    def all_taught(self) -> Taught | None:
        """What all tasks together teach; None where they do not determine the weights.

        No task is left to test it, so it can take an answer back and be shown to the reader, but it proves nothing.
        """
        question = self.question
        try:
            return taught_by(question, torch.arange(len(question.sample)), 0)
        except DataError:
            return None
