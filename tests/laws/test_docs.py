"""Every block in the README and in docs/ runs and keeps its promises; every file that they name is there."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile

import pytest

from msr.cli import main
from tests.support import ROOT
from tests.support.blocks import Block, BrokenPromiseError, blocks_of, check, promises
from tests.support.run_blocks import run_for_any_seed

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCKS = [pytest.param(block, id=f"{block.page}-{block.index}") for page in PAGES for block in blocks_of(page)]
SHELL = r"```bash\n(.*?)```"


@pytest.mark.parametrize("block", [each for each in BLOCKS if each.values[0].needs_a_checkout])
def test_block_keeps_its_promises_in_a_checkout(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_for_any_seed(block)


def test_all_other_blocks_keep_their_promises_after_an_install(tmp_path):
    """From a built wheel, in a process and a folder that know no checkout: what a reader has who ran pip."""
    source, home, support = tmp_path / "source", tmp_path / "home", tmp_path / "support"
    source.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "msr", source / "msr", ignore=shutil.ignore_patterns("__pycache__"))
    pip = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        tmp_path,
    ]
    subprocess.run([*pip, source], check=True, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(home)
    shutil.copytree(ROOT / "tests" / "support", support / "tests" / "support")
    (support / "tests" / "__init__.py").touch()

    script = support / "tests" / "support" / "run_blocks.py"
    environment = {**os.environ, "PYTHONPATH": f"{home}{os.pathsep}{support}"}
    ran = subprocess.run(
        [sys.executable, script, home, *PAGES], cwd=home, env=environment, capture_output=True, text=True
    )
    results = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith('{"page"')]
    assert len(results) == sum(not each.values[0].needs_a_checkout for each in BLOCKS), ran.stderr
    faults = [f"{each['page']}, block {each['block']}: {each['fault']}" for each in results if each["fault"]]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("block", BLOCKS)
def test_block_promises_something(block):
    assert block.holds_itself_to_something, (
        "no assert, and no print with a number in its comment (tests/support/blocks.py)"
    )


@pytest.mark.parametrize("block", BLOCKS)
def test_block_that_needs_the_checkout_says_so(block):
    assert not block.needs_a_checkout or block.says_so, "the text just before must say: in a checkout"


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("print(2e-3)  # below 1e-6", r"promised 'below 1e-6', printed '0.002'"),
        ("print('error', 1.2)  # about 1.0: a ratio", "promised 'about 1.0'"),
        ("print(0.9)  # above 0.99", "promised 'above 0.99'"),
        ("print(7, 0.01)  # 6, about 0.01: the dimension, the noise", "promised '6', printed '7 0.01'"),
        ("print(6, 0.02)  # 6, about 0.01: the dimension, the noise", "promised 'about 0.01'"),
        ("print(6)  # 6, about 0.01", "holds fewer numbers"),
        ("print(0.9985)  # 0.999", None),
        ("print(0.9984)  # 0.999", "promised '0.999'"),
        ("print('found', 'C8', 8)  # found D8 16", "promised 'found D8 16', printed 'found C8 8'"),
        ("print(float('nan'))  # below 1", "promised 'below 1'"),
        ("if False:\n    print(1)  # 1", "never printed"),
        ("print(\n    1,\n)  # 2", "promised '2'"),
        ("def test_it():\n    assert False, 'a test that nobody calls'", "a test that nobody calls"),
        ("assert 1 == 2, 'as asserted'", "as asserted"),
    ],
)
def test_a_block_with_a_false_promise_fails(source, fault):
    """And one that keeps it passes."""
    block = Block("a page", 0, "", source)
    assert block.holds_itself_to_something
    if fault is None:
        block.run()
        return
    with pytest.raises(AssertionError, match=fault):
        block.run()


def test_a_comment_is_a_promise_if_it_holds_a_number():
    source = "print(1)  # exact, one number an element\nx = 3  # 4\nprint(x)  # 3: as it should be 17\n"
    assert promises(source) == {3: "3"}
    check("about 0.01", "an error of 0.0103 ± 0.5 for D8")
    with pytest.raises(BrokenPromiseError):
        check("8", "D8 16")  # the digit of a name is not a number that was printed


def test_blocks_are_found_with_the_text_before_them(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "In a checkout:\n\n```python\nimport tasks\n```\n## Next\nElsewhere.\n```python\nfrom tasks import x\n```\n"
    )
    first, second = blocks_of(page)
    assert first.needs_a_checkout
    assert first.says_so
    assert second.needs_a_checkout
    assert not second.says_so
    assert not Block("a page", 0, "", "import torch\nfrom msr.meta import tasks").needs_a_checkout


def test_there_are_blocks():
    assert len(BLOCKS) >= 21


@pytest.mark.parametrize("page", [page for page in PAGES if "\nmsr " in page.read_text()], ids=lambda page: page.name)
def test_the_command_says_what_the_page_quotes(page, tmp_path, monkeypatch, capsys):
    """The lines of a shell block that begin with ``msr``; the quotation behind the block, if there is one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    for match in re.finditer(SHELL + r"\n*((?:^>[^\n]*\n)*)", page.read_text(), flags=re.DOTALL | re.MULTILINE):
        lines = [line for line in match[1].splitlines() if line.startswith("msr ")]
        for line in lines:
            assert main(shlex.split(line, comments=True)[1:]) == 0
        quoted = re.sub("^>", "", match[2], flags=re.MULTILINE)
        assert not lines or _words(quoted) in _words(capsys.readouterr().out)


def _words(text: str) -> str:
    """Without line breaks, and without the last digits of a bound, which the processor may change."""
    return re.sub(r"at most [\d.]+%", "at most …%", " ".join(text.split()))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    targets = [t for t in re.findall(r"\]\(([^)\s]+)\)", page.read_text()) if "://" not in t]
    for target in targets:
        path, _, anchor = target.partition("#")
        there = page.parent / path if path else page
        assert there.exists(), f"{page.name} points to {target}"
        if anchor:
            anchors = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings_of(there)]
            assert anchor in anchors, f"{page.name} points to {target}, and no heading there is called so"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_has_each_heading_once(page):
    headings = headings_of(page)
    assert sorted(set(headings)) == sorted(headings)


def headings_of(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    return re.findall(r"^#+ (.*?)\s*$", text, flags=re.MULTILINE)


def test_the_readme_has_two_commands_for_a_newcomer():
    shell = re.findall(SHELL, (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert "python -m experiments.translation" in shell[0]
    assert "python -m pytest" in shell[1]


def test_the_map_names_what_exists():
    text = (ROOT / "README.md").read_text()
    block = re.search(r"```text\n(.*?)```", text, flags=re.DOTALL)
    assert block
    for line in block.group(1).splitlines():
        if line and not line[0].isspace():
            assert (ROOT / line.split()[0].rstrip("/")).exists(), line
