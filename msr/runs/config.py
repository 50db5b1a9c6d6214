"""Flags of a runner: a frozen dataclass whose fields carry help and range, read from a command line and a file."""

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import torch

from msr.errors import ConfigError, kind_and_line
from msr.failures import one_line
from msr.memory import refuse_if_larger
from msr.meta import SGD
from msr.meta.engines import load
from msr.threads import MOST, chosen_threads

__all__ = [
    "EXAMPLES",
    "INNER_STEPS",
    "NOISE",
    "RATE",
    "SIZE",
    "STEPS",
    "TASKS",
    "CommonConfig",
    "EngineConfig",
    "chosen",
    "counts",
    "numbers",
    "option",
    "parse",
    "read_config",
    "threads_for",
]

# Ranges of numbers, for :func:`option`. Steps and tasks stay far from the end of 64 bits; how many fit into memory is
# checked beside. Rates only have to be numbers of single precision: what diverges ends its arm, and says so.
TASKS: dict[str, float] = {"least": 1, "most": 10**9}
STEPS: dict[str, float] = {"least": 1, "most": 10**9}
INNER_STEPS: dict[str, float] = {"least": 0, "most": 10**4}
EXAMPLES: dict[str, float] = {"least": 1, "most": 10**6}
SIZE: dict[str, float] = {"least": 1, "most": 10**6}
RATE: dict[str, float] = {"above": 0, "most": 3e38}
NOISE: dict[str, float] = {"least": 0, "most": 1e6}

_LARGEST_FILE = 2**20  # of flags, in bytes

NOT_COMPARED = ("out", "resume", "force", "threads", "checkpoint_seconds", "keep_checkpoints")
"""Flags that say where and how a run is kept or computed, not what."""


def option(
    default: Any,
    help: str,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float = math.inf,
    below: float = math.inf,
) -> Any:
    """A field of a config with the help text of its flag; a number has a range, and is finite.

    ``least`` and ``most`` belong to the range, ``above`` and ``below`` do not.
    """
    is_number = isinstance(default, int | float) and not isinstance(default, bool)
    if is_number is ((least is None and above is None) or most == below):
        raise TypeError(f"a number needs a range, and nothing else has one; got the default {default!r}")
    return dataclasses.field(default=default, metadata={"help": help, "range": (least, above, most, below)})


@dataclasses.dataclass(frozen=True)
class CommonConfig:
    """Flags that every runner has."""

    out: str = option("", "folder to write; default runs/NAME-TIME")
    seed: int = option(0, "first seed", least=-(2**62), most=2**62)
    seeds: int = option(1, "how many seeds, counted from the first", least=1, most=10**4)
    device: str = option("cpu", "cpu, cuda, cuda:1, ...")
    data: str = option("", "a file or folder to read instead of making data")
    batching: str = option("auto", "tasks side by side or one by one: auto (times both), vmap, loop")
    chunk_size: int = option(
        0, "most tasks in memory at a time when side by side; 0: all of the batch", least=0, most=10**9
    )
    resume: bool = option(False, "continue the run in --out")
    force: bool = option(
        False, "with --resume: continue although version, data or format changed; results.json says so"
    )
    threads: int = option(
        0,
        "threads of torch; 0: those of the run continued, else one, or more where that is faster",
        least=0,
        most=MOST,
    )
    checkpoint_seconds: float = option(20.0, "seconds between checkpoints; 0: one after every step", least=0, most=1e6)
    keep_checkpoints: int = option(
        2, "newest checkpoints to keep of each arm; the best is kept besides", least=1, most=100
    )
    on_divergence: str = option("stop", "an arm that diverges: stop it, or rollback (half the rate, three times)")
    quick: bool = option(False, "a few steps of everything, to see that it works; no result")

    def check(self) -> None:
        """Raise ConfigError for a value that cannot work."""
        self.in_range()
        if self.batching not in ("auto", "vmap", "loop"):
            raise ConfigError(f"--batching must be auto, vmap or loop; got {self.batching!r}")
        if self.on_divergence not in ("stop", "rollback"):
            raise ConfigError(f"--on-divergence must be stop or rollback; got {self.on_divergence!r}")
        if self.resume and not self.out:
            raise ConfigError("--resume needs --out DIR, the folder of the run to continue")
        if self.force and not self.resume:
            raise ConfigError("--force is for --resume: it continues a run although version or data changed")
        for name in ("out", "data"):
            if "\0" in getattr(self, name):
                raise ConfigError(f"--{name} holds a zero byte, which no file name can; got {getattr(self, name)!r}")
        try:
            float(torch.zeros(1, device=torch.device(self.device)) + 1)  # a device without numbers, as meta, fails too
        except Exception as error:  # each missing backend raises a kind of its own
            raise ConfigError(f"--device {self.device} cannot be used here: {kind_and_line(error)}") from None
        self.in_memory()

    def in_range(self) -> None:
        """Raise ConfigError for a number outside of its flag's range."""
        for field in dataclasses.fields(self):
            least, above, most, below = field.metadata["range"]
            if least is None and above is None:
                continue
            value, flag = getattr(self, field.name), f"--{field.name.replace('_', '-')}"
            if isinstance(value, float) and not math.isfinite(value):
                raise ConfigError(f"{flag} must be finite; got {value}")
            if least == 0 and value < 0:
                raise ConfigError(f"{flag} must not be negative; got {value}")
            if least is not None and value < least:
                raise ConfigError(f"{flag} must be at least {least}; got {value}")
            if above is not None and value <= above:
                must = "be positive" if above == 0 else f"be more than {above:g}"
                raise ConfigError(f"{flag} must {must}; got {value}")
            if value > most:
                raise ConfigError(f"{flag} must be at most {most:g}; got {one_line(str(value))}")
            if value >= below:
                raise ConfigError(f"{flag} must be less than {below:g}; got {value}")

    def bytes_needed(self) -> dict[str, float]:
        """Of the largest arrays, each under the flags that make it large; a runner knows its own."""
        return {}

    def in_memory(self) -> None:
        """Raise ConfigError where one array alone needs more memory than is free."""
        for flags, needed in self.bytes_needed().items():
            refuse_if_larger(needed, "one array of this run", advice=f"give a smaller {flags}", error=ConfigError)

    def large_step(self) -> Callable[[], object] | None:
        """Work of the kind that takes most of a step, to measure threads with; None where steps are short."""
        return None

    def data_files(self) -> list[Path]:
        """The files that ``--data`` makes a run read."""
        return [Path(self.data)] if self.data else []

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


def threads_for(config: CommonConfig) -> int:
    """How many threads torch computes a run with, where ``--threads`` leaves it open.

    One, unless the runner has large steps and :func:`msr.threads.chosen_threads` measures that more make them faster.
    On a CUDA device the threads of the CPU only wait, so one is enough.
    """
    step = config.large_step()
    return 1 if step is None or torch.device(config.device).type != "cpu" else chosen_threads(step)


class _Parser(argparse.ArgumentParser):
    def __init__(self, **options: Any):
        """Half a flag is refused: what it stands for could be another flag than was meant."""
        super().__init__(**options, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """One line, not the usage first: the same shape as every other error of a runner."""
        self.exit(2, f"error: {one_line(message)} (see --help)\n")


def chosen(text: str, known: tuple[str, ...], what: str) -> list[str]:
    """A comma list from the command line, checked against the names that exist; no name twice."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise ConfigError(f"unknown {what} {name!r}; known: {', '.join(known)}")
    if not names:
        raise ConfigError(f"no {what} was given; known: {', '.join(known)}")
    return list(dict.fromkeys(names))


def counts(name: str, text: str, least: int, most: int) -> list[int]:
    """A comma list of whole numbers from the command line, in order, none twice."""
    for value in numbers(name, text, least, most):
        if value != int(value):
            raise ConfigError(f"--{name} must be whole numbers; got {text!r}")
    return [int(value) for value in numbers(name, text, least, most)]


def numbers(name: str, text: str, least: float = 0, most: float = 1e6) -> list[float]:
    """A comma list of numbers from the command line, in order, none twice."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"--{name} must be numbers with commas between; got {text!r}") from None
    if not all(least <= value < math.inf for value in values):
        raise ConfigError(f"--{name} must be finite and at least {least:g}; got {text!r}")
    if max(values) > most:
        raise ConfigError(f"--{name} must be at most {most:g}; got {text!r}")
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
        parser.set_defaults(**_flags_of(Path(path), config))
    values = vars(parser.parse_args(argv))
    if [] in values.values():
        raise ConfigError("-- is no value of a flag; a file of that name is written ./--")  # argparse lets it through
    return config(**{f.name: values[f.name] for f in dataclasses.fields(config)})


def read_config(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """A run's ``config.toml``: its flags, and under ``[run]`` what it was made with.

    The lines are ``key = value``, and the values are written alike in TOML and JSON. Raises: ConfigError that names
    the file, and the line.
    """
    try:
        with path.open("rb") as file:  # which may be a pipe
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


def _flags_of(path: Path, config: type[CommonConfig]) -> dict[str, Any]:
    """The flags of a file, each of a key that is known and of its kind."""
    values, _ = read_config(path)
    fields = {f.name: type(f.default) for f in dataclasses.fields(config)}
    for key, value in values.items():
        if key not in fields:
            raise ConfigError(f"{path}: unknown key {key!r}; known: {', '.join(fields)}")
        if fields[key] is float and type(value) is int and abs(value) < 2**53:
            values[key] = float(value)
        elif type(value) is not fields[key]:
            raise ConfigError(f"{path}: {key} must be a {fields[key].__name__}; got {value!r}")
    return values


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")
