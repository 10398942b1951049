"""Kernels to boot: the distribution's stock cloud kernel, taken from its package without installing it, or a file.

A kernel in the store is an entry ``kernels/KEY`` with ``kernel`` (the bzImage), ``modules/VERSION`` (what machines
may need of its modules) and ``kernel.json``. It is fetched once and then stays, so that builds are the same
tomorrow; ``stock_kernel(store, refresh=True)`` asks the distribution for a newer one.
"""

from __future__ import annotations

import json
import platform
import re
import shutil
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from unibeam_nb import process, tools
from unibeam_nb.errors import ImageError, ProgramFailed, ToolMissing
from unibeam_nb.image import kmod
from unibeam_nb.jsonable import dump
from unibeam_nb.progress import step
from unibeam_nb.store import Store, digest, digest_file

KIND = "kernels"
OWN_KERNEL = "Give a kernel of your own: --kernel PATH_TO_BZIMAGE."
META_PACKAGES = {"debian": "linux-image-cloud-amd64", "ubuntu": "linux-image-virtual"}
"""The package that depends on the current kernel for virtual machines, by the ``ID`` of os-release."""

UNPACKS = ("lz4", "zstd", "xz", "none")
"""How an initramfs may be packed for a distribution's kernel."""

T = TypeVar("T")

_IMAGE_PACKAGE = re.compile(r"linux-image-(?:unsigned-)?\d[\w.+-]*")


@dataclass(frozen=True)
class Kernel:
    """A kernel to boot. ``path`` is a bzImage; ``modules`` its ``lib/modules/VERSION`` directory, or None when
    everything is built in; ``source`` says where it came from.

    ``platform`` is the machine it is for: ``pci`` (q35), ``mmio`` (microvm) or ``uml``. ``processors`` is how many it
    can use, None for any number; ``unpacks`` are the compressions of an initramfs that it knows."""

    name: str
    version: str
    path: Path
    modules: Path | None
    sha256: str
    source: str
    platform: str = "pci"
    processors: int | None = None
    unpacks: tuple[str, ...] = UNPACKS


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
    """The distribution's kernel for virtual machines, fetched with apt where the store has none yet.

    Works as a normal user: nothing is installed, and apt gets a state of its own in the store. Raises
    ImageError when it cannot be had; the hint says how to go on.
    """
    meta = stock_package()
    if not refresh:
        mine = [kernel for kernel in known_kernels(store) if kernel.source.startswith(f"{meta} ")]
        if mine:
            return mine[-1]
    with step("Fetching the distribution's kernel"):
        return _fetch(store, meta)


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
    return obtain(store, "kernel", meta, lambda apt: apt.kernel_packages(meta),
                  lambda apt, packages: load_kernel(_entry(store, apt, meta, packages)))


def obtain(store: Store, what: str, meta: str, named: Callable[[Apt], Mapping[str, str]],
           use: Callable[[Apt, Mapping[str, str]], T]) -> T:
    """What ``use`` makes of the packages that ``meta`` stands for, with the host's package lists or newer ones.

    ``named`` gives the packages with their versions, none when apt does not know ``meta``; ``what`` is their
    word for people. Raises ImageError when they cannot be had.
    """
    apt = Apt.of(store)
    try:
        packages = named(apt)
        if packages:
            return use(apt, packages)
    except ProgramFailed:
        pass  # The host's lists are old and name files that are gone; new ones are asked for next.
    told = apt.update()
    packages = named(apt)
    if not packages:
        why = _reason(told) or f"apt does not know the package {meta}."
        raise ImageError(f"The distribution's {what} cannot be fetched: {why}",
                         f"See to it that apt-get update works, then try again. {OWN_KERNEL}")
    try:
        return use(apt, packages)
    except ProgramFailed as error:
        raise ImageError(f"The distribution's {what} cannot be fetched: {_reason(error.output) or error.message}",
                         f"See to it that apt-get update works, then try again. {OWN_KERNEL}") from error


def _entry(store: Store, apt: Apt, meta: str, packages: Mapping[str, str]) -> Path:
    key = digest(meta, packages, kmod.KEPT)[:32]
    return store.build(KIND, key, lambda place: _make(store, apt, meta, packages, place))[0]


def _reason(output: str) -> str:
    """apt's own first complaint as a sentence, or nothing."""
    told = [line[3:].strip() for line in output.splitlines() if line.startswith(("E: ", "W: "))]
    return (told[0].rstrip(".") + ".") if told else ""


def _make(store: Store, apt: Apt, meta: str, packages: Mapping[str, str], place: Path) -> None:
    """Fill the store entry: download the packages, unpack them, keep the kernel and what machines may need."""
    with store.scratch() as scratch:
        apt.download(packages, scratch)
        unpacked = scratch / "root"
        for package in sorted(scratch.glob("*.deb")):
            process.run([tools.find("dpkg-deb"), "-x", package, unpacked])
        kernels = sorted((unpacked / "boot").glob("vmlinuz-*"))
        if not kernels:
            raise ImageError(f"The package {next(iter(packages))} holds no kernel.", OWN_KERNEL)
        version = bzimage_version(kernels[0])
        shutil.copyfile(kernels[0], place / "kernel")
        roots = [unpacked / folder / "modules" / version for folder in ("lib", "usr/lib")]
        source = next((root for root in roots if (root / "kernel").is_dir()), None)
        if source is not None:
            _keep_modules(source, place / "modules" / version)
        told = " ".join(f"{name}={number}" for name, number in packages.items())
        about = {"name": next(iter(packages)).removeprefix("linux-image-"), "version": version,
                 "sha256": digest_file(place / "kernel"), "source": f"{meta} ({told})",
                 "modules": f"modules/{version}" if source else None}
        (place / "kernel.json").write_text(dump(about))


def _keep_modules(source: Path, place: Path) -> None:
    for module in kmod.Modules(source).closure(kmod.KEPT):
        target = place / module.path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(module.path, target)
    place.mkdir(parents=True, exist_ok=True)
    if (source / "modules.builtin").is_file():
        shutil.copyfile(source / "modules.builtin", place / "modules.builtin")


def load_kernel(entry: Path) -> Kernel:
    """The kernel in a store entry."""
    about = json.loads((entry / "kernel.json").read_text())
    modules = entry / about["modules"] if about["modules"] else None
    return Kernel(about["name"], about["version"], entry / "kernel", modules, about["sha256"], about["source"],
                  about.get("platform", "pci"), about.get("processors"), tuple(about.get("unpacks", UNPACKS)))


def version_key(version: str) -> list[tuple[int, str]]:
    """What orders versions as people do: 6.9 before 6.10."""
    return [(int(number or -1), word) for number, word in re.findall(r"(\d+)|([^\d]+)", version)]


@dataclass(frozen=True)
class Apt:
    """apt with a cache of its own, and lists of its own once the system's have proved too old or empty."""

    command: Path
    query: Path
    home: Path

    @classmethod
    def of(cls, store: Store) -> Apt:
        try:
            command, query = tools.find("apt-get"), tools.find("apt-cache")
        except ToolMissing:
            raise ImageError("The distribution's kernel cannot be fetched, because apt-get is not on this host.",
                             OWN_KERNEL) from None
        home = store.cache / "apt"
        for folder in ("cache/archives/partial", "state/lists/partial"):
            (home / folder).mkdir(parents=True, exist_ok=True)
        return cls(command, query, home)

    def options(self, *, own_lists: bool | None = None) -> list[str]:
        """apt's options. ``own_lists`` says whose package lists are used; by default our own once there are any."""
        # The sandbox user cannot write below a private directory; signatures are checked all the same.
        words = ["-q", "-o", f"Dir::Cache={self.home / 'cache'}", "-o", "APT::Sandbox::User=root",
                 "-o", "Acquire::Languages=none"]
        if own_lists is None:
            own_lists = any((self.home / "state" / "lists").glob("*_Packages*"))
        if own_lists:
            words += ["-o", f"Dir::State={self.home / 'state'}", "-o", "Dir::State::status=/var/lib/dpkg/status"]
        return words

    def update(self) -> str:
        """Fetch package lists of our own; returns what apt said. A source that fails is no error here: whether
        the kernel is known afterwards is what counts."""
        with step("Asking the distribution what it has"):
            done = process.run([self.command, *self.options(own_lists=True), "update"], timeout=600, check=False)
        return done.stdout + done.stderr

    def kernel_packages(self, meta: str) -> dict[str, str]:
        """The packages, with their versions, that hold the kernel ``meta`` stands for; empty when apt knows none."""
        found = self.named_by(meta, _IMAGE_PACKAGE)
        for name in tuple(found):
            modules = re.sub("linux-image-(unsigned-)?", "linux-modules-", name)
            if version := self.version(modules):
                found[modules] = version
        return found

    def named_by(self, meta: str, pattern: re.Pattern[str]) -> dict[str, str]:
        """The first package of this name that ``meta`` depends on, with its version; empty when apt knows none."""
        shown = process.run([self.query, *self.options(), "depends", "--important", meta], check=False).stdout
        names = [word for line in shown.splitlines()[1:] for word in line.split() if pattern.fullmatch(word)]
        return {name: version for name in names[:1] if (version := self.version(name))}

    def version(self, package: str) -> str | None:
        """The version that apt would fetch, or None."""
        shown = process.run([self.query, *self.options(), "show", "--no-all-versions", package], check=False).stdout
        found = re.search(r"^Version: (.+)$", shown, re.MULTILINE)
        return found[1] if found else None

    def download(self, packages: Mapping[str, str], place: Path) -> None:
        """Fetch the packages into ``place``. Raises ProgramFailed when the archive no longer has them."""
        words = [f"{name}={version}" for name, version in packages.items()]
        process.run([self.command, *self.options(), "download", *words], cwd=place, timeout=900)
