"""Run folders under attack: damaged files, starved and stopped processes, many at once, dead streams, odd names."""

import contextlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments import translation
from msr.errors import ConfigError, DataError
from msr.meta import OuterLoop
from msr.runs import arms, signals
from msr.runs import command as _run
from msr.runs import folder as _folder
from msr.runs.config_file import read_config
from tests.support import ROOT
from tests.support.runs import TINY, assert_same_run, error_line, lines, same, translate, without_times

ARMS = ("conv-ridge-seed0", "mtsr-ridge-seed0")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, pool) -> Path:
    """A whole run, by a process with one thread."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    assert pool.run("translation", "--out", str(folder))["status"] == [0]
    return folder


# Damage


def reading(config: translation.Config) -> None:
    """Everything that a runner reads from a folder, read by its own functions, and compared with what was written."""
    own = [translation.Arm("conv", "ridge", 0), translation.Arm("mtsr", "ridge", 0)]
    folder = _folder.RunFolder("translation", config)
    known = WRITTEN[0]
    assert all(without_times(row) == known["rows"][arm] for arm, row in folder.rows.items())
    assert all(without_times(m) in known["metrics"] for arm in ARMS for m in folder.metrics(arm))
    for arm, params in known["params"].items():
        kept = translation.trained_params(folder, arm)
        assert kept is None or same(kept[0]._asdict(), params)
    if set(folder.rows) == set(ARMS):
        arms.summarise(folder, own, translation.summary_line)


WRITTEN: list[dict] = []
ODD = (b"{}", b"[]", b"null", b'{"arm": 1}', b"[" * 5000, b'{"arm": "conv-ridge-seed0"}', b"NaN", b"\xff\xfe", b"seed")
FILES = ("config.toml", "rows.jsonl", "metrics.jsonl", *(f"checkpoints/{a}.pt" for a in (ARMS[0], "mtsr-joint-seed0")))


@st.composite
def damages(draw):
    """A file, and what becomes of its bytes; None: it is gone."""
    name, kind = (
        draw(st.sampled_from(FILES)),
        draw(st.sampled_from(("flip", "cut", "drop", "add", "line", "all", "gone"))),
    )
    at, length = draw(st.floats(0, 1, exclude_max=True)), draw(st.integers(1, 40))
    odd, bit = draw(st.sampled_from(ODD)), draw(st.integers(0, 7))

    def damage(content: bytes) -> bytes | None:
        place = int(at * len(content))
        if kind == "flip":
            return content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]
        if kind == "line":
            parts = content.split(b"\n")
            parts[int(at * len(parts))] = odd
            return b"\n".join(parts)
        changed = {"cut": content[:place], "drop": content[:place] + content[place + length :], "gone": None}
        return {**changed, "add": content[:place] + odd + content[place:], "all": odd}[kind]

    return name, damage


@pytest.fixture(scope="module")
def written(finished):
    """What the whole run holds."""
    rows = {line.pop("arm"): line for line in lines(finished / "rows.jsonl")}
    metrics = lines(finished / "metrics.jsonl")
    for line in (*rows.values(), *metrics):
        del line["crc32"]
    params = {Path(name).stem: torch.load(finished / name, weights_only=True)["params"] for name in FILES[3:]}
    WRITTEN[:] = [{"rows": rows, "metrics": metrics, "params": params}]
    return finished


@settings(max_examples=320)
@given(case=damages())
def test_a_damaged_folder_is_read_as_it_was_or_refused_in_one_line(case, written):
    name, damage = case
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        shutil.copytree(written, folder)
        changed = damage((folder / name).read_bytes())
        if changed is None:
            (folder / name).unlink()
        else:
            (folder / name).write_bytes(changed)
        said = Path(place) / "stderr"
        with said.open("w") as stderr, pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stderr", stderr)
            status = _run.main(translation.Config, reading, [*TINY, "--out", str(folder), "--resume", "--threads", "1"])
        assert status in (0, 2), said.read_text()
        if status == 2:
            assert str(folder) in error_line(said.read_text())


DAMAGE = {
    "a bad line inside rows": ("rows.jsonl", lambda b: b'{"arm": "con\n' + b, "rows.jsonl, line 1: is no JSON"),
    "rows without their keys": ("rows.jsonl", lambda b: b'{"arm": "conv-ridge-seed0"}\n', "no object with a crc32"),
    "another number": ("rows.jsonl", lambda b: b.replace(b'"n": 4', b'"n": 5'), "is not what was written"),
    "a time of another kind": ("rows.jsonl", lambda b: b.replace(b'"seconds": ', b'"seconds": -'), "is not what was"),
    "bytes in metrics": ("metrics.jsonl", lambda b: b"\xff\n" + b, "metrics.jsonl, line 1: its bytes are no text"),
    "deep nesting": ("rows.jsonl", lambda b: b"[" * 100_000 + b"\n" + b, "rows.jsonl, line 1: is no JSON"),
    "a list in metrics": ("metrics.jsonl", lambda b: b"[1]\n" + b, "metrics.jsonl, line 1: is no object"),
    "a cut line of config": ("config.toml", lambda b: b.replace(b"seeds = 1", b"seeds"), "line 3 is 'seeds'"),
    "a changed config": (
        "config.toml",
        lambda b: b.replace(b"threads = 1", b"threads = 2"),
        "was changed after it was",
    ),
    "an empty checkpoint": (FILES[4], lambda b: b"", f"{FILES[4]}"),
    "a cut checkpoint": (FILES[4], lambda b: b[:900], f"{FILES[4]}"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_runner_names_the_file_the_line_and_the_remedy(damage, finished, tmp_path, capsys):
    name, change, says = DAMAGE[damage]
    shutil.copytree(finished, tmp_path / "run")
    file = tmp_path / "run" / name
    before = file.read_bytes()
    file.write_bytes(change(before))
    assert file.read_bytes() != before
    assert translate("--out", str(tmp_path / "run"), "--resume", "--threads", "1") == 2
    line = error_line(capsys.readouterr().err)
    assert says in line
    assert str(file) in line
    assert any(word in line for word in ("remove", "restore", "must be"))


@pytest.mark.parametrize("name", ["metrics.jsonl", "rows.jsonl", "config.toml", f"checkpoints/{ARMS[1]}.pt"])
def test_a_pipe_in_the_place_of_a_file_is_refused_and_not_waited_for(name, finished, tmp_path, capsys):
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / "rows.jsonl").unlink()
    (tmp_path / "run" / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / "run" / name)

    waited = []

    def waits(number, frame):
        waited.append(name)
        raise TimeoutError("it waits for the pipe")

    before = signal.signal(signal.SIGALRM, waits)
    signal.alarm(20)
    try:
        assert translate("--out", str(tmp_path / "run"), "--resume", "--threads", "1") == 2
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert waited == []
    line = error_line(capsys.readouterr().err)
    assert "is a pipe or a device" in line or "no config.toml" in line


def test_a_link_in_a_folder_from_elsewhere_writes_over_nothing(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "run" / "checkpoints" / ".holder").unlink(missing_ok=True)
    (tmp_path / "run" / "checkpoints" / ".holder").symlink_to(tmp_path / "mine")
    assert translate("--out", str(tmp_path / "run"), "--resume", "--threads", "1") == 0
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_config_without_end_is_refused_at_its_first_megabyte(tmp_path):
    with (tmp_path / "c.toml").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ConfigError, match="larger than"):
        read_config(tmp_path / "c.toml")


def test_lost_checkpoints_of_a_finished_run_leave_an_arm_out_of_the_figures(finished, tmp_path, capsys):
    shutil.copytree(finished, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    for name in ("rows.jsonl", "metrics.jsonl"):  # a last line that was being written counts as not written
        with (tmp_path / "run" / name).open("a") as file:
            file.write('{"arm": "conv')
    (tmp_path / "run" / "sharing.png").unlink()
    assert translate("--out", str(tmp_path / "run"), "--resume", "--threads", "1") == 0
    assert "mtsr-joint-seed0: left out of the figures: " in capsys.readouterr().err
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["rows"] == json.loads((finished / "results.json").read_text())["rows"]
    assert not (tmp_path / "run" / "sharing.png").exists()


def test_a_finished_arm_without_a_curve_is_named(tmp_path):
    folder = _folder.RunFolder("translation", translation.Config(out=str(tmp_path / "run")))
    try:
        folder.log(arm="a", step=1)
        assert folder.metrics("a", needed="step") == [{"arm": "a", "step": 1}]
        with pytest.raises(DataError, match=r"has no line of a with test, though it is finished; remove its line"):
            folder.metrics("a", needed="test")
    finally:
        _folder.release()


# Processes


@pytest.mark.parametrize("together", [2, 8])
def test_of_those_that_start_at_once_exactly_one_gets_in(together, pool, finished, tmp_path):
    for i in range(2):
        out = tmp_path / f"run{i}"
        answer = pool.run("translation", "--out", str(out), together=together)
        assert sorted(answer["status"]) == [0] + [2] * (together - 1), answer
        for status, text in zip(answer["status"], answer["stderr"], strict=True):
            if status == 2:
                line = error_line(text)
                assert ("is in use by process" in line and " on " in line) or "already holds a run" in line
        assert_same_run(out, finished)


def test_of_those_that_continue_at_once_exactly_one_gets_in(pool, finished, tmp_path):
    pool.run("translation", "--out", str(tmp_path / "run"), kill_at=20)
    answer = pool.run("translation", "--out", str(tmp_path / "run"), "--resume", together=4)
    assert 0 in answer["status"]
    for status, text in zip(answer["status"], answer["stderr"], strict=True):
        if status:
            assert "is in use by process" in error_line(text)
    assert_same_run(tmp_path / "run", finished)


@pytest.mark.parametrize("size", [100, 900, 4000, 9000])
def test_a_full_disk_is_one_line_and_nothing_is_lost(size, pool, finished, tmp_path):
    out = tmp_path / "run"
    answer = pool.run("translation", "--out", str(out), largest_file=size)
    assert answer["status"] == [2]
    line = error_line(answer["stderr"][0])
    assert "File too large" in line
    assert not list(out.rglob("*.part"))
    for path in out.glob("*.jsonl"):
        assert path.read_bytes()[-1:] in (b"\n", b"")  # whole lines
        lines(path)
    started = (out / "config.toml").exists()
    assert ("continue with --resume" in line) is started
    assert pool.run("translation", "--out", str(out), *(["--resume"] if started else []))["status"] == [0]
    assert_same_run(out, finished)


def test_a_signal_finishes_the_step_saves_and_has_its_own_status(finished, tmp_path, monkeypatch, capsys):
    """One after the other, each in the middle of a step of another fit; then the run is continued to its end."""
    step, stops = OuterLoop.step, [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    handlers = [signal.getsignal(number) for number in stops]
    names = ["conv-ridge-seed0", "mtsr-joint-seed0", "mtsr-joint-seed0"]
    out = tmp_path / "run"
    for number, arm, at, resume in zip(stops, names, (1, 0, 1), ([], ["--resume"], ["--resume"]), strict=True):
        told: list[bool] = []

        def told_to_stop(self, *args, number=number, at=at, told=told):
            if self.steps_done == at and not told:
                told.append(True)
                os.kill(os.getpid(), number)
            return step(self, *args)

        monkeypatch.setattr(OuterLoop, "step", told_to_stop)
        assert translate("--out", str(out), *(resume or ["--threads", "1"])) == 128 + number
        assert capsys.readouterr().err.splitlines()[-1].startswith("stopped; what was finished is kept: continue with")
        assert torch.load(out / "checkpoints" / f"{arm}.pt", weights_only=True)["steps_done"] == at + 1
        assert not (out / "results.json").exists()
        assert handlers == [signal.getsignal(number) for number in stops]
    monkeypatch.setattr(OuterLoop, "step", step)
    assert translate("--out", str(out), "--resume") == 0  # with the one thread that is written down
    assert_same_run(out, finished)


def test_the_command_to_continue_holds_for_any_name_and_steers_no_terminal(tmp_path, capsys):
    def stops(config):
        _folder.RunFolder("translation", config)
        raise KeyboardInterrupt

    out = tmp_path / "a \x1b[1m"
    assert _run.main(translation.Config, stops, [*TINY, "--out", str(out)]) == 130
    line = capsys.readouterr().err
    assert "\x1b" not in line
    flags = line.partition("continue with ")[2]
    shell = subprocess.run(["bash", "-c", f"printf '%s\\0' {flags}"], capture_output=True, check=True)
    assert shell.stdout.split(b"\0")[:3] == [b"--resume", b"--out", os.fsencode(out)]


def test_a_signal_that_was_ignored_stays_ignored(monkeypatch):
    """As SIGHUP is under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.raising(), signals.deferred() as caught:
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert caught == []
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_second_signal_does_not_wait_for_the_step():
    with pytest.raises(signals.Stop) as stop, signals.deferred() as caught:  # noqa: PT012
        os.kill(os.getpid(), signal.SIGTERM)
        assert caught == [signal.SIGTERM]
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("the second one was collected")
    assert stop.value.status == 130


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux which signals a process handles")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_libraries_load_is_one_line(number, tmp_path):
    out = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments.translation", "--out", str(out)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not _handles(process.pid, signal.SIGTERM):  # from the first import of the package on
        assert process.poll() is None
        time.sleep(0.001)
    process.send_signal(number)
    text = process.communicate()[1]
    assert process.returncode == 128 + number
    assert text.count("\n") == 1
    assert text.startswith("stopped before anything")
    assert not out.exists()


def _handles(pid: int, number: int) -> bool:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool(int(status["SigCgt"], 16) >> (number - 1) & 1)


# Streams, crashes, names


@contextlib.contextmanager
def dead_stream(monkeypatch, name: str, kind: str):
    """A pipe that nobody reads, a full disk, or nothing, in the place of a standard stream."""
    stream = None
    if kind == "pipe":
        reader, writer = os.pipe()
        os.close(reader)
        stream = os.fdopen(writer, "w", buffering=1)
    elif kind == "disk":
        stream = open("/dev/full", "w")  # noqa: SIM115  # closed below, where that may fail
    with monkeypatch.context() as patch:
        patch.setattr(sys, name, stream)
        yield
    if stream:
        with contextlib.suppress(OSError):
            stream.close()


@pytest.mark.parametrize("kind", ["pipe", "disk", "none"])
def test_a_run_goes_on_where_stderr_cannot_be_written(kind, finished, tmp_path, monkeypatch):
    if kind != "pipe":
        shutil.copytree(finished, tmp_path / "run")
    with dead_stream(monkeypatch, "stderr", kind):
        resume = [] if kind == "pipe" else ["--resume"]
        assert translate("--out", str(tmp_path / "run"), "--threads", "1", *resume) == 0
    assert_same_run(tmp_path / "run", finished)


@pytest.mark.parametrize("kind", ["pipe", "disk", "none"])
def test_a_table_that_cannot_be_shown_is_a_failure_that_says_where_the_results_are(
    kind, finished, tmp_path, monkeypatch, capsys
):
    shutil.copytree(finished, tmp_path / "run")
    with dead_stream(monkeypatch, "stdout", kind):
        assert translate("--out", str(tmp_path / "run"), "--threads", "1", "--resume") == 2
    assert f"the results are in {tmp_path}/run/results.json" in error_line(capsys.readouterr().err)
    assert_same_run(tmp_path / "run", finished)


def test_a_fault_of_the_program_has_a_status_and_a_file_of_its_own(tmp_path, monkeypatch, capsys):
    def broken(config):
        raise KeyError("secret\nkey")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert _run.main(translation.Config, broken, TINY) == 70
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    (file,) = tmp_path.iterdir()
    assert str(file) in text
    assert "KeyError" in text
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "Traceback (most recent call last)" in file.read_text()
    assert "in broken" in file.read_text()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    assert _run.main(translation.Config, broken, TINY) == 70
    assert "test_folder.py:" in capsys.readouterr().err


FORESEEN = {
    "memory": (MemoryError(), "needs more memory"),
    "torch's memory": (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate"), "memory"),
    "overflow": (OverflowError("Python int too large to convert to C long"), "too large to compute with"),
    "torch's overflow": (RuntimeError("value cannot be converted to type float without overflow"), "too large"),
    "disk": (OSError(28, "No space left on device", "/a/b"), "/a/b: No space left on device; free some space"),
}


@pytest.mark.parametrize("kind", FORESEEN)
def test_a_foreseen_failure_is_one_line_and_status_two(kind, capsys):
    error, says = FORESEEN[kind]

    def fails(config):
        raise error

    assert _run.main(translation.Config, fails, TINY) == 2
    assert says in error_line(capsys.readouterr().err)


NAMES = {
    "256 letters": (["--out", "x" * 256], "File name too long"),
    "a zero byte": (["--config", 'out = "a\\u0000b"'], "--out holds a zero byte"),
    "deep nesting": (["--config", "noise = " + "[" * 100_000], "line 1 is"),
    "infinity": (["--config", "noise = Infinity"], "line 1 is"),
    "a key twice": (["--config", "seed = 1\nseed = 1"], "line 2 is"),
    "bytes": (["--config", b"\xff"], "its bytes are no text"),
}


@pytest.mark.parametrize("case", NAMES)
def test_odd_names_and_configs_are_refused(case, tmp_path, capsys, monkeypatch):
    flags, says = NAMES[case]
    monkeypatch.chdir(tmp_path)
    if flags[0] == "--config":
        content = flags[1]
        Path("c.toml").write_bytes(content if isinstance(content, bytes) else content.encode())
        flags = ["--config", "c.toml"]
    assert translate(*flags) == 2
    assert says in error_line(capsys.readouterr().err)
    assert {path.name for path in tmp_path.iterdir()} <= {"c.toml"}


def test_runs_without_a_name_that_start_in_the_same_second_have_their_own_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = Path("runs/a-1")
    assert [_folder._new_folder(path).name for _ in range(3)] == ["a-1", "a-1-2", "a-1-3"]
