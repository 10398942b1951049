"""What the control groups of this host tell about a container's memory, and whether they can limit it.

Both layouts are read: v1 (``memory.usage_in_bytes``, ``memory.max_usage_in_bytes``; the kernel's
cgroup-v1/memory.rst), alone or beside v2, and v2 (``memory.current``, ``memory.peak``; cgroup-v2.rst). A container's
figure holds more than its processes' pages: the file pages they were the first to read, and kernel memory.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from unibeam_nb.machine.proc import PROC, ProcessId
from unibeam_nb.machine.ways import CGROUPS


@dataclass(frozen=True)
class Usage:
    """Memory of one control group in bytes: now, and the most it ever was (None where the kernel does not tell)."""

    current: int
    peak: int | None


def memory_directory(cgroups: str, top: Path = CGROUPS) -> Path | None:
    """Where the memory files of a process lie, from the text of its ``/proc/PID/cgroup``; None for the root group,
    which is nobody's own."""
    unified = None
    for line in cgroups.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if "memory" in controllers.split(","):
            return top / "memory" / path.lstrip("/") if path.strip("/") else None
        if number == "0" and not controllers and path.strip("/"):
            unified = top / path.lstrip("/")
    return unified


def usage(process: ProcessId, top: Path = CGROUPS) -> Usage | None:
    """The memory of the control group that ``process`` is in, or None where it shares ours, or none can be read."""
    theirs, ours = (_cgroups(pid) for pid in (process.pid, os.getpid()))
    directory = memory_directory(theirs, top)
    if directory is None or not process.alive or directory == memory_directory(ours, top):
        return None
    for current, peak in (("memory.usage_in_bytes", "memory.max_usage_in_bytes"), ("memory.current", "memory.peak")):
        if (found := _number(directory / current)) is not None:
            return Usage(found, _number(directory / peak))
    return None


def limits_swap(top: Path = CGROUPS) -> bool:
    """Whether swap is counted here, so that a limit of memory can be kept from spilling into it."""
    return (top / "memory" / "memory.memsw.limit_in_bytes").exists() or any(top.glob("*/memory.swap.max"))


def _cgroups(pid: int) -> str:
    try:
        return (PROC / str(pid) / "cgroup").read_text()
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
