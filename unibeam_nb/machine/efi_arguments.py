"""QEMU's command line for a disk that a firmware boots, as a cloud would; see
:mod:`unibeam_nb.machine.qemu_arguments`.

The disk is the same at every boot, and so is the command line on it. The nonce therefore travels as the machine's
serial number, and nothing else can be told: the address comes by DHCP, the port is the release's own.
"""

from __future__ import annotations

from pathlib import Path

from unibeam_nb.arms import Arm
from unibeam_nb.errors import ToolMissing, UsageError
from unibeam_nb.machine import qemu_arguments as qemu
from unibeam_nb.machine.options import Seat

EFI = "efi"
"""The platform of a disk image."""

FIRMWARES = (Path("/usr/share/ovmf/OVMF.fd"), Path("/usr/share/qemu/OVMF.fd"))


def firmware(places: tuple[Path, ...] = FIRMWARES) -> Path:
    """The UEFI firmware for QEMU. Raises ToolMissing where it is not installed."""
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise ToolMissing("The UEFI firmware for QEMU (OVMF) is not on this host.", "Install it: apt-get install ovmf")
    return found


def efi_arguments(disk: Path, uefi: Path | None, seat: Seat, seed: Path | None = None) -> tuple[str, ...]:
    """The words after the program's name; without ``uefi`` it is QEMU's own BIOS that boots, and ``seed`` is a disk
    with user data. Raises UsageError for variables, which cannot reach the program."""
    options = seat.options
    if options.env:
        raise UsageError(f"{Arm('disk', (), 'qemu')} takes no --env: a disk holds its command line.",
                         "Put the variable into the release, or boot linux@qemu.")
    ram = f"memory-backend-memfd,id=ram,size={options.mem_mb}M,share=on"
    machine = f"q35,accel={seat.accelerator}"
    return (*qemu.common(machine, qemu.processor(seat.accelerator), options.vcpus, options.mem_mb, ram),
            *(("-bios", str(uefi)) if uefi else ()),
            "-smbios", f"type=1,serial=unibeam:{seat.nonce}",
            "-drive", f"file={str(disk).replace(',', ',,')},if=none,id=disk,format=raw,read-only=on",
            "-device", "virtio-blk-pci,drive=disk,bootindex=0",
            *(qemu.seed_disk(seed, "pci") if seed else ()),
            *(qemu.data_disk(options.data, "pci") if options.data else ()),
            *qemu.network(seat.ports, outgoing=seat.outgoing), *qemu.CARDS["pci"])
