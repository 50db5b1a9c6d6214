"""Engines: the libraries that can take the inner gradient steps, behind one interface and imported on use."""

import importlib
from typing import Literal, get_args

from msr.errors import ConfigError, MissingExtraError, kind_and_line
from msr.meta.solvers.base import InnerSolver
from msr.meta.solvers.gradient_steps import SGD

__all__ = ["Engine", "load"]

Engine = Literal["torch", "higher", "learn2learn"]

_INSTALL = {
    "higher": "pip install 'msr[higher]'",
    "learn2learn": ".ci/install-learn2learn in a checkout of msr; its import also needs a torchvision made for this "
    "torch (docs/engines.md)",
}


def load(engine: Engine, solver: InnerSolver) -> InnerSolver:
    """The solver as the engine runs it; on ``"torch"`` that is the solver itself.

    Raises: ConfigError for an engine that does not exist, and for a solver that the engine cannot run;
    MissingExtraError when the engine's library is not installed, or is and fails when it is imported.
    """
    if engine not in get_args(Engine):
        raise ConfigError(f"engine must be one of {', '.join(get_args(Engine))}; got {engine!r}")
    if engine == "torch":
        return solver
    if type(solver) is not SGD:  # a subclass may step in a way of its own, which the libraries do not know
        raise ConfigError(
            f"engine {engine!r} takes gradient steps only: give it an SGD. "
            f"{type(solver).__name__} runs on engine='torch'"
        )
    try:
        library = importlib.import_module(f"msr.meta.engines.{engine}")
    except Exception as error:  # an import runs code, which can fail in any way
        # Another name is a library that the engine needs itself.
        if isinstance(error, ModuleNotFoundError) and error.name == engine:
            what = f"engine {engine!r} needs the library {engine}, which is not installed"
        else:
            what = f"engine {engine!r}: {engine} is installed but does not import ({kind_and_line(error)})"
        raise MissingExtraError(f"{what}. Try: {_INSTALL[engine]}") from error
    return library.Solver(solver)
