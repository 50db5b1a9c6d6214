"""The command ``msr discover``: find the symmetry that the tasks of a file share, and write the answer."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from msr.cli import EXIT_CODES
from msr.cli.answers import as_json, give
from msr.cli.doors import is_terminal, reports
from msr.discovery import Discovery, discover
from msr.failures import say
from msr.files.writing import Write
from msr.printable import printable, quoted
from msr.report.page.page import discovery_page
from msr.runs.watching.stages import Tell, stages
from msr.tasks.files import read_arrays

__all__ = ["run"]


def run(options: Any) -> int:
    """Discover, write the files that were asked for, print the answer, and return the exit code.

    Args:
        options: the parsed flags of :mod:`msr.cli.flags`.
    """
    with stages("msr discover", quiet=options.quiet) as tell:
        discovery = _answer(options, tell)
    answer = as_json(discovery.as_dict())
    files: dict[Path, Write] = {}
    if options.out is not None:
        files.update(_report(options, discovery, answer))
    if options.json is not None and not is_terminal(options.json):
        files[options.json] = lambda file: file.write(answer.encode())
    give(answer if is_terminal(options.json) else f"{discovery}\n", files, options.out)
    if options.out is not None:
        say(f"report: {printable(reports(options.out)['page'])}")
    return EXIT_CODES[discovery.verdict]


def _answer(options: Any, tell: Tell) -> Discovery:
    """Read the tasks and discover; ``tell`` is told each stage as it begins."""
    tell("reading", 1, None)
    arrays = read_arrays(options.tasks)
    split = torch.from_numpy(np.asarray(arrays["split"]).astype(bool)) if "split" in arrays else None
    # The arrays keep the dtype of the file. discover makes float64 of them a part at a time, which saves memory.
    return discover(
        arrays.pop("x"),
        arrays.pop("y"),
        layer="linear" if options.layer == "auto" else options.layer,
        kernel=options.kernel,
        circular=options.circular,
        k=options.k,
        eps=options.eps,
        alpha=options.alpha,
        seeds=options.seeds,
        fresh=split,
        signed=options.signed,
        threads=options.threads,
        progress=tell,
    )


def _report(options: Any, discovery: Discovery, answer: str) -> dict[Path, Write]:
    """The files of ``--out``: the page and the answer as JSON."""
    page = discovery_page(discovery, source=str(options.tasks), command=repeat(options))
    files = reports(options.out)
    return {
        files["page"]: lambda file: file.write(page.encode()),
        files["answer"]: lambda file: file.write(answer.encode()),
    }


def repeat(options: Any) -> str:
    """The command line that gives the same answer, with all flags written out and quoted for a shell."""
    words = ["msr", "discover", _as_word(options.tasks), "--layer", options.layer, "--k", str(options.k)]
    if options.kernel is not None:
        words += ["--kernel", str(options.kernel)]
    words += [f"--{flag}" for flag in ("circular", "valid", "signed") if getattr(options, flag)]
    words += ["--seeds", str(options.seeds), "--alpha", f"{options.alpha!r}", "--eps", f"{options.eps!r}"]
    if options.threads is not None:
        words += ["--threads", str(options.threads)]
    if options.json is not None:
        words += ["--json", "-" if is_terminal(options.json) else _as_word(options.json)]
    if options.out is not None:
        words += ["--out", _as_word(options.out)]
    return quoted(words)


def _as_word(path: Path) -> str:
    """A path as a word of the command line; one that starts with ``-`` gets ``./`` so that it is not read as a flag."""
    return os.path.join(".", path) if str(path).startswith("-") else str(path)
