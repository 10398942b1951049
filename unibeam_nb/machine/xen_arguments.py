"""What Xen's ``xl`` is given for one machine: its configuration, and the script that plugs its network in. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from unibeam_nb.arms import PV
from unibeam_nb.errors import UsageError
from unibeam_nb.image import xl
from unibeam_nb.machine.link import BITS, Link
from unibeam_nb.machine.qemu_arguments import told

CONFIGURATION, PLUG = "xl.cfg", "plug"

WORDS = ("console=hvc0", "quiet", "panic=-1")
"""The console is Xen's own; a panic ends the domain at once."""


@dataclass(frozen=True)
class Guest:
    """What Xen is asked to boot. ``plug`` is the script of :func:`script`; ``channel`` the port inside at which the
    program is to be talked to."""

    name: str
    kernel: Path
    initramfs: Path
    nonce: str
    link: Link
    plug: Path
    options: tuple[str, ...] = ()
    mem_mb: int = 256
    vcpus: int = 1
    variables: tuple[tuple[str, str], ...] = ()
    channel: int | None = None


def configuration(guest: Guest) -> str:
    """The configuration for ``xl create``. Raises UsageError for what it, or a kernel's command line, cannot carry."""
    if "," in str(guest.plug):
        raise UsageError(f"xl cannot be told of {guest.plug}, because of the comma.",
                         "Set UNIBEAM_HOME to a path without one.")
    words = (*WORDS, *told(guest.nonce, guest.variables, guest.link, guest.channel))
    kind = "pv" if PV in guest.options else "pvh"
    return xl.domain(guest.name, xl.linux(kind, guest.kernel, guest.initramfs, " ".join(words)), guest.mem_mb,
                     guest.vcpus, f"mac={guest.link.mac},script={guest.plug}")


def script(link: Link) -> str:
    """What xl runs when the guest's network card is there (xl-network-configuration(5), ``script``): the host's end of
    the link gets its address, and xl is told so through XenStore. Afterwards Linux removes the device by itself."""
    return "\n".join((
        "#!/bin/sh", "set -eu", '[ "$1" = online ] || exit 0', f'ip address add {link.host}/{BITS} dev "$vif"',
        'ip link set "$vif" up', 'xenstore-write "$XENBUS_PATH/hotplug-status" connected')) + "\n"


def create(program: Path, configuration: Path) -> tuple[str, ...]:
    """The words that start the domain, show its console (``-c``), and end when it does (``-F``)."""
    return (str(program), "create", "-F", "-c", str(configuration))


def memory_mb(table: str, name: str) -> int:
    """The MiB that the domain ``name`` has, from the table that ``xl list`` prints; 0 where it is not in it."""
    rows: Iterable[list[str]] = (line.split() for line in table.splitlines())
    return next((int(row[2]) for row in rows if len(row) >= 3 and row[0] == name), 0)
