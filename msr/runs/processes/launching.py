"""Starting the processes of a run by Lightning Fabric, and ending them together.

``--devices N`` starts the runner's own command N - 1 times more, and ``torchrun``, ``fabric run`` and SLURM start all
of them. The first process speaks and writes; of the others one a machine says why the run has failed.
"""

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from msr.errors import ConfigError, MissingExtraError, MSRError, ProcessError, first_line, kind_and_line
from msr.failures import explained, one_line, say
from msr.runs import signals
from msr.runs.config import RunConfig, TrainingFlags
from msr.runs.processes.group import Done, Processes, entered
from msr.runs.processes.watcher import Watcher
from msr.runs.streams import Guard

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["own_gpu", "several"]

_LAUNCHER = "MSR_LAUNCHER"
"""Holds, in the environment of a process that this package has started, the number of the process that did."""
_PRECISIONS = (None, "32", "32-true")
"""What ``fabric run --precision`` may ask for: meta-gradients are computed in the type of the parameters."""


@dataclass(frozen=True)
class _Size:
    """How many processes: on each machine, and how many machines."""

    devices: int
    nodes: int

    @classmethod
    def of(cls, config: RunConfig) -> "_Size | None":
        """The processes that the flags, or the launcher that started this one, ask for; None for a single one.

        Raises: ConfigError where the two disagree, or the runner has nothing to share.
        """
        shares = isinstance(config, TrainingFlags)
        asked = cls(config.devices, config.nodes) if isinstance(config, TrainingFlags) else cls(1, 1)
        if torch.distributed.is_available() and torch.distributed.is_torchelastic_launched():
            world = int(os.environ["WORLD_SIZE"])
            started = cls(int(os.environ["LOCAL_WORLD_SIZE"]), world // int(os.environ["LOCAL_WORLD_SIZE"]))
            if world > 1 and not shares:
                raise ConfigError(f"this runner computes in one process, and was started as {world}; start it alone")
            if asked not in (cls(1, 1), started):
                raise ConfigError(
                    f"--devices {asked.devices} --nodes {asked.nodes} are not what the launcher started, "
                    f"{started.devices} processes on each of {started.nodes} machines; leave them out"
                )
            asked = started
        return None if asked == cls(1, 1) else asked


def own_gpu(config: RunConfig) -> None:
    """Make this process's own GPU the current one, before anything computes on the GPU of another process.

    Without several processes, or without a GPU, nothing happens. The GPU is that of the process's number on its
    machine.
    """
    on_gpu = getattr(config, "device", "cpu") == "cuda"
    if on_gpu and _Size.of(config) is not None and torch.cuda.is_available():
        number = int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0")))
        if number >= torch.cuda.device_count():
            raise ConfigError(
                f"process {number} of this machine needs a GPU of its own, and there are {torch.cuda.device_count()}; "
                "give --devices of at most that"
            )
        torch.cuda.set_device(number)


@contextlib.contextmanager
def several(config: RunConfig, *, repeatable: bool, hint: Callable[[], str]) -> Iterator[None]:
    """Within the block this process is one of as many as the flags, or a launcher, ask for; one of one is no change.

    A process that fails tells the others why, and all end within seconds; where one ends without a word, the others say
    which. Those that were started from here have ended when the block is left.

    Args:
        config: the flags; those of a runner that trains name the number of processes.
        repeatable: whether the flags came from the command line, which other processes can be started with.
        hint: the end of a message that says how to continue the run; it is called when a process is lost.

    Raises: ConfigError for processes that cannot be had; MissingExtraError without lightning-fabric; ProcessError where
        another process was lost or has failed.
    """
    size = _Size.of(config)
    if size is None:
        yield
        return
    # Fabric sets LOCAL_RANK in the environment of a process that starts others, so this is asked before.
    started = "LOCAL_RANK" in os.environ or torch.distributed.is_torchelastic_launched()
    if not started and not repeatable:
        raise ConfigError("other processes start with the command line of this one; give --devices there")
    _check(config, size)
    fabric_of = _loaded()
    team = _Team(hint, parent=_parent(started))
    try:
        fabric = team.launch(fabric_of, config, size)
        with entered(team.processes(fabric)):
            yield
    except BaseException as error:
        team.failed(error)
        raise
    finally:
        team.end(failed=sys.exc_info()[0] not in (None, Done))


def _check(config: RunConfig, size: _Size) -> None:
    """Raise ConfigError for flags that cannot work with several processes."""
    if not torch.distributed.is_available():
        raise ConfigError("this torch was built without torch.distributed, which connects processes")
    device = str(getattr(config, "device", "cpu"))
    if device not in ("cpu", "cuda"):
        raise ConfigError(f"several processes compute on --device cpu, or cuda with a GPU each; got {device}")
    batch = getattr(config, "batch", size.devices * size.nodes)
    if batch < size.devices * size.nodes:
        raise ConfigError(
            f"--batch {batch} has fewer tasks than the {size.devices * size.nodes} processes that are to share them"
        )
    precision = os.environ.get("LT_PRECISION")
    if precision not in _PRECISIONS:
        raise ConfigError(f"runs compute in the type of their parameters, 32-true; leave out --precision {precision}")


def _loaded() -> "Callable[..., Fabric]":
    """The class Fabric, with its remarks on what goes well switched off. Raises: MissingExtraError."""
    try:
        import lightning_fabric
    except ImportError as error:
        raise MissingExtraError("several processes need lightning-fabric: pip install 'msr[processes]'") from error
    # Its own handler was set by the import, so it is told apart from what else is logged.
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    logging.getLogger("lightning_utilities").setLevel(logging.WARNING)
    return lightning_fabric.Fabric


def _parent(started: bool) -> int | None:
    """The process without which this one is to end; None where a user, or a scheduler, started it."""
    if not started or not hasattr(os, "getppid") or os.name != "posix":
        return None
    # By that number a process sees that the one which started it was gone before it could look.
    return int(os.environ.get(_LAUNCHER, os.getppid()))


class _Team:
    """This process and the others, from the start to the end; ``parent`` as of :class:`Watcher`."""

    def __init__(self, hint: Callable[[], str], parent: int | None):
        self.hint = hint
        self.parent = parent
        self.children: list[Any] = []
        self.watcher: Watcher | None = None
        self.local_rank = 0
        self.first = True
        self.streams = (sys.stdout, sys.stderr)

    def launch(self, fabric_of: "Callable[..., Fabric]", config: RunConfig, size: _Size) -> "Fabric":
        """Start the other processes, unless they are started already, and connect all of them.

        Raises: ConfigError for devices that are not there; ProcessError where the processes do not find each other.
        """
        is_cli = "LT_CLI_USED" in os.environ
        if self.parent is None:
            os.environ[_LAUNCHER] = str(os.getpid())
            # Else a process that loses the first one writes a page of C++ frames beside its own line.
            os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
        local_rank = int(os.environ.get("LOCAL_RANK", "0")) if self.parent is not None else 0
        node_rank = int(os.environ.get("NODE_RANK", os.environ.get("GROUP_RANK", "0")))
        rank = node_rank * size.devices + local_rank
        kind = str(getattr(config, "device", "cpu"))
        fabrics: list[Fabric] = []

        def children() -> list[Any]:
            """The processes that Fabric has started from here.

            They are taken off its list: its own thread looks every five seconds, and on a failure kills this process
            too, without a word.
            """
            procs = getattr(fabrics[0].strategy.launcher, "procs", []) if fabrics else []
            while procs:
                self.children.append(procs.pop(0))
            return self.children

        self.watcher = Watcher(rank, local_rank, size.devices * size.nodes, self.parent, children, self._last_words)
        self.local_rank = local_rank
        self.watcher.start()
        try:
            fabric = fabric_of(accelerator=kind, devices=size.devices, num_nodes=size.nodes, strategy="ddp")
            fabrics.append(fabric)
            if not is_cli:
                fabric.launch()
        except MSRError:
            raise
        except RuntimeError as error:
            raise ProcessError(f"the processes did not find each other ({first_line(error)[:160]})") from error
        except Exception as error:  # Fabric has several kinds for settings that cannot be had here
            raise ConfigError(f"these processes cannot be started: {kind_and_line(error)}") from None
        self.watcher.connect(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
        return fabric

    def processes(self, fabric: "Fabric") -> Processes:
        """The value that the run knows its processes by. From now on all but the first are silent."""
        assert self.watcher is not None
        self.first = fabric.global_rank == 0
        self.watcher.rank = fabric.global_rank
        self.local_rank = fabric.local_rank
        if not self.first:
            sys.stdout = sys.stderr = Guard(None)
        backend = torch.distributed.get_backend()
        return Processes(
            fabric.global_rank, fabric.world_size, backend, reason=self.watcher.reason, ending=self.watcher.over
        )

    def failed(self, error: BaseException) -> None:
        """Tell the others why this process fails, and let it speak where nobody else on this machine does."""
        if self.watcher is None or isinstance(error, Done):
            return
        self.watcher.over()
        if not isinstance(error, ProcessError):
            number = f"process {self.watcher.rank} of {self.watcher.world}"
            self.watcher.tell(f"{number}: {_words(error)}")
        unforeseen = not isinstance(error, KeyboardInterrupt) and explained(error) is None
        if self._speaks() or unforeseen:
            sys.stdout, sys.stderr = self.streams

    def end(self, *, failed: bool) -> None:
        """Close the connections, and wait for the processes that were started from here."""
        if self.watcher is None:
            return
        self.watcher.over()
        # Before the connections are closed, and with them the store that the first process holds.
        if failed and self.first:
            self.watcher.wait_until_heard()
        # After a failure NCCL would wait for the others, who see the watcher's word instead of a closed connection.
        if torch.distributed.is_initialized() and not (failed and torch.distributed.get_backend() == "nccl"):
            with contextlib.suppress(RuntimeError):
                torch.distributed.destroy_process_group()
        self.watcher.end_children()

    def _speaks(self) -> bool:
        """Whether a failure is said by this process: one on each machine, the second one where the first is gone."""
        assert self.watcher is not None
        return self.local_rank == (1 if self.watcher.leaderless else 0)

    def _last_words(self, trouble: str) -> None:
        """Say why this process is ended, if it is the one that speaks."""
        if self._speaks():
            sys.stderr = self.streams[1]
            say(one_line(f"error: {trouble}{self.hint()}"))


def _words(error: BaseException) -> str:
    """Why a process fails, in a line for the others."""
    if isinstance(error, signals.Stop):
        return f"stopped by {error}"
    return explained(error) or kind_and_line(error)
