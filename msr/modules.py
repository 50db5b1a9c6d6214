"""Copies of a module, changes of its parts in place, and the kinds of module that this package's rooms tell apart.

What cannot be copied is named, with what to do.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn.utils.prune import BasePruningMethod

from msr.arrays import is_wrapped
from msr.errors import ModelError, kind_and_line

__all__ = ["AffineModule", "PackageModule", "as_at_first", "copied", "dotted", "with_parts_replaced"]


class PackageModule(nn.Module):
    """A module with code of this package: a network that holds one cannot be used where the package is missing.

    A class says of itself that it calls no function of torch which meta-learning needs in an exact form
    (:mod:`msr.meta.exact.plain`): ``class Layer(PackageModule, plain=True)``. Its subclasses do not inherit this, since
    they may call anything.
    """

    is_plain: ClassVar[bool] = False

    def __init_subclass__(cls, *, plain: bool = False, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        cls.is_plain = plain


class AffineModule(nn.Module):
    """A module that may be ``x ↦ W x + b`` by construction, so that checkers can read it off as a matrix.

    A class claims this for the ``forward`` that it has: ``class Layer(AffineModule, affine=True)``. Its subclasses
    inherit the claim together with that ``forward``. A subclass with a ``forward`` of its own may compute anything, so
    for it the claim does not hold unless it is made again.
    """

    _affine_forward: ClassVar[Callable[..., Any] | None] = None

    def __init_subclass__(cls, *, affine: bool = False, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if affine:
            cls._affine_forward = cls.forward

    @classmethod
    def claims_affine(cls) -> bool:
        """Whether the class has the very ``forward`` for which it, or a base, claimed to be affine."""
        return cls._affine_forward is not None and cls.forward is cls._affine_forward


def copied(module: nn.Module) -> nn.Module:
    """A deep copy of ``module``, which shares nothing with it.

    Raises: ModelError naming the layer when a weight is computed by a hook (``torch.nn.utils.weight_norm`` and
    ``spectral_norm``, superseded by ``torch.nn.utils.parametrizations``; pruning), whether or not it happens to be
    copied; and when copying fails for whatever reason, naming the innermost layer at fault.
    """
    if not isinstance(module, nn.Module):
        raise ModelError(f"a torch.nn.Module is needed; got a {type(module).__name__}")
    for name, part in module.named_modules():
        for hook in part._forward_pre_hooks.values():
            _refuse_computed_weight(name, part, hook)
    try:
        return copy.deepcopy(module)
    except Exception as error:  # a module may define copying in any way
        name, part = _at_fault(module)
        reason = _computed(part) or kind_and_line(error)
        raise ModelError(f"{_called(name, part)} cannot be copied ({reason})") from error


def as_at_first(module: nn.Module) -> nn.Module:
    """A deep copy in which tensors that calls have stored on the module (features, attention weights) are None.

    It is for modules that :func:`copied` has returned, in which only a call can have stored a tensor with a history.
    """
    values = [value for part in module.modules() for value in vars(part).values() if value is not part._parameters]
    memo: dict[int, Any] = {id(tensor): None for value in values for tensor in _results(value)}
    return copy.deepcopy(module, memo)


def with_parts_replaced(module: nn.Module, new: Mapping[nn.Module, nn.Module]) -> nn.Module:
    """Replace some parts of a module in place, under each of their names; returns the module, or what replaces it.

    ``new`` has, for each part to be replaced, what takes its place.
    """
    for part in list(module.modules()):
        for name, child in list(part._modules.items()):  # named_children() hides a module's second name
            if child is not None and child in new:
                setattr(part, name, new[child])
    return new.get(module, module)


def dotted(home: str, key: str) -> str:
    """``home.key``, the name of an attribute of a part of a module; the whole module's own name is empty."""
    return f"{home}.{key}".lstrip(".")


def _results(value: Any) -> list[Tensor]:
    """The tensors in an attribute's value, and in containers there, that were computed from others.

    They have a history of gradients, or belong to a function transform (``vmap``, ``grad``).
    """
    if isinstance(value, Tensor):
        try:
            return [] if value.is_leaf and not is_wrapped(value) else [value]
        except RuntimeError:  # of a transform that has ended
            return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [tensor for part in parts for tensor in _results(part)]


_SUPERSEDED = {"WeightNorm": "weight_norm", "SpectralNorm": "spectral_norm"}


def _refuse_computed_weight(name: str, part: nn.Module, hook: Any) -> None:
    """Raise ModelError if a hook of a module's part computes a weight: old weight or spectral norms, pruning.

    ``name`` is the dotted name of ``part`` in the module.
    """
    function = _SUPERSEDED.get(type(hook).__name__) if type(hook).__module__.startswith("torch.nn.utils.") else None
    if function:
        raise ModelError(
            f"{_called(name, part)} computes its {hook.name} in a hook (torch.nn.utils.{function}), which a copy may "
            f"lose; use torch.nn.utils.parametrizations.{function} instead"
        )
    if isinstance(hook, BasePruningMethod):
        tensor = hook._tensor_name
        raise ModelError(
            f"{_called(name, part)} computes its {tensor} in a hook (torch.nn.utils.prune), which a copy may lose; "
            f"make the pruning permanent first: torch.nn.utils.prune.remove(layer, {tensor!r})"
        )


def _at_fault(module: nn.Module) -> tuple[str, nn.Module]:
    """The dotted name of the innermost part that cannot be copied, and the part; of several the first one.

    It is the module itself, with an empty name, where each part can be copied.
    """
    fault = ("", module)
    for name, part in module.named_modules():
        is_inside = not fault[0] or name.startswith(f"{fault[0]}.")
        if is_inside and not _copies(part):
            fault = (name, part)
    return fault


def _copies(part: nn.Module) -> bool:
    """Whether a deep copy of a module succeeds."""
    try:
        copy.deepcopy(part)
    except Exception:
        return False
    return True


def _computed(part: nn.Module) -> str | None:
    """A clause for a message: which attributes of a module hold a tensor with a history, and what to do about it.

    That is the usual reason why copying fails. None if no attribute holds one.
    """
    names = [name for name, value in vars(part).items() if not name.startswith("_") and _has_history(value)]
    if not names:
        names = [name for name, value in vars(part).items() if name not in _TORCHS_OWN and _has_history(value)]
    if not names:
        return None
    return (
        f"{', '.join(names)} holds a tensor computed from others; compute it in forward(), or keep .detach() of it if "
        "it is a constant"
    )


_TORCHS_OWN = set(vars(nn.Module()))


def _has_history(value: Any) -> bool:
    """Whether a value is a tensor that was computed with gradients, or a container that holds one at any depth."""
    if isinstance(value, Tensor):
        return not value.is_leaf
    if isinstance(value, dict):
        return any(map(_has_history, value.values()))
    return isinstance(value, (list, tuple)) and any(map(_has_history, value))


def _called(name: str, part: nn.Module) -> str:
    """A part of a module as messages call it, by its dotted name and its class; the module itself has an empty name."""
    return f"layer {name!r} ({type(part).__name__})" if name else f"the module ({type(part).__name__})"
