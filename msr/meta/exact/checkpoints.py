"""Activation checkpointing inside a network whose derivative is differentiated."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch.utils.checkpoint as library

__all__ = ["direct_checkpoints"]

_lock = threading.Lock()
_inside: dict[int, int] = {}  # how deep each thread is
_originals: dict[str, Any] = {}


class _Directly:
    """``CheckpointFunction.apply``, the function itself in the threads that are inside."""

    @staticmethod
    def apply(function: Callable, preserve: bool, *args: Any) -> Any:
        """Run it, and keep what its derivatives need."""
        if threading.get_ident() in _inside:
            return function(*args)
        return _originals["CheckpointFunction"].apply(function, preserve, *args)


def _without_hooks(*args: Any, **kwargs: Any) -> Any:
    """The generator around a checkpointed call that is not reentrant; one that does nothing, inside."""
    if threading.get_ident() in _inside:
        return _nothing()
    return _originals["_checkpoint_without_reentrant_generator"](*args, **kwargs)


def _nothing() -> Iterator[None]:
    yield


_REPLACED = {"CheckpointFunction": _Directly, "_checkpoint_without_reentrant_generator": _without_hooks}


@contextlib.contextmanager
def direct_checkpoints() -> Iterator[None]:
    """Within, and in this thread alone, ``torch.utils.checkpoint`` calls its function and forgets nothing.

    torch's function transforms know neither way of checkpointing, and a network may have imported the function by name,
    so what it calls is exchanged, while a thread is inside. A torch without these names keeps its own.
    """
    me = threading.get_ident()
    with _lock:
        if not _inside:
            for name, ours in _REPLACED.items():
                if hasattr(library, name):
                    _originals[name] = getattr(library, name)
                    setattr(library, name, ours)
        _inside[me] = _inside.get(me, 0) + 1
    try:
        yield
    finally:
        with _lock:
            _inside[me] -= 1
            if not _inside[me]:
                del _inside[me]
            if not _inside:
                for name in list(_originals):
                    setattr(library, name, _originals[name])
