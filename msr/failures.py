"""How a command fails: one line that names what went wrong; for an unforeseen error also where its traceback lies."""

import contextlib
import errno
import os
import platform
import sys
import tempfile
import traceback
from collections.abc import Iterable
from typing import Any

from msr.errors import MSRError, first_line, kind_and_line
from msr.printable import printable
from msr.version import __version__

__all__ = [
    "BAD_INPUT",
    "LONGEST",
    "UNFORESEEN",
    "explained",
    "is_lack_of_memory",
    "one_line",
    "report",
    "say",
    "silence",
]

BAD_INPUT = 2
"""Exit status of a failure that was foreseen, such as a file that is no task file."""
UNFORESEEN = 70
"""Exit status of an error that was not foreseen, which is a fault of this package (``EX_SOFTWARE`` of sysexits)."""
LONGEST = 1000
"""Characters of an error message that are shown, about."""

# Parts of the messages by which torch and NumPy report that memory is short.
_MEMORY = ("out of memory", "enough memory", "allocate", "storage size", "numel: integer multiplication overflow")


def say(line: str) -> None:
    """Print a line on stderr. A stderr that is closed is no error of its own."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        print(line, file=sys.stderr, flush=True)


def silence(stream: Any) -> None:
    """Send what a stream that failed still buffers to the null device.

    When the process ends, Python would try to write it once more, complain, and change the exit status. It does so for
    the process's own stdout and stderr alone, so other streams are left as they are.
    """
    if stream is None or stream not in (sys.__stdout__, sys.__stderr__):
        return
    with contextlib.suppress(OSError, ValueError):
        null_device = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null_device, stream.fileno())
        os.close(null_device)


def one_line(text: str, names: Iterable[object] = ()) -> str:
    """A text as one line, with invisible characters escaped, and cut where it is very long.

    Args:
        names: names from outside that may be in the text, such as those of files. Each is shortened by itself, since
            one of them may be a page long.
    """
    for name in names:
        if str(name) != printable(name):
            text = text.replace(str(name), printable(name))
    return printable(" ".join(text.split()), LONGEST)


def explained(error: BaseException, names: Iterable[object] = ()) -> str | None:
    """The message of a foreseen failure, on one line without ``error:``; None for an error that was not foreseen.

    Foreseen are the errors of this package; those of the operating system, with the file they name; lack of memory,
    which Python and torch report by several kinds of error; and numbers that are too large for their type.
    """
    names = list(names)
    if isinstance(error, MSRError):
        return one_line(str(error), names)
    if isinstance(error, OSError):
        files = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
        what = f"{' and '.join(map(printable, files))}: " if files else ""
        return what + one_line(f"{error.strerror or error or type(error).__name__}{_remedy(error)}", names)
    if isinstance(error, RuntimeError) and (cause := _system_error(error)):
        return explained(cause, names)  # torch's writer hides the system's error behind its own
    if is_lack_of_memory(error):
        return "this needs more memory than there is; give fewer tasks, examples or points, or a smaller layer"
    if isinstance(error, OverflowError) or (isinstance(error, RuntimeError) and "overflow" in str(error).lower()):
        return f"a number is too large to compute with ({printable(first_line(error))}); give smaller ones"
    return None


def is_lack_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory is short: a MemoryError, or a RuntimeError of torch whose message says so."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _MEMORY)


def report(error: BaseException, what: str) -> int:
    """Print one line on stderr: that an unforeseen error ended ``what``, and where its traceback was written.

    The traceback goes to a new file in the folder for temporary files that its owner alone may read, since it can quote
    data. Returns the exit status, :data:`UNFORESEEN`.

    Args:
        what: the command that was ended.
    """
    text = f"msr {__version__}, Python {platform.python_version()}, {platform.platform()}\n{what}\n\n"
    text += "".join(traceback.format_exception(error))
    try:
        descriptor, path = tempfile.mkstemp(prefix="msr-traceback-", suffix=".txt")
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
        where = f"the traceback is in {printable(path)}: please report it with that file"
    except OSError as trouble:
        frames = traceback.extract_tb(error.__traceback__)
        at = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "an unknown place"
        where = f"it was raised at {at} (no traceback could be written: {trouble.strerror})"
    kind = printable(kind_and_line(error), 200)
    say(f"error: {one_line(what)} was ended by a fault of this package ({kind}); {where}")
    return UNFORESEEN


def _system_error(error: BaseException) -> OSError | None:
    """An error itself, or the nearest error behind it, that is one of the operating system; None without one."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    return cause


def _remedy(error: OSError) -> str:
    """What to do about an error of the operating system, to follow its message; empty where that is plain."""
    return {
        errno.ENOSPC: "; free some space",
        errno.EDQUOT: "; free some space",
        errno.EFBIG: "; the file may not grow so large here (see ulimit -f)",
        errno.ENAMETOOLONG: "; give a shorter name",
        errno.EROFS: "; give a place that can be written",
        errno.EACCES: "; give a place that may be used",
        errno.EPERM: "; give a place that may be used",
    }.get(error.errno or 0, "")
