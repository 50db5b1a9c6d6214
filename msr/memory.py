"""How much memory is free, and the refusal of work that would need more, before it is begun."""

import os
from pathlib import Path

from msr.errors import DataError, MSRError

try:
    import resource
except ImportError:  # there is none on Windows
    resource = None  # type: ignore[assignment]

__all__ = ["free_memory", "readable_size", "refuse_if_larger"]

_GROUPS = Path("/sys/fs/cgroup")
_MOST_GROUPS = 64  # levels that are walked towards the root at most


def free_memory() -> int | None:
    """Bytes that this process can still take: the least of what the machine, its containers and its limits leave.

    For the machine that is what the kernel calls available, which counts caches that it can drop; on a system without
    such a number it is all of the memory. None where nothing at all is known.
    """
    sizes = [size for size in (_of_machine(), *_of_groups(), *_of_limits()) if size is not None]
    return max(0, min(sizes)) if sizes else None


def refuse_if_larger(
    size: float,
    what: str,
    *,
    advice: str = "give fewer tasks, examples or points",
    limit: int | None = None,
    error: type[MSRError] = DataError,
) -> None:
    """Raise ``error`` where work needs more bytes than are free; with a ``limit``, more than that, whatever is free.

    The message is "``what`` would take about 9 GB of memory, and 3 GB is free: ``advice``". Nothing is refused where
    free memory is not known and there is no limit.
    """
    free = free_memory() if limit is None else limit
    if free is None or size <= free:
        return
    bound = f"{readable_size(free)} " + ("is free" if limit is None else "is the limit")
    raise error(f"{what} would take about {readable_size(size)} of memory, and {bound}: {advice}")


def readable_size(size: float) -> str:
    """Bytes for a message, in decimal units: ``1.5 GB``."""
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "bytes" or size >= 99.5 else f"{size:.2g} {unit}"


def _of_machine() -> int | None:
    """Bytes that the kernel calls available; where it does not say, the machine's whole memory, or None."""
    fields = _table(Path("/proc/meminfo"))
    if "MemAvailable:" in fields:
        return fields["MemAvailable:"] * 1024
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _of_groups() -> list[int | None]:
    """Bytes that control groups, as containers and batch systems set them, leave: one number for each with a limit.

    They are the groups that hold this process, of both versions, up to the root; caches that can be dropped count as
    left. The list is empty on a system without control groups.
    """
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    sizes: list[int | None] = []
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if controllers == "":
            root = _GROUPS
            limit, used, cache = "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            root = _GROUPS / "memory"
            limit, used, cache = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
        else:
            continue
        # Inside a container the name may be the one outside, whose folder does not exist here. Then only the root has
        # files, and it is the container's own group.
        group = root / name.lstrip("/")
        for folder in [group, *group.parents][:_MOST_GROUPS]:
            most = _number(folder / limit)
            taken = _number(folder / used)
            if most is not None and taken is not None:
                # Cached files count as used, but the kernel drops them when memory is short.
                sizes.append(most - taken + _table(folder / "memory.stat").get(cache, 0))
            if folder == root:
                break
    return sizes


def _of_limits() -> list[int | None]:
    """Bytes that ``ulimit`` leaves of address space and of data: a number for each of the two that has a limit."""
    if resource is None:
        return []
    fields = _table(Path("/proc/self/status"))
    sizes: list[int | None] = []
    for kind, used in ((resource.RLIMIT_AS, "VmSize:"), (resource.RLIMIT_DATA, "VmData:")):
        limit = resource.getrlimit(kind)[0]
        if limit != resource.RLIM_INFINITY and used in fields:
            sizes.append(limit - fields[used] * 1024)
    return sizes


def _number(path: Path) -> int | None:
    """The number in a file; None where there is no such file, or it says ``max`` (no limit)."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _table(path: Path) -> dict[str, int]:
    """The whole numbers in a file whose lines begin with a name and a number, by name as it stands there (``Name:``).

    A unit after the number is not read. Empty where the file cannot be read.
    """
    try:
        lines = [line.split() for line in path.read_text().splitlines()]
    except (OSError, ValueError):
        return {}
    return {words[0]: int(words[1]) for words in lines if len(words) > 1 and words[1].isdecimal()}
