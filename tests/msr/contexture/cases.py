"""Random contexts and encoders on few points."""

import numpy as np
import torch

from msr.contexture import JointContext


def random_joint(seed: int, n: int = 9, m: int = 7) -> JointContext:
    """A joint distribution with some pairs that never occur; its points have unequal weights."""
    draw = np.random.default_rng(seed)
    table = draw.gamma(0.5, size=(n, m)) * (draw.random((n, m)) > 0.2)
    table[np.arange(n), draw.integers(m, size=n)] += 0.05
    return JointContext(table / table.sum(), f"joint {seed}")


def random_encoder(seed: int, n: int, d: int) -> torch.Tensor:
    """An encoder without any structure, ``(n, d)``."""
    return torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
