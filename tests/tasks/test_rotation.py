"""Rotation tasks: what the filters promise, how exactly they turn, and what bad input gets."""

import math
import re
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from msr.errors import ConfigError, DataError, NonFiniteError, ShapeError
from msr.layers import ReparamConv2d
from msr.meta import SGD, Learner, Ridge, from_module
from msr.representations import copies, grid_rotations, regular
from msr.sharing import DenseSharing
from msr.span.angles import orthonormal_basis, span_cosine
from tasks import RotationTasks
from tasks.rotation import condensed, read_filters, rotation_defect
from tasks.steerable import GROUPS, plane, steerable_basis
from tests.support.cases import needs_data

ORDERS = {"c4": 4, "c8": 8, "d4": 8, "d8": 16}
NATURAL = torch.arange(6)


@pytest.fixture(autouse=True)
def _default_dtype_kept():
    """Families draw in the default precision, which tests here choose."""
    before = torch.get_default_dtype()
    yield
    torch.set_default_dtype(before)


def family(group="c8", **change) -> RotationTasks:
    return RotationTasks(**{"group": group, "size": 7, "queries": 3, "n_train": 50, "n_test": 20, **change})


def in_float64(group, **change) -> tuple[torch.Tensor, RotationTasks]:
    torch.set_default_dtype(torch.float64)
    tasks = family(group, **change)
    return tasks.filters("train", torch.arange(12)), tasks


def grid_elements(group):
    """Pairs of an element that maps the grid to itself, and its number among the turns and flips of a square."""
    n = int(group[1:])
    flips = group.startswith("d")
    return [(k * (n // 4) + n * f, k + 4 * f) for f in range(1 + flips) for k in range(4)]


# What is drawn


@pytest.mark.parametrize("group", GROUPS)
def test_shapes_and_attributes(group):
    tasks = family(group, fields=2)
    channels = 2 * ORDERS[group]
    e = tasks.episodes("train", NATURAL)
    assert [tuple(part.shape) for part in e] == [
        (6, 1, 1, 7, 7), (6, 1, channels, 5, 5), (6, 3, 1, 7, 7), (6, 3, channels, 5, 5)
    ]  # fmt: skip
    assert tasks.filters("test", NATURAL).shape == (6, *tasks.weight_shape) == (6, channels, 1, 3, 3)
    assert tasks.symmetry.order == ORDERS[group]
    assert tasks.rho_out == copies(regular(tasks.symmetry), 2)
    assert (tasks.n_tasks("train"), tasks.n_tasks("test")) == (50, 20)


def test_data_is_a_function_of_seed_split_and_index_alone():
    a, b = family(noise=0.5), family(noise=0.5)
    some = torch.tensor([7, 3, 3])
    for left, right in zip(a.episodes("train", some), b.episodes("train", torch.arange(8)), strict=True):
        torch.testing.assert_close(left, right[some], rtol=1e-6, atol=1e-6)
    x = [family(seed=s).episodes(split, NATURAL).support_x for s, split in ((0, "train"), (0, "test"), (1, "train"))]
    assert len({float(v) for part in x for v in part.flatten(1)[:, 0]}) == 18  # no image twice
    w = [family(seed=s).filters(split, NATURAL) for s, split in ((0, "train"), (0, "test"), (1, "train"))]
    assert len({float(v) for part in w for v in part.flatten(1)[:, 0]}) == 18


def test_a_task_is_a_convolution_with_noise_of_its_size():
    clean, noisy = family(size=12), family(size=12, noise=0.5)
    filters, e = clean.filters("train", NATURAL), clean.episodes("train", NATURAL)
    assert torch.equal(noisy.filters("train", NATURAL), filters)
    for i in NATURAL:
        torch.testing.assert_close(e.query_y[i], F.conv2d(e.query_x[i], filters[i]), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(e.support_y[i], F.conv2d(e.support_x[i], filters[i]), rtol=1e-5, atol=1e-5)
    n = noisy.episodes("train", NATURAL)
    gap = torch.stack([n.query_y[i] - F.conv2d(n.query_x[i], filters[i]) for i in NATURAL])
    assert float(gap.std()) == pytest.approx(0.5, rel=0.02)
    assert abs(float(gap.mean())) < 0.02


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("group", GROUPS)
def test_outputs_have_unit_variance_shared_evenly_over_pairs(group, kernel):
    tasks = family(group, kernel=kernel)
    _, pairs = steerable_basis(group, kernel)
    energy = torch.zeros(max(pairs) + 1, dtype=torch.float64)
    energy.index_add_(0, torch.tensor(pairs), tasks.generators.square().sum(1).mean(0))
    torch.testing.assert_close(energy, torch.full_like(energy, 1 / len(energy)))
    w = family(group, kernel=kernel, n_train=300).filters("train", torch.arange(300))
    assert float(w.square().sum((2, 3, 4)).mean()) == pytest.approx(1, rel=0.06)


# The space of filters


@pytest.mark.parametrize("group", GROUPS)
def test_the_true_span_is_of_dimension_18_and_is_that_of_the_filters(group):
    w, tasks = in_float64(group)
    span = tasks.true_span()
    assert span.shape == (math.prod(tasks.weight_shape), 18)
    torch.testing.assert_close(span.mT @ span, torch.eye(18, dtype=torch.float64))
    many = tasks.filters("test", torch.arange(20)).flatten(1).mT
    assert orthonormal_basis(many, rtol=1e-10).shape[1] == 18
    assert span_cosine(many, span) == pytest.approx(1, abs=1e-10)
    w = w.flatten(1)
    assert float((w - w @ span @ span.mT).norm() / w.norm()) < 1e-12


@pytest.mark.parametrize(("kernel", "dimension"), [(3, 6), (5, 15), (7, 28)])
def test_a_field_has_a_full_space_of_functions(kernel, dimension):
    basis, pairs = steerable_basis("c8", kernel)
    assert basis.shape == (8, kernel**2, dimension)
    assert len(pairs) == dimension
    sizes = torch.linalg.svdvals(family(kernel=kernel).generators[0])
    assert float(sizes[-1] / sizes[0]) > 0.1  # not by a hair's breadth
    for turned in basis:  # turning keeps neither more nor fewer functions
        assert torch.linalg.matrix_rank(turned) == dimension


@pytest.mark.parametrize("group", ["c8", "d8"])
def test_right_angles_map_the_space_of_one_channel_to_itself(group):
    basis, _ = steerable_basis(group, 5)
    for h, on_grid in grid_elements(group):
        assert span_cosine(basis[h], basis[0]) == pytest.approx(1, abs=1e-10), on_grid


# Turning


@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("group", GROUPS)
def test_convolutions_turn_exactly_with_the_grid(group, kernel, gen):
    """conv(ρ_in(h) x, W) = ρ_out(h) conv(x, W) for every h that maps the grid to itself, in both precisions."""
    w, tasks = in_float64(group, size=9, kernel=kernel)
    out = 9 - kernel + 1
    turn_in, turn_out = (grid_rotations(n, flips=True) for n in (9, out))
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        x = torch.randn(2, 1, 9, 9, generator=gen, dtype=dtype)
        for weight in w[:3].to(dtype):
            y = F.conv2d(x, weight)
            for h, on_grid in grid_elements(group):
                left = F.conv2d(turn_in.act(on_grid, x), weight)
                right = turn_out.act(on_grid, tasks.rho_out.act(h, y.movedim(1, -1)).movedim(-1, 1))
                assert float((left - right).abs().max()) < tolerance, (h, dtype)


def test_a_wrong_element_or_order_of_channels_is_seen_by_that_test(gen):
    w, tasks = in_float64("d8", size=9)
    turn_in, turn_out = grid_rotations(9, flips=True), grid_rotations(7, flips=True)
    x = torch.randn(2, 1, 9, 9, generator=gen)
    y = F.conv2d(x, w[0])
    left = F.conv2d(turn_in.act(1, x), w[0])
    for wrong in (1, 6, 10):  # a turn by 45°, the inverse of the right one, a flip besides
        right = turn_out.act(1, tasks.rho_out.act(wrong, y.movedim(1, -1)).movedim(-1, 1))
        assert float((left - right).abs().max()) > 0.1


@pytest.mark.parametrize("group", GROUPS)
def test_the_defect_is_zero_for_right_angles_and_small_for_half_of_one(group):
    w, tasks = in_float64(group)
    exact = [h for h, _ in grid_elements(group)]
    for h in tasks.symmetry.elements:
        defect = rotation_defect(w, group, 3, h, math.pi)
        if h in exact:
            assert defect < 1e-12
        else:
            assert 0.1 < defect < 0.2
            assert 1e-3 < rotation_defect(w, group, 3, h, math.pi / 4) < 0.006
            assert 1e-3 < rotation_defect(w, group, 3, h, math.pi / 2) < 0.012


@pytest.mark.parametrize(("kernel", "most"), [(3, 1e-2), (5, 2.5e-3), (7, 1e-3)])
def test_larger_kernels_turn_better(kernel, most):
    w, _ = in_float64("d8", kernel=kernel)
    assert rotation_defect(w, "d8", 3, 1) < most
    assert rotation_defect(w, "d8", 3, 9) < most


@pytest.mark.parametrize("group", GROUPS)
def test_random_filters_and_wrong_orders_have_a_large_defect(group, gen):
    w, tasks = in_float64(group)
    noise = torch.randn(w.shape, generator=gen)
    for h in tasks.symmetry.generators:
        assert 0.9 < rotation_defect(noise, group, 3, h) < 1.1
    backwards = w.unflatten(1, (3, -1)).flip(2).flatten(1, 2)
    crossed = w.unflatten(1, (3, -1)).transpose(1, 2).flatten(1, 2)  # (element, field)
    turned_grid = w.flip(-1, -2).rot90(1, (-2, -1)).flip(-1)
    for wrong in (backwards, crossed, turned_grid):
        assert rotation_defect(wrong, group, 3, 1) > 0.3


def test_the_defect_is_what_its_formula_says():
    """Against the sum over pixels and waves written out with complex numbers, in coordinates (right, up)."""
    w = in_float64("d8")[0][:2]
    h, k_max, table = 11, 1.5, plane("d8").group.table  # r3 s: a mirror, then a turn by 135°
    angle = 3 * math.pi / 4
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]) @ np.diag([-1, 1])
    radii, directions = (np.arange(16) + 0.5) / 16 * k_max, (np.arange(64) + 0.5) / 64 * 2 * math.pi

    def response(kx, ky):
        pixels = [(row, column) for row in range(3) for column in range(3)]
        total = sum(w[..., 0, i, j] * np.exp(1j * (kx * (j - 1) + ky * (1 - i))) for i, j in pixels)
        return total.reshape(-1, 3, 16).numpy()

    gap = size = 0.0
    for wave in (r * np.array([math.cos(a), math.sin(a)]) for r in radii for a in directions):
        here, there = response(*wave), response(*(turn.T @ wave))
        for g in range(16):
            gap += float((abs(here[..., table[h, g]] - there[..., g]) ** 2).sum())
        size += float((abs(here) ** 2).sum() + (abs(there) ** 2).sum())
    assert rotation_defect(w, "d8", 3, h, k_max) == pytest.approx(math.sqrt(gap / size), rel=1e-9)
    assert rotation_defect(torch.zeros_like(w), "d8", 3, 9) == 0
    assert rotation_defect(w, "d8", 3, 9) == pytest.approx(rotation_defect(3 * w.float(), "d8", 3, 9), rel=1e-4)


@pytest.mark.parametrize("group", ["c8", "d8"])
def test_turns_by_45_degrees_are_no_worse_than_the_references(group):
    given = read_filters(needs_data(f"reference_tasks/{group}_filters.npz"), group)
    ours = RotationTasks(group=group).filters("train", torch.arange(1000))
    for h in (h for h in plane(group).group.elements if h % 2):
        for k_max in (math.pi / 4, math.pi / 2, math.pi):
            assert rotation_defect(ours, group, 3, h, k_max) < rotation_defect(given, group, 3, h, k_max)
    assert rotation_defect(given, group, 3, 2, math.pi) < 1e-6  # and their right angles are as exact as their numbers


# Filters made elsewhere


@pytest.mark.parametrize("group", ["c8", "d8"])
def test_the_authors_filters_are_a_family(group):
    path = needs_data(f"reference_tasks/{group}_filters.npz")
    tasks = RotationTasks.from_filters(path, group, size=8, queries=4, seed=3)
    assert (tasks.n_train, tasks.n_test, tasks.fields, tasks.kernel) == (800, 200, 3, 3)
    assert tasks.true_span().shape == (9 * tasks.channels, 18)
    with np.load(path) as archive:
        raw = torch.from_numpy(archive["filters"])
    assert torch.equal(tasks.filters("train", torch.tensor([0, 799])), raw[[0, 799]])
    assert torch.equal(tasks.filters("test", torch.tensor([0, 199])), raw[[800, 999]])
    e = tasks.episodes("test", torch.tensor([5]))
    torch.testing.assert_close(e.query_y[0], F.conv2d(e.query_x[0], raw[805]), rtol=1e-5, atol=1e-5)


def test_given_filters_are_split_and_read_like_any_others():
    own = family("d4", n_train=50).filters("train", torch.arange(50))
    tasks = RotationTasks.from_filters(own, "d4", size=6, queries=2, test_fraction=0.1)
    assert (tasks.n_train, tasks.n_test) == (45, 5)
    assert torch.equal(tasks.filters("train", torch.tensor([44])), own[44:45])
    assert torch.equal(tasks.filters("test", torch.tensor([4])), own[49:])
    assert span_cosine(family("d4").true_span(), tasks.true_span()) == pytest.approx(1, abs=1e-5)
    assert RotationTasks.from_filters(own.numpy(), "d4").n_test == 10


def write(path, **change):
    w = family("c4", fields=1).filters("train", torch.arange(10)).numpy()
    rho = np.stack([copies(regular(plane("c4").group), 1).matrix(g).numpy() for g in range(4)])
    arrays = {"filters": w, "rho_out": rho, **change}
    np.savez(path, **{name: a for name, a in arrays.items() if a is not None})
    return path


FILTERS = np.ones((10, 4, 1, 3, 3), np.float32)
BAD_FILES = {
    "no filters": ({"filters": None}, "has no array 'filters'"),
    "axes": ({"filters": FILTERS[:, :, 0]}, r"must be (tasks, channels, 1, kernel, kernel)"),
    "input channels": ({"filters": np.ones((10, 4, 2, 3, 3))}, r"got (10, 4, 2, 3, 3)"),
    "even": ({"filters": np.ones((10, 4, 1, 4, 4))}, "kernel odd and at least 3"),
    "oblong": ({"filters": np.ones((10, 4, 1, 3, 5))}, r"got (10, 4, 1, 3, 5)"),
    "one pixel": ({"filters": np.ones((10, 4, 1, 1, 1))}, "kernel odd and at least 3"),
    "channels": ({"filters": np.ones((10, 6, 1, 3, 3))}, "c4 needs a multiple of 4 channels (axis 1)"),
    "whole numbers": ({"filters": np.ones((10, 4, 1, 3, 3), int)}, "must be real, finite numbers; got torch.int64"),
    "nan": ({"filters": FILTERS * np.nan}, "must be real, finite numbers"),
    "objects": ({"filters": np.array([{}], object)}, "array 'filters' holds Python objects"),
    "complex": ({"filters": FILTERS + 1j}, "must be real, finite numbers; got torch.complex64"),
    "too large": (
        {"filters": 1e300 * FILTERS.astype(float)},
        "torch.float32 does not hold numbers as large as 1.0e+300",
    ),
    "too small": (
        {"filters": 1e-300 * FILTERS.astype(float)},
        "torch.float32 does not hold numbers as small as 1.0e-300",
    ),
    "moves as text": ({"rho_out": np.full((4, 4, 4), "1")}, "rho_out (4, 4, 4) does not move"),
    "moves of many": (
        {"filters": np.ones((5, 400_000, 1, 3, 3), np.float32), "rho_out": np.ones((4, 4, 4))},  # 640 GB a matrix
        "rho_out (4, 4, 4) does not move 400000 channels",
    ),
    "other order": ({"rho_out": np.stack([np.eye(4)[:, np.roll(range(4), g)] for g in range(4)])}, "does not move"),
    "other group": ({"rho_out": np.ones((8, 4, 4))}, "rho_out (8, 4, 4) does not move 4 channels as c4 does"),
    "one task": ({"filters": FILTERS[:1]}, "1 tasks; a test share of 0.2 leaves a split empty"),
}


@pytest.mark.parametrize("fault", BAD_FILES)
def test_files_that_do_not_fit_say_so(fault, tmp_path):
    change, says = BAD_FILES[fault]
    with pytest.raises(DataError) as caught:
        RotationTasks.from_filters(write(tmp_path / "a.npz", **change), "c4", size=5)
    assert says in str(caught.value)
    assert "a.npz" in str(caught.value)


def test_a_good_file_needs_no_rho_and_damaged_ones_say_so(tmp_path):
    assert RotationTasks.from_filters(write(tmp_path / "a.npz"), "c4", size=5).n_test == 2
    assert read_filters(write(tmp_path / "b.npz", rho_out=None), "c4").shape == (10, 4, 1, 3, 3)
    whole = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[:-200])
    np.save(tmp_path / "plain.npy", FILTERS)
    broken = bytearray(whole)
    broken[200:400] = bytes(200)
    (tmp_path / "broken.npz").write_bytes(broken)
    for name, says in (
        ("no.npz", "no such file"),
        ("cut.npz", "is not a whole .npz"),
        ("plain.npy", "is not a whole .npz"),
        ("broken.npz", "array 'filters' is damaged (Bad CRC-32"),
    ):
        with pytest.raises(DataError, match=re.escape(says)):
            read_filters(tmp_path / name, "c4")


BAD_OPTIONS = [
    ({"group": "c9"}, "unknown group 'c9'; known: c4, c8, d4, d8"),
    ({"kernel": 4}, "kernel must be odd and at least 3; got 4"),
    ({"kernel": 1}, "kernel must be odd and at least 3; got 1"),
    ({"size": 2}, "size must be at least the kernel's 3; got 2"),
    ({"noise": -1.0}, "noise must not be negative"),
    ({"noise": math.nan}, "noise must not be negative"),
    ({"fields": 0}, "fields must be at least 1"),
    ({"shots": 0}, "shots must be at least 1"),
    ({"queries": 0}, "queries must be at least 1"),
    ({"n_test": 0}, "at least one test task"),
    ({"given": torch.ones(7, 24, 1, 3, 3)}, "do not fit the rest; use from_filters"),
    ({"given": torch.ones(70, 8, 1, 3, 3)}, "do not fit the rest; use from_filters"),
]


@pytest.mark.parametrize(("change", "says"), BAD_OPTIONS)
def test_options_that_cannot_work_say_so(change, says):
    with pytest.raises(ConfigError, match=says):
        family(**change)


def test_calls_that_cannot_work_say_so():
    with pytest.raises(ConfigError, match="test_fraction must lie between 0 and 1"):
        RotationTasks.from_filters(FILTERS, "c4", test_fraction=1.0)
    with pytest.raises(ConfigError, match="unknown group"):
        RotationTasks.from_filters(FILTERS, "c6")
    with pytest.raises(ConfigError, match="the train split holds 50 tasks; index 50"):
        family().filters("train", torch.tensor([50]))
    for wrong in (torch.ones(2, 23, 1, 3, 3), torch.ones(24, 3, 3), torch.ones(24, 1, 3, 5)):
        with pytest.raises(ShapeError, match="c8 with 3 fields needs filters"):
            rotation_defect(wrong, "c8", 3, 1)
    assert family(n_train=None).n_tasks("train") is None


# Small images in place of large ones


@pytest.mark.parametrize(
    "change",
    [{}, {"noise": 0.7}, {"kernel": 5}, {"size": 4}, {"size": 3}, {"shots": 2, "size": 12, "noise": 0.1}],
    ids=str,
)
@pytest.mark.parametrize("group", ["c4", "d8"])
def test_condensed_tasks_have_the_same_loss_and_gradient(group, change, dtype, gen):
    """For any weight, so for every model and every inner step; also where windows are fewer than weights."""
    torch.set_default_dtype(dtype)
    tasks = family(group, **change)
    kernel, e = tasks.kernel, tasks.episodes("train", NATURAL)
    small = condensed(e, kernel).check()
    rows = kernel**2 + 1
    assert small.query_x.shape == (6, rows, 1, kernel, kernel)
    assert small.support_y.shape == (6, rows, tasks.channels, 1, 1)
    assert small.query_x.dtype == small.query_y.dtype == dtype
    near = tasks.filters("train", NATURAL)
    far = torch.randn(tasks.weight_shape, generator=gen)
    for i in range(3):
        for weight in (far, near[i] + 0.1 * far, near[i]):
            weight.requires_grad_()
            for x, y, sx, sy in (
                (e.query_x, e.query_y, small.query_x, small.query_y),
                (e.support_x, e.support_y, small.support_x, small.support_y),
            ):
                a, b = (F.mse_loss(F.conv2d(images[i], weight), y[i]) for images, y in ((x, y), (sx, sy)))
                torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-10 if dtype == torch.float32 else 1e-12)
                slopes = (torch.autograd.grad(loss, weight)[0] for loss in (a, b))
                torch.testing.assert_close(*slopes, rtol=1e-4, atol=1e-6)


def test_condensed_tasks_give_the_same_ridge_fit_and_steps(gen):
    """The real layers and the real solvers on large and on small images."""
    tasks = family("c4", size=12, noise=0.2)
    e = tasks.episodes("train", NATURAL)
    small = condensed(e, 3)
    sharing = partial(DenseSharing, k=5)
    layer = ReparamConv2d(1, tasks.channels, 3, bias=False, sharing=sharing, generator=gen)
    for solver in (Ridge(penalty=1e-2), SGD(steps=3, rate=2.0)):
        problem, shared, initial = from_module(layer)
        learner = Learner(problem, solver, batching="vmap")
        params = learner.init(shared, initial)
        a, b = (learner.adapt(params, part.support_x, part.support_y)["v"] for part in (e, small))
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
        left, right = (learner.meta_gradient(params, part) for part in (e, small))
        torch.testing.assert_close(left.losses, right.losses, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(left.gradient, right.gradient, rtol=1e-3, atol=1e-5)


def test_condensing_refuses_what_is_no_convolution():
    e = family().episodes("train", NATURAL)
    for x, y, kernel in (
        (e.support_x, e.support_y, 5),
        (e.support_x[:, :, 0], e.support_y, 3),
        (e.support_x.repeat(1, 1, 2, 1, 1), e.support_y, 3),
        (e.support_x, e.support_y[..., 0], 3),
        (e.support_x[..., :2, :2], e.support_y[..., :0, :0], 3),
    ):
        with pytest.raises(ShapeError, match=f"condensed: a kernel of {kernel} maps"):
            condensed(e._replace(support_x=x, support_y=y), kernel)


def test_odd_arguments_are_refused_and_foreign_arrays_read():
    family = RotationTasks(group="c4", size=6, n_train=4, n_test=2)
    episodes = family.episodes("train", torch.arange(2))
    with pytest.raises(ShapeError, match="same tasks and examples"):
        condensed(episodes._replace(support_y=episodes.support_y.expand(-1, 3, -1, -1, -1)), 3)
    with pytest.raises(ShapeError, match="at least one task"):
        condensed(episodes.select(slice(0, 0)), 3)
    with pytest.raises(NonFiniteError, match="nan or infinity"):
        condensed(episodes._replace(query_x=episodes.query_x * math.nan), 3)
    filters = family.filters("train", torch.arange(4))
    for element in (4, -1):
        with pytest.raises(ConfigError, match="an element of c4, 0 to 3"):
            rotation_defect(filters, "c4", 3, element)
    with pytest.raises(ConfigError, match="odd kernel"):
        rotation_defect(torch.zeros(1, 12, 1, 4, 4), "c4", 3, 1)
    with pytest.raises(DataError, match="all zero"):
        RotationTasks.from_filters(torch.zeros(10, 12, 1, 3, 3), "c4")
    foreign = filters.numpy().astype(">f4")[::-1]
    ours = RotationTasks.from_filters(foreign, "c4", test_fraction=0.25)
    torch.testing.assert_close(ours.filters("train", torch.tensor([0]))[0], filters[3])
    with pytest.raises(DataError, match="an array of numbers"):
        RotationTasks.from_filters(np.array([[None]]), "c4")
