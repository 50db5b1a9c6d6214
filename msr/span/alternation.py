"""Alternating least squares: all filters for a span, then the span for these filters, until little is gained."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import inf

import torch
from torch import Tensor

from msr.errors import ConfigError, DataError
from msr.span.chunks import Chunks
from msr.span.extrapolation import extrapolated
from msr.span.filters import Filters
from msr.span.moments import Moments, Passes, covered, half_moments, joined, triangle_places
from msr.span.standardised import Standardised
from msr.span.thresholds import THRESHOLDS

__all__ = ["MAX_UNKNOWNS", "Alternation", "Fitted", "has_role"]

MAX_UNKNOWNS = 6144
"""Most unknowns of a row of the span, inputs times k. A limit of memory: the normal equations take 288 MiB then."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """The filters of some tasks for one span, and what they leave.

    Attributes:
        filters: ``(tasks, k)``, of some tasks at a time, in the order of the pass.
        residual: the squared residual that all of them leave.
        energy: the squared outputs of these tasks.
        numbers: how many output numbers there are; ``n_tasks``: how many tasks.
    """

    filters: list[Tensor]
    residual: float
    energy: float
    numbers: int
    n_tasks: int


class Alternation:
    """Fits of a span to the standardised tasks of some chunks.

    A task has one of four roles, by the remainder of its index by 4. In the choice of the dimension
    (:mod:`msr.span.dimension`) 0 and 1 fit, 2 gives the axes or judges, and 3 judges.

    Args:
        tol: an iteration settles when it gains less than this share of what fitting pure noise would gain.
        max_iterations: of a fit that is not over-complete.

    Attributes:
        tasks: the standardised tasks; ``n`` inputs, ``m`` outputs, ``n_tasks``.
        half_moments: passes over the moments of both halves of each task's examples.
        iterations: how many were made, in all fits so far.
        converged: whether the last fit settled.
        residuals: of the last fit, the squared residual in each iteration, as a share of the squared outputs.
        damping: for filters of an over-complete fit, and of half of a task's examples: the share of the squared outputs
            that the last span left unexplained, within ``least_damping`` and ``most_damping``.
    """

    def __init__(self, chunks: Chunks, tol: float, max_iterations: int):
        if max_iterations < 1 or not tol >= 0:
            raise ConfigError(
                f"at least one iteration and a tolerance of 0 or more are needed; got {max_iterations}, {tol}"
            )
        self.tasks = Standardised(chunks)
        self.tol = tol
        self.max_iterations = max_iterations
        self.m = self.tasks.m
        self.n = self.tasks.n
        self.n_tasks = self.tasks.n_tasks
        self.iterations = 0
        self.converged = False
        self.residuals: list[float] = []
        self.damping = THRESHOLDS().most_damping
        self._all_moments = Passes(lambda: joined(Moments.of(x, y) for x, y in self.tasks()))
        self.half_moments = Passes(lambda: joined(half_moments(x, y) for x, y in self.tasks()))

    @cached_property
    def covered(self) -> Tensor:
        """Whether each task's inputs reach every direction, ``(tasks,)`` booleans; found in one pass, and kept."""
        return torch.cat([covered(moments, self.m, self.n) for moments in self.half_moments()])

    def check_size(self, k: int) -> None:
        """Raise an error where a span of ``k`` dimensions cannot be fitted to these tasks.

        Raises: DataError where the smallest task has fewer output numbers than its ``k`` unknowns, where all tasks have
        fewer examples than the ``n k`` unknowns of a row of ``U``, or where the residual has no degree of freedom;
        ConfigError where ``n k`` is above ``MAX_UNKNOWNS``, a limit of memory.
        """
        fewest = self.tasks.fewest
        examples = self.tasks.n_examples
        if k > fewest:
            raise DataError(
                f"a task has {fewest} output numbers and {k} unknowns, so its fit says nothing about the span; "
                "give more examples a task, or start from spectral_start and meta-train with Ridge"
            )
        if self.n * k > examples or self.degrees(k) <= 0:
            raise DataError(
                f"each row of the span has {self.n} inputs times k = {k} unknowns, and each task {k}: too many for "
                f"{examples} examples in all; give more tasks, or start from spectral_start and meta-train with Ridge"
            )
        if self.n * k > MAX_UNKNOWNS:
            raise ConfigError(
                f"{self.n} inputs times k = {k} unknowns a row are more than {MAX_UNKNOWNS}; start from "
                "spectral_start and meta-train with Ridge"
            )

    def degrees(self, k: int) -> int:
        """Degrees of freedom of the residual of all tasks: their output numbers less the unknowns of filters and span.

        A span has ``k (m n − k)`` unknowns, since ``U`` and ``U R`` are one span for every invertible ``R (k, k)``.
        """
        return self.tasks.numbers - self.n_tasks * k - k * (self.m * self.n - k)

    def fit(self, span: Tensor, roles: tuple[int, ...] | None = None, overcomplete: bool = False) -> Tensor:
        """The span ``(m n, k)`` after alternating from the start ``span (m n, k)`` until an iteration gains little.

        Its columns are orthonormal; those of the start need not be. After the largest number of iterations it is
        returned unsettled, with ``converged`` False. Only tasks with these ``roles`` are read (None: all). The
        attributes ``iterations``, ``converged``, ``residuals`` and ``damping`` are set.

        An over-complete span has more directions than the tasks use. Its surplus directions never settle, so its
        iterations are not extrapolated. Where the inputs of a task miss a direction, a surplus direction may lie there,
        and the task's filter may have any size along it. So the filters of an over-complete fit are damped: by the
        share of the squared outputs that the span has left unexplained, within ``least_damping`` and ``most_damping``.
        """
        t = THRESHOLDS()
        span = torch.linalg.qr(span)[0]
        unknowns = span.shape[1] * (len(span) - span.shape[1])
        last = inf  # the squared residual of the iteration before
        history: list[tuple[Tensor, Tensor]] = []
        plain = span  # what alternating alone gives; ``span`` may be an extrapolation from it
        is_extrapolated = False
        tol = t.overcomplete_tol if overcomplete else self.tol
        perfect = t.overcomplete_perfect_fit if overcomplete else t.perfect_fit
        self.converged = False
        self.residuals = []
        self.damping = t.most_damping
        # Each iteration reads the same tasks, which are picked once.
        tasks = Passes(lambda: self.moments(roles))
        for _ in range(t.overcomplete_iterations if overcomplete else self.max_iterations):
            fitted = self.filters(span, tasks, self.damping if overcomplete else t.least_damping)
            residual = fitted.residual
            energy = fitted.energy
            if residual > last and is_extrapolated:
                # The extrapolation went too far: go back to the plain iterate that it started from.
                span = plain
                history = []
                is_extrapolated = False
                self.iterations += 1
                continue
            self.residuals.append(residual / energy)
            numbers = fitted.numbers
            degrees = max(numbers - fitted.n_tasks * span.shape[1] - unknowns, int(t.least_degrees * numbers), 1)
            self.damping = min(t.most_damping, max(t.least_damping, residual / energy))
            # Fitted to pure noise, each unknown of the span would gain the variance of the noise once.
            settled = last - residual <= tol * unknowns * residual / degrees
            # An extrapolation may gain little by chance, so only a plain step counts as settled.
            self.converged = residual <= perfect * energy or (settled and not is_extrapolated)
            if self.converged:
                break
            # The span is looked for only now: an iteration that ends the fit has no use for it.
            better = self.better(span, tasks, fitted.filters)
            # A step that gained little clears the history, so that the next one is plain and can count as settled.
            recent = history[1 - t.extrapolation_memory :]
            history = [] if overcomplete or settled else [*recent, (span, better - span)]
            is_extrapolated = len(history) > 1
            span = extrapolated(history) if is_extrapolated else better
            plain = better
            last = residual
            self.iterations += 1
        return torch.linalg.qr(span if self.converged else plain)[0]

    def moments(self, roles: tuple[int, ...] | None = None) -> Iterator[Moments]:
        """A pass over the moments of the tasks with these ``roles`` (None: all), some tasks at a time."""
        n_before = 0
        for moments in self._all_moments():
            n_tasks = len(moments.energy)
            chosen = None if roles is None else has_role(torch.arange(n_before, n_before + n_tasks), roles)
            n_before += n_tasks
            if chosen is None:
                yield moments
            elif chosen.any():
                yield moments.select(chosen)

    def filters(self, span: Tensor, tasks: Callable[[], Iterator[Moments]], damping: float) -> Fitted:
        """The first half of an iteration: all filters for this span, from a pass over the moments of some tasks.

        ``damping`` of the filters is a share of the mean diagonal of a task's normal equations.
        """
        filters = Filters(span, self.m, self.n)
        fitted: list[Tensor] = []
        residual = 0.0
        energy = 0.0
        numbers = 0
        for moments in tasks():
            v, part = filters.fit(moments, damping)
            fitted.append(v)
            residual += part
            energy += float(moments.energy.sum())
            numbers += int(moments.numbers.sum())
        return Fitted(fitted, residual, energy, numbers, sum(map(len, fitted)))

    def better(self, span: Tensor, tasks: Callable[[], Iterator[Moments]], filters: list[Tensor]) -> Tensor:
        """The second half of an iteration: the span for these filters, ``(m n, k)`` with orthonormal columns.

        Args:
            span: the span for which the filters were fitted, ``(m n, k)``.
            tasks: the same pass as that of the filters.

        Raises: DataError where the normal equations of the span are singular.
        """
        k = span.shape[1]
        # The normal equations Σ XᵀX ⊗ v vᵀ are the same for each row of the weight. Both of their factors are
        # symmetric, so a quarter of the products is enough.
        pairs = torch.triu_indices(k, k)
        packed = torch.zeros(self.n * (self.n + 1) // 2, pairs.shape[1], dtype=torch.float64)
        right = torch.zeros(self.m * self.n, k, dtype=torch.float64)
        for moments, v in zip(tasks(), filters, strict=True):
            packed += moments.gram.mT @ (v.index_select(1, pairs[0]) * v.index_select(1, pairs[1]))
            right += moments.cross.mT @ v
        normal = _unpacked(packed, self.n, k)
        right = right.view(self.m, -1)
        # A proximal term, far below what data determine, keeps a direction that no task uses where it is.
        proximal = THRESHOLDS().proximal * normal.diagonal().mean()
        normal.diagonal().add_(proximal)
        right += proximal * span.reshape(self.m, -1)
        factor, info = torch.linalg.cholesky_ex(normal)
        if int(info) != 0:
            raise DataError(
                f"the span of {k} dimensions cannot be fitted to these tasks: the normal equations are singular; "
                "give more tasks or ask for fewer dimensions"
            )
        better, gauge = torch.linalg.qr(torch.cholesky_solve(right.mT, factor).mT.reshape(-1, k))
        # QR leaves the signs of the columns open. Each is chosen near the old column, so that iterates can be combined.
        return torch.where(gauge.diagonal() < 0, -better, better)


def _unpacked(packed: Tensor, n: int, k: int) -> Tensor:
    """A matrix ``(n k, n k)``, symmetric in its inputs and in its filters, from a quarter of its numbers.

    ``packed (n (n + 1) / 2, k (k + 1) / 2)`` holds the upper triangle of both.
    """
    by_filter = packed.index_select(1, triangle_places(k).flatten()).view(-1, k, k)
    # One gather of whole blocks (k, k) makes the rows and columns of the inputs; then each block goes to its place.
    blocks = by_filter.index_select(0, triangle_places(n).flatten()).view(n, n, k, k)
    return blocks.transpose(1, 2).reshape(n * k, n * k)


def has_role(tasks: Tensor, roles: tuple[int, ...]) -> Tensor:
    """Whether each task, given by its index, has one of these roles: booleans of the shape of ``tasks``.

    A task's role is the remainder of its index by 4.
    """
    return torch.isin(tasks % 4, torch.tensor(roles))
