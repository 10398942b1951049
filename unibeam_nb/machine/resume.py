"""Starting a copy of a machine from its snapshot: its state goes in, and it is told who it is now.

The steps are QEMU's own (docs/devel/migration.rst): an incoming migration with ``x-ignore-shared``, which leaves the
RAM where it is. A Unix socket carries the rest, since QEMU's sandbox lets it start no program.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import select
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from unibeam_nb.arms import RESUME
from unibeam_nb.errors import MachineError
from unibeam_nb.machine import qmp
from unibeam_nb.machine.options import Seat
from unibeam_nb.machine.qemu_arguments import CONSOLE_SOCKET
from unibeam_nb.machine.snapshot_facts import order
from unibeam_nb.model import MARK_LINE
from unibeam_nb.progress import checkpoint

INCOMING = "state.sock"

CAPABILITIES = {"capabilities": [{"capability": "x-ignore-shared", "state": True}]}


def start(seat: Seat, state: Path, alive: Callable[[], bool]) -> float | None:
    """Give a QEMU that waits for it the state, let it run on as a machine of its own, and wait for its mark.

    Returns the host's monotonic clock when QEMU was up, or None when QEMU ended.
    """
    data = state.read_bytes()
    until = time.monotonic() + seat.options.deadline

    async def talk(client: Any) -> tuple[float, socket.socket | None]:
        began = time.monotonic()
        await client.execute("migrate-set-capabilities", CAPABILITIES)
        await client.execute("migrate-incoming", {"uri": f"unix:{INCOMING}"})
        await _send(seat.directory, data)
        await moved(client)
        console = qmp.connect(seat.directory, CONSOLE_SOCKET)
        if console is not None:
            # Below a millisecond the time is anybody's guess: so two copies differ even if they wake together.
            now = time.time_ns() + secrets.randbelow(1_000_000)
            secret = seat.door.secret if seat.door else ""
            console.sendall(order(seat.nonce, f"beam-{secrets.token_hex(6)}.unibeam", now, os.urandom(32), secret))
        await client.execute("cont")
        return began, console

    told = qmp.converse(seat.directory, alive, talk, seat.options.deadline)
    if told is None:
        return None
    began, console = told
    if console is not None:
        with console:
            # The line must stay open until the copy has read it all.
            hear(console, seat.nonce, RESUME, until)
    return began


async def _send(directory: Path, data: bytes) -> None:
    connection = qmp.connect(directory, INCOMING)
    if connection is None:
        raise OSError("QEMU does not listen")
    with connection:
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_sendall(connection, data)


async def moved(client: Any) -> None:
    """Return when a migration has ended well. Raises MachineError with QEMU's reason."""
    while True:
        told = await client.execute("query-migrate")
        if told.get("status") == "completed":
            return
        if told.get("status") in ("failed", "cancelled"):
            raise MachineError("QEMU cannot save or load the machine's state.",
                               "QEMU's own words are above." if told.get("error-desc") else None,
                               [str(told["error-desc"])] if told.get("error-desc") else [])
        await asyncio.sleep(0.001)


def hear(console: socket.socket, nonce: str, mark: str, until: float) -> bool:
    """Read a console until it tells ``mark``, or ``exit``. Returns whether it was ``mark``; also False when the line
    is cut or the host's monotonic clock reached ``until``."""
    rest = b""
    while time.monotonic() < until:
        checkpoint()
        if not select.select([console], [], [], 0.1)[0]:
            continue
        try:
            data = console.recv(65536)
        except ConnectionError:
            return False
        if not data:
            return False
        *lines, rest = (rest[-65536:] + data).replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            for found in MARK_LINE.finditer(line.decode("ascii", "replace")):
                if found[1] == nonce and found[2] in (mark, "exit"):
                    return found[2] == mark
    return False
