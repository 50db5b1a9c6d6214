"""Inner solvers: how one task fits its own parameters on its support set.

Each is a frozen value with three methods. ``check`` refuses a problem it cannot serve; ``init`` gives the numbers that
the solver itself learns in the outer loop; ``adapt`` is a pure function of tensors, so it can be differentiated through
and mapped over tasks.
"""

import math
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from msr.errors import ConfigError, ModelError, ShapeError
from msr.meta.problem import MetaParameters, Params, Problem, as_params
from msr.meta.solvers.linear_solve import damped_step, flatten, jacobian, one_tensor, rounding, unflatten
from msr.trees import Tree

__all__ = ["SGD", "InnerSolver", "Ridge"]


class InnerSolver(Protocol):
    """The interface of the engine to a solver."""

    def init(self, initial: Params) -> Params:
        """The numbers that the solver learns, by name, at their start."""

    def check(self, problem: Problem, params: MetaParameters, x: Tree, y: Tree) -> None:
        """Raise if the solver cannot serve this problem, seen on one task's support set."""

    def adapt(self, problem: Problem, params: MetaParameters, x: Tree, y: Tree, *, training: bool) -> Params:
        """One task's parameters after fitting the support set ``x, y (examples, ...)``; the names of ``initial``."""


@dataclass(frozen=True)
class SGD:
    """Gradient steps from the learned start: ``v ← v − α ∂L(v, support)/∂v``, the inner loop of MAML.

    Args:
        steps: how many in training; ``test_steps`` how many in evaluation (default: the same).
        rate: the start of α.
        learn: α is learned for each tensor, for each parameter (Meta-SGD), or fixed.
        scale: what the outer loop moves, α itself (``"linear"``, as in the paper's code) or log α (``"log"``). A
            useful rate can be far away: a loss that averages over C outputs wants one of about C/2, and an Adam of
            1e-3 moves a linear 0.1 by at most 1 in a thousand steps, but a logarithm of it by a factor of e.
        first_order: treat the gradients as constants when differentiating through the steps (FOMAML).

    Source: Finn et al., arXiv:1703.03400; learned rates: Li et al., arXiv:1707.09835.
    """

    steps: int = 1
    test_steps: int | None = None
    rate: float = 0.1
    learn: Literal["per_tensor", "per_parameter", "fixed"] = "per_tensor"
    scale: Literal["linear", "log"] = "linear"
    first_order: bool = False

    def __post_init__(self) -> None:
        if self.steps < 0 or (self.test_steps or 0) < 0:
            raise ConfigError(f"inner steps must not be negative; got {self.steps} and {self.test_steps}")
        if self.learn not in ("per_tensor", "per_parameter", "fixed"):
            raise ConfigError(f"learn must be per_tensor, per_parameter or fixed; got {self.learn!r}")
        if self.scale not in ("linear", "log"):
            raise ConfigError(f"scale must be linear or log; got {self.scale!r}")
        if not (math.isfinite(self.rate) and self.rate > 0):
            raise ConfigError(f"the inner learning rate must be positive and finite; got {self.rate}")

    def init(self, initial: Params) -> Params:
        """``rate.NAME`` (or ``log_rate.NAME``) for each adapted tensor; nothing when the rate is fixed."""
        if self.learn == "fixed":
            return {}
        start = math.log(self.rate) if self.scale == "log" else self.rate
        each = self.learn == "per_parameter"
        return {
            f"{self._prefix}.{name}": p.new_full(p.shape if each else (), start)
            for name, p in as_params(initial).items()
        }

    def check(self, problem: Problem, params: MetaParameters, x: Tree, y: Tree) -> None:
        """Nothing to check: any differentiable problem will do."""

    def adapt(self, problem: Problem, params: MetaParameters, x: Tree, y: Tree, *, training: bool) -> Params:
        """The parameters after ``steps`` (or ``test_steps``) gradient steps."""
        gradient = torch.func.grad(lambda adapted: problem.loss({**params.shared, **adapted}, x, y))
        rates = self.rates(params)
        adapted = params.initial
        for _ in range(self.n_steps(training)):
            if self.first_order:
                with torch.no_grad():
                    slope = gradient(adapted)
            else:
                slope = gradient(adapted)
            adapted = {name: p - rates[name] * slope[name] for name, p in adapted.items()}
        return adapted

    def n_steps(self, training: bool) -> int:
        """``steps`` in training, ``test_steps`` in evaluation."""
        return self.steps if training or self.test_steps is None else self.test_steps

    def rates(self, params: MetaParameters) -> dict[str, Tensor | float]:
        """α of each adapted tensor, a scalar or of the tensor's own shape."""
        if self.learn == "fixed":
            return dict.fromkeys(params.initial, self.rate)
        stored = {name: params.inner[f"{self._prefix}.{name}"] for name in params.initial}
        return {name: rate.exp() if self.scale == "log" else rate for name, rate in stored.items()}

    @property
    def _prefix(self) -> str:
        return "log_rate" if self.scale == "log" else "rate"


@dataclass(frozen=True)
class Ridge:
    """The closed-form fit of a problem that is affine in the adapted parameters; no inner learning rate.

        v = argmin  (1/N) ‖f(v) − y‖² + λ ‖v − v₀‖²

    ``f`` is the prediction on the support set (``N`` numbers), ``v₀`` the learned start, ``J`` the Jacobian of ``f``.
    The smaller of the two systems is solved, by size: ``(JᵀJ/N + λI) δ = Jᵀr/N`` (primal, ``k × k``) or
    ``δ = Jᵀ (JJᵀ + NλI)⁻¹ r`` (dual, ``N × N``), with ``r = y − f(v₀)``, ``v = v₀ + δ``.

    Args:
        penalty: the start of λ, learned on a log scale unless ``learn`` is false.
        system: ``"auto"``, or one of ``"primal"``, ``"dual"``.
        first_order: treat the solution as a constant when differentiating. With the query set equal to the support
            set this is the exact gradient of the fitted loss (envelope theorem) as λ → 0.

    To ``Nλ`` is added ``4 ε ‖J‖²_F``, ε the precision of the dtype: below that, rounding could make the system
    indefinite. So the solve is stable in float32 for any rank of ``J``.
    The inner objective is the squared error whatever the problem's criterion is.
    Source: Bertinetto et al., arXiv:1805.08136.
    """

    penalty: float = 1e-3
    learn: bool = True
    system: Literal["auto", "primal", "dual"] = "auto"
    first_order: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.penalty) and self.penalty > 0):
            raise ConfigError(f"the ridge penalty must be positive and finite; got {self.penalty}")
        if self.system not in ("auto", "primal", "dual"):
            raise ConfigError(f"system must be auto, primal or dual; got {self.system!r}")

    def init(self, initial: Params) -> Params:
        """``log_penalty``, a scalar; nothing when the penalty is fixed."""
        like = next(iter(as_params(initial).values()))
        return {"log_penalty": like.new_tensor(math.log(self.penalty))} if self.learn else {}

    def check(self, problem: Problem, params: MetaParameters, x: Tree, y: Tree) -> None:
        """Raise ModelError unless the prediction is affine in the adapted parameters and has the shape of ``y``.

        An affine map has ``f(v + 2d) − 2 f(v + d) + f(v) = 0`` for each ``d``; one random ``d`` is tried.
        """
        generator = torch.Generator().manual_seed(0)
        step = {n: torch.randn(p.shape, generator=generator).to(p) for n, p in params.initial.items()}
        target = one_tensor(y, "Ridge")
        f = [
            problem.predict({**params.shared, **{n: p + i * step[n] for n, p in params.initial.items()}}, x).detach()
            for i in range(3)
        ]
        if f[0].shape != target.shape:
            raise ShapeError(f"Ridge: the prediction is {tuple(f[0].shape)}, but y is {tuple(target.shape)}")
        bend, size = (f[2] - 2 * f[1] + f[0]).norm(), sum(part.norm() for part in f)
        if bend > 1e3 * torch.finfo(f[0].dtype).eps * size:
            raise ModelError(
                f"Ridge needs a prediction that is affine in the adapted parameters ({', '.join(params.initial)}); "
                f"this one bends by {float(bend / size):.1e} of its size. Use SGD, or share all but one layer"
            )

    def adapt(self, problem: Problem, params: MetaParameters, x: Tree, y: Tree, *, training: bool) -> Params:
        """The minimiser; ``training`` makes no difference."""
        start = flatten(params.initial)

        def predict(flat: Tensor) -> Tensor:
            return problem.predict({**params.shared, **unflatten(flat, params.initial)}, x).flatten()

        prediction, J = jacobian(predict, start, y.numel())
        primal = self.system == "primal" or (self.system == "auto" and len(start) <= y.numel())
        penalty = params.inner["log_penalty"].exp() if self.learn else start.new_tensor(self.penalty)
        # The penalty of the sum, not of the mean, and the least of it that this precision can tell from nothing.
        total = y.numel() * penalty + rounding(J)
        delta = damped_step(J, y.flatten() - prediction, total, primal=primal)
        if self.first_order:
            start, delta = start.detach(), delta.detach()
        return unflatten(start + delta, params.initial)
