"""Small task files with a known truth, to try a finder of symmetries on."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from msr.arrays import takes_arrays
from msr.errors import ConfigError
from msr.groups import FiniteGroup
from msr.memory import refuse_if_larger
from msr.representations import Representation, equivariant_basis
from msr.span.angles import orthonormal_basis

__all__ = ["MOST_DRAWN", "Sample", "broken_span", "sample_group", "sample_translation"]


MOST_DRAWN = 4096
"""Most inputs or outputs of a task that the command line draws: the weights of one have as many numbers squared."""


class Sample(NamedTuple):
    """Tasks ``x, y (tasks, examples, ...)`` and each task's weight ``w (tasks, out, in)``."""

    x: Tensor
    y: Tensor
    w: Tensor


@takes_arrays("U")
def broken_span(U: Tensor, breaking: float, generator: torch.Generator) -> Tensor:
    """A span turned out of itself by a known amount: ``‖W − P W‖ = breaking · ‖W‖`` for *every* ``W`` in the result.

    ``P`` projects on the span of ``U (size, k)``, orthonormal columns. Each ``u`` becomes ``√(1 − ε²) u + ε w`` with
    ``w`` orthonormal and orthogonal to all ``u``.
    Raises: ConfigError unless ``0 ≤ breaking ≤ 1`` and the span fills at most half of the space.
    """
    size, k = U.shape
    if not 0 <= breaking <= 1:
        raise ConfigError(f"breaking must lie between 0 and 1; got {breaking}")
    if not 1 <= k <= size // 2:
        raise ConfigError(
            f"equivariant maps fill {k} of {size} dimensions: there is no room to break them all (1 to {size // 2} fit)"
        )
    away = torch.randn(size, k, dtype=torch.float64, generator=generator)
    return (1 - breaking**2) ** 0.5 * U + breaking * orthonormal_basis(away - U @ (U.mT @ away))


def sample_group(
    rep_in: Representation,
    rep_out: Representation,
    *,
    truth: Literal["group", "none", "broken"] = "group",
    breaking: float = 0.3,
    n_tasks: int = 400,
    examples: int = 20,
    noise: float = 0.0,
    seed: int = 0,
) -> Sample:
    """``y = W x + noise`` with ``x ~ N(0, 1)`` and, for each task, a random equivariant ``W`` of mean square output 1.

    ``truth="none"`` takes a random span of the same dimension instead, ``"broken"`` a :func:`broken_span`.
    Raises: ConfigError when only zero is equivariant, or for counts and sizes that cannot be.
    """
    if truth not in ("group", "none", "broken"):
        raise ConfigError(f"the truth is group, none or broken; got {truth!r}")
    group, size = rep_in.group, rep_in.dim * rep_out.dim
    # A group of so many elements has orbits of at most that size, and so a basis of at least so many maps.
    fewest = -(-size // group.order) if isinstance(group, FiniteGroup) else 1
    _refuse_if_larger(size * fewest, (rep_out.dim, rep_in.dim), n_tasks, examples)
    U = equivariant_basis(rep_in, rep_out).orthonormal()
    if U.shape[1] == 0:
        raise ConfigError(
            f"only the zero map is equivariant from {rep_in} to {rep_out}; take representations that share a part"
        )
    generator = _generator(n_tasks, examples, noise, seed)
    if truth == "none" and U.shape[1] == U.shape[0]:
        raise ConfigError("every map is equivariant here: there is none without the symmetry to draw")
    if truth == "none":
        U = orthonormal_basis(torch.randn(U.shape, generator=generator, dtype=torch.float64))
    elif truth == "broken":
        U = broken_span(U, breaking, generator)
    sample = _sample(U, (rep_out.dim, rep_in.dim), n_tasks, examples, noise, generator)
    return Sample(sample.x.unflatten(2, rep_in.shape), sample.y.unflatten(2, rep_out.shape), sample.w)


def sample_translation(
    length: int,
    kernel: int = 3,
    *,
    circular: bool = False,
    n_tasks: int = 400,
    examples: int = 20,
    noise: float = 0.0,
    seed: int = 0,
) -> Sample:
    """Convolutions of a signal, each task with its own kernel: ``y[i] = Σ_t ψ[t] x[i + t]``.

    Circular ones commute with the cyclic group; valid ones, with ``length − kernel + 1`` outputs, only with shifts of
    the interior, which are no group.
    """
    if not 1 <= kernel <= length:
        raise ConfigError(f"a kernel on a signal of length {length} must be 1 to {length} long; got {kernel}")
    outputs = length if circular else length - kernel + 1
    _refuse_if_larger(outputs * length * kernel, (outputs, length), n_tasks, examples)
    U = torch.zeros(outputs, length, kernel, dtype=torch.float64)
    i = torch.arange(outputs)
    for t in range(kernel):
        U[i, (i + t) % length, t] = outputs**-0.5
    generator = _generator(n_tasks, examples, noise, seed)
    return _sample(U.flatten(0, 1), (outputs, length), n_tasks, examples, noise, generator)


def _refuse_if_larger(span: int, shape: tuple[int, int], n_tasks: int, examples: int) -> None:
    """A span of so many numbers, and tasks drawn from it, in float64 and, at the end, in float32 beside that."""
    m, n = shape
    tasks = n_tasks * (m * n + examples * (n + 2 * m))
    refuse_if_larger(8 * span + 12 * tasks, f"{n_tasks} tasks of {examples} examples from {n} to {m} numbers")


def _generator(n_tasks: int, examples: int, noise: float, seed: int) -> torch.Generator:
    for name, count in (("tasks", n_tasks), ("examples", examples)):
        if count < 1:
            raise ConfigError(f"the number of {name} must be at least 1; got {count}")
    if not 0 <= noise < float("inf"):
        raise ConfigError(f"noise must be finite and not negative; got {noise}")
    if not 0 <= seed < 2**63:
        raise ConfigError(f"the seed must lie between 0 and 2^63 - 1; got {seed}")
    return torch.Generator().manual_seed(seed)


def _sample(
    U: Tensor, shape: tuple[int, int], n_tasks: int, examples: int, noise: float, generator: torch.Generator
) -> Sample:
    m, n = shape
    v = torch.randn(n_tasks, U.shape[1], generator=generator, dtype=torch.float64)
    w = (v * (m / U.shape[1]) ** 0.5 @ U.mT).view(n_tasks, m, n)
    x = torch.randn(n_tasks, examples, n, generator=generator, dtype=torch.float64)
    y = x @ w.mT
    y = y + noise * torch.randn(y.shape, generator=generator, dtype=torch.float64)
    return Sample(x.float(), y.float(), w.float())
