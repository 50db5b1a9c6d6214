"""All benchmarks, one after another and each in its own process; then one table of what came out, with figures.

``--render`` only writes the table and the figures again, from the results that are there.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.harness.command import RESULTS, names, question, say
from benchmarks.harness.contract import load
from msr.report import format_table

HEADER = ["benchmark", "what", "msr", "beside it", "ratio", "threads"]


def run(name: str, folder: Path, quick: bool) -> int:
    """Run one benchmark in a fresh process, which writes its results to ``folder``; its exit code."""
    arguments = [sys.executable, "-m", f"benchmarks.{name}", "--out", str(folder), *(["--quick"] if quick else [])]
    return subprocess.run(arguments, cwd=Path(__file__).parents[1], env=os.environ).returncode


def machine_words(machine: dict[str, Any]) -> str:
    """One line on the machine of a results file: processor, threads, versions of torch and Python, date and load."""
    threads = f"{machine['threads']} thread{'s' if machine['threads'] != 1 else ''}"
    cores = f" of {machine['cores']} cores" if "cores" in machine else ""
    load = f", load {machine['load']} when it ended" if "load" in machine else ""
    versions = f"torch {machine['torch']}, Python {machine['python']}"
    return f"{machine['processor']}, {threads}{cores}, {versions}, {machine['date']}{load}"


def render(folder: Path) -> Path:
    """Write ``FOLDER/README.md`` and its figures from the results in the folder; the path of that file.

    A benchmark without results is listed as such.
    """
    lines: list[list[str]] = []
    sections: list[str] = []
    missing: list[str] = []
    for name in names():
        module = load(name)
        path = folder / f"{name}.json"
        if not path.exists():
            missing.append(name)
            continue
        results = json.loads(path.read_text())
        threads = str(results["machine"]["threads"])
        lines += [[f"[{name}](#{name})", *cells, threads] for cells in module.headlines(results)]
        quick = " **A quick run: the numbers mean nothing.**" if results.get("quick") else ""
        device = f" Device: {results['device']}." if "device" in results else ""
        seconds = f" It took {results['seconds']:.0f} s." if "seconds" in results else ""
        section = [f"## {name}", f"{question(module)}{quick}"]
        section.append(f"`python -m benchmarks.{name}`. {machine_words(results['machine'])}.{device}{seconds}")
        for caption, (header, rows) in module.tables(results).items():
            section += [f"{caption}.", format_table(header, rows)]
        drawn = module.figures(results) if hasattr(module, "figures") else {}
        for title, figure in drawn.items():
            figure.savefig(folder / f"{title}.png", dpi=110)
            section.append(f"![{title.replace('_', ' ')}]({title}.png)")
        sections.append("\n\n".join(section))
    head = [
        "# Benchmarks",
        "Written by `python -m benchmarks`; do not edit. Each question has a section below with its protocol, its "
        "numbers with intervals, and the machine. Things that are compared took turns in one process.",
        format_table(HEADER, lines),
    ]
    if missing:
        head.append(f"No results here: {', '.join(missing)}.")
    path = folder / "README.md"
    path.write_text("\n\n".join([*head, *sections]) + "\n")
    return path


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for, and write the table; the exit code, 1 if a benchmark failed and else 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=names(), metavar="NAME", help=f"of {', '.join(names())}")
    parser.add_argument("--quick", action="store_true", help="seconds each, to see that they work; a folder apart")
    parser.add_argument("--render", action="store_true", help="run nothing, write the table again")
    parser.add_argument("--out", type=Path, help=f"folder for results (default: {RESULTS}; --quick: a new one)")
    options = parser.parse_args(arguments)
    folder = options.out or (Path(tempfile.mkdtemp(prefix="benchmarks-")) if options.quick else RESULTS)
    folder.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in () if options.render else options.only or names():
        say(f"== {name}")
        start = time.perf_counter()
        if code := run(name, folder.resolve(), options.quick):
            failed.append(name)
        say(f"== {name} {f'FAILED with exit code {code}' if code else 'done'}, {time.perf_counter() - start:.0f} s")
    say(f"wrote {render(folder)}")
    if failed:
        say(f"failed: {', '.join(failed)}; what the table shows of them is older")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
