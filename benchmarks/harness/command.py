"""The command line that all benchmarks share, and where their results lie."""

import argparse
import inspect
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.harness.contract import Benchmark, load
from benchmarks.harness.timing import machine
from msr.report import format_table

__all__ = ["RESULTS", "command", "duration", "names", "question", "save", "say"]

RESULTS = Path(__file__).parents[1] / "results"


def names() -> list[str]:
    """The names of all benchmarks: every module of the folder whose name does not begin with an underscore."""
    return sorted(path.stem for path in Path(__file__).parents[1].glob("*.py") if not path.stem.startswith("_"))


def question(module: Benchmark) -> str:
    """The first paragraph of a benchmark's docstring, on one line."""
    return " ".join((module.__doc__ or "").strip().split("\n\n")[0].split())


def say(text: str) -> None:
    """Print a line of progress at once, with the time of day."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def duration(seconds: float | None) -> str:
    """For a table: microseconds, milliseconds or seconds with three digits; empty for None."""
    if seconds is None:
        return ""
    for size, unit in ((1.0, "s"), (1e-3, "ms")):
        if seconds >= 0.9995 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{1e6 * seconds:.3g} µs"


def save(name: str, results: dict[str, Any], folder: Path) -> Path:
    """Write ``FOLDER/NAME.json``, the results and the machine they hold for, and return its path.

    The folder is made where there is none; results that have a ``machine`` of their own keep it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    load = round(os.getloadavg()[0], 2)
    path.write_text(
        json.dumps({"machine": {**machine(), "cores": os.cpu_count(), "load": load}, **results}, indent=1) + "\n"
    )
    return path


def command(file: str, arguments: list[str] | None = None) -> None:
    """Run the benchmark in ``file``: one option for each keyword of its ``run``; save its results, print its tables.

    ``arguments`` are the words of the command line; None for those of the process.
    """
    name = Path(file).stem
    module = load(name)
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=module.__doc__)
    where = f"folder for NAME.json (default: {RESULTS}, or with --quick a new one: quick numbers are no results)"
    parser.add_argument("--out", type=Path, help=where)
    for key, option in inspect.signature(module.run).parameters.items():
        if key == "quick":
            parser.add_argument("--quick", action="store_true", help="a few seconds, to see that it works")
        else:
            kind = str if option.default is None else type(option.default)
            parser.add_argument(f"--{key.replace('_', '-')}", type=kind, default=option.default, help="(%(default)s)")
    options = vars(parser.parse_args(arguments))
    folder = options.pop("out")
    start = time.perf_counter()
    if folder is None:
        folder = Path(tempfile.mkdtemp()) if options["quick"] else RESULTS
    results = {**module.run(**options), "quick": options["quick"]}
    results["seconds"] = round(time.perf_counter() - start, 1)
    path = save(name, results, folder)
    for caption, (header, rows) in module.tables(json.loads(path.read_text())).items():
        print(f"\n{caption}\n\n{format_table(header, rows)}")
    say(f"{path}, {results['seconds']} s")
