"""Representations: the law they keep, every way to act against the matrices, and what characters say of them."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from msr.errors import AxiomError, ConfigError, NonFiniteError, ShapeError
from msr.groups import (
    FiniteGroup,
    LieAlgebra,
    alternating,
    cyclic,
    dihedral,
    direct_product,
    lorentz,
    quaternion,
    se2,
    semidirect_product,
    so,
    special_linear,
    symmetric,
    wreath_product,
)
from msr.groups import trivial as trivial_group
from msr.representations import (
    LieRepresentation,
    character_table,
    copies,
    defining,
    direct_sum,
    from_matrices,
    grid_rotations,
    grid_shifts,
    intertwiner_dimension,
    isotypic_parts,
    multiplicities,
    natural,
    permutation,
    planar,
    quotient,
    regular,
    sign,
    tensor_product,
    trivial,
)
from msr.representations.combinators import SumRepresentation, TensorRepresentation
from tests.support.cases import permutation_groups


def close(a, b, **options):
    torch.testing.assert_close(torch.as_tensor(a), torch.as_tensor(b), check_dtype=False, **options)


def skewed(rep, seed=0):
    """The same representation in a basis that is not orthonormal."""
    rng = np.random.default_rng(seed)
    P = np.eye(rep.dim) + 0.4 * rng.standard_normal((rep.dim, rep.dim))
    return from_matrices(rep.group, P @ rep.matrices().numpy() @ np.linalg.inv(P), f"skewed {rep.name}")


def standard(n):
    """S_n on the vectors of sum zero, in a basis that is not orthogonal."""
    G = symmetric(n)
    B = np.eye(n)[:, :-1] - np.eye(n)[:, 1:]
    return from_matrices(G, np.linalg.pinv(B) @ natural(G).matrices().numpy() @ B, "standard")


def spinor():
    """Q8 by left multiplication on the quaternions."""
    left = {
        "i": [[0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 0, -1], [0, 0, 1, 0]],
        "j": [[0, 0, -1, 0], [0, 0, 0, 1], [1, 0, 0, 0], [0, -1, 0, 0]],
    }
    return from_matrices(quaternion(), left, "quaternions")


S4, D4, C4 = symmetric(4), dihedral(4), cyclic(4)
A4_IN_S4 = S4.subgroup([S4.element("(0 1 2)"), S4.multiply(S4.element("(0 1)"), S4.element("(2 3)"))])

KINDS = {
    "trivial": lambda: trivial(D4, 3),
    "natural": lambda: natural(S4),
    "regular": lambda: regular(quaternion()),
    "quotient": lambda: quotient(S4, S4.subgroup([S4.element("(0 1)")])),
    "permutation-from-generators": lambda: permutation(D4, {"r": [1, 2, 3, 0, 5, 4], "s": [0, 3, 2, 1, 4, 5]}),
    "sign": lambda: sign(S4),
    "planar": lambda: planar(5),
    "planar-flips": lambda: planar(3, flips=True),
    "matrices": spinor,
    "not-orthogonal": lambda: standard(4),
    "dual": lambda: standard(4).dual(),
    "sum-of-permutations": lambda: natural(D4) + regular(D4) + trivial(D4, 2),
    "sum-mixed": lambda: natural(D4) + planar(4, flips=True) + sign(D4),
    "tensor-of-permutations": lambda: natural(D4) * regular(D4),
    "tensor-mixed": lambda: natural(D4) * planar(4, flips=True),
    "tensor-of-three": lambda: tensor_product(planar(4), regular(C4), grid_rotations((2, 2))),
    "tensor-of-sums": lambda: (natural(D4) + sign(D4)) * (planar(4, flips=True) + trivial(D4)),
    "tensor-with-trivial": lambda: trivial(D4, 3) * planar(4, flips=True) * trivial(D4, 2),
    "copies": lambda: copies(planar(4), 3),
    "reshaped": lambda: (regular(D4) * planar(4, flips=True)).reshape(2, 4, 2),
    "reshaped-permutations": lambda: regular(D4).reshape(2, 1, 4),
    "pullback": lambda: natural(C4).pullback(cyclic(8), np.arange(8) % 4),
    "pullback-of-matrices": lambda: planar(4).pullback(direct_product(C4, cyclic(2)), np.arange(8) // 2),
    "restriction": lambda: natural(S4).restrict(A4_IN_S4),
    "restriction-of-matrices": lambda: standard(4).restrict(A4_IN_S4),
    "turns": lambda: grid_rotations(3),
    "half-turns": lambda: grid_rotations((2, 3), 2),
    "turns-and-flips": lambda: grid_rotations((3, 3), flips=True),
    "shifts": lambda: grid_shifts((2, 3)),
    "feature-maps": lambda: regular(D4) * grid_rotations((3, 3), flips=True),
}


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def rep(request):
    return request.param()


# The law


def test_acting_is_multiplying_by_the_matrix(rep, dtype, gen):
    for lead in ((), (3,), (2, 3)):
        x = torch.randn(*lead, *rep.shape, generator=gen, dtype=dtype)
        for g in [*rep.group.generators, rep.group.order - 1, 0]:
            y = rep.act(g, x)
            assert (y.shape, y.dtype) == (x.shape, dtype)
            wanted = (x.reshape(*lead, rep.dim).double() @ rep.matrix(g).mT).reshape(x.shape)
            close(y, wanted.to(dtype), atol=1e-5 if dtype == torch.float32 else 1e-12, rtol=1e-5)


def test_every_pair_of_matrices_keeps_the_law(rep):
    M, table = rep.matrices(), torch.tensor(rep.group.table, dtype=torch.long)
    assert M.shape == (rep.group.order, rep.dim, rep.dim)
    assert M.dtype == torch.float64
    close(torch.einsum("gij,hjk->ghik", M, M), M[table])


def test_properties_of_a_representation_agree_with_its_matrices(rep):
    M = rep.matrices()
    eye = torch.eye(rep.dim, dtype=torch.float64)
    close(rep.character(), torch.einsum("gii->g", M))
    assert math.prod(rep.shape) == rep.dim
    assert rep.is_orthogonal == torch.allclose(M.mT @ M, eye.expand_as(M))
    assert rep.is_trivial == torch.allclose(M, eye.expand_as(M))
    whole = torch.allclose(M, M.round())
    assert rep.is_signed_permutation == (whole and bool((M.round().abs().sum(dim=1) == 1).all()))
    kernel = [g for g in rep.group.elements if torch.allclose(M[g], eye)]
    assert rep.kernel().elements.tolist() == kernel
    if rep.is_permutation:
        for g in rep.group.elements:
            assert torch.equal(M[g].argmax(dim=0), torch.tensor(rep.permutations[g], dtype=torch.long))
    else:
        assert rep.permutations is None
    assert torch.equal(torch.block_diag(*(b.matrix(1 % rep.group.order) for b in rep.blocks())), M[1 % len(M)])


def test_the_dual_is_the_inverse_transposed(rep):
    dual = rep.dual()
    assert dual.shape == rep.shape
    for g in rep.group.elements:
        close(dual.matrix(g), rep.matrix(rep.group.inverse(g)).mT)
    assert (dual is rep) == rep.is_orthogonal
    close(dual.dual().matrices(), rep.matrices())


def test_permutations_are_kept_as_permutations():
    assert {name for name, make in KINDS.items() if make().is_permutation} == {
        "trivial", "natural", "regular", "quotient", "permutation-from-generators", "sum-of-permutations",
        "tensor-of-permutations", "reshaped-permutations", "pullback", "restriction", "turns", "half-turns",
        "turns-and-flips", "shifts", "feature-maps",
    }  # fmt: skip


def test_copies_are_equal_and_read_only(rep):
    for again in (copy.deepcopy(rep), pickle.loads(pickle.dumps(rep))):
        assert again == rep
        assert hash(again) == hash(rep)
        close(again.matrix(1), rep.matrix(1), atol=0, rtol=0)
        assert again.permutations is None or not again.permutations.flags.writeable


def test_a_representation_cannot_be_changed():
    rep = natural(S4)
    with pytest.raises(AttributeError, match=r"natural: representations are immutable.*'shape'"):
        rep.shape = (2, 2)
    with pytest.raises(ValueError, match="read-only"):
        rep.permutations[0, 0] = 1
    planar(4).matrix(0).zero_()  # a copy
    close(planar(4).matrix(0), torch.eye(2))
    own = planar(4).matrices()
    rep = from_matrices(C4, own)
    own.zero_()
    close(rep.matrix(0), torch.eye(2))


def test_points_of_another_shape_are_refused():
    with pytest.raises(ShapeError, match=r"turns acts on points of shape \(3, 3\).*got \(3, 2\)"):
        grid_rotations(3).act(1, torch.zeros(3, 2))
    with pytest.raises(ShapeError, match=r"got \(9,\)"):
        grid_rotations(3).act(1, torch.zeros(9))
    assert grid_rotations(3).check_shape(torch.zeros(5, 2, 3, 3)) == (5, 2)
    for shape in ((2, 3), (-2, -2), (0,)):
        with pytest.raises(ShapeError, match="4 numbers, which do not fit the shape"):
            natural(S4).reshape(*shape)
    assert trivial(S4).reshape().act(3, torch.tensor([1.0, 2.0])).tolist() == [1, 2]


# Constructors and their errors


def test_the_gradient_of_an_action_is_multiplied_by_the_transpose():
    for rep in (natural(D4), planar(4, flips=True), natural(D4) * planar(4, flips=True)):
        x = torch.ones(2, *rep.shape, dtype=torch.float64, requires_grad=True)
        weight = torch.arange(float(rep.dim), dtype=torch.float64).reshape(rep.shape)
        (rep.act(5, x) * weight).sum().backward()
        close(x.grad[1], (rep.matrix(5).mT @ weight.flatten()).reshape(rep.shape))


def broken_rotation():
    M = planar(4).matrices().clone()
    M[2] = torch.eye(2)
    return M


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (
            lambda: from_matrices(C4, broken_rotation()),
            AxiomError,
            r"for g = 1 \(r\) and h = 1 \(r\).* differs .* by 2",
        ),
        (
            lambda: from_matrices(S4, standard(4).matrices().mT),
            AxiomError,
            r"rho\(g\) rho\(h\) differs.*; the other order, rho\(h\) rho\(g\), agrees: transpose the matrices",
        ),
        (lambda: from_matrices(C4, torch.zeros(4, 2, 2)), AxiomError, "the identity's matrix must be the identity"),
        (lambda: from_matrices(C4, torch.ones(3, 2, 2)), ShapeError, r"C4 needs .* \(4, n, n\); got \(3, 2, 2\)"),
        (lambda: from_matrices(C4, torch.ones(4, 2, 3)), ShapeError, r"got \(4, 2, 3\)"),
        (lambda: from_matrices(C4, torch.ones(4, 0, 0)), ShapeError, r"got \(4, 0, 0\)"),
        (lambda: from_matrices(C4, np.ones((4, 1, 1)) * 1j), ShapeError, r"complex matrices; write the real form"),
        (lambda: from_matrices(C4, {1: torch.tensor([[1j]])}), ShapeError, "complex matrices"),
        (
            lambda: from_matrices(C4, [[[1.0]], [[1.0]], [[float("nan")]], [[1.0]]]),
            NonFiniteError,
            r"element 2 \(r2\) holds nan",
        ),
        (lambda: from_matrices(D4, {"r": np.eye(2)}), AxiomError, "r does not generate D4; give the images of r, s"),
        (lambda: from_matrices(D4, {"r": np.eye(2), "s": np.eye(3)}), ShapeError, r"one size; got .*2, 2.*3, 3"),
        (lambda: from_matrices(C4, {"r": np.ones((2, 3))}), ShapeError, r"square matrices of one size; got .*2, 3"),
        (lambda: from_matrices(C4, {}), ShapeError, "the generators need square"),
        (lambda: from_matrices(C4, {"r": [[2.0]]}), AxiomError, r"for g = 1 \(r\) and h = 3 \(r3\).* by 15"),
        (lambda: from_matrices(C4, {"r": [[-1.0]], "e": [[-1.0]]}), AxiomError, "the identity's matrix"),
        (lambda: from_matrices(C4, {"t": [[1.0]]}), ConfigError, "C4 has no element 't'"),
        (lambda: permutation(S4, S4.points[S4.inverses]), AxiomError, r"g = .*\).*where g sends i; .*holds the inv"),
        (lambda: permutation(C4, C4.points[:3]), ShapeError, r"C4 needs \(4, n\) integers.*got \(3, 4\)"),
        (lambda: permutation(C4, C4.points * 1.0), ShapeError, "float64"),
        (lambda: permutation(C4, np.empty((4, 0), dtype=int)), ShapeError, r"got \(4, 0\)"),
        (lambda: permutation(C4, [[0, 0]] * 4), AxiomError, r"element 0 \(e\) is no permutation of 0 to 1: \[0, 0\]"),
        (lambda: permutation(C4, {"r": [1, 2, 0]}), AxiomError, r"g = 1 \(r\) and h = 3 \(r3\)"),
        (lambda: permutation(C4, {"r": [1, 2]}), AxiomError, r"given for r is no permutation: \[1, 2\]"),
        (lambda: permutation(C4, {"r": [1.0, 0.0]}), AxiomError, "given for r is no permutation"),
        (lambda: permutation(C4, {"r": 3}), AxiomError, "given for r is no permutation: 3"),
        (lambda: permutation(D4, {"r": [0, 1], "s": [0, 1, 2]}), ShapeError, r"different length: \[2, 3\]"),
        (lambda: permutation(C4, {"r": [1, 0], 0: [1, 0]}), AxiomError, "the identity must move no point"),
        (lambda: permutation(C4, {2: [1, 0]}), AxiomError, "r2 does not generate C4; give the images of r"),
        (lambda: permutation(C4, {}), AxiomError, "nothing does not generate C4"),
        (lambda: permutation(C4, {9: [0]}), ConfigError, "elements 0 to 3; got 9"),
        (lambda: natural(quaternion()), ConfigError, "Q8 comes with no points; use regular"),
        (lambda: sign(quaternion()), ConfigError, "Q8 comes with no points to take a parity of"),
        (lambda: trivial(C4, 0), ConfigError, "at least one number; got 0"),
        (lambda: copies(natural(C4), 0), ConfigError, "at least one; got 0"),
        (lambda: direct_sum(), ConfigError, "direct_sum: give at least one"),
        (lambda: tensor_product(), ConfigError, "tensor_product: give at least one"),
        (
            lambda: natural(C4) + natural(D4),
            ConfigError,
            "direct_sum: .*different groups.*C4.*D4.*restrict to a common subgroup",
        ),
        (lambda: natural(C4) * natural(D4), ConfigError, "tensor_product: .*different groups"),
        (lambda: grid_rotations(4, 8), ConfigError, "1, 2 or 4 turns; got n = 8"),
        (lambda: grid_rotations((2, 3)), ShapeError, r"4 turns need a square \(H, W\), or three axes; got \(2, 3\)"),
        (lambda: grid_rotations((2, 3, 4, 5), 2), ShapeError, "2 turns need a grid"),
        (lambda: grid_shifts((2, 0)), ShapeError, r"positive sizes; got \(2, 0\)"),
        (lambda: grid_shifts(()), ShapeError, "positive sizes"),
        (lambda: quotient(S4, [0, 1, 2]), AxiomError, "not closed under the product"),
        (lambda: natural(C4).pullback(D4, [0, 1, 2]), ShapeError, r"homomorphism from D4 lists 8 integers.*\(3,\)"),
        (lambda: natural(C4).pullback(C4, [0.0, 1, 2, 3]), ShapeError, "float64"),
        (lambda: natural(C4).pullback(C4, [0, 1, 2, 4]), AxiomError, "elements 0 to 3; an image lies outside"),
        (lambda: natural(C4).pullback(C4, [0, 1, 2, 2]), AxiomError, "C4 to C4 is no homomorphism: .*of r and r2 "),
        (lambda: natural(C4).pullback(C4, [1, 1, 1, 1]), AxiomError, "product of e and e is not the product"),
        (lambda: trivial(C4).pullback(trivial_group(), [1]), AxiomError, "C1 to C4 is no homomorphism"),
        (lambda: natural(C4).restrict(A4_IN_S4), ConfigError, "is no subgroup of C4: its elements lie outside"),
        (lambda: planar(4).orbits(), ConfigError, "plane is no permutation representation"),
        (lambda: planar(4).stabiliser(0), ConfigError, "plane is no permutation representation"),
        (lambda: natural(C4).stabiliser(4), ConfigError, "coordinates 0 to 3; got 4"),
        (lambda: natural(C4).stabiliser(-1), ConfigError, "coordinates 0 to 3; got -1"),
    ],
)
def test_errors_name_what_is_wrong(make, error, says):
    with pytest.raises(error, match=says):
        make()


def test_the_gap_in_the_message_is_that_of_the_pair_it_names():
    M = np.ones((6, 1, 1))
    M[4], M[5] = 1.5, 3.0  # r·r3 differs by 0.5, r·r4 by 1.5, r·r5 by 2
    with pytest.raises(AxiomError, match=r"g = 1 \(r\) and h = 3 \(r3\), .* by 0.5"):
        from_matrices(cyclic(6), M)


def test_every_generator_is_tested():
    """D4 with r as it should be and s wrong: the law holds for all products that r starts."""
    turns = planar(4).matrices()
    with pytest.raises(AxiomError, match=r"g = 4 \(s\) and h = 1 \(r\)"):
        from_matrices(D4, torch.cat([turns, turns]))
    with pytest.raises(AxiomError, match=r"g = 4 \(s\) and h = 1 \(r\)"):
        permutation(D4, np.concatenate([C4.points, C4.points]))
    with pytest.raises(AxiomError, match=r"the image of the product of s and r is not"):
        natural(C4).pullback(D4, [0, 1, 2, 3] * 2)


def test_planes_turn_counter_clockwise():
    close(planar(4).matrix(1) @ torch.tensor([1.0, 0]).double(), torch.tensor([0.0, 1]))
    D = planar(6, flips=True)
    close(D.matrix(6), torch.diag(torch.tensor([1.0, -1])))
    close(D.matrix(D.group.element("rs")), D.matrix(1) @ D.matrix(6))
    assert D.group == dihedral(6)


def test_matrices_may_be_tensors_that_learn():
    learned = torch.tensor([[-1.0]], requires_grad=True)
    assert from_matrices(cyclic(2), {"r": learned}).matrix(1).tolist() == [[-1]]
    assert not from_matrices(cyclic(2), torch.stack([-learned, learned])).matrix(1).requires_grad


def test_images_of_generators_extend_to_all():
    generators = {g: natural(S4).matrix(g) for g in S4.generators}
    close(from_matrices(S4, generators).matrices(), natural(S4).matrices())
    assert permutation(S4, {S4.label(g): S4.points[g] for g in S4.generators}) == natural(S4)
    assert permutation(trivial_group(), {}).dim == 1


def test_sign_is_the_parity():
    assert [int(sign(symmetric(3)).matrix(g)) for g in (0, 1)] == [1, -1]
    for g in S4.elements:
        assert float(sign(S4).matrix(g)) == round(float(torch.linalg.det(natural(S4).matrix(g))))
    assert sign(alternating(4)).is_trivial


def test_quotients_have_the_size_of_the_index():
    S3 = symmetric(3)
    for classes in S3.subgroup_classes():
        rep = quotient(S3, classes[0])
        assert rep.dim * len(classes[0]) == 6
        assert len(rep.orbits()) == 1
        assert rep.stabiliser(0).elements.tolist() == list(classes[0])
    assert quotient(S3, [0]) == regular(S3)
    assert quotient(S3, range(6)).is_trivial


@pytest.mark.parametrize(("shape", "n"), [((3, 3), 4), ((4, 4), 4), ((2, 3), 2), ((2, 3), 1), (3, 4)], ids=str)
@pytest.mark.parametrize("flips", [False, True])
def test_grid_rotations_are_those_of_torch(shape, n, flips, gen):
    rep = grid_rotations(shape, n, flips=flips)
    assert rep.group == (dihedral(n) if flips else cyclic(n))
    x = torch.randn(2, *rep.shape, generator=gen)
    for g in rep.group.elements:
        f, k = divmod(g, n)
        assert torch.equal(rep.act(g, x), torch.rot90(x.flip(-1) if f else x, k * (4 // n), (-2, -1)))


def test_grid_rotations_turn_the_plane_as_planar_does():
    """With rows counted downwards, (row, column) = (-y, x): where a cell goes is where its centre goes."""
    rep, plane = grid_rotations(3, flips=True), planar(4, flips=True)
    centre = np.array([[x, -y] for y in range(-1, 2) for x in range(-1, 2)])
    mirror = np.diag([-1.0, 1.0])  # s flips columns here; planar's s flips the second axis
    for k in range(4):
        moved = centre @ plane.matrix(k).numpy().T
        assert np.allclose(centre[rep.permutations[k]], moved)
        assert np.allclose(centre[rep.permutations[k + 4]], centre @ mirror @ plane.matrix(k).numpy().T)


def test_grid_shifts_are_those_of_torch(gen):
    x = torch.randn(2, 3, 4, generator=gen)
    rep = grid_shifts((3, 4))
    assert rep.group == direct_product(cyclic(3), cyclic(4))
    for a in range(3):
        for b in range(4):
            assert torch.equal(rep.act(a * 4 + b, x), torch.roll(x, (a, b), (-2, -1)))
    assert torch.equal(grid_shifts(12).act(5, x.flatten(1)), torch.roll(x.flatten(1), 5, -1))
    cube = torch.randn(2, 2, 3, generator=gen)
    assert torch.equal(grid_shifts((2, 2, 3)).act(1 * 6 + 1 * 3 + 2, cube), torch.roll(cube, (1, 1, 2), (0, 1, 2)))
    assert grid_shifts(5) == regular(cyclic(5))


# Sums and products


def test_sums_are_block_diagonal():
    a, b = natural(D4), planar(4, flips=True)
    rep = a + b + a
    assert rep.shape == (10,)
    assert rep.blocks() == (a, b, a)
    assert isinstance(rep, SumRepresentation)
    assert rep.name == "natural + plane + natural"
    for g in D4.elements:
        close(rep.matrix(g), torch.block_diag(a.matrix(g), b.matrix(g), a.matrix(g)))
    assert (a + a + b + b).name == "2 natural + 2 plane"
    assert direct_sum(a) is a
    assert copies(b, 3).blocks() == (b, b, b)
    assert copies(b, 1) is b
    assert np.array_equal((a + a).permutations, np.concatenate([a.permutations, a.permutations + 4], axis=1))


def test_products_are_kronecker_products():
    a, b = natural(D4), planar(4, flips=True)
    rep = a * b * a
    assert rep.shape == (4, 2, 4)
    assert isinstance(rep, TensorRepresentation)
    assert tensor_product(a) is a
    assert ((a + b) * a).name == "(natural + plane) * natural"
    for g in D4.elements:
        wanted = np.kron(np.kron(a.matrix(g), b.matrix(g)), a.matrix(g))
        close(rep.matrix(g), wanted)
    joint = (a * regular(D4)).permutations
    for g, i, j in ((1, 2, 3), (4, 0, 7), (6, 3, 5)):
        assert joint[g, i * 8 + j] == a.permutations[g, i] * 8 + regular(D4).permutations[g, j]


def test_a_trivial_factor_in_front_makes_copies():
    b = planar(4, flips=True)
    assert (trivial(D4, 3) * b).blocks() == (b, b, b)
    assert (trivial(D4, 2) * (b + natural(D4))).blocks() == (b, natural(D4)) * 2
    assert (trivial(D4, 2) * b).reshape(4).blocks() == (b, b)
    assert (trivial(D4, 2) + natural(D4) * b).blocks() == (trivial(D4, 2), natural(D4) * b)
    for rep in (b * trivial(D4, 3), natural(D4) * b, trivial(D4) * b, trivial(D4, 3)):
        assert rep.blocks() == (rep,)
    for g in D4.elements:
        close((trivial(D4, 3) * b).matrix(g), copies(b, 3).matrix(g))


def test_signs_that_cancel_are_trivial():
    s = sign(S4)
    assert not s.is_trivial
    assert (s * s).is_trivial
    assert not (s * s * s).is_trivial
    assert not (natural(S4) * s * s).is_trivial
    assert (trivial(S4, 2) * trivial(S4, 3)).is_trivial
    assert (trivial(S4) + s * s).is_trivial
    assert not (trivial(S4) + s).is_trivial


def test_signed_permutations():
    def told(rep):
        return rep.is_permutation, rep.is_signed_permutation

    assert told(natural(S4)) == (True, True)
    assert told(sign(S4)) == told(natural(S4) * sign(S4)) == told(planar(4)) == told(spinor()) == (False, True)
    assert told(planar(3)) == told(planar(8)) == (False, False)
    shear = from_matrices(cyclic(2), {"r": [[1.0, 1.0], [0.0, -1.0]]})
    assert not shear.is_signed_permutation  # entries of 0 and 1 alone are not enough
    assert not shear.is_orthogonal
    assert shear.kernel().group.order == 1


def test_equality_is_of_matrices_group_and_shape():
    assert natural(C4) == regular(C4)
    assert natural(C4) != natural(C4).reshape(2, 2)
    assert grid_shifts(4) == natural(C4)
    assert natural(cyclic(2)) != natural(cyclic(3))
    assert planar(4) != from_matrices(C4, planar(4).matrices().mT)
    assert planar(4) == from_matrices(C4, planar(4).matrices())
    assert natural(C4) != "natural"
    assert repr(planar(4)) == "<plane: C4 on (2,), matrices>"
    assert repr(natural(C4)) == "<natural: C4 on (4,), permutations>"
    assert len({natural(C4), regular(C4), planar(4)}) == 2


def test_pullbacks_along_a_quotient_and_an_inclusion():
    parity = [0 if float(sign(S4).matrix(g)) > 0 else 1 for g in S4.elements]
    flip = from_matrices(cyclic(2), {"r": [[-1.0]]})
    pulled = flip.pullback(S4, parity, "parity")
    close(pulled.matrices(), sign(S4).matrices())
    assert pulled.name == "parity"
    assert natural(C4).pullback(C4, [0, 3, 2, 1]).name == "natural of C4"
    grid = grid_rotations((3, 3)).pullback(direct_product(C4, cyclic(2)), np.arange(8) // 2)
    assert grid.shape == (3, 3)
    assert natural(S4).restrict(A4_IN_S4).group == A4_IN_S4.group
    turns = D4.subgroup([1])
    assert grid_rotations(3, flips=True).restrict(turns) == grid_rotations(3)
    close(planar(4, flips=True).restrict(turns).matrices(), planar(4).matrices())


# Orbits


def test_orbits_and_kernels():
    rep = natural(D4) + trivial(D4, 2) + quotient(D4, D4.subgroup([1]))
    assert [o.tolist() for o in rep.orbits()] == [[0, 1, 2, 3], [4], [5], [6, 7]]
    assert quotient(D4, D4.subgroup([1])).kernel().elements.tolist() == [0, 1, 2, 3]
    assert natural(D4).kernel().group.name == "kernel of natural"
    assert natural(D4).stabiliser(2).group.name == "D4 fixing 2"
    assert sign(S4).kernel().group == A4_IN_S4.group
    assert trivial(trivial_group(), 2).orbits()[1].tolist() == [1]


@given(permutation_groups(), st.data())
def test_orbit_times_stabiliser_is_the_order(group, data):
    rep = natural(group)
    rep = data.draw(st.sampled_from([rep, rep * rep, rep + rep]))
    i = data.draw(st.integers(0, rep.dim - 1))
    orbit = next(o for o in rep.orbits() if i in o)
    assert set(rep.permutations[:, i].tolist()) == set(orbit.tolist())
    assert len(orbit) * rep.stabiliser(i).group.order == group.order
    fixed = (rep.permutations == np.arange(rep.dim)).sum() / group.order
    assert fixed == len(rep.orbits())  # Burnside
    assert intertwiner_dimension(rep, rep) == len((rep * rep).orbits())


@given(permutation_groups(4))
def test_characters_of_random_groups(group):
    table = character_table(group)
    assert (table.degrees**2).sum() == group.order
    assert all(group.order % d == 0 for d in table.degrees)
    rep = natural(group)
    assert multiplicities(rep)[0] == len(rep.orbits())
    assert (multiplicities(rep) ** 2).sum() == intertwiner_dimension(rep, rep)
    assert sum(p.dim for p in isotypic_parts(rep)) == rep.dim


# Characters

FROBENIUS21 = semidirect_product(cyclic(7), cyclic(3), lambda h, n: n * 2**h % 7)

IRREPS = {
    "C1": (trivial_group, [1], [1]),
    "C3": (lambda: cyclic(3), [1, 1, 1], [1, 0, 0]),
    "C4": (lambda: cyclic(4), [1, 1, 1, 1], [1, 1, 0, 0]),
    "S3": (lambda: symmetric(3), [1, 1, 2], [1, 1, 1]),
    "D4": (lambda: dihedral(4), [1, 1, 1, 1, 2], [1, 1, 1, 1, 1]),
    "Q8": (quaternion, [1, 1, 1, 1, 2], [1, 1, 1, 1, -1]),
    "Q12": (lambda: quaternion(12), [1, 1, 1, 1, 2, 2], [1, 1, 0, 0, 1, -1]),
    "A4": (lambda: alternating(4), [1, 1, 1, 3], [1, 0, 0, 1]),
    "S4": (lambda: symmetric(4), [1, 1, 2, 3, 3], [1] * 5),
    "A5": (lambda: alternating(5), [1, 3, 3, 4, 5], [1] * 5),
    "S5": (lambda: symmetric(5), [1, 1, 4, 4, 5, 5, 6], [1] * 7),
    "7:3": (lambda: FROBENIUS21, [1, 1, 1, 3, 3], [1, 0, 0, 0, 0]),
    "D5xC2": (lambda: direct_product(dihedral(5), cyclic(2)), [1, 1, 1, 1, 2, 2, 2, 2], [1] * 8),
    "S3wrC2": (lambda: wreath_product(symmetric(3), cyclic(2)), [1, 1, 1, 1, 2, 4, 4, 4, 4], [1] * 9),
}


@pytest.mark.parametrize(("make", "degrees", "indicators"), IRREPS.values(), ids=IRREPS)
def test_degrees_and_indicators(make, degrees, indicators):
    group = make()
    table = character_table(group)
    assert table.degrees.tolist() == degrees
    for d in set(degrees):  # the order among equal degrees is nobody's business
        wanted = [i for i, e in zip(indicators, degrees, strict=True) if e == d]
        assert sorted(table.indicators[table.degrees == d].tolist()) == sorted(wanted)
    roots = int((np.diagonal(group.table) == 0).sum())
    assert (table.indicators * table.degrees).sum() == roots  # Frobenius and Schur: how many x have x² = e


@pytest.mark.parametrize("make", [entry[0] for entry in IRREPS.values()], ids=IRREPS)
def test_character_tables_are_orthogonal_both_ways(make):
    group = make()
    table = character_table(group)
    sizes = np.array([len(c) for c in group.conjugacy_classes])
    assert table.values.shape == (len(sizes), len(sizes))
    rows = (table.values * sizes) @ table.values.conj().T / group.order
    np.testing.assert_allclose(rows, np.eye(len(sizes)), atol=1e-9)
    columns = table.values.T @ table.values.conj()
    np.testing.assert_allclose(columns, np.diag(group.order / sizes), atol=1e-7)
    np.testing.assert_allclose(table.values[0], 1, atol=1e-9)
    np.testing.assert_allclose(table.values[:, 0], table.degrees, atol=1e-9)
    assert (np.diff(table.degrees[1:]) >= 0).all()
    for c, members in enumerate(group.conjugacy_classes):
        np.testing.assert_array_equal(table.on_elements()[:, members], table.values[:, [c] * len(members)])


def test_the_character_table_of_a_cyclic_group_is_the_fourier_matrix():
    n = 6
    found = character_table(cyclic(n)).on_elements()
    fourier = np.exp(2j * np.pi * np.outer(np.arange(n), np.arange(n)) / n)
    near = np.abs(found[:, None] - fourier[None]).max(axis=-1) < 1e-9
    assert (near.sum(axis=0) == 1).all()
    assert (near.sum(axis=1) == 1).all()


def test_the_character_table_of_s4():
    cycle_types = ["e", "(0 1)", "(0 1)(2 3)", "(0 1 2)", "(0 1 2 3)"]
    columns = S4.class_index[[S4.element(x) for x in cycle_types]]
    known = {(1, 1, 1, 1, 1), (1, -1, 1, 1, -1), (2, 0, 2, -1, 0), (3, 1, -1, 0, -1), (3, -1, -1, 0, 1)}
    assert {tuple(row) for row in character_table(S4).values[:, columns].real.round(9).tolist()} == known


def test_characters_are_class_functions_that_add_and_multiply():
    a, b = standard(4), natural(S4)
    for rep in (a, b, a + b, a * b, skewed(a + b)):
        assert rep.character()[0] == pytest.approx(rep.dim)
        close(rep.character(), rep.character()[[c[0] for c in S4.conjugacy_classes]][S4.class_index])
    close((a + b).character(), a.character() + b.character())
    close((a * b).character(), a.character() * b.character())
    close((a + b).reshape(1, 7).character(), (a + b).character())
    close(a.dual().character(), a.character()[S4.inverses])


def test_multiplicities():
    for group in (symmetric(3), quaternion(), alternating(4), cyclic(5)):
        table = character_table(group)
        assert multiplicities(regular(group)).tolist() == table.degrees.tolist()
        assert multiplicities(trivial(group, 3), table).tolist() == [3] + [0] * (len(table.degrees) - 1)
        a, b = regular(group), trivial(group, 2)
        assert (multiplicities(a + b) == multiplicities(a) + multiplicities(b)).all()
    table = character_table(S4)
    counts = multiplicities(natural(S4))
    assert counts[0] == 1
    assert (counts @ table.degrees, counts @ counts) == (4, 2)
    assert multiplicities(spinor()).tolist() == [0, 0, 0, 0, 2]  # one irrep over the reals, twice one over C
    assert multiplicities(planar(5)).sum() == 2
    assert multiplicities(planar(5)).max() == 1


SPLIT = {
    "natural": (lambda: natural(S4), [1, 3]),
    "regular-C5": (lambda: regular(cyclic(5)), [1, 2, 2]),
    "regular-C4": (lambda: regular(C4), [1, 1, 2]),
    "regular-Q8": (lambda: regular(quaternion()), [1, 1, 1, 1, 4]),
    "regular-7:3": (lambda: regular(FROBENIUS21), [1, 2, 18]),
    "grid": (lambda: grid_rotations(3, flips=True), [1, 1, 3, 4]),
    "mixed": (lambda: planar(4, flips=True) * natural(D4) + sign(D4), [1, 1, 1, 2, 4]),
    "not-orthogonal": (lambda: skewed(natural(S4) + sign(S4)), [1, 1, 3]),
    "standard": (lambda: standard(4), [3]),
}


@pytest.mark.parametrize(("make", "dims"), SPLIT.values(), ids=SPLIT)
def test_isotypic_parts_split_the_space(make, dims):
    rep = make()
    parts = isotypic_parts(rep)
    assert sorted(p.dim for p in parts) == dims
    assert sum(p.dim for p in parts) == rep.dim
    close(sum(p.projection for p in parts), torch.eye(rep.dim, dtype=torch.float64), atol=1e-9, rtol=0)
    degrees, counts = character_table(rep.group).degrees, multiplicities(rep)
    for i, part in enumerate(parts):
        P = part.projection
        assert float(P.trace()) == pytest.approx(part.dim)
        assert part.dim == sum(degrees[j] * counts[j] for j in part.irreps)
        assert all(counts[j] == part.multiplicity for j in part.irreps)
        if rep.is_orthogonal:
            close(P, P.mT)
        for j, other in enumerate(parts):
            close(P @ other.projection, P if i == j else torch.zeros_like(P), atol=1e-9, rtol=0)
        close(P @ rep.matrices(), rep.matrices() @ P, atol=1e-9, rtol=0)


def test_intertwiner_dimensions_by_characters():
    assert intertwiner_dimension(natural(S4), natural(S4)) == 2
    assert intertwiner_dimension(natural(S4), trivial(S4)) == 1
    assert intertwiner_dimension(planar(4), planar(4)) == 2
    assert intertwiner_dimension(sign(S4), trivial(S4)) == 0
    # complex types pair with their conjugates, so the inverse counts
    turn = planar(3)
    assert intertwiner_dimension(turn, turn) == intertwiner_dimension(skewed(turn), skewed(turn, 1).dual()) == 2
    with pytest.raises(ConfigError, match=r"intertwiner_dimension: .*different groups"):
        intertwiner_dimension(natural(S4), natural(C4))


# Lie algebras


def lie_pairs():
    return {
        "so(3)": defining(so(3)),
        "so(3)-tensor": defining(so(3)) * defining(so(3)),
        "so(3)-sum": defining(so(3)) + trivial(so(3), 2),
        "lorentz": defining(lorentz()),
        "lorentz-dual": defining(lorentz()).dual(),
        "sl(2)-mixed": defining(special_linear(2)) * defining(special_linear(2)).dual() + trivial(special_linear(2)),
        "se(2)": defining(se2()),
    }


@pytest.fixture(params=lie_pairs().values(), ids=lie_pairs())
def lie(request):
    return request.param


def test_lie_representations_keep_the_brackets(lie):
    X, c = lie.matrices, lie.group.structure_constants
    for i in range(lie.group.dim):
        for j in range(lie.group.dim):
            close(X[i] @ X[j] - X[j] @ X[i], np.einsum("k,kab->ab", c[i, j], X))
    assert not X.flags.writeable
    assert lie.blocks() == (lie,)
    assert (lie.is_permutation, lie.is_signed_permutation, lie.permutations) == (False, False, None)


def test_lie_elements_act_by_the_exponential(lie, dtype, gen):
    (element,) = lie.group.sample(1, gen)
    element = [0.3 * c for c in element]
    generator = np.einsum("i,iab->ab", element, lie.matrices)
    series, term = np.eye(lie.dim), np.eye(lie.dim)
    for k in range(1, 40):
        term = term @ generator / k
        series = series + term
    close(lie.matrix(element), series)
    for lead in ((), (2, 3)):
        x = torch.randn(*lead, *lie.shape, generator=gen, dtype=dtype)
        y = lie.act(element, x)
        assert (y.shape, y.dtype) == (x.shape, dtype)
        wanted = x.reshape(*lead, lie.dim).double() @ torch.tensor(series).mT
        close(y, wanted.reshape(x.shape).to(dtype), atol=1e-5, rtol=1e-4)
        close(lie.act([-c for c in element], y), x, atol=1e-4, rtol=1e-4)
    orthogonal = torch.allclose(lie.matrix(element).mT @ lie.matrix(element), torch.eye(lie.dim).double())
    assert lie.is_orthogonal == orthogonal


def test_lie_sums_products_and_duals_of_group_elements(gen):
    a, b = defining(lorentz()), defining(lorentz()).dual()
    (g,) = lorentz().sample(1, gen)
    A, B = a.matrix(g), b.matrix(g)
    close(B, torch.linalg.inv(A).mT)
    close((a + b).matrix(g), torch.block_diag(A, B))
    close((a * b).matrix(g), np.kron(A, B))
    assert (a * b).shape == (4, 4)
    assert (a + b).shape == (8,)
    assert (a * b).name == "defining * defining*"
    assert (a + b).name == "defining + defining*"
    assert b.dual() == a
    close(trivial(lorentz(), 2).matrix(g), torch.eye(2))
    assert trivial(lorentz(), 2).is_trivial
    assert not a.is_trivial


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (
            lambda: LieRepresentation(so(3), so(3).matrices[[1, 0, 2]]),
            AxiomError,
            r"no representation of so\(3\): the bracket of the matrices of J01 and J02 differs .* by 2",
        ),
        (lambda: LieRepresentation(so(3), -so(3).matrices), AxiomError, "the bracket of the matrices of J01 and J02"),
        (lambda: LieRepresentation(so(3), 1e-9 * so(3).matrices), AxiomError, "differs"),
        (
            lambda: LieRepresentation(so(3), so(3).matrices[:2]),
            ShapeError,
            r"so\(3\) needs 3 square matrices; got \(2",
        ),
        (lambda: LieRepresentation(so(3), np.ones((3, 2, 3))), ShapeError, r"got \(3, 2, 3\)"),
        (
            lambda: LieRepresentation(so(3), so(3).matrices, shape=(2, 2)),
            ShapeError,
            r"3 numbers do not fit .*\(2, 2\)",
        ),
        (lambda: LieRepresentation(so(2), np.full((1, 2, 2), np.inf)), NonFiniteError, "nan or infinity"),
        (lambda: LieRepresentation(so(2), np.full((1, 1, 1), 1j)), ShapeError, "complex matrices; write the real form"),
        (lambda: defining(so(3)).matrix([1.0]), ShapeError, r"of so\(3\) is 3 coefficients; got \(1,\)"),
        (lambda: defining(so(3)).act([1.0, 0, 0], torch.ones(2)), ShapeError, r"shape \(3,\); got a tensor \(2,\)"),
        (lambda: defining(so(3)) + defining(so(2)), ConfigError, r"different algebras, so\(3\) and so\(2\)"),
        (lambda: defining(so(3)) * defining(so(2)), ConfigError, "different algebras"),
        (lambda: trivial(so(3), 0), ConfigError, "at least one number"),
    ],
)
def test_lie_errors_name_what_is_wrong(make, error, says):
    with pytest.raises(error, match=says):
        make()


def test_lie_representations_are_values():
    a = defining(so(3))
    assert a == LieRepresentation(so(3), torch.tensor(so(3).matrices))
    assert hash(a) == hash(defining(so(3)))
    assert a != LieRepresentation(so(3), so(3).matrices, shape=(3, 1))
    assert a != trivial(so(3), 3)
    assert a != "defining"
    assert repr(a) == "<defining: so(3) on (3,)>"
    for again in (copy.deepcopy(a), pickle.loads(pickle.dumps(a))):
        assert again == a
        assert not again.matrices.flags.writeable
        assert not again.group.matrices.flags.writeable


def test_the_adjoint_is_a_representation():
    for algebra in (so(3), special_linear(2), lorentz()):
        adjoint = LieRepresentation(algebra, algebra.structure_constants.swapaxes(1, 2), "adjoint")
        assert adjoint.dim == algebra.dim
    close(LieRepresentation(so(2), [[[0, 3.0], [-3.0, 0]]]).matrix([np.pi / 6]), [[0, 1], [-1, 0]], atol=1e-12, rtol=0)
    assert LieAlgebra(so(2).matrices) == so(2)
    assert FiniteGroup([[0]]) != so(2)


def test_rows_of_different_length_are_named():
    for make in (
        lambda: permutation(cyclic(2), [[0, 1], [1, 0, 2]]),
        lambda: FiniteGroup([[0, 1], [1]]),
        lambda: from_matrices(cyclic(2), [np.eye(2), np.eye(3)]),
    ):
        with pytest.raises(ShapeError, match="all rows must have the same length"):
            make()


def test_elements_outside_the_group_are_refused():
    rep, x = regular(cyclic(8)), torch.zeros(8)
    for element in (99, -1):
        with pytest.raises(ConfigError, match=f"elements 0 to 7; got {element}"):
            rep.act(element, x)
    for call in (lambda: cyclic(8).multiply(1, 99), lambda: cyclic(8).inverse(-1), lambda: cyclic(8).label(8)):
        with pytest.raises(ConfigError, match="elements 0 to 7"):
            call()


def test_what_is_no_representation_is_named():
    for make in (lambda: regular(cyclic(4)) * 3, lambda: regular(cyclic(4)) + cyclic(4), lambda: defining(so(3)) * 2):
        with pytest.raises(ConfigError, match=r"no representation.*copies\(rep, n\)"):
            make()


def test_sums_and_copies_of_lie_representations():
    vector = defining(so(3))
    element, x = (0.3, -0.2, 0.9), torch.arange(6.0, dtype=torch.float64)
    both = copies(vector, 2)
    expected = torch.cat([vector.act(element, x[:3]), vector.act(element, x[3:])])
    torch.testing.assert_close(both.act(element, x), expected)
    assert direct_sum(vector, vector) == both
    assert tensor_product(vector, vector) == vector * vector
    assert vector.reshape(3, 1).act(element, x[:3].reshape(3, 1)).shape == (3, 1)


def test_rounded_matrices_in_double_precision_are_told_apart_from_wrong_ones():
    rounded = planar(8).matrices().float().double().numpy()
    with pytest.raises(AxiomError, match="agree up to rounding: compute the matrices in float64"):
        from_matrices(cyclic(8), rounded)


def test_a_product_of_signs_is_trivial_without_a_dense_matrix():
    flip = sign(cyclic(2))
    assert (flip * flip).is_trivial
    assert not (flip * trivial(cyclic(2), 3)).is_trivial
    big = trivial(cyclic(4), 64) * grid_rotations(64)
    assert not big.is_trivial
