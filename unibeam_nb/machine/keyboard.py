"""Typing into a machine: a line for the shell on its console."""

from __future__ import annotations

import fcntl
import os
import select
import sys
import termios
import time
from pathlib import Path

from unibeam_nb.errors import MachineError, UsageError
from unibeam_nb.machine import qmp
from unibeam_nb.machine.options import INPUT
from unibeam_nb.machine.qemu_arguments import CONSOLE_SOCKET

LONGEST = 4000
"""Bytes of a line: a terminal in the guest takes no more than 4095 at once (termios(3))."""

PATIENCE = 5.0
"""Seconds for a program that is busy to make room for the line."""


def send_line(directory: Path, line: str, patience: float = PATIENCE) -> None:
    """Send ``line`` and a newline to the machine that lives in ``directory``, within ``patience`` seconds.

    Raises UsageError for more than one line, or one too long, and MachineError where nobody reads it.
    """
    data = line.encode() + b"\n"
    if len(data) > LONGEST or any(character < " " and character != "\t" for character in line):
        raise UsageError("That is not a line that can be typed.", f"Send one line of at most {LONGEST} bytes.")
    handle = _open(directory)
    try:
        ends = time.monotonic() + patience
        while data:
            if not select.select([], [handle], [], max(ends - time.monotonic(), 0.0))[1]:
                raise MachineError("The machine does not read what is typed.", "Its program may be busy: try again.")
            data = data[os.write(handle, data):]
        # QEMU drops what it has not yet taken in when the line is cut, and a serial port takes in little at once.
        while _unread(handle) and time.monotonic() < ends:
            time.sleep(0.005)
    except BrokenPipeError:
        raise MachineError("The machine reads nothing any more.", "It may just have ended.") from None
    finally:
        os.close(handle)


def _unread(handle: int) -> int:
    """Bytes written to a socket that nobody has read yet (SIOCOUTQ of unix(7)); 0 for a pipe, which keeps them."""
    try:
        return int.from_bytes(fcntl.ioctl(handle, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    except OSError:
        return 0


def _open(directory: Path) -> int:
    """The descriptor of the machine's pipe, or of its virtual console."""
    try:
        return os.open(directory / INPUT, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        console = qmp.connect(directory, CONSOLE_SOCKET) if directory.is_dir() else None
    except OSError:  # ENXIO: nobody has it open for reading.
        console = None
    if console is None:
        raise MachineError("The machine reads nothing any more.", "It may just have ended.")
    console.setblocking(False)
    return console.detach()
