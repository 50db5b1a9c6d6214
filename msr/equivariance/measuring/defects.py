"""The defect of a function, a weight or a sharing pattern: how far it is from commuting with each group element.

A defect has no unit: ``d = ‖a − b‖ / √(‖a − c‖² + ‖b − c‖²)`` for ``a = f(ρ_in(g) x)``, ``b = ρ_out(g) f(x)`` and the
centre ``c`` of the outputs. It is 0 where ``f`` commutes with ``g``, 1 where both sides are unrelated, and √2 at worst
(``a − c = −(b − c)``). It is taken in each part of the outputs by itself
(:class:`msr.equivariance.measuring.parts.Parts`), and the largest counts, so that neither an offset nor a part with
large numbers hides a break. Where nothing differs it is 0.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from msr.arrays import takes_arrays
from msr.equivariance.measuring.boundary import Interior
from msr.equivariance.measuring.evaluation import Element, Elements, Function, choose_elements
from msr.equivariance.measuring.parts import Parts, parts_of
from msr.equivariance.measuring.scale import KINDS, LAST_DIGITS, Compared
from msr.equivariance.measuring.several import Several, as_one
from msr.equivariance.measuring.sides import Sides
from msr.errors import NonFiniteError, ShapeError
from msr.representations import AnyRepresentation
from msr.span.angles import orthonormal_basis

__all__ = [
    "Comparison", "Defects", "compare_sides", "compare_weights", "defects_of", "equivariance_error", "pattern_error",
    "weight_error",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Comparison:
    """Both sides of equivariance compared, for several elements.

    Attributes:
        compared: differences, scales and floors ``(elements, units)``.
        parts: the parts of the outputs, whose units are the columns of ``compared``.
        size: root mean square of the outputs compared, one for each element.
        share: share of the outputs compared, one for each element.
    """

    compared: Compared
    parts: Parts
    size: list[Tensor]
    share: list[Tensor]


@dataclass(frozen=True, eq=False)
class Defects:
    """A defect for each group element.

    Attributes:
        labels: names of the elements.
        values: ``(elements,)`` float64, defects without unit, in [0, √2].
        size: ``(elements,)``, root mean square of the outputs compared, in their own unit; where it is zero, a defect
            says nothing.
        compared: ``(elements,)``, share of the outputs that were compared; below 1 where a boundary was masked.
        rounding: ``(elements,)``: a defect up to here can be rounding, in the part of the outputs that varies least
            beside its size; √2 at most, and 0 where no part varies. Where that is too much use float64.
        parts: where in the outputs each defect is, in words.
    """

    labels: tuple[str, ...]
    values: Tensor
    size: Tensor
    compared: Tensor
    rounding: Tensor
    parts: tuple[str, ...]

    @property
    def worst(self) -> int:
        """The index of the element with the largest defect, in ``labels`` and ``values``."""
        return int(self.values.argmax())

    @property
    def largest(self) -> float:
        """The largest defect."""
        return float(self.values.max())

    def __str__(self) -> str:
        rows = zip(self.labels, self.values.tolist(), self.compared.tolist(), strict=True)
        return "\n".join(f"{label:>12}  {value:.3e}  compared {share:.0%}" for label, value, share in rows)


def defects_of(labels: tuple[str, ...], comparison: Comparison) -> Defects:
    """:class:`Defects` from a comparison: for each element the largest defect over the parts of the outputs.

    Args: ``labels``: names of the elements, in the order of the comparison's rows.
    """
    compared = comparison.compared
    of_parts = compared.defects
    largest_part = of_parts.argmax(1)
    # A unit that does not vary, or a kind, says nothing about how far rounding goes.
    varies = (compared.scale > 0) & ~compared.kinds
    rounding = (compared.floor / compared.scale.where(varies, torch.ones_like(compared.scale))).clamp(max=2**0.5)
    rounding = rounding.where(varies, torch.zeros_like(rounding)).amax(1)
    return Defects(
        labels=labels,
        values=of_parts.amax(1).cpu(),
        size=torch.stack(comparison.size).cpu(),
        compared=torch.stack(comparison.share).cpu(),
        rounding=rounding.cpu(),
        parts=tuple(comparison.parts.name(unit) for unit in largest_part.tolist()),
    )


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

    ``d(g) = max_p √(Σ_x ‖a − b‖²_p / Σ_x (‖a − c‖²_p + ‖b − c‖²_p))`` over the parts ``p`` of the outputs, with ``a =
    f(ρ_in(g) x)``, ``b = ρ_out(g) f(x)`` and ``c`` the median of the outputs. The group acts in float64; ``f`` sees the
    precision and the device of ``x``.

    Args:
        f: ``(batch, *rep_in.shape) -> (batch, *rep_out.shape)``.
        x: the data ``(batch, *rep_in.shape)``. What the outputs vary by, over these inputs and as the group moves them,
            is the unit of the defect.
        rep_in, rep_out: one, or a tuple or dictionary of them for several inputs or outputs, and then ``x`` too.
        elements: ``"all"`` of a finite group, ``"generators"``, or a list. A Lie algebra's elements are coefficients.
        mask: ``rep_out.shape``, true where the boundary does not reach an output (:func:`interior`). For an element, an
            output is compared when it and the place it comes from are both inside. The outputs of an ``f`` that returns
            the inside only, as a convolution without padding does, are placed there.

    Raises: ShapeError; NonFiniteError if ``f`` gives nan or infinity, so that a nan never reads as a pass; ModelError
    if ``f`` fails on these inputs, whatever it raises, or is not a function of them (dropout, batch norm in training
    mode).
    """
    f, rep_in, rep_out, x, mask = as_one(f, rep_in, rep_out, x, mask)
    chosen = choose_elements(elements, rep_in, rep_out)
    sides = Sides(f, x, rep_in, rep_out, chosen, Interior(rep_out, mask))
    rows: list[Compared] = []
    size: list[Tensor] = []
    share: list[Tensor] = []
    for pair in sides.pairs(pooled=True):
        rows.append(pair.compared.pooled())
        share.append(pair.window.double().mean())
        size.append((pair.b.square().sum() / (len(x) * pair.window.sum()).clamp_min(1)).sqrt())
    labels = tuple(rep_in.group.label(g) for g in chosen)
    return defects_of(labels, Comparison(stacked(rows), sides.typical.parts, size, share))


def stacked(rows: list[Compared]) -> Compared:
    """Comparisons of one row each as one comparison with many rows."""
    difference, scale, floor = (
        torch.cat([getattr(r, name) for r in rows]) for name in ("difference", "scale", "floor")
    )
    return Compared(difference, scale, floor, rows[0].kinds)


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

    ``d(g) = max_p ‖ρ_out(g) W − W ρ_in(g)‖_p / √(‖ρ_out(g) W‖²_p + ‖W ρ_in(g)‖²_p)``, Frobenius over the rows of a part
    ``p`` of the outputs: what :func:`equivariance_error` tends to on standard normal inputs. A bias does not vary, so
    it adds only what the group changes in it: ``‖ρ_out(g) β − β‖²_p`` to the square above, and to the one below.

    Shapes: ``weight (*rep_out.shape, *rep_in.shape)``, or flattened ``(out, in)``; ``bias (out,)``; ``mask`` as in
    :func:`equivariance_error`. For a convolution's filter, ``rep_in`` is ``channels * kernel`` with the kernel's grid
    representation.
    Raises: ShapeError; NonFiniteError for nan or infinity.
    Source: the commutation residual, normalised as in Kendiukhov's SymCert (2026), moved to layers.
    """
    chosen = choose_elements(elements, rep_in, rep_out)
    comparison = compare_weights(weight, rep_in, rep_out, chosen, bias=bias, mask=mask)
    return defects_of(tuple(rep_in.group.label(g) for g in chosen), comparison)


def compare_weights(
    weight: Tensor,
    rep_in: AnyRepresentation,
    rep_out: AnyRepresentation,
    chosen: list[Element],
    *,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    read_off: bool = False,
    epsilon: float | None = None,
) -> Comparison:
    """:func:`weight_error` part by part: the comparison that its defects are read from.

    Args:
        chosen: the elements, a row of the comparison for each.
        read_off: the weight was computed as a difference of values that hold the bias too, and has the rounding of
            these values.
        epsilon: relative rounding of the weight; by default that of its precision, 0 for whole numbers.

    Raises: ShapeError, NonFiniteError as :func:`weight_error`.
    """
    W = _as_matrix(weight, rep_in, rep_out)
    if bias is not None and bias.numel() != rep_out.dim:
        raise ShapeError(f"the bias must have the {rep_out.dim} numbers of {rep_out}; got {tuple(bias.shape)}")
    beta = W.new_zeros(len(W), 1) if bias is None else real(bias, "the bias").double().reshape(-1, 1).to(W.device)
    if not (W.isfinite().all() and beta.isfinite().all()):
        raise NonFiniteError("weight_error: the weight or bias holds nan or infinity")
    if epsilon is None:
        epsilon = torch.finfo(weight.dtype).eps if weight.is_floating_point() else 0.0
    inside = Interior(rep_out, mask)
    parts = parts_of(rep_out, whole_blocks=mask is not None)
    # Each block is taken in units of its largest number, so that squares neither overflow nor vanish.
    labels = parts.labels.to(W.device)
    sizes = torch.cat([W, beta], dim=1).abs().amax(1)
    largest = W.new_zeros(parts.n_blocks).scatter_reduce_(0, labels, sizes, "amax")
    unit = largest.where(largest > 0, torch.ones_like(largest))[labels].unsqueeze(1)
    V = W / unit
    v = beta / unit
    entries = (V.abs() + v.abs()) if read_off else V
    of_entries, of_bias = (
        parts.of_blocks(parts.squares(parts.features(part.mT))[:, : parts.n_blocks].sum(0)) for part in (entries, v)
    )
    rows: list[Compared] = []
    size: list[Tensor] = []
    share: list[Tensor] = []
    for g in chosen:
        window = inside.of(g).expand(rep_out.shape).reshape(-1, 1).double().to(W.device)
        a = act_on_columns(rep_out, g, V) * window
        b = act_on_rows(rep_in, g, V) * window
        constant = act_on_columns(rep_out, g, v) * window
        change_of_bias = constant - v * window
        # The digits of a bias that stays as it is hide nothing in the weight, unless the weight was read off beside it.
        rows.append(
            compare_sides(
                parts, a, b, of_entries + of_bias if read_off else of_entries, epsilon,
                changes=None if bias is None else (change_of_bias, of_entries + of_bias),
            )
        )  # fmt: skip
        share.append(window.mean())
        size.append((torch.cat([a, constant], dim=1) * unit).norm() / window.sum() ** 0.5)
    return Comparison(stacked(rows), parts, size, share)


def compare_sides(
    parts: Parts,
    a: Tensor,
    b: Tensor,
    entries: Tensor,
    epsilon: float,
    *,
    changes: tuple[Tensor, Tensor] | None = None,
) -> Compared:
    """The comparison of two ways through a square of linear maps that should agree, ``(1, units)``.

    It is the one function under the defect of a weight, ``a = ρ_out(g) W`` and ``b = W ρ_in(g)``, and under that of a
    natural transformation.

    Args:
        a, b: ``(out, in)`` float64, in units in which the squares of their numbers neither overflow nor vanish.
        entries: ``(units,)``, squared lengths of the numbers that are rounded.
        epsilon: their relative rounding.
        changes: for affine maps, what the offset is changed by, ``(out, 1)``, and what ``entries`` is in the parts
            where it is changed.
    """
    gap, of_a, of_b = parts.squares(parts.features(torch.stack([a - b, a, b]).mT)).sum(1)
    if changes is not None:
        changed = parts.squares(parts.features(changes[0].mT))[0]
        # The change of the offset is part of the difference, and of what varies.
        gap = gap + changed
        of_a = of_a + changed
        entries = changes[1].where(changed > 0, entries)
    kinds = parts.is_kind.to(a.device)
    floor = LAST_DIGITS * epsilon * entries.sqrt()
    floor = floor.where(~kinds, KINDS * floor)
    return Compared(gap.sqrt()[None], (of_a + of_b).sqrt()[None], floor[None], kinds)


@takes_arrays("U")
def pattern_error(
    U: Tensor, rep_in: AnyRepresentation, rep_out: AnyRepresentation, elements: Elements = "all"
) -> Defects:
    """The worst defect that any filter ``v`` can have, ``sup_v d(g, reshape(U v))``, exactly, for each element.

    With ``N = ρ_out(g) W − W ρ_in(g)`` and ``D = (ρ_out(g) W, W ρ_in(g))`` as linear functions of ``v``, the supremum
    of ``‖N v‖ / ‖D v‖`` is the largest singular value of ``N R⁻¹`` for ``D = Q R``; nothing is sampled. For orthogonal
    actions this is ``σ_max((ρ_out ⊗ ρ_in − I) Q) / √2`` for an orthonormal basis ``Q`` of the span of ``U``, so it
    depends on the span alone. It is taken over all outputs together: in one part by itself the worst filter would be
    one that makes this part nearly zero. Directions of ``U`` below rounding (see
    :func:`msr.span.angles.orthonormal_basis`) do not count; without any left the defect is 0.

    Shapes: ``U (out · in, k)``.  ``size`` is ``‖U‖_F / √(out · in)``, the same for each element.
    Raises: ShapeError, NonFiniteError.
    """
    m = rep_out.dim
    n = rep_in.dim
    if U.ndim != 2 or U.shape[0] != m * n:
        raise ShapeError(
            f"pattern_error: U must be ({m} x {n} = {m * n}, k) for {rep_in} to {rep_out}; got {tuple(U.shape)}"
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
            # An empty span has no filter to break anything.
            values.append(torch.zeros((), dtype=torch.float64))
            continue
        gap = (a - b).reshape(k, -1).mT
        both = torch.cat([a.reshape(k, -1), b.reshape(k, -1)], dim=1).mT
        R = torch.linalg.qr(both, mode="r").R
        values.append(torch.linalg.matrix_norm(torch.linalg.solve_triangular(R, gap, upper=True, left=False), 2))
    labels = tuple(rep_in.group.label(g) for g in chosen)
    whole = torch.ones(len(chosen), dtype=torch.float64)
    size = whole * float(U.detach().double().norm()) / (m * n) ** 0.5
    return Defects(labels, torch.stack(values).cpu(), size, whole, 0 * whole, ("all outputs",) * len(chosen))


def act_on_columns(rep: AnyRepresentation, g: Element, W: Tensor) -> Tensor:
    """``ρ(g) W`` for weights ``W (..., m, n)``, where ``ρ`` acts on ``m`` numbers."""
    return rep.act_flat(g, W.mT).mT


def act_on_rows(rep: AnyRepresentation, g: Element, W: Tensor) -> Tensor:
    """``W ρ(g)`` for weights ``W (..., m, n)``, where ``ρ`` acts on ``n`` numbers; a permutation only reorders."""
    if rep.is_permutation:
        # Column i of W ρ(g) is column p[i] of W, since ρ(g) sends coordinate i to p[i].
        source = torch.tensor(rep.moves(g), dtype=torch.long, device=W.device)
        return W.index_select(-1, source)
    return W @ rep.matrix(g).to(dtype=W.dtype, device=W.device)


def _as_matrix(weight: Tensor, rep_in: AnyRepresentation, rep_out: AnyRepresentation) -> Tensor:
    """The weight ``(out, in)`` in float64, detached, from that shape or ``(*rep_out.shape, *rep_in.shape)``.

    Raises: ShapeError for any other shape, and for complex numbers.
    """
    flat = (rep_out.dim, rep_in.dim)
    full = (*rep_out.shape, *rep_in.shape)
    if tuple(weight.shape) not in (flat, full):
        raise ShapeError(
            f"the weight must be {full} for {rep_in} to {rep_out}; got {tuple(weight.shape)}. "
            "For a convolution's filter, rep_in is channels * kernel"
        )
    return real(weight, "the weight").double().reshape(flat)


def real(tensor: Tensor, name: str) -> Tensor:
    """The tensor, detached from its graph; ``name`` is what the message calls it.

    Raises: ShapeError for complex numbers, whose imaginary part would be lost.
    """
    if tensor.is_complex():
        raise ShapeError(f"{name} holds complex numbers; compare torch.view_as_real of it, or its real form")
    return tensor.detach()
