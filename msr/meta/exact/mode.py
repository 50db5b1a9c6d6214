"""The mode in which a problem's functions run: calls of torch go to the exact forms."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch.overrides import TorchFunctionMode

from msr.meta.exact.checkpoints import direct_checkpoints
from msr.meta.exact.forms import FORMS, REVERSE_ONLY
from msr.meta.exact.hooks import HOOKS, refuse_tensor_hook
from msr.meta.exact.levels import in_forward_mode
from msr.meta.exact.plain import is_plain_function, no_hooks_for_all

__all__ = ["Exact", "NeedsReverse"]


class NeedsReverse(NotImplementedError):
    """A forward-mode derivative was asked for that torch would compute wrongly."""


class _Mode(TorchFunctionMode):
    """Within this mode a function of torch that has an exact form runs as that form; any other runs as it is.

    Raises: ModelError for a hook on a tensor's gradient; NeedsReverse in forward mode for a function whose derivative
    would be wrong there.
    """

    def __torch_function__(self, function: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        form = FORMS.get(function)
        if form is not None:
            return form(*args, **(kwargs or {}))
        if function in HOOKS:
            refuse_tensor_hook(function)
        if function in REVERSE_ONLY and in_forward_mode():
            raise NeedsReverse(f"the forward-mode derivative of {function.__name__} is wrong in torch")
        return function(*args, **kwargs) if kwargs else function(*args)


class _Running(threading.local):
    """Whether exact forms are in force, thread by thread."""

    exactly = False


_running = _Running()


@dataclass(frozen=True)
class Exact:
    """A function that runs with exact forms in place of torch's fused functions, in the thread of the call and as long
    as it.

    Checkpointed parts of it run directly, since torch's function transforms need what checkpointing forgets. A function
    that is known to need no form (:func:`~msr.meta.exact.plain.is_plain_function`) runs as it is. Two of these are
    equal where their functions are.
    """

    function: Callable

    def __post_init__(self) -> None:
        object.__setattr__(self, "_plain", is_plain_function(self.function))

    @classmethod
    def of(cls, function: Callable) -> "Exact":
        """``function`` as an :class:`Exact`; itself where it is one already."""
        return function if isinstance(function, cls) else cls(function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function, with exact forms where it may need them."""
        if self._plain and no_hooks_for_all():  # type: ignore[attr-defined]
            return self.function(*args, **kwargs)
        with _exactly():
            return self.function(*args, **kwargs)


@contextlib.contextmanager
def _exactly() -> Iterator[None]:
    """Within the block, in this thread, exact forms are in force and checkpointed parts run directly."""
    # A mode within itself would send each call through the tables twice.
    if _running.exactly:
        yield
        return
    _running.exactly = True
    try:
        with direct_checkpoints(), _Mode():
            yield
    finally:
        _running.exactly = False
