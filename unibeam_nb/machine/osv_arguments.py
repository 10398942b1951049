"""QEMU's command line for an OSv machine. Pure: values in, words out; see :mod:`unibeam_nb.machine.qemu_arguments`.

Under emulation OSv needs q35's clocks; under KVM it runs on microvm, whose only clock is KVM's, and finds its devices
there without a bus (``--nopci``). A disk that boots itself (``loader.img``) needs the firmware and buses of q35.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unibeam_nb.image.osv_command import Network, command_line, environment
from unibeam_nb.machine import qemu_arguments as qemu
from unibeam_nb.machine.door import SECRET_ADDRESS, SECRET_CHARDEV, SECRET_SOCKET, VARIABLE
from unibeam_nb.model import NONCE_VARIABLE, Launch

OSV = "osv"
"""The platform of an OSv image."""

NETWORK = Network(qemu.GUEST_ADDRESS, "255.255.255.0", qemu.GATEWAY, qemu.NAMESERVER)

CPU = "max,-pku,-la57"
"""OSv maps memory in four levels and saves the registers it knows: what is newer is left out."""

PCI, MMIO = "q35", "microvm,acpi=off,isa-serial=on,pit=off,pic=off,rtc=off"
"""The two machines. QEMU itself appends to the command line where microvm's devices are, and OSv finds the
words there."""


@dataclass(frozen=True)
class OsvGuest:
    """What QEMU is asked to boot. Without a ``kernel`` it is on the disk, and so is what it is told. ``ports`` are
    pairs (host, guest), ``mem_mb`` is in MiB. ``channel`` is the port inside at which the program is to be talked to;
    it fetches the secret over the network. Without ``outgoing`` that lets nothing out."""

    kernel: Path | None
    disk: Path
    launch: Launch
    served: tuple[int, ...]
    nonce: str
    accelerator: str
    mem_mb: int = 256
    vcpus: int = 1
    ports: tuple[tuple[int, int], ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    dhcp: bool = False
    channel: int | None = None
    outgoing: bool = False

    @property
    def mmio(self) -> bool:
        """Whether it runs on a machine without a bus."""
        return self.accelerator == "kvm" and self.kernel is not None


def osv_command_line(guest: OsvGuest) -> str:
    """What OSv is told. Raises UsageError for what it cannot be told."""
    variables = environment(guest.launch, guest.served) | dict(guest.variables) | {NONCE_VARIABLE: guest.nonce}
    if guest.channel is not None:
        variables |= {VARIABLE: f"0.0.0.0 {guest.channel} @{SECRET_ADDRESS}:{guest.channel}"}
    return command_line(guest.launch, variables, None if guest.dhcp else NETWORK, pci=not guest.mmio)


def osv_arguments(guest: OsvGuest) -> tuple[str, ...]:
    """The words after the program's name. The disk is opened read-only, so that machines share it where they can."""
    block = "virtio-blk-device" if guest.mmio else "virtio-blk-pci"
    card = "virtio-net-device" if guest.mmio else "virtio-net-pci,romfile="
    ram = f"memory-backend-memfd,id=ram,size={guest.mem_mb}M,share=on"
    secret: tuple[str, ...] = ()
    leads = ""
    if guest.channel is not None:
        secret = ("-chardev", f"socket,id={SECRET_CHARDEV},path={SECRET_SOCKET},server=on,wait=off")
        leads = f",guestfwd=tcp:{SECRET_ADDRESS}:{guest.channel}-chardev:{SECRET_CHARDEV}"
    machine = f"{MMIO if guest.mmio else PCI},accel={guest.accelerator}"
    return (*qemu.common(machine, CPU, guest.vcpus, guest.mem_mb, ram),
            "-drive", f"file={str(guest.disk).replace(',', ',,')},if=none,id=root,format=raw,read-only=on",
            *(("-global", "virtio-mmio.force-legacy=false") if guest.mmio else ()),
            "-device", f"{block},drive=root", *secret, *qemu.network(guest.ports, leads, outgoing=guest.outgoing),
            "-device", f"{card},netdev=net",
            *(("-kernel", str(guest.kernel), qemu.PRIVATELY) if guest.kernel else ()))
