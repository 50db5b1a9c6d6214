"""Partial symmetries as functors: a weight is natural exactly where it keeps one, as discovery says it does."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from msr.category.squares.naturality import naturality_error
from msr.category.squares.partial_maps import PartialMap
from msr.discovery.pattern.classes import Rows
from msr.discovery.pattern.partial import partial_symmetries
from msr.errors import AxiomError, DataError, NonFiniteError, ShapeError


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def valid(kernel, length):
    """The valid correlation with a kernel, and its classes of weights: one for each tap, 0 for zeros."""
    k = len(kernel)
    weight = torch.zeros(length - k + 1, length, dtype=torch.float64)
    classes = np.zeros(weight.shape, dtype=int)
    for t in range(k):
        rows = torch.arange(len(weight))
        weight[rows, rows + t] = kernel[t]
        classes[rows, rows + t] = t + 1
    return weight, classes


def discovered(weight, classes):
    rows = Rows(weight.numpy().reshape(-1, 1), np.zeros(weight.numel()), tuple(weight.shape))
    return partial_symmetries(classes, rows)


@pytest.mark.parametrize("length", [12, 70])
def test_the_partial_symmetry_of_a_valid_convolution_is_a_natural_transformation(length):
    """The published one maps 70 inputs to 68 outputs."""
    weight, classes = valid(numbers(3), length)
    (found,) = discovered(weight, classes)
    assert "translation" in found.name
    given_to = PartialMap(found.map_in, found.map_out)
    assert given_to.signal_error(weight).largest == 0
    assert given_to.class_error(classes).largest == 0
    inner, whole = given_to.components(weight)
    assert inner.shape == (length - 3, length - 1)
    assert torch.equal(inner, valid(weight[0, :3], length - 1)[0])
    assert torch.equal(whole, weight)
    # Controls: one weight off, noise throughout, and the same weight under another map.
    one = weight.clone()
    one[2, 3] += 0.5
    noise = weight + 0.1 * numbers(*weight.shape, seed=1)
    other = PartialMap(np.roll(found.map_in, 1), np.roll(found.map_out, 2))
    for broken, on in ((one, given_to), (noise, given_to), (weight, other)):
        assert on.signal_error(broken).largest > 1e-3
    moved = classes.copy()
    moved[2, 3] = 0
    changed = given_to.class_error(moved)
    assert changed.largest == pytest.approx(2 / ((length - 3) * (length - 1)))  # as image and as origin
    assert changed.labels[changed.worst] == "arrow 3 (0 → 1)"
    with pytest.raises(AxiomError, match="numbered from 0"):
        given_to.class_error(moved - 1)


def test_pairs_ask_for_less_than_signals():
    """A Toeplitz weight without zeros keeps the translation of pairs, but its outputs look beyond any domain."""
    n = 8
    places = np.arange(n)
    weight = numbers(2 * n - 1)[torch.from_numpy(places[:, None] - places + n - 1)]
    shift = PartialMap([*range(1, n), -1], [*range(1, n), -1])
    assert shift.pair_error(weight).largest == 0
    assert shift.class_error(places[:, None] - places + n - 1).largest == 0
    assert shift.signal_error(weight).largest > 0.1


def test_a_map_of_all_points_is_the_permutation():
    turn = [1, 2, 3, 0]
    circular = PartialMap(turn, turn)
    weight = numbers(4)[(torch.arange(4)[:, None] - torch.arange(4)) % 4]
    assert circular.signal_error(weight).largest == 0
    assert circular.pair_error(weight).largest == 0
    assert circular.signal_error(numbers(4, 4)).largest > 0.1


@settings(max_examples=12)
@given(seed=st.integers(0, 10_000))
def test_pairs_are_natural_exactly_where_weights_are_kept(seed):
    """Against a plain loop, and discovery's own residual."""
    gen = np.random.default_rng(seed)
    maps = []
    for n in gen.integers(2, 6, 2):
        images = np.full(n, -1)
        k = int(gen.integers(1, n + 1))
        images[gen.permutation(n)[:k]] = gen.permutation(n)[:k]
        maps.append(images)
    map_in, map_out = maps
    partial = PartialMap(map_in, map_out)
    weight = torch.from_numpy(gen.integers(0, 2, (len(map_out), len(map_in))).astype(float)) + 0.5
    inside = [(i, j) for i in np.flatnonzero(map_out >= 0) for j in np.flatnonzero(map_in >= 0)]
    pairs = [(float(weight[i, j]), float(weight[map_out[i], map_in[j]])) for i, j in inside]
    kept = all(a == b for a, b in pairs)
    found = partial.pair_error(weight)
    gap, size, images = (sum(v) ** 0.5 for v in zip(*[((a - b) ** 2, a * a, b * b) for a, b in pairs], strict=True))
    assert (found.largest == 0) == kept
    assert found.largest == pytest.approx(gap / (size**2 + images**2) ** 0.5, abs=1e-12)
    classes = (weight > 1).numpy().astype(int)
    by_class = partial.class_error(classes)
    assert by_class.largest == pytest.approx(sum(a != b for a, b in pairs) / len(pairs))
    reads_inside = all(
        bool((weight[rows][:, np.setdiff1d(np.arange(len(map_in)), columns)] == 0).all())
        for rows, columns in (
            (partial.domain_out, partial.domain_in),
            (map_out[partial.domain_out], map_in[partial.domain_in]),
        )
    )
    assert (partial.signal_error(weight).largest == 0) == (kept and reads_inside)


def test_no_other_component_at_the_domain_would_do():
    """The block of the weight is the component that the inclusion forces."""
    weight, _ = valid(numbers(3), 6)
    shift = PartialMap([1, 2, 3, 4, 5, -1], [1, 2, 3, -1])
    inner, whole = shift.components(weight)
    other = inner.clone()
    other[0, 0] += 1
    assert naturality_error(shift.inputs, shift.outputs, [inner, whole]).largest == 0
    assert naturality_error(shift.inputs, shift.outputs, [other, whole]).largest > 0.1


def test_what_is_no_partial_map_is_named():
    for map_in, map_out, error, says in [
        ([1, 1, -1], [0], AxiomError, "map_in sends two points to 1"),
        ([1, 3, -1], [0], AxiomError, r"map_in\[1\] = 3 is no point"),
        ([0, -2], [0], AxiomError, r"map_in\[1\] = -2"),
        ([0], [-1, -1], AxiomError, "map_out is defined nowhere"),
        ([], [0], AxiomError, "map_in is defined nowhere"),
        ([0.5], [0], ShapeError, "whole numbers"),
        ([[0]], [0], ShapeError, "shape"),
    ]:
        with pytest.raises(error, match=says):
            PartialMap(map_in, map_out)
    shift = PartialMap([1, -1, -1], [1, -1])
    with pytest.raises(ShapeError, match=r"the weight must be \(2, 3\)"):
        shift.signal_error(torch.ones(3, 2))
    with pytest.raises(NonFiniteError, match="holds nan"):
        shift.pair_error(torch.full((2, 3), torch.nan))
    large = PartialMap([*range(1, 400), -1], [*range(1, 400), -1])
    with pytest.raises(DataError, match="class_error"):
        large.pair_error(torch.zeros(400, 400))


def test_classes_with_huge_numbers_are_refused():
    with pytest.raises(DataError, match="without gaps"):
        PartialMap([1, -1], [1, -1]).class_error([[10**12, 0], [0, 0]])
