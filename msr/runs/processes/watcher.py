"""A thread that sees the end of another process of the run, and ends this one, wherever it is.

A process that waits for a sum over all processes is told by the system that a connection has closed. One that computes,
or waits on a GPU, is told by nobody; and a process that fails should be able to say why to those that go down with it.
"""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from msr.failures import BAD_INPUT

if TYPE_CHECKING:
    from torch.distributed import TCPStore

__all__ = ["Watcher"]

_KEY = "msr/failure"
_HEARD = "msr/heard"
# Seconds. All were chosen by hand: a run ends within about two of them after a process was lost.
_EVERY = 0.2  # between two looks at the processes that this one started, or that started it
_GRACE = 1.5  # for the main thread to end by itself, which says more than this thread can
_PATIENCE = 3.0  # until a lost connection is reported without its reason, or a child that does not end is killed
_LOOKS = 5  # looks for each question to the store, which all processes of the run ask


class Watcher(threading.Thread):
    """Looks several times a second whether the other processes live.

    Args:
        rank: of this process.
        local_rank: the number of this process on its machine.
        world: the number of processes.
        parent: the number that the system gives the process which started this one; None to let it end alone.
        children: the processes that this one has started so far, in the order of their ranks from ``rank + 1`` on.
        last_words: says what has happened, before this process is ended from here.
    """

    def __init__(
        self,
        rank: int,
        local_rank: int,
        world: int,
        parent: int | None,
        children: Callable[[], list["subprocess.Popen[bytes]"]],
        last_words: Callable[[str], None],
    ):
        super().__init__(daemon=True, name="watcher of the other processes")
        self.rank = rank
        self._local_rank = local_rank
        self.world = world
        self._parent = parent
        self._children = children
        self._last_words = last_words
        self._store: TCPStore | None = None
        self._trouble = ""
        self._first_gone = False
        self._found = threading.Event()
        self._over = threading.Event()
        self._hurry = False

    def connect(self, host: str, port: int) -> None:
        """Connect to the store of all processes, by which they tell each other that they fail.

        It is a connection of its own: the main thread may be waiting on the other one.
        """
        from torch.distributed import TCPStore

        self._store = TCPStore(host, port, is_master=False, timeout=timedelta(seconds=10), wait_for_workers=False)

    @property
    def abandoned(self) -> bool:
        """Whether the process that started this one is gone."""
        return self._parent is not None and os.getppid() != self._parent

    @property
    def leaderless(self) -> bool:
        """Whether the first process on this machine is gone, as far as this one knows."""
        return self.abandoned or self._first_gone

    def over(self) -> None:
        """From now on this process ends by itself, and the end of another one is no failure."""
        self._over.set()

    def tell(self, trouble: str) -> None:
        """Tell all other processes why this one fails, unless one of them was faster."""
        if self._store is not None:
            try:
                self._store.compare_set(_KEY, "", trouble)
            except RuntimeError:
                self._store = None  # the first process holds the store, and is gone

    def reason(self, error: str) -> str:
        """What has become of another process, in words; it may take a moment until that is known.

        ``error`` is what the library said that had the connection.
        """
        self._hurry = True
        self._found.wait(_PATIENCE)
        return self._trouble or f"the connection to another process was lost ({error})"

    def run(self) -> None:
        """Look until another process is lost, or this one is about to end by itself."""
        looks = 0
        while not self._over.wait(_EVERY):
            looks += 1
            self._trouble = self._look(ask=self._hurry or looks % _LOOKS == 0)
            if self._trouble:
                if not self.abandoned:
                    self.tell(self._trouble)
                self._found.set()
                if not self._over.wait(_GRACE):
                    self._last_words(self._trouble)
                    self.end_children(patience=0.0)
                    os._exit(BAD_INPUT)

    def wait_until_heard(self) -> None:
        """Wait until all other processes that live have heard why this one fails: the first one holds what they read.

        Two that fail at once do not wait for each other for longer than a few seconds.
        """
        until = time.monotonic() + _PATIENCE
        dead = sum(child.poll() is not None for child in self._children())
        with contextlib.suppress(RuntimeError):
            while self._store is not None and time.monotonic() < until:
                if self._store.add(_HEARD, 0) >= self.world - 1 - dead:
                    return
                time.sleep(_EVERY / 4)

    def end_children(self, patience: float = _PATIENCE) -> None:
        """Wait so many seconds for the processes that this one has started, and then kill those that are left."""
        until = time.monotonic() + patience
        for child in self._children():
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(max(0.0, until - time.monotonic()))
            if child.poll() is None:
                child.kill()
                child.wait()

    def _look(self, *, ask: bool) -> str:
        """What is wrong with another process, in words; empty where nothing is known to be.

        Args: ``ask``: whether to ask the store too, where no process is seen to have ended.
        """
        if self.abandoned:
            return f"the process that started process {self.rank} of {self.world} is gone"
        ended = [(rank, child.poll()) for rank, child in enumerate(self._children(), self.rank + 1)]
        bad = [(rank, status) for rank, status in ended if status]
        # A process that fails tells why before it ends, so the store is asked before its exit status is quoted.
        said = self._said() if ask or bad else ""
        if said or not bad:
            return said
        rank, status = bad[0]
        return f"process {rank} of {self.world} {_how(status)}"

    def _said(self) -> str:
        """What a process that fails has told, or that the first one is gone; empty where there is nothing."""
        if self._store is None:
            return ""
        try:
            if not self._store.check([_KEY]):
                return ""
            said = self._store.get(_KEY).decode()
            self._store.add(_HEARD, 1)
            return said
        except RuntimeError:
            self._store = None
            # On another machine the first process there is another one, and lives.
            self._first_gone = self.rank == self._local_rank
            return f"process 0 of {self.world}, to which all others are connected, is gone"


def _how(status: int | None) -> str:
    """How a process ended with this exit status, in words; a negative one is the number of a signal."""
    if status is None or status >= 0:
        return f"ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"
