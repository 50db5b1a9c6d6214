"""Groups acting on the positions of a grid: shifts around the torus, turns by right angles, mirrors."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from msr.errors import ConfigError, ShapeError
from msr.groups import MAX_ORDER, cyclic, dihedral, direct_product, from_permutations
from msr.representations.base import Representation
from msr.representations.combinators import outer_product
from msr.representations.constructors import regular
from msr.representations.elementary import PermutationRepresentation

__all__ = ["grid_reflections", "grid_rotations", "grid_shifts"]


def grid_shifts(shape: Sequence[int] | int) -> Representation:
    """All shifts of a grid that wraps around: ``C_n`` on ``(n,)``, ``C_H × C_W`` on ``(H, W)``, for any number of axes.

    Element ``a W + b`` shifts down by ``a`` and right by ``b``, as ``torch.roll(x, (a, b), (-2, -1))`` does. With more
    than ``MAX_ORDER`` positions nothing is listed, and the element is the pair ``(a, b)``.
    Raises: ShapeError for a size below 1.
    """
    shape = _shape(shape, "grid_shifts")
    # In floating point, since the product of large sizes overflows.
    if np.prod(shape, dtype=float) > MAX_ORDER:
        return outer_product(*(regular(cyclic(n)) for n in shape))
    group = direct_product(*(cyclic(n) for n in shape))
    # Elements and positions are both numbered row-major, so one array of coordinates serves for both.
    coordinates = np.indices(shape).reshape(len(shape), -1)
    images = [(coordinates[axis] + coordinates[axis][:, None]) % n for axis, n in enumerate(shape)]
    return PermutationRepresentation(group, np.ravel_multi_index(images, shape), "shifts", shape=shape, known=True)


def grid_rotations(
    shape: Sequence[int] | int, n: int = 4, *, flips: bool = False, axis: int | None = None
) -> Representation:
    """Turns of a grid by right angles: of ``(H, W)``, or of ``(D, H, W)``; one number is a square.

    Two axes: turns by ``360°/n``: ``C_n``, or ``D_n`` with ``flips``; exact, so ``n`` is 1, 2 or 4. Element ``r`` turns
    as ``torch.rot90(x, 4 // n, (-2, -1))`` does (counter-clockwise, rows counted downwards), ``s`` mirrors left and
    right as ``x.flip(-1)`` does, before any turn. A rectangle has half turns (``n = 2``) only.

    Three axes: with ``axis``, the same in the planes across that axis (0, 1 or 2), the mirror being that of the last
    axis of the plane. Without, all turns that map the grid to itself: 24 for a cube (``n = 4``); the identity and three
    half turns for any box (``n = 2``); the identity alone for ``n = 1``. ``flips`` doubles them by the inversion
    ``x.flip(-3, -2, -1)``: all 48 symmetries of the cube.

    Raises: ConfigError for another ``n`` (a grid has no turn by 45°) or ``axis``; ShapeError for ``n = 4`` where the
    plane of a turn is not square, and for another number of axes.
    """
    shape = _shape((shape, shape) if isinstance(shape, int) else shape, "grid_rotations")
    if n not in (1, 2, 4):
        raise ConfigError(f"grid_rotations: a grid is mapped to itself by 1, 2 or 4 turns; got n = {n}")
    if len(shape) == 3:
        return _turns_of_a_box(shape, n, flips) if axis is None else _turns_about(shape, n, flips, axis)
    if axis is not None:
        raise ConfigError(f"grid_rotations: an axis to turn about needs a grid of three axes; got {shape}")
    if len(shape) != 2 or (n == 4 and shape[0] != shape[1]):
        raise ShapeError(
            f"grid_rotations: {n} turns need a {'square' if n == 4 else 'grid'} (H, W), or three axes; got {shape}"
        )
    sources = [
        np.rot90(_places(shape)[:, ::-1] if f else _places(shape), k * (4 // n))
        for f in range(1 + flips)
        for k in range(n)
    ]
    return _from_sources(dihedral(n) if flips else cyclic(n), sources, shape, "turns and flips" if flips else "turns")


def grid_reflections(shape: Sequence[int] | int, axes: Sequence[int] | int | None = None) -> Representation:
    """Mirrors of a grid, one for each of the axes given (all by default): ``C_2 × C_2 × …``, for any shape.

    The generator of axis ``a`` mirrors as ``x.flip(a)`` does, axes counted as in ``shape``; negative ones count from
    the end. Raises: ConfigError for no axis, one that the grid does not have, or one given twice.
    """
    shape = _shape(shape, "grid_reflections")
    chosen = tuple(range(len(shape))) if axes is None else (axes,) if isinstance(axes, int) else tuple(axes)
    numbers = [a % len(shape) for a in chosen if -len(shape) <= a < len(shape)]
    if not chosen or len(set(numbers)) != len(chosen):
        raise ConfigError(f"grid_reflections: axes of {shape}, each at most once; got {chosen}")
    group = direct_product(*[cyclic(2)] * len(numbers))
    sources = []
    for element in range(2 ** len(numbers)):
        # Row-major, as direct_product numbers its elements: the last factor is the lowest bit.
        bits = [(element >> (len(numbers) - 1 - i)) & 1 for i in range(len(numbers))]
        sources.append(np.flip(_places(shape), tuple(a for a, bit in zip(numbers, bits, strict=True) if bit)))
    return _from_sources(group, sources, shape, "mirrors")


def _turns_about(shape: tuple[int, ...], n: int, flips: bool, axis: int) -> Representation:
    """Turns by ``360°/n`` of a grid of three axes about one axis, with mirrors if ``flips``; see
    :func:`grid_rotations`.
    """
    if axis not in (0, 1, 2):
        raise ConfigError(f"grid_rotations: the axis to turn about is 0, 1 or 2; got {axis}")
    plane = ((1, 2), (0, 2), (0, 1))[axis]
    if n == 4 and shape[plane[0]] != shape[plane[1]]:
        raise ShapeError(f"grid_rotations: 4 turns about axis {axis} need axes {plane} of one size; got {shape}")
    places = _places(shape)
    sources = [
        np.rot90(np.flip(places, plane[1]) if f else places, k * (4 // n), plane)
        for f in range(1 + flips)
        for k in range(n)
    ]
    return _from_sources(dihedral(n) if flips else cyclic(n), sources, shape, "turns and flips" if flips else "turns")


def _turns_of_a_box(shape: tuple[int, ...], n: int, flips: bool) -> Representation:
    """All turns of a grid of three axes that map it to itself, with the inversion if ``flips``; see
    :func:`grid_rotations`.
    """
    if n == 4 and len(set(shape)) > 1:
        raise ShapeError(
            f"grid_rotations: 4 turns about every axis need a cube; got {shape}. Half turns (n = 2) keep any box, and "
            "quarter turns about one axis (axis = 0, 1 or 2) one with a square face"
        )
    # Turns about two axes generate those about the third.
    planes = [(1, 2), (2, 0)] if n > 1 else []
    sources = [np.rot90(_places(shape), 4 // n, plane) for plane in planes]
    small = [np.rot90(np.arange(27).reshape(3, 3, 3), 4 // n, plane) for plane in planes]
    if flips:
        sources.append(np.flip(_places(shape), (0, 1, 2)))
        small.append(np.flip(np.arange(27).reshape(3, 3, 3), (0, 1, 2)))
    # The names of crystallography (Schoenflies).
    name = {4: "Oh" if flips else "O", 2: "D2h" if flips else "D2", 1: "Ci" if flips else "C1"}[n]
    # The group is that of the cube of three, on which all elements differ; a thinner box has them as well.
    group = from_permutations([np.argsort(s.ravel()) for s in small] or [np.arange(27)], name)
    images = {g: np.argsort(s.ravel()) for g, s in zip(group.generators, sources, strict=True)}
    moves = np.empty((group.order, int(np.prod(shape))), dtype=np.int32)
    for g in group.elements:
        moves[g] = np.arange(moves.shape[1])
        # The last letter acts first.
        for k, _ in reversed(group.word(g)):
            moves[g] = images[group.generators[k]][moves[g]]
    return PermutationRepresentation(group, moves, "turns and flips" if flips else "turns", shape=shape)


def _places(shape: tuple[int, ...]) -> np.ndarray:
    """The number of each position of a grid, row-major, as an array of the grid's shape."""
    return np.arange(int(np.prod(shape))).reshape(shape)


def _from_sources(group: Any, sources: list[np.ndarray], shape: tuple[int, ...], name: str) -> Representation:
    """The permutation representation of ``group`` on a grid, from one array of the grid's shape for each element, in
    the order of the group's elements.

    Entry ``j`` of the array of element ``g`` is the number of the position whose content ``g`` brings to ``j``.
    """
    # Position j of a turned image holds what was at source[j] = g⁻¹·j, so g itself is the inverse permutation: argsort.
    permutations = np.argsort(np.stack([source.ravel() for source in sources]), axis=1)
    return PermutationRepresentation(group, permutations, name, shape=shape)


def _shape(shape: Sequence[int] | int, what: str) -> tuple[int, ...]:
    """The sizes of the grid's axes as a tuple; ShapeError, which begins with ``what``, for no axis or a size below
    1.
    """
    sizes = (shape,) if isinstance(shape, int) else tuple(int(n) for n in shape)
    if not sizes or min(sizes) < 1:
        raise ShapeError(f"{what}: a grid needs positive sizes; got {sizes}")
    return sizes
