"""The Reynolds operator of a permutation group: the mean over the group, which is the mean over each orbit.

For a group acting by permutations, ``(1/|G|) Σ_g ρ(g) x`` holds at each point the mean of ``x`` over the orbit of the
point, so no element of the group is needed, only the labels of its orbits. The operator is the orthogonal projection
onto the invariant vectors.
"""

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

__all__ = ["orbit_mean_errors", "orbit_means", "reynolds_operator"]


def orbit_means(
    values: Float[Tensor, "*axes"], labels: Int[Tensor, " n"], count: int, *, dim: int = -1
) -> Float[Tensor, "*axes_of_orbits"]:
    """The mean over each orbit, along one axis; differentiable, on the device and in the precision of ``values``.

    Args:
        values: ``(…, n, …)``, with the points on the axis ``dim``.
        labels: ``(n,)``, the orbit of each point, from 0; int64, on the device of ``values``.
        count: the number of orbits; the result has that many entries on the axis ``dim``, nan for an orbit without
            points.
    """
    shape = list(values.shape)
    shape[dim] = count
    # `index_add` adds one entry after another, so the sums do not depend on the axis or on the layout in memory.
    sums = values.new_zeros(shape).index_add(dim, labels, values)
    sizes = torch.bincount(labels, minlength=count).to(values.dtype)
    axes_after = values.ndim - 1 - dim % values.ndim
    return sums / (sizes.view(-1, *[1] * axes_after) if axes_after else sizes)


def reynolds_operator(
    values: Float[Tensor, "n k"], labels: Int[np.ndarray, " n"] | Int[Tensor, " n"]
) -> Float[Tensor, "n k"]:
    """``R x = (1/|G|) Σ_g ρ(g) x``: each row is replaced by the mean of the rows of its orbit.

    Applied to a basis ``U`` of weights, it gives the nearest weights that the group leaves invariant.

    Shapes: ``values (n, k)``, ``labels (n,)`` as from :func:`~msr.permutations.orbit_labels` or
    :func:`~msr.permutations.orbitals`; the result is ``(n, k)``.
    """
    index = torch.as_tensor(labels)
    count = int(index.max()) + 1
    if values.ndim == 2 and values.shape[1] > 1 and values.mT.is_contiguous():
        # The rows are the columns of a matrix, as where many weights are averaged at once. Its own order is kept, which
        # is several times as fast as to jump through its memory; the sums are the same.
        means = orbit_means(values.mT, index, count, dim=1)
        return means.gather(1, index.expand(len(means), -1)).mT
    return orbit_means(values, index, count, dim=0)[index]


def orbit_mean_errors(errors: Float64[np.ndarray, " n"], labels: Int[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """The standard error of the mean over each orbit, ``√(Σ e²) / size``, for independent errors ``e`` of the points.

    Shapes: ``errors (n,)`` (root mean square, or standard errors) and ``labels (n,)``; the result is ``(n,)``, at each
    point the error of what :func:`reynolds_operator` puts there.
    """
    sizes = np.bincount(labels).astype(float)
    return (np.sqrt(np.bincount(labels, weights=errors**2)) / sizes)[labels]
