"""The feature symmetry of a flow: the matrices ``R`` with ``Φ(X Rᵀ) = Φ(X) Rᵀ``.

On the sphere they are the orthogonal ``R`` that commute with ``B = QᵀK`` and ``V`` of every head, and with the
token-wise network as a function. Without a sphere ``R`` may be any invertible matrix with ``Rᵀ B R = B`` and
``R V = V R``, such as a Lorentz boost. Infinitely many ``R`` are found as a Lie algebra, finitely many by a scan of all
signed permutations.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations, product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msr.brief import Brief
from msr.errors import ConfigError, ShapeError
from msr.flow.arguments import real_values, token_count
from msr.flow.dynamics.mlp import Mlp
from msr.flow.symmetries.null_spaces import checked_nullity
from msr.flow.symmetries.relu_maps import Bends, bends_of, commutes
from msr.groups.naming import GroupName, name_group
from msr.memory import refuse_if_larger
from msr.permutations import Indices
from msr.permutations.stabiliser_chains import Chain

__all__ = ["MOST_SIGNED", "FeatureGroup", "feature_group", "signed_permutations"]

MOST_SIGNED = 6
"""Largest dimension of which all ``2^d d!`` signed permutations are scanned: 46,080 for 6, and 645,120 for 7."""
_SAME = 1e-9
"""Relative error up to which two matrices of double precision commute: a square root of rounding, and less."""


@dataclass(frozen=True, eq=False, repr=False)
class FeatureGroup(Brief):
    """The matrices that commute with a flow's features, as far as a Lie algebra and signed permutations show them.

    Attributes:
        algebra: ``(dim, d, d)`` float64, orthonormal: ``exp(t A)`` commutes with the flow.
        gap: the smallest singular value that was not taken for 0, relative to the matrices; infinite where there is
            none. The others are rounding.
        signed: ``(order, d, d)`` float64: the signed permutation matrices that commute with the flow; None above
            dimension 6. The flow may have more symmetries that are neither.

    Raises: ShapeError.
    """

    algebra: Tensor
    gap: float
    signed: Tensor | None

    def __post_init__(self) -> None:
        d = self.algebra.shape[-1]
        for name in ("algebra", "signed"):
            matrices = getattr(self, name)
            if matrices is not None and (matrices.ndim != 3 or matrices.shape[1:] != (d, d)):
                raise ShapeError(f"{name} must be (…, {d}, {d}); got {tuple(matrices.shape)}")

    @property
    def dim(self) -> int:
        """The dimension of the Lie algebra."""
        return len(self.algebra)

    @property
    def order(self) -> int | None:
        """How many signed permutations there are; None where they were not scanned."""
        return None if self.signed is None else len(self.signed)

    @cached_property
    def name(self) -> GroupName | None:
        """The name of the group of signed permutations, acting on the ``2d`` vectors ``±e_i``; found when asked for."""
        if self.signed is None:
            return None
        moves = _generating(_on_axes(self.signed.numpy()))
        return name_group(moves, moves, order=len(self.signed))


def feature_group(d: int, B: Any = None, V: Any = None, *, mlp: Mlp | None = None, sphere: bool = True) -> FeatureGroup:
    """The feature symmetry of a flow of tokens of ``d`` dimensions: see :class:`FeatureGroup`.

    At ``β = 0`` ``B`` plays no part: leave it out.

    Args:
        d: the dimension.
        B: ``QᵀK``, ``(d, d)`` or ``(heads, d, d)``; the identity by default, which every orthogonal matrix commutes
            with.
        V: of the same shapes; the identity by default. Matrices of less than double precision commute as far as that
            tells.
        mlp: the token-wise network, of any width.
        sphere: whether tokens live on the unit sphere, so that ``R`` is orthogonal; else any invertible ``R`` is meant,
            and without ``B`` nothing keeps a product.

    Raises: ShapeError; ConfigError; NonFiniteError; DataError; PrecisionError where a singular value is too small to
    tell from rounding, and too large to be it.
    """
    d = token_count(d, "d")
    scores = _matrices(B, "B", d)
    values = _matrices(V, "V", d)
    if not sphere and B is None:
        scores = np.eye(d)[None]
    bends = None
    if mlp is not None:
        if mlp.d != d:
            raise ShapeError(f"mlp must take tokens of {d} dimensions; got one for {mlp.d}")
        W1, W2 = (W.detach().cpu().to(torch.float64).numpy() for W in (mlp.W1, mlp.W2))
        b = np.zeros(len(W1)) if mlp.b is None else mlp.b.detach().cpu().to(torch.float64).numpy()
        bends = bends_of(W1, W2, b, on_sphere=sphere)
    same = _SAME * math.sqrt(max(_rounding(given) for given in (B, V)) / 2.0**-52)
    algebra, gap = _algebra(d, scores, values, bends, sphere, same)
    signed = None
    if d <= MOST_SIGNED:
        matrices = signed_permutations(d).numpy()
        for M in (*scores, *values):
            off = np.abs(matrices @ M - M @ matrices).max((1, 2))
            matrices = matrices[off <= same * np.abs(M).max()]
        if bends is not None:
            matrices = matrices[[commutes(bends, R) for R in matrices]]
        signed = torch.from_numpy(matrices.copy())
    return FeatureGroup(torch.from_numpy(algebra), gap, signed)


def signed_permutations(d: int) -> Tensor:
    """All ``2^d d!`` matrices with one entry ±1 in each row and column, ``(…, d, d)`` float64; the identity is first.

    Raises: ConfigError for a dimension above 6, of which there are too many.
    """
    d = token_count(d, "d")
    if d > MOST_SIGNED:
        raise ConfigError(f"d must be at most {MOST_SIGNED}: there are 2^d d! signed permutations; got {d}")
    places = np.array(list(permutations(range(d))))
    signs = np.array(list(product((1.0, -1.0), repeat=d)))
    matrices = np.eye(d)[places]
    return torch.from_numpy((matrices[:, None] * signs[None, :, :, None]).reshape(-1, d, d))


def _matrices(given: Any, name: str, d: int) -> NDArray[np.float64]:
    """Matrices ``(heads, d, d)``; none where None is given. Raises: ShapeError, DataError, NonFiniteError."""
    if given is None:
        return np.zeros((0, d, d))
    matrices = real_values(given, name).detach().cpu().to(torch.float64).numpy()
    if matrices.ndim not in (2, 3) or matrices.shape[-2:] != (d, d):
        raise ShapeError(f"{name} must be ({d}, {d}) or (heads, {d}, {d}); got {matrices.shape}")
    return matrices.reshape(-1, d, d)


def _rounding(given: Any) -> float:
    """The rounding of the precision in which a matrix came: whole numbers and lists have that of float64."""
    dtype = torch.float64 if given is None else real_values(given, "a matrix").dtype
    return float(torch.finfo(dtype).eps)


def _algebra(
    d: int,
    scores: NDArray[np.float64],
    values: NDArray[np.float64],
    bends: Bends | None,
    sphere: bool,
    same: float,
) -> tuple[NDArray[np.float64], float]:
    """An orthonormal basis ``(dim, d, d)`` of the Lie algebra, and the gap above the singular values that are 0."""
    units = np.eye(d * d).reshape(d * d, d, d)
    if sphere:
        i, j = np.triu_indices(d, 1)
        basis = (units[i * d + j] - units[j * d + i]) / math.sqrt(2)
    else:
        basis = units
    k = len(basis)
    m = 0 if bends is None else len(bends.planes)
    refuse_if_larger(
        24.0 * (k + m) * ((len(scores) + len(values) + 1) * d * d + 2 * m * d), f"the algebra in {d} dimensions",
        advice="give fewer dimensions",
    )  # fmt: skip
    blocks = [np.zeros((1, k + m))]
    for M in scores:
        # Rᵀ B R = B for R = exp(tA); for antisymmetric A that is A B = B A, and then A Bᵀ = Bᵀ A follows.
        rows = basis.swapaxes(1, 2) @ M + M @ basis
        blocks.append(_padded(rows.reshape(k, -1).T, M, m))
    blocks += [_padded((basis @ M - M @ basis).reshape(k, -1).T, M, m) for M in values]
    if bends is not None:
        blocks += _bend_rows(basis, bends)
    stacked = np.concatenate(blocks)
    if k == 0:
        return np.zeros((0, d, d)), math.inf
    _, sizes, right = np.linalg.svd(stacked, full_matrices=True)
    sizes = np.concatenate([sizes, np.zeros(k + m - len(sizes))])
    dim, gap = checked_nullity(sizes, same, "the feature algebra")
    null = right[len(right) - dim :, :k] if dim else np.zeros((0, k))
    # Where planes are scaled along, the solution holds the scales, too, and A alone is not orthonormal.
    null = np.linalg.qr(null.T)[0].T if dim else null
    return np.einsum("ak,kij->aij", null, basis), gap


def _padded(rows: NDArray[np.float64], M: NDArray[np.float64], m: int) -> NDArray[np.float64]:
    """Rows relative to the size of a matrix, with a zero for each of ``m`` more unknowns."""
    size = float(np.linalg.norm(M)) or 1.0
    return np.concatenate([rows / size, np.zeros((len(rows), m))], axis=1)


def _bend_rows(basis: NDArray[np.float64], bends: Bends) -> list[NDArray[np.float64]]:
    """Equations of ``A (k)`` and of one number ``λ_j`` for each plane: a path of ``R`` takes each plane to itself.

    Planes are finitely many, so none can move: ``Aᵀ w = λ w``, ``λ b = 0`` and ``A C = λ C``. The affine part commutes.
    """
    k = len(basis)
    m = len(bends.planes)
    blocks = [_padded((basis @ bends.linear - bends.linear @ basis).reshape(k, -1).T, bends.linear, m)]
    size = float(np.linalg.norm(bends.constant)) or 1.0
    blocks.append(np.concatenate([(basis @ bends.constant).T / size, np.zeros((basis.shape[1], m))], axis=1))
    for j, (plane, C) in enumerate(zip(bends.planes, bends.coefficients, strict=True)):
        w, b = plane[:-1], plane[-1]
        own = C / np.linalg.norm(C)
        for rows, vector in (((w @ basis).T, w), ((basis @ own).T, own), (np.zeros((1, k)), np.array([b]))):
            scales = np.zeros((len(rows), m))
            scales[:, j] = -vector
            blocks.append(np.concatenate([rows, scales], axis=1))
    return blocks


def _on_axes(matrices: NDArray[np.float64]) -> Indices:
    """Signed permutations as permutations of ``e_1, …, e_d, −e_1, …, −e_d``: ``(r, 2d)``."""
    d = matrices.shape[1]
    # Column j is the image of e_j: the place of its entry, and d further where that is negative.
    places = np.abs(matrices).argmax(1)
    negative = np.take_along_axis(matrices, places[:, None], 1)[:, 0] < 0
    images = places + d * negative
    return np.concatenate([images, (images + d) % (2 * d)], axis=1)


def _generating(moves: Indices) -> Indices:
    """Some elements that generate the group of all elements given, ``(r, n)``: random ones, until there are enough."""
    rng = np.random.default_rng(0)
    order = len(moves)
    chosen = moves[:0]
    while Chain(chosen, most=order).order < order if len(chosen) else order > 1:
        chosen = np.concatenate([chosen, moves[rng.integers(order, size=2)]])
    return chosen
