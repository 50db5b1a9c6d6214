"""Runs in processes of their own that are killed, starved or raced: ``python -m tests.support.processes`` reads jobs.

One process imports everything, once, and forks a child for each job, so that hundreds of real processes cost seconds.
The first line on stdin, ``{runner: [flags]}``, has a run to warm up each runner with, which it makes before the first
job of that runner. Each further line is a job,
``{"runner": name, "flags": [...], "kill_at": n, "largest_file": bytes, "together": n, "whole": 1}``; its answer is
a line ``{"status": [...], "stderr": [...], "events": [...]}`` with an entry for each process.

A warm-up run draws its pictures, and must end well. Where a child would draw a picture, which is most of what a tiny
run costs, it writes the numbers and the names that the picture shows, in some 25 kB and three writes as a picture has.
So two runs whose pictures show the same write the same bytes. Nor does a child record its steps, which
would take most of the remaining time. With ``whole`` or ``largest_file`` it draws and records as a user's run does.

With ``processes`` that many children are the processes of one run, as a launcher would have started them, without the
seconds that libraries take to load. ``rank`` says to which of them ``kill_at``, ``largest_file``, ``signal_at`` and
``refuse_at`` apply. ``signal_at`` sends SIGTERM to that process in the n-th batch of tasks that it draws, counted from
0, and ``refuse_at`` raises DataError there. ``double`` computes in double precision.

Events are what a process does to the files in its run's folder: ``open`` to write, ``write`` and ``append`` (one for
each system call), ``fsync``, ``rename``, ``remove``, ``mkdir``; the answer lists them in order. With ``kill_at`` the
process is killed at the n-th event, counted from 0: just before it happens, or with half of the bytes written.
"""

import contextlib
import gc
import importlib
import io
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PIECE = 8300  # bytes; more than the buffer of a file, so that each piece is a write, as three of a picture are
AUDITED = {"os.rename": "rename", "os.remove": "remove", "os.mkdir": "mkdir"}


class Pool:
    """Forks children on demand; a context manager. Each runner is named with the flags of its runs."""

    def __init__(self, **runs: list[str]):
        self.runs = runs

    def __enter__(self) -> "Pool":
        # A process that has lost another one writes a stack of C++ frames at the next lower level.
        quiet = {"TORCH_CPP_LOG_LEVEL": "ERROR"}
        environment = {**os.environ, **quiet, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.processes"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._send(self.runs)
        return self

    def run(self, runner: str, *flags: str, **how: int) -> dict[str, Any]:
        """Run ``experiments.<runner>`` with the pool's flags and these in a forked child; the job's answer.

        ``how`` may hold ``kill_at``, ``largest_file``, ``together`` and the rest, as the module says.
        """
        self._send({"runner": runner, "flags": [*self.runs[runner], *flags], **how})
        assert self.process.stdout
        answer = self.process.stdout.readline()
        assert answer, "the process that forks has ended; its own error is on stderr"
        return json.loads(answer)

    def _send(self, job: dict[str, Any]) -> None:
        """Write one line to the process that forks."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()

    def __exit__(self, *error: object) -> None:
        self.process.communicate()  # the end of its input ends it


def _serve() -> None:
    """Read jobs from stdin until it ends, run each in forked children, and print an answer for each."""
    import torch

    torch.set_num_threads(1)
    cold = json.loads(sys.stdin.readline())
    for line in sys.stdin:
        job = json.loads(line)
        if job["runner"] in cold:
            _warm_up(job["runner"], cold.pop(job["runner"]))
        if "processes" in job:
            import lightning_fabric  # noqa: F401  # once, and not in each child

            job["flags"] += ["--devices", str(job["processes"])]
            job["port"] = free_port()
        go, gate = os.pipe()
        children = []
        for number in range(job.get("processes", job.get("together", 1))):
            file = tempfile.TemporaryFile("w+")  # noqa: SIM115
            pid = os.fork()
            if pid == 0:
                os.close(gate)
                os.read(go, 1)  # returns when the parent closes its end, for all children at once
                if "processes" in job:
                    _become(number, job)
                _child(job, file)
            children.append((pid, file))
        os.close(go)
        os.close(gate)
        answer: dict[str, list[Any]] = {"status": [], "stderr": [], "events": []}
        for pid, file in children:
            answer["status"].append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
            file.seek(0)
            text, _, events = file.read().partition("\0")
            answer["stderr"].append(text)
            answer["events"].append(events.split())
        print(json.dumps(answer), flush=True)


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _become(rank: int, job: dict[str, Any]) -> None:
    """Make this child the process of this rank of a run, and drop from the job what is to happen to another one."""
    os.environ |= {"LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(job["port"])}
    if rank != job.get("rank", 0):
        for key in ("kill_at", "largest_file", "signal_at", "refuse_at"):
            job.pop(key, None)


def _warm_up(runner: str, flags: list[str]) -> None:
    """A run that does what libraries do at their first use, so that no child has to do it."""
    with open(os.devnull, "w") as nowhere, tempfile.TemporaryDirectory() as folder:
        with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(io.StringIO()) as said:
            status = _run(runner, [*flags, "--out", folder])
        drawn = [path.read_bytes()[:4] for path in Path(folder).glob("*.png")]
    if status != 0 or set(drawn) != {b"\x89PNG"}:
        raise RuntimeError(f"the run that warms {runner} up ended with status {status}: {said.getvalue()}")
    # The garbage collector of a child would copy the memory that it walks through.
    gc.collect()
    gc.freeze()


def _run(runner: str, flags: list[str]) -> int:
    """Run a runner in this process, as its command line would; the exit status."""
    from msr.runs import command as runs

    module = importlib.import_module(f"experiments.{runner}")
    return runs.main(module.Config, module.run, flags)


def _child(job: dict[str, Any], file: Any) -> None:
    """Run a job in a forked child, and end the process with the run's status, or with 99 where anything was raised.

    ``file`` receives what is written to stderr, then a zero byte and the events.
    """
    status = 99
    try:
        if "whole" not in job and "largest_file" not in job:
            _show_numbers_only()
            _record_nothing()
        os.dup2(file.fileno(), 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        if "largest_file" in job:
            resource.setrlimit(resource.RLIMIT_FSIZE, (job["largest_file"], resource.RLIM_INFINITY))
        if "double" in job:
            _compute_in_double()
        _disturb(job.get("signal_at", -1), job.get("refuse_at", -1))
        events = _Events(job["flags"][job["flags"].index("--out") + 1], job.get("kill_at"))
        status = _run(job["runner"], job["flags"])
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        sys.stderr.write("\0" + " ".join(events.events))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _show_numbers_only() -> None:
    """From now on, what a picture shows is written in its place."""
    from matplotlib.figure import Figure

    def write_numbers(figure: Figure, file: Any, **how: Any) -> None:
        numbers = repr(list(_shown(figure))).encode()
        for piece in (numbers[:PIECE], numbers[PIECE : 2 * PIECE], numbers[2 * PIECE :]):
            file.write(piece.ljust(PIECE))

    Figure.savefig = write_numbers  # type: ignore[method-assign]


def _compute_in_double() -> None:
    """From now on networks and tasks are in double precision; images are made in single precision as ever."""
    import torch

    from msr.episodes import Episodes
    from tasks.images import ImageTasks

    def made_double(family: Any, split: Any, tasks: Any, made: Any = ImageTasks.episodes) -> Episodes:
        torch.set_default_dtype(torch.float32)
        single = made(family, split, tasks)
        torch.set_default_dtype(torch.float64)
        return Episodes(*(part.double() if part.is_floating_point() else part for part in single))

    torch.set_default_dtype(torch.float64)
    ImageTasks.episodes = made_double  # type: ignore[method-assign]


def _disturb(signal_at: int, refuse_at: int) -> None:
    """From now on this process gets SIGTERM, or raises DataError, when it draws the training tasks of these batches."""
    from msr.errors import DataError
    from msr.runs.training import TaskFamily

    count = [0]

    def disturbed(family: Any, split: str, step: int, n: int, drawn: Any = TaskFamily.draw) -> Any:
        count[0] += 1
        if count[0] - 1 == signal_at:
            os.kill(os.getpid(), signal.SIGTERM)
        if count[0] - 1 == refuse_at:
            raise DataError("the tasks are torn")
        return drawn(family, split, step, n)

    TaskFamily.draw = disturbed  # type: ignore[method-assign]


def _record_nothing() -> None:
    """From now on steps are not recorded: a recording lives in memory alone, and takes longer than a tiny run."""
    from msr.meta import Learner

    made = Learner.__init__

    def made_unrecorded(learner: Learner, *args: Any, **options: Any) -> None:
        made(learner, *args, **{**options, "trace": False})

    Learner.__init__ = made_unrecorded  # type: ignore[method-assign]


def _shown(figure: Any) -> Iterator[tuple]:
    """What the panels of a figure show, to the last bit."""
    for axes in figure.axes:
        yield axes.get_title(), axes.get_xlabel(), axes.get_ylabel(), axes.get_xscale(), axes.get_yscale()
        for line in axes.lines:
            yield line.get_label(), line.get_xydata().tolist()
        for image in axes.images:
            yield image.get_clim(), image.get_array().tolist()
        for patch in axes.patches:
            yield (
                patch.get_label(),
                patch.get_path().vertices.tolist(),
                patch.get_patch_transform().get_matrix().tolist(),
            )
        for collection in axes.collections:
            yield collection.get_label(), [path.vertices.tolist() for path in collection.get_paths()]
        legend = axes.get_legend()
        texts = [*axes.texts, *([] if legend is None else legend.get_texts())]
        yield tuple(text.get_text() for text in texts)


class _Events:
    """Records what this process does to the files of a folder, and kills it at the event of a given number.

    Making one replaces ``os.fsync`` and ``Path.open`` for the rest of the process. With ``kill_at`` None it lives.
    """

    def __init__(self, folder: str, kill_at: int | None):
        self.folder, self.kill_at = folder, kill_at
        self.events: list[str] = []
        sys.addaudithook(self._audit)
        # Python audits neither writes nor fsync, so these two are replaced by functions that record their calls.
        fsync, opened, recorder = os.fsync, Path.open, self

        class Recorded(io.FileIO):
            """A file whose every write is an event."""

            def write(self, data: Any) -> int:
                """Write all of the data; half of it where the process is to be killed."""
                if recorder.is_fatal("append" if self.readable() else "write"):
                    super().write(memoryview(data).cast("B")[: len(data) // 2])
                    recorder.kill()
                return super().write(data)

        def open_recorded(path: Path, mode: str = "r", buffering: int = -1, *others: Any, **more: Any) -> Any:
            if str(path).startswith(folder) and mode in ("xb", "wb", "r+b", "x+b", "ab"):
                raw = Recorded(path, mode)
                return raw if buffering == 0 else io.BufferedWriter(raw)
            return opened(path, mode, buffering, *others, **more)

        def fsync_recorded(descriptor: int) -> None:
            if os.readlink(f"/proc/self/fd/{descriptor}").startswith(folder) and self.is_fatal("fsync"):
                self.kill()
            fsync(descriptor)

        os.fsync, Path.open = fsync_recorded, open_recorded  # type: ignore[assignment,method-assign]

    def is_fatal(self, event: str) -> bool:
        """Append an event to ``events``, and tell whether it is the one at which the process is to be killed."""
        self.events.append(event)
        return len(self.events) - 1 == self.kill_at

    @staticmethod
    def kill() -> None:
        """Kill this process at once, by SIGKILL."""
        os.kill(os.getpid(), signal.SIGKILL)

    def _audit(self, event: str, arguments: tuple) -> None:
        """The audit hook: record opens for writing, renames, removals and new folders, and kill at the fatal one."""
        if event == "open":
            mode = arguments[1]
            kind = "open" if isinstance(mode, str) and set(mode) & set("wxa+") else None
        else:
            kind = AUDITED.get(event)
        if kind and str(arguments[0]).startswith(self.folder) and self.is_fatal(kind):
            self.kill()


if __name__ == "__main__":
    _serve()
