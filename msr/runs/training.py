"""Training one arm of a run: steps, checkpoints, what to do when it diverges, and how to continue."""

import math
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from msr.episodes import Episodes
from msr.errors import DataError, NonFiniteError
from msr.failures import one_line, say
from msr.files.writing import write_whole
from msr.meta import InnerSolver, Learner, MetaParameters, OuterLoop, from_module
from msr.meta.checkpoints.file import DamagedCheckpointError, read_checkpoint, write_checkpoint
from msr.runs import signals
from msr.runs.divergence import MOST_ROLLBACKS, LastGood, halve_rates, is_number, largest_loss, odd_rates
from msr.runs.folder import Row, RunFolder
from msr.runs.identity import asked

__all__ = ["Trained", "identity_of", "restored", "train", "trained_params"]

FORCEABLE = ("msr", "format", "data_hash")
"""Keys that ``--force`` lets differ; figures ignore them, since an arm may have been finished before they changed."""

Sample = Callable[[int], tuple[torch.Tensor, Episodes]]


class Trained(NamedTuple):
    """How training went: the seconds of its steps, those that count, and where and why it diverged if it did."""

    seconds: float = 0.0
    steps: int = 0
    diverged_at: int | None = None
    diverged_why: str | None = None
    rollbacks: int = 0

    def row(self) -> Row:
        """What an arm's row says about it."""
        return {
            "diverged": self.diverged_at is not None,
            "diverged_at": self.diverged_at,
            "diverged_why": self.diverged_why,
            "rollbacks": self.rollbacks,
        }


def train(
    loop: OuterLoop,
    folder: RunFolder,
    arm: str,
    sample: Sample,
    steps: int,
    *,
    measure: Callable[[], float] | None = None,
    best: Literal["lowest", "highest"] = "lowest",
) -> Trained:
    """Run an outer loop to ``steps`` from its checkpoint if there is one.

    ``sample(step)`` gives the tasks' indices and their data, and is a pure function, so that a continued run sees
    what an uninterrupted one would. ``measure`` is called about twenty times and its value logged, null with the
    reason where it is not finite; its time does not count. The newest checkpoints are kept, and the one with the
    ``best`` measured value.

    A loss, gradient, parameter or number of the optimiser that is not finite, and a mean loss above
    :func:`~msr.runs.divergence.largest_loss`, end the arm: the loop is put back to the last state whose losses
    were finite. With ``--on-divergence rollback`` it first goes back to the last good checkpoint with half the outer
    rate, up to three times; which one that is depends on the clock, unless a checkpoint is written after every step.
    """
    return _Training(loop, folder, arm, sample, steps, measure, best).run()


def restored(
    folder: RunFolder, arm: str, layer: nn.Module, solver: InnerSolver
) -> tuple[Learner, MetaParameters] | None:
    """A trained arm as a learner and what it learned; None, with a line, where it has no checkpoint."""
    found = trained_params(folder, arm)
    if found is None:
        return None
    params, batching = found
    return Learner(from_module(layer).problem, solver, batching=batching), params


def trained_params(folder: RunFolder, arm: str) -> tuple[MetaParameters, Literal["vmap", "loop", "auto"]] | None:
    """What an arm has learned, and its batching, from its checkpoint; None, with a line, where there is none.

    A copied run folder may have lost its checkpoints; then a figure leaves the arm out.
    Raises: DataError for one that is damaged, or another arm's.
    """
    path = folder.checkpoint(arm)
    if not path.is_file():
        _say(arm, f"left out of the figures: {path} is not there")
        return None
    found = read_checkpoint(path)
    others = {key: value for key, value in identity_of(folder, arm).items() if key not in FORCEABLE}
    if found.format > 1:
        found.refuse_others(others)
    return MetaParameters(**found.state["params"]), found.state["batching"]


def identity_of(folder: RunFolder, arm: str) -> Row:
    """Whose a checkpoint is."""
    return {**folder.identity, "arm": arm, **asked(folder.config)}


@dataclass
class _Record:
    """What a checkpoint holds besides the loop's own state."""

    seconds: float = 0.0
    first_loss: float | None = None
    best: float | None = None
    rollbacks: int = 0
    diverged_at: int | None = None
    diverged_why: str | None = None

    @classmethod
    def of(cls, path: Path, extra: dict[str, Any]) -> "_Record":
        """From a checkpoint's ``extra``; an older one has the seconds alone. Raises: DataError."""
        known = {field.name for field in fields(cls)}
        record = cls(**{key: value for key, value in extra.items() if key in known})
        numbers = (record.first_loss, record.best, record.diverged_at)
        if (
            not is_number(record.seconds, 0)
            or not all(value is None or is_number(value) for value in numbers)
            or type(record.rollbacks) is not int
            or type(record.diverged_why) not in (str, type(None))
        ):
            raise DataError(f"{path}: its extra values are not a run's ({str(extra)[:80]}); remove it")
        return record


class _Training:
    def __init__(
        self,
        loop: OuterLoop,
        folder: RunFolder,
        arm: str,
        sample: Sample,
        steps: int,
        measure: Callable[[], float] | None,
        best: Literal["lowest", "highest"],
    ):
        self.loop, self.folder, self.arm, self.sample, self.steps = loop, folder, arm, sample, steps
        self.measure, self.sign = measure, 1 if best == "lowest" else -1
        self.config, self.record, self.newest = folder.config, _Record(), folder.checkpoint(arm)
        self.identity = identity_of(folder, arm)
        self.every, self.saved = max(1, steps // 20), time.monotonic()
        self.good = LastGood(loop)

    def run(self) -> Trained:
        for line in odd_rates(self.loop):
            _say(self.arm, line)
        self._continue()
        bar = _progress(self.arm, self.steps, self.loop.steps_done)
        try:
            with signals.deferred() as interrupted:
                while self.loop.steps_done < self.steps and self.record.diverged_at is None:
                    at, losses, told = self.loop.steps_done, None, False
                    try:
                        losses = self._step()
                        done = self.loop.steps_done
                        if done % self.every == 0 or done == self.steps:
                            self._report(losses)
                        due = time.monotonic() - self.saved > self.config.checkpoint_seconds
                        told = bool(interrupted)
                        if due or told or done == self.steps:
                            self._save()
                    except NonFiniteError as error:
                        self._diverge(at, " ".join(str(error).split()))
                    bar(self.loop.steps_done, losses)
                    if told:  # and saved; a signal that has come since then waits for the next step
                        break
        finally:
            self.good.close()
        bar(None, None)
        record = self.record
        return Trained(record.seconds, self.loop.steps_done, record.diverged_at, record.diverged_why, record.rollbacks)

    def _step(self) -> torch.Tensor:
        start = time.perf_counter()
        tasks, episodes = self.sample(self.loop.steps_done)
        losses = self.loop.step(episodes, tasks, largest_loss(self.record.first_loss))
        self.record.seconds += time.perf_counter() - start
        if self.record.first_loss is None:
            self.record.first_loss = float(losses.mean())
        return losses

    def _report(self, losses: torch.Tensor) -> None:
        line: Row = {
            "arm": self.arm,
            "step": self.loop.steps_done,
            "train_loss": float(losses.mean()),
            "seconds": round(self.record.seconds, 3),
        }
        if self.measure is not None:
            try:
                value, why = self.measure(), "the measured value is not finite"
            except NonFiniteError as error:
                value, why = math.nan, str(error)
            line |= {"test": value} if math.isfinite(value) else {"test": None, "why": why}
            if math.isfinite(value) and (self.record.best is None or self.sign * (value - self.record.best) < 0):
                self.record.best = value
                self.loop.save(self._beside("best"), asdict(self.record), identity=self.identity)
        self.folder.log(**line)

    def _save(self) -> None:
        """Write the newest checkpoint; those before it move down by one, and the oldest goes."""
        state = self.loop.state_dict()  # if this cannot be saved, nothing moves
        for place in range(self.config.keep_checkpoints - 1, 1, -1):
            if self._beside(str(place - 1)).is_file():
                os.replace(self._beside(str(place - 1)), self._beside(str(place)))
        if self.config.keep_checkpoints > 1 and self.newest.is_file():
            with self.newest.open("rb") as file:
                write_whole(self._beside("1"), lambda copy: shutil.copyfileobj(file, copy))
        write_checkpoint(self.newest, state, asdict(self.record), self.identity)
        self.saved = time.monotonic()

    def _beside(self, name: str) -> Path:
        return self.newest.with_name(f"{self.newest.stem}.{name}.pt")

    def _continue(self) -> None:
        """Load the newest checkpoint that is whole, or start one."""
        paths, damaged = self._paths(), []
        for path in paths:
            try:
                self._load(path)
            except DamagedCheckpointError as error:
                damaged.append((path, str(error)))
                continue
            break
        else:
            if damaged:
                raise DataError(
                    f"{damaged[0][1]}. No earlier checkpoint of {self.arm} can be read either: without its files in "
                    f"{self.newest.parent} the arm starts anew"
                )
            if self.config.resume:
                self.folder.forget_after(self.arm, -1)
            self._save()
            return
        self.folder.forget_after(self.arm, self.loop.steps_done)
        for lost, why in damaged:
            os.replace(lost, lost.with_name(lost.name + ".damaged"))  # so that it never takes the place of a whole one
            self._event("damaged checkpoint", f"{why}; continued from {path.name}, it is kept as {lost.name}.damaged")
        if path != self.newest and not damaged:
            self._event("missing checkpoint", f"{self.newest} is not there; continued from {path.name}")

    def _paths(self) -> list[Path]:
        """The checkpoints that are there, the newest first."""
        places = [int(name) for p in self.newest.parent.glob("*.pt") if (name := self._place(p)).isdigit()]
        return [p for p in (self.newest, *(self._beside(str(place)) for place in sorted(places))) if p.is_file()]

    def _place(self, path: Path) -> str:
        """What stands between an arm's name and ``.pt``; nothing for another arm's file."""
        return path.stem.removeprefix(self.newest.stem + ".") if path.stem.startswith(self.newest.stem + ".") else ""

    def _load(self, path: Path) -> None:
        found = read_checkpoint(path)
        others = found.differences(self.identity)
        if self.config.force and others:
            _say(self.arm, f"{path.name} is taken, as --force asks, although {'; '.join(others)}")
        record = _Record.of(path, found.extra)
        self.loop.load(path, identity=self.identity, force=self.config.force)
        self.record = record
        self.good.forget()

    def _load_before(self, step: int) -> bool:
        """Load the newest whole checkpoint of an earlier step: from there at least one step had finite losses."""
        for path in self._paths():
            if _steps_done(path, step) < step:
                self._load(path)
                self.folder.forget_after(self.arm, self.loop.steps_done)
                return True
        return False

    def _diverge(self, at: int, why: str) -> None:
        """Go back with half the rate, or end the arm where it last was good."""
        rollbacks, good_until = self.record.rollbacks, at + (self.good.steps == at)
        may = self.config.on_divergence == "rollback" and rollbacks < MOST_ROLLBACKS
        if may and self._load_before(good_until):
            loaded, self.record.rollbacks = self.record.rollbacks, rollbacks + 1
            # An older checkpoint may be from before an earlier rollback, and then has the rates of before it.
            rates = [halve_rates(self.loop) for _ in range(rollbacks + 1 - loaded)]
            self._event(
                "rollback",
                f"{why}; rollback {rollbacks + 1} of {MOST_ROLLBACKS}, to step {self.loop.steps_done} with half the "
                f"outer rate, {rates[-1]:g}",
            )
            self._save()
            return
        if self.good.steps < 0 and self._load_before(at):
            return  # just loaded, so nothing was seen to be finite yet: from here the same steps come to it again
        if self.good.steps >= 0:
            self.good.restore()
        self.record.diverged_at, self.record.diverged_why = at, why
        self.folder.forget_after(self.arm, self.loop.steps_done)
        self._event("diverged", f"{why}; the arm ends, and is judged as it was at step {self.loop.steps_done}")
        try:
            self._save()
        except NonFiniteError:  # the optimiser's own numbers had overflown before the losses did
            record = self.record
            if not self._load_before(at):
                raise
            self.record = record
            self._save()

    def _event(self, event: str, why: str) -> None:
        _say(self.arm, why)
        self.folder.log(arm=self.arm, step=self.loop.steps_done, event=event, why=why)


def _steps_done(path: Path, otherwise: int) -> int:
    """Of a checkpoint; ``otherwise`` for one that is damaged."""
    try:
        return int(read_checkpoint(path).state["steps_done"])
    except (DamagedCheckpointError, KeyError, TypeError, ValueError):
        return otherwise


def _say(arm: str, line: str) -> None:
    say(one_line(f"{arm}: {line}"))


def _progress(arm: str, steps: int, done: int) -> Callable[[int | None, torch.Tensor | None], None]:
    """A bar on a terminal, a line at the end elsewhere."""
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        tqdm = None
    if tqdm is None or not sys.stderr.isatty():
        start, last = time.perf_counter(), [done]

        def line(step: int | None, losses: torch.Tensor | None) -> None:
            if step is not None:
                last[0] = step
            else:
                print(
                    f"{arm}: {last[0]} outer steps in {time.perf_counter() - start:.1f} s",
                    file=sys.stderr,
                    flush=True,
                )

        return line
    bar = tqdm(total=steps, initial=done, desc=arm, leave=False, file=sys.stderr)

    def update(step: int | None, losses: torch.Tensor | None) -> None:
        if step is None:
            bar.close()
            return
        bar.update(step - bar.n)
        if losses is not None and step % 20 == 0 and math.isfinite(value := float(losses.mean())):
            bar.set_postfix_str(f"loss {value:.3g}", refresh=False)

    return update
