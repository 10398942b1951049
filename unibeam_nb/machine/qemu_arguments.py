"""QEMU's command line for one machine. Pure: values in, words out.

The same words, but for the accelerator, boot a user's machine and prove the accelerator, so that what was
proved is what runs. All paths of sockets and logs are relative to the machine's directory, which is QEMU's
working directory: a Unix socket's path must fit into 108 bytes (unix(7)).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from unibeam_nb.errors import UsageError

PROGRAM = "qemu-system-x86_64"
MACHINE = "q35"
"""The machine type: the quickest of those that boot a distribution's kernel and its network everywhere."""

CONSOLE, CONSOLE_SOCKET, QMP_SOCKET = "console.log", "console.sock", "qmp.sock"

GUEST_ADDRESS, GATEWAY, NAMESERVER = "10.0.2.15", "10.0.2.2", "10.0.2.3"
"""The fixed addresses of QEMU's user network, so that no guest waits for DHCP."""

HOSTNAME = "beam.unibeam"
"""With a dot: without one OTP asks a port program for the domain before it reads any configuration."""

LONGEST_CMDLINE = 2047
"""COMMAND_LINE_SIZE of x86 Linux less the final NUL (Documentation/x86/boot.rst)."""


RAM = "ram"
"""The guest's RAM where it is kept in a file: a name in the machine's directory, as for the sockets."""


@dataclass(frozen=True)
class Guest:
    """What QEMU is asked to boot. ``ports`` are pairs (host, guest), ``mem_mb`` is in MiB.

    ``snapshot`` is ``taken`` where the guest's RAM is to be kept in the file :data:`RAM`, and ``resumed`` where
    that file is what the guest starts from; it is not written to then.
    """

    kernel: Path
    initramfs: Path
    nonce: str
    accelerator: str
    mem_mb: int = 256
    vcpus: int = 1
    ports: tuple[tuple[int, int], ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    snapshot: Literal["", "taken", "resumed"] = ""


def kernel_command_line(guest: Guest) -> str:
    """What the kernel and our PID 1 are told. Raises UsageError for what a command line cannot carry.

    ``quiet`` lets errors and worse through. ``panic=-1`` makes a panic reboot at once, which ``-no-reboot``
    turns into the end of QEMU.
    """
    words = ["console=ttyS0", "quiet", "panic=-1",
             f"unibeam.nonce={guest.nonce}", f"unibeam.ip={GUEST_ADDRESS}/24", f"unibeam.gw={GATEWAY}",
             f"unibeam.dns={NAMESERVER}", f"unibeam.hostname={HOSTNAME}",
             *(["unibeam.snapshot"] if guest.snapshot else [])]
    for key, value in guest.variables:
        if not value.isascii() or not value.isprintable() or '"' in value:
            raise UsageError(f"The value of {key} cannot be handed to a virtual machine.",
                             "A kernel command line carries printable ASCII without double quotes.")
        word = f"unibeam.env.{key}={value}"
        words.append(f'"{word}"' if " " in word else word)
    line = " ".join(words)
    if len(line) > LONGEST_CMDLINE:
        raise UsageError(f"The environment makes a kernel command line of {len(line)} bytes.",
                         f"Linux reads {LONGEST_CMDLINE}: pass less with --env.")
    return line


def arguments(guest: Guest) -> tuple[str, ...]:
    """The words after the program's name.

    - ``memory-backend-memfd`` gives the guest's RAM a name in ``/proc/PID/smaps``.
      A machine that is resumed maps its file privately: the kernel copies the pages it writes to, and all machines
      of one snapshot share the others. ``-incoming defer`` waits for the rest of its state.
    - ``-S`` keeps the guest from running until it is told to over QMP, so that QEMU's own start is told apart.
    - The network has a way out, as the program has in the other runners; a way in only through ``hostfwd``,
      which listens on 127.0.0.1.
    - There is no virtio-rng: ``-cpu max`` gives the guest RDRAND, from which the kernel seeds itself.
    """
    forwards = "".join(f",hostfwd=tcp:127.0.0.1:{host}-:{port}" for host, port in guest.ports)
    words = ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-S",
             "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
             "-machine", f"{MACHINE},accel={guest.accelerator},memory-backend=ram",
             "-cpu", "max", "-smp", str(guest.vcpus), "-m", f"{guest.mem_mb}M",
             "-object", _ram(guest), *(("-incoming", "defer") if guest.snapshot == "resumed" else ()),
             "-chardev", f"socket,id=console,path={CONSOLE_SOCKET},server=on,wait=off,logfile={CONSOLE}",
             "-serial", "chardev:console",
             "-qmp", f"unix:{QMP_SOCKET},server=on,wait=off",
             "-netdev", f"user,id=net,net=10.0.2.0/24,host={GATEWAY},dns={NAMESERVER}{forwards}",
             "-device", "virtio-net-pci,netdev=net,romfile=",
             "-kernel", str(guest.kernel), "-initrd", str(guest.initramfs),
             "-append", kernel_command_line(guest)]
    return tuple(words)


def _ram(guest: Guest) -> str:
    if not guest.snapshot:
        return f"memory-backend-memfd,id=ram,size={guest.mem_mb}M,share=on"
    share = "on" if guest.snapshot == "taken" else "off"
    return f"memory-backend-file,id=ram,size={guest.mem_mb}M,share={share},mem-path={RAM}"
