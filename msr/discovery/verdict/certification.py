"""Certification: what is shown of the named group beside the rule, namely exceptions and what is not linear.

Here it is decided whether exceptions are rare enough (:attr:`Exceptions.rare`), one of three conditions of a name. The
certificate's other numbers come from the rule (:mod:`msr.discovery.verdict.rule`), which has already shown that typical
tasks keep the group.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from msr.discovery.answer.candidate import Candidate
from msr.discovery.answer.certificate import GroupCertificate
from msr.discovery.linearity.nonlinear_energy import LackOfFit
from msr.discovery.thresholds import THRESHOLDS
from msr.discovery.verdict.evidence import Evidence, least_limit, spread
from msr.discovery.verdict.instruments import Instruments
from msr.discovery.verdict.specificity import specificity
from msr.discovery.verdict.testing import Trial, collected_evidence
from msr.statistics.betting import e_against_nonnegative_mean
from msr.statistics.shares import upper_share

__all__ = ["Exceptions", "certificate_of", "upper_bound"]


@dataclass(frozen=True)
class Exceptions:
    """Testing tasks that clearly break a group which typical tasks keep.

    Attributes:
        places: their places in what the caller gave.
        at_most: upper confidence bound on the share of all tasks that are exceptions (Clopper and Pearson).
        breaking: an exception breaks the group by more than this share of the outputs' *size*; three standard
            deviations of noise do not hide such a task. (Elsewhere ``breaking`` is an energy, or a share of energy.)
        n_tasks: number of tasks that were looked at.
    """

    places: tuple[int, ...]
    at_most: float
    breaking: float
    n_tasks: int

    @classmethod
    def of(cls, evidence: Evidence, limit: float, alpha: float, original_places: Tensor) -> "Exceptions":
        """The exceptions among the testing tasks of one split, from its evidence, with a bound at level ``alpha``.

        Args:
            limit: ``ε²``, the tolerance as a share of energy.
            original_places: ``(all tasks,)``, the place of each task in what the caller gave.
        """
        limits = THRESHOLDS()
        exceptional = evidence.exceptions(limit)
        noise = evidence.spread / evidence.unit
        # An excess this far above the threshold of an exception stays above it under three deviations of noise.
        hidden = max(limits.excess_cap * limit, limits.exception_errors * noise)
        energy = limit + hidden + limits.noise_cap * noise
        return cls(
            places=tuple(sorted(int(i) for i in original_places[evidence.tasks[exceptional]])),
            at_most=upper_share(int(exceptional.sum()), len(exceptional), alpha),
            breaking=min(energy, 1.0) ** 0.5,
            n_tasks=len(exceptional),
        )

    @property
    def rare(self) -> bool:
        """Whether exceptions are few enough for the group to be certified: a share of ``exceptions_most`` at most."""
        return len(self.places) <= THRESHOLDS().exceptions_most * self.n_tasks


def certificate_of(
    instruments: Instruments,
    named: Candidate,
    reported: Trial,
    lack: LackOfFit,
    trials: Sequence[Trial],
) -> GroupCertificate:
    """The certificate of the group that the rule named.

    Args:
        reported: the split whose exceptions are reported; it proposed the group.
        lack: the test of linearity that goes with that split.
        trials: all splits that were made.
    """
    question = instruments.question
    limit = question.limit
    level = THRESHOLDS().certificate_share * question.alpha
    evidence = collected_evidence(named, [reported])[0]
    exceptions = Exceptions.of(evidence, limit, level, torch.from_numpy(question.data.origin))
    nonlinear = _nonlinear_bound(instruments, reported, lack, level)
    linear = not instruments.nonlinearity.detected(lack)
    # The outputs are covered where everything beyond a linear layer was counted as breaking the group (not linear), or
    # where it is so little that both together stay within the tolerance.
    covers_outputs = not linear or (nonlinear is not None and named.high + nonlinear <= limit)
    # A clipped mean that is negative with a larger reach is negative with a smaller one too: so what each split shows
    # holds with the smallest reach of all.
    reach = min(of_split.reach(limit) for of_split in collected_evidence(named, trials))
    return GroupCertificate(
        null=(
            f"E min(b - {limit:.3g} e, {reach:.3g}) >= 0, b the energy of what breaks the group in "
            "a task's outputs, e that of its outputs, noise left out of both, in units of the mean of e"
        ),
        eps=question.eps,
        alpha=question.alpha,
        p_value=named.p_within,
        breaking=named.breaking,
        bound=named.high,
        method=reported.method,
        exceptions=exceptions.places,
        exceptions_at_most=exceptions.at_most,
        exceptions_break=exceptions.breaking,
        counts_up_to=min(1.0, limit + reach) ** 0.5,
        nonlinear_at_most=nonlinear,
        covers="the outputs" if covers_outputs else "the linear layer",
        linear=linear,
        n_tasks=exceptions.n_tasks,
        splits=len(trials),
        certified=exceptions.rare,
        specificity=specificity(question.points, named, reported.taught.learned.span.U, question.seed),
    )


def upper_bound(values: Tensor, energy: Tensor, alpha: float) -> float:
    """Upper bound, at level ``alpha``, on the share of ``energy`` that ``values`` make in typical tasks; at most 1.

    Every second task is tested; the others only say what the usual energy is, and how far noise spreads the values.

    Shapes: ``values (tasks,)``, ``energy (tasks,)``, in the same units.
    """
    limits = THRESHOLDS()
    # Every other task fixes the unit and how far noise spreads the values, and the remaining ones are tested. The reach
    # of a test must not depend on the tasks that it tests.
    unit = max(float(energy[::2].mean()), 1e-300)
    noise = spread(values[::2])
    tested_values = values[1::2]
    tested_energy = energy[1::2]

    def shown(at: float) -> bool:
        """Whether it is shown, at level ``alpha``, that the values make less than this share of the energy."""
        reach = max(limits.excess_cap * at, limits.noise_cap_skewed * noise / unit)
        return e_against_nonnegative_mean((tested_values - at * tested_energy) / unit, reach) >= 1 / alpha

    return least_limit(shown)


def _nonlinear_bound(instruments: Instruments, reported: Trial, lack: LackOfFit, level: float) -> float | None:
    """Upper bound on the share of the outputs' energy that products of inputs explain beyond a linear layer.

    It holds at ``level``, in typical tasks. None where ``lack``, the test of linearity, could test no task.
    """
    tested = lack.tested
    if not tested.any():
        return None
    noise = instruments.nonlinearity.noise_energy(reported.taught.learned, lack)
    energy = instruments.question.sample.energies - noise
    return upper_bound(lack.energy[tested], energy[tested], level)
