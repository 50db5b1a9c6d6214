"""The one reader of ``.npy`` and ``.npz`` files and of zips, which trusts nothing that a file states of itself.

Every member is read to its end, so that its checksum is compared. Sizes are compared with the file, and with free
memory, before anything of that size is made. No reader that could run code is called. Whatever NumPy and zipfile raise
for a damaged file becomes one DataError that names file and member.
"""

import errno
import hashlib
import io
import math
import os
import stat
import warnings
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO, NamedTuple

import numpy as np

from msr.errors import DataError, MSRError, first_line
from msr.memory import readable_size, refuse_if_larger
from msr.printable import printable

__all__ = ["ZipMembers", "npz_names", "read_npy", "read_npz", "shape_of"]

_CHUNK = 1 << 20  # bytes that are read at once
_HEADER = 1 << 14  # bytes; NumPy reads headers of at most 10,000 letters
_MOST_AXES = 32  # as many as every version of NumPy accepts
# A member that unpacks to more than so many bytes, and to more than so many times its own, is taken for a zip bomb.
# Both were chosen by hand; deflate compresses at most 1032 to 1, which is how a bomb is made.
_MOST_DENSE = 256 * 10**6
_MOST_RATIO = 200
# The record at the end of a zip file: its length without a comment, and the mark that it begins with (APPNOTE 4.3.16).
_END = 22
_END_MARK = b"PK\5\6"
_NO_COUNT = 2**16 - 1  # stands for a number of members that needs more than 16 bits (zip64)
_NEW_ARRAY = "write it again with numpy.save"
_NEW_ARCHIVE = "write it again with numpy.savez"


def read_npy(path: Path) -> np.ndarray:
    """The array of a ``.npy`` file: numbers or text.

    Such files hold no checksum: only their form and size are compared with what their header states.
    Raises: DataError naming the file, and what is wrong with it.
    """
    broken = f"{path} is not a whole .npy file"
    with _opened(path, "a whole .npy file") as file, _errors(broken, str(path), _NEW_ARRAY):
        size = os.fstat(file.fileno()).st_size
        header = _header(file, size, str(path), broken, _NEW_ARRAY)
        file.seek(header.length)
        return _read(file, header, str(path))


def shape_of(path: Path, name: str | None = None) -> tuple[int, ...]:
    """The shape of the array in a ``.npy`` file, or of the array ``name`` in a ``.npz``, from its header alone.

    Args:
        name: of the array, without ``.npy``; None for a ``.npy`` file, which holds one array.

    Raises: DataError naming the file, and what is wrong with it, such as an array that is not there.
    """
    if name is not None:
        with ZipMembers(path, "a whole .npz file", _NEW_ARCHIVE) as members:
            return members.shape(f"{name}.npy", f"{path}: array {name!r}")
    broken = f"{path} is not a whole .npy file"
    with _opened(path, "a whole .npy file") as file, _errors(broken, str(path), _NEW_ARRAY):
        return _header(file, os.fstat(file.fileno()).st_size, str(path), broken, _NEW_ARRAY).shape


def npz_names(path: Path) -> list[str]:
    """Names of all members of a ``.npz`` file, in its order, without the ending ``.npy`` that arrays have.

    Raises: DataError for what is no whole zip file.
    """
    with ZipMembers(path, "a whole .npz file", _NEW_ARCHIVE) as members:
        return [name.removesuffix(".npy") for name in members.names]


def read_npz(path: Path, names: Collection[str], *, mapped: bool = False) -> dict[str, np.ndarray]:
    """The arrays of these names in a ``.npz`` file, numbers or text; names that it does not hold are left out.

    Further members are not read, though their headers are checked. Each array is compared with its checksum. With
    ``mapped``, arrays stored without compression are read through once for that, and then stay on the disk: they are
    returned as read-only ``numpy.memmap``.
    Raises: DataError naming the file, the array, what is wrong with it, and what to do.
    """
    arrays = {}
    with ZipMembers(path, "a whole .npz file", _NEW_ARCHIVE) as members:
        for name in members.names:
            array = name.removesuffix(".npy")
            if name.endswith(".npy") and array in names:
                arrays[array] = members.array(name, f"{path}: array {array!r}", mapped=mapped)
    return arrays


class ZipMembers:
    """The members of a zip file, each read whole or refused: a context manager.

    Args:
        path: of the file.
        kind: what the file should be, for messages.
        remedy: what to do where it is something else, for messages.

    Attributes:
        names: of the members, in the order of the archive, without folders.

    Raises: DataError naming file and member: for what is no zip file; and for a member that is listed twice, is
    encrypted or damaged, is compressed by another method than deflate, has another size than it states, or would not
    fit into memory.
    """

    def __init__(self, path: Path, kind: str, remedy: str) -> None:
        self.path = path
        self.kind = kind
        self.remedy = remedy

    def __enter__(self) -> "ZipMembers":
        self._file = _opened(self.path, self.kind)
        try:
            with self._errors_of_file():
                self._size = os.fstat(self._file.fileno()).st_size
                self._zip = zipfile.ZipFile(self._file)
                self._entries = self._checked_entries()
        except BaseException:
            self._file.close()
            raise
        self.names = list(self._entries)
        return self

    def __exit__(self, *error: object) -> None:
        self._zip.close()
        self._file.close()

    def content(self, name: str) -> bytes:
        """The unpacked bytes of a member. Raises: KeyError for a name that is none; DataError as the class says."""
        entry = self._entries[name]
        what = f"{self.path}: entry '{printable(name)}'"
        with self._errors_of_member(what):
            self._refuse_unbelievable(entry, what)
            refuse_if_larger(entry.file_size, what, advice="leave it out of the file")
            with self._zip.open(entry) as file:
                return file.read()

    def sha256(self) -> str:
        """SHA-256 of the whole zip file, as 64 hexadecimal digits. Raises: DataError where it cannot be read."""
        digest = hashlib.sha256()
        with self._errors_of_file():
            self._file.seek(0)
            while piece := self._file.read(_CHUNK):
                digest.update(piece)
        return digest.hexdigest()

    def shape(self, name: str, what: str) -> tuple[int, ...]:
        """The shape of the array in a member that is a ``.npy``, from its header alone.

        Args:
            name: of the member, with ``.npy``.
            what: the member's name for messages.

        Raises: DataError where there is no member of that name, or it is damaged or no array.
        """
        if name not in self._entries:
            raise DataError(f"{what} is not there")
        entry = self._entries[name]
        with self._errors_of_member(what), self._zip.open(entry) as file:
            return _header(file, entry.file_size, what, f"{what} is not a NumPy array", self.remedy).shape

    def array(self, name: str, what: str, *, mapped: bool = False) -> np.ndarray:
        """The array of a member that is a ``.npy``, in memory, once its checksum was compared.

        Args:
            name: of the member, with ``.npy``.
            what: the member's name for messages.
            mapped: leave an array that is stored without compression on the disk, and return it as a read-only
                ``numpy.memmap``; any other array is read into memory all the same.

        Raises: KeyError for a name that is no member; DataError as the class says.
        """
        entry = self._entries[name]
        with self._errors_of_member(what):
            self._refuse_unbelievable(entry, what)
            with self._zip.open(entry) as file:
                header = _header(file, entry.file_size, what, f"{what} is not a NumPy array", self.remedy)
            if not mapped or entry.compress_type != zipfile.ZIP_STORED or not header.size:
                with self._zip.open(entry) as file:
                    file.read(header.length)
                    array = _read(file, header, what)
                    file.read(1)  # zipfile compares the checksum when the end of the member is reached
                return array
            # Reading through to the end compares the checksum, which a map of the file would not.
            with self._zip.open(entry) as file:
                while file.read(_CHUNK):
                    pass
            start = self._start(entry) + header.length
            order = "F" if header.fortran else "C"
            return np.memmap(self._file, header.dtype, "r", offset=start, shape=header.shape, order=order)  # type: ignore[call-overload]

    def _checked_entries(self) -> dict[str, zipfile.ZipInfo]:
        """All members but folders, by name; each is opened once, so that zipfile compares its name with its header's.

        Raises: DataError for a list of members that is not whole, and for a member that is listed twice, is encrypted,
        is compressed by another method than deflate, or does not agree with its header.
        """
        entries: dict[str, zipfile.ZipInfo] = {}
        listed = len(self._zip.infolist())
        stated = self._stated_count()
        if stated not in (listed % 2**16, _NO_COUNT):
            raise DataError(
                f"{self.path} is not {self.kind} (its list of {stated} members holds {listed}); {self.remedy}"
            )
        for entry in self._zip.infolist():
            what = f"{self.path}: entry '{printable(entry.filename)}'"
            if entry.filename in entries:
                raise DataError(f"{what} is there twice, and it is not known which one is meant; {self.remedy}")
            if entry.flag_bits & 1:
                raise DataError(f"{what} is encrypted; write the file again without a password")
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                # Python's readers of bzip2 and LZMA unpack a whole block at once, however large that is.
                raise DataError(
                    f"{what} is compressed by method {entry.compress_type}, which is not read, only 0 (stored) and 8 "
                    f"(deflate) are; {self.remedy}"
                )
            with self._errors_of_member(what), self._zip.open(entry):
                entries[entry.filename] = entry
        return {name: entry for name, entry in entries.items() if not entry.is_dir()}

    def _stated_count(self) -> int:
        """The number of members, modulo 2^16, that the end of the file states; zipfile does not compare it.

        It shows a kind of damage that zipfile misses: if the length of a member's comment has grown, the entries after
        it are read as part of that comment and are gone from the list.
        """
        self._file.seek(max(0, self._size - _END - 2**16))
        tail = self._file.read()
        # A comment on the whole file may follow, and may hold the same mark. Like zipfile, first assume that there is
        # none.
        no_comment = tail[-_END:].startswith(_END_MARK) and tail.endswith(b"\0\0")
        start = len(tail) - _END if no_comment else tail.rindex(_END_MARK)
        return int.from_bytes(tail[start + 10 : start + 12], "little")

    def _refuse_unbelievable(self, entry: zipfile.ZipInfo, what: str) -> None:
        """Raise DataError for sizes that the file cannot hold, or that only a zip bomb has."""
        packed = entry.compress_size
        size = entry.file_size
        stored = entry.compress_type == zipfile.ZIP_STORED
        if self._start(entry) + packed > self._size or (stored and packed != size):
            raise DataError(f"{what} is damaged: it ends before it is whole; {self.remedy}")
        if size > _MOST_DENSE and size > _MOST_RATIO * packed:
            raise DataError(
                f"{what} is {readable_size(packed)} that stand for {readable_size(size)}, as in a file that is made to "
                "fill memory; if it is yours, write it again without compression"
            )

    def _start(self, entry: zipfile.ZipInfo) -> int:
        """The offset in the zip file, in bytes, at which a member's packed content begins.

        That is after its local header: 30 bytes, its name, and an extra field of its own length.
        """
        self._file.seek(entry.header_offset)
        local = self._file.read(30)
        lengths = int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little")
        return entry.header_offset + 30 + lengths

    @contextmanager
    def _errors_of_file(self) -> Iterator[None]:
        """Within the block, whatever a reader raises becomes a DataError that says the whole file is at fault."""
        with _errors(f"{self.path} is not {self.kind}", str(self.path), self.remedy):
            yield

    @contextmanager
    def _errors_of_member(self, what: str) -> Iterator[None]:
        """Within the block, whatever a reader raises becomes a DataError that says the member ``what`` is damaged."""
        with _errors(f"{what} is damaged", what, self.remedy):
            yield


class _Header(NamedTuple):
    """What the header of a ``.npy`` states, and ``length``, the number of bytes that the header itself takes.

    ``fortran`` says whether the first axis varies fastest in the file, and not the last.
    """

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype
    length: int

    @property
    def size(self) -> int:
        """The number of entries of the array."""
        return math.prod(self.shape)


def _header(file: IO[bytes], size: int, what: str, broken: str, remedy: str) -> _Header:
    """The header of a ``.npy`` file or member, read from its start and checked.

    Args:
        file: open at its start; it is read beyond the header.
        size: bytes of the whole file or member, header included.
        what, broken, remedy: texts for messages, as in :func:`_errors`.

    Raises: DataError unless header and entries take exactly ``size`` bytes, and the entries are numbers or text.
    """
    start = io.BytesIO(file.read(_HEADER))  # no more than that, whatever length the header states of itself
    if not start.getvalue().startswith(np.lib.format.MAGIC_PREFIX):
        raise DataError(f"{broken} (it does not begin as one); {remedy}")
    with _errors(broken, what, remedy), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy warns of files by Python 2 and of odd letters in a damaged header
        version = np.lib.format.read_magic(start)
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(start)
        elif version in ((2, 0), (3, 0)):  # both have one form; they differ in the letters of names of fields
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(start)
        else:
            raise ValueError(f"format version {version} is not known")
    if dtype.hasobject:
        raise DataError(f"{what} holds Python objects, which are refused; save it as numbers")
    if dtype.kind not in "biufcSU" or dtype.itemsize == 0:
        raise DataError(f"{what} holds {_cut(str(dtype))}; numbers are needed")
    if len(shape) > _MOST_AXES or any(isinstance(n, bool) or not 0 <= n < 2**63 for n in shape):
        raise DataError(f"{broken} (its {len(shape)} sizes are no shape of an array); {remedy}")
    header = _Header(shape, fortran, dtype, start.tell())
    wanted = header.length + header.size * dtype.itemsize
    if wanted != size:
        relation = "ends before" if wanted > size else "goes on after"
        counts = f"it has {size} bytes, not {_cut(str(wanted))}"
        raise DataError(f"{what} {relation} its {_cut(str(shape))} numbers do ({counts}); {remedy}")
    return header


def _read(file: IO[bytes], header: _Header, what: str) -> np.ndarray:
    """The array whose entries follow the header, read into memory from a ``file`` that stands where the header ends.

    ``header`` was compared with the size of the file before. Raises: DataError where the array is larger than free
    memory; EOFError where the file ends early.
    """
    shape, fortran, dtype, _ = header
    size = header.size * dtype.itemsize
    refuse_if_larger(size, what, advice="give a smaller one, or use a machine with more memory")
    flat = np.empty(header.size, dtype)
    target = flat.view(np.uint8) if size else flat  # an array of no numbers has no view
    place = 0
    while place < size:
        n = file.readinto(target[place : place + _CHUNK])  # type: ignore[attr-defined]
        if not n:
            raise EOFError("the file ended early")
        place += n
    return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)


def _opened(path: Path, kind: str) -> BinaryIO:
    """A regular file, open for reading bytes. Raises: DataError for what is none; it asks for ``kind`` instead."""
    with _errors(f"{path} cannot be read", str(path), "give another file"):
        try:
            mode = path.stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            raise DataError(f"{path}: no such file; give {kind}") from None
        if not stat.S_ISREG(mode):
            raise DataError(f"{path} is a folder or a device; give {kind}")
        return path.open("rb")


@contextmanager
def _errors(broken: str, what: str, remedy: str) -> Iterator[None]:
    """Turn whatever readers raise inside the block into one DataError; an MSRError passes as it is.

    A failing disk or a missing permission is reported as such and not as damage: a new copy of the file would not help.

    Args:
        broken: the message for a damaged file; what: the name for other messages; remedy: what to do about damage.
    """
    try:
        yield
    except MSRError:
        raise
    except MemoryError as error:
        raise DataError(f"{what} needs more memory than there is; give fewer tasks") from error
    except OSError as error:
        # Seeking to where a damaged file points raises EINVAL, which is damage and no failure of the system.
        if error.errno not in (None, errno.EINVAL):
            raise DataError(f"{what} cannot be read: {error.strerror}") from error
        raise DataError(f"{broken} ({_reason(error)}); {remedy}") from error
    except Exception as error:  # the readers of zip and NumPy raise a dozen kinds for damaged files
        raise DataError(f"{broken} ({_reason(error)}); {remedy}") from error


def _reason(error: Exception) -> str:
    """The first line of an error's message, cut after 120 characters."""
    return _cut(" ".join(first_line(error).split()), 120)


def _cut(text: str, most: int = 60) -> str:
    """The text, or its first ``most`` characters and " …" where it is longer."""
    return text if len(text) <= most else f"{text[:most]} …"
