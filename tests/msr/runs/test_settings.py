"""What a run is asked and made with: ranges of flags, estimates of memory, another file, version or threads."""

import dataclasses
import importlib
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments import omniglot, translation
from experiments.__main__ import runners
from msr import memory
from msr.runs import command as _run
from msr.runs import config as _config
from msr.runs import folder as _folder
from msr.runs import identity as _identity
from msr.runs.flags import parse
from tests.support.runs import TINY, error_line, translate


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A whole run with one thread."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    assert translate("--threads", "1", "--out", str(folder)) == 0
    return folder


# Ranges


def numeric_flags():
    for runner in runners():
        module = importlib.import_module(f"experiments.{runner}")
        for field in dataclasses.fields(module.Config):
            if isinstance(field.default, int | float) and not isinstance(field.default, bool):
                yield runner, field


@pytest.mark.parametrize("runner", runners())
def test_every_number_has_a_range_that_is_checked_before_a_folder_is_made(runner, tmp_path, capsys):
    module, out = importlib.import_module(f"experiments.{runner}"), tmp_path / "run"
    n_flags = 0
    for _, field in (pair for pair in numeric_flags() if pair[0] == runner):
        least, above, most, below = field.metadata["range"]
        assert math.isfinite(min(most, below)), field.name
        values: list[object] = [10**20, 2**63, -(10**20)]
        if isinstance(field.default, float):
            values = ["inf", "nan", "1e39", "-1e39", "-inf"]
            values += [above] if above is not None else [least - 1e-3]
        elif least is not None:
            values += [int(least) - 1, int(most) + 1]
        for value in values:
            flag = f"--{field.name.replace('_', '-')}"
            assert _run.main(module.Config, module.run, [f"{flag}={value}", "--out", str(out)]) == 2, (flag, value)
            line = error_line(capsys.readouterr().err)
            assert flag in line, line
            assert "must" in line
            assert not out.exists()
        n_flags += 1
    assert n_flags >= 5


@pytest.mark.parametrize(
    ("runner", "flags", "says"),
    [
        ("translation", ["--batch", "100000000000000"], "--batch must be at most 1e+09"),
        ("translation", ["--batch", "1000000000"], "give a smaller --batch"),
        ("translation", ["--length", "1000000"], "give a smaller --length"),
        ("omniglot", ["--width", "100000"], "give a smaller --width"),
        ("omniglot", ["--ways", "1000000"], "--ways"),
        ("rotation", ["--size", "10000"], "give a smaller --size"),
        ("rotation", ["--outer-steps", "1000000000", "--tasks", "1000000000"], "give a smaller --tasks, --batch or"),
        ("deep", ["--test-tasks", "1000000000"], "give a smaller --test-tasks"),
        ("discovery", ["--tasks", "10000000", "--examples", "1000000"], "give a smaller --tasks"),
        ("dimension", ["--examples", "1000000", "--tasks", "10000000"], "give a smaller --examples"),
        *((name, ["--device", device], f"--device {device} cannot be used here")
          for name, device in (("deep", "hpu"), ("translation", "privateuseone"), ("omniglot", "meta"))),
    ],
)  # fmt: skip
def test_what_cannot_fit_is_refused_with_an_estimate(runner, flags, says, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 8 * 2**30)  # the same on every machine
    module = importlib.import_module(f"experiments.{runner}")
    assert _run.main(module.Config, module.run, [*flags, "--out", str(tmp_path / "run")]) == 2
    assert says in error_line(capsys.readouterr().err)
    assert not (tmp_path / "run").exists()


# Identity


def save_tasks(path: Path, seed: int) -> str:
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(20, 4, 6)).astype(np.float32)
    np.savez(path, x=x, y=np.roll(x, 1, axis=-1) + 0)
    return str(path)


def test_another_file_of_data_is_refused_or_forced_and_said(tmp_path, capsys):
    data, out = save_tasks(tmp_path / "a.npz", 0), str(tmp_path / "run")
    flags = ["--models", "conv", "--kernel", "1", "--inner", "ridge", "--outer-steps", "1", "--batch", "2"]
    flags += ["--batching", "loop", "--data", data, "--out", out]

    def run(*more: str) -> int:
        return _run.main(translation.Config, translation.run, [*flags, *more])

    assert run() == 0
    assert run("--resume") == 0
    save_tasks(tmp_path / "a.npz", 1)
    capsys.readouterr()
    assert run("--resume") == 2
    line = error_line(capsys.readouterr().err)
    assert "data_hash was" in line
    assert "--force" in line
    assert run("--resume", "--force") == 0
    assert "warning: " in capsys.readouterr().err
    for _ in range(2):  # and what is known once is not forgotten
        (note,) = json.loads((tmp_path / "run" / "results.json").read_text())["notes"]
        assert note.startswith("forced: data_hash was")
        assert run("--resume") == 0


def test_another_version_or_runner_is_refused(finished, tmp_path, monkeypatch, capsys):
    shutil.copytree(finished, tmp_path / "run")
    flags = ["--out", str(tmp_path / "run"), "--resume", "--threads", "1"]
    monkeypatch.setattr(_identity, "__version__", "99.0")
    assert translate(*flags) == 2
    assert "and is '99.0'" in error_line(capsys.readouterr().err)
    monkeypatch.setattr(_identity, "FORMAT", 99)
    assert translate(*flags) == 2
    assert "format was 2 and is 99" in error_line(capsys.readouterr().err)
    monkeypatch.undo()
    with pytest.raises(_folder.ConfigError, match="is a run of translation, not of other"):
        _folder.RunFolder("other", parse(translation.Config, [*TINY, *flags, "--force"]))
    assert translate(*flags) == 0


@pytest.mark.parametrize("runner", sorted(runners()))
def test_half_a_flag_is_refused(runner, tmp_path, capsys):
    module = importlib.import_module(f"experiments.{runner}")
    with pytest.raises(SystemExit) as stop:
        _run.main(module.Config, module.run, ["--see", "1", "--out", str(tmp_path / "run")])
    assert stop.value.code == 2
    assert "unrecognized arguments: --see" in error_line(capsys.readouterr().err)


@pytest.mark.parametrize("name", sorted(runners()))
def test_every_runner_takes_the_remedy_that_the_folder_names(name):
    """A folder of another version says that --force continues it."""
    importlib.import_module(f"experiments.{name}").Config(out="run", resume=True, force=True).check()


def test_threads_are_kept_and_another_number_is_said(finished, tmp_path, capsys):
    shutil.copytree(finished, tmp_path / "run")
    before = torch.get_num_threads()
    seen = []

    def look(config):
        seen.append(torch.get_num_threads())
        _folder.RunFolder("translation", config)

    for flags in ([], ["--threads", "3"], []):
        flags = [*TINY, "--out", str(tmp_path / "run"), "--resume", *flags]
        assert _run.main(translation.Config, look, flags) == 0
        assert torch.get_num_threads() == before
    assert seen == [1, 3, 3]
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    assert "threads was 1 and is 3: last digits may differ" in text


def test_only_runners_of_large_steps_measure_threads(monkeypatch):
    before, steps = torch.get_num_threads(), []
    monkeypatch.setattr(_config, "chosen_threads", lambda step: steps.append(step()) or 2)
    torch.set_num_threads(2)  # as on a machine of two cores, whatever this one has
    try:
        assert _config.threads_for(translation.Config()) == 1
        assert not steps
        assert _config.threads_for(omniglot.Config(batch=1, width=2)) == 2
        assert len(steps) == 1
    finally:
        torch.set_num_threads(before)


def test_the_hash_of_data_is_of_contents_and_of_the_names_of_several(tmp_path):
    a, b, c = (tmp_path / name for name in "abc")
    a.write_bytes(b"1")
    b.write_bytes(b"1")
    c.write_bytes(b"2")
    one = _identity.hash_of
    assert one([]) == ""
    assert one([a]) == one([b]) != one([c])
    assert one([a, b]) == one([b, a]) != one([a, c])
    assert one([a, c]) != one([b, c])
    with pytest.raises(_folder.ConfigError, match="not a regular one"):
        one([tmp_path])
