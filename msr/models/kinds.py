"""The kinds of files that hold a layer or a network, and which of them may run code when they are read."""

from pathlib import Path

from msr.errors import ConfigError, DataError
from msr.printable import printable

__all__ = ["KINDS", "RUN_CODE", "check_kind"]

KINDS = (".npy", ".npz", ".safetensors", ".onnx", ".pt2", ".pt", ".pth")
"""Suffixes of files that can be read."""

RUN_CODE = {
    ".pt2": "an exported program, whose reader unpickles and evaluates parts of it",
    ".pt": "a pickle",
    ".pth": "a pickle",
}
"""Suffixes of files that can run code when they are read, and why."""

_UNTRUSTED = ".npy, .npz, .safetensors (weights) or .onnx (a network), which need no trust"


def check_kind(path: Path, trust: bool) -> str:
    """The suffix of a model file, in lower case.

    Raises: DataError for what is no regular file, or of an unknown kind; ConfigError for a kind that may run code,
    without ``trust``; OSError where the file cannot be opened.
    """
    if not path.is_file():
        what = "not a regular file" if path.exists() else "no such file"
        raise DataError(f"{printable(path)}: {what}; give {_UNTRUSTED}, or with --trust a .pt2, .pt or .pth")
    kind = path.suffix.lower()
    if kind not in KINDS:
        raise DataError(f"{printable(path)}: files of kind {printable(kind) or 'none'} are not read; give {_UNTRUSTED}")
    if kind in RUN_CODE and not trust:
        raise ConfigError(
            f"{printable(path)} is {RUN_CODE[kind]}, so reading it may run code; add --trust if it is yours, or give "
            f"{_UNTRUSTED}"
        )
    with path.open("rb"):
        return kind
