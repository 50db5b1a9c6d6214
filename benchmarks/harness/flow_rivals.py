"""Other ways to make tokens flow: a loop over tokens, a short script, and solvers of other libraries around its field.

All are for softmax attention with ``B = V = I`` on the sphere. Optional libraries are imported where they are used.
"""

import importlib
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["SOLVERS", "Field", "Solver", "field_of", "loop_steps", "script_steps", "why_not"]

Field = Callable[[Tensor], Tensor]
"""The velocity of tokens ``(n, d)``."""
Solver = Callable[[Field, Tensor, float, float], Tensor]
"""Tokens after a time, of a field, tokens ``(n, d)``, that time and a tolerance."""


def loop_steps(X: NDArray[np.float64], beta: float, dt: float, steps: int) -> NDArray[np.float64]:
    """Steps of order 4 with a loop over tokens, in NumPy: what a page of formulas says, read aloud. ``X (n, d)``."""

    def velocity(tokens: NDArray[np.float64]) -> NDArray[np.float64]:
        result = np.empty_like(tokens)
        for i in range(len(tokens)):
            scores = beta * (tokens @ tokens[i])
            weights = np.exp(scores - scores.max())
            mean = weights @ tokens / weights.sum()
            result[i] = mean - (tokens[i] @ mean) * tokens[i]
        return result

    for _ in range(steps):
        first = velocity(X)
        second = velocity(X + dt / 2 * first)
        third = velocity(X + dt / 2 * second)
        fourth = velocity(X + dt * third)
        X = X + dt / 6 * (first + 2 * second + 2 * third + fourth)
        X = X / np.linalg.norm(X, axis=1, keepdims=True)
    return X


def field_of(beta: float) -> Field:
    """The velocity as a short script of torch has it: no checks, no options, all scores at once."""

    def velocity(X: Tensor) -> Tensor:
        mean = torch.softmax(beta * X @ X.mT, -1) @ X
        return mean - (mean * X).sum(-1, keepdim=True) * X

    return velocity


def script_steps(X: Tensor, beta: float, dt: float, steps: int) -> Tensor:
    """Steps of order 4 as a short script of torch takes them. ``X (..., n, d)``."""
    velocity = field_of(beta)
    for _ in range(steps):
        first = velocity(X)
        second = velocity(X + dt / 2 * first)
        third = velocity(X + dt / 2 * second)
        fourth = velocity(X + dt * third)
        X = X + dt / 6 * (first + 2 * second + 2 * third + fourth)
        X = X / X.norm(dim=-1, keepdim=True)
    return X


def _torchdiffeq(method: str) -> Solver:
    """A solver of torchdiffeq around a field."""

    def solve(field: Field, X: Tensor, T: float, tolerance: float) -> Tensor:
        odeint = importlib.import_module("torchdiffeq").odeint
        times = torch.tensor([0.0, T], dtype=X.dtype)
        # A step ends where it is looked at: what is interpolated inside a step has an error of a lower order.
        options = {"step_t": times[1:]}
        found = odeint(lambda _, x: field(x), X, times, rtol=tolerance, atol=tolerance, method=method, options=options)
        return found[-1]

    return solve


def _torchode(method: str) -> Solver:
    """A solver of torchode around a field; its states are a batch of vectors, here of one."""

    def solve(field: Field, X: Tensor, T: float, tolerance: float) -> Tensor:
        ode = importlib.import_module("torchode")
        term = ode.ODETerm(lambda _, y: field(y.view(-1, *X.shape)).flatten(1))
        controller = ode.IntegralController(atol=tolerance, rtol=tolerance, term=term)
        solver = ode.AutoDiffAdjoint(getattr(ode, method)(term=term), controller)
        ends = torch.tensor([[0.0, T]], dtype=X.dtype)
        return solver.solve(ode.InitialValueProblem(y0=X.reshape(1, -1), t_eval=ends)).ys[0, -1].view(X.shape)

    return solve


SOLVERS: dict[str, tuple[str, Solver]] = {
    "torchdiffeq dopri5": ("torchdiffeq", _torchdiffeq("dopri5")),
    "torchdiffeq dopri8": ("torchdiffeq", _torchdiffeq("dopri8")),
    "torchode dopri5": ("torchode", _torchode("Dopri5")),
    "torchode tsit5": ("torchode", _torchode("Tsit5")),
}
"""The solvers of other libraries: which library each needs, and the solver."""


def why_not(library: str) -> str:
    """Why a library cannot be used here; empty where it can."""
    try:
        importlib.import_module(library)
    except ModuleNotFoundError as error:
        return f"pip install {library}" if error.name == library else str(error).splitlines()[0]
    except Exception as error:  # a broken library must not stop the others
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return ""
