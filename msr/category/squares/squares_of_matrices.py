"""Squares of linear and affine maps: how far each is from commuting, exactly."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from msr.arrays import as_tensor
from msr.category.linear import VectFunctor
from msr.category.squares.blocks import Blocks
from msr.category.squares.joined_defects import at_object, joined, no_defect
from msr.equivariance import Defects
from msr.equivariance.measuring.defects import Comparison, compare_sides, defects_of, real
from msr.equivariance.measuring.scale import epsilon_of
from msr.errors import ConfigError, NonFiniteError, ShapeError

__all__ = ["component_matrix", "defects_of_matrices"]


def defects_of_matrices(
    S: VectFunctor,
    T: VectFunctor,
    components: Sequence[Any],
    biases: Sequence[Any] | None,
    chosen: Sequence[int],
    labels: Sequence[str],
) -> Defects:
    """The defects of linear maps ``η_X (dim T(X), dim S(X))``, or affine ones, at some arrows.

    Raises: as :func:`msr.category.naturality_error`.
    """
    C = S.category
    given = [component_matrix(S, T, X, component) for X, component in enumerate(components)]
    # The coarsest precision decides, and whole numbers are not rounded, as for the weight of a layer.
    epsilon = epsilon_of(*given)
    W = [matrix.double() for matrix in given]
    offsets = [_offset(T, X, None if biases is None else biases[X]) for X in C.objects]
    blocks = Blocks.of(T)
    # Each block, at all objects together, is taken in units of its largest number, so that squares neither overflow nor
    # vanish. Arrows keep blocks to themselves, so that both sides of a square have the same units.
    largest = torch.zeros(blocks.count, dtype=torch.float64)
    for at, matrix, offset in zip(blocks.labels, W, offsets, strict=True):
        largest.scatter_reduce_(0, at, torch.cat([matrix, offset], dim=1).abs().amax(1), "amax")
    units = largest.where(largest > 0, torch.ones_like(largest))
    scale = [units[at].unsqueeze(1) for at in blocks.labels]
    V = [matrix / unit for matrix, unit in zip(W, scale, strict=True)]
    v = [offset / unit for offset, unit in zip(offsets, scale, strict=True)]
    of_entries, of_offsets = ([_squares(blocks, X, part) for X, part in enumerate(all_of)] for all_of in (V, v))
    one = torch.ones((), dtype=torch.float64)
    rows: list[Defects] = []
    for f, label in zip(chosen, labels, strict=True):
        X = int(C.src[f])
        Y = int(C.dst[f])
        parts = blocks.parts[Y]
        if parts is None:
            rows.append(no_defect(label))
            continue
        a = (V[X].mT @ T.mats[f].mT).mT
        b = V[Y] @ S.mats[f]
        moved = (v[X].mT @ T.mats[f].mT).mT
        entries, offset = (
            parts.of_blocks(torch.maximum(both[X], both[Y])[blocks.members[Y]]) for both in (of_entries, of_offsets)
        )
        changes = None if biases is None else (moved - v[Y], entries + offset)
        compared = compare_sides(parts, a, b, entries, epsilon, changes=changes)
        size = (torch.cat([a, moved], dim=1) * scale[Y]).norm() / len(a) ** 0.5
        rows.append(at_object(defects_of((label,), Comparison(compared, parts, [size], [one])), C, Y))
    return joined(rows)


def component_matrix(S: VectFunctor, T: VectFunctor, X: int, component: Any) -> Tensor:
    """A component as a matrix ``(dim T(X), dim S(X))`` on the CPU, in its own precision.

    Raises: ConfigError for a function; ShapeError for another shape; NonFiniteError on nan or infinity.
    """
    if callable(component) and not isinstance(component, Tensor):
        raise ConfigError(f"component {X} is a function: give data, inputs for each object")
    matrix = real(as_tensor(component, f"component {X}"), f"component {X}").cpu()
    shape = (int(T.dims[X]), int(S.dims[X]))
    if matrix.numel() == 0 and 0 in shape:
        return torch.zeros(shape, dtype=torch.float64)
    if tuple(matrix.shape) != shape:
        raise ShapeError(f"component {X} must be (dim T({X}), dim S({X})) = {shape}; got {tuple(matrix.shape)}")
    if not bool(matrix.isfinite().all()):
        raise NonFiniteError(f"component {X} holds nan or infinity")
    return matrix


def _offset(T: VectFunctor, X: int, bias: Any) -> Tensor:
    """A bias as a column ``(dim T(X), 1)`` float64; zeros for none. Raises: ShapeError, NonFiniteError."""
    n = int(T.dims[X])
    if bias is None:
        return torch.zeros(n, 1, dtype=torch.float64)
    values = real(as_tensor(bias, f"bias {X}"), f"bias {X}").cpu().double()
    if values.numel() != n:
        raise ShapeError(f"bias {X} must hold the {n} numbers of T({X}); got {tuple(values.shape)}")
    if not bool(values.isfinite().all()):
        raise NonFiniteError(f"bias {X} holds nan or infinity")
    return values.reshape(n, 1)


def _squares(blocks: Blocks, X: int, matrix: Tensor) -> Tensor:
    """The squared length of the rows ``(dim T(X), n)`` of each block at an object, ``(blocks,)``; 0 for one without."""
    total = torch.zeros(blocks.count, dtype=torch.float64)
    parts = blocks.parts[X]
    if parts is not None:
        total[blocks.members[X]] = parts.squares(parts.features(matrix.mT))[:, : parts.n_blocks].sum(0)
    return total
