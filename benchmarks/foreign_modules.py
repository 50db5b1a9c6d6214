"""Do the checkers judge other people's modules as their authors' theory does?

Equivariant modules and broken ones (a parity declared wrong, one weight moved, a stride on an even grid, positions, a
causal mask, batch norm after training, …), each asked of ``assert_equivariant`` and ``certify``. What is expected is
proved in a line or stands in the paper that the case names; no verdict was looked at before. *Wrong*: a checker says
the contrary, or fails in an error that is not its own. *Undecided*: it says that it cannot tell.

Libraries whose requirements disagree run each in a Python of its own. Make one for each with
``python -m venv E; E/bin/pip install torch scipy sympy LIBRARY`` and name them in the environment variables
``MSR_E3NN_PYTHON``, ``MSR_ESCNN_PYTHON`` (with ``"numpy<2" scikit-learn``; building it takes a Fortran compiler),
``MSR_GEOMETRIC_PYTHON`` (torch_geometric), ``MSR_TRANSFORMERS_PYTHON``, ``MSR_EGNN_PYTHON`` (egnn-pytorch),
``MSR_SYMM_LEARNING_PYTHON`` and ``MSR_CUEQUIVARIANCE_PYTHON`` (with cuequivariance-torch). A library without one is
left out, and the results say so; ``torch.nn`` runs in the Python at hand.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.harness.command import command, duration, say
from benchmarks.harness.contract import Headline, Tables

LIBRARIES = {
    "torch_nn": "torch.nn",
    "e3nn": "e3nn",
    "escnn": "escnn",
    "geometric": "torch_geometric",
    "transformers": "transformers",
    "egnn": "egnn-pytorch",
    "symm_learning": "symm-learning",
    "cuequivariance": "cuequivariance",
}
"""Files of cases, and what the library is called."""

LONGEST = 900
"""Seconds after which a library is given up."""


def python_of(library: str) -> str | None:
    """The path of the Python that has a library: this one for ``torch_nn``, else as its environment variable says.

    None where that variable is not set.
    """
    return sys.executable if library == "torch_nn" else os.environ.get(f"MSR_{library.upper()}_PYTHON")


def judged(library: str, python: str, only: str) -> dict[str, Any]:
    """All rows of a library, from a process of its Python, with its versions; or no rows and the ``reason``.

    Args:
        python: the path of that Python.
        only: a text that the names of the cases must hold; empty for all cases.
    """
    root = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    words = [python, "-m", "benchmarks.foreign", library, only]
    try:
        done = subprocess.run(words, cwd=root, env=environment, capture_output=True, text=True, timeout=LONGEST)
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"library": LIBRARIES[library], "reason": str(error), "rows": []}
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    reason = "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["it does not start"])[-1]
    versions = lines[0]["versions"] if lines else {}
    return {"library": LIBRARIES[library], "reason": reason, "versions": versions, "rows": lines[1:]}


def run(*, quick: bool = False, libraries: str = ",".join(LIBRARIES)) -> dict[str, Any]:
    """Judge the cases of each library; ``quick`` takes those of ``torch.nn`` that have to do with attention.

    ``libraries`` are keys of :data:`LIBRARIES`, divided by commas.
    """
    answers: list[dict[str, Any]] = []
    for library in ["torch_nn"] if quick else libraries.split(","):
        python = python_of(library)
        if python is None:
            reason = f"not run: MSR_{library.upper()}_PYTHON names no Python that has it"
            answers.append({"library": LIBRARIES[library], "reason": reason, "versions": {}, "rows": []})
            continue
        answers.append(judged(library, python, "Attention" if quick else ""))
        counted = Counter(row["verdict"] for row in answers[-1]["rows"])
        say(f"{LIBRARIES[library]}: {dict(counted)} {answers[-1]['reason']}")
    return {"libraries": answers}


def _median(values: list[float]) -> str:
    """The upper median of some seconds, for a table; empty without any."""
    return duration(sorted(values)[len(values) // 2]) if values else ""


def tables(results: dict[str, Any]) -> Tables:
    """A table with a line for each library, and one with a line for each case."""
    summary = []
    cases = []
    for library in results["libraries"]:
        rows = library["rows"]
        counted = Counter(row["verdict"] for row in rows)
        expected = Counter(row["expected"] for row in rows)
        versions = ", ".join(f"{name} {version}" for name, version in library.get("versions", {}).items())
        line = [library["library"], library["reason"] or versions, str(len(rows))]
        line += [str(expected[kind]) for kind in ("equivariant", "broken", "refused")]
        line += [str(counted[kind]) for kind in ("right", "undecided", "wrong")]
        times = [_median([row[f"{checker}_seconds"] for row in rows]) for checker in ("assert", "certify")]
        summary.append([*line, *times])
        for row in rows:
            defect = "" if row["defect"] is None else f"{row['defect']:.1e}"
            verdicts = [row["assert"].split(":")[0], row["certify"].split(":")[0], defect]
            seconds = duration(row["assert_seconds"]), duration(row["certify_seconds"])
            cases.append([library["library"], row["case"], row["group"], row["expected"], *verdicts, *seconds])
    header = ["library", "versions", "cases", "equivariant", "broken", "refused", "right", "undecided", "wrong"]
    columns = ["library", "case", "group", "theory", "assert_equivariant", "certify", "defect", "assert", "certify "]
    return {
        "Modules by library, what theory says of them, and how the two checkers judged; median seconds of each": (
            [*header, "assert", "certify"],
            summary,
        ),
        "Every case, the largest defect seen, and the time of each checker": (columns, cases),
    }


def headlines(results: dict[str, Any]) -> list[Headline]:
    """How many cases were judged as theory says, and how many wrongly or not at all."""
    rows = [row for library in results["libraries"] for row in library["rows"]]
    counted = Counter(row["verdict"] for row in rows)
    ran = sum(bool(library["rows"]) for library in results["libraries"])
    what = f"modules of {ran} {'library' if ran == 1 else 'libraries'} judged as theory says"
    beside = f"{counted['wrong']} wrong, {counted['undecided']} undecided"
    return [Headline(what, f"{counted['right']} of {len(rows)}", beside)]


if __name__ == "__main__":
    command(__file__)
