"""What a discovery says: frozen values with their evidence, which may answer *cannot tell*."""

import html
import math
import re
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from torch import Tensor

from msr.discovery.biases import Biases
from msr.discovery.brief import Brief
from msr.discovery.claims import Candidate, Certificate
from msr.groups.permutations import Indices
from msr.version import __version__

__all__ = [
    "Action", "Commutant", "Continuous", "Discovery", "GroupName", "PartialSymmetry",
    "Verdict", "short",
]  # fmt: skip

Verdict: TypeAlias = Literal["found", "none", "cannot tell"]


@dataclass(frozen=True, repr=False)
class Action(Brief):
    """How a permutation group moves one set of points, the inputs or the outputs.

    Attributes:
        degree: how many points there are; ``orbits`` their sizes, largest first, fixed points included.
        order: of the group of permutations that is seen here; ``kernel`` how many elements move no point.
        transitive: one orbit; regular: transitive, and no element but the identity of the image fixes a point.
        primitive: transitive, and no partition but the trivial two is kept.
        blocks: the size of a smallest nontrivial block, where the action is transitive and not primitive.
    """

    degree: int
    orbits: tuple[int, ...]
    order: int
    kernel: int
    transitive: bool
    regular: bool
    primitive: bool
    blocks: int | None

    def __str__(self) -> str:
        if self.order == 1:
            return f"moves none of {self.degree} points"
        words = []
        if self.transitive:
            words.append("regular" if self.regular else "primitive" if self.primitive else "transitive")
            words.append(f"on {self.degree} points")
            if self.blocks is not None and not self.regular:
                words.append(f"in blocks of {self.blocks}")
        else:
            moved = [size for size in self.orbits if size > 1]
            fixed = len(self.orbits) - len(moved)
            words.append(f"orbits of {', '.join(map(str, moved))}" + (f", {fixed} fixed" if fixed else ""))
        if self.kernel > 1:
            words.append(f"(kernel of order {self.kernel})")
        return " ".join(words)


@dataclass(frozen=True, repr=False)
class GroupName(Brief):
    """The isomorphism class of a permutation group, as far as it is known.

    Attributes:
        name: for people, such as ``C12`` or ``S3 wr C2``; a description where no name is known.
        order: number of elements.
        certain: the name is proven (an isomorphism was built, or the order leaves no other); otherwise
            ``alternatives`` lists names that fit all that was compared.
        fingerprint: what was compared: order, how many elements of each order, sizes of centre and classes,
            abelianisation, derived length.
        on_inputs, on_outputs: how it acts.
    """

    name: str
    order: int
    certain: bool
    alternatives: tuple[str, ...]
    fingerprint: dict[str, object]
    on_inputs: Action
    on_outputs: Action

    @property
    def title(self) -> str:
        """The name with the kind of group in words, such as ``the cyclic group C12``."""
        found = re.fullmatch(r"([CDSAQ])(\d+)", self.name)
        if not found:
            return self.name if self.name.startswith(("a ", "trivial")) else f"the group {self.name}"
        kinds = {"C": "cyclic", "D": "dihedral", "S": "symmetric", "A": "alternating", "Q": "dicyclic"}
        return f"the {'quaternion' if self.name == 'Q8' else kinds[found[1]]} group {self.name}"


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


@dataclass(frozen=True, repr=False)
class Commutant(Brief):
    """The algebra of all matrices that commute with the maps from points to the same points.

    Attributes:
        dimension: ``Σ multiplicity² · d``, ``d`` = 1, 2, 4 for real, complex, quaternionic irreducible parts.
        parts: of the space: ``(dimension of the irreducible part, multiplicity, type)``.
        skew_dimension: of the antisymmetric matrices in it.
    """

    dimension: int
    parts: tuple[tuple[int, int, str], ...]
    skew_dimension: int


@dataclass(frozen=True, repr=False)
class Continuous(Brief):
    """The Lie algebra of skew pairs ``(A, B)`` with ``A W = W B`` for all weights, which any linear layer has.

    ``name``: of the algebra, such as ``so(3)`` or ``u(1)^3``; ``decided``: whether an extra constraint says that these
    symmetries are the problem's own. For linear layers alone it never is: ``note`` says so. ``rtol``: up to which share
    of the largest two singular values counted as one.
    """

    dimension: int
    name: str
    inputs: Commutant | None
    outputs: Commutant | None
    decided: bool
    note: str
    rtol: float = field(default=1e-6, compare=False)


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
