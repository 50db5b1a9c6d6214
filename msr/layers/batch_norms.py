"""Running statistics of batch norms, which meta-training does not keep: which are stale, and how to set them anew."""

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

    There are two kinds. :func:`msr.meta.load_params` marks each norm, since the weights it loads were fitted with the
    statistics of the set at hand; such a norm is stale until it has counted a set. And a norm in training mode is stale
    when its weights are not the start's although it has counted no set at all, as after training by functional calls.
    """
    return [name for name, part in module.named_modules() if isinstance(part, _BatchNorm) and _is_stale(part)]


def _is_stale(norm: _BatchNorm) -> bool:
    """Whether a norm is stale in the sense of :func:`stale_norms`; false for one without running statistics."""
    if not norm.track_running_stats or norm.num_batches_tracked is None or norm.num_batches_tracked.is_meta:
        return False
    counted = int(norm.num_batches_tracked)
    # The mark of load_params: how many sets the norm had counted then.
    if (counted_when_loaded := getattr(norm, "counted_when_loaded", None)) is not None:
        return counted_when_loaded == counted
    weight, bias = norm.weight, norm.bias
    if counted or not norm.training or weight is None or bias is None:
        return False
    return bool((weight != 1).any() or (bias != 0).any())


def refuse_stale_statistics(module: nn.Module) -> None:
    """Raise ModelError where :func:`stale_norms` names any; the message says what to do."""
    if stale := stale_norms(module):
        more = f" and {len(stale) - 1} more" if len(stale) > 1 else ""
        raise ModelError(
            f"batch norm {stale[0]!r}{more} was fitted with the statistics of the set at hand and kept no running "
            "ones, so in eval() the folded network would be another function; give fold(..., statistics=x) examples "
            'to take them from, or statistics="set" for norms that use the set at hand in eval() too'
        )


def _tuple(x: Any) -> tuple[Any, ...]:
    """The inputs of a network as a tuple; a single one becomes a tuple of one."""
    return x if isinstance(x, tuple) else (x,)


@torch.no_grad()
def calibrate(module: nn.Module, x: Tensor | tuple[Any, ...]) -> float:
    """Set the running statistics of every batch norm, in place, to those of the examples ``x``.

    Each norm takes mean and variance (over examples and positions, not corrected for their number) of what reaches it
    when all norms use the set at hand, as in :func:`msr.meta.from_module`. Then ``module.eval()(x)`` equals, up to
    rounding, what meta-learning computes on the set ``x``; on another set it differs as far as the statistics do.
    A norm that nothing reaches keeps what it had. All modes (``training``) are the same afterwards.

    Args:
        module: a network; other parts than norms run as they do in ``eval()``.
        x: the network's input ``(examples, ...)``, or a tuple of its inputs; many examples, as the statistics are
            theirs.

    Returns:
        ``‖y' − y‖ / ‖y‖``, where ``y`` are the outputs on ``x`` with the set's statistics and ``y'`` those in
        ``eval()``; units: none. It is more than rounding where a norm is used more than once in a network, since the
        norm then holds the mean of several statistics.

    Raises: ConfigError when the module has no batch norm with running statistics.
    """
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm) and part.running_mean is not None]
    if not norms:
        raise ConfigError("the network has no batch norm with running statistics, so there is nothing to set")
    options = (bool, int, float, str, type(None))  # arguments of a network that hold no data
    inputs = tuple(part if isinstance(part, options) else as_tensor(part, "x") for part in _tuple(x))
    moments: dict[nn.Module, list[tuple[Tensor, Tensor]]] = {norm: [] for norm in norms}

    def record(norm: nn.Module, arguments: tuple[Any, ...]) -> None:
        """The hook before a norm: note mean and variance of each channel of what reaches it."""
        batch = arguments[0]
        axes = [0, *range(2, batch.ndim)]
        # A sum over many pixels overflows in half precision.
        lifted = batch.float() if batch.dtype in (torch.float16, torch.bfloat16) else batch
        moments[norm].append((lifted.mean(axes), lifted.var(axes, correction=0)))

    with _all_in_eval(module):
        with _set_statistics(norms, record):
            by_set = module(*inputs)
        for norm in norms:
            if moments[norm]:
                means, variances = (torch.stack(uses) for uses in zip(*moments[norm], strict=True))
                cast(Tensor, norm.running_mean).copy_(means.mean(0))
                cast(Tensor, norm.running_var).copy_(variances.mean(0))
                norm.__dict__.pop("counted_when_loaded", None)
                if norm.num_batches_tracked is not None:
                    norm.num_batches_tracked.add_(len(means))
        by_running = module(*inputs)
    return _distance(by_set, by_running)


def use_set_statistics_in_eval(module: nn.Module, statistics: str) -> None:
    """Let every batch norm use the set at hand in ``eval()`` too, in place, by taking its running statistics away.

    ``statistics`` is ``"set"``, the only text that is allowed. Raises: ConfigError for another one.
    """
    if statistics != "set":
        raise ConfigError(f"statistics must be examples, 'set' or None; got {statistics!r}")
    for part in module.modules():
        if isinstance(part, _BatchNorm):
            part.track_running_stats = False
            part.running_mean = None
            part.running_var = None
            part.num_batches_tracked = None
            part.__dict__.pop("counted_when_loaded", None)


@contextmanager
def _all_in_eval(module: nn.Module) -> Iterator[None]:
    """All parts are in ``eval()`` within the block, and in their own modes after it."""
    before = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in before.items():
            part.training = training


@contextmanager
def _set_statistics(norms: list[_BatchNorm], record: Callable[[nn.Module, tuple[Any, ...]], None]) -> Iterator[None]:
    """Within the block norms use the set at hand; after it they have the running statistics that they had.

    ``record`` is called before each norm runs, with the norm and the tuple of its arguments.
    """
    running = [(norm.running_mean, norm.running_var) for norm in norms]
    hooks = [norm.register_forward_pre_hook(record) for norm in norms]
    for norm in norms:
        # In eval(), torch's norm without running statistics uses those of the set.
        norm.running_mean = None
        norm.running_var = None
    try:
        yield
    finally:
        for norm, hook, (mean, variance) in zip(norms, hooks, running, strict=True):
            hook.remove()
            norm.running_mean = mean
            norm.running_var = variance


def _distance(before: Any, after: Any) -> float:
    """``‖after − before‖ / ‖before‖`` over all floating point tensors in two outputs of one structure.

    Where ``before`` is zero it is ``‖after‖``.
    """
    pairs = list(_tensors(before, after))
    difference = sum(float((b - a).double().square().sum()) for a, b in pairs)
    size = sum(float(a.double().square().sum()) for a, _ in pairs)
    return (difference / size) ** 0.5 if size else difference**0.5


def _tensors(before: Any, after: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs of floating tensors in the same place of two outputs."""
    if isinstance(before, Tensor):
        if before.is_floating_point():
            yield before, after
    elif isinstance(before, dict):
        for key in before:
            yield from _tensors(before[key], after[key])
    elif isinstance(before, (tuple, list)):
        for part, counterpart in zip(before, after, strict=True):
            yield from _tensors(part, counterpart)
