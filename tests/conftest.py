"""Guards and generators for every test."""

import gc
import os
import signal

import hypothesis
import jaxtyping
import pytest
import torch

from tests.support import leaks, shapes

# Before anything of the package is imported, which the next line does.
shapes.check_while_testing()

from tests.support.engines import ENGINES, need  # noqa: E402

pytest.register_assert_rewrite("tests.support.runs")  # so that its asserts say what differs, as those of a test do
if "OMP_NUM_THREADS" not in os.environ:
    # Threads that wait for each other are slow on a machine that is busy, as with workers side by side.
    torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)
# A script starts what runs in its background with SIGINT ignored, and nohup ignores SIGHUP. Tests of signals, and the
# processes that they start, need them as a terminal has them.
for _number, _usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _usual)
# Correctness, never wall time; the same examples in every run.
hypothesis.settings.register_profile("msr", deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.load_profile("msr")

_BEFORE = pytest.StashKey[leaks.State]()


def pytest_collection_finish():
    """The garbage collector passes over what the imports have made: a tenth of the time, where graphs are traced."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item):
    """Before any fixture, those of a whole module included."""
    item.stash[_BEFORE] = leaks.snapshot()
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item):
    """A test fails that leaves the process's state changed; what can be is put back, so that no other fails for it."""
    result = yield
    before = item.stash[_BEFORE]
    found = leaks.changes(before, leaks.snapshot())
    if found:
        leaks.restore(before)
        pytest.fail("the test leaves this changed:\n" + "\n".join(found), pytrace=False)
    return result


@pytest.fixture
def shapes_unchecked(monkeypatch) -> None:
    """Annotated shapes are not checked: for tests of ``torch.compile``, which cannot read the check."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture
def gen() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(params=[torch.float32, torch.float64], ids=["f32", "f64"])
def dtype(request) -> torch.dtype:
    return request.param


@pytest.fixture(params=ENGINES)
def backend(request) -> str:
    """An engine whose library is here."""
    need(request.param)
    return request.param
