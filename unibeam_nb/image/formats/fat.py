"""A FAT file system with a few large files: what a firmware reads its EFI system partition from.

Source: Microsoft's "FAT: General Overview of On-Disk Format" 1.03, which the UEFI Specification (13.3) points to.
FAT16 or FAT32 by the number of clusters, two copies of the table, 8.3 names only, every file in one run of clusters,
all times zero (1980-01-01), the volume's number made from the contents: equal files give equal bytes.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from unibeam_nb.errors import ArchiveError, ImageError

SECTOR = 512
TABLES = 2
FAT16_FROM, FAT32_FROM = 4085, 65525
"""Clusters from which a file system is FAT16, and from which FAT32; readers go by nothing else."""

END = 0x0FFFFFFF
DIRECTORY, ARCHIVE, VOLUME = 0x10, 0x20, 0x08
_DATE = 1 << 5 | 1
"""1980-01-01, the first day that there is."""

_NAME = re.compile(r"[A-Z0-9_~-]{1,8}(\.[A-Z0-9_~-]{1,3})?")
_ENTRY = struct.Struct("<11sBBBHHHHHHHI")


@dataclass(frozen=True)
class Shape:
    """How large everything is: ``clusters`` of ``per_cluster`` sectors, tables of ``table`` sectors each, ``reserved``
    sectors before them, ``root`` sectors for FAT16's root directory (FAT32's is a file)."""

    bits: int
    clusters: int
    per_cluster: int
    table: int
    reserved: int
    root: int

    @property
    def sectors(self) -> int:
        return self.reserved + TABLES * self.table + self.root + self.clusters * self.per_cluster

    @property
    def cluster_bytes(self) -> int:
        return self.per_cluster * SECTOR


@dataclass
class _Node:
    name: str
    content: Path | bytes | None = None
    children: dict[str, _Node] = field(default_factory=dict)
    first: int = 0

    @property
    def size(self) -> int:
        if self.content is None:
            return 0
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size


def shape_for(data_bytes: int) -> Shape:
    """The smallest file system with room for so many bytes of clusters, and a little more."""
    per_cluster = 1
    while data_bytes // (per_cluster * SECTOR) > 1 << 20:
        per_cluster *= 2
    clusters = max(FAT16_FROM + 16, -(-data_bytes // (per_cluster * SECTOR)) + 16)
    bits = 16 if clusters < FAT32_FROM else 32
    table = -(-(clusters + 2) * (bits // 8) // SECTOR)
    return Shape(bits, clusters, per_cluster, table, 32 if bits == 32 else 1, 0 if bits == 32 else 32)


def size_of(files: Mapping[str, Path | bytes]) -> int:
    """Bytes of the file system that :func:`write` makes of these files."""
    return _shape(list(_nodes(_tree(files)))).sectors * SECTOR


def _shape(nodes: list[_Node]) -> Shape:
    return shape_for(sum(_rounded(node, SECTOR) for node in nodes) + SECTOR)


def write(files: Mapping[str, Path | bytes], label: str, serial: int) -> Iterator[bytes]:
    """The file system in pieces. Paths have 8.3 names in capitals, ``EFI/BOOT/BOOTX64.EFI``.

    Raises ImageError for a name that does not fit, or a file that changes its length meanwhile.
    """
    root, nodes, shape, table = _laid_out(files)
    yield _boot_sectors(shape, root.first, label, serial)
    packed = b"".join(struct.pack("<H" if shape.bits == 16 else "<I", entry & (0xFFFF if shape.bits == 16 else END))
                      for entry in table).ljust(shape.table * SECTOR, b"\0")
    yield packed * TABLES
    if shape.bits == 16:
        yield _directory(root, root, label).ljust(shape.root * SECTOR, b"\0")
    written = 0
    for node in nodes:
        if node is root and shape.bits == 16:
            continue
        size = 0
        for piece in _content(node, root, label):
            size += len(piece)
            yield piece
        whole = _rounded(node, shape.cluster_bytes)
        if -(-size // shape.cluster_bytes) * shape.cluster_bytes != whole:
            raise ImageError(f"{node.name} changed its length while it was being packed.",
                             "Build again when nothing writes to it.")
        yield bytes(whole - size)
        written += whole
    yield bytes(shape.clusters * shape.cluster_bytes - written)


def offset_of(files: Mapping[str, Path | bytes], path: str) -> int:
    """The first byte of a file in the file system that :func:`write` makes of these files; it lies in one piece."""
    root, _, shape, _ = _laid_out(files)
    node = root
    for name in PurePosixPath(path).parts:
        node = node.children[name]
    return (shape.reserved + TABLES * shape.table + shape.root) * SECTOR + (node.first - 2) * shape.cluster_bytes


def _laid_out(files: Mapping[str, Path | bytes]) -> tuple[_Node, list[_Node], Shape, list[int]]:
    """The root, all nodes with their first clusters, how large everything is, and the table of clusters."""
    root = _tree(files)
    nodes = list(_nodes(root))
    shape = _shape(nodes)
    table = [0x0FFFFFF8, END]
    for node in nodes:
        if node is root and shape.bits == 16:
            continue
        count = _rounded(node, shape.cluster_bytes) // shape.cluster_bytes
        node.first = len(table) if count else 0
        table += [*range(len(table) + 1, len(table) + count), END] if count else []
    if len(table) > shape.clusters + 2:
        raise AssertionError("the clusters were counted wrongly")
    return root, nodes, shape, table


def _tree(files: Mapping[str, Path | bytes]) -> _Node:
    root = _Node("")
    for path, content in sorted(files.items()):
        node = root
        for name in PurePosixPath(path).parts:
            if _NAME.fullmatch(name) is None:
                raise ImageError(f"{name!r} is not a name of 8 and 3 capitals, which a firmware's disk needs.")
            node = node.children.setdefault(name, _Node(name))
        node.content = content
    return root


def _nodes(node: _Node) -> Iterator[_Node]:
    yield node
    for child in node.children.values():
        yield from _nodes(child)


def _rounded(node: _Node, unit: int) -> int:
    """Bytes that a node's clusters of ``unit`` bytes take."""
    size = node.size if node.content is not None else (len(node.children) + 3) * _ENTRY.size
    return -(-size // unit) * unit


def _content(node: _Node, root: _Node, label: str) -> Iterator[bytes]:
    if node.content is None:
        yield _directory(node, root, label)
    elif isinstance(node.content, bytes):
        yield node.content
    else:
        with node.content.open("rb") as stream:
            while piece := stream.read(1 << 20):
                yield piece


def _directory(node: _Node, root: _Node, label: str) -> bytes:
    entries = []
    if node is root:
        entries.append(_entry(label.upper()[:11].ljust(11).encode("ascii"), VOLUME, 0, 0))
    else:
        parent = next(n for n in _nodes(root) if node in n.children.values())
        # The root is written as cluster 0, also where it has a number of its own.
        entries += [_entry(b".".ljust(11), DIRECTORY, node.first, 0),
                    _entry(b"..".ljust(11), DIRECTORY, 0 if parent is root else parent.first, 0)]
    for child in node.children.values():
        stem, _, suffix = child.name.partition(".")
        short = (stem.ljust(8) + suffix.ljust(3)).encode("ascii")
        entries.append(_entry(short, DIRECTORY if child.content is None else ARCHIVE, child.first, child.size))
    return b"".join(entries)


def _entry(name: bytes, attributes: int, first: int, size: int) -> bytes:
    return _ENTRY.pack(name, attributes, 0, 0, 0, _DATE, _DATE, first >> 16, 0, _DATE, first & 0xFFFF, size)


def _boot_sectors(shape: Shape, root: int, label: str, serial: int) -> bytes:
    """The reserved sectors: the boot sector, and for FAT32 its copy and the free-space sector."""
    sectors = shape.sectors
    base = struct.pack("<3s8sHBHBHHBHHHII", b"\xeb\x58\x90" if shape.bits == 32 else b"\xeb\x3c\x90", b"UNIBEAM ",
                       SECTOR, shape.per_cluster, shape.reserved, TABLES, 0 if shape.bits == 32 else 512,
                       sectors if shape.bits == 16 and sectors < 0x10000 else 0, 0xF8,
                       shape.table if shape.bits == 16 else 0, 32, 64, 0,
                       0 if shape.bits == 16 and sectors < 0x10000 else sectors)
    name = label.upper()[:11].ljust(11).encode("ascii")
    if shape.bits == 16:
        boot = base + struct.pack("<BBBI11s8s", 0x80, 0, 0x29, serial & 0xFFFFFFFF, name, b"FAT16   ")
        return boot.ljust(510, b"\0") + b"\x55\xaa"
    boot = base + struct.pack("<IHHIHH12sBBBI11s8s", shape.table, 0, 0, root, 1, 6, b"", 0x80, 0, 0x29,
                              serial & 0xFFFFFFFF, name, b"FAT32   ")
    boot = boot.ljust(510, b"\0") + b"\x55\xaa"
    free = b"RRaA".ljust(484, b"\0") + b"rrAa" + struct.pack("<II", 0xFFFFFFFF, 0xFFFFFFFF)
    free = free.ljust(510, b"\0") + b"\x55\xaa"
    return (boot + free + bytes(4 * SECTOR) + boot + free).ljust(shape.reserved * SECTOR, b"\0")


def read(image: bytes) -> dict[str, bytes]:
    """The files of a file system, by path. Raises ArchiveError when it is damaged or leads in a circle."""
    try:
        return dict(_read(image))
    except (struct.error, IndexError, UnicodeDecodeError):
        raise ArchiveError("The FAT file system is damaged or cut short.") from None


def _read(image: bytes) -> Iterator[tuple[str, bytes]]:
    if len(image) < SECTOR or image[510:512] != b"\x55\xaa":
        raise ArchiveError("This is not a FAT file system.")
    fields = struct.unpack_from("<HBHBHHBHHHII", image, 11)
    size, per, reserved, tables, roots, small, _, table16, _, _, _, large = fields
    if size != SECTOR or not per or not tables:
        raise ArchiveError("This is not a FAT file system.")
    table = table16 or struct.unpack_from("<I", image, 36)[0]
    start = reserved + tables * table + -(-roots * _ENTRY.size // SECTOR)
    clusters = ((small or large) - start) // per
    wide = clusters >= FAT32_FROM
    taken: set[int] = set()  # A cluster belongs to one file, so all files together are no more than the image.

    def chain(first: int) -> bytes:
        pieces: list[bytes] = []
        while 2 <= first < clusters + 2:
            if first in taken:
                raise ArchiveError("The FAT file system leads in a circle.")
            taken.add(first)
            at = (start + (first - 2) * per) * SECTOR
            pieces.append(image[at:at + per * SECTOR])
            at = reserved * SECTOR + first * (4 if wide else 2)
            first = struct.unpack_from("<I" if wide else "<H", image, at)[0] & (END if wide else 0xFFFF)
        return b"".join(pieces)

    at = (reserved + tables * table) * SECTOR
    root = chain(struct.unpack_from("<I", image, 44)[0]) if wide else image[at:at + roots * _ENTRY.size]
    queue = [("", root)]
    seen = 0
    for prefix, data in queue:
        for name, attributes, *_, high, _, _, low, length in _ENTRY.iter_unpack(data[:len(data) // 32 * 32]):
            seen += 1
            if not name[0] or seen > 1 << 16:
                break
            if attributes & VOLUME or name[:1] in (b".", b"\xe5"):
                continue
            stem, suffix = name[:8].decode("ascii").rstrip(), name[8:].decode("ascii").rstrip()
            text = f"{stem}.{suffix}" if suffix else stem
            if attributes & DIRECTORY:
                queue.append((f"{prefix}{text}/", chain(high << 16 | low)))
            else:
                yield f"{prefix}{text}", chain(high << 16 | low)[:length]
