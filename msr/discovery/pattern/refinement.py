"""Colour refinement: do the weights tell every input and every output apart? Then no permutation is a symmetry."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from msr.discovery.pattern.classes import Rows
from msr.discovery.thresholds import THRESHOLDS
from msr.permutations import Indices

__all__ = ["all_distinct"]


def all_distinct(rows: Rows, used_in: Indices, used_out: Indices) -> bool:
    """Whether the weights tell all used inputs from each other, and all used outputs, beyond their errors.

    Each input is described by the sum of its rows over a class of outputs, and by the sum of their squares ``r rᵀ``;
    outputs likewise. A permutation that keeps the weights can only send an input to one with the same description.
    Inputs with equal descriptions form a class; the sums are then taken over the new classes, until every class has one
    element or no class splits any more.

    This is colour refinement of a graph whose edge weights are known up to an error. It is one-sided: points that it
    does not tell apart may still differ. False where no input or no output is used: then no weight tells anything.
    """
    if not (len(used_in) and len(used_out)):
        return False
    values = rows.values.reshape(*rows.shape, -1)[np.ix_(used_out, used_in)]
    errors = rows.errors.reshape(rows.shape)[np.ix_(used_out, used_in)]
    of_outputs: Indices = np.zeros(len(used_out), dtype=np.int64)
    of_inputs: Indices = np.zeros(len(used_in), dtype=np.int64)
    while True:
        before = _count(of_outputs) + _count(of_inputs)
        # Both sides are refined by the other side's classes of the previous round.
        finer_outputs = _refined(values, errors, of_outputs, of_inputs)
        finer_inputs = _refined(values.transpose(1, 0, 2), errors.T, of_inputs, of_outputs)
        of_outputs = finer_outputs
        of_inputs = finer_inputs
        count = _count(of_outputs) + _count(of_inputs)
        if count == len(used_in) + len(used_out):
            return True
        if count == before:
            return False


def _count(labels: Indices) -> int:
    """Number of classes that ``labels``, counted from 0, tell apart."""
    return int(labels.max()) + 1


def _refined(
    values: NDArray[np.float64], errors: NDArray[np.float64], of_first: Indices, of_second: Indices
) -> Indices:
    """Labels of the classes of the first axis, after they were split by the sums over each class of the second axis.

    Two points stay in one class if they were in one, and none of the sums differs beyond ``distinct_errors``.

    Shapes: ``values (a, b, k)``, ``errors (a, b)``, ``of_first (a,)``, ``of_second (b,)``; the result is ``(a,)``.
    """
    # Classes only split: points that an earlier round told apart stay apart.
    together = of_first[:, None] == of_first[None]
    for label in range(_count(of_second)):
        part = values[:, of_second == label]
        error = errors[:, of_second == label]
        squares = np.einsum("ijk,ijl->ikl", part, part).reshape(len(values), -1)
        # First-order error of r rᵀ is 2 |r| error; the square of the error is added for rows close to zero.
        of_squares = ((2 * np.linalg.norm(part, axis=2) * error + error**2) ** 2).sum(1)
        for sums, variance in ((part.sum(1), (error**2).sum(1)), (squares, of_squares)):
            distance = np.linalg.norm(sums[:, None] - sums[None], axis=2)
            standard_error = np.sqrt(variance[:, None] + variance[None])
            together &= distance <= THRESHOLDS().distinct_errors * standard_error
    # "Not told apart" is not transitive under noise; its transitive closure errs on the side of fewer distinctions.
    return np.asarray(connected_components(csr_matrix(together), directed=False)[1], dtype=np.int64)
