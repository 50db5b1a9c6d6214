"""A real network: its tokens by depth beside the flow of its own weights, that of theory, and random weights.

A small encoder of torch is followed as it is made, and after it was trained for some seconds to give back points from
noisy copies of them. A layer is compared with a time of 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from experiments.flow.denoising import Sets, error_of, made, train
from experiments.flow.rounding import rounded
from experiments.shared.studies import Study
from msr.flow.network import follow
from msr.report import figures, format_table
from msr.runs.folder import Row
from msr.statistics.estimate import Estimate

__all__ = ["NetworkStudy"]

WAYS = {
    "real": "network",
    "own": "flow of its weights",
    "ideal": "flow of its scores, V = I",
    "random": "random weights",
}
"""What is followed, by the names of :class:`msr.flow.network.NetworkPath`."""
_TOL = 0.05
"""Tokens are of one cluster at a cosine of .95: a network of a few layers leaves them a little apart."""
_DRAWS = 4
_TEST = 10**6
"""What is added to a seed for sets that nothing was trained on."""


@dataclass(frozen=True)
class NetworkStudy(Study):
    """Mean cosines and clusters by depth, with norms after each half of a layer or before, untrained and trained.

    Attributes:
        sets: the tokens.
        layers: of the network.
        steps: of training.
        followed: sets that are followed.
    """

    name = "network"

    sets: Sets = field(default_factory=Sets)
    layers: int = 4
    steps: int = 150
    followed: int = 16

    def variants(self) -> dict[str, bool]:
        """Both places of the norm, before and after training."""
        return {f"{place} {state}": True for place in ("post", "pre") for state in ("untrained", "trained")}

    def row(self, variant: str, seed: int) -> Row:
        """The mean cosine and the number of clusters by depth of each way, and the network's error."""
        place, state = variant.split()
        network = made(self.sets, self.layers, seed, norm_first=place == "pre")
        if state == "trained":
            train(network, self.sets, self.steps, seed)
        error = error_of(network, self.sets, seed + _TEST)
        tokens, _ = self.sets.draw(self.followed, torch.Generator().manual_seed(seed + _TEST + 1))
        with torch.no_grad():
            inner = network.inner(tokens)
        generator = torch.Generator().manual_seed(seed)
        path = follow(network.encoder, inner, generator=generator, draws=_DRAWS, tol=_TOL)
        curves = {name: getattr(path, name) for name in WAYS}
        return {
            "place": place,
            "state": state,
            "error": error,
            "cosines": {name: rounded(curve.cosine.mean(1).tolist()) for name, curve in curves.items()},
            "clusters": {name: rounded(curve.clusters.double().mean(1).tolist()) for name, curve in curves.items()},
            "own_off": path.real.off(path.own),
            "ideal_off": path.real.off(path.ideal),
            "random_off": path.real.off(path.random),
            "notes": list(path.notes),
        }

    def line(self, variant: str, rows: list[Row]) -> Row:
        """Means over seeds with intervals: cosines and clusters at the end, distances between curves, errors."""
        first = rows[0]
        line: Row = {"place": first["place"], "state": first["state"], "notes": first["notes"]}
        for key in ("error", "own_off", "ideal_off", "random_off"):
            line[key] = Estimate.of([row[key] for row in rows]).to_dict()
        for key in ("cosines", "clusters"):
            line[key] = {name: Estimate.of([row[key][name][-1] for row in rows]).to_dict() for name in WAYS}
        line["begin"] = Estimate.of([row["cosines"]["real"][0] for row in rows]).to_dict()
        return line

    def table(self, lines: list[Row]) -> str:
        """A row for each network: cosines at the end of each way, clusters, and how far curves are apart."""
        header = [
            "network", "error / noise", "cosine at the start", *(f"at the end: {what}" for what in WAYS.values()),
            "clusters: network", "random weights", "off by, flow", "V = I", "random weights",
        ]  # fmt: skip
        cells = [
            [
                f"{line['place']}-norm, {line['state']}",
                _cell(line["error"]),
                _cell(line["begin"]),
                *(_cell(line["cosines"][name]) for name in WAYS),
                *(_cell(line["clusters"][name]) for name in ("real", "random")),
                *(_cell(line[key]) for key in ("own_off", "ideal_off", "random_off")),
            ]
            for line in lines
        ]
        return format_table(header, cells)

    def figures(self, rows: Mapping[str, list[Row]]) -> dict[str, Any]:
        """``network_PLACE_MEASURE.png``: mean cosines, and clusters, by depth, in the mean over seeds."""
        drawn = {}
        depths = list(range(self.layers + 1))
        for place in ("post", "pre"):
            for key, what in (("cosines", "mean cosine of pairs of tokens"), ("clusters", "clusters of tokens")):
                # Of a network that was not trained its own layers alone: one more control.
                shown = {(name, "trained"): label for name, label in WAYS.items()}
                shown["real", "untrained"] = f"untrained {WAYS['real']}"
                series: dict[str, tuple[list[int], list[float]]] = {}
                for (name, state), label in shown.items():
                    means = np.mean([row[key][name] for row in rows[f"{place} {state}"]], axis=0)
                    series[label] = (depths, means.tolist())
                label = f"depth ({place}-norm, {self.sets.n} tokens)"
                picture = figures.curves(series, ylabel=what, log=False, xlabel=label, beside=True)
                drawn[f"network_{place}_{key}.png"] = picture
        return drawn


def _cell(estimate: Row) -> str:
    """A mean with its interval."""
    return f"{estimate['mean']:.2f}" + ("" if estimate["ci95"] is None else f" ± {estimate['ci95']:.2f}")
