"""Is the meta-gradient right whatever the network is made of? Layers, functions and losses against central differences.

Not a timing. Each operation of ``benchmarks/harness/operations.py`` stands in a small network in float64, and each loss
behind one; five ways to adapt, three ways to run. The value beside is a central difference of the query loss along one
random direction in all that is learned, of fourth order in its step. Where it and the slope disagree, and its two step
sizes do too, by 1e-4, it judges nothing, and the row fails. An entry holds where the slope is right to 1e-5, relative
to the larger of itself and the typical slope along a direction of that length, or where it is refused with an error of
this package's own.
"""

import itertools
import math
import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.harness.command import command, say
from benchmarks.harness.contract import Headline, Tables
from benchmarks.harness.operations import LOSSES, OPERATIONS
from msr import Episodes
from msr.errors import ConfigError, ModelError, ShapeError, first_line, kind_and_line
from msr.meta import SGD, FunctionalModule, GaussNewton, InnerSolver, Learner, MetaParameters, Ridge, from_module

__all__ = ["BOUND", "SOLVERS", "WAYS", "Row", "forget", "walk"]

BOUND = 1e-5  # relative error of a right slope
NOISE = 1e-4  # relative difference of the two central differences above which they judge nothing
STEP = 3e-5  # of the finer central difference; the coarser takes twice this
TASKS = 2
SUPPORT = 4
QUERY = 3
SOLVERS: dict[str, InnerSolver] = {
    "SGD": SGD(2, rate=0.3, learn="fixed"),
    "learned rates": SGD(2, rate=0.2, learn="per_parameter"),
    "Gauss-Newton": GaussNewton(1, penalty=0.1, damping=1.0, system="dense"),
    "conjugate gradients": GaussNewton(1, penalty=0.1, damping=1.0, system="cg", cg_steps=16),
    "ridge head": Ridge(0.1),
}
SAME_FIT = {"conjugate gradients": "Gauss-Newton"}
"""Solvers whose fit is that of another one, which finds it by other means: the central difference is taken of that."""

WAYS: dict[str, dict[str, Any]] = {
    "vmap": {"batching": "vmap"},
    "loop": {"batching": "loop"},
    "recorded": {"batching": "vmap", "trace": True},
}


@dataclass(frozen=True)
class Row:
    """One kind of network or loss, solver and way to run: the relative error, or None and in ``said`` the reason.

    The reason begins with ``refused`` where an error of the package's own refused the network; else it is what went
    wrong.
    """

    kind: str
    solver: str
    way: str
    error: float | None
    said: str = ""

    @property
    def holds(self) -> bool:
        """Whether the slope is right to :data:`BOUND`, or the network is refused."""
        return self.said.startswith("refused") if self.error is None else self.error <= BOUND


@cache
def _made(kind: str, head_only: bool) -> tuple[FunctionalModule, Episodes]:
    """The network of a kind, split for meta-learning, and episodes for it, always the same; kept until cleared.

    With ``head_only`` tasks adapt the head alone, and all other parameters are shared.
    """
    generator = torch.Generator().manual_seed(sum(map(ord, kind)))

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    share = (lambda name: not name.startswith("head")) if head_only else None
    examples = SUPPORT + QUERY
    if kind in LOSSES:
        loss = LOSSES[kind]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            net = _Plain().double()
        x = draw(TASKS, examples, 4)
        y = loss.target(draw(TASKS, examples, 3))
        return from_module(net, loss.criterion, shared=share), Episodes.split(x, y, SUPPORT)
    operation = OPERATIONS[kind]
    x = draw(TASKS, examples, *operation.shape)
    y = draw(TASKS, examples, 2)
    return from_module(operation.network(), shared=share), Episodes.split(x, y, SUPPORT)


class _Plain(nn.Module):
    """A network of two linear layers, 4 inputs to 3 outputs, that stands before a loss."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.first(x)))


@cache
def _learner(kind: str, solver: str, way: str) -> tuple[Learner, MetaParameters]:
    """The learner of a row and its parameters, kept until cleared, since each new one tries its problem.

    Central differences share the learner of the loop.
    """
    (problem, shared, initial), _ = _made(kind, solver == "ridge head")
    learner = Learner(problem, SOLVERS[solver], **WAYS[way])
    return learner, learner.init(shared, initial)


def _direction(params: MetaParameters) -> list[Tensor]:
    """The random direction along which slopes are compared: a tensor for each learned parameter."""
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in params.leaves()]


@cache
def _difference(kind: str, solver: str, step: float) -> float:
    """The slope of the mean query loss along the direction: a central difference, of second order in its ``step``.

    It is kept until cleared.
    """
    learner, params = _learner(kind, solver, "loop")
    _, episodes = _made(kind, solver == "ridge head")
    way = _direction(params)

    def loss(h: float) -> float:
        shifted = params.with_leaves([p + h * d for p, d in zip(params.leaves(), way, strict=True)])
        with torch.no_grad():
            return float(learner.losses(shifted, episodes, training=True).mean())

    return (loss(step) - loss(-step)) / (2 * step)


def _reference(kind: str, solver: str) -> str:
    """The solver whose central difference judges a slope: another one of the same fit, where that takes the kind."""
    other = SAME_FIT.get(solver, solver)
    try:
        _difference(kind, other, STEP)
    except Exception:  # the other solver's own row says what it is
        return solver
    return other


def judge(kind: str, solver: str, way: str, *, extrapolated: bool = True) -> Row:
    """The row of one kind, solver and way: its meta-gradient is compared with a central difference.

    With ``extrapolated=False`` a slope holds as soon as the finer difference agrees with it, which half of the time
    finds out; the error is then that of the difference, and the coarser one is taken of all other slopes alone.
    """
    try:
        learner, params = _learner(kind, solver, way)
        _, episodes = _made(kind, solver == "ridge head")
        learner.solver.check(learner.problem, params, episodes.support_x[0], episodes.support_y[0])
        slopes = learner.meta_gradient(params, episodes).gradient.leaves()
        reference = _reference(kind, solver)
        fine = _difference(kind, reference, STEP)
        typical = math.sqrt(sum(float(s.square().sum()) for s in slopes))
        slope = sum(float((s * d).sum()) for s, d in zip(slopes, _direction(params), strict=True))
        if not extrapolated and abs(slope - fine) <= BOUND * max(abs(fine), typical) > 0:
            return Row(kind, solver, way, abs(slope - fine) / max(abs(fine), typical))
        coarse = _difference(kind, reference, 2 * STEP)
    except (ModelError, ShapeError, ConfigError) as error:
        return Row(kind, solver, way, None, f"refused: {first_line(error)}")
    except Exception as error:  # whatever else comes out is what this benchmark looks for
        return Row(kind, solver, way, None, kind_and_line(error))
    right = (4 * fine - coarse) / 3
    scale = max(abs(right), typical)
    if not scale > 0:
        return Row(kind, solver, way, None, "nothing reaches the gradient")
    off = abs(slope - right) / scale
    if off > BOUND and abs(fine - coarse) > NOISE * scale:  # a kink within a step: no verdict, and no pass
        return Row(kind, solver, way, None, f"the central difference is not sure: {abs(fine - coarse) / scale:.0e}")
    return Row(kind, solver, way, off)


RECORDED_EVERY = 58
"""Recorded conjugate gradients, which take a minute to record, are tried on one of so many kinds."""


def walk(kinds: Iterable[str], solvers: Iterable[str], ways: Iterable[str], *, extrapolated: bool = True) -> list[Row]:
    """The rows (:func:`judge`) of all combinations of kinds, solvers and ways; warnings of torch are not shown."""
    rows = itertools.product(kinds, solvers, ways)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [judge(*row, extrapolated=extrapolated) for row in rows]


def forget() -> None:
    """Drop all problems and central differences that were kept for further rows."""
    _made.cache_clear()
    _learner.cache_clear()
    _difference.cache_clear()


def run(*, quick: bool) -> dict[str, Any]:
    """Every kind, solver and way; recorded conjugate gradients, which take a minute to record, on some kinds only."""
    kinds = [*OPERATIONS, *LOSSES]
    rows: list[Row] = []
    for i, kind in enumerate(kinds[::40] if quick else kinds):
        for solver in SOLVERS:
            slow = solver == "conjugate gradients" and i % RECORDED_EVERY
            rows += walk([kind], [solver], [way for way in WAYS if not (slow and way == "recorded")])
        forget()
        if i % 20 == 19:
            say(f"{i + 1} kinds, {sum(not row.holds for row in rows)} rows fall short")
    return {"operations": len(OPERATIONS), "losses": len(LOSSES), "rows": [asdict(row) for row in rows]}


def _rows(results: dict[str, Any]) -> list[Row]:
    """The rows of results that were JSON."""
    return [Row(**row) for row in results["rows"]]


def tables(results: dict[str, Any]) -> Tables:
    """For each solver and way a summary, then every kind with its worst error."""
    rows = _rows(results)
    summary = []
    for solver in SOLVERS:
        for way in WAYS:
            here = [row for row in rows if (row.solver, row.way) == (solver, way)]
            measured = [row for row in here if row.error is not None]
            worst = max(measured, key=lambda row: row.error or 0.0)
            refused = sum(row.error is None and row.holds for row in here)
            short = sum(not row.holds for row in here)
            cells = [len(here), len(measured), refused, short, f"{worst.error:.0e}", worst.kind]
            summary.append([solver, way, *map(str, cells)])
    each = []
    for kind in dict.fromkeys(row.kind for row in rows):
        here = [row for row in rows if row.kind == kind]
        cells = [
            max((row.error for row in here if row.solver == s and row.error is not None), default=None) for s in SOLVERS
        ]
        said = next((row.said for row in here if row.error is None), "")
        each.append([kind, *("" if cell is None else f"{cell:.0e}" for cell in cells), said[:100]])
    return {
        "Worst error over all kinds": (
            ["solver", "way", "kinds", "measured", "refused", "wrong", "worst error", "of"],
            summary,
        ),
        "Worst error of the three ways": (["kind", *SOLVERS, "refused because"], each),
    }


def headlines(results: dict[str, Any]) -> list[Headline]:
    """How many meta-gradients are right or refused, of all."""
    rows = _rows(results)
    what = f"meta-gradients of {results['operations']} operations and {results['losses']} losses, right or refused"
    return [Headline(what, f"{sum(row.holds for row in rows)} of {len(rows)}")]


if __name__ == "__main__":
    command(__file__)
