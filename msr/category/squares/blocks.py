"""Blocks of coordinates that the arrows of a functor never mix, so that each is measured in its own units."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from msr.category.linear import VectFunctor
from msr.equivariance.measuring.parts import Parts, block_labels, entries_of
from msr.groups.tolerances import LAW

__all__ = ["Blocks"]


@dataclass(frozen=True, eq=False)
class Blocks:
    """How the spaces of a functor split into blocks of coordinates, which its arrows keep to themselves.

    A block holds coordinates at several objects: those that entries of generating matrices connect. On one object,
    where the arrows are orthogonal matrices and not all of them permutations, blocks of at most 16 coordinates split
    further, into isotypic parts, as they do for a representation (:class:`msr.equivariance.measuring.parts.Parts`).

    Attributes:
        count: how many blocks there are.
        labels: for each object the block of each coordinate, ``(dims[X],)``.
        parts: for each object the parts of its coordinates; None where it has none.
        members: for each object the number of each of its blocks among all, in the order of its ``parts``.
    """

    count: int
    labels: tuple[Tensor, ...]
    parts: tuple[Parts | None, ...]
    members: tuple[Tensor, ...]

    @classmethod
    def of(cls, functor: VectFunctor) -> "Blocks":
        """The blocks of a functor."""
        C = functor.category
        dims = functor.dims.tolist()
        ends = np.concatenate([[0], np.cumsum(functor.dims)])
        n = int(ends[-1])
        if n == 0:
            nothing = torch.zeros(0, dtype=torch.long)
            return cls(0, (nothing,) * len(dims), (None,) * len(dims), (nothing,) * len(dims))
        rows = [np.arange(n)]
        columns = [np.arange(n)]
        moves = [functor.mats[f].numpy() for f in C.generators.tolist()]
        for f, matrix in zip(C.generators.tolist(), moves, strict=True):
            i, j = entries_of(matrix)
            rows.append(i + ends[C.dst[f]])
            columns.append(j + ends[C.src[f]])
        whole = block_labels(n, np.concatenate(rows), np.concatenate(columns))
        labels = whole.split(dims)
        splits = C.n_obj == 1 and _orthogonal(moves) and not all(map(_permutes, moves))
        members = []
        parts: list[Parts | None] = []
        for own in labels:
            blocks, local = own.unique(return_inverse=True)
            members.append(blocks)
            parts.append(Parts.of_labels(local, moves if splits else []) if len(own) else None)
        return cls(int(whole.max()) + 1, tuple(labels), tuple(parts), tuple(members))


def _orthogonal(moves: list[np.ndarray]) -> bool:
    """Whether all square matrices are orthogonal."""
    return all(np.abs(M.T @ M - np.eye(len(M))).max(initial=0) < LAW for M in moves)


def _permutes(matrix: np.ndarray) -> bool:
    """Whether a square matrix only moves coordinates around."""
    return bool(np.isin(matrix, (0, 1)).all() and (matrix.sum(0) == 1).all() and (matrix.sum(1) == 1).all())
