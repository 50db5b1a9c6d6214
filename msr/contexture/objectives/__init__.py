"""Losses that learn a context, exact on a whole table and estimated on a batch, each with its optimum."""

from msr.contexture.objectives.losses import KISE as KISE
from msr.contexture.objectives.losses import SVME as SVME
from msr.contexture.objectives.losses import LowRank as LowRank
from msr.contexture.objectives.losses import NonContrastive as NonContrastive
from msr.contexture.objectives.losses import Objective as Objective
from msr.contexture.objectives.losses import SpectralContrastive as SpectralContrastive
from msr.contexture.objectives.losses import VICSurrogate as VICSurrogate
from msr.contexture.objectives.moments import Moments as Moments
from msr.contexture.objectives.moments import batch_moments as batch_moments
from msr.contexture.objectives.moments import exact_moments as exact_moments
from msr.contexture.objectives.moments import exact_pair_moments as exact_pair_moments
from msr.contexture.objectives.moments import kernel_batch_moments as kernel_batch_moments
from msr.contexture.objectives.moments import pair_batch_moments as pair_batch_moments
from msr.contexture.objectives.regression import balanced_regression as balanced_regression
from msr.contexture.objectives.regression import balanced_regression_optimum as balanced_regression_optimum

__all__ = [
    "KISE", "SVME", "LowRank", "Moments", "NonContrastive", "Objective", "SpectralContrastive", "VICSurrogate",
    "balanced_regression", "balanced_regression_optimum", "batch_moments", "exact_moments", "exact_pair_moments",
    "kernel_batch_moments", "pair_batch_moments",
]  # fmt: skip
