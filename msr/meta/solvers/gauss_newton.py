"""Gauss-Newton with Levenberg's damping: how a task fits the small ``v`` of several layers at once."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from msr.errors import ConfigError, ModelError, ShapeError
from msr.meta.problem import MetaParameters, Params, Problem, as_params
from msr.meta.solvers.implicit import conjugate_gradient, implicit_minimum
from msr.meta.solvers.least_squares import (
    damped_step,
    flatten,
    jacobian,
    jacobian_product,
    one_tensor,
    rounding,
    unflatten,
)
from msr.trees import Tree, assembled, leaves_of, structure_of

__all__ = ["GaussNewton"]

DENSE_UNKNOWNS = 512
"""``system="auto"`` factors no larger system (of the smaller one of unknowns and numbers), by time and memory."""

DENSE_JACOBIAN = 2**20
"""``system="auto"`` builds no Jacobian of more numbers a task: 4 MiB in float32."""

EASE = 3.0
"""The damping is divided by this after a step that does not raise the objective. Chosen by hand."""

BRAKE = 10.0
"""The damping is multiplied by this after a step that raises the objective, which is not taken. Chosen by hand."""


@dataclass(frozen=True)
class GaussNewton:
    """Nonlinear least squares in all adapted parameters, for networks of several layers whose ``v`` is small.

        v = argmin φ,   φ(v) = (1/N) ‖f(v) − y‖² + λ ‖v − v₀‖²

    ``f`` is the prediction on the support set (``N`` numbers), ``v₀`` the learned start. Each step linearises ``f`` and
    minimises ``(1/N) ‖f(v) + Jδ − y‖² + λ ‖v + δ − v₀‖² + μ ‖δ‖²``. A step is taken where φ does not grow, and μ is
    then divided by 3; otherwise μ is multiplied by 10. Each task has its own μ. Where ``f`` is affine, one step without
    damping is :class:`~msr.meta.solvers.ridge.Ridge`.

    Args:
        steps: the number of steps in training; ``test_steps`` that in evaluation (default: the same).
        penalty: the start of λ, learned on a log scale unless ``learn`` is false.
        damping: μ of the first step, learned with λ where the gradient can see it (``"unrolled"``). 0 is plain
            Gauss-Newton, every step taken.
        system: how steps are solved, ``"dense"`` (Jacobian, then Cholesky or QR by size), ``"cg"`` (Jacobian products
            alone), or ``"auto"`` by size.
        gradient: ``"unrolled"`` differentiates through the steps, exactly (with ``"cg"`` as far as conjugate gradients
            converge), with memory that grows with the number of steps; ``"implicit"`` differentiates the minimum
            (implicit function theorem), with memory that does not grow, and is exact as far as the steps have
            converged.
        curvature: of the implicit gradient. ``"exact"`` is the Hessian of φ, which is right at a minimum, but may be
            indefinite away from one; ``"gauss_newton"`` is ``2 (JᵀJ/N + λI)``, which is always positive, with an error
            that is proportional to the residuals.
        cg_steps: iterations of conjugate gradients, for the steps with ``"cg"`` and then for the implicit gradient too.

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
        """The learned scalars by name: ``log_penalty`` and, where it is learned, ``log_damping``; empty if fixed."""
        if not self.learn:
            return {}
        like = next(iter(as_params(initial).values()))
        learned = {"log_penalty": like.new_tensor(math.log(self.penalty))}
        if self.damping and self.gradient == "unrolled":
            learned["log_damping"] = like.new_tensor(math.log(self.damping))
        return learned

    def check(self, problem: Problem, params: MetaParameters, x: Tree, y: Tree) -> None:
        """Raise unless ``y`` is one floating-point tensor of the prediction's shape, as a squared error needs.

        Raises: ModelError where ``y`` or the prediction is not one tensor, or ``y`` is not floating point (labels);
        ShapeError where the shapes of the two differ, even with equally many numbers.
        """
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
        """One task's parameters by name, after ``steps`` steps in training and ``test_steps`` otherwise.

        Shapes: the support set ``x, y (examples, ...)``; the result as ``params.initial``, name by name.
        """
        steps = self.steps if training or self.test_steps is None else self.test_steps
        structure = structure_of((x,))
        inputs = leaves_of(x)
        task = _Task(problem, list(params.shared), params.initial, structure, len(inputs))
        start = flatten(params.initial)
        args = [start, self._learned(params, "penalty", start), y, *inputs, *params.shared.values()]
        damping = self._learned(params, "damping", start)
        if self.gradient == "unrolled":
            return unflatten(self._descend(task, args, damping, steps), params.initial)
        # The steps need no history: the derivative is that of the minimum, however it was found.
        v = self._descend(task, [a.detach() for a in args], damping.detach(), steps)
        if torch.is_grad_enabled():
            cg_steps = None if self._is_dense(len(start), y.numel()) else self.cg_steps
            curvature = task.exact if self.curvature == "exact" else task.gauss_newton
            v = implicit_minimum(task.objective, v, args, curvature=curvature, cg_steps=cg_steps)
        return unflatten(v, params.initial)

    def _descend(self, task: "_Task", args: list[Tensor], damping: Tensor, steps: int) -> Tensor:
        """``v (k,)`` after the steps of one task, from the start ``args[0]``.

        Args: ``args``: what :meth:`_Task.objective` takes after ``v``; ``damping``: μ of the first step.
        """
        v = args[0]
        # Rounding of the objective must not count as growth: at a minimum every step would be refused.
        slack = 1 + 64 * torch.finfo(v.dtype).eps
        with torch.no_grad():
            height = task.objective(v, *args)
        for _ in range(steps):
            candidate = v + self._step(task, v, args, damping)
            if not self.damping:
                v = candidate
                continue
            with torch.no_grad():
                new_height = task.objective(candidate, *args)
                better = new_height <= height * slack  # false for nan
                height = torch.where(better, new_height, height)
            v = torch.where(better, candidate, v)
            # Each task has a damping of its own, which a branch could not give under vmap.
            damping = damping * torch.where(better, 1 / EASE, BRAKE)
        return v

    def _step(self, task: "_Task", v: Tensor, args: list[Tensor], damping: Tensor) -> Tensor:
        """The minimiser δ, ``(k,)``, of the linearised objective, as a ridge fit around ``d = λ / (λ + μ) · (v₀ − v)``;
        ``damping`` is μ.

        It is such a fit because both penalties together, ``λ ‖v + δ − v₀‖² + μ ‖δ‖²``, are ``(λ + μ) ‖δ − d‖²`` plus a
        constant. With the whole Jacobian :func:`rounding` is added to ``N (λ + μ)``.
        """
        start, penalty, y, *rest = args
        n = y.numel()
        total = n * (penalty + damping)

        def predict(z: Tensor) -> Tensor:
            return task.predict(z, *rest)

        if self._is_dense(len(v), n):
            prediction, J = jacobian(predict, v, n)
            # The same least damping as in Ridge, so that one step without μ is exactly that fit.
            total = total + rounding(J)
            centre = n * penalty / total * (start - v)
            r = y.flatten() - prediction - J @ centre
            return centre + damped_step(J, r, total, primal=len(v) <= n)
        centre = n * penalty / total * (start - v)
        prediction, shift = jacobian_product(predict, v, centre)
        return centre + self._cg_step(task, [v, total, y.flatten() - prediction - shift, *rest])

    def _cg_step(self, task: "_Task", args: list[Tensor]) -> Tensor:
        """``argmin ‖r − Jδ‖² + c ‖δ‖²``, ``(k,)``, by Jacobian products and conjugate gradients.

        It has the derivative of the exact solution in ``args``, except where the implicit gradient needs none of a
        step.

        Args: ``args``: ``v``, at which ``J`` is taken, then the number ``c = N (λ + μ)``, ``r``, and what
        :meth:`_Task.predict` takes after ``v``.
        """
        v, total, r, *rest = (a.detach() for a in args)

        def predict(z: Tensor) -> Tensor:
            return task.predict(z, *rest)

        transposed = torch.func.vjp(predict, v)[1]  # w ↦ Jᵀ w

        def product(p: Tensor) -> Tensor:
            return transposed(jacobian_product(predict, v, p)[1])[0] + total * p

        delta = conjugate_gradient(product, transposed(r)[0], min(len(v), self.cg_steps))
        if self.gradient == "implicit" or not torch.is_grad_enabled():
            return delta
        # The iterations of conjugate gradients are not differentiated: the solution minimises a quadratic function,
        # whose implicit derivative is exact and costs one more solve.
        return implicit_minimum(
            task.linearised,
            delta,
            args,
            curvature=lambda u, z, *args: task.linearised(u, *args),
            cg_steps=self.cg_steps,
        )

    def _is_dense(self, k: int, n: int) -> bool:
        """Whether steps are solved by the whole Jacobian; else by products with it, in conjugate gradients.

        Args: ``k``: the number of unknowns; ``n``: that of numbers in ``y``.
        """
        small = min(k, n) <= DENSE_UNKNOWNS and k * n <= DENSE_JACOBIAN
        return self.system == "dense" or (self.system == "auto" and small)

    def _learned(self, params: MetaParameters, name: str, like: Tensor) -> Tensor:
        """λ (``"penalty"``) or μ (``"damping"``) as a scalar like ``like``: the learned one, else the setting."""
        logarithm = params.inner.get(f"log_{name}")
        return like.new_tensor(getattr(self, name)) if logarithm is None else logarithm.exp()


@dataclass(frozen=True)
class _Task:
    """A task's objectives as functions of flat vectors, with every tensor an argument (what vmap and autograd need).

    ``rest`` are the tensors of ``x``, ``n_inputs`` of them, and then the shared parameters.

    Attributes:
        problem: what is predicted.
        shared: the names of the shared parameters.
        like: the adapted parameters, for their names and shapes.
        structure: that of ``x``, None where it is one tensor.
        n_inputs: the number of tensors of ``x``.
    """

    problem: Problem
    shared: list[str]
    like: Params
    structure: Tree
    n_inputs: int

    def predict(self, v: Tensor, *rest: Tensor) -> Tensor:
        """``f(v)`` as one vector ``(N,)``."""
        named = dict(zip(self.shared, rest[self.n_inputs :], strict=True))
        x = rest[0] if self.structure is None else assembled(self.structure, rest)[0]
        return self.problem.predict({**named, **unflatten(v, self.like)}, x).flatten()

    def objective(self, v: Tensor, start: Tensor, penalty: Tensor, y: Tensor, *rest: Tensor) -> Tensor:
        """``φ(v)``, the penalised mean squared error."""
        misfit = (self.predict(v, *rest) - y.flatten()).square().mean()
        return misfit + penalty * (v - start).square().sum()

    def exact(self, u: Tensor, v: Tensor, *args: Tensor) -> Tensor:
        """``φ(u)``, whatever ``v`` is: φ itself, for its Hessian."""
        return self.objective(u, *args)

    def gauss_newton(self, u: Tensor, v: Tensor, start: Tensor, penalty: Tensor, y: Tensor, *rest: Tensor) -> Tensor:
        """``(1/N) ‖J u‖² + λ ‖u‖²``, ``J`` at ``v``. Its Hessian is that of φ without the residuals' second derivative.

        So the two are close where residuals, or second derivatives of ``f``, are small.
        """
        product = jacobian_product(lambda z: self.predict(z, *rest), v, u)[1]
        return product.square().mean() + penalty * u.square().sum()

    def linearised(self, delta: Tensor, v: Tensor, total: Tensor, r: Tensor, *rest: Tensor) -> Tensor:
        """``½ ‖r − Jδ‖² + ½ c ‖δ‖²``, with ``J`` at ``v`` and ``c = total``."""
        product = jacobian_product(lambda z: self.predict(z, *rest), v, delta)[1]
        return (r - product).square().sum() / 2 + total * delta.square().sum() / 2
