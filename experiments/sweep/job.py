"""One run of a sweep: a process, ``python -m experiments.NAME``, that is started, waited for, and told to stop.

Only the standard library is imported here, since a job on a cluster reads this file before it starts its run.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["NOT_STARTED", "Job", "Outcome"]

NOT_STARTED = "not started"

# Seconds between two looks at whether the run has ended, or is to be stopped. Chosen by hand.
_LOOK = 0.2
# Seconds that a run has for its exit after a second signal, which ends it in the middle of a step. Chosen by hand.
_GRACE = 10.0
# Bytes of a log in which its last line is looked for: a line of an error has about a thousand characters.
_TAIL = 16384


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its exit status, 0 where all went well, and else the reason in a line; with the seconds it took.

    A run that was not started has no status.
    """

    status: int | None
    error: str | None
    seconds: float


@dataclass
class Job:
    """A run that can be called, here or on another machine; a call gives its :class:`Outcome`.

    A run that has begun before is continued. It begins a session of its own, so that the Ctrl-C of a terminal reaches
    the sweep alone, which passes it on once: a second signal would end the run in the middle of a step.

    Args:
        name: of the run: its setting and seed.
        runner: the name of its runner.
        flags: the words of its command line, without folder and threads.
        folder: its folder; what it prints goes to the file of this name and ``.log``.
        threads: how many threads torch works with.
    """

    name: str
    runner: str
    flags: list[str]
    folder: str
    threads: int
    working_folder: str = field(default_factory=os.getcwd)
    _killed: bool = field(default=False, repr=False, compare=False)
    _child: "subprocess.Popen[bytes] | None" = field(default=None, repr=False, compare=False)
    _lock: Any = field(default_factory=threading.Lock, repr=False, compare=False)

    def __call__(self, stopping: Callable[[], bool] = lambda: False) -> Outcome:
        """Run to the end, or until ``stopping`` says so: then the run is asked to save and stop."""
        if stopping():
            return Outcome(None, NOT_STARTED, 0.0)
        begin = time.monotonic()
        log = Path(f"{self.folder}.log")
        log.parent.mkdir(parents=True, exist_ok=True)
        threads = str(self.threads)
        words = [sys.executable, "-m", f"experiments.{self.runner}", *self.flags]
        words += [f"--out={self.folder}", f"--threads={threads}"]
        if (Path(self.folder) / "config.toml").is_file():
            words.append("--resume")
        with log.open("ab") as file:
            before = file.tell()
            with self._lock:
                if self._killed:
                    return Outcome(None, NOT_STARTED, 0.0)
                self._child = child = subprocess.Popen(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=file,
                    cwd=self.working_folder,
                    env={**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads},
                    start_new_session=True,
                )
            try:
                self._wait(child, stopping)
            except BaseException:
                # Such as submitit's own error when the time of the job is over: the run saves while this process ends.
                child.terminate()
                raise
        status = child.returncode
        return Outcome(status, _why(status, log, before) if status else None, time.monotonic() - begin)

    def kill(self) -> None:
        """End the run at once, in the middle of its step, and wait until it is gone; it is not started any more."""
        with self._lock:
            self._killed = True
            child = self._child
        if child is None or child.poll() is not None:
            return
        child.terminate()
        try:
            child.wait(_GRACE)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def checkpoint(self) -> Any:
        """What submitit calls on a cluster when the job's time is over or its machine is wanted: the job to go on with.

        The run is asked to save and stop, and waited for.
        """
        from submitit.helpers import DelayedSubmission

        if self._child is not None:
            self._child.terminate()
            self._child.wait()
        return DelayedSubmission(self)

    def _wait(self, child: "subprocess.Popen[bytes]", stopping: Callable[[], bool]) -> None:
        """Wait until the run has ended, and ask it to stop, once, when ``stopping`` says so."""
        asked = False
        while not _has_ended(child):
            if not asked and stopping():
                asked = True
                child.terminate()

    def __getstate__(self) -> dict[str, Any]:
        """The fields without the process and the lock, which stay on their machine."""
        return {**self.__dict__, "_child": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the fields, with a lock of this machine's own."""
        self.__dict__.update({**state, "_lock": threading.Lock()})


def _has_ended(child: "subprocess.Popen[bytes]") -> bool:
    """Whether a process has ended, after a short wait for it."""
    try:
        child.wait(_LOOK)
    except subprocess.TimeoutExpired:
        return False
    return True


def _why(status: int, log: Path, before: int) -> str:
    """Why a run failed, in a line: the last error of its log, or the signal that ended it.

    Args:
        status: its exit status, negative for a signal that the process did not handle.
        before: bytes of the log that earlier starts of the run had written.
    """
    with log.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(before, end - _TAIL))
        lines = file.read().decode(errors="backslashreplace").splitlines()
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    if errors:
        return errors[-1]
    if status < 0:
        number = -status
        return f"ended by {_signal_name(number)}" + ("; perhaps memory was short" if number == signal.SIGKILL else "")
    if status > 128:
        return f"stopped by {_signal_name(status - 128)}"
    last = next((line for line in reversed(lines) if line.strip()), "it printed nothing")
    return f"exit status {status}: {last}"


def _signal_name(number: int) -> str:
    """The name of a signal, ``SIGKILL``; its number where it has none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
