"""Checks of flags, files and folders that come before anything heavy is imported; each command has one."""

import math
import os
from pathlib import Path
from typing import Any

from msr.errors import ConfigError, DataError
from msr.files.writing import refuse_inputs
from msr.models.kinds import check_kind
from msr.printable import printable
from msr.spelling import GROUPS

__all__ = ["check_door", "discover_door", "is_terminal", "reports", "sample_door"]

MOST_COUNT = 10**9
MOST_SPLITS = 1000
LEAST_ALPHA = 1e-12


def is_terminal(path: Path | None) -> bool:
    """Whether ``-`` was given for a file: the standard output."""
    return str(path) == "-"


def reports(folder: Path) -> dict[str, Path]:
    """The files of a report."""
    return {"page": folder / "report.html", "answer": folder / "result.json"}


def discover_door(options: Any) -> None:
    """Raises: ConfigError, DataError, OSError for what ``discover`` could not do."""
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
    if not options.tasks.is_file():
        what = "not a regular file" if options.tasks.exists() else "no such file"
        raise DataError(f"{printable(options.tasks)}: {what}; give a .npz with arrays x and y")
    with options.tasks.open("rb"):
        pass
    outputs = _outputs(options)
    for flag, path in outputs:
        refuse_inputs(flag, path, [options.tasks])
    for i, (flag, path) in enumerate(outputs):
        for other, taken in outputs[:i]:
            if os.path.realpath(path) == os.path.realpath(taken):
                raise ConfigError(f"{flag} and {other} would both be written to {printable(path)}; give another file")


def _outputs(options: Any) -> list[tuple[str, Path]]:
    found = [("--out", path) for path in reports(options.out).values()] if options.out is not None else []
    if options.json is not None and not is_terminal(options.json):
        found.append(("--json", options.json))
    return found


def check_door(options: Any) -> None:
    """Raises: ConfigError, DataError, OSError for what ``check`` could not do."""
    _between("--alpha", options.alpha, LEAST_ALPHA, 1.0, "alpha must lie between 1e-12 and 1")
    _between("--eps", options.eps, 0.0, math.sqrt(2), "eps is a defect between 0 and sqrt(2), where 1 is what "
             "unrelated outputs give")  # fmt: skip
    _count("--draws", options.draws, 2)
    _check_file("--json", options.json)
    check_kind(options.model, options.trust)
    if options.json is not None and not is_terminal(options.json):
        refuse_inputs("--json", options.json, [options.model])


# Which flags say something of which family, and what they are where nothing is said.
_OF_GROUPS = {"group": None, "acts": "regular", "acts_out": None}
_OF_FAMILIES: dict[str, dict[str, Any]] = {
    "group": _OF_GROUPS,
    "none": _OF_GROUPS,
    "broken": {**_OF_GROUPS, "breaking": 0.3},
    "translation": {"length": 24, "kernel": 3, "circular": False},
}


def sample_door(options: Any) -> None:
    """Refuse flags that the family has no use for, and fill in the others.

    Raises: ConfigError for those, and for what ``sample`` could not do.
    """
    _check_file("--out", options.out)
    mine = _OF_FAMILIES[options.family]
    for name in {name: None for known in _OF_FAMILIES.values() for name in known}:
        if name not in mine and getattr(options, name) not in (None, False):
            flags = ", ".join(f"--{one.replace('_', '-')}" for one in mine)
            raise ConfigError(f"--{name.replace('_', '-')} has no meaning for {options.family}, which has {flags}")
    for name, default in mine.items():
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


def _between(flag: str, value: float, low: float, high: float, said: str) -> None:
    if not low <= value < high or value == 0:
        raise ConfigError(f"{flag}: {said}; got {value}")


def _count(flag: str, value: int, least: int, most: int = MOST_COUNT) -> None:
    if not least <= value <= most:
        raise ConfigError(f"{flag} must be a whole number from {least} on, {most} at most; got {printable(value)}")


def _dimension(text: str) -> Any:
    if text == "auto":
        return "auto"
    if not (text.isascii() and text.isdecimal()) or len(text) > 9 or int(text) < 1:
        raise ConfigError(f"--k must be a count of at least 1, or auto; got {printable(text)!r}")
    return int(text)


def _check_file(flag: str, file: Path | None) -> None:
    """Refuse before the work what could not be written after it."""
    if file is None or (flag == "--json" and is_terminal(file)):
        return
    _check_working_folder(file)
    # What a link leads to is written, and may still have to be made.
    led = Path(os.path.realpath(file)) if file.is_symlink() and not file.exists() else file
    # A file is written under another name first, beside where it will be; pipes and devices are written to as they are.
    place = led.parent if led.is_file() or not led.exists() else led
    circle = led.is_symlink() and not led.exists()
    if circle or led.is_dir() or not os.access(place, os.W_OK) or (led.exists() and not os.access(led, os.W_OK)):
        raise ConfigError(
            f"{flag} {printable(file)} cannot be written: give a file in a folder that exists and can be written to"
        )


def _check_folder(folder: Path | None) -> None:
    """The same for a folder, which may still have to be made; a link that leads nowhere cannot be made one."""
    if folder is None:
        return
    _check_working_folder(folder)
    there = next(part for part in (folder, *folder.absolute().parents) if os.path.lexists(part))
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise ConfigError(
            f"--out {printable(folder)} cannot be written: {printable(there)} is no folder that can be written to"
        )


def _check_working_folder(path: Path) -> None:
    """A folder that was removed while a shell stands in it still looks as if it could be written to."""
    if path.is_absolute():
        return
    try:
        os.getcwd()
    except FileNotFoundError:
        raise ConfigError(
            f"{printable(path)} cannot be written: the folder that this was started in is gone; change to another"
        ) from None
