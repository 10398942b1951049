"""Processor time of a machine that nobody asks anything: ``idle_cpu_ratio``, seconds per second of one core.

A virtual machine is counted whole, VMM included; a container with the engine that waits for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from unibeam_nb.machine.proc import ProcessId, cpu_seconds
from unibeam_nb.progress import checkpoint

IDLE_SECONDS = 2.0
"""How long a machine is watched. The kernel counts to the nanosecond, so this need not be long."""

_SLICE = 0.1


class Processes(Protocol):
    """What is asked of a machine."""

    def processes(self) -> Sequence[ProcessId]: ...


def idle(machine: Processes, seconds: float = IDLE_SECONDS, *, clock: Callable[[], float] = time.monotonic,
         sleep: Callable[[float], None] = time.sleep) -> dict[str, float]:
    """Watch the machine for so many seconds. The user may stop it meanwhile (Cancelled)."""
    members = machine.processes()
    before, began = cpu_seconds(members), clock()
    while (left := began + seconds - clock()) > 0:
        checkpoint()
        sleep(min(left, _SLICE))
    return {"idle_cpu_ratio": max(cpu_seconds(members) - before, 0.0) / (clock() - began)}
