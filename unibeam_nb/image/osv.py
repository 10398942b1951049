"""The ``osv`` target: an OSv kernel, and a disk that holds the release in OSv's read-only file system.

Nothing is booted to make it: the disk is written here, byte by byte. The emulator is the host's own, unmodified, with
glibc and its dynamic linker beside it and a small library before it (``guest/osv_shim.c``), which stands in for the
processes that OSv cannot have. What a boot decides (nonce, address, port) travels on the command line.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from unibeam_nb import process, tools
from unibeam_nb.errors import ImageError
from unibeam_nb.image import contents, elf, osv_command, root
from unibeam_nb.image.entries import make_image
from unibeam_nb.image.formats import mbr, rofs
from unibeam_nb.image.kernels import Kernel
from unibeam_nb.image.osv_command import LINKER, SHIM, command_line, environment
from unibeam_nb.image.osv_loader import ELF, osv_kernel, read_loader
from unibeam_nb.image.tree import Tree, directory, file, link, parts, tree
from unibeam_nb.model import IMAGE_STATE, Image, Part, Release
from unibeam_nb.progress import checkpoint, step
from unibeam_nb.store import Store, digest, digest_file

SHIM_SOURCE = Path(__file__).parent.parent / "guest" / "osv_shim.c"
SHIM_FLAGS = ("-shared", "-fPIC", "-std=gnu11", "-Os", "-s", "-Wall", "-Wextra", "-Werror", "-Wl,--build-id=none",
              "-Wl,-z,noseparate-code")

FSTAB = ("none /dev devfs defaults 0 0\nnone /proc procfs defaults 0 0\nnone /sys sysfs defaults 0 0\n"
         f"none /tmp ramfs defaults 0 0\nnone {IMAGE_STATE} ramfs defaults 0 0\n")
"""What OSv mounts (fs/vfs/main.cc): the root cannot be written to, the program's own directory can."""

INETRC = "{lookup, [file, dns]}.\n{hosts_file, \"/etc/hosts\"}.\n{resolv_conf, \"/etc/resolv.conf\"}.\n"
"""How Erlang finds names without inet_gethost, a program that OSv cannot start (ERTS User's Guide, "Inet
Configuration")."""

SPARED = ("erl_child_setup", "inet_gethost", "epmd", "erlexec")
"""Programs of ERTS that nobody can start there."""


def build_osv(store: Store, release: Release, kernel: Kernel | None = None, options: tuple[str, ...] = ()) -> Image:
    """The OSv image of a release. Raises ImageError where there is no OSv kernel, or the release cannot run there."""
    kernel = kernel or osv_kernel(store)
    loader = read_loader(kernel.path)
    libraries = root.release_libraries(release)
    if LINKER not in libraries:
        raise ImageError(f"The emulator of {release.name} is a static program, which OSv does not preload.",
                         "Leave lean out: build it on the host's emulator.")
    shim = compiled_shim(store)
    libraries |= elf.libraries([shim], shim.parent)
    # What OSv could not be told at a boot is refused now.
    command_line(release.launch, environment(release.launch, release.ports), None)
    inputs = {"kernel": [kernel.version, kernel.sha256], "shim": digest_file(shim), "form": loader.form,
              "libraries": {path: digest_file(source) for path, source in libraries.items()}}

    def fill(place: Path, key: str) -> Image:
        whole = compose(release, libraries, shim)
        shutil.copyfile(kernel.path, place / "kernel")
        with step("Writing the disk"):
            _write(place / "disk", whole)
        sizes = (Part("osv kernel", (place / "kernel").stat().st_size), *parts(whole))
        contents.write(place, (contents.item("kernel", "osv kernel", (place / "kernel").read_bytes()),
                               *contents.of_entries(whole.values())))
        return Image(
            release.name, "osv", "", place, key, digest(kernel.sha256, digest_file(place / "disk")), release.sha256,
            _shipped(place / "kernel") + _shipped(place / "disk"), sum(part.bytes for part in sizes), sizes,
            (("kernel", "kernel"), ("disk", "disk")), release.launch, release.ports, kernel.version,
            (("gcc", compiler_version()),), options=options, platform=kernel.platform)

    return make_image(store, release, "osv", "", inputs | {"options": options}, fill)


def compose(release: Release, libraries: Mapping[str, Path], shim: Path) -> Tree:
    """The root file system."""
    entries = [entry for entry in root.release_entries(release)
               if not (entry.part == "erts" and entry.path.rpartition("/")[2] in SPARED)]
    common = [entry for entry in root.common_entries() if entry.path != "etc/hosts"]
    return tree([*common, *root.library_entries(libraries), *entries,
                 file(SHIM.lstrip("/"), shim, 0o755, part="libraries"),
                 file("etc/fstab", FSTAB), file(osv_command.INETRC.lstrip("/"), INETRC),
                 link("etc/mnttab", "/proc/mounts"), file("etc/hosts", "127.0.0.1 localhost\n"), directory("data")])


def _write(path: Path, whole: Tree) -> None:
    """A disk for a machine that is handed the kernel: the record, and the file system behind it."""
    with path.open("wb") as disk:
        disk.write(bytes(mbr.SECTOR))
        for piece in _checked(rofs.write(whole)):
            disk.write(piece)
        size = disk.tell() - mbr.SECTOR
        disk.seek(0)
        disk.write(mbr.record(1, size // mbr.SECTOR))


def boots_itself(image: Image) -> bool:
    """Whether the kernel is a ``loader.img``, which only its own boot sector starts."""
    with image.file("kernel").open("rb") as kernel:
        return kernel.read(len(ELF)) != ELF


def write_bootable(image: Image, line: str, path: Path) -> Path:
    """A disk that boots by itself with this command line, from the image's root and its kernel, a ``loader.img``.

    Raises ImageError for a loader that is none, or a line that does not fit.
    """
    head = mbr.bootable(image.file("kernel").read_bytes(), line)
    source = image.file("disk")
    sectors = source.stat().st_size // mbr.SECTOR - 1
    with path.open("wb") as disk, source.open("rb") as data:
        disk.write(mbr.with_root(head, sectors))
        data.seek(mbr.SECTOR)
        shutil.copyfileobj(data, disk)
    return path


def _checked(pieces: Iterable[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        checkpoint()
        yield piece


def _shipped(path: Path) -> int:
    """Bytes that would travel: the file compressed as registries and clouds do, with zlib's usual level."""
    import zlib

    packer = zlib.compressobj(6)
    total = 0
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            checkpoint()
            total += len(packer.compress(piece))
    return total + len(packer.flush())


def compiled_shim(store: Store) -> Path:
    """The library that is preloaded, compiled once for this compiler. Raises ToolMissing without gcc."""
    compiler = tools.find("gcc")
    key = digest(SHIM_SOURCE.read_bytes(), SHIM_FLAGS, compiler_version())[:32]

    def make(place: Path) -> None:
        with step("Compiling the library for OSv"):
            (place / "osv_shim.c").write_bytes(SHIM_SOURCE.read_bytes())
            process.run([compiler, *SHIM_FLAGS, "-o", "libunibeam_osv.so", "osv_shim.c"], cwd=place,
                        makes=(place / "libunibeam_osv.so",))

    return store.build("osv-shims", key, make)[0] / "libunibeam_osv.so"


def compiler_version() -> str:
    return process.run([tools.find("gcc"), "-dumpfullversion"], timeout=60).stdout.strip()
