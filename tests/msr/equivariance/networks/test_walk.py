"""The layers of a network as they run: what cannot be measured is told, and takes nobody's place."""

import pytest
import torch
from torch import nn

from msr.equivariance import assert_equivariant, certify_network, localise
from msr.errors import ModelError
from msr.groups import symmetric
from msr.representations import natural, trivial
from tests.support.cases import seeded

S4 = symmetric(4)
N4 = natural(S4)


def rep_of(shape):
    return N4 * trivial(S4, shape[1]) if len(shape) == 2 else N4


class Add(nn.Module):
    def forward(self, a, b):
        return a + b


class Mixed(nn.Module):
    """A plain layer that breaks it, a module of two arguments, and a layer called by keyword."""

    def __init__(self):
        super().__init__()
        self.mix, self.add, self.act = nn.Linear(4, 4), Add(), nn.Tanh()

    def forward(self, x):
        return self.act(input=self.add(self.mix(x), x))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(8, 8, batch_first=True)

    def forward(self, x):
        return self.lstm(x)[0]


class Scripted(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.jit.trace(nn.Linear(8, 8), torch.ones(2, 4, 8))

    def forward(self, x):
        return self.inner(x)


def of_kind(make):
    return seeded(lambda: nn.Sequential(nn.Linear(8, 8), make(), nn.Linear(8, 8)))


def test_a_report_that_cannot_be_made_is_a_line_under_the_verdict(gen):
    net = seeded(Mixed)
    with pytest.raises(AssertionError) as caught:
        assert_equivariant(net, S4, N4, N4, layers=rep_of)
    message = str(caught.value)
    assert message.startswith("Mixed is not equivariant to S4: defect")
    assert "layer mix: defect" in message
    assert "layer add: not measured: it does not map one tensor to one tensor: it was given Tensor, Tensor" in message
    assert (
        "act" not in localise(net, torch.randn(3, 4, generator=gen), rep_of).unmeasured
    )  # a keyword is a tensor like any other

    def unhelpful(shape):
        raise ZeroDivisionError("of the caller's")

    for layers in (unhelpful, [N4], {"no such layer": (N4, N4)}):
        with pytest.raises(AssertionError, match=r"defect .*(\n.*)*the layers could not be measured"):
            assert_equivariant(net, S4, N4, N4, layers=layers)


@pytest.mark.parametrize(("make", "inner"), [(Attention, "1.attention"), (Recurrent, "1.lstm")])
def test_the_nearest_module_around_it_is_measured_instead(make, inner, gen):
    net, x = of_kind(make), torch.randn(3, 4, 8, generator=gen)
    for p in net.parameters():
        p.data.add_(0.1)  # no longer as before any training
    table = localise(net, x, rep_of, "generators")
    assert table.layers == ("0", "1", "2")
    assert set(table.unmeasured) == {inner}
    assert "; 1, which holds it, was measured instead" in table.unmeasured[inner]
    assert (float(table.values[1].max()) > 0.1) == (make is Recurrent)  # an order of the items is all that it knows
    both = N4 * trivial(S4, 8)
    result = certify_network(net, S4, both, both, rep_of, eps=0.01)
    assert (result.broken, result.unmeasured) == ((("1",) if make is Recurrent else ()), ())
    assert inner in result.notes
    with pytest.raises(ModelError, match=rf"layer '{inner}' cannot be measured: .*leave it out of the mapping"):
        localise(net, x, {inner: (both, both)})


def test_torchscript_innards_are_one_layer(gen):
    x = torch.randn(3, 4, 8, generator=gen)
    net = of_kind(Scripted)
    both = N4 * trivial(S4, 8)
    assert localise(net, x, [both] * 4).layers == ("0", "1", "2")
    alone = nn.Sequential(of_kind(Scripted)[1].inner, nn.ReLU())
    assert localise(alone, x, [both] * 3).layers == ("0", "1")


def test_calls_after_the_first_are_told(gen):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x):
            return self.layer(self.layer(x).relu_())

    table = localise(seeded(Twice), torch.randn(3, 4, generator=gen), rep_of)
    assert table.layers == ("layer",)
    assert "layer: measured on the first of its 2 calls" in str(table)


def test_a_layer_with_other_rows_is_left_out_unless_asked_for():
    class Rows(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.last = nn.Linear(4, 4), nn.Tanh()

        def forward(self, x):
            return self.last(self.layer(x.reshape(-1, 4)).reshape(x.shape))

    rows = trivial(S4, 3) * N4
    result = certify_network(seeded(Rows), S4, rows, rows, lambda s: N4 if len(s) == 1 else rows, eps=0.05)
    assert list(result.layers) == ["last"]
    assert "would not be independent" in result.notes["layer"]


class StopsHalfWay(nn.Module):
    """A layer that works on its input, and then fails."""

    def forward(self, x):
        raise ValueError(f"not {x.tanh().shape}")


class Catches(nn.Module):
    """A network that goes on without a layer that fails."""

    def __init__(self):
        super().__init__()
        self.fails, self.first, self.last = StopsHalfWay(), nn.Tanh(), nn.ReLU()

    def forward(self, x):
        try:
            return self.fails(x)
        except ValueError:
            return self.last(self.first(x))


def test_a_layer_that_stops_half_way_is_not_measured(gen):
    x = torch.randn(3, 4, generator=gen)
    table = localise(Catches(), x, rep_of)
    assert table.layers == ("first", "last")
    assert table.unmeasured == {"fails": "not measured: it stopped half way"}
    around = localise(nn.Sequential(Catches(), nn.Tanh()), x, rep_of)
    assert around.layers == ("0", "0.first", "0.last", "1")
    assert around.unmeasured == {
        "0.fails": "not measured: it stopped half way; 0, which holds it, was measured instead"
    }
    with pytest.raises(ModelError, match="layer 'fails' cannot be measured: it stopped half way; leave it out"):
        localise(Catches(), x, {"fails": (N4, N4)})


def test_an_error_of_the_network_or_of_all_layers_is_a_model_error():
    class Fails(nn.Module):
        def forward(self, x):
            raise AssertionError("its own")

    with pytest.raises(ModelError, match=r"the network failed .*AssertionError: its own"):
        localise(nn.Sequential(Fails()), torch.ones(2, 4), [N4, N4])
    with pytest.raises(ModelError, match=r"no layer could be measured .*1\.attention"):
        localise(of_kind(Attention), torch.ones(2, 4, 8), lambda s: 1 / 0)


class PartlyScripted(nn.Module):
    """TorchScript between plain layers: nothing can look at its calls."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Tanh()
        self.inner = torch.jit.script(nn.Sequential(nn.Linear(4, 4), nn.ReLU()))

    def forward(self, x):
        return self.last(self.inner(self.first(x)))


def test_torchscript_beside_plain_layers_is_listed_and_they_are_measured(gen):
    net, x = seeded(PartlyScripted), torch.randn(64, 4, generator=gen)
    table = localise(net, x, rep_of)
    assert table.layers == ("first", "last")
    assert "TorchScript" in table.unmeasured["inner"]
    certificate = certify_network(net, S4, N4, N4, rep_of, eps=0.01)
    assert certificate.whole.verdict == "refuted"
    assert certificate.broken == ("first",)
    assert "TorchScript" in certificate.notes["inner"]
    # In a chain each layer still has its own two representations.
    one = trivial(S4)
    chain = nn.Sequential(nn.Identity(), seeded(lambda: torch.jit.script(nn.Linear(4, 1))), nn.Tanh())
    assert localise(chain, x, [N4, N4, one, one]).layers == ("0", "2")
    with pytest.raises(ModelError, match="TorchScript"):
        localise(net, x, {"inner": (N4, N4)})


def test_a_network_without_one_layer_that_can_be_measured_keeps_its_verdict():
    net = seeded(lambda: torch.jit.script(nn.Linear(4, 4)))
    certificate = certify_network(net, S4, N4, N4, rep_of, eps=0.01)
    assert certificate.whole.verdict == "refuted"
    assert not certificate.layers
    assert "TorchScript" in str(certificate)
    with pytest.raises(ModelError, match="no layer could be measured"):
        localise(net, torch.ones(2, 4), rep_of)
