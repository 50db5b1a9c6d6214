"""What tensors take in memory: by counting them, and by the kernel's own account of the process."""

import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["Allocations", "available_bytes", "resident_peak", "total_bytes"]


class Allocations(TorchDispatchMode):
    """Bytes of tensor storage made inside the ``with`` block: ``alive`` now, ``peak`` at most at once, ``largest`` one.

    Counts what operations return, each storage once, until the last tensor, view or saved activation of it is gone.
    Storages that existed before (parameters, inputs) do not count. Scratch space inside a kernel is not seen; what the
    allocator itself reports (``torch.profiler``) agrees on the layers here: ``tests/msr/layers/test_layer_memory.py``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.alive = self.peak = self.largest = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operation, count the storage that it made, and return what it gives."""
        for tensor in tree_leaves((args, kwargs)):
            self._take(tensor, made_here=False)
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            self._take(tensor, made_here=True)
        return out

    def _take(self, tensor: object, *, made_here: bool) -> None:
        """Count a tensor's storage, unless it is known already; one that was not made in the block counts 0 bytes."""
        if not isinstance(tensor, Tensor):
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._sizes:
            return
        self._sizes[key] = size = storage.nbytes() if made_here else 0
        self.alive += size
        self.peak = max(self.peak, self.alive)
        self.largest = max(self.largest, size)
        # The address of a freed storage is used again, so every storage must be watched until it is freed.
        weakref.finalize(storage, self._drop, key).atexit = False

    def _drop(self, key: int) -> None:
        """Take a storage that was freed off the bytes alive."""
        self.alive -= self._sizes.pop(key)


def total_bytes(tensors: Iterable[Tensor | None]) -> int:
    """Bytes of the elements of all tensors; None counts as nothing."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors if tensor is not None)


def available_bytes() -> int | None:
    """What the kernel says a new process may take without swapping; None where there is no such file."""
    return _kilobytes("/proc/meminfo", "MemAvailable")


def resident_peak(call: Callable[[], object]) -> int | None:
    """By how many bytes the process's resident memory rose at most during the call; None where the kernel cannot say.

    It counts everything, libraries' scratch space too, but not again what malloc kept when it was freed: give it a
    fresh process.
    """
    reset = Path("/proc/self/clear_refs")
    if not reset.exists():
        return None
    try:
        reset.write_text("5")  # the high-water mark starts again from here
    except OSError:
        return None
    before = _kilobytes("/proc/self/status", "VmRSS")
    call()
    after = _kilobytes("/proc/self/status", "VmHWM")
    return None if before is None or after is None else after - before


def _kilobytes(path: str, name: str) -> int | None:
    """Bytes on the line ``name:`` of a file of the kernel, which holds kilobytes; None without the file or the line."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    return None
