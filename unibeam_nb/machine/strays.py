"""What still runs of a machine that has lost the process by which it is known: that was killed, or whoever booted it
was killed before it could write down which process it is.

Everything that runs a machine carries its nonce or its container's name, on its command line or in its environment:
QEMU, User-mode Linux, an engine and its monitor, and the program itself.
"""

from __future__ import annotations

import contextlib
import re

from unibeam_nb.machine import proc
from unibeam_nb.machine.proc import PROC, ProcessId
from unibeam_nb.machine.registry import Record
from unibeam_nb.machine.ways import container_name
from unibeam_nb.model import NONCE_VARIABLE

PATIENCE = 3.0

_ID, _NONCE = re.compile("[0-9a-f]{8}"), re.compile("[0-9a-f]{16}")
"""What ids and nonces look like (registry.py, marks.py)."""


def of(record: Record) -> list[ProcessId]:
    """The processes of this user that belong to a machine, this one and those above it left out."""
    # A record is only a file: what it says must not be able to mean everybody's processes.
    if not _ID.fullmatch(record.id) or not _NONCE.fullmatch(record.nonce):
        return []
    signs = (f"{NONCE_VARIABLE}={record.nonce}", f"unibeam.nonce={record.nonce}", f"serial=unibeam:{record.nonce}",
             container_name(record.id))
    spared = proc.untouchable()
    found = []
    for entry in PROC.iterdir():
        if entry.name.isdecimal() and int(entry.name) not in spared:
            # Named first, looked at then: a pid that changes hands meanwhile is not the process that was named.
            known = proc.identify(int(entry.name))
            with contextlib.suppress(OSError):
                told = (entry / "cmdline").read_bytes() + b"\0" + (entry / "environ").read_bytes()
                if known is not None and any(sign.encode() in told for sign in signs):
                    found.append(known)
    return found


def end(record: Record) -> bool:
    """Kill them, with everything below them; whether all are gone."""
    return proc.kill((), lambda: [one for process in of(record) for one in (process, *proc.descendants(process))],
                     patience=PATIENCE)
