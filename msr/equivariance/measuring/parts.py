"""The parts of an output: what the group never moves into one another, so that each is measured in its own units."""

import math
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from msr.representations import AnyRepresentation

__all__ = ["Parts", "parts_of"]

_TOLERANCE = 1e-10  # below it an entry of a matrix is rounding
_SMALL = (
    16  # numbers up to which the irreducible kinds in a block of matrices are found: its commutant has 16² unknowns
)


class Parts:
    """How the outputs of a representation split: into *blocks*, and a block into *kinds* where that is known.

    A block is an orbit of coordinates, of a permutation representation; of matrices, coordinates that the generators
    connect; so a coordinate that nothing moves is a block of its own. A block of at most 16 numbers that orthogonal
    matrices act on splits further into its isotypic parts; with ``means`` an orbit into its mean and the rest. All of
    these are kept to themselves by the group, and they are orthogonal to one another.

    The *units* in which a defect is measured are the blocks, then the kinds of those blocks that have several.
    Only the generators are asked for.

    Attributes: ``n_blocks``; ``n_units``; ``block_of (units,)``, the block that a unit belongs to.
    """

    def __init__(self, rep: AnyRepresentation, *, whole_blocks: bool = False, means: bool = False):
        self.shape = rep.shape
        self.labels, moves = _blocks(rep)
        self.n_blocks = int(self.labels.max()) + 1 if len(self.labels) else 0
        self._sizes = torch.bincount(self.labels, minlength=self.n_blocks).double()
        self._means = means and rep.is_permutation and not whole_blocks
        self._turn: Tensor | None = None
        atoms = self.labels  # the kind that a feature belongs to; a block's first kind has the block's own number
        parents = torch.arange(self.n_blocks)
        if self._means:
            several = (self._sizes > 1).nonzero().flatten()
            atoms = torch.cat([atoms, self.n_blocks + torch.arange(len(several))])
            parents = torch.cat([parents, several])
        elif not rep.is_permutation and not whole_blocks and rep.is_orthogonal:
            self._turn, atoms, parents = _isotypic(self.labels, self.n_blocks, moves)
        self._atoms, self._parents = atoms, parents
        split = torch.bincount(parents, minlength=self.n_blocks) > 1
        self._kinds = split[parents].nonzero().flatten()
        size = len(self._atoms) // max(self.n_blocks, 1)
        even = torch.arange(self.n_blocks).repeat_interleave(size)
        # Blocks of one size, one after the other, are an axis.
        self._size = size if not len(self._kinds) and torch.equal(even, self._atoms) else 0
        size = len(self.labels) // max(self.n_blocks, 1)
        even = torch.arange(self.n_blocks).repeat_interleave(size)
        self._orbit = size if self._means and size > 1 and torch.equal(even, self.labels) else 0
        self.block_of = torch.cat([torch.arange(self.n_blocks), parents[self._kinds]])
        self.n_units = len(self.block_of)

    def features(self, y: Tensor) -> Tensor:
        """Coordinates ``(..., features)`` of ``(..., dim)`` in which every kind is a set of axes."""
        if self._turn is not None:
            return y @ self._turn.to(y)
        if not self._means:
            return y
        if self._orbit:
            orbits = y.unflatten(-1, (self.n_blocks, self._orbit))
            mean = orbits.mean(-1, keepdim=True)
            return torch.cat([(orbits - mean).flatten(-2), mean.squeeze(-1) * self._orbit**0.5], dim=-1)
        labels, sizes = self.labels.to(y.device), self._sizes.to(y)
        mean = y.new_zeros(*y.shape[:-1], self.n_blocks).index_add_(-1, labels, y) / sizes
        several = sizes > 1
        rest = y - (mean * several).index_select(-1, labels)
        return torch.cat([rest, (mean * sizes.sqrt())[..., several]], dim=-1)

    def squares(self, features: Tensor) -> Tensor:
        """Squared length of each unit, ``(..., features) -> (..., units)``."""
        return self.sums(features.square())

    def sums(self, values: Tensor) -> Tensor:
        """Sums over the features of each unit."""
        lead, device = values.shape[:-1], values.device
        if self._size:
            return values if self._size == 1 else values.unflatten(-1, (self.n_blocks, self._size)).sum(-1)
        if self._orbit:
            rest = values[..., : len(self.labels)].unflatten(-1, (self.n_blocks, self._orbit)).sum(-1)
            mean = values[..., len(self.labels) :]
            return torch.cat([rest + mean, rest, mean], dim=-1)
        atoms = values.new_zeros(*lead, len(self._parents)).index_add_(-1, self._atoms.to(device), values)
        if not len(self._kinds):
            return atoms
        blocks = values.new_zeros(*lead, self.n_blocks).index_add_(-1, self._parents.to(device), atoms)
        return torch.cat([blocks, atoms.index_select(-1, self._kinds.to(device))], dim=-1)

    def of_blocks(self, per_block: Tensor) -> Tensor:
        """A number of each block for each of its units, ``(..., blocks) -> (..., units)``."""
        if not len(self._kinds):
            return per_block
        return per_block.index_select(-1, self.block_of.to(per_block.device))

    @cached_property
    def is_kind(self) -> Tensor:
        """Whether a unit is a kind inside a block, ``(units,)``."""
        return torch.arange(self.n_units) >= self.n_blocks

    def name(self, unit: int) -> str:
        """Where a unit is, in words: the places of its coordinates in the output's shape."""
        block = int(self.block_of[unit])
        places = (self.labels == block).nonzero().flatten().tolist()
        text = _places(places, self.shape)
        if unit < self.n_blocks:
            return text
        atom = int(self._kinds[unit - self.n_blocks])
        if self._means:
            return f"{text}, their mean" if atom >= self.n_blocks else f"{text}, apart from their mean"
        return f"{text}, an irreducible kind of dimension {int((self._atoms == atom).sum())}"


_KNOWN: "WeakKeyDictionary[AnyRepresentation, dict[tuple[bool, bool], Parts]]" = WeakKeyDictionary()


def parts_of(rep: AnyRepresentation, *, whole_blocks: bool = False, means: bool = False) -> Parts:
    """:class:`Parts`, found once for a representation."""
    known = _KNOWN.setdefault(rep, {})
    key = whole_blocks, means
    if key not in known:
        known[key] = Parts(rep, whole_blocks=whole_blocks, means=means)
    return known[key]


def _blocks(rep: AnyRepresentation) -> tuple[Tensor, list[np.ndarray]]:
    """The block of each coordinate, numbered by first coordinates, and the generators' matrices if they are dense."""
    n, rows, columns, matrices = rep.dim, [np.arange(rep.dim)], [np.arange(rep.dim)], []
    for g in rep.group.generators:
        if rep.is_permutation:
            moved = rep.act(g, torch.arange(n).reshape(rep.shape)).reshape(-1).numpy()
            rows.append(np.arange(n))
            columns.append(moved)
        else:
            matrix = rep.matrix(g).numpy()
            matrices.append(matrix)
            i, j = np.nonzero(np.abs(matrix) > _TOLERANCE * max(1.0, float(np.abs(matrix).max())))
            rows.append(i)
            columns.append(j)
    i, j = np.concatenate(rows), np.concatenate(columns)
    _, labels = connected_components(coo_array((np.ones(len(i)), (i, j)), shape=(n, n)), directed=False)
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty_like(first)
    rank[np.argsort(first)] = np.arange(len(first))
    return torch.as_tensor(rank[inverse.reshape(-1)], dtype=torch.long), matrices


def _isotypic(labels: Tensor, n_blocks: int, moves: list[np.ndarray]) -> tuple[Tensor | None, Tensor, Tensor]:
    """An orthogonal change of coordinates to isotypic parts, the kind of each new coordinate, each kind's block."""
    n = len(labels)
    turn, atoms, parents = np.eye(n), labels.clone(), list(range(n_blocks))
    known: dict[bytes, tuple[np.ndarray, np.ndarray]] = {}
    changed = False
    for block in range(n_blocks):
        at = (labels == block).nonzero().flatten().numpy()
        if not 1 < len(at) <= _SMALL or not moves:
            continue
        inner = np.stack([matrix[np.ix_(at, at)] for matrix in moves])
        key = inner.round(9).tobytes()
        if key not in known:
            known[key] = _kinds(inner)
        basis, kind = known[key]
        if kind.max() == 0:
            continue
        changed = True
        turn[np.ix_(at, at)] = basis
        for k in range(1, int(kind.max()) + 1):
            atoms[torch.as_tensor(at[kind == k])] = len(parents)
            parents.append(block)
    return (torch.as_tensor(turn) if changed else None), atoms, torch.tensor(parents, dtype=torch.long)


def _kinds(moves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An orthogonal basis and the isotypic part of each of its vectors, for orthogonal matrices ``(generators, n, n)``.

    The eigenspaces of a random symmetric matrix that commutes with all of them are irreducible. Two of them are alike
    when another such matrix maps one into the other.
    """
    n = moves.shape[1]
    eye = np.eye(n)
    rows = np.concatenate([np.kron(M, eye) - np.kron(eye, M.T) for M in moves])
    _, sizes, vectors = np.linalg.svd(rows, full_matrices=False)  # as many rows as columns, at least
    free = vectors[int((sizes > 1e-8 * max(1.0, float(sizes.max(initial=0)))).sum()) :].reshape(-1, n, n)
    draw = np.random.default_rng(0)
    one, two = (np.tensordot(draw.standard_normal(len(free)), free, 1) for _ in range(2))
    values, basis = np.linalg.eigh(one + one.T)
    spaces = np.concatenate([[0], np.cumsum(np.diff(values) > 1e-6 * max(1e-300, float(np.abs(values).max())))])
    across = np.abs(basis.T @ (two + two.T) @ basis) > 1e-6
    same = coo_array(across | (spaces[:, None] == spaces[None, :]))
    return basis, connected_components(same, directed=False)[1]


def _places(places: list[int], shape: tuple[int, ...]) -> str:
    if not shape:
        return "the output"
    if len(places) == math.prod(shape):
        return "all outputs" if len(places) > 1 else "the output"
    shown = [", ".join(map(str, np.unravel_index(at, shape))) for at in places[:3]]
    if len(places) == 1:
        return f"output [{shown[0]}]"
    more = f", … ({len(places)} in all)" if len(places) > 3 else ""
    return f"outputs {', '.join(f'[{text}]' for text in shown)}{more}"
