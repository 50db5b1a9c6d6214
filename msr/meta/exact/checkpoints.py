"""Activation checkpointing inside a network, switched off while its derivative is differentiated."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch.utils.checkpoint as library

__all__ = ["direct_checkpoints"]

_lock = threading.Lock()
_inside: dict[int, int] = {}  # by thread, how many blocks of direct_checkpoints it is in
_originals: dict[str, Any] = {}


class _Directly:
    """Stands in for ``CheckpointFunction``: in threads that are inside a block it calls the function itself."""

    @staticmethod
    def apply(function: Callable, preserve: bool, *args: Any) -> Any:
        """Call the function without forgetting what its derivatives need."""
        if threading.get_ident() in _inside:
            return function(*args)
        return _originals["CheckpointFunction"].apply(function, preserve, *args)


def _without_hooks(*args: Any, **kwargs: Any) -> Any:
    """Stands in for the generator around a checkpointed call that is not reentrant: inside a block it does nothing."""
    if threading.get_ident() in _inside:
        return _nothing()
    return _originals["_checkpoint_without_reentrant_generator"](*args, **kwargs)


def _nothing() -> Iterator[None]:
    """A generator that does nothing before and after a call."""
    yield


_REPLACED = {"CheckpointFunction": _Directly, "_checkpoint_without_reentrant_generator": _without_hooks}


@contextlib.contextmanager
def direct_checkpoints() -> Iterator[None]:
    """Within the block, in this thread alone, ``torch.utils.checkpoint`` calls its function and forgets nothing.

    torch's function transforms support neither way of checkpointing. A network may have imported ``checkpoint`` by its
    name, so the two functions inside of it are replaced, as long as any thread is in such a block. A version of torch
    without these functions is left as it is.
    """
    thread = threading.get_ident()
    with _lock:
        if not _inside:
            for name, ours in _REPLACED.items():
                if hasattr(library, name):
                    _originals[name] = getattr(library, name)
                    setattr(library, name, ours)
        # Counted, since such blocks may lie within each other.
        _inside[thread] = _inside.get(thread, 0) + 1
    try:
        yield
    finally:
        with _lock:
            _inside[thread] -= 1
            if not _inside[thread]:
                del _inside[thread]
            if not _inside:
                for name in list(_originals):
                    setattr(library, name, _originals[name])
