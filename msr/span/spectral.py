"""See the span of a sharing pattern without any gradient: the moments of many rough task estimates."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import nan

import torch
from torch import Tensor

from msr.errors import ConfigError, DataError, listed
from msr.span.moments import Chunks, Passes, Standardised, halves, merged

__all__ = ["SpectralStart", "spectral_start"]

# Relative to the mean squared length of an example. Only a scalar of the estimate depends on it: see `_rough_weights`.
_RIDGE = 0.1
_REPLICATES = 5
_NULL_WIDTH = 4
# Power iterations come up to the edge of a spectrum from below; measured shortfall up to 10%.
_EDGE_MARGIN = 1.1
# Up to this many weights the second moment is formed in one pass instead of being sketched in several.
_DENSE = 300
# From so many inputs on, second moments of the inputs of each task are not formed.
_WIDE = 128


@dataclass(frozen=True, eq=False)
class SpectralStart:
    """The second moment ``S = E[vec W vec Wᵀ]`` of the tasks' weights, as two rough estimates of each task show it.

    Inputs are first divided by their root mean square over all tasks, one by one, and outputs as a whole, so numbers do
    not depend on units; ``basis`` is for inputs and outputs as they came.

    Attributes:
        basis: the eigenvectors that the sketch saw, orthonormal, float64, ``(m n, p)``, in the order of ``spectrum``.
        k: the recommended dimension, how many eigenvalues lie above ``edge``.
        spectrum: eigenvalues of the estimate, largest first (those that the sketch saw). Negative ones are noise, since
            ``S`` has none.
        edge: what noise reaches, 1.1 times the larger of ``null`` and the size of the most negative eigenvalue.
        null: parallel analysis: the largest eigenvalue in size when the products of the two estimates get random
            signs and the directions found are taken out; the largest of 5 replicates.
        gap: the ratio ``spectrum[k − 1] / max(spectrum[k], edge)``; 0 when ``k`` is 0.
        stability: for each direction of the span (that of ``k`` dimensions, or of those asked for), the cosine with
            the span that half of the tasks give, the smaller of both halves; 1 is stable.
        n_tasks: how many tasks were seen.
    """

    basis: Tensor
    k: int
    spectrum: Tensor
    edge: float
    null: float
    gap: float
    stability: Tensor
    n_tasks: int

    def span(self, k: int | None = None) -> Tensor:
        """A start of ``U``: the leading ``k`` directions, by default the recommended number (at least 1)."""
        k = max(self.k, 1) if k is None else k
        if not 1 <= k <= self.basis.shape[1]:
            raise ConfigError(f"the sketch holds {self.basis.shape[1]} directions; {k} were asked for")
        return self.basis[:, :k]


def spectral_start(
    chunks: Chunks,
    *,
    k: int | None = None,
    max_k: int | None = None,
    passes: int = 4,
    evidence: bool = True,
    seed: int = 0,
) -> SpectralStart:
    """Estimate the span of ``U`` in ``vec(W_i) = U v_i`` from examples ``y = W_i x + noise`` of many tasks.

    Each task's examples are split in two. Each half gives a rough estimate, near the one of least norm,
    ``Ŵ = Yᵀ (X Xᵀ + ρ)⁻¹ X``, which shrinks ``W`` to the part ``W P`` that its inputs span. The mean of ``P`` over the
    tasks is measured for each half, ``Q_a`` and ``Q_b``, and the noise of the two halves is independent, so

        S = (I ⊗ Q_a⁻¹) E[vec Ŵ_a vec Ŵ_bᵀ] (I ⊗ Q_b⁻¹)

    has no bias from few examples or from noise of any kind, where the inputs of every half are drawn afresh,
    independently of ``W``. (With the same inputs in all tasks, a fixed grid for example, it has.) Its leading
    eigenspace is found by block power iteration: ``passes`` passes over the chunks, memory of one chunk's rough weights
    and a thin block (of a full matrix for up to 300 weights), and of all rough weights while they take under 64 MiB.

    Args:
        k: how many directions are wanted, where that is known; otherwise the sketch grows as long as it finds more.
        max_k: the largest dimension looked for.
        evidence: false skips ``null`` and ``stability`` (they are nan), half of the work.
        seed: of the sketch and of the random signs.

    Raises: DataError for tasks with a single example, outputs that are all zero, chunks that change between passes, or
    inputs that leave out a direction; ConfigError for a ``k`` that cannot be; ShapeError and NonFiniteError for chunks
    that cannot be used.
    Source: parallel analysis by random signs: Hong, Sheng and Dobriban, arXiv:2012.02985; sketch: Halko, Martinsson
    and Tropp, arXiv:0909.4061.
    """
    view = _View(chunks)
    size = view.m * view.n
    for name, value in (("k", k), ("max_k", max_k)):
        if value is not None and not 1 <= value <= size:
            raise ConfigError(f"{name} must be between 1 and the {size} numbers of a weight; got {value}")
    if passes < 1:
        raise ConfigError(f"passes must be at least 1; got {passes}")
    generator = torch.Generator().manual_seed(seed)
    width = size if size <= _DENSE else min(size, (k or 16) + 16)
    spectrum, vectors = view.eigenpairs(_normal(size, width, generator), passes)
    # The sketch is wide enough when at most half of it is signal; a signal stands above what is negative.
    while width < size and (k is None) and (found := _above_negative(spectrum)) > width // 2:
        if max_k is not None and found >= max_k:
            break
        width = min(size, 3 * width)
        fresh = _normal(size, width - vectors.shape[1], generator)
        spectrum, vectors = view.eigenpairs(torch.cat([vectors, fresh], 1), passes)
    found = min(_above_negative(spectrum), max_k or size)
    null = view.null_edge(vectors[:, :found], passes, seed, generator) if evidence else nan
    edge = max(_EDGE_MARGIN * max(null if evidence else 0.0, -float(spectrum[-1])), 1e-6 * float(spectrum[0]))
    recommended = min(int((spectrum > edge).sum()), max_k or size)
    leading = vectors[:, : k or max(recommended, 1)]
    following = float(spectrum[recommended]) if recommended < len(spectrum) else 0.0
    return SpectralStart(
        basis=torch.linalg.qr(view.tasks.weights(vectors))[0],
        k=recommended,
        spectrum=spectrum,
        edge=edge,
        null=null,
        gap=float(spectrum[recommended - 1]) / max(following, edge) if recommended else 0.0,
        stability=view.stability(leading, passes, generator) if evidence else torch.full((leading.shape[1],), nan),
        n_tasks=view.n_tasks,
    )


class _View:
    """Passes over pairs of rough weights, after passes that measure scales and shrinkage."""

    def __init__(self, chunks: Chunks):
        self.tasks = chunks if isinstance(chunks, Standardised) else Standardised(chunks)
        self.m, self.n, self.n_tasks = self.tasks.m, self.tasks.n, self.tasks.n_tasks
        # Halves of three examples see less on the one side; tasks may differ in their number of examples.
        reached: dict[tuple[int, int], list[Tensor]] = {}
        counts: dict[tuple[int, int], int] = {}
        for x, y in self.tasks():
            for side, half in enumerate(halves(x, y)):
                _, inputs, right = _rough_weights(*half)
                key = (x.shape[1], side)
                parts = reached.setdefault(key, [])
                if self.n <= _WIDE:
                    parts.append((inputs.mT @ right).sum(0))
                else:
                    # Sums over tasks and examples at once, and one of them: each is as large as many tasks.
                    part = inputs.flatten(0, 1).mT @ right.flatten(0, 1)
                    parts[:] = [part if not parts else parts[0].add_(part)]
                counts[key] = counts.get(key, 0) + len(x)
        self._debias = {key: _inverse(torch.stack(parts).sum(0) / counts[key]) for key, parts in reached.items()}
        self.pairs = Passes(lambda: merged(self._pairs()))

    def _pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        """A pass: two estimates of each weight with independent errors, ``(tasks, m n)`` each, in float32."""
        for x, y in self.tasks():
            pair = []
            for side, half in enumerate(halves(x, y)):
                left, _, right = _rough_weights(*half)
                pair.append((left.mT.float() @ (right @ self._debias[x.shape[1], side]).float()).flatten(1))
            yield pair[0], pair[1]

    def moments(self, blocks: list[Tensor | None], weights: Callable[[Tensor], Tensor]) -> list[Tensor]:
        """``S_b Y_b`` for each block ``Y_b (m n, p)`` in one pass, with ``S_b`` a weighted mean over the tasks.

        A block of None stands for the identity. ``weights`` gives ``(tasks, blocks)`` for the tasks' indices; where
        it is 0 the task is not looked at.
        """
        totals, seen = [torch.zeros((), dtype=torch.float64)] * len(blocks), 0
        for a, b in self.pairs():
            weight = weights(torch.arange(seen, seen + len(a))).float() / (2 * self.n_tasks)
            seen += len(a)
            for i, block in enumerate(blocks):
                here = weight[:, i] != 0
                w, p, q = (weight[:, i : i + 1], a, b) if here.all() else (weight[here, i : i + 1], a[here], b[here])
                if block is None:
                    half = p.mT @ (w * q)
                    part = half + half.mT
                else:
                    thin = block.float()
                    part = p.mT @ (w * (q @ thin)) + q.mT @ (w * (p @ thin))
                totals[i] = totals[i] + part.double()
        return totals

    def eigenpairs(
        self, block: Tensor, passes: int, weights: Callable[[Tensor], Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Leading eigenvalues, largest first, and eigenvectors of the moment, float64."""
        weights = weights or (lambda tasks: torch.ones(len(tasks), 1))
        if block.shape[1] == len(block):
            values, vectors = torch.linalg.eigh(self.moments([None], weights)[0])
            return values.flip(0), vectors.flip(1)
        for _ in range(passes):
            basis = torch.linalg.qr(block)[0]
            block = self.moments([basis], weights)[0]
        small = basis.mT @ block
        values, rotation = torch.linalg.eigh((small + small.mT) / 2)
        return values.flip(0), basis @ rotation.flip(1)

    def stability(self, span: Tensor, passes: int, generator: torch.Generator) -> Tensor:
        """Cosines of the directions with the leading spans of every other task, and of the rest; the smaller one."""
        size, k = span.shape
        cosines = []
        for parity in (0, 1):

            def weights(tasks: Tensor, parity: int = parity) -> Tensor:
                return (tasks[:, None] % 2 == parity).double()

            block = _normal(size, size if size <= _DENSE else min(size, k + 8), generator)
            vectors = self.eigenpairs(block, passes, weights)[1][:, :k]
            cosines.append((vectors.mT @ span).norm(dim=0))
        return torch.stack(cosines).amin(0).clamp(max=1.0)

    def null_edge(self, found: Tensor, passes: int, seed: int, generator: torch.Generator) -> float:
        """The largest eigenvalue in size under random signs, outside of the directions found."""
        signs, size = torch.Generator(), len(found)

        def weights(tasks: Tensor) -> Tensor:
            if int(tasks[0]) == 0:  # a new pass: the same signs again
                signs.manual_seed(seed + 1)
            return 2.0 * torch.randint(2, (len(tasks), _REPLICATES), generator=signs) - 1

        if size <= _DENSE:
            rest = torch.eye(size, dtype=torch.float64) - found @ found.mT
            moments = self.moments([None] * _REPLICATES, weights)
            return max(float(torch.linalg.eigvalsh(rest @ moment @ rest).abs().max()) for moment in moments)
        images = [_normal(size, _NULL_WIDTH, generator) for _ in range(_REPLICATES)]
        for _ in range(passes):
            bases = [torch.linalg.qr(image - found @ (found.mT @ image))[0] for image in images]
            images = self.moments(list(bases), weights)
        return max(float(torch.linalg.matrix_norm(b.mT @ i, 2)) for b, i in zip(bases, images, strict=True))


def _above_negative(spectrum: Tensor) -> int:
    """How many eigenvalues stand above the size of the most negative one."""
    return int((spectrum > max(-_EDGE_MARGIN * float(spectrum[-1]), 1e-6 * float(spectrum[0]))).sum())


def _rough_weights(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """``L (tasks, r, m)``, ``Z (tasks, r, n)``, ``R (tasks, r, n)`` with ``Ŵ = Lᵀ R`` and ``P = Zᵀ R``, r small.

    ``Ŵ = Yᵀ (X Xᵀ + ρ)⁻¹ X`` and ``P = Xᵀ (X Xᵀ + ρ)⁻¹ X``. Without ρ, estimates from about as many examples as inputs
    would have no bounded variance. ρ changes ``P``, which is measured, so it adds no bias.
    """
    if x.shape[1] <= x.shape[2]:
        return y, x, _solve(x @ x.mT, x)
    gram = x.mT @ x
    eye = torch.eye(x.shape[2], dtype=x.dtype).expand_as(gram)
    return x.mT @ y, gram, _solve(gram, eye)


def _solve(gram: Tensor, right: Tensor) -> Tensor:
    scale = gram.diagonal(dim1=1, dim2=2).mean(1).clamp_min(torch.finfo(gram.dtype).tiny)
    eye = torch.eye(gram.shape[1], dtype=gram.dtype)
    return torch.cholesky_solve(right, torch.linalg.cholesky(gram + _RIDGE * scale[:, None, None] * eye))


def _inverse(reached: Tensor) -> Tensor:
    """``Q⁻¹``, or an error that names the inputs which never reach a direction."""
    sizes, axes = torch.linalg.eigh((reached + reached.mT) / 2)
    lost = sizes < 1e-8 * sizes[-1]
    if lost.any() or not sizes[-1] > 0:
        where = axes[:, lost].abs().amax(1).argsort(descending=True)[: int(lost.sum())].sort().values
        raise DataError(
            f"the inputs span {int((~lost).sum())} of {len(sizes)} directions only, in all tasks together, so the "
            f"weights on the rest cannot be learned; look at input coordinates {listed(where.tolist())}: some are made "
            "from others, or all tasks have the same few inputs"
        )
    return (axes / sizes) @ axes.mT


def _normal(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    return torch.randn(rows, columns, generator=generator, dtype=torch.float64)
