"""Checkpoint files: what is written is what is read, and what is not as written is one line with nothing changed."""

import copy
import random
import zipfile
from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest
import torch

from msr.errors import ConfigError, DataError, NonFiniteError
from msr.layers import ReparamLinear
from msr.meta import SGD, Learner, OuterLoop, from_module
from msr.meta.checkpoints.continuing import not_finite
from msr.meta.checkpoints.file import FORMAT, DamagedCheckpointError, content_hash, read_checkpoint, write_checkpoint
from msr.sharing import DenseSharing
from tests.support.cases import random_episodes

ADAM = partial(torch.optim.Adam, lr=1e-2)
COSINE = partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=8)


def make_loop(seed=0, optimizer=ADAM, scheduler=COSINE, k=2, dtype=torch.float32):
    sharing = partial(DenseSharing, k=k)
    generator = torch.Generator().manual_seed(seed)
    problem, shared, initial = from_module(ReparamLinear(4, 3, dtype=dtype, sharing=sharing, generator=generator))
    learner = Learner(problem, SGD(1), batching="vmap")
    return OuterLoop(learner, learner.init(shared, initial), optimizer, scheduler=scheduler)


def batch(seed, dtype=torch.float32):
    episodes = random_episodes(torch.Generator().manual_seed(seed), 3, 2, 2, (4,), (3,))
    return type(episodes)(*(part.to(dtype) for part in episodes))


def trained(steps=3, **kwargs):
    loop = make_loop(**kwargs)
    for step in range(steps):
        loop.step(batch(step, kwargs.get("dtype", torch.float32)))
    return loop


def of(loop) -> str:
    """Every tensor, number and name of a loop."""
    return content_hash(loop.state_dict())


def refused(loop, path, before: str) -> bool:
    """Whether loading is refused, which must be one line that names the file, with nothing changed."""
    try:
        loop.load(path)
    except DataError as error:
        text = str(error)
        assert path.name in text
        assert "\n" not in text
        assert "remove it" in text
        assert of(loop) == before
        return True
    return False


def test_what_is_written_is_what_is_read(tmp_path):
    path, loop = tmp_path / "a.pt", trained()
    loop.save(path, {"seconds": 1.5, "list": [1, "two", None]}, identity={"arm": "conv", "seed": 3})
    found = read_checkpoint(path)
    assert content_hash(found.state) == of(loop)
    assert found.extra == {"seconds": 1.5, "list": [1, "two", None]}
    assert found.identity == {"arm": "conv", "seed": 3}
    assert (found.format, found.notes["threads"]) == (FORMAT, torch.get_num_threads())
    other = make_loop(1)
    assert other.load(path, identity={"arm": "conv"})["seconds"] == 1.5
    assert of(other) == of(loop)
    for step in range(3, 6):
        loop.step(batch(step))
        other.step(batch(step))
    assert of(other) == of(loop)


def test_loading_shares_no_memory_with_the_state_it_was_given():
    state = copy.deepcopy(trained().state_dict())
    before, loop = content_hash(state), make_loop(1)
    loop.load_state_dict(state)
    loop.step(batch(9))
    assert content_hash(state) == before


def test_damaged_bytes_are_refused_or_harmless(tmp_path):
    """One bit flipped, the end cut off, a block zeroed or another byte put in: never other numbers."""
    path, draw = tmp_path / "a.pt", random.Random(0)
    loop, whole = trained(), trained()
    whole.save(path, {"seconds": 1.0})
    data, good = path.read_bytes(), of(whole)
    loop.step(batch(7))
    count = {True: 0, False: 0}
    for i in range(300):
        damaged = bytearray(data)
        place = draw.randrange(len(data))
        if i % 6 == 4:
            damaged = damaged[:place]
        elif i % 6 == 5:
            damaged[place : place + 64] = bytes(len(damaged[place : place + 64]))
        else:
            damaged[place] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        before = of(loop)
        outcome = refused(loop, path, before)
        count[outcome] += 1
        if not outcome:  # padding between members, or a date: the numbers are those that were written
            assert of(loop) == good
    assert count[True] > 150


def places(tree, way=()) -> Iterator[tuple]:
    """The way to every node of a tree."""
    yield way
    if isinstance(tree, dict):
        for key in tree:
            yield from places(tree[key], (*way, key))
    elif isinstance(tree, (list, tuple)):
        for i, one in enumerate(tree):
            yield from places(one, (*way, i))


def changed(tree, way, value):
    """The tree with another value at a place; with nothing there where the value is ``...``."""
    if not way:
        return value
    key, *rest = way
    if isinstance(tree, dict):
        if not rest and value is ...:
            return {k: v for k, v in tree.items() if k != key}
        return {**tree, key: changed(tree[key], rest, value)}
    parts = list(tree)
    if not rest and value is ...:
        del parts[key]
    else:
        parts[key] = changed(tree[key], rest, value)
    return type(tree)(parts)


ODD = (..., None, "x", -1, 10**30, float("nan"), float("inf"), [], {}, {"a": 1}, True, torch.ones(2), torch.zeros(()))


def why_not(loop, state) -> str:
    try:
        loop.load_state_dict(state)
    except DataError as error:
        return str(error)
    return ""


def test_odd_content_is_refused_or_can_be_trained_from():
    """Each place of a state with something else, or nothing: refused with nothing changed, or it trains on."""
    state = trained().state_dict()
    ways = [way for way in places(state) if way]
    loop, before, count = make_loop(1), of(make_loop(1)), {True: 0, False: 0}
    for way in ways:
        for value in ODD:
            odd = changed(state, way, value)
            says = why_not(loop, odd)
            count[bool(says)] += 1
            if says:
                assert "\n" not in says
                assert of(loop) == before, (way, value)
                continue
            try:
                loop.step(batch(3))
                loop.step(batch(4))
            except NonFiniteError:
                assert way[0] == "scheduler" or "lr" in way[-1], (way, value)  # a rate that is a number, but too large
            loop, before = make_loop(1), of(make_loop(1))
    assert count[True] > 20 * count[False]
    assert sum(count.values()) > 1000


@pytest.mark.parametrize("key", ["params", "optimizer", "scheduler", "steps_done", "batching"])
def test_a_key_that_is_missing_is_named(key):
    state = trained().state_dict()
    del state[key]
    with pytest.raises(DataError, match=f"it lacks {key}"):
        make_loop().load_state_dict(state)


ANOTHER = {
    "dtype": ({"dtype": torch.float64}, "float64, this run's torch.float32"),
    "shape": ({"k": 3}, "or their shapes differ"),
    "optimiser": ({"optimizer": partial(torch.optim.SGD, lr=0.1, momentum=0.9)}, "momentum_buffer"),
    "amsgrad": ({"optimizer": partial(torch.optim.Adam, lr=1e-2, amsgrad=True)}, "max_exp_avg_sq"),
    "beta": ({"optimizer": partial(torch.optim.Adam, lr=1e-2, betas=(0.5, 0.9))}, "betas = (0.5, 0.9)"),
    "scheduler": ({"scheduler": partial(torch.optim.lr_scheduler.StepLR, step_size=2)}, "scheduler holds"),
    "schedule": (
        {"scheduler": partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=9)},
        "T_max = 9, this run's 8",
    ),
    "none": ({"scheduler": None}, "do not both have a scheduler"),
}


@pytest.mark.parametrize("kind", ANOTHER)
def test_another_loop_is_refused_with_what_differs(kind, tmp_path):
    kwargs, says = ANOTHER[kind]
    trained(**kwargs).save(tmp_path / "a.pt")
    loop = trained(2)
    before = of(loop)
    with pytest.raises(DataError) as caught:
        loop.load(tmp_path / "a.pt")
    assert says in str(caught.value)
    assert not isinstance(caught.value, DamagedCheckpointError)  # it is whole, and another's
    assert refused(loop, tmp_path / "a.pt", before)


def test_a_rate_that_was_changed_is_not_another_loop(tmp_path):
    loop = trained()
    loop.optimizer.param_groups[0]["lr"] = 0.125
    loop.save(tmp_path / "a.pt")
    other = make_loop(1)
    other.load(tmp_path / "a.pt")
    assert other.optimizer.param_groups[0]["lr"] == 0.125


def test_another_identity_is_refused_unless_forced(tmp_path):
    path, loop = tmp_path / "a.pt", make_loop(1)
    trained().save(path, identity={"arm": "conv", "seed": 3})
    before = of(loop)
    with pytest.raises(DataError, match=r"a\.pt is .* \(seed is 3 there, 4 here; k is not set there, 2 here\)"):
        loop.load(path, identity={"arm": "conv", "seed": 4, "k": 2})
    assert of(loop) == before
    loop.load(path, identity={"seed": 4}, force=True)
    assert of(loop) == of(trained())


def test_a_file_of_the_older_format_needs_force(tmp_path):
    path, loop = tmp_path / "a.pt", make_loop(1)
    torch.save(trained().state_dict() | {"extra": {"seconds": 2.0}}, path)
    with pytest.raises(DataError, match="format 1, which has no hash to find damage by, there, 2 here"):
        loop.load(path)
    assert loop.load(path, force=True) == {"seconds": 2.0}
    assert of(loop) == of(trained())


def test_force_does_not_accept_damage(tmp_path):
    """Other numbers under the hash of before, in a zip whose checksums are right."""
    path, loop = tmp_path / "a.pt", make_loop(1)
    trained().save(path)
    content = torch.load(path, weights_only=True)
    content["params"]["initial"]["v"][0] += 1
    torch.save(content, path)
    before = of(loop)
    with pytest.raises(DamagedCheckpointError, match="has not the SHA-256"):
        loop.load(path, force=True)
    assert of(loop) == before


def test_a_later_format_is_refused_and_packed_members_are_not_unpacked(tmp_path):
    path, loop = tmp_path / "a.pt", make_loop(1)
    trained().save(path)
    content = torch.load(path, weights_only=True)
    torch.save(content | {"format": FORMAT + 1}, path)
    with pytest.raises(DamagedCheckpointError, match=f"has format {FORMAT + 1}"):
        loop.load(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10**6))
    with pytest.raises(DamagedCheckpointError, match="packed members"):
        loop.load(path)
    with pytest.raises(ConfigError, match=r"gone\.pt cannot be read: No such file"):
        loop.load(tmp_path / "gone.pt")


def test_only_tensors_and_plain_values_are_written(tmp_path):
    path = tmp_path / "a.pt"
    with pytest.raises(ConfigError, match=r"extra\.where is a PosixPath"):
        make_loop().save(path, {"where": tmp_path})
    assert not path.exists()
    write_checkpoint(path, {}, {"rate": np.float64(0.1), "n": np.int64(3)})
    assert read_checkpoint(path).extra == {"rate": 0.1, "n": 3}


def test_values_that_read_alike_have_different_hashes():
    alike = [
        {"a": 1}, {"a": 1.0}, {"a": True}, {"a": "1"}, {"a": [1]}, {"a": (1,)}, {"a": torch.tensor(1)}, {"b": 1},
        {"a": torch.tensor(1.0)}, {"a": torch.tensor([1.0])}, {"a": torch.tensor(1.0, dtype=torch.float64)}, {1: 1},
        {"a": None}, {}, {"a": {}}, {"a": []}, {"a": 0.0}, {"a": -0.0}, {"a": torch.zeros(2, 3)},
        {"a": torch.zeros(3, 2)}, {"a": {"b": 1}, "c": 1}, {"a": {"b": 1, "c": 1}},
    ]  # fmt: skip
    assert len({content_hash(one) for one in alike}) == len(alike)
    turned = torch.arange(6.0).reshape(2, 3)
    assert content_hash({"a": turned.T, "b": 1}) == content_hash({"b": 1, "a": turned.T.contiguous()})


def test_an_optimiser_that_overflowed_is_not_written(tmp_path):
    loop = trained()
    loop.optimizer.state[loop.params.leaves()[0]]["exp_avg_sq"][0] = float("inf")
    with pytest.raises(NonFiniteError, match="exp_avg_sq"):
        loop.save(tmp_path / "a.pt")
    assert list(tmp_path.iterdir()) == []


def test_where_a_number_is_not_finite():
    nan = float("nan")
    assert not_finite(nan) == not_finite(torch.tensor([1.0, nan])) == not_finite(torch.tensor(float("inf"))) == " state"
    assert not_finite({"a": [1.0, (2, nan)]}) == "['a'][1][1]"
    assert not_finite(nan, "[0]") == "[0]"
    assert not_finite({"bound": float("inf"), "n": 3, "t": torch.ones(2), "none": None}) == ""
