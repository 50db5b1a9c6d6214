"""Find the symmetry of a problem from data, by meta-learning how its weights are shared: ``vec(W) = U v``."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from msr.version import __version__ as __version__

if TYPE_CHECKING:
    from msr.episodes import Episodes as Episodes
    from msr.statistics.estimate import Estimate as Estimate

__all__ = ["Episodes", "Estimate", "__version__"]

# Imported when they are asked for: they import torch, which takes seconds, and `msr --help` needs none of it.
_ROOMS = {"Episodes": "msr.episodes", "Estimate": "msr.statistics.estimate"}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_ROOMS[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
