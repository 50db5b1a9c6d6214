"""One sample of tasks with a known truth, drawn at once: what ``msr sample`` writes, to try a finder of symmetries on.

The maps are drawn as in :class:`~msr.tasks.FiniteGroupTasks` and the controls: ``W = U v`` with ``v ~ N(0, 1)`` and
``E‖W‖² = out``. The two are not one function because their numbers come in another order and precision: a family draws
each task from a generator of its own, in torch's default dtype, so that any task can be had without the others; a
sample draws all of its tasks from one generator, in float64, and files that were written so keep their numbers.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from msr.errors import ConfigError
from msr.groups import FiniteGroup
from msr.memory import refuse_if_larger
from msr.representations import Representation, equivariant_basis
from msr.tasks.controls import broken_span, random_span
from msr.tasks.locally_connected import convolution_span

__all__ = ["MOST_DRAWN", "Sample", "sample_group", "sample_translation"]

MOST_DRAWN = 4096
"""Most inputs or outputs of a task that the command line draws. A weight of that many inputs and outputs has 2²⁴
numbers, 128 MiB in float64. Chosen by hand."""


class Sample(NamedTuple):
    """Tasks ``x, y (tasks, examples, ...)`` and each task's weight ``w (tasks, out, in)``, all float32."""

    x: Tensor
    y: Tensor
    w: Tensor


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
    """Tasks ``y = W x + noise`` with ``x ~ N(0, 1)`` and, for each task, a random equivariant ``W``; the expected mean
    square of an output without noise is 1.

    ``truth="none"`` takes a random span of the same dimension instead of the equivariant maps, and ``"broken"`` these
    maps turned out of themselves by ``breaking`` (:func:`~msr.tasks.broken_span`), which is used by it alone. ``noise``
    is the standard deviation of noise on ``y``.

    Shapes: ``x (tasks, examples, *rep_in.shape)``, ``y (tasks, examples, *rep_out.shape)``.
    Raises: ConfigError when only zero is equivariant, or for counts and sizes that cannot be; DataError for a sample
    that does not fit into memory.
    """
    if truth not in ("group", "none", "broken"):
        raise ConfigError(f"the truth is group, none or broken; got {truth!r}")
    group = rep_in.group
    size = rep_in.dim * rep_out.dim
    # An orbit of a group has at most as many points as the group has elements, so a basis holds at least so many maps.
    fewest_maps = -(-size // group.order) if isinstance(group, FiniteGroup) else 1
    _refuse_if_larger(size * fewest_maps, (rep_out.dim, rep_in.dim), n_tasks, examples)
    U = equivariant_basis(rep_in, rep_out).orthonormal()
    if U.shape[1] == 0:
        raise ConfigError(
            f"only the zero map is equivariant from {rep_in} to {rep_out}; take representations that share a part"
        )
    generator = _generator(n_tasks, examples, noise, seed)
    if truth == "none" and U.shape[1] == U.shape[0]:
        raise ConfigError("every map is equivariant here: there is none without the symmetry to draw")
    if truth == "none":
        U = random_span(U.shape[0], U.shape[1], generator)
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
    """Convolutions of a signal, each task with its own kernel: ``y[i] = Σ_t ψ[t] x[i + t]``, plus noise.

    ``length`` is that of the signal, ``kernel`` that of ``ψ``, ``noise`` the standard deviation on ``y``. Circular ones
    commute with the cyclic group. Those that are not, with ``length − kernel + 1`` outputs, commute only with
    shifts of the interior, which are no group.

    Shapes: ``x (tasks, examples, length)``, ``y (tasks, examples, outputs)``.
    Raises: ConfigError for counts and sizes that cannot be; DataError for a sample that does not fit into memory.
    """
    if not 1 <= kernel <= length:
        raise ConfigError(f"a kernel on a signal of length {length} must be 1 to {length} long; got {kernel}")
    outputs = length if circular else length - kernel + 1
    _refuse_if_larger(outputs * length * kernel, (outputs, length), n_tasks, examples)
    generator = _generator(n_tasks, examples, noise, seed)
    U = convolution_span(length, kernel, circular=circular)
    return _sample(U, (outputs, length), n_tasks, examples, noise, generator)


def _refuse_if_larger(span: int, shape: tuple[int, int], n_tasks: int, examples: int) -> None:
    """Raise DataError unless a span of ``span`` numbers, and the tasks drawn from it, fit into memory.

    ``shape``: the numbers of outputs and of inputs of a task. Both are drawn in float64, and at the end the tasks stand
    in float32 beside that: 8 and 12 bytes a number.
    """
    m, n = shape
    tasks = n_tasks * (m * n + examples * (n + 2 * m))
    refuse_if_larger(8 * span + 12 * tasks, f"{n_tasks} tasks of {examples} examples from {n} to {m} numbers")


def _generator(n_tasks: int, examples: int, noise: float, seed: int) -> torch.Generator:
    """A new generator seeded by ``seed``, after a check of all arguments.

    Raises: ConfigError for counts below 1, noise that is negative or not finite, or a seed outside of 0 to 2⁶³ − 1.
    """
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
    """Tasks ``y = W x + noise``, drawn in float64 and returned in float32; ``generator`` is advanced.

    ``W = U v``, with ``x`` and ``v`` standard normal, scaled so that the expected mean square of an output without
    noise is 1. ``noise`` is a standard deviation.

    Shapes: ``U (out · in, k)`` with orthonormal columns, weights flattened by rows; ``shape`` is ``(out, in)``. The
    result: ``x (n_tasks, examples, in)``, ``y (n_tasks, examples, out)``, ``w (n_tasks, out, in)``.
    """
    m, n = shape
    v = torch.randn(n_tasks, U.shape[1], generator=generator, dtype=torch.float64)
    # The factor makes E‖W‖² = m, and so the mean square of an output 1 on standard normal inputs.
    w = (v * (m / U.shape[1]) ** 0.5 @ U.mT).view(n_tasks, m, n)
    x = torch.randn(n_tasks, examples, n, generator=generator, dtype=torch.float64)
    y = x @ w.mT
    y = y + noise * torch.randn(y.shape, generator=generator, dtype=torch.float64)
    return Sample(x.float(), y.float(), w.float())
