"""Clusters of tokens: connected components of the graph that joins tokens which are near each other."""

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from msr.errors import ConfigError, DataError
from msr.flow.arguments import finite_number, real_values, token_batch, word_of
from msr.flow.dynamics.sphere import on_sphere
from msr.memory import refuse_if_larger

__all__ = ["cluster_counts", "cluster_labels", "mean_cosine", "merged_share"]

_AT_ONCE = 2**22
"""Pairs of tokens that are looked at together: some 100 MB. Chosen by hand."""
_SMALL = 2**24
"""Bytes that are taken unasked: to ask the system what is free takes a millisecond, longer than a small graph does."""


def cluster_labels(X: Any, tol: float = 1e-3, *, metric: Literal["cosine", "distance"] = "cosine") -> Tensor:
    """The number of the cluster in which each token lies, int64; clusters are numbered in the order of their first.

    Tokens are joined where ``⟨x_i, x_j⟩ ≥ 1 − tol`` of their directions, or where their distance is at most ``tol``,
    and clusters are the connected components. So a cluster may be wider than ``tol``: each token in it has a near one.

    Shapes: tokens ``X (n, d)`` or ``(batch, n, d)``; the result is ``(n,)`` or ``(batch, n)``, on the device of ``X``.

    Args:
        X: tokens, of any norm.
        tol: how near is near.
        metric: ``cosine`` for flows of directions; ``distance`` for the raw flow, where there is no scale to take
            ``tol`` from, so that it has to be given by who knows it.

    Raises: ShapeError; ConfigError for a tolerance below the rounding of cosines, or above 2; NonFiniteError; DataError
    for a token of norm 0, which has no direction, and for more pairs than there is memory for.
    """
    tokens, tol = _checked(X, tol, metric)
    n = tokens.shape[1]
    _check_size(n)
    chunk = max(1, _AT_ONCE // (n * n))
    labels = [_components(_near(part, tol, metric)) for part in tokens.split(chunk)]
    result = torch.from_numpy(np.concatenate(labels)).to(tokens.device)
    return result if _is_batched(X) else result[0]


def cluster_counts(X: Any, tol: float = 1e-3, *, metric: Literal["cosine", "distance"] = "cosine") -> Tensor:
    """How many clusters there are, int64: see :func:`cluster_labels` for the arguments and for what is refused.

    Shapes: ``X (n, d)`` or ``(batch, n, d)``; the result is a scalar or ``(batch,)``.
    """
    return cluster_labels(X, tol, metric=metric).amax(-1) + 1


def merged_share(X: Any, tol: float = 1e-3, *, metric: Literal["cosine", "distance"] = "cosine") -> Tensor:
    """The share of pairs ``i ≠ j`` that are near each other, float64: what phase diagrams show.

    A single token has no pair, and the share is 1. Arguments, and what is refused, as for :func:`cluster_labels`.

    Shapes: ``X (n, d)`` or ``(batch, n, d)``; the result is a scalar or ``(batch,)``.
    """
    tokens, tol = _checked(X, tol, metric)
    batch, n, _ = tokens.shape
    if n == 1:
        shares = torch.ones(batch, dtype=torch.float64, device=tokens.device)
    else:
        _check_size(n)
        chunk = max(1, _AT_ONCE // (n * n))
        counts = torch.cat([_near(part, tol, metric).sum((-2, -1)) for part in tokens.split(chunk)])
        # Each token is near itself.
        shares = (counts - n).to(torch.float64) / (n * (n - 1))
    return shares if _is_batched(X) else shares[0]


def mean_cosine(X: Any) -> Tensor:
    """The mean of ``cos(x_i, x_j)`` over the pairs ``i ≠ j``, in the precision of ``X``, differentiable.

    1 for one point, and for a single token, which has no pair; 0 for orthogonal tokens.

    Shapes: ``X (n, d)`` or ``(batch, n, d)``; the result is a scalar or ``(batch,)``.
    Raises: ShapeError; NonFiniteError; DataError for a token of norm 0.
    """
    tokens = on_sphere(token_batch(X))
    n = tokens.shape[1]
    # The mean over pairs is told by the sum of all directions, without a table of pairs.
    means = (tokens.sum(1).square().sum(-1) - n) / (n * (n - 1)) if n > 1 else torch.ones_like(tokens[:, 0, 0])
    return means if _is_batched(X) else means[0]


def _checked(X: Any, tol: float, metric: str) -> tuple[Tensor, float]:
    """Tokens ``(batch, n, d)`` without history, directions for cosines, and the tolerance."""
    metric = word_of(metric, "metric", ("cosine", "distance"))
    tokens = token_batch(X).detach()
    tol = finite_number(tol, "tol")
    if metric == "distance":
        if tol <= 0:
            raise ConfigError(f"tol is a distance, above 0; got {tol}")
        return tokens, tol
    least = 8 * torch.finfo(tokens.dtype).eps
    if not least <= tol <= 2:
        raise ConfigError(f"tol must be from {least:.1e}, below which cosines are rounding, to 2; got {tol}")
    return on_sphere(tokens), tol


def _check_size(n: int) -> None:
    """Raise DataError for more pairs of tokens than memory, or the graph's 32-bit indices, hold."""
    if n * n >= 2**31:
        raise DataError(f"clusters of {n} tokens: {2**31} pairs are the most; give at most 46,340 tokens")
    # A cosine, whether it is large, and both ends and the weight of an edge, in double precision.
    size = 48.0 * n * n
    if size > _SMALL:
        refuse_if_larger(size, f"the graph of {n} tokens", advice="give fewer tokens")


def _near(tokens: Tensor, tol: float, metric: str) -> Tensor:
    """Which pairs are near each other, ``(batch, n, n)``, each token being near itself."""
    if metric == "cosine":
        near = tokens @ tokens.mT >= 1 - tol
    else:
        # By differences: the usual way over inner products loses half of the digits of small distances.
        near = torch.cdist(tokens, tokens, compute_mode="donot_use_mm_for_euclid_dist") <= tol
    n = tokens.shape[1]
    return near | torch.eye(n, dtype=torch.bool, device=tokens.device)


def _components(near: Tensor) -> NDArray[np.int64]:
    """The component of each token, ``(batch, n)``, numbered by first tokens; all graphs are searched at once."""
    batch, n, _ = near.shape
    places, columns = torch.nonzero(near.reshape(batch * n, n), as_tuple=True)
    # Tokens of all batches are points of one graph, which has no edge between batches.
    rows = places.cpu().numpy()
    others = columns.cpu().numpy() + rows // n * n
    size = batch * n
    starts = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=size))])
    graph = csr_array((np.ones(len(rows)), others.astype(np.int32), starts.astype(np.int32)), shape=(size, size))
    _, labels = connected_components(graph, directed=False)
    # A component's first token, as a number, is put in its place and counted: scipy promises no order of components.
    first = np.full(int(labels.max()) + 1, size)
    np.minimum.at(first, labels, np.arange(size))
    leader = first[labels].reshape(batch, n)
    is_first = leader == np.arange(size).reshape(batch, n)
    rank = np.cumsum(is_first, axis=1) - 1
    return rank.ravel()[leader].astype(np.int64)


def _is_batched(X: Any) -> bool:
    """Whether tokens came with an axis of batches."""
    return (X if isinstance(X, (Tensor, np.ndarray)) else real_values(X, "X")).ndim == 3
