"""A start of the shared span without iterations over filters: the second moment of many rough task estimates."""

from collections.abc import Callable
from dataclasses import dataclass
from math import nan

import torch
from torch import Tensor

from msr.errors import ConfigError
from msr.span.chunks import Chunks
from msr.span.rough_weights import RoughPairs
from msr.span.standardised import Standardised
from msr.span.thresholds import THRESHOLDS

__all__ = ["SecondMoment", "SpectralStart", "spectral_start"]


@dataclass(frozen=True, eq=False)
class SpectralStart:
    """The second moment ``S = E[vec W vec Wᵀ]`` of the tasks' weights, as two rough estimates of each task show it.

    Inputs are first divided by their root mean square over all tasks, one by one, and outputs as a whole, so numbers do
    not depend on units; ``basis`` is for inputs and outputs in the units of the data.

    Attributes:
        basis: ``(m n, p)``, float64, orthonormal columns. The first ``j`` span what the first ``j`` eigenvectors that
            the sketch found span, brought to the units of the data; they are no eigenvectors themselves.
        k: the recommended dimension: how many eigenvalues lie above ``edge``, but never more than ``max_k``, where
            that was given. It may be 0.
        spectrum: eigenvalues of the estimate, largest first (those that the sketch found). Negative ones are noise,
            since ``S`` has none.
        edge: the largest eigenvalue that noise or rounding explains: 1.1 times the larger of ``null`` and the size of
            the most negative eigenvalue, and at least a millionth of the largest eigenvalue.
        null: parallel analysis: the largest eigenvalue in size when the products of the two estimates get random
            signs and the directions of the signal are projected out; the largest of 5 replicates. nan without
            ``evidence``.
        gap: the ratio ``spectrum[k − 1] / max(spectrum[k], edge)``; 0 when ``k`` is 0.
        stability: for each of the leading directions, as many as were asked for or else ``max(k, 1)``, the cosine of
            that direction of their span with the span of as many dimensions that half of the tasks give, the smaller
            one of both halves; 1 is stable. nan where it was skipped.
        n_tasks: how many tasks there are.
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
        """A start of ``U``: the leading ``k`` directions of ``basis``, by default the recommended number (at least 1).

        Shapes: ``(m n, k)``. Raises: ConfigError for more directions than the sketch holds, or none.
        """
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
    stability: bool = True,
    seed: int = 0,
) -> SpectralStart:
    """Estimate the span of ``U`` in ``vec(W_i) = U v_i`` from examples ``y = W_i x + noise`` of many tasks.

    Each task's examples are split in two. Each half gives a rough estimate, close to the one of least norm,
    ``Ŵ = Yᵀ (X Xᵀ + ρ)⁻¹ X``, which shrinks ``W`` to the part ``W P`` that its inputs span. The mean of ``P`` over the
    tasks is measured for each half, ``Q_a`` and ``Q_b``, and the noise of the two halves is independent, so

        S = (I ⊗ Q_a⁻¹) E[vec Ŵ_a vec Ŵ_bᵀ] (I ⊗ Q_b⁻¹)

    has no bias from few examples or from noise of any kind, where the inputs of every half are drawn afresh,
    independently of ``W``. (With the same inputs in all tasks, a fixed grid for example, it is biased.) Its leading
    eigenspace is found by block power iteration: ``passes`` passes over the chunks, memory of one chunk's rough weights
    and a thin block (of a full matrix for up to 300 weights), and of all rough weights while they take under 16 MiB.

    Args:
        k: how many directions are wanted, where that is known; otherwise the sketch grows as long as it finds more
            directions. The ``k`` of the result is recommended by the spectrum in either case.
        max_k: the largest dimension looked for.
        evidence: false skips ``null`` and ``stability`` (they are nan), which saves half of the work.
        stability: false skips ``stability`` alone.
        seed: of the random sketch and of the random signs.

    Raises: DataError for tasks with a single example, outputs that are all zero, chunks that change between passes, or
    inputs that leave out a direction; ConfigError for a ``k`` that cannot be; ShapeError and NonFiniteError for chunks
    that cannot be used.
    Source: parallel analysis by random signs: Hong, Sheng and Dobriban, arXiv:2012.02985; sketch: Halko, Martinsson
    and Tropp, arXiv:0909.4061.
    """
    t = THRESHOLDS()
    second = SecondMoment(chunks)
    size = second.m * second.n
    for name, value in (("k", k), ("max_k", max_k)):
        if value is not None and not 1 <= value <= size:
            raise ConfigError(f"{name} must be between 1 and the {size} numbers of a weight; got {value}")
    if passes < 1:
        raise ConfigError(f"passes must be at least 1; got {passes}")
    generator = torch.Generator().manual_seed(seed)
    width = size if size <= t.dense_weights else min(size, (k or t.sketch_guess) + t.sketch_surplus)
    spectrum, vectors = second.eigenpairs(_normal(size, width, generator), passes)
    # A sketch of which most is signal may have missed some. It grows, unless its size was given.
    signal = _above_negative(spectrum)
    while width < size and k is None and signal > int(t.sketch_signal * width):
        if max_k is not None and signal >= max_k:
            break
        # By one at least: a factor of 1 would repeat the same sketch for ever.
        width = min(size, max(t.sketch_growth * width, width + 1))
        fresh = _normal(size, width - vectors.shape[1], generator)
        spectrum, vectors = second.eigenpairs(torch.cat([vectors, fresh], 1), passes)
        signal = _above_negative(spectrum)
    signal = min(signal, max_k or size)
    null = second.null_edge(vectors[:, :signal], passes, seed, generator) if evidence else nan
    # S has no negative eigenvalue, so the most negative one of its estimate shows the size of the noise, even without
    # the draws of parallel analysis.
    edge = max(t.edge_margin * max(null if evidence else 0.0, -float(spectrum[-1])), t.least_edge * float(spectrum[0]))
    recommended = min(int((spectrum > edge).sum()), max_k or size)
    leading = vectors[:, : k or max(recommended, 1)]
    following = float(spectrum[recommended]) if recommended < len(spectrum) else 0.0
    return SpectralStart(
        basis=torch.linalg.qr(second.tasks.weights(vectors))[0],
        k=recommended,
        spectrum=spectrum,
        edge=edge,
        null=null,
        gap=float(spectrum[recommended - 1]) / max(following, edge) if recommended else 0.0,
        stability=(
            second.stability(leading, passes, generator)
            if evidence and stability
            else torch.full((leading.shape[1],), nan)
        ),
        n_tasks=second.n_tasks,
    )


class SecondMoment:
    """``S = E[vec W vec Wᵀ]`` as pairs of rough weights show it, seen through products with thin blocks.

    Shapes: ``S (m n, m n)``; it is only formed where it is small.
    """

    def __init__(self, chunks: Chunks | Standardised):
        rough = RoughPairs(chunks)
        self.tasks = rough.tasks
        self.m = rough.tasks.m
        self.n = rough.tasks.n
        self.n_tasks = rough.tasks.n_tasks
        self._pairs = rough.pairs

    def products(self, blocks: list[Tensor | None], weights: Callable[[Tensor], Tensor]) -> list[Tensor]:
        """``S_b Y_b (m n, p)`` for each block ``Y_b (m n, p)``, all in one pass over the tasks.

        ``S_b`` is the estimate of ``S`` with each task weighted, divided by the number of *all* tasks. A block of None
        stands for the identity. ``weights`` gives ``(tasks, blocks)`` for tensors of the tasks' indices; where a weight
        is 0 the task is not looked at.
        """
        totals = [torch.zeros((), dtype=torch.float64)] * len(blocks)
        n_before = 0
        for a, b in self._pairs():
            # Divided by 2, since each task adds a bᵀ and its transpose: the estimate is symmetric.
            weight = weights(torch.arange(n_before, n_before + len(a))).float() / (2 * self.n_tasks)
            n_before += len(a)
            for i, block in enumerate(blocks):
                counts = weight[:, i] != 0
                w, p, q = (
                    (weight[:, i : i + 1], a, b) if counts.all() else (weight[counts, i : i + 1], a[counts], b[counts])
                )
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
        """Leading eigenvalues, largest first, and eigenvectors ``(m n, p)``, float64, by block power iteration.

        ``block (m n, p)`` is the start; a square one asks for all eigenpairs of the full matrix, in one pass.
        ``weights`` gives ``(tasks, 1)`` for tensors of the tasks' indices; by default they are 1.
        """
        weights = weights or (lambda tasks: torch.ones(len(tasks), 1))
        if block.shape[1] == len(block):
            values, vectors = torch.linalg.eigh(self.products([None], weights)[0])
            return values.flip(0), vectors.flip(1)
        for _ in range(passes):
            basis = torch.linalg.qr(block)[0]
            block = self.products([basis], weights)[0]
        # Rayleigh-Ritz: the eigenpairs of S within the block.
        small = basis.mT @ block
        values, rotation = torch.linalg.eigh((small + small.mT) / 2)
        return values.flip(0), basis @ rotation.flip(1)

    def stability(self, span: Tensor, passes: int, generator: torch.Generator) -> Tensor:
        """The cosine ``(k,)`` of each direction of ``span (m n, k)`` with the leading span of half of the tasks.

        That span has ``k`` dimensions too. The halves are the tasks of even and of odd index; the smaller of both
        cosines is given.
        """
        t = THRESHOLDS()
        size, k = span.shape
        cosines = []
        for parity in (0, 1):

            def weights(tasks: Tensor, parity: int = parity) -> Tensor:
                """1 for the tasks of the half that is looked at, 0 for all others, ``(tasks, 1)``."""
                return (tasks[:, None] % 2 == parity).double()

            width = size if size <= t.dense_weights else min(size, k + t.stability_surplus)
            block = _normal(size, width, generator)
            vectors = self.eigenpairs(block, passes, weights)[1][:, :k]
            cosines.append((vectors.mT @ span).norm(dim=0))
        return torch.stack(cosines).amin(0).clamp(max=1.0)

    def null_edge(self, signal: Tensor, passes: int, seed: int, generator: torch.Generator) -> float:
        """The largest absolute eigenvalue of ``S`` under random signs of the tasks, outside of ``signal (m n, p)``.

        It is the largest of a few draws of signs (``null_replicates``). ``signal`` has orthonormal columns, or none.

        Random signs leave the noise of the products as it is, and take the mean of the signal away; what varies of the
        signal is projected out. This is parallel analysis.
        """
        t = THRESHOLDS()
        signs = torch.Generator()
        size = len(signal)

        def weights(tasks: Tensor) -> Tensor:
            """Random signs ``(tasks, replicates)``, the same for a task in every pass."""
            if int(tasks[0]) == 0:  # a new pass begins, which must see the signs of the pass before
                signs.manual_seed(seed + 1)
            return 2.0 * torch.randint(2, (len(tasks), t.null_replicates), generator=signs) - 1

        if size <= t.dense_weights:
            # The projection off the signal directions, since random signs do not remove how the signal varies over
            # tasks.
            rest = torch.eye(size, dtype=torch.float64) - signal @ signal.mT
            moments = self.products([None] * t.null_replicates, weights)
            return max(float(torch.linalg.eigvalsh(rest @ moment @ rest).abs().max()) for moment in moments)
        images = [_normal(size, t.null_width, generator) for _ in range(t.null_replicates)]
        for _ in range(passes):
            bases = [torch.linalg.qr(image - signal @ (signal.mT @ image))[0] for image in images]
            images = self.products(list(bases), weights)
        return max(float(torch.linalg.matrix_norm(b.mT @ i, 2)) for b, i in zip(bases, images, strict=True))


def _above_negative(spectrum: Tensor) -> int:
    """How many eigenvalues stand above the size of the most negative one, which can only be noise, by a margin.

    ``spectrum`` holds the eigenvalues, largest first; those that are rounding beside the largest do not count.
    """
    t = THRESHOLDS()
    return int((spectrum > max(-t.edge_margin * float(spectrum[-1]), t.least_edge * float(spectrum[0]))).sum())


def _normal(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """Independent standard normal numbers ``(rows, columns)``, float64."""
    return torch.randn(rows, columns, generator=generator, dtype=torch.float64)
