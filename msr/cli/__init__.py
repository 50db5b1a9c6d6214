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
"""Exit codes of ``msr discover`` by verdict. Without one: 2 a failure, 70 a fault of this package, 130 Ctrl-C."""


def main(arguments: list[str] | None = None) -> int:
    """Run a subcommand; its exit code. Whatever is no answer is one line on stderr, and never a traceback.

    ``arguments``: those of the process where they are left out; a signal that comes during imports then ends it.
    """
    with _interruptible(arguments is None) as ready:
        from msr.cli.running import run

        return run(arguments, ready)


@contextmanager
def _interruptible(whole_process: bool) -> Iterator[Callable[[], None]]:
    """Until it is told that all is imported, Ctrl-C ends the process at once: nothing is there yet to be tidied up.

    An interrupt inside an import leaves modules half imported, and some of torch's turn it into other errors.
    """
    mine = (
        whole_process
        and threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if mine:
        signal.signal(signal.SIGINT, _end)

    def ready() -> None:
        if mine:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    try:
        yield ready
    finally:
        ready()


def _end(number: int, frame: FrameType | None) -> None:
    try:
        os.write(2, b"interrupted\n")
    finally:
        os._exit(128 + number)
