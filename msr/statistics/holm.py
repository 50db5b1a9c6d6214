"""Several hypotheses at once: Holm's correction."""

from collections.abc import Mapping

__all__ = ["holm_rejected"]


def holm_rejected(p_values: Mapping[str, float], alpha: float) -> tuple[str, ...]:
    """The null hypotheses that Holm's step-down procedure rejects, by name, in the order given.

    The ``i``-th smallest of ``m`` p-values is compared with ``α / (m − i + 1)``; the first that is larger ends it. One
    or more *true* hypotheses are among the rejected ones with probability ``alpha`` at most (the family-wise error
    rate), however the p-values depend on each other. ``alpha`` is a probability.

    Source: Holm, A simple sequentially rejective multiple test procedure, 1979.
    """
    rejected = set()
    for rank, name in enumerate(sorted(p_values, key=lambda k: p_values[k])):
        if p_values[name] > alpha / (len(p_values) - rank):
            break
        rejected.add(name)
    return tuple(name for name in p_values if name in rejected)
