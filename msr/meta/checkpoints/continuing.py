"""Whether an outer loop can continue from a state, checked and tried on copies before anything changes."""

import copy
import math
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from msr.errors import DataError, kind_and_line
from msr.meta.problem import MetaParameters

__all__ = ["check_state", "not_finite"]

_KEYS = ("params", "optimizer", "scheduler", "steps_done", "batching")
_RATES = ("lr", "initial_lr", "max_lr", "min_lr")  # settings of an optimiser that may differ when a run continues
_CYCLED = ("betas", "momentum")  # settings that some schedulers change from step to step
_MOVING = ("base_lrs", "last_epoch", "T_i", "T_cur")  # entries of a scheduler that change from step to step, and rates


def check_state(
    state: Mapping[str, Any],
    params: MetaParameters,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler | None,
    steps_done: int,
) -> None:
    """Raise DataError, with nothing changed, unless a loop of these parts can continue from ``state``.

    ``steps_done`` counts the steps of this loop so far, which its scheduler has counted too.
    """
    if not isinstance(state, Mapping):
        raise DataError(f"the checkpoint is not one of an outer loop but a {type(state).__name__}")
    missing = [key for key in _KEYS if key not in state]
    if missing:
        raise DataError(f"the checkpoint is not one of an outer loop (it lacks {', '.join(missing)})")
    if type(state["steps_done"]) is not int or state["steps_done"] < 0:
        raise DataError(f"the checkpoint's steps_done is {_shown(state['steps_done'])}, not a count")
    if state["batching"] not in ("auto", "vmap", "loop"):
        raise DataError(f"the checkpoint's batching is {_shown(state['batching'])}, not auto, vmap or loop")
    if (scheduler is None) is not (state["scheduler"] is None):
        raise DataError("the checkpoint and this run do not both have a scheduler")
    _check_params(state["params"], params)
    bad = not_finite(state["optimizer"])
    if bad:
        raise DataError(f"the checkpoint's optimizer{bad} is not finite")
    try:
        with warnings.catch_warnings():
            # torch warns of the order in which the copies of optimiser and scheduler take their steps.
            warnings.simplefilter("ignore")
            _try_on_copies(state, optimizer, scheduler, steps_done)
    except DataError:
        raise
    except Exception as error:  # whatever a torch optimiser raises on a state that is not of its kind
        raise DataError(
            f"the checkpoint's optimizer or scheduler is not of this run's kind ({kind_and_line(error)[:160]})"
        ) from error


def not_finite(value: Any, where: str = "") -> str:
    """Where the first nan or infinity is in a tree of tensors and numbers, as ``[key][key]``; "" where there is none.

    It is ``where``, or " state" without one, where the tree is that one value.

    A plain number may be infinite (a bound that is switched off), but not nan; a tensor may hold neither.
    """
    if isinstance(value, Tensor):
        return "" if bool(value.isfinite().all()) else where or " state"
    if isinstance(value, float):
        return where or " state" if math.isnan(value) else ""
    if isinstance(value, Mapping):
        return next((bad for key, item in value.items() if (bad := not_finite(item, f"{where}[{key!r}]"))), "")
    if isinstance(value, (list, tuple)):
        return next((bad for i, item in enumerate(value) if (bad := not_finite(item, f"{where}[{i}]"))), "")
    return ""


def _check_params(saved: Any, params: MetaParameters) -> None:
    """Raise DataError unless ``saved`` holds finite tensors of the names, shapes and types of ``params``."""
    if not isinstance(saved, Mapping) or set(saved) != set(MetaParameters._fields):
        raise DataError(f"the checkpoint's params must hold {', '.join(MetaParameters._fields)}; got {_shown(saved)}")
    for name, group in zip(MetaParameters._fields, params, strict=True):
        saved_group = saved[name]
        if not isinstance(saved_group, Mapping) or not all(
            isinstance(tensor, Tensor) for tensor in saved_group.values()
        ):
            raise DataError(f"the checkpoint's {name} parameters are no tensors by name")
        if {n: t.shape for n, t in group.items()} != {n: t.shape for n, t in saved_group.items()}:
            raise DataError(
                f"the checkpoint's {name} parameters are {', '.join(map(str, saved_group)) or 'none'}, "
                f"this run's are {', '.join(group) or 'none'}, or their shapes differ"
            )
        for n, tensor in group.items():
            if saved_group[n].dtype != tensor.dtype or saved_group[n].layout != tensor.layout:
                raise DataError(
                    f"the checkpoint's {name} parameter {n} is {saved_group[n].dtype}, this run's {tensor.dtype}"
                )
            if not saved_group[n].isfinite().all():
                raise DataError(f"the checkpoint's {name} parameter {n} is not finite")


def _try_on_copies(
    state: Mapping[str, Any],
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler | None,
    steps_done: int,
) -> None:
    """Load the state into copies, compare it with what this run's optimiser keeps, and take a step of zero gradient.

    Raises: DataError for a difference other than in rates (and in momenta that a scheduler moves), or numbers that are
    not finite after that step; whatever torch raises on a state of another kind.
    """
    saved = state["optimizer"]
    # What an optimiser keeps for each parameter shows after its first step.
    stepped = copy.deepcopy(optimizer)
    # Cleared, so that its state after one step is what a fresh optimiser keeps, whatever this run has done.
    stepped.state.clear()
    _step(stepped)
    own, copied_scheduler = copy.deepcopy((optimizer, scheduler))
    n = sum(len(group["params"]) for group in optimizer.param_groups)
    if state["steps_done"] > 0 or saved["state"]:
        _check_like(stepped.state_dict()["state"], saved["state"], "optimizer['state']")
    for own_group, saved_group in zip(own.state_dict()["param_groups"], saved["param_groups"], strict=True):
        numbers = list(saved_group["params"])
        # True equals 1, so the types are compared too.
        if own_group["params"] != numbers or any(type(number) is not int for number in numbers):
            raise DataError(f"the checkpoint's optimizer numbers the parameters {_shown(saved_group['params'])}")
    # An optimiser that counts its steps corrects its moments by that count.
    for kept in saved["state"].values():
        if "step" in kept and float(kept["step"]) != state["steps_done"]:
            raise DataError(
                f"the checkpoint's optimizer has done {float(kept['step']):g} steps, its loop {state['steps_done']}"
            )
    # A copy, since torch keeps the tensors that it is given, and steps them.
    own.load_state_dict(copy.deepcopy(dict(saved)))
    # With the state of some, parameters with and without moments would be mixed.
    if len(own.state_dict()["state"]) not in (0, n):
        raise DataError("the checkpoint's optimizer has the state of some parameters and not of others")
    cycled = _CYCLED if getattr(scheduler, "cycle_momentum", False) else ()
    for before, now in zip(optimizer.param_groups, own.param_groups, strict=True):
        for key in before.keys() - {"params"}:
            if key not in now:
                raise DataError(f"the checkpoint's optimizer has no {key}")
            _check_like(before[key], now[key], f"optimizer's {key}")
            if key in _RATES and not 0 <= float(now[key]) < math.inf:
                raise DataError(f"the checkpoint's {key} is {_shown(now[key])}")
            if key not in (*_RATES, *cycled) and before[key] != now[key]:
                raise DataError(
                    f"the checkpoint's optimizer has {key} = {_shown(now[key])}, this run's {_shown(before[key])}"
                )
    if copied_scheduler is not None:
        _check_scheduler(state, copied_scheduler, steps_done)
        copied_scheduler.load_state_dict(copy.deepcopy(state["scheduler"]))
    _step(own)
    if copied_scheduler is not None:
        copied_scheduler.step()
    bad = not_finite([group["lr"] for group in own.param_groups]) or not_finite(own.state_dict()["state"])
    if bad:
        raise DataError("the checkpoint's optimizer or scheduler gives numbers that are not finite at its next step")


def _check_scheduler(
    state: Mapping[str, Any], scheduler: torch.optim.lr_scheduler.LRScheduler, steps_done: int
) -> None:
    """Raise DataError unless a scheduler can continue from ``state["scheduler"]``.

    That needs finite numbers, the same entries and settings, rates that are not negative, and the count of steps that
    belongs to ``state["steps_done"]``. Settings and counts are compared for torch's own schedulers only.
    """
    own = scheduler.state_dict()
    saved = state["scheduler"]
    bad = not_finite(saved)
    if bad:
        raise DataError(f"the checkpoint's scheduler{bad} is not finite")
    _check_like(own, saved, "scheduler")
    for key in ("base_lrs", "_last_lr"):
        if not all(0 <= float(rate) < math.inf for rate in saved.get(key, [])):
            raise DataError(f"the checkpoint's scheduler has {key} = {_shown(saved[key])}")
    if type(scheduler).__module__ != "torch.optim.lr_scheduler":
        return  # which entries are settings and which count steps is known of torch's own schedulers only
    for key in own.keys() - set(_MOVING):
        if not key.startswith("_") and own[key] != saved[key]:
            raise DataError(
                f"the checkpoint's scheduler has {key} = {_shown(saved[key])}, this run's {_shown(own[key])}"
            )
    # Differences are compared, since a scheduler may begin at another count than 0.
    if "last_epoch" in own and saved["last_epoch"] - state["steps_done"] != own["last_epoch"] - steps_done:
        raise DataError(
            f"the checkpoint's scheduler has done {_shown(saved['last_epoch'])} steps, its loop {state['steps_done']}"
        )


def _step(optimizer: torch.optim.Optimizer) -> None:
    """Take a step with zero gradients and zero rates, which cannot fail for the size of a rate.

    The optimiser's rates stay zero, so it is for copies.
    """
    for group in optimizer.param_groups:
        # Times zero, since a rate may be a tensor, which must stay one.
        group["lr"] = group["lr"] * 0
        for leaf in group["params"]:
            leaf.grad = torch.zeros_like(leaf)
    optimizer.step()


def _check_like(own: Any, saved: Any, where: str) -> None:
    """Raise DataError unless two trees have the same keys, lengths, kinds of values, and tensor shapes and types.

    Args: ``own``: this run's tree; ``saved``: the checkpoint's; ``where``: its place in the checkpoint, for messages.
    """
    if isinstance(own, Tensor) or isinstance(saved, Tensor):
        kinds = [(t.dtype, tuple(t.shape)) if isinstance(t, Tensor) else type(t).__name__ for t in (saved, own)]
        if kinds[0] != kinds[1]:
            raise DataError(f"the checkpoint's {where} is {_shown(kinds[0])}, this run's {_shown(kinds[1])}")
    elif isinstance(own, Mapping) and isinstance(saved, Mapping):
        if own.keys() != saved.keys():
            saved_keys, own_keys = (", ".join(map(str, sorted(tree, key=str))) or "nothing" for tree in (saved, own))
            raise DataError(f"the checkpoint's {where} holds {saved_keys[:120]}, this run's {own_keys[:120]}")
        for key in own:
            _check_like(own[key], saved[key], f"{where}[{key!r}]")
    elif isinstance(own, (list, tuple)) and isinstance(saved, (list, tuple)):
        if len(own) != len(saved):
            raise DataError(f"the checkpoint's {where} has {len(saved)} entries, this run's {len(own)}")
        for i, (own_item, saved_item) in enumerate(zip(own, saved, strict=True)):
            _check_like(own_item, saved_item, f"{where}[{i}]")
    elif _kind(own) != _kind(saved):
        raise DataError(f"the checkpoint's {where} is {_shown(saved)}, where this run has {_shown(own)}")


def _kind(value: Any) -> str:
    """The kind of a value; whole and other numbers are of one kind, since torch's states mix 1 and 1.0."""
    return "number" if type(value) in (int, float) else type(value).__name__


def _shown(value: Any) -> str:
    """A value as text in one line, cut after 60 characters."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:59] + "…"
