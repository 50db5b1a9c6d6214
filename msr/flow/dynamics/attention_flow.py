"""The attention flow: tokens that move as the layers of a transformer move them, in continuous time."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from msr.arrays import is_wrapped, takes_arrays
from msr.brief import Brief
from msr.errors import ConfigError, NonFiniteError, ShapeError
from msr.flow.arguments import token_count
from msr.flow.dynamics.ascent import ascent_factor
from msr.flow.dynamics.attention import BLOCK, Kind, log_partition, weights
from msr.flow.dynamics.block import Block
from msr.flow.dynamics.mlp import Mlp, real_tensor
from msr.flow.dynamics.motion import Motion, Step, Unprojected
from msr.flow.dynamics.normalisation import GROWING, NORMS, ON_SPHERE, Norm
from msr.flow.dynamics.pace import safe_step
from msr.flow.dynamics.sphere import refuse_off_sphere, refuse_zero
from msr.flow.dynamics.steppers import Advance, Interval, State, walk
from msr.memory import refuse_if_larger

__all__ = ["AttentionFlow"]

_MOST_STEPS = 10**7  # of "safe" steps: hours, where a few were expected


@dataclass(frozen=True, eq=False, repr=False)
class AttentionFlow(Brief):
    """Self-attention as a flow of ``n`` tokens ``x_i`` in ``R^d``: the velocities of all, and where they are at ``T``.

    What the block gives for a token, at the directions ``θ`` of all (with ``norm="none"``, at the tokens themselves):

        A_i = Σ_h V_h Σ_j w^h_ij θ_j + W2 relu(W1 θ_i + b),   w^h_i = softmax_j(β⟨Q_h θ_i, K_h θ_j⟩ + M_ij)

    and ``w_ij = exp(β⟨Qθ_i, Kθ_j⟩ + M_ij) / n`` with ``kind="usa"``. The tokens then move by ``x' = A`` (``none``), by
    ``x' = A − ⟨x, A⟩ x`` on the unit sphere (``post``), or as :mod:`msr.flow.dynamics.normalisation` says.

    Every method takes ``X`` as ``(n, d)`` or ``(batch, n, d)``. Elements of a batch do not see each other. Tokens are
    brought to ``dtype``, and the flow's parameters to their device. Everything has a gradient in ``X``, ``Q``, ``K``,
    ``V``, ``β``, the bias and the network. The state of ``pre``, ``mix``, ``peri`` and ``sqrt`` is the direction and
    the radius of each token, and both are in ``X``: ``x = r θ``, so tokens of norm 1 begin with the radius 1, and
    :func:`~msr.flow.on_sphere` reads the directions off the result. ``post`` and ``ngpt`` take tokens whose norms are
    1 to four digits, and go on from ``x / |x|``.

    Attributes:
        d: the length of a token.
        beta: the inverse temperature, of either sign: a number, or a tensor of one for each element of the batch.
        Q: ``(k, d)``, or ``(heads, k, d)`` (a list of matrices serves too); the identity by default.
        K: of the same shape as ``Q``.
        V: ``(d, d)`` or ``(heads, d, d)``; the identity by default.
        bias: ``M``, added to the scores and not multiplied by β: ``(n, n)``, ``(batch, n, n)``, or
            ``(batch or 1, heads, n, n)``. -inf hides a token from another one.
        mlp: the network of the block; none by default.
        heads: how many, whose outputs are summed; by default as many as Q, K, V have, and 1 if they have no such axis.
        kind: ``sa``, softmax, or ``usa``, exponentials that are not normalised.
        norm: ``post``, ``pre``, ``mix``, ``peri``, ``ngpt``, ``sqrt`` or ``none``.
        step: ``rk4``, order 4. ``proj_euler``, the Euler step of directions and radii. ``layer``, what a layer does:
            ``x + h (r/s) A``, brought back to its radius where the radius is constant; order 1 as well. ``unproj_rk4``,
            order 4 for ``z_i = e^(−tV) x_i`` of softmax without a norm, one head and no network, whose tokens would
            else grow out of the accuracy. ``adaptive``, steps of torchdiffeq, chosen by ``tolerance``.
        tau: when ``mix`` turns from ``post`` to ``pre``; for ``mix`` alone, which needs it.
        dtype: ``torch.float64`` or ``torch.float32``, in which everything is computed.
        tolerance: of adaptive steps: the error of each, relative to numbers above 1; by default 1e-10, and 1e-5 in
            single precision.
        block: how many scores are in memory at once, about (:func:`msr.flow.dynamics.attention.means`).
        fused: whether torch's fused attention computes softmax. By default where it applies and the scores are more
            than a block; it has no second derivatives, so ``False`` is for those.

    Raises: ConfigError for an option with no meaning, or a pair of options; ShapeError for matrices that do not fit;
    NonFiniteError and DataError for what holds no finite real numbers, or a token that the bias hides all others from.
    Source: Geshkovski, Letrouit, Polyanskiy, Rigollet, "The emergence of clusters in self-attention dynamics" and "A
    mathematical perspective on transformers", 2023.
    """

    d: int
    beta: float | Tensor = 1.0
    Q: Any = None
    K: Any = None
    V: Any = None
    bias: Any = None
    mlp: Mlp | None = None
    heads: int | None = None
    kind: Kind = "sa"
    norm: Norm = "post"
    step: Step = "rk4"
    tau: float | None = None
    dtype: torch.dtype = torch.float64
    tolerance: float | None = None
    block: int = BLOCK
    fused: bool | None = None

    def __post_init__(self) -> None:
        self._check_options()
        # The block checks its parts; the fields become what it keeps of them.
        block = self._made()
        for name in ("beta", "Q", "K", "V", "bias", "mlp", "heads"):
            object.__setattr__(self, name, getattr(block, name))
        self._check_pairs(block)

    @takes_arrays("X")
    def velocity(self, X: Tensor, t: float = 0.0) -> Tensor:
        """``dX/dt``; the time ``t`` matters for ``mix`` and ``sqrt`` alone.

        Shapes: ``X (n, d)`` or ``(batch, n, d)``; so is the result.
        Raises: ShapeError, DataError and NonFiniteError for what are no tokens of this flow; NonFiniteError where
        exponentials overflow, or an output that is to be divided by its norm is 0.
        """
        t = _time(t, "t")
        motion, tokens = self._at(X)
        result = motion.velocity(motion.state(tokens), t)
        self._refuse_overflow(result, f"the velocity at t = {t:g}")
        return result.reshape(X.shape)

    @takes_arrays("X")
    def slowness(self, X: Tensor, t: float = 0.0) -> Tensor:
        """``s_i`` of the norm: directions move by ``θ_i' = P_θ A_i / s_i``; it is 1 for ``post``.

        Shapes: ``X (..., n, d)``; the result is ``(..., n)``.
        Raises: ConfigError for ``norm="none"``; else as :meth:`velocity`.
        """
        if self.norm == "none":
            raise ConfigError("norm='none' divides no directions by a speed")
        t = _time(t, "t")
        motion, tokens = self._at(X)
        return motion.slowness(motion.state(tokens), t).reshape(X.shape[:-1])

    @takes_arrays("X")
    def flow(
        self,
        X: Tensor,
        T: float,
        steps: int | Literal["safe"] = "safe",
        path: bool = False,
        start: float = 0.0,
    ) -> Tensor:
        """The tokens after the time ``T``, or at all ``steps + 1`` times from ``start`` to ``start + T``.

        Args:
            X: the tokens at ``start``.
            T: at least 0. To go backwards, turn the signs of ``V`` and ``W2`` where ``norm`` is ``none`` or ``post``.
            steps: how many equal ones; of adaptive steps, into how many parts the time is cut, each of which has as
                many as it needs. ``safe`` takes :meth:`safe_steps`.
            path: whether all times are returned.
            start: the time at ``X``, which matters for ``mix`` and ``sqrt`` alone.

        Shapes: ``X (n, d)`` or ``(batch, n, d)``; the result is the same, with the axis ``steps + 1`` before it for a
        path.
        Raises: as :meth:`velocity`; ConfigError for a time or a number of steps that is none; NonFiniteError, with the
        time, where the tokens leave the finite numbers; DataError where a path does not fit into memory;
        MissingExtraError and PrecisionError for adaptive steps that are not installed, or get too small.
        """
        motion, tokens = self._at(X)
        interval = self._interval(tokens, T, steps, start)
        if self.step == "unproj_rk4":
            grown = Unprojected(motion.block, tokens.device)
            # Nothing depends on the time but the factor that is taken out, which is 1 at the beginning.
            interval = replace(interval, start=0.0)
            return _walked((tokens,), interval, grown.advance(), lambda z, t: grown.tokens(z[0], t), path, X.shape)
        advance = motion.advance(self.step, self._tolerance())
        return _walked(motion.state(tokens), interval, advance, lambda now, _: motion.tokens(now), path, X.shape)

    @takes_arrays("X")
    def rescaled(self, X: Tensor, T: float, steps: int, path: bool = False) -> Tensor:
        """``z_i(T) = e^(−TV) x_i(T)``: what stays bounded of tokens without a norm, by ``step="unproj_rk4"``.

        Shapes: as :meth:`flow`. Raises: ConfigError for another stepper; else as :meth:`flow`.
        """
        if self.step != "unproj_rk4":
            raise ConfigError(f"rescaled tokens are those of step='unproj_rk4'; this flow has step={self.step!r}")
        motion, tokens = self._at(X)
        interval = self._interval(tokens, T, steps, 0.0)
        advance = Unprojected(motion.block, tokens.device).advance()
        return _walked((tokens,), interval, advance, lambda z, _: z[0], path, X.shape)

    @takes_arrays("X")
    def attention(self, X: Tensor) -> Tensor:
        """The weights ``w_ij``: rows of softmax, which sum to 1; for ``usa``, ``exp(score) / n``.

        Shapes: ``X (..., n, d)``; the result is ``(..., n, n)``, and ``(..., heads, n, n)`` where there are several
        heads.
        Raises: as :meth:`velocity`; DataError where the weights do not fit into memory.
        """
        motion, tokens = self._at(X)
        batch, n, _ = tokens.shape
        size = tokens.element_size() * batch * motion.block.heads * n * n
        refuse_if_larger(3 * size, "all attention weights at once", advice="give fewer tokens, or a smaller batch")
        result = weights(motion.block.scores(motion.state(tokens)[0]).rows(slice(None), slice(None)), self.kind)
        self._refuse_overflow(result, "the attention weights")
        return _by_head(result, motion.block.heads, X)

    @takes_arrays("X")
    def log_partition(self, X: Tensor) -> Tensor:
        """``log Z_i`` of :meth:`partition`, which is finite for any β.

        Shapes: ``X (..., n, d)``; the result is ``(..., n)``, and ``(..., heads, n)`` where there are several heads.
        Raises: as :meth:`velocity`.
        """
        motion, tokens = self._at(X)
        result = log_partition(motion.block.scores(motion.state(tokens)[0]), self.block)
        self._refuse_overflow(result, "the logarithm of the partition")
        return _by_head(result, motion.block.heads, X)

    @takes_arrays("X")
    def partition(self, X: Tensor) -> Tensor:
        """``Z_i = Σ_j exp(β⟨Q x_i, K x_j⟩ + M_ij)``, of directions where there is a norm.

        Shapes: as :meth:`log_partition`: ``(..., n)`` for ``X (..., n, d)``.
        Raises: as :meth:`velocity`; NonFiniteError where it overflows.
        """
        result = self.log_partition(X).exp()
        self._refuse_overflow(result, "the partition, whose logarithm log_partition gives")
        return result

    @takes_arrays("X")
    def energy(self, X: Tensor) -> Tensor:
        """``E = (1/2βn²) Σ_ij exp(β⟨x_i, B x_j⟩ + M_ij)``, which the flow climbs, or falls if ``V`` is ``−B``.

        It is defined where the theory has it, ``V = c B`` with ``B = QᵀK`` symmetric, ``M`` symmetric, one head and no
        network: then ``x_i' = c n P_x ∂E/∂x_i`` for ``usa``. ``x`` are the directions where there is a norm.

        Shapes: ``X (n, d)`` gives a scalar, ``(batch, n, d)`` gives ``(batch,)``.
        Raises: ConfigError where the energy is not defined; NonFiniteError where it overflows; else as
        :meth:`velocity`.
        """
        self.ascent()
        beta = torch.as_tensor(self.beta, dtype=self.dtype)
        if not is_wrapped(beta) and bool((beta == 0).any()):
            raise ConfigError(
                "the energy is divided by beta, which is 0; what climbs there is |mean of the tokens|²/2, the limit of "
                "E − 1/(2 beta)"
            )
        total = self.log_partition(X).logsumexp(-1)
        # One β in an axis of its own, as of a batch of one, makes no axis for tokens without a batch.
        beta = (beta if X.ndim == 3 else beta.reshape(())).to(total.device)
        result = total.exp() / (2 * beta * X.shape[-2] ** 2)
        self._refuse_overflow(result, "the energy")
        return result

    def ascent(self) -> float:
        """The number ``c`` with ``V = c QᵀK``, where :meth:`energy` is defined: above 0 where the flow climbs it.

        Raises: ConfigError where it is not defined, which says why.
        """
        return ascent_factor(self._block)

    def safe_steps(self, T: float, radius: float = 1.0) -> int:
        """The number of equal steps of a time ``T`` at which no token turns by more than about 0.1 in each.

        They are 0.1 long for softmax with β at most 9 and identity matrices, and shorter as
        :func:`msr.flow.dynamics.pace.safe_step` says. Where the speed is divided by the radius, ``radius`` is the least
        one. Adaptive steps are one part. It is a rule, and no bound on the error: radii that shrink, outputs near 0
        that are divided by their norm, and the shape of a network can ask for more.

        Raises: ConfigError for ``norm="none"``, whose speed has no bound, and where there would be more than ten
        million steps.
        """
        T = _time(T, "T")
        if self.step == "adaptive" or T == 0:
            return 1
        if self.norm == "none":
            raise ConfigError("norm='none' has no bound on its speed; give a number of steps")
        length = safe_step(self._block) * min(1.0, radius)
        if length == 0 or T / length > _MOST_STEPS:
            raise ConfigError(
                f"steps='safe' would be {length:.3g} long and more than {_MOST_STEPS:,}; give a number of steps, a "
                "smaller beta, kind='sa' or step='adaptive'"
            )
        # A whole number of steps that rounding made a little larger stays what it is.
        return max(1, math.ceil(T / length * (1 - 1e-12)))

    @functools.cached_property
    def _block(self) -> Block:
        """What gives the tokens their velocities."""
        return self._made()

    def _made(self) -> Block:
        """The block of the fields as they are."""
        return Block(
            self.d, self.beta, self.Q, self.K, self.V, self.bias, self.mlp, self.heads, self.kind, self.dtype,
            self.block, self.fused,
        )  # fmt: skip

    def _check_options(self) -> None:
        """Raise ConfigError for an option that has no meaning by itself."""
        object.__setattr__(self, "d", token_count(self.d, "d"))
        for name, allowed in (("kind", get_args(Kind)), ("norm", NORMS), ("step", get_args(Step))):
            if getattr(self, name) not in allowed:
                raise ConfigError(f"{name} must be one of {', '.join(allowed)}; got {getattr(self, name)!r}")
        if self.dtype not in (torch.float64, torch.float32):
            raise ConfigError(f"dtype must be torch.float64 or torch.float32; got {self.dtype}")
        if not isinstance(self.block, int) or self.block < 1:
            raise ConfigError(f"block must be a whole number of scores above 0; got {self.block!r}")
        if self.fused not in (None, True, False):
            raise ConfigError(f"fused must be None, True or False; got {self.fused!r}")
        for name in ("tolerance", "tau"):
            if isinstance(getattr(self, name), (bool, str, bytes)):
                raise ConfigError(f"{name} must be a number; got {getattr(self, name)!r}")
        least = 10 * torch.finfo(self.dtype).eps
        if self.tolerance is not None and not least <= self.tolerance < 1:
            raise ConfigError(f"tolerance must be from {least:.1g} to 1 in {self.dtype}; got {self.tolerance}")

    def _check_pairs(self, block: Block) -> None:
        """Raise ConfigError for options that mean nothing together."""
        if self.norm == "mix":
            if self.tau is None or not self.tau >= 0:
                raise ConfigError(f"norm='mix' needs tau, the time at which post turns to pre; got {self.tau}")
        elif self.tau is not None:
            raise ConfigError(f"tau is of norm='mix' alone; got it with norm={self.norm!r}")
        if self.norm == "none" and self.step == "proj_euler":
            raise ConfigError("step='proj_euler' projects to the sphere, and norm='none' has none; take step='layer'")
        if self.step == "unproj_rk4":
            if self.norm != "none":
                raise ConfigError(f"step='unproj_rk4' is of norm='none' alone; got norm={self.norm!r}")
            if self.kind != "sa" or self.mlp is not None or block.heads > 1:
                raise ConfigError(
                    "step='unproj_rk4' takes e^(−tV) out of softmax attention of one head; it has no form for "
                    "kind='usa', several heads or an mlp: take step='rk4'"
                )
        if self.fused and self.kind == "usa":
            raise ConfigError("torch's fused attention is softmax; kind='usa' has none: leave fused out")

    def _at(self, X: Tensor) -> tuple[Motion, Tensor]:
        """The motion on the device of some tokens, and these as ``(batch, n, d)`` in the flow's precision.

        Raises: ShapeError, DataError and NonFiniteError for what are no tokens of this flow.
        """
        # The shape first, which says more than a number.
        if X.ndim not in (2, 3) or X.shape[-1] != self.d or X.numel() == 0:
            raise ShapeError(
                f"X must be tokens (n, d) or (batch, n, d) with d = {self.d}, and not empty; got {tuple(X.shape)}"
            )
        given = real_tensor(X, "X").to(self.dtype)
        tokens = given if X.ndim == 3 else given[None]
        self._block.refuse_sizes(*tokens.shape[:2])
        if not is_wrapped(tokens):
            if not bool(torch.isfinite(tokens).all()):
                raise NonFiniteError(f"X is too large for {self.dtype}")
            if self.norm in ON_SPHERE:
                refuse_off_sphere(given, self.norm)
            elif self.norm in GROWING:
                refuse_zero(torch.linalg.vector_norm(given, dim=-1, keepdim=True), "X")
        return Motion(self._block.on(tokens.device), self.norm, self.tau), tokens

    def _interval(self, tokens: Tensor, T: float, steps: int | str, start: float) -> Interval:
        """The time span in steps, cut where ``mix`` turns. Raises: ConfigError."""
        T = _time(T, "T")
        start = _time(start, "start")
        if steps == "safe":
            growing = self.norm in GROWING and not is_wrapped(tokens)
            radius = float(torch.linalg.vector_norm(tokens.detach(), dim=-1).min()) if growing else 1.0
            count = self.safe_steps(T, radius)
        else:
            count = token_count(steps, "steps, unless 'safe',")
        return Interval(start, T, count, () if self.tau is None else (self.tau,))

    def _tolerance(self) -> float:
        """The tolerance of adaptive steps, which depends on the precision where none was given."""
        if self.tolerance is not None:
            return self.tolerance
        return 1e-10 if self.dtype == torch.float64 else 1e-5

    def _refuse_overflow(self, result: Tensor, what: str) -> None:
        """Raise NonFiniteError for a result that is not finite."""
        if is_wrapped(result) or bool(torch.isfinite(result).all()):
            return
        largest = math.log(torch.finfo(self.dtype).max)
        raise NonFiniteError(
            f"not finite: {what}. Exponentials of scores above {largest:.0f} overflow in {self.dtype} (kind is "
            f"{self.kind}, and beta is up to {float(torch.as_tensor(self.beta).max()):g}), and peri and ngpt divide by "
            f"an output that may be 0 (norm is {self.norm})"
        )


def _by_head(result: Tensor, heads: int, X: Tensor) -> Tensor:
    """``(batch, heads or 1, …)`` without the axis of one head, and without the batch that X has not."""
    result = result[:, 0] if heads == 1 else result.expand(-1, heads, *result.shape[2:])
    return result if X.ndim == 3 else result[0]


def _walked(
    state: State,
    interval: Interval,
    advance: Advance,
    shown: Callable[[State, float], Tensor],
    path: bool,
    shape: torch.Size,
) -> Tensor:
    """The tokens at the end of a walk, or at its beginning and after each step, in the shape that was given."""
    still = interval.length == 0
    if not path:
        state = state if still else walk(state, interval, advance, lambda now, t: None)
        return shown(state, interval.start + interval.length).reshape(shape)
    size = state[0].element_size() * state[0].numel() * (interval.steps + 1)
    refuse_if_larger(2.0 * size, "the path of all tokens", advice="take fewer steps, or path=False")
    kept = [shown(state, interval.start)]
    if still:
        kept *= interval.steps + 1
    else:
        walk(state, interval, advance, lambda now, t: kept.append(shown(now, t)))
    return torch.stack(kept).reshape(interval.steps + 1, *shape)


def _time(value: float, name: str) -> float:
    """A time as a float. Raises: ConfigError unless it is a finite number from 0 on."""
    try:
        number = math.nan if isinstance(value, (bool, str)) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or number < 0:
        backwards = " (the flow of −V and −W2 runs backwards)" if name == "T" else ""
        raise ConfigError(f"{name} must be a finite time of at least 0; got {value!r}{backwards}")
    return number
