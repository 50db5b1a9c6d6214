"""Where in a network the symmetry breaks: each layer measured by itself, on the activations it really sees."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from msr.arrays import takes_arrays
from msr.equivariance.certify import Certificate, EquivarianceWarning, certify, decide
from msr.equivariance.draws import draw_inputs, like
from msr.equivariance.evaluate import Elements
from msr.equivariance.measure import equivariance_error
from msr.equivariance.pointwise import pointwise_warnings
from msr.errors import ConfigError, ModelError, MSRError
from msr.groups import Group
from msr.representations import AnyRepresentation

__all__ = ["LayerDefects", "NetworkCertificate", "Representations", "certify_network", "localise"]

Representations: TypeAlias = (
    Sequence[AnyRepresentation]
    | Mapping[str, tuple[AnyRepresentation, AnyRepresentation]]
    | Callable[[tuple[int, ...]], AnyRepresentation]
)


@dataclass(frozen=True, eq=False)
class LayerDefects:
    """A table of defects: a row for each layer, a column for each element.

    ``values (layers, elements)`` float64; ``sizes (layers,)``, the root mean square of each layer's outputs.
    """

    layers: tuple[str, ...]
    elements: tuple[str, ...]
    values: Tensor
    sizes: Tensor

    @property
    def worst(self) -> str:
        """The layer with the largest defect."""
        return self.layers[int(self.values.max(dim=1).values.argmax())]

    def compare(self, after: "LayerDefects") -> str:
        """Text: this table's largest defect of each layer beside that of another, such as before and after training."""
        if after.layers != self.layers:
            raise ConfigError(f"the tables are of different layers: {self.layers} and {after.layers}")
        width = max(len("layer"), *map(len, self.layers))
        lines = [f"{'layer':<{width}}  {'before':>9}  {'after':>9}  at"]
        for i, name in enumerate(self.layers):
            before, now = float(self.values[i].max()), float(after.values[i].max())
            lines.append(
                f"{name:<{width}}  {before:>9.2e}  {now:>9.2e}  {after.elements[int(after.values[i].argmax())]}"
            )
        return "\n".join(lines)

    def __str__(self) -> str:
        width = max(len("layer"), *map(len, self.layers))
        columns = [max(9, len(label)) for label in self.elements]
        head = "  ".join(f"{label:>{w}}" for label, w in zip(self.elements, columns, strict=True))
        lines = [f"{'layer':<{width}}  {head}"]
        for name, row in zip(self.layers, self.values.tolist(), strict=True):
            cells = "  ".join(f"{value:>{w}.2e}" for value, w in zip(row, columns, strict=True))
            lines.append(f"{name:<{width}}  {cells}")
        return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class NetworkCertificate:
    """Certificates of a whole network and of each of its layers.

    Attributes:
        whole: of the network from end to end, at level α.
        layers: of each layer by itself. That *all* of them are certified needs no correction (intersection-union test,
            Berger 1982).
        broken: layers that break the symmetry: refuted at a family-wise level α (Holm), in the order of the network.
        unmeasured: modules with parameters of their own that no measured layer holds.
    """

    whole: Certificate
    layers: dict[str, Certificate]
    broken: tuple[str, ...]
    unmeasured: tuple[str, ...]

    @property
    def certified(self) -> bool:
        """Whether the whole network is certified."""
        return self.whole.certified

    def __str__(self) -> str:
        lines = [f"whole network: {self.whole.verdict} (largest defect {self.whole.largest:.3g})"]
        for name, c in self.layers.items():
            lines.append(f"  {name}: {c.verdict} (largest defect {c.largest:.3g} at {c.worst}, p = {c.p_value:.3g})")
        lines.append(f"broken by: {', '.join(self.broken) or 'no layer'}")
        if self.unmeasured:
            lines.append(f"not measured, with parameters of their own: {', '.join(self.unmeasured)}")
        if not self.certified and not self.broken:
            lines.append(
                "no measured layer explains it: it breaks between or outside them, or representations disagree"
            )
        return "\n".join(lines)


@takes_arrays("x", "masks")
def localise(
    network: nn.Module,
    x: Tensor,
    representations: Representations,
    elements: Elements = "all",
    *,
    masks: Mapping[str, Tensor] | None = None,
) -> LayerDefects:
    """The defect of each layer by itself, on the activations that ``x`` causes, for each element.

    A layer's input ``h`` is moved and given to that layer alone, ``‖layer(ρ_in(g) h) − ρ_out(g) layer(h)‖``, so an
    error made earlier is not blamed on it.

    Args:
        network: any module; layers are its innermost modules, in the order they run. One that runs several times is
            measured the first time.
        x: inputs ``(batch, ...)``.
        representations: one of
            a list for a chain of ``L`` layers, ``L + 1`` long: before the first layer, after it, …;
            a mapping ``name -> (rep_in, rep_out)``: then only the layers named are measured;
            a function ``shape -> representation`` of one activation's shape, for all layers, such as
            ``lambda shape: trivial(C4, shape[0]) * grid_rotations(shape[1:])``.
        masks: for some layers, which outputs to compare (:func:`interior`).
    """
    seen = _layers(network, x, representations, masks)
    values, sizes = [], []
    labels: tuple[str, ...] = ()
    for name, (layer, h, rep_in, rep_out) in seen.items():
        defects = equivariance_error(layer, h, rep_in, rep_out, elements, mask=(masks or {}).get(name))
        values.append(defects.values)
        sizes.append(defects.size[0])
        labels = defects.labels
    return LayerDefects(tuple(seen), labels, torch.stack(values), torch.stack(sizes))


@takes_arrays("masks", "mask")
def certify_network(
    network: nn.Module,
    group: Group,
    rep_in: AnyRepresentation,
    rep_out: AnyRepresentation,
    representations: Representations,
    *,
    eps: float,
    alpha: float = 0.05,
    eta: float = 0.05,
    n: int = 64,
    inputs: Callable[[int, torch.Generator], Tensor] | Tensor | None = None,
    masks: Mapping[str, Tensor] | None = None,
    mask: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> NetworkCertificate:
    """Certify a network from end to end and layer by layer; names the layers that break the symmetry.

    Layers are judged by the tail rule on the activations that the inputs cause, one draw for each input.
    ``representations`` and ``masks`` as in :func:`localise`, ``mask`` for the network's own output, the rest as in
    :func:`certify`.
    Raises: ModelError for a layer that does not see one example for each input, such as after a reshape: its draws
    would not be independent.
    """
    generator = generator or torch.Generator().manual_seed(0)
    common = {"eps": eps, "alpha": alpha, "eta": eta, "n": n, "generator": generator}
    whole = certify(network, group, rep_in, rep_out, inputs=inputs, mask=mask, **common)  # type: ignore[arg-type]
    x = draw_inputs(inputs, n, rep_in, like(network, None), generator)
    certificates = {}
    seen = _layers(network, x, representations, masks)
    for name, (layer, h, before, after) in seen.items():
        if len(h) != n:
            raise ModelError(
                f"layer {name!r} sees {len(h)} examples for {n} inputs, so its draws would not be independent; leave "
                "it out by a mapping of names, or measure it with localise"
            )
        for text in pointwise_warnings(layer, before, after):
            warnings.warn(f"layer {name}: {text}", EquivarianceWarning, stacklevel=2)
        # What a layer's own certificate warns of stays in it: after pooling, say, every layer acts trivially.
        certificates[name] = decide(
            layer,
            group,
            before,
            after,
            inputs=partial(_as_they_are, h),
            mask=(masks or {}).get(name),
            n_random=0,
            **common,  # type: ignore[arg-type]
        )
    broken = _holm({name: c.p_refute for name, c in certificates.items()}, alpha)
    return NetworkCertificate(whole, certificates, broken, _unmeasured(network, [layer for layer, *_ in seen.values()]))


def _as_they_are(h: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """The activations of the ``n`` inputs: one draw each, so that draws stay independent."""
    return h


def _holm(p_values: Mapping[str, float], alpha: float) -> tuple[str, ...]:
    """The hypotheses that Holm's step-down procedure rejects, in the given order."""
    rejected = set()
    for rank, name in enumerate(sorted(p_values, key=lambda k: p_values[k])):
        if p_values[name] > alpha / (len(p_values) - rank):
            break
        rejected.add(name)
    return tuple(name for name in p_values if name in rejected)


def _unmeasured(network: nn.Module, layers: list[nn.Module]) -> tuple[str, ...]:
    """Modules that own parameters and are part of no layer measured."""
    measured = {part for layer in layers for part in layer.modules()}
    named = network.named_modules()
    return tuple(
        name or type(network).__name__
        for name, module in named
        if module not in measured and list(module.parameters(recurse=False))
    )


_ONE_LAYER = (nn.MultiheadAttention,)

Seen: TypeAlias = dict[str, tuple[nn.Module, Tensor, AnyRepresentation, AnyRepresentation]]


def _layers(
    network: nn.Module, x: Tensor, representations: Representations, masks: Mapping[str, Tensor] | None
) -> Seen:
    """Each layer with its first input and its two representations, in running order."""
    wanted = _wanted(network, representations)
    unknown = [name for name in masks or {} if name not in wanted]
    if unknown:
        raise ConfigError(f"there is a mask for {unknown[0]!r}, which is not measured; the layers: {', '.join(wanted)}")
    inputs: dict[str, Tensor] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    handles = []

    def before(name: str) -> Callable[[nn.Module, tuple], None]:
        def hook(module: nn.Module, args: tuple) -> None:
            if name in inputs:
                return
            if len(args) != 1 or not isinstance(args[0], Tensor):
                raise ModelError(
                    f"layer {name!r} does not map one tensor to one tensor; leave it out by a mapping of names"
                )
            inputs[name] = args[0].detach().clone()  # before the layer can work in place on it

        return hook

    def after(name: str) -> Callable[[nn.Module, tuple, object], None]:
        def hook(module: nn.Module, args: tuple, output: object) -> None:
            if not isinstance(output, Tensor):
                raise ModelError(
                    f"layer {name!r} does not map one tensor to one tensor; leave it out by a mapping of names"
                )
            shapes.setdefault(name, tuple(output.shape[1:]))

        return hook

    try:
        for name, layer in wanted.items():
            handles += [layer.register_forward_pre_hook(before(name)), layer.register_forward_hook(after(name))]
        try:
            network(x.detach().clone())
        except MSRError:
            raise
        except (RuntimeError, TypeError, ValueError, LookupError, AttributeError) as error:
            raise ModelError(f"the network failed on inputs {tuple(x.shape)} {x.dtype}: {error}") from error
    finally:
        for handle in handles:
            handle.remove()
    if not inputs:
        raise ModelError("no layer ran on these inputs")
    seen: Seen = {}
    for position, (name, h) in enumerate(inputs.items()):
        if callable(representations):
            pair = representations(tuple(h.shape[1:])), representations(shapes[name])
        elif isinstance(representations, Mapping):
            pair = representations[name]
        else:
            pair = representations[position], representations[position + 1]
        seen[name] = (wanted[name], h, *pair)
    return seen


def _wanted(network: nn.Module, representations: Representations) -> dict[str, nn.Module]:
    named = dict(network.named_modules(remove_duplicate=False))
    if isinstance(representations, Mapping):
        for name in representations:
            pair = representations[name]
            if not isinstance(pair, (tuple, list)) or len(pair) != 2:
                raise ConfigError(f"layer {name!r} needs a pair, before and after it: (rep_in, rep_out); came {pair!r}")
            if name not in named:
                raise ConfigError(f"the network has no layer {name!r}; it has {', '.join(k for k in named if k)}")
        return {name: named[name] for name in named if name in representations}
    innermost: dict[str, nn.Module] = {}
    inside: set[nn.Module] = set()  # parts of a layer that counts as one
    for name, module in network.named_modules():
        if module in inside:
            continue
        whole = hasattr(module, "sharing") or isinstance(module, _ONE_LAYER) or is_parametrized(module)
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
