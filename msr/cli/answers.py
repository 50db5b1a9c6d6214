"""How a command gives its answer: the files that were asked for, all or none of them, and then the text on stdout."""

import contextlib
import errno
import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msr.errors import NonFiniteError
from msr.failures import silence
from msr.files.writing import Write, write_together
from msr.printable import printable

__all__ = ["as_json", "give", "show"]


def as_json(answer: Mapping[str, Any]) -> str:
    """Strict JSON, without ``NaN`` and without halves of characters.

    Raises: NonFiniteError that names a number which is not finite, and so has no place in JSON.
    """
    return json.dumps(_strict(answer, ""), indent=1, allow_nan=False) + "\n"


def _strict(value: Any, where: str) -> Any:
    if isinstance(value, Mapping):
        return {_strict(str(key), where): _strict(one, f"{where}.{key}".lstrip(".")) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(one, where) for one in value]
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, float) and not math.isfinite(value):
        raise NonFiniteError(
            f"the answer has {value} as {where}: numbers came that are too large or too small to be squared; give them "
            "in other units"
        )
    return value


def give(text: str, files: Mapping[Path, Write], folder: Path | None = None) -> None:
    """Write the files, all or none, and only then print the answer.

    ``folder`` is made if it is not there, and is gone again if nothing could be written. Raises: OSError.
    """
    made = _make(folder)
    try:
        write_together(files)
    except BaseException:
        for one in made:
            with contextlib.suppress(OSError):  # it may hold a file of somebody else; the first error counts
                one.rmdir()
        raise
    show(text, list(files))


def _make(folder: Path | None) -> list[Path]:
    """Make a folder and those above it; returns those that were not there before, innermost first."""
    if folder is None:
        return []
    missing = [part for part in (folder, *folder.parents) if not part.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def show(text: str, written: list[Path] | None = None) -> None:
    """Print, and be sure that it arrived.

    Raises: OSError that says so of the standard output, and which files hold the answer.
    """
    kept = f"; the answer is in {', '.join(printable(path) for path in written)}" if written else ""
    if sys.stdout is None:
        if text:
            raise OSError(errno.EBADF, f"is closed{kept}", "standard output")
        return
    encoding = sys.stdout.encoding or "utf-8"
    try:
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except (OSError, ValueError) as error:
        silence(sys.stdout)
        said = error.strerror if isinstance(error, OSError) else "is closed"
        raise OSError(getattr(error, "errno", errno.EBADF), f"{said}{kept}", "standard output") from error
