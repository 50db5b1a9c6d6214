"""Turns by any angle: exact at quarter turns, and beside each defect what interpolation makes by itself."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from msr.equivariance import turn_images, turning_error
from msr.errors import ConfigError, DataError, ModelError, NonFiniteError, ShapeError
from msr.groups import cyclic
from msr.representations import grid_rotations, planar, regular

N = 25
METHODS = ["bilinear", "bicubic", "fourier"]

ALONG = torch.arange(-4.0, 5.0, dtype=torch.float64)
ROUND = torch.exp(-(ALONG[:, None] ** 2 + ALONG**2) / 4)
RIGHT, UP = ALONG * ROUND, -ALONG[:, None] * ROUND
"""Filters: round, and its slopes to the right and up (rows are counted downwards)."""


def filters(*kernels):
    """A convolution of one channel to one for each kernel."""
    conv = nn.utils.skip_init(nn.Conv2d, 1, len(kernels), 9, padding=4, bias=False, dtype=torch.float64)
    with torch.no_grad():
        conv.weight.copy_(torch.stack(kernels)[:, None] / ROUND.sum())
    return conv


def slopes(n, way=1):
    """The slope in ``n`` directions, counter-clockwise (or clockwise)."""
    angles = [2 * math.pi * k / n * way for k in range(n)]
    return filters(*(math.cos(a) * RIGHT + math.sin(a) * UP for a in angles))


@pytest.fixture
def images(gen):
    blur = filters(ROUND)
    return blur(blur(torch.randn(3, 1, N, N, generator=gen, dtype=torch.float64))).detach()


@pytest.mark.parametrize("method", METHODS)
def test_quarter_turns_are_those_of_the_grid(method, gen):
    x = torch.randn(2, 3, 6, 6, generator=gen, dtype=torch.float64)
    turns = grid_rotations(6)
    for k in range(-1, 5):
        assert torch.equal(turn_images(x, 90 * k, method), turns.act(k % 4, x))


@pytest.mark.parametrize("method", METHODS)
def test_a_turn_is_counter_clockwise_and_moves_what_it_should(method):
    """A spot to the right of the centre comes to lie where the angle says."""
    along = torch.arange(N, dtype=torch.float64) - (N - 1) / 2
    right, up = along, -along[:, None]

    def spot(angle):
        at = 5 * math.cos(math.radians(angle)), 5 * math.sin(math.radians(angle))
        return torch.exp(-((right - at[0]) ** 2 + (up - at[1]) ** 2) / 8)[None, None]

    for angle in (30, 117, -70, 250):
        gap = (turn_images(spot(0), angle, method) - spot(angle)).abs().max()
        assert gap < {"bilinear": 0.1, "bicubic": 0.02, "fourier": 1e-3}[method]


@pytest.mark.parametrize("method", METHODS)
def test_a_round_filter_is_about_as_far_as_interpolation_itself(method, images):
    measured = turning_error(filters(ROUND), images, interpolation=method)
    assert measured.excess < 2
    assert measured.largest < 0.05
    quarter = [i for i, angle in enumerate(measured.angles) if angle % 90 == 0]
    assert len(quarter) == 3
    assert measured.defects[quarter].max() < 1e-12
    assert measured.interpolation[quarter].max() < 1e-12
    assert measured.there_and_back[quarter].max() == 0


@pytest.mark.parametrize("method", METHODS)
def test_an_oriented_filter_is_not(method, images):
    measured = turning_error(filters(RIGHT), images, interpolation=method)
    assert measured.largest > 1
    assert measured.excess > 10
    assert "interpolation alone" in str(measured)


def test_a_slope_is_a_vector_and_its_directions_are_a_regular_field(images):
    """And with the axes exchanged, or the directions the other way round, they are not."""
    options = {"interpolation": "fourier"}
    assert turning_error(filters(RIGHT, UP), images, fields_out="vector", **options).largest < 0.02
    assert turning_error(filters(UP, RIGHT), images, fields_out="vector", **options).largest > 1
    eight = turning_error(slopes(8), images, fields_out=8, **options)
    assert eight.angles == tuple(45.0 * k for k in range(1, 8))
    assert eight.largest < 0.02
    assert turning_error(slopes(8, way=-1), images, fields_out=8, **options).largest > 1


def test_fields_go_in_as_well(gen, images):
    """The slope's own slope, from a vector and from eight directions to a scalar; from 3 directions by 120 degrees."""
    vectors = filters(RIGHT, UP)(images).detach()
    back = lambda y: y[:, :1].roll(1, -1) - y[:, :1].roll(-1, -1) + y[:, 1:].roll(-1, -2) - y[:, 1:].roll(1, -2)  # noqa: E731
    options = {"interpolation": "fourier", "fields_in": "vector"}
    assert turning_error(back, vectors, **options).largest < 0.06
    assert turning_error(lambda y: back(y.flip(1)), vectors, **options).largest > 0.5
    three = slopes(3)(images).detach()
    assert turning_error(lambda y: y.relu().sum(1, keepdim=True), three, [120, 240], fields_in=3).largest < 0.1
    assert turning_error(lambda y: y[:, :1], three, [120, 240], fields_in=3).largest > 1
    mixed = ["scalar", "vector", 4]
    both = torch.cat([images, vectors, slopes(4)(images).detach()], dim=1)
    assert turning_error(lambda y: y, both, fields_in=mixed, fields_out=mixed).largest < 1e-12


def test_channels_move_as_our_representations_say(gen):
    x = torch.randn(2, 2, 7, 7, generator=gen, dtype=torch.float64)
    plane = planar(4) * grid_rotations(7)
    # A function that no turn leaves alone: both sides then differ by what the field of the outputs is.
    f = lambda y: y * torch.arange(49.0).view(7, 7)  # noqa: E731
    measured = turning_error(f, x, [90, 270], fields_in="vector", fields_out="vector", disc=1.0)
    assert measured.largest > 0.1
    C4 = cyclic(4)
    for rep, fields in ((plane, "vector"), (regular(C4) * grid_rotations(7), 4)):
        channels = rep.shape[0]
        wave = torch.randn(channels, channels, generator=gen, dtype=torch.float64)
        matrices = (regular(C4) if fields == 4 else planar(4)).matrices()
        even = sum(m @ wave @ m.mT for m in matrices) / 4  # commutes with the channels' own moves
        y = torch.randn(2, channels, 7, 7, generator=gen, dtype=torch.float64)
        mix = lambda z, W=even: torch.einsum("ab,nbhw->nahw", W, z)  # noqa: E731
        assert turning_error(mix, y, [90, 180, 270], fields_in=fields, fields_out=fields).largest < 1e-12
        odd = lambda z, W=wave: torch.einsum("ab,nbhw->nahw", W, z)  # noqa: E731
        assert turning_error(odd, y, [90, 180, 270], fields_in=fields, fields_out=fields).largest > 0.1


def test_invariants_and_smaller_images(images):
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert turning_error(pool, images, interpolation="fourier").largest < 0.05
    corner = lambda x: x[:, :, 8, 8]  # noqa: E731
    assert turning_error(corner, images).largest > 0.3
    halved = nn.Sequential(filters(ROUND), nn.AvgPool2d(3, 2))
    assert turning_error(halved, images, interpolation="fourier").largest < 0.1


def test_a_large_offset_hides_nothing(images):
    """The size that a defect is measured in is what varies, not the offset."""
    oriented, blur = filters(RIGHT), filters(ROUND)
    assert turning_error(lambda x: oriented(x) + 1e6, images).largest > 1
    assert turning_error(lambda x: blur(x) + 1e6, images).largest < 0.05
    constant = torch.tensor([1.0, 2.0], dtype=torch.float64).view(1, 2, 1, 1)
    assert turning_error(lambda x: constant + 0 * x, images, fields_out="vector").largest > 0.9
    assert turning_error(lambda x: constant + 0 * x, images).largest == 0


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_an_offset_hides_neither_randomness_nor_what_mixes_a_batch(offset, images):
    generator = torch.Generator().manual_seed(0)
    random = lambda x: x + torch.randn(x.shape, generator=generator) + offset  # noqa: E731
    mixing = lambda x: x - x.mean(0, keepdim=True) + offset  # noqa: E731
    for f in (random, mixing):
        for x in (images, images[:1]):
            with pytest.raises(ModelError, match="same image gave two"):
                turning_error(f, x, [90])
    assert turning_error(lambda x: x + offset, images.float(), [90]).largest < 1e-2


def test_a_reference_of_ones_own_is_measured_instead(images):
    measured = turning_error(filters(ROUND), images, reference=lambda x: x)
    assert measured.interpolation.max() < 0.1
    assert turning_error(filters(ROUND), images.numpy(), reference=filters(RIGHT)).excess < 0.1


class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "kind", "says"),
        [
            ({"x": torch.zeros(2, 1, 4, 5)}, ShapeError, "square"),
            ({"x": torch.zeros(1, 4, 4)}, ShapeError, "must be"),
            ({"x": "images"}, DataError, "must be a tensor"),
            ({"angles": []}, ConfigError, "at least one"),
            ({"angles": [math.nan]}, ConfigError, "finite"),
            ({"angles": [30], "fields_out": 4, "f": slopes(4)}, ConfigError, "C4 turns by multiples of 90 .* got 30"),
            ({"fields_in": "spinor"}, ConfigError, "a field is 'scalar'"),
            ({"fields_in": "vector"}, ConfigError, "fields_in: 'vector' takes 2 channels each, and there are 1"),
            ({"fields_out": ["scalar", "vector"]}, ConfigError, "takes 3 channels, and there are 1"),
            ({"interpolation": "nearest"}, ConfigError, "bilinear, bicubic or fourier"),
            ({"disc": 0}, ConfigError, "disc"),
            ({"f": lambda x: x[..., :-1]}, ModelError, "square images"),
            ({"f": lambda x: x.mean()}, ModelError, "must return"),
            ({"f": lambda x: 1 // 0}, ModelError, "ZeroDivisionError"),
            ({"f": lambda x: x / 0}, NonFiniteError, "nan or infinity"),
            ({"f": lambda x: x - x.mean(0)}, ModelError, "two different outputs"),
            ({"f": lambda x: x.mean((-1, -2)), "x": torch.ones(1, 1, 5, 5)}, ShapeError, "at least 2 images"),
        ],
    )
    def test_one_clear_error(self, change, kind, says, images):
        asked = {"f": filters(ROUND), "x": images, **change}
        with pytest.raises(kind, match=says):
            turning_error(asked.pop("f"), asked.pop("x"), **asked)

    def test_an_error_of_the_modules_own_is_no_verdict(self, images):
        def fails(x):
            assert len(x) < 0, "of the module's own"

        with pytest.raises(ModelError, match="of the module's own"):
            turning_error(fails, images)


def test_inputs_stay_as_they_are(images):
    kept = images.clone()
    turning_error(lambda x: x.mul_(2), images, [45])
    assert torch.equal(images, kept)
    assert np.array_equal(turn_images(images.numpy(), 0).numpy(), kept.numpy())
