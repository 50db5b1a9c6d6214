"""Task files: whole ones in and out, broken ones named."""

import math

import numpy as np
import pytest
import torch

from msr.errors import ConfigError, DataError
from msr.span.angles import span_cosine
from msr.tasks import FileTasks
from msr.tasks.files import read_arrays, write_tasks
from tasks import TranslationTasks
from tests.support.cases import needs_data


@pytest.fixture
def arrays(gen):
    return {
        "x": torch.randn(10, 4, 1, 8, generator=gen).numpy(),
        "y": torch.randn(10, 4, 1, 6, generator=gen).numpy(),
    }


@pytest.mark.parametrize("rank", [1, 2, 5])
def test_the_authors_files_load_as_they_are(rank):
    family = FileTasks(needs_data(f"reference_tasks/rank{rank}.npz"))
    assert (family.n_tasks("train"), family.n_tasks("test")) == (320, 80)
    e = family.episodes("test", torch.arange(80)).check()
    assert e.support_x.shape == (80, 1, 1, 70)
    assert e.query_y.shape == (80, 19, 1, 68)
    filters = family.true_weights("test", torch.arange(80))
    windows = e.query_x.unfold(-1, 3, 1)
    torch.testing.assert_close(torch.einsum("tik,tecik->teci", filters, windows), e.query_y, atol=1e-4, rtol=1e-4)
    assert family.true_span().shape == (68 * 70, 3 * rank)


def test_round_trip_and_memory_map(tmp_path):
    source = TranslationTasks(rank=2, length=9, shots=2, queries=3)
    e = source.episodes("train", torch.arange(12))
    x, y = e.examples()
    write_tasks(tmp_path / "tasks.npz", x, y, source.filters("train", torch.arange(12)))
    assert [p.name for p in tmp_path.iterdir()] == ["tasks.npz"]
    family = FileTasks(tmp_path / "tasks.npz", shots=2, test_fraction=0.25)
    assert all(isinstance(array, np.memmap) for array in family.arrays.values())
    back = family.episodes("test", torch.tensor([2, 0]))
    for a, b in zip(back, e.select(torch.tensor([11, 9])), strict=True):
        assert torch.equal(a, b)
    assert span_cosine(family.true_span(), source.true_span()) == pytest.approx(1, abs=1e-5)


def test_compressed_files_and_fortran_order_read_the_same(tmp_path, arrays):
    np.savez(tmp_path / "plain.npz", **arrays)
    np.savez_compressed(tmp_path / "small.npz", **arrays)
    np.savez(tmp_path / "fortran.npz", **{k: np.asfortranarray(a) for k, a in arrays.items()})
    for name in ("plain", "small", "fortran"):
        got = read_arrays(tmp_path / f"{name}.npz")
        assert all(np.array_equal(got[k], arrays[k]) for k in arrays)


def test_labels_stay_whole_numbers(tmp_path, arrays):
    np.savez(tmp_path / "t.npz", x=arrays["x"], y=np.arange(40).reshape(10, 4))
    assert FileTasks(tmp_path / "t.npz").episodes("train", torch.tensor([0])).query_y.dtype == torch.long


def test_dense_truth_and_no_truth(tmp_path, arrays, gen):
    np.savez(tmp_path / "none.npz", **arrays)
    assert FileTasks(tmp_path / "none.npz").true_span() is None
    basis = torch.randn(2, 48, generator=gen)
    w = (torch.randn(10, 2, generator=gen) @ basis).reshape(10, 6, 8)
    np.savez(tmp_path / "dense.npz", **arrays, w=w.numpy())
    assert span_cosine(FileTasks(tmp_path / "dense.npz").true_span(), basis.mT) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("of_x", "of_y", "of_w", "kept"),
    [
        ((8,), (1,), (1, 8), (1, 8)),
        ((8,), (1,), (1, 1, 8), (1, 8)),
        ((8,), (), (1, 8), (1, 8)),
        ((1,), (6,), (6, 1), (6, 1)),
        ((), (6,), (6, 1), (6, 1)),
        ((1, 8), (1, 6), (1, 6, 1, 8), (6, 8)),
    ],
)
def test_a_single_input_or_output_keeps_its_axis(of_x, of_y, of_w, kept, tmp_path, gen):
    basis = torch.randn(2, math.prod(of_w), generator=gen)
    w = (torch.randn(10, 2, generator=gen) @ basis).reshape(10, *of_w)
    write_tasks(tmp_path / "t.npz", torch.ones(10, 4, *of_x), torch.ones(10, 4, *of_y), w)
    family = FileTasks(tmp_path / "t.npz")
    assert family.true_weights("test", torch.tensor([1])).shape == (1, *kept)
    assert span_cosine(family.true_span(), basis.mT) == pytest.approx(1, abs=1e-4)


def test_filters_of_one_tap_have_a_span(tmp_path, gen):
    x = torch.randn(10, 4, 1, 8, generator=gen)
    scales = torch.randn(10, 2, generator=gen) @ torch.randn(2, 8, generator=gen)
    write_tasks(tmp_path / "t.npz", x, x * scales[:, None, None], scales.reshape(10, 1, 8, 1))
    family = FileTasks(tmp_path / "t.npz")
    assert family.true_weights("train", torch.arange(8)).shape == (8, 8, 1)
    # Output i takes input i alone, so the weights are diagonal matrices.
    span = family.true_span()
    assert span.shape == (64, 2)
    assert span_cosine(span, torch.diag_embed(scales[:2]).flatten(1).mT) == pytest.approx(1, abs=1e-4)


def broken(arrays, **change):
    return {k: v for k, v in {**arrays, **change}.items() if v is not None}


def with_nan(array, where):
    array = array.copy()
    array[where] = np.nan
    return array


FAULTS = {
    "no y": (lambda a: broken(a, y=None), "has no array 'y'"),
    "tasks": (lambda a: broken(a, y=a["y"][:9]), r"x has 10 tasks \(axis 0\), y has 9"),
    "examples": (lambda a: broken(a, y=a["y"][:, :3]), r"x has 4 examples \(axis 1\), y has 3"),
    "flat": (
        lambda a: broken(a, x=a["x"][:, 0, 0, 0]),
        r"'x' must be \(tasks, examples, \.\.\.\); its shape is \(10,\)",
    ),
    "empty": (lambda a: broken(a, x=a["x"][:, :, :, :0]), "'x' is empty along axis 3"),
    "no task": (lambda a: broken(a, x=a["x"][:0], y=a["y"][:0]), "'x' is empty along axis 0"),
    "complex": (lambda a: broken(a, x=a["x"] + 1j), "'x' has dtype complex"),
    "text": (lambda a: broken(a, y=np.full((10, 4), "a")), "'y' has dtype <U1"),
    "nan": (lambda a: broken(a, y=with_nan(a["y"], (3, 2, 0, 5))), r"'y' has a nan at index \(3, 2, 0, 5\)"),
    "w": (lambda a: broken(a, w=np.ones((3, 6, 3))), r"x has 10 tasks \(axis 0\), w has 3"),
    "pickle": (lambda a: broken(a, y=np.array([[{}] * 4] * 10, dtype=object)), "'y' holds Python objects"),
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named(fault, save, tmp_path, arrays):
    make, says = FAULTS[fault]
    save(tmp_path / "t.npz", **make(arrays))
    with pytest.raises(DataError, match=says):
        read_arrays(tmp_path / "t.npz")


@pytest.mark.parametrize("keep", [0, 20, 200, 1500])
def test_truncated_files_are_named(keep, tmp_path, arrays):
    np.savez(tmp_path / "t.npz", **arrays)
    (tmp_path / "t.npz").write_bytes((tmp_path / "t.npz").read_bytes()[:keep])
    with pytest.raises(DataError, match=r"t\.npz is not a whole \.npz file"):
        read_arrays(tmp_path / "t.npz")


def test_damaged_members_and_odd_numbers(tmp_path, arrays):
    np.savez_compressed(tmp_path / "t.npz", **arrays)
    whole = bytearray((tmp_path / "t.npz").read_bytes())
    for place in range(200, 260):
        whole[place] ^= 0xFF
    (tmp_path / "t.npz").write_bytes(whole)
    with pytest.raises(DataError, match=r"t\.npz"):
        read_arrays(tmp_path / "t.npz")
    np.savez(tmp_path / "big.npz", x=arrays["x"].astype(">f4"), y=arrays["y"].astype(">i2"))
    e = FileTasks(tmp_path / "big.npz").episodes("train", torch.tensor([0]))
    torch.testing.assert_close(e.support_x[0], torch.from_numpy(arrays["x"][0, :1]))
    np.savez(tmp_path / "long.npz", x=arrays["x"].astype(np.longdouble), y=arrays["y"])
    with pytest.raises(DataError, match="at most 64 bits"):
        read_arrays(tmp_path / "long.npz")
    np.savez(tmp_path / "pixels.npz", x=np.ones((10, 4, 8), np.uint8), y=arrays["y"])
    assert FileTasks(tmp_path / "pixels.npz").episodes("train", torch.tensor([0])).support_x.dtype == torch.float32


@pytest.mark.parametrize(("scale", "far"), [(1e300, "large"), (1e-300, "small")])
def test_numbers_that_the_default_dtype_does_not_hold_are_named(scale, far, tmp_path, arrays):
    np.savez(tmp_path / "t.npz", x=arrays["x"], y=scale * arrays["y"].astype(float))
    family = FileTasks(tmp_path / "t.npz")
    with pytest.raises(DataError, match=rf"t\.npz: array 'y': torch\.float32 does not hold numbers as {far} as "):
        family.episodes("train", torch.tensor([0]))


def test_whole_numbers_that_torch_does_not_hold_are_named(tmp_path, arrays):
    labels = np.arange(40, dtype=np.uint64).reshape(10, 4)
    np.savez(tmp_path / "t.npz", x=arrays["x"], y=labels + 2**62)
    first = FileTasks(tmp_path / "t.npz").episodes("train", torch.tensor([0]))
    assert first.examples()[1][0].tolist() == [2**62 + n for n in range(4)]
    np.savez(tmp_path / "t.npz", x=arrays["x"], y=labels + 2**63)
    with pytest.raises(DataError, match=r"array 'y' has whole numbers from 2\^63 on"):
        FileTasks(tmp_path / "t.npz").episodes("train", torch.tensor([0]))


def test_indices_stay_within_their_split(tmp_path, arrays):
    np.savez(tmp_path / "t.npz", **arrays)
    family = FileTasks(tmp_path / "t.npz")
    for index in (-1, 2):
        with pytest.raises(ConfigError, match=f"the test split holds 2 tasks; index {index}"):
            family.episodes("test", torch.tensor([index]))


def test_written_files_have_the_usual_permissions(tmp_path, arrays):
    write_tasks(tmp_path / "t.npz", torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["y"]))
    (tmp_path / "plain").write_text("")
    assert (tmp_path / "t.npz").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_missing_files_and_impossible_splits(tmp_path, arrays):
    with pytest.raises(DataError, match="no such file"):
        FileTasks(tmp_path / "no.npz")
    np.savez(tmp_path / "t.npz", **arrays)
    with pytest.raises(ConfigError, match="shots must be 1 to 3; got 4"):
        FileTasks(tmp_path / "t.npz", shots=4)
    with pytest.raises(DataError, match="leaves a split empty"):
        FileTasks(tmp_path / "t.npz", test_fraction=0.01)
    with pytest.raises(ConfigError, match="between 0 and 1"):
        FileTasks(tmp_path / "t.npz", test_fraction=1.0)
    with pytest.raises(DataError, match="cannot be written"):
        write_tasks(tmp_path / "no" / "t.npz", torch.ones(1, 1), torch.ones(1, 1))
    (tmp_path / "x.npz").write_text("hello")
    with pytest.raises(DataError, match="not a whole"):
        FileTasks(tmp_path / "x.npz")


@pytest.mark.parametrize("dtype", [np.int64, bool])
def test_tasks_that_a_file_keeps_for_the_last_test_are_its_test_split(tmp_path, arrays, dtype, gen):
    w = torch.randn(10, 6, 8, generator=gen).numpy()
    kept = np.array([0, 1, 0, 0, 0, 1, 0, 0, 1, 0])
    np.savez(tmp_path / "t.npz", **arrays, w=w, split=kept.astype(dtype))
    family = FileTasks(tmp_path / "t.npz")
    assert (family.n_tasks("train"), family.n_tasks("test")) == (7, 3)
    for split, places in (("train", [0, 2, 3, 4, 6, 7, 9]), ("test", [1, 5, 8])):
        e = family.episodes(split, torch.arange(len(places)).flip(0))
        assert np.array_equal(e.support_x, arrays["x"][places[::-1], :1])
        assert np.array_equal(e.query_y, arrays["y"][places[::-1], 1:])
        assert np.array_equal(family.true_weights(split, torch.arange(len(places))), w[places])
    with pytest.raises(ConfigError, match="the test split holds 3 tasks; index 3 was asked for"):
        family.episodes("test", torch.tensor([3]))
    np.savez(tmp_path / "all.npz", **arrays, split=np.ones(10, dtype))
    with pytest.raises(DataError, match="holds 10 tasks; its array 'split' leaves a split empty"):
        FileTasks(tmp_path / "all.npz")
