"""The tables: which torch function has a form of ours, and which must not run in forward mode."""

from collections.abc import Callable, Iterator
from typing import Any

import torch

from msr.meta.exact import attention, norms, pieces, recurrent

__all__ = ["FORMS", "REVERSE_ONLY"]

# The gradient of a forward-mode derivative is wrong, with no warning, or not a number, in torch 2.13; the gradient of a
# gradient is right. Compared with central differences, over the sample inputs that torch keeps for its own tests.
_REVERSE_ONLY = (
    "det slogdet logdet cumprod scatter_reduce triangular_solve linalg_det linalg_slogdet linalg_solve linalg_solve_ex "
    "linalg_tensorsolve linalg_eig linalg_eigh linalg_householder_product orgqr _safe_softmax "
    "quantile nanquantile"  # of these it fails, where it is recorded, and leaves torch's transforms broken
)


def _callables(name: str) -> Iterator[Any]:
    """All the ways in which Python code may reach an operation of torch."""
    compiled = getattr(torch._C, "_linalg", None)
    for home in (torch, torch._C._nn, compiled, torch.Tensor, torch.linalg):
        short = name.removeprefix("linalg_") if home is torch.linalg else name
        if (found := getattr(home, short, None)) is not None:
            yield found
    packet = getattr(torch.ops.aten, name, None)
    if packet is not None:
        yield packet
        yield from (getattr(packet, overload) for overload in packet.overloads() if overload in ("default", "input"))


def _forms() -> dict[Any, Callable]:
    forms: dict[Any, Callable] = {}
    for room in (norms, attention, recurrent, pieces):
        for name, form in room.ATEN.items():
            forms |= dict.fromkeys(_callables(name), form)
    for room in (norms, attention, pieces):
        forms |= room.PYTHON
    return forms


FORMS: dict[Any, Callable] = _forms()
REVERSE_ONLY: frozenset[Any] = frozenset(f for name in _REVERSE_ONLY.split() for f in _callables(name))
