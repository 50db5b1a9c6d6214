"""What a discovery says: frozen values with their evidence, which may answer *cannot tell*."""

import html
import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from torch import Tensor

from msr.brief import Brief
from msr.discovery.answer.claims import Candidate, Certificate
from msr.discovery.breaking.biases import Biases
from msr.groups.naming.group_name import GroupName
from msr.permutations.actions import Indices
from msr.representations.commutant.values import Continuous
from msr.version import __version__

__all__ = ["Discovery", "PartialSymmetry", "Verdict", "short"]

Verdict: TypeAlias = Literal["found", "none", "cannot tell"]


@dataclass(frozen=True, eq=False, repr=False)
class PartialSymmetry(Brief):
    """A map of points to points that keeps the weights wherever both it and the weight are defined.

    Attributes:
        map_in, map_out: where each input and output goes; −1 outside the domain.
        overlap: the share of inputs and outputs in the domain.
        residual: of the weights between points of the domain, against their images.
        name: such as ``translation on the interior, generator i -> i + 1``.
    """

    map_in: Indices
    map_out: Indices
    overlap: float
    residual: float
    name: str


@dataclass(frozen=True, eq=False, repr=False)
class Discovery(Brief):
    """The answer: a verdict in one sentence, the group with its evidence, and what else was seen.

    Attributes:
        shape_in, shape_out: of the layer: of one input and output, or of a convolution's window and its channels.
        signed: whether signed permutations were looked for. The group then moves twice the points, ``+j`` and ``−j``.
        inputs, outputs: the coordinates that vary, flat; permutations and pattern speak of these alone.
        classes: ``(out, in)``, the finest classes of weights that were told apart; None where nothing was learned.
        biases: what the named group does to the tasks' biases, a question apart from that about weights; None where no
            group is named, or signs were looked for.
        pattern: ``U (outputs · inputs, k)``.
        noise: the variance of the residual of a number of ``y``; where outputs differ in units, as if it did alike.
        class_order: how many permutations keep the set of all layers with the found symmetry, though not each of them;
            None where they were not looked for, or the search was given up.
        training: the squared residual of the fitting tasks at each iteration of the fit, as a share of their squared
            outputs.
        explained: the share of the squared outputs of tasks kept from the fit that the learned sharing explains.
        threads: that torch worked with.
    """

    verdict: Verdict
    sentence: str
    hints: tuple[str, ...]
    layer: str
    signed: bool
    shape_in: tuple[int, ...]
    shape_out: tuple[int, ...]
    inputs: Indices
    outputs: Indices
    dimension: int | None
    group: GroupName | None
    chosen: Candidate | None
    candidates: tuple[Candidate, ...]
    certificate: Certificate | None
    biases: Biases | None
    partial: tuple[PartialSymmetry, ...]
    continuous: Continuous | None
    two_closure_note: str
    classes: Indices | None
    pattern: Tensor | None
    noise: float | None
    explained: float | None
    class_order: int | None
    spectrum: Tensor | None
    training: tuple[float, ...]
    n_tasks: int
    left_out: tuple[str, ...]
    seconds: float
    threads: int = 1

    def __str__(self) -> str:
        said = self.sentence.removeprefix("Cannot tell: ")
        lines = [f"{self.verdict.upper()}{'.' if said == self.sentence else ':'} {said}"]
        if self.dimension is not None:
            lines.append(f"dimension of the sharing: {self.dimension}; {self.n_tasks} tasks, {self.seconds:.1f} s")
        if self.biases is not None:
            lines.append(f"biases: {self.biases}")
        lines += [f"left out: {text}" for text in self.left_out]
        lines += [f"hint: {text}" for text in self.hints if text not in said]
        if self.two_closure_note:
            lines.append(f"note: {self.two_closure_note}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """The short form, for notebooks."""
        first, *rest = str(self).split("\n")
        items = "".join(f"<li>{html.escape(line)}</li>" for line in rest)
        return f"<div><p><strong>{html.escape(first)}</strong></p><ul>{items}</ul></div>"

    def generators(self) -> tuple[Indices, Indices]:
        """Of the group, ``(r, in)`` and ``(r, out)``, on all coordinates; those that never vary stay in place."""
        if self.chosen is None:
            return (np.empty((0, math.prod(self.shape_in)), int), np.empty((0, math.prod(self.shape_out)), int))
        p, q = self.chosen.generators_in, self.chosen.generators_out
        if self.signed:
            p, q = (g[:, : len(kept)] % len(kept) for g, kept in ((p, self.inputs), (q, self.outputs)))
        return (
            _on_all(p, self.inputs, math.prod(self.shape_in)),
            _on_all(q, self.outputs, math.prod(self.shape_out)),
        )

    def signs(self) -> tuple[Indices, Indices]:
        """Of the generators, alike: ``−1`` where a coordinate changes its sign on the way; all ``1`` if not signed."""
        p, q = (np.ones_like(g) for g in self.generators())
        if self.signed and self.chosen is not None:
            n, m = len(self.inputs), len(self.outputs)
            p[:, self.inputs] = np.where(self.chosen.generators_in[:, :n] < n, 1, -1)
            q[:, self.outputs] = np.where(self.chosen.generators_out[:, :m] < m, 1, -1)
        return p, q

    def as_dict(self) -> dict[str, Any]:
        """Everything but the pattern, as plain values: what ``msr discover --json`` writes."""
        group = None
        if self.group is not None and self.chosen is not None:
            p, q = self.generators()
            group = {
                "name": self.group.name,
                "order": self.group.order,
                "certain": self.group.certain,
                "alternatives": list(self.group.alternatives),
                "generators_in": p.tolist(),
                "generators_out": q.tolist(),
                "signs_in": self.signs()[0].tolist() if self.signed else None,
                "signs_out": self.signs()[1].tolist() if self.signed else None,
                "action": {"inputs": asdict(self.group.on_inputs), "outputs": asdict(self.group.on_outputs)},
                "fingerprint": {key: _plain(value) for key, value in self.group.fingerprint.items()},
                "two_closure_note": self.two_closure_note,
            }
        certificate = None
        if self.certificate is not None:
            certificate = asdict(self.certificate)
        return {
            "verdict": self.verdict,
            "sentence": self.sentence,
            "hints": list(self.hints),
            "layer": self.layer,
            "signed": self.signed,
            "shape_in": list(self.shape_in),
            "shape_out": list(self.shape_out),
            "dimension": self.dimension,
            "group": group,
            "partial": [
                {
                    "name": one.name,
                    "overlap": one.overlap,
                    "residual": one.residual,
                    "map_in": one.map_in.tolist(),
                    "map_out": one.map_out.tolist(),
                }
                for one in self.partial
            ],
            "continuous": None if self.continuous is None else asdict(self.continuous),
            "residual": None if self.chosen is None else self.chosen.residual,
            "candidates": [
                {
                    "order": str(c.order) if c.order > 2**53 else c.order,
                    "classes": c.n_colours,
                    "residual": c.residual,
                    "breaking": c.breaking,
                    "low": c.low,
                    "high": c.high,
                    "status": c.status,
                    "seen_broken": c.seen_broken,
                    "exact": c.exact,
                    "share": c.share,
                    "p_within": c.p_within,
                    "p_beyond": c.p_beyond,
                    "p_not_kept": c.p_not_kept,
                }
                for c in self.candidates
            ],
            "certificate": certificate,
            "biases": None if self.biases is None else asdict(self.biases),
            "noise": self.noise,
            "explained": self.explained,
            "class_order": self.class_order,
            "training": list(self.training),
            "tasks": self.n_tasks,
            "left_out": list(self.left_out),
            "seconds": self.seconds,
            "threads": self.threads,
            "version": __version__,
        }


def short(order: int) -> str:
    """An order for people: large ones to two digits."""
    if order < 10**9:
        return f"{order:,}"
    exponent = len(str(order)) - 1
    return f"{order // 10 ** (exponent - 1) / 10:.1f}e{exponent}"


def _on_all(permutations: Indices, places: Indices, size: int) -> Indices:
    full = np.tile(np.arange(size), (len(permutations), 1))
    full[:, places] = places[permutations]
    return full


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value
