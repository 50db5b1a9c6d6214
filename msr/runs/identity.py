"""What a run was made with: which of it must be the same for a run to be continued, and which is only noted."""

import dataclasses
import hashlib
import platform
from pathlib import Path
from typing import Any

import torch

from msr.errors import ConfigError
from msr.runs.config import NOT_COMPARED, RunConfig
from msr.runs.processes.group import here
from msr.version import __version__

__all__ = ["FORMAT", "asked", "environment", "hash_of", "identity"]

FORMAT = 2
"""The format of a run's folder; 1 had no ``[run]`` in its config.toml and no checksums in its lines."""

_CHUNK = 2**20  # bytes that are read and hashed at a time; any size gives the same hash


def asked(config: RunConfig) -> dict[str, Any]:
    """The flags that say what a run computes, ``{field: value}``; those that do not matter to that are left out."""
    return {key: value for key, value in dataclasses.asdict(config).items() if key not in NOT_COMPARED}


def identity(experiment: str, config: RunConfig) -> dict[str, Any]:
    """The values that must be the same besides the flags for a run to be continued, as JSON holds them.

    These are the experiment, the version, the format of the folder, and the hash of the data.
    """
    return {
        "experiment": experiment,
        "msr": __version__,
        "format": FORMAT,
        "data_hash": hash_of(config.data_files()),
    }


def environment() -> dict[str, Any]:
    """Versions, threads, processes and devices, on which the last digits of results may depend.

    ``threads`` are those of each process, ``backend`` connects several (None for one), ``cuda`` is None without a GPU.
    """
    return {
        "msr": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
        "processes": here().world,
        "backend": here().backend,
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def hash_of(files: list[Path]) -> str:
    """One hash of the contents of files, and, of several, of their names; empty for no file.

    A single file that was moved or renamed is the same data.
    Raises: ConfigError for a path that is no regular file; OSError where it cannot be read.
    """
    if not files:
        return ""
    whole = hashlib.blake2b(digest_size=16)
    for path in sorted(files, key=lambda path: path.name):
        if not path.is_file():
            raise ConfigError(f"{path}: no such file, or not a regular one, so that a run could not be continued on it")
        content = hashlib.blake2b(digest_size=16)
        with path.open("rb") as file:
            while part := file.read(_CHUNK):
                content.update(part)
        if len(files) == 1:
            return content.hexdigest()
        whole.update(repr((path.name, content.hexdigest())).encode())
    return whole.hexdigest()
