"""Runs of the runners in a test: a tiny one, and whether two run folders are of the same run."""

import json
from pathlib import Path

import torch

from experiments import translation
from msr.runs import command as _run
from msr.runs import folder as _folder

__all__ = ["RUNS", "TINY", "assert_same_run", "error_line", "lines", "same", "translate", "without_times"]

TINY = ["--length", "8", "--kernel", "2", "--rank", "1", "--test-tasks", "4", "--batch", "2", "--tasks", "20"]
TINY += ["--batching", "loop", "--models", "conv,mtsr", "--inner", "ridge", "--outer-steps", "3"]
# A tiny run of each runner that trains.
RUNS = {
    "translation": TINY,
    "rotation": ["--group", "c4", "--size", "4", "--tasks", "10", "--test-tasks", "3", "--batch", "2",
                 "--batching", "loop", "--models", "conv,msr-ridge", "--k", "2", "--outer-steps", "2"],
    "omniglot": ["--models", "maml,msr", "--ways", "2", "--queries", "1", "--test-queries", "1", "--test-tasks", "2",
                 "--batch", "1", "--batching", "loop", "--width", "2", "--test-inner-steps", "1", "--outer-steps", "2"],
    "deep": ["--quick", "--models", "oracle", "--solvers", "sgd,gn-implicit", "--tasks", "10", "--test-tasks", "2",
             "--batch", "2", "--batching", "loop", "--inner-steps", "1", "--implicit-steps", "1"],
}  # fmt: skip


def translate(*flags: str) -> int:
    """Run the translation runner on a tiny problem with these further flags; its exit status."""
    return _run.main(translation.Config, translation.run, [*TINY, *flags])


def without_times(value):
    """A value of JSON without the keys that hold wall-clock times, at any depth."""
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k not in _folder.TIMES}
    return [without_times(v) for v in value] if isinstance(value, list) else value


def lines(path: Path) -> list[dict]:
    """The lines of a ``.jsonl`` file, without their times."""
    return [without_times(json.loads(line)) for line in path.read_text().splitlines()]


def assert_same_run(actual: Path, expected: Path) -> None:
    """Raise AssertionError unless two run folders are of the same run, bit for bit, and nothing is half-written.

    Rows, metrics, the names of files, and the state in every checkpoint but the earlier ones are compared, times not.
    """
    for name in ("rows.jsonl", "metrics.jsonl"):
        assert lines(actual / name) == lines(expected / name)
    results = [without_times(json.loads((run / "results.json").read_text())) for run in (actual, expected)]
    assert results[0]["rows"] == results[1]["rows"]
    checkpoints, others = (
        # Which earlier checkpoint is kept beside the newest depends on when a run was stopped.
        {path.name for path in run.glob("checkpoints/*.pt") if not path.stem.rpartition(".")[2].isdigit()}
        for run in (expected, actual)
    )
    assert checkpoints == others
    for name in checkpoints:
        a, b = (torch.load(run / "checkpoints" / name, weights_only=True) for run in (actual, expected))
        for key in ("params", "optimizer", "scheduler", "steps_done"):
            assert same(a[key], b[key]), f"{name}: {key}"
    assert not list(actual.rglob("*.part"))
    assert {path.name for path in actual.iterdir()} == {path.name for path in expected.iterdir()}


def same(a, b) -> bool:
    """Whether two values, of nested dictionaries and lists of tensors and plain values, are equal bit for bit."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    return type(a) is type(b) and a == b


def error_line(text: str) -> str:
    """The last line of what was written to stderr; AssertionError unless it is the only error and has no traceback."""
    assert "Traceback" not in text
    assert text.count("error: ") == 1
    assert text.splitlines()[-1].startswith("error: ")
    return text.splitlines()[-1]
