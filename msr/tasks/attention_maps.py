"""What attention tasks compute: flows of many tasks side by side, and the matrices of their linear surrogate."""

from typing import NamedTuple

import torch
from torch import Tensor

from msr.flow.dynamics.block import Block
from msr.flow.dynamics.motion import Motion
from msr.flow.dynamics.steppers import Interval, State, rk4, walk
from msr.kron import kron
from msr.permutations import Indices
from msr.span.angles import orthonormal_basis
from msr.tasks.feature_menu import HiddenFeatures

__all__ = ["FlowNumbers", "expm_span", "expm_weights", "flow_labels"]

_AT_ONCE = 2**19
"""Scores in memory at once, some 4 MB, a few times: more is slower, as it leaves the cache. Chosen by hand."""


class FlowNumbers(NamedTuple):
    """What is a task's own: ``bias (tasks, n, n)``, and ``beta``, ``v`` and ``T``, ``(tasks,)`` each; float64."""

    bias: Tensor
    beta: Tensor
    v: Tensor
    T: Tensor


def flow_labels(numbers: FlowNumbers, features: HiddenFeatures, X: Tensor, steps: int) -> Tensor:
    """Where the flow of each task takes its tokens in its time, in ``steps`` steps of order 4.

    It is what :class:`~msr.flow.AttentionFlow` gives task by task. All tasks move at once: times of different lengths
    are one time of length 1, in which each task has its own speed.

    Shapes: ``X (tasks, examples, n, d)`` of norm 1; so is the result. In float64.
    """
    tasks, examples, n, d = X.shape
    rows = max(1, _AT_ONCE // (n * n))
    result = []
    # The index of each example's task: a chunk may hold a part of a task, or several.
    owners = torch.arange(tasks).repeat_interleave(examples)
    for some, points in zip(owners.split(rows), X.reshape(-1, n, d).split(rows), strict=True):
        result.append(_walked(numbers, features, some, points, steps))
    return torch.cat(result).reshape(X.shape)


def _walked(numbers: FlowNumbers, features: HiddenFeatures, some: Tensor, points: Tensor, steps: int) -> Tensor:
    """The tokens ``(batch, n, d)`` at the end, where ``some (batch,)`` is the task of each element."""
    block = Block(points.shape[-1], numbers.beta[some], K=features.B, V=features.V, bias=numbers.bias[some])
    motion = Motion(block, "post")
    v = numbers.v[some, None, None]
    T = numbers.T[some, None, None]

    def rate(state: State, t: float) -> State:
        (velocity,) = motion.rate(state, t, late=False)
        velocity = v * velocity
        if features.mlp is not None:
            output = features.mlp.output(state[0])
            velocity = velocity + output - (state[0] * output).sum(-1, keepdim=True) * state[0]
        return (T * velocity,)

    def settle(state: State) -> State:
        return (state[0] / torch.linalg.vector_norm(state[0], dim=-1, keepdim=True),)

    return walk(settle((points,)), Interval(0.0, 1.0, steps), rk4(rate, settle), lambda state, t: None)[0]


def expm_weights(bias: Tensor, time: Tensor, V: Tensor | None) -> Tensor:
    """``expm(t softmax(M) ⊗ V)`` of each task, or ``expm(t softmax(M))`` without ``V``.

    Shapes: ``bias (tasks, n, n)``, ``time (tasks,)``, ``V (d, d)``; the result is ``(tasks, n · d, n · d)``, or
    ``(tasks, n, n)``.
    """
    A = torch.softmax(bias, -1)
    moved = A if V is None else torch.stack([kron(a, V) for a in A])
    return torch.linalg.matrix_exp(time[:, None, None] * moved)


def expm_span(labels: Indices, V: Tensor | None, d: int) -> Tensor:
    """The span of ``expm(t A ⊗ V)`` over all ``t`` and all row-stochastic ``A`` that are constant on orbitals.

    It is spanned by ``I ⊗ I`` and ``A ⊗ V^k`` for ``k ≥ 1``, and such ``A`` by all matrices that are constant on
    orbitals and whose rows have one sum.

    Shapes: ``labels (n, n)``, the numbers of orbitals; ``V (d, d)``, the identity where None; the result is
    ``(n² d², k)`` float64, with orthonormal columns.
    """
    n = len(labels)
    count = int(labels.max()) + 1
    indicators = torch.nn.functional.one_hot(torch.from_numpy(labels), count).permute(2, 0, 1).double()
    sums = indicators.sum(2).mT  # (n, count): the sum of row i of each indicator
    # Coefficients whose row sums are all equal: the null space of the differences of rows.
    _, sizes, right = torch.linalg.svd(sums - sums[:1], full_matrices=True)
    rank = int((sizes > 1e-9).sum())
    rows = torch.einsum("ck,kij->cij", right[rank:], indicators)
    eye = torch.eye(d, dtype=torch.float64)
    powers = [eye]
    if V is not None:
        powers = [torch.linalg.matrix_power(V / torch.linalg.matrix_norm(V, 2), k) for k in range(1, d + 1)]
    maps = [kron(row.contiguous(), power) for row in rows for power in powers]
    maps.append(kron(torch.eye(n, dtype=torch.float64), eye))
    return orthonormal_basis(torch.stack([W.flatten() for W in maps], 1))
