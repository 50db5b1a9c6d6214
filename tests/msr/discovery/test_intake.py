"""What discovery takes in: every way to give tasks, and that nothing but their numbers decides the result."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from msr.discovery.data.intake import take
from msr.discovery.data.tasks import prepare
from msr.errors import ConfigError, DataError, ShapeError


def linear_tasks(gen, tasks=90, examples=12, n=4, m=3, noise=0.1):
    x = torch.randn(tasks, examples, n, generator=gen, dtype=torch.float64)
    W = torch.randn(tasks, m, n, generator=gen, dtype=torch.float64)
    return x, x @ W.mT + noise * torch.randn(tasks, examples, m, generator=gen, dtype=torch.float64)


def as_given(data):
    """``x`` and ``y`` of each task in the units, and with the examples in the order, of the caller."""
    tasks = [None] * len(data.x)
    for slot in range(len(data.x)):
        count = int(data.counts[slot])
        sides = []
        for values, means, units in zip((data.x, data.y), data.means, data.units, strict=True):
            back = (values[slot, :count] + means[slot]) * torch.from_numpy(units)
            sides.append(back[data.positions[slot, :count].argsort()])
        tasks[slot] = sides
    return [tasks[slot] for slot in data.origin.argsort()]


def same(a, b):
    """Whether two sets of prepared tasks are equal, whatever places the tasks had in what the caller gave."""
    return a.x.shape == b.x.shape and torch.allclose(a.x, b.x, atol=1e-9) and torch.allclose(a.y, b.y, atol=1e-9)


# ------------------------------------------------------------------------------------------------ centred, and in order


def test_each_task_is_less_its_own_mean_and_nothing_is_lost(gen):
    x, y = linear_tasks(gen)
    x += 10 * torch.randn(90, 1, 4, generator=gen, dtype=torch.float64)
    data = prepare(x, y)
    assert data.x.mean(1).abs().max() < 1e-14
    assert data.y.mean(1).abs().max() < 1e-14
    assert data.left_out == ()
    assert data.too_few is None
    assert data.null_directions.shape == (4, 0)
    for (a, b), c, d in zip(as_given(data), x, y, strict=True):
        torch.testing.assert_close(a, c)
        torch.testing.assert_close(b, d)


CHANGES = {
    "tasks": lambda x, y, gen: (lambda p: (x[p], y[p]))(torch.randperm(len(x), generator=gen)),
    "examples": lambda x, y, gen: (lambda p: (x[:, p], y[:, p]))(torch.randperm(x.shape[1], generator=gen)),
    "units": lambda x, y, gen: (x * 0.37, y * 1e5),
    "offsets": lambda x, y, gen: (x + 100, y - torch.randn(len(y), 1, 3, generator=gen, dtype=torch.float64)),
    "signs": lambda x, y, gen: (x, -y),
    "copies": lambda x, y, gen: (torch.cat([x, x[:40].flip(1)]), torch.cat([y, y[:40].flip(1)])),
    "repeats": lambda x, y, gen: (torch.cat([x, x[:, 3:5]], 1), torch.cat([y, y[:, 3:5]], 1)),
}


@pytest.mark.parametrize("change", [*CHANGES, "all"])
def test_the_order_depends_on_the_numbers_alone(change, gen):
    x, y = linear_tasks(gen)
    a, b = x, y
    for one in CHANGES if change == "all" else (change,):
        a, b = CHANGES[one](a, b, gen)
    plain, changed = prepare(x, y), prepare(a, b)
    assert torch.equal(plain.counts, changed.counts)
    torch.testing.assert_close(changed.x, plain.x)
    torch.testing.assert_close(changed.y, -plain.y if change in ("signs", "all") else plain.y)


def test_labels_signs_and_precision_of_coordinates_change_no_order(gen):
    x, y = linear_tasks(gen)
    p, signs = torch.tensor([2, 0, 3, 1]), torch.tensor([1.0, -1.0, -1.0, 1.0])
    plain, changed = prepare(x, y), prepare(x[:, :, p] * signs, y[:, :, [1, 2, 0]])
    torch.testing.assert_close(changed.x, plain.x[:, :, p] * signs)
    torch.testing.assert_close(changed.y, plain.y[:, :, [1, 2, 0]])
    single = prepare(x.float(), y.float())
    assert (single.origin == plain.origin).all()
    assert torch.equal(single.positions, plain.positions)


def test_equal_inputs_leave_the_order_to_the_outputs(gen):
    """Fixed patterns: the inputs of all tasks are the same, and some of their examples have one size."""
    sizes = 0.1 * torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64).repeat_interleave(4)[:, None]
    x = torch.eye(4, dtype=torch.float64).repeat(90, 3, 1) * sizes
    y = torch.randn(90, 12, 3, generator=gen, dtype=torch.float64)
    p, q = torch.randperm(90, generator=gen), torch.randperm(12, generator=gen)
    plain, changed = prepare(x, y), prepare(x[p][:, q], y[p][:, q])
    assert same(plain, changed)
    assert (p.numpy()[changed.origin] == plain.origin).all()


def test_tasks_and_examples_are_in_no_sorted_order(gen):
    """Any half of the tasks, or of a task's examples, is like the other: ranks are shuffled, in each task anew."""
    data = prepare(*linear_tasks(gen))
    sizes = data.x.square().sum(2)
    assert not (sizes[:, 1:] >= sizes[:, :-1]).all(1).any()
    ranks = sizes.argsort(1)
    assert len(torch.unique(ranks, dim=0)) == 90
    assert abs(float(sizes[:45].mean() / sizes[45:].mean()) - 1) < 0.2


def test_another_seed_is_another_order(gen):
    x, y = linear_tasks(gen)
    assert same(prepare(x, y, seed=3), prepare(x, y, seed=3))
    assert not same(prepare(x, y, seed=0), prepare(x, y, seed=1))


# --------------------------------------------------------------------------------------------------- ways to give tasks


def test_lists_and_pairs_are_tasks(gen):
    x, y = linear_tasks(gen)
    plain = prepare(x, y)
    for a, b in (
        (list(x), list(y)),
        (list(x.numpy()), tuple(y.numpy())),
        (list(zip(x, y, strict=True)), None),
        ([(a.numpy(), b.tolist()) for a, b in zip(x, y, strict=True)], None),
        (x.tolist(), y.tolist()),
        (x.numpy(), y.numpy()),
    ):
        other = prepare(a, b)
        assert torch.equal(other.x, plain.x)
        assert torch.equal(other.positions, plain.positions)


def test_one_output_needs_no_axis(gen):
    x, y = linear_tasks(gen, m=1)
    plain = prepare(x, y)
    assert torch.equal(prepare(x, y[:, :, 0]).y, plain.y)
    assert torch.equal(prepare(list(x), list(y[:, :, 0])).y, plain.y)
    assert prepare(x, y[:, :, 0]).shape_out == (1,)


def test_tasks_of_unequal_length(gen):
    x, y = linear_tasks(gen)
    counts = torch.randint(5, 13, (90,), generator=gen)
    pairs = [(a[:c], b[:c]) for a, b, c in zip(x, y, counts, strict=True)]
    data = prepare(pairs)
    assert torch.equal(data.counts, counts[torch.from_numpy(data.origin)])
    rows = torch.arange(data.x.shape[1])
    past = rows >= data.counts[:, None]
    assert (data.x[past] == 0).all()
    assert (data.y[past] == 0).all()
    assert (data.positions[past] == -1).all()
    assert data.x.sum(1).abs().max() < 1e-12
    for (a, b), (c, d) in zip(as_given(data), pairs, strict=True):
        torch.testing.assert_close(a, c)
        torch.testing.assert_close(b, d)
    mixed = [(a[p], b[p]) for a, b in pairs for p in (torch.randperm(len(a), generator=gen),)]
    assert same(prepare(mixed[::-1]), data)


def test_missing_values_cost_their_example_and_are_counted(gen):
    x, y = linear_tasks(gen)
    x[3, 2, 1] = math.nan
    x[3, 5, 0] = math.inf
    y[7, :, 2] = math.nan
    y[8, 1:11, 0] = -math.inf
    data = prepare(x, y)
    assert data.left_out == (
        "24 examples with missing or infinite values, in 3 tasks",
        "2 tasks with fewer than 3 different examples",
    )
    assert len(data.x) == 88
    assert sorted(set(range(90)) - set(data.origin)) == [7, 8]
    slot = int(np.flatnonzero(data.origin == 3)[0])
    assert data.counts[slot] == 10
    assert sorted(data.positions[slot, :10].tolist()) == [0, 1, 3, 4, 6, 7, 8, 9, 10, 11]
    assert data.x.isfinite().all()


def test_equal_examples_count_once_and_so_do_equal_tasks(gen):
    x, y = linear_tasks(gen, examples=8)
    plain = prepare(x, y)
    thrice = prepare(x.repeat(1, 3, 1), y.repeat(1, 3, 1))
    assert thrice.left_out == ("1,440 examples equal to another one of their task, in 90 tasks",)
    assert same(thrice, plain)
    # The copies have their examples in another order, and some of them twice.
    again = [(a, b) for a, b in zip(x, y, strict=True)]
    again += [(torch.cat([a.flip(0), a[:2]]), torch.cat([b.flip(0), b[:2]])) for a, b in again[:30]]
    copied = prepare(again)
    assert copied.left_out[-1] == "30 tasks that repeat another one"
    assert copied.x.shape[0] == 90
    assert (torch.from_numpy(copied.origin) < 90).all()


def test_zeros_of_either_sign_are_equal(gen):
    x, y = linear_tasks(gen, examples=6)
    x[0, 0], x[0, 1] = 0.0, -0.0
    y[0, 1] = y[0, 0]
    assert "1 example equal" in prepare(x, y).left_out[0]


def test_what_is_equal_in_inputs_or_outputs_alone_is_kept(gen):
    x, y = linear_tasks(gen)
    x[:, 1] = x[:, 0]
    y[:, 3] = y[:, 2]
    for a, b in ((x, y), (x[:1].expand(90, -1, -1), y), (x, y[:1].expand(90, -1, -1))):
        assert prepare(a, b).left_out == ()


@pytest.mark.parametrize("grid", [torch.arange(4.0), torch.tensor([0.0, 1.0, -1.0, 0.5])])
def test_small_whole_numbers_are_told_apart(grid):
    """A hash of numbers with few bits has to mix them all the same."""
    x = torch.cartesian_prod(*[grid] * 5)
    taken = take([x], [x.sum(1)])
    assert taken.notes == ()
    assert int(taken.present.sum()) == 4**5


def test_a_task_is_fresh_if_all_of_its_copies_are(gen):
    x, y = linear_tasks(gen, tasks=120)
    x[110:114], y[110:114] = x[[0, 1, 70, 71]], y[[0, 1, 70, 71]]
    fresh = torch.zeros(120, dtype=torch.bool)
    fresh[60:] = True
    data = prepare(x, y, fresh=fresh)
    assert sorted(data.origin[data.fresh.numpy()]) == [*range(60, 110), *range(114, 120)]
    fresh[0], fresh[112] = True, False  # copies of 110 and 70
    again = prepare(x, y, fresh=fresh.numpy())
    assert sorted(again.origin[again.fresh.numpy()]) == [0, *range(60, 70), *range(71, 110), *range(114, 120)]
    assert prepare(x, y).fresh is None


@pytest.mark.parametrize(
    ("rows", "inputs", "said"),
    [
        (2400, 9, "one data set: its 2,400 rows were cut into 100 tasks of 24"),
        (1000, 9, "one data set: its 1,000 rows were cut into 83 tasks of 12 or 13"),
        (20000, 2, "one data set: its 20,000 rows were cut into 400 tasks of 50"),
        (485, 40, "one data set: its 485 rows were cut into 80 tasks of 6 or 7"),
    ],
)
def test_one_data_set_is_cut_in_the_order_of_its_rows(rows, inputs, said, gen):
    x = torch.randn(rows, inputs, generator=gen)
    data = prepare(x, x @ torch.randn(inputs, 2, generator=gen))
    assert data.left_out == (said,)
    assert data.too_few is None
    together = torch.cat([a for a, _ in as_given(data)])
    torch.testing.assert_close(together, x.double())
    assert prepare(x, x.sum(1)).shape_out == (1,)


def test_a_short_data_set_is_too_few_pieces(gen):
    x = torch.randn(470, 4, generator=gen)
    data = prepare(x, x)
    assert data.too_few == "got 78 pieces of one data set; at least 80 are needed"


def test_rows_of_one_data_set_count_once_wherever_they_stand(gen):
    x = torch.randn(1000, 3, generator=gen)
    x[500:600] = x[:100]
    x[7, 1] = math.nan
    data = prepare(x, x @ torch.randn(3, 2, generator=gen))
    assert data.left_out[:2] == (
        "1 example with missing or infinite values",
        "99 examples equal to another one of their task",
    )
    assert int(data.counts.sum()) == 900


def test_as_many_tasks_as_are_needed(gen):
    x, y = linear_tasks(gen, tasks=300)
    assert prepare(x[:80], y[:80]).too_few is None
    assert prepare(x[:79], y[:79]).too_few == "got 79 different tasks; at least 80 are needed"
    for n_fresh, enough in ((19, False), (20, True), (240, True), (241, False)):
        few = prepare(x, y, fresh=torch.arange(300) < n_fresh).too_few
        assert (few is None) is enough, n_fresh


@pytest.mark.parametrize("examples", [1, 2])
def test_tasks_of_two_examples_are_left_out(examples, gen):
    x, y = linear_tasks(gen, examples=examples)
    data = prepare(x, y)
    assert data.too_few == "no task has 3 different examples; give more examples a task"
    assert data.x.shape == (0, examples, 4)


# ------------------------------------------------------------------------------------------ coordinates that say little


def test_a_task_that_never_varies_is_left_out_and_a_coordinate_that_does_not_in_one_is_kept(gen):
    x, y = linear_tasks(gen)
    x[4] = 1.5
    y[5] = 0.1
    x[6, :, 2] = 0.3
    data = prepare(x, y)
    assert data.left_out == ("2 tasks whose inputs or outputs never vary",)
    assert sorted(set(range(90)) - set(data.origin)) == [4, 5]
    slot = int(np.flatnonzero(data.origin == 6)[0])
    assert (data.x[slot, :, 2] == 0).all()
    assert data.n == 4


def test_coordinates_that_vary_in_no_task_are_left_out(gen):
    x, y = linear_tasks(gen)
    own = torch.randn(90, 1, 2, generator=gen, dtype=torch.float64).expand(-1, 12, -1)
    data = prepare(torch.cat([own, x], 2), torch.cat([y, own[:, :, :1]], 2))
    assert data.left_out == (
        "2 input coordinates that never vary within a task",
        "1 output coordinate that never varies within a task",
    )
    assert data.inputs.tolist() == [2, 3, 4, 5]
    assert data.outputs.tolist() == [0, 1, 2]
    assert (data.n, data.m) == (4, 3)


def test_large_offsets_cost_nothing_where_there_are_digits(gen):
    x, y = linear_tasks(gen)
    plain, moved = prepare(x, y), prepare(x + 1e6, y - 3e7)
    assert moved.left_out == ()
    torch.testing.assert_close(moved.x, plain.x, atol=1e-8, rtol=0)
    torch.testing.assert_close(moved.y, plain.y, atol=1e-7, rtol=0)
    with pytest.raises(DataError, match="subtract the offset"):
        prepare((x + 1e6).float(), y)
    with pytest.raises(DataError, match="the outputs vary less than ten times the rounding"):
        prepare(x, (y + 1e8).float().double())
    rough = prepare((x + 2e5).float(), y)
    assert rough.left_out == (
        "digits of 4 input coordinates: rounding is more than 1% of what varies, beside a large offset; subtract it "
        "before rounding",
    )
    # Whole numbers that float32 can count were not rounded.
    assert prepare((3 * x).round() + 1e6, y).left_out == ()


def test_a_coordinate_that_varies_by_rounding_alone_is_left_out(gen):
    x, y = linear_tasks(gen)
    jitter = 0.1 + 1.4e-17 * torch.randint(0, 3, (90, 12, 1), generator=gen).double()
    assert jitter.min() < jitter.max()
    data = prepare(torch.cat([x, jitter], 2), y)
    assert data.inputs.tolist() == [0, 1, 2, 3]
    assert data.left_out == ("1 input coordinate that never varies within a task",)


def test_coordinates_of_like_size_share_a_unit(gen):
    x, y = linear_tasks(gen)
    scale = torch.tensor([1.0, 2.0, 1e5, 1.5e5])
    data = prepare(x * scale + 1e6, y)
    assert len(set(data.units[0])) == 2
    assert data.units[0][0] == data.units[0][1]
    assert data.units[0][2] == data.units[0][3]
    assert len(set(data.units[1])) == 1
    assert (data.labels == np.array([[0, 0, 1, 1]] * 3)).all()
    assert prepare(x, y).labels is None
    # A weight in the prepared units, times the factors, is one in those of the caller.
    slot = int(data.origin[0])
    W = torch.linalg.lstsq(data.x[0], data.y[0]).solution.mT * torch.from_numpy(data.factors)
    a = (x * scale)[slot] - (x * scale)[slot].mean(0)
    own = torch.linalg.lstsq(a, y[slot] - y[slot].mean(0)).solution.mT
    torch.testing.assert_close(W, own)


def test_units_are_those_of_what_varies_within_a_task(gen):
    """Offsets of tasks, however large, are no size of a coordinate."""
    x, y = linear_tasks(gen)
    offsets = torch.tensor([0.0, 1e3, 0.0, 1e5]) * torch.randn(90, 1, 4, generator=gen, dtype=torch.float64)
    data = prepare(x + offsets, y + 1e4 * torch.randn(90, 1, 3, generator=gen, dtype=torch.float64))
    assert data.labels is None
    assert 0.9 < data.units[0][0] < 1.1
    assert data.left_out == ()


def test_loud_tasks_count_as_five_times_the_usual(gen):
    x, y = linear_tasks(gen)
    offset = 1e4 * torch.randn(90, 1, 3, generator=gen, dtype=torch.float64)
    assert prepare(x, y + offset).left_out == ()
    y[11] *= 1e3
    data = prepare(x, y)
    assert "the excess of 1 task with outputs of more than 5 times the usual size" in data.left_out[0]
    sizes = data.y.square().mean((1, 2)).sqrt()
    assert float(sizes.max() / sizes.median()) == pytest.approx(5, rel=0.1)
    slot = int(sizes.argmax())
    assert data.origin[slot] == 11
    # Its bias is made less with its weights.
    share = y[11].mean(0).norm() / (y[11] - y[11].mean(0)).square().mean().sqrt()
    torch.testing.assert_close(data.means[1][slot].norm() / sizes[slot], share)


# ------------------------------------------------------------------------------------------------------ null directions


def dependent_inputs(kind, gen):
    if kind == "adding to zero":
        x = torch.randn(90, 20, 6, generator=gen, dtype=torch.float64)
        return x - x.mean(2, keepdim=True)
    if kind == "composition":
        return torch.softmax(torch.randn(90, 20, 6, generator=gen, dtype=torch.float64), 2)
    hot = torch.randint(3, (90, 20, 2), generator=gen)
    return F.one_hot(hot, 3).flatten(2)


@pytest.mark.parametrize(
    ("kind", "said", "directions"),
    [
        ("adding to zero", "never take 1 of 6 directions (they add up to a constant)", [[1] * 6]),
        ("composition", "never take 1 of 6 directions (they add up to a constant)", [[1] * 6]),
        (
            "one-hot blocks",
            "never take 2 of 6 directions (those of each of several sets add up to a constant)",
            [[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]],
        ),
    ],
)
def test_null_directions_of_the_inputs(kind, said, directions, gen):
    x = dependent_inputs(kind, gen)
    W = torch.randn(90, 3, 6, generator=gen, dtype=torch.float64)
    data = prepare(x, x.double() @ W.mT)
    assert data.left_out[-1] == f"the inputs {said}: weights there count as zero"
    null = torch.tensor(directions, dtype=torch.float64).mT
    null = null / null.norm(dim=0)
    torch.testing.assert_close(data.null_directions @ data.null_directions.mT, null @ null.mT, atol=1e-9, rtol=0)
    # There the inputs are noise as large as elsewhere, centred, and the outputs do not follow it.
    along = data.x @ data.null_directions
    assert along.mean(1).abs().max() < 1e-12
    assert 0.5 < float(along.square().mean() / data.x.square().mean()) < 2
    for slot in range(5):
        weights = torch.linalg.lstsq(data.x[slot], data.y[slot]).solution.mT
        assert (weights @ data.null_directions).abs().max() < 1e-9
    seen = data.x - along @ data.null_directions.mT
    torch.testing.assert_close(seen @ data.null_directions, torch.zeros_like(along), atol=1e-9, rtol=0)


def test_null_directions_that_are_no_sums_are_called_combinations(gen):
    x, y = linear_tasks(gen)
    data = prepare(torch.cat([x, 2 * x[:, :, :1] - x[:, :, 1:2]], 2), y)
    assert data.left_out == (
        "the inputs never take 1 of 5 directions (a combination of them is constant): weights there count as zero",
    )
    some = torch.cat([x, -x[:, :, 1:2]], 2)
    assert "(2 of them add up to a constant)" in prepare(some, y).left_out[0]


def test_a_direction_is_one_of_the_inputs_in_their_own_sizes(gen):
    """Sizes that differ a little have one unit, and what adds up to zero must still be all ones."""
    x = torch.randn(90, 20, 5, generator=gen, dtype=torch.float64) * torch.tensor([1.0, 1.2, 1.4, 0.7, 0.9])
    x = torch.cat([x, -x.sum(2, keepdim=True)], 2)
    data = prepare(x, x[:, :, :2])
    assert data.labels is None
    torch.testing.assert_close(data.null_directions.abs(), torch.full((6, 1), 6**-0.5, dtype=torch.float64))


@pytest.mark.parametrize("kind", ["adding to zero", "composition", "one-hot blocks"])
def test_the_noise_in_null_directions_moves_with_the_labels(kind, gen):
    x = dependent_inputs(kind, gen).double()
    W = torch.randn(90, 3, 6, generator=gen, dtype=torch.float64)
    y = x @ W.mT + 0.1 * torch.randn(90, 20, 3, generator=gen, dtype=torch.float64)
    p = torch.tensor([4, 2, 5, 0, 3, 1])
    plain, moved, signs = prepare(x, y), prepare(x[:, :, p] * 3, y), prepare(-x, y)
    torch.testing.assert_close(moved.x, plain.x[:, :, p], atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(signs.x, -plain.x, atol=1e-9, rtol=1e-9)
    assert not torch.allclose(prepare(x, y, seed=1).x, plain.x)


def test_a_direction_that_is_rarely_taken_is_no_null_direction(gen):
    x = dependent_inputs("adding to zero", gen)
    x[3, 4, 0] += 0.1
    assert prepare(x, x).null_directions.shape == (6, 0)


# --------------------------------------------------------------------------------------------------------- convolutions

CONVOLUTIONS = {
    "plain": ((1, 7), 3, {}),
    "inferred": ((1, 7), None, {}),
    "stride": ((1, 9), 3, {"stride": 2}),
    "padding": ((1, 6), 3, {"padding": 2}),
    "same": ((2, 6), 3, {"padding": "same"}),
    "same, even": ((1, 6), 4, {"padding": "same"}),
    "circular": ((1, 6), 3, {"circular": True}),
    "circular, stride": ((1, 6), 3, {"circular": True, "stride": 2}),
    "tuple": ((2, 5, 6), (3, 2), {}),
    "tuple, inferred": ((2, 5, 6), None, {}),
    "tuple, same": ((1, 5, 6), (3, 2), {"padding": "same"}),
    "tuple, circular": ((1, 4, 5), (3, 2), {"circular": True}),
    "all axes": ((1, 8, 9), (3, 2), {"stride": (2, 1), "padding": (1, 0)}),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_windows_are_those_of_the_convolution(name, gen):
    (channels, *space), kernel, options = CONVOLUTIONS[name]
    axes = len(space)
    taps = kernel if kernel is not None else ((3,) if axes == 1 else (3, 2))
    taps = (taps,) * axes if isinstance(taps, int) else taps
    x = torch.randn(85, 4, channels, *space, generator=gen, dtype=torch.float64)
    W = torch.randn(85, 2, channels, *taps, generator=gen, dtype=torch.float64)
    convolution = F.conv1d if axes == 1 else F.conv2d
    rest = {key: value for key, value in options.items() if key != "circular"}
    around = [side for k in reversed(taps) for side in ((k - 1) // 2, k - 1 - (k - 1) // 2)]
    padded = F.pad(x.flatten(0, 1), around, mode="circular").unflatten(0, (85, 4)) if "circular" in options else x
    y = torch.stack([convolution(a, w, **rest) for a, w in zip(padded, W, strict=True)])
    data = prepare(x, y, layer=f"conv{axes}d", kernel=kernel, **options)
    assert data.shape_in == (channels, *taps)
    assert data.shape_out == (2,)
    assert data.x.shape == (85, 4 * math.prod(y.shape[3:]), channels * math.prod(taps))
    origin = torch.from_numpy(data.origin)
    factors = torch.from_numpy(data.factors)
    weights = W[origin].flatten(2) / factors
    torch.testing.assert_close(data.x @ weights.mT, data.y, atol=1e-9, rtol=0)
    assert (data.positions.sort(1).values == torch.arange(data.x.shape[1])).all()


def test_unequal_numbers_of_images(gen):
    pairs = []
    for i in range(80):
        x = torch.randn(2 + i % 3, 1, 7, generator=gen)
        pairs.append((x, F.conv1d(x, torch.randn(1, 1, 3, generator=gen))))
    data = prepare(pairs, layer="conv1d")
    assert torch.equal(data.counts, torch.from_numpy(5 * (2 + data.origin % 3)))
    first = int(np.flatnonzero(data.origin == 0)[0])
    assert sorted(data.positions[first, :10].tolist()) == list(range(10))


def test_the_taps_of_a_tuple_kernel_keep_their_distances(gen):
    x = torch.randn(80, 3, 1, 5, 6, generator=gen)
    data = prepare(x, x[:, :, :, 1:-1, :-1], layer="conv2d", kernel=(3, 2))
    # Two taps apart along an axis of three, and one along that of two.
    assert data.ties[0, 4] == 8
    assert data.ties[0, 1] == 2
    assert prepare(*linear_tasks(gen)).ties is None


# --------------------------------------------------------------------------------------------------- what is refused

X, Y = torch.ones(90, 5, 2), torch.ones(90, 5, 3)
IMAGES = torch.randn(90, 5, 1, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("x", "y", "options", "error", "says"),
    [
        (X * math.nan, Y, {}, DataError, "every example holds a nan or an infinity"),
        (np.array([[None]]), Y, {}, DataError, "got an array of object"),
        (np.array([X[0].numpy(), 3], dtype=object), Y, {}, DataError, "got an array of object"),
        (X, IMAGES[:, :, 0], {}, DataError, "the inputs never vary within a task"),
        (IMAGES[:, :, 0], Y, {}, DataError, "the outputs never vary within a task"),
        (X.bool(), Y, {}, ShapeError, "must be real numbers"),
        (X + 1j, Y, {}, ShapeError, "must be real numbers"),
        (X[:, :0], Y, {}, DataError, "x is empty"),
        (X, Y[:80], {}, ShapeError, r"x has \(90, 5\) tasks and examples, y has \(80, 5\)"),
        (X[0], Y[0, :3], {}, ShapeError, "with as many rows in both"),
        (X, Y[0, 0], {}, ShapeError, r"must be \(tasks, examples"),
        (X[0, :, 0], Y[0], {}, ShapeError, r"must be \(rows, inputs\)"),
        (X, None, {}, DataError, "x must be a list of pairs"),
        ([], None, {}, DataError, "x must be a list of pairs"),
        ([(X[0], Y[0]), X[1]], None, {}, DataError, "entry 1 is a Tensor of shape"),
        ([(X[0], Y[0]), (X[1], Y[1, :3])], None, {}, ShapeError, "task 1 has 5 examples in x and 3 in y"),
        ([(X[0], Y[0]), (X[1, :, :1], Y[1])], None, {}, ShapeError, r"in x\[0\] they are \(2,\), in x\[1\] \(1,\)"),
        ([(X[0], "y")], None, {}, DataError, r"y\[0\] must be a tensor"),
        (list(X), list(Y)[:3], {}, ShapeError, "x is a list of 90 tasks and y of 3"),
        (X, Y, {"fresh": torch.ones(3)}, ShapeError, "of each of the 90 tasks"),
        (X[0], Y[0], {"fresh": torch.ones(5)}, ConfigError, "one data set has no tasks"),
        (X, Y, {"stride": 2}, ConfigError, "belong to a convolution"),
        (X, Y, {"padding": "same"}, ConfigError, "belong to a convolution"),
        (X, Y, {"layer": "conv3d"}, ConfigError, "must be linear, conv1d or conv2d"),
        (X, Y, {"layer": "conv1d", "kernel": 3}, ShapeError, "needs x and y of"),
        (IMAGES, IMAGES, {"layer": "conv1d"}, ConfigError, "give the kernel of conv1d"),
        (
            IMAGES,
            IMAGES,
            {"layer": "conv1d", "kernel": (3, 3)},
            ConfigError,
            "kernel must be a number from 1 on, or 1 of",
        ),
        (IMAGES, IMAGES, {"layer": "conv1d", "kernel": 3, "padding": "full"}, ConfigError, "got 'full'"),
        (IMAGES, IMAGES, {"layer": "conv1d", "kernel": 3, "padding": "same", "stride": 2}, ConfigError, "a stride"),
        (IMAGES, IMAGES, {"layer": "conv1d", "kernel": 3, "padding": 1, "circular": True}, ConfigError, "no padding"),
        (IMAGES, IMAGES, {"layer": "conv1d", "kernel": 3, "padding": -1}, ConfigError, "from 0 on"),
        (IMAGES, IMAGES, {"layer": "conv1d", "kernel": 3}, ShapeError, r"makes \[4\] positions"),
        (
            [(IMAGES[0], IMAGES[0]), (IMAGES[1, :, :, :5], IMAGES[1, :, :, :5])],
            None,
            {"layer": "conv1d", "kernel": 3, "padding": 1},
            ShapeError,
            "must have one shape",
        ),
    ],
)
def test_bad_input(x, y, options, error, says):
    with pytest.raises(error, match=says):
        prepare(x, y, **options)
