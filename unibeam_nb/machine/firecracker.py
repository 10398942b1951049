"""Runner ``firecracker``: a linux image in a microVM of Firecracker, which runs on KVM only.

It is given one file and no API socket. Its network is a tap device with this host at the other end, made before the
machine is spawned, just as a container engine's network is, and removed with it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from unibeam_nb import process, tools
from unibeam_nb.errors import ProgramFailed, UsageError
from unibeam_nb.image import firecracker as config
from unibeam_nb.image.kernels import elf_kernel
from unibeam_nb.machine import memory, proc
from unibeam_nb.machine.link import BITS, Link, link_of
from unibeam_nb.machine.options import Seat, Start
from unibeam_nb.machine.proc import ProcessId
from unibeam_nb.machine.qemu import OUTPUT
from unibeam_nb.machine.qemu_arguments import CONSOLE, LONGEST_CMDLINE, told
from unibeam_nb.machine.registry import Record
from unibeam_nb.store import Store, write_atomically

PROGRAM, CONFIGURATION = "firecracker", "firecracker.json"
APPENDED = 160
"""Bytes that Firecracker itself puts behind the command line: the root, and where its devices are."""


def prepare(seat: Seat) -> Start:
    """The network and the configuration of this machine. Raises UsageError for a kernel that KVM does not run."""
    image, options = seat.image, seat.options
    if image.platform not in ("pci", "mmio"):
        raise UsageError(f"The kernel {image.kernel} of {image.name} does not run on firecracker.",
                         "Build with the distribution's kernel: --kernel stock.")
    link = link_of(seat.id)
    bus = config.NO_BUS if image.platform == "pci" else ()
    words = (*config.WORDS, *bus, "quiet", "panic=-1", *told(seat.nonce, tuple(seat.variables.items()), link,
                                                             seat.door.guest if seat.door else None))
    if (length := len(" ".join(words)) + APPENDED) > LONGEST_CMDLINE:
        raise UsageError(f"The environment makes a kernel command line of {length} bytes.",
                         f"Linux reads {LONGEST_CMDLINE}: pass less with --env.")
    log, place = seat.directory / OUTPUT, seat.directory / CONFIGURATION
    log.touch()
    write_atomically(place, config.configuration(config.MicroVm(
        elf_kernel(seat.store, image.file("kernel")), image.artefact("initramfs"), image.artefact("root"), words,
        link.device, link.mac, options.mem_mb, options.vcpus, log)))
    program = tools.find(PROGRAM)
    _plug(link)
    return Start((str(program), "--no-api", "--config-file", str(place)), CONSOLE, fed=True)


def _plug(link: Link) -> None:
    """Make the tap device, with the host's address. Nothing is left of it when that fails."""
    ip = tools.find("ip")
    try:
        process.run([ip, "tuntap", "add", "dev", link.device, "mode", "tap"])
        process.run([ip, "address", "add", f"{link.host}/{BITS}", "dev", link.device])
        process.run([ip, "link", "set", link.device, "up"])
    except BaseException:
        _unplug(link)
        raise


def _unplug(link: Link) -> None:
    with contextlib.suppress(ProgramFailed):
        process.run([tools.find("ip"), "link", "delete", link.device])


def started(seat: Seat, alive: Callable[[], bool]) -> float | None:
    """The guest runs as soon as Firecracker has read its file; when that was cannot be seen from here."""
    return None


def payload(record: Record, directory: Path) -> list[ProcessId]:
    """The program's own processes are inside: none on the host."""
    return []


def runtime(record: Record, directory: Path) -> list[ProcessId]:
    """Firecracker, with all the threads in which the guest runs."""
    return [record.process] if record.process else []


def measure(record: Record, directory: Path) -> tuple[int, int]:
    """Bytes of guest RAM touched, and bytes of Firecracker besides."""
    if record.process is None:
        return 0, 0
    ram = memory.largest(record.process, "Pss")
    return ram, max(memory.pss([record.process]) - ram, 0)


def touched(record: Record, directory: Path) -> int:
    """Bytes of RAM that the guest has touched."""
    return memory.largest(record.process, "Rss") if record.process else 0


def halt(store: Store, record: Record, directory: Path, reap: Callable[[], object]) -> bool:
    """End Firecracker, whose guest has nothing to save, and remove its network device."""
    gone = proc.end(runtime(record, directory), reap=reap)
    _unplug(link_of(record.id))
    return gone
