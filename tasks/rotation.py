"""Two-dimensional convolutions that are equivariant to rotations and flips, hidden in the relations of their filters.

Each task is a convolution of its own from one channel to several fields, and a field has a channel for each element of
a group of rotations and flips. A field has one free function of the plane; its channels are that function, turned.
So a filter bank of ``fields · order · kernel²`` weights is made from few numbers, in a way that all tasks share.

Source: the synthetic 2-D problems of arXiv:2007.02933 (one 3×3 layer from one channel to three fields on 32×32 images,
groups of order 8 and 16, 20 examples), there made with e2cnn 0.1 (Weiler and Cesa, arXiv:1911.08251).
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from msr.arrays import takes_arrays
from msr.episodes import Episodes
from msr.errors import ConfigError, DataError, NonFiniteError, ShapeError
from msr.files.archives import read_npz
from msr.groups import FiniteGroup
from msr.representations import Representation, copies, regular
from msr.span.angles import orthonormal_basis
from msr.tasks.base import Split, TaskFamily, check_drawn_family, check_indices, in_default_dtype, normal_rows
from tasks.steerable import GROUPS, plane, rotation_defect, steerable_basis

__all__ = ["GROUPS", "RotationTasks", "condensed", "read_filters", "rotation_defect"]


@dataclass(frozen=True, eq=False)
class RotationTasks(TaskFamily):
    """``y = x ⋆ W + noise``, valid, with ``W_(f, g) = g·ψ_f``: a field's channels are one function, turned by ``g``.

    ``x ~ N(0, 1)``. Each task draws its functions ``ψ`` from a space that rotations keep, of dimension 6 for a kernel
    of 3 (see :func:`~tasks.steerable.steerable_basis`), every pair (radius, frequency) with the same share of the
    energy, and ``E y² = 1`` on average over channels. For ``h`` a right angle or a flip the layer is exactly
    equivariant, ``(h·x) ⋆ W = ρ(h) (h·(x ⋆ W))``, where ``h·`` turns the grid as ``grid_rotations`` does and ``ρ``
    moves channels; turns by 45° hold as well as so small a grid lets them: :func:`rotation_defect` says how well.

    Shapes: ``x (tasks, examples, 1, size, size)``, ``y (tasks, examples, channels, size − kernel + 1, same)``.
    Args: ``group`` is c4, c8 (turns), d4 or d8 (with flips); ``n_train`` limits the training tasks (None: no end);
    ``shots`` and ``queries`` are examples for each task; ``noise`` is the standard deviation of noise on ``y``.
    Attributes: ``symmetry``, the group; ``rho_out``, how it moves channels, which are in the order (field, element);
    ``given``, the filters of :meth:`from_filters`, if the tasks were made with it.
    """

    group: str = "c8"
    size: int = 32
    kernel: int = 3
    fields: int = 3
    noise: float = 0.0
    shots: int = 1
    queries: int = 19
    n_train: int | None = 8000
    n_test: int | None = 2000
    seed: int = 0
    given: Tensor | None = field(default=None, repr=False)
    symmetry: FiniteGroup = field(init=False, repr=False)
    rho_out: Representation = field(init=False, repr=False)
    generators: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        symmetry = plane(self.group).group
        check_drawn_family(self, "fields", "shots", "queries")
        basis, pairs = steerable_basis(self.group, self.kernel)
        if self.size < self.kernel:
            raise ConfigError(f"size must be at least the kernel's {self.kernel}; got {self.size}")
        if self.given is not None and (
            self.given.shape[1:] != (self.fields * symmetry.order, 1, self.kernel, self.kernel)
            or len(self.given) != (self.n_train or 0) + (self.n_test or 0)
        ):
            raise ConfigError(f"given filters {tuple(self.given.shape)} do not fit the rest; use from_filters")
        # The mean over channels of E‖W_c‖², which is E y², is the sum over pairs of their energies.
        energy = torch.zeros(max(pairs) + 1, dtype=torch.float64)
        energy.index_add_(0, torch.tensor(pairs), basis.square().sum(1).mean(0))
        store = object.__setattr__
        store(self, "symmetry", symmetry)
        store(self, "rho_out", copies(regular(symmetry), self.fields))
        store(self, "generators", basis / (len(energy) * energy[pairs]).sqrt())

    @classmethod
    def from_filters(
        cls,
        source: Path | str | np.ndarray | Tensor,
        group: str,
        *,
        size: int = 32,
        noise: float = 0.0,
        shots: int = 1,
        queries: int = 19,
        test_fraction: float = 0.2,
        seed: int = 0,
    ) -> "RotationTasks":
        """Tasks with filters made elsewhere, each filter bank a task; the last ``test_fraction`` of them are held out.

        ``source`` is a ``.npz`` file (see :func:`read_filters`) or filters ``(tasks, channels, 1, kernel, kernel)``;
        everything else is as in the class.
        Raises: DataError for a file or filters that do not fit the group; ConfigError for a fraction outside (0, 1).
        """
        order = plane(group).group.order
        if not 0 < test_fraction < 1:
            raise ConfigError(f"test_fraction must lie between 0 and 1; got {test_fraction}")
        if isinstance(source, (str, Path)):
            filters, name = read_filters(Path(source), group), str(source)
        else:
            filters, name = _checked(_as_tensor(source, "the filters"), group, "the filters"), "the filters"
        n_test = round(test_fraction * len(filters))
        if not 0 < n_test < len(filters):
            raise DataError(f"{name}: {len(filters)} tasks; a test share of {test_fraction} leaves a split empty")
        return cls(
            group=group,
            size=size,
            kernel=filters.shape[-1],
            fields=filters.shape[1] // order,
            noise=noise,
            shots=shots,
            queries=queries,
            n_train=len(filters) - n_test,
            n_test=n_test,
            seed=seed,
            given=filters,
        )

    @property
    def channels(self) -> int:
        """The number of output channels, ``fields · order``."""
        return self.fields * self.symmetry.order

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """The shape of a task's weight, ``(channels, 1, kernel, kernel)``."""
        return (self.channels, 1, self.kernel, self.kernel)

    def n_tasks(self, split: Split) -> int | None:
        """How many tasks the split has; None where it has no end."""
        return self.n_train if split == "train" else self.n_test

    @takes_arrays("tasks")
    def filters(self, split: Split, tasks: Tensor) -> Tensor:
        """The true weight of each task, ``(tasks, channels, 1, kernel, kernel)``."""
        return self._draw(split, tasks)[0]

    @takes_arrays("tasks")
    def episodes(self, split: Split, tasks: Tensor) -> Episodes:
        """The tasks with these indices, in the shapes of the class."""
        filters, x, noise = self._draw(split, tasks)
        # A product with the windows of an image; on a CPU a grouped convolution takes several times as long.
        windows = F.unfold(x.flatten(0, 1).unsqueeze(1), self.kernel).unflatten(0, x.shape[:2])
        out = self.size - self.kernel + 1
        y = (filters.flatten(2).unsqueeze(1) @ windows).unflatten(-1, (out, out))
        if self.noise:
            y = y + self.noise * noise.reshape(y.shape)
        return Episodes.split(x.unsqueeze(2), y, self.shots)

    def true_span(self) -> Tensor:
        """The true ``U`` of the family, ``(channels · kernel², k)`` with orthonormal columns.

        Its rows are in the order of a flattened weight. Of given filters it is the span of the training tasks' filters.
        """
        if self.given is not None:
            return orthonormal_basis(self.given[: self.n_train].flatten(1).mT, rtol=1e-4)
        column = self.generators.flatten(0, 1)  # a field's channels, (order · kernel², dimension)
        return orthonormal_basis(torch.block_diag(*[column] * self.fields))

    def _draw(self, split: Split, tasks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Filters, inputs and noise of the tasks with these indices.

        Shapes: filters ``(tasks, channels, 1, kernel, kernel)``, inputs ``(tasks, examples, size, size)``, noise of
        unit variance ``(tasks, numbers in y)``, or ``(tasks, 0)`` for a family without noise. The noise is drawn last,
        so that a family with noise has the filters and inputs of the one without, but for up to the last 16 numbers of
        a task, which torch draws in another way at the end of a row.
        """
        check_indices(split, tasks, self.n_tasks(split))
        dimension = self.generators.shape[-1]
        n_filter = self.fields * dimension if self.given is None else 0
        examples = self.shots + self.queries
        n_x = examples * self.size**2
        n_noise = examples * self.channels * (self.size - self.kernel + 1) ** 2 if self.noise else 0
        numbers = normal_rows(self.seed, split, tasks, n_filter + n_x + n_noise)
        free, x, noise = numbers.split([n_filter, n_x, n_noise], dim=1)
        if self.given is None:
            turned = free.reshape(-1, dimension).to(torch.float64) @ self.generators.flatten(0, 1).mT
            filters = turned.to(numbers.dtype).reshape(len(tasks), *self.weight_shape)
        else:
            first = 0 if split == "train" else len(self.given) - int(self.n_test or 0)
            filters = self.given[first + tasks].to(numbers.dtype)
        return filters, x.reshape(len(tasks), examples, self.size, self.size), noise


def read_filters(path: Path, group: str) -> Tensor:
    """Filters of a ``.npz`` file, ``(tasks, channels, 1, kernel, kernel)`` float, under the name ``filters``.

    Where there is also ``rho_out (order, channels, channels)``, it must move channels as here: in the order (field,
    element), by the group's table.
    Raises: DataError naming the file, the array and what is wrong.
    """
    arrays = read_npz(path, ("filters", "rho_out"))
    if "filters" not in arrays:
        raise DataError(f"{path} has no array 'filters'; it needs filters (tasks, channels, 1, kernel, kernel)")
    filters, rho = _as_tensor(arrays["filters"], f"{path}: filters"), arrays.get("rho_out")
    filters = _checked(filters, group, f"{path}: filters")
    symmetry = plane(group).group
    if rho is not None:
        moves = copies(regular(symmetry), filters.shape[1] // symmetry.order)
        shape = (symmetry.order, filters.shape[1], filters.shape[1])
        # The shape is compared first, because matrices of a wrong shape may be larger than memory.
        fits = rho.shape == shape and rho.dtype.kind in "biuf"
        if not fits or not all(np.allclose(a, moves.matrix(g)) for a, g in zip(rho, symmetry.elements, strict=True)):
            raise DataError(
                f"{path}: rho_out {rho.shape} does not move {filters.shape[1]} channels as {group} does in the order "
                f"(field, element) {shape}; give the group that made the filters, or put the channels in order"
            )
    return filters


def condensed(episodes: Episodes, kernel: int) -> Episodes:
    """Small episodes, of ``kernel × kernel`` images, on which every convolution has the same squared loss as on these.

    For a convolution without bias (stride 1, valid) an example set is a linear system ``P w = y``, one row a window of
    each image. With ``PᵀP = LᵀL`` and ``z = L⁻ᵀ Pᵀ y``, ``‖P w − y‖² = ‖L w − z‖² + ‖y‖² − ‖z‖²`` for every ``w``. So
    the ``kernel²`` rows of ``L``, each an image of one window, and an empty image whose targets hold the rest, stand
    for all windows; scaled so that the *mean* over numbers agrees too. Losses, gradients and ridge fits are the same
    up to rounding, at about a hundredth of the arithmetic for 32×32 images.

    Shapes: ``x (tasks, examples, 1, H, W)``, ``y (tasks, examples, C, H − kernel + 1, W − kernel + 1)`` become
    ``(tasks, kernel² + 1, 1, kernel, kernel)`` and ``(tasks, kernel² + 1, C, 1, 1)``.
    Raises: ShapeError for other shapes.
    """
    support = _condense(episodes.support_x, episodes.support_y, kernel)
    return Episodes(*support, *_condense(episodes.query_x, episodes.query_y, kernel))


def _condense(x: Tensor, y: Tensor, kernel: int) -> tuple[Tensor, Tensor]:
    """:func:`condensed` for one set of examples: the small ``x`` and ``y``."""
    outputs = tuple(n - kernel + 1 for n in x.shape[3:])
    if len(x) == 0 or x.shape[:2] != y.shape[:2]:
        raise ShapeError(
            f"condensed: x and y need the same tasks and examples, at least one task; got x {tuple(x.shape)} and "
            f"y {tuple(y.shape)}"
        )
    if x.ndim != 5 or x.shape[2] != 1 or min(outputs) < 1 or y.ndim != 5 or tuple(y.shape[3:]) != outputs:
        raise ShapeError(
            f"condensed: a kernel of {kernel} maps x (tasks, examples, 1, H, W) to y (tasks, examples, C, "
            f"H - {kernel - 1}, W - {kernel - 1}); x is {tuple(x.shape)}, y is {tuple(y.shape)}"
        )
    products = []
    # One task at a time stays in the processor's cache, which is several times faster than all at once.
    for images, targets in zip(x, y, strict=True):
        # In float64, because the residual of the fit is a small difference of large sums.
        P = F.unfold(images, kernel).double()  # (examples, kernel², positions)
        Y = targets.flatten(2).double()
        products.append(((P @ P.mT).sum(0), (P @ Y.mT).sum(0), Y.norm(dim=-1).square().sum(0)))
    if not (x.isfinite().all() and y.isfinite().all()):
        raise NonFiniteError("condensed: some image or target holds nan or infinity")
    gram, cross, length = (torch.stack(part) for part in zip(*products, strict=True))
    # PᵀP = LᵀL with L = Λ^½ Qᵀ from the eigenvalues; those at rounding are directions that no window has.
    sizes, axes = torch.linalg.eigh(gram)
    kept = sizes > kernel**2 * torch.finfo(torch.float64).eps * sizes[:, -1:]
    root = sizes.clamp_min(0).sqrt() * kept
    inverse = torch.where(kept, 1 / root.where(kept, 1), 0)
    rows = root.unsqueeze(-1) * axes.mT
    z = inverse.unsqueeze(-1) * (axes.mT @ cross)
    residual = (length - z.square().sum(1)).clamp_min(0).sqrt()
    scale = ((kernel**2 + 1) / (x.shape[1] * outputs[0] * outputs[1])) ** 0.5
    small_x = torch.cat([rows, torch.zeros_like(rows[:, :1])], dim=1) * scale
    small_y = torch.cat([z, residual.unsqueeze(1)], dim=1) * scale
    return (
        small_x.to(x.dtype).unflatten(-1, (kernel, kernel)).unsqueeze(2),
        small_y.to(y.dtype)[..., None, None],
    )


def _as_tensor(source: np.ndarray | Tensor, what: str) -> Tensor:
    """An array as a tensor; a tensor as it is. Raises: DataError for what is no array of numbers; ``what`` names it."""
    if isinstance(source, Tensor):
        return source
    # A contiguous copy in native byte order, because torch takes no foreign byte order and no negative stride.
    try:
        return torch.from_numpy(np.ascontiguousarray(source, dtype=np.asarray(source).dtype.newbyteorder("=")))
    except (TypeError, ValueError) as error:
        raise DataError(f"{what} must be an array of numbers; got {type(source).__name__} ({error})") from None


def _checked(filters: Tensor, group: str, what: str) -> Tensor:
    """The filters as they are; ``what`` is what messages call them.

    Raises: DataError unless they fit the group, are real and finite, and are not all zero.
    """
    order = plane(group).group.order
    shape = tuple(filters.shape)
    if filters.ndim != 5 or shape[2] != 1 or shape[3] != shape[4] or shape[3] % 2 == 0 or shape[3] < 3:
        raise DataError(f"{what} must be (tasks, channels, 1, kernel, kernel), kernel odd and at least 3; got {shape}")
    if shape[1] == 0 or shape[1] % order:
        raise DataError(f"{what}: {group} needs a multiple of {order} channels (axis 1); got {shape}")
    if not filters.is_floating_point() or not torch.isfinite(filters).all():
        raise DataError(f"{what} must be real, finite numbers; got {filters.dtype} {shape}")
    if not filters.any():
        raise DataError(f"{what} are all zero: there is nothing to learn")
    in_default_dtype(filters, what)
    return filters
