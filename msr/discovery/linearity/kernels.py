"""Kernels of nonlinear features of inputs: squares and products, products of three, and steps in all directions.

A kernel ``K (examples, examples)`` of features ``φ`` is ``Φ Φᵀ``. Polynomial features are whitened, so that a kernel
treats all functions of its degree alike: the features' residuals about a linear layer get the identity as second
moments.
"""

import math
from itertools import combinations_with_replacement

import torch
from torch import Tensor

from msr.discovery.data.passes import Derived, chunks, example_mask, root_mean_squares, slices_of
from msr.discovery.linearity.quadratic_forms import ResidualMakers
from msr.discovery.thresholds import THRESHOLDS

__all__ = ["Kernels", "white"]

_DEGREES = (2, 3)
# Examples that stand for all where energies are measured, and ten times as many where features are whitened over all
# tasks: limits of work. More rows make both more accurate.
_ENERGY_ROWS = 1000
_WHITENING_ROWS = 10 * _ENERGY_ROWS
# Share of the largest singular value of the design; what is less is rounding in float64.
_SINGULAR_ROUNDING = 1e-12


class Kernels:
    """Three kernels of nonlinear features, learned from inputs alone; calling it gives them for some tasks.

    Attributes:
        features: how many polynomial features are written out; a degree with too many of them has none.
        energy: ``[u₂, u₃]``, the unit of energy of each polynomial kernel: the mean square that a random function with
            that kernel as covariance keeps about its best linear fit.
    """

    def __init__(self, z: Tensor | Derived, counts: Tensor, makers: ResidualMakers | None = None) -> None:
        """Learn from these tasks how features are whitened, and the kernels' energies.

        Features are whitened about a linear layer of each task, which ``makers`` take off, or without them about one
        layer for all tasks.

        Shapes: ``z (tasks, examples, n)``, white inputs, zero past ``counts (tasks,)``.
        """
        dimension = z.shape[2]
        most = THRESHOLDS().features_most
        # The inputs that each feature multiplies; None where there are too many features to write them out.
        self._monomials = [
            list(combinations_with_replacement(range(dimension), degree))
            if math.comb(dimension + degree - 1, degree) <= most
            else None
            for degree in _DEGREES
        ]
        self.features = sum(len(monomials or ()) for monomials in self._monomials)
        self._whitenings: list[Tensor | None] = [None, None]
        self._overlap: Tensor | None = None
        self.energy = [0.0, 0.0]
        if makers is not None:
            self._whiten(z, counts, makers)
        else:
            self._whiten_over_tasks(z, counts)
        self.energy = self._energies(z, counts)

    def __call__(self, z: Tensor) -> list[Tensor]:
        """The kernels over the examples of each task: of squares and products, of products of three, of steps.

        Shapes: ``z (tasks, examples, n)``; each kernel is ``(tasks, examples, examples)``.
        """
        return [*self._polynomial(z), _steps(z)]

    def _whiten(self, z: Tensor | Derived, counts: Tensor, makers: ResidualMakers) -> None:
        """Set the whitening matrices from second moments of the features' residuals about a linear layer of each task.

        Of many tasks only the first are read, with residual freedom enough for the number of features.
        """
        if not self.features:
            return
        gram = torch.zeros(self.features, self.features, dtype=torch.float64)
        raw = torch.zeros(self.features, dtype=torch.float64)
        freedom = 0
        # The first tasks that have freedom enough tell the second moments; tasks are in a random order.
        free = (counts - 1 - z.shape[2]).clamp_min(0).cumsum(0)
        enough = int((free < THRESHOLDS().freedom_per_feature * self.features).sum()) + 1
        counts = counts[:enough]
        for tasks in chunks(len(counts), z.shape[1] * (2 * z.shape[1] + z.shape[2] + 2 * self.features)):
            M, rank = makers(tasks)
            features = self._written(z[tasks])
            residuals = (M @ features).flatten(0, 1)
            gram += residuals.mT @ residuals
            raw += features.square().sum((0, 1))
            freedom += int(rank.sum())
        self._set_whitenings(gram / max(freedom, 1), raw / counts.sum(), THRESHOLDS().feature_variance)

    def _whiten_over_tasks(self, z: Tensor | Derived, counts: Tensor) -> None:
        """Set the whitening matrices about one linear layer for all tasks, for tasks too short for layers of their own.

        The square of a binary input is linear in each task by itself. It is not quite linear here, since the means of
        tasks differ; the coarser ``feature_variance_pooled`` leaves it out.
        """
        if not self.features:
            return
        rows = _some_rows(z, counts, _WHITENING_ROWS)[0]
        features = self._written(rows[None])[0]
        design = _with_ones(rows)
        residuals = features - design @ torch.linalg.lstsq(design, features).solution
        least = THRESHOLDS().feature_variance_pooled
        self._set_whitenings(residuals.mT @ residuals / len(rows), features.square().mean(0), least)

    def _energies(self, z: Tensor | Derived, counts: Tensor) -> list[float]:
        """``[u₂, u₃]``: mean squares of random functions with the polynomial kernels about their best linear fits.

        A fit is to examples of all tasks together. Residuals within tasks would tell too little: a small task's fit
        follows the examples far out, where the function bends most. Centring a task of ``N`` examples makes inputs
        smaller by ``√(1 − 1/N)``, which is undone.
        """
        rows, tasks = _some_rows(z, counts, _ENERGY_ROWS)
        rows = rows * (counts / (counts - 1).clamp_min(1)).sqrt()[tasks, None]
        basis, singular, _ = torch.linalg.svd(_with_ones(rows), full_matrices=False)
        basis = basis[:, singular > _SINGULAR_ROUNDING * singular[0]]
        freedom = max(len(rows) - basis.shape[1], 1)
        energies = []
        for features, degree in zip(self._white_features(rows[None]), _DEGREES, strict=True):
            if features is None:
                kernel = _powers(rows @ rows.mT, degree)
                energies.append(float(kernel.diagonal().sum() - (basis * (kernel @ basis)).sum()) / freedom)
            else:
                energies.append(float((features[0] - basis @ (basis.mT @ features[0])).square().sum()) / freedom)
        return energies

    def _set_whitenings(self, gram: Tensor, raw: Tensor, least: float) -> None:
        """Set the whitening matrices of both degrees, and what products of two explain of products of three.

        ``gram (features, features)`` are second moments of the features' residuals, ``raw (features,)`` their mean
        squares, and ``least`` is the share of ``raw`` below which a direction is dropped as linear. Products of three
        are whitened after what squares and products of two explain of them is taken off, so that the second test looks
        for what the first has not seen.
        """
        two = len(self._monomials[0] or ())
        if self._monomials[0] is not None:
            self._whitenings[0] = _whitening(gram[:two, :two], raw[:two], least)
        if self._monomials[1] is not None:
            three = gram[two:, two:]
            if self._whitenings[0] is not None:
                self._overlap = self._whitenings[0] @ (self._whitenings[0].mT @ gram[:two, two:])
                three = three - gram[two:, :two] @ self._overlap
            self._whitenings[1] = _whitening(three, raw[two:], least)

    def _written(self, z: Tensor) -> Tensor:
        """The features of all degrees that are written out, side by side, ``(tasks, examples, features)``.

        They are not whitened. ``z (tasks, examples, n)`` are white inputs. ``self.features`` must not be 0.
        """
        return torch.cat([features for features in self._features(z) if features is not None], 2)

    def _features(self, z: Tensor) -> list[Tensor | None]:
        """Two tensors ``(tasks, examples, features)``, squares and products, and products of three; None for too many.

        The numbers of one feature lie side by side in memory: so they are picked, and multiplied, fastest.
        """
        inputs = z.flatten(0, 1).mT.contiguous()
        features: list[Tensor | None] = []
        for monomials in self._monomials:
            if monomials is None:
                features.append(None)
                continue
            first, *others = (list(places) for places in zip(*monomials, strict=True))
            product = inputs[first]
            for places in others:
                product *= inputs[places]
            features.append(product.mT.view(*z.shape[:2], len(monomials)))
        return features

    def _white_features(self, z: Tensor) -> list[Tensor | None]:
        """The features of both degrees in white coordinates, ``(tasks, examples, directions)``; None for too many.

        What products of two explain of products of three is taken off the latter first.
        """
        two, three = self._features(z)
        if two is not None and three is not None and self._overlap is not None:
            three = three - two @ self._overlap
        return [
            None if features is None or whitening is None else features @ whitening
            for features, whitening in zip((two, three), self._whitenings, strict=True)
        ]

    def _polynomial(self, z: Tensor) -> list[Tensor]:
        """The two polynomial kernels, ``(tasks, examples, examples)`` each.

        For a degree with too many features it is the kernel of all products of that degree, which are not whitened:
        products of three then keep what products of two explain of them.
        """
        return [
            _powers(z @ z.mT, degree) if features is None else features @ features.mT
            for features, degree in zip(self._white_features(z), _DEGREES, strict=True)
        ]


def white(x: Tensor) -> Derived:
    """Inputs in coordinates that are uncorrelated and of variance one over all tasks, computed on access.

    Directions that the inputs never take are left out; of inputs that never vary one coordinate of zeros is left.

    Shapes: ``x (tasks, examples, n)``, centred in each task, zero where absent; the result is ``(tasks, examples, r)``.
    """
    sizes = root_mean_squares(x)
    second = torch.zeros(len(sizes), len(sizes), dtype=x.dtype)
    rows = 0
    for part in slices_of(x):
        scaled = (x[part] / sizes).flatten(0, 1)
        second += scaled.mT @ scaled
        rows += int((scaled != 0).any(1).sum())
    values, vectors = torch.linalg.eigh(second / max(rows, 1))
    used = values > THRESHOLDS().feature_variance * values.amax().clamp_min(1e-300)
    if not bool(used.any()):
        # Inputs that never vary: one coordinate of zeros stands for them, since later steps need one.
        return Derived(x[:, :, :1], sizes[:1])
    return Derived(x, sizes, vectors[:, used] * values[used].rsqrt())


def _some_rows(z: Tensor | Derived, counts: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """At most ``most`` examples, evenly spread over all tasks, ``(rows, n)``, and the task of each, ``(rows,)``."""
    places = example_mask(z, counts).nonzero()
    places = places[:: math.ceil(len(places) / most)]
    return z[places[:, 0], places[:, 1]], places[:, 0]


def _with_ones(rows: Tensor) -> Tensor:
    """The design of a linear layer with an offset: the inputs and a column of ones."""
    return torch.cat((rows, torch.ones(len(rows), 1, dtype=rows.dtype)), 1)


def _powers(inner: Tensor, degree: int) -> Tensor:
    """The kernel of all products of ``degree`` inputs, ``⟨z, z'⟩^degree / degree!``, from inner products."""
    return inner**degree / math.factorial(degree)


def _whitening(gram: Tensor, raw: Tensor, least: float) -> Tensor:
    """``R (features, directions)`` with ``Rᵀ G R = I``, for ``gram`` ``G (features, features)``.

    Features are first divided by the roots of ``raw (features,)``, their mean squares. Directions in which second
    moments are then below ``least`` are left out: they are linear in the inputs, up to rounding.
    """
    unit = raw.clamp_min(1e-300).rsqrt()
    values, vectors = torch.linalg.eigh(unit[:, None] * gram * unit)
    used = values > least
    return unit[:, None] * vectors[:, used] * values[used].rsqrt()


def _steps(z: Tensor) -> Tensor:
    """The kernel of all steps ``1[w · (z, √n) > 0]`` in directions ``w`` drawn at random: ``1 − angle / π``.

    Shapes: ``z (tasks, examples, n)``; the result is ``(tasks, examples, examples)``. Rows of padding are not told from
    examples. No function escapes it: it is the arc-cosine kernel of order 0. The constant ``√n`` puts steps at all
    places, not only through the origin. Source: Cho and Saul (2009).
    """
    constant = math.sqrt(max(z.shape[2], 1)) * torch.ones(*z.shape[:2], 1, dtype=z.dtype)
    u = torch.nn.functional.normalize(torch.cat((z, constant), 2), dim=2)
    return 1 - torch.acos((u @ u.mT).clamp(-1, 1)) / math.pi
