"""The guard on what tests leave behind sees each kind of leak, and takes nothing else for one."""

import importlib
import os
import random
import re
import sys
import textwrap
import types
import warnings

import numpy as np
import pytest
import torch

from tests.support import leaks
from tests.support.forks import in_a_fork


def fake_without_spec(tmp_path):
    sys.modules["learn2learn_fake"] = types.ModuleType("learn2learn_fake")


def fake_from_elsewhere(tmp_path):
    (tmp_path / "a_fake_library.py").write_text("version = 3")
    sys.path.insert(0, str(tmp_path))
    importlib.invalidate_caches()
    importlib.import_module("a_fake_library")
    sys.path.remove(str(tmp_path))


def fake_child_of_a_real_package(tmp_path):
    sys.modules["json.a_fake_child"] = types.ModuleType("json.a_fake_child")


def blocked(tmp_path):
    sys.modules["a_library_that_is_blocked"] = None


def replaced(tmp_path):
    sys.modules["json.scanner"] = types.ModuleType("json.scanner")


def removed(tmp_path):
    del sys.modules["json.scanner"]


def drawn_with_torch(tmp_path):
    torch.randn(1)


def drawn_with_numpy(tmp_path):
    np.random.rand()  # noqa: NPY002


def drawn_with_python(tmp_path):
    random.random()


LEAKS = {
    "fake without a spec": (
        fake_without_spec,
        r"\['learn2learn_fake'\] was added and is no real module: it has no __spec__",
    ),
    "fake from elsewhere": (
        fake_from_elsewhere,
        r"'a_fake_library'\] was added and is no real module: .* is not below",
    ),
    "fake child": (fake_child_of_a_real_package, r"'json.a_fake_child'\] was added and is no real module"),
    "blocked": (blocked, r"'a_library_that_is_blocked'\] was added and is no real module: it is None"),
    "replaced": (replaced, r"sys.modules\['json.scanner'\] was replaced by"),
    "removed": (removed, r"sys.modules\['json.scanner'\] was removed"),
    "path": (lambda tmp_path: sys.path.insert(0, str(tmp_path)), "sys.path was"),
    "folder": (os.chdir, "the working directory was"),
    "new variable": (lambda _: os.environ.update(A_NEW_ONE="1"), "variable A_NEW_ONE was None and is '1'"),
    "changed variable": (lambda _: os.environ.update(PATH="/"), "variable PATH was .* and is '/'"),
    "removed variable": (lambda _: os.environ.pop("PATH"), "variable PATH was .* and is None"),
    "dtype": (lambda _: torch.set_default_dtype(torch.float64), "the default dtype was torch.float32 and is"),
    "device": (lambda _: torch.set_default_device("meta"), "the default device was cpu and is meta"),
    "threads": (lambda _: torch.set_num_threads(torch.get_num_threads() + 1), "the number of threads was"),
    "gradients": (lambda _: torch._C._set_grad_enabled(False), "whether gradients are recorded was True and is False"),
    "deterministic": (lambda _: torch.use_deterministic_algorithms(True), "algorithms are deterministic was False"),
    "anomalies": (lambda _: torch.autograd.set_detect_anomaly(True), "whether anomalies are looked for was False"),
    "numpy errors": (lambda _: np.seterr(all="raise"), "numpy's floating point errors was"),
    "torch draw": (drawn_with_torch, "drew from torch's global generator"),
    "torch seed": (lambda _: torch.manual_seed(torch.initial_seed() + 1), "drew from torch's global generator"),
    "numpy draw": (drawn_with_numpy, "drew from numpy's global generator"),
    "python draw": (drawn_with_python, "drew from Python's global generator"),
}


@pytest.mark.parametrize(("leak", "sentence"), LEAKS.values(), ids=LEAKS)
def test_each_kind_of_leak_is_seen_and_put_back(leak, sentence, tmp_path):
    import json.scanner  # noqa: F401  # two of the leaks take it away

    before = leaks.snapshot()
    try:
        leak(tmp_path)
        found = leaks.changes(before, leaks.snapshot())
    finally:
        leaks.restore(before)
    assert len(found) == 1, found
    assert re.search(sentence, found[0]), found
    assert leaks.changes(before, leaks.snapshot()) == []


def test_what_a_test_may_do_is_no_leak(tmp_path, monkeypatch):
    """Import real modules, and change things for as long as it runs."""
    before = leaks.snapshot()
    importlib.import_module("this" if "wave" in sys.modules else "wave")  # of the standard library, not imported yet
    with torch.random.fork_rng(), monkeypatch.context() as patch, warnings.catch_warnings():
        patch.syspath_prepend(tmp_path)
        patch.setenv("A_NEW_ONE", "1")
        patch.chdir(tmp_path)
        patch.setitem(sys.modules, "a_library_that_is_blocked", None)
        torch.manual_seed(3)
    assert sys.modules.keys() - before.modules.keys()
    assert leaks.changes(before, leaks.snapshot()) == []


def test_pytest_fails_the_test_that_leaks_and_no_other(tmp_path):
    """The hooks, in a pytest and a process of its own.

    Fixtures of a module and of a test are covered, and the next test passes.
    """
    (tmp_path / "conftest.py").write_text("from tests.conftest import pytest_runtest_setup, pytest_runtest_teardown\n")
    (tmp_path / "test_it.py").write_text(
        textwrap.dedent("""
            import os, sys, types
            import pytest

            @pytest.fixture
            def leaky():
                yield
                os.environ["LEFT_BY_A_FIXTURE"] = "1"

            def test_leaves_a_fake():
                sys.modules["learn2learn_fake"] = types.ModuleType("learn2learn_fake")

            def test_leaves_a_variable(leaky):
                pass

            def test_is_clean():
                assert "learn2learn_fake" not in sys.modules
                assert "LEFT_BY_A_FIXTURE" not in os.environ
        """)
    )

    def run():
        os.chdir(tmp_path)
        assert pytest.main(["-q", "-p", "no:cacheprovider", "-c", os.devnull, str(tmp_path)]) == 1

    output = in_a_fork(run)
    assert "3 passed, 2 errors" in output
    for name in ("test_leaves_a_fake", "test_leaves_a_variable"):
        assert f"ERROR at teardown of {name}" in output
