"""``msr discover`` on several files: a line for each, whatever becomes of the others."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from msr.cli import main, several_files
from msr.cli.flags import parser
from tests.support import ROOT


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with a file that has a group, one with too few tasks, and one that was cut short."""
    folder = tmp_path_factory.mktemp("files")
    for name, group, tasks in (("b", "c6", "200"), ("a", "c4", "30")):
        words = ["sample", "group", "--group", group, "--tasks", tasks, "--out", str(folder / f"{name}.npz")]
        assert main(words) == 0
    (folder / "cut.npz").write_bytes((folder / "b.npz").read_bytes()[:5000])
    (folder / "notes.txt").touch()
    (folder / ".hidden.npz").touch()
    return folder


@pytest.fixture
def run(capsys, monkeypatch, files):
    """Run a command line in the folder of the files: its code, what it printed, and what it complained of."""
    monkeypatch.chdir(files)

    def run(*words: object):
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def cells(table: str) -> list[list[str]]:
    """The cells of a table's lines."""
    rows = [line for line in table.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows]


def verdicts(table: str) -> list[list[str]]:
    """The first three cells of each line: file, verdict and group."""
    return [row[:3] for row in cells(table)]


def without_seconds(path: Path) -> list:
    found = json.loads(path.read_text())
    for each in found:
        if each["answer"]:
            each["answer"].pop("seconds")
    return found


@pytest.mark.slow
def test_a_folder_is_a_table_and_a_damaged_file_a_line(run, tmp_path):
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    code, text, error = run("discover", ".", "--jobs", "2", "--json", two, "--out", tmp_path / "report")
    assert code == 2
    assert verdicts(text) == [["a.npz", "cannot tell", ""], ["b.npz", "found", "C6"], ["cut.npz", "failed", ""]]
    rows = cells(text)
    assert rows[0][5].startswith("got 30 different tasks")
    assert rows[1][3] == "6"
    assert rows[1][4].endswith("%")
    assert "cut.npz is not a whole .npz" in rows[2][5]
    assert "1 found, 1 cannot tell, 1 failed" in text
    assert "for one over all 3 together, give --alpha 0.0033" in text
    assert error.splitlines()[-1] == "error: 1 of 3 files could not be judged; the table says why"
    assert "Traceback" not in error
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == ["a", "b"]
    page = (tmp_path / "report" / "b" / "report.html").read_text()
    assert "msr discover b.npz --layer auto" in page
    assert json.loads((tmp_path / "report" / "b" / "result.json").read_text())["verdict"] == "found"

    assert run("discover", ".", "--json", one)[0] == 2
    found = without_seconds(one)
    assert found == without_seconds(two)  # whatever is judged at a time
    assert [(each["file"], each["error"] is None, each["answer"] is None) for each in found] == [
        ("a.npz", True, False), ("b.npz", True, False), ("cut.npz", False, True)
    ]  # fmt: skip


def test_files_keep_their_order_and_all_judged_is_code_0(run):
    code, text, error = run("discover", "b.npz", "a.npz", ".//b.npz")
    assert code == 0
    assert [row[0] for row in cells(text)] == ["b.npz", "a.npz"]
    assert "error" not in error
    code, text, _ = run("discover", "a.npz", "nothing.npz", "--json", "-")
    assert code == 2
    assert [each["error"] for each in json.loads(text)] == [
        None, "nothing.npz: no such file; give a .npz with arrays x and y"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["empty"], "empty is a folder without .npz files"),
        (["b.npz", "--jobs", "2"], "--jobs is for several files"),
        (["a.npz", "b.npz", "--jobs", "0"], "--jobs must be a whole number from 1 on"),
        (["a.npz", "b.npz", "--json", "b.npz"], "--json b.npz is the file that is read"),
        (["a.npz", "b.npz", "--out", "r", "--json", "r/b/result.json"], "cannot be written"),
        (["a.npz", "b.npz", "--alpha", "0"], "--alpha"),
        (["a.npz", "--together", "--seeds", "2"], "--seeds has no meaning with --together"),
        (["a.npz", "--together", "--out", "r"], "--out has no meaning with --together"),
    ],
)
def test_what_cannot_work_is_one_line(words, says, run, files):
    (files / "empty").mkdir(exist_ok=True)
    code, text, error = run("discover", *words)
    assert (code, text) == (2, "")
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert says in error


@pytest.mark.slow
def test_together_is_one_answer_for_all_files(run, tmp_path):
    for name, seed in (("one", 1), ("two", 2)):
        words = ["sample", "group", "--group", "c5", "--tasks", 2200, "--examples", 6, "--seed", seed]
        assert run(*words, "--out", tmp_path / f"{name}.npz")[0] == 0
    code, text, _ = run("discover", tmp_path, "--together", "--json", tmp_path / "answer.json")
    assert code == 0
    assert text.startswith("The cyclic group C5, order 5")
    assert "4,400 different tasks, of which 4,000 proposed and named it" in text
    assert "400 others tested it" in text
    answer = json.loads((tmp_path / "answer.json").read_text())
    assert (answer["verdict"], answer["n_tested"], answer["pool"]["group"]["name"]) == ("found", 400, "C5")
    assert [Path(file).name for file in answer["files"]] == ["one.npz", "two.npz"]
    code, _, error = run("discover", "b.npz", "cut.npz", "--together")
    assert code == 2
    assert error.startswith("error: cut.npz is not a whole .npz file")
    assert run("discover", "a.npz", "--together")[0] == 3


def test_files_of_one_name_have_reports_of_their_own(tmp_path):
    from msr.cli.doors import discover_door

    paths = [tmp_path / name for name in ("one/b.npz", "two/b.npz", "two/b-2.npz")]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    options = parser().parse_args(["discover", str(tmp_path / "one"), *map(str, paths[1:])])
    discover_door(options)
    assert options.files == {"b": paths[0], "b-2": paths[1], "b-2-2": paths[2]}


def test_without_joblib_one_line_says_what_to_install(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "joblib", None)
    code, _, error = run("discover", "a.npz", "b.npz", "--jobs", "2")
    assert code == 2
    assert error == "error: joblib judges several files at a time: pip install 'msr[discover]', or give --jobs 1\n"


def test_a_fault_of_ours_in_one_file_is_a_line_and_code_70(run, monkeypatch):
    judge = several_files.answer_of

    def faulty(options, path, **how):
        if path.name == "b.npz":
            raise ZeroDivisionError
        return judge(options, path, **how)

    monkeypatch.setattr(several_files, "answer_of", faulty)
    code, text, error = run("discover", ".")
    assert code == 70
    assert verdicts(text) == [["a.npz", "cannot tell", ""], ["b.npz", "failed", ""], ["cut.npz", "failed", ""]]
    assert "the traceback is in " in error


@contextlib.contextmanager
def discovering(folder: Path, *flags: str) -> Iterator[tuple[subprocess.Popen, Callable[[], list[int]]]]:
    """A process that discovers in a folder, two files at a time, once both of its own processes have started.

    Beside it comes a function that gives the numbers of these processes.
    """
    words = [sys.executable, "-m", "msr", "discover", str(folder), "--jobs", "2", *flags]
    process = subprocess.Popen(
        words, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )

    def workers() -> list[int]:
        """The processes of the group that judge files."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has just ended
                if os.getpgid(int(path.name)) == process.pid and b"popen_loky" in (path / "cmdline").read_bytes():
                    found.append(int(path.name))
        return found

    end = time.monotonic() + 120
    while len(workers()) < 2 and time.monotonic() < end:
        time.sleep(0.1)
    time.sleep(1)
    try:
        yield process, workers
        assert process.poll() is not None
        assert not workers()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


@pytest.mark.slow
def test_ctrl_c_ends_every_process_with_one_line(files, tmp_path):
    """To the whole group of processes, as a terminal sends it, while those that judge files have just started."""
    for name in "123":
        shutil.copy(files / "b.npz", tmp_path / f"{name}.npz")
    # Whole searches are repeated so often that the first is still under way.
    with discovering(tmp_path, "--seeds", "500") as (process, _):
        # It is deaf for the moment in which it starts them: then the one who presses the keys presses them again.
        for _ in range(3):
            os.killpg(process.pid, signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                text, error = process.communicate(timeout=20)
                break
    assert (process.returncode, text, error) == (130, "", "interrupted\n")


@pytest.mark.slow
def test_a_process_that_is_ended_from_outside_costs_no_other_file_its_answer(files, tmp_path):
    for name in "123":
        shutil.copy(files / "b.npz", tmp_path / f"{name}.npz")
    with discovering(tmp_path, "--seeds", "3") as (process, workers):
        os.kill(workers()[0], signal.SIGKILL)
        text, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    assert [row[1:3] for row in cells(text)] == [["found", "C6"]] * 3
    assert "the other files come one at a time" in error
    assert "Traceback" not in error
