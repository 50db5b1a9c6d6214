"""Tasks made ready: flattened, copies and dead coordinates removed, a constant input added, split at random."""

import hashlib
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msr.errors import ConfigError, DataError, NonFiniteError, ShapeError
from msr.groups.permutations import Indices
from msr.meta import patches

__all__ = ["Layer", "Part", "Prepared", "prepare"]

Layer = Literal["linear", "conv1d", "conv2d"]
Part = Literal["fit", "select", "certify"]

FEWEST = 80  # tasks: half fit the span, and finding its dimension takes 40
FEWEST_FRESH = 20
# Coordinates whose sizes, in order, are this far apart are taken to have different units.
_APART = 3.0
# A task with outputs so many times as large as those of the median task counts as this large.
_LOUD = 5.0


@dataclass(frozen=True, eq=False)
class Prepared:
    """Tasks as ``x (tasks, examples, n)``, ``y (tasks, examples, m)``; the last input is a constant.

    ``inputs``, ``outputs``: which coordinates of the layer are left, by their place in ``shape_in`` and ``shape_out``.
    ``units``: what inputs and outputs were divided by, ``(in,)`` with the constant one and ``(out,)``; coordinates of
    like size have one unit, and so a common offset, which was taken off.
    ``ends``: where the tasks that fit end, those that select, and those that certify.
    """

    x: Tensor
    y: Tensor
    layer: Layer
    shape_in: tuple[int, ...]
    shape_out: tuple[int, ...]
    units: tuple[NDArray[np.float64], NDArray[np.float64]]
    inputs: Indices
    outputs: Indices
    ends: dict[Part, int]
    left_out: tuple[str, ...]
    too_few: str | None

    @property
    def ties(self) -> Indices | None:
        """For a convolution, what permutations of its inputs must keep, ``(in, in)``; None for a linear layer.

        A symmetry of images moves taps as a symmetry of the grid, all channels alike: it keeps the distance of two taps
        and whether they are of one channel.
        """
        if self.layer == "linear":
            return None
        place = np.stack(np.unravel_index(self.inputs, self.shape_in), 1)
        gaps = place[:, None] - place[None]
        return (gaps[:, :, 1:] ** 2).sum(2) * 2 + (gaps[:, :, 0] != 0)

    @property
    def factors(self) -> NDArray[np.float64]:
        """What brings a weight ``(out, in)`` back to the units that came."""
        return self.units[1][:, None] / self.units[0][None]

    @property
    def labels(self) -> Indices | None:
        """Which weights ``(out, in)`` are between coordinates of like units; None where all are alike."""
        places = [np.unique(units, return_inverse=True)[1] for units in (self.units[1], self.units[0][:-1])]
        if not any(place.any() for place in places):
            return None
        alike = np.append(places[1], len(places[1]))
        return places[0][:, None] * (len(alike) + 1) + alike[None]

    @property
    def n(self) -> int:
        """Inputs of the layer that are left, the constant one not counted."""
        return self.x.shape[2] - 1

    @property
    def m(self) -> int:
        """Outputs that are left."""
        return self.y.shape[2]

    def part(self, part: Part) -> tuple[Tensor, Tensor]:
        """A share of the tasks, which were put into random order."""
        before: dict[Part, int] = {"fit": 0, "select": self.ends["fit"], "certify": self.ends["select"]}
        return self.x[before[part] : self.ends[part]], self.y[before[part] : self.ends[part]]


def prepare(
    x: Tensor,
    y: Tensor,
    *,
    layer: Layer = "linear",
    kernel: int | None = None,
    circular: bool = False,
    fresh: Tensor | None = None,
    seed: int = 0,
) -> Prepared:
    """Check and reshape tasks; what was taken out is said in ``left_out``, what is missing in ``too_few``.

    Half of the tasks fit, an eighth (at least 20) selects and the rest certifies, at random; or, where ``fresh
    (tasks,)`` says which certify, two thirds of the others fit and the rest selects.

    Raises: ShapeError, NonFiniteError, DataError for tensors that cannot be used.
    """
    x, y = (t.unsqueeze(2) if t.ndim == 2 else t for t in (x.detach().cpu(), y.detach().cpu()))
    _check(x, y)
    left_out = []
    kept = _without_copies(x, y)
    copies = len(x) - len(kept)
    if fresh is not None and fresh.shape != (len(x),):
        raise ShapeError(f"fresh must say of each of the {len(x)} tasks whether it is; came {tuple(fresh.shape)}")
    last = torch.zeros(len(kept), dtype=torch.bool) if fresh is None else fresh.bool()[kept]
    if copies:
        x, y = x[kept], y[kept]
        left_out.append(f"{copies} task{'s' * (copies > 1)} that repeat{'s' * (copies == 1)} another one")
    x, y, shape_in, shape_out = _as_linear(x.double(), y.double(), layer, kernel, circular)
    inputs, outputs = _varying(x), _varying(y)
    if len(outputs) == 0:
        raise DataError("the outputs never vary: there is nothing to learn from them")
    if len(inputs) == 0:
        raise DataError("the inputs never vary: there is nothing to learn from them")
    for what, kept, size in (("input", inputs, x.shape[2]), ("output", outputs, y.shape[2])):
        if len(kept) < size:
            gone = size - len(kept)
            left_out.append(f"{gone} {what} coordinate{'s' * (gone > 1)} that never var{'y' if gone > 1 else 'ies'}")
    x, units_in = _in_units(x[:, :, inputs])
    y, units_out = _in_units(y[:, :, outputs])
    # A bias is a weight of an input that is always the same, here as large as the others.
    constant = x.square().mean().sqrt().expand(*x.shape[:2], 1)
    if _adds_up(x):
        # Such a bias is a sum of weights already; an input of noise, which carries no weight, stands in for it.
        draw = torch.Generator().manual_seed(seed)
        constant = constant * torch.randn(constant.shape, generator=draw, dtype=x.dtype)
        left_out.append("a bias: the inputs always add up to a constant, so no bias can be told from their weights")
    loud = _quietened(y)
    if loud:
        left_out.append(
            f"what {loud} task{'s' * (loud > 1)} say louder than {_LOUD:g} times the usual size of outputs: they count "
            "as that loud, so that a few tasks do not speak for all"
        )
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    order = torch.cat([order[~last[order]], order[last[order]]])
    n, n_fresh = len(x), int(last.sum())
    ends: dict[Part, int] = {"fit": n // 2, "select": n // 2 + max(FEWEST_FRESH, n // 8), "certify": n}
    if fresh is not None:
        ends = {"fit": 2 * (n - n_fresh) // 3, "select": n - n_fresh, "certify": n}
    few = None
    if ends["fit"] < FEWEST // 2 or min(ends["select"] - ends["fit"], n - ends["select"]) < FEWEST_FRESH:
        few = (
            f"{n} different tasks came{f', {n_fresh} of them fresh' if fresh is not None else ''}; at least {FEWEST} "
            f"are needed, of which half fit, and {FEWEST_FRESH} or more each select and certify"
        )
    return Prepared(
        x=torch.cat([x, constant], 2)[order],
        y=y[order],
        layer=layer,
        shape_in=shape_in,
        shape_out=shape_out,
        units=(np.append(units_in, np.exp2(np.log2(units_in).mean())), units_out),
        inputs=inputs.numpy(),
        outputs=outputs.numpy(),
        ends=ends,
        left_out=tuple(left_out),
        too_few=few,
    )


def _check(x: Tensor, y: Tensor) -> None:
    for name, t in (("x", x), ("y", y)):
        if t.ndim < 2 or t.is_complex() or t.dtype == torch.bool:
            raise ShapeError(f"{name} must be real numbers (tasks, examples, ...); came {t.dtype} {tuple(t.shape)}")
        if t.numel() == 0:
            raise DataError(f"{name} is empty: {tuple(t.shape)}")
        if t.is_floating_point() and not t.isfinite().all():
            where = tuple((~t.isfinite()).nonzero()[0].tolist())
            raise NonFiniteError(f"{name} holds {float(t[where])} at index {where}; remove that task")
    if x.shape[:2] != y.shape[:2]:
        raise ShapeError(f"x has {tuple(x.shape[:2])} tasks and examples, y has {tuple(y.shape[:2])}")


def _without_copies(x: Tensor, y: Tensor) -> Tensor:
    """The first of each set of equal tasks: copies on both sides of the split would make noise look shared."""
    seen: dict[bytes, int] = {}
    for task in range(len(x)):
        # Whatever the order of its examples.
        rows = torch.cat([x[task].flatten(1).double(), y[task].flatten(1).double()], 1)
        key = hashlib.blake2b(b"".join(sorted(row.numpy().tobytes() for row in rows)), digest_size=16).digest()
        seen.setdefault(key, task)
    return torch.tensor(sorted(seen.values()))


def _as_linear(
    x: Tensor, y: Tensor, layer: Layer, kernel: int | None, circular: bool
) -> tuple[Tensor, Tensor, tuple[int, ...], tuple[int, ...]]:
    """The layer's own inputs and outputs: everything, or a window's ``(channels, *taps)`` and channels."""
    if layer == "linear":
        if kernel is not None or circular:
            raise ConfigError("a kernel and circular padding belong to a convolution; give layer conv1d or conv2d")
        return x.flatten(2), y.flatten(2), tuple(x.shape[2:]), tuple(y.shape[2:])
    if layer not in ("conv1d", "conv2d"):
        raise ConfigError(f"layer must be linear, conv1d or conv2d; came {layer!r}")
    axes = 1 if layer == "conv1d" else 2
    if x.ndim != 3 + axes or y.ndim != x.ndim:
        raise ShapeError(
            f"{layer} needs x and y of (tasks, examples, channels, {'length' if axes == 1 else 'height, width'}); "
            f"came {tuple(x.shape)} and {tuple(y.shape)}"
        )
    if kernel is None:
        sizes = {a - b + 1 for a, b in zip(x.shape[3:], y.shape[3:], strict=True)}
        if circular or len(sizes) != 1 or min(sizes) < 2:
            raise ConfigError(
                f"give the kernel of {layer}: the shapes {tuple(x.shape)} and {tuple(y.shape)} leave it open"
            )
        (kernel,) = sizes
    if circular:
        rim = (kernel - 1) // 2
        pad = (rim, kernel - 1 - rim) * axes
        flat = torch.nn.functional.pad(x.flatten(0, 1), pad, mode="circular")
        x = flat.unflatten(0, x.shape[:2])
    shape_in = (x.shape[2], *([kernel] * axes))
    windows, targets = patches(x, y, kernel)
    return windows, targets, shape_in, (y.shape[2],)


def _in_units(values: Tensor) -> tuple[Tensor, NDArray[np.float64]]:
    """Coordinates of like size divided by one power of two, less their common offset if it is large; and what divided.

    Units say nothing, nor does one large offset of coordinates alike, but large ones cost digits; and where units
    differ, what is small in number is lost beside what is large.
    """
    whole = 2.0 ** math.floor(math.log2(float(values.abs().max())))
    values = values / whole
    logs = (values - values.mean((0, 1))).square().mean((0, 1)).sqrt().clamp_min(1e-150).log2()
    order = logs.argsort()
    starts = (logs[order].diff() > math.log2(_APART)).nonzero().flatten() + 1
    exponents = torch.empty_like(logs)
    scaled = values.clone()
    for alike in order.tensor_split(starts):
        exponents[alike] = logs[alike].mean().floor()
        scaled[:, :, alike] = _without_offset(values[:, :, alike] / exponents[alike[0]].exp2())
    return scaled, whole * exponents.exp2().numpy()


def _quietened(y: Tensor) -> int:
    """Scale down, in place, tasks whose outputs vary far more than those of others; how many."""
    sizes = (y - y.mean((0, 1))).square().mean((1, 2)).sqrt()
    most = _LOUD * float(sizes.median())
    loud = sizes > most if most > 0 else torch.zeros_like(sizes, dtype=torch.bool)
    y[loud] *= (most / sizes[loud])[:, None, None]
    return int(loud.sum())


def _without_offset(values: Tensor) -> Tensor:
    """Less their mean, where that is several times as large as they vary."""
    mean, spread = float(values.mean()), float((values - values.mean((0, 1))).square().mean().sqrt())
    return values - mean if abs(mean) > 3 * spread else values


def _adds_up(x: Tensor) -> bool:
    """Whether some sum of the inputs is constant, as with one-hot inputs, while they are independent themselves."""
    flat = x.flatten(0, 1)
    gram = flat.mT @ flat / len(flat)
    own = torch.linalg.eigvalsh(gram)
    if own[0] <= 1e-9 * own[-1]:
        return False
    total = flat.mean(0)
    # The squared distance of 1 from the span of the inputs.
    return bool(1 - total @ torch.linalg.solve(gram, total) < 1e-6)


def _varying(values: Tensor) -> Tensor:
    """Coordinates that take more than one value, over all tasks and examples."""
    flat = values.flatten(0, 1)
    return (flat.amax(0) > flat.amin(0)).nonzero().flatten()
