"""Runs that are killed in the middle of what they do to their files continue to the end bit for bit.

Each runner that trains makes a tiny run, in a process that is killed: before a file is opened, with half of a write on
the disk, before it is flushed, renamed or removed, in the middle of a line that is appended. Each runner is killed
twenty times; ``MSR_MUTATIONS`` in the environment multiplies that number. What the pictures show is compared too.
"""

import os
import signal

import pytest

from tests.support.runs import RUNS, assert_same_run

KILLS = 20 * int(os.environ.get("MSR_MUTATIONS", "1"))
KINDS = ("write", "rename", "append", "fsync", "open", "remove", "mkdir")
EVERY_STEP = ["--checkpoint-seconds", "0"]  # so that kills meet checkpoints in the middle of an arm


@pytest.mark.timeout(600)
@pytest.mark.parametrize("runner", RUNS)
def test_a_run_that_was_killed_at_any_event_of_a_file_continues_bit_for_bit(runner, pool, tmp_path):
    expected = tmp_path / "expected"
    answer = pool.run(runner, *EVERY_STEP, "--out", str(expected))
    assert answer["status"] == [0], answer
    events = answer["events"][0]
    assert set(events) == set(KINDS)
    for at in spread(events, min(KILLS, len(events))):
        continued_as_expected(pool, runner, tmp_path / f"killed{at}", at, expected)
    # Once in the middle of all that a user's run does, whose steps are recorded and whose pictures are drawn.
    whole = tmp_path / "whole"
    assert pool.run(runner, *EVERY_STEP, "--out", str(whole), whole=1)["status"] == [0]
    continued_as_expected(pool, runner, tmp_path / "whole, killed", len(events) // 2, whole, whole=1)


def continued_as_expected(pool, runner, out, at, expected, **how):
    """Kill a run at an event and continue it: all that it has written is as in the run that was not killed."""
    assert pool.run(runner, *EVERY_STEP, "--out", str(out), kill_at=at, **how)["status"] == [-signal.SIGKILL]
    started = (out / "config.toml").exists()
    answer = pool.run(runner, *EVERY_STEP, "--out", str(out), *(["--resume"] if started else []), **how)
    assert answer["status"] == [0], (at, answer)
    assert_same_run(out, expected)
    # One picture is drawn against seconds, which differ.
    for picture in set(expected.glob("*.png")) - {expected / "seconds.png"}:
        assert (out / picture.name).read_bytes() == picture.read_bytes(), (at, picture.name)


def spread(events: list[str], count: int) -> list[int]:
    """The indices of ``count`` events, taking the kinds in turn, spread evenly over the run."""
    unused = {kind: [i for i, event in enumerate(events) if event == kind] for kind in KINDS}
    chosen: list[int] = []
    while len(chosen) < count:
        for kind in KINDS:
            if unused[kind] and len(chosen) < count:
                # The fractional parts of multiples of the golden ratio fall evenly into any interval.
                chosen.append(unused[kind].pop(int(len(unused[kind]) * (0.618034 * (len(chosen) + 1) % 1))))
    return chosen
