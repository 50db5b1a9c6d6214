"""How a runner starts and ends: flags in, a folder out; every failure is one line that says how to continue."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from msr.errors import MSRError, ProcessError
from msr.failures import BAD_INPUT, explained, report, say
from msr.printable import printable, quoted
from msr.runs import signals
from msr.runs.config import Config, RunConfig, threads_for
from msr.runs.flags import parse
from msr.runs.folder import held, recorded_threads, release
from msr.runs.processes.group import Done, here
from msr.runs.processes.launching import own_gpu, several
from msr.runs.streams import Guard, guarded

__all__ = ["main"]


def main(config: type[Config], run: Callable[[Config], None], argv: Sequence[str] | None = None) -> int:
    """Read the command line, run, and return the exit status: 0 where all went well.

    A failure that was foreseen is one line and status 2; any other is one line, a file with the traceback, and status
    70. A runner that is told to stop finishes its step, saves, and exits with 128 + the signal. Text that cannot be
    printed is dropped, so a run does not need anyone to look on. A runner that trains may be one of several processes
    (:mod:`msr.runs.processes`).
    """
    with guarded() as stdout:
        try:
            with signals.raising():
                settings = parse(config, argv)
                own_gpu(settings)
                settings.check()
                settings.check_memory()
                with several(settings, repeatable=argv is None, hint=_continuation), _threads(settings):
                    run(settings)
        except Done:
            return 0
        except KeyboardInterrupt as stop:
            say(f"stopped{_continuation() or ' before anything was written'}")
            return stop.status if isinstance(stop, signals.Stop) else 130
        except Exception as error:
            line = explained(error)
            if line is None:
                return report(error, f"python -m experiments.{config.__module__.rpartition('.')[2]}")
            # An MSRError says itself what to do; after any other, such as a full disk, and where another process was
            # lost, the run can go on as it is.
            says_what_to_do = isinstance(error, MSRError) and not isinstance(error, ProcessError)
            say(f"error: {line}" + ("" if says_what_to_do else _continuation()))
            return BAD_INPUT
        finally:
            folder = held()
            release()
        return _status_of_output(stdout, folder)


def _continuation() -> str:
    """The end of a message: how to continue from what is on the disk; empty where this process holds no run folder."""
    folder = held()
    if folder is None:
        return ""
    return f"; what was finished is kept: continue with {quoted(['--resume', '--out', os.fspath(folder)])}"


def _status_of_output(stdout: Guard, folder: Path | None) -> int:
    """Flush stdout, and return the exit status: 0, or 2 with a line on stderr where text was lost.

    Args:
        folder: of the run, whose results the line names; None where no folder was opened.
    """
    stdout.flush()
    if stdout.lost:
        kept = "" if folder is None else f"; the results are in {printable(folder / 'results.json')}"
        say(f"error: stdout takes no more text, so the table was not shown{kept}")
        return BAD_INPUT
    return 0


@contextlib.contextmanager
def _threads(config: RunConfig) -> Iterator[None]:
    """Within the block, torch works with the run's number of threads; after it with as many as before.

    That is the number that was asked for; else that of the run to continue, if it had as many processes; else what
    :func:`threads_for` says, and one where several processes share the cores.
    """
    before = torch.get_num_threads()

    def chosen() -> int:
        recorded = recorded_threads(config.out) if config.resume else 0
        return config.threads or recorded or (threads_for(config) if here().alone else 1)

    torch.set_num_threads(here().told(chosen))
    try:
        yield
    finally:
        torch.set_num_threads(before)
