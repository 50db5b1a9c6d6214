"""Irreducible representations by name against spherical harmonics and counts; grids of three axes against torch."""

import math

import numpy as np
import pytest
import torch
from scipy.special import lpmv
from torch.nn import functional as F

from msr.errors import ConfigError, ShapeError
from msr.groups import cyclic, dihedral, lorentz, orthogonal, so, special_unitary, symmetric
from msr.representations import (
    character_table,
    copies,
    defining,
    equivariant_basis,
    grid_reflections,
    grid_rotations,
    irrep,
    multiplicities,
    natural,
    regular,
    trivial,
)
from msr.sharing import GroupSharing


def spherical_harmonics(degree, x):
    """Real ones, ``m = −l … l``, from associated Legendre functions without the Condon-Shortley sign."""
    x, y, z = (x / np.linalg.norm(x, axis=1, keepdims=True)).T
    angle = np.arctan2(y, x)
    rows = []
    for m in range(-degree, degree + 1):
        k = abs(m)
        norm = math.sqrt((2 - (k == 0)) * math.factorial(degree - k) / math.factorial(degree + k))
        rows.append(norm * (-1) ** k * lpmv(k, degree, z) * (np.sin(k * angle) if m < 0 else np.cos(k * angle)))
    return torch.tensor(np.stack(rows, axis=1))


@pytest.mark.parametrize("degree", [0, 1, 2, 3, 6, 11])
def test_rotations_of_any_degree_turn_spherical_harmonics(degree, gen):
    rep, x = irrep(so(3), degree), torch.randn(20, 3, generator=gen, dtype=torch.float64)
    assert rep.dim == 2 * degree + 1
    assert rep.is_orthogonal
    for g in so(3).sample(3, gen):
        turned = x @ defining(so(3)).matrix(g).mT
        before, after = (spherical_harmonics(degree, points.numpy()) for points in (x, turned))
        torch.testing.assert_close(rep.act(g, before), after, atol=1e-9, rtol=0)
    if degree:
        assert float((rep.act(g, before) - before).norm()) > 1e-2  # the control: it does turn


def test_products_of_rotations_split_by_the_triangle_rule():
    degrees = [irrep(so(3), degree) for degree in range(5)]
    for a in range(3):
        for b in range(3):
            for c in range(5):
                assert equivariant_basis(degrees[a] * degrees[b], degrees[c]).dim == (abs(a - b) <= c <= a + b)
    assert equivariant_basis(copies(degrees[2], 2), degrees[2]).dim == 2


def test_parity_of_irreps_multiplies():
    group = orthogonal(3)
    for p in (1, -1):
        for q in (1, -1):
            for r in (1, -1):
                product = irrep(group, 1, parity=p) * irrep(group, 2, parity=q)
                assert equivariant_basis(product, irrep(group, 3, parity=r)).dim == (p * q == r)
    vector = defining(group)
    assert equivariant_basis(vector, irrep(group, 1, parity=-1)).dim == 1
    assert equivariant_basis(vector, irrep(group, 1, parity=1)).dim == 0


def test_spins():
    group = special_unitary(2)
    assert np.abs(irrep(group, 0.5).matrices - group.matrices).max() < 1e-12
    for twice, kind in ((0, 1), (1, 4), (2, 1), (3, 4), (4, 1)):
        rep = irrep(group, twice / 2)
        assert rep.is_orthogonal
        assert equivariant_basis(rep, rep).dim == kind  # real, or quaternionic
        full_turn = rep.matrix((0, 0, 2 * math.pi))  # by 4π about z in space, so once around in SU(2)
        torch.testing.assert_close(full_turn, torch.eye(rep.dim, dtype=torch.float64), atol=1e-9, rtol=0)
        half = rep.matrix((0, 0, math.pi))
        torch.testing.assert_close(half, (-1) ** twice * torch.eye(rep.dim, dtype=torch.float64), atol=1e-9, rtol=0)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 6, 7])
def test_irreps_of_polygons_are_all_of_them(n):
    C = [irrep(cyclic(n), k) for k in range(n // 2 + 1)]
    found = sum(multiplicities(rep) for rep in C)
    assert (found == 1).all()
    assert sum(rep.dim for rep in C) == n
    if n > 1:  # D1 has the table of C2, and its irreps are those
        ones = [k for k in (0, n / 2) if k == int(k)]
        D = [irrep(dihedral(n), k, parity=p) for k in ones for p in (1, -1)]
        D += [irrep(dihedral(n), k) for k in range(1, (n + 1) // 2)]
        assert (sum(multiplicities(rep) for rep in D) == 1).all()
        assert len(D) == len(character_table(dihedral(n)).degrees)
        assert sum(rep.dim**2 for rep in D) == 2 * n


def test_irreps_of_large_circles():
    rep = irrep(cyclic(9000), 7)
    torch.testing.assert_close(rep.matrix(9000 // 8), irrep(cyclic(8), 7 - 6).matrix(7), atol=1e-9, rtol=0)
    mirrored = irrep(dihedral(9000), 7)
    s = mirrored.group.element("s")
    torch.testing.assert_close(mirrored.matrix(s), torch.diag(torch.tensor([1.0, -1.0], dtype=torch.float64)))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: irrep(so(3), 1.5), r"so\(3\) are 0, 1, 2, …; got 1.5"),
        (lambda: irrep(so(3), -1), "got -1"),
        (lambda: irrep(so(3), 1, parity=1), "connected, so it has no parity"),
        (lambda: irrep(orthogonal(3), 1), "give parity=1 or parity=-1"),
        (lambda: irrep(special_unitary(2), 0.3), "0, 1/2, 1, …; got 0.3"),
        (lambda: irrep(lorentz(), 1), "is none of so"),
        (lambda: irrep(symmetric(4), 1), "isotypic_parts splits"),
        (lambda: irrep(cyclic(6), 4), "degrees of C6 are 0 to 3; got 4"),
        (lambda: irrep(cyclic(6), 1, parity=1), "no mirror"),
        (lambda: irrep(dihedral(6), 1, parity=1), "takes no parity"),
        (lambda: irrep(dihedral(6), 3, parity=2), "parity is 1 or -1"),
    ],
)
def test_degrees_that_do_not_exist_are_refused(make, says):
    with pytest.raises(ConfigError, match=says):
        make()


# Grids


def test_a_cube_turns_as_torch_turns_it(gen):
    rep, x = grid_rotations((5, 5, 5)), torch.randn(5, 5, 5, generator=gen)
    a, b = rep.group.generators
    assert rep.group.order == 24
    assert torch.equal(rep.act(a, x), x.rot90(1, (1, 2)))
    assert torch.equal(rep.act(b, x), x.rot90(1, (2, 0)))
    whole = grid_rotations((3, 3, 3), flips=True)
    assert whole.group.order == 48
    y = torch.randn(3, 3, 3, generator=gen)
    assert torch.equal(whole.act(whole.group.generators[2], y), y.flip(0, 1, 2))
    assert len({tuple(p) for p in whole.permutations.tolist()}) == 48
    assert grid_rotations((2, 2, 2)).group == rep.group


def test_boxes_turn_by_half_turns(gen):
    rep, x = grid_rotations((2, 3, 4), 2), torch.randn(2, 3, 4, generator=gen)
    assert rep.group.order == 4
    assert torch.equal(rep.act(rep.group.generators[0], x), x.flip(1, 2))
    assert torch.equal(rep.act(rep.group.generators[1], x), x.flip(0, 2))
    assert grid_rotations((2, 3, 4), 2, flips=True).group.order == 8
    assert grid_rotations((2, 3, 4), 1, flips=True).group.order == 2
    assert grid_rotations((2, 3, 4), 1).group.order == 1


@pytest.mark.parametrize(
    ("axis", "shape", "plane"), [(0, (2, 4, 4), (1, 2)), (1, (4, 2, 4), (0, 2)), (2, (4, 4, 2), (0, 1))]
)
def test_turns_about_one_axis(axis, shape, plane, gen):
    rep, x = grid_rotations(shape, flips=True, axis=axis), torch.randn(*shape, generator=gen)
    assert rep.group == dihedral(4)
    assert torch.equal(rep.act(1, x), x.rot90(1, plane))
    assert torch.equal(rep.act(4, x), x.flip(plane[1]))
    assert grid_rotations(shape, axis=axis).group == cyclic(4)
    assert torch.equal(grid_rotations(shape, 2, axis=axis).act(1, x), x.rot90(2, plane))


def test_mirrors_of_any_axes(gen):
    x = torch.randn(2, 3, 4, generator=gen)
    rep = grid_reflections((2, 3, 4))
    assert rep.group.order == 8
    for axis, g in enumerate(rep.group.generators):
        assert torch.equal(rep.act(g, x), x.flip(axis))
    assert torch.equal(grid_reflections((2, 3, 4), -1).act(1, x), x.flip(-1))
    assert torch.equal(grid_reflections(5).act(1, torch.arange(5)), torch.arange(5).flip(0))


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: grid_rotations((2, 3, 3)), ShapeError, "need a cube; got .*Half turns .*axis = 0, 1 or 2"),
        (lambda: grid_rotations((3, 4, 4), axis=1), ShapeError, r"about axis 1 need axes \(0, 2\) of one size"),
        (lambda: grid_rotations((4, 4, 4), axis=3), ConfigError, "0, 1 or 2; got 3"),
        (lambda: grid_rotations((4, 4), axis=0), ConfigError, "needs a grid of three axes"),
        (lambda: grid_rotations((4, 4, 4, 4)), ShapeError, "or three axes; got"),
        (lambda: grid_reflections((4, 4), (0, -2)), ConfigError, "each at most once"),
        (lambda: grid_reflections((4, 4), 2), ConfigError, r"axes of \(4, 4\)"),
        (lambda: grid_reflections((4, 4), ()), ConfigError, r"axes of \(4, 4\)"),
    ],
)
def test_turns_that_a_grid_does_not_have_are_refused(make, error, says):
    with pytest.raises(error, match=says):
        make()


def test_kernels_of_three_axes(gen):
    """A convolution of volumes whose filters turn with the cube: two scalars to what the six faces say."""
    kernel = grid_rotations((3, 3, 3))
    faces = kernel.group
    rep_in, rep_out = trivial(faces, 2), regular(faces)
    sharing = GroupSharing(rep_in, rep_out, kernel, dtype=torch.float64)
    assert sharing.weight_shape == (24, 2, 3, 3, 3)
    weight = sharing.materialize(torch.randn(sharing.n_filter, generator=gen, dtype=torch.float64))
    before, after = rep_in * grid_rotations((5, 5, 5)), rep_out * grid_rotations((3, 3, 3))
    x = torch.randn(1, 2, 5, 5, 5, generator=gen, dtype=torch.float64)
    for g in faces.generators:
        torch.testing.assert_close(F.conv3d(before.act(g, x), weight), after.act(g, F.conv3d(x, weight)))
    assert not torch.allclose(F.conv3d(before.act(g, x), weight), F.conv3d(x, weight))
    assert equivariant_basis(natural(faces), trivial(faces)).dim == 4  # a cube of 27: corners, edges, faces, the middle
