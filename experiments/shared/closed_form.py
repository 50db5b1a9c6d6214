"""The shared span in closed form, for runners: from a family of tasks to what ``find_span`` reads, with its time."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from msr.episodes import Episodes
from msr.errors import ConfigError, DataError
from msr.runs.folder import Row
from msr.span import Chunks, SharedSpan, find_span, in_chunks, patches
from msr.tasks import Split, TaskFamily

__all__ = ["CHUNK", "SpanFit", "chunks_of", "dimension_of", "fit_span", "fit_span_or_reason", "parse_k"]

# Training tasks that a span is found from. Chosen by hand: for every family here the equations of a row of the span are
# then several times its unknowns.
TASKS = 500
CHUNK = 250
"""Tasks that are drawn and read at a time. It bounds the memory, and the order of sums, and so their last digits."""


@dataclass(frozen=True)
class SpanFit:
    """A span, with the seconds it took (drawing the tasks included) and the number of tasks it was found from."""

    span: SharedSpan
    seconds: float
    n_tasks: int

    def summary(self) -> Row:
        """The dimension ``k``, the seconds and the tasks, and how ``k`` was found, as JSON holds them.

        ``spectrum`` and ``cut`` are there only where the span holds them, as when ``k`` was not given.
        """
        start = self.span.start
        cut = self.span.cut
        row: Row = {"k": self.span.k, "seconds": round(self.seconds, 3), "tasks": self.n_tasks}
        if start is not None and cut is not None:
            row["spectrum"] = {"k": start.k, "edge": start.edge, "null": start.null, "gap": start.gap}
            row["spectrum"]["stability"] = float(start.stability.min())
            row["cut"] = {"energy": cut.energy.tolist(), "p_value": cut.p_value.tolist(), "tasks": cut.n_tasks}
        return row


def chunks_of(
    family: TaskFamily, n_tasks: int, *, kernel: int | None = None, examples: int | None = None, chunk: int = CHUNK
) -> Chunks:
    """A function that begins a pass over the first ``n_tasks`` training tasks, as ``find_span`` reads them.

    A pass gives pairs ``x (tasks, examples, in)``, ``y (tasks, examples, out)`` of ``chunk`` tasks at most, drawn anew
    in each pass. The examples are those of the support and of the query set, which training gets too.

    Args:
        kernel: for tasks that are convolutions (valid, stride 1), the side of the kernel: each window is then an
            example. None for linear tasks, whose examples are flattened.
        examples: how many of each task are kept, the first ones; None for all.
    """

    def one_pass() -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, n_tasks, chunk):
            episodes = family.episodes("train", torch.arange(start, min(start + chunk, n_tasks)))
            x, y = episodes.examples()
            x = x[:, :examples]
            y = y[:, :examples]
            yield patches(x, y, kernel) if kernel else (x.flatten(2), y.flatten(2))

    return one_pass


def fit_span(
    family: TaskFamily, k: int | Literal["auto"], *, n_tasks: int = TASKS, kernel: int | None = None
) -> SpanFit:
    """The span of a family's training tasks, from the first ``n_tasks`` of them or all that there are.

    ``k`` is its dimension, or ``auto`` to find it; ``kernel`` is as in :func:`chunks_of`.
    Raises: DataError where no span is found.
    """
    start = time.perf_counter()
    limit = family.n_tasks("train")
    n_tasks = n_tasks if limit is None else min(n_tasks, limit)
    span = find_span(chunks_of(family, n_tasks, kernel=kernel), k=k)
    return SpanFit(span, time.perf_counter() - start, n_tasks)


def fit_span_or_reason(family: TaskFamily, k: int | Literal["auto"], *, required: bool) -> tuple[SpanFit | None, str]:
    """The span and an empty text, or None and the reason why none is found.

    Raises: DataError with that reason if the span is ``required``.
    """
    try:
        return fit_span(family, k), ""
    except DataError as error:
        if required:
            raise
        return None, str(error)


def dimension_of(family: TaskFamily, make: Callable[[Any, Split, Tensor], Episodes], kernel: int) -> int:
    """The dimension of the span that a family's convolutions share.

    ``make(family, split, tasks)`` gives the episodes, which may stand for the family's own; ``kernel`` is the side of a
    filter. At most the first :data:`TASKS` training tasks are read.
    """
    episodes = make(family, "train", torch.arange(min(TASKS, family.n_tasks("train") or TASKS)))
    return find_span(in_chunks(*patches(*episodes.examples(), kernel))).k


def parse_k(text: str) -> int | Literal["auto"]:
    """The value of ``--k``: a count, 0 included, or ``auto``. Raises: ConfigError for anything else."""
    if text == "auto":
        return "auto"
    # Nine digits are more than any weight has numbers, and far from the end of 64 bits.
    if not text.isdecimal() or len(text) > 9:
        raise ConfigError(f"--k must be a count or auto; got {text!r}")
    return int(text)
