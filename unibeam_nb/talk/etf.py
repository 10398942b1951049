"""The external term format (ERTS User's Guide, "External Term Format"): Erlang terms as bytes, both ways. Pure.

Bytes that come from a machine are untrusted: whatever they hold, reading them ends, in a value or in a
:class:`TermFormatError`, with bounded depth and without more memory than a small multiple of their length.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from unibeam_nb.errors import MachineError
from unibeam_nb.release.terms import Atom

VERSION = 131
MAX_DEPTH = 150
"""Below what Python itself recurses to, on top of a notebook."""


class TermFormatError(MachineError):
    """Bytes are not a term in the external format."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"The machine's answer cannot be read: {reason}.", "Boot the machine again.")


def encode(term: Any) -> bytes:
    """A term as bytes: Atom, str (a binary in UTF-8), bytes, int, bool, tuple, list. Raises TypeError for others."""
    return bytes([VERSION]) + _encoded(term)


def _encoded(term: Any) -> bytes:
    if isinstance(term, bool):
        return _encoded(Atom("true" if term else "false"))
    if isinstance(term, Atom):
        name = term.encode()
        return b"w" + bytes([len(name)]) + name
    if isinstance(term, str):
        return _encoded(term.encode())
    if isinstance(term, bytes):
        return b"m" + struct.pack(">I", len(term)) + term
    if isinstance(term, int) and -(1 << 31) <= term < 1 << 31:
        return b"b" + struct.pack(">i", term)
    if isinstance(term, tuple):
        return b"i" + struct.pack(">I", len(term)) + b"".join(map(_encoded, term))
    if isinstance(term, list):
        return b"l" + struct.pack(">I", len(term)) + b"".join(map(_encoded, term)) + b"j" if term else b"j"
    raise TypeError(f"no Erlang term for {type(term).__name__}")


class Improper(list[Any]):
    """An improper list: its last element is the tail."""

    def __repr__(self) -> str:
        return f"[{', '.join(map(repr, self[:-1]))} | {self[-1]!r}]"


class Pairs(list[tuple[Any, Any]]):
    """A map as its pairs, since not every Erlang term can be a key in Python."""


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at, self.depth = data, 0, 0

    def take(self, count: int) -> bytes:
        end = self.at + count
        if end > len(self.data):
            raise TermFormatError("it is cut short")
        taken = self.data[self.at:end]
        self.at = end
        return taken

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width), "big")

    def term(self) -> Any:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise TermFormatError(f"it is nested more than {MAX_DEPTH} deep")
        read = _READERS.get(tag := self.number(1))
        if read is None:
            raise TermFormatError(f"it holds a term of the unknown kind {tag}")
        found = read(self)
        self.depth -= 1
        return found

    def terms(self, count: int) -> list[Any]:
        # Every term takes a byte at least.
        if count > len(self.data) - self.at:
            raise TermFormatError("it is cut short")
        return [self.term() for _ in range(count)]

    def text(self, width: int, encoding: str) -> Atom:
        return Atom(self.take(self.number(width)).decode(encoding, "replace"))

    def big(self, width: int) -> int:
        size, negative = self.number(width), self.number(1)
        value = int.from_bytes(self.take(size), "little")
        return -value if negative else value

    def list(self) -> list[Any]:
        items = self.terms(self.number(4))
        tail = self.term()
        return items if tail == [] and not isinstance(tail, Improper) else Improper([*items, tail])

    def map(self) -> Pairs:
        flat = self.terms(2 * self.number(4))
        return Pairs(zip(flat[::2], flat[1::2], strict=True))


_READERS: dict[int, Callable[[_Reader], Any]] = {
    97: lambda r: r.number(1),
    98: lambda r: struct.unpack(">i", r.take(4))[0],
    70: lambda r: struct.unpack(">d", r.take(8))[0],
    110: lambda r: r.big(1), 111: lambda r: r.big(4),
    100: lambda r: r.text(2, "latin-1"), 115: lambda r: r.text(1, "latin-1"),
    118: lambda r: r.text(2, "utf-8"), 119: lambda r: r.text(1, "utf-8"),
    104: lambda r: tuple(r.terms(r.number(1))), 105: lambda r: tuple(r.terms(r.number(4))),
    106: lambda r: [], 107: lambda r: list(r.take(r.number(2))), 108: _Reader.list,
    109: lambda r: r.take(r.number(4)), 116: _Reader.map,
}


def decode(data: bytes) -> Any:
    """The term in ``data``: atoms are Atoms, binaries bytes, strings lists of numbers, maps Pairs.

    Raises TermFormatError.
    """
    reader = _Reader(data)
    if reader.number(1) != VERSION:
        raise TermFormatError("it is not an Erlang term")
    found = reader.term()
    if reader.at != len(data):
        raise TermFormatError("something follows its end")
    return found
