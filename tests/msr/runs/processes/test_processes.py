"""Runs of two processes, as a launcher starts them: the numbers of one, one writer, and an end for all of them."""

import json
import signal
from pathlib import Path

import pytest
import torch

from msr.errors import ConfigError
from msr.meta import MetaGradient, MetaParameters
from msr.runs.processes.group import ALONE, Processes, entered, here
from tests.support.runs import RUNS, assert_same_run, error_line

EVERY_STEP = ["--checkpoint-seconds", "0"]
# Batches that two processes can share, and one of them unevenly.
SHARED = {"translation": ["--batch", "3"], "rotation": [], "omniglot": ["--batch", "2"], "deep": ["--batch", "3"]}
CLOSE = 1e-6
OF_TIME = ("seconds", "data_seconds", "at_equal_seconds")
TRANSLATION = ["--models", "conv", "--batch", "3", "--outer-steps", "6"]


def assert_close(a, b, where=""):
    """Two trees of JSON, or of a checkpoint, agree: numbers to a millionth, times and the environment aside."""
    assert type(a) is type(b), where
    if isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a.keys() - {*OF_TIME, "environment", "out", "devices"}:
            assert_close(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, list):
        assert len(a) == len(b), where
        for i, pair in enumerate(zip(a, b, strict=True)):
            assert_close(*pair, f"{where}[{i}]")
    elif isinstance(a, torch.Tensor):
        torch.testing.assert_close(a, b, rtol=CLOSE, atol=CLOSE, msg=lambda why: f"{where}: {why}")
    elif isinstance(a, float):
        assert a == pytest.approx(b, rel=CLOSE, abs=CLOSE), where
    else:
        assert a == b, where


def results(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


def checkpoints(folder: Path) -> dict:
    """The states of the newest checkpoints, by arm."""
    paths = [path for path in folder.glob("checkpoints/*.pt") if not path.stem.rpartition(".")[2].isdigit()]
    states = {path.name: torch.load(path, weights_only=True) for path in paths if ".best" not in path.name}
    return {
        name: {key: state[key] for key in ("params", "optimizer", "scheduler", "steps_done", "batching")}
        for name, state in states.items()
    }


@pytest.mark.parametrize("runner", RUNS)
def test_two_processes_compute_what_one_does(runner, pool, tmp_path):
    """At the same global batch, in double precision; and only the first of them writes and speaks."""
    alone = pool.run(runner, *SHARED[runner], "--out", str(tmp_path / "one"), double=1)
    assert alone["status"] == [0], alone
    both = pool.run(runner, *SHARED[runner], "--out", str(tmp_path / "two"), double=1, processes=2)
    assert both["status"] == [0, 0], both
    assert both["stderr"][1] == ""
    assert both["events"][1] == []
    one = results(tmp_path / "one")
    two = results(tmp_path / "two")
    assert (one["environment"]["processes"], one["environment"]["backend"]) == (1, None)
    assert (two["environment"]["processes"], two["environment"]["backend"]) == (2, "gloo")
    assert_close(one, two)
    states = [checkpoints(tmp_path / run) for run in ("one", "two")]
    assert len(states[0]) >= 2
    assert_close(*states)
    assert {path.name for path in (tmp_path / "one").iterdir()} == {path.name for path in (tmp_path / "two").iterdir()}


def test_a_run_continues_bit_for_bit_and_with_another_number_of_processes(pool, tmp_path):
    flags = [*TRANSLATION, *EVERY_STEP]
    whole = tmp_path / "whole"
    answer = pool.run("translation", *flags, "--out", str(whole), double=1, processes=2)
    assert answer["status"] == [0, 0], answer
    appended = [at for at, event in enumerate(answer["events"][0]) if event == "append"]

    def continued(name: str, processes: int) -> Path:
        """A run of two that was killed in the middle of its steps, continued by so many."""
        out = tmp_path / name
        killed = pool.run(
            "translation", *flags, "--out", str(out), double=1, processes=2, kill_at=appended[len(appended) // 2]
        )
        # Its first process was killed, and the other one says so and ends.
        assert killed["status"] == [-signal.SIGKILL, 2], killed
        assert "process 0 of 2" in error_line(killed["stderr"][1])
        assert f"is gone; what was finished is kept: continue with --resume --out {out}" in killed["stderr"][1]
        how = {"processes": processes} if processes > 1 else {}
        again = pool.run("translation", *flags, "--out", str(out), "--resume", double=1, **how)
        assert again["status"] == [0] * processes, again
        assert ("processes was 2 and is 1: last digits may differ" in again["stderr"][0]) is (processes == 1)
        return out

    assert_same_run(continued("same", 2), whole)
    other = continued("other", 1)
    assert_close(checkpoints(other), checkpoints(whole))
    assert_close(results(other)["rows"], results(whole)["rows"])


def test_the_clock_of_the_first_process_ends_both(pool, tmp_path):
    """Each process has spent another time when it is over; all take as many steps, and measure together."""
    out = tmp_path / "run"
    bounded = ["--models", "anil", "--batch", "2", "--outer-steps", "1000000", "--minutes", "0.03"]
    answer = pool.run("omniglot", *bounded, "--out", str(out), processes=2)
    assert answer["status"] == [0, 0], answer
    (row,) = results(out)["rows"]
    assert row["seconds"] >= 60 * 0.03
    assert 1 <= row["outer_steps"] < 1000000
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == row["outer_steps"]


def test_a_full_disk_ends_both(pool, tmp_path):
    """The disk of the first process takes no more: one line, and it continues where there is room again."""
    flags = [*TRANSLATION, *EVERY_STEP]
    out = tmp_path / "run"
    answer = pool.run("translation", *flags, "--out", str(out), processes=2, largest_file=3000)
    assert answer["status"] == [2, 2], answer
    line = error_line(answer["stderr"][0])
    assert "File too large" in line
    assert line.endswith(f"continue with --resume --out {out}")
    assert answer["stderr"][1] == ""
    assert pool.run("translation", *flags, "--out", str(out), "--resume", processes=2)["status"] == [0, 0]
    # The other process writes nothing, so its disk may be full.
    fine = tmp_path / "fine"
    assert pool.run("translation", *flags, "--out", str(fine), processes=2, rank=1, largest_file=0)["status"] == [0, 0]


def test_a_refusal_on_one_process_ends_both(pool, tmp_path):
    out = tmp_path / "run"
    answer = pool.run("translation", *TRANSLATION, "--out", str(out), processes=2, rank=1, refuse_at=3)
    assert answer["status"] == [2, 2], answer
    said = f"error: process 1 of 2: the tasks are torn; what was finished is kept: continue with --resume --out {out}"
    assert answer["stderr"] == [said + "\n", ""]
    first = pool.run("translation", *TRANSLATION, "--out", str(tmp_path / "first"), processes=2, refuse_at=3)
    assert first["status"] == [2, 2], first
    assert first["stderr"] == ["error: the tasks are torn\n", ""]


def test_a_signal_to_one_process_stops_both_after_the_step_saved(pool, tmp_path):
    out = tmp_path / "run"
    flags = [*TRANSLATION, "--batching", "auto"]
    answer = pool.run("translation", *flags, "--out", str(out), processes=2, rank=1, signal_at=3)
    assert answer["status"] == [128 + signal.SIGTERM] * 2, answer
    said = f"stopped; what was finished is kept: continue with --resume --out {out}"
    assert answer["stderr"][0].splitlines()[-1] == said
    assert answer["stderr"][1] == ""
    state = checkpoints(out)["conv-ridge-seed0.pt"]
    assert state["steps_done"] == 4
    assert state["batching"] in ("vmap", "loop")  # chosen by one, and told


def test_divergence_takes_the_same_way(pool, tmp_path):
    """Rolled back to checkpoints that the first process alone reads, and then ended."""
    flags = ["--models", "msr", "--solvers", "sgd", "--outer-rate", "1e3", "--on-divergence", "rollback", *EVERY_STEP]
    runs = {1: {}, 2: {"processes": 2}}
    for n, how in runs.items():
        answer = pool.run("deep", *flags, "--out", str(tmp_path / str(n)), double=1, **how)
        assert answer["status"] == [0] * n, answer
        # A task of each process: the step is judged by the losses of both.
        assert "the query loss is not finite for tasks 0, 2." in answer["stderr"][0]
    one, two = (results(tmp_path / str(n)) for n in runs)
    assert one["rows"][0]["rollbacks"] == 3
    assert one["rows"][0]["diverged"]
    assert_close(one, two)
    assert_close(*(checkpoints(tmp_path / str(n)) for n in runs))


def test_flags_that_cannot_work_are_one_line(pool, tmp_path):
    def line(*flags: str, processes: int = 2) -> str:
        answer = pool.run("translation", *flags, "--out", str(tmp_path / "run"), processes=processes)
        assert answer["status"] == [2] * processes
        assert not (tmp_path / "run").exists()
        return error_line(answer["stderr"][0])

    assert "--batch 2 has fewer tasks than the 3 processes" in line(processes=3)
    assert "several processes compute on --device cpu, or cuda with a GPU each; got cpu:0" in line("--device", "cpu:0")


class TestTheProcessesOfARun:
    def test_their_shares_are_the_tasks_in_order(self):
        for world in (1, 2, 3, 7):
            for n in (7, 8, 20):
                parts = [Processes(rank, world).share(torch.arange(n)) for rank in range(world)]
                assert torch.equal(torch.cat(parts), torch.arange(n))
                assert max(map(len, parts)) - min(map(len, parts)) <= 1

    def test_there_is_a_task_for_each(self):
        with pytest.raises(ConfigError, match="2 tasks an outer step are fewer than the 3 processes"):
            Processes(0, 3).share(torch.arange(2))

    def test_one_alone_changes_nothing(self):
        mine = MetaGradient(torch.ones(2), MetaParameters({"U": torch.ones(3)}, {}, {}))
        assert here() is ALONE
        assert ALONE.joined(mine, 2, [True, False]) == (mine, [True, False])
        assert ALONE.told(lambda: 3) == 3
        assert ALONE.gathered(3) == [3]
        ALONE.require_equal(3, "number")

    def test_the_innermost_is_here(self):
        with entered(Processes(1, 2)):
            assert str(here()) == "process 1 of 2"
        assert here() is ALONE
