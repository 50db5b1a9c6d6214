"""The ``msr`` command: every door opens, every answer has its code, no input ends in a traceback."""

import json
import os
import re
import shlex
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from msr.cli import EXIT_CODES, main, sample
from msr.tasks.files import read_arrays
from msr.tasks.sampling import sample_group
from msr.version import __version__
from tests.support.cases import seeded
from tests.support.screens import screen


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Run a command line in an empty folder; its code, what it printed, and what it complained of."""
    monkeypatch.chdir(tmp_path)

    def run(line):
        try:
            code = main(shlex.split(line))
        except SystemExit as stop:
            code = stop.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def c8(run):
    assert run("sample group --group c8 --noise 0.05 --tasks 200 --out c8.npz")[0] == 0


def test_the_module_runs():
    done = subprocess.run([sys.executable, "-m", "msr", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"msr {__version__}"


@pytest.mark.parametrize("command", ["", "discover", "check", "sample"])
def test_help_shows_an_example_that_works(command, run):
    code, text, _ = run(f"{command} --help")
    assert code == 0
    example = text[text.index("an example that works:") :]
    lines = re.findall(r"^  ((?:msr|python) .*)$", example, re.M)
    assert lines
    for line in lines:
        words = shlex.split(line)
        if words[0] == "python":
            subprocess.run([sys.executable, *words[1:]], check=True)
        else:
            assert run(shlex.join(words[1:]))[0] == 0, line


def test_no_command_prints_help(run):
    code, text, _ = run("")
    assert code == 0
    assert "discover" in text


class TestDiscover:
    def test_found(self, run, c8):
        code, text, _ = run("discover c8.npz --json answer.json")
        assert code == EXIT_CODES["found"] == 0
        assert "The cyclic group C8, order 8" in text
        with open("answer.json") as file:
            answer = json.load(file)
        assert answer["verdict"] == "found"
        assert answer["group"]["name"] == "C8"
        assert answer["dimension"] == 8
        assert answer["version"] == __version__
        for p, q in zip(answer["group"]["generators_in"], answer["group"]["generators_out"], strict=True):
            assert sorted(p) == sorted(q) == list(range(8))

    def test_json_on_the_terminal_is_json_alone(self, run, c8):
        _, text, _ = run("discover c8.npz --json -")
        assert json.loads(text)["verdict"] == "found"

    def test_none(self, run):
        run("sample none --group c8 --tasks 200 --out none.npz")
        code, text, _ = run("discover none.npz")
        assert code == EXIT_CODES["none"] == 1
        assert "No group found" in text

    def test_cannot_tell(self, run):
        run("sample group --group c8 --tasks 30 --out few.npz")
        code, text, _ = run("discover few.npz")
        assert code == EXIT_CODES["cannot tell"] == 3
        assert "hint: got 30 different tasks" in text

    def test_partial(self, run):
        run("sample translation --length 14 --tasks 200 --out conv.npz")
        code, text, _ = run("discover conv.npz")
        assert code == 1
        assert "translation on the interior, generator i -> i + 1" in text

    def test_options_reach_the_search(self, run, c8):
        code, _, _ = run("discover c8.npz --eps 0.2 --alpha 0.05 --k 8 --seeds 2 --layer linear --valid --json a.json")
        assert code == 0
        with open("a.json") as file:
            certificate = json.load(file)["certificate"]
        assert certificate["eps"] == 0.2
        assert certificate["alpha"] == 0.05

    @pytest.mark.parametrize("quiet", ["", "--quiet"])
    def test_what_it_is_doing_is_shown_on_a_terminal(self, quiet, run, c8):
        with screen() as seen:
            code, text, _ = run(f"discover c8.npz --threads 1 {quiet} --out report")
        assert code == 0
        assert "C8" in text
        stages = re.findall(r"\rmsr discover: ([^\x1b]*)", seen.text)
        if quiet:
            assert stages == []
        else:
            assert stages[:3] == ["reading", "learning, split 1 of at most 4", "testing, split 1 of at most 4"]
            assert stages[-2:] == ["looking for doubts", "naming"]
        assert seen.shown() == ["report: report/report.html"]

    def test_a_failure_on_a_terminal_is_a_line_of_its_own(self, run):
        with screen() as seen:
            assert run("discover nothing.npz")[0] == 2
        Path("bad.npz").write_bytes(b"PK")
        with screen() as later:
            assert run("discover bad.npz")[0] == 2
        assert [len(part.shown()) for part in (seen, later)] == [1, 1]
        assert later.shown()[0].startswith("error: ")

    def test_a_kept_split_is_used(self, run, c8):
        arrays = read_arrays(__import__("pathlib").Path("c8.npz"))
        split = np.arange(200) % 2
        np.savez("split.npz", x=arrays["x"], y=arrays["y"], split=split)
        run("discover split.npz --json a.json")
        with open("a.json") as file:
            assert json.load(file)["certificate"]["n_tasks"] == 100
        np.savez("bad.npz", x=arrays["x"], y=arrays["y"], split=split + 1)
        code, _, error = run("discover bad.npz")
        assert code == 2
        assert "'split' must hold 0" in error

    def test_a_report(self, run, c8):
        code, _, error = run("discover c8.npz --out report")
        assert code == 0
        with open("report/report.html") as file:
            page = file.read()
        assert "C8" in page
        assert "msr discover c8.npz" in page
        assert "report/report.html" in error
        with open("report/result.json") as file:
            assert json.load(file)["verdict"] == "found"

    def test_names_with_markup_are_escaped(self, run, c8):
        import shutil

        name = "<img src=x onerror=alert(1)>.npz"
        shutil.copy("c8.npz", name)
        assert run(f"discover {shlex.quote(name)} --out report")[0] == 0
        with open("report/report.html") as file:
            assert "<img src=x" not in file.read()

    @pytest.mark.parametrize(
        ("line", "says"),
        [
            ("discover nothing.npz", "no such file"),
            ("discover junk.npz", "not a whole .npz"),
            ("discover c8.npz --k 0", "--k must be"),
            ("discover c8.npz --k many", "--k must be"),
            ("discover c8.npz --eps 2", "eps must lie"),
            ("discover c8.npz --alpha 0", "alpha"),
            ("discover c8.npz --seeds 0", "seeds must be a whole number from 1 on"),
            ("discover c8.npz --layer conv2d", "conv2d needs"),
            ("discover c8.npz --layer linear --kernel 3", "belong to a convolution"),
            ("discover c8.npz --circular --valid", "not allowed with"),
            ("discover c8.npz --layer dense", "invalid choice"),
            ("discover nan.npz", "nan at index"),
            ("discover constant.npz", "outputs never vary"),
            ("discover c8.npz --json no/such/folder.json", "folder.json cannot be written"),
            ("discover c8.npz --out junk.npz", "junk.npz is no folder"),
            ("discover c8.npz --out junk.npz/in/it", "junk.npz is no folder"),
            ("discover c8.npz --eps 1e-200", "eps must lie between 1e-6 and 1"),
            ("discover", "required: TASKS.npz"),
            ("guess", "invalid choice"),
        ],
    )
    def test_bad_input_is_one_line_and_code_2(self, line, says, run, c8):
        with open("junk.npz", "wb") as file:
            file.write(b"not a zip")
        x = np.random.default_rng(0).standard_normal((100, 5, 4)).astype(np.float32)
        np.savez("constant.npz", x=x, y=np.ones((100, 5, 2)))
        x[3, 2, 1] = np.nan
        np.savez("nan.npz", x=x, y=x)
        code, _, error = run(line)
        assert code == 2
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        assert says in error


class TestCheck:
    @pytest.fixture(autouse=True)
    def weights(self, run):
        i = np.arange(6)
        circulant = np.cos((i - i[:, None]) % 6 * 1.3)
        np.save("w.npy", circulant)
        np.savez("w.npz", W=circulant)
        np.savez("v.npz", V=circulant)

    def test_certified_and_refuted(self, run):
        code, text, _ = run("check w.npy --group c6 --in regular --out regular --json c.json")
        assert code == 0
        assert text.startswith("certified")
        with open("c.json") as file:
            certificate = json.load(file)
        assert certificate["certified"] is True
        assert run("check w.npz --group c6 --in regular --out regular")[0] == 0
        code, text, _ = run("check w.npy --group s6 --in natural --out natural")
        assert code == 1
        assert text.startswith("refuted")

    def test_saved_networks(self, run):
        class Pool(nn.Module):
            def forward(self, x):
                return x.relu().mean((-1, -2), keepdim=False)

        batch = torch.export.Dim("batch", min=2)
        program = torch.export.export(Pool(), (torch.zeros(4, 3, 6, 6),), dynamic_shapes={"x": {0: batch}})
        torch.export.save(program, "pool.pt2")
        code, text, _ = run("check pool.pt2 --trust --group d4 --in '3*grid:6' --out trivial:3")
        assert code == 0, text
        torch.save(seeded(lambda: nn.Linear(6, 6)), "net.pt")
        code, _, error = run("check net.pt --group c6 --in regular --out regular")
        assert code == 2
        assert "--trust" in error
        assert run("check net.pt --trust --group c6 --in regular --out regular")[0] == 1

    def test_a_bias_beside_the_weight_is_part_of_the_layer(self, run):
        circulant = np.load("w.npy")
        np.savez("even.npz", W=circulant, b=np.ones(6))
        np.savez("odd.npz", W=circulant, b=np.arange(6.0))
        assert run("check even.npz --group c6 --in regular --out regular")[0] == 0
        code, text, _ = run("check odd.npz --group c6 --in regular --out regular")
        assert code == 1
        assert text.startswith("refuted")
        np.savez("images.npz", W=np.ones((8, 12)), b=np.arange(8.0).reshape(2, 4))
        assert run("check images.npz --group c2 --in 2*grid:2x3 --out trivial:8")[0] == 0
        assert run("check images.npz --group c2 --in 2*grid:2x3 --out grid:2x4")[0] == 1

    def test_groups_without_a_table(self, run):
        np.save("even.npy", np.eye(12) + 0.3)
        np.save("odd.npy", np.diag(np.arange(12.0)))
        np.savez("biased.npz", W=np.eye(12), b=np.arange(12.0))
        code, text, _ = run("check even.npy --group s12 --in natural --out natural")
        assert code == 0
        assert "exactly" in text
        assert run("check odd.npy --group s12 --in natural --out natural")[0] == 1
        assert run("check biased.npz --group s12 --in natural --out natural")[0] == 1
        code, _, error = run("check even.npy --group s12 --in natural --out trivial:5")
        assert code == 2
        assert error == "error: 'trivial:5' of S12 acts on 5 numbers, and there are 12 to act on\n"

    @pytest.mark.parametrize("file", ["w.npy", "w.npz", "new.npz"])
    def test_what_the_notation_names_is_compared_with_the_weight_first(self, run, file):
        """Read from the header of the file: a group of 8,192 elements is not listed for eight inputs."""
        np.save("w.npy", np.eye(8))
        np.savez("w.npz", b=np.zeros(8), W=np.eye(8))
        np.savez_compressed("new.npz", W=np.eye(8))
        group = "x".join(["c2"] * 13)
        code, _, error = run(f"check {file} --group {group} --in trivial:8 --out regular")
        assert code == 2
        assert error.endswith("acts on 8,192 numbers, and there are 8 to act on\n")
        assert run(f"check {file} --group c1wrc8192 --in regular --out regular")[0] == 2
        assert run(f"check {file} --group c8 --in regular --out regular")[0] == 0

    def test_half_turns_and_mirrors_of_rectangles(self, run):
        np.save("column.npy", np.kron(np.eye(2), np.full((3, 3), 1 / 3)))  # the mean of each row
        for group in ("c2", "d1", "d2"):
            assert run(f"check column.npy --group {group} --in grid:2x3 --out grid:2x3")[0] == 0, group
        assert run("check column.npy --group c2 --in mirror:2x3 --out mirror:2x3")[0] == 0
        assert run("check column.npy --group c2 --in mirror:2x3 --out trivial:6")[0] == 0
        assert run("check column.npy --group c2 --in grid:2x3 --out trivial:6")[0] == 1

    @pytest.mark.parametrize(
        ("saved", "says"),
        [
            (
                lambda: seeded(lambda: nn.Linear(6, 6)).state_dict(),
                "holds a dict of tensors, as a state_dict is (weight, bias), not a module; load the weights",
            ),
            (lambda: {"net": {"weight": torch.eye(6)}, "epoch": 3}, "a checkpoint with a state_dict in it (net,"),
            (lambda: {"epoch": 3}, "holds a dict (epoch), not a module"),
            (lambda: [nn.Identity()], "holds a list, not a module; save the network itself"),
            (lambda: torch.eye(6, dtype=torch.complex64), "holds torch.complex64; a weight matrix"),
        ],
        ids=["state_dict", "checkpoint", "dict", "list", "complex"],
    )
    def test_a_pickle_that_is_no_module_is_called_what_it_is(self, saved, says, run):
        torch.save(saved(), "a.pt")
        code, _, error = run("check a.pt --trust --group c6 --in regular --out regular")
        assert code == 2
        assert error.count("\n") == 1
        assert f"error: a.pt {says}" in error or says in error

    def test_a_pickled_weight_is_a_weight(self, run):
        weight = torch.from_numpy(np.load("w.npy")).float()
        for saved in (weight, weight.to_sparse(), nn.Parameter(weight)):
            torch.save(saved, "w.pt")
            assert run("check w.pt --trust --group c6 --in regular --out regular")[0] == 0

    @pytest.mark.parametrize(
        ("module", "missing"),
        [("lost_module", "No module named 'lost_module'"), ("__main__", "Can't get attribute 'Lost'")],
    )
    def test_a_class_that_cannot_be_imported_is_named(self, module, missing, run, monkeypatch):
        place = types.ModuleType(module)
        kind = type("Lost", (nn.Linear,), {"__module__": module})
        place.Lost = kind
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, module, place)
            torch.save(seeded(lambda: kind(6, 6)), "lost.pt")
        code, _, error = run("check lost.pt --trust --group c6 --in regular --out regular")
        assert code == 2
        assert error.startswith("error: lost.pt names a class or module that cannot be imported here")
        assert missing in error
        assert error.count("\n") == 1

    @pytest.mark.parametrize("raised", [AssertionError, ImportError, ZeroDivisionError, SystemExit, Exception])
    def test_a_model_that_fails_is_bad_input_and_not_refuted(self, raised, run, monkeypatch):
        def forward(self, x):
            raise raised("first line\n\nsecond line")

        failing = types.ModuleType("failing")
        failing.Net = type("Net", (nn.Module,), {"__module__": "failing", "forward": forward})
        monkeypatch.setitem(sys.modules, "failing", failing)
        torch.save(failing.Net(), "failing.pt")
        code, text, error = run("check failing.pt --trust --group c6 --in regular --out regular")
        assert code == 2
        assert text == ""
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        assert "first line second line" in error

    def test_an_exported_network_of_one_batch_size_is_told_how_to_be_exported(self, run):
        net = seeded(lambda: nn.Linear(6, 6))
        torch.export.save(torch.export.export(net, (torch.zeros(2, 6),)), "fixed.pt2")
        code, _, error = run("check fixed.pt2 --trust --group c6 --in regular --out regular")
        assert code == 2
        assert "fixed.pt2 was exported for batches of 2 only" in error
        assert error.count("\n") == 1
        # The advice of the message, as it stands there.
        x = torch.zeros(2, 6)
        call = re.search(r"torch\.export\.export\(net.*,\)\)", error)[0]
        torch.export.save(eval(call, {"torch": torch, "net": net, "x": x}), "free.pt2")
        assert run("check free.pt2 --trust --group c6 --in regular --out regular")[0] == 1

    @pytest.mark.parametrize(
        ("line", "says"),
        [
            ("check more.npz --group c6 --in regular --out regular", "more.npz holds b1, W2 beside W"),
            ("check wrong.npz --group c6 --in regular --out regular", "W must be (out, in) and b (out,)"),
            ("check text.npz --group c6 --in regular --out regular", "text.npz holds <U1 as b"),
            ("check scalar.npz --group c6 --in regular --out regular", "W must be (out, in) and b (out,)"),
            ("check objects.npz --group c6 --in regular --out regular", "objects.npz: array 'W' holds Python objects"),
            ("check objects.npy --group c6 --in regular --out regular", "objects.npy holds Python objects"),
            ("check junk.pt2 --trust --group c6 --in regular --out regular", "junk.pt2 is not a whole .pt2 file"),
            ("check two.pt2 --trust --group c6 --in regular --out regular", "two.pt2 takes 2 inputs"),
            ("check no.npy --group c6 --in regular --out regular", "no such file"),
            ("check v.npz --group c6 --in regular --out regular", "no array W"),
            ("check w.npy --group x6 --in regular --out regular", "no group is written"),
            ("check w.npy --group c6 --in strange --out regular", "no representation is written"),
            ("check w.npy --group c5 --in regular --out regular", "5"),
            ("check w.txt --group c6 --in regular --out regular", "are not read"),
            ("check junk.npy --group c6 --in regular --out regular", ".npy file (it does not begin as one)"),
            ("check complex.npy --group c6 --in regular --out regular", "complex.npy holds complex128"),
            ("check w.npy --group c6 --in regular --out regular --json .", "--json . cannot be written"),
            ("check w.npy --group c6 --in regular --out regular --json no/x", "--json no/x cannot be written"),
            ("check w.npy --in regular --out regular", "--group"),
        ],
    )
    def test_bad_input_is_one_line_and_code_2(self, line, says, run):
        for name in ("w.txt", "junk.npy", "junk.pt2"):
            with open(name, "wb") as file:
                file.write(b"junk")
        np.save("complex.npy", np.eye(6) * 1j)
        np.savez("more.npz", W=np.eye(6), b1=np.ones(6), W2=np.eye(6))
        np.savez("wrong.npz", W=np.eye(6), b=np.ones(5))
        np.savez("scalar.npz", W=np.eye(6), b=np.array(1.0))
        np.savez("objects.npz", W=np.array([{}], dtype=object))
        np.save("objects.npy", np.array([{}], dtype=object))
        np.savez("text.npz", W=np.eye(6), b=np.array(["b"]))
        if "two.pt2" in line:
            two = torch.export.export(seeded(lambda: nn.Bilinear(6, 6, 6)), (torch.zeros(2, 6), torch.zeros(2, 6)))
            torch.export.save(two, "two.pt2")
        code, _, error = run(line)
        assert code == 2
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        assert says in error


class TestSample:
    @pytest.mark.parametrize("family", ["group", "none", "broken"])
    def test_files_can_be_read(self, family, run, tmp_path):
        line = f"sample {family} --group d4 --acts grid:4 --tasks 7 --examples 3 --noise 0.1 --seed 5 --out t.npz"
        assert run(line)[0] == 0
        arrays = read_arrays(tmp_path / "t.npz")
        assert arrays["x"].shape == (7, 3, 4, 4)
        assert arrays["w"].shape == (7, 16, 16)

    def test_a_seed_is_repeatable(self, run, tmp_path):
        for name, seed in (("a", 1), ("b", 1), ("c", 2)):
            run(f"sample group --group c4 --tasks 5 --seed {seed} --out {name}.npz")
        a, b, c = (read_arrays(tmp_path / f"{name}.npz")["y"] for name in "abc")
        assert np.array_equal(a, b)
        assert not np.array_equal(a, c)

    @pytest.mark.parametrize(
        "line",
        [
            "sample group --out t.npz",
            "sample group --group c4 --tasks 0 --out t.npz",
            "sample group --group c4 --noise -1 --out t.npz",
            "sample group --group c4 --acts grid:4x --out t.npz",
            "sample group --group c4 --acts grid:4x6 --out t.npz",
            "sample group --group c4 --acts mirror:4 --out t.npz",
            "sample group --group c3 --acts grid:4 --out t.npz",
            "sample broken --group c4 --breaking 2 --out t.npz",
            "sample translation --kernel 30 --out t.npz",
            "sample translation --group c4 --out t.npz",
            "sample group --group c4 --out no/such/t.npz",
            "sample mystery --out t.npz",
            "sample group --group c4 --out .",
            "sample group --group c4 --seed 99999999999999999999999 --out t.npz",
            "sample group --group c4 --tasks 999999999999 --out t.npz",
            "sample group --group c4 --length 3 --out t.npz",
            "sample group --group c4 --circular --out t.npz",
            "sample none --group c4 --breaking 0.1 --out t.npz",
            "sample translation --acts regular --out t.npz",
        ],
    )
    def test_bad_input_is_one_line_and_code_2(self, line, run):
        code, _, error = run(line)
        assert code == 2
        assert error.startswith("error: ")
        assert error.count("\n") == 1


def test_what_sample_writes_is_what_sample_group_draws(run, tmp_path):
    from msr.groups import cyclic
    from msr.representations import regular

    run("sample group --group c4 --tasks 5 --out t.npz")
    rep = regular(cyclic(4))
    drawn = sample_group(rep, rep, n_tasks=5)
    assert np.array_equal(read_arrays(tmp_path / "t.npz")["y"], drawn.y.numpy())


def test_devices_and_pipes_stay_what_they_are(run, c8, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    assert run(f"discover c8.npz --json {pipe}")[0] == 0
    assert pipe.is_fifo()
    assert json.loads(os.read(reader, 2**20))["verdict"] == "found"
    os.close(reader)


def test_the_page_says_how_it_was_made(run, c8):
    run("discover c8.npz --eps 0.1 --json a.json --out report")
    with open("report/report.html") as file:
        assert "--eps 0.1 --json a.json --out report" in file.read()


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("Storage size calculation overflowed with sizes=[2147483648, 2147483648]"),
    ],
)
def test_lack_of_memory_is_one_line(error, run, monkeypatch):
    monkeypatch.setattr(sample, "sample_group", lambda *_, **__: (_ for _ in ()).throw(error))
    code, _, said = run("sample group --group c4 --out t.npz")
    assert code == 2
    assert (
        said
        == "error: this needs more memory than there is; give fewer tasks, examples or points, or a smaller layer\n"
    )
