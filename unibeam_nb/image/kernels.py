"""Kernels to boot: the distribution's stock cloud kernel, taken from its package without installing it, or a file.

A kernel in the store is an entry ``kernels/KEY`` with ``kernel`` (the bzImage), ``modules/VERSION`` (what machines
may need of its modules) and ``kernel.json``. It is fetched once and then stays, so that builds are the same
tomorrow; ``stock_kernel(store, refresh=True)`` asks the distribution for a newer one.
"""

from __future__ import annotations

import platform
import re
import shutil
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unibeam_nb.apt import Apt, obtain
from unibeam_nb.errors import ImageError
from unibeam_nb.image import kmod
from unibeam_nb.image.formats.bzimage import elf_inside
from unibeam_nb.jsonable import dump
from unibeam_nb.progress import note, step
from unibeam_nb.store import Store, digest, digest_file, read_record

KIND = "kernels"
KEPT = digest(kmod.KEPT)[:16]
"""Which modules a kernel in the store came with."""

OWN_KERNEL = "Give a kernel of your own: --kernel PATH_TO_BZIMAGE."
META_PACKAGES = {"debian": "linux-image-cloud-amd64", "ubuntu": "linux-image-virtual"}
"""The package that depends on the current kernel for virtual machines, by the ``ID`` of os-release."""

UNPACKS = ("lz4", "zstd", "xz", "none")
"""How an initramfs may be packed for a distribution's kernel."""

_IMAGE_PACKAGE = re.compile(r"linux-image-(?:unsigned-)?\d[\w.+-]*")


@dataclass(frozen=True)
class Kernel:
    """A kernel to boot. ``path`` is a bzImage, or a ``vmlinux`` that is entered by PVH; ``modules`` its
    ``lib/modules/VERSION`` directory, or None when everything is built in; ``source`` says where it came from.

    ``platform`` is the machine it is for: ``pci`` (q35), ``mmio`` (microvm) or ``uml``. ``processors`` is how many it
    can use, None for any number; ``unpacks`` are the compressions of an initramfs that it knows, ``mounts`` those of an
    EROFS root, none where it cannot mount one; the best comes first."""

    name: str
    version: str
    path: Path
    modules: Path | None
    sha256: str
    source: str
    platform: str = "pci"
    processors: int | None = None
    unpacks: tuple[str, ...] = UNPACKS
    mounts: tuple[str, ...] = ()


def bzimage_version(path: Path) -> str:
    """The version a bzImage tells of itself (Linux boot protocol, field ``kernel_version`` at 0x20e).

    Raises ImageError when the file is not a bzImage.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(0x10000)
    except OSError as error:
        raise ImageError(f"The kernel {path} cannot be read ({error.strerror}).",
                         "Give the path of a bzImage you may read.") from None
    if len(head) < 0x210 or head[0x1FE:0x200] != b"\x55\xaa" or head[0x202:0x206] != b"HdrS":
        raise ImageError(f"{path} is not a Linux kernel for x86 (bzImage).",
                         "Use a file like /boot/vmlinuz-VERSION, not a vmlinux or a package.")
    at = struct.unpack_from("<H", head, 0x20E)[0] + 0x200
    text = head[at:at + 256].split(b"\0")[0].decode("ascii", "replace") if at != 0x200 else ""
    return text.split(" ")[0] or "unknown"


def kernel_from_path(path: Path, modules: Path | None = None) -> Kernel:
    """A kernel of the user's own. Without ``modules``, its modules are looked for where packages keep them:
    in ``../lib/modules/VERSION`` beside the file's directory, then in ``/lib/modules/VERSION``."""
    path = path.expanduser().absolute()
    version = bzimage_version(path)
    if modules is not None and not (modules / "kernel").is_dir():
        raise ImageError(f"{modules} is not a directory of kernel modules.",
                         f"Give the directory lib/modules/{version} of the kernel's package.")
    if modules is None:
        places = (path.parent.parent / "lib/modules" / version, Path("/lib/modules") / version)
        modules = next((place for place in places if (place / "kernel").is_dir()), None)
    return Kernel(path.name, version, path, modules, digest_file(path), str(path))


def known_kernels(store: Store) -> list[Kernel]:
    """The kernels in the store, the newest version last."""
    found = [load_kernel(entry.parent) for entry in (store.cache / KIND).glob("*/kernel.json")]
    return sorted(found, key=lambda kernel: (version_key(kernel.version), kernel.source))


def stock_kernel(store: Store, *, refresh: bool = False) -> Kernel:
    """The distribution's kernel for virtual machines, fetched with apt where the store has none yet, or only one from
    before some module was wanted; that one does where no other can be had.

    Works as a normal user: nothing is installed, and apt gets a state of its own in the store. Raises
    ImageError when it cannot be had; the hint says how to go on.
    """
    meta = stock_package()
    mine = [kernel for kernel in known_kernels(store) if kernel.source.startswith(f"{meta} ")]
    whole = [kernel for kernel in mine if _kept(kernel) == KEPT]
    if whole and not refresh:
        return whole[-1]
    with step("Fetching the distribution's kernel"):
        try:
            return _fetch(store, meta)
        except ImageError:
            if refresh or not mine:
                raise
            note("The distribution's kernel cannot be fetched anew; the one from before goes on, with fewer drivers.")
            return mine[-1]


def _kept(kernel: Kernel) -> str:
    """What was kept of the modules of a kernel in the store, as a digest."""
    return str(read_record(_About, kernel.path.parent / "kernel.json").kept)


def stock_package(release: Path = Path("/etc/os-release"), machine: str | None = None) -> str:
    if (machine or platform.machine()) != "x86_64":
        raise ImageError(f"There is no stock kernel for {machine or platform.machine()} hosts.", OWN_KERNEL)
    lines = release.read_text().splitlines() if release.is_file() else []
    fields = {key: value.strip('"') for key, _, value in (line.partition("=") for line in lines)}
    for name in (fields.get("ID", ""), *fields.get("ID_LIKE", "").split()):
        if name in META_PACKAGES:
            return META_PACKAGES[name]
    raise ImageError(f"There is no stock kernel for {fields.get('PRETTY_NAME', 'this distribution')}.", OWN_KERNEL)


def _fetch(store: Store, meta: str) -> Kernel:
    return obtain(store, "kernel", meta, lambda apt: kernel_packages(apt, meta),
                  lambda apt, packages: load_kernel(_entry(store, apt, meta, packages)), OWN_KERNEL)


def _entry(store: Store, apt: Apt, meta: str, packages: Mapping[str, str]) -> Path:
    key = digest(meta, packages, kmod.KEPT)[:32]
    return store.build(KIND, key, lambda place: _make(store, apt, meta, packages, place))[0]


def _make(store: Store, apt: Apt, meta: str, packages: Mapping[str, str], place: Path) -> None:
    """Fill the store entry: download the packages, unpack them, keep the kernel and what machines may need."""
    with store.scratch() as scratch:
        unpacked = apt.unpack(packages, scratch)
        kernel = kernel_in(unpacked)
        if kernel is None:
            raise ImageError(f"The package {next(iter(packages))} holds no kernel.", OWN_KERNEL)
        version = bzimage_version(kernel)
        shutil.copyfile(kernel, place / "kernel")
        roots = [unpacked / folder / "modules" / version for folder in ("lib", "usr/lib")]
        source = next((root for root in roots if (root / "kernel").is_dir()), None)
        if source is not None:
            _keep_modules(source, place / "modules" / version)
        told = " ".join(f"{name}={number}" for name, number in packages.items())
        about = {"name": next(iter(packages)).removeprefix("linux-image-"), "version": version,
                 "sha256": digest_file(place / "kernel"), "source": f"{meta} ({told})",
                 "modules": f"modules/{version}" if source else None, "kept": KEPT}
        (place / "kernel.json").write_text(dump(about))


def kernel_in(unpacked: Path) -> Path | None:
    """The kernel among what packages would install: in ``/boot``, or, since Debian 14, beside its modules."""
    return next((path for pattern in ("boot/vmlinuz-*", "usr/lib/modules/*/vmlinuz")
                 for path in sorted(unpacked.glob(pattern))), None)


def _keep_modules(source: Path, place: Path) -> None:
    for module in kmod.Modules(source).closure(kmod.KEPT):
        target = place / module.path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(module.path, target)
    place.mkdir(parents=True, exist_ok=True)
    if (source / "modules.builtin").is_file():
        shutil.copyfile(source / "modules.builtin", place / "modules.builtin")


@dataclass(frozen=True)
class _About:
    """A store entry's ``kernel.json``. ``modules`` is a directory in the entry; ``kept`` a digest of what is in it."""

    name: str
    version: str
    modules: str | None
    sha256: str
    source: str
    platform: str = "pci"
    processors: int | None = None
    unpacks: tuple[str, ...] = UNPACKS
    mounts: tuple[str, ...] = ()
    kept: Any = ""


def load_kernel(entry: Path) -> Kernel:
    """The kernel in a store entry. Raises UnibeamError where the entry is damaged."""
    about = read_record(_About, entry / "kernel.json")
    modules = entry / about.modules if about.modules else None
    return Kernel(about.name, about.version, entry / "kernel", modules, about.sha256, about.source, about.platform,
                  about.processors, about.unpacks, about.mounts)


def elf_kernel(store: Store, kernel: Path) -> Path:
    """The ELF file inside a kernel, kept in the store. Raises ArchiveError where there is none."""
    def make(place: Path) -> None:
        (place / "vmlinux").write_bytes(elf_inside(kernel.read_bytes()))

    entry, _ = store.build("elf-kernels", digest_file(kernel)[:32], make)
    return entry / "vmlinux"


def version_key(version: str) -> list[tuple[int, str]]:
    """What orders versions as people do: 6.9 before 6.10."""
    return [(int(number or -1), word) for number, word in re.findall(r"(\d+)|([^\d]+)", version)]


def kernel_packages(apt: Apt, meta: str) -> dict[str, str]:
    """The packages, with their versions, that hold the kernel ``meta`` stands for; empty when apt knows none.

    Ubuntu has the modules in a package of their own, Debian 14 the kernel too.
    """
    found = apt.named_by(meta, _IMAGE_PACKAGE)
    for name in tuple(found):
        for part in ("linux-binary-", "linux-modules-"):
            other = re.sub("linux-image-(unsigned-)?", part, name)
            if version := apt.version(other):
                found[other] = version
    return found
