"""Windows of a signal as a category, whose natural transformations are the valid correlations.

A window moves within a signal only as far as the edge lets it: a partial symmetry, which no group describes.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from msr.arrays import as_tensor
from msr.brief import Brief
from msr.category.categories.tables import FinCat
from msr.category.integers import starts_of
from msr.category.linear import VectFunctor
from msr.equivariance.measuring.defects import real
from msr.errors import ConfigError, NonFiniteError
from msr.groups.group import whole_number
from msr.memory import refuse_if_larger
from msr.permutations import Indices

__all__ = ["Windows", "window_category"]

Size = tuple[int, ...]


@dataclass(frozen=True, eq=False, repr=False)
class Windows(Brief):
    """The category of windows of the given sizes, and functors on it.

    An arrow ``s: L → M`` lays window ``L`` into window ``M``, moved by ``s``, so ``Hom(L, M)`` holds the moves from 0
    to ``M − L`` along each axis, and is empty where ``L`` does not fit. Moves add up.

    Attributes:
        category: the :class:`msr.category.FinCat`; its objects are the sizes in the order given.
        sizes: for each object its size along each axis.
        moves: ``(arrows, axes)``, by how much each arrow moves its window.
    """

    category: FinCat
    sizes: tuple[Size, ...]
    moves: Indices

    def signals(self, taps: int | Sequence[int] = 1) -> VectFunctor:
        """The contravariant functor of signals, or of what a filter of ``taps`` makes of them, on ``category.op()``.

        ``S(L) = ℝ^(L − taps + 1)``, and an arrow restricts a signal: ``S(s)(x) = x[s : s + L − taps + 1]``.
        Without ``taps`` it is the signal itself. Entries along several axes stand row by row.

        Raises: ConfigError for taps that do not fit into every window.
        """
        width = self._taps(taps)
        shapes = [self._left(size, width) for size in self.sizes]
        dims = [math.prod(shape) for shape in shapes]
        C = self.category
        refuse_if_larger(
            8.0 * sum(dims[a] * dims[b] for a, b in zip(C.src.tolist(), C.dst.tolist(), strict=True)),
            f"the restrictions of {len(self.sizes)} windows",
            advice="take fewer or smaller windows",
        )
        mats = []
        for L, M, move in zip(C.src.tolist(), C.dst.tolist(), self.moves, strict=True):
            matrix = torch.zeros(dims[L], dims[M], dtype=torch.float64)
            matrix[torch.arange(dims[L]), torch.from_numpy(_places(shapes[L], move, shapes[M]))] = 1
            mats.append(matrix)
        name = "signals" if math.prod(width) == 1 else f"outputs of {'×'.join(map(str, width))} taps"
        return VectFunctor.known(C.op(), dims, mats, name)

    def correlation(self, kernel: Any) -> tuple[Tensor, ...]:
        """The valid correlation with a filter as a matrix for each window, ``(outputs, inputs)`` float64.

        ``W x [p] = Σ_t kernel[t] x[p + t]``: the components of a natural transformation from ``signals()`` to
        ``signals(kernel.shape)``.

        Args: ``kernel``: the filter, with as many axes as the windows.
        Raises: ConfigError for a filter that does not fit into every window; NonFiniteError on nan or infinity.
        """
        values = real(as_tensor(kernel, "kernel"), "kernel").cpu().double()
        width = self._taps(tuple(values.shape))
        if not bool(values.isfinite().all()):
            raise NonFiniteError("the kernel holds nan or infinity")
        components = []
        for size in self.sizes:
            shape = self._left(size, width)
            matrix = torch.zeros(math.prod(shape), math.prod(size), dtype=torch.float64)
            for tap in itertools.product(*map(range, width)):
                matrix[torch.arange(len(matrix)), torch.from_numpy(_places(shape, np.array(tap), size))] = values[tap]
            components.append(matrix)
        return tuple(components)

    def _taps(self, taps: int | Sequence[int]) -> Size:
        """The number of taps along each axis. Raises: ConfigError."""
        axes = len(self.sizes[0])
        width = _size_of(taps, "taps")
        width = width * axes if whole_number(taps) is not None else width
        fits = len(width) == axes and all(k >= 1 for k in width)
        if not fits or any(k > n for size in self.sizes for k, n in zip(width, size, strict=True)):
            raise ConfigError(f"{width} taps do not fit into each of the windows {_shown(self.sizes)}; give fewer taps")
        return width

    @staticmethod
    def _left(size: Size, width: Size) -> Size:
        """The shape of the outputs of a filter inside a window."""
        return tuple(n - k + 1 for n, k in zip(size, width, strict=True))


def window_category(sizes: Sequence[int | Sequence[int]]) -> Windows:
    """The category of :class:`Windows` of the given sizes: lengths, or ``(rows, columns)`` and so on for more axes.

    Raises: ConfigError for no size, sizes below 1, with different numbers of axes, or given twice; DataError where the
    table of composition does not fit into memory.
    """
    listed = [_size_of(size, "windows") for size in sizes]
    axes = {len(size) for size in listed}
    if len(axes) != 1 or 0 in axes or any(n < 1 for size in listed for n in size) or len(set(listed)) < len(listed):
        raise ConfigError(f"windows need different sizes, 1 or more, along the same axes; got {_shown(listed)}")
    n = len(listed)
    sides = np.array(listed)
    # How many moves there are along each axis from each window into each other; none where it does not fit.
    room = np.maximum(sides[None, :, :] - sides[:, None, :] + 1, 0)
    counts = room.prod(axis=2).ravel()
    starts = starts_of(counts)
    m = int(starts[-1])
    refuse_if_larger(64.0 * m * m, f"the table of composition of {m} moves", advice="take fewer or smaller windows")
    src = np.repeat(np.repeat(np.arange(n), n), counts)
    dst = np.repeat(np.tile(np.arange(n), n), counts)
    moves = np.concatenate([np.argwhere(np.ones(room[a, b], dtype=bool)) for a in range(n) for b in range(n)])
    comp = np.full((m, m), -1)
    later, earlier = np.nonzero(src[:, None] == dst)
    total = moves[later] + moves[earlier]
    ends = src[earlier], dst[later]
    place = np.zeros(len(total), dtype=np.int64)
    for axis in range(sides.shape[1]):
        place = place * room[ends][:, axis] + total[:, axis]
    comp[later, earlier] = starts[ends[0] * n + ends[1]] + place
    identities = starts[np.arange(n) * n + np.arange(n)]
    category = FinCat(n, src, dst, identities, comp, f"windows {_shown(listed)}")
    return Windows(category, tuple(listed), moves)


def _size_of(size: Any, what: str) -> Size:
    """One whole number, or several, as a size along each axis. Raises: ConfigError for anything else."""
    one = whole_number(size)
    listed = [one] if one is not None else [whole_number(n) for n in size] if isinstance(size, Iterable) else [None]
    known = tuple(n for n in listed if n is not None)
    if len(known) < len(listed):
        raise ConfigError(f"{what} are whole numbers, one or one for each axis; got {size!r}")
    return known


def _places(inner: Size, move: Indices, outer: Size) -> Indices:
    """The flat places in ``outer`` of the entries of ``inner``, moved; row by row."""
    grid = np.indices(inner).reshape(len(inner), -1) + np.asarray(move)[:, None]
    return np.ravel_multi_index(tuple(grid), outer)


def _shown(sizes: Sequence[Size]) -> str:
    """Sizes for a message; the first six of many."""
    shown = ", ".join("×".join(map(str, size)) for size in sizes[:6])
    return shown + (", …" if len(sizes) > 6 else "")
