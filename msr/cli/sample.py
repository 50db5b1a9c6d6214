"""``msr sample``: a task file whose truth is known."""

import math
from typing import Any

from msr.cli.doors import check_memory
from msr.cli.notations import read_notation
from msr.failures import say
from msr.printable import printable
from msr.sampling import MOST_DRAWN, sample_group, sample_translation
from msr.taskfiles import write_tasks

__all__ = ["run"]


def run(options: Any) -> int:
    """Draw the tasks and write them; the exit code."""
    counts = {"n_tasks": options.tasks, "examples": options.examples, "noise": options.noise, "seed": options.seed}
    if options.family == "translation":
        length, kernel = options.length, options.kernel
        outputs = length if options.circular else max(length - kernel + 1, 1)
        _check_memory(options, length, outputs, outputs * length * kernel)
        sample = sample_translation(length, kernel, circular=options.circular, **counts)
    else:
        acts = options.acts, options.acts_out or options.acts
        _, rep_in, rep_out = read_notation(options.group, *acts, most=MOST_DRAWN)
        _check_memory(options, math.prod(rep_in.shape), math.prod(rep_out.shape))
        breaking = {} if options.breaking is None else {"breaking": options.breaking}
        sample = sample_group(rep_in, rep_out, truth=options.family, **breaking, **counts)
    write_tasks(options.out, *sample)
    say(f"{printable(options.out)}: x {tuple(sample.x.shape)}, y {tuple(sample.y.shape)}")
    return 0


def _check_memory(options: Any, n: int, m: int, pattern: int = 0) -> None:
    """Raises ConfigError for a sample that memory cannot hold; ``pattern``: numbers that all tasks share."""
    numbers = options.tasks * (options.examples * (n + m) + n * m) + pattern
    check_memory(numbers, f"{options.tasks} tasks of {options.examples} examples, {n} inputs and {m} outputs")
