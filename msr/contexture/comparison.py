"""Several contexts of the same rows, judged side by side: how strong, how many functions, of what use for a target."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from msr.arrays import takes_arrays
from msr.brief import Brief
from msr.contexture.contexts.base import Context
from msr.contexture.measures import Usefulness, usefulness
from msr.contexture.notation import Recipe, parse_context
from msr.contexture.spectra import Spectrum, spectrum
from msr.errors import ConfigError, DataError, ShapeError

__all__ = ["Judged", "compared", "known_share"]

WEAK = 0.5
"""Energy ``Σ s_i²`` below which a context is called too weak: all its functions together are less than half of one that
is known. Chosen by hand."""
STRONG = 0.1
"""A context is too strong where more functions than this share of the number of rows are needed for nine tenths of the
energy: as many examples with labels would be needed to use it. Chosen by hand."""
ALIKE = 0.02
"""How far two shares of a target's variance may lie apart and still be alike. Chosen by hand."""
_MOST = 0.9  # share of the energy for that
_FEW = 2  # functions that are never too many, however few rows there are
_CLEARLY = 0.01  # by how much τ must be smaller to be no rounding
_PERMUTATIONS = 999  # of a target
_KEPT = 64  # values and functions that are kept of a spectrum: all of them would be n² numbers for each context

Strength = Literal["too weak", "moderate", "too strong"]


@dataclass(frozen=True, eq=False, repr=False)
class Judged(Brief):
    """A context, judged.

    Attributes:
        name: the context as it was written.
        strength: ``too weak``, ``moderate`` or ``too strong``, by the energy and how many functions hold most of it.
        dimension: the number of functions at which τ is least.
        needed: how many functions hold nine tenths of the energy.
        usefulness: τ, the energy, the decay.
        known: ``ρ²``, the share of the target's variance that is known from ``A``: of the best prediction of it by any
            function of the context; None without a target.
        explained: the share of the target's variance that a linear probe of the top ``probed`` functions explains,
            less what so many functions explain of noise (adjusted R²), at least 0; None without a target.
        probed: that number: the one which explains most, of 1, 2, 4, … up to a tenth of the rows.
        p_value: the chance that as much, or more, would be explained of a target without any relation to the rows, over
            its permutations and with the number chosen in the same way; None without a target.
        of_target: whether the context looks at the target itself, so that ``known`` says nothing.
        is_mixture: whether the context is one, and so is not mixed further.
        spectrum: its largest values and their functions, 64 at most, without ``context_functions``.
        advice: a mixture that was tried, has a τ that is smaller by 0.01 at least, and with a target explains no less
            of it by more than 2 points; never too weak for one that is too strong, nor the other way round. None where
            there is none, or none was needed.
        tried: how many mixtures could be made and were judged.
    """

    name: str
    strength: Strength
    dimension: int
    needed: int
    usefulness: Usefulness
    known: float | None
    explained: float | None
    probed: int | None
    p_value: float | None
    of_target: bool
    is_mixture: bool
    spectrum: Spectrum
    advice: "Judged | None" = None
    tried: int = 0


@takes_arrays("rows", "columns")
def compared(
    rows: Tensor,
    recipes: Sequence[Recipe],
    target: Any = None,
    *,
    columns: Tensor | None = None,
    advise: bool = True,
) -> list[Judged]:
    """Judge contexts of the same rows, each with advice where it is too strong or too weak.

    Advice is tried before it is given: for a context that is too strong, what comes of it when each other context that
    is not, or an RBF context, is put after it; for one that is too weak, two draws of it at once, and each other
    context at once with it. Mixtures get no advice.

    Shapes: ``rows (n, p)``; ``target (n,)`` of numbers or labels; ``columns (n, q)``, the rows as a group moves them,
    in one unit, by default the rows themselves.
    Raises: what the contexts raise; DataError that names a context which says nothing about the rows.
    """
    points = _Points(rows, target, columns)
    judged = [_judged(recipe, points) for recipe in recipes]
    if not advise:
        return judged
    return [line if line.strength == "moderate" else _with_advice(line, judged, points) for line in judged]


@takes_arrays("target")
def known_share(context: Context, target: Tensor) -> float:
    """The share of a target's variance that is known from ``A``, ``|T* f~|² / |f~|²``, summed over columns: 0 to 1.

    Shapes: ``target (n, c)``. Raises: as :meth:`Context.on_points`; DataError for a target that does not vary.
    """
    values = torch.from_numpy(context.on_points(target))
    # Squares of numbers that are far from 1 are no numbers, and a share has no unit.
    values = values / (values.abs().max() or 1.0)
    centred = values - context.weights @ values
    if float(centred.abs().max()) <= len(values) * torch.finfo(torch.float64).eps:
        raise DataError(f"{context.name}: the target is the same at all points")
    variance = float((context.weights[:, None] * centred.square()).sum())
    kept = float((context.weights[:, None] * centred * context.smoothed(centred)).sum())
    return min(1.0, max(0.0, kept / variance))


@dataclass(frozen=True, eq=False)
class _Points:
    """What contexts are made on."""

    rows: Tensor
    target: Any
    columns: Tensor | None


def _judged(recipe: Recipe, points: _Points) -> Judged:
    """A context made on the rows, and judged."""
    target = points.target
    context = recipe.on(points.rows, target, points.columns)
    found = spectrum(context, solver="dense")
    if found.energy <= 1e-12:
        raise DataError(f"the context {recipe.text} says nothing about these rows: all of its singular values are 0")
    value = usefulness(found)
    cumulated = found.squares.cumsum(0)
    needed = int((cumulated < _MOST * float(cumulated[-1])).sum()) + 1
    strength: Strength = "moderate"
    if found.energy < WEAK:
        strength = "too weak"
    elif needed > max(STRONG * context.n, _FEW):
        strength = "too strong"
    columns = None if target is None else _columns(target)
    explained, probed, p_value = (None, None, None) if target is None else _probed(found, target)
    return Judged(
        name=recipe.text,
        strength=strength,
        dimension=value.dimension,
        needed=needed,
        usefulness=value,
        known=None if columns is None else known_share(context, columns),
        explained=explained,
        probed=probed,
        p_value=p_value,
        of_target=recipe.needs_target,
        is_mixture=recipe.is_mixture,
        spectrum=_largest(found),
    )


def _largest(found: Spectrum) -> Spectrum:
    """The largest values of a spectrum and their functions, copied, so that the others can be forgotten."""
    return replace(
        found,
        values=found.values[:_KEPT].clone(),
        functions=found.functions[:, :_KEPT].clone(),
        context_functions=None,
        complete=found.complete and len(found.values) <= _KEPT,
    )


def _columns(target: Any) -> Tensor:
    """A target as columns of numbers: numbers as they are, an indicator for each label."""
    values = np.asarray(target)
    if values.dtype.kind == "f":
        # A share has no unit, and squares of very large or small numbers do not exist.
        values = values.astype(np.float64)
        return torch.from_numpy(values / (np.abs(values).max() or 1.0))[:, None]
    _, numbers = np.unique(values, return_inverse=True)
    return torch.nn.functional.one_hot(torch.from_numpy(numbers)).double()


def _probed(found: Spectrum, target: Any) -> tuple[float, int, float]:
    """How much of a target a linear probe explains, as adjusted R², by how many functions, and the p-value of that.

    The points weigh the same, so that the functions are orthonormal in the mean, and what the first ``d`` explain is
    the sum of squares of as many coefficients.
    """
    n = len(found.functions)
    sizes = [1]
    while 2 * sizes[-1] <= min(STRONG * n, len(found.values)):
        sizes.append(2 * sizes[-1])
    functions = found.functions[:, : sizes[-1]]
    numbers = torch.tensor(sizes)
    generator = torch.Generator().manual_seed(0)
    orders = [torch.arange(n), *(torch.randperm(n, generator=generator) for _ in range(_PERMUTATIONS))]
    values = np.asarray(target)
    if values.dtype.kind == "f":
        centred = _columns(values)[:, 0]
        centred = centred - centred.mean()
        total = float(centred.square().mean())
        squares = torch.stack([(functions.mT @ centred[order] / n).square() for order in orders])
    else:
        _, found_labels = np.unique(values, return_inverse=True)
        labels = torch.from_numpy(found_labels)
        kinds = int(labels.max()) + 1
        total = 1 - float((torch.bincount(labels) / n).square().sum())
        empty = torch.zeros(kinds, functions.shape[1], dtype=torch.float64)
        sums = (empty.index_add(0, labels[order], functions) for order in orders)
        squares = torch.stack([(one / n).square().sum(0) for one in sums])
    shares = squares.cumsum(1)[:, numbers - 1] / total
    adjusted = (1 - (1 - shares) * (n - 1) / (n - numbers - 1).clamp(min=1)).clamp(0, 1)
    best = adjusted.amax(1)
    p_value = float((best[1:] >= best[0]).sum() + 1) / (_PERMUTATIONS + 1)
    return float(best[0]), sizes[int(adjusted[0].argmax())], p_value


def _tried(text: str, points: _Points) -> Judged | None:
    """A mixture, judged; None for one that cannot be made, or says nothing: it is no advice."""
    try:
        return _judged(parse_context(text), points)
    except (ConfigError, DataError, ShapeError):
        return None


def _with_advice(line: Judged, others: Sequence[Judged], points: _Points) -> Judged:
    """A judged context with the best mixture that was tried, if it has a smaller τ and explains no less."""
    if line.is_mixture:
        return line
    others = [other for other in others if not other.is_mixture]
    if line.strength == "too strong":
        partners = [other.name for other in others if other.strength != "too strong" and not other.of_target]
        # Where the values of a context are no points, nothing can follow it, and it is put after the other.
        pairs = [(f"{line.name} * {name}", f"{name} * {line.name}") for name in dict.fromkeys([*partners, "rbf:auto"])]
        made = [_tried(first, points) or _tried(second, points) for first, second in pairs]
    else:
        partners = [other.name for other in others if other.name != line.name and not other.of_target]
        made = [_tried(f"{line.name} & {name}", points) for name in dict.fromkeys([line.name, *partners])]
    tried = [other for other in made if other is not None]
    line = replace(line, tried=len(tried))
    better = [other for other in tried if other.usefulness.tau < line.usefulness.tau - _CLEARLY]
    # A context that is too strong is not mended by one that is too weak.
    better = [other for other in better if other.strength in ("moderate", line.strength)]
    if line.explained is not None and not line.of_target:
        # τ knows nothing of the target, and a smaller one is no advantage to somebody who has one.
        better = [other for other in better if (other.explained or 0.0) >= line.explained - ALIKE]
    if not better:
        return line
    best = min(better, key=lambda other: other.usefulness.tau)
    return replace(line, advice=best)
