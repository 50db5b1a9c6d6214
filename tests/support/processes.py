"""Runs in processes of their own that are killed, starved or raced: ``python -m tests.support.processes`` reads jobs.

One process imports everything, once, and forks a child for each job, so that hundreds of real processes cost seconds.
The first line on stdin, ``{runner: [flags]}``, has runs to warm up with. Each further one is a job,
``{"runner": name, "flags": [...], "kill_at": n, "largest_file": bytes, "together": n}``; its answer is a line
``{"status": [...], "stderr": [...], "events": [...]}`` with an entry for each process.

Events are what a process does to files of the folder of its run: ``open`` to write, ``write`` and ``append`` (one for
each call of the system), ``fsync``, ``rename``, ``remove``, ``mkdir``; what was done is told in their order. With
``kill_at`` the process is killed in the n-th, counted from 0: just before it, or with half of the bytes written.
"""

import contextlib
import importlib
import io
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
AUDITED = {"os.rename": "rename", "os.remove": "remove", "os.mkdir": "mkdir"}


class Pool:
    """Forks children on demand; a context manager. Each runner is named with the flags of its runs."""

    def __init__(self, **runs: list[str]):
        self.runs = runs

    def __enter__(self) -> "Pool":
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
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
        """Run ``experiments.<runner>`` with the pool's flags and these; what became of it."""
        self._send({"runner": runner, "flags": [*self.runs[runner], *flags], **how})
        assert self.process.stdout
        return json.loads(self.process.stdout.readline())

    def _send(self, job: dict[str, Any]) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()

    def __exit__(self, *error: object) -> None:
        self.process.communicate()  # the end of its input ends it


def _serve() -> None:
    import torch

    torch.set_num_threads(1)
    for runner, flags in json.loads(sys.stdin.readline()).items():  # what libraries do at their first use is done once
        quiet = contextlib.redirect_stdout(None), contextlib.redirect_stderr(None)
        with tempfile.TemporaryDirectory() as folder, quiet[0], quiet[1]:
            _run(runner, [*flags, "--out", folder])
    for line in sys.stdin:
        job = json.loads(line)
        go, gate = os.pipe()
        children = []
        for _ in range(job.get("together", 1)):
            file = tempfile.TemporaryFile("w+")  # noqa: SIM115
            pid = os.fork()
            if pid == 0:
                os.close(gate)
                os.read(go, 1)  # until the parent closes its end: all at once
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


def _run(runner: str, flags: list[str]) -> int:
    from msr.runs import command as runs

    module = importlib.import_module(f"experiments.{runner}")
    return runs.main(module.Config, module.run, flags)


def _child(job: dict[str, Any], file: Any) -> None:
    status = 99
    try:
        os.dup2(file.fileno(), 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        if "largest_file" in job:
            resource.setrlimit(resource.RLIMIT_FSIZE, (job["largest_file"], resource.RLIM_INFINITY))
        events = _Events(job["flags"][job["flags"].index("--out") + 1], job.get("kill_at"))
        status = _run(job["runner"], job["flags"])
        with contextlib.suppress(OSError):
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        sys.stderr.write("\0" + " ".join(events.seen))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


class _Events:
    """Looks on at what this process does to the files of a folder, and kills it in the event of a number."""

    def __init__(self, folder: str, kill_at: int | None):
        self.folder, self.kill_at = folder, kill_at
        self.seen: list[str] = []
        sys.addaudithook(self._audit)
        # Nothing is audited for these two: the calls that the package makes are looked at on their way to the system.
        fsync, opened, looks = os.fsync, Path.open, self

        class Looked(io.FileIO):
            """A file whose calls of the system are events."""

            def write(self, data: Any) -> int:
                """All of it; half where the process is killed."""
                if looks.comes("append" if self.readable() else "write"):
                    super().write(memoryview(data).cast("B")[: len(data) // 2])
                    looks.kill()
                return super().write(data)

        def open_looked(path: Path, mode: str = "r", buffering: int = -1, *others: Any, **more: Any) -> Any:
            if str(path).startswith(folder) and mode in ("xb", "wb", "r+b", "x+b", "ab"):
                raw = Looked(path, mode)
                return raw if buffering == 0 else io.BufferedWriter(raw)
            return opened(path, mode, buffering, *others, **more)

        def fsync_looked(descriptor: int) -> None:
            if os.readlink(f"/proc/self/fd/{descriptor}").startswith(folder) and self.comes("fsync"):
                self.kill()
            fsync(descriptor)

        os.fsync, Path.open = fsync_looked, open_looked  # type: ignore[assignment,method-assign]

    def comes(self, event: str) -> bool:
        """Note an event; whether it is the one to be killed in."""
        self.seen.append(event)
        return len(self.seen) - 1 == self.kill_at

    @staticmethod
    def kill() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def _audit(self, event: str, arguments: tuple) -> None:
        if event == "open":
            mode = arguments[1]
            kind = "open" if isinstance(mode, str) and set(mode) & set("wxa+") else None
        else:
            kind = AUDITED.get(event)
        if kind and str(arguments[0]).startswith(self.folder) and self.comes(kind):
            self.kill()


if __name__ == "__main__":
    _serve()
