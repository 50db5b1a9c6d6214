"""The command line of a sweep. Flags that are not its own go to every run, and the runner's parser judges them."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from experiments.__main__ import runners
from msr.errors import ConfigError
from msr.runs.flags import Parser
from msr.threads import MOST

__all__ = ["Cluster", "Options", "read_options"]

Cluster = Literal["none", "slurm", "local"]

KEPT = ("config", "force", "out", "quick", "resume", "seed", "seeds", "threads")
"""Flags of a runner that are no settings: they are the sweep's own, or hold for all of its runs."""

_MOST_RUNS = 10**5
_DAY = 24 * 60

_HELP = """\
Run a runner with every combination of settings and seeds, side by side, and show one table.

Flags that are not listed here go to every run as they are: --quick, --outer-steps 50, --data tasks.npz. Every
combination is checked before the first run starts. A run is a process of its own, with its folder below --out; what
it prints is in the .log beside its folder. Ctrl-C lets every run finish its step and save; --resume goes on.
"""

_EXAMPLE = """\
an example that works:
  python -m experiments.sweep dimension --quick --families C16 --grid noise=0,0.5 --seeds 2 --by right

exit codes: 0 all runs are finished, 2 some failed or nothing could be started, 128 + n a signal
"""


@dataclass(frozen=True)
class Options:
    """What a sweep was asked for.

    ``grid`` holds the texts of each setting, by the name of the runner's flag; ``passed`` are the words that go to
    every run. ``jobs`` is 0 where it was not given; ``partition`` is empty, ``memory`` and ``gpus`` are 0 where Slurm
    decides. ``time_limit`` is in minutes.
    """

    runner: str
    grid: dict[str, list[str]]
    seed: int
    seeds: int
    jobs: int
    threads: int
    out: str
    resume: bool
    by: str
    descending: bool
    cluster: Cluster
    partition: str
    time_limit: int
    memory: int
    gpus: int
    passed: list[str]


def read_options(argv: Sequence[str] | None = None) -> Options:
    """What a command line asks for.

    Raises: SystemExit with status 2 and one line for a word that is no number; ConfigError for values that cannot work.
    """
    parser = Parser(
        prog="python -m experiments.sweep",
        description=_HELP,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runner", metavar="NAME", help=f"one of {', '.join(runners())}")
    parser.add_argument(
        "--grid", action="append", default=[], metavar="FLAG=A,B",
        help="values of one of the runner's flags, again for each flag; with ; between where values hold commas",
    )  # fmt: skip
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds each setting is run with (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="the first of them (default: 0)")
    parser.add_argument("--jobs", type=int, default=0, help="runs at a time (default: the cores; on Slurm no limit)")
    parser.add_argument("--threads", type=int, default=1, help="of each run; on Slurm its cores too (default: 1)")
    parser.add_argument("--out", default="", help="folder to write (default: runs/sweep-NAME-TIME)")
    parser.add_argument("--resume", action="store_true", help="continue the sweep in --out; settings may be added")
    parser.add_argument("--by", default="", metavar="VALUE", help="sort the table by a value, the smallest first")
    parser.add_argument("--descending", action="store_true", help="with --by: the largest first")
    parser.add_argument(
        "--cluster", choices=["none", "slurm", "local"], default="none",
        help="none: processes here, by joblib (default); slurm: jobs, by submitit; local: submitit without Slurm",
    )  # fmt: skip
    parser.add_argument("--partition", default="", help="of Slurm")
    # Not --minutes, which is a flag of runners: it would never reach them.
    parser.add_argument(
        "--time-limit", type=int, default=0, metavar="MINUTES", help="of each run on a cluster (default: 1440)"
    )
    parser.add_argument("--memory", type=int, default=0, metavar="GB", help="for each run on Slurm")
    parser.add_argument("--gpus", type=int, default=0, help="for each run on a cluster")
    values, passed = parser.parse_known_args(argv)
    _check(values, passed)
    grid = _grid(values.grid)
    # No run may wait for ever in a queue of the cluster, and each continues where its time ended.
    return Options(**{**vars(values), "grid": grid, "time_limit": values.time_limit or _DAY, "passed": passed})


def _check(values: argparse.Namespace, passed: list[str]) -> None:
    """Raise ConfigError for a runner that there is not, a number out of range, or flags that cannot work."""
    if values.runner not in runners():
        raise ConfigError(f"unknown runner {values.runner!r}; known: {', '.join(runners())}")
    for flag, least, most in (
        ("seeds", 1, _MOST_RUNS),
        ("seed", -(2**62), 2**62),
        ("jobs", 0, _MOST_RUNS),
        ("threads", 1, MOST),
        ("time_limit", 0, 365 * _DAY),
        ("memory", 0, 10**6),
        ("gpus", 0, 10**3),
    ):
        if not least <= getattr(values, flag) <= most:
            raise ConfigError(f"{_written(flag)} must be from {least} to {most}; got {getattr(values, flag)}")
    if "\0" in values.out:
        raise ConfigError(f"--out holds a zero byte, which no file name can; got {values.out!r}")
    _check_together(values)
    if any(word == "--force" or word.startswith("--force=") for word in passed):
        raise ConfigError("--force mixes versions in one run; continue that run by itself, as its .log says")


def _check_together(values: argparse.Namespace) -> None:
    """Raise ConfigError for flags that do not go together."""
    if values.resume and not values.out:
        raise ConfigError("--resume needs --out DIR, the folder of the sweep to continue")
    if values.descending and not values.by:
        raise ConfigError("--descending is for --by VALUE")
    if values.cluster != "slurm":
        for flag in ("partition", "memory"):
            if getattr(values, flag):
                raise ConfigError(f"--{flag} is for --cluster slurm")
    if values.cluster == "none":
        for flag in ("time_limit", "gpus"):
            if getattr(values, flag):
                raise ConfigError(f"{_written(flag)} is for --cluster slurm or local")


def _written(flag: str) -> str:
    """A flag as one types it: ``time_limit`` as ``--time-limit``."""
    return f"--{flag.replace('_', '-')}"


def _grid(texts: list[str]) -> dict[str, list[str]]:
    """The values of each ``FLAG=A,B``, by the flag's name with ``_`` for ``-``.

    Raises: ConfigError for a text of another form, a flag that is given twice or is no setting, and without values.
    """
    grid: dict[str, list[str]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        key = name.strip().removeprefix("--").replace("-", "_")
        if not equals or not key:
            raise ConfigError(f"--grid must be FLAG=A,B; got {text!r}")
        if key in KEPT:
            raise ConfigError(f"--grid {key}: is no setting; give --{key} to the sweep")
        if key in grid:
            raise ConfigError(f"--grid {key} is given twice; give all its values at once")
        grid[key] = [value.strip() for value in values.split(";" if ";" in values else ",") if value.strip()]
        if not grid[key]:
            raise ConfigError(f"--grid {key} has no values; got {text!r}")
    return grid
