"""A machine as ``firecracker --config-file`` takes it. Pure: values in, text out.

Source: the published API, ``src/firecracker/swagger/firecracker.yaml`` of Firecracker 1.17 (``FullVmConfiguration`` and
what it refers to); the names used here have been there since 1.0. ``docs/getting-started.md`` says which kernel it
takes (an ELF file) and how it is told to end (a reset by the keyboard controller).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unibeam_nb.errors import UsageError

WORDS = ("console=ttyS0", "reboot=k", "unibeam.off=reboot")
"""What the kernel is told: its console, and how to end the machine, which has no ACPI to switch it off by."""

NO_BUS = ("pci=off",)
"""What a kernel with PCI is told besides: there is none to look for."""

ROOT_WORDS = ("rootfstype=erofs", "init=/init")
"""What is said where the root is on a disk. Firecracker itself appends ``root=/dev/vda ro``."""

MOST_VCPUS = 32


@dataclass(frozen=True)
class MicroVm:
    """What is to be started: ``kernel`` is an ELF file; the root is unpacked from ``initramfs`` or read from ``root``.
    ``tap`` is the host's network device, ``mac`` the address of the guest's card. ``log`` gets what Firecracker says of
    itself, which else stands among the guest's lines."""

    kernel: Path
    initramfs: Path | None
    root: Path | None
    words: tuple[str, ...]
    tap: str
    mac: str
    mem_mb: int = 256
    vcpus: int = 1
    log: Path | None = None


def configuration(machine: MicroVm) -> str:
    """The file. Raises UsageError for more processors than Firecracker knows."""
    if machine.vcpus > MOST_VCPUS:
        raise UsageError(f"Firecracker gives a machine at most {MOST_VCPUS} processors, not {machine.vcpus}.",
                         f"Ask for fewer: --vcpus {MOST_VCPUS}.")
    source: dict[str, Any] = {"kernel_image_path": str(machine.kernel)}
    drives = []
    if machine.root is not None:
        drives.append({"drive_id": "root", "path_on_host": str(machine.root), "is_root_device": True,
                       "is_read_only": True})
    else:
        source["initrd_path"] = str(machine.initramfs)
    source["boot_args"] = " ".join((*machine.words, *(ROOT_WORDS if drives else ())))
    whole: dict[str, Any] = {
        "boot-source": source, "drives": drives,
        "network-interfaces": [{"iface_id": "eth0", "guest_mac": machine.mac, "host_dev_name": machine.tap}],
        "machine-config": {"vcpu_count": machine.vcpus, "mem_size_mib": machine.mem_mb, "smt": False}}
    if machine.log is not None:
        whole["logger"] = {"log_path": str(machine.log), "level": "Warning"}
    return json.dumps(whole, indent=2) + "\n"
