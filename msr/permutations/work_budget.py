"""A budget of steps for a search. Steps are counted, not timed, so that answers do not depend on the machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from msr.errors import MSRError

__all__ = ["WorkSpent", "limited", "spend", "uncounted"]


class WorkSpent(MSRError):
    """The budget of a search is spent; whoever set it goes on with what is known without the search."""


class _Budget:
    """The steps that remain of a budget, and the budget around it, from which they are spent as well."""

    def __init__(self, most: float, outer: "_Budget | None"):
        self.remaining = most
        self.outer = outer

    def spend(self, steps: float) -> None:
        """Take steps off this budget and all around it. Raises: WorkSpent where one of them has none left."""
        self.remaining -= steps
        if self.outer is not None:
            self.outer.spend(steps)
        if self.remaining < 0:
            raise WorkSpent("the search would take too long")


# A context variable, because the searches for a name call each other through many files, and an argument would have to
# go through every function of them.
_BUDGET: ContextVar[_Budget | None] = ContextVar("budget", default=None)


@contextmanager
def limited(most: float) -> Iterator[None]:
    """Within the block searches may take ``most`` steps, about a microsecond each, and no more than an outer limit.

    A search that would take more raises WorkSpent, which leaves the block.
    """
    token = _BUDGET.set(_Budget(most, _BUDGET.get()))
    try:
        yield
    finally:
        _BUDGET.reset(token)


@contextmanager
def uncounted() -> Iterator[None]:
    """Within the block no step counts: for results that are cached, since who asks first must not pay for them."""
    token = _BUDGET.set(None)
    try:
        yield
    finally:
        _BUDGET.reset(token)


def spend(steps: float) -> None:
    """Count steps of a search that are about to be taken.

    Raises: WorkSpent where the budget is spent. Outside of :func:`limited` nothing is counted.
    """
    budget = _BUDGET.get()
    if budget is not None:
        budget.spend(steps)
