"""The one writer of this package's files: whole or not at all, flushed to the disk, links and permissions kept."""

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
"""A function that writes the content of one file to an open binary stream; what it returns is ignored."""

_MOST_LINKS = 40  # as many as Linux follows before it reports a circle
_OPEN_FILES = ("/proc/", "/dev/fd/")  # not all of /dev, since /dev/shm holds plain files


def write_whole(path: Path, write: Write) -> None:
    """Write a file all or nothing: under a temporary name first, flushed to the disk, then renamed.

    A link stays a link, and the file that it points at is written; a file that existed keeps its permissions. Pipes,
    devices and terminals, such as ``/dev/null``, are written to directly. Raises: OSError that names the file; a file
    that could not be written whole is removed.
    """
    write_together({path: write})


def write_together(files: Mapping[Path, Write]) -> None:
    """Write several files, each whole; they are renamed only once all are on the disk, so all appear or none does.

    A crash between two renames, which take microseconds, can still leave some of the files old. Raises: OSError that
    names the file at fault, and then no regular file has changed, unless renaming itself failed.

    Args:
        files: what writes the content of each file, by the file's path; links, permissions, pipes and devices are
            treated as by :func:`write_whole`.
    """
    parts: list[tuple[Path, Path]] = []
    shown = Path()
    try:
        for shown, write in files.items():
            path = _target(shown)
            if _is_special(path):
                with path.open("ab") as file:  # a file that another process has open keeps what that wrote
                    write(file)
                continue
            # Beside the file, since a rename works within one file system; short, since names have a longest length.
            part = path.with_name(f".{secrets.token_hex(8)}.part")
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
    """Append a line, which ends in a line break, to a file of lines, and hand it to the system at once.

    The file is made where there is none. A last line without a line break, as a killed writer leaves it, is dropped
    first. A line that cannot be written whole is taken back. Raises: OSError that names the file.
    """
    try:
        # Without a buffer, which on closing would try once more to write what it could not write before.
        with path.open("r+b" if path.exists() else "x+b", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            if end and _last_byte(file, end) != b"\n":
                file.seek(0)
                end = file.readall().rfind(b"\n") + 1
                file.truncate(end)
            file.seek(end)
            remaining = memoryview(line)
            try:
                while remaining:
                    remaining = remaining[file.write(remaining) :]
            except OSError:
                with contextlib.suppress(OSError):
                    file.truncate(end)
                raise
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def refuse_inputs(flag: str, path: Path, inputs: Iterable[Path]) -> None:
    """Raise ConfigError where writing ``path`` would replace one of the inputs, by whatever name or link.

    Args:
        flag: the command line flag that gave ``path``, for the message.
    """
    for source in inputs:
        with contextlib.suppress(OSError):  # a file that does not exist is no input
            if os.path.samefile(path, source):
                raise ConfigError(
                    f"{flag} {path} is the file that is read ({source}), and would replace it: give another"
                )


def _last_byte(file: FileIO, end: int) -> bytes:
    """The byte at place ``end - 1`` of a file, for ``end`` from 1 on; the file's position is then ``end``."""
    file.seek(end - 1)
    return file.read(1)


def _target(path: Path) -> Path:
    """The file that a chain of links leads to; a link to an open file, such as ``/dev/stdout``, is not followed.

    Raises: OSError for a folder, and for links in a circle.
    """
    target = path
    for _ in range(_MOST_LINKS):
        if _is_open_file(target) or not target.is_symlink():
            break
        target = Path(os.path.abspath(target.parent / os.readlink(target)))
    else:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    return target


def _is_special(path: Path) -> bool:
    """Whether a path names something other than a regular file, or a file that a process has open.

    False for a path at which there is nothing yet.
    """
    if _is_open_file(path):
        return True
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return False


def _is_open_file(path: Path) -> bool:
    """Whether a path lies in ``/proc`` or ``/dev/fd``, and so names a file that a process has open: ``/dev/fd/1``."""
    return os.path.join(os.path.realpath(path.parent), path.name).startswith(_OPEN_FILES)


def _keep_mode(descriptor: int, path: Path) -> None:
    """Give a new file the permissions of the one that it will replace, if there is one."""
    with contextlib.suppress(FileNotFoundError):
        os.fchmod(descriptor, stat.S_IMODE(path.stat().st_mode))


def _sync_folder(folder: Path) -> None:
    """Flush a folder to the disk, so that a rename in it survives a power cut; some file systems cannot do that."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
