"""How much of a context an encoder has learned, whatever it was trained by."""

from dataclasses import dataclass

import torch
from torch import Tensor

from msr.arrays import takes_arrays
from msr.brief import Brief
from msr.contexture.contexts.base import Context
from msr.contexture.spectra import Spectrum
from msr.errors import ConfigError, DataError, NonFiniteError, ShapeError

__all__ = [
    "Captured",
    "captured",
    "checked_encoder",
    "mutual_neighbours",
    "orthonormal",
    "principal_angle",
    "squared_correlation",
    "trace_gap",
]

_RANK = 1e-10
"""Share of the largest variance, all columns at the same size, below which a direction is no function of its own."""

_ALIKE = 1e-9
"""Cosine at or below which a function has no part in an encoder."""


@dataclass(frozen=True, eq=False, repr=False)
class Captured(Brief):
    """What the span of an encoder captures of a context.

    Attributes:
        squares: ``(rank,)`` float64, descending: the eigenvalues ``λ`` of ``B v = λ C v`` with ``C = Cov[Φ]`` and
            ``B = Cov[T* Φ]``. Each is at most the ``s_i²`` of its number.
        functions: ``(n, rank)`` float64, the functions in the span that go with them: of mean 0, mean square 1 and
            uncorrelated. The first ``d`` are the best ``d`` of an encoder that is wider than needed.
        mixing: ``(d, rank)`` float64: the functions are the centred encoder times it.
        means: ``(d,)`` float64, the encoder's means.
    """

    squares: Tensor
    functions: Tensor
    mixing: Tensor
    means: Tensor

    @property
    def energy(self) -> float:
        """The ratio trace ``tr(C⁻¹ B) = Σ λ_i``: at most ``s_1² + … + s_d²``, which it is where all is learned."""
        return float(self.squares.sum())

    def share(self, spectrum: Spectrum, d: int | None = None) -> float:
        """The energy of the best ``d`` functions as a share of the most that ``d`` functions can have, 0 to 1.

        ``d`` is by default the encoder's rank, at most the number of values known.
        Raises: ConfigError for a ``d`` unknown; DataError where the context has no energy.
        """
        wanted = min(len(self.squares), len(spectrum.values)) if d is None else d
        most = spectrum.best_energy(wanted)
        if most <= 0:
            raise DataError(f"{spectrum.name}: the context says nothing about its points, so there is nothing to learn")
        return float(self.squares[:wanted].sum()) / most


@takes_arrays("encoder")
def captured(context: Context, encoder: Tensor) -> Captured:
    """What an encoder's span captures of a context: see :class:`Captured`.

    With all columns at the same size, directions whose variance is below 1e-10 of the largest count as no function.
    Shapes: ``encoder (n, d)``, its values at the points of the context.
    Raises: ShapeError, NonFiniteError; DataError for an encoder that is constant.
    Source: the ratio trace of arXiv:2505.01557, Definition 21 and Lemma 22.
    """
    values = checked_encoder(encoder, context.n, context.name)
    weights = context.weights
    means, scales, _, whitening = _whitened(weights, values)
    functions = (values - means) @ (whitening / scales[:, None])
    smoothed = context.smoothed(functions)
    moment = functions.mT @ (weights[:, None] * smoothed)
    squares, vectors = torch.linalg.eigh((moment + moment.mT) / 2)
    vectors = vectors.flip(-1)
    return Captured(squares.flip(0).clamp(0, 1), functions @ vectors, whitening / scales[:, None] @ vectors, means)


@takes_arrays("encoder")
def squared_correlation(spectrum: Spectrum, encoder: Tensor, d: int | None = None) -> float:
    """The mean squared canonical correlation of an encoder with the top ``d`` singular functions, 0 to 1.

    ``d`` is by default the encoder's width. Where it cuts an eigenspace, the functions of that space are free: the
    correlation is with the best choice of ``d`` functions among them. 1 where the encoder's span holds such a choice.
    Shapes: ``encoder (n, d')``.
    Raises: ShapeError; ConfigError, DataError as :meth:`Spectrum.whole`.
    Source: Hotelling, 1936; the main metric of arXiv:2505.01557.
    """
    functions, basis = _compared(spectrum, encoder, d)
    return float((functions.mT @ basis).square().sum()) / functions.shape[1]


@takes_arrays("encoder")
def principal_angle(spectrum: Spectrum, encoder: Tensor, d: int | None = None) -> float:
    """The largest principal angle between the top ``d`` singular functions and an encoder's span, in degrees.

    It is 0 where the span holds them, and 90 where it misses a direction. Where ``d`` cuts an eigenspace, the best
    choice of functions in that space counts, as in :func:`squared_correlation`.
    Shapes: ``encoder (n, d')``. Raises: as :func:`squared_correlation`.
    """
    functions, basis = _compared(spectrum, encoder, d)
    if basis.shape[1] < functions.shape[1]:
        return 90.0
    # Of a small angle the sine is known to rounding, and the cosine to half of the digits; of a large one the cosine.
    sine = torch.linalg.matrix_norm(functions - basis @ (basis.mT @ functions), ord=2)
    cosine = torch.linalg.svdvals(functions.mT @ basis)[-1]
    return float(torch.rad2deg(torch.atan2(sine, cosine)))


@takes_arrays("first", "second")
def mutual_neighbours(first: Tensor, second: Tensor, k: int = 10, *, union: bool = False) -> float:
    """How many of a point's ``k`` nearest neighbours two encoders share, on average over the points, 0 to 1.

    Both are centred and whitened before. The share is of ``k``; with ``union`` it is of the neighbours in either.
    Shapes: ``first (n, d)``, ``second (n, d')``.
    Raises: ShapeError; ConfigError unless ``k`` is from 1 to ``n − 1``; DataError for a constant encoder.
    Source: Huh et al., 2024 (share of ``k``); arXiv:2505.01557 (union).
    """
    if first.ndim != 2 or second.ndim != 2 or len(first) != len(second):
        raise ShapeError(f"two encoders of the same points are needed; got {tuple(first.shape)}, {tuple(second.shape)}")
    n = len(first)
    if not 1 <= k < n:
        raise ConfigError(f"k must be from 1 to {n - 1}, one below the number of points; got {k}")
    near = []
    for encoder in (first, second):
        basis = orthonormal(torch.full((n,), 1 / n, dtype=torch.float64), encoder)
        distances = torch.cdist(basis, basis, compute_mode="donot_use_mm_for_euclid_dist")
        distances.fill_diagonal_(torch.inf)
        chosen = torch.zeros(n, n, dtype=torch.bool)
        near.append(chosen.scatter(1, distances.argsort(dim=1, stable=True)[:, :k], True))
    shared = (near[0] & near[1]).sum(dim=1).double()
    of = (near[0] | near[1]).sum(dim=1) if union else k
    return float((shared / of).mean())


def trace_gap(spectrum: Spectrum, what: Captured) -> float:
    """``TG``, the root of ``min_{d'} (s_1² + … + s_{d'+1}² − (λ_1 + … + λ_{d'}))`` over ``d'`` from 1 to the rank.

    Every function of mean square 1 that is uncorrelated with the best ``d'`` keeps at most this much:
    ``|T* f| ≤ TG``. For an encoder that has learned the context it is ``s_{d+1}``.
    Raises: ConfigError where the spectrum knows too few values.
    Source: Definition 23 of arXiv:2505.01557 with the root that its Theorem 24 needs: as printed, without it, the bound
    of the theorem was broken in 521 of 3,000 random cases; with it in none.
    """
    rank = len(what.squares)
    squares = torch.zeros(rank + 1, dtype=torch.float64)
    known = spectrum.squares[: rank + 1]
    if len(known) <= rank and not spectrum.complete:
        raise ConfigError(f"{spectrum.name}: {rank + 1} values are needed, and {len(known)} are known")
    squares[: len(known)] = known
    gaps = squares.cumsum(0)[1:] - what.squares.cumsum(0)
    return float(gaps.min().clamp(min=0).sqrt())


def checked_encoder(encoder: Tensor, n: int, name: str) -> Tensor:
    """Values ``(n, d)`` of an encoder, in float64.

    Raises: ShapeError for another shape, or no column; NonFiniteError on nan or infinity.
    """
    if encoder.ndim != 2 or len(encoder) != n or not encoder.shape[1]:
        raise ShapeError(f"{name}: values ({n}, d) are needed, a row for each point; got {tuple(encoder.shape)}")
    if not torch.isfinite(encoder).all():
        raise NonFiniteError(f"{name}: the values hold nan or infinity")
    return encoder.detach().cpu().double()


def orthonormal(weights: Tensor, encoder: Tensor) -> Tensor:
    """An orthonormal basis ``(n, rank)`` of the centred encoder, in coordinates scaled by the roots of the weights.

    Shapes: ``weights (n,)``, ``encoder (n, d)``.
    Raises: ShapeError, NonFiniteError; DataError for a constant encoder.
    """
    return _whitened(weights, checked_encoder(encoder, len(weights), "the encoder"))[2]


def _whitened(weights: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The means and sizes of an encoder's columns, an orthonormal basis of what they span, and how it is mixed of them.

    Each column is first divided by its own size: an output in small units is a function like others. A column that
    varies by rounding alone has the size 1 and is 0.
    """
    means = weights @ values
    centred = values - means
    scales = (weights @ centred.square()).sqrt()
    rounding = len(values) * torch.finfo(torch.float64).eps * values.abs().amax(dim=0)
    varies = scales > rounding
    if not bool(varies.any()):
        raise DataError("the encoder is the same at all points")
    scales = torch.where(varies, scales, 1.0)
    columns = torch.where(varies, centred / scales, 0.0)
    basis, sizes, right = torch.linalg.svd(weights.sqrt()[:, None] * columns, full_matrices=False)
    kept = sizes > _RANK**0.5 * sizes[0]
    # A column that does not vary has no part in the mixing, whatever its rounding is.
    return means, scales, basis[:, kept], varies[:, None] * right.mT[:, kept] / sizes[kept]


def _compared(spectrum: Spectrum, encoder: Tensor, d: int | None) -> tuple[Tensor, Tensor]:
    """The top ``d`` functions ``(n, d)``, and a basis ``(n, rank)`` of the encoder: orthonormal columns both.

    Where ``d`` cuts an eigenspace, those of its functions are taken that are nearest to what the encoder holds beside
    the functions before it.
    """
    values = checked_encoder(encoder, len(spectrum.weights), spectrum.name)
    wanted = min(encoder.shape[1], len(spectrum.values)) if d is None else d
    stop = spectrum.whole(wanted)
    basis = orthonormal(spectrum.weights, values)
    functions = spectrum.weights.sqrt()[:, None] * spectrum.functions[:, :stop]
    if stop == wanted:
        return functions, basis
    start = next(start for start, end in spectrum.blocks() if end == stop)
    # What the encoder holds beside the fixed functions is orthogonal to what they leave in it.
    _, sizes, right = torch.linalg.svd(functions[:, :start].mT @ basis, full_matrices=True)
    rest = basis @ right.mT[:, int((sizes > _ALIKE).sum()) :]
    choices, _, _ = torch.linalg.svd(functions[:, start:].mT @ rest, full_matrices=True)
    return torch.cat([functions[:, :start], functions[:, start:] @ choices[:, : wanted - start]], dim=1), basis
