"""Disks with a GUID partition table.

Source: UEFI Specification 2.10, chapter 5. Block 0 holds a protective master boot record, block 1 the header, blocks 2
to 33 the table of 128 entries; the disk's last 33 blocks hold both again, the other way round. All numbers are
little-endian, and the first three fields of a GUID too. Identifiers are made from the contents, so equal disks are
equal byte by byte.
"""

from __future__ import annotations

import struct
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from unibeam_nb.errors import ArchiveError, ImageError

BLOCK = 512
ENTRIES, ENTRY_BYTES = 128, 128
TABLE_BLOCKS = ENTRIES * ENTRY_BYTES // BLOCK
ALIGNMENT = 1 << 20
"""Partitions start at whole MiB, as every tool of the last decade lays them."""

FIRST_USABLE = 2 + TABLE_BLOCKS
SPARE = 1 + TABLE_BLOCKS
"""Blocks that the second table takes at the end."""

EFI_SYSTEM = uuid.UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
LINUX_DATA = uuid.UUID("0fc63daf-8483-4772-8e79-3d69d8477de4")
BIOS_BOOT = uuid.UUID("21686148-6449-6e6f-744e-656564454649")

NAMESPACE = uuid.UUID("5b3a3c0e-6f3d-5d0f-9a37-3a5f2f6f4c11")
"""Ours, for identifiers made from contents (RFC 9562, version 5)."""

_HEADER = struct.Struct("<8sIIIIQQQQ16sQIII")
_ENTRY = struct.Struct("<16s16sQQQ72s")
_SIGNATURE, _REVISION = b"EFI PART", 0x00010000


@dataclass(frozen=True)
class Partition:
    """A partition: blocks ``first`` to ``last``, both inside; ``name`` has at most 36 UTF-16 units."""

    kind: uuid.UUID
    identity: uuid.UUID
    first: int
    last: int
    name: str

    @property
    def offset(self) -> int:
        """Its first byte on the disk."""
        return self.first * BLOCK

    @property
    def bytes(self) -> int:
        return (self.last - self.first + 1) * BLOCK


@dataclass(frozen=True)
class Table:
    """A whole table: the start of the disk up to the first usable block, and the end of it from the last one."""

    head: bytes
    tail: bytes
    partitions: tuple[Partition, ...]
    blocks: int


def lay_out(wanted: Sequence[tuple[uuid.UUID, str, int]], seed: str, code: bytes = b"") -> Table:
    """A table for partitions of these (kind, name, bytes), one behind the other, on the smallest disk for them.

    ``seed`` says what the contents are (a sha256): from it come the identifiers. ``code`` is boot code for a BIOS, at
    most 440 bytes. Raises ImageError for a name that does not fit.
    """
    partitions = []
    at = ALIGNMENT // BLOCK
    for index, (kind, name, size) in enumerate(wanted):
        if len(name.encode("utf-16-le")) > 72:
            raise ImageError(f"The partition name {name!r} is longer than 36 characters.")
        blocks = -(-size // BLOCK)
        identity = uuid.uuid5(NAMESPACE, f"{seed}/{index}")
        partitions.append(Partition(kind, identity, at, at + blocks - 1, name))
        at = -(-(at + blocks) * BLOCK // ALIGNMENT) * ALIGNMENT // BLOCK
    total = at + ALIGNMENT // BLOCK
    entries = b"".join(_ENTRY.pack(p.kind.bytes_le, p.identity.bytes_le, p.first, p.last, 0,
                                   p.name.encode("utf-16-le")) for p in partitions)
    entries = entries.ljust(ENTRIES * ENTRY_BYTES, b"\0")
    disk = uuid.uuid5(NAMESPACE, seed)
    first = _header(1, total - 1, 2, total, disk, entries)
    second = _header(total - 1, 1, total - SPARE, total, disk, entries)
    return Table(_protective(total, code) + first + entries, entries + second, tuple(partitions), total)


def _header(here: int, other: int, table: int, blocks: int, disk: uuid.UUID, entries: bytes) -> bytes:
    def packed(checksum: int) -> bytes:
        return _HEADER.pack(_SIGNATURE, _REVISION, _HEADER.size, checksum, 0, here, other, FIRST_USABLE,
                            blocks - SPARE - 1, disk.bytes_le, table, ENTRIES, ENTRY_BYTES, zlib.crc32(entries))

    return packed(zlib.crc32(packed(0))).ljust(BLOCK, b"\0")


def _protective(blocks: int, code: bytes) -> bytes:
    """A master boot record that says to old tools that the whole disk is taken (chapter 5.2.3)."""
    if len(code) > 440:
        raise ImageError(f"The boot code has {len(code)} bytes, and a disk has room for 440.")
    entry = struct.pack("<B3sB3sII", 0, b"\x00\x02\x00", 0xEE, b"\xff\xff\xff", 1, min(blocks - 1, 0xFFFFFFFF))
    return code.ljust(446, b"\0") + entry + bytes(48) + b"\x55\xaa"


def read(disk: bytes) -> tuple[Partition, ...]:
    """The partitions of a disk, by its first table. Raises ArchiveError when a checksum does not hold, or the disk is
    shorter than its table says."""
    header = disk[BLOCK:BLOCK + _HEADER.size]
    if len(header) < _HEADER.size or not header.startswith(_SIGNATURE):
        raise ArchiveError("This is not a disk with a GUID partition table.")
    (_, _, size, checksum, _, _, other, _, _, _, table, count, width, entries_sum) = _HEADER.unpack(header)
    if size != _HEADER.size or zlib.crc32(header[:16] + bytes(4) + header[20:]) != checksum:
        raise ArchiveError("The disk's partition table is damaged: its header has another checksum.")
    if (count, width) != (ENTRIES, ENTRY_BYTES):
        raise ArchiveError("The disk's partition table has another shape than 128 entries of 128 bytes.")
    entries = disk[table * BLOCK:table * BLOCK + count * width]
    if zlib.crc32(entries) != entries_sum:
        raise ArchiveError("The disk's partition table is damaged: its entries have another checksum.")
    if (other + 1) * BLOCK != len(disk):
        raise ArchiveError(f"The disk is cut short: it has {len(disk)} bytes of {(other + 1) * BLOCK}.")
    found = []
    for kind, identity, first, last, _, name in _ENTRY.iter_unpack(entries):
        if any(kind):
            text = name.decode("utf-16-le", "replace").rstrip("\0")
            found.append(Partition(uuid.UUID(bytes_le=kind), uuid.UUID(bytes_le=identity), first, last, text))
    return tuple(found)
