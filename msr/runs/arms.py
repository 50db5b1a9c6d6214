"""The arm loop: what a run computes piece by piece, each piece once, and what is said of all of them at the end.

An *arm* is one line of a run's rows: a variant (a model, a solver, a family) with one seed. A runner lists its arms,
:func:`run_arms` computes those that have no row yet, :func:`summarise` makes one line of all seeds of a variant, and
:func:`publish` writes ``results.json`` and shows the table.
"""

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

from msr.report import figures
from msr.runs.config import TrainingFlags
from msr.runs.folder import Row, RunFolder
from msr.runs.judging import curve
from msr.runs.processes.group import Done, here
from msr.runs.watching.opening import opened

__all__ = ["Arm", "by_name", "draw_curves", "publish", "run_arms", "summarise", "unfinished"]


class Arm(ABC):
    """A variant with one seed. A runner's own is a frozen dataclass with a field ``seed``."""

    seed: int

    @property
    @abstractmethod
    def name(self) -> str:
        """The variant, without the seed: arms of one name are averaged over their seeds."""

    def fields(self) -> Row:
        """The values that tell the arm from others, ``{field: value}``, the seed included; its row begins with them."""
        return dict(vars(self))

    def __str__(self) -> str:
        """The key of the arm's row, and the name of its checkpoint: ``NAME-seedSEED``, with ``_`` for spaces."""
        return f"{self.name}-seed{self.seed}".replace(" ", "_")


A = TypeVar("A", bound=Arm)


def unfinished(folder: RunFolder, arms: Sequence[A]) -> list[A]:
    """The arms that have no row in the folder yet, in the order given."""
    return [arm for arm in arms if str(arm) not in folder.rows]


def run_arms(
    folder: RunFolder,
    arms: Sequence[A],
    compute: Callable[[A], Row],
    *,
    tell: Callable[[Row], str] | None = None,
    draw: Callable[[list[A]], object] | None = None,
    measures: str = "test value",
) -> None:
    """Compute every arm that has no row yet, in the order given, and record each row as soon as it is there.

    So a run that ends early loses no more than the arm at hand. A row holds the arm's fields and what ``compute``
    gives, which replaces a field of the same key. Meanwhile the run is watched, as its flags ask.

    Several processes of a run compute each arm together, and all but the first end here (Done): what is said of all
    arms is said once.

    Args:
        tell: makes a line of a new row, which is shown on stderr after the arm's name; None, or ``--quiet``, shows
            nothing.
        draw: writes the figures of the arms that it is given, those that were begun. It is called now and then.
        measures: what is measured while an arm trains, in words.
    """
    processes = here()
    processes.require_equal([str(arm) for arm in unfinished(folder, arms)], "list of arms")
    refresh = None if draw is None else lambda: draw(_begun(folder, arms))
    with opened(folder.config, folder.path, draw=refresh, measures=measures) as folder.watch:
        for number, arm in enumerate(arms, 1):
            if str(arm) in folder.rows:
                continue
            folder.watch.arm(str(arm), number, len(arms))
            row = {**arm.fields(), **compute(arm)}
            folder.finish_arm(str(arm), row)
            if tell is not None and not folder.config.quiet:
                print(f"{arm}: {tell(row)}", file=sys.stderr, flush=True)
            folder.watch.finished(str(arm), number, len(arms))
    processes.gathered(None)
    processes.ending()
    if not processes.first:
        raise Done


def _begun(folder: RunFolder, arms: Sequence[A]) -> list[A]:
    """The arms that have something to draw, in the order given: a checkpoint, or a row where none is trained."""
    if isinstance(folder.config, TrainingFlags):
        return [arm for arm in arms if folder.checkpoint(str(arm)).is_file()]
    return [arm for arm in arms if str(arm) in folder.rows]


def by_name(arms: Sequence[A]) -> dict[str, list[A]]:
    """The arms of each variant, by its name, in the order given; each list goes over the seeds."""
    variants: dict[str, list[A]] = {}
    for arm in arms:
        variants.setdefault(arm.name, []).append(arm)
    return variants


def summarise(folder: RunFolder, arms: Sequence[A], line: Callable[[list[A], list[Row]], Row]) -> list[Row]:
    """A summary row for each variant, in the order given: what ``line`` makes of its arms and of their rows.

    The rows are in the order of the arms; each arm must have one in the folder (KeyError).
    """
    return [line(group, [folder.rows[str(arm)] for arm in group]) for group in by_name(arms).values()]


def draw_curves(
    folder: RunFolder,
    arms: Mapping[str, Arm],
    label: str,
    *,
    log: bool,
    kinds: Mapping[str, str] | None = None,
    against: Literal["step", "seconds"] = "step",
) -> None:
    """Draw ``curve.png`` in the folder: the values that were measured while arms trained, each under its name; or
    ``seconds.png``, the same against the seconds that the steps took.

    They are the values under ``test`` in the metrics. Arms without metrics are left out, and where no arm has any there
    is no figure.

    Args:
        arms: by the name that each has in the figure's legend.
        label: of the axis of values.
        log: whether that axis is logarithmic.
        kinds: the kind of each name, for colours and the legend, as of :func:`msr.report.figures.curves`.
        against: what the values are drawn against.
    """
    metrics = {name: folder.metrics(str(arm)) for name, arm in arms.items()}
    series = {name: curve(lines, against) for name, lines in metrics.items() if lines}
    if series:
        xlabel = "outer step" if against == "step" else "seconds of outer steps"
        picture = figures.curves(series, ylabel=label, log=log, xlabel=xlabel, kinds=kinds)
        folder.draw("curve.png" if against == "step" else "seconds.png", picture)


def publish(folder: RunFolder, table: str, **results: Any) -> None:
    """Write ``results.json`` with these results beside the rows.

    The table is printed on stdout, and the path of the file on stderr.
    """
    path = folder.finish(**results)
    print(table)
    print(f"\nresults: {path}", file=sys.stderr)
