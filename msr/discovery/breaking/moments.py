"""Moments of the parts of each task's examples, and the equations of filters in a symmetric span that they give."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from msr.discovery.breaking.sample import Sample
from msr.span.moments import triangle_places

__all__ = ["Moments", "SymmetricSpan", "all_but_two", "filter_equations", "ridge"]


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

    def equations(self, symmetric: SymmetricSpan) -> tuple[Tensor, Tensor]:
        """Normal equations of each task's filter ``v``, from each part: ``A (…, k, k)`` and ``b (…, k)``.

        ``A = Σ_o u_oᵀ G u_o`` and ``b = Σ_o u_oᵀ (c_o − G u_o v0)``, with ``u_o (n, k)`` the span of output ``o``,
        ``G = XᵀX`` and ``c_o`` its row of ``YᵀX``. The result has axes ``(parts, tasks)`` in front.
        """
        span = symmetric.span
        _, n, k = span.shape
        # Both G and A are symmetric matrices, so a quarter of the products is enough.
        above = torch.triu_indices(n, n)
        pairs = torch.triu_indices(k, k)
        rows = span.flatten(1)
        products = (rows.mT @ rows).view(n, k, n, k)
        products = products[above[0], :, above[1]] + products[above[1], :, above[0]]
        # An entry above the diagonal of G stands for two. Products of a diagonal one were added to themselves: they are
        # halved.
        twice = torch.where(above[0] == above[1], 0.5, 1.0).double()
        normal = self.gram[:, :, above[0], above[1]] @ (products[:, pairs[0], pairs[1]] * twice[:, None])
        right = (self.cross - (span @ symmetric.v0) @ self.gram).flatten(2) @ span.flatten(0, 1)
        return normal[..., triangle_places(k)], right


def all_but_two(values: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Sums of ``values (parts, tasks, ...)`` over all parts but two, ``a (pairs,)`` and ``b (pairs,)``, for each pair.

    The result is ``(pairs, tasks, ...)``.
    """
    return values.sum(0) - values[a] - values[b]


def filter_equations(
    a: Tensor, b: Tensor, moments: Moments, equations: tuple[Tensor, Tensor], symmetric: SymmetricSpan
) -> tuple[Tensor, Tensor]:
    """Normal equations ``A v = b`` of filters from all parts but two, with an offset of each output eliminated.

    ``equations`` are those of single parts, from :meth:`Moments.equations`.

    Shapes: ``a`` and ``b (pairs,)``, the parts that are left out; the results are the matrices ``(pairs, tasks, k, k)``
    and the right sides ``(pairs, tasks, k)``.
    """
    size, sum_x, sum_y = (
        all_but_two(values, a, b) for values in (moments.count[..., None], moments.sum_x, moments.sum_y)
    )
    normal, right = (all_but_two(values, a, b) for values in equations)
    # A task without another example has sums of zero, which stay zero over any size.
    size = size.clamp_min(1)
    # The Schur complement of the offsets: what a filter and an offset both explain is taken off.
    shared = torch.einsum("onk,ptn->ptok", symmetric.span, sum_x)
    unexplained = sum_y - sum_x @ (symmetric.span @ symmetric.v0).mT
    normal = normal - shared.mT @ shared / size.unsqueeze(3)
    return normal, right - torch.einsum("ptoj,pto->ptj", shared, unexplained) / size


def ridge(normal: Tensor, right: Tensor, penalty: float) -> Tensor:
    """``(A + penalty I)⁻¹ b``, ``(..., k)``, where ``normal (..., k, k)`` is ``A`` and ``right (..., k)`` is ``b``."""
    damped = normal + penalty * torch.eye(normal.shape[-1], dtype=torch.float64)
    return torch.cholesky_solve(right.unsqueeze(-1), torch.linalg.cholesky(damped)).squeeze(-1)
