"""Free memory: believed where the system says it, and asked before the work."""

import subprocess
import sys
from pathlib import Path

import pytest

from msr import memory
from msr.errors import ConfigError, DataError
from msr.memory import free_memory, readable_size, refuse_if_larger


def test_what_is_free_lies_between_nothing_and_the_machine():
    free = free_memory()
    assert free is not None
    assert 2**20 < free <= memory._table(Path("/proc/meminfo")).get("MemTotal:", 2**60) * 1024


def test_limits_of_the_process_count():
    code = (
        "import resource\n"
        "from msr.memory import _table, free_memory, Path\n"
        "most = _table(Path('/proc/self/status'))['VmSize:'] * 1024 + 2**30\n"
        "resource.setrlimit(resource.RLIMIT_AS, (most, most))\n"
        "before = free_memory()\n"
        "held = bytearray(400 * 2**20)\n"
        "print(before, free_memory())\n"
    )
    got = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = map(int, got.stdout.split())
    assert 2**29 < before <= 2**30
    assert 390 * 2**20 < before - after < 410 * 2**20


def test_limits_of_containers_count(tmp_path, monkeypatch):
    """Files as the kernel has them: the least of the group and those above it, with what it can drop given back."""
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    for folder, most, used, cache in ((inner, "max", 50, 0), (tmp_path / "a", "1000", 700, 100)):
        (folder / "memory.max").write_text(f"{most}\n")
        (folder / "memory.current").write_text(f"{used}\n")
        (folder / "memory.stat").write_text(f"anon 5\ninactive_file {cache}\n")
    read = Path.read_text
    groups = Path("/proc/self/cgroup")
    monkeypatch.setattr(memory, "_GROUPS", tmp_path)
    monkeypatch.setattr(Path, "read_text", lambda self, **how: "0::/a/b\n" if self == groups else read(self, **how))
    assert memory._of_groups() == [400]
    assert free_memory() == 400


def test_work_that_does_not_fit_is_refused_with_the_estimate():
    refuse_if_larger(1000, "x")
    with pytest.raises(DataError, match=r"^the sums would take about 10 TB of memory, and .* is free: give fewer"):
        refuse_if_larger(1e13, "the sums")
    with pytest.raises(ConfigError, match=r"^the batch would take about 2 GB of memory, and 1 GB is the limit: less$"):
        refuse_if_larger(2e9, "the batch", limit=10**9, advice="less", error=ConfigError)


@pytest.mark.parametrize(
    ("size", "says"), [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (123e6, "123 MB"), (3e15, "3000 TB")]
)
def test_sizes_are_readable(size, says):
    assert readable_size(size) == says
