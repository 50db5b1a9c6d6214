"""How fast a block can move tokens on the sphere, and the steps that follow from it."""

import math

import torch
from torch import Tensor

from msr.arrays import is_wrapped
from msr.errors import ConfigError
from msr.flow.dynamics.block import Block
from msr.flow.dynamics.steppers import usa_step

__all__ = ["safe_step"]

_STEP = 0.1  # where tokens move with a speed of at most 1 and β is at most 9
_MOST_BETA = 9.0  # the largest β at which steps of 0.1 were found to be accurate, for softmax


def safe_step(block: Block) -> float:
    """The length of a step at which no token of the unit sphere turns by more than about 0.1.

    With ``b = |β| ‖QᵀK‖``, ``v = Σ_h ‖V_h‖ + ‖W2‖ (‖W1‖ + |b|)``, each at least 1, and the largest ``M``:
    ``0.1 / (v max(1, b/9))`` for softmax, and ``0.1 / (v e^M max(√b e^(b − 1/2), 1))`` for ``usa``. It is a rule, and
    no bound on the error.
    Raises: ConfigError under a transform of torch, where the numbers of the block are not known.
    """
    parts = [part for part in (block.beta, block.Q, block.K, block.V, block.bias) if isinstance(part, Tensor)]
    if any(map(is_wrapped, parts)):
        raise ConfigError("under a transform of torch the safe steps are not known; give a number of steps")
    with torch.no_grad():
        speed = _speed(block)
        b = float(torch.as_tensor(block.beta).abs().max()) * _size_of_scores(block)
    if block.kind == "sa":
        return _STEP / max(1.0, speed) / max(1.0, b / _MOST_BETA)
    raised = 0.0 if block.bias is None else max(0.0, float(block.bias.max()))
    return usa_step(b, _STEP) / max(1.0, speed) * math.exp(-raised)


def _speed(block: Block) -> float:
    """The most that the block gives for a token of the unit sphere, with weights that sum to 1."""
    if block.V is None:
        speed = float(block.heads)
    elif block.V.ndim == 2:
        speed = block.heads * float(torch.linalg.matrix_norm(block.V, 2))
    else:
        speed = float(torch.linalg.matrix_norm(block.V, 2).sum())
    if block.mlp is None:
        return speed
    inner = float(torch.linalg.matrix_norm(block.mlp.W1, 2))
    inner += 0.0 if block.mlp.b is None else float(block.mlp.b.norm())
    return speed + float(torch.linalg.matrix_norm(block.mlp.W2, 2)) * inner


def _size_of_scores(block: Block) -> float:
    """``‖QᵀK‖``, of the head where it is largest."""
    if block.Q is None and block.K is None:
        return 1.0
    identity = torch.eye(block.d, dtype=block.dtype)
    Q, K = (identity if matrix is None else matrix.cpu() for matrix in (block.Q, block.K))
    return float(torch.linalg.matrix_norm(Q.mT @ K, 2).max())
