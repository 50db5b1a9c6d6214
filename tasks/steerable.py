"""Steerable filters: a small space of functions of the plane, rotated exactly, and then sampled on the grid."""

import math

import torch
from torch import Tensor

from msr.arrays import takes_arrays
from msr.errors import ConfigError, ShapeError
from msr.representations import Representation, grid_rotations, planar

__all__ = ["GROUPS", "plane", "rotation_defect", "steerable_basis"]

GROUPS = ("c4", "c8", "d4", "d8")
"""The groups of rotations and flips that filters can be made for."""

# Radians a pixel: a filter on the grid is fitted to its function on waves up to this wave number, half of the finest
# wave that a grid holds. Chosen by hand: finer waves alias on a 3×3 grid, and the table below shows what is lost there.
_BAND = math.pi / 2
# Points on a ring, and the polar grid of wave vectors on which filters are fitted and compared. Chosen by hand; the
# counts around a circle are multiples of 8, so that the grids are symmetric under turns by 45 degrees and flips.
_RING_POINTS = 64
_RADII = 16
_DIRECTIONS = 64


def plane(group: str) -> Representation:
    """The representation by which a group rotates and flips the plane, in the coordinates (up, left).

    ``r`` turns counter-clockwise and ``s`` mirrors left and right, as :func:`msr.representations.grid_rotations` does
    with pixels.

    Raises: ConfigError for a group that is not one of ``GROUPS``.
    """
    if group not in GROUPS:
        raise ConfigError(f"unknown group {group!r}; known: {', '.join(GROUPS)}")
    return planar(int(group[1:]), flips=group.startswith("d"))


def steerable_basis(group: str, kernel: int) -> tuple[Tensor, list[int]]:
    """Filters ``B[g, :, n] = S(g·φ_n)``: a basis of functions, each turned by every element of the group.

    The functions live on rings of whole radii ``ρ = 0, …, kernel // 2``: ``φ = δ(|p| − ρ) cos(mθ)`` or ``sin(mθ)`` for
    ``m = 0, …, 2ρ``, so 6 of them for a kernel of 3, 15 for 5, 28 for 7. Turning by any angle maps their span to
    itself. ``S`` puts a function on the grid: the filter whose frequency response ``Σ_p w(p) exp(i k·p)`` is nearest to
    the function's own for ``|k| ≤ π/2``, in least squares. ``S`` commutes with all that maps the grid to itself, so
    right angles and flips stay exact. A turn by 45° is approximate on every grid: :func:`rotation_defect` of 3×3
    filters up to the wave number

        | filters                            |    π/4 |    π/2 |     π |
        | ours (c8 and d8)                   | 0.0038 | 0.0073 | 0.161 |
        | ours, energy shared as in theirs   | 0.0068 | 0.0117 | 0.220 |
        | e2cnn's, Gaussian rings, c8        | 0.0074 | 0.0210 | 0.195 |
        | e2cnn's, Gaussian rings, d8        | 0.0102 | 0.0243 | 0.220 |

    Every pair ``(ρ, m)`` has the same energy in :class:`~tasks.RotationTasks`; e2cnn's filters give more to ``m = 2``,
    which a 3×3 grid turns worst. The second line has their shares of energy (those of c8), so it compares the design
    alone: ours is better below π/2 and worse beyond.

    Returns: ``B (order, kernel², n)`` in float64, and for each function the number of its pair ``(ρ, m)``.
    Raises: ConfigError for a kernel that is even or below 3.
    """
    if kernel < 3 or kernel % 2 == 0:
        raise ConfigError(f"the kernel must be odd and at least 3; got {kernel}")
    moves = plane(group).matrices()
    right_angles = planar(4, flips=True).matrices()
    resample, positions = _resampling(kernel)
    grid = grid_rotations(kernel, flips=True)

    def on_grid(move: Tensor) -> Tensor:
        """The basis functions after a move ``(2, 2)`` of the plane, as filters ``(kernel², n)``."""
        return resample @ _functions(positions @ move)  # φ(M⁻¹ p), and rows p M are M⁻¹ p

    # The fit has the grid's symmetry up to rounding, which its condition number magnifies for large kernels. The mean
    # over that group (the Reynolds operator) restores it.
    basis = torch.stack(
        [
            torch.stack(
                [grid.act_flat(h, on_grid(angle.mT @ move).mT).mT for h, angle in enumerate(right_angles)]
            ).mean(0)
            for move in moves
        ]
    )
    return basis, _pairs(kernel)


@takes_arrays("filters")
def rotation_defect(filters: Tensor, group: str, fields: int, element: int, k_max: float = math.pi / 2) -> float:
    """How far the filters of a field are from being rotated copies of one another, measured without interpolation.

    Filter ``(f, h g)`` should be filter ``(f, g)`` turned by ``h``, so its frequency response
    ``Ŵ_c(k) = Σ_p W_c(p) exp(i k·p)`` should be the other's at ``h⁻¹ k``:

        defect = √( Σ |Ŵ_{hg}(k) − Ŵ_g(h⁻¹ k)|² / Σ (|Ŵ_{hg}(k)|² + |Ŵ_g(h⁻¹ k)|²) )

    over tasks, channels and wave vectors on a polar grid with ``|k| ≤ k_max`` (π is the finest wave of the grid). 0 is
    exact, and unrelated filters give 1.

    Shapes: ``filters (..., fields · order, 1, kernel, kernel)``, channels in the order (field, element).
    Raises: ShapeError for channels that are not ``fields · order``; ConfigError for an even kernel, or an element that
    the group does not have.
    """
    turns = plane(group)
    order = turns.group.order
    kernel = filters.shape[-1]
    if filters.ndim < 4 or tuple(filters.shape[-4:]) != (fields * order, 1, kernel, kernel):
        raise ShapeError(
            f"{group} with {fields} fields needs filters (..., {fields * order}, 1, kernel, kernel); "
            f"got {tuple(filters.shape)}"
        )
    if kernel % 2 == 0 or not 0 <= element < order:
        raise ConfigError(
            f"rotation_defect needs an odd kernel, which has a centre, and an element of {group}, 0 to {order - 1}; "
            f"got a kernel of {kernel} and element {element!r}"
        )
    waves = _waves(k_max)
    w = filters.detach().cpu().double().reshape(-1, fields, order, kernel * kernel)
    turned = w[:, :, torch.as_tensor(turns.group.table[element].astype("int64"))]  # filter (f, h g) at place (f, g)
    response = _response(waves, kernel)
    response_back = _response(waves @ turns.matrix(element), kernel)  # rows k M are h⁻¹ k
    difference = _norm(torch.cat([turned, w], dim=-1), torch.cat([response, -response_back], dim=1))
    size = math.hypot(_norm(turned, response), _norm(w, response_back))
    return difference / size if size else 0.0


def _norm(w: Tensor, response: Tensor) -> float:
    """``‖response w‖``, the root of the sum of squares over all filters.

    The R factor of ``response`` gives the same norm from fewer rows.

    Shapes: ``w (..., n)``, ``response (rows, n)``.
    """
    return float((w @ torch.linalg.qr(response).R.mT).norm())


def _functions(positions: Tensor) -> Tensor:
    """The value of every ring function at points of the rings, ``(rings · points, n)``: 0 on all rings but its own.

    The functions are those of :func:`steerable_basis`. Only the direction of a point is read, and its ring from its
    place.

    Shapes: ``positions (rings, points, 2)``, the ring of radius 0 first.
    """
    angle = torch.atan2(positions[..., 1], positions[..., 0])
    rings = []
    for radius, theta in enumerate(angle):
        waves = [torch.ones_like(theta)]
        for m in range(1, 2 * radius + 1):
            waves += [torch.cos(m * theta), torch.sin(m * theta)]
        rings.append(torch.stack(waves, dim=1))
    return torch.block_diag(*rings)


def _pairs(kernel: int) -> list[int]:
    """For each function of :func:`_functions` the number of its pair ``(ρ, m)``; cosine and sine share one."""
    pairs: list[int] = []
    for radius in range(kernel // 2 + 1):
        for m in range(2 * radius + 1):
            pairs += [pairs[-1] + 1 if pairs else 0] * (2 if m else 1)
    return pairs


def _resampling(kernel: int) -> tuple[Tensor, Tensor]:
    """The map ``S (kernel², rings · points)`` of :func:`steerable_basis`, and its points ``(rings, points, 2)``.

    ``S`` takes the values of a function at these points of the rings to the filter on the grid.
    """
    angle = 2 * math.pi * torch.arange(_RING_POINTS, dtype=torch.float64) / _RING_POINTS
    circle = torch.stack([angle.cos(), angle.sin()], dim=-1)
    rings = torch.arange(kernel // 2 + 1, dtype=torch.float64)[:, None, None] * circle
    waves = _waves(_BAND)
    # A polar grid is denser in the middle: the weight of a point is the square root of the area that it stands for.
    area = waves.norm(dim=1).sqrt().repeat(2)[:, None]
    target = torch.cat([torch.cos(waves @ rings.flatten(0, 1).mT), torch.sin(waves @ rings.flatten(0, 1).mT)])
    fit = torch.linalg.lstsq(area * _response(waves, kernel), area * target, driver="gelsd")
    return fit.solution / _RING_POINTS, rings


def _response(waves: Tensor, kernel: int) -> Tensor:
    """``exp(i k·p)`` for wave vectors ``(n, 2)`` and pixels, real parts over imaginary parts: ``(2n, kernel²)``."""
    steps = kernel // 2 - torch.arange(kernel, dtype=torch.float64)
    pixels = torch.cartesian_prod(steps, steps)  # (up, left): both against the direction in which indices count
    return torch.cat([torch.cos(waves @ pixels.mT), torch.sin(waves @ pixels.mT)])


def _waves(k_max: float) -> Tensor:
    """A polar grid of wave vectors ``(n, 2)`` shorter than ``k_max``, symmetric under what maps a square to itself."""
    size = k_max * (torch.arange(_RADII, dtype=torch.float64) + 0.5) / _RADII
    angle = 2 * math.pi * (torch.arange(_DIRECTIONS, dtype=torch.float64) + 0.5) / _DIRECTIONS
    return (size[:, None, None] * torch.stack([angle.cos(), angle.sin()], dim=-1)).flatten(0, 1)
