"""The ``msr`` command: discover a symmetry in a task file, check a saved layer, sample a family to try them on."""

import argparse
import dataclasses
import json
import os
import shlex
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch

from msr.discovery import Discovery, discover
from msr.equivariance import certify
from msr.equivariance.evaluate import said
from msr.errors import ConfigError, ModelError, MSRError
from msr.files import write_whole
from msr.modelfiles import read_model, weight_shape
from msr.notation import GROUPS, REPRESENTATIONS, parse_group, parse_representation
from msr.report.page import discovery_page
from msr.sampling import MOST_DRAWN, sample_group, sample_translation
from msr.taskfiles import read_arrays, write_tasks
from msr.version import __version__

__all__ = ["EXIT_CODES", "main"]

EXIT_CODES = {"found": 0, "none": 1, "cannot tell": 3}
_BAD_INPUT = 2
LONGEST_ERROR = 1000
"""Characters of an error that are printed."""

_DISCOVER = """\
Find the permutation symmetry that a folder of small related data sets shares.

TASKS.npz holds x (tasks, examples, ...) and y (tasks, examples, ...), and optionally split (tasks,): 1 for tasks to be
kept for the last test. At least 80 tasks are needed; 200 to 500 of 20 examples are a good start.
"""

_EXAMPLE = """\
an example that works:
  msr sample group --group d8 --acts regular --out d8.npz
  msr discover d8.npz --out d8-report

exit codes: 0 found, 1 none, 3 cannot tell, 2 bad input
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, the same shape as every other error."""
        self.exit(_BAD_INPUT, f"error: {message} (see --help)\n")


def main(arguments: list[str] | None = None) -> int:
    """Run a subcommand; its exit code. Errors of input are one line on stderr and code 2."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.run is None:
        parser.print_help()
        return 0
    try:
        return options.run(options)
    except MSRError as error:
        print(f"error: {_on_one_line(error)}", file=sys.stderr)
    except OSError as error:
        print(f"error: {error.filename or ''}: {error.strerror or error}", file=sys.stderr)
    except (MemoryError, RuntimeError) as error:
        if not _is_lack_of_memory(error):
            raise
        print("error: this needs more memory than there is; give fewer tasks, examples or points", file=sys.stderr)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return _BAD_INPUT


def _on_one_line(error: Exception) -> str:
    """Messages that quote a model's own, which may be a page long."""
    text = " ".join(str(error).split())
    return text if len(text) <= LONGEST_ERROR else f"{text[:LONGEST_ERROR]} …"


def _is_lack_of_memory(error: BaseException) -> bool:
    """Python's way to say so, and torch's."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "memory" in str(error))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="msr",
        description="Find the symmetry of a problem from data.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"msr {__version__}")
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    _add_discover(commands)
    _add_check(commands)
    _add_sample(commands)
    return parser


def _command(commands: Any, name: str, run: Callable[[Any], int], text: str, example: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=text.splitlines()[0],
        description=text,
        epilog=example,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def _add_discover(commands: Any) -> None:
    parser = _command(commands, "discover", _discover, _DISCOVER, _EXAMPLE)
    parser.add_argument("tasks", metavar="TASKS.npz", type=Path)
    parser.add_argument("--layer", choices=["auto", "linear", "conv1d", "conv2d"], default="auto",
                        help="what each task is; auto, the default, is linear")  # fmt: skip
    parser.add_argument("--kernel", type=int, help="taps along each axis of a convolution")
    padding = parser.add_mutually_exclusive_group()
    padding.add_argument("--circular", action="store_true", help="the convolution wraps around")
    padding.add_argument("--valid", action="store_true", help="it does not (default)")
    parser.add_argument("--k", default="auto", help="dimension of the sharing: a count, or auto (default)")
    parser.add_argument("--signed", action="store_true", help="signed permutations, as odd activations let through")
    parser.add_argument("--seeds", type=int, default=1, help="splits of the tasks to repeat with (default: 1)")
    parser.add_argument("--alpha", type=float, default=0.01, help="error rate of each test (default: 0.01)")
    parser.add_argument("--eps", type=float, default=0.05,
                        help="share of the outputs that keeping to a group may change (default: 0.05)")  # fmt: skip
    parser.add_argument("--threads", type=int, metavar="N", help="that torch works with (default: one, or what gains)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write report.html and result.json there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the answer as JSON; - for the terminal")


def _discover(options: Any) -> int:
    _check_file("--json", options.json)
    _check_folder(options.out)
    arrays = read_arrays(options.tasks)
    split = torch.from_numpy(np.asarray(arrays["split"]).astype(bool)) if "split" in arrays else None
    # As they lie in the file: they become float64 where they are taken in, a part at a time.
    found = discover(
        arrays.pop("x"),
        arrays.pop("y"),
        layer="linear" if options.layer == "auto" else options.layer,
        kernel=options.kernel,
        circular=options.circular,
        k=_dimension(options.k),
        eps=options.eps,
        alpha=options.alpha,
        seeds=options.seeds,
        fresh=split,
        signed=options.signed,
        threads=options.threads,
    )
    answer = found.as_dict()
    if options.json is None or str(options.json) != "-":
        print(found)
    if options.json is not None:
        _write_json(options.json, answer)
    if options.out is not None:
        _write_report(options, found, answer)
    return EXIT_CODES[found.verdict]


def _check_file(flag: str, file: Path | None) -> None:
    """Refuse before the work what could not be written after it."""
    if file is None or (flag == "--json" and str(file) == "-"):
        return
    # A file is written under another name first, beside where it will be; pipes and devices are written to as they are.
    place = file.parent if file.is_file() or not file.exists() else file
    if file.is_dir() or not os.access(place, os.W_OK) or (file.exists() and not os.access(file, os.W_OK)):
        raise ConfigError(f"{flag} {file} cannot be written: give a file in a folder that exists and can be written to")


def _check_folder(folder: Path | None) -> None:
    """The same for a folder, which may still have to be made."""
    if folder is None:
        return
    there = next(part for part in (folder, *folder.absolute().parents) if part.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise ConfigError(f"--out {folder} cannot be written: {there} is no folder that can be written to")


def _dimension(text: str) -> Any:
    if text == "auto":
        return "auto"
    if not text.isdecimal() or len(text) > 9 or int(text) < 1:
        raise ConfigError(f"--k must be a count of at least 1, or auto; came {text!r}")
    return int(text)


def _write_json(path: Path, answer: dict[str, Any]) -> None:
    text = json.dumps(answer, indent=1, allow_nan=False) + "\n"
    if str(path) == "-":
        sys.stdout.write(text)
        return
    write_whole(path, lambda file: file.write(text.encode()))


def _write_report(options: Any, found: Discovery, answer: dict[str, Any]) -> None:
    options.out.mkdir(parents=True, exist_ok=True)
    page = discovery_page(found, source=str(options.tasks), command=_repeat(options))
    write_whole(options.out / "report.html", lambda file: file.write(page.encode()))
    _write_json(options.out / "result.json", answer)
    print(f"report: {options.out / 'report.html'}", file=sys.stderr)


def _repeat(options: Any) -> str:
    """The command line that gives the same answer."""
    words = ["msr", "discover", str(options.tasks), "--layer", options.layer, "--k", str(options.k)]
    if options.kernel is not None:
        words += ["--kernel", str(options.kernel)]
    words += ["--circular"] * options.circular + ["--valid"] * options.valid + ["--signed"] * options.signed
    words += ["--seeds", str(options.seeds), "--alpha", f"{options.alpha:g}", "--eps", f"{options.eps:g}"]
    words += ["--threads", str(options.threads)] * (options.threads is not None)
    words += ["--json", str(options.json)] * (options.json is not None) + ["--out", str(options.out)]
    return shlex.join(words)


# ------------------------------------------------------------------------------------------------------------- check

_CHECK = """\
Certify that a saved layer or network is equivariant under a group.

MODEL is a weight matrix (out, in) in .npy, or in .npz under W, with a bias (out,) under b if there is one; a network
saved with torch.export (.pt2; export it with a dynamic batch axis); or, with --trust, a pickled torch module (.pt,
.pth), which may run code when it is read.
"""

_CHECK_EXAMPLE = """\
an example that works:
  python -c "import numpy as np; i = np.arange(6); np.save('w.npy', np.cos((i - i[:, None]) % 6))"
  msr check w.npy --group c6 --in regular --out regular

exit codes: 0 certified, 1 refuted, 3 cannot tell, 2 bad input
"""


def _add_check(commands: Any) -> None:
    parser = _command(commands, "check", _check, _CHECK, _CHECK_EXAMPLE)
    parser.add_argument("model", metavar="MODEL", type=Path)
    parser.add_argument("--group", required=True, help=GROUPS)
    parser.add_argument("--in", dest="rep_in", required=True, metavar="REP", help=f"inputs: {REPRESENTATIONS}")
    parser.add_argument("--out", dest="rep_out", required=True, metavar="REP", help="outputs, written alike")
    parser.add_argument("--eps", type=float, default=0.01, help="tolerance of the defect (default: 0.01)")
    parser.add_argument("--alpha", type=float, default=0.05, help="error rate (default: 0.05)")
    parser.add_argument("--draws", type=int, default=64, help="random inputs for what is not linear (default: 64)")
    parser.add_argument("--trust", action="store_true", help="read pickled modules, which may run code")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the certificate as JSON; - for the terminal")


def _check(options: Any) -> int:
    _check_file("--json", options.json)
    group = parse_group(options.group)
    size_out, size_in = weight_shape(options.model) or (None, None)
    rep_in = parse_representation(options.rep_in, group, size=size_in)
    rep_out = parse_representation(options.rep_out, group, size=size_out)
    model = read_model(options.model, trust=options.trust, shape_out=rep_out.shape)
    levels = {"eps": options.eps, "alpha": options.alpha, "n": options.draws}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are in the certificate
            certificate = certify(model, group, rep_in, rep_out, **levels)
    except (MSRError, MemoryError):
        raise
    except (Exception, SystemExit) as error:  # a model's code may end in anything, and 1 is kept for a verdict
        if _is_lack_of_memory(error):
            raise
        raise ModelError(f"{options.model} failed: {type(error).__name__}: {said(error)}") from error
    if options.json is not None:
        answer = dataclasses.asdict(certificate)
        _write_json(options.json, {**answer, "certified": certificate.certified, "version": __version__})
    if options.json is None or str(options.json) != "-":
        print(certificate)
    return {"certified": 0, "refuted": 1, "cannot tell": 3}[certificate.verdict]


# ------------------------------------------------------------------------------------------------------------ sample

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


def _add_sample(commands: Any) -> None:
    parser = _command(commands, "sample", _sample, _SAMPLE, _SAMPLE_EXAMPLE)
    parser.add_argument("family", metavar="FAMILY", choices=["group", "none", "broken", "translation"])
    parser.add_argument("--group", help=GROUPS)
    parser.add_argument("--acts", metavar="REP", help=f"on inputs and outputs (default: regular): {REPRESENTATIONS}")
    parser.add_argument("--acts-out", metavar="REP", help="on outputs, where that differs")
    parser.add_argument("--breaking", type=float, help="share of a broken weight (default: 0.3)")
    parser.add_argument("--length", type=int, help="of a signal (default: 24)")
    parser.add_argument("--kernel", type=int, help="of a convolution (default: 3)")
    parser.add_argument("--circular", action="store_true", help="the convolution wraps around")
    parser.add_argument("--tasks", type=int, default=400, help="(default: 400)")
    parser.add_argument("--examples", type=int, default=20, help="of each task (default: 20)")
    parser.add_argument(
        "--noise", type=float, default=0.0, help="standard deviation on y, whose size is 1 (default: 0)"
    )
    parser.add_argument("--seed", type=int, default=0, help="a whole number from 0 to 2^63 - 1 (default: 0)")
    parser.add_argument("--out", type=Path, required=True, metavar="TASKS.npz")


# Which flags say something of which family, and what they are where nothing is said.
_OF_GROUPS = {"group": None, "acts": "regular", "acts_out": None}
_OF_FAMILIES: dict[str, dict[str, Any]] = {
    "group": _OF_GROUPS,
    "none": _OF_GROUPS,
    "broken": {**_OF_GROUPS, "breaking": 0.3},
    "translation": {"length": 24, "kernel": 3, "circular": False},
}


def _settle(options: Any) -> None:
    """Refuse flags that the family has no use for, and fill in the others."""
    mine = _OF_FAMILIES[options.family]
    for name in {name: None for known in _OF_FAMILIES.values() for name in known}:
        if name not in mine and getattr(options, name) not in (None, False):
            flags = ", ".join(f"--{one.replace('_', '-')}" for one in mine)
            raise ConfigError(f"--{name.replace('_', '-')} has no meaning for {options.family}, which has {flags}")
    for name, default in mine.items():
        if getattr(options, name) is None:
            setattr(options, name, default)


def _sample(options: Any) -> int:
    _check_file("--out", options.out)
    _settle(options)
    counts = {"n_tasks": options.tasks, "examples": options.examples, "noise": options.noise, "seed": options.seed}
    if options.family == "translation":
        sample = sample_translation(options.length, options.kernel, circular=options.circular, **counts)
    else:
        if not options.group:
            raise ConfigError(f"give --group: {GROUPS}")
        group = parse_group(options.group)
        texts = (options.acts, options.acts_out or options.acts)
        rep_in, rep_out = (parse_representation(text, group, most=MOST_DRAWN) for text in texts)
        breaking = {} if options.breaking is None else {"breaking": options.breaking}
        sample = sample_group(rep_in, rep_out, truth=options.family, **breaking, **counts)
    write_tasks(options.out, *sample)
    print(f"{options.out}: x {tuple(sample.x.shape)}, y {tuple(sample.y.shape)}", file=sys.stderr)
    return 0
