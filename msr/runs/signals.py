"""What a runner does when it is told to stop: finish the step, save, and exit with 128 + the signal's number.

Only the standard library is imported here, so that Ctrl-C is clean while torch is still loading.
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

_begun: list[bool] = []  # holds something once :func:`raising` was entered


class Stop(KeyboardInterrupt):
    """A signal asked for the end; ``number`` is its number, and ``status`` what the process shall exit with."""

    def __init__(self, number: int = signal.SIGINT):
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def status(self) -> int:
        """As a shell shows it for a process that the signal ended."""
        return 128 + self.number


@contextlib.contextmanager
def deferred() -> Iterator[list[int]]:
    """Collect SIGINT, SIGTERM and SIGHUP in a list instead of raising them anywhere, so no step is saved half done.

    Look at the list after each step, save, and leave: on the way out :class:`Stop` is raised for the first of them. A
    second signal raises at once. One that was ignored, as SIGHUP is under ``nohup``, stays ignored.
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
    """Outside of steps a signal raises :class:`Stop` where the program is."""
    _begun.append(True)

    def stop(number: int, frame: object) -> None:
        raise Stop(number)

    with _handled(stop):
        yield


def quiet_start() -> None:
    """Outside of :func:`raising`, a signal ends the process at once, with one line: there is nothing to be tidied up.

    That is so before a run, while libraries are imported, and after it, when all of its files are whole.
    """

    def leave(number: int, frame: object) -> None:
        with contextlib.suppress(OSError):
            os.write(2, b"stopped\n" if _begun else b"stopped before anything was done\n")
        os._exit(128 + number)

    for number in _ours():
        signal.signal(number, leave)


@contextlib.contextmanager
def _handled(handler: Handler) -> Iterator[None]:
    before = {}
    if threading.current_thread() is threading.main_thread():  # no other thread may set handlers
        before = {number: signal.signal(number, handler) for number in _ours()}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _ours() -> list[signal.Signals]:
    return [number for number in _STOPS if signal.getsignal(number) not in (signal.SIG_IGN, None)]
