"""Several task files of ``msr discover``: each is judged by itself, many side by side, and a table has a line for each.

joblib's processes do the work, each with one thread. A file that cannot be judged is a line of the table.
"""

import argparse
import contextlib
import io
import json
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msr.cli.answers import as_json, give
from msr.cli.doors import check_tasks, is_terminal
from msr.cli.one_file import answer_of, report_of
from msr.discovery import Discovery
from msr.discovery.answer.result import short
from msr.discovery.answer.sentences import size
from msr.discovery.workers import WorkerEnded, answers_in_order
from msr.failures import BAD_INPUT, explained, one_line, report, say
from msr.files.writing import Write
from msr.memory import free_memory
from msr.printable import printable
from msr.report.tables import format_table

__all__ = ["discover_each"]

_LONGEST = 120
"""Characters of a reason in the table; ``--json`` and ``--out`` hold all of it. Chosen by eye."""


@dataclass(frozen=True)
class Judged:
    """What became of a file: its answer, as JSON and as a line of the table, and the files of its report.

    Attributes:
        answer: JSON text; None where the file could not be judged.
        cells: of its line in the table.
        error: why it could not be judged; None where it was.
        code: 0 where it was judged, else the exit code of that failure.
        report: the content of each file of its report, by path.
    """

    answer: str | None
    cells: tuple[str, ...]
    error: str | None
    code: int
    report: dict[Path, bytes]


def discover_each(options: Any) -> int:
    """Judge every file, write what was asked for, print the table, and return the exit code.

    Reports are written one file after another, as soon as all files before it are judged. The exit code is 0 where
    every file was judged, whatever its verdict; else the largest code of a failure.

    Args:
        options: the parsed flags, with ``files``: the paths by the folder of each one's report, or by a number.
    """
    judged: list[Judged] = []
    paths = list(options.files.values())
    with contextlib.closing(_side_by_side(options)) as found:
        for path, each in zip(paths, found, strict=True):
            judged.append(each)
            if each.report:
                folder = next(iter(each.report)).parent
                give("", {place: _writer(content) for place, content in each.report.items()}, folder)
            say(f"{len(judged)} of {len(paths)}: {printable(path)}: {each.cells[0]} {each.cells[1]}".rstrip())
    answer = as_json(
        [
            {"file": str(path), "error": each.error, "answer": each.answer and json.loads(each.answer)}
            for path, each in zip(paths, judged, strict=True)
        ]
    )
    files: dict[Path, Write] = {}
    if options.json is not None and not is_terminal(options.json):
        files[options.json] = _writer(answer.encode())
    give(answer if is_terminal(options.json) else _table(options, paths, judged), files)
    failed = [each.code for each in judged if each.code]
    if failed:
        say(f"error: {len(failed)} of {len(judged)} files could not be judged; the table says why")
    return max(failed, default=0)


def _side_by_side(options: Any) -> Generator[Judged, None, None]:
    """What became of each file, in their order, ``options.jobs`` at a time.

    Raises: MissingExtraError where several are to be judged at a time and joblib is not installed.
    """
    jobs = min(options.jobs, len(options.files))
    free = free_memory()
    alone = jobs == 1
    # Of several processes each would think that all free memory is its own.
    share = None if alone or free is None else free // jobs
    threads = options.threads if alone else options.threads or 1
    files = [(path, _options_of(options, folder)) for folder, path in options.files.items()]
    ahead: int | None = None
    while files:
        count = 0
        try:
            arguments = [(path, own, threads, share) for path, own in files]
            with contextlib.closing(answers_in_order(_judged, arguments, jobs, ahead=ahead)) as answers:
                for found in answers:
                    count += 1
                    yield found
            return
        except WorkerEnded:
            files = files[count:]
        # All files that were being judged are lost with the process, and which of them ended it is not known. From now
        # on one is handed out at a time, so that it is known.
        if ahead == 1:
            yield _failed("the process that judged it was ended from outside; perhaps memory was short", BAD_INPUT)
            files = files[1:]
        else:
            say("a process was ended from outside, perhaps since memory was short: the other files come one at a time")
        ahead = 1
        share = free


def _judged(path: Path, options: Any, threads: int | None, memory: int | None) -> Judged:
    """What became of one file, a failure included.

    Args:
        options: the parsed flags, with the folder of this file's report as ``out``.
        threads, memory: as of :func:`answer_of`.
    """
    names = [path, *([options.out] if options.out is not None else [])]
    try:
        check_tasks(path)
        discovery = answer_of(options, path, threads=threads, memory=memory)
        answer = as_json(discovery.as_dict())
        report_files = {} if options.out is None else report_of(options, discovery, answer)
        return Judged(answer, _cells(discovery), None, 0, {place: _content(w) for place, w in report_files.items()})
    except Exception as error:
        line = explained(error, names)
        if line is None:
            return _failed(f"a fault of this package: {type(error).__name__}", report(error, "msr discover"))
        return _failed(line, BAD_INPUT)


def _failed(why: str, code: int) -> Judged:
    """What became of a file that could not be judged."""
    return Judged(None, ("failed", "", "", "", why), why, code, {})


def _cells(discovery: Discovery) -> tuple[str, ...]:
    """The line of an answer in the table, after the file: verdict, group, order, what breaks it, and why not."""
    group = discovery.group
    certificate = discovery.certificate
    return (
        discovery.verdict,
        "" if group is None else group.name,
        "" if group is None else short(group.order),
        "" if group is None or certificate is None else size(certificate.bound),
        discovery.hints[0] if discovery.verdict == "cannot tell" and discovery.hints else "",
    )


def _table(options: Any, paths: list[Path], judged: list[Judged]) -> str:
    """The table, a line for each file, and what its error rate means."""
    body = []
    for path, each in zip(paths, judged, strict=True):
        *cells, why = each.cells
        # A stroke would end the cell.
        why = one_line(why, paths).replace("|", "/")
        body.append([printable(path).replace("|", "/"), *cells, why if len(why) <= _LONGEST else f"{why[:_LONGEST]}…"])
    counts = {
        word: sum(each.cells[0] == word for each in judged) for word in ("found", "none", "cannot tell", "failed")
    }
    told = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    foot = f"{told}."
    if len(judged) > 1:
        of_all = f"for one over all {len(judged)} together, give --alpha {options.alpha / len(judged):.2g}"
        foot = f"{told}. The error rate {options.alpha:g} is that of each file: {of_all}."
    return format_table(["file", "verdict", "group", "order", "breaks it at most", "why not"], body) + f"\n\n{foot}\n"


def _options_of(options: Any, folder: str) -> Any:
    """The flags for one file alone, as a page repeats them; ``folder`` is where its report goes below ``--out``."""
    out = None if options.out is None else options.out / folder
    path = options.files[folder]
    return argparse.Namespace(**{**vars(options), "files": None, "tasks": path, "out": out, "json": None, "door": None})


def _content(write: Write) -> bytes:
    """What a writer writes."""
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def _writer(content: bytes) -> Write:
    """A writer of this content."""
    return lambda file: file.write(content)
