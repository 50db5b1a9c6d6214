"""What the engines share: one task as a module, and an SGD whose steps a library takes."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from msr.meta.problem import MetaParameters, Params, Problem
from msr.meta.solvers.gradient_steps import SGD
from msr.trees import Tree, mapped

__all__ = ["LibrarySGD", "TaskModule"]


class TaskModule(nn.Module):
    """A functional problem in the form that the libraries know: ``module(x)`` with the adapted tensors as parameters.

    The parameters are zeros that hold a place: the learned start is a tensor with a history, which no ``Parameter`` can
    be, so each library puts it there by its own means. The shared tensors are used as they are, so gradients reach
    them.
    """

    def __init__(self, problem: Problem, params: MetaParameters):
        super().__init__()
        self.problem = problem
        self.shared = params.shared
        self.places = {name: f"p{i}" for i, name in enumerate(params.initial)}  # a parameter's name may hold no dot
        for name, place in self.places.items():
            self.register_parameter(place, nn.Parameter(torch.zeros_like(params.initial[name])))

    def forward(self, x: Tree) -> Any:
        """The prediction for one task's examples."""
        own = {name: getattr(self, place) for name, place in self.places.items()}
        return self.problem.predict({**self.shared, **own}, x)


@dataclass(frozen=True)
class LibrarySGD(ABC):
    """The solver :class:`~msr.meta.solvers.gradient_steps.SGD` with its steps taken by a library, one task at a time.

    The numbers are the same up to rounding.
    """

    sgd: SGD

    def init(self, initial: Params) -> Params:
        """The learned rates by name, those of :meth:`SGD.init`, so that a checkpoint fits every engine."""
        return self.sgd.init(initial)

    def check(self, problem: Problem, params: MetaParameters, x: Tree, y: Tree) -> None:
        """Accept every problem, as :meth:`SGD.check` does."""
        self.sgd.check(problem, params, x, y)

    def adapt(self, problem: Problem, params: MetaParameters, x: Tree, y: Tree, *, training: bool) -> Params:
        """One task's parameters after the steps, by name; without a history where gradients are switched off."""
        track = torch.is_grad_enabled()
        # The steps need slopes, even where gradients are switched off around the call.
        with torch.inference_mode(mode=False), torch.enable_grad():
            if not track:
                params = params.with_leaves([p.detach() for p in params.leaves()])
            # The libraries skip a parameter that requires no gradient.
            start = [p if p.requires_grad else p.detach().requires_grad_() for p in params.initial.values()]
            rates = list(self.sgd.rates(params).values())
            module = TaskModule(problem, params)
            n = self.sgd.n_steps(training)
            # Autograd refuses tensors that were made in inference mode, or drops them silently in some versions.
            x, y = (mapped(lambda t: t.clone() if t.is_inference() else t, tree) for tree in (x, y))
            adapted = self._steps(module, start, rates, n, x, y, track=track)
        return dict(zip(params.initial, adapted if track else [p.detach() for p in adapted], strict=True))

    @abstractmethod
    def _steps(
        self, module: TaskModule, start: list[Tensor], rates: list, n: int, x: Tree, y: Tree, *, track: bool
    ) -> list[Tensor]:
        """The module's parameters after ``n`` steps from ``start``, in order; ``track`` keeps the history.

        ``start`` and ``rates`` hold one tensor or number for each parameter, in the same order.
        """
