"""User-mode Linux's command line for one machine (Documentation/virt/uml/user_mode_linux_howto_v2.rst). Pure: values
in, words out. Its kernel is a program of the host, its initramfs the one that every linux image has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unibeam_nb.errors import UsageError
from unibeam_nb.image.tree import Entry, directory, file
from unibeam_nb.machine.qemu_arguments import GUEST_ADDRESS, told

HOME = "uml"
"""Where it keeps its pid and its management socket: a directory in the machine's own."""


@dataclass(frozen=True)
class Guest:
    """What User-mode Linux is asked to boot. ``frames`` is the file descriptor of its network, where it has one,
    ``console`` that which its console reads, and ``channel`` the port at which its program is to be talked to. ``data``
    is a disk that the program may write to, ``more`` what PID 1 is told besides. Without ``outgoing`` its network
    lets nothing out."""

    initramfs: Path
    nonce: str
    mem_mb: int = 256
    frames: int | None = None
    console: int | None = None
    variables: tuple[tuple[str, str], ...] = ()
    channel: int | None = None
    data: Path | None = None
    more: tuple[str, ...] = ()
    outgoing: bool = False


def variables(env: Sequence[tuple[str, str]]) -> list[Entry]:
    """What lies before an initramfs to tell PID 1 of variables (guest/program.c). Raises UsageError for a value that
    does not fit into a line."""
    for key, value in env:
        if "\n" in value:
            raise UsageError(f"The value of {key} cannot be handed to User-mode Linux.",
                             "There it is one line: pass it without line breaks.")
    text = "".join(f"{key}={value}\n" for key, value in env)
    return [directory("etc"), directory("etc/unibeam"), file("etc/unibeam/variables", text, 0o600)]


def arguments(guest: Guest) -> tuple[str, ...]:
    """The words after the kernel's name. Raises UsageError for what a command line cannot carry.

    - The console is standard output and takes no input but what PID 1 is told; no terminal emulator is
      started for the others.
    - ``noreboot`` with ``panic=-1`` ends the process when the kernel panics.
    - ``lsm=`` leaves security modules out that a distribution's kernel starts and one program has no use for.
    """
    network = () if guest.frames is None else (f"vec0:transport=fd,fd={guest.frames}",)
    disk = () if guest.data is None else (f"ubd0={guest.data}",)
    console = "null" if guest.console is None else f"fd:{guest.console}"
    return (f"mem={guest.mem_mb}M", f"umid={HOME}", "uml_dir=.", "con=null", f"con0={console},fd:1", "ssl=null",
            f"initrd={guest.initramfs}", *disk, *network, "console=tty0", "quiet", "panic=-1", "noreboot",
            "lsm=lockdown", *told(guest.nonce, guest.variables, GUEST_ADDRESS if network else None, guest.channel,
                                  guest.outgoing),
            *guest.more)
