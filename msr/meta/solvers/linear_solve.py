"""Regularised least squares and implicit derivatives: the linear systems of the closed-form and Gauss-Newton solvers.

Everything here works on one task's flat vectors and may be mapped over tasks: no branch looks at a value.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from msr.errors import ModelError
from msr.meta.problem import Params
from msr.trees import Tree

__all__ = [
    "conjugate_gradient",
    "damped_step",
    "flatten",
    "implicit_minimum",
    "jacobian",
    "one_tensor",
    "pushed",
    "rounding",
    "unflatten",
]

Objective = Callable[..., Tensor]


def flatten(params: Params) -> Tensor:
    """All numbers as one vector, in the order of the names."""
    return torch.cat([p.flatten() for p in params.values()])


def unflatten(flat: Tensor, like: Params) -> Params:
    """The inverse of :func:`flatten`."""
    parts = flat.split([p.numel() for p in like.values()])
    return {name: part.reshape(p.shape) for (name, p), part in zip(like.items(), parts, strict=True)}


def one_tensor(tree: Tree, solver: str, name: str = "y") -> Tensor:
    """The tree if it is a tensor, which a squared error needs; else a ModelError."""
    if not isinstance(tree, Tensor):
        raise ModelError(
            f"{solver} fits a squared error of one tensor, but {name} is a {type(tree).__name__}; use SGD, whose inner "
            "loss is the problem's own, or join the parts into one tensor (torch.cat)"
        )
    return tree


def jacobian(f: Callable[[Tensor], Tensor], v: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """``f(v) (n,)`` and its Jacobian ``(n, k)``; forward mode costs a pass a column, reverse mode one a row."""

    def twice(z: Tensor) -> tuple[Tensor, Tensor]:
        value = f(z)
        return value, value

    if len(v) <= n:
        with contextlib.suppress(NotImplementedError):  # of an operation that has no forward mode, or a wrong one
            forward = torch.func.jacfwd(twice, has_aux=True)(v)
            return forward[1], forward[0]
    reverse = torch.func.jacrev(twice, has_aux=True)(v)
    return reverse[1], reverse[0]


def pushed(f: Callable[[Tensor], Tensor], v: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """``f(v)`` and ``J u``, in forward mode; where that is not to be had, as the transpose of ``w ↦ Jᵀ w``."""
    with contextlib.suppress(NotImplementedError):
        value, moved = torch.func.jvp(f, (v,), (u,))[:2]
        return value, moved
    value, pull = torch.func.vjp(f, v)[:2]
    return value, torch.func.vjp(lambda w: pull(w)[0], torch.zeros_like(value))[1](u)[0]


def rounding(J: Tensor) -> Tensor:
    """``4 ε ‖J‖²_F``: a penalty below this, rounding could make ``JᵀJ + μI`` indefinite."""
    return 4 * torch.finfo(J.dtype).eps * J.square().sum().detach()


def damped_step(J: Tensor, r: Tensor, penalty: Tensor, *, primal: bool) -> Tensor:
    """``argmin ‖r − J δ‖² + μ ‖δ‖²``: ``(JᵀJ + μI)⁻¹ Jᵀr``, or the same by an ``n × n`` system."""
    return _solve_primal(J, r, penalty) if primal else _solve_dual(J, r, penalty)


def _solve_primal(J: Tensor, r: Tensor, penalty: Tensor) -> Tensor:
    """``(JᵀJ + μI)⁻¹ Jᵀr``. What rounding adds along the null space of ``J``, ``J`` itself takes away again."""
    eye = torch.eye(J.shape[1], dtype=J.dtype, device=J.device)
    # Cholesky, not LU: the system is symmetric and positive, and MKL's LU with several threads gave wrong pivots, or
    # hung, from about 200 unknowns on (torch 2.13). The _ex form gives no obscure error for nan; a failure is nan here,
    # so that the engine names the tasks.
    L, info = torch.linalg.cholesky_ex(J.mT @ J + penalty * eye)
    solution = torch.cholesky_solve((J.mT @ r).unsqueeze(-1), L).squeeze(-1)
    return torch.where(info > 0, torch.full_like(solution, torch.nan), solution)


def _solve_dual(J: Tensor, r: Tensor, penalty: Tensor) -> Tensor:
    """``Jᵀ (JJᵀ + μI)⁻¹ r`` by ``[Jᵀ; √μ I] = QR``, which makes it ``Q₁ R⁻ᵀ r``.

    The part of ``r`` outside the range of a rank-deficient ``J`` is blown up by ``1/√μ`` here, by ``1/μ`` in ``JJᵀ``,
    where in float32 rounding then leaks it back: measured 4% of the fit.
    """
    n = len(r)
    eye = torch.eye(n, dtype=J.dtype, device=J.device)
    Q, R = torch.linalg.qr(torch.cat([J.mT, penalty.sqrt() * eye]))
    return Q[:-n] @ torch.linalg.solve_triangular(R.mT, r.unsqueeze(-1), upper=False).squeeze(-1)


def conjugate_gradient(product: Callable[[Tensor], Tensor], b: Tensor, steps: int) -> Tensor:
    """``A⁻¹ b`` for a symmetric positive ``A`` given by ``product(p) = A p``, after a fixed number of steps.

    It stands still once the residual is at rounding, and at a direction of no positive curvature (Steihaug's rule), so
    an indefinite ``A`` gives a truncated answer rather than an infinite one.
    """
    x, r, p = torch.zeros_like(b), b, b
    rr = b @ b
    least = torch.finfo(b.dtype).eps ** 2 * rr
    going = rr > 0
    for _ in range(steps):
        Ap = product(p)
        curvature = p @ Ap
        going = going & (curvature > 0) & (rr > least)
        size = torch.where(going, rr / torch.where(going, curvature, 1), 0)
        x, r = x + size * p, r - size * Ap
        before, rr = rr, r @ r
        p = r + torch.where(going, rr / torch.where(going, before, 1), 0) * p
    return x


def implicit_minimum(
    objective: Objective, z: Tensor, args: list[Tensor], *, curvature: Objective, cg_steps: int | None = None
) -> Tensor:
    """``z`` itself, with the derivative that ``argmin objective(·, *args)`` has in ``args`` if ``z`` is the minimum.

    ``dz/dargs = −H⁻¹ ∂(∇objective)/∂args`` (implicit function theorem). How ``z`` was found leaves no trace: one
    gradient of the objective is what memory holds.

    Args:
        z: ``(k,)``, a constant.
        curvature: ``(u, z, *args) -> scalar`` whose Hessian in ``u`` at ``z`` is ``H``.
        cg_steps: None builds ``H (k, k)``; a number solves by that many Hessian-vector products in the backward pass.

    A dense ``H`` that is not positive, because ``z`` is no minimum yet, has ``‖H‖_F I`` added.
    Source: arXiv:1909.04630.
    """
    constants = [a.detach() for a in args]
    slope = torch.func.grad(objective)(z, *args)
    if cg_steps is not None:
        return _ImplicitMinimum.apply(curvature, min(len(z), cg_steps), z, slope, *constants)
    bend = torch.func.grad(curvature)
    _, H = jacobian(lambda u: bend(u, z, *constants), z, len(z))
    L, info = torch.linalg.cholesky_ex(H)
    shift = torch.where(info > 0, torch.linalg.matrix_norm(H), 0)
    L, _ = torch.linalg.cholesky_ex(H + shift * torch.eye(len(z), dtype=z.dtype, device=z.device))
    return z - torch.cholesky_solve((slope - slope.detach()).unsqueeze(-1), L).squeeze(-1)


class _ImplicitMinimum(torch.autograd.Function):
    """Forward ``z``; backward ``w ↦ −H⁻¹ w`` for the slope. All tensors are arguments, so that vmap sees them."""

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
            return pushed(lambda u: gradient(u, z, *args), z, p)[1]

        return None, None, None, -conjugate_gradient(product, w, ctx.steps), *[None] * len(args)
