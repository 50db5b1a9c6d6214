"""How a command gives its answer: it writes the files that were asked for, all or none, then prints the text."""

import contextlib
import errno
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from msr.errors import NonFiniteError
from msr.failures import silence
from msr.files.writing import Write, write_together
from msr.printable import printable

__all__ = ["as_json", "give", "show"]


def as_json(answer: Mapping[str, Any] | Sequence[Any]) -> str:
    """An answer as strict JSON text: no ``NaN`` or infinity, and no unpaired surrogates in strings.

    Raises: NonFiniteError that names the entry which is not finite, since JSON has no such numbers.
    """
    return json.dumps(_strict(answer, ""), indent=1, allow_nan=False) + "\n"


def _strict(value: Any, where: str) -> Any:
    """A value that strict JSON can hold; ``where`` is the dotted path of keys to it, for the error."""
    if isinstance(value, Mapping):
        return {_strict(str(key), where): _strict(item, f"{where}.{key}".lstrip(".")) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(item, where) for item in value]
    if isinstance(value, str):
        # File names may hold bytes that are no characters; Python keeps those as unpaired surrogates.
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, float) and not math.isfinite(value):
        raise NonFiniteError(
            f"the answer has {value} as {where}: the data have numbers that are too large or too small to be squared; "
            "give them in other units"
        )
    return value


def give(text: str, files: Mapping[Path, Write], folder: Path | None = None) -> None:
    """Write the files, all or none, and only then print the answer.

    Args:
        folder: is made if it does not exist, with the folders above it; they are removed if nothing could be written.
            With None no folder is made.

    Raises: OSError where a file or the answer could not be written.
    """
    made = _make(folder)
    try:
        write_together(files)
    except BaseException:
        for path in made:
            # Another program may have put a file there meanwhile. The first error is the one to report.
            with contextlib.suppress(OSError):
                path.rmdir()
        raise
    show(text, list(files))


def _make(folder: Path | None) -> list[Path]:
    """Make a folder and those above it; returns the folders that were made, innermost first. None makes nothing."""
    if folder is None:
        return []
    missing = [part for part in (folder, *folder.parents) if not part.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def show(text: str, written: list[Path] | None = None) -> None:
    """Print a text, and make sure that all of it was written.

    Args:
        written: files that hold the answer; an error names them.

    Raises: OSError where the standard output is closed or full.
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
        # Python would try to flush once more on exit, and report the same error a second time.
        silence(sys.stdout)
        reason = error.strerror if isinstance(error, OSError) else "is closed"
        raise OSError(getattr(error, "errno", errno.EBADF), f"{reason}{kept}", "standard output") from error
