"""How fast this host's time stamp counter runs.

An emulated guest reads the host's own counter, and QEMU's microvm has nothing to measure it by (neither HPET nor PM
timer, nor the PIT's gate at port 0x61). Left alone, its kernel gives the counter up and counts ticks of 4 ms instead.
Told the rate (``tsc_early_khz``), it has a clock of nanoseconds, and starts a fifth of a second sooner.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import platform
import time
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from unibeam_nb.jsonable import loads
from unibeam_nb.machine.proc import boot_id
from unibeam_nb.store import Store, write_atomically

CPUINFO = Path("/proc/cpuinfo")

WINDOW = 0.1
"""Seconds between two readings. Each is good for about 0.2 µs, so the rate is for some 4 parts in a million, which is
what a quartz is good for."""

TRIES = 20

# rdtsc; shl rdx, 32; or rax, rdx; ret
_RDTSC = b"\x0f\x31\x48\xc1\xe2\x20\x48\x09\xd0\xc3"


def tsc_khz(store: Store) -> int | None:
    """The counter's rate in kHz, measured once per boot of the host; None where it cannot be told."""
    path = store.directory("hosts") / "tsc.json"
    with FileLock(f"{path}.lock"):
        try:
            data = loads(path.read_text(encoding="utf-8"))
            if data["boot"] == boot_id():
                return int(data["khz"]) if data["khz"] else None
        except (OSError, ValueError, KeyError, TypeError):
            pass  # There is no answer yet, or none that can be read: it is found anew.
        khz = measure() if is_constant() else None
        write_atomically(path, json.dumps({"boot": boot_id(), "khz": khz}))
    return khz


def is_constant(cpuinfo: Path = CPUINFO) -> bool:
    """Whether the counter keeps its rate whatever the processor does (the flag ``constant_tsc`` of proc(5))."""
    return platform.machine() == "x86_64" and " constant_tsc " in cpuinfo.read_text(errors="replace").replace("\n", " ")


def measure(window: float = WINDOW) -> int | None:
    """The rate in kHz against CLOCK_MONOTONIC, or None where this process may not run code of its own making."""
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    except OSError:
        return None
    page.write(_RDTSC)
    code = ctypes.c_char.from_buffer(page)
    read: Callable[[], int] = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(code))
    time_0, count_0 = _reading(read)
    time.sleep(window)
    time_1, count_1 = _reading(read)
    return round((count_1 - count_0) / (time_1 - time_0) * 1e6)


def _reading(read: Callable[[], int]) -> tuple[float, int]:
    """The clock in ns and the counter at the same instant: of several tries the one that took least."""
    tries = []
    for _ in range(TRIES):
        before, count, after = time.monotonic_ns(), read(), time.monotonic_ns()
        tries.append((after - before, (before + after) / 2, count))
    return min(tries)[1:]
