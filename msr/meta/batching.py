"""Side by side or one after another: which of the two takes less time, and whether their gradients agree."""

import math
import time
import warnings
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from msr.episodes import Episodes
from msr.errors import ModelError, first_line
from msr.meta.problem import MetaGradient, MetaParameters
from msr.trees import mapped

__all__ = ["disagreement", "faster_batching"]

ROUNDING_UNITS = 100.0
"""Units in the last place by which two gradients may differ: a gradient takes many operations, each of which rounds.
Chosen by hand."""

Measured = Literal["vmap", "loop"]
Gradient = Callable[[Measured, MetaParameters, Episodes], MetaGradient]


def faster_batching(gradient: Gradient, params: MetaParameters, episodes: Episodes) -> Measured:
    """The faster way to batch, vmap or a loop, of those that work and agree: ``gradient`` is called twice each way, and
    the second call is timed.

    A warning says why vmap is not used where it fails or disagrees. A loop that fails gives no warning: vmap is taken
    where that works, else the loop, whose error the run that follows raises.
    """
    vmap = None
    try:
        vmap = _timed(gradient, "vmap", params, episodes)
    except (RuntimeError, ModelError) as error:
        why = first_line(error)
        warnings.warn(f"vmap cannot run this problem, tasks run in a loop: {why}", stacklevel=4)
    try:
        loop = _timed(gradient, "loop", params, episodes)
    except (RuntimeError, ModelError):
        return "vmap" if vmap else "loop"
    if vmap is None:
        return "loop"

    def perturbed(unit: float) -> MetaParameters:
        return gradient("loop", *_perturbed(params, episodes, unit)).gradient

    difference = disagreement(vmap.gradient, loop.gradient, perturbed)
    if difference:
        warnings.warn(f"vmap and a loop disagree, tasks run in a loop: {difference}", stacklevel=4)
        return "loop"
    return "vmap" if vmap.seconds <= loop.seconds else "loop"


class _Timed(NamedTuple):
    """A meta-gradient, and the seconds that it took."""

    seconds: float
    gradient: MetaParameters


def _timed(gradient: Gradient, way: Measured, params: MetaParameters, episodes: Episodes) -> _Timed:
    """One meta-gradient and the seconds that it took, after a first one, not counted, that warms up."""
    # The first call compiles, allocates and caches, which later steps do not pay for.
    float(gradient(way, params, episodes).losses.sum())  # reading a value waits for the device
    start = time.perf_counter()
    losses, slopes = gradient(way, params, episodes)
    float(losses.sum())
    return _Timed(time.perf_counter() - start, slopes)


def _perturbed(params: MetaParameters, episodes: Episodes, unit: float) -> tuple[MetaParameters, Episodes]:
    """Parameters and data with normal relative errors of standard deviation ``unit``, as rounding could have made of
    them.

    The errors are the same at each call; whole numbers stay.

    Data are perturbed too: parameters that start at zero have no relative error, and a gradient may be the small
    difference of large terms in the data.
    """
    generator = torch.Generator().manual_seed(0)

    def rounded(tensor: Tensor) -> Tensor:
        if not (tensor.is_floating_point() or tensor.is_complex()):
            return tensor
        noise = torch.randn(tensor.shape, generator=generator)
        return tensor.detach() * (1 + unit * noise.to(tensor))

    return params.with_leaves([rounded(p) for p in params.leaves()]), mapped(rounded, episodes)


def disagreement(
    vmap: MetaParameters, loop: MetaParameters, perturbed: Callable[[float], MetaParameters]
) -> str | None:
    """How the gradients of the two ways differ, in words, where rounding does not explain it; None where it does, and
    where a number is not finite.

    ``perturbed(ε)`` is the loop's gradient at parameters and data with relative errors ``ε``. How far rounding changes
    a gradient depends on the problem, so this is measured at ``ε`` of one rounding, but only where the difference is
    more than a hundred such units.
    """
    names = [name for group in loop for name in group]
    gaps = [float((a.double() - b.double()).norm()) for a, b in zip(vmap.leaves(), loop.leaves(), strict=True)]
    sizes = [float(b.double().norm()) for b in loop.leaves()]
    if not all(map(math.isfinite, (*gaps, *sizes))):
        return None  # the outer loop refuses such a gradient itself
    # The coarsest precision among the parameters: its rounding reaches every gradient.
    unit = max((_unit(leaf) for leaf in loop.leaves()), default=0.0)
    whole = math.hypot(*sizes)
    # A tensor with a small gradient may carry the rounding of large ones, so a tenth of the whole gradient's size is
    # added for each tensor (chosen by hand).
    allowed = [ROUNDING_UNITS * unit * (size + whole / 10) for size in sizes]
    # The usual case, which costs no further gradient.
    if all(gap <= most for gap, most in zip(gaps, allowed, strict=True)):
        return None
    moved = perturbed(unit).leaves()
    changes = [float((a.double() - b.double()).norm()) for a, b in zip(moved, loop.leaves(), strict=True)]
    allowed = [most + ROUNDING_UNITS * change for most, change in zip(allowed, changes, strict=True)]
    worst = max(range(len(gaps)), key=lambda i: gaps[i] / max(allowed[i], 1e-300))
    if gaps[worst] <= allowed[worst]:
        return None
    size = max(sizes[worst], 1e-300)
    return (
        f"the gradient of {names[worst]} differs by {gaps[worst] / size:.1e} of its size, "
        f"and rounding explains {allowed[worst] / size:.1e}"
    )


def _unit(leaf: Tensor) -> float:
    """The relative rounding of one operation, in the type that it is computed in, which autocast and TF32 may make a
    coarser one.
    """
    kind = leaf.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else leaf.dtype
    tf32 = torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32
    # TF32 keeps 10 bits of the mantissa of float32.
    return 2.0**-10 if kind == "cuda" and dtype == torch.float32 and tf32 else torch.finfo(dtype).eps
