"""Layers that are equivariant to a known group, against the definition and against dense twins."""

import copy
import math

import pytest
import torch
from torch import nn

from msr.equivariance import assert_equivariant
from msr.errors import ConfigError, ShapeError
from msr.groups import PermutationGroup, cyclic, dihedral, quaternion, so, symmetric
from msr.layers import ReparamConv1d, ReparamConv2d, ReparamLinear, ResidualWarning, fold, reparameterize
from msr.meta import Learner, Ridge, from_module
from msr.representations import (
    copies,
    defining,
    from_matrices,
    grid_rotations,
    natural,
    outer_product,
    permutation,
    planar,
    regular,
    trivial,
)
from msr.sharing import DenseSharing, GroupSharing
from tests.support.cases import random_episodes, randomize, seeded

C4, D4 = cyclic(4), dihedral(4)
PAIRS = {
    "cyclic regular": (regular(cyclic(6)), regular(cyclic(6))),
    "S4 points": (natural(symmetric(4)), natural(symmetric(4))),
    "Q8 to invariants": (regular(quaternion()), trivial(quaternion(), 3)),
    "plane to regular": (planar(4), regular(C4)),
    "mixed sum": (planar(4, flips=True) + regular(D4), planar(4, flips=True) + trivial(D4, 2)),
    "grid": (grid_rotations((3, 3), flips=True), grid_rotations((3, 3), flips=True)),
}


def layer_for(rep_in, rep_out, gen, dtype=torch.float64, **how):
    layer = ReparamLinear(
        rep_in.dim, rep_out.dim, sharing=GroupSharing(rep_in, rep_out, dtype=dtype), generator=gen, **how
    )
    return randomize(layer, gen)


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
@pytest.mark.parametrize("path", ["materialize", "factors"])
def test_every_filter_and_bias_gives_an_equivariant_layer(pair, path, gen):
    rep_in, rep_out = (rep.reshape(rep.dim) for rep in pair)
    layer = layer_for(rep_in, rep_out, gen, path=path)
    x = torch.randn(5, rep_in.dim, generator=gen, dtype=torch.float64)
    for g in rep_in.group.elements:
        torch.testing.assert_close(layer(rep_in.act(g, x)), rep_out.act(g, layer(x)), atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_materialize_and_project_are_those_of_the_matrix(pair, gen):
    sharing = GroupSharing(*pair, dtype=torch.float64)
    U, v = sharing.matrix(), torch.randn(3, sharing.n_filter, generator=gen, dtype=torch.float64)
    torch.testing.assert_close(sharing.materialize(v), (v @ U.mT).unflatten(-1, sharing.weight_shape))
    torch.testing.assert_close(sharing.project(sharing.materialize(v)), v)
    weight = torch.randn(*sharing.weight_shape, generator=gen, dtype=torch.float64)
    torch.testing.assert_close(
        sharing.project(weight), torch.linalg.lstsq(U, weight.reshape(-1, 1)).solution.squeeze(1)
    )
    torch.testing.assert_close(sharing.squared_norm(), U.square().sum())
    assert 0 < sharing.residual(weight) <= 1
    assert torch.linalg.matrix_rank(U) == sharing.n_filter


def test_shared_weights_are_one_number():
    sharing = GroupSharing(regular(cyclic(3)), regular(cyclic(3)))
    weight = sharing.materialize(torch.tensor([1.0, 2.0, 3.0]))
    assert torch.equal(weight, torch.tensor([[1.0, 2.0, 3.0], [3.0, 1.0, 2.0], [2.0, 3.0, 1.0]]))
    assert "U" not in dict(sharing.named_buffers())


def test_an_unshared_bias_would_break_the_equivariance(gen):
    rep = regular(C4)
    layer = layer_for(rep, rep, gen)
    assert layer.bias.std() > 0
    assert layer.shared_bias.std() < 1e-12
    torch.testing.assert_close(layer.shared_bias.mean(), layer.bias.mean())
    x = torch.zeros(1, 4, dtype=torch.float64)
    torch.testing.assert_close(layer(x)[0], layer.shared_bias)
    with pytest.raises(ShapeError, match=r"must be \(4,\)"):
        layer.sharing.share_bias(torch.zeros(3))


@pytest.mark.parametrize("flips", [False, True], ids=["C4", "D4"])
@pytest.mark.parametrize("channels", ["trivial to regular", "regular to regular", "plane to plane"])
def test_a_convolution_with_channel_representations_turns_with_its_input(flips, channels, gen):
    group = D4 if flips else C4
    kinds = {
        "trivial to regular": (trivial(group, 2), copies(regular(group), 2)),
        "regular to regular": (regular(group), regular(group)),
        "plane to plane": (planar(4, flips=flips), planar(4, flips=flips) + trivial(group)),
    }
    rep_in, rep_out = kinds[channels]
    sharing = GroupSharing(rep_in, rep_out, grid_rotations(3, flips=flips), dtype=torch.float64)
    layer = randomize(ReparamConv2d(rep_in.dim, rep_out.dim, 3, sharing=sharing, generator=gen), gen)
    before, after = rep_in * grid_rotations(7, flips=flips), rep_out * grid_rotations(5, flips=flips)
    x = torch.randn(2, rep_in.dim, 7, 7, generator=gen, dtype=torch.float64)
    for g in group.elements:
        torch.testing.assert_close(layer(before.act(g, x)), after.act(g, layer(x)), atol=1e-12, rtol=1e-10)
    torch.testing.assert_close(fold(layer)(x), layer(x))
    randomize(plain := layer.fold(), gen)
    assert not torch.allclose(plain(before.act(1, x)), after.act(1, plain(x)))  # the control


def test_one_dimensional_convolutions_take_mirrors(gen):
    mirror = cyclic(2)
    flip = permutation(mirror, [[0, 1, 2], [2, 1, 0]])
    layer = ReparamConv1d(1, 1, 3, sharing=GroupSharing(trivial(mirror), trivial(mirror), flip), generator=gen)
    assert layer.v.shape == (2,)
    x = torch.randn(1, 1, 9, generator=gen)
    torch.testing.assert_close(layer(x.flip(-1)), layer(x).flip(-1))


def test_a_new_layer_has_the_variance_of_a_plain_one(gen):
    sharing = GroupSharing(regular(cyclic(64)), regular(cyclic(64)))
    filters = torch.stack([sharing.initial_filter(gen) for _ in range(200)])
    weights = sharing.materialize(filters)
    assert abs(float(weights.std()) * math.sqrt(3 * 64) - 1) < 0.05


def test_training_moves_the_filter_and_keeps_the_group(gen):
    rep = natural(symmetric(4))
    layer = layer_for(rep, rep, gen, torch.float32)
    assert [name for name, _ in layer.named_parameters()] == ["v", "bias"]
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    x, y = torch.randn(2, 8, 4, generator=gen)
    before = layer.v.detach().clone()
    for _ in range(5):
        optimizer.zero_grad()
        (layer(x) - y).square().mean().backward()
        optimizer.step()
    assert not torch.equal(layer.v, before)
    for g in rep.group.elements:
        torch.testing.assert_close(layer(rep.act(g, x)), rep.act(g, layer(x)))


def test_a_group_pattern_is_the_oracle_of_a_learned_one(gen):
    """The same Ridge fit as with the dense pattern of the same span."""
    rep = regular(cyclic(5))
    episodes = random_episodes(gen, 3, 2, 4, (5,), (5,))
    known = ReparamLinear(5, 5, bias=False, sharing=GroupSharing(rep, rep, dtype=torch.float64), generator=gen)
    dense = DenseSharing.from_matrix(known.sharing.matrix(), (5, 5), learn=False)
    twin = ReparamLinear(5, 5, bias=False, sharing=dense, generator=gen)
    losses = []
    for layer in (known, twin):
        nn.init.zeros_(layer.v)
        problem, shared, initial = from_module(layer)
        learner = Learner(problem, Ridge(penalty=1e-6), batching="vmap")
        assert not shared
        losses.append(learner.losses(learner.init(shared, initial), episodes))
    torch.testing.assert_close(*losses)


def test_conversion_warns_of_what_a_group_cannot_keep(gen):
    rep = regular(C4)
    plain = seeded(lambda: nn.Linear(4, 4, bias=False)).requires_grad_(False)
    pattern = lambda shape, **how: GroupSharing(rep, rep)  # noqa: E731
    with pytest.warns(ResidualWarning, match="misses"):
        reparameterize(plain, sharing=pattern)
    plain.weight.copy_(GroupSharing(rep, rep).materialize(torch.arange(4.0)))
    assert reparameterize(plain, sharing=pattern).residuals[""] < 1e-6
    uneven = seeded(lambda: nn.Linear(4, 4)).requires_grad_(False)
    uneven.weight.copy_(plain.weight)
    with pytest.warns(ResidualWarning, match="weight or bias"):
        reparameterize(uneven, sharing=pattern)


def test_a_layer_moves_between_precisions_and_copies(gen):
    layer = layer_for(planar(4), regular(C4), gen, torch.float32)
    double = copy.deepcopy(layer).double()
    x = torch.randn(2, 2, generator=gen)
    torch.testing.assert_close(double(x.double()).float(), layer(x))
    assert double.sharing.U.dtype == torch.float64


def test_bad_input_is_named():
    with pytest.raises(ConfigError, match="different groups"):
        GroupSharing(regular(cyclic(3)), regular(cyclic(4)))
    odd = from_matrices(cyclic(2), {"r": [[-1.0]]})
    with pytest.raises(ConfigError, match="only the zero map"):
        GroupSharing(odd, trivial(cyclic(2)))
    with pytest.raises(ShapeError, match=r"makes a weight \(4, 4\), but this layer needs \(4, 5\)"):
        ReparamLinear(5, 4, sharing=GroupSharing(regular(C4), regular(C4)))


def test_double_layers_are_exact_and_half_ones_have_the_right_variance(gen):
    layer = layer_for(regular(cyclic(8)), planar(8), gen, torch.float32)
    assert_equivariant(layer.double(), cyclic(8), regular(cyclic(8)), planar(8))
    half = GroupSharing(natural(cyclic(256)), natural(cyclic(256)), dtype=torch.float16)
    v = half.initial_filter(gen)
    assert v.dtype == torch.float16
    assert float(half.materialize(v).float().std()) == pytest.approx(1 / math.sqrt(3 * 256), rel=0.2)


def test_a_filter_loads_with_its_own_group_only(gen):
    pair = (planar(4), regular(C4))
    saved, other = layer_for(*pair, gen), layer_for(*pair, gen)
    saved.sharing.U.copy_(saved.sharing.U.flip(1))  # as if the null space came in another basis
    other.load_state_dict(saved.state_dict())
    x = torch.randn(3, 2, generator=gen, dtype=torch.float64)
    torch.testing.assert_close(other(x), saved(x))
    torch.testing.assert_close(other.float().double()(x).float(), saved(x).float())
    c8, q8 = (layer_for(regular(g), regular(g), gen) for g in (cyclic(8), quaternion()))
    assert set(c8.state_dict()) == {"v", "bias", "sharing._extra_state"}
    with pytest.raises(ConfigError, match="belongs to other representations"):
        c8.load_state_dict(q8.state_dict())
    c8.load_state_dict(layer_for(regular(cyclic(8)), regular(cyclic(8)), gen).state_dict())


def test_rotations_of_space_share_weights_too(gen):
    vector = defining(so(3))
    layer = randomize(ReparamLinear(6, 3, sharing=GroupSharing(copies(vector, 2), vector), generator=gen), gen)
    assert layer.v.shape == (2,)
    assert_equivariant(layer, so(3), copies(vector, 2), vector)


def test_a_pattern_itself_may_convert_a_layer(gen):
    plain = seeded(lambda: nn.Linear(4, 4)).requires_grad_(False)
    plain.weight.copy_(GroupSharing(regular(C4), regular(C4)).materialize(torch.arange(4.0)))
    plain.bias.fill_(0.5)
    converted = reparameterize(plain, sharing=GroupSharing(regular(C4), regular(C4)))
    x = torch.randn(2, 4, generator=gen)
    torch.testing.assert_close(converted.module(x), plain(x))


def test_an_empty_batch_builds_no_pattern():
    layer = ReparamLinear(
        64, 64, sharing=GroupSharing(regular(cyclic(64)), regular(cyclic(64))), generator=torch.Generator()
    )
    assert layer(torch.empty(0, 64)).shape == (0, 64)
    assert not layer._factors_are_cheaper(torch.empty(0, 64))


# Groups without a table, and what is saved

OLD_DIGEST = "bd018306dd5c44e4db8a7e8e"


def test_a_layer_for_sixteen_tokens(gen):
    rep = natural(symmetric(16))
    layer = layer_for(rep, rep, gen)
    assert layer.sharing.n_filter == 2
    x = torch.randn(3, 16, generator=gen, dtype=torch.float64)
    for g in (*rep.group.generators, *rep.group.sample(3, gen)):
        torch.testing.assert_close(layer(rep.act(g, x)), rep.act(g, layer(x)))
    loaded = layer_for(rep, rep, gen)
    loaded.load_state_dict(layer.state_dict())
    torch.testing.assert_close(loaded(x), layer(x))
    alternate = natural(PermutationGroup([[1, 0, *range(2, 16)]], "swap"))
    with pytest.raises(ConfigError, match="belongs to other representations"):
        layer_for(alternate, alternate, gen).load_state_dict(layer.state_dict(), strict=False)


def test_a_layer_for_points_that_are_swapped_and_turned(gen):
    rep = outer_product(natural(symmetric(5)), defining(so(3))).reshape(15)
    layer = layer_for(rep, rep, gen)
    assert layer.sharing.n_filter == 2
    assert float(layer.shared_bias.detach().norm()) < 1e-12
    x = torch.randn(3, 15, generator=gen, dtype=torch.float64)
    for g in (*rep.group.generators, *rep.group.sample(3, gen)):
        torch.testing.assert_close(layer(rep.act(g, x)), rep.act(g, layer(x)))
    copied = copy.deepcopy(layer)
    copied.load_state_dict(layer.state_dict())
    torch.testing.assert_close(copied(x), layer(x))


def test_every_value_of_a_saved_layer_is_a_tensor(gen):
    """What people do with state dictionaries: copy them, average them, keep a moving average."""
    layer, other = (layer_for(planar(4), regular(C4), gen) for _ in range(2))
    assert all(isinstance(value, torch.Tensor) for value in layer.state_dict().values())
    copied = {key: value.clone() for key, value in layer.state_dict().items()}
    average = {key: sum(s[key] for s in (copied, copied, copied)) / 3 for key in copied}
    moving = {key: 0.99 * value + 0.01 * layer.state_dict()[key] for key, value in copied.items()}
    for state in (copied, average, moving, {key: value.float() for key, value in copied.items()}):
        other.load_state_dict(state)
        torch.testing.assert_close(other.v, layer.v, atol=1e-6, rtol=1e-6)
    wrong = {**copied, "sharing._extra_state": copied["sharing._extra_state"] + 1}
    with pytest.raises(ConfigError, match="belongs to other representations"):
        other.load_state_dict(wrong)


def test_files_of_older_versions_load(gen):
    """They hold the same digest as a text; this one was written by such a version."""
    layer = layer_for(regular(cyclic(3)), regular(cyclic(3)), gen)
    text = bytes(layer.sharing.get_extra_state().tolist()).hex()
    assert text == OLD_DIGEST
    layer.load_state_dict({**layer.state_dict(), "sharing._extra_state": OLD_DIGEST})
    with pytest.raises(ConfigError, match="belongs to other representations"):
        layer.load_state_dict({**layer.state_dict(), "sharing._extra_state": "00" * 12})
