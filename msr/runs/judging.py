"""What a row says about held-out tasks: JSON knows no nan, so a number that does not exist is null, and says why."""

import math
import sys
from collections.abc import Sequence

import torch
from torch import Tensor

from msr.episodes import Episodes
from msr.meta import SGD, Learner, MetaParameters
from msr.runs.folder import Row
from msr.statistics.estimate import Estimate

__all__ = [
    "capped_losses", "cell", "curve", "estimate_or_none", "finite_or_none", "four_decimals", "gains", "judged",
    "largest_or_none", "median", "over_rows", "stability",
]  # fmt: skip

POWER_STEPS = 50
STABLE = 2.0


def finite_or_none(value: float | Tensor) -> float | None:
    """The number, or None in place of a nan or an infinity."""
    number = float(value)
    return number if math.isfinite(number) else None


def estimate_or_none(values: Tensor | Sequence[float | None]) -> Row | None:
    """Mean and interval, for JSON; None where one of the values is none, or not finite."""
    values = values.tolist() if isinstance(values, Tensor) else list(values)
    finite = [value for value in values if value is not None and math.isfinite(value)]
    return Estimate.of(finite).to_dict() if len(finite) == len(values) else None


def over_rows(rows: Sequence[Row], key: str, part: str | None = None) -> Row | None:
    """The estimate over rows of a number, or of a ``part`` of an estimate; None where a row has none."""
    values = [row[key] for row in rows]
    return estimate_or_none([value if part is None or value is None else value[part] for value in values])


def median(values: Tensor) -> float:
    """The lower median, in which a value that is not finite counts as the largest; infinite where half of them are."""
    return float(values.nan_to_num(nan=math.inf, posinf=math.inf, neginf=math.inf).median())


def judged(name: str, values: Tensor) -> Row:
    """Of each task's value ``(tasks,)``: mean with interval, median, and how many are not finite.

    The mean is null where one task is not finite; the median counts such a task as the worst, and is null where half
    of them are.
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
    ``√α H √α``, here by power iteration, from below. Raises: TypeError where the solver takes no gradient steps.
    """
    solver = _sgd(learner)
    roots = {}
    for name, start in params.initial.items():
        rate = torch.as_tensor(solver.rates(params)[name]).detach()
        roots[name] = rate.clamp_min(0).sqrt().to(start) * torch.ones_like(start)
    generator = torch.Generator().manual_seed(0)
    first = {n: torch.randn(p.shape, generator=generator).to(p) for n, p in params.initial.items()}

    def length(vector: dict[str, Tensor]) -> Tensor:
        return torch.stack([part.square().sum() for part in vector.values()]).sum().sqrt()

    def of_task(x: Tensor, y: Tensor) -> Tensor:
        slope = torch.func.grad(lambda own: learner.problem.loss({**params.shared, **own}, x, y))

        def along(own: dict[str, Tensor], moved: dict[str, Tensor]) -> Tensor:
            return torch.stack([(part * moved[n]).sum() for n, part in slope(own).items()]).sum()

        vector, gain = first, length(first)
        for _ in range(POWER_STEPS):
            unit = {n: part / gain.clamp_min(torch.finfo(part.dtype).tiny) for n, part in vector.items()}
            moved = {n: roots[n] * part for n, part in unit.items()}
            curved = torch.func.grad(along)(dict(params.initial), moved)
            vector = {n: roots[n] * part for n, part in curved.items()}
            gain = length(vector)
        return gain

    with torch.no_grad():
        return torch.func.vmap(of_task, chunk_size=learner.chunk_size)(episodes.support_x, episodes.support_y).cpu()


def capped_losses(learner: Learner, params: MetaParameters, episodes: Episodes, factors: Tensor) -> Tensor:
    """Query losses ``(tasks,)`` with each task's inner rates times its own factor ``(tasks,)``."""
    problem, solver = learner.problem, _sgd(learner)

    def of_task(factor: Tensor, x: Tensor, y: Tensor, query_x: Tensor, query_y: Tensor) -> Tensor:
        inner = {n: v + factor.log() if n.startswith("log_") else v * factor for n, v in params.inner.items()}
        own = solver.adapt(problem, params._replace(inner=inner), x, y, training=False)
        return problem.criterion(problem.predict({**params.shared, **own}, query_x), query_y)

    with torch.no_grad():
        return torch.func.vmap(of_task, chunk_size=learner.chunk_size)(factors, *episodes).cpu()


def _sgd(learner: Learner) -> SGD:
    solver = getattr(learner.solver, "sgd", learner.solver)  # a library's steps are those of the SGD it holds
    if not isinstance(solver, SGD):
        raise TypeError(f"{type(solver).__name__} takes no gradient steps")
    return solver


def stability(arm: str, learner: Learner, params: MetaParameters, episodes: Episodes, losses: Tensor) -> Row:
    """What a row says of :func:`gains`; a line on stderr where the gradient steps of a held-out task diverge.

    ``capped`` is the mean of the ``losses (tasks,)`` when those tasks take the largest steps that do not diverge, their
    rates times ``2 / (α λ)``, which needs their support sets alone. The published protocol has no such cap.
    """
    found = gains(learner, params, episodes).nan_to_num(nan=math.inf)
    above, losses = int((found > STABLE).sum()), losses.detach().cpu()
    if above:
        capped = capped_losses(learner, params, episodes, (STABLE / found).clamp_max(1).to(episodes.query_y))
        losses = torch.where(found > STABLE, capped, losses)
        print(
            f"{arm}: inner rate times curvature is above {STABLE:g} for {above} of {len(found)} held-out tasks, up to "
            f"{float(found.max()):.2f}: their gradient steps diverge, and may carry the mean; see the median",
            file=sys.stderr,
            flush=True,
        )
    return {
        "median": finite_or_none(median(found)),
        "largest": finite_or_none(found.max()),
        "tasks_above_2": above,
        "capped": estimate_or_none(losses),
    }


def cell(estimate: Row | None, digits: int = 2) -> str:
    """An estimate as a table shows it; "none" where there is none."""
    if estimate is None:
        return "none"
    return f"{estimate['mean']:.{digits}e}" + ("" if estimate["ci95"] is None else f" ± {estimate['ci95']:.0e}")


def four_decimals(value: Row | float | None) -> str:
    """Of a number, or of an estimate's mean; "none" where there is none."""
    value = value["mean"] if isinstance(value, dict) else value
    return "none" if value is None else f"{value:.4f}"


def largest_or_none(values: Sequence[float | None]) -> float | None:
    """The largest; None where one of them is none."""
    return None if None in values else max(value for value in values if value is not None)


def curve(lines: Sequence[Row]) -> tuple[list[int], list[float]]:
    """Steps and measured values of an arm's metrics, those that exist."""
    shown = [line for line in lines if line.get("test") is not None]
    return [line["step"] for line in shown], [line["test"] for line in shown]
