"""Checks of flags, files and folders before anything heavy is imported; each command has a function here."""

import math
import os
from pathlib import Path
from typing import Any

from msr.errors import ConfigError, DataError
from msr.files.writing import refuse_inputs
from msr.models.kinds import check_kind
from msr.printable import printable
from msr.spelling import GROUPS

__all__ = ["check_door", "check_tasks", "context_door", "discover_door", "is_terminal", "reports", "sample_door"]

# Bounds that keep out typing errors; inside them it is memory and time that decide.
MOST_COUNT = 10**9
MOST_SPLITS = 1000
MOST_JOBS = 10**4
LEAST_ALPHA = 1e-12


def is_terminal(path: Path | None) -> bool:
    """Whether a path is ``-``, which stands for the standard output; False for None, a flag that was not given."""
    return str(path) == "-"


def reports(folder: Path) -> dict[str, Path]:
    """The paths of a report's files in a folder: ``page``, the page, and ``answer``, the answer as JSON."""
    return {"page": folder / "report.html", "answer": folder / "result.json"}


def discover_door(options: Any) -> None:
    """Check the flags of ``discover``, turn ``--k`` into a number, and find the files of a folder.

    ``options.files`` becomes None where one file is given, which is then ``options.tasks``. Of several files or a
    folder it holds the paths, each by the name of its report's folder; what is wrong with one of these is no failure.

    Raises: ConfigError, DataError or OSError for flags and files that it cannot work with.
    """
    _between("--alpha", options.alpha, LEAST_ALPHA, 0.5, "alpha must lie between 1e-12 and 0.5")
    _between("--eps", options.eps, 1e-6, 1.0, "eps must lie between 1e-6 and 1")
    _count("--seeds", options.seeds, 1, MOST_SPLITS)
    if options.kernel is not None:
        _count("--kernel", options.kernel, 1)
    if options.threads is not None:
        _count("--threads", options.threads, 1)
    options.k = _dimension(options.k)
    if options.layer in ("auto", "linear") and (options.kernel is not None or options.circular):
        raise ConfigError("--kernel and --circular belong to a convolution; give --layer conv1d or conv2d")
    _check_file("--json", options.json)
    _check_folder(options.out)
    _count("--jobs", options.jobs, 1, MOST_JOBS)
    given = options.tasks
    if options.together:
        _check_together(options)
    if len(given) == 1 and not given[0].is_dir() and not options.together:
        options.tasks = given[0]
        options.files = None
        inputs = given
        if options.jobs > 1:
            raise ConfigError("--jobs is for several files, or a folder of them")
        check_tasks(options.tasks)
    else:
        options.files = _named(_found(given))
        inputs = list(options.files.values())
    outputs = _outputs(options)
    read = {os.path.realpath(path): path for path in inputs}
    for flag, path in outputs:
        place = os.path.realpath(path)
        refuse_inputs(flag, path, inputs if options.files is None else [read[place]] if place in read else [])
    _refuse_twice(outputs)


def _refuse_twice(outputs: list[tuple[str, Path]]) -> None:
    """Raise ConfigError where two of the files that would be written, each with its flag, are one."""
    written: dict[str, str] = {}
    for flag, path in outputs:
        place = os.path.realpath(path)
        if place in written:
            raise ConfigError(
                f"{flag} and {written[place]} would both be written to {printable(path)}; give another file"
            )
        written[place] = flag


def _check_together(options: Any) -> None:
    """Raise ConfigError for flags that have no meaning with ``--together``."""
    for flag, given in (("out", options.out), ("threads", options.threads), ("seeds", options.seeds > 1)):
        if given:
            raise ConfigError(f"--{flag} has no meaning with --together")


def check_tasks(path: Path) -> None:
    """Raise DataError for a path that is no regular file, OSError for one that may not be read."""
    check_file(path, "give a .npz with arrays x and y")


def check_file(path: Path, advice: str) -> None:
    """Raise DataError with the advice for a path that is no regular file, OSError for one that may not be read."""
    if not path.is_file():
        what = "not a regular file" if path.exists() else "no such file"
        raise DataError(f"{printable(path)}: {what}; {advice}")
    with path.open("rb"):
        pass


def _found(given: list[Path]) -> list[Path]:
    """The files that are given and, in their place, those of each folder that is given, by name; none twice.

    Of a folder these are the ``.npz`` files directly in it, without hidden ones. Raises: DataError for a folder that
    holds none.
    """
    found: dict[str, Path] = {}
    for path in given:
        within = [path]
        if path.is_dir():
            within = sorted(file for file in path.glob("*.npz") if not file.name.startswith("."))
            if not within:
                raise DataError(f"{printable(path)} is a folder without .npz files; give task files, or their folder")
        for file in within:
            found.setdefault(os.path.realpath(file), file)
    return list(found.values())


def _named(files: list[Path]) -> dict[str, Path]:
    """The files by names for their reports: each one's own without ``.npz``, and with a number where that is taken."""
    named: dict[str, Path] = {}
    for file in files:
        name = stem = file.name.removesuffix(".npz").lstrip(".") or "tasks"
        number = 1
        while name in named:
            number += 1
            name = f"{stem}-{number}"
        named[name] = file
    return named


def _outputs(options: Any) -> list[tuple[str, Path]]:
    """The files that ``discover`` would write, with the flag of each."""
    folders = [] if options.out is None else [options.out]
    if options.files is not None:
        folders = [folder / name for folder in folders for name in options.files]
    outputs = [("--out", path) for folder in folders for path in reports(folder).values()]
    if options.json is not None and not is_terminal(options.json):
        outputs.append(("--json", options.json))
    return outputs


def check_door(options: Any) -> None:
    """Check the flags of ``check``.

    Raises: ConfigError, DataError or OSError for flags and files that it cannot work with.
    """
    _between("--alpha", options.alpha, LEAST_ALPHA, 1.0, "alpha must lie between 1e-12 and 1")
    _between("--eps", options.eps, 0.0, math.sqrt(2), "eps is a defect between 0 and sqrt(2), where 1 is what "
             "unrelated outputs give")  # fmt: skip
    _count("--draws", options.draws, 2)
    _check_file("--json", options.json)
    check_kind(options.model, options.trust)
    if options.json is not None and not is_terminal(options.json):
        refuse_inputs("--json", options.json, [options.model])


def context_door(options: Any) -> None:
    """Check the flags of ``context``.

    Raises: ConfigError, DataError or OSError for flags and files that it cannot work with.
    """
    _count("--rows", options.rows, 5)
    if not 0 <= options.seed < 2**63:
        raise ConfigError(f"--seed must lie between 0 and 2^63 - 1; got {printable(options.seed)}")
    _check_file("--json", options.json)
    _check_file("--html", options.html)
    if options.html is not None and str(options.html) == "-":
        raise ConfigError("--html writes a page to a file, and - would be one of that name; give FILE.html")
    check_file(options.table, "give a table: .csv, or .npz with an array x")
    outputs = [] if options.html is None else [("--html", options.html)]
    if options.json is not None and not is_terminal(options.json):
        outputs.append(("--json", options.json))
    for flag, path in outputs:
        refuse_inputs(flag, path, [options.table])
    _refuse_twice(outputs)


# The flags that each family has, and their defaults.
_OF_GROUPS = {"group": None, "acts": "regular", "acts_out": None}
_OF_FAMILIES: dict[str, dict[str, Any]] = {
    "group": _OF_GROUPS,
    "none": _OF_GROUPS,
    "broken": {**_OF_GROUPS, "breaking": 0.3},
    "translation": {"length": 24, "kernel": 3, "circular": False},
}


def sample_door(options: Any) -> None:
    """Check the flags of ``sample``: refuse those that the family does not have, and fill in its defaults.

    Raises: ConfigError for flags that it cannot work with.
    """
    _check_file("--out", options.out)
    own = _OF_FAMILIES[options.family]
    for name in {name: None for defaults in _OF_FAMILIES.values() for name in defaults}:
        if name not in own and getattr(options, name) not in (None, False):
            flags = ", ".join(f"--{flag.replace('_', '-')}" for flag in own)
            raise ConfigError(f"--{name.replace('_', '-')} has no meaning for {options.family}, which has {flags}")
    for name, default in own.items():
        if getattr(options, name) is None:
            setattr(options, name, default)
    for flag in ("tasks", "examples", "length", "kernel"):
        if getattr(options, flag) is not None:
            _count(f"--{flag}", getattr(options, flag), 1)
    if not 0 <= options.noise <= 1e30:
        raise ConfigError(f"--noise must be finite and not negative, 1e30 at most; got {options.noise}")
    if not 0 <= options.seed < 2**63:
        raise ConfigError(f"--seed must lie between 0 and 2^63 - 1; got {printable(options.seed)}")
    if options.family != "translation" and not options.group:
        raise ConfigError(f"give --group: {GROUPS}")


def _between(flag: str, value: float, low: float, high: float, rule: str) -> None:
    """Raise ConfigError with the rule unless ``low <= value < high`` and the value is not 0 (a nan is refused too)."""
    if not low <= value < high or value == 0:
        raise ConfigError(f"{flag}: {rule}; got {value}")


def _count(flag: str, value: int, least: int, most: int = MOST_COUNT) -> None:
    """Raise ConfigError unless ``least <= value <= most``."""
    if not least <= value <= most:
        raise ConfigError(f"{flag} must be a whole number from {least} on, {most} at most; got {printable(value)}")


def _dimension(text: str) -> Any:
    """The value of ``--k``: a whole number from 1 on, or ``auto``. Raises: ConfigError for any other text."""
    if text == "auto":
        return "auto"
    if not (text.isascii() and text.isdecimal()) or len(text) > 9 or int(text) < 1:
        raise ConfigError(f"--k must be a count of at least 1, or auto; got {printable(text)!r}")
    return int(text)


def _check_file(flag: str, file: Path | None) -> None:
    """Raise ConfigError for a file that could not be written, before the work rather than after it.

    A flag that was not given (None), and ``--json -``, pass.
    """
    if file is None or (flag == "--json" and is_terminal(file)):
        return
    _check_working_folder(file)
    # The file that a link leads to is written, and may still have to be made.
    target = Path(os.path.realpath(file)) if file.is_symlink() and not file.exists() else file
    # A regular file is first written beside its place, under another name; pipes and devices are written to directly.
    place = target.parent if target.is_file() or not target.exists() else target
    circle = target.is_symlink() and not target.exists()
    read_only = target.exists() and not os.access(target, os.W_OK)
    if circle or target.is_dir() or not os.access(place, os.W_OK) or read_only:
        raise ConfigError(
            f"{flag} {printable(file)} cannot be written: give a file in a folder that exists and can be written to"
        )


def _check_folder(folder: Path | None) -> None:
    """Raise ConfigError for a folder of ``--out`` that could not be made or written to; None passes.

    A folder may still have to be made, which a dangling link prevents.
    """
    if folder is None:
        return
    _check_working_folder(folder)
    existing = next(part for part in (folder, *folder.absolute().parents) if os.path.lexists(part))
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise ConfigError(
            f"--out {printable(folder)} cannot be written: {printable(existing)} is no folder that can be written to"
        )


def _check_working_folder(path: Path) -> None:
    """Raise ConfigError for a relative path if the working folder was removed, though it seems to be there still."""
    if path.is_absolute():
        return
    try:
        os.getcwd()
    except FileNotFoundError:
        raise ConfigError(
            f"{printable(path)} cannot be written: the folder that this was started in is gone; change to another"
        ) from None
