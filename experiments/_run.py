"""How a runner starts and ends: flags in, a folder out, every failure one line, a way to continue."""

import contextlib
import math
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from experiments import _signals as signals
from experiments._config import CommonConfig, Config, parse, threads_for
from experiments._folder import RunFolder, held, recorded_threads, release
from experiments._streams import Guard, guarded
from msr.episodes import Episodes
from msr.errors import MSRError, NonFiniteError
from msr.failures import BAD_INPUT, explained, report, say
from msr.meta import OuterLoop

__all__ = ["main", "train"]


def main(config: type[Config], run: Callable[[Config], None], argv: list[str] | None = None) -> int:
    """Parse and run; the exit status.

    A failure that was foreseen is one line and status 2, any other one line, a file with the traceback and status 70.
    Told to stop, a runner finishes the step, saves, and exits with 128 + the signal. What cannot be printed is dropped:
    nobody has to look on.
    """
    with guarded() as stdout:
        try:
            with signals.raising():
                settings = parse(config, argv)
                settings.check()
                with _threads(settings):
                    run(settings)
        except KeyboardInterrupt as stop:
            say(f"stopped{_continuation() or ' before anything was written'}")
            return stop.status if isinstance(stop, signals.Stop) else 130
        except Exception as error:
            line = explained(error)
            if line is None:
                return report(error, f"python -m experiments.{config.__module__.rpartition('.')[2]}")
            say(f"error: {line}" + ("" if isinstance(error, MSRError) else _continuation()))
            return BAD_INPUT
        finally:
            where = held()
            release()
        return _shown(stdout, where)


def _continuation() -> str:
    """How to go on with what is on the disk."""
    folder = held()
    if folder is None:
        return ""
    return f"; what was finished is kept: continue with --resume --out {shlex.quote(os.fspath(folder))}"


def _shown(stdout: Guard, folder: Path | None) -> int:
    stdout.flush()
    if stdout.lost:
        say(f"error: stdout takes no more text, so the table was not shown; the results are in {folder}/results.json")
        return BAD_INPUT
    return 0


@contextlib.contextmanager
def _threads(config: CommonConfig) -> Iterator[None]:
    """As many threads as were asked for; else those that the run to continue had; else the policy's."""
    before = torch.get_num_threads()
    recorded = recorded_threads(config.out) if config.resume else 0
    torch.set_num_threads(config.threads or recorded or threads_for(config))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def train(
    loop: OuterLoop,
    folder: RunFolder,
    arm: str,
    sample: Callable[[int], tuple[torch.Tensor, Episodes]],
    steps: int,
    *,
    measure: Callable[[], float] | None = None,
) -> float:
    """Run an outer loop to ``steps`` from its checkpoint if there is one; returns the seconds spent training.

    ``sample(step)`` gives the tasks' indices and their data, and is a pure function, so that a continued run sees
    what an uninterrupted one would. ``measure`` is called about twenty times and its value logged; its time does not
    count.
    """
    path, seconds, report = folder.checkpoint(arm), 0.0, max(1, steps // 20)
    if path.is_file():
        seconds = loop.load(path)["seconds"]
        folder.forget_after(arm, loop.steps_done)
    elif folder.config.resume:
        folder.forget_after(arm, -1)
    bar, saved = _progress(arm, steps, loop.steps_done), time.monotonic()
    with signals.deferred() as interrupted:
        while loop.steps_done < steps:
            start = time.perf_counter()
            tasks, episodes = sample(loop.steps_done)
            try:
                losses = loop.step(episodes, tasks)
            except NonFiniteError:
                loop.save(path, {"seconds": seconds})  # the last good state: nothing was updated
                raise
            seconds += time.perf_counter() - start
            done = loop.steps_done
            if done % report == 0 or done == steps:
                value = measure() if measure else None
                line = {"arm": arm, "step": done, "train_loss": float(losses.mean()), "seconds": round(seconds, 3)}
                folder.log(**line, **({} if value is None else {"test": value}))
            bar(done, losses)
            if interrupted or time.monotonic() - saved > 20:
                loop.save(path, {"seconds": seconds})
                saved = time.monotonic()
            if interrupted:
                break  # on the way out it is raised
    loop.save(path, {"seconds": seconds})
    bar(None, None)
    return seconds


def _progress(arm: str, steps: int, done: int) -> Callable[[int | None, torch.Tensor | None], None]:
    """A bar on a terminal, a line at the end elsewhere."""
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        tqdm = None
    if tqdm is None or not sys.stderr.isatty():
        start = time.perf_counter()

        def line(step: int | None, losses: torch.Tensor | None) -> None:
            if step is None:
                print(
                    f"{arm}: {steps} outer steps in {time.perf_counter() - start:.1f} s",
                    file=sys.stderr,
                    flush=True,
                )

        return line
    bar = tqdm(total=steps, initial=done, desc=arm, leave=False, file=sys.stderr)

    def update(step: int | None, losses: torch.Tensor | None) -> None:
        if step is None:
            bar.close()
            return
        bar.update(1)
        if losses is not None and step % 20 == 0 and math.isfinite(value := float(losses.mean())):
            bar.set_postfix_str(f"loss {value:.3g}", refresh=False)

    return update
