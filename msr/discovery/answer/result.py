"""The answer of a discovery as a frozen value: the verdict, which may be *cannot tell*, and all evidence for it."""

import html
import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from torch import Tensor

from msr.brief import Brief
from msr.discovery.answer.candidate import Candidate
from msr.discovery.answer.certificate import GroupCertificate
from msr.discovery.breaking.biases import Biases
from msr.discovery.thresholds import THRESHOLDS, Thresholds
from msr.groups.naming.group_name import GroupName
from msr.permutations import Indices
from msr.representations.commutant.values import Continuous
from msr.version import __version__

__all__ = ["SCHEMA", "Discovery", "PartialSymmetry", "Verdict", "short"]

SCHEMA = 1
"""Version of the keys that :meth:`Discovery.as_dict` writes. It goes up when a key is renamed, removed or redefined."""

_EXACT_INTEGERS = 2**53
"""Largest whole number up to which every one is exact in the double precision that JSON readers use."""

Verdict: TypeAlias = Literal["found", "none", "cannot tell"]


@dataclass(frozen=True, eq=False, repr=False)
class PartialSymmetry(Brief):
    """A map of some points to points that keeps every weight on which it is defined.

    Attributes:
        map_in: ``(in,)``, where each input goes; −1 outside the domain. ``map_out``: ``(out,)``, the same of outputs.
        overlap: the share of inputs and outputs that lie in the domain, between 0 and 1.
        residual: ``‖images − weights‖ / ‖weights‖`` over the weights between points of the domain; no unit.
        name: what the map is, such as ``translation on the interior, generator i -> i + 1``.
    """

    map_in: Indices
    map_out: Indices
    overlap: float
    residual: float
    name: str


@dataclass(frozen=True, eq=False, repr=False)
class Discovery(Brief):
    """The answer: a verdict in one sentence, the group with its evidence, and what else was learned.

    Attributes:
        verdict: ``found``: one group is named. ``none``: no permutation is a symmetry. ``cannot tell``: anything else.
        sentence: the verdict in words. ``hints``: for *cannot tell*, the reasons, and what would help.
        layer: ``linear``, ``conv1d`` or ``conv2d``.
        signed: whether signed permutations were looked for. The group then moves twice the points, ``+j`` and ``−j``.
        shape_in, shape_out: shape of one input and one output of the layer; for a convolution, of its window and of
            its output channels.
        inputs, outputs: the flat places of the coordinates that vary within tasks. Permutations, classes and pattern
            speak of these alone, in this order.
        dimension: of the sharing, ``k``; None where nothing was learned.
        group: the named group; None where none is named.
        chosen: the candidate that the rule chose. It stands without a name where a doubt took the answer back.
        candidates: every group that was tested, in increasing order.
        certificate: what was shown of the chosen group beside the rule; None where none was chosen.
        biases: whether the named group keeps the tasks' biases, a question of its own; None where no group is named,
            or where signs were looked for.
        partial: partial symmetries, looked for where the verdict is *none*.
        continuous: continuous symmetries of every linear layer with these weights; None where they were not looked for,
            or no structure fits.
        two_closure_note: a note where a smaller group may have the same orbitals as the chosen one; else empty.
        classes: ``(out, in)``, the finest classes of weights that were told apart; None where nothing was learned.
        pattern: ``U (outputs · inputs, k)`` in the units of the caller, learned from all tasks where they determine it;
            None where nothing was learned.
        noise: variance of the residual of one number of ``y``, in the caller's units squared. Where outputs have
            different units it is a mean over outputs, as if each had noise in proportion to its unit.
        explained: the share of the squared outputs of testing tasks that the learned sharing explains; at most 1.
        class_order: number of pairs of permutations that map the set of all layers with the chosen symmetry to itself,
            including those that do not keep each layer; None where it was not counted.
        spectrum: eigenvalues of the tasks' second moment that the spectral start of the fit found, largest first;
            negative ones are noise. None where there was no such start.
        training: squared residual of the tasks that ``pattern`` was learned from, at each iteration of the fit, as a
            share of their squared outputs.
        n_tasks: number of different tasks that were used. ``left_out``: what was left out or changed, in words.
        seconds: wall-clock time. ``threads``: number of threads that torch used.
        thresholds: the decision constants that held when the answer was made.
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
    certificate: GroupCertificate | None
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
    thresholds: Thresholds = field(default_factory=THRESHOLDS)

    def __str__(self) -> str:
        sentence = self.sentence.removeprefix("Cannot tell: ")
        lines = [f"{self.verdict.upper()}{'.' if sentence == self.sentence else ':'} {sentence}"]
        if self.dimension is not None:
            lines.append(f"dimension of the sharing: {self.dimension}; {self.n_tasks} tasks, {self.seconds:.1f} s")
        if self.biases is not None:
            lines.append(f"biases: {self.biases}")
        lines += [f"left out: {text}" for text in self.left_out]
        lines += [f"hint: {text}" for text in self.hints if text not in sentence]
        if self.two_closure_note:
            lines.append(f"note: {self.two_closure_note}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """The text of ``str()`` as HTML, which notebooks show."""
        first, *others = str(self).split("\n")
        items = "".join(f"<li>{html.escape(line)}</li>" for line in others)
        return f"<div><p><strong>{html.escape(first)}</strong></p><ul>{items}</ul></div>"

    def generators(self) -> tuple[Indices, Indices]:
        """Permutations that generate the chosen group, on all coordinates; those that never vary stay in place.

        Shapes: ``(r, all inputs)`` and ``(r, all outputs)``; ``r`` is 0 where no group was chosen. For signed
        permutations these are the places; :meth:`signs` gives the signs.
        """
        size_in = math.prod(self.shape_in)
        size_out = math.prod(self.shape_out)
        if self.chosen is None:
            return np.empty((0, size_in), int), np.empty((0, size_out), int)
        p = self.chosen.generators_in
        q = self.chosen.generators_out
        if self.signed:
            # Points +j and −j are numbered j and j + n, so the place is the number modulo n.
            n = len(self.inputs)
            m = len(self.outputs)
            p = p[:, :n] % n
            q = q[:, :m] % m
        return _on_all(p, self.inputs, size_in), _on_all(q, self.outputs, size_out)

    def signs(self) -> tuple[Indices, Indices]:
        """The signs that go with :meth:`generators`, in the same shapes: −1 where a coordinate changes its sign.

        All are 1 where signs were not looked for.
        """
        p, q = (np.ones_like(g) for g in self.generators())
        if self.signed and self.chosen is not None:
            n = len(self.inputs)
            m = len(self.outputs)
            # A generator sends +j to a point below n where it keeps the sign, and to one from n on where it changes it.
            p[:, self.inputs] = np.where(self.chosen.generators_in[:, :n] < n, 1, -1)
            q[:, self.outputs] = np.where(self.chosen.generators_out[:, :m] < m, 1, -1)
        return p, q

    def as_dict(self) -> dict[str, Any]:
        """The answer as plain values that JSON can hold, by key: what ``msr discover --json`` writes.

        A key whose value is not known holds None. The pattern, the classes, the spectrum and the places of coordinates
        that vary are left out; generators of the named group act on all coordinates. ``schema`` is the version of the
        keys, ``thresholds`` the decision constants that held.
        """
        return {
            "verdict": self.verdict,
            "sentence": self.sentence,
            "hints": list(self.hints),
            "layer": self.layer,
            "signed": self.signed,
            "shape_in": list(self.shape_in),
            "shape_out": list(self.shape_out),
            "dimension": self.dimension,
            "group": self._group_as_dict(),
            "partial": [_partial_as_dict(partial) for partial in self.partial],
            "continuous": None if self.continuous is None else asdict(self.continuous),
            "residual": None if self.chosen is None else self.chosen.residual,
            "candidates": [_candidate_as_dict(candidate) for candidate in self.candidates],
            "certificate": None if self.certificate is None else asdict(self.certificate),
            "biases": None if self.biases is None else asdict(self.biases),
            "noise": self.noise,
            "explained": self.explained,
            "class_order": self.class_order,
            "training": list(self.training),
            "tasks": self.n_tasks,
            "left_out": list(self.left_out),
            "seconds": self.seconds,
            "threads": self.threads,
            "thresholds": {name: _plain(value) for name, value in asdict(self.thresholds).items()},
            "schema": SCHEMA,
            "version": __version__,
        }

    def _group_as_dict(self) -> dict[str, Any] | None:
        """The named group as plain values, with generators on all coordinates; None where no group is named."""
        if self.group is None or self.chosen is None:
            return None
        p, q = self.generators()
        return {
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


def short(order: int) -> str:
    """The order of a group for people: ``5,040``; from a thousand million on to two digits, as ``1.3e12``."""
    if order < 10**9:
        return f"{order:,}"
    exponent = len(str(order)) - 1
    return f"{order // 10 ** (exponent - 1) / 10:.1f}e{exponent}"


def _candidate_as_dict(candidate: Candidate) -> dict[str, Any]:
    """The numbers and the status of a candidate, without its classes and generators.

    An order beyond the exact whole numbers of a double is written as text.
    """
    return {
        "order": str(candidate.order) if candidate.order > _EXACT_INTEGERS else candidate.order,
        "classes": candidate.n_colours,
        "residual": candidate.residual,
        "breaking": candidate.breaking,
        "low": candidate.low,
        "high": candidate.high,
        "status": candidate.status,
        "seen_broken": candidate.seen_broken,
        "exact": candidate.exact,
        "share": candidate.share,
        "p_within": candidate.p_within,
        "p_beyond": candidate.p_beyond,
        "p_not_kept": candidate.p_not_kept,
    }


def _partial_as_dict(partial: PartialSymmetry) -> dict[str, Any]:
    """A partial symmetry with lists in place of arrays."""
    return {
        "name": partial.name,
        "overlap": partial.overlap,
        "residual": partial.residual,
        "map_in": partial.map_in.tolist(),
        "map_out": partial.map_out.tolist(),
    }


def _on_all(permutations: Indices, places: Indices, size: int) -> Indices:
    """Permutations ``(r, len(places))`` of ``places``, extended to ``(r, size)``: all other places stay in place."""
    full = np.tile(np.arange(size), (len(permutations), 1))
    full[:, places] = places[permutations]
    return full


def _plain(value: object) -> object:
    """A copy of a value with text as keys and lists in place of tuples, in nested values too."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value
