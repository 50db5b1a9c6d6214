"""Are the certificates honest? How often each rule certifies what is just too far from equivariant, and what is not.

Not a timing. *Level*: at the boundary of its null hypothesis a rule may certify with probability α at most, also where
what breaks stands beside a large offset or beside outputs that are far larger. *Power*: at half the tolerance it should
certify. *Beside it*: what checks in common use accept when a layer is broken on 5% of its inputs. Simulated with 64
draws a certificate (128 where the tail rules differ), α = 0.05, η = 0.05. The exact rule samples nothing, so it has no
error rate.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness.command import command
from benchmarks.harness.contract import Headline, Tables
from msr.equivariance import Mean, Tail, ZeroFailure, certify, specificity, weight_error
from msr.equivariance.certifying.draws import CalibratedComparison
from msr.equivariance.measuring.boundary import Interior
from msr.equivariance.measuring.inputs import draw_elements
from msr.groups import cyclic
from msr.representations import AnyRepresentation, regular, trivial
from msr.statistics.rules import Sampled
from msr.tasks.controls import broken_symmetry

ALPHA = 0.05  # error rate
ETA = 0.05  # share of the draws that may exceed the tolerance, for the tail rules
EPS = 0.1  # tolerance of the defect
N = 64  # draws of a certificate
REP = regular(cyclic(8))
ROOT2 = math.sqrt(2)

Draw = Callable[[int, torch.Generator], Tensor]


def at_the_mean_boundary() -> dict[str, Draw]:
    """Distributions of the defect whose mean, capped at 2 ε, is exactly ε, as functions that draw ``n`` values."""

    def points(low: float, high: float) -> Draw:
        """The distribution on two values whose capped mean is ε."""
        share = (EPS - low) / (min(high, 2 * EPS) - low)
        return lambda n, g: torch.where(torch.rand(n, generator=g, dtype=torch.float64) < share, high, low)

    return {
        "constant": lambda n, g: torch.full((n,), EPS, dtype=torch.float64),
        "uniform on [0, 2 eps]": lambda n, g: 2 * EPS * torch.rand(n, generator=g, dtype=torch.float64),
        "half 0, half sqrt 2": points(0.0, ROOT2),
        "few large, most 0.9 eps": points(0.9 * EPS, ROOT2),
        "few 0, most just above eps": points(0.0, 1.05 * EPS),
    }


def at_the_tail_boundary() -> dict[str, Draw]:
    """Distributions of the defect ``d`` with ``P(d > ε) = η`` exactly, as functions that draw ``n`` values."""

    def points(low: float, high: float) -> Draw:
        """The distribution on two values that takes the upper one with probability η."""
        return lambda n, g: torch.where(torch.rand(n, generator=g, dtype=torch.float64) < ETA, high, low)

    return {"0 or sqrt 2": points(0.0, ROOT2), "eps or just above": points(EPS, 1.001 * EPS)}


def share_certified(rule: Sampled, draw: Draw, n: int, runs: int, generator: torch.Generator) -> float:
    """The share of ``runs`` simulated certificates, of ``n`` drawn defects each, in which a rule certifies."""
    defects = draw(runs * n, generator).view(runs, n)
    return sum(rule.judge(row, EPS, ALPHA).verdict(ALPHA) == "certified" for row in defects) / runs


def broken_on(share: float) -> Callable[[Tensor], Tensor]:
    """The identity on 8 numbers, which scales each by a factor of its own on a share of standard normal inputs."""
    limit = math.sqrt(8) * float(torch.special.ndtri(torch.tensor(1 - share, dtype=torch.float64)))
    scales = torch.arange(1.0, 9.0)
    return lambda x: torch.where(x.sum(-1, keepdim=True) > limit, x * scales, x)


def defects_of(f: Callable[[Tensor], Tensor], n: int, generator: torch.Generator) -> Tensor:
    """The defects of ``f`` at ``n`` random pairs of an input and a group element, ``(n,)``.

    They are in units that were fixed on other inputs, as a certificate does it.
    """
    reference = torch.randn(N, 8, generator=generator)
    x = torch.randn(n, 8, generator=generator)
    elements = draw_elements(REP.group, N, generator)
    comparison = CalibratedComparison(f, REP, REP, Interior(REP, None), reference, elements)
    return comparison.defects_of(x, draw_elements(REP.group, n, generator), EPS).values


def hidden_breaks() -> list[tuple[str, Callable[[Tensor], Tensor], AnyRepresentation]]:
    """Functions that are far off on just the share η of the inputs, plainly and beside something large.

    Each is a name, the function, and the representation of its outputs.
    """
    broken = broken_on(ETA)
    limit = math.sqrt(8) * float(torch.special.ndtri(torch.tensor(1 - ETA, dtype=torch.float64)))

    def beside_an_offset(x: Tensor) -> Tensor:
        # On a share of the inputs it says where the largest number is, which every turn changes.
        total = x.sum(-1, keepdim=True)
        return 1e3 + torch.where(total > limit, 10.0 * x.argmax(-1, keepdim=True), total)

    return [
        ("certify(), broken on 5%", broken, REP),
        ("the same beside an offset", beside_an_offset, trivial(REP.group)),
        ("the same beside outputs 1e5 times as large", lambda x: torch.cat([1e5 * x, broken(x)], dim=1), REP + REP),
    ]


def share_of_certificates(
    f: Callable[[Tensor], Tensor],
    rep_out: AnyRepresentation,
    rule: Sampled,
    eps: float,
    runs: int,
    generator: torch.Generator,
) -> float:
    """The share of ``runs`` certificates, on fresh draws, in which :func:`certify` certifies a function by a rule.

    Args:
        rep_out: how the group acts on the outputs; on the inputs it acts by its regular representation.
        eps: the tolerance.
    """
    certificates = (
        certify(f, REP.group, REP, rep_out, eps=eps, alpha=ALPHA, rule=rule, n=N, n_random=0, generator=generator)
        for _ in range(runs)
    )
    return sum(certificate.certified for certificate in certificates) / runs


def levels(runs: int, generator: torch.Generator) -> list[dict[str, object]]:
    """The rate of false certification at the boundary of each rule's null, a row for each rule and case.

    Also that of :func:`specificity` on functions of which nothing is special. ``limit`` is α plus two standard errors
    of a simulation of that size, and ``holds`` whether the rate is within it.
    """
    boundaries: list[tuple[Sampled, dict[str, Draw]]] = [
        (Tail(ETA), at_the_tail_boundary()),
        (ZeroFailure(ETA), at_the_tail_boundary()),
        (Mean(), at_the_mean_boundary()),
    ]
    rows: list[dict[str, object]] = []
    few = runs // 4
    for rule, draws in boundaries:
        name = rule.name
        # With 64 draws the two tail rules are one: a single failure is too many for both.
        for n in (N,) if name == "mean" else (N, 2 * N):
            for case, draw in draws.items():
                rate = share_certified(rule, draw, n, runs, generator)
                rows.append({"rule": name, "draws": n, "case": case, "rate": rate, "runs": runs})
        if name != "mean":
            # The whole path, certify() on a function that fails on just that share of its inputs.
            for case, f, rep_out in hidden_breaks():
                rate = share_of_certificates(f, rep_out, rule, EPS, few, generator)
                rows.append({"rule": name, "draws": N, "case": case, "rate": rate, "runs": few})
    kinds = {"random weights": few, "random networks": few // 4}
    for case, count in kinds.items():
        special = 0
        for _ in range(count):
            W, V = torch.randn(2, 8, 8, generator=generator, dtype=torch.float64)
            f = W if case == "random weights" else lambda x, W=W, V=V: (x @ W.mT).relu() @ V.mT  # type: ignore[misc]
            x = torch.randn(8, 8, generator=generator, dtype=torch.float64)
            special += specificity(f, REP, REP, x, n_random=99, generator=generator).p_value <= ALPHA
        rows.append({"rule": "specificity", "draws": 0, "case": case, "rate": special / count, "runs": count})
    for row in rows:
        limit = ALPHA + 2 * math.sqrt(ALPHA * (1 - ALPHA) / row["runs"])  # type: ignore[operator]
        row.update(limit=limit, holds=row["rate"] <= limit)  # type: ignore[operator]
    return rows


def powers(runs: int, generator: torch.Generator) -> list[dict[str, object]]:
    """Certification of a layer that is broken by a known amount and lies well within the tolerance.

    Each rule is about a quantity of its own: the largest defect over elements, the ``1 − η`` quantile of the draws, or
    their mean. ``power`` has that quantity at ε / 2; ``power_mean`` has the mean defect there for all rules, which for
    the tail rules is a harder problem, since the draws of one layer spread.
    """
    (weights,) = broken_symmetry(REP, REP, 0.07).weights("train", torch.arange(1))
    W = weights[0]

    def layer(x: Tensor) -> Tensor:
        return x @ W.mT

    sampled: dict[str, Sampled] = {rule.name: rule for rule in (Tail(ETA), ZeroFailure(ETA), Mean())}

    def power(name: str, eps: float) -> float:
        if name == "exact":
            return float(certify(W, REP.group, REP, REP, eps=eps, n_random=0).certified)
        return share_of_certificates(layer, REP, sampled[name], eps, runs, generator)

    drawn = defects_of(layer, 100_000, generator)
    quantity = {"exact": weight_error(W, REP, REP).largest, "mean": float(drawn.mean())}
    quantity["tail"] = quantity["zero-failure"] = float(drawn.quantile(1 - ETA))
    return [
        {
            "rule": name,
            "power": power(name, 2 * quantity[name]),
            "power_mean": power(name, 2 * quantity["mean"]),
            "runs": 1 if name == "exact" else runs,
        }
        for name in ("exact", *sampled)
    ]


def habits(runs: int, generator: torch.Generator) -> list[dict[str, object]]:
    """The share of ``runs`` in which checks in common use accept a layer broken on 5% of its inputs, tolerance ε."""
    f = broken_on(0.05)
    most = 59
    defects = defects_of(f, runs * most, generator).view(runs, most)
    accepted = {
        "one trial below eps": defects[:, 0] <= EPS,
        "mean of 5 trials below eps": defects[:, :5].mean(1) <= EPS,
        "20 trials, all below eps": (defects[:, :20] <= EPS).all(1),
        "zero-failure rule, 59 draws": (defects <= EPS).all(1),
    }
    return [{"check": name, "accepts": float(ok.double().mean())} for name, ok in accepted.items()]


def run(*, quick: bool = False, runs: int = 8000) -> dict[str, Any]:
    """Levels, powers and habits, with ``runs`` simulated certificates a line."""
    runs = 16 if quick else runs
    generator = torch.Generator().manual_seed(0)
    level = levels(runs, generator)
    power = powers(runs // 8, generator)
    habit = habits(runs, generator)
    return {"alpha": ALPHA, "eta": ETA, "draws": N, "level": level, "power": power, "habits": habit}


def tables(results: dict[str, Any]) -> Tables:
    """Three tables: levels, powers, and checks in common use."""
    level = []
    for r in results["level"]:
        numbers = str(r["runs"]), f"{r['rate']:.4f}", f"{r['limit']:.4f}", "yes" if r["holds"] else "NO"
        level.append([r["rule"], str(r["draws"] or ""), r["case"], *numbers])
    power = [[r["rule"], str(r["runs"]), f"{r['power']:.3f}", f"{r['power_mean']:.3f}"] for r in results["power"]]
    habit = [[r["check"], f"{r['accepts']:.3f}"] for r in results["habits"]]
    header = ["rule", "draws", "at the boundary", "certificates", "certified", "limit (α + 2 s.e.)", "holds"]
    return {
        f"Level: how often a rule certifies what lies at the boundary of its null; α = {results['alpha']}": (
            header,
            level,
        ),
        f"Power: how often it certifies a layer well within the tolerance ε, {results['draws']} draws": (
            ["rule", "certificates", "its quantity at ε / 2", "the mean at ε / 2"],
            power,
        ),
        "Checks in common use, on a layer that is broken on 5% of its inputs": (["check", "accepts it"], habit),
    }


def headlines(results: dict[str, Any]) -> list[Headline]:
    """The worst level of each rule, and how often one trial, and the rule of 59 draws, accept a broken layer."""
    lines = []
    for rule in dict.fromkeys(r["rule"] for r in results["level"]):
        worst = max((r for r in results["level"] if r["rule"] == rule), key=lambda r: r["rate"] - r["limit"])
        what = f"false certification at the boundary, {rule}, worst case"
        lines.append(Headline(what, f"{worst['rate']:.3f}", f"limit {worst['limit']:.3f}"))
    habit = results["habits"][0]
    own = results["habits"][-1]
    what = "accepts a layer broken on 5% of its inputs"
    ours = f"{own['check']}: {own['accepts']:.3f}"
    return [*lines, Headline(what, ours, f"{habit['check']}: {habit['accepts']:.2f}")]


if __name__ == "__main__":
    command(__file__)
