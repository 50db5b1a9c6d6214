"""Gauss-Newton with Levenberg's damping: how a task fits the small ``v`` of several layers at once."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from msr.errors import ConfigError, ModelError, ShapeError
from msr.meta.problem import MetaParameters, Params, Problem, as_params
from msr.meta.solvers.linear_solve import (
    conjugate_gradient,
    damped_step,
    flatten,
    implicit_minimum,
    jacobian,
    one_tensor,
    pushed,
    rounding,
    unflatten,
)
from msr.trees import Tree, assembled, leaves_of, structure_of

__all__ = ["GaussNewton"]

DENSE_UNKNOWNS, DENSE_JACOBIAN = 512, 2**20  # "auto" builds no larger system, and no larger Jacobian
EASE, BRAKE = 3.0, 10.0


@dataclass(frozen=True)
class GaussNewton:
    """Nonlinear least squares in all adapted parameters, for networks of several layers whose ``v`` is small.

        v = argmin φ,   φ(v) = (1/N) ‖f(v) − y‖² + λ ‖v − v₀‖²

    ``f`` is the prediction on the support set (``N`` numbers), ``v₀`` the learned start. Each step linearises ``f`` by
    Jacobian products and minimises ``(1/N) ‖f(v) + Jδ − y‖² + λ ‖v + δ − v₀‖² + μ ‖δ‖²``; it is taken where φ does not
    grow, and μ is divided by 3 then, multiplied by 10 otherwise, for each task on its own. Where ``f`` is
    affine, one step without damping is :class:`Ridge`.

    Args:
        steps: how many in training; ``test_steps`` how many in evaluation (default: the same).
        penalty: the start of λ, learned on a log scale unless ``learn`` is false.
        damping: μ of the first step, learned with λ where the gradient can see it (``"unrolled"``). 0 is plain
            Gauss-Newton, every step taken.
        system: how steps are solved, ``"dense"`` (Jacobian, then Cholesky or QR by size), ``"cg"`` (Jacobian products
            alone), or ``"auto"`` by size.
        gradient: ``"unrolled"`` differentiates through the steps, with memory that grows with them (exactly; with
            ``"cg"`` as far as conjugate gradients converge);
            ``"implicit"`` differentiates the minimum (implicit function theorem), with memory that does not, and is
            exact only as far as the steps have converged.
        curvature: of the implicit gradient. ``"exact"`` is the Hessian of φ, right at a minimum and wild away from one;
            ``"gauss_newton"`` is ``2 (JᵀJ/N + λI)``, always positive, and off by as much as residuals are left.
        cg_steps: iterations of conjugate gradients, of the steps with ``"cg"`` and of the implicit gradient then.

    The inner objective is the squared error whatever the problem's criterion is; labels are refused.
    Source: Levenberg, 1944; Marquardt, 1963; implicit gradients: Rajeswaran et al., arXiv:1909.04630.
    """

    steps: int = 5
    test_steps: int | None = None
    penalty: float = 1e-3
    damping: float = 1e-2
    learn: bool = True
    system: Literal["auto", "dense", "cg"] = "auto"
    gradient: Literal["unrolled", "implicit"] = "unrolled"
    curvature: Literal["exact", "gauss_newton"] = "exact"
    cg_steps: int = 32

    def __post_init__(self) -> None:
        if self.steps < 1 or (self.test_steps is not None and self.test_steps < 1):
            raise ConfigError(f"Gauss-Newton needs at least 1 step; got {self.steps} and {self.test_steps}")
        if not (math.isfinite(self.penalty) and self.penalty > 0):
            raise ConfigError(f"the penalty must be positive and finite; got {self.penalty}")
        if not (math.isfinite(self.damping) and self.damping >= 0):
            raise ConfigError(f"the damping must be 0 or more, and finite; got {self.damping}")
        if self.system not in ("auto", "dense", "cg"):
            raise ConfigError(f"system must be auto, dense or cg; got {self.system!r}")
        if self.gradient not in ("unrolled", "implicit"):
            raise ConfigError(f"gradient must be unrolled or implicit; got {self.gradient!r}")
        if self.curvature not in ("exact", "gauss_newton"):
            raise ConfigError(f"curvature must be exact or gauss_newton; got {self.curvature!r}")
        if self.cg_steps < 1:
            raise ConfigError(f"conjugate gradients need at least 1 iteration; got {self.cg_steps}")

    def init(self, initial: Params) -> Params:
        """``log_penalty`` and, where it is learned, ``log_damping``; nothing when they are fixed."""
        if not self.learn:
            return {}
        like = next(iter(as_params(initial).values()))
        learned = {"log_penalty": like.new_tensor(math.log(self.penalty))}
        if self.damping and self.gradient == "unrolled":
            learned["log_damping"] = like.new_tensor(math.log(self.damping))
        return learned

    def check(self, problem: Problem, params: MetaParameters, x: Tree, y: Tree) -> None:
        """Raise unless ``y`` holds real numbers, as many as the prediction, which is what a squared error needs."""
        target = one_tensor(y, "GaussNewton")
        if not target.is_floating_point():
            raise ModelError(
                f"GaussNewton fits a squared error, but y holds labels ({target.dtype}); use SGD, whose inner loss is "
                "the problem's own, or give y as real numbers of the prediction's shape (one-hot)"
            )
        with torch.no_grad():
            prediction = problem.predict({**params.shared, **params.initial}, x)
        shape = one_tensor(prediction, "GaussNewton", "the prediction").shape
        if shape != target.shape:
            raise ShapeError(f"GaussNewton: the prediction is {tuple(shape)}, but y is {tuple(target.shape)}")

    def adapt(self, problem: Problem, params: MetaParameters, x: Tree, y: Tree, *, training: bool) -> Params:
        """The parameters after ``steps`` (or ``test_steps``) steps."""
        steps = self.steps if training or self.test_steps is None else self.test_steps
        structure, inputs = structure_of((x,)), leaves_of(x)
        fit = _Fit(problem, list(params.shared), params.initial, structure, len(inputs))
        start = flatten(params.initial)
        args = [start, self._learned(params, "penalty", start), y, *inputs, *params.shared.values()]
        damping = self._learned(params, "damping", start)
        if self.gradient == "unrolled":
            return unflatten(self._descend(fit, args, damping, steps), params.initial)
        v = self._descend(fit, [a.detach() for a in args], damping.detach(), steps)
        if torch.is_grad_enabled():
            cg_steps = None if self._is_dense(len(start), y.numel()) else self.cg_steps
            curvature = fit.exact if self.curvature == "exact" else fit.gauss_newton
            v = implicit_minimum(fit.objective, v, args, curvature=curvature, cg_steps=cg_steps)
        return unflatten(v, params.initial)

    def _descend(self, fit: "_Fit", args: list[Tensor], damping: Tensor, steps: int) -> Tensor:
        v, slack = args[0], 1 + 64 * torch.finfo(args[0].dtype).eps
        with torch.no_grad():
            height = fit.objective(v, *args)
        for _ in range(steps):
            candidate = v + self._step(fit, v, args, damping)
            if not self.damping:
                v = candidate
                continue
            with torch.no_grad():
                new = fit.objective(candidate, *args)
                better = new <= height * slack  # false for nan
                height = torch.where(better, new, height)
            v = torch.where(better, candidate, v)
            damping = damping * torch.where(better, 1 / EASE, BRAKE)
        return v

    def _step(self, fit: "_Fit", v: Tensor, args: list[Tensor], damping: Tensor) -> Tensor:
        """The minimiser δ of the linearised objective, as a ridge fit around ``t (v₀ − v)``, ``t = λ / (λ + μ)``.

        For ``λ ‖v + δ − v₀‖² + μ ‖δ‖²`` is ``(λ + μ) ‖δ − t (v₀ − v)‖²`` and a constant.
        """
        start, penalty, y, *rest = args
        n, total = y.numel(), y.numel() * (penalty + damping)

        def predict(z: Tensor) -> Tensor:
            return fit.predict(z, *rest)

        if self._is_dense(len(v), n):
            prediction, J = jacobian(predict, v, n)
            total = total + rounding(J)
            home = n * penalty / total * (start - v)
            r = y.flatten() - prediction - J @ home
            return home + damped_step(J, r, total, primal=len(v) <= n)
        home = n * penalty / total * (start - v)
        prediction, moved = pushed(predict, v, home)
        return home + self._cg_step(fit, [v, total, y.flatten() - prediction - moved, *rest])

    def _cg_step(self, fit: "_Fit", args: list[Tensor]) -> Tensor:
        """``argmin ‖r − Jδ‖² + c ‖δ‖²`` by Jacobian products, with the derivative of the exact solution."""
        v, total, r, *rest = (a.detach() for a in args)

        def predict(z: Tensor) -> Tensor:
            return fit.predict(z, *rest)

        pull = torch.func.vjp(predict, v)[1]

        def product(p: Tensor) -> Tensor:
            return pull(pushed(predict, v, p)[1])[0] + total * p

        delta = conjugate_gradient(product, pull(r)[0], min(len(v), self.cg_steps))
        if self.gradient == "implicit" or not torch.is_grad_enabled():
            return delta
        return implicit_minimum(
            fit.linearised, delta, args, curvature=lambda u, z, *args: fit.linearised(u, *args), cg_steps=self.cg_steps
        )

    def _is_dense(self, k: int, n: int) -> bool:
        small = min(k, n) <= DENSE_UNKNOWNS and k * n <= DENSE_JACOBIAN
        return self.system == "dense" or (self.system == "auto" and small)

    def _learned(self, params: MetaParameters, name: str, like: Tensor) -> Tensor:
        logarithm = params.inner.get(f"log_{name}")
        return like.new_tensor(getattr(self, name)) if logarithm is None else logarithm.exp()


@dataclass(frozen=True)
class _Fit:
    """A task's objectives as functions of flat vectors, with every tensor an argument (what vmap and autograd need).

    ``rest`` are the tensors of ``x``, ``n_inputs`` of them, and then the shared parameters.
    """

    problem: Problem
    shared: list[str]
    like: Params
    structure: Tree
    n_inputs: int

    def predict(self, v: Tensor, *rest: Tensor) -> Tensor:
        """``f(v)``, flat."""
        named = dict(zip(self.shared, rest[self.n_inputs :], strict=True))
        x = rest[0] if self.structure is None else assembled(self.structure, rest)[0]
        return self.problem.predict({**named, **unflatten(v, self.like)}, x).flatten()

    def objective(self, v: Tensor, start: Tensor, penalty: Tensor, y: Tensor, *rest: Tensor) -> Tensor:
        """``φ(v)``."""
        misfit = (self.predict(v, *rest) - y.flatten()).square().mean()
        return misfit + penalty * (v - start).square().sum()

    def exact(self, u: Tensor, v: Tensor, *args: Tensor) -> Tensor:
        """What has the Hessian of φ: φ."""
        return self.objective(u, *args)

    def gauss_newton(self, u: Tensor, v: Tensor, start: Tensor, penalty: Tensor, y: Tensor, *rest: Tensor) -> Tensor:
        """``(1/N) ‖J u‖² + λ ‖u‖²``, ``J`` at ``v``: its Hessian is that of φ where residuals or bends are small."""
        moved = pushed(lambda z: self.predict(z, *rest), v, u)[1]
        return moved.square().mean() + penalty * u.square().sum()

    def linearised(self, delta: Tensor, v: Tensor, total: Tensor, r: Tensor, *rest: Tensor) -> Tensor:
        """``½ ‖r − Jδ‖² + ½ c ‖δ‖²``, ``J`` at ``v``."""
        moved = pushed(lambda z: self.predict(z, *rest), v, delta)[1]
        return (r - moved).square().sum() / 2 + total * delta.square().sum() / 2
