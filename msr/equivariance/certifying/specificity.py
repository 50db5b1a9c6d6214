"""Is a function more equivariant to this group than to chance? A permutation test."""

from collections.abc import Callable
from dataclasses import dataclass

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

__all__ = ["Specificity", "specificity"]


@dataclass(frozen=True)
class Specificity:
    """The observed defect beside those of random relabellings of the same group.

    ``p_value = (1 + #{random ≤ observed}) / (1 + n_random)``; the null says that ``f`` is no closer to this action of
    the group than to the same action on randomly relabelled inputs and outputs.
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
    others; it keeps the group law and the kind of each element, and only moves the action to another place. Inputs and
    outputs are relabelled apart; where they have the same size also together, which a pointwise function cannot tell
    from nothing, and the larger p-value counts.

    The statistic is the root mean square of the generators' defects on ``x``, each the largest over the parts of the
    outputs, as :func:`equivariance_error` takes it. If relabelling changes neither the
    distribution of ``f`` nor that of ``x`` (the null), each p-value is exact; so ``x`` should be standard normal. Data
    that are smooth, say, look specific for any ``f``.

    A constant or tiny function, which any tolerance certifies, is not specific. Neither is one that is symmetric under
    *every* relabelling, such as the mean of all inputs: it is equivariant to this group, but not to it in particular.

    Args: ``f``: a function, or a weight ``(out, in)`` (then ``x`` is not used).
    """
    if n_random < 1:
        raise ConfigError(f"at least one random relabelling is needed; got {n_random}")
    elements = choose_elements("generators", rep_in, rep_out)
    statistic, rounding = (
        _of_weight(f, rep_in, rep_out, elements) if isinstance(f, Tensor) else _of(f, rep_in, rep_out, x, elements)
    )
    observed = statistic(None, None)
    ways: list[list[float]] = [[]]
    for _ in range(n_random):
        S = _relabelling(rep_in, generator)
        ways[0].append(statistic(S, _relabelling(rep_out, generator)))
    if rep_in.dim == rep_out.dim and rep_in.is_permutation == rep_out.is_permutation:
        same = [_relabelling(rep_in, generator) for _ in range(n_random)]
        ways.append([statistic(S, S) for S in same])
    chances = [torch.tensor(way, dtype=torch.float64) for way in ways]
    # Rounding must not decide between equals, as when every relabelling commutes.
    p_values = [(1 + int((chance <= observed + rounding).sum())) / (1 + n_random) for chance in chances]
    hardest = max(range(len(ways)), key=lambda way: p_values[way])
    return Specificity(observed, float(chances[hardest].median()), n_random, p_values[hardest])


class _Relabelling:
    """An orthogonal map ``S`` of the flattened coordinates, and its inverse."""

    def __init__(self, order: Tensor | None, matrix: Tensor | None):
        self.order, self.matrix = order, matrix
        self.back_order = None if order is None else order.argsort()

    def forth(self, x: Tensor) -> Tensor:
        """``S x`` on the last axis."""
        if self.order is not None:
            return x.index_select(-1, self.order.to(x.device))
        assert self.matrix is not None
        return x @ self.matrix.to(dtype=x.dtype, device=x.device).mT

    def back(self, x: Tensor) -> Tensor:
        """``S⁻¹ x`` on the last axis."""
        if self.back_order is not None:
            return x.index_select(-1, self.back_order.to(x.device))
        assert self.matrix is not None
        return x @ self.matrix.to(dtype=x.dtype, device=x.device)


def _relabelling(rep: AnyRepresentation, generator: torch.Generator) -> _Relabelling:
    if rep.is_permutation:
        return _Relabelling(torch.randperm(rep.dim, generator=generator), None)
    square = torch.randn(rep.dim, rep.dim, generator=generator, dtype=torch.float64)
    Q, R = torch.linalg.qr(square)
    return _Relabelling(None, Q * R.diagonal().sign())  # with R's signs Q is Haar distributed


_TOGETHER = 2**20  # numbers of moved weights that are compared in one go, since small tensors cost time each

Statistic = Callable[[_Relabelling | None, _Relabelling | None], float]


def _acted(rep: AnyRepresentation, g: Element, x: Tensor, S: _Relabelling | None) -> Tensor:
    """``S ρ(g) S⁻¹ x`` on points ``(batch, *shape)``."""
    if S is None:
        return act(rep, g, x)
    flat = S.back(x.flatten(1)).reshape(x.shape)
    return S.forth(act(rep, g, flat).flatten(1)).reshape(x.shape)


def _of(
    f: Function, rep_in: AnyRepresentation, rep_out: AnyRepresentation, x: Tensor, elements: list
) -> tuple[Statistic, float]:
    everything, parts = Interior(rep_out, None), parts_of(rep_out)
    y = outputs(f, x, rep_in, everything)
    epsilon = epsilon_inside(f, x, y)
    y = y.double().reshape(len(x), -1)
    spread = float((y - y.mean(0)).norm())
    rounding = max(1e-7, 16 * epsilon * (float(y.norm()) / spread if spread else 1.0))

    def statistic(S: _Relabelling | None, T: _Relabelling | None) -> float:
        moved = torch.cat([_acted(rep_in, g, x, S) for g in elements])
        of_moved = run(f, moved, rep_in, everything).reshape(len(moved), -1)
        # To compare with the relabelled action is to compare with the action itself, in relabelled outputs.
        before, after = (values if T is None else T.back(values) for values in (y, of_moved))
        centre = parts.features(torch.cat([before, after])).median(0).values
        b = torch.stack([rep_out.act_flat(g, before) for g in elements])
        return _together(pooled_defects(parts, after.unflatten(0, (len(elements), -1)), b, centre, epsilon))

    return statistic, rounding


def _of_weight(
    W: Tensor, rep_in: AnyRepresentation, rep_out: AnyRepresentation, elements: list
) -> tuple[Statistic, float]:
    epsilon = torch.finfo(W.dtype).eps if W.is_floating_point() else 0.0
    W, parts = W.detach().double().reshape(rep_out.dim, rep_in.dim), parts_of(rep_out)
    many = max(1, _TOGETHER // W.numel())

    def statistic(S: _Relabelling | None, T: _Relabelling | None) -> float:
        # Conjugating the actions is the same as conjugating W the other way.
        V = W if S is None or T is None else T.back(S.back(W).mT).mT
        defects = []
        for start in range(0, len(elements), many):
            chosen = elements[start : start + many]
            a = torch.stack([act_on_columns(rep_out, g, V).mT for g in chosen])
            b = torch.stack([act_on_rows(rep_in, g, V).mT for g in chosen])
            defects.append(pooled_defects(parts, a, b, None, epsilon))
        return _together(torch.cat(defects))

    return statistic, max(1e-7, 16 * epsilon)


def _together(defects: Tensor) -> float:
    """The root mean square over elements."""
    return float(defects.square().mean().sqrt())
