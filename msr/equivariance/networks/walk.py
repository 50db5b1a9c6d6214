"""The layers of a network and the activations that they really see, and what cannot be measured, with the reason."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from msr.equivariance.measuring.evaluation import said
from msr.errors import ConfigError, ModelError, MSRError
from msr.representations import AnyRepresentation

__all__ = ["Layer", "Representations", "Walk", "walk"]

Representations: TypeAlias = (
    Sequence[AnyRepresentation]
    | Mapping[str, tuple[AnyRepresentation, AnyRepresentation]]
    | Callable[[tuple[int, ...]], AnyRepresentation]
)

_ONE_LAYER = (nn.MultiheadAttention,)
_SCRIPT = "it is TorchScript, which no hook can look into"
_LISTS = (nn.ModuleList, nn.ModuleDict)


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer, its first input on this run, and its two representations."""

    module: nn.Module
    h: Tensor
    before: AnyRepresentation
    after: AnyRepresentation


@dataclass(frozen=True, eq=False)
class Walk:
    """Layers in running order, and why others are not among them."""

    layers: dict[str, Layer]
    unmeasured: dict[str, str]
    by_name: bool

    def leave_out(self, name: str, error: Exception) -> None:
        """Note a layer that could not be measured; what was asked for by name is an error."""
        if self.by_name:
            raise error
        self.unmeasured[name] = f"not measured: {said(error)}"

    def check_not_empty(self, measured: Sequence[str]) -> None:
        """Raise ModelError when not one layer could be measured."""
        if not measured:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in self.unmeasured.items())
            raise ModelError(f"no layer could be measured ({reasons or 'none ran on these inputs'})")


@dataclass
class _Trace:
    """What hooks see of one module."""

    h: Tensor | None = None
    shape: tuple[int, ...] = ()
    reason: str = ""
    calls: int = 0
    handles: list[Any] = field(default_factory=list)

    def before(self, module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        self.calls += 1
        if self.calls > 1:
            return
        given = [*args, *kwargs.values()]
        if len(given) != 1 or not isinstance(given[0], Tensor):
            kinds = ", ".join(type(value).__name__ for value in given) or "nothing"
            self.reason = f"it does not map one tensor to one tensor: it was given {kinds}"
            return
        self.h = given[0].detach().clone()  # before the layer can work in place on it

    def after(self, module: nn.Module, args: tuple, kwargs: dict[str, Any], output: object) -> None:
        if self.calls > 1 or self.reason:
            return
        if not isinstance(output, Tensor):
            self.reason = f"it does not map one tensor to one tensor: it returned {type(output).__name__}"
            return
        self.shape = tuple(output.shape[1:])

    @property
    def ran_whole(self) -> bool:
        return self.h is not None and not self.reason


def walk(network: nn.Module, x: Tensor, representations: Representations, masks: Mapping[str, Tensor] | None) -> Walk:
    """Each layer with its first input and its two representations, in running order.

    A layer that takes or gives more than one tensor gives way to the nearest module around it that does not, short of
    the network itself, where a function says the representations.
    """
    wanted = _wanted(network, representations)
    unknown = [name for name in masks or {} if name not in wanted]
    if unknown:
        raise ConfigError(f"there is a mask for {unknown[0]!r}, which is not measured; the layers: {', '.join(wanted)}")
    around = {} if not callable(representations) else _around(network, wanted)
    traces, order = _run(network, x, {**wanted, **around})
    found, by_name = Walk({}, {}, isinstance(representations, Mapping)), isinstance(representations, Mapping)
    ran = [name for name in order if name in wanted]
    unseen = {name: traces[name].reason for name in wanted if traces[name].reason == _SCRIPT}
    for name, reason in unseen.items():
        if by_name:
            raise ModelError(f"layer {name!r} cannot be measured: {reason}; leave it out of the mapping of names")
        found.unmeasured[name] = f"not measured: {reason}"
    chain = list(wanted) if unseen else ran  # when some of them runs is not known then
    for name in ran:
        position, chosen = chain.index(name), name
        if not traces[name].ran_whole:
            reason = traces[name].reason or "it stopped half way"
            if by_name:
                raise ModelError(f"layer {name!r} cannot be measured: {reason}; leave it out of the mapping of names")
            found.unmeasured[name] = f"not measured: {reason}"
            chosen = next((n for n in _parents(name) if n in around and traces[n].ran_whole), "")
            if not chosen or chosen in found.layers:
                continue
            found.unmeasured[name] = f"not measured: {reason}; {chosen}, which holds it, was measured instead"
        trace = traces[chosen]
        assert trace.h is not None
        try:
            if callable(representations):
                pair = representations(tuple(trace.h.shape[1:])), representations(trace.shape)
            elif isinstance(representations, Mapping):
                pair = representations[name]
            else:
                pair = representations[position], representations[position + 1]
        except Exception as error:  # the caller's own function
            found.unmeasured[chosen] = f"not measured: no representation of its activations: {said(error)}"
            continue
        found.layers[chosen] = Layer({**wanted, **around}[chosen], trace.h, *pair)
        if trace.calls > 1:
            found.unmeasured[chosen] = f"measured on the first of its {trace.calls} calls"
    for name in wanted:
        if name not in ran and name not in unseen and list(wanted[name].parameters(recurse=False)):
            found.unmeasured[name] = "not measured: it did not run on these inputs"
    return found


def _run(network: nn.Module, x: Tensor, modules: Mapping[str, nn.Module]) -> tuple[dict[str, _Trace], list[str]]:
    """What each module sees when the network runs, and the order in which they start."""
    traces = {name: _Trace() for name in modules}
    order: list[str] = []

    def started(name: str) -> Callable[[nn.Module, tuple, dict[str, Any]], None]:
        def hook(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
            if name not in order:
                order.append(name)
            traces[name].before(module, args, kwargs)

        return hook

    handles: list[Any] = []
    try:
        for name, module in modules.items():
            traces[name].reason = _SCRIPT
            with suppress(RuntimeError):  # a scripted module takes no hook, a traced one does
                handles.append(module.register_forward_pre_hook(started(name), with_kwargs=True))
                handles.append(module.register_forward_hook(traces[name].after, with_kwargs=True))
                traces[name].reason = ""
        try:
            network(x.detach().clone())
        except MSRError:
            raise
        except (Exception, SystemExit) as error:
            raise ModelError(f"the network failed on inputs {tuple(x.shape)} {x.dtype}: {said(error)}") from error
    finally:
        for handle in handles:
            handle.remove()
    return traces, order


def _parents(name: str) -> list[str]:
    """The names of the modules around one, the nearest first, without the network itself."""
    parts = name.split(".")
    return [".".join(parts[:n]) for n in range(len(parts) - 1, 0, -1)]


def _around(network: nn.Module, wanted: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    named = dict(network.named_modules())
    names = dict.fromkeys(parent for name in wanted for parent in _parents(name))
    return {name: named[name] for name in names if name in named and not isinstance(named[name], _LISTS)}


def _wanted(network: nn.Module, representations: Representations) -> dict[str, nn.Module]:
    named = dict(network.named_modules(remove_duplicate=False))
    if isinstance(representations, Mapping):
        for name in representations:
            pair = representations[name]
            if not isinstance(pair, (tuple, list)) or len(pair) != 2:
                raise ConfigError(f"layer {name!r} needs a pair, before and after it: (rep_in, rep_out); got {pair!r}")
            if name not in named:
                raise ConfigError(f"the network has no layer {name!r}; it has {', '.join(k for k in named if k)}")
        return {name: named[name] for name in named if name in representations}
    innermost: dict[str, nn.Module] = {}
    inside: set[nn.Module] = set()  # parts of a layer that counts as one
    for name, module in network.named_modules():
        if module in inside:
            continue
        whole = _is_one_layer(module, is_root=module is network)
        if whole:
            inside.update(part for part in module.modules() if part is not module)
        if whole or not list(module.children()):
            innermost[name or type(module).__name__] = module
    if not callable(representations) and len(representations) != len(innermost) + 1:
        raise ConfigError(
            f"{len(innermost)} layers need {len(innermost) + 1} representations, before, between and after them; "
            f"came {len(representations)}. The layers: {', '.join(innermost)}"
        )
    return innermost


def _is_one_layer(module: nn.Module, is_root: bool) -> bool:
    """Whether a module counts as one layer, whatever it is made of; so does one whose innards are TorchScript."""
    if hasattr(module, "sharing") or isinstance(module, (*_ONE_LAYER, torch.jit.ScriptModule)):
        return True
    if is_parametrized(module):
        return True
    if isinstance(module, (nn.Sequential, *_LISTS)):
        return False  # what it holds are layers of their own
    parts = [
        part for child in module.children() for part in (child.children() if isinstance(child, _LISTS) else [child])
    ]
    scripted = [isinstance(part, torch.jit.ScriptModule) for part in parts]
    return bool(scripted) and (all(scripted) if is_root else any(scripted))
