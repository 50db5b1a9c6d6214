"""The scale of a defect: no offset and no large part hides a break, and no exact model fails on rounding."""

import math

import pytest
import torch
from torch import nn

from msr.equivariance import (
    EquivarianceWarning,
    Mean,
    Tail,
    ZeroFailure,
    assert_equivariant,
    certify,
    equivariance_error,
    localise,
    turning_error,
    weight_error,
)
from msr.equivariance.measuring import sides
from msr.equivariance.measuring.boundary import Interior
from msr.equivariance.measuring.float64 import InFloat64
from msr.equivariance.measuring.parts import Parts
from msr.equivariance.measuring.scale import measured_noise, typical_of
from msr.errors import DataError, ModelError, MSRError, PrecisionError
from msr.groups import cyclic, dihedral, lorentz, so, symmetric
from msr.layers import ReparamLinear
from msr.representations import copies, defining, grid_rotations, natural, planar, regular, trivial
from msr.sharing import GroupSharing
from tests.support.cases import seeded

C4, C8, S5, SO3 = cyclic(4), cyclic(8), symmetric(5), so(3)
N5, R8, VECTOR = natural(S5), regular(C8), defining(SO3)
POINTS, SCALAR = trivial(SO3, 4) * VECTOR, trivial(SO3)


def energy(gen, invariant):
    """A small network on coordinates, or on squared distances, which turning does not change."""
    first = 6 if invariant else 12
    W = torch.randn(32, first, generator=gen) / first**0.5
    v = torch.randn(1, 32, generator=gen) / 32**0.5
    i, j = torch.triu_indices(4, 4, 1)

    def f(x):
        inputs = (x[:, i] - x[:, j]).square().sum(-1) if invariant else x.flatten(1)
        return torch.tanh(inputs @ W.to(x).mT) @ v.to(x).mT

    return f


def verdict(f, group, rep_in, rep_out, **options):
    try:
        assert_equivariant(f, group, rep_in, rep_out, **options)
    except AssertionError:
        return "fails"
    except PrecisionError:
        return "cannot tell"
    return "passes"


# Parts


@pytest.mark.parametrize(
    ("rep", "blocks"),
    [
        (R8, 1),
        (trivial(C8, 3) * R8, 3),
        (trivial(C8, 5), 5),
        (copies(VECTOR, 2), 2),
        (planar(8) + trivial(C8) + R8, 3),
        (trivial(C4) * grid_rotations(3), 3),
        (trivial(C8).reshape(), 1),
        (defining(lorentz()), 1),
    ],
    ids=str,
)
def test_blocks_are_what_the_generators_connect(rep, blocks):
    assert Parts(rep).n_blocks == blocks


@pytest.mark.parametrize("rep", [trivial(C8, 2) * R8, VECTOR * VECTOR, planar(8) + planar(8), trivial(C8, 3)], ids=str)
@pytest.mark.parametrize("means", [False, True])
def test_parts_add_up_and_the_group_keeps_each_to_itself(rep, means, gen):
    parts = Parts(rep, means=means)
    y = torch.randn(5, rep.dim, generator=gen, dtype=torch.float64)
    squares = parts.squares(parts.features(y))
    torch.testing.assert_close(squares[:, : parts.n_blocks].sum(1), y.square().sum(1))
    (g, *_) = rep.group.generators
    torch.testing.assert_close(parts.squares(parts.features(rep.act_flat(g, y))), squares)


@pytest.mark.parametrize("rep", [R8, N5, trivial(C8, 3) * R8], ids=str)
def test_orbits_of_one_size_are_taken_as_an_axis(rep, gen):
    """As by sums over labels, which take orbits of any sizes."""
    fast, slow = Parts(rep, means=True), Parts(rep, means=True)
    assert fast._orbit
    slow._orbit = 0
    y = torch.randn(2, 5, rep.dim, generator=gen, dtype=torch.float64)
    torch.testing.assert_close(fast.features(y), slow.features(y))
    torch.testing.assert_close(fast.squares(slow.features(y)), slow.squares(slow.features(y)))
    assert not Parts(trivial(C8) + R8, means=True)._orbit
    assert not Parts(trivial(C8, 3), means=True)._orbit


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("rep", [N5, POINTS], ids=str)
def test_elements_in_one_go_are_compared_as_one_by_one(rep, pooled, gen, monkeypatch):
    x = torch.randn(6, *rep.shape, generator=gen, dtype=torch.float64)
    found = []
    for together in (sides._NUMBERS_AT_ONCE, 1):
        monkeypatch.setattr(sides, "_NUMBERS_AT_ONCE", together)
        both = sides.Sides(lambda x: x.sin(), x, rep, rep, rep.group.to_try(9, gen.manual_seed(0)), Interior(rep, None))
        found.append(list(both.pairs(pooled=pooled)))
    assert len(found[0]) == len(found[1]) >= 9
    for one, other in zip(*found, strict=True):
        assert one.element == other.element
        for name in ("a", "b", "window"):
            torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=0, atol=0)
        for name in ("difference", "scale", "floor"):
            torch.testing.assert_close(getattr(one.compared, name), getattr(other.compared, name))


def test_a_rank_two_tensor_splits_into_trace_skew_and_symmetric_parts(gen):
    parts = Parts(VECTOR * VECTOR)
    M = torch.randn(3, 3, generator=gen, dtype=torch.float64)
    trace = torch.eye(3, dtype=torch.float64) * M.trace() / 3
    skew, rest = (M - M.mT) / 2, (M + M.mT) / 2 - trace
    found = parts.squares(parts.features(M.reshape(1, 9)))[0, 1:]
    expected = torch.stack([part.square().sum() for part in (trace, skew, rest)])
    torch.testing.assert_close(found.sort().values, expected.sort().values)
    assert sorted(parts.name(u)[-1] for u in range(1, 4)) == ["1", "3", "5"]


def test_places_are_named_by_the_outputs_shape():
    parts = Parts(trivial(C8, 2) * R8, means=True)
    assert parts.name(1) == "outputs [1, 0], [1, 1], [1, 2], … (8 in all)"
    assert parts.name(parts.n_units - 1).endswith("their mean")
    assert Parts(trivial(C8, 3)).name(2) == "output [2]"


# What is typical


def test_unrelated_outputs_differ_by_about_one(gen):
    y, z = torch.randn(2, 2000, 8, generator=gen, dtype=torch.float64)
    for offset in (0.0, 1e9):
        found = typical_of(Parts(R8), y + offset, [], 0.0, 1)
        compared = found.compare(y + offset, z + offset)
        assert float(compared.pooled().defects.max()) == pytest.approx(1, abs=0.1)
        assert compared.defects.max() <= math.sqrt(2) + 1e-12
        assert found.compare(y + offset, y + offset).defects.max() == 0


def test_one_huge_output_is_not_the_scale_of_the_others(gen):
    y = torch.randn(100, 1, generator=gen, dtype=torch.float64)
    scales = []
    for outlier in (1.0, 1e9):
        y[3] = outlier
        found = typical_of(Parts(trivial(C8)), y, [], 0.0, 1)
        scales.append(float(found.in_outputs(found.scale)))
    assert scales[1] == pytest.approx(scales[0], rel=0.2)
    assert float(found.in_outputs(found.spread)) > 1e8

    def broken(x):  # a break of ordinary size beside one output that is out of all proportion
        return x.sum(1, keepdim=True) * (1 + 1e9 * (x > 1.5).all(1, keepdim=True)) + 1e-2 * x[:, :1]

    x = torch.rand(16, 5, generator=gen)
    x[7] = 2.0
    with pytest.raises(AssertionError):
        assert_equivariant(broken, S5, N5, trivial(S5), x=x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
def test_measured_noise_is_that_of_rounding(dtype, gen):
    """A sum of many numbers, against the same in higher precision (float32), and nothing for what rounds nothing."""
    x = torch.randn(200, 300, generator=gen, dtype=dtype)
    epsilon = torch.finfo(dtype).eps

    def f(x):
        return (x * x * 3).cumsum(1)[:, -1:].double()

    noise = torch.stack([part.square().mean() for part in measured_noise(f, x, f(x), epsilon)]).sum().sqrt()
    if dtype == torch.float32:
        truth = (f(x) - f(x.double())).square().mean().sqrt()
        assert 0.3 < float(noise / truth) < 3
    assert 0 < float(noise) < 100 * epsilon * float(f(x).abs().max())
    assert measured_noise(f, torch.ones(3, 2, dtype=torch.int64), torch.ones(3, 1), epsilon) == []


# Breaks that something large stands beside


def shifted(f, offset):
    return lambda x: f(x) - offset


def breaks(gen):
    def one_of_64(x):
        y = x.sum(1, keepdim=True).expand(-1, 64).clone()
        y[:, 17] = 1e-3 * x[:, 0]
        return y

    def one_channel(x):
        y = torch.stack([x * (k + 1) for k in range(32)], 1)
        y[:, 5] = y[:, 5] * torch.arange(8.0).to(y) * 1e-4
        return y

    def vector_beside_a_scalar(x):
        return torch.cat([1e5 * x.square().sum(-1, keepdim=True), 1e-3 * x * torch.tensor([1.0, 2.0, 3.0]).to(x)], -1)

    def trace_over_all(M):
        return 1e5 * (M * M).sum(-1, keepdim=True) * torch.eye(3).flatten().to(M) + M[:, :1] * torch.arange(9.0).to(M)

    return {
        "energy with an offset": (shifted(energy(gen, False), 10253.2), SO3, POINTS, SCALAR),
        "picked coordinate with an offset": (lambda x: x[:, :1] + 1e5, S5, N5, trivial(S5)),
        "picked beside large": (lambda x: torch.cat([1e5 * x, x[:, :1]], 1), S5, N5, N5 + trivial(S5)),
        "one output of 64": (one_of_64, S5, N5, trivial(S5, 64)),
        "one channel of 32": (one_channel, C8, R8, trivial(C8, 32) * R8),
        "vector beside a scalar": (vector_beside_a_scalar, SO3, VECTOR, SCALAR + VECTOR),
        "small tensor under a large trace": (trace_over_all, SO3, VECTOR, (VECTOR * VECTOR).reshape(9)),
    }


@pytest.mark.parametrize("name", list(breaks(torch.Generator())))
def test_nothing_large_hides_a_break(name):
    f, group, rep_in, rep_out = breaks(torch.Generator().manual_seed(0))[name]
    assert verdict(f, group, rep_in, rep_out) == "fails"
    certificate = certify(f, group, rep_in, rep_out, eps=0.01, n_random=0)
    assert certificate.verdict == "refuted", certificate
    x = torch.randn(16, *rep_in.shape, generator=torch.Generator().manual_seed(1))
    assert equivariance_error(f, x, rep_in, rep_out, "generators").largest > 0.1


def test_a_large_mean_hides_no_break_in_the_rest_of_an_orbit():
    f = lambda x: x * torch.arange(5.0).to(x) + 1e3 * x.mean(1, keepdim=True)  # noqa: E731
    assert verdict(f, S5, N5, N5) == "fails"
    assert verdict(lambda x: 2 * x + 1e3 * x.mean(1, keepdim=True), S5, N5, N5) == "passes"


def test_the_message_says_in_which_part_and_what_it_varies_by():
    with pytest.raises(AssertionError, match=r"in output \[5\], which varies by 0\.9[0-9]* over the inputs"):
        assert_equivariant(lambda x: torch.cat([1e5 * x, x[:, :1]], 1), S5, N5, N5 + trivial(S5))


def test_a_weights_offset_and_large_rows_hide_nothing(gen):
    both = R8 + R8
    W = torch.zeros(16, 8, dtype=torch.float64)
    W[:8], W[8:] = 1e6 * torch.eye(8), torch.randn(8, 8, generator=gen, dtype=torch.float64)
    assert weight_error(W, R8, both).largest > 0.5
    alone = weight_error(W[8:], R8, R8)
    torch.testing.assert_close(weight_error(W, R8, both).values, alone.values)
    shifted = weight_error(W[8:], R8, R8, bias=torch.full((8,), 1e6, dtype=torch.float64))
    torch.testing.assert_close(shifted.values, alone.values)
    layer = nn.Linear(8, 8, dtype=torch.float64, device="meta").to_empty(device="cpu")
    with torch.no_grad():
        layer.weight.copy_(W[8:]), layer.bias.fill_(1e6)
    assert certify(layer, C8, R8, R8, eps=0.1, n_random=0).verdict == "refuted"


# Too few digits


@pytest.mark.parametrize("offset", [1e4, 1e5])
def test_an_offset_that_leaves_too_few_digits_is_told(offset, gen):
    exact, broken = (shifted(energy(gen, invariant), offset) for invariant in (True, False))
    for f, right in ((exact, "passes"), (broken, "fails")):
        assert verdict(f, SO3, POINTS, SCALAR) == ("cannot tell" if f is exact else "fails")
        assert verdict(f, SO3, POINTS, SCALAR, dtype=torch.float64) == right
    with pytest.raises(PrecisionError, match=r"the output: it varies by .* dtype=torch.float64") as caught:
        assert_equivariant(exact, SO3, POINTS, SCALAR)
    assert isinstance(caught.value, MSRError)
    assert not isinstance(caught.value, AssertionError)


def test_a_certificate_that_rounding_hides_says_cannot_tell(gen):
    f = shifted(energy(gen, True), 1e5)
    with pytest.warns(EquivarianceWarning, match="cannot tell in the output"):
        certificate = certify(f, SO3, POINTS, SCALAR, eps=0.01, n_random=0)
    assert certificate.verdict == "cannot tell"
    assert certificate.rounding > 0.01
    fine = certify(f, SO3, POINTS, SCALAR, eps=0.01, n_random=0, dtype=torch.float64)
    assert fine.certified
    assert "fixed before on 64 other draws" in str(fine)
    assert (
        float(equivariance_error(f, torch.randn(8, 4, 3, generator=gen), POINTS, SCALAR, "generators").rounding.max())
        > 0.01
    )


def test_an_affine_layer_with_a_large_bias_says_cannot_tell(gen):
    layer = ReparamLinear(8, 8, sharing=GroupSharing(R8, R8), generator=gen)
    with torch.no_grad():
        layer.bias.fill_(1e5)
    with pytest.warns(EquivarianceWarning, match="cannot tell in all outputs.*use float64"):
        assert certify(layer, C8, R8, R8, eps=1e-3, n_random=0).verdict == "cannot tell"
    assert certify(layer.double(), C8, R8, R8, eps=1e-3, n_random=0).certified


class Above(nn.Module):
    """A float32 network on an offset; float64 does not fit into it where it is used inside a function."""

    def __init__(self, offset):
        super().__init__()
        self.net, self.offset = nn.Sequential(nn.Flatten(), nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 1)), offset

    def forward(self, x):
        return self.net(x) + self.offset


@pytest.mark.parametrize("offset", [1e7, 1e8, 1e10])
@pytest.mark.parametrize("wrapped", [False, True])
def test_an_offset_that_leaves_no_digit_is_told_from_a_constant(offset, wrapped, gen):
    module = seeded(lambda: Above(offset))
    f = (lambda x: module(x)) if wrapped else module
    for x in (None, torch.randn(1, 4, 3, generator=gen)):
        assert verdict(f, SO3, POINTS, SCALAR, x=x) == "cannot tell"
    for rule in (Tail(), ZeroFailure(), Mean()):
        with pytest.warns(EquivarianceWarning, match="cannot tell in the output.*use float64|float64"):
            assert certify(f, SO3, POINTS, SCALAR, eps=0.01, rule=rule, n_random=0).verdict == "cannot tell"
    x = torch.randn(8, 4, 3, generator=gen)
    assert float(equivariance_error(f, x, POINTS, SCALAR, "generators").rounding.max()) > 1


def test_an_affine_layer_whose_bias_leaves_no_digit_is_not_certified():
    layer = seeded(lambda: nn.Linear(5, 1))
    with torch.no_grad():
        layer.bias.fill_(1e8)
    with pytest.warns(EquivarianceWarning, match="use float64"):
        assert certify(layer, S5, N5, trivial(S5), eps=0.01, n_random=0).verdict == "cannot tell"
    assert certify(layer.double(), S5, N5, trivial(S5), eps=0.01, n_random=0).verdict == "refuted"


@pytest.mark.parametrize("offset", [1e5, 1e8])
def test_the_digits_of_a_bias_hide_nothing_in_a_weight(offset, gen):
    W = torch.randn(1, 5, generator=gen)
    found = weight_error(W, N5, trivial(S5), bias=torch.tensor([offset]))
    assert found.largest > 0.3
    assert float(found.rounding.max()) < 1e-5
    uneven = torch.full((5,), offset, dtype=torch.float64) + torch.arange(5)
    assert weight_error(torch.eye(5, dtype=torch.float64), N5, N5, bias=uneven).largest > 0.3


@pytest.mark.parametrize("constant", [0.0, 2.0, 1e8])
def test_what_is_constant_in_float64_too_is_constant(constant):
    norm = nn.LayerNorm(5)
    f = lambda x: norm(x).sum(1, keepdim=True) + constant  # noqa: E731
    with pytest.warns(EquivarianceWarning, match="constant"):
        assert verdict(f, S5, N5, trivial(S5)) == "passes"


def test_float64_is_enough_for_a_large_offset_and_one_example_has_no_variation_to_hide(gen):
    exact = shifted(energy(gen, True), 1e8)
    assert verdict(exact, SO3, POINTS, SCALAR, dtype=torch.float64) == "passes"
    squares = lambda x: x.square().sum((1, 2))[:, None] + 1e3  # noqa: E731
    with pytest.warns(EquivarianceWarning, match="constant"):
        assert verdict(squares, SO3, POINTS, SCALAR, x=torch.randn(1, 4, 3, generator=gen)) == "passes"


def test_a_function_that_works_in_place_is_not_run_partly_in_float64(gen):
    def in_place(y, x):
        y.add_(x)
        return y

    def call(f, x):
        return InFloat64(f, N5, Interior(N5, None)).rows(x, whatever_it_takes=True)

    weight, x = seeded(lambda: nn.Linear(5, 5)), torch.randn(3, 5, generator=gen)
    buffer = torch.zeros(3, 5)
    expected = nn.functional.linear(x.double(), weight.weight.detach().double(), weight.bias.detach().double())
    torch.testing.assert_close(call(lambda x: weight(x).relu_(), x), expected.relu())
    torch.testing.assert_close(call(lambda x: in_place(torch.zeros(3, 5), weight(x)), x), expected)
    assert call(lambda x: in_place(buffer, weight(x)), x) is None
    assert not buffer.any()


def test_a_tolerance_that_is_given_must_be_shown():
    f = lambda x: x.sum(1, keepdim=True) + 500.0  # noqa: E731
    assert verdict(f, S5, N5, trivial(S5)) == "passes"
    assert verdict(f, S5, N5, trivial(S5), tolerance=1e-5) == "cannot tell"


# Exact models


class OnSets(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.each, self.all = nn.Linear(inputs, outputs), nn.Linear(inputs, outputs)

    def forward(self, x):
        return self.each(x) + self.all(x.mean(1, keepdim=True))


def exact_models(seed):
    """Each with its group and representations; all of them equivariant in exact arithmetic."""
    gen = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        sets = nn.Sequential(
            OnSets(1, 16), nn.ReLU(), OnSets(16, 16), nn.GELU(), OnSets(16, 16), nn.ReLU(), OnSets(16, 2)
        )
        encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    wide = trivial(C8, 4) * R8
    maps = [ReparamLinear(32, 32, sharing=GroupSharing(wide, wide), generator=gen) for _ in range(4)]
    net = nn.Sequential(nn.Flatten(), *[part for layer in maps for part in (layer, nn.ReLU())], nn.Unflatten(1, (4, 8)))
    f = energy(gen, True)
    half = ReparamLinear(8, 8, sharing=GroupSharing(R8, R8), generator=gen).half()
    return {
        "sets": (lambda x: sets(x[..., None]), S5, N5, N5 * trivial(S5, 2)),
        "pooled sets": (lambda x: sets(x[..., None]).sum(1), S5, N5, trivial(S5, 2)),
        "attention": (lambda x: encoder(x[..., None].expand(-1, -1, 8)), S5, N5, N5 * trivial(S5, 8)),
        "group convolutions": (net, C8, wide, wide),
        "times 1e5": (lambda x: 1e5 * net(x), C8, wide, wide),
        "times 1e-5": (lambda x: 1e-5 * net(x), C8, wide, wide),
        "energy": (f, SO3, POINTS, SCALAR),
        "energy that hardly varies": (lambda x: 1 + 1e-3 * f(x), SO3, POINTS, SCALAR),
        "energy with an offset": (lambda x: f(x) - 1e5, SO3, POINTS, SCALAR),
        "large numbers inside": (lambda x: (x + 1e4).mean(1, keepdim=True) - 1e4, S5, N5, trivial(S5)),
        "unit length": (lambda x: nn.functional.normalize(x, dim=-1).norm(dim=-1, keepdim=True), SO3, VECTOR, SCALAR),
        "zero by cancellation": (
            lambda x: nn.functional.layer_norm(x, (5,)).sum(-1, keepdim=True),
            S5,
            N5,
            trivial(S5),
        ),
        "a constant block": (lambda x: torch.cat([x, torch.full_like(x, 3.7)], 1), C8, R8, R8 + R8),
        "zeros": (lambda x: 0 * x, C8, R8, R8),
        "rank two": (lambda x: x[:, :, None] * x[:, None, :], SO3, VECTOR, VECTOR * VECTOR),
        "half precision": (half, C8, R8, R8),
    }


@pytest.mark.filterwarnings("ignore::msr.equivariance.EquivarianceWarning")
@pytest.mark.parametrize("name", list(exact_models(0)))
@pytest.mark.parametrize("one", [False, True], ids=["batch", "one example"])
def test_exact_models_never_fail(name, one):
    for seed in range(2):
        f, group, rep_in, rep_out = exact_models(seed)[name]
        gen = torch.Generator().manual_seed(seed)
        x = torch.randn(1, *rep_in.shape, generator=gen).to(
            torch.float16 if name == "half precision" else torch.float32
        )
        found = verdict(f, group, rep_in, rep_out, x=x if one else None)
        assert found != "fails"
        if name not in ("energy with an offset", "zero by cancellation"):
            assert found == "passes"
        if not one:
            certificate = certify(f, group, rep_in, rep_out, eps=0.05, n_random=0)
            assert certificate.verdict != "refuted"


def test_a_network_whose_outputs_are_rarely_active_is_certified(gen):
    """Most outputs are zero for most inputs, so that what they vary by is hardly seen before the test."""
    layer = ReparamLinear(8, 8, sharing=GroupSharing(R8, R8), generator=gen)
    f = lambda x: (layer(x) - 1.5).relu()  # noqa: E731
    assert_equivariant(f, C8, R8, R8)
    assert certify(f, C8, R8, R8, eps=0.01, n_random=0).certified


# Whole numbers


def test_whole_numbers_take_the_outputs_tolerance(gen):
    embed = seeded(lambda: nn.Embedding(3, 2))
    group = symmetric(4)
    x = torch.randint(0, 3, (5, 4), generator=gen)
    assert_equivariant(lambda x: embed(x).sum(1), group, natural(group), trivial(group, 2), x=x)
    with pytest.raises(AssertionError, match=r"torch.int64 to torch.float32"):
        assert_equivariant(lambda x: embed(x[:, 0]), group, natural(group), trivial(group, 2), x=x)


def test_whole_outputs_are_compared_exactly():
    group = symmetric(4)
    x = torch.arange(20).view(5, 4)
    assert_equivariant(lambda x: 10**12 + x, group, natural(group), natural(group), x=x)
    off_by_one = lambda x: 10**12 + x + (torch.arange(4) == 2)  # noqa: E731
    assert verdict(off_by_one, group, natural(group), natural(group), x=x) == "fails"


# Errors of the model


class Exotic(Exception):
    pass


class Silent(Exception):
    def __str__(self):
        raise RuntimeError("this error cannot be printed")


@pytest.mark.parametrize("error", [AssertionError, ArithmeticError, ImportError, StopIteration, Exotic, Exception])
def test_an_error_inside_a_model_is_no_verdict(error):
    def f(x):
        raise error("of the model's own")

    for check in (
        lambda: assert_equivariant(f, C8, R8, R8),
        lambda: certify(f, C8, R8, R8, eps=0.1),
        lambda: equivariance_error(f, torch.ones(2, 8), R8, R8),
    ):
        with pytest.raises(ModelError, match=rf"{error.__name__}: of the model's own"):
            check()


@pytest.mark.parametrize("error", [SystemExit(0), Silent()])
def test_neither_a_models_exit_nor_an_error_without_text_gets_through(error):
    class Fails(nn.Module):
        def forward(self, x):
            raise error

    for check in (
        lambda: assert_equivariant(Fails(), C8, R8, R8),
        lambda: certify(Fails(), C8, R8, R8, eps=0.1),
        lambda: localise(Fails(), torch.ones(2, 8), [R8, R8]),
        lambda: turning_error(Fails(), torch.ones(2, 1, 5, 5)),
    ):
        with pytest.raises(ModelError, match=type(error).__name__):
            check()


def test_inputs_that_fail_are_named():
    def inputs(n, generator):
        raise KeyError("column")

    with pytest.raises(DataError, match=r"inputs\(64, generator\) failed: .*column"):
        certify(nn.Identity(), C8, R8, R8, eps=0.1, inputs=inputs)


def test_whole_numbers_too_large_to_compare_are_refused():
    x = torch.randint(9, (6, 5), generator=torch.Generator().manual_seed(0))
    with pytest.raises(ModelError, match="whole numbers beyond"):
        assert_equivariant(lambda x: x[:, :1] + 2**60, S5, N5, trivial(S5), x=x)


def test_an_interrupt_is_let_through():
    def f(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        assert_equivariant(f, C8, R8, R8)


def test_a_random_function_is_found_beside_an_offset_and_beside_large_outputs(gen):
    noise = lambda x: x + torch.randn(x.shape, generator=gen)  # noqa: E731
    for f, rep in ((lambda x: noise(x) - 1e4, R8), (lambda x: torch.cat([1e5 * x, noise(x)], 1), R8 + R8)):
        with pytest.raises(ModelError, match="is random"):
            assert_equivariant(f, C8, R8, rep)


def test_the_seed_is_mixed_with_the_shape(gen):
    """One seed for all would show every check the same numbers first."""
    seen = {}

    def keep(x):
        seen.setdefault(x.shape[1], x)
        return x

    for n in (4, 5):
        rep = natural(symmetric(n))
        assert_equivariant(keep, rep.group, rep, rep)
    assert seen[4][0, 0] != seen[5][0, 0]


def test_actions_that_are_not_orthogonal_make_rounding_larger():
    """Boosts make numbers large whose squares cancel."""
    four, metric = defining(lorentz()), torch.tensor([1.0, -1.0, -1.0, -1.0])
    f = lambda x: (x * x * metric.to(x)).sum(-1, keepdim=True)  # noqa: E731
    assert verdict(f, lorentz(), four, trivial(lorentz())) != "fails"
    assert verdict(f, lorentz(), four, trivial(lorentz()), dtype=torch.float64) == "passes"
    assert verdict(lambda x: x[:, :1] ** 2, lorentz(), four, trivial(lorentz())) == "fails"


def test_dihedral_images_pass_and_fail_as_before():
    D4 = dihedral(4)
    image = trivial(D4) * grid_rotations(6, flips=True)
    assert verdict(nn.AvgPool2d(3, 1, 1), D4, image, image) == "passes"
    assert verdict(seeded(lambda: nn.Conv2d(1, 1, 3, padding=1)), D4, image, image) == "fails"
