"""A pass that training takes away: parameters and buffers drawn anew, and certificates of what was never trained."""

import copy

import pytest
import torch
from torch import nn

from msr.equivariance import EquivarianceWarning, assert_equivariant, certify, certify_network
from msr.equivariance.certifying.fresh import redrawn, signs_of_a_start
from msr.errors import ConfigError, ModelError
from msr.groups import cyclic
from msr.layers import ReparamConv2d, ReparamLinear
from msr.representations import grid_rotations, regular, trivial
from msr.sharing import DenseSharing, GroupSharing
from tests.support.cases import seeded

C4 = cyclic(4)
IMAGE, FIELD = trivial(C4) * grid_rotations(6), regular(C4) * grid_rotations(4)


def conv_then_norm(gen, features):
    conv = ReparamConv2d(1, 4, 3, sharing=GroupSharing(trivial(C4), regular(C4), grid_rotations(3)), generator=gen)
    return nn.Sequential(conv, nn.BatchNorm2d(features) if features else nn.Identity(), nn.ReLU()).eval()


def test_a_norm_that_training_breaks_is_found_with_parameters_drawn_anew(gen):
    net = conv_then_norm(gen, 4)
    state = copy.deepcopy(net.state_dict())
    assert_equivariant(net, C4, IMAGE, FIELD)
    with pytest.raises(AssertionError, match=r"drawn anew \(draw 1 of 2\); as they are, it passes"):
        assert_equivariant(net, C4, IMAGE, FIELD, fresh=2)
    with pytest.warns(EquivarianceWarning, match="before any training.*running_mean is 0 and 1.running_var 1"):
        assert certify(net, C4, IMAGE, FIELD, eps=0.01, n_random=0).certified
    result = certify(net, C4, IMAGE, FIELD, eps=0.01, n_random=0, fresh=2)
    assert (result.verdict, result.fresh) == ("refuted", 2)
    assert "the worst of 3" in str(result)
    whole = certify_network(net, C4, IMAGE, FIELD, [IMAGE, FIELD, FIELD, FIELD], eps=0.01, fresh=1).whole
    assert whole.verdict == "refuted"
    after = {key: value for key, value in net.state_dict().items() if isinstance(value, torch.Tensor)}
    assert all(torch.equal(value, state[key]) for key, value in after.items())


def test_what_holds_for_all_parameters_passes(gen):
    net = conv_then_norm(gen, 0)
    assert_equivariant(net, C4, IMAGE, FIELD, fresh=3)
    result = certify(net, C4, IMAGE, FIELD, eps=0.01, n_random=0, fresh=2)
    assert (result.certified, result.warnings) == (True, ())
    assert result.null.endswith("for one of 3 draws of the parameters")


def test_redrawing_is_deterministic_and_changes_what_training_would():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Parameter(torch.arange(1.0, 7.0) * 100)
            self.fixed = nn.Parameter(torch.ones(3), requires_grad=False)
            self.register_buffer("mask", torch.tensor([1.0, 0.0]))
            self.linear, self.norm = nn.Linear(3, 3), nn.BatchNorm1d(3)
            self.again = self.linear

    module = seeded(Own)
    state = torch.get_rng_state()
    one, two, other = redrawn(module, 1), redrawn(module, 1), redrawn(module, 2)
    assert torch.equal(torch.get_rng_state(), state)
    for (name, p), q, r in zip(one.named_parameters(), two.parameters(), other.parameters(), strict=True):
        assert torch.equal(p, q)
        assert torch.equal(p, r) == (name == "fixed"), name
    assert torch.equal(one.mask, module.mask)
    assert one.again is one.linear
    assert (one.norm.running_var > 0).all()
    assert one.norm.running_mean.std() > 0.1
    assert one.norm.weight.std() > 0.01
    assert one.norm.num_batches_tracked == 0
    assert 10 < one.table.std() < 1000
    assert torch.equal(one.fixed, module.fixed)


def test_learned_sharing_patterns_stay(gen):
    layer = ReparamLinear(4, 4, sharing=lambda shape, **options: DenseSharing(shape, 3, generator=gen), generator=gen)
    new = redrawn(layer, 0)
    assert torch.equal(new.sharing.matrix(), layer.sharing.matrix())
    assert not torch.equal(new.v, layer.v)


def test_signs_of_a_start():
    assert signs_of_a_start(seeded(lambda: nn.Linear(3, 3))) == []
    assert signs_of_a_start(nn.LayerNorm(3)) == ["weight is 1", "bias is 0"]
    trained = nn.BatchNorm1d(2)
    trained.running_mean.fill_(0.3)
    assert signs_of_a_start(nn.Sequential(trained)) == ["0.weight is 1", "0.bias is 0"]


def test_bad_input_is_named(gen):
    rep = regular(C4)
    for check in (
        lambda f: assert_equivariant(f, C4, rep, rep, fresh=1),
        lambda f: certify(f, C4, rep, rep, eps=0.1, fresh=1),
    ):
        with pytest.raises(ConfigError, match="pass the module itself"):
            check(lambda x: x)
    with pytest.raises(ConfigError, match="fresh"):
        certify(nn.Identity(), C4, rep, rep, eps=0.1, fresh=-1)
    with pytest.raises(ConfigError, match="fresh at least 0"):
        assert_equivariant(nn.Identity(), C4, rep, rep, fresh=-1)
    with pytest.raises(ConfigError, match="lazy"):
        redrawn(nn.LazyLinear(3), 0)
    held = nn.Identity()
    held.lock = (n for n in range(3))
    with pytest.raises(ModelError, match=r"layer '1' \(Identity\) cannot be copied"):
        redrawn(nn.Sequential(nn.ReLU(), held), 0)
