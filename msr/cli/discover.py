"""``msr discover``: the symmetry that the tasks of a file share."""

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
from msr.tasks.files import read_arrays

__all__ = ["run"]


def run(options: Any) -> int:
    """Discover, write what was asked for, and then say it; the exit code."""
    arrays = read_arrays(options.tasks)
    split = torch.from_numpy(np.asarray(arrays["split"]).astype(bool)) if "split" in arrays else None
    # As they lie in the file: they become float64 where they are taken in, a part at a time.
    found = discover(
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
    )
    answer = as_json(found.as_dict())
    files: dict[Path, Write] = {}
    if options.out is not None:
        files.update(_report(options, found, answer))
    if options.json is not None and not is_terminal(options.json):
        files[options.json] = lambda file: file.write(answer.encode())
    give(answer if is_terminal(options.json) else f"{found}\n", files, options.out)
    if options.out is not None:
        say(f"report: {printable(reports(options.out)['page'])}")
    return EXIT_CODES[found.verdict]


def _report(options: Any, found: Discovery, answer: str) -> dict[Path, Write]:
    page = discovery_page(found, source=str(options.tasks), command=repeat(options))
    files = reports(options.out)
    return {
        files["page"]: lambda file: file.write(page.encode()),
        files["answer"]: lambda file: file.write(answer.encode()),
    }


def repeat(options: Any) -> str:
    """The command line that gives the same answer."""
    words = ["msr", "discover", _as_word(options.tasks), "--layer", options.layer, "--k", str(options.k)]
    if options.kernel is not None:
        words += ["--kernel", str(options.kernel)]
    words += ["--circular"] * options.circular + ["--valid"] * options.valid + ["--signed"] * options.signed
    words += ["--seeds", str(options.seeds), "--alpha", f"{options.alpha!r}", "--eps", f"{options.eps!r}"]
    words += ["--threads", str(options.threads)] * (options.threads is not None)
    if options.json is not None:
        words += ["--json", "-" if is_terminal(options.json) else _as_word(options.json)]
    if options.out is not None:
        words += ["--out", _as_word(options.out)]
    return quoted(words)


def _as_word(path: Path) -> str:
    """A name that is not taken for a flag."""
    return os.path.join(".", path) if str(path).startswith("-") else str(path)
