"""The few-shot methods that are compared: what all tasks share, what a task adapts, and how.

All of them train the same network of four blocks (:func:`tasks.networks.conv4`) with the same outer Adam on the same
tasks. They differ in what a task changes of it: everything by gradient steps (MAML), the head alone (ANIL, a ridge
regression, class means), or everything through learned factors (MSR).
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from msr.errors import ConfigError
from msr.layers import ResidualWarning, reparameterize
from msr.meta import SGD, ClassMeans, FunctionalModule, InnerSolver, InTurn, Params, RidgeHead, from_module
from msr.sharing import KroneckerSharing, Sharing
from tasks.networks import conv4, convolutions_of_conv4, head_of_conv4

__all__ = ["METHODS", "InnerLoop", "Method", "Network", "factors_of", "method_called", "problem_of", "solver_of"]


@dataclass(frozen=True)
class Method:
    """A row of the table.

    Attributes:
        name: as in ``--models``, and in names of files.
        title: as in the table.
        body: what a task does to the layers before the head: gradient steps, or nothing.
        head: how a task fits the head: by gradient steps, by ridge regression, or as class means.
        factors: whether convolutions are made from Kronecker factors, and which: learned ones that start as identities,
            or fixed ones, identities or random orthogonal matrices.
        widened: whether the network is widened until it has as many numbers as that of MSR.
        norm: batch norm looks at all images of a set together (transductive), group norm at each alone (inductive).
        outer_rate: of the outer Adam.
        inner_rate: the start of the inner rates, which are learned; without meaning where a task takes no gradient
            step.
    """

    name: str
    title: str
    body: Literal["steps", "fixed"] = "steps"
    head: Literal["steps", "ridge", "means"] = "steps"
    factors: Literal["none", "learned", "identity", "orthogonal"] = "none"
    widened: bool = False
    norm: Literal["batch", "group"] = "batch"
    outer_rate: float = 1e-3
    inner_rate: float = 0.1

    @property
    def solver(self) -> str:
        """How a task is fitted, in words for the rows: ``sgd``, ``ridge``, ``means``, or ``sgd, ridge``."""
        parts = ["sgd"] if "steps" in (self.body, self.head) else []
        return ", ".join([*parts, *([self.head] if self.head != "steps" else [])])


# The rates are the best of a sweep on a validation alphabet: accuracy on 200 tasks after one minute of training on one
# core, one seed, 5-way 1-shot (`python -m experiments.sweep omniglot --validate --grid minutes=1 --grid outer_rate=…
# --grid inner_rate=…`). Outer rates 0.001, 0.003 and 0.01 were tried with the inner rate 0.1, the first two also with
# 0.4, the second also with 0.03; of the inductive rows 0.001 and 0.003 with 0.1 and 0.4.
_ROWS = (
    Method("maml", "MAML", outer_rate=1e-2),
    Method("maml-big", "MAML (Big)", widened=True, outer_rate=3e-3),
    Method("anil", "ANIL", body="fixed", outer_rate=1e-2),
    Method("protonets", "ProtoNets", body="fixed", head="means", outer_rate=1e-2),
    Method("ridge", "ridge head (R2D2)", body="fixed", head="ridge", outer_rate=3e-3),
    Method("msr", "MSR", factors="learned", outer_rate=3e-3, inner_rate=0.03),
    Method("identity", "MSR, U fixed: identity", factors="identity", outer_rate=1e-2),
    Method("random", "MSR, U fixed: random orthogonal", factors="orthogonal", outer_rate=1e-2),
    Method("msr-ridge", "MSR with a ridge head", factors="learned", head="ridge", outer_rate=3e-3, inner_rate=0.03),
    Method("maml-inductive", "MAML, inductive", norm="group"),
    Method("msr-inductive", "MSR, inductive", factors="learned", norm="group"),
)
METHODS = {method.name: method for method in _ROWS}
"""The methods by name, in the order of the table."""


def method_called(name: str) -> Method:
    """The method of that name. Raises: ConfigError, which lists the names."""
    if name not in METHODS:
        raise ConfigError(f"no method is called {name}; there are {', '.join(METHODS)}")
    return METHODS[name]


@dataclass(frozen=True)
class InnerLoop:
    """How tasks take gradient steps: their number in training and in testing, and where the learned rates start."""

    steps: int
    test_steps: int
    rate: float


_PLACES = 9  # of a 3 × 3 kernel


@dataclass(frozen=True)
class Network:
    """The size of a network: classes, channels of a block, and the shape ``(channels, height, width)`` of an image.

    ``taps`` is how many columns the kernel's factor has: 9 makes it square, fewer restrict every 3 × 3 filter to a
    space of that dimension. ``pooled`` averages each channel over the image before the head.
    """

    ways: int
    width: int
    image_shape: tuple[int, int, int] = (1, 28, 28)
    taps: int = _PLACES
    pooled: bool = False

    def built(self, method: Method, generator: torch.Generator) -> nn.Module:
        """The method's network, which starts from numbers of the generator.

        With square factors all methods of one width and one norm start as the same function.
        """
        plain = self._plain(method, self._width_of(method), generator)
        if method.factors == "none":
            return plain
        with warnings.catch_warnings():
            # Kernels of fewer free numbers cannot represent the plain start, and are not meant to.
            if self.taps < _PLACES:
                warnings.simplefilter("ignore", ResidualWarning)
            module = reparameterize(plain, convolutions_of_conv4(), sharing=self._factory(method, generator)).module
        if method.factors != "learned":
            for sharing in (part for part in module.modules() if isinstance(part, Sharing)):
                sharing.requires_grad_(False)
        return module

    def _plain(self, method: Method, width: int, generator: torch.Generator) -> nn.Sequential:
        """The network before its convolutions are reparameterised, with this many channels a block."""
        return conv4(
            self.ways,
            width=width,
            image_shape=self.image_shape,
            norm=method.norm,
            pooled=self.pooled,
            generator=generator,
        )

    def _width_of(self, method: Method) -> int:
        """Channels of a block: the network's own, or the least with as many numbers as MSR learns."""
        if not method.widened:
            return self.width
        meta = torch.Generator()  # only counts are looked at
        wanted = _size(self.built(METHODS["msr"], meta))
        width = self.width
        while _size(self._plain(method, width, meta)) < wanted:
            width += 1
        return width

    def _factory(self, method: Method, generator: torch.Generator) -> Callable[..., KroneckerSharing]:
        """Makes the pattern of a convolution: identities, or random orthogonal factors."""

        def pattern(weight_shape: tuple[int, ...], **options: object) -> KroneckerSharing:
            out, channels = weight_shape[:2]
            sharing = KroneckerSharing(weight_shape, (out, channels, self.taps), **{**options, "generator": generator})  # type: ignore[arg-type]
            if method.factors == "orthogonal":
                for factor in sharing.factors:
                    nn.init.orthogonal_(factor, generator=generator)
            return sharing

        return pattern


def problem_of(method: Method, module: nn.Module, network: Network) -> FunctionalModule:
    """The method's problem, with the parameters that its tasks share and those that they adapt."""
    if method.body == "steps":
        return from_module(module, F.cross_entropy)
    head = f"{head_of_conv4(pooled=network.pooled)}."
    return from_module(module, F.cross_entropy, shared=lambda name: not name.startswith(head))


def solver_of(method: Method, functional: FunctionalModule, network: Network, inner: InnerLoop) -> InnerSolver:
    """How a task of this method is fitted."""
    steps = SGD(inner.steps, test_steps=inner.test_steps, rate=inner.rate)
    if method.head == "steps":
        return steps
    kind = RidgeHead if method.head == "ridge" else ClassMeans
    name = head_of_conv4(pooled=network.pooled)
    head = kind(functional.before(name), f"{name}.weight", f"{name}.bias")
    return head if method.body == "fixed" else InTurn(steps, head)


def factors_of(params: Params) -> dict[str, torch.Tensor]:
    """The Kronecker factors among a learner's shared parameters, as ``LAYER.A``, ``LAYER.B``, ``LAYER.C``."""
    middle = ".sharing."
    return {name.replace(middle, "."): value for name, value in params.items() if middle in name}


def _size(network: nn.Module) -> int:
    """How many numbers a network learns."""
    return sum(parameter.numel() for parameter in network.parameters())
