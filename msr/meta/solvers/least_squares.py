"""Regularised least squares in flat vectors: the linear systems of the closed-form and Gauss-Newton solvers.

Everything here works on one task and may be mapped over tasks, since no branch looks at a value.
"""

import contextlib
from collections.abc import Callable

import torch
from torch import Tensor

from msr.errors import ModelError
from msr.meta.problem import Params
from msr.trees import Tree

__all__ = ["damped_step", "flatten", "jacobian", "jacobian_product", "one_tensor", "rounding", "unflatten"]


def flatten(params: Params) -> Tensor:
    """All numbers of the tensors as one vector ``(k,)``, one tensor after another as the dictionary has them."""
    return torch.cat([p.flatten() for p in params.values()])


def unflatten(flat: Tensor, like: Params) -> Params:
    """Tensors with the names and shapes of ``like``, from a vector ``(k,)``: undoes :func:`flatten`."""
    parts = flat.split([p.numel() for p in like.values()])
    return {name: part.reshape(p.shape) for (name, p), part in zip(like.items(), parts, strict=True)}


def one_tensor(tree: Tree, solver: str, name: str = "y") -> Tensor:
    """The tree itself, if it is one tensor, which a squared error needs.

    Raises: ModelError for a tuple or dictionary, in the name of the solver.
    """
    if not isinstance(tree, Tensor):
        raise ModelError(
            f"{solver} fits a squared error of one tensor, but {name} is a {type(tree).__name__}; use SGD, whose inner "
            "loss is the problem's own, or join the parts into one tensor (torch.cat)"
        )
    return tree


def jacobian(f: Callable[[Tensor], Tensor], v: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """``f(v) (n,)`` and its Jacobian ``(n, k)``.

    Forward mode takes one pass for each of the ``k`` columns, reverse mode one for each of the ``n`` rows; the cheaper
    one is used, or reverse mode where an operation has no forward mode, or a wrong one.
    """

    def value_twice(z: Tensor) -> tuple[Tensor, Tensor]:
        # The second one is handed through, so that the value costs no call of its own.
        value = f(z)
        return value, value

    if len(v) <= n:
        with contextlib.suppress(NotImplementedError):
            J, value = torch.func.jacfwd(value_twice, has_aux=True)(v)
            return value, J
    J, value = torch.func.jacrev(value_twice, has_aux=True)(v)
    return value, J


def jacobian_product(f: Callable[[Tensor], Tensor], v: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """``f(v)`` and ``J u``, in forward mode; where an operation has none, as the transpose of ``w ↦ Jᵀ w``."""
    with contextlib.suppress(NotImplementedError):
        value, product = torch.func.jvp(f, (v,), (u,))[:2]
        return value, product
    value, transposed = torch.func.vjp(f, v)[:2]
    # w ↦ Jᵀ w is linear, so its own reverse mode, at any point, is u ↦ J u.
    return value, torch.func.vjp(lambda w: transposed(w)[0], torch.zeros_like(value))[1](u)[0]


def rounding(J: Tensor) -> Tensor:
    """``4 ε ‖J‖²_F``, a constant without a history, with ε the precision: with a smaller penalty μ, rounding could make
    ``JᵀJ + μI`` indefinite.
    """
    return 4 * torch.finfo(J.dtype).eps * J.square().sum().detach()


def damped_step(J: Tensor, r: Tensor, penalty: Tensor, *, primal: bool) -> Tensor:
    """``argmin ‖r − J δ‖² + μ ‖δ‖²``, with ``μ = penalty``: a sum, not a mean, of squares, so a caller multiplies its
    penalty by ``n``, and adds :func:`rounding`.

    Args: ``primal``: solve ``(JᵀJ + μI)⁻¹ Jᵀr``, a ``k × k`` system, which gives nan where it is not positive definite;
    else the same by an ``n × n`` system.
    Shapes: ``J (n, k)``, ``r (n,)``, ``penalty ()``; the result is ``(k,)``.
    """
    return _solve_primal(J, r, penalty) if primal else _solve_dual(J, r, penalty)


def _solve_primal(J: Tensor, r: Tensor, penalty: Tensor) -> Tensor:
    """``(JᵀJ + μI)⁻¹ Jᵀr``, ``(k,)``; nan where rounding leaves the system not positive definite.

    Rounding errors along the null space of ``J`` do not change the fit ``J δ``.
    """
    eye = torch.eye(J.shape[1], dtype=J.dtype, device=J.device)
    # Cholesky, not LU: the system is symmetric and positive, and MKL's LU with several threads gave wrong pivots, or
    # hung, from about 200 unknowns on (torch 2.13). The _ex form gives no obscure error for nan; a failure is nan here,
    # so that the outer loop finds it and names the tasks.
    L, info = torch.linalg.cholesky_ex(J.mT @ J + penalty * eye)
    solution = torch.cholesky_solve((J.mT @ r).unsqueeze(-1), L).squeeze(-1)
    return torch.where(info > 0, torch.full_like(solution, torch.nan), solution)


def _solve_dual(J: Tensor, r: Tensor, penalty: Tensor) -> Tensor:
    """``Jᵀ (JJᵀ + μI)⁻¹ r`` by ``[Jᵀ; √μ I] = QR``, which makes it ``Q₁ R⁻ᵀ r``.

    Where ``J`` has not full rank, the part of ``r`` outside its range is multiplied by ``1/√μ`` here. Solved by
    ``JJᵀ + μI`` it would be multiplied by ``1/μ``, and rounding in float32 would leak it into the fit: measured 4%.
    """
    n = len(r)
    eye = torch.eye(n, dtype=J.dtype, device=J.device)
    Q, R = torch.linalg.qr(torch.cat([J.mT, penalty.sqrt() * eye]))
    return Q[:-n] @ torch.linalg.solve_triangular(R.mT, r.unsqueeze(-1), upper=False).squeeze(-1)
