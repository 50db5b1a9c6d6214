"""Moments of the parts of each task's examples, and the equations of filters in a symmetric span that they give."""

from dataclasses import dataclass, fields
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from msr.discovery.breaking.sample import Sample
from msr.span.moments import triangle_places

__all__ = ["Equations", "Moments", "Others", "SymmetricSpan", "filter_equations", "of_parts", "ridge"]


@dataclass(frozen=True, eq=False)
class SymmetricSpan:
    """Symmetric weights of tasks: ``W = span @ (v0 + v)``, in units of the outputs' scale.

    Attributes:
        span: ``(m, n, k)``; with ``k = 0`` where no span is known.
        v0: ``(k,)``, the mean filter.
        penalty: what ``‖v‖²`` costs in the fit of one task: the variance of noise, as ``v`` has variance one.
    """

    span: Tensor
    v0: Tensor
    penalty: float

    @cached_property
    def products(self) -> Tensor:
        """What turns the upper triangle of ``G`` into that of ``Σ_o u_oᵀ G u_o``: ``(n (n + 1) / 2, k (k + 1) / 2)``.

        It does not depend on the tasks, so it is made once for all of them.
        """
        _, n, k = self.span.shape
        # Both G and the result are symmetric matrices, so a quarter of the products is enough.
        above = torch.triu_indices(n, n)
        pairs = torch.triu_indices(k, k)
        rows = self.span.flatten(1)
        products = (rows.mT @ rows).view(n, k, n, k)
        products = products[above[0], :, above[1]] + products[above[1], :, above[0]]
        # An entry above the diagonal of G stands for two. Products of a diagonal one were added to themselves: they are
        # halved.
        twice = torch.where(above[0] == above[1], 0.5, 1.0).double()
        return products[:, pairs[0], pairs[1]] * twice[:, None]

    @cached_property
    def squares(self) -> Tensor:
        """``Σ_o u_o u_oᵀ (n, n)``, with which the trace of ``Σ_o u_oᵀ G u_o`` is an inner product."""
        rows = self.span.permute(1, 0, 2).flatten(1)
        return rows @ rows.mT

    @cached_property
    def by_input(self) -> Tensor:
        """The span as ``(n, m k)``: what one input adds to each output, with each filter alone."""
        _, n, _ = self.span.shape
        return self.span.permute(1, 0, 2).reshape(n, -1)


class Equations(NamedTuple):
    """Normal equations of each task's filter from each part alone, and from all parts together.

    Attributes:
        normal: ``(parts, tasks, k, k)``; ``right``: ``(parts, tasks, k)``.
        all_normal, all_right: their sums over the parts.
    """

    normal: Tensor
    right: Tensor
    all_normal: Tensor
    all_right: Tensor


class Others(NamedTuple):
    """How many examples are in all parts of a task but two, and their sums, for some pairs of parts.

    Attributes:
        size: ``(pairs, tasks, 1)``, the number of these examples.
        sum_x, sum_y: ``(pairs, tasks, n)`` and ``(pairs, tasks, m)``, the sums of their inputs and outputs.
    """

    size: Tensor
    sum_x: Tensor
    sum_y: Tensor


@dataclass(frozen=True, eq=False)
class Moments:
    """Moments of the parts into which each task's examples are dealt, ``(parts, tasks, ...)``.

    Attributes:
        gram, cross: ``XᵀX (n, n)`` and ``YᵀX (m, n)`` of the examples of a part.
        sum_x, sum_y: ``(n,)`` and ``(m,)``, sums of the inputs and outputs of these examples.
        count: without further axes, the number of these examples.
        inputs, outputs: ``XᵀX Σ⁻¹ (n, n)`` and ``YᵀX Σ⁻¹ (m, n)``, ``Σ`` the covariance of a sample; ``outputs`` over
            the count estimates the weights. With a common centre of inputs all moments are about that. Without one,
            these two are about the part's own mean, and the other moments about the mean of the task.
        mean: ``sum_x Σ⁻¹ (n,)``, which is used with a common centre only.
    """

    gram: Tensor
    cross: Tensor
    sum_x: Tensor
    sum_y: Tensor
    count: Tensor
    inputs: Tensor
    outputs: Tensor
    mean: Tensor

    @classmethod
    def of(cls, sample: Sample, parts: int, centre: Tensor | None) -> "Moments":
        """The moments of all tasks of a sample.

        Args:
            parts: number of parts, to which the examples of a task are dealt in turn.
            centre: ``(n,)``, the common mean of the inputs of all tasks, which is taken off in place of each task's
                own; None where there is none.
        """
        place = torch.arange(sample.x.shape[1])
        x = sample.x
        y = sample.y[:]
        if centre is not None:
            present = (place[None] < sample.counts[:, None]).unsqueeze(2)
            x = (x + (sample.means[0] - centre)[:, None]) * present
            y = (y + sample.means[1][:, None]) * present
        # Examples are in a pseudo-random order, so parts that are dealt in turn are alike.
        dealt = [(x[:, part::parts], y[:, part::parts]) for part in range(parts)]
        gram = torch.stack([X.mT @ X for X, _ in dealt])
        cross = torch.stack([Y.mT @ X for X, Y in dealt])
        sum_x, sum_y = (torch.stack([pair[side].sum(1) for pair in dealt]) for side in (0, 1))
        count = torch.stack([(sample.counts - part + parts - 1) // parts for part in range(parts)]).double()
        inputs = gram
        outputs = cross
        if centre is None:
            mean = (sum_x / count.unsqueeze(2)).unsqueeze(2)
            inputs = gram - sum_x.unsqueeze(3) * mean
            outputs = cross - sum_y.unsqueeze(3) * mean
        # Σ is that of all tasks: a part has too few examples to invert its own. As E[XᵀX] = N Σ, it stays unbiased.
        inverse = torch.cholesky_inverse(sample.root)
        return cls(gram, cross, sum_x, sum_y, count, inputs @ inverse, outputs @ inverse, sum_x @ inverse)

    def select(self, tasks: Tensor) -> "Moments":
        """The moments of the tasks at these places."""
        return Moments(*(getattr(self, field.name)[:, tasks] for field in fields(self)))

    @cached_property
    def sums(self) -> tuple[Tensor, Tensor, Tensor]:
        """``count (tasks, 1)``, ``sum_x (tasks, n)`` and ``sum_y (tasks, m)``, each summed over the parts."""
        return self.count[..., None].sum(0), self.sum_x.sum(0), self.sum_y.sum(0)

    def others(self, a: list[int], b: list[int]) -> Others:
        """The examples of all parts but ``a`` and ``b``, the numbers of two parts for each pair."""
        each = (self.count[..., None], self.sum_x, self.sum_y)
        return Others(*(_all_but_two(values, total, a, b) for values, total in zip(each, self.sums, strict=True)))

    def equations(self, symmetric: SymmetricSpan) -> Equations:
        """Normal equations of each task's filter ``v``, from each part: ``A (…, k, k)`` and ``b (…, k)``.

        ``A = Σ_o u_oᵀ G u_o`` and ``b = Σ_o u_oᵀ (c_o − G u_o v0)``, with ``u_o (n, k)`` the span of output ``o``,
        ``G = XᵀX`` and ``c_o`` its row of ``YᵀX``. The result has axes ``(parts, tasks)`` in front.
        """
        span = symmetric.span
        _, n, k = span.shape
        above = torch.triu_indices(n, n)
        packed = self.gram.flatten(2).index_select(2, above[0] * n + above[1]) @ symmetric.products
        normal = packed.index_select(2, triangle_places(k).flatten()).unflatten(2, (k, k))
        right = (self.cross - (span @ symmetric.v0) @ self.gram).flatten(2) @ span.flatten(0, 1)
        return Equations(normal, right, normal.sum(0), right.sum(0))

    def traces(self, symmetric: SymmetricSpan, a: list[int], b: list[int]) -> float:
        """The sum, over pairs and tasks, of the traces of the matrices that :func:`filter_equations` gives.

        ``tr Σ_o u_oᵀ G u_o = ⟨G, Σ_o u_o u_oᵀ⟩``, so that no matrix has to be made.
        """
        each = (self.gram * symmetric.squares).sum((2, 3))
        size, sum_x, _ = self.others(a, b)
        offsets = ((sum_x @ symmetric.squares) * sum_x).sum(2) / size.squeeze(2).clamp_min(1)
        return float((_all_but_two(each, each.sum(0), a, b) - offsets).sum())


def of_parts(values: Tensor, parts: list[int]) -> Tensor:
    """``values[parts]`` of ``values (all parts, ...)``; of a single part it is a view, since it is only read."""
    return values[parts[0]].unsqueeze(0) if len(parts) == 1 else values[parts]


def _all_but_two(values: Tensor, total: Tensor, a: list[int], b: list[int]) -> Tensor:
    """Sums of ``values (parts, tasks, ...)`` over all parts but two, ``a`` and ``b``, for each pair of such numbers.

    ``total (tasks, ...)`` is the sum over all parts. The result is ``(pairs, tasks, ...)``.
    """
    rest = total - of_parts(values, a)
    return rest.sub_(of_parts(values, b))


def filter_equations(
    a: list[int], b: list[int], others: Others, equations: Equations, symmetric: SymmetricSpan
) -> tuple[Tensor, Tensor]:
    """Normal equations ``A v = b`` of filters from all parts but two, with an offset of each output eliminated.

    ``equations`` are those of single parts, from :meth:`Moments.equations`; ``others`` are the sums of all parts but
    ``a`` and ``b``, of which each pair leaves out one.

    Shapes: the results are the matrices ``(pairs, tasks, k, k)`` and the right sides ``(pairs, tasks, k)``.
    """
    normal = _all_but_two(equations.normal, equations.all_normal, a, b)
    right = _all_but_two(equations.right, equations.all_right, a, b)
    # A task without another example has sums of zero, which stay zero over any size.
    size = others.size.clamp_min(1)
    # The Schur complement of the offsets: what a filter and an offset both explain is taken off.
    m, _, k = symmetric.span.shape
    shared = (others.sum_x @ symmetric.by_input).unflatten(2, (m, k))
    unexplained = others.sum_y - others.sum_x @ (symmetric.span @ symmetric.v0).mT
    normal.sub_((shared.mT @ shared).div_(size.unsqueeze(3)))
    return normal, right.sub_((shared.mT @ unexplained.unsqueeze(3)).squeeze(3).div_(size))


def ridge(normal: Tensor, right: Tensor, penalty: float) -> Tensor:
    """``(A + penalty I)⁻¹ b``, ``(..., k)``, where ``normal (..., k, k)`` is ``A`` and ``right (..., k)`` is ``b``."""
    damped = normal.clone()
    damped.diagonal(dim1=-2, dim2=-1).add_(penalty)
    return torch.cholesky_solve(right.unsqueeze(-1), torch.linalg.cholesky(damped)).squeeze(-1)
