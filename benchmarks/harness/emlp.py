"""EMLP's answers, one line of JSON each. Run by a Python that has ``emlp``; it knows nothing of this repository.

``{"generators": [[...], ...]}`` (permutations of the points) gives ``{"dim": ..., "seconds": ...}``. EMLP remembers
solutions, so its memory of them is cleared before each; what jax has compiled stays.
"""

import json
import sys
import time

import numpy as np
from emlp.groups import Group
from emlp.reps import V
from emlp.reps.representation import Rep


class Permutations(Group):
    """The group that these permutations generate, on their points."""

    def __init__(self, generators: list[list[int]]):
        # These are the inverses' matrices, which generate the same group.
        self.discrete_generators = [np.eye(len(p))[p] for p in generators]
        super().__init__(str(generators))


if __name__ == "__main__":
    for line in sys.stdin:
        group = Permutations(json.loads(line)["generators"])
        Rep.solcache.clear()
        start = time.perf_counter()
        basis = (V(group) >> V(group)).equivariant_basis()
        print(json.dumps({"dim": int(basis.shape[-1]), "seconds": time.perf_counter() - start}), flush=True)
