"""Talking to a running QEMU: the only module that knows QMP (QEMU's docs/interop/qmp-spec).

``qemu.qmp`` is asynchronous, and a notebook's own event loop is busy running the cell; so its clients live
on one private loop on a thread of its own, started on first use.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from unibeam_nb.errors import MachineError
from unibeam_nb.machine.qemu_arguments import QMP_SOCKET
from unibeam_nb.progress import checkpoint

T = TypeVar("T")


@lru_cache(maxsize=1)
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="unibeam-qmp", daemon=True).start()
    return loop


def _run(work: Coroutine[Any, Any, Any], timeout: float) -> Any:
    future = asyncio.run_coroutine_threadsafe(work, _loop())
    ends = time.monotonic() + timeout
    try:
        while True:
            concurrent.futures.wait([future], timeout=0.1)
            if future.done():
                return future.result()
            checkpoint()
            if time.monotonic() >= ends:
                raise MachineError("QEMU does not answer.", "Stop the machine and boot it again.")
    finally:
        future.cancel()


def connect(directory: Path, name: str = QMP_SOCKET,
            kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket | None:
    """A connection to the Unix socket ``name`` in ``directory``, or None when nobody listens there yet.

    The path goes through a file descriptor of the directory, since it must fit into 108 bytes.
    """
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    connection = socket.socket(socket.AF_UNIX, kind)
    try:
        connection.connect(f"/proc/self/fd/{handle}/{name}")
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    finally:
        os.close(handle)
    return connection


def run_guest(directory: Path, alive: Callable[[], bool], timeout: float = 30.0,
              line: str | None = None) -> float | None:
    """Let a QEMU that was started with ``-S`` run its guest, whose kernel's command line is ``line``: QEMU waits for it
    and makes the machine then (``-preconfig``). None where it does not.

    Returns the host's monotonic clock just before the guest began, or None when QEMU ended before (``alive``
    says so). Raises MachineError when it does not answer within ``timeout`` seconds.
    """
    async def talk(client: Any) -> float:
        if line is not None:
            await client.execute("qom-set", {"path": "/machine", "property": "append", "value": line})
            await client.execute("x-exit-preconfig")
        began = time.monotonic()
        await client.execute("cont")
        return began

    return converse(directory, alive, talk, timeout)


def converse(directory: Path, alive: Callable[[], bool], talk: Callable[[Any], Coroutine[Any, Any, T]],
             timeout: float = 30.0) -> T | None:
    """What ``talk`` returns, which is given a connected ``QMPClient``; None when QEMU ended before or meanwhile.

    Raises MachineError when QEMU does not answer within ``timeout`` seconds, and what ``talk`` raises.
    """
    ends = time.monotonic() + timeout
    while (connection := connect(directory)) is None:
        if not alive():
            return None
        if time.monotonic() > ends:
            raise MachineError("QEMU did not open its control socket.", "Boot it again; the host may be overloaded.")
        time.sleep(0.001)
    connection.setblocking(False)
    told: T | None = _run(_converse(connection, talk), timeout)
    return told


async def _converse(connection: socket.socket, talk: Callable[[Any], Coroutine[Any, Any, T]]) -> T | None:
    from qemu.qmp import QMPClient, QMPError

    # A QEMU that gives up at once is reported by us, in a sentence; the library's log lines would land in a cell.
    logging.getLogger("qemu.qmp").addHandler(logging.NullHandler())
    client = QMPClient("unibeam")
    try:
        await client.connect(connection)
        return await talk(client)
    except (QMPError, OSError, EOFError):
        return None  # QEMU went away meanwhile; why stands in its own output.
    finally:
        try:
            await client.disconnect()
        except (QMPError, OSError, EOFError):
            connection.close()
