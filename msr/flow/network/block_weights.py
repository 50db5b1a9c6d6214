"""The weights of a real transformer block, what the block gives for tokens, and the flow that has these weights."""

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from msr.arrays import takes_arrays
from msr.brief import Brief
from msr.errors import ConfigError, ShapeError
from msr.flow.arguments import finite_number
from msr.flow.dynamics.attention_flow import AttentionFlow
from msr.flow.dynamics.mlp import Mlp, real_tensor
from msr.flow.dynamics.motion import Step
from msr.flow.dynamics.sphere import on_sphere
from msr.flow.network.parts import FeedForward, TokenNorm

__all__ = ["BlockWeights", "Part", "Placement"]

Placement = Literal["post", "pre", "none"]
"""Where the norms are: after each sum, before attention and before the network, or nowhere."""
Part = Literal["both", "attention", "feedforward"]


@dataclass(frozen=True, eq=False, repr=False)
class BlockWeights(Brief):
    """A real block: ``x + Σ_h V_h Σ_j w^h_ij x_j + c``, a token-wise network, and norms.

    The weights are a softmax of ``β ⟨Q_h x_i + q_h, K_h x_j⟩``. Of torch's own weights ``Q_h`` and ``K_h`` are rows of
    the projections, ``V_h = W_O,h W_V,h`` holds the projection of the output, and ``c = W_O b_V + b_O``, since weights
    sum to 1. A bias of the keys adds the same to all scores of a row, which a softmax does not see, so that nothing is
    lost without it. All tensors are float64 on the CPU.

    Attributes:
        Q, K: ``(heads, k, d)``.
        V: ``(heads, d, d)``.
        query_bias: ``q``, ``(heads, k)``; none where None.
        constant: ``c``, ``(d,)``; none where None.
        feedforward: the network; none where None.
        placement: ``post``: ``LN(x + attention(x))``, as the first transformers; ``pre``: ``x + attention(LN(x))``;
            ``none``: no norm.
        attention_norm, feedforward_norm: the norm of each half; None without norms.
        beta: by default ``1/√k``.
        name: what the block is called in tables.
        unread: entries of a file beside these weights that were not read.

    Raises: ShapeError for matrices that do not fit; ConfigError for a placement without its norms; NonFiniteError and
    DataError for what holds no finite real numbers.
    """

    Q: Tensor
    K: Tensor
    V: Tensor
    query_bias: Tensor | None = None
    constant: Tensor | None = None
    feedforward: FeedForward | None = None
    placement: Placement = "none"
    attention_norm: TokenNorm | None = None
    feedforward_norm: TokenNorm | None = None
    beta: float | None = None
    name: str = ""
    unread: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("Q", "K", "V", "query_bias", "constant"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, real_tensor(getattr(self, name), name).detach().cpu().double())
        if self.Q.ndim != 3 or self.Q.numel() == 0 or self.K.shape != self.Q.shape:
            raise ShapeError(f"Q and K must be (heads, k, d); got {tuple(self.Q.shape)} and {tuple(self.K.shape)}")
        heads, k, d = self.Q.shape
        wanted = {"V": (heads, d, d), "query_bias": (heads, k), "constant": (d,)}
        for name, shape in wanted.items():
            part = getattr(self, name)
            if part is not None and part.shape != shape:
                raise ShapeError(f"{name} must be {shape}, as Q is {tuple(self.Q.shape)}; got {tuple(part.shape)}")
        if self.feedforward is not None and self.feedforward.d != d:
            raise ShapeError(f"feedforward is for tokens of {self.feedforward.d} numbers, and Q for {d}")
        self._check_norms()
        beta = 1 / math.sqrt(k) if self.beta is None else finite_number(self.beta, "beta")
        object.__setattr__(self, "beta", beta)

    @property
    def heads(self) -> int:
        """How many heads there are."""
        return self.Q.shape[0]

    @property
    def d(self) -> int:
        """The length of a token."""
        return self.Q.shape[2]

    @property
    def centred(self) -> bool:
        """Whether the norm takes the mean of a token's numbers out."""
        return self.attention_norm is not None and self.attention_norm.centred

    @takes_arrays("X", "bias")
    def layer(self, X: Tensor, bias: Tensor | None = None) -> Tensor:
        """What the block gives for tokens, with all of its parts: the same as torch's layer.

        Shapes: ``X (..., n, d)``, ``bias (n, n)``, which is added to the scores; the result is as ``X``. In float64.
        """
        X = real_tensor(X, "X").double()
        if X.ndim < 2 or X.shape[-1] != self.d:
            raise ShapeError(f"X must be tokens (..., n, {self.d}); got {tuple(X.shape)}")
        norm, other = self.attention_norm, self.feedforward_norm
        X = X + self._attended(norm.output(X) if norm is not None and self.placement == "pre" else X, bias)
        X = norm.output(X) if norm is not None and self.placement == "post" else X
        if self.feedforward is None:
            return X
        X = X + self.feedforward.output(other.output(X) if other is not None and self.placement == "pre" else X)
        return other.output(X) if other is not None and self.placement == "post" else X

    @takes_arrays("X")
    def tokens(self, X: Tensor) -> Tensor:
        """The tokens of the flow that stand for those of the block.

        Without a norm they are the same. With ``pre`` the mean of each is taken out, unless the norm is RMSNorm, and
        they are divided by ``√d``; with ``post`` they are brought to norm 1 as well.
        Shapes: ``X (..., n, d)``; so is the result, float64. Raises: DataError for a token without a direction.
        """
        X = real_tensor(X, "X").double()
        if self.attention_norm is None:
            return X
        X = self.attention_norm.seen(X) / math.sqrt(self.d)
        return on_sphere(X) if self.placement == "post" else X

    @takes_arrays("bias")
    def flow(self, part: Part = "both", *, step: Step = "rk4", bias: Tensor | None = None) -> AttentionFlow:
        """The flow of the block's own weights, of :meth:`tokens`; a layer is a time of 1.

        A layer is one ``step="layer"`` of length 1 of the attention, and another of the network. That is exact where
        :attr:`dropped` is empty but for the order of both: with ``pre``, whatever gain and shift are (they become a
        part of the matrices), with ``post``, where they are 1 and 0, each with an ε of 0, and without a norm.
        The constant and the biases of the network are units of :class:`~msr.flow.Mlp`.

        Args:
            part: the attention, the network, or both at once.
            step: the stepper of the flow.
            bias: ``(n, n)``, such as :func:`~msr.flow.causal_bias`.

        Raises: ConfigError for the part of a network that is not there, or has another activation than relu.
        """
        if part not in ("both", "attention", "feedforward"):
            raise ConfigError(f"part must be both, attention or feedforward; got {part!r}")
        units = self._constant_units() if part != "feedforward" else []
        if part == "feedforward" or (part == "both" and self._has_relu):
            units += self._network_units()
        mlp = None
        if units:
            rows, offsets, columns = zip(*units, strict=True)
            mlp = Mlp(torch.cat(rows), torch.cat(columns, 1), torch.cat(offsets))
        if part == "feedforward":
            nothing = torch.zeros(self.d, self.d, dtype=torch.float64)
            return AttentionFlow(self.d, 0.0, V=nothing, mlp=mlp, norm=self.placement, step=step)
        Q, K, V = self._matrices()
        return AttentionFlow(
            self.d, self._flow_beta(), Q, K, V, bias=bias, mlp=mlp, norm=self.placement, step=step
        )  # fmt: skip

    @takes_arrays("bias")
    def ideal(self, *, step: Step = "rk4", bias: Tensor | None = None) -> AttentionFlow:
        """The flow of theory with the block's own scores: ``V`` is the identity, over all heads, without a network.

        Shapes: ``bias (n, n)``. A layer is a time of 1 as in :meth:`flow`.
        """
        Q, K, _ = self._matrices()
        V = torch.eye(self.d, dtype=torch.float64) / self.heads
        return AttentionFlow(self.d, self._flow_beta(), Q, K, V, bias=bias, norm=self.placement, step=step)

    @takes_arrays("bias")
    def lifted(self, *, step: Step = "layer", bias: Tensor | None = None) -> AttentionFlow:
        """The flow of the attention without a norm, with all biases, of tokens ``(x, 1)`` of ``d + 1`` numbers.

        The last number is 1 and stays so; ``Q`` has the queries' bias as a last column, and ``V`` the constant.
        Shapes: ``bias (n, n)``. Raises: ConfigError for a block with a norm, which a further number would take part in.
        """
        if self.placement != "none":
            raise ConfigError(f"a block is lifted without a norm alone; this one has placement={self.placement!r}")
        heads, k, d = self.Q.shape
        q = self.Q.new_zeros(heads, k) if self.query_bias is None else self.query_bias
        V = self.Q.new_zeros(heads, d + 1, d + 1)
        V[:, :d, :d] = self.V
        if self.constant is not None:
            V[:, :d, d] = self.constant / heads
        Q = torch.cat([self.Q, q[..., None]], -1)
        K = torch.cat([self.K, self.K.new_zeros(heads, k, 1)], -1)
        return AttentionFlow(d + 1, self._scale, Q, K, V, bias=bias, norm="none", step=step)

    @property
    def dropped(self) -> tuple[str, ...]:
        """What :meth:`flow` does not have of the block, in sentences, with sizes."""
        says = []
        Q, _, _ = self._matrices()
        q = self._whole_query_bias()
        if q is not None and bool(q.any()):
            share = float(q.norm() / Q.norm())
            where = ", which lifted() has" if self.placement == "none" else ""
            says.append(f"the bias of queries, {share:.1%} of the queries of tokens of norm √d{where}")
        if self.placement == "post":
            says += [
                f"{name} of the {half} norm, up to {size:.2g} off {usual}"
                for half, norm in (("attention's", self.attention_norm), ("network's", self.feedforward_norm))
                if norm is not None
                for name, usual, values in (("the gain", 1, norm.gain), ("the shift", 0, norm.shift))
                if values is not None and (size := float((values - usual).abs().max())) > 0
            ]
        if self.feedforward is not None:
            if self._has_relu:
                says.append("the order of attention and network: one after the other in a layer, at once in the flow")
            else:
                says.append(f"the network, whose activation is {self.feedforward.activation}: the flow has relu")
        norms = [norm for norm in (self.attention_norm, self.feedforward_norm) if norm is not None]
        if any(norm.eps for norm in norms):
            says.append(f"the ε of the norms, {max(norm.eps for norm in norms):.0e} beside the variance of a token")
        if self.unread:
            says.append(f"entries that were not read: {', '.join(self.unread[:8])}{', …' * (len(self.unread) > 8)}")
        return tuple(says)

    def drawn_like(self, generator: torch.Generator) -> "BlockWeights":
        """A block of the same shapes with normal random weights of the same sizes (Frobenius norms): a control.

        ``V_h`` are products of two random matrices, of rank ``k`` at most. The norms stay as they are.
        """

        def draw(values: Tensor | None) -> Tensor | None:
            if values is None:
                return None
            drawn = torch.randn(values.shape, generator=generator, dtype=torch.float64)
            return drawn * (values.norm() / drawn.norm())

        heads, k, d = self.Q.shape
        outer = torch.randn(heads, d, k, generator=generator, dtype=torch.float64)
        V = outer @ torch.randn(heads, k, d, generator=generator, dtype=torch.float64)
        network = self.feedforward
        if network is not None:
            parts = {name: draw(getattr(network, name)) for name in ("W1", "W2", "b1", "b2")}
            network = replace(network, **parts)  # type: ignore[arg-type]
        attention = {name: draw(getattr(self, name)) for name in ("Q", "K", "query_bias", "constant")}
        return replace(
            self, **attention, V=V * (self.V.norm() / V.norm()), feedforward=network, unread=()  # type: ignore[arg-type]
        )  # fmt: skip

    def _attended(self, seen: Tensor, bias: Tensor | None) -> Tensor:
        """What attention adds to the tokens, of what it sees of them, ``(..., n, d)``."""
        points = seen[..., None, :, :]
        queries = points @ self.Q.mT
        queries = queries if self.query_bias is None else queries + self.query_bias[:, None]
        scores = self._scale * queries @ (points @ self.K.mT).mT
        scores = scores if bias is None else scores + bias
        result = (torch.softmax(scores, -1) @ points @ self.V.mT).sum(-3)
        return result if self.constant is None else result + self.constant

    @property
    def _scale(self) -> float:
        """β of the block, which is a number once the block is made."""
        assert self.beta is not None
        return self.beta

    @property
    def _has_relu(self) -> bool:
        """Whether there is a network that the flow can have."""
        return self.feedforward is not None and self.feedforward.activation == "relu"

    def _flow_beta(self) -> float:
        """β between tokens of the flow: those of a norm are ``√d`` times smaller."""
        return self._scale * (1 if self.placement == "none" else self.d)

    def _projected(self, outputs: Tensor) -> Tensor:
        """Outputs ``(d, ...)`` without what a later norm takes out of them."""
        return outputs - outputs.mean(-2, keepdim=True) if self.centred else outputs

    def _matrices(self) -> tuple[Tensor, Tensor, Tensor]:
        """Q, K and V of the flow."""
        gain = self.attention_norm.gain if self.attention_norm is not None and self.placement == "pre" else None
        Q, K, V = (M if gain is None else M * gain for M in (self.Q, self.K, self.V))
        return Q, K, self._projected(V)

    def _whole_query_bias(self) -> Tensor | None:
        """The bias of queries, with what the shift of a norm before attention adds to it."""
        shift = self.attention_norm.shift if self.attention_norm is not None and self.placement == "pre" else None
        if shift is None:
            return self.query_bias
        return self.Q @ shift + (0 if self.query_bias is None else self.query_bias)

    def _constant_units(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """A unit of the flow's network that gives attention's constant to every token; none without one."""
        constant = self.Q.new_zeros(self.d) if self.constant is None else self.constant
        norm = self.attention_norm
        if norm is not None and norm.shift is not None and self.placement == "pre":
            constant = constant + self.V.sum(0) @ norm.shift
        return self._unit(constant)

    def _network_units(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """The units of the block's network, and one for its last bias. Raises: ConfigError where there are none."""
        network, norm = self.feedforward, self.feedforward_norm
        if network is None:
            raise ConfigError("this block has no network; take part='attention'")
        if not self._has_relu:
            raise ConfigError(f"the flow has relu networks; this one has {network.activation}: take part='attention'")
        W1 = network.W1
        b1 = W1.new_zeros(len(W1)) if network.b1 is None else network.b1
        if norm is not None and self.placement == "pre":
            b1 = b1 if norm.shift is None else b1 + W1 @ norm.shift
            W1 = W1 if norm.gain is None else W1 * norm.gain
        unit = 1.0 if self.placement == "none" else math.sqrt(self.d)
        units = [(unit * W1, b1, self._projected(network.W2) / unit)]
        return units if network.b2 is None else units + self._unit(network.b2)

    def _unit(self, constant: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
        """A unit ``relu(0 · x + 1)`` with a constant as its output weight: rows of W1, b, columns of W2."""
        if not bool(constant.any()):
            return []
        size = 1.0 if self.placement == "none" else math.sqrt(self.d)
        return [(constant.new_zeros(1, self.d), constant.new_ones(1), self._projected(constant[:, None]) / size)]

    def _check_norms(self) -> None:
        """Raise ConfigError or ShapeError unless there are the norms that the placement needs."""
        if self.placement not in ("post", "pre", "none"):
            raise ConfigError(f"placement must be post, pre or none; got {self.placement!r}")
        halves = {"attention_norm": True, "feedforward_norm": self.feedforward is not None}
        for name, present in halves.items():
            norm = getattr(self, name)
            needed = present and self.placement != "none"
            if needed != (norm is not None):
                raise ConfigError(
                    f"placement={self.placement!r} {'needs' if needed else 'has no'} {name}"
                    f"{' without a network' if not present and self.placement != 'none' else ''}"
                )
            for part in () if norm is None else (norm.gain, norm.shift):
                if part is not None and len(part) != self.d:
                    raise ShapeError(f"{name} is for tokens of {len(part)} numbers, and Q for {self.d}")
        if self.feedforward_norm is not None and self.feedforward_norm.centred != self.centred:
            raise ConfigError("one norm takes means out and the other does not; the flow needs two norms of one kind")
