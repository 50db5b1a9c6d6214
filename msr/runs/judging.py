"""The values of a row, from held-out tasks. JSON knows no nan, so a number that does not exist is null."""

import math
import sys
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from msr.episodes import Episodes
from msr.meta import SGD, Learner, MetaParameters
from msr.runs.folder import Row
from msr.statistics.estimate import Estimate

__all__ = [
    "capped_losses", "cell", "curve", "decimals", "estimate_or_none", "finite_or_none", "four_decimals", "gains",
    "judged", "largest_or_none", "least_cosine", "median", "over_rows", "over_seeds", "stability", "zero_predictor",
]  # fmt: skip

POWER_STEPS = 50
"""Steps of the power iteration in :func:`gains`. Chosen by hand: a test holds the result against the eigenvalues of the
whole Hessian to one part in a thousand."""

STABLE = 2.0
"""The largest ``α λ`` at which gradient steps of a quadratic loss do not grow: ``|1 − α λ| ≤ 1``."""


def finite_or_none(value: float | Tensor) -> float | None:
    """The number, or None in place of a nan or an infinity."""
    number = float(value)
    return number if math.isfinite(number) else None


def estimate_or_none(values: Tensor | Sequence[float | None]) -> Row | None:
    """The mean and its 95% interval, as of :meth:`Estimate.to_dict`; None where a value is None, or not finite."""
    values = values.tolist() if isinstance(values, Tensor) else list(values)
    finite = [value for value in values if value is not None and math.isfinite(value)]
    return Estimate.of(finite).to_dict() if len(finite) == len(values) else None


def over_rows(rows: Sequence[Row], key: str, part: str | None = None) -> Row | None:
    """The mean with interval, over rows, of the number under ``key``, or of an entry of the estimate under it.

    Args:
        part: the entry of the estimate, such as ``mean``; None where ``key`` holds a number.

    It is None where a row holds None there, or a number that is not finite. Raises: KeyError for a row without ``key``.
    """
    values = [row[key] for row in rows]
    return estimate_or_none([value if part is None or value is None else value[part] for value in values])


def over_seeds(rows: Sequence[Row], name: str) -> Row:
    """The part of a summary row that every trained variant has: estimates over the seeds, whose rows are given.

    Keys: ``name``, of each seed's mean over tasks; ``name_median``, of each seed's median; ``seconds``; these are means
    over seeds with intervals, or null where a seed has null. ``diverged`` is how many seeds did.
    """
    return {
        name: over_rows(rows, name, "mean"),
        f"{name}_median": over_rows(rows, f"{name}_median"),
        "diverged": sum(row["diverged"] for row in rows),
        "seconds": over_rows(rows, "seconds"),
    }


def least_cosine(rows: Sequence[Row]) -> Row:
    """A row ``{"span_cosine_min": ...}`` with the least ``span_cosine`` of the rows, of which there must be one.

    The row is empty where the first has no such key; the value is None where each row holds None there.
    """
    if "span_cosine" not in rows[0]:
        return {}
    cosines = [row["span_cosine"] for row in rows if row["span_cosine"] is not None]
    return {"span_cosine_min": min(cosines, default=None)}


def median(values: Tensor) -> float:
    """The lower median of values ``(n,)``. A value that is not finite, −∞ included, counts as +∞, so that the median is
    infinite where more than half of them are not finite.
    """
    return float(values.nan_to_num(nan=math.inf, posinf=math.inf, neginf=math.inf).median())


def judged(name: str, values: Tensor) -> Row:
    """A part of a row from one value for each task ``(tasks,)``: keys ``name``, ``name_median`` and ``not_finite``.

    ``name`` holds the mean with its 95% interval, and is null where any value is not finite. ``name_median`` is the
    lower median; a value that is not finite counts as +infinity there (the worst of losses), and it is null where more
    than half of them are. ``not_finite`` is how many are.
    """
    values = values.detach().cpu()
    return {
        name: estimate_or_none(values),
        f"{name}_median": finite_or_none(median(values)),
        "not_finite": int((~values.isfinite()).sum()),
    }


def gains(learner: Learner, params: MetaParameters, episodes: Episodes) -> Tensor:
    """``α λ`` of each task ``(tasks,)``: the inner rate times the largest curvature of the support loss at the start.

    Gradient steps of a quadratic loss grow by ``|1 − α λ|`` each along its steepest direction: above 2 they diverge,
    however well the rates suit the other tasks. With a rate for each parameter, ``λ`` is the largest eigenvalue of
    ``√α H √α``, computed by power iteration, which approaches it from below.

    Raises: TypeError where the solver takes no gradient steps.
    """
    solver = _sgd(learner)
    roots = {}  # √α, for each parameter
    for name, start in params.initial.items():
        rate = torch.as_tensor(solver.rates(params)[name]).detach()
        roots[name] = rate.clamp_min(0).sqrt().to(start) * torch.ones_like(start)
    generator = torch.Generator().manual_seed(0)
    first = {n: torch.randn(p.shape, generator=generator).to(p) for n, p in params.initial.items()}

    def length(vector: dict[str, Tensor]) -> Tensor:
        """The Euclidean length of a vector that is cut into parameters."""
        return torch.stack([part.square().sum() for part in vector.values()]).sum().sqrt()

    def of_task(x: Tensor, y: Tensor) -> Tensor:
        """``α λ`` of one task, from its support set."""
        slope = torch.func.grad(lambda adapted: learner.problem.loss({**params.shared, **adapted}, x, y))

        # The gradient of ⟨∇L, u⟩ is H u, so the Hessian is never built.
        def along(adapted: dict[str, Tensor], direction: dict[str, Tensor]) -> Tensor:
            return torch.stack([(part * direction[n]).sum() for n, part in slope(adapted).items()]).sum()

        vector = first
        gain = length(first)
        for _ in range(POWER_STEPS):
            unit = {n: part / gain.clamp_min(torch.finfo(part.dtype).tiny) for n, part in vector.items()}
            direction = {n: roots[n] * part for n, part in unit.items()}
            curved = torch.func.grad(along)(dict(params.initial), direction)
            vector = {n: roots[n] * part for n, part in curved.items()}
            gain = length(vector)
        return gain

    with torch.no_grad():
        return torch.func.vmap(of_task, chunk_size=learner.chunk_size)(episodes.support_x, episodes.support_y).cpu()


def zero_predictor(episodes: Episodes) -> Row | None:
    """The error of always predicting zero, which any learner has to beat: mean square on the query sets, with interval.

    It is None where the error of a task is not finite.
    """
    return estimate_or_none(episodes.query_y.square().flatten(1).mean(1))


def capped_losses(learner: Learner, params: MetaParameters, episodes: Episodes, factors: Tensor) -> Tensor:
    """Query losses ``(tasks,)`` when each task's inner rates are multiplied by its own factor ``(tasks,)``."""
    problem = learner.problem
    solver = _sgd(learner)

    def of_task(factor: Tensor, x: Tensor, y: Tensor, query_x: Tensor, query_y: Tensor) -> Tensor:
        """The query loss of one task whose inner rates are multiplied by ``factor``."""
        # Rates that are learned on a log scale carry ``log_`` in their name.
        inner = {n: v + factor.log() if n.startswith("log_") else v * factor for n, v in params.inner.items()}
        adapted = solver.adapt(problem, params._replace(inner=inner), x, y, training=False)
        return problem.criterion(problem.predict({**params.shared, **adapted}, query_x), query_y)

    with torch.no_grad():
        return torch.func.vmap(of_task, chunk_size=learner.chunk_size)(factors, *episodes).cpu()


def _sgd(learner: Learner) -> SGD:
    """The SGD by which a learner adapts, or that a library's solver holds. Raises: TypeError for any other solver."""
    solver = getattr(learner.solver, "sgd", learner.solver)  # a library's steps are those of the SGD it holds
    if not isinstance(solver, SGD):
        raise TypeError(f"{type(solver).__name__} takes no gradient steps")
    return solver


def stability(arm: str, learner: Learner, params: MetaParameters, episodes: Episodes, losses: Tensor) -> Row:
    """A row's summary of :func:`gains`, and a line on stderr where the gradient steps of a held-out task diverge.

    Keys: ``median`` and ``largest`` of the gains ``α λ``, null where that is not finite; ``tasks_above_2``, how many
    tasks have a gain above 2, at which steps diverge; ``capped``, the mean of the losses with its interval when those
    tasks take the largest steps that do not diverge, their rates times ``2 / (α λ)``, which needs their support sets
    alone. The published protocol has no such cap.

    Args:
        arm: its name, for the line.
        losses: the query losses ``(tasks,)`` of ``episodes``, without a cap.
    """
    gain = gains(learner, params, episodes).nan_to_num(nan=math.inf)
    losses = losses.detach().cpu()
    above = int((gain > STABLE).sum())
    if above:
        capped = capped_losses(learner, params, episodes, (STABLE / gain).clamp_max(1).to(episodes.query_y))
        losses = torch.where(gain > STABLE, capped, losses)
        print(
            f"{arm}: inner rate times curvature is above {STABLE:g} for {above} of {len(gain)} held-out tasks, up to "
            f"{float(gain.max()):.2f}: their gradient steps diverge, and may carry the mean; see the median",
            file=sys.stderr,
            flush=True,
        )
    return {
        "median": finite_or_none(median(gain)),
        "largest": finite_or_none(gain.max()),
        "tasks_above_2": above,
        "capped": estimate_or_none(losses),
    }


def cell(estimate: Row | None, digits: int = 2) -> str:
    """An estimate as a table shows it, ``mean ± interval``, the mean as ``1.23e-04`` with ``digits`` decimals.

    The interval is left out where it is null, as of a single value; None gives "none".
    """
    if estimate is None:
        return "none"
    return f"{estimate['mean']:.{digits}e}" + ("" if estimate["ci95"] is None else f" ± {estimate['ci95']:.0e}")


def decimals(estimate: Row | None, digits: int = 2, *, percent: bool = False) -> str:
    """An estimate with its interval as a table shows it, ``0.12 ± 0.03``; in per cent if asked, and empty for None."""
    if estimate is None:
        return ""
    scale = 100 if percent else 1
    half = "" if estimate["ci95"] is None else f" ± {scale * estimate['ci95']:.{digits}f}"
    return f"{scale * estimate['mean']:.{digits}f}{half}"


def four_decimals(value: Row | float | None) -> str:
    """A number, or an estimate's mean, with four decimals; "none" for None."""
    value = value["mean"] if isinstance(value, dict) else value
    return "none" if value is None else f"{value:.4f}"


def largest_or_none(values: Sequence[float | None]) -> float | None:
    """The largest value; None where one of them is None."""
    return None if None in values else max(value for value in values if value is not None)


def curve(lines: Sequence[Row], against: Literal["step", "seconds"] = "step") -> tuple[list[float], list[float]]:
    """The outer steps (or the seconds that they took) and the measured values, ``test``, of the lines of an arm's
    metrics, for a figure.

    Lines without a value, or with null in its place, are left out.
    """
    measured = [line for line in lines if line.get("test") is not None]
    return [line[against] for line in measured], [line["test"] for line in measured]
