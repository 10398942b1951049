"""The door of a machine: where its channel (guest/unibeam_channel.erl) listens, and the secret that opens it.

The secret is made anew for every machine. It goes in through the program's environment (``process``, containers) or
over the console (virtual machines), is kept in a private file of the machine's private directory for whoever of the
same user wants to talk, and stands on no command line and in no record, log or journal.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from unibeam_nb.arms import Arm
from unibeam_nb.machine import ports, qmp
from unibeam_nb.machine.qemu_arguments import CONSOLE_SOCKET

GUEST_PORT = 4371
"""Where the channel listens inside a machine with a network of its own; the next free one where the program serves
that port."""

VARIABLE = "UNIBEAM_CHANNEL"
"""``ADDRESS PORT SECRET``, which the guest agent takes out of the environment at once."""

SECRET_FILE = "channel.secret"

SECRET_SOCKET, SECRET_ADDRESS, SECRET_CHARDEV = "secret.sock", "10.0.2.4", "secret"
"""Where a kernel whose console takes no answer, OSv's, finds the secret: at an address of QEMU's user network that
leads to a socket in the machine's directory. It can be read once."""

CONSOLE_INPUT = "console.in"
"""A pipe in the directory of a machine whose console is no socket: its console reads it."""


@dataclass(frozen=True)
class Door:
    """``host`` is the port on 127.0.0.1, ``guest`` the one inside; the secret is 32 random bytes in hex."""

    host: int
    guest: int
    secret: str = field(repr=False)

    def environment(self, own_network: bool) -> dict[str, str]:
        """What a program on this host is told: to listen on the loopback address only, unless it has a network of its
        own, into which a port of the host's loopback address leads."""
        return {VARIABLE: f"{'0.0.0.0' if own_network else '127.0.0.1'} {self.guest} {self.secret}"}  # nosec B104 # inside

    def answer(self) -> bytes:
        """The line that a virtual machine's PID 1 asks for on its console (guest/orders.c)."""
        return f"secret {self.secret}\n".encode("ascii")


def make(arm: Arm, taken: Mapping[int, str], pairs: tuple[tuple[int, int], ...]) -> Door:
    """A door for a machine whose own ports are ``pairs`` (host, guest); ``taken`` are ports of others."""
    host = ports.any_free((*taken, *(port for port, _ in pairs)))
    guest = host
    if arm.own_network:
        guest = next(port for port in range(GUEST_PORT, 65536) if port not in {inner for _, inner in pairs})
    return Door(guest if arm.linked else host, guest, secrets.token_hex(32))


def keep(directory: Path, door: Door) -> None:
    """Keep the secret for this user only."""
    handle = os.open(directory / SECRET_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="ascii") as stream:
        stream.write(door.secret)


def tell(directory: Path, door: Door, stack: ExitStack, terminal: Path | None = None) -> None:
    """Answer a virtual machine that asks for the secret, on ``terminal`` where that is its console. What is opened for
    that closes with ``stack``."""
    line, socket = directory / CONSOLE_INPUT, SECRET_SOCKET if (directory / SECRET_SOCKET).exists() else CONSOLE_SOCKET
    if terminal is not None or line.is_fifo():
        handle = os.open(terminal or line, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        os.write(handle, door.answer())
        os.close(handle)
    elif (console := qmp.connect(directory, socket)) is not None:
        # The line must stay open until the guest has read it all.
        stack.enter_context(console).sendall(door.answer())


def secret_of(directory: Path) -> str | None:
    """The secret of the machine in ``directory``; None where it has none."""
    try:
        return (directory / SECRET_FILE).read_text(encoding="ascii")
    except (FileNotFoundError, NotADirectoryError):
        return None
