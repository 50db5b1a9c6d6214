"""The command ``msr discover``: find the symmetry that the tasks of a file share, and write the answer."""

from pathlib import Path
from typing import Any

from msr.cli import EXIT_CODES
from msr.cli.answers import as_json, give
from msr.cli.doors import is_terminal, reports
from msr.cli.one_file import answer_of, report_of
from msr.cli.several_files import discover_each
from msr.discovery.shards.together import discover_together
from msr.failures import say
from msr.files.writing import Write
from msr.printable import printable
from msr.runs.watching.stages import stages

__all__ = ["run"]


def run(options: Any) -> int:
    """Discover, write the files that were asked for, print the answer, and return the exit code.

    Args:
        options: the parsed flags of :mod:`msr.cli.flags`, checked by :func:`msr.cli.doors.discover_door`.
    """
    if options.together:
        return _discover_together(options)
    if options.files is not None:
        return discover_each(options)
    with stages("msr discover", quiet=options.quiet) as tell:
        discovery = answer_of(options, options.tasks, threads=options.threads, progress=tell)
    answer = as_json(discovery.as_dict())
    files: dict[Path, Write] = {}
    if options.out is not None:
        files.update(report_of(options, discovery, answer))
    if options.json is not None and not is_terminal(options.json):
        files[options.json] = lambda file: file.write(answer.encode())
    give(answer if is_terminal(options.json) else f"{discovery}\n", files, options.out)
    if options.out is not None:
        say(f"report: {printable(reports(options.out)['page'])}")
    return EXIT_CODES[discovery.verdict]


def _discover_together(options: Any) -> int:
    """One answer for the tasks of all files: written and printed; the exit code is that of its verdict."""
    found = discover_together(
        list(options.files.values()),
        eps=options.eps,
        alpha=options.alpha,
        jobs=options.jobs,
        k=options.k,
        signed=options.signed,
        layer="linear" if options.layer == "auto" else options.layer,
        kernel=options.kernel,
        circular=options.circular,
    )
    answer = as_json({**found.as_dict(), "files": [str(path) for path in options.files.values()]})
    files: dict[Path, Write] = {}
    if options.json is not None and not is_terminal(options.json):
        files[options.json] = lambda file: file.write(answer.encode())
    give(answer if is_terminal(options.json) else f"{found}\n", files)
    return EXIT_CODES[found.verdict]
