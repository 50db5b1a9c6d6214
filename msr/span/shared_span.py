"""The span that all tasks share, in closed form: spectral start, alternating least squares, the dimension, a prior."""

from dataclasses import dataclass
from math import ceil
from typing import Literal

import torch
from torch import Tensor

from msr.arrays import as_tensor
from msr.errors import ConfigError, DataError, NonFiniteError, ShapeError
from msr.span.alternation import Alternation
from msr.span.chunks import Chunks
from msr.span.dimension import choose_dimension, half_filters
from msr.span.filters import Filters, second_moment
from msr.span.rank_cut import RankCut
from msr.span.spectral import SpectralStart, spectral_start
from msr.span.thresholds import THRESHOLDS

__all__ = ["SharedSpan", "find_span"]

# From this many inputs on a spectral start takes long. So data with which no fit can succeed are refused before it.
_COSTLY_START = 128


@dataclass(frozen=True, eq=False)
class SharedSpan:
    """A sharing pattern fitted to many tasks: ``vec(W_i) = U v_i`` with ``v_i`` of mean ``v0`` and covariance ``I``.

    Attributes:
        U: ``(m n, k)``, float64, in the basis that gives filters covariance ``I``, and in the units of the data; only
            its span is determined by ``vec(W) = U v``.
        v0: ``(k,)``, where a new task starts.
        noise: the variance of one number of ``y`` about the tasks' own fits, per degree of freedom, in units of ``y²``.
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

        ``numbers`` counts the output numbers of a support set (examples times outputs). The penalty is not below 1e-10,
        since a smaller one has no effect in float32. Raises: ConfigError for less than one number.
        """
        if numbers < 1:
            raise ConfigError(f"a support set has at least one output number; got {numbers}")
        return max(self.noise / numbers, THRESHOLDS().least_penalty)


def find_span(
    chunks: Chunks,
    *,
    k: int | Literal["auto"] = "auto",
    start: Tensor | None = None,
    max_iterations: int = 30,
    tol: float = 1e-3,
    alpha: float = 0.001,
    seed: int = 0,
    stability: bool = True,
) -> SharedSpan:
    """Fit the shared span of linear tasks ``y = W_i x + noise``, ``vec(W_i) = U v_i``, with no learning rate.

        U, v_1, v_2, … = argmin  Σ_i ‖Y_i − X_i mat(U v_i)ᵀ‖²

    by alternating least squares. Given ``U`` each task's ``v_i`` solves ``k`` equations; given all ``v_i``, each row of
    the weight, ``U_a (n, k)``, solves the same ``n k`` normal equations ``Σ_i X_iᵀX_i ⊗ v_i v_iᵀ``, factored once. The
    start is spectral and the iterations are extrapolated (Anderson), so a few are enough. Tasks are streamed: memory
    holds a chunk's moments, ``(n k)²`` numbers, and ``2 k`` of each task.

    With ``k="auto"`` half of the tasks first fit an over-complete span: it has an eighth more directions than the
    spectrum recommends, and at least 4 more. The span is turned to the principal axes of the tasks' filters, and the
    other half of the tasks says how many of the axes are real (:class:`RankCut`). A real axis may be weak, as long as
    it stands above the noise. Where tasks have less than 5/4 as many examples as inputs, or their inputs miss a
    direction, a quarter of the tasks gives the axes, and a quarter judges. Where every axis is real, the span may be
    too narrow, so it is fitted again with twice as many directions. The limits are what the tasks can tell: a quarter
    of the number of tasks, 3/4 of the output numbers of the smallest task, 2/5 of ``examples / n``, and 6144 unknowns a
    row. At last the span is fitted to all tasks with the ``k`` that was found.

    The tasks must be independent: copies of one task among the fitting and the judging ones make noise look shared.

    Args:
        start: ``(m n, p)``, in the units of the data, to start from instead of the spectrum. Of it the first ``k``
            columns are used, so ``p`` is ``k`` at least; with ``"auto"``, ``p`` is the width of the first span.
        tol: stop when an iteration lowers the squared residual by less than this share of what the span's unknowns
            would gain by fitting noise; so the error left is far below the statistical one.
        alpha: the level of the rank cut.
        max_iterations: of each fit that is not over-complete.
        seed: of the random directions of the start, and of the random signs of the rank cut.
        stability: false leaves ``start.stability`` out (it is nan), which decides nothing and takes a while.

    Raises: DataError when tasks have too few numbers or examples to fit the span, when no direction is confirmed, when
    all are up to the limit, or for fewer than 40 tasks with ``k="auto"`` (ten judges at least, the fewest that can
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
    alternation = Alternation(chunks, tol, max_iterations)
    if k != "auto":
        alternation.check_size(k)
    elif alternation.n > max(_COSTLY_START, alternation.tasks.n_examples):
        alternation.check_size(1)  # more inputs than examples: no start would change that
    spectrum = None
    if start is None:
        t = THRESHOLDS()
        spectrum = spectral_start(
            alternation.tasks,
            k=None if k == "auto" else k,
            seed=seed,
            evidence=k == "auto",
            stability=stability and k == "auto",
        )
        basis = spectrum.basis
        wanted = spectrum.k + max(t.least_surplus, ceil(t.surplus_share * spectrum.k))
    else:
        basis = _checked_start(start, alternation.m * alternation.n)
        wanted = basis.shape[1]
    basis = torch.linalg.qr(alternation.tasks.standardise(basis))[0]
    cut = None
    if k == "auto":
        cut, basis = choose_dimension(alternation, basis, wanted, alpha, seed)
        if cut.k == 0:
            raise DataError(
                f"none of {len(cut.energy)} directions is used by the {cut.n_tasks} judging tasks (p = "
                f"{float(cut.p_value[0]):.2g}): the outputs look like noise, or more tasks or examples are needed"
            )
        k = cut.k
    elif k > basis.shape[1]:
        raise ConfigError(f"k must be between 1 and {basis.shape[1]}; got {k}")
    return _with_prior(alternation, alternation.fit(basis[:, :k]), cut, spectrum)


def _checked_start(start: Tensor, size: int) -> Tensor:
    """The caller's start as a float64 tensor on the CPU.

    Raises: ShapeError unless it is ``(size, k)`` with a column at least; NonFiniteError for nan or infinity.
    """
    start = as_tensor(start, "start")
    if start.ndim != 2 or start.shape[0] != size or start.shape[1] == 0:
        raise ShapeError(f"start must be ({size}, k) for these tasks; got {tuple(start.shape)}")
    if not start.isfinite().all():
        raise NonFiniteError("start holds nan or infinity")
    return start.detach().to("cpu", torch.float64)


def _with_prior(
    alternation: Alternation, span: Tensor, cut: RankCut | None, spectrum: SpectralStart | None
) -> SharedSpan:
    """The shared span in the basis that gives filters covariance ``I``, from ``span (m n, k)`` for standardised data.

    The mean filter, the noise and the evidence of the fit go with it; ``U`` and the noise are in the units of the data.
    """
    k = span.shape[1]
    total = torch.zeros(k, dtype=torch.float64)
    residual = 0.0
    filters = Filters(span, alternation.m, alternation.n)
    for moments in alternation.moments():
        v, part = filters.fit(moments)
        total += v.sum(0)
        residual += part
    mean = total / alternation.n_tasks
    # The second moment from two halves, since the noise of the fits would add to that of the fits themselves.
    covariance = second_moment(*half_filters(alternation, span, filters)) - torch.outer(mean, mean)
    variances, axes = torch.linalg.eigh((covariance + covariance.mT) / 2)
    # Where tasks hardly differ, as where all have one weight, the squared mean filter is the size to compare with.
    least = THRESHOLDS().least_variance * float(variances[-1].clamp_min(mean.square().sum()))
    deviations = variances.clamp_min(least).sqrt()
    return SharedSpan(
        U=alternation.tasks.weights(span @ (axes * deviations)),
        v0=(axes / deviations).mT @ mean,
        noise=alternation.tasks.scale_y**2 * residual / alternation.degrees(k),
        k=k,
        cut=cut,
        start=spectrum,
        iterations=alternation.iterations,
        converged=alternation.converged,
        residuals=tuple(alternation.residuals),
    )
