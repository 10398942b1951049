"""The kernel as it is entered directly: an ELF file that QEMU loads by its PVH note, with nothing in it that is not
loaded. Pure.

A bzImage unpacks itself into memory, twice its size in places, before the kernel starts. ``vmlinux``, the file that is
packed into it, can be loaded at once, but it is aligned for huge pages, and most of it is padding and symbols. Here
only the sections that are loaded are kept, and only where they are: what lies between them is never touched.

Source: the System V ABI (ELF-64), and Documentation/x86/boot.rst and include/xen/interface/elfnote.h of the kernel for
PVH.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from unibeam_nb.errors import ImageError

_HEADER, _SEGMENT, _SECTION = "<16sHHIQQQIHHHHHH", "<IIQQQQQQ", "<IIQQQQIIQQ"
_EXECUTABLE, _X86_64 = 2, 62
_LOAD, _NOTE = 1, 4
_NOTES, _NOBITS, _ALLOC = 7, 8, 2

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
    if len(vmlinux) < struct.calcsize(_HEADER) or vmlinux[:6] != b"\x7fELF\x02\x01":
        raise ImageError("vmlinux is not an ELF file of 64 bits.", "Compile the kernel again.")
    header = struct.unpack_from(_HEADER, vmlinux)
    sections = [struct.unpack_from(_SECTION, vmlinux, header[6] + header[11] * i) for i in range(header[12])]
    segments = [struct.unpack_from(_SEGMENT, vmlinux, header[5] + header[9] * i) for i in range(header[10])]
    loaded = [(s[1], _placed(s, segments)) for s in sections if s[2] & _ALLOC and s[1] != _NOBITS and s[5]]
    note = next((piece for kind, piece in loaded if kind == _NOTES), None)
    if note is None:
        raise ImageError("vmlinux cannot be entered directly.", "Compile it with CONFIG_PVH=y.")
    return _file(header[4], _joined(sorted((piece for _, piece in loaded), key=lambda p: p.place)), note, vmlinux)


def _placed(section: tuple[int, ...], segments: Sequence[tuple[int, ...]]) -> _Piece:
    """A section, with the place in memory that the segment around it says."""
    address, offset, size = section[3:6]
    for kind, _, start, _, place, length, *_ in segments:
        if kind == _LOAD and start <= offset and offset + size <= start + length:
            return _Piece(address, place + offset - start, offset, size)
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


def _file(entry: int, pieces: list[_Piece], note: _Piece, vmlinux: bytes) -> bytes:
    count = len(pieces) + 1
    at = struct.calcsize(_HEADER) + count * struct.calcsize(_SEGMENT)
    heads, body = [], []
    for piece in pieces:
        heads.append(_head(_LOAD, at, piece))
        if piece.place <= note.place < piece.end:
            heads.append(_head(_NOTE, at + note.place - piece.place, note))
        body.append(vmlinux[piece.offset:piece.offset + piece.bytes])
        at += piece.bytes
    first = struct.pack(_HEADER, vmlinux[:16], _EXECUTABLE, _X86_64, 1, entry, struct.calcsize(_HEADER), 0, 0,
                        struct.calcsize(_HEADER), struct.calcsize(_SEGMENT), count, 64, 0, 0)
    return b"".join((first, *heads, *body))


def _head(kind: int, at: int, piece: _Piece) -> bytes:
    align = 4 if kind == _NOTE else 1
    return struct.pack(_SEGMENT, kind, 7, at, piece.address, piece.place, piece.bytes, piece.bytes, align)
