"""Biases, matrices and networks whose symmetry is known, and slow ways to find it."""

from itertools import permutations

import numpy as np
import torch

from msr.flow import Mlp

EYE = np.eye


def by_difference(values):
    """``M_ij`` by ``(j − i) mod n``."""
    values = np.asarray(values, dtype=float)
    i = np.arange(len(values))
    return values[(i - i[:, None]) % len(values)]


def ring():
    """``M_ij`` by the distance of two places on a ring of six."""
    return by_difference([0, 1, -0.5, 0.3, -0.5, 1])


def generic(n, m=None, seed=0):
    return np.random.default_rng(seed).normal(size=(n, m or n))


def blocks(first=1.0, second=1.0):
    return np.kron(np.diag([first, second]), np.ones((3, 3)))


def causal(n=6):
    return np.where(np.tri(n) > 0, 0.0, -np.inf)


BIASES = {
    "none": (np.zeros((6, 6)), 720, "S6"),
    "ring": (ring(), 12, "D6"),
    "differences": (by_difference([0.3, -1.1, 0.4, 0.9, -0.2, 1.7]), 6, "C6"),
    "blocks": (blocks(), 72, "S3 wr C2"),
    "weighted blocks": (blocks(1, 0.4), 36, "S3 x S3"),
    "causal": (causal(), 1, "trivial"),
}
"""A bias of six tokens, the order of its group for softmax, and the group's name."""

TURN = np.array([[0.0, -1.0], [1.0, 0.0]])

FEATURES = {
    "O(3)": ({"d": 3}, 3, 48),
    "O(2) x O(1) by B": ({"d": 3, "B": np.diag([1.0, 1, 2])}, 1, 16),
    "O(2) x O(1) by V": ({"d": 3, "V": np.diag([1, 1, -0.5])}, 1, 16),
    "signs": ({"d": 3, "B": np.diag([1.0, 2, 3])}, 0, 8),
    "SO(2)": ({"d": 2, "V": EYE(2) + 0.5 * TURN}, 1, 4),
    "U(2)": ({"d": 4, "V": EYE(4) + 0.5 * np.kron(EYE(2), TURN)}, 4, 32),
    "O(2) x O(2)": ({"d": 4, "B": np.diag([1.0, 1, 2, 2])}, 2, 64),
    "O(4)": ({"d": 4}, 6, 384),
    "four signs": ({"d": 4, "B": np.diag([1.0, 2, 3, 4])}, 0, 16),
    "C3": ({"d": 3, "mlp": Mlp(by_difference([0.4, 1.1, -0.7]), by_difference([0.9, -0.3, 0.5]))}, 0, 3),
    "S3": ({"d": 3, "mlp": Mlp(1.3 * EYE(3) + 0.4, 0.7 * EYE(3) - 0.3)}, 0, 6),
    "trivial": ({"d": 3, "mlp": Mlp(generic(3, seed=1), generic(3, seed=2))}, 0, 1),
}
"""Arguments of a feature group, the dimension of its Lie algebra, and how many signed permutations it has."""


def all_permutations(n):
    return np.array(list(permutations(range(n))))


def softmax(M):
    weights = np.exp(M - M.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def kept_by_all(table, tolerance=1e-12):
    """The slow way: every permutation, as images ``(n,)``, that keeps a table within a tolerance."""
    n = len(table)
    return [p for p in all_permutations(n) if np.abs(table[p][:, p] - table).max() <= tolerance]


def violation(flow, X, move, T=2.0):
    """``|Φ(PX) − PΦ(X)| / |Φ(X)|`` for a permutation of tokens, over a batch."""
    index = torch.as_tensor(move)
    reached = flow.flow(X, T, 20)
    return float((flow.flow(X[:, index], T, 20) - reached[:, index]).norm() / reached.norm())
