"""What to do where torch cannot run a problem: other ways are tried, and the error message names one that works."""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch

from msr.errors import ModelError, first_line
from msr.meta.exact import explain
from msr.meta.record.recording import NotRecorded
from msr.meta.way import Way

__all__ = ["explaining"]

# The changes that may help, in the words of a user's own call, from the one that costs least.
_UNRECORDED = "trace=False"
_IN_A_LOOP = 'batching="loop"'
_FIRST_ORDER = "first_order=True"


@contextlib.contextmanager
def explaining(way: Callable[[], Way], run: Callable[[Way], Any]) -> Iterator[None]:
    """Turn an error of torch's within the block into a ModelError that names another way, which was tried.

    A RuntimeError or NotRecorded is taken for such; where no other way works and it is not known what torch lacks, it
    goes on as it is.

    ``way`` gives the way that failed; it is asked after the failure, since the block may change it. ``run`` does in
    another way what the block does.
    """
    try:
        yield
    except (RuntimeError, NotRecorded) as error:
        explained = _explained(way(), error, run)
        if explained is error:
            raise
        raise explained from error


def _explained(way: Way, error: Exception, run: Callable[[Way], Any]) -> Exception:
    """The ModelError to raise in place of ``error``, or ``error`` itself where no other way mends it.

    Ways are tried with fewer and fewer of what was asked for. An error that none of them mends is the caller's own,
    unless it is known what torch lacks. ``run`` does in another way what failed.
    """
    # Another way might need less memory, but trying it on a full device tells nothing; and libraries have one way only.
    if isinstance(error, torch.cuda.OutOfMemoryError) or way.engine != "torch":
        return error
    for changes in _alternatives(way):
        try:
            run(_changed(way, changes))
        except Exception:  # this way fails too
            continue
        remedy = " and ".join(changes)
        known = explain(error, f"{remedy} works (tried)")
        if known is not None:
            return known
        culprit = "the recorder" if _UNRECORDED in changes else "vmap" if way.batching != "loop" else "torch"
        return ModelError(f"{culprit} cannot run this problem: {first_line(error)}; {remedy} works (tried)")
    return explain(error, "no other way to run it with this solver was found either") or error


def _alternatives(way: Way) -> list[tuple[str, ...]]:
    """All sets of changes that this way is open to, the small ones first, of one size those that cost least.

    A change is given in the words of a user's own call, such as ``trace=False``.
    """
    is_open = {
        _UNRECORDED: way.trace,
        _IN_A_LOOP: way.batching != "loop",
        _FIRST_ORDER: getattr(way.solver, "first_order", True) is False,
    }
    changes = [change for change, applies in is_open.items() if applies]
    return [c for size in range(1, len(changes) + 1) for c in itertools.combinations(changes, size)]


def _changed(way: Way, changes: tuple[str, ...]) -> Way:
    """The way with these changes; ``trace`` is never ``"auto"`` in it."""
    solver: Any = way.solver
    return Way(
        solver=replace(solver, first_order=True) if _FIRST_ORDER in changes else solver,
        batching="loop" if _IN_A_LOOP in changes else way.batching,
        # "auto" becomes True: a way that has to fall back does not count as one that works.
        trace=bool(way.trace) and _UNRECORDED not in changes,
        engine=way.engine,
    )
