"""Reading the ``config.toml`` of a run: lines ``key = value``, whose values are written the same in TOML and JSON."""

import json
from pathlib import Path
from typing import Any, NoReturn

from msr.errors import ConfigError
from msr.failures import one_line

__all__ = ["read_config"]

# Bytes. A config.toml has about a thousand; the bound is there so that no file without end is read into memory.
_LARGEST_FILE = 2**20


def read_config(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The flags of a run's ``config.toml``, and the values under ``[run]``, which say what it was made with.

    Raises: ConfigError that names the file, and the line at fault.
    """
    try:
        # The path may be a pipe, which has no size, so at most one byte too many is read.
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
        text = content.decode() if len(content) <= _LARGEST_FILE else ""
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise ConfigError(f"{path} is not a config.toml of a run: its bytes are no text (UTF-8)") from None
    if len(content) > _LARGEST_FILE:
        raise ConfigError(f"{path} is not a config.toml of a run: it is larger than {_LARGEST_FILE} bytes")
    flags: dict[str, Any] = {}
    run: dict[str, Any] = {}
    section = flags
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        if stripped == "[run]" and section is flags:
            section = run
            continue
        key, _, value = stripped.partition(" = ")
        try:
            if key in section:
                raise ValueError
            section[key] = json.loads(value, parse_constant=_refuse)
        except (ValueError, RecursionError):
            raise ConfigError(
                f"{path} is not a config.toml of a run; each line must be key = value, each key once; "
                f"line {number} is {one_line(line[:100])!r}"
            ) from None
    return flags, run


def _refuse(constant: str) -> NoReturn:
    """Raise ValueError for ``NaN``, ``Infinity`` or ``-Infinity``, which Python's JSON reader would accept."""
    raise ValueError(f"{constant} is no number")
