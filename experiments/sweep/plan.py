"""From flags to runs: every combination of settings and seeds, checked by the runner's own parser before any starts."""

import dataclasses
import hashlib
import importlib
import itertools
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.sweep.flags import Options
from msr.errors import ConfigError, DataError, MSRError
from msr.failures import one_line
from msr.files.writing import write_whole
from msr.runs.config import RunConfig
from msr.runs.flags import parse
from msr.runs.identity import asked, identity

__all__ = ["PLAN", "Run", "finished", "planned", "recorded", "results_of"]

PLAN = "plan.json"
"""The file of a sweep's folder that says what each of its runs was asked for."""

_LONGEST = 100
"""Characters of a folder's name; file systems allow 255 bytes. Chosen by hand."""


@dataclass(frozen=True)
class Run:
    """A setting with one seed.

    ``setting`` holds the runner's own values of the flags in the grid; ``made_with`` is what must be the same for the
    run to be continued: ``flags``, all that say what it computes, and ``identity``, the version and the hash of data.
    """

    setting: dict[str, Any]
    seed: int
    flags: list[str]
    made_with: dict[str, Any]

    @property
    def setting_name(self) -> str:
        """The setting in a few words, which name its folder: ``inner_rate=0.1,outer_rate=0.001``."""
        return ",".join(f"{key}={_shown(value)}" for key, value in self.setting.items()) or "default"

    @property
    def name(self) -> str:
        """The setting and the seed: the run's folder below the sweep's."""
        return f"{_folder_name(self.setting_name)}/seed{self.seed}"


def planned(options: Options) -> list[Run]:
    """All runs of a sweep, setting by setting, each with all seeds.

    Raises: ConfigError, MissingExtraError or DataError, which name the setting, for a flag that cannot work, and for
    settings that are the same; SystemExit with status 2 and one line for a flag that the runner does not have.
    """
    config = importlib.import_module(f"experiments.{options.runner}").Config
    switches = {field.name for field in dataclasses.fields(config) if isinstance(field.default, bool)}
    # The first reading has no setting, so that a flag that is wrong everywhere is not blamed on one.
    parse(config, options.passed)
    hashes: dict[tuple[Path, ...], dict[str, Any]] = {}
    runs: dict[str, Run] = {}
    for values in itertools.product(*options.grid.values()):
        texts = dict(zip(options.grid, values, strict=True))
        words = [_word(key, text, key in switches) for key, text in texts.items()]
        for seed in range(options.seed, options.seed + options.seeds):
            flags = [*options.passed, *filter(None, words), f"--seed={seed}", "--seeds=1"]
            parsed: RunConfig = parse(config, flags)
            # That a seed is out of range shows with the first and with the last.
            if seed in (options.seed, options.seed + options.seeds - 1):
                _check(parsed, texts)
            files = tuple(parsed.data_files())
            if files not in hashes:
                hashes[files] = identity(options.runner, parsed)
            run = Run(
                {key: getattr(parsed, key) for key in options.grid},
                seed,
                flags,
                {"flags": asked(parsed), "identity": hashes[files]},
            )
            if run.name in runs:
                raise ConfigError(f"--grid has the setting {one_line(run.setting_name)} twice; give each value once")
            runs[run.name] = run
    return list(runs.values())


def recorded(out: Path, runs: list[Run]) -> None:
    """Write what each run is asked for to the sweep's folder, beside what is there of other runs.

    Raises: ConfigError for a run that is there already and was asked for something else; DataError for a damaged file.
    """
    path = out / PLAN
    plan: dict[str, Any] = {}
    if path.is_file():
        try:
            plan = {
                name: {"flags": dict(made["flags"]), "identity": dict(made["identity"])}
                for name, made in json.loads(path.read_bytes())["runs"].items()
            }
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise DataError(f"{path} is not what a sweep wrote; give another --out") from None
    for run in runs:
        before = plan.get(run.name, run.made_with)
        for part in ("flags", "identity"):
            for key, value in run.made_with[part].items():
                was = before[part].get(key)
                if was != value:
                    raise ConfigError(
                        f"{one_line(str(out / run.name))} was run with {key} = {json.dumps(was)}, not "
                        f"{json.dumps(value)}; give the same flags to resume, or another --out"
                    )
        plan[run.name] = run.made_with
    content = json.dumps({"runs": plan}, indent=1) + "\n"
    write_whole(path, lambda file: file.write(content.encode()))


def finished(out: Path, run: Run) -> bool:
    """Whether a run has written its results, so that it is not started again."""
    return (out / run.name / "results.json").is_file()


def results_of(out: Path, run: Run) -> dict[str, Any]:
    """What a finished run wrote to ``results.json``. Raises: DataError for a damaged file."""
    path = out / run.name / "results.json"
    try:
        results = json.loads(path.read_bytes())
        return {"summary": list(results["summary"]), "rows": list(results["rows"])}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise DataError(f"{path} is not what a run wrote; remove it, and --resume writes it again") from None


def _check(config: RunConfig, texts: dict[str, str]) -> None:
    """Raise what the runner's own checks raise, with the setting before the message."""
    try:
        config.check()
        config.check_memory()
    except MSRError as error:
        where = ",".join(f"{key}={text}" for key, text in texts.items())
        raise type(error)(f"{where}: {error}" if where else str(error)) from error


def _word(key: str, text: str, switch: bool) -> str:
    """The word of a command line that sets a flag; empty for a switch that is to be off.

    Raises: ConfigError for a switch that is neither ``true`` nor ``false``.
    """
    flag = f"--{key.replace('_', '-')}"
    if not switch:
        return f"{flag}={text}"
    if text not in ("true", "false"):
        raise ConfigError(f"--grid {key} is a switch: its values are true and false; got {text!r}")
    return flag if text == "true" else ""


def _shown(value: Any) -> str:
    """A value as settings are called: ``0.001``, ``relu``, ``true``."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _folder_name(text: str) -> str:
    """A text as a name of a folder: readable, without letters that steer a shell, and another one for another text."""
    name = re.sub(r"[^A-Za-z0-9=,.+-]", "_", text)[:_LONGEST]
    plain = name.replace("_", "") == text.replace("_", "") and not name.startswith((".", "-"))
    return name if plain else f"{name.lstrip('.-')}-{hashlib.blake2b(text.encode(), digest_size=4).hexdigest()}"
