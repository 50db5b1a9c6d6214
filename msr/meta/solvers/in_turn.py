"""Two inner solvers, one after the other."""

from dataclasses import dataclass

from msr.errors import ConfigError
from msr.meta.problem import MetaParameters, Params, Problem
from msr.meta.solvers.base import InnerSolver
from msr.trees import Tree

__all__ = ["InTurn"]


@dataclass(frozen=True)
class InTurn:
    """A second solver goes on from where the first one came to, on the same support set.

    ``InTurn(SGD(1), RidgeHead(...))`` takes a gradient step with all adapted parameters, and then fits the head in
    closed form to the features that the step has changed. The outer gradient goes through both.

    Args:
        first: fits the task from the learned start.
        second: fits it from there.

    Raises: ConfigError, when parameters are made, for two solvers that learn numbers of the same name.
    """

    first: InnerSolver
    second: InnerSolver

    @property
    def reverse_mode(self) -> bool:
        """Whether both solvers differentiate in reverse mode alone."""
        return all(getattr(solver, "reverse_mode", False) for solver in (self.first, self.second))

    def init(self, initial: Params) -> Params:
        """The numbers that both solvers learn, by name. Shapes: as of each."""
        first = self.first.init(initial)
        second = self.second.init(initial)
        both = sorted(first.keys() & second.keys())
        if both:
            raise ConfigError(f"InTurn: both solvers learn {', '.join(both)}; give two that learn different numbers")
        return {**first, **second}

    def check(self, problem: Problem, params: MetaParameters, x: Tree, y: Tree) -> None:
        """Raise what either solver raises for this problem on one task's support set ``x, y (examples, ...)``."""
        self.first.check(problem, params, x, y)
        self.second.check(problem, params, x, y)

    def adapt(self, problem: Problem, params: MetaParameters, x: Tree, y: Tree, *, training: bool) -> Params:
        """One task's parameters by name, after both solvers.

        Shapes: the support set ``x, y (examples, ...)``; the result as ``params.initial``, name by name.
        """
        reached = self.first.adapt(problem, params, x, y, training=training)
        return self.second.adapt(problem, params._replace(initial=reached), x, y, training=training)
