"""Which way of running a learner works, and whether two ways agree: what "auto" and the error messages are made of."""

import contextlib
import itertools
import math
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from msr.episodes import Episodes
from msr.errors import ModelError, first_line
from msr.meta.exact import explain
from msr.meta.problem import MetaParameters
from msr.meta.record.recording import NotRecorded
from msr.trees import mapped

if TYPE_CHECKING:
    from msr.meta.learner import Learner, MetaGradient

__all__ = ["disagreement", "explaining", "faster"]

_WAYS: tuple[Literal["vmap", "loop"], ...] = ("vmap", "loop")
_CHANGES = ("trace=False", 'batching="loop"', "first_order=True")
_SLACK = 100.0  # rounding differs by more than one unit in the last place after many operations


@contextlib.contextmanager
def explaining(learner: "Learner", again: Callable[["Learner"], Any]) -> Iterator[None]:
    """Name what fails within, and a way in which ``again``, the same with another learner, works."""
    try:
        yield
    except (RuntimeError, NotRecorded) as error:
        said = _explained(learner, error, again)
        if said is error:
            raise
        raise said from error


def _explained(learner: "Learner", error: Exception, run: Callable[["Learner"], Any]) -> Exception:
    """What to raise in the place of an error of torch's: a ModelError with a remedy that was tried here, or the error.

    ``run`` does, with another learner, what failed with this one; it is tried with fewer and fewer of what was asked
    for. An error that none of it mends is the caller's own, unless it is known what torch lacks.
    """
    if isinstance(error, torch.cuda.OutOfMemoryError) or learner.engine != "torch":
        return error
    for changes in _alternatives(learner):
        try:
            run(_changed(learner, changes))
        except Exception:  # this one is no remedy
            continue
        remedy = " and ".join(changes)
        known = explain(error, f"{remedy} works (tried)")
        if known is not None:
            return known
        way = "the recorder" if "trace=False" in changes else "vmap" if learner.batching != "loop" else "torch"
        return ModelError(f"{way} cannot run this problem: {first_line(error)}; {remedy} works (tried)")
    return explain(error, "no other way to run it with this solver was found either") or error


def _alternatives(learner: "Learner") -> list[tuple[str, ...]]:
    can = {
        "trace=False": learner.trace,
        'batching="loop"': learner.batching != "loop",
        "first_order=True": getattr(learner.solver, "first_order", True) is False,
    }
    open_ones = [change for change in _CHANGES if can[change]]
    return [c for size in range(1, len(open_ones) + 1) for c in itertools.combinations(open_ones, size)]


def _changed(learner: "Learner", changes: tuple[str, ...]) -> "Learner":
    solver: Any = learner.solver
    if "first_order=True" in changes:
        solver = replace(solver, first_order=True)
    return type(learner)(
        learner.problem,
        solver,
        batching="loop" if 'batching="loop"' in changes else learner.batching,
        trace=learner.trace and "trace=False" not in changes,
    )


def faster(
    learner: "Learner",
    gradient: Callable[[MetaParameters, Episodes], "MetaGradient"],
    params: MetaParameters,
    episodes: Episodes,
) -> Literal["vmap", "loop"]:
    """The way in which ``gradient`` takes less time, of those that work and agree.

    ``learner.batching`` is set on the way. Warns where vmap is out; what fails in a loop, the run itself will say.
    """
    seconds: dict[Literal["vmap", "loop"], float] = {}
    gradients: dict[str, MetaParameters] = {}
    for way in _WAYS:
        learner.batching = way
        try:
            float(gradient(params, episodes).losses.sum())  # warm up, and wait for the device
            start = time.perf_counter()
            losses, gradients[way] = gradient(params, episodes)
            float(losses.sum())  # waits for the device
            seconds[way] = time.perf_counter() - start
        except (RuntimeError, ModelError) as error:
            if way == "loop":
                return "vmap" if seconds else "loop"  # what is wrong, the run itself says
            why = first_line(error)
            warnings.warn(f"vmap cannot run this problem, tasks run in a loop: {why}", stacklevel=4)
    if len(seconds) == 2:

        def nudged(unit: float) -> MetaParameters:
            return gradient(*_nudged(params, episodes, unit)).gradient

        apart = disagreement(gradients["vmap"], gradients["loop"], nudged)
        if apart:
            warnings.warn(f"vmap and a loop disagree, tasks run in a loop: {apart}", stacklevel=4)
            return "loop"
    return min(seconds, key=lambda way: seconds[way])


def _nudged(params: MetaParameters, episodes: Episodes, unit: float) -> tuple[MetaParameters, Episodes]:
    """Parameters and data that rounding could have made of these.

    The data too: where parameters start at zero there is nothing of theirs to round, and a gradient may be what is left
    of large terms in the data that cancel.
    """
    generator = torch.Generator().manual_seed(0)

    def rounded(tensor: Tensor) -> Tensor:
        if not (tensor.is_floating_point() or tensor.is_complex()):
            return tensor
        noise = torch.randn(tensor.shape, generator=generator)
        return tensor.detach() * (1 + unit * noise.to(tensor))

    return params.with_leaves([rounded(p) for p in params.leaves()]), mapped(rounded, episodes)


def disagreement(vmap: MetaParameters, loop: MetaParameters, nudged: Callable[[float], MetaParameters]) -> str | None:
    """How the gradients of two ways differ, in words, where that is more than rounding; None where it is not.

    ``nudged(ε)`` is the loop's gradient at parameters and data moved by a relative ``ε``: how much rounding can do
    depends on the problem, and is only asked for where the difference is not small anyway.
    """
    names = [name for group in loop for name in group]
    gaps = [float((a.double() - b.double()).norm()) for a, b in zip(vmap.leaves(), loop.leaves(), strict=True)]
    sizes = [float(b.double().norm()) for b in loop.leaves()]
    if not all(map(math.isfinite, (*gaps, *sizes))):
        return None  # the caller looks at that
    unit = max((_unit(leaf) for leaf in loop.leaves()), default=0.0)
    whole = math.hypot(*sizes)
    allowed = [_SLACK * unit * (size + whole / 10) for size in sizes]
    if all(gap <= most for gap, most in zip(gaps, allowed, strict=True)):
        return None
    moves = [float((a.double() - b.double()).norm()) for a, b in zip(nudged(unit).leaves(), loop.leaves(), strict=True)]
    allowed = [most + _SLACK * move for most, move in zip(allowed, moves, strict=True)]
    worst = max(range(len(gaps)), key=lambda i: gaps[i] / max(allowed[i], 1e-300))
    if gaps[worst] <= allowed[worst]:
        return None
    size = max(sizes[worst], 1e-300)
    return (
        f"the gradient of {names[worst]} differs by {gaps[worst] / size:.1e} of its size, "
        f"and rounding explains {allowed[worst] / size:.1e}"
    )


def _unit(leaf: Tensor) -> float:
    """The rounding of one operation, in the type that it is computed in."""
    kind = leaf.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else leaf.dtype
    short = torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32
    return 2.0**-10 if kind == "cuda" and dtype == torch.float32 and short else torch.finfo(dtype).eps
