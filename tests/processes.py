"""Runs in processes of their own that are killed, starved or raced: ``python -m tests.processes`` reads jobs.

One process imports everything, once, and forks a child for each job, so that hundreds of real processes cost seconds.
The first line on stdin, ``{"flags": [...]}``, is a run to warm up with. Each further one is a job,
``{"flags": [...], "kill_at": n, "largest_file": bytes, "together": n}``; its answer is a line
``{"status": [...], "stderr": [...], "events": [...]}`` with an entry for each process.
"""

import contextlib
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

ROOT = Path(__file__).parents[1]
EVENTS = ("open", "os.rename", "os.remove", "os.mkdir")


class Pool:
    """Forks children on demand; a context manager."""

    def __init__(self, *flags: str):
        self.flags = list(flags)

    def __enter__(self) -> "Pool":
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.processes"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._send({"flags": self.flags})
        return self

    def run(self, *flags: str, **how: int) -> dict[str, Any]:
        """Run ``experiments.translation`` with the pool's flags and these; what became of it."""
        self._send({"flags": [*self.flags, *flags], **how})
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

    from experiments import _run, translation

    torch.set_num_threads(1)
    warm = json.loads(sys.stdin.readline())["flags"]  # what libraries do at their first use is done once
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(None), contextlib.redirect_stderr(None):
        _run.main(translation.Config, translation.run, [*warm, "--out", folder])
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
                _child(job, file, lambda flags: _run.main(translation.Config, translation.run, flags))
            children.append((pid, file))
        os.close(go)
        os.close(gate)
        answer: dict[str, list[Any]] = {"status": [], "stderr": [], "events": []}
        for pid, file in children:
            answer["status"].append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
            file.seek(0)
            text, _, events = file.read().partition("\0")
            answer["stderr"].append(text)
            answer["events"].append(int(events or 0))
        print(json.dumps(answer), flush=True)


def _child(job: dict[str, Any], file: Any, main: Any) -> None:
    status = 99
    try:
        os.dup2(file.fileno(), 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        if "largest_file" in job:
            resource.setrlimit(resource.RLIMIT_FSIZE, (job["largest_file"], resource.RLIM_INFINITY))
        folder, count = job["flags"][job["flags"].index("--out") + 1], [0]

        def hook(event: str, arguments: tuple) -> None:
            """Kills before the n-th change of a file of the run's folder."""
            if event not in EVENTS or not str(arguments[0]).startswith(folder):
                return
            if event == "open" and not (isinstance(arguments[1], str) and set(arguments[1]) & set("wxa+")):
                return
            count[0] += 1
            if count[0] == job.get("kill_at"):
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        status = main(job["flags"])
        with contextlib.suppress(OSError):
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        sys.stderr.write(f"\0{count[0]}")
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    _serve()
