"""What the flow keeps, and what it can only raise: the balances of energy, rotation, hemisphere and mean.

Each function gives one side of an identity, or a quantity with a law; the other side is a derivative along the flow.
With ``x`` for the directions, ``Z_i`` for the partition and ``w_i = Z_i / n`` for softmax, 1 for ``usa``:

- ``dE/dt = (1/cn) Σ_i s_i w_i ‖x_i'‖²`` (:func:`energy_rate`), for ``V = c B`` and symmetric ``B`` and ``M``.
- ``Σ_i s_i w_i x_i (x_i')ᵀ`` is symmetric (:func:`noether_matrix`), for ``B`` and ``V`` multiples of the identity and
  symmetric ``M``.
- The sum of all angles is constant (:func:`turning`), for the same with ``d = 2``, ``usa`` and ``post``.
- ``min_i ⟨x_i, w⟩`` never falls where it is positive (:func:`hemisphere_margin`), for ``V`` the identity and any ``Q``,
  ``K``, ``M``, on the sphere.
- ``max_i ⟨z_i, u⟩`` of ``z = e^(−t) x`` never rises (:func:`support_function`), for softmax without a norm and ``V``
  the identity.
- ``d‖m‖²/dt = 2(‖m‖² − (1/n) Σ_i ⟨m, x_i⟩²)`` for the mean ``m`` (:func:`mean_rate`), for ``β = 0``, ``post``, and
  ``V`` the identity.

Source: Geshkovski, Letrouit, Polyanskiy, Rigollet, "A mathematical perspective on transformers", 2023; the weights of
softmax in the second law, and ``s_i``, are derived here.
"""

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor

from msr.arrays import takes_arrays
from msr.errors import ConfigError, DataError, ShapeError
from msr.flow.dynamics.attention_flow import AttentionFlow
from msr.flow.dynamics.mlp import real_tensor
from msr.flow.dynamics.sphere import on_sphere

__all__ = [
    "energy_rate",
    "hemisphere_margin",
    "hemisphere_pole",
    "mean_rate",
    "noether_matrix",
    "support_function",
    "turning",
]

_NO_MARGIN = 1e-9  # distance of the origin from the hull of unit tokens at which rounding alone may make a margin


@takes_arrays("X")
def energy_rate(flow: AttentionFlow, X: Tensor, t: float = 0.0) -> Tensor:
    """``dE/dt`` at tokens, as the identity has it: ``(1/cn) Σ_i s_i w_i ‖x_i'‖²`` with the directions' velocities.

    Shapes: ``X (n, d)`` gives a scalar, ``(batch, n, d)`` gives ``(batch,)``.
    Raises: ConfigError where :meth:`AttentionFlow.energy` is not defined; else as :meth:`AttentionFlow.velocity`.
    """
    c = flow.ascent()
    turn, metric, _ = _turns(flow, X, t)
    return (metric * turn.square()).sum((-1, -2)) / (c * X.shape[-2])


@takes_arrays("X")
def noether_matrix(flow: AttentionFlow, X: Tensor, t: float = 0.0) -> Tensor:
    """``Σ_i s_i w_i x_i (x_i')ᵀ``: symmetric where rotations leave the energy as it is.

    Its antisymmetric part is the derivative of the energy along rotations, so it vanishes where ``B`` and ``V`` commute
    with all rotations; where they commute with some, its product with their generators vanishes.

    Shapes: ``X (..., n, d)``; the result is ``(..., d, d)``.
    Raises: ConfigError for several heads or a network; else as :meth:`AttentionFlow.velocity`.
    """
    if flow.heads != 1 or flow.mlp is not None:
        raise ConfigError("the identity of rotations is of one head and no network")
    turn, metric, directions = _turns(flow, X, t)
    return directions.mT @ (metric * turn)


@takes_arrays("X")
def mean_rate(X: Tensor) -> Tensor:
    """``d‖m‖²/dt`` of the mean ``m`` of tokens on the sphere at ``β = 0``: ``2(‖m‖² − (1/n) Σ_i ⟨m, x_i⟩²) ≥ 0``.

    At larger β the mean may fall.
    Shapes: ``X (..., n, d)``; the result is ``(...)``. Raises: as :func:`~msr.flow.on_sphere`.
    """
    X = _tokens(X, "X")
    mean = X.mean(-2, keepdim=True)
    return 2 * (mean.square().sum((-1, -2)) - (X * mean).sum(-1).square().mean(-1))


@takes_arrays("X", "pole")
def hemisphere_margin(X: Tensor, pole: Tensor) -> Tensor:
    """``min_i ⟨x_i, w⟩`` for the direction ``w`` of a pole: positive where all tokens lie in its open hemisphere.

    Shapes: ``X (..., n, d)`` and ``pole (d,)``; the result is ``(...)``.
    Raises: ShapeError for a pole of another length; else as :func:`~msr.flow.on_sphere`.
    """
    X = _tokens(X, "X")
    w = on_sphere(pole).to(X)
    if w.shape != X.shape[-1:]:
        raise ShapeError(f"pole must be ({X.shape[-1]},), as long as a token; got {tuple(pole.shape)}")
    return (on_sphere(X) @ w).amin(-1)


@takes_arrays("X")
def hemisphere_pole(X: Tensor) -> Tensor | None:
    """The pole of the hemisphere in which tokens lie deepest, None where no open one holds them all.

    It is the direction of the point of their hull that is nearest to the origin.
    Shapes: ``X (n, d)``; the result is ``(d,)`` float64, without a gradient.
    Raises: ShapeError for a batch; else as :func:`~msr.flow.on_sphere`.
    """
    if X.ndim != 2:
        raise ShapeError(f"X must be tokens (n, d); got {tuple(X.shape)}")
    tokens = on_sphere(X).detach().cpu().double().numpy()
    # The least squares of "λ makes the origin, and sums to 1" are the nearest point of the hull, up to their scale.
    system = np.concatenate([tokens.T, np.ones((1, len(tokens)))])
    shares, _ = nnls(system, np.append(np.zeros(tokens.shape[1]), 1.0))
    nearest = shares @ tokens / shares.sum()
    if np.linalg.norm(nearest) < _NO_MARGIN:
        return None
    pole = nearest / np.linalg.norm(nearest)
    return torch.from_numpy(pole) if (tokens @ pole).min() > 0 else None


@takes_arrays("X", "directions")
def support_function(X: Tensor, directions: Tensor) -> Tensor:
    """``max_i ⟨x_i, u⟩`` for some directions ``u``: how far the hull of the tokens reaches.

    Shapes: ``X (..., n, d)`` and ``directions (m, d)``; the result is ``(..., m)``.
    Raises: ShapeError, DataError and NonFiniteError for what does not fit or is not finite.
    """
    X = real_tensor(X, "X")
    directions = real_tensor(directions, "directions").to(X)
    if X.ndim < 2 or X.numel() == 0 or directions.ndim != 2 or directions.shape[-1] != X.shape[-1]:
        raise ShapeError(
            f"X must be (..., n, d) and directions (m, d); got {tuple(X.shape)} and {tuple(directions.shape)}"
        )
    return (X @ directions.mT).amax(-2)


@takes_arrays("path")
def turning(path: Tensor) -> Tensor:
    """By how much each token of a path in the plane has turned since its beginning, in radians, counted on beyond π.

    Shapes: ``path (times, ..., 2)``; the result is ``(times, ...)``.
    Raises: ShapeError for tokens of another length; DataError where a token turns by a right angle or more in one step,
    so that the side to which it turned is in doubt; else as :func:`~msr.flow.on_sphere`.
    """
    if path.ndim < 2 or path.shape[-1] != 2:
        raise ShapeError(f"path must be of tokens in the plane, (times, ..., 2); got {tuple(path.shape)}")
    X = on_sphere(path)
    before, after = X[:-1], X[1:]
    sines = before[..., 0] * after[..., 1] - before[..., 1] * after[..., 0]
    cosines = (before * after).sum(-1)
    if bool((cosines <= 0).any()):
        place = (cosines <= 0).nonzero()[0].tolist()
        raise DataError(f"path{place} turns by a right angle or more in one step; take more steps")
    turns = torch.atan2(sines, cosines).cumsum(0)
    return torch.cat([torch.zeros_like(turns[:1]) if len(turns) else X.new_zeros(X.shape[:-1]), turns])


def _turns(flow: AttentionFlow, X: Tensor, t: float) -> tuple[Tensor, Tensor, Tensor]:
    """``x'`` of the directions ``x``, ``(..., n, d)``; the metric ``s_i w_i``, ``(..., n, 1)``; and ``x``."""
    velocity = flow.velocity(X, t)
    X = X.to(velocity)
    if flow.norm == "none":
        turn = velocity
        directions = X
        slowness = torch.ones_like(X[..., :1])
    else:
        radii = torch.linalg.vector_norm(X, dim=-1, keepdim=True)
        directions = X / radii
        turn = (velocity - (velocity * directions).sum(-1, keepdim=True) * directions) / radii
        slowness = flow.slowness(X, t).unsqueeze(-1)
    if flow.kind == "sa":
        slowness = slowness * flow.partition(X).unsqueeze(-1) / X.shape[-2]
    return turn, slowness, directions


def _tokens(X: Tensor, name: str) -> Tensor:
    """Tokens as they are, in double precision unless in single. Raises: ShapeError, DataError, NonFiniteError."""
    X = real_tensor(X, name)
    X = X if X.dtype == torch.float32 else X.double()
    if X.ndim < 2 or X.numel() == 0:
        raise ShapeError(f"{name} must be tokens (..., n, d); got {tuple(X.shape)}")
    return X
