"""The interface of inner solvers: how one task fits its own parameters on its support set.

A solver is a frozen value with three methods. ``check`` refuses a problem it cannot serve; ``init`` gives the numbers
that the solver itself learns in the outer loop; ``adapt`` is a pure function of tensors, so it can be differentiated
through and mapped over tasks.

A solver may say ``reverse_mode = True``: it differentiates in reverse mode alone. Then norms may run fused in a loop,
which is faster, since only in forward mode and under vmap their derivatives are wrong. Without a word it is taken for
false.
"""

from typing import Protocol

from msr.meta.problem import MetaParameters, Params, Problem
from msr.trees import Tree

__all__ = ["InnerSolver"]


class InnerSolver(Protocol):
    """What a :class:`~msr.meta.Learner` asks of the solver that fits each task."""

    def init(self, initial: Params) -> Params:
        """The numbers that the solver learns in the outer loop, by name, at their start; empty if there are none.

        Shapes: ``initial`` holds tensors of any shapes; what the solver learns is a scalar, or has the shape of one of
        them.
        """

    def check(self, problem: Problem, params: MetaParameters, x: Tree, y: Tree) -> None:
        """Raise if the solver cannot serve this problem, tried on one task's support set ``x, y (examples, ...)``."""

    def adapt(self, problem: Problem, params: MetaParameters, x: Tree, y: Tree, *, training: bool) -> Params:
        """One task's parameters, by the names of ``initial``, fitted to the support set ``x, y (examples, ...)``."""
