"""Orbits, orbitals and the Reynolds operator against sums over all elements of a group."""

import numpy as np
import pytest
import torch

from msr.groups import cyclic, dihedral, symmetric
from msr.permutations import (
    orbit_labels,
    orbit_mean_errors,
    orbit_means,
    orbitals,
    relabelled_orbitals,
    reynolds_operator,
)
from msr.representations import Representation, grid_rotations, natural, pair_orbits, regular, trivial

ACTIONS = {
    "C4 turns a grid": grid_rotations(4),
    "D4 on itself": regular(dihedral(4)),
    "S4 on four points and two that are fixed": natural(symmetric(4)) + trivial(symmetric(4), 2),
    "C1": trivial(cyclic(1), 3),
}


def random_values(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


def mean_over_the_group(rep: Representation, x: torch.Tensor) -> torch.Tensor:
    """``(1/|G|) Σ_g ρ(g) x`` with dense matrices."""
    return rep.matrices().mean(0) @ x


def labels_of(rep: Representation) -> np.ndarray:
    return orbit_labels(rep.permutations)


@pytest.mark.parametrize("rep", ACTIONS.values(), ids=ACTIONS)
def test_the_reynolds_operator_is_the_mean_over_the_group(rep):
    x = random_values(rep.dim, 3)
    projected = reynolds_operator(x, labels_of(rep))
    torch.testing.assert_close(projected, mean_over_the_group(rep, x))
    torch.testing.assert_close(reynolds_operator(projected, labels_of(rep)), projected)
    for g in rep.group.generators:
        torch.testing.assert_close(rep.matrix(g) @ projected, projected)


def test_a_mean_over_a_wrong_orbit_is_not_the_mean_over_the_group():
    rep = natural(symmetric(4))
    x = random_values(4, 3)
    assert not torch.allclose(reynolds_operator(x, np.array([0, 0, 0, 1])), mean_over_the_group(rep, x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_means_do_not_depend_on_the_axis_or_the_layout(dtype):
    labels = torch.tensor([0, 1, 0, 2, 2, 0, 1])
    x = random_values(7, 5, dtype=dtype)
    rows = orbit_means(x, labels, 3, dim=0)
    assert torch.equal(rows, orbit_means(x.mT, labels, 3).mT)
    assert torch.equal(rows, orbit_means(x.mT.contiguous(), labels, 3).mT)
    assert torch.equal(rows[:, :, None], orbit_means(x[:, :, None], labels, 3, dim=-3))
    assert rows.dtype == dtype


def test_the_operator_of_columns_gives_the_same_bits(gen):
    """The rows of a transposed matrix are averaged in the order of its memory."""
    turn = np.array([[1, 2, 3, 0]])
    orbits = orbitals(turn, turn)
    wide = torch.randn(7, 16, generator=gen, dtype=torch.float64)
    averaged = reynolds_operator(wide.mT, orbits)
    assert averaged.mT.is_contiguous()
    assert torch.equal(averaged, reynolds_operator(wide.mT.contiguous(), orbits))
    assert not torch.equal(averaged, wide.mT)


def test_means_differentiate_and_map():
    labels = torch.tensor([0, 1, 0, 1])
    x = random_values(6, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda values: orbit_means(values, labels, 2), (x,))
    mapped = torch.func.vmap(lambda row: orbit_means(row, labels, 2))(x)
    assert torch.equal(mapped, orbit_means(x, labels, 2))


def test_the_error_of_a_mean_is_what_independent_noise_gives():
    labels = np.array([0, 0, 0, 1, 2, 2])
    errors = np.array([1.0, 2.0, 2.0, 0.5, 3.0, 4.0])
    expected = np.array([1.0, 1.0, 1.0, 0.5, 2.5, 2.5])  # √(1 + 4 + 4) / 3, 0.5, √(9 + 16) / 2
    assert np.array_equal(orbit_mean_errors(errors, labels), expected)


@pytest.mark.parametrize("rep", ACTIONS.values(), ids=ACTIONS)
def test_orbitals_are_the_checked_orbits_on_pairs(rep):
    moves = rep.permutations
    assert np.array_equal(orbitals(moves, moves), pair_orbits(moves, moves).numpy().ravel())


def test_without_generators_every_weight_is_its_own_orbital():
    assert np.array_equal(orbitals(np.zeros((0, 3), dtype=int), np.zeros((0, 2), dtype=int)), np.arange(6))


def test_relabelled_orbitals_are_those_of_the_conjugate_group():
    rng = np.random.default_rng(0)
    p = rng.permutation(6)
    q = rng.permutation(5)
    s = rng.permutation(6)
    t = rng.permutation(5)
    conjugate_p = s[p[np.argsort(s)]]
    conjugate_q = t[q[np.argsort(t)]]
    relabelled = relabelled_orbitals(orbitals(p[None], q[None]), s, t)
    expected = orbitals(conjugate_p[None], conjugate_q[None])
    # The same partition, with other numbers.
    assert len(np.unique(relabelled)) == len(np.unique(expected))
    assert len(np.unique(np.stack([relabelled, expected]), axis=1).T) == len(np.unique(expected))
