"""The kernel as it is entered directly: an ELF file that QEMU loads by its PVH note, with nothing in it that is not
loaded. Pure.

A bzImage unpacks itself into memory, twice its size in places, before the kernel starts. ``vmlinux``, the file that is
packed into it, can be loaded at once, but it is aligned for huge pages, and most of it is padding and symbols. Here
only the sections that are loaded are kept, and only where they are: what lies between them is never touched. The last
of them reaches, in memory, to where the kernel ends with its variables that begin as zeros: right behind that Xen puts
the initramfs, which the kernel would overwrite if it had not said so.

Source: the System V ABI (ELF-64), and Documentation/x86/boot.rst and include/xen/interface/elfnote.h of the kernel for
PVH.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unibeam_nb.errors import ArchiveError, ImageError
from unibeam_nb.image.formats.elf64 import (
    ALLOC,
    EXECUTABLE,
    HEADER,
    LOAD,
    NOBITS,
    NOTE,
    NOTES,
    SEGMENT,
    X86_64,
    Elf,
    Section,
    Segment,
)

MOST_SEGMENTS = 64
"""A kernel has about five."""

HIGHEST = 1 << 32
"""A kernel lies in the first 4 GiB."""

NEAR = 4096
"""Sections this near to each other, in bytes, become one segment."""


@dataclass(frozen=True)
class _Piece:
    """Bytes of the file at ``offset`` that belong to ``address``, which is at ``place`` in memory. The two differ, and
    not by the same in all pieces: what each processor has of its own counts its addresses from 0."""

    address: int
    place: int
    offset: int
    bytes: int

    @property
    def end(self) -> int:
        return self.place + self.bytes


def pack(vmlinux: bytes) -> bytes:
    """The kernel with only what is loaded. Raises ImageError for a file that is no kernel entered by PVH."""
    try:
        elf = Elf(vmlinux)
        if not elf.plain:
            raise ArchiveError("it has other than 64 bits")
        return _packed(elf, vmlinux)
    except ArchiveError as error:
        raise ImageError(f"vmlinux is not a whole ELF file of 64 bits ({error}).",
                         "Compile the kernel again.") from None


def _packed(elf: Elf, vmlinux: bytes) -> bytes:
    segments = [segment for segment in elf.segments if segment.kind == LOAD]
    sections = [s for s in elf.sections if s.flags & ALLOC and s.kind != NOBITS and s.bytes]
    if sum(section.bytes for section in sections) > len(vmlinux) or len(segments) > MOST_SEGMENTS:
        raise ArchiveError("its sections lie over each other")
    loaded = [(s.kind, _placed(s, segments)) for s in sections]
    note = next((piece for kind, piece in loaded if kind == NOTES), None)
    if note is None:
        raise ImageError("vmlinux cannot be entered directly.", "Compile it with CONFIG_PVH=y.")
    pieces = _joined(sorted((piece for _, piece in loaded), key=lambda p: p.place))
    if sum(piece.bytes for piece in pieces) > len(vmlinux) + NEAR * len(pieces):
        raise ArchiveError("its sections lie over each other")
    end = max(segment.place + max(segment.bytes, segment.memory) for segment in segments)
    if end > HIGHEST:
        raise ArchiveError("it lies beyond all memory")
    return _file(elf.entry, pieces, end, note, vmlinux)


def _placed(section: Section, segments: Sequence[Segment]) -> _Piece:
    """A section, with the place in memory that the segment around it says."""
    offset = section.offset
    for part in segments:
        if part.offset <= offset and offset + section.bytes <= part.offset + part.bytes:
            return _Piece(section.address, part.place + offset - part.offset, offset, section.bytes)
    raise ImageError("vmlinux has a section that is in none of its segments.", "Compile the kernel again.")


def _joined(pieces: list[_Piece]) -> list[_Piece]:
    joined: list[_Piece] = []
    for piece in pieces:
        last = joined[-1] if joined else None
        if last and piece.place - last.end < NEAR and (piece.place - last.place == piece.offset - last.offset
                                                       == piece.address - last.address):
            joined[-1] = _Piece(last.address, last.place, last.offset, piece.end - last.place)
        else:
            joined.append(piece)
    return joined


def _file(entry: int, pieces: list[_Piece], end: int, note: _Piece, vmlinux: bytes) -> bytes:
    """The file of these pieces, the last of which takes memory to ``end``."""
    count = len(pieces) + 1
    at = HEADER.size + count * SEGMENT.size
    heads, body = [], []
    for piece in pieces:
        heads.append(_head(LOAD, at, piece, max(end, piece.end) if piece is pieces[-1] else piece.end))
        if piece.place <= note.place < piece.end:
            heads.append(_head(NOTE, at + note.place - piece.place, note, note.end))
        body.append(vmlinux[piece.offset:piece.offset + piece.bytes])
        at += piece.bytes
    first = HEADER.pack(vmlinux[:16], EXECUTABLE, X86_64, 1, entry, HEADER.size, 0, 0,
                        HEADER.size, SEGMENT.size, count, 64, 0, 0)
    return b"".join((first, *heads, *body))


def _head(kind: int, at: int, piece: _Piece, end: int) -> bytes:
    align = 4 if kind == NOTE else 1
    return SEGMENT.pack(kind, 7, at, piece.address, piece.place, piece.bytes, end - piece.place, align)
