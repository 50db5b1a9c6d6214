"""Irreducible representations by name: rotations of any degree, with parity, spins, cyclic and dihedral groups."""

import math
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from msr.errors import ConfigError
from msr.groups import LieAlgebra, MatrixGroup, cyclic, dihedral, orthogonal, real_form, so, special_unitary
from msr.groups.permutation_group import CircleGroup
from msr.representations.base import Representation
from msr.representations.elementary import MatrixRepresentation
from msr.representations.generated import GeneratedRepresentation
from msr.representations.lie import LieRepresentation

__all__ = ["irrep"]


@overload
def irrep(group: LieAlgebra, degree: float) -> LieRepresentation: ...
@overload
def irrep(group: Any, degree: float, *, parity: int | None = None) -> Representation: ...
def irrep(group: Any, degree: float, *, parity: int | None = None) -> Representation | LieRepresentation:
    """An irreducible representation by its name, real.

    ============================  ==================================================================================
    group                         ``degree``
    ============================  ==================================================================================
    ``so(3)``                     ``l = 0, 1, 2, …``: ``2l + 1`` numbers, the basis of real spherical harmonics
                                  ``m = −l … l`` (sine terms first); ``l = 1`` is on ``(y, z, x)``
    ``so(2)``                     ``k = 0, 1, 2, …``: a turn by ``k`` times the angle, 2 numbers (1 for 0)
    ``orthogonal(3)``             as ``so(3)``, with ``parity`` 1 or −1: what the inversion multiplies by
    ``special_unitary(2)``        spin ``j = 0, 1/2, 1, …``: ``2j + 1`` real numbers for whole ones, else twice as many
    ``cyclic(n)``                 ``k = 0 … n/2``: a turn by ``2πk/n``; 1 number for 0 and ``n/2``
    ``dihedral(n)``               the same, ``s`` mirroring the second number; for those of 1 number ``parity`` is
                                  what ``s`` multiplies by
    ============================  ==================================================================================

    Cyclic and dihedral groups may be without a table. ``dihedral(1)`` has the table of ``cyclic(2)``, and is taken for
    it. ``parity`` None stands for 1 in a dihedral group.
    Raises: ConfigError for another group, for a degree that it does not have, and for a parity that is not ±1 or is
    given where the irrep has none.
    """
    if isinstance(group, MatrixGroup) and group == orthogonal(3):
        if parity not in (1, -1):
            raise ConfigError(f"irrep: O(3) has two irreps of each degree: give parity=1 or parity=-1; got {parity}")
        X = _rotations(_whole(degree, "O(3)"))
        name = f"{_whole(degree, 'O(3)')}{'e' if parity == 1 else 'o'}"
        return GeneratedRepresentation(group, [parity * np.eye(X.shape[1])], X, name)
    if isinstance(group, LieAlgebra):
        if parity is not None:
            raise ConfigError(f"irrep: {group.name} is connected, so it has no parity")
        return _of_algebra(group, degree)
    # The order is n for a cyclic group and 2n for a dihedral one. Groups are compared by their tables, whatever made
    # them.
    for n in (len(group.elements), len(group.elements) // 2) if getattr(group, "is_listed", False) else ():
        if group == cyclic(max(n, 1)):
            if parity is not None:
                raise ConfigError(f"irrep: {group.name} has no mirror, so it has no parity")
            return _of_polygon(group, n, _whole(degree, group.name), None)
        if n > 1 and group == dihedral(n):
            return _of_polygon(group, n, _whole(degree, group.name), parity)
    if isinstance(group, CircleGroup):
        n = group.degree
        k = _checked(group.degree, _whole(degree, group.name), group.name)
        turn = _turn(n, k, 1)
        mirror = _mirror(n, k, parity, group.name) if group.mirrors else None
        return GeneratedRepresentation(group, [turn] if mirror is None else [turn, mirror], None, f"irrep {k}")
    raise ConfigError(
        f"irrep knows so(2), so(3), orthogonal(3), special_unitary(2), cyclic(n) and dihedral(n); got {group!r}. "
        "isotypic_parts splits any representation of a group with a table"
    )


def _whole(degree: float, name: str) -> int:
    """The degree as an int; ConfigError unless it is 0, 1, 2, …. ``name`` is the group's, for the message."""
    if degree != int(degree) or degree < 0:
        raise ConfigError(f"irrep: the degrees of {name} are 0, 1, 2, …; got {degree}")
    return int(degree)


def _of_algebra(group: LieAlgebra, degree: float) -> LieRepresentation:
    """The irrep of ``so(2)``, ``so(3)`` or ``special_unitary(2)`` of this degree or spin; ConfigError for another
    algebra.
    """
    if group.dim == 3 and np.array_equal(group.matrices, so(3).matrices):
        return LieRepresentation(group, _rotations(_whole(degree, "so(3)")), f"l={int(degree)}")
    if group.dim == 1 and np.array_equal(group.matrices, so(2).matrices):
        k = _whole(degree, "so(2)")
        # At k = 0 nothing turns, and one number is enough.
        X = np.zeros((1, 1, 1)) if k == 0 else k * so(2).matrices
        return LieRepresentation(group, X, f"k={k}")
    if group.dim == 3 and np.array_equal(group.matrices, special_unitary(2).matrices):
        if degree < 0 or 2 * degree != int(2 * degree):
            raise ConfigError(f"irrep: the spins of su(2) are 0, 1/2, 1, …; got {degree}")
        return LieRepresentation(group, _spins(int(2 * degree)), f"spin {degree:g}")
    raise ConfigError(
        f"irrep: {group!r} is none of so(2), so(3) and special_unitary(2) with the generators that they are made with; "
        "LieRepresentation takes matrices of any other"
    )


def _ladder(twice: int) -> tuple[NDArray[np.complex128], NDArray[np.complex128], NDArray[np.complex128]]:
    """``J_x, J_y, J_z`` for spin ``j = twice / 2``, Hermitian, ``(twice + 1, twice + 1)`` each, on ``m = −j … j``."""
    j = twice / 2
    m = np.arange(twice + 1) - j
    # Matrix elements of the raising operator, √(j(j+1) − m(m+1)).
    up = np.diag(np.sqrt(j * (j + 1) - m[:-1] * (m[:-1] + 1)), -1).astype(complex)
    return (up + up.T) / 2, (up - up.T) / 2j, np.diag(m).astype(complex)


def _rotations(degree: int) -> NDArray[np.float64]:
    """``dρ`` of ``J01, J02, J12`` on real spherical harmonics ``m = −l … l``, ``(3, 2l + 1, 2l + 1)``; ``degree`` is
    ``l``.

    From ``Y_m`` (Condon-Shortley) to real ones: ``√2 Im`` for ``−m`` and ``√2 Re`` for ``m``, with the sign ``(−1)^m``.
    """
    Jx, Jy, Jz = _ladder(2 * degree)
    C = np.zeros((2 * degree + 1, 2 * degree + 1), dtype=complex)  # rows: real harmonics in terms of Y_m
    C[degree, degree] = 1
    for m in range(1, degree + 1):
        phase = (-1) ** m / math.sqrt(2)
        C[degree + m, degree + m] = phase
        C[degree + m, degree - m] = 1 / math.sqrt(2)
        C[degree - m, degree + m] = phase / 1j
        C[degree - m, degree - m] = -1 / math.sqrt(2) / 1j
    # A rotation acts on coefficient vectors of functions by exp(−i θ J), and on the harmonics' values alike.
    turns = [(C.conj() @ (-1j * J) @ C.T).real for J in (Jx, Jy, Jz)]
    # J01 turns x towards y (about z), J02 turns x towards z (about −y), J12 turns y towards z (about x).
    return np.stack([turns[2], -turns[1], turns[0]])


def _spins(twice: int) -> NDArray[np.float64]:
    """``dρ`` of ``R01, S01, H0`` for spin ``twice / 2``, real: ``(3, n, n)``, ``n = twice + 1`` for whole spins, else
    twice that.

    For spin 1/2 they are ``−2i J_y``, ``2i J_x``, ``2i J_z``, and so for every spin.
    """
    half = _ladder(1)
    basis = np.stack([1j * J for J in half]).reshape(3, -1)
    algebra = special_unitary(2).matrices
    generators = algebra[:, :2, :2] + 1j * algebra[:, 2:, :2]  # complex again, from the real form
    # The generators in terms of i J for spin 1/2: the same combination serves for every spin.
    c = np.linalg.lstsq(basis.T, generators.reshape(3, -1).T, rcond=None)[0].T.real
    X = np.einsum("ij,jab->iab", c, np.stack([1j * J for J in _ladder(twice)]))
    if twice % 2:
        return real_form(X)
    # Whole spins are real in the basis of spherical harmonics, by which half as many numbers do.
    l3 = _rotations(twice // 2)
    return np.einsum("ij,jab->iab", c, np.stack([-l3[2], l3[1], -l3[0]]))


def _of_polygon(group: Any, n: int, k: int, parity: int | None) -> Representation:
    """The irrep of degree ``k`` of a group with the table of ``cyclic(n)`` or ``dihedral(n)``.

    ``parity`` is what ``s`` multiplies by in an irrep of one number; None stands for 1. ConfigError for another degree
    or parity.
    """
    k = _checked(n, k, group.name)
    turns = np.stack([_turn(n, k, t) for t in range(n)])
    if group.order == n and n > 0 and group == cyclic(n):
        return MatrixRepresentation(group, turns, f"irrep {k}")
    mirror = _mirror(n, k, parity, group.name)
    return MatrixRepresentation(group, np.concatenate([turns, turns @ mirror]), f"irrep {k}")


def _checked(n: int, k: int, name: str) -> int:
    """``k`` itself; ConfigError where it is above ``n / 2``, since higher degrees repeat these."""
    if 2 * k > n:
        raise ConfigError(f"irrep: the degrees of {name} are 0 to {n // 2}; got {k}")
    return k


def _turn(n: int, k: int, times: int) -> NDArray[np.float64]:
    """The matrix of ``times`` turns by ``2πk/n``: ``(2, 2)``, or ``(1, 1)`` for ``k = 0`` and ``k = n/2``."""
    if k == 0 or 2 * k == n:
        return np.array([[1.0 if k == 0 else (-1.0) ** times]])
    # Reduced first, so that whole turns are exact.
    angle = 2 * math.pi * ((k * times) % n) / n
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def _mirror(n: int, k: int, parity: int | None, name: str) -> NDArray[np.float64]:
    """The matrix of ``s`` in the irrep of degree ``k``: ``diag(1, −1)``, or ``(1, 1)`` with the parity, None standing
    for 1.

    Raises: ConfigError for a parity other than ±1, or one where the irrep has two numbers.
    """
    if k == 0 or 2 * k == n:
        if parity not in (None, 1, -1):
            raise ConfigError(f"irrep: parity is 1 or -1; got {parity}")
        return np.array([[float(parity or 1)]])
    if parity is not None:
        raise ConfigError(f"irrep: that of degree {k} of {name} has two numbers, which s mirrors: it takes no parity")
    return np.diag([1.0, -1.0])
