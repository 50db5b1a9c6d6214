"""Symmetries of the set of layers: more than those of each layer, and every one takes the span to itself."""

import numpy as np
import pytest
import torch

from msr.discovery.pattern.hypothesis_class import class_automorphisms
from msr.groups import cyclic, dihedral, symmetric
from msr.permutations.search import automorphisms
from msr.representations import equivariant_basis, natural, regular

CASES = {
    # x -> a x + b on both sides, with one unit a and a shift of its own on each: 4 units of 8, 8 shifts twice.
    "C8": (regular(cyclic(8)), 4 * 8 * 8),
    "C5": (regular(cyclic(5)), 4 * 5 * 5),
    # Two classes, diagonal and rest: nothing but the group itself.
    "S4": (natural(symmetric(4)), 24),
    # On three points diagonal and rest too.
    "D3": (natural(dihedral(3)), 6),
}


@pytest.mark.parametrize("name", CASES)
def test_orders_and_the_residual_of_the_span(name):
    rep, order = CASES[name]
    basis = equivariant_basis(rep, rep)
    colours = basis.labels.reshape(rep.dim, rep.dim).numpy()
    found = class_automorphisms(colours)
    assert found.order == order
    assert found.order % automorphisms(colours).order == 0
    U = basis.orthonormal()
    outside = torch.eye(len(U), dtype=torch.float64) - U @ U.mT
    for p, q in zip(found.generators_in, found.generators_out, strict=True):
        moved = torch.empty_like(U)
        place = (torch.as_tensor(q)[:, None] * rep.dim + torch.as_tensor(p)[None]).flatten()
        moved[place] = U
        assert float((outside @ moved).norm()) < 1e-10


def test_points_of_the_two_sides_are_not_mixed():
    found = class_automorphisms(np.array([[0, 1, 1], [1, 0, 1]]))
    assert found.generators_in.shape[1] == 3
    assert found.generators_out.shape[1] == 2
    assert found.order == 2


def test_random_classes_of_all_sizes_have_none_but_the_identity():
    colours = np.random.default_rng(0).integers(0, 3, (6, 7))
    assert class_automorphisms(colours).order == 1
