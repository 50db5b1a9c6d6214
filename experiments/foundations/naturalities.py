"""Equivariance is naturality: one checker on a layer, on windows of a signal, and on a partial symmetry that discovery
found.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import torch
from torch import Tensor

from experiments.shared.studies import Study
from msr.category import (
    PartialMap,
    from_group,
    linear_functor,
    linear_transformations,
    naturality_error,
    window_category,
)
from msr.discovery import discover
from msr.equivariance import weight_error
from msr.groups import cyclic
from msr.report import figures, format_table
from msr.representations import equivariant_basis, regular
from msr.runs.folder import Row
from msr.tasks import sample_translation

__all__ = ["NaturalityStudy", "shared_permutations"]

_OFF = 0.5
"""What is added to one weight of the controls."""


@dataclass(frozen=True)
class NaturalityStudy(Study):
    """Three layers, each as it should be and with one weight off.

    Attributes:
        lengths: of the windows. ``taps``: of the filter.
        signal: inputs of the tasks that discovery is given. ``tasks``: how many of them.
    """

    name = "naturality"

    lengths: tuple[int, int] = (6, 8)
    taps: int = 3
    signal: int = 12
    tasks: int = 200

    def variants(self) -> dict[str, bool]:
        """A line for each layer."""
        return dict.fromkeys(["a layer of C4", "windows", "a partial symmetry"], False)

    def row(self, variant: str, seed: int) -> Row:
        """The defect of the layer, and of the same layer with one weight off."""
        if variant == "a layer of C4":
            return self._layer(seed)
        return self._windows(seed) if variant == "windows" else self._partial(seed)

    def _layer(self, seed: int) -> Row:
        """One weight judged by both checkers, element by element."""
        rep = regular(cyclic(4))
        C = from_group(cyclic(4))
        V = linear_functor(C, rep)
        basis = equivariant_basis(rep, rep)
        weight = (basis.matrix().double() @ _draw(basis.dim, seed=seed)).view(4, 4)
        rows: Row = {"dim": linear_transformations(V, V).dim, "expected_dim": basis.dim}
        apart = 0.0
        for key, W in (("right", weight), ("broken", _with_one_off(weight))):
            natural = naturality_error(V, V, [W])
            equivariant = weight_error(W, rep, rep)
            apart = max(apart, float((natural.values - equivariant.values).abs().max()))
            rows |= {key: natural.largest, f"{key}_by_equivariance": equivariant.largest}
        return {**rows, "apart": apart, "group": shared_permutations(4, 4, circular=True)}

    def _windows(self, seed: int) -> Row:
        """The valid correlation on windows of two lengths; how many transformations and permutations there are."""
        found = window_category(self.lengths)
        S = found.signals()
        T = found.signals(self.taps)
        components = found.correlation(_draw(self.taps, seed=seed))
        broken = [components[0], _with_one_off(components[1])]
        return {
            "dim": linear_transformations(S, T).dim,
            "expected_dim": self.taps,
            "right": naturality_error(S, T, components).largest,
            "broken": naturality_error(S, T, broken).largest,
            "group": shared_permutations(self.lengths[0], self.taps, circular=False),
            "group_circular": shared_permutations(self.lengths[0], self.taps, circular=True),
            "matrices": {f"window of {n}": matrix.tolist() for n, matrix in zip(self.lengths, components, strict=True)}
            | {"one weight off": broken[1].tolist()},
        }

    def _partial(self, seed: int) -> Row:
        """A partial symmetry that discovery found in tasks of valid convolutions, and the tasks' weights on it."""
        sample = sample_translation(self.signal, self.taps, n_tasks=self.tasks, seed=seed)
        answer = discover(sample.x, sample.y, seed=seed, threads=torch.get_num_threads())
        row: Row = {"verdict": answer.verdict, "group": 1 if answer.verdict == "none" else None}
        if not answer.partial:
            return {**row, "name": None, "right": None, "broken": None}
        best = answer.partial[0]
        functor = PartialMap(best.map_in, best.map_out)
        right = max(functor.signal_error(weight).largest for weight in sample.w[:20])
        broken = functor.signal_error(_with_one_off(sample.w[0])).largest
        return {**row, "name": best.name, "right": right, "broken": broken}

    def line(self, variant: str, rows: list[Row]) -> Row:
        """The row without its matrices: nothing is random but weights and what discovery was given."""
        return {key: value for key, value in rows[0].items() if key != "matrices"}

    def table(self, lines: list[Row]) -> str:
        """A row for each layer."""
        header = [
            "naturality", "defect", "one weight off", "apart from equivariance", "dimension of all natural layers",
            "permutations that keep all",
        ]  # fmt: skip
        cells = []
        for line in lines:
            kept = "" if line["group"] is None else str(line["group"])
            if "group_circular" in line:
                kept += f" (circular: {line['group_circular']})"
            cells.append(
                [
                    line["variant"],
                    *("not found" if line[key] is None else f"{line[key]:.2g}" for key in ("right", "broken")),
                    f"{line['apart']:.1g}" if "apart" in line else "",
                    f"{line['dim']} of {line['expected_dim']}" if "dim" in line else "",
                    kept,
                ]
            )
        return format_table(header, cells)

    def figures(self, rows: Mapping[str, list[Row]]) -> dict[str, Any]:
        """``naturality.png``: the components of the valid correlation, and of the control."""
        if "windows" not in rows:
            return {}
        panels = {
            name: torch.tensor(values, dtype=torch.float64) for name, values in rows["windows"][0]["matrices"].items()
        }
        title = "One filter on windows of two lengths: natural, and with one weight off"
        return {"naturality.png": figures.matrices(panels, columns=3, title=title)}


def shared_permutations(length: int, taps: int, *, circular: bool) -> int:
    """How many pairs of permutations, of inputs and of outputs, every filter of these taps is unchanged by; by trying.

    ``W_t``, a filter of the tap ``t`` alone, reads input ``p + t`` for output ``p``. All are kept by the input
    permutation ``a`` and the output permutation ``b`` where ``a(p + t) = b(p) + t``.
    """
    outputs = length if circular else length - taps + 1
    read = [[(p + t) % length for t in range(taps)] for p in range(outputs)]
    count = 0
    for a in permutations(range(length)):
        # Tap 0 alone says what b is.
        b = [a[p] for p in range(outputs)]
        inside = max(b) < outputs
        count += inside and all(a[read[p][t]] == read[b[p]][t] for p in range(outputs) for t in range(taps))
    return count


def _with_one_off(weight: Tensor) -> Tensor:
    """A weight ``(out, in)`` with one entry changed."""
    changed = weight.clone()
    changed[1, 1] += _OFF
    return changed


def _draw(*shape: int, seed: int) -> Tensor:
    """Random numbers of a seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
