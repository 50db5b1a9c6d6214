"""``msr sample``: a task file whose truth is known."""

from typing import Any

from msr.cli.notations import read_notation
from msr.failures import say
from msr.printable import printable
from msr.tasks.files import write_tasks
from msr.tasks.sampling import MOST_DRAWN, sample_group, sample_translation

__all__ = ["run"]


def run(options: Any) -> int:
    """Draw the tasks, write them to the file of ``--out``, say their shapes on stderr, and return the exit code 0."""
    counts = {"n_tasks": options.tasks, "examples": options.examples, "noise": options.noise, "seed": options.seed}
    if options.family == "translation":
        sample = sample_translation(options.length, options.kernel, circular=options.circular, **counts)
    else:
        acts_out = options.acts_out or options.acts
        _, rep_in, rep_out = read_notation(options.group, options.acts, acts_out, most=MOST_DRAWN)
        breaking = {} if options.breaking is None else {"breaking": options.breaking}
        sample = sample_group(rep_in, rep_out, truth=options.family, **breaking, **counts)
    write_tasks(options.out, *sample)
    say(f"{printable(options.out)}: x {tuple(sample.x.shape)}, y {tuple(sample.y.shape)}")
    return 0
