"""Ridge regression as the inner solver, in closed form."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from msr.errors import ConfigError, ModelError, ShapeError
from msr.meta.problem import MetaParameters, Params, Problem, as_params
from msr.meta.solvers.least_squares import damped_step, flatten, jacobian, one_tensor, rounding, unflatten
from msr.trees import Tree

__all__ = ["Ridge"]

BEND_UNITS = 1e3
"""Units in the last place by which an affine prediction may seem to bend: rounding of many operations, far below what a
layer that bends does. Chosen by hand."""


@dataclass(frozen=True)
class Ridge:
    """The closed-form fit of a problem that is affine in the adapted parameters; no inner learning rate.

        v = argmin  (1/N) ‖f(v) − y‖² + λ ‖v − v₀‖²

    ``f`` is the prediction on the support set (``N`` numbers), ``v₀`` the learned start, ``J`` the Jacobian of ``f``.
    The smaller one of two equivalent systems is solved: ``(JᵀJ/N + λI) δ = Jᵀr/N`` (primal, ``k × k``) or
    ``δ = Jᵀ (JJᵀ + NλI)⁻¹ r`` (dual, ``N × N``), with ``r = y − f(v₀)``, ``v = v₀ + δ``.

    Args:
        penalty: the start of λ, learned on a log scale unless ``learn`` is false.
        system: ``"primal"``, ``"dual"``, or ``"auto"`` for the smaller one.
        first_order: treat the solution as a constant when differentiating. With the query set equal to the support
            set this is the exact gradient of the fitted loss (envelope theorem) as λ → 0.

    ``4 ε ‖J‖²_F`` is added to ``Nλ``, with ε the precision of the dtype, since rounding could make the system
    indefinite below that. So the solve is stable in float32 for any rank of ``J``.
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
        """The learned scalar ``log_penalty`` by name; empty if the penalty is fixed."""
        like = next(iter(as_params(initial).values()))
        return {"log_penalty": like.new_tensor(math.log(self.penalty))} if self.learn else {}

    def check(self, problem: Problem, params: MetaParameters, x: Tree, y: Tree) -> None:
        """Raise unless the prediction is affine in the adapted parameters and has the shape of ``y``.

        An affine map has ``f(v + 2d) − 2 f(v + d) + f(v) = 0`` for each ``d``; one random ``d`` is tried.
        Raises: ModelError where it is not affine or ``y`` is not one tensor; ShapeError where the shapes differ.
        """
        generator = torch.Generator().manual_seed(0)
        direction = {n: torch.randn(p.shape, generator=generator).to(p) for n, p in params.initial.items()}
        target = one_tensor(y, "Ridge")
        f = []
        for i in range(3):
            shifted = {n: p + i * direction[n] for n, p in params.initial.items()}
            f.append(problem.predict({**params.shared, **shifted}, x).detach())
        if f[0].shape != target.shape:
            raise ShapeError(f"Ridge: the prediction is {tuple(f[0].shape)}, but y is {tuple(target.shape)}")
        bend = (f[2] - 2 * f[1] + f[0]).norm()
        # The bend is a difference of these three, so their sizes bound its rounding.
        size = sum(part.norm() for part in f)
        if bend > BEND_UNITS * torch.finfo(f[0].dtype).eps * size:
            raise ModelError(
                f"Ridge needs a prediction that is affine in the adapted parameters ({', '.join(params.initial)}); "
                f"this one bends by {float(bend / size):.1e} of its size. Use SGD, or share all but one layer"
            )

    def adapt(self, problem: Problem, params: MetaParameters, x: Tree, y: Tree, *, training: bool) -> Params:
        """One task's parameters by name, those that minimise the inner objective; ``training`` makes no difference.

        Shapes: the support set ``x, y (examples, ...)``; the result as ``params.initial``, name by name.
        """
        start = flatten(params.initial)

        def predict(flat: Tensor) -> Tensor:
            return problem.predict({**params.shared, **unflatten(flat, params.initial)}, x).flatten()

        prediction, J = jacobian(predict, start, y.numel())
        primal = self.system == "primal" or (self.system == "auto" and len(start) <= y.numel())
        # On a log scale no outer step can make it negative.
        penalty = params.inner["log_penalty"].exp() if self.learn else start.new_tensor(self.penalty)
        # The system is for the sum over numbers, not their mean, so the penalty is multiplied by N. The second term is
        # the least penalty that keeps the system positive definite in this precision.
        total = y.numel() * penalty + rounding(J)
        delta = damped_step(J, y.flatten() - prediction, total, primal=primal)
        if self.first_order:
            # The start as well: the whole solution counts as a constant.
            start = start.detach()
            delta = delta.detach()
        return unflatten(start + delta, params.initial)
