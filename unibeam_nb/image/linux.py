"""The ``linux`` target: a kernel and a root file system in which the release is the only program.

The root is an initramfs, which the kernel unpacks into memory, or, where the kernel can mount one, an EROFS image on a
disk. In it the kernel starts ``/init``, our PID 1 (``guest/init.c``), which starts the release's emulator.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from unibeam_nb.arms import CLOUDINIT, INITRAMFS
from unibeam_nb.errors import ImageError
from unibeam_nb.image import cloud, contents, erofs, kmod, root
from unibeam_nb.image.appliance import ALONE, Appliance, with_fallback
from unibeam_nb.image.appliance import entries as minding
from unibeam_nb.image.entries import library_versions, make_image
from unibeam_nb.image.formats import cpio, lz4
from unibeam_nb.image.init import compiled_init
from unibeam_nb.image.kernels import Kernel, stock_kernel
from unibeam_nb.image.tree import Entry, Tree, device, file, link, parts, tree
from unibeam_nb.model import Image, Part, Release
from unibeam_nb.musl import compiler_version
from unibeam_nb.progress import checkpoint, note, progress, step
from unibeam_nb.store import Store, digest, digest_file

COMPRESSIONS = ("lz4", "zstd", "xz", "none")
"""How the initramfs is packed: lz4 unpacks fastest, xz is smallest, none needs no unpacking."""

ZSTD_LEVEL = 19


def build_linux(store: Store, release: Release, kernel: Kernel | None, compression: str | None = None,
                options: tuple[str, ...] = (), appliance: Appliance = ALONE) -> Image:
    """The linux image of a release, with the distribution's kernel unless one is given. ``options`` is what its arm
    calls it by. Its root is EROFS where the kernel mounts that, unless :data:`INITRAMFS` is among them; ``compression``
    is that of the root, the first that the kernel knows unless said. ``appliance`` is what it holds besides."""
    if compression is not None and compression not in COMPRESSIONS:
        raise ImageError(f"{compression!r} is not a compression of linux images.",
                         f"Choose one of {', '.join(COMPRESSIONS)}.")
    kernel = kernel or stock_kernel(store)
    mounted = bool(kernel.mounts) and INITRAMFS not in options
    known = kernel.mounts if mounted else kernel.unpacks
    compression = compression or known[0]
    if compression not in known:
        raise ImageError(f"The kernel {kernel.name} cannot unpack {compression}.",
                         f"Choose one of {', '.join(known)} with --compression.")
    libraries = with_fallback(root.release_libraries(release), appliance)
    init = compiled_init(store)
    reads = CLOUDINIT in options
    extras = tuple(cloud.entries(store, release)) if reads else ()
    modules = wanted_modules(kernel, cloud.DRIVERS if reads else ())
    versions = (erofs.version(),) if mounted else library_versions(*packers(compression))
    name = "root" if mounted else "initramfs"
    inputs = {
        "kernel": [kernel.version, kernel.sha256, kernel.platform, kernel.processors],
        "init": digest_file(init), "root": name, "compression": compression,
        "packer": [versions, erofs.PACKED[compression] if mounted else ()],
        "modules": [[module.name, digest(module.data)] for module in modules],
        "libraries": {path: digest_file(source) for path, source in libraries.items()},
        **({"user data": digest(*(entry.content for entry in extras))} if reads else {}), **appliance.inputs()}
    minded = tuple(minding(release, appliance))

    def fill(place: Path, key: str) -> Image:
        assert kernel is not None
        whole = compose(release, libraries, init, modules, (*extras, *minded), read_only=mounted)
        shutil.copyfile(kernel.path, place / "kernel")
        if kernel.platform == "uml":
            (place / "kernel").chmod(0o755)  # This kernel is a program, and runs from here.
        if mounted:
            with store.scratch() as scratch:
                erofs.write(whole, place / name, compression, scratch)
        else:
            with step("Packing the initramfs"):
                pack(store, place / name, whole, compression)
        sizes = (Part("linux kernel", (place / "kernel").stat().st_size), *parts(whole))
        contents.write(place, (contents.item("kernel", "linux kernel", (place / "kernel").read_bytes()),
                               *contents.of_entries(whole.values())))
        return Image(
            release.name, "linux", "", place, key, digest(kernel.sha256, digest_file(place / name)),
            release.sha256, sum((place / each).stat().st_size for each in ("kernel", name)),
            sum(part.bytes for part in sizes), sizes, (("kernel", "kernel"), (name, name)),
            release.launch, release.ports, kernel.version, (("gcc", compiler_version()), *versions),
            options=options, platform=kernel.platform, processors=kernel.processors)

    return make_image(store, release, "linux", "", inputs | {"options": options}, fill)


def wanted_modules(kernel: Kernel, more: tuple[str, ...] = ()) -> tuple[kmod.Module, ...]:
    """The modules that go into the image, in load order, with those called ``more`` where the kernel has them; says so
    when the guest will have no network."""
    if kernel.modules is None:
        return ()
    modules = kmod.Modules(kernel.modules)
    missing = modules.missing(kmod.REQUIRED)
    if missing:
        note(f"The kernel {kernel.version} comes without {' and '.join(missing)}: the machine will have no network.")
    return modules.closure((*kmod.WANTED, *(name for name in more if not modules.missing((name,)))))


def compose(release: Release, libraries: Mapping[str, Path], init: Path, modules: Iterable[kmod.Module],
            extras: Iterable[Entry] = (), *, read_only: bool = False) -> Tree:
    """The root file system of the guest; ``extras`` are files besides."""
    entries = [*extras, *root.common_entries(read_only=read_only), *root.library_entries(libraries),
               *root.release_entries(release), file("init", init, 0o755, part="init"), link("sbin/poweroff", "/init"),
               # The kernel opens these before anything is mounted; without /dev/null the BEAM spins for ever.
               device("dev/console", 5, 1, 0o600), device("dev/null", 1, 3, 0o666)]
    paths = []
    for module in modules:
        paths.append(f"/lib/modules/{module.name}.ko")
        entries.append(file(paths[-1].lstrip("/"), module.data, part="kernel modules"))
    environment = [f"{key}={value}" for key, value in root.environment(release).items()]
    entries += [file("etc/unibeam/modules", _lines("module path", paths)),
                file("etc/unibeam/argv", _lines("argument", release.launch.argv())),
                file("etc/unibeam/env", _lines("variable", environment))]
    return tree(entries)


def _lines(what: str, items: Iterable[str]) -> str:
    """The items as lines. PID 1 reads one item per line, so an item with a line end in it is refused."""
    lines = list(items)
    bad = next((line for line in lines if "\n" in line or "\0" in line), None)
    if bad is not None:
        raise ImageError(f"The {what} {bad!r} of this release has a line end in it, which a linux image cannot hold.",
                         "Move it into the release's sys.config.")
    return "".join(f"{line}\n" for line in lines)


def packers(compression: str) -> tuple[str, ...]:
    """The Python packages that pack so; their versions are part of an image's identity."""
    return {"lz4": ("lz4",), "zstd": ("zstandard",), "xz": (), "none": ()}[compression]


def pack(store: Store, path: Path, whole: Tree, compression: str) -> None:
    """Write a tree as an initramfs."""
    pieces = cpio.write(_counted(whole))
    if compression == "lz4":
        pieces = lz4.compress(_in_blocks(whole), _packed(store))
    elif compression == "zstd":
        pieces = _zstd(pieces)
    elif compression == "xz":
        pieces = _xz(pieces)
    with path.open("wb") as stream:
        for piece in pieces:
            checkpoint()
            stream.write(piece)


BLOCK_LEAST = 128 << 10
"""lz4 looks back 64 kB at most, so blocks larger than that cost nothing."""


def _in_blocks(whole: Tree) -> Iterator[bytes]:
    """The archive in pieces, with an empty one wherever a block should end: between two parts of the image of which one
    is large enough. When an application changes, the blocks of the others stay as they are."""
    sizes = {part.name: part.bytes for part in parts(whole)}
    held, part = 0, ""
    for entry, pieces in cpio.grouped(_counted(whole)):
        if entry is not None and entry.part != part:
            part = entry.part
            if held >= BLOCK_LEAST or (held and sizes.get(part, 0) >= BLOCK_LEAST):
                yield b""
                held = 0
        for piece in pieces:
            held += len(piece)
            if piece:
                yield piece


def _packed(store: Store) -> Callable[[bytes], bytes]:
    """Packs a block of an lz4 stream, or finds it packed in the store."""
    recipe = [*library_versions("lz4"), lz4.LEVEL]

    def one(block: bytes) -> bytes:
        checkpoint()
        entry, _ = store.build("blocks", digest("lz4", recipe, block)[:32],
                               lambda place: _keep(place / "block", lz4.compress_block(block)))
        return (entry / "block").read_bytes()

    return one


def _keep(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _zstd(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """A zstd stream. One thread, because the bytes depend on their number."""
    import zstandard

    packer = zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=True, threads=0).compressobj()
    for piece in pieces:
        yield packer.compress(piece)
    yield packer.flush()


def _xz(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """An xz stream as the kernel reads it (Documentation/staging/xz.rst): CRC32, with the filter for x86 programs."""
    import lzma

    filters = [{"id": lzma.FILTER_X86},
               {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 1 << 25}]
    packer = lzma.LZMACompressor(lzma.FORMAT_XZ, lzma.CHECK_CRC32, filters=filters)
    for piece in pieces:
        yield packer.compress(piece)
    yield packer.flush()


def _counted(whole: Tree) -> Iterator[Entry]:
    total = sum(entry.size for entry in whole.values()) or 1
    done = 0
    for entry in whole.values():
        yield entry
        done += entry.size
        progress(done / total)
