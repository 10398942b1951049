"""The ``disk`` target: one file that a firmware boots, for clouds and hypervisors that take nothing else.

The disk has an EFI system partition, and in it one executable: a stub with kernel, initramfs and command line as its
sections (the UAPI Group's "Unified Kernel Image"). A UEFI firmware starts ``EFI/BOOT/BOOTX64.EFI`` without being told
to; with the option ``bios`` so does a BIOS (:mod:`.bios`). Nothing on the disk is read or written afterwards: the
release runs from memory, as in a ``linux`` image, with the network drivers of the platforms that it may meet. It reads
user data where a platform has some.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from unibeam_nb.errors import ImageError
from unibeam_nb.image import bios, cloud, contents, drivers, kmod, root
from unibeam_nb.image.appliance import ALONE, Appliance, with_fallback
from unibeam_nb.image.appliance import entries as minding
from unibeam_nb.image.entries import library_versions, make_image
from unibeam_nb.image.formats import fat, gpt, pe
from unibeam_nb.image.init import compiled_init
from unibeam_nb.image.kernels import Kernel, stock_kernel
from unibeam_nb.image.linux import compose, pack, packers
from unibeam_nb.image.tree import parts
from unibeam_nb.model import Image, Part, Release
from unibeam_nb.musl import compiler_version
from unibeam_nb.progress import checkpoint, note, step
from unibeam_nb.store import Store, digest, digest_file

PLATFORM = "efi"
STUB = Path("/usr/lib/systemd/boot/efi/linuxx64.efi.stub")
BOOT_FILE = "EFI/BOOT/BOOTX64.EFI"
LABEL = "UNIBEAM"

DRIVERS = {"virtio_pci": "KVM, Google", "virtio_net": "KVM, Google", "ena": "AWS", "gve": "Google",
           "xen_netfront": "Xen, older AWS", "hv_netvsc": "Azure, Hyper-V", "vmxnet3": "VMware", "virtio_rng": "KVM"}
"""Network drivers, and sources of random numbers, with the platforms that need them. What a kernel has built in, or
does not have, is left out; the note of a build says which platforms then have no network."""

COMMAND_LINE = "console=tty0 console=ttyS0 quiet panic=5 unibeam.ip=dhcp"
"""What the kernel is told on any platform: the address is asked for, the console is the serial port and the screen."""

COMPRESSION = "zstd"

DATA_WORD = "unibeam.data=found"
"""A disk image is the same wherever it runs: the data disk is used where there is one."""


def build_disk(store: Store, release: Release, kernel: Kernel | None = None, options: tuple[str, ...] = (),
               appliance: Appliance = ALONE) -> Image:
    """The disk image of a release; ``appliance`` is what it holds besides. Its program's home is on a data disk
    where the machine has one. Raises ImageError for a kernel that no firmware starts, or without the EFI stub."""
    kernel = kernel or stock_kernel(store)
    if not starts_by_efi(kernel.path):
        raise ImageError(f"The kernel {kernel.name} cannot be started by a UEFI firmware (CONFIG_EFI_STUB).",
                         "Use the distribution's kernel, or one that is compiled for it: --on disk+tiny@qemu.")
    stub = efi_stub()
    compression = COMPRESSION if COMPRESSION in kernel.unpacks else kernel.unpacks[0]
    appliance = replace(appliance, words=(DATA_WORD,))
    libraries, init = with_fallback(root.release_libraries(release), appliance), compiled_init(store)
    modules, extras = wanted_modules(kernel), tuple(cloud.entries(store, release))
    inputs = {"kernel": [kernel.version, kernel.sha256], "user data": digest(*(entry.content for entry in extras)),
              "init": digest_file(init), "stub": digest_file(stub),
              "command line": COMMAND_LINE, "compression": compression,
              "packer": library_versions(*packers(compression)),
              "modules": [[module.name, digest(module.data)] for module in modules],
              "libraries": {path: digest_file(source) for path, source in libraries.items()},
              "grub": digest(bios.core_image("")) if bios.BIOS in options else None, **appliance.inputs()}
    minded = tuple(minding(release, appliance))

    def fill(place: Path, key: str) -> Image:
        whole = compose(release, libraries, init, modules, (*extras, *minded))
        with step("Packing the initramfs"):
            pack(store, place / "initramfs", whole, compression)
        with step("Writing the disk"):
            used = write_disk(place / "disk", stub.read_bytes(), kernel.path, place / "initramfs", COMMAND_LINE,
                              by_bios=bios.BIOS in options)
        (place / "initramfs").unlink()
        sizes = (Part("efi stub", stub.stat().st_size), Part("linux kernel", kernel.path.stat().st_size), *parts(whole))
        contents.write(place, (contents.item("stub", "efi stub", stub.read_bytes()),
                               contents.item("kernel", "linux kernel", kernel.path.read_bytes()),
                               *contents.of_entries(whole.values())))
        return Image(release.name, "disk", "", place, key, digest_file(place / "disk"), release.sha256, used,
                     sum(part.bytes for part in sizes), tuple(sorted(sizes, key=lambda part: part.name)),
                     (("disk", "disk"),), release.launch, release.ports, kernel.version,
                     (("gcc", compiler_version()), *library_versions(*packers(compression))), options=options,
                     platform=PLATFORM, processors=kernel.processors)

    return make_image(store, release, "disk", "", inputs | {"options": options}, fill)


def efi_stub() -> Path:
    """The stub that unpacks kernel and initramfs. Raises ImageError where it is not installed."""
    if not STUB.is_file():
        raise ImageError("The EFI stub for disks is not on this host.", "Install it: apt-get install systemd-boot-efi")
    return STUB


def starts_by_efi(kernel: Path) -> bool:
    """Whether a bzImage is an executable of a firmware too: then it begins with ``MZ`` (Documentation/admin-guide/
    efi-stub.rst)."""
    with kernel.open("rb") as stream:
        return stream.read(2) == b"MZ"


def wanted_modules(kernel: Kernel) -> tuple[kmod.Module, ...]:
    """The drivers that go into the image, in load order. Says which platforms then have no network."""
    missing = drivers.missing(kernel, DRIVERS)
    absent = sorted({DRIVERS[name] for name in missing} - {DRIVERS[name] for name in DRIVERS if name not in missing})
    if absent:
        note(f"The kernel {kernel.name} has no network driver for {', '.join(absent)}.")
    if kernel.modules is None:
        return ()
    modules = kmod.Modules(kernel.modules)
    return modules.closure(name for name in (*DRIVERS, *cloud.DRIVERS, "button") if not modules.missing((name,)))


def write_disk(path: Path, stub: bytes, kernel: Path, initramfs: Path, command_line: str, *,
               by_bios: bool = False) -> int:
    """Write the disk and return how many of its bytes are used. What is not, is a hole in the file."""
    executable = b"".join(pe.with_sections(stub, [
        (".osrel", root.CONFIGURATION["etc/os-release"].encode()), (".cmdline", command_line.encode() + b"\0"),
        (".linux", kernel.read_bytes()), (".initrd", initramfs.read_bytes())]))
    identity = digest(executable)
    files = {BOOT_FILE: executable}
    wanted = [(gpt.EFI_SYSTEM, "EFI system", fat.size_of(files))]
    if by_bios:
        wanted.append((gpt.BIOS_BOOT, "BIOS boot", bios.CORE_BYTES))
    table, code, core = gpt.lay_out(wanted, identity), b"", b""
    if by_bios:
        at = table.partitions[0].offset + fat.offset_of(files, BOOT_FILE)
        code, core = bios.placed(bios.core_image(_commands(executable, at, command_line)), table.partitions[1].first)
        table = gpt.lay_out(wanted, identity, code)
    with path.open("wb") as disk:
        disk.write(table.head)
        disk.seek(table.partitions[0].offset)
        _sparsely(disk, fat.write(files, LABEL, int(identity[:8], 16)))
        if by_bios:
            disk.seek(table.partitions[1].offset)
            disk.write(core)
        disk.truncate(table.blocks * gpt.BLOCK)
        disk.seek(table.blocks * gpt.BLOCK - len(table.tail))
        disk.write(table.tail)
    return len(executable) + len(code) + len(core)


def _commands(executable: bytes, at: int, command_line: str) -> str:
    """What a BIOS's loader is told: kernel and initramfs are sections of the executable at byte ``at`` of the disk."""
    kernel, initramfs = (next(s for s in pe.read(executable).sections if s.name == name)
                         for name in (".linux", ".initrd"))
    return bios.commands(bios.extent(at + kernel.offset, kernel.size),
                         bios.extent(at + initramfs.offset, initramfs.size), command_line)


def _sparsely(disk: io.BufferedWriter, pieces: Iterable[bytes]) -> None:
    """Write the pieces, leaving holes where they hold nothing."""
    for piece in pieces:
        checkpoint()
        for at in range(0, len(piece), 1 << 16):
            part = piece[at:at + (1 << 16)]
            if part.count(0) == len(part):
                disk.seek(len(part), io.SEEK_CUR)
            else:
                disk.write(part)
