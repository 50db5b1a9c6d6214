"""Runs that are killed in the middle of what they do to their files continue to the end bit for bit.

Each runner that trains makes a tiny run, in a process that is killed: before a file is opened, with half of a write on
the disk, before it is flushed, renamed or removed, in the middle of a line that is appended. Each runner is killed
twenty times; ``MSR_MUTATIONS`` in the environment multiplies that number.
"""

import os
import signal

import pytest

from tests.support.processes import Pool
from tests.support.runs import TINY, assert_same_run

KILLS = 20 * int(os.environ.get("MSR_MUTATIONS", "1"))
KINDS = ("write", "rename", "append", "fsync", "open", "remove", "mkdir")
EVERY_STEP = ["--checkpoint-seconds", "0"]  # so that kills meet checkpoints in the middle of an arm
RUNS = {
    "translation": [*TINY, *EVERY_STEP],
    "rotation": ["--group", "c4", "--size", "4", "--tasks", "10", "--test-tasks", "3", "--batch", "2",
                 "--batching", "loop", "--models", "conv,msr-ridge", "--k", "2", "--outer-steps", "2", *EVERY_STEP],
    "omniglot": ["--models", "maml,msr", "--ways", "2", "--queries", "1", "--test-queries", "1", "--test-tasks", "2",
                 "--batch", "1", "--batching", "loop", "--width", "2", "--test-inner-steps", "1", "--outer-steps", "2",
                 *EVERY_STEP],
    "deep": ["--quick", "--models", "oracle", "--solvers", "sgd,gn-implicit", "--tasks", "10", "--test-tasks", "2",
             "--batch", "2", "--batching", "loop", "--inner-steps", "1", "--implicit-steps", "1", *EVERY_STEP],
}  # fmt: skip


@pytest.fixture(scope="module")
def pool():
    with Pool(**RUNS) as pool:
        yield pool


@pytest.mark.timeout(600)
@pytest.mark.parametrize("runner", RUNS)
def test_a_run_that_was_killed_at_any_event_of_a_file_continues_bit_for_bit(runner, pool, tmp_path):
    expected = tmp_path / "expected"
    answer = pool.run(runner, "--out", str(expected))
    assert answer["status"] == [0], answer
    events = answer["events"][0]
    assert set(events) == set(KINDS)
    for at in spread(events, min(KILLS, len(events))):
        out = tmp_path / f"killed{at}"
        assert pool.run(runner, "--out", str(out), kill_at=at)["status"] == [-signal.SIGKILL]
        started = (out / "config.toml").exists()
        answer = pool.run(runner, "--out", str(out), *(["--resume"] if started else []))
        assert answer["status"] == [0], (at, events[at], answer)
        assert_same_run(out, expected)


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
