"""Gradient steps as the inner solver: MAML, Meta-SGD, and their first-order form."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from msr.errors import ConfigError
from msr.meta.problem import MetaParameters, Params, Problem, as_params
from msr.trees import Tree

__all__ = ["SGD"]


@dataclass(frozen=True)
class SGD:
    """Gradient steps from the learned start: ``v ← v − α ∂L(v, support)/∂v``, the inner loop of MAML.

    Args:
        steps: the number of steps in training; ``test_steps`` that in evaluation (default: the same).
        rate: the start of α.
        learn: whether α is learned for each tensor, for each parameter (Meta-SGD), or fixed.
        scale: what the outer loop moves, α itself (``"linear"``, as in the paper's code) or log α (``"log"``). The
            best rate can be far from its start: for a loss that averages over C outputs it is about C/2. In a thousand
            steps an Adam of 1e-3 moves a linear 0.1 by 1 at most, but its logarithm by 1, a factor of e.
        first_order: treat the gradients as constants when differentiating through the steps (FOMAML).

    Source: Finn et al., arXiv:1703.03400; learned rates: Li et al., arXiv:1707.09835.
    """

    steps: int = 1
    test_steps: int | None = None
    rate: float = 0.1
    learn: Literal["per_tensor", "per_parameter", "fixed"] = "per_tensor"
    scale: Literal["linear", "log"] = "linear"
    first_order: bool = False

    reverse_mode: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.steps < 0 or (self.test_steps or 0) < 0:
            raise ConfigError(f"inner steps must not be negative; got {self.steps} and {self.test_steps}")
        if self.learn not in ("per_tensor", "per_parameter", "fixed"):
            raise ConfigError(f"learn must be per_tensor, per_parameter or fixed; got {self.learn!r}")
        if self.scale not in ("linear", "log"):
            raise ConfigError(f"scale must be linear or log; got {self.scale!r}")
        if not (math.isfinite(self.rate) and self.rate > 0):
            raise ConfigError(f"the inner learning rate must be positive and finite; got {self.rate}")

    def init(self, initial: Params) -> Params:
        """The learned rates, ``rate.NAME`` (or ``log_rate.NAME``) for each adapted tensor; empty if fixed.

        Shapes: a rate has the shape of its tensor with ``learn="per_parameter"``, and is a scalar otherwise.
        """
        if self.learn == "fixed":
            return {}
        start = math.log(self.rate) if self.scale == "log" else self.rate
        each = self.learn == "per_parameter"
        return {
            f"{self._prefix}.{name}": p.new_full(p.shape if each else (), start)
            for name, p in as_params(initial).items()
        }

    def check(self, problem: Problem, params: MetaParameters, x: Tree, y: Tree) -> None:
        """Accept every problem: gradient steps need no more than a derivative."""

    def adapt(self, problem: Problem, params: MetaParameters, x: Tree, y: Tree, *, training: bool) -> Params:
        """One task's parameters by name, after ``steps`` gradient steps in training and ``test_steps`` otherwise.

        Shapes: the support set ``x, y (examples, ...)``; the result as ``params.initial``, name by name.
        """
        # Of a function of tensors, so that it can be mapped over tasks and differentiated once more.
        gradient = torch.func.grad(lambda adapted: problem.loss({**params.shared, **adapted}, x, y))
        rates = self.rates(params)
        adapted = params.initial
        for _ in range(self.n_steps(training)):
            if self.first_order:
                # No history of the slope is kept, so the outer gradient sees it as a constant.
                with torch.no_grad():
                    slope = gradient(adapted)
            else:
                slope = gradient(adapted)
            adapted = {name: p - rates[name] * slope[name] for name, p in adapted.items()}
        return adapted

    def n_steps(self, training: bool) -> int:
        """The number of steps: ``steps`` in training; in evaluation ``test_steps``, or ``steps`` where that is None."""
        return self.steps if training or self.test_steps is None else self.test_steps

    def rates(self, params: MetaParameters) -> dict[str, Tensor | float]:
        """The rate α of each adapted tensor by name: a number, a scalar tensor, or a tensor of the same shape."""
        if self.learn == "fixed":
            return dict.fromkeys(params.initial, self.rate)
        # The outer loop may hold further numbers in ``inner``; those of this solver go by their names.
        stored = {name: params.inner[f"{self._prefix}.{name}"] for name in params.initial}
        return {name: rate.exp() if self.scale == "log" else rate for name, rate in stored.items()}

    @property
    def _prefix(self) -> str:
        """What the names of the learned rates begin with: ``rate``, or ``log_rate`` where logarithms are learned."""
        return "log_rate" if self.scale == "log" else "rate"
