"""Events for TensorBoard: the curves of every arm, which ``tensorboard --logdir DIR/tensorboard`` draws live."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from msr.errors import MissingExtraError, kind_and_line
from msr.runs.watching.progress import Progress
from msr.runs.watching.watch import Watcher

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["Events", "require"]


def require() -> None:
    """Raise MissingExtraError where TensorBoard's writer cannot be imported: now rather than after an hour."""
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"--tensorboard needs tensorboard ({kind_and_line(error)}). Try: pip install 'msr[watch]'"
        ) from None


class Events(Watcher):
    """Writes the losses and measured values of each training as events to a folder of its own, ``FOLDER/WHAT``.

    A training that is continued, or that goes back to an earlier step, writes a mark with which TensorBoard drops the
    events of later steps, so no curve is drawn twice. Events are on the disk at the latest when the state is.
    """

    shows = "the writing of events for TensorBoard"
    wants_losses = True

    def __init__(self, folder: Path):
        self.folder = folder
        self.writer: SummaryWriter | None = None
        self.seen = 0
        self.written = -1

    def start(self, progress: Progress) -> None:
        """Go on where the checkpoint stands: events after it are of steps that will be taken again."""
        self._open(progress)

    def step(self, progress: Progress) -> None:
        """Write the loss, if it was read; and go back with a training that does."""
        if progress.done < self.seen:
            self._open(progress)
        self.seen = progress.done
        self._write_loss(progress)

    def measured(self, progress: Progress) -> None:
        """Write the loss and the measured value."""
        self._write_loss(progress)
        if progress.value is not None and self.writer is not None:
            # TensorBoard's names hold no spaces.
            name = f"test/{progress.measures.replace(' ', '_')}"
            self.writer.add_scalar(name, progress.value, progress.done)

    def saved(self, progress: Progress) -> None:
        """Put on the disk what was written: a run that is continued from here does not write it again."""
        if self.writer is not None:
            self.writer.flush()

    def end(self, progress: Progress) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file, if one is open."""
        if self.writer is not None:
            self.writer.close()
        self.writer = None

    def _open(self, progress: Progress) -> None:
        """Begin a new file of the training, whose first mark drops the events of steps after those done."""
        from torch.utils.tensorboard import SummaryWriter

        self.close()
        folder = self.folder / progress.what
        _wait_for_a_later_name(folder)
        # The mark drops its own step too, and the event of the last step that is done is to stay.
        self.writer = SummaryWriter(str(folder), purge_step=progress.done + 1)
        self.seen = self.written = progress.done

    def _write_loss(self, progress: Progress) -> None:
        """Write the newest loss, unless it was written."""
        if self.writer is None or progress.loss is None or progress.loss_at is None or progress.loss_at <= self.written:
            return
        self.writer.add_scalar("train/loss", progress.loss, progress.loss_at)
        self.written = progress.loss_at


def _wait_for_a_later_name(folder: Path) -> None:
    """Wait, for a second at most, until a new file of events has a later name than those in the folder.

    TensorBoard reads files in the order of their names, and these begin with the second; the rest of a name says
    nothing of the order.
    """
    seconds = [int(path.name.split(".")[3]) for path in folder.glob("events.out.tfevents.*")]
    now = time.time()
    if int(now) in seconds:
        time.sleep(int(now) + 1 - now)
