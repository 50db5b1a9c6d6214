"""The parts of a real block beside its attention: the norm before or after it, and its token-wise network."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from msr.brief import Brief
from msr.errors import ConfigError, ShapeError
from msr.flow.dynamics.mlp import real_tensor

__all__ = ["ACTIVATIONS", "FeedForward", "TokenNorm", "activation_name"]

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "silu": F.silu,
    "tanh": torch.tanh,
}
"""Activations of token-wise networks. The flow has relu alone; all of them can be followed."""


def activation_name(activation: object) -> str | None:
    """The key of an activation in :data:`ACTIVATIONS`, of a function or a module of torch; None for any other."""
    if isinstance(activation, nn.GELU):
        return "gelu" if activation.approximate == "none" else "gelu_tanh"
    kinds: list[tuple[type, str]] = [(nn.ReLU, "relu"), (nn.SiLU, "silu"), (nn.Tanh, "tanh")]
    for kind, name in kinds:
        if isinstance(activation, kind):
            return name
    functions = {F.relu: "relu", torch.relu: "relu", F.gelu: "gelu", F.silu: "silu", torch.tanh: "tanh"}
    return next((name for function, name in functions.items() if activation is function), None)


@dataclass(frozen=True, eq=False, repr=False)
class TokenNorm(Brief):
    """A norm of each token: ``gain ⊙ (x − mean(x)) / √(variance + ε) + shift``; without a mean it is RMSNorm.

    Attributes:
        gain, shift: ``(d,)`` float64; none where None.
        eps: ε.
        centred: whether the mean of a token's numbers is taken out (LayerNorm), or is not (RMSNorm).

    Raises: ShapeError; NonFiniteError; DataError; ConfigError for an ε below 0.
    """

    gain: Tensor | None = None
    shift: Tensor | None = None
    eps: float = 1e-5
    centred: bool = True

    def __post_init__(self) -> None:
        for name in ("gain", "shift"):
            _put(self, name, 1)
        if self.gain is not None and self.shift is not None and self.gain.shape != self.shift.shape:
            raise ShapeError(f"gain has {len(self.gain)} numbers, and shift {len(self.shift)}; they must have as many")
        if not self.eps >= 0:
            raise ConfigError(f"the eps of a norm must be at least 0; got {self.eps}")

    def seen(self, X: Tensor) -> Tensor:
        """The tokens without their means, or as they are for RMSNorm. Shapes: ``X (..., d)``; so is the result."""
        return X - X.mean(-1, keepdim=True) if self.centred else X

    def output(self, X: Tensor) -> Tensor:
        """The tokens after the norm. Shapes: ``X (..., d)``; so is the result."""
        centred = self.seen(X)
        result = centred / (centred.square().mean(-1, keepdim=True) + self.eps).sqrt()
        result = result if self.gain is None else result * self.gain
        return result if self.shift is None else result + self.shift


@dataclass(frozen=True, eq=False, repr=False)
class FeedForward(Brief):
    """``W2 σ(W1 x + b1) + b2`` of each token.

    Attributes:
        W1: ``(width, d)`` float64.
        W2: ``(d, width)``.
        b1, b2: ``(width,)`` and ``(d,)``; none where None.
        activation: σ, a key of :data:`ACTIVATIONS`.

    Raises: ShapeError; NonFiniteError; DataError; ConfigError for another activation.
    """

    W1: Tensor
    W2: Tensor
    b1: Tensor | None = None
    b2: Tensor | None = None
    activation: str = "relu"

    def __post_init__(self) -> None:
        for name, axes in (("W1", 2), ("W2", 2), ("b1", 1), ("b2", 1)):
            _put(self, name, axes)
        if self.W1.shape != self.W2.shape[::-1]:
            raise ShapeError(
                f"W1 must be (width, d) and W2 (d, width); got {tuple(self.W1.shape)} and {tuple(self.W2.shape)}"
            )
        for name, W in (("b1", self.W1), ("b2", self.W2)):
            b = getattr(self, name)
            if b is not None and len(b) != len(W):
                raise ShapeError(f"{name} must be ({len(W)},); got {tuple(b.shape)}")
        if self.activation not in ACTIVATIONS:
            raise ConfigError(f"the activation must be one of {', '.join(ACTIVATIONS)}; got {self.activation!r}")

    @property
    def d(self) -> int:
        """The length of a token."""
        return self.W1.shape[1]

    def output(self, X: Tensor) -> Tensor:
        """What the network gives for each token. Shapes: ``X (..., d)``; so is the result."""
        hidden = X @ self.W1.mT
        hidden = hidden if self.b1 is None else hidden + self.b1
        result = ACTIVATIONS[self.activation](hidden) @ self.W2.mT
        return result if self.b2 is None else result + self.b2


def _put(value: object, name: str, axes: int) -> None:
    """Make a field a float64 tensor without history, on the CPU. Raises: ShapeError for another number of axes."""
    given = getattr(value, name)
    if given is None:
        return
    tensor = real_tensor(given, name).detach().cpu().double()
    if tensor.ndim != axes or tensor.numel() == 0:
        raise ShapeError(f"{name} must have {axes} axes, and not be empty; got {tuple(tensor.shape)}")
    object.__setattr__(value, name, tensor)
