"""One discovery over the tasks of many files: the same, bit for bit, however they are cut into files and workers."""

import dataclasses
import sys

import numpy as np
import pytest
import torch

from msr.discovery import discover
from msr.discovery.breaking.sample import Sample
from msr.discovery.data.tasks import prepare
from msr.discovery.shards import together
from msr.discovery.shards.stored import hashes_of, opened, read
from msr.discovery.shards.together import Reference, _in_order_of_hashes, discover_together
from msr.errors import ConfigError, DataError, MissingExtraError
from msr.groups import cyclic
from msr.representations import regular
from msr.tasks.files import write_tasks
from msr.tasks.sampling import sample_group

C6 = regular(cyclic(6))
SMALL = {"pool": 400, "block": 300}


def tasks_of(n_tasks: int, truth: str = "group", seed: int = 0, examples: int = 20):
    sample = sample_group(C6, C6, truth=truth, noise=0.1, n_tasks=n_tasks, examples=examples, seed=seed)
    return sample.x, sample.y


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """1,000 tasks, and the one file that holds them all."""
    x, y = tasks_of(1000)
    path = tmp_path_factory.mktemp("whole") / "tasks.npz"
    write_tasks(path, x, y)
    return x, y, path


def cut(folder, x, y, sizes, seed=1):
    """Files of these sizes, with the tasks in another order."""
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    paths = []
    for i, part in enumerate(order.split(sizes)):
        paths.append(folder / f"{i}.npz")
        write_tasks(paths[-1], x[part], y[part])
    return paths


def numbers(answer) -> dict:
    """All that an answer says, but for the time that it took and where the files put the tasks."""
    found = {field.name: getattr(answer, field.name) for field in dataclasses.fields(answer)}
    found["pool"] = {**answer.pool.as_dict(), "seconds": 0}
    found["exceptions"] = len(answer.exceptions)
    return found


def test_the_answer_does_not_depend_on_files_and_is_that_of_one_piece(whole, tmp_path):
    x, y, path = whole
    one = discover_together([path], **SMALL)
    assert (one.verdict, one.why, one.pool.group.name) == ("found", (), "C6")
    assert (one.n_tasks, one.n_pool, one.copies, one.n_tested) == (1000, 400, 0, 600)
    assert one.bound < 0.05**2
    assert numbers(discover_together(cut(tmp_path, x, y, [50, 700, 250]), **SMALL)) == numbers(one)
    in_memory = discover(x, y)
    assert (in_memory.verdict, in_memory.group.name) == (one.verdict, one.pool.group.name)
    # Both estimate the same share of the energy, from other tasks and with other units, at different levels.
    assert one.bound == pytest.approx(in_memory.certificate.bound, rel=1)
    other = discover_together([path], **SMALL, seed=1)
    assert other.verdict == "found"
    assert other.breaking != one.breaking  # another pool


@pytest.mark.slow
def test_the_answer_does_not_depend_on_workers(whole, tmp_path):
    x, y, path = whole
    files = cut(tmp_path, x, y, [300, 700])
    assert numbers(discover_together(files, **SMALL, jobs=2)) == numbers(discover_together([path], **SMALL))


def test_units_change_nothing(whole, tmp_path):
    x, y, path = whole
    write_tasks(tmp_path / "other.npz", x * 2.0**20, y * 2.0**-10)
    one, other = (discover_together([file], **SMALL) for file in (path, tmp_path / "other.npz"))
    assert other.verdict == "found"
    # The hashes differ, and so the pool.
    assert other.bound == pytest.approx(one.bound, rel=0.5)


def test_a_few_tasks_make_no_block_of_their_own(whole, monkeypatch):
    _, _, path = whole
    answer = discover_together([path], pool=950, block=300)
    assert (answer.verdict, answer.n_pool, answer.n_tested, answer.why) == ("found", 1000, 0, ())
    sizes = []

    def counted(*work):
        sizes.append(len(work[-1]))
        return of_block(*work)

    of_block = together._tested
    monkeypatch.setattr(together, "_tested", counted)
    assert discover_together([path], pool=400, block=290).n_tested == 600
    assert sizes == [290, 310]


def test_equal_tasks_count_once_wherever_they_are(whole, tmp_path):
    x, y, path = whole
    write_tasks(tmp_path / "again.npz", x[:50].flip(1), y[:50].flip(1))  # examples in another order
    again = discover_together([path, tmp_path / "again.npz"], **SMALL)
    assert (again.n_tasks, again.copies) == (1000, 50)
    assert numbers(again) | {"copies": 0} == numbers(discover_together([path], **SMALL))


def hidden(tmp_path, how_many: int):
    """A file whose pool keeps C6, while others of its tasks break it: so many of them; and the rows where they are."""
    x, y = tasks_of(800)
    broken_x, broken_y = tasks_of(800, truth="broken", seed=1)
    every = tmp_path / "every.npz"
    write_tasks(every, torch.cat([x, broken_x]), torch.cat([y, broken_y]))
    _, order, _ = _in_order_of_hashes([hashes_of(opened(every))], seed=0)
    kept = order[order < 800]
    after = int(np.flatnonzero(order == kept[SMALL["pool"]])[0])
    breaking = [i for i in order[after:] if i >= 800][:how_many]
    chosen = torch.tensor([*range(800), *breaking])
    path = tmp_path / "hidden.npz"
    write_tasks(path, torch.cat([x, broken_x])[chosen], torch.cat([y, broken_y])[chosen])
    return path


def test_exceptions_beyond_the_pool_are_found_and_many_take_the_name_back(tmp_path):
    few = discover_together([hidden(tmp_path, 2)], **SMALL)
    assert few.pool.verdict == few.verdict == "found"
    assert set(few.exceptions) <= {(0, 800), (0, 801)}
    assert few.exceptions
    many = discover_together([hidden(tmp_path, 300)], **SMALL)
    assert many.pool.verdict == "found"
    assert many.verdict == "cannot tell"
    assert "break the group" in many.why[0]


def test_tasks_without_a_symmetry_are_told_from_the_pool(tmp_path):
    x, y = tasks_of(500, truth="none")
    write_tasks(tmp_path / "none.npz", x, y)
    answer = discover_together([tmp_path / "none.npz"], **SMALL)
    assert (answer.verdict, answer.n_tested, answer.bound) == ("none", 0, None)


@pytest.mark.parametrize(("examples", "method"), [(8, "pairs of examples"), (20, "least squares")])
def test_either_estimator_tests(examples, method, tmp_path):
    sample = sample_group(C6, C6, truth="group", n_tasks=800, examples=examples)
    x = sample.x
    if method == "least squares":
        x = x[:1].expand(len(x), -1, -1)  # pairs need inputs that are drawn anew in each task
    noise = 0.1 * torch.randn(len(x), examples, 6, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
    y = x @ sample.w.mT + noise
    write_tasks(tmp_path / "tasks.npz", x, y)
    answer = discover_together([tmp_path / "tasks.npz"], **SMALL)
    assert answer.pool.certificate.method == method
    assert answer.verdict == "found"
    assert 0 < answer.bound < 0.05**2


def test_signed_permutations_are_tested_too(whole):
    _, _, path = whole
    answer = discover_together([path], **SMALL, signed=True)
    assert (answer.verdict, answer.n_tested) == ("found", 600)
    assert answer.pool.group.order == 12  # and the change of all signs
    assert answer.bound < 0.05**2


def test_windows_of_convolutions_are_tested_too(gen, tmp_path):
    """Filters that read the same forwards and backwards."""
    half = torch.randn(800, 2, generator=gen, dtype=torch.float64)
    taps = torch.stack([half[:, 0], half[:, 1], half[:, 0]], 1)
    x = torch.randn(800, 4, 1, 12, generator=gen, dtype=torch.float64)
    y = (x.unfold(3, 3, 1) * taps[:, None, None, None]).sum(4)
    y = y + 0.1 * torch.randn(y.shape, generator=gen, dtype=torch.float64)
    write_tasks(tmp_path / "tasks.npz", x, y)
    answer = discover_together([tmp_path / "tasks.npz"], **SMALL, layer="conv1d")
    assert (answer.verdict, answer.pool.group.name, answer.n_tested) == ("found", "C2", 400)
    assert answer.bound < 0.05**2


def test_a_block_is_brought_to_the_units_of_the_pool(whole):
    x, y, _ = whole
    pool = prepare(x[:500], y[:500])
    block = prepare(3 * x[500:], 5 * y[500:])
    units = Sample.of(pool)
    fixed = {"units": pool.units, "inputs": pool.inputs, "outputs": pool.outputs, "scale": units.scale}
    unused = dict.fromkeys(("points", "orbits", "span", "squares", "common", "noise"))
    sample = Reference(**fixed, **unused, options={}, root=units.root).sample(block)
    ins, outs = (torch.from_numpy(of_side) for of_side in pool.units)
    for got, means, own, side, theirs in (
        (sample.x, sample.means[0], ins, block.x, 0),
        (sample.y, sample.means[1], outs * units.scale, block.y, 1),
    ):
        as_given = torch.from_numpy(block.units[theirs])
        torch.testing.assert_close(got * own, side * as_given)
        torch.testing.assert_close(means * own, block.means[theirs] * as_given)
    with pytest.raises(DataError, match="some input coordinates vary in some tasks alone"):
        Reference(**{**fixed, "inputs": pool.inputs[:5]}, **unused, options={}, root=units.root).sample(block)


def test_rows_are_read_as_they_were_written(whole, tmp_path):
    x, y, _ = whole
    paths = cut(tmp_path, x, y[:, :, 0], [400, 600])  # one output, without an axis of its own
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))
    shards = [opened(path) for path in paths]
    got_x, got_y = read(shards, np.array([1, 0, 1]), np.array([5, 7, 2]))
    places = order[[405, 7, 402]]
    np.testing.assert_array_equal(got_x, x[places].double())
    np.testing.assert_array_equal(got_y, y[places, :, :1].double())


def test_what_cannot_be_used_is_said(whole, tmp_path, monkeypatch):
    x, y, path = whole
    np.savez_compressed(tmp_path / "small.npz", x=x[:9].numpy(), y=y[:9].numpy())
    with pytest.raises(DataError, match=r"small\.npz: array 'x' cannot be read a part at a time; write it .*savez"):
        discover_together([tmp_path / "small.npz"])
    np.savez(tmp_path / "split.npz", x=x.numpy(), y=y.numpy(), split=np.arange(1000) % 2)
    with pytest.raises(DataError, match=r"split\.npz holds a split"):
        discover_together([tmp_path / "split.npz"])
    write_tasks(tmp_path / "short.npz", x[:, :9], y[:, :9])
    with pytest.raises(DataError, match=r"examples of one number and shape; .* \(20, 6\), in .*short.npz \(9, 6\)"):
        discover_together([path, tmp_path / "short.npz"])
    for options, says in (({"pool": 79}, "pool must be at least 80"), ({"jobs": 0}, "jobs must"), ({"eps": 2}, "eps")):
        with pytest.raises(ConfigError, match=says):
            discover_together([path], **options)
    with pytest.raises(ConfigError, match="at least one task file"):
        discover_together([])
    monkeypatch.setitem(sys.modules, "joblib", None)
    with pytest.raises(MissingExtraError, match="joblib judges several files at a time"):
        discover_together([path], jobs=2)
