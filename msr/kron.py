"""Row-major ``vec``, Kronecker products, and the solves that never build them.

One convention holds everywhere: ``vec`` stacks rows, torch's own order, so ``vec(W)[i*n + j] = W[i, j]`` and

    vec(A V Bᵀ) = (A ⊗ B) vec(V).

Papers stack columns, where the same product reads ``(B ⊗ A)``. ``torch.kron`` is not used, since it refuses
transposed inputs on the CPU in torch 2.13 ("view size is not compatible").
"""

import functools
import math
from collections.abc import Sequence

import torch
from jaxtyping import Shaped
from torch import Tensor
from torch.autograd import forward_ad

from msr.arrays import as_tensor, is_wrapped, takes_arrays
from msr.errors import ShapeError

__all__ = ["apply_factors", "is_identity", "kron", "nearest_kronecker", "pinv", "solve_factors", "unvec", "vec"]


@takes_arrays("weight")
def vec(weight: Shaped[Tensor, "*shape"], n_axes: int | None = None) -> Shaped[Tensor, "*lead numel"]:
    """Flatten the last ``n_axes`` axes (all of them by default), rows first: ``(..., *shape) -> (..., numel)``.

    With ``n_axes=0`` an axis of size 1 is added. The result shares memory with the weight where torch can do that.
    """
    n_axes = weight.ndim if n_axes is None else n_axes
    if n_axes == 0:
        return weight.unsqueeze(-1)
    return weight.flatten(weight.ndim - n_axes)


@takes_arrays("vector")
def unvec(vector: Shaped[Tensor, "*lead numel"], shape: Sequence[int]) -> Shaped[Tensor, "..."]:
    """Inverse of :func:`vec`: ``(..., numel) -> (..., *shape)``.

    Raises: ShapeError where the shape does not hold as many entries as the vector.
    """
    if vector.shape[-1] != math.prod(shape):
        raise ShapeError(
            f"unvec: a vector of {vector.shape[-1]} entries cannot take the shape {tuple(shape)}, "
            f"which holds {math.prod(shape)}"
        )
    return vector.reshape(*vector.shape[:-1], *shape)


def _kron2(a: Shaped[Tensor, "d1 r1"], b: Shaped[Tensor, "d2 r2"]) -> Shaped[Tensor, "d1*d2 r1*r2"]:
    """``a ⊗ b`` of two matrices."""
    return (a[:, None, :, None] * b[None, :, None, :]).reshape(a.shape[0] * b.shape[0], a.shape[1] * b.shape[1])


@takes_arrays("factors")
def kron(*factors: Shaped[Tensor, "_ _"]) -> Shaped[Tensor, "rows columns"]:
    """``F₁ ⊗ F₂ ⊗ …`` as one matrix; differentiable, any strides.

    Shapes: ``(d_i, r_i)`` each; the result is ``(∏ d_i, ∏ r_i)``. It is meant for small matrices and for tests: layers
    call :func:`apply_factors`, which needs the memory of the factors only.
    """
    if not factors:
        raise ShapeError("kron: at least one factor is needed; got none")
    _check_matrices("kron", factors)
    return functools.reduce(_kron2, factors)


def apply_factors(factors: Sequence[Tensor], v: Tensor) -> Tensor:
    """``v ×₁ F₁ ×₂ F₂ …``, which is ``(F₁ ⊗ F₂ ⊗ …) vec(v)`` without the Kronecker product.

    Shapes: factor ``i`` is ``(d_i, r_i)``; ``v`` is ``(..., r_1, r_2, …)``; the result is ``(..., d_1, d_2, …)``.
    Raises: ShapeError naming the axis of ``v`` that does not fit its factor.
    """
    factors = [as_tensor(f, "a factor") for f in factors]
    v = as_tensor(v, "v")
    _check_matrices("apply_factors", factors)
    _check_axes("apply_factors", factors, v, columns=True)
    for axis, factor in enumerate(factors):
        v = _apply_one(factor, v, v.ndim - len(factors) + axis)
    return v


def _apply_one(factor: Shaped[Tensor, "d r"], v: Tensor, place: int) -> Tensor:
    """``v ×ₚ F``: the factor times ``v`` along the axis ``place``, counted from 0 and from the first axis of ``v``."""
    if place == v.ndim - 1:
        return v @ factor.mT
    if place == v.ndim - 2:
        return factor @ v
    return (v.movedim(place, -1) @ factor.mT).movedim(-1, place)


def solve_factors(factors: Sequence[Tensor], w: Tensor) -> Tensor:
    """Least squares ``argmin_v ‖(F₁ ⊗ F₂ ⊗ …) vec(v) − vec(w)‖``, the shortest ``v`` where it is not unique.

    The result is a new tensor, and ``w`` is kept. Uses ``(F₁ ⊗ F₂)⁺ = F₁⁺ ⊗ F₂⁺``, so it costs one small pseudo-inverse
    a factor. Where no derivative with respect to a factor is asked for, an identity is skipped, and for orthogonal
    columns the scaled transpose is taken.
    Shapes: ``w (..., d_1, d_2, …) -> v (..., r_1, r_2, …)``.
    """
    factors = [as_tensor(f, "a factor") for f in factors]
    w = as_tensor(w, "w")
    _check_matrices("solve_factors", factors)
    _check_axes("solve_factors", factors, w, columns=False)
    v = w
    for axis, factor in enumerate(factors):
        if not is_identity(factor):
            v = _apply_one(_inverse(factor), v, v.ndim - len(factors) + axis)
    return v.clone() if v is w else v


def is_identity(factor: Tensor) -> bool:
    """Whether a factor may be skipped: it is the identity to the last digit, and nothing differentiates or traces
    through it.

    Shapes: ``factor (d, r)``; where ``d`` and ``r`` differ, it is no identity.
    """
    factor = as_tensor(factor, "factor")
    n = factor.shape[0]
    if factor.shape != (n, n) or not _may_look(factor):
        return False
    # The diagonal first: it tells most learned factors from the identity without reading all entries.
    if not bool((factor.diagonal() == 1).all()):
        return False
    return int(torch.count_nonzero(factor)) == n


def _inverse(factor: Shaped[Tensor, "d r"]) -> Shaped[Tensor, "r d"]:
    """The pseudo-inverse, without a singular value decomposition where the columns are nearly orthogonal and equally
    long, and :func:`_may_look` allows it to be seen.

    "Nearly" means ``‖E‖ ≤ √ε`` below, for the relative rounding ``ε``; any other factor goes to :func:`pinv`. With
    ``FᵀF = g² (I + E)`` it is ``(I + E)⁻¹ Fᵀ / g² = (I − E) Fᵀ / g²`` up to a share of ``‖E‖²``, which is below
    rounding wherever ``‖E‖`` is below its square root.
    """
    is_half = factor.dtype in (torch.float16, torch.bfloat16)
    if not _may_look(factor):
        return pinv(factor)
    lifted = factor.float() if is_half else factor
    gram = lifted.mH @ lifted
    size = gram.diagonal().real.mean() if gram.is_complex() else gram.diagonal().mean()
    off = gram / size
    off.diagonal().sub_(1)
    # A zero factor gives nan here, and nan is not below anything.
    if not bool(torch.linalg.norm(off) <= math.sqrt(torch.finfo(lifted.dtype).eps)):
        return pinv(factor)
    return ((lifted.mH - off @ lifted.mH) / size).to(factor.dtype)


def _may_look(factor: Tensor) -> bool:
    """Whether a shortcut may depend on a factor's numbers: no derivative, ``vmap`` or trace runs through it."""
    if factor.is_meta or type(factor) not in (Tensor, torch.nn.Parameter) or torch.compiler.is_compiling():
        return False
    if torch.is_grad_enabled() and factor.requires_grad:
        return False
    return is_wrapped(factor) is False and forward_ad.unpack_dual(factor).tangent is None


@takes_arrays("matrix")
def pinv(matrix: Shaped[Tensor, "*batch n m"]) -> Shaped[Tensor, "*batch m n"]:
    """Pseudo-inverse in the matrix's dtype; half precisions, which LAPACK does not know, are lifted to float32."""
    if matrix.dtype in (torch.float16, torch.bfloat16):
        return torch.linalg.pinv(matrix.float()).to(matrix.dtype)
    return torch.linalg.pinv(matrix)


@takes_arrays("matrix")
def nearest_kronecker(
    matrix: Shaped[Tensor, "pr qs"], shape_a: tuple[int, int], shape_b: tuple[int, int]
) -> tuple[Shaped[Tensor, "{shape_a[0]} {shape_a[1]}"], Shaped[Tensor, "{shape_b[0]} {shape_b[1]}"]]:
    """The pair ``A, B`` that minimises ``‖M − A ⊗ B‖_F``; of all such pairs one with equal norms.

    The sign is left to the decomposition: ``−A, −B`` is as good. All entries are zero where ``M`` is.

    Shapes: ``A (p, q)``, ``B (r, s)``, ``M (p r, q s)``.
    Raises: ShapeError for a matrix of another shape.
    Source: Van Loan and Pitsianis, *Approximation with Kronecker products*, 1993: rearranged so that each block of
    ``M`` is a row, ``M`` becomes ``vec(A) vec(B)ᵀ``, and the best rank one of that is an SVD.
    """
    (p, q), (r, s) = shape_a, shape_b
    if matrix.shape != (p * r, q * s):
        raise ShapeError(
            f"nearest_kronecker: factors {shape_a} and {shape_b} make a matrix {(p * r, q * s)}, "
            f"but the matrix is {tuple(matrix.shape)}"
        )
    blocks = matrix.reshape(p, r, q, s).transpose(1, 2).reshape(p * q, r * s)
    U, singular_values, Vt = torch.linalg.svd(blocks, full_matrices=False)
    root = singular_values[0].sqrt()
    return (root * U[:, 0]).reshape(p, q), (root * Vt[0]).reshape(r, s)


def _check_matrices(name: str, factors: Sequence[Tensor]) -> None:
    """Raise ShapeError for the first factor that is no matrix; ``name`` is the calling function in the message."""
    for i, factor in enumerate(factors):
        if factor.ndim != 2:
            raise ShapeError(f"{name}: factor {i} must be a matrix, but has shape {tuple(factor.shape)}")


def _check_axes(name: str, factors: Sequence[Tensor], v: Tensor, *, columns: bool) -> None:
    """Raise ShapeError unless the last axes of ``v`` fit the factors, one axis for each.

    Args: ``name``: the calling function, for the message; ``columns``: compare with the columns of the factors, else
    with their rows.
    """
    wanted = tuple(f.shape[1] if columns else f.shape[0] for f in factors)
    if v.ndim < len(factors) or tuple(v.shape[v.ndim - len(factors) :]) != wanted:
        raise ShapeError(f"{name}: the last axes must be {wanted} to fit the factors; got {tuple(v.shape)}")
