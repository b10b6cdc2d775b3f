"""How much memory this process has held, and may still take: what the system says, within the limits of a container.

Needs the standard library alone; where psutil is there, as it is beside Jupyter, it speaks for macOS and Windows.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")


class Memory(NamedTuple):
    """Bytes; None where this system does not say."""

    total: int | None
    free: int | None  # what can be had without anything being moved to disk; files that are only cached count as free
    swap: int = 0  # what can be had beyond that by moving other things to disk


def memory() -> Memory:
    """Of this machine, or of the container or group of processes with the smallest share of it that holds this one."""
    total, free, swap = _of_the_system()
    for limit, used, swap_limit in _limits():
        total = limit if total is None else min(total, limit)
        free = max(0, limit - used) if free is None else min(free, max(0, limit - used))
        swap = swap if swap_limit is None else min(swap, swap_limit)
    return Memory(total, free, swap)


def peak_megabytes() -> float | None:
    """The most (in 2²⁰ bytes) that this process has held at once, None where the system does not say.

    Linux begins the ``ru_maxrss`` of a new program with what the one that started it has held; VmHWM is its own.
    """
    try:
        status = (PROC / "self" / "status").read_text()
        return round(int(status.split("VmHWM:")[1].split()[0]) / 2**10, 1)
    except (OSError, IndexError):
        pass
    try:
        import resource  # not on Windows
    except ImportError:
        return None
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, kilobytes elsewhere
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)


def _of_the_system() -> Memory:
    try:
        lines = (PROC / "meminfo").read_text().splitlines()
        fields = {line.split(":")[0]: 1024 * int(line.split()[1]) for line in lines if line.endswith("kB")}
        return Memory(fields["MemTotal"], fields["MemAvailable"], fields.get("SwapFree", 0))
    except (OSError, KeyError, ValueError):
        pass
    try:
        import psutil

        return Memory(psutil.virtual_memory().total, psutil.virtual_memory().available, psutil.swap_memory().free)
    except (ImportError, OSError, RuntimeError):
        pass
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return Memory(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), None)
    return Memory(None, None)


def _limits() -> Iterator[tuple[int, int, int | None]]:
    """(limit, used, swap that is left or None) of every control group around this process that has a limit (Linux)."""
    try:
        lines = (PROC / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):  # version 2 has one tree, version 1 has one for memory
            root = CGROUPS / controllers
            folder = root / path.strip("/")
            if not folder.is_dir():
                folder = root  # a container sees its own group as the root, and at times under its outer name
            for group in (folder, *folder.parents):
                if (limit := _limit(group)) is not None:
                    yield limit
                if group == root:
                    break


def _limit(group: Path) -> tuple[int, int, int | None] | None:
    for limit_file, usage_file, prefix in (
        ("memory.max", "memory.current", ""),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
    ):
        limit, used = _number(group / limit_file), _number(group / usage_file)
        if limit is None or used is None:
            continue
        try:
            fields = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            used -= sum(int(fields.get(f"{prefix}{kind}_file", 0)) for kind in ("active", "inactive"))
        except (OSError, ValueError):
            pass
        swap_limit, swap_used = _number(group / "memory.swap.max"), _number(group / "memory.swap.current")
        return limit, max(0, used), None if swap_limit is None else max(0, swap_limit - (swap_used or 0))
    return None


def _number(path: Path) -> int | None:
    """None for a file that is not there, and for "max", which is no limit."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
