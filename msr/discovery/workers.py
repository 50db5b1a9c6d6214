"""Workers: a function is called with each of several arguments in processes of joblib, with one answer after another.

joblib is what starts processes here, because it needs no server, hands arrays over, and comes with scikit-learn to most
who would use it; it is an optional dependency.
"""

import contextlib
import signal
import threading
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, TypeVar

from msr.errors import MissingExtraError

__all__ = ["WorkerEnded", "answers_in_order"]

Answer = TypeVar("Answer")


class WorkerEnded(Exception):
    """A process that worked was ended from outside, as where memory is short; what was not answered yet is lost."""


def answers_in_order(
    work: Callable[..., Answer], arguments: Sequence[tuple[Any, ...]], jobs: int, *, ahead: int | None = None
) -> Generator[Answer, None, None]:
    """``work(*each)`` for each of the arguments, in their order, ``jobs`` at a time in processes of their own.

    With one job it is called in this process. Ctrl-C, and closing the generator, end the processes.

    Args:
        ahead: how many calls are handed out before the first has its answer; all by default. With 1 there is one call
            at a time, so that it is known which one ended its process.

    Raises: MissingExtraError where there are several jobs and joblib is not installed; WorkerEnded; and what ``work``
    raises.
    """
    if jobs == 1:
        yield from (work(*each) for each in arguments)
        return
    try:
        from joblib import Parallel, delayed
        from joblib.externals.loky.process_executor import TerminatedWorkerError
    except ImportError:
        raise MissingExtraError(
            "joblib judges several files at a time: pip install 'msr[discover]', or give --jobs 1"
        ) from None
    pool = Parallel(
        n_jobs=jobs, backend="loky", return_as="generator", batch_size=1, pre_dispatch="all" if ahead is None else ahead
    )
    try:
        with warnings.catch_warnings(), _ended_quietly():
            # That a process was ended is raised below; joblib also guesses at a reason for it.
            warnings.filterwarnings("ignore", "A worker stopped", UserWarning)
            with _deaf():
                answers = pool(delayed(work)(*each) for each in arguments)
            yield from answers
    except TerminatedWorkerError as error:
        raise WorkerEnded from error


@contextlib.contextmanager
def _ended_quietly() -> Iterator[None]:
    """Within the block, joblib can be interrupted without a traceback of the thread in which it serves its processes.

    That thread still has work to hand out when its processes are ended, and fails. Where nothing was interrupted, what
    threads raise is shown at the end of the block.
    """
    before = threading.excepthook
    raised: list[Any] = []
    threading.excepthook = raised.append
    try:
        yield
    except (KeyboardInterrupt, GeneratorExit):
        raised.clear()
        raise
    finally:
        threading.excepthook = before
        for each in raised:
            before(each)


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """Within the block, Ctrl-C does nothing, and never does to processes that are started in it.

    A terminal sends Ctrl-C to all of them, and each would show a traceback; this process ends them itself. To block the
    signal for that time, which would not lose it, does not help: joblib unblocks it when it starts its first process.
    """
    if threading.current_thread() is not threading.main_thread():  # where Python sets no handlers
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
