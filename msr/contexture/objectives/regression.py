"""Supervised regression on labels, in the form whose solution is exactly the context of the labels."""

import torch
from torch import Tensor

from msr.arrays import takes_arrays
from msr.contexture.contexts.tables import TableContext
from msr.contexture.spectra import Spectrum
from msr.errors import ShapeError

__all__ = ["balanced_regression", "balanced_regression_optimum"]


@takes_arrays("scores", "labels", "marginal")
def balanced_regression(scores: Tensor, labels: Tensor, marginal: Tensor) -> Tensor:
    """``E‖W Φ(X) + b − e_A / √P(A)‖²``: the squared error of scores from one-hot labels, scaled by their rarity.

    Over all ``W``, ``b`` and encoders with ``d`` outputs it is least where ``Φ`` spans the top ``d`` singular functions
    of the context ``A``, whether labels are random given the point or not. The form that is published as
    class-balanced, weights ``1/√P(A)`` of the squared errors of plain one-hot labels, has another solution (5° off in
    a random example) unless labels are a function of the point.

    Shapes: ``scores (b, m)``, ``labels (b,)`` int64 from 0 to ``m − 1``, ``marginal (m,)``, the probability of each
    label, above 0 where it occurs; the result is a scalar.
    Raises: ShapeError.
    Source: Theorem 7 of arXiv:2505.01557, in the exact form derived here.
    """
    if scores.ndim != 2 or labels.shape != scores.shape[:1] or marginal.shape != scores.shape[1:]:
        raise ShapeError(
            f"scores (b, m), labels (b,) and marginal (m,) are needed; got {tuple(scores.shape)}, "
            f"{tuple(labels.shape)} and {tuple(marginal.shape)}"
        )
    targets = torch.zeros_like(scores).scatter(1, labels[:, None], 1.0)
    # A label that never occurs has no target but 0.
    scale = torch.where(marginal > 0, marginal, 1).rsqrt().to(scores)
    return (scores - targets * scale).square().sum(dim=1).mean()


def balanced_regression_optimum(context: TableContext, spectrum: Spectrum, d: int) -> float:
    """The least value of :func:`balanced_regression`: ``(m − 1) − (s_1² + … + s_d²)`` for ``m`` labels that occur.

    Raises: ConfigError for a ``d`` unknown.
    """
    return int((context.marginal > 0).sum()) - 1 - spectrum.best_energy(d)
