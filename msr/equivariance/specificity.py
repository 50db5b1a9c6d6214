"""Is a function more equivariant to this group than to chance? A permutation test."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from msr.equivariance.measure import Element, Function, act, act_on_columns, act_on_rows, choose_elements
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
    others; it keeps the group law and the kind of each element, and only moves the action to another place. The
    statistic is the root mean square of the generators' defects on ``x``. If the distribution of ``f`` does not change
    under relabelling (the null), the p-value is exact.

    A constant or tiny function, which any tolerance certifies, is not specific. Neither is one that is symmetric under
    *every* relabelling, such as the mean of all inputs: it is equivariant to this group, but not to it in particular.

    Args: ``f``: a function, or a weight ``(out, in)`` (then ``x`` is not used).
    """
    elements = choose_elements("generators", rep_in, rep_out)
    statistic = (
        _of_weight(f, rep_in, rep_out, elements) if isinstance(f, Tensor) else _of(f, rep_in, rep_out, x, elements)
    )
    with torch.no_grad():
        observed = statistic(None, None)
        random = [statistic(_relabelling(rep_in, generator), _relabelling(rep_out, generator)) for _ in range(n_random)]
    chance = torch.tensor(random, dtype=torch.float64)
    # Rounding must not decide between equals, as when every relabelling commutes.
    as_small = int((chance <= observed + 1e-7).sum())
    return Specificity(observed, float(chance.median()), n_random, (1 + as_small) / (1 + n_random))


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


Statistic = Callable[[_Relabelling | None, _Relabelling | None], float]


def _acted(rep: AnyRepresentation, g: Element, x: Tensor, S: _Relabelling | None) -> Tensor:
    """``S ρ(g) S⁻¹ x`` on points ``(batch, *shape)``."""
    if S is None:
        return act(rep, g, x)
    flat = S.back(x.flatten(1)).reshape(x.shape)
    return S.forth(act(rep, g, flat).flatten(1)).reshape(x.shape)


def _of(
    f: Function | nn.Module, rep_in: AnyRepresentation, rep_out: AnyRepresentation, x: Tensor, elements: list
) -> Statistic:
    y = f(x).double()

    def statistic(S: _Relabelling | None, T: _Relabelling | None) -> float:
        squares = []
        moved = f(torch.cat([_acted(rep_in, g, x, S) for g in elements])).double().unflatten(0, (len(elements), -1))
        for g, a in zip(elements, moved, strict=True):
            b = _acted(rep_out, g, y, T)
            squares.append(_squared(a - b, a, b))
        return float(torch.stack(squares).mean().sqrt())

    return statistic


def _of_weight(W: Tensor, rep_in: AnyRepresentation, rep_out: AnyRepresentation, elements: list) -> Statistic:
    W = W.detach().double().reshape(rep_out.dim, rep_in.dim)

    def statistic(S: _Relabelling | None, T: _Relabelling | None) -> float:
        squares = []
        for g in elements:
            # Conjugating the actions is the same as conjugating W the other way.
            V = W if S is None or T is None else T.back(S.back(W).mT).mT
            a = act_on_columns(rep_out, g, V)
            b = act_on_rows(rep_in, g, V)
            squares.append(_squared(a - b, a, b))
        return float(torch.stack(squares).mean().sqrt())

    return statistic


def _squared(gap: Tensor, a: Tensor, b: Tensor) -> Tensor:
    total = a.square().sum() + b.square().sum()
    return gap.square().sum() / total.where(total > 0, torch.ones_like(total))
