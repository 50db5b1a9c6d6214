"""One task file of ``msr discover``: the search, the files of its answer, and the command line that repeats it."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from msr.cli.doors import is_terminal, reports
from msr.discovery import Discovery, discover
from msr.files.writing import Write
from msr.printable import quoted
from msr.report.page.page import discovery_page
from msr.tasks.files import read_arrays

__all__ = ["answer_of", "repeat", "report_of"]


def answer_of(
    options: Any,
    path: Path,
    *,
    threads: int | None = None,
    memory: int | None = None,
    progress: Callable[[str, int, int | None], None] | None = None,
) -> Discovery:
    """The answer for the tasks of a file.

    Args:
        options: the parsed flags of :mod:`msr.cli.flags`.
        threads, memory: as :func:`msr.discovery.discover` has them.
        progress: is told each stage as it begins, reading first; the others as :func:`msr.discovery.discover` does.

    Raises: DataError, ShapeError or ConfigError for a file, or flags, that cannot be used.
    """
    if progress is not None:
        progress("reading", 1, None)
    arrays = read_arrays(path)
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
        threads=threads,
        memory=memory,
        progress=progress,
    )


def report_of(options: Any, discovery: Discovery, answer: str) -> dict[Path, Write]:
    """The files of ``--out``: the page, and ``answer``, the answer as JSON."""
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
