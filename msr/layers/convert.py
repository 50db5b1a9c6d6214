"""Networks, back and forth: plain layers to reparameterised ones, and back to plain ones for deployment."""

import copy
import warnings
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeAlias, cast

import torch
from torch import nn

from msr.errors import ConfigError, ModelError
from msr.layers.base import ReparamLayer
from msr.layers.conv import ReparamConv1d, ReparamConv2d
from msr.layers.linear import ReparamLinear
from msr.layers.sharing import KroneckerSharing, Sharing, SharingFactory
from msr.modules import copied

__all__ = ["Reparameterized", "ResidualWarning", "fold", "reparameterize"]

PlainLayer: TypeAlias = nn.Linear | nn.Conv1d | nn.Conv2d


class ResidualWarning(UserWarning):
    """A sharing pattern could not represent a layer's weight, so the converted network is another function."""


class Reparameterized(NamedTuple):
    """A converted network, and for each converted layer ``‖W − U v‖ / ‖W‖``: what its pattern could not represent."""

    module: nn.Module
    residuals: dict[str, float]


def reparameterize(
    module: nn.Module,
    layers: Iterable[str] | Callable[[str, nn.Module], bool] | None = None,
    *,
    sharing: Sharing | SharingFactory = KroneckerSharing,
    generator: torch.Generator | None = None,
) -> Reparameterized:
    """A copy of ``module`` whose plain layers are reparameterised, as nearly the same function as the pattern allows.

    Each weight is projected on its pattern by least squares: with square Kronecker factors that is exact. Where
    something is lost, a ResidualWarning says how much, and ``residuals`` holds the number for each layer.

    Args:
        module: any network; it is not changed.
        layers: names as in ``module.named_modules()``, or a predicate ``(name, layer) -> bool``. By default every
            ``nn.Linear``, ``nn.Conv1d`` and ``nn.Conv2d`` (of exactly that type: subclasses have reasons of their own).
        sharing: makes the pattern for a weight shape, for example ``functools.partial(DenseSharing, k=3)``; or a
            pattern, of which each chosen layer gets a copy.
        generator: for patterns that start at random.

    Raises:
        ConfigError: no layer was chosen, or a name is not a layer that can be converted.
        ModelError: a chosen layer carries hooks, or shares its weight with another: both would be lost silently.
    """
    result = copied(module)
    owners = _weight_owners(result)
    chosen = _choose(result, layers)
    residuals: dict[str, float] = {}
    replaced: dict[nn.Module, nn.Module] = {}
    for name, layer in chosen.items():
        if layer not in replaced:
            _refuse_what_would_be_lost(name, layer, owners)
            replaced[layer] = new = _convert(layer, sharing, generator)
            residuals[name] = new.sharing.residual(layer.weight, layer.bias)
            tolerance = 100 * torch.finfo(layer.weight.dtype).eps
            if residuals[name] > tolerance:
                message = (
                    f"layer {name!r}: the pattern misses {residuals[name]:.2%} of the weight or bias (relative norm)"
                )
                warnings.warn(message, ResidualWarning, stacklevel=2)
    return Reparameterized(_replace(result, replaced), residuals)


def fold(module: nn.Module) -> nn.Module:
    """A copy of ``module`` in which every reparameterised layer is its plain ``torch.nn`` twin; same outputs.

    The result holds no code of this package: it can be exported, compiled and saved like any other network.
    Raises: ModelError if a reparameterised layer carries hooks, which its twin would not.
    """
    result = copied(module)
    replaced: dict[nn.Module, nn.Module] = {}
    for name, layer in result.named_modules():
        if isinstance(layer, ReparamLayer):
            _refuse_hooks(name, layer)
            replaced[layer] = layer.fold()
    return _replace(result, replaced)


def _choose(
    module: nn.Module, layers: Iterable[str] | Callable[[str, nn.Module], bool] | None
) -> dict[str, PlainLayer]:
    named = dict(module.named_modules(remove_duplicate=False))
    plain = {name: cast(PlainLayer, layer) for name, layer in named.items() if type(layer) in _TWINS}
    if layers is None:
        chosen = plain
    elif callable(layers):
        chosen = {name: layer for name, layer in plain.items() if layers(name, layer)}
    else:
        chosen = {}
        for name in [layers] if isinstance(layers, str) else layers:
            if name not in plain:
                found = f"is a {type(named[name]).__name__}" if name in named else "does not exist"
                raise ConfigError(f"layer {name!r} {found}; layers that can be converted: {', '.join(plain) or 'none'}")
            chosen[name] = plain[name]
    if not chosen:
        raise ConfigError(f"no layer was chosen; layers that can be converted: {', '.join(plain) or 'none'}")
    return chosen


def _convert(layer: PlainLayer, sharing: Sharing | SharingFactory, generator: torch.Generator | None) -> ReparamLayer:
    weight = layer.weight
    if isinstance(sharing, Sharing):
        pattern = copy.deepcopy(sharing).to(device=weight.device, dtype=weight.dtype)
    else:
        pattern = sharing(tuple(weight.shape), device=weight.device, dtype=weight.dtype, generator=generator)
    names = "in_features out_features" if isinstance(layer, nn.Linear) else _CONV_ARGUMENTS
    arguments: dict[str, Any] = {name: getattr(layer, name) for name in names.split()}
    # The layer's own draws are overwritten below: a throwaway generator keeps them off the global one.
    throwaway = torch.Generator(weight.device)
    new = _TWINS[type(layer)](**arguments, bias=layer.bias is not None, sharing=pattern, generator=throwaway)
    with torch.no_grad():
        new.v.copy_(new.sharing.project(weight))
        if new.bias is not None and layer.bias is not None:
            new.bias.copy_(layer.bias).requires_grad_(layer.bias.requires_grad)
    new.v.requires_grad_(weight.requires_grad)
    if not weight.requires_grad:  # a frozen layer stays frozen: its pattern too
        new.sharing.requires_grad_(False)
    return new.train(layer.training)


def _weight_owners(module: nn.Module) -> dict[int, list[str]]:
    owners: dict[int, list[str]] = {}
    for name, part in module.named_modules():
        for key, parameter in part.named_parameters(recurse=False):
            owners.setdefault(id(parameter), []).append(f"{name}.{key}".lstrip("."))
    return owners


def _refuse_what_would_be_lost(name: str, layer: nn.Module, owners: dict[int, list[str]]) -> None:
    _refuse_hooks(name, layer)
    for parameter in layer.parameters(recurse=False):
        if len(owners[id(parameter)]) > 1:
            tied = " and ".join(owners[id(parameter)])
            raise ModelError(f"{tied} are one parameter; untie them, or leave layer {name!r} out")


def _refuse_hooks(name: str, layer: nn.Module) -> None:
    held = [key for key in vars(layer) if key.endswith("_hooks") and getattr(layer, key)]
    if held:
        raise ModelError(f"layer {name!r} carries hooks ({held[0].strip('_')}); remove them before converting")


def _replace(module: nn.Module, replaced: dict[nn.Module, nn.Module]) -> nn.Module:
    for part in list(module.modules()):
        for key, child in list(part._modules.items()):  # named_children() hides a module's second name
            if child in replaced:
                setattr(part, key, replaced[child])
    return replaced.get(module, module)


_CONV_ARGUMENTS = "in_channels out_channels kernel_size stride padding dilation groups padding_mode"
_TWINS: dict[type[nn.Module], Callable[..., ReparamLayer]] = {
    nn.Linear: ReparamLinear,
    nn.Conv1d: ReparamConv1d,
    nn.Conv2d: ReparamConv2d,
}
