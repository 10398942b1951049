"""The kernel modules that a machine needs, with those that they need, in the order in which they load.

Everything is read from the modules themselves (the ELF section ``.modinfo``: ``depends=`` and ``name=``), so a
package that was unpacked but never installed, and thus has no ``modules.dep``, will do. What the kernel has
built in is listed in its ``modules.builtin``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from unibeam_nb.errors import ArchiveError, ImageError
from unibeam_nb.image.formats.elf64 import Elf
from unibeam_nb.image.formats.unpacking import unpacked

WANTED = ("virtio_pci", "virtio_mmio", "virtio_net", "virtio_rng", "xen_netfront", "virtio_blk", "button")
"""What a guest needs of QEMU, Firecracker and Xen: the bus, the network card, a source of random numbers, a disk, the
power button."""

REQUIRED = ("virtio_pci", "virtio_net")
"""Those of them without which the machine has no network."""

KEPT = (*WANTED, "virtio_console", "virtiofs", "vmw_vsock_virtio_transport", "erofs", "overlay",
        "ena", "gve", "hv_netvsc", "vmxnet3", "nvme", "xen_netfront", "xen_blkfront", "af_packet", "ipv6")
"""What is kept of a distribution's modules when a kernel goes into the store: what a machine may need."""

LARGEST = 64 << 20
"""Bytes that a module may unpack to."""

SUFFIXES = (".ko", ".ko.gz", ".ko.xz", ".ko.zst")


@dataclass(frozen=True)
class Module:
    """One loadable module: its name with underscores, its unpacked ELF bytes, and the names it depends on."""

    name: str
    path: Path
    data: bytes
    depends: tuple[str, ...]


@dataclass(frozen=True)
class Modules:
    """A ``lib/modules/VERSION`` directory."""

    root: Path

    @cached_property
    def files(self) -> dict[str, Path]:
        """The module files by module name."""
        paths = sorted(p for p in (self.root / "kernel").rglob("*.ko*") if p.name.endswith(SUFFIXES))
        return {module_name(path.name): path for path in paths}

    @cached_property
    def builtin(self) -> frozenset[str]:
        """The names of the modules that are part of the kernel."""
        listing = self.root / "modules.builtin"
        text = listing.read_text() if listing.is_file() else ""
        return frozenset(module_name(line.rsplit("/", 1)[-1]) for line in text.split())

    def load(self, name: str) -> Module | None:
        """The module called ``name``; None when it is built in or there is none."""
        path = self.files.get(module_name(name))
        if path is None:
            return None
        data = unpack(path)
        info = modinfo(data, path)
        depends = tuple(module_name(word) for word in info.get("depends", "").split(",") if word)
        return Module(module_name(info.get("name", path.name)), path, data, depends)

    def closure(self, names: Iterable[str]) -> tuple[Module, ...]:
        """The modules called ``names`` with everything they depend on, in load order.

        Names that the kernel has built in, or that do not exist, are left out; a *dependency* that is neither
        raises ImageError.
        """
        order: dict[str, Module] = {}
        for name in names:
            self._visit(module_name(name), order, ())
        return tuple(order.values())

    def _visit(self, name: str, order: dict[str, Module], wanted_by: tuple[str, ...]) -> None:
        if name in order or name in wanted_by or name in self.builtin:
            return
        module = self.load(name)
        if module is None:
            if wanted_by:
                raise ImageError(f"The kernel module {wanted_by[-1]} needs {name}, which is not in {self.root}.",
                                 "Unpack the kernel's module package whole, or use the stock kernel.")
            return
        for needed in module.depends:
            self._visit(needed, order, (*wanted_by, name))
        order[name] = module

    def missing(self, names: Iterable[str]) -> tuple[str, ...]:
        """Those of ``names`` that are neither built in nor here."""
        return tuple(n for n in names if module_name(n) not in self.builtin and module_name(n) not in self.files)


def module_name(file_name: str) -> str:
    """``virtio-rng.ko.zst`` is the module ``virtio_rng``."""
    return file_name.split(".ko", 1)[0].replace("-", "_")


def unpack(path: Path) -> bytes:
    """The bytes of a module file, uncompressed. Raises ImageError when they are damaged."""
    data = path.read_bytes()
    if path.suffix == ".ko":
        return data
    try:
        found = unpacked(data, LARGEST)
    except ArchiveError as error:
        raise _damaged(path, error.message) from None
    if found is None:
        raise _damaged(path, "its compression is not known")
    return found


def modinfo(data: bytes, path: Path) -> dict[str, str]:
    """The ``key=value`` strings of a module, the first of each key. Raises ImageError when it is no module."""
    try:
        section = Elf(data).section(".modinfo")
    except ArchiveError as error:
        raise _damaged(path, error.message) from None
    if section is None:
        raise _damaged(path, "it has no .modinfo")
    found: dict[str, str] = {}
    for item in section.split(b"\0"):
        key, equals, value = item.decode("utf-8", "replace").partition("=")
        if equals:
            found.setdefault(key, value)
    return found


def _damaged(path: Path, why: object) -> ImageError:
    return ImageError(f"{path} is not a whole kernel module ({why}).", "Unpack the kernel's module package again.")
