"""The discovery runner: right names counted as right, wrong ones as wrong, and what it refuses."""

import json
from pathlib import Path

import pytest
import torch

from experiments import discovery
from experiments.discovery import Arm, Config, family_of, run_arm, summary_line, truth, uncertified
from msr.discovery import discover
from msr.groups import cyclic
from msr.representations import regular
from msr.runs import command as _run
from msr.tasks.sampling import sample_group


def find(*flags: str) -> int:
    return _run.main(discovery.Config, discovery.run, list(flags))


def results(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


def test_names_are_found_counted_and_written(tmp_path, capsys):
    out = tmp_path / "run"
    flags = ["--families", "C8,Klein,none 8", "--noise", "0,30", "--tasks", "200", "--out", str(out)]
    assert find(*flags) == 0
    assert {path.name for path in out.iterdir()} == {
        "config.toml", "rows.jsonl", "results.json", "checkpoints", "phases.png",
    }  # fmt: skip
    found = results(out)
    lines = {(line["family"], line["noise"]): line for line in found["summary"]}
    for family, name in (("C8", "C8"), ("Klein", "C2 x C2")):
        assert lines[family, 0]["truth"] == name
        assert lines[family, 0]["exact"] == lines[family, 0]["runs"] == 1
        assert lines[family, 30]["exact"] == lines[family, 30]["wrong"] == 0
        assert lines[family, 30]["cannot_tell"] == 1
    assert lines["none 8", 0]["none"] == 1
    assert lines["none 8", 0]["truth"] is None
    assert "1 of 1" in capsys.readouterr().out
    assert find(*flags, "--resume") == 0
    assert results(out)["rows"] == found["rows"]


def test_a_wrong_name_is_counted_as_wrong(monkeypatch):
    s = sample_group(regular(cyclic(6)), regular(cyclic(6)), n_tasks=200)
    other = discover(s.x, s.y)
    monkeypatch.setattr(discovery, "discover", lambda *args, **options: other)
    arm = Arm("C8", 0.0, 100, 0)
    row = run_arm(arm, Config())
    assert row["name"] == "C6"
    assert row["wrong"]
    assert not row["exact"]
    line = summary_line([arm], [row])
    assert line["wrong"] == 1
    assert line["other_names"] == ["C6"]
    control = run_arm(Arm("none 8", 0.0, 100, 0), Config())
    assert control["wrong"]


def test_the_truth_is_the_largest_group_with_the_same_orbits():
    assert truth("7:3 on 7 points") == "C7:C3 (Frobenius)"
    assert truth("4x4 torus") == "C4 x C4"
    assert truth("none 8") is None


def test_a_symmetry_that_is_almost_larger_is_not_named_so():
    assert truth("C8 almost D8") == "C8"
    assert truth("D6 almost S6") == "D6"
    for noise in (0.0, 0.1, 1.0):
        row = run_arm(Arm("C8 almost D8", noise, 200, 0), Config())
        assert row["exact"] or row["verdict"] == "cannot tell"
        assert not row["wrong"]


def test_what_goes_beyond_is_as_large_as_asked():
    for beyond in (0.05, 0.5):
        family = family_of("C8 almost D8", 0.0, 0, 100, Config(beyond=beyond))
        assert float(family.sizes[-3:].square().sum()) ** 0.5 == pytest.approx(beyond)
        assert family.episodes("train", torch.arange(3)).query_x.shape[1] == 19


def test_the_rule_without_a_certificate():
    s = sample_group(regular(cyclic(6)), regular(cyclic(6)), n_tasks=200)
    assert uncertified(discover(s.x, s.y)) == "C6"
    none = sample_group(regular(cyclic(6)), regular(cyclic(6)), n_tasks=200, truth="none")
    assert uncertified(discover(none.x, none.y)) is None
    assert uncertified(discover(s.x[:10], s.y[:10])) is None


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--families", "C17"], "unknown family 'C17'"),
        (["--noise", "a"], "--noise must be numbers"),
        (["--noise", "-1"], "at least 0"),
        (["--tasks", "1"], "at least 2"),
        (["--examples", "1"], "--examples must be at least 2"),
        (["--beyond", "0"], "--beyond must be positive; got 0.0"),
        (["--beyond", "1.5"], "--beyond must be at most 1; got 1.5"),
        (["--eps", "2"], "--eps must be less than 1; got 2.0"),
        (["--tasks", "40.5"], "--tasks must be whole numbers; got '40.5'"),
        (["--seed", "-1"], "--seed must not be negative; got -1"),
    ],
)
def test_what_cannot_work_is_refused(flags, message, capsys):
    assert find(*flags) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--data", "--batching", "--chunk-size", "--device", "--keep-checkpoints"])
def test_flags_of_other_runners_do_not_exist_here(flag, capsys):
    """Tasks are made and nothing trains, so these flags could change nothing."""
    with pytest.raises(SystemExit) as stop:
        find(flag, "1")
    assert stop.value.code == 2
    assert capsys.readouterr().err == f"error: unrecognized arguments: {flag} 1 (see --help)\n"
