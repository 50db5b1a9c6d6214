"""From a command line to an exit code: flags, what is refused at the door, the command itself, and how it failed."""

import os
import platform
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from msr.cli.answers import show
from msr.cli.flags import parser
from msr.errors import ConfigError, MSRError
from msr.printable import printable
from msr.version import __version__

__all__ = ["FAILURE", "FAULT", "INTERRUPTED", "LONGEST_ERROR", "is_lack_of_memory", "run", "say"]

FAILURE, FAULT, INTERRUPTED = 2, 70, 130
"""Exit codes that are no answer: bad input or a machine that cannot; an error in this package; Ctrl-C."""

LONGEST_ERROR = 1000
"""Characters of an error that are shown, about."""


def run(arguments: list[str] | None, ready: Callable[[], None]) -> int:
    """Run a command line; its exit code. ``ready`` is called once everything heavy is imported."""
    names: list[object] = []
    try:
        code = _run(arguments, ready, names)
    except KeyboardInterrupt:
        say("interrupted")
        return INTERRUPTED
    except BaseException as error:  # a command line has no other end than its exit code
        code, line = _failure(error, names)
        say(f"error: {line}")
    return code


def _run(arguments: list[str] | None, ready: Callable[[], None], names: list[object]) -> int:
    try:
        options = parser().parse_args(arguments)
    except SystemExit as stop:  # help, the version, or flags that are wrong, which have been printed
        show("")
        return stop.code if isinstance(stop.code, int) else FAILURE
    if options.command is None:
        show(parser().format_help())
        return 0
    if any(value == [] for value in vars(options).values()):
        raise ConfigError("-- is no value of a flag; a file of that name is written ./--")  # argparse lets it through
    names += [value for value in vars(options).values() if isinstance(value, (Path, str))]
    options.door(options)
    command = import_module(f"msr.cli.{options.command}")
    ready()
    return command.run(options)


def say(line: str) -> None:
    """One line on stderr; where that is gone there is nobody to tell."""
    if sys.stderr is not None:
        with suppress(OSError, ValueError):
            print(line, file=sys.stderr, flush=True)


def is_lack_of_memory(error: BaseException) -> bool:
    """Python's way to say so, and torch's: an allocation that failed, or a size that no machine has."""
    if isinstance(error, MemoryError):
        return True
    texts = ("allocate memory", "out of memory", "Storage size calculation overflowed")
    return isinstance(error, RuntimeError) and any(text in str(error) for text in texts)


def _failure(error: BaseException, names: Iterable[object]) -> tuple[int, str]:
    """The exit code of what went wrong, and one line that says it."""
    if isinstance(error, MSRError):
        return FAILURE, _on_one_line(str(error), names)
    if isinstance(error, OSError):
        where = f"{printable(os.fsdecode(error.filename))}: " if isinstance(error.filename, (str, bytes)) else ""
        return FAILURE, where + _on_one_line(error.strerror or str(error) or type(error).__name__, names)
    if is_lack_of_memory(error):
        return FAILURE, "this needs more memory than there is; give fewer tasks, examples or points"
    kind = f"{type(error).__name__}: {printable(_text(error), 200)}"
    return FAULT, f"a fault of this package, not of its input ({kind}); {_kept(error)}"


def _text(error: BaseException) -> str:
    try:
        return " ".join(str(error).split())
    except Exception:  # an error of somebody else's may fail at this too
        return ""


def _on_one_line(text: str, names: Iterable[object]) -> str:
    """Messages that quote a file name, or a model's own message, which may be a page long."""
    for name in names:
        if str(name) != printable(name):
            text = text.replace(str(name), printable(name))
    return printable(" ".join(text.split()), LONGEST_ERROR)


def _kept(error: BaseException) -> str:
    """Write the traceback to a file that nobody else can read, and say where."""
    try:
        descriptor, name = tempfile.mkstemp(prefix="msr-fault-", suffix=".txt")
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"msr {__version__}, Python {platform.python_version()}, {platform.platform()}\n\n")
            file.write("".join(traceback.format_exception(error)))
    except OSError as refused:
        return f"the traceback could not be written ({refused.strerror})"
    return f"the traceback is in {printable(name)}: please report it with that file"
