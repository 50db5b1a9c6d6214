"""Data on which discovery must not be wrong: offsets, nonlinear tasks, exceptions, copies, dependent inputs.

And changes of a file that say nothing about the symmetry, which must change no answer.
"""

from functools import cache

import numpy as np
import pytest
import torch

from msr.discovery import discover
from msr.discovery.pattern import candidates
from msr.permutations import orbitals
from tests.msr.discovery.test_discovery_parts import cycle, frucht, heat


def ring(n, flips=True):
    """Orbits of D_n (or C_n) on pairs of points of a ring."""
    i = np.arange(n)
    d = (i[None] - i[:, None]) % n
    return np.minimum(d, n - d) if flips else d


def blocks(count, size):
    """Orbits of S_size wr S_count on pairs of points: the same, in one block, in two."""
    block = np.arange(count * size) // size
    return np.where(np.eye(count * size, dtype=bool), 0, np.where(block[None] == block[:, None], 1, 2))


def linear_tasks(orbits, offset=0.0, noise=0.1, tasks=160, examples=16, seed=0, breaking=None, inputs=None):
    """``y = W x + noise``, W constant on the orbits ``(n, n)``; noise in units of what varies within a task."""
    draw = np.random.default_rng(seed)
    n = len(orbits)
    W = draw.normal(size=(tasks, orbits.max() + 1))[:, orbits] / np.sqrt(n)
    if breaking is not None:
        W = W + breaking(draw, W)
    x = draw.normal(size=(tasks, examples, n)) if inputs is None else inputs(draw, (tasks, examples, n))
    moving = np.einsum("tij,tej->tei", W, x)
    y = np.einsum("tij,tej->tei", W, x + offset) + noise * moving.std() * draw.normal(size=moving.shape)
    return torch.from_numpy(x + offset), torch.from_numpy(y)


def orbits_of(found):
    """The orbitals of the group that is named, ``(out, in)``; None where none is."""
    if found.group is None:
        return None
    p, q = found.generators()
    return orbitals(p, q).reshape(q.shape[1], p.shape[1])


def same_partition(a, b):
    pairs = np.unique(np.stack([a.ravel(), b.ravel()]), axis=1).shape[1]
    return pairs == len(np.unique(a)) == len(np.unique(b))


# ----------------------------------------------------------------------------- changes that say nothing of the symmetry


def of_d5():
    return linear_tasks(ring(5), examples=14)


def of_blocks():
    return linear_tasks(blocks(3, 2), tasks=140, seed=1)


def of_nothing():
    """Weights of a span of four random directions."""
    draw = np.random.default_rng(0)
    W = np.einsum("tk,kij->tij", draw.normal(size=(140, 4)), draw.normal(size=(4, 4, 4)))
    x = draw.normal(size=(140, 14, 4))
    y = np.einsum("tij,tej->tei", W, x)
    return torch.from_numpy(x), torch.from_numpy(y + 0.1 * y.std() * draw.normal(size=y.shape))


FILES = {"D5": (of_d5, 10), "S2 wr S3": (of_blocks, 48), "none": (of_nothing, None)}


@cache
def before(name):
    return discover(*FILES[name][0]())


def shuffled(x, y, draw):
    tasks = torch.randperm(len(x), generator=draw)
    return x[tasks], y[tasks]


def shuffled_examples(x, y, draw):
    order = torch.rand(x.shape[:2], generator=draw).argsort(1)[:, :, None]
    return x.gather(1, order.expand_as(x)), y.gather(1, order.expand_as(y))


def in_other_units(x, y, draw):
    return x * 3.7e4, y * 1.3e-3


def of_other_sign(x, y, draw):
    return -x, y


def in_float32(x, y, draw):
    return x.float(), y.float()


def with_copies(x, y, draw):
    return torch.cat([x, x[:30]]), torch.cat([y, y[:30]])


def on_an_offset(x, y, draw):
    return x + 7.0, y - 30.0


def together(x, y, draw):
    for change in CHANGES[:-1]:
        x, y = change(x.double(), y.double(), draw)
    return x, y


CHANGES = (
    shuffled, shuffled_examples, in_other_units, of_other_sign, in_float32, with_copies, on_an_offset, together
)  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", FILES)
def test_changes_that_say_nothing_of_the_symmetry_change_no_answer(name, change):
    first = before(name)
    found = discover(*change(*FILES[name][0](), torch.Generator().manual_seed(3)))
    assert found.verdict == first.verdict == ("none" if FILES[name][1] is None else "found")
    if first.group is not None:
        assert found.group.order == first.group.order == FILES[name][1]
        assert same_partition(orbits_of(found), orbits_of(first))


@pytest.mark.parametrize("name", FILES)
def test_relabelled_coordinates_relabel_the_answer(name):
    first, (x, y) = before(name), FILES[name][0]()
    draw = torch.Generator().manual_seed(5)
    ins, outs = torch.randperm(x.shape[2], generator=draw), torch.randperm(y.shape[2], generator=draw)
    found = discover(x[:, :, ins], y[:, :, outs])
    assert found.verdict == first.verdict
    if first.group is not None:
        assert same_partition(orbits_of(found), orbits_of(first)[np.ix_(outs, ins)])


def test_another_seed_is_another_split_and_the_same_answer():
    x, y = of_d5()
    for seed in (1, 2):
        found = discover(x, y, seed=seed)
        assert found.group.order == 10
        assert same_partition(orbits_of(found), orbits_of(before("D5")))


# ------------------------------------------------------------------------------------------ what must not be certified


@pytest.mark.parametrize(("n", "amplitude"), [(6, 0.5), (6, 1.0)])
def test_a_nonlinear_part_that_breaks_the_larger_group_is_seen(n, amplitude):
    """``x + a tanh(3 conv x)²`` commutes with C_n; its linear part, which is x, with all of S_n."""
    draw = np.random.default_rng(0)
    filters = draw.normal(size=(200, n))[:, ring(n, flips=False)] / np.sqrt(n)
    x = draw.normal(size=(200, 24, n))
    y = x + amplitude * np.tanh(3 * np.einsum("tij,tej->tei", filters, x)) ** 2
    found = discover(x, y)
    assert found.verdict == "cannot tell"
    assert "the tasks are not linear" in found.sentence
    assert found.group is None


def test_linear_tasks_are_not_called_nonlinear_for_heavy_tails():
    draw = np.random.default_rng(1)
    x, y = linear_tasks(ring(4, flips=False), noise=0.0, seed=1)
    y = y + 0.05 * torch.from_numpy(draw.standard_t(2.5, y.shape))
    found = discover(x, y)
    assert found.group.order == 4
    assert found.certificate.linear


@pytest.mark.parametrize(
    ("orbits", "order"), [(blocks(3, 2), 48), (ring(7), 14), (ring(5, flips=False), 5)], ids=["blocks", "D7", "C5"]
)
def test_an_offset_of_the_inputs_changes_no_name(orbits, order):
    for offset in (10.0, 100.0):
        found = discover(*linear_tasks(orbits, offset=offset))
        assert (found.verdict, found.group.order) == ("found", order)


def skew(draw, W, share, size):
    """Weights that C3 allows and S3 does not, in a random share of the tasks."""
    rare = (draw.random(len(W)) < share)[:, None, None]
    turn = np.where(ring(3, flips=False) == 1, 1.0, np.where(ring(3, flips=False) == 2, -1.0, 0.0))
    return rare * turn * draw.normal(size=(len(W), 1, 1)) * size


def test_rare_exceptions_are_listed():
    """Two tasks in a hundred break S3: where it is named, those that were seen are listed by their places."""
    listed = 0
    for seed in range(3):
        x, y = linear_tasks(
            ring(3), noise=0.05, tasks=120, examples=12, seed=seed, breaking=lambda draw, W: skew(draw, W, 0.02, 1.2)
        )
        found = discover(x, y)
        if found.group is not None and found.group.order == 6:
            assert "of the tasks may be exceptions" in found.sentence
            for place in found.certificate.exceptions:
                w = torch.linalg.lstsq(x[place], y[place]).solution.T
                assert abs(w[0, 1] - w[1, 0]) > 0.1
            listed += len(found.certificate.exceptions)
    assert listed > 0


def test_frequent_exceptions_break_the_group():
    x, y = linear_tasks(ring(3), noise=0.05, breaking=lambda draw, W: skew(draw, W, 0.3, 1.2))
    found = discover(x, y)
    assert found.group is None or found.group.order == 3


def test_repeated_examples_do_not_count_twice():
    """Eight examples, each three times, of tasks with D6."""
    x, y = linear_tasks(ring(6), examples=8, tasks=240)
    found = discover(x.repeat(1, 3, 1), y.repeat(1, 3, 1))
    assert any("equal to another one of their task" in text for text in found.left_out)
    alone = discover(x, y)
    assert (found.verdict, found.dimension) == (alone.verdict, alone.dimension)
    assert found.verdict != "none"
    if found.group is not None:
        assert found.group.order == 12


def test_rows_repeated_to_fill_up_short_tasks_do_not_break_the_group():
    draw = np.random.default_rng(0)
    x, y = linear_tasks(ring(4), examples=20, noise=0.2)
    for task in range(len(x)):
        own = draw.integers(10, 21)
        again = draw.integers(0, own, 20 - own)
        x[task, own:], y[task, own:] = x[task, again], y[task, again]
    found = discover(x, y)
    assert found.group.order == 8


def test_correlated_noise_is_no_reason_for_none():
    """Noise of neighbouring examples is correlated, as in time series: that may hide a group, and must not deny one."""
    draw = np.random.default_rng(0)
    x, y = linear_tasks(ring(5, flips=False), noise=0.0)
    noise = draw.normal(size=y.shape)
    for e in range(1, noise.shape[1]):
        noise[:, e] = 0.9 * noise[:, e - 1] + np.sqrt(1 - 0.81) * noise[:, e]
    found = discover(x, y + 0.3 * y.std() * torch.from_numpy(noise))
    assert found.verdict != "none"
    assert found.group is None or found.group.order == 5
    if found.group is None:
        assert any("correlated" in hint for hint in found.hints)


# -------------------------------------------------------------------------------------- data that must have an answer


@pytest.mark.parametrize("tasks", [80, 84])
def test_the_fewest_tasks_that_are_taken_are_enough(tasks):
    x, y = linear_tasks(ring(4), noise=0.0, tasks=tasks, seed=1)
    for seed in range(2):
        assert discover(x, y, seed=seed).group.order == 8


def test_with_two_examples_a_task_the_hint_says_what_would_help():
    x, y = linear_tasks(ring(4), noise=0.05)
    found = discover(x[:, :2], y[:, :2])
    assert found.verdict == "cannot tell"
    assert "examples" in found.hints[0]
    assert not any("--eps 2" in hint or "1604487" in hint for hint in found.hints)


def test_the_tolerance_in_a_hint_gives_an_answer(monkeypatch):
    """Noise hides D4 at the tolerance; the hint names one at which these very tasks answer."""
    x, y = linear_tasks(ring(4), noise=1.0, tasks=120)
    learned = []
    learn = candidates.learn
    monkeypatch.setattr(candidates, "learn", lambda *args: learned.append(args[4:]) or learn(*args))
    found = discover(x, y, eps=0.03)
    assert found.verdict == "cannot tell"
    # The search for the hint learns nothing again that the first one has learned.
    assert len({(seed, tasks.numpy().tobytes()) for seed, tasks in learned}) == len(learned)
    (eps,) = (float(hint.split("--eps ")[1].split()[0]) for hint in found.hints if "--eps" in hint)
    again = discover(x, y, eps=eps)
    assert again.group is not None
    assert again.group.order == 8


def test_one_hot_inputs_are_no_obstacle():
    """Three positions of four letters; reversing a motif swaps its scores on both strands."""
    draw = np.random.default_rng(0)
    letters = np.eye(4)[draw.integers(0, 4, size=(200, 50, 3))]
    motif = draw.normal(size=(200, 3, 4))
    y = np.stack([
        np.einsum("tepl,tpl->te", letters, motif), np.einsum("tepl,tpl->te", letters, motif[:, ::-1, ::-1])
    ], -1)  # fmt: skip
    found = discover(letters.reshape(200, 50, 12), y)
    assert found.group.order >= 2
    assert any("never take 3 of 12 directions" in text for text in found.left_out)
    p, q = found.generators()
    assert any((a == np.arange(12)[::-1]).all() and (b == [1, 0]).all() for a, b in zip(p, q, strict=True))


def test_inputs_that_add_up_to_zero_are_no_obstacle():
    """Currents into a ring of electrodes; D6 acts on what they span."""

    def currents(draw, shape):
        x = draw.normal(size=shape)
        return x - x.mean(-1, keepdims=True)

    found = discover(*linear_tasks(ring(6), noise=0.05, tasks=240, examples=24, inputs=currents))
    assert found.group.order == 12


def test_weak_couplings_are_seen():
    """Each output is its own input times a number, and 1% of its neighbours': D5 is exact, S5 breaks 1%."""
    draw = np.random.default_rng(0)
    W = draw.normal(size=(240, 3))[:, ring(5)] * np.array([1.0, 0.01, 0.0])[ring(5)]
    x = draw.normal(size=(240, 20, 5))
    found = discover(x, np.einsum("tij,tej->tei", W, x))
    assert found.group.order == 10
    (larger,) = (c for c in found.candidates if c.order == 120)
    assert (larger.status, larger.seen_broken) == ("within", True)
    assert larger.breaking**0.5 == pytest.approx(0.01, rel=0.3)


def test_a_graph_without_symmetry_is_called_none():
    """Heat on the Frucht graph; on a ring of as many points it has D12."""
    draw = np.random.default_rng(0)
    for graph, verdict in ((frucht(), "none"), (cycle(12), "found")):
        times = draw.uniform(0.2, 1.5, 240)
        W = np.moveaxis(heat(graph, times)[0].reshape(12, 12, -1), 2, 0)
        x = draw.normal(size=(240, 40, 12))
        y = np.einsum("tij,tej->tei", W, x)
        found = discover(x, y + 0.01 * y.std() * draw.normal(size=y.shape))
        assert found.verdict == verdict, found
    assert found.group.order == 24


# --------------------------------------------------------------------------------------------------- what data it takes


def test_pairs_of_unequal_length(gen):
    x, y = linear_tasks(ring(4, flips=False), examples=20)
    counts = 20 - torch.randint(0, 9, (len(x),), generator=gen)
    pairs = [(a[:c].numpy(), b[:c].numpy()) for a, b, c in zip(x, y, counts, strict=True)]
    found = discover(pairs)
    assert found.group.order == 4
    assert found.n_tasks == len(pairs)


def test_one_data_set_is_cut_into_tasks():
    draw = np.random.default_rng(0)
    W = draw.normal(size=4)[ring(4, flips=False)]
    x = draw.normal(size=(2400, 4))
    found = discover(x, x @ W.T + 0.1 * draw.normal(size=(2400, 4)))
    assert found.left_out[0].startswith("one data set: its 2,400 rows were cut into ")
    assert found.group.order == 4


def test_rows_with_missing_values_are_dropped_and_counted(gen):
    x, y = linear_tasks(ring(4, flips=False))
    gone = torch.rand(x.shape[:2], generator=gen) < 0.1
    x[:, :, 1] = x[:, :, 1].masked_fill(gone, torch.nan)
    found = discover(x, y)
    assert f"{int(gone.sum())} examples with missing or infinite values" in found.left_out[0]
    assert found.group.order == 4


def test_a_degenerate_task_is_left_out():
    x, y = linear_tasks(ring(4, flips=False))
    x[5], y[9] = x[5, :1], 3.0
    x[7, :, 2] = 1.0  # a constant input in one task is no reason to lose it
    found = discover(x, y)
    assert found.group.order == 4
    assert found.n_tasks == len(x) - 2


def test_an_answer_prints_in_a_few_lines():
    shown = repr(before("D5"))
    assert len(shown.split("\n")) <= 20
    assert "FOUND" in str(before("D5"))
