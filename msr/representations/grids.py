"""Groups acting on the positions of a grid: shifts around the torus, turns by right angles, mirrors."""

from collections.abc import Sequence

import numpy as np

from msr.errors import ConfigError, ShapeError
from msr.groups import cyclic, dihedral, direct_product
from msr.representations.base import Representation
from msr.representations.elementary import PermutationRepresentation

__all__ = ["grid_rotations", "grid_shifts"]


def grid_shifts(shape: Sequence[int] | int) -> Representation:
    """All shifts of a grid that wraps around: ``C_n`` on ``(n,)``, ``C_H × C_W`` on ``(H, W)``.

    Element ``a W + b`` shifts down by ``a`` and right by ``b``, as ``torch.roll(x, (a, b), (-2, -1))`` does.
    """
    shape = _shape(shape, "grid_shifts")
    group = direct_product(*(cyclic(n) for n in shape))
    steps, places = np.indices(shape).reshape(len(shape), -1), np.indices(shape).reshape(len(shape), -1)
    moved = [(places[axis] + steps[axis][:, None]) % n for axis, n in enumerate(shape)]
    return PermutationRepresentation(group, np.ravel_multi_index(moved, shape), "shifts", shape=shape)


def grid_rotations(shape: Sequence[int] | int, n: int = 4, *, flips: bool = False) -> Representation:
    """Turns of a grid ``(H, W)`` by ``360°/n``: ``C_n``, or ``D_n`` with ``flips``; exact, so ``n`` is 1, 2 or 4.

    Element ``r`` turns as ``torch.rot90(x, 4 // n, (-2, -1))`` does (counter-clockwise, rows counted downwards), ``s``
    mirrors left and right as ``x.flip(-1)`` does, before any turn. One number means a square.
    Raises: ConfigError for another ``n``: a grid has no turn by 45°; ShapeError for ``n = 4`` on a grid not square.
    """
    shape = _shape((shape, shape) if isinstance(shape, int) else shape, "grid_rotations")
    if n not in (1, 2, 4):
        raise ConfigError(f"grid_rotations: a grid is mapped to itself by 1, 2 or 4 turns; came n = {n}")
    if len(shape) != 2 or (n == 4 and shape[0] != shape[1]):
        raise ShapeError(f"grid_rotations: {n} turns need a {'square' if n == 4 else 'grid'} (H, W); came {shape}")
    group = dihedral(n) if flips else cyclic(n)
    places = np.arange(shape[0] * shape[1]).reshape(shape)
    sources = [
        np.rot90(places[:, ::-1] if f else places, k * (4 // n)).ravel() for f in range(1 + flips) for k in range(n)
    ]
    # The moved image reads position j from its source, which is where g⁻¹ sends j.
    permutations = np.argsort(np.stack(sources), axis=1)
    return PermutationRepresentation(group, permutations, "turns and flips" if flips else "turns", shape=shape)


def _shape(shape: Sequence[int] | int, what: str) -> tuple[int, ...]:
    sizes = (shape,) if isinstance(shape, int) else tuple(int(n) for n in shape)
    if not sizes or min(sizes) < 1:
        raise ShapeError(f"{what}: a grid needs positive sizes; came {sizes}")
    return sizes
