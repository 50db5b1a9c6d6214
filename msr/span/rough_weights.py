"""Two rough estimates of each task's weight, one from each half of its examples, with independent errors."""

from collections.abc import Iterator

import torch
from torch import Tensor

from msr.errors import DataError, listed
from msr.span.chunks import Chunks
from msr.span.moments import Passes, halves, joined
from msr.span.standardised import Standardised
from msr.span.thresholds import THRESHOLDS

__all__ = ["RoughPairs"]

# Up to this many inputs the projections of all tasks of a chunk are formed and added up; beyond, that takes too much
# memory, and one product sums over tasks and examples at once.
_MANY_INPUTS = 128


class RoughPairs:
    """Pairs of rough weights of each task. Both are shrunk by few examples, which is measured and divided out.

    Half of a task's examples give ``Ŵ = Yᵀ (X Xᵀ + ρ)⁻¹ X``, on average ``W P`` with ``P = Xᵀ (X Xᵀ + ρ)⁻¹ X``, the
    part of ``W`` that the half's inputs span. A first pass measures ``Q``, for each half the mean of ``P`` over all
    tasks with as many examples; the pairs are ``Ŵ Q⁻¹``.

    Attributes:
        tasks: the standardised tasks.
        pairs: a pass over the pairs, ``(tasks, m n)`` each, float32; what is small is kept between passes.
    """

    def __init__(self, chunks: Chunks | Standardised):
        self.tasks = chunks if isinstance(chunks, Standardised) else Standardised(chunks)
        # Q depends on the number of examples and, for odd numbers, on the half.
        projections: dict[tuple[int, int], list[Tensor]] = {}
        counts: dict[tuple[int, int], int] = {}
        for x, y in self.tasks():
            for side, half in enumerate(halves(x, y)):
                _, left, right = _factors(*half)
                kind = (x.shape[1], side)
                parts = projections.setdefault(kind, [])
                if self.tasks.n <= _MANY_INPUTS:
                    parts.append((left.mT @ right).sum(0))
                else:
                    part = left.flatten(0, 1).mT @ right.flatten(0, 1)
                    parts[:] = [part if not parts else parts[0].add_(part)]
                counts[kind] = counts.get(kind, 0) + len(x)
        self._unshrink = {
            kind: _inverse(torch.stack(parts).sum(0) / counts[kind]) for kind, parts in projections.items()
        }
        self.pairs = Passes(lambda: joined(self._pairs()))

    def _pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The pairs of rough weights ``Ŵ Q⁻¹`` of each piece of the tasks, ``(tasks, m n)`` each, float32."""
        for x, y in self.tasks():
            pair = []
            for side, half in enumerate(halves(x, y)):
                outputs, _, right = _factors(*half)
                unshrunk = right @ self._unshrink[x.shape[1], side]
                # float32 halves the memory; its rounding is far below the errors of a rough weight.
                pair.append((outputs.mT.float() @ unshrunk.float()).flatten(1))
            yield pair[0], pair[1]


def _factors(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """``L (tasks, r, m)``, ``Z (tasks, r, n)``, ``R (tasks, r, n)`` with ``Ŵ = Lᵀ R`` and ``P = Zᵀ R``.

    ``Ŵ = Yᵀ (X Xᵀ + ρ)⁻¹ X`` and ``P = Xᵀ (X Xᵀ + ρ)⁻¹ X``; ``r`` is the smaller one of examples and inputs. Without ρ,
    estimates from about as many examples as inputs would have no bounded variance. ρ changes ``P``, which is measured,
    so it adds no bias.
    """
    if x.shape[1] <= x.shape[2]:
        return y, x, _ridge_solve(x @ x.mT, x)
    gram = x.mT @ x
    eye = torch.eye(x.shape[2], dtype=x.dtype).expand_as(gram)
    # The same by (X Xᵀ + ρ)⁻¹ X = X (XᵀX + ρ)⁻¹, with the smaller of the two matrices.
    return x.mT @ y, gram, _ridge_solve(gram, eye)


def _ridge_solve(gram: Tensor, right: Tensor) -> Tensor:
    """``(G + ρ I)⁻¹ B`` of each task, with ``gram`` G, ``right`` B, and ρ a share of the mean of the diagonal of G."""
    scale = gram.diagonal(dim1=1, dim2=2).mean(1).clamp_min(torch.finfo(gram.dtype).tiny)
    eye = torch.eye(gram.shape[1], dtype=gram.dtype)
    ridge = THRESHOLDS().rough_ridge * scale[:, None, None] * eye
    return torch.cholesky_solve(right, torch.linalg.cholesky(gram + ridge))


def _inverse(projection: Tensor) -> Tensor:
    """``Q⁻¹ (n, n)`` of the mean projection ``Q (n, n)``.

    Raises: DataError, which names the input coordinates that matter, where no task reaches some direction.
    """
    sizes, axes = torch.linalg.eigh((projection + projection.mT) / 2)
    lost = sizes < THRESHOLDS().lost_direction * sizes[-1]
    if lost.any() or not sizes[-1] > 0:
        # The coordinates with the largest entries in the lost directions, as many as there are such directions.
        coordinates = axes[:, lost].abs().amax(1).argsort(descending=True)[: int(lost.sum())].sort().values
        raise DataError(
            f"the inputs span {int((~lost).sum())} of {len(sizes)} directions only, in all tasks together, so the "
            f"weights on the rest cannot be learned; look at input coordinates {listed(coordinates.tolist())}: some "
            "are made from others, or all tasks have the same few inputs"
        )
    return (axes / sizes) @ axes.mT
