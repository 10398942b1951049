"""Runner ``qemu``: a linux image as a virtual machine."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from unibeam_nb import tools
from unibeam_nb.image import osv
from unibeam_nb.image.bios import BIOS
from unibeam_nb.machine import memory, proc, qmp, resume, seed, tsc
from unibeam_nb.machine.efi_arguments import EFI, efi_arguments, firmware
from unibeam_nb.machine.options import Seat, Start
from unibeam_nb.machine.osv_arguments import OSV, OsvGuest, osv_arguments, osv_command_line
from unibeam_nb.machine.proc import ProcessId
from unibeam_nb.machine.qemu_arguments import PROGRAM, RAM, Guest, arguments, kernel_command_line
from unibeam_nb.machine.registry import Record
from unibeam_nb.model import ICOUNT
from unibeam_nb.store import Store, digest_file

OUTPUT = "vmm.log"
"""What QEMU itself says; the guest's console is another file."""

OSV_DISK = "disk"
"""In the machine's directory: its own disk where OSv starts from one, which then holds what this boot is told."""


def prepare(seat: Seat) -> Start:
    """The command line of this machine. Raises UsageError for what its kernel cannot be told."""
    image = seat.image
    program = str(tools.find(PROGRAM))
    _line(seat)
    if image.platform == OSV:
        guest = _osv(seat)
        if guest.kernel is None:
            osv.write_bootable(image, osv_command_line(guest), seat.directory / OSV_DISK)
        return Start((program, *osv_arguments(guest)), OUTPUT)
    disk = _seed(seat)
    if disk is not None:
        seed.write(seat.directory / disk, seed.read(seat.options.user_data), seat.id)
    if image.platform == EFI:
        uefi = None if BIOS in image.options else firmware()
        return Start((program, *efi_arguments(image.file("disk"), uefi, seat, disk)), OUTPUT)
    if seat.snapshot is not None:
        (seat.directory / RAM).symlink_to(seat.snapshot.ram)
    root = image.artefact("root")
    if root is not None and seat.accelerator == ICOUNT:
        digest_file(root)  # Read once from end to end, so that it lies in the page cache when the guest asks for it.
    return Start((program, *arguments(_guest(seat))), OUTPUT)


def _osv(seat: Seat) -> OsvGuest:
    image, options = seat.image, seat.options
    kernel, disk = (None, Path(OSV_DISK)) if osv.boots_itself(image) else (image.file("kernel"), image.file("disk"))
    return OsvGuest(kernel, disk, image.launch, image.ports, seat.nonce, seat.accelerator, options.mem_mb,
                    options.vcpus, seat.forwarded, tuple(seat.variables.items()), options.dhcp,
                    seat.door.guest if seat.door else None, seat.outgoing)


def _guest(seat: Seat) -> Guest:
    image, options, disk = seat.image, seat.options, _seed(seat)
    emulated = image.platform == "mmio" and seat.accelerator == "tcg"
    return Guest(image.file("kernel"), image.artefact("initramfs"), seat.nonce, seat.accelerator,
                 options.mem_mb, options.vcpus, seat.forwarded, tuple(seat.variables.items()), image.platform,
                 tsc.tsc_khz(seat.store) if emulated else None,
                 "" if seat.snapshot is None else "resumed" if seat.snapshot.state else "taken", options.dhcp,
                 seat.door.guest if seat.door else None, image.artefact("root"), options.shell,
                 disk, "" if disk else options.user_data, options.data, seat.told, seat.outgoing)


def _line(seat: Seat) -> str | None:
    """The command line of the machine's kernel; None where it is on the machine's disk."""
    if seat.image.platform == EFI:
        return None
    if seat.image.platform == OSV:
        guest = _osv(seat)
        return osv_command_line(guest) if guest.kernel else None
    return kernel_command_line(_guest(seat))


def _seed(seat: Seat) -> Path | None:
    """The disk with the machine's user data, which is in its directory; None where it has none in a file."""
    given = seat.options.user_data
    return None if not given or seed.is_url(given) else Path(seed.SEED)


def started(seat: Seat, alive: Callable[[], bool]) -> float | None:
    """Let the guest run; the host's monotonic clock just before, which is the mark ``vmm``. A copy gets its state,
    and is told who it is."""
    if seat.snapshot is not None and seat.snapshot.state is not None:
        return resume.start(seat, seat.snapshot.state, alive)
    return qmp.run_guest(seat.directory, alive, line=_line(seat))


def payload(record: Record, directory: Path) -> list[ProcessId]:
    """The program's own processes are inside: none on the host."""
    return []


def runtime(record: Record, directory: Path) -> list[ProcessId]:
    """QEMU, with all the threads in which the guest runs."""
    return [record.process] if record.process else []


def measure(record: Record, directory: Path) -> tuple[int, int]:
    """Bytes of guest RAM touched, and bytes of QEMU besides."""
    return memory.guest_ram(record.process, _mapping(directory)) if record.process else (0, 0)


def touched(record: Record, directory: Path) -> int:
    """Bytes of RAM that the guest has touched, also those it shares with other copies of its snapshot."""
    return memory.touched(record.process, _mapping(directory)) if record.process else 0


def _mapping(directory: Path) -> str:
    """What the kernel calls the mapping of the guest's RAM."""
    ram = directory / RAM
    return str(ram.readlink().resolve()) if ram.is_symlink() else memory.RAM_MAPPING


def halt(store: Store, record: Record, directory: Path, reap: Callable[[], object]) -> bool:
    """End QEMU; the guest has nothing to save, its disk is its memory. Returns whether it is gone."""
    gone = proc.end([record.process] if record.process else [], reap=reap)
    for name in ("qmp.sock", "console.sock"):
        with contextlib.suppress(FileNotFoundError):
            (directory / name).unlink()
    return gone
