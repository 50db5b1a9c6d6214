"""The inventory of a network's parameters: which ones patterns make, which are left alone, and what those are."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn
from torch.jit import ScriptModule
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.modules.rnn import RNNBase, RNNCellBase
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import ParametrizationList

from msr.layers.base import ReparamLayer
from msr.layers.single_weights import is_shared, shared_weights
from msr.modules import dotted
from msr.sharing import Sharing

__all__ = ["Coverage", "LeftAlone", "LeftAloneWarning", "coverage"]


class LeftAloneWarning(UserWarning):
    """Weights got no pattern that could have one, or modules that are not plain remain in a folded network."""


@dataclass(frozen=True)
class LeftAlone:
    """A parameter that no pattern makes.

    Attributes:
        kind: what it belongs to, for example ``"embedding"``.
        shape: its shape; ``()`` where it has none yet, as in a lazy layer.
        numel: numbers in it; 0 where it has no shape yet.
        share: that as a share of all parameters of the plain network; units: none, from 0 to 1.
    """

    kind: str
    shape: tuple[int, ...]
    numel: int
    share: float

    @property
    def is_weight(self) -> bool:
        """Whether at least two of its axes are longer than one, so that a pattern would have something to share."""
        return sum(size > 1 for size in self.shape) >= 2


@dataclass(frozen=True)
class Coverage:
    """What patterns make of a network, counted as in the plain network. Its text is one line.

    Attributes:
        shared: parameters that patterns make, and the biases of the layers, attention or recurrent layers that these
            belong to: name as in the plain network, and how many numbers.
        left: the others: name as in ``module.named_parameters()``, and what they are.
    """

    shared: dict[str, int]
    left: dict[str, LeftAlone]

    @property
    def share(self) -> float:
        """The numbers in ``shared`` as a share of all, from 0 to 1; 0 for a network without parameters."""
        total = sum(self.shared.values()) + sum(part.numel for part in self.left.values())
        return sum(self.shared.values()) / total if total else 0.0

    def __str__(self) -> str:
        head = f"patterns make {self.share:.1%} of the parameters"
        return f"{head}; left alone: {by_kind(self.left)}" if self.left else head


def coverage(module: nn.Module) -> Coverage:
    """Which parameters of ``module`` are made from patterns, and which are not.

    A parameter with several names is counted once, under its first.
    """
    shared: dict[str, int] = {}
    others: list[tuple[str, str, Tensor]] = []
    counted: set[int] = set()
    # What lies within these modules, a pattern and a filter, is counted as the weight that it makes.
    done_within: tuple[str, ...] = ()
    for name, part in module.named_modules():
        if done_within and f"{name}.".startswith(done_within):
            continue
        if isinstance(part, ReparamLayer):
            shared[dotted(name, "weight")] = part.sharing.n_weight
            if part.bias is not None:
                shared[dotted(name, "bias")] = part.bias.numel()
            done_within += (f"{name}." if name else "",)
            if not name:
                break
            continue
        for key, step in shared_weights(part).items():
            shared[dotted(name, key)] = step.sharing.n_weight
            done_within += (dotted(name, f"parametrizations.{key}."),)
        for key, parameter in part.named_parameters(recurse=False):
            if id(parameter) in counted:
                continue
            counted.add(id(parameter))
            # Biases of a module count as its weights do, as they do in a layer with a twin.
            if is_shared(part) and parameter.ndim < 2:
                shared[dotted(name, key)] = parameter.numel()
            else:
                others.append((dotted(name, key), _kind(module, name, part), parameter))
    sizes = {name: 0 if is_lazy(p) else p.numel() for name, _, p in others}
    total = max(1, sum(shared.values()) + sum(sizes.values()))
    left = {
        name: LeftAlone(kind, tuple(p.shape) if sizes[name] else (), sizes[name], sizes[name] / total)
        for name, kind, p in others
    }
    return Coverage(shared, left)


def by_kind(left: dict[str, LeftAlone]) -> str:
    """One line: for each kind of parameters its share of all, the name of its largest one, and how many more there are.

    Kinds are in the order of their largest parameters; "" where there are none.
    """
    kinds: dict[str, list[str]] = {}
    for name, part in sorted(left.items(), key=lambda item: -item[1].numel):
        kinds.setdefault(part.kind, []).append(name)
    items = []
    for kind, names in kinds.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        items.append(f"{kind} {sum(left[name].share for name in names):.1%} ({names[0]}{more})")
    return ", ".join(items)


_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (Sharing, "pattern outside a layer"),
    (ScriptModule, "TorchScript"),
    ((nn.Embedding, nn.EmbeddingBag), "embedding"),
    (nn.Bilinear, "bilinear"),
    (nn.MultiheadAttention, "attention"),
    ((RNNBase, RNNCellBase), "recurrent"),
    ((_NormBase, nn.LayerNorm, nn.GroupNorm), "norm"),
    (_ConvTransposeNd, "transposed convolution"),
    (_ConvNd, "convolution"),
    (nn.Linear, "linear"),
)


def _kind(module: nn.Module, name: str, part: nn.Module) -> str:
    """What the parameters of a part belong to, in words; ``name`` is the part's name in ``module``."""
    kind = type(part).__name__
    for types, word in _KINDS:
        if isinstance(part, types):
            is_known = _is_class_of_torch(type(part)) or isinstance(part, Sharing)
            kind = word if is_known else f"{word} of a class of its own, {kind}"
            break
    else:
        kind = f"bare parameter of {kind}"
    if isinstance(part, ParametrizationList) or "parametrizations" in name.split("."):
        kind = f"parametrized by {', '.join(_parametrizing(module, name))}"
    hooks = [type(hook).__name__ for hook in part._forward_pre_hooks.values()]
    if "WeightNorm" in hooks or "SpectralNorm" in hooks:
        kind = f"{kind} under the old {'weight' if 'WeightNorm' in hooks else 'spectral'}_norm"
    return kind


def _is_class_of_torch(kind: type) -> bool:
    """Whether torch itself defines a class; torch has no common base that a subclass of a user would not have too."""
    return kind.__module__.partition(".")[0] == "torch"


def _parametrizing(module: nn.Module, name: str) -> Iterator[str]:
    """The class names of the parametrizations of one tensor.

    Args: ``name``: a module in the tensor's list of parametrizations, or that list, by its name in ``module``.
    """
    steps = name.split(".")
    home = module.get_submodule(".".join(steps[: steps.index("parametrizations") + 2]))
    for step in home.children():
        yield type(step).__name__.lstrip("_")
