"""Is a function more equivariant to this group than to relabelled copies of it? A randomisation test."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from msr.arrays import takes_arrays
from msr.equivariance.measuring.boundary import Interior
from msr.equivariance.measuring.defects import act_on_columns, act_on_rows
from msr.equivariance.measuring.evaluation import Element, Function, act, choose_elements, outputs, run
from msr.equivariance.measuring.parts import parts_of
from msr.equivariance.measuring.scale import pooled_defects
from msr.equivariance.measuring.sides import epsilon_inside
from msr.errors import ConfigError
from msr.representations import AnyRepresentation
from msr.statistics.randomisation import Relabelling, randomisation_p_value

__all__ = ["Specificity", "specificity"]

# Numbers of moved weights that are compared in one go: small tensors cost time each, large ones memory (8 MiB here).
_NUMBERS_AT_ONCE = 2**20

# A difference of two statistics that rounding can make: 16 roundings, and never below this. It must not decide between
# equals, as when every relabelling commutes. Chosen by hand, far below any defect of interest.
_LEAST_ROUNDING = 1e-7
_ROUNDINGS = 16

Statistic: TypeAlias = Callable[[Relabelling | None, Relabelling | None], float]
"""The defect under an action that is relabelled on inputs and on outputs; None leaves a side as it is."""


@dataclass(frozen=True)
class Specificity:
    """The observed defect beside those of random relabellings of the same group.

    The null hypothesis says that ``f`` is no closer to this action of the group than to the same action on randomly
    relabelled inputs and outputs.

    Attributes:
        observed: the root mean square of the generators' defects, without unit.
        median_random: the median over the relabellings of the same number.
        n_random: how many there were.
        p_value: ``(1 + #{random ≤ observed}) / (1 + n_random)``.
    """

    observed: float
    median_random: float
    n_random: int
    p_value: float

    def __str__(self) -> str:
        return (
            f"specificity: defect {self.observed:.3g} against a median of {self.median_random:.3g} over "
            f"{self.n_random} random relabellings, p = {self.p_value:.3g}"
        )


@takes_arrays("f", "x")
def specificity(
    f: Function | Tensor,
    rep_in: AnyRepresentation,
    rep_out: AnyRepresentation,
    x: Tensor,
    *,
    n_random: int = 199,
    generator: torch.Generator,
) -> Specificity:
    """Compare ``f`` with random relabellings ``S ρ(g) S⁻¹`` of the group on both sides.

    ``S`` is a uniform permutation of the coordinates for permutation representations, a uniform rotation (Haar) for
    others. It keeps the group law and the kind of each element, and only moves the action to other coordinates. Inputs
    and outputs are relabelled independently. Where they have the same size, and the group permutes both or neither,
    they are also relabelled together, since a pointwise function commutes with every such action; the larger p-value of
    both counts.

    The statistic is the root mean square of the generators' defects on ``x``, each the largest over the parts of the
    outputs, as :func:`equivariance_error` takes it. If relabelling changes neither the distribution of ``f`` nor that
    of ``x`` (the null), each p-value is exact; so ``x`` should be standard normal. Data that are smooth, say, look
    specific for any ``f``.

    A constant or tiny function, which any tolerance certifies, is not specific. Neither is one that is symmetric under
    *every* relabelling, such as the mean of all inputs: it is equivariant to this group, but not to it in particular.

    Args:
        f: a function, or a weight ``(out, in)`` (then ``x`` is not used).
        rep_in, rep_out: the action, as it is.
        x: inputs ``(batch, *rep_in.shape)``.
        n_random: relabellings, at least 1; the smallest p-value is ``1 / (1 + n_random)``.
        generator: of the relabellings.

    Raises: ConfigError for no relabelling; what the measurement raises.
    """
    if n_random < 1:
        raise ConfigError(f"at least one random relabelling is needed; got {n_random}")
    elements = choose_elements("generators", rep_in, rep_out)
    if isinstance(f, Tensor):
        statistic, rounding = _of_weight(f, rep_in, rep_out, elements)
    else:
        statistic, rounding = _of_function(f, rep_in, rep_out, x, elements)
    observed = statistic(None, None)
    independent: list[float] = []
    for _ in range(n_random):
        S = _relabelling(rep_in, generator)
        independent.append(statistic(S, _relabelling(rep_out, generator)))
    tests = [independent]
    # The same relabelling fits both sides only where they have equally many coordinates and the same kind of moves.
    if rep_in.dim == rep_out.dim and rep_in.is_permutation == rep_out.is_permutation:
        joint = [_relabelling(rep_in, generator) for _ in range(n_random)]
        tests.append([statistic(S, S) for S in joint])
    random = [torch.tensor(values, dtype=torch.float64) for values in tests]
    as_close = [int((values <= observed + rounding).sum()) for values in random]
    p_values = [randomisation_p_value(count, n_random) for count in as_close]
    hardest = max(range(len(tests)), key=lambda i: p_values[i])
    return Specificity(observed, float(random[hardest].median()), n_random, p_values[hardest])


def _relabelling(rep: AnyRepresentation, generator: torch.Generator) -> Relabelling:
    """A random relabelling of a representation's coordinates: a permutation where it permutes them, else a rotation."""
    if rep.is_permutation:
        return Relabelling.permutation(rep.dim, generator)
    return Relabelling.rotation(rep.dim, generator)


def _act_relabelled(rep: AnyRepresentation, g: Element, x: Tensor, S: Relabelling | None) -> Tensor:
    """``S ρ(g) S⁻¹ x`` on points ``(batch, *shape)``; ``ρ(g) x`` where ``S`` is None."""
    if S is None:
        return act(rep, g, x)
    # A relabelling mixes all coordinates of a point, whatever its shape.
    flat = S.inverse(x.flatten(1)).reshape(x.shape)
    return S.forward(act(rep, g, flat).flatten(1)).reshape(x.shape)


def _of_function(
    f: Function, rep_in: AnyRepresentation, rep_out: AnyRepresentation, x: Tensor, elements: list[Element]
) -> tuple[Statistic, float]:
    """The statistic of a function on ``x``, and by how much rounding can change it: a defect, to be added."""
    no_mask = Interior(rep_out, None)
    parts = parts_of(rep_out)
    y = outputs(f, x, rep_in, no_mask)
    epsilon = epsilon_inside(f, x, y)
    y = y.double().reshape(len(x), -1)
    spread = float((y - y.mean(0)).norm())
    rounding = max(_LEAST_ROUNDING, _ROUNDINGS * epsilon * (float(y.norm()) / spread if spread else 1.0))

    def statistic(S: Relabelling | None, T: Relabelling | None) -> float:
        moved = torch.cat([_act_relabelled(rep_in, g, x, S) for g in elements])
        of_moved = run(f, moved, rep_in, no_mask).reshape(len(moved), -1)
        # Comparing with the relabelled action is comparing with the action itself, in relabelled outputs.
        base, after = (values if T is None else T.inverse(values) for values in (y, of_moved))
        # A relabelling puts other outputs into each part, so the centre is taken anew.
        centre = parts.features(torch.cat([base, after])).median(0).values
        b = torch.stack([rep_out.act_flat(g, base) for g in elements])
        a = after.unflatten(0, (len(elements), -1))
        return _root_mean_square(pooled_defects(parts, a, b, centre, epsilon))

    return statistic, rounding


def _of_weight(
    W: Tensor, rep_in: AnyRepresentation, rep_out: AnyRepresentation, elements: list[Element]
) -> tuple[Statistic, float]:
    """The statistic of a weight, and by how much rounding can change it: a defect, to be added.

    The statistic takes two relabellings, or None twice.
    """
    epsilon = torch.finfo(W.dtype).eps if W.is_floating_point() else 0.0
    W = W.detach().double().reshape(rep_out.dim, rep_in.dim)
    parts = parts_of(rep_out)
    many = max(1, _NUMBERS_AT_ONCE // W.numel())

    def statistic(S: Relabelling | None, T: Relabelling | None) -> float:
        # Conjugating the actions is the same as conjugating W the other way.
        V = W if S is None or T is None else T.inverse(S.inverse(W).mT).mT
        defects = []
        for start in range(0, len(elements), many):
            chosen = elements[start : start + many]
            a = torch.stack([act_on_columns(rep_out, g, V).mT for g in chosen])
            b = torch.stack([act_on_rows(rep_in, g, V).mT for g in chosen])
            defects.append(pooled_defects(parts, a, b, None, epsilon))
        return _root_mean_square(torch.cat(defects))

    return statistic, max(_LEAST_ROUNDING, _ROUNDINGS * epsilon)


def _root_mean_square(defects: Tensor) -> float:
    """The root mean square of the generators' defects."""
    return float(defects.square().mean().sqrt())
