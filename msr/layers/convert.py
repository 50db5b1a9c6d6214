"""Conversion of whole networks: plain layers to reparameterised ones, and back to plain ones for deployment."""

import copy
import warnings
from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple, TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from msr.errors import ConfigError, ModelError, ShapeError
from msr.layers.base import Path, ReparamLayer, check_path
from msr.layers.batch_norms import calibrate, refuse_stale_statistics, use_set_statistics_in_eval
from msr.layers.choice import Weight, choose
from msr.layers.conv import ReparamConv1d, ReparamConv2d, ReparamConv3d
from msr.layers.inventory import LeftAlone, LeftAloneWarning, by_kind, coverage
from msr.layers.linear import ReparamLinear
from msr.layers.plain_weights import ResidualWarning, warn_of_residual
from msr.layers.single_weights import fold_weights, is_shared, share_weight
from msr.layers.transposed import ReparamConvTranspose1d, ReparamConvTranspose2d, ReparamConvTranspose3d
from msr.modules import PackageModule, copied, dotted, with_parts_replaced
from msr.sharing import KroneckerSharing, Sharing, SharingFactory

__all__ = ["Reparameterized", "ResidualWarning", "fold", "reparameterize"]

PlainLayer: TypeAlias = (
    nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
)


class Reparameterized(NamedTuple):
    """A converted network. Its text is one line: how much of it patterns make, and what was left alone.

    Attributes:
        module: the network.
        residuals: ``‖W − U v‖ / ‖W‖`` for each converted layer or single weight, which is the part that its pattern
            could not represent; units: none, from 0 to 1. Where a pattern shares a layer's bias too, it is the larger
            of that and the same of the bias (:meth:`msr.sharing.Sharing.residual`). On the meta device it is 0.
    """

    module: nn.Module
    residuals: dict[str, float]

    @property
    def left(self) -> dict[str, LeftAlone]:
        """The parameters that no pattern makes, by name: what they belong to, and their share of all."""
        return coverage(self.module).left

    def __str__(self) -> str:
        return str(coverage(self.module))


def reparameterize(
    module: nn.Module,
    layers: Iterable[str] | Callable[[str, nn.Module], bool] | None = None,
    *,
    sharing: Sharing | SharingFactory = KroneckerSharing,
    generator: torch.Generator | None = None,
    path: Path = "auto",
) -> Reparameterized:
    """A copy of ``module`` whose plain layers are reparameterised, with outputs as near as the patterns allow.

    Each weight is projected on its pattern by least squares: with square Kronecker factors that is exact. Where
    something is lost, a ResidualWarning says how much, and ``residuals`` holds the number for each layer.

    Linear layers and convolutions, transposed ones too, become their twins. Attention and recurrent layers stay what
    they are, and patterns make their projections (:mod:`torch.nn.utils.parametrize`).

    Args:
        module: any network; it is not changed.
        layers: names as in ``module.named_modules()``, or a predicate ``(name, layer) -> bool``. By default all layers
            of exactly these types; a subclass may use its weight in another way and is left alone. Any other weight
            with two axes or more can be chosen by its name as in ``module.named_parameters()``: an embedding, a bare
            parameter, a subclass's weight.
        sharing: makes the pattern for a weight shape, for example ``functools.partial(DenseSharing, k=3)``; or a
            pattern, of which each chosen layer gets a copy.
        generator: for patterns that start at random; None for torch's global one.
        path: how the new layers compute, as in :class:`~msr.layers.base.ReparamLayer`.

    Where ``layers`` is not given, a LeftAloneWarning names the weights that got no pattern; ``left`` of the result
    lists them all.

    Raises:
        ConfigError: no layer was chosen, a name belongs to nothing that can be converted, ``sharing`` makes no pattern
            for a weight's shape, or ``path="factors"`` is asked of a layer whose pattern cannot serve it.
        ShapeError: a pattern does not fit a weight's shape.
        ModelError: a layer that would be replaced by its twin carries hooks, or a chosen one shares its weight with
            another: both would be lost silently; or an embedding has an option that a made weight cannot keep.
    """
    check_path(path)
    result = copied(module)
    owners = _weight_owners(result)
    chosen = choose(result, layers, frozenset(_TWINS))
    residuals: dict[str, float] = {}
    replaced: dict[nn.Module, nn.Module] = {}
    for name, unit in chosen.items():
        if isinstance(unit, Weight):
            residuals[name] = _share(name, unit, sharing, generator, path, owners)
            dtype = getattr(unit.owner, unit.key).dtype
        else:
            _refuse_what_would_be_lost(name, unit, owners)
            replaced[unit], residuals[name] = _convert(name, cast(PlainLayer, unit), sharing, generator, path)
            dtype = cast(Tensor, unit.weight).dtype
        warn_of_residual(f"layer {name!r}", residuals[name], dtype, stacklevel=2)
    converted = Reparameterized(with_parts_replaced(result, replaced), residuals)
    if layers is None:
        _warn_of_weights_without_pattern(converted)
    return converted


def fold(module: nn.Module, *, statistics: Tensor | tuple[Any, ...] | Literal["set"] | None = None) -> nn.Module:
    """A copy of ``module`` in which every reparameterised layer is its plain ``torch.nn`` twin; same outputs.

    The result holds no code of this package: it can be exported, compiled and saved like any other network. Where
    modules of this package or foreign parametrizations remain in it, a LeftAloneWarning names them.

    Args:
        module: any network; it is not changed.
        statistics: what batch norms use in ``eval()``, for a network that was meta-trained: there each set has its own
            statistics, and the running ones were not kept. Examples ``(examples, ...)`` (the network's input, or a
            tuple of its inputs) stand for their statistics, as with :func:`~msr.layers.batch_norms.calibrate`.
            ``"set"`` stands for those of the set at hand, as in meta-training; such norms have no running statistics,
            so their three buffers leave the state_dict.

    Raises:
        ConfigError: ``statistics`` is neither examples, nor ``"set"``, nor None.
        ModelError: a reparameterised layer carries hooks, which its twin would lose; or the running statistics of a
            batch norm do not belong to the weights, and ``statistics`` does not say what to do.
    """
    result = copied(module)
    if statistics is None:
        refuse_stale_statistics(result)
    replaced: dict[nn.Module, nn.Module] = {}
    for name, layer in list(result.named_modules()):
        if isinstance(layer, ReparamLayer):
            _refuse_hooks(name, layer)
            replaced[layer] = layer.fold()
        elif is_shared(layer):
            fold_weights(name, layer)
    folded = with_parts_replaced(result, replaced)
    if isinstance(statistics, str):
        use_set_statistics_in_eval(folded, statistics)
    elif statistics is not None:
        calibrate(folded, statistics)
    _warn_of_what_is_not_plain(folded)
    return folded


def _share(
    name: str,
    weight: Weight,
    sharing: Sharing | SharingFactory,
    generator: torch.Generator | None,
    path: Path,
    owners: dict[int, list[str]],
) -> float:
    """Give a single weight its pattern, in place. Returns the part that the pattern cannot represent, in units of the
    weight's norm; 0 on the meta device.

    Raises: ConfigError for ``path="factors"``, or a pattern of another shape; ModelError for a weight with two names,
    by ``owners`` (:func:`_weight_owners`); what :func:`_pattern` raises.
    """
    if path == "factors":
        raise ConfigError(f"path='factors' cannot serve {name!r}: only layers with a twin apply factors; use 'auto'")
    plain = cast(nn.Parameter, weight.owner._parameters[weight.key])
    _refuse_ties(name, plain, owners)
    pattern = _pattern(name, plain, sharing, generator)
    if pattern.weight_shape != tuple(plain.shape):
        raise ConfigError(f"the pattern makes a weight {pattern.weight_shape}, but {name!r} is {tuple(plain.shape)}")
    with torch.no_grad():
        residual = 0.0 if plain.is_meta else pattern.residual_at(pattern.project(plain), plain)
    share_weight(weight.owner, weight.key, pattern)
    return residual


def _convert(
    name: str, layer: PlainLayer, sharing: Sharing | SharingFactory, generator: torch.Generator | None, path: Path
) -> tuple[ReparamLayer, float]:
    """The reparameterised twin of a plain layer, and the part that its pattern cannot represent.

    The part is in units of the norm of the weight or bias, as in :class:`Reparameterized`. A frozen layer gives a
    frozen twin.
    Raises: ConfigError for ``path="factors"`` where the pattern has no way of its own; what :func:`_pattern` raises.
    """
    weight = layer.weight
    pattern = _pattern(name, weight, sharing, generator)
    arguments: dict[str, Any] = {key: getattr(layer, key) for key in _arguments(layer).split()}
    # The new layer draws a filter and a bias, which are overwritten below. A generator of their own keeps these draws
    # from advancing torch's global one.
    throwaway = None if weight.is_meta else torch.Generator(weight.device)
    new = _TWINS[type(layer)](**arguments, bias=layer.bias is not None, sharing=pattern, generator=throwaway, path=path)
    if path == "factors" and new._factor_cost() is None:
        raise ConfigError(f"path='factors' cannot serve layer {name!r} with this pattern; use 'auto', or leave it out")
    with torch.no_grad():
        v = new.sharing.project(weight)
        residual = 0.0 if weight.is_meta else new._residual_at(v, weight, layer.bias)
        new.v.copy_(v)
        if new.bias is not None and layer.bias is not None:
            new.bias.copy_(layer.bias).requires_grad_(layer.bias.requires_grad)
    new.v.requires_grad_(weight.requires_grad)
    if not weight.requires_grad:  # a frozen layer stays frozen, and so does its pattern
        new.sharing.requires_grad_(False)
    return new.train(layer.training), residual


def _pattern(
    name: str, weight: Tensor, sharing: Sharing | SharingFactory, generator: torch.Generator | None
) -> Sharing:
    """A pattern for one weight, on its device and in its precision: a copy of the one given, or made by a factory.

    Args: ``name``: what messages call the weight.
    Raises: ConfigError for a complex weight, or where ``sharing`` makes no pattern; ShapeError for one that does not
    fit.
    """
    if weight.is_complex():
        raise ConfigError(f"the weight of {name!r} is complex, and patterns make real ones; leave it out by layers=")
    if isinstance(sharing, Sharing):
        return copy.deepcopy(sharing).to(device=weight.device, dtype=weight.dtype)
    try:
        return sharing(tuple(weight.shape), device=weight.device, dtype=weight.dtype, generator=generator)
    except ShapeError as error:
        raise ShapeError(f"layer {name!r}: {error}; leave it out by layers=, or give a pattern that fits it") from error
    except TypeError as error:
        raise ConfigError(
            f"sharing made no pattern for {name!r}, whose weight is {tuple(weight.shape)} ({error}); give a pattern, "
            "or a factory such as functools.partial(DenseSharing, k=3)"
        ) from error


def _arguments(layer: PlainLayer) -> str:
    """The names of the arguments, besides the bias, that make a twin of this layer, separated by spaces."""
    if isinstance(layer, nn.Linear):
        return "in_features out_features"
    transposed = " output_padding" if isinstance(layer, _ConvTransposeNd) else ""
    return f"in_channels out_channels kernel_size stride padding dilation groups padding_mode{transposed}"


def _warn_of_weights_without_pattern(converted: Reparameterized) -> None:
    """Give a LeftAloneWarning where weights, those of norms apart, got no pattern."""
    weights = {name: part for name, part in converted.left.items() if part.is_weight and part.kind != "norm"}
    if weights:
        # These two kinds cannot be given a pattern by name either.
        by_name = any(not part.kind.startswith(("parametrized by", "TorchScript")) for part in weights.values())
        advice = ", and layers= takes weights by name" if by_name else ""
        warnings.warn(
            f"no pattern was given to {by_kind(weights)} of the parameters; .left of the result lists them all{advice}",
            LeftAloneWarning,
            stacklevel=3,
        )


def _warn_of_what_is_not_plain(folded: nn.Module) -> None:
    """Give a LeftAloneWarning where modules of this package, or parametrized ones, remain in a folded network."""
    not_plain = [
        f"{name or 'the network itself'} ({type(part).__name__})"
        for name, part in folded.named_modules()
        if isinstance(part, PackageModule) or nn.utils.parametrize.is_parametrized(part)
    ]
    if not_plain:
        more = f" and {len(not_plain) - 3} more" if len(not_plain) > 3 else ""
        warnings.warn(
            f"fold leaves {', '.join(not_plain[:3])}{more} as it is: neither a plain layer nor one that it knows",
            LeftAloneWarning,
            stacklevel=3,
        )


def _weight_owners(module: nn.Module) -> dict[int, list[str]]:
    """All names of each parameter, by its identity: a parameter with two names is tied."""
    owners: dict[int, list[str]] = {}
    for name, part in module.named_modules():
        for key, parameter in part.named_parameters(recurse=False):
            owners.setdefault(id(parameter), []).append(dotted(name, key))
    return owners


def _refuse_what_would_be_lost(name: str, layer: nn.Module, owners: dict[int, list[str]]) -> None:
    """Raise ModelError where a layer carries hooks, or shares a parameter with another: see :func:`_refuse_ties`."""
    _refuse_hooks(name, layer)
    for parameter in layer.parameters(recurse=False):
        _refuse_ties(name, parameter, owners)


def _refuse_ties(name: str, parameter: nn.Parameter, owners: dict[int, list[str]]) -> None:
    """Raise ModelError where a parameter has several names, by ``owners`` (:func:`_weight_owners`)."""
    if len(owners[id(parameter)]) > 1:
        tied = " and ".join(owners[id(parameter)])
        raise ModelError(f"{tied} are one parameter; untie them, or leave layer {name!r} out")


def _refuse_hooks(name: str, layer: nn.Module) -> None:
    """Raise ModelError where a layer carries hooks of any kind."""
    # torch keeps each kind of hook in a dictionary of the module, such as _forward_hooks.
    kinds = [key for key in vars(layer) if key.endswith("_hooks") and getattr(layer, key)]
    if kinds:
        raise ModelError(f"layer {name!r} carries hooks ({kinds[0].strip('_')}); remove them before converting")


_TWINS: dict[type[nn.Module], Callable[..., ReparamLayer]] = {
    nn.Linear: ReparamLinear,
    nn.Conv1d: ReparamConv1d,
    nn.Conv2d: ReparamConv2d,
    nn.Conv3d: ReparamConv3d,
    nn.ConvTranspose1d: ReparamConvTranspose1d,
    nn.ConvTranspose2d: ReparamConvTranspose2d,
    nn.ConvTranspose3d: ReparamConvTranspose3d,
}
