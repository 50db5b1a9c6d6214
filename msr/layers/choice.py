"""Which layers and weights of a network a conversion is for: chosen by name, by predicate, or all known ones."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from torch import nn
from torch.jit import ScriptModule
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import ParametrizationList

from msr.errors import ConfigError, ModelError
from msr.layers.base import ReparamLayer
from msr.modules import dotted
from msr.sharing import Sharing

__all__ = ["Unit", "Weight", "choose"]


@dataclass(frozen=True, eq=False)
class Weight:
    """One parameter of a module that has no twin: the module ``owner`` and the parameter's own name ``key`` in it."""

    owner: nn.Module
    key: str


Unit: TypeAlias = nn.Module | Weight
"""What a conversion gives a pattern: a whole layer that has a twin, or a single weight."""

# Modules that stay what they are while patterns make their projections. Only modules of exactly these types count,
# since a subclass may use its weights in another way.
_PROJECTING = (nn.MultiheadAttention, nn.LSTM, nn.GRU, nn.RNN, nn.LSTMCell, nn.GRUCell, nn.RNNCell)
_ATTENTION = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")


def choose(
    module: nn.Module,
    layers: Iterable[str] | Callable[[str, nn.Module], bool] | None,
    twins: Collection[type[nn.Module]],
) -> dict[str, Unit]:
    """The chosen layers with a twin, and single weights, by name; each once, under the first name it was chosen by.

    They are in the order of the names given, else in that of the network. Attention and recurrent layers are never
    chosen whole: their weights take their place.

    Args:
        layers: names of modules or parameters, or a predicate ``(name, module) -> bool``, asked of layers with a twin
            and of attention and recurrent layers only; None for all of these.
        twins: the types of plain layers that have a twin.

    Raises: ConfigError for a name that cannot be converted, or when nothing was chosen; ModelError for a weight that
    its module changes in place or reads in a way that a pattern cannot serve.
    """
    named = dict(module.named_modules(remove_duplicate=False))
    known = {name: part for name, part in named.items() if type(part) in twins or type(part) in _PROJECTING}
    chosen: dict[str, Unit] = {}
    if layers is None or callable(layers):
        for name, part in known.items():
            if layers is None or layers(name, part):
                chosen |= _units(name, part, twins)
    else:
        for name in [layers] if isinstance(layers, str) else layers:
            if name in known:
                chosen |= _units(name, known[name], twins)
            else:
                chosen |= _named(name, named, twins, list(known))
    first_names: dict[object, str] = {}
    for name, unit in chosen.items():
        first_names.setdefault((unit.owner, unit.key) if isinstance(unit, Weight) else unit, name)
    if not first_names:
        raise ConfigError(
            f"no layer was chosen; layers that can be converted: {_listed(known)}{_others(named)}{_already(named)}"
        )
    return {name: chosen[name] for name in first_names.values()}


def _units(name: str, part: nn.Module, twins: Collection[type[nn.Module]]) -> dict[str, Unit]:
    """What patterns can make of one known module, by name: the module where it has a twin, else its single weights."""
    if type(part) in twins:
        return {name: part}
    keys = [key for key in part._parameters if part._parameters[key] is not None]
    if isinstance(part, nn.MultiheadAttention):
        weights: dict[str, Unit] = {dotted(name, key): Weight(part, key) for key in keys if key in _ATTENTION}
        return weights | {dotted(name, "out_proj.weight"): Weight(part.out_proj, "weight")}
    return {dotted(name, key): Weight(part, key) for key in keys if key.startswith("weight_")}


def _named(
    name: str, named: dict[str, nn.Module], twins: Collection[type[nn.Module]], known: list[str]
) -> dict[str, Unit]:
    """The parameter that a name of no known module stands for, in a dictionary of one.

    For the ``weight`` of a layer that has a twin it is that layer, under the layer's name.

    Args: ``named``: all modules by name; ``known``: names of modules that can be converted, for messages.
    Raises: ConfigError where no parameter has that name, or a pattern cannot make it; ModelError for an embedding with
    an option that a made weight cannot keep.
    """
    home, _, key = name.rpartition(".")
    owner = named.get(home)
    parameter = None if owner is None else owner._parameters.get(key)
    if owner is None or parameter is None:
        reason = f"is a {type(named[name]).__name__}" if name in named else "does not exist"
        raise ConfigError(
            f"layer {name!r} {reason}; layers that can be converted: {_listed(known)}{_others(named, under=name)}"
        )
    if type(owner) in twins and key == "weight":
        return {home: owner}
    if isinstance(owner, ScriptModule):
        raise ConfigError(f"{name!r} belongs to a TorchScript module, whose weights cannot be made anew")
    if _is_made(home, named):
        raise ConfigError(f"{name!r} is part of a pattern or of a parametrization already")
    if is_lazy(parameter):
        raise ConfigError(f"{name!r} has no shape yet; run the network once on an example first")
    if parameter.ndim < 2:
        raise ConfigError(f"{name!r} has the shape {tuple(parameter.shape)}; a pattern needs two axes or more")
    if isinstance(owner, (nn.Embedding, nn.EmbeddingBag)):
        for option in ("padding_idx", "max_norm"):
            if getattr(owner, option) is not None:
                raise ModelError(f"{name!r} has a {option}, which a weight made from a pattern cannot keep")
        if owner.sparse:
            raise ModelError(f"{name!r} asks for sparse gradients, which do not reach a pattern; use sparse=False")
    return {name: Weight(owner, key)}


def _others(named: dict[str, nn.Module], under: str = "") -> str:
    """Weights that can be chosen by name, as the end of an error message; "" where there are none.

    Args: ``under``: modules whose names begin with this text; all by default.
    """
    names = [
        dotted(home, key)
        for home, part in named.items()
        if home.startswith(under) and not isinstance(part, ScriptModule) and not _is_made(home, named)
        for key, parameter in part._parameters.items()
        if parameter is not None and not is_lazy(parameter) and parameter.ndim >= 2
    ]
    return f"; weights that can be named: {_listed(names)}" if names else ""


def _is_made(home: str, named: dict[str, nn.Module]) -> bool:
    """Whether the module named ``home`` lies in a reparameterised layer, a pattern or a parametrization, or is one."""
    steps = home.split(".") if home else []
    line = (named[".".join(steps[:n])] for n in range(len(steps) + 1))
    return any(isinstance(part, (ReparamLayer, Sharing, ParametrizationList)) for part in line)


def _already(named: dict[str, nn.Module]) -> str:
    """Why no layer remains to convert, as the end of an error message; "" where no reason is seen."""
    reasons = []
    if any(isinstance(part, Sharing) for part in named.values()):
        reasons.append("patterns make some of its weights already")
    if any(is_lazy(p) for part in named.values() for p in part._parameters.values() if p is not None):
        reasons.append("some of its layers have no shape yet: run it once on an example first")
    return "".join(f"; {reason}" for reason in reasons)


def _listed(names: Collection[str]) -> str:
    """Names for an error message, in the order given: the first twelve, which fill about three lines.

    How many there are in all is added where some are left out. For no names the text is ``none``.
    """
    shown = list(names)[:12]
    more = f", … ({len(names)} in all)" if len(names) > len(shown) else ""
    return ", ".join(shown) + more if names else "none"
