"""Asking a virtual machine to stop in good order, over its console or as its hypervisor does: PID 1 asks the program
(guest/orders.c), a node stops its applications, and the machine ends by itself. Containers and processes are asked by
SIGTERM instead."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from unibeam_nb.arms import Arm
from unibeam_nb.errors import MachineError
from unibeam_nb.machine import keyboard, proc, xen
from unibeam_nb.machine.registry import Record
from unibeam_nb.progress import hurried

GRACE = 5.0
"""Seconds that a virtual machine has to stop. A node without much to do needs a tenth of one, several times that where
it is emulated."""

GRACE_WITH_DATA = 15.0
"""The same where the program has a disk: what it has to write may be much."""


def ask(record: Record, directory: Path, grace: float | None, reap: Callable[[], object]) -> None:
    """Ask the machine to stop, and wait until it has or ``grace`` seconds are over (the usual ones, where None). Does
    nothing where there is no PID 1 of ours, where the machine is not up, or where the user waits for stopped work."""
    process = record.process
    if process is None or not record.ready or hurried() or grace == 0 or not _listens(record) or not process.alive:
        return
    data = record.options is not None and record.options.data is not None
    grace = (GRACE_WITH_DATA if data else GRACE) if grace is None else grace
    with contextlib.suppress(MachineError):
        if record.runner == "xen":
            xen.ask(record)
        else:
            # Where a shell reads the console, it is the one to ask.
            line = "init:stop()." if record.shell else f"stop {record.nonce}"
            keyboard.send_line(directory, line, min(grace, keyboard.PATIENCE))
        proc.wait([process], grace, reap)


def _listens(record: Record) -> bool:
    arm = Arm.parse(record.arm)
    return arm.target in ("linux", "disk") and arm.runner in ("qemu", "uml", "xen")
