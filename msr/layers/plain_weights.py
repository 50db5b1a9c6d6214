"""Checkpoints of plain layers, loaded into layers that make their weight from a pattern."""

import warnings
from typing import Any

import torch

from msr.sharing import Sharing

__all__ = ["ResidualWarning", "take_plain_weight", "warn_of_residual"]


class ResidualWarning(UserWarning):
    """A sharing pattern could not represent a layer's weight, so the converted network has other outputs."""


def take_plain_weight(
    state: dict[str, Any], weight: str, filter: str, home: str, sharing: Sharing, errors: list[str]
) -> None:
    """Put a filter in the place of a plain ``weight``, in a state that is about to be loaded.

    Args:
        state: the checkpoint, changed in place; one that holds the ``filter`` already, or no plain weight, is left as
            it is.
        weight: key of the plain weight.
        filter: key of the filter that takes its place.
        home: prefix of the pattern's own keys, which a plain checkpoint does not have: they keep their values.
        sharing: the pattern that the weight is projected on.
        errors: the list to which a message is added that stops the loading, as torch has it.
    """
    if weight not in state or filter in state:
        return
    plain = state.pop(weight)
    like = sharing.squared_norm()  # tells the pattern's device and precision
    for key, value in sharing.state_dict(prefix=home).items():
        state.setdefault(key, value)
    if tuple(plain.shape) != sharing.weight_shape:
        errors.append(
            f"{weight} is {tuple(plain.shape)} in the checkpoint, but the pattern makes {sharing.weight_shape}"
        )
        return
    plain = plain.to(device=like.device, dtype=like.dtype)
    with torch.no_grad():
        state[filter] = sharing.project(plain)
        if not like.is_meta:
            warn_of_residual(weight, sharing.residual_at(state[filter], plain), plain.dtype)


def warn_of_residual(name: str, residual: float, dtype: torch.dtype, stacklevel: int = 2) -> None:
    """Give a ResidualWarning where a pattern misses more of a weight than rounding in ``dtype`` explains.

    Args: ``name``: what the message calls the weight; ``residual``: the part that is missed, in units of the weight's
    norm; ``stacklevel``: as of ``warnings.warn``, counted from the calling function.
    """
    # In units of the weight's norm. A projection and its product round a few times; 100 was chosen by hand.
    if residual > 100 * torch.finfo(dtype).eps:
        text = f"{name}: the pattern misses {residual:.2%} of the weight or bias (relative norm)"
        warnings.warn(text, ResidualWarning, stacklevel=stacklevel + 1)
