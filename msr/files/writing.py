"""The one way in which this package writes files: whole or not at all, as durable as the disk, links and modes kept."""

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Mapping
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from msr.errors import ConfigError

__all__ = ["Write", "append_line", "refuse_inputs", "write_together", "write_whole"]

Write = Callable[[BinaryIO], object]
"""Writes the content of one file to an open stream."""

_MOST_LINKS = 40
_OPEN_FILES = ("/proc/", "/dev/fd/")  # not all of /dev: /dev/shm holds plain files


def write_whole(path: Path, write: Write) -> None:
    """Write a file all or nothing: under a name of its own first, flushed to the disk, then renamed.

    A link stays one, and what it points at is written; a file that was there keeps its permissions. Pipes, devices and
    terminals, such as ``/dev/null``, are written to as they are. Raises: OSError that names the file; nothing is left
    of what could not be written.
    """
    write_together({path: write})


def write_together(files: Mapping[Path, Write]) -> None:
    """Write several files, each whole; they are renamed only once all are on the disk, so all appear or none does.

    A crash between two renames, which take microseconds, can still leave some of them old. Raises: as
    :func:`write_whole`, and then no file has changed, unless renaming itself failed.
    """
    parts: list[tuple[Path, Path]] = []
    shown = Path()
    try:
        for shown, write in files.items():
            path = _target(shown)
            if _is_special(path):
                with path.open("ab") as file:  # to a file that is open elsewhere, after what that wrote
                    write(file)
                continue
            part = path.with_name(f".{secrets.token_hex(8)}.part")  # not longer than the name may be
            parts.append((part, path))
            with part.open("xb") as file:
                write(file)
                file.flush()
                _keep_mode(file.fileno(), path)
                os.fsync(file.fileno())
        for part, path in parts:
            shown = path
            os.replace(part, path)
        for folder in {path.parent for _, path in parts}:
            _sync_folder(folder)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(shown)) from error
    finally:
        for part, _ in parts:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)


def append_line(path: Path, line: bytes) -> None:
    """Append a line, with its end, to a file of lines, and hand it to the system at once.

    A last line without its end, as a writer leaves it that was killed, is dropped first; of a line that could not be
    written whole, nothing stays. Raises: OSError that names the file.
    """
    try:
        # Unbuffered: what a buffer could not write, it would try to write once more when it is closed.
        with path.open("r+b" if path.exists() else "x+b", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            if end and _last_byte(file, end) != b"\n":
                file.seek(0)
                end = file.readall().rfind(b"\n") + 1
                file.truncate(end)
            file.seek(end)
            left = memoryview(line)
            try:
                while left:
                    left = left[file.write(left) :]
            except OSError:
                with contextlib.suppress(OSError):
                    file.truncate(end)
                raise
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def refuse_inputs(flag: str, path: Path, inputs: Iterable[Path]) -> None:
    """Raise ConfigError where writing ``path`` would replace a file that is read, whatever it is called."""
    for one in inputs:
        with contextlib.suppress(OSError):  # what is not there is no input
            if os.path.samefile(path, one):
                raise ConfigError(f"{flag} {path} is the file that is read ({one}), and would replace it: give another")


def _last_byte(file: FileIO, end: int) -> bytes:
    file.seek(end - 1)
    return file.read(1)


def _target(path: Path) -> Path:
    """Where links lead, so that they are kept; a link to an open file, as ``/dev/stdout`` is, stays what it is.

    Raises: OSError for a folder, and for links in a circle.
    """
    seen = path
    for _ in range(_MOST_LINKS):
        if _is_open_file(seen) or not seen.is_symlink():
            break
        seen = Path(os.path.abspath(seen.parent / os.readlink(seen)))
    else:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    if seen.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    return seen


def _is_special(path: Path) -> bool:
    """Whether something is there that is no regular file, or is a file which another name or process has open."""
    if _is_open_file(path):
        return True
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return False


def _is_open_file(path: Path) -> bool:
    """Whether a name stands for what a process has open, as ``/dev/fd/1`` does, which leads to ``/proc``."""
    return os.path.join(os.path.realpath(path.parent), path.name).startswith(_OPEN_FILES)


def _keep_mode(descriptor: int, path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.fchmod(descriptor, stat.S_IMODE(path.stat().st_mode))


def _sync_folder(folder: Path) -> None:
    """A rename lasts through a power cut only once its folder is on the disk; some file systems cannot do that."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
