"""What a test may not leave changed: the state that a process shares, and that a later test would see."""

import os
import random
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

__all__ = ["State", "changes", "restore", "snapshot"]

# Not of the test's making: pytest writes the running test's name, and libraries set theirs when they are first used.
_OF_OTHERS = ("PYTEST_CURRENT_TEST", "TORCHINDUCTOR_", "TRITON_", "KMP_")
# Every module that Cython compiled shares these, and they have no spec.
_OF_CYTHON = ("_cython_", "cython_runtime", "cython.")
_ABSENT = object()


@dataclass(frozen=True)
class State:
    """The state of the process at one moment; ``folder`` is the working directory, None where it was removed."""

    modules: dict[str, Any]
    path: list[str]
    folder: str | None
    environment: dict[str, str]
    settings: dict[str, Any]
    torch_random: torch.Tensor
    numpy_random: tuple
    python_random: tuple


def snapshot() -> State:
    """The state now; takes well under a millisecond."""
    return State(
        modules=dict(sys.modules),
        path=[entry for entry in sys.path if entry not in _of_torch()],
        folder=_folder(),
        environment={name: value for name, value in os.environ.items() if not name.startswith(_OF_OTHERS)},
        settings={name: read() for name, (read, _) in _SETTINGS.items()},
        torch_random=torch.get_rng_state(),
        numpy_random=np.random.get_state(),  # noqa: NPY002  # the legacy global one is what is guarded
        python_random=random.getstate(),
    )


def changes(before: State, after: State) -> list[str]:
    """A sentence for each thing that differs. A real module that was imported between the two is not a change."""
    found = list(_module_changes(before, after.modules))
    if before.path != after.path:
        found.append(f"sys.path was {before.path} and is {after.path}")
    if before.folder != after.folder:
        found.append(f"the working directory was {before.folder} and is {after.folder}")
    found += _entry_changes("environment variable", before.environment, after.environment)
    found += [
        f"{name} was {value} and is {after.settings[name]}"
        for name, value in before.settings.items()
        if after.settings[name] != value
    ]
    if not torch.equal(before.torch_random, after.torch_random):
        found.append("drew from torch's global generator, or seeded it; pass generator=, or fork_rng()")
    if not _same_numpy_state(before.numpy_random, after.numpy_random):
        found.append("drew from numpy's global generator, or seeded it; use numpy.random.default_rng(seed)")
    if before.python_random != after.python_random:
        found.append("drew from Python's global generator, or seeded it; use random.Random(seed)")
    return found


def restore(state: State) -> None:
    """Put everything of the process back to a state, so that one test's leak is not the next one's.

    Real modules that were imported since stay.
    """
    for name in [name for name in sys.modules if name not in state.modules and _why_fake(name, state)]:
        del sys.modules[name]
    sys.modules.update(state.modules)
    sys.path[:] = [*state.path, *(entry for entry in sys.path if entry in _of_torch())]
    if state.folder is not None:
        os.chdir(state.folder)
    for name in [n for n in os.environ if n not in state.environment and not n.startswith(_OF_OTHERS)]:
        del os.environ[name]
    os.environ.update(state.environment)
    for name, (read, write) in _SETTINGS.items():
        if read() != state.settings[name]:
            write(state.settings[name])
    torch.set_rng_state(state.torch_random)
    np.random.set_state(state.numpy_random)  # noqa: NPY002
    random.setstate(state.python_random)


def _default_device() -> torch.device:
    """Torch's default device."""
    try:
        return torch.get_default_device()
    except AttributeError:  # of torch 2.5, once a device was set and taken back
        return torch.device("cpu")


_SETTINGS = {
    "the default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "the default device": (_default_device, lambda device: torch.set_default_device(None)),
    "the number of threads": (torch.get_num_threads, torch.set_num_threads),
    "whether gradients are recorded": (torch.is_grad_enabled, torch._C._set_grad_enabled),
    "whether algorithms are deterministic": (
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    ),
    "whether anomalies are looked for": (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    "numpy's floating point errors": (np.geterr, lambda kinds: np.seterr(**kinds)),
}


def _of_torch() -> list[str]:
    """The temporary folder that torch up to 2.6 puts on ``sys.path`` when its compiler is first imported, as a list.

    Empty where it is not there.
    """
    maker = sys.modules.get("torch.distributed.nn.jit.instantiator")
    return [maker.INSTANTIATED_TEMPLATE_DIR_PATH] if hasattr(maker, "INSTANTIATED_TEMPLATE_DIR_PATH") else []


def _folder() -> str | None:
    """The working directory; None where it was removed."""
    try:
        return os.getcwd()
    except FileNotFoundError:  # it was removed
        return None


def _entry_changes(kind: str, before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each name whose value differs, or that one side lacks; ``kind`` is what a name stands for."""
    for name in sorted(before.keys() | after.keys()):
        was, now = before.get(name), after.get(name)
        if was != now:
            yield f"{kind} {name} was {was!r} and is {now!r}"


def _module_changes(before: State, modules: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each module that was removed or replaced since, and for each that was added and is no real one."""
    if before.modules == modules:  # after most tests, and several times as fast as the loops below
        return
    for name, module in before.modules.items():
        now = modules.get(name, _ABSENT)
        if now is not module:
            yield f"sys.modules[{name!r}] was {'removed' if now is _ABSENT else f'replaced by {now!r}'}"
    for name in modules.keys() - before.modules.keys():
        reason = _why_fake(name, before, modules)
        if reason:
            yield f"sys.modules[{name!r}] was added and is no real module: {reason}"


def _why_fake(name: str, before: State, modules: Mapping[str, Any] | None = None) -> str | None:
    """Why an import in a fresh process would not give the module ``name``, or None if it would.

    ``modules`` holds it, by default ``sys.modules``; ``before`` is the state before the test.

    Real is what has a spec and comes from the interpreter itself, or from a file below a folder that was on the path
    before the test. A module without a spec is real where its parent, which is real, holds it as an attribute: some
    libraries make such modules when they are imported.
    """
    modules = sys.modules if modules is None else modules
    module = modules[name]
    if module is None:
        return "it is None, which makes imports fail"
    spec = getattr(module, "__spec__", None)
    if spec is None:
        parent, _, child = name.rpartition(".")
        real = parent in modules and (parent in before.modules or _why_fake(parent, before, modules) is None)
        held = real and getattr(modules[parent], child, None) is module
        return None if held or name.startswith(_OF_CYTHON) else "it has no __spec__, and no real parent holds it"
    if spec.origin in ("built-in", "frozen"):
        return None
    places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or [])
    if not places:
        parent = name.rpartition(".")[0]
        return None if parent in modules and isinstance(module, ModuleType) else "it has no file"
    roots = [*(os.path.realpath(entry or os.curdir) for entry in [*before.path, *_of_torch()]), *_INTERPRETER]
    for place in places:
        if not any(os.path.realpath(place).startswith(root + os.sep) for root in roots):
            return f"{place} is not below any folder that was on sys.path"
    return None


_INTERPRETER = [os.path.realpath(prefix) for prefix in {sys.prefix, sys.base_prefix, str(Path(__file__).parents[2])}]


def _same_numpy_state(before: tuple, after: tuple) -> bool:
    return all(np.array_equal(was, now) for was, now in zip(before, after, strict=True))
