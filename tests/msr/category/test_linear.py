"""Linear functors: laws with their witnesses, and all linear natural transformations against known dimensions."""

import numpy as np
import pytest
import torch

from msr.category import (
    VectFunctor,
    action_copresheaf,
    colimit,
    discrete,
    from_group,
    from_quiver_paths,
    linear_functor,
    linear_transformations,
    linearised,
    product,
)
from msr.errors import AxiomError, ConfigError, NonFiniteError, ShapeError
from msr.groups import cyclic, dihedral, symmetric
from msr.representations import equivariant_basis, natural, planar, regular, sign
from tests.msr.category.cases import chain, parallel_pair, random_action, random_category, random_presheaf, turning

C2 = from_group(cyclic(2))
EYE = torch.eye(2, dtype=torch.float64)
FLIP = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: VectFunctor(C2, [2], [EYE]), ShapeError, "one matrix for each of the 2 arrows; got 1"),
        (lambda: VectFunctor(C2, [2], [EYE, EYE[:1]]), ShapeError, r"mats\[1\] must be \(dims\[0\], dims\[0\]\)"),
        (lambda: VectFunctor(C2, [-1], [EYE, EYE]), ShapeError, r"dims\[0\] = -1"),
        (lambda: VectFunctor(C2, [2], [EYE, EYE * np.nan]), NonFiniteError, r"mats\[1\] holds nan or inf"),
        (lambda: VectFunctor(C2, [2], [EYE, EYE + 0j]), ShapeError, r"mats\[1\] is complex"),
        (lambda: VectFunctor(C2, [2], [FLIP, FLIP]), AxiomError, r"identity of object 0 \(arrow 0\).* off by 2"),
        (
            lambda: VectFunctor(C2, [2], [EYE, 2 * FLIP]), AxiomError,
            r"for g = 1 and f = 1, V\(g\) V\(f\) and V\(g∘f\), of arrow 0, differ by 4.2",
        ),
        (lambda: VectFunctor("C2", [2], [EYE, FLIP]), ConfigError, "category must be a FinCat"),
    ],
)  # fmt: skip
def test_a_broken_functor_is_refused_with_a_witness(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_laws_hold_to_a_tolerance():
    VectFunctor(C2, [2], [EYE, FLIP + 1e-10])
    with pytest.raises(AxiomError):
        VectFunctor(C2, [2], [EYE, FLIP + 1e-6])
    # In single precision, and as arrays and lists.
    assert VectFunctor(C2, [2], [np.eye(2), [[0, 1], [1, 0]]]).mats[1].dtype == torch.float64


@pytest.mark.parametrize("group", [cyclic(6), dihedral(4), symmetric(3)], ids=lambda G: G.name)
def test_transformations_of_representations_are_the_equivariant_maps(group):
    C = from_group(group)
    plane = planar(6) if group == cyclic(6) else planar(4, flips=True) if group == dihedral(4) else sign(group)
    reps = [natural(group), regular(group), plane]
    for rep_in in reps:
        for rep_out in reps:
            found = linear_transformations(linear_functor(C, rep_in), linear_functor(C, rep_out))
            assert found.dim == equivariant_basis(rep_in, rep_out).dim
            for W in found.components[0]:
                for g in group.generators:
                    torch.testing.assert_close(rep_out.matrix(g) @ W, W @ rep_in.matrix(g), atol=1e-10, rtol=0)


def test_burnside_orbits_of_pairs_and_nullity_agree():
    rng = np.random.default_rng(0)
    for group in (cyclic(4), cyclic(6), symmetric(3), dihedral(4)):
        for _ in range(3):
            first = random_action(rng, group, int(rng.integers(1, 6)))
            second = random_action(rng, group, int(rng.integers(1, 6)))
            fixed = [(moves == np.arange(moves.shape[1])).sum(axis=1) for moves in (first, second)]
            burnside = (fixed[0] * fixed[1]).sum() / group.order
            S = action_copresheaf(group, first)
            T = action_copresheaf(group, second)
            assert burnside == colimit(S * T)[0] == linear_transformations(linearised(S), linearised(T)).dim


def test_bases_are_natural_and_orthonormal():
    rng = np.random.default_rng(1)
    for _ in range(15):
        C = random_category(rng)
        S = linearised(random_presheaf(rng, C))
        T = linearised(random_presheaf(rng, C))
        found = linear_transformations(S, T)
        flat = torch.cat([part.flatten(1) for part in found.components], dim=1)
        torch.testing.assert_close(flat @ flat.T, torch.eye(found.dim, dtype=torch.float64))
        for f in range(C.n_mor):
            a, b = int(S.category.src[f]), int(S.category.dst[f])
            left = T.mats[f] @ found.components[a]
            torch.testing.assert_close(left, found.components[b] @ S.mats[f], atol=1e-10, rtol=0)


def test_linearised_functors_keep_the_law():
    rng = np.random.default_rng(2)
    for _ in range(10):
        T = random_presheaf(rng, random_category(rng))
        V = linearised(T)
        V.check()
        assert V.category == T.category.op()
    assert linearised(turning(2, 4, covariant=True)).mats[1][0, 1] == 1


def test_sums_of_functors():
    S = linearised(turning(2, covariant=True))
    T = linearised(turning(4, covariant=True))
    both = S + T
    both.check()
    assert both.dims.tolist() == [6]
    assert linear_transformations(both, S).dim == linear_transformations(S, S).dim + linear_transformations(T, S).dim
    nothing = VectFunctor(S.category, [0], [torch.zeros(0, 0)] * 4)
    assert all(torch.equal(a, b) for a, b in zip((nothing + S).mats, S.mats, strict=True))


def test_spaces_of_dimension_nothing_and_scalars():
    pair = parallel_pair()
    onto_nothing = VectFunctor(pair, [2, 0], [EYE, torch.zeros(0, 0), torch.zeros(0, 2), torch.zeros(0, 2)])
    assert linear_transformations(onto_nothing, onto_nothing).dim == 4
    empty = VectFunctor(discrete(0), [], [])
    assert linear_transformations(empty, empty).dim == 0
    # Everything commutes with rotations of a plane by nothing but rounding.
    small = VectFunctor(C2, [2], [EYE, EYE + 1e-15])
    found = linear_transformations(small, small)
    assert found.dim == 4
    assert found.gap > 1e5


def test_the_gap_tells_a_doubtful_dimension():
    pair = parallel_pair()

    def lines(angle):
        return VectFunctor(pair, [1, 1], [[[1.0]], [[1.0]], [[1.0]], [[angle]]])

    assert linear_transformations(lines(2.0), lines(3.0)).dim == 0
    nearly = linear_transformations(lines(2.0), lines(2.0 + 3e-10))
    assert nearly.dim == 1
    assert 1 < nearly.gap < 100
    # Of small matrices as well: twice 1e-10 is another map than 1e-10, and no dimension is left.
    assert linear_transformations(lines(1e-10), lines(2e-10)).gap < 100
    assert linear_transformations(lines(2.0), lines(2.0)).gap > 1e14


def test_what_is_refused():
    S = linearised(turning(2, covariant=True))
    with pytest.raises(ConfigError, match="a VectFunctor is needed"):
        linear_transformations(S, turning(2))
    with pytest.raises(ConfigError, match="of different categories"):
        linear_transformations(S, linearised(turning(2, n=6, covariant=True)))
    with pytest.raises(ConfigError, match="needs the category of its group"):
        linear_functor(from_group(cyclic(3)), regular(cyclic(4)))
    with pytest.raises(ConfigError, match="needs the category of its group"):
        linear_functor(product(C2, chain(2)), regular(cyclic(4)))
    with pytest.raises(ConfigError, match="is no representation"):
        linear_functor(C2, EYE)


def test_a_map_too_small_to_count_is_no_clear_dimension():
    arrow = from_quiver_paths(2, [(0, 1)])
    small = VectFunctor(arrow, [1, 1], [[[1.0]], [[1.0]], [[1e-10]]])
    # One dimension by the law, two by the tolerance: the gap has to say so.
    assert linear_transformations(small, small).gap < 100
    none = VectFunctor(arrow, [1, 1], [[[1.0]], [[1.0]], [[0.0]]])
    found = linear_transformations(none, none)
    assert (found.dim, found.gap) == (2, np.inf)
