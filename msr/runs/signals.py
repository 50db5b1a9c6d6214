"""What a runner does when a signal asks it to stop: finish the step, save, and exit with 128 + the signal's number.

Only the standard library is imported here, so that Ctrl-C ends the process with one line while torch is still loading.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["Stop", "deferred", "quiet_start", "raising"]

Handler = Callable[[int, Any], Any]

_STOPS = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]

# Not empty once :func:`raising` was entered: from then on something may have been done.
_begun: list[bool] = []


class Stop(KeyboardInterrupt):
    """A signal asked the process to stop; ``number`` is its number, and ``status`` the exit status that says so."""

    def __init__(self, number: int = signal.SIGINT):
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def status(self) -> int:
        """128 + the number, as a shell shows it for a process that the signal ended."""
        return 128 + self.number


@contextlib.contextmanager
def deferred() -> Iterator[list[int]]:
    """Collect SIGINT, SIGTERM and SIGHUP in a list instead of raising them at once, so no step is saved half done.

    The caller looks at the list after each step, saves, and leaves the block, where :class:`Stop` is raised for the
    first signal. A second signal raises at once. A signal that was ignored, as SIGHUP under ``nohup``, stays ignored.
    """
    caught: list[int] = []

    def note(number: int, frame: object) -> None:
        if caught:
            raise Stop(number)
        caught.append(number)

    with _handled(note):
        yield caught
    if caught:
        raise Stop(caught[0])


@contextlib.contextmanager
def raising() -> Iterator[None]:
    """Within the block, a signal raises :class:`Stop` wherever the program is; :func:`deferred` overrides this."""
    _begun.append(True)

    def stop(number: int, frame: object) -> None:
        raise Stop(number)

    with _handled(stop):
        yield


def quiet_start() -> None:
    """From now on SIGINT, SIGTERM or SIGHUP ends the process at once, with one line on stderr and status 128 + its
    number.

    Not within :func:`raising` or :func:`deferred`, and signals that are ignored stay ignored. Nothing needs to be
    tidied up before a run, while libraries are imported, or after it, when its files are whole, so the end is
    ``os._exit``.

    Raises: ValueError outside of the main thread, where Python sets no handlers.
    """

    def leave(number: int, frame: object) -> None:
        with contextlib.suppress(OSError):
            os.write(2, b"stopped\n" if _begun else b"stopped before anything was done\n")
        os._exit(128 + number)

    for number in _handled_signals():
        signal.signal(number, leave)


@contextlib.contextmanager
def _handled(handler: Handler) -> Iterator[None]:
    """Within the block, ``handler`` receives the signals that stop a run; the earlier handlers come back after it.

    Outside of the main thread, where Python sets no handlers, nothing changes.
    """
    before = {}
    # Python lets only the main thread set handlers.
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, handler) for number in _handled_signals()}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _handled_signals() -> list[signal.Signals]:
    """The signals that stop a run, without those that are ignored or belong to code outside of Python."""
    return [number for number in _STOPS if signal.getsignal(number) not in (signal.SIG_IGN, None)]
