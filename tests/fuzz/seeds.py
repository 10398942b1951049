"""Real inputs to begin with: files of the host's OTP, its programs, what the tree's own writers make, journals of the
repository. What a host lacks is left out."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import shutil
import stat
import struct
import tarfile
import uuid
import zlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from tests.fuzz.target import ROOT

OTP_FILES = {
    "beam": ("lib/stdlib-*/ebin", "*.beam"),
    "app": ("lib/*/ebin", "*.app"),
    "boot": ("releases/*", "*.boot"),
    "rel": ("releases/*", "*.rel"),
}


@lru_cache(maxsize=1)
def otp() -> Path | None:
    """Where the host's OTP is."""
    found = shutil.which("erl")
    roots = [Path(found).resolve().parents[1]] if found else []
    return next((root for root in (*roots, Path("/usr/lib/erlang")) if (root / "lib").is_dir()), None)


def _smallest(paths: Iterable[Path], count: int, least: int = 0) -> list[bytes]:
    sized = sorted((path.stat().st_size, str(path)) for path in paths if path.is_file())
    return [Path(name).read_bytes() for size, name in sized if size >= least][:count]


def otp_files(kind: str, count: int, least: int = 0) -> list[bytes]:
    """The smallest files of a kind in the host's OTP."""
    root = otp()
    folder, pattern = OTP_FILES[kind]
    return _smallest((p for d in root.glob(folder) for p in d.glob(pattern)), count, least) if root else []


def beams() -> list[bytes]:
    """Compiled modules: small ones of OTP, one of them packed; one with the atom table of OTP 28."""
    found = [*otp_files("beam", 6), *otp_files("beam", 2, 6000)]
    atoms = struct.pack(">i", -2) + b"\x10m\x50start"
    chunks = {"AtU8": atoms, "ImpT": struct.pack(">IIII", 1, 1, 2, 0), "ExpT": struct.pack(">IIII", 1, 2, 0, 7)}
    body = b"".join(n.encode() + struct.pack(">I", len(d)) + d + bytes(-len(d) % 4) for n, d in chunks.items())
    small = b"FOR1" + struct.pack(">I", len(body) + 4) + b"BEAM" + body
    return [*found, small, gzip.compress(found[0] if found else small, mtime=0)]


def programs() -> list[bytes]:
    """ELF files of the host: small programs and libraries, and one of ours that holds everything a kernel has."""
    places = [Path("/usr/bin"), Path("/usr/lib/x86_64-linux-gnu")]
    files = (p for place in places if place.is_dir() for p in place.iterdir() if p.is_file() and not p.is_symlink())
    found = []
    for path in sorted(files, key=lambda p: (p.stat().st_size, p.name)):
        if 4000 < path.stat().st_size < 1 << 16 and len(found) < 5:
            data = path.read_bytes()
            if data.startswith(b"\x7fELF"):
                found.append(data)
    return [*found, kernel()]


def kernel() -> bytes:
    """A small ELF file for x86-64 with what readers look for: segments that are loaded, a PVH note of Xen's, an
    interpreter, a dynamic section, sections, ``.modinfo``, OSv's words."""
    base = 0x200000
    note = struct.pack("<III4sI", 4, 4, 18, b"Xen\0", 0x100000)
    texts = b"\0libc.so.6\0libm.so.6\0$ORIGIN/../lib:/opt/lib\0"
    interpreter = b"/lib64/ld-linux-x86-64.so.2\0"
    info = b"license=GPL\0depends=virtio,virtio_ring\0name=virtio_net\0"
    words = b"OSv\0rofs\0v0.57.0-12-gabcdef01\0"
    names = b"\0.note\0.modinfo\0.dynstr\0.dynamic\0.shstrtab\0"
    heads = 64 + 4 * 56
    body, at = bytearray(), {}
    for name, piece in (
        ("note", note),
        ("texts", texts),
        ("interpreter", interpreter),
        ("info", info),
        ("words", words),
        ("names", names),
    ):
        at[name] = heads + len(body)
        body += piece + bytes(-len(piece) % 8)
    at["dynamic"] = heads + len(body)
    tags = ((1, 1), (1, 11), (29, 21), (5, base + at["texts"]), (10, len(texts)), (0, 0))
    dynamic = b"".join(struct.pack("<QQ", tag, value) for tag, value in tags)
    body += dynamic
    table = heads + len(body)
    section = struct.Struct("<IIQQQQIIQQ")
    rows = [
        section.pack(*[0] * 10),
        section.pack(1, 7, 2, base + at["note"], at["note"], len(note), 0, 0, 4, 0),
        section.pack(7, 1, 2, base + at["info"], at["info"], len(info), 0, 0, 1, 0),
        section.pack(16, 3, 2, base + at["texts"], at["texts"], len(texts), 0, 0, 1, 0),
        section.pack(24, 6, 2, base + at["dynamic"], at["dynamic"], len(dynamic), 3, 0, 8, 16),
        section.pack(33, 3, 0, 0, at["names"], len(names), 0, 0, 1, 0),
    ]
    segment = struct.Struct("<IIQQQQQQ")
    segments = [
        segment.pack(1, 7, 0, base, base, table, table, 4096),
        segment.pack(2, 6, at["dynamic"], base + at["dynamic"], base + at["dynamic"], len(dynamic), len(dynamic), 8),
        segment.pack(
            3,
            4,
            at["interpreter"],
            base + at["interpreter"],
            base + at["interpreter"],
            len(interpreter),
            len(interpreter),
            1,
        ),
        segment.pack(4, 4, at["note"], base + at["note"], base + at["note"], len(note), len(note), 4),
    ]
    head = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01",
        2,
        62,
        1,
        base,
        64,
        table,
        0,
        64,
        56,
        len(segments),
        64,
        len(rows),
        len(rows) - 1,
    )
    return head + b"".join(segments) + bytes(body) + b"".join(rows)


def bzimages() -> list[bytes]:
    """Kernels that unpack themselves, in every compression."""
    import lz4.block
    import zstandard

    inside = kernel()
    block = lz4.block.compress(inside, store_size=False)
    packed = (
        gzip.compress(inside, mtime=0),
        lzma.compress(inside),
        lzma.compress(inside, lzma.FORMAT_ALONE),
        bz2.compress(inside),
        zstandard.compress(inside),
        inside,
        b"\x02\x21\x4c\x18" + struct.pack("<I", len(block)) + block,
    )
    return [bzimage(payload, len(inside)) for payload in packed]


def bzimage(payload: bytes, size: int) -> bytes:
    head = bytearray(5 * 512 + 64)
    head[0x1F1] = 4
    head[0x1FE:0x206] = b"\x55\xaa\xeb\x66HdrS"
    struct.pack_into("<HII", head, 0x206, 0x20F, 0, 0)
    struct.pack_into("<H", head, 0x20E, 0x300)
    head[0x500:0x520] = b"6.1.0-13-amd64 (builder) #1 SMP\0"
    struct.pack_into("<II", head, 0x248, 64, len(payload) + 4)
    return bytes(head) + payload + struct.pack("<I", size)


def entries() -> list[Any]:
    """A small tree as image writers have it."""
    from unibeam_nb.image import tree

    made = {
        "bin": tree.directory("bin"),
        "bin/hello": tree.file("bin/hello", b"hello" * 200, mode=0o755),
        "etc": tree.directory("etc"),
        "etc/name": tree.file("etc/name", b"a\n"),
        "bin/link": tree.link("bin/link", "hello"),
    }
    return list(made.values())


def gpt_disk() -> bytes:
    """A disk with a GUID partition table, much smaller than those that are written: two partitions of few blocks."""
    from unibeam_nb.image.formats import gpt

    rows = b"".join(
        struct.pack(
            "<16s16sQQQ72s",
            kind.bytes_le,
            uuid.uuid5(gpt.NAMESPACE, name).bytes_le,
            first,
            last,
            0,
            name.encode("utf-16-le"),
        )
        for kind, name, first, last in ((gpt.EFI_SYSTEM, "system", 34, 36), (gpt.LINUX_DATA, "data", 37, 40))
    )
    table = rows.ljust(gpt.ENTRIES * gpt.ENTRY_BYTES, b"\0")
    blocks = 41 + gpt.SPARE
    disk = uuid.uuid5(gpt.NAMESPACE, "disk")
    return (
        gpt._protective(blocks, b"")
        + gpt._header(1, blocks - 1, 2, blocks, disk, table)
        + table
        + bytes(7 * gpt.BLOCK)
        + table
        + gpt._header(blocks - 1, 1, blocks - gpt.SPARE, blocks, disk, table)
    )


def gpt_whole(disk: bytes) -> bytes:
    """A disk with the checksums that belong to what is in it."""
    if len(disk) < 512 + 92:
        return disk
    whole = bytearray(disk)
    (at,) = struct.unpack_from("<Q", whole, 512 + 72)
    entries_sum = zlib.crc32(disk[at * 512 : at * 512 + 128 * 128]) if at < len(disk) // 512 else 0
    struct.pack_into("<I", whole, 512 + 88, entries_sum)
    struct.pack_into("<I", whole, 512 + 16, 0)
    struct.pack_into("<I", whole, 512 + 16, zlib.crc32(whole[512 : 512 + 92]))
    return bytes(whole)


def fat_image() -> bytes:
    """A small FAT file system, without the empty clusters at its end."""
    from unibeam_nb.image.formats import fat

    files: dict[str, Path | bytes] = {"EFI/BOOT/BOOTX64.EFI": b"MZ" * 700, "EFI/A.TXT": b"text", "B": b""}
    return b"".join(fat.write(files, "UNIBEAM", 7)).rstrip(b"\0") + bytes(512)


def mbr_disk() -> bytes:
    from unibeam_nb.image.formats import mbr

    return mbr.record(1, 8) + bytes(8 * 512)


def osv_image() -> bytes:
    """A ``loader.img``: a boot sector, and a kernel where it looks for one."""
    from unibeam_nb.image.formats import mbr

    head = bytearray(mbr.KERNEL_AT)
    struct.pack_into("<H", head, mbr.UNITS_FIELD, 1)
    head[0x1FE:0x200] = mbr.SIGNATURE
    return bytes(head) + kernel()


def rofs_image() -> bytes:
    from unibeam_nb.image.formats import rofs

    return b"".join(rofs.write({entry.path: entry for entry in entries()}))


def cpio_archive() -> bytes:
    from unibeam_nb.image.formats import cpio

    return b"".join(cpio.write(entries()))


def efi_stub() -> list[bytes]:
    """An executable for a firmware: a small one by hand, and systemd's where it is installed."""
    sections = [
        struct.pack("<8sIIIIIIHHI", name, 16, 0x1000 * (i + 1), 512, 1024 + 512 * i, 0, 0, 0, 0, 0x40000040)
        for i, name in enumerate((b".text", b".sdmagic"))
    ]
    optional = bytearray(struct.pack("<H", 0x20B).ljust(240, b"\0"))
    struct.pack_into("<II", optional, 32, 4096, 512)
    struct.pack_into("<II", optional, 56, 0x3000, 1024)
    head = (
        b"MZ".ljust(0x3C, b"\0")
        + struct.pack("<I", 64)
        + struct.pack("<4sHHIIIHH", b"PE\0\0", 0x8664, 2, 0, 0, 0, 240, 0x22)
    )
    small = (head + bytes(optional) + b"".join(sections)).ljust(1024, b"\0") + bytes(1024)
    real = Path("/usr/lib/systemd/boot/efi/linuxx64.efi.stub")
    return [small, *([real.read_bytes()] if real.is_file() else [])]


def library_cache() -> list[bytes]:
    """A cache of the loader's: a short one, and the host's."""
    texts = b"libc.so.6\0/lib/x86_64-linux-gnu/libc.so.6\0libm.so.6\0/lib/libm.so.6\0"
    start = 48 + 2 * 24
    rows = b"".join(
        struct.pack("<iIIIQ", 0x0303, start + name, start + value, 0, 0) for name, value in ((0, 10), (43, 53))
    )
    small = b"glibc-ld.so.cache1.1" + struct.pack("<II20x", 2, len(texts)) + rows + texts
    real = Path("/etc/ld.so.cache")
    return [small, *([real.read_bytes()] if real.is_file() and real.stat().st_size < 1 << 16 else [])]


def archives() -> list[bytes]:
    """Tar archives, unpacked: a release's files; links; a device; long names as pax and as GNU tar write them; a file
    with holes."""
    found = []
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=form) as tar:
            for name, kind, target in (
                ("lib", tarfile.DIRTYPE, ""),
                ("lib/a.beam", tarfile.REGTYPE, ""),
                ("bin/start", tarfile.REGTYPE, ""),
                ("bin/link", tarfile.SYMTYPE, "start"),
                ("bin/hard", tarfile.LNKTYPE, "bin/start"),
                ("n/" * 40 + "é" * 30, tarfile.REGTYPE, ""),
            ):
                info = tarfile.TarInfo(name)
                info.type, info.linkname = kind, target
                info.size = 700 if kind == tarfile.REGTYPE else 0
                info.mode = stat.S_IRWXU
                try:
                    tar.addfile(info, io.BytesIO(b"x" * info.size))
                except ValueError:
                    continue  # USTAR has no place for such a name.
        found.append(stream.getvalue().rstrip(b"\0") + bytes(1024))
    return [
        *found,
        *(
            one_entry(*each)
            for each in (
                ("../up", tarfile.REGTYPE, ""),
                ("/abs", tarfile.REGTYPE, ""),
                ("dev", tarfile.CHRTYPE, ""),
                ("l", tarfile.SYMTYPE, "/etc/passwd"),
                ("h", tarfile.LNKTYPE, "../x"),
                ("f", tarfile.FIFOTYPE, ""),
                ("s", tarfile.GNUTYPE_SPARSE, ""),
            )
        ),
    ]


def one_entry(name: str, kind: bytes, target: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, target
        tar.addfile(info)
    return stream.getvalue()[:2048]


def tar_whole(data: bytes) -> bytes:
    """An archive whose headers have the checksums that belong to them (those that look like headers)."""
    whole = bytearray(data)
    for at in range(0, len(whole) - 511, 512):
        if whole[at + 257 : at + 262] == b"ustar":
            whole[at + 148 : at + 156] = b" " * 8
            whole[at + 148 : at + 156] = b"%06o\0 " % sum(whole[at : at + 512])
    return bytes(whole)


def journals() -> list[bytes]:
    """The first lines of the repository's journals, of both versions of the format."""
    places = (ROOT / "notebooks/data", ROOT / "tests/data", ROOT / "tests/fixtures/journals")
    found = []
    for path in sorted(p for place in places for p in place.glob("*.jsonl")):
        lines = path.read_bytes().splitlines(keepends=True)
        found.append(b"".join([*lines[:4], *lines[-2:]]))
    return found


def report_of(journal: bytes) -> bytes:
    """A page that holds a journal, with the digest that belongs to it."""
    from unibeam_nb.bench.portable import link_attributes

    return f'<html><a class="x" {link_attributes(journal, "hello")}>journal</a></html>'.encode()


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()
