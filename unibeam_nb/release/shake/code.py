"""The code of a compiled module, function by function: where each lies and what it refers to. Pure.

The ``Code`` chunk begins with the length of its header, which holds the instruction set, the highest operation, and
the numbers of labels and functions, all u32. Then come the instructions: one byte for the operation and its arguments
as compact terms, whose first byte has a tag in its three low bits. A function is ``label, line, func_info Module Name
Arity, label`` and its body. Sources: "The BEAM File Format" in the BEAM Book, OTP's ``beam_asm`` and ``genop.tab``.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field

from unibeam_nb.release.beamfile import Beam, BeamError, Function

ARITIES = bytes.fromhex(
    "010300020302020302040502030203020101000000000201010204040404040404040404040303030303030302020202020202020202"
    "020202030303010201020303030303020101000101030202020505050402010102020505050201000102020404040403010201010102"
    "060305010202030507070705030202050602020202010304000806020605040504050403030303030001010701050502030304000002"
    "0202030403020204030102010101060300010503")
"""How many arguments operation 1, 2, 3, ... takes (``genop.tab`` of OTP 26; versions only add at the end)."""

LABEL, FUNC_INFO, END, ON_LOAD = 1, 2, 3, 149
APPLY = frozenset({112, 113})
MAKE_FUN = frozenset({103, 171})
IMPORT_AT = {7: 1, 8: 1, 78: 1, 9: 0, 10: 1, 11: 1, 124: 2, 125: 2, 152: 2}
"""Which argument of an operation is an index into the import table: calls and built-in functions."""

_ATOM, _LABEL, _EXTENDED = 2, 5, 7
_LIST, _FLOAT_REGISTER, _ALLOCATION, _LITERAL, _TYPED = 1, 2, 3, 4, 5
MAX_LITERALS = 64 * 1024 * 1024


class UnknownCode(BeamError):
    """Code of a newer OTP than this reader knows, or damaged code: such a module is taken as a whole."""


@dataclass
class Body:
    """One function: its bytes are ``start`` to ``end`` of the instructions, of which those up to ``head`` say what it
    is; ``info`` is the first of its labels.

    ``calls`` are functions of other modules (and built-in ones), ``labels`` those of this module that it jumps to or
    calls, ``funs`` indices into the table of funs, ``literals`` into that of literals, ``atoms`` the atoms it names.
    ``dynamic`` says that it calls modules by values.
    """

    name: str
    arity: int
    start: int
    end: int = 0
    head: int = 0
    info: int = 0
    calls: set[Function] = field(default_factory=set)
    labels: set[int] = field(default_factory=set)
    own: set[int] = field(default_factory=set)
    funs: set[int] = field(default_factory=set)
    literals: set[int] = field(default_factory=set)
    atoms: set[str] = field(default_factory=set)
    dynamic: bool = False
    on_load: bool = False


@dataclass(frozen=True)
class Literal:
    """What a literal refers to: its atoms, and the external funs in it."""

    atoms: frozenset[str]
    calls: frozenset[Function]


def number(code: bytes, at: int) -> tuple[int, int, int]:
    """The compact term at ``at``: (tag, value, where the next begins). Long integers give 0, nobody needs them."""
    first = code[at]
    tag = first & 7
    if tag == _EXTENDED or not first & 8:
        return tag, first >> 4, at + 1
    if not first & 16:
        return tag, (first & 0xE0) << 3 | code[at + 1], at + 2
    size = (first >> 5) + 2
    if size == 9:
        _, more, after = number(code, at + 1)
        return tag, 0, after + more + 9
    return tag, int.from_bytes(code[at + 1:at + 1 + size], "big"), at + 1 + size


def instructions(beam: Beam) -> tuple[bytes, bytes]:
    """(header, instructions) of a module's ``Code`` chunk."""
    data = dict(beam.chunks).get("Code", b"")
    if len(data) < 20:
        raise UnknownCode("it has no code")
    size = 4 + int.from_bytes(data[:4], "big")
    return data[:size], data[size:]


def bodies(beam: Beam) -> list[Body]:
    """The functions of a module. Raises UnknownCode."""
    _, code = instructions(beam)
    try:
        return _Reader(beam, code).read()
    except (IndexError, struct.error) as error:
        raise UnknownCode("its code is not what this version of unibeam knows") from error


class _Reader:
    """One pass over the instructions."""

    def __init__(self, beam: Beam, code: bytes) -> None:
        self.code, self.atoms, self.imports = code, beam.atoms, beam.imports
        self.found: list[Body] = []
        self.now = Body("", 0, 0)  # takes what stands before the first function: its label and line

    def read(self) -> list[Body]:
        code, at, label_at, label = self.code, 0, 0, 0
        while True:
            start, operation = at, code[at]
            if operation == END:
                self.now.end = start
                return self.found
            if not 1 <= operation <= len(ARITIES):
                raise UnknownCode(f"it holds the unknown operation {operation}")
            at += 1
            if operation == LABEL:
                label_at = start
                _, label, at = number(code, at)
                if not self.now.head:
                    self.now.head = at
                self.now.own.add(label)
            elif operation == FUNC_INFO:
                _, _module, at = number(code, at)
                _, name, at = number(code, at)
                _, arity, at = number(code, at)
                self._begin(label_at, label, self.atoms[name - 1], arity)
            else:
                at = self._arguments(operation, at)

    def _begin(self, start: int, info: int, name: str, arity: int) -> None:
        self.now.end = start
        self.now.own.discard(info)
        self.now = Body(name, arity, start, info=info, own={info})
        self.found.append(self.now)

    def _arguments(self, operation: int, at: int) -> int:
        now = self.now
        imported = IMPORT_AT.get(operation, -1)
        for index in range(ARITIES[operation - 1]):
            before = at
            at = self._argument(at)
            if index == imported:
                now.calls.add(self.imports[number(self.code, before)[1]])
            elif operation in MAKE_FUN and index == 0:
                now.funs.add(number(self.code, before)[1])
        if operation in APPLY:
            now.dynamic = True
        elif operation == ON_LOAD:
            now.on_load = True
        return at

    def _argument(self, at: int) -> int:
        tag, value, at = number(self.code, at)
        if tag == _ATOM:
            if value:  # 0 is the empty list
                self.now.atoms.add(self.atoms[value - 1])
        elif tag == _LABEL:
            self.now.labels.add(value)
        elif tag == _EXTENDED:
            return self._extended(value, at)
        return at

    def _extended(self, kind: int, at: int) -> int:
        code = self.code
        if kind == _TYPED:
            return number(code, number(code, at)[2])[2]
        _, count, at = number(code, at)
        if kind == _LIST:
            for _ in range(count):
                at = self._argument(at)
        elif kind == _ALLOCATION:
            for _ in range(2 * count):
                at = number(code, at)[2]
        elif kind == _LITERAL:
            self.now.literals.add(count)
        elif kind != _FLOAT_REGISTER:
            raise UnknownCode(f"it holds an argument of the unknown kind {kind}")
        return at


def literal_terms(beam: Beam) -> list[bytes]:
    """The module's literals, each in the external term format."""
    data = dict(beam.chunks).get("LitT")
    if not data:
        return []
    size = int.from_bytes(data[:4], "big")
    try:
        raw = zlib.decompressobj().decompress(data[4:], MAX_LITERALS) if size else data[4:]
    except zlib.error:
        raise UnknownCode("the compression of its literals is broken") from None
    terms, at = [], 4
    for _ in range(int.from_bytes(raw[:4], "big")):
        length = int.from_bytes(raw[at:at + 4], "big")
        terms.append(raw[at + 4:at + 4 + length])
        at += 4 + length
    return terms


def literals(beam: Beam) -> list[Literal]:
    """What each literal of the module refers to. Raises UnknownCode."""
    return [references(term) for term in literal_terms(beam)]


_SKIP = {97: 1, 98: 4, 70: 8, 99: 31, 106: 0}
_SIZED = {110: (1, 1), 111: (4, 1), 107: (2, 0), 109: (4, 0), 77: (4, 1)}
_NAMES = {100: 2, 118: 2, 115: 1, 119: 1}


def references(term: bytes) -> Literal:
    """The atoms and external funs of a term in the external term format. Raises UnknownCode."""
    try:
        return _references(term)
    except (IndexError, UnicodeDecodeError):
        raise UnknownCode("a literal is damaged") from None


def _references(term: bytes) -> Literal:
    atoms: set[str] = set()
    calls: set[Function] = set()
    at, left = 1, 1
    while left:
        if at >= len(term):
            raise UnknownCode("a literal is cut short")
        tag, at, left = term[at], at + 1, left - 1
        if tag in _NAMES:
            name, at = _name(term, at - 1)
            atoms.add(name)
        elif tag == 113:  # an external fun: module, name, arity
            module, at = _name(term, at)
            name, at = _name(term, at)
            calls.add(Function(module, name, term[at + 1]))
            at += 2
        elif tag in _SKIP:
            at += _SKIP[tag]
        elif tag in _SIZED:
            width, more = _SIZED[tag]
            at += width + int.from_bytes(term[at:at + width], "big") + more
        elif tag in (104, 105, 108, 116):
            width = 1 if tag == 104 else 4
            count = int.from_bytes(term[at:at + width], "big")
            left += {108: count + 1, 116: 2 * count}.get(tag, count)
            at += width
        else:
            raise UnknownCode(f"a literal is of the unknown kind {tag}")
    return Literal(frozenset(atoms), frozenset(calls))


def _name(term: bytes, at: int) -> tuple[str, int]:
    """The atom at ``at`` and where the next term begins."""
    tag = term[at]
    if tag not in _NAMES:
        raise UnknownCode("a literal is damaged")
    begin = at + 1 + _NAMES[tag]
    end = begin + int.from_bytes(term[at + 1:begin], "big")
    return term[begin:end].decode("utf-8" if tag in (118, 119) else "latin-1"), end
