"""Networks that run as they are: they call nothing that has an exact form, and no other is taken for one of them."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from msr.layers import ReparamConv1d, ReparamConv2d, ReparamConv3d, ReparamLinear
from msr.meta import Problem, from_module
from msr.meta.exact import is_plain_module, mode
from msr.meta.exact.forms import FORMS, REVERSE_ONLY
from msr.meta.exact.plain import LAYERS, LOSSES, no_hooks_for_all
from msr.sharing import DenseSharing


@pytest.fixture(autouse=True)
def _random_states_kept():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


ARGUMENTS = {
    nn.Unflatten: (1, (1, -1)), nn.Linear: (6, 2), nn.Bilinear: (6, 6, 2), nn.Identity: (), nn.Flatten: (0,),
}  # fmt: skip


class Seen(TorchFunctionMode):
    """Which functions of torch are called."""

    def __init__(self):
        super().__init__()
        self.functions = set()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.functions.add(function)
        return function(*args, **(kwargs or {}))


def called(function, *inputs):
    with Seen() as seen:
        function(*inputs)
    assert seen.functions or isinstance(function, nn.Identity)
    return seen.functions & (FORMS.keys() | REVERSE_ONLY)


def layer_and_inputs(kind):
    axes = int(kind.__name__[-2]) if kind.__name__[-2].isdigit() else 0
    if axes:
        arguments = (6, 2, 3) if "Conv" in kind.__name__ else (2,)
        return kind(*arguments), [torch.randn(2, 6, *[6] * axes)]
    inputs = [torch.randn(4, 6)] * (2 if kind is nn.Bilinear else 1)
    return kind(*ARGUMENTS.get(kind, ())), inputs


@pytest.mark.parametrize("kind", sorted(LAYERS, key=lambda kind: kind.__name__))
def test_known_layers_call_nothing_that_has_a_form(kind):
    layer, inputs = layer_and_inputs(kind)
    assert is_plain_module(layer)
    assert not called(layer, *inputs)


@pytest.mark.parametrize("kind", [ReparamLinear, ReparamConv1d, ReparamConv2d, ReparamConv3d])
@pytest.mark.parametrize("path", ["materialize", "factors"])
@pytest.mark.parametrize("sharing", ["dense", "kronecker"])
def test_layers_of_this_package_call_nothing_that_has_a_form(kind, path, sharing):
    if sharing == "dense" and path == "factors" and kind is not ReparamLinear:
        pytest.skip("a convolution has factors of Kronecker patterns alone")
    arguments = {"sharing": lambda shape, **rest: DenseSharing(shape, 2, **rest)} if sharing == "dense" else {}
    for circular in [{}] if kind is ReparamLinear else [{}, {"padding": 1, "padding_mode": "circular"}]:
        numbers = (6, 2) if kind is ReparamLinear else (6, 2, 3)
        layer = kind(*numbers, path=path, **arguments, **circular)
        assert is_plain_module(layer)
        axes = 0 if kind is ReparamLinear else int(kind.__name__[-2])
        assert not called(layer, torch.randn(2, 6, *[6] * axes))


def test_losses_call_nothing_that_has_a_form():
    targets = {F.cross_entropy: torch.tensor([0, 1]), F.nll_loss: torch.tensor([0, 1])}
    for loss in LOSSES:
        assert not called(loss, torch.rand(2, 3), targets.get(loss, torch.rand(2, 3)))


class Derived(ReparamLinear):
    def forward(self, x):
        return F.layer_norm(super().forward(x), (2,))


class Own(nn.Linear):
    def forward(self, x):
        return F.layer_norm(super().forward(x), (2,))


def hooked():
    layer = nn.Linear(6, 2)
    layer.register_forward_hook(lambda part, inputs, y: F.layer_norm(y, (2,)))
    return layer


def patched():
    layer = nn.Linear(6, 2)
    layer.forward = lambda x: F.layer_norm(x, (6,))
    return layer


@pytest.mark.parametrize(
    "make",
    [
        lambda: Derived(6, 2), lambda: Own(6, 2), hooked, patched, lambda: nn.LayerNorm(2),
        lambda: nn.utils.parametrizations.weight_norm(nn.Linear(6, 2)),
        lambda: nn.Sequential(nn.Linear(6, 2), hooked()),
    ],
)  # fmt: skip
def test_what_is_not_known_is_looked_at(make):
    assert not is_plain_module(make())


def test_a_problem_looks_where_it_has_to(monkeypatch):
    if not no_hooks_for_all():
        pytest.skip("this torch cannot say that no hook is on all modules, so every problem is looked at")
    looks = []
    original = mode._exactly
    monkeypatch.setattr(mode, "_exactly", lambda: looks.append(1) or original())
    x = torch.randn(3, 6)
    net = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
    plain = from_module(net)
    plain.problem.predict({**plain.shared, **plain.initial}, x)
    plain.problem.criterion(x, x)
    assert not looks
    other = from_module(nn.Sequential(nn.Linear(6, 2), nn.LayerNorm(2)))
    other.problem.predict({**other.shared, **other.initial}, x)
    assert len(looks) == 1
    Problem(lambda params, x: x, lambda y, target: y.sum()).loss({}, x, x)
    assert len(looks) == 3


def test_hooks_on_all_modules_are_looked_at(monkeypatch):
    looks = []
    original = mode._exactly
    monkeypatch.setattr(mode, "_exactly", lambda: looks.append(1) or original())
    found = from_module(nn.Linear(6, 2))
    with nn.modules.module.register_module_forward_hook(lambda part, inputs, y: None):
        found.problem.predict(found.initial, torch.randn(3, 6))
    assert looks
