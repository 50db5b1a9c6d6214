"""The Lie algebra of the orthogonal maps that every linear layer of a span commutes with.

It is there even where the symmetry of the problem is finite: a circulant matrix commutes with a torus, not with shifts
alone. This module measures and names the algebra, so that nobody takes it for the symmetry of the problem.
"""

from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msr.arrays import takes_arrays
from msr.errors import ConfigError, DataError, NonFiniteError, ShapeError
from msr.representations.commutant.isotypic import isotypic, structure, transposed_products
from msr.representations.commutant.parts import Part
from msr.representations.commutant.spectral_gaps import gaps, orthonormal
from msr.representations.commutant.values import MOST_RTOL, Commutant, Continuous

__all__ = ["MAX_BASIS", "continuous", "skew_pairs"]

MAX_BASIS = 64
"""Most inputs or outputs for which a basis is written out: so(64) alone is 2016 pairs of matrices."""
_MOST_NUMBERS = 2**25
"""Most numbers that the random elements of the algebra of one side hold: 256 MB."""
_MOST_WORK = 2**34
"""Most multiplications to make the random elements of one side, before the search for a structure is given up."""
_TOLERANCES = (1e-6, 1e-5, 1e-4, 3e-4, 1e-3, 2e-3, 4e-3, 7e-3, 1e-2, 2e-2, 3e-2, 5e-2, 7e-2, 0.1)
"""Tolerances to choose from, as shares of the largest singular value. The first is that of weights without noise; above
1e-3 they are dense, since there a learned span has its errors. Chosen by hand."""
_RUN = 3
"""Number of neighbouring tolerances that have to give the expected dimension before larger ones are no longer tried."""
_MOST_UNKNOWNS = 2100
"""Most dimensions of the space of skew pairs for which the spectrum is computed: its eigenvalues then take a second."""
_BASE_MAPS = 4
"""Fewest maps of a span, and fewest random elements of its algebra, that a decomposition begins with."""
_FIT = 1e-5
"""Least value of the limit on the relative error at which a random pair counts as commuting with fresh maps of the
span: rounding stays below it. The limit is the root of the tolerance where that is larger, because noise is divided by
distances of eigenvalues.
"""


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
    them), and the parts are of the seen and reached dimensions alone. Actions that are not orthogonal are not seen.

    The name is of the algebra as it arises from the parts: ``so(4) + su(2) + u(1)^3``. Small ones coincide:
    ``so(3) = su(2) = sp(1)``, ``so(4) = so(3) + so(3)``, ``so(5) = sp(2)``, ``so(6) = su(4)``.

    Args:
        W: ``(k, out, in)``. A basis of the span or any matrices that generate it, on one scale.
        constant: the last input is the constant one, whose weights are a bias: ``B`` leaves it in place. It counts as
            one of the inputs, as a part of multiplicity one.
        rtol: as in ``commutant``; a direction is unseen where the singular value is below this share of the largest.
            ``"auto"`` looks for gaps in the singular values of ``(A, B) ↦ (A W_j − W_j B)_j``: the values below a gap
            count the pairs. Gaps of an orthonormal basis of the span come first, then those of the matrices as they
            are, the widest first in each. The first gap is taken for which some tolerance gives an algebra of that
            dimension. A learned span has such a gap where its error is well below the differences of its weights.
            Beyond some 45 inputs and outputs, whose spectrum costs too much, it is the least tolerance, from 1e-6 on,
            at which some structure fits. The tolerance taken is ``rtol`` of the answer. Where there is no gap, no
            pair commutes: the tolerance is 1e-6, and parts are then only those of weights without noise.
        seed: of the random elements.

    Raises: ShapeError, ConfigError, NonFiniteError; DataError where the weights fit no structure at ``rtol``.
    Source: Schur's lemma for *-algebras; see ``commutant``.
    """
    V, fixed = _checked(W, constant, rtol)
    decomposition = _decomposed(V, fixed, rtol, seed)
    unseen = V.shape[2] - decomposition.rows.shape[1]
    unreached = V.shape[1] - decomposition.columns.shape[1]
    inputs = structure(decomposition.inputs)
    free = []
    if unseen:
        free.append(f"{unseen} direction{'s' * (unseen > 1)} of the inputs that no weight sees")
    if unreached:
        free.append(f"{unreached} direction{'s' * (unreached > 1)} of the outputs that none reaches")
    left_out = f" Left out, since nothing ties them: {' and '.join(free)}." if free else ""
    if inputs.skew_dimension:
        note = (
            "Any linear layer with these weights commutes with this continuous group. Whether the symmetry of the "
            "problem is finite or continuous is decided only by an extra constraint: a pointwise nonlinearity, or that "
            "the symmetry moves points (permutation matrices)."
        )
    else:
        note = "Linear layers with these weights commute with no continuous group of orthogonal maps."
    return Continuous(
        dimension=inputs.skew_dimension,
        name=_name(inputs),
        inputs=inputs,
        outputs=structure(decomposition.outputs),
        decided=False,
        note=note + left_out + decomposition.origin,
        rtol=decomposition.rtol,
    )


@takes_arrays("W")
def skew_pairs(
    W: Tensor, *, constant: bool = False, rtol: float | Literal["auto"] = "auto", seed: int = 0
) -> tuple[Tensor, Tensor]:
    """A basis of the algebra of ``continuous``: ``A (dimension, out, out)`` and ``B (dimension, in, in)``, float64.

    ``B`` is orthonormal in the Frobenius product. Both vanish on unreached outputs and unseen inputs. The arguments are
    those of ``continuous``.

    Raises: as ``continuous``; ShapeError for more than ``MAX_BASIS`` inputs or outputs.
    """
    V, fixed = _checked(W, constant, rtol)
    if max(V.shape[1:]) > MAX_BASIS:
        raise ShapeError(
            f"a basis is written out for at most {MAX_BASIS} inputs and outputs; got {V.shape[2]} and {V.shape[1]}: "
            "take the dimension and the name from continuous()"
        )
    decomposition = _decomposed(V, fixed, rtol, seed)
    rows = decomposition.rows
    size = rows.shape[1]
    of_parts = [torch.from_numpy(part.placed(_skew_basis(part))) for part in decomposition.inputs]
    on_seen = torch.cat([torch.zeros(0, size, size, dtype=torch.float64), *of_parts])
    B = rows @ on_seen @ rows.mT
    return decomposition.tied(B), B


@dataclass(frozen=True, eq=False)
class _Decomposition:
    """The isotypic parts of the inputs and of the outputs of a span.

    Attributes:
        V: the maps from which it was made, ``(k, out, in)``.
        rows: an orthonormal basis of the inputs that some map sees, ``(in, seen)``.
        columns: an orthonormal basis of the outputs that some map reaches, ``(out, reached)``.
        inputs, outputs: the parts, in these bases.
        rtol: the tolerance.
        origin: a sentence that says where the tolerance is from, if it was not given.
    """

    V: Tensor
    rows: Tensor
    columns: Tensor
    inputs: tuple[Part, ...]
    outputs: tuple[Part, ...]
    rtol: float
    origin: str = ""

    @cached_property
    def _inverse_gram(self) -> Tensor:
        """The inverse of ``Σ_j W_j W_jᵀ`` in the basis of the reached outputs, ``(reached, reached)``."""
        gram = torch.einsum("kij,klj->il", self.V, self.V)
        return torch.linalg.pinv(self.columns.mT @ gram @ self.columns, hermitian=True)

    @property
    def nullity(self) -> int:
        """Dimension of all skew pairs that commute with the maps: those of the algebra, and those that move only
        directions that are unseen or unreached.
        """
        unseen = self.V.shape[2] - self.rows.shape[1]
        unreached = self.V.shape[1] - self.columns.shape[1]
        free = sum(size * (size - 1) // 2 for size in (unseen, unreached))
        return structure(self.inputs).skew_dimension + free

    def tied(self, B: Tensor) -> Tensor:
        """The ``A`` that belongs to ``B (…, in, in)``: ``Σ_j W_j B W_jᵀ (Σ_j W_j W_jᵀ)⁻¹`` on the reached outputs,
        zero elsewhere.
        """
        # From A W_j = W_j B: multiply by W_jᵀ from the right and sum over j.
        numerator = sum((w @ B @ w.mT for w in self.V), torch.zeros(()))
        return numerator @ self.columns @ self._inverse_gram @ self.columns.mT


def _checked(W: Tensor, constant: bool, rtol: float | Literal["auto"]) -> tuple[Tensor, Tensor | None]:
    """The weights in float64 over their largest absolute value, and the unit vector ``(in,)`` of the last input, which
    is the constant one.

    The vector is None unless ``constant`` and some bias is not zero, to ``rtol``.
    Raises: ShapeError, ConfigError for ``rtol``, NonFiniteError; DataError for weights that are all zero.
    """
    if W.ndim != 3 or 0 in W.shape:
        raise ShapeError(f"the weights must be (k, out, in), at least one; got {tuple(W.shape)}")
    if isinstance(rtol, str):
        if rtol != "auto":
            raise ConfigError(f'rtol is a share of the largest singular value, or "auto"; got {rtol!r}')
    elif not 0 < rtol <= MOST_RTOL:
        raise ConfigError(
            f"rtol is a share of the largest singular value, above 0 and at most {MOST_RTOL:g}; got {rtol}"
        )
    if not W.isfinite().all():
        raise NonFiniteError("a weight holds nan or infinity: leave its map out, or find where it comes from")
    size = float(W.abs().max())
    if size == 0:
        raise DataError("all weights are zero: every pair commutes with them; give a span that is not")
    V = W.detach().double() / size
    # Without any bias the constant input is unseen, like others.
    biased = constant and float(V[:, :, -1].abs().max()) > (_TOLERANCES[0] if isinstance(rtol, str) else rtol)
    return V, torch.eye(V.shape[2], dtype=torch.float64)[-1] if biased else None


def _decomposed(V: Tensor, fixed: Tensor | None, rtol: float | Literal["auto"], seed: int) -> _Decomposition:
    """The decomposition at ``rtol``, or for ``"auto"`` at the tolerance that :func:`continuous` describes.

    ``V (k, out, in)`` and ``fixed`` are what :func:`_checked` gives. Raises: DataError where no structure fits.
    """
    if not isinstance(rtol, str):
        return _decomposed_at(V, fixed, rtol, seed)
    if sum(size * (size - 1) // 2 for size in V.shape[1:]) > _MOST_UNKNOWNS:
        return _at_least_tolerance(V, fixed, seed)
    # Only the span matters, so its orthonormal basis comes first. Many noisy maps of a small span have further
    # directions, of noise alone; these are weak in the maps as they are, and as strong as others in the basis.
    candidates = gaps(orthonormal(V), fixed) + gaps(V, fixed)
    for gap in candidates:
        decomposition = _of_nullity(gap.basis, fixed, gap.below, gap.ends[0], seed)
        if decomposition is not None:
            if decomposition.rtol > _TOLERANCES[0]:
                origin = (
                    f" The tolerance, {decomposition.rtol:.1g}, is from a gap in the spectrum, between "
                    f"{gap.ends[0]:.1e} and {gap.ends[1]:.1e} of its largest value."
                )
                return replace(decomposition, origin=origin)
            return decomposition
    # Without any gap no pair commutes.
    decomposition = None if candidates else _of_nullity(orthonormal(V), fixed, 0, 0.0, seed)
    if decomposition is None:
        raise DataError(
            "the weights fit no structure at any rtol up to 0.1 that has as many symmetries as a gap in their spectrum "
            "says; they hold too much noise: give cleaner weights, or an rtol"
        )
    return decomposition


def _at_least_tolerance(V: Tensor, fixed: Tensor | None, seed: int) -> _Decomposition:
    """The decomposition at the least of ``_TOLERANCES`` at which there is one; DataError where there is none at any."""
    for rtol in _TOLERANCES:
        try:
            decomposition = _decomposed_at(V, fixed, rtol, seed)
        except DataError as error:
            if rtol == _TOLERANCES[-1]:
                raise error
            continue
        if rtol > _TOLERANCES[0]:
            origin = f" The tolerance, {rtol:.1g}, is the least at which some structure fits."
            return replace(decomposition, origin=origin)
        return decomposition
    raise AssertionError("there are tolerances")


def _of_nullity(V: Tensor, fixed: Tensor | None, nullity: int, noise: float, seed: int) -> _Decomposition | None:
    """The decomposition with ``nullity`` skew pairs, at the middle one of the tolerances that give it; None if none do.

    ``_TOLERANCES`` are tried in ascending order, until enough of them gave it and the next does not. ``noise``: the
    size of the noise as a share of the largest singular value; tolerances below a tenth of it are left out.
    """
    run: list[_Decomposition] = []
    for rtol in _TOLERANCES:
        # A tolerance far below the noise finds nothing equal.
        if 10 * rtol < noise:
            continue
        try:
            # Many tolerances are tried, so none of them may take long.
            decomposition = _decomposed_at(V, fixed, rtol, seed, patient=False)
        except DataError:
            decomposition = None
        if decomposition is not None and decomposition.nullity == nullity:
            # A run of tolerances that agree is more than the chance of one; its middle is far from both ends.
            run.append(decomposition)
            if rtol == _TOLERANCES[0]:
                break  # there is no noise
        elif len(run) >= _RUN:
            break
    return run[len(run) // 2] if run else None


def _decomposed_at(V: Tensor, fixed: Tensor | None, rtol: float, seed: int, *, patient: bool = True) -> _Decomposition:
    """The decomposition at one tolerance, from a few random maps of the span, and more until it fits fresh ones too.

    ``patient``: further random elements of the algebra are drawn even when all maps are there, as noise may ask for.
    Raises: DataError where none fits before the work becomes too much.
    """
    generator = torch.Generator().manual_seed(seed)
    error: DataError | None = None
    k, m, n = V.shape
    # Fewer maps have too few rows and columns to see all inputs and to reach all outputs.
    start = max(_BASE_MAPS, -(-2 * n // m), -(-2 * m // n))
    few = start
    while few == start or (few <= (4 * k * k if patient else 2 * k) and min(few, k) ** 2 * m * n * few <= _MOST_WORK):
        count = max(_BASE_MAPS, min(few, _MOST_NUMBERS // max(m, n) ** 2))
        drawn = V if k <= few else _mixed(V, few, generator)
        # Maps that have no part in the decomposition, to try it on.
        fresh = _mixed(V, 2, generator)
        rows = _row_space(drawn, fixed, rtol)
        columns = _row_space(drawn.mT, None, rtol)
        try:
            inputs = _side(drawn, rows, fixed, False, count, rtol, seed, generator)
            outputs = _side(drawn, columns, fixed, True, count, rtol, seed, generator)
            decomposition = _Decomposition(drawn, rows, columns, inputs, outputs, rtol)
            if _fits(decomposition, fresh, rtol, generator) and _matches(structure(inputs), structure(outputs)):
                return decomposition
        except DataError as misfit:
            error = misfit
        few *= 2
    raise error or DataError(
        f"the weights fit no structure at rtol={rtol:g}: what commutes with some of them does not with others; they "
        "hold more noise than that: give a larger rtol or cleaner weights"
    )


def _mixed(V: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Random combinations of the maps, by normal weights of variance ``1/k``; ``V (k, out, in)``,
    the result ``(count, out, in)``.
    """
    weights = torch.randn(count, len(V), generator=generator, dtype=torch.float64) / len(V) ** 0.5
    return (weights @ V.flatten(1)).view(count, *V.shape[1:])


def _row_space(V: Tensor, fixed: Tensor | None, rtol: float) -> Tensor:
    """An orthonormal basis ``(in, seen)`` of the space of all rows of the maps, and of the input ``fixed`` unless it is
    None.

    A direction is left out where its singular value is at most ``rtol`` times the largest.
    """
    gram = V.flatten(0, 1).mT @ V.flatten(0, 1)
    if fixed is not None:
        # The constant input counts as seen, however small the biases are.
        gram = gram + float(gram.diagonal().max()) * torch.outer(fixed, fixed)
    values, vectors = torch.linalg.eigh(gram)
    # The eigenvalues are squares of singular values, and known to rounding only.
    least = max(rtol**2, 16 * len(gram) * torch.finfo(torch.float64).eps)
    return vectors[:, values > least * values[-1]]


def _side(
    V: Tensor, basis: Tensor, fixed: Tensor | None, outputs: bool, count: int, rtol: float, seed: int,
    generator: torch.Generator,
) -> tuple[Part, ...]:  # fmt: skip
    """The isotypic parts of one side, inputs or outputs, in the coordinates of ``basis``.

    Args:
        V: the maps, ``(k, out, in)``.
        basis: orthonormal columns that span the seen inputs, or the reached outputs.
        fixed: the unit vector of the constant input, or None.
        outputs: the side.
        count: how many random elements of the algebra are drawn, from ``generator``.
        rtol, seed: those of :func:`isotypic`, which draws by its own ``seed``.
    """
    maps = basis.mT @ V if outputs else V @ basis
    # One scale for all, so that the tolerance means the same for each element.
    M = transposed_products(maps, generator, outputs=outputs, count=count)
    M = M / M.abs().max()
    if fixed is not None:
        # B e = 0 for the constant input e: then the projection onto e commutes with B, and that onto W e with A.
        line = maps @ fixed if outputs else (basis.mT @ fixed)[None]
        if line.abs().max() > rtol:
            mixed = torch.randn(len(line), len(line), generator=generator, dtype=torch.float64)
            extra = line.mT @ mixed @ line
            M = torch.cat([M, (extra / extra.abs().max())[None]])
    return isotypic(M, rtol=rtol, seed=seed)


def _fits(decomposition: _Decomposition, fresh: Tensor, rtol: float, generator: torch.Generator) -> bool:
    """Whether a random pair ``(A, B)`` of the decomposition's commutant commutes with the maps
    ``fresh (count, out, in)``.

    False too where these maps see or reach directions that the decomposition does not. Errors up to the root of
    ``rtol`` are tolerated.
    """
    rows = decomposition.rows
    columns = decomposition.columns
    size = fresh.norm()
    tolerance = 2 * max(rtol**0.5, _FIT)
    if (fresh - columns @ (columns.mT @ fresh @ rows) @ rows.mT).norm() > tolerance * size:
        return False
    on_seen = np.zeros((rows.shape[1],) * 2)
    for part in decomposition.inputs:
        w = part.frames.shape[2]
        S = torch.randn(w, w, generator=generator, dtype=torch.float64).numpy() / w**0.5
        on_seen += part.placed(part.commuting(S))
    B = rows @ torch.from_numpy(on_seen) @ rows.mT
    A = decomposition.tied(B)
    return bool((A @ fresh - fresh @ B).norm() <= tolerance * size)


def _matches(inputs: Commutant, outputs: Commutant) -> bool:
    """Whether inputs and outputs have parts of the same multiplicities and types, as those of one algebra do."""
    return sorted(part[1:] for part in inputs.parts) == sorted(part[1:] for part in outputs.parts)


def _name(commutant: Commutant) -> str:
    """The name of the Lie algebra of skew elements of a commutant, from its parts: ``so(m)``, ``su(m) + u(1)``,
    ``sp(m)``.

    The largest summand comes first, equal ones as powers, and all ``u(1)`` together at the end; "abelian, dimension n"
    where there are no other, and "zero" for none.
    """
    # With the dimension in front, so that sorting puts the largest summand first.
    simple: Counter[tuple[int, str]] = Counter()
    circles = 0
    for _, m, kind in commutant.parts:
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
    """A basis ``(q, w, w)`` of the skew matrices that commute with the units of a part.

    The elements of the commutant that ``part.placed`` makes of them are orthonormal.
    """
    w = part.frames.shape[2]
    i, j = np.triu_indices(w, 1)
    S = np.zeros((len(i), w, w))
    S[np.arange(len(i)), i, j] = 1.0
    S[np.arange(len(i)), j, i] = -1.0
    if len(part.units):
        # The mean over the units is an orthogonal projection: the eigenvectors with eigenvalue one span its range.
        image = part.commuting(S)[:, i, j]
        values, vectors = np.linalg.eigh((image + image.T) / 2)
        S = np.einsum("qp,pij->qij", vectors[:, values > 0.5].T, S)
    return S / np.sqrt(2 * len(part.frames))
