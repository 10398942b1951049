"""Programs and kernels: ELF, PE, what a bzImage holds, kernel modules, the loader's cache."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz import seeds
from tests.fuzz.target import Target, in_file, scratch
from unibeam_nb.image import elf, kmod, osv_loader, vmlinux
from unibeam_nb.image.formats import pe
from unibeam_nb.image.formats.bzimage import elf_inside
from unibeam_nb.image.kernels import bzimage_version
from unibeam_nb.release.erts.runtime import is_static

ELF = (
    b"\x7fELF\x02\x01\x01",
    b"\x7fELF\x01\x02",
    b"\xff\xff",
    b"\x00\x00",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\x01\x00\x00\x00",
    b"\x02\x00\x00\x00",
    b"\x03\x00\x00\x00",
    b"\x04\x00\x00\x00",
    b"\x06\x00\x00\x00",
    b"\x05\x00\x00\x00\x00\x00\x00\x00",
    b"\x1d\x00\x00\x00\x00\x00\x00\x00",
    b"Xen\0",
    b".modinfo",
    b"depends=",
    b"OSv",
    b"rofs",
    b"v0.57.0\0",
    b"$ORIGIN",
    b"\x40\x00\x38\x00",
    b"\x00" * 16,
)


def _program(path: Path) -> None:
    elf._KNOWN.clear()
    elf.is_elf(path)
    is_static(path)
    elf.read_binary(path)


def _module(data: bytes) -> None:
    kinds = {b"\x1f\x8b": ".ko.gz", b"\xfd7": ".ko.xz", b"\x28\xb5": ".ko.zst"}
    path = scratch() / f"virtio_net{kinds.get(data[:2], '.ko')}"
    path.write_bytes(data)
    kmod.modinfo(kmod.unpack(path), path)


def _modules() -> Sequence[bytes]:
    import zstandard

    plain = seeds.kernel()
    return [
        plain,
        gzip.compress(plain, mtime=0),
        lzma.compress(plain),
        zstandard.compress(plain),
        gzip.compress(bytes(8 << 20), mtime=0),
    ]


def _stub(data: bytes) -> None:
    pe.read(data)
    for name in (".text", ".sdmagic", ".linux"):
        if any(found.name == name for found in pe.read(data).sections):
            pe.section(data, name)
    for piece in pe.with_sections(data, [(".linux", b"x" * 700), (".cmdline", b"quiet")]):
        len(piece)


def _kernels() -> Sequence[bytes]:
    """Also one that unpacks to much more than it is."""
    return [*seeds.bzimages(), seeds.bzimage(gzip.compress(bytes(12 << 20), mtime=0), 12 << 20), seeds.kernel()]


TARGETS = (
    Target("elf", seeds.programs, in_file("program", _program), words=ELF, share=12, longest=1 << 17),
    Target("vmlinux", lambda: [seeds.kernel()], vmlinux.pack, words=ELF, share=25),
    Target(
        "osv-loader",
        lambda: [seeds.kernel(), seeds.osv_image()],
        in_file("loader", osv_loader.read_loader),
        words=ELF,
        share=15,
        longest=1 << 17,
    ),
    Target(
        "bzimage",
        _kernels,
        elf_inside,
        words=(
            *ELF,
            b"HdrS",
            b"\x1f\x8b\x08",
            b"BZh9",
            b"\xfd7zXZ\0",
            b"]\0\0",
            b"\x28\xb5\x2f\xfd",
            b"\x02\x21\x4c\x18",
        ),
        share=2,
    ),
    Target(
        "bzimage-version",
        seeds.bzimages,
        in_file("bzImage", bzimage_version),
        words=(b"HdrS", b"\x55\xaa", b"\xff\xff", b"\x00\x00", b" "),
        share=30,
    ),
    Target("kernel-module", _modules, _module, words=ELF, share=2),
    Target(
        "efi-stub",
        seeds.efi_stub,
        _stub,
        words=(b"MZ", b"PE\0\0", b"\x64\x86", b"\x0b\x02", b"\xff\xff\xff\xff", b"\x00\x00\x00\x00"),
        share=30,
        longest=1 << 17,
    ),
    Target(
        "library-cache",
        seeds.library_cache,
        elf.parse_cache,
        words=(b"glibc-ld.so.cache1.1", b"\x03\x03\x00\x00", b"\xff\xff\xff\xff", b"\0", b"/"),
        share=6,
    ),
)
