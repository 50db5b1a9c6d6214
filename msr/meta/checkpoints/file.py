"""Checkpoint files: one dictionary of tensors and plain values, with a hash of all of it and the identity of its run.

A file is what ``torch.save`` makes of ``{"format", "msr", "identity", "notes", "sha256", "extra", **state}``, read with
``weights_only=True``, so that no code is ever read from it. Two checks find damage: the CRC-32 of each member of the
zip, which torch itself does not look at, and SHA-256 over all names, types, shapes and values.
"""

import hashlib
import io
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from msr.errors import ConfigError, DataError, kind_and_line
from msr.files.writing import write_whole
from msr.version import __version__

__all__ = ["FORMAT", "Checkpoint", "DamagedCheckpointError", "content_hash", "read_checkpoint", "write_checkpoint"]

FORMAT = 2
"""Format of the files that are written. Older files, which have no format number and no hash, count as format 1."""

_OWN_KEYS = ("format", "msr", "identity", "notes", "sha256", "extra")
_NOT_SET = "not set"


class DamagedCheckpointError(DataError):
    """A checkpoint file was changed after it was written, or never was a checkpoint."""


class Checkpoint(NamedTuple):
    """The content of a checkpoint file.

    Attributes:
        path: the file.
        state: the outer loop's own state.
        extra: plain values of the caller's.
        identity: plain values that say which run it belongs to; they are compared when a run continues.
        notes: versions and threads, for people to read.
        format: 2, or 1 for an older file, which has no hash.
    """

    path: Path
    state: dict[str, Any]
    extra: dict[str, Any]
    identity: dict[str, Any]
    notes: dict[str, Any]
    format: int

    def differences(self, identity: Mapping[str, Any]) -> list[str]:
        """How this file's format and identity differ from what is wanted, in words; none where it fits.

        A key of ``identity`` that the file lacks is a difference; a further key of the file is none.
        """
        differences = []
        if self.format != FORMAT:
            differences.append(f"format {self.format}, which has no hash to find damage by, there, {FORMAT} here")
        for key, value in identity.items():
            own = self.identity.get(key, _NOT_SET)
            if own != value:
                differences.append(f"{key} is {own} there, {value} here")
        return differences

    def refuse_others(self, identity: Mapping[str, Any]) -> None:
        """Raise DataError, one line with all of them, where :meth:`differences` finds any from this ``identity``."""
        differences = self.differences(identity)
        if differences:
            raise DataError(
                f"{self.path} is a checkpoint of something else ({'; '.join(differences)}); continue with what it was "
                "made with, remove it, or accept it with force (of a runner: --force)"
            )


def write_checkpoint(
    path: Path, state: Mapping[str, Any], extra: Mapping[str, Any], identity: Mapping[str, Any] | None = None
) -> None:
    """Write a checkpoint whole or not at all; a crash leaves the one that was there.

    ``identity`` says which run it belongs to, as plain values: an experiment, an arm, a seed.
    Raises: ConfigError for a value that is no tensor and not plain; OSError that names the file.
    """
    content = {
        **state,
        "extra": dict(extra),
        "format": FORMAT,
        "msr": __version__,
        "identity": dict(identity or {}),
        "notes": {"torch": str(torch.__version__), "threads": torch.get_num_threads()},
    }
    content = _plain(content)
    try:
        # The hash is taken of all that stands in the file beside it.
        content["sha256"] = content_hash(content)
    except TypeError as error:
        raise ConfigError(f"{path}: {error}; a checkpoint holds tensors and plain values") from None
    write_whole(path, lambda file: torch.save(content, file))


def read_checkpoint(path: Path, device: torch.device | str = "cpu") -> Checkpoint:
    """Read a checkpoint, check that it is whole, and return its content, with tensors on ``device``.

    A file of format 1 is read too, though it has no hash to be checked by.
    Raises: DamagedCheckpointError, one line that names the file, for content that is not what was written, for files
    that are no checkpoints, and for those of a later format; ConfigError where there is no such file or the system does
    not let it be read.
    """
    try:
        # Read once, so that what is checked is what is loaded.
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from None
    content = _content(path, data, device)
    if "format" not in content:
        if not {"params", "optimizer", "steps_done"} <= content.keys():
            raise _damaged(path, "is not one of an outer loop")
        # A file of format 1 lacks these keys; what it has stays.
        content = {"extra": {}, "identity": {}, "notes": {}} | content | {"format": 1}
    else:
        _check_hash(path, content)
    for key in ("extra", "identity", "notes"):
        if type(content.get(key)) is not dict:
            raise _damaged(path, f"holds no dictionary {key!r}")
    state = {key: value for key, value in content.items() if key not in _OWN_KEYS}
    identity = content["identity"]
    return Checkpoint(path, state, content["extra"], identity, content["notes"], content["format"])


def content_hash(content: Mapping[str, Any]) -> str:
    """SHA-256, in hexadecimal digits, of names, types, shapes and values, whatever file or device they are on; the
    order of keys does not count.

    Raises: TypeError for a value that is neither a dense tensor nor plain, or a key that is no string or number.
    """
    hasher = hashlib.sha256()
    _hash(hasher, content, "")
    return hasher.hexdigest()


def _hash(hasher: Any, value: Any, where: str) -> None:
    """Feed a tree of values into ``hasher``; ``where`` is the tree's place in the content, for messages.

    Each value enters as its kind, its length and its bytes, so that different contents give different input.
    Raises: TypeError for what :func:`content_hash` refuses.
    """

    def put(kind: str, data: bytes = b"") -> None:
        # With lengths in front no two contents run together to the same bytes.
        hasher.update(kind.encode() + struct.pack(">q", len(data)))
        hasher.update(data)

    if isinstance(value, Tensor):
        if value.layout != torch.strided or value.is_quantized:
            raise TypeError(f"{where or 'the content'} is a tensor that is not dense")
        put("tensor", f"{value.dtype} {tuple(value.shape)}".encode())
        flat = value.detach().cpu().contiguous().reshape(-1)
        if flat.numel():
            hasher.update(flat.view(torch.uint8).numpy().data)
    elif isinstance(value, Mapping):
        put("dict", str(len(value)).encode())
        # Sorted, since the order of a dictionary is no part of its content; by type first, since 1 and "1" do not
        # compare.
        for key in sorted(value, key=lambda key: (type(key).__name__, repr(key))):
            if type(key) not in (str, int, float):
                raise TypeError(f"{where or 'the content'} has the key {key!r}")
            _hash(hasher, key, where)
            _hash(hasher, value[key], f"{where}.{key}" if where else str(key))
    elif isinstance(value, (list, tuple)):
        put("tuple" if isinstance(value, tuple) else "list", str(len(value)).encode())
        for place, item in enumerate(value):
            _hash(hasher, item, f"{where}[{place}]")
    elif type(value) is float:
        put("float", struct.pack(">d", value))
    # Lone surrogates, as in names of files on Linux, cannot be encoded in UTF-8 otherwise.
    elif value is None or type(value) in (bool, int, str):
        put(type(value).__name__, str(value).encode("utf-8", "surrogatepass"))
    else:
        raise TypeError(f"{where or 'the content'} is a {type(value).__name__}")


def _plain(value: Any) -> Any:
    """The same tree with Python's numbers for NumPy's scalars, which are exactly equal; torch reads only the former."""
    if isinstance(value, np.generic):
        return value.item()
    if type(value) is dict:
        return {_plain(key): _plain(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_plain(item) for item in value)
    return value


def _content(path: Path, data: bytes, device: torch.device | str) -> dict[str, Any]:
    """The dictionary in a file, each of whose members has the CRC-32 that is stored with it.

    Args: ``data``: the bytes of the file; ``path``: its name, for messages.
    Raises: DamagedCheckpointError.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            # torch does not compress members. A compressed one could become any size when it is unpacked.
            if any(item.compress_type != zipfile.ZIP_STORED for item in archive.infolist()):
                raise _damaged(path, "has packed members, which no checkpoint has")
            bad = archive.testzip()
        if bad is not None:
            raise _damaged(path, f"is damaged: {bad!r} in it has not the checksum it was written with")
        content = torch.load(io.BytesIO(data), weights_only=True, map_location=device)
    except DataError:
        raise
    except Exception as error:  # zipfile, pickle and torch raise many kinds for damaged bytes
        raise _damaged(path, f"cannot be read ({kind_and_line(error)[:120]})") from error
    if type(content) is not dict:
        raise _damaged(path, f"is not one of an outer loop but a {type(content).__name__}")
    return content


def _check_hash(path: Path, content: dict[str, Any]) -> None:
    """Raise DamagedCheckpointError unless the content has the present format and the SHA-256 of its writing."""
    version = content["format"]
    stored = content.get("sha256")
    if type(version) is not int:
        raise _damaged(path, f"has a format {version!r} where a number is needed")
    if version > FORMAT:
        raise _damaged(path, f"has format {version}, and this msr {__version__} reads up to {FORMAT}")
    try:
        computed = content_hash({key: value for key, value in content.items() if key != "sha256"})
    except TypeError as error:
        raise _damaged(path, f"holds what no checkpoint does: {error}") from None
    if computed != stored or version != FORMAT:
        raise _damaged(path, "is damaged: its content has not the SHA-256 it was written with")


def _damaged(path: Path, what: str) -> DamagedCheckpointError:
    """The error, not raised, that says in one line what is wrong with a file and what to do."""
    line = " ".join(f"{path} {what}".split())
    return DamagedCheckpointError(f"the checkpoint {line}; remove it, or put an undamaged copy in its place")
