"""Is every verdict of ``msr discover`` backed by the data: how often is it wrong, and how often silent without need?

Files are made whose right answer is known, in three parts. *Null*: cells of files that invite a wrong answer, and a
test of each that wrong verdicts come at rate α at most, all cells together at 1% (Holm). Wrong is a group that breaks
more than ε, than its own bound or than its own word on exceptions allows, a group that lacks a symmetry of all tasks,
and "none" where there is one. *Power*: against an oracle that knows the group and applies the same test to all tasks.
*Families*: a hundred groups, of which the orbits on pairs of an output and an input must be right.

A line a file is appended to a log, so that a long run can be stopped and continued: files that are in it are not run
again, and the table is of all that it holds. ``--parts ""`` runs nothing and reads the log. What earlier runs of the
same code found may lie beside it, packed by ``gzip``.
"""

import gzip
import json
import math
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

import torch
from scipy import stats

from benchmarks.calibration_files.files import cells as all_cells
from benchmarks.calibration_files.judging import judged
from benchmarks.calibration_files.problems import ALPHA, EPS
from benchmarks.harness.command import RESULTS, command, say
from benchmarks.harness.contract import Headline, Tables

FAMILYWISE = 0.01
"""Error rate of all cells tested together."""
CONFIDENCE = 0.99
"""Of the upper limit of a cell's rate of wrong verdicts."""
QUICK = (
    "breaks: constant, at the tolerance",
    "exceptions: 5%, 10% in the mean",
    "offset 0 on all inputs",
    "offset 20 on all inputs",
    "rows: each three times",
    "no symmetry: random weights",
    "power: C7 on itself, noise 0.1, 200 tasks",
    "family: S3 on itself, noise 0",
)
SILENT = ("cannot tell", "refused", "too long", "error")
_EACH = 60.0  # seconds between two lines of progress

Line = dict[str, Any]


def chosen(words: str, parts: str) -> list[str]:
    """Names of the cells of some parts whose name holds any of some words; both are lists divided by commas.

    No words choose all cells of the parts.
    """
    wanted = [word.strip() for word in words.split(",") if word.strip()]
    of = [part.strip() for part in parts.split(",")]
    return [
        name
        for name, cell in all_cells().items()
        if cell.part in of and (not wanted or any(word in name for word in wanted))
    ]


def jobs(names: list[str], counts: dict[str, int], done: set[tuple[str, int]]) -> Iterator[tuple[str, int]]:
    """The files to run, as pairs of a cell and a number: one of each cell, then another of each, and so on.

    A run that is cut short so has as many files of every cell.

    Args:
        names: of the cells.
        counts: how many files a cell has, by its part.
        done: the files that were run already, which are left out.
    """
    for number in range(max(counts.values(), default=0)):
        for name in names:
            if number < counts[all_cells()[name].part] and (name, number) not in done:
                yield name, number


def read(path: Path) -> list[Line]:
    """The lines of the packed log beside ``path``, then those of the log at ``path``, each of which may be missing.

    A last line of the log that was cut off while it was written is removed from the file.
    """
    packed = path.with_name(f"{path.name}.gz")
    earlier = gzip.decompress(packed.read_bytes()).decode() if packed.exists() else ""
    text = path.read_text() if path.exists() else ""
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole)
    return [json.loads(line) for line in (earlier + whole).splitlines()]


def in_processes(todo: Iterator[tuple[str, int]], workers: int, deadline: float) -> Iterator[Line]:
    """Judge files in ``workers`` processes of one thread each; their lines of the log, as each is finished.

    Args:
        todo: the files, as pairs of a cell and a number.
        deadline: the value of ``time.monotonic()`` after which no further file is begun.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        running: set[Future[Line]] = set()
        while True:
            while len(running) < 2 * workers and time.monotonic() < deadline:
                job = next(todo, None)
                if job is None:
                    break
                running.add(pool.submit(judged, *job))
            if not running:
                return
            ended, running = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                yield future.result()


def run(
    *,
    quick: bool = False,
    files: int = 500,
    power_files: int = 8,
    family_files: int = 1,
    cells: str = "",
    parts: str = "null,power,families",
    seconds: float = 0.0,
    workers: int = 2,
    log: str = str(RESULTS / "calibration.jsonl"),
) -> dict[str, Any]:
    """Run the files that the log lacks, append a line for each to it, and count all that it holds then.

    Args:
        files, power_files, family_files: how many of each cell of a part.
        cells: words, divided by commas; only cells with one of them in their name are run.
        parts: which parts are run, divided by commas.
        seconds: after which no further file is begun; 0 for no limit.
        workers: how many processes run files side by side.
        log: the file of lines.
        quick: one file of a few cells, and no log.
    """
    counts = {"null": files, "power": power_files, "families": family_files}
    path = None if quick else Path(log)
    lines = read(path) if path else []
    done = {(line["cell"], line["file"]) for line in lines}
    if quick:
        counts = {"null": 1, "power": 1, "families": 1}
    todo = jobs(list(QUICK) if quick else chosen(cells, parts), counts, done)
    deadline = time.monotonic() + seconds if seconds else math.inf
    judgements = (judged(*job) for job in todo) if quick or not parts else in_processes(todo, workers, deadline)
    last_word = time.monotonic()
    for line in judgements:
        lines.append(line)
        if path:
            with path.open("a") as stream:
                stream.write(json.dumps(line) + "\n")
        if line["outcome"] in ("wrong", "false none", "error", "too long"):
            why = ", ".join(line.get("why", ()))
            say(f"{line['cell']}, file {line['file']}: {line['outcome']} {why}; {line.get('said', '')[:120]}")
        if time.monotonic() - last_word > _EACH:
            last_word = time.monotonic()
            say(f"{len(lines)} files, of the last {line['cell']}, file {line['file']}")
    return counted(lines)


def counted(lines: list[Line]) -> dict[str, Any]:
    """What the tables show, from the lines of a log; lines of cells that no longer exist are left out."""
    known = all_cells()
    by_cell: dict[str, list[Line]] = {name: [] for name in known}
    for line in {(line["cell"], line["file"]): line for line in lines if line["cell"] in known}.values():
        by_cell[line["cell"]].append(line)
    null = [null_row(name, of_cell) for name, of_cell in by_cell.items() if of_cell and known[name].part == "null"]
    for row, holds in zip(null, holm([row["p_value"] for row in null], FAMILYWISE), strict=True):
        row["holds"] = holds
    other = {
        part: [line for name, of_cell in by_cell.items() if known[name].part == part for line in of_cell]
        for part in ("power", "families")
    }
    wrong = [
        {key: line.get(key) for key in ("cell", "file", "outcome", "why", "order", "truth", "bound", "said")}
        for of_cell in by_cell.values()
        for line in of_cell
        if line["outcome"] in ("wrong", "false none", "error", "too long")
    ]
    false = [
        {"cell": line["cell"], "file": line["file"], "false": line["false"]}
        for of_cell in by_cell.values()
        for line in of_cell
        if line.get("false")
    ]
    return {
        "alpha": ALPHA,
        "eps": EPS,
        "familywise": FAMILYWISE,
        "null": null,
        "power": power_rows(other["power"]),
        "families": family_rows(other["families"]),
        "wrong": wrong[:200],
        "false": false[:200],
    }


def null_row(name: str, lines: list[Line]) -> dict[str, Any]:
    """Counts of a cell's files by outcome, and a test of its rate of wrong verdicts.

    ``wrong`` counts wrong groups and ``false_none`` false answers of "none"; both are wrong verdicts. ``as_expected``
    is a share of the files. ``upper`` is the 99% upper limit of the rate of wrong verdicts, and ``p_value`` is of the
    hypothesis that the rate is at most α.
    """
    outcomes = Counter(line["outcome"] for line in lines)
    wrong = outcomes["wrong"] + outcomes["false none"]
    n = len(lines)
    upper = 1.0 if wrong == n else float(stats.beta.ppf(CONFIDENCE, wrong + 1, n - wrong))
    expected = all_cells()[name].expected
    as_expected = {"found": outcomes["right"], "none": outcomes["none"], "open": n - wrong - outcomes["error"]}[
        expected
    ]
    return {
        "cell": name,
        "expected": expected,
        "files": n,
        "right": outcomes["right"],
        "within": outcomes["within"],
        "wrong": outcomes["wrong"],
        "why": dict(Counter(why for line in lines for why in line.get("why", ()))),
        "cannot_tell": sum(outcomes[outcome] for outcome in SILENT),
        "errors": outcomes["error"] + outcomes["too long"],
        "none": outcomes["none"],
        "false_none": outcomes["false none"],
        "false_words": sum(bool(line.get("false")) for line in lines),
        "listed": sum(line.get("listed", 0) for line in lines),
        "listed_falsely": sum(line.get("listed_falsely", 0) for line in lines),
        "as_expected": as_expected / n,
        "upper": upper,
        "p_value": float(stats.binom.sf(wrong - 1, n, ALPHA)),
    }


def holm(p_values: list[float], level: float) -> list[bool]:
    """For each null hypothesis whether it stands when all are tested together at a level: Holm's step-down test."""
    stands = [True] * len(p_values)
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[place] > level / (len(p_values) - rank):
            break
        stands[place] = False
    return stands


def power_rows(lines: list[Line]) -> list[dict[str, Any]]:
    """A row of counts for each size of noise and number of tasks, over the groups, from lines of the part ``power``.

    ``asked`` counts the files that an oracle judged, ``oracle`` those that it certifies, and ``both`` those of them on
    which the right group was found.
    """
    groups: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        noise, tasks, _ = all_cells()[line["cell"]].labels
        groups.setdefault((noise, tasks), []).append(line)
    rows = []
    for (noise, tasks), of_group in sorted(groups.items(), key=lambda item: (float(item[0][0]), int(item[0][1]))):
        knows = [line for line in of_group if line.get("oracle") is not None]
        rows.append({
            "noise": noise,
            "tasks": tasks,
            "files": len(of_group),
            "right": sum(line["outcome"] == "right" for line in of_group),
            "wrong": sum(line["outcome"] in ("wrong", "false none") for line in of_group),
            "asked": len(knows),
            "oracle": sum(line["oracle"] for line in knows),
            "both": sum(line["oracle"] and line["outcome"] == "right" for line in knows),
        })  # fmt: skip
    return rows


def family_rows(lines: list[Line]) -> list[dict[str, Any]]:
    """A row of counts for each size of noise, with the groups that were not found every time, under ``not_right``."""
    rows = []
    for noise in sorted({all_cells()[line["cell"]].labels[0] for line in lines}, key=float):
        of_noise = [line for line in lines if all_cells()[line["cell"]].labels[0] == noise]
        outcomes = Counter(line["outcome"] for line in of_noise)
        not_right = [
            f"{all_cells()[line['cell']].labels[1]}: {line['outcome']}"
            for line in of_noise
            if line["outcome"] != "right"
        ]
        rows.append({
            "noise": noise,
            "groups": len({line["cell"] for line in of_noise}),
            "files": len(of_noise),
            "right": outcomes["right"],
            "wrong": outcomes["wrong"] + outcomes["false none"] + outcomes["within"],
            "cannot_tell": sum(outcomes[outcome] for outcome in SILENT),
            "not_right": sorted(set(not_right)),
        })  # fmt: skip
    return rows


def tables(results: dict[str, Any]) -> Tables:
    """A row for each cell; power by noise and number of tasks; and the families."""
    null = [
        [
            row["cell"],
            {"found": "found", "none": "none", "open": "either"}[row["expected"]],
            *(str(row[key]) for key in ("files", "right", "within", "cannot_tell", "none", "wrong", "false_none")),
            str(row["false_words"]),
            f"{row['as_expected']:.0%}",
            f"{row['upper']:.3f}",
            f"{row['p_value']:.2g}",
            "yes" if row["holds"] else "NO",
        ]
        for row in results["null"]
    ]
    power = [
        [row["noise"], row["tasks"], *(str(row[key]) for key in ("files", "right", "wrong")), *_oracle_cells(row)]
        for row in results["power"]
    ]
    families = [
        [
            row["noise"],
            *(str(row[key]) for key in ("groups", "files", "right", "cannot_tell", "wrong")),
            "; ".join(row["not_right"]),
        ]
        for row in results["families"]
    ]
    header = ["cell", "expected", "files", "right", "other, true", "cannot tell", "none, right", "wrong", "false none"]
    header += ["false words", "as expected", "wrong at most (99%)", "p", "holds"]
    alpha = results["alpha"]
    together = results["familywise"]
    result = {
        f"Wrong verdicts where they are invited, p of a rate of at most α = {alpha}, and whether that holds, all "
        f"cells tested together at {together:.0%} (Holm); ε = {results['eps']}. *Other, true*: another group than the "
        "largest that all tasks keep, of which nothing false is said. *False words*: files with a false statement "
        "about a group that was tried, or in a hint": (header, null),
        "Groups found, by noise and number of tasks of twenty examples, beside an oracle that knows the group": (
            ["noise", "tasks", "files", "right", "wrong", "oracle certifies", "of these found"],
            power,
        ),
        "A hundred groups, 400 tasks of twenty examples": (
            ["noise", "groups", "files", "right", "cannot tell", "wrong", "not right"],
            families,
        ),
    }
    return {caption: table for caption, table in result.items() if table[1]}


def _oracle_cells(row: dict[str, Any]) -> list[str]:
    """Two cells of the table of power: what the oracle certifies, and what of that was found; empty without oracle."""
    return [f"{row['oracle']} of {row['asked']}", str(row["both"])] if row["asked"] else ["", ""]


def headlines(results: dict[str, Any]) -> list[Headline]:
    """The cell with the least p-value, wrong verdicts over all cells, power against the oracle, and families."""
    lines = []
    null = results["null"]
    if null:
        worst = min(null, key=lambda row: row["p_value"])
        bad = worst["wrong"] + worst["false_none"]
        lines.append(
            Headline(
                f"wrong verdicts in the worst of {len(null)} cells ({worst['cell']})",
                f"{bad} of {worst['files']}",
                f"α = {results['alpha']}, p = {worst['p_value']:.2g}",
                f"{sum(not row['holds'] for row in null)} cells fail together",
            )
        )
        bad = sum(row["wrong"] + row["false_none"] for row in null)
        files = sum(row["files"] for row in null)
        lines.append(Headline("wrong verdicts in all cells", f"{bad} of {files}", "", f"{bad / files:.2%}"))
    asked = [row for row in results["power"] if row["asked"]]
    if asked:
        both = sum(row["both"] for row in asked)
        known = sum(row["oracle"] for row in asked)
        share = f"{both / known:.0%}" if known else ""
        lines.append(Headline("groups found of those that an oracle certifies", str(both), f"oracle {known}", share))
    if results["families"]:
        right, files = (sum(row[key] for row in results["families"]) for key in ("right", "files"))
        wrong = sum(row["wrong"] for row in results["families"])
        lines.append(
            Headline("families of groups found", f"{right} of {files}", f"{wrong} wrong", f"{right / files:.1%}")
        )
    return lines or [Headline("nothing was run", "")]


if __name__ == "__main__":
    command(__file__)
