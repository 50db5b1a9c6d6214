"""The representations that people name, as functions."""

import math
from collections.abc import Iterable, Mapping
from typing import overload

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from msr.errors import AxiomError, ConfigError, ShapeError
from msr.groups import FiniteGroup, LieAlgebra, Subgroup, cyclic, dihedral
from msr.groups.lie import real_array
from msr.representations.base import MatrixRepresentation, PermutationRepresentation, Representation
from msr.representations.lie import LieRepresentation

__all__ = [
    "from_matrices", "natural", "permutation", "planar", "quotient", "regular", "sign", "trivial"
]  # fmt: skip


@overload
def trivial(group: FiniteGroup, n: int = 1) -> Representation: ...
@overload
def trivial(group: LieAlgebra, n: int = 1) -> LieRepresentation: ...
def trivial(group: FiniteGroup | LieAlgebra, n: int = 1) -> Representation | LieRepresentation:
    """``ρ(g) = I`` on ``n`` numbers: what does not move, such as the channels of an image."""
    if n < 1:
        raise ConfigError(f"trivial: at least one number; came {n}")
    if isinstance(group, LieAlgebra):
        return LieRepresentation(group, np.zeros((group.dim, n, n)), "trivial" if n == 1 else f"trivial({n})")
    stays = np.broadcast_to(np.arange(n), (group.order, n))
    return PermutationRepresentation(group, stays, "trivial" if n == 1 else f"trivial({n})")


def regular(group: FiniteGroup) -> Representation:
    """The group on its own elements, ``g·h``: one number for each element."""
    return PermutationRepresentation(group, group.table, "regular")


def natural(group: FiniteGroup) -> Representation:
    """The group on the points that it came with: ``S_n`` on ``n`` points, ``D_n`` on the corners of an ``n``-gon."""
    if group.points is None:
        raise ConfigError(f"{group.name} comes with no points; use regular, or permutation with ones of your own")
    return PermutationRepresentation(group, group.points, "natural")


def permutation(
    group: FiniteGroup, permutations: ArrayLike | Mapping[int | str, ArrayLike], name: str = "permutation"
) -> Representation:
    """From permutations ``(order, n)``, ``[g, i] = g·i``, or from those of generators: ``{element or label: (n,)}``."""
    if isinstance(permutations, Mapping):
        given = {_element(group, key): np.asarray(p) for key, p in permutations.items()}
        for g, p in given.items():
            if p.ndim != 1 or p.dtype.kind not in "iu" or not np.array_equal(np.sort(p), np.arange(len(p))):
                raise AxiomError(f"{name}: what is given for {group.label(g)} is no permutation: {p.tolist()}")
        lengths = {len(p) for p in given.values()}
        if len(lengths) > 1:
            raise ShapeError(f"{name}: permutations of different length: {sorted(lengths)}")
        start = np.arange(lengths.pop() if lengths else 1)
        permutations = _extend(group, given, start, lambda a, b: a[b], name)
    return PermutationRepresentation(group, permutations, name)


def from_matrices(
    group: FiniteGroup, matrices: ArrayLike | Tensor | Mapping[int | str, ArrayLike], name: str = "matrices"
) -> Representation:
    """From a matrix for each element, ``(order, n, n)``, or for generators: ``{element or label: matrix}``."""
    if isinstance(matrices, Mapping):
        given = {_element(group, key): real_array(m, name) for key, m in matrices.items()}
        shapes = {m.shape for m in given.values()}
        if len(shapes) != 1 or any(len(shape) != 2 or shape[0] != shape[1] for shape in shapes):
            raise ShapeError(
                f"{name}: the generators need square matrices of one size; came {sorted(map(str, shapes))}"
            )
        start = np.eye(next(iter(shapes))[0])
        return MatrixRepresentation(group, _extend(group, given, start, np.matmul, name), name)
    return MatrixRepresentation(group, matrices, name)


def sign(group: FiniteGroup) -> Representation:
    """``±1``: the parity of the permutation that each element is of the group's own points."""
    if group.points is None:
        raise ConfigError(f"{group.name} comes with no points to take a parity of; use from_matrices")
    parity = [[[_parity(p)]] for p in group.points]
    return MatrixRepresentation(group, parity, "sign")


def planar(n: int, *, flips: bool = False) -> Representation:
    """``C_n`` (or ``D_n`` with ``flips``) turning the plane: ``r`` by ``2π/n``, ``s`` mirrors the second axis."""
    group = dihedral(n) if flips else cyclic(n)
    angle = 2 * math.pi * np.arange(n) / n
    turns = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], axis=-1).reshape(n, 2, 2)
    matrices = np.concatenate([turns, turns @ np.diag([1.0, -1.0])]) if flips else turns
    return MatrixRepresentation(group, matrices, "plane")


def quotient(group: FiniteGroup, subgroup: Subgroup | Iterable[int]) -> Representation:
    """The group on the cosets of a subgroup, ``g·(xH) = (gx)H``; its size is the index of ``H``."""
    cosets = group.cosets(subgroup)
    index = np.empty(group.order, dtype=np.int64)
    for number, coset in enumerate(cosets):
        index[coset] = number
    starts = np.array([coset[0] for coset in cosets])
    name = subgroup.group.name if isinstance(subgroup, Subgroup) else f"a subgroup of order {len(cosets[0])}"
    return PermutationRepresentation(group, index[group.table[:, starts]], f"{group.name} / {name}")


def defining(algebra: LieAlgebra) -> LieRepresentation:
    """A matrix Lie algebra acting by its own matrices."""
    return LieRepresentation(algebra, algebra.matrices, "defining")


def _element(group: FiniteGroup, key: int | str) -> int:
    return group.element(key) if isinstance(key, str) else int(key)


def _extend(group: FiniteGroup, given: dict, start: np.ndarray, compose, name: str) -> np.ndarray:  # type: ignore[no-untyped-def]
    """The images of all elements, from those of generators, breadth first: ``ρ(s h) = ρ(s) ρ(h)``."""
    if len(group.closure(given)) != group.order:
        raise AxiomError(
            f"{name}: {', '.join(group.label(g) for g in given) or 'nothing'} does not generate {group.name}; "
            f"give the images of {', '.join(group.label(g) for g in group.generators)}"
        )
    images: dict[int, np.ndarray] = {0: given.get(0, start)}
    frontier = [0]
    while frontier:
        reached = []
        for h in frontier:
            for s, image in given.items():
                product = int(group.table[s, h])
                if product not in images:
                    images[product] = compose(image, images[h])
                    reached.append(product)
        frontier = reached
    return np.stack([images[g] for g in group.elements])


def _parity(p: np.ndarray) -> float:
    seen, transpositions = np.zeros(len(p), dtype=bool), 0
    for start in range(len(p)):
        at = start
        while not seen[at]:
            seen[at] = True
            at = int(p[at])
            transpositions += at != start
    return -1.0 if transpositions % 2 else 1.0
