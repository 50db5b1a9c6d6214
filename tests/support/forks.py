"""A copy of the process for what leaves traces in one: a new process would import everything again, for seconds."""

import os
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable

import torch


def in_a_fork(function: Callable[[], None]) -> str:
    """Call the function in a fork of this process; what it printed, on both streams.

    The fork knows all that has been imported and set so far. Where that must not be known, start a process. Torch may
    refuse to run backward in it where the process has done so on a GPU.
    Raises: AssertionError with the output if the function raises.
    """
    with tempfile.TemporaryFile("w+") as file:
        with warnings.catch_warnings():
            # Python 3.12 warns of threads that the fork will lack; it works on one of its own.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            _run(function, file.fileno())
        try:
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        except BaseException:  # such as the time limit of a test
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
        file.seek(0)
        output = file.read()
    assert status == 0, output
    return output


def _run(function: Callable[[], None], descriptor: int) -> None:
    """Run the function with both streams in a file, and end the process without what this one does at its end."""
    status = 1
    try:
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        # pytest has put files of its own in their place.
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        # Threads of the process are not in its fork, and OpenMP would wait for them.
        torch.set_num_threads(1)
        function()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
