"""How the learned numbers of a pattern start."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from msr.errors import ConfigError

__all__ = ["Init", "check_init", "orthogonal_"]

Init = Literal["scaled", "reference"]
_INITS = ("scaled", "reference")


def check_init(init: str) -> None:
    """Raise ConfigError for a start that no pattern knows."""
    if init not in _INITS:
        raise ConfigError(f"init must be one of {', '.join(_INITS)}; got {init!r}")


def orthogonal_(matrix: Float[Tensor, "n k"], gain: float, generator: torch.Generator | None) -> None:
    """Fill a matrix, in place, with random orthogonal columns of length ``gain``; on the meta device, nothing is done.

    With fewer rows than columns, the rows are orthogonal, and of that length. Half precisions go through float32, since
    torch has no QR decomposition for them.
    """
    if matrix.is_meta:
        return
    lifted = matrix.float() if matrix.dtype in (torch.float16, torch.bfloat16) else matrix
    nn.init.orthogonal_(lifted, gain=gain, generator=generator)
    matrix.copy_(lifted)
