"""How tokens move by what a block gives for them: their state, its derivative, and one step of it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from msr.flow.dynamics.block import Block
from msr.flow.dynamics.normalisation import GROWING, Norm, growth, speed
from msr.flow.dynamics.steppers import Advance, Rate, State, adaptive, euler, rk4

__all__ = ["Motion", "Step", "Unprojected"]

Step = Literal["rk4", "proj_euler", "layer", "unproj_rk4", "adaptive"]


@dataclass(frozen=True)
class Motion:
    """The motion by a block and a norm.

    The state is ``(x,)`` without a norm, ``(θ, r)`` where radii move, and ``(θ,)`` else.

    Attributes:
        block: what moves the tokens.
        norm: how.
        tau: when ``mix`` turns from ``post`` to ``pre``.
    """

    block: Block
    norm: Norm
    tau: float | None = None

    def state(self, tokens: Tensor) -> State:
        """The state of tokens ``(batch, n, d)``."""
        if self.norm == "none":
            return (tokens,)
        radii = torch.linalg.vector_norm(tokens, dim=-1, keepdim=True)
        return (tokens / radii, radii) if self.norm in GROWING else (tokens / radii,)

    def tokens(self, state: State) -> Tensor:
        """The tokens of a state."""
        return state[0] * state[1] if len(state) == 2 else state[0]

    def late(self, t: float) -> bool:
        """Whether ``mix`` has turned to ``pre`` at a time."""
        return self.tau is not None and t >= self.tau

    def rate(self, state: State, t: float, late: bool) -> State:
        """The derivative of a state."""
        output = self.block.output(state[0])
        if self.norm == "none":
            return (output,)
        along = (state[0] * output).sum(-1, keepdim=True)
        if self.norm == "post":  # as below, in fewer operations: steps of few tokens take most of their time in calls
            return (output - along * state[0],)
        radii = state[1] if len(state) == 2 else torch.ones_like(along)
        speeds = speed(self.norm, output, radii, t, late)
        turn = (output - along * state[0]) / speeds
        return (turn, growth(self.norm, along, speeds, radii, late)) if len(state) == 2 else (turn,)

    def velocity(self, state: State, t: float) -> Tensor:
        """The derivative of the tokens, ``(batch, n, d)``."""
        rates = self.rate(state, t, self.late(t))
        return rates[1] * state[0] + state[1] * rates[0] if len(state) == 2 else rates[0]

    def slowness(self, state: State, t: float) -> Tensor:
        """``s`` of each token, ``(batch, n, 1)``; for directions alone."""
        output = self.block.output(state[0])
        radii = state[1] if len(state) == 2 else torch.ones_like(output[..., :1])
        return speed(self.norm, output, radii, t, self.late(t))

    def advance(self, step: Step, tolerance: float) -> Advance:
        """One step of a stepper, which holds to the formula that is valid where the step begins."""

        def of(late: bool) -> Advance:
            rate: Rate = partial(self.rate, late=late)
            if step == "layer":
                return partial(self._layer, late=late)
            if step == "adaptive":
                return adaptive(rate, self._settle, tolerance)
            return (rk4 if step == "rk4" else euler)(rate, self._settle)

        early = of(False)
        late = of(True)
        return lambda state, t, h: (late if self.late(t) else early)(state, t, h)

    def _settle(self, state: State) -> State:
        """Directions brought back to norm 1; a radius that is not above 0 becomes nan, which ends the walk."""
        if self.norm == "none":
            return state
        directions = state[0] / torch.linalg.vector_norm(state[0], dim=-1, keepdim=True)
        if len(state) == 1:
            return (directions,)
        return directions, torch.where(state[1] > 0, state[1], torch.nan)

    def _layer(self, state: State, t: float, h: float, late: bool) -> State:
        """``x + h (r/s) A``, brought back to its radius where the radius does not move."""
        output = self.block.output(state[0])
        if self.norm == "none":
            return (state[0] + h * output,)
        radii = state[1] if len(state) == 2 else torch.ones_like(output[..., :1])
        tokens = radii * (state[0] + h / speed(self.norm, output, radii, t, late) * output)
        moved = torch.linalg.vector_norm(tokens, dim=-1, keepdim=True)
        if len(state) == 1:
            return (tokens / moved,)
        return tokens / moved, moved if self.norm != "mix" or late else radii


class Unprojected:
    """The motion of ``z = e^(−tV) x`` for softmax without a norm: ``z_i' = V Σ_j w_ij (z_j − z_i)``."""

    def __init__(self, block: Block, device: torch.device) -> None:
        self._block = block
        self._V = block.dense("V").to(device)
        self._kept: dict[float, Tensor] = {}

    def tokens(self, z: Tensor, t: float) -> Tensor:
        """``x = e^(tV) z``, ``(batch, n, d)``."""
        return z @ self._growth(t)

    def advance(self) -> Advance:
        """A step of order 4."""
        settle: Callable[[State], State] = lambda state: state  # noqa: E731
        return rk4(self._rate, settle)

    def _rate(self, state: State, t: float) -> State:
        (z,) = state
        # Rows of the weights sum to 1, so that the mean of differences is the difference of the mean.
        mean = self._block.means(self.tokens(z, t), z)[:, 0]
        return ((mean - z) @ self._V.mT,)

    def _growth(self, t: float) -> Tensor:
        """``e^(tV)``, transposed. Two stages of a step ask for the same time, and so does the next step."""
        if t not in self._kept:
            if len(self._kept) > 3:
                self._kept.clear()
            self._kept[t] = torch.linalg.matrix_exp(t * self._V).mT
        return self._kept[t]
