"""Heads in closed form: a task fits the last linear layer alone, from the features of its labelled support set.

Both solvers replace the weight and the bias of a linear head, ``logits = z Wᵀ + b``, and leave every other adapted
parameter as it is. The features ``z`` are those of the network before the head, and no gradient is taken in the inner
loop, so a step costs little more than one forward and one backward pass.

    functional = from_module(net, F.cross_entropy, shared=lambda name: not name.startswith("head."))
    solver = RidgeHead(functional.before("head"), "head.weight", "head.bias")
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from msr.errors import ConfigError, DataError, ModelError, ShapeError
from msr.meta.exact import Exact
from msr.meta.problem import MetaParameters, Params, Problem, as_params
from msr.meta.solvers.least_squares import one_tensor, rounding
from msr.trees import Tree

__all__ = ["ClassMeans", "Features", "RidgeHead"]

Features = Callable[[Params, Tree], Tensor]
"""``(params, x) -> z (examples, features)``: what a network's head is given, a pure function."""


@dataclass(frozen=True)
class _Head:
    """What both solvers know of a head: where its numbers are, and what it is given.

    Args:
        features: ``(params, x) -> (examples, features)``, such as :meth:`msr.meta.FunctionalModule.before`; as a
            problem's prediction it runs with exact forms of torch's fused functions (:mod:`msr.meta.exact`).
        weight: the name of the head's weight ``(classes, features)`` among the adapted parameters.
        bias: the name of its bias ``(classes,)``.
    """

    features: Features
    weight: str
    bias: str

    reverse_mode: ClassVar[bool] = True

    def __post_init__(self) -> None:
        # As a problem's own prediction; the dataclass is frozen, so the field is set past it.
        object.__setattr__(self, "features", Exact.of(self.features))

    def check(self, problem: Problem, params: MetaParameters, x: Tree, y: Tree) -> None:
        """Raise unless the names are those of a head, the prediction is that head of the features, and ``y`` holds the
        number of its class for each example: ConfigError, ModelError, ShapeError, DataError.
        """
        kind = type(self).__name__
        missing = [name for name in (self.weight, self.bias) if name not in params.initial]
        if missing:
            raise ConfigError(
                f"{kind}: no adapted parameter is called {' or '.join(missing)}; there are {', '.join(params.initial)}"
            )
        labels = one_tensor(y, kind)
        n_classes, n_features = params.initial[self.weight].shape
        z = self.features({**params.shared, **params.initial}, x).detach()
        if z.shape != (len(labels), n_features):
            raise ShapeError(
                f"{kind}: the features of {len(labels)} examples must be {(len(labels), n_features)}, as "
                f"{self.weight} asks; got {tuple(z.shape)}"
            )
        if labels.ndim != 1 or labels.is_floating_point() or labels.is_complex():
            raise DataError(
                f"{kind} needs the number of its class for each example, integers (examples,); got {labels.dtype} "
                f"{tuple(labels.shape)}"
            )
        if int(labels.max()) >= n_classes:
            raise DataError(f"{kind}: {self.weight} has {n_classes} classes, and a label is {int(labels.max())}")
        bias = params.initial[self.bias]
        if bias.shape != (n_classes,):
            raise ModelError(f"{kind}: {self.bias} must be {(n_classes,)}; got {tuple(bias.shape)}")
        # With a head of its own, since one that starts at zero looks like any other.
        generator = torch.Generator().manual_seed(0)
        weight = torch.randn(n_classes, n_features, generator=generator).to(z)
        other = torch.randn(n_classes, generator=generator).to(z)
        with_it = {**params.shared, **params.initial, self.weight: weight, self.bias: other}
        prediction = problem.predict(with_it, x).detach()
        by_head = F.linear(z, weight, other)
        if prediction.shape != by_head.shape or not torch.allclose(prediction, by_head, rtol=1e-3, atol=1e-3):
            raise ModelError(
                f"{kind}: the prediction is not z · {self.weight}ᵀ + {self.bias} of the features z; the head must be "
                "the last layer, and the features those before it"
            )

    def _support(self, params: MetaParameters, x: Tree, y: Tree) -> tuple[Tensor, Tensor]:
        """The features of a support set ``(examples, features)``, and which class each is of, ``(examples, classes)``,
        0 or 1.

        An example whose label is no class (such as −100, which marks padding) has a row of zeros.
        """
        z = self.features({**params.shared, **params.initial}, x)
        labels = one_tensor(y, type(self).__name__)
        classes = torch.arange(params.initial[self.weight].shape[0], device=labels.device)
        return z, (labels[:, None] == classes).to(z.dtype)

    def _with_head(self, params: MetaParameters, weight: Tensor, bias: Tensor) -> Params:
        """The adapted parameters with another head: ``weight (classes, features)`` and ``bias (classes,)``."""
        return {**params.initial, self.weight: weight, self.bias: bias}


@dataclass(frozen=True)
class ClassMeans(_Head):
    """The head of prototypical networks: the nearest class mean.

        logits_k = −‖z − c_k‖² + ‖z‖² = 2 c_k·z − ‖c_k‖²

    ``c_k`` is the mean of the features of class ``k``; ``‖z‖²``, the same for all classes, changes no answer and no
    cross-entropy, so the head is linear. A class without an example gets a bias of minus infinity, and is never
    answered; the cross-entropy of a query image of that class is infinite. There is nothing to learn but the
    features.

    Args: ``features``, ``weight``, ``bias`` as of the module.
    Source: Snell et al., arXiv:1703.05175.
    """

    def init(self, initial: Params) -> Params:
        """Nothing: this solver learns no number of its own. Shapes: any."""
        return {}

    def adapt(self, problem: Problem, params: MetaParameters, x: Tree, y: Tree, *, training: bool) -> Params:
        """One task's parameters by name: the head of class means, all others as they are; ``training`` makes no
        difference.

        Shapes: the support set ``x, y (examples, ...)``, ``y`` class numbers; the result as ``params.initial``.
        """
        z, member = self._support(params, x, y)
        counts = member.sum(0)
        means = (member.mT @ z) / counts.clamp(min=1)[:, None]
        bias = torch.where(counts > 0, -means.square().sum(1), -math.inf)
        return self._with_head(params, 2 * means, bias)


@dataclass(frozen=True)
class RidgeHead(_Head):
    """The ridge regression head (R2D2): least squares from features to one-hot labels, then a learned scale.

        (W, b) = s · argmin  ‖z Wᵀ + b − Y‖² + λ (‖W‖² + ‖b‖²),      Y one-hot, (examples, classes)

    The square system of the smaller size is solved, ``features + 1`` or ``examples``; λ has the least value that
    rounding asks for added (:func:`~msr.meta.solvers.least_squares.rounding`). The scale ``s`` turns answers near 0
    and 1 into logits; it and λ are learned on log scales.

    Args:
        features, weight, bias: as of the module.
        penalty: the start of λ.
        scale: the start of ``s``.

    Raises: ConfigError for a penalty or scale that is not positive and finite.
    Source: Bertinetto et al., arXiv:1805.08136; its second learned number, added to all logits, changes no
    cross-entropy and is left out.
    """

    penalty: float = 1.0
    scale: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("penalty", "scale"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ConfigError(f"RidgeHead: {name} must be positive and finite; got {value}")

    def init(self, initial: Params) -> Params:
        """The learned scalars ``log_penalty`` and ``log_scale``."""
        like = next(iter(as_params(initial).values()))
        return {
            "log_penalty": like.new_tensor(math.log(self.penalty)),
            "log_scale": like.new_tensor(math.log(self.scale)),
        }

    def adapt(self, problem: Problem, params: MetaParameters, x: Tree, y: Tree, *, training: bool) -> Params:
        """One task's parameters by name: the head of the regression, all others as they are; ``training`` makes no
        difference.

        Shapes: the support set ``x, y (examples, ...)``, ``y`` class numbers; the result as ``params.initial``.
        """
        z, member = self._support(params, x, y)
        # Padding, whose row of labels is zero, must not pull on the fit either.
        counted = member.sum(1, keepdim=True)
        J = torch.cat([z, torch.ones_like(z[:, :1])], 1) * counted
        penalty = params.inner["log_penalty"].exp() + rounding(J)
        n, k = J.shape
        # Cholesky, as in the other solvers; the _ex form leaves a failure to the check of finite losses.
        if k <= n:
            system = J.mT @ J + penalty * torch.eye(k, dtype=J.dtype, device=J.device)
            solution = _solved(system, J.mT @ member)
        else:
            system = J @ J.mT + penalty * torch.eye(n, dtype=J.dtype, device=J.device)
            solution = J.mT @ _solved(system, member)
        head = params.inner["log_scale"].exp() * solution.mT
        return self._with_head(params, head[:, :-1], head[:, -1])


def _solved(system: Tensor, right: Tensor) -> Tensor:
    """``system⁻¹ right``, ``(n, classes)``, of a symmetric system ``(n, n)``; nan where it is not positive definite."""
    L, info = torch.linalg.cholesky_ex(system)
    solution = torch.cholesky_solve(right, L)
    return torch.where(info > 0, torch.full_like(solution, math.nan), solution)
