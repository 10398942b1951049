"""A user network for a guest that has none of its own: slirp4netns(1), for any user, without a device on the host.

It speaks libslirp's network, which QEMU has built in: the guest's way out, and ports of 127.0.0.1 that lead in. Its
BESS mode takes Ethernet frames from a socket, one a packet, which is what User-mode Linux's network card does too.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from unibeam_nb import process, tools
from unibeam_nb.errors import MachineError, PortInUse
from unibeam_nb.jsonable import dump, from_json, loads
from unibeam_nb.machine import children, proc
from unibeam_nb.machine.proc import ProcessId
from unibeam_nb.machine.qmp import connect as connect_at
from unibeam_nb.model import NONCE_VARIABLE
from unibeam_nb.progress import checkpoint

PROGRAM = "slirp4netns"
FRAMES, ORDERS, PIDFILE = "net.sock", "net-api.sock", "net.json"
"""Files in a machine's directory: sockets of frames and of orders, gone once connected, and who the process is."""

PATIENCE = 5.0


@dataclass(frozen=True)
class Network:
    """File descriptors for the guest's process: ``frames`` is its network, and the network ends when ``leash`` is
    closed by all who hold it."""

    frames: int
    leash: int

    def close(self) -> None:
        """Let go of both."""
        os.close(self.frames)
        os.close(self.leash)


NOBODYS = "192.0.2.1"
"""An address that no host has (RFC 5737). What is to leave from it does not leave: slirp4netns has no other way to let
nothing out, for without its way to 10.0.2.2 a guest still gets to 127.0.0.1 by that very address."""


def arguments(leash: int, *, outgoing: bool = False) -> tuple[str, ...]:
    """The words after the program's name; ``leash`` is the reading end of a pipe. Without ``outgoing`` nothing gets
    out but answers to forwarded connections."""
    closed = () if outgoing else ("--disable-host-loopback", "--disable-dns", f"--outbound-addr={NOBODYS}")
    return ("--target-type=bess", "--enable-seccomp", *closed, f"--api-socket={ORDERS}", f"--exit-fd={leash}", FRAMES)


def forward(host: int, guest: int, address: str) -> dict[str, Any]:
    """The order (slirp4netns(1), API socket) that leads a port of 127.0.0.1 to one of the guest at ``address``."""
    return {"execute": "add_hostfwd", "arguments": {
        "proto": "tcp", "host_addr": "127.0.0.1", "host_port": host, "guest_addr": address, "guest_port": guest}}


def connect(directory: Path, nonce: str, ports: Iterable[tuple[int, int]], address: str, log: IO[bytes], *,
            outgoing: bool = False) -> Network:
    """Start the network of the machine in ``directory`` and forward ``ports`` (host, guest); with ``outgoing`` the
    guest may connect to others, too.

    It needs nobody to end it: it does when ``leash`` is closed. Where it hangs instead, it is found by the machine's
    ``nonce``. Raises PortInUse and MachineError.
    """
    reading, leash = os.pipe()
    try:
        child = process.spawn((str(tools.find(PROGRAM)), *arguments(reading, outgoing=outgoing)), stdout=log,
                              cwd=directory, env={NONCE_VARIABLE: nonce}, passes=(reading,))
    finally:
        os.close(reading)
    try:
        children.adopt(child)
        if (known := proc.identify(child.pid)) is not None:
            (directory / PIDFILE).write_text(dump(known), encoding="utf-8")
        frames = _dial(directory, FRAMES, socket.SOCK_SEQPACKET)
        try:
            for host, guest in ports:
                _order(directory, forward(host, guest, address))
            return Network(os.dup(frames.fileno()), leash)
        finally:
            frames.close()
            for name in (FRAMES, ORDERS):
                (directory / name).unlink(missing_ok=True)
    except BaseException:
        os.close(leash)
        raise


def running(directory: Path) -> list[ProcessId]:
    """The process that is the network of the machine in ``directory``, while it runs."""
    with contextlib.suppress(OSError, ValueError):
        found = from_json(ProcessId, loads((directory / PIDFILE).read_text(encoding="utf-8")))
        return [found] if found.alive else []
    return []


def _dial(directory: Path, name: str, kind: socket.SocketKind) -> socket.socket:
    """A connection to a socket that is just about to be there."""
    ends = time.monotonic() + PATIENCE
    while True:
        if (connection := connect_at(directory, name, kind)) is not None:
            connection.settimeout(PATIENCE)
            return connection
        if time.monotonic() >= ends:
            raise MachineError(f"{PROGRAM} did not start.", "Run it by hand to see why: slirp4netns --version",
                               _last_words(directory))
        checkpoint()
        time.sleep(0.001)


def _order(directory: Path, order: dict[str, Any]) -> None:
    with _dial(directory, ORDERS, socket.SOCK_STREAM) as connection:
        connection.sendall(json.dumps(order).encode())
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(4096)
    if b'"error"' in answer:
        port = order["arguments"]["host_port"]
        raise PortInUse(f"Port {port} on 127.0.0.1 was taken while the machine started.", "Boot it again.")


def _last_words(directory: Path) -> list[str]:
    path = directory / "vmm.log"
    return path.read_text(errors="replace").splitlines()[-3:] if path.exists() else []
