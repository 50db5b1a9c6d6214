"""When training counts as diverged, the last state that was good, and a warning for rates that seldom work."""

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

# All of these were chosen by hand, far from what happens in training that works.
LARGEST_RISE = 1e6
"""Times the first mean loss: a loss beyond it counts as diverged."""
LARGEST_LOSS = 1e30
"""A mean loss beyond it counts as diverged, in the loss's own unit: squares of it would overflow single precision."""
MOST_ROLLBACKS = 3
"""How often an arm goes back with half the rate; after three times the rate is an eighth of what was asked for."""
OUTER_RATES = (1e-8, 10.0)
"""Least and largest outer rate that is not warned of."""
INNER_RATES = (1e-8, 1e3)
"""Least and largest inner rate that is not warned of: the rotation problem's exact step has a rate of 12 to 24."""


def largest_loss(first: float | None) -> float:
    """The mean loss beyond which training counts as diverged: 1e6 times the first one, and never more than 1e30.

    A first loss below 1 counts as 1, because a rise from 1e-12 to 1e-6 is no divergence.

    Args:
        first: the mean loss of the first step; None before there is one, and then the bound is 1e30.
    """
    return LARGEST_LOSS if first is None else min(LARGEST_RISE * max(first, 1.0), LARGEST_LOSS)


def odd_rates(loop: OuterLoop) -> list[str]:
    """A warning for each outer or inner rate outside of ``OUTER_RATES`` or ``INNER_RATES``; empty without one.

    An inner rate is looked at where the solver has a single fixed one.
    """
    warnings = []
    outer = sorted({float(group["lr"]) for group in loop.optimizer.param_groups})
    inner = getattr(loop.learner.solver, "rate", None)
    for what, values, (low, high) in (
        ("outer", outer, OUTER_RATES),
        ("inner", [inner] if isinstance(inner, float) else [], INNER_RATES),
    ):
        warnings += [
            f"the {what} rate {rate:g} lies outside {low:g} to {high:g}; training may stand still or diverge"
            for rate in values
            if not low <= rate <= high
        ]
    return warnings


def halve_rates(loop: OuterLoop) -> float:
    """Halve every outer rate in place, now and for the rest of the schedule; the largest rate after that."""
    for group in loop.optimizer.param_groups:
        for key in ("lr", "initial_lr"):
            if key in group:
                group[key] = group[key] / 2
    if loop.scheduler is not None:
        loop.scheduler.base_lrs = [rate / 2 for rate in loop.scheduler.base_lrs]
    return max(float(group["lr"]) for group in loop.optimizer.param_groups)


class LastGood:
    """The last state of a loop whose losses were finite: its state before the newest update.

    A state is judged by the losses that it gives, which only the step after it computes. So each state is copied once
    its losses and gradient are known to be finite, just before the optimiser changes it: a copy of a few tensors.
    """

    def __init__(self, loop: OuterLoop):
        self._loop = loop
        self._copies: list[Tensor] = []
        self._plain: tuple[int, list[dict[str, Any]], dict[str, Any] | None] | None = None
        self._hook = loop.optimizer.register_step_pre_hook(lambda *_: self._keep())

    @property
    def steps(self) -> int:
        """How many outer steps the kept state had done; -1 where no state is kept."""
        return -1 if self._plain is None else self._plain[0]

    def forget(self) -> None:
        """Keep no state until the next step, as after loading another one."""
        self._plain = None

    def close(self) -> None:
        """Remove the hook: no further state is copied."""
        self._hook.remove()

    def restore(self) -> None:
        """Put the loop's parameters, optimiser, scheduler and step count back to the kept state.

        There must be one (:attr:`steps` tells), and it stays kept.
        """
        assert self._plain is not None
        steps, groups, scheduler = self._plain
        optimizer = self._loop.optimizer
        leaves = self._loop.params.leaves()
        # Copies of the parameters alone are from before the first update, when the optimiser had no state.
        if len(self._copies) == len(leaves):
            optimizer.state.clear()
        torch._foreach_copy_(self._tensors(), self._copies)
        for group, kept in zip(optimizer.param_groups, groups, strict=True):
            group.update(kept)
        if self._loop.scheduler is not None and scheduler is not None:
            self._loop.scheduler.load_state_dict(scheduler)
        self._loop.steps_done = steps

    @torch.no_grad()
    def _keep(self) -> None:
        """Copy the state, just before the optimiser changes it; the hook of each step."""
        loop = self._loop
        tensors = self._tensors()
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
        """The parameters, then the optimiser's tensors for each of them."""
        leaves = self._loop.params.leaves()
        state = self._loop.optimizer.state
        moments = [value for leaf in leaves for value in state.get(leaf, {}).values() if isinstance(value, Tensor)]
        return [*leaves, *moments]


def is_number(value: object, least: float = -math.inf) -> bool:
    """Whether a plain value is a finite number, no boolean, and not smaller than ``least``."""
    return isinstance(value, (int, float)) and type(value) is not bool and math.isfinite(value) and value >= least
