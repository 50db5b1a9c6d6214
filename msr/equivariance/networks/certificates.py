"""Certificates of a network and of each of its layers, and which layers break the symmetry."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn

from msr.arrays import takes_arrays
from msr.equivariance.certifying.certificate import Certificate, EquivarianceWarning
from msr.equivariance.certifying.certification import certify
from msr.equivariance.certifying.decision import decide
from msr.equivariance.certifying.pointwise import pointwise_warnings
from msr.equivariance.certifying.setting import Auto, Setting
from msr.equivariance.measuring.inputs import draw_inputs, seeded, template_of
from msr.equivariance.networks.walk import Representations, walk
from msr.errors import ModelError, MSRError
from msr.groups import Group
from msr.representations import AnyRepresentation
from msr.statistics.holm import holm_rejected
from msr.statistics.rules import Sampled, Tail

__all__ = ["NetworkCertificate", "certify_network"]

TAIL = Tail()
"""The default rule: at most 5% of the draws may fail."""


@dataclass(frozen=True, eq=False)
class NetworkCertificate:
    """Certificates of a whole network and of each of its layers.

    Attributes:
        whole: of the network from end to end, at level α.
        layers: of each layer by itself, in running order, without a specificity test. That *all* of them are certified
            needs no correction (intersection-union test, Berger 1982).
        broken: layers that break the symmetry: refuted at a family-wise level α (Holm), in the order of the network.
        unmeasured: names of the modules with parameters of their own that no measured layer holds.
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
    rule: Sampled = TAIL,
    n: int = 64,
    inputs: Callable[[int, torch.Generator], Tensor] | Tensor | None = None,
    masks: Mapping[str, Tensor] | None = None,
    mask: Tensor | None = None,
    fresh: int = 0,
    generator: torch.Generator | None = None,
) -> NetworkCertificate:
    """Certify a network from end to end and layer by layer, and name the layers that break the symmetry.

    A layer is judged on the activations that the inputs cause, one draw for each input, in units fixed on the
    activations of other inputs. A layer that does not receive one example for each input, such as after a reshape, is
    left out, since its draws would not be independent; so are those that :func:`localise` leaves out. Where no layer
    can be measured, the verdict on the whole stands alone, and ``notes`` say why.

    Args:
        network, group, rep_in, rep_out: as in :func:`certify`.
        representations, masks: of the layers, as in :func:`localise`.
        eps: the tolerance ε, a defect between 0 and √2, of the whole and of each layer.
        alpha: the level α, a probability: of the whole, of each layer, and of all names in ``broken`` together.
        rule: how draws decide; the whole network is decided exactly where that is possible (``Auto(rule)``).
        n: draws of an input and an element; the activations of as many other inputs fix the units of each layer.
        inputs, generator: as in :func:`certify`; a data set is ``(examples, *rep_in.shape)``.
        mask: for the network's own output, booleans of the shape ``rep_out.shape``.
        fresh: how many times more the whole network is certified with parameters drawn anew.

    Raises: as :func:`certify` for the whole; ModelError for a layer that was asked for by name and is left out.
    """
    generator = generator or seeded(0, rep_in)
    whole = certify(
        network, group, rep_in, rep_out, eps=eps, alpha=alpha, rule=Auto(rule), n=n, inputs=inputs, mask=mask,
        fresh=fresh, generator=generator,
    )  # fmt: skip
    setting = Setting(eps=eps, alpha=alpha, rule=rule, n=n, n_random=0, generator=generator)
    # Two sets of inputs: one for the test, and another one to fix the units of each layer.
    x, unit_x = (draw_inputs(inputs, n, rep_in, template_of(network, None), generator) for _ in range(2))
    tested, for_units = (walk(network, batch, representations, masks) for batch in (x, unit_x))
    certificates: dict[str, Certificate] = {}
    for name, layer in tested.layers.items():
        unit_h = for_units.layers[name].h if name in for_units.layers else layer.h[:0]
        if len(layer.h) != n or len(unit_h) != n:
            text = f"layer {name!r} sees {len(layer.h)} examples for {n} inputs, so its draws would not be independent"
            tested.leave_out(
                name, ModelError(f"{text}; leave it out by a mapping of names, or measure it with localise")
            )
            continue
        own = replace(setting, inputs=partial(_as_they_are, layer.h), mask=(masks or {}).get(name))
        try:
            # Warnings stay in a layer's own certificate: after pooling, say, every layer's group acts trivially.
            certificates[name] = decide(layer.module, group, layer.before, layer.after, own, unit_inputs=unit_h)
        except MSRError as error:
            tested.leave_out(name, error)
            continue
        for text in pointwise_warnings(layer.module, layer.before, layer.after):
            warnings.warn(f"layer {name}: {text}", EquivarianceWarning, stacklevel=2)
    # To name broken layers is to make several claims at once, so their level is corrected.
    broken = holm_rejected({name: c.p_refute for name, c in certificates.items()}, alpha)
    measured = [tested.layers[name].module for name in certificates]
    return NetworkCertificate(whole, certificates, broken, _unmeasured(network, measured), tested.unmeasured)


def _as_they_are(h: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """``h`` as it is, the activations of ``n`` inputs: one draw for each, so that draws stay independent."""
    return h


def _unmeasured(network: nn.Module, layers: list[nn.Module]) -> tuple[str, ...]:
    """Names of the modules that own parameters and are part of none of ``layers``, the layers that were measured.

    The network itself has the name of its class.
    """
    # A layer that counts as one has parts with parameters, which were measured with it.
    measured = {part for layer in layers for part in layer.modules()}
    return tuple(
        name or type(network).__name__
        for name, module in network.named_modules()
        if module not in measured and list(module.parameters(recurse=False))
    )
