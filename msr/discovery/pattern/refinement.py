"""Whether every input and output differs from every other by what no permutation changes: then none is a symmetry."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from msr.discovery.pattern.classes import Rows
from msr.permutations.actions import Indices

__all__ = ["all_distinct"]

# A difference this many times its error is none of chance, whichever of all pairs and numbers it is found in.
_TOLD_APART = 6.0


def all_distinct(rows: Rows, used_in: Indices, used_out: Indices) -> bool:
    """Whether the weights tell all inputs from each other, and all outputs, beyond their errors.

    An input is described by sums over its weights, of the rows and of their squares; a permutation that keeps the
    weights can only send it to one with the same description. Outputs likewise. Those that the descriptions leave
    together are one class, and the sums are taken class by class, again and again, until all are apart or nothing more
    is gained.
    That is colour refinement of a graph whose edges are known up to an error; what it does not tell apart may still be.
    """
    values = rows.values.reshape(*rows.shape, -1)[np.ix_(used_out, used_in)]
    errors = rows.errors.reshape(rows.shape)[np.ix_(used_out, used_in)]
    classes: list[Indices] = [np.zeros(len(one), dtype=np.int64) for one in (used_out, used_in)]
    while True:
        before = sum(int(labels.max()) + 1 for labels in classes)
        classes = [
            _refined(values, errors, *classes),
            _refined(values.transpose(1, 0, 2), errors.T, *classes[::-1]),
        ]
        count = sum(int(labels.max()) + 1 for labels in classes)
        if count == len(used_in) + len(used_out):
            return True
        if count == before:
            return False


def _refined(values: NDArray[np.float64], errors: NDArray[np.float64], own: Indices, others: Indices) -> Indices:
    """Classes of the first axis, split by sums over each class of the second."""
    together = own[:, None] == own[None]
    for label in range(int(others.max()) + 1):
        part, error = values[:, others == label], errors[:, others == label]
        squares = np.einsum("ijk,ijl->ikl", part, part).reshape(len(values), -1)
        # The error of r rᵀ is that of r times twice its size, and its own square.
        of_squares = ((2 * np.linalg.norm(part, axis=2) * error + error**2) ** 2).sum(1)
        for sums, variance in ((part.sum(1), (error**2).sum(1)), (squares, of_squares)):
            apart = np.linalg.norm(sums[:, None] - sums[None], axis=2)
            together &= apart <= _TOLD_APART * np.sqrt(variance[:, None] + variance[None])
    return np.asarray(connected_components(csr_matrix(together), directed=False)[1], dtype=np.int64)
