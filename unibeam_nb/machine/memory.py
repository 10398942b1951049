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
_PSS = re.compile(r"^Pss: +(\d+) kB$", re.MULTILINE)


def pss_of_mapping(smaps: str, name: str) -> int:
    """The PSS in bytes of all mappings whose path begins with ``name`` in the text of a ``smaps`` file."""
    total, inside = 0, False
    for line in smaps.split("\n"):
        if line.startswith("Pss:"):
            total += int(line.split()[1]) * 1024 if inside else 0
        elif found := _HEADER.match(line):
            inside = found[1].startswith(name)
    return total


def pss_of_rollup(rollup: str) -> int:
    """The PSS in bytes of a whole process from the text of its ``smaps_rollup`` file."""
    found = _PSS.search(rollup)
    return int(found[1]) * 1024 if found else 0


def pss(processes: Iterable[ProcessId]) -> int:
    """The PSS in bytes of processes together; those that ended meanwhile count nothing."""
    return sum(pss_of_rollup(_read(process, "smaps_rollup")) for process in processes)


def guest_ram(vmm: ProcessId, mapping: str = RAM_MAPPING) -> tuple[int, int]:
    """Of a QEMU process: the PSS in bytes of the guest's RAM, and that of all the rest."""
    ram = pss_of_mapping(_read(vmm, "smaps"), mapping)
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
