"""Which of a network's weights a call with other parameters cannot reach."""

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from msr.errors import ModelError
from msr.meta.checks.steady import held
from msr.modules import dotted
from msr.trees import leaves_of

__all__ = ["Uses", "aliases", "moved"]


class Uses(TorchDispatchMode):
    """Watches each operation of a call for weights that were not handed over with it.

    Two kinds are wrong. Memory of a parameter that was replaced: the network got at it past its name, by a list, a
    closure, another attribute, or a global. A ``Parameter`` that is registered nowhere: nobody learns it, and the
    module's own ``state_dict`` does not hold it.
    """

    def __init__(self, own: dict[int, list[tuple[int, int, str]]], given: set[int], module: nn.Module):
        super().__init__()
        self._own, self._given, self._module = own, given, module
        self.past_their_name: list[str] = []
        self.registered_nowhere: list[Tensor] = []

    @classmethod
    def of(
        cls,
        module: nn.Module,
        originals: dict[str, "weakref.ref[Tensor]"],
        alias_of: dict[str, str],
        given: dict[str, Tensor],
    ) -> "Uses":
        """For a call of ``module`` with ``given``, where ``originals`` or aliases may be read in place of those."""
        own: dict[int, list[tuple[int, int, str]]] = {}
        registered = dict(module.named_parameters())
        for name in given:
            for tensor in (registered.get(name), originals[name]() if name in originals else None):
                if tensor is not None and tensor.numel():
                    own.setdefault(_memory(tensor), []).append((*_span(tensor), name))
        for place, tensor in held_tensors(module) if alias_of else ():
            if place in alias_of and alias_of[place] in given and tensor.numel():
                own.setdefault(_memory(tensor), []).append((*_span(tensor), alias_of[place]))
        known = {id(tensor) for tensor in (*given.values(), *registered.values())}
        return cls(own, known, module)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Look at what an operation is given, and run it."""
        for tensor in _tensors((args, kwargs or {})):
            self._look(tensor)
        return func(*args, **(kwargs or {}))

    def _look(self, tensor: Tensor) -> None:
        if tensor.layout != torch.strided or not tensor.numel() or not torch.is_grad_enabled():
            return  # where gradients are switched off, a constant is meant
        here = self._own.get(_memory(tensor))
        if here:
            start, end = _span(tensor)
            self.past_their_name += [name for first, last, name in here if start < last and first < end]
        elif isinstance(tensor, nn.Parameter) and tensor.requires_grad and id(tensor) not in self._given:
            self.registered_nowhere.append(tensor)

    def refuse(self) -> None:
        """Raise ModelError for what was seen."""
        if self.past_their_name:
            names = list(dict.fromkeys(self.past_their_name))
            raise ModelError(
                f"the network reads {', '.join(names)} by another way than that name (a list, a closure, another "
                "attribute, a global), where a task's own values do not reach it: tasks would be judged with weights "
                f"that they did not fit. Read self.{names[0]} in forward(), at each call"
            )
        if self.registered_nowhere:
            found = [_place(self._module, t) or f"one of shape {tuple(t.shape)}" for t in self.registered_nowhere]
            raise ModelError(
                f"the network uses parameters that are registered nowhere ({', '.join(dict.fromkeys(found))}), so that "
                "nobody would learn them. Keep them in an nn.ModuleList or nn.ParameterList, or call "
                "requires_grad_(False) on what is to stay constant"
            )


def moved(params: dict[str, Tensor]) -> dict[str, Tensor]:
    """Each number moved at random, by 3% of its tensor's mean square (or by 0.03 where all are zero)."""
    generator = torch.Generator().manual_seed(0)
    there = {}
    for name, p in params.items():
        q = p.detach()
        if q.requires_grad or q.is_floating_point() or q.is_complex():
            noise = torch.randn(q.shape, generator=generator, dtype=q.dtype).to(q.device)
            size = float(q.abs().square().mean().sqrt()) if q.numel() else 0.0
            q = q + 0.03 * (size or 1.0) * noise
        there[name] = q.requires_grad_(p.requires_grad)
    return there


def aliases(module: nn.Module, names: Iterable[str]) -> dict[str, str]:
    """Tensors outside the registered parameters that lie in a parameter's memory, by their place, with its name.

    A copy of the module does not keep that: its alias is a constant of its own.
    """
    memory: dict[int, list[tuple[int, int, str]]] = {}
    registered = dict(module.named_parameters())
    for name in names:
        if registered[name].numel():
            memory.setdefault(_memory(registered[name]), []).append((*_span(registered[name]), name))
    found: dict[str, str] = {}
    for place, tensor in held_tensors(module):
        if not isinstance(tensor, nn.Parameter) and tensor.layout == torch.strided and tensor.numel():
            start, end = _span(tensor)
            for first, last, name in memory.get(_memory(tensor), []):
                if start < last and first < end:
                    found[place] = name
    return found


def held_tensors(module: nn.Module) -> list[tuple[str, Tensor]]:
    """Tensors in attributes, buffers and containers of them, by place."""
    found = []
    for name, part in module.named_modules():
        for key, value in vars(part).items():
            if key not in ("_parameters", "_modules"):
                things = [(key, value), *held(key, value)]
                found += [(dotted(name, at), thing) for at, thing in things if isinstance(thing, Tensor)]
    return found


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _span(tensor: Tensor) -> tuple[int, int]:
    """The bytes from the first number to the last."""
    last = sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.data_ptr(), tensor.data_ptr() + (last + 1) * tensor.element_size()


def _tensors(tree: Any) -> list[Tensor]:
    if isinstance(tree, list):
        tree = tuple(tree)
    found = []
    for leaf in leaves_of(tree):
        found += _tensors(leaf) if isinstance(leaf, list) else [leaf] if isinstance(leaf, Tensor) else []
    return found


def _place(module: nn.Module, tensor: Tensor) -> str | None:
    """Where a module holds a tensor, for a message: through attributes, lists, dictionaries and modules in them."""
    seen: set[int] = set()
    waiting: list[tuple[str, Any]] = [(name, part) for name, part in module.named_modules()]
    while waiting:
        path, thing = waiting.pop(0)
        if thing is tensor:
            return path
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, nn.Module):
            waiting += [(dotted(path, key), value) for key, value in vars(thing).items() if key != "_modules"]
            waiting += [(dotted(path, key), value) for key, value in thing._parameters.items()]
            waiting += [(dotted(path, key), value) for key, value in thing._modules.items()]
        elif isinstance(thing, dict):
            waiting += [(f"{path}[{key!r}]", value) for key, value in thing.items()]
        elif isinstance(thing, (list, tuple)):
            waiting += [(f"{path}[{i}]", value) for i, value in enumerate(thing)]
    return None
