"""Quadratic forms of a linear layer's residuals that have mean zero under noise of any, unequal, variances.

A form is ``rᵀ C r`` with ``C = M (K − D) M``: ``M`` is the residual maker of the layer, ``K`` a kernel of features of
the inputs, and ``D`` the diagonal matrix that makes the diagonal of ``C`` vanish, ``(M ∘ M) d = diag(M K M)``. If noise
is independent over examples and has mean zero given the inputs, then ``E rᵀ C r = Σ Cᵢᵢ σᵢ² = 0``, exactly, whatever
the variances ``σᵢ²`` are. These are the normal equations of a projection, so they always have a solution: ``C`` is the
matrix nearest to ``M K M`` among those of the form ``M A M`` with a zero diagonal. With too few examples that is
``C = 0``.

Source: Cattaneo, Jansson and Newey (2018, doi:10.1080/01621459.2017.1328360) and Kline, Saggio and Sølvsten
(2020, doi:10.3982/ECTA16410) for unbiased estimates of variance components under heteroscedastic noise.
"""

import torch
from torch import Tensor

from msr.discovery.data.passes import Derived, example_mask

__all__ = ["KERNEL_ROUNDING", "ResidualMakers", "form_floor", "hollow", "residual_maker"]

KERNEL_ROUNDING = 1e-16
"""Share of a kernel's squared norm; a residual kernel with less is rounding in float64, and counts as zero."""

# Share of the largest singular value of a task's inputs; a direction with less is rounding, and counts as not taken.
_SINGULAR_ROUNDING = 1e-7
# The equations for D may be singular. A ridge of this size makes them solvable, and two steps of iterative refinement
# take the error of the ridge away again.
_RIDGE = 1e-10
_REFINEMENTS = 2
# Numbers of the residual makers of all tasks that are kept: 16 MiB.
_KEPT_NUMBERS = 2**21


class ResidualMakers:
    """The residual makers of tasks, slice by slice; a slice that was asked for before is not made again.

    Args:
        x, counts: of all tasks, as in :func:`residual_maker`.
    """

    def __init__(self, x: Tensor | Derived, counts: Tensor):
        self._x = x
        self._counts = counts
        # Where all of them are small together they are kept, which is a limit of memory. Each is made task by task, so
        # the slices in which they were asked for change nothing.
        self._kept: tuple[Tensor, Tensor] | None = None
        self._known = 0
        if len(x) * x.shape[1] ** 2 <= _KEPT_NUMBERS:
            self._kept = torch.empty(len(x), x.shape[1], x.shape[1], dtype=torch.float64), torch.empty_like(counts)

    def __call__(self, tasks: slice) -> tuple[Tensor, Tensor]:
        """As :func:`residual_maker`, of the tasks in this slice, which has a start and a stop."""
        if self._kept is None:
            return residual_maker(self._x[tasks], self._counts[tasks])
        makers, ranks = self._kept
        if tasks.stop > self._known:
            new = slice(self._known, min(tasks.stop, len(ranks)))
            makers[new], ranks[new] = residual_maker(self._x[new], self._counts[new])
            self._known = new.stop
        return makers[tasks], ranks[tasks]


def residual_maker(x: Tensor, counts: Tensor, decomposed: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
    """``M = I − 1 1ᵀ/N − X (XᵀX)⁺ Xᵀ`` of each task, ``(tasks, examples, examples)``, and its rank ``(tasks,)``.

    ``M y`` are the residuals of least squares with an offset.

    Shapes: ``x (tasks, examples, n)``, less the mean of each task, zero past ``counts (tasks,)``; ``M`` is zero there,
    and zero for a task of rank 0. ``decomposed`` are the left singular vectors and the singular values of ``x``, where
    they are at hand.
    """
    mask = example_mask(x, counts)
    # The left singular vectors of X project onto its columns, also where X has not full rank.
    basis, singular = decomposed or torch.linalg.svd(x, full_matrices=False)[:2]
    used = singular > _SINGULAR_ROUNDING * singular.amax(1, keepdim=True).clamp_min(1e-300)
    basis = basis * used[:, None]
    mean = mask / counts.clamp_min(1)[:, None].double().sqrt()
    M = torch.diag_embed(mask) - mean[:, :, None] * mean[:, None] - basis @ basis.mT
    rank = (counts - 1 - used.sum(1)).clamp_min(0)
    return M * (rank > 0)[:, None, None], rank


def hollow(M: Tensor, kernels: Tensor) -> tuple[Tensor, Tensor]:
    """``C = M (K − D) M`` with a zero diagonal, the nearest such matrix to ``M K M``; and ``M K M`` itself.

    Both are zero where ``M K M`` is rounding beside the kernel ``K``, whose features are then linear in the inputs.

    Shapes: ``M (tasks, examples, examples)``; ``kernels`` and both results ``(kernels, tasks, examples, examples)``.
    """
    B = M @ kernels @ M
    # Features that are linear in the inputs of a task leave nothing of the kernel but rounding.
    nonlinear = B.square().sum((2, 3)) > KERNEL_ROUNDING * kernels.square().sum((2, 3))
    B = B * nonlinear[:, :, None, None]
    A = M.square()
    factor = torch.linalg.cholesky(A + _RIDGE * torch.eye(A.shape[1], dtype=A.dtype))
    diagonal = B.diagonal(dim1=2, dim2=3).permute(1, 2, 0)
    d = torch.cholesky_solve(diagonal, factor)
    for _ in range(_REFINEMENTS):
        d = d + torch.cholesky_solve(diagonal - A @ d, factor)
    return B - (M * d.permute(2, 0, 1)[:, :, None]) @ M, B


def form_floor(squared_norm: Tensor, energy: Tensor, rounding: float) -> Tensor:
    """How large a form ``yᵀ C y`` rounding alone may make: ``rounding² ‖C‖ ‖y‖²``.

    ``squared_norm`` is ``‖C‖²`` and ``energy`` is ``‖y‖²``, of each task; ``rounding`` is a share of the size of ``y``.
    """
    return rounding**2 * squared_norm.sqrt() * energy
