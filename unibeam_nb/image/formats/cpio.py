"""cpio in the ``newc`` format, the only one the kernel unpacks as an initramfs.

Source: ``Documentation/driver-api/early-userspace/buffer-format.rst`` of the Linux kernel. A header is the magic
``070701`` and thirteen fields of eight hexadecimal digits; the name with its NUL, and the data, are each padded
to a multiple of four bytes. The entry ``TRAILER!!!`` ends the archive.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from unibeam_nb.errors import ArchiveError, ImageError
from unibeam_nb.image.tree import Entry

MAGIC = b"070701"
TRAILER = "TRAILER!!!"
HEADER_BYTES = 6 + 13 * 8
LARGEST_FILE = 0xFFFFFFFF
_DIGITS = re.compile(rb"[0-9A-Fa-f]+")


@dataclass(frozen=True)
class Member:
    """What a reader finds: ``data`` is a file's content or a link's target; ``device`` is (major, minor)."""

    name: str
    mode: int
    data: bytes
    device: tuple[int, int]
    inode: int
    owner: tuple[int, int]
    mtime: int
    links: int


def write(entries: Iterable[Entry]) -> Iterator[bytes]:
    """The archive in pieces. Everything is owned by root and has the time 0; inodes count from 1.

    Raises ImageError for a file of 4 GiB or more, which the format cannot hold.
    """
    for _, pieces in grouped(entries):
        yield from pieces


def grouped(entries: Iterable[Entry]) -> Iterator[tuple[Entry | None, Iterator[bytes]]]:
    """The archive as :func:`write` has it, entry by entry; at last None with the trailer."""
    for inode, entry in enumerate(entries, start=1):
        yield entry, _pieces(inode, entry)
    yield None, iter((_header(0, 0, 1, 0, (0, 0), TRAILER),))


def _pieces(inode: int, entry: Entry) -> Iterator[bytes]:
    has_data = stat.S_ISREG(entry.mode) or stat.S_ISLNK(entry.mode)
    size = entry.size if has_data else 0
    if size > LARGEST_FILE:
        raise ImageError(f"/{entry.path} has {size} bytes, and an initramfs cannot hold files of 4 GiB or more.",
                         "Leave it out of the release, or build an oci image.")
    yield _header(inode, entry.mode, 2 if stat.S_ISDIR(entry.mode) else 1, size, entry.device, entry.path)
    if stat.S_ISLNK(entry.mode):
        yield entry.target.encode()
    elif stat.S_ISREG(entry.mode):
        yield from entry.chunks()
    yield _padding(size)


def _header(inode: int, mode: int, links: int, size: int, device: tuple[int, int], name: str) -> bytes:
    raw = name.encode() + b"\0"
    # The fields: inode, mode, uid, gid, nlink, mtime, filesize, dev major and minor, rdev major and minor,
    # namesize, check (0 in this variant).
    fields = (inode, mode, 0, 0, links, 0, size, 0, 0, *device, len(raw), 0)
    return MAGIC + b"".join(b"%08X" % field for field in fields) + raw + _padding(HEADER_BYTES + len(raw))


def _padding(length: int) -> bytes:
    return bytes(-length % 4)


def read(archive: bytes) -> Iterator[Member]:
    """The members of an archive, without the trailer. Raises ArchiveError when it is damaged or cut short."""
    at = 0
    while True:
        header = archive[at:at + HEADER_BYTES]
        if len(header) < HEADER_BYTES or not header.startswith(MAGIC):
            raise ArchiveError(f"The cpio archive is damaged or cut short at byte {at}.")
        if _DIGITS.fullmatch(header, 6) is None:  # int() would take signs, blanks and underscores too
            raise ArchiveError(f"The cpio header at byte {at} is not hexadecimal.")
        fields = [int(header[i:i + 8], 16) for i in range(6, HEADER_BYTES, 8)]
        inode, mode, uid, gid, links, mtime, size, _, _, major, minor, name_size, _ = fields
        start = at + HEADER_BYTES
        body = start + name_size + -(HEADER_BYTES + name_size) % 4
        if name_size < 1 or body + size > len(archive):
            raise ArchiveError(f"The cpio archive is cut short at byte {len(archive)}.")
        try:
            name = archive[start:start + name_size - 1].decode()
        except UnicodeDecodeError:
            raise ArchiveError(f"The cpio archive has a name that is not UTF-8 at byte {start}.") from None
        if name == TRAILER:
            return
        yield Member(name, mode, archive[body:body + size], (major, minor), inode, (uid, gid), mtime, links)
        at = body + size + -size % 4
