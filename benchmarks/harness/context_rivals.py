"""What others offer for a context: its spectrum, and losses to learn it; each as a user of a library would write it.

Every optional library is imported where it is used, and :func:`why_not` says whether it can be.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import svds
from torch import Tensor

from msr.contexture import TableContext
from tasks.pictures import needed

__all__ = ["Arm", "Found", "Loss", "covariances", "kernel_pca", "of_pairs", "rivals", "svds_of", "vamp", "why_not"]

Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""A loss of the encoders' values at all points ``(n, d)`` and at all contexts ``(m, d)``, the numbers ``(b, 2)`` of the
points and contexts of a batch, and ``d`` free numbers that are trained beside the encoders."""


class Found(NamedTuple):
    """A spectrum as a rival gives it.

    Attributes:
        squares: ``(k,)``, descending, the ``s_i²``.
        vectors: ``(n, k)``, orthonormal: the functions times the roots of the weights.
    """

    squares: NDArray[np.float64]
    vectors: NDArray[np.float64]


@dataclass(frozen=True)
class Arm:
    """A loss to train with.

    Attributes:
        name: of the loss, and whose it is.
        outputs: of both encoders.
        loss: the loss.
        choice: what was chosen for it, such as the weight of a penalty; empty where there is no choice.
    """

    name: str
    outputs: int
    loss: Loss
    choice: str = ""


def why_not(module: str) -> str:
    """Why a library cannot be used here; empty where it can."""
    try:
        needed(module, "bench")
    except Exception as error:  # a broken library must not stop the others
        return str(error).splitlines()[0]
    return ""


def kernel_pca(kernel: NDArray[np.float64], k: int | None) -> Found:
    """scikit-learn's KernelPCA on the dual kernel ``(n, n)`` of points that weigh the same; all values where k is None.

    The eigenvalues of the centred kernel are ``n s_i²``.
    """
    from sklearn.decomposition import KernelPCA

    solver = "dense" if k is None else "arpack"
    fitted = KernelPCA(k, kernel="precomputed", eigen_solver=solver, random_state=0).fit(kernel)
    return Found(fitted.eigenvalues_ / len(kernel), fitted.eigenvectors_)


def covariances(context: TableContext) -> Any:
    """deeptime's covariances of points and contexts, each one-hot, in the joint distribution of a context.

    They are written down instead of estimated, since the one-hot pairs of 1,000 points would fill 8 GB.
    """
    px = context.weights.numpy()
    pa = context.marginal.numpy()
    return needed("deeptime.covariance", "bench").CovarianceModel(
        cov_00=np.diag(px) - np.outer(px, px),
        cov_0t=np.asarray(context.joint) - np.outer(px, pa),
        cov_tt=np.diag(pa) - np.outer(pa, pa),
        mean_0=px,
        mean_t=pa,
        bessels_correction=False,
        data_mean_removed=True,
    )


def vamp(moments: Any) -> Found:
    """deeptime's VAMP from :func:`covariances`."""
    # The default cutoff of 1e-6 would drop points that are rarer than that; below 1e-10 is the constant's direction.
    fitted = needed("deeptime.decomposition", "bench").VAMP(epsilon=1e-10).fit_from_covariances(moments).fetch_model()
    px = moments.mean_0
    functions = fitted.instantaneous_coefficients - px @ fitted.instantaneous_coefficients
    return Found(np.square(fitted.singular_values), np.sqrt(px)[:, None] * functions)


def svds_of(root: Any, k: int) -> Found:
    """SciPy's svds: the ``k`` largest singular values of the scaled table beside that of the constant function."""
    start = np.random.default_rng(0).standard_normal(min(root.shape))
    left, values, _ = svds(root, k=k + 1, v0=start)
    order = np.argsort(-values)[1:]
    return Found(np.square(values[order]), left[:, order])


def of_pairs(loss: Callable[[Tensor, Tensor], Tensor]) -> Loss:
    """A loss of pairs, from one of the encoders' values at the points ``(b, d)`` and contexts ``(b, d)`` of a batch."""
    return lambda points, contexts, batch, _: loss(points[batch[:, 0]], contexts[batch[:, 1]])


def ncp(gamma: float) -> Loss:
    """NCP's loss, from its paper: the distance to the deflated operator, and ``γ`` times that from orthonormality.

    For two halves ``(x, a)``, ``(x', a')`` of a batch, with ``s = exp(−w²)`` of free numbers ``w``,
    ``½ (u(x)·s v(a'))² + ½ (u(x')·s v(a))² − (u(x) − u(x'))·s (v(a) − v(a'))``, and for ``u`` and ``v``
    ``(u(x)·u(x'))² − ‖u(x) − u(x')‖² + d``, whose means are those of ``‖E[u uᵀ] − I‖² + 2‖E[u]‖²``.

    Source: Kostic et al., 2024, arXiv:2407.01171, in the form of the authors' code (github.com/CSML-IIT-UCL/NCP), which
    takes 1e-3 or 1e-2 for ``γ`` and is on no package index. The package linear-operator-learning calls another form
    NCP's, without ``s`` and over all pairs of a batch: kooplearn's contrastive loss with a penalty of 1e-3.
    """

    def loss(points: Tensor, contexts: Tensor, batch: Tensor, free: Tensor) -> Tensor:
        scale = torch.exp(-free.square())
        u, v = points[batch[:, 0]].unflatten(0, (2, -1)), contexts[batch[:, 1]].unflatten(0, (2, -1))
        crossed = ((u * scale) * v.flip(0)).sum(-1).square().sum(0) / 2
        distance = crossed - ((u[0] - u[1]) * scale * (v[0] - v[1])).sum(-1)
        apart = sum((w[0] * w[1]).sum(-1).square() - (w[0] - w[1]).square().sum(-1) + w.shape[-1] for w in (u, v))
        return (distance + gamma * apart).mean()

    return loss


def rivals(d: int) -> tuple[dict[str, list[Arm]], dict[str, str]]:
    """For each rival, the arms to choose from; and for each that is not run, the reason.

    An encoder learns ``d`` functions beside the constant one. kooplearn's contrastive loss does not centre, so that it
    learns the constant as well: without a penalty that holds it away it is given an output more.
    """
    paper = "NCP's loss, from its paper"
    arms = {paper: [Arm(paper, d, ncp(gamma), f"γ = {gamma:g}") for gamma in (1e-3, 1e-2, 0.1)]}
    missing = {}
    names = ("kooplearn VampLoss", "kooplearn SpectralContrastiveLoss")
    if reason := why_not("kooplearn.torch.nn"):
        missing.update(dict.fromkeys(names, reason))
    else:
        losses = needed("kooplearn.torch.nn", "bench")
        # 2.0.3 has the penalty, and does not hand it on from kooplearn.torch.nn.
        penalty = needed("kooplearn.torch.nn._functional", "bench").orthonormal_fro_reg

        def penalised(loss: Callable[[Tensor, Tensor], Tensor], weight: float) -> Loss:
            if weight == 0:
                return of_pairs(loss)
            return of_pairs(lambda u, v: loss(u, v) + weight * (penalty(u) + penalty(v)))

        makers = {names[0]: losses.VampLoss(), names[1]: losses.SpectralContrastiveLoss()}
        tried = {names[0]: ((d, 0.0), (d, 1e-3), (d, 1.0)), names[1]: ((d + 1, 0.0), (d + 1, 1e-3), (d, 0.1))}
        for name, loss in makers.items():
            arms[name] = [
                Arm(name, outputs, penalised(loss, weight), f"{outputs} outputs, penalty {weight:g}")
                for outputs, weight in tried[name]
            ]
    missing["kooplearn EnergyLoss"] = "needs the derivatives of an encoder along a diffusion, which pairs do not have"
    return arms, missing
