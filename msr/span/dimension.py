"""The choice of the dimension: an over-complete span fitted to some tasks, its directions judged by others."""

import torch
from torch import Tensor

from msr.errors import DataError
from msr.span.alternation import MAX_UNKNOWNS, Alternation, has_role
from msr.span.filters import Filters, second_moment
from msr.span.moments import Moments
from msr.span.rank_cut import RankCut, rank_cut
from msr.span.thresholds import THRESHOLDS

__all__ = ["choose_dimension", "half_filters"]

# Of every four tasks two fit an over-complete span and two judge how many of its principal axes are real. Where the
# inputs of the fitting tasks miss no direction, these tasks give the axes as well, and both others judge. Elsewhere one
# of the two gives the axes, and only the last one judges.
_FITTING = (0, 1)
_TURNING = (2,)
_JUDGING = (3,)


def choose_dimension(
    alternation: Alternation, basis: Tensor, wanted: int, alpha: float, seed: int
) -> tuple[RankCut, Tensor]:
    """Fit over-complete spans, wider and wider, until the judging tasks reject some direction.

    Returns the cut, whose ``k`` is the dimension, and the last span ``(m n, width)``, turned to its directions by
    energy, strongest first. A span as wide as a weight is accepted without a rejected direction.

    Args:
        basis: ``(m n, p)``, the start, for standardised data; random directions fill it up to the width.
        wanted: the width of the first span.
        alpha: the level of the rank cut.
        seed: of the random directions and of the random signs.

    Raises: DataError for fewer tasks than are needed, and where no direction is rejected up to what the tasks can tell.
    """
    t = THRESHOLDS()
    n_tasks = alternation.n_tasks
    if n_tasks < t.fewest_tasks:
        raise DataError(
            f'k="auto" needs at least {t.fewest_tasks} tasks, a part of which judge; got {n_tasks}. Give k, or more '
            "tasks"
        )
    generator = torch.Generator().manual_seed(seed)
    size = alternation.m * alternation.n
    # The unknowns of a task, and of a row of the span, stay well below what half of the tasks can determine.
    limit = min(
        size,
        int(t.numbers_share * alternation.tasks.fewest),
        int(t.examples_share * alternation.tasks.n_examples / alternation.n),
        MAX_UNKNOWNS // alternation.n,
        # Fewer tasks than directions would leave the axes undetermined, and spread what is real over all of them.
        n_tasks // t.tasks_a_direction,
    )
    limit = max(1, limit)
    while True:
        width = min(wanted, limit)
        alternation.check_size(width)
        if basis.shape[1] < width:
            more = torch.randn(size, width - basis.shape[1], generator=generator, dtype=torch.float64)
            basis = torch.cat([basis, more], 1)
        span = alternation.fit(basis[:, :width], _FITTING, overcomplete=True)
        cut, span = _judged(alternation, span, alpha, seed)
        # A direction that fails shows that the span is wide enough to hold all real ones. A span of all directions
        # cannot be widened, so there every direction may be real.
        if cut.k < width or width == size:
            return cut, span
        if width == limit:
            raise DataError(
                f"all {width} directions that these tasks can tell apart seem to be used, so they cannot tell "
                "the dimension; give more examples a task or more tasks, or give k"
            )
        basis = span
        # By one at least: a factor of 1 would fit the same width for ever.
        wanted = max(t.widening * width, width + 1)


def _judged(alternation: Alternation, span: Tensor, alpha: float, seed: int) -> tuple[RankCut, Tensor]:
    """The rank cut of a span ``(m n, k)`` on the judging tasks, and the span turned to its directions by energy.

    The strongest direction comes first. The directions are principal axes of the filters of tasks that do not judge.
    """
    a, b = half_filters(alternation, span)
    tasks = torch.arange(alternation.n_tasks)
    fitting = has_role(tasks, _FITTING)
    # A surplus direction that hides in what a fitting task's inputs miss has any size there, and would spoil the axes.
    # Where none can hide, the fitting tasks know the axes best, and twice as many tasks are left to judge.
    clear = fitting & alternation.covered
    enough = int(clear.sum()) > THRESHOLDS().covered_share * int(fitting.sum())
    turning = clear if enough else clear | has_role(tasks, _TURNING)
    judging = ~fitting if enough else has_role(tasks, _JUDGING)
    # The fits are damped by a multiple of the identity, so filters turn as the span does.
    axes = torch.linalg.eigh(second_moment(a[turning], b[turning]))[1].flip(1)
    return rank_cut(a[judging] @ axes, b[judging] @ axes, alpha, seed), span @ axes


def half_filters(alternation: Alternation, span: Tensor, filters: Filters | None = None) -> tuple[Tensor, Tensor]:
    """Filters in ``span (m n, k)``, fitted to the first and to the second half of each task: ``(tasks, k)`` each.

    Both are unbiased for the filter of the task, up to what all tasks' damped fits lose on average.

    A half may have hardly more numbers than unknowns, so the fits are damped. The part of a filter that damping keeps
    on average is measured, and its inverse is applied. ``filters`` are those of the span, where they are at hand.
    """
    filters = Filters(span, alternation.m, alternation.n) if filters is None else filters
    k = span.shape[1]
    kept = torch.zeros(k, k, dtype=torch.float64)
    fits: list[Tensor] = []
    for moments in alternation.half_moments():
        both_halves = Moments(*(part.flatten(0, 1) for part in moments))
        v, part_kept = filters.damped(both_halves, alternation.damping)
        kept += part_kept
        fits.append(v)
    v = torch.cat(fits) @ torch.linalg.pinv(kept / (2 * alternation.n_tasks), hermitian=True)
    # Rows alternate between the first and the second half of a task.
    return v[0::2], v[1::2]
