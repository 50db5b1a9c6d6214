"""From a command line to an exit code: read the flags, check them, run the command, and report a failure."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from msr.cli.answers import show
from msr.cli.flags import parser
from msr.errors import ConfigError
from msr.failures import BAD_INPUT, explained, report, say

__all__ = ["INTERRUPTED", "run"]

INTERRUPTED = 130
"""Exit code after Ctrl-C; :data:`~msr.failures.BAD_INPUT` and ``UNFORESEEN`` are those of other failures."""


def run(arguments: list[str] | None, ready: Callable[[], None]) -> int:
    """Run a command line, and return its exit code; a failure is one line on stderr.

    Args:
        arguments: the words after ``msr``; None for those of the process.
        ready: is called once everything heavy is imported.
    """
    names: list[object] = []
    try:
        return _run(arguments, ready, names)
    except KeyboardInterrupt:
        say("interrupted")
        return INTERRUPTED
    except BaseException as error:  # whatever happens, a command line ends with an exit code
        line = explained(error, names)
        if line is None:
            return report(error, "msr")
        say(f"error: {line}")
        return BAD_INPUT


def _run(arguments: list[str] | None, ready: Callable[[], None], names: list[object]) -> int:
    """As :func:`run`, with errors raised; ``names`` is filled with the texts from outside that messages may quote."""
    try:
        options = parser().parse_args(arguments)
    except SystemExit as stop:  # argparse has printed the help, the version, or an error
        show("")  # flushes what it printed, so that a closed stdout is noticed
        return stop.code if isinstance(stop.code, int) else BAD_INPUT
    except OSError as error:  # it prints by itself, and early versions of Python 3.11 hand a failure of that on
        raise OSError(error.errno, error.strerror, "standard output") from error
    if options.command is None:
        show(parser().format_help())
        return 0
    if any(value == [] for value in vars(options).values()):
        raise ConfigError("-- is no value of a flag; a file of that name is written ./--")  # argparse lets it through
    for value in vars(options).values():
        names += [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, (Path, str))]
    options.door(options)
    command = import_module(f"msr.cli.{options.command}")
    ready()
    return command.run(options)
