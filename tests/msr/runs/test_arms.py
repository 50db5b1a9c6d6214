"""The arm loop and the flags in parts: each arm is computed once, and a flag exists only where its part is."""

import json
from dataclasses import dataclass
from typing import Literal

import pytest

from msr.errors import ConfigError
from msr.runs import arms
from msr.runs.command import main
from msr.runs.config import DataFlags, DeviceFlags, SeedFlags, TrainingFlags
from msr.runs.flags import option, parse
from msr.runs.folder import RunFolder, release


@dataclass(frozen=True)
class Config(SeedFlags):
    """A runner without training."""

    colour: Literal["red", "green", "blue"] = option("red", "of the example")


@dataclass(frozen=True)
class Arm(arms.Arm):
    """A size with a seed."""

    size: int
    seed: int

    @property
    def name(self) -> str:
        return f"size {self.size}"


@pytest.fixture(autouse=True)
def _released():
    yield
    release()


def list_arms(config: Config) -> list[Arm]:
    return [Arm(size, seed) for size in (2, 3) for seed in config.all_seeds]


def test_each_arm_is_computed_once_and_recorded_at_once(tmp_path, capsys):
    config = Config(out=str(tmp_path / "run"), seeds=2)
    folder = RunFolder("example", config)
    computed = []

    def compute(arm: Arm) -> dict:
        if arm.size == 3:
            raise RuntimeError("it ends here")
        computed.append(str(arm))
        return {"value": arm.size + arm.seed}

    with pytest.raises(RuntimeError, match="it ends here"):
        arms.run_arms(folder, list_arms(config), compute, tell=lambda row: f"value {row['value']}")
    assert capsys.readouterr().err == "size_2-seed0: value 2\nsize_2-seed1: value 3\n"
    assert [str(arm) for arm in arms.unfinished(folder, list_arms(config))] == ["size_3-seed0", "size_3-seed1"]
    release()
    folder = RunFolder("example", Config(out=str(tmp_path / "run"), seeds=2, resume=True))
    arms.run_arms(folder, list_arms(config), lambda arm: computed.append(str(arm)) or {"value": 0})
    assert computed == ["size_2-seed0", "size_2-seed1", "size_3-seed0", "size_3-seed1"]
    assert [row["value"] for row in folder.rows.values()] == [2, 3, 0, 0]


def test_a_summary_has_a_line_for_each_variant_and_is_published_with_the_rows(tmp_path, capsys):
    config = Config(out=str(tmp_path / "run"), seeds=3)
    folder = RunFolder("example", config)
    every = list_arms(config)
    arms.run_arms(folder, every, lambda arm: {"value": 10 * arm.size + arm.seed})
    summary = arms.summarise(
        folder, every, lambda variant, rows: {"arm": variant[0].name, "values": [row["value"] for row in rows]}
    )
    assert summary == [{"arm": "size 2", "values": [20, 21, 22]}, {"arm": "size 3", "values": [30, 31, 32]}]
    arms.publish(folder, "the table", summary=summary)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert (results["summary"], len(results["rows"])) == (summary, 6)
    printed = capsys.readouterr()
    assert printed.out == "the table\n"
    assert printed.err == f"\nresults: {tmp_path}/run/results.json\n"


def test_a_flag_exists_only_where_its_part_is(capsys):
    @dataclass(frozen=True)
    class Trains(DataFlags, TrainingFlags, DeviceFlags, SeedFlags):
        """A runner with every part but batching."""

    flags = ["--data", "x", "--device", "cpu", "--keep-checkpoints", "3", "--seeds", "2"]
    config = parse(Trains, flags)
    assert (config.data, config.keep_checkpoints, list(config.all_seeds)) == ("x", 3, [0, 1])
    for flag in ("--data", "--device", "--keep-checkpoints", "--batching"):
        with pytest.raises(SystemExit):
            parse(Config, [flag, "1"])
        assert capsys.readouterr().err == f"error: unrecognized arguments: {flag} 1 (see --help)\n"
    with pytest.raises(SystemExit):
        parse(Trains, ["--batching", "loop"])


def test_choices_are_those_of_the_annotation(tmp_path, capsys):
    assert parse(Config, ["--colour", "blue"]).colour == "blue"
    with pytest.raises(ConfigError, match="--colour must be red, green or blue; got 'grey'"):
        Config(colour="grey").check()
    (tmp_path / "c.toml").write_text('colour = "grey"\n')
    assert main(Config, lambda config: None, ["--config", str(tmp_path / "c.toml")]) == 2
    assert "--colour must be red, green or blue; got 'grey'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        parse(Config, ["--help"])
    assert "--colour {red,green,blue}" in capsys.readouterr().out


def test_a_folder_with_a_flag_that_is_gone_is_refused_with_a_remedy(tmp_path):
    RunFolder("example", Config(out=str(tmp_path / "run")))
    release()
    record = tmp_path / "run" / "config.toml"
    record.write_text('data = ""\n' + record.read_text())
    with pytest.raises(ConfigError, match='run with data = "", which is no flag of example now; give another --out'):
        RunFolder("example", Config(out=str(tmp_path / "run"), resume=True))


def test_training_asks_for_its_flags(tmp_path):
    from msr.runs.training import train
    from tests.msr.meta.checkpoints.test_checkpoints import make_loop

    folder = RunFolder("example", Config(out=str(tmp_path / "run")))
    with pytest.raises(TypeError, match="Config must inherit from TrainingFlags"):
        train(make_loop(), folder, "arm", lambda step: None, 1)
