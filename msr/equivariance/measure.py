"""How far something is from commuting with a group: numbers without an opinion.

The defect of an element is scale-free, ``d = ‖a − b‖ / √(‖a‖² + ‖b‖²)`` for ``a = f(ρ_in(g) x)`` and ``b = ρ_out(g)
f(x)``: 0 commutes, 1 is what unrelated outputs give, √2 is the worst (``a = −b``). Where both are zero it is 0.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from msr.arrays import takes_arrays
from msr.equivariance.boundary import Interior
from msr.equivariance.evaluate import Element, Elements, Function, both_sides, choose_elements, defect_of
from msr.equivariance.several import Several, as_one
from msr.errors import NonFiniteError, ShapeError
from msr.representations import AnyRepresentation
from msr.subspace import orthonormal_basis

__all__ = ["Defects", "equivariance_error", "pattern_error", "weight_error"]


@dataclass(frozen=True, eq=False)
class Defects:
    """A defect for each group element.

    Attributes:
        labels: names of the elements.
        values: ``(elements,)`` float64, in [0, √2].
        size: root mean square of the outputs compared, ``(elements,)``: a defect of something that is zero says
            nothing.
        compared: share of the outputs that were compared, ``(elements,)``; below 1 where a boundary was masked.
    """

    labels: tuple[str, ...]
    values: Tensor
    size: Tensor
    compared: Tensor

    @property
    def worst(self) -> int:
        """Which of the elements has the largest defect."""
        return int(self.values.argmax())

    @property
    def largest(self) -> float:
        """The largest defect."""
        return float(self.values.max())

    def __str__(self) -> str:
        rows = zip(self.labels, self.values.tolist(), self.compared.tolist(), strict=True)
        return "\n".join(f"{label:>12}  {value:.3e}  compared {share:.0%}" for label, value, share in rows)


def equivariance_error(
    f: Function,
    x: Any,
    rep_in: Several,
    rep_out: Several,
    elements: Elements = "all",
    *,
    mask: Any = None,
) -> Defects:
    """The defect of a function on data, for each element, pooled over the batch.

    ``d(g) = ‖f(ρ_in(g) x) − ρ_out(g) f(x)‖ / √(‖f(ρ_in(g) x)‖² + ‖ρ_out(g) f(x)‖²)``, Frobenius over the batch. The
    group acts in float64; ``f`` sees the precision and the device of ``x``.

    Args:
        f: ``(batch, *rep_in.shape) -> (batch, *rep_out.shape)``.
        x: the data.
        rep_in, rep_out: one, or a tuple or dictionary of them for several inputs or outputs, and then ``x`` too.
        elements: ``"all"`` of a finite group, ``"generators"``, or some. A Lie algebra's elements are coefficients.
        mask: ``rep_out.shape``, true where an output does not feel the boundary (:func:`interior`). For an element, an
            output is compared when it and the place it comes from are both inside. An ``f`` that returns the inside
            only, as a convolution without padding does, is placed there.

    Raises: ShapeError; NonFiniteError if ``f`` gives nan or infinity, so that a nan never reads as a pass; ModelError
    if ``f`` fails on these inputs, or is not a function of them (dropout, batch norm in training mode).
    """
    f, rep_in, rep_out, x, mask = as_one(f, rep_in, rep_out, x, mask)
    chosen = choose_elements(elements, rep_in, rep_out)
    inside = Interior(rep_out, mask)
    values, size, compared = [], [], []
    for a, b, share in both_sides(f, x, rep_in, rep_out, chosen, inside):
        values.append(defect_of(a, b))
        compared.append(torch.tensor(share, dtype=torch.float64))
        size.append((b.square().sum() / max(len(x) * rep_out.dim * share, 1)).sqrt())
    labels = tuple(rep_in.group.label(g) for g in chosen)
    return Defects(labels, torch.stack(values).cpu(), torch.stack(size).cpu(), torch.stack(compared).cpu())


@takes_arrays("weight", "bias", "mask")
def weight_error(
    weight: Tensor,
    rep_in: AnyRepresentation,
    rep_out: AnyRepresentation,
    elements: Elements = "all",
    *,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
) -> Defects:
    """The defect of a linear layer, exactly, for each element.

    ``d(g) = ‖ρ_out(g) W − W ρ_in(g)‖_F / √(‖ρ_out(g) W‖²_F + ‖W ρ_in(g)‖²_F)``: what :func:`equivariance_error` tends
    to on standard normal inputs. A bias counts as one more column, whose input does not move.

    Shapes: ``weight (*rep_out.shape, *rep_in.shape)``, or flattened ``(out, in)``; ``bias (out,)``. For a convolution's
    filter, ``rep_in`` is ``channels * kernel`` with the kernel's grid representation.
    Source: the commutation residual, normalised as in Kendiukhov's SymCert (2026), moved to layers.
    """
    chosen = choose_elements(elements, rep_in, rep_out)
    W = _as_matrix(weight, rep_in, rep_out)
    if bias is not None and bias.numel() != rep_out.dim:
        raise ShapeError(f"the bias must have the {rep_out.dim} numbers of {rep_out}; came {tuple(bias.shape)}")
    columns = W if bias is None else torch.cat([W, real(bias, "the bias").double().reshape(-1, 1).to(W.device)], dim=1)
    if not columns.isfinite().all():
        raise NonFiniteError("weight_error: the weight or bias holds nan or infinity")
    inside = Interior(rep_out, mask)
    values, size, compared = [], [], []
    for g in chosen:
        window = inside.of(g).expand(rep_out.shape).reshape(-1, 1).double().to(W.device)
        a = act_on_columns(rep_out, g, columns)
        b = columns.clone()
        b[:, : rep_in.dim] = act_on_rows(rep_in, g, W)
        a, b = a * window, b * window
        values.append(defect_of(a, b))
        compared.append(window.mean())
        size.append((a.square().sum() / window.sum().clamp_min(1)).sqrt())
    labels = tuple(rep_in.group.label(g) for g in chosen)
    return Defects(labels, torch.stack(values).cpu(), torch.stack(size).cpu(), torch.stack(compared).cpu())


@takes_arrays("U")
def pattern_error(
    U: Tensor, rep_in: AnyRepresentation, rep_out: AnyRepresentation, elements: Elements = "all"
) -> Defects:
    """The worst defect that any filter ``v`` can have, ``sup_v d(g, reshape(U v))``, exactly, for each element.

    With ``N = ρ_out(g) W − W ρ_in(g)`` and ``D = (ρ_out(g) W, W ρ_in(g))`` as linear functions of ``v``, the supremum
    of ``‖N v‖ / ‖D v‖`` is the largest singular value of ``N R⁻¹`` for ``D = Q R``; nothing is sampled. For orthogonal
    actions this is ``σ_max((ρ_out ⊗ ρ_in − I) Q) / √2`` for an orthonormal basis ``Q`` of the span of ``U``, so it
    depends on the span alone. Directions of ``U`` below rounding (see :func:`msr.subspace.orthonormal_basis`) do not
    count.

    Shapes: ``U (out · in, k)``.  ``size`` is ``‖U‖_F``'s share of an entry of ``W``, the same for each element.
    Raises: ShapeError, NonFiniteError.
    """
    m, n = rep_out.dim, rep_in.dim
    if U.ndim != 2 or U.shape[0] != m * n:
        raise ShapeError(
            f"pattern_error: U must be ({m} x {n} = {m * n}, k) for {rep_in} to {rep_out}; came {tuple(U.shape)}"
        )
    chosen = choose_elements(elements, rep_in, rep_out)
    basis = orthonormal_basis(real(U, "U"))
    k = basis.shape[1]
    W = basis.mT.reshape(k, m, n)
    values = []
    for g in chosen:
        a = act_on_columns(rep_out, g, W)
        b = act_on_rows(rep_in, g, W)
        if k == 0:
            values.append(torch.zeros((), dtype=torch.float64))
            continue
        gap, both = (a - b).reshape(k, -1).mT, torch.cat([a.reshape(k, -1), b.reshape(k, -1)], dim=1).mT
        R = torch.linalg.qr(both, mode="r").R
        values.append(torch.linalg.matrix_norm(torch.linalg.solve_triangular(R, gap, upper=True, left=False), 2))
    labels = tuple(rep_in.group.label(g) for g in chosen)
    whole = torch.ones(len(chosen), dtype=torch.float64)
    return Defects(labels, torch.stack(values).cpu(), whole * float(U.detach().double().norm()) / (m * n) ** 0.5, whole)


def act_on_columns(rep: AnyRepresentation, g: Element, W: Tensor) -> Tensor:
    """``ρ(g) W`` for ``(..., m, n)``."""
    return rep.act_flat(g, W.mT).mT


def act_on_rows(rep: AnyRepresentation, g: Element, W: Tensor) -> Tensor:
    """``W ρ(g)`` for ``(..., m, n)``; a permutation only reorders."""
    if rep.is_permutation:
        source = torch.tensor(rep.moves(g), dtype=torch.long, device=W.device)
        return W.index_select(-1, source)
    return W @ rep.matrix(g).to(dtype=W.dtype, device=W.device)


def module_of(f: Function) -> nn.Module | None:
    """The module behind a function, if it is one."""
    return f if isinstance(f, nn.Module) else None


def _as_matrix(weight: Tensor, rep_in: AnyRepresentation, rep_out: AnyRepresentation) -> Tensor:
    flat, full = (rep_out.dim, rep_in.dim), (*rep_out.shape, *rep_in.shape)
    if tuple(weight.shape) not in (flat, full):
        raise ShapeError(
            f"the weight must be {full} for {rep_in} to {rep_out}; came {tuple(weight.shape)}. "
            "For a convolution's filter, rep_in is channels * kernel"
        )
    return real(weight, "the weight").double().reshape(flat)


def real(tensor: Tensor, name: str) -> Tensor:
    """The tensor without its graph, or a ShapeError for complex numbers, whose imaginary part would be lost."""
    if tensor.is_complex():
        raise ShapeError(f"{name} holds complex numbers; compare torch.view_as_real of it, or its real form")
    return tensor.detach()
