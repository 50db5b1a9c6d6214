"""The token-wise network of a block."""

from dataclasses import dataclass

import torch
from torch import Tensor

from msr.arrays import as_tensor, is_wrapped
from msr.brief import Brief
from msr.errors import DataError, NonFiniteError, ShapeError

__all__ = ["Mlp"]


@dataclass(frozen=True, eq=False, repr=False)
class Mlp(Brief):
    """``x ↦ W2 relu(W1 x + b)``, which a block adds to each token's attention; any hidden width.

    Attributes:
        W1: ``(width, d)``.
        W2: ``(d, width)``.
        b: ``(width,)``; none by default.

    Raises: ShapeError for matrices that do not fit; NonFiniteError for a nan or an infinity; DataError for what holds
    no real numbers.
    """

    W1: Tensor
    W2: Tensor
    b: Tensor | None = None

    def __post_init__(self) -> None:
        for name in ("W1", "W2", "b"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, real_tensor(getattr(self, name), f"mlp.{name}"))
        if self.W1.ndim != 2 or self.W2.ndim != 2 or self.W1.shape != self.W2.shape[::-1] or self.W1.numel() == 0:
            raise ShapeError(
                "mlp.W1 must be (width, d) and mlp.W2 (d, width); "
                f"got {tuple(self.W1.shape)} and {tuple(self.W2.shape)}"
            )
        if self.b is not None and self.b.shape != self.W1.shape[:1]:
            raise ShapeError(
                f"mlp.b must be ({len(self.W1)},), one number for each row of W1; got {tuple(self.b.shape)}"
            )

    @property
    def d(self) -> int:
        """The length of a token."""
        return self.W1.shape[1]

    def output(self, tokens: Tensor) -> Tensor:
        """``W2 relu(W1 x + b)`` of each token. Shapes: ``tokens (..., d)``; so is the result."""
        hidden = tokens @ self.W1.mT
        if self.b is not None:
            hidden = hidden + self.b
        return torch.relu(hidden) @ self.W2.mT

    def to(self, device: torch.device, dtype: torch.dtype) -> "Mlp":
        """The same network on another device, in another precision."""
        b = None if self.b is None else self.b.to(device, dtype)
        return Mlp(self.W1.to(device, dtype), self.W2.to(device, dtype), b)


def real_tensor(value: object, name: str, *, finite: bool = True) -> Tensor:
    """A tensor of real numbers; ``name`` is what the caller calls it. Shapes: any.

    Raises: DataError for booleans, complex numbers, and what holds no numbers; NonFiniteError for a nan or, with
    ``finite``, an infinity.
    """
    tensor = as_tensor(value, name)
    if tensor.dtype == torch.bool or tensor.is_complex():
        raise DataError(f"{name} must hold real numbers; got {tensor.dtype}")
    # Under a transform of torch the numbers cannot be read, and are not judged.
    if finite and not is_wrapped(tensor) and not bool(torch.isfinite(tensor).all()):
        place = tuple((~torch.isfinite(tensor)).nonzero()[0].tolist())
        raise NonFiniteError(f"{name} must be finite; {name}{list(place) if place else ''} is {tensor[place].item()}")
    return tensor
