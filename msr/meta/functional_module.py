"""From a module to a learning problem, and learned parameters back into the module."""

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd as _Dropout

from msr.arrays import as_tensor
from msr.errors import ConfigError, ModelError
from msr.meta.checks.parameter_reads import aliases
from msr.meta.checks.purity import refuse_changing_weights
from msr.meta.exact import Exact, KnownFunction, is_plain_module, refuse_backward_hooks
from msr.meta.problem import Params, Problem
from msr.meta.setnorm import use_set_statistics
from msr.modules import copied, dotted, with_parts_replaced
from msr.sharing import Sharing
from msr.trees import Tree

__all__ = ["Features", "FunctionalModule", "ModulePrediction", "from_module", "load_params"]


class FunctionalModule(NamedTuple):
    """A module as a problem, with its parameters split by role; frozen ones are constants inside the problem.

    Attributes:
        problem: the criterion of the module's prediction.
        shared: the parameters that all tasks share, by name.
        initial: the parameters that each task adapts, by name, at their start.
    """

    problem: Problem
    shared: Params
    initial: Params

    def before(self, layer: str) -> "Features":
        """``(params, x) -> z``: what the network gives with an identity in place of a layer.

        For the last layer these are the features that a head is fitted to (:mod:`msr.meta.solvers.heads`).

        Args: ``layer``: as in ``named_modules()``; it must be used once.
        Raises: ConfigError for a name that the network does not have, and where the problem is not of a module.
        """
        predict = self.problem.predict
        prediction = predict.function if isinstance(predict, Exact) else predict
        if not isinstance(prediction, ModulePrediction):
            raise ConfigError("only the problem of a module (from_module) has layers")
        module = copied(prediction.module)
        parts = dict(module.named_modules())
        if layer not in parts or not layer:
            raise ConfigError(
                f"the network has no layer {layer!r}; there are {', '.join(name for name in parts if name)}"
            )
        return Features(with_parts_replaced(module, {parts[layer]: nn.Identity()}), prediction.constants)


def from_module(
    module: nn.Module,
    criterion: Callable[[Any, Tree], Tensor] = F.mse_loss,
    *,
    shared: Callable[[str], bool] | None = None,
) -> FunctionalModule:
    """The problem ``criterion(module(x), y)`` and the module's parameters, split into shared and adapted.

    Args:
        module: any network; it is copied, never changed. Its inputs are a task's ``x``: a tensor is its one argument, a
            tuple its arguments in order, a dictionary its arguments by keyword.
        criterion: ``(prediction, y) -> scalar``.
        shared: ``name -> bool`` says which parameters all tasks share. By default those of sharing patterns
            (:class:`msr.sharing.Sharing`). Parameters that do not require a gradient are constants.

    Batch norm uses the statistics of the set it is given, the support set while adapting and the query set when
    judged (the common, *transductive* protocol of few-shot learning). Running statistics are neither used nor kept,
    so nothing passes from one task to another.

    Two things can only be found by calling the network, and are tried on the first batch that a learner gets: that its
    answer is a function of its parameters and inputs, and that it reads every parameter by its registered name.

    Raises: ConfigError when no parameter is left for a task to adapt; ModelError for a backward hook, which tasks
    cannot run, for active dropout and for weights that change whenever they are read (spectral norm in training), which
    would differ between a task's inner steps, and for a layer that cannot be copied.
    """
    dropping = [
        name for name, part in module.named_modules() if isinstance(part, _Dropout) and part.training and part.p
    ]
    if dropping:
        raise ModelError(f"dropout is active in {', '.join(dropping)}; remove it, or call eval() on the module first")
    refuse_backward_hooks(module)
    if isinstance(module, torch.jit.ScriptModule):
        raise ModelError(
            "the module is TorchScript, which cannot be called with other parameters than its own; give the module "
            "that torch.jit.script or torch.jit.trace was called with"
        )
    # Before the copy, which unties tensors that share memory.
    given = {name: p for name, p in module.named_parameters() if p.requires_grad}
    alias_of = aliases(module, given)
    module = use_set_statistics(copied(module))
    refuse_changing_weights(module)
    is_shared = shared or _in_sharing_pattern(module)
    constants = {name: p.detach() for name, p in module.named_parameters() if not p.requires_grad}
    learned = {name: p.detach().clone() for name, p in module.named_parameters() if p.requires_grad}
    # bool(), since the caller's function may return anything that is true or false.
    groups = {role: {n: p for n, p in learned.items() if bool(is_shared(n)) is role} for role in (True, False)}
    if not groups[False]:
        raise ConfigError(
            f"no parameter is left for a task to adapt; the shared ones are {', '.join(groups[True]) or 'none'}"
        )

    predict = ModulePrediction(module, constants, {n: weakref.ref(p) for n, p in given.items()}, alias_of)
    return FunctionalModule(Problem(predict, criterion), groups[True], groups[False])


@dataclass(frozen=True, eq=False)
class ModulePrediction(KnownFunction):
    """A module's answer with other parameters than its own: an ``x`` that is a tuple goes in by position, a dictionary
    by keyword.

    Attributes:
        module: a copy of the user's module.
        constants: its parameters that are not learned.
        originals: the learned parameters of the user's module itself, as long as it lives. A call that reads one of
            them has got at it by another way than its name, which is refused.
        aliases: other tensors of the user's module that lie in the memory of learned parameters: the parameter's name,
            by the place of the tensor (:func:`~msr.meta.checks.parameter_reads.aliases`).
    """

    module: nn.Module
    constants: Params
    originals: dict[str, "weakref.ref[Tensor]"]
    aliases: dict[str, str]

    @cached_property
    def is_plain(self) -> bool:
        """Whether the module is known to call nothing that has an exact form; see :mod:`msr.meta.exact.plain`.

        False where it is not known, as for a ``forward`` of the user's own.
        """
        return is_plain_module(self.module)

    def __call__(self, params: Params, x: Tree) -> Any:
        """The prediction for one task's examples."""
        arguments = x if isinstance(x, tuple) else () if isinstance(x, dict) else (x,)
        keywords = x if isinstance(x, dict) else None
        return torch.func.functional_call(self.module, {**self.constants, **params}, arguments, keywords)


@dataclass(frozen=True, eq=False)
class Features(KnownFunction):
    """What a network gives with an identity in place of its head, a function of parameters and one task's ``x``.

    Attributes:
        module: the network without its head.
        constants: parameters that are not learned, by name; those of the head among them are not used.
    """

    module: nn.Module
    constants: Params

    @cached_property
    def is_plain(self) -> bool:
        """As :attr:`ModulePrediction.is_plain`."""
        return is_plain_module(self.module)

    @cached_property
    def _names(self) -> frozenset[str]:
        """The parameters that are used."""
        return frozenset(name for name, _ in self.module.named_parameters())

    def __call__(self, params: Params, x: Tree) -> Any:
        """The features of one task's examples, ``(examples, ...)``; parameters of the head may be among ``params``."""
        arguments = x if isinstance(x, tuple) else () if isinstance(x, dict) else (x,)
        own = {name: value for name, value in {**self.constants, **params}.items() if name in self._names}
        return torch.func.functional_call(self.module, own, arguments, x if isinstance(x, dict) else None)


def load_params(module: nn.Module, *groups: Params) -> nn.Module:
    """Copy learned tensors into the module they came from, in place; returns it. Of a name in several ``groups`` the
    last counts; parameters in none stay.

    ``load_params(net, params.shared, adapted_of_a_task)`` is that task's network. Its batch norms do not have the
    running statistics that belong to these weights (:func:`from_module` keeps none). So in ``eval()`` it is another
    function until :func:`msr.layers.calibrate` sets them, and :func:`msr.layers.fold` refuses it until then.
    Shapes: each tensor has the shape of the parameter of its name.
    Raises: ConfigError for a name that the module does not have.
    """
    own = dict(module.named_parameters())
    with torch.no_grad():
        for name, tensor in (item for group in groups for item in group.items()):
            if name not in own:
                raise ConfigError(f"the module has no parameter {name!r}; it has {', '.join(own)}")
            own[name].copy_(as_tensor(tensor, name))
    for part in module.modules():
        if isinstance(part, _BatchNorm) and part.num_batches_tracked is not None:
            # ``fold`` reads this attribute by its name: while the count of batches is still this one, the statistics
            # belong to older weights.
            vars(part)["counted_when_loaded"] = int(part.num_batches_tracked)
    return module


def _in_sharing_pattern(module: nn.Module) -> Callable[[str], bool]:
    """A function that says of a parameter's name whether the parameter belongs to a sharing pattern of the module."""
    homes = [name for name, part in module.named_modules() if isinstance(part, Sharing)]
    names = {dotted(home, n) for home in homes for n, _ in module.get_submodule(home).named_parameters()}
    return names.__contains__
