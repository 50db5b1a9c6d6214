"""Copies of modules: what cannot be copied is named, with a remedy that works."""

import threading
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from msr.errors import ModelError
from msr.layers import fold, reparameterize
from msr.meta import from_module
from msr.modules import AffineModule, PackageModule, copied
from tests.support.cases import seeded

DOORS = {"copied": copied, "from_module": from_module, "reparameterize": reparameterize, "fold": fold}


def net_with(change):
    """Three layers; the middle one is changed, so that a name has to be found."""

    def make():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # the old functions are deprecated, which is the point
            return nn.Sequential(nn.Linear(3, 3), nn.Sequential(change(nn.Linear(3, 3))), nn.Linear(3, 2))

    return seeded(make)


OLD = {
    "weight_norm": (nn.utils.weight_norm, parametrizations.weight_norm),
    "spectral_norm": (nn.utils.spectral_norm, parametrizations.spectral_norm),
}


@pytest.mark.filterwarnings("ignore::msr.layers.LeftAloneWarning")  # what the remedy makes is left as it is
@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
@pytest.mark.parametrize("name", OLD)
def test_weights_computed_in_a_hook_are_named_at_every_door(name, door):
    old, new = OLD[name]
    net = net_with(old)
    with pytest.raises(ModelError, match=rf"layer '1\.0' \(Linear\).*parametrizations\.{name}"):
        door(net)
    with torch.no_grad():
        net(torch.ones(2, 3))  # the weight has no history now, so that copying would succeed, and lose the hook's work
    with pytest.raises(ModelError, match=rf"parametrizations\.{name}"):
        door(net)
    door(net_with(new).eval())  # the remedy


@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
def test_a_pruned_layer_is_named(door):
    net = net_with(lambda layer: prune.ln_structured(layer, "weight", 0.4, n=2, dim=0))
    with pytest.raises(ModelError, match=r"layer '1\.0' .*prune\.remove\(layer, 'weight'\)"):
        door(net)
    prune.remove(net[1][0], "weight")
    door(net)


class Holds(nn.Module):
    def __init__(self, thing):
        super().__init__()
        self.line = nn.Linear(3, 3)
        self.thing = thing(self.line)

    def forward(self, x):
        return self.line(x)


@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
@pytest.mark.parametrize(
    ("thing", "said"),
    [
        (lambda line: line.weight.T, "thing holds a tensor computed from others"),
        (lambda line: {"cache": [line.weight * 2]}, "thing holds a tensor computed from others"),
        (lambda line: threading.Lock(), "cannot pickle"),
    ],
)
def test_whatever_cannot_be_copied_is_named(thing, said, door):
    net = seeded(lambda: nn.ModuleList([nn.Linear(2, 2) for _ in range(10)] + [nn.Sequential(Holds(thing))]))
    with pytest.raises(ModelError, match=rf"layer '10\.0' \(Holds\) cannot be copied \(.*{said}"):
        door(net)


def test_a_copy_shares_nothing_and_what_is_no_module_is_refused():
    net = seeded(lambda: nn.Linear(2, 2))
    twin = copied(net)
    assert twin.weight is not net.weight
    assert torch.equal(twin.weight, net.weight)
    with pytest.raises(ModelError, match="got a OrderedDict"):
        copied(net.state_dict())


def test_torchscript_is_named_and_the_module_it_was_made_of_works():
    net = seeded(lambda: nn.Sequential(nn.Linear(2, 2), nn.Tanh()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        scripted = torch.jit.script(net)
    with pytest.raises(ModelError, match="TorchScript"):
        from_module(scripted)
    from_module(net)


class Scaled(AffineModule, affine=True):
    def forward(self, x):
        return 2 * x


class Absolute:
    def forward(self, x):
        return x.abs()


def test_a_claim_to_be_affine_goes_with_the_forward_it_was_made_for(monkeypatch):
    class Inherits(Scaled):
        pass

    class Overrides(Scaled):
        def forward(self, x):
            return super().forward(x).abs()

    class MixedIn(Absolute, Scaled):
        pass

    class ClaimsAnew(Scaled, affine=True):
        def forward(self, x):
            return super().forward(x) + 1

    class NeverClaims(AffineModule):
        def forward(self, x):
            return x

    claims = {kind: kind.claims_affine() for kind in (Scaled, Inherits, Overrides, MixedIn, ClaimsAnew, NeverClaims)}
    assert [kind for kind, claim in claims.items() if claim] == [Scaled, Inherits, ClaimsAnew]
    monkeypatch.setattr(Scaled, "forward", Absolute.forward)
    assert not Scaled.claims_affine()
    assert not Inherits.claims_affine()
    assert ClaimsAnew.claims_affine()


def test_a_class_says_of_itself_alone_that_it_is_plain():
    class Plain(PackageModule, plain=True):
        pass

    class Derived(Plain):
        pass

    assert [PackageModule.is_plain, Plain.is_plain, Derived.is_plain] == [False, True, False]
