"""From a command line to an exit code: flags, what is refused at the door, the command itself, and how it failed."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from msr.cli.answers import show
from msr.cli.flags import parser
from msr.errors import ConfigError
from msr.failures import BAD_INPUT, explained, report, say

__all__ = ["INTERRUPTED", "run"]

INTERRUPTED = 130
"""Exit code after Ctrl-C; of no answer there are also :data:`~msr.failures.BAD_INPUT` and ``UNFORESEEN``."""


def run(arguments: list[str] | None, ready: Callable[[], None]) -> int:
    """Run a command line; its exit code. ``ready`` is called once everything heavy is imported."""
    names: list[object] = []
    try:
        return _run(arguments, ready, names)
    except KeyboardInterrupt:
        say("interrupted")
        return INTERRUPTED
    except BaseException as error:  # a command line has no other end than its exit code
        line = explained(error, names)
        if line is None:
            return report(error, "msr")
        say(f"error: {line}")
        return BAD_INPUT


def _run(arguments: list[str] | None, ready: Callable[[], None], names: list[object]) -> int:
    try:
        options = parser().parse_args(arguments)
    except SystemExit as stop:  # help, the version, or flags that are wrong, which have been printed
        show("")
        return stop.code if isinstance(stop.code, int) else BAD_INPUT
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
