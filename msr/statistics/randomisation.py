"""Randomisation tests: the observed statistic beside the same statistic after random relabellings.

The null hypothesis says that relabelling does not change the distribution of the data. Then the observed statistic is
one of ``B + 1`` exchangeable numbers, and its rank among them gives an exact p-value.

Three tests share the formula of the p-value, :func:`randomisation_p_value`, and nothing else, since what they relabel
and what they compare differ:

- ``msr.equivariance.certifying.specificity`` moves a group's action on the inputs and outputs of a *function* to other
  coordinates, by permutations or rotations, and compares defects up to rounding;
- ``msr.discovery.verdict.specificity`` moves the orbits of a group on the *weights* of a learned pattern, counts
  relabellings that give the same orbits without comparing them, and draws from NumPy's generator;
- :func:`msr.statistics.symmetry.sign_flip_p_values` flips signs.
"""

import torch
from torch import Tensor

__all__ = ["Relabelling", "randomisation_p_value"]


def randomisation_p_value(as_extreme: int, draws: int) -> float:
    """The p-value ``(1 + as_extreme) / (1 + draws)``: the observed labelling counts among the random ones.

    ``as_extreme`` of the ``draws`` random relabellings gave a statistic at least as extreme as the observed one.

    Under the null it is at most ``α`` with probability at most ``α``, for any number of draws. Without the ones the
    p-value could be zero, and the test would not hold its level.
    Source: Phipson and Smyth, Permutation p-values should never be zero (2010, doi:10.2202/1544-6115.1585).
    """
    return (1 + as_extreme) / (1 + draws)


class Relabelling:
    """A random orthogonal map ``S`` of ``n`` coordinates: a permutation, or a rotation.

    It is held as an ``order (n,)``, for the permutation ``(S x)[i] = x[order[i]]``, or as the ``matrix (n, n)`` float64
    of ``S``; the other of the two is None.
    """

    def __init__(self, order: Tensor | None, matrix: Tensor | None):
        self.order = order
        self.matrix = matrix
        self.inverse_order = None if order is None else order.argsort()

    @classmethod
    def permutation(cls, n: int, generator: torch.Generator) -> "Relabelling":
        """A uniform permutation of ``n`` coordinates."""
        return cls(torch.randperm(n, generator=generator), None)

    @classmethod
    def rotation(cls, n: int, generator: torch.Generator) -> "Relabelling":
        """A random orthogonal map of ``n`` coordinates, distributed by Haar measure on O(n), so it may reflect."""
        normal = torch.randn(n, n, generator=generator, dtype=torch.float64)
        Q, R = torch.linalg.qr(normal)
        # QR leaves the signs of the columns to the algorithm; with the signs of R's diagonal Q is Haar distributed.
        return cls(None, Q * R.diagonal().sign())

    def forward(self, x: Tensor) -> Tensor:
        """``S x`` on the last axis of ``(..., n)``."""
        if self.order is not None:
            return x.index_select(-1, self.order.to(x.device))
        assert self.matrix is not None
        return x @ self.matrix.to(dtype=x.dtype, device=x.device).mT

    def inverse(self, x: Tensor) -> Tensor:
        """``S⁻¹ x`` on the last axis of ``(..., n)``."""
        if self.inverse_order is not None:
            return x.index_select(-1, self.inverse_order.to(x.device))
        assert self.matrix is not None
        return x @ self.matrix.to(dtype=x.dtype, device=x.device)
