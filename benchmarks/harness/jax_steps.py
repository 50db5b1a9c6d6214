"""The outer step in JAX, as one would write it there: gradient, Adam of optax and update in one jit-compiled function.

Nothing here is imported unless jax and optax are installed (:func:`why_not`).
"""

import importlib
import importlib.util
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from msr.episodes import Episodes
from msr.errors import kind_and_line
from msr.meta.problem import MetaParameters

__all__ = ["InJax", "JaxStep", "why_not"]

Array = Any
"""A ``jax.Array``, which has no name here where jax is not installed."""


class InJax(NamedTuple):
    """A problem as functions of JAX arrays, and how its tasks are batched.

    Attributes:
        predict: ``(parameters by name, x) -> prediction`` for one task, with our names.
        loss: ``(prediction, y) -> scalar``.
        over: ``"vmap"`` runs the tasks side by side and differentiates the mean of their losses; ``"map"`` runs
            ``lax.map`` over the gradients of single tasks, which keeps one task's numbers in memory.
        single: how far its gradient in float32 may be from ours, as a share of the norm of each tensor's.
    """

    predict: Callable[[dict[str, Array], Array], Array]
    loss: Callable[[Array, Array], Array]
    over: Literal["vmap", "map"]
    single: float


def why_not() -> str | None:
    """Why JAX cannot be timed here, with what to do about it; None where it can."""
    for library in ("jax", "optax"):
        if importlib.util.find_spec(library) is None:
            return f"{library} is not installed; pip install 'msr[jax]'"
    try:
        importlib.import_module("optax")
        _start()
    except Exception as error:  # an import runs code, which can fail in any way
        return f"jax is installed but does not run ({kind_and_line(error)})"
    return None


def _start() -> None:
    """Start JAX on the CPU, with as many threads as torch has now; a JAX that was started before stays as it is."""
    import jax

    jax.config.update("jax_platforms", "cpu")
    before = os.environ.get("NPROC")
    # XLA reads the size of its pool of threads here, and has no other setting for it.
    os.environ["NPROC"] = str(torch.get_num_threads())
    try:
        jax.devices()
    finally:
        if before is None:
            del os.environ["NPROC"]
        else:
            os.environ["NPROC"] = before


class JaxStep:
    """Outer steps of second-order MAML with a learned rate for each tensor, and Adam, compiled as one function.

    Parameters and the state of Adam are donated, so each step updates them in their own memory. A call waits for its
    losses, as our own step does, which stops at the first that is not finite.

    Args:
        problem: what each task asks.
        params: where to start, ours; they are copied. The rates are ``inner["rate.NAME"]``.
        steps: of the inner loop.
    """

    def __init__(self, problem: InJax, params: MetaParameters, steps: int):
        import jax
        import optax

        adam = optax.adam(1e-3)

        @partial(jax.jit, donate_argnums=(0, 1))
        def step(params: MetaParameters, state: Any, batch: tuple[Array, ...]) -> tuple[MetaParameters, Any, Array]:
            losses, gradient = _losses_and_gradient(problem, steps, params, batch)
            updates, state = adam.update(gradient, state)
            return optax.apply_updates(params, updates), state, losses

        self._step = step
        self._params = MetaParameters(*({name: _array(p) for name, p in group.items()} for group in params))
        self._state = adam.init(self._params)

    def __call__(self, batch: tuple[Array, ...]) -> None:
        """One outer step on a batch of :meth:`converted`."""
        self._params, self._state, losses = self._step(self._params, self._state, batch)
        losses.block_until_ready()

    @staticmethod
    def converted(episodes: Episodes) -> tuple[Array, ...]:
        """The four tensors of a batch as JAX arrays."""
        return tuple(_array(part) for part in episodes)

    @staticmethod
    def meta_gradient(problem: InJax, params: MetaParameters, episodes: Episodes, steps: int) -> MetaParameters:
        """The gradient of the mean query loss at ``params``, as tensors, in the precision of these."""
        import jax

        doubled = any(leaf.dtype == torch.float64 for leaf in params.leaves())
        with _precision(doubled):
            arrays = MetaParameters(*({name: _array(p) for name, p in group.items()} for group in params))
            batch = JaxStep.converted(episodes)
            _, gradient = jax.jit(partial(_losses_and_gradient, problem, steps))(arrays, batch)
            # JAX gives the entries of a dictionary back sorted by name, so they are taken by name and not in order.
            return MetaParameters(
                *(
                    {name: torch.from_numpy(np.array(theirs[name])) for name in ours}
                    for ours, theirs in zip(params, gradient, strict=True)
                )
            )


def _losses_and_gradient(
    problem: InJax, steps: int, params: MetaParameters, batch: tuple[Array, ...]
) -> tuple[Array, MetaParameters]:
    """Query losses ``(tasks,)``, and the gradient of their mean through ``steps`` inner steps, to be jit-compiled."""
    import jax

    def support_loss(adapted: dict[str, Array], shared: dict[str, Array], x: Array, y: Array) -> Array:
        return problem.loss(problem.predict({**shared, **adapted}, x), y)

    def query_loss(params: MetaParameters, task: tuple[Array, ...]) -> Array:
        support_x, support_y, query_x, query_y = task
        adapted = params.initial
        for _ in range(steps):
            slopes = jax.grad(support_loss)(adapted, params.shared, support_x, support_y)
            adapted = {name: p - params.inner[f"rate.{name}"] * slopes[name] for name, p in adapted.items()}
        return support_loss(adapted, params.shared, query_x, query_y)

    if problem.over == "map":
        losses, slopes = jax.lax.map(lambda task: jax.value_and_grad(query_loss)(params, task), batch)
        return losses, jax.tree.map(lambda slope: slope.mean(0), slopes)

    # The gradient of the mean, and not the mean of gradients by task, which would all have to be kept.
    def mean_loss(params: MetaParameters) -> tuple[Array, Array]:
        losses = jax.vmap(query_loss, (None, 0))(params, batch)
        return losses.mean(), losses

    (_, losses), gradient = jax.value_and_grad(mean_loss, has_aux=True)(params)
    return losses, gradient


def _precision(doubled: bool) -> AbstractContextManager:
    """A context in which JAX makes 64-bit arrays if ``doubled``, and 32-bit ones otherwise."""
    import jax

    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(doubled)
    return importlib.import_module("jax.experimental").enable_x64(doubled)  # its place in older versions


def _array(tensor: Tensor) -> Array:
    """A copy of a tensor as a JAX array."""
    import jax.numpy as jnp

    return jnp.array(tensor.detach().numpy())
