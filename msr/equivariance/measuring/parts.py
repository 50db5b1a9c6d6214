"""The parts of an output, which the group never mixes with one another, so that each is measured in its own units."""

import math
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from msr.representations import AnyRepresentation

__all__ = ["Parts", "block_labels", "entries_of", "parts_of"]

# An entry of a matrix below this share of the largest is rounding: float64 leaves some 1e-15. Chosen by hand.
_TOLERANCE = 1e-10
# Numbers up to which the irreducible kinds in a block of matrices are computed: the commutant has 16² unknowns then,
# and its singular value decomposition takes milliseconds.
_SMALL = 16
# A singular value below this share of the largest belongs to the null space. Chosen by hand, as the next two.
_NULL = 1e-8
# Eigenvalues of a random symmetric matrix closer than this share of the largest belong to one eigenspace.
_EQUAL = 1e-6
# An entry above this connects two eigenspaces.
_CONNECTS = 1e-6


class Parts:
    """How the outputs of a representation split: into *blocks*, and a block into *kinds* where that is known.

    A block of a permutation representation is an orbit of coordinates. A block of a representation by matrices is a
    set of coordinates that the generators' nonzero entries connect. So a coordinate that nothing moves is a block of
    its own. A block of at most 16 numbers that orthogonal matrices act on splits further into its isotypic parts, the
    *kinds*; with ``means``, an orbit splits into its mean and the rest. All of these are invariant subspaces,
    orthogonal to one another.

    The *units* in which a defect is measured are the blocks, then the kinds of those blocks that have several. Kinds
    are axes of other coordinates, the *features*: an *atom* is a kind, or a block that does not split.

    Args:
        whole_blocks: do not split blocks.
        means: split each orbit of a permutation representation into its mean and the rest; without effect on other
            representations and beside ``whole_blocks``.

    Attributes: ``n_blocks``; ``n_units``; ``block_of (units,)``, the block that a unit belongs to; ``labels (dim,)``,
    the block of each coordinate; ``shape``, that of an output.
    """

    def __init__(self, rep: AnyRepresentation, *, whole_blocks: bool = False, means: bool = False):
        labels, moves = _blocks(rep)
        splits = not rep.is_permutation and not whole_blocks and rep.is_orthogonal
        self._set(rep.shape, labels, moves if splits else [], means and rep.is_permutation and not whole_blocks)

    @classmethod
    def of_labels(cls, labels: Tensor, moves: list[np.ndarray]) -> "Parts":
        """The parts of outputs ``(dim,)`` whose blocks are known, where no representation of a group is at hand.

        Args:
            labels: ``(dim,)`` int64, the block of each coordinate, 0 to the number of blocks less 1, each taken.
            moves: orthogonal matrices ``(dim, dim)`` that keep each block to itself, by whose isotypic parts the blocks
                are split; an empty list leaves them whole.
        """
        parts = cls.__new__(cls)
        parts._set((len(labels),), labels, moves, False)
        return parts

    def _set(self, shape: tuple[int, ...], labels: Tensor, moves: list[np.ndarray], means: bool) -> None:
        """Set every attribute; ``moves`` split the blocks, and ``means`` splits each into its mean and the rest."""
        self.shape = shape
        self.labels = labels
        self.n_blocks = int(self.labels.max()) + 1 if len(self.labels) else 0
        self._sizes = torch.bincount(self.labels, minlength=self.n_blocks).double()
        self._means = means
        self._turn: Tensor | None = None
        # The atom that each feature belongs to, and the block of each atom. The first atom of a block has its number.
        atoms = self.labels
        parents = torch.arange(self.n_blocks)
        if self._means:
            several = (self._sizes > 1).nonzero().flatten()
            atoms = torch.cat([atoms, self.n_blocks + torch.arange(len(several))])
            parents = torch.cat([parents, several])
        elif moves:
            self._turn, atoms, parents = _isotypic(self.labels, self.n_blocks, moves)
        self._atoms = atoms
        self._parents = parents
        split = torch.bincount(parents, minlength=self.n_blocks) > 1
        self._kinds = split[parents].nonzero().flatten()
        size = len(self._atoms) // max(self.n_blocks, 1)
        even = torch.arange(self.n_blocks).repeat_interleave(size)
        # Blocks of one size, one after the other, can be summed as an axis, which is faster than by index.
        self._size = size if not len(self._kinds) and torch.equal(even, self._atoms) else 0
        size = len(self.labels) // max(self.n_blocks, 1)
        even = torch.arange(self.n_blocks).repeat_interleave(size)
        self._orbit = size if self._means and size > 1 and torch.equal(even, self.labels) else 0
        self.block_of = torch.cat([torch.arange(self.n_blocks), parents[self._kinds]])
        self.n_units = len(self.block_of)

    def features(self, y: Tensor) -> Tensor:
        """Coordinates ``(..., features)`` of ``(..., dim)`` in which every atom is a set of axes.

        They are the coordinates themselves where no block splits; else a change of basis by an orthogonal matrix. With
        ``means`` there are more of them than coordinates: first the deviation of each coordinate from the mean of its
        orbit, then for each orbit with several points its mean times the root of its size. Lengths stay the same.
        """
        if self._turn is not None:
            return y @ self._turn.to(y)
        if not self._means:
            return y
        if self._orbit:
            orbits = y.unflatten(-1, (self.n_blocks, self._orbit))
            mean = orbits.mean(-1, keepdim=True)
            return torch.cat([(orbits - mean).flatten(-2), mean.squeeze(-1) * self._orbit**0.5], dim=-1)
        labels = self.labels.to(y.device)
        sizes = self._sizes.to(y)
        mean = y.new_zeros(*y.shape[:-1], self.n_blocks).index_add_(-1, labels, y) / sizes
        several = sizes > 1
        rest = y - (mean * several).index_select(-1, labels)
        return torch.cat([rest, (mean * sizes.sqrt())[..., several]], dim=-1)

    def squares(self, features: Tensor) -> Tensor:
        """The squared length of each unit, ``(..., features) -> (..., units)``."""
        return self.sums(features.square())

    def sums(self, values: Tensor) -> Tensor:
        """The sum over the features of each unit, ``(..., features) -> (..., units)``.

        The sum of a block is that of all its kinds.
        """
        lead = values.shape[:-1]
        device = values.device
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
        """For each unit the value of its block, ``(..., blocks) -> (..., units)``."""
        if not len(self._kinds):
            return per_block
        return per_block.index_select(-1, self.block_of.to(per_block.device))

    @cached_property
    def is_kind(self) -> Tensor:
        """Whether each unit is a kind inside a block, ``(units,)`` booleans."""
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


# Parts of the representations that are in use.
_KNOWN: "WeakKeyDictionary[AnyRepresentation, dict[tuple[bool, bool], Parts]]" = WeakKeyDictionary()


def parts_of(rep: AnyRepresentation, *, whole_blocks: bool = False, means: bool = False) -> Parts:
    """:class:`Parts` of a representation with these options, computed once and kept as long as the representation
    lives.
    """
    known = _KNOWN.setdefault(rep, {})
    key = whole_blocks, means
    if key not in known:
        known[key] = Parts(rep, whole_blocks=whole_blocks, means=means)
    return known[key]


def _blocks(rep: AnyRepresentation) -> tuple[Tensor, list[np.ndarray]]:
    """The block of each coordinate ``(dim,)``, and the generators' matrices, none for a permutation representation.

    Blocks are the connected components of the graph whose edges are the generators' nonzero entries. They are numbered
    in the order of their first coordinates.
    """
    n = rep.dim
    rows = [np.arange(n)]
    columns = [np.arange(n)]
    matrices: list[np.ndarray] = []
    for g in rep.group.generators:
        if rep.is_permutation:
            moved = rep.act(g, torch.arange(n).reshape(rep.shape)).reshape(-1).numpy()
            rows.append(np.arange(n))
            columns.append(moved)
        else:
            matrix = rep.matrix(g).numpy()
            matrices.append(matrix)
            i, j = entries_of(matrix)
            rows.append(i)
            columns.append(j)
    return block_labels(n, np.concatenate(rows), np.concatenate(columns)), matrices


def entries_of(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows and the columns of the entries of a matrix ``(m, n)`` that are not rounding."""
    i, j = np.nonzero(np.abs(matrix) > _TOLERANCE * max(1.0, float(np.abs(matrix).max(initial=0))))
    return i, j


def block_labels(n: int, i: np.ndarray, j: np.ndarray) -> Tensor:
    """The block of each of ``n`` coordinates, ``(n,)`` int64: those that the pairs ``(i, j)``, ``(pairs,)``, connect.

    Blocks are numbered in the order of their first coordinates.
    """
    _, labels = connected_components(coo_array((np.ones(len(i)), (i, j)), shape=(n, n)), directed=False)
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty_like(first)
    # connected_components numbers blocks in an order of its own.
    rank[np.argsort(first)] = np.arange(len(first))
    return torch.as_tensor(rank[inverse.reshape(-1)], dtype=torch.long)


def _isotypic(labels: Tensor, n_blocks: int, moves: list[np.ndarray]) -> tuple[Tensor | None, Tensor, Tensor]:
    """Blocks split into isotypic parts: an orthogonal basis (columns), the atom of each vector, the block of each atom.

    The vectors of a block stand at the places of its coordinates, and its first atom has its number; further atoms are
    numbered after the last block. The basis is None where no block splits. A block of one number or more than 16 does
    not.

    Args:
        labels: the block of each coordinate ``(dim,)``.
        moves: the generators' matrices, orthogonal ``(dim, dim)``.
    """
    n = len(labels)
    turn = np.eye(n)
    atoms = labels.clone()
    parents = list(range(n_blocks))
    # Equal blocks, of which there may be many, are split once.
    known: dict[bytes, tuple[np.ndarray, np.ndarray]] = {}
    changed = False
    for block in range(n_blocks):
        at = (labels == block).nonzero().flatten().numpy()
        if not 1 < len(at) <= _SMALL or not moves:
            continue
        inner = np.stack([matrix[np.ix_(at, at)] for matrix in moves])
        # Rounded, since equal blocks may differ in the last digits.
        key = inner.round(9).tobytes()
        if key not in known:
            known[key] = _kinds(inner)
        basis, kind = known[key]
        if kind.max() == 0:
            continue
        changed = True
        turn[np.ix_(at, at)] = basis
        # Kind 0 keeps the number of the block, and each further kind becomes a new atom.
        for k in range(1, int(kind.max()) + 1):
            atoms[torch.as_tensor(at[kind == k])] = len(parents)
            parents.append(block)
    return (torch.as_tensor(turn) if changed else None), atoms, torch.tensor(parents, dtype=torch.long)


def _kinds(moves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An orthogonal basis ``(n, n)``, in columns, and the number of each vector's isotypic part, ``(n,)``.

    The eigenspaces of a random symmetric matrix that commutes with all of ``moves`` are irreducible (Schur's lemma).
    Two of them are isomorphic, and belong to one isotypic part, when another such matrix maps one into the other.

    Args: ``moves``: orthogonal matrices ``(generators, n, n)``.
    """
    n = moves.shape[1]
    eye = np.eye(n)
    # X commutes with M if M X − X M = 0, row-major: (M ⊗ I − I ⊗ Mᵀ) vec(X) = 0. The null space is the commutant.
    rows = np.concatenate([np.kron(M, eye) - np.kron(eye, M.T) for M in moves])
    _, sizes, vectors = np.linalg.svd(rows, full_matrices=False)  # as many rows as columns, at least
    free = vectors[int((sizes > _NULL * max(1.0, float(sizes.max(initial=0)))).sum()) :].reshape(-1, n, n)
    # A fixed seed: the kinds of a representation must not change from call to call.
    draw = np.random.default_rng(0)
    first, second = (np.tensordot(draw.standard_normal(len(free)), free, 1) for _ in range(2))
    values, basis = np.linalg.eigh(first + first.T)
    spaces = np.concatenate([[0], np.cumsum(np.diff(values) > _EQUAL * max(1e-300, float(np.abs(values).max())))])
    across = np.abs(basis.T @ (second + second.T) @ basis) > _CONNECTS
    same = coo_array(across | (spaces[:, None] == spaces[None, :]))
    return basis, connected_components(same, directed=False)[1]


def _places(places: list[int], shape: tuple[int, ...]) -> str:
    """Entries of an output of this shape, given by their flat indices ``places``, in words; the first three of many."""
    if not shape:
        return "the output"
    if len(places) == math.prod(shape):
        return "all outputs" if len(places) > 1 else "the output"
    shown = [", ".join(map(str, np.unravel_index(at, shape))) for at in places[:3]]
    if len(places) == 1:
        return f"output [{shown[0]}]"
    more = f", … ({len(places)} in all)" if len(places) > 3 else ""
    return f"outputs {', '.join(f'[{text}]' for text in shown)}{more}"
