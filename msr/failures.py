"""How a command fails: one line that names what went wrong, and for what nobody foresaw, where its traceback lies."""

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
"""Exit status of a failure that was foreseen."""
UNFORESEEN = 70
"""Exit status of one that was not (``EX_SOFTWARE`` of sysexits)."""
LONGEST = 1000
"""Characters of an error that are shown, about."""

_MEMORY = ("out of memory", "enough memory", "allocate", "storage size", "numel: integer multiplication overflow")


def say(line: str) -> None:
    """Print on stderr; that nobody listens there any more is no error of its own."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        print(line, file=sys.stderr, flush=True)


def silence(stream: Any) -> None:
    """Send what a stream that failed still holds in memory to the null device.

    Python would try to write it once more at its end, complain, and change the exit status. Only of the process's own
    stdout and stderr is that so; others are left alone.
    """
    if stream is None or stream not in (sys.__stdout__, sys.__stderr__):
        return
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def one_line(text: str, names: Iterable[object] = ()) -> str:
    """A text as one line that a terminal shows as it is: what cannot be seen escaped, and cut where it is very long.

    ``names`` from outside, such as those of files, are shown by themselves, since one of them may be a page long.
    """
    for name in names:
        if str(name) != printable(name):
            text = text.replace(str(name), printable(name))
    return printable(" ".join(text.split()), LONGEST)


def explained(error: BaseException, names: Iterable[object] = ()) -> str | None:
    """What a foreseen failure says, on one line without ``error:``; None for one that nobody foresaw.

    Foreseen are the errors of this package; those of the operating system, with the file they name; lack of memory,
    which Python and torch report under several kinds; and numbers that are too large for their type.
    """
    names = list(names)
    if isinstance(error, MSRError):
        return one_line(str(error), names)
    if isinstance(error, OSError):
        files = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
        what = f"{' and '.join(map(printable, files))}: " if files else ""
        return what + one_line(f"{error.strerror or error or type(error).__name__}{_remedy(error)}", names)
    if isinstance(error, RuntimeError) and (below := _system_error(error)):
        return explained(below, names)  # torch's writer hides the system's error behind its own
    if is_lack_of_memory(error):
        return "this needs more memory than there is; give fewer tasks, examples or points, or a smaller layer"
    if isinstance(error, OverflowError) or (isinstance(error, RuntimeError) and "overflow" in str(error).lower()):
        return f"a number is too large to compute with ({printable(first_line(error))}); give smaller ones"
    return None


def is_lack_of_memory(error: BaseException) -> bool:
    """Python's and NumPy's way to say so, and torch's, whose error is a RuntimeError on a CPU."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _MEMORY)


def report(error: BaseException, what: str) -> int:
    """Say in one line that an unforeseen error ended ``what``, and where its traceback was written; gives 70.

    The file is of its own and may be read by its owner alone, for a traceback can quote data.
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
    """The error of the operating system during which another was raised."""
    below: BaseException | None = error
    while below is not None and not isinstance(below, OSError):
        below = below.__cause__ or below.__context__
    return below


def _remedy(error: OSError) -> str:
    return {
        errno.ENOSPC: "; free some space",
        errno.EDQUOT: "; free some space",
        errno.EFBIG: "; the file may not grow so large here (see ulimit -f)",
        errno.ENAMETOOLONG: "; give a shorter name",
        errno.EROFS: "; give a place that can be written",
        errno.EACCES: "; give a place that may be used",
        errno.EPERM: "; give a place that may be used",
    }.get(error.errno or 0, "")
