"""Derivatives of a minimum by the implicit function theorem, and the conjugate gradients that they need."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from msr.meta.solvers.least_squares import jacobian, jacobian_product

__all__ = ["conjugate_gradient", "implicit_minimum"]

Objective = Callable[..., Tensor]
"""A scalar of a flat vector and further tensors."""


def conjugate_gradient(product: Callable[[Tensor], Tensor], b: Tensor, steps: int) -> Tensor:
    """``A⁻¹ b`` for a symmetric positive ``A`` given by ``product(p) = A p``, after ``steps`` steps from zero.

    The iterate stays where it is once the residual is at rounding, and at a direction of no positive curvature
    (Steihaug's rule). So an indefinite ``A`` gives a truncated answer rather than an infinite one.
    Shapes: ``b (k,)``; the result is ``(k,)``.
    """
    x = torch.zeros_like(b)
    r = b  # the residual b − A x
    p = b  # the search direction
    rr = b @ b
    least = torch.finfo(b.dtype).eps ** 2 * rr
    # A flag instead of a break, so that tasks mapped side by side may stop at different steps.
    active = rr > 0
    for _ in range(steps):
        Ap = product(p)
        curvature = p @ Ap
        active = active & (curvature > 0) & (rr > least)
        # The inner choice keeps the quotient finite, and its derivative too, for a task that has stopped.
        size = torch.where(active, rr / torch.where(active, curvature, 1), 0)
        x = x + size * p
        r = r - size * Ap
        rr_before = rr
        rr = r @ r
        p = r + torch.where(active, rr / torch.where(active, rr_before, 1), 0) * p
    return x


def implicit_minimum(
    objective: Objective, z: Tensor, args: list[Tensor], *, curvature: Objective, cg_steps: int | None = None
) -> Tensor:
    """``z`` itself, with the derivative that ``argmin objective(·, *args)`` has in ``args`` if ``z`` is the minimum.

    ``dz/dargs = −H⁻¹ ∂(∇objective)/∂args`` (implicit function theorem). The derivative does not depend on how ``z`` was
    found, so memory holds one gradient of the objective and none of the steps.

    Args:
        z: ``(k,)``, a constant.
        curvature: ``(u, z, *args) -> scalar`` whose Hessian in ``u`` at ``z`` is ``H``.
        cg_steps: None builds ``H (k, k)``; a number solves by that many conjugate-gradient steps in the backward pass.

    ``‖H‖_F I`` is added to a dense ``H`` that is not positive definite, which happens where ``z`` is no minimum yet.
    Source: arXiv:1909.04630.
    """
    constants = [a.detach() for a in args]
    slope = torch.func.grad(objective)(z, *args)
    if cg_steps is not None:
        return _ImplicitMinimum.apply(curvature, min(len(z), cg_steps), z, slope, *constants)
    # The Hessian as the Jacobian of the gradient, at constants: its own derivative is not wanted.
    bend = torch.func.grad(curvature)
    _, H = jacobian(lambda u: bend(u, z, *constants), z, len(z))
    # Factored twice rather than in a branch, which a mapped function cannot have.
    L, info = torch.linalg.cholesky_ex(H)
    shift = torch.where(info > 0, torch.linalg.matrix_norm(H), 0)
    L, _ = torch.linalg.cholesky_ex(H + shift * torch.eye(len(z), dtype=z.dtype, device=z.device))
    # slope − slope.detach() is zero with the derivative of the slope, so the value stays z.
    return z - torch.cholesky_solve((slope - slope.detach()).unsqueeze(-1), L).squeeze(-1)


class _ImplicitMinimum(torch.autograd.Function):
    """``z`` itself, whose backward pass sends ``−H⁻¹ w`` to the slope.

    All tensors are arguments, so that vmap sees them.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(curvature: Objective, steps: int, z: Tensor, slope: Tensor, *args: Tensor) -> Tensor:
        return z.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        ctx.curvature, ctx.steps, z, _, *args = inputs
        ctx.save_for_backward(z, *args)

    @staticmethod
    def backward(ctx: Any, w: Tensor) -> tuple:
        z, *args = ctx.saved_tensors
        gradient = torch.func.grad(ctx.curvature)

        def product(p: Tensor) -> Tensor:
            return jacobian_product(lambda u: gradient(u, z, *args), z, p)[1]

        # H is symmetric, so the transposed system of the backward pass is the system itself.
        return None, None, None, -conjugate_gradient(product, w, ctx.steps), *[None] * len(args)
