"""An attention block: its matrices, bias and network, checked, and what it gives for tokens."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from msr.arrays import is_wrapped
from msr.errors import ConfigError, DataError, NonFiniteError, ShapeError
from msr.flow.dynamics.attention import BLOCK, Kind, Scores, fused_applies, means
from msr.flow.dynamics.mlp import Mlp, real_tensor

__all__ = ["Block"]


@dataclass(frozen=True, eq=False)
class Block:
    """Heads, summed, and the network of one block; :class:`~msr.flow.AttentionFlow` says what the fields are.

    Matrices are kept as tensors of ``dtype``, or None for the identity; ``beta`` as a float or a tensor, ``bias`` as
    ``(batch or 1, heads or 1, n, n)`` and ``heads`` as a number.
    Raises: ShapeError, ConfigError, DataError and NonFiniteError for parts that do not fit or are no finite numbers.
    """

    d: int
    beta: Any = 1.0
    Q: Any = None
    K: Any = None
    V: Any = None
    bias: Any = None
    mlp: Mlp | None = None
    heads: Any = None
    kind: Kind = "sa"
    dtype: torch.dtype = torch.float64
    block: int = BLOCK
    fused: bool | None = None

    def __post_init__(self) -> None:
        put = partial(object.__setattr__, self)
        put("beta", self._checked_beta())
        for name in ("Q", "K", "V"):
            put(name, self._matrices(name))
        put("heads", self._counted_heads())
        if self.bias is not None:
            put("bias", self._checked_bias())
        if self.mlp is not None:
            if not isinstance(self.mlp, Mlp):
                raise ConfigError(f"mlp must be an Mlp(W1, W2, b); got a {type(self.mlp).__name__}")
            if self.mlp.d != self.d:
                raise ShapeError(f"mlp is for tokens of {self.mlp.d} numbers, and d is {self.d}")
            put("mlp", self.mlp.to(self.mlp.W1.device, self.dtype))

    def on(self, device: torch.device) -> "Block":
        """The same block with all its parts on a device."""
        names = ("beta", "Q", "K", "V", "bias")
        parts = {name: getattr(self, name) for name in names}
        moved: dict[str, Any] = {
            name: part.to(device) for name, part in parts.items() if isinstance(part, Tensor) and part.device != device
        }
        if self.mlp is not None and self.mlp.W1.device != device:
            moved["mlp"] = self.mlp.to(device, self.dtype)
        return replace(self, **moved) if moved else self

    def refuse_sizes(self, batch: int, n: int) -> None:
        """Raise ShapeError where β or the bias is for another batch, or another number of tokens."""
        if isinstance(self.beta, Tensor) and self.beta.ndim and len(self.beta) != batch:
            raise ShapeError(f"beta has {len(self.beta)} numbers, one for each element of a batch; X has {batch}")
        if self.bias is not None and (self.bias.shape[-1] != n or len(self.bias) not in (1, batch)):
            raise ShapeError(
                f"bias is of {self.bias.shape[-1]} tokens and {len(self.bias)} elements of a batch; X has {n} and "
                f"{batch}"
            )

    def scores(self, points: Tensor) -> Scores:
        """The scores between points ``(batch, n, d)``."""
        alone = points[:, None]
        queries = alone if self.Q is None else alone @ self.Q.mT
        keys = alone if self.K is None else alone @ self.K.mT
        beta = self.beta if isinstance(self.beta, float) else self.beta.reshape(-1, 1, 1, 1)
        return Scores(beta * queries, keys, self.bias)

    def means(self, points: Tensor, values: Tensor) -> Tensor:
        """``Σ_j w_ij y_j`` with the weights between points, ``(batch, heads or 1, n, d)``; ``y (batch, n, d)``.

        Raises: ConfigError where torch's fused attention was asked for, and does not apply.
        """
        scores = self.scores(points)
        if self.fused and not fused_applies(scores, values, self.kind):
            raise ConfigError(
                "torch's fused attention does not apply: it is for the CPU, biases without -inf that need no gradient, "
                "and no function transforms; leave fused out"
            )
        return means(scores, values[:, None], self.kind, block=self.block, fused=self.fused)

    def output(self, points: Tensor) -> Tensor:
        """``A``: what the block gives at points ``(batch, n, d)``; of the same shape."""
        by_head = self.means(points, points)
        # Where a factor is the same for all heads, it comes once: sums are taken before products.
        count = by_head.shape[1]
        if self.V is None or self.V.ndim == 2:
            total = by_head[:, 0] if count == 1 else by_head.sum(1)
            total = total if count == self.heads else total * self.heads
            total = total if self.V is None else total @ self.V.mT
        elif count == 1:
            total = by_head[:, 0] @ self.V.sum(0).mT
        else:
            total = (by_head @ self.V.mT).sum(1)
        return total if self.mlp is None else total + self.mlp.output(points)

    def dense(self, name: str) -> Tensor:
        """Q, K or V of a single head as a matrix ``(k, d)``, also where it is the identity."""
        matrix = getattr(self, name)
        if matrix is None:
            return torch.eye(self.d, dtype=self.dtype)
        return matrix[0] if matrix.ndim == 3 else matrix

    def _checked_beta(self) -> float | Tensor:
        """β as a float, or as a tensor ``()`` or ``(batch,)``. Raises: DataError, NonFiniteError, ShapeError."""
        beta = real_tensor(self.beta, "beta")
        if beta.ndim > 1 or beta.numel() == 0:
            raise ShapeError(f"beta must be a number, or one for each element of a batch; got {tuple(beta.shape)}")
        if not isinstance(self.beta, Tensor) and beta.ndim == 0:
            return float(beta)
        return beta.to(self.dtype)

    def _matrices(self, name: str) -> Tensor | None:
        """Q, K or V as they are kept. Raises: ShapeError, DataError, NonFiniteError."""
        if getattr(self, name) is None:
            return None
        matrix = real_tensor(getattr(self, name), name)
        allowed = "(d, d) or (heads, d, d)" if name == "V" else "(k, d) or (heads, k, d)"
        square = name != "V" or matrix.shape[-2:-1] == (self.d,)
        if matrix.ndim not in (2, 3) or matrix.shape[-1] != self.d or not square or matrix.numel() == 0:
            raise ShapeError(f"{name} must be {allowed} with d = {self.d}; got {tuple(matrix.shape)}")
        return matrix.to(self.dtype)

    def _counted_heads(self) -> int:
        """The number of heads, on which all that have such an axis agree. Raises: ShapeError, ConfigError."""
        counts = {name: len(m) for name in ("Q", "K", "V") if (m := getattr(self, name)) is not None and m.ndim == 3}
        heads = max(counts.values(), default=1) if self.heads is None else self.heads
        if not isinstance(heads, int) or isinstance(heads, bool) or heads < 1:
            raise ConfigError(f"heads must be a whole number above 0; got {heads!r}")
        for name, count in counts.items():
            if count != heads:
                raise ShapeError(f"{name} has {count} heads, and {heads} are needed, as many as the others or as heads")
        widths = {name: self.d if (m := getattr(self, name)) is None else m.shape[-2] for name in ("Q", "K")}
        if widths["Q"] != widths["K"]:
            raise ShapeError(f"Q and K must have as many rows as each other; got {widths['Q']} and {widths['K']}")
        return heads

    def _checked_bias(self) -> Tensor:
        """The bias as ``(batch or 1, heads or 1, n, n)``. Raises: ShapeError, DataError, NonFiniteError."""
        bias = real_tensor(self.bias, "bias", finite=False)
        if bias.ndim not in (2, 3, 4) or bias.shape[-1] != bias.shape[-2] or bias.numel() == 0:
            raise ShapeError(f"bias must be (n, n), (batch, n, n) or (batch, heads, n, n); got {tuple(bias.shape)}")
        if bias.ndim < 4:
            bias = bias.reshape(-1, 1, *bias.shape[-2:])
        if bias.shape[1] not in (1, self.heads):
            raise ShapeError(f"bias has {bias.shape[1]} heads; it needs 1, or the flow's {self.heads}")
        if not is_wrapped(bias):
            wrong = torch.isnan(bias) | torch.isposinf(bias)
            if bool(wrong.any()):
                place = wrong.nonzero()[0].tolist()
                number = bias[tuple(place)].item()
                raise NonFiniteError(f"bias must be finite or -inf; the entry {place[-2:]} is {number}")
            blind = torch.isneginf(bias).all(-1)
            if bool(blind.any()):
                raise DataError(
                    f"bias hides every token from token {int(blind.nonzero()[0, -1])}: its row is all -inf; let it see "
                    "itself"
                )
        return bias.to(self.dtype)
