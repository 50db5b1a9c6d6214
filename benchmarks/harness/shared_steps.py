"""Processes that take outer steps together and answer questions; :class:`Team` starts them as programs of this module.

A team is started once and asked again and again, so that teams of different sizes can take turns. Each question
is a line of JSON on the stdin of every process, and the first one answers with a line.
"""

import json
import math
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from msr.episodes import Episodes
from msr.layers import ReparamLinear, reparameterize
from msr.meta import SGD, Learner, MetaGradient, OuterLoop, from_module
from msr.runs.config import TrainingFlags
from msr.runs.processes.group import here
from msr.runs.processes.launching import own_gpu, several
from msr.runs.training import with_adam
from msr.sharing import DenseSharing
from tasks import TranslationTasks
from tasks.networks import conv4, convolutions_of_conv4

__all__ = ["PROBLEMS", "Team", "Work", "work"]

PROBLEMS = ("translation", "conv-4")
_WAYS = 5
_IMAGES = 30
"""Images of a task of conv-4: one a class to adapt to, five a class to be judged by."""


@dataclass(frozen=True)
class Work:
    """What is trained, and how its tasks are made: ``episodes(tasks)`` of so many of them, given by their indices."""

    loop: OuterLoop
    episodes: Callable[[torch.Tensor], Episodes]

    @property
    def numbers(self) -> int:
        """How many numbers a gradient has."""
        return sum(leaf.numel() for leaf in self.loop.params.leaves())


def work(problem: str, device: str = "cpu", *, recorded: bool = True) -> Work:
    """MSR on translation tasks of rank 1, 70 numbers in and 68 out; or with conv-4, 32 filters, on images of 5 classes.

    Both take one gradient step with learned rates, and Adam outside, as their runners do. Translation tasks are made in
    each step, which is part of the work; images are random numbers, made once a call.

    Args:
        problem: one of :data:`PROBLEMS`.
        device: where to compute; on a GPU the tasks of conv-4 run side by side, on a CPU one by one.
        recorded: whether translation's steps are recorded, as the runner does: they become several times as fast.
    """
    generator = torch.Generator().manual_seed(0)
    solver = SGD(1, rate=0.1)
    if problem == "translation":
        family = TranslationTasks(rank=1, n_train=10**9)
        layer = ReparamLinear(70, 68, bias=False, sharing=partial(DenseSharing, k=3), generator=generator)
        parts = from_module(layer.to(device))
        learner = Learner(parts.problem, solver, batching="vmap", trace=recorded)
        episodes = partial(family.episodes, "train")
        return Work(with_adam(learner, parts.shared, parts.initial, 1e-3), lambda tasks: episodes(tasks).to(device))
    plain = conv4(_WAYS, generator=generator)
    parts = from_module(reparameterize(plain, convolutions_of_conv4()).module.to(device), F.cross_entropy)
    learner = Learner(parts.problem, solver, batching="loop" if device == "cpu" else "vmap")

    def images(tasks: torch.Tensor) -> Episodes:
        generators = [torch.Generator().manual_seed(task) for task in tasks.tolist()]
        x = torch.stack([torch.randn(_IMAGES, 1, 28, 28, generator=own) for own in generators])
        y = (torch.arange(_IMAGES) % _WAYS).expand(len(tasks), _IMAGES).contiguous()
        return Episodes.split(x, y, _WAYS).to(device)

    return Work(with_adam(learner, parts.shared, parts.initial, 1e-3), images)


class Team:
    """So many processes with one thread each, which take outer steps on a problem; a context manager.

    Args:
        problem: one of :data:`PROBLEMS`.
        world: the number of processes.
        device: ``cpu``, or ``cuda`` with a GPU for each.
    """

    def __init__(self, problem: str, world: int, device: str = "cpu"):
        self.command = [sys.executable, "-m", __spec__.name, problem, str(world), device]
        self.world = world

    def __enter__(self) -> "Team":
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        self.processes = [
            subprocess.Popen(
                self.command,
                cwd=Path(__file__).parents[2],
                env={**environment, **({"LOCAL_RANK": str(rank)} if self.world > 1 else {})},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for rank in range(self.world)
        ]
        return self

    def ask(self, what: str, **values: int) -> dict[str, Any]:
        """The answer to a question: the name of a function of this module that begins with ``_answer_``."""
        for process in self.processes:
            assert process.stdin
            process.stdin.write(json.dumps({"what": what, **values}) + "\n")
            process.stdin.flush()
        first = self.processes[0].stdout
        assert first
        line = first.readline()
        if not line:
            raise RuntimeError(f"the processes of {self.command} have ended; their own error is on stderr")
        return json.loads(line)

    def __exit__(self, *error: object) -> None:
        # The end of their input ends them, and they wait for each other, so all inputs are closed before any is waited
        # for.
        for process in self.processes:
            assert process.stdin
            process.stdin.close()
        for process in self.processes:
            assert process.stdout
            process.stdout.close()
            process.wait()


def _answer_steps(mine: Work, *, n: int, tasks: int) -> dict[str, Any]:
    """Seconds a step over ``n`` steps of so many tasks, and CPU seconds a step of each process.

    Beside them stands the mean loss of the first step.
    """
    processes = here()
    losses = []
    processes.gathered(None)
    start = time.perf_counter()
    used = time.process_time()
    for step in range(n):
        drawn = torch.arange(step * tasks, (step + 1) * tasks)
        losses.append(mine.loop.step(mine.episodes(processes.share(drawn)), drawn))
    first = float(losses[0].mean())  # which waits for the device
    used = time.process_time() - used
    return {
        "seconds": (time.perf_counter() - start) / n,
        "cpu": [seconds / n for seconds in processes.gathered(used)],
        "loss": first,
    }


def _answer_sums(mine: Work, *, n: int, numbers: int) -> dict[str, Any]:
    """Seconds that the sum of so many numbers over all processes takes, in the mean of ``n`` sums."""
    leaf = mine.loop.params.leaves()[0].detach()
    gradient = MetaGradient(leaf.new_zeros(1), mine.loop.params.with_leaves(_cut(mine.loop, numbers)))
    processes = here()
    for repeats in (2, n):
        processes.gathered(None)
        start = time.perf_counter()
        for _ in range(repeats):
            _, asked = processes.joined(gradient, processes.world, [False])
        assert not any(asked)
    return {"seconds": (time.perf_counter() - start) / n}


def _cut(loop: OuterLoop, numbers: int) -> list[torch.Tensor]:
    """Leaves like those of a loop whose numbers are so many in all."""
    leaves = [leaf.detach() for leaf in loop.params.leaves()]
    return [leaves[0].new_zeros(numbers), *(leaf.new_zeros(0) for leaf in leaves[1:])]


_ANSWERS: dict[str, Callable[..., dict[str, Any]]] = {"steps": _answer_steps, "sums": _answer_sums}


@dataclass(frozen=True)
class _Config(TrainingFlags):
    """The flags that say how many processes there are."""

    device: str = "cpu"


def _serve(problem: str, world: int, device: str) -> None:
    """Answer questions until stdin ends, as one of ``world`` processes."""
    torch.set_num_threads(1)
    config = _Config(devices=world, device=device)
    own_gpu(config)
    with several(config, repeatable=False, hint=str):
        processes = here()
        mine = work(problem, device)

        def join(gradient: MetaGradient, tasks: torch.Tensor | None) -> MetaGradient:
            assert tasks is not None
            return processes.joined(gradient, len(tasks), [False, False])[0]

        mine.loop.join = None if processes.alone else join
        for line in sys.stdin:
            question = json.loads(line)
            answer = _ANSWERS[question.pop("what")](mine, **question)
            assert all(math.isfinite(value) for value in answer.values() if isinstance(value, float))
            print(json.dumps({**answer, "numbers": mine.numbers, "backend": processes.backend}), flush=True)
        processes.gathered(None)
        processes.ending()


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]), sys.argv[3])
