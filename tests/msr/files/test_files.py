"""One writer: whole or nothing, links and modes kept, open files and devices written to as they are."""

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from msr.errors import ConfigError
from msr.files.writing import append_line, refuse_inputs, write_together, write_whole
from tests.support import ROOT


def test_a_file_is_written_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "a.json"
    write_whole(path, lambda file: file.write(b"1"))
    write_whole(path, lambda file: file.write(b"22"))
    assert path.read_bytes() == b"22"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b"old")

    def fails(file):
        file.write(b"half")
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        write_whole(path, fails)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_several_files_appear_together_or_not_at_all(tmp_path):
    first, second = tmp_path / "a.json", tmp_path / "missing" / "b.json"
    with pytest.raises(OSError, match="missing") as error:
        write_together({first: lambda file: file.write(b"1"), second: lambda file: file.write(b"2")})
    assert error.value.filename == str(second)
    assert list(tmp_path.iterdir()) == []


def test_a_link_stays_a_link_and_a_mode_stays_a_mode(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    target.chmod(0o600)
    link.symlink_to("target")
    write_whole(link, lambda file: file.write(b"new"))
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_a_link_to_nothing_is_filled_and_a_circle_is_refused(tmp_path):
    (tmp_path / "link").symlink_to("there")
    write_whole(tmp_path / "link", lambda file: file.write(b"new"))
    assert (tmp_path / "there").read_bytes() == b"new"
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="ymbolic"):
        write_whole(tmp_path / "a", lambda file: file.write(b"new"))


def test_a_folder_is_refused_by_name(tmp_path):
    with pytest.raises(IsADirectoryError) as error:
        write_whole(tmp_path, lambda file: file.write(b"1"))
    assert error.value.filename == str(tmp_path)


@pytest.mark.parametrize("through", ["/dev/stdout", "link"])
def test_an_open_file_is_written_to_and_not_replaced(tmp_path, through):
    """The shell's own file keeps what was printed before and after."""
    (tmp_path / "link").symlink_to("/proc/self/fd/1")
    code = (
        "import sys; from pathlib import Path; from msr.files.writing import write_whole\n"
        "print('before', flush=True); write_whole(Path(sys.argv[1]), lambda f: f.write(b'inside\\n')); print('after')"
    )
    out = tmp_path / "out"
    with out.open("ab") as file:
        subprocess.run([sys.executable, "-c", code, through], stdout=file, cwd=tmp_path, check=True,
                       env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
    assert out.read_text() == "before\ninside\nafter\n"
    assert (tmp_path / "link").is_symlink()


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="no /dev/shm here")
def test_a_plain_file_below_dev_is_replaced_as_any_other():
    """``/dev/shm`` is a file system in memory: what is written there twice is not the one after the other."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        path = Path(folder) / "answer.json"
        path.write_bytes(b"old")
        write_whole(path, lambda file: file.write(b"new"))
        assert path.read_bytes() == b"new"
        assert os.listdir(folder) == ["answer.json"]


def test_a_name_below_dev_fd_is_an_open_file(tmp_path):
    with (tmp_path / "out").open("ab") as file:
        file.write(b"before ")
        file.flush()
        write_whole(Path(f"/dev/fd/{file.fileno()}"), lambda stream: stream.write(b"inside "))
        file.write(b"after")
    assert (tmp_path / "out").read_bytes() == b"before inside after"


def test_a_pipe_and_a_device_are_written_to_as_they_are(tmp_path):
    write_whole(Path("/dev/null"), lambda file: file.write(b"1"))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE)
    write_whole(pipe, lambda file: file.write(b"through"))
    assert reader.communicate(timeout=10)[0] == b"through"
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_an_input_is_never_an_output(tmp_path):
    source = tmp_path / "tasks.npz"
    source.write_bytes(b"1")
    (tmp_path / "link").symlink_to(source)
    os.link(source, tmp_path / "other")
    for name in ("tasks.npz", "link", "other"):
        with pytest.raises(ConfigError, match="is the file that is read"):
            refuse_inputs("--json", tmp_path / name, [source])
    refuse_inputs("--json", tmp_path / "new", [source])


def test_a_line_is_appended_after_the_last_whole_one(tmp_path):
    path = tmp_path / "a.jsonl"
    append_line(path, b"1\n")
    append_line(path, b"2\n")
    assert path.read_bytes() == b"1\n2\n"
    path.write_bytes(b"1\n2\n{cut")
    append_line(path, b"3\n")
    assert path.read_bytes() == b"1\n2\n3\n"
    path.write_bytes(b"{cut")
    append_line(path, b"3\n")
    assert path.read_bytes() == b"3\n"


def test_of_a_line_that_does_not_fit_nothing_stays(tmp_path):
    path = tmp_path / "a.jsonl"
    append_line(path, b"1" * 9 + b"\n")
    code = f"""
import resource
from pathlib import Path
from msr.files.writing import append_line
resource.setrlimit(resource.RLIMIT_FSIZE, (15, 15))
try:
    append_line(Path({str(path)!r}), b"2" * 9 + b"\\n")
except OSError as error:
    print(error.filename)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(path)
    assert path.read_bytes() == b"1" * 9 + b"\n"
