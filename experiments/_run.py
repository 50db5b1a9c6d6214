"""What every runner shares: a frozen dataclass in, a folder out, and a way to continue.

A run's folder holds ``config.toml`` (what was asked), ``metrics.jsonl`` (a line now and then while training),
``rows.jsonl`` (a line for each finished arm), ``checkpoints/``, ``results.json`` (written whole, at the end) and
figures.
"""

import argparse
import contextlib
import dataclasses
import json
import math
import os
import platform
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import torch

from msr.errors import ConfigError, MSRError
from msr.meta import SGD
from msr.meta.adapters import load
from msr.version import __version__

__all__ = ["CommonConfig", "EngineConfig", "RunFolder", "chosen", "main", "numbers", "option"]

Row = dict[str, Any]


def option(default: Any, help: str) -> Any:
    """A field of a config with the help text of its flag."""
    return dataclasses.field(default=default, metadata={"help": help})


@dataclasses.dataclass(frozen=True)
class CommonConfig:
    """Flags that every runner has."""

    out: str = option("", "folder to write; default runs/NAME-TIME")
    seed: int = option(0, "first seed")
    seeds: int = option(1, "how many seeds, counted from the first")
    device: str = option("cpu", "cpu, cuda, cuda:1, ...")
    data: str = option("", "a file or folder to read instead of making data")
    batching: str = option("auto", "tasks side by side or one by one: auto (times both), vmap, loop")
    chunk_size: int = option(0, "most tasks in memory at a time when side by side; 0: all of the batch")
    resume: bool = option(False, "continue the run in --out")
    quick: bool = option(False, "a few steps of everything, to see that it works; no result")
    checkpoint_seconds: float = option(20.0, "seconds between checkpoints; 0: one after every step")
    keep_checkpoints: int = option(2, "newest checkpoints to keep of each arm; the best is kept besides")
    on_divergence: str = option("stop", "an arm that diverges: stop it, or rollback (half the rate, three times)")
    force: bool = option(False, "continue from checkpoints of another version or config, and say so")

    def check(self) -> None:
        """Raise ConfigError for a value that cannot work."""
        self.at_least(seeds=1, keep_checkpoints=1)
        if self.batching not in ("auto", "vmap", "loop"):
            raise ConfigError(f"--batching must be auto, vmap or loop; came {self.batching!r}")
        if self.chunk_size < 0:
            raise ConfigError(f"--chunk-size must not be negative; came {self.chunk_size}")
        if not 0 <= self.checkpoint_seconds < math.inf:
            raise ConfigError(f"--checkpoint-seconds must be finite and at least 0; came {self.checkpoint_seconds}")
        if self.on_divergence not in ("stop", "rollback"):
            raise ConfigError(f"--on-divergence must be stop or rollback; came {self.on_divergence!r}")
        if self.resume and not self.out:
            raise ConfigError("--resume needs --out DIR, the folder of the run to continue")
        try:
            device = torch.device(self.device)
            torch.empty(1, device=device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(f"--device {self.device} cannot be used here: {reason}") from None

    def at_least(self, **least: int) -> None:
        """Raise ConfigError for a count that is smaller."""
        for name, value in least.items():
            if getattr(self, name) < value:
                raise ConfigError(f"--{name.replace('_', '-')} must be at least {value}; came {getattr(self, name)}")

    def leave(self, *names: str, because: str) -> None:
        """Raise ConfigError for a flag that was set, and would change nothing."""
        for field in dataclasses.fields(self):
            if field.name in names and getattr(self, field.name) != field.default:
                raise ConfigError(f"--{field.name.replace('_', '-')} {because}")


@dataclasses.dataclass(frozen=True)
class EngineConfig(CommonConfig):
    """Flags of a runner whose gradient steps another library may take."""

    engine: str = option("torch", "library that takes the gradient steps: torch (this package), higher, learn2learn")

    def check(self) -> None:
        """Raise ConfigError for a value that cannot work, MissingExtraError for a library that is not there."""
        super().check()
        load(self.engine, SGD())  # type: ignore[arg-type]
        if self.engine != "torch" and self.batching == "vmap":
            raise ConfigError(f"--engine {self.engine} runs tasks one by one; --batching vmap needs --engine torch")


Config = TypeVar("Config", bound=CommonConfig)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, not the usage first: the same shape as every other error of a runner."""
        self.exit(2, f"error: {message} (see --help)\n")


def chosen(text: str, known: tuple[str, ...], what: str) -> list[str]:
    """A comma list from the command line, checked against the names that exist; no name twice."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise ConfigError(f"unknown {what} {name!r}; known: {', '.join(known)}")
    if not names:
        raise ConfigError(f"no {what} was given; known: {', '.join(known)}")
    return list(dict.fromkeys(names))


def numbers(name: str, text: str, least: float = 0) -> list[float]:
    """A comma list of numbers from the command line, in order, none twice."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"--{name} must be numbers with commas between; came {text!r}") from None
    if not all(least <= value < math.inf for value in values):
        raise ConfigError(f"--{name} must be finite and at least {least:g}; came {text!r}")
    return list(dict.fromkeys(values))


def parse(config: type[Config], argv: list[str] | None = None) -> Config:
    """Command line of a config: one option a field, its text and default from the field."""
    module = sys.modules[config.__module__].__spec__
    parser = _Parser(
        prog=f"python -m {module.name if module else 'experiments'}",
        description=config.__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--config", help="a config.toml to take values from; other flags override it")
    for f in dataclasses.fields(config):
        how: dict[str, Any] = {"action": "store_true"} if isinstance(f.default, bool) else {"type": type(f.default)}
        parser.add_argument(f"--{f.name.replace('_', '-')}", default=f.default, help=f.metadata["help"], **how)
    path = parser.parse_args(argv).config
    if path:
        parser.set_defaults(**_read_config(Path(path), config))
    values = vars(parser.parse_args(argv))
    return config(**{f.name: values[f.name] for f in dataclasses.fields(config)})


def _read_config(path: Path, config: type[CommonConfig]) -> dict[str, Any]:
    """A run's ``config.toml``: flat ``key = value`` lines, whose values are written alike in TOML and JSON."""
    try:
        lines = [line.split(" = ", 1) for line in path.read_text().splitlines() if line and not line.startswith("#")]
        values = {key: json.loads(value) for key, value in lines}
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise ConfigError(f"{path} is not a config.toml of a run; each line must be key = value") from None
    fields = {f.name: type(f.default) for f in dataclasses.fields(config)}
    for key, value in values.items():
        if key not in fields:
            raise ConfigError(f"{path}: unknown key {key!r}; known: {', '.join(fields)}")
        if type(value) is not fields[key]:
            raise ConfigError(f"{path}: {key} must be a {fields[key].__name__}; came {value!r}")
    return values


def main(config: type[Config], run: Callable[[Config], None], argv: list[str] | None = None) -> int:
    """Parse, run, and turn every error of the package into one line and exit status 2."""
    try:
        settings = parse(config, argv)
        settings.check()
        run(settings)
    except MSRError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; continue with --resume and the same --out", file=sys.stderr)
        return 130
    return 0


class RunFolder:
    """The folder of one run.

    Raises: ConfigError when the folder cannot be written, already holds a run and ``resume`` was not asked for, or
    was made with another config.
    """

    def __init__(self, name: str, config: CommonConfig):
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        self.name, self.config = name, config
        self.path = Path(config.out or f"runs/{name}-{stamp}")
        text, record = self._toml(), self.path / "config.toml"
        if config.resume:
            self._check_same(record, text)
        elif record.exists():
            raise ConfigError(f"{self.path} already holds a run; continue it with --resume, or give another --out")
        try:
            (self.path / "checkpoints").mkdir(parents=True, exist_ok=True)
            self._write(record, text)
        except OSError as error:
            raise ConfigError(f"{self.path} cannot be written: {error.strerror}; give another --out") from None
        self.rows: dict[str, Row] = {}
        for line in self._lines("rows.jsonl"):
            self.rows[line.pop("arm")] = line

    def checkpoint(self, arm: str) -> Path:
        """Where an arm's checkpoint lives."""
        return self.path / "checkpoints" / f"{arm}.pt"

    def log(self, **values: Any) -> None:
        """Append a line to ``metrics.jsonl``."""
        with (self.path / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(values, allow_nan=False) + "\n")

    def metrics(self, arm: str) -> list[Row]:
        """The lines of one arm."""
        return [line for line in self._lines("metrics.jsonl") if line["arm"] == arm]

    def forget_after(self, arm: str, step: int) -> None:
        """Drop an arm's lines past a step: a continued run writes them again."""
        kept = [m for m in self._lines("metrics.jsonl") if m["arm"] != arm or m["step"] <= step]
        self._write(self.path / "metrics.jsonl", "".join(json.dumps(m) + "\n" for m in kept))

    def finish_arm(self, arm: str, row: Row) -> None:
        """Record an arm's result; it is not run again on resume."""
        self.rows[arm] = row
        lines = (json.dumps({"arm": name, **values}, allow_nan=False) + "\n" for name, values in self.rows.items())
        self._write(self.path / "rows.jsonl", "".join(lines))

    def finish(self, **extra: Any) -> Path:
        """Write ``results.json``, the contract that scripts read: experiment, config, environment, rows."""
        results = {
            "experiment": self.name,
            "config": dataclasses.asdict(self.config),
            "environment": environment(),
            "rows": list(self.rows.values()),
            **extra,
        }
        path = self.path / "results.json"
        self._write(path, json.dumps(results, indent=1, allow_nan=False) + "\n")
        return path

    def _toml(self) -> str:
        # Strings, numbers and booleans are written alike in JSON and TOML.
        lines = (f"{k} = {json.dumps(v)}\n" for k, v in asked(self.config).items())
        return f"# {self.name}, msr {__version__}\n" + "".join(lines)

    def _check_same(self, record: Path, text: str) -> None:
        if not record.is_file():
            raise ConfigError(f"{self.path} holds no run to continue (no config.toml)")
        before, now = (dict(ln.split(" = ", 1) for ln in t.splitlines()[1:]) for t in (record.read_text(), text))
        for key in before.keys() | now.keys():
            if before.get(key) != now.get(key):
                was, now_is = before.get(key, "not set"), now.get(key, "not set")
                raise ConfigError(
                    f"{self.path} was run with {key} = {was}, not {now_is}; give the same flags to resume"
                )

    def _lines(self, name: str) -> list[Row]:
        path = self.path / name
        if not path.is_file():
            return []
        text = path.read_text()
        # A run that was killed while writing leaves a last line without its end.
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    @staticmethod
    def _write(path: Path, text: str) -> None:
        part = path.with_suffix(path.suffix + ".part")
        part.write_text(text)
        os.replace(part, path)


def asked(config: CommonConfig) -> dict[str, Any]:
    """The flags that decide what a run computes: not where and how often it is kept, nor that it was continued."""
    skip = ("out", "resume", "force", "checkpoint_seconds", "keep_checkpoints")
    return {key: value for key, value in dataclasses.asdict(config).items() if key not in skip}


def environment() -> dict[str, Any]:
    """What a number may depend on besides the config."""
    return {
        "msr": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


@contextlib.contextmanager
def _deferred_interrupt() -> Iterator[list[int]]:
    """Collect Ctrl-C in a list instead of raising it anywhere, so that no step is ever saved half done.

    A second one raises at once.
    """
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return

    def note(number: int, frame: object) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield caught
    finally:
        signal.signal(signal.SIGINT, before)
