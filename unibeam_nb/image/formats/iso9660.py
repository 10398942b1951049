"""Taking the clock out of an ISO 9660 image: every date in it becomes 1970-01-01, or "not specified".

Sources: ECMA-119, 8.4 and 8.5 (volume descriptors), 9.1 (directory records); IEEE P1281 (SUSP), 5.1 ``CE``; IEEE P1282
(Rock Ridge), 4.1.6 ``TF``. Pure.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from unibeam_nb.errors import ArchiveError

SECTOR = 2048
FIRST = 16
"""The sector of the first volume descriptor."""

PRIMARY, SUPPLEMENTARY, LAST = 1, 2, 255
DATES, UNSPECIFIED = slice(813, 881), b"0" * 16 + b"\0"
"""Four dates of a volume descriptor in digits; zeros say that a date is not specified."""

ROOT = 156
EPOCH = bytes((70, 1, 1, 0, 0, 0, 0))
"""1970-01-01, 00:00:00 in Greenwich, as directory records write it: years since 1900, and so on."""


def without_dates(image: bytes) -> bytes:
    """The image with fixed dates in its volume descriptors, its directories and their Rock Ridge entries.

    Raises ArchiveError for what is no ISO 9660 image, or one that contradicts itself.
    """
    made = bytearray(image)
    try:
        for at in _descriptors(image):
            made[at + DATES.start:at + DATES.stop] = UNSPECIFIED * 4
            _directory(made, at + ROOT, set())
    except (struct.error, IndexError) as error:
        raise ArchiveError("The ISO 9660 image is cut off.") from error
    return bytes(made)


def _descriptors(image: bytes) -> Iterator[int]:
    """Where the volume descriptors with directories begin."""
    at = FIRST * SECTOR
    while image[at] != LAST:
        if image[at + 1:at + 6] != b"CD001":
            raise ArchiveError("This is not an ISO 9660 image.")
        if image[at] in (PRIMARY, SUPPLEMENTARY):
            yield at
        at += SECTOR


def _directory(made: bytearray, record: int, seen: set[int]) -> None:
    """Mend a directory's record and all in it; ``seen`` are the sectors of those that were."""
    made[record + 18:record + 25] = EPOCH
    sector, size = struct.unpack_from("<I", made, record + 2)[0], struct.unpack_from("<I", made, record + 10)[0]
    if sector in seen:
        return
    seen.add(sector)
    at, end = sector * SECTOR, sector * SECTOR + size
    while at < end:
        length = made[at]
        if length == 0:  # Records do not cross sectors.
            at += SECTOR - at % SECTOR
            continue
        made[at + 18:at + 25] = EPOCH
        name = made[at + 32]
        _rock_ridge(made, at + 33 + name + (name + 1) % 2, at + length)
        if made[at + 25] & 2:
            _directory(made, at, seen)
        at += length


def _rock_ridge(made: bytearray, at: int, end: int) -> None:
    while at + 4 <= end and made[at + 2] >= 4:
        kind, length = bytes(made[at:at + 2]), made[at + 2]
        if kind == b"TF":
            size = 17 if made[at + 4] & 0x80 else 7
            for date in range(at + 5, at + length - size + 1, size):
                made[date:date + size] = UNSPECIFIED if size == 17 else EPOCH
        elif kind == b"CE":
            sector, offset, size = (struct.unpack_from("<I", made, at + where)[0] for where in (4, 12, 20))
            _rock_ridge(made, sector * SECTOR + offset, sector * SECTOR + offset + size)
        at += length
