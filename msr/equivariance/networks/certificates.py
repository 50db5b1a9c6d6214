"""Where in a network the symmetry breaks: each layer measured by itself, on the activations it really sees."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from msr.arrays import takes_arrays
from msr.equivariance.certifying.certificate import Certificate, EquivarianceWarning
from msr.equivariance.certifying.certification import certify
from msr.equivariance.certifying.decision import decide
from msr.equivariance.certifying.draws import draw_inputs, like, seeded
from msr.equivariance.certifying.pointwise import pointwise_warnings
from msr.equivariance.measuring.defects import equivariance_error
from msr.equivariance.measuring.evaluation import Elements
from msr.equivariance.networks.walk import Representations, walk
from msr.errors import ConfigError, ModelError, MSRError
from msr.groups import Group
from msr.representations import AnyRepresentation

__all__ = ["LayerDefects", "NetworkCertificate", "certify_network", "localise"]


@dataclass(frozen=True, eq=False)
class LayerDefects:
    """A table of defects: a row for each layer, a column for each element.

    ``values (layers, elements)`` float64; ``sizes (layers,)``, the root mean square of each layer's outputs;
    ``unmeasured``: what is not in the table or only in part, by name, and why.
    """

    layers: tuple[str, ...]
    elements: tuple[str, ...]
    values: Tensor
    sizes: Tensor
    unmeasured: dict[str, str] = field(default_factory=dict)

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
        lines += [f"{name}: {reason}" for name, reason in self.unmeasured.items()]
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
        notes: why a layer was not measured, or not all of it, by its name.
    """

    whole: Certificate
    layers: dict[str, Certificate]
    broken: tuple[str, ...]
    unmeasured: tuple[str, ...]
    notes: dict[str, str] = field(default_factory=dict)

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
        lines += [f"  {name}: {reason}" for name, reason in self.notes.items()]
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
            measured the first time. One that takes or gives more than a tensor is left out, or with a function as
            ``representations`` the nearest module around it that does not is measured; ``unmeasured`` tells. What is
            asked for by name and cannot be measured is a ModelError.
        x: inputs ``(batch, ...)``.
        representations: one of
            a list for a chain of ``L`` layers, ``L + 1`` long: before the first layer, after it, …;
            a mapping ``name -> (rep_in, rep_out)``: then only the layers named are measured;
            a function ``shape -> representation`` of one activation's shape, for all layers, such as
            ``lambda shape: trivial(C4, shape[0]) * grid_rotations(shape[1:])``.
        masks: for some layers, which outputs to compare (:func:`interior`).
    """
    found = walk(network, x, representations, masks)
    rows, sizes = {}, []
    labels: tuple[str, ...] = ()
    for name, layer in found.layers.items():
        mask = (masks or {}).get(name)
        try:
            defects = equivariance_error(layer.module, layer.h, layer.before, layer.after, elements, mask=mask)
        except MSRError as error:
            found.leave_out(name, error)
            continue
        rows[name] = defects.values
        sizes.append(defects.size[0])
        labels = defects.labels
    found.check_not_empty(list(rows))
    return LayerDefects(tuple(rows), labels, torch.stack(list(rows.values())), torch.stack(sizes), found.unmeasured)


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
    fresh: int = 0,
    generator: torch.Generator | None = None,
) -> NetworkCertificate:
    """Certify a network from end to end and layer by layer; names the layers that break the symmetry.

    Layers are judged by the tail rule on the activations that the inputs cause, one draw for each input, in units fixed
    on the activations of other inputs. ``representations`` and ``masks`` as in :func:`localise`, ``mask`` for the
    network's own output, the rest as in :func:`certify`; ``fresh`` is for the whole network.
    A layer that does not see one example for each input, such as after a reshape, is left out, since its draws would
    not be independent; so are those that :func:`localise` leaves out. Asked for by name, each of these is a ModelError.
    Where no layer can be measured, the verdict on the whole stands alone, and ``notes`` say why.
    """
    generator = generator or seeded(0, rep_in)
    common = {"eps": eps, "alpha": alpha, "eta": eta, "n": n, "generator": generator}
    whole = certify(network, group, rep_in, rep_out, inputs=inputs, mask=mask, fresh=fresh, **common)  # type: ignore[arg-type]
    x, other = (draw_inputs(inputs, n, rep_in, like(network, None), generator) for _ in range(2))
    found, apart = (walk(network, inputs, representations, masks) for inputs in (x, other))
    certificates: dict[str, Certificate] = {}
    for name, layer in found.layers.items():
        h = apart.layers[name].h if name in apart.layers else layer.h[:0]
        if len(layer.h) != n or len(h) != n:
            text = f"layer {name!r} sees {len(layer.h)} examples for {n} inputs, so its draws would not be independent"
            found.leave_out(
                name, ModelError(f"{text}; leave it out by a mapping of names, or measure it with localise")
            )
            continue
        try:
            # What a layer's own certificate warns of stays in it: after pooling, say, every layer acts trivially.
            certificates[name] = decide(
                layer.module, group, layer.before, layer.after, inputs=partial(_as_they_are, layer.h), apart=h,
                mask=(masks or {}).get(name), n_random=0, **common,  # type: ignore[arg-type]
            )  # fmt: skip
        except MSRError as error:
            found.leave_out(name, error)
            continue
        for text in pointwise_warnings(layer.module, layer.before, layer.after):
            warnings.warn(f"layer {name}: {text}", EquivarianceWarning, stacklevel=2)
    broken = _holm({name: c.p_refute for name, c in certificates.items()}, alpha)
    measured = [found.layers[name].module for name in certificates]
    return NetworkCertificate(whole, certificates, broken, _unmeasured(network, measured), found.unmeasured)


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
