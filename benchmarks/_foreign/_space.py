"""Rotations and reflections of space with the degrees of freedom that physics libraries use; nothing but ``msr``."""

from collections.abc import Callable, Sequence
from itertools import permutations, product

import numpy as np
import torch

from msr.groups import FiniteGroup
from msr.representations import Representation, from_matrices

__all__ = ["by_matrices", "full_octahedral", "octahedral_matrices"]


def octahedral_matrices() -> np.ndarray:
    """The 48 symmetries of a cube, with inversion, as matrices; the identity first."""
    found = []
    for order in permutations(range(3)):
        for signs in product((1.0, -1.0), repeat=3):
            matrix = np.zeros((3, 3))
            matrix[range(3), order] = signs
            found.append(matrix)
    return np.stack(sorted(found, key=lambda m: float(np.abs(m - np.eye(3)).sum())))


def full_octahedral() -> FiniteGroup:
    """``O_h``, the largest finite group with rotations, mirrors and inversion along the axes of a grid."""
    matrices = octahedral_matrices()
    products = np.einsum("gab,hbc->ghac", matrices, matrices)
    same = np.abs(products[:, :, None] - matrices).sum((-1, -2)) < 1e-9
    return FiniteGroup(same.argmax(2), "O_h")


def by_matrices(group: FiniteGroup, act: Callable[[torch.Tensor], torch.Tensor], name: str) -> Representation:
    """What a library says that each symmetry of the cube does to its numbers."""
    matrices: Sequence[np.ndarray] = [act(torch.tensor(m)).double().numpy() for m in octahedral_matrices()]
    return from_matrices(group, np.stack(matrices), name)
