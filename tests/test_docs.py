"""Every Python block in the README and in docs/ runs; every file that they name is there."""

import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = [
    pytest.param(page, block, id=f"{page.name}-{i}")
    for page in PAGES
    for i, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL))
]


@pytest.mark.parametrize(("page", "block"), BLOCKS)
def test_block_runs(page, block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with torch.random.fork_rng():  # a reader's example may draw as torch's own examples do
        torch.manual_seed(0)
        exec(compile(block, str(page), "exec"), {"__name__": "docs"})


def test_there_are_blocks():
    assert len(BLOCKS) >= 4


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    targets = [t for t in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()) if "://" not in t]
    for target in targets:
        assert (page.parent / target).exists(), f"{page.name} points to {target}"


def test_the_readme_has_two_commands_for_a_newcomer():
    shell = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert "python -m experiments.translation" in shell[0]
    assert "python -m pytest" in shell[1]


def test_the_map_names_what_exists():
    text = (ROOT / "README.md").read_text()
    block = re.search(r"```text\n(.*?)```", text, flags=re.DOTALL)
    assert block
    for line in block.group(1).splitlines():
        if line and not line[0].isspace():
            assert (ROOT / line.split()[0].rstrip("/")).exists(), line
