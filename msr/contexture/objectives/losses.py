"""The objectives that learn a context, as functions of second moments, each with its optimum in closed form."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from msr.contexture.objectives.moments import Moments
from msr.contexture.spectra import Spectrum
from msr.errors import ConfigError

__all__ = ["KISE", "SVME", "LowRank", "NonContrastive", "Objective", "SpectralContrastive", "VICSurrogate"]


class Objective(ABC):
    """A loss of encoders with ``d`` outputs, and the least value that it can have on a context.

    It is a function of the second moments of the centred encoders, so that the same code is exact on a whole table and
    an estimate on a batch.
    """

    @abstractmethod
    def loss(self, moments: Moments) -> Tensor:
        """The loss, a scalar. Raises: ConfigError for moments of one encoder where two are needed."""

    @abstractmethod
    def optimum(self, spectrum: Spectrum, d: int) -> float:
        """The least value over all encoders with ``d`` outputs. Raises: ConfigError for a ``d`` unknown."""

    @abstractmethod
    def sizes(self, spectrum: Spectrum, d: int) -> Tensor:
        """``(d,)``: the variances that the ``d`` functions have at the optimum; 0 for one that collapses."""


@dataclass(frozen=True)
class SVME(Objective):
    """``E‖Φ~(X) − Ψ~(A)‖² + (λ/2) ‖Cov[Φ] − I‖²``, two encoders.

    For fixed ``Φ`` the best ``Ψ`` is ``T* Φ``. At the optimum ``Φ`` spans the top ``d`` singular functions for which
    ``λ > 1 − s_i²``, each with the variance ``1 − (1 − s_i²)/λ``; the others collapse to 0. The least value is
    ``Σ (q_i − q_i²/(2λ))`` with ``q_i = 1 − s_i²``, and ``λ/2`` for each that collapses.

    With ``λ`` far above 1 gradient descent stops at saddles.
    Source: the two-encoder objective of the code of arXiv:2505.01557; the exact penalty and its optimum are derived
    here, and tested against free minimisation.
    """

    penalty: float = 1.0

    def __post_init__(self) -> None:
        _check_penalty(self.penalty)

    def loss(self, moments: Moments) -> Tensor:
        """The loss, a scalar."""
        contexts = _of_contexts(moments, "SVME")
        distance = _trace(moments.first) + _trace(contexts) - 2 * moments.cross.trace()
        return distance + self.penalty / 2 * _from_identity(moments.first)

    def optimum(self, spectrum: Spectrum, d: int) -> float:
        """``Σ (q_i − q_i²/(2λ))``, ``λ/2`` where ``q_i ≥ λ``."""
        q = _losses(spectrum, d)
        return float(torch.where(q < self.penalty, q - q.square() / (2 * self.penalty), self.penalty / 2).sum())

    def sizes(self, spectrum: Spectrum, d: int) -> Tensor:
        """``1 − q_i/λ``, at least 0."""
        return (1 - _losses(spectrum, d) / self.penalty).clamp(min=0)


@dataclass(frozen=True)
class KISE(Objective):
    """``E‖Φ~(X)‖² − E[Φ~(X)·Φ~(X')] + (λ/2) ‖Cov[Φ] − I‖²`` for two points ``X, X'`` of the same context: one encoder.

    The second term is ``E[k(X, X') Φ~(X)·Φ~(X')]`` over independent points. The optimum is that of :class:`SVME`.
    Source: as :class:`SVME`; the one-encoder objective for kernels.
    """

    penalty: float = 1.0

    def __post_init__(self) -> None:
        _check_penalty(self.penalty)

    def loss(self, moments: Moments) -> Tensor:
        """The loss, a scalar."""
        return _trace(moments.first) - moments.cross.trace() + self.penalty / 2 * _from_identity(moments.first)

    def optimum(self, spectrum: Spectrum, d: int) -> float:
        """``Σ (q_i − q_i²/(2λ))``, ``λ/2`` where ``q_i ≥ λ``."""
        return SVME(self.penalty).optimum(spectrum, d)

    def sizes(self, spectrum: Spectrum, d: int) -> Tensor:
        """``1 − q_i/λ``, at least 0."""
        return SVME(self.penalty).sizes(spectrum, d)


@dataclass(frozen=True)
class SpectralContrastive(Objective):
    """``−E[Ψ~(A)·Ψ~(A')] + ½ E[(Ψ~(A)·Ψ~(A''))²]``: ``A, A'`` of the same point, ``A''`` independent; one encoder.

    The encoder is of contexts, and that of points is its mean ``Φ = T Ψ``. At the optimum ``Ψ~`` is a rotation of
    ``s_i ν_i``. The least value is ``−½ Σ s_i⁴``.
    Source: HaoChen et al., 2021 (arXiv:2106.04156); Theorem 10 of arXiv:2505.01557.
    """

    def loss(self, moments: Moments) -> Tensor:
        """The loss, a scalar."""
        return -moments.cross.trace() + 0.5 * (moments.first[0] * moments.first[1]).sum()

    def optimum(self, spectrum: Spectrum, d: int) -> float:
        """``−½ Σ s_i⁴``."""
        return -0.5 * float((1 - _losses_of_contexts(spectrum, d)).square().sum())

    def sizes(self, spectrum: Spectrum, d: int) -> Tensor:
        """``s_i²``."""
        return 1 - _losses_of_contexts(spectrum, d)


@dataclass(frozen=True)
class NonContrastive(Objective):
    """``E‖Ψ(A) − Ψ(A')‖² + (λ/2) ‖Cov[Ψ] − I‖²`` for two contexts ``A, A'`` of the same point: one encoder.

    The idealised form of VICReg and Barlow Twins. With the constraint in place of the penalty the least value is
    ``2 Σ q_i``, ``q_i = 1 − s_i²``; with it, ``Σ (2 q_i − 2 q_i²/λ)``, and ``λ/2`` where ``2 q_i ≥ λ``.
    Source: Theorem 10 of arXiv:2505.01557; the penalty form is derived here.
    """

    penalty: float = 4.0

    def __post_init__(self) -> None:
        _check_penalty(self.penalty)

    def loss(self, moments: Moments) -> Tensor:
        """The loss, a scalar."""
        distance = 2 * (_trace(moments.first) - moments.cross.trace())
        return distance + self.penalty / 2 * _from_identity(moments.first)

    def optimum(self, spectrum: Spectrum, d: int) -> float:
        """``Σ (2 q_i − 2 q_i²/λ)``, ``λ/2`` where ``2 q_i ≥ λ``."""
        q = 2 * _losses_of_contexts(spectrum, d)
        return float(torch.where(q < self.penalty, q - q.square() / (2 * self.penalty), self.penalty / 2).sum())

    def sizes(self, spectrum: Spectrum, d: int) -> Tensor:
        """``1 − 2 q_i/λ``, at least 0."""
        return (1 - 2 * _losses_of_contexts(spectrum, d) / self.penalty).clamp(min=0)


@dataclass(frozen=True)
class LowRank(Objective):
    """``−2 E[Φ~(X)·Ψ~(A)] + E[(Φ~(X')·Ψ~(A))²]`` with an independent point ``X'``: two encoders.

    The best fit of rank ``d`` to the ratio ``P(x, a) / (P(x) P(a)) − 1``, whose singular value decomposition it finds.
    The least value is ``−Σ s_i²``.
    Source: the low-rank objective of the code of arXiv:2505.01557; Eckart and Young, 1936.
    """

    def loss(self, moments: Moments) -> Tensor:
        """The loss, a scalar."""
        contexts = _of_contexts(moments, "LowRank")
        # Estimates from different halves, since both covariances of one half hold the same draws.
        product = (moments.first[0] * contexts[1]).sum() + (moments.first[1] * contexts[0]).sum()
        return -2 * moments.cross.trace() + product / 2

    def optimum(self, spectrum: Spectrum, d: int) -> float:
        """``−Σ s_i²``."""
        return -spectrum.best_energy(d)

    def sizes(self, spectrum: Spectrum, d: int) -> Tensor:
        """``s_i``: the product of both encoders' variances is ``s_i²``, however it is split."""
        return (1 - _losses(spectrum, d)).clamp(min=0).sqrt()


@dataclass(frozen=True)
class VICSurrogate:
    """The published surrogate of :class:`SVME`, with a hinge on deviations in place of ``Cov = I``.

    ``(E‖Φ~ − Ψ~‖²/d + c_s mean_j max(0, 1 − √(var_j + 10⁻⁴)) + c_c mean_{i≠j} Cov_ij²) / (1 + c_s + c_c)``, with
    ``c_s = std`` and ``c_c = cov``. Its optimum is not known in closed form, and it may collapse functions.
    Source: the code of arXiv:2505.01557 (github.com/RuntianZ/contextures-dissertation).
    """

    std: float = 1.0
    cov: float = 1.0

    def loss(self, moments: Moments) -> Tensor:
        """The loss, a scalar."""
        contexts = _of_contexts(moments, "VICSurrogate")
        covariance = moments.first.mean(dim=0)
        d = len(covariance)
        distance = (covariance.trace() + contexts.mean(dim=0).trace() - 2 * moments.cross.trace()) / d
        hinge = torch.relu(1 - (covariance.diagonal() + 1e-4).sqrt()).mean()
        apart = covariance - torch.diag(covariance.diagonal())
        return (distance + self.std * hinge + self.cov * apart.square().sum() / max(1, d * (d - 1))) / (
            1 + self.std + self.cov
        )


def _of_contexts(moments: Moments, name: str) -> Tensor:
    """The covariances of the second encoder. Raises: ConfigError where there is none."""
    if moments.second is None:
        raise ConfigError(f"{name} has two encoders, of points and of contexts; the moments are of one")
    return moments.second


def _check_penalty(penalty: float) -> None:
    """Raise ConfigError for a weight of the penalty that is not above 0."""
    if not 0 < penalty < float("inf"):
        raise ConfigError(f"penalty must be above 0; got {penalty}")


def _trace(covariances: Tensor) -> Tensor:
    """The trace of the mean of two covariances."""
    return covariances.diagonal(dim1=-2, dim2=-1).sum(dim=-1).mean()


def _from_identity(covariances: Tensor) -> Tensor:
    """``‖Cov − I‖²`` as a product of two estimates of ``Cov − I``."""
    eye = torch.eye(covariances.shape[-1], dtype=covariances.dtype, device=covariances.device)
    return ((covariances[0] - eye) * (covariances[1] - eye)).sum()


def _losses(spectrum: Spectrum, d: int) -> Tensor:
    """``q_i = 1 − s_i²`` of the top ``d``. Raises: ConfigError for more than there are, or are known."""
    if d > len(spectrum.values):
        what = "functions of mean 0 that there are" if spectrum.complete else "values known"
        raise ConfigError(f"{spectrum.name}: d must be at most the {len(spectrum.values)} {what}; got {d}")
    return 1 - spectrum.squares[:d]


def _losses_of_contexts(spectrum: Spectrum, d: int) -> Tensor:
    """As :func:`_losses`, for an encoder of contexts: of ``m`` contexts there are ``m − 1`` functions of mean 0."""
    right = spectrum.context_functions
    if right is not None and d > len(right) - 1:
        raise ConfigError(
            f"{spectrum.name}: {len(right)} contexts have {len(right) - 1} functions of mean 0; got d = {d}"
        )
    return _losses(spectrum, d)
