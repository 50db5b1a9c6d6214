"""When training counts as diverged, the last state that was good, and rates that seldom end well."""

import math
from typing import Any

import torch
from torch import Tensor

from msr.meta import OuterLoop

__all__ = [
    "LARGEST_LOSS",
    "LARGEST_RISE",
    "MOST_ROLLBACKS",
    "LastGood",
    "halve_rates",
    "is_number",
    "largest_loss",
    "odd_rates",
]

LARGEST_RISE = 1e6
LARGEST_LOSS = 1e30
MOST_ROLLBACKS = 3
OUTER_RATES = (1e-8, 10.0)
INNER_RATES = (1e-8, 1e3)


def largest_loss(first: float | None) -> float:
    """The mean loss beyond which training counts as diverged: 1e6 times the first one, and never more than 1e30.

    A first loss below one counts as one: from 1e-12, a rise to 1e-6 is no divergence.
    """
    return LARGEST_LOSS if first is None else min(LARGEST_RISE * max(first, 1.0), LARGEST_LOSS)


def odd_rates(loop: OuterLoop) -> list[str]:
    """A line for each rate that lies outside the range in which training usually works."""
    said = []
    rates = sorted({float(group["lr"]) for group in loop.optimizer.param_groups})
    inner = getattr(loop.learner.solver, "rate", None)
    for what, values, (low, high) in (
        ("outer", rates, OUTER_RATES),
        ("inner", [inner] if isinstance(inner, float) else [], INNER_RATES),
    ):
        said += [
            f"the {what} rate {rate:g} lies outside {low:g} to {high:g}; training may stand still or diverge"
            for rate in values
            if not low <= rate <= high
        ]
    return said


def halve_rates(loop: OuterLoop) -> float:
    """Half of every outer rate, now and for the rest of the schedule; returns the largest rate of the present step."""
    for group in loop.optimizer.param_groups:
        for key in ("lr", "initial_lr"):
            if key in group:
                group[key] = group[key] / 2
    if loop.scheduler is not None:
        loop.scheduler.base_lrs = [rate / 2 for rate in loop.scheduler.base_lrs]
    return max(float(group["lr"]) for group in loop.optimizer.param_groups)


class LastGood:
    """The last state of a loop whose losses were seen to be finite: what it was before the newest update.

    A state is judged by the losses that it gives, which only the step after it computes. So each step is kept once
    its losses and gradient are known to be finite, just before the optimiser changes it: a copy of a few tensors.
    """

    def __init__(self, loop: OuterLoop):
        self._loop = loop
        self._copies: list[Tensor] = []
        self._plain: tuple[int, list[dict[str, Any]], dict[str, Any] | None] | None = None
        self._hook = loop.optimizer.register_step_pre_hook(lambda *_: self._keep())

    @property
    def steps(self) -> int:
        """How many steps that state had done; -1 where none was seen."""
        return -1 if self._plain is None else self._plain[0]

    def forget(self) -> None:
        """Nothing has been seen yet, as after loading another state."""
        self._plain = None

    def close(self) -> None:
        """Keep no more."""
        self._hook.remove()

    def restore(self) -> None:
        """Put the loop back to that state."""
        assert self._plain is not None
        steps, groups, scheduler = self._plain
        optimizer, leaves = self._loop.optimizer, self._loop.params.leaves()
        if len(self._copies) == len(leaves):  # before the first update the optimiser had no state
            optimizer.state.clear()
        torch._foreach_copy_(self._tensors(), self._copies)
        for group, kept in zip(optimizer.param_groups, groups, strict=True):
            group.update(kept)
        if self._loop.scheduler is not None and scheduler is not None:
            self._loop.scheduler.load_state_dict(scheduler)
        self._loop.steps_done = steps

    @torch.no_grad()
    def _keep(self) -> None:
        loop, tensors = self._loop, self._tensors()
        if len(self._copies) != len(tensors):
            self._copies = [tensor.clone() for tensor in tensors]
        else:
            torch._foreach_copy_(self._copies, tensors)
        groups = [
            {
                key: value.clone() if isinstance(value, Tensor) else value
                for key, value in group.items()
                if key != "params"
            }
            for group in loop.optimizer.param_groups
        ]
        self._plain = loop.steps_done, groups, loop.scheduler.state_dict() if loop.scheduler else None

    def _tensors(self) -> list[Tensor]:
        state = self._loop.optimizer.state
        own = [t for leaf in self._loop.params.leaves() for t in state.get(leaf, {}).values() if isinstance(t, Tensor)]
        return [*self._loop.params.leaves(), *own]


def is_number(value: object, least: float = -math.inf) -> bool:
    """Whether a plain value is a finite number and not smaller."""
    return isinstance(value, (int, float)) and type(value) is not bool and math.isfinite(value) and value >= least
