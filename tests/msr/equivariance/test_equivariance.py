"""Measuring and asserting equivariance: numbers against their definition, passes and failures where they should be."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from msr.equivariance import (
    EquivarianceWarning,
    assert_equivariant,
    equivariance_error,
    interior,
    localise,
    parametrize_elements,
    pattern_error,
    strategies,
    weight_error,
)
from msr.errors import ConfigError, ModelError, NonFiniteError, ShapeError
from msr.groups import LieAlgebra, cyclic, dihedral, lorentz, so, symmetric
from msr.layers import ReparamConv2d, ReparamLinear
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
from msr.sharing import DenseSharing, GroupSharing
from tests.support.cases import randomize, seeded

C4, D4, C6 = cyclic(4), dihedral(4), cyclic(6)
SHIFTS = trivial(grid_shifts((6, 6)).group) * grid_shifts((6, 6))
TURNS = {n: trivial(D4) * grid_rotations(n, flips=True) for n in (3, 4, 6, 8)}


def conv(**options):
    return seeded(lambda: nn.Conv2d(1, 1, 3, **options))


def equivariant_net(gen):
    lift = ReparamConv2d(
        1, 8, 3, sharing=GroupSharing(trivial(D4), regular(D4), grid_rotations(3, flips=True)), generator=gen
    )
    mix = ReparamConv2d(
        8, 8, 3, sharing=GroupSharing(regular(D4), regular(D4), grid_rotations(3, flips=True)), generator=gen
    )
    head = ReparamLinear(8, 8, sharing=GroupSharing(regular(D4), regular(D4)), generator=gen)
    return nn.Sequential(lift, nn.ReLU(), mix, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)


# Numbers


@pytest.mark.parametrize(
    "pair", [(regular(C6), regular(C6)), (planar(6), regular(C6)), (natural(symmetric(4)),) * 2], ids=str
)
def test_a_weights_defect_is_its_formula(pair, gen):
    rep_in, rep_out = pair
    W = torch.randn(rep_out.dim, rep_in.dim, generator=gen, dtype=torch.float64)
    defects = weight_error(W, rep_in, rep_out)
    for g in rep_in.group.elements:
        a, b = rep_out.matrix(g) @ W, W @ rep_in.matrix(g)
        expected = (a - b).norm() / (a.square().sum() + b.square().sum()).sqrt()
        assert float(defects.values[g]) == pytest.approx(float(expected), abs=1e-12)
    assert defects.labels == rep_in.group.labels
    assert float(defects.values[0]) == 0
    assert weight_error(W, rep_in, rep_out, "generators").labels == ("r",) or rep_in.group.order == 24


def test_the_defect_of_a_linear_layer_on_data_tends_to_that_of_its_weight(gen):
    rep = regular(C6)
    layer = randomize(seeded(lambda: nn.Linear(6, 6, dtype=torch.float64)), gen)
    exact = weight_error(layer.weight, rep, rep, bias=layer.bias)
    x = torch.randn(200_000, 6, generator=gen, dtype=torch.float64)
    seen = equivariance_error(layer, x, rep, rep)
    torch.testing.assert_close(seen.values, exact.values, atol=1e-2, rtol=0)
    torch.testing.assert_close(seen.size, exact.size, rtol=1e-2, atol=0)
    uneven = weight_error(torch.zeros(6, 6), rep, rep, bias=torch.arange(6.0))
    assert uneven.largest > 0.3  # a bias alone can break it


@given(scale=st.floats(1e-3, 1e3), seed=st.integers(0, 99))
def test_the_defect_has_no_scale_and_stays_in_its_range(scale, seed):
    gen = torch.Generator().manual_seed(seed)
    rep = natural(symmetric(3))
    W = torch.randn(3, 3, generator=gen, dtype=torch.float64)
    one, other = weight_error(W, rep, rep), weight_error(scale * W, rep, rep)
    torch.testing.assert_close(one.values, other.values)
    assert 0 <= one.values.min() <= one.largest <= math.sqrt(2) + 1e-12


def test_the_worst_case_has_defect_root_two():
    sign = from_matrices(cyclic(2), {"r": [[-1.0]]})
    assert weight_error(torch.ones(1, 1), trivial(cyclic(2)), sign).largest == pytest.approx(math.sqrt(2))


@pytest.mark.parametrize("pair", [(regular(C6), regular(C6)), (planar(6), regular(C6))], ids=str)
def test_a_patterns_defect_is_the_supremum_over_all_filters(pair, gen):
    rep_in, rep_out = pair
    U = torch.randn(rep_out.dim * rep_in.dim, 3, generator=gen, dtype=torch.float64)
    defects = pattern_error(U, rep_in, rep_out)
    weights = (torch.randn(500, 3, generator=gen, dtype=torch.float64) @ U.mT).unflatten(1, (rep_out.dim, rep_in.dim))
    sampled = torch.stack([weight_error(W, rep_in, rep_out).values for W in weights])
    assert (sampled <= defects.values + 1e-12).all()
    assert (sampled.max(0).values[1:] > 0.98 * defects.values[1:]).all()
    R = torch.randn(3, 3, generator=gen, dtype=torch.float64)
    torch.testing.assert_close(pattern_error(U @ R, rep_in, rep_out).values, defects.values)  # gauge


def test_a_patterns_defect_for_actions_that_are_not_orthogonal(gen):
    S = torch.randn(3, 3, generator=gen, dtype=torch.float64)
    turned = S @ regular(cyclic(3)).matrices() @ torch.linalg.inv(S)
    rep = from_matrices(cyclic(3), turned)
    assert not rep.is_orthogonal
    U = torch.randn(9, 2, generator=gen, dtype=torch.float64)
    largest = pattern_error(U, rep, rep).values
    angles = torch.linspace(0, math.pi, 2000, dtype=torch.float64)
    circle = torch.stack([angles.cos(), angles.sin()], dim=1)
    seen = torch.stack([weight_error((U @ v).view(3, 3), rep, rep).values for v in circle]).max(0).values
    torch.testing.assert_close(largest, seen, atol=1e-5, rtol=1e-5)


def test_exact_patterns_have_no_defect_and_random_ones_do(gen):
    rep = regular(cyclic(8))
    assert pattern_error(equivariant_basis(rep, rep).matrix(), rep, rep).largest < 1e-12
    assert pattern_error(DenseSharing((8, 8), 8, generator=gen).matrix(), rep, rep, "generators").largest > 0.9
    # One bad column among many is found at once, though it would hide in an average.
    U = torch.cat([equivariant_basis(rep, rep).matrix(), torch.eye(64, dtype=torch.float64)[:, :1]], dim=1)
    assert pattern_error(U, rep, rep, "generators").largest > 0.9


def test_zero_commutes_and_its_size_says_so():
    rep = regular(C4)
    defects = equivariance_error(lambda x: 0 * x, torch.ones(2, 4), rep, rep)
    assert defects.largest == 0
    assert defects.size.max() == 0


# Boundaries


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
def test_circular_convolutions_shift_exactly(dtype):
    assert_equivariant(conv(padding=1, padding_mode="circular").to(dtype), SHIFTS.group, SHIFTS, SHIFTS)


def test_zero_padding_and_no_padding_shift_on_the_interior_only():
    inside = interior((1, 6, 6), (1, 1))
    for layer in (conv(padding=1), conv()):
        assert_equivariant(layer, SHIFTS.group, SHIFTS, SHIFTS, mask=inside)
    with pytest.raises(AssertionError, match="Conv2d is not equivariant to C6xC6"):
        assert_equivariant(conv(padding=1), SHIFTS.group, SHIFTS, SHIFTS)
    with pytest.raises(ShapeError, match=r"must return \(batch, 1, 6, 6\)"):
        assert_equivariant(conv(), SHIFTS.group, SHIFTS, SHIFTS)


def test_what_the_mask_leaves_out_is_reported(gen):
    x, inside = torch.randn(3, 1, 6, 6, generator=gen), interior((1, 6, 6), (1, 1))
    step = 6 + 1  # down one, right one: of the inner 4 x 4, 3 x 3 come from inside
    defects = equivariance_error(conv(), x, SHIFTS, SHIFTS, [0, step], mask=inside)
    torch.testing.assert_close(defects.compared, torch.tensor([16 / 36, 9 / 36], dtype=torch.float64))
    assert defects.largest < 1e-6
    assert "compared 25%" in str(defects)
    # A mask that is too generous does not help.
    whole = interior((1, 6, 6), (0, 1))
    assert equivariance_error(conv(padding=1), x, SHIFTS, SHIFTS, [step], mask=whole).largest > 0.05


def test_masks_are_checked():
    assert interior((2, 5), (1,)).tolist() == [[False, True, True, True, False]] * 2
    assert interior((5,), 1).sum() == 3
    with pytest.raises(ShapeError, match="a margin for each axis"):
        interior((2, 5), 1)
    with pytest.raises(ShapeError, match="leaves nothing"):
        interior((4,), 2)
    with pytest.raises(ShapeError, match="at most 1 margins"):
        interior((4,), (1, 1))
    x = torch.ones(2, 1, 6, 6)
    with pytest.raises(ShapeError, match="booleans"):
        equivariance_error(conv(padding=1), x, SHIFTS, SHIFTS, mask=torch.ones(6, 6))
    with pytest.raises(ShapeError, match="no output"):
        equivariance_error(conv(padding=1), x, SHIFTS, SHIFTS, mask=torch.zeros(1, 6, 6, dtype=torch.bool))
    narrow = interior((1, 6, 6), (2, 2))
    with pytest.raises(ShapeError, match="moves all of the interior out"):
        equivariance_error(conv(padding=1), x, SHIFTS, SHIFTS, [3], mask=narrow)
    with pytest.raises(ConfigError, match="mixes them"):
        equivariance_error(lambda x: x, torch.ones(1, 2), planar(6), planar(6), mask=interior((2,), 0))


# Passes and failures


def test_turns_and_flips_of_networks(gen):
    assert_equivariant(equivariant_net(gen), D4, TURNS[8], regular(D4))
    plain = seeded(lambda: nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    with pytest.raises(AssertionError, match="Sequential is not equivariant to D4"):
        assert_equivariant(plain, D4, TURNS[8], regular(D4))


def test_pooling(gen):
    for pool in (nn.AvgPool2d(2), nn.MaxPool2d(2)):
        assert_equivariant(pool, D4, TURNS[8], TURNS[4])
        shifts = grid_shifts((8,))
        even = shifts.restrict(shifts.group.subgroup([2]))
        coarse = grid_shifts((4,)).pullback(even.group, [0, 1, 2, 3])
        one_d = nn.AvgPool1d(2) if isinstance(pool, nn.AvgPool2d) else nn.MaxPool1d(2)
        assert_equivariant(lambda x, f=one_d: f(x[:, None])[:, 0], even.group, even, coarse)
    rep = natural(symmetric(4))
    assert_equivariant(lambda x: x.mean(-1, keepdim=True), rep.group, rep, trivial(rep.group))
    assert_equivariant(lambda x: x.amax(-1, keepdim=True), rep.group, rep, trivial(rep.group))
    with pytest.raises(AssertionError):
        assert_equivariant(lambda x: x[..., :1], rep.group, rep, trivial(rep.group))


def test_norms_under_rotation():
    """LayerNorm subtracts the mean, which picks a direction; RMSNorm uses the length alone."""
    vector = defining(so(3))
    assert_equivariant(nn.RMSNorm(3, elementwise_affine=False), so(3), vector, vector)
    with pytest.raises(AssertionError, match=r"LayerNorm is not equivariant to so\(3\)"):
        assert_equivariant(nn.LayerNorm(3, elementwise_affine=False), so(3), vector, vector)
    points = natural(symmetric(3))
    assert_equivariant(nn.LayerNorm(3, elementwise_affine=False), points.group, points, points)


def test_lorentz_invariance():
    four = defining(lorentz())
    metric = torch.tensor([1.0, -1.0, -1.0, -1.0], dtype=torch.float64)
    scalar = trivial(lorentz())
    assert_equivariant(lambda x: (x * x * metric).sum(-1, keepdim=True), lorentz(), four, scalar, dtype=torch.float64)
    with pytest.raises(AssertionError, match=r"so\(1,3\)"):
        assert_equivariant(lambda x: (x * x).sum(-1, keepdim=True), lorentz(), four, scalar, dtype=torch.float64)


def test_a_break_on_few_inputs_is_not_averaged_away(gen):
    rep = regular(C4)
    x = torch.randn(200, 4, generator=gen)
    x[17] = torch.tensor([9.0, 0, 0, 0])

    def broken(x):
        return torch.where(x[:, :1] > 8, x * torch.arange(4.0), x)

    assert equivariance_error(broken, x, rep, rep).largest < 0.7
    for tolerance in (None, 0.3):  # the mean over inputs would pass the second
        with pytest.raises(AssertionError, match="worst on input 17 of 200"):
            assert_equivariant(broken, C4, rep, rep, x=x, tolerance=tolerance)


def test_the_message_names_element_layer_size_and_scale(gen):
    net = equivariant_net(gen)
    net[2] = net[2].fold()
    randomize(net[2], gen)

    def at_each_layer(shape):
        channels = trivial(D4) if shape[0] == 1 else regular(D4)
        return channels * grid_rotations(shape[1:], flips=True) if len(shape) == 3 else regular(D4)

    with pytest.raises(AssertionError) as caught:
        assert_equivariant(net, D4, TURNS[8], regular(D4), layers=at_each_layer)
    message = str(caught.value)
    for part in (
        "Sequential",
        "D4",
        "element ",
        "(r",
        "above 0.0001",
        "float32",
        "have size",
        "100% compared",
        "layer 2:",
    ):
        assert part in message, part
    assert "layer 0" not in message


def test_large_groups_are_sampled_with_their_generators():
    rep = natural(symmetric(6))
    tried = []

    class Counting(nn.Module):
        def forward(self, x):
            tried.append(len(x))
            return x

    assert_equivariant(Counting(), rep.group, rep, rep)
    # The inputs, once for each element, one input again by itself, and twice moved a little to see the rounding.
    assert len(tried) == 1 + 64 + 1 + 2


@parametrize_elements(D4)
def test_elements_become_test_cases(g, request):
    assert request.node.name.endswith(f"[{D4.label(g)}]")
    assert_equivariant(nn.Identity(), D4, regular(D4), regular(D4), elements=[g], dtype=torch.float64)


@given(data=st.data())
def test_strategies_draw_groups_elements_representations_and_points(data):
    group = data.draw(strategies.groups())
    g, h = data.draw(strategies.group_elements(group)), data.draw(strategies.group_elements(group))
    rep = data.draw(strategies.representations(group))
    x = data.draw(strategies.points(rep))
    torch.testing.assert_close(rep.act(g, rep.act(h, x)), rep.act(group.multiply(g, h), x))


# Bad input


def test_what_is_not_a_function_is_refused(gen):
    rep, x = regular(C4), torch.randn(8, 4, generator=gen)
    with torch.random.fork_rng(), pytest.raises(ModelError, match=r"Dropout .* eval\(\)"):
        equivariance_error(nn.Dropout(0.5), x, rep, rep)
    with pytest.raises(ModelError, match="BatchNorm1d mixes"):
        equivariance_error(norm := nn.BatchNorm1d(4), x, rep, rep)
    assert norm.num_batches_tracked == 0  # refused before it ran
    equivariance_error(nn.BatchNorm1d(4).eval(), x, rep, rep)
    for batch in (x, x[:2], x[:1]):
        with pytest.raises(ModelError, match="mixes the examples of a batch"):
            equivariance_error(lambda x: x - x.mean(0, keepdim=True), batch, rep, rep)
    with pytest.raises(ModelError, match="is random"):
        equivariance_error(lambda x: x + torch.randn(x.shape, generator=gen), x, rep, rep)
    with pytest.raises(ModelError, match="view_as_real"):
        equivariance_error(lambda x: x + 1j * x, x, rep, rep)
    with pytest.raises(ModelError, match="returned tuple"):
        equivariance_error(lambda x: (x, x), x, rep, rep)


def test_nan_never_reads_as_a_pass():
    rep = regular(C4)
    with pytest.raises(NonFiniteError, match="nan or infinity"):
        assert_equivariant(lambda x: x / 0, C4, rep, rep)
    with pytest.raises(NonFiniteError, match="weight or bias"):
        weight_error(torch.full((4, 4), torch.nan), rep, rep)
    with pytest.raises(NonFiniteError):
        pattern_error(torch.full((16, 2), torch.inf), rep, rep)


def test_functions_that_work_in_place_or_use_gradients_are_measured_as_they_are(gen):
    rep, x = regular(C4), torch.randn(8, 4, generator=gen)
    kept = x.clone()
    assert_equivariant(nn.LeakyReLU(0.1, inplace=True), C4, rep, rep, x=x)
    assert torch.equal(x, kept)

    def force(x):
        x.requires_grad_()
        return torch.autograd.grad(x.square().sum(-1).square().sum(), x)[0]

    assert_equivariant(force, C4, rep, rep)
    net = nn.Sequential(nn.LeakyReLU(0.1, inplace=True), nn.LeakyReLU(0.1, inplace=True))
    plane = planar(8)
    plain = nn.Sequential(nn.LeakyReLU(0.1), nn.LeakyReLU(0.1))
    y = torch.randn(8, 2, generator=gen)
    torch.testing.assert_close(localise(net, y, [plane] * 3).values, localise(plain, y, [plane] * 3).values)


def test_sizes_at_the_ends_of_the_range_are_no_pass():
    rep = regular(C4)
    for size in (1e200, 1e-200):
        uneven = lambda x, size=size: size * x * torch.arange(1.0, 5.0, dtype=x.dtype)  # noqa: E731
        with pytest.raises(AssertionError, match="not equivariant"):
            assert_equivariant(uneven, C4, rep, rep, dtype=torch.float64)


def test_a_pass_that_says_little_warns():
    rep = regular(C4)
    with pytest.warns(EquivarianceWarning, match="outputs are constant"):
        assert_equivariant(lambda x: 0 * x, C4, rep, rep)
    with pytest.warns(EquivarianceWarning, match="acts trivially"):
        assert_equivariant(lambda x: x, C4, trivial(C4, 2), trivial(C4, 2))


def test_large_points_need_no_dense_matrix(gen):
    pixels = trivial(C4, 3) * grid_rotations(64)
    assert_equivariant(nn.AvgPool2d(2), C4, pixels, trivial(C4, 3) * grid_rotations(32), batch=2)
    assert pixels.is_permutation
    assert not pixels.is_trivial


def test_generators_of_lie_algebras_are_no_whole_turns(gen):
    turn = LieAlgebra(2 * math.pi * so(2).matrices, "turns", labels=["J"])
    vector = defining(turn)
    weight = torch.randn(2, 2, generator=gen, dtype=torch.float64)
    assert weight_error(weight, vector, vector, "generators").largest > 0.1


def test_integers_are_moved_but_not_mixed():
    assert equivariance_error(lambda x: x, torch.arange(8).view(2, 4), regular(C4), regular(C4)).largest == 0
    with pytest.raises(ShapeError, match="floating point"):
        equivariance_error(lambda x: x, torch.ones(2, 2, dtype=torch.int64), planar(8), planar(8))
    with pytest.raises(ShapeError, match="floating point"):
        planar(8).act(1, torch.tensor([10, 0]))


def test_mismatches_are_named():
    rep = regular(C4)
    with pytest.raises(ConfigError, match="must be representations of the group given"):
        assert_equivariant(nn.Identity(), cyclic(5), rep, rep)
    with pytest.raises(ConfigError, match="different groups"):
        weight_error(torch.ones(4, 5), regular(cyclic(5)), rep)
    with pytest.raises(ShapeError, match=r"regular acts on points of shape \(4,\)"):
        assert_equivariant(nn.Identity(), C4, rep, rep, x=torch.ones(2, 5))
    with pytest.raises(ShapeError, match=r"must return \(batch, 4\) .* it returned \(16, 3\)"):
        assert_equivariant(seeded(lambda: nn.Linear(4, 3)), C4, rep, rep)
    with pytest.raises(ShapeError, match=r"the weight must be \(4, 4\)"):
        weight_error(torch.ones(3, 4), rep, rep)
    with pytest.raises(ShapeError, match=r"U must be \(4 x 4 = 16, k\)"):
        pattern_error(torch.ones(15, 2), rep, rep)
    with pytest.raises(ConfigError, match="infinitely many"):
        weight_error(torch.eye(3), defining(so(3)), defining(so(3)))
    with pytest.raises(ConfigError, match="elements 0 to 3"):
        weight_error(torch.eye(4), rep, rep, [7])
    with pytest.raises(ConfigError, match="no element"):
        weight_error(torch.eye(4), rep, rep, [])
    with pytest.raises(ConfigError, match="'all', 'generators'"):
        weight_error(torch.eye(4), rep, rep, "some")
    with pytest.raises(ModelError, match=r"failed on inputs \(16, 4\) torch.float32.*change rep_in"):
        assert_equivariant(seeded(lambda: nn.Linear(8, 8)), C4, rep, rep)
    with pytest.raises(ModelError, match="several arguments, wrap it"):
        assert_equivariant(lambda x, y: x, C4, rep, rep)
    with pytest.raises(ConfigError, match="rep_in must be a representation"):
        assert_equivariant(nn.Identity(), C4, C4, rep)
    with pytest.raises(ShapeError, match=r"returned \(16,\)"):
        assert_equivariant(lambda x: x.sum(-1), C4, rep, trivial(C4))
    assert_equivariant(lambda x: x.sum(-1), C4, rep, trivial(C4).reshape())
    with pytest.raises(ShapeError, match="the bias must have the 4 numbers"):
        weight_error(torch.eye(4), rep, rep, bias=torch.zeros(3))
    assert weight_error(torch.eye(4), rep, rep, ["r"]).labels == ("r",)
    with pytest.raises(ConfigError, match=r"default tolerance for float16.* but not for torch.float8_e5m2"):
        assert_equivariant(lambda x: x.to(torch.float8_e5m2), C4, rep, rep, x=torch.ones(2, 4))


def test_convolution_filters_are_measured_with_a_kernel_representation(gen):
    kernel = grid_rotations(3)
    layer = ReparamConv2d(2, 4, 3, sharing=GroupSharing(trivial(C4, 2), regular(C4), kernel), generator=gen)
    assert weight_error(layer.weight, trivial(C4, 2) * kernel, regular(C4)).largest < 1e-6
    other = randomize(seeded(lambda: nn.Conv2d(2, 4, 3)), gen)
    assert weight_error(other.weight, trivial(C4, 2) * kernel, regular(C4)).largest > 0.5
    assert weight_error(layer.weight.flatten(1), copies(kernel.reshape(9), 2), regular(C4)).largest < 1e-6
