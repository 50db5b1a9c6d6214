"""A run on a terminal: a bar of the arms, under it one of the training at hand, and above them what else is said."""

import io
import sys
from typing import Any

from msr.failures import say
from msr.runs.watching.progress import Progress
from msr.runs.watching.watch import Watcher

__all__ = ["Bars", "can_be_shown"]


def can_be_shown() -> bool:
    """Whether stderr is a terminal, and tqdm, which draws bars, is installed."""
    if sys.stderr is None or not sys.stderr.isatty():
        return False
    try:
        import tqdm  # noqa: F401
    except ModuleNotFoundError:
        return False
    return True


class Bars(Watcher):
    """Bars on stderr. From :meth:`arm` to :meth:`close`, lines that are printed on ``sys.stderr`` appear above them."""

    shows = "the bar of progress"
    wants_losses = True

    def __init__(self) -> None:
        from tqdm import tqdm

        self.tqdm = tqdm
        self.stream = sys.stderr
        self.arms: Any = None
        self.steps: Any = None

    def arm(self, name: str, number: int, count: int) -> None:
        """Name the arm beside the bar of arms, which stands at those that are done."""
        if self.arms is None:
            self.arms = self._bar(total=count, initial=number - 1, desc="arms", unit="arm")
            sys.stderr = _Above(self.stream, self.tqdm)
        self._move(self.arms, number - 1)
        self.arms.set_postfix_str(name)

    def finished(self, name: str, number: int, count: int) -> None:
        """Move the bar of arms."""
        self._move(self.arms, number)

    def start(self, progress: Progress) -> None:
        """A bar of steps; where it is time that bounds the training, a bar of the share that is done."""
        how: dict[str, Any] = {"total": progress.total, "initial": progress.done, "unit": "step"}
        if progress.total is None:
            how = {
                "total": 1.0,
                "initial": progress.share or 0.0,
                "bar_format": "{desc}: {percentage:3.0f}%|{bar}| [{elapsed}<{remaining}{postfix}]",
            }
        self.steps = self._bar(desc=progress.what, **how)

    def step(self, progress: Progress) -> None:
        """Move the bar of steps, and put loss and measured value beside it."""
        numbers = progress.numbers()
        if progress.total is None:
            numbers = [f"{progress.done} steps", f"{progress.rate:.3g} a second", *numbers]
        self.steps.set_postfix_str(", ".join(numbers), refresh=False)
        self._move(self.steps, progress.done if progress.total is not None else progress.share or 0.0)

    def end(self, progress: Progress) -> None:
        """Put a line on what was done, if anything was, in place of the bar of steps."""
        self.steps.close()
        self.steps = None
        if progress.has_moved:
            say(progress.last_line())

    def close(self) -> None:
        """Clear the bars away, and let lines appear where they did before."""
        if isinstance(sys.stderr, _Above):
            sys.stderr.end()
            sys.stderr = self.stream
        for bar in (self.steps, self.arms):
            if bar is not None:
                bar.close()
        self.steps = self.arms = None

    def _bar(self, **how: Any) -> Any:
        """A bar that is cleared away when it is closed, and follows the width of the terminal."""
        return self.tqdm(leave=False, file=self.stream, dynamic_ncols=True, **how)

    @staticmethod
    def _move(bar: Any, place: float) -> None:
        """Move a bar, forward or back."""
        bar.update(place - bar.n)


class _Above(io.TextIOBase):
    """A stream whose lines appear above the bars of ``tqdm``; what is no whole line yet waits for its end."""

    def __init__(self, stream: Any, tqdm: Any):
        self.stream = stream
        self.tqdm = tqdm
        self.begun = ""

    def write(self, text: str) -> int:
        """Write the lines that are whole with this text; its length."""
        lines, line_break, self.begun = (self.begun + text).rpartition("\n")
        if line_break:
            with self.tqdm.external_write_mode(self.stream):
                self.stream.write(lines + line_break)
                self.stream.flush()
        return len(text)

    def end(self) -> None:
        """Write what has waited for the end of its line."""
        if self.begun:
            self.write("\n")

    def flush(self) -> None:
        """Nothing waits but a line without an end."""

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        return bool(self.stream.isatty())

    def fileno(self) -> int:
        """The descriptor of the stream."""
        return int(self.stream.fileno())

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the stream."""
        return str(self.stream.encoding)
