"""Testing: what the testing tasks of one split show of each group that its teaching tasks proposed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from msr.discovery.answer.candidate import Candidate, same_group
from msr.discovery.breaking.estimator import BreakingEstimator
from msr.discovery.pattern.candidates import Taught, is_trivial
from msr.discovery.pattern.learning import Learned
from msr.discovery.question import Question
from msr.discovery.thresholds import THRESHOLDS
from msr.discovery.verdict.evidence import Evidence, Shares, error_shares, spread
from msr.discovery.verdict.instruments import Instruments
from msr.discovery.verdict.rule import Proposal
from msr.errors import DataError
from msr.permutations import Indices

__all__ = ["Trial", "collected_evidence", "evidence_of", "preferred_of", "tested"]

_LEAST_UNIT = 1e-12
"""The least unit of energy, as a share of the mean energy with noise: it counts where the outputs are all noise."""


@dataclass(frozen=True, eq=False)
class Trial:
    """The result of one split of the tasks: what some of them taught, and what the others showed of it.

    Attributes:
        taught: the pattern, its classes, and the groups that the teaching tasks propose.
        proposals: the groups that were tested, with their evidence; the preferred one first, if there is one.
        method: how the estimator of breaking estimates weights, in words; empty where no group was tested.
        teach, test: places of the teaching and of the testing tasks.
    """

    taught: Taught
    proposals: list[Proposal]
    method: str
    teach: Tensor
    test: Tensor


def tested(instruments: Instruments, taught: Taught, teach: Tensor, test: Tensor) -> Trial:
    """Test the groups that the teaching tasks proposed on the testing tasks: a :class:`Trial` with their evidence.

    Groups that every linear layer has are left out, and the least informative ones beyond ``groups_most``.

    Args:
        teach, test: places of the teaching and of the testing tasks. The estimator, its noise, the groups that are
            tested and their shares of the error rate are fixed by the teaching tasks alone.

    Raises: DataError where no estimator can be used with these inputs.
    """
    question = instruments.question
    groups = [c for c in taught.candidates if not is_trivial(question, c)]
    preferred = preferred_of(groups)
    groups = _most_informative(groups, preferred)
    if preferred is not None:
        groups = [preferred, *(c for c in groups if c is not preferred)]
    if not groups:
        return Trial(taught, [], "", teach, test)
    scaling = teach[: THRESHOLDS().scale_tasks]
    estimator = instruments.quietest(preferred or groups[0], taught.learned, scaling)
    if estimator is None:
        raise DataError(
            "these tasks cannot show what breaks a group in their own weights: inputs that are the same in every "
            "task, or of very unequal size, need at least 7 examples a task more than one and a half times the "
            "inputs"
        )
    # Where the tasks are not linear, everything that a linear layer leaves may break the group.
    lack = instruments.nonlinearity.of_all_tasks
    beyond_linear = lack.residual * instruments.nonlinearity.detected(lack)
    proposals: list[Proposal] = []
    for group, shares in zip(groups, error_shares(len(groups), preferred is not None), strict=True):
        evidence = evidence_of(instruments, estimator, group, taught.learned, test, scaling, shares, beyond_linear)
        if proposals:
            # The first group is the one that seems to hold, so its spread is caused by noise alone.
            evidence = replace(evidence, noise_spread=proposals[0].evidence.spread)
        proposals.append(Proposal(group, evidence))
    return Trial(taught, proposals, estimator.method, teach, test)


def evidence_of(
    instruments: Instruments,
    estimator: BreakingEstimator,
    group: Candidate,
    learned: Learned,
    tasks: Tensor,
    scaling: Tensor,
    shares: Shares,
    beyond_linear: Tensor,
) -> Evidence:
    """The evidence of some tasks about one group; tasks for which the estimator has no estimate are left out.

    Args:
        learned: the pattern, for the span and for the directions in which it breaks the group.
        tasks: places of the tasks that are asked.
        scaling: places of tasks that taught; they say how far noise spreads the estimates, and what a usual energy is.
        shares: the shares of the error rate for this group.
        beyond_linear: energy that may break the group beside the linear layer, for every task of the question.
    """
    question = instruments.question
    sample = question.sample
    labels = group.orbitals
    directions = _breaking_directions(question, learned, labels)
    of_both = estimator(labels, learned.span, directions, torch.cat((tasks, scaling)))
    breaking, along_pattern = (estimates[: len(tasks)] for estimates in of_both)
    noise_spread = spread(of_both[0][len(tasks) :] + beyond_linear[scaling])
    energy = sample.energies[tasks] - estimator.noise(learned.span, tasks)
    usual_energy = sample.energies[scaling] - estimator.noise(learned.span, scaling)
    # Tasks with too few examples have no estimate. Which ones they are does not depend on their outputs, so leaving
    # them out does not bias the test.
    known = breaking.isfinite()
    return Evidence(
        breaking=breaking[known],
        along_pattern=along_pattern[known],
        beyond_linear=beyond_linear[tasks][known],
        energy=energy[known],
        energy_with_noise=sample.energies[tasks][known],
        noise_ratio=instruments.nonlinearity.noise_ratio[tasks][known],
        spread=noise_spread,
        noise_spread=noise_spread,
        unit=max(float(usual_energy.mean()), _LEAST_UNIT * float(sample.energies.mean())),
        symmetric=estimator.symmetric,
        shares=shares,
        tasks=tasks[known],
    )


def collected_evidence(candidate: Candidate, trials: Sequence[Trial]) -> list[Evidence]:
    """The evidence about a group, one for each time that a split tested it, in the order of the splits."""
    proposals = [proposal for trial in trials for proposal in trial.proposals]
    return [proposal.evidence for proposal in proposals if same_group(proposal.candidate, candidate)]


def preferred_of(groups: list[Candidate]) -> Candidate | None:
    """The group that gets most of the error rate: the largest one that the learned weights keep up to their errors.

    Where they keep none, it is the one that fits best among those that move enough of the outputs' energy; else None.
    """
    fitting = [c for c in groups if c.exact]
    if fitting:
        return max(fitting, key=lambda c: c.order)
    likely = [c for c in groups if c.share >= THRESHOLDS().group_share]
    return min(likely, key=lambda c: c.residual, default=None)


def _breaking_directions(question: Question, learned: Learned, labels: Indices) -> Tensor:
    """The directions in which the learned pattern breaks a group: orthonormal, ``(m n, r)``, strongest first.

    ``labels`` are the group's orbitals; much weaker directions are left out (``direction_least``). They are the left
    singular vectors of the breaking part of the pattern, in the units of the outputs' energy.
    """
    data = question.data
    sample = question.sample
    values = torch.from_numpy(learned.rows.values)
    breaking = (values - question.points.average(values, labels)).view(data.m, data.n, -1)
    scaled = torch.einsum("mnk,np->mpk", breaking / sample.scale[:, None, None], sample.root)
    vectors, sizes, _ = torch.linalg.svd(scaled.flatten(0, 1), full_matrices=False)
    return vectors[:, sizes > THRESHOLDS().direction_least * sizes[0]]


def _most_informative(groups: list[Candidate], preferred: Candidate | None) -> list[Candidate]:
    """At most ``groups_most`` groups, since all of them share the error rate.

    Where there are no more, all are returned, in their order. Else they are the preferred one, groups larger than it
    that fit best (up to two thirds of the number), and the largest of those that are no larger. Without a preferred
    group every group counts as larger, so that two thirds of the number are chosen.
    """
    most = THRESHOLDS().groups_most
    if len(groups) <= most:
        return groups
    order = preferred.order if preferred is not None else 0
    larger = sorted((c for c in groups if c.order > order), key=lambda c: c.residual)[: most * 2 // 3]
    others = sorted((c for c in groups if c.order <= order and c is not preferred), key=lambda c: -c.order)
    chosen = [*larger, *others[: most - 1 - len(larger)]]
    return [preferred, *chosen] if preferred is not None else chosen
