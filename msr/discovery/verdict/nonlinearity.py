"""Nonlinearity: whether the tasks are more than linear layers, and how much noise a linear layer leaves in each."""

from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor

from msr.discovery.linearity.lack_of_fit import lack_of_fit
from msr.discovery.linearity.nonlinear_energy import LackOfFit
from msr.discovery.pattern.learning import Learned
from msr.discovery.question import Question
from msr.discovery.thresholds import THRESHOLDS

__all__ = ["Nonlinearity"]

_UNTESTED = "none"
"""The method of a :class:`LackOfFit` where the examples are too few for any test."""


class Nonlinearity:
    """Tests for lack of fit of a linear layer, made once for all splits and when first asked for."""

    def __init__(self, question: Question):
        self._question = question
        self._with_pattern: dict[tuple[Learned, bytes], LackOfFit] = {}

    @cached_property
    def of_all_tasks(self) -> LackOfFit:
        """The test on residuals of least squares in each task; for too few examples its method is "none"."""
        sample = self._question.sample
        return lack_of_fit(sample.x, sample.y, sample.counts)

    def with_pattern(self, learned: Learned, test: Tensor) -> LackOfFit:
        """The result :attr:`of_all_tasks`; where that has the method "none", a test on what the learned pattern leaves.

        The second test looks only at the first ``span_test_tasks`` of ``test``, places of testing tasks. Its result has
        an entry for each task of the question all the same: others have energy 0, are not tested, and get a mean
        residual.
        """
        if self.of_all_tasks.method != _UNTESTED:
            return self.of_all_tasks
        # Another search of the same tasks may ask again; a pattern is looked up as the object that it is.
        key = (learned, test.numpy().tobytes())
        if key not in self._with_pattern:
            self._with_pattern[key] = self._tested_with_pattern(learned, test)
        return self._with_pattern[key]

    def _tested_with_pattern(self, learned: Learned, test: Tensor) -> LackOfFit:
        """The second test of :meth:`with_pattern`, made anew."""
        of_all = self.of_all_tasks
        data = self._question.data
        sample = self._question.sample
        looked_at = test[: THRESHOLDS().span_test_tasks]
        U = (learned.span.U.view(data.m, data.n, -1) / sample.scale[:, None, None]).flatten(0, 1)
        lack = lack_of_fit(
            sample.x[looked_at], sample.y[looked_at], sample.counts[looked_at], span=(U, learned.span.v0)
        )
        # The result has an entry for each task. Tasks that were not tested get the mean residual of those that were.
        energy = torch.zeros_like(of_all.energy)
        parts = torch.zeros_like(of_all.parts)
        tested = torch.zeros_like(of_all.tested)
        residual = torch.full_like(of_all.residual, float(lack.residual.mean()))
        energy[looked_at] = lack.energy
        parts[:, looked_at] = lack.parts
        tested[looked_at] = lack.tested
        residual[looked_at] = lack.residual
        return replace(lack, energy=energy, parts=parts, tested=tested, residual=residual)

    def detected(self, lack: LackOfFit) -> bool:
        """Whether the test ``lack`` shows, at level α, that something not linear explains a part of the residuals."""
        return lack.p_value <= self._question.alpha

    def noise_energy(self, learned: Learned, lack: LackOfFit) -> Tensor:
        """What noise adds to the energy of each task's outputs, ``(tasks,)``: the residuals of a test of linearity.

        Where that test, ``lack``, was not possible, it is the noise of the fitted span, the same for all tasks. It is a
        sum over outputs, each divided by its scale, as :attr:`Sample.energies` are.
        """
        if lack.method == _UNTESTED:
            sample = self._question.sample
            return (learned.span.noise * sample.scale.pow(-2).sum()).expand(len(sample))
        return lack.residual

    @cached_property
    def noise_ratio(self) -> Tensor:
        """Mean squared residual of each task over the median of all, ``(tasks,)``, at least 1; 1 where not known."""
        lack = self.of_all_tasks
        if lack.method == _UNTESTED:
            return torch.ones(len(self._question.sample), dtype=torch.float64)
        return (lack.residual / lack.residual.median().clamp_min(1e-300)).clamp_min(1)
