"""The Lie algebras that people name: rotations, motions, boosts, and the classical families in real form."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from msr.errors import ConfigError
from msr.groups.lie import LieAlgebra

__all__ = [
    "general_linear", "lorentz", "real_form", "se2", "se3", "so", "special_linear", "special_unitary", "symplectic",
    "unitary",
]  # fmt: skip


def so(n: int) -> LieAlgebra:
    """``so(n)``, ``n`` from 2 on: rotations of ``R^n``; ``exp(t Jij)``, ``i < j``, turns axis ``i`` towards axis ``j``
    by ``t`` radians.
    """
    if n < 2:
        raise ConfigError(f"so: rotations need at least 2 dimensions; got {n}")
    planes = list(combinations(range(n), 2))
    X = np.zeros((len(planes), n, n))
    for k, (i, j) in enumerate(planes):
        X[k, j, i] = 1.0
        X[k, i, j] = -1.0
    return LieAlgebra(X, f"so({n})", labels=[f"J{i}{j}" for i, j in planes])


def se2() -> LieAlgebra:
    """``se(2)``: rotation ``J`` and translations ``Px``, ``Py`` of the plane, on homogeneous coordinates
    ``(x, y, 1)``.
    """
    X = np.zeros((3, 3, 3))
    X[0, 1, 0] = 1.0
    X[0, 0, 1] = -1.0
    # The last coordinate is always 1, so an entry in the last column adds a constant: a translation.
    X[1, 0, 2] = X[2, 1, 2] = 1.0
    return LieAlgebra(X, "se(2)", labels=["J", "Px", "Py"])


def special_linear(n: int) -> LieAlgebra:
    """``sl(n)``, ``n`` from 2 on: matrices of trace zero. First ``Eij``, ``i ≠ j``, row by row, with a 1 at row ``i``,
    column ``j``; then ``Hi``, which is ``E_ii − E_{i+1,i+1}``. Numbers begin with 0.
    """
    if n < 2:
        raise ConfigError(f"special_linear: at least 2 dimensions; got {n}")
    X = []
    labels = []
    for i in range(n):
        for j in range(n):
            if i != j:
                X.append(np.zeros((n, n)))
                X[-1][i, j] = 1.0
                labels.append(f"E{i}{j}")
    for i in range(n - 1):
        X.append(np.zeros((n, n)))
        X[-1][i, i] = 1.0
        X[-1][i + 1, i + 1] = -1.0
        labels.append(f"H{i}")
    return LieAlgebra(np.stack(X), f"sl({n})", labels=labels)


def lorentz(space: int = 3) -> LieAlgebra:
    """``so(1, space)``: rotations ``Jij``, then boosts ``Ki``, of ``(t, x_1, …)``, numbered from 1; metric
    ``diag(1, −1, …)``.
    """
    if space < 1:
        raise ConfigError(f"lorentz: at least one axis of space; got {space}")
    n = space + 1
    X = []
    labels = []
    for i, j in combinations(range(1, n), 2):
        X.append(np.zeros((n, n)))
        X[-1][j, i] = 1.0
        X[-1][i, j] = -1.0
        labels.append(f"J{i}{j}")
    for i in range(1, n):
        X.append(np.zeros((n, n)))
        # Symmetric where a rotation is antisymmetric: time and space have opposite signs in the metric.
        X[-1][0, i] = X[-1][i, 0] = 1.0
        labels.append(f"K{i}")
    return LieAlgebra(np.stack(X), f"so(1,{space})", labels=labels)


def se3() -> LieAlgebra:
    """``se(3)``: rotations ``J01``, ``J02``, ``J12`` and translations ``Px``, ``Py``, ``Pz`` of space, as 4 × 4
    matrices on homogeneous coordinates ``(x, y, z, 1)``.
    """
    turns = so(3)
    X = np.zeros((6, 4, 4))
    # Rotations act on the first three coordinates; a translation adds a multiple of the last one, which is 1.
    X[:3, :3, :3] = turns.matrices
    X[[3, 4, 5], [0, 1, 2], 3] = 1.0
    return LieAlgebra(X, "se(3)", labels=[*turns.labels, "Px", "Py", "Pz"])


def general_linear(n: int) -> LieAlgebra:
    """``gl(n)``: all matrices; ``Eij``, row by row from ``E00``, has a 1 at row ``i``, column ``j``.

    Its group is the component of the identity, of positive determinant.
    """
    if n < 1:
        raise ConfigError(f"general_linear: at least 1 dimension; got {n}")
    X = np.eye(n * n).reshape(n * n, n, n)
    return LieAlgebra(X, f"gl({n})", labels=[f"E{i}{j}" for i in range(n) for j in range(n)])


def symplectic(n: int) -> LieAlgebra:
    """``sp(2n, R)``: matrices with ``Xᵀ Ω + Ω X = 0``, on ``(q_1 … q_n, p_1 … p_n)``, ``Ω = [[0, I], [−I, 0]]``.

    They are blocks ``[[A, B], [C, −Aᵀ]]``, ``B`` and ``C`` symmetric: generators ``Aij`` for all ``i, j``, then ``Bij``
    and ``Cij`` for ``i ≤ j``, from 0.
    """
    if n < 1:
        raise ConfigError(f"symplectic: at least one pair of coordinates; got {n}")
    X = []
    labels = []
    for i in range(n):
        for j in range(n):
            X.append(np.zeros((2 * n, 2 * n)))
            X[-1][i, j] = 1.0
            # The lower right block is −Aᵀ: momenta transform by the dual of positions.
            X[-1][n + j, n + i] = -1.0
            labels.append(f"A{i}{j}")
    # Blocks [[A, B], [C, −Aᵀ]] with symmetric B and C.
    for name, row, column in (("B", 0, n), ("C", n, 0)):
        for i in range(n):
            for j in range(i, n):
                X.append(np.zeros((2 * n, 2 * n)))
                X[-1][row + i, column + j] = X[-1][row + j, column + i] = 1.0
                labels.append(f"{name}{i}{j}")
    return LieAlgebra(np.stack(X), f"sp({2 * n},R)", labels=labels)


def real_form(matrices: ArrayLike) -> NDArray[np.float64]:
    """Complex matrices ``(..., n, m)`` as real ones ``(..., 2n, 2m)`` on ``(Re z, Im z)``: blocks
    ``[[Re, −Im], [Im, Re]]``.
    """
    Z = np.asarray(matrices)
    return np.block([[Z.real, -Z.imag], [Z.imag, Z.real]]).astype(np.float64)


def special_unitary(n: int) -> LieAlgebra:
    """``su(n)``, ``n`` from 2 on: anti-Hermitian matrices of trace zero, in real form ``(2n, 2n)`` on ``(Re z, Im z)``.

    The generators are ``Rab`` (real) and ``Sab`` (imaginary) for each ``a < b`` in turn, then the diagonal ``Ha``.
    """
    if n < 2:
        raise ConfigError(f"special_unitary: at least 2 dimensions; got {n}")
    X, labels = _anti_hermitian(n)
    return LieAlgebra(real_form(np.stack(X)), f"su({n})", labels=labels)


def unitary(n: int) -> LieAlgebra:
    """``u(n)``: anti-Hermitian matrices, in real form ``(2n, 2n)`` on ``(Re z, Im z)``.

    The generators are those of :func:`special_unitary`, and last ``√−1`` times the identity, labelled ``I``.
    """
    if n < 1:
        raise ConfigError(f"unitary: at least 1 dimension; got {n}")
    X, labels = _anti_hermitian(n)
    return LieAlgebra(real_form(np.stack([*X, 1j * np.eye(n)])), f"u({n})", labels=[*labels, "I"])


def _anti_hermitian(n: int) -> tuple[list[NDArray[np.complex128]], Sequence[str]]:
    """The ``n² − 1`` matrices ``(n, n)`` of a basis of ``su(n)``, and their labels.

    For each pair ``a < b`` in turn ``Rab``, real and antisymmetric, and ``Sab``, imaginary and symmetric; then the
    diagonal ``Ha``, ``√−1`` at place ``a`` and ``−√−1`` at the next. (Up to signs Gell-Mann's matrices times ``√−1``,
    but for the diagonal ones.)
    """
    X: list[NDArray[np.complex128]] = []
    labels: list[str] = []
    for i, j in combinations(range(n), 2):
        real = np.zeros((n, n), dtype=complex)
        imaginary = np.zeros((n, n), dtype=complex)
        real[j, i] = 1
        real[i, j] = -1
        imaginary[j, i] = imaginary[i, j] = 1j
        X += [real, imaginary]
        labels += [f"R{i}{j}", f"S{i}{j}"]
    for i in range(n - 1):
        diagonal = np.zeros((n, n), dtype=complex)
        diagonal[i, i] = 1j
        diagonal[i + 1, i + 1] = -1j
        X.append(diagonal)
        labels.append(f"H{i}")
    return X, labels
