"""One checker: on the category of a group it is the defect of equivariance, number for number; elsewhere squares."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from msr.category.categories.constructors import action_groupoid, discrete, from_group, from_poset, from_quiver_paths
from msr.category.linear import VectFunctor, linear_functor, linear_transformations
from msr.category.sets.natural_transformations import transformations
from msr.category.sets.presheaves import CoPresheaf, Presheaf
from msr.category.sets.set_functors import action_presheaf
from msr.category.sets.yoneda import yoneda_table
from msr.category.squares.naturality import naturality_error
from msr.equivariance import equivariance_error, weight_error
from msr.errors import AxiomError, ConfigError, ModelError, NonFiniteError, ShapeError
from msr.groups import LieAlgebra, cyclic, dihedral, so, symmetric
from msr.layers import ReparamConv2d
from msr.representations import (
    copies,
    defining,
    equivariant_basis,
    from_matrices,
    grid_rotations,
    grid_shifts,
    natural,
    planar,
    regular,
    trivial,
)
from msr.sharing import GroupSharing
from tests.msr.equivariance.layers import R8, known_layer
from tests.msr.equivariance.test_checks_table_free import LINEAR
from tests.support.cases import randomize, seeded

C3, C4, C6, D4, S3, S4, S5 = (
    cyclic(3), cyclic(4), cyclic(6), dihedral(4), symmetric(3), symmetric(4), symmetric(5),
)  # fmt: skip
EXACT = 1e-15
"""Both checkers are the same function, so that their numbers differ by the last digit at most."""


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def random_between(rep_in, rep_out, seed=0, dtype=torch.float64):
    return draw(rep_out.dim, rep_in.dim, seed=seed, dtype=dtype), rep_in, rep_out, None


def turned_regular():
    """A representation by matrices that are not orthogonal."""
    S = draw(3, 3, seed=3)
    return from_matrices(C3, S @ regular(C3).matrices() @ torch.linalg.inv(S))


def filter_of(layer):
    return layer.weight.detach().flatten(1)


def uneven_parts():
    weight = torch.zeros(16, 8, dtype=torch.float64)
    weight[:8] = 1e6 * torch.eye(8)
    weight[8:] = draw(8, 8)
    return weight, R8, R8 + R8, None


def affine(layer, rep_in, rep_out):
    return layer.weight.detach(), rep_in, rep_out, layer.bias.detach()


def layer_with_filter(sharing=None):
    gen = torch.Generator().manual_seed(0)
    if sharing is None:
        layer = randomize(seeded(lambda: nn.Conv2d(2, 4, 3)), gen)
    else:
        layer = ReparamConv2d(2, 4, 3, sharing=sharing, generator=gen)
    return layer


KERNEL = grid_rotations(3)
SHARED = GroupSharing(trivial(C4, 2), regular(C4), KERNEL)
sign = from_matrices(cyclic(2), {"r": [[-1.0]]})

# Each linear layer, affine layer and filter of the tests of equivariance whose group lists its elements.
LAYERS = {
    "C6 regular": lambda: random_between(regular(C6), regular(C6)),
    "C6 plane to regular": lambda: random_between(planar(6), regular(C6)),
    "S4 points": lambda: random_between(natural(S4), natural(S4)),
    "S3 points": lambda: random_between(natural(S3), natural(S3), 5),
    "S3 points, huge": lambda: (1e150 * draw(3, 3), natural(S3), natural(S3), None),
    "C6 affine": lambda: affine(
        randomize(seeded(lambda: nn.Linear(6, 6, dtype=torch.float64)), torch.Generator().manual_seed(1)),
        regular(C6), regular(C6),
    ),
    "C6, a bias alone": lambda: (torch.zeros(6, 6), regular(C6), regular(C6), torch.arange(6.0)),
    "sign": lambda: (torch.ones(1, 1), trivial(cyclic(2)), sign, None),
    "C6 pattern": lambda: (equivariant_basis(regular(C6), regular(C6)).matrix()[:, 2].view(6, 6), regular(C6),
                           regular(C6), None),
    "C8 pattern": lambda: (equivariant_basis(R8, R8).matrix()[:, 3].view(8, 8), R8, R8, None),
    "C8 one weight": lambda: (torch.eye(64, dtype=torch.float64)[:, 0].view(8, 8), R8, R8, None),
    "C3 not orthogonal": lambda: random_between(turned_regular(), turned_regular(), 4),
    "C4 identity": lambda: (torch.eye(4), regular(C4), regular(C4), None),
    "C4 whole numbers": lambda: (torch.arange(16).view(4, 4), regular(C4), regular(C4), None),
    "C4 filter": lambda: (filter_of(layer_with_filter(SHARED)), trivial(C4, 2) * KERNEL, regular(C4), None),
    "C4 filter, other": lambda: (filter_of(layer_with_filter()), trivial(C4, 2) * KERNEL, regular(C4), None),
    "C4 filter, copies": lambda: (
        filter_of(layer_with_filter(SHARED)), copies(KERNEL.reshape(9), 2), regular(C4), None
    ),
    "C8 parts of two sizes": uneven_parts,
    "C8 with a constant bias": lambda: (draw(8, 8), R8, R8, torch.full((8,), 1e6, dtype=torch.float64)),
    "C8 layer": lambda: (known_layer(torch.Generator().manual_seed(2), bias=False).weight.detach(), R8, R8, None),
    "C8 layer with a bias of noise": lambda: affine(known_layer(torch.Generator().manual_seed(2)), R8, R8),
    "S5 sum with a large bias": lambda: (draw(1, 5, dtype=torch.float32), natural(S5), trivial(S5),
                                         torch.tensor([1e5])),
    "S5 with an uneven bias": lambda: (torch.eye(5, dtype=torch.float64), natural(S5), natural(S5),
                                       1e8 + torch.arange(5.0, dtype=torch.float64)),
    "C8 two planes beside a regular": lambda: random_between(R8, planar(8) + planar(8) + R8),
    "C8 tensor of planes": lambda: random_between(R8, (planar(8) * planar(8)).reshape(4)),
    "C8 beside what does not move": lambda: random_between(trivial(cyclic(8), 3) * R8, planar(8) + trivial(cyclic(8))),
    "D4 images": lambda: random_between(trivial(D4) * grid_rotations(3, flips=True), regular(D4)),
    "shifts of a grid": lambda: random_between(grid_shifts((3, 3)), grid_shifts((3, 3))),
    "trivial group": lambda: random_between(trivial(cyclic(1), 3), trivial(cyclic(1), 2)),
}  # fmt: skip
KEPT = {"C6 pattern", "C8 pattern", "C4 identity", "C4 filter", "C4 filter, copies", "C8 layer", "trivial group"}
"""Layers that the group keeps; it breaks all others."""


def compared(one, other, what=("values", "size", "rounding", "compared")):
    return max(float((getattr(one, name) - getattr(other, name)).abs().max()) for name in what)


@pytest.mark.parametrize("name", LAYERS)
def test_on_the_category_of_a_group_it_is_the_equivariance_error(name):
    weight, rep_in, rep_out, bias = LAYERS[name]()
    C = from_group(rep_in.group)
    S, T = linear_functor(C, rep_in.reshape(rep_in.dim)), linear_functor(C, rep_out.reshape(rep_out.dim))
    biases = None if bias is None else [bias]
    expected = weight_error(weight, rep_in, rep_out, bias=bias)
    found = naturality_error(S, T, [weight], biases=biases)
    scale = max(1.0, float(expected.size.max()))
    assert compared(found, expected, ("values", "rounding", "compared")) <= EXACT
    assert compared(found, expected, ("size",)) <= EXACT * scale
    # At generators the zeros are the same, though the category may choose others than the group does.
    at_generators = naturality_error(S, T, [weight], "generators", biases=biases)
    tolerance = 4 * float(expected.rounding.max()) + 1e-12
    zero = [largest <= tolerance for largest in (expected.largest, found.largest, at_generators.largest)]
    assert zero == [name in KEPT] * 3
    chosen = [0, C.n_mor - 1]
    some = naturality_error(S, T, [weight], chosen, biases=biases)
    assert some.labels == ("arrow 0", f"arrow {C.n_mor - 1}")
    assert torch.equal(some.values, found.values[chosen])


def test_for_other_choices_of_arrows_only_being_zero_agrees():
    rep = natural(S4)
    F = linear_functor(from_group(S4), rep)
    weight = torch.diag(torch.tensor([1.0, 1.0, 1.0, 2.0]))
    everywhere = naturality_error(F, F, [weight])
    assert naturality_error(F, F, [weight], "generators").largest <= everywhere.largest
    transposition = next(g for g in S4.elements if rep.moves(g).tolist() == [1, 0, 2, 3])
    assert naturality_error(F, F, [weight], [transposition]).largest == 0 < everywhere.largest


FUNCTIONS = {
    "C6 kept": (regular(C6), regular(C6), lambda x: x.tanh() + x.sum(1, keepdim=True).sin()),
    "C6 broken": (regular(C6), regular(C6), lambda x: x * torch.arange(6.0).to(x)),
    "C6 plane": (planar(6), planar(6), lambda x: x * x.square().sum(1, keepdim=True)),
    "C6 plane broken": (planar(6), planar(6), torch.tanh),
    "S4 sum": (natural(S4), trivial(S4), lambda x: x.sum(1, keepdim=True).exp()),
    "two planes and a regular": (regular(C6), planar(6) + planar(6) + regular(C6), lambda x: x[:, [0, 1, 2, 3, 4] * 2]),
    "not orthogonal": (turned_regular(), turned_regular(), torch.tanh),
    "an offset": (regular(C6), regular(C6), lambda x: x.tanh() + 100.0),
    "constant": (regular(C6), regular(C6), lambda x: 0 * x + 3),
}  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_on_data_it_is_that_of_functions(name, dtype):
    rep_in, rep_out, f = FUNCTIONS[name]
    C = from_group(rep_in.group)
    S, T = linear_functor(C, rep_in), linear_functor(C, rep_out)
    for rows in (1, 40):
        x = draw(rows, rep_in.dim, dtype=dtype)
        expected = equivariance_error(f, x, rep_in, rep_out)
        found = naturality_error(S, T, [f], data=[x])
        assert compared(found, expected, ("values", "compared")) <= EXACT
        assert compared(found, expected, ("size",)) <= EXACT * max(1.0, float(expected.size.max()))
        if rep_in.is_orthogonal and rep_out.is_orthogonal:
            assert compared(found, expected, ("rounding",)) <= EXACT
    small = 1e-4 if dtype == torch.float32 else 1e-12
    kept = name in ("C6 kept", "C6 plane", "S4 sum", "an offset", "constant")
    assert (naturality_error(S, T, [f], data=[x]).largest < small) == kept


def test_modules_and_matrices_serve_on_data_too():
    layer = seeded(lambda: nn.Linear(6, 6, dtype=torch.float64))
    rep = regular(C6)
    F = linear_functor(from_group(C6), rep)
    x = draw(20_000, 6)
    exact = naturality_error(F, F, [layer.weight.detach()], biases=[layer.bias.detach()])
    seen = naturality_error(F, F, [layer], data=[x])
    torch.testing.assert_close(seen.values, exact.values, atol=3e-2, rtol=0)
    assert compared(seen, equivariance_error(layer, x, rep, rep)) <= EXACT
    plain = naturality_error(F, F, [layer.weight.detach()], data=[x])
    torch.testing.assert_close(plain.values, naturality_error(F, F, [layer.weight.detach()]).values, atol=3e-2, rtol=0)


# Groups without a table: elements as parallel arrows


def parallel(rep, elements):
    """The functor of some elements of a group as arrows from one copy of its space to another."""
    C = from_quiver_paths(2, [(0, 1)] * len(elements))
    still = torch.eye(rep.dim, dtype=torch.float64)
    return VectFunctor(C, (rep.dim, rep.dim), (still, still, *(rep.matrix(g) for g in elements)))


@pytest.mark.parametrize("name", [*LINEAR, "turns of a plane"])
def test_elements_of_groups_without_a_table_are_parallel_arrows(name, gen):
    if name == "turns of a plane":
        rep = defining(LieAlgebra(2 * math.pi * so(2).matrices, "turns", labels=["J"]))
        weight = torch.eye(2, dtype=torch.float64)
    else:
        rep = LINEAR[name]()
        sharing = GroupSharing(rep, rep.reshape(rep.dim), dtype=torch.float64)
        weight = sharing.materialize(torch.randn(sharing.n_filter, generator=gen, dtype=torch.float64))
        weight = weight.reshape(rep.dim, rep.dim)
    group = rep.group
    flat = rep.reshape(rep.dim)
    # The identity among the arrows joins both copies of a coordinate, so that blocks are those of the representation.
    elements = [group.identity, *group.generators]
    F = parallel(flat, elements)
    arrows = [f for f in range(F.category.n_mor) if not F.category.is_identity[f]]
    assert naturality_error(F, F, [weight, weight], arrows).largest < 1e-9
    broken = weight + 0.1 * torch.randn(weight.shape, generator=gen, dtype=torch.float64)
    found = naturality_error(F, F, [broken, broken], arrows)
    expected = weight_error(broken, flat, flat, elements)
    assert found.largest > 1e-3
    if flat.is_permutation:
        assert compared(found, expected, ("values", "size")) <= EXACT
    else:
        # Blocks are not split into kinds here, and a kind by itself can only show more.
        assert (found.values <= expected.values + 1e-12).all()


# Other categories


def slow_twin(S, T, components, f):
    """The defect by its formula, for a functor whose coordinates are one block."""
    a = T.mats[f] @ components[S.category.src[f]]
    b = components[S.category.dst[f]] @ S.mats[f]
    return float((a - b).norm() / (a.square().sum() + b.square().sum()).sqrt())


@st.composite
def functors(draw_):
    """Two random functors on the parallel pair, the chain of three or the diamond; no entry is 0."""
    kind = draw_(st.sampled_from(["pair", "chain", "diamond"]))
    seed = draw_(st.integers(0, 10_000))
    gen = torch.Generator().manual_seed(seed)
    quiver = {"pair": (2, [(0, 1), (0, 1)]), "chain": (3, [(0, 1), (1, 2)]), "diamond": (3, [(0, 1), (0, 2)])}[kind]
    C = from_quiver_paths(*quiver)
    made = []
    for _ in range(2):
        dims = torch.randint(1, 4, (C.n_obj,), generator=gen).tolist()
        mats = {}
        for f in range(C.n_mor):
            if C.is_identity[f]:
                mats[f] = torch.eye(dims[C.src[f]], dtype=torch.float64)
        for k, (a, b) in enumerate(quiver[1]):
            mats[C.n_obj + k] = torch.randn(dims[b], dims[a], generator=gen, dtype=torch.float64)
        if kind == "chain":
            mats[5] = mats[4] @ mats[3]
        made.append(VectFunctor(C, dims, [mats[f] for f in range(C.n_mor)]))
    return made[0], made[1], gen


@settings(max_examples=12)
@given(functors())
def test_a_defect_is_its_formula_and_natural_transformations_have_none(case):
    S, T, gen = case
    components = [
        torch.randn(int(T.dims[X]), int(S.dims[X]), generator=gen, dtype=torch.float64) for X in S.category.objects
    ]
    found = naturality_error(S, T, components)
    for f in range(S.category.n_mor):
        assert float(found.values[f]) == pytest.approx(slow_twin(S, T, components, f), abs=1e-12)
    assert found.largest > 1e-6
    assert 0 <= float(found.values.min()) <= found.largest <= math.sqrt(2) + 1e-12
    scaled = naturality_error(S, T, [1e-180 * part for part in components])
    torch.testing.assert_close(scaled.values, found.values)
    solved = linear_transformations(S, T)
    for k in range(solved.dim):
        parts = [part[k] for part in solved.components]
        # A basis vector may be nearly 0 at an object, where a defect measures its rounding.
        for f in range(S.category.n_mor):
            gap = T.mats[f] @ parts[S.category.src[f]] - parts[S.category.dst[f]] @ S.mats[f]
            assert float(gap.norm()) < 1e-8
    if solved.dim:
        mixture = [torch.tensordot(torch.ones(solved.dim, dtype=torch.float64), p, 1) for p in solved.components]
        if min(float(part.norm()) for part in mixture) > 1e-3:
            assert naturality_error(S, T, mixture).largest < 1e-7


def test_parts_that_no_arrow_mixes_are_measured_by_themselves():
    C = from_quiver_paths(2, [(0, 1), (0, 1)])
    still = torch.eye(2, dtype=torch.float64)
    large, small = (torch.diag(torch.tensor(v, dtype=torch.float64)) for v in ([1.0, 1.0], [2.0, 3.0]))
    F = VectFunctor(C, (2, 2), (still, still, large, small))
    weight = torch.tensor([[1e9, 0.0], [0.0, 1.0]], dtype=torch.float64)
    other = torch.tensor([[1e9, 0.0], [0.0, 2.0]], dtype=torch.float64)
    found = naturality_error(F, F, [weight, other])
    assert found.values[2] == pytest.approx(1 / math.sqrt(5))
    assert found.parts[found.worst] == "output [1] at object 1"
    assert found.labels[2] == "arrow 2 (0 → 1)"
    assert "arrow 2 (0 → 1)" in str(found)


def test_functions_between_several_objects_are_compared_where_arrows_end():
    """Restriction of signals: a pointwise function is natural, one that looks at the number of places is not."""
    C = from_poset(np.tri(3).T)
    restrict = {(0, 1): torch.eye(3)[:1], (0, 2): torch.eye(3)[:1], (1, 2): torch.eye(3)[:2]}
    dims = (1, 2, 3)
    mats = [
        torch.eye(dims[a]) if a == b else restrict[a, b][:, : dims[b]]
        for a, b in zip(C.src.tolist(), C.dst.tolist(), strict=True)
    ]
    S = VectFunctor(C.op(), dims, mats)
    data = [draw(30, n, seed=n) for n in dims]
    assert naturality_error(S, S, [torch.tanh] * 3, data=data).largest < 1e-12
    found = naturality_error(S, S, [lambda x: x.softmax(1)] * 3, data=data)
    assert found.largest > 0.1
    assert float(found.values[S.category.ident.tolist()].max()) == 0
    # Batches may differ from object to object, and so may precision.
    mixed = [draw(7, 1), draw(20, 2, dtype=torch.float32), draw(3, 3)]
    assert naturality_error(S, S, [torch.tanh] * 3, data=mixed).largest < 1e-5


def test_spaces_of_dimension_zero():
    C = from_quiver_paths(2, [(0, 1)])
    F = VectFunctor(C, (1, 0), (torch.eye(1), torch.zeros(0, 0), torch.zeros(0, 1)))
    found = naturality_error(F, F, [torch.ones(1, 1), torch.zeros(0, 0)])
    assert found.largest == 0
    G = VectFunctor(C, (0, 1), (torch.zeros(0, 0), torch.eye(1), torch.zeros(1, 0)))
    assert naturality_error(G, G, [torch.zeros(0, 0), torch.ones(1, 1)]).largest == 0
    Z = VectFunctor(C, (0, 0), (torch.zeros(0, 0),) * 3)
    assert naturality_error(Z, F, [torch.zeros(1, 0), torch.zeros(0, 0)]).largest == 0


# Sets


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), covariant=st.booleans())
def test_sets_against_a_plain_loop(seed, covariant):
    gen = np.random.default_rng(seed)
    C = action_groupoid(cyclic(2), [[0, 1, 2], [1, 0, 2]])
    kind = CoPresheaf if covariant else Presheaf
    swap = [0, 1] if gen.integers(2) else [1, 0]
    maps = [swap if f % 2 else [0, 1] for f in range(C.n_mor)]
    S = kind(C, (2, 2, 2), maps)
    T = S + S
    eta = [gen.integers(0, 4, 2) for _ in range(3)]
    found = naturality_error(S, T, eta)
    for f in range(C.n_mor):
        start, end = (C.src[f], C.dst[f]) if covariant else (C.dst[f], C.src[f])
        bad = [x for x in range(2) if T.maps[f][eta[start][x]] != eta[end][S.maps[f][x]]]
        assert float(found.values[f]) == len(bad) / 2
        witness = found.witnesses[f]
        assert (witness is None) == (not bad)
        if witness:
            assert witness == (bad[0], T.maps[f][eta[start][bad[0]]], eta[end][S.maps[f][bad[0]]])


def test_natural_transformations_of_sets_have_no_violation_and_a_changed_one_has():
    C = from_group(C4)
    h = yoneda_table(C)[0]
    for eta in transformations(h, h):
        assert naturality_error(h, h, eta).largest == 0
    broken = np.array([1, 0, 2, 3])
    found = naturality_error(h, h, [broken], "generators")
    assert found.largest > 0
    assert f"element {found.witnesses[found.worst][0]}" in str(found)
    assert found.labels[found.worst] in str(found)
    empty = Presheaf(C, (0,), [np.zeros(0, dtype=int)] * 4)
    assert naturality_error(empty, h, [[]]).largest == 0


# Bad input


def test_what_does_not_serve_is_named():
    rep = regular(C4)
    F = linear_functor(from_group(C4), rep)
    other = linear_functor(from_group(C6), regular(C6))
    eye = torch.eye(4)
    h = yoneda_table(from_group(C4))[0]
    nan = torch.full((4, 4), torch.nan)
    for call, error, says in [
        (lambda: naturality_error(F, other, [eye]), ConfigError, "different categories"),
        (lambda: naturality_error(F, h, [eye]), ConfigError, "two functors"),
        (lambda: naturality_error(F, F, []), ShapeError, "one for each of 1 objects; got 0"),
        (lambda: naturality_error(F, F, [torch.eye(3)]), ShapeError, r"must be \(dim T\(0\), dim S\(0\)\) = \(4, 4\)"),
        (lambda: naturality_error(F, F, [nan]), NonFiniteError, "component 0 holds nan"),
        (lambda: naturality_error(F, F, [1j * eye]), ShapeError, "complex"),
        (lambda: naturality_error(F, F, [torch.tanh]), ConfigError, "give data"),
        (lambda: naturality_error(F, F, [eye], "some"), ConfigError, "'all', 'generators' or a list"),
        (lambda: naturality_error(F, F, [eye], []), ConfigError, "no arrow was asked for"),
        (lambda: naturality_error(F, F, [eye], [4]), ConfigError, "arrows 0 to 3"),
        (lambda: naturality_error(F, F, [eye], biases=[torch.ones(3)]), ShapeError, "bias 0 must hold the 4 numbers"),
        (lambda: naturality_error(F, F, [eye], biases=[nan[0]]), NonFiniteError, "bias 0"),
        (lambda: naturality_error(F, F, [eye], biases=[eye[0]], data=[eye]), ConfigError, "add their biases"),
        (lambda: naturality_error(F, F, [torch.tanh], data=[torch.ones(2, 3)]), ShapeError, r"\(batch, 4\)"),
        (lambda: naturality_error(F, F, [torch.tanh], data=[torch.ones(0, 4)]), ShapeError, r"\(batch, 4\)"),
        (lambda: naturality_error(F, F, [torch.tanh], data=[nan]), NonFiniteError, "data at object 0"),
        (lambda: naturality_error(F, F, [lambda x: x / 0], data=[eye]), NonFiniteError, "component 0 gave nan"),
        (lambda: naturality_error(F, F, [lambda x: x[:, :3]], data=[eye]), ModelError, "component 0 must return"),
        (lambda: naturality_error(F, F, [lambda x: 1 / 0], data=[eye]), ModelError, "component 0 failed .*division"),
        (lambda: naturality_error(F, F, [nn.Dropout()], data=[eye]), ModelError, "training mode"),
        (lambda: naturality_error(F, F, [lambda x: x - x.mean(0)], data=[draw(5, 4)]), ModelError, "gave two"),
        (lambda: naturality_error(h, h, [[0, 1, 2]]), ShapeError, "component 0 must have the shape"),
        (lambda: naturality_error(h, h, [[0, 1, 2, 4]]), AxiomError, "none of the elements"),
        (lambda: naturality_error(h, h, [[0.5] * 4]), ShapeError, "whole numbers"),
        (lambda: naturality_error(h, h, [[0] * 4], data=[eye]), ConfigError, "need no data"),
        (lambda: naturality_error(h, h, []), ShapeError, "one component for each of 1 objects"),
        (lambda: naturality_error(VectFunctor(discrete(0), (), ()), VectFunctor(discrete(0), (), ()), []),
         ConfigError, "no arrow was asked for"),
    ]:  # fmt: skip
        with pytest.raises(error, match=says):
            call()
    mixes = linear_functor(from_group(C6), planar(6))
    with pytest.raises(ShapeError, match="floating point"):
        naturality_error(mixes, mixes, [lambda x: x], data=[torch.ones(2, 2, dtype=torch.int64)])
    whole = naturality_error(F, F, [lambda x: x], data=[torch.arange(8).view(2, 4)])
    assert whole.largest == 0


def test_few_arrows_are_printed_and_the_worst_is_among_them():
    C = from_group(cyclic(64))
    T = action_presheaf(C, (np.arange(64)[:, None] + np.arange(64)) % 64)
    swapped = np.arange(64)
    swapped[[0, 1]] = [1, 0]
    found = naturality_error(T, T, [swapped], range(64))
    shown = str(found).splitlines()
    assert len(shown) <= 20
    assert any(found.labels[found.worst] in line for line in shown)
    assert "48 other arrows" in shown[-1]
