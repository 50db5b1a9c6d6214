"""What could be shown at best: the same test by one who knows the group, on all tasks, with all of the error rate."""

from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor

from msr.discovery.breaking.estimator import BreakingEstimator
from msr.discovery.breaking.least_squares import LeastSquares
from msr.discovery.breaking.pairs import Pairs
from msr.discovery.breaking.sample import Sample
from msr.discovery.data.tasks import prepare
from msr.discovery.linearity.lack_of_fit import lack_of_fit
from msr.discovery.verdict.evidence import Evidence, spread

__all__ = ["certifies"]

# How much larger than one a filter may be, before a task's own fit counts for more than what is usual.
_LOOSE = 10.0


def certifies(x: Tensor, y: Tensor, orbits: np.ndarray, eps: float, alpha: float) -> bool:
    """Whether the group with these orbits on weights ``(out, in)`` is shown to break less than the tolerance.

    The test has the error rate ``alpha``, and the tolerance is ``eps²`` as a share of energy. The span is that of all
    weights with the symmetry, which nobody had to learn. Of the estimators the one with less noise on these very tasks
    is taken.

    Shapes: ``x (tasks, examples, in)``, ``y (tasks, examples, out)``.
    """
    data = prepare(x, y)
    sample = Sample.of(data)
    labels = np.unique(orbits, return_inverse=True)[1].ravel()
    U = _LOOSE * torch.nn.functional.one_hot(torch.from_numpy(labels)).double()
    lack = lack_of_fit(sample.x, sample.y, sample.counts)
    noise = float(lack.residual.mean() / sample.scale.pow(-2).sum())
    span = SimpleNamespace(U=U, v0=torch.zeros(U.shape[1], dtype=torch.float64), noise=noise, k=U.shape[1])
    every, nothing = torch.arange(len(data.x)), torch.zeros(len(labels), 0, dtype=torch.float64)
    known: list[BreakingEstimator] = [Pairs(sample)]
    if bool(sample.solvable.all()):
        known.append(LeastSquares(sample))
    estimates = [one(labels, span, nothing, every)[0] for one in known]  # type: ignore[arg-type]
    broken, symmetric = min(
        zip(estimates, (one.symmetric for one in known), strict=True),
        key=lambda pair: (1 if pair[1] else 3) * spread(pair[0]),
    )
    energy = sample.energies - known[0].noise(span, every)  # type: ignore[arg-type]
    evidence = Evidence(
        breaking=broken,
        along_pattern=broken,
        beyond_linear=0 * broken,
        energy=energy,
        energy_with_noise=sample.energies,
        noise_ratio=torch.ones_like(broken),
        spread=spread(broken),
        noise_spread=spread(broken),
        unit=float(energy.mean()),
        symmetric=symmetric,
        shares=(1.0, 0.0, 0.0),
        tasks=every,
    )
    return evidence.within(eps**2, 0.0) >= 1 / alpha
