"""Whether a network is a function of its arguments, by behaviour: no draws, no state, one answer."""

import contextlib
import copy
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from msr.errors import ModelError
from msr.modules import dotted
from msr.trees import leaves_of, mapped

__all__ = ["Impurity", "agree", "held", "impurity", "keeping_random_states", "refuse_changing_weights"]

Call = Callable[[], Any]


class _Source(NamedTuple):
    """Where random numbers come from: how to read its state, and how to put it back."""

    get: Callable[[], Any]
    set: Callable[[Any], object]


@dataclass
class Impurity:
    """Why a call is not a function of its arguments.

    Attributes:
        reasons: what it draws or changes, in words.
        modules: the names of the modules at fault; "" is the whole.
    """

    reasons: list[str]
    modules: list[str]


@dataclass
class _Visit:
    """One run of a module within a call.

    Attributes:
        name: the module's name.
        arguments, answer: copies of what went in and came out.
        states: the states of all sources of random numbers when it began.
        drew: whether one of them changed until it ended.
    """

    name: str
    arguments: Any
    states: dict[str, Any]
    answer: Any = None
    drew: bool = False


def impurity(call: Call, modules: dict[str, nn.Module], device: torch.device) -> Impurity | None:
    """Call twice, and return what was drawn or kept, or that the answers differ; None for a function of its arguments.

    ``modules`` are those that the call is known to run. Their buffers, and the random generators that they hold, are
    compared before and after. Randomness shows in the states of the generators, not only in the two answers: a layer
    that is dropped one time in ten gives the same answer twice more often than not.
    """
    sources = _sources(modules, device)
    buffers = _buffers(modules)
    states = _states(sources)
    values = {name: b.detach().clone() for name, b in buffers.items()}
    answers = [call() for _ in range(2)]
    drawn = [name for name, state in _states(sources).items() if not _same(state, states[name])]
    changed = [name for name, b in buffers.items() if not _same(b, values[name])]
    # Beside the states: a source that is not known here shows in the answers only.
    differ = not agree(*answers)
    if not (drawn or changed or differ):
        return None
    reasons = []
    if drawn:
        reasons.append(f"it draws random numbers ({', '.join(drawn)})")
    if changed:
        reasons.append(f"it changes its buffers ({', '.join(changed)})")
    if differ:
        reasons.append("two answers from the same parameters and inputs differ")
    # Two more calls find the modules at fault, which costs a copy of every argument and answer.
    visits = [_visits(call, modules, sources) for _ in range(2)]
    owners = {name.rpartition(".")[0] for name in changed}
    owners |= {name.rpartition(".")[0] for name in drawn if name not in _GLOBAL}
    return Impurity(reasons, _innermost(owners | _at_fault(*visits)))


def refuse_changing_weights(module: nn.Module) -> None:
    """Raise ModelError for a parametrised weight that changes when it is read, which shows without any input."""
    for name, part in module.named_modules():
        if torch.nn.utils.parametrize.is_parametrized(part) and any(p.training for p in part.modules()):
            # Spectral norm changes its vectors whenever its weight is read, so a copy is read.
            twin = copy.deepcopy(part)
            device = next((p.device for p in twin.parameters()), torch.device("cpu"))
            with keeping_random_states({"": twin}, device), torch.no_grad():
                fault = impurity(partial(_parametrised, twin), {"": twin}, device)
            if fault:
                at = dotted(name, "parametrizations")
                raise ModelError(
                    f"the weight of {name or 'the module'} changes whenever it is read ({'; '.join(fault.reasons)}); "
                    f"call net.get_submodule({at!r}).eval() first, or eval() on the whole"
                )


def _parametrised(part: nn.Module) -> tuple[Tensor, ...]:
    """The weights of a module that parametrizations make, each read now."""
    return tuple(getattr(part, name) for name in part.get_submodule("parametrizations")._modules)


@contextlib.contextmanager
def keeping_random_states(modules: dict[str, nn.Module], device: torch.device) -> Iterator[None]:
    """After the block put back the state of all sources of random numbers: global ones, and those that modules hold."""
    sources = _sources(modules, device)
    states = _states(sources)
    try:
        yield
    finally:
        for name, source in sources.items():
            source.set(states[name])


def agree(a: Any, b: Any) -> bool:
    """Whether two answers have the same structure, keys included, and leaves that are equal up to rounding.

    Tensors must have one shape and one dtype, and nan equals nan. Each floating one may differ by 1,000 units in the
    last place of its largest finite number, and by 1% of that number at most; whole and boolean ones must be equal.
    NumPy arrays are compared as tensors are, those of text, dates and objects too. Plain numbers and texts must be
    equal, and any other leaf agrees with every leaf of its type.
    """
    a = _as_tree(a)
    b = _as_tree(b)
    return _same_structure(a, b) and all(map(_close, leaves_of(a), leaves_of(b)))


def _same_structure(a: Any, b: Any) -> bool:
    """Whether two trees are nested alike, with the same keys in the same order, whatever their leaves are."""
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(map(_same_structure, a.values(), b.values()))
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(_same_structure, a, b))
    return not isinstance(a, (dict, tuple)) and not isinstance(b, (dict, tuple))


def _close(a: Any, b: Any) -> bool:
    """Whether two leaves of answers agree (:func:`agree`); what is no tensor, array or plain value, by its type."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        if a.dtype != b.dtype:
            return False
        if a.dtype.kind not in "fc":
            return np.array_equal(a, b)
        # Copies, since torch takes no negative strides, no other order of bytes, and no more than double precision.
        native = a.dtype.newbyteorder("=")
        widest = np.dtype(np.float64 if a.dtype.kind == "f" else np.complex128)
        kind = native if native.itemsize <= widest.itemsize else widest
        a, b = (torch.from_numpy(array.astype(kind, order="C")) for array in (a, b))
    if not (isinstance(a, Tensor) and isinstance(b, Tensor)):
        plain = isinstance(a, (bool, int, float, complex, str))
        return type(a) is type(b) and (not plain or a == b or (a != a and b != b))
    if a.dtype != b.dtype:
        return False
    if a.shape != b.shape:
        return False
    if not (a.is_floating_point() or a.is_complex()):
        return torch.equal(a, b)
    a = a.detach()
    b = b.detach()
    # Kernels may sum in another order from call to call, so equality cannot be asked for. 1,000 units in the last place
    # is far above that, and far below what dropout does; half precision would allow everything without the 1%. Both
    # chosen by hand.
    rtol = min(1e3 * torch.finfo(a.dtype).eps, 0.01)
    finite = a.isfinite() & b.isfinite()
    size = float(torch.where(finite, a, 0).abs().max()) if a.numel() else 0.0
    return torch.allclose(a, b, rtol=0.0, atol=rtol * size, equal_nan=True)


def _as_tree(answer: Any) -> Any:
    """The answer with all lists in it as tuples, however deep, so that their entries are leaves."""
    return mapped(lambda leaf: tuple(map(_as_tree, leaf)) if isinstance(leaf, list) else leaf, answer)


def _same(a: Any, b: Any) -> bool:
    """Whether two trees of states or buffers are exactly equal; nan equals nan."""
    if isinstance(a, Tensor):
        # A nan equals no number, itself included; a buffer of nan has not changed all the same.
        return torch.equal(a, b) or bool(((a == b) | ((a != a) & (b != b))).all())
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, dict):
        return all(_same(value, b[key]) for key, value in a.items())
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(a == b)


_GLOBAL = {
    "torch's global generator": _Source(torch.get_rng_state, torch.set_rng_state),
    "numpy.random": _Source(np.random.get_state, np.random.set_state),
    "random": _Source(random.getstate, random.setstate),
}


def _sources(modules: dict[str, nn.Module], device: torch.device) -> dict[str, _Source]:
    """All sources of random numbers by name: global ones, the device's, and those that modules hold in attributes."""
    sources = dict(_GLOBAL)
    if device.type not in ("cpu", "meta"):
        backend = torch.get_device_module(device)
        sources[f"the {device.type} generator"] = _Source(
            lambda: backend.get_rng_state(device), lambda state: backend.set_rng_state(state, device)
        )
    for home, module in modules.items():
        for name, part in module.named_modules(prefix=home):
            for key, value in vars(part).items():
                for path, thing in [(key, value), *held(key, value)]:
                    source = _source_of(thing)
                    if source is not None:
                        sources[dotted(name, path)] = source
    return sources


def held(key: str, value: Any) -> list[tuple[str, Any]]:
    """The entries of a list, tuple or dictionary with a path for each, such as ``key[0]``; none for other values."""
    if isinstance(value, dict):
        return [(f"{key}[{k!r}]", v) for k, v in value.items()]
    return [(f"{key}[{i}]", v) for i, v in enumerate(value)] if isinstance(value, (list, tuple)) else []


def _source_of(thing: Any) -> _Source | None:
    """How to read and set the state of a generator of torch, NumPy or Python; None for any other object."""
    if isinstance(thing, torch.Generator):
        return _Source(thing.get_state, thing.set_state)
    if isinstance(thing, np.random.Generator):
        bits = thing.bit_generator
        return _Source(lambda: copy.deepcopy(bits.state), lambda state: setattr(bits, "state", state))
    if isinstance(thing, np.random.RandomState):
        return _Source(thing.get_state, thing.set_state)
    if isinstance(thing, random.Random):
        return _Source(thing.getstate, thing.setstate)
    return None


def _states(sources: dict[str, _Source]) -> dict[str, Any]:
    """The present state of each source of random numbers, by name."""
    return {name: source.get() for name, source in sources.items()}


def _buffers(modules: dict[str, nn.Module]) -> dict[str, Tensor]:
    """All buffers of the modules, by name; a module's own key comes first in the names."""
    return {name: b for home, m in modules.items() for name, b in m.named_buffers(prefix=home)}


def _visits(call: Call, modules: dict[str, nn.Module], sources: dict[str, _Source]) -> list[_Visit]:
    """The runs of the modules while ``call`` is called once, in the order in which they end."""
    visits: list[_Visit] = []
    unfinished: list[_Visit] = []
    handles = []

    def enter(name: str, part: nn.Module, args: tuple, kwargs: dict) -> None:
        unfinished.append(_Visit(name, _copied((args, kwargs)), _states(sources)))

    def leave(part: nn.Module, args: tuple, kwargs: dict, answer: Any) -> None:
        # Modules nest, so the one that ends is the one that began last.
        visit = unfinished.pop()
        visit.answer = _copied(answer)
        visit.drew = not _same(_states(sources), visit.states)
        visits.append(visit)

    for home, module in modules.items():
        for name, part in module.named_modules(prefix=home):
            # TorchScript takes no hooks.
            if not isinstance(part, torch.jit.ScriptModule):
                before = lambda part, args, kwargs, name=name: enter(name, part, args, kwargs)  # noqa: E731
                handles.append(part.register_forward_pre_hook(before, with_kwargs=True))
                handles.append(part.register_forward_hook(leave, with_kwargs=True))
    try:
        call()
    finally:
        for handle in handles:
            handle.remove()
    return visits


def _at_fault(first: list[_Visit], second: list[_Visit]) -> set[str]:
    """Names of modules that drew random numbers, or gave different answers to equal arguments.

    Args: ``first``, ``second``: the runs of the modules in two calls with the same inputs.
    """
    names = {visit.name for visit in (*first, *second) if visit.drew}
    for a, b in zip(first, second, strict=False):
        # A module whose arguments differ already is not at fault for its answer.
        if a.name == b.name and agree(a.arguments, b.arguments) and not agree(a.answer, b.answer):
            names.add(a.name)
    return names


def _innermost(names: set[str]) -> list[str]:
    """The names without those that hold another of them."""

    def holds(name: str) -> bool:
        return any(other != name and (not name or other.startswith(f"{name}.")) for other in names)

    return sorted(name for name in names if not holds(name))


def _copied(tree: Any) -> Any:
    """The tree with copies of its tensors, without history; lists become tuples."""
    tree = _as_tree(tree)
    if isinstance(tree, Tensor):
        return tree.detach().clone()
    if isinstance(tree, dict):
        return {key: _copied(value) for key, value in tree.items()}
    return tuple(map(_copied, tree)) if isinstance(tree, tuple) else tree
