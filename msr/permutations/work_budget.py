"""How much work a search may do: counted steps, so that an answer never depends on how fast a machine is."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from msr.errors import MSRError

__all__ = ["WorkSpent", "limited", "spend", "uncounted"]


class WorkSpent(MSRError):
    """A search has done all the work that it may do; what began it says what it knows without."""


class _Allowance:
    """Steps that are left, here and in what this is a part of."""

    def __init__(self, most: float, whole: "_Allowance | None"):
        self.left = most
        self.whole = whole

    def spend(self, steps: float) -> None:
        self.left -= steps
        if self.whole is not None:
            self.whole.spend(steps)
        if self.left < 0:
            raise WorkSpent("the search would take too long")


# The searches of a name call each other through many files; an argument would go through every function of them.
_ALLOWANCE: ContextVar[_Allowance | None] = ContextVar("allowance", default=None)


@contextmanager
def limited(most: float) -> Iterator[None]:
    """Within, searches may take so many steps, about a microsecond each, and no more than is left around it."""
    token = _ALLOWANCE.set(_Allowance(most, _ALLOWANCE.get()))
    try:
        yield
    finally:
        _ALLOWANCE.reset(token)


@contextmanager
def uncounted() -> Iterator[None]:
    """Within, no step counts: for what is kept, so that an answer does not depend on what was asked before."""
    token = _ALLOWANCE.set(None)
    try:
        yield
    finally:
        _ALLOWANCE.reset(token)


def spend(steps: float) -> None:
    """Count steps of a search that are about to be taken.

    Raises: WorkSpent where no more are left; without a limit around it, never.
    """
    allowance = _ALLOWANCE.get()
    if allowance is not None:
        allowance.spend(steps)
