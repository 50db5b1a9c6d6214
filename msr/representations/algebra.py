"""Representations made from representations: direct sums and tensor products, kept as what they are made of."""

from collections.abc import Sequence
from functools import cached_property, reduce
from operator import add, mul
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msr.errors import ConfigError
from msr.groups.permutations import Indices, frozen
from msr.kron import kron
from msr.representations.base import Representation, same_group
from msr.representations.lie import LieRepresentation

__all__ = ["SumRepresentation", "TensorRepresentation", "copies", "direct_sum", "tensor_product"]


@overload
def direct_sum(*representations: Representation) -> Representation: ...
@overload
def direct_sum(*representations: LieRepresentation) -> LieRepresentation: ...
def direct_sum(*representations: Any) -> Any:
    """``ρ₁ ⊕ ρ₂ ⊕ …`` on vectors that hold the parts one after another; also written ``a + b``."""
    same_group(representations, "direct_sum")
    if isinstance(representations[0], LieRepresentation):
        return reduce(add, representations)
    parts = tuple(part for rep in representations for part in rep.blocks())
    return parts[0] if len(representations) == len(parts) == 1 else SumRepresentation(parts)


@overload
def tensor_product(*representations: Representation) -> Representation: ...
@overload
def tensor_product(*representations: LieRepresentation) -> LieRepresentation: ...
def tensor_product(*representations: Any) -> Any:
    """``ρ₁ ⊗ ρ₂ ⊗ …`` on points of the joined shapes, row-major; also written ``a * b``.

    ``regular(C4) * grid_rotations((8, 8))`` acts on feature maps ``(4, 8, 8)``: it moves channels and turns the grid.
    """
    same_group(representations, "tensor_product")
    if isinstance(representations[0], LieRepresentation):
        return reduce(mul, representations)
    return representations[0] if len(representations) == 1 else TensorRepresentation(representations)


class SumRepresentation(Representation):
    """A direct sum; acts block by block."""

    def __init__(self, parts: Sequence[Representation]):
        group = same_group(parts, "direct_sum")
        super().__init__(group, (sum(p.dim for p in parts),), " + ".join(_counted([p.name for p in parts])))
        self.__dict__["parts"] = tuple(parts)

    @property
    def parts(self) -> tuple[Representation, ...]:
        """The summands."""
        return self.__dict__["parts"]

    def blocks(self) -> tuple[Representation, ...]:
        """The summands."""
        return self.parts

    @cached_property
    def permutations(self) -> Indices | None:
        """Side by side, each moved past those before it."""
        columns, offset = [], 0
        for part in self.parts:
            if part.permutations is None:
                return None
            columns.append(part.permutations + offset)
            offset += part.dim
        return frozen(np.concatenate(columns, axis=1))

    @property
    def is_orthogonal(self) -> bool:
        """Whether every summand is."""
        return all(part.is_orthogonal for part in self.parts)

    def act_flat(self, element: int, x: Tensor) -> Tensor:
        """Block by block."""
        pieces = x.split([part.dim for part in self.parts], dim=-1)
        return torch.cat([p.act_flat(element, piece) for p, piece in zip(self.parts, pieces, strict=True)], dim=-1)

    def matrix(self, element: int) -> Tensor:
        """Block diagonal."""
        return torch.block_diag(*(part.matrix(element) for part in self.parts))

    def character(self) -> NDArray[np.float64]:
        """``Σ χ_i``."""
        return np.sum([part.character() for part in self.parts], axis=0)


class TensorRepresentation(Representation):
    """A tensor product; acts on each factor's axes in turn."""

    def __init__(self, factors: Sequence[Representation]):
        group = same_group(factors, "tensor_product")
        shape = tuple(n for factor in factors for n in factor.shape)
        super().__init__(group, shape, " * ".join(f"({f.name})" if "+" in f.name else f.name for f in factors))
        self.__dict__["factors"] = tuple(factors)

    @property
    def factors(self) -> tuple[Representation, ...]:
        """The factors."""
        return self.__dict__["factors"]

    def blocks(self) -> tuple[Representation, ...]:
        """Copies of the rest for each dimension of a trivial first factor; itself otherwise."""
        first, *rest = self.factors
        if first.dim > 1 and first.is_trivial:
            return tensor_product(*rest).blocks() * first.dim
        return (self,)

    @cached_property
    def permutations(self) -> Indices | None:
        """``(i, j) ↦ (g·i, g·j)`` on flattened pairs."""
        joint = np.zeros((self.group.order, 1), dtype=np.int32)
        for factor in self.factors:
            if factor.permutations is None:
                return None
            joint = (joint[:, :, None] * factor.dim + factor.permutations[:, None, :]).reshape(self.group.order, -1)
        return frozen(joint)

    @property
    def is_permutation(self) -> bool:
        """Whether every factor is, without building the joint permutations."""
        return all(factor.is_permutation for factor in self.factors)

    @property
    def is_orthogonal(self) -> bool:
        """Whether every factor is; ``c A ⊗ B / c`` is not counted."""
        return all(factor.is_orthogonal for factor in self.factors)

    @cached_property
    def is_trivial(self) -> bool:
        """Whether nothing moves: every factor only multiplies by a number, and the numbers cancel."""
        if all(factor.is_trivial for factor in self.factors):
            return True
        product = np.ones(len(self.group.generators))
        for factor in self.factors:
            scalars = _as_scalars(factor)
            if scalars is None:
                return False
            product = product * scalars
        return bool(np.allclose(product, 1))

    def act_flat(self, element: int, x: Tensor) -> Tensor:
        """Factor by factor, each on its own axis."""
        sizes = [factor.dim for factor in self.factors]
        points = x.reshape(*x.shape[:-1], *sizes)
        for axis, factor in enumerate(self.factors):
            if not factor.is_trivial:
                where = axis - len(sizes)
                points = factor.act_flat(element, points.movedim(where, -1)).movedim(-1, where)
        return points.reshape(x.shape)

    def matrix(self, element: int) -> Tensor:
        """``ρ₁(g) ⊗ ρ₂(g) ⊗ …``."""
        return kron(*(factor.matrix(element) for factor in self.factors))

    def character(self) -> NDArray[np.float64]:
        """``∏ χ_i``."""
        return np.prod([factor.character() for factor in self.factors], axis=0)


def _as_scalars(rep: Representation) -> NDArray[np.float64] | None:
    """The numbers that the generators multiply by, if that is all they do."""
    if rep.is_permutation:
        return np.ones(len(rep.group.generators)) if rep.is_trivial else None
    scalars = []
    for g in rep.group.generators:
        matrix = rep.matrix(g)
        if not torch.allclose(matrix, matrix[0, 0] * torch.eye(rep.dim, dtype=matrix.dtype)):
            return None
        scalars.append(float(matrix[0, 0]))
    return np.array(scalars)


def _counted(names: list[str]) -> list[str]:
    """``[a, a, b] -> [2 a, b]``."""
    counted: list[tuple[str, int]] = []
    for name in names:
        if counted and counted[-1][0] == name:
            counted[-1] = (name, counted[-1][1] + 1)
        else:
            counted.append((name, 1))
    return [name if n == 1 else f"{n} {name}" for name, n in counted]


@overload
def copies(representation: Representation, n: int) -> Representation: ...
@overload
def copies(representation: LieRepresentation, n: int) -> LieRepresentation: ...
def copies(representation: Any, n: int) -> Any:
    """``n`` copies side by side: ``ρ ⊕ … ⊕ ρ``, as for a layer with ``n`` channels of the same kind."""
    if n < 1:
        raise ConfigError(f"copies: at least one; came {n}")
    return direct_sum(*[representation] * n)
