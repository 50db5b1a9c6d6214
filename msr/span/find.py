"""Find the span that all tasks share, in closed form: spectral start, alternating least squares, the right ``k``."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil, inf
from typing import Literal

import torch
from torch import Tensor

from msr.arrays import as_tensor
from msr.errors import ConfigError, DataError, NonFiniteError, ShapeError
from msr.span.filters import DAMPING, EXACT, Filters, covered, extrapolated, places
from msr.span.moments import Chunks, Moments, Passes, Standardised, halves, merged
from msr.span.rank import RankCut, judged
from msr.span.spectral import SpectralStart, spectral_start

__all__ = ["RankCut", "SharedSpan", "find_span"]

# Of every four tasks two fit an over-complete span and two judge how many of its principal axes are real. The axes are
# those of the fitting tasks where their inputs miss no direction; elsewhere one of the judges has to give them instead.
_FITS, _TURNS, _JUDGES = (0, 1), (2,), (3,)
# An over-complete span only has to hold the true one; what is too much of it never comes to rest. It is good enough
# when an iteration gains this share of what its unknowns would gain by fitting noise.
_OVERCOMPLETE_TOL = 0.1
_OVERCOMPLETE_ITERATIONS = 30
_MAX_UNKNOWNS = 6144
_WIDE = 128  # inputs, from which on a start is costly
_MEMORY = 5  # iterations that an extrapolation looks back to
# A squared residual of this share of the outputs', 3e-6 of their size, is a perfect fit of float32 data. What is left
# must not look like a direction, so an over-complete span goes on to where float32 ends.
_PERFECT = 1e-11
_OVERCOMPLETE_PERFECT = 1e-14


@dataclass(frozen=True, eq=False)
class SharedSpan:
    """A sharing pattern fitted to many tasks: ``vec(W_i) = U v_i`` with ``v_i`` of mean ``v0`` and covariance ``I``.

    Attributes:
        U: ``(m n, k)``, float64, in that gauge; only its span is determined by ``vec(W) = U v``.
        v0: ``(k,)``, where a new task starts.
        noise: the variance of the residual of a number of ``y``, on the tasks' own fits.
        k: the dimension.
        cut: how ``k`` was chosen; None when it was given.
        start: the spectral start, with its evidence; None when a start was given.
        iterations: of alternating least squares, in all.
        converged: whether the last iteration gained less than ``tol`` of what fitting noise alone would gain.
        residuals: of the last fit, the squared residual that each iteration found, as a share of the squared outputs.
    """

    U: Tensor
    v0: Tensor
    noise: float
    k: int
    cut: RankCut | None
    start: SpectralStart | None
    iterations: int
    converged: bool
    residuals: tuple[float, ...]

    def penalty(self, numbers: int) -> float:
        """``noise / numbers``: the λ for which ``Ridge`` is the posterior mean, given that many support numbers.

        Not below 1e-10, where float32 ends.
        """
        if numbers < 1:
            raise ConfigError(f"a support set has at least one output number; got {numbers}")
        return max(self.noise / numbers, 1e-10)


def find_span(
    chunks: Chunks,
    *,
    k: int | Literal["auto"] = "auto",
    start: Tensor | None = None,
    max_iterations: int = 30,
    tol: float = 1e-3,
    alpha: float = 0.001,
    seed: int = 0,
) -> SharedSpan:
    """Fit the shared span of linear tasks ``y = W_i x + noise``, ``vec(W_i) = U v_i``, with no learning rate.

        U, v_1, v_2, … = argmin  Σ_i ‖Y_i − X_i mat(U v_i)ᵀ‖²

    by alternating least squares. Given ``U`` each task's ``v_i`` solves ``k`` equations; given all ``v_i``, each row of
    the weight, ``U_a (n, k)``, solves the same ``n k`` normal equations ``Σ_i X_iᵀX_i ⊗ v_i v_iᵀ``, factored once. The
    start is spectral and the iterations are extrapolated (Anderson), so a few do. It is streamed: memory is a chunk's
    moments, ``(n k)²`` numbers, and ``2 k`` of each task.

    With ``k="auto"`` half of the tasks first fit an over-complete span, an eighth more directions than the spectrum
    recommends and at least 4 more, until what it leaves is noise. It is turned to the principal axes of their filters,
    and the other half says how many of these are real (:class:`RankCut`): however weak, if they stand above noise.
    Where tasks have less than 5/4 as many examples as inputs, or their inputs miss a direction, a quarter of the tasks
    gives the axes, and a quarter judges. If all are real, the number is doubled, up to what the tasks can tell: a
    quarter of their number, 3/4 of the numbers of one, 2/5 of ``examples / n``, and 6144 unknowns a row. Then the span
    is fitted with that ``k`` to all tasks.

    The tasks must be independent: copies of one task among the fitting and the judging ones make noise look shared.

    Args:
        start: ``(m n, k)``, to start from instead of the spectrum.
        tol: stop when an iteration lowers the squared residual by less than this share of what the span's unknowns
            would gain by fitting noise; so the error left is far below the statistical one.
        alpha: the level of the rank cut.

    Raises: DataError when tasks have too few numbers or examples to fit the span, when no direction is confirmed, when
    all are up to the limit, or fewer than 40 tasks came with ``k="auto"`` (ten judges at least, the fewest that can
    reach a p-value of 0.001: all must agree then, as they do without noise); ConfigError for options that cannot work,
    or when ``n k`` exceeds 6144, where the normal equations outgrow memory; ShapeError and NonFiniteError for chunks
    that cannot be used.
    Source: alternating least squares and variable projection: Golub and Pereyra, 1973; extrapolation: Anderson, 1965;
    multi-task subspaces from few examples: Tripuraneni, Jin and Jordan, arXiv:2002.11684.
    """
    if not (k == "auto" or (isinstance(k, int) and k >= 1)):
        raise ConfigError(f'k must be a count of at least 1, or "auto"; got {k!r}')
    if not 0 < alpha < 1:
        raise ConfigError(f"alpha must lie between 0 and 1; got {alpha}")
    fit = _Fit(chunks, tol, max_iterations)
    if k != "auto":
        fit.check_size(k)
    elif fit.n > max(_WIDE, fit.tasks.n_examples):
        fit.check_size(1)  # what no start would change is said before one is looked for
    spectrum = cut = None
    if start is None:
        spectrum = spectral_start(fit.tasks, k=None if k == "auto" else k, seed=seed, evidence=k == "auto")
        basis = spectrum.basis
        wanted = spectrum.k + max(4, ceil(spectrum.k / 8))
    else:
        start = as_tensor(start, "start")
        if start.ndim != 2 or start.shape[0] != fit.m * fit.n or start.shape[1] == 0:
            raise ShapeError(f"start must be ({fit.m * fit.n}, k) for these tasks; got {tuple(start.shape)}")
        if not start.isfinite().all():
            raise NonFiniteError("start holds nan or infinity")
        basis, wanted = start.detach().to("cpu", torch.float64), start.shape[1]
    basis = torch.linalg.qr(fit.tasks.standardise(basis))[0]
    if k == "auto":
        cut, basis = fit.choose(basis, wanted, alpha, seed)
        if cut.k == 0:
            raise DataError(
                f"none of {len(cut.energy)} directions is used by the {cut.n_tasks} judging tasks (p = "
                f"{float(cut.p_value[0]):.2g}): the outputs look like noise, or more tasks or examples are needed"
            )
        k = cut.k
    elif k > basis.shape[1]:
        raise ConfigError(f"k must be between 1 and {basis.shape[1]}; got {k}")
    return replace(fit.prior(fit.alternate(basis[:, :k])), cut=cut, start=spectrum)


class _Fit:
    """Passes over the tasks' moments; counts iterations."""

    def __init__(self, chunks: Chunks, tol: float, max_iterations: int):
        if max_iterations < 1 or not tol >= 0:
            raise ConfigError(
                f"at least one iteration and a tolerance from 0 on are needed; got {max_iterations}, {tol}"
            )
        self.tasks, self.tol, self.max_iterations = Standardised(chunks), tol, max_iterations
        self.m, self.n, self.n_tasks = self.tasks.m, self.tasks.n, self.tasks.n_tasks
        self.iterations, self.converged = 0, False
        self.residuals: list[float] = []
        self.damping = DAMPING  # of fits to half of a task's examples: the share of the outputs that the span leaves
        self._all_moments = Passes(lambda: merged(Moments.of(x, y) for x, y in self.tasks()))
        self._half_moments = Passes(lambda: merged(_both(x, y) for x, y in self.tasks()))

    def check_size(self, k: int) -> None:
        """Raise if ``k`` numbers a task, or the normal equations of ``U``, cannot be fitted."""
        fewest, examples = self.tasks.fewest, self.tasks.n_examples
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
        if self.n * k > _MAX_UNKNOWNS:
            raise ConfigError(
                f"{self.n} inputs times k = {k} unknowns a row are more than {_MAX_UNKNOWNS}; start from "
                "spectral_start and meta-train with Ridge"
            )

    def degrees(self, k: int) -> int:
        """Degrees of freedom of the residual: a span has ``k (m n − k)``, its gauge being free."""
        return self.tasks.numbers - self.n_tasks * k - k * (self.m * self.n - k)

    def alternate(self, span: Tensor, roles: tuple[int, ...] | None = None, overcomplete: bool = False) -> Tensor:
        """Alternate on the tasks of these roles until an iteration gains little.

        An over-complete span has no point of rest to extrapolate to. A direction too many of it can hide in what one
        task's inputs miss, where its size is free; so the tasks' fits are damped, but by no more than they leave.
        """
        span, unknowns = torch.linalg.qr(span)[0], span.shape[1] * (len(span) - span.shape[1])
        last, self.converged, self.residuals = inf, False, []
        history: list[tuple[Tensor, Tensor]] = []
        plain, guessed = span, False  # what alternating alone gives, and whether the span is another
        tol, perfect = (_OVERCOMPLETE_TOL, _OVERCOMPLETE_PERFECT) if overcomplete else (self.tol, _PERFECT)
        self.damping = DAMPING
        for _ in range(_OVERCOMPLETE_ITERATIONS if overcomplete else self.max_iterations):
            step = self._step(span, roles, self.damping if overcomplete else EXACT)
            better, left, energy, numbers, n_tasks = step
            if left > last and guessed:  # an extrapolation too far: back to where it started
                span, history, guessed = plain, [], False
                self.iterations += 1
                continue
            self.residuals.append(left / energy)
            degrees = max(numbers - n_tasks * span.shape[1] - unknowns, numbers // 10, 1)
            self.damping = min(DAMPING, max(EXACT, left / energy))
            # Fitting pure noise, each unknown of the span would gain the noise's variance once.
            settled = last - left <= tol * unknowns * left / degrees
            self.converged = left <= perfect * energy or (settled and not guessed)
            if self.converged:
                break
            # An extrapolation may gain little by chance: what settles is a plain step.
            history = [*history[1 - _MEMORY :], (span, better - span)] if not (overcomplete or settled) else []
            guessed = len(history) > 1
            span, plain, last = extrapolated(history) if guessed else better, better, left
            self.iterations += 1
        return torch.linalg.qr(span if self.converged else plain)[0]

    def choose(self, basis: Tensor, wanted: int, alpha: float, seed: int) -> tuple[RankCut, Tensor]:
        """Fit over-complete spans until the judged tasks reject some direction."""
        if self.n_tasks < 40:
            raise DataError(
                f'k="auto" needs at least 40 tasks, a part of which judge; {self.n_tasks} came. Give k or more tasks'
            )
        generator = torch.Generator().manual_seed(seed)
        size = self.m * self.n
        # Unknowns of a task, and of a row of the span, stay well below what half of the tasks can tell.
        few = min(self.tasks.fewest * 3 // 4, self.tasks.n_examples * 2 // (5 * self.n), _MAX_UNKNOWNS // self.n)
        # Fewer tasks than directions would leave their axes open, and spread what is real over all of them.
        limit = max(1, min(size, few, self.n_tasks // 4))
        while True:
            width = min(wanted, limit)
            self.check_size(width)
            if basis.shape[1] < width:
                more = torch.randn(size, width - basis.shape[1], generator=generator, dtype=torch.float64)
                basis = torch.cat([basis, more], 1)
            span = self.alternate(basis[:, :width], _FITS, overcomplete=True)
            cut, span = self._judged(span, alpha, seed)
            if cut.k < width or width == size:
                return cut, span
            if width == limit:
                raise DataError(
                    f"all {width} directions that these tasks can tell apart seem to be used, so they cannot tell "
                    "the dimension; give more examples a task or more tasks, or give k"
                )
            basis, wanted = span, 2 * width

    def prior(self, span: Tensor) -> SharedSpan:
        """The gauge in which the tasks' filters have covariance ``I``, their mean, and the noise."""
        k = span.shape[1]
        total, left = torch.zeros(k, dtype=torch.float64), 0.0
        filters = Filters(span, self.m, self.n)
        for moments in self._moments(None):
            v, lost = filters.fit(moments)
            total += v.sum(0)
            left += lost
        mean = total / self.n_tasks
        covariance = _second_moment(*self._half_filters(span)) - torch.outer(mean, mean)
        sizes, axes = torch.linalg.eigh((covariance + covariance.mT) / 2)
        # A direction in which tasks do not differ keeps a little room.
        root = sizes.clamp_min(1e-6 * float(sizes[-1].clamp_min(mean.square().sum()))).sqrt()
        noise = self.tasks.scale_y**2 * left / self.degrees(k)
        return SharedSpan(
            U=self.tasks.weights(span @ (axes * root)),
            v0=(axes / root).mT @ mean,
            noise=noise,
            k=k,
            cut=None,
            start=None,
            iterations=self.iterations,
            converged=self.converged,
            residuals=tuple(self.residuals),
        )

    def _role(self, first: int, n_tasks: int, roles: tuple[int, ...]) -> Tensor:
        """Which tasks of a chunk have these roles, by the remainder of their index by 4."""
        return torch.isin(torch.arange(first, first + n_tasks) % 4, torch.tensor(roles))

    def _moments(self, roles: tuple[int, ...] | None) -> Iterator[Moments]:
        """A pass over the moments of all tasks (None), or of those with these roles."""
        seen = 0
        for moments in self._all_moments():
            mine = None if roles is None else self._role(seen, len(moments.energy), roles)
            seen += len(moments.energy)
            if mine is None:
                yield moments
            elif mine.any():
                yield moments.select(mine)

    def _step(
        self, span: Tensor, roles: tuple[int, ...] | None, damping: float
    ) -> tuple[Tensor, float, float, int, int]:
        """One iteration: all filters for this span, then the span for these filters.

        Also: the squared residual before it and the squared outputs, of how many numbers and tasks.
        """
        k = span.shape[1]
        filters = Filters(span, self.m, self.n)
        # Both factors of XᵀX ⊗ v vᵀ are symmetric: a quarter of the products is enough.
        pairs = torch.triu_indices(k, k)
        packed = torch.zeros(self.n * (self.n + 1) // 2, pairs.shape[1], dtype=torch.float64)
        right = torch.zeros(self.m * self.n, k, dtype=torch.float64)
        left, energy, numbers, n_tasks = 0.0, 0.0, 0, 0
        for moments in self._moments(roles):
            v, lost = filters.fit(moments, damping)
            left += lost
            energy += float(moments.energy.sum())
            numbers += int(moments.numbers.sum())
            n_tasks += len(v)
            packed += moments.gram.mT @ (v[:, pairs[0]] * v[:, pairs[1]])
            right += moments.cross.mT @ v
        normal = packed[places(self.n)][:, :, places(k)].transpose(1, 2).reshape(self.n * k, -1)
        right = right.view(self.m, -1)
        # A direction that no task uses is not moved: a proximal term, far below the rest.
        near = 1e-9 * normal.diagonal().mean()
        normal.diagonal().add_(near)
        right += near * span.reshape(self.m, -1)
        factor, info = torch.linalg.cholesky_ex(normal)
        if int(info) != 0:
            raise DataError(
                f"the span of {k} dimensions cannot be fitted to these tasks: the normal equations are singular; "
                "give more tasks or ask for fewer dimensions"
            )
        better, gauge = torch.linalg.qr(torch.cholesky_solve(right.mT, factor).mT.reshape(-1, k))
        better = torch.where(gauge.diagonal() < 0, -better, better)  # near the old one, column by column
        return better, left, energy, numbers, n_tasks

    @cached_property
    def _clear(self) -> Tensor:
        """Which tasks have inputs that miss no direction: there a direction too many cannot hide."""
        return torch.cat([covered(moments, self.m, self.n) for moments in self._half_moments()])

    def _judged(self, span: Tensor, alpha: float, seed: int) -> tuple[RankCut, Tensor]:
        """The span turned to its directions by energy, strongest first, and how many of them the judges find real."""
        a, b = self._half_filters(span)
        role = torch.arange(self.n_tasks) % 4
        fitting = torch.isin(role, torch.tensor(_FITS))
        # A hidden direction has any size, and the axes go astray. Where none hides, the fitting tasks know the axes
        # best, and twice as many tasks judge.
        clear = fitting & self._clear
        enough = 2 * int(clear.sum()) > int(fitting.sum())
        turning = clear if enough else clear | torch.isin(role, torch.tensor(_TURNS))
        judging = ~fitting if enough else torch.isin(role, torch.tensor(_JUDGES))
        # The fits are damped by a multiple of the identity, so filters turn as the span does.
        axes = torch.linalg.eigh(_second_moment(a[turning], b[turning]))[1].flip(1)
        return judged(a[judging] @ axes, b[judging] @ axes, alpha, seed), span @ axes

    def _half_filters(self, span: Tensor) -> tuple[Tensor, Tensor]:
        """Filters fitted to each half of a task's examples, on average those of the task: ``(tasks, k)`` each.

        A half may have hardly more numbers than unknowns, so the fits are damped; what the damping keeps on average is
        measured and undone.
        """
        filters, k = Filters(span, self.m, self.n), span.shape[1]
        kept = torch.zeros(k, k, dtype=torch.float64)
        fits: list[Tensor] = []
        for moments in self._half_moments():
            both = Moments(*(part.flatten(0, 1) for part in moments))
            v, reach = filters.damped(both, self.damping)
            kept += reach
            fits.append(v)
        v = torch.cat(fits) @ torch.linalg.pinv(kept / (2 * self.n_tasks), hermitian=True)
        return v[0::2], v[1::2]


def _second_moment(a: Tensor, b: Tensor) -> Tensor:
    """``E[v vᵀ]`` without bias by noise, from filters of both halves of tasks' examples."""
    products = a.mT @ b
    return (products + products.mT) / (2 * len(a))


def _both(x: Tensor, y: Tensor) -> Moments:
    """Moments of both halves of each task's examples, on an axis after that of the tasks."""
    sides = (Moments.of(*half) for half in halves(x, y))
    return Moments(*(torch.stack(parts, 1) for parts in zip(*sides, strict=True)))
