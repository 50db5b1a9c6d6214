"""Whole networks: plain to reparameterised and back, and what deployment does with the result."""

import shutil
import warnings
from functools import partial

import pytest
import torch
from torch import nn

from msr.errors import ConfigError, ModelError
from msr.layers import ReparamConv2d, ReparamLayer, ReparamLinear, ResidualWarning, fold, reparameterize
from msr.meta import from_module
from msr.sharing import DenseSharing, KroneckerSharing
from tests.support.cases import randomize, seeded
from tests.support.forks import in_a_fork


def network():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, padding_mode="circular"),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2, groups=2, bias=False),
        nn.Flatten(),
        nn.Linear(8 * 9, 5),
    )


@pytest.fixture
def net():
    return seeded(network).eval()


@pytest.fixture
def x(gen):
    return torch.randn(4, 3, 8, 8, generator=gen)


def test_square_kronecker_keeps_the_outputs(net, x):
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    converted, residuals = reparameterize(net)
    torch.testing.assert_close(converted(x), net(x))
    assert residuals == {"0": 0.0, "3": 0.0, "5": 0.0}
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())  # a copy was made
    assert isinstance(converted[0], ReparamConv2d)
    assert not converted[0].training


def test_a_thin_pattern_warns_of_its_residual(net, x, gen):
    with pytest.warns(ResidualWarning, match=r"layer '5': the pattern misses \d+\.\d+%"):
        converted, residuals = reparameterize(net, ["5"], sharing=partial(DenseSharing, k=3), generator=gen)
    W, U = net[5].weight.detach(), converted[5].sharing.U.detach()
    best = U @ torch.linalg.lstsq(U, W.flatten()[:, None]).solution
    assert residuals["5"] == pytest.approx(float((best.flatten() - W.flatten()).norm() / W.norm()), rel=1e-4)
    assert not torch.allclose(converted(x), net(x))


def test_representable_weight_survives_a_thin_pattern(gen):
    sharing = DenseSharing((4, 6), 3, generator=gen)
    plain = seeded(lambda: nn.Linear(6, 4))
    with torch.no_grad():
        plain.weight.copy_(sharing.materialize(torch.tensor([1.0, -2, 3])))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        converted, residuals = reparameterize(plain, sharing=lambda shape, **kw: sharing)
    assert isinstance(converted, ReparamLinear)  # the root itself was the layer
    assert residuals[""] < 1e-6
    x = torch.randn(2, 6, generator=gen)
    torch.testing.assert_close(converted(x), plain(x))


def test_fold_gives_plain_layers_with_the_same_outputs(net, x, gen):
    converted = randomize(reparameterize(net.double()).module, gen)
    folded = fold(converted)
    torch.testing.assert_close(folded(x.double()), converted(x.double()))
    assert not any(isinstance(part, ReparamLayer) for part in folded.modules())
    assert list(folded.state_dict()) == list(net.state_dict())
    assert [type(part) for part in folded] == [type(part) for part in net]


def test_choice_by_name_and_by_predicate(net):
    by_name = reparameterize(net, ["0", "5"]).residuals
    by_predicate = reparameterize(net, lambda name, layer: isinstance(layer, nn.Linear)).residuals
    assert (list(by_name), list(by_predicate)) == (["0", "5"], ["5"])


def test_a_layer_used_twice_stays_one_layer(gen, x):
    shared = seeded(lambda: nn.Linear(6, 6))
    net = nn.Sequential(shared, nn.Tanh(), shared)
    converted, residuals = reparameterize(net)
    assert converted[0] is converted[2]
    assert list(residuals) == ["0"]
    folded = fold(converted)
    assert folded[0] is folded[2]
    x = torch.randn(3, 6, generator=gen)
    torch.testing.assert_close(folded(x), net(x))


def test_hooks_and_tied_weights_are_refused(net):
    with pytest.raises(ConfigError, match="'9' does not exist; layers that can be converted: 0, 3, 5"):
        reparameterize(net, ["9"])
    with pytest.raises(ConfigError, match="'1' is a BatchNorm2d"):
        reparameterize(net, ["1"])
    with pytest.raises(ConfigError, match="no layer was chosen"):
        reparameterize(nn.ReLU())
    net[5].register_forward_hook(lambda *args: None)
    with pytest.raises(ModelError, match="layer '5' carries hooks"):
        reparameterize(net)
    net = nn.Sequential(ReparamLinear(4, 4, generator=torch.Generator()))
    net[0].register_forward_hook(lambda *args: None)
    with pytest.raises(ModelError, match="layer '0' carries hooks"):
        fold(net)
    tied = seeded(lambda: nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)))
    tied[1].weight = tied[0].weight
    with pytest.raises(ModelError, match="are one parameter"):
        reparameterize(tied)


class _Scaled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


def test_subclasses_are_left_alone_unless_named(gen):
    net = seeded(lambda: nn.Sequential(_Scaled(4, 3)))
    with pytest.raises(ConfigError, match=r"layers that can be converted: none; weights that can be named: 0\.weight"):
        reparameterize(net)
    converted, residuals = reparameterize(net, ["0.weight"])
    x = torch.randn(2, 4, generator=gen)
    torch.testing.assert_close(randomize(converted, gen)(x), fold(converted)(x))
    assert (list(residuals), type(fold(converted)[0])) == (["0.weight"], _Scaled)


def test_requires_grad_and_dtype_carry_over(net):
    net = net.double()
    net[0].weight.requires_grad_(False)
    converted = reparameterize(net).module
    assert converted[0].v.dtype == torch.float64
    assert not any(p.requires_grad for n, p in converted[0].named_parameters() if n != "bias")
    assert all(p.requires_grad for p in converted[5].parameters())
    folded = fold(converted)
    assert (folded[0].weight.requires_grad, folded[5].weight.requires_grad) == (False, True)
    assert not any(name.startswith("0.sharing") for name in from_module(converted).shared)


def test_folded_model_exports(net, x, gen):
    folded = fold(randomize(reparameterize(net).module, gen)).eval()
    exported = torch.export.export(folded, (x,)).module()
    torch.testing.assert_close(exported(x), folded(x))


@pytest.mark.slow
@pytest.mark.usefixtures("shapes_unchecked")
def test_both_models_compile(net, x, gen):
    """In a process of its own: a compiler leaves modules, paths and variables behind."""
    if shutil.which("g++") is None and shutil.which("gcc") is None:
        pytest.skip("torch.compile needs a C++ compiler")
    net = randomize(reparameterize(net).module, gen)

    def run():
        from torch._inductor import config

        # To find out which vector instructions the machine has, and to build with them, takes longer than all else.
        # Whether torch's compiler uses them rightly is no matter of this package.
        with config.patch({"cpp.vec_isa_ok": False, "compile_threads": 1}), warnings.catch_warnings():
            # The compiler may ask an input for its gradient, and hides torch's warning in a way that errors pass by.
            warnings.filterwarnings("ignore", "The .grad attribute of a Tensor", UserWarning)
            for model in (net, fold(net)):
                torch.testing.assert_close(torch.compile(model)(x), model(x), rtol=1e-4, atol=1e-4)

    in_a_fork(run)


def test_sharing_class_is_a_factory():
    assert isinstance(KroneckerSharing((2, 3), device="cpu", dtype=None, generator=None), KroneckerSharing)
