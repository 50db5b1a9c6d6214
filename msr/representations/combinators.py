"""Direct sums, tensor products and outer products of representations, which keep their summands or factors."""

from collections.abc import Sequence
from functools import cached_property, reduce
from operator import add, mul
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msr.errors import ConfigError
from msr.groups import FiniteGroup, ProductGroup, direct_product
from msr.groups.group import Element
from msr.groups.immutable import frozen
from msr.groups.tolerances import LAW
from msr.kron import kron
from msr.permutations import Indices
from msr.representations.base import Representation, exponents, same_group
from msr.representations.elementary import Reshaped
from msr.representations.generated import LiftedRepresentation, RebasedRepresentation
from msr.representations.lie import LieRepresentation

__all__ = [
    "SumRepresentation", "TensorRepresentation", "copies", "direct_sum", "outer_product",
    "tensor_product",
]  # fmt: skip


@overload
def direct_sum(*representations: Representation) -> Representation: ...
@overload
def direct_sum(*representations: LieRepresentation) -> LieRepresentation: ...
def direct_sum(*representations: Any) -> Any:
    """``ρ₁ ⊕ ρ₂ ⊕ …`` on vectors ``(dim,)`` that hold the flattened parts one after another; also written ``a + b``.

    Summands that are sums are replaced by their own summands; one representation alone that is no sum is returned as it
    is.
    Raises: ConfigError for none, or for representations of different groups.
    """
    same_group(representations, "direct_sum")
    if isinstance(representations[0], LieRepresentation):
        return reduce(add, representations)
    # A sum of sums is one sum, so that equal blocks are found wherever they stand.
    parts = tuple(part for rep in representations for part in rep.blocks())
    return parts[0] if len(representations) == len(parts) == 1 else SumRepresentation(parts)


@overload
def tensor_product(*representations: Representation) -> Representation: ...
@overload
def tensor_product(*representations: LieRepresentation) -> LieRepresentation: ...
def tensor_product(*representations: Any) -> Any:
    """``ρ₁ ⊗ ρ₂ ⊗ …`` on points of the joined shapes, row-major; also written ``a * b``. One alone is returned as it
    is.

    ``regular(C4) * grid_rotations((8, 8))`` acts on feature maps ``(4, 8, 8)``: it moves channels and turns the grid.
    Raises: ConfigError for none, or for representations of different groups.
    """
    same_group(representations, "tensor_product")
    if isinstance(representations[0], LieRepresentation):
        return reduce(mul, representations)
    return representations[0] if len(representations) == 1 else TensorRepresentation(representations)


def outer_product(*representations: Representation | LieRepresentation) -> Representation:
    """``ρ₁ ⊠ ρ₂ ⊠ …``: a representation of the product of the groups, one group for each ``ρ``, on points of the joined
    shapes.

    The groups may differ or be equal; each acts on its own axes:
    ``outer_product(natural(symmetric(5)), defining(so(3)))`` permutes the rows of ``(5, 3)`` and turns the columns. The
    group is :func:`msr.groups.direct_product` of their groups. One representation alone is returned as it is;
    ConfigError for none.
    """
    if not representations:
        raise ConfigError("outer_product: give at least one representation")
    for rep in representations:
        same_group((rep,), "outer_product")
    group = direct_product(*(rep.group for rep in representations))
    if len(representations) == 1:
        return representations[0]  # type: ignore[return-value]
    if isinstance(group, FiniteGroup):
        # Element (g, h, …) of the product has a number in mixed radix, the last factor first.
        remaining = np.arange(group.order)
        lifted = []
        for rep in reversed(representations):
            assert isinstance(rep, Representation)
            size = rep.group.order
            lifted.append(rep.pullback(group, remaining % size, rep.name))
            remaining = remaining // size
        return tensor_product(*reversed(lifted))
    # Without a table: each representation is lifted to the product of the groups, and their tensor product is taken.
    factors = []
    place = 0
    for rep in representations:
        # A product of products is one product, so a factor may stand for several.
        count = len(rep.group.factors) if isinstance(rep.group, ProductGroup) else 1
        factors.append(
            LiftedRepresentation(rep, group, place) if count == 1 else RebasedRepresentation(rep, group, place)
        )
        place += count
    return TensorRepresentation(factors)


class SumRepresentation(Representation):
    """A direct sum of ``parts``, representations of one group: each acts on its own stretch of the vector
    ``(dim,)``.
    """

    parts: tuple[Representation, ...]

    def __init__(self, parts: Sequence[Representation]):
        group = same_group(parts, "direct_sum")
        super().__init__(group, (sum(p.dim for p in parts),), " + ".join(_counted([p.name for p in parts])))
        self.__dict__.update(parts=tuple(parts))

    def blocks(self) -> tuple[Representation, ...]:
        """The summands, none of which is a sum itself."""
        return self.parts

    @property
    def is_permutation(self) -> bool:
        """Whether every summand is a permutation representation."""
        return all(part.is_permutation for part in self.parts)

    @cached_property
    def permutations(self) -> Indices | None:
        """The permutations of the summands side by side, each moved past the coordinates before it: ``(order, dim)``.

        None where a summand mixes coordinates. Raises: ConfigError where none does, but the group has no table.
        """
        # A summand of a group without a table refuses to list its own, though another summand mixes coordinates.
        if not self.is_permutation:
            return None
        columns = []
        offset = 0
        for part in self.parts:
            if part.permutations is None:
                return None
            columns.append(part.permutations + offset)
            offset += part.dim
        return frozen(np.concatenate(columns, axis=1))

    def moves(self, element: Element) -> Indices:
        """Where the element sends each coordinate, ``(dim,)``; ConfigError where a summand mixes coordinates."""
        offsets = np.cumsum([0, *(part.dim for part in self.parts[:-1])])
        return np.concatenate([part.moves(element) + at for part, at in zip(self.parts, offsets, strict=True)])

    def infinitesimal(self) -> Tensor:
        """The matrices ``dρ(X_i)``, ``(d, dim, dim)``, block diagonal."""
        X = super().infinitesimal()
        at = 0
        # A group without infinitesimal generators has nothing to fill in.
        for part in self.parts if len(X) else ():
            X[:, at : at + part.dim, at : at + part.dim] = part.infinitesimal()
            at += part.dim
        return X

    @cached_property
    def is_trivial(self) -> bool:
        """Whether every summand is trivial."""
        return all(part.is_trivial for part in self.parts)

    def dual(self) -> Representation:
        """The dual representation: itself where it is orthogonal; by matrices for a group with a table; else the sum
        of the duals.
        """
        if self.is_orthogonal or self.group.is_listed:
            return super().dual()
        return direct_sum(*(part.dual() for part in self.parts))

    @property
    def is_orthogonal(self) -> bool:
        """Whether every summand is orthogonal."""
        return all(part.is_orthogonal for part in self.parts)

    def act_flat(self, element: Element, x: Tensor) -> Tensor:
        """``ρ(g) x``: each summand acts on its own stretch of the vector."""
        pieces = x.split([part.dim for part in self.parts], dim=-1)
        return torch.cat([p.act_flat(element, piece) for p, piece in zip(self.parts, pieces, strict=True)], dim=-1)

    def matrix(self, element: Element) -> Tensor:
        """The matrix ``ρ(g)``, block diagonal."""
        return torch.block_diag(*(part.matrix(element) for part in self.parts))

    def character(self) -> NDArray[np.float64]:
        """The sum of the characters, ``Σ χ_i``, ``(order,)``."""
        return np.sum([part.character() for part in self.parts], axis=0)


class TensorRepresentation(Representation):
    """A tensor product of ``factors``, representations of one group: each acts on axes of its own."""

    factors: tuple[Representation, ...]

    def __init__(self, factors: Sequence[Representation]):
        group = same_group(factors, "tensor_product")
        shape = tuple(n for factor in factors for n in factor.shape)
        super().__init__(group, shape, " * ".join(f"({f.name})" if "+" in f.name else f.name for f in factors))
        self.__dict__.update(factors=tuple(factors))

    def blocks(self) -> tuple[Representation, ...]:
        """Representations whose direct sum this is: most often itself alone.

        Where the first factor is trivial of dimension ``n > 1``, they are ``n`` copies of the blocks of the product of
        all further factors.
        """
        first, *others = self.factors
        # Channels that the group does not mix: each is a block, and equal blocks are solved once.
        if first.dim > 1 and first.is_trivial:
            return tensor_product(*others).blocks() * first.dim
        return (self,)

    @cached_property
    def permutations(self) -> Indices | None:
        """The permutations of flattened pairs, ``(i, j) ↦ (g·i, g·j)``: ``(order, dim)``; None if a factor has none.

        With three factors and more, pairs are triples and longer tuples.
        Raises: ConfigError where all factors have permutations, but the group has no table.
        """
        # A factor of a group without a table refuses to list its own, though another factor mixes coordinates.
        if not self.is_permutation:
            return None
        # One row, which broadcasts, because a group without a table has no number of rows until a factor refuses.
        joint = np.zeros((1, 1), dtype=np.int32)
        for factor in self.factors:
            listed = factor.permutations
            if listed is None:
                return None
            # Row-major: pair (i, j) has the number i · dim + j.
            joint = (joint[:, :, None] * factor.dim + listed[:, None, :]).reshape(len(listed), -1)
        return frozen(joint)

    @property
    def is_permutation(self) -> bool:
        """Whether every factor is a permutation representation, without building the joint permutations."""
        return all(factor.is_permutation for factor in self.factors)

    def moves(self, element: Element) -> Indices:
        """Where the element sends each flattened pair, ``(i, j) ↦ (g·i, g·j)``: ``(dim,)``."""
        joint = np.zeros(1, dtype=np.int32)
        for factor in self.factors:
            joint = (joint[:, None] * factor.dim + factor.moves(element)).ravel()
        return joint

    def infinitesimal(self) -> Tensor:
        """The matrices ``Σ 1 ⊗ … dρ(X_i) … ⊗ 1``, ``(d, dim, dim)``."""
        # The product rule: one factor is differentiated at a time.
        total = super().infinitesimal()
        eyes = [torch.eye(factor.dim, dtype=torch.float64) for factor in self.factors]
        for i, factor in enumerate(self.factors if len(total) else ()):
            for k, X in enumerate(factor.infinitesimal()):
                total[k] += kron(*eyes[:i], X, *eyes[i + 1 :])
        return total

    def dual(self) -> Representation:
        """The dual representation: itself where it is orthogonal; by matrices for a group with a table; else the
        product of the factors' duals.
        """
        if self.is_orthogonal or self.group.is_listed:
            return super().dual()
        return tensor_product(*(factor.dual() for factor in self.factors))

    @property
    def is_orthogonal(self) -> bool:
        """Whether every factor is orthogonal. ``c A ⊗ B / c``, orthogonal as a product of factors that are not,
        gives False.
        """
        return all(factor.is_orthogonal for factor in self.factors)

    @cached_property
    def is_trivial(self) -> bool:
        """Whether every element acts as the identity: the factors are trivial, or multiply by numbers that cancel."""
        if all(factor.is_trivial for factor in self.factors):
            return True
        product = np.ones(len(self.group.generators))
        for factor in self.factors:
            scalars = _as_scalars(factor)
            if scalars is None:
                return False
            product = product * scalars
        return bool(np.allclose(product, 1, rtol=0, atol=LAW))

    def act_flat(self, element: Element, x: Tensor) -> Tensor:
        """``ρ(g) x``, one factor after another, each on its own axis."""
        sizes = [factor.dim for factor in self.factors]
        points = x.reshape(*x.shape[:-1], *sizes)
        for axis, factor in enumerate(self.factors):
            # Channels that stay as they are cost a pass over all numbers otherwise.
            if not factor.is_trivial:
                place = axis - len(sizes)
                points = factor.act_flat(element, points.movedim(place, -1)).movedim(-1, place)
        return points.reshape(x.shape)

    def matrix(self, element: Element) -> Tensor:
        """The matrix ``ρ₁(g) ⊗ ρ₂(g) ⊗ …``, ``(dim, dim)``."""
        return kron(*(factor.matrix(element) for factor in self.factors))

    def character(self) -> NDArray[np.float64]:
        """The product of the characters, ``∏ χ_i``, ``(order,)``."""
        return np.prod([factor.character() for factor in self.factors], axis=0)


def as_outer(rep: Representation | LieRepresentation) -> list[tuple[int, Any]] | None:
    """Of an outer product, pairs of the number of a factor of the group, from 0, and the representation of that factor.

    The numbers ascend, and factors that act trivially may be missing. None for anything that is no outer product of
    representations of single factors of a :class:`ProductGroup`, and for one made of groups that have tables.
    """
    # The shape of the points does not matter for what commutes with the action.
    while isinstance(rep, Reshaped):
        rep = rep.inner
    if not isinstance(rep, TensorRepresentation):
        return None
    parts = []
    for factor in rep.factors:
        if type(factor) is not LiftedRepresentation or isinstance(factor.inner.group, ProductGroup):
            return None
        parts.append((factor.which, factor.inner))
    places = [which for which, _ in parts]
    # Two factors of one group, or factors out of order, are no outer product of representations.
    return parts if places == sorted(set(places)) else None


def _as_scalars(rep: Representation) -> NDArray[np.float64] | None:
    """The number that each of ``group.generators`` multiplies by, ``(generators,)``; None where some generator does
    anything else, by more than 1e-8 of that number.
    """
    if rep.is_permutation:
        return np.ones(len(rep.group.generators)) if rep.is_trivial else None
    # Where something turns and comes full circle, the exponential is a number, and others beside it are not.
    turns = exponents(rep)
    if bool(((turns - turns[:, :1, :1] * torch.eye(rep.dim, dtype=torch.float64)).abs() >= LAW).any()):
        return None
    scalars = []
    for g in rep.group.generators:
        matrix = rep.matrix(g)
        scalar = float(matrix[0, 0])
        eye = torch.eye(rep.dim, dtype=matrix.dtype)
        if not torch.allclose(matrix, scalar * eye, rtol=0, atol=LAW * abs(scalar)):
            return None
        scalars.append(scalar)
    return np.array(scalars)


def _counted(names: list[str]) -> list[str]:
    """The names with each run of equal ones written once, after its length: ``[a, a, b] -> [2 a, b]``."""
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
    """``n`` copies side by side: ``ρ ⊕ … ⊕ ρ``, as for a layer with ``n`` channels of the same kind.

    It acts on vectors ``(n · dim,)``; for channels with the axes of an image use ``trivial(group, n) * ρ``.

    Raises: ConfigError for ``n`` below 1.
    """
    if n < 1:
        raise ConfigError(f"copies: at least one; got {n}")
    return direct_sum(*[representation] * n)
