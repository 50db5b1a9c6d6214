"""How much memory is free, and refusing work that would need more, before it is begun."""

import os
from pathlib import Path

from msr.errors import DataError, MSRError

try:
    import resource
except ImportError:  # there is none on Windows
    resource = None  # type: ignore[assignment]

__all__ = ["free_memory", "readable_size", "refuse_if_larger"]

_GROUPS = Path("/sys/fs/cgroup")
_MOST_GROUPS = 64


def free_memory() -> int | None:
    """Bytes that this process can still take: the least of what the machine, its containers and its limits leave.

    The machine's share is what the kernel calls available, which counts caches that it can drop; where the system does
    not say that, all of its memory. None where nothing at all is known.
    """
    known = [size for size in (_of_machine(), *_of_groups(), *_of_limits()) if size is not None]
    return max(0, min(known)) if known else None


def refuse_if_larger(
    size: float,
    what: str,
    *,
    advice: str = "give fewer tasks, examples or points",
    limit: int | None = None,
    error: type[MSRError] = DataError,
) -> None:
    """Raise ``error`` where work needs more bytes than are free, or than ``limit`` where one is given.

    The message is "``what`` would take about 9 GB of memory, and 3 GB is free: ``advice``". Where nothing is known of
    what is free, and there is no limit, nothing is refused.
    """
    free = free_memory() if limit is None else limit
    if free is None or size <= free:
        return
    there = f"{readable_size(free)} " + ("is free" if limit is None else "is the limit")
    raise error(f"{what} would take about {readable_size(size)} of memory, and {there}: {advice}")


def readable_size(size: float) -> str:
    """Bytes for a message, in decimal units: ``1.5 GB``."""
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "bytes" or size >= 99.5 else f"{size:.2g} {unit}"


def _of_machine() -> int | None:
    fields = _table(Path("/proc/meminfo"))
    if "MemAvailable:" in fields:
        return fields["MemAvailable:"] * 1024
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _of_groups() -> list[int | None]:
    """What control groups leave, as containers and batch systems set them: of both versions, from ours to the root."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    found: list[int | None] = []
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if controllers == "":
            root, limit, used, cache = _GROUPS, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            root, limit, used = _GROUPS / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
            cache = "total_inactive_file"
        else:
            continue
        # A container often sees its own group as the root, while the name is the one outside: then only that is there.
        group = root / name.lstrip("/")
        for folder in [group, *group.parents][:_MOST_GROUPS]:
            most, taken = _number(folder / limit), _number(folder / used)
            if most is not None and taken is not None:
                found.append(most - taken + _table(folder / "memory.stat").get(cache, 0))
            if folder == root:
                break
    return found


def _of_limits() -> list[int | None]:
    """What ``ulimit`` leaves of address space and data."""
    if resource is None:
        return []
    fields = _table(Path("/proc/self/status"))
    left: list[int | None] = []
    for kind, used in ((resource.RLIMIT_AS, "VmSize:"), (resource.RLIMIT_DATA, "VmData:")):
        limit = resource.getrlimit(kind)[0]
        if limit != resource.RLIM_INFINITY and used in fields:
            left.append(limit - fields[used] * 1024)
    return left


def _number(path: Path) -> int | None:
    """None where there is no such file, or it says ``max``."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _table(path: Path) -> dict[str, int]:
    """The whole numbers in a file of lines that are a name and a number."""
    try:
        lines = [line.split() for line in path.read_text().splitlines()]
    except (OSError, ValueError):
        return {}
    return {words[0]: int(words[1]) for words in lines if len(words) > 1 and words[1].isdecimal()}
