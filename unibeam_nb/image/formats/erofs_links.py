"""Counting the links of an EROFS image's directories anew.

``mkfs.erofs`` (to 1.5 at least) counts the directories in a directory by what ``readdir`` says of their kind, which
some file systems do not tell (NFS, many in user space). The count is in the image, which would so depend on where it
was made.

Source: the kernel's fs/erofs/erofs_fs.h and Documentation/filesystems/erofs.rst. Pure.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from unibeam_nb.errors import ArchiveError

SUPER, MAGIC = 1024, 0xE0F5E1E2
CHECKED = 1
"""The feature that says that the superblock has a checksum."""

INLINE, PLAIN = 2, 0
"""How directories lie: with their last piece behind the inode, or in blocks."""

DIRECTORY = 2
"""The kind of an entry."""

_ENTRY = struct.Struct("<QHBx")


@dataclass(frozen=True)
class _Inode:
    """Where an inode lies and how long it is, where in the image its count of links is and how that is packed, and the
    rest of what a directory's entries are read by."""

    at: int
    length: int
    links: int
    packing: str
    mode: int
    layout: int
    size: int
    block: int


def with_links(image: bytearray) -> None:
    """Make every directory's count of links what it is: 2, and one for each directory in it. Raises ArchiveError for
    what is no EROFS image, or one whose directories are packed in a way that is not known here."""
    try:
        magic, _, features, bits, _, root, _, _, _, _, meta = struct.unpack_from("<IIIBBHQQIII", image, SUPER)
        if magic != MAGIC:
            raise ArchiveError("This is not an EROFS image.")
        block, waiting, done = 1 << bits, [root], set()
        while waiting:
            number = waiting.pop()
            if number in done:
                continue
            done.add(number)
            inode = _inode(image, meta * block + number * 32)
            below = [child for child, name in _directories(image, inode, block) if name not in (b".", b"..")]
            struct.pack_into(inode.packing, image, inode.links, 2 + len(below))
            waiting += below
        if features & CHECKED:
            struct.pack_into("<I", image, SUPER + 4, 0)
            struct.pack_into("<I", image, SUPER + 4, crc32c(bytes(image[SUPER:block])))
    except (struct.error, IndexError) as error:
        raise ArchiveError("The EROFS image is cut off.") from error


def _inode(image: bytearray, at: int) -> _Inode:
    form, attributes, mode = struct.unpack_from("<HHH", image, at)
    inside = 12 + 4 * (attributes - 1) if attributes else 0
    if form & 1:
        size, block = struct.unpack_from("<QI", image, at + 8)
        return _Inode(at, 64 + inside, at + 44, "<I", mode, form >> 1 & 7, size, block)
    size, _, block = struct.unpack_from("<III", image, at + 8)
    return _Inode(at, 32 + inside, at + 6, "<H", mode, form >> 1 & 7, size, block)


def _directories(image: bytearray, inode: _Inode, block: int) -> Iterator[tuple[int, bytes]]:
    """The directories in a directory, itself and the one above among them: number of the inode, and name."""
    if not stat.S_ISDIR(inode.mode) or inode.layout not in (INLINE, PLAIN):
        raise ArchiveError("A directory of the EROFS image is packed in an unknown way.")
    for start in range(0, inode.size, block):
        length = min(block, inode.size - start)
        at = inode.block * block + start
        if inode.layout == INLINE and length + start == inode.size and inode.size % block:
            at = inode.at + inode.length
        count = struct.unpack_from("<H", image, at + 8)[0] // _ENTRY.size
        entries = [_ENTRY.unpack_from(image, at + _ENTRY.size * index) for index in range(count)]
        ends = [*(name for _, name, _ in entries[1:]), length]
        for (number, name, kind), end in zip(entries, ends, strict=True):
            if kind == DIRECTORY:
                yield number, bytes(image[at + name:at + end]).rstrip(b"\0")


def crc32c(data: bytes) -> int:
    """The superblock's checksum: CRC-32C over its block, begun with all ones and left as it comes out."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value
