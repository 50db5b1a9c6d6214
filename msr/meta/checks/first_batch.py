"""What an inner loop takes for granted of a problem, tried on the first batch that a learner gets.

A task fits parameters and is judged by a prediction from them. So three things must hold. The prediction is a function
of parameters and inputs, which gives the same answer each time. It depends on all parameters that are handed over, by
whatever way the network reads its weights. The criterion compares it with the target number by number, without
broadcasting. None of that can be told from a network's class.
"""

import contextlib
import functools
import inspect
import warnings
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from msr.errors import ModelError, ShapeError, kind_and_line
from msr.meta.checks.parameter_reads import ParameterReads, shifted
from msr.meta.checks.purity import Impurity, agree, impurity, keeping_random_states
from msr.meta.exact import Exact
from msr.meta.functional_module import ModulePrediction
from msr.meta.problem import MetaParameters, Params, Problem
from msr.modules import as_at_first
from msr.trees import Tree, mapped

__all__ = ["check_problem"]


def check_problem(problem: Problem, params: MetaParameters, x: Tree, y: Tree | None = None) -> None:
    """Raise unless predictions of one task's examples ``x`` are a function of parameters and inputs.

    With ``y``, the criterion has to take the prediction as it is; broadcasting is seen only where torch warns of it, as
    its own losses do. Nothing is left changed: a module of :func:`~msr.meta.from_module` is tried on copies, the
    buffers of one that a hand-written ``predict`` holds are put back, and so are all states of random numbers.

    Raises: ModelError naming the modules or parameters at fault, with a remedy that was tried where there is one;
    ShapeError for a prediction that does not fit the target.
    """
    with torch.inference_mode(mode=False), torch.enable_grad():  # as in training, whatever is around the call
        x, y = (mapped(_plain, tree) for tree in (x, y))
        own = {**params.shared, **params.initial}
        start = {name: _plain(p).requires_grad_(p.is_floating_point() or p.is_complex()) for name, p in own.items()}
        device = next(iter(start.values())).device
        predict = problem.predict.function if isinstance(problem.predict, Exact) else problem.predict
        if isinstance(predict, ModulePrediction):
            with keeping_random_states({"": predict.module}, device):
                answer = _try_module(predict, start, x, device)
        else:
            answer = _try_function(problem, start, x, device)
        if y is not None:
            _try_criterion(problem, answer, y)


def _try_module(predict: ModulePrediction, start: Params, x: Tree, device: torch.device) -> Any:
    """The prediction of a module at ``start``, tried on copies of the module.

    Raises: ModelError where it is not a function of parameters and inputs, or does not read all its parameters by name.
    """
    twin = as_at_first(predict.module)
    call = _with(predict, twin)
    answers: list[Any] = []
    reads = ParameterReads.of(twin, predict.originals, predict.aliases, start)

    def ask() -> Any:
        # Watching once is enough: in the first call, in which caches are filled too.
        with contextlib.nullcontext() if answers else reads:
            answers.append(call(start, x))
        return answers[-1]

    fault = impurity(ask, {"": twin}, device)
    if fault:
        raise ModelError(_in_words(fault) + _remedy(predict, fault, start, x, device))
    reads.refuse()
    _compare_with_a_shifted_copy(predict, call, start, x)
    return answers[0]


def _compare_with_a_shifted_copy(predict: ModulePrediction, call: Any, start: Params, x: Tree) -> None:
    """Refuse a network that computes with parameters of an earlier call, by shifted values of all parameters.

    They are handed over to the copy that has been called, and written into a fresh copy. The answers differ only where
    something computed from parameters is kept between calls. Where the network fails with shifted values, that is a
    warning, and nothing is refused.

    Args: ``call``: the prediction of the copy that has been called.
    Raises: ModelError naming the parameters.
    """
    values = shifted(start)
    try:
        handed_over = call(values, x)
        written_in = _in_place(as_at_first(predict.module), values, x)
    except Exception as error:
        message = (
            "whether the network reads every parameter that it is given could not be tried: with all of them shifted "
            f"by 3% it raises {kind_and_line(error)}"
        )
        warnings.warn(message, stacklevel=2)
        return
    if agree(handed_over, written_in):
        return
    # One parameter at a time, for the message alone: each costs two copies and three predictions.
    names = [name for name in values if not _agrees_alone(predict, name, start, values[name], x)]
    raise ModelError(
        f"a prediction with other values of {', '.join(names) or 'the parameters'} is not that of a network that holds "
        "these values: something computed from them is kept between calls (a cached property, a list, an attribute), "
        "so tasks would be judged with weights that they did not fit. Compute it anew in each forward()"
    )


def _in_place(module: nn.Module, params: Params, x: Tree) -> Any:
    """The answer of a module whose own parameters are set to these values; the module is changed."""
    own = dict(module.named_parameters())
    with torch.no_grad():
        for name, value in params.items():
            if name not in own:
                continue
            if own[name].dtype == value.dtype:
                own[name].copy_(value)
            else:  # a functional call takes parameters of any precision
                own[name].data = value.detach().clone()
    return Exact.of(ModulePrediction(module, {}, {}, {}))({}, x)


def _agrees_alone(predict: ModulePrediction, name: str, start: Params, value: Tensor, x: Tree) -> bool:
    """Whether the two answers that :func:`_compare_with_a_shifted_copy` compares agree with one parameter shifted.

    Args: ``name``: of that parameter; ``value``: its shifted value; the others are as in ``start``.
    """
    call = _with(predict, as_at_first(predict.module))
    call(start, x)  # fills what is kept between calls
    params = {**start, name: value}
    return agree(call(params, x), _in_place(as_at_first(predict.module), params, x))


def _remedy(predict: ModulePrediction, fault: Impurity, start: Params, x: Tree, device: torch.device) -> str:
    """What to do about a fault, for the message: ``eval()`` on the modules at fault, where that was tried and mends it,
    else to hand random numbers over with ``x``.
    """
    twin = as_at_first(predict.module)
    for name in fault.modules:
        twin.get_submodule(name).eval()
    if impurity(lambda: _with(predict, twin)(start, x), {"": twin}, device) is None:
        return "; call eval() on it before from_module, which was tried and mends it"
    return (
        "; eval() does not mend it. Draw such numbers beforehand and hand them over with the inputs (x may be a tuple "
        "or a dictionary of tensors), and let forward() change nothing"
    )


def _in_words(fault: Impurity) -> str:
    """The message for a fault: which modules of the network are no functions, and why."""
    names = ", ".join(name or "its own forward()" for name in fault.modules)
    at = f" in {names}" if names else ""
    return f"the network is not a function of its parameters and inputs{at}: {'; '.join(fault.reasons)}"


def _try_function(problem: Problem, start: Params, x: Tree, device: torch.device) -> Any:
    """The prediction of a problem written by hand at ``start``.

    Buffers and random states of the modules that it holds are put back.
    Raises: ModelError where it is not a function of parameters and inputs.
    """
    modules = {
        f"<{name}>": module
        for name, module in _held_modules(getattr(problem.predict, "function", problem.predict)).items()
    }
    # A problem written by hand cannot be copied, so the buffers that it may change are put back.
    kept = {b: b.detach().clone() for module in modules.values() for b in module.buffers()}
    with keeping_random_states(modules, device):
        try:
            answer = problem.predict(start, x)
            fault = impurity(lambda: problem.predict(start, x), modules, device)
        finally:
            with torch.no_grad():
                for buffer, value in kept.items():
                    buffer.copy_(value)
    if fault:
        raise ModelError(
            f"{_in_words(fault).replace('the network', 'predict')}. It must be pure: draw such numbers beforehand and "
            "hand them over with the inputs, and call eval() on modules that differ in training"
        )
    return answer


def _try_criterion(problem: Problem, answer: Any, y: Tree) -> None:
    """Raise ShapeError for a criterion that broadcasts, since it would compare numbers that do not belong together.

    It is raised too where the criterion fails on these shapes. Broadcasting is told by the warning of torch's own
    losses, so one written by hand that broadcasts silently passes. ``answer`` is the prediction.
    """
    shapes = f"the prediction is {_shapes(answer)} and y is {_shapes(y)}"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            problem.criterion(answer, y)
        except (RuntimeError, ValueError, TypeError) as error:
            raise ShapeError(f"the criterion cannot compare them: {shapes} ({kind_and_line(error)})") from error
    if any("target size" in str(warning.message) for warning in caught):
        raise ShapeError(f"{shapes}: comparing them would broadcast. Give y the prediction's shape, or the other way")


def _shapes(tree: Any) -> str:
    """The shapes in a tree of tensors as text; what is no tensor is given by its type."""
    if isinstance(tree, dict):
        return "{" + ", ".join(f"{key}: {_shapes(value)}" for key, value in tree.items()) + "}"
    if isinstance(tree, (tuple, list)):
        return "(" + ", ".join(map(_shapes, tree)) + ")"
    return str(tuple(tree.shape)) if isinstance(tree, Tensor) else type(tree).__name__


def _with(predict: ModulePrediction, module: nn.Module) -> Exact:
    """The prediction of ``predict`` with ``module`` in place of its own, in exact forms."""
    return Exact.of(replace(predict, module=module))


def _plain(leaf: Any) -> Any:
    """A tensor with no history that autograd may save; a copy, so that it shares memory with nothing."""
    return leaf.detach().clone() if isinstance(leaf, Tensor) else leaf


def _held_modules(function: Any, depth: int = 3) -> dict[str, nn.Module]:
    """Modules that a function reaches through what it closes over, its globals, ``partial`` or its own object, by name.

    Args: ``depth``: how many objects lie between the function and a module, at most.
    """
    modules: dict[str, nn.Module] = {}
    for name, thing in _held_by(function):
        if isinstance(thing, nn.Module):
            modules[name] = thing
        # Libraries are not searched: they hold no module of the user, and no end of objects.
        elif depth and str(getattr(thing, "__module__", "torch")).partition(".")[0] not in ("torch", "numpy", "None"):
            modules.update(_held_modules(thing, depth - 1))
    return modules


def _held_by(function: Any) -> list[tuple[str, Any]]:
    """Pairs of a name and an object that a function holds.

    These are the function and arguments of a ``partial``, the object and function of a method, the variables and
    globals of a function, and the attributes of any other object.
    """
    if isinstance(function, functools.partial):
        return [
            ("function", function.func),
            *function.keywords.items(),
            *((f"_{i}", a) for i, a in enumerate(function.args)),
        ]
    if inspect.ismethod(function):
        return [("self", function.__self__), ("function", function.__func__)]
    if not inspect.isfunction(function):
        return [] if isinstance(function, type) else list(getattr(function, "__dict__", {}).items())
    try:
        closed = inspect.getclosurevars(function)
    except ValueError:  # a variable that has no value yet
        return []
    return [*closed.nonlocals.items(), *closed.globals.items()]
