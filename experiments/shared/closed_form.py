"""The shared span found in closed form, for runners: from a family to what ``find_span`` reads, and timed."""

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
from msr.tasks import TaskFamily

__all__ = ["UNUSED", "FoundSpan", "chunks_of", "found_dimension", "found_or_why_not", "found_span", "parse_k"]

# Enough for every family here: the equations of a row are several times its unknowns.
TASKS = 500
CHUNK = 250
UNUSED = "has no meaning here: tasks are made, and nothing trains"
"""Why runners that find spans in closed form refuse some flags."""


@dataclass(frozen=True)
class FoundSpan:
    """A span and what it took, drawing the tasks included."""

    span: SharedSpan
    seconds: float
    n_tasks: int

    def summary(self) -> Row:
        """How the dimension was found, for ``results.json``."""
        start, cut = self.span.start, self.span.cut
        row: Row = {"k": self.span.k, "seconds": round(self.seconds, 3), "tasks": self.n_tasks}
        if start is not None and cut is not None:
            row["spectrum"] = {"k": start.k, "edge": start.edge, "null": start.null, "gap": start.gap}
            row["spectrum"]["stability"] = float(start.stability.min())
            row["cut"] = {"energy": cut.energy.tolist(), "p_value": cut.p_value.tolist(), "tasks": cut.n_tasks}
        return row


def chunks_of(
    family: TaskFamily, n_tasks: int, *, kernel: int | None = None, examples: int | None = None, chunk: int = CHUNK
) -> Chunks:
    """Passes over the first training tasks, drawn anew in each: support and query, all labels that training sees.

    With ``kernel`` the tasks are convolutions (valid, stride 1). ``examples`` takes only the first of each task.
    """

    def one_pass() -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, n_tasks, chunk):
            e = family.episodes("train", torch.arange(start, min(start + chunk, n_tasks)))
            x, y = e.examples()
            x, y = x[:, :examples], y[:, :examples]
            yield patches(x, y, kernel) if kernel else (x.flatten(2), y.flatten(2))

    return one_pass


def found_span(
    family: TaskFamily, k: int | Literal["auto"], *, n_tasks: int = TASKS, kernel: int | None = None
) -> FoundSpan:
    """The span of a family's training tasks, as many as ``n_tasks`` of them."""
    start = time.perf_counter()
    held = family.n_tasks("train")
    n_tasks = n_tasks if held is None else min(n_tasks, held)
    span = find_span(chunks_of(family, n_tasks, kernel=kernel), k=k)
    return FoundSpan(span, time.perf_counter() - start, n_tasks)


def found_or_why_not(family: TaskFamily, k: int | Literal["auto"], *, required: bool) -> tuple[FoundSpan | None, str]:
    """The span, or, unless it is required, why there is none."""
    try:
        return found_span(family, k), ""
    except DataError as error:
        if required:
            raise
        return None, str(error)


def found_dimension(family: TaskFamily, make: Callable[[Any, str, Tensor], Episodes], kernel: int) -> int:
    """The dimension that a family's convolutions share, support and query being the halves of a task's examples."""
    episodes = make(family, "train", torch.arange(min(TASKS, family.n_tasks("train") or TASKS)))
    x, y = episodes.examples()
    return find_span(in_chunks(*patches(x, y, kernel))).k


def parse_k(text: str) -> int | Literal["auto"]:
    """``--k``: a count, or ``auto``."""
    if text == "auto":
        return "auto"
    if not text.isdecimal() or len(text) > 9:
        raise ConfigError(f"--k must be a count or auto; got {text!r}")
    return int(text)
