"""Executables of a UEFI firmware (PE32+), to which sections are added.

Sources: Microsoft's "PE Format"; the UAPI Group's "Unified Kernel Image" specification, which says what the sections
``.osrel``, ``.cmdline``, ``.linux`` and ``.initrd`` mean to the stub they are added to.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from unibeam_nb.errors import ArchiveError, ImageError

MACHINE_X86_64 = 0x8664
EFI_APPLICATION = 10
READABLE_DATA = 0x40000040
"""``IMAGE_SCN_CNT_INITIALIZED_DATA | IMAGE_SCN_MEM_READ``."""

LARGEST_ALIGNMENT, LARGEST = 1 << 20, 1 << 30
"""Bytes between two sections, and of everything in memory: more than any stub has, and fields of 32 bits hold it."""

_SECTION = struct.Struct("<8sIIIIIIHHI")


@dataclass(frozen=True)
class Section:
    """A section as its header says: ``address`` in memory, ``offset`` and ``bytes`` in the file."""

    name: str
    size: int
    address: int
    bytes: int
    offset: int


@dataclass(frozen=True)
class Layout:
    """What matters of an executable's headers; ``table`` is where the section headers begin."""

    header: int
    table: int
    section_alignment: int
    file_alignment: int
    headers_bytes: int
    sections: tuple[Section, ...]


def read(data: bytes) -> Layout:
    """The layout of an executable. Raises ArchiveError when it is none for x86-64, or is cut short."""
    try:
        if data[:2] != b"MZ":
            raise ArchiveError("This is not an executable of a UEFI firmware.")
        (header,) = struct.unpack_from("<I", data, 0x3C)
        signature, machine, count, _, _, _, optional, _ = struct.unpack_from("<4sHHIIIHH", data, header)
        (magic,) = struct.unpack_from("<H", data, header + 24)
        if signature != b"PE\0\0" or machine != MACHINE_X86_64 or magic != 0x20B:
            raise ArchiveError("This is not an executable of a UEFI firmware for x86-64.")
        section_alignment, file_alignment = struct.unpack_from("<II", data, header + 24 + 32)
        _, headers_bytes = struct.unpack_from("<II", data, header + 24 + 56)
        table = header + 24 + optional
        sections = []
        for index in range(count):
            name, size, address, raw, offset, *_ = _SECTION.unpack_from(data, table + index * _SECTION.size)
            if offset + raw > len(data):
                raise ArchiveError("The executable is cut short.")
            sections.append(Section(name.rstrip(b"\0").decode("ascii", "replace"), size, address, raw, offset))
    except struct.error:
        raise ArchiveError("The executable is cut short.") from None
    if not 1 <= file_alignment <= LARGEST_ALIGNMENT or not 1 <= section_alignment <= LARGEST_ALIGNMENT:
        raise ArchiveError("The executable's alignment is none that a firmware would take.")
    if headers_bytes > len(data):
        raise ArchiveError("The executable is cut short.")
    if not sections or max(s.address + max(s.size, s.bytes) for s in sections) > LARGEST:
        raise ArchiveError("The executable has no sections, or some where no memory is.")
    return Layout(header, table, section_alignment, file_alignment, headers_bytes, tuple(sections))


def with_sections(stub: bytes, added: Sequence[tuple[str, bytes]]) -> Iterator[bytes]:
    """``stub`` with further sections of read-only data behind its own, in pieces; the same bytes for the same inputs.

    Raises ArchiveError for a stub that is none, ImageError when its headers have no room for so many.
    """
    layout = read(stub)
    end = layout.table + (len(layout.sections) + len(added)) * _SECTION.size
    first = min((s.offset for s in layout.sections if s.bytes), default=layout.headers_bytes)
    if end > min(layout.headers_bytes, first):
        raise ImageError(f"The EFI stub's headers have no room for {len(added)} sections more.",
                         "Install another version of systemd-boot-efi.")
    head = bytearray(stub)
    offset = _up(len(stub), layout.file_alignment)
    address = max(_up(s.address + max(s.size, s.bytes), layout.section_alignment) for s in layout.sections)
    body: list[tuple[bytes, int]] = [(b"", offset - len(stub))]
    data_bytes = 0
    for index, (name, data) in enumerate(added, start=len(layout.sections)):
        raw = _up(len(data), layout.file_alignment)
        _SECTION.pack_into(head, layout.table + index * _SECTION.size, name.encode("ascii"), len(data), address, raw,
                           offset, 0, 0, 0, 0, READABLE_DATA)
        body.append((data, raw - len(data)))
        offset += raw
        data_bytes += raw
        address = _up(address + len(data), layout.section_alignment)
    struct.pack_into("<H", head, layout.header + 6, len(layout.sections) + len(added))
    struct.pack_into("<I", head, layout.header + 8, 0)  # No time of making.
    sized = layout.header + 24 + 8
    struct.pack_into("<I", head, sized, struct.unpack_from("<I", stub, sized)[0] + data_bytes)
    struct.pack_into("<I", head, layout.header + 24 + 56, address)
    struct.pack_into("<I", head, layout.header + 24 + 64, 0)  # The checksum, which no firmware looks at.
    yield bytes(head)
    for data, padding in body:
        yield data
        yield bytes(padding)


def section(data: bytes, name: str) -> bytes:
    """The contents of a section. Raises ArchiveError where there is none of that name."""
    for found in read(data).sections:
        if found.name == name:
            return data[found.offset:found.offset + min(found.size, found.bytes)]
    raise ArchiveError(f"The executable has no section {name}.")


def _up(value: int, unit: int) -> int:
    return -(-value // unit) * unit
