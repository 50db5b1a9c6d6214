"""Squares of functions, linear or not: how far each is from commuting on given data."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from msr.arrays import as_tensor
from msr.category.linear import VectFunctor
from msr.category.squares.blocks import Blocks
from msr.category.squares.joined_defects import at_object, joined
from msr.category.squares.squares_of_matrices import component_matrix
from msr.equivariance import Defects
from msr.equivariance.measuring.boundary import Interior
from msr.equivariance.measuring.defects import Comparison, defects_of
from msr.equivariance.measuring.evaluation import error_text, evaluate
from msr.equivariance.measuring.parts import Parts
from msr.equivariance.measuring.scale import Typical, typical_of
from msr.equivariance.measuring.sides import (
    NOISE_EXAMPLES,
    Rounding,
    check_is_a_function,
    epsilon_inside,
    moved_in_pool,
    noise_directions,
)
from msr.errors import ConfigError, ModelError, MSRError, NonFiniteError, ShapeError
from msr.groups import cyclic
from msr.representations import trivial

__all__ = ["defects_on_data"]


def defects_on_data(
    S: VectFunctor,
    T: VectFunctor,
    components: Sequence[Any],
    data: Sequence[Any],
    chosen: Sequence[int],
    labels: Sequence[str],
) -> Defects:
    """The defects of functions ``η_X``, on data ``(batch, dim S(X))`` at each object, at some arrows.

    Raises: as :func:`msr.category.naturality_error`.
    """
    C = S.category
    functions = [_Component.of(S, T, X, component) for X, component in enumerate(components)]
    inputs = [_inputs(S, X, values) for X, values in enumerate(data)]
    blocks = Blocks.of(T)
    found: dict[int, Defects] = {}
    ends = sorted({int(C.dst[f]) for f in chosen})
    values = {X: functions[X].outputs(inputs[X]) for X in {*ends, *(int(C.src[f]) for f in chosen)}}
    for Y in ends:
        into = [place for place, f in enumerate(chosen) if int(C.dst[f]) == Y]
        arrows = [chosen[place] for place in into]
        parts = blocks.parts[Y]
        assert parts is not None
        moves = [_Move(S, f, inputs[int(C.src[f])]) for f in arrows]
        moved = [functions[Y].outputs(move.of(move.x)).double() for move in moves]
        typical = _typical(functions[Y], inputs[Y], values[Y], moves, moved, parts)
        for place, f, a in zip(into, arrows, moved, strict=True):
            b = values[int(C.src[f])].double() @ T.mats[f].mT
            compared = typical.compare(a, b, pooled=True).pooled()
            size = (b.square().sum() / b.numel()).sqrt()
            one = torch.ones((), dtype=torch.float64)
            row = defects_of((labels[place],), Comparison(compared, parts, [size], [one]))
            found[place] = at_object(row, C, Y)
    return joined([found[place] for place in range(len(chosen))])


class _Move:
    """``S(f) x`` for the data at the start of an arrow, computed in float64 and returned in its precision."""

    def __init__(self, S: VectFunctor, f: int, x: Tensor):
        self.matrix = S.mats[f]
        self.x = x
        if not x.is_floating_point() and not torch.equal(self.matrix, self.matrix.round()):
            raise ShapeError(f"arrow {f} mixes numbers, so its data must be floating point; got {x.dtype}")

    def of(self, x: Tensor) -> Tensor:
        """Inputs moved, in their own precision."""
        return (x.double() @ self.matrix.mT).to(x.dtype)


def _typical(
    function: "_Component", x: Tensor, base: Tensor, moves: list[_Move], moved: list[Tensor], parts: Parts
) -> Typical:
    """What is typical of the outputs at an object: as for equivariance, those of its data and of some moved inputs."""
    kept = moved_in_pool(len(x))
    rows = base.double()
    rounding = Rounding(function.f, function.rep_in, function.inside, epsilon_inside(function.f, x, base))
    noise = rounding.at(x[:NOISE_EXAMPLES], rows[:NOISE_EXAMPLES], noise_directions(len(x)))
    pool = torch.cat([rows, *moved[:kept]])
    typical = typical_of(parts, pool, noise, rounding.epsilon, len(pool))

    def few_moved(few: Tensor) -> list[Tensor]:
        # The examples that moves start from are at other objects; here only their precision is taken over.
        return [move.of(move.x[: len(few)].to(few.dtype)) for move in moves[:kept]]

    typical = rounding.resolved(typical, x, few_moved)
    check_is_a_function(function.f, x, rows, function.rep_in, function.inside, typical)
    return typical


class _Component:
    """A component as a function whose outputs are checked, with the spaces that it goes between."""

    def __init__(self, f: Callable[[Tensor], Tensor], X: int, n: int, m: int):
        # The spaces carry no group here. The trivial one says how large they are to what evaluates functions.
        one = cyclic(1)
        self.rep_in = trivial(one, n)
        self.inside = Interior(trivial(one, m), None)
        self.f = _NamedModule(f, X, m) if isinstance(f, nn.Module) else _named(f, X, m)

    @classmethod
    def of(cls, S: VectFunctor, T: VectFunctor, X: int, component: Any) -> "_Component":
        """The component at an object, of a function or of a matrix. Raises: ConfigError for a space of dimension 0."""
        n = int(S.dims[X])
        m = int(T.dims[X])
        if n == 0 or m == 0:
            raise ConfigError(f"object {X} has a space of dimension 0, on which no function can be measured")
        if callable(component) and not isinstance(component, Tensor):
            return cls(component, X, n, m)
        matrix = component_matrix(S, T, X, component)
        return cls(lambda x: x @ matrix.to(x.dtype).mT, X, n, m)

    def outputs(self, x: Tensor) -> Tensor:
        """``η_X(x)`` in its own precision, ``(batch, dim T(X))``."""
        return evaluate(self.f, x, self.rep_in, self.inside)


class _NamedModule(nn.Module):
    """A module whose errors name the object that it is the component at."""

    def __init__(self, f: nn.Module, X: int, m: int):
        super().__init__()
        self.f = f
        self.X = X
        self.m = m
        self.training = f.training

    def forward(self, x: Tensor) -> Tensor:
        return _called(self.f, x, self.X, self.m)


def _named(f: Callable[[Tensor], Tensor], X: int, m: int) -> Callable[[Tensor], Tensor]:
    """A function whose errors name the object that it is the component at."""
    return lambda x: _called(f, x, X, m)


def _called(f: Callable[[Tensor], Tensor], x: Tensor, X: int, m: int) -> Tensor:
    """``f(x)``, ``(batch, m)``. Raises: ModelError where it fails or returns anything else; NonFiniteError."""
    try:
        y = f(x)
    except MSRError:
        raise
    except (Exception, SystemExit) as error:
        raise ModelError(f"component {X} failed on inputs {tuple(x.shape)} {x.dtype}: {error_text(error)}") from error
    if not isinstance(y, Tensor) or tuple(y.shape) != (len(x), m) or y.is_complex():
        got = f"{tuple(y.shape)} {y.dtype}" if isinstance(y, Tensor) else type(y).__name__
        raise ModelError(f"component {X} must return ({len(x)}, {m}) real numbers; it returned {got}")
    if not bool(y.isfinite().all()):
        raise NonFiniteError(f"component {X} gave nan or infinity")
    return y


def _inputs(S: VectFunctor, X: int, values: Any) -> Tensor:
    """The data at an object, ``(batch, dim S(X))``. Raises: ShapeError, NonFiniteError."""
    x = as_tensor(values, f"the data at object {X}").detach()
    if x.ndim != 2 or len(x) == 0 or x.shape[1] != int(S.dims[X]) or x.is_complex():
        raise ShapeError(f"the data at object {X} must be (batch, {S.dims[X]}) real numbers; got {tuple(x.shape)}")
    if not bool(x.isfinite().all()):
        raise NonFiniteError(f"the data at object {X} holds nan or infinity")
    return x
