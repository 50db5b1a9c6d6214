"""Training one arm of a run: steps, checkpoints, what to do when it diverges, and how to continue."""

import math
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from msr.episodes import Episodes
from msr.errors import DataError, NonFiniteError, ProcessError
from msr.failures import one_line, say
from msr.files.writing import write_whole
from msr.meta import InnerSolver, Learner, MetaGradient, MetaParameters, OuterLoop, from_module
from msr.meta.checkpoints.file import DamagedCheckpointError, content_hash, read_checkpoint, write_checkpoint
from msr.runs import signals
from msr.runs.config import TrainingFlags
from msr.runs.divergence import MOST_ROLLBACKS, LastGood, halve_rates, is_number, largest_loss, odd_rates
from msr.runs.folder import Row, RunFolder
from msr.runs.identity import asked
from msr.runs.processes.group import here
from msr.tasks import TaskFamily

__all__ = [
    "Sample",
    "Trained",
    "batches_of",
    "identity_of",
    "restored",
    "train",
    "trained_params",
    "trained_row",
    "with_adam",
]

FORCEABLE = ("msr", "format", "data_hash")
"""Keys that ``--force`` lets differ; figures ignore them, since an arm may have been finished before they changed."""

Sample = Callable[[int], tuple[torch.Tensor, Episodes]]
"""The batch of an outer step: the tasks' indices ``(tasks,)``, and the data of this process's share of them."""

# Measurements of an arm, at equal distances, and so points of its curve. Chosen by hand.
_MEASUREMENTS = 20


class Trained(NamedTuple):
    """How training went: seconds and number of its steps, and where and why it diverged if it did.

    ``seconds`` are those of drawing tasks and taking steps alone, in all starts of the run together. ``steps`` counts
    the outer steps of the state that is judged; ``diverged_at`` is the number of steps that were done before the one
    that failed, and it and ``diverged_why`` are None for an arm that did not diverge; ``rollbacks`` is how often the
    arm went back with half the rate.
    """

    seconds: float = 0.0
    steps: int = 0
    diverged_at: int | None = None
    diverged_why: str | None = None
    rollbacks: int = 0

    def row(self) -> Row:
        """The part of an arm's row that tells of divergence: ``diverged``, a boolean, and three fields as they are."""
        return {
            "diverged": self.diverged_at is not None,
            "diverged_at": self.diverged_at,
            "diverged_why": self.diverged_why,
            "rollbacks": self.rollbacks,
        }


def trained_row(loop: OuterLoop, trained: Trained) -> Row:
    """The values in the row of every trained arm: those of :meth:`Trained.row` and ``outer_steps``, ``seconds``,
    ``batching``, ``n_adapted``, ``n_shared``.

    ``n_adapted`` is how many numbers each task adapts, and ``n_shared`` how many all tasks share.
    """
    return {
        **trained.row(),
        "outer_steps": loop.steps_done,
        "seconds": round(trained.seconds, 3),
        "batching": loop.learner.batching,
        "n_adapted": sum(parameter.numel() for parameter in loop.params.initial.values()),
        "n_shared": sum(parameter.numel() for parameter in loop.params.shared.values()),
    }


def with_adam(
    learner: Learner,
    shared: dict[str, torch.Tensor],
    initial: dict[str, torch.Tensor],
    rate: float,
    *,
    beta: float = 0.999,
    decay_steps: int | None = None,
    clip_norm: float | None = None,
    fused: bool | None = None,
) -> OuterLoop:
    """An outer loop with Adam, ``betas = (0.9, beta)``, that improves what is shared and where tasks start.

    Args:
        shared, initial: the parameters by name, as :func:`~msr.meta.from_module` gives them.
        rate: Adam's learning rate.
        decay_steps: outer steps over which the rate falls to zero along a cosine; None keeps it constant.
        clip_norm: the largest norm of the whole gradient, to which a larger one is scaled down; None for no bound.
        fused: as of :class:`torch.optim.Adam`; None leaves the choice to torch.
    """
    adam = partial(torch.optim.Adam, lr=rate, betas=(0.9, beta), fused=fused)
    cosine = None
    if decay_steps is not None:
        cosine = partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=max(decay_steps, 1))
    return OuterLoop(learner, learner.init(shared, initial), adam, scheduler=cosine, clip_norm=clip_norm)


def batches_of(family: TaskFamily, batch: int, device: str) -> Sample:
    """A function ``step -> (tasks, episodes)``: ``batch`` training tasks of a family for an outer step, on a device.

    Of several processes each makes the data of its own share alone.
    """
    processes = here()

    def sample(step: int) -> tuple[torch.Tensor, Episodes]:
        tasks = family.draw("train", step, batch)
        return tasks, family.episodes("train", processes.share(tasks)).to(device)

    return sample


def train(
    loop: OuterLoop,
    folder: RunFolder,
    arm: str,
    sample: Sample,
    steps: int,
    *,
    seconds: float = math.inf,
    measure: Callable[[], float] | None = None,
    best: Literal["lowest", "highest"] = "lowest",
) -> Trained:
    """Run an outer loop up to ``steps``, or until its steps have taken ``seconds``, from the arm's checkpoint if there
    is one.

    ``sample(step)`` gives the tasks' indices and their data, and is a pure function, so that a continued run gets the
    batches that an uninterrupted one would; of several processes each gives its share, and the first alone measures and
    writes. ``measure`` is called about twenty times, evenly over ``steps`` (over ``seconds``, where these are bounded)
    and after the last, and its value logged as ``test``, null with the reason where it is not finite; its time does not
    count. The newest checkpoints are kept, and the one with the ``best`` measured value. The folder's config needs the
    flags of :class:`~msr.runs.config.TrainingFlags`.

    A loss, gradient, parameter or number of the optimiser that is not finite, and a mean loss above
    :func:`~msr.runs.divergence.largest_loss`, end the arm: the loop goes back to the last state whose losses were
    finite. With ``--on-divergence rollback`` it first goes back to the last good checkpoint with half the outer
    rate, up to three times; which one that is depends on the clock, unless a checkpoint is written after every step.
    """
    return _Training(loop, folder, arm, sample, steps, seconds, measure, best).run()


def restored(
    folder: RunFolder, arm: str, layer: nn.Module, solver: InnerSolver
) -> tuple[Learner, MetaParameters] | None:
    """A trained arm as a learner and its parameters, from its newest checkpoint.

    None, and a line on stderr, where it has no checkpoint. Raises: DataError for one that is damaged, or another arm's.

    Args:
        layer: of the arm's kind; only its structure is used, and not its numbers.
        solver: by which the arm adapts.
    """
    learned = trained_params(folder, arm)
    if learned is None:
        return None
    params, batching = learned
    return Learner(from_module(layer).problem, solver, batching=batching), params


def trained_params(folder: RunFolder, arm: str) -> tuple[MetaParameters, Literal["vmap", "loop", "auto"]] | None:
    """An arm's parameters and its batching, from its checkpoint; None, and a line on stderr, where there is none.

    A copied run folder may have lost its checkpoints; then a figure leaves the arm out.
    Raises: DataError for one that is damaged, or another arm's.
    """
    path = folder.checkpoint(arm)
    if not path.is_file():
        _say(arm, f"left out of the figures: {path} is not there")
        return None
    checkpoint = read_checkpoint(path)
    expected = {key: value for key, value in identity_of(folder, arm).items() if key not in FORCEABLE}
    # Checkpoints of format 1 do not say whose they are.
    if checkpoint.format > 1:
        checkpoint.refuse_others(expected)
    return MetaParameters(**checkpoint.state["params"]), checkpoint.state["batching"]


def identity_of(folder: RunFolder, arm: str) -> Row:
    """Which arm of which run a checkpoint belongs to: the run's identity, the arm, and the flags that matter."""
    return {**folder.identity, "arm": arm, **asked(folder.config)}


@dataclass
class _Record:
    """What a checkpoint holds besides the loop's own state.

    ``first_loss`` is the mean loss of the first step, and ``best`` the best measured value, each None before there is
    one; all other fields are as in :class:`Trained`.
    """

    seconds: float = 0.0
    first_loss: float | None = None
    best: float | None = None
    rollbacks: int = 0
    diverged_at: int | None = None
    diverged_why: str | None = None

    @classmethod
    def of(cls, path: Path, extra: dict[str, Any]) -> "_Record":
        """The record in the ``extra`` values of the checkpoint at ``path``; an older one holds the seconds alone.

        Raises: DataError for values of the wrong type.
        """
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


class _Asked(NamedTuple):
    """What is asked for after a step: to write a checkpoint, to stop, to measure, and to end since time is over."""

    save: bool = False
    stop: bool = False
    measure: bool = False
    over: bool = False


class _Training:
    """:func:`train` with its state: the loop, what its checkpoints record beside it, and the last good state."""

    def __init__(
        self,
        loop: OuterLoop,
        folder: RunFolder,
        arm: str,
        sample: Sample,
        steps: int,
        seconds: float,
        measure: Callable[[], float] | None,
        best: Literal["lowest", "highest"],
    ):
        if not isinstance(folder.config, TrainingFlags):
            raise TypeError(
                f"training asks for checkpoint flags; {type(folder.config).__name__} must inherit from TrainingFlags"
            )
        self.config: TrainingFlags = folder.config
        self.loop = loop
        self.folder = folder
        self.arm = arm
        self.sample = sample
        self.steps = steps
        self.seconds = seconds
        self.measure = measure
        self.sign = 1 if best == "lowest" else -1
        self.record = _Record()
        self.newest = folder.checkpoint(arm)
        self.identity = identity_of(folder, arm)
        self.every = max(1, steps // _MEASUREMENTS)
        self.saved = time.monotonic()
        self.good = LastGood(loop)
        self.processes = here()
        self.over = False
        self.marks = 0
        self.interrupted: list[int] = []
        self.asked = _Asked()
        if not self.processes.alone:
            loop.join = self._joined

    def run(self) -> Trained:
        """Train to the end, to divergence, or until a signal asks to stop, which is raised after saving."""
        for line in odd_rates(self.loop):
            _say(self.arm, line)
        self._continue()
        # Equal in all processes, which have just taken over the state of the first.
        self.over = self.record.seconds >= self.seconds
        self.marks = self._marks()
        watch = self.folder.watch
        watch.start(self.arm, self.loop.steps_done, self._known_total(), share=self._share_of_time())
        try:
            with signals.deferred() as self.interrupted:
                while not self._is_done() and self.record.diverged_at is None:
                    at = self.loop.steps_done
                    losses: torch.Tensor | None = None
                    told_to_stop = False
                    try:
                        losses = self._step()
                        asked = self._requests()
                        self.over = asked.over
                        if asked.measure or self._is_done():
                            self._report(losses)
                        # Asked again, since a signal may have come meanwhile.
                        asked = self._requests()
                        told_to_stop = asked.stop
                        if asked.save or told_to_stop or self._is_done():
                            self._save()
                    except NonFiniteError as error:
                        self._diverge(at, " ".join(str(error).split()))
                    # The state is saved. A signal that arrived after that waits for the next step.
                    if told_to_stop:
                        break
                    watch.step(self.loop.steps_done, losses, share=self._share_of_time())
                self._stop_together()
        finally:
            self.good.close()
        watch.end()
        record = self.record
        return Trained(record.seconds, self.loop.steps_done, record.diverged_at, record.diverged_why, record.rollbacks)

    def _is_done(self) -> bool:
        """Whether all steps were taken, or all seconds are spent."""
        return self.loop.steps_done >= self.steps or self.over

    def _marks(self) -> int:
        """How many measurements the share that is done asks for; 0 where only steps bound the training."""
        return int(_MEASUREMENTS * (self._share_of_time() or 0))

    def _known_total(self) -> int | None:
        """How many steps there will be; None where time may end them first."""
        return self.steps if math.isinf(self.seconds) else None

    def _share_of_time(self) -> float | None:
        """The share of the training that is done, by seconds or by steps; None where only steps bound it."""
        if math.isinf(self.seconds):
            return None
        return max(self.record.seconds / self.seconds, self.loop.steps_done / self.steps)

    def _step(self) -> torch.Tensor:
        """Take one outer step, timed together with drawing its tasks; the losses ``(tasks,)``."""
        start = time.perf_counter()
        tasks, episodes = self.sample(self.loop.steps_done)
        self._choose_batching(episodes)
        losses = self.loop.step(episodes, tasks, largest_loss(self.record.first_loss))
        self.record.seconds += time.perf_counter() - start
        if self.record.first_loss is None:
            self.record.first_loss = float(losses.mean())
        return losses

    def _joined(self, mine: MetaGradient, tasks: torch.Tensor | None) -> MetaGradient:
        """The meta-gradient of all processes, each of which gives its share and what it asks for."""
        assert tasks is not None
        gradient, asked = self.processes.joined(mine, len(tasks), self._asked_here())
        self.asked = _Asked(*asked)
        return gradient

    def _asked_here(self) -> "_Asked":
        """What this process asks for. What the clock says, the first process alone asks for."""
        first = self.processes.first
        due = time.monotonic() - self.saved > self.config.checkpoint_seconds
        over = self.record.seconds >= self.seconds
        return _Asked(due and first, bool(self.interrupted), self._marks() > self.marks and first, over and first)

    def _requests(self) -> "_Asked":
        """What any process asks for after the step that was just taken.

        Several processes were asked while they joined their gradients, so that no further message is needed.
        """
        asked = self._asked_here() if self.processes.alone else self.asked
        if math.isinf(self.seconds):
            asked = asked._replace(measure=self.loop.steps_done % self.every == 0)
        return asked

    def _stop_together(self) -> None:
        """A signal to one process stops all of them: at the end of the arm's steps each learns of it."""
        numbers = [number for caught in self.processes.gathered(self.interrupted[:1]) for number in caught]
        if numbers:
            self.interrupted[:] = self.interrupted or numbers
            self.processes.ending()

    def _choose_batching(self, episodes: Episodes) -> None:
        """Of several processes the first chooses how tasks are batched, and tells the others; ``episodes`` to try it
        on.
        """
        learner = self.loop.learner
        if learner.batching == "auto" and not self.processes.alone:
            learner.check(self.loop.params, episodes)
            learner.batching = self.processes.told(partial(learner.choose_batching, self.loop.params, episodes))

    def _report(self, losses: torch.Tensor) -> None:
        """Measure, append a line to the metrics, and write the state as the arm's best checkpoint if no earlier value
        was as good.

        ``losses (tasks,)`` are those of the step just taken. Without ``measure`` there is only the line.
        """
        loss = float(losses.mean())
        line: Row = {
            "arm": self.arm,
            "step": self.loop.steps_done,
            "train_loss": loss,
            "seconds": round(self.record.seconds, 3),
        }
        if self.processes.told(partial(self._measured, line)):
            # In each process, so that all of them see a number that cannot be saved.
            state = self.loop.state_dict()
            if self.processes.first:
                write_checkpoint(self._beside("best"), state, asdict(self.record), self.identity)
        self.folder.log(**line)
        self.folder.watch.measured(self.loop.steps_done, loss, line.get("test"))
        self.marks = self._marks()
        self._require_equal_parameters()

    def _measured(self, line: Row) -> bool:
        """Measure, and add the value to a line of the metrics; whether none before was as good."""
        if self.measure is None:
            return False
        why = "the measured value is not finite"
        try:
            value = self.measure()
        except NonFiniteError as error:
            value, why = math.nan, str(error)
        line |= {"test": value} if math.isfinite(value) else {"test": None, "why": why}
        is_best = math.isfinite(value) and (self.record.best is None or self.sign * (value - self.record.best) < 0)
        if is_best:
            self.record.best = value
        return is_best

    def _require_equal_parameters(self) -> None:
        """Raise ProcessError where the processes no longer hold the same parameters, bit for bit.

        They take the same steps on the same numbers, so this would be a fault of a machine, or machines whose
        arithmetic differs.
        """
        if self.processes.alone:
            return
        try:
            state = {"params": self.loop.params._asdict(), "batching": self.loop.learner.batching}
            self.processes.require_equal(content_hash(state), "state of its parameters")
        except ProcessError as error:
            raise ProcessError(f"after outer step {self.loop.steps_done}: {error}") from error

    def _save(self) -> None:
        """Write the newest checkpoint; the earlier ones move down by one, and the oldest is replaced."""
        # A state that cannot be saved raises here, before any earlier checkpoint has moved.
        state = self.loop.state_dict()
        if not self.processes.first:
            return
        for place in range(self.config.keep_checkpoints - 1, 1, -1):
            if self._beside(str(place - 1)).is_file():
                os.replace(self._beside(str(place - 1)), self._beside(str(place)))
        if self.config.keep_checkpoints > 1 and self.newest.is_file():
            with self.newest.open("rb") as file:
                write_whole(self._beside("1"), lambda copy: shutil.copyfileobj(file, copy))
        write_checkpoint(self.newest, state, asdict(self.record), self.identity)
        self.saved = time.monotonic()
        self.folder.watch.saved()

    def _beside(self, name: str) -> Path:
        """Another checkpoint of this arm, ``ARM.NAME.pt``."""
        return self.newest.with_name(f"{self.newest.stem}.{name}.pt")

    def _continue(self) -> None:
        """Take the arm up where its checkpoints end, in the first process, and bring the others to the same state."""
        if self.processes.first:
            self._continue_here()
        self._follow()

    def _follow(self) -> None:
        """Take over the state of the first process, in the others."""
        if self.processes.alone:
            return
        state, record = self.processes.told(lambda: (_on_cpu(self.loop.state_dict()), asdict(self.record)))
        if not self.processes.first:
            self.loop.load_state_dict(state)
            self.record = _Record(**record)
            self.good.forget()

    def _continue_here(self) -> None:
        """Load the newest checkpoint that is whole; where there is no checkpoint at all, write the first one.

        The arm's metrics past the loaded step are dropped, and damaged checkpoints are renamed to ``….damaged``, with a
        line in the metrics. Raises: DataError where there are checkpoints, and all of them are damaged.
        """
        damaged = []
        for path in self._paths():
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
            # Under this name a damaged file never moves down into the place of a whole one.
            os.replace(lost, lost.with_name(lost.name + ".damaged"))
            self._event("damaged checkpoint", f"{why}; continued from {path.name}, it is kept as {lost.name}.damaged")
        if path != self.newest and not damaged:
            self._event("missing checkpoint", f"{self.newest} is not there; continued from {path.name}")

    def _paths(self) -> list[Path]:
        """The arm's checkpoints on the disk, the newest first, without the one of the best measured value."""
        places = [int(name) for path in self.newest.parent.glob("*.pt") if (name := self._place(path)).isdigit()]
        paths = [self.newest, *(self._beside(str(place)) for place in sorted(places))]
        return [path for path in paths if path.is_file()]

    def _place(self, path: Path) -> str:
        """The part of a file name between the arm's name and ``.pt``; empty for another arm's file."""
        prefix = self.newest.stem + "."
        return path.stem.removeprefix(prefix) if path.stem.startswith(prefix) else ""

    def _load(self, path: Path) -> None:
        """Take loop and record from a checkpoint. Raises: DataError for a damaged one, or another arm's."""
        checkpoint = read_checkpoint(path)
        differences = checkpoint.differences(self.identity)
        if self.config.force and differences:
            _say(self.arm, f"{path.name} is taken, as --force asks, although {'; '.join(differences)}")
        record = _Record.of(path, checkpoint.extra)
        self.loop.load(path, identity=self.identity, force=self.config.force)
        self.record = record
        self.marks = self._marks()
        self.good.forget()

    def _load_before(self, step: int) -> bool:
        """Load the newest whole checkpoint with fewer steps than ``step``, into every process, and tell whether there
        was one.
        """
        loaded = self.processes.told(partial(self._load_before_here, step))
        if loaded:
            self._follow()
        return loaded

    def _load_before_here(self, step: int) -> bool:
        """:meth:`_load_before` in the first process.

        The arm's metrics past its step are dropped. From such a checkpoint at least one step had finite losses.
        """
        for path in self._paths():
            if _steps_done(path, step) < step:
                self._load(path)
                self.folder.forget_after(self.arm, self.loop.steps_done)
                return True
        return False

    def _diverge(self, at: int, why: str) -> None:
        """Go back to a good checkpoint with half the rate, or end the arm at its last good state; save either.

        Where no state is known to be good, as just after loading, an earlier checkpoint is loaded instead, and the
        steps from there are taken again.

        Args:
            at: how many steps were done before the one that failed.
            why: the reason, for the metrics and for stderr.
        """
        rollbacks = self.record.rollbacks
        # The state before step ``at`` is good if its own losses were finite, and only the update after it failed.
        good_until = at + (self.good.steps == at)
        may_roll_back = self.config.on_divergence == "rollback" and rollbacks < MOST_ROLLBACKS
        if may_roll_back and self._load_before(good_until):
            # An older checkpoint may be from before an earlier rollback, and then holds the larger rates of that time.
            missing_halvings = rollbacks + 1 - self.record.rollbacks
            self.record.rollbacks = rollbacks + 1
            rates = [halve_rates(self.loop) for _ in range(missing_halvings)]
            self._event(
                "rollback",
                f"{why}; rollback {rollbacks + 1} of {MOST_ROLLBACKS}, to step {self.loop.steps_done} with half the "
                f"outer rate, {rates[-1]:g}",
            )
            self._save()
            return
        # Just after loading, no state is known to be good. From an earlier checkpoint the same steps lead here again,
        # and then there is one.
        if self.good.steps < 0 and self._load_before(at):
            return
        if self.good.steps >= 0:
            self.good.restore()
        self.record.diverged_at = at
        self.record.diverged_why = why
        self.folder.forget_after(self.arm, self.loop.steps_done)
        self._event("diverged", f"{why}; the arm ends, and is judged as it was at step {self.loop.steps_done}")
        try:
            self._save()
        except NonFiniteError:
            # The optimiser's own numbers overflowed before the losses did, so the last good state cannot be saved.
            record = self.record
            if not self._load_before(at):
                raise
            self.record = record
            self._save()

    def _event(self, event: str, why: str) -> None:
        """Append a line to the metrics on what happened to the arm besides its steps, and show ``why`` on stderr.

        ``event`` is its kind, such as ``rollback``.
        """
        _say(self.arm, why)
        self.folder.log(arm=self.arm, step=self.loop.steps_done, event=event, why=why)


def _steps_done(path: Path, otherwise: int) -> int:
    """How many outer steps the state in a checkpoint had done; ``otherwise`` for a damaged checkpoint."""
    try:
        return int(read_checkpoint(path).state["steps_done"])
    except (DamagedCheckpointError, KeyError, TypeError, ValueError):
        return otherwise


def _on_cpu(state: Any) -> Any:
    """A loop's state with tensors in the memory of the CPU, which every process can read."""
    if isinstance(state, list):
        return [_on_cpu(item) for item in state]
    if isinstance(state, dict):
        return {key: _on_cpu(item) for key, item in state.items()}
    return state.cpu() if isinstance(state, torch.Tensor) else state


def _say(arm: str, line: str) -> None:
    """Show a line about an arm on stderr, after the arm's name."""
    say(one_line(f"{arm}: {line}"))
