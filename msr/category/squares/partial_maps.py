"""Partial symmetries as functors: a weight keeps one exactly where it is a natural transformation.

A partial symmetry sends some inputs to inputs and some outputs to outputs. Its category has two objects, the *domain*
(object 0) and *all points* (object 1), and two arrows from the first to the second: the inclusion (arrow 2) and the map
(arrow 3); the identities are arrows 0 and 1. No composite needs the map twice, so that it need not send its domain to
itself, as an arrow of a group would. Two kinds of functor say what it is to keep it:

- *Signals.* The contravariant functors of numbers on the inputs and on the outputs, ``ℝ^n → ℝ^domain``, restrict along
  both arrows. ``W`` is natural, with its own block as the component at the domain, exactly where its weights inside the
  domain are kept, *and* outputs in the domain read inputs in the domain only, and outputs in its image inputs in its
  image. A convolution without padding does, and the category of windows (:mod:`msr.category.squares.windows`) holds all
  its shifts.
- *Pairs.* The covariant functor of pairs (output, input), sets that are included and moved. Classes of weights, a
  colour for each pair, are natural as maps to a constant set exactly where the map keeps each class: nothing is said of
  weights between points inside and outside the domain.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from msr.arrays import as_tensor, takes_arrays
from msr.brief import Brief
from msr.category.categories.constructors import from_quiver_paths
from msr.category.categories.tables import FinCat
from msr.category.integers import whole_array
from msr.category.linear import VectFunctor, linearised
from msr.category.sets.presheaves import CoPresheaf
from msr.category.squares.naturality import naturality_error
from msr.category.squares.squares_of_sets import Violations
from msr.equivariance import Defects
from msr.equivariance.measuring.defects import real
from msr.errors import AxiomError, ShapeError
from msr.memory import refuse_if_larger
from msr.permutations import Indices

__all__ = ["PartialMap"]

_INCLUSION = 2
_MAP = 3


@dataclass(frozen=True, eq=False, repr=False)
class PartialMap(Brief):
    """A one-to-one map of some inputs to inputs, and of some outputs to outputs, with its category and functors.

    Discovery's partial symmetries have these two arrays (``map_in`` and ``map_out`` of
    ``msr.discovery.PartialSymmetry``).

    Attributes:
        map_in: ``(n,)`` whole numbers, where each input goes; −1 outside the domain.
        map_out: ``(m,)``, the same of outputs.

    Raises: ShapeError for arrays of another form; AxiomError for an image out of range, or of two points at once, and
    for a domain without an input or an output.
    """

    map_in: Indices
    map_out: Indices

    def __post_init__(self) -> None:
        for name in ("map_in", "map_out"):
            values = whole_array(getattr(self, name), name)
            images = values[values >= 0]
            bad = np.flatnonzero((values < -1) | (values >= len(values)))
            if len(bad):
                raise AxiomError(
                    f"{name}[{bad[0]}] = {values[bad[0]]} is no point: they are 0 to {len(values) - 1}, and −1 is none"
                )
            points, counts = np.unique(images, return_counts=True)
            if (counts > 1).any():
                raise AxiomError(f"{name} sends two points to {points[np.argmax(counts > 1)]}; it must be one-to-one")
            if not len(images):
                raise AxiomError(f"{name} is defined nowhere; a partial map needs an input and an output in its domain")
            self.__dict__[name] = values

    @property
    def domain_in(self) -> Indices:
        """The inputs in the domain, in increasing order."""
        return np.flatnonzero(self.map_in >= 0)

    @property
    def domain_out(self) -> Indices:
        """The outputs in the domain, in increasing order."""
        return np.flatnonzero(self.map_out >= 0)

    @cached_property
    def category(self) -> FinCat:
        """The category of the domain (0) and all points (1): arrow 2 is the inclusion, arrow 3 the map."""
        return from_quiver_paths(2, [(0, 1), (0, 1)], "a partial map")

    @cached_property
    def inputs(self) -> VectFunctor:
        """The contravariant functor of numbers on the inputs, on ``category.op()``."""
        return self._signals(self.map_in, "inputs")

    @cached_property
    def outputs(self) -> VectFunctor:
        """The contravariant functor of numbers on the outputs, on ``category.op()``."""
        return self._signals(self.map_out, "outputs")

    @cached_property
    def pairs(self) -> CoPresheaf:
        """The covariant functor of pairs ``(output, input)``, pair ``(i, j)`` of all points being ``i · n + j``."""
        n = len(self.map_in)
        count = len(self.map_out) * n
        inside = len(self.domain_out) * len(self.domain_in)
        included, moved = (
            (rows[:, None] * n + columns).ravel()
            for rows, columns in (
                (self.domain_out, self.domain_in),
                (self.map_out[self.domain_out], self.map_in[self.domain_in]),
            )
        )
        maps = (np.arange(inside), np.arange(count), included, moved)
        return CoPresheaf.known(self.category, (inside, count), maps, "pairs")

    @takes_arrays("weight")
    def components(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The components of a weight ``(m, n)`` from inputs to outputs: its block inside the domain, and itself.

        Raises: ShapeError for another shape.
        """
        W = self._weight(weight)
        return W[torch.from_numpy(self.domain_out)][:, torch.from_numpy(self.domain_in)], W

    @takes_arrays("weight")
    def signal_error(self, weight: Tensor) -> Defects:
        """How far a weight ``(m, n)`` is from natural between signals, at the inclusion and at the map.

        Both are 0 exactly where the map keeps the weights inside its domain, and outputs in the domain read no inputs
        outside it, nor outputs in its image inputs outside that. Raises: ShapeError, NonFiniteError.
        """
        return naturality_error(self.inputs, self.outputs, self.components(weight), [_INCLUSION, _MAP])

    @takes_arrays("weight")
    def pair_error(self, weight: Tensor) -> Defects:
        """How far a weight ``(m, n)``, as a linear function of pairs, is from natural, at the map.

        It is 0 exactly where ``W[map_out[i], map_in[j]] = W[i, j]`` for all outputs ``i`` and inputs ``j`` of the
        domain; else ``‖images − weights‖ / √(‖images‖² + ‖weights‖²)`` over them.

        Raises: ShapeError, NonFiniteError; DataError where the pairs, squared, do not fit into memory.
        """
        W = self._weight(weight)
        inside, count = self.pairs.sizes.tolist()
        refuse_if_larger(
            8.0 * (count**2 + inside**2 + 2 * count * inside), f"matrices on {count} weights",
            advice="ask for class_error, which needs none",
        )  # fmt: skip
        C = self.category
        numbers = VectFunctor.known(C, (1, 1), (torch.ones(1, 1, dtype=torch.float64),) * C.n_mor, "ℝ")
        components = [part.reshape(1, -1) for part in self.components(W)]
        return naturality_error(linearised(self.pairs), numbers, components, [_MAP])

    def class_error(self, classes: ArrayLike) -> Violations:
        """On what share of the pairs inside the domain the map changes the class of the weight, with a first one.

        Args: ``classes``: ``(m, n)`` whole numbers, 0 or more: weights of one class are equal.
        Raises: ShapeError, AxiomError for classes of another form.
        """
        colours = whole_array(classes, "classes", (len(self.map_out), len(self.map_in)))
        if (colours < 0).any():
            raise AxiomError(f"classes are numbered from 0; got {colours.min()}")
        count = int(colours.max()) + 1
        refuse_if_larger(64.0 * count, f"{count} classes", advice="number them from 0 without gaps")
        still = CoPresheaf.known(self.category, (count, count), [np.arange(count)] * self.category.n_mor, "classes")
        inner = colours[np.ix_(self.domain_out, self.domain_in)]
        return naturality_error(self.pairs, still, [inner.ravel(), colours.ravel()], [_INCLUSION, _MAP])

    def _signals(self, images: Indices, name: str) -> VectFunctor:
        """Numbers on the points of one side, with both restrictions."""
        n = len(images)
        domain = np.flatnonzero(images >= 0)
        k = len(domain)
        refuse_if_larger(8.0 * (n + k) ** 2, f"the restrictions of {n} {name}", advice="give fewer points")
        included = torch.eye(n, dtype=torch.float64)[torch.from_numpy(domain)]
        moved = torch.eye(n, dtype=torch.float64)[torch.from_numpy(images[domain])]
        identities = (torch.eye(k, dtype=torch.float64), torch.eye(n, dtype=torch.float64))
        return VectFunctor.known(self.category.op(), (k, n), (*identities, included, moved), name)

    def _weight(self, weight: Any) -> Tensor:
        """A weight ``(m, n)``, detached, in its own precision. Raises: ShapeError."""
        W = real(as_tensor(weight, "weight"), "the weight").cpu()
        shape: Sequence[int] = (len(self.map_out), len(self.map_in))
        if tuple(W.shape) != tuple(shape):
            raise ShapeError(f"the weight must be {tuple(shape)}, outputs by inputs of the map; got {tuple(W.shape)}")
        return W
