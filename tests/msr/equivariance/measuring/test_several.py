"""Functions of several inputs and outputs: a representation for each."""

import pytest
import torch
from torch import nn

from msr.equivariance import assert_equivariant, certify, equivariance_error
from msr.equivariance.measuring.several import is_several, pack
from msr.errors import ConfigError, ModelError, ShapeError
from msr.groups import orthogonal, so, symmetric
from msr.representations import defining, lift, natural, outer_product, trivial
from tests.support.cases import seeded

S4 = symmetric(4)
X, ONE = natural(S4), trivial(S4)


def swap_and_sum(a, b):
    return b, (a * b).sum(1, keepdim=True)


def keyword(*, a, b):
    return {"sum": a + b, "dot": (a * b).sum(1, keepdim=True), "more": None}


class Attend(nn.Module):
    """Attention of tokens, with the weights as a second output."""

    def __init__(self):
        super().__init__()
        self.inner = nn.MultiheadAttention(2, 1, batch_first=True)

    def forward(self, q, k, v):
        return self.inner(q, k, v)


def test_a_tuple_calls_by_position_and_a_dictionary_by_name():
    assert_equivariant(swap_and_sum, S4, (X, X), (X, ONE))
    assert_equivariant(keyword, S4, {"a": X, "b": X}, {"sum": X, "dot": ONE})
    assert_equivariant(lambda a, b: a - b, S4, [X, X], X)
    assert_equivariant(lambda a, b: a.cos() + b[:, :1], S4, (X, ONE), X)  # in this order
    assert_equivariant(lambda x: (x, x.mean(1, keepdim=True)), S4, X, (X, ONE))
    with pytest.raises(AssertionError, match="swap_and_sum is not equivariant to S4"):
        assert_equivariant(swap_and_sum, S4, (X, X), (ONE + ONE + ONE + ONE, ONE))
    with pytest.raises(AssertionError):  # both inputs are moved, not the first one alone
        assert_equivariant(lambda a, b: (a * b[:, [1, 2, 3, 0]]).sum(1, keepdim=True), S4, (X, X), ONE)


def test_what_is_packed_is_what_comes_out(gen):
    group = outer_product(natural(symmetric(3)), defining(so(3))).group
    points = outer_product(natural(symmetric(3)), defining(so(3)))
    vector = lift(defining(so(3)), group)
    seen = {}

    def f(x, charge, direction):
        seen.update(x=x, charge=charge, direction=direction)
        return x * direction[:, None], charge

    still = trivial(group, 2)
    x = {
        "x": torch.randn(4, 3, 3, generator=gen),
        "charge": torch.randint(5, (4, 2), generator=gen),
        "direction": torch.randn(4, 3, generator=gen, dtype=torch.float64),
    }
    packed = pack(f, {"x": points, "charge": still, "direction": vector}, (points, still), x)
    assert packed.rep_in.shape == (9 + 2 + 3,)
    assert packed.rep_out.shape == (9 + 2,)
    out = packed.function(packed.inputs(x))
    for name, value in x.items():
        assert torch.equal(seen[name], value)
        assert seen[name].dtype == value.dtype
    assert torch.equal(out[:, :9], (x["x"] * x["direction"][:, None]).flatten(1))
    assert torch.equal(out[:, 9:], x["charge"].to(out.dtype))
    drawn = packed.inputs(lambda n, generator: {name: value[:n] for name, value in x.items()})
    assert drawn(2, gen).shape == (2, 14)
    assert pack(f, points, still).inputs(None) is None
    assert is_several((X, X))
    assert not is_several(X, X)


def test_modules_and_their_layers(gen):
    tokens = X * trivial(S4, 2)
    module = seeded(Attend).eval()
    weights = X * X
    assert_equivariant(module, S4, (tokens, tokens, tokens), (tokens, weights))
    masked = seeded(Attend).eval()
    masked.register_parameter("bias", nn.Parameter(torch.randn(4, 2, generator=gen)))
    masked.forward = lambda q, k, v: masked.inner(q + masked.bias, k, v)
    with pytest.raises(AssertionError, match="Attend is not equivariant"):
        assert_equivariant(masked, S4, (tokens, tokens, tokens), (tokens, weights))
    with pytest.raises(ModelError, match="training mode"):
        assert_equivariant(nn.ModuleDict({"norm": nn.BatchNorm1d(4)}), S4, (X, X), X)


def test_errors_and_certificates_take_them_too(gen):
    x = (torch.randn(5, 4, generator=gen), torch.randn(5, 4, generator=gen))
    assert equivariance_error(swap_and_sum, x, (X, X), (X, ONE)).largest < 1e-6
    assert equivariance_error(lambda a, b: a.cumsum(1) * b, x, (X, X), X).largest > 0.01
    assert certify(swap_and_sum, S4, (X, X), (X, ONE), eps=1e-3, n_random=0).certified
    good = certify(swap_and_sum, S4, (X, X), (X, ONE), eps=1e-3, n_random=0, inputs=x)
    assert good.certified
    assert certify(lambda a, b: a.cumsum(1) * b, S4, (X, X), X, eps=1e-3, n_random=0).verdict == "refuted"
    group = orthogonal(3)
    v = defining(group)
    assert_equivariant(lambda a, b: (a * b).sum(1, keepdim=True), group, (v, v), trivial(group))
    with pytest.raises(AssertionError, match="at element P"):
        assert_equivariant(lambda a, b: torch.linalg.cross(a, b), group, (v, v), v)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: assert_equivariant(swap_and_sum, S4, (), (X, ONE)), ConfigError, "rep_in: give at least one"),
        (lambda: assert_equivariant(swap_and_sum, S4, (X, 3), (X, ONE)), ConfigError, "rep_in must hold .*got 3"),
        (
            lambda: assert_equivariant(swap_and_sum, S4, (X, natural(symmetric(3))), X),
            ConfigError,
            "different groups",
        ),
        (lambda: assert_equivariant(swap_and_sum, S4, (X, X), (X, ONE, ONE)), ModelError, "of 3 tensors; got 2"),
        (lambda: assert_equivariant(swap_and_sum, S4, (X, X), (X, X)), ModelError, r"output 1 must be \(batch, 4\)"),
        (lambda: assert_equivariant(swap_and_sum, S4, (X, X), X), ModelError, "return a tensor.*tuple"),
        (
            lambda: assert_equivariant(keyword, S4, {"a": X, "b": X}, {"sum": X, "none": X}),
            ModelError,
            "a dictionary with sum, none; got sum, dot, more",
        ),
        (
            lambda: assert_equivariant(keyword, S4, {"a": X, "b": X}, {"sum": X, "more": X}),
            ModelError,
            "outputs must be a tensor.*NoneType",
        ),
        (
            lambda: assert_equivariant(swap_and_sum, S4, (X, X), (X, ONE), x=torch.ones(2, 8)),
            ShapeError,
            "a tuple of 2 tensors; got Tensor",
        ),
        (
            lambda: assert_equivariant(swap_and_sum, S4, (X, X), (X, ONE), x=(torch.ones(2, 4), torch.ones(3, 4))),
            ShapeError,
            r"one batch axis; got \(2, 4\), \(3, 4\)",
        ),
        (
            lambda: equivariance_error(keyword, {"a": torch.ones(2, 4)}, {"a": X, "b": X}, {"sum": X}),
            ShapeError,
            "a dictionary with a, b; got a",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(call, error, says):
    with pytest.raises(error, match=says):
        call()
