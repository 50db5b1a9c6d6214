"""``python -m experiments.sweep NAME``: all runs of a sweep that are not finished; then a table, and ``sweep.json``."""

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from experiments.sweep import engines
from experiments.sweep.flags import Options, read_options
from experiments.sweep.job import Job
from experiments.sweep.plan import PLAN, Run, finished, planned, recorded, results_of
from experiments.sweep.summary import summarised, table
from msr.errors import ConfigError, DataError, MSRError
from msr.failures import BAD_INPUT, explained, one_line, report, say
from msr.files.writing import write_whole
from msr.printable import printable, quoted
from msr.runs import signals
from msr.runs.folder import Row
from msr.runs.identity import environment
from msr.runs.streams import guarded

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Read the command line, run all that is not finished, show the table, and return the exit status.

    It is 0 where every run is finished. A failure that was foreseen, one of a run included, is status 2; any other is
    70. A signal stops the runs, and the status is 128 + its number.
    """
    out: list[Path] = []
    with guarded() as stdout:
        try:
            with signals.raising():
                status = _swept(read_options(argv), out)
        except KeyboardInterrupt as stop:
            say(f"stopped{_continuation(out) or ' before anything was written'}")
            return stop.status if isinstance(stop, signals.Stop) else 130
        except Exception as error:
            line = explained(error)
            if line is None:
                return report(error, "python -m experiments.sweep")
            say(f"error: {line}" + ("" if isinstance(error, MSRError) else _continuation(out)))
            return BAD_INPUT
        stdout.flush()
        if stdout.lost:
            say(
                f"error: stdout takes no more text, so the table was not shown; it is in {printable(out[0])}/sweep.json"
            )
            return BAD_INPUT
        return status


def _swept(options: Options, opened: list[Path]) -> int:
    """Run what is not finished, publish, and return the exit status; the sweep's folder is appended to ``opened``."""
    engines.load(options)
    runs = planned(options)
    out = _folder(options)
    with _held(out):
        recorded(out, runs)
        opened.append(out)
        errors: dict[str, str] = {}
        waiting = [run for run in runs if not finished(out, run)]
        names = {job.name: job for job in (_job(options, out, run) for run in waiting)}
        if len(waiting) < len(runs):
            say(f"{len(runs) - len(waiting)} of {len(runs)} runs are finished already")
        with contextlib.closing(engines.outcomes(list(names.values()), options, out, say)) as each:
            for count, (job, outcome) in enumerate(each, len(runs) - len(waiting) + 1):
                if outcome.error is not None:
                    # Every run's folder lies in the sweep's, which is told once.
                    errors[job.name] = one_line(outcome.error.replace(f"{out}{os.sep}", ""))
                how = f"failed: {errors[job.name]}" if outcome.error is not None else "finished"
                say(f"{count} of {len(runs)}: {job.name} {how}, {outcome.seconds:.1f} s")
        return _published(options, out, runs, errors)


def _published(options: Options, out: Path, runs: list[Run], errors: dict[str, str]) -> int:
    """Write ``sweep.json``, show the table, and return the exit status.

    Args:
        errors: why runs failed, by their names.
    """
    summaries: list[list[Row] | None] = []
    for run in runs:
        summary = None
        try:
            if run.name not in errors:
                summary = results_of(out, run)["summary"]
        except DataError as error:
            errors[run.name] = one_line(str(error))
        summaries.append(summary)
    rows = summarised(runs, summaries, [errors.get(run.name) for run in runs])
    results: dict[str, Any] = {
        "experiment": options.runner,
        "flags": options.passed,
        "environment": environment(),
        "runs": [
            {"setting": run.setting, "seed": run.seed, "folder": run.name, "error": errors.get(run.name)}
            for run in runs
        ],
        "rows": rows,
    }
    content = json.dumps(results, indent=1, allow_nan=False) + "\n"
    write_whole(out / "sweep.json", lambda file: file.write(content.encode()))
    unsorted: ConfigError | None = None
    try:
        text = table(rows, options.by, options.descending)
    except ConfigError as error:
        unsorted = error
        text = table(rows)
    print(text)
    say(f"\nresults: {printable(out / 'sweep.json')}")
    if errors:
        say(
            f"error: {len(errors)} of {len(runs)} runs failed, whose .log files say more; "
            f"{_again(out)} starts these again"
        )
    elif unsorted is not None:
        say(f"error: {one_line(str(unsorted))}")
    return BAD_INPUT if errors or unsorted is not None else 0


def _job(options: Options, out: Path, run: Run) -> Job:
    """The job of a run."""
    return Job(run.name, options.runner, run.flags, os.fspath(out / run.name), options.threads)


def _folder(options: Options) -> Path:
    """The sweep's folder, which is made where it is not to be continued.

    Raises: ConfigError where there is no sweep to continue, there is one that was not to be continued, or the folder
    cannot be made.
    """
    out = Path(options.out or f"runs/sweep-{options.runner}-{datetime.now():%Y%m%d-%H%M%S}")
    begun = (out / PLAN).is_file()
    if options.resume and not begun:
        raise ConfigError(f"{printable(out)} holds no sweep to continue (no {PLAN})")
    if begun and not options.resume:
        raise ConfigError(f"{printable(out)} already holds a sweep; continue it with --resume, or give another --out")
    if (out / "config.toml").exists():
        raise ConfigError(f"{printable(out)} holds a run; give another --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{printable(out)} cannot be written: {error.strerror}; give another --out") from None
    return out


@contextlib.contextmanager
def _held(out: Path) -> Iterator[None]:
    """Hold the sweep's folder for the length of the block. Raises: ConfigError where another process holds it."""
    lock = FileLock(out / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ConfigError(f"{printable(out)} is in use by another sweep; wait for it, or give another --out") from None
    except (OSError, NotImplementedError) as error:
        raise ConfigError(f"{printable(out)} cannot be held: {error}; give another --out") from None
    try:
        yield
    finally:
        lock.release()


def _continuation(out: list[Path]) -> str:
    """The end of a message: how to go on; empty where nothing was begun."""
    return f"; what was finished is kept: continue with {_again(out[0])}" if out else ""


def _again(out: Path) -> str:
    """The flags that go on with a sweep."""
    return quoted(["--resume", "--out", os.fspath(out)])


if __name__ == "__main__":
    sys.exit(main())
