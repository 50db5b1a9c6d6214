"""Kernels of nonlinear features of inputs: squares and products, products of three, and steps in all directions."""

import math
from itertools import combinations_with_replacement

import torch
from torch import Tensor

from msr.discovery.data.forms import Derived, chunks, mask_of, residual_maker, sizes_of, some_of

__all__ = ["Kernels", "white"]

# Up to so many features are written out and whitened; beyond, a kernel stands for all of them.
_MOST_FEATURES = 220
# Of the variance of a feature, or of an input: what is less is rounding, and the feature is linear in the inputs.
_CUT, _COARSE_CUT = 1e-6, 0.1
_ROWS = 1000
# Degrees of freedom for each feature, from which second moments are known well enough.
_EACH_FEATURE = 1000


class Kernels:
    """Three kernels of nonlinear features, from inputs alone; ``energy`` is what a random function of each has."""

    def __init__(self, z: Tensor | Derived, counts: Tensor, within: bool = True) -> None:
        """``within``: features are read as what a linear layer of each task leaves of them, else one of all tasks."""
        dimension = z.shape[2]
        self.sets = [
            list(combinations_with_replacement(range(dimension), degree))
            if math.comb(dimension + degree - 1, degree) <= _MOST_FEATURES
            else None
            for degree in (2, 3)
        ]
        self.features = sum(len(chosen or ()) for chosen in self.sets)
        self.maps: list[Tensor | None] = [None, None]
        self.overlap: Tensor | None = None
        self.energy = [0.0, 0.0]
        if within:
            self._whiten(z, counts)
        else:
            self._whiten_over_tasks(z, counts)
        self.energy = self._units(z, counts)

    def __call__(self, z: Tensor, counts: Tensor) -> list[Tensor]:
        """Kernels over the examples of each task: of squares and products, of products of three, of steps."""
        return [*self._polynomial(z), _steps(z, counts)]

    def _whiten(self, z: Tensor | Derived, counts: Tensor) -> None:
        """Second moments of what linear layers leave of the features."""
        if not self.features:
            return
        gram, raw = (torch.zeros(*[self.features] * axes, dtype=torch.float64) for axes in (2, 1))
        freedom = 0
        # As many tasks as tell the features' second moments; any others would do.
        free = (counts - 1 - z.shape[2]).clamp_min(0).cumsum(0)
        enough = int((free < _EACH_FEATURE * self.features).sum()) + 1
        counts = counts[:enough]
        for tasks in chunks(len(counts), z.shape[1] * (2 * z.shape[1] + z.shape[2] + 2 * self.features)):
            M, rank = residual_maker(z[tasks], counts[tasks])
            features = self._written(z[tasks])
            rest = (M @ features).flatten(0, 1)
            gram += rest.mT @ rest
            raw += features.square().sum((0, 1))
            freedom += int(rank.sum())
        self._maps(gram / max(freedom, 1), raw / counts.sum(), _CUT)

    def _whiten_over_tasks(self, z: Tensor | Derived, counts: Tensor) -> None:
        """The same about one layer for all tasks, where none has examples enough for its own.

        A square of a binary input, linear in each task by itself, is not quite so here, since tasks have other means; a
        coarser cut leaves it out.
        """
        if not self.features:
            return
        there = mask_of(z, counts).nonzero()
        there = there[:: math.ceil(len(there) / (10 * _ROWS))]
        rows = z[there[:, 0], there[:, 1]]
        features = self._written(rows[None])[0]
        design = torch.cat((rows, torch.ones(len(rows), 1, dtype=rows.dtype)), 1)
        rest = features - design @ torch.linalg.lstsq(design, features).solution
        self._maps(rest.mT @ rest / len(rows), features.square().mean(0), _COARSE_CUT)

    def _units(self, z: Tensor | Derived, counts: Tensor) -> list[float]:
        """Energy of a random function of each polynomial kernel about its best linear fit, over inputs of all tasks.

        Residuals within tasks would tell too little: the examples far out, where the function bends most, are those
        that the fit of a small task follows. Centring makes inputs smaller by ``√(1 − 1/N)``.
        """
        there = mask_of(z, counts).nonzero()
        there = there[:: math.ceil(len(there) / _ROWS)]
        rows = z[there[:, 0], there[:, 1]] * (counts / (counts - 1).clamp_min(1)).sqrt()[there[:, 0], None]
        design = torch.cat((rows, torch.ones(len(rows), 1, dtype=rows.dtype)), 1)
        left, sizes, _ = torch.linalg.svd(design, full_matrices=False)
        left = left[:, sizes > 1e-12 * sizes[0]]
        freedom = max(len(rows) - left.shape[1], 1)
        units = []
        for features, degree in zip(self._white_features(rows[None]), (2, 3), strict=True):
            if features is None:
                kernel = _powers(rows @ rows.mT, degree)
                units.append(float(kernel.diagonal().sum() - (left * (kernel @ left)).sum()) / freedom)
            else:
                units.append(float((features[0] - left @ (left.mT @ features[0])).square().sum()) / freedom)
        return units

    def _maps(self, gram: Tensor, raw: Tensor, cut: float) -> None:
        two = len(self.sets[0] or ())
        if self.sets[0] is not None:
            self.maps[0] = _whitening(gram[:two, :two], raw[:two], cut)
        if self.sets[1] is not None:
            three = gram[two:, two:]
            if self.maps[0] is not None:
                # Products of three less what squares and products explain of them.
                self.overlap = self.maps[0] @ (self.maps[0].mT @ gram[:two, two:])
                three = three - gram[two:, :two] @ self.overlap
            self.maps[1] = _whitening(three, raw[two:], cut)

    def _written(self, z: Tensor) -> Tensor:
        return torch.cat([features for features in self._features(z) if features is not None], 2)

    def _features(self, z: Tensor) -> list[Tensor | None]:
        """Squares and products, and products of three, ``(tasks, examples, features)``; none where they are too many.

        Numbers of a feature lie side by side: so they are picked, and multiplied, fastest.
        """
        inputs = z.flatten(0, 1).mT.contiguous()
        found: list[Tensor | None] = []
        for chosen in self.sets:
            if chosen is None:
                found.append(None)
                continue
            first, *others = (list(places) for places in zip(*chosen, strict=True))
            product = inputs[first]
            for places in others:
                product *= inputs[places]
            found.append(product.mT.view(*z.shape[:2], len(chosen)))
        return found

    def _white_features(self, z: Tensor) -> list[Tensor | None]:
        """The same in coordinates that are uncorrelated and of size one, the second less what the first explains."""
        two, three = self._features(z)
        if two is not None and three is not None and self.overlap is not None:
            three = three - two @ self.overlap
        return [
            None if features is None or white is None else features @ white
            for features, white in zip((two, three), self.maps, strict=True)
        ]

    def _polynomial(self, z: Tensor) -> list[Tensor]:
        return [
            _powers(z @ z.mT, degree) if features is None else features @ features.mT
            for features, degree in zip(self._white_features(z), (2, 3), strict=True)
        ]


def _powers(inner: Tensor, degree: int) -> Tensor:
    """Kernel of all products of so many inputs, from inner products."""
    return inner**degree / math.factorial(degree)


def _whitening(gram: Tensor, raw: Tensor, cut: float) -> Tensor:
    """``R`` with ``Rᵀ G R = I`` on what is more than rounding of features of these raw sizes."""
    unit = raw.clamp_min(1e-300).rsqrt()
    values, vectors = torch.linalg.eigh(unit[:, None] * gram * unit)
    used = values > cut
    return unit[:, None] * vectors[:, used] * values[used].rsqrt()


def _steps(z: Tensor, counts: Tensor) -> Tensor:
    """Kernel of all steps ``1[w · (z, 1) > 0]``: ``1 − angle / π`` (arc-cosine kernel of order 0)."""
    constant = math.sqrt(max(z.shape[2], 1)) * torch.ones(*z.shape[:2], 1, dtype=z.dtype)
    u = torch.nn.functional.normalize(torch.cat((z, constant), 2), dim=2)
    return 1 - torch.acos((u @ u.mT).clamp(-1, 1)) / math.pi


def white(x: Tensor) -> Derived:
    """Inputs in coordinates that are uncorrelated and of size one; what they never take drops out."""
    sizes = sizes_of(x)
    second, rows = torch.zeros(len(sizes), len(sizes), dtype=x.dtype), 0
    for part in some_of(x):
        scaled = (x[part] / sizes).flatten(0, 1)
        second += scaled.mT @ scaled
        rows += int((scaled != 0).any(1).sum())
    values, vectors = torch.linalg.eigh(second / max(rows, 1))
    used = values > _CUT * values.amax().clamp_min(1e-300)
    if not bool(used.any()):
        # Inputs that never vary: one coordinate of zeros stands for them.
        return Derived(x[:, :, :1], sizes[:1])
    return Derived(x, sizes, vectors[:, used] * values[used].rsqrt())
