"""The memory of a discovery: estimated before the work, refused in one line, and never more than estimated."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from msr.discovery import discover
from msr.discovery.data.intake import take
from msr.discovery.data.memory import intake_bytes, peak_bytes, refuse_at_the_door, refuse_if_too_large
from msr.errors import DataError

MEASURED = """
import resource, sys
from pathlib import Path
import torch
from msr.discovery import discover
from msr.discovery.data.memory import peak_bytes

def peak():
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])

resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, 6 * 2**30))
gen = torch.Generator().manual_seed(0)
for shape in sys.argv[1:]:
    tasks, examples, n, m = map(int, shape.split(","))
    x = torch.randn(tasks, examples, n, generator=gen)
    y = x[..., :1] * torch.randn(tasks, 1, m, generator=gen) + torch.randn(tasks, examples, m, generator=gen)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is held now
    before = peak()
    found = discover(x, y)
    print(peak() - before, peak_bytes(tasks, examples, n, m), found.verdict)
"""
TAKEN = """
import sys
from pathlib import Path
import torch
from msr.discovery.data.memory import intake_bytes
from msr.discovery.data.tasks import prepare

def peak():
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])

gen = torch.Generator().manual_seed(0)
rows, n, m = map(int, sys.argv[1:])
x, y = (torch.randn(rows, size, generator=gen) for size in (n, m))
Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is held now
before = peak()
prepare(x, y)
print(peak() - before, intake_bytes(1, rows, n, m))
"""
WIDE = (100, 3, 5000, 1), (100, 3, 2000, 2000)  # a file of a few megabytes, with more inputs than examples
MANY = (6000, 8, 6, 6)


@pytest.fixture(scope="module")
def measured():
    """Of each shape: the peak of a discovery above what was held before it, the estimate, and the verdict.

    All in one process with 6 GB of addresses. Its peak is the kernel's ``VmHWM``: ``ru_maxrss`` would not do, since a
    child begins with that of the process that started it.
    """
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the peak of memory is read from Linux's /proc")
    words = [",".join(map(str, shape)) for shape in (*WIDE, MANY)]
    run = subprocess.run([sys.executable, "-c", MEASURED, *words], capture_output=True, text=True, check=True)
    lines = [line.split(maxsplit=2) for line in run.stdout.splitlines()]
    found = [(int(peak), int(estimate), verdict) for peak, estimate, verdict in lines]
    return dict(zip((*WIDE, MANY), found, strict=True))


def test_an_estimate_is_not_below_the_measured_peak(measured):
    peak, estimate, _ = measured[MANY]
    assert 5 * 10**7 < peak <= estimate


@pytest.mark.parametrize("shape", WIDE)
def test_more_inputs_than_examples_take_little_memory(shape, measured):
    """No sum of inputs by inputs is made to see that nothing can be learned."""
    peak, estimate, verdict = measured[shape]
    assert verdict == "cannot tell"
    assert 0 < peak <= estimate < 300 * 10**6


def test_more_inputs_than_examples_are_told_so(gen):
    found = discover(torch.randn(90, 3, 200, generator=gen), torch.randn(90, 3, 1, generator=gen))
    assert found.verdict == "cannot tell"
    assert found.hints == (
        "the inputs span at most 180 of 200 directions, in all tasks together, so the weights on the rest cannot be "
        "learned: give more tasks or examples, or fewer inputs",
    )


def test_a_discovery_that_needs_more_than_is_free_is_refused_before_the_work():
    with pytest.raises(DataError, match=r"^a discovery from 10,000,000 tasks .* would take about .*TB .*free: give"):
        refuse_if_too_large(10**7, 1000, 100, 100)
    with pytest.raises(DataError, match=r"90 tasks of 8 examples, 4 inputs and 4 outputs, .* 1 MB is the limit"):
        refuse_if_too_large(90, 8, 4, 4, limit=10**6)
    refuse_if_too_large(90, 8, 4, 4)


def test_the_limit_can_be_told(gen):
    x, y = (torch.randn(90, 8, 2, generator=gen) for _ in range(2))
    with pytest.raises(DataError, match=r"^taking in 90 tasks of 8 examples, 2 inputs and 2 outputs, would .*take"):
        discover(x, y, memory=1000)
    with pytest.raises(
        DataError, match=r"^a discovery from 90 tasks of 8 examples, 2 inputs and 2 outputs, would .*take"
    ):
        discover(x, y, memory=intake_bytes(90, 8, 2, 2))
    assert discover(x, y, memory=peak_bytes(90, 8, 2, 2)).n_tasks == 90


@pytest.mark.parametrize(("n", "m"), [(5, 5), (5, 2), (5, None)])
def test_one_data_set_is_no_set_of_tasks(n, m, gen):
    """Neither as many inputs as outputs make rows tasks, nor do other numbers pass unseen."""
    x = torch.randn(900, n, generator=gen)
    y = torch.randn(900, *([] if m is None else [m]), generator=gen)
    needed = intake_bytes(1, 900, n, m or 1)
    refuse_at_the_door(x, y, needed)
    words = rf"^taking in one data set of 900 rows, 5 inputs and {m or 1} outputs, would take .* is the limit"
    with pytest.raises(DataError, match=words):
        refuse_at_the_door(x, y, needed - 1)
    with pytest.raises(DataError, match=words):
        discover(x, y, memory=needed - 1)


@pytest.mark.parametrize("shape", [(200_000, 10, 10), (200_000, 3, 1)])
def test_taking_in_one_data_set_takes_no_more_than_estimated(shape):
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the peak of memory is read from Linux's /proc")
    run = subprocess.run([sys.executable, "-c", TAKEN, *map(str, shape)], capture_output=True, text=True, check=True)
    peak, estimate = map(int, run.stdout.split())
    assert 0 < peak <= estimate


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int16])
def test_mapped_arrays_are_taken_in_as_others_are(tmp_path, dtype, gen):
    """Some tasks at a time, whose pages are given back."""
    values = (100 * torch.randn(1100, 3, 4, generator=gen)).numpy().astype(dtype)
    np.save(tmp_path / "x.npy", values)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    taken, wanted = take(mapped, mapped[..., :2]), take(values, values[..., :2])
    assert taken.x.dtype == torch.float64
    assert torch.equal(taken.x, wanted.x)
    assert torch.equal(taken.y, wanted.y)
    assert np.array_equal(mapped, values)
