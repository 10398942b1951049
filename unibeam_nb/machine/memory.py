"""Memory of running processes from ``/proc/PID/smaps`` and ``smaps_rollup`` (proc_pid_smaps(5)), in bytes.

PSS counts a page shared by n processes as 1/n, so figures of several processes can be added up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from unibeam_nb.errors import MachineError
from unibeam_nb.machine.proc import PROC, ProcessId

RAM_MAPPING = "/memfd:memory-backend-memfd"
"""What the kernel calls the mapping of QEMU's ``memory-backend-memfd``: the guest's RAM."""

_HEADER = re.compile(r"^[0-9a-f]+-[0-9a-f]+ \S{4} [0-9a-f]+ \S+ \d+ *(.*)$")


def of_mapping(smaps: str, name: str, field: str = "Pss") -> int:
    """The bytes (PSS, or another ``field``) of all mappings whose path begins with ``name`` in the text of a
    ``smaps`` file."""
    total, inside = 0, False
    for line in smaps.split("\n"):
        if line.startswith(f"{field}:"):
            total += int(line.split()[1]) * 1024 if inside else 0
        elif found := _HEADER.match(line):
            inside = found[1].startswith(name)
    return total


def of_rollup(rollup: str, field: str = "Pss") -> int:
    """The bytes (PSS, or another ``field``) of a whole process from the text of its ``smaps_rollup`` file."""
    found = re.search(rf"^{field}: +(\d+) kB$", rollup, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def pss(processes: Iterable[ProcessId]) -> int:
    """The PSS in bytes of processes together; those that ended meanwhile count nothing."""
    return sum(of_rollup(_read(process, "smaps_rollup")) for process in processes)


def available() -> int:
    """Bytes of the host's memory that are free or freed at once (``/proc/meminfo``, proc_meminfo(5))."""
    lines = (PROC / "meminfo").read_text().splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), 0)


def unshareable(processes: Iterable[ProcessId]) -> int:
    """The bytes that one more of these processes would take: the pages that they have written to. All others are
    those of a file, which a second process maps too.

    ``Pss_Dirty`` is told since Linux 6.0; before that, pages which a process maps twice, as a JIT does, are missing.
    """
    texts = [_read(process, "smaps_rollup") for process in processes]
    return sum(of_rollup(text, "Pss_Dirty") or of_rollup(text, "Private_Dirty") for text in texts)


def touched(vmm: ProcessId, mapping: str = RAM_MAPPING) -> int:
    """The bytes of RAM that the guest of a QEMU process has touched, shared with other guests or not (RSS)."""
    return of_mapping(_read(vmm, "smaps"), mapping, "Rss")


def pss_of(process: ProcessId, mapping: str) -> int:
    """The PSS in bytes of a process's mappings whose path begins with ``mapping``."""
    return of_mapping(_read(process, "smaps"), mapping)


def largest(process: ProcessId, field: str) -> int:
    """The bytes (``Pss``, ``Rss``) of the largest mapping of a process: the guest's RAM of a VMM that does not name
    it."""
    best = size = value = 0
    for line in _read(process, "smaps").split("\n"):
        if line.startswith("Size:"):
            size = int(line.split()[1])
        elif line.startswith(f"{field}:"):
            best, value = (size, int(line.split()[1])) if size > best else (best, value)
    return value * 1024


def guest_ram(vmm: ProcessId, mapping: str = RAM_MAPPING) -> tuple[int, int]:
    """Of a QEMU process: the PSS in bytes of the guest's RAM, and that of all the rest."""
    ram = of_mapping(_read(vmm, "smaps"), mapping)
    return ram, max(pss([vmm]) - ram, 0)


def _read(process: ProcessId, name: str) -> str:
    if not process.alive:
        return ""
    try:
        return (PROC / str(process.pid) / name).read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
    except PermissionError:
        raise MachineError(f"The memory of process {process.pid} cannot be read.",
                           "It belongs to another user: measure it as the user who booted it, or as root.") from None
