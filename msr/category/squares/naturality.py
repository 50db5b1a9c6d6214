"""One checker of naturality: for each arrow how far its square is from commuting, for maps of any kind."""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, overload

from msr.category.categories.tables import FinCat, same_category
from msr.category.linear import VectFunctor
from msr.category.sets.natural_transformations import Nat
from msr.category.sets.presheaves import SetFunctor
from msr.category.squares.squares_of_functions import defects_on_data
from msr.category.squares.squares_of_matrices import defects_of_matrices
from msr.category.squares.squares_of_sets import Violations, violations_of
from msr.equivariance import Defects
from msr.errors import ConfigError, ShapeError

__all__ = ["Arrows", "naturality_error"]

Arrows: TypeAlias = Literal["all", "generators"] | Sequence[int]
"""At which arrows to measure: all of the category, generating ones, or those listed."""


@overload
def naturality_error(
    source: VectFunctor,
    target: VectFunctor,
    components: Sequence[Any],
    arrows: Arrows = "all",
    *,
    biases: Sequence[Any] | None = None,
    data: Sequence[Any] | None = None,
) -> Defects: ...
@overload
def naturality_error(
    source: SetFunctor, target: SetFunctor, components: Sequence[Any] | Nat, arrows: Arrows = "all"
) -> Violations: ...
def naturality_error(
    source: VectFunctor | SetFunctor,
    target: VectFunctor | SetFunctor,
    components: Sequence[Any] | Nat,
    arrows: Arrows = "all",
    *,
    biases: Sequence[Any] | None = None,
    data: Sequence[Any] | None = None,
) -> Defects | Violations:
    """How far a family of maps ``η_X: S(X) → T(X)`` is from a natural transformation ``S ⇒ T``, for each arrow.

    The square of an arrow ``f: X → Y`` commutes where ``T(f) η_X = η_Y S(f)``. Its defect is that of both ways round,
    ``max_p ‖a − b‖_p / √(‖a‖²_p + ‖b‖²_p)`` for the matrices ``a = T(f) η_X`` and ``b = η_Y S(f)``, over the parts
    ``p`` of ``T(Y)`` that no arrow mixes. A contravariant functor is one on ``category.op()``; give both on it.

    On the category ``BG`` of a group, with the group's elements as arrows, the numbers are those of
    :func:`msr.equivariance.weight_error`, or with data of :func:`msr.equivariance.equivariance_error`: the same
    functions are underneath. For other choices of arrows only being zero agrees: a family that is natural at generators
    is natural at all arrows, and how large a defect is that is not zero depends on the arrows that it is taken at. In a
    category of several objects parts are blocks of coordinates; they are not split into irreducible kinds.

    Args:
        source, target: two :class:`msr.category.VectFunctor`; or two presheaves, or two copresheaves.
        components: one for each object, in order. For vector spaces a matrix ``(dim T(X), dim S(X))``, or with ``data``
            a function ``(batch, dim S(X)) -> (batch, dim T(X))``, linear or not. For sets whole numbers,
            ``(|S(X)|,)``, or a :class:`msr.category.Nat`.
        arrows: all (identities too, whose defect is 0), generating ones, or a list of their numbers.
        biases: for affine maps of given matrices, a vector ``(dim T(X),)`` for each object.
        data: for each object inputs ``(batch, dim S(X))``; batches may differ. A square is then compared on the data at
            the object where its arrow starts, over the batch, in units of what the outputs at its end vary by.

    Returns: :class:`msr.equivariance.Defects` for vector spaces, its labels the arrows with their ends; for sets
    :class:`Violations`: the share of elements on which each square fails, and a witness.

    Raises: ConfigError for functors that do not compare, arrows that there are not, or functions without data;
    ShapeError, NonFiniteError and ModelError for components or data that do not serve.
    """
    if isinstance(source, SetFunctor) and isinstance(target, SetFunctor):
        if biases is not None or data is not None:
            raise ConfigError("naturality_error: maps of sets have no biases and need no data")
        chosen = _chosen(source.category, arrows)
        return violations_of(source, target, components, chosen, _labels(source.category, chosen))
    for functor in (source, target):
        if not isinstance(functor, VectFunctor):
            raise ConfigError(
                f"naturality_error: two functors to vector spaces, or two to sets, are needed; got {source!r} and "
                f"{target!r}"
            )
    assert isinstance(source, VectFunctor)
    assert isinstance(target, VectFunctor)
    C = same_category([source.category, target.category], "naturality_error")
    if isinstance(components, Nat):
        raise ConfigError("naturality_error: a Nat is of sets; give a matrix or a function for each object")
    for name, values in (("components", components), ("biases", biases), ("data", data)):
        if values is not None and len(values) != C.n_obj:
            raise ShapeError(f"naturality_error: {name} must hold one for each of {C.n_obj} objects; got {len(values)}")
    chosen = _chosen(C, arrows)
    labels = _labels(C, chosen)
    if data is None:
        return defects_of_matrices(source, target, components, biases, chosen, labels)
    if biases is not None:
        raise ConfigError("naturality_error: with data, give functions that add their biases themselves")
    return defects_on_data(source, target, components, data, chosen, labels)


def _chosen(C: FinCat, arrows: Arrows) -> list[int]:
    """The arrows asked for. Raises: ConfigError for none, for unknown words, and for what is no arrow."""
    if isinstance(arrows, str):
        if arrows not in ("all", "generators"):
            raise ConfigError(f"arrows must be 'all', 'generators' or a list; got {arrows!r}")
        # Where only identities are, they are all that there is to try.
        chosen = C.generators.tolist() if arrows == "generators" and len(C.generators) else list(range(C.n_mor))
    else:
        chosen = [C.arrow_of(f) for f in arrows]
    if not chosen:
        raise ConfigError(f"{C!r}: no arrow was asked for; give at least one")
    return chosen


def _labels(C: FinCat, chosen: list[int]) -> tuple[str, ...]:
    """The name of each arrow, with its ends where there is more than one object."""
    if C.n_obj == 1:
        return tuple(f"arrow {f}" for f in chosen)
    return tuple(f"arrow {f} ({C.src[f]} → {C.dst[f]})" for f in chosen)
