"""Whether an engine's library can be used here, and what learn2learn needs before it imports."""

import contextlib
import importlib
import importlib.util
import os
from pathlib import Path

import torch

__all__ = ["declare_torchvision_operators", "why_not"]

# Kept, since declarations are withdrawn when the object that made them is freed.
_declared: list[torch.library.Library] = []


def declare_torchvision_operators() -> None:
    """Let torchvision be imported where its compiled operators do not load.

    learn2learn imports torchvision for its data sets, and a torchvision made for CUDA does not load its operators
    beside a torch without CUDA. Its import then fails with ``operator torchvision::nms does not exist``. The two names
    that the import asks for are declared here without an implementation. Where the operators load, nothing is declared.
    """
    spec = importlib.util.find_spec("torchvision")
    if _declared or spec is None or not spec.submodule_search_locations:
        return
    for library in Path(spec.submodule_search_locations[0]).glob("_C*.so"):
        with contextlib.suppress(OSError):
            torch.ops.load_library(library)
            return
    names = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        names.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(names)


def why_not(engine: str) -> str | None:
    """Why an engine's library cannot be used here, in words, if it is not installed; None if it can be used.

    The library is imported to find that out; environment variables that an import which succeeds sets are taken away
    again.

    Raises: whatever the import raises, for a library that is installed but broken.
    """
    if importlib.util.find_spec(engine) is None:
        return f"{engine} is not installed; docs/engines.md says how"
    before = dict(os.environ)
    if engine == "learn2learn":
        declare_torchvision_operators()
    importlib.import_module(engine)
    # The import of learn2learn loads pygame by way of gym, which sets variables of its own.
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    return None
