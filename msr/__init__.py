"""Find the symmetry of a problem from data, by meta-learning how its weights are shared: ``vec(W) = U v``."""

from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

from msr.version import __version__ as __version__

if TYPE_CHECKING:
    from msr.episodes import Episodes as Episodes
    from msr.statistics import Estimate as Estimate

__all__ = ["Episodes", "Estimate", "__version__"]

_HANDED_ON = {"Episodes": "msr.episodes", "Estimate": "msr.statistics"}


def __getattr__(name: str) -> Any:
    """A module directly in ``msr``, or a name of ``__all__``, imported when it is asked for.

    Raises: AttributeError for any other name.

    The rooms import torch, which takes seconds, and ``msr --help`` needs none of it.
    """
    if name in _HANDED_ON:
        value = globals()[name] = getattr(import_module(_HANDED_ON[name]), name)
        return value
    # A name with underscores is asked for by tools such as copy and inspect, and is never a room.
    if name.startswith("_") or not name.isidentifier() or find_spec(f"{__name__}.{name}") is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    rooms = [module.name for module in iter_modules(__path__) if not module.name.startswith("_")]
    return sorted({*globals(), *__all__, *rooms})
