"""The slow and obvious twin: one token after the other, in NumPy; and the motion of the mean product by scipy."""

import math

import numpy as np
from scipy.integrate import solve_ivp

SHARP = {"method": "DOP853", "rtol": 1e-12, "atol": 1e-13}


def plain_output(X, *, beta=1.0, Q=(None,), K=(None,), V=(None,), bias=None, mlp=None, kind="sa"):
    """What a block gives for the tokens of ``X (n, d)``, head by head and token by token."""
    n, d = X.shape
    result = np.zeros((n, d))
    for h in range(len(V)):
        q, k, v = (np.eye(d) if m is None else m for m in (Q[h], K[h], V[h]))
        for i in range(n):
            scores = [beta * (q @ X[i]) @ (k @ X[j]) + (0.0 if bias is None else bias[i, j]) for j in range(n)]
            top = max(scores) if kind == "sa" else 0.0
            weights = [math.exp(score - top) for score in scores]
            total = sum(weights) if kind == "sa" else n
            result[i] += v @ sum(weights[j] * X[j] for j in range(n)) / total
    if mlp is not None:
        W1, W2, b = mlp
        for i in range(n):
            result[i] += W2 @ np.maximum(W1 @ X[i] + b, 0)
    return result


def plain_velocity(X, **block):
    """The velocity on the sphere."""
    A = plain_output(X, **block)
    return np.stack([a - (x @ a) * x for x, a in zip(X, A, strict=True)])


def equiangular(g, n, beta, kind="sa"):
    """``g'`` of E1."""
    e = math.exp
    over = n if kind == "usa" else e(beta) + (n - 1) * e(beta * g)
    return 2 * e(beta * g) * (1 - g) * ((n - 1) * g + 1) / over


def solved(rate, start, times):
    """The solution of a system at some times, ``(times, …)``."""
    result = solve_ivp(lambda t, y: rate(t, y), (0, max(times)), np.atleast_1d(start), t_eval=times, **SHARP)
    return result.y.T
