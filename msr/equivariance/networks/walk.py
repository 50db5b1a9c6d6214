"""Run a network once, and record each layer's input; or why a layer cannot be measured."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from msr.equivariance.measuring.evaluation import error_text
from msr.errors import ConfigError, ModelError, MSRError
from msr.representations import AnyRepresentation
from msr.sharing import Sharing

__all__ = ["Layer", "Representations", "Walk", "walk"]

Representations: TypeAlias = (
    Sequence[AnyRepresentation]
    | Mapping[str, tuple[AnyRepresentation, AnyRepresentation]]
    | Callable[[tuple[int, ...]], AnyRepresentation]
)

# Modules that count as one layer, since their parts do not run by themselves.
_ONE_LAYER = (nn.MultiheadAttention,)
# Containers that never run.
_CONTAINERS = (nn.ModuleList, nn.ModuleDict)
_SCRIPT = "it is TorchScript, which no hook can look into"


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer, its first input ``h (batch, ...)`` on this run, and the representations before and after it."""

    module: nn.Module
    h: Tensor
    before: AnyRepresentation
    after: AnyRepresentation


@dataclass(frozen=True, eq=False)
class Walk:
    """What one run of a network recorded: its layers in running order, by name, and why others are not among them.

    ``by_name``: whether the caller named the layers; then one that cannot be measured is an error.
    """

    layers: dict[str, Layer]
    unmeasured: dict[str, str]
    by_name: bool

    def leave_out(self, name: str, error: Exception) -> None:
        """Note in ``unmeasured`` why a layer was not measured; raise the error where the caller named the layers."""
        if self.by_name:
            raise error
        self.unmeasured[name] = f"not measured: {error_text(error)}"

    def check_not_empty(self, measured: Sequence[str]) -> None:
        """Raise ModelError where ``measured``, the names of the layers that could be measured, is empty."""
        if not measured:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in self.unmeasured.items())
            raise ModelError(f"no layer could be measured ({reasons or 'none ran on these inputs'})")


@dataclass
class _Trace:
    """What hooks record of one module: its first input ``h``, the shape of its first output, or why there is none.

    ``shape`` is that of one example, without the batch axis; None until the first call has returned. ``calls`` counts
    how often the module started.
    """

    h: Tensor | None = None
    shape: tuple[int, ...] | None = None
    reason: str = ""
    calls: int = 0
    handles: list[Any] = field(default_factory=list)

    def before(self, module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        """The hook before a module: count the call; on the first one keep a copy of its input, or say why not."""
        self.calls += 1
        if self.calls > 1:
            return
        inputs = [*args, *kwargs.values()]
        if len(inputs) != 1 or not isinstance(inputs[0], Tensor):
            kinds = ", ".join(type(value).__name__ for value in inputs) or "nothing"
            self.reason = f"it does not map one tensor to one tensor: it was given {kinds}"
            return
        self.h = inputs[0].detach().clone()  # before the layer can work in place on it

    def after(self, module: nn.Module, args: tuple, kwargs: dict[str, Any], output: object) -> None:
        """The hook after a module: on the first call keep the shape of its output, or say why not."""
        if self.calls > 1 or self.reason:
            return
        if not isinstance(output, Tensor):
            self.reason = f"it does not map one tensor to one tensor: it returned {type(output).__name__}"
            return
        self.shape = tuple(output.shape[1:])

    @property
    def is_complete(self) -> bool:
        """Whether the module was given one tensor and returned one, and nothing is known against measuring it."""
        # A network may catch the error of a module, which then has an input and no output.
        return self.h is not None and self.shape is not None and not self.reason


def walk(network: nn.Module, x: Tensor, representations: Representations, masks: Mapping[str, Tensor] | None) -> Walk:
    """Each layer with its first input and its two representations, in running order.

    Where a function gives the representations, a layer that takes or returns anything but one tensor is replaced by the
    nearest module around it that maps one tensor to one tensor, though never by the whole network.

    Raises: ConfigError for names and lists that do not fit the network; ModelError where the network fails, or where a
    layer that was asked for by name cannot be measured.
    """
    wanted = _wanted(network, representations)
    unknown = [name for name in masks or {} if name not in wanted]
    if unknown:
        raise ConfigError(f"there is a mask for {unknown[0]!r}, which is not measured; the layers: {', '.join(wanted)}")
    # Only a function can say how a module acts that nobody listed.
    around = {} if not callable(representations) else _around(network, wanted)
    traces, order = _run(network, x, {**wanted, **around})
    by_name = isinstance(representations, Mapping)
    walked = Walk({}, {}, by_name)
    ran = [name for name in order if name in wanted]
    unhooked = {name: traces[name].reason for name in wanted if traces[name].reason == _SCRIPT}
    for name, reason in unhooked.items():
        if by_name:
            raise ModelError(f"layer {name!r} cannot be measured: {reason}; leave it out of the mapping of names")
        walked.unmeasured[name] = f"not measured: {reason}"
    # A list of representations is in running order. It is not known when a layer without a hook runs, and then the
    # order of definition stands for it.
    chain = list(wanted) if unhooked else ran
    for name in ran:
        position = chain.index(name)
        chosen = name
        if not traces[name].is_complete:
            reason = traces[name].reason or "it stopped half way"
            if by_name:
                raise ModelError(f"layer {name!r} cannot be measured: {reason}; leave it out of the mapping of names")
            walked.unmeasured[name] = f"not measured: {reason}"
            # The nearest module around it, so that as little as possible is taken together.
            chosen = next((n for n in _parents(name) if n in around and traces[n].is_complete), "")
            if not chosen or chosen in walked.layers:
                continue
            walked.unmeasured[name] = f"not measured: {reason}; {chosen}, which holds it, was measured instead"
        trace = traces[chosen]
        assert trace.h is not None
        assert trace.shape is not None
        try:
            pair = _pair(representations, name, position, tuple(trace.h.shape[1:]), trace.shape)
        except Exception as error:  # the caller's own function
            walked.unmeasured[chosen] = f"not measured: no representation of its activations: {error_text(error)}"
            continue
        walked.layers[chosen] = Layer({**wanted, **around}[chosen], trace.h, *pair)
        if trace.calls > 1:
            walked.unmeasured[chosen] = f"measured on the first of its {trace.calls} calls"
    for name in wanted:
        if name not in ran and name not in unhooked and list(wanted[name].parameters(recurse=False)):
            walked.unmeasured[name] = "not measured: it did not run on these inputs"
    return walked


def _pair(
    representations: Representations,
    name: str,
    position: int,
    shape_in: tuple[int, ...],
    shape_out: tuple[int, ...],
) -> tuple[AnyRepresentation, AnyRepresentation]:
    """The representations before and after a layer, by the shapes of its activations, its name, or its position."""
    if callable(representations):
        return representations(shape_in), representations(shape_out)
    if isinstance(representations, Mapping):
        return representations[name]
    return representations[position], representations[position + 1]


def _run(network: nn.Module, x: Tensor, modules: Mapping[str, nn.Module]) -> tuple[dict[str, _Trace], list[str]]:
    """Run the network once, in its own mode, on a copy of ``x``: a trace of each of ``modules``, by name, and an order.

    The order holds the names of the modules that were seen to start, each once, by their first start. A module that did
    not run is not in it, and its trace counts no calls. Nor is a scripted module, which takes no hooks whether it runs
    or not: its trace has the reason ``_SCRIPT``.

    Raises: ModelError where the network fails; an error of this package is passed on as it is. The hooks are taken off
    in any case.
    """
    traces = {name: _Trace() for name in modules}
    order: list[str] = []

    def note_start(name: str) -> Callable[[nn.Module, tuple, dict[str, Any]], None]:
        def hook(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
            if name not in order:
                order.append(name)
            traces[name].before(module, args, kwargs)

        return hook

    handles: list[Any] = []
    try:
        for name, module in modules.items():
            # The reason stands unless both hooks are taken: a scripted module refuses them, a traced one does not.
            traces[name].reason = _SCRIPT
            with suppress(RuntimeError):
                handles.append(module.register_forward_pre_hook(note_start(name), with_kwargs=True))
                handles.append(module.register_forward_hook(traces[name].after, with_kwargs=True))
                traces[name].reason = ""
        try:
            network(x.detach().clone())
        except MSRError:
            raise
        except (Exception, SystemExit) as error:
            raise ModelError(f"the network failed on inputs {tuple(x.shape)} {x.dtype}: {error_text(error)}") from error
    finally:
        for handle in handles:
            handle.remove()
    return traces, order


def _parents(name: str) -> list[str]:
    """The names of the modules that hold a module, the nearest first, without the network itself."""
    parts = name.split(".")
    return [".".join(parts[:n]) for n in range(len(parts) - 1, 0, -1)]


def _around(network: nn.Module, wanted: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """The modules that hold a wanted one, at any depth, and can run, by name; not the network itself."""
    named = dict(network.named_modules())
    names = dict.fromkeys(parent for name in wanted for parent in _parents(name))
    return {name: named[name] for name in names if name in named and not isinstance(named[name], _CONTAINERS)}


def _wanted(network: nn.Module, representations: Representations) -> dict[str, nn.Module]:
    """The layers to measure, by name: those that a mapping names, else the innermost modules.

    They are in the order of the network. A network that is one layer itself has the name of its class.

    Raises: ConfigError for a name that the network lacks or that has no pair, and for a list of the wrong length.
    """
    # A module that is used under two names may be asked for by either.
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
            f"got {len(representations)}. The layers: {', '.join(innermost)}"
        )
    return innermost


def _is_one_layer(module: nn.Module, is_root: bool) -> bool:
    """Whether a module counts as one layer, whatever it is made of.

    Reparameterised and parametrized modules and attention count as one: their parts hold weights and do not run. So
    does TorchScript. A module with a part that is TorchScript counts as one, since such a part takes no hooks; the
    network itself (``is_root``) only if all its parts are. A ``Sequential`` or a container of modules never counts as
    one for its parts.
    """
    holds_pattern = any(isinstance(child, Sharing) for child in module.children())
    if holds_pattern or isinstance(module, (*_ONE_LAYER, torch.jit.ScriptModule)):
        return True
    if is_parametrized(module):
        return True
    if isinstance(module, (nn.Sequential, *_CONTAINERS)):
        return False  # its parts are layers of their own
    parts = [
        part
        for child in module.children()
        for part in (child.children() if isinstance(child, _CONTAINERS) else [child])
    ]
    scripted = [isinstance(part, torch.jit.ScriptModule) for part in parts]
    return bool(scripted) and (all(scripted) if is_root else any(scripted))
