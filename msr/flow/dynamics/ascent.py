"""For which blocks the flow climbs an energy."""

import torch
from torch import Tensor

from msr.arrays import is_wrapped
from msr.errors import ConfigError
from msr.flow.dynamics.block import Block

__all__ = ["ascent_factor"]


def ascent_factor(block: Block) -> float:
    """The number ``c`` with ``V = c B`` and ``B = QᵀK`` symmetric: the flow climbs the energy of ``B`` if ``c > 0``.

    Equal within rounding, as a product of ``d`` terms has it: 100 ``d`` units in the last place.
    Raises: ConfigError where there is none, or several heads, a network, or a bias that is not symmetric.
    """
    if block.heads > 1 or block.mlp is not None:
        raise ConfigError("the energy is defined for one head and no network; this flow is no gradient flow of it")
    if any(part is not None and is_wrapped(part) for part in (block.Q, block.K, block.V, block.bias)):
        raise ConfigError("the energy looks at the numbers of Q, K, V and bias; transform another argument")
    Q, K, V = (block.dense(name).detach().cpu() for name in ("Q", "K", "V"))
    B = Q.mT @ K
    near = 100 * block.d * torch.finfo(block.dtype).eps
    if float((B - B.mT).norm()) > near * float(Q.norm() * K.norm()):
        raise ConfigError("the energy is defined for a symmetric B = QᵀK; this one is not symmetric")
    c = float((V * B).sum() / B.square().sum()) if bool(B.any()) else 0.0
    if c == 0 or float((V - c * B).norm()) > near * float(V.norm()):
        raise ConfigError("the energy is defined for V = c QᵀK with a number c that is not 0, such as all identity")
    if block.bias is not None and not _symmetric(block.bias.detach(), near):
        raise ConfigError("the energy is defined for a symmetric bias; this one is not (a causal one never is)")
    return c


def _symmetric(bias: Tensor, near: float) -> bool:
    """Whether a bias is symmetric within rounding, and hides both tokens of a pair from each other, or none."""
    hidden = torch.isneginf(bias)
    if not torch.equal(hidden, hidden.mT):
        return False
    sizes = bias.masked_fill(hidden, 0.0)
    return float((sizes - sizes.mT).abs().max()) <= near * float(sizes.abs().max())
