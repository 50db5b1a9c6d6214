"""The ``msr`` command in front of files, names, flags and machines that it should not trust."""

import ast
import errno
import html
import io
import json
import math
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from msr.cli import discover, main, one_file, sample
from msr.cli.answers import as_json, give
from msr.discovery import discover as search
from msr.errors import DataError, NonFiniteError
from msr.models.reading import read_model
from msr.printable import printable, quoted
from tests.support import ROOT
from tests.support.cases import seeded

C6 = ["--group", "c6", "--in", "regular", "--out", "regular"]
UNSEEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def circulant():
    i = np.arange(6)
    return np.cos((i - i[:, None]) % 6 * 1.3)


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Run a command line in an empty folder; its code, what it printed, and what it complained of."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def is_one_line(error):
    return error.startswith("error: ") and error.count("\n") == 1 and len(error) < 1500 and not UNSEEN.search(error)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Tasks with an answer, tasks that are too few for one, and a weight."""
    place = tmp_path_factory.mktemp("files")
    words = ["sample", "group", "--group", "c6", "--noise", "0.05"]
    assert main([*words, "--tasks", "120", "--out", str(place / "c6.npz")]) == 0
    assert main([*words, "--tasks", "20", "--examples", "4", "--out", str(place / "few.npz")]) == 0
    np.save(place / "w.npy", circulant())
    return place


# ------------------------------------------------------------------------------------------------------------- trust


class Touch:
    """A harmless payload: reading it makes a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def payload(path, fired):
    """A file of the kind that its suffix says, with code for every reader that would run some."""
    objects = np.array([Touch(fired)], dtype=object)
    if path.suffix == ".npy":
        np.save(path, objects, allow_pickle=True)
        return
    if path.suffix == ".npz":
        np.savez(path, W=objects)
        return
    if path.suffix == ".pt2":
        batch = torch.export.Dim("b", min=2)
        net = seeded(lambda: nn.Linear(6, 6))
        torch.export.save(torch.export.export(net, (torch.zeros(4, 6),), dynamic_shapes=({0: batch},)), path)
        torch.save(Touch(fired), path.with_suffix(".payload"))
        with zipfile.ZipFile(path) as old:
            members = {item.filename: old.read(item) for item in old.infolist()}
        with zipfile.ZipFile(path, "w") as new:
            for name, data in members.items():
                new.writestr(name, path.with_suffix(".payload").read_bytes() if "sample_inputs" in name else data)
        return
    torch.save(Touch(fired), path)  # a pickle, whatever its name says


@pytest.mark.parametrize("kind", [".pt2", ".pt", ".pth", ".npy", ".npz", ".safetensors", ".onnx", ".PT2"])
def test_no_file_runs_code_without_trust(kind, run, tmp_path):
    fired, path = tmp_path / "fired", tmp_path / f"net{kind.lower()}"
    payload(path, fired)
    path = path.rename(tmp_path / f"net{kind}")
    code, text, error = run("check", path, *C6)
    assert (code, text, fired.exists()) == (2, "", False)
    assert is_one_line(error)
    if kind.lower().startswith(".pt"):
        assert "add --trust if it is yours" in error
        assert ".safetensors" in error
        assert ".onnx" in error


def test_the_payloads_are_alive(run, tmp_path):
    for kind in (".pt2", ".pt"):
        fired = tmp_path / f"fired{kind}"
        payload(tmp_path / f"net{kind}", fired)
        run("check", f"net{kind}", "--trust", *C6)
        assert fired.exists()


def test_the_help_says_which_kinds_may_run_code(run):
    text = " ".join(run("check", "--help")[1].split())
    assert "With --trust, since reading them may run code: a network saved with torch.export (.pt2" in text


def test_plain_weights_in_safetensors_need_no_trust(run):
    from safetensors.torch import save_file

    weight, bias = torch.from_numpy(circulant()), torch.arange(6.0)
    for names in (("weight", "bias"), ("W", "b")):
        save_file(dict(zip(names, (weight.float(), torch.ones(6)), strict=True)), "even.safetensors")
        assert run("check", "even.safetensors", *C6)[0] == 0
        save_file(dict(zip(names, (weight.bfloat16(), bias), strict=True)), "odd.safetensors")
        assert run("check", "odd.safetensors", *C6)[0] == 1
    save_file({"weight": weight}, "w.safetensors")
    assert torch.equal(read_model(Path("w.safetensors")), weight)
    for wrong, says in (
        ({"weight": weight, "W": weight}, "must hold one layer"),
        ({"weight": weight, "net.0.bias": bias}, "it holds net.0.bias, weight"),
        ({"bias": bias}, "must hold one layer"),
        ({"weight": weight, "bias": bias[:5]}, "W must be (out, in) and b (out,)"),
        ({"weight": weight > 0}, "holds torch.bool as W"),
        ({"weight": weight * torch.nan}, "nan"),
    ):
        save_file({name: tensor.clone() for name, tensor in wrong.items()}, "bad.safetensors")
        code, _, error = run("check", "bad.safetensors", *C6)
        assert code == 2
        assert is_one_line(error)
        assert says in error


# ----------------------------------------------------------------------------------------------------------- answers


def test_half_a_flag_is_refused(run, folder):
    code, _, error = run("check", folder / "w.npy", *C6, "--alp", "0.5")
    assert code == 2
    assert "unrecognized arguments: --alp" in error


def test_a_fault_of_ours_has_a_code_of_its_own_and_its_traceback_is_kept(run, monkeypatch, tmp_path):
    def fault(*_, **__):
        raise ValueError("a fault\nof two lines \x1b[31m")

    monkeypatch.setattr(sample, "sample_group", fault)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code, text, error = run("sample", "group", "--group", "c4", "--out", "t.npz")
    assert (code, text) == (70, "")
    assert is_one_line(error)
    assert "a fault of this package" in error
    kept = Path(re.search(r"the traceback is in (\S+):", error)[1])
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert "Traceback" in kept.read_text()
    assert "a fault\nof two lines" in kept.read_text()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    code, _, error = run("sample", "group", "--group", "c4", "--out", "t.npz")
    assert code == 70
    assert "no traceback could be written" in error


def test_an_interrupt_is_130(run, monkeypatch):
    monkeypatch.setattr(sample, "sample_group", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    assert run("sample", "group", "--group", "c4", "--out", "t.npz") == (130, "", "interrupted\n")


def test_an_interrupt_during_imports_is_130_and_one_line(folder):
    """The process says that it imports torch (`-v`), and is interrupted there."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-v", "-m", "msr", "discover", str(folder / "c6.npz")]
    with subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if "import 'torch" in line or "import 'numpy" in line:
                process.send_signal(signal.SIGINT)
                break
        rest = process.stderr.read()
        assert process.wait() == 130
    assert "Traceback" not in rest
    assert rest.splitlines()[-1] == "interrupted"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_what_cannot_be_printed_is_a_failure(run, folder, monkeypatch):
    with open("/dev/full", "w") as full:
        process = subprocess.run(
            [sys.executable, "-m", "msr", "--help"], stdout=full, stderr=subprocess.PIPE, text=True, check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    assert (process.returncode, process.stderr) == (
        2,
        "error: standard output: No space left on device; free some space\n",
    )

    class Full(io.StringIO):
        def flush(self):
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Full())
        code, _, error = run("check", folder / "w.npy", *C6, "--json", "c.json")
    assert code == 2
    assert error == "error: standard output: No space left on device; the answer is in c.json; free some space\n"
    assert json.loads(Path("c.json").read_text())["certified"]
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", None)
        assert run("check", folder / "w.npy", *C6)[0] == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_nothing_is_printed_of_an_answer_that_could_not_be_written(run, folder):
    code, text, error = run("check", folder / "w.npy", *C6, "--json", "/dev/full")
    assert (code, text) == (2, "")
    assert error == "error: /dev/full: No space left on device; free some space\n"


def test_page_and_answers_appear_together_or_not_at_all(run, folder, tmp_path):
    (tmp_path / "report" / "result.json").mkdir(parents=True)
    code, text, error = run("discover", folder / "c6.npz", "--out", "report", "--json", "a.json")
    assert (code, text) == (2, "")
    assert is_one_line(error)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["report", "result.json"]
    (tmp_path / "report" / "result.json").rmdir()
    assert run("discover", folder / "c6.npz", "--out", "report", "--json", "a.json")[0] == 0
    assert (tmp_path / "a.json").read_text() == (tmp_path / "report" / "result.json").read_text()


@pytest.mark.parametrize("flag", ["--json", "--out"])
def test_links_that_lead_nowhere_are_refused_before_the_work(flag, run, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(discover, "run", lambda options: pytest.fail("the work was begun"))
    for link, target in {"circle": "circle", "astray": "not/there"}.items():
        (tmp_path / link).symlink_to(target)
        code, _, error = run("discover", folder / "c6.npz", flag, link)
        assert code == 2
        assert is_one_line(error)
        assert link in error


@pytest.mark.parametrize("command", [["discover", "pipe.npz"], ["check", "pipe.npz", *C6]], ids=["discover", "check"])
def test_a_pipe_in_the_place_of_a_file_is_refused_and_not_waited_for(command, run):
    os.mkfifo("pipe.npz")
    code, _, error = run(*command)
    assert code == 2
    assert is_one_line(error)
    assert error.startswith("error: pipe.npz: not a regular file;")


def test_a_link_to_a_file_still_to_be_made_is_no_fault(run, tmp_path):
    (tmp_path / "link.npz").symlink_to("made.npz")
    assert run("sample", "group", "--group", "c2", "--tasks", 2, "--out", "link.npz")[0] == 0
    assert (tmp_path / "made.npz").is_file()


@pytest.mark.parametrize("flag", ["--json", "--out"])
def test_a_working_folder_that_is_gone_is_named(flag, run, folder, tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir("gone")
    (tmp_path / "gone").rmdir()
    try:
        code, _, error = run("discover", folder / "c6.npz", flag, "answer")
    finally:
        os.chdir(tmp_path)
    assert code == 2
    assert is_one_line(error)
    assert "started in is gone" in error


def test_a_folder_that_was_made_for_nothing_is_gone(run, folder, tmp_path):
    code, _, _ = run("discover", folder / "c6.npz", "--out", "new/folder", "--json", "/dev/full")
    assert code == 2
    assert list(tmp_path.iterdir()) == []


def test_the_error_of_writing_is_told_where_the_new_folder_cannot_be_removed(tmp_path):
    def fails(file):
        (tmp_path / "report" / "another").touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        give("", {tmp_path / "report" / "page.html": fails}, tmp_path / "report")
    assert [path.name for path in (tmp_path / "report").iterdir()] == ["another"]


def test_lack_of_memory_is_not_called_damage(tmp_path, monkeypatch):
    def lacks(path):
        raise MemoryError

    monkeypatch.setattr("msr.models.reading.read_onnx", lacks)
    (tmp_path / "net.onnx").touch()
    with pytest.raises(MemoryError):
        read_model(tmp_path / "net.onnx")


@pytest.mark.parametrize("how", ["itself", "symbolic link", "hard link", "page", "result"])
def test_outputs_never_replace_the_tasks(how, run, folder, tmp_path):
    tasks, other = tmp_path / "t.npz", tmp_path / "other"
    tasks.write_bytes((folder / "few.npz").read_bytes())
    words = {
        "itself": ["--json", tasks], "symbolic link": ["--json", other], "hard link": ["--json", other],
        "page": ["--out", other], "result": ["--out", other],
    }[how]  # fmt: skip
    if how == "symbolic link":
        other.symlink_to(tasks)
    elif how == "hard link":
        other.hardlink_to(tasks)
    elif how in ("page", "result"):
        other.mkdir()
        (other / {"page": "report.html", "result": "result.json"}[how]).hardlink_to(tasks)
    before = tasks.read_bytes()
    code, _, error = run("discover", tasks, *words)
    assert code == 2
    assert "is the file that is read" in error
    assert tasks.read_bytes() == before


def test_outputs_never_replace_the_model_nor_each_other(run, folder):
    np.save("w.npy", circulant())
    assert "is the file that is read" in run("check", "w.npy", *C6, "--json", "w.npy")[2]
    os.mkdir("r")
    error = run("discover", folder / "few.npz", "--out", "r", "--json", "r/../r/report.html")[2]
    assert "--json and --out would both be written to" in error


def test_json_is_strict_or_says_where_it_cannot_be():
    assert json.loads(as_json({"a": [1.5, None, "\udcff\n"]})) == {"a": [1.5, None, "\\udcff\n"]}
    with pytest.raises(NonFiniteError, match=r"has -inf as a\.b: "):
        as_json({"a": {"b": (1.0, -math.inf)}})


# ------------------------------------------------------------------------------------------------------------ scales


@pytest.mark.parametrize("scale", [1e-310, 1e-160, 1.0, 1e160, 1e307])
def test_a_weight_keeps_its_certificate_in_any_unit(scale, run):
    weight = circulant()
    swapped = weight[:, [1, 0, 2, 3, 4, 5]]
    for name, arrays, code in (
        ("even.npz", {"W": weight * scale}, 0),
        ("odd.npz", {"W": swapped * scale}, 1),
        ("biased.npz", {"W": weight * scale, "b": np.ones(6) * scale}, 0),
        ("skew.npz", {"W": weight * scale, "b": np.arange(6) * scale}, 1),
    ):
        np.savez(name, **arrays)
        got, _, error = run("check", name, *C6, "--json", "c.json")
        assert (got, error) == (code, ""), name
        size = json.loads(Path("c.json").read_text())["size"]
        np.savez(name, **{key: array / scale for key, array in arrays.items()})
        run("check", name, *C6, "--json", "c.json")
        assert size == pytest.approx(json.loads(Path("c.json").read_text())["size"] * scale, rel=1e-6, abs=0)


def test_a_weight_whose_outputs_are_no_numbers_is_told_so(run):
    np.save("w.npy", circulant() * 1.7e308)
    code, text, error = run("check", "w.npy", *C6)
    assert (code, text) == (2, "")
    assert "divide the weight by 2^10" in error


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_a_network_of_absurd_outputs_is_one_line(scale, run):
    torch.save(nn.Sequential(seeded(lambda: nn.Linear(6, 6)).double(), Scaled(scale)), "net.pt")
    code, text, error = run("check", "net.pt", "--trust", *C6)
    assert (code, text) == (2, "")
    assert "scale its last layer" in error


class Scaled(nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.scale = scale

    def forward(self, x):
        return x.tanh() * self.scale


@pytest.mark.parametrize("x", [1e-310, 1e-69, 1.0, 1e69, 1e300])
@pytest.mark.parametrize("y", [1e-310, 1e-69, 1.0, 1e69, 1e300])
def test_tasks_of_any_size_end_in_an_answer_or_a_line(x, y, run, folder):
    with np.load(folder / "c6.npz") as data:
        np.savez("t.npz", x=data["x"].astype(float) * x, y=data["y"].astype(float) * y)
    code, text, error = run("discover", "t.npz", "--json", "a.json", "--out", "report")
    if {x, y} & {1e-310, 1e300}:
        assert (code, text) == (2, "")
        assert is_one_line(error)
        assert re.search("have numbers of size [0-9.]+e[+-]", error)
        assert not Path("a.json").exists()
    else:
        assert code == 0
        assert "The cyclic group C6" in text
        assert json.loads(Path("a.json").read_text(), parse_constant=pytest.fail)["group"]["name"] == "C6"


def test_one_absurd_task_or_coordinate_is_named():
    x = torch.randn(100, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    loud, faint = x.clone(), x.clone()
    loud[37, 2, 1] = 1e300
    faint[:, :, 3] *= 1e-310
    with pytest.raises(DataError, match=r"inputs have numbers of size 1e\+300, in task 37"):
        search(loud, x)
    with pytest.raises(
        DataError, match=r"outputs have numbers of size .* in coordinate \(3\): multiply that by 1e\+300"
    ):
        search(x, faint)


@pytest.mark.parametrize("alpha", ["1e-320", "0", "-1", "nan", "1"])
def test_absurd_levels_are_refused(alpha, run, folder):
    for words in (["discover", folder / "c6.npz"], ["check", folder / "w.npy", *C6]):
        code, _, error = run(*words, f"--alpha={alpha}")
        assert code == 2
        assert "alpha must lie between 1e-12 and" in error


def test_a_count_of_threads_is_checked_before_the_file_is_read(run, tmp_path):
    (tmp_path / "damaged.npz").write_bytes(b"no zip")
    code, _, error = run("discover", tmp_path / "damaged.npz", "--threads", "0")
    assert (code, error.count("\n")) == (2, 1)
    assert "--threads must be a whole number from 1" in error


def test_the_least_level_gives_an_answer(run, folder):
    assert run("discover", folder / "c6.npz", "--alpha", "1e-12", "--json", "a.json", "--out", "r")[0] in (0, 3)


# -------------------------------------------------------------------------------------------------------------- text


NAMES = [
    b"-x.npz", b"new\nline.npz", b"esc\x1b[31mred.npz", "bidi\u202egnp.npz".encode(), b"byte\xff\xfe9.npz",
    b"it's $HOME `x`.npz", b"q\xff'quo\\te.npz", b"<b>&amp;.npz", "\u00e9\u6f22.npz".encode(), b"--",
]  # fmt: skip


def options_of(name, **others):
    given = {"layer": "auto", "k": "auto", "kernel": None, "circular": False, "valid": False, "signed": False}
    return type(
        "Options", (), {**given, "seeds": 1, "threads": None, "alpha": 1e-3, "eps": 0.05, "tasks": Path(name), **others}
    )


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_the_command_to_repeat_is_taken_apart_by_a_shell_as_it_was(name, tmp_path):
    path = Path(os.fsdecode(name))
    line = one_file.repeat(options_of(path, json=path, out=path))
    assert not UNSEEN.search(line)
    assert "\n" not in line
    script = (
        f"msr() {{ {sys.executable} -c 'import os, sys; print(list(map(os.fsencode, sys.argv[1:])))' \"$@\"; }}\n{line}"
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    words = ast.literal_eval(done.stdout)
    safe = b"./" + name if name.startswith(b"-") else name
    assert words[:2] == [b"discover", safe]
    assert words[-4:] == [b"--json", safe, b"--out", safe]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_names_are_shown_escaped_in_errors_and_pages(name, run, folder):
    path = Path(os.fsdecode(name))
    code, _, error = run("discover", "--", path)
    assert code == 2
    assert is_one_line(error)
    assert "no such file" in error
    path.write_bytes((folder / "few.npz").read_bytes())
    os.mkdir("r")
    code, _, error = run("discover", "--out", "r", "--json", "a.json", "--", path)
    assert code == 3
    page = Path("r/report.html").read_text(encoding="utf-8")
    assert not UNSEEN.search(page)
    assert html.escape(printable(path)) in page
    path.write_bytes(b"junk")
    assert is_one_line(run("discover", "--", path)[2])
    path.rename(path.with_suffix(".npy"))
    assert is_one_line(run("check", *C6, "--", path.with_suffix(".npy"))[2])


def test_a_page_says_how_to_repeat_it_from_a_name_of_bytes(run, folder, tmp_path):
    name = os.fsdecode(b"-\xff\n.npz")
    (tmp_path / name).write_bytes((folder / "few.npz").read_bytes())
    code, first, _ = run("discover", "--out", "r", "--", name)
    assert code == 3
    line = html.unescape(re.search("<code>(msr discover .*)</code>", (tmp_path / "r/report.html").read_text())[1])
    script = f'msr() {{ {sys.executable} -m msr "$@"; }}\n{line}'
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    again = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert again.returncode == 3, again.stderr
    assert again.stdout.splitlines()[0] == first.splitlines()[0]


@pytest.mark.parametrize(
    "words",
    [
        ["discover", "x" * 10_000],
        ["discover", "x" * 200 + ".npz", "--layer", "y" * 10_000],
        ["check", "w.npy", "--group", "c" * 10_000, "--in", "regular", "--out", "regular"],
        ["check", "w.npy", "--group", "c6", "--in", "1*" * 400 + "regular", "--out", "regular"],
        ["sample", "group", "--group", "c4", "--seed", "9" * 4000, "--out", "t.npz"],
        ["sample", "group", "--group", "c4", "--tasks", "9" * 10_000, "--out", "t.npz"],
        ["discover", "a\0b"],
        ["discover", "\ud800"],
        ["discover", ""],
        ["\x1b[31m\n"],
    ],
)
def test_long_and_odd_words_are_one_short_line(words, run):
    np.save("w.npy", circulant())
    code, text, error = run(*words)
    assert (code, text) == (2, "")
    assert is_one_line(error)


def test_text_is_cut_in_its_middle_and_escaped():
    assert printable("a" * 200, 20) == f"{'a' * 10} … {'a' * 10} (200 characters)"
    assert printable("é\n\x1b\udcff\u202e") == "é\\n\\x1b\\xff\\u202e"
    assert quoted(["a", "b c", "\n1"]) == "a 'b c' $'\\0121'"


# ------------------------------------------------------------------------------------------------------------- flags


def test_a_circular_kernel_longer_than_the_signal_is_one_line(run):
    x = np.random.default_rng(0).standard_normal((90, 3, 1, 12))
    np.savez("t.npz", x=x, y=x)
    code, _, error = run("discover", "t.npz", "--layer", "conv1d", "--kernel", "40", "--circular")
    assert code == 2
    assert is_one_line(error)
    assert "more than once" in error


_LIGHT = """
import sys
from msr.cli import main
for words, code in {lines!r}:
    assert main(words) == code, words
heavy = sorted({{"torch", "numpy", "scipy", "sympy", "onnx"}} & set(sys.modules))
assert not heavy, heavy
"""


def test_help_and_refusals_import_nothing_heavy(tmp_path):
    for name in ("net.pt2", "w.npy", "t.npz"):
        (tmp_path / name).write_bytes(b"")
    lines = [
        ([], 0), (["--help"], 0), (["--version"], 0), (["discover", "--help"], 0), (["check", "--help"], 0),
        (["sample", "--help"], 0), (["guess"], 2), (["discover"], 2), (["discover", "no.npz"], 2),
        (["discover", "t.npz", "--k", "0"], 2), (["discover", "t.npz", "--json", "t.npz"], 2),
        (["discover", "t.npz", "--eps", "7"], 2), (["discover", "t.npz", "--kernel", "3"], 2),
        (["check", "net.pt2", *C6], 2), (["check", "w.npy", *C6, "--draws", "1"], 2),
        (["sample", "group", "--out", "s.npz"], 2), (["sample", "group", "--length", "3", "--out", "s.npz"], 2),
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    script = _LIGHT.format(lines=lines)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.splitlines()) == sum(code == 2 for _, code in lines)


NUMBERS = ["-1", "0", "1", "2", "3", "7", str(10**9 + 1), str(2**63), str(10**20), "1e3", "nan", "inf", "", "00000004",
           "9" * 5000, "٣", "a\nb", "\x1b[31m"]  # fmt: skip
LEVELS = ["0.01", "0.3", "1e-320", "0", "1", "2", "-0.5", "nan", "inf", "-inf", "1e400", "", "x", "0x1p-3"]
GROUPS = [
    "c6",
    "d3",
    "s3",
    "c2xc3",
    "c1",
    "c0",
    "x",
    "",
    "c999999999",
    "f7:6",
    "wr",
    "c2wr",
    "C6 ",
    "\ud800",
    "c6\n",
    "é",
]
REPS = ["regular", "natural", "trivial:6", "6*trivial", "grid:3", "shifts:6", "regular+", "*", "0*regular", "", ":",
        "2*trivial+4*trivial", "trivial:0", "trivial:-1", "\x00", "reverse:6"]  # fmt: skip
WORDS = ["auto", "linear", "conv1d", "conv2d", "dense", ""]
FILES = ["few.npz", "w.npy", ".", "nothing", "new.json", "few.npz/x", "-", "--", "\udcff", ""]
FLAGS = {
    "discover": {
        "--layer": WORDS, "--kernel": NUMBERS, "--k": [*NUMBERS, *WORDS], "--seeds": [*NUMBERS[:3], *NUMBERS[6:]],
        "--alpha": LEVELS, "--eps": LEVELS, "--out": FILES, "--json": FILES, "--circular": None, "--valid": None,
        "--signed": None, "--bogus": None, "--jobs": NUMBERS[:3], "--together": None,
    },
    "check": {
        "--group": GROUPS, "--in": REPS, "--out": REPS, "--eps": LEVELS, "--alpha": LEVELS, "--draws": NUMBERS,
        "--json": FILES, "--trust": None, "--bogus": None,
    },
    "sample": {
        "--group": GROUPS, "--acts": REPS, "--acts-out": REPS, "--breaking": LEVELS, "--length": NUMBERS,
        "--kernel": NUMBERS, "--circular": None, "--tasks": NUMBERS, "--examples": NUMBERS, "--noise": LEVELS,
        "--seed": NUMBERS, "--out": [*FILES, "s.npz"],
    },
}  # fmt: skip
START = {
    "discover": [["few.npz"]],
    "check": [["w.npy", *C6]],
    "sample": [[family, "--group", "c6", "--tasks", "5", "--out", "s.npz"] for family in ("group", "none", "broken")]
    + [["translation", "--tasks", "5", "--out", "s.npz"], ["strange"]],
}


@st.composite
def lines(draw):
    name = draw(st.sampled_from(sorted(FLAGS)))
    words = [name, *draw(st.sampled_from(START[name]))]
    for flag in draw(st.lists(st.sampled_from(sorted(FLAGS[name])), max_size=3)):
        values = FLAGS[name][flag]
        words += [flag] if values is None else [f"{flag}={draw(st.sampled_from(values))}"]
    return words


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=lines())
def test_any_flags_end_in_an_answer_or_a_line(words, run, folder, tmp_path):
    for name in ("few.npz", "w.npy"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    code, text, error = run(*words)
    if code == 2:
        assert text == ""
        assert is_one_line(error)
    else:
        assert code in (0, 1, 3), error
        assert "Traceback" not in error
    if words[1] in ("few.npz", "w.npy"):  # what is read is never replaced
        assert (tmp_path / words[1]).read_bytes() == (folder / words[1]).read_bytes()
