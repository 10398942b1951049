"""Reading and stripping compiled modules in pure Python.

A ``.beam`` file is an IFF container: ``FOR1``, a u32 size, ``BEAM``, then chunks of a four-byte name, a u32
size and data padded to four bytes, all big-endian. ``AtU8`` (or the older ``Atom``) holds the atom table,
``ImpT`` and ``ExpT`` are tables of u32 triples. Sources: "The BEAM File Format" in the BEAM Book, and OTP's
``beam_lib``, ``beam_asm`` and ``beam_file.c``.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from dataclasses import dataclass
from functools import cached_property

from unibeam_nb.errors import SourceError

MAX_UNPACKED = 64 * 1024 * 1024

NOT_NEEDED = frozenset({"Dbgi", "Abst", "Docs", "CInf", "LocT", "ExCk", "ExDc", "DbgB"})
"""Chunks the loader does not read: debug information, documentation, compile options with build paths.
Everything else is kept (``Attr`` too: programs read their modules' attributes)."""


class BeamError(SourceError):
    """A file is not a compiled module."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"A compiled module is damaged: {reason}.", "Compile it again.")


@dataclass(frozen=True)
class Function:
    """A function of a module: ``module:name/arity``."""

    module: str
    name: str
    arity: int

    def __str__(self) -> str:
        return f"{self.module}:{self.name}/{self.arity}"


@dataclass(frozen=True)
class Beam:
    """A compiled module as its chunks, in file order."""

    chunks: tuple[tuple[str, bytes], ...]

    @cached_property
    def atoms(self) -> tuple[str, ...]:
        table = dict(self.chunks)
        if "AtU8" in table:
            return _atoms(table["AtU8"], "utf-8")
        if "Atom" in table:
            return _atoms(table["Atom"], "latin-1")
        raise BeamError("it has no atom table")

    @property
    def module(self) -> str:
        if not self.atoms:
            raise BeamError("its atom table is empty")
        return self.atoms[0]

    @cached_property
    def imports(self) -> tuple[Function, ...]:
        """The functions it calls in other modules (and built-in ones), in table order."""
        return tuple(Function(self._atom(m), self._atom(f), a) for m, f, a in self._triples("ImpT"))

    @cached_property
    def exports(self) -> tuple[Function, ...]:
        return tuple(Function(self.module, self._atom(f), a) for f, a, _label in self._triples("ExpT"))

    def exported(self, name: str, arity: int) -> bool:
        return any(f.name == name and f.arity == arity for f in self.exports)

    def stripped(self) -> bytes:
        """The module as file contents without the chunks of NOT_NEEDED, not compressed."""
        body = b"".join(name.encode("latin-1") + struct.pack(">I", len(data)) + data + bytes(-len(data) % 4)
                        for name, data in self.chunks if name not in NOT_NEEDED)
        return b"FOR1" + struct.pack(">I", len(body) + 4) + b"BEAM" + body

    def _atom(self, index: int) -> str:
        if not 1 <= index <= len(self.atoms):
            raise BeamError(f"it refers to atom {index} of {len(self.atoms)}")
        return self.atoms[index - 1]

    def _triples(self, name: str) -> list[tuple[int, int, int]]:
        data = dict(self.chunks).get(name)
        if data is None:
            return []
        if len(data) < 4:
            raise BeamError(f"its {name} chunk is cut short")
        (count,) = struct.unpack_from(">I", data)
        if count * 12 + 4 > len(data):
            raise BeamError(f"its {name} chunk is cut short")
        return [struct.unpack_from(">III", data, 4 + 12 * i) for i in range(count)]


def read_beam(data: bytes) -> Beam:
    """The compiled module in a file's contents, which may be gzip-compressed. Raises BeamError."""
    if data[:2] == b"\x1f\x8b":
        data = _gunzip(data)
    if len(data) < 12 or data[:4] != b"FOR1" or data[8:12] != b"BEAM":
        raise BeamError("it does not begin as one")
    end = 8 + int.from_bytes(data[4:8], "big")
    if end > len(data):
        raise BeamError("it is cut short")
    chunks = []
    at = 12
    while at < end:
        if at + 8 > end:
            raise BeamError("a chunk's header is cut short")
        size = int.from_bytes(data[at + 4:at + 8], "big")
        if at + 8 + size > end:
            raise BeamError("a chunk is cut short")
        chunks.append((data[at:at + 4].decode("latin-1"), data[at + 8:at + 8 + size]))
        at += 8 + size + (-size % 4)
    return Beam(tuple(chunks))


def _gunzip(data: bytes) -> bytes:
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        whole = unpacker.decompress(data, MAX_UNPACKED)
    except (zlib.error, gzip.BadGzipFile):
        raise BeamError("its compression is broken") from None
    if unpacker.unconsumed_tail:
        raise BeamError(f"it unpacks to more than {MAX_UNPACKED} bytes")
    return whole


def _atoms(data: bytes, encoding: str) -> tuple[str, ...]:
    """An atom table: an i32 count, then length-prefixed names.

    OTP 28 writes the count negated and the lengths in the compact encoding of ``beam_asm`` (tag 0), where
    a value below 16 takes the high nibble of one byte and one below 2048 takes eleven bits of two.
    """
    if len(data) < 4:
        raise BeamError("its atom table is cut short")
    (count,) = struct.unpack_from(">i", data)
    compact, count = count < 0, abs(count)
    names = []
    at = 4
    for _ in range(count):
        if at >= len(data):
            raise BeamError("its atom table is cut short")
        length, at = _compact(data, at) if compact else (data[at], at + 1)
        if at + length > len(data):
            raise BeamError("its atom table is cut short")
        try:
            names.append(data[at:at + length].decode(encoding))
        except UnicodeDecodeError:
            raise BeamError("an atom is not valid text") from None
        at += length
    return tuple(names)


def _compact(data: bytes, at: int) -> tuple[int, int]:
    first = data[at]
    if not first & 0x08:
        return first >> 4, at + 1
    if not first & 0x10:
        if at + 1 >= len(data):
            raise BeamError("its atom table is cut short")
        return (first >> 5) << 8 | data[at + 1], at + 2
    raise BeamError("an atom is longer than any can be")
