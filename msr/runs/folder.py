"""The folder of one run: one process at a time holds it, and every file in it is whole.

It holds ``config.toml`` (what was asked, and with what it was made), ``metrics.jsonl`` (a line now and then while
training), ``rows.jsonl`` (a line for each finished arm), ``checkpoints/``, ``results.json`` (written whole, at the end)
and figures. Each line carries the CRC-32 of its values without the times, so that a damaged line is never read as
another one.
"""

import dataclasses
import json
import math
import os
import socket
import time
import zlib
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import torch
from filelock import FileLock, Timeout

from msr.errors import ConfigError, DataError
from msr.failures import one_line, say
from msr.files.writing import append_line, write_whole
from msr.runs.config import RunConfig
from msr.runs.config_file import read_config
from msr.runs.identity import asked, environment, identity
from msr.runs.processes.group import here
from msr.runs.watching.watch import Watch
from msr.threads import MOST

__all__ = ["Row", "RunFolder", "held", "recorded_threads", "release"]

Row = dict[str, Any]
"""Values by name, as JSON holds them: the results of an arm, or a line of its metrics."""

CHECK = "crc32"
"""The key of a line's checksum."""
TIMES = ("seconds", "data_seconds")
"""Keys that hold wall-clock times: the only values that differ when the same arm is computed again."""

# Default names that are tried for one second: enough for a hundred runs that start together. Chosen by hand.
_NAMES = 100
# How often the name of a folder's holder is read, every 0.02 s: a second in all, for a process that has just taken the
# lock to write its name. Chosen by hand.
_LOOKS = 50

_held: list["RunFolder"] = []


def held() -> Path | None:
    """The folder of the run that this process has opened last and still holds; None where it holds none."""
    return _held[-1].path if _held else None


def release() -> None:
    """Close every run folder that this process holds, so that other processes can open them."""
    while _held:
        _held.pop().close()


def recorded_threads(out: str) -> int:
    """The number of threads that the run in a folder was computed with, in each of as many processes as now.

    It is 0 where that cannot be read, and for another number of processes.
    """
    record = Path(out) / "config.toml"
    if not record.is_file():
        return 0
    try:
        run = read_config(record)[1]
        threads = run.get("threads", 0) if run.get("processes", 1) == here().world else 0
    except (ConfigError, OSError, ValueError):
        return 0  # whoever opens the folder says what is wrong with it
    return threads if type(threads) is int and 1 <= threads <= MOST else 0


class RunFolder:
    """The folder of one run, held by a lock of the operating system until :func:`release` or the end of the process.

    ``rows`` are the results of the finished arms, by the arm's name; ``notes`` are lines on what changed between one
    start and the next; ``watch`` is told what the arm at hand does, and nobody listens outside of
    :func:`~msr.runs.arms.run_arms`. Making one makes the folder if needed, takes the lock, and writes ``config.toml``.

    Of several processes of one run the first alone holds and writes the folder. The others learn its path and its rows,
    and what they write is dropped.

    Args:
        name: of the experiment.
        config: the flags, of which ``out``, ``resume`` and ``force`` say which folder is opened, and how.

    Raises: ConfigError when another process holds the folder, it cannot be written, already holds a run and ``resume``
    was not asked for, or was made with other flags, another version or other data; DataError for damaged files;
    ProcessError where processes of one run read other data, or have other versions or flags.
    """

    def __init__(self, name: str, config: RunConfig):
        self.name, self.config = name, config
        self.notes: list[str] = []
        self.rows: dict[str, Row] = {}
        self.watch = Watch()
        self.identity = identity(name, config)
        self._processes = here()
        self._mutex: FileLock | None = None
        self._processes.require_equal((self.identity, asked(config)), "version, or other data or flags,")
        self.path, self.rows, self.notes = self._processes.told(self._taken)
        _held.append(self)

    def _taken(self) -> tuple[Path, dict[str, Row], list[str]]:
        """Make or find the folder, take its lock and check what it holds; its path, rows and notes."""
        self.path = self._make()
        self._lock()
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        return self.path, self.rows, self.notes

    def checkpoint(self, arm: str) -> Path:
        """The path of an arm's newest checkpoint, whether or not there is a file."""
        return self.path / "checkpoints" / f"{arm}.pt"

    def log(self, **values: Any) -> None:
        """Append the values as a line to ``metrics.jsonl``; among them are ``arm``, its name, and ``step``, a count."""
        if self._processes.first:
            append_line(self.path / "metrics.jsonl", _line(values))

    def metrics(self, arm: str, *, needed: str | None = None) -> list[Row]:
        """The lines of one arm in ``metrics.jsonl``, in order.

        Raises: DataError if ``needed`` is given and none of the lines has that key.
        """
        lines = [line for line in self._metrics() if line["arm"] == arm]
        if needed and not any(needed in line for line in lines):
            raise DataError(
                f"{self.path / 'metrics.jsonl'} has no line of {arm} with {needed}, though it is finished; "
                f"remove its line from rows.jsonl and its checkpoint, and it is trained again with --resume"
            )
        return lines

    def forget_after(self, arm: str, step: int) -> None:
        """Drop an arm's lines of steps after ``step`` from ``metrics.jsonl``: a continued run writes them again."""
        if not self._processes.first:
            return
        kept = [line for line in self._metrics() if line["arm"] != arm or line["step"] <= step]
        self._write("metrics.jsonl", b"".join(_line(line) for line in kept))

    def finish_arm(self, arm: str, row: Row) -> None:
        """Record an arm's result in ``rows`` and ``rows.jsonl``, in place of an earlier one of that arm.

        An arm with a row is not run again on resume.
        """
        rows = {**self.rows, arm: row}
        self._write("rows.jsonl", b"".join(_line({"arm": name, **values}) for name, values in rows.items()))
        self.rows = rows

    def finish(self, **extra: Any) -> Path:
        """Write ``results.json`` and return its path.

        It is the contract that scripts read: experiment, config, environment, hash of the data, notes, rows, and
        ``extra``.
        """
        results = {
            "experiment": self.name,
            "config": dataclasses.asdict(self.config),
            "environment": environment(),
            "data_hash": self.identity["data_hash"],
            "notes": self.notes,
            "rows": list(self.rows.values()),
            **extra,
        }
        self._write("results.json", (json.dumps(results, indent=1, allow_nan=False) + "\n").encode())
        return self.path / "results.json"

    def draw(self, name: str, figure: Any, **how: Any) -> None:
        """Write a figure of matplotlib as PNG to the file ``name`` in the folder; ``how`` goes to its ``savefig``."""
        if self._processes.first:
            write_whole(self.path / name, lambda file: figure.savefig(file, format="png", **how))

    def close(self) -> None:
        """Release the lock, so that another process can open the folder."""
        if self._mutex is not None and self._mutex.is_locked:
            self._holder.unlink(missing_ok=True)
            self._mutex.release()

    def _make(self) -> Path:
        """Make the folder and its ``checkpoints/``, or find the one to continue; its path.

        Raises: ConfigError where there is no run to continue, or the folder cannot be made.
        """
        path = Path(self.config.out or f"runs/{self.name}-{datetime.now():%Y%m%d-%H%M%S}")
        try:
            if self.config.resume:
                if not (path / "config.toml").is_file():
                    raise ConfigError(f"{path} holds no run to continue (no config.toml)")
            elif not self.config.out:
                path = _new_folder(path)
            (path / "checkpoints").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self._refuse_to_write(error, path)
        return path

    def _lock(self) -> None:
        """Take the folder's lock, and write who holds it beside it. Raises: ConfigError where another process has it.

        The system drops the lock when the process ends, so a run that was killed blocks nobody.
        """
        folder = self.path / "checkpoints"
        self._mutex, self._holder = FileLock(folder / ".lock"), folder / ".holder"
        try:
            self._mutex.acquire(timeout=0)
            who = f"{os.getpid()} {socket.gethostname()}"
            # In a folder from elsewhere the file could be a link, and writing would replace what it leads to.
            self._holder.unlink(missing_ok=True)
            write_whole(self._holder, lambda file: file.write(who.encode()))
        except Timeout:
            who = _who(self._holder)
            raise ConfigError(f"{self.path} is in use by {who}; wait for it, end it, or give another --out") from None
        except NotImplementedError:
            raise ConfigError(f"{self.path} is on a file system without locks; give an --out elsewhere") from None
        except OSError as error:
            self.close()
            self._refuse_to_write(error, self.path)

    def _open(self) -> None:
        """Check what the folder holds, remove half-written files, write ``config.toml``, and read the rows.

        Raises: ConfigError for a run that was made with something else or is not to be continued, and for a folder that
        cannot be written; DataError for damaged files.
        """
        record = self.path / "config.toml"
        for entry in (*self.path.iterdir(), *self.path.glob("checkpoints/*")):
            # Reading a pipe would wait for ever.
            if entry.exists() and not (entry.is_file() or entry.is_dir()):
                raise DataError(f"{entry} is a pipe or a device, which no run writes; remove it")
        # Half-written files are from a run that was killed while it wrote: this process holds the folder now.
        for part in (*self.path.glob(".*.part"), *self.path.glob("checkpoints/.*.part")):
            part.unlink(missing_ok=True)
        if self.config.resume:
            self._compare(record)
        elif record.exists():
            raise ConfigError(f"{self.path} already holds a run; continue it with --resume, or give another --out")
        elif rest := [name for name in ("rows.jsonl", "metrics.jsonl", "results.json") if (self.path / name).exists()]:
            raise ConfigError(f"{self.path} holds {rest[0]} of a run, but no config.toml; give another --out")
        try:
            self._write("config.toml", self._toml().encode())
        except OSError as error:
            self._refuse_to_write(error, self.path)
        for line in self._lines("rows.jsonl", {"arm": str}, "remove this line, and --resume trains its arm again"):
            self.rows[line.pop("arm")] = line

    def _toml(self) -> str:
        """The content of ``config.toml``, whose strings, numbers, booleans and lists are written as in JSON."""
        run = self.identity | {"torch": str(torch.__version__), **self._computed_with(), "notes": self.notes}
        lines = [f"{key} = {json.dumps(value)}" for key, value in asked(self.config).items()]
        lines += ["", "[run]", *(f"{key} = {json.dumps(value)}" for key, value in run.items())]
        content = "\n".join(lines) + "\n"
        return f"{content}{CHECK} = {json.dumps(_crc(content.encode()))}\n"

    def _compare(self, record: Path) -> None:
        """Raise ConfigError for a run that was made with other flags, version, format or data; note what else differs.

        With ``--force`` only other flags, and another experiment, are refused. What differs is added to ``notes``,
        after those of the ``config.toml`` at ``record``, and shown on stderr.
        """
        flags, run = read_config(record)
        self._compare_flags(flags)
        before = {key: run.get(key) for key in self.identity}
        changed = [
            f"{key} was {before[key]!r} and is {value!r}"
            for key, value in self.identity.items()
            if before[key] != value
        ]
        if not run:
            changed = ["an earlier version, whose config.toml has no [run]"]
        if before["experiment"] not in (None, self.name):
            raise ConfigError(f"{self.path} is a run of {one_line(str(before['experiment']))}, not of {self.name}")
        if changed and not self.config.force:
            raise ConfigError(
                f"{self.path} was made with something else: {', '.join(changed)}; "
                f"continue it as it was, give another --out, or --force to mix them"
            )
        content, _, check = record.read_bytes().rpartition(f"{CHECK} = ".encode())
        if check.decode().strip() != json.dumps(_crc(content)):
            if not self.config.force:
                raise ConfigError(f"{record} was changed after it was written; restore it, or give another --out")
            changed.append("config.toml was changed after it was written")
        notes = run.get("notes", [])
        self.notes = [str(note) for note in notes] if isinstance(notes, list) else []
        self.notes += [f"forced: {change}" for change in changed]
        for key, value in {**self._computed_with(), "torch": str(torch.__version__)}.items():
            if run.get(key) not in (None, value):
                self.notes.append(f"{key} was {run[key]} and is {value}: last digits may differ")
        for note in self.notes[len(notes) if isinstance(notes, list) else 0 :]:
            say(one_line(f"warning: {self.path}: {note}", [self.path]))

    def _computed_with(self) -> dict[str, int]:
        """The threads of each process, and the processes, on which the last digits depend."""
        return {"threads": torch.get_num_threads(), "processes": self._processes.world}

    def _compare_flags(self, before: dict[str, Any]) -> None:
        """Raise ConfigError for the first flag that differs from ``before``, the flags that the folder was run with."""
        now = asked(self.config)
        for key, value in now.items():
            if before.get(key) != value or type(before.get(key)) is not type(value):
                was = json.dumps(before[key]) if key in before else "not set"
                raise ConfigError(
                    f"{self.path} was run with {key} = {was}, not {json.dumps(value)}; give the same flags to resume"
                )
        for key in before:
            if key not in now:
                raise ConfigError(
                    f"{self.path} was run with {key} = {json.dumps(before[key])}, which is no flag of {self.name} now; "
                    f"give another --out"
                )

    def _metrics(self) -> list[Row]:
        """The lines of all arms in ``metrics.jsonl``, in order. Raises: DataError for a damaged one."""
        kinds = {"arm": str, "step": int}
        return self._lines("metrics.jsonl", kinds, "remove this line: only its point of the curve is lost")

    def _lines(self, name: str, kinds: dict[str, type], remedy: str) -> list[Row]:
        """The values of each whole line of the file ``name``; an empty list where there is no file.

        Args:
            kinds: keys that each line must have, with the type of their values.
            remedy: what to do about a damaged line, for messages.

        Raises: DataError for a line that is damaged or lacks such a key.
        """
        path = self.path / name
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return []
        # What follows the last line break was being written by a run that was killed.
        lines = content.split(b"\n")[:-1]
        return [_values(line, kinds, f"{path}, line {number}", remedy) for number, line in enumerate(lines, 1)]

    def _write(self, name: str, content: bytes) -> None:
        """Write the file ``name`` of the folder, whole or not at all; the first process does."""
        if not self._processes.first:
            return
        write_whole(self.path / name, lambda file: file.write(content))

    def _refuse_to_write(self, error: OSError, path: Path) -> NoReturn:
        """Raise the ConfigError of a folder that cannot be written."""
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}; give another --out") from None


def _new_folder(path: Path) -> Path:
    """Make a folder of this name, or of the first free one with a number, since two runs may start in one second.

    Returns its path. Raises: ConfigError where 99 such names are taken.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for i in range(1, _NAMES):
        new = path if i == 1 else path.with_name(f"{path.name}-{i}")
        try:
            new.mkdir()
            return new
        except FileExistsError:
            continue
    raise ConfigError(f"{path} and {_NAMES - 1} folders like it are there already; give --out")


def _who(holder: Path) -> str:
    """Who holds a folder, in words: ``process 12 on HOST``, from the file that a process writes once it has the lock.

    A killed process leaves its file there. A file that names no living process of this machine is therefore read again
    for a second, in which its new holder may replace it; after that the answer is ``another process``.
    """
    for _ in range(_LOOKS):
        try:
            pid, _, host = holder.read_text().partition(" ")
            if host != socket.gethostname() or _is_alive(int(pid)):
                return f"process {int(pid)} on {one_line(host)}"
        except (OSError, ValueError):
            pass  # not written yet, or being written
        time.sleep(0.02)
    return "another process"


def _is_alive(pid: int) -> bool:
    """Whether a process of this number exists on this machine; signal 0 asks without doing anything."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True  # a process of another user
    return True


def _line(values: Row) -> bytes:
    """A line of a ``.jsonl`` file, with its checksum."""
    return (json.dumps({**values, CHECK: _crc(_canonical(values))}, allow_nan=False) + "\n").encode()


def _values(line: bytes, kinds: dict[str, type], where: str, remedy: str) -> Row:
    """The values of a line of a ``.jsonl`` file, without its checksum.

    Args:
        kinds: keys that the line must have, with the type of their values.
        where: the line's place, and ``remedy``, what to do, for messages.

    Raises: DataError for a line that is no JSON object, does not agree with its checksum, or lacks such a key.
    """
    try:
        values = json.loads(line.decode())
    except UnicodeDecodeError:
        raise DataError(f"{where}: its bytes are no text (UTF-8); {remedy}") from None
    except (ValueError, RecursionError):
        raise DataError(f"{where}: is no JSON; {remedy}") from None
    if not isinstance(values, dict) or CHECK not in values:
        raise DataError(f"{where}: is no object with a {CHECK}; {remedy}")
    if values.pop(CHECK) != _crc(_canonical(values)):
        raise DataError(f"{where}: is not what was written (its {CHECK} differs); {remedy}")
    for key, kind in kinds.items():
        if type(values.get(key)) is not kind:
            raise DataError(f"{where}: has no {key}; {remedy}")
    return values


def _canonical(values: Row) -> bytes:
    """The bytes that a line's checksum is of: sorted keys, and no times."""
    return json.dumps(_computed(values), sort_keys=True).encode()


def _computed(value: Any) -> Any:
    """The values with each time, at any depth, replaced by a word: times alone differ when an arm is computed again."""
    if isinstance(value, dict):
        return {k: _time(v) if k in TIMES else _computed(v) for k, v in value.items()}
    return [_computed(v) for v in value] if isinstance(value, list) else value


def _time(value: Any) -> str:
    """``a time`` for a finite number that is not negative; any other value as text, so that it changes the checksum."""
    return "a time" if type(value) in (int, float) and 0 <= value < math.inf else repr(value)


def _crc(content: bytes) -> str:
    """The CRC-32 of some bytes, as 8 hexadecimal digits."""
    return f"{zlib.crc32(content):08x}"
