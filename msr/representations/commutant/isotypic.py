"""All matrices that commute with a set of maps, by the structure of their *-algebra.

A set of matrices that is closed under transposition generates an algebra under which the space splits into irreducible
parts. By Schur's lemma the commutant of the algebra consists of ``m × m`` matrices over the reals, the complex numbers
or the quaternions for a part that occurs ``m`` times. All copies of one irreducible part together are an isotypic part.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import block_diag
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree
from torch import Tensor

from msr.arrays import takes_arrays
from msr.errors import ConfigError, DataError, NonFiniteError, ShapeError
from msr.representations.commutant.parts import FIELD, Array, Part
from msr.representations.commutant.values import MOST_RTOL, Commutant

__all__ = ["commutant", "isotypic", "structure", "transposed_products"]

_KINDS = {size - 1: kind for kind, size in FIELD.items()}
"""The name of the field with this number of imaginary units."""
_DRAWS = 5
"""Number of random elements of a division algebra that are drawn: more than the three skew directions there can be."""
_SLACK = 4
"""Errors are compared with this multiple of the tolerance, since a product of two elements, or an element in a basis
that was turned, is off by more than one element is. Chosen by hand."""
_SMALL = 64
"""Up to this dimension the best of several random combinations is taken, which costs nothing there."""
_TINY = 1e-300
"""Least divisor, which keeps a division by zero from happening."""
_COMMUTES = 1e-5
"""Least value of the limit on the relative error at which a random element of the commutant counts as commuting:
rounding stays below it. The limit is the root of the tolerance where that is larger.
"""


def transposed_products(W: Tensor, generator: torch.Generator, *, outputs: bool, count: int = 3) -> Tensor:
    """Random elements of the algebra that a span generates on one side, ``(count, d, d)`` float64.

    ``Σ_ij c_ij W_iᵀ W_j`` on inputs (``d`` is ``in``) and, with ``outputs``, ``Σ_ij c_ij W_i W_jᵀ`` on outputs (``d``
    is ``out``), ``c`` standard normal. For orthogonal actions ``ρ_out(g) W = W ρ_in(g)`` makes them commute with
    ``ρ_in`` and ``ρ_out``. A few are most often enough to generate what all of them do, and not always: compare with
    one more (as ``continuous`` does).

    Shapes: ``W (k, out, in)``; the cost is ``O(count · k · (k + d) · out · in)``.
    """
    V = W.double() if outputs else W.double().mT
    k, d, other = V.shape
    flat = V.permute(1, 0, 2).reshape(d, k * other)
    elements = []
    for _ in range(count):
        mixed = torch.randn(k, k, generator=generator, dtype=torch.float64) @ V.reshape(k, d * other)
        elements.append(flat @ mixed.view(k, d, other).permute(0, 2, 1).reshape(k * other, d))
    return torch.stack(elements)


@takes_arrays("matrices")
def commutant(matrices: Tensor, *, rtol: float = 1e-6, seed: int = 0) -> Commutant:
    """The structure of all ``A`` with ``A M = M A`` and ``A Mᵀ = Mᵀ A`` for the given ``M (r, d, d)``.

    They form an algebra of ``Σ m² · f`` dimensions for parts of multiplicity ``m`` over fields of size ``f`` (1, 2 or
    4); see ``isotypic`` for the method, its cost and its errors.

    Args:
        rtol: two numbers closer than this share of the largest singular value are one. For matrices with noise, about
            twice the noise's spectral norm over the matrices'. With noise of a percent, parts that differ by little
            beyond some ten dimensions are no longer separated: the answer then has a larger dimension, or
            is a DataError.
        seed: of the random elements; with exact matrices the answer does not depend on it.

    Raises: ShapeError, NonFiniteError, ConfigError; DataError where no structure fits.
    Source: Murota, Kanno, Kojima and Kojima, 2010; Maehara and Murota, 2011.
    """
    return structure(isotypic(matrices, rtol=rtol, seed=seed))


def structure(parts: tuple[Part, ...]) -> Commutant:
    """The dimensions and multiplicities of a decomposition as a :class:`Commutant`, its parts sorted: by the dimension
    of the irreducible part, then by multiplicity, then by type.
    """
    listed = tuple(sorted((p.dimension, p.multiplicity, p.kind) for p in parts))
    return Commutant(
        dimension=sum(m * m * FIELD[kind] for _, m, kind in listed),
        parts=listed,
        skew_dimension=sum(_skew(m, kind) for _, m, kind in listed),
    )


def isotypic(matrices: Tensor, *, rtol: float = 1e-6, seed: int = 0) -> tuple[Part, ...]:
    """The isotypic parts of the algebra that ``M (r, d, d)`` and their transposes generate, the identity included.

    Their order, and the coordinates within a part, depend on ``seed``.

    One random symmetric combination ``H`` of the ``M`` splits the space into eigenspaces. The blocks of further random
    elements between two eigenspaces say whether these belong to one part. The blocks also split eigenspaces that ``H``
    left together, and carry one frame of coordinates through the part. In this frame every block is a number of a
    field, the reals, the complex numbers or the quaternions, and the field is read off the blocks. At last the answer
    is tried: a random element of the commutant that was found must commute with a fresh random combination of the
    ``M``, and hence with all of them. If it does not, the fresh combination joins the elements.

    Costs a few products of ``d × d`` matrices and eigendecompositions, ``O(d³)``.

    Raises: ShapeError, NonFiniteError, ConfigError for ``rtol`` outside (0, 0.1]; DataError where the matrices fit no
    structure at ``rtol``.
    """
    M = _checked(matrices, rtol)
    generator = torch.Generator().manual_seed(seed)
    d = M.shape[1]
    # With noise it matters how far different eigenvalues are apart: of several combinations the best one is taken.
    attempts = (_levels(_drawn(M, generator), rtol) for _ in range(8 if d <= _SMALL else 1))
    basis, levels, _ = max(attempts, key=lambda attempt: attempt[2])
    known = [_drawn(M, generator) for _ in range(4 if d <= _SMALL else 2)]
    # Every round turns the basis, so that there are more levels, or adds an element: both end.
    for _ in range(4 * len(M) + 2 * d):
        blocks = np.stack([basis.T @ X @ basis for X in known])
        parts, turns = _parts(blocks, levels, rtol, generator)
        if turns:
            basis, levels = _turned(basis, levels, turns)
            continue
        fresh = _drawn(M, generator)
        if _commutes(parts, levels, basis.T @ fresh @ basis, rtol, generator):
            return tuple(
                Part(np.stack([basis[:, levels[a]] @ turn for a, turn in part.frames]), part.units, part.kind)
                for part in parts
            )
        # As many elements as matrices and transposes span the same space: more would add nothing.
        if len(known) >= 2 * len(M) + 4:
            break
        known.append(fresh)
    raise DataError(
        f"the matrices fit no block structure at rtol={rtol:g}: no element of the commutant found so commutes with all "
        "of them; they hold more noise than that: give a larger rtol or cleaner matrices"
    )


@dataclass(frozen=True, eq=False)
class _LocalPart:
    """A part in the basis of eigenvectors of ``H`` (see :func:`isotypic`).

    ``frames``: pairs of the number of an eigenspace and the orthogonal matrix ``(w, w)`` that takes the frame of the
    part to the basis of that eigenspace. ``units`` and ``kind`` are those of :class:`Part`.
    """

    frames: list[tuple[int, Array]]
    units: Array
    kind: str


def _checked(matrices: Tensor, rtol: float) -> Tensor:
    """The matrices ``(r, d, d)`` in float64, all divided by the one largest absolute entry; zeros stay zero.

    Raises: ShapeError; ConfigError for ``rtol`` outside (0, 0.1]; NonFiniteError.
    """
    if matrices.ndim != 3 or matrices.shape[1] != matrices.shape[2] or 0 in matrices.shape:
        raise ShapeError(f"the matrices must be (r, d, d), at least one, d ≥ 1; got {tuple(matrices.shape)}")
    if not 0 < rtol <= MOST_RTOL:
        raise ConfigError(
            f"rtol is a share of the largest singular value, above 0 and at most {MOST_RTOL:g}; got {rtol}"
        )
    if not matrices.isfinite().all():
        raise NonFiniteError("a matrix holds nan or infinity: leave it out, or find where it comes from")
    M = matrices.detach().double()
    # One scale for all, so that a matrix of rounding errors beside large ones does not count as much as they do.
    return M / M.abs().amax().clamp_min(torch.finfo(torch.float64).tiny)


def _drawn(M: Tensor, generator: torch.Generator) -> Array:
    """A random combination ``(d, d)`` of the matrices ``M (r, d, d)`` and their transposes, of spectral norm about
    one.
    """
    # Transposes too, since the algebra is closed under transposition.
    weights = torch.randn(2, len(M), generator=generator, dtype=torch.float64)
    flat = M.flatten(1)
    drawn = (weights[0] @ flat).view(M.shape[1:]) + (weights[1] @ flat).view(M.shape[1:]).mT
    # The spectral norm by power iteration; a rough value is enough. The matrices are small, and a call of numpy costs a
    # fraction of one of torch.
    X = drawn.numpy()
    v = torch.randn(len(X), generator=generator, dtype=torch.float64).numpy()
    for _ in range(20):
        v = X.T @ (X @ (v / max(math.sqrt(v @ v), _TINY)))
    scale = math.sqrt(math.sqrt(v @ v))
    return X / scale if scale > 0 else X


def _levels(X: Array, rtol: float) -> tuple[Array, list[slice], float]:
    """Eigenvectors of the symmetric part of ``X``, its levels (runs of equal eigenvalues), and the least step between
    levels.

    The eigenvectors are columns ``(d, d)`` by ascending eigenvalue, a level is the slice of its columns, and the step
    is a difference of eigenvalues, infinite for one level. Neighbours that differ by at most ``rtol`` times the largest
    absolute eigenvalue are equal.
    """
    values, basis = np.linalg.eigh((X + X.T) / 2)
    steps = np.diff(values)
    is_boundary = steps > rtol * max(np.abs(values).max(), _TINY)
    ends = [0, *(np.flatnonzero(is_boundary) + 1).tolist(), len(values)]
    return basis, [slice(a, b) for a, b in pairwise(ends)], float(steps[is_boundary].min(initial=math.inf))


def _parts(
    blocks: Array, levels: list[slice], rtol: float, generator: torch.Generator
) -> tuple[list[_LocalPart], dict[int, tuple[Array, list[int]]]]:
    """The isotypic parts, and nothing to cut; or else how to cut the levels that hold several eigenspaces.

    ``blocks``: elements of the algebra in the basis of eigenvectors, ``(r, d, d)``. The second result holds, by the
    number of a level to cut, the orthogonal matrix ``(w, w)`` that its columns are to be multiplied by, and the sizes
    of the new levels, which add up to ``w``. Unless it is empty, the first result is incomplete and not to be used, and
    there may be more to cut.
    Raises: DataError where the elements fit no structure at ``rtol``.
    """
    widths = np.array([s.stop - s.start for s in levels])
    # Levels between which some element has a block that is not zero belong to one part.
    strength = _strengths(blocks, levels, widths)
    graph = coo_array(strength > _SLACK * rtol)
    count, which = connected_components(graph, directed=False)
    parts: list[_LocalPart] = []
    turns: dict[int, tuple[Array, list[int]]] = {}
    ends = np.cumsum(np.bincount(which, minlength=count))[:-1]
    for members in np.split(np.argsort(which, kind="stable"), ends):
        w = int(widths[members].min())
        inside = _within(blocks, levels, members) if widths[members].max() > 1 else None
        if inside is not None:
            turns |= _uneven(inside, levels, members, rtol, generator)
        if turns:
            continue
        if widths[members].max() > w:
            raise DataError(
                f"eigenspaces of {w} and {widths[members].max()} dimensions belong to one part at rtol={rtol:g}, where "
                "all must be alike: the matrices hold more noise than that, or less; give another rtol"
            )
        if inside is None:
            parts.append(_LocalPart([(int(a), np.ones((1, 1))) for a in members], np.empty((0, 1, 1)), "real"))
            continue
        frames = _carried(inside, strength[np.ix_(members, members)])
        units, cut = _field(inside, frames, rtol, generator)
        if cut is not None:
            turns[int(members[0])] = cut
            continue
        parts.append(_LocalPart(list(zip(map(int, members), frames, strict=True)), units, _KINDS[len(units)]))
    return parts, turns


def _strengths(blocks: Array, levels: list[slice], widths: NDArray[np.int64]) -> Array:
    """The root mean square singular value of the block between two levels, the largest among the elements.

    Of a block as many singular values are counted as the narrower level has dimensions, and the squares of the two
    blocks ``(a, b)`` and ``(b, a)`` are added. Shapes: ``blocks (r, d, d)``, ``widths (L,)`` the dimensions of the
    levels; the result is ``(L, L)``.
    """
    starts = [s.start for s in levels]
    squares = np.add.reduceat(np.add.reduceat(blocks**2, starts, axis=1), starts, axis=2)
    squares = (squares + squares.transpose(0, 2, 1)).max(axis=0)
    return np.sqrt(squares / np.minimum(widths[:, None], widths[None, :]))


def _within(blocks: Array, levels: list[slice], members: NDArray[np.int64]) -> Array:
    """The blocks between the levels ``members`` of a part, ``(r, L, L, w, w)``; narrow levels are padded with zeros.

    ``blocks``: elements in the basis of eigenvectors, ``(r, d, d)``; ``members``: the numbers of the ``L`` levels, of
    which the widest has ``w`` dimensions.
    """
    w = max(levels[a].stop - levels[a].start for a in members)
    inside = np.zeros((len(blocks), len(members), len(members), w, w))
    if all(levels[a].stop - levels[a].start == w for a in members):
        at = np.array([levels[a].start for a in members])[:, None] + np.arange(w)
        return blocks[:, at[:, None, :, None], at[None, :, None, :]]
    for i, a in enumerate(members):
        for j, b in enumerate(members):
            block = blocks[:, levels[a], levels[b]]
            inside[:, i, j, : block.shape[1], : block.shape[2]] = block
    return inside


def _uneven(
    inside: Array, levels: list[slice], members: NDArray[np.int64], rtol: float, generator: torch.Generator
) -> dict[int, tuple[Array, list[int]]]:
    """How to cut the levels that hold several eigenspaces, which happen to have one eigenvalue in ``H``.

    By the number of a level, the result holds eigenvectors and the sizes of the new levels, as :func:`_cut` gives them;
    it is empty where no level is seen to hold several. ``inside`` is what :func:`_within` gives for ``members``.
    Between single eigenspaces a block ``X_ab`` is a number of the field times an isometry, so ``X_ab X_abᵀ`` is a
    multiple of the identity. A random sum of such products that is not one shows the eigenspaces by its own.
    """
    r, L = inside.shape[:2]
    # Positive weights, so that no two products cancel.
    weights = 0.5 + torch.rand(2, r, L, L, generator=generator, dtype=torch.float64).numpy()
    squares = np.einsum("rabij,rabkj,rab->aik", inside, inside, weights[0], optimize=True)
    squares += np.einsum("rbaji,rbajk,rab->aik", inside, inside, weights[1], optimize=True)
    diagonal = inside[:, np.arange(L), np.arange(L)] * weights[0].diagonal(axis1=1, axis2=2)[:, :, None, None]
    symmetric = squares + diagonal.sum(0) + diagonal.sum(0).swapaxes(1, 2)
    turns = {}
    for a, S in zip(members, symmetric, strict=True):
        width = levels[a].stop - levels[a].start
        cut = _cut(S[:width, :width], _SLACK * rtol * r)
        if cut is not None:
            turns[int(a)] = cut
    return turns


def _cut(S: Array, tolerance: float) -> tuple[Array, list[int]] | None:
    """Eigenvectors of a symmetric matrix and the sizes of runs of equal eigenvalues; None where all are equal.

    Eigenvectors are columns by ascending eigenvalue. Neighbouring eigenvalues are equal where they differ by at most
    ``tolerance``, not relative.
    """
    if len(S) == 1:
        return None
    values, vectors = np.linalg.eigh(S)
    boundaries = np.flatnonzero(np.diff(values) > tolerance) + 1
    if not len(boundaries):
        return None
    return vectors, np.diff([0, *boundaries.tolist(), len(values)]).tolist()


def _turned(basis: Array, levels: list[slice], turns: dict[int, tuple[Array, list[int]]]) -> tuple[Array, list[slice]]:
    """The basis and the levels after the levels in ``turns`` were turned and cut; a new array, the argument is kept.

    Args:
        basis: ``(d, d)``, orthonormal columns.
        levels: slices of the columns, in order, which together are all of them.
        turns: by the number of a level, the orthogonal matrix ``(w, w)`` that its columns are multiplied by, and the
            sizes of the new levels, which add up to ``w``.
    """
    basis = basis.copy()
    sizes = []
    for a, level in enumerate(levels):
        if a in turns:
            basis[:, level] = basis[:, level] @ turns[a][0]
            sizes += turns[a][1]
        else:
            sizes.append(level.stop - level.start)
    ends = np.cumsum(sizes).tolist()
    return basis, [slice(b - s, b) for b, s in zip(ends, sizes, strict=True)]


def _carried(inside: Array, strength: Array) -> list[Array]:
    """Orthogonal matrices ``T_a (w, w)``, one a level: every ``T_aᵀ X_ab T_b`` is a number of one field.

    ``T`` of the first level is the identity; from there the matrices are carried along the strongest blocks, which
    noise turns least: a maximal spanning tree of the levels. Shapes: ``inside (r, L, L, w, w)``, ``strength (L, L)``.
    """
    L = len(strength)
    w = inside.shape[-1]
    frames = [np.eye(w)] * L
    if L == 1:
        return frames
    # The minimal tree of the inverses is the maximal one of the strengths.
    tree = minimum_spanning_tree(np.where(strength > 0, 1 / np.maximum(strength, _TINY), 0))
    order, before = breadth_first_order(tree, 0, directed=False)
    for b in order[1:]:
        a = before[b]
        # Of the blocks of all elements, both ways, the largest. It is a number times an isometry, its polar factor.
        both = np.concatenate([inside[:, b, a], inside[:, a, b].swapaxes(1, 2)])
        U, _, Vt = np.linalg.svd(both[np.square(both).sum((1, 2)).argmax()])
        # The polar factor, since noise makes a block a little less than an isometry.
        frames[b] = U @ Vt @ frames[a]
    return frames


def _field(
    inside: Array, frames: list[Array], rtol: float, generator: torch.Generator
) -> tuple[Array, tuple[Array, list[int]] | None]:
    """The imaginary units of the field, ``(0, 1 or 3, w, w)``, and None; or no units, and how to cut the first level
    where the blocks are no numbers of a field, as :func:`_cut` gives it.

    A number of the field is a multiple of the identity plus a skew matrix, so random ones span 0, 1 or 3 skew
    directions, and their symmetric part has one eigenvalue. Raises: DataError for another number of directions.
    """
    r, L, _, w, _ = inside.shape
    T = np.stack(frames)
    # Seen from the frame, every block is a number of the field.
    x = (T.swapaxes(1, 2)[None, :, None] @ inside @ T[None, None]).reshape(r * L * L, w * w)
    weights = torch.randn(_DRAWS, len(x), generator=generator, dtype=torch.float64).numpy() / math.sqrt(L * r)
    y = (weights @ x).reshape(_DRAWS, w, w)
    # A level that the elements themselves do not cut is cut by words in them, which span the algebra: products of two
    # elements are tried next, and then products of two of those.
    for step in range(3):
        off = y - np.trace(y, axis1=1, axis2=2)[:, None, None] / w * np.eye(w)
        sizes = np.sqrt(np.square(off).sum((1, 2)) / w)
        if step == 0 and sizes.max() <= _SLACK * rtol:
            return np.empty((0, w, w)), None
        for S in y + y.swapaxes(1, 2):
            cut = _cut(S / 2, 2**step * _SLACK * rtol * max(1.0, float(sizes.max())))
            if cut is not None:
                return np.empty((0, w, w)), cut
        if step < 2:
            unit = off / max(sizes.max(), _TINY)
            y = unit + unit @ np.roll(unit, 1, axis=0)
    skew = (y - y.swapaxes(1, 2)).reshape(_DRAWS, w * w)
    _, values, directions = np.linalg.svd(skew, full_matrices=False)
    rank = int((values > _SLACK**2 * rtol * values[0]).sum())
    if rank not in (1, 3) or w % (rank + 1):
        raise DataError(
            f"{rank} skew directions in {w} dimensions are no field at rtol={rtol:g} (the reals have 0, the complex "
            "numbers 1, the quaternions 3): the matrices hold more noise than that; give a larger rtol"
        )
    return directions[:rank].reshape(rank, w, w) * math.sqrt(w), None


def _commutes(parts: list[_LocalPart], levels: list[slice], F: Array, rtol: float, generator: torch.Generator) -> bool:
    """Whether a random element of the commutant of ``parts`` commutes with ``F (d, d)``, in the basis of eigenvectors.

    Errors of about the root of ``rtol``, relative to ``F``, are tolerated.
    """
    placed: list[Array] = [np.empty((0, 0))] * len(levels)
    for part in parts:
        w = part.frames[0][1].shape[0]
        S = torch.randn(w, w, generator=generator, dtype=torch.float64).numpy() / math.sqrt(w)
        S = (S + sum(u @ S @ u.T for u in part.units)) / FIELD[part.kind]
        for a, T in part.frames:
            placed[a] = T @ S @ T.T
    B = block_diag(*placed)
    # A wrong structure is off by the size of the elements, a right one by noise over distances of eigenvalues.
    return bool(np.linalg.norm(B @ F - F @ B) <= max(math.sqrt(rtol), _COMMUTES) * np.linalg.norm(F) * 2)


def _skew(m: int, kind: str) -> int:
    """How many dimensions the antisymmetric elements of ``M_m`` over the field have: those of so(m), u(m), sp(m)."""
    return {"real": m * (m - 1) // 2, "complex": m * m, "quaternionic": m * (2 * m + 1)}[kind]
