"""ELF files as far as images need them: segments, sections, notes and what the loader is asked for. Pure.

Source: the System V ABI, generic part (chapters 4 and 5) and "ELF-64 Object File Format" 1.5. Of files with 32 bits or
of other byte order only the header is read, so that a sentence can name what they are for. The work is linear in the
file's size whatever the file says: tables have rows of the standard's size, and each is read once.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from unibeam_nb.bounded import Bounded
from unibeam_nb.errors import ArchiveError

MAGIC = b"\x7fELF"
X86_64 = 62
EXECUTABLE, SHARED = 2, 3
LOAD, DYNAMIC, INTERPRETER, NOTE = 1, 2, 3, 4
NOTES, NOBITS, ALLOC = 7, 8, 2

MOST_SEGMENTS = 1170
"""As many as Linux itself would load (ELF_MIN_ALIGN bytes of headers)."""

MOST_TEXTS = 4096
"""Entries of a dynamic section that name something."""

HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
SEGMENT = struct.Struct("<IIQQQQQQ")
SECTION = struct.Struct("<IIQQQQIIQQ")
_TAG = struct.Struct("<QQ")
_NOTE = struct.Struct("<III")
_NEEDED, _STRINGS, _RPATH, _RUNPATH = 1, 5, 15, 29

_NAMES = {3: "x86", 8: "MIPS", 20: "PowerPC", 21: "64-bit PowerPC", 22: "S390", 40: "ARM", 62: "x64", 183: "AArch64",
          243: "RISC-V", 258: "LoongArch"}


@dataclass(frozen=True)
class Segment:
    """A segment: ``bytes`` of the file from ``offset``, at ``address``, in memory at ``place``, where it takes
    ``memory`` bytes, zeros behind those of the file."""

    kind: int
    offset: int
    address: int
    place: int
    bytes: int
    memory: int


@dataclass(frozen=True)
class Section:
    """A section; ``name`` is where its name begins in the table of names."""

    name: int
    kind: int
    flags: int
    address: int
    offset: int
    bytes: int


@dataclass(frozen=True)
class Wanted:
    """What a dynamic section asks the loader for."""

    needed: tuple[str, ...] = ()
    rpath: tuple[str, ...] = ()
    runpath: tuple[str, ...] = ()


class Elf:
    """An ELF file. Everything but its header is read, and checked, when it is asked for. Raises ArchiveError, whose
    message is the reason (``it is cut short``)."""

    def __init__(self, data: bytes | mmap.mmap) -> None:
        self._all = Bounded(data, lambda why: ArchiveError(why))
        head = self._all.piece(0, 20)
        if head[:4] != MAGIC or head[4] not in (1, 2) or head[5] not in (1, 2):
            self._all.refuse("it does not begin as one")
        self.bits = 32 * head[4]
        self.plain = head[4:6] == b"\x02\x01"
        self.kind, self.machine = struct.unpack("<HH" if head[5] == 1 else ">HH", head[16:])
        if not self.plain:
            return
        (_, _, _, _, self.entry, self._segments_at, self._sections_at, _, _, width, self._segment_count,
         section_width, self._section_count, self._names_index) = self._all.fields(HEADER, 0)
        if self._segment_count > MOST_SEGMENTS or (self._segment_count and width != SEGMENT.size) or \
                (self._section_count and section_width != SECTION.size):
            self._all.refuse("its header makes no sense")

    @property
    def machine_name(self) -> str:
        """What it is for, in a word or two."""
        return _NAMES.get(self.machine, f"another machine ({self.machine})")

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        if not self.plain:
            return ()
        return tuple(Segment(kind, offset, address, place, size, memory)
                     for kind, _, offset, address, place, size, memory, _
                     in self._all.rows(SEGMENT, self._segments_at, self._segment_count))

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        if not self.plain:
            return ()
        return tuple(Section(*row[:6]) for row in self._all.rows(SECTION, self._sections_at, self._section_count))

    def content(self, part: Segment | Section) -> bytes:
        """The bytes of a segment or a section."""
        return self._all.piece(part.offset, part.bytes)

    def section(self, name: str) -> bytes | None:
        """The bytes of the first section of this name; None where there is none."""
        if not self.sections:
            return None
        if self._names_index >= len(self.sections):
            self._all.refuse("its header makes no sense")
        names = self.content(self.sections[self._names_index])
        wanted = name.encode() + b"\0"
        found = next((s for s in self.sections if names.startswith(wanted, s.name)), None)
        return None if found is None else self.content(found)

    @property
    def interpreter(self) -> str:
        """The loader that it asks for; empty where it asks for none."""
        found = next((s for s in self.segments if s.kind == INTERPRETER), None)
        return "" if found is None else self._all.decoded(self.content(found).split(b"\0")[0])

    @property
    def wanted(self) -> Wanted:
        """What the loader is asked for. The last of each kind of path counts, as it does for the loader."""
        dynamic = next((s for s in self.segments if s.kind == DYNAMIC), None)
        if dynamic is None:
            return Wanted()
        tags: list[tuple[int, int]] = []
        for tag, value in self._all.rows(_TAG, dynamic.offset, dynamic.bytes // _TAG.size):
            if tag == 0:
                break
            if tag in (_NEEDED, _STRINGS, _RPATH, _RUNPATH):
                tags.append((tag, value))
        if len(tags) > MOST_TEXTS:
            self._all.refuse("it needs too many libraries")
        strings = dict(tags).get(_STRINGS)
        start = self._offset_of(strings) if strings is not None else 0
        texts: dict[int, list[str]] = {_NEEDED: [], _RPATH: [], _RUNPATH: []}
        for tag, value in tags:
            if tag != _STRINGS:
                if strings is None:
                    self._all.refuse("it has no table of names")
                texts[tag].append(self._all.text(start + value))
        return Wanted(tuple(texts[_NEEDED]), _paths(texts[_RPATH]), _paths(texts[_RUNPATH]))

    def _offset_of(self, address: int) -> int:
        around = next((part for part in self.segments if part.kind == LOAD
                       and part.address <= address < part.address + part.bytes), None)
        if around is None:
            self._all.refuse("its table of names is not loaded")
        return around.offset + address - around.address

    def notes(self) -> Iterator[tuple[str, int]]:
        """Owner and kind of every note in its note segments."""
        for part in self.segments:
            if part.kind == NOTE:
                yield from _notes(Bounded(self.content(part), lambda why: ArchiveError(why)))


def _notes(held: Bounded) -> Iterator[tuple[str, int]]:
    at = 0
    while at + _NOTE.size <= len(held):
        owner_bytes, content_bytes, kind = held.fields(_NOTE, at)
        owner = held.piece(at + _NOTE.size, owner_bytes)
        yield owner.rstrip(b"\0").decode("ascii", "replace"), kind
        at += _NOTE.size + owner_bytes + -owner_bytes % 4 + content_bytes + -content_bytes % 4


def _paths(texts: list[str]) -> tuple[str, ...]:
    return tuple(filter(None, ":".join(texts).split(":")))
