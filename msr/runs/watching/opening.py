"""Who looks on at a run, by its flags."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from msr.runs.config import RunConfig, TrainingFlags
from msr.runs.processes.group import here
from msr.runs.watching.bars import Bars, can_be_shown
from msr.runs.watching.events import Events
from msr.runs.watching.lines import Lines
from msr.runs.watching.refreshing import Refreshing
from msr.runs.watching.watch import Watch, Watcher

__all__ = ["opened"]


@contextlib.contextmanager
def opened(
    config: RunConfig, folder: Path, *, draw: Callable[[], object] | None = None, measures: str = "test value"
) -> Iterator[Watch]:
    """For the length of the block: bars on a terminal, else lines; events with ``--tensorboard``; figures refreshed.

    With ``--quiet`` there are neither bars nor lines. Of several processes the first alone is watched.

    Args:
        folder: of the run; events go to ``tensorboard/`` in it.
        draw: writes the figures of what there is; None where there are none to refresh.
        measures: what is measured while an arm trains, in words.
    """
    if not here().first:
        yield Watch()
        return
    watchers: list[Watcher] = []
    if not config.quiet:
        watchers.append(Bars() if can_be_shown() else Lines())
    if isinstance(config, TrainingFlags) and config.tensorboard:
        watchers.append(Events(folder / "tensorboard"))
    if draw is not None:
        watchers.append(Refreshing(draw))
    watch = Watch(watchers, measures)
    try:
        yield watch
    finally:
        watch.close()
