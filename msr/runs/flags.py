"""Flags of a runner: a frozen dataclass becomes a command line, one flag for each field.

A field made by :func:`option` carries the help text of its flag and, for a number, its range. A field annotated with
``Literal["a", "b"]`` accepts these words alone.
"""

import argparse
import dataclasses
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar, get_args, get_origin

from msr.errors import ConfigError
from msr.failures import one_line
from msr.runs.config_file import read_config

__all__ = [
    "EXAMPLES",
    "INNER_STEPS",
    "NOISE",
    "RATE",
    "SIZE",
    "STEPS",
    "TASKS",
    "Parser",
    "check_choices",
    "check_ranges",
    "choices_of",
    "chosen",
    "counts",
    "flag_of",
    "numbers",
    "option",
    "parse",
]

# Ranges of numbers, for :func:`option`. They are bounds of sense, chosen by hand: counts of steps and tasks stay far
# from the end of 64-bit integers, and whether that many fit into memory is checked separately. A rate only has to be
# a number of single precision, because training that diverges ends its arm with a reason.
TASKS: dict[str, float] = {"least": 1, "most": 10**9}
STEPS: dict[str, float] = {"least": 1, "most": 10**9}
INNER_STEPS: dict[str, float] = {"least": 0, "most": 10**4}
EXAMPLES: dict[str, float] = {"least": 1, "most": 10**6}
SIZE: dict[str, float] = {"least": 1, "most": 10**6}
RATE: dict[str, float] = {"above": 0, "most": 3e38}
NOISE: dict[str, float] = {"least": 0, "most": 1e6}

C = TypeVar("C")


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
    Raises: TypeError for a number without a range, or a range of something that is no number.
    """
    is_number = isinstance(default, int | float) and not isinstance(default, bool)
    has_lower_end = least is not None or above is not None
    has_upper_end = most != below  # both are infinite where neither was given
    if is_number is not (has_lower_end and has_upper_end):
        raise TypeError(f"a number needs a range, and nothing else has one; got the default {default!r}")
    return dataclasses.field(default=default, metadata={"help": help, "range": (least, above, most, below)})


def flag_of(field: "dataclasses.Field[Any]") -> str:
    """The flag of a field, ``--like-this``."""
    return f"--{field.name.replace('_', '-')}"


def choices_of(field: "dataclasses.Field[Any]") -> tuple[str, ...]:
    """The words that a field's ``Literal`` annotation allows; empty where any text is allowed."""
    return get_args(field.type) if get_origin(field.type) is Literal else ()


def check_choices(config: Any) -> None:
    """Raise ConfigError for a value that is not one of its flag's choices."""
    for field in dataclasses.fields(config):
        choices, value = choices_of(field), getattr(config, field.name)
        if choices and value not in choices:
            raise ConfigError(f"{flag_of(field)} must be {', '.join(choices[:-1])} or {choices[-1]}; got {value!r}")


def check_ranges(config: Any) -> None:
    """Raise ConfigError for a number outside of its flag's range."""
    for field in dataclasses.fields(config):
        least, above, most, below = field.metadata["range"]
        if least is None and above is None:
            continue
        value, flag = getattr(config, field.name), flag_of(field)
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


def parse(config: type[C], argv: Sequence[str] | None = None) -> C:
    """The config that a command line asks for: one flag for each field, its help text and default from the field.

    ``--config FILE`` takes values from a run's ``config.toml``; other flags override the file.
    Raises: SystemExit with status 2 and one line for an unknown flag or a word in the place of a number; ConfigError
    for a file that cannot be read.
    """
    module = sys.modules[config.__module__].__spec__
    parser = Parser(
        prog=f"python -m {module.name if module else 'experiments'}",
        description=config.__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--config", help="a config.toml to take values from; other flags override it")
    fields = dataclasses.fields(config)  # type: ignore[arg-type]  # a dataclass, which no annotation can say
    for field in fields:
        how: dict[str, Any] = {"action": "store_true"}
        if not isinstance(field.default, bool):
            how = {"type": type(field.default)}
        if choices := choices_of(field):
            how["metavar"] = "{" + ",".join(choices) + "}"
        parser.add_argument(flag_of(field), default=field.default, help=field.metadata["help"], **how)
    # The command line is read twice, because what --config names becomes the defaults of the second reading.
    path = parser.parse_args(argv).config
    if path:
        parser.set_defaults(**_values_of(Path(path), fields))
    values = vars(parser.parse_args(argv))
    # argparse lets ``--flag=--`` through as an empty list.
    if [] in values.values():
        raise ConfigError("-- is no value of a flag; a file of that name is written ./--")
    return config(**{field.name: values[field.name] for field in fields})


def chosen(text: str, known: Sequence[str], what: str) -> list[str]:
    """The names of a comma list, in order; repetitions are dropped.

    Args:
        text: the comma list.
        known: the names that are allowed.
        what: a name is called in messages, such as ``model``.

    Raises: ConfigError for a name that is not known, or a list without names.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise ConfigError(f"unknown {what} {name!r}; known: {', '.join(known)}")
    if not names:
        raise ConfigError(f"no {what} was given; known: {', '.join(known)}")
    return list(dict.fromkeys(names))


def numbers(name: str, text: str, least: float = 0, most: float = 1e6) -> list[float]:
    """The numbers of a comma list, in order; repetitions are dropped.

    Args:
        name: of the flag, without its dashes, for messages.
        text: the comma list.
        least, most: the ends of the range of each number, both allowed.

    Raises: ConfigError for what is no number, is not finite, or lies outside of the range.
    """
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"--{name} must be numbers with commas between; got {text!r}") from None
    if not all(least <= value < math.inf for value in values):
        raise ConfigError(f"--{name} must be finite and at least {least:g}; got {text!r}")
    if max(values) > most:
        raise ConfigError(f"--{name} must be at most {most:g}; got {text!r}")
    return list(dict.fromkeys(values))


def counts(name: str, text: str, least: int, most: int) -> list[int]:
    """The whole numbers of a comma list, in order; repetitions are dropped.

    The arguments, and what is raised, are those of :func:`numbers`; ConfigError also for a number that is not whole.
    """
    values = numbers(name, text, least, most)
    for value in values:
        if value != int(value):
            raise ConfigError(f"--{name} must be whole numbers; got {text!r}")
    return [int(value) for value in values]


class Parser(argparse.ArgumentParser):
    """A parser that takes no abbreviated flags, and whose errors are one line each."""

    def __init__(self, **options: Any):
        """No abbreviated flag is accepted: it could stand for another flag than the one that was meant."""
        super().__init__(**options, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Print the message as one line without usage text, like every other error of a runner; exit with status 2."""
        self.exit(2, f"error: {one_line(message)} (see --help)\n")


def _values_of(path: Path, fields: "tuple[dataclasses.Field[Any], ...]") -> dict[str, Any]:
    """The values of a ``config.toml``, by the names of ``fields``.

    Raises: ConfigError for a file that cannot be read, an unknown key, or a value of another type than the default's.
    """
    values, _ = read_config(path)
    types = {field.name: type(field.default) for field in fields}
    for key, value in values.items():
        if key not in types:
            raise ConfigError(f"{path}: unknown key {key!r}; known: {', '.join(types)}")
        # JSON writes the number 1.0 of another program as 1; below 2^53 a float holds each whole number exactly.
        if types[key] is float and type(value) is int and abs(value) < 2**53:
            values[key] = float(value)
        elif type(value) is not types[key]:
            raise ConfigError(f"{path}: {key} must be a {types[key].__name__}; got {value!r}")
    return values
