"""Patterns for single weights of modules that have no twin: attention, recurrent layers, bare parameters.

The mechanism is torch's own, ``torch.nn.utils.parametrize``: the module stays what it is, and each read of the weight
makes it from the filter. So all code that reads ``attention.in_proj_weight`` or ``cell.weight_hh`` gets the weight that
the pattern makes, in ``functional_call`` and ``vmap`` too.
"""

import functools
import threading
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.rnn import RNNBase
from torch.nn.utils import parametrize

from msr.errors import ModelError
from msr.layers.plain_weights import take_plain_weight
from msr.modules import PackageModule, dotted
from msr.sharing import Sharing

__all__ = ["SharedWeight", "fold_weights", "is_shared", "share_weight", "shared_weights"]

# Weights that were made within the running call of a module, for each thread: see `_making_once`.
_call = threading.local()


class SharedWeight(PackageModule):
    """``vec(W) = U v`` as a parametrization: ``v`` is the parametrization's ``original``, ``U`` its ``sharing``."""

    def __init__(self, sharing: Sharing):
        super().__init__()
        self.sharing = sharing

    def forward(self, v: Tensor) -> Tensor:
        """The weight made from ``v``, in the parameters' own precision even under autocast.

        Within one call of a module that makes its weights once (:func:`_making_once`), later reads give the same
        tensor.
        """
        if torch.compiler.is_compiling() or getattr(_call, "made", None) is None:
            return self._made(v)
        # The key names all that may change within one call. The value holds the two objects that the key names by
        # identity, so that no other object can get their identity meanwhile.
        key = (id(self), id(v), torch.is_grad_enabled())
        if key not in _call.made:
            _call.made[key] = (self, v, self._made(v))
        return _call.made[key][-1]

    def _made(self, v: Tensor) -> Tensor:
        """The weight, made from this filter now."""
        kind = v.device.type
        if kind != "meta" and torch.is_autocast_enabled(kind):
            with torch.autocast(kind, enabled=False):
                return self.sharing.materialize(v)
        return self.sharing.materialize(v)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The filter of the nearest weight that the pattern can make; torch calls this for an assigned weight."""
        return self.sharing.project(weight)


def _making_once(forward: Callable[..., Any]) -> Callable[..., Any]:
    """A module's ``forward`` in which each weight is made once a call, however often it is read; its signature stays.

    While torch compiles, it is the plain ``forward``.
    """

    @functools.wraps(forward)
    def call(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():  # a compiler finds repeated products by itself
            return forward(self, *args, **kwargs)
        outer_call = getattr(_call, "made", None)
        _call.made = {}
        try:
            return forward(self, *args, **kwargs)
        finally:
            _call.made = outer_call

    return call


class _Recurrent(nn.Module):
    """A recurrent layer that keeps no list of its weights.

    torch's recurrent layers keep their weights in a list. Here weights are made from filters at each call, and a kept
    list would hold those of an earlier one.
    """

    @property
    def _flat_weights(self) -> list[Tensor]:
        """The weights in torch's order, each made or read now."""
        return [getattr(self, name) for name in cast(RNNBase, self)._flat_weights_names]

    @_flat_weights.setter
    def _flat_weights(self, weights: list[Tensor]) -> None:
        """Do nothing: torch assigns the list here, and none is kept."""

    def _init_flat_weights(self) -> None:
        """Set the list of weak references that torch's layers keep beside their weights to an empty one."""
        self._flat_weight_refs: list[Any] = []

    def _update_flat_weights(self) -> None:
        """Do nothing: torch asks for the list to follow a changed weight, and none is kept."""

    def flatten_parameters(self) -> None:
        """Do nothing: the weights are made anew in each call, so they have no lasting storage to be joined in."""

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute as any module does."""
        nn.Module.__setattr__(self, name, value)  # the recurrent layers' own would look for a place in the list

    def _replicate_for_data_parallel(self) -> nn.Module:
        """A replica as any module makes it; the recurrent layers' own would copy the list of weights."""
        return nn.Module._replicate_for_data_parallel(self)


class ReparamLSTM(_Recurrent, nn.LSTM):  # type: ignore[misc]
    """What :func:`share_weight` turns an ``nn.LSTM`` into, in place: each weight with a pattern is made once a call.

    Not for building one: it takes no patterns, and weights that were given none stay plain parameters.
    """

    forward = _making_once(nn.LSTM.forward)


class ReparamGRU(_Recurrent, nn.GRU):  # type: ignore[misc]
    """What :func:`share_weight` turns an ``nn.GRU`` into, in place: each weight with a pattern is made once a call.

    Not for building one: it takes no patterns, and weights that were given none stay plain parameters.
    """

    forward = _making_once(nn.GRU.forward)


class ReparamRNN(_Recurrent, nn.RNN):  # type: ignore[misc]
    """What :func:`share_weight` turns an ``nn.RNN`` into, in place: each weight with a pattern is made once a call.

    Not for building one: it takes no patterns, and weights that were given none stay plain parameters.
    """

    forward = _making_once(nn.RNN.forward)


class ReparamAttention(nn.MultiheadAttention):
    """What :func:`share_weight` turns an ``nn.MultiheadAttention`` into, in place: each pattern is applied once a call.

    Not for building one: it takes no patterns, and projections that were given none stay plain parameters.
    """

    forward = _making_once(nn.MultiheadAttention.forward)


_CLASSES: dict[type[nn.Module], type[nn.Module]] = {
    nn.LSTM: ReparamLSTM,
    nn.GRU: ReparamGRU,
    nn.RNN: ReparamRNN,
    nn.MultiheadAttention: ReparamAttention,
}
_PLAIN = {ours: plain for plain, ours in _CLASSES.items()}


def share_weight(module: nn.Module, name: str, sharing: Sharing) -> None:
    """Make ``module.name`` from a pattern, in place; the present weight is projected on the pattern.

    ``name`` is a plain parameter of the module's own, of the shape that the pattern makes. A recurrent layer or an
    attention becomes one of the subclasses here. Plain checkpoints of any module still load. With a frozen weight the
    pattern is frozen too.
    """
    if type(module) in _CLASSES:
        module.__class__ = _CLASSES[type(module)]
        if isinstance(module, _Recurrent):
            module.__dict__.pop("_flat_weights")
            module._init_flat_weights()
    if not is_shared(module):
        # The order of the parameters, so that folding gives back a state_dict with its keys in the same order.
        module.__dict__["_order"] = tuple(module._parameters)
        module._register_load_state_dict_pre_hook(_take_plain_weights, with_module=True)
    learns = cast(Tensor, module._parameters[name]).requires_grad
    parametrize.register_parametrization(module, name, SharedWeight(sharing), unsafe=True)
    if not learns:  # a frozen weight stays frozen, and so does its pattern
        sharing.requires_grad_(False)


def shared_weights(module: nn.Module) -> dict[str, SharedWeight]:
    """The module's own weights that patterns make, by name."""
    if not parametrize.is_parametrized(module):
        return {}
    steps = {name: part[0] for name, part in cast(nn.ModuleDict, module.parametrizations).items()}  # type: ignore[index]
    return {name: step for name, step in steps.items() if isinstance(step, SharedWeight)}


def is_shared(module: nn.Module) -> bool:
    """Whether a pattern makes some weight of the module's own."""
    return bool(shared_weights(module))


@torch.no_grad()
def fold_weights(name: str, module: nn.Module) -> None:
    """Give the module its plain weights and its plain class back, in place; ``name`` is what messages call the module.

    It must be one of which :func:`is_shared` is true. A weight asks for gradients where its filter or pattern does.

    Raises: ModelError when the module carries parametrizations that are not patterns.
    """
    by_patterns = shared_weights(module)
    lists = cast(nn.ModuleDict, module.parametrizations)
    if foreign := [key for key in lists if key not in by_patterns or len(lists[key]) > 1]:  # type: ignore[arg-type]
        raise ModelError(
            f"{dotted(name, foreign[0])} carries a parametrization that is no pattern; remove it with "
            "torch.nn.utils.parametrize.remove_parametrizations before folding"
        )
    plain = {}
    for key in by_patterns:
        original = cast(Tensor, lists[key].original)
        learns = original.requires_grad or any(p.requires_grad for p in by_patterns[key].parameters())
        plain[key] = nn.Parameter(getattr(module, key).contiguous().clone(), requires_grad=learns)
    # torch's remove_parametrizations deletes the weight's property from the class. Deep copies share the class, so they
    # would lose their weight too; here the class is changed for this module alone.
    module.__class__ = type(module).__bases__[0]
    del module._modules["parametrizations"]
    for hook_id, hook in list(module._load_state_dict_pre_hooks.items()):
        if getattr(hook, "hook", hook) is _take_plain_weights:
            del module._load_state_dict_pre_hooks[hook_id]
    merged = {**module._parameters, **plain}
    order = module.__dict__.pop("_order")
    module._parameters.clear()
    module._parameters.update({key: merged[key] for key in (*(k for k in order if k in merged), *merged)})
    if type(module) in _PLAIN:
        module.__class__ = _PLAIN[type(module)]
        if isinstance(module, RNNBase):
            module._init_flat_weights()


def _take_plain_weights(module: nn.Module, state: dict[str, Any], prefix: str, *args: Any) -> None:
    """Before a state is loaded: plain weights in it become filters; torch calls this with its list of errors last."""
    for name, step in shared_weights(module).items():
        home = f"{prefix}parametrizations.{name}"
        take_plain_weight(state, prefix + name, f"{home}.original", f"{home}.0.sharing.", step.sharing, args[-1])
