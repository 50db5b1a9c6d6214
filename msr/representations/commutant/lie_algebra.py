"""The continuous symmetries of linear layers with given weights: they are there even where the problem's are finite.

A circulant matrix commutes with a torus, not with shifts alone. What all weights of a span commute with is a Lie
algebra, which this module measures and names, so that nobody takes it for the symmetry of the problem.
"""

from collections import Counter
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msr.arrays import takes_arrays
from msr.errors import ConfigError, DataError, NonFiniteError, ShapeError
from msr.representations.commutant.isotypic import Part, isotypic, structure, transposed_products
from msr.representations.commutant.spectral_gaps import gaps, orthonormal
from msr.representations.commutant.values import Commutant, Continuous

__all__ = ["MAX_BASIS", "continuous", "killing_form", "skew_pairs", "structure_constants"]

MAX_BASIS = 64  # inputs or outputs of a basis that is written out: so(64) alone is 2016 pairs of matrices
_MOST_NUMBERS = 2**25  # of the random elements of the algebra of one side
_MOST_WORK = 2**34  # multiplications to make them, before giving up
# Tolerances to choose from: the first is that of weights without noise.
_TOLERANCES = (1e-6, 1e-5, 1e-4, 3e-4, 1e-3, 2e-3, 4e-3, 7e-3, 1e-2, 2e-2, 3e-2, 5e-2, 7e-2, 0.1)
_RUN = 3  # neighbours of them that agree are enough
_MOST_UNKNOWNS = 2100  # skew pairs of a spectrum that is written out: its eigenvalues take a second


@takes_arrays("W")
def continuous(
    W: Tensor, *, constant: bool = False, rtol: float | Literal["auto"] = "auto", seed: int = 0
) -> Continuous:
    """The Lie algebra of skew pairs ``(A, B)`` with ``A W_j = W_j B`` for every ``W_j`` of a span.

    Then ``exp(A) W = W exp(B)``: orthogonal maps of outputs and inputs that every layer of the span commutes with.
    ``A`` and ``B`` are tied: ``B`` gives ``A = Σ_j W_j B W_jᵀ (Σ_j W_j W_jᵀ)⁻¹``, so the algebra is the skew part of
    what commutes with all ``W_iᵀ W_j``: ``so(m)``, ``u(m)`` or ``sp(m)`` for a part of multiplicity ``m`` and real,
    complex or quaternionic type. ``inputs`` and ``outputs`` hold the parts of either side, the same multiplicities and
    types.

    Inputs that no ``W_j`` sees and outputs that none reaches may move freely; they are left out here (``note`` counts
    them), and parts speak of the other dimensions. Actions that are not orthogonal are not seen.

    The name is of the algebra as it arises from the parts: ``so(4) + su(2) + u(1)^3``. Small ones coincide:
    ``so(3) = su(2) = sp(1)``, ``so(4) = so(3) + so(3)``, ``so(5) = sp(2)``, ``so(6) = su(4)``.

    Args:
        W: ``(k, out, in)``. A basis of the span or any matrices that generate it, on one scale.
        constant: the last input is the constant one, whose weights are a bias: ``B`` leaves it in place. It counts as
            one of the inputs, as a part of multiplicity one.
        rtol: as in ``commutant``; a direction is unseen where the singular value is below this share of the largest.
            ``"auto"`` takes the widest gap in the singular values of ``(A, B) ↦ (A W_j − W_j B)_j`` for their number,
            of an orthonormal basis of the span or, where that has none, of the matrices as they are; and then a
            tolerance that gives an algebra of that dimension. A learned span has such a gap where its error is
            well below the differences of its weights. Beyond some 45 inputs and outputs, whose spectrum costs too much,
            it is the least tolerance, from 1e-6 on, at which some structure fits. What was taken stands in the answer.
            Where no pair commutes it is 1e-6, and parts are then only those of weights without noise.
        seed: of the random elements.

    Raises: ShapeError, ConfigError, NonFiniteError; DataError where the weights fit no structure at ``rtol``.
    Source: Schur's lemma for *-algebras; see ``commutant``.
    """
    V, fixed = _checked(W, constant, rtol)
    sides = _decomposed(V, fixed, rtol, seed)
    unseen, unreached = V.shape[2] - sides.rows.shape[1], V.shape[1] - sides.columns.shape[1]
    found = structure(sides.inputs)
    parts = []
    if unseen:
        parts.append(f"{unseen} direction{'s' * (unseen > 1)} of the inputs that no weight sees")
    if unreached:
        parts.append(f"{unreached} direction{'s' * (unreached > 1)} of the outputs that none reaches")
    freely = f" Left out, since nothing ties them: {' and '.join(parts)}." if parts else ""
    if found.skew_dimension:
        note = (
            "Any linear layer with these weights commutes with this continuous group. Whether the symmetry of the "
            "problem is finite or continuous is decided only by an extra constraint: a pointwise nonlinearity, or that "
            "the symmetry moves points (permutation matrices)."
        )
    else:
        note = "Linear layers with these weights commute with no continuous group of orthogonal maps."
    return Continuous(
        dimension=found.skew_dimension,
        name=_name(found),
        inputs=found,
        outputs=structure(sides.outputs),
        decided=False,
        note=note + freely + sides.chosen,
        rtol=sides.rtol,
    )


@takes_arrays("W")
def skew_pairs(
    W: Tensor, *, constant: bool = False, rtol: float | Literal["auto"] = "auto", seed: int = 0
) -> tuple[Tensor, Tensor]:
    """A basis of the algebra of ``continuous``: ``A (dimension, out, out)`` and ``B (dimension, in, in)``, float64.

    ``B`` is orthonormal in the Frobenius product. Both vanish on unreached outputs and unseen inputs.

    Raises: as ``continuous``; ShapeError for more than ``MAX_BASIS`` inputs or outputs.
    """
    V, fixed = _checked(W, constant, rtol)
    if max(V.shape[1:]) > MAX_BASIS:
        raise ShapeError(
            f"a basis is written out for at most {MAX_BASIS} inputs and outputs; got {V.shape[2]} and {V.shape[1]}: "
            "take the dimension and the name from continuous()"
        )
    sides = _decomposed(V, fixed, rtol, seed)
    size = sides.rows.shape[1]
    pieces = [torch.from_numpy(part.placed(_skew_basis(part))) for part in sides.inputs]
    inner = torch.cat([torch.zeros(0, size, size, dtype=torch.float64), *pieces])
    B = sides.rows @ inner @ sides.rows.mT
    return sides.tied(B), B


def structure_constants(A: Tensor, B: Tensor) -> Tensor:
    """``c[i, j, k]`` of ``[X_i, X_j] = Σ_k c_ijk X_k`` for the pairs ``X = (A, B)``, ``(q, q, q)``.

    Shapes: ``A (q, out, out)``, ``B (q, in, in)``, linearly independent, as ``skew_pairs`` gives them.
    Raises: ShapeError; DataError where a bracket leaves the span.
    """
    if A.ndim != 3 or B.ndim != 3 or len(A) != len(B):
        raise ShapeError(f"as many A (q, out, out) as B (q, in, in) are needed; got {tuple(A.shape)}, {tuple(B.shape)}")
    X = torch.cat([A.flatten(1), B.flatten(1)], dim=1).double()
    # Row by row, so that the brackets of a large algebra never lie there all at once.
    inverse = torch.linalg.pinv(X)
    rows = []
    for a, b in zip(A.double(), B.double(), strict=True):
        brackets = torch.cat([(a @ A - A @ a).flatten(1), (b @ B - B @ b).flatten(1)], dim=1)
        row = brackets @ inverse
        if (brackets - row @ X).abs().max() > 1e-6 * X.abs().max() ** 2:
            raise DataError("the pairs are no Lie algebra: a bracket leaves their span; give a basis of skew_pairs()")
        rows.append(row)
    return torch.stack(rows) if rows else X.new_zeros(0, 0, 0)


def killing_form(c: Tensor) -> Tensor:
    """``K_ij = tr(ad_i ad_j) = Σ_kl c_ikl c_jlk``, ``(q, q)``, from structure constants ``(q, q, q)``.

    Negative semidefinite for a compact algebra; its kernel is the centre, the ``u(1)`` of the name.
    """
    return torch.einsum("ikl,jlk->ij", c, c)


class _Sides:
    """The parts of inputs and outputs of a span, in bases of the directions that it sees and reaches.

    ``rtol`` is the tolerance, and ``chosen`` says where it is from if it was not given.
    """

    chosen = ""

    def __init__(
        self,
        V: Tensor,
        rows: Tensor,
        columns: Tensor,
        inputs: tuple[Part, ...],
        outputs: tuple[Part, ...],
        rtol: float,
    ):
        self.V, self.rows, self.columns, self.inputs, self.outputs = V, rows, columns, inputs, outputs
        self.rtol = rtol
        weight = torch.einsum("kij,klj->il", V, V)
        self.back = torch.linalg.pinv(columns.mT @ weight @ columns, hermitian=True)

    @property
    def nullity(self) -> int:
        """Dimension of all skew pairs: of the algebra, and of what moves unseen inputs and unreached outputs freely."""
        free = (self.V.shape[2] - self.rows.shape[1], self.V.shape[1] - self.columns.shape[1])
        return structure(self.inputs).skew_dimension + sum(size * (size - 1) // 2 for size in free)

    def tied(self, B: Tensor) -> Tensor:
        """``A = Σ_j W_j B W_jᵀ (Σ_j W_j W_jᵀ)⁻¹`` on the reached outputs."""
        moved = sum((w @ B @ w.mT for w in self.V), torch.zeros(()))
        return moved @ self.columns @ self.back @ self.columns.mT


def _checked(W: Tensor, constant: bool, rtol: float | Literal["auto"]) -> tuple[Tensor, Tensor | None]:
    if W.ndim != 3 or 0 in W.shape:
        raise ShapeError(f"the weights must be (k, out, in), at least one; got {tuple(W.shape)}")
    if isinstance(rtol, str):
        if rtol != "auto":
            raise ConfigError(f'rtol is a share of the largest singular value, or "auto"; got {rtol!r}')
    elif not 0 < rtol <= 0.1:
        raise ConfigError(f"rtol is a share of the largest singular value, above 0 and at most 0.1; got {rtol}")
    if not W.isfinite().all():
        raise NonFiniteError("a weight holds nan or infinity: leave its map out, or find where it comes from")
    size = float(W.abs().max())
    if size == 0:
        raise DataError("all weights are zero: every pair commutes with them; give a span that is not")
    V = W.detach().double() / size
    # Without any bias the constant input is unseen, like others.
    biased = constant and float(V[:, :, -1].abs().max()) > (_TOLERANCES[0] if isinstance(rtol, str) else rtol)
    return V, torch.eye(V.shape[2], dtype=torch.float64)[-1] if biased else None


def _decomposed(V: Tensor, fixed: Tensor | None, rtol: float | Literal["auto"], seed: int) -> _Sides:
    if not isinstance(rtol, str):
        return _sides(V, fixed, rtol, seed)
    if sum(size * (size - 1) // 2 for size in V.shape[1:]) > _MOST_UNKNOWNS:
        return _at_first_tolerance(V, fixed, seed)
    # Only the span matters; but in many noisy maps of a small one, noise has directions of its own, and those are weak.
    found = gaps(orthonormal(V), fixed) + gaps(V, fixed)
    for gap in found:
        sides = _of_nullity(gap.basis, fixed, gap.below, gap.ends[0], seed)
        if sides is not None:
            if sides.rtol > _TOLERANCES[0]:
                sides.chosen = (
                    f" The tolerance, {sides.rtol:.1g}, is from a gap in the spectrum, between {gap.ends[0]:.1e} and "
                    f"{gap.ends[1]:.1e} of its largest value."
                )
            return sides
    # Without any gap no pair commutes.
    sides = None if found else _of_nullity(orthonormal(V), fixed, 0, 0.0, seed)
    if sides is None:
        raise DataError(
            "the weights fit no structure at any rtol up to 0.1 that has as many symmetries as a gap in their spectrum "
            "says; they hold too much noise: give cleaner weights, or an rtol"
        )
    return sides


def _at_first_tolerance(V: Tensor, fixed: Tensor | None, seed: int) -> _Sides:
    for rtol in _TOLERANCES:
        try:
            sides = _sides(V, fixed, rtol, seed)
        except DataError as error:
            if rtol == _TOLERANCES[-1]:
                raise error
            continue
        if rtol > _TOLERANCES[0]:
            sides.chosen = f" The tolerance, {rtol:.1g}, is the least at which some structure fits."
        return sides
    raise AssertionError("there are tolerances")


def _of_nullity(V: Tensor, fixed: Tensor | None, nullity: int, noise: float, seed: int) -> _Sides | None:
    """A decomposition with so many skew pairs: at the middle of the first run of tolerances that give one."""
    run: list[_Sides] = []
    for rtol in _TOLERANCES:
        if 10 * rtol < noise:  # far below the noise nothing is equal
            continue
        try:
            sides = _sides(V, fixed, rtol, seed, patient=False)
        except DataError:
            sides = None
        if sides is not None and sides.nullity == nullity:
            run.append(sides)
            if rtol == _TOLERANCES[0]:
                break  # there is no noise
        elif len(run) >= _RUN:
            break
    return run[len(run) // 2] if run else None


def _sides(V: Tensor, fixed: Tensor | None, rtol: float, seed: int, *, patient: bool = True) -> _Sides:
    """Decomposes both sides from a few random maps of the span, then more until fresh ones say nothing new.

    ``patient``: random elements of the algebra are added even when all maps are there, as noise may want it.
    """
    generator = torch.Generator().manual_seed(seed)
    error: DataError | None = None
    k, m, n = V.shape
    # Fewer maps than that have not the rows and columns to see all inputs and reach all outputs.
    start = few = max(4, -(-2 * n // m), -(-2 * m // n))
    while few == start or (few <= (4 * k * k if patient else 2 * k) and min(few, k) ** 2 * m * n * few <= _MOST_WORK):
        count = max(4, min(few, _MOST_NUMBERS // max(m, n) ** 2))
        drawn = V if k <= few else _mixed(V, few, generator)
        fresh = _mixed(V, 2, generator)
        rows, columns = _range(drawn, fixed, rtol), _range(drawn.mT, None, rtol)
        try:
            inputs = _side(drawn, rows, fixed, False, count, rtol, seed, generator)
            outputs = _side(drawn, columns, fixed, True, count, rtol, seed, generator)
            sides = _Sides(drawn, rows, columns, inputs, outputs, rtol)
            if _fits(sides, fresh, rtol, generator) and _matches(structure(inputs), structure(outputs)):
                return sides
        except DataError as one:
            error = one
        few *= 2
    raise error or DataError(
        f"the weights fit no structure at rtol={rtol:g}: what commutes with some of them does not with others; they "
        "hold more noise than that: give a larger rtol or cleaner weights"
    )


def _mixed(V: Tensor, count: int, generator: torch.Generator) -> Tensor:
    weights = torch.randn(count, len(V), generator=generator, dtype=torch.float64) / len(V) ** 0.5
    return (weights @ V.flatten(1)).view(count, *V.shape[1:])


def _range(V: Tensor, fixed: Tensor | None, rtol: float) -> Tensor:
    """An orthonormal basis ``(d, seen)`` of all rows of the maps, and of the input that stays in place."""
    gram = V.flatten(0, 1).mT @ V.flatten(0, 1)
    if fixed is not None:
        gram = gram + float(gram.diagonal().max()) * torch.outer(fixed, fixed)
    values, vectors = torch.linalg.eigh(gram)
    # Squares of singular values, known to rounding only.
    least = max(rtol**2, 16 * len(gram) * torch.finfo(torch.float64).eps)
    return vectors[:, values > least * values[-1]]


def _side(
    V: Tensor, basis: Tensor, fixed: Tensor | None, outputs: bool, count: int, rtol: float, seed: int,
    generator: torch.Generator,
) -> tuple[Part, ...]:  # fmt: skip
    seen = basis.mT @ V if outputs else V @ basis
    M = transposed_products(seen, generator, outputs=outputs, count=count)
    M = M / M.abs().max()
    if fixed is not None:
        # B e = 0 makes the projection on e commute with B, and what e is sent to, with A.
        line = seen @ fixed if outputs else (basis.mT @ fixed)[None]
        if line.abs().max() > rtol:
            mixed = torch.randn(len(line), len(line), generator=generator, dtype=torch.float64)
            extra = line.mT @ mixed @ line
            M = torch.cat([M, (extra / extra.abs().max())[None]])
    return isotypic(M, rtol=rtol, seed=seed)


def _fits(sides: _Sides, fresh: Tensor, rtol: float, generator: torch.Generator) -> bool:
    """Whether random pairs commute with fresh maps of the span, which also see and reach nothing new."""
    size = fresh.norm()
    tolerance = 2 * max(rtol**0.5, 1e-5)
    if (fresh - sides.columns @ (sides.columns.mT @ fresh @ sides.rows) @ sides.rows.mT).norm() > tolerance * size:
        return False
    B = np.zeros((sides.rows.shape[1],) * 2)
    for part in sides.inputs:
        w = part.frames.shape[2]
        S = torch.randn(w, w, generator=generator, dtype=torch.float64).numpy() / w**0.5
        B += part.placed(part.commuting(S))
    whole = sides.rows @ torch.from_numpy(B) @ sides.rows.mT
    A = sides.tied(whole)
    return bool((A @ fresh - fresh @ whole).norm() <= tolerance * size)


def _matches(inputs: Commutant, outputs: Commutant) -> bool:
    """One algebra, seen from two sides."""
    return sorted(part[1:] for part in inputs.parts) == sorted(part[1:] for part in outputs.parts)


def _name(found: Commutant) -> str:
    """From the parts: ``so(m)``, ``u(m) = su(m) + u(1)``, ``sp(m)``."""
    simple: Counter[tuple[int, str]] = Counter()
    circles = 0
    for _, m, kind in found.parts:
        if kind == "quaternionic":
            simple[m * (2 * m + 1), f"sp({m})"] += 1
        elif kind == "complex":
            circles += 1
            if m > 1:
                simple[m * m - 1, f"su({m})"] += 1
        elif m > 2:
            simple[m * (m - 1) // 2, f"so({m})"] += 1
        else:
            circles += m == 2
    if not simple:
        return f"abelian, dimension {circles}" if circles else "zero"
    terms = [f"{name}^{n}" if n > 1 else name for (_, name), n in sorted(simple.items(), reverse=True)]
    return " + ".join(terms + ([f"u(1)^{circles}" if circles > 1 else "u(1)"] if circles else []))


def _skew_basis(part: Part) -> NDArray[np.float64]:
    """An orthonormal basis ``(q, w, w)``, after placing, of the skew matrices that commute with the units of a part."""
    w = part.frames.shape[2]
    i, j = np.triu_indices(w, 1)
    S = np.zeros((len(i), w, w))
    S[np.arange(len(i)), i, j], S[np.arange(len(i)), j, i] = 1.0, -1.0
    if len(part.units):
        # A projection in coordinates of unit length: its range is spanned by the eigenvectors at one.
        image = part.commuting(S)[:, i, j]
        values, vectors = np.linalg.eigh((image + image.T) / 2)
        S = np.einsum("qp,pij->qij", vectors[:, values > 0.5].T, S)
    return S / np.sqrt(2 * len(part.frames))
