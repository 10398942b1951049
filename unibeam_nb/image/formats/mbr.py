"""Disks with a master boot record, as OSv reads them.

Source: the classic generic MBR: partition entries of 16 bytes from 0x1be, ``55 aa`` at 0x1fe; OSv's ``drivers/
blk-common.cc`` and ``arch/x64/boot16.S`` for what it makes of them. OSv looks for its root in the second entry, which
it calls ``/dev/vblk0.1``, and passes over an entry whose type or whose CHS start sector is 0.

Two layouts:

- for a machine that gets the kernel from QEMU or Firecracker: the record, and the file system right behind it;
- a disk that boots itself: the user's ``loader.img`` (boot sector, command line, compressed kernel), and the file
  system at the next multiple of 2 MiB. The boot sector says at 0x10 how many units of 32 KiB to read from block 128,
  and the command line lies at byte 512, ended by a NUL.
"""

from __future__ import annotations

import struct

from unibeam_nb.errors import ArchiveError, ImageError

SECTOR = 512
ENTRIES, SIGNATURE = 0x1BE, b"\x55\xaa"
ROOT_ENTRY = 1
LINUX = 0x83
ALIGNMENT = 2 << 20
COMMAND_LINE_AT = SECTOR
LONGEST_COMMAND_LINE = 63 * SECTOR
"""Bytes between the boot sector and the first kernel's block at 64 KiB that the loader reads as its command line."""

KERNEL_AT, KERNEL_UNIT = 128 * SECTOR, 32 << 10
UNITS_FIELD = 0x10

_ENTRY = struct.Struct("<B3sB3sII")
LARGEST = 0xFFFFFFFF
"""Sectors that an entry can count: 2 TiB."""


def entry(first: int, sectors: int, kind: int = LINUX) -> bytes:
    """A partition entry. CHS addresses are all "beyond what CHS can say" but for a start sector that is not 0."""
    if not (0 < first <= LARGEST and 0 < sectors <= LARGEST):
        raise ImageError("The disk is larger than a master boot record can describe (2 TiB).")
    return _ENTRY.pack(0, b"\x00\x02\x00", kind, b"\xfe\xff\xff", first, sectors)


def record(first: int, sectors: int, code: bytes = bytes(ENTRIES)) -> bytes:
    """A master boot record whose second entry is the root, behind the boot ``code`` (at most 446 bytes)."""
    table = bytearray(4 * _ENTRY.size)
    table[ROOT_ENTRY * _ENTRY.size:(ROOT_ENTRY + 1) * _ENTRY.size] = entry(first, sectors)
    return code[:ENTRIES].ljust(ENTRIES, b"\0") + bytes(table) + SIGNATURE


def root_of(disk: bytes) -> tuple[int, int]:
    """Where the root lies on a disk: its first byte and its bytes, read from ``disk``'s first sector.

    Raises ArchiveError for what is no disk, has no root partition, or is shorter than it says (``disk`` being whole).
    """
    if len(disk) < SECTOR or disk[0x1FE:0x200] != SIGNATURE:
        raise ArchiveError("This is not a disk with a master boot record.")
    _, start, kind, _, first, sectors = _ENTRY.unpack_from(disk, ENTRIES + ROOT_ENTRY * _ENTRY.size)
    if not kind or not start[1] & 0x3F or not first or not sectors:
        raise ArchiveError("The disk has no partition in its second entry, where OSv looks for its root.")
    if (first + sectors) * SECTOR > len(disk):
        raise ArchiveError(f"The disk is cut short: its root needs {(first + sectors) * SECTOR} bytes, "
                           f"and it has {len(disk)}.")
    return first * SECTOR, sectors * SECTOR


def bootable(loader: bytes, command_line: str) -> bytes:
    """The start of a disk that boots itself: ``loader`` (a whole ``loader.img``) with this command line, filled up to
    where the root begins. The root's entry is added by :func:`with_root`.

    Raises ImageError for a loader that does not boot, and for a command line that does not fit.
    """
    units = check_loader_image(loader)
    line = command_line.encode()
    if len(line) + 1 > LONGEST_COMMAND_LINE:
        raise ImageError(f"OSv's command line has {len(line)} bytes, and a disk has room for "
                         f"{LONGEST_COMMAND_LINE - 1}.", "Pass less with --env or --flag.")
    head = bytearray(loader.ljust(KERNEL_AT + units * KERNEL_UNIT, b"\0"))
    head[COMMAND_LINE_AT:COMMAND_LINE_AT + LONGEST_COMMAND_LINE] = line.ljust(LONGEST_COMMAND_LINE, b"\0")
    return bytes(head) + bytes(-len(head) % ALIGNMENT)


def with_root(head: bytes, sectors: int) -> bytes:
    """``head`` of a disk with an entry for a root of so many sectors right behind it."""
    return record(len(head) // SECTOR, sectors, head) + head[SECTOR:]


def check_loader_image(loader: bytes) -> int:
    """How many units of 32 KiB the boot sector of a ``loader.img`` reads. Raises ImageError when it is none."""
    if len(loader) <= KERNEL_AT or loader[0x1FE:0x200] != SIGNATURE:
        raise ImageError("The file is not a bootable OSv loader (loader.img).",
                         "Give loader.img, or leave the disk's own boot out.")
    units: int = struct.unpack_from("<H", loader, UNITS_FIELD)[0]
    if not units or KERNEL_AT + (units - 1) * KERNEL_UNIT >= len(loader):
        raise ImageError("The boot sector of the OSv loader reads past its end.", "It is cut short: fetch it again.")
    return units
