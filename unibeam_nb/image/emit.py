"""What other people's machines want besides an image: configurations, and the commands that carry a disk to a cloud.

Pure: facts in, text out. Each text is written for one image: its files, its memory, its ports, and the network drivers
that its kernel has. What starts the kernel itself (Xen's PVH, Firecracker, libvirt's direct boot) takes a ``linux``
image; what knows a firmware only takes a ``disk``.

Sources: libvirt's domain format, and the reference pages of gcloud, az, govc and qm; those of :mod:`.xl` and
:mod:`.firecracker` are told there.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from unibeam_nb.errors import UsageError
from unibeam_nb.image import firecracker, xl

DISKS = {"raw": "raw", "qcow2": "qcow2", "vmdk": "vmdk", "vhd": "vhd"}
"""The disk formats, with the endings of their files."""

TARGETS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(DISKS, ("disk",)), "xl": ("linux", "disk"), "libvirt": ("disk", "linux"),
    "gce": ("disk",), "azure": ("disk",), "vmware": ("disk",), "proxmox": ("disk",), "firecracker": ("linux",)}
"""Everything that can be emitted, with the targets whose images will do, the usual one first."""

CONFIGURATIONS = {"xl": "cfg", "libvirt": "xml", "firecracker": "json"}
"""What is written next to an image where a build asks for it, with the endings of the files."""

DRIVERS = {"xl": "xen_netfront", "libvirt": "virtio_net", "gce": "virtio_net", "azure": "hv_netvsc",
           "vmware": "vmxnet3", "proxmox": "virtio_net", "firecracker": "virtio_net"}
"""The network driver that an image needs on each of them."""

WITHOUT_BUS = ("xl", "firecracker")
"""Where a kernel without PCI starts, too, if it has the network driver."""

XEN_WORDS = "console=hvc0 quiet panic=5 unibeam.ip=dhcp"

TAP, TAP_HOST, TAP_GUEST, TAP_MAC = "tap0", "172.16.0.1", "172.16.0.2", "06:00:ac:10:00:02"
"""Firecracker's network is a tap device that the user makes; it has no DHCP. The names are those of its own guide."""


@dataclass(frozen=True)
class Facts:
    """What a text says of an image. ``files`` are absolute paths by name (``disk``, or ``kernel`` and ``initramfs``);
    ``platform`` is its kernel's; ``lacks_network`` is whether the image has no network driver for the platform asked
    for."""

    name: str
    target: str
    files: dict[str, Path]
    kernel: str
    platform: str = "pci"
    ports: tuple[int, ...] = ()
    mem_mb: int = 256
    vcpus: int = 1
    lacks_network: bool = False


def text(kind: str, facts: Facts) -> str:
    """The text of this kind. Raises UsageError for an image whose kernel this platform cannot start."""
    made_for = {"mmio": "a microvm", "uml": "User-mode Linux"}.get(facts.platform)
    if made_for and (facts.platform == "uml" or kind not in WITHOUT_BUS or facts.lacks_network):
        raise UsageError(f"The kernel {facts.kernel} of {facts.name} cannot start under {kind}: it is made for "
                         f"{made_for}.", "Build with the distribution's kernel: --kernel stock.")
    if facts.target == "linux" and kind != "firecracker" and "initramfs" not in facts.files:
        raise UsageError(f"The root of {facts.name} is on a disk, which a configuration for {kind} does not have.",
                         "Take an image whose root is unpacked into memory: --on linux+initramfs@qemu.")
    return _TEXTS[kind](facts)


def warning(kind: str, facts: Facts) -> str:
    """The sentence about a network that is not there; empty where there is one."""
    if not facts.lacks_network:
        return ""
    return f"The {facts.target} image of {facts.name} has no network driver for {kind} ({DRIVERS[kind]})."


def xl_domain(facts: Facts) -> str:
    """A configuration for Xen's ``xl create``: a PVH guest from a linux image, a firmware's (HVM) from a disk."""
    lines = xl.disk(facts.files["disk"]) if facts.target == "disk" else (
        '# type = "pv" boots it too, where processors have no virtualisation.',
        *xl.linux("pvh", facts.files["kernel"], facts.files["initramfs"], XEN_WORDS))
    return "".join(f"{line}\n" for line in _comments("xl", facts, "#")) \
        + xl.domain(facts.name, lines, facts.mem_mb, facts.vcpus)


def libvirt(facts: Facts) -> str:
    """A domain for ``virsh define``: by UEFI from a disk, directly from a linux image."""
    domain = ElementTree.Element("domain", type="kvm")
    _add(domain, "name", facts.name)
    _add(domain, "memory", str(facts.mem_mb), unit="MiB")
    _add(domain, "vcpu", str(facts.vcpus))
    if facts.target == "disk":
        system = _add(domain, "os", firmware="efi")
        # The disk is not signed, so a firmware that insists on signatures would refuse it.
        _add(_add(system, "firmware"), "feature", enabled="no", name="secure-boot")
        _add(system, "type", "hvm", arch="x86_64", machine="q35")
        _add(system, "boot", dev="hd")
    else:
        system = _add(domain, "os")
        _add(system, "type", "hvm", arch="x86_64", machine="q35")
        _add(system, "kernel", str(facts.files["kernel"]))
        _add(system, "initrd", str(facts.files["initramfs"]))
        _add(system, "cmdline", "console=ttyS0 quiet panic=-1 unibeam.ip=dhcp")
    _add(_add(domain, "features"), "acpi")
    _add(domain, "cpu", mode="host-passthrough")
    _add(domain, "on_poweroff", "destroy")
    _add(domain, "on_crash", "destroy")
    devices = _add(domain, "devices")
    if facts.target == "disk":
        disk = _add(devices, "disk", type="file", device="disk")
        _add(disk, "driver", name="qemu", type="raw")
        _add(disk, "source", file=str(facts.files["disk"]))
        _add(disk, "target", dev="vda", bus="virtio")
        _add(disk, "readonly")
    card = _add(devices, "interface", type="network")
    _add(card, "source", network="default")
    _add(card, "model", type="virtio")
    _add(_add(devices, "serial", type="pty"), "target", port="0")
    _add(_add(devices, "console", type="pty"), "target", type="serial", port="0")
    ElementTree.indent(domain)
    return ElementTree.tostring(domain, encoding="unicode") + "\n"


def _add(parent: ElementTree.Element, tag: str, content: str = "", **attributes: str) -> ElementTree.Element:
    child = ElementTree.SubElement(parent, tag, attributes)
    child.text = content or None
    return child


def firecracker_file(facts: Facts) -> str:
    """A file for ``firecracker --config-file``. The kernel is the ELF file inside the image's own."""
    words = (*firecracker.WORDS, *(() if facts.platform == "mmio" else firecracker.NO_BUS), "quiet", "panic=1",
             f"unibeam.ip={TAP_GUEST}/24", f"unibeam.gw={TAP_HOST}")
    return firecracker.configuration(firecracker.MicroVm(
        facts.files["kernel"], facts.files.get("initramfs"), facts.files.get("root"), words, TAP, TAP_MAC,
        facts.mem_mb, facts.vcpus))


def gce(facts: Facts) -> str:
    """Commands that make a Google image. It takes a tar file with one ``disk.raw`` of whole GB."""
    name, archive = _cloud_name(facts), f"{_cloud_name(facts)}.tar.gz"
    rules = _ports(facts)
    allow = [f"gcloud compute firewall-rules create {name} --allow={rules} --target-tags={name}"] if rules else []
    return _script("gce", facts, [
        f"cp --sparse=always {_q(facts.files['disk'])} disk.raw",
        "truncate --size=%1G disk.raw",
        "sgdisk --move-second-header disk.raw",
        f"tar --format=oldgnu -Sczf {archive} disk.raw",
        f'gcloud storage cp {archive} "gs://$BUCKET/{archive}"',
        f'gcloud compute images create {name} --source-uri="gs://$BUCKET/{archive}" --architecture=X86_64 '
        "--guest-os-features=UEFI_COMPATIBLE",
        f"gcloud compute instances create {name} --image={name} --machine-type=e2-micro --no-shielded-secure-boot "
        f"--network-interface=nic-type=VIRTIO_NET --tags={name}", *allow], ("BUCKET",))


def azure(facts: Facts) -> str:
    """Commands that make an Azure machine. It takes a fixed VHD as a page blob; generation 2 is the one with UEFI."""
    name = _cloud_name(facts)
    opened = [f'az vm open-port --resource-group "$GROUP" --name {name} --port {",".join(map(str, facts.ports))}'
              ] if facts.ports else []
    return _script("azure", facts, [
        f"unibeam emit {facts.name} --as vhd -o {name}.vhd",
        f'az storage blob upload --account-name "$ACCOUNT" --container-name "$CONTAINER" --type page --file {name}.vhd '
        f"--name {name}.vhd",
        f'az disk create --resource-group "$GROUP" --name {name} --os-type Linux --hyper-v-generation V2 '
        f'--source "https://$ACCOUNT.blob.core.windows.net/$CONTAINER/{name}.vhd"',
        # A disk that is attached as it is: an image would wait for an agent that sets up users.
        f'az vm create --resource-group "$GROUP" --name {name} --attach-os-disk {name} --os-type linux '
        f"--size Standard_B1s --security-type Standard", *opened], ("GROUP", "ACCOUNT", "CONTAINER"))


def vmware(facts: Facts) -> str:
    """Commands for ESXi or vCenter by govc. The vmdk is stream-optimised, which is what an import takes."""
    name = _cloud_name(facts)
    return _script("vmware", facts, [
        f"unibeam emit {facts.name} --as vmdk -o {name}.vmdk",
        f"govc import.vmdk -ds=\"$DATASTORE\" {name}.vmdk {name}",
        f"govc vm.create -ds=\"$DATASTORE\" -on=false -m={facts.mem_mb} -c={facts.vcpus} -g=other5xLinux64Guest "
        f"-firmware=efi -net.adapter=vmxnet3 -disk={name}/{name}.vmdk {name}",
        f"govc vm.power -on {name}"], ("DATASTORE",))


def proxmox(facts: Facts) -> str:
    """Commands for a Proxmox host, on which the disk is to lie. Keys for secure boot would keep it from starting."""
    name = _cloud_name(facts)
    return _script("proxmox", facts, [
        f"unibeam emit {facts.name} --as qcow2 -o {name}.qcow2",
        f'scp {name}.qcow2 "root@$HOST:/var/tmp/{name}.qcow2"',
        f'ssh "root@$HOST" \'id=$(pvesh get /cluster/nextid) && qm create "$id" --name {name} --machine q35 '
        f"--bios ovmf --efidisk0 '$STORAGE':1,efitype=4m,pre-enrolled-keys=0 --ostype l26 --memory {facts.mem_mb} "
        f"--cores {facts.vcpus} --net0 virtio,bridge=vmbr0 --serial0 socket "
        f"--virtio0 '$STORAGE':0,import-from=/var/tmp/{name}.qcow2 --boot order=virtio0 && qm start \"$id\"'"],
        ("HOST", "STORAGE"))


def _script(kind: str, facts: Facts, commands: list[str], variables: tuple[str, ...]) -> str:
    """A shell script. What only the user knows stands in variables, without which it stops."""
    unset = [f': "${{{name}:?Set {name} first.}}"' for name in variables]
    return "\n".join(["#!/bin/sh", *_comments(kind, facts, "#"), "set -eu", *unset, *commands]) + "\n"


def _comments(kind: str, facts: Facts, sign: str) -> list[str]:
    lines = [f"{facts.name} ({facts.target}, Linux {facts.kernel}) for {kind}.", warning(kind, facts)]
    return [f"{sign} {line}" for line in lines if line]


def _cloud_name(facts: Facts) -> str:
    """The name as clouds take it: letters, digits and dashes, no dash at the end (RFC 1035)."""
    return facts.name.replace("_", "-").rstrip("-")


def _ports(facts: Facts) -> str:
    return ",".join(f"tcp:{port}" for port in facts.ports)


def _q(path: Path) -> str:
    return shlex.quote(str(path))


_TEXTS: dict[str, Callable[[Facts], str]] = {
    "xl": xl_domain, "libvirt": libvirt, "gce": gce, "azure": azure, "vmware": vmware, "proxmox": proxmox,
    "firecracker": firecracker_file}
