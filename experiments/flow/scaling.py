"""Critical scaling: one step of attention at ``β = γ log n`` merges tokens, or leaves them, and between lies a jump.

Exact for equiangular tokens, also for a hundred million of them; and one step of the flow's own attention beside it,
on equiangular tokens, where it is the same number, and on random ones, whose products are ``ρ`` in the mean.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor

from experiments.flow.rounding import rounded
from experiments.shared.studies import Study
from msr.flow import (
    AttentionFlow,
    critical_cosine,
    critical_exponent,
    critical_limit,
    mean_cosine,
    on_sphere,
    uniform_on_sphere,
)
from msr.report import figures, format_table
from msr.runs.folder import Row
from msr.runs.judging import over_rows
from msr.statistics.estimate import Estimate

__all__ = ["ScalingStudy", "attended_cosine", "equiangular_tokens", "random_tokens"]


@dataclass(frozen=True)
class ScalingStudy(Study):
    """The cosine after one step, against ``γ``, for several numbers of tokens.

    Attributes:
        rho: products of two tokens before the step.
        powers: numbers of tokens of the exact curves, as powers of ten.
        sampled: numbers of random tokens.
        d: their dimension.
    """

    name = "scaling"

    rho: float = 0.5
    powers: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 8)
    sampled: tuple[int, ...] = (10, 100)
    d: int = 4096

    def variants(self) -> dict[str, bool]:
        """A line for each number of tokens: exact ones, then random ones."""
        exact = {f"n=1e{power}": False for power in self.powers}
        return exact | {f"random n={n}": True for n in self.sampled}

    @property
    def _critical(self) -> float:
        return critical_exponent(self.rho)

    def row(self, variant: str, seed: int) -> Row:
        """The curve of one number of tokens, exact or of random tokens."""
        if variant.startswith("random"):
            return self._random(int(variant.removeprefix("random n=")), seed)
        n = 10 ** int(variant.removeprefix("n=1e"))
        gammas = np.linspace(0, 2 * self._critical, 161)
        limit = critical_limit(self.rho, self._critical)

        def above(gamma: float, level: float = limit) -> float:
            return float(critical_cosine(float(n), self.rho, gamma)) - level

        # Where the curve passes the limit at the critical exponent, and how wide its middle half is.
        place = brentq(above, 0, 3 * self._critical, xtol=1e-12)
        half = [
            brentq(above, 0, 20 * self._critical, args=(self.rho + part * (1 - self.rho),), xtol=1e-12)
            for part in (0.75, 0.25)
        ]
        row: Row = {
            "n": n,
            "gammas": gammas.tolist(),
            "cosines": rounded(critical_cosine(float(n), self.rho, gammas).tolist(), 9),
            "at_critical": above(self._critical, 0.0),
            "below": above(0.9 * self._critical, 0.0),
            "above": above(1.1 * self._critical, 0.0),
            "place": place,
            "width": half[1] - half[0],
        }
        if n <= 1000:
            tokens = equiangular_tokens(n, self.rho)
            few = gammas[::20]
            found = np.array([attended_cosine(tokens, float(gamma)) for gamma in few])
            row["step_off"] = float(np.abs(found - critical_cosine(float(n), self.rho, few).numpy()).max())
        return row

    def _random(self, n: int, seed: int) -> Row:
        """The mean cosine of random tokens after one step, and of how much it is off the exact curve."""
        tokens = random_tokens(n, self.d, self.rho, torch.Generator().manual_seed(seed))
        gammas = np.linspace(0, 2 * self._critical, 9)
        found = [attended_cosine(tokens, float(gamma)) for gamma in gammas]
        exact = critical_cosine(float(n), self.rho, gammas).numpy()
        return {
            "n": n,
            "d": self.d,
            "gammas": gammas.tolist(),
            "cosines": found,
            "off": float(np.abs(np.array(found) - exact).max()),
        }

    def line(self, variant: str, rows: list[Row]) -> Row:
        """What an exact row holds, without its curve; or the means over the seeds of random ones."""
        first = rows[0]
        if not variant.startswith("random"):
            return {key: value for key, value in first.items() if key not in ("gammas", "cosines")}
        columns = zip(*(row["cosines"] for row in rows), strict=True)
        return {
            "n": first["n"],
            "d": first["d"],
            "gammas": first["gammas"],
            "cosines": [Estimate.of(column).to_dict() for column in columns],
            "exact": critical_cosine(float(first["n"]), self.rho, first["gammas"]).tolist(),
            "off": over_rows(rows, "off"),
            "off_most": max(row["off"] for row in rows),
        }

    def table(self, lines: list[Row]) -> str:
        """Two tables: the exact curves, and random tokens."""
        critical = self._critical
        exact = [line for line in lines if "place" in line]
        header = [
            f"scaling, ρ = {self.rho:g}", f"γ = {0.9 * critical:g}", f"{critical:g}, critical", f"{1.1 * critical:g}",
            "γ of the jump", "its middle half", "one step off by",
        ]  # fmt: skip
        cells = [
            [
                f"n = {line['n']:.0e}",
                *(f"{line[key]:.4f}" for key in ("below", "at_critical", "above")),
                f"{line['place']:.4f}",
                f"{line['width']:.3f}",
                f"{line['step_off']:.0e}" if "step_off" in line else "",
            ]
            for line in exact
        ]
        cells.append(["limit", *(f"{critical_limit(self.rho, part * critical):.4f}" for part in (0.9, 1, 1.1))])
        cells[-1] += [f"{critical:.4f}", "0", ""]
        parts = [format_table(header, cells)]
        random = [line for line in lines if "place" not in line]
        if random:
            parts.append(
                format_table(
                    ["random tokens", "dimension", "off the exact curve, worst γ, mean", "worst seed"],
                    [
                        [f"n = {line['n']}", str(line["d"]), f"{line['off']['mean']:.4f}", f"{line['off_most']:.4f}"]
                        for line in random
                    ],
                )
            )
        return "\n\n".join(parts)

    def figures(self, rows: Mapping[str, list[Row]]) -> dict[str, Any]:
        """``scaling.png``: the curves, the critical exponent, and means over seeds of random tokens on them."""
        series: dict[str, tuple[list[float], list[float]]] = {}
        kinds: dict[str, str] = {}
        for variant, found in rows.items():
            first = found[0]
            means = np.mean([row["cosines"] for row in found], axis=0).tolist()
            series[variant] = (first["gammas"], means)
            power = math.log10(first["n"])
            kinds[variant] = f"n = $10^{power:.0f}$" if power == int(power) else f"n = {first['n']}"
        critical = "critical γ = 1 / (1 − ρ)"
        series[critical] = ([self._critical] * 2, [self.rho, 1.0])
        kinds[critical] = critical
        picture = figures.curves(
            series,
            ylabel="cosine after one step (dots: random tokens)",
            log=False,
            xlabel=f"γ of β = γ log n, for tokens whose cosine was {self.rho:g}",
            kinds=kinds,
            dots=[variant for variant in rows if variant.startswith("random")],
        )
        return {"scaling.png": picture}


def equiangular_tokens(n: int, rho: float) -> Tensor:
    """``n`` unit tokens with all products ``rho``, ``(n, n)``: rows of the root of their Gram matrix."""
    # (a I + b 11ᵀ)² = (1 − ρ) I + ρ 11ᵀ.
    a = math.sqrt(1 - rho)
    b = (math.sqrt(1 - rho + n * rho) - a) / n
    return a * torch.eye(n, dtype=torch.float64) + b


def random_tokens(n: int, d: int, rho: float, generator: torch.Generator) -> Tensor:
    """``n`` random unit tokens of ``d`` dimensions whose products are ``rho`` in the mean, in a basis of their span.

    ``√ρ u + √(1−ρ) w_i`` with ``u`` and all ``w_i`` uniform on the sphere, brought to norm 1.
    Shapes: the result is ``(n, min(n, d))``.
    """
    parts = uniform_on_sphere(n + 1, d, generator=generator)
    tokens = on_sphere(math.sqrt(rho) * parts[:1] + math.sqrt(1 - rho) * parts[1:])
    # Only products matter, and they are those of the coordinates in the span.
    return torch.linalg.qr(tokens.mT).R.mT


def attended_cosine(tokens: Tensor, gamma: float) -> float:
    """The mean cosine of pairs after each token ``(n, d)`` was replaced by its attention at ``β = γ log n``."""
    n, d = tokens.shape
    # Without a norm and with V = I, what moves a token is what attention gives for it.
    return float(mean_cosine(AttentionFlow(d, gamma * math.log(n), norm="none").velocity(tokens)))
