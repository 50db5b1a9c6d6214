"""Processes that are really started: by the flag, by torchrun, by Fabric's command; and what a kill leaves behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments import dimension, translation
from msr.runs import command as _run
from tests.support import ROOT
from tests.support.processes import free_port
from tests.support.runs import TINY, error_line

# Seconds. All that is waited for takes one or two of them on a machine that has nothing else to do.
PATIENCE = 120
RUN = [*TINY, "--models", "conv"]
ENDLESS = [*RUN, "--inner", "sgd", "--outer-steps", "1000000", "--checkpoint-seconds", "0.1"]


def start(*command: str) -> "subprocess.Popen[str]":
    """A process in a session of its own, with all that it starts."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def members(session: int) -> list[int]:
    """The processes of a session that live."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, (state, _, _, its_session) = stat.parent.name, stat.read_text().rpartition(")")[2].split()[:4]
        except (OSError, ValueError):
            continue
        if int(its_session) == session and state not in "ZX":
            found.append(int(pid))
    return found


def wait_until(is_so: Callable[[], object]) -> None:
    """Wait until something is so; AssertionError where it takes too long."""
    end = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def training(tmp_path):
    """A run of two processes that has begun to train, and the number of the process that was started by the other."""
    out = tmp_path / "run"
    process = start(sys.executable, "-m", "experiments.translation", *ENDLESS, "--devices", "2", "--out", str(out))
    try:
        checkpoint = out / "checkpoints" / "conv-sgd-seed0.1.pt"
        wait_until(lambda: checkpoint.exists() or process.poll() is not None)
        assert process.poll() is None, process.communicate()
        (other,) = set(members(process.pid)) - {process.pid}
        yield process, other, out
    finally:
        for pid in members(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.slow
def test_a_killed_process_ends_the_run(training):
    process, other, out = training
    killed = time.monotonic()
    os.kill(other, signal.SIGKILL)
    _, err = process.communicate(timeout=PATIENCE)
    assert time.monotonic() - killed < 30  # two seconds, and what a busy machine makes of them
    assert process.returncode == 2
    said = "error: process 1 of 2 was ended by SIGKILL; what was finished is kept: continue with --resume --out "
    assert error_line(err) == f"{said}{out}"
    assert not members(process.pid)


@pytest.mark.slow
def test_a_killed_launcher_leaves_no_process_behind(training):
    process, _, out = training
    os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: not members(process.pid))
    _, err = process.communicate()
    said = "error: the process that started process 1 of 2 is gone; what was finished is kept: continue with --resume"
    assert error_line(err) == f"{said} --out {out}"


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["torchrun", "fabric"])
def test_other_launchers(launcher, tmp_path):
    out = tmp_path / "run"
    bin_folder = Path(sys.executable).parent
    command = {
        "torchrun": [bin_folder / "torchrun", "--nproc-per-node=2", "-m", "experiments.translation"],
        "fabric": [
            bin_folder / "fabric",
            "run",
            "--devices=2",
            f"--main-port={free_port()}",
            "experiments/translation.py",
        ],
    }[launcher]
    process = start(*map(str, command), *RUN, "--outer-steps", "2", "--out", str(out))
    stdout, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    results = json.loads((out / "results.json").read_text())
    assert (results["environment"]["processes"], results["environment"]["backend"]) == (2, "gloo")
    assert stdout.count("zero predictor") == 1
    assert err.count("2 outer steps in") == 1


def test_what_no_launcher_can_start_is_refused(tmp_path, monkeypatch, capsys):
    out = ["--out", str(tmp_path / "run")]
    # The command line of this process is that of the tests, with which no other process can be started.
    assert _run.main(translation.Config, translation.run, [*RUN, "--devices", "2", *out]) == 2
    assert "other processes start with the command line of this one" in error_line(capsys.readouterr().err)
    for name, value in {"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert _run.main(translation.Config, translation.run, [*RUN, "--devices", "3", *out]) == 2
    says = "--devices 3 --nodes 1 are not what the launcher started, 2 processes on each of 2 machines; leave them out"
    assert says in error_line(capsys.readouterr().err)
    assert _run.main(dimension.Config, dimension.run, out) == 2
    assert "this runner computes in one process, and was started as 4" in error_line(capsys.readouterr().err)
    monkeypatch.setenv("LT_PRECISION", "bf16-mixed")
    assert _run.main(translation.Config, translation.run, [*RUN, "--batch", "8", *out]) == 2
    assert "leave out --precision bf16-mixed" in error_line(capsys.readouterr().err)
    assert not (tmp_path / "run").exists()


def test_without_the_flag_fabric_is_not_imported(tmp_path):
    code = (
        "import sys\n"
        "import msr\n"
        "from experiments import translation\n"
        "from msr.runs.command import main\n"
        f"status = main(translation.Config, translation.run, {[*RUN, '--out', str(tmp_path / 'run')]!r})\n"
        "found = [name for name in sys.modules if name.startswith('lightning')]\n"
        "sys.exit(status or bool(found))\n"
    )
    process = start(sys.executable, "-c", code)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err


def test_without_fabric_the_flag_names_its_extra(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    monkeypatch.setenv("LOCAL_RANK", "0")
    flags = [*RUN, "--devices", "2", "--out", str(tmp_path / "run")]
    assert _run.main(translation.Config, translation.run, flags) == 2
    assert error_line(capsys.readouterr().err) == (
        "error: several processes need lightning-fabric: pip install 'msr[processes]'"
    )
