"""Weights that a network reads by another way than their names, which a call with other parameters cannot reach."""

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from msr.errors import ModelError
from msr.meta.checks.purity import held
from msr.modules import dotted
from msr.trees import leaves_of

__all__ = ["ParameterReads", "aliases", "shifted"]


class ParameterReads(TorchDispatchMode):
    """Watches each operation of a call for weights that were not handed over with the call.

    Two kinds are wrong. The first is the memory of a parameter that was replaced: the network read it by another way
    than its name, through a list, a closure, another attribute, or a global. The second is a ``Parameter`` that is
    registered nowhere: it would not be learned, and the module's own ``state_dict`` does not hold it.

    Args:
        own: pieces of memory that must not be read, by the address of their storage: first byte, end, parameter's name.
        given: the ids of the parameters that are read by right.
        module: the module that is called, for messages.

    Attributes: ``past_their_name``, the names of parameters of the first kind; ``registered_nowhere``, the tensors of
    the second kind.
    """

    def __init__(self, own: dict[int, list[tuple[int, int, str]]], given: set[int], module: nn.Module):
        super().__init__()
        self._own = own
        self._given = given
        self._module = module
        self.past_their_name: list[str] = []
        self.registered_nowhere: list[Tensor] = []

    @classmethod
    def of(
        cls,
        module: nn.Module,
        originals: dict[str, "weakref.ref[Tensor]"],
        alias_of: dict[str, str],
        given: dict[str, Tensor],
    ) -> "ParameterReads":
        """The watcher for a call of ``module`` with the parameters ``given`` by name.

        Args:
            originals: the parameters of the user's own module by name, which a call must not read in place of
                ``given``.
            alias_of: the names of parameters by the places of other tensors in their memory (:func:`aliases`), which
                must not be read either.
        """
        own: dict[int, list[tuple[int, int, str]]] = {}
        registered = dict(module.named_parameters())
        for name in given:
            for tensor in (registered.get(name), originals[name]() if name in originals else None):
                if tensor is not None and tensor.numel():
                    own.setdefault(_memory(tensor), []).append((*_byte_range(tensor), name))
        for place, tensor in held_tensors(module) if alias_of else ():
            if place in alias_of and alias_of[place] in given and tensor.numel():
                own.setdefault(_memory(tensor), []).append((*_byte_range(tensor), alias_of[place]))
        # Parameters that are handed over, or registered, are read by right.
        known = {id(tensor) for tensor in (*given.values(), *registered.values())}
        return cls(own, known, module)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Look at the arguments of an operation, and run it."""
        for tensor in _tensors((args, kwargs or {})):
            self._look(tensor)
        return func(*args, **(kwargs or {}))

    def _look(self, tensor: Tensor) -> None:
        """Note a tensor that is wrong to read, unless gradients are switched off, where a constant is meant."""
        if tensor.layout != torch.strided or not tensor.numel() or not torch.is_grad_enabled():
            return  # where gradients are switched off, a constant is meant
        same_memory = self._own.get(_memory(tensor))
        if same_memory:
            start, end = _byte_range(tensor)
            self.past_their_name += [name for first, last, name in same_memory if start < last and first < end]
        elif isinstance(tensor, nn.Parameter) and tensor.requires_grad and id(tensor) not in self._given:
            self.registered_nowhere.append(tensor)

    def refuse(self) -> None:
        """Raise ModelError if a wrong weight was read."""
        if self.past_their_name:
            names = list(dict.fromkeys(self.past_their_name))
            raise ModelError(
                f"the network reads {', '.join(names)} by another way than that name (a list, a closure, another "
                "attribute, a global), where a task's own values do not reach it: tasks would be judged with weights "
                f"that they did not fit. Read self.{names[0]} in forward(), at each call"
            )
        if self.registered_nowhere:
            places = [_place(self._module, t) or f"one of shape {tuple(t.shape)}" for t in self.registered_nowhere]
            raise ModelError(
                f"the network uses parameters that are registered nowhere ({', '.join(dict.fromkeys(places))}), so "
                "that nobody would learn them. Keep them in an nn.ModuleList or nn.ParameterList, or call "
                "requires_grad_(False) on what is to stay constant"
            )


SHIFT = 0.03
"""By which share of its tensor's root mean square each number is shifted: far above rounding in every precision, and
small enough that a network still runs. Chosen by hand."""


def shifted(params: dict[str, Tensor]) -> dict[str, Tensor]:
    """The parameters with each number shifted at random, the same way at each call; whole numbers stay. They are new
    tensors without a history, that require a gradient where the given ones do.

    The shifts are normal, of 3% of the tensor's root mean square in size (0.03 where all its numbers are zero).
    """
    generator = torch.Generator().manual_seed(0)
    shifted_params = {}
    for name, p in params.items():
        q = p.detach()
        if q.requires_grad or q.is_floating_point() or q.is_complex():
            # At random, since a network may not change under a common shift or factor, such as one that ends in a norm.
            noise = torch.randn(q.shape, generator=generator, dtype=q.dtype).to(q.device)
            size = float(q.abs().square().mean().sqrt()) if q.numel() else 0.0
            q = q + SHIFT * (size or 1.0) * noise
        shifted_params[name] = q.requires_grad_(p.requires_grad)
    return shifted_params


def aliases(module: nn.Module, names: Iterable[str]) -> dict[str, str]:
    """Other tensors of a module that lie in the memory of its parameters: ``{place of the tensor: parameter's name}``.

    They are tensors in attributes and buffers, such as a view of a weight, and no parameters themselves.

    A copy of the module does not keep such a tie: there the other tensor is a constant of its own.
    """
    memory: dict[int, list[tuple[int, int, str]]] = {}
    registered = dict(module.named_parameters())
    for name in names:
        if registered[name].numel():
            memory.setdefault(_memory(registered[name]), []).append((*_byte_range(registered[name]), name))
    names_by_place: dict[str, str] = {}
    for place, tensor in held_tensors(module):
        if not isinstance(tensor, nn.Parameter) and tensor.layout == torch.strided and tensor.numel():
            start, end = _byte_range(tensor)
            for first, last, name in memory.get(_memory(tensor), []):
                if start < last and first < end:
                    names_by_place[place] = name
    return names_by_place


def held_tensors(module: nn.Module) -> list[tuple[str, Tensor]]:
    """Pairs ``(place, tensor)`` of the tensors in attributes and buffers of a module and its parts, and in lists,
    tuples and dictionaries there, but not in containers within these.

    Registered parameters are left out. A place is a dotted path from the module, such as ``layer.kept[0]``.
    """
    tensors = []
    for name, part in module.named_modules():
        for key, value in vars(part).items():
            if key not in ("_parameters", "_modules"):
                things = [(key, value), *held(key, value)]
                tensors += [(dotted(name, at), thing) for at, thing in things if isinstance(thing, Tensor)]
    return tensors


def _memory(tensor: Tensor) -> int:
    """The address at which a tensor's storage begins, which tells storages apart."""
    return tensor.untyped_storage().data_ptr()


def _byte_range(tensor: Tensor) -> tuple[int, int]:
    """The addresses of the first byte of the first number and after the last byte of the last."""
    # Views of one storage may not overlap: a packed weight can hold several parameters side by side.
    last = sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.data_ptr(), tensor.data_ptr() + (last + 1) * tensor.element_size()


def _tensors(tree: Any) -> list[Tensor]:
    """All tensors in a tree of tuples, dictionaries and lists."""
    # leaves_of knows tuples and dictionaries, while operations take lists of tensors, as torch.cat does.
    if isinstance(tree, list):
        tree = tuple(tree)
    tensors = []
    for leaf in leaves_of(tree):
        tensors += _tensors(leaf) if isinstance(leaf, list) else [leaf] if isinstance(leaf, Tensor) else []
    return tensors


def _place(module: nn.Module, tensor: Tensor) -> str | None:
    """Where a module holds a tensor, for a message: through attributes, lists, dictionaries and modules in them.

    None where it is found in none of these.
    """
    visited: set[int] = set()
    waiting: list[tuple[str, Any]] = [(name, part) for name, part in module.named_modules()]
    while waiting:
        path, held_value = waiting.pop(0)
        if held_value is tensor:
            return path
        if id(held_value) in visited:
            continue
        visited.add(id(held_value))
        if isinstance(held_value, nn.Module):
            waiting += [(dotted(path, key), value) for key, value in vars(held_value).items() if key != "_modules"]
            waiting += [(dotted(path, key), value) for key, value in held_value._parameters.items()]
            waiting += [(dotted(path, key), value) for key, value in held_value._modules.items()]
        elif isinstance(held_value, dict):
            waiting += [(f"{path}[{key!r}]", value) for key, value in held_value.items()]
        elif isinstance(held_value, (list, tuple)):
            waiting += [(f"{path}[{i}]", value) for i, value in enumerate(held_value)]
    return None
