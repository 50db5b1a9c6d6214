"""The flags of the ``msr`` command and its help texts."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from msr.cli.doors import check_door, context_door, discover_door, sample_door
from msr.printable import printable
from msr.spelling import CONTEXTS, GROUPS, REPRESENTATIONS
from msr.version import __version__

__all__ = ["parser"]

_LONGEST = 1000  # characters of a message about flags

_NO_ANSWER = "2 no answer (bad input, or a machine that cannot), 70 a fault of this package, 130 interrupted"

_DISCOVER = """\
Find the permutation symmetry that a folder of small related data sets shares.

TASKS.npz holds x (tasks, examples, ...) and y (tasks, examples, ...), and optionally split (tasks,): 1 for tasks to be
kept for the last test. At least 80 tasks are needed; 200 to 500 of 20 examples are a good start.

Several files, or a folder of them, are judged each by itself: the answer is a table with a line for each, --json is a
list, and --out holds a folder for each. The error rate --alpha is that of each file. With --together there is one
answer for the tasks of all files, which need not fit into memory.
"""

_EXAMPLE = f"""\
an example that works:
  msr sample group --group d8 --acts regular --out d8.npz
  msr discover d8.npz --out d8-report

exit codes: 0 found, 1 none, 3 cannot tell,
  {_NO_ANSWER};
  of several files 0 all were judged, whatever the verdicts, 2 or 70 some were not
"""

_CHECK = """\
Certify that a saved layer or network is equivariant under a group.

MODEL is a weight matrix (out, in) in .npy, or in .npz under W, with a bias (out,) under b if there is one; the same in
.safetensors, where the names may be weight and bias too; or a network in .onnx, of one input and one output with a
free batch axis, which is judged by draws. None of these runs code when it is read.

With --trust, since reading them may run code: a network saved with torch.export (.pt2; export it with a dynamic batch
axis), or a pickled torch module (.pt, .pth).
"""

_CHECK_EXAMPLE = f"""\
an example that works:
  python -c "import numpy as np; i = np.arange(6); np.save('w.npy', np.cos((i - i[:, None]) % 6))"
  msr check w.npy --group c6 --in regular --out regular

exit codes: 0 certified, 1 refuted, 3 cannot tell,
  {_NO_ANSWER}
"""

_SAMPLE = """\
Write a task file whose truth is known, to try discover on.

FAMILY is group (equivariant layers), none (as many dimensions, no symmetry), broken (equivariant up to --breaking), or
translation (convolutions of a signal, valid or --circular).
"""

_SAMPLE_EXAMPLE = """\
an example that works:
  msr sample group --group d4 --acts grid:4 --noise 0.1 --out d4.npz
  msr sample group --group c2 --acts mirror:4x6 --out mirrored.npz
  msr sample translation --length 24 --kernel 3 --out conv.npz
"""


_CONTEXT = f"""\
Say what an encoder can learn from contexts of a table's rows, and how many functions are worth learning.

TABLE is a .csv (.tsv, .txt, .gz) with named columns, which may hold texts and gaps, or an .npz with x (rows, columns)
and optionally y (rows,). Each context says what a row goes with:

{CONTEXTS}
"""

_CONTEXT_EXAMPLE = f"""\
an example that works:
  python -c "import numpy as np; r = np.random.default_rng(0); x = r.normal(size=(300, 4)); \\
    np.savez('t.npz', x=x, y=x[:, 0] > 0)"
  msr context t.npz --context knn:30 --context rbf:auto --context "knn:5 * rbf:auto"

exit codes: 0 all contexts were judged,
  {_NO_ANSWER}
"""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line each, like all other errors of the command."""

    def __init__(self, **options: Any):
        """Refuse abbreviated flags, which could stand for another flag than was meant."""
        super().__init__(**options, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Print the error on one line, and end with exit code 2."""
        self.exit(2, f"error: {printable(message, _LONGEST)} (see --help)\n")

    def _print_message(self, message: str, file: Any = None) -> None:
        """Print as argparse does, but print nothing where the stream is closed, instead of on another one."""
        if file is not None:
            super()._print_message(message, file)


def _path(text: str) -> Path:
    """The path of a flag. Raises: ArgumentTypeError for a text that no file can be called."""
    try:
        fits = b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        fits = False
    if not fits or not text:
        raise argparse.ArgumentTypeError(f"no file can be called {printable(text)!r}")
    return Path(text)


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line. It sets ``command``, the subcommand, and ``door``, its check of flags."""
    whole = _Parser(
        prog="msr",
        description="Find the symmetry of a problem from data.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    whole.add_argument("--version", action="version", version=f"msr {__version__}")
    whole.set_defaults(command=None)
    commands = whole.add_subparsers(title="commands", metavar="COMMAND")
    _add_discover(commands)
    _add_check(commands)
    _add_sample(commands)
    _add_context(commands)
    return whole


def _command(commands: Any, name: str, door: Callable[[Any], None], text: str, example: str) -> argparse.ArgumentParser:
    """Add a subcommand, and return its parser, which has no flags yet.

    Args:
        commands: what ``add_subparsers`` of the whole command line returned.
        door: the check of the parsed flags, set as the option ``door``.
        text: the description, whose first line is the short help; ``example`` follows it in the help text.
    """
    command = commands.add_parser(
        name,
        help=text.splitlines()[0],
        description=text,
        epilog=example,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(command=name, door=door)
    return command


def _add_discover(commands: Any) -> None:
    """Add ``msr discover``."""
    command = _command(commands, "discover", discover_door, _DISCOVER, _EXAMPLE)
    command.add_argument("tasks", metavar="TASKS.npz", type=_path, nargs="+")
    command.add_argument("--layer", choices=["auto", "linear", "conv1d", "conv2d"], default="auto",
                     help="what each task is; auto, the default, is linear")  # fmt: skip
    command.add_argument("--kernel", type=int, help="taps along each axis of a convolution")
    padding = command.add_mutually_exclusive_group()
    padding.add_argument("--circular", action="store_true", help="the convolution wraps around")
    padding.add_argument("--valid", action="store_true", help="it does not (default)")
    command.add_argument("--k", default="auto", help="dimension of the sharing: a count, or auto (default)")
    command.add_argument("--signed", action="store_true", help="signed permutations, as odd activations let through")
    command.add_argument("--seeds", type=int, default=1, help="splits of the tasks to repeat with (default: 1)")
    command.add_argument("--alpha", type=float, default=0.01, help="error rate of each test (default: 0.01)")
    command.add_argument("--eps", type=float, default=0.05,
                     help="share of the outputs that keeping to a group may change (default: 0.05)")  # fmt: skip
    command.add_argument("--threads", type=int, metavar="N", help="that torch works with (default: one, or what gains)")
    command.add_argument("--together", action="store_true", help="one answer for the tasks of all files, however large")
    command.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="files that are judged at a time (default: 1)"
    )
    command.add_argument("--out", type=_path, metavar="DIR", help="write report.html and result.json there")
    command.add_argument("--json", type=_path, metavar="FILE", help="write the answer as JSON; - for the terminal")
    command.add_argument("--quiet", action="store_true", help="do not show what it is doing")


def _add_check(commands: Any) -> None:
    """Add ``msr check``."""
    command = _command(commands, "check", check_door, _CHECK, _CHECK_EXAMPLE)
    command.add_argument("model", metavar="MODEL", type=_path)
    command.add_argument("--group", required=True, help=GROUPS)
    command.add_argument("--in", dest="rep_in", required=True, metavar="REP", help=f"inputs: {REPRESENTATIONS}")
    command.add_argument("--out", dest="rep_out", required=True, metavar="REP", help="outputs, written alike")
    command.add_argument("--eps", type=float, default=0.01, help="tolerance of the defect (default: 0.01)")
    command.add_argument("--alpha", type=float, default=0.05, help="error rate (default: 0.05)")
    command.add_argument("--draws", type=int, default=64, help="random inputs for what is not linear (default: 64)")
    command.add_argument("--trust", action="store_true", help="read .pt2, .pt and .pth too, which may run code")
    command.add_argument("--json", type=_path, metavar="FILE", help="write the certificate as JSON; - for the terminal")


def _add_sample(commands: Any) -> None:
    """Add ``msr sample``."""
    command = _command(commands, "sample", sample_door, _SAMPLE, _SAMPLE_EXAMPLE)
    command.add_argument("family", metavar="FAMILY", choices=["group", "none", "broken", "translation"])
    command.add_argument("--group", help=GROUPS)
    command.add_argument("--acts", metavar="REP", help=f"on inputs and outputs (default: regular): {REPRESENTATIONS}")
    command.add_argument("--acts-out", metavar="REP", help="on outputs, where that differs")
    command.add_argument(
        "--breaking", type=float, help="share of each weight's size that breaks the group (default: 0.3)"
    )
    command.add_argument("--length", type=int, help="of a signal (default: 24)")
    command.add_argument("--kernel", type=int, help="of a convolution (default: 3)")
    command.add_argument("--circular", action="store_true", help="the convolution wraps around")
    command.add_argument("--tasks", type=int, default=400, help="(default: 400)")
    command.add_argument("--examples", type=int, default=20, help="of each task (default: 20)")
    command.add_argument(
        "--noise", type=float, default=0.0, help="standard deviation on y, whose size is 1 (default: 0)"
    )
    command.add_argument("--seed", type=int, default=0, help="a whole number from 0 to 2^63 - 1 (default: 0)")
    command.add_argument("--out", type=_path, required=True, metavar="TASKS.npz")


def _add_context(commands: Any) -> None:
    """Add ``msr context``."""
    command = _command(commands, "context", context_door, _CONTEXT, _CONTEXT_EXAMPLE)
    command.add_argument("table", metavar="TABLE", type=_path)
    command.add_argument(
        "--target", metavar="COLUMN", help="what the functions are to be of use for: numbers or labels"
    )
    command.add_argument(
        "--context", action="append", metavar="TEXT", help="as above, again for each; by default a few"
    )
    command.add_argument("--drop", action="append", metavar="COLUMN", help="leave a column out, again for each")
    command.add_argument("--rows", type=int, default=1000, help="most rows that are looked at (default: 1000)")
    command.add_argument("--seed", type=int, default=0, help="of the rows that are drawn (default: 0)")
    command.add_argument("--html", type=_path, metavar="FILE", help="write a page with drawings, to open in a browser")
    command.add_argument("--json", type=_path, metavar="FILE", help="write the answer as JSON; - for the terminal")
