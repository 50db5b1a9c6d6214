"""Running statistics of batch norms that meta-training did not keep: found, refused, or taken from examples."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from msr.arrays import as_tensor
from msr.errors import ConfigError, ModelError

__all__ = ["calibrate", "refuse_stale_statistics", "stale_norms", "use_set_statistics_in_eval"]


def stale_norms(module: nn.Module) -> list[str]:
    """Names of batch norms whose running statistics do not belong to the module's weights.

    Those are norms that :func:`msr.meta.load_params` marked, since it loads weights that were fitted with the
    statistics of the set at hand, unless a set was counted since; and norms in training mode whose weights have moved
    while they counted no set at all, as when weights come from a functional call.
    """
    return [name for name, part in module.named_modules() if isinstance(part, _BatchNorm) and _is_stale(part)]


def _is_stale(norm: _BatchNorm) -> bool:
    if not norm.track_running_stats or norm.num_batches_tracked is None or norm.num_batches_tracked.is_meta:
        return False
    counted = int(norm.num_batches_tracked)
    if (marked := getattr(norm, "counted_when_loaded", None)) is not None:
        return marked == counted
    weight, bias = norm.weight, norm.bias
    if counted or not norm.training or weight is None or bias is None:
        return False
    return bool((weight != 1).any() or (bias != 0).any())


def refuse_stale_statistics(module: nn.Module) -> None:
    """Raise ModelError for norms as in :func:`stale_norms`."""
    if stale := stale_norms(module):
        more = f" and {len(stale) - 1} more" if len(stale) > 1 else ""
        raise ModelError(
            f"batch norm {stale[0]!r}{more} was fitted with the statistics of the set at hand and kept no running "
            "ones, so in eval() the folded network would be another function; give fold(..., statistics=x) examples "
            'to take them from, or statistics="set" for norms that use the set at hand in eval() too'
        )


def _tuple(x: Any) -> tuple[Any, ...]:
    return x if isinstance(x, tuple) else (x,)


@torch.no_grad()
def calibrate(module: nn.Module, x: Tensor | tuple[Any, ...]) -> float:
    """Set the running statistics of every batch norm, in place, to those of the examples ``x``; how far that goes.

    Each norm takes mean and variance (over examples and positions, not corrected for their number) of what reaches it
    when all norms use the set at hand, as :func:`msr.meta.from_module` has it. Then ``module.eval()(x)`` is what was
    evaluated on ``x``, up to rounding; on another set it differs as far as that set's statistics do.

    Args:
        module: a network; other parts than norms run as they do in ``eval()``.
        x: the network's input, or a tuple of its inputs; many examples, as the statistics are theirs.

    Returns:
        ``‖y' − y‖ / ‖y‖`` over the outputs on ``x``, before and after; units: none. More than rounding where a norm is
        used more than once in a network, since it then holds the mean of several statistics.

    Raises: ConfigError when the module has no batch norm with running statistics.
    """
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm) and part.running_mean is not None]
    if not norms:
        raise ConfigError("the network has no batch norm with running statistics, so there is nothing to set")
    options = (bool, int, float, str, type(None))  # inputs that are no data
    inputs = tuple(part if isinstance(part, options) else as_tensor(part, "x") for part in _tuple(x))
    seen: dict[nn.Module, list[tuple[Tensor, Tensor]]] = {norm: [] for norm in norms}

    def look(norm: nn.Module, args: tuple[Any, ...]) -> None:
        given = args[0]
        axes = [0, *range(2, given.ndim)]
        wide = given.float() if given.dtype in (torch.float16, torch.bfloat16) else given
        seen[norm].append((wide.mean(axes), wide.var(axes, correction=0)))

    with _all_in_eval(module):
        with _set_statistics(norms, look):
            before = module(*inputs)
        for norm in norms:
            if seen[norm]:
                means, variances = (torch.stack(kept) for kept in zip(*seen[norm], strict=True))
                cast(Tensor, norm.running_mean).copy_(means.mean(0))
                cast(Tensor, norm.running_var).copy_(variances.mean(0))
                norm.__dict__.pop("counted_when_loaded", None)
                if norm.num_batches_tracked is not None:
                    norm.num_batches_tracked.add_(len(means))
        after = module(*inputs)
    return _distance(before, after)


def use_set_statistics_in_eval(module: nn.Module, statistics: str) -> None:
    """Let every batch norm use the set at hand in ``eval()`` too, in place: it keeps no running statistics at all."""
    if statistics != "set":
        raise ConfigError(f"statistics must be examples, 'set' or None; got {statistics!r}")
    for part in module.modules():
        if isinstance(part, _BatchNorm):
            part.track_running_stats = False
            part.running_mean = part.running_var = part.num_batches_tracked = None
            part.__dict__.pop("counted_when_loaded", None)


@contextmanager
def _all_in_eval(module: nn.Module) -> Iterator[None]:
    before = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in before.items():
            part.training = training


@contextmanager
def _set_statistics(norms: list[_BatchNorm], look: Callable[[nn.Module, tuple[Any, ...]], None]) -> Iterator[None]:
    """Norms use the set at hand, which ``look`` sees, and leave their running statistics as they are."""
    kept = [(norm.running_mean, norm.running_var) for norm in norms]
    hooks = [norm.register_forward_pre_hook(look) for norm in norms]
    for norm in norms:
        norm.running_mean = norm.running_var = None  # in eval() a norm without them uses the set
    try:
        yield
    finally:
        for norm, hook, (mean, variance) in zip(norms, hooks, kept, strict=True):
            hook.remove()
            norm.running_mean, norm.running_var = mean, variance


def _distance(before: Any, after: Any) -> float:
    """``‖after − before‖ / ‖before‖`` over all floating tensors in two outputs of one structure."""
    pairs = list(_tensors(before, after))
    off = sum(float((b - a).double().square().sum()) for a, b in pairs)
    size = sum(float(a.double().square().sum()) for a, _ in pairs)
    return (off / size) ** 0.5 if size else off**0.5


def _tensors(before: Any, after: Any) -> Iterator[tuple[Tensor, Tensor]]:
    if isinstance(before, Tensor):
        if before.is_floating_point():
            yield before, after
    elif isinstance(before, dict):
        for key in before:
            yield from _tensors(before[key], after[key])
    elif isinstance(before, (tuple, list)):
        for one, other in zip(before, after, strict=True):
            yield from _tensors(one, other)
