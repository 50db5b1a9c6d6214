"""Teaching: how many of a split's tasks teach, so that all the others can test."""

import torch
from torch import Tensor

from msr.discovery.data.splits import Split
from msr.discovery.pattern.candidates import Taught, clearly_none, is_trivial
from msr.discovery.thresholds import THRESHOLDS
from msr.discovery.verdict.instruments import Instruments
from msr.discovery.verdict.testing import evidence_of, preferred_of
from msr.errors import DataError

__all__ = ["taught_by_few"]


def taught_by_few(instruments: Instruments, split: Split, seed: int) -> tuple[Taught, Tensor, Tensor]:
    """What as few tasks as possible teach, the places of the tasks that teach, and the places of those that test.

    All tasks that do not teach test. ``seed`` is that of the fits. Numbers of teaching tasks are tried in increasing
    order. The first one is taken whose pattern clearly has no symmetry, or has one that the teaching tasks themselves
    do not break. Otherwise it is the last one that taught anything. No testing task is looked at for this choice.

    Raises: DataError where the tasks do not determine the weights.
    """
    question = instruments.question
    taught: Taught | None = None
    for size in split.sizes:
        teach = split.order[:size]
        try:
            taught = instruments.taught(teach, seed)
        except DataError:
            # More tasks may fail where fewer taught something; then that is what is used.
            if size == split.sizes[-1] and taught is None:
                raise
            continue
        used = size
        if clearly_none(question, taught) or _kept_by_teachers(instruments, taught, teach):
            break
    assert taught is not None
    return taught, split.order[:used], split.order[used:]


def _kept_by_teachers(instruments: Instruments, taught: Taught, teach: Tensor) -> bool:
    """Whether the preferred group is kept by the learned weights, and not broken by the tasks that taught them.

    False where the learned weights keep no group up to their errors; True where they do and no estimator is usable.
    """
    limits = THRESHOLDS()
    question = instruments.question
    preferred = preferred_of([c for c in taught.candidates if not is_trivial(question, c)])
    if preferred is None or not preferred.exact:
        return False
    scaling = teach[: limits.scale_tasks]
    estimator = instruments.quietest(preferred, taught.learned, scaling)
    if estimator is None:
        return True
    # Whether tasks are linear is known from all of them, and no testing task may decide who teaches. So what is beyond
    # a linear layer is left out here.
    nothing = torch.zeros(len(question.sample), dtype=torch.float64)
    unused_shares = (1.0, 0.0, 0.0)  # of the error rate, of which this look spends nothing
    evidence = evidence_of(instruments, estimator, preferred, taught.learned, teach, scaling, unused_shares, nothing)
    return evidence.beyond(question.limit) < limits.teaching_doubt
