"""The folder of one run: one process at a time holds it, and every file in it is whole.

It holds ``config.toml`` (what was asked, and with what it was made), ``metrics.jsonl`` (a line now and then while
training), ``rows.jsonl`` (a line for each finished arm), ``checkpoints/``, ``results.json`` (written whole, at the end)
and figures. Each line carries the CRC-32 of what it says, times aside, so that a damaged one is never read as another.
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
from msr.runs.config import CommonConfig, read_config
from msr.runs.identity import asked, environment, identity
from msr.threads import MOST

__all__ = ["Row", "RunFolder", "held", "recorded_threads", "release"]

Row = dict[str, Any]

CHECK = "crc32"
TIMES = ("seconds", "data_seconds")
_NAMES = 100  # default names tried in one second
_LOOKS = 50  # at who holds a folder, in a second

_held: list["RunFolder"] = []


def held() -> Path | None:
    """The run that this process has opened last and still holds."""
    return _held[-1].path if _held else None


def release() -> None:
    """Let others have every run that this process holds."""
    while _held:
        _held.pop().close()


def recorded_threads(out: str) -> int:
    """The number of threads that the run in a folder was computed with; 0 where that cannot be read."""
    record = Path(out) / "config.toml"
    if not record.is_file():
        return 0
    try:
        threads = read_config(record)[1].get("threads", 0)
    except (ConfigError, OSError, ValueError):
        return 0  # whoever opens the folder says what is wrong with it
    return threads if type(threads) is int and 1 <= threads <= MOST else 0


class RunFolder:
    """The folder of one run, held by a lock of the operating system until :func:`release` or the end of the process.

    ``rows`` are the finished arms, by name; ``notes`` are lines on what changed between one start and the next.
    Raises: ConfigError when another process holds the folder, it cannot be written, already holds a run and ``resume``
    was not asked for, or was made with other flags, another version or other data; DataError for damaged files.
    """

    def __init__(self, name: str, config: CommonConfig):
        self.name, self.config = name, config
        self.notes: list[str] = []
        self.rows: dict[str, Row] = {}
        self.identity = identity(name, config)
        self.path = self._make()
        self._lock()
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        _held.append(self)

    def checkpoint(self, arm: str) -> Path:
        """Where an arm's checkpoint lives."""
        return self.path / "checkpoints" / f"{arm}.pt"

    def log(self, **values: Any) -> None:
        """Append a line to ``metrics.jsonl``."""
        append_line(self.path / "metrics.jsonl", _line(values))

    def metrics(self, arm: str, *, needed: str | None = None) -> list[Row]:
        """The lines of one arm. Raises: DataError if none has the value that is ``needed``."""
        found = [line for line in self._metrics() if line["arm"] == arm]
        if needed and not any(needed in line for line in found):
            raise DataError(
                f"{self.path / 'metrics.jsonl'} has no line of {arm} with {needed}, though it is finished; "
                f"remove its line from rows.jsonl and its checkpoint, and it is trained again with --resume"
            )
        return found

    def forget_after(self, arm: str, step: int) -> None:
        """Drop an arm's lines past a step: a continued run writes them again."""
        kept = [m for m in self._metrics() if m["arm"] != arm or m["step"] <= step]
        self._write("metrics.jsonl", b"".join(_line(m) for m in kept))

    def finish_arm(self, arm: str, row: Row) -> None:
        """Record an arm's result; it is not run again on resume."""
        rows = {**self.rows, arm: row}
        self._write("rows.jsonl", b"".join(_line({"arm": name, **values}) for name, values in rows.items()))
        self.rows = rows

    def finish(self, **extra: Any) -> Path:
        """Write ``results.json``, the contract that scripts read: experiment, config, environment, rows."""
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
        """Write a figure."""
        write_whole(self.path / name, lambda file: figure.savefig(file, format="png", **how))

    def close(self) -> None:
        """Let others have the folder."""
        if self._mutex.is_locked:
            self._holder.unlink(missing_ok=True)
            self._mutex.release()

    def _make(self) -> Path:
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
        """Take the folder's lock. The system drops it when the process ends, so a run that was killed blocks nobody."""
        folder = self.path / "checkpoints"
        self._mutex, self._holder = FileLock(folder / ".lock"), folder / ".holder"
        try:
            self._mutex.acquire(timeout=0)
            who = f"{os.getpid()} {socket.gethostname()}"
            self._holder.unlink(missing_ok=True)  # were it a link, what it leads to would be written over
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
        record = self.path / "config.toml"
        for one in (*self.path.iterdir(), *self.path.glob("checkpoints/*")):
            if one.exists() and not (one.is_file() or one.is_dir()):  # reading a pipe would wait for ever
                raise DataError(f"{one} is a pipe or a device, which no run writes; remove it")
        for part in (*self.path.glob(".*.part"), *self.path.glob("checkpoints/.*.part")):
            part.unlink(missing_ok=True)  # of a run that was killed while it wrote; no other writes here now
        if self.config.resume:
            self._compare(record)
        elif record.exists():
            raise ConfigError(f"{self.path} already holds a run; continue it with --resume, or give another --out")
        elif left := [name for name in ("rows.jsonl", "metrics.jsonl", "results.json") if (self.path / name).exists()]:
            raise ConfigError(f"{self.path} holds {left[0]} of a run, but no config.toml; give another --out")
        try:
            self._write("config.toml", self._toml().encode())
        except OSError as error:
            self._refuse_to_write(error, self.path)
        for line in self._lines("rows.jsonl", {"arm": str}, "remove this line, and --resume trains its arm again"):
            self.rows[line.pop("arm")] = line

    def _toml(self) -> str:
        """Strings, numbers, booleans and lists of them are written alike in JSON and TOML."""
        run = self.identity | {"torch": str(torch.__version__), "threads": torch.get_num_threads(), "notes": self.notes}
        lines = [f"{key} = {json.dumps(value)}" for key, value in asked(self.config).items()]
        lines += ["", "[run]", *(f"{key} = {json.dumps(value)}" for key, value in run.items())]
        content = "\n".join(lines) + "\n"
        return f"{content}{CHECK} = {json.dumps(_crc(content.encode()))}\n"

    def _compare(self, record: Path) -> None:
        """Refuse a run that was not made with the same; note what may be another."""
        flags, run = read_config(record)
        now = asked(self.config)
        for key in [*now, *(key for key in flags if key not in now)]:
            if flags.get(key) != now.get(key) or type(flags.get(key)) is not type(now.get(key)):
                was, is_now = (json.dumps(d[key]) if key in d else "not set" for d in (flags, now))
                raise ConfigError(
                    f"{self.path} was run with {key} = {was}, not {is_now}; give the same flags to resume"
                )
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
        for key, value in (("threads", torch.get_num_threads()), ("torch", str(torch.__version__))):
            if run.get(key) not in (None, value):
                self.notes.append(f"{key} was {run[key]} and is {value}: last digits may differ")
        for note in self.notes[len(notes) if isinstance(notes, list) else 0 :]:
            say(one_line(f"warning: {self.path}: {note}", [self.path]))

    def _metrics(self) -> list[Row]:
        kinds = {"arm": str, "step": int}
        return self._lines("metrics.jsonl", kinds, "remove this line: only its point of the curve is lost")

    def _lines(self, name: str, kinds: dict[str, type], remedy: str) -> list[Row]:
        """The lines of a file, none where there is none. Raises: DataError."""
        path = self.path / name
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return []
        # What follows the last end of a line is of a run that was killed while it wrote.
        lines = content.split(b"\n")[:-1]
        return [_values(line, kinds, f"{path}, line {number}", remedy) for number, line in enumerate(lines, 1)]

    def _write(self, name: str, content: bytes) -> None:
        write_whole(self.path / name, lambda file: file.write(content))

    def _refuse_to_write(self, error: OSError, path: Path) -> NoReturn:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}; give another --out") from None


def _new_folder(path: Path) -> Path:
    """A folder of this name, or of the first free one with a number: two runs may start in the same second."""
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
    """Who holds a folder, from the file that a process writes just after it took the lock.

    A killed process leaves its file there, so one that names no living process is waited for to be replaced.
    """
    for _ in range(_LOOKS):
        try:
            pid, _, host = holder.read_text().partition(" ")
            if host != socket.gethostname() or _is_alive(int(pid)):
                return f"process {int(pid)} on {one_line(host)}"
        except (OSError, ValueError):
            pass
        time.sleep(0.02)
    return "another process"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True  # of another user
    return True


def _line(values: Row) -> bytes:
    return (json.dumps({**values, CHECK: _crc(_canonical(values))}, allow_nan=False) + "\n").encode()


def _values(line: bytes, kinds: dict[str, type], where: str, remedy: str) -> Row:
    """What a line says, if it is what was written. Raises: DataError that says where it stands, and what to do."""
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
    return json.dumps(_computed(values), sort_keys=True).encode()


def _computed(value: Any) -> Any:
    """All but how long it took, which is the one thing that differs when the same is computed again."""
    if isinstance(value, dict):
        return {k: _time(v) if k in TIMES else _computed(v) for k, v in value.items()}
    return [_computed(v) for v in value] if isinstance(value, list) else value


def _time(value: Any) -> str:
    return "a time" if type(value) in (int, float) and 0 <= value < math.inf else repr(value)


def _crc(content: bytes) -> str:
    return f"{zlib.crc32(content):08x}"
