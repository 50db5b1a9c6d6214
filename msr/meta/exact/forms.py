"""The tables: which functions of torch have an exact form here, and which must not run in forward mode."""

from collections.abc import Callable, Iterator
from typing import Any

import torch

from msr.meta.exact import activations, attention, distances, embeddings, losses, norms, recurrent

__all__ = ["FORMS", "REVERSE_ONLY"]

# In torch 2.13 the gradient of a forward-mode derivative of these is wrong, with no warning, or nan; the gradient of a
# gradient is right. This was found by central differences, over the sample inputs that torch keeps for its own tests.
_REVERSE_ONLY = (
    "det slogdet logdet cumprod scatter_reduce triangular_solve linalg_det linalg_slogdet linalg_solve linalg_solve_ex "
    "linalg_tensorsolve linalg_eig linalg_eigh linalg_householder_product orgqr _safe_softmax "
    "quantile nanquantile"  # these fail while they are recorded, and leave torch's transforms broken
)


def _callables(name: str) -> Iterator[Any]:
    """The callables by which Python code may reach an operation of torch; ``name`` is its name in ATen, such as
    ``linalg_det``.
    """
    compiled = getattr(torch._C, "_linalg", None)
    for home in (torch, torch._C._nn, compiled, torch.Tensor, torch.linalg):
        short = name.removeprefix("linalg_") if home is torch.linalg else name
        if (function := getattr(home, short, None)) is not None:
            yield function
    packet = getattr(torch.ops.aten, name, None)
    if packet is not None:
        yield packet
        yield from (getattr(packet, overload) for overload in packet.overloads() if overload in ("default", "input"))


def _forms() -> dict[Any, Callable]:
    """The exact forms by every callable that reaches their functions, from the tables of all kinds."""
    forms: dict[Any, Callable] = {}
    kinds = (norms, attention, recurrent, activations, distances, embeddings, losses)
    for kind in kinds:
        for name, form in kind.ATEN.items():
            forms |= dict.fromkeys(_callables(name), form)
    for kind in kinds:
        forms |= getattr(kind, "PYTHON", {})
    return forms


FORMS: dict[Any, Callable] = _forms()
"""The exact form of each function of torch that has one, by every callable that reaches the function."""

REVERSE_ONLY: frozenset[Any] = frozenset(f for name in _REVERSE_ONLY.split() for f in _callables(name))
"""Callables of torch that must not run while a forward-mode derivative is taken."""
