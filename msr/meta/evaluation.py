"""The loss of held-out tasks, with an interval."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from msr.episodes import Episodes
from msr.errors import ConfigError, NonFiniteError, listed
from msr.meta.learner import Learner
from msr.meta.problem import MetaParameters
from msr.statistics.estimate import Estimate
from msr.trees import Tree

__all__ = ["evaluate"]


@torch.no_grad()
def evaluate(
    learner: Learner,
    params: MetaParameters,
    batches: Iterable[Episodes],
    *,
    metric: Callable[[Any, Tree], Tensor] | None = None,
) -> Estimate:
    """Mean query loss (or ``metric``) of held-out tasks after adapting, with a 95% interval over tasks.

    Tasks adapt with the solver's number of steps of evaluation.
    Args: ``metric``: ``(prediction, y) -> scalar`` for one task, in place of the problem's criterion.
    Raises: NonFiniteError naming the tasks whose value is nan or infinite, by their place in the stream; ConfigError
    for one batch in place of several.
    """
    if isinstance(batches, Episodes):
        raise ConfigError("evaluate takes several batches of episodes; give it a list, of one batch if it is all")
    values = torch.cat([learner.losses(params, batch, metric=metric) for batch in batches])
    # A mean would be nan and say nothing of which task is at fault.
    bad = (~values.isfinite()).nonzero().flatten().tolist()
    if bad:
        raise NonFiniteError(f"evaluation: the query loss is not finite for tasks {listed(bad)} of {len(values)}")
    return Estimate.of(values)
