"""The ``msr`` command: discover a symmetry in a task file, check a saved layer, sample a family to try them on.

Only what a help text needs is imported here; each command imports the rest once its flags are known to be good.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["EXIT_CODES", "main"]

EXIT_CODES = {"found": 0, "none": 1, "cannot tell": 3}
"""Exit codes of ``msr discover`` by verdict. Without a verdict: 2 a failure, 70 a fault of this package, 130 Ctrl-C."""


def main(arguments: list[str] | None = None) -> int:
    """Run a subcommand, and return its exit code. A failure prints one line on stderr, and never a traceback.

    Args:
        arguments: the words after ``msr``. By default they are those of the process, and Ctrl-C during the imports then
            ends the process at once.
    """
    with _interruptible(arguments is None) as ready:
        from msr.cli.running import run

        return run(arguments, ready)


@contextmanager
def _interruptible(whole_process: bool) -> Iterator[Callable[[], None]]:
    """Let Ctrl-C end the process at once until the function that is yielded is called, when all is imported.

    Until then there is nothing to tidy up, while an interrupt inside an import leaves modules half imported, and some
    modules of torch turn it into other errors. Signals of a program that calls :func:`main` are left as they are.
    """
    replaced = (
        whole_process
        and threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if replaced:
        signal.signal(signal.SIGINT, _end)

    def ready() -> None:
        if replaced:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    try:
        yield ready
    finally:
        ready()


def _end(number: int, frame: FrameType | None) -> None:
    """The handler of a signal: print a line, and end the process with 128 + its number; no ``finally`` runs."""
    try:
        os.write(2, b"interrupted\n")
    finally:
        os._exit(128 + number)
